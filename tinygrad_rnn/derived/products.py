"""Products of vectors, matrices and tensors; convolution; covariance."""

import math
import string

import numpy as np

from ..primitive import own_function, rule
from .table import array, axes_of, axis_of, derive

derive(np.outer)(lambda a, b: np.reshape(array(a), (-1, 1)) * np.reshape(array(b), (1, -1)))
derive(np.vdot)(lambda a, b: np.reshape(array(a), (-1,)) @ np.reshape(array(b), (-1,)))
derive(np.inner)(lambda a, b: np.tensordot(
    a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else array(a) * array(b))  # fmt: skip


@derive(np.dot)
def _dot(a, b):
    a, b = array(a), array(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return np.matmul(a, b) if b.ndim <= 2 else np.tensordot(a, b, (-1, -2))


def _last(x, axis):
    x = array(x)
    return np.moveaxis(x, axis_of(axis, x.ndim), -1)


def _vecdot(x1, x2, axis=-1):
    x1, x2 = _last(x1, axis), _last(x2, axis)
    if x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"vecdot: vectors of {x1.shape[-1]} and of {x2.shape[-1]}")
    return np.sum(x1 * x2, axis=-1)


derive(np.linalg.vecdot)(_vecdot)
for _name, _same in (  # of NumPy 2.2
    ("vecdot", _vecdot),
    ("matvec", lambda x1, x2: np.matmul(x1, array(x2)[..., None])[..., 0]),
    ("vecmat", lambda x1, x2: np.matmul(array(x1)[..., None, :], x2)[..., 0, :]),
):
    if hasattr(np, _name):
        derive(getattr(np, _name))(_same)


@derive(np.tensordot)
def _tensordot(a, b, axes=2):
    a, b = array(a), array(b)
    if np.ndim(axes) == 0:
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    summed = [
        list(axes_of(tuple(n) if np.ndim(n) else n, x.ndim))
        for x, n in zip((a, b), axes, strict=True)
    ]
    both = list(zip((a, b), summed, strict=True))
    free = [[i for i in range(x.ndim) if i not in s] for x, s in both]
    inner = [[x.shape[i] for i in s] for x, s in both]
    if inner[0] != inner[1]:
        raise ValueError(f"tensordot: {a.shape} and {b.shape} summed over axes {axes}: sizes"
                         f" {inner[0]} and {inner[1]} differ")
    n = math.prod(inner[0])
    rows = math.prod(a.shape[i] for i in free[0])
    columns = math.prod(b.shape[i] for i in free[1])
    left = np.reshape(np.transpose(a, free[0] + summed[0]), (rows, n))
    right = np.reshape(np.transpose(b, summed[1] + free[1]), (n, columns))
    shape = [a.shape[i] for i in free[0]] + [b.shape[i] for i in free[1]]
    return np.reshape(left @ right, shape)


@derive(np.kron)
def _kron(a, b):
    a, b = array(a), array(b)
    ndim = max(a.ndim, b.ndim)
    a, b = (np.reshape(x, (1,) * (ndim - x.ndim) + x.shape) for x in (a, b))
    shape = tuple(m * n for m, n in zip(a.shape, b.shape, strict=True))
    a = np.expand_dims(a, tuple(range(1, 2 * ndim, 2)))
    b = np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return np.reshape(a * b, shape)


@derive(np.cross)
def _cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = _last(a, axisa), _last(b, axisb)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise TypeError(f"cross: vectors of 3 are wanted, of {a.shape[-1]} and {b.shape[-1]} came")
    y = np.roll(a, -1, -1) * np.roll(b, -2, -1) - np.roll(a, -2, -1) * np.roll(b, -1, -1)
    return np.moveaxis(y, -1, axis_of(axisc, y.ndim))


derive(np.linalg.cross)(lambda x1, x2, axis=-1: np.cross(x1, x2, axis, axis, axis))


# --- einsum ---------------------------------------------------------------------------------------


@own_function
def contract(a, b, *, subscripts):
    """An einsum of two operands, no letter twice in one operand, the output written out."""
    return np.einsum(subscripts, a, b)


def _contract_operand(g, other, subscripts, shape, k):
    """Cotangent of operand ``k``, of ``shape``, of an einsum of two operands."""
    operands, out = subscripts.split("->")
    names = operands.split(",")
    mine, theirs = names[k], names[1 - k]
    alone = [i for i, name in enumerate(mine) if name not in out + theirs]  # summed over alone
    kept = "".join(name for i, name in enumerate(mine) if i not in alone)
    g = np.expand_dims(np.einsum(f"{out},{theirs}->{kept}", g, other), tuple(alone))
    # an axis of size 1 stands for as many as the other operand has
    return np.broadcast_to(g, tuple(max(n, m) for n, m in zip(g.shape, shape, strict=True)))


rule(contract,
     lambda g, _y, _a, b, *, subscripts: _contract_operand(g, b, subscripts, _a.shape, 0),
     lambda g, _y, a, _b, *, subscripts: _contract_operand(g, a, subscripts, _b.shape, 1))


@derive(np.einsum)
def _einsum(*operands, optimize=False, order="K", casting="safe", dtype=None):
    """Pairs of operands, from left to right (so ``optimize`` has nothing to choose, and ``order``
    says where the result lies in memory)."""
    subscripts, xs = _subscripts(*operands)
    if dtype is not None:
        xs = [x.astype(dtype) for x in xs]
    names, out = _einsum_names(subscripts, xs)
    xs, names = map(list, zip(*map(_einsum_diagonal, xs, names), strict=True))
    while len(xs) > 1:
        (a, b), (p, q) = xs[:2], names[:2]
        later = out + "".join(names[2:])
        kept = "".join(dict.fromkeys(c for c in p + q if c in later)) if len(names) > 2 else out
        xs[:2] = [contract(a, b, subscripts=f"{p},{q}->{kept}")]
        names[:2] = [kept]
    (x,), (name,) = xs, names
    if summed := tuple(i for i, c in enumerate(name) if c not in out):
        x = np.sum(x, axis=summed)
    name = [c for c in name if c in out]
    return np.transpose(x, [name.index(c) for c in out])


def _subscripts(first, *operands):
    """The form with a string, also for ``einsum(a, [0, 1], b, [1, 2], [0, 2])``."""
    if isinstance(first, str):
        return first, list(map(array, operands))
    operands = (first, *operands)
    arrays, lists = operands[:-1:2], operands[1::2]
    out = operands[-1:] if len(operands) % 2 else ()

    def text(labels):
        return "".join("..." if i is Ellipsis else string.ascii_letters[i] for i in labels)

    arrow = "->" + text(out[0]) if out else ""
    return ",".join(map(text, lists)) + arrow, list(map(array, arrays))


def _einsum_names(subscripts, operands):
    """One letter per axis, with the ellipsis and the output written out."""
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    names = inputs.split(",")
    if len(names) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(names)} operands,"
                         f" {len(operands)} came")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    longest = ""
    for i, (name, x) in enumerate(zip(names, operands, strict=True)):
        if "..." in name:
            extra = "".join(spare[: np.ndim(x) - len(name) + 3])[::-1]  # aligned at the right
            longest = max(longest, extra, key=len)
            names[i] = name.replace("...", extra)
        if len(names[i]) != np.ndim(x):
            raise ValueError(f"einsum: {name!r} of {subscripts!r} for an array of shape"
                             f" {np.shape(x)}")
    if not arrow:
        every = "".join(names)
        single = sorted(c for c in set(every) if every.count(c) == 1 and c not in longest)
        return names, longest + "".join(single)
    return names, out.replace("...", longest)


