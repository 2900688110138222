"""Shapes: axes, diagonals, triangles, copies, broadcasting."""

import itertools
import math

import numpy as np

from .table import NoDerivative, along, array, axes_of, axis_of, before, beside, derive


def triangle(m, k):
    """True in and below the k-th diagonal of m (..., M, N)."""
    rows, columns = (m.shape * 2)[-2:]
    return beside(np.tri(rows, columns, k, dtype=bool), m)


derive(np.fliplr)(lambda m: np.flip(m, 1))
derive(np.flipud)(lambda m: np.flip(m, 0))
derive(np.matrix_transpose)(lambda x: np.swapaxes(x, -1, -2))
derive(np.tril)(lambda m, k=0: np.where(triangle(m, k), m, 0))
derive(np.triu)(lambda m, k=0: np.where(triangle(m, k - 1), 0, m))
derive(np.trace)(lambda a, offset=0, axis1=0, axis2=1: np.sum(
    np.diagonal(a, offset, axis1, axis2), axis=-1))  # fmt: skip
derive(np.real, np.real_if_close)(lambda val: array(val))
derive(np.conjugate, np.conj)(lambda x: np.positive(x))
derive(np.fft.fftshift)(lambda x, axes=None: _half_turned(x, axes, 1))
derive(np.fft.ifftshift)(lambda x, axes=None: _half_turned(x, axes, -1))


