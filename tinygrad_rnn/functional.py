"""Named functions of Tensors. Each takes arrays as well, and returns a Tensor.

Floats keep their dtype; whole numbers and booleans count as float64. TypeError for anything else
(complex numbers, text). N is the batch, T time, D the inputs, H hidden units, V the vocabulary.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec

import numpy as np

from .derived.table import array, constant, require
from .primitive import own_function, rule
from .random import generator
from .rules import expand
from .tensor import Array, Tensor, beside, plain

__all__ = [
    "binary_cross_entropy_with_logits", "celu", "cross_entropy", "dropout", "elu", "embedding",
    "erf", "gelu", "huber_loss", "l1_loss", "layer_norm", "leaky_relu", "log_softmax", "logsumexp",
    "mse_loss", "nll_loss", "relu", "scaled_dot_product_attention", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
]  # fmt: skip

P = ParamSpec("P")


@own_function
def _sigmoid(x: np.ndarray) -> np.ndarray:
    # Exact in both tails; beyond the bound 1 + e is e, and exp cannot overflow. To see that nothing
    # lies there takes a third of the time of np.minimum (not when recorded: that cannot choose).
    bound = 11.0 if x.itemsize == 2 else 45.0
    if type(x) is not np.ndarray or not x.size or not np.maximum.reduce(x, axis=None) <= bound:
        x = np.minimum(x, bound)
    e = np.exp(x)
    return e / (1 + e)


# --- softmax and its kin: x - max(x) is exact, and so is all that is said in terms of it ----------


def _below_top(x: Any, axis: int) -> Any:
    """x - max(x), fresh; a row of -inf, which has seen nothing, stays as it is. NaN for +inf."""
    if not x.shape:
        raise IndexError("an array with an axis is wanted")
    top = np.max(x, axis=axis, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.subtract(x, np.where(top == -np.inf, 0, top))


def _total(e: Any, axis: int) -> Any:
    """The sum of exp(x - max(x)), at least its largest element, 1; also for a row of -inf."""
    return np.maximum(np.sum(e, axis=axis, keepdims=True), 1)


@own_function
def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = _below_top(x, axis)
    np.exp(e, out=e)
    e /= _total(e, axis)
    return e


@own_function
def _log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    y = _below_top(x, axis)
    y -= np.log(_total(np.exp(y), axis))
    return y


@own_function
def _logsumexp(x: np.ndarray, axis: int = -1, keepdims: bool = False) -> np.ndarray:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # a row of -inf: log 0 is -inf, not NaN
    with np.errstate(divide="ignore", over="ignore"):
        y = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis)


BLOCK = 2**16  # elements that stay in the cache from pass to pass


def _row_blocks(x: np.ndarray) -> list[slice]:
    """Slices of rows of x (n, V), of about BLOCK elements each: what a CPU has caches for."""
    if not isinstance(x, np.ndarray):
        return [slice(0, len(x))]
    step = max(1, BLOCK // max(1, x.shape[1]))
    return [slice(i, i + step) for i in range(0, len(x), step)]


@own_function
def _row_totals(x: np.ndarray) -> np.ndarray:
    """Of each row of x (n, V) the largest element, and the sum of exp(x - that): (n, 2)."""
    y = np.empty_like(x, shape=(len(x), 2))
    for rows in _row_blocks(x):
        row_totals(x[rows], y[rows])
    return y


def row_totals(x: np.ndarray, out: np.ndarray) -> None:
    """One block of ``_row_totals``."""
    np.max(x, axis=1, out=out[:, 0])
    with np.errstate(invalid="ignore"):  # inf - inf
        e = np.subtract(x, out[:, :1])
    np.exp(e, out=e)
    np.sum(e, axis=1, out=out[:, 1])


@own_function
def _nll(x: np.ndarray, targets: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """-log softmax(x)[target] of each row: x (n, V), targets (n,), its totals -> (n,)."""
    with np.errstate(invalid="ignore"):
        return np.log(totals[:, 1]) + (totals[:, 0] - _pick(x, targets))


@own_function
def _nll_slope(x: np.ndarray, targets: np.ndarray, totals: np.ndarray,
               scale: np.ndarray) -> np.ndarray:
    """scale (softmax(x) - one-hot(targets)): (n, V). Rows of scale 0 are 0 whatever is in x."""
    y = np.empty_like(x)
    for rows in _row_blocks(x):
        nll_slope_rows(x[rows], targets[rows], totals[rows], scale[rows], y[rows])
    return y


def nll_slope_rows(x: np.ndarray, targets: np.ndarray, totals: np.ndarray, scale: np.ndarray,
                   out: np.ndarray) -> None:
    """One block of ``_nll_slope``; ``out`` may be the memory of x."""
    with np.errstate(invalid="ignore"):
        np.subtract(x, totals[:, :1], out=out)
    np.exp(out, out=out)
    out *= (scale / totals[:, 1])[:, None]
    out[np.arange(len(targets), like=targets), targets] -= scale
    if type(x) is np.ndarray:
        out[scale == 0] = 0
    else:  # CuPy would have to wait for how many these are
        np.copyto(out, 0, where=(scale == 0)[:, None])


def _pick(x: Any, targets: np.ndarray) -> Any:
    return x[np.arange(len(targets), like=targets), targets]


def _nll_slope_vjp(g: Any, _y: Any, x: Any, _t: Any, _totals: Any, scale: Any) -> Any:
    scale = np.expand_dims(scale, 1)
    return np.where(scale == 0, 0, scale * _softmax_vjp(g, _softmax(x), None))


def _softmax_vjp(g: Any, y: Any, _x: Any, axis: int = -1) -> Any:
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


def _logsumexp_vjp(g: Any, y: Any, x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    # beside +inf nothing else counts
    beside = (expand(y, x.shape, axis, keepdims) == np.inf) & (x < np.inf)
    p = np.where(beside, 0, _softmax(x, axis=axis))
    return expand(g, x.shape, axis, keepdims) * p


# The totals are known from x: the rules say derivatives by x as if they were computed in there.
rule(_nll, lambda g, _y, x, targets, totals: _nll_slope(x, targets, totals, g), None, None)
rule(_nll_slope, _nll_slope_vjp, None, None,
     lambda g, _y, x, targets, _totals, _s: np.sum(g * _softmax(x), axis=1) - _pick(g, targets))
rule(_sigmoid, lambda g, y, _x: g * (y * (1 - y)))
rule(_softmax, _softmax_vjp)
rule(_log_softmax, lambda g, y, _x, axis=-1: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True))
rule(_logsumexp, _logsumexp_vjp)


def _tensor(x: Any) -> Any:
    x = x if isinstance(x, Tensor) else Tensor(x)
    return x if x.dtype.kind == "f" else x.astype(float)


def _wide(f: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """For sums: float16 is computed in float32 and given back as float16, as in PyTorch."""

    @functools.wraps(f)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        x: Any = _tensor(args[0]) if args else None
        if x is None or x.dtype != np.float16:
            return f(*args, **kwargs)
        more: Any = args[1:]
        return f(x.astype(np.float32), *more, **kwargs).astype(np.float16)

    return computed


# --- activations ----------------------------------------------------------------------------------


def sigmoid(x: Array) -> Tensor:
    """1 / (1 + exp(-x)), any shape, without overflow and exact to rounding, also in the tails."""
    return _sigmoid(_tensor(x))


def tanh(x: Array) -> Tensor:
    """Hyperbolic tangent, any shape."""
    return np.tanh(_tensor(x))


def relu(x: Array) -> Tensor:
    """max(x, 0), any shape; its derivative at 0 is 0."""
    x = _tensor(x)
    return np.where(x <= 0, 0, x)


def leaky_relu(x: Array, slope: float = 0.01) -> Tensor:
    """x where it is positive, slope x elsewhere, any shape; its derivative at 0 is the slope.
    Maas et al. (2013)."""
    x = _tensor(x)
    return np.where(x > 0, x, x * slope)


def elu(x: Array, alpha: float = 1.0) -> Tensor:
    """x where it is positive, alpha (exp(x) - 1) elsewhere, any shape. Clevert et al. (2016)."""
    x = _tensor(x)
    return np.where(x <= 0, alpha * np.expm1(_below_zero(x)), x)


def celu(x: Array, alpha: float = 1.0) -> Tensor:
    """x where it is positive, alpha (exp(x / alpha) - 1) elsewhere, any shape. Barron (2017)."""
    x = _tensor(x)
    return np.where(x <= 0, alpha * np.expm1(_below_zero(x) / alpha), x)


def _below_zero(x: Any) -> Any:
    """x where a branch of it will be read, 0 elsewhere: nothing there can overflow."""
    return np.where(x <= 0, x, 0)


def silu(x: Array) -> Tensor:
    """x sigmoid(x), any shape: also called swish. Elfwing et al. (2018)."""
    x = _tensor(x)
    return x * _sigmoid(x)


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, any shape; where beta x > threshold, x. Dugas et al. (2001)."""
    x = _tensor(x)
    linear = x * beta > threshold
    return np.where(linear, x, np.log1p(np.exp(np.where(linear, 0, x * beta))) / beta)


