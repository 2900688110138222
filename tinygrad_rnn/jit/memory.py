"""Where each value of a tape lives: one block of memory, shared by lifetimes.

A value lives from the call that makes it to the last one that reads it, it or a view of it; values
whose lives do not overlap may lie in the same place. The pieces of a stack or a concatenation are
made where they belong, so that joining them is no work.
"""

from __future__ import annotations

import operator
from itertools import accumulate
from typing import Any

import numpy as np

from .blocks import BLOCKED
from .chains import Chain
from .tape import Call, Tape, Value, values_in

__all__ = ["ALIGN", "JOINS", "Block", "Memory", "elementwise", "joined", "laid", "life",
           "whole"]  # fmt: skip

ALIGN = 64
UNPLANNED = 8  # bytes up to which a value has no place of its own, on a CPU
JOINS = {np.concatenate, np.stack}
COPIES = {operator.getitem, np.reshape, np.copy}  # which take no out=: kept in a place of ours


class Block:
    """Memory that the recordings of one function share: nothing in it outlives a replay."""

    least = UNPLANNED

    def __init__(self, nbytes: int = 0):
        self.bytes = aligned(nbytes)

    def grown(self, nbytes: int) -> Block:
        """This block if it is large enough, else a larger one."""
        # some more, since the next recording of a function is often a little larger than the first
        return self if nbytes <= len(self.bytes) else Block(nbytes + nbytes // 8)


class Memory:
    """The plan for one tape.

    ``homes`` says which results are new values of which inputs: these are written into the input
    array itself, where nobody reads the old value any more. ``array`` has the memory of every
    value in the plan, views of it included. ``how`` says how a call gives its value:

    buffer: writes it with ``out=``. home: writes it into its input. edit: edits the array of its
    first argument. copy: edits a copy of that. kept: makes a new array, which is copied to a place
    of ours, so that what reads it knows where it lies. Others make a new array at each replay.
    """

    def __init__(self, tape: Tape, homes: dict[Value, Value], block: Block, apart: bool = False):
        self.tape, self.homes, self.block = tape, homes, block
        self.apart = apart  # no two buffers share memory: it is only looked at, by roll.py
        self.place = _places(tape, homes, block.least)  # of a piece: the join, and the index in it
        self.how: dict[Value, str] = {}
        self.array: dict[Value, np.ndarray] = dict(tape.constants)
        self.buffers: list[list[int]] = []  # size in bytes, first and last call that use it
        self._in: dict[Value, int] = {}  # the buffer of a value
        self._lifetimes()
        self._assign()
        self._lay_out()

    # ---- who lives how long ----

    def _lifetimes(self):
        tape = self.tape
        self.root: dict[Value, Value] = {}
        self._whole: dict[Value, Value] = {}
        for value in (*tape.inputs, *tape.constants):
            self.root[value] = self._whole[value] = value
        for call in tape.calls:
            for out in call.outs:
                self.root[out] = self._whole[out] = self._around(out)
            first = next(iter(call.inputs()), None)
            if (call.view or call.effect) and first is not None:  # a check gives what it looks at
                self.root[call.out] = self.root[first]
                # a value that is all of another, element for element
                same = call.fn is np.reshape and _plain(first, call.out)
                self._whole[call.out] = self._whole[first] if same else call.out
        self.last: dict[Value, int] = {}
        for i, call in enumerate(tape.calls):
            for value in (*call.outs, *call.inputs()):
                self.last[self.root[value]] = i
        for value in tape.results:
            self.last[self.root[value]] = len(tape.calls)
        for call in reversed(tape.calls):
            if not (takes_out(call) or editing(call)):  # it may give a view: ``reshape`` copies one
                # array, and does not copy another
                until = self.last[self.root[call.out]]
                for root in {self.root[value] for value in call.inputs()}:
                    if not root.contiguous:  # others lie here as they did in the recording
                        self.last[root] = max(until, self.last[root])
        self.lanes = {i: call.lane for i, call in enumerate(tape.calls) if call.lane}
        self.spans: dict[int, tuple[int, int]] = {}  # of lanes: the first and the last call
        for i, (lanes, _) in self.lanes.items():
            self.spans[lanes] = self.spans.get(lanes, (i,))[0], i

    def _around(self, value):
        """The outermost join that a value is a piece of, or the value itself."""
        while value in self.place:
            value = self.place[value][0]
        return value

    # ---- how each call gives its value ----

    def _assign(self):
        self._dying: dict[int, list[Value]] = {}
        for value, i in self.last.items():
            self._dying.setdefault(i, []).append(value)
        outside = {*self.tape.inputs, *self.tape.constants}
        for i, call in enumerate(self.tape.calls):
            out = call.out
            if call.view or out.dtype is None or out.shape is None:
                continue
            if isinstance(call.fn, Chain):
                for value in call.outs:
                    if self._goes_home(call, value, i):
                        self.how[value] = "home"
                    else:
                        self.how[value] = "buffer"
                        self._give(value, i, None)
            elif self._goes_home(call, out, i):
                self.how[out] = "home"
            elif editing(call):
                source = call.args[0]
                free = self._ends(source, i) and source not in outside and same_place(source, out)
                # what else it reads of this memory would change under way
                free &= all(self.root[v] is not source for v in call.inputs() if v is not source)
                self.how[out] = "edit" if free else "copy"
                self._give(out, i, self._in[source] if free else None)
            elif takes_out(call):
                for value in call.outs:
                    if value.nbytes > self.block.least or call.fn in BLOCKED:
                        self.how[value] = "buffer"
                        self._give(value, i, self._heir(call, value, i))
            elif call.fn in COPIES and out.nbytes > self.block.least:
                self.how[out] = "kept"
                self._give(out, i, None)

    def _goes_home(self, call, value, i):
        """Whether it may be written into the input whose new value it is."""
        home = self.homes.get(value)
        if home is None or self.last.get(home, -1) > i or not same_place(home, value):
            return False
        if elementwise(call):  # NumPy takes care of what overlaps
            return True
        # what is read of the input in another way, such as one row of it, would change under way
        read = [v for v in call.inputs() if self.root[v] is home]
        if editing(call):
            return call.args[0] is home and read == [home]
        return isinstance(call.fn, Chain) and value.shape == call.fn.shape and (
            home.contiguous and set(read) <= {home}) and (not read or call.fn.may_edit(value, home))

    def _ends(self, value, i):
        """Whether a value that fills its buffer is read for the last time."""
        return value in self._dying.get(i, ()) and value in self._in

    def _heir(self, call, out, i):
        """The buffer of an operand that dies here and may be written over, or None."""
        if self._around(out) in self._in or out in self.place or out is not call.out:
            return None
        if not (elementwise(call) or call.fn in BLOCKED):
            return None
        read = call.args[:1] if call.fn in BLOCKED else call.args
        for value in (self._whole[v] for v in values_in(read)):
            if self._ends(value, i) and fits(value, out):
                return self._in[value]
        return None

    def _give(self, value, i, buffer):
        value = self._around(value)
        if buffer is None and value in self._in:  # the place of a join, which an earlier piece got
            return
        if buffer is None:
            self.buffers.append([value.nbytes, i, i])
            buffer = len(self.buffers) - 1
        self._in[value] = buffer
        self.buffers[buffer][2] = max(self.buffers[buffer][2], self.last.get(value, i))

    # ---- addresses ----

    def _life(self, buffer) -> tuple[int, int, int, int]:
        _, first, last = self.buffers[buffer]
        return life(first, last, self.lanes, self.spans)

    def _lay_out(self):
        sizes = [whole(size) for size, _, _ in self.buffers]
        if self.apart:
            self.offsets, self.nbytes = [0, *accumulate(sizes)][: len(sizes)], sum(sizes)
        else:
            self.offsets, self.nbytes = laid(sizes, [*map(self._life, range(len(sizes)))])
        self.block = self.block.grown(self.nbytes)
        for value, buffer in self._in.items():
            self.array[value] = as_array(self.block.bytes[self.offsets[buffer] :], value)
        for piece in self.place:
            self._piece(piece)
        for call in self.tape.calls:
            inputs = call.inputs()
            if call.view and len(inputs) == 1 and inputs[0] in self.array:
                base = self.array[inputs[0]]
                view = call.fn(base, *call.args[1:], **call.kwargs)
                if np.may_share_memory(view, base):
                    self.array[call.out] = view

    def _piece(self, value):
        if value not in self.array:
            join, index = self.place[value]
            self.array[value] = self._piece(join)[index]
        return self.array[value]


def laid(sizes: list[int], lives: list[tuple[int, int, int, int]]) -> tuple[list[int], int]:
    """Where each buffer begins, and where the last one ends: the largest first, each in the lowest
    place where nothing lies that is in use at the same time."""
    offsets = [0] * len(sizes)
    # first, last, which lanes, which of them, begin, end
    placed = np.zeros((6, len(sizes)), np.int64)
    for n, b in enumerate(sorted(range(len(sizes)), key=lambda b: -sizes[b])):
        first, last, lanes, lane = lives[b]
        others = placed[:, :n]
        others = others[:, (others[0] <= last) & (others[1] >= first) | (
            (others[2] == lanes) & (others[3] != lane))]
        begins, ends = others[4:, np.argsort(others[4])]
        free = np.maximum.accumulate(np.append(0, ends))  # from here to where the next begins
        room = np.append(begins, np.iinfo(np.int64).max) - free >= sizes[b]
        offsets[b] = at = int(free[room.argmax()])
        placed[:, n] = first, last, lanes, lane, at, at + sizes[b]
    return offsets, int(placed[5].max(initial=0))


def life(first: int, last: int, lanes: dict[int, tuple[int, int]],
         spans: dict[int, tuple[int, int]]) -> tuple[int, int, int, int]:
    """The first and the last call that use a buffer. Lanes run at the same time: one that is used
    in a lane and elsewhere lives as long as all of them; of one that is used nowhere else, the
    numbers of the lanes and of the one (else -1 and -1)."""
    begin, end = lanes.get(first), lanes.get(last)
    if begin and begin == end:
        return first, last, *begin
    if begin:
        first = spans[begin[0]][0]
    if end:
        last = spans[end[0]][1]
    return first, last, -1, -1


def _places(tape, homes, least):
    """Which values are made where a later join wants them: piece -> (join, index)."""
    made = {out: call for call in tape.calls if takes_out(call) and not editing(call)
            for out in call.outs if out.nbytes > least and out not in homes}
    place: dict[Value, tuple[Value, Any]] = {}
    for call in tape.calls:
        join = call.out
        if call.fn not in JOINS or join not in made or join.order is not None:
            continue
        for piece, index in joined(call):
            if (piece in made and piece not in place and piece.order is None
                    and piece.dtype == join.dtype):
                place[piece] = join, index
    return place


def joined(call: Call):
    """The pieces of a join: value, index in the join."""
    axis = call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else 0)
    pieces = call.args[0]
    if axis is None or set(call.kwargs) - {"axis"} or isinstance(pieces, Value) or not all(
            isinstance(piece, Value) for piece in pieces):
        return
    axis %= len(call.out.shape)
    before, at = (slice(None),) * axis, 0
    for piece in pieces:
        if call.fn is np.stack:
            yield piece, (*before, at)
            at += 1
        else:
            yield piece, (*before, slice(at, at + piece.shape[axis]))
            at += piece.shape[axis]


