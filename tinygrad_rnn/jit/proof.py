"""The proof of a recording: its replay must give what a real run of the function gave.

Compared are results, every array and number that the function reached, and the states of
generators. Where no call computes otherwise than NumPy does, they must be the same, bit for bit.
Compiled loops and lanes round otherwise; how much that may change shows a third run, in which each
result of a call is off by some units in the last place (as in Vignes' CESTAC method).
"""

from __future__ import annotations

import contextlib
import itertools
import random as stdlib_random
import weakref
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .. import random
from ..tensor import Tensor, host
from .blocks import signals_later
from .once import again
from .recording import draw, holder
from .replay import Program
from .state import Place, Reached, content, foreign, refill
from .tape import Call, Tape, Value, name_of, replace
from .trace import copied, trace

__all__ = ["Noise", "Plain", "Snapshot", "coarsest", "explained", "interpret", "prove"]

UNITS = 8  # in the last place, by which the results of calls are off in the third run
TIMES = 64  # what that changes is allowed
ULPS = 1024  # of the largest element, allowed besides
MANY = 1 << 17  # random numbers, which are used again and again
ROUNDING = (np.add, np.subtract, np.multiply, np.divide, np.sqrt, np.tanh, np.exp, np.log,
            np.power, np.square, np.matmul)  # fmt: skip


class Snapshot:
    """All that a function reaches, as it is now: to be compared, and to be put back. Arrays that
    were in their places at the time of an ``earlier`` one count, too: someone else may hold them.

    The arrays of Tensors are not held: a Tensor looks at who else has its array before it edits.
    """

    def __init__(self, reached: Reached, earlier: Snapshot | None = None) -> None:
        self.insides = [(inside, dict(inside) if isinstance(inside, dict) else list(inside))
                        for _, inside, _ in reached.containers]
        self.bags = [(bag, content(bag)) for bag in reached.bags]
        self.cached = sum(map(len, reached.caches))
        self.places = [(place, _held(place)) for place in reached.places if place.kind != "tuple"]
        self.tensors = [(t, weakref.ref(t._held), copied(t._held), t._exposed, t._node)
                        for t in reached.tensors]
        # what a Tensor had before, which a view that was made meanwhile may still look at
        self.old = [(held, copied(array)) for _, held, *_ in (earlier.tensors if earlier else ())
                    if (array := held()) is not None]
        array = None  # not held: see above
        self.data = {id(t): data for t, _, data, _, _ in self.tensors}
        arrays = [_held(place) for place in reached.arrays]
        arrays += [x for x, _ in earlier.arrays.values()] if earlier else []
        self.arrays: dict[int, tuple[Any, Any]] = {
            id(x): (x, copied(x)) for x in arrays if isinstance(x, np.ndarray) or foreign(x)}
        pairs = [*((weakref.ref(x), was) for x, was in self.arrays.values()),
                 *(t[1:3] for t in self.tensors), *self.old]
        self.contents = sorted(pairs, key=lambda pair: in_pieces(pair[0]()))
        self.generators = [(g, g.bit_generator.state) for g in map(_held, reached.generators)
                           if g is not _MISSING]
        self.sources = [(x, state_of(x)) for place in reached.sources
                        if state_of(x := _source(_held(place))) is not None]
        self.random = random.state(), np.random.get_state(), stdlib_random.getstate()  # noqa: NPY002

    def restore(self, bags: bool = False) -> None:
        """Put all of it back; sets and the like only as if the call had not happened: what it has
        put there, once and for all, its recording may find there."""
        with signals_later():
            for inside, was in self.insides:
                if not _same_items(inside, was):
                    refill(inside, was)
            for bag, was in self.bags if bags else ():
                if content(bag) != was:
                    refill(bag, was)
            for held, values in self.old:
                array = held()
                if array is not None and _writable(array):
                    array[...] = values
            for tensor, held, values, exposed, node in self.tensors:
                array = held()
                if array is None:
                    array = copied(values)
                elif _writable(array):
                    array[...] = values
                tensor._held, tensor._exposed, tensor._node = array, exposed, node
            for place, was in self.places:
                if was is not _MISSING and _held(place) is not was:
                    place.set(was)
            for array, values in self.arrays.values():
                if _writable(array):
                    array[...] = values
            for generator, state in self.generators:
                generator.bit_generator.state = state
            for source, state in self.sources:
                state_of(source, state)
            random.restore(self.random[0])
            np.random.set_state(self.random[1])  # noqa: NPY002
            stdlib_random.setstate(self.random[2])

    def has_more(self, before: Snapshot) -> bool:
        """Whether there are new attributes, or entries of dicts or of functools.cache: a table, a
        mask made ready."""
        pairs = zip(self.insides, before.insides, strict=True)
        return self.cached > before.cached or any(
            isinstance(was, dict) and len(now) > len(was) for (_, now), (_, was) in pairs)

    def known(self, x: Any) -> Any:
        """What was in an array, or in that of a Tensor, that was there; None of others."""
        return self.data[id(x)] if id(x) in self.data else self.arrays.get(id(x), (x, None))[1]

    def nearest(self, x: Any) -> Any:
        """What was in the array that is most like this one, which may be made of it."""
        return min((was for _, was in self.contents if type(was) is type(x) is np.ndarray
                    and (was.shape, was.dtype) == (x.shape, x.dtype)),
                   key=lambda was: np.abs(x - was).max(initial=0), default=None)

    def then(self, x: Any) -> Any:
        """What was in an array, or in that of a Tensor."""
        if (was := self.known(x)) is not None:
            return was
        x = x._held if isinstance(x, Tensor) else x
        if (was := self.known(x)) is not None:
            return was
        for held, was in self.contents:
            array = held()
            if array is x:
                return was
            if type(array) is type(x) is np.ndarray and x.base is not None and x.size:
                (low, high), (begin, end) = map(byte_bounds, (x, array))
                if begin <= low and high <= end:  # a part of it is a part of what was in it
                    offset = x.__array_interface__["data"][0] - begin
                    memory = holder(was).ravel("K")
                    return np.ndarray(x.shape, x.dtype, memory, offset, x.strides)
        return x


