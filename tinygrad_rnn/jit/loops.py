"""Elementwise chains as compiled loops: one pass over memory instead of one for each call.

Optional: it needs numba (the extra [fast]), and float32. A chain of calls on arrays of one shape
becomes one loop over their elements; where rows are summed up in between, as many loops over each
row as it takes. A loop is vectorised because the compiler is told what it cannot
know, and what memory.py takes care of: that no result overlaps an operand or another result, other
than one that is written over an operand element by element. Functions are compiled once and kept
on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import math
import operator
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .blocks import softmax_nll, softmax_nll_compiled
from .chains import Chain, gather, kind_of
from .recording import added
from .rows import added_rows, looked_up
from .tape import Call, Tape, Value, chosen, values_in

__all__ = ["Kernel", "available", "basic", "compiled_calls", "elementary", "fuse", "load",
           "slices_first", "sum_in_softmax"]  # fmt: skip

EXPRESSIONS = {
    np.add: "({} + {})", np.subtract: "({} - {})", np.multiply: "({} * {})",
    np.divide: "({} / {})", np.negative: "(-{})", np.positive: "{}", np.tanh: "tanh({})",
    np.sqrt: "np.sqrt({})", np.exp: "exp({})", np.minimum: "minimum({}, {})",
    np.maximum: "maximum({}, {})", np.where: "({1} if {0} else {2})", np.greater: "({} > {})",
    np.less: "({} < {})", np.equal: "({} == {})", np.not_equal: "({} != {})",
    np.greater_equal: "({} >= {})", np.less_equal: "({} <= {})",
}  # fmt: skip
FLOAT, BOOL = np.dtype(np.float32), np.dtype(np.bool_)
WORDS = {FLOAT: "floats", np.dtype(np.int64): "longs", BOOL: "bools"}  # pointers
MANY = 200  # elements below which a call is left alone
LONG = 1 << 14  # numbers up to which they are added up as they come; NumPy halves and halves again
WORTH = 30e-6  # seconds that one kernel should save in a replay to be worth compiling


def available() -> bool:
    """Whether numba is installed, and its compiler not switched off."""
    on = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
    return on and importlib.util.find_spec("numba") is not None


# ---- the passes ----


def kind_in(x: Any, shape: tuple[int, ...]) -> str | None:
    """``kind_of`` an operand of a loop: float32, or what a comparison gives; also a column."""
    if not isinstance(x, Value) or x.dtype not in (FLOAT, BOOL):
        return kind_of(x, shape, FLOAT)
    if x.shape == (*shape[:-1], 1) != shape:
        return "column" if x.order is None else None
    return kind_of(x, shape, x.dtype)


def elementary(tape: Tape) -> Tape:
    """What is said in more than one way in the one that loops know: a mean is a sum and a
    quotient, a square a product, what is broadcast along its rows for an elementwise call is one
    column, and so are the sums of rows, whether or not the axis is kept."""
    calls: list[Call] = []
    same: dict[Value, Value] = {}
    columns: dict[Value, Value] = {}
    sums: dict[Value, Value] = {}
    for call in tape.calls:
        call = call.of(same)
        if call.fn in EXPRESSIONS and not call.kwargs:
            call = call.of(columns)
        fn, args, kwargs, out = call.fn, call.args, call.kwargs, call.out
        x: Any = args[0] if args else None
        if (fn is np.mean and out.dtype == FLOAT == x.dtype and len(args) == 1 and x.shape
                and kwargs.keys() <= {"axis", "keepdims"} and 0 not in x.shape):
            total = Value(out.shape, out.dtype, out.order)
            calls.append(Call(np.add.reduce, args, {"axis": None, **kwargs}, total,
                              line=call.line))
            many = math.prod(x.shape) // max(1, math.prod(out.shape))
            call = Call(np.divide, (total, float(many)), {}, out, line=call.line)
        elif fn is np.power and out.dtype == FLOAT and args[1:] in ((1,), (2,)) and not kwargs:
            if args[1] == 1:
                same[out] = x
                continue
            call = Call(np.multiply, (x, x), {}, out, line=call.line)
        if fn is np.broadcast_to and x.shape == (*out.shape[:-1], 1):
            columns[out] = x
        elif call.view and x in sums and out.shape == sums[x].shape and _in_order(call, x.shape):
            same[out] = sums[x]
            continue
        elif sums_rows(call) and out.shape == x.shape[:-1]:
            sums[out] = Value((*out.shape, 1), FLOAT)
            calls.append(Call(call.fn, call.args, {"axis": -1, "keepdims": True}, sums[out],
                              line=call.line))
            call = Call(np.reshape, (sums[out], out.shape), {}, out, view=True, line=call.line)
        calls.append(call)
    return Tape(calls, tape.inputs, tape.constants, [same.get(v, v) for v in tape.results])


def _in_order(call, shape):
    """Whether a view of an array of this shape has all its elements, one after the other."""
    like = np.arange(math.prod(shape)).reshape(shape)
    seen = call.fn(like, *call.args[1:], **call.kwargs)
    return np.array_equal(seen.ravel(), like.ravel())


def sums_rows(call: Call) -> bool:
    """Whether it adds up each row of an array of float32 numbers."""
    x: Any = call.args[0] if len(call.args) == 1 else None
    if (call.fn != np.add.reduce or not isinstance(x, Value) or x.order or call.out.order
            or not x.dtype == call.out.dtype == FLOAT or len(x.shape) < 2 or x.shape[-1] < 2
            or not call.kwargs.keys() <= {"axis", "keepdims"}):
        return False
    axis, last = call.kwargs.get("axis", 0), len(x.shape) - 1
    return (axis if isinstance(axis, tuple) else (axis,)) in ((-1,), (last,))


def compiled_calls(tape: Tape) -> Tape:
    """Calls for which there is a loop in native.py."""
    calls = []
    for call in tape.calls:
        if call.fn is softmax_nll and call.out.dtype == FLOAT and (
                chosen(math.prod(call.out.shape) >= MANY)):
            call = Call(softmax_nll_compiled, call.args, {}, call.out, line=call.line,
                        more=call.more)
        elif call.fn is added and _adds_rows(*call.args):
            call = Call(added_rows, call.args, {}, call.out, line=call.line)
        calls.append(call)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _adds_rows(table, ids, g):
    return (isinstance(ids, Value) and ids.dtype is not None and ids.dtype.kind == "i"
            and isinstance(g, Value) and table.dtype == g.dtype == FLOAT
            and len(table.shape) == 2 and g.shape == (*ids.shape, table.shape[1]))


def sum_in_softmax(tape: Tape) -> Tape:
    """The gradient of the bias of logits is the sum of the rows of their slope, which is added up
    while these are in the cache."""
    of: dict[Any, Value] = {}  # rows of a slope -> the slope
    sums: dict[Value, Call] = {}
    for call in tape.calls:
        if call.fn is softmax_nll_compiled:
            of[call.out] = call.out
        elif call.fn is np.reshape and call.args[0] in of:
            of[call.out] = of[call.args[0]]
        elif (rows := _summed(call, tape)) in of and of[rows].shape[1:] == rows.shape[-1:]:
            sums.setdefault(of[rows], call)
    calls = []
    for call in tape.calls:
        if call.out in sums:
            call = Call(call.fn, call.args, {}, call.out, line=call.line,
                        more=(*call.more, sums[call.out].out))
        if call not in sums.values():
            calls.append(call)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _summed(call, tape):
    """The array (..., V) whose rows the call adds up, or None."""
    rows = None
    if call.fn is np.matmul and not call.kwargs and isinstance(call.args[0], Value):
        ones = tape.constants.get(call.args[0])
        rows = call.args[1] if ones is not None and ones.ndim == 1 and np.all(ones == 1) else None
        axes: Any = (0,)
    elif call.fn == np.add.reduce and len(call.args) == 1 and [*call.kwargs] == ["axis"]:
        rows, axes = call.args[0], call.kwargs["axis"]
        axes = axes if isinstance(axes, tuple) else (axes,)
    return rows if isinstance(rows, Value) and axes == tuple(range(len(rows.shape) - 1)) else None


def slices_first(tape: Tape) -> Tape:
    """A slice of a sum is the sum of slices, and so for every elementwise call of which nothing
    but slices is read: the gates, then, are all computed in one chain from the products."""
    while True:
        users, results = tape.users(), set(tape.results)
        calls: list[Call] = []
        pushed: dict[Value, Call] = {}
        for call in tape.calls:
            if call.out not in results and _sliceable(call, users.get(call.out, ())):
                pushed[call.out] = call
            elif call.view and (source := pushed.get(call.args[0])) is not None:
                args = [_sliced(x, call, source, calls) for x in source.args]
                calls.append(Call(source.fn, tuple(args), {}, call.out, line=source.line))
            else:
                calls.append(call)
        tape = Tape(calls, tape.inputs, tape.constants, tape.results)
        if not pushed:
            return tape


def _sliceable(call, users):
    return (bool(users) and all(user.view and user.fn is operator.getitem
                                and basic(user.args[1], len(call.out.shape)) for user in users)
        and Kernel.group(call) and len(call.out.shape) > 1
        and all(isinstance(x, (int, float)) or x.shape in ((), call.out.shape, call.out.shape[-1:])
                for x in call.args))


def basic(index, axes):
    """Whether an index is made of numbers and slices, and leaves the last of these axes."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(values_in(parts)) and all(type(i) in (int, slice) for i in parts) and (
        len(parts) < axes or type(parts[-1]) is slice)


