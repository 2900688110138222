"""The same elements in another arrangement."""

import itertools

import numpy as np

from .table import derive

derive(np.fliplr)(lambda m: np.flip(m, 1))
derive(np.flipud)(lambda m: np.flip(m, 0))
derive(np.matrix_transpose)(lambda x: np.swapaxes(x, -1, -2))


@derive(np.ravel)
def _ravel(a):
    return np.reshape(a, (-1,))


@derive(np.atleast_1d)
def _atleast_1d(a, *more):
    if more:
        return tuple(map(np.atleast_1d, (a, *more)))
    return a if a.ndim else np.reshape(a, (1,))


@derive(np.atleast_2d)
def _atleast_2d(a, *more):
    if more:
        return tuple(map(np.atleast_2d, (a, *more)))
    return a if a.ndim > 1 else np.reshape(a, (1, -1))


@derive(np.atleast_3d)
def _atleast_3d(a, *more):
    if more:
        return tuple(map(np.atleast_3d, (a, *more)))
    return a if a.ndim > 2 else np.expand_dims(np.atleast_2d(a), -1 if a.ndim else 0)


@derive(np.tile)
def _tile(A, reps):
    reps = tuple(reps) if np.ndim(reps) else (reps,)
    ndim = max(len(reps), A.ndim)
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - A.ndim) + A.shape
    each = tuple(itertools.chain.from_iterable(zip(reps, shape, strict=True)))
    single = tuple(itertools.chain.from_iterable((1, n) for n in shape))
    whole = tuple(r * n for r, n in zip(reps, shape, strict=True))
    return np.reshape(np.broadcast_to(np.reshape(A, single), each), whole)


@derive(np.repeat)
def _repeat(a, repeats, axis=None):
    if axis is None:
        a, axis = np.reshape(a, (-1,)), 0
    axis %= a.ndim
    if np.ndim(repeats):
        return np.take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    repeats = int(repeats)
    shape = a.shape
    a = np.expand_dims(a, axis + 1)
    a = np.broadcast_to(a, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return np.reshape(a, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))