@_wide
def gelu(x: Array, approximate: str = "none") -> Tensor:
    """x times the distribution function of normal numbers, x (1 + erf(x / sqrt(2))) / 2, any shape;
    ``approximate="tanh"``: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2.

    Hendrycks & Gimpel (2016). ValueError for another ``approximate``.
    """
    x = _tensor(x)
    if approximate == "none":
        return 0.5 * x * (1 + _erf(x * math.sqrt(0.5)))
    if approximate != "tanh":
        raise ValueError(f"gelu: approximate={approximate!r}, wanted 'none' or 'tanh'")
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


@_wide
def erf(x: Array) -> Tensor:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t²) from 0 to x, any shape."""
    return _erf(_tensor(x))


# Quotients of polynomials of the Cephes library (Moshier, 1989), highest power first: erf(x) / x in
# x² up to |x| = 1, and erfc(x) exp(x²) in |x| beyond.
_ERF = ((9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3,
         7.00332514112805075473e3, 5.55923013010394962768e4),
        (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3,
         2.26290000613890934246e4, 4.92673942608635921086e4))  # fmt: skip
_ERFC = ((2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0,
          4.86371970985681366614e1, 1.96520832956077098242e2, 5.26445194995477358631e2,
          9.34528527171957607540e2, 1.02755188689515710272e3, 5.57535335369399327526e2),
         (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2,
          9.75708501743205489753e2, 1.82390916687909736289e3, 2.24633760818710981792e3,
          1.65666309194161350182e3, 5.57535340817727675546e2))  # fmt: skip


@own_function
def _erf(x: np.ndarray) -> np.ndarray:
    size = np.abs(x)
    near = np.where(size <= 1, x, 0)
    far = np.clip(size, 1, 6)  # erfc(6) is less than half a unit of the last place
    e = 1 - np.exp(-far * far) * _quotient(_ERFC, far)
    return np.where(size <= 1, x * _quotient(_ERF, near * near), np.copysign(e, x))


def _quotient(polynomials: Any, x: Any) -> Any:
    """One polynomial of x over another, by Horner's rule."""
    above, below = (functools.reduce(lambda y, c: y * x + c, p) for p in polynomials)
    return above / below