def _sliced(x, call, source, calls):
    """The operand ``x`` of ``source`` where the view ``call`` of its result looks."""
    if not isinstance(x, Value) or x.shape == ():
        return x
    index = call.args[1]
    if x.shape != source.out.shape:  # one row for all
        if not isinstance(index, tuple) or len(index) < len(source.out.shape):
            return x
        index = index[-1]
    part = Value(np.empty(x.shape, np.bool_)[index].shape, x.dtype)
    calls.append(Call(operator.getitem, (x, index), {}, part, view=True, line=call.line))
    return part


def fuse(tape: Tape, times: float = 1, loops: bool = True) -> Tape:
    """Chains of elementwise calls become compiled loops. ``times``: how many times as many steps
    there are where the tape is used, as ``loops``."""
    wide: dict[Value, tuple[int, ...]] = {}  # of a column that is made of sums of rows: these rows

    def group(call):
        x = next((wide[x] for x in call.inputs() if x in wide), None)
        if sums_rows(call) and call.kwargs.get("keepdims") and chosen(
                math.prod(call.args[0].shape) >= MANY and call.args[0].shape[-1] <= LONG):
            wide[call.out] = call.args[0].shape
        elif x and call.out.shape == (*x[:-1], 1) and computes(call, x):
            wide[call.out] = x
        return wide.get(call.out) or Kernel.group(call)

    return gather(tape, Kernel, WORTH / times, loops and times > 1, group)


