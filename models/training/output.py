"""What is said to a person while something is computed: it may get lost, and it costs nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

from tinygrad_rnn import distributed

# What a terminal would obey instead of showing it; line breaks and tabs may stay.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text with control characters as escapes: a model may write anything."""
    return CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def escape_what_cannot_be_shown() -> None:
    """From here on, characters that the encoding of the terminal lacks are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None; closed; no text stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def occupy_what_is_closed() -> None:
    """Standard streams that are closed lead nowhere, so that no file that is opened becomes one."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)


def silence(stream: TextIO | None) -> None:
    """Nobody reads this stream any more: what is left in it, and what comes, goes nowhere."""
    with suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def say(text: str = "") -> None:
    """Print, if anybody reads; of several ranks the first speaks for all."""
    if distributed.rank() == 0:
        Unbreakable(sys.stdout).write(plain(text) + "\n")


def unbreakable(show: Callable[[str], Any]) -> Callable[[str], None]:
    """The same way of showing a text, but where it fails the text is lost and nothing else."""

    def shown(text: str) -> None:
        with suppress(OSError, ValueError):
            show(text)

    return shown


class Unbreakable:
    """A text stream whose reader may go away: a closed pipe, a terminal that hangs up, a full disk;
    and that may lack characters, which are then written as escapes."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError as error:
                    known = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
                    self._stream.write(known)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: it is closed
                silence(self._stream)
        return len(text)

    def flush(self) -> None:
        self.write("")

    def __eq__(self, other: object) -> bool:  # tqdm asks whether bar and text share a screen
        return self._stream is getattr(other, "_stream", other)

    def __hash__(self) -> int:
        return hash(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
