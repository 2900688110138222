"""What else is found in repositories of readers."""

import numpy as np


def hinge_loss(W, X, y, reg):
    """The loss and its gradient from one function."""
    rows = np.arange(len(y))
    scores = X.dot(W)
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    loss = margins.sum() / len(y)
    loss += reg * np.sum(W * W)
    counts = (margins > 0).astype(float)
    counts[rows, y] = -counts.sum(axis=1)
    dW = X.T.dot(counts) / len(y)
    dW += 2 * reg * W
    return loss, dW


class TwoLayers:
    """The same as a method of a network, which draws what it drops."""

    def __init__(self, input_size, hidden_size, output_size):
        self.params = {"W1": 0.5 * np.random.randn(input_size, hidden_size),
                       "W2": 0.5 * np.random.randn(hidden_size, output_size)}

    def loss(self, X, y):
        W1, W2 = self.params["W1"], self.params["W2"]
        mask = (np.random.rand(len(X), W1.shape[1]) < 0.8) / 0.8
        hidden = np.maximum(0, X @ W1) * mask
        scores = hidden @ W2
        probs = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        rows = np.arange(len(y))
        loss = -np.mean(np.log(probs[rows, y]))
        dscores = probs.copy()
        dscores[rows, y] -= 1
        dscores /= len(y)
        dhidden = dscores @ W2.T * mask * (hidden > 0)
        grads = {"W1": X.T @ dhidden, "W2": hidden.T @ dscores}
        return loss, grads


def carry_forward(x, h, c, W, U):
    """A step with two states, one of which is added up."""
    a = np.tanh(x @ W + h @ U)
    next_c = 0.5 * c + a
    next_h = np.tanh(next_c)
    return next_h, next_c, (x, h, a, next_h, W, U)


def carry_backward(dnext_h, dnext_c, cache):
    x, h, a, next_h, W, U = cache
    squared = lambda v: v**2  # noqa: E731
    dc = dnext_c + dnext_h * (1 - squared(next_h))
    da = dc * (1 - a**2)
    return da @ W.T, da @ U.T, 0.5 * dc, x.T @ da, h.T @ da


def swish_forward(x, beta):
    """With a number that nobody trains."""
    s = 1 / (1 + np.exp(-beta * x))
    return x * s, (x, s, beta)


def swish_backward(dout, cache):
    x, s, beta = cache
    return dout * (s + beta * x * s * (1 - s))


def softplus_forward(x, beta):
    """With one that somebody does."""
    return np.log(1 + np.exp(beta * x)) / beta, (x, beta)


def softplus_backward(dout, cache):
    x, beta = cache
    s = 1 / (1 + np.exp(-beta * x))
    dbeta = np.sum(dout * (x * s / beta - np.log(1 + np.exp(beta * x)) / beta**2))
    return dout * s, dbeta


def affine_scaled_relu_forward(x, w, gamma, beta):
    """An activation behind a shift, which is no number of it."""
    a = x @ w
    out = np.maximum(0, gamma * a + beta)
    return out, (x, w, a, gamma, out)


def affine_scaled_relu_backward(dout, cache):
    x, w, a, gamma, out = cache
    d = dout * (out > 0)
    da = d * gamma
    return da @ w.T, x.T @ da, np.sum(d * a, axis=0), np.sum(d, axis=0)


class Thinned:
    """A flag under a name of its own, and a rate that has one, too."""

    def __init__(self, rate):
        self.rate = rate

    def forward(self, x, learning_now):
        if learning_now:
            self.kept = np.random.rand(*x.shape) > self.rate
            x = x * self.kept / (1 - self.rate)
        return x

    def backward(self, dout):
        return dout * self.kept / (1 - self.rate)


def maxima_forward(x, pool_param):
    """Settings without a default, read by a method."""
    k, s = pool_param.get("pool_size"), pool_param.get("stride")
    begin = pool_param.get("begin")
    begin = 0 if begin is None else begin
    N, C, H, W = x.shape
    out = np.zeros((N, C, (H - k) // s + 1, (W - k) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i * s : i * s + k, j * s : j * s + k].max(axis=(2, 3))
    return out, (x, pool_param)


def maxima_backward(dout, cache):
    x, pool_param = cache
    k, s = pool_param.get("pool_size"), pool_param.get("stride")
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dout.shape):
        window = x[n, c, i * s : i * s + k, j * s : j * s + k]
        row, column = np.where(window == window.max())
        dx[n, c, i * s + int(row), j * s + int(column)] += dout[n, c, i, j]
    return dx


def averaged_forward(x, gamma, beta, sums, i, m):
    """Statistics of all layers in one array."""
    N, D = x.shape
    mean = x.mean(axis=0, keepdims=True)
    out = gamma * (x - mean) + beta
    sums[i] = mean
    sums[i + m] = 0.5 * np.zeros(D) + mean
    return out, (x - mean, gamma)


def averaged_backward(dout, cache):
    centred, gamma = cache
    d = dout * gamma
    dgamma = np.sum(dout * centred, axis=0, keepdims=True)
    return d - d.mean(axis=0), dgamma, np.sum(dout, axis=0, keepdims=True)


def squares_loss(w, X, y):
    """Python 2."""
    loss, dw = 0.0, np.zeros_like(w)
    for i in xrange(len(y)):  # noqa: F821
        d = X[i] @ w - y[i]
        loss += d**2 / 2
        dw += d * X[i]
    return loss, dw