def computes(call: Call, shape: tuple[int, ...]) -> bool:
    """Whether there is an expression for the call in a loop over arrays of this shape."""
    bools = [isinstance(x, Value) and x.dtype == BOOL for x in call.args]
    return (call.fn in EXPRESSIONS and not call.kwargs and call.out.dtype in (FLOAT, BOOL)
            and not call.out.order and all(kind_in(x, shape) for x in call.args)
            and bools == [call.fn is np.where, False, False][: len(bools)])


# ---- the functions ----


class Kernel(Chain):
    """A chain as a compiled function: a loop over each row, and another one for what is read of
    the sums of rows that it makes."""

    def __init__(self, chain: list[Call], kept: set[Value]):
        made = (call.args[0] if sums_rows(call) else call.out for call in chain)
        shape = max((value.shape for value in made), key=math.prod)
        self.loop = in_loops(chain, shape)
        again = {x for call in chain for x in call.inputs()  # a later loop finds it in memory
                 if x.shape == shape and self.loop.get(x, math.inf) < self._at(call)}
        super().__init__(chain, kept | again, shape)
        self.constants: list[str] = []
        many = 1 + max(self.loop[call.out] for call in chain)
        self.loops: list[list[str]] = [[] for _ in range(many)]
        self.before: list[list[str]] = [[] for _ in range(many)]
        self.loads: list[set[int]] = [set() for _ in range(many)]
        self._many = 0  # names
        self._names = {v: f"a{i}" for i, v in enumerate(self.inputs)}
        self._names |= {v: f"y{i}" for i, v in enumerate(self.outs)}
        self._text: dict[Value, str] = {}  # what is written where a value is read
        for i, (value, kind) in enumerate(zip(self.inputs, self.kinds, strict=True)):
            if kind == "table":  # which may be read as it is, too
                kind = "rows" if value.shape == self.shape else "row"
            self._text[value] = {"full": f"x{i}", "rows": f"a{i}[n, j]",
                                 "row": f"a{i}[0, j]", "column": f"c{i}"}.get(kind or "", f"s{i}")
        uses = Counter(value for call in chain for value in call.inputs())
        for call in chain:
            self._add(call, uses[call.out] > 1)
        self._ends = [max((k for k, loads in enumerate(self.loads) if i in loads), default=0)
                      for i in range(len(self.inputs))]  # fmt: skip
        self._made = [self.loop[out] for out in self.outs]
        self._key = self.source({})

    def kind(self, x: Value) -> str | None:
        return kind_in(x, self.shape)

    @staticmethod
    def group(call: Call) -> Any:
        out = call.out
        if (call.kwargs or out.dtype not in (FLOAT, BOOL) or out.order
                or not chosen(math.prod(out.shape) >= MANY)):
            return None
        if call.fn is looked_up:
            return out.shape if len(out.shape) == 2 and call.args[1].dtype in WORDS else None
        return out.shape if computes(call, out.shape) else None

    @property
    def flat(self) -> bool:
        return super().flat and not any(map(sums_rows, self.chain))

    @property
    def key(self) -> str:
        return self._key

    @property
    def saves(self) -> float:
        return (len(self.chain) - 1) * (2e-6 + math.prod(self.shape) * 0.08e-9)

    def function(self, edited: dict[str, str]) -> Callable:
        return load(self.source(edited))

    def _at(self, call):
        """The loop in which it reads what it reads."""
        return self.loop[call.out] - sums_rows(call)

    def _add(self, call, again):
        """The expression of one call; a statement, where it is kept or read ``again``."""
        out, at = call.out, self._at(call)
        name, self._many = f"v{self._many}", self._many + 1
        if call.fn is looked_up:
            table, ids = (self._names[v] for v in call.args)
            text = f"{table}[c{ids[1:]}, j]"
        elif sums_rows(call):
            self.before[at].append(f"{name} = f(0)")
            self.loops[at].append(f"{name} = plus({name}, {self._read(call.args[0], at)})")
            text, at = name, at + 1
        else:
            text = EXPRESSIONS[call.fn].format(*(self._read(x, at) for x in call.args))
        whole = out.shape == self.shape
        lines, j = (self.loops, "j") if whole else (self.before, "0")
        if text != name and (again or not whole or out in self.kept):
            lines[at].append(f"{name} = {text}")
            text = name
        if out in self.kept:
            lines[at].append(f"{self._names[out]}[n, {j}] = {text}")
        self._text[out] = text

    def _read(self, x, at):
        if not isinstance(x, Value):
            text = repr(float(x))
            if text not in self.constants:
                self.constants.append(text)
            return f"k{self.constants.index(text)}"
        if x in self.loop and x.shape == self.shape and self.loop[x] < at:
            return f"{self._names[x]}[n, j]"
        if self._text[x].startswith("x"):  # read before anything is written over it
            self.loads[at].add(int(self._text[x][1:]))
        return self._text[x]

    def may_edit(self, out: Value, source: Value) -> bool:
        if source not in self.inputs:
            return False
        i = self.inputs.index(source)
        return self.kinds[i] == "full" and self._ends[i] <= self._made[self.outs.index(out)]

    def source(self, edited: dict[str, str]) -> str:
        """The function; ``edited``: names of results, and the operands that they are written
        over."""
        arguments = [f"a{i}" for i in range(len(self.inputs))]
        arguments += [f"y{i}" for i in range(len(self.outs)) if f"y{i}" not in edited]
        lines = [f'k{i} = np.float32("{x}")' for i, x in enumerate(self.constants)]
        lines += ["", "", "@compiled", f"def kernel(R, C, {', '.join(arguments)}):"]
        for i, kind in enumerate(self.kinds):
            if kind == "number":
                lines.append(f"    s{i} = np.float32(a{i})")
            elif kind == "scalar":
                lines.append(f"    s{i} = a{i}[0, 0]")
        lines.append("    for n in range(R):")
        lines += [f"        c{i} = a{i}[n, 0]" for i, kind in enumerate(self.kinds)
                  if kind in ("ids", "column")]
        for before, loop, loads in zip(self.before, self.loops, self.loads, strict=True):
            lines += [f"        {line}" for line in before]
            if loop:
                lines.append("        for j in range(C):")
                lines += [f"            x{i} = a{i}[n, j]" for i in sorted(loads)]
                lines += [f"            {line}" for line in loop]
        for result, operand in edited.items():
            lines = [line.replace(f"{result}[", f"{operand}[") for line in lines]
        kinds = [*zip(self.kinds, self.inputs, strict=True)]
        kinds += [("full", out) for i, out in enumerate(self.outs) if f"y{i}" not in edited]
        words = ["p[0]", "p[1]"]
        for i, (kind, value) in enumerate(kinds):
            at = f"p[{2 + 3 * i}]"
            words.append(f"doubles({at})[0]" if kind == "number" else
                         f"carray({WORDS[value.dtype]}({at}), (p[{3 + 3 * i}], p[{4 + 3 * i}]))")
        outs = [arguments.index(edited.get(f"y{i}", f"y{i}")) for i in range(len(self.outs))]
        lines += ["", "", "def entry(at):", "    p = longs(at)", f"    kernel({', '.join(words)})",
                  "", "", f"written = {outs}",
                  f"by_rows = {[kind in ('full', 'column', 'ids') for kind, _ in kinds]}"]
        return PRELUDE + "\n".join(lines) + "\n"


