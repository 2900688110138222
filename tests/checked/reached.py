"""What was met with inputs, activations and gradients of other kinds than the book's."""

import numpy as np


class ForOne:
    """Written for one sample, which stands in a column: no bias has its gradient summed."""

    def __init__(self, input_size, units):
        self.W, self.b = np.random.randn(units, input_size), np.zeros((units, 1))
        self.V, self.c = np.random.randn(units, input_size), np.zeros((units, 1))

    def forward(self, x):
        self.x, self.y, self.z = x, np.tanh(self.W @ x + self.b), self.V @ x + self.c
        return self.y * self.z

    def backward(self, dout):
        da, dz = dout * self.z * (1 - self.y**2), dout * self.y
        self.dW, self.db = da @ self.x.T, da
        self.dV, self.dc = dz @ self.x.T, dz
        return self.W.T @ da + self.V.T @ dz


class Unsummed:
    """The same in a layer that knows of the batch: one is forgotten."""

    def __init__(self, input_size, units):
        self.W, self.b = np.random.randn(units, input_size), np.zeros((units, 1))
        self.g = np.ones((units, 1))

    def forward(self, x):
        self.x = x
        self.a = self.W @ x + self.b
        return self.a * self.g

    def backward(self, dout):
        self.dg = np.sum(dout * self.a, axis=1, keepdims=True)
        da = dout * self.g
        self.dW, self.db = da @ self.x.T, da
        return self.W.T @ da


class BinaryLoss:
    """One probability for each label, in a column."""

    def forward(self, y_true, y_pred):
        t = y_true.reshape(-1, 1)
        return -np.mean(t * np.log(y_pred) + (1 - t) * np.log(1 - y_pred))

    def backward(self, y_true, y_pred):
        t = y_true.reshape(-1, 1)
        return (y_pred - t) / (y_pred * (1 - y_pred)) / len(t)


class ColumnLoss:
    """Its gradient is one column: so are the numbers that it is meant for."""

    def forward(self, outputs, true_labels):
        self.gap = outputs - true_labels
        return np.mean(self.gap**2)

    def backward(self):
        return 2 * np.sum(self.gap, axis=1).reshape(-1, 1) / len(self.gap)


class OneRowLoss:
    """Probabilities of one row; backward is handed them."""

    def forward(self, inputs, y_true):
        probs = np.exp(inputs) / np.sum(np.exp(inputs), axis=1)
        return probs, -np.log(probs.ravel()[y_true.argmax()])

    def backward(self, probs, y_true):
        probs[0][y_true.argmax()] -= 1
        return probs


class EachStep:
    """Gives the gradients of each step; who applies them adds them up."""

    def __init__(self, input_size, hidden_size):
        self.W, self.U = np.random.randn(input_size, hidden_size), np.eye(hidden_size)
        self.b = np.zeros((hidden_size, 1))

    def forward(self, xs):
        steps, rows, _ = xs.shape
        self.xs, self.hs = xs, [np.zeros((rows, len(self.U)))]
        for t in range(steps):
            self.hs.append(np.tanh(xs[t] @ self.W + self.hs[-1] @ self.U + self.b.T))
        return self.hs[-1]

    def backward(self, dh):
        steps = len(self.xs)
        dW, dU, db = (np.zeros((steps, *p.shape)) for p in (self.W, self.U, self.b))
        for t in reversed(range(steps)):
            da = dh * (1 - self.hs[t + 1] ** 2)
            dW[t], dU[t] = self.xs[t].T @ da, self.hs[t].T @ da
            db[t] = da.sum(axis=0).reshape(-1, 1)
            dh = da @ self.U.T
        self.grads = {"dW": dW, "dU": dU, "db": db}
        return self.grads


