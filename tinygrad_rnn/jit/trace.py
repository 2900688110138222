"""One run of a function on recording arrays: its tape, and where what it makes goes.

Recording arrays take the places of all that the function reaches; afterwards everything is put
back, whatever has happened.
"""

from __future__ import annotations

import copy
import dis
import gc
import random as stdlib_random
import sys
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, lru_cache, wraps
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .. import random
from ..graph import Node
from ..tensor import Tensor, host
from . import JitError
from .blocks import signals_later
from .once import again
from .recording import (
    MAKERS,
    PACKAGE,
    Recorder,
    RecordingArray,
    RecordingGenerator,
    RecordingSource,
    forget_names,
    holder,
    is_a_librarys,
    line_of,
    same_memory,
    source_line,
)
from .state import (
    Place,
    Reached,
    changed,
    content,
    foreign,
    lasting,
    ours_module,
    rebuilt,
    refill,
    sort_of,
)
from .tape import Call, Tape, Value

__all__ = ["Counted", "SharedMemory", "TensorData", "arguments", "build", "copied", "cut_graphs",
           "forget_recordings", "refuse_shared", "slots_of", "trace"]  # fmt: skip


def trace(f, reached: Reached, given, short=None, count=False) -> Any:
    """Run ``f`` once on recording arrays, for its tape, and then undo what it did. Returns the
    tape, which result is the new value of which input, and the structures of what ``f`` returns
    and sets. ``short`` is (T, t): of axes of T elements, the arguments' first t only. ``count``:
    also how often the program calls functions, for which Python takes twice as long."""
    again()
    forget_names()
    recorder = Recorder()
    try:
        traced = _trace(f, reached, given, recorder, short, count)
    except Exception as error:  # ``f`` as it is did not raise: this comes of the recording
        if recorder.refused is not None:
            raise recorder.refused from None
        if isinstance(error, JitError):
            raise
        raise JitError(f"{line_of(error)}: under recording: {type(error).__name__}: {error}"
                       ) from error
    finally:
        recorder.over = True
    if recorder.refused is not None:  # and the function has gone on in another way
        raise recorder.refused
    traced[0].kept_outside += recorder.kept_outside()
    traced[0].cached += [(x, x.copy()) for x in reached.cached]
    if recorder.alive():
        gc.collect()  # what only cycles hold is not kept
    for array in recorder.alive():
        line = next((c.line for c in recorder.tape.calls if c.out is array._now), "jit")
        raise JitError(f"{line}: the function keeps {array._now!r}, which"
                       " is made here, in a place that a replay does not see; return it")
    return traced


def _trace(f, reached, given, recorder, short, count):
    state = State(reached)
    drawn, states = _global_generators(), [copy.deepcopy(g.bit_generator.state)
                                           for g in state.generators()]
    root = random.state()
    with signals_later() as critical:
        spawned = random.recording.set(lambda spawn: _spawn(recorder, spawn))
        try:
            state.exchange(recorder, short)
            with _Exchanged(recorder), cut_graphs(reached), (
                    looking_on(recorder.tape) if count else nullcontext()):
                critical(False)
                returned = f(*given[0], **given[1])
                critical(True)
            if _global_generators() != drawn:
                raise JitError("jit: the function draws from the global random generator, which a"
                               " replay would not; make a np.random.Generator outside it")
            marks = _Marks(state, recorder)
            for marks.complete in (False, True):
                assigned, shape = state.assigned(marks), marks(returned)
            results = marks.results
            updates = state.updates()
        finally:
            critical(True)
            random.recording.reset(spawned)
            state.put_back()
            random.restore(root)
            for generator, before in zip(state.generators(), states, strict=True):
                generator.bit_generator.state = before
    tape = recorder.tape
    homes: dict[Value, Value] = {}
    for old, new in updates:
        if new in homes:  # one value in two places
            copied = Value(new.shape, new.dtype, new.order)
            tape.calls.append(Call(np.copy, (new,), {"order": "K"}, copied))
            new = copied
        homes[new] = old
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


