"""The command line: ``tinygrad-rnn`` and ``python -m tinygrad_rnn``."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import tinygrad_rnn
from tinygrad_rnn import distributed
from tinygrad_rnn.check import command as check

from ..training import Interrupted
from ..training.output import (
    Unbreakable,
    escape_what_cannot_be_shown,
    occupy_what_is_closed,
    plain,
    silence,
)
from ..training.ranks import Common
from . import machine, pictures, sweep, train, use
from .arguments import COMMAND, NAME, Parser
from .errors import FAILED, MISTAKE, caused_by_user, sentence


def parser() -> Parser:
    top = Parser(
        prog=COMMAND, description="Train and use the models of the book's chapters 5 to 8, and"
        " check layers of one's own."
    )
    top.add_argument("--version", action="version", version=f"{NAME} {tinygrad_rnn.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train.add_arguments(commands.add_parser("train", help="train a model"))
    sweep.add_arguments(commands.add_parser(
        "sweep", help="train once for every combination of settings"
    ))  # fmt: skip
    use.add_arguments(commands)
    pictures.add_arguments(commands)
    check.add_arguments(commands.add_parser(
        "check", help="compare hand-written backward passes with automatic differentiation"
    ))  # fmt: skip
    machine.add_arguments(commands.add_parser(
        "info", help="versions, the CPU, and the kernels that NumPy's matrix products use"
    ))  # fmt: skip
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status, see ``errors``."""
    occupy_what_is_closed()
    escape_what_cannot_be_shown()
    args = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's; trainings look themselves
            warnings.showwarning = lambda message, *_, **__: complain(f"{NAME}: {message}")
            status = args.run(args) or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is an error now, and not at exit
        return status
    except Interrupted as stop:
        if stop.at_once:
            return last_words(f"\n{NAME}: {stop}", stop.status)
        if first():
            complain(f"\n{NAME}: {stop}")
        return stop.status
    except Common as error:
        if first():
            complain(f"{NAME}: {sentence(error)}")
        return FAILED
    except KeyboardInterrupt:
        return last_words(f"\n{NAME}: interrupted", 130)
    except BrokenPipeError:
        silence(sys.stdout)
        return 141
    except Exception as error:
        if os.environ.get("TINYGRAD_RNN_TRACEBACK"):
            traceback.print_exc()
        if caused_by_user(error):
            return last_words(f"{NAME}: {sentence(error)}", FAILED)
        return last_words(f"{NAME}: a mistake of this program, please report it: {sentence(error)}"
                          " (TINYGRAD_RNN_TRACEBACK=1 shows where)", MISTAKE)
    finally:
        Unbreakable(sys.stdout).flush()  # so that Python itself has nothing left to fail at


def first() -> bool:
    """Whether this process speaks for all."""
    return distributed.rank() == 0


def last_words(text: str, status: int) -> int:
    """Complain; one of several ranks says which it is, and ends the others, who wait for it."""
    if "mpi4py.MPI" not in sys.modules or distributed.size() == 1:
        complain(text)
        return status
    complain(text.replace(f"{NAME}:", f"{NAME}: rank {distributed.rank()}:", 1))
    distributed.end_all(status)
    return status


def complain(text: str) -> None:
    Unbreakable(sys.stderr).write(plain(text) + "\n")
