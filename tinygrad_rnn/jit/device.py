"""The recorded step on a GPU: the same tape and plan, replayed on arrays of CuPy's.

A function is recorded on copies that lie on the host, since a tape says nothing of where arrays
are. It is then divided: calls that read nothing of the device (checks of ids, masks of dropout, the
learning rate at this step) stay NumPy's, and what the others read of them goes over in one way,
numbers all in one array. The rest is a ``Program`` as on a CPU, in planned memory of the device,
with elementwise chains as kernels, and is captured as a CUDA graph where the library has such.
"""

from __future__ import annotations

import hashlib
import math
import operator
import sys
import weakref
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from ..tensor import host
from . import JitError
from .chains import Chain, gather
from .memory import Block, joined
from .outs import lists_as_arrays, opened, written
from .passes import compute_constants, drop_unused, longer_stack, one_join, share, sooner
from .proof import interpret
from .replay import Program
from .state import foreign
from .tape import Call, Tape, Value, name_of, replace

__all__ = ["DeviceBlock", "Divided", "library_of", "on_host"]

PASSES = (opened, lists_as_arrays, drop_unused, compute_constants, one_join, share, longer_stack)
CAPTURES = 8  # of one program, after which it is replayed call by call


def library_of(x: Any) -> Any:
    """The module that an array is of: cupy."""
    return sys.modules.get(type(x).__module__.partition(".")[0])


# ---- dividing ----


class Divided:
    """A tape, compiled for inputs of which some lie on the device: as ``Program`` to those who run
    it. ``homes`` as there."""

    def __init__(self, tape: Tape, homes: dict[Value, Value], inputs: list[Any],
                 block: Block) -> None:
        self.away = [foreign(x) for x in inputs]
        self.like = np.empty(0, dtype=np.uint8, like=inputs[self.away.index(True)])
        self.moved: list[Value] = []  # arrays that go over
        self.numbers: dict[np.dtype, list[Value]] = {}  # that go over, in one array of a dtype
        given = [v for v, away in zip(tape.inputs, self.away, strict=True) if away]
        there = set(given)
        inside = calls_there(tape, there)
        begin, calls, constants = self._over([c for c in tape.calls if c in inside], there,
                                             tape.constants)
        for new, home in homes.items():
            if (new in there) > (home in there):
                raise JitError("jit: an array of the host gets its new value from the device, which"
                               " a replay would have to wait for; return it instead")
        returned = tape.results[: len(tape.results) - len(homes)]
        # what does not hang on values of the device was made beside them, such as ones_like
        made = [v for v in returned if v.dtype is not None and v.dtype.kind == "f"]
        made += [new for new, home in homes.items() if home in there]
        self.moved += [v for v in dict.fromkeys(made) if v not in there and v not in self.moved]
        there.update(made)
        self.results = [v in there for v in returned]
        homes_there = {new: home for new, home in homes.items() if home in there}
        homes_here = {new: home for new, home in homes.items() if home not in there}

        here = [v for v in returned if v not in there]
        self.returned = len(here)
        here += self.moved + [v for kind in self.numbers.values() for v in kind] + [*homes_here]
        self.host = Program(Tape([c for c in tape.calls if c not in inside],
                                 [v for v in tape.inputs if v not in given], tape.constants, here),
                            homes_here)
        device = Tape(calls, given + self.moved + begin,
                      constants, [v for v in returned if v in there] + [*homes_there])
        library = library_of(self.like)
        if hasattr(library, "ElementwiseKernel"):
            device = gather(device, Kernel, 0.0)
        self.tape = sooner(compute_constants(written(device)))
        if not isinstance(block, DeviceBlock) or type(block.bytes) is not type(self.like):
            block = DeviceBlock(self.like)
        self.device = DeviceProgram(self.tape, homes_there, block)
        self.memory, self.nbytes = self.device.memory, self.device.nbytes
        self.block = self.device.block
        self.replayed = Captured(
            self.device.run, library, {device.inputs.index(v) for v in homes_there.values()},
            new=range(len(given), len(device.inputs)))

    def _over(self, calls, there, known):
        """The calls as they are on the device: the values of arrays of numbers, which come first,
        the calls, and their constants."""
        items: dict[tuple[Value, np.dtype], Value] = {}
        constants: dict[Value, Any] = {}

        def over(v):
            if v in there or v in constants or v in self.moved:
                return v
            if v in known:
                constants[v] = np.asarray(known[v], like=self.like)
            elif v.dtype is not None:
                self.moved.append(v)
            else:  # a number, which is weak: it has the dtype of the array that it meets
                kind = number_kind(call, there)
                if (v, kind) not in items:
                    self.numbers.setdefault(kind, []).append(v)
                return items.setdefault((v, kind), Value((), kind))
            return v

        made = []
        for call in calls:
            args, kwargs = replace((call.args, call.kwargs), over)
            made.append(Call(call.fn, args, kwargs, call.out, call.effect, call.view, call.line))
        packed = {kind: Value((len(numbers),), kind) for kind, numbers in self.numbers.items()}
        unpack = [Call(operator.getitem, (packed[kind], self.numbers[kind].index(v)), {}, item,
                       view=True) for (v, kind), item in items.items()]
        return list(packed.values()), unpack + made, constants

    def run(self, inputs: list[Any]) -> list[Any]:
        """What ``Program.run`` gives: arrays where they are, numbers on the host."""
        here, rest = self._handed_over(inputs)
        there = iter(self.replayed(rest))
        ours = iter(here)
        return [next(there if is_there else ours) for is_there in self.results]

    def _handed_over(self, inputs):
        """What the host returns, and what the device reads."""
        made = self.host.run([x for x, away in zip(inputs, self.away, strict=True) if not away])
        returned, made = made[: self.returned], made[self.returned :]
        rest = [x for x, away in zip(inputs, self.away, strict=True) if away]
        rest += [np.asarray(x, like=self.like) for x in made[: len(self.moved)]]
        at = len(self.moved)
        for kind, numbers in self.numbers.items():
            rest.append(np.asarray(np.array(made[at : at + len(numbers)], kind), like=self.like))
            at += len(numbers)
        return returned, rest

    def profile(self, inputs: list[Any]) -> list[tuple[float, Call]]:
        """Seconds that calls took to be handed to the device, and the calls, slowest first."""
        return self.device.profile(self._handed_over(inputs)[1])


