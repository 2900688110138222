"""The same layers in the forms in which people write them."""

import numpy as np


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h ** 2)
    dx = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx = x.T.dot(da)
    dWh = prev_h.T.dot(da)
    db = da.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    h = np.zeros((N, T, h0.shape[1]))
    cache = []
    prev = h0
    for t in range(T):
        prev, c = rnn_step_forward(x[:, t], prev, Wx, Wh, b)
        h[:, t] = prev
        cache.append(c)
    return h, cache


def rnn_backward(dh, cache):
    N, T, H = dh.shape
    D = cache[0][0].shape[1]
    dx = np.zeros((N, T, D))
    dWx, dWh, db = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    dprev = np.zeros((N, H))
    for t in reversed(range(T)):
        dx[:, t], dprev, a, b_, c = rnn_step_backward(dh[:, t] + dprev, cache[t])
        dWx += a; dWh += b_; db += c  # noqa: E702
    dh0 = dprev
    return dx, dh0, dWx, dWh, db


def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    N = x.shape[0]
    loss = -np.sum(np.log(p[np.arange(N), y])) / N
    dx = p.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def rnn_cell_forward(xt, a_prev, parameters):
    Wax, Waa, Wya = parameters["Wax"], parameters["Waa"], parameters["Wya"]
    ba, by = parameters["ba"], parameters["by"]
    a_next = np.tanh(np.dot(Waa, a_prev) + np.dot(Wax, xt) + ba)
    z = np.dot(Wya, a_next) + by
    yt_pred = np.exp(z) / np.sum(np.exp(z), axis=0)
    cache = (a_next, a_prev, xt, parameters)
    return a_next, yt_pred, cache


def rnn_cell_backward(da_next, cache):
    (a_next, a_prev, xt, parameters) = cache
    Wax, Waa = parameters["Wax"], parameters["Waa"]
    dtanh = (1 - a_next ** 2) * da_next
    dxt = np.dot(Wax.T, dtanh)
    dWax = np.dot(dtanh, xt.T)
    da_prev = np.dot(Waa.T, dtanh)
    dWaa = np.dot(dtanh, a_prev.T)
    dba = np.sum(dtanh, axis=1, keepdims=True)
    gradients = {"dxt": dxt, "da_prev": da_prev, "dWax": dWax, "dWaa": dWaa, "dba": dba}
    return gradients


class Dense:
    def __init__(self, n_in, n_out):
        self.params = {"W": np.random.randn(n_in, n_out), "b": np.zeros(n_out)}
        self.grads = {}

    def forward_pass(self, X):
        self.X = X
        return X @ self.params["W"] + self.params["b"]

    def backward_pass(self, grad_out):
        self.grads["dW"] = self.X.T @ grad_out
        self.grads["db"] = grad_out.sum(0)
        return grad_out @ self.params["W"].T


class Net:
    def __init__(self, input_size, hidden_size, num_classes):
        self.params = {"W1": np.random.randn(input_size, hidden_size),
                       "W2": np.random.randn(hidden_size, num_classes)}

    def loss(self, X, y):
        h = np.maximum(0, X @ self.params["W1"])
        s = h @ self.params["W2"]
        loss, ds = softmax_loss(s, y)
        grads = {"W2": h.T @ ds}
        grads["W1"] = X.T @ ((ds @ self.params["W2"].T) * (h > 0))
        return loss, grads


class Forgets:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


def steps_forward(x, h0, Wx, Wh, b):
    """Time first."""
    T, N, D = x.shape
    h, before, cache = np.zeros((T, N, len(b))), h0, []
    for t in range(T):
        h[t] = np.tanh(x[t] @ Wx + before @ Wh + b)
        cache.append((x[t], before, h[t]))
        before = h[t]
    return h, (Wx, Wh, cache)


def steps_backward(dh, cache):
    Wx, Wh, steps = cache
    dx = np.zeros((*dh.shape[:2], len(Wx)))
    dWx, dWh, db, dbefore = np.zeros(Wx.shape), np.zeros(Wh.shape), np.zeros(len(Wh)), 0
    for t in reversed(range(len(dh))):
        x, before, h = steps[t]
        da = (dh[t] + dbefore) * (1 - h**2)
        dx[t], dbefore = da @ Wx.T, da @ Wh.T
        dWx += x.T @ da
        dWh += before.T @ da
        db += da.sum(axis=0)
    return dx, dbefore, dWx, dWh, db