def _source(x: Any) -> Any:
    """What it belongs to, where it is a method of a random generator's."""
    owner = getattr(x, "__self__", None)
    return x if state_of(owner) is None else owner


def state_of(x: Any, new: Any = None) -> Any:
    """The state of a random generator, or put it back; None of what has none that one may set."""
    if isinstance(x, stdlib_random.Random):
        return x.getstate() if new is None else x.setstate(new)
    if isinstance(x, np.random.RandomState):
        return x.get_state() if new is None else x.set_state(new)
    if isinstance(x, np.random.BitGenerator):
        if new is not None:
            x.state = new
        return x.state
    return None


def in_pieces(x: Any) -> bool:
    """Whether something else may lie between its elements."""
    return isinstance(x, np.ndarray) and not (x.flags.c_contiguous or x.flags.f_contiguous)


def _writable(array) -> bool:
    return getattr(array.flags, "writeable", True)


_MISSING = object()


def _held(place: Place) -> Any:
    try:
        return place.get()
    except (AttributeError, LookupError, ValueError):
        return _MISSING


def _same_items(inside, was):
    if isinstance(was, dict):
        return len(inside) == len(was) and all(
            a is b and inside[a] is was[b] for a, b in zip(inside, was, strict=True))
    return len(inside) == len(was) and all(a is b for a, b in zip(inside, was, strict=True))


# ---- comparing ----


class Difference(Exception):
    """What differs."""


def prove(recording, reached, before: Snapshot, real) -> tuple[Any, str | None]:
    """Replay a recording, for real. Returns what the replay gives, and what is other in it than in
    a real run, as a text, or None. ``real``: what that returned, and a Snapshot after it."""
    if recording.proofs and [b for _, b in before.bags] != [b for _, b in real[1].bags]:
        return None, "what is in a set or in bytes: each call puts something there"

    def outcome(run=None, noise=None):
        with np.errstate(all="ignore") if noise else contextlib.nullcontext():
            result = recording.replay(reached, run)
        return result, Snapshot(reached, before)

    eps = recording.eps if recording.rounds else 0.0
    known = getattr(recording, "known", None)
    guess = before if known is not None and known.plain is None else None  # no bits were compared
    if recording.rounds and not recording.plain_is_proven:
        plain = outcome(recording.plainly(None))
        before.restore()
        difference = _differs(real, plain)
        if difference:
            return None, difference
        real = plain
    replayed = outcome()
    difference = _differs(real, replayed, None, eps, guess)
    if difference and recording.rounds:  # how much rounding may do is told by what it does
        before.restore()
        noise = Noise(np.random.default_rng(0))
        noisy = outcome(recording.plainly(noise), noise)
        before.restore()
        replayed = outcome()
        difference = _differs(real, replayed, noisy, eps, guess)
    return replayed[0], difference