@contextmanager
def looking_on(tape: Tape) -> Iterator[None]:
    """Count how often the program, and not this library, calls a function."""
    def look(frame: Any, event: str, _: Any) -> None:
        caller = frame.f_back.f_code.co_filename if event == "call" and frame.f_back else PACKAGE
        tape.entered += not (caller.startswith(PACKAGE) or is_a_librarys(caller))

    before = sys.gettrace()
    if before is not None:  # a debugger
        tape.entered = np.nan  # which is no other number
    try:
        sys.settrace(before or look)
        yield
    finally:
        sys.settrace(before)


class State:
    """The slots of what lives on: arrays, numbers, data of Tensors, generators."""

    def __init__(self, reached: Reached) -> None:
        self.reached = reached
        self.slots: list[Any] = slots_of(reached)
        self.originals = [slot.get() for slot in self.slots]
        self.nodes = [t._node for t in reached.tensors]
        self.bags = [(bag, content(bag)) for bag in reached.bags]
        self.inputs: list[tuple[Any, Any]] = []  # what was put in each slot, its first value
        self.put: list[Any] = []  # what each place held then

    def generators(self):
        return [x for x in self.originals if isinstance(x, np.random.Generator)]

    def exchange(self, recorder, short=None):
        """Recording arrays, numbers and generators in the places of all that is reached."""
        given = arguments(self.reached)
        again: dict[int, list[Place]] = {}
        for place, i in self.reached.again:
            again.setdefault(i, []).append(place)
        first = len(self.slots) - len(self.reached.generators)
        for place, i in self.reached.generators_again:
            again.setdefault(first + i, []).append(place)
        for i, (slot, x) in enumerate(zip(self.slots, self.originals, strict=True)):
            if short and i in given:
                T, t = short
                x = x[tuple([slice(t if n == T else n) for n in x.shape])].copy()
            number = len(recorder.tape.inputs)
            put = recorder.input(copied(x) if isinstance(x, np.ndarray) else
                                 host(x) if foreign(x) else x)
            if i not in given:
                recorder.outside.update(dict.fromkeys(recorder.tape.inputs[number:], x))
            for place in (slot, *again.get(i, ())):
                place.set(put)
            # a Tensor must be alone with its array, as it is outside: it looks at who else has it
            self.inputs.append((None if isinstance(slot, TensorData) else put, put._now))
        for place in self.reached.sources:
            place.set(RecordingSource(recorder, place.get()))
        self.put = [place.get() for place in self.reached.places]

    def updates(self):
        """(old value, new value) of every array that the function edited."""
        pairs, edited = [], []
        for i, (slot, (put, old)) in enumerate(zip(self.slots, self.inputs, strict=True)):
            if isinstance(slot, TensorData):
                new = old if slot.other(old) else slot.get()._symbol()
            elif isinstance(put, RecordingArray) and isinstance(put.value, np.ndarray):
                new = put._now
            else:
                continue
            if new is not old:
                pairs.append((old, new))
                edited.append(i)
        refuse_shared(self.originals, edited, len(self.reached.arrays))
        return pairs

    def assigned(self, marks):
        """What the function put into places that it reaches: (index of place, structure)."""
        for owner, inside, names in self.reached.containers:
            if changed(inside, names):
                if owner is inside:
                    place = next((Place(*spot) for spot, held in zip(
                        self.reached.spots, self.reached.held, strict=True) if held is owner), "")
                    raise JitError("jit: the function changes which items a"
                                   f" {type(inside).__name__} has{place and f', {place}'}; return"
                                   " them instead, and keep them outside, or write them into an"
                                   " array of fixed length: a[i % len(a)] = x")
                name = next(iter(set(inside) ^ set(names)), None)
                raise JitError(f"jit: the function makes or deletes the attribute {name!r} of a"
                               f" {type(owner).__name__}; set it before the first call")
        for bag, items in self.bags:
            if content(bag) != items:
                raise JitError(f"jit: the function changes which items a {type(bag).__name__} has;"
                               " return them instead, and keep them outside")
        found = []
        for i, (place, put) in enumerate(zip(self.reached.places, self.put, strict=True)):
            now = place.get()
            if not _same(now, put):
                kind: Any = type(put)
                if kind in (int, float) or issubclass(kind, np.generic):
                    raise Counted(place)
                kind = type(now)
                if not isinstance(now, (Tensor, RecordingArray, np.ndarray)) and sort_of(
                        kind) not in ("scalar", "number") and _mapped(now, lambda x: x) is None:
                    raise JitError(f"jit: the function sets {place} to {now!r}, which a replay"
                                   " would not do again; keep such things outside of it")
                found.append((i, marks(now, True)))
        first = len(self.reached.arrays) + len(self.reached.numbers)
        for i, tensor in enumerate(self.reached.tensors):
            if TensorData(tensor).other(self.inputs[first + i][1]):
                found.append((-1 - i, marks(tensor._held, True)))
        return found

    def put_back(self):
        for _, inside, names in self.reached.containers:
            if changed(inside, names):
                refill(inside, dict.fromkeys(names) if isinstance(inside, dict) else names)
        for bag, items in self.bags:
            if content(bag) != items:  # another process may write there, too
                refill(bag, items)
        for place, old in zip(self.reached.places, self.reached.held, strict=True):
            if not holds(place, old):
                place.set(old)
        first = len(self.reached.arrays) + len(self.reached.numbers)
        for tensor, node, data in zip(self.reached.tensors, self.nodes, self.originals[first:],
                                      strict=False):
            tensor._held, tensor._node = data, node