class ListCell:
    """Its inputs come as a list; backward is handed it again, and adds to its gradients."""

    def __init__(self, in_features, units):
        self.kernel = np.random.randn(in_features, units)
        self.recurrent_kernel = np.random.randn(units, units)
        self.bias = np.zeros(units)
        self.k_grad = np.zeros(self.kernel.shape)
        self.r_kernel_grad = np.zeros(self.recurrent_kernel.shape)
        self.b_grad = np.zeros(self.bias.shape)

    def forward(self, inputs):
        return np.tanh(inputs[0] @ self.kernel + inputs[1] @ self.recurrent_kernel + self.bias)

    def backward(self, in_grads, inputs):
        outputs = self.forward(inputs)
        da = in_grads * (1 - outputs**2)
        self.k_grad += inputs[0].T @ da
        self.r_kernel_grad += inputs[1].T @ da
        self.b_grad += da.sum(axis=0)
        return [da @ self.kernel.T, da @ self.recurrent_kernel.T]


class StateCell:
    """The state comes as a tuple."""

    def __init__(self, W, U, b):
        self.W, self.U, self.b = W, U, b

    def forward(self, x, state):
        h, c = state
        a = np.tanh(x @ self.W + h @ self.U + self.b)
        c_next = 0.5 * c + a
        self.cache = x, h, a, c_next
        return np.tanh(c_next), c_next

    def backward(self, dh, dc):
        x, h, a, c_next = self.cache
        dc = dc + dh * (1 - np.tanh(c_next) ** 2)
        da = dc * (1 - a**2)
        self.dW, self.dU, self.db = x.T @ da, h.T @ da, da.sum(axis=0)
        return da @ self.W.T, da @ self.U.T, 0.5 * dc


class Shared:
    """Holds a part that has its weights; its gradients are nothing before backward."""

    def __init__(self, W, b):
        self.W, self.b, self.dW, self.db = W, b, None, None
        self.part = Part(W, b)

    def forward(self, x):
        return self.part.forward(x)

    def backward(self, dout):
        dx = self.part.backward(dout)
        self.dW, self.db = 1 * self.part.dW, 1 * self.part.db
        return dx


class Part:
    def __init__(self, W, b):
        self.W, self.b, self.dW, self.db = W, b, None, None

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


def single_forward(x, prev_h, c0, Wx, Wh, b):
    """One sample, without a batch; no gradient of c0, which is zero."""
    H = len(prev_h)
    a = x @ Wx + prev_h @ Wh + b
    gate, u = 1 / (1 + np.exp(-a[:H])), np.tanh(a[H:] + c0)
    return gate * u, (x, prev_h, gate, u, Wx, Wh)


def single_backward(dh, cache):
    x, prev_h, gate, u, Wx, Wh = cache
    da = np.hstack([dh * u * gate * (1 - gate), dh * gate * (1 - u**2)])
    dx, dprev_h = Wx @ da, Wh @ da
    dWx, dWh, db = np.outer(x, da), np.outer(prev_h, da), da
    return dx, dprev_h, dWx, dWh, db


def scaled_forward(x, W, b, b_scale):
    return (x @ W) * b_scale + b, (x, W, b_scale)


def scaled_backward(dout, cache):
    x, W, b_scale = cache
    return (dout * b_scale) @ W.T, x.T @ (dout * b_scale), dout.sum(0), (dout * (x @ W)).sum(0)


class Tagger:
    """Ids, tags as ids, and lengths, under names that could be anything."""

    def __init__(self, vocab_size, emb_dim, num_kinds):
        self.params = [np.random.randn(vocab_size, emb_dim), np.random.randn(emb_dim, num_kinds)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, xs, ys, lengths):
        E, W = self.params
        scores = E[xs] @ W
        p = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        there = np.arange(xs.shape[1]) < lengths[:, None]
        rows, steps = np.nonzero(there)
        self.cache = xs, ys, p, rows, steps
        return -np.log(p[rows, steps, ys[there]]).mean()

    def backward(self):
        (E, W), (xs, ys, p, rows, steps) = self.params, self.cache
        d = p[rows, steps] / len(rows)
        d[np.arange(len(rows)), ys[rows, steps]] -= 1 / len(rows)
        self.grads[1][...] = E[xs[rows, steps]].T @ d
        self.grads[0][...] = 0
        np.add.at(self.grads[0], xs[rows, steps], d @ W.T)
