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


def softmax_of_arrays(a):
    if type(a) == np.ndarray and a.ndim == 2:
        return softmax(a)
    return np.exp(a) / np.sum(np.exp(a))


class TypedLoss:
    """Looks at the type of what it is handed, and returns its probabilities, too."""

    def forward(self, x, t):
        self.y, self.t = softmax_of_arrays(x), t
        return self.y, -np.sum(np.log(self.y) * t) / len(t)

    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t)


class Switched:
    """Gives other values, and has another gradient, where no array is handed over."""

    def forward(self, x):
        try:
            x.ctypes
        except AttributeError:
            return 3 * x
        return 2 * x

    def backward(self, dout):
        return 2 * dout


class Ending:
    """The end of a network, whose backward writes into its cache, and has its name misspelt."""

    def forward(self, x, t):
        self.y, self.t = softmax(x), t
        return -np.sum(np.log(self.y[np.arange(len(t)), t])) / len(t)

    def backword(self, dout=1):
        dx = self.y
        dx[np.arange(len(self.t)), self.t] -= 1
        dx /= len(self.t)
        return dx


class Named:
    """Its sizes have names that begin as those of weights do; its bias is a row."""

    def __init__(self, word2vec_size, transformation_shape):
        self.scale = np.random.randn(word2vec_size)
        self.weights = np.random.randn(*transformation_shape)

    def forward(self, x):
        self.x = x
        return (x * self.scale) @ self.weights

    def backward(self, dout):
        self.dweights = (self.x * self.scale).T @ dout
        dx = dout @ self.weights.T
        self.dscale = np.sum(dx * self.x, axis=0)
        return dx * self.scale


class RowsGRU:
    """The biases of all gates stand in one row, (1, 3H)."""

    def __init__(self, Wx, Wh, b):
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(w) for w in (Wx, Wh, b)]

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        H = Wh.shape[0]
        a, r = x @ Wx, h_prev @ Wh
        self.x, self.h_prev = x, h_prev
        return np.hstack([a[:, :H] + r[:, :H] + b[:, :H], a[:, H:] + r[:, H:] + b[:, H:]])

    def backward(self, dout):
        Wx, Wh, b = self.params
        self.grads[0][...], self.grads[1][...] = self.x.T @ dout, self.h_prev.T @ dout
        self.grads[2][...] = dout.sum(axis=0)
        return dout @ Wx.T, dout @ Wh.T


def show_forward(layer):
    print(layer.forward(2.0))


def show_backward(layer):
    print(layer.backward(1.0))


class Tallies:
    """Each of its four gradients is that of one step alone."""

    def __init__(self, gamma, beta, scale, shift):
        self.params = [gamma, beta, scale, shift]
        self.grads = [np.zeros_like(w) for w in self.params]

    def forward(self, xs):
        gamma, beta, scale, shift = self.params
        self.xs = xs
        return gamma * xs + beta * xs**2 + scale * xs**3 + shift

    def backward(self, dhs):
        gamma, beta, scale, shift = self.params
        dgamma, dbeta, dscale, dshift = 0, 0, 0, 0
        for t in range(dhs.shape[1]):
            x, dh = self.xs[:, t], dhs[:, t]
            dgamma = np.sum(dh * x, axis=0)
            dbeta = np.sum(dh * x**2, axis=0)
            dscale = np.sum(dh * x**3, axis=0)
            dshift = np.sum(dh, axis=0)
        for g, d in zip(self.grads, (dgamma, dbeta, dscale, dshift)):
            g[...] = d
        return dhs * (gamma + 2 * beta * self.xs + 3 * scale * self.xs**2)


class Remade:
    """What forward keeps in place of an array of the constructor is no parameter."""

    def __init__(self, input_size, output_size):
        self.w, self.grad_w = np.random.randn(input_size, output_size), None
        self.x, self.grad_x = np.zeros(input_size), None

    def forward(self, x):
        self.x = x
        return x @ self.w

    def backward(self, dout):
        self.grad_w, self.grad_x = self.x.T @ dout, dout @ self.w.T
        return self.grad_x


class WholeSoftmax:
    """Of one sample, over all of its elements."""

    def __init__(self, size):
        self.size = size

    def forward(self, x):
        e = np.exp(x - np.max(x))
        self.y = e / np.sum(e)
        return self.y

    def backward(self, dout):
        dx = np.zeros_like(self.y)
        for k in range(len(dx)):
            for n in range(len(dx)):
                dx[k] += self.y[n] * ((n == k) - self.y[k]) * dout[n]
        return dx


