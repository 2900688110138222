"""A function under ``tg.jit``: its recordings, and how one is made and replayed."""

from __future__ import annotations

import builtins
import contextlib
import copy
import ctypes
import functools
import os
import sys
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from html import escape
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from .. import random
from ..grad_mode import no_grad_blocks
from ..show import bars_html
from ..speed import collector_paused
from ..tensor import host
from . import JitError
from .blocks import BLOCKED, signals_later, threads
from .cut import cut
from .device import PASSES as PASSES_THERE
from .device import Divided, on_host
from .lanes import on_cores
from .lengths import (
    FEW,
    LONG,
    NO_LOOP,
    SOME,
    STEPS,
    AnyLength,
    AnyRows,
    known_ahead,
    sizes_of,
)
from .lookups import look_up_late, moved_alone, tables_first
from .loops import available, compiled_calls, elementary, fuse, slices_first, sum_in_softmax
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
from .proof import Noise, Snapshot, coarsest, explained, interpret, prove
from .recording import same_bits
from .replay import Program, describe
from .roll import Irregular
from .state import Place, Reached, Watch, foreign, sort_of, walk, where
from .table import products_are_native
from .tape import Call, Choices, Tape, Value
from .team import can_share
from .trace import (
    Counted,
    SharedMemory,
    TensorData,
    build,
    cut_graphs,
    forget_recordings,
    refuse_shared,
    trace,
)

__all__ = ["Jitted"]

P = ParamSpec("P")
R = TypeVar("R")

PROOFS = 2  # how often a recording must give what the function gives, before it is believed
PASSES = (drop_unused, compute_constants, one_join, share, longer_stack, keep_softmax,
          slope_in_softmax, bias_in_softmax)  # fmt: skip
# if numba is installed
FUSION = (elementary, share, drop_unused, tables_first, compiled_calls, sum_in_softmax,
          moved_alone, slices_first, look_up_late, share, drop_unused, fuse)  # fmt: skip