def calls_there(tape: Tape, there: set[Value]) -> set[Call]:
    """The calls that are done on the device, where the values ``there`` are, to which theirs are
    added: what reads of them; and what reads nothing but arrays that go over anyway, and is read
    there alone, so that as few as possible do."""
    calls = set()
    for call in tape.calls:
        if not there.isdisjoint(call.inputs()):
            calls.add(call)
            there.update(call.outs)
    over = {v for call in calls for v in call.inputs() if v not in there}
    follow = [call for call in tape.calls if call not in calls and not call.effect
              and _follows(call, over, tape.constants)]
    users, results = tape.users(), set(tape.results)
    for call in reversed(follow):
        if call.out not in results and calls.issuperset(users.get(call.out, ())):
            calls.add(call)
    there.update(call.out for call in follow if call in calls)
    return calls


def _follows(call, over, constants):
    """Whether it reads nothing but arrays that are over; what it makes then is, too."""
    arrays = [v for v in call.inputs() if v not in constants]
    if not arrays or not all(v in over and v.dtype is not None for v in arrays) or call.more:
        return False
    over.add(call.out)
    return True


def number_kind(call: Call, there: set[Value]) -> np.dtype:
    """The dtype in which a call on the device reads a Python number."""
    kinds = [call.out.dtype, *(v.dtype for v in call.inputs() if v in there)]
    kind = next((kind for kind in kinds if kind is not None and kind.kind == "f"), None)
    if kind is None or call.fn is operator.getitem:
        raise JitError(f"{call.line or 'jit'}: {name_of(call.fn)} of a number that changes, which a"
                       " replay on the device has in an array of floats")
    return kind


def on_host(tape: Tape, homes: dict[Value, Value], noise: Any) -> Callable:
    """``interpret`` for inputs of the device: on copies on the host, by NumPy."""
    run = interpret(tape, homes, noise)
    edited = {tape.inputs.index(home) for home in homes.values()}

    def replay(inputs):
        like = next(x for x in inputs if foreign(x))
        copies = [host(x) if foreign(x) else x for x in inputs]
        made = run(copies)
        for i in edited:
            if foreign(inputs[i]):
                inputs[i][...] = np.asarray(copies[i], like=like)
        return [np.asarray(x, like=like) if isinstance(x, np.ndarray) else x for x in made]

    return replay


