"""Losses: an activation and its cross-entropy in one layer, because their gradient is y - t.

The book takes log(y + 1e-7) of the activation y. Here the log is taken before anything can round
to 0 (log-sum-exp), which is exact for every finite x and is the function whose gradient
`backward` gives. Losses therefore differ from the book's by up to about 1e-7 / y of the label.
"""

from typing import Any

import numpy as np

from .layers import Array, sigmoid


def _labels(name: str, t: Array, one_hot_ndim: int) -> Array:
    """Integer labels, from integer labels or from one-hot rows (then t has one axis more)."""
    t = np.asarray(t)
    if t.ndim == one_hot_ndim:
        return np.argmax(t, axis=-1)
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels are {t.dtype}, wanted integers or one-hot rows")
    return t


def _check_range(name: str, t: Array, V: int) -> None:
    if t.size and (t.min() < 0 or t.max() >= V):
        raise IndexError(f"{name}: labels {t.min()} to {t.max()}, wanted 0 to {V - 1}")


class SoftmaxWithLoss:
    """Mean cross-entropy of softmax(x): x (N, V), t (N,) labels or (N, V) one-hot -> scalar.

    Chapter 1. With z = log sum_j exp(x_j) and the softmax y_k = exp(x_k - z):
        L = 1/N sum_n (z_n - x_n[t_n])
        dz/dx_k = y_k, therefore dx_nk = dL (y_nk - [k = t_n]) / N
    An empty batch has loss 0. TypeError for labels that are neither integers nor one-hot,
    IndexError for one that is not from 0 to V - 1.
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: Array, t: Array) -> np.floating:
        N, V = x.shape
        t = _labels("SoftmaxWithLoss", t, 2)
        _check_range("SoftmaxWithLoss", t, V)
        x = x - np.max(x, axis=1, keepdims=True)
        e = np.exp(x)
        s = np.sum(e, axis=1, keepdims=True)
        self.y, self.t = e / s, t
        rows = np.arange(N)
        return np.sum(np.log(s)[rows, 0] - x[rows, t]) / max(N, 1)

    def backward(self, dout: float = 1) -> Array:
        N = len(self.t)
        dx = self.y.copy()
        dx[np.arange(N), self.t] -= 1
        dx *= dout / max(N, 1)
        return dx


class SigmoidWithLoss:
    """Mean binary cross-entropy of sigmoid(x): x and t (0 or 1) of any one shape -> scalar.

    Chapter 4. With softplus(x) = log(1 + exp(x)) = -log(1 - y) and softplus(-x) = -log y:
        L = mean of t softplus(-x) + (1 - t) softplus(x)
        softplus'(x) = y, therefore dx = dL (y - t) / size
    Each softplus keeps its small tail, which softplus(x) - t x would lose by cancellation.
    ValueError if the two shapes differ.
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: Array, t: Array) -> np.floating:
        t = np.asarray(t, dtype=x.dtype)
        if t.shape != x.shape:
            raise ValueError(f"SigmoidWithLoss: labels {t.shape}, wanted the shape of x {x.shape}")
        self.y, self.t = sigmoid(x), t
        losses = t * np.logaddexp(0.0, -x) + (1.0 - t) * np.logaddexp(0.0, x)
        return np.sum(losses) / max(x.size, 1)

    def backward(self, dout: float = 1) -> Array:
        dx = self.y - self.t
        dx *= dout / max(dx.size, 1)
        return dx


class TimeSoftmaxWithLoss:
    """Mean cross-entropy over all labelled steps: xs (N, T, V), ts (N, T) -> scalar. Chapter 5.

    ts may be one-hot (N, T, V). Steps with the label `ignore_label` (-1) count neither in the sum
    nor in the mean: with m_nt = 0 for them, 1 for others, M = sum m, and z, y as in SoftmaxWithLoss
        L = 1/M sum_nt m_nt (z_nt - x_nt[t_nt])
        dx_ntk = dL m_nt (y_ntk - [k = t_nt]) / M
    When every label is ignored, the loss and its gradient are 0. Errors as in SoftmaxWithLoss:
    TypeError, IndexError.
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.cache: Any = None
        self.ignore_label = -1

    def forward(self, xs: Array, ts: Array) -> np.floating:
        N, T, V = xs.shape
        ts = _labels("TimeSoftmaxWithLoss", ts, 3).reshape(N * T)
        mask = ts != self.ignore_label
        rows, labels = np.flatnonzero(mask), ts[mask]
        _check_range("TimeSoftmaxWithLoss", labels, V)
        x = xs.reshape(N * T, V)
        x = x - np.max(x, axis=1, keepdims=True)
        e = np.exp(x)
        s = np.sum(e, axis=1, keepdims=True)
        self.cache = (e / s, mask, rows, labels, (N, T, V))
        # Only rows that count are looked up: 0 * loss would be NaN where the loss is infinite.
        return np.sum(np.log(s)[rows, 0] - x[rows, labels]) / max(len(rows), 1)

    def backward(self, dout: float = 1) -> Array:
        y, mask, rows, labels, shape = self.cache
        dx = y.copy()
        dx[rows, labels] -= 1
        dx *= dout / max(len(rows), 1)
        dx[~mask] = 0
        return dx.reshape(shape)


class TimeSigmoidWithLoss:
    """Mean binary cross-entropy over batch and time: xs, ts (N, T) -> scalar.

    The book's common/time_layers.py. The mean over T of the means over N is the mean over all N T:
    SigmoidWithLoss of one long row,
        dx_nt = dL (y_nt - t_nt) / (N T)
    ValueError if the two shapes differ.
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.layer = SigmoidWithLoss()

    def forward(self, xs: Array, ts: Array) -> np.floating:
        return self.layer.forward(xs, ts)

    def backward(self, dout: float = 1) -> Array:
        return self.layer.backward(dout)
