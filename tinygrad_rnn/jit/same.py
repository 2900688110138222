"""Whether a function, recorded in full, does what a few of its steps say: call by call.

The tapes of a few numbers of steps are written as one for any number, as programs are (roll.py),
and each call on the tape of all steps, with all that it reads, must be the one that this says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .roll import LIST, TOKEN, Line, Segment, Slot, Things, in_common, said, slot_at
from .tape import Tape, Value

__all__ = ["AsRecorded"]


class Hole(str):
    """What stands in the place of a number."""

    __slots__ = ()
    __eq__, __hash__ = object.__eq__, object.__hash__


NUMBER, MADE, LISTED = Hole("number"), Hole("made"), Hole("list")


class Calls:
    """A tape taken apart: for each call what it is, with holes, and the numbers in these. Of what
    another call has made the number is which call that was."""

    def __init__(self, tape: Tape, homes: dict[Value, Value], things: Things) -> None:
        self.things, self.constants = things, tape.constants
        self.segments: list[tuple[int, int, int]] = []
        self.number = {call.out: i for i, call in enumerate(tape.calls)}
        self.inputs = {v: i for i, v in enumerate(tape.inputs)}
        self.known: dict[Any, tuple[tuple, tuple]] = {}
        self.rows = [self.row((call.fn, call.args, call.kwargs)) for call in tape.calls]
        self.rows.append(self.row((tape.results, *homes.values())))

    def row(self, call: Any) -> tuple[tuple, list[Any]]:
        parts: list[Any] = []
        numbers: list[Any] = []
        self.take(call, parts, numbers)
        return tuple(parts), numbers

    def take(self, x: Any, parts: list[Any], numbers: list[Any]) -> None:
        kind = type(x)
        if kind is Value:
            if (made := self.number.get(x)) is not None:
                parts.append(MADE)
                numbers.append(made)
                return
        elif kind is int:
            parts.append(NUMBER)
            numbers.append(x)
            return
        elif kind is tuple or kind is list:
            if len(x) >= LIST and all(type(item) is Value for item in x):
                parts.append(LISTED)
                numbers.append([self.row(item) for item in x])
                return
            parts += (kind, len(x))
            for item in x:
                self.take(item, parts, numbers)
            return
        elif kind is slice:
            parts.append(slice)
            for item in (x.start, x.stop, x.step):
                self.take(item, parts, numbers)
            return
        elif kind is dict:
            parts += (dict, *x)
            for item in x.values():
                self.take(item, parts, numbers)
            return
        if id(x) not in self.known:  # the tape keeps it
            self.known[id(x)] = self.other(x)
        more, known = self.known[id(x)]
        parts += more
        numbers += known

    def other(self, x: Any) -> tuple[tuple, tuple]:
        if isinstance(x, Value):
            if x in self.inputs:
                return ("input", self.inputs[x]), ()
            slot = self.things.constant(self.constants[x])
            return (*slot.kind, *[NUMBER] * len(slot.numbers)), slot.numbers
        if (text := said(x)) is None:
            return ("object", self.things.object(x)), ()
        words = [word[:-2] if word.endswith(".0") else word for word in TOKEN.findall(text)]
        return ((type(x), *(NUMBER if word.isdigit() else word for word in words)),
                tuple([int(word) for word in words if word.isdigit()]))

    def place(self) -> None:
        """Where each call is: in which line of the segments, in which repetition."""
        begun = np.cumsum([0, *(period for _, period, _ in self.segments)])
        self.line_of, self.round_of = (np.concatenate(found) for found in zip(*(
            (np.tile(np.arange(at, at + period), n), np.repeat(np.arange(n), period))
            for at, (_, period, n) in zip(begun, self.segments, strict=False)), strict=True))

    def line(self, row: tuple[tuple, list[Any]]) -> Line:
        """A call as roll.py has lines."""
        parts, numbers = row
        slots = []
        for hole, n in zip([part for part in parts if type(part) is Hole], numbers, strict=True):
            if hole is MADE:
                slots.append(Slot(("local", int(self.line_of[n])), (int(self.round_of[n]),)))
            elif hole is NUMBER:
                slots.append(Slot(("number",), (n,)))
            else:
                found = [(tuple(one[0]), self.line(one).slots) for one in n]
                slots.append(Slot(("list",), tuple([
                    slot for parts, own in found
                    for slot in own or [Slot(("known", parts))]])))
        return Line(parts, slots, None, None)


class Few(Calls):
    """The tape of a few steps."""

    def __init__(self, tape: Tape, homes: dict[Value, Value], things: Things) -> None:
        super().__init__(tape, homes, things)
        self.lines = [Line(parts, [], None, None) for parts, _ in self.rows]

    def place(self) -> None:
        super().place()
        self.lines = [self.line(row) for row in self.rows]


class AsRecorded:
    """What was recorded of a few numbers of steps, as one for any. Irregular where none is."""

    def __init__(self, tapes: Sequence[tuple[Tape, dict[Value, Value]]], Ts: tuple[int, ...],
                 loops: bool = False) -> None:
        self.things = Things()
        self.segments = in_common([Few(tape, homes, self.things) for tape, homes in tapes], Ts,
                                  loops)

    def is_at(self, T: int, tape: Tape, homes: dict[Value, Value]) -> bool:
        """Whether this is what it says of T steps, call by call."""
        made, at = Calls(tape, homes, Things(self.things)), 0
        for segment in self.segments:
            made.segments.append((at, len(segment.lines), segment.repetitions(T)))
            at += math.prod(made.segments[-1][1:])
        if at != len(made.rows):
            return False
        made.place()
        return all(self._is_segment(T, segment, made, *where)
                   for segment, where in zip(self.segments, made.segments, strict=True))

    @staticmethod
    def _is_segment(T: int, segment: Segment, made: Calls, first: int, period: int,
                    n: int) -> bool:
        p, q = len(segment.front), len(segment.back)
        rounds = [*enumerate(segment.front), *enumerate(segment.back, n - q)]
        if not segment.loops:
            rounds.append((0, segment.lines))
        for k, forms in rounds:
            for form, row in zip(forms, made.rows[first + k * period :], strict=False):
                line = made.line(row) if form.parts == row[0] else None
                if line is None or line.slots != [slot_at(slot, T, k) for slot in form.slots]:
                    return False
        if not segment.loops:
            return True
        rows = made.rows[first + p * period : first + (n - q) * period]
        if [parts for parts, _ in rows] != [line.parts for line in segment.lines] * (n - p - q):
            return False
        slots: list[Any] = [slot for line in segment.lines for slot in line.slots]
        numbers = np.array([x for _, found in rows for x in found]).reshape(-1, len(slots))
        made_by = np.array([slot.kind[0] == "local" for slot in slots], np.bool_)
        calls = numbers[:, made_by].astype(np.intp)
        lines = [slot.kind[1] for slot in slots if slot.kind[0] == "local"]
        if (made.line_of[calls] != lines).any():
            return False
        numbers[:, made_by] = made.round_of[calls]
        begin, step = np.array([slot.of(T)[0] for slot in slots]).reshape(-1, 2).T
        return bool((numbers == begin + np.arange(p, n - q)[:, None] * step).all())
