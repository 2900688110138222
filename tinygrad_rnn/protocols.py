"""From NumPy's two protocols to the table.

``np.tanh(t)`` of a Tensor asks the Tensor first: ufuncs through ``__array_ufunc__`` (NEP 13), other
functions such as ``np.concatenate`` through ``__array_function__`` (NEP 18). Both come here, and
``_call`` finds what the function is for Tensors:

    in RULES     a primitive: its arguments are made canonical and handed to ``apply``
    in DERIVED   said in terms of others: those lines are run, and come here again
    in PLAIN     carries no derivative: computed on the arrays, gives an array
    in CREATES   wants shape and dtype alone: gives a Tensor without a graph
    in none      TypeError for what requires grad, so that no gradient is lost in silence

``out=`` and ``dtype=`` mean the same everywhere, and are taken care of here for all functions, as
is the ``where=`` of ufuncs. Whatever else a rule or derivation has no parameter for is refused.

Nothing here knows the class Tensor: ``apply`` and ``wrap`` are found through the one that was
asked, ``x.__primitive__`` and ``x._wrap``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import as_dtype, canonical, fits, given, names, of_ufunc, signature
from .derived import CREATES, DERIVED, METHODS, PLAIN
from .errors import in_numpys_words
from .primitive import RULES, Function


class Protocols:
    """What NumPy asks of an array that is not its own. A subclass has ``_data`` (the array),
    ``data`` (the same, to be handed out), ``requires_grad``, ``__primitive__`` (``apply``) and
    ``_wrap``."""

    __slots__ = ()

    @property
    def _mask(self) -> Any:
        # What np.ma asks for, before it computes with ``_data`` and loses the graph in silence.
        if self.requires_grad:
            raise TypeError("np.ma: a masked array holds no gradient: take np.where(mask, t, ...),"
                            " or t.detach()")
        return np.ma.nomask

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return np

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None,
                        **kwargs: Any) -> Any:
        if method != "__call__":
            result = self._method(ufunc, method, inputs, kwargs)
            return result if out is None else _into(out, result, ufunc.__name__)
        where: Any = True
        if kwargs:
            inputs, kwargs, where = of_ufunc(ufunc, inputs, kwargs)
        if ufunc in RULES and not kwargs and len(inputs) == RULES[ufunc].arity:
            result = self.__primitive__(ufunc, *inputs)
        else:
            result = self._call(ufunc, inputs, kwargs)
        if where is not True:
            if out is None:
                raise TypeError(f"np.{ufunc.__name__}: where= without out= leaves the other"
                                " elements to chance; give out=, or use np.where")
            result = np.where(where, result, out[0])
        return result if out is None else _into(out, result, ufunc.__name__)

    def __array_function__(self, func: Function, types: Any, args: Any,
                           kwargs: dict[str, Any]) -> Any:
        out = kwargs.get("out")
        if out is None:
            return self._call(func, args, kwargs)
        rest = {k: v for k, v in kwargs.items() if k != "out"}
        return _into(out, self._call(func, args, rest), func.__name__)

    def _call(self, fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """What ``fn(*args, **kwargs)`` is for Tensors, for any callable of NumPy."""
        if fn in RULES and (call := canonical(fn, RULES[fn], args, kwargs)):
            arrays, meta = call
            return self.__primitive__(fn, *arrays, **meta)
        if fn in CREATES and not any(map(_wants_grad, (*args[1:], *kwargs.values()))):
            return self._wrap(_on_plain(fn, args, kwargs), None)
        if fn in DERIVED and fits(fn, DERIVED[fn], args, kwargs):
            return _run(fn, DERIVED[fn], args, kwargs)
        if fn in RULES or fn in DERIVED:
            return self._in_other_words(fn, args, kwargs)
        if fn in PLAIN:
            return _on_plain(fn, args, kwargs)
        return _on_arrays(fn, args, kwargs, f"{_name(fn)}: no derivative rule; use .detach() if no"
                                            " gradient is wanted")

    def _in_other_words(self, fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """A call that neither the rule nor the derivation takes as it came: by NumPy's names,
        without what stands at its default, ``out=`` and ``dtype=`` taken out."""
        same, kwargs, dtype = DERIVED.get(fn), dict(kwargs), None
        takes = names(same) if same else (
            *tuple(signature(fn).parameters)[: RULES[fn].arity], *RULES[fn].metadata)
        if "dtype" not in takes:
            dtype = kwargs.pop("dtype", None)
        bound = given(_name(fn), fn, args, kwargs)
        out = bound.arguments.pop("out", None)
        if "dtype" not in takes:
            dtype = bound.arguments.pop("dtype", dtype)
        args, kwargs = bound.args, bound.kwargs
        if out is not None or dtype is not None:
            if dtype is not None:
                args = tuple(as_dtype(a, dtype) for a in args)
            result = self._call(fn, args, kwargs)
            return result if out is None else _into(out, result, fn.__name__)
        if same and fits(fn, same, args, kwargs):
            return _run(fn, same, args, kwargs)
        refused = [k for k in bound.arguments if k not in takes] or list(bound.arguments)
        return _on_arrays(fn, args, kwargs, (
            f"{_name(fn)}: no derivative with {', '.join(f'{k}=' for k in refused)} in this form of"
            f" the call; it takes {', '.join(takes)}"))

    def _method(self, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
        """``np.add.reduce(t)`` and its like."""
        name, bound = f"np.{ufunc.__name__}.{method}", getattr(ufunc, method)
        if ufunc in PLAIN:
            return _on_plain(bound, inputs, kwargs)
        kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
        dtype, same = kwargs.pop("dtype", None), METHODS.get(method)
        if same is None or not (ufunc in RULES or ufunc in DERIVED) or not set(kwargs) <= set(
                names(same)):  # fmt: skip
            what = "".join(f", {k}=" for k in kwargs)
            return _on_arrays(bound, inputs, kwargs, f"{name}{what}: no derivative rule")
        inputs = inputs if dtype is None else tuple(as_dtype(a, dtype) for a in inputs)
        return _run(bound, same, (ufunc, *inputs), kwargs)


# --- running it ----------------------------------------------------------------------------------


def _run(fn: Function, same: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """A derivation; an error in it becomes NumPy's own, where NumPy refuses the call."""
    try:
        return same(*args, **kwargs)
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise in_numpys_words(error, fn, args, kwargs) from None