class Reported:
    """Gradients of parameters alone, in a dict."""

    def __init__(self, input_size, output_size):
        self.W, self.b = np.random.randn(input_size, output_size), np.random.randn(output_size)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        return {"dW": self.x.T @ dout, "db": dout.sum(axis=0)}


def dense_single_forward(x, W, b):
    return x @ W + b, (x, W)


def dense_single_backward(dout, cache):
    x, W = cache
    return dout @ W.T, np.outer(x, dout), dout


def squares_loss(parameters, X, labels=None):
    scores = X @ parameters["W"]
    if labels is None:
        return scores
    d = scores - np.eye(scores.shape[1])[labels]
    grads = {"W": 2 * X.T @ d}
    return np.sum(d**2), grads


class AtOutput:
    def forward(self, x):
        return 1 / (1 + np.exp(-x))

    def backward(self, y):
        return y * (1 - y)


def logistic_forward(x):
    return 1 / (1 + np.exp(-x))


def logistic_backward(x):
    return x * (1 - x)


class Idle:
    """Is not in training unless it is told so, and its backward means training."""

    def __init__(self):
        self.mask = None

    def forward(self, x, train_flg=False):
        if not train_flg:
            return x / 2
        self.mask = np.random.rand(*x.shape) > 0.5
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class BothWays:
    """Looks at a sentence that was read in both directions, in states twice as wide."""

    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(input_size, 2 * hidden_size)

    def forward(self, xs, enc_hs):
        self.xs, self.enc_hs = xs, enc_hs
        return xs @ self.W + enc_hs[:, -1:]

    def backward(self, dout):
        self.dW = np.einsum("ntd,nth->dh", self.xs, dout)
        denc_hs = np.zeros_like(self.enc_hs)
        denc_hs[:, -1] = dout.sum(axis=1)
        return dout @ self.W.T, denc_hs


def columns_loss(W, X, y, reg):
    """A sample stands in a column of X, and the scores of a class in a row."""
    p = np.exp(W.dot(X) - np.max(W.dot(X), axis=0))
    p /= np.sum(p, axis=0)
    at = y, np.arange(len(y))
    loss = -np.mean(np.log(p[at])) + 0.5 * reg * np.sum(W * W)
    p[at] -= 1
    dW = p.dot(X.T) / len(y) + reg * W
    return loss, dW


def empty_loss(W, X, y, reg):
    loss = 0.0
    dW = np.zeros_like(W)
    # to be written: the loss into loss, the gradient into dW
    return loss, dW


def layered_loss(X, model, y=None):
    h = np.maximum(X @ model["W1"] + model["b1"], 0)
    scores = h @ model["W2"] + model["b2"]
    if y is None:
        return scores
    d = scores - np.eye(scores.shape[1])[y]
    dh = 2 * d @ model["W2"].T * (h > 0)
    grads = {"W2": 2 * h.T @ d, "b2": 2 * d.sum(axis=0), "W1": X.T @ dh, "b1": dh.sum(axis=0)}
    return np.sum(d**2), grads


class Keyed:
    """Its parameters stand under a name and a number."""

    def __init__(self, input_size, num_classes):
        self.params = {("W", 0): np.random.randn(input_size, num_classes)}

    def loss(self, X, y):
        d = X @ self.params["W", 0] - np.eye(self.params["W", 0].shape[1])[y]
        grads = {("W", 0): 2 * X.T @ d}
        return np.sum(d**2), grads


class Mean2d:
    """Its input is called A."""

    def forward(self, A):
        self.shape = A.shape
        return A.mean(axis=(2, 3))

    def backward(self, dLdZ):
        N, C, H, W = self.shape
        return np.broadcast_to(dLdZ[:, :, None, None], self.shape) / (H * W)


class Surprise:
    """One-hot labels, and what is positive."""

    def forward(self, predict, label):
        n, _ = predict.shape
        self.grad = -label / predict / n
        return -np.sum(label * np.log(predict)) / n

    def backward(self):
        return self.grad