def _half_turned(x, axes, sign):
    axes = tuple(range(x.ndim)) if axes is None else (axes,) if np.ndim(axes) == 0 else tuple(axes)
    return np.roll(x, tuple(sign * (x.shape[i] // 2) if sign > 0 else -(x.shape[i] // 2)
                            for i in axes), axes)  # fmt: skip


@derive(np.reshape)
def _reshape(a, shape, order="C", copy=None):
    """In the order of Fortran: the first index runs fastest."""
    if order == "C":
        return np.reshape(a, shape)
    if order not in ("F", "A"):
        raise ValueError(f"reshape: order={order!r}: 'C', 'F' or 'A' is wanted")
    if order == "A":
        raise NoDerivative("np.reshape: no derivative with order='A', which looks at the memory;"
                           " 'C' or 'F' is wanted")
    shape = tuple(shape) if np.ndim(shape) else (shape,)
    return np.transpose(np.reshape(np.transpose(a), shape[::-1]))


@derive(np.ravel)
def _ravel(a, order="C"):
    if order in ("A", "K"):
        raise NoDerivative(f"np.ravel: no derivative with order={order!r}, which looks at the"
                           " memory; 'C' or 'F' is wanted")
    return np.reshape(array(a), (-1,), order=order)


@derive(np.atleast_1d)
def _atleast_1d(*arys):
    if len(arys) != 1:
        return tuple(map(np.atleast_1d, arys))
    return arys[0] if np.ndim(arys[0]) else np.reshape(array(arys[0]), (1,))


@derive(np.atleast_2d)
def _atleast_2d(*arys):
    if len(arys) != 1:
        return tuple(map(np.atleast_2d, arys))
    return arys[0] if np.ndim(arys[0]) > 1 else np.reshape(array(arys[0]), (1, -1))


@derive(np.atleast_3d)
def _atleast_3d(*arys):
    if len(arys) != 1:
        return tuple(map(np.atleast_3d, arys))
    (a,) = arys
    return a if np.ndim(a) > 2 else np.expand_dims(np.atleast_2d(a), -1 if np.ndim(a) else 0)


@derive(np.rollaxis)
def _rollaxis(a, axis, start=0):
    axis, start = axis_of(axis, a.ndim), start + a.ndim * (start < 0)
    if not 0 <= start <= a.ndim:
        raise ValueError(f"rollaxis: no place before axis {start} in an array of {a.ndim} axes")
    return np.moveaxis(a, axis, start - (axis < start))


@derive(np.rot90)
def _rot90(m, k=1, axes=(0, 1)):
    if len(axes_of(tuple(axes), m.ndim)) != 2:
        raise ValueError(f"rot90: two different axes are wanted, {axes} came")
    turned = np.swapaxes(m, *axes) if k % 2 else m
    flipped = [None, axes[0], tuple(axes), axes[1]][k % 4]
    return np.copy(m) if flipped is None else np.flip(turned, flipped)


@derive(np.diagonal)
def _diagonal(a, offset=0, axis1=0, axis2=1):
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows = np.arange(max(0, min(a.shape[-2] + min(offset, 0), a.shape[-1] - max(offset, 0))))
    return a[..., rows - min(offset, 0), rows + max(offset, 0)]


@derive(np.diag)
def _diag(v, k=0):
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ValueError(f"diag: one axis or two are wanted, shape {v.shape} came")
    n = len(v) + abs(k)
    square = np.zeros_like(v, shape=(n, n))
    rows = np.arange(len(v))
    square[rows - min(k, 0), rows + max(k, 0)] = v
    return square


derive(np.diagflat)(lambda v, k=0: np.diag(np.ravel(v), k))


@derive(np.vander)
def _vander(x, N=None, increasing=False):
    if x.ndim != 1:
        raise ValueError(f"vander: one axis is wanted, shape {x.shape} came")
    if N is not None and N < 0:
        raise ValueError(f"vander: N={N}: a number from 0 on is wanted")
    x = x.astype(np.promote_types(x.dtype, int))
    powers = np.cumprod(np.concatenate(
        [np.ones_like(x)[:, None], np.repeat(x[:, None], max((N or len(x)) - 1, 0), 1)], 1), axis=1)
    powers = powers[:, : len(x) if N is None else N]
    return powers if increasing else powers[:, ::-1]


@derive(np.broadcast_arrays)
def _broadcast_arrays(*args, subok=False):
    args = tuple(map(array, args))
    shape = np.broadcast_shapes(*(x.shape for x in args))
    return tuple(np.broadcast_to(x, shape) for x in args)


@derive(np.meshgrid)
def _meshgrid(*xi, copy=True, sparse=False, indexing="xy"):
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing={indexing!r}: 'xy' or 'ij' is wanted")
    n = len(xi)
    axes = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else range(n)
    grid = [np.reshape(array(x), [-1 if i == axis else 1 for i in range(n)])
            for x, axis in zip(xi, axes, strict=True)]  # fmt: skip
    return tuple(grid) if sparse else tuple(map(np.copy, np.broadcast_arrays(*grid)))


@derive(np.tile)
def _tile(A, reps):
    reps = tuple(reps) if np.ndim(reps) else (reps,)
    if min(reps, default=0) < 0:
        raise ValueError(f"tile: no negative number of repetitions: {reps}")
    ndim = max(len(reps), A.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - A.ndim) + A.shape
    each = tuple(itertools.chain.from_iterable(zip(reps, shape, strict=True)))
    single = tuple(itertools.chain.from_iterable((1, n) for n in shape))
    whole = tuple(r * n for r, n in zip(reps, shape, strict=True))
    return np.reshape(np.broadcast_to(np.reshape(A, single), each), whole)


@derive(np.repeat)
def _repeat(a, repeats, axis=None):
    a, axis = along(a, axis)
    if np.ndim(repeats):
        return np.take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    repeats = int(repeats)
    if repeats < 0:
        raise ValueError(f"repeat: no negative number of repetitions: {repeats}")
    shape = a.shape
    a = np.expand_dims(a, axis + 1)
    a = np.broadcast_to(a, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return np.reshape(a, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


@derive(np.resize)
def _resize(a, new_shape):
    shape = (new_shape,) if isinstance(new_shape, (int, np.integer)) else tuple(new_shape)
    flat = np.ravel(a)
    if min(shape, default=0) < 0:
        raise ValueError(f"resize: a shape without negative sizes is wanted, {shape} came")
    if not flat.size:
        return np.zeros_like(flat, shape=shape)
    return np.reshape(flat[np.arange(math.prod(shape)) % flat.size], shape)


@derive(np.full_like)
def _full_like(a, fill_value, dtype=None, shape=None):
    like = np.zeros_like(a, dtype=dtype, shape=shape)
    return np.broadcast_to(array(fill_value), like.shape).astype(like.dtype) - np.zeros_like(
        a, dtype=dtype, shape=shape)  # x - 0 is x, and -0 + 0 is not -0


@derive(np.lib.stride_tricks.sliding_window_view)
def _sliding_window_view(x, window_shape, axis=None):
    sizes = tuple(window_shape) if np.ndim(window_shape) else (window_shape,)
    axes = axes_of(axis, x.ndim)
    for size, i in zip(sizes, axes, strict=True):
        n = x.shape[i] - size + 1
        if n < 1 or size < 0:
            raise ValueError(f"sliding_window_view: a window of {size} for {x.shape[i]} elements")
        windows = np.arange(n)[:, None] + np.arange(size)
        x = np.moveaxis(x[(*before(i, x.ndim), windows)], i + 1, -1)
    return x
