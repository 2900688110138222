"""Elements picked out."""

import numpy as np

from .table import derive

derive(np.tril)(lambda m, k=0: np.where(np.tri(m.shape[-2], m.shape[-1], k, dtype=bool), m, 0))
derive(np.triu)(lambda m, k=0: np.where(np.tri(m.shape[-2], m.shape[-1], k - 1, dtype=bool), 0, m))
derive(np.sort)(lambda a, axis=-1: np.take_along_axis(a, np.argsort(a, axis=axis), axis))


@derive(np.take)
def _take(a, indices, axis=None, mode="raise"):
    if axis is None:
        a, axis = np.reshape(a, (-1,)), 0
    if mode == "wrap":
        indices = np.mod(indices, a.shape[axis])
    elif mode == "clip":
        indices = np.clip(indices, 0, a.shape[axis] - 1)
    return a[(*(slice(None),) * (axis % a.ndim), indices)]


@derive(np.take_along_axis)
def _take_along_axis(arr, indices, axis=-1):
    if axis is None:
        arr, axis = np.reshape(arr, (-1,)), 0
    axis %= arr.ndim
    if np.ndim(indices) != arr.ndim:
        raise ValueError(f"take_along_axis: indices of {np.ndim(indices)} axes for an array of"
                         f" {arr.ndim}")
    grid = [
        np.reshape(np.arange(n), (-1,) + (1,) * (arr.ndim - 1 - i))
        for i, n in enumerate(arr.shape)
    ]
    return arr[(*grid[:axis], indices, *grid[axis + 1 :])]


@derive(np.diagonal)
def _diagonal(a, offset=0, axis1=0, axis2=1):
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows = np.arange(max(0, min(a.shape[-2] + min(offset, 0), a.shape[-1] - max(offset, 0))))
    return a[..., rows - min(offset, 0), rows + max(offset, 0)]