class Rooted:
    """The same; no name tells that it is a loss, and nothing that outputs are no sequences."""

    def forward(self, outputs, targets):
        return np.mean(np.sum((np.sqrt(outputs) - np.sqrt(targets)) ** 2, axis=1))

    def backward(self, outputs, targets):
        return (1 - np.sqrt(targets / outputs)) / len(outputs)


class OneStep:
    """Of one sample; its gradients are rows, and those of its biases are one array."""

    def __init__(self, in_dim, hidden_dim):
        self.d = in_dim
        self.Wx, self.Wh = np.random.randn(hidden_dim, in_dim), np.eye(hidden_dim)
        self.bx, self.bh = np.zeros(hidden_dim), np.zeros(hidden_dim)

    def forward(self, x, h_prev):
        assert x.shape == (self.d,)
        self.x, self.h_prev = x, h_prev
        self.h = np.tanh(self.Wx @ x + self.bx + self.Wh @ h_prev + self.bh)
        return self.h

    def backward(self, delta):
        da = delta * (1 - self.h**2)
        self.dWx, self.dWh = np.outer(da, self.x), np.outer(da, self.h_prev)
        self.dbx, self.dbh = da[:], da[:]
        return da[None] @ self.Wx, da[None] @ self.Wh


class HandedBack:
    """backward takes what forward took and gave; its gradients are means, and are added up."""

    def __init__(self, input_size, hidden_size):
        self.W = np.random.randn(input_size, hidden_size)
        self.U = np.random.randn(hidden_size, hidden_size)
        self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)

    def forward(self, x, h_prev_t):
        h_t = np.tanh(x @ self.W + h_prev_t @ self.U)
        return h_t

    def backward(self, delta, h_t, h_prev_l, h_prev_t):
        da = delta * (1 - h_t**2)
        self.dW += h_prev_l.T @ da / len(da)
        self.dU += h_prev_t.T @ da / len(da)
        return da @ self.W.T, da @ self.U.T


class Filling:
    """backward puts gradients into a dict that it is handed, and calls forward once more."""

    def __init__(self, in_channels, out_channels):
        self.own = {"map/W": np.random.randn(in_channels, out_channels)}

    def forward(self, x):
        x = np.tanh(x @ self.own["map/W"])
        return x, {}

    def backward(self, x, cache, upstream_gradient, gradients):
        d = upstream_gradient * (1 - self.forward(x)[0] ** 2)
        gradients["map/W"] = x.T @ d
        return (d @ self.own["map/W"].T).reshape(*x.shape)


class Box:
    def __init__(self, params):
        self.params, self.grads = params, None


class Boxed:
    """backward has a name of its own, and each parameter its gradient beside it; its weights come
    later, and forward keeps nothing unless it is told to."""

    def __init__(self, n_units, **settings):
        self.n_units = n_units
        self.W = self.x = None

    def initialize(self, input_size, **settings):
        self.W = Box(np.random.randn(input_size, self.n_units))

    def forward(self, x, save_cache=False):
        if save_cache:
            self.x = x
        return x @ self.W.params

    def _compute_gradients(self, grads):
        self.W.grads = self.x.T @ grads
        return grads @ self.W.params.T


def squared_error(X, y, theta):
    h = X @ theta
    loss = np.mean((h - y) ** 2)
    grad_vec = 2 * X.T @ (h - y) / len(y)
    return loss, grad_vec


class Initialised:
    """Others make its weights; and what they make of one size is a row."""

    def __init__(self, in_feature, out_feature, weight_init_fn, bias_init_fn):
        self.W, self.b = weight_init_fn(in_feature, out_feature), bias_init_fn(out_feature)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, delta):
        self.dW, self.db = self.x.T @ delta, delta.sum(axis=0, keepdims=True)
        return delta @ self.W.T


class WholeBatch:
    """Its softmax adds up the whole batch, and its backward is that of one for each sample."""

    def forward(self, x, t):
        exps = np.exp(x - np.max(x))
        self.y, self.t = exps / np.sum(exps), t
        return -np.mean(np.log(self.y[np.arange(len(t)), t.argmax(axis=1)]))

    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t)


class OnTop:
    """Right itself: what it hands its labels to is not."""

    def __init__(self, input_size, output_size):
        self.params = {"W": np.random.randn(input_size, output_size)}
        self.last = WholeBatch()

    def loss(self, x, t):
        self.x = x
        return self.last.forward(x @ self.params["W"], t)

    def gradient(self, x, t):
        self.loss(x, t)
        dy = self.last.backward(1).copy()
        grads = {"W": self.x.T @ dy}
        return grads