def in_loops(chain: list[Call], shape: tuple[int, ...]) -> dict[Value, int]:
    """In which of the loops over a row each value is made, as late as it is read first; of a
    column, before which."""
    loop: dict[Value, int] = {}
    for call in chain:
        loop[call.out] = max((loop[x] for x in call.inputs() if x in loop), default=0) + (
            sums_rows(call))
    reads: dict[Value, int] = {}
    for call in reversed(chain):
        out = call.out
        if out.shape == shape:
            loop[out] = max(loop[out], reads.get(out, 0))
        for x in call.inputs():
            at = loop[out] - sums_rows(call)
            reads[x] = min(at, reads.get(x, at))
    return loop


# tanh: the quotient of polynomials that Eigen and XLA use for float32, within 5 units of the last
# place; exp as in native.py, for all numbers. Both are vectorised, which those of math under
# numba are not. NaN stays NaN: no fastmath.
PRELUDE = '''"""Made by tg.jit."""

import numpy as np
from numba import carray
from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder

from tinygrad_rnn.jit.native import bools, doubles, floats, longs

f = np.float32


class Apart(CompilerBase):
    def define_pipelines(self):
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"},
                pipeline_class=Apart)


@njit(error_model="numpy", fastmath={"contract"})
def tanh(u):
    x = f(7.90531110763549805) if u > f(7.90531110763549805) else u
    x = f(-7.90531110763549805) if x < f(-7.90531110763549805) else x
    s = x * x
    p = f(-2.76076847742355e-16)
    p = p * s + f(2.00018790482477e-13)
    p = p * s + f(-8.60467152213735e-11)
    p = p * s + f(5.12229709037114e-08)
    p = p * s + f(1.48572235717979e-05)
    p = p * s + f(6.37261928875436e-04)
    p = p * s + f(4.89352455891786e-03)
    q = f(1.19825839466702e-06)
    q = q * s + f(1.18534705686654e-04)
    q = q * s + f(2.26843463243900e-03)
    q = q * s + f(4.89352518554385e-03)
    y = x * p / q
    y = f(1) if u > f(9) else y
    return f(-1) if u < f(-9) else y


@njit(error_model="numpy", fastmath={"contract"})
def exp(u):
    x = f(89) if u > f(89) else u
    x = f(-105) if x < f(-105) else x
    n = np.floor(x * f(1.44269504) + f(0.5))
    r = x - n * f(0.693359375) + n * f(2.12194440e-4)
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    p = p * r * r + r + f(1)
    half = np.int32(n) >> np.int32(1)  # times 2^n in two steps: it may be less than 2^-126
    rest = np.int32(n) - half
    p *= np.int32((half + np.int32(127)) << np.int32(23)).view(f)
    p *= np.int32((rest + np.int32(127)) << np.int32(23)).view(f)
    return p if u == u else u


@njit(error_model="numpy", fastmath={"contract", "reassoc"})
def plus(a, b):  # of a sum, several of which may run side by side
    return a + b


@njit(error_model="numpy")
def minimum(a, b):
    return a if a < b or a != a else b


@njit(error_model="numpy")
def maximum(a, b):
    return a if a > b or a != a else b


'''


