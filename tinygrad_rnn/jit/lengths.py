"""A function recorded for a few steps of time, as one recording for every number of them.

Which axis of the arguments is time is not known: what is tried is an axis of as many elements as
its fellows, of which more give more calls. The function runs on the first few elements. That a
recording of them is one of them all is a guess, which counts only because the replay, with all
elements, must give what the function gives (proof.py).
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property, partial
from typing import Any

import numpy as np

from .memory import Block
from .passes import compute_constants, drop_unused
from .proof import Plain, coarsest
from .replay import Program
from .resized import resized
from .roll import Irregular, Rolled, between
from .same import AsRecorded
from .state import Reached
from .tape import Choices, Tape, Value
from .trace import arguments, slots_of, trace

__all__ = ["FEW", "LONG", "NO_LOOP", "SOME", "STEPS", "AnyLength", "AnyRows", "known_ahead",
           "sizes_of"]  # fmt: skip

LONG = 96  # steps from which on they are not recorded one by one
FEW = 8  # up to which they are recorded one by one
SOME = 11  # of another number of them, which are enough beside all of the first one: a prime
NO_LOOP = ("more elements are no more calls",)
# that are recorded instead: the second ones where these are so few that the engine does otherwise
STEPS = (13, 14, 16, 17), (37, 38, 40, 41)


def sizes_of(key: tuple, reached: Reached) -> dict[tuple, int]:
    """What may be the number of steps, or of rows, in this signature, by the signature without
    it."""
    given = reached.given["key"] + len(key) - len(reached.key)
    arrays = [(i, part) for i, part in enumerate(key[:given])
              if type(part) is tuple and len(part) > 3 and part[0] in ("array", "tensor")]
    found = [part[1][axis] for axis in (1, 0) for _, part in arrays if len(part[1]) > axis]
    sizes = {}
    for n in dict.fromkeys(found):
        family = list(key)
        for i, (sort, shape, dtype, layout, *more) in arrays:
            if n in shape:
                shape = tuple(["n" if size == n else size for size in shape])
                family[i] = sort, shape, dtype, layout, *more
        if n > 1 and all(part[3] is True and not any(part[4:])
                         for _, part in arrays if n in part[1]):
            sizes[tuple(family)] = n
    return sizes


class Known:
    """What is known of a function that was recorded for a few sizes."""

    Ts: tuple[int, ...]
    recorded: list[tuple[Tape, dict[Value, Value]]]

    @cached_property
    def as_recorded(self) -> AsRecorded:
        """What was recorded, as one for any number of steps."""
        tapes = [(known_ahead(tape), homes) for tape, homes in self.recorded]
        with suppress(Irregular):
            return AsRecorded(tapes, self.Ts, loops=True)
        return AsRecorded(tapes, self.Ts)


class AnyLength(Known):
    """Raises Irregular where the function is not of this kind."""

    what = "steps"

    def __init__(self, f: Any, reached: Reached, given: Any, T: int, tried: int, improve: Any,
                 rounding: Any, native: bool, like: AnyLength | None = None) -> None:
        """``like`` one of a larger batch."""
        self.native = native
        self.tried, self.Ts = tried, STEPS[tried - 1]
        self.proofs = self.missed = 0
        made = [trace(f, reached, given, (T, t), t == self.Ts[0]) for t in self.Ts[:2]]
        if len(made[0][0].calls) == len(made[1][0].calls):
            raise Irregular(*NO_LOOP)
        made += [trace(f, reached, given, (T, t), t == self.Ts[-1]) for t in self.Ts[2:]]
        _, _, self.shape, self.assigned = made[0]
        tape, homes, *_ = made[-1]
        if any(repr(other[2:]) != repr(made[0][2:]) or other[0].looked_at for other in made):
            raise Irregular("results")
        self.asked = set.intersection(*(tape.asked for tape, *_ in made))  # of other sizes
        # whether the program has a hand in each step, or knows how many there are
        self.open = made[0][0].entered != tape.entered or any(
            other[0].asked != self.asked for other in made)
        self.recorded = [(tape, homes) for tape, homes, *_ in made]
        self.plain = Rolled([Plain(known_ahead(tape), homes) for tape, homes in self.recorded],
                            self.Ts)
        self.chosen: list[list[bool]] = []
        better = []
        for i, ((tape, homes, *_), t) in enumerate(zip(made, self.Ts, strict=True)):
            choices = Choices(like.chosen[i] if like else ())
            better.append(choices.of(partial(improve, tape, homes, times=T / t)))
            self.chosen.append(choices.made)
        self.tapes = [(tape, homes) for tape, homes, _ in better]
        self.program = rolled(self.tapes, self.Ts, loops=False)
        self.eps, self.rounds = coarsest(tape), rounding(better[0][0])
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]


class AnyRows(Known):
    """Programs for two sizes of a batch, or two numbers of steps, as one for any. Raises Irregular
    where they are not alike."""

    what, plain, open = "rows", None, False
    tried: int | None = None  # which STEPS, before, where it is about steps

    def __init__(self, one: Any, Ns: tuple[int, ...], other: Any, looked_at: bool = False) -> None:
        """``other``: the program, and what it gives and sets, for the second of these sizes; the
        first is that of the recording ``one``."""
        program, *structures = other
        if one.looked_at or looked_at or repr((one.shape, one.assigned)) != repr(
                tuple(structures)):
            raise Irregular("results")
        self.Ts, self.proofs, self.missed = Ns, one.proofs, 0
        self.native, self.shape, self.assigned = one.program.native, one.shape, one.assigned
        self.eps, self.rounds, self.edited = one.eps, one.rounds, one.edited
        self.asked = one.asked
        if isinstance(program, Rolled):  # for any number of steps
            self.program = between([one.known.program, program], one.T, Ns)
            return
        self.tapes = [(one.program.tape, one.program.homes), program]
        self.program = rolled(self.tapes, Ns)

    @classmethod
    def of_two(cls, one: Any, other: Any, Ns: tuple[int, ...], f: Any, reached: Reached,
               given: Any, T: int) -> AnyRows:
        """Out of two recordings; what comes in now has ``T`` steps."""
        program = other.known.program if hasattr(other, "known") else (
            other.program.tape, other.program.homes)
        self = cls(one, Ns, (program, other.shape, other.assigned), other.looked_at)
        self.proofs += other.proofs
        if not hasattr(one, "known") and len(one.recorded.calls) != len(other.recorded.calls):
            run = partial(entered, f, reached, given, T)
            self.of_recorded(one, other.recorded, other.homes,
                             T < FEW or run(T // 2) != run(T // 2 + 2))
        return self

    def of_recorded(self, one: Any, tape: Tape, homes: dict[Value, Value],
                    by_hand: bool) -> None:
        """It is about steps, in what was recorded. ``by_hand``: the program calls more functions
        for more of them."""
        self.what, self.tried = "steps", 0
        self.recorded = [(one.recorded, one.homes), (tape, homes)]
        self.open = by_hand or one.recorded.asked != tape.asked

    @classmethod
    def of_one(cls, one: Any, reached: Reached, Ns: tuple[int, ...]) -> AnyRows:
        """Out of one recording, or one for any number of steps, and what comes in for another
        size."""
        shapes = [np.shape(slot.get()) for slot in slots_of(reached)]
        if not hasattr(one, "known"):
            program: Any = resized(one.program.tape, one.program.homes, shapes, one.asked)
        else:
            known, given = one.known, arguments(reached)
            program = rolled([resized(tape, homes, [
                tuple([t if n == one.T and i in given else n for n in shape])
                for i, shape in enumerate(shapes)], one.asked)
                for (tape, homes), t in zip(known.tapes, known.Ts, strict=True)],
                known.Ts, type(known) is AnyRows)
        return cls(one, Ns, (program, one.shape, one.assigned))

    @classmethod
    def of_steps(cls, one: Any, f: Any, reached: Reached, given: Any, T: int, improve: Any,
                 n: int) -> AnyRows:
        """Out of one recording, for ``n`` steps, and the first few of another T."""
        tape, homes, *structures = trace(f, reached, given, (T, SOME), True)
        if len(tape.calls) >= len(one.recorded.calls):
            raise Irregular(*NO_LOOP)
        if tape.asked != one.asked:
            raise Irregular("sizes")
        better, own, _ = improve(tape, homes)
        self = cls(one, (n, SOME), ((better, own), *structures), tape.looked_at)
        self.of_recorded(one, tape, homes,
                         tape.entered != entered(f, reached, given, T, SOME - 2))
        return self


def entered(f: Any, reached: Reached, given: Any, T: int, t: int) -> float:
    """How often the program calls functions in t steps."""
    return trace(f, reached, given, (T, t), True)[0].entered


def known_ahead(tape: Tape) -> Tape:
    """The tape without what nobody reads and what depends on no input, of which the engine
    computes some in another way for other sizes."""
    return compute_constants(drop_unused(tape))


def rolled(tapes: list[Any], Ts: tuple[int, ...], loops: bool = True) -> Rolled:
    """Tapes as one program for any of these numbers; ``loops``: also of what repeats as often in
    all of them, if that is possible."""
    programs = [Program(tape, homes, Block(), apart=True) for tape, homes in tapes]
    if loops:
        with suppress(Irregular):
            return Rolled(programs, Ts, loops=True)
    return Rolled(programs, Ts)