def _differs(real, replayed, noisy=None, eps: float = 0.0, before: Any = None) -> str | None:
    """What is other after a replay than after a real run. Each is what was returned, and a
    Snapshot; ``noisy`` is the same after a run that rounds otherwise, in numbers of this ``eps``;
    ``before``: the Snapshot to which the changes are compared as well.
    """
    outcomes = (real, replayed, noisy or real, (None, before))
    try:
        _agree([returned for returned, _ in outcomes[:3]], outcomes, eps, "the result")
        snapshots = [snapshot for _, snapshot in outcomes[:3]]
        for trio in zip(*(s.insides for s in snapshots), strict=True):
            (inside, a), (_, b), _ = trio
            if (list(a) != list(b)) if isinstance(a, dict) else len(a) != len(b):
                raise Difference(f"the items of a {type(inside).__name__}")
        for (place, was), *after in zip(*(
                s.places for s in (before or real[1], *snapshots)), strict=True):
            _agree([value for _, value in after], outcomes, eps, f"{place}", was)
        for trio in zip(*(s.tensors for s in snapshots), strict=True):
            _agree([tensor for tensor, *_ in trio], outcomes, eps, f"a Tensor {trio[0][2].shape}")
            if (trio[0][4] is None) != (trio[1][4] is None):
                raise Difference("requires_grad of a Tensor")
        for at, (array, _) in snapshots[0].arrays.items():
            if all(at in s.arrays for s in snapshots):
                _agree([s.arrays[at][1] for s in snapshots], outcomes, eps,
                       f"an array {array.shape}", array)
        for trio in zip(*(s.generators for s in snapshots), strict=True):
            if _state(trio[0][1]) != _state(trio[1][1]):
                raise Difference("the state of a random generator")
    except Difference as difference:
        return str(difference)
    return None


def _state(state) -> str:
    """The state of a generator without half a number of which nothing is left."""
    return str(state if state.get("has_uint32") else {**state, "uinteger": 0})


def _agree(trio, outcomes, eps, what, was=None) -> None:
    """Raise Difference where the first two are not the same; ``was``: what was there before."""
    a, b, c = trio
    before = outcomes[3][1]
    if before is None:
        was = None
    elif not isinstance(was, (float, np.generic)):
        was = before.known(a if was is None else was)
    tensors = [isinstance(x, Tensor) for x in trio]
    if all(tensors):
        if (a._node is None) != (b._node is None):
            raise Difference(f"requires_grad of {what}")
    elif any(tensors):
        raise Difference(f"{what}: a {type(b).__name__} in a replay, and a {type(a).__name__}")
    if all(isinstance(x, (np.ndarray, np.generic, Tensor)) or foreign(x) for x in (a, b)):
        a, b, c = (outcome[1].then(x) for outcome, x in zip(outcomes[:3], (a, b, c),
                                                            strict=True))
        if foreign(a) != foreign(b):
            raise Difference(f"{what}: a {type(b).__name__} in a replay, and a {type(a).__name__}")
        a, b, c = map(host, (a, b, c))
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Difference(f"{what}: {b.dtype}{list(b.shape)} in a replay, and"
                             f" {a.dtype}{list(a.shape)}")
        if eps and before and was is None and a.dtype.kind == "f":
            with np.errstate(all="ignore"):
                was = before.nearest(a)
        if not _same_numbers(a, b, c, eps, was):
            raise Difference(f"{what}: {_short_array(b)} in a replay, and {_short_array(a)}")
        return
    if a is b:
        return
    if type(a) is not type(b):
        raise Difference(f"{what}: {b!r:.60} in a replay, and {a!r:.60}")
    if isinstance(a, (tuple, list, deque)) and len(a) == len(b):
        c = c if type(c) is type(a) and len(c) == len(a) else a
        for i, items in enumerate(zip(a, b, c, strict=True)):
            _agree(items, outcomes, eps, f"{what}[{i}]")
    elif isinstance(a, dict) and list(a) == list(b):
        for key in a:
            _agree((a[key], b[key], c[key]), outcomes, eps, f"{what}[{key!r}]")
    elif is_dataclass(a) and not isinstance(a, type):
        for part in fields(a):
            _agree([getattr(x, part.name) for x in (a, b, c)], outcomes, eps,
                   f"{what}.{part.name}")
    elif isinstance(a, float) and eps:
        if not _same_numbers(np.asarray(a), np.asarray(b), np.asarray(c), eps, was):
            raise Difference(f"{what}: {b} in a replay, and {a}")
    elif isinstance(a, (int, float, complex, str, bytes, bytearray, set, frozenset, tuple, list,
                        dict)) and not (a == b or (a != a and b != b)):
        text = ("; a text that is made of recorded values cannot be made again: return the values"
                if isinstance(b, str) and "recorded " in b else "")
        raise Difference(f"{what}: {b!r:.60} in a replay, and {a!r:.60}{text}")


