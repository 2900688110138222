"""Functions and networks as courses and tutorials ask for them."""

import numpy as np


def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = (np.random.rand(*x.shape) < p) / p if mode == "train" else 1.0
    return (x * mask).astype(x.dtype, copy=False), (dropout_param, mask)


def dropout_backward(dout, cache):
    return dout * cache[1]


def pool_forward(x, pool_param):
    N, C, H, W = x.shape
    k, s = pool_param["pool_height"], pool_param["stride"]
    out = np.zeros((N, C, (H - k) // s + 1, (W - k) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.mean(x[:, :, i * s : i * s + k, j * s : j * s + k], axis=(2, 3))
    return out, (x.shape, pool_param)


def pool_backward(dout, cache):
    shape, pool_param = cache
    k, s = pool_param["pool_height"], pool_param["stride"]
    dx = np.zeros(shape)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dx[:, :, i * s : i * s + k, j * s : j * s + k] += dout[:, :, i, j, None, None] / k**2
    return dx


def norm_forward(x, gamma, beta, norm_param):
    eps = norm_param.get("eps", 1e-5)
    std = np.sqrt(x.var(axis=1, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=1, keepdims=True)) / std
    return gamma * x_hat + beta, (x_hat, std, gamma)


def norm_backward(dout, cache):
    x_hat, std, gamma = cache
    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)
    d = dout * gamma
    dx = (d - d.mean(1, keepdims=True) - x_hat * np.mean(d * x_hat, 1, keepdims=True)) / std
    return dx, dgamma, dbeta


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    """The batch in columns: xt (D, N)."""
    joined = np.concatenate((a_prev, xt))
    ft = sigmoid(parameters["Wf"] @ joined + parameters["bf"])
    it = sigmoid(parameters["Wi"] @ joined + parameters["bi"])
    cct = np.tanh(parameters["Wc"] @ joined + parameters["bc"])
    c_next = ft * c_prev + it * cct
    ot = sigmoid(parameters["Wo"] @ joined + parameters["bo"])
    a_next = ot * np.tanh(c_next)
    yt = parameters["Wy"] @ a_next + parameters["by"]
    return a_next, c_next, yt, (joined, c_prev, ft, it, cct, ot, c_next, parameters)


def lstm_cell_backward(da_next, dc_next, cache):
    joined, c_prev, ft, it, cct, ot, c_next, parameters = cache
    tanh = np.tanh(c_next)
    dc = dc_next + da_next * ot * (1 - tanh**2)
    gates = {"o": da_next * tanh * ot * (1 - ot), "c": dc * it * (1 - cct**2),
             "i": dc * cct * it * (1 - it), "f": dc * c_prev * ft * (1 - ft)}
    gradients = {"dW" + k: d @ joined.T for k, d in gates.items()}
    gradients.update({"db" + k: d.sum(1, keepdims=True) for k, d in gates.items()})
    djoined = sum(parameters["W" + k].T @ d for k, d in gates.items())
    H = len(c_next)
    gradients.update({"da_prev": djoined[:H], "dxt": djoined[H:], "dc_prev": dc * ft})
    return gradients


def lstm_forward(x, a0, parameters):
    H, N = a0.shape
    a = np.zeros((H, N, x.shape[2]))
    at, ct, caches = a0, np.zeros((H, N)), []
    for t in range(x.shape[2]):
        at, ct, _, cache = lstm_cell_forward(x[:, :, t], at, ct, parameters)
        a[:, :, t] = at
        caches.append(cache)
    return a, caches


def lstm_backward(da, caches):
    H, N, T = da.shape
    sums, dat, dct = {}, np.zeros((H, N)), np.zeros((H, N))
    dx = []
    for t in reversed(range(T)):
        g = lstm_cell_backward(da[:, :, t] + dat, dct, caches[t])
        dat, dct = g.pop("da_prev"), g.pop("dc_prev")
        dx.insert(0, g.pop("dxt"))
        sums = {k: v + sums.get(k, 0) for k, v in g.items()}
    return {**sums, "dx": np.stack(dx, axis=2), "da0": dat}


def scored_forward(x, W, y, mask):
    """A loss beside the scores, for which backward is handed no gradient."""
    scores = x @ W
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p, rows = e / e.sum(axis=1, keepdims=True), np.arange(len(y))
    loss = -np.sum(mask * np.log(p[rows, y]))
    p[rows, y] -= 1
    return scores, loss, (x, W, p * mask[:, None])


def scored_backward(dscores, cache):
    x, W, dloss = cache
    d = dscores + dloss
    return d @ W.T, x.T @ d


def area_forward(x, y):
    return x * y, (x, y)


def area_backward(cache):
    """At the point where forward was: nothing is handed down."""
    x, y = cache
    dx, dy = y, x
    return dx, dy


# --- networks ------------------------------------------------------------------------------------


class ColumnRNN:
    """One column of inputs a step; backward clips, and applies the update itself."""

    def __init__(self, input_size, output_size, hidden_size=64):
        self.Whh = np.random.randn(hidden_size, hidden_size) / 10
        self.Wxh = np.random.randn(hidden_size, input_size) / 10
        self.Why = np.random.randn(output_size, hidden_size) / 10
        self.bh, self.by = np.zeros((hidden_size, 1)), np.zeros((output_size, 1))

    def forward(self, inputs):
        h = np.zeros((len(self.Whh), 1))
        self.inputs, self.hs = inputs, [h]
        for x in inputs:
            h = np.tanh(self.Wxh @ x + self.Whh @ h + self.bh)
            self.hs.append(h)
        return self.Why @ h + self.by, h

    def backprop(self, d_y, learn_rate=2e-2):
        d_Why, d_by = d_y @ self.hs[-1].T, d_y
        d_Whh, d_Wxh, d_bh = (np.zeros_like(w) for w in (self.Whh, self.Wxh, self.bh))
        d_h = self.Why.T @ d_y
        for t in reversed(range(len(self.inputs))):
            temp = (1 - self.hs[t + 1] ** 2) * d_h
            d_bh += temp
            d_Whh += temp @ self.hs[t].T
            d_Wxh += temp @ self.inputs[t].T
            d_h = self.Whh.T @ temp
        for d in [d_Wxh, d_Whh, d_Why, d_bh, d_by]:
            np.clip(d, -0.1, 0.1, out=d)
        self.Whh -= learn_rate * d_Whh
        self.Wxh -= learn_rate * d_Wxh
        self.Why -= learn_rate * d_Why
        self.bh -= learn_rate * d_bh
        self.by -= learn_rate * d_by


class Regression:
    """Backward takes the target: half the squared error."""

    def __init__(self, input_size, output_size):
        self.W = np.random.randn(input_size, output_size)

    def forward(self, X):
        self.X = X
        self.out = np.tanh(X @ self.W)
        return self.out

    def backward(self, y):
        d = (self.out - y) * (1 - self.out**2)
        self.dW = self.X.T @ d
        return d @ self.W.T


class Classifier:
    """Backward takes outputs and targets: the mean of the cross entropy; and returns nothing."""

    def __init__(self, input_size, output_size, lr=0.1):
        self.W, self.b, self.lr = np.random.randn(input_size, output_size), np.zeros(output_size), lr

    def forward(self, X):
        self.X = X
        e = np.exp(X @ self.W + self.b)
        return e / e.sum(axis=1, keepdims=True)

    def backward(self, y_pred, y_true):
        d = (y_pred - y_true) / len(y_true)
        self.W -= self.lr * self.X.T @ d
        self.b -= self.lr * d.sum(axis=0)


class Model:
    """A network with its loss, which hands nothing down to its data."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, features, labels):
        scores = features @ self.params[0]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        self.cache = features, labels, e / e.sum(axis=1, keepdims=True)
        return -np.mean(np.log(self.cache[2][np.arange(len(labels)), labels]))

    def backward(self):
        x, t, p = self.cache
        d = p.copy()
        d[np.arange(len(t)), t] -= 1
        self.grads[0][...] = x.T @ d / len(t)


class Later:
    """A layer that is not written yet."""

    def forward(self, x):
        return np.tanh(x)

    def backward(self):
        pass


class OnEither:
    """Ids that may be an array of CuPy's: no dict of settings."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, idx):
        if hasattr(idx, "device_id"):
            idx = idx.get()
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.idx, dout)