rule(_erf, lambda g, _y, x: g * ((2 / math.sqrt(math.pi)) * np.exp(-x * x)))


@_wide
def logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, without overflow: x (..., V) -> (...), or (..., 1) with
    ``keepdims``. -inf for a row of -inf. IndexError for an axis that x does not have, ValueError
    for one of size 0."""
    return _logsumexp(_tensor(x), axis=axis, keepdims=keepdims)


@_wide
def softmax(x: Array, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over ``axis``: x (..., V) -> (..., V). Chapter 1.

    A row of -inf (all masked) gives zeros, where PyTorch gives NaN; one with NaN or +inf in it is
    NaN. IndexError for an axis that x does not have, ValueError for one of size 0.
    """
    return _softmax(_tensor(x), axis=axis)


@_wide
def log_softmax(x: Array, axis: int = -1) -> Tensor:
    """The logarithm of ``softmax``, x - logsumexp(x) over ``axis``: x (..., V) -> (..., V).

    IndexError for an axis that x does not have, ValueError for one of size 0.
    """
    return _log_softmax(_tensor(x), axis=axis)


# --- losses ---------------------------------------------------------------------------------------


@partial(own_function, checks=True)
def _ids(ids: np.ndarray, *, name: str, n: int) -> np.ndarray:
    """Whole numbers from 0 to n - 1, checked: NumPy would take -1 for the last row in silence."""
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: ids are integers, {ids.dtype} came")
    if ids.size:
        low, high = (ids.min(), ids.max()) if ids.size > 1 else (ids.item(),) * 2
        if low < 0 or high >= n:
            raise IndexError(f"{name}: ids from {low} to {high}, wanted from 0 to {n - 1}")
    return ids


