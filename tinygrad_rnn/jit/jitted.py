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
from collections.abc import Callable, Sequence
from html import escape
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from .. import random
from ..grad_mode import no_grad_blocks
from ..show import bars_html
from ..speed import collector_paused
from . import JitError
from .blocks import BLOCKED, threads
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
from .proof import Snapshot, explained, prove
from .replay import Program, describe
from .state import Place, Reached, Watch, sort_of, walk
from .tape import Call, Tape, Value
from .trace import TensorData, build, cut_graphs, forget_recordings, refuse_shared, trace

__all__ = ["Jitted"]

P = ParamSpec("P")
R = TypeVar("R")

PROOFS = 2  # how often a recording must give what the function gives, before it is believed
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
        self._mode = (False, 0)  # whether that was made without gradients, for how many threads
        self._crowded = False  # whether it was said that the recordings are too many
        _all.add(self)

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
            given, mode = (list(args), kwargs), (no_grad_blocks.get() > 0, threads())
            recording: Any = self._last
            reached: Reached | None = None
            if self._watch is not None and mode == self._mode:
                reached = self._watch.reached(given)
            if reached is None:
                watch = Watch(Reached())
                reached, self._mode = walk(self.f, given, watch), mode
                key = (mode, *reached.signature())
                if key in self.recordings:
                    self.recordings.move_to_end(key)
                    recording = self.recordings[key]
                    if recording is None:
                        return self.f(*args, **kwargs)
                if key not in self.recordings or recording.proofs < PROOFS:
                    self._watch = None
                    return self._proven(key, reached, given)
                self._watch = watch if recording.steady(reached) else None
            assert recording is not None
            self._last, self._reached = recording, reached
            return recording.replay(reached)

    def _proven(self, key, reached, given) -> R:
        """A call of which the recording has to prove itself: the function runs as it is, then all
        is put back to what it was before, and the replay must give the same.

        What stays is what the replay gave, so that a recorded step and a replayed one give the
        same bits, and a run that was resumed those of one that was not.
        """
        before = Snapshot(reached)
        try:
            with _plainly(), cut_graphs(reached):
                returned = self.f(*given[0], **given[1])
        except JitError:  # a graph from outside is wanted
            before.restore()
            if self.fallback is None:
                raise
            self.recordings[key] = None
            again()
            return self.f(*given[0], **given[1])
        real = Snapshot(reached, before)
        before.restore()
        try:
            recording: Any = self.recordings.get(key)
            with collector_paused():  # which walks thousands of calls, and frees none
                if recording is None:
                    tape, homes, shape, assigned = trace(self.f, reached, given)
                    recording = Recording(tape, homes, shape, assigned, self.fast, self._block)
            result, difference = prove(recording, reached, before, (returned, real))
            if difference:
                before.restore()
                raise JitError(difference if self.fallback else explained(
                    self.f, recording, reached, given, difference))
        except BaseException as error:
            if not isinstance(error, Exception) or self.fallback is None:
                self.recordings.pop(key, None)
                before.restore()
                if not isinstance(error, Exception) or isinstance(error, JitError):
                    raise
                # the function itself did not raise
                raise JitError(f"jit: a replay raises {type(error).__name__}: {error}") from error
            real.restore()
            recording, result = None, returned
        else:
            recording.proofs += 1
            self._block = recording.program.memory.block
            self._last, self._reached = recording, reached
        self.recordings[key] = recording
        while len(self.recordings) > self.cache_size:
            self._drop(key)
        _trim()
        return result

    def _drop(self, key):
        """Forget the oldest recording; the first that nobody came back to is worth a warning."""
        _, oldest = self.recordings.popitem(last=False)
        if oldest is not None and oldest.proofs < PROOFS and not self._crowded:
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

    def explain(self, slowest: int = 10) -> Explanation:
        """What the last recording holds: calls, what was left out, memory, slowest calls.

        A notebook shows it as a table, and a console as text; where nothing shows the value of a
        line by itself, in a program, it is printed.
        """
        with self._lock:
            if self._last is None:
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
        # whether it computes otherwise than NumPy; NumPy 2.1 does so itself: with an out= it adds
        # up rows that lie backwards in another order
        self.rounds = (fast and available()) or (threads() > 1 and takes_blocks()) or any(
            call.fn in BLOCKED for call in better.calls) or np.__version__.startswith("2.1.")
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]
        self.proofs = 0  # how often it has given what the function gave
        self.kept: list[Any] = []  # what the signature knows by its id

    def replay(self, reached: Reached, run=None):
        again()
        self.kept = reached.kept
        inputs = self.inputs(reached)
        refuse_shared(inputs, self.edited, len(reached.arrays))
        made = (run or self.program.run)(inputs)
        for i, structure in self.assigned:
            place = TensorData(reached.tensors[-1 - i]) if i < 0 else Place(*reached.spots[i])
            place.set(build(structure, made, reached, inputs))
        return build(self.shape, made, reached, inputs)

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
        return Explanation([
            f"{len(tape.calls)} calls recorded, {len(tape.calls) - self.calls} of them left out,"
            f" {self.calls} replayed" + (f", time steps in {lanes} lanes" if lanes > 1 else ""),
            f"{program.nbytes / 2**20:.1f} MB planned for {buffers} buffers; the calls"
            f" of an eager step make {eager / 2**20:.1f} MB",
            f"{total * 1e3:.1f} ms in calls; the slowest:",
        ], [(seconds, describe(call)) for seconds, call in times[:slowest]])  # fmt: skip
