"""The arguments of a NumPy call in the form that rules and derivations take.

``np.sum(t, 0, None, None, True)`` and ``np.sum(t, axis=0, keepdims=True)`` are the same call. What
a rule or derivation has no parameter for may only stand at NumPy's default.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache, partial
from typing import Any

import numpy as np

from .derived import DERIVED
from .errors import in_numpys_words
from .primitive import Function, Primitive

_UNTOLD: dict[Any, Function] = {
    np.concatenate: lambda arrays, axis=0, out=None, dtype=None, casting="same_kind": None,
    np.where: lambda condition, x=None, y=None: None,
}


@cache
def signature(fn: Function) -> inspect.Signature:
    """NumPy's; of functions that are written in C it tells the parameters from 2.4 on."""
    try:
        return inspect.signature(_UNTOLD.get(fn, fn))
    except ValueError:
        of_ufunc = (lambda x: None) if getattr(fn, "nin", 2) == 1 else (lambda x1, x2: None)
        return inspect.signature(DERIVED.get(fn, of_ufunc))


@cache
def _parameters(fn: Function) -> list[inspect.Parameter]:
    return list(signature(fn).parameters.values())


@cache
def _by_name(fn: Function) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in _parameters(fn)}


@cache
def _first(fn: Function, n: int) -> tuple[str, ...]:
    return tuple(_by_name(fn))[:n]


@cache
def names(same: Function) -> tuple[str, ...]:
    """The parameters of a derivation."""
    return tuple(inspect.signature(same).parameters)


_DEFAULTS = (None, np._NoValue, inspect.Parameter.empty)


def _at_default(value: Any, p: inspect.Parameter) -> bool:
    return any(value is d for d in (p.default, *_DEFAULTS)) or (
        type(value) is type(p.default) and not hasattr(value, "shape") and value == p.default)


def canonical(fn: Function, primitive: Primitive, args: Any,
              kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The call of a primitive with arrays positional and metadata by keyword, or None if its rule
    does not take it."""
    parameters = _by_name(fn)
    if len(args) > len(parameters):
        return None
    bound = dict(zip(parameters, args, strict=False))
    bound.update(kwargs)
    if primitive.sequence:
        arrays = bound.pop(next(iter(parameters)), None)
        if not np.iterable(arrays):
            return None
    else:
        arrays = []
        for name in _first(fn, primitive.arity):
            array = bound.pop(name, None)
            if array is None:
                return None
            arrays.append(array)
    meta = {}
    for name, value in bound.items():
        if name in primitive.metadata:
            meta[name] = value
        elif name not in parameters or not _at_default(value, parameters[name]):
            return None
    return tuple(arrays), meta


@cache
def _takes(fn: Function, same: Function) -> tuple[int, frozenset[str] | None]:
    """How many arguments a derivation takes by position, as NumPy orders them, and which by name
    (None: any)."""
    ours, agreeing = inspect.signature(same).parameters.values(), 0
    for p, theirs in zip(ours, _parameters(fn), strict=False):
        if p.kind is p.VAR_POSITIONAL:
            agreeing = sys.maxsize
        if agreeing == sys.maxsize or (agreeing and p.name != theirs.name):
            break
        agreeing += 1
    return agreeing, None if any(p.kind is p.VAR_KEYWORD for p in ours) else frozenset(names(same))


def fits(fn: Function, same: Function, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a derivation takes the arguments as they came."""
    n, by_name = _takes(fn, same)
    return len(args) <= n and (by_name is None or by_name.issuperset(kwargs))


def given(name: str, fn: Function, args: Any, kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments by NumPy's names, without those at their default. TypeError for what NumPy
    itself does not take."""
    try:
        bound = signature(fn).bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(p.name for p in _parameters(fn))
        raise TypeError(f"{name}: {error}; it takes {takes}") from None
    for p in _parameters(fn):
        if p.default is not p.empty and p.name in bound.arguments and _at_default(
                bound.arguments[p.name], p):  # fmt: skip
            del bound.arguments[p.name]
    return bound


@cache
def _numbers(same: Function) -> list[tuple[int, str]]:
    """Which arguments of a derivation are axes, or numbers of elements or diagonals."""
    parameters = list(inspect.signature(same).parameters.values())
    by_position = next((i for i, p in enumerate(parameters) if p.kind is p.VAR_POSITIONAL),
                       len(parameters))  # fmt: skip
    return [(i if i < by_position else sys.maxsize, p.name) for i, p in enumerate(parameters)
            if p.name.startswith("ax") or p.name in ("k", "N", "offset", "minlength")]  # fmt: skip


def odd_numbers(fn: Function, same: Function, args: Any, kwargs: dict[str, Any]) -> None:
    """NumPy has the say of an axis, or a number of elements or diagonals, that is no whole number,
    nor a tuple of them: what a derivation could make of a list or a truth value it refuses, here
    and there."""
    bound = 0
    if isinstance(same, partial):  # a method, and its ufunc
        same, bound = same.func, 1
    for i, name in _numbers(same):
        i -= bound
        x = kwargs[name] if name in kwargs else args[i] if i < len(args) else None
        if _odd(name, x) and (error := in_numpys_words(None, fn, args, kwargs)):
            raise error


def _odd(name: str, x: Any) -> bool:
    if isinstance(x, tuple) or (name == "axes" and isinstance(x, list)):
        return any(_odd(name, i) for i in x)
    return x is not None and (isinstance(x, bool) or not isinstance(x, (int, np.integer)))


def as_dtype(name: str, x: Any, dtype: Any, casting: Any = "unsafe") -> Any:
    """The arrays of an argument in another dtype: what ``dtype=`` asks for, before the call."""
    if isinstance(x, (list, tuple)):
        return tuple(as_dtype(name, v, dtype, casting) for v in x)
    if not hasattr(x, "__array_function__"):
        return x
    if not np.can_cast(x.dtype, dtype, casting):
        raise TypeError(f"{name}: {x.dtype} cannot become {np.dtype(dtype)} with casting="
                        f"{casting!r}")  # fmt: skip
    return np.astype(x, np.dtype(dtype))


def of_ufunc(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The options that all ufuncs have, ``dtype=`` done, ``where=`` taken out; where results lie in
    memory (``order=``, ``subok=``) is not looked at."""
    kwargs = {k: v for k, v in kwargs.items() if k not in ("order", "subok")}
    dtype, casting = kwargs.pop("dtype", None), kwargs.pop("casting", "same_kind")
    where = kwargs.pop("where", True)
    if dtype is not None:
        inputs = as_dtype(f"np.{ufunc.__name__}", inputs, dtype, casting)
    if where is not True:
        inputs = tuple(_harmless(ufunc, where, x) for x in inputs)
    return inputs, kwargs, where


def _harmless(ufunc: np.ufunc, where: Any, x: Any) -> Any:
    """What is not looked at becomes a number in the domain of the ufunc: no warning, no NaN."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    inside = 1.5 if ufunc is np.arccosh else 0.5
    return np.where(where, x, inside if x.dtype.kind == "f" else 1)
