"""Lines of a program as a table of calls, which one native call works off (native.py).

A line that calls a compiled loop, a product, a sum, a copy or an elementwise function of float32
says with what; where these arrays lie is known but for inputs, whose addresses are put into the
table when another array comes. What is between two lines that are none of these is one table; a
loop of nothing else is one for all its steps. Nothing here knows what a line is for.
"""

from __future__ import annotations

import math
import re
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from .blocks import beside, threads
from .chains import rows
from .memory import JOINS
from .recording import added
from .tape import Call
from .team import Team, can_share

__all__ = ["Compiled", "Loop", "assembled", "products_are_native"]

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
SMALL = 1 << 10  # elements up to which NumPy's call costs more than what it does
PRODUCTS = {np.dot, np.einsum, np.inner, np.tensordot}
MANY = 64  # parts of an array that are calls of their own
SHORT = 1 << 15  # letters of a program up to which what is compiled of it is kept
LARGE = 10**6  # multiplications from which on a product is shared
CALL = re.compile(r"(o\d+|np\.copyto)\((.*)\)")
VIEW = re.compile(r"([vr]\w+) = (.*)")
RUN = re.compile(r"run\((t\d+)\)")
WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(slots=True)
class Op:
    """A native function; its words: numbers, and arrays that stand for their addresses; what of
    them it writes."""

    function: int
    words: list[Any]
    outs: Sequence[np.ndarray]


@dataclass(slots=True)
class Number:
    """A number that each replay has anew under this name; as which it is read, and as rows."""

    name: str
    dtype: np.dtype = DOUBLE
    shape: tuple[int, int] = (0, 0)


class View(str):
    """A line that gives a name to a part of an input."""


class Loop:
    """Repetitions of some lines: which of them, and by name the arrays of which each has its
    own."""

    def __init__(self, repetitions: range) -> None:
        self.range = repetitions
        # an array of all of them, where these are evenly apart, or a list
        self.arrays: dict[Any, tuple[str, Any]] = {}
        self.lines: list[tuple[str, Call | None]] = []
        self.standins: dict[str, np.ndarray] = {}  # for the arrays of a name
        self.addresses: dict[int, np.ndarray] = {}  # of these, by the id of what stands for them

    def prepare(self) -> None:
        """Let arrays that differ in nothing but where they lie have something to stand for them."""
        for name, arrays in self.arrays.values():
            one, many = arrays[0], type(arrays) is list
            if (not many or all(x.strides == one.strides and x.shape == one.shape for x in arrays)
                    ) and one.size and min(one.strides, default=0) >= 0:
                size = sum((n - 1) * s for n, s in zip(one.shape, one.strides, strict=True))
                memory = np.empty(size + one.itemsize, np.uint8)
                self.standins[name] = np.ndarray(one.shape, one.dtype, memory, 0, one.strides)
                self.addresses[id(memory)] = np.array([x.ctypes.data for x in arrays]) if many \
                    else arrays.ctypes.data + arrays.strides[0] * np.arange(len(arrays))


# ---- what lines are ----


def merged(shape: Sequence[int], *strides: Sequence[int]) -> Any:
    """Two axes that run over the same elements: (shape, strides of each); None if there are
    none."""
    axes: list[list[Any]] = []
    for n, *steps in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if axes and all(a == n * b for a, b in zip(axes[-1][1:], steps, strict=True)):
            axes[-1] = [axes[-1][0] * n, *steps]
        else:
            axes.append([n, *steps])
    if len(axes) > 2:
        return None
    axes = [[1] + [0] * len(strides)] * (2 - len(axes)) + axes
    return [a[0] for a in axes], [[a[i + 1] for a in axes] for i in range(len(strides))]


def is_floats(*arrays: Any) -> bool:
    return all(isinstance(x, np.ndarray) and x.dtype == FLOAT and x.flags.aligned
               and x.size for x in arrays)


