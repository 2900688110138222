"""Kinds of arguments, and how a person calls this program."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

COMMAND = os.environ.get("TINYGRAD_RNN_COMMAND", "tinygrad-rnn")  # how a person calls it


def positive(kind: type[int | float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    read.__name__ = f"positive {kind.__name__}"
    return read


def at_least_zero(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def probability(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value