def _same_numbers(a, b, c, eps, was=None) -> bool:
    """What is to agree of an array that there was is what was done to it: a small step of a wrong
    gradient is near to that of the right one."""
    if a.dtype.kind not in "fc":
        return np.array_equal(a, b) or (
            bool(eps) and a.shape == c.shape and not np.array_equal(a, c))
    if not eps or a.shape != c.shape:
        return np.array_equal(a, b, equal_nan=True)
    a, b, c = map(np.asarray, (a, b, c))  # of what is under a mask, too
    unit = max(eps, np.finfo(a.dtype).eps)

    def near(of=...):
        return unit * (ULPS * np.abs(done[of]).max(initial=0)
                       + UNITS * np.abs(a[of]).max(initial=0))

    with np.errstate(all="ignore"):
        done = a if was is None or np.shape(was) != a.shape else a - host(was)
        if np.abs(a - b).max(initial=0) <= near() < np.inf:
            return True  # as nearly always; no element is inf or NaN
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) and (
                np.isfinite(c) == np.isfinite(a)).all():
            return False
        apart = np.abs(a - b)[finite].max(initial=0)
        noise = np.nan_to_num(np.abs(a - c)[finite], posinf=np.inf).max(initial=0)
        return bool(apart <= TIMES * noise + near(finite & np.isfinite(done)))


def _short_array(x):
    return np.array2string(np.asarray(x), threshold=8, edgeitems=2, precision=6).replace("\n", "")


# ---- a tape, call by call ----


def coarsest(tape: Tape) -> float:
    """The epsilon of the coarsest dtype on a tape."""
    kinds = {call.out.dtype for call in tape.calls if call.out.dtype is not None}
    return max((float(np.finfo(kind).eps) for kind in kinds if kind.kind == "f"), default=0.0)


def interpret(tape: Tape, homes: dict[Value, Value], noise: Noise | None = None,
              seen: dict[Value, Any] | None = None):
    """``run(inputs)`` as the compiled program has it, as plainly as can be. With ``noise``, what
    calls compute is off by some units in the last place. ``seen`` gets all values."""
    last: dict[Value, int] = {}
    for i, call in enumerate(tape.calls):
        last.update(dict.fromkeys((*call.outs, *call.inputs()), i))

    def run(inputs):
        known = dict(zip(tape.inputs, inputs, strict=True)) | tape.constants
        keep = {*tape.inputs, *tape.constants, *tape.results, *homes.values()}
        for i, call in enumerate(tape.calls):
            args, kwargs = replace((call.args, call.kwargs), known.__getitem__)
            out = call.fn(*args, **kwargs)
            if noise is not None and _rounds(call):
                out = noise(out)
            known[call.out] = out
            if seen is not None:
                seen[call.out] = out if call.out.shape is None else np.array(out)
            for value in (*call.inputs(), call.out):
                if last[value] == i and value not in keep:
                    known.pop(value, None)
        made = [known[value] if value.dtype is None or value.shape is None
                else np.array(known[value])
                for value in tape.results[: len(tape.results) - len(homes)]]
        new = [(home, np.array(known[value])) for value, home in homes.items()]
        for home, array in new:
            known[home][...] = array
        return made

    return run


def _rounds(call: Call) -> bool:
    fn = getattr(call.fn, "__self__", call.fn)
    return (not call.view and call.out.dtype is not None and call.out.dtype.kind == "f"
            and (fn in ROUNDING if isinstance(fn, np.ufunc) else
                 call.fn is not draw and call.fn.__module__.startswith(__package__.split(".")[0])))