@cache
def load(source: str):
    """The compiled function of a source. The source lies in the cache folder, where numba keeps
    the machine code beside it; where nobody can write, it is compiled for this process alone."""
    name = f"kernel_{hashlib.sha256(source.encode()).hexdigest()[:20]}.py"
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != source:  # or is cut off
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as f:
                f.write(source)
            os.replace(f.name, path)
    except OSError:
        path, source = Path(name), source.replace("cache=True, ", "")
    module = ModuleType(f"tinygrad_rnn_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where numba looks for it when it reads machine code
    exec(compile(source, str(path), "exec"), vars(module))
    return spared(vars(module)["kernel"])


def spared(function):
    """A compiled function that is compiled anew where what lies on disk cannot be read."""
    cache: Any = getattr(function, "_cache", None)
    read = getattr(cache, "load_overload", None)
    if read is not None:
        def load_overload(*args):
            try:
                return read(*args)
            except Exception:  # cut off, or of something else: numba unpickles it
                with contextlib.suppress(OSError):
                    cache.flush()
                return None

        cache.load_overload = load_overload
    return function


def cache_folder() -> Path:
    """Where compiled loops are kept: the user's cache folder of this system."""
    home = Path.home()
    root = {"darwin": home / "Library" / "Caches",
            "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))}  # fmt: skip
    default = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    return root.get(sys.platform, default) / "tinygrad_rnn" / "kernels"
