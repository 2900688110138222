"""A tape as one Python function over planned memory.

What is updated in place in the program is updated in place here, and nearly every other call
writes where memory.py says, so that a replay allocates next to nothing.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .blocks import BLOCKED
from .chains import Chain, as_rows, rows, width
from .memory import JOINS, Block, Memory, editing, joined
from .recording import draw, overwritten
from .table import Compiled, assembled
from .tape import Call, Tape, Value, name_of, values_in

__all__ = ["Program"]

METHODS = (np.swapaxes, np.reshape, np.transpose)
SMALL = 1024  # elements
NUMERIC = (np.add, np.subtract, np.multiply, np.divide, np.minimum, np.maximum)


class Program(Compiled):
    """The compiled tape. ``run(inputs)`` takes the arrays, numbers and generators of
    ``tape.inputs`` and returns those of ``tape.results``: copies, which the next run does not
    touch.

    ``homes`` says which results are new values of which inputs: these, the last ones, are not
    returned but written into the input array itself.
    """

    copied = "np.array({})"  # how a result is copied

    def __init__(self, tape: Tape, homes: dict[Value, Value], block: Block | None = None,
                 apart: bool = False, native: bool = False):
        self.tape, self.homes, self.native = tape, homes, native
        self.memory = Memory(tape, homes, block or Block(), apart)
        self.names: dict[Value, str] = {}
        self.space: dict = {"np": np}
        self._known: dict[int, str] = {}
        self.lines: list[tuple[str, Call | None]] = []
        self.lanes: dict[int, tuple[int, int]] = {}  # of lines
        self.row: dict[tuple, str] = {}  # names of values as one row
        self.numbers: dict[tuple, np.ndarray] = {}
        self.spans: list[tuple[int, int]] = []  # of each call: its lines
        self._write()

    @property
    def nbytes(self) -> int:
        """Planned memory, in bytes."""
        return self.memory.nbytes

    @property
    def block(self) -> Block:
        """The memory itself."""
        return self.memory.block

    def _write(self):
        tape, memory = self.tape, self.memory
        for i, value in enumerate(tape.inputs):
            self.names[value] = f"i{i}"
        for value, array in memory.array.items():
            self.names[value] = self._object(array)
        dead: dict[int, list[str]] = {}
        for i, call in enumerate(tape.calls):
            begun = len(self.lines)
            if isinstance(call.fn, Chain):
                self._chain(call)
            elif call.fn in JOINS and memory.how.get(call.out) == "buffer":
                self._join(call)
            elif not call.view or call.out not in memory.array:
                if call.out not in self.names:
                    self.names[call.out] = f"v{i}"
                    at = memory.last.get(memory.root[call.out], i)
                    if at in memory.lanes:  # the other lane may still read it
                        at = memory.spans[memory.lanes[at][0]][1]
                    made = not call.view and memory.how.get(call.out) != "home"
                    if made and call.out.dtype is not None and at < len(tape.calls):
                        dead.setdefault(at, []).append(f"v{i}")
                if memory.how.get(call.out) == "kept" and call.fn is np.copy:
                    text = f"np.copyto({self.names[call.out]}, {self._text(call.args[0])})"
                else:
                    text = self._line(call, self.names[call.out])
                    if memory.how.get(call.out) == "kept":
                        name, _, new = text.partition(" = ")
                        text = f"np.copyto({name}, {new})"
                self.lines.append((text, call))
            if call.lane:
                self.lanes.update(dict.fromkeys(range(begun, len(self.lines)), call.lane))
            self.spans.append((begun, len(self.lines)))
            self.lines += [(f"{name} = None", None) for name in dead.get(i, ())]
        for value, home in self.homes.items():
            if memory.how.get(value) != "home":
                self.lines.append((f"np.copyto({self.names[home]}, {self.names[value]})", None))
        ends = []
        for value in tape.results[: len(tape.results) - len(self.homes)]:
            owned = value.dtype is None or value.shape is None
            ends.append(self.names[value] if owned else self.copied.format(self.names[value]))
        self.result = f"return [{', '.join(ends)}]"

    def _join(self, call):
        """Copies of those pieces that were not made in their place."""
        pieces = list(joined(call))
        place, target = self.memory.place, self.memory.array[call.out]
        if not any(place.get(piece) == (call.out, index) for piece, index in pieces):
            self.lines.append((self._line(call, self.names[call.out]), call))
            return
        for piece, index in pieces:
            if place.get(piece) != (call.out, index):
                line = f"np.copyto({self._object(target[index])}, {self.names[piece]})"
                self.lines.append((line, call))

    def _chain(self, call):
        """A chain: everything in it as rows of the same length."""
        chain, memory = call.fn, self.memory
        planned = [memory.array.get(v) for v in (*chain.inputs, *call.outs)]
        flat = chain.flat and all(
            x is None or x.shape != chain.shape or x.flags.c_contiguous for x in planned)
        flat &= not (memory.apart and chain.shape)  # how wide hangs on T in no simple way
        size = math.prod(chain.shape)
        C = width(size) if flat else chain.shape[-1]
        R = size // max(C, 1)
        homes = {out: self.homes[out] for out in call.outs if memory.how[out] == "home"}
        edited = {f"y{i}": f"a{chain.inputs.index(homes[out])}" for i, out in enumerate(call.outs)
                  if homes.get(out) in chain.inputs}  # fmt: skip
        args, after = [], []
        for value, kind in zip(chain.inputs, chain.kinds, strict=True):
            n, m = {"full": (R, C), "row": (1, C), "ids": (R, 1), "column": (R, 1),
                    "table": value.shape}.get(kind, (1, 1))
            array = memory.array.get(value)
            lies = None if array is None else as_rows(array, n, m)
            if kind == "number":
                args.append(self.names[value])
            elif lies is not None:
                args.append(self._object(lies))
            elif value in homes.values():  # contiguous, and to be written to
                args.append(f"{self.names[value]}.reshape({R}, {C})")
            else:
                args.append(self._rows(value, n, m, call.lane))
        for i, out in enumerate(call.outs):
            if out in homes:
                self.names[out] = self.names[homes[out]]
                if f"y{i}" not in edited:
                    args.append(f"{self.names[out]}.reshape({R}, {C})")
                continue
            m = C if out.shape == chain.shape else 1
            lies = as_rows(memory.array[out], R, m)
            if lies is None:
                lies = np.empty((R, m), out.dtype)
                whole = self._object(lies.reshape(out.shape))
                after.append((f"np.copyto({self.names[out]}, {whole})", None))
            args.append(self._object(lies))
        args += [self._object(row) for row in chain.temporaries(C)]
        run = self._object(chain.function(edited))
        self.lines.append((f"{run}({R}, {C}, {', '.join(args)})", call))
        self.lines += after

    def _rows(self, value: Value, R: int, C: int, lane: tuple[int, int] | None) -> str:
        """A value as rows. One row, as a bias that all time steps read, is made only once."""
        made = f"{self._object(rows)}({self.names[value]}, {R}, {C})"
        if R > 1:
            return made
        key = value, C, lane  # a lane is a function, with names of its own
        if key not in self.row:
            self.row[key] = f"r{len(self.row)}"
            self.lines.append((f"{self.row[key]} = {made}", None))
        return self.row[key]

    def _line(self, call: Call, target: str) -> str:
        kind = self.memory.how.get(call.out)
        args = [self._text(a) for a in call.args]
        if kind == "home":
            target = self.names[call.out] = self.names[self.homes[call.out]]
        if editing(call):
            source, *rest = args
            if kind == "copy":
                zero = self._is_zero(call.args[0])  # as a gradient begins
                self.lines.append((f"{target}.fill(0)" if zero else
                                   f"np.copyto({target}, {source})", call))
            if call.fn is overwritten:
                return f"{target}[{rest[0]}] = {rest[1]}"
            edit = self._object(call.fn.edit)
            rest += [f"{k}={self._text(v)}" for k, v in call.kwargs.items()]
            return f"{edit}({target}, {', '.join(rest)})"
        if call.fn is operator.getitem:
            return f"{target} = {args[0]}[{args[1]}]"
        if call.fn is draw:
            return f"{target} = {args[0]}.{call.args[1]}(*{args[2]}, **{args[3]})"
        if call.fn in METHODS and call.kwargs.keys() <= {"axis1", "axis2"}:  # without a detour
            more = ", ".join(map(self._text, (*call.args[1:], *call.kwargs.values())))
            return f"{target} = {args[0]}.{call.fn.__name__}({more})"
        plain = isinstance(call.fn, np.ufunc) and not (call.kwargs or call.more) and (
            call.fn not in (np.minimum, np.maximum))  # which want out= to be named
        args += [f"{k}={self._text(v)}" for k, v in call.kwargs.items()]
        if kind in ("buffer", "home"):
            if call.more:
                target = f"({', '.join(self.names[out] for out in call.outs)})"
            if call.fn in NUMERIC and not (call.kwargs or self.memory.apart):
                args = [self._text(self._number(a, call.out)) for a in call.args]
            fn = self._object(self._function(call.fn))
            return f"{fn}({', '.join(args)}, {'' if plain else 'out='}{target})"
        fn = call.fn if call.fn in BLOCKED else self._function(call.fn)
        return f"{target} = {self._object(fn)}({', '.join(args)})"

    def _function(self, fn):
        """What is called for ``fn``, with out=."""
        return BLOCKED.get(fn, fn)

    def _number(self, x, out):
        """A number of Python's as the array that NumPy would make of it at each call."""
        if type(x) not in (int, float) or out.dtype.kind != "f" or math.prod(out.shape) > SMALL:
            return x
        return self.numbers.setdefault((repr(x), out.shape, out.dtype),
                                       np.full(out.shape, x, out.dtype))

    def _is_zero(self, value: Value) -> bool:
        constant = self.tape.constants.get(value)
        return constant is not None and not np.any(constant)

    def _text(self, x) -> str:
        if isinstance(x, Value):
            return self.names[x]
        if isinstance(x, (tuple, list)) and any(True for _ in values_in(x)):
            inside = "".join(f"{self._text(item)}, " for item in x)
            return f"[{inside}]" if isinstance(x, list) else f"({inside})"
        if isinstance(x, slice) and any(True for _ in values_in(x)):
            return f"slice({', '.join(map(self._text, (x.start, x.stop, x.step)))})"
        if isinstance(x, dict) and any(True for _ in values_in(x)):
            return f"{{{', '.join(f'{k!r}: {self._text(v)}' for k, v in x.items())}}}"
        if x is None or type(x) in (bool, int, str) or (type(x) is float and math.isfinite(x)):
            return repr(x)
        return self._object(x)

    def _object(self, x) -> str:
        """A name for something that is not written out."""
        if id(x) not in self._known:
            name = self._known[id(x)] = f"o{len(self.space)}"
            self.space[name] = x  # which also keeps the id
        return self._known[id(x)]

    def _compile(self, inputs: Any, times: list[Call] | None = None) -> Any:
        names = [self.names[v] for v in self.tape.inputs]
        items = [(self.lanes.get(i), line) for i, line in enumerate(self.lines)]
        return assembled(names, items, self.result, self.space, inputs,
                         self.block.bytes if self.native else None, times)


def describe(call: Call) -> str:
    return f"{name_of(call.fn)} -> {call.out!r}  {call.line}"
