"""Errors that say which operation it was, and what came."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from .primitive import Function

OTHERS = np.matrix, np.ma.MaskedArray  # whose operators mean something else


class Named:
    """What is made with keywords: TypeError for one that it does not take, with what it takes or,
    where another library has that keyword, how it is said here."""

    elsewhere: ClassVar[dict[str, str]] = {}  # what another library calls it -> here

    if not TYPE_CHECKING:  # a type checker reads __init__

        def __new__(cls, *args, **kwargs):
            if cls.__init__ is object.__init__ and (args or kwargs):
                raise TypeError(f"{cls.__name__} takes no arguments")
            if kwargs:
                takes = list(inspect.signature(cls.__init__).parameters.values())[1:]
                if all(p.kind is not p.VAR_KEYWORD for p in takes):
                    cls._refuse(kwargs, [p.name for p in takes])
            return super().__new__(cls)

    @classmethod
    def _refuse(cls, named: Iterable[str], takes: Sequence[str]) -> None:
        for name in named:
            if name not in takes:
                here = (f": {cls.elsewhere[name]}" if name in cls.elsewhere
                        else f", wanted {', '.join(takes)}")
                raise TypeError(f"{cls.__name__}: {name}= is not known{here}")


def name_of(fn: Function) -> str:
    """As its caller writes it: ``np.linalg.norm``."""
    if fn.__name__.endswith(" (vectorized)"):
        return "np.frompyfunc"
    module = getattr(fn, "__module__", None) or "numpy"
    return f"{module}.{fn.__name__}".replace("numpy", "np")


def kind_of(x: object) -> str:
    """``torch.Tensor``: there is more than one Tensor."""
    return f"{type(x).__module__}.{type(x).__name__}"


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
    kinds = (np.linalg.LinAlgError, IndexError, ValueError, TypeError, ArithmeticError)
    kind = next(k for k in kinds if isinstance(error, k))
    return kind(f"{name}: {what}: {error}")


E = TypeVar("E", Exception, None)


def in_numpys_words(error: E, fn: Function, args: Any, kwargs: dict[str, Any]) -> Exception | E:
    """The error of a derivation of ``fn`` (None: so far there is none), or what NumPy itself says
    of these arguments: what a derivation cannot do NumPy mostly refuses, and says best why."""
    values: list[Any] = [_copied(a) for a in args]
    named: dict[str, Any] = {k: _copied(v) for k, v in kwargs.items()}
    if str(error).startswith(f"{fn.__name__}:") or any(
            callable(v) or v is NotImplemented for v in (*values, *named.values())):
        return error
    try:
        fn(*values, **named)
    except (TypeError, ValueError, IndexError) as theirs:
        return explained(theirs, fn.__name__, values, kwargs)
    except ArithmeticError:
        pass
    return error


def _copied(x: Any) -> Any:
    """The values of an argument, to try something with; NotImplemented for what is no array of
    NumPy (a recording must not see it)."""
    x = getattr(x, "_held", x)
    if isinstance(x, (list, tuple)):
        values = [_copied(v) for v in x]
        return NotImplemented if any(v is NotImplemented for v in values) else type(x)(values)
    if hasattr(x, "__array_function__"):
        return x.copy() if isinstance(x, np.ndarray) else NotImplemented
    return x


# --- what is written for nobody ------------------------------------------------------------------


def refuse_what_is_gone(t: Any) -> None:
    """Called by ``__setitem__``: RuntimeError where the statement that writes into ``t`` alone has
    it, as in ``t[i][j] = v``, so that nobody can ever read what it writes.

    Then as many hold it as hold the ``_Gone`` below, and the statement is no call, which may hold
    it elsewhere. From Python 3.14 on names of the frame lend what they hold: they are looked
    through.
    """
    if sys.getrefcount(t) == _Gone.holders:
        frame = sys._getframe(2)
        if frame.f_code.co_code[frame.f_lasti] == dis.opmap["STORE_SUBSCR"] and all(
                held is not t for held in frame.f_locals.values()):  # fmt: skip
            raise RuntimeError("t[i][j] = v: t[i] is a value of its own that nobody keeps, and with"
                               " it what is written is gone: write t[i, j] = v, or name it first")


class _Gone:
    holders = 0

    def __setitem__(self, index: Any, value: Any) -> None:
        _Gone.holders = _holders(self)


def _holders(t: Any) -> int:
    return sys.getrefcount(t)


_Gone()[0] = 0
