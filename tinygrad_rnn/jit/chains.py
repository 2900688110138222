"""Chains of elementwise calls on arrays of one shape, as one call each.

What such a call does stands elsewhere: loops for numba in loops.py, blocks of rows in cut.py. Here
is how chains are found, and how what they read and write is looked at as rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .rows import looked_up
from .tape import Call, Tape, Value, chosen, segments

__all__ = ["Chain", "as_rows", "gather", "kind_of", "rows", "width"]

CHAIN = 60  # calls in one chain at most


class Chain:
    """Some calls on arrays of one shape, and which of their values are read outside of them.

    ``kinds`` says how each operand meets the rows: full (R, C), row (1, C), column (R, 1), scalar
    (1, 1), number, table (V, C) with ids (R, 1).
    """

    def __init__(self, chain: list[Call], kept: set[Value], shape: tuple[int, ...] | None = None):
        self.chain, self.kept = chain, kept
        self.shape, self.dtype = shape or chain[0].out.shape, chain[0].out.dtype
        made = {call.out for call in chain}
        self.inputs: list[Value] = list(dict.fromkeys(
            v for call in chain for v in call.inputs() if v not in made))
        tables = {call.args[0] for call in chain if call.fn is looked_up}
        ids = {call.args[1] for call in chain if call.fn is looked_up}
        self.kinds = ["table" if v in tables else "ids" if v in ids else
                      self.kind(v) for v in self.inputs]  # fmt: skip
        self.outs = [call.out for call in chain if call.out in kept]
        self.__name__ = f"fused_{len(chain)}"

    @staticmethod
    def group(call: Call) -> Any:
        """Calls of which this is the same may be in one chain; None: in none."""
        raise NotImplementedError

    def kind(self, x: Value) -> str | None:
        """How an operand meets the rows."""
        return kind_of(x, self.shape, self.dtype)

    def on(self, own: dict[Value, Value], shape: tuple[int, ...]) -> Chain:
        """The same function of other values, of this shape."""
        other = copy.copy(self)
        other.shape = shape
        other.inputs = [own.get(v, v) for v in self.inputs]
        other.outs = [own[v] for v in self.outs]
        return other

    @property
    def flat(self) -> bool:
        """Whether its rows may be cut in another way, or joined."""
        return not {"row", "table", "column"}.intersection(self.kinds)

    @property
    def key(self) -> str:
        """Equal for chains that are the same function."""
        return str(id(self))

    @property
    def saves(self) -> float:
        """Seconds that it saves in a replay."""
        return math.inf

    def may_edit(self, out: Value, source: Value) -> bool:
        """Whether ``out`` may be written over the operand ``source``: nothing reads it later."""
        raise NotImplementedError

    def temporaries(self, C: int) -> list[np.ndarray]:
        """Memory for what is not kept, where rows have C columns."""
        return []

    def function(self, edited: dict[str, str]) -> Callable:
        """``f(R, C, *inputs, *outs, *temporaries)`` over R rows of C columns; ``edited``: outs, by
        name (y0, y1, ...), that are written over inputs (a0, a1, ...) instead of being given."""
        raise NotImplementedError


def gather(tape: Tape, kind: type[Chain], worth: float, loops: bool = False,
           group: Callable[[Call], Any] | None = None) -> Tape:
    """Chains of elementwise calls of one ``group`` become one call each, of a ``kind``, where equal
    ones together save as many seconds as are ``worth`` it; with ``loops``, each repetition in them
    one of its own.

    A chain is held back until something else reads of it. Its calls so come later than they
    were, which changes nothing: no value on a tape is ever overwritten.
    """
    users, results = tape.users(), set(tape.results)
    group = group or kind.group
    calls: list[Call | Chain] = []
    chains: dict[tuple, list[Call]] = {}
    made: dict[Value, Any] = {}  # by a call of an open chain: the key of that

    def close(key):
        chain = chains.pop(key)
        for call in chain:
            del made[call.out]
        found = parts(chain)
        if loops:
            found = [step for part in found for step in repetitions(part)]
        for part in found:
            for i in range(0, len(part), CHAIN):
                piece = part[i : i + CHAIN]
                inside = {call.out for call in piece}
                kept = {out for out in inside if out in results or any(
                    user.out not in inside for user in users.get(out, ()))}
                calls.append(kind(piece, kept))

    for call in tape.calls:
        key = group(call)
        for value in call.inputs():
            if value in made and made[value] != key:
                close(made[value])
        if key is not None:
            chains.setdefault(key, []).append(call)
            made[call.out] = key
        else:
            calls.append(call)
    for key in list(chains):
        close(key)

    saved: dict[str, float] = {}
    for item in calls:
        if isinstance(item, Chain):
            saved[item.key] = saved.get(item.key, 0) + item.saves
    fused: list[Call] = []
    for item in calls:
        if isinstance(item, Call):
            fused.append(item)
        elif len(item.chain) > 1 and chosen(saved[item.key] >= worth):
            first, *more = item.outs
            fused.append(Call(item, tuple(item.inputs), {}, first, line=item.chain[0].line,
                              more=tuple(more)))
        else:
            fused += item.chain
    return Tape(fused, tape.inputs, tape.constants, tape.results)


def parts(chain: list[Call]) -> list[list[Call]]:
    """Calls that have nothing to do with each other apart: the updates of two parameters are one
    function, called twice."""
    found: list[list[Call]] = []
    part: dict[Value, int] = {}  # of what a call makes
    for call in chain:
        first, *others = sorted({part[v] for v in call.inputs() if v in part}) or [len(found)]
        if first == len(found):
            found.append([])
        for other in others:
            part.update((moved.out, first) for moved in found[other])
            found[first] += found[other]
            found[other] = []
        found[first].append(call)
        part[call.out] = first
    order = {call.out: i for i, call in enumerate(chain)}
    return [sorted(calls, key=lambda call: order[call.out]) for calls in found if calls]


def repetitions(part: list[Call]) -> Iterator[list[Call]]:
    """The calls of each repetition, and what lies between."""
    at = {call.out: i for i, call in enumerate(part)}
    keys = [(call.fn, tuple([i - at[x] if x in at else type(x) for x in call.args]))
            for i, call in enumerate(part)]
    for first, period, count in segments(keys):
        for i in range(first, first + period * count, period):
            yield part[i : i + period]


def kind_of(x, shape, dtype):
    """How an operand meets a result of this shape; None if it cannot be in a chain."""
    if type(x) in (int, float):
        return "constant"
    if not isinstance(x, Value) or x.shape is None:
        return None
    if x.dtype is None:
        return "number"
    if x.dtype != dtype:
        return None
    if x.shape == ():
        return "scalar"
    if x.shape == shape:
        return "full" if x.order is None else None
    if x.shape[-1] == shape[-1] and math.prod(x.shape) == shape[-1] and len(x.shape) <= len(shape):
        return "row"
    return None


# ---- arrays as rows ----


def width(size: int) -> int:
    """Columns of ``size`` elements in a row, cut into rows that stay in the cache."""
    return next((c for c in range(min(size, 4096), 127, -1) if size % c == 0), size)


def rows(x, R, C):
    """The array as (R, C) rows; copied unless it lies so in memory."""
    return np.ascontiguousarray(x).reshape(R, C)


def as_rows(x: np.ndarray, R: int, C: int) -> np.ndarray | None:
    """A view of an array that looks contiguous: (R, width), of which a kernel reads C columns;
    None where the rows do not lie evenly in memory."""
    if x.flags.c_contiguous:
        return x.reshape(R, C)
    try:
        view = x.reshape(R, C, copy=False)
    except ValueError:  # only a copy has such rows
        return None
    step, inner = view.strides
    if inner != x.itemsize or step < C * inner or step % inner:
        return None
    return np.lib.stride_tricks.as_strided(view, (R, step // inner), (step, inner))