# ---- planned memory, and kernels ----


class DeviceBlock(Block):
    """Memory of the device, in which also numbers lie."""

    least = 0

    def __init__(self, like: Any, nbytes: int = 0) -> None:
        self.like, self.bytes = like, np.empty(nbytes, dtype=np.uint8, like=like)

    def grown(self, nbytes: int) -> Block:
        return self if nbytes <= len(self.bytes) else DeviceBlock(self.like, nbytes + nbytes // 8)


class DeviceProgram(Program):
    """A tape of the device as a Python function: calls as CuPy has them, chains as kernels."""

    copied = "np.copy({})"

    def _function(self, fn):
        return fn

    def _join(self, call):
        """Piece by piece: of more than eight at once CuPy sends over where they lie, which has no
        place in a graph, and fewer it copies so itself."""
        place, target = self.memory.place, self.memory.array[call.out]
        pieces = list(joined(call))
        for piece, index in pieces:
            if place.get(piece) != (call.out, index):
                line = f"np.copyto({self._object(target[index])}, {self.names[piece]})"
                self.lines.append((line, call))
        if not pieces:
            self.lines.append((self._line(call, self.names[call.out]), call))

    def _number(self, x, out):
        return x  # it goes with the call

    def _chain(self, call):
        for out in call.outs:
            if self.memory.how[out] == "home":
                self.names[out] = self.names[self.homes[out]]
        args = [self.names[v] for v in (*call.fn.inputs, *call.outs)]
        kernel = compiled(library_of(self.block.bytes), *call.fn.kernel)
        self.lines.append((f"{self._object(kernel)}({', '.join(args)})", call))


# What is done with operands that are names.
EXPRESSIONS = {
    np.add: "{} + {}", np.subtract: "{} - {}", np.multiply: "{} * {}", np.divide: "{} / {}",
    np.negative: "-{}", np.positive: "{}", np.square: "{0} * {0}", np.absolute: "fabs({})",
    np.tanh: "tanh({})", np.exp: "exp({})", np.log: "log({})", np.sqrt: "sqrt({})",
    np.expm1: "expm1({})", np.log1p: "log1p({})", np.sin: "sin({})", np.cos: "cos({})",
    np.equal: "{} == {}", np.not_equal: "{} != {}", np.less: "{} < {}", np.greater: "{} > {}",
    np.less_equal: "{} <= {}", np.greater_equal: "{} >= {}", np.where: "{} ? {} : {}",
    np.minimum: "{0} < {1} || {0} != {0} ? {0} : {1}",  # NaN stays NaN
    np.maximum: "{0} > {1} || {0} != {0} ? {0} : {1}",
}  # fmt: skip
C = {"float32": "float", "float64": "double", "bool": "bool"}


class Kernel(Chain):
    """A chain as the body of an ElementwiseKernel: in C, for one element. ``kernel`` has the
    parameters that are read, those that are written, the body and a name."""

    def __init__(self, chain: list[Call], kept: set[Value]) -> None:
        super().__init__(chain, kept)
        kind = C[number_type(chain[0]).name]
        names = {v: f"a{i}" for i, v in enumerate(self.inputs)}
        lines = []
        for i, call in enumerate(chain):
            names[call.out] = f"v{i}"
            operands = [names[x] if isinstance(x, Value) else f"({kind}) {float(x)!r}"
                        for x in call.args]
            made = EXPRESSIONS[call.fn].format(*operands)
            lines.append(f"const {C[call.out.dtype.name]} v{i} = {made};")
        # last: operands are references, and a result may lie where one of them does
        lines += [f"y{i} = {names[out]};" for i, out in enumerate(self.outs)]
        body = "\n".join(lines)
        read = ", ".join(f"{v.dtype} a{i}" for i, v in enumerate(self.inputs))
        made = ", ".join(f"{v.dtype} y{i}" for i, v in enumerate(self.outs))
        name = f"chain_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        self.kernel = read, made, body, name

    @staticmethod
    def group(call: Call) -> Any:
        kind = None if call.kwargs or call.more or call.fn not in EXPRESSIONS else number_type(call)
        accepts = kind is not None and call.out.order is None and all(
            x.dtype == (np.bool_ if call.fn is np.where and i == 0 else kind)
            if isinstance(x, Value) else type(x) in (int, float) and math.isfinite(x)
            for i, x in enumerate(call.args))
        return (call.out.shape, kind) if accepts else None

    def kind(self, x: Value) -> str:
        return "full" if x.shape == self.shape and x.order is None else "stretched"

    @property
    def key(self) -> str:
        return self.kernel[-1]

    def may_edit(self, out: Value, source: Value) -> bool:
        return source.dtype == out.dtype and source in self.inputs and (
            self.kinds[self.inputs.index(source)] == "full")


def number_type(call: Call) -> Any:
    """The dtype of the floats that a call computes with; None where these are of several, or of
    one that kernels have not."""
    kinds = {x.dtype for x in (*call.args, call.out)
             if isinstance(x, Value) and x.dtype != np.bool_}
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind is not None and kind.name in C else None


@cache
def compiled(library: Any, read: str, made: str, body: str, name: str) -> Any:
    return library.ElementwiseKernel(read, made, body, name)


# ---- CUDA graphs ----


class Captured:
    """``run(inputs)``, captured as a CUDA graph, which has the addresses of all arrays in it.

    So what comes from the host (``new``), and each input that is another array than before, such as
    a state, has memory of its own, into which it is copied. Inputs that the program edits, such as
    weights, stay where they are; where they are others, it is captured again. What cannot be
    captured, such as a check that has to be waited for, is run call by call.
    """

    def __init__(self, run: Callable, library: Any, edited: set[int], new: Iterable[int]) -> None:
        self.plain, self.edited = run, edited
        self.library = library
        self.cuda: Any = getattr(library, "cuda", None)
        self.runs = self.captures = 0
        self.inputs: list[Any] = []  # weakly: a Tensor asks who else holds its array
        self.own: dict[int, Any] = dict.fromkeys(new)
        self.graph: Any = None
        self.how = "call by call" if self.cuda else "call by call: this library has no graphs"
        self.made: list[Any] = []  # what the graph makes, always in the same place
        self.pool: Any = None  # nobody else may get memory that the graph uses

    def __call__(self, inputs: list[Any]) -> list[Any]:
        self.runs += 1
        if self.cuda is None or self.runs <= 2:  # kernels are compiled, and the proof is made
            return self.plain(inputs)
        for i, array in self.own.items():
            if array is None:
                self.own[i] = np.copy(inputs[i])
            else:
                np.copyto(array, inputs[i])
        inputs = [self.own.get(i, x) for i, x in enumerate(inputs)]
        others = [i for i, (x, y) in enumerate(zip(inputs, self.inputs, strict=False))
                  if x is not y()]
        if self.graph is not None and not others:
            self.graph.launch()
            return [np.copy(x) for x in self.made]
        for i in others:
            if i not in self.edited:
                inputs[i] = self.own[i] = np.copy(inputs[i])
        return self._capture(inputs)

    def _capture(self, inputs):
        self.graph, self.captures = None, self.captures + 1
        self.inputs = [weakref.ref(x) for x in inputs]
        pool = self.cuda.MemoryPool()
        self.cuda.get_current_stream().synchronize()
        stream = self.cuda.Stream(non_blocking=True)
        with self.cuda.using_allocator(pool.malloc), stream:
            made = self.plain(inputs)  # this call itself
            try:
                self.cuda.set_pinned_memory_allocator(_refuse)
                stream.begin_capture()
                try:
                    self.made = self.plain(inputs)
                finally:
                    host_memory = self.library.get_default_pinned_memory_pool()
                    self.cuda.set_pinned_memory_allocator(host_memory.malloc)
                    graph = stream.end_capture()
                self.how = "as one CUDA graph"
            except Exception as error:  # something in it waits, or has no place in a graph
                graph, self.how = None, f"call by call: {type(error).__name__}: {error}"
        stream.synchronize()
        self.pool, self.graph = pool, graph
        if graph is not None and self.captures == CAPTURES:
            graph, self.how = None, f"call by call: after {CAPTURES} graphs other arrays came again"
        if graph is None:
            self.cuda = self.graph = None
        return made


def _refuse(nbytes: int) -> None:
    """Memory of the host that something is sent from: a graph would send what lies there then."""
    raise JitError(f"{nbytes} bytes of the host have no place in a graph")
