"""``tg.jit``: record one call of a function, plan its memory, and replay it.

The function runs on recording arrays (recording.py, trace.py), which sit below the Tensors:
whatever it does ends in NumPy calls, and all of these land on one tape (tape.py): forward,
backward, clipping and update. The tape is made better in small passes (passes.py), gets buffers
and becomes one Python function (replay.py), which must prove that it does what the function does
(proof.py), and which later calls run. Where the function goes through long sequences, lengths.py
records it for a few steps, and roll.py makes programs with loops of that. device.py divides a tape
of which a part runs on a GPU. state.py finds what lives on between calls, and jitted.py holds all
of it together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from .jitted import Jitted

__all__ = ["JitError", "jit"]

P = ParamSpec("P")  # a recorded function takes and gives what the function itself does
R = TypeVar("R")


class JitError(TypeError):
    """A function did something that a replay could not repeat; says what, and on which line."""


@overload
def jit(f: Callable[P, R], *, fallback: str | None = None, cache_size: int = 8,
        fast: bool = True) -> Jitted[P, R]: ...
@overload
def jit(*, fallback: str | None = None, cache_size: int = 8,
        fast: bool = True) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(f: Any = None, *, fallback: str | None = None, cache_size: int = 8,
        fast: bool = True) -> Any:
    """Record ``f`` at its first call with each signature, and replay it from the third on.

    In the first two calls ``f`` runs for real, too, and a replay must give the same.

    Args:
        f: a function of arrays, Tensors, numbers and objects, that may change its arguments,
            parameters, the arrays of an optimizer and hidden states which it reaches through its
            closure, through globals or through objects there. It returns Tensors, arrays and
            numbers, in tuples, lists, dicts or dataclasses; they come back cut from the graph,
            and ``backward`` through them raises. A signature is the shapes and dtypes of all
            these, and every Python value that is not an argument of type float, a learning rate,
            a count of steps or a number that ``f`` changes.
        fallback: "eager" to run a function that cannot be recorded as it is, instead of raising.
        cache_size: recordings kept; the one that was not used for longest goes first.
        fast: with numba installed (the extra [fast]), elementwise chains in float32 become
            compiled loops. They are compiled once and kept on disk; floating-point errors in
            them are not reported as ``np.errstate`` asks.

    Raises JitError, which names the line, where a replay could not follow: ``bool``, ``float`` or
    ``int`` of a value, results whose shape hangs on values, numbers drawn from a generator that
    it cannot see, and wherever a replay gives something else than ``f`` in the first two calls.
    Such a call has not happened. ValueError for another fallback.
    """
    if f is None:
        return functools.partial(jit, fallback=fallback, cache_size=cache_size, fast=fast)
    if fallback not in (None, "eager"):
        raise ValueError(f"jit: fallback={fallback!r}, wanted None or 'eager'")
    from .jitted import Jitted  # and with it the rest of this folder, for those who record

    return Jitted(f, fallback, cache_size, fast)
