"""Named functions of Tensors. Each takes arrays as well, and returns a Tensor.

Floats keep their dtype; whole numbers and booleans count as float64. TypeError for anything else
(complex numbers, text). N is the batch, T time, D the inputs, H hidden units, V the vocabulary.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from .primitive import own_function, rule
from .random import generator
from .rules import expand
from .tensor import Array, Tensor, plain

__all__ = [
    "binary_cross_entropy_with_logits", "cross_entropy", "dropout", "embedding", "layer_norm",
    "log_softmax", "logsumexp", "relu", "scaled_dot_product_attention", "sigmoid", "softmax",
    "tanh",
]  # fmt: skip


@own_function
def _sigmoid(x: np.ndarray) -> np.ndarray:
    # Through tanh, which costs half of what exp does and cannot overflow; one fresh array.
    y = np.multiply(x, 0.5, out=np.empty_like(x))
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y


@own_function
def _logsumexp(x: np.ndarray, axis: int = -1, keepdims: bool = False) -> np.ndarray:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # a row of -inf: log 0 is -inf, not NaN
    total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = np.log(total) + top
    return y if keepdims else np.squeeze(y, axis)


def _logsumexp_vjp(g: Any, y: Any, x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    y = expand(y, x.shape, axis, keepdims)
    return expand(g, x.shape, axis, keepdims) * np.exp(x - np.where(np.isfinite(y), y, 0))


BLOCK = 2**16  # elements that stay in the cache from pass to pass


def _row_blocks(x: np.ndarray) -> list[slice]:
    """Slices of rows of x (n, V), of about BLOCK elements each."""
    step = max(1, BLOCK // max(1, x.shape[1]))
    return [slice(i, i + step) for i in range(0, len(x), step)]


@own_function
def _nll(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log softmax(x)[target] of each row: x (n, V), targets (n,) -> (n,)."""
    y = np.empty_like(x, shape=targets.shape)
    for rows in _row_blocks(x):
        nll_rows(x[rows], targets[rows], y[rows])
    return y


def nll_rows(x: np.ndarray, targets: np.ndarray, out: np.ndarray) -> None:
    """One block of ``_nll``."""
    top = np.max(x, axis=1, keepdims=True)
    e = np.subtract(x, top)
    np.exp(e, out=e)
    out[...] = np.log(np.sum(e, axis=1)) + (top[:, 0] - _pick(x, targets))


@own_function
def _nll_slope(x: np.ndarray, targets: np.ndarray, total: np.ndarray,
               scale: np.ndarray) -> np.ndarray:
    """scale (softmax(x) - one-hot(targets)), where ``total`` (n,) is logsumexp(x): (n, V)."""
    y = np.empty_like(x)
    for rows in _row_blocks(x):
        nll_slope_rows(x[rows], targets[rows], total[rows], scale[rows], y[rows])
    return y


def nll_slope_rows(x: np.ndarray, targets: np.ndarray, total: np.ndarray, scale: np.ndarray,
                   out: np.ndarray) -> None:
    """One block of ``_nll_slope``; ``out`` may be the memory of x."""
    np.subtract(x, total[:, None], out=out)
    np.exp(out, out=out)
    out *= scale[:, None]
    out[np.arange(len(targets)), targets] -= scale


def _nll_vjp(g: Any, y: Any, x: Any, targets: np.ndarray) -> Any:
    return _nll_slope(x, targets, y + _pick(x, targets), g)


def _pick(x: Any, targets: np.ndarray) -> Any:
    return x[np.arange(len(targets)), targets]


def _weighed(g: Any, x: Any, total: Any, scale: Any) -> Any:
    """What the rules of _nll_slope share: g scale softmax(x)."""
    return g * (np.exp(x - np.expand_dims(total, 1)) * np.expand_dims(scale, 1))


rule(_nll, _nll_vjp, None)
rule(
    _nll_slope,
    lambda g, _y, x, _t, total, scale: _weighed(g, x, total, scale),
    None,
    lambda g, _y, x, _t, total, scale: -np.sum(_weighed(g, x, total, scale), axis=1),
    lambda g, _y, x, targets, total, _s: (
        np.sum(g * np.exp(x - np.expand_dims(total, 1)), axis=1) - _pick(g, targets)),
)  # fmt: skip
rule(_sigmoid, lambda g, y, _x: g * (y * (1 - y)))
rule(_logsumexp, _logsumexp_vjp)