class Jitted(Generic[P, R]):
    """A function under ``jit``."""

    # ``__dict__`` has what the program keeps here: ``step.calls += 1``, in the function, too
    __slots__ = ("__dict__", "__weakref__", "_block", "_crowded", "_families", "_last", "_lock",
                 "_mode", "_numbers", "_parts", "_reached", "_ready", "_watch", "cache_size", "f",
                 "fallback", "fast", "recordings")  # fmt: skip

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
        self._mode = (False, 0)  # whether that was made without gradients, for how many threads
        self._ready: set[tuple] = set()  # for which arguments something was made at a first call
        self._numbers: dict[tuple, Any] = {}  # where some lie that change; what must keep its id
        self._parts: dict[type, Any] = {}  # what there is in the classes that are reached
        self._crowded = False  # whether it was said that the recordings are too many
        # of a signature without one size: a recording, or how many numbers of steps were tried
        self._families: dict[tuple, Any] = {}
        _all.add(self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: the object is the first argument."""
        return self if instance is None else MethodType(self, instance)

    def __copy__(self) -> Jitted[P, R]:
        """A copy has recordings of its own."""
        return Jitted(self.f, self.fallback, self.cache_size, self.fast)

    def __deepcopy__(self, memo: dict) -> Jitted[P, R]:
        return Jitted(copy.deepcopy(self.f, memo), self.fallback, self.cache_size, self.fast)

    def __reduce__(self) -> Any:
        """By its name, as a function is pickled, where the program finds it by that."""
        name = getattr(self.f, "__qualname__", "")
        with contextlib.suppress(AttributeError):
            found: Any = sys.modules.get(getattr(self.f, "__module__", ""))
            if functools.reduce(getattr, name.split("."), found) is self:
                return name
        return Jitted, (self.f, self.fallback, self.cache_size, self.fast)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if random.recording.get() is not None:  # a part of what is being recorded around it
            return self.f(*args, **kwargs)
        with self._lock, once():
            return self._called((list(args), kwargs))

    def _called(self, given) -> R:
        args, kwargs = given
        mode = no_grad_blocks.get() > 0, threads()
        recording: Any = self._last
        reached: Reached | None = None
        if self._watch is not None and mode == self._mode:
            reached = self._watch.reached(given)
            if reached is not None and recording.stale(reached):
                reached = None
        if reached is None:
            watch = Watch(Reached(), self._numbers, self._parts)
            with signals_later(apart=True) as critical:
                critical(False)
                try:
                    reached, self._mode = walk(self.f, given, watch), mode
                except Exception as error:  # of a method of the program's, or it is nested too deep
                    if self.fallback is None:
                        raise JitError("jit: what the function reaches cannot be looked through:"
                                       f" {type(error).__name__}: {error}") from error
            if reached is None:
                return self.f(*args, **kwargs)
            key = (mode, *reached.signature())
            if key in self.recordings:
                self.recordings.move_to_end(key)
                recording = self.recordings[key]
                if recording is None:
                    return self.f(*args, **kwargs)
                if recording.stale(reached):
                    del self.recordings[key]
            if key not in self.recordings or recording.proofs < PROOFS:
                self._watch = None
                return self._proven(key, reached, given)
            self._watch = watch if recording.steady(reached) else None
        assert recording is not None
        self._last, self._reached = recording, reached
        try:
            return recording.replay(reached)
        except SharedMemory:  # nothing has happened yet
            if self.fallback is None:
                raise
            return self.f(*args, **kwargs)

    def _proven(self, key, reached, given) -> R:
        """A call of which the recording has to prove itself: the function runs as it is, then all
        is put back to what it was before, and the replay must give the same.

        What stays is what the replay gave, so that a recorded step and a replayed one give the
        same bits, and a run that was resumed those of one that was not.
        """
        before = Snapshot(reached)
        try:
            with signals_later() as critical, _plainly(), cut_graphs(reached):
                critical(False)
                returned = self.f(*given[0], **given[1])
                critical(True)
        except JitError:  # a graph from outside is wanted
            before.restore(bags=True)
            if self.fallback is None:
                raise
            self.recordings[key] = None
            again()
            return self.f(*given[0], **given[1])
        real = Snapshot(reached, before)
        kinds = reached.signature()[: reached.given["key"]]
        if kinds not in self._ready and real.has_more(before):
            self._ready.add(kinds)
            return returned
        try:
            with signals_later(apart=True) as critical:
                return self._believed(key, reached, given, before, (returned, real), critical)
        except Counted as counted:  # once more, with that number as one that changes
            place = counted.place
            self._numbers[where(place.kind, place.container, place.key)] = place.container
            again()
            return self._called(given)

    def _believed(self, key, reached, given, before, real, critical) -> R:
        """What a replay gives, if that is what the function gave. Else, or when a signal comes
        between, the call has not happened."""
        try:
            before.restore()
            critical(False)
            with collector_paused():  # which walks thousands of calls, and frees none
                recording, result, difference = self._recorded(key, reached, given, before, real)
            critical(True)
            if difference:
                before.restore()
                raise JitError(difference if self.fallback else explained(
                    self.f, recording, reached, given, difference))
        except BaseException as error:
            critical(True)
            if self.fallback is None or not isinstance(error, Exception) or (
                    isinstance(error, Counted)):
                self.recordings.pop(key, None)
                before.restore(bags=True)
                if not isinstance(error, Exception) or isinstance(error, JitError):
                    raise
                # the function itself did not raise
                raise JitError(f"jit: a replay raises {type(error).__name__}: {error}") from error
            real[1].restore(bags=True)
            recording, result = None, real[0]
        else:
            recording.proofs += 1
            self._block = recording.program.block
            self._last, self._reached = recording, reached
        self.recordings[key] = recording
        while len(self.recordings) > self.cache_size:
            self._drop(key)
        _trim()
        return result

    def _recorded(self, key, reached, given, before, real) -> Any:
        """A recording; what its replay gives, and what is other in it than in a real run."""
        away = any(foreign(x) for x in Recording.inputs(reached))
        recording: Any = self.recordings.get(key)
        if recording is None or isinstance(recording, ForSize):
            full = functools.cache(lambda: trace(self.f, reached, given))
            sizes = {} if away else sizes_of(key, reached)
            for guess in self._guesses(recording, sizes, reached, given):
                if guess.known.open and guess.proofs + 1 == PROOFS and (
                        not guess.is_that_of(*full())):
                    continue
                with contextlib.suppress(Exception):
                    result, difference = prove(guess, reached, before, real)
                    if difference is None:
                        guess.known.proofs += 1
                        guess.sizes = sizes
                        return guess, result, None
                before.restore()
            tape, homes, shape, assigned = full()
            recording = (OnDevice(tape, homes, shape, assigned, Recording.inputs(reached),
                                  self._block) if away else
                         Recording(tape, homes, shape, assigned, self.fast, self._block, next((
                             r for r in self._larger(sizes) if type(r) is Recording
                             and len(r.recorded.calls) == len(tape.calls)), None)))
            recording.sizes = sizes
        return recording, *prove(recording, reached, before, real)

    def _guesses(self, known: ForSize | None, sizes, reached, given) -> Iterator[ForSize]:
        """Recordings that are made of others, for other numbers of steps or rows: the next one
        where the last was not right."""
        if known is not None:
            yield known
            self._families[known.family] = known.known.tried
        for family, n in sizes.items():
            yield from self._known(family, n, reached, given)
        for family, T in [(family, T) for family, T in sizes.items() if T >= LONG
                          or type(self._families.get(family)) is int][:2]:
            yield from self._of_any_length(family, T, sizes, reached, given)

    def _fellows(self, family) -> list[Recording]:
        return [r for r in self.recordings.values() if r is not None and family in r.sizes
                and (type(r) is not ForSize or not r.known.open or r.proofs >= PROOFS)]

    def _larger(self, sizes) -> Iterator[Recording]:
        """Recordings of which one size is larger, and all else is as it is here."""
        return (r for family, n in sizes.items() for r in self._fellows(family)
                if r.sizes[family] > n)

    def _known(self, family, n, reached, given) -> Iterator[ForSize]:
        known: Any = self._families.get(family)
        was = known
        fellows = self._fellows(family)
        if type(known) is not AnyLength and any(
                None in one.asked or one.asked != fellows[0].asked for one in fellows):
            return  # what the program makes of this size need not show in the calls that are proven
        last: Any = fellows[-1] if fellows else None
        if last and not isinstance(known, (AnyLength, AnyRows)) and family not in last.paired:
            last.paired.add(family)
            pairs = [(r, last) for r in fellows[:-1] if alike(r, last)] or [
                (r, last) for r in fellows[-2:-1] if known is None and more_steps(r, last, family)]
            try:
                if pairs:
                    known = AnyRows.of_two(*pairs[-1], tuple([r.sizes[family] for r in pairs[-1]]),
                                           self.f, reached, given, n)
                elif fellows == [last]:
                    known = self._guessed(last, family, n, reached, given)
                self._families[family] = known
            except Exception:  # then these few steps are looked at as many are
                if pairs and not alike(*pairs[-1]):
                    self._families[family] = 0
        if isinstance(known, (AnyLength, AnyRows)):
            with contextlib.suppress(Irregular):
                yield ForSize(known, n, family, self._block)
                known.missed += 1
                if known is not was and fellows == [last]:  # a guess
                    self._families[family] = was
                elif known.tried is not None or known.missed > PROOFS:
                    self._families[family] = known.tried

    def _guessed(self, one, family, n, reached, given) -> AnyRows | None:
        """What one recording alone says of other sizes."""
        first = one.sizes[family]
        if type(one) is OnDevice or (type(one) is ForSize and one.known.what != "steps") or (
                n > 2 * first):  # for much more than that other loops and cuts may pay
            return None
        try:
            return AnyRows.of_one(one, reached, (first, n))
        except Irregular:
            if type(one) is ForSize or min(n, first) <= SOME:
                raise
            return AnyRows.of_steps(one, self.f, reached, given, n, functools.partial(
                improved, fast=self.fast, times=first / SOME, few=SOME), first)

    def _of_any_length(self, family, T, sizes, reached, given) -> Iterator[ForSize]:
        like = {r.known.tried: r.known for r in self._larger(sizes) if type(r) is ForSize
                and type(r.known) is AnyLength}
        while type(known := self._families.get(family) or 0) is int and known < len(STEPS) and (
                max(STEPS[known]) < T):
            self._families[family] = known + 1
            try:
                self._families[family] = AnyLength(
                    self.f, reached, given, T, known + 1, functools.partial(
                        improved, fast=self.fast), functools.partial(rounding, fast=self.fast),
                    self.fast and available(), like.get(known + 1))
            except Exception as error:
                if error.args == NO_LOOP:
                    self._families[family] = len(STEPS)
            yield from self._known(family, T, reached, given)

    def repeatable(self, *args: P.args, **kwargs: P.kwargs) -> tuple[R, Callable[[], R] | None]:
        """A call; and a function that replays it, each time with the values that its arrays have
        then, and looks at nothing else: for a loop in which nothing else changes. None where this
        call was no replay, or sets more than values in arrays."""
        with self._lock:
            result = self(*args, **kwargs)
            recording, reached, watched = self._last, self._reached, self._watch
            if watched is None or recording is None or recording.assigned:
                return result, None
            self._watch = self._reached = None  # it may be large, and is the caller's now
        inputs, run, shape = recording.inputs(reached), recording.program.run, recording.shape

        def replay() -> R:
            with self._lock:
                return build(shape, run(inputs), reached, inputs, {})

        return result, replay

    def _drop(self, key):
        """Forget the oldest recording; the first that nobody came back to is worth a warning."""
        _, oldest = self.recordings.popitem(last=False)
        if oldest is not None and oldest.proofs < PROOFS and not self._crowded:
            self._crowded = True
            frame, depth = sys._getframe(), 1
            while frame.f_back is not None and frame.f_code.co_filename == __file__:
                frame, depth = frame.f_back, depth + 1
            last = list(self.recordings)[-2] if len(self.recordings) > 1 else ()
            was, now = next(((a, b) for a, b in zip(last, key, strict=False) if a != b),
                            (len(last), len(key)))
            warnings.warn(f"jit: {getattr(self.f, '__qualname__', self.f)} has been recorded for"
                          f" {self.cache_size + 1} signatures, and the first was never replayed: it"
                          " is slower than without tg.jit if this goes on. What differs between"
                          f" the last two: {was!r}, then {now!r}. Pass a number that changes as a"
                          " float argument, pad arrays to few shapes, or raise cache_size",
                          stacklevel=depth)

    def explain(self, slowest: int = 10) -> Explanation:
        """What the last recording holds: calls, what was left out, memory, slowest calls.

        A notebook shows it as a table, and a console as text; where nothing shows the value of a
        line by itself, in a program, it is printed.
        """
        with self._lock:
            if self._last is None or self._reached is None:
                shown = Explanation(["nothing is recorded yet: call the function first"])
            else:
                shown = self._last.explain(self._reached, slowest)
        if not (hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__")):
            print(shown)
        return shown


class Explanation(str):
    """Lines of text, and the times of calls: (seconds, what it is); a table in a notebook."""

    __slots__ = ("lines", "times")
    lines: list[str]
    times: list[tuple[float, str]]

    def __new__(cls, lines: list[str], times: Sequence[tuple[float, str]] = ()) -> Explanation:
        told = [f"  {seconds * 1e6:8.0f} us  {call}" for seconds, call in times]
        self = super().__new__(cls, "\n".join([*lines, *told]))
        self.lines, self.times = lines, list(times)
        return self

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(f"<div>{escape(line)}</div>" for line in self.lines) + bars_html(
            [(seconds * 1e6, f"{seconds * 1e6:,.0f} us", call) for seconds, call in self.times])


@contextlib.contextmanager
def _plainly():
    """Recorded functions that are called here run as they are, as parts of the one around them."""
    token = random.recording.set(lambda spawn: spawn())
    try:
        yield
    finally:
        random.recording.reset(token)


_all: weakref.WeakSet[Jitted] = weakref.WeakSet()


def _after_fork():
    """Nobody is in a call in the new process, whatever other threads did in the old one."""
    for jitted in list(_all):
        jitted._lock = threading.RLock()
    forget_recordings()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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


def _trim():
    """Hand back what the recorded run has freed: a replay has memory of its own. (The allocator
    of Linux, glibc, would keep it, since tensor.py asks it to.)"""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # of another system
        ctypes.CDLL(None).malloc_trim(0)


def improved(tape: Tape, homes: dict[Value, Value], fast: bool, times: float = 1,
             few: int = 0):
    """The tape after all passes, which result of it is the new value of which input, and how many
    calls there are before they are shared among cores. ``times``: how many times as many steps
    there are where it is used; ``few``: of how many they are there, one after the other."""
    for improve in PASSES:
        tape = improve(tape)
    for improve in FUSION if fast and available() else ():
        tape = fuse(tape, times, not few) if improve is fuse else improve(tape)
    tape = sooner(cut(tape), times, few)
    calls = len(tape.calls)
    if threads() > 1 and takes_blocks():
        tape = on_cores(tape, threads(), times, fast and available() and can_share())
    return tape, own_homes(tape, homes), calls


def rounding(tape: Tape, fast: bool) -> bool:
    """Whether a tape computes otherwise than NumPy; NumPy 2.1 does so itself: with an out= it adds
    up rows that lie backwards in another order."""
    return (fast and available()) or (threads() > 1 and takes_blocks()) or any(
        call.fn in BLOCKED for call in tape.calls) or np.__version__.startswith("2.1.")


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MB" if nbytes >= 2**20 else f"{nbytes / 2**10:.1f} KB"


class Recording:
    """A tape, compiled, and where its results go; made ``like`` one of a larger batch."""

    def __init__(self, tape: Tape, homes, shape, assigned, fast, block, like=None):
        choices = Choices(like.chosen if like else ())
        better, own, self.calls = choices.of(lambda: improved(tape, homes, fast))
        self.chosen = choices.made
        self.recorded, self.homes = tape, homes
        self.program: Any = Program(better, own, block, native=fast and available())
        self.shape, self.assigned = shape, assigned
        self.rounds, self.eps = rounding(better, fast), coarsest(tape)
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]
        self.masks = [(tape.inputs.index(value), mask) for value, mask in tape.masks.items()]
        self.looked_at, self.asked = tape.looked_at, tape.asked
        self.proofs = 0  # how often it has given what the function gave
        self.plain_is_proven = False  # for other numbers of steps
        self.kept: list[Any] = []  # what the signature knows by its id
        self.paired: set[tuple] = set()  # families in which it was tried with another

    sizes: dict[tuple, int]  # see lengths.py
    shared: list[int]  # which arrays were those of Tensors, too, in the first proof

    def plainly(self, noise: Noise | None) -> Any:
        """``run(inputs)`` of the tape as it was recorded, call by call."""
        return interpret(self.recorded, self.homes, noise)

    def stale(self, reached: Reached) -> bool:
        """Whether a mask, or what was taken for constant, is not what it was when it was
        recorded."""
        if not self.looked_at:
            return False
        inputs, cached = self.inputs(reached) if self.masks else [], set(map(id, reached.cached))
        return any(not np.array_equal(host(inputs[i]), mask) for i, mask in self.masks) or any(
            id(x) not in cached for x, _ in self.recorded.cached) or any(
            not same_bits(*pair) for pair in (*self.recorded.cached, *self.recorded.kept_outside))

    def replay(self, reached: Reached, run=None):
        again()
        self.kept = reached.kept
        inputs = self.inputs(reached)
        refuse_shared(inputs, self.edited, len(reached.arrays))
        tensors = {id(x) for x in inputs[len(reached.arrays) :]} if self.edited else ()
        shared = [i for i, x in enumerate(inputs[: len(reached.arrays)]) if id(x) in tensors]
        if not self.proofs:
            self.shared = shared
        elif shared != self.shared:
            raise SharedMemory("jit: other arrays than before are those of Tensors, too, and the"
                               " function edits something; hand in copies")
        made = (run or self.program.run)(inputs)
        several: dict[int, Any] = {}
        for i, structure in self.assigned:
            place = TensorData(reached.tensors[-1 - i]) if i < 0 else Place(*reached.spots[i])
            place.set(build(structure, made, reached, inputs, several))
        return build(self.shape, made, reached, inputs, several)

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
        return self.explanation(reached, slowest, [
            f"{len(tape.calls)} calls recorded, {len(tape.calls) - self.calls} of them left out,"
            f" {self.calls} replayed" + (f", time steps in {lanes} lanes" if lanes > 1 else ""),
            f"{_size(program.nbytes)} planned for {len(program.memory.buffers)} buffers;"
            f" the calls of an eager step make {_size(eager)}",
        ])  # fmt: skip

    def explanation(self, reached, slowest, lines):
        # on copies: nothing of the program's state may change
        times = self.program.profile([copy.deepcopy(x) for x in self.inputs(reached)])
        total = sum(seconds for seconds, _ in times)
        if getattr(self.program, "native", False) and not products_are_native():
            lines.append("products are calls of NumPy: no BLAS was found that native code could"
                         " call")
        return Explanation([*lines, f"{total * 1e3:.1f} ms in calls; the slowest:"],
                           [(seconds, describe(call)) for seconds, call in times[:slowest]])


class OnDevice(Recording):
    """The recording of a function that reaches arrays of a GPU."""

    def __init__(self, tape: Tape, homes, shape, assigned, inputs, block):
        self.recorded, self.homes = tape, homes
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]
        self.masks = [(tape.inputs.index(value), mask) for value, mask in tape.masks.items()]
        self.looked_at, self.asked = tape.looked_at, tape.asked
        better = tape
        for improve in PASSES_THERE:
            better = improve(better)
        self.program, self.calls = Divided(better, own_homes(better, homes), inputs, block), len(
            better.calls)
        self.shape, self.assigned = shape, assigned
        # It never gives the bits of NumPy, and sums on a GPU not always the same ones twice.
        self.rounds, self.eps, self.plain_is_proven = True, coarsest(tape), True
        self.proofs, self.kept, self.paired = 0, [], set()

    def plainly(self, noise):
        return on_host(self.recorded, self.homes, noise)

    def explanation(self, reached, slowest, lines):
        lines.append(f"replayed {self.program.replayed.how}")
        return super().explanation(reached, slowest, lines)


def alike(one: Any, other: Any) -> bool:
    """Whether the programs may be one, of as many lines, for two sizes of a batch."""
    if type(one) is ForSize:
        return type(other) is ForSize and one.T == other.T and one.known is not other.known and (
            type(one.known) is type(other.known) is AnyLength)
    return type(one) is type(other) is Recording and (
        len(one.program.tape.calls) == len(other.program.tape.calls))


def more_steps(one: Any, other: Any, family: tuple) -> bool:
    """Whether one, and not a few rows alone, is for more steps, and so of more calls."""
    if not type(one) is type(other) is Recording:
        return False
    (n, m), (few, many) = ([x.sizes[family] for x in (one, other)],
                           [len(x.recorded.calls) for x in (one, other)])
    return min(n, m) > FEW and few != many and (few < many) == (n < m)


class ForSize(Recording):
    """The recording for T steps, or rows, that is made of one for every number of them."""

    def __init__(self, known: AnyLength | AnyRows, T: int, family, block):
        self.known, self.T, self.family = known, T, family
        self.program = known.program.at(T, block, native=known.native)
        self.shape, self.assigned = known.shape, known.assigned
        self.rounds, self.eps, self.edited = known.rounds, known.eps, known.edited
        self.asked = known.asked
        self.looked_at = False
        self.proofs, self.kept, self.plain_is_proven = 0, [], known.plain is None or (
            known.proofs >= PROOFS)
        self.paired = set()

    def plainly(self, noise):
        if self.known.plain is None:
            raise Irregular("further off than rounding explains")  # so it is recorded
        return self.known.plain.at(self.T, Block(), off=noise or (lambda x: x)).run

    def is_that_of(self, tape: Tape, homes, *structures) -> bool:
        """Whether the function, recorded in full, does what this says of so many steps: what hangs
        on the number of a step need not show in what the first calls give."""
        with contextlib.suppress(Irregular):
            return repr(structures) == repr((self.shape, self.assigned)) and (
                not tape.looked_at and self.known.as_recorded.is_at(
                    self.T, known_ahead(tape), homes))
        return False

    def explain(self, reached, slowest):
        program = self.program
        return self.explanation(reached, slowest, [
            f"{self.T} {self.known.what} in {program.loops} loops, made of recordings of"
            f" {', '.join(map(str, self.known.Ts))}; {program.lines} lines",
            f"{_size(program.nbytes)} planned for {len(program.buffers)} buffers",
        ])  # fmt: skip