class FromState:
    """A network over time, which begins where it is told to; backward gives those of weights."""

    def __init__(self, input_size, hidden_size):
        self.W, self.U = np.random.randn(input_size, hidden_size), np.eye(hidden_size)

    def forward(self, inputs, h_prev):
        self.hs = {-1: h_prev}
        for t in range(len(inputs)):
            self.hs[t] = np.tanh(inputs[t] @ self.W + self.hs[t - 1] @ self.U)
        return self.hs[len(inputs) - 1]

    def backward(self, dout, inputs):
        dW, dU = np.zeros_like(self.W), np.zeros_like(self.U)
        for t in reversed(range(len(inputs))):
            da = dout * (1 - self.hs[t] ** 2)
            dW += inputs[t].T @ da
            dU += self.hs[t - 1].T @ da
            dout = da @ self.U.T
        return dW, dU


class Flat:
    """Backward takes what all take, and has no use for it."""

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad, _):
        return grad.reshape(self.shape)


class Activated:
    """Its activation is an object."""

    def __init__(self, inputs, units, activation):
        self.weight = np.random.randn(inputs, units)
        self.activation = activation

    def forward(self, x):
        self.x = x
        self.a = x @ self.weight
        return self.activation(self.a)

    def backward(self, dout):
        da = dout * self.activation.derivative(self.a)
        self.dweight = self.x.T @ da
        return da @ self.weight.T


class Wrapping:
    """A function, and its derivative beside it."""

    def __init__(self, function, derivative):
        self.function, self.derivative = function, derivative

    def forward(self, x):
        self.x = x
        return np.tanh(x)

    def backward(self, dout):
        return dout * self.derivative(self.x)


class Built:
    """Its weights are made once the shape of what comes in is known."""

    def __init__(self, units):
        self.units = units

    def build(self, input_size):
        self.kernel = np.random.randn(int(np.prod(input_size[1:])), self.units)

    def forward(self, x):
        self.x = x
        return x @ self.kernel

    def backward(self, dout):
        self.kernel_grad = self.x.T @ dout
        return dout @ self.kernel.T


class Sampled:
    """The shape is that of what comes out: of what goes in, the second half is a spread."""

    def __init__(self, shape_out):
        self.n = (shape_out[0], shape_out[1], shape_out[2])

    def forward(self, x):
        rng = np.random.default_rng(0)
        self.noise = rng.normal(size=self.n)
        return x[:, :, : self.n[2]] + x[:, :, self.n[2]:] * self.noise

    def backward(self, dy):
        dx = np.zeros((self.n[0], self.n[1], 2 * self.n[2]))
        dx[:, :, : self.n[2]] = dy
        dx[:, :, self.n[2]:] = dy * self.noise
        return dx


class WordRows:
    """The gradient of the matrix has but the first letter of its name."""

    def __init__(self, vocab_size, embed_size):
        self.embed_matrix = np.random.randn(vocab_size, embed_size)
        self.gradients = {}

    def forward(self, ids):
        self.ids = ids
        return self.embed_matrix[ids]

    def backward(self, dout):
        dE = np.zeros_like(self.embed_matrix)
        np.add.at(dE, self.ids, dout)
        self.gradients = {"dLdE": dE}


class Masked:
    """Without a mask, which may be left out, backward has nothing to work with."""

    def forward(self, query, keys=None, mask=None):
        self.q, self.k = query, query if keys is None else keys
        scores = self.q @ self.k.swapaxes(1, 2)
        if mask is not None:
            self.mask = mask
            scores = np.where(mask, scores, 0)
        return scores

    def backward(self, dout):
        dout = np.where(self.mask, dout, 0)
        return dout @ self.k, dout.swapaxes(1, 2) @ self.q


class Highest:
    """np.unravel_index with a name that NumPy 1 had for its argument."""

    def forward(self, x):
        self.x = x
        return x.max(axis=(1, 2))

    def backward(self, dout):
        dx = np.zeros_like(self.x)
        for n, rows in enumerate(self.x):
            i, j = np.unravel_index(np.argmax(rows), dims=rows.shape)
            dx[n, i, j] = dout[n]
        return dx