def _tensor(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x
    x = Tensor(x)
    return x if x.dtype.kind == "f" else x.astype(float)


def sigmoid(x: Array) -> Tensor:
    """1 / (1 + exp(-x)), any shape, without overflow. The error is that of rounding a number near
    1, also in the lower tail: take -np.logaddexp(0, -x) for its logarithm."""
    return _sigmoid(_tensor(x))


def tanh(x: Array) -> Tensor:
    """Hyperbolic tangent, any shape."""
    return np.tanh(_tensor(x))


def relu(x: Array) -> Tensor:
    """max(x, 0), any shape; its derivative at 0 is 0."""
    x = _tensor(x)
    return np.where(x > 0, x, 0)


def logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, without overflow: x (..., V) -> (...), or (..., 1) with
    ``keepdims``. -inf for a row of -inf. IndexError for an axis that x does not have, ValueError
    for one of size 0."""
    return _logsumexp(_tensor(x), axis=axis, keepdims=keepdims)


def softmax(x: Array, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over ``axis``: x (..., V) -> (..., V). Chapter 1.

    A row of -inf (all masked) gives zeros, not NaN. IndexError for an axis that x does not have,
    ValueError for one of size 0.
    """
    x = _tensor(x)
    total = logsumexp(x, axis=axis, keepdims=True)
    return np.exp(x - np.where(np.isfinite(total), total, 0))


def log_softmax(x: Array, axis: int = -1) -> Tensor:
    """The logarithm of ``softmax``, x - logsumexp(x) over ``axis``: x (..., V) -> (..., V).

    IndexError for an axis that x does not have, ValueError for one of size 0.
    """
    x = _tensor(x)
    return x - logsumexp(x, axis=axis, keepdims=True)


@partial(own_function, checks=True)
def _ids(ids: np.ndarray, *, name: str, n: int) -> np.ndarray:
    """Whole numbers from 0 to n - 1, checked: NumPy would take -1 for the last row in silence."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: ids are integers, {ids.dtype} came")
    if ids.size and (ids.min() < 0 or ids.max() >= n):
        raise IndexError(f"{name}: ids from {ids.min()} to {ids.max()}, wanted from 0 to {n - 1}")
    return ids


def cross_entropy(logits: Array, targets: Array, ignore_index: int = -1) -> Tensor:
    """Mean of -log softmax(logits)[target] over all targets that are not ``ignore_index``, in nats:
    logits (..., V), targets (...) -> scalar. Chapters 1 and 5.

    ``targets`` are integer ids from 0 to V - 1. If all are ignored, the loss is 0. Raises
    ValueError for targets of another shape, TypeError if they are no integers, IndexError for an
    id outside of V.
    """
    logits = _tensor(logits)
    targets = plain(targets)
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"cross_entropy: targets {targets.shape} for logits {logits.shape}, wanted"
                         f" {logits.shape[:-1]}")
    V = logits.shape[-1]
    rows, targets = logits.reshape(math.prod(targets.shape), V), targets.reshape(-1)
    counted = targets != ignore_index
    n = np.maximum(np.sum(counted), 1).astype(logits.dtype)
    targets = _ids(np.where(counted, targets, 0), name="cross_entropy", n=V)
    return np.sum(np.where(counted, _nll(rows, targets), 0)) / n


def binary_cross_entropy_with_logits(logits: Array, targets: Array) -> Tensor:
    """Mean of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) over logits x and targets t, both of
    any shape -> scalar. Chapter 4.

    Targets are 0 or 1, or a probability between. ValueError if the two shapes differ.
    """
    logits = _tensor(logits)
    t = targets if isinstance(targets, Tensor) else plain(targets).astype(logits.dtype)
    if t.shape != logits.shape:
        raise ValueError(f"binary_cross_entropy_with_logits: targets {t.shape} for logits"
                         f" {logits.shape}")
    return np.mean(t * np.logaddexp(0.0, -logits) + (1 - t) * np.logaddexp(0.0, logits))


def embedding(weight: Array, ids: Array) -> Tensor:
    """Rows of ``weight`` (V, D) at integer ``ids`` (...) -> (..., D). Chapter 4.

    TypeError for ids that are no integers, IndexError for one that is not from 0 to V - 1,
    ValueError for another shape of weight.
    """
    weight = _tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight of shape {weight.shape}, wanted (V, D)")
    return weight[_ids(plain(ids), name="embedding", n=weight.shape[0])]


def dropout(x: Array, p: float = 0.5, training: bool = True,
            rng: np.random.Generator | None = None) -> Tensor:
    """Set elements of x, any shape, to 0 with probability ``p``, and scale the rest by 1 / (1 - p);
    without ``training`` x comes back as it is. Srivastava et al. (2014); chapter 6.

    ``rng``: np.random.Generator; by default one of its own for each call. ValueError unless
    0 <= p < 1.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p={p}, wanted 0 <= p < 1")
    x = _tensor(x)
    if not training or p == 0:
        return x
    keep = (rng or generator()).random(x.shape, dtype=np.float32) >= p
    return x * (keep.astype(x.dtype) * (1 / (1 - p)))


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Tensor:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift:
    x (..., D), gamma (D,), beta (D,) -> (..., D). Ba, Kiros & Hinton (2016).

    ``eps`` is added to the variance. ValueError if gamma or beta do not fit.
    """
    x = _tensor(x)
    d = x - np.mean(x, axis=-1, keepdims=True)
    return d / np.sqrt(np.mean(d * d, axis=-1, keepdims=True) + eps) * gamma + beta


def masked_softmax(scores: Array, mask: Array | None = None) -> Tensor:
    """Softmax over the last axis of what ``mask`` (True: keep) lets through; else exactly 0."""
    if mask is None:
        return softmax(scores)
    return softmax(np.where(mask, scores, -np.inf))


def scaled_dot_product_attention(query: Array, keys: Array, values: Array,
                                 mask: Array | None = None) -> Tensor:
    """softmax(query keysᵀ / sqrt(H)) values: query (..., Tq, H), keys (..., Tk, H), values
    (..., Tk, M) -> context (..., Tq, M).

    Vaswani et al. (2017), equation 1. ``mask``: True where a key may be seen, broadcast to
    (..., Tq, Tk); a query that sees nothing gets zeros. ValueError where shapes do not fit.
    """
    query, keys = _tensor(query), _tensor(keys)
    scores = query @ np.swapaxes(keys, -1, -2) * (1 / math.sqrt(query.shape[-1]))
    return masked_softmax(scores, mask) @ values