class Block:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x, self.y = x, np.tanh(x @ self.params[0])
        return self.y

    def backward(self, dout):
        d = dout * (1 - self.y**2)
        self.grads[0][...] = self.x.T @ d
        return d @ self.params[0].T


class Deep:
    """Blocks one above the other, whose gradients are those of the whole: no steps of time."""

    def __init__(self, hidden_size):
        self.blocks = [Block(np.random.randn(hidden_size, hidden_size)) for _ in range(2)]
        self.params = [p for b in self.blocks for p in b.params]
        self.grads = [g for b in self.blocks for g in b.grads]

    def forward(self, h):
        for b in self.blocks:
            h = b.forward(h)
        return h

    def backward(self, dh):
        for b in reversed(self.blocks):
            dh = b.backward(dh)
        return dh


def even_forward(x, options, depth=2):
    """Two functions that call each other."""
    return odd_forward(x, options, depth - 1) if depth else (x * options["rate"], options)


def odd_forward(x, options, depth):
    return even_forward(x, options, depth - 1)


def even_backward(dout, cache):
    return dout * cache["rate"]


def exercise_forward(x, W):
    return x @ W, (x, W)


def exercise_backward(dout, cache):
    x, W = cache
    # your code here
    dx = None
    dW = None
    return dx, dW
