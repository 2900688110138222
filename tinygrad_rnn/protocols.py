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

from functools import partial
from typing import Any

import numpy as np

from .arguments import as_dtype, canonical, fits, given, names, odd_numbers, of_ufunc, signature
from .derived import CREATES, DERIVED, METHODS, PLAIN, WEIGHED, WRITING
from .derived.table import NoDerivative
from .errors import in_numpys_words, name_of
from .primitive import RULES, Function


class Protocols:
    """What NumPy asks of an array that is not its own. A subclass has ``_held`` (the array),
    ``data`` (the same, to be handed out), ``requires_grad``, ``__primitive__`` (``apply``) and
    ``_wrap``."""

    __slots__ = ()

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return np

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None,
                        **kwargs: Any) -> Any:
        if method != "__call__":
            result = self._method(ufunc, method, inputs, kwargs)
            return result if out is None else _into(out, result, ufunc.__name__)
        casting, where = kwargs.get("casting", "same_kind"), True
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
        return result if out is None else _into(out, result, ufunc.__name__, casting)

    def __array_function__(self, func: Function, types: Any, args: Any,
                           kwargs: dict[str, Any]) -> Any:
        if (out := kwargs.get("out")) is None:
            return self._call(func, args, kwargs)
        rest = {k: v for k, v in kwargs.items() if k != "out"}
        return _into(out, self._call(func, args, rest), func.__name__)

    def _call(self, fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """What ``fn(*args, **kwargs)`` is for Tensors, for any callable of NumPy."""
        if fn in RULES and (call := canonical(fn, RULES[fn], args, kwargs)):
            return self.__primitive__(fn, *call[0], **call[1])
        if fn in CREATES and not _some(_wants_grad, (*args[1:], *kwargs.values())):
            return self._wrap(_on_arrays(fn, args, kwargs), None)
        if fn in DERIVED and fits(fn, DERIVED[fn], args, kwargs):
            return self._run(fn, DERIVED[fn], args, kwargs)
        if fn in RULES or fn in DERIVED:
            return self._in_other_words(fn, args, kwargs)
        told = fn in PLAIN and not (fn in WEIGHED and _wants_grad(
            given(name_of(fn), fn, args, kwargs).arguments.get("weights")))
        return _on_arrays(fn, args, kwargs, "" if told else (
            f"{name_of(fn)}: no derivative rule; use .detach() if no gradient is wanted"))

    def _in_other_words(self, fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """A call that neither the rule nor the derivation takes as it came: by NumPy's names,
        without what stands at its default, ``out=`` and ``dtype=`` taken out."""
        same, name = DERIVED.get(fn), name_of(fn)
        takes = names(same) if same else (
            *tuple(signature(fn).parameters)[: RULES[fn].arity], *RULES[fn].metadata)
        bound = given(name, fn, args, kwargs)
        form = {k: bound.arguments.pop(k) for k in ("out", "dtype", "casting")
                if k in bound.arguments and k not in takes}  # fmt: skip
        args, kwargs = bound.args, bound.kwargs
        if form:
            usual = getattr(signature(fn).parameters.get("casting"), "default", "unsafe")
            out, casting = form.pop("out", None), form.get("casting", usual)
            if np.dtype(form.get("dtype", float)).kind != "f":  # these have no derivative
                result = self._tensors(_on_arrays(fn, args, kwargs | form))
            else:
                args = as_dtype(name, args, form["dtype"], casting) if "dtype" in form else args
                result = self._call(fn, args, kwargs)
            return result if out is None else _into(out, result, fn.__name__, casting)
        if same and fits(fn, same, args, kwargs):
            return self._run(fn, same, args, kwargs)
        refused = [k for k in bound.arguments | bound.kwargs if k not in (*takes, "kwargs")]
        return _on_arrays(fn, args, kwargs, (
            f"{name}: no derivative with {', '.join(f'{k}=' for k in refused or bound.arguments)}"
            f" in this form of the call; it takes {', '.join(takes)}"))

    def _method(self, ufunc: np.ufunc, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
        """``np.add.reduce(t)`` and its like."""
        name, bound = f"np.{ufunc.__name__}.{method}", getattr(ufunc, method)
        if ufunc in PLAIN:
            return _on_arrays(bound, inputs, kwargs)
        kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
        dtype, same = kwargs.pop("dtype", None), METHODS.get(method)
        if same is None or not (ufunc in RULES or ufunc in DERIVED) or not set(kwargs) <= set(
                names(same)):  # fmt: skip
            what = "".join(f", {k}=" for k in kwargs)
            return _on_arrays(bound, inputs, kwargs, f"{name}{what}: no derivative rule")
        inputs = inputs if dtype is None else as_dtype(name, inputs, dtype)
        return self._run(bound, partial(same, ufunc), inputs, kwargs)

    def _run(self, fn: Function, same: Function, args: Any, kwargs: dict[str, Any]) -> Any:
        """A derivation; an error in it becomes NumPy's own, where NumPy refuses the call. Whole
        numbers have no derivative: among those alone NumPy's own function is run."""
        if self.dtype.kind != "f" and fn.__name__ not in WRITING and not _some(
                _perhaps_float, (*args, *kwargs.values())):  # fmt: skip
            return self._tensors(_on_arrays(fn, args, kwargs))
        try:
            odd_numbers(fn, same, args, kwargs)
            return same(*args, **kwargs)
        except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            told = in_numpys_words(error, fn, args, kwargs)
            if type(told) is not NoDerivative:
                raise told from None
            if _some(_wants_grad, (*args, *kwargs.values())):
                raise TypeError(*told.args) from None
        return self._tensors(_on_arrays(fn, args, kwargs))

    def _tensors(self, x: Any) -> Any:
        """The results of a function of NumPy as Tensors."""
        if isinstance(x, (list, tuple)):
            parts = map(self._tensors, x)
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        return self._wrap(x[...] if isinstance(x, np.generic) else x, None)


# --- running it ----------------------------------------------------------------------------------


def _some(test: Function, x: Any) -> bool:
    """Whether there is a Tensor of this kind in an argument."""
    return any(_some(test, v) for v in x) if isinstance(x, (list, tuple)) else test(x)


def _wants_grad(x: Any) -> bool:
    return isinstance(x, Protocols) and x.requires_grad


def _perhaps_float(x: Any) -> bool:
    if isinstance(x, Protocols):
        return x.dtype.kind == "f"
    return callable(x) and not isinstance(x, type)  # what it returns is known to nobody


def _on_arrays(fn: Function, args: Any, kwargs: dict[str, Any], refused: str = "") -> Any:
    """``fn`` of the arrays behind Tensors. Where it has no rule (``refused`` says so) a Tensor that
    wants a gradient is a TypeError, so that none can be lost."""
    return fn(*arrays_in(args, refused), **{k: arrays_in(v, refused) for k, v in kwargs.items()})


def arrays_in(x: Any, refused: str = "") -> Any:
    if isinstance(x, Protocols):
        if refused and x.requires_grad:
            raise TypeError(refused)
        return x.data if refused else x._held  # of what is handed out the result may be a view
    if isinstance(x, (list, tuple)):
        values = [arrays_in(v, refused) for v in x]
        return values if isinstance(x, list) else tuple(values)
    return x


def _into(out: Any, result: Any, name: str, casting: Any = "unsafe") -> Any:
    """``out=``: the result becomes the new version of a Tensor; an array cannot hold a graph."""
    if isinstance(out, tuple) and len(out) > 1:
        return tuple(r if o is None else _into(o, r, name, casting)
                     for o, r in zip(out, result, strict=True))
    out = out[0] if isinstance(out, tuple) else out
    if isinstance(result, Protocols) and result.requires_grad and not isinstance(out, Protocols):
        raise TypeError(f"{name}: the array given as out= (or on the left of +=) cannot hold a"
                        " gradient: write a = a + t, or make it with np.zeros_like(t)")
    if np.shape(out) != np.shape(result):
        raise ValueError(f"{name}: a result of {np.shape(result)} for out= of {np.shape(out)}")
    if not np.can_cast(result.dtype, out.dtype, casting):
        raise TypeError(f"{name}: a result of {result.dtype} for out= of {out.dtype}, which it"
                        f" cannot become with casting={casting!r}")
    out[...] = result if isinstance(out, Protocols) else arrays_in(result)
    return out
