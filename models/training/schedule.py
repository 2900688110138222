"""Schedules of the learning rate, by name. A rate is ``lr`` times what the schedule says:

constant     1
exponential  multiplied by ``lr_decay`` after every epoch
plateau      divided by ``stall_divisor`` after every epoch that was not the best so far
linear       falls from 1 to 0 over all steps of the run
cosine       the same along half a cosine (Loshchilov & Hutter, 2017)

Before any of them the rate may rise from 0 over the first ``warmup`` steps (Goyal et al., 2017).
"""

from __future__ import annotations

import math
from typing import Any

from ..data import DataError

NAMES = ("constant", "exponential", "plateau", "linear", "cosine")
OVER_ALL_STEPS = ("linear", "cosine")  # so a longer run has another rate from its first step on
HALVED, STALLED = 0.5, 4.0  # what exponential and plateau do where nothing else is said


def factor(schedule: str, warmup: int, step: int, total: int) -> float:
    """What the rate is multiplied by in step ``step`` (from 0) of ``total``."""
    done = step / total
    shape = {"linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
    return min(1.0, (step + 1) / (warmup + 1)) * shape.get(schedule, 1.0)


def settings(preset: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The settings that a schedule given by name, or by its number, brings with it.

    DataError for a number that the schedule does not read.
    """
    name, decay = given.get("schedule"), given.get("lr_decay")
    if name is None:
        return {} if decay is None else {"schedule": "exponential"}
    if decay is not None and name != "exponential":
        raise DataError(f"--lr-decay {decay} is of --schedule exponential, not of {name}")
    numbers = {"lr_decay": 1.0, "stall_divisor": 1.0}
    if name == "exponential":
        numbers["lr_decay"] = HALVED
    if name == "plateau":
        numbers["stall_divisor"] = STALLED
    same = preset.get("schedule") == name
    return {key: preset.get(key, value) if same else value for key, value in numbers.items()}
