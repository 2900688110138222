"""Layers without recurrence: products with a weight, activations, dropout, embeddings.

N batch, T time steps, D inputs, H outputs, V vocabulary. `dy` stands for dL/dy, which every
`backward` is given and from which it makes the gradients of what `forward` was given.
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), elementwise, without overflow and with both tails kept.

    exp(-|x|) never overflows. It is chosen by `where` and not by `abs`, because the two branches
    then join smoothly at 0, where the derivative of `abs` does not exist.
    """
    positive = x >= 0
    e = np.exp(np.where(positive, -x, x))
    return np.where(positive, 1.0, e) / (1.0 + e)


def softmax(x: Array) -> Array:
    """exp(x_k) / sum_j exp(x_j) along the last axis; subtracting the maximum changes nothing."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


class MatMul:
    """y = x W with W (D, H): x (N, D) -> y (N, H). Chapter 1.

    y_nh = sum_d x_nd W_dh, therefore
        dL/dx_nd = sum_h dy_nh W_dh        dx = dy W^T
        dL/dW_dh = sum_n x_nd dy_nh        dW = x^T dy
    """

    def __init__(self, W: Array) -> None:
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.x: Any = None

    def forward(self, x: Array) -> Array:
        (W,) = self.params
        self.x = x
        return np.dot(x, W)

    def backward(self, dout: Array) -> Array:
        (W,) = self.params
        dx = np.dot(dout, W.T)
        dW = np.dot(self.x.T, dout)
        self.grads[0][...] = dW
        return dx


class Affine:
    """y = x W + b with W (D, H), b (H,): x (N, D) -> y (N, H). Chapter 1.

    The product as in MatMul. b is added to each of the N rows, so that its gradient is their sum:
        dx = dy W^T        dW = x^T dy        db = sum_n dy_n
    """

    def __init__(self, W: Array, b: Array) -> None:
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]
        self.x: Any = None

    def forward(self, x: Array) -> Array:
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout: Array) -> Array:
        W, _ = self.params
        dx = np.dot(dout, W.T)
        dW = np.dot(self.x.T, dout)
        db = np.sum(dout, axis=0)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        return dx


class Softmax:
    """y_k = exp(x_k) / sum_j exp(x_j) along the last axis: x (..., V) -> y (..., V). Chapter 1.

    dy_j/dx_k = y_j (delta_jk - y_k), therefore
        dL/dx_k = sum_j dy_j y_j (delta_jk - y_k) = y_k (dy_k - sum_j dy_j y_j)
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.out: Any = None

    def forward(self, x: Array) -> Array:
        self.out = softmax(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        y = self.out
        return y * (dout - np.sum(dout * y, axis=-1, keepdims=True))


class Sigmoid:
    """y = 1 / (1 + exp(-x)), elementwise: x -> y, any shape. Chapter 1.

    dy/dx = exp(-x) / (1 + exp(-x))^2 = y (1 - y), therefore dx = dy y (1 - y)
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.out: Any = None

    def forward(self, x: Array) -> Array:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        return dout * self.out * (1.0 - self.out)


class Dropout:
    """Switch each element off with probability `dropout_ratio` = p: x -> y, any shape. Chapter 6.

        training      y = m x,          m = 0 or 1 at random    dx = m dy
        evaluation    y = (1 - p) x,    the mean of m x         dx = (1 - p) dy

    The scale stands in the evaluation, as in the book; TimeDropout has it in the training.
    `rng` is an np.random.Generator. `mask` keeps m, and is None after an evaluation. ValueError
    unless 0 <= p <= 1.
    """

    def __init__(self, dropout_ratio: float = 0.5, *,
                 rng: np.random.Generator | None = None) -> None:
        if not 0 <= dropout_ratio <= 1:
            raise ValueError(f"Dropout: dropout_ratio {dropout_ratio} is not in [0, 1]")
        self.params, self.grads = [], []
        self.dropout_ratio = float(dropout_ratio)  # a NumPy scalar would turn float32 to float64
        self.rng = np.random.default_rng() if rng is None else rng
        self.mask: Any = None

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        self.mask = self.rng.random(x.shape) >= self.dropout_ratio if train_flg else None
        return x * self._factor()

    def backward(self, dout: Array) -> Array:
        return dout * self._factor()

    def _factor(self) -> Any:
        return 1.0 - self.dropout_ratio if self.mask is None else self.mask


class TimeDropout:
    """Switch each element off with probability `dropout_ratio` = p: xs -> ys, any shape. Chapter 6.

        training      y = m x,    m = 0, or 1 / (1 - p), so that y is x on average    dx = m dy
        evaluation    y = x                                                           dx = dy

    `train_flg` (True) chooses between them. `rng` is an np.random.Generator. `mask` keeps m, in
    the dtype of xs, and is None after an evaluation. ValueError unless 0 <= p < 1.
    """

    def __init__(self, dropout_ratio: float = 0.5, *,
                 rng: np.random.Generator | None = None) -> None:
        if not 0 <= dropout_ratio < 1:
            raise ValueError(f"TimeDropout: dropout_ratio {dropout_ratio} is not in [0, 1)")
        self.params, self.grads = [], []
        self.dropout_ratio = float(dropout_ratio)  # a NumPy scalar would turn float32 to float64
        self.rng = np.random.default_rng() if rng is None else rng
        self.train_flg = True
        self.mask: Any = None

    def forward(self, xs: Array) -> Array:
        if not self.train_flg:
            self.mask = None
            return xs
        keep = self.rng.random(xs.shape) >= self.dropout_ratio
        self.mask = keep.astype(xs.dtype) * (1.0 / (1.0 - self.dropout_ratio))
        return xs * self.mask

    def backward(self, dout: Array) -> Array:
        return dout.copy() if self.mask is None else dout * self.mask


class Embedding:
    """Rows of W (V, D): integer ids (N,) -> W[ids] (N, D). Chapter 4.

    y_n = W[id_n] is the product of a one-hot row with W. A row is therefore given the sum over
    all the places where its id stands:
        dW[v] = sum over {n: id_n = v} of dy_n
    The ids have no gradient: backward returns None. NumPy does the indexing: a negative id counts
    from the end, and IndexError says that one is out of bounds.
    """

    def __init__(self, W: Array) -> None:
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.idx: Any = None

    def forward(self, idx: Array) -> Array:
        (W,) = self.params
        self.idx = idx
        return W[idx]

    def backward(self, dout: Array) -> None:
        (dW,) = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)


class TimeEmbedding:
    """Rows of W (V, D): integer ids (N, T) -> W[ids] (N, T, D). Chapter 5.

    As Embedding, with the sum over the batch and over time:
        dW[v] = sum over {n, t: id_nt = v} of dy_nt
    Ids, and the IndexError, as there.
    """

    def __init__(self, W: Array) -> None:
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.xs: Any = None

    def forward(self, xs: Array) -> Array:
        (W,) = self.params
        self.xs = xs
        return W[xs]

    def backward(self, dout: Array) -> None:
        (dW,) = self.grads
        dW[...] = 0
        np.add.at(dW, self.xs, dout)


class TimeAffine:
    """y = x W + b at every time step, W (D, H), b (H,): (N, T, D) -> (N, T, H). Chapter 5.

    The same W at every step makes the N T inputs rows of one product, and then it is Affine:
        dx = dy W^T        dW = sum_t x_t^T dy_t        db = sum_nt dy_nt
    """

    def __init__(self, W: Array, b: Array) -> None:
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]
        self.x: Any = None

    def forward(self, x: Array) -> Array:
        W, b = self.params
        N, T, D = x.shape
        self.x = x
        out = np.dot(x.reshape(N * T, D), W) + b
        return out.reshape(N, T, W.shape[1])

    def backward(self, dout: Array) -> Array:
        W, _ = self.params
        N, T, D = self.x.shape
        rows = dout.reshape(N * T, W.shape[1])
        dx = np.dot(rows, W.T)
        dW = np.dot(self.x.reshape(N * T, D).T, rows)
        db = np.sum(rows, axis=0)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        return dx.reshape(N, T, D)
