"""A function under ``tg.jit``: its recordings, and how one is made and replayed."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import random as stdlib_random
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import numpy as np

from .. import random
from ..tensor import Tensor
from . import JitError
from .loops import available, fuse, slices_first
from .memory import Block
from .passes import bias_in_softmax, compute_constants, drop_unused, keep_softmax, one_join, share
from .recording import Recorder, RecordingArray, RecordingGenerator, RecordingNumber
from .replay import Program, describe
from .state import Place, Reached, walk
from .tape import Call, Tape, Value

__all__ = ["Jitted"]

P = ParamSpec("P")
R = TypeVar("R")

LARGE = 10_000  # elements of a constant that is worth a warning
PASSES = (drop_unused, compute_constants, one_join, share, keep_softmax, bias_in_softmax)
FUSION = (slices_first, share, drop_unused, fuse)  # if numba is installed


class Jitted(Generic[P, R]):
    """A function under ``jit``."""

    def __init__(self, f: Callable[P, R], fallback: str | None, cache_size: int,
                 fast: bool) -> None:
        functools.update_wrapper(self, f)
        self.f, self.fallback, self.cache_size, self.fast = f, fallback, cache_size, fast
        self.recordings: OrderedDict[tuple, Recording | None] = OrderedDict()
        self._lock = threading.RLock()  # one call at a time: they share memory and what they edit
        self._block = Block()
        self._last: Recording | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            arguments = Arguments(args, kwargs)
            reached = walk(self.f, arguments.tensors)
            key = (arguments.key, reached.signature())
            if key in self.recordings:
                self.recordings.move_to_end(key)
            else:
                self._record(key, reached, arguments)
            recording = self.recordings[key]
            if recording is None:
                return self.f(*args, **kwargs)
            self._last = recording
            return recording.replay(reached, arguments)

    def _record(self, key, reached, arguments):
        try:
            recording = record(self.f, reached, arguments, self.fast, self._block)
        except JitError:
            if self.fallback is None:
                raise
            recording = None
        else:
            self._block = recording.program.memory.block
        self.recordings[key] = recording
        while len(self.recordings) > self.cache_size:
            self.recordings.popitem(last=False)

    def explain(self, slowest: int = 10) -> None:
        """Print what the last recording holds: calls, what was left out, memory, slowest calls."""
        with self._lock:
            if self._last is None:
                print("nothing is recorded yet: call the function first")
            else:
                print(self._last.explain(slowest))


class Arguments:
    """The arguments of a call: arrays and floats come in anew, the rest is signature."""

    def __init__(self, args, kwargs):
        self.tensors: list[Tensor] = []
        self.values: list[Any] = []
        key: list[Any] = []
        self.structure = self._read((args, kwargs), key)
        self.key = tuple(key)

    def _read(self, x, key):
        if isinstance(x, Tensor):
            self.tensors.append(x)
            key.append(("tensor", x.shape, x.dtype))
            return x
        if isinstance(x, (np.ndarray, np.generic)):
            x = np.asarray(x)
        if isinstance(x, np.ndarray) or type(x) is float:
            self.values.append(x)
            key.append((type(x), np.shape(x), getattr(x, "dtype", None)))
            return _Input(len(self.values) - 1)
        if isinstance(x, (tuple, list)):
            key.append((type(x), len(x)))
            return type(x)(self._read(item, key) for item in x)
        if isinstance(x, dict):
            key.append((dict, tuple(x)))
            return {k: self._read(v, key) for k, v in x.items()}
        try:
            hash(x)
        except TypeError:
            key.append(("object", id(x)))
        else:
            key.append((type(x), x))
        return x

    def fill(self, inputs):
        """args and kwargs with recording arrays in the places of the arrays."""
        def put(x):
            if isinstance(x, _Input):
                return inputs[x.index]
            if isinstance(x, (tuple, list)):
                return type(x)(put(item) for item in x)
            if isinstance(x, dict):
                return {k: put(v) for k, v in x.items()}
            return x

        return put(self.structure)


class _Input:
    def __init__(self, index):
        self.index = index


# ---- recording ----


def record(f, reached: Reached, arguments: Arguments, fast: bool, block: Block):
    """Run ``f`` once on recording arrays, for its tape, and then undo what it did: the recording.

    Its first replay is the call itself, so that a recorded step and a replayed one give the same
    bits, and a run that was resumed those of one that was not.
    """
    recorder = Recorder()
    state = State(reached)
    copies = state.copies()
    inputs = [recorder.input(x) for x in _copies(arguments.values)]
    state.exchange([recorder.input(x) for x in copies])
    args, kwargs = arguments.fill(inputs)
    spawned = random.recording.set(lambda spawn: _spawn(recorder, spawn))
    drawn, states = _global_generators(), [copy.deepcopy(g.bit_generator.state)
                                           for g in state.generators()]
    root = random.state()
    try:
        with _no_foreign_generators():
            returned = f(*args, **kwargs)
        if _global_generators() != drawn:
            raise JitError("jit: the function draws from the global random generator, which a"
                           " replay would not; make a np.random.Generator outside it")
        results: list[Value] = []
        shape = _structure(returned, results, reached)
        assigned = state.assigned(results)
        updates = state.updates()
    finally:
        random.recording.reset(spawned)
        state.exchange(state.originals)
        state.put_back()
        random.restore(root)
        for generator, before in zip(state.generators(), states, strict=True):
            generator.bit_generator.state = before
    tape = recorder.tape
    homes = {new: old for old, new in updates}
    tape.results = results + list(homes)
    for array in tape.constants.values():
        if array.size > LARGE and array.dtype.kind == "f":
            warnings.warn(f"jit: an array {array.shape} that is no argument, and that the function"
                          " makes anew, was recorded as a constant", stacklevel=4)
    recording = Recording(tape, homes, shape, assigned, fast, block)
    _trim()
    return recording


def _trim():
    """Hand back what the recorded run has freed: a replay has memory of its own. (The allocator
    of Linux, glibc, would keep it, since tensor.py asks it to.)"""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of another system
        ctypes.CDLL(None).malloc_trim(0)


class State:
    """The slots of what lives on: data of Tensors, arrays, numbers, generators."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.slots: list[Any] = [TensorData(t) for t in reached.tensors]
        self.slots += [Slot(p) for p in (*reached.arrays, *reached.numbers, *reached.generators)]
        self.originals = [slot.get() for slot in self.slots]
        self.inputs: list[Any] = []

    def copies(self):
        return _copies(self.originals)

    def generators(self):
        return [x for x in self.originals if isinstance(x, np.random.Generator)]

    def exchange(self, values):
        for slot, value in zip(self.slots, values, strict=True):
            slot.set(value)
        self.inputs = [getattr(v, "_cached", None) for v in values]

    def updates(self):
        """(old value, new value) of every array that the function edited."""
        pairs = []
        for slot, old in zip(self.slots, self.inputs, strict=True):
            array = slot.get()
            if isinstance(array, (RecordingNumber, RecordingGenerator)):
                continue
            if isinstance(array, RecordingArray) and array._value() is not old:
                pairs.append((old, array._value()))
        return pairs

    def assigned(self, results):
        """What the function put into places that it reaches: (index of place, structure)."""
        found = []
        swapped = {id(slot.place) for slot in self.slots if isinstance(slot, Slot)}
        for i, (place, old) in enumerate(zip(self.reached.places, self.reached.held, strict=True)):
            now = place.get()
            if id(place) in swapped:
                if isinstance(now, RecordingNumber) and now._value() is not self._input(place):
                    found.append((i, _structure(now, results, self.reached)))
                continue
            if not _same(now, old):
                if not _holds_values(now) and now is not None:
                    raise JitError(f"jit: the function sets {place} to {now!r}, which a replay"
                                   " would not do again; keep such things outside of it")
                found.append((i, _structure(now, results, self.reached)))
        for container, before in self.reached.containers:
            if len(container) != len(before):
                raise JitError("jit: the function changes how many items a"
                               f" {type(container).__name__} has; return them instead, and keep"
                               " them outside")
        for thing in self.reached.objects:
            known = {p.key for p in self.reached.places
                     if p.kind == "attribute" and p.container is thing}
            for name in vars(thing).keys() - known:
                raise JitError(f"jit: the function makes the attribute {name!r} of a"
                               f" {type(thing).__name__}; set it before the first call")
        return found

    def _input(self, place):
        for slot, value in zip(self.slots, self.inputs, strict=True):
            if isinstance(slot, Slot) and slot.place is place:
                return value
        return None

    def put_back(self):
        for container, before in self.reached.containers:
            if len(container) != len(before) and isinstance(container, list):
                container[:] = before
            elif len(container) != len(before):
                for k in container.keys() - set(before):
                    del container[k]
        for place, old in zip(self.reached.places, self.reached.held, strict=True):
            if place.get() is not old:
                place.set(old)