def same_place(a: Value, b: Value) -> bool:
    """Whether one can be written where the other stands."""
    return a.shape == b.shape and a.dtype == b.dtype and a.order == b.order


def fits(a: Value, b: Value) -> bool:
    """Whether one can be written, element for element, over the other."""
    return same_place(a, b) or (_plain(a, b) and a.dtype == b.dtype and a.nbytes == b.nbytes)


def _plain(*values: Value) -> bool:
    return all(v.order is None and v.dtype is not None and v.shape is not None for v in values)


def elementwise(call: Call) -> bool:
    return isinstance(call.fn, np.ufunc) and call.fn is not np.matmul and call.fn.signature is None


def takes_out(call: Call) -> bool:
    """Whether it can write into memory that is given to it."""
    fn = call.fn
    if isinstance(fn, (np.ufunc, Chain)) or fn in BLOCKED or hasattr(fn, "writes") or (
            fn in JOINS and "dtype" not in call.kwargs):
        return True
    return isinstance(getattr(fn, "__self__", None), np.ufunc) and (
        fn.__name__ == "reduce" and call.out.shape != ())


def editing(call: Call) -> bool:
    """Whether it gives a copy of its first argument, edited."""
    return hasattr(call.fn, "edit")


def whole(nbytes: int) -> int:
    """So many bytes as end at a multiple of ALIGN."""
    return -(-nbytes // ALIGN) * ALIGN


def aligned(nbytes: int) -> np.ndarray:
    """Bytes that begin at a multiple of ALIGN."""
    raw = np.empty(nbytes + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + nbytes]


def as_array(memory: np.ndarray, value: Value) -> np.ndarray:
    """The first bytes of memory as an array of this shape, dtype and order of axes."""
    flat = memory[: value.nbytes].view(value.dtype)
    if value.order is None:
        return flat.reshape(value.shape)
    inner = flat.reshape([value.shape[axis] for axis in value.order])
    return inner.transpose(np.argsort(value.order).tolist())
