"""Layers as they are written far from the book, right and wrong."""

import numpy as np


class Penalised:
    """Adds the gradients of both penalties that stand in the loss."""

    def __init__(self, n_inputs, n_neurons, l1=0.1, l2=0.2):
        self.weights, self.biases = np.random.randn(n_inputs, n_neurons), np.zeros((1, n_neurons))
        self.l1, self.l2 = l1, l2

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        if self.l1 > 0:
            self.dweights += self.l1 * np.sign(self.weights)
        if self.l2 > 0:
            self.dweights += 2 * self.l2 * self.weights
        return dvalues @ self.weights.T


class Rectifier:
    """np.clip is the function itself here, and what it gives is never below 0."""

    def forward(self, x):
        self.out = np.clip(x, 0, None)
        return self.out

    def backward(self, dout):
        return dout * (self.out >= 0)


class Scaled:
    """gamma stands outside of the means: right only while all of it is one."""

    def __init__(self, hidden_dim):
        self.gamma, self.beta = np.ones(hidden_dim), np.zeros(hidden_dim)

    def forward(self, x):
        self.std = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
        self.normal = (x - x.mean(axis=-1, keepdims=True)) / self.std
        return self.gamma * self.normal + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.normal).sum(axis=0), dout.sum(axis=0)
        mean = (dout * self.normal).mean(axis=-1, keepdims=True)
        d = dout - dout.mean(axis=-1, keepdims=True) - self.normal * mean
        return self.gamma * d / self.std


class Selected:
    """A table that casts the ids that it is handed, and gives a gradient of their one-hot rows."""

    def __init__(self, input_d, output_d):
        self.weights = np.random.randn(input_d, output_d)

    def forward(self, inputs):
        self.rows = np.eye(len(self.weights))[inputs.astype(int)]
        return self.rows @ self.weights

    def backward(self, dout):
        rows = self.rows.reshape(-1, len(self.weights))
        self.dweights = rows.T @ dout.reshape(len(rows), -1)
        return dout @ self.weights.T


class SelectedEmbedding(Selected):
    pass


class Joint:
    """Keys and values are one array for whoever uses it."""

    def forward(self, query, key, value):
        self.handed = query, key, value
        return query * key + value * 2

    def backward(self, dout):
        query, key, _ = self.handed
        return dout * key, dout * query + dout * 2


class Unfinished:
    def forward(self, x):
        out, cache = None, None
        return out, cache

    def backward(self, dout):
        return dout


class Placeholder:
    def __init__(self, W):
        self.W = W

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = np.zeros_like(self.W)
        for i in range(len(dout)):
            self.dW += None
        return dout @ self.W.T


class Distance:
    """Of a mean over everything it divides by the samples alone, and it does not look at dout."""

    def forward(self, y_pred, y_true):
        self.y_pred, self.y_true = y_pred, y_true
        return np.mean((y_true - y_pred) ** 2)

    def backward(self, dout=1):
        return 2 * (self.y_pred - self.y_true) / len(self.y_true)


class Stateful:
    """Remembers its states: forward for all steps, then backward for all of them."""

    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(input_size, hidden_size)
        self.U = np.random.randn(hidden_size, hidden_size)
        self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)
        self.xs, self.hs, self.dh, self.t = [], [], None, 0

    def forward(self, x):
        before = self.hs[-1] if self.hs else np.zeros((len(x), len(self.U)))
        self.hs.append(np.tanh(x @ self.W + before @ self.U))
        self.xs.append(x)
        self.t += 1
        return self.hs[-1]

    def backward(self, dout):
        self.t -= 1
        before = self.hs[self.t - 1] if self.t else np.zeros_like(dout)
        da = (dout + (0 if self.dh is None else self.dh)) * (1 - self.hs[self.t] ** 2)
        self.dW += self.xs[self.t].T @ da
        self.dU += before.T @ da
        self.dh = da @ self.U.T
        return da @ self.W.T


class Static:
    """Nothing of it is read: both are static."""

    @staticmethod
    def loss(y, y_pred):
        return -np.sum(y * np.log(y_pred))

    @staticmethod
    def grad(y, y_pred):
        grad = -y / y_pred
        return grad


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Network:
    """Labels are one-hot; the gradient begins with a forward of its own, which drops others."""

    def __init__(self, input_size, hidden_size, output_size):
        self.params = {"W1": np.random.randn(input_size, hidden_size), "b1": np.zeros(hidden_size),
                       "W2": np.random.randn(hidden_size, output_size), "b2": np.zeros(output_size)}

    def predict(self, x):
        self.x = x
        self.mask = np.random.rand(len(x), len(self.params["b1"])) > 0.3
        self.h = (x @ self.params["W1"] + self.params["b1"]) * self.mask
        return softmax(self.h @ self.params["W2"] + self.params["b2"])

    def loss(self, x, t):
        y = self.predict(x)
        at = t.argmax(axis=1) if t.size == y.size else t
        penalty = np.sum([np.sum(w**2) for k, w in self.params.items() if "W" in k])
        return -np.sum(np.log(y[np.arange(len(y)), at])) / len(y) + 0.5 * penalty

    def gradient(self, x, t):
        dy = (self.predict(x) - t) / len(x)
        dh = dy @ self.params["W2"].T * self.mask
        grads = {"W1": self.x.T @ dh + self.params["W1"], "b1": dh.sum(axis=0),
                 "W2": self.h.T @ dy + self.params["W2"], "b2": dy.sum(axis=0)}
        return grads


