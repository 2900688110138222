"""From NumPy's two protocols to the table.

``np.tanh(t)`` of a Tensor asks the Tensor first: ufuncs through ``__array_ufunc__`` (NEP 13), other
functions such as ``np.concatenate`` through ``__array_function__`` (NEP 18). Both come here, and
``_call`` finds what the function is for Tensors:

    in RULES     a primitive: its arguments are made canonical and handed to ``apply``
    in DERIVED   said in terms of others: those lines are run, and come here again
    in PLAIN     carries no derivative: computed on the arrays, gives an array
    in CREATES   wants shape and dtype alone: gives a Tensor without a graph
    in none      TypeError for what requires grad, so that no gradient is lost in silence

Nothing here knows the class Tensor: ``apply`` and ``wrap`` are found through the one that was
asked, ``x.__primitive__`` and ``x._wrap``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .derived import DERIVED
from .primitive import RULES, Function, Primitive
from .rules import CREATES, PLAIN

_REDUCTIONS: dict[np.ufunc, Function] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
}  # fmt: skip


class Protocols:
    """What NumPy asks of an array that is not its own. A subclass has ``_data`` (the array),
    ``data`` (the same, to be handed out), ``requires_grad``, ``__primitive__`` (``apply``) and
    ``_wrap``."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None,
                        **kwargs: Any) -> Any:
        if method == "reduce" and ufunc in _REDUCTIONS:
            kwargs.setdefault("axis", inputs[1] if len(inputs) > 1 else 0)
            result = self._call(_REDUCTIONS[ufunc], inputs[:1], kwargs)
        elif method == "accumulate" and ufunc is np.add:
            result = np.cumsum(inputs[0], **{"axis": 0, **kwargs})
        elif method == "outer":
            a, b = inputs
            result = self._call(ufunc, (np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b), kwargs)
        elif method != "__call__":
            what = f"np.{ufunc.__name__}.{method}: no derivative rule"
            result = _on_arrays(getattr(ufunc, method), inputs, kwargs, what)
        elif ufunc in RULES and not kwargs and len(inputs) == RULES[ufunc].arity:
            result = self.__primitive__(ufunc, *inputs)
        else:
            if kwargs:
                raise TypeError(f"np.{ufunc.__name__}: no derivative with {', '.join(kwargs)}=")
            result = self._call(ufunc, inputs, kwargs)
        return result if out is None else _into(out[0], result, ufunc.__name__)

    def __array_function__(self, func: Function, types: Any, args: Any,
                           kwargs: dict[str, Any]) -> Any:
        out = kwargs.pop("out", None) if kwargs.get("out") is not None else None
        result = self._call(func, args, kwargs)
        return result if out is None else _into(out, result, func.__name__)

    def _call(self, fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """What ``fn(*args, **kwargs)`` is for Tensors, for any callable of NumPy."""
        if fn in RULES:
            canonical = _canonical(fn, RULES[fn], args, kwargs)
            if canonical:
                arrays, meta = canonical
                return self.__primitive__(fn, *arrays, **meta)
        if fn in DERIVED:
            return DERIVED[fn](*map(_filled_in, args), **kwargs)
        if fn in PLAIN or fn in CREATES:
            result = fn(*map(arrays_in, args), **{k: arrays_in(v) for k, v in kwargs.items()})
            return self._wrap(result, None) if fn in CREATES else result
        module = getattr(fn, "__module__", None) or "numpy"
        name = f"{module}.{fn.__name__}".replace("numpy", "np")
        what = f"{name}: no derivative rule; use .detach() if no gradient is wanted"
        if fn in RULES:
            given = ", ".join(f"{k}={v!r}" for k, v in kwargs.items())
            what = f"{name}: no derivative rule for this form of the call ({given})"
        return _on_arrays(fn, args, kwargs, what)


# --- arguments made canonical --------------------------------------------------------------------

# Of functions that are written in C, NumPy tells the parameters from 2.4 on.
_UNTOLD: dict[Any, Function] = {
    np.concatenate: lambda arrays, axis=0, out=None, dtype=None, casting="same_kind": None,
    np.where: lambda condition, x=None, y=None: None,
    np.maximum: lambda x1, x2: None,
    np.minimum: lambda x1, x2: None,
}


@cache
def _parameters(fn: Function) -> list[inspect.Parameter]:
    return list(inspect.signature(_UNTOLD.get(fn, fn)).parameters.values())


_DEFAULTS = (None, np._NoValue, inspect.Parameter.empty)


def _canonical(fn: Function, primitive: Primitive, args: Any,
               kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The call with arrays positional and metadata by keyword, or None if the rule does not take
    it: an argument that the rule does not know is allowed only at its default."""
    parameters = _parameters(fn)
    bound = dict(zip((p.name for p in parameters), args, strict=False))
    bound.update(kwargs)
    if primitive.sequence:
        arrays = tuple(bound.pop(parameters[0].name))
    else:
        names = [p.name for p in parameters[: primitive.arity]]
        if not all(name in bound for name in names) or any(bound[n] is None for n in names):
            return None
        arrays = tuple(bound.pop(name) for name in names)
    meta = {}
    for p in parameters:
        if p.name in bound:
            value = bound.pop(p.name)
            if p.name in primitive.metadata:
                meta[p.name] = value
            elif not any(value is d for d in (p.default, *_DEFAULTS)) and (
                    hasattr(value, "shape") or value != p.default):
                return None
    return None if bound else (arrays, meta)


def _filled_in(a: Any) -> Any:
    """In a list of Tensors and numbers, arrays in place of the numbers."""
    if isinstance(a, (list, tuple)) and any(isinstance(x, Protocols) for x in a):
        return [np.asarray(x) if np.isscalar(x) else x for x in a]
    return a


def _on_arrays(fn: Function, args: Any, kwargs: dict[str, Any], what: str) -> Any:
    """``fn`` of arrays, which has no rule: for Tensors that want no gradient, so that none can be
    lost. TypeError, saying ``what``, for any other."""

    def array(x: Any) -> Any:
        if isinstance(x, Protocols):
            if x.requires_grad:
                raise TypeError(what)
            return x.data  # not _data: the result may be a view of it
        if isinstance(x, (list, tuple)):
            return list(map(array, x)) if isinstance(x, list) else tuple(map(array, x))
        return x

    return fn(*map(array, args), **{k: array(v) for k, v in kwargs.items()})


def arrays_in(x: Any) -> Any:
    if isinstance(x, Protocols):
        return x._data
    return [arrays_in(v) for v in x] if isinstance(x, list) else x


def _into(out: Any, result: Any, name: str) -> Any:
    """``out=``: the result becomes the new version of a Tensor; an array cannot hold a graph."""
    if isinstance(out, Protocols):
        out[...] = result
        return out
    if isinstance(result, Protocols) and result.requires_grad:
        raise TypeError(f"{name}: the array given as out= (or on the left of +=) cannot hold a"
                        " gradient: write a = a + t, or make it with np.zeros_like(t)")
    out[...] = arrays_in(result)
    return out


# --- errors explained ----------------------------------------------------------------------------


def explained(error: Exception, name: str, values: Sequence[Any],
              meta: dict[str, Any]) -> Exception:
    """The same error, with the operation and the shapes that came."""
    shapes = [np.shape(v) for v in values if hasattr(v, "shape")]
    if name == "matmul" and len(shapes) == 2 and shapes[0] and shapes[1]:
        (a, b), inner = shapes, shapes[1][-2:][0]
        what = f"{a} @ {b}"
        if a[-1] != inner:
            return ValueError(f"matmul: {what}: inner sizes {a[-1]} and {inner} differ")
    else:
        what = " and ".join(map(str, shapes)) or "scalars"
        if meta:
            what += ", " + ", ".join(f"{k}={v!r}" for k, v in meta.items())
    kind = next(k for k in (IndexError, ValueError, TypeError) if isinstance(error, k))
    return kind(f"{name}: {what}: {error}")