def slots_of(reached: Reached) -> list[Any]:
    """Whatever is an input of a recording, in its order."""
    return [*reached.arrays, *reached.numbers, *map(TensorData, reached.tensors),
            *reached.generators]


def arguments(reached: Reached) -> set[int]:
    """Which of these are arrays among the arguments."""
    tensors = len(reached.arrays) + len(reached.numbers)
    return {*range(reached.given["arrays"]), *range(tensors, tensors + reached.given["tensors"])}


def holds(place, old) -> bool:
    try:
        return place.get() is old
    except (AttributeError, LookupError, ValueError):  # nothing is there now
        return False


def copied(x):
    """A copy that lies in memory as the array does: a view of it is one of the copy, too."""
    if not isinstance(x, np.ndarray):
        return x.copy()
    if x.flags.c_contiguous or x.flags.f_contiguous:
        new = x.copy(order="K")
    else:
        steps = [(n - 1) * step for n, step in zip(x.shape, x.strides, strict=True) if n]
        first = -sum(step for step in steps if step < 0)
        memory = np.empty(first + sum(step for step in steps if step > 0) + x.itemsize, np.uint8)
        new = np.ndarray(x.shape, x.dtype, memory, first, x.strides)
        new[...] = x
    new.flags.writeable = x.flags.writeable
    return new


class Counted(JitError):
    """The function changes a number that was taken for constant."""

    def __init__(self, place):
        super().__init__(f"jit: the function changes {place}, a number")
        self.place = place


class SharedMemory(JitError):
    """An array that is edited shares memory with another one; a replay has not begun then."""


def refuse_shared(inputs, edited, arrays):
    """JitError where an array that the function edits shares memory with another one: on the tape
    they are two. ``inputs`` begin with so many ``arrays``; Tensors never share what they edit."""
    views = [i for i in range(arrays) if getattr(inputs[i], "base", None) is not None]
    if not views or not edited:
        return
    owners = [id(holder(x)) if isinstance(x, np.ndarray) or foreign(x) else None for x in inputs]
    many = {owners[i] for i in views}
    edited = set(edited)
    for i, owner in enumerate(owners):
        if owner not in many:
            continue
        for k in views:
            if (k != i and owners[k] == owner and (i in edited or k in edited)
                    and np.shares_memory(inputs[i], inputs[k])):
                raise SharedMemory(f"jit: arrays {inputs[i].shape} and {inputs[k].shape} share"
                                   " memory, and the function edits one of them, which a recording"
                                   " cannot follow; hand in a copy")


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


