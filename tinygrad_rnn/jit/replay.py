"""A tape as one Python function over planned buffers.

Every value gets a buffer by its lifetime: the memory of a value that nobody reads any more is the
memory of the next. Calls write into it with ``out=``, and what is updated in place in the program
is updated in place here, so that a replay allocates next to nothing.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable

import numpy as np

from .blocks import BLOCKED
from .recording import added, draw, overwritten, through
from .tape import Call, Tape, Value, name_of, values_in

__all__ = ["Program"]

ALIGN = 64
_JOINS = {np.concatenate, np.stack}


class Program:
    """The compiled tape. ``run(inputs)`` takes the arrays, numbers and generators of
    ``tape.inputs`` and returns those of ``tape.results``.

    ``homes`` says which results are new values of which inputs: these are written into the input
    array itself. All other results are copies, which the next run does not touch.
    """

    def __init__(self, tape: Tape, homes: dict[Value, Value]):
        self.tape, self.homes = tape, homes
        self.names: dict[Value, str] = {}
        self.space: dict = {"np": np}
        self._known: dict[int, str] = {}
        self._views: dict[Value, int] = {}
        self.buffers: list[list[int]] = []  # size in bytes, first and last call that use it
        self.lines: list[tuple[str, Call | None]] = []
        self._assign()
        self._write()
        self.run = self._compile(timed=False)

    @property
    def nbytes(self) -> int:
        """Planned memory, in bytes."""
        return self._total

    # ---- who lives how long, and where ----

    def _assign(self):
        tape = self.tape
        root: dict[Value, Value] = {}
        whole: dict[Value, Value] = {}
        for value in (*tape.inputs, *tape.constants):
            root[value] = whole[value] = value
        for call in tape.calls:
            first = next(call.inputs(), None)
            root[call.out] = root[first] if call.view and first is not None else call.out
            # what a value is all of, element for element: itself, or an array that it reshapes
            plain = call.view and first is not None and call.fn is np.reshape
            whole[call.out] = whole[first] if plain and _plain(first, call.out) else call.out
        last: dict[Value, int] = {}
        for i, call in enumerate(tape.calls):
            last[root[call.out]] = i
            for value in call.inputs():
                last[root[value]] = i
        end = len(tape.calls)
        for value in tape.results:
            last[root[value]] = end
        outside = {*tape.inputs, *tape.constants}
        home_of = dict(self.homes)
        where: dict[Value, int] = {}  # root -> buffer
        self.out: dict[Value, str | None] = {}
        self.direct: set[Value] = set()  # results that a call writes into their home
        dying: dict[int, list[Value]] = {}
        for value, i in last.items():
            dying.setdefault(i, []).append(value)
        for i, call in enumerate(tape.calls):
            out = call.out
            ends = [v for v in dying.get(i, ()) if v in where]
            taken = None
            if not call.view and out.dtype is not None and out.shape is not None:
                home = home_of.get(out)
                if (home is not None and _elementwise(call) and last.get(home, -1) <= i
                        and same_place(home, out)):
                    self.out[out] = "home"
                    self.direct.add(out)
                elif _editing(call):
                    source = root[call.args[0]]
                    if (source in ends and source not in outside
                            and root[call.args[0]] is call.args[0] and same_place(source, out)):
                        taken = where.pop(source)
                        ends.remove(source)
                        self.out[out] = "edit"
                    else:
                        self.out[out] = "copy"
                        taken = self._buffer(out, i)
                    where[out] = taken
                elif _takes_out(call) and out.nbytes > 8:
                    if _elementwise(call) or call.fn in BLOCKED:
                        read = call.args[:1] if call.fn in BLOCKED else call.args
                        read = [whole[v] for v in values_in(read)]
                        for value in ends:
                            if fits(value, out) and any(value is v for v in read):
                                taken = where.pop(value)
                                ends.remove(value)
                                break
                    where[out] = self._buffer(out, i) if taken is None else taken
                    self.out[out] = "buffer"
            if out in where:
                self._views[out] = where[out]
                self.buffers[where[out]][2] = last.get(out, i)
        self.last, self.root = last, root

    def _buffer(self, value: Value, now: int) -> int:
        """A new buffer, in use from this call on."""
        self.buffers.append([-(-value.nbytes // ALIGN) * ALIGN, now, now])
        return len(self.buffers) - 1

    def _offsets(self) -> list[int]:
        """Where each buffer begins: the largest first, each in the lowest place where nothing
        lies that is in use at the same time."""
        offsets = [0] * len(self.buffers)
        placed = np.zeros((4, len(self.buffers)), np.int64)  # first, last, begin, end
        order = sorted(range(len(self.buffers)), key=lambda b: -self.buffers[b][0])
        for n, b in enumerate(order):
            size, first, last = self.buffers[b]
            others = placed[:, :n]
            others = others[:, (others[0] <= last) & (others[1] >= first)]
            at = 0
            for begin, end in sorted(zip(others[2].tolist(), others[3].tolist(), strict=True)):
                if begin - at >= size:
                    break
                at = max(at, end)
            offsets[b] = at
            placed[:, n] = first, last, at, at + size
        self._total = int(placed[3].max(initial=0))
        return offsets

    # ---- the program ----

    def _write(self):
        tape = self.tape
        offsets = self._offsets()
        memory = aligned(self._total)
        for i, value in enumerate(tape.inputs):
            self.names[value] = f"i{i}"
        for i, (value, array) in enumerate(tape.constants.items()):
            self.names[value] = f"k{i}"
            self.space[f"k{i}"] = array
        for value, buffer in self._views.items():
            name = f"b{len(self.space)}"
            self.space[name] = as_array(memory[offsets[buffer] :], value)
            self.names[value] = name
        dead: dict[int, list[str]] = {}
        for i, call in enumerate(tape.calls):
            target = self.names.get(call.out)
            if target is None:
                target = self.names[call.out] = f"v{i}"
                at = self.last.get(self.root[call.out], i)
                if not call.view and call.out.dtype is not None and at < len(tape.calls):
                    dead.setdefault(at, []).append(target)
            self.lines.append((self._line(call, target), call))
            for name in dead.get(i, ()):
                self.lines.append((f"{name} = None", None))
        ends = []
        for value in tape.results:
            home = self.homes.get(value)
            name = self.names[value]
            if home is not None:
                if value not in self.direct:
                    self.lines.append((f"np.copyto({self.names[home]}, {name})", None))
                ends.append("None")
            else:
                owned = value.dtype is None or value.shape is None
                ends.append(name if owned else f"np.array({name})")
        self.result = f"return [{', '.join(ends)}]"

    def _line(self, call: Call, target: str) -> str:
        kind = self.out.get(call.out)
        args = [self._text(a) for a in call.args]
        if kind == "edit" or kind == "copy":
            source, *rest = args
            ready = "" if kind == "edit" else f"np.copyto({target}, {source}); "
            if call.fn is overwritten:
                return f"{ready}{target}[{rest[0]}] = {rest[1]}"
            edit = self._object(_EDITS[call.fn])
            return f"{ready}{edit}({target}, {', '.join(rest)})"
        if kind == "home":
            home = self.names[self.homes[call.out]]
            self.names[call.out] = home
            target = home
        if call.fn is operator.getitem:
            return f"{target} = {args[0]}[{args[1]}]"
        if call.fn is draw:
            return f"{target} = {args[0]}.{call.args[1]}(*{args[2]}, **{args[3]})"
        args += [f"{k}={self._text(v)}" for k, v in call.kwargs.items()]
        if kind in ("buffer", "home"):
            return f"{self._object(BLOCKED.get(call.fn, call.fn))}({', '.join(args)}, out={target})"
        return f"{target} = {self._object(call.fn)}({', '.join(args)})"

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

    def _compile(self, timed: bool) -> Callable:
        inputs = ", ".join(self.names[v] for v in self.tape.inputs)
        body = [f"({inputs},) = inputs"] if inputs else []
        space = dict(self.space)
        if timed:
            space["_clock"], space["_times"] = time.perf_counter, []
            for line, call in self.lines:
                body += ["_t = _clock()", line] if call else [line]
                if call:
                    body.append("_times.append(_clock() - _t)")
            body.append("return _times")
        else:
            body += [line for line, _ in self.lines]
            body.append(self.result)
        source = "def program(inputs):\n" + "".join(f"    {line}\n" for line in body)
        exec(compile(source, "<tg.jit>", "exec"), space)
        return space["program"]

    def profile(self, inputs) -> list[tuple[float, Call]]:
        """Seconds and call of each line of one run, slowest first. Homes are written to."""
        times = self._compile(timed=True)(inputs)
        calls = [call for _, call in self.lines if call]
        return sorted(zip(times, calls, strict=True), key=lambda pair: -pair[0])


def same_place(a: Value, b: Value) -> bool:
    """Whether one can be written where the other stands."""
    return a.shape == b.shape and a.dtype == b.dtype and a.order == b.order


def fits(a: Value, b: Value) -> bool:
    """Whether one can be written, element for element, over the other."""
    return same_place(a, b) or (_plain(a, b) and a.dtype == b.dtype and a.nbytes == b.nbytes)


def _plain(*values: Value) -> bool:
    return all(v.order is None and v.dtype is not None and v.shape is not None for v in values)


def _elementwise(call: Call) -> bool:
    return isinstance(call.fn, np.ufunc) and call.fn is not np.matmul and call.fn.signature is None


def _takes_out(call: Call) -> bool:
    fn = call.fn
    if isinstance(fn, np.ufunc) or fn in _JOINS or fn in BLOCKED:
        return True
    return isinstance(getattr(fn, "__self__", None), np.ufunc) and (
        fn.__name__ == "reduce" and call.out.shape != ())


def _editing(call: Call) -> bool:
    return call.fn in (overwritten, added, through)


def _edit_added(buffer, index, g):
    from ..rules import add_at

    add_at(buffer, index, g)


def _edit_through(root, value, path):
    view = root
    for fn, args, kwargs in path:
        view = fn(view, *args, **kwargs)
    view[...] = value


_EDITS = {added: _edit_added, through: _edit_through}


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
    return inner.transpose(np.argsort(value.order))


def describe(call: Call) -> str:
    return f"{name_of(call.fn)} -> {call.out!r}  {call.line}"