class Noise:
    """Called with what a call gave: the same, off by some units in the last place."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.units = rng.uniform(-UNITS, UNITS, MANY)
        self.factors: dict[np.dtype, np.ndarray] = {}
        self.at = 0

    def __call__(self, x: Any) -> Any:
        kind, size = x.dtype, x.size
        if kind not in self.factors:
            self.factors[kind] = (1 + self.units * np.finfo(kind).eps).astype(kind)
        factors = self.factors[kind]
        if size > MANY:
            return x * np.resize(factors, x.shape)
        self.at = (self.at + 7919) % (MANY - size + 1)  # a prime
        if x.shape == ():
            return x * factors[self.at]
        return x * factors[self.at : self.at + size].reshape(x.shape)


class Plain(Program):
    """A tape as text, call by call as they were recorded: ``interpret``, for roll.py. The name
    ``off`` stands for what is done with the results of calls that round."""

    memory: Any = None

    def __init__(self, tape: Tape, homes: dict[Value, Value]) -> None:
        self.tape, self.homes = tape, homes
        self.names: dict[Value, str] = {}
        self.space: dict[str, Any] = {"np": np}
        self._known: dict[int, str] = {}
        self.lines: list[tuple[str, Call | None]] = []
        self.lanes: dict[int, tuple[int, int]] = {}
        self._write()

    def _write(self) -> None:
        tape, text = self.tape, self._text
        for i, value in enumerate(tape.inputs):
            self.names[value] = f"i{i}"
        for value, array in tape.constants.items():
            self.names[value] = self._object(array)
        keep = {*tape.inputs, *tape.constants, *tape.results, *self.homes.values()}
        users, own = tape.users(), set()  # what is no view, and nobody else's memory
        last = {value: i for i, call in enumerate(tape.calls) for value in call.inputs()}
        for i, call in enumerate(tape.calls):
            first: Any = call.args[0] if call.args else None
            edits = hasattr(call.fn, "edit")
            alone = edits and first in own and users[first] == [call] and first not in keep
            if edits:
                own.add(call.out)
            args = [text(a) for a in call.args]
            args += [f"{k}={text(v)}" for k, v in call.kwargs.items()]
            name = self.names[call.out] = self.names[first] if alone else f"v{i}"
            if alone:  # a buffer that is filled step by step
                said = f"{self._object(call.fn.edit)}({', '.join(args)})"
            else:
                said = f"{self._object(call.fn)}({', '.join(args)})"
                said = f"{name} = off({said})" if _rounds(call) else f"{name} = {said}"
            self.lines.append((said, call))
            dead = [v for v in dict.fromkeys((*call.inputs(), call.out))
                    if last.get(v, i) == i and v not in keep and self.names[v][0] == "v"]
            self.lines += [(f"{self.names[v]} = None", None) for v in dead
                           if not (alone and v is first)]
        results = tape.results[: len(tape.results) - len(self.homes)]
        ends = [self.names[v] if v.dtype is None or v.shape is None else
                f"np.array({self.names[v]})" for v in results]
        for n, value in enumerate(self.homes):
            self.lines.append((f"v{len(tape.calls) + n} = np.array({self.names[value]})", None))
        for n, home in enumerate(self.homes.values()):
            line = f"np.copyto({self.names[home]}, v{len(tape.calls) + n})"
            self.lines.append((line, None))
        self.result = f"return [{', '.join(ends)}]"


# ---- why ----


def explained(f, recording, reached, given, difference) -> str:
    """What an error says about a replay that differs: the first call on the tape that does."""
    other = compare(recording, trace(f, reached, given))
    if other:
        return other
    advice = ("What the function does with these values is not seen as NumPy calls (a C function"
              " that writes, a text, a swapped method): keep it outside the recorded step, or pass"
              ' fallback="eager"')
    line = _first_other(recording, reached)
    return (f"{line or 'jit'}: a replay gives something else than the function: {difference}."
            f" {advice}")


def _first_other(recording, reached):
    """The line of the first call, after the passes, that gives something else than before them."""
    values: list[dict[Value, Any]] = [{}, {}]
    before = Snapshot(reached)
    for tape, seen in zip((recording.recorded, recording.program.tape), values, strict=True):
        again()
        try:
            interpret(tape, {}, None, seen)(recording.inputs(reached))
        except Exception:
            return None
        finally:
            before.restore()
    for call in recording.program.tape.calls:
        one, other = (seen.get(call.out) for seen in values)
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and not np.allclose(
                one, other, 1e-3, 1e-5, equal_nan=True):
            return f"{call.line}: {name_of(call.fn)}"
    made = {call.out: call.line for call in recording.recorded.calls}
    return next((made[v] for v in recording.recorded.results if v in made), None)


def compare(known, made):
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