def _wants_grad(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_wants_grad, x))
    return isinstance(x, Protocols) and x.requires_grad


def _name(fn: Function) -> str:
    if fn.__name__.endswith(" (vectorized)"):
        return "np.frompyfunc"
    module = getattr(fn, "__module__", None) or "numpy"
    return f"{module}.{fn.__name__}".replace("numpy", "np")


def _on_plain(fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """``fn`` of the arrays behind Tensors."""
    return fn(*map(arrays_in, args), **{k: arrays_in(v) for k, v in kwargs.items()})


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
    return type(x)(map(arrays_in, x)) if type(x) in (list, tuple) else x


def _into(out: Any, result: Any, name: str) -> Any:
    """``out=``: the result becomes the new version of a Tensor; an array cannot hold a graph."""
    if isinstance(out, tuple):
        if len(out) > 1:
            return tuple(_into(o, r, name) for o, r in zip(out, result, strict=True))
        (out,) = out
    if isinstance(result, Protocols) and result.requires_grad and not isinstance(out, Protocols):
        raise TypeError(f"{name}: the array given as out= (or on the left of +=) cannot hold a"
                        " gradient: write a = a + t, or make it with np.zeros_like(t)")
    if np.shape(out) != np.shape(result):
        raise ValueError(f"{name}: a result of {np.shape(result)} for out= of {np.shape(out)}")
    out[...] = result if isinstance(out, Protocols) else arrays_in(result)
    return out
