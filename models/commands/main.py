"""The command line: ``tinygrad-rnn`` and ``python -m tinygrad_rnn``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tinygrad_rnn.check import command as check

from ..data import DataError
from ..training import Interrupted
from . import machine, pictures, train, use
from .arguments import COMMAND


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=COMMAND, description="Train and use the models of the book's chapters 5 to 8, and"
        " check layers of one's own."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train.add_arguments(commands.add_parser("train", help="train a model"))
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
    args = parser().parse_args(arguments)
    try:
        return args.run(args) or 0
    except Interrupted as stop:
        print(f"\ntinygrad-rnn: {stop}", file=sys.stderr)
        return 130
    except (DataError, ImportError, OSError) as error:
        print(f"tinygrad-rnn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntinygrad-rnn: interrupted", file=sys.stderr)
        return 130
