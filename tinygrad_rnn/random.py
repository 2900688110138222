"""Random numbers: one seed, and an independent np.random.Generator for each consumer."""

import numpy as np

__all__ = ["generator", "manual_seed"]

_root = np.random.SeedSequence()


def manual_seed(seed):
    """Start all random numbers of the library anew: the same seed and program, the same numbers.

    Args:
        seed: a whole number, not negative.
    """
    global _root
    _root = np.random.SeedSequence(seed)


def generator():
    """A generator of its own for one consumer, spawned from the seed of ``manual_seed``."""
    return np.random.default_rng(_root.spawn(1)[0])
