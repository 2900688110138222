"""A function under ``tg.jit``: its recordings, and how one is made and replayed."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import gc
import itertools
import random as stdlib_random
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from types import MethodType, SimpleNamespace
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import numpy as np

from .. import random
from ..grad_mode import no_grad_blocks
from ..graph import Node
from ..speed import collector_paused
from ..tensor import Tensor
from . import JitError
from .blocks import threads
from .cut import cut
from .lanes import on_cores
from .lookups import look_up_late, moved_alone, tables_first
from .loops import available, compiled_calls, fuse, slices_first, sum_in_softmax
from .memory import Block
from .once import again, once
from .passes import (
    bias_in_softmax,
    compute_constants,
    drop_unused,
    keep_softmax,
    longer_stack,
    one_join,
    share,
    slope_in_softmax,
    sooner,
)
from .products import takes_blocks
from .recording import Recorder, RecordingArray, RecordingGenerator, source_line
from .replay import Program, describe
from .state import Place, Reached, Watch, changed, rebuilt, sort_of, walk
from .tape import Call, Tape, Value, name_of

__all__ = ["Jitted"]

P = ParamSpec("P")
R = TypeVar("R")

PASSES = (drop_unused, compute_constants, one_join, share, longer_stack, keep_softmax,
          slope_in_softmax, bias_in_softmax)  # fmt: skip
# if numba is installed
FUSION = (tables_first, compiled_calls, sum_in_softmax, moved_alone, slices_first, look_up_late,
          share, drop_unused, fuse)  # fmt: skip


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
        self._reached: Any = None  # by the last call
        self._watch: Watch | None = None  # over what the last recording reaches
        self._mode = False  # whether that was made without gradients
        self._crowded = False  # whether it was said that the recordings are too many

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: the object is the first argument."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        """A copy has recordings of its own."""
        return Jitted, (self.f, self.fallback, self.cache_size, self.fast)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if random.recording.get() is not None:  # a part of what is being recorded around it
            return self.f(*args, **kwargs)
        with self._lock, once():
            given, mode = (list(args), kwargs), no_grad_blocks.get() > 0
            recording, reached = self._last, None
            if self._watch is not None and mode == self._mode:
                reached = self._watch.reached(given)
            if reached is None:
                watch = Watch(Reached())
                reached, self._mode = walk(self.f, given, watch), mode
                key = (mode, *reached.signature())
                if key in self.recordings:
                    self.recordings.move_to_end(key)
                recording = self._recording(key, reached, given)
                steady = recording is not None and recording.certain and recording.steady(reached)
                self._watch = watch if steady else None
                if recording is None:
                    again()
                    return self.f(*args, **kwargs)
            assert recording is not None
            self._last, self._reached = recording, reached
            return recording.replay(reached)

    def _recording(self, key, reached, given):
        """The recording of this signature. It is made at the first call and made once more, to be
        compared, at the second: what differs between the two has come in unseen. (The first call
        may have been the odd one, which made something ready: so the third decides.)"""
        known = self.recordings.get(key)
        if key in self.recordings and (known is None or known.certain):
            return known
        try:
            recording: Recording | None
            with collector_paused():  # which walks thousands of calls, and frees none
                made = trace(self.f, reached, given)
                difference = known and compare(known, made)
                if known is not None and difference is None:
                    known.certain = True
                    return known
                if known is not None and known.second:
                    raise JitError(difference)
                tape, homes, shape, assigned = made
                recording = Recording(tape, homes, shape, assigned, self.fast, self._block)
            recording.second = known is not None
        except JitError:
            self.recordings.pop(key, None)
            if self.fallback is None:
                raise
            recording = None
        else:
            self._block = recording.program.memory.block
        self.recordings[key] = recording
        while len(self.recordings) > self.cache_size:
            self._drop(key)
        _trim()
        return recording

    def _drop(self, key):
        """Forget the oldest recording; the first that nobody came back to is worth a warning."""
        _, oldest = self.recordings.popitem(last=False)
        if oldest is not None and not oldest.certain and not self._crowded:
            self._crowded = True
            last = list(self.recordings)[-2] if len(self.recordings) > 1 else ()
            was, now = next(((a, b) for a, b in zip(last, key, strict=False) if a != b),
                            (len(last), len(key)))
            warnings.warn(f"jit: {getattr(self.f, '__qualname__', self.f)} has been recorded for"
                          f" {self.cache_size + 1} signatures, and the first was never replayed: it"
                          " is slower than without tg.jit if this goes on. What differs between"
                          f" the last two: {was!r}, then {now!r}. Pass a number that changes as a"
                          " float argument, pad arrays to few shapes, or raise cache_size",
                          stacklevel=4)

    def explain(self, slowest: int = 10) -> None:
        """Print what the last recording holds: calls, what was left out, memory, slowest calls."""
        with self._lock:
            if self._last is None:
                print("nothing is recorded yet: call the function first")
            else:
                print(self._last.explain(self._reached, slowest))


# ---- recording ----


def trace(f, reached: Reached, given) -> Any:
    """Run ``f`` once on recording arrays, for its tape, and then undo what it did. Returns the
    tape, which result is the new value of which input, and the structures of what ``f`` returns
    and sets.

    The first replay is the call itself, so that a recorded step and a replayed one give the same
    bits, and a run that was resumed those of one that was not.
    """
    again()
    recorder = Recorder()
    traced = _trace(f, reached, given, recorder)
    if recorder.alive():
        gc.collect()  # what only cycles hold is not kept
    for array in recorder.alive():
        line = next((c.line for c in recorder.tape.calls if c.out is array._cached), "jit")
        raise JitError(f"{line}: the function keeps {array.value.dtype}{list(array.shape)}, which"
                       " is made here, in a place that a replay does not see; return it")
    return traced


def _trace(f, reached, given, recorder):
    state = State(reached)
    drawn, states = _global_generators(), [copy.deepcopy(g.bit_generator.state)
                                           for g in state.generators()]
    root = random.state()
    spawned = random.recording.set(lambda spawn: _spawn(recorder, spawn))
    try:
        state.exchange(recorder)
        with _no_foreign_generators():
            returned = f(*given[0], **given[1])
        if _global_generators() != drawn:
            raise JitError("jit: the function draws from the global random generator, which a"
                           " replay would not; make a np.random.Generator outside it")
        results: list[Value] = []
        shape = _structure(returned, results, reached, recorder)
        assigned = state.assigned(results, recorder)
        updates = state.updates()
    except TypeError as error:  # of the engine, which says in which operation
        if isinstance(error.__context__, JitError) and not isinstance(error, JitError):
            raise error.__context__ from None
        raise
    finally:
        random.recording.reset(spawned)
        state.put_back()
        random.restore(root)
        for generator, before in zip(state.generators(), states, strict=True):
            generator.bit_generator.state = before
    tape = recorder.tape
    homes = {new: old for old, new in updates}
    tape.results = results + list(homes)
    return keep_old_values(tape, homes), homes, shape, assigned


def keep_old_values(tape: Tape, homes: dict[Value, Value]):
    """What goes out as it came in is copied before the new value is written over it."""
    root: dict[Value, Value] = {}
    for call in tape.calls:
        if call.view:
            first = next(iter(call.inputs()))
            root[call.out] = root.get(first, first)
    edited = set(homes.values())
    for i, value in enumerate(tape.results):
        if root.get(value, value) in edited:
            copied = Value(value.shape, value.dtype, value.order)
            tape.calls.append(Call(np.copy, (value,), {"order": "K"}, copied))
            tape.results[i] = copied
            if value in homes:
                homes[copied] = homes.pop(value)
    return tape


def own_homes(tape: Tape, homes: dict[Value, Value]):
    """Which result is the new value of which input, after the passes: each has one of its own."""
    first, own = len(tape.results) - len(homes), {}
    for i, home in enumerate(homes.values(), first):
        value = tape.results[i]
        if value in own:
            tape.results[i] = Value(value.shape, value.dtype, value.order)
            tape.calls.append(Call(np.copy, (value,), {"order": "K"}, tape.results[i]))
        own[tape.results[i]] = home
    return own


def compare(known: Recording, made):
    """What is other in a second recording of a function, as an error says it, or None."""
    tape, homes, shape, assigned = made
    one = known.recorded
    twin: dict[Value, Value] = dict(zip(one.inputs, tape.inputs, strict=True))

    def same(a, b):
        if isinstance(a, Value) and isinstance(b, Value):
            if a not in twin and a in one.constants and b in tape.constants:
                a, b = one.constants[a], tape.constants[b]
                return a.dtype == b.dtype and np.array_equal(
                    a, b, equal_nan=a.dtype.kind in "fc")
            return twin.get(a) is b
        if type(a) is not type(b):
            return False
        if isinstance(a, (tuple, list)):
            return len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, dict):
            return list(a) == list(b) and all(map(same, a.values(), b.values()))
        if isinstance(a, slice):
            return same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
        if callable(a):
            return name_of(a) == name_of(b)
        return a is b or bool(a == b) or (a != a and b != b)

    for a, b in itertools.zip_longest(one.calls, tape.calls):
        if not (a and b and same((a.fn, a.args, a.kwargs), (b.fn, b.args, b.kwargs))
                and repr(a.out) == repr(b.out)):
            return (f"{(b or a).line}: this is not what it was in the last call:\n"
                    f"  {_short(a, one)} then,\n  {_short(b, tape)} now.\n"
                    "Something comes in that is no argument, and that a replay would not see change"
                    " (a clock, an iterator, a counter, a shape that hangs on values): pass it as"
                    " an argument, an array or a float")
        twin[a.out] = b.out
    homes = {twin[new]: twin[old] for new, old in known.homes.items()} == homes
    if not (homes and same((known.shape, known.assigned, one.results),
                           (shape, assigned, tape.results))):
        return ("jit: what the function returns or sets is not made of its arguments alone: it is"
                " something other than in the last call")
    return None


def _short(call, tape):
    if call is None:
        return "nothing"
    texts = []
    for x in call.args:
        array = tape.constants.get(x) if isinstance(x, Value) else None
        texts.append(repr(x) if array is None else np.array2string(
            array, threshold=8, edgeitems=2, precision=4).replace("\n", ""))
    return f"{name_of(call.fn)}({', '.join(texts)}) = {call.out!r}"


def _trim():
    """Hand back what the recorded run has freed: a replay has memory of its own. (The allocator
    of Linux, glibc, would keep it, since tensor.py asks it to.)"""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of another system
        ctypes.CDLL(None).malloc_trim(0)


class State:
    """The slots of what lives on: arrays, numbers, data of Tensors, generators."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.slots: list[Any] = slots_of(reached)
        self.originals = [slot.get() for slot in self.slots]
        self.nodes = [t._node for t in reached.tensors]
        self.inputs: list[tuple[Any, Any]] = []  # the storage put in each slot, its first value
        self.put: list[Any] = []  # what each place held then

    def generators(self):
        return [x for x in self.originals if isinstance(x, np.random.Generator)]

    def exchange(self, recorder):
        """Recording arrays, numbers and generators in the places of all that is reached."""
        again: dict[int, list[Place]] = {}
        for place, i in self.reached.again:
            again.setdefault(i, []).append(place)
        for i, (slot, x) in enumerate(zip(self.slots, self.originals, strict=True)):
            put = recorder.input(copied(x) if isinstance(x, np.ndarray) else x)
            for place in (slot, *again.get(i, ())):
                place.set(put)
            storage = put._storage if isinstance(put, RecordingArray) else None
            self.inputs.append((storage, storage and storage.value))
        for tensor in self.reached.tensors:
            if tensor._node is not None and tensor._node.fn is not None:
                tensor._node = Cut(tensor._data, "a Tensor has come in with a graph from"
                                   " outside, which a replay would not follow: detach it, or make"
                                   " it inside the function")
        self.put = [place.get() for place in self.reached.places]

    def updates(self):
        """(old value, new value) of every array that the function edited."""
        pairs, edited = [], []
        for i, (slot, (storage, old)) in enumerate(zip(self.slots, self.inputs, strict=True)):
            if storage is None or old.dtype is None:
                continue
            new = storage.value
            if isinstance(slot, TensorData) and not slot.other(self.originals[i]):
                new = slot.get()._value()
            if new is not old:
                pairs.append((old, new))
                edited.append(i)
        refuse_shared(self.originals, edited, len(self.reached.arrays))
        return pairs

    def assigned(self, results, recorder):
        """What the function put into places that it reaches: (index of place, structure)."""
        known = {id(storage): [_Known(i, False), []] for i, (storage, _) in enumerate(self.inputs)}

        def structure(x):
            return _structure(x, results, self.reached, recorder, known)

        for owner, inside, names in self.reached.containers:
            if changed(inside, names):
                if owner is inside:
                    raise JitError("jit: the function changes which items a"
                                   f" {type(inside).__name__} has; return them instead, and keep"
                                   " them outside")
                name = next(iter(set(inside) ^ set(names)), None)
                raise JitError(f"jit: the function makes or deletes the attribute {name!r} of a"
                               f" {type(owner).__name__}; set it before the first call")
        found = []
        for i, (place, put) in enumerate(zip(self.reached.places, self.put, strict=True)):
            now = place.get()
            if not _same(now, put):
                if not _holds_values(now) and now is not None:
                    raise JitError(f"jit: the function sets {place} to {now!r}, which a replay"
                                   " would not do again; keep such things outside of it")
                found.append((i, structure(now)))
        first = len(self.reached.arrays) + len(self.reached.numbers)
        for i, tensor in enumerate(self.reached.tensors):
            if TensorData(tensor).other(self.originals[first + i]):
                found.append((-1 - i, structure(tensor._data)))
        return found

    def put_back(self):
        for _, inside, names in self.reached.containers:
            if changed(inside, names):
                inside.clear()
                if isinstance(inside, dict):
                    inside.update(dict.fromkeys(names))
                else:
                    inside.extend([None] * len(names))
        for place, old in zip(self.reached.places, self.reached.held, strict=True):
            if not holds(place, old):
                place.set(old)
        first = len(self.reached.arrays) + len(self.reached.numbers)
        for tensor, node, data in zip(self.reached.tensors, self.nodes, self.originals[first:],
                                      strict=False):
            tensor._data, tensor._node = data, node