@own_function
def _weights_of(weight: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """weight[ids], where ids alone may come in anew at each replay (tg.jit)."""
    return weight[ids]


def _reduced(name: str, losses: Any, reduction: str, n: Any = None) -> Tensor:
    """Losses as they are, their sum, or that over ``n`` (default: how many they are)."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return np.sum(losses)
    if reduction != "mean":
        raise ValueError(f"{name}: reduction={reduction!r}, wanted 'mean', 'sum' or 'none'")
    return np.mean(losses) if n is None else np.sum(losses) / n


def _pair(name: str, predictions: Any, targets: Any) -> tuple[Any, Any]:
    """Predictions and targets of one shape, the targets in the dtype of the predictions."""
    x = _tensor(predictions)
    t = targets if isinstance(targets, Tensor) else beside(plain(targets), x).astype(x.dtype)
    if t.shape != x.shape:
        what = "logits" if "logits" in name else "predictions"
        raise ValueError(f"{name}: targets {t.shape} for {what} {x.shape}")
    return x, t


def _classes(name: str, x: Any, targets: Any, weight: Any, ignore_index: int) -> Any:
    """Rows (n, V), for each the id of its class, whether it counts, and how much (weight)."""
    targets = plain(targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"{name}: ids are integers, {targets.dtype} came")
    if x.ndim == 0 or targets.shape != x.shape[:-1]:
        raise ValueError(f"{name}: targets {targets.shape} for logits {x.shape}, wanted"
                         f" {x.shape[:-1]}")
    V = x.shape[-1]
    rows, targets = x.reshape(math.prod(targets.shape), V), targets.reshape(-1)
    counted = targets != ignore_index
    targets = _ids(np.where(counted, targets, 0), name=name, n=V)
    counted, targets = beside(counted, x), beside(targets, x)
    if weight is None:
        return rows, targets, counted, counted
    weight = beside(plain(constant(weight, f"{name}: weight")), x)
    if weight.shape != (V,):
        raise ValueError(f"{name}: weight of shape {weight.shape}, wanted {(V,)}: one for each"
                         " class")
    return rows, targets, counted, np.where(
        counted, _weights_of(weight.astype(x.dtype), targets), 0)


@_wide
def cross_entropy(logits: Array, targets: Array, ignore_index: int = -1, *,
                  weight: Array | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """Mean of -log softmax(logits)[target] over all targets that are not ``ignore_index``, in nats:
    logits (..., V), targets (...) -> scalar. Chapters 1 and 5.

    ``targets`` are integer ids from 0 to V - 1. If all are ignored, the loss is 0.

    Args:
        weight: (V,), how much each class counts; the mean is then a weighted one.
        reduction: "mean", "sum", or "none" for one loss of each target, (...).
        label_smoothing: part of each target that is spread over all classes evenly, 0 to 1.
            Szegedy et al. (2016).

    Raises ValueError for targets or weight of another shape, another reduction or such a part,
    TypeError for targets that are no integers, IndexError for an id outside of V.
    """
    x = _tensor(logits)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing}, wanted 0 to 1")
    rows, ids, counted, scale = _classes("cross_entropy", x, targets, weight, ignore_index)
    losses = _nll(rows, ids, _row_totals(plain(rows)))
    if weight is not None:
        losses = losses * scale
    if label_smoothing:
        all_classes = -_log_softmax(rows)
        if weight is not None:
            all_classes = all_classes * beside(plain(weight), x).astype(x.dtype)
        spread = label_smoothing / x.shape[-1]
        losses = (1 - label_smoothing) * losses + spread * np.sum(all_classes, axis=1)
    losses = np.where(counted, losses, 0)
    if reduction == "none":
        return losses.reshape(x.shape[:-1])
    return _reduced("cross_entropy", losses, reduction, _weight_of(scale, x.dtype))


def _weight_of(scale: Any, dtype: Any) -> Any:
    """How much all targets weigh together; not 0, so that the mean of none is 0."""
    if scale.dtype == np.bool_:
        return np.maximum(np.sum(scale), 1).astype(dtype)
    total = np.sum(scale)
    return np.where(total == 0, 1, total).astype(dtype)


@_wide
def nll_loss(log_probs: Array, targets: Array, ignore_index: int = -1, *,
             weight: Array | None = None, reduction: str = "mean") -> Tensor:
    """Mean of -log_probs[target] over all targets that are not ``ignore_index``: log_probs
    (..., V), as ``log_softmax`` gives them, targets (...) -> scalar. Chapter 1.

    ``weight``, ``reduction`` and the errors are those of ``cross_entropy``: ValueError, TypeError,
    IndexError.
    """
    x = _tensor(log_probs)
    rows, ids, counted, scale = _classes("nll_loss", x, targets, weight, ignore_index)
    losses = -_pick(rows, ids)
    if weight is not None:
        losses = losses * scale
    losses = np.where(counted, losses, 0)
    if reduction == "none":
        return losses.reshape(x.shape[:-1])
    return _reduced("nll_loss", losses, reduction, _weight_of(scale, x.dtype))


@_wide
def binary_cross_entropy_with_logits(logits: Array, targets: Array,
                                     reduction: str = "mean") -> Tensor:
    """Mean of -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) over logits x and targets t, both of
    any shape -> scalar. Chapter 4.

    Targets are 0 or 1, or a probability between. ``reduction``: "mean", "sum", or "none" for all
    of them. ValueError for another one, or if the two shapes differ.
    """
    x, t = _pair("binary_cross_entropy_with_logits", logits, targets)
    losses = t * np.logaddexp(0.0, -x) + (1 - t) * np.logaddexp(0.0, x)
    return _reduced("binary_cross_entropy_with_logits", losses, reduction)


@_wide
def mse_loss(predictions: Array, targets: Array, reduction: str = "mean") -> Tensor:
    """Mean of (x - t)² over predictions x and targets t, both of any shape -> scalar. Chapter 1.

    ``reduction``: "mean", "sum", or "none" for all of them. ValueError for another one, or if the
    two shapes differ.
    """
    x, t = _pair("mse_loss", predictions, targets)
    return _reduced("mse_loss", np.square(x - t), reduction)


@_wide
def l1_loss(predictions: Array, targets: Array, reduction: str = "mean") -> Tensor:
    """Mean of |x - t| over predictions x and targets t, both of any shape -> scalar; its derivative
    is 0 where they are equal.

    ``reduction``: "mean", "sum", or "none" for all of them. ValueError for another one, or if the
    two shapes differ.
    """
    x, t = _pair("l1_loss", predictions, targets)
    return _reduced("l1_loss", np.abs(x - t), reduction)


@_wide
def huber_loss(predictions: Array, targets: Array, reduction: str = "mean",
               delta: float = 1.0) -> Tensor:
    """Mean of d² / 2 where |d| <= delta, and of delta (|d| - delta / 2) elsewhere, d being the
    difference of predictions and targets, both of any shape -> scalar. Huber (1964).

    ``reduction``: "mean", "sum", or "none" for all of them. ValueError for another one, for a delta
    that is not positive, or if the two shapes differ.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta={delta}, wanted more than 0")
    x, t = _pair("huber_loss", predictions, targets)
    d = np.abs(x - t)
    near = d <= delta
    # each branch is computed where it is taken, so that no square of the other one overflows
    losses = np.where(near, 0.5 * np.square(np.where(near, d, 0)), delta * (d - 0.5 * delta))
    return _reduced("huber_loss", losses, reduction)