@contextmanager
def cut_graphs(reached):
    """Tensors that have come in with a graph from outside cannot be asked for it in here."""
    nodes = [(t, t._node) for t in reached.tensors if t._node is not None and t._node.fn]
    for tensor, _ in nodes:
        tensor._node = Cut(tensor._held, "a Tensor has come in with a graph from outside, which a"
                           " replay would not follow: detach it, or make it inside the function")
    try:
        yield
    finally:
        for tensor, node in nodes:
            if isinstance(tensor._node, Cut):
                tensor._node = node


class TensorData:
    """The array of a Tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def get(self):
        return self.tensor._held

    def set(self, value):
        self.tensor._held = value

    def other(self, was):
        """Whether it is something now that cannot be written where ``was`` is."""
        now = self.tensor._held
        return (now.shape != was.shape or now.dtype != was.dtype
                or not isinstance(now, RecordingArray))


# ---- structures ----


@dataclass(frozen=True, slots=True)
class _Made:
    """Where a result stands in a structure; a Tensor, perhaps one with a graph in eager runs."""

    index: int
    tensor: bool = False
    graph: bool = False
    exposed: bool = False  # a Tensor whose array stands elsewhere, too, as numpy() gives it
    scalar: bool = False  # a number of NumPy


@dataclass(frozen=True, slots=True)
class _Known:
    """What was there before: the input, Tensor, or container of this number."""

    index: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Shared:
    """A list, dict ... that stands in several places: what is in it, where it comes first."""

    number: int
    inside: Any = None


@dataclass(frozen=True, slots=True)
class _View:
    """A view of an array that has a mark of its own, and the way to it."""

    whole: _Made | _Known
    path: tuple


def _mapped(x, change):
    """A tuple, list, dict or dataclass like ``x`` with ``change`` of all in it; None for others."""
    if isinstance(x, (tuple, list)):
        return rebuilt(x, [change(item) for item in x])
    if isinstance(x, dict):
        items = copy.copy(x)
        for k, v in x.items():
            items[k] = change(v)
        for name, v in getattr(items, "__dict__", {}).items():  # a dict of one's own
            items.__dict__[name] = change(v)
        return items
    if isinstance(x, deque):
        new: Any = copy.copy(x)
        for i, v in enumerate(x):
            new[i] = change(v)
        return new
    if isinstance(x, (set, bytearray)):
        return copy.copy(x)
    if is_dataclass(x) and not isinstance(x, (type, _Made, _Known, _Shared, _View)):
        new = copy.copy(x)
        for part in fields(x):
            object.__setattr__(new, part.name, change(getattr(x, part.name)))
        return new
    return None


class _Marks:
    """Called with what a function returns or keeps: the same with marks in the places of what a
    replay makes, whose values join ``results``, or finds. What is in several places stays one, and
    a view of an array a view. All is looked at twice: a view may come before its array does."""

    def __init__(self, state: State, recorder: Recorder) -> None:
        self.recorder, self.reached = recorder, state.reached
        self.results: list[Value] = []
        self.of_tensors: set[int] = set()  # which of them a Tensor has
        self.complete = False  # whether all but views has a mark
        self.open: set[int] = set()  # what contains what is looked at
        self.met: Counter[int] = Counter()  # how often a list, dict ... was met, by id
        self.marks: dict[int, Any] = {}  # by id
        self.views: dict[int, list[Any]] = {}  # of an array that has no mark: the view, its mark
        for kind, known in (("containers", [x for x, _, _ in state.reached.containers]),
                            ("tensors", state.reached.tensors)):
            self.marks.update((id(x), _Known(i, kind)) for i, x in enumerate(known))
        for i, (slot, (put, old)) in enumerate(zip(state.slots, state.inputs, strict=True)):
            if put is not None or not slot.other(old):
                self.marks[id(slot.get() if put is None else put)] = _Known(i, "inputs")

    def __call__(self, x: Any, kept: bool = False) -> Any:
        mark = self.marks.get(id(x))
        if mark is not None:
            return mark
        if isinstance(x, Tensor):
            return self._made(x, x._held, tensor=True, graph=x._node is not None,
                              exposed=x._exposed)
        if isinstance(x, RecordingArray) and x._base is not None:
            return self._view(x, kept) if self.complete else x
        if isinstance(x, (RecordingArray, np.ndarray)):
            array: Any = x.value if isinstance(x, RecordingArray) else x
            return self._made(x, x, scalar=not isinstance(array, np.ndarray))
        kind: Any = type(x)
        if id(x) in self.reached.seen and sort_of(kind) not in ("class", "other"):
            raise JitError(f"jit: the function returns a {type(x).__name__} that it reaches; a"
                           " replay would return that of the first call")
        if id(x) in self.open:
            raise JitError(f"jit: the function returns or keeps a {kind.__name__} that contains"
                           " itself, which a replay does not make; return what is in it")
        self.open.add(id(x))
        new = _mapped(x, lambda item: self(item, kept))
        self.open.remove(id(x))
        if new is None and id(x) not in self.reached.seen and not lasting(x):
            raise JitError(f"jit: the function returns or keeps a {kind.__name__} that it makes; a"
                           " replay would hand out that of the first call again: return arrays,"
                           " numbers and texts, in tuples, lists, dicts or dataclasses")
        if new is None or isinstance(x, tuple):
            return x if new is None else new
        if not self.complete:
            self.met[id(x)] += 1
        elif self.met[id(x)] > 1:
            number = [*self.met].index(id(x))
            self.marks[id(x)], new = _Shared(number), _Shared(number, new)
        return new

    def _made(self, x, value, tensor=False, **what):
        known = self.marks.get(id(value))  # a Tensor and its array are one result
        if not isinstance(known, _Made) or known.index in self.of_tensors:
            self.results.append(self.recorder.symbolic(value))
            known = _Made(len(self.results) - 1)
        if tensor:
            self.of_tensors.add(known.index)
            self.marks.setdefault(id(value), known)
        mark = self.marks[id(x)] = _Made(known.index, tensor, **what)
        return mark

    def _view(self, x, kept):
        whole = self.marks.get(id(x._base))
        if whole is not None:
            return _View(whole, x._path)
        views = self.views.setdefault(id(x._base), [])
        for other, mark in views:
            if same_memory(x.value, other):
                return mark
            if kept and np.shares_memory(x.value, other):
                raise JitError(f"jit: the function keeps a view {x.shape} of an array of which it"
                               " keeps another that overlaps; a replay would make two: keep a copy")
        mark = self._made(x, x)
        views.append((x.value, mark))
        return mark


def build(structure, made, reached, inputs, shared):
    """The structure with the arrays of this call in it. ``shared`` are the lists, dicts ... of
    this call that stand in several places."""
    def inside(item):
        return build(item, made, reached, inputs, shared)

    if isinstance(structure, _Made):
        value = made[structure.index]
        if not structure.tensor:
            value = value._held if isinstance(value, Tensor) else value
            return value[()] if structure.scalar and isinstance(value, np.ndarray) else value
        if isinstance(value, Tensor):  # it stands in another place, too
            return value
        made[structure.index] = tensor = Tensor.__new__(Tensor)
        tensor._held = value if foreign(value) else np.asarray(value)
        tensor._node, tensor._exposed = None, structure.exposed
        if structure.graph:
            tensor._node = Cut(tensor._held, "backward: this Tensor comes out of a function under"
                               " tg.jit, which keeps no graph; call backward, or tg.grad, inside"
                               " that function")
        return tensor
    if isinstance(structure, _Known):
        if structure.kind == "containers":
            return reached.containers[structure.index][0]
        return (reached.tensors if structure.kind == "tensors" else inputs)[structure.index]
    if isinstance(structure, _Shared):
        if structure.number not in shared:
            shared[structure.number] = inside(structure.inside)
        return shared[structure.number]
    if isinstance(structure, _View):
        array = inside(structure.whole)
        for fn, args, kwargs in structure.path:
            array = fn(array, *args, **kwargs)
        return array
    new = _mapped(structure, inside)
    return structure if new is None else new


def _same(a, b):
    if type(a) is type(b) and isinstance(a, tuple) and len(a) == len(b):
        return all(map(_same, a, b))
    return a is b


# ---- generators ----


def _spawn(recorder, spawn):
    if spawn is not random.spawn:
        raise recorder.refuse("manual_seed, which a replay would not call again: call it outside")
    value = Value(None)
    recorder.tape.calls.append(Call(spawn, (), {}, value, effect=True))
    return RecordingGenerator(recorder, spawn(), value)


CATCH = warnings.catch_warnings.__enter__


class _Exchanged:
    """While a function is recorded it may not make a generator of its own, nor catch and keep
    warnings (another thread may, as numba's compiler does), and arrays that it makes are recorded.
    Several threads may record at a time: the first one in changes NumPy's functions,
    and the last one out restores them.
    """

    lock = threading.Lock()
    recorders: ClassVar[dict[int, Recorder]] = {}  # of threads
    originals: ClassVar[list[Any]] = [
        (np.random, np.random.default_rng), (warnings.catch_warnings, CATCH),
        *((np, make) for make in MAKERS)]

    def __init__(self, recorder):
        self.recorder = recorder

    def __enter__(self):
        with self.lock:
            self.recorders[threading.get_ident()] = self.recorder
            for module, original in self.originals:
                setattr(module, original.__name__, exchanged(original))

    def __exit__(self, *_):
        with self.lock:
            self.recorders.pop(threading.get_ident(), None)
            if not self.recorders:
                self.restore()

    @classmethod
    def restore(cls):
        for module, original in cls.originals:
            setattr(module, original.__name__, original)


@cache
def exchanged(original):
    """What the program finds in its place."""
    def is_called(frame):
        """Or a function of C's calls it, which has no frame: those of np.random use the memory of
        what they get without a look at what it is."""
        name = _called(frame.f_code, frame.f_lasti)
        return name == original.__name__ or frame.f_locals.get(name) is call

    @wraps(original)
    def call(*args, **kwargs):
        recorder, frame = _Exchanged.recorders.get(threading.get_ident()), sys._getframe(1)
        caller = frame.f_globals.get("__name__", "")
        if recorder is None or caller == "tinygrad_rnn.random" or (original in MAKERS and (
                "like" in kwargs or not ours_module(caller) or not is_called(frame))):
            return original(*args, **kwargs)
        if original in MAKERS:
            return recorder.makes(original, args, kwargs)
        if original is CATCH:
            if not args[0]._record or not ours_module(caller):
                return original(*args)
            raise recorder.refuse("warnings are caught and kept, which a replay would not do; look"
                                  " at the values with NumPy calls, as np.isfinite")
        raise JitError("jit: the function makes a random generator, whose numbers a replay would"
                       " repeat; make it outside, where the recording can see it")

    return call


@lru_cache(1024)
def _called(code, at):
    """The last name of what is called there, as in np.zeros(3). None where it has none, or the
    code does not say where in a line it stands."""
    positions = [*code.co_positions()]
    first, last, begin, end = positions[at // 2]
    name = None
    if begin is None:
        return name
    for i in dis.get_instructions(code):
        a, b, c, d = positions[i.offset // 2]
        if c is None or (a, c) < (first, begin) or (b, d) > (last, end) or i.opname == "PUSH_NULL":
            continue
        if name is not None and i.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        name = i.argval
    return name


def forget_recordings():
    """In a new process no thread is recording."""
    _Exchanged.lock, _Exchanged.recorders = threading.Lock(), {}
    _Exchanged.restore()


def _global_generators():
    """The states of the generators that belong to everybody."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return state["pos"], state["key"].tobytes(), stdlib_random.getstate()
