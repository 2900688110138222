"""What is common to the readers of files: one error, and names that are safe to show."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Arrays", "FormatError", "StrPath", "from_bfloat16", "numpy_of", "read_bytes", "shown",
    "spoiled", "text_of", "write_atomically"]

StrPath: TypeAlias = str | PathLike[str]


class FormatError(ValueError):
    """A file is not what it should be: cut off, damaged, of another kind, or made to do harm.

    The message is one sentence: the file, and what is wrong with it.
    """


def read_bytes(path: StrPath) -> bytes:
    """What a file holds. FileNotFoundError for none, FormatError for what is no regular file,
    TypeError for what is no path."""
    if not isinstance(path, str | PathLike):
        raise TypeError(f"the path of a file is wanted, {type(path).__name__} came")
    if Path(path).exists() and not Path(path).is_file():  # a device or a pipe may have no end
        raise FormatError(f"{path}: not a file")
    return Path(path).read_bytes()


def shown(text: object, most: int = 60) -> str:
    """Text that a file holds, for a message: no control characters, no more than a line of it."""
    short = isinstance(text, (str, float)) or (isinstance(text, int) and text.bit_length() < 10_000)
    text = str(text) if short else type(text).__name__  # Python writes no number that is longer
    safe = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return safe if len(safe) <= most else safe[: most - 3] + "..."


class Arrays(dict[str, np.ndarray]):
    """Arrays by name, and in ``left``, by name, what else was there and did not come: why.

    ``verified``: whether the file had digests, and the arrays are what these say.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.left: dict[str, str] = {}
        self.verified = False


def text_of(value: object) -> str:
    """Text that a library gives as bytes, or as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 of bfloat16, whose 16 bits, here as integers, are its upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def numpy_of(a: Any) -> np.ndarray:
    """The array behind what a library holds its weights in; float32 for bfloat16."""
    if hasattr(a, "detach"):  # of PyTorch, or of ours
        a = a.detach()
        a = a.cpu() if hasattr(a, "cpu") else a
        a = a.float() if str(getattr(a, "dtype", "")) == "torch.bfloat16" else a
        return np.asarray(a.numpy())
    return np.asarray(a)


def spoiled(array: np.ndarray) -> str:
    """What is wrong with the numbers of an array, "3 NaN and 1 infinite"; "" if nothing is."""
    if array.dtype.kind != "f":
        return ""
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    return " and ".join(f"{n:,} {what}" for n, what in ((nan, "NaN"), (infinite, "infinite")) if n)


def write_atomically(path: StrPath, content: bytes) -> None:
    """Replace a file in one step: at every moment it is the old one or the new one, whole.

    Also when the machine loses power: the content is on the disk before the name is, and the name
    before this returns. Each writer has a ``.part`` file of its own. OSError when it cannot be
    written; the old file is then as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(path)  # the name that the caller knows
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where a system has that."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # a file system that knows no such thing keeps its names by itself
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

