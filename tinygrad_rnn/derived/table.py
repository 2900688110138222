"""Where functions are registered that are said in terms of others, and what those lines share."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from ..primitive import Function, own_function

DERIVED: dict[Function, Function] = {}  # callable -> the same function in terms of others


def derive(*fns: Function) -> Callable[[Function], Function]:
    """Say what ``fns`` are in terms of functions that have rules. The parameters carry NumPy's
    names; what is left out is refused in a sentence (see ``protocols``)."""

    def register(same: Function) -> Function:
        DERIVED.update(dict.fromkeys(fns, same))
        return same

    return register


class NoDerivative(TypeError):
    """Of a call that has a value alone: where no gradient is wanted, NumPy computes that."""


def array(x: Any, like: Any = None) -> Any:
    """An array or Tensor as it is; numbers, and lists of any of these, as an array: where the array
    or Tensor ``like`` is."""
    if hasattr(x, "__array_function__"):
        return x
    if isinstance(x, (list, tuple)) and _holds_tensors(x):
        return np.stack(together(x))
    return np.asarray(x) if like is None else beside(np.asarray(x), like)


def together(xs: Any) -> list[Any]:
    """Each as an array, where the first of them is that is an array already."""
    like = next((x for x in xs if hasattr(x, "__array_function__")), None)
    return [array(x, like) for x in xs]


def _holds_tensors(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_tensors, x))
    return hasattr(x, "__array_function__") and not isinstance(x, np.ndarray)


def constant(x: Any, what: str) -> Any:
    """The value of an argument that gets no gradient. TypeError for a Tensor that wants one."""
    if getattr(x, "requires_grad", False):
        raise TypeError(f"{what}: no derivative by this argument; use .detach()")
    if isinstance(x, (list, tuple)):
        return type(x)(constant(v, what) for v in x)
    return getattr(x, "_held", x)


def value(x: Any) -> Any:
    """The array behind a Tensor, for what has no derivative."""
    return getattr(x, "_held", x)


def beside(x: Any, like: Any) -> Any:
    """``x`` where the array or Tensor ``like`` is: an array of the host moves to its library."""
    like = value(like)
    if isinstance(like, np.ndarray) or not isinstance(x, np.ndarray):
        return x
    return np.asarray(x, like=like)


def _require(fine, *, message):
    if not np.all(fine):
        raise ValueError(message)
    return np.all(fine)


require = own_function(_require, checks=True)  # ValueError unless all is true, also in a replay


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """One axis or several, counted from 0 (None: all). ValueError for one that is not there, or
    is named twice."""
    return tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)


axis_of = normalize_axis_index  # one axis, counted from 0


def along(a: Any, axis: Any) -> tuple[Any, int]:
    """An array and its one axis, counted from 0 (None: the elements in a row). TypeError for an
    axis that is no whole number."""
    a = array(a)
    if axis is None:
        return np.reshape(a, (-1,)), 0
    return a, axis_of(axis, a.ndim)


def before(axis: int, ndim: int) -> tuple[slice, ...]:
    """The index of all of the axes before ``axis``: ``x[(*before(1, 2), 0)]`` is ``x[:, 0]``."""
    return (slice(None),) * axis_of(axis, ndim)