def alone(fn: Any, args: Sequence[Any], out: Any) -> list[Op] | None:
    """One elementwise call."""
    from .native import FUNCTIONS, address, elementwise

    args = [np.array(x, FLOAT) if type(x) in (int, float) else x for x in args]
    numbers = [isinstance(x, Number) for x in args]
    if fn not in FUNCTIONS or not is_floats(out, *(
            x for x, number in zip(args, numbers, strict=True) if not number)):
        return None
    place = out.ctypes.data, out.shape, out.strides
    if any(np.may_share_memory(x, out) and (x.ctypes.data, x.shape, x.strides) != place
           for x in args if isinstance(x, np.ndarray)):
        return None  # NumPy takes care of what overlaps
    seen = [np.broadcast_to(np.float32(0) if number else x, out.shape)
            for x, number in zip(args, numbers, strict=True)]
    args = [Number(x.name, FLOAT) if number else x
            for x, number in zip(args, numbers, strict=True)]
    found = merged(out.shape, out.strides, *(x.strides for x in seen))
    if found is None:  # along more axes
        if len(out) > MANY:
            return None
        parts = [alone(fn, [x if type(x) is Number else s[i]
                            for x, s in zip(args, seen, strict=True)], out[i])
                 for i in range(len(out))]  # fmt: skip
        return None if None in parts else [op for part in parts for op in part]  # type: ignore
    (R, C), strides = found
    if out.size > SMALL and not (fn is np.positive or all(s[1] in (0, 4) for s in strides)):
        return None
    words: list[Any] = [FUNCTIONS.index(fn), R, C]
    for x, steps in zip((out, *args, *args), (*strides, *strides[1:]), strict=True):
        words += [x, *(s // 4 for s in steps)]
    return [Op(address(elementwise), words[:12], [out])]


def copied(out: Any, x: Any) -> list[Op] | None:
    return alone(np.positive, (x,), out)


def joined(fn: Any, pieces: Any, axis: int, out: np.ndarray) -> list[Op] | None:
    if fn is np.stack:
        pieces = [np.expand_dims(x, axis) for x in pieces]
    ops: list[Op] = []
    at = 0
    for x in pieces:
        place = np.moveaxis(np.moveaxis(out, axis, 0)[at : at + x.shape[axis]], 0, axis)
        if (found := copied(place, x)) is None:
            return None
        ops += found
        at += x.shape[axis]
    return ops


def lies(x: np.ndarray) -> tuple[int, int] | None:
    """How BLAS is told of a matrix: 111 or 112 where it is turned, and how far apart rows are."""
    (n, m), (down, across) = x.shape, x.strides
    if (across == 4 or m == 1) and (n == 1 or (down >= 4 * m and down % 4 == 0)):
        return 111, max(m, down // 4 if n > 1 else m)
    if (down == 4 or n == 1) and (m == 1 or (across >= 4 * n and across % 4 == 0)):
        return 112, max(n, across // 4 if m > 1 else n)
    return None


def products_are_native() -> bool:
    """Whether NumPy's own BLAS was found."""
    from . import native

    return native.blas("sgemm") != 0


def product(a: Any, b: Any, out: Any) -> list[Op] | None:
    from .native import address, blas, vector_product
    from .native import product as native

    if not (blas("sgemm") and blas("sgemv")) or not is_floats(a, b, out):
        return None
    if b.ndim == 1:
        b, out = b[:, None], out[..., None]
    if a.ndim == 1:
        a, out = a[None], out[..., None, :]
    (n, k), m = a.shape[-2:], b.shape[-1]
    if out.ndim > 4 or out.shape[-2:] != (n, m):
        return None
    if m == 1:  # a matrix by a column: the row by the matrix that is turned
        a, b, out = (x.swapaxes(-1, -2) for x in (b, a, out))
        n, m = m, n
    before = out.shape[:-2]
    stacks = [np.broadcast_to(x, (*before, *x.shape[-2:])) for x in (a, b, out)]
    found: list[Any] = [lies(x[(0,) * len(before)]) for x in stacks]
    if None in found or (n > 1 and found[2][0] != 111):
        return None
    (across, lda), (down, ldb), (_, ldc) = found
    outer = [(1, 0, 0, 0)] * (2 - len(before)) + [
        (before[i], *(x.strides[i] for x in stacks)) for i in range(len(before))]
    if n == 1:
        outer = [(many, two, one, three) for many, one, two, three in outer]
        steps = [1 if at[0] == 111 else at[1] for at in found[::2]]  # type: ignore[index]
        return [Op(address(vector_product), [
            *outer[0], *outer[1], blas("sgemv"), *((112, k, m) if down == 111 else (111, m, k)),
            b, ldb, a, steps[0], out, steps[1]], [out])]
    return [Op(address(native), [*outer[0], *outer[1], blas("sgemm"), across, down, n, m, k,
                                 a, lda, b, ldb, out, ldc], [out])]


def summed(fn: Any, x: Any, axis: Any, out: Any) -> list[Op] | None:
    from .native import address, sums

    if fn.__self__ is not np.add or not is_floats(x, out):
        return None
    axes = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple([a % x.ndim for a in axes])
    kept = [i for i in range(x.ndim) if i not in axes]
    gone = merged([x.shape[i] for i in axes], [x.strides[i] for i in axes])
    stays = merged([x.shape[i] for i in kept], [x.strides[i] for i in kept],
                   np.squeeze(out, axes).strides if out.ndim == x.ndim else out.strides)
    if gone is None or stays is None or gone[0][0] > 1 or stays[0][0] > 1:
        return None
    (_, R), ((_, down),) = gone
    (_, C), ((_, across), (_, step)) = stays
    return [Op(address(sums), [R, C, out, step // 4, x, down // 4, across // 4], [out])]


def compiled(fn: Any, R: int, C: int, *arrays: Any, team: Team | None = None) -> list[Op] | None:
    """A loop of loops.py; a large one by a ``team``."""
    from .native import address

    made = fn.py_func.__globals__
    if team and R * C * len(arrays) >= LARGE // 4 and threads() <= R:
        cuts = [slice(R * i // threads(), R * (i + 1) // threads()) for i in range(threads())]
        parts = [compiled(fn, cut.stop - cut.start, C, *(
            x[cut] if apart and isinstance(x, np.ndarray) and x.ndim else x
            for x, apart in zip(arrays, made["by_rows"], strict=True))) for cut in cuts]
        if None in parts:
            return None
        return [side_by_side([op for ops in parts for op in ops], team)]  # type: ignore[union-attr]
    words: list[Any] = [R, C]
    for x in arrays:
        if not isinstance(x, Number) and not (
                isinstance(x, np.ndarray) and x.ndim == 2 and x.flags.c_contiguous
                and x.flags.aligned and x.dtype.kind in "fib"):
            return None
        words += [x, *x.shape]
    return [Op(address(made["entry"]), words, [arrays[i] for i in made["written"]])]


def in_turn(ops: list[Op]) -> Op:
    """One op that does them all."""
    from .native import address
    from .native import in_turn as native

    head: list[Any] = [len(ops)]
    words: list[Any] = []
    for op in ops:
        head += [op.function, 8 * (1 + 2 * len(ops) + len(words))]
        words += op.words
    return Op(address(native), head + words, [out for op in ops for out in op.outs])


def side_by_side(ops: list[Op], team: Team) -> Op:
    """One op that does them all at the same time."""
    from .native import address, pause
    from .native import side_by_side as native

    head: list[Any] = [pause(), len(ops)]
    words: list[Any] = []
    for i, op in enumerate(ops):
        head += [op.function, 8 * (2 + 3 * len(ops) + len(words)), team.desk(i - 1) if i else 0]
        words += op.words
    return Op(address(native), head + words, [out for op in ops for out in op.outs])


def shared(a: Any, b: Any, out: Any, team: Team) -> list[Op] | None:
    """A product of which each thread does as many rows, or as many columns; of a stack with one
    factor (..., n, k, m) as many of the n."""
    many = threads()
    if max(a.ndim, b.ndim) < 3:
        n, m = len(a) if a.ndim > 1 else 1, b.shape[1] if b.ndim > 1 else 1
    elif a.ndim == b.ndim == out.ndim > 2 and a.shape[-3] == 1:
        n, m = 1, out.shape[-3]
    else:
        return None
    if max(n, m) < many:
        return None
    cuts = [slice(max(n, m) * i // many, max(n, m) * (i + 1) // many) for i in range(many)]
    parts = [product(a, b[..., cut, :, :], out[..., cut, :, :]) if out.ndim > 2 else
             product(a, b[:, cut], out[..., cut]) if m >= n else product(a[cut], b, out[cut])
             for cut in cuts]
    if None in parts:
        return None
    return [side_by_side([op for ops in parts for op in ops], team)]  # type: ignore[union-attr]


def op_of(fn: Any, args: Any, kwargs: dict[str, Any], team: Team | None = None) -> list[Op] | None:
    """What a call does, as native calls, large products by a ``team``; None where there are
    none."""
    if hasattr(fn, "py_func") and "entry" in fn.py_func.__globals__ and not kwargs:
        return compiled(fn, *args, team=team)
    if fn is np.copyto and not kwargs:
        return copied(*args)
    if fn is added.edit and not kwargs and isinstance(args[0], np.ndarray):  # type: ignore
        target, index, x = args
        if not all(type(i) in (int, slice) for i in (index if type(index) is tuple else [index])):
            return None
        return alone(np.add, (target[index], x), target[index])
    if isinstance(fn, np.ufunc):
        out = kwargs.pop("out", args[-1] if len(args) > fn.nin else None)
        if kwargs or not isinstance(out, np.ndarray):
            return None
        if fn is np.matmul:
            a, b, *_ = args
            large = team and out.size * a.shape[-1] >= LARGE
            return (shared(a, b, out, team) if team and large else None) or product(a, b, out)
        ops = alone(fn, args[: fn.nin], out)
        if team and ops and len(ops) > 1 and out.size >= LARGE // 8:
            many = threads()
            cuts = [len(ops) * i // many for i in range(many + 1)]
            parts = [in_turn(ops[i:j]) for i, j in pairwise(cuts)]
            return [side_by_side(parts, team)]
        return ops
    if fn in JOINS and len(args) + len(kwargs) == 3 and "out" in kwargs:
        axis = kwargs.get("axis", *args[1:])
        return None if axis is None else joined(fn, args[0], axis, kwargs["out"])
    if isinstance(getattr(fn, "__self__", None), np.ufunc) and fn.__name__ == "reduce" and (
            len(args) == 1 and kwargs.keys() - {"keepdims"} == {"axis", "out"}
            and kwargs["axis"] is not None):
        return summed(fn, args[0], kwargs["axis"], kwargs["out"])
    return None


# ---- tables ----


class Compiled:
    """A program of lines: ``run(inputs)`` takes what comes in and gives the results."""

    def _compile(self, inputs: list[Any], times: list[Call] | None = None) -> Any:
        raise NotImplementedError

    def run(self, inputs: list[Any]) -> list[Any]:
        """The first time; then it is what was compiled."""
        self.run = self._compile(inputs)  # type: ignore[method-assign]
        return self.run(inputs)

    def profile(self, inputs: list[Any]) -> list[tuple[float, Call]]:
        """Seconds and call of each line of one run, slowest first, those of a loop together. Homes
        are written to."""
        calls: list[Call] = []
        times = self._compile(inputs, calls)(inputs)
        return sorted(zip(times, calls, strict=True), key=lambda pair: -pair[0])


def assembled(names: list[str], items: Iterable[Any], result: str, space: dict[str, Any],
              inputs: list[Any], memory: np.ndarray | None, times: list[Call] | None = None) -> Any:
    """``program(inputs)``: the ``items``, each with its lane or None, are lines with their calls,
    or Loops. ``memory``: in which values are planned, if tables may take their places; ``times``
    gets the calls of which the program gives the seconds."""
    space = {**space, "_beside": beside, "_clock": time.perf_counter}
    tables = Tables(space, dict(zip(names, inputs, strict=True)), memory, times)
    lines: list[str] = []
    for region, group in groupby(items, lambda item: item[0] and times is None and item[0][0]):
        if region is None or times is not None:
            lines += tables.lines(item for _, item in group)
            continue
        lanes = [[*tables.lines((item for _, item in own), in_lane=True)]
                 for _, own in groupby(group, lambda item: item[0])]
        if (line := tables.lanes(lanes)) is not None:
            lines.append(line)
            continue
        for i, inside in enumerate(lanes):
            lines += [f"def lane{i}():", *(type(text)(f"    {text}") for text in inside)]
        lines.append(f"_beside({', '.join(f'lane{i}' for i in range(len(lanes)))})")
    begin = [f"({', '.join(names)},) = inputs"] if names else []
    begin += tables.begin()
    if times is not None:
        begin.append(f"_times = [0.0] * {len(times)}")
        result = "return _times"
    body = needed([*begin, *lines, result])
    if tables.team and tables.team.desks:
        space["_team"] = tables.team
        body = ["with _team:", *(f"    {line}" for line in body)]
    text = "def program(inputs):\n" + "".join(f"    {line}\n" for line in body)

    exec((code if len(text) < SHORT else code.__wrapped__)(text, "exec"), space)
    return space["program"]


@lru_cache(1 << 11)
def code(text: str, mode: str) -> Any:
    """Programs for other sizes have the same text."""
    return compile(text, "<tg.jit>", mode)


def merged_lines(found: list[Any]) -> tuple[list[Op], np.ndarray]:
    return ([op for ops, _ in found for op in ops],
            np.concatenate([words for _, words in found], 1))


def grab(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


class Tables:
    """Those of one program. ``space``: what its names are; ``inputs``: what came in; ``times``: of
    which lines the time is taken, each by itself, where that is wanted."""

    def __init__(self, space: dict[str, Any], inputs: dict[str, Any], memory: np.ndarray | None,
                 times: list[Call] | None) -> None:
        self.space, self.inputs, self.memory, self.times = space, [*inputs], memory, times
        self.in_lane = False
        self.known: dict[str, Any] = {name: self.rows for name, x in space.items() if x is rows}
        self.standins: dict[int, int] = {}  # id of an array that stands for an input: which
        for i, (name, x) in enumerate(inputs.items() if memory is not None else ()):
            if type(x) in (int, float):
                self.known[name] = Number(name)
            elif isinstance(x, np.ndarray) and (x.flags.c_contiguous or x.flags.f_contiguous):
                order: Any = "C" if x.flags.c_contiguous else "F"
                self.known[name] = standin = np.empty(x.shape, x.dtype, order)
                self.standins[id(standin)] = i
        self.owners = {id(_owner(x)) for x in (*self.known.values(), *space.values())
                       if isinstance(x, np.ndarray)}
        self.written: set[int] = set()  # inputs
        # words, and which of them lie how far behind the beginning of which input
        self.moves: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self.team = Team() if memory is not None and threads() > 1 and can_share() else None
        # what calls know by its address
        self.keep: list[Any] = [None if memory is None else _owner(memory)]
        space["_keep"] = self.keep

    # lines

    def rows(self, x: Any, R: int, C: int) -> Any:
        """``rows``, of which a copy may be kept if it is one of a constant."""
        if type(x) is Number and x.dtype == FLOAT:
            return Number(x.name, FLOAT, (R, C))
        made = rows(x, R, C)
        owner = _owner(x)
        if self.memory is not None and not x.flags.writeable and (
                owner is not self.keep[0] and id(owner) not in self.standins):
            self.owners.add(id(_owner(made)))
            self.keep.append(made)
        return made

    def ops(self, text: str, more: dict[str, Any] | None = None) -> list[Op] | None:
        match = CALL.fullmatch(text) if self.memory is not None else None
        if match is None:
            return None
        names = {**self.known, **(more or {}), "grab": grab}
        try:
            fn, (args, kwargs) = eval(code(f"{match[1]}, grab({match[2]})", "eval"), self.space,
                                      names)
        except Exception:  # a name of what is made at each replay, or a number of a Number
            return None
        owners = {id(_owner(x)) for x in (more or {}).values()} | self.owners
        if any(isinstance(x, np.ndarray) and id(_owner(x)) not in owners
               for x in (*args, *kwargs.values())):  # a copy
            return None
        return op_of(fn, args, kwargs, None if self.in_lane else self.team)

    def learn(self, text: str, call: Call | None) -> bool:
        """Whether a line does nothing but give a name to a part of an input, or to a number."""
        match = VIEW.fullmatch(text) if self.memory is not None else None
        if match is None:
            return False
        name, said = match.groups()
        if call is not None and call.out.dtype is None and call.out.shape == ():
            if any(v.dtype is not None for v in call.inputs()) or call.effect:
                return False
            self.known[name] = Number(name)
            return True
        if said == "None" or (call is not None and not call.view):
            return False
        try:
            x = eval(said, self.space, self.known)
        except Exception:
            return False
        if type(x) is not Number and (
                not isinstance(x, np.ndarray) or id(_owner(x)) not in self.standins):
            return False
        self.known[name] = x
        return True

    def lines(self, items: Iterable[Any], in_lane: bool = False) -> Iterator[str]:
        """The lines, (text, call) or a Loop, with tables in the places of those that are native."""
        self.in_lane = in_lane
        parts: list[Any] = []  # (ops, words of each repetition)

        def flush():
            if parts:
                yield self.table(parts)
            parts.clear()

        for item in items:
            if isinstance(item, Loop):
                self.forget(text for text, _ in item.lines)
                if self.memory is not None:
                    item.prepare()
                found = [self.repeated(text, item) for text, _ in item.lines]
                if None not in found and self.times is None:
                    parts.append(merged_lines(found))
                    self.keep += [arrays for _, arrays in item.arrays.values()
                                  if _owner(arrays[0]) is not self.keep[0]]  # constants
                else:
                    yield from flush()
                    yield from self.partly(item, found)
                continue
            text, call = item
            if (ops := self.ops(text)) is not None:
                if parts and parts[-1][1] is None:
                    parts[-1][0].extend(ops)
                else:
                    parts.append((ops, None))
                if self.times is not None:
                    yield from self.timed(self.table(parts), call)
                    parts.clear()
            elif self.learn(text, call):
                yield View(text) if call is None or call.view else text
            elif not self.gone(text):
                self.left_out(call)
                self.forget([text])
                if not text.endswith(" = None"):  # which no table reads
                    yield from flush()
                yield from self.timed(text, call)
                self.scalar(text, call)
        yield from flush()

    def scalar(self, text: str, call: Call | None) -> None:
        """What a line gives a name to, if that is one element of float32."""
        if self.memory is not None and call is not None and not call.view and (
                call.out.shape == () and call.out.dtype == FLOAT and call.out.order is None
                and (match := VIEW.fullmatch(text)) is not None):
            self.known[match[1]] = Number(match[1], FLOAT)

    def gone(self, text: str) -> bool:
        """Whether a line lets go of a number, which a table may still be told of."""
        name, _, said = text.partition(" = ")
        return said == "None" and type(self.known.get(name)) is Number

    def forget(self, lines: Iterable[str]) -> None:
        """These names are something else from here on."""
        for text in lines:
            if (match := VIEW.fullmatch(text)) is not None:
                self.known.pop(match[1], None)

    def left_out(self, call: Call | None) -> None:
        """A line that is not native: its large products are shared by BLAS."""
        if self.team is None or call is None:
            return
        sizes = [math.prod(v.shape) for v in call.inputs() if v.shape]
        if call.fn is np.matmul:
            large = math.prod(call.out.shape[-2:]) * call.args[0].shape[-1] >= LARGE
        else:
            large = max(sizes, default=0) >= LARGE ** (2 / 3) and (
                call.fn in PRODUCTS or "linalg" in (getattr(call.fn, "__module__", None) or ""))
        if large:
            self.team.products_apart = False

    def timed(self, text: str, call: Call | None) -> list[str]:
        if self.times is None or call is None:
            return [text]
        self.times.append(call)
        return ["_t = _clock()", text, f"_times[{len(self.times) - 1}] += _clock() - _t"]

    def repeated(self, text: str, loop: Loop) -> tuple[list[Op], np.ndarray] | None:
        """What a line of a loop is, and its words in each repetition."""
        if (ops := self.ops(text, loop.standins)) is None:
            return None
        flat = [word for op in ops for word in op.words]
        words = np.empty((len(loop.range), len(flat)), np.int64)
        for c, word in enumerate(flat):
            words[:, c] = self._word(word)
            owner = _owner(word) if isinstance(word, np.ndarray) else None
            if (found := loop.addresses.get(id(owner))) is not None:
                words[:, c] += found - owner.ctypes.data  # type: ignore[union-attr]
        return ops, words

    def partly(self, loop: Loop, found: list[Any]) -> Iterator[str]:
        """A loop of which some lines are native."""
        inside: list[str] = []
        lists = dict(loop.arrays.values())
        lines = enumerate(zip(loop.lines, found, strict=True))
        for (native, _), group in groupby(lines, lambda line: (
                line[1][1] is not None, self.times is not None and line[0])):
            rest = [line for _, line in group]
            if not native:
                for (_, call), _ in rest:
                    self.left_out(call)
                inside += [said for (text, call), _ in rest for said in self.timed(text, call)]
                continue
            ops, words = merged_lines([line for _, line in rest])
            *before, run = self.table([(ops, words)]).split("; ")
            name = run[4:-1]
            calls = self.space.pop(name)
            lists[f"{name}k"] = calls.reshape(len(words), -1, 2)
            inside += self.timed("; ".join([*before, f"run({name}k)"]), rest[0][0][1])
        begin = f"a{len(self.space)}_"
        self.space.update({f"{begin}{name}": [*values] for name, values in lists.items()})
        names, values = ("".join(f", {a}{name}" for name in lists) for a in ("", begin))
        yield f"for k{names or ','} in zip({loop.range}{values}):"
        yield from (f"    {text}" for text in inside)

    # addresses

    def _word(self, word: Any) -> int:
        if isinstance(word, Number):
            word = self.space.setdefault(f"n{word.dtype.char}_{word.name}",
                                         np.zeros(1, word.dtype))
        return word.ctypes.data if isinstance(word, np.ndarray) else word

    def table(self, parts: list[Any]) -> str:
        """A line that runs all of these."""
        from .native import run

        calls = []
        before: dict[str, None] = {}
        for ops, words in parts:
            flat = [word for op in ops for word in op.words]
            if words is None:
                words = np.array([[self._word(word) for word in flat]])
            words = np.ascontiguousarray(words)
            n, width = words.shape
            made = np.empty((n, len(ops), 2), np.int64)
            made[..., 0] = [op.function for op in ops]
            starts = np.cumsum([0, *(len(op.words) for op in ops)])[:-1]
            made[..., 1] = words.ctypes.data + 8 * (starts + width * np.arange(n)[:, None])
            calls.append(made.reshape(-1, 2))
            moved = []
            for c, word in enumerate(flat):
                if isinstance(word, Number):
                    before[f"n{word.dtype.char}_{word.name}[0] = {word.name}"] = None
                elif isinstance(word, np.ndarray) and (
                        owner := _owner(word)) is not None and id(owner) in self.standins:
                    moved.append((c, self.standins[id(owner)],
                                  word.ctypes.data - owner.ctypes.data))
            if moved:
                self.moves.append((words, *np.array(moved).T))
            self.written |= {self.standins[at] for op in ops for x in op.outs
                             if (at := id(_owner(x))) in self.standins}
            self.keep += [words, [word for word in flat if isinstance(word, np.ndarray)]]
        name = f"t{len(self.keep)}"
        self.space[name], self.space["run"] = np.concatenate(calls), run
        return "; ".join([*before, f"run({name})"])

    def lanes(self, lanes: list[list[str]]) -> str | None:
        """A line that runs lanes side by side; None unless each is one table."""
        if self.team is None:
            return None
        from .native import address, works

        tables = []
        for lines in lanes:
            *more, last = [text for text in lines if not isinstance(text, View)]
            if more or (table := RUN.fullmatch(last)) is None:
                return None
            tables.append(self.space[table[1]])
        op = side_by_side([Op(address(works), [len(table), table], []) for table in tables],
                          self.team)
        return self.table([([op], None)])

    def begin(self) -> list[str]:
        """The line that tells the tables where the inputs are, when others have come."""
        used = sorted({int(i) for _, _, source, _ in self.moves for i in source})
        if not used:
            return []
        moves, written, many, space = self.moves, self.written, len(self.inputs), self.space

        def move(*arrays: Any) -> None:
            bases = np.zeros(many, np.int64)
            for i, x in zip(used, arrays, strict=True):
                if i in written and not x.flags.writeable:
                    raise ValueError("assignment destination is read-only")
                bases[i] = x.ctypes.data
            for words, which, source, offset in moves:
                words[:, which] = bases[source] + offset
            for i, x in zip(used, arrays, strict=True):  # last: an error may come before
                space[f"w{i}"] = weakref.ref(x)

        space["move"] = move
        tests = []
        for i in used:
            space[f"w{i}"] = lambda: None
            tests.append(f"w{i}() is not {self.inputs[i]}")
            if i in written:
                tests.append(f"not {self.inputs[i]}.flags.writeable")
        return [f"if {' or '.join(tests)}: move({', '.join(self.inputs[i] for i in used)})"]


def needed(lines: list[str]) -> list[str]:
    """The lines without views that nobody names."""
    used: set[str] = set()
    kept = []
    for line in reversed(lines):
        name, _, said = line.strip().partition(" = ")
        if not isinstance(line, View) or name in used:
            used.update(WORD.findall(said if isinstance(line, View) else line))
            kept.append(line)
    return kept[::-1]


def _owner(x: np.ndarray) -> np.ndarray:
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x
