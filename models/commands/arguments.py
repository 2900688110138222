"""Kinds of arguments, and how a person calls this program."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tinygrad_rnn import distributed

NAME = "tinygrad-rnn"  # of the program, wherever it speaks of itself


def join(words: Sequence[str]) -> str:
    """Words as one line that the user's shell takes apart again."""
    return " ".join(map(_windows, words)) if sys.platform == "win32" else shlex.join(words)


def _windows(word: str) -> str:
    """A word as programs of Windows take it apart; ``&`` and the like, which mean something to cmd
    and PowerShell, only in quotes."""
    quoted = subprocess.list2cmdline([word])
    plain = quoted.startswith('"') or re.fullmatch(r"[\w\\/:.,=+-]+", word)
    return quoted if plain else f'"{quoted}"'


def how_called() -> str:
    """What a person types to call this program, so that what we suggest can be pasted."""
    if given := os.environ.get("TINYGRAD_RNN_COMMAND"):  # set by run.py
        return given
    called, program = Path(sys.argv[0]), [NAME]
    if called.parts[-2:] == ("tinygrad_rnn", "__main__.py"):
        program = [_shortest(sys.executable), "-m", "tinygrad_rnn"]
    elif called.stem == NAME:
        program = [_shortest(sys.argv[0])]
    # `uv run` finds programs that the shell around it does not
    return join(["uv", "run", *program] if "UV_RUN_RECURSION_DEPTH" in os.environ else program)


def _shortest(program: str) -> str:
    """The name alone, where the shell finds this very program by it."""
    name = os.path.basename(program)
    return name if shutil.which(name) == program else program


COMMAND = how_called()


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and takes options by their whole names: ``--data`` must
    not be ``--data-changed`` where there is no other.

    No file or folder has an empty name: a variable that the shell does not know becomes one, and
    must not be taken for an option that was left out.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        if options.get("metavar") in PATHS and not options.keys() & {"type", "const"}:
            options["type"] = name_of_file
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        first = True
        with suppress(ImportError):  # started by MPI, without mpi4py
            first = distributed.rank() == 0
        self.exit(2, f"{NAME}: {message}; see {self.prog} --help\n" if first else None)


PATHS = ("FILE", "DIR", "MODEL")  # how help calls them


def name_of_file(text: str) -> str:
    if not text:
        raise ValueError
    return text


name_of_file.__name__ = "name"


def command(*arguments: object) -> str:
    """A command that can be pasted into the user's shell."""
    return f"{COMMAND} {join([str(argument) for argument in arguments])}"


def number(kind: type[int | float], name: str, fits: Callable[[float], bool],
           ) -> Callable[[str], float]:
    """A reader of numbers that fit, which argparse calls by this name."""

    def read(text: str) -> float:
        value = kind(text)
        if not fits(value):
            raise ValueError
        return value

    read.__name__ = name
    return read


def positive(kind: type[int | float]) -> Callable[[str], float]:
    return number(kind, f"positive {kind.__name__}", lambda x: 0 < x < math.inf)


def at_least_zero(kind: type[int | float]) -> Callable[[str], float]:
    return number(kind, f"{kind.__name__} of at least zero", lambda x: 0 <= x < math.inf)


share = number(float, "share (0 to below 1)", lambda x: 0 <= x < 1)
share_of_all = number(float, "share (0 to 1)", lambda x: 0 <= x <= 1)
probability = number(float, "probability (above 0, to 1)", lambda x: 0 < x <= 1)


def duration(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``30m``, ``8h``, ``1:30:00``."""
    if found := re.fullmatch(r"(?:(\d+):(?=[0-5]\d:))?(\d+):([0-5]\d)", text):
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return 3600 * hours + 60 * minutes + seconds
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text):
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
    raise ValueError
