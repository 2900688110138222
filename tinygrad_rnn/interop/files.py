"""What is common to the readers of files: one error, and names that are safe to show."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Arrays", "FormatError", "StrPath", "read_bytes", "shown", "spoiled"]

StrPath: TypeAlias = str | PathLike[str]


class FormatError(ValueError):
    """A file is not what it should be: cut off, damaged, of another kind, or made to do harm.

    The message is one sentence: the file, and what is wrong with it.
    """


def read_bytes(path: StrPath) -> bytes:
    """What a file holds. FileNotFoundError for none, FormatError for what is no regular file."""
    if Path(path).exists() and not Path(path).is_file():  # a device or a pipe may have no end
        raise FormatError(f"{path}: not a file")
    return Path(path).read_bytes()


def shown(text: object, most: int = 60) -> str:
    """Text that a file holds, for a message: no control characters, no more than a line of it."""
    text = str(text) if isinstance(text, (str, int, float)) else type(text).__name__
    safe = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return safe if len(safe) <= most else safe[: most - 3] + "..."


class Arrays(dict[str, np.ndarray]):
    """Arrays by name, and in ``left``, by name, what else was there and did not come: why."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.left: dict[str, str] = {}


def spoiled(array: np.ndarray) -> str:
    """What is wrong with the numbers of an array, "3 NaN and 1 infinite"; "" if nothing is."""
    if array.dtype.kind != "f":
        return ""
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    return " and ".join(f"{n:,} {what}" for n, what in ((nan, "NaN"), (infinite, "infinite")) if n)
