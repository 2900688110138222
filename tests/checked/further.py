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