def _einsum_diagonal(x, name):
    for c in dict.fromkeys(name):
        while name.count(c) > 1:
            i = name.index(c)
            j = name.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ValueError(f"einsum: {c!r} names axes of {x.shape[i]} and {x.shape[j]}"
                                 " elements")
            x = np.diagonal(x, 0, i, j)
            name = name[:i] + name[i + 1 : j] + name[j + 1 :] + c
    return x, name


# --- convolution ----------------------------------------------------------------------------------


def _convolve_operand(g, other, shape, mode):
    """Cotangent of the operand of ``shape``; a number counts as one element."""
    other = np.atleast_1d(other)
    n, m = math.prod(shape), len(other)
    mode = mode if isinstance(mode, str) else ("valid", "same", "full")[mode]
    if mode != "full":  # a slice of the full one
        whole = n + m - 1
        skipped = min(n, m) - 1 if mode == "valid" else (min(n, m) - 1) // 2
        g = np.pad(g, (skipped, whole - skipped - g.shape[0]))
    return np.reshape(np.correlate(g, other, "valid"), shape)


rule(np.convolve,
     lambda g, _y, _a, v, mode="full": _convolve_operand(g, v, _a.shape, mode),
     lambda g, _y, a, _v, mode="full": _convolve_operand(g, a, _v.shape, mode))


@derive(np.correlate)
def _correlate(a, v, mode="valid"):
    a, v = array(a), array(v)
    if len(v) > len(a):
        return np.convolve(v, a[::-1], mode)[::-1]
    return np.convolve(a, v[::-1], mode)


# --- covariance -----------------------------------------------------------------------------------


@derive(np.cov)
def _cov(m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None, dtype=None):
    kind = np.result_type(m, np.float64, *(() if y is None else (y,))) if dtype is None else dtype

    def rows(x):
        x = array(x).astype(kind)
        if x.ndim > 2:
            raise ValueError(f"cov: one axis or two are wanted, shape {x.shape} came")
        x = np.atleast_2d(x)
        return x if rowvar or x.shape[0] == 1 else np.transpose(x)

    x = rows(m) if y is None else np.concatenate([rows(m), rows(y)], 0)
    ddof = (0 if bias else 1) if ddof is None else ddof
    if ddof != int(ddof):
        raise ValueError(f"cov: ddof={ddof}: a whole number is wanted")
    if fweights is None and aweights is None:
        d = x - np.mean(x, axis=1, keepdims=True)
        return np.squeeze(d @ np.transpose(d) / np.maximum(x.shape[1] - ddof, 0).astype(kind))
    reliable = array(1.0 if aweights is None else aweights, x)
    w = array(1.0 if fweights is None else fweights, x) * reliable
    total = np.sum(w)
    d = x - np.sum(x * w, axis=1, keepdims=True) / total
    freedom = total - ddof if aweights is None else total - ddof * np.sum(w * reliable) / total
    return np.squeeze((d * w) @ np.transpose(d) / np.maximum(freedom, 0))


@derive(np.corrcoef)
def _corrcoef(x, y=None, rowvar=True, dtype=None):
    c = np.cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    s = np.sqrt(np.diagonal(c))
    return np.clip(c / s[:, None] / s[None, :], -1, 1)
