"""What is found from the use that came furthest, what stands elsewhere than a gradient usually
does, and what is no mistake where it is meant."""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def tagged_forward(x, h0, Wx, Wh, Ws, bs, y):
    """Seven arguments: too many for trying them all."""
    N, T, _ = x.shape
    hs, h, loss, douts = np.zeros((N, T, len(Wh))), h0, 0.0, []
    for t in range(T):
        h = np.tanh(x[:, t] @ Wx + h @ Wh)
        p = softmax(h @ Ws + bs)
        loss -= np.sum(np.log(p[np.arange(N), y[:, t]]))
        p[np.arange(N), y[:, t]] -= 1
        douts.append(p)
        hs[:, t] = h
    return loss, (x, h0, Wx, Wh, Ws, hs, douts)


def tagged_backward(cache):
    x, h0, Wx, Wh, Ws, hs, douts = cache
    T = x.shape[1]
    dx, dh = np.zeros_like(x), np.zeros_like(h0)
    dWx, dWh, dWs = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(Ws)
    dbs = np.zeros(Ws.shape[1])
    for t in reversed(range(T)):
        h = hs[:, t]
        dWs += h.T @ douts[t]
        dbs += douts[t].sum(axis=0)
        da = (douts[t] @ Ws.T + dh) * (1 - h * h)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += (hs[:, t - 1] if t else h0).T @ da
        dh = da @ Wh.T
    return dx, dh, dWx, dWh, dWs, dbs


def model_forward(X, parameters):
    """As many layers as there are parameters, with the batch in columns."""
    A, caches = X, []
    for l in range(1, len(parameters) // 2 + 1):  # noqa: E741
        W, b = parameters["W" + str(l)], parameters["b" + str(l)]
        caches.append((A, W))
        A = sigmoid(W @ A + b)
    return A, caches


def model_backward(A, Y, caches):
    grads, dA = {}, (1 - Y) / (1 - A) - Y / A
    for l in reversed(range(len(caches))):  # noqa: E741
        before, W = caches[l]
        dZ = dA * A * (1 - A)
        grads["dW" + str(l + 1)] = dZ @ before.T / A.shape[1]
        grads["db" + str(l + 1)] = dZ.sum(axis=1, keepdims=True) / A.shape[1]
        dA, A = W.T @ dZ, before
    return grads


def cost_n_forward(x, theta):
    return np.dot(theta, x)


def cost_n_backward(x, theta):
    dtheta = x
    return dtheta


def forward_propagation(x):
    return 2 * x


def backward_propagation(dout):
    return 3 * dout


def forward_propagation_n(x):
    return x**3


def backward_propagation_n(dout, x):
    return dout * 3 * x**2


class Reshaped:
    """The shape is assigned."""

    def __init__(self, W):
        self.W, self.dW = W, np.zeros_like(W)

    def forward(self, x):
        rows = x.copy()
        rows.shape = (-1, x.shape[-1])
        self.rows, self.shape = rows, x.shape
        out = rows @ self.W
        out.shape = (*x.shape[:-1], -1)
        return out

    def backward(self, dout):
        dout = dout.reshape(len(self.rows), -1)
        self.dW[...] = self.rows.T @ dout
        return (dout @ self.W.T).reshape(self.shape)


class Gelu:
    """No Tensor goes through math.erf."""

    def forward(self, x):
        self.x, self.cdf = x, 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))
        return x * self.cdf

    def backward(self, dout):
        return dout * (self.cdf + self.x * np.exp(-(self.x**2) / 2) / np.sqrt(2 * np.pi))


class Decayed:
    """The penalty of its weight stands in the loss."""

    def __init__(self, W, b):
        self.W, self.b, self.decay = W, b, 0.01

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout + 2 * self.decay * self.W
        self.db = dout.sum(axis=0)
        return dout @ self.W.T


class Optimizer:
    def update(self, weights, gradients):
        for w, g in zip(weights, gradients, strict=True):
            w -= 0.01 * g / (np.abs(g) + 1e-8)


class Updated(Decayed):
    """Its gradients are nowhere but in the hands of an optimizer."""

    def __init__(self, W, b):
        super().__init__(W, b)
        self.optimizer = Optimizer()

    def backward(self, dout):
        dx = dout @ self.W.T
        self.optimizer.update([self.W, self.b], [self.x.T @ dout, dout.sum(axis=0)])
        return dx


class Normalized:
    """Its backward is that of training."""

    def __init__(self, num_features):
        self._is_training = False
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.mean, self.var = np.zeros(num_features), np.ones(num_features)

    def forward(self, x):
        mean, var = self.mean, self.var
        if self._is_training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self.mean += 0.1 * (mean - self.mean)
            self.var += 0.1 * (var - self.var)
        self.std = np.sqrt(var + 1e-5)
        self.normal = (x - mean) / self.std
        return self.gamma * self.normal + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.normal).sum(axis=0), dout.sum(axis=0)
        d = dout * self.gamma
        return (d - d.mean(axis=0) - self.normal * (d * self.normal).mean(axis=0)) / self.std


class Classified:
    """Handed the gradient of what its softmax is taken of; its gradients stand in a tuple."""

    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        probs, kept = softmax(x @ self.W + self.b), x
        return probs, kept

    def backward(self, deltas, kept):
        dx = deltas @ self.W.T
        dW, db = kept.T @ deltas, deltas.sum(axis=0)
        gradients = dW, db
        return dx, gradients


class Probabilities:
    """Handed what forward returns."""

    def forward(self, scores, labels):
        probs = softmax(scores)
        return probs, -np.log(probs[np.arange(len(probs)), labels]).sum()

    def backward(self, dout, labels):
        d = dout.copy()
        d[np.arange(len(d)), labels] -= 1
        return d


class Characters:
    """Ids in rows, a state in columns, and lists of both; a loss whose gradients are clipped."""

    def __init__(self, input_size, hidden_size, output_size):
        rng = np.random.default_rng(0)
        self.Wxh = rng.normal(size=(hidden_size, input_size))
        self.Whh = rng.normal(size=(hidden_size, hidden_size))
        self.Why = rng.normal(size=(output_size, hidden_size))

    def forward(self, inputs, targets, h_prevs):
        xs, hs, ps, loss = {}, {-1: h_prevs}, {}, 0.0
        for t in range(len(inputs[0])):
            xs[t] = np.zeros((self.Wxh.shape[1], len(inputs)))
            for b in range(len(inputs)):
                xs[t][inputs[b][t], b] = 1
            hs[t] = np.tanh(self.Wxh @ xs[t] + self.Whh @ hs[t - 1])
            ps[t] = softmax((self.Why @ hs[t]).T).T
            ids = np.array([row[t] for row in targets])
            loss += -np.log(ps[t][ids, np.arange(len(ids))]).sum()
        return xs, hs, ps, loss

    def backward(self, xs, hs, ps, targets):
        dWxh, dWhh, dWhy = map(np.zeros_like, (self.Wxh, self.Whh, self.Why))
        dh_next = np.zeros_like(hs[0])
        for t in reversed(range(len(xs))):
            dy = ps[t].copy()
            for b in range(len(targets)):
                dy[targets[b][t], b] -= 1
            dWhy += dy @ hs[t].T
            da = (self.Why.T @ dy + dh_next) * (1 - hs[t] ** 2)
            dWhh += da @ hs[t - 1].T
            dWxh += da @ xs[t].T
            dh_next = self.Whh.T @ da
        for gradient in [dWxh, dWhh, dWhy]:
            np.clip(gradient, -0.5, 0.5, out=gradient)
        return dWxh, dWhh, dWhy
