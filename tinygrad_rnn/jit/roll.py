"""A program for any number of time steps, out of programs for a few.

The steps of a loop lie in a program as repetitions of one body, forward and backward. So a function
is recorded, improved and planned for four small numbers of steps T, and what differs between these
programs, and between the repetitions in each, is written as p(T) + q(T) k, for the k-th repetition,
with polynomials of degree 2: numbers, and where an array lies (buffer, offset, shape, strides).
What is left are bodies; what they cost to find hangs on the body, not on T. For another T the
numbers are put in. A buffer that each repetition has for itself is laid out once for each where
others read it, else once for all; and the repetitions become a loop. Where anything is not of this
form there is no such program, and the function is recorded as it is.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from .memory import Block, aligned, laid, life, whole
from .replay import Program
from .table import Compiled, Loop, assembled
from .tape import LEAST, Call, segments

__all__ = ["Irregular", "Line", "Rolled", "Segment", "Slot", "Things", "between", "evenly",
           "in_common", "ramp", "said", "slot_at"]  # fmt: skip

PEELED = 4  # repetitions at its ends that may be other than those between
TOKEN = re.compile(r"'[^']*'|[A-Za-z_]\w*|\d+\.?\d*(?:[eE][-+]?\d+)?|.")
NAME = re.compile(r"[oivr]\d+$")
VALUE = re.compile(r"\b[vr]\d+\b")
LIST = 8  # names in brackets that are a list
ENDS = {"(": ")", "[": "]"}


class Irregular(Exception):
    """What differs between the programs is not of the form that is wanted."""


# ---- one program, as lines with slots ----


@dataclass(slots=True)
class Slot:
    """What stands somewhere in a line: of which kind, and the numbers that say it exactly."""

    kind: Any
    numbers: tuple[Any, ...] = ()

    @property
    def rough(self) -> Any:
        """The kind, without which line it comes from."""
        return self.kind[0], self.kind[-1] if self.kind[0] in ("array", "object") else None


@dataclass(slots=True)
class Line:
    """The text between the slots, and these; ``call``: what the line does."""

    parts: tuple[str, ...]
    slots: list[Any]
    lane: tuple[int, int] | None
    call: Call | None

    @property
    def key(self) -> Any:
        return self.parts, self.lane, tuple([slot.rough for slot in self.slots])


class Things(dict[Any, Any]):
    """Objects and arrays that have no text, by what says that two of them are the same."""

    def object(self, x: Any) -> Any:
        key = getattr(x, "like", x)  # methods of ufuncs are equal, and not the same
        if isinstance(x, (float, complex, np.generic)):
            key = type(x), repr(x)  # of which 0.0 is not -0.0
        elif getattr(x, "__hash__", None) is None:
            key = id(x)
        self.setdefault(key, x)
        return key

    def constant(self, x: np.ndarray) -> Slot:
        sort = x.dtype.str, x.ndim
        layout = next((name for name, good in (
            ("C", x.flags.c_contiguous), ("F", x.flags.f_contiguous), ("0", not any(x.strides)))
            if good), None)
        if x.size and layout and (x == (value := x.flat[0])).all() and (
                value or x.tobytes() == value.tobytes() * x.size):  # 0.0 is not -0.0
            times = 0
            with np.errstate(all="ignore"):
                if value and x.dtype.kind == "f" and abs(turned := 1 / float(value)) < 2**53:
                    times = round(turned)
                    times = times if times and x.dtype.type(1) / x.dtype.type(times) == value else 0
            said = ("part",) if times else ("all", value.tobytes())
            return Slot(("array", (*said, layout), sort), (*[times][: bool(times)], *x.shape))
        if layout == "C" and (found := evenly(x)) is not None:
            return Slot(("array", ("range",), sort), (*found, *x.shape))
        key = x.dtype.str, x.shape, x.strides, x.tobytes()
        self.setdefault(key, x)
        return Slot(("array", ("same", key), sort))


class Sample:
    """A program for T steps, taken apart: ``segments`` of it are (lines, repetitions)."""

    def __init__(self, program: Program, T: int, things: Things) -> None:
        self.program, self.T, self.things = program, T, things
        self.known: dict[int, Slot] = {}  # of objects, by id
        self.scratch: dict[int, int] = {}
        memory = program.memory
        self.begin = memory.block.bytes.ctypes.data if memory else 0
        texts = [*program.lines, (program.result, None)]
        lanes = program.lanes
        self.parsed: dict[Any, Line] = {}  # by the text without the names of values
        self.lines = [self.line(text, call, lanes.get(i)) for i, (text, call) in enumerate(texts)]
        self.segments: list[tuple[int, int, int]] = []

    def line(self, text, call, lane):
        values = iter(VALUE.findall(text))
        key = VALUE.sub("v", text), lane
        if key not in self.parsed:
            self.parsed[key] = self.taken_apart(text, call, lane)
        known = self.parsed[key]
        return Line(known.parts, [renamed(slot, values) for slot in known.slots], lane, call)

    def taken_apart(self, text, call, lane):
        parts, slots = [""], []

        def put(slot):
            slots.append(slot)
            parts.append("")

        words = TOKEN.findall(text)
        i = 0
        while i < len(words):
            word = words[i]
            if word in ENDS and not (i and words[i - 1][-1].isalnum()):
                parts[-1] += word
                found = names(words, i + 1, ENDS[word])
                i += 1
                if len(found) >= LIST:
                    put(Slot(("list",), tuple([self.slot(name) for name in found])))
                    i = words.index(ENDS[words[i - 1]], i)
                continue
            if word.isdigit():
                put(Slot(("number",), (int(word),)))
            elif word[0].isdigit():  # and no integer
                pieces = TOKEN.findall(fraction(float(word), float) or word)
                if pieces != [word]:
                    words[i : i + 1] = pieces
                    continue
                if word.endswith(".0") and word[:-2].isdigit():
                    parts[-1] += "float("
                    put(Slot(("number",), (int(word[:-2]),)))
                    word = ")"
                parts[-1] += word
            elif NAME.match(word) and word[0] != "i":
                slot = self.slot(word)
                if slot.kind[0] == "text":
                    words[i : i + 1] = TOKEN.findall(slot.kind[1])
                    continue
                put(slot)
            else:
                parts[-1] += word
            i += 1
        return Line(tuple(parts), slots, lane, call)

    def slot(self, name):
        if name[0] in "vr":
            return Slot(("local", name))
        if name[0] == "i":
            return Slot(("input", name))
        x = self.program.space[name]
        if id(x) not in self.known:
            self.known[id(x)] = self.thing(x)
        return self.known[id(x)]

    def thing(self, x):
        """An object that is named in the text."""
        if isinstance(x, np.ndarray):
            return self.array(x)
        if (text := said(x)) is not None:
            return Slot(("text", text))
        return Slot(("object", self.things.object(x)))

    def array(self, x):
        """Where it lies."""
        memory, sort = self.program.memory, (x.dtype.str, x.ndim)
        at = x.__array_interface__["data"][0]
        if memory is not None:
            begin = at - self.begin
            if 0 <= begin < len(memory.block.bytes):
                buffer = bisect_right(memory.offsets, begin) - 1
                return Slot(("array", buffer, sort),
                            (begin - memory.offsets[buffer], *x.shape, *x.strides))
        if memory is None or any(np.may_share_memory(x, c)
                                 for c in self.program.tape.constants.values()):
            return self.things.constant(x)
        owner = x
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        self.scratch.setdefault(id(owner), len(self.scratch))
        begin = at - owner.__array_interface__["data"][0]
        return Slot(("array", ("scratch", self.scratch[id(owner)], owner.nbytes), sort),
                    (begin, *x.shape, *x.strides))

    # what names and buffers are called: after the line that they begin in

    def place(self):
        self.at = [(s, pos, k) for s, (_, period, count) in enumerate(self.segments)
                   for k in range(count) for pos in range(period)]
        first: dict[str, tuple] = {}
        memory = self.program.memory
        if memory is not None:
            begins: dict[int, list[int]] = {}
            spans, end = self.program.spans, len(self.program.lines)
            for b, (_, i, _) in enumerate(memory.buffers):
                begins.setdefault(spans[i][0], []).append(b)
            self.buffers: list[tuple] = [()] * len(memory.buffers)
            for line, found in begins.items():
                for ordinal, b in enumerate(found):
                    size, _, last = memory.buffers[b]
                    until = max(spans[last][1] - 1, line) if last < len(spans) else end
                    s, pos, k = self.at[line]
                    self.buffers[b] = (s, pos, ordinal), k
                    s, pos, k = self.at[until]
                    self.lines[line].slots.append(Slot(("buffer", ordinal, s, pos), (size, k)))
        owners: dict[int, tuple] = {}
        for (s, pos, k), line in zip(self.at, self.lines, strict=True):
            line.slots = [self.placed(slot, (s, pos, n), k, first, owners)
                          for n, slot in enumerate(line.slots)]

    def placed(self, slot, at, k, first, owners):
        kind = slot.kind
        if kind[0] == "list":
            return Slot(kind, tuple([self.placed(one, (*at[:2], (at[2], j)), k, first, owners)
                                     for j, one in enumerate(slot.numbers)]))
        if kind[0] == "local":
            at, k = first.setdefault(kind[1], (at, k))
            return Slot(("local", at), (k,))
        if kind[0] == "array" and isinstance(kind[1], int):
            buffer, k = self.buffers[kind[1]]
            return Slot(("array", buffer, kind[2]), (k, *slot.numbers))
        if kind[0] == "array" and kind[1][0] == "scratch":
            return Slot(("array", ("scratch", owners.setdefault(kind[1][1], at), kind[1][2]),
                         kind[2]), slot.numbers)
        return slot


def renamed(slot, values):
    """The slot with the next names of ``values``."""
    if slot.kind[0] == "list":
        return Slot(slot.kind, tuple([renamed(one, values) for one in slot.numbers]))
    return Slot(("local", next(values))) if slot.kind[0] == "local" else slot


def names(words, i, end):
    """The names in brackets that begin here; none where there is something else in them."""
    inside = words[i : words.index(end, i)]
    found = inside[::3]
    good = all(map(NAME.match, found)) and all(
        word in ", " for j, word in enumerate(inside) if j % 3)
    return found if good else []


def evenly(x):
    """The rows of numbers evenly apart that an array is (np.arange, turned perhaps), as ``ramp``
    makes them; None for others."""
    if x.size <= LEAST or x.dtype.kind not in "if" or not (x == np.floor(x)).all() or (
            np.signbit(x[x == 0]).any()):
        return None
    flat = x.ravel()
    first, step = int(flat[0]), int(flat[1] - flat[0])
    other = np.flatnonzero(np.diff(flat) != step)
    n = int(other[0]) + 1 if other.size else x.size
    then = int(flat[n] - flat[0]) if other.size else 0
    return (first, step, n, then) if np.array_equal(
        flat, ramp(first, step, n, then, x.size)) else None


def ramp(first, step, n, then, size):
    """n numbers a step apart, and as many again from ``then`` further on, until there are all."""
    at = np.arange(size)
    return first + at // n * then + at % n * step


def said(x: Any) -> str | None:
    """The text of it, where that says all; None for others."""
    if isinstance(x, (tuple, list, slice)):
        inside = x.__reduce__()[1] if isinstance(x, slice) else x
        items = [said(item) for item in inside]
        if None in items or type(x) not in (tuple, list, slice):
            return None
        text = "".join(f"{item}, " for item in items)
        return f"[{text}]" if type(x) is list else f"{'slice' * (type(x) is slice)}({text})"
    if isinstance(x, dict):
        items = [said(item) for pair in x.items() for item in pair]
        return None if None in items else "{" + "".join(
            f"{k}: {v}, " for k, v in zip(items[::2], items[1::2], strict=True)) + "}"
    if isinstance(x, np.dtype):
        return f"dtype({x.str!r})" if x.isbuiltin == 1 else None
    if isinstance(x, type) and issubclass(x, np.generic) and np.dtype(x).type is x:
        return f"np.dtype({np.dtype(x).str!r}).type"
    if isinstance(x, np.generic) and x.dtype.kind in "iuf":
        number = fraction(x.item(), x.dtype.type)
        return number and f"dtype({x.dtype.str!r}).type({number})"
    if type(x) is float:
        return fraction(x, float)
    if x is None or x is Ellipsis or type(x) in (bool, int, str):
        return repr(x)
    return None


def fraction(x, kind) -> str | None:
    """A number as an integer, or 1 by one: what hangs on T so can be told. Others as they are."""
    whole = int(x) if abs(x) < 2**53 else 0  # False for what is no number
    if x and x == whole:
        return f"{whole}" if kind is not float else f"{whole}.0"
    if kind is int or not x or not 2**-53 < abs(x) < 1:
        return repr(x) if x == x and abs(x) != np.inf else None
    times = round(1 / x)
    if kind(1) / kind(times) == kind(x):
        return f"(1 / {times})" if kind is float else f"dtype({np.dtype(kind).str!r}).type(1)" \
               f" / dtype({np.dtype(kind).str!r}).type({times})"
    return repr(x)


def joined(segments, loops) -> Iterator[tuple[int, int, int]]:
    """The segments, with all between the ``loops`` as one."""
    for is_loop, group in groupby(zip(segments, loops, strict=True), lambda pair: pair[1]):
        found = [segment for segment, _ in group]
        if is_loop:
            yield from found
        else:
            yield found[0][0], sum(period * count for _, period, count in found), 1


# ---- what the programs have in common ----

# Newton's: two points, three quotients, and what these are to be divided by
Polynomial = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Form:
    """A slot for any T: its kind, and its numbers as pairs of polynomials, p(T) + q(T) k."""

    kind: Any
    numbers: list[Any]
    _known: Any = (None, ())

    def of(self, T: int) -> list[tuple[int, int]]:
        """The numbers as p + q k."""
        if self._known[0] != T:
            self._known = T, [(value(p, T), value(q, T)) for p, q in self.numbers]
        return self._known[1]

    def at(self, T: int, k: int = 0) -> tuple[int, ...]:
        return tuple([p + q * k for p, q in self.of(T)])

    def fixed(self) -> bool:
        """Whether no T makes a difference."""
        return all(not any(p[3:5]) and not any(q[3:5]) for p, q in self.numbers)

    def moves(self, T: int) -> bool:
        """Whether it hangs on the repetition."""
        return any(q for _, q in self.of(T))


@dataclass(slots=True)
class Segment:
    """Lines; those of a loop are for all repetitions but the first and the last few, which are
    ``front`` and ``back``."""

    lines: list[Line]
    count: tuple = ()
    front: list[list[Line]] = field(default_factory=list)
    back: list[list[Line]] = field(default_factory=list)

    loops: bool = False

    def repetitions(self, T: int) -> int:
        return value(self.count, T) if self.loops else 1


@lru_cache(1 << 12)
def fitted(Ts: tuple[int, ...], values: tuple[int, ...]) -> Polynomial:
    """The polynomial that has these values: of degree 2, or less; the line through two points."""
    if len(Ts) == 2:
        return fitted(*((x, y, 2 * y - x) for x, y in (Ts, values)))
    if len(set(values)) == 1:
        return fixed(values[0])
    a, b, c = Ts[1] - Ts[0], Ts[2] - Ts[0], Ts[2] - Ts[1]
    u, v = values[1] - values[0], values[2] - values[0]
    found = Ts[0], Ts[1], values[0] * a * b * c, u * b * c, v * a - u * b, a * b * c
    if any(value(found, T) != v for T, v in zip(Ts, values, strict=True)):
        raise Irregular
    return found


def fixed(number: int) -> Polynomial:
    return 0, 0, number, 0, 0, 1


def value(polynomial: Polynomial, T: int) -> int:
    first, second, a, b, c, of = polynomial
    found, rest = divmod(a + (T - first) * (b + (T - second) * c), of) if b or c else (a, 0)
    if rest:
        raise Irregular
    return found


NOUGHT = fixed(0)


def slot_at(form: Form, T: int, k: int) -> Slot:
    """The slot of the k-th repetition."""
    if form.kind[0] != "list":
        return Slot(form.kind, form.at(T, k))
    return Slot(form.kind, tuple([slot_at(one, T, j) for one, count in form.numbers
                                  for j in range(value(count, T))]))


def common(Ts, slots) -> Form:
    """The form of a slot in the same line for each T."""
    kind = slots[0].kind
    if any(slot.kind != kind for slot in slots):
        raise Irregular
    if kind[0] == "list":
        return Form(("list",), runs(Ts, [slot.numbers for slot in slots]))
    if kind[0] == "number" and len(Ts) == 2:  # n - 1, 4 * n; through n // 2 there is a line, too
        (n, m), (x, y) = Ts, [slot.numbers[0] for slot in slots]
        step, rest = divmod(y - x, m - n)
        if rest or abs(x - step * n) > 2 * abs(step) > 0:
            raise Irregular
    return Form(kind, [(fitted(Ts, values), NOUGHT)
                       for values in zip(*(slot.numbers for slot in slots), strict=True)])


def runs(Ts, lists):
    """Lists as runs of slots of one kind: pairs of a form for k = 0, 1, ..., and how many."""
    split = []
    for slots in lists:
        found: list[list[Slot]] = []
        for slot in slots:
            run = found[-1] if found else []
            if run and run[0].kind == slot.kind and (
                    len(run) < 2 or steps(run[0], run[1]) == steps(run[-1], slot)):
                run.append(slot)
            else:
                found.append([slot])
        split.append(found)
    if len({len(found) for found in split}) > 1:
        raise Irregular
    made = []
    for group in zip(*split, strict=True):
        form = common(Ts, [run[0] for run in group])
        count = fitted(Ts, tuple([len(run) for run in group]))
        moves = [steps(*run[:2]) if len(run) > 1 else (0,) * len(form.numbers) for run in group]
        made.append((moved(Ts, form, moves), count))
    return made


def moved(Ts, form, moves, p=0):
    """The form with so much more, for each T, in each repetition from p on."""
    numbers = []
    for n, (begin, _) in enumerate(form.numbers):
        q = tuple([move[n] for move in moves])
        at_0 = tuple([value(begin, T) - p * step for T, step in zip(Ts, q, strict=True)])
        numbers.append((fitted(Ts, at_0), fitted(Ts, q)))
    return Form(form.kind, numbers)


def steps(one, other):
    return tuple([b - a for a, b in zip(one.numbers, other.numbers, strict=True)])


def moving(Ts, rows, p) -> Form:
    """The form of a slot in the repetitions from p on: ``rows`` has them for each T."""
    kind = rows[0][0].kind
    if kind[0] == "list" or any(slot.kind != kind for row in rows for slot in row):
        raise Irregular
    moves = [steps(row[0], row[1]) for row in rows]
    for row, step in zip(rows, moves, strict=True):
        numbers = np.array([slot.numbers for slot in row])
        if (numbers[1:] - numbers[:-1] != step).any():
            raise Irregular
    return moved(Ts, common(Ts, [row[0] for row in rows]), moves, p)


def aligned_lines(Ts, groups, make):
    """One list of lines out of the same lines for each T."""
    made = []
    for lines in zip(*groups, strict=True):
        first = lines[0]
        if len({len(line.slots) for line in lines}) > 1:
            raise Irregular
        slots = [make(slots) for slots in zip(*(line.slots for line in lines), strict=True)]
        made.append(Line(first.parts, slots, first.lane, first.call))
    return made


def straight(Ts, groups):
    return aligned_lines(Ts, groups, lambda slots: common(Ts, slots))


def loop(Ts, samples, s) -> Segment:
    """The body of a loop."""
    rounds = []
    for sample in samples:
        first, period, count = sample.segments[s]
        rounds.append([sample.lines[first + k * period : first + (k + 1) * period]
                       for k in range(count)])
    count = fitted(Ts, tuple([len(r) for r in rounds]))
    for ends in range(2 * PEELED + 1):
        for p in range(max(0, ends - PEELED), min(ends, PEELED) + 1):
            q = ends - p
            core = [r[p : len(r) - q] for r in rounds]
            if min(map(len, core)) < 3:
                break
            try:
                lines = body(Ts, core, p)
                front = [straight(Ts, [r[k] for r in rounds]) for k in range(p)]
                back = [straight(Ts, [r[len(r) - q + k] for r in rounds]) for k in range(q)]
            except Irregular:
                continue
            return Segment(lines, count, front, back, True)
    raise Irregular


def body(Ts, core, p):
    made = []
    for pos, line in enumerate(core[0][0]):
        rows = [[repetition[pos].slots for repetition in r] for r in core]
        if len({len(slots) for row in rows for slots in row}) > 1:
            raise Irregular
        made.append(Line(line.parts, [
            moving(Ts, [[slots[n] for slots in row] for row in rows], p)
            for n in range(len(line.slots))], line.lane, line.call))
    return made


def in_common(samples: Sequence[Any], Ts: tuple[int, ...], loops: bool) -> list[Segment]:
    """The segments of what was taken apart for these sizes; ``loops``: also of what repeats as
    often in all of them."""
    for sample in samples:
        sample.segments = list(segments([line.key for line in sample.lines]))
    one = samples[-1]
    if len({len(sample.segments) for sample in samples}) > 1:
        raise Irregular
    counts = zip(*([n for _, _, n in sample.segments] for sample in samples), strict=True)
    grows = [len(set(n)) > 1 or (loops and n[0] > 1) for n in counts]
    for sample in samples:
        sample.segments = list(joined(sample.segments, grows))
        sample.place()
    shapes = {tuple([(period, count > 1) for _, period, count in sample.segments])
              for sample in samples}
    if len(shapes) > 1 or any(
            a.lines[x[0] + j].key != b.lines[y[0] + j].key
            for a, b in ((one, other) for other in samples[:-1])
            for x, y in zip(a.segments, b.segments, strict=True) for j in range(x[1])):
        raise Irregular
    found = []
    for s, (_, _, count) in enumerate(one.segments):
        if count > 1:
            found.append(loop(Ts, samples, s))
            continue
        groups = [x.lines[x.segments[s][0] : sum(x.segments[s][:2])] for x in samples]
        found.append(Segment(straight(Ts, groups)))
    return found


class Rolled:
    """Programs for four numbers of steps, or two of rows, as one for any; ``loops``: also of what
    repeats as often in all of them. Raises Irregular where there is none."""

    def __init__(self, programs: Sequence[Program], Ts: tuple[int, ...],
                 loops: bool = False) -> None:
        self.things = Things()
        samples = [Sample(program, T, self.things) for program, T in zip(programs, Ts, strict=True)]
        self.segments = in_common(samples, Ts, loops)
        self.inputs = len(programs[0].tape.inputs)
        self.objects = {name: x for name, x in programs[-1].space.items() if not NAME.match(name)}

    def at(self, T: int, block: Block, native: bool = False, **objects: Any) -> Unrolled:
        """The program for T steps; ``objects``, by name, for those that it knows."""
        return Unrolled(self, T, block, native, objects)


def between(pair: Sequence[Rolled], T: int, Ns: tuple[int, ...]) -> Rolled:
    """Those for any number of steps, of two sizes of a batch, as one for T steps and any size."""
    one, other = pair
    made = object.__new__(Rolled)
    made.things = Things(one.things | other.things)
    made.inputs, made.objects = one.inputs, one.objects

    def both(forms):
        a, b = forms
        if a.kind != b.kind or len(a.numbers) != len(b.numbers):
            raise Irregular
        pairs = zip(a.numbers, b.numbers, strict=True)
        if a.kind[0] == "list":
            return Form(a.kind, [(both((x[0], y[0])), number(x[1], y[1])) for x, y in pairs])
        return Form(a.kind, [tuple(map(number, x, y)) for x, y in pairs])

    def number(p, q):
        return fitted(Ns, (value(p, T), value(q, T)))

    def lines(*groups):
        if len({len(group) for group in groups}) > 1 or any(
                (a.parts, a.lane) != (b.parts, b.lane) for a, b in zip(*groups, strict=True)):
            raise Irregular
        return aligned_lines(Ns, groups, both)

    def ends(a, b):
        if len(a) != len(b):
            raise Irregular
        return [*map(lines, a, b)]

    if [s.loops for s in one.segments] != [s.loops for s in other.segments]:
        raise Irregular
    made.segments = [
        Segment(lines(a.lines, b.lines), number(a.count, b.count) if a.loops else (),
                ends(a.front, b.front), ends(a.back, b.back), a.loops)
        for a, b in zip(one.segments, other.segments, strict=True)]
    return made


# ---- a program for T steps ----


class Unrolled(Compiled):
    """``run(inputs)`` as that of a Program, with loops."""

    def __init__(self, rolled: Rolled, T: int, block: Block, native: bool,
                 objects: dict[str, Any]) -> None:
        self.rolled, self.T, self.native = rolled, T, native
        self.space: dict[str, Any] = {"dtype": np.dtype, **rolled.objects, **objects}
        self._known: dict[Any, str] = {}
        self._scratch: dict[Any, np.ndarray] = {}
        self.counts = [segment.repetitions(T) for segment in rolled.segments]
        self.places: dict[Any, Any] = {}  # of buffers
        self._lay_out(block)
        self._find_lists()
        self.loops = sum(segment.loops for segment in rolled.segments)
        self.lines = sum(len(segment.lines) for segment in rolled.segments)

    # memory

    def _ticks(self):
        """When each line runs: those of a loop once, but for the first and last repetitions."""
        self.tick: dict[tuple, int] = {}
        self.lanes: dict[int, tuple[int, int]] = {}
        self.core: list[tuple[int, int]] = []
        now = 0
        for s, segment in enumerate(self.rolled.segments):
            p, q, n = len(segment.front), len(segment.back), self.counts[s]
            if n - p - q < 1:
                raise Irregular
            core = None if segment.loops else 0
            rounds = [*enumerate(segment.front), (core, segment.lines),
                      *enumerate(segment.back, n - q)]
            for k, lines in rounds:
                if k == core:
                    self.core.append((now, now + len(lines) - 1))
                for pos, line in enumerate(lines):
                    self.tick[s, pos, k] = now
                    if line.lane:
                        self.lanes[now] = line.lane
                    now += 1

    def _when(self, s, pos, k):
        """The last tick at which repetition k may be at this line, as seen from elsewhere."""
        return self.tick.get((s, pos, k), self.core[s][1])

    def _lay_out(self, block):
        self._ticks()
        spans: dict[int, tuple[int, int]] = {}
        for now, (region, _) in self.lanes.items():
            spans[region] = spans.get(region, (now,))[0], now
        sizes, lives = [], []
        T, rolled = self.T, self.rolled.segments

        def give(key, size, first, last, many=1):
            if last < first:
                raise Irregular
            lives.append(life(first, last, self.lanes, spans))
            sizes.append(whole(size) * many)
            self.places[key] = len(sizes) - 1, whole(size), many, len(rolled[key[0]].front)

        for s, segment in enumerate(rolled):
            p, q, n = len(segment.front), len(segment.back), self.counts[s]
            for pos, line in enumerate(segment.lines):
                for form in line.slots:
                    if form.kind[0] != "buffer":
                        continue
                    _, ordinal, s2, pos2 = form.kind
                    key = s, pos, ordinal
                    if not segment.loops:
                        size, until = form.at(T)
                        give((*key, 0), size, self.tick[s, pos, 0], self._when(s2, pos2, until))
                        continue
                    (_, grows), (later, b) = form.of(T)
                    if grows:
                        raise Irregular
                    first, last = self.core[s]
                    ends = [form.at(T, k) for k in (p, n - q - 1)]
                    size = ends[0][0]
                    if s2 == s and b == 1 and 0 <= later <= n:
                        if later == 0:
                            give(key, size, self.tick[s, pos, None], self.tick[s, pos2, None])
                            continue
                        end = max(last, *(self._when(s, pos2, k) for _, k in ends))
                        give(key, size, first, end, later + 1)
                        continue
                    end = max(last, *(self._when(s2, pos2, k) for _, k in ends))
                    give(key, size, first, end, n - p - q)
            for k, lines in (*enumerate(segment.front), *enumerate(segment.back, n - q)):
                for pos, line in enumerate(lines):
                    for form in line.slots:
                        if form.kind[0] == "buffer":
                            _, ordinal, s2, pos2 = form.kind
                            size, until = form.at(T)
                            give((s, pos, ordinal, k), size, self.tick[s, pos, k],
                                 self._when(s2, pos2, until))
        self.buffers = sizes
        self.offsets, self.nbytes = laid(sizes, lives)
        self.block = block.grown(self.nbytes)

    def _begin(self, buffer, numbers, dtype, ndim):
        """Where an array begins that lies in the buffer of a repetition."""
        (k, at), shape, strides = numbers[:2], numbers[2 : 2 + ndim], numbers[2 + ndim :]
        place, size, many, first = self.places.get((*buffer, k)) or self.places[buffer]
        ends = [(n - 1) * step for n, step in zip(shape, strides, strict=True)]
        first_byte, last_byte = (at + sum(x for x in ends if x * sign > 0) for sign in (-1, 1))
        if ndim == 2 and shape[1] * strides[1] == strides[0] > 0:
            last_byte -= at % strides[0]  # whole rows, of which a kernel reads some columns
        if 0 not in shape and not 0 <= first_byte <= last_byte <= size - np.dtype(dtype).itemsize:
            raise Irregular  # N * N is no line in N
        return self.offsets[place] + (k - first) % many * size + at

    def _array(self, form, numbers):
        _, root, (dtype, ndim) = form.kind
        if type(root[0]) is int or root[0] == "scratch":
            if type(root[0]) is int:
                memory, begin = self.block.bytes, self._begin(root, numbers, dtype, ndim)
                numbers = numbers[2:]
            else:
                if root not in self._scratch:
                    self._scratch[root] = aligned(root[2])
                memory, begin, numbers = self._scratch[root], numbers[0], numbers[1:]
            return np.ndarray(numbers[:ndim], dtype, memory, begin, numbers[ndim:])
        if root[0] == "same":
            return self.rolled.things[root[1]]
        if root[0] == "range":
            (first, step, n, then), shape = numbers[:4], numbers[4:]
            flat = ramp(first, step, n, then, math.prod(shape))
            return flat.astype(dtype).reshape(shape)
        kind = np.dtype(dtype).type
        if root[0] == "part":
            value, numbers = kind(1) / kind(numbers[0]), numbers[1:]
        else:
            value = np.frombuffer(root[1], dtype)[0]
        if root[-1] == "0":
            return np.broadcast_to(value, numbers)
        return np.full(numbers, value, dtype, order=root[-1])

    def _arrays(self, form, repetitions):
        """That of each repetition."""
        _, root, (dtype, ndim) = form.kind
        n = len(repetitions)
        one, two, last = (form.at(self.T, repetitions[i]) for i in (0, min(1, n - 1), n - 1))
        if type(root[0]) is int and ndim and one[2:] == last[2:]:
            _, _, many, first = self.places.get(root, (0, 0, 0, 0))
            ends = {one[0], last[0]}
            if len(ends) == 1 or ({(*root, k) for k in ends}.isdisjoint(self.places) and (
                    many == 1 or 0 <= min(ends) - first <= max(ends) - first < many)):
                # they are evenly apart
                begin, then, _ = (self._begin(root, x, dtype, ndim) for x in (one, two, last))
                return np.ndarray((n, *one[2 : 2 + ndim]), dtype, self.block.bytes, begin,
                                  (then - begin, *one[2 + ndim :]))
        return [self._array(form, form.at(self.T, k)) for k in repetitions]

    # text

    def _find_lists(self):
        """Names that other repetitions, or other lines than those of their loop, read."""
        self.lists: dict[tuple, str] = {}
        for s, segment in enumerate(self.rolled.segments):
            n, q = self.counts[s], len(segment.back)
            core = None if segment.loops else 0
            for k, lines in ((core, segment.lines), *enumerate(segment.front),
                             *enumerate(segment.back, n - q)):
                for line in lines:
                    for form in line.slots:
                        self._read(form, s, k)

    def _read(self, form, s, k):
        if form.kind[0] == "list":
            for one, _ in form.numbers:
                self._read(one, -1, None)
        elif form.kind[0] == "local":
            at = form.kind[1]
            if not self.rolled.segments[at[0]].loops:
                return
            own = form.of(self.T) == [(0, 1)] if k is None else form.at(self.T) == (k,)
            if at[0] != s or not own:
                self.lists.setdefault(at, f"l{len(self.lists)}")

    def _text(self, line, loop=None):
        """The line; in a ``loop`` with the names that it moves."""
        text = line.parts[0]
        slots = [form for form in line.slots if form.kind[0] != "buffer"]
        for form, part in zip(slots, line.parts[1:], strict=True):
            text += self._slot(form, loop) + part
        return text

    def _slot(self, form, loop):
        kind, T = form.kind, self.T
        if kind[0] == "object":
            return self._object(kind[1], lambda: self.rolled.things[kind[1]])
        if kind[0] == "input":
            return kind[1]
        if kind[0] == "list":
            found = []
            for one, count in form.numbers:
                for k in range(value(count, T)):
                    numbers = [(fixed(v), NOUGHT) for v in one.at(T, k)]
                    found.append(self._slot(Form(one.kind, numbers), None))
            return "".join(f"{name}, " for name in found)
        if kind[0] == "array":
            if loop is None or not form.moves(T):
                numbers = form.at(T)
                return self._object((kind, numbers), lambda: self._array(form, numbers))
            key = kind, tuple(form.of(T))
            if key not in loop.arrays:
                loop.arrays[key] = f"x{len(loop.arrays)}", self._arrays(form, loop.range)
            return loop.arrays[key][0]
        ((a, b),) = form.of(T)
        number = str(a) if not b or loop is None else "k" if (a, b) == (0, 1) else f"({a} + {b}*k)"
        if kind[0] == "number":  # one name for all T
            return number if (b and loop) or form.fixed() else self._object((kind, a), lambda: a)
        at = kind[1]
        if at in self.lists:
            return f"{self.lists[at]}[{number}]"
        s, pos, n = at
        return f"v{s}_{pos}_{n}".replace("(", "").replace(")", "").replace(", ", "_")

    def _object(self, key, make):
        if key not in self._known:
            self._known[key] = f"o{len(self._known)}"
            self.space[self._known[key]] = make()
        return self._known[key]

    def _compile(self, inputs: list[Any], times: list[Call] | None = None) -> Any:
        names = [f"i{i}" for i in range(self.rolled.inputs)]
        items: list[Any] = [(None, (f"{name} = [None] * {self.counts[at[0]]}", None))
                            for at, name in self.lists.items()]
        items += [item for s in range(len(self.counts)) for item in self._items(s)]
        *items, (_, (result, _)) = items
        return assembled(names, items, result, self.space, inputs,
                         self.block.bytes if self.native else None, times)

    def _items(self, s: int) -> Iterator[Any]:
        """The lines of a segment, each with its lane."""
        segment, n = self.rolled.segments[s], self.counts[s]
        p, q = len(segment.front), len(segment.back)

        def said(lines: list[Line], loop: Loop | None = None) -> list[Any]:
            return [(line.lane, (self._text(line, loop), line.call)) for line in lines]

        for lines in segment.front:
            yield from said(lines)
        if segment.loops:
            loop = Loop(range(p, n - q))
            loop.lines = [item for _, item in said(segment.lines, loop)]
            yield segment.lines[0].lane, loop
        else:
            yield from said(segment.lines)
        for lines in segment.back:
            yield from said(lines)