def slots_of(reached: Reached) -> list[Any]:
    """Whatever is an input of a recording, in its order."""
    return [*reached.arrays, *reached.numbers, *map(TensorData, reached.tensors),
            *reached.generators]


def holds(place, old) -> bool:
    try:
        return place.get() is old
    except (AttributeError, LookupError, ValueError):  # nothing is there now
        return False


def copied(x):
    """A copy that lies in memory as the array does: a view of it is one of the copy, too."""
    if x.flags.c_contiguous or x.flags.f_contiguous:
        return x.copy(order="K")
    steps = [(n - 1) * step for n, step in zip(x.shape, x.strides, strict=True) if n]
    first = -sum(step for step in steps if step < 0)
    memory = np.empty(first + sum(step for step in steps if step > 0) + x.itemsize, np.uint8)
    new = np.ndarray(x.shape, x.dtype, memory, first, x.strides)
    new[...] = x
    return new


def holder(x):
    """What the memory of an array belongs to."""
    while (base := getattr(x, "base", getattr(x, "obj", None))) is not None:
        x = base
    return x


def refuse_shared(inputs, edited, arrays):
    """JitError where an array that the function edits shares memory with another one: on the tape
    they are two. ``inputs`` begin with so many ``arrays``; Tensors never share what they edit."""
    views = [i for i in range(arrays) if getattr(inputs[i], "base", None) is not None]
    if not views or not edited:
        return
    owners = [id(holder(x)) if isinstance(x, np.ndarray) else None for x in inputs]
    many = {owners[i] for i in views}
    edited = set(edited)
    for i, owner in enumerate(owners):
        if owner not in many:
            continue
        for k in views:
            if (k != i and owners[k] == owner and (i in edited or k in edited)
                    and np.shares_memory(inputs[i], inputs[k])):
                raise JitError(f"jit: arrays {inputs[i].shape} and {inputs[k].shape} share memory,"
                               " and the function edits one of them, which a recording cannot"
                               " follow; hand in a copy")


