"""Arrays put together, and taken apart."""

import numpy as np

from .table import derive

derive(np.vstack)(lambda tup: np.concatenate([np.atleast_2d(x) for x in tup], 0))
derive(np.dstack)(lambda tup: np.concatenate([np.atleast_3d(x) for x in tup], 2))
derive(np.hsplit)(lambda ary, n: np.split(ary, n, min(1, ary.ndim - 1)))
derive(np.vsplit)(lambda ary, n: np.split(ary, n, 0))


@derive(np.hstack)
def _hstack(tup):
    tup = [np.atleast_1d(x) for x in tup]
    return np.concatenate(tup, 0 if tup[0].ndim == 1 else 1)


@derive(np.column_stack)
def _column_stack(tup):
    return np.concatenate([np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tup], 1)


@derive(np.split)
def _split(ary, indices_or_sections, axis=0):
    n = indices_or_sections
    if isinstance(n, int) and ary.shape[axis] % n:
        raise ValueError(f"split: {ary.shape[axis]} elements along axis {axis} are not divisible"
                         f" by {n}")
    return np.array_split(ary, n, axis)


@derive(np.pad)
def _pad(array, pad_width, mode="constant", constant_values=0):
    widths = np.broadcast_to(pad_width, (array.ndim, 2)).tolist()
    if mode == "constant":
        shape = tuple(n + sum(w) for n, w in zip(array.shape, widths, strict=True))
        padded = np.full_like(array, constant_values, shape=shape)
        inside = (slice(w[0], w[0] + n) for n, w in zip(array.shape, widths, strict=True))
        padded[tuple(inside)] = array
        return padded
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise TypeError(f"pad: mode {mode!r} has no derivative rule")
    for axis, width in enumerate(widths):
        array = np.take(array, np.pad(np.arange(array.shape[axis]), width, mode), axis)
    return array
