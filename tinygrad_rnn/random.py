"""Random numbers: one seed, and an independent np.random.Generator for each consumer."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

__all__ = ["generator", "manual_seed"]

_root = np.random.SeedSequence()

# What a recording does with ``generator``: it wants to hear of every one made, and of seeds.
recording: ContextVar[Callable[..., Any] | None] = ContextVar(
    "recording", default=None)


def manual_seed(seed: int) -> None:
    """Start all random numbers of the library anew: the same seed and program, the same numbers.

    Args:
        seed: a whole number, not negative: else TypeError or ValueError.
    """
    sequence = np.random.SeedSequence(seed)

    def begin() -> None:
        global _root
        _root = sequence

    made = recording.get()
    begin() if made is None else made(begin)


def generator(rng: Any = None) -> np.random.Generator:
    """``rng``, or a generator of its own for one consumer, spawned from the seed of
    ``manual_seed``. TypeError for an rng that is none, such as a seed."""
    if rng is not None:
        # by its class: a recorded one refuses its state, and CuPy's has that for itself alone
        if not any(hasattr(type(rng), name) for name in ("bit_generator", "standard_normal")):
            raise TypeError(f"rng: {rng!r} came, wanted a generator: np.random.default_rng(seed)")
        return rng  # type: ignore[no-any-return]
    made = recording.get()
    return spawn() if made is None else made(spawn)


def state() -> dict[str, Any]:
    """How far the spawning has come, for ``restore``."""
    return dict(_root.state)


def restore(state: dict[str, Any]) -> None:
    """Go on spawning from an earlier ``state()``."""
    global _root
    _root = np.random.SeedSequence(**state)


def spawn() -> np.random.Generator:
    return np.random.default_rng(_root.spawn(1)[0])
