"""What a primitive is: a NumPy callable with one rule per argument, and what those rules read.

A **rule** is the vector-Jacobian product (vjp) of one argument of the callable:

    rule(np.tanh,     lambda g, y, _x: g * (1 - y * y))
    rule(np.multiply, lambda g, _y, _a, b: g * b,
                      lambda g, _y, a, _b: g * a)

It gets the cotangent ``g`` of the output, the output ``y``, the inputs, and the metadata (axis,
shape, ...) by keyword, and returns the cotangent of its argument. It is plain NumPy: on arrays it
computes; on Tensors the same line records its own graph, and so gives the next order of derivative.

- **A name that starts with ``_`` is not read**: only its ``shape`` and ``dtype`` are there. The
  names are looked up once, here; the engine keeps nothing alive that no rule reads.
- Broadcasting is undone in the graph, in one place (``graph.cast``), never in a rule.
- Parameters without a default are arrays; those with a default, or after ``*``, are metadata.
- ``None`` stands for an argument that has no derivative (a condition, an index).
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

Function: TypeAlias = Callable[..., Any]
# The rules that run, whether one reads the output, and which inputs they read.
Plan: TypeAlias = tuple[list[tuple[int, Function]] | None, bool, Iterable[bool] | None]

RULES: dict[Function, "Primitive"] = {}  # callable -> Primitive


class Primitive:
    """A callable with its rules, and what of its inputs and output those rules read."""

    def __init__(self, fn: Function, vjps: tuple[Function | None, ...],
                 call: Function | None = None, sequence: bool = False) -> None:
        self.fn, self.name = fn, fn.__name__
        self.call = call or fn  # runs it on positional arrays
        self.vjps = vjps
        self.sequence = sequence  # NumPy takes the arrays as one list; one rule answers for all
        self.reads: list[Any] = [vjp and _reads(vjp) for vjp in vjps]
        self.arity, self.metadata = _signature(next(filter(None, vjps)))
        self.plans: dict[int, Plan] = {}

    def plan(self, needs: int) -> Plan:
        """What happens when the arguments in ``needs`` (bit i for argument i) want a gradient:
        the rules that run, whether one of them reads the output, and for each input whether they
        read it (None: they read none). Made once for each ``needs``."""
        if self.sequence:
            (reads_y, reads_all), = self.reads
            plan: Plan = None, reads_y, itertools.repeat(True) if reads_all[0] else None
        else:
            wanted = [(i, vjp) for i, vjp in enumerate(self.vjps) if vjp and needs >> i & 1]
            reads = [self.reads[i] for i, _ in wanted]
            inputs = [any(column) for column in zip(*(inputs for _, inputs in reads), strict=True)]
            reads_y = any(reads_y for reads_y, _ in reads)
            plan = wanted, reads_y, inputs if any(inputs) else None
        self.plans[needs] = plan
        return plan


def _reads(vjp: Function) -> tuple[bool, list[bool]]:
    """Whether a rule reads the output, and which of the inputs: told by their names."""
    code = vjp.__code__
    arrays = list(code.co_varnames[: code.co_argcount - len(vjp.__defaults__ or ())])
    if code.co_flags & 0x04:  # *inputs
        arrays.append(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
    _, y, *inputs = (not name.startswith("_") for name in arrays)
    return y, inputs


def _signature(vjp: Function) -> tuple[int, tuple[str, ...]]:
    """How many arrays the function takes, and the names of its metadata."""
    code = vjp.__code__
    arrays = code.co_argcount - len(vjp.__defaults__ or ())
    return arrays - 2, code.co_varnames[arrays : code.co_argcount + code.co_kwonlyargcount]


def rule(fn: Function, *vjps: Function | None, call: Function | None = None) -> None:
    """Register one rule per argument of ``fn`` (None: it has no derivative). ``call`` runs it on
    arrays in another way than ``fn`` itself."""
    RULES[fn] = Primitive(fn, vjps, call)


def rule_of_sequence(fn: Function, vjp: Function) -> None:
    """Register a function of one list of arrays; its rule returns all their cotangents."""
    RULES[fn] = Primitive(fn, (vjp,), lambda *xs, **meta: fn(xs, **meta), sequence=True)


def own_function(fn: Function, checks: bool = False) -> Function:
    """Let a NumPy function of ours be a primitive: Tensors take it to the table, as they take
    NumPy's own through the protocols. ``checks``: it is there to raise, also in a replay."""

    @functools.wraps(fn)
    def dispatching(*args: Any, **meta: Any) -> Any:
        for a in args:
            if hasattr(a, "__primitive__"):
                return a.__primitive__(dispatching, *args, **meta)
        return fn(*args, **meta)

    vars(dispatching)["checks"] = checks
    return dispatching


_UNCHANGING = (float, int, slice, type(None), type(...), np.generic)


def own(value: Any) -> Any:
    """An operand that came from outside, for a rule to read later: a copy, where it can be edited
    meanwhile."""
    if isinstance(value, _UNCHANGING):
        return value
    if isinstance(value, tuple):
        return tuple(map(own, value))
    return value.copy() if hasattr(value, "copy") and hasattr(value, "shape") else np.array(value)


# --- symbolic cotangents: kept as what they are for as long as that is cheaper -------------------


class Product:
    """The cotangent ``leftᵀ @ right`` of a weight. A weight used at T time steps gets T of these,
    and one matrix product over the stacked operands in place of T products and T sums."""

    __slots__ = ("left", "right")

    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


class Scatter:
    """The cotangent ``g`` of ``x[index]``: zero but at ``index``. Added in place into one buffer,
    so that T slices do not cost T arrays of the full size."""

    __slots__ = ("g", "index")

    def __init__(self, g: Any, index: Any) -> None:
        self.g, self.index = g, index


class Erase:
    """The cotangent of an array of which ``index`` was overwritten: ``g``, with zeros there."""

    __slots__ = ("g", "index")

    def __init__(self, g: Any, index: Any) -> None:
        self.g, self.index = g, index
