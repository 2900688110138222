"""A function recorded for a few steps of time, as one recording for every number of them.

Which axis of the arguments is time is not known: what is tried is an axis of as many elements as
its fellows, of which more give more calls. The function runs on the first few elements. That a
recording of them is one of them all is a guess, which counts only because the replay, with all
elements, must give what the function gives (proof.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .memory import Block
from .proof import Plain, coarsest
from .replay import Program
from .roll import Irregular, Rolled, between
from .state import Reached
from .tape import Choices
from .trace import trace

__all__ = ["LONG", "NO_LOOP", "STEPS", "AnyLength", "AnyRows", "sizes_of"]

LONG = 96  # steps from which on they are not recorded one by one
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


class AnyLength:
    """Raises Irregular where the function is not of this kind."""

    what = "steps"

    def __init__(self, f: Any, reached: Reached, given: Any, T: int, tried: int, improve: Any,
                 rounding: Any, native: bool, like: AnyLength | None = None) -> None:
        """``like`` one of a larger batch."""
        self.native = native
        self.tried, self.Ts = tried, STEPS[tried - 1]
        self.proofs = self.missed = 0
        made = [trace(f, reached, given, (T, t)) for t in self.Ts[:2]]
        if len(made[0][0].calls) == len(made[1][0].calls):
            raise Irregular(*NO_LOOP)
        made += [trace(f, reached, given, (T, t)) for t in self.Ts[2:]]
        tape, homes, self.shape, self.assigned = made[0]
        if any(repr(other[2:]) != repr(made[0][2:]) or other[0].looked_at for other in made):
            raise Irregular("results")
        self.plain = Rolled([Plain(tape, homes) for tape, homes, *_ in made], self.Ts)
        self.chosen: list[list[bool]] = []
        better = []
        for i, ((tape, homes, *_), t) in enumerate(zip(made, self.Ts, strict=True)):
            choices = Choices(like.chosen[i] if like else ())
            better.append(choices.of(partial(improve, tape, homes, times=T / t)))
            self.chosen.append(choices.made)
        self.program = Rolled([Program(tape, homes, Block(), apart=True)
                               for tape, homes, _ in better], self.Ts)
        self.eps, self.rounds = coarsest(tape), rounding(better[0][0])
        self.edited = [i for i, value in enumerate(tape.inputs) if value in set(homes.values())]


class AnyRows:
    """Recordings for two sizes of a batch, or two numbers of steps, as one for any. Raises
    Irregular where they are not alike."""

    what, plain = "rows", None
    tried: int | None = None  # which STEPS, before, where it is about steps

    def __init__(self, pair: Sequence[Any], Ns: tuple[int, ...]) -> None:
        one, other = pair
        if one.looked_at or other.looked_at or repr((one.shape, one.assigned)) != repr(
                (other.shape, other.assigned)):
            raise Irregular("results")
        self.Ts, self.proofs, self.missed = Ns, one.proofs + other.proofs, 0
        self.native, self.shape, self.assigned = one.program.native, one.shape, one.assigned
        self.eps, self.rounds, self.edited = one.eps, one.rounds, one.edited
        if hasattr(one, "known"):  # for any number of steps
            self.program = between([r.known.program for r in pair], one.T, Ns)
            return
        if len(one.recorded.calls) != len(other.recorded.calls):
            self.what, self.tried = "steps", 0
        programs = [Program(r.program.tape, r.program.homes, Block(), apart=True) for r in pair]
        try:
            self.program = Rolled(programs, Ns, loops=True)
        except Irregular:
            self.program = Rolled(programs, Ns)