class Cut(Node):
    """The node of a Tensor whose graph a replay does not have: backward raises and says so."""

    __slots__ = ("why",)

    def __init__(self, array: Any, why: str) -> None:
        super().__init__(array.shape, array.dtype, SimpleNamespace(name="tg.jit"), parents=None)
        self.why = why

    @property
    def parents(self):
        raise JitError(f"{source_line()}: {self.why}")

    @parents.setter
    def parents(self, _):
        pass


class TensorData:
    """The array of a Tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def get(self):
        return self.tensor._data

    def set(self, value):
        self.tensor._data = value

    def other(self, was):
        """Whether it is something now that cannot be written where ``was`` is."""
        now = self.tensor._data
        return now.shape != was.shape or now.dtype != was.dtype or isinstance(now, np.ndarray)


class Recording:
    """A tape, compiled, and where its results go."""

    def __init__(self, tape: Tape, homes, shape, assigned, fast, block):
        self.recorded = tape
        better = tape
        for improve in (*PASSES, *(FUSION if fast and available() else ()), cut, sooner):
            better = improve(better)
        self.calls = len(better.calls)
        if threads() > 1 and takes_blocks():
            better = on_cores(better, threads())
        self.program, self.homes = Program(better, own_homes(better, homes), block), homes
        self.shape, self.assigned = shape, assigned
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]
        self.certain = self.second = False  # whether recorded twice; whether after another one
        self.kept: list[Any] = []  # what the signature knows by its id

    def replay(self, reached: Reached):
        again()
        self.kept = reached.kept
        inputs = self.inputs(reached)
        refuse_shared(inputs, self.edited, len(reached.arrays))
        made = self.program.run(inputs)
        for i, structure in self.assigned:
            place = TensorData(reached.tensors[-1 - i]) if i < 0 else Place(*reached.spots[i])
            place.set(_build(structure, made, reached, inputs))
        return _build(self.shape, made, reached, inputs)

    def steady(self, reached):
        """Whether replays set nothing but numbers, arrays and states: what is reached stays the
        same but for these."""
        kinds: list[Any] = [type(reached.held[i]) for i, _ in self.assigned if i >= 0]
        return all(sort_of(kind) in ("scalar", "array", "tensor", "tuple") for kind in kinds)

    @staticmethod
    def inputs(reached):
        """What the program reads, in its order."""
        inputs = [place.get() for place in (*reached.arrays, *reached.numbers)]
        inputs += [t.data for t in reached.tensors]
        return inputs + [place.get() for place in reached.generators]

    def explain(self, reached, slowest):
        tape, program = self.recorded, self.program
        eager = sum(c.out.nbytes for c in tape.calls if not c.view)
        lanes = 1 + max((call.lane[1] for call in program.tape.calls if call.lane), default=0)
        # on copies: nothing of the program's state may change
        times = program.profile([copy.deepcopy(x) for x in self.inputs(reached)])
        total = sum(seconds for seconds, _ in times)
        buffers = len(program.memory.buffers)
        return "\n".join([
            f"{len(tape.calls)} calls recorded, {len(tape.calls) - self.calls} of them left out,"
            f" {self.calls} replayed" + (f", time steps in {lanes} lanes" if lanes > 1 else ""),
            f"{program.nbytes / 2**20:.1f} MB planned for {buffers} buffers; the calls"
            f" of an eager step make {eager / 2**20:.1f} MB",
            f"{total * 1e3:.1f} ms in calls; the slowest:",
            *(f"  {seconds * 1e6:8.0f} us  {describe(call)}" for seconds, call in times[:slowest]),
        ])  # fmt: skip


# ---- structures ----


@dataclass(frozen=True, slots=True)
class _Made:
    """Where a result stands in a structure; a Tensor, perhaps one with a graph in eager runs."""

    index: int
    tensor: bool
    graph: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    """A Tensor that was there before, or an array: the input of this number."""

    index: int
    tensor: bool


def _mapped(x, change):
    """A tuple, list, dict or dataclass like ``x`` with ``change`` of all in it; None for others."""
    if isinstance(x, (tuple, list)):
        return rebuilt(x, [change(item) for item in x])
    if isinstance(x, dict):
        items = copy.copy(x)
        for k, v in x.items():
            items[k] = change(v)
        return items
    if is_dataclass(x) and not isinstance(x, (type, _Made, _Known)):
        new: Any = copy.copy(x)
        for part in fields(x):
            object.__setattr__(new, part.name, change(getattr(x, part.name)))
        return new
    return None


def _structure(x, results, reached, recorder, known=None):
    """``x`` with marks in the places of what a replay makes, whose values join ``results``.
    ``known``: id of a storage -> its mark, and views of it that are kept: where one array in
    several places stays one."""
    if isinstance(x, Tensor):
        for i, one in enumerate(reached.tensors):
            if x is one:
                return _Known(i, True)
        results.append(recorder.symbolic(x._data))
        return _Made(len(results) - 1, True, x._node is not None)
    if isinstance(x, (RecordingArray, np.ndarray)):
        storage, path, array = (id(x), (), x) if isinstance(x, np.ndarray) else (
            id(x._storage), x._path, x.value)
        one = [None, []] if known is None else known.setdefault(storage, [None, []])
        whole, views = one
        if (path and whole) or any(np.shares_memory(array, view) for view in views):
            raise JitError(f"jit: the function keeps a view {x.shape} of an array that it also"
                           " keeps, or reaches; a replay would make two: keep a copy")
        if whole:
            return whole
        results.append(recorder.symbolic(x))
        mark = _Made(len(results) - 1, False)
        if path:
            views.append(array)
        else:
            one[0] = mark
        return mark
    new = _mapped(x, lambda item: _structure(item, results, reached, recorder, known))
    return x if new is None else new


def _build(structure, made, reached, inputs):
    """The structure with the arrays of this call in it."""
    if isinstance(structure, _Made):
        value = made[structure.index]
        if not structure.tensor:
            return value
        tensor = Tensor.__new__(Tensor)
        tensor._data, tensor._node, tensor._exposed = np.asarray(value), None, False
        if structure.graph:
            tensor._node = Cut(tensor._data, "backward: this Tensor comes out of a function under"
                               " tg.jit, which keeps no graph; call backward, or tg.grad, inside"
                               " that function")
        return tensor
    if isinstance(structure, _Known):
        return (reached.tensors if structure.tensor else inputs)[structure.index]
    new = _mapped(structure, lambda item: _build(item, made, reached, inputs))
    return structure if new is None else new


def _holds_values(x):
    if isinstance(x, (Tensor, RecordingArray, np.ndarray)):
        return True
    if isinstance(x, (tuple, list)):
        return any(map(_holds_values, x))
    return isinstance(x, dict) and any(map(_holds_values, x.values()))


def _same(a, b):
    if type(a) is type(b) and isinstance(a, tuple) and len(a) == len(b):
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