def _copies(values):
    return [x.copy(order="K") if isinstance(x, np.ndarray) else x for x in values]


class TensorData:
    """The array of a Tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def get(self):
        return self.tensor._data

    def set(self, value):
        self.tensor._data = value


class Slot:
    """A place that holds an array, a number or a generator."""

    def __init__(self, place: Place):
        self.place = place

    def get(self):
        return self.place.get()

    def set(self, value):
        self.place.set(value)


class Recording:
    """A tape, compiled, and where its results go."""

    def __init__(self, tape: Tape, homes, shape, assigned, fast, block):
        self.recorded = tape
        better = tape
        for improve in (*PASSES, *FUSION) if fast and available() else PASSES:
            better = improve(better)
        self.program = Program(better, homes, block)
        self.shape, self.assigned = shape, assigned
        self.latest: Any = None  # what the last call reached, and its arguments

    def replay(self, reached: Reached, arguments: Arguments):
        self.latest = reached, arguments
        made = self.program.run(self.inputs(reached, arguments))
        self.assign(reached, made)
        return _build(self.shape, made, reached)

    def inputs(self, reached, arguments):
        """What the program reads, in its order."""
        inputs = list(arguments.values)
        inputs += [t.data for t in reached.tensors]
        for places in (reached.arrays, reached.numbers, reached.generators):
            inputs += [place.get() for place in places]
        return inputs

    def assign(self, reached, made):
        for i, structure in self.assigned:
            reached.places[i].set(_build(structure, made, reached))

    def explain(self, slowest):
        tape, program = self.recorded, self.program
        eager = sum(c.out.nbytes for c in tape.calls if not c.view)
        kept = len(program.tape.calls)
        # on copies: nothing of the program's state may change
        times = program.profile([copy.deepcopy(x) for x in self.inputs(*self.latest)])
        total = sum(seconds for seconds, _ in times)
        buffers = len(program.memory.buffers)
        return "\n".join([
            f"{len(tape.calls)} calls recorded, {len(tape.calls) - kept} of them left out, {kept}"
            " replayed",
            f"{program.nbytes / 2**20:.1f} MB planned for {buffers} buffers; the calls"
            f" of an eager step make {eager / 2**20:.1f} MB",
            f"{total * 1e3:.1f} ms in calls; the slowest:",
            *(f"  {seconds * 1e6:8.0f} us  {describe(call)}" for seconds, call in times[:slowest]),
        ])  # fmt: skip


# ---- structures ----


class _Made:
    """Where a result stands in a structure."""

    def __init__(self, index, tensor):
        self.index, self.tensor = index, tensor


class _Known:
    """A Tensor that was there before."""

    def __init__(self, index):
        self.index = index


def _structure(x, results, reached):
    """``x`` with marks in the places of what a replay makes, whose values join ``results``."""
    if isinstance(x, Tensor):
        for i, known in enumerate(reached.tensors):
            if x is known:
                return _Known(i)
        data = x._data
        if isinstance(data, RecordingArray):
            results.append(data._value())
            return _Made(len(results) - 1, True)
        return x
    if isinstance(x, RecordingArray):
        results.append(x._value())
        return _Made(len(results) - 1, False)
    if isinstance(x, (tuple, list)):
        return type(x)(_structure(item, results, reached) for item in x)
    if isinstance(x, dict):
        return {k: _structure(v, results, reached) for k, v in x.items()}
    return x


def _build(structure, made, reached):
    """The structure with the arrays of this call in it."""
    if isinstance(structure, _Made):
        value = made[structure.index]
        if not structure.tensor:
            return value
        tensor = Tensor.__new__(Tensor)
        tensor._data, tensor._node, tensor._exposed = np.asarray(value), None, False
        return tensor
    if isinstance(structure, _Known):
        return reached.tensors[structure.index]
    if isinstance(structure, (tuple, list)):
        return type(structure)(_build(item, made, reached) for item in structure)
    if isinstance(structure, dict):
        return {k: _build(v, made, reached) for k, v in structure.items()}
    return structure


def _holds_values(x):
    if isinstance(x, (Tensor, RecordingArray)):
        return True
    if isinstance(x, (tuple, list)):
        return any(map(_holds_values, x))
    return isinstance(x, dict) and any(map(_holds_values, x.values()))


def _same(a, b):
    if type(a) is type(b) is tuple and len(a) == len(b):
        return all(map(_same, a, b))
    return a is b


# ---- generators ----


def _spawn(recorder, spawn):
    value = Value(None)
    recorder.tape.calls.append(Call(spawn, (), {}, value, effect=True))
    return RecordingGenerator(recorder, spawn(), value)


class _no_foreign_generators:
    """While a function is recorded it may not make a generator of its own. Several threads may
    record at a time: the first one in changes NumPy's function, and the last one out restores it.
    """

    lock = threading.Lock()
    recording: ClassVar[set[int]] = set()  # threads
    original = staticmethod(np.random.default_rng)

    def __enter__(self):
        with self.lock:
            self.recording.add(threading.get_ident())
            np.random.default_rng = self.refuse  # type: ignore[assignment]

    def __exit__(self, *_):
        with self.lock:
            self.recording.discard(threading.get_ident())
            if not self.recording:
                np.random.default_rng = self.original  # type: ignore[assignment]

    @classmethod
    def refuse(cls, *args, **kwargs):
        if threading.get_ident() not in cls.recording or _inside_library():
            return cls.original(*args, **kwargs)
        raise JitError("jit: the function makes a random generator, whose numbers a replay would"
                       " repeat; make it outside, where the recording can see it")


def _inside_library():
    import sys

    return sys._getframe(2).f_globals.get("__name__", "") == "tinygrad_rnn.random"


def _global_generators():
    """The states of the generators that belong to everybody."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return state["pos"], state["key"].tobytes(), stdlib_random.getstate()