# --- layers ---------------------------------------------------------------------------------------


def embedding(weight: Array, ids: Array, padding_idx: int | None = None) -> Tensor:
    """Rows of ``weight`` (V, D) at integer ``ids`` (...) -> (..., D). Chapter 4.

    The row ``padding_idx`` gets no gradient. TypeError for ids that are no integers, IndexError for
    one that is not from 0 to V - 1, ValueError for another shape of weight.
    """
    weight = _tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight of shape {weight.shape}, wanted (V, D)")
    ids = beside(_ids(plain(ids), name="embedding", n=weight.shape[0]), weight)
    rows: Any = weight[ids]
    if padding_idx is None:
        return rows
    _ids(np.asarray(padding_idx), name="embedding: padding_idx", n=weight.shape[0])
    return np.where(np.expand_dims(ids == padding_idx, -1), rows.detach(), rows)


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
    return x * dropout_mask(x, p, generator(rng))


def dropout_mask(x: Any, p: float, rng: Any) -> Any:
    """What dropout multiplies x with: 0 with probability p, else 1 / (1 - p)."""
    keep = beside(rng.random(x.shape, dtype=np.float32) >= p, x)
    return keep.astype(x.dtype) * (1 / (1 - p))


@_wide
def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> Tensor:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift:
    x (..., D), gamma (D,), beta (D,) -> (..., D). Ba, Kiros & Hinton (2016).

    With a gamma of several axes, all of these are normalised together: x (..., A, D), gamma and
    beta (A, D). ``eps`` is added to the variance. ValueError if gamma or beta do not fit.
    """
    x = _tensor(array(x, gamma))
    axes = tuple(range(-max(1, np.ndim(gamma)), 0))
    for name, p in (("gamma", gamma), ("beta", beta)):
        if np.ndim(p) and np.shape(p) != x.shape[axes[0] :]:
            raise ValueError(f"layer_norm: {name} of shape {np.shape(p)}, wanted"
                             f" {x.shape[axes[0] :]}, the last axes of x")
    d = x - np.mean(x, axis=axes, keepdims=True)
    return d / np.sqrt(np.mean(d * d, axis=axes, keepdims=True) + eps) * gamma + beta


# --- attention ------------------------------------------------------------------------------------


def attend(score: Callable[..., Any], query: Array, keys: Array, values: Array,
           mask: Array | None = None) -> tuple[Tensor, Tensor]:
    """The mean of ``values``, weighted by the softmax of ``score(query, keys)``, and the weights.

    query (..., Tq, H), keys (..., Tk, K), values (..., Tk, M), scores (..., Tq, Tk); ``mask``: True
    where a key may be seen, broadcast to the scores. What is masked is not computed with: weights
    there are exactly 0, and NaN or infinity there reaches no result and no gradient.
    """
    query, keys, values = _tensor(query), _tensor(keys), _tensor(values)
    if mask is None:
        weights = softmax(score(query, keys))
        return weights @ values, weights
    seen: Any = beside(plain(mask), query)
    if seen.dtype != np.bool_:  # PyTorch adds one of floats to the scores
        require((seen == 0) | (seen == 1), message="attention: a mask of other numbers than 0 and"
                " 1; wanted True where a key may be seen")  # fmt: skip
    mask = np.astype(seen if np.ndim(seen) > 1 else np.reshape(seen, (1, -1)), bool)
    sizes = query.shape[-2], keys.shape[-2]
    if any(n not in (1, size) for n, size in zip(mask.shape[-2:], sizes, strict=True)):
        raise ValueError(f"attention: a mask of shape {np.shape(seen)} for {sizes[0]} queries and"
                         f" {sizes[1]} keys, wanted (..., {sizes[0]}, {sizes[1]})")
    keys, values = (_where_seen(x, np.any(mask, axis=-2)) for x in (keys, values))
    query = _where_seen(query, np.any(mask, axis=-1))
    if mask.shape[-2] == 1:  # each key is seen by all or by none
        weights = softmax(np.where(mask, score(query, keys), -np.inf))
        return weights @ values, weights
    # A key that only some see may reach these alone, though all are multiplied with it: so it is
    # left out, and those who see it get NaN in the end.
    good_key, good_value = np.isfinite(plain(keys)), np.isfinite(plain(values))
    keys, values = np.where(good_key, keys, 0), np.where(good_value, values, 0)
    weights = softmax(np.where(mask, score(query, keys), -np.inf))
    bad_key = np.logical_not(np.all(good_key, axis=-1))
    struck = np.any(np.logical_and(mask, np.expand_dims(bad_key, -2)), axis=-1, keepdims=True)
    bad = np.astype(mask, values.dtype) @ np.astype(np.logical_not(good_value), values.dtype)
    context = np.where(np.logical_or(struck, bad > 0), np.nan, weights @ values)
    return context, np.where(np.logical_and(struck, mask), np.nan, weights)


def _where_seen(x: Any, seen: Any) -> Any:
    """x (..., T, K), with zeros at the steps that nobody sees (..., T)."""
    return np.where(np.expand_dims(seen, -1), x, 0)


def scaled_dot_product_attention(query: Array, keys: Array, values: Array,
                                 mask: Array | None = None) -> Tensor:
    """softmax(query keysᵀ / sqrt(H)) values: query (..., Tq, H), keys (..., Tk, H), values
    (..., Tk, M) -> context (..., Tq, M).

    Vaswani et al. (2017), equation 1. ``mask``: True where a key may be seen, broadcast to
    (..., Tq, Tk); a query that sees nothing gets zeros. ValueError where shapes do not fit.
    """
    return attend(scaled_dot, query, keys, values, mask)[0]


def scaled_dot(query: Any, keys: Any) -> Any:
    """query keysᵀ / sqrt(H): (..., Tq, H), (..., Tk, H) -> (..., Tq, Tk)."""
    return query * (1 / math.sqrt(query.shape[-1])) @ np.swapaxes(keys, -1, -2)
