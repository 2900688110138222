"""Elementwise chains as compiled loops: one pass over memory instead of one for each call.

Optional: it needs numba (the extra [fast]), and float32. A chain of calls on arrays of one shape
becomes one function, which goes through them row by row; each value that is kept has a loop of its
own over the row, which is in the cache then. (One loop for all of them would not be vectorised:
the compiler cannot know that the results do not overlap the operands, and checks at run time only
few pairs.) Functions are compiled once and kept on disk.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import operator
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from .tape import Call, Tape, Value

__all__ = ["Kernel", "as_rows", "available", "fuse", "load", "rows", "slices_first", "width"]

EXPRESSIONS = {
    np.add: "({} + {})", np.subtract: "({} - {})", np.multiply: "({} * {})",
    np.divide: "({} / {})", np.negative: "(-{})", np.positive: "{}", np.tanh: "tanh({})",
    np.sqrt: "np.sqrt({})",
}  # fmt: skip
FLOAT = np.dtype(np.float32)
MANY = 512  # elements below which a call is left alone
WORTH = 100e-6  # seconds that one kernel should save in a replay to be worth compiling
LOADS = 6  # arrays that one loop reads at most
CHAIN = 60  # calls in one kernel at most


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


# ---- the passes ----


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
    if not users or not _fusable(call) or len(call.out.shape) < 2:
        return False
    return (all(user.view and user.fn is operator.getitem
                and _basic(user.args[1], len(call.out.shape)) for user in users)
        and all(isinstance(x, (int, float)) or x.shape in ((), call.out.shape, call.out.shape[-1:])
                for x in call.args))


def _basic(index, axes):
    """Whether an index is made of numbers and slices, and leaves the last of these axes."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(type(i) in (int, slice) for i in parts) and (
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


def fuse(tape: Tape) -> Tape:
    """Chains of elementwise calls of one shape become one call each, of a ``Kernel``.

    A chain is held back until something else reads of it. Its calls so come later than they
    were, which changes nothing: no value on a tape is ever overwritten.
    """
    users, results = tape.users(), set(tape.results)
    calls: list[Call | Kernel] = []
    chains: dict[tuple, list[Call]] = {}
    made: dict[Value, tuple] = {}  # by a call of an open chain: its shape

    def close(shape):
        chain = chains.pop(shape)
        for call in chain:
            del made[call.out]
        inside = {call.out for call in chain}
        kept = [out for out in inside if out in results or any(
            user.out not in inside for user in users.get(out, ()))]
        kernel = Kernel(chain, kept)
        calls.append(kernel)

    for call in tape.calls:
        member = _fusable(call)
        if member and len(chains.get(call.out.shape, ())) == CHAIN:
            close(call.out.shape)
        for value in call.inputs():
            if value in made and not (member and made[value] == call.out.shape):
                close(made[value])
        if member:
            chains.setdefault(call.out.shape, []).append(call)
            made[call.out] = call.out.shape
        else:
            calls.append(call)
    for shape in list(chains):
        close(shape)

    saved: dict[str, float] = {}
    for kernel in calls:
        if isinstance(kernel, Kernel):
            saved[kernel.key] = saved.get(kernel.key, 0) + kernel.saves
    fused: list[Call] = []
    for item in calls:
        if isinstance(item, Call):
            fused.append(item)
        elif len(item.chain) > 1 and saved[item.key] >= WORTH:
            first, *more = item.outs
            fused.append(Call(item, tuple(item.inputs), {}, first, line=item.chain[0].line,
                              more=tuple(more)))
        else:
            fused += item.chain
    return Tape(fused, tape.inputs, tape.constants, tape.results)


def _fusable(call):
    out = call.out
    if call.fn not in EXPRESSIONS or call.kwargs or out.dtype != FLOAT or out.order is not None:
        return False
    return math.prod(out.shape) >= MANY and all(_kind(x, out.shape) for x in call.args)


def _kind(x, shape):
    """How an operand meets a result of this shape; None if it cannot be in a chain."""
    if type(x) in (int, float):
        return "constant"
    if not isinstance(x, Value) or x.shape is None:
        return None
    if x.dtype is None:
        return "number"
    if x.dtype != FLOAT:
        return None
    if x.shape == ():
        return "scalar"
    if x.shape == shape:
        return "full" if x.order is None else None
    if x.shape[-1] == shape[-1] and math.prod(x.shape) == shape[-1] and len(x.shape) <= len(shape):
        return "row"
    return None


# ---- the functions ----