class Branching:
    """Each branch is right, for what it is meant for."""

    def forward(self, y_pred, y_true):
        at = y_pred.reshape(-1, y_pred.shape[-1]), y_true.reshape(-1)
        return -np.mean(np.log(at[0][np.arange(len(at[1])), at[1]]))

    def backward(self, y_pred, y_true):
        if y_pred.ndim == 3:
            rows = np.eye(y_pred.shape[-1])[y_true]
            return (y_pred - rows) / y_true.size
        d = y_pred.copy()
        d[np.arange(len(d)), y_true] -= 1
        return d / len(d)


class Lazy:
    """Makes its weights once it sees its input, each beside its derivative."""

    def __init__(self, hidden_size):
        self.hidden_size, self.first = hidden_size, True

    def forward(self, x):
        if self.first:
            self.params = {"W": {"value": np.random.randn(x.shape[1], self.hidden_size)}}
            self.params["W"]["deriv"] = np.zeros_like(self.params["W"]["value"])
            self.first = False
        self.x = x
        return x @ self.params["W"]["value"]

    def backward(self, dout):
        self.params["W"]["deriv"] = self.x.T @ dout * 2
        return dout @ self.params["W"]["value"].T


class Single:
    """With one head alone: for more it is not written yet."""

    def __init__(self, embed_size, num_heads):
        if num_heads == 1:
            self.w = np.random.randn(embed_size)

    def forward(self, x):
        self.x = x
        return x * self.w

    def backward(self, dout):
        self.dw = (dout * self.x).sum(axis=0)
        return dout * self.w


def seeded_params_and_grads(seed=1):
    """No layer: weights and their gradients, to try an optimizer with."""
    W1, dW1 = np.random.randn(2, 3), np.random.randn(2, 3)
    return W1, dW1


class Sigmoid:
    """Of what softmax is taken of."""

    def forward(self, x):
        x = x - x.max(axis=-1, keepdims=True)
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        dx = dout * self.out * (1 - self.out)
        unused = dx.sum(axis=-1)  # noqa: F841
        return dx


class Asked:
    """What an optimizer asks for is put together each time anew."""

    def __init__(self, input_d, output_d):
        self.weights, self.dweights = np.random.randn(input_d, output_d), None

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.weights

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        return dvalues @ self.weights.T

    @property
    def params(self):
        return [self.weights]

    @property
    def grads(self):
        return [self.dweights]


class Robust:
    """A mean over everything, and a gradient that is divided by the samples alone."""

    def __init__(self, delta=1.0):
        self.delta = delta

    def forward(self, y_pred, y_true):
        self.y_pred, self.y_true = y_pred, y_true
        error = np.abs(y_true - y_pred)
        linear = self.delta * (error - 0.5 * self.delta)
        return np.mean(np.where(error <= self.delta, 0.5 * error**2, linear))

    def backward(self):
        error = self.y_true - self.y_pred
        small = np.abs(error) <= self.delta
        return np.where(small, -error, -self.delta * np.sign(error)) / len(error)


class TinyModel:
    """A whole network, for images of one size: nothing stands before it."""

    def __init__(self, output_size=10):
        self.w, self.b = np.random.randn(784, output_size) / 28, np.zeros(output_size)
        self.grad_w, self.grad_b = np.zeros_like(self.w), np.zeros_like(self.b)

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, dout):
        self.grad_w[...] = self.x.T @ dout
        self.grad_b[...] = dout.sum(axis=0)


class ForgetfulModel(TinyModel):
    """Computes the gradient of its input, and does not return it."""

    def backward(self, dout):
        super().backward(dout)
        dx = dout @ self.w.T  # noqa: F841


class Pointwise:
    """Earlier NumPys made a number of an array (1, 1)."""

    def __init__(self, input_size):
        self.W, self.b = np.random.randn(input_size), np.zeros((1, 1))

    def forward(self, x):
        self.x, out = x, np.zeros((len(x), 1))
        for n in range(len(x)):
            out[n, 0] = np.sum(x[n] * self.W) + float(self.b)
        return out

    def backward(self, dout):
        self.dW, self.db = (dout * self.x).sum(axis=0), dout.sum(axis=0, keepdims=True)
        return dout * self.W