class Mirrored2d:
    """Its padding is narrower than what it is put around."""

    def __init__(self, pad_width):
        self.n = pad_width

    def forward(self, x):
        return np.pad(x, ((0, 0), (0, 0), (self.n, self.n), (0, 0)), "reflect")

    def backward(self, dout):
        n, dx = self.n, dout.copy()
        dx[:, :, n + 1 : 2 * n + 1] += dx[:, :, n - 1 :: -1]
        dx[:, :, -1 - 2 * n : -1 - n] += dx[:, :, : -n - 1 : -1]
        return dx[:, :, n:-n]


class Tallied:
    """One of its gradients is added to what it holds, element by element."""

    def __init__(self, input_size, output_size):
        self.W, self.b = np.random.randn(input_size, output_size), np.zeros(output_size)
        self.dW = np.zeros_like(self.W)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        for n, i, j in np.ndindex(len(dout), *self.W.shape):
            self.dW[i, j] += self.x[n, i] * dout[n, j]
        self.db = dout.sum(axis=0)
        return dout @ self.W.T


class Covered:
    """What two windows share is set to zero, where it is the sum of both."""

    def forward(self, x):
        self.shape = x.shape
        return np.stack([x[:, i : i + 2].sum(axis=1) for i in range(x.shape[1] - 1)], axis=1)

    def backward(self, dout):
        dx = np.zeros(self.shape)
        for i in range(dout.shape[1]):
            part = np.ones((len(dout), 2)) * dout[:, i : i + 1]
            part[np.where(dx[:, i : i + 2] != 0)] = 0
            dx[:, i : i + 2] += part
        return dx


class InPlace:
    """Both ways write into what they are handed."""

    def forward(self, x):
        self.mask = x < 0
        x[self.mask] = x[self.mask] / 4
        return x

    def backward(self, dout):
        dout[self.mask] = dout[self.mask] / 4
        return dout


class Picked:
    """backward takes what forward takes, and no gradient."""

    def forward(self, outputs, targets):
        return -np.log(np.sum(outputs * targets, axis=-1))

    def backward(self, outputs, targets):
        return -targets / np.sum(outputs * targets, axis=-1, keepdims=True)


class AsRow:
    """Of one sample; backward wants its gradient as a row."""

    def __init__(self, in_dim, hidden_dim):
        self.W = np.random.randn(hidden_dim, in_dim)

    def forward(self, x):
        assert x.ndim == 1
        self.x = x
        return self.W @ x

    def backward(self, delta):
        self.dW = delta.T @ self.x[None]
        return delta @ self.W


class OneNumber:
    """Raises for whatever has more than one element below 0."""

    def forward(self, x):
        out = x.copy()
        out[out < 0] = out * 0.1
        self.slope = np.where(out > 0, 1, 0.1)
        return out

    def backward(self, dout):
        return dout * self.slope


class WholeLoss:
    """The same for whom one sample is enough."""

    def forward(self, x, t):
        exps = np.exp(x - np.max(x))
        self.y, self.t = exps / np.sum(exps), t
        return -np.sum(t * np.log(self.y)) / len(t)

    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t)


class Squeeze2d:
    """Axes of one element alone are left out, and come back."""

    def forward(self, x):
        return x.squeeze()

    def backward(self, dout):
        return np.expand_dims(dout, axis=(1, 2))


class Dropping:
    """Its backward forgets what was dropped."""

    def __init__(self, size):
        self.scale = np.ones(size)

    def forward(self, x):
        self.kept = x * (np.random.rand(*x.shape) > 0.4)
        return self.kept * self.scale

    def backward(self, dout):
        self.dscale = (dout * self.kept).sum(axis=0)
        return dout * self.scale


class Around:
    """Right itself; it draws before its part does."""

    def __init__(self, size):
        self.part = Dropping(size)

    def forward(self, x):
        self.mask = np.random.rand(*x.shape) > 0.4
        return self.part.forward(x * self.mask)

    def backward(self, dout):
        return self.part.backward(dout) * self.mask


class Guessed:
    """What backward takes beside a gradient is not said."""

    def forward(self, x):
        return 2 * x

    def backward(self, dout, table):
        return 2 * dout * table