class Kernel:
    """One chain of calls as a compiled function of its operands, which writes the values that are
    read outside of it."""

    def __init__(self, chain: list[Call], kept: list[Value]):
        self.chain = chain
        shape = self.shape = chain[0].out.shape
        made = {call.out for call in chain}
        self.inputs: list[Value] = list(dict.fromkeys(
            v for call in chain for v in call.inputs() if v not in made))
        self.kinds = [_kind(v, shape) for v in self.inputs]
        self.constants: list[str] = []
        self.temporaries: list[Value] = []
        self._uses: dict[Value, int] = {}
        for call in chain:
            for value in call.inputs():
                self._uses[value] = self._uses.get(value, 0) + 1
        self._kept = set(kept)
        self._text: dict[Value, tuple[str, frozenset[str]]] = {}
        self.statements: list[tuple[str, str, frozenset[str]]] = []  # what, from, arrays read
        self.outs = [call.out for call in chain if call.out in self._kept]
        self._names = {v: f"a{i}" for i, v in enumerate(self.inputs)}
        self._names |= {v: f"y{i}" for i, v in enumerate(self.outs)}
        for call in chain:
            self._add(call)
        size = math.prod(shape)
        self.saves = (len(chain) - 1) * (0.5e-6 + size * 0.08e-9)
        self.key = self.source({})
        self.__name__ = f"fused_{len(chain)}"

    def _add(self, call):
        """The expression of one call; a statement, where it is kept or read more than once."""
        loads = [self._read(x) for x in call.args]
        while len(frozenset().union(*(names for _, names in loads))) > LOADS:
            widest = max(range(len(loads)), key=lambda i: len(loads[i][1]))
            self._store(call.args[widest])
            loads = [self._read(x) for x in call.args]
        text = EXPRESSIONS[call.fn].format(*(text for text, _ in loads))
        names = frozenset().union(*(names for _, names in loads))
        self._text[call.out] = text, names
        simple = text.count("(") == 1 and call.fn in (np.add, np.subtract, np.multiply)
        if call.out in self._kept or (self._uses.get(call.out, 0) > 1 and not simple):
            self._store(call.out)

    def _store(self, value):
        name = self._names.get(value)
        if name is None:
            name = self._names[value] = f"t{len(self.temporaries)}"
            self.temporaries.append(value)
        text, names = self._text[value]
        row = "0" if name[0] == "t" else "n"
        self.statements.append((f"{name}[{row}, j]", text, names))
        self._text[value] = f"{name}[{row}, j]", frozenset((name,))

    def _read(self, x):
        if not isinstance(x, Value):
            text = repr(float(x))
            if text not in self.constants:
                self.constants.append(text)
            return f"k{self.constants.index(text)}", frozenset()
        if x in self._text:
            return self._text[x]
        name = self._names[x]
        kind = self.kinds[self.inputs.index(x)]
        if kind in ("number", "scalar"):
            return f"s{name[1:]}", frozenset()
        return f"{name}[{'0' if kind == 'row' else 'n'}, j]", frozenset((name,))

    def may_edit(self, out: Value, source: Value) -> bool:
        """Whether ``out`` may be written over the operand ``source``: nothing reads it later."""
        if source not in self.inputs or self.kinds[self.inputs.index(source)] != "full":
            return False
        place, name = f"{self._names[out]}[n, j]", self._names[source]
        at = next(i for i, (what, *_) in enumerate(self.statements) if what == place)
        return not any(name in names for _, _, names in self.statements[at + 1 :])

    def source(self, edited: dict[str, str]) -> str:
        """The function; ``edited``: names of results, and the operands that they are written
        over."""
        arguments = [f"a{i}" for i in range(len(self.inputs))]
        arguments += [f"y{i}" for i in range(len(self.outs)) if f"y{i}" not in edited]
        arguments += [f"t{i}" for i in range(len(self.temporaries))]
        lines = [f'k{i} = np.float32("{x}")' for i, x in enumerate(self.constants)]
        lines += ["", "", "@compiled", f"def kernel(R, C, {', '.join(arguments)}):"]
        for i, kind in enumerate(self.kinds):
            if kind == "number":
                lines.append(f"    s{i} = np.float32(a{i})")
            elif kind == "scalar":
                lines.append(f"    s{i} = a{i}[0, 0]")
        lines.append("    for n in range(R):")
        for what, text, _ in self.statements:
            lines += ["        for j in range(C):", f"            {what} = {text}"]
        source = "\n".join(lines) + "\n"
        for result, operand in edited.items():
            source = source.replace(f"{result}[", f"{operand}[")
        return PRELUDE + source


# tanh: the quotient of polynomials that Eigen and XLA use for float32, within 5 units of the last
# place, and vectorised, which math.tanh under numba is not. NaN stays NaN: no fastmath.
PRELUDE = '''"""Made by tg.jit."""

import numpy as np
from numba import njit

compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
f = np.float32


@njit(inline="always", error_model="numpy", fastmath={"contract"})
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
        if not path.exists():
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as f:
                f.write(source)
            os.replace(f.name, path)
    except OSError:
        path, source = Path(name), source.replace("cache=True, ", "")
    module = ModuleType(f"tinygrad_rnn_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where numba looks for it when it reads machine code
    exec(compile(source, str(path), "exec"), vars(module))
    return vars(module)["kernel"]


def cache_folder() -> Path:
    """Where compiled loops are kept: the user's cache folder of this system."""
    home = Path.home()
    root = {"darwin": home / "Library" / "Caches",
            "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))}  # fmt: skip
    default = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache"))
    return root.get(sys.platform, default) / "tinygrad_rnn" / "kernels"


# ---- a call of one ----


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
    view = x.view()
    try:
        view.shape = R, C
    except AttributeError:
        return None
    step, inner = view.strides
    if inner != x.itemsize or step < C * inner or step % inner:
        return None
    return np.lib.stride_tricks.as_strided(view, (R, step // inner), (step, inner))
