"""What is there for speed alone. Each function here is one line of plain NumPy, which its docstring
names, done in another way; write that line in its place, and every result is the same up to
rounding. What each is worth stands in docs/performance.md."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from .primitive import own_function

# --- memory --------------------------------------------------------------------------------------


@cache
def keep_freed_memory() -> None:
    """``pass``. A graph is freed with every step. The allocator of Linux (glibc) would hand its
    memory back to the system, and the next step would fault it in again, page by page: let it keep
    256 MB, unless the user has tuned it."""
    import ctypes  # not before the first backward pass

    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        with suppress(AttributeError, OSError, TypeError):  # of another system
            mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3
            mallopt(mmap_threshold, 2**25)  # the most that it takes
            mallopt(trim_threshold, 2**28)


@contextmanager
def collector_paused() -> Iterator[None]:
    """``pass``, while a long graph grows. It has no cycles, but to find that out Python's garbage
    collector would walk all of it again and again: longer than the forward pass at T = 10,000."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# --- products ------------------------------------------------------------------------------------

FEW_ROWS = 64


def rows(x: Any) -> Any:
    """All leading axes folded into one (said in full: -1 cannot be told from a size of 0)."""
    return np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def matmul(a: Any, b: Any) -> Any:
    """``np.matmul(a, b)``; but rows in any arrangement times a weight are one product, not a stack
    of them (2 to 4 times faster)."""
    if getattr(b, "ndim", 0) == 2 and getattr(a, "ndim", 0) > 2:
        return (rows(a) @ b).reshape(*a.shape[:-1], b.shape[-1])
    return np.matmul(a, b)


def times_transposed(g: Any, b: Any) -> Any:
    """``g @ np.swapaxes(b, -1, -2)`` of matrices; few rows as (b @ g.T).T: BLAS packs the weight
    anew at each product, and so reads it along its rows."""
    if 1 < g.shape[0] <= FEW_ROWS < min(b.shape):
        return np.copy(np.transpose(b @ np.transpose(g)), order="C")
    return g @ np.swapaxes(b, -1, -2)


def split(fn: Any, x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """``fn(...)``, np.split or np.array_split; but equal pieces, as those of gates, are slices
    (half of the time)."""
    n = indices_or_sections
    if type(x) is np.ndarray and type(n) is int and n > 0 and x.shape[axis] % n == 0:
        size, before = x.shape[axis] // n, (slice(None),) * (axis % x.ndim)
        return [x[(*before, slice(i * size, i * size + size))] for i in range(n)]
    try:
        return fn(x, n, axis)
    except ZeroDivisionError:  # np.split's way of putting it
        raise ValueError("number of pieces must be larger than 0") from None


def unstack(x: Any, axis: int = 0) -> Any:
    """``np.unstack(x, axis=axis)``, which CuPy does not have."""
    first = (slice(None),) * (axis % x.ndim)
    return [x[(*first, i)] for i in range(x.shape[axis])]


# --- sums ----------------------------------------------------------------------------------------

MANY = 4096  # elements


def add_reduce(c: Any, axes: tuple[int, ...]) -> Any:
    """``np.add.reduce(c, axis=axes)``; but the gradient of a bias is a product with ones: BLAS adds
    its rows in half the time."""
    if c.size > MANY and c.dtype.kind == "f" and axes == tuple(range(len(c.shape) - 1)):
        n = math.prod(c.shape[:-1])
        return np.ones_like(c, shape=n) @ np.reshape(c, (n, c.shape[-1]))
    if c.dtype.char == "e":  # float16: NumPy would add up in it: from 2048 on, 1 more is no more
        return np.add.reduce(c, axis=axes, dtype=np.float32)
    return np.add.reduce(c, axis=axes)


def names_nothing_twice(index: Any) -> bool:
    if isinstance(index, tuple):
        return all(map(names_nothing_twice, index))
    return (index is None or index is Ellipsis or isinstance(index, (slice, int, np.bool_))
            or getattr(index, "dtype", None) == np.bool_)  # fmt: skip


@own_function
def add_at(buffer: Any, index: Any, g: Any) -> None:
    """``np.add.at(buffer, index, g)``: ``buffer[index] += g``, where an element that is named twice
    gets both."""
    if names_nothing_twice(index):
        buffer[index] += g
    elif isinstance(index, tuple) or buffer.ndim == 1 or index.size == 0 or not isinstance(
            buffer, np.ndarray):  # of a GPU: it adds at once, and has no segments
        np.add.at(buffer, index, g)
    else:  # rows of a matrix: sorted segments take a tenth of the time of np.add.at
        ids = index.ravel().astype(np.intp) % len(buffer)  # a uint8 cannot name row 256
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        sorted_rows = g.reshape(ids.shape + buffer.shape[1:])[order]
        buffer[ids[starts]] += np.add.reduceat(sorted_rows, starts, axis=0)
