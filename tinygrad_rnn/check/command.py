"""``tinygrad-rnn check FILE[:Layer]``."""

from __future__ import annotations

import argparse
import os
import sys

from .layer import SECONDS, check_file
from .loading import LoadError
from .report import Report, as_json

DESCRIPTION = """\
Compare the hand-written backward of every layer in a file with the derivative of its own forward.
A layer is a class with forward and backward, and with params and grads if it has parameters.
"""
EPILOG = """\
exit status: 0 right, 1 wrong, 2 could not be checked
The file's definitions are executed, with the rights of the caller; its loops and calls at the top
level are not.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("file", metavar="FILE[:LAYER]",
                        help="a Python file, and the one class of it to check")
    parser.add_argument("--make", metavar="EXPRESSION",
                        help='how to construct the layer: "MyCell(D=3, H=4)", or a function of the'
                        " file that returns it, alone or as (layer, inputs...)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of the random values (default 0)")
    parser.add_argument("--time-limit", type=float, default=SECONDS, metavar="SECONDS",
                        help=f"for one run of one layer (default {SECONDS:g})")
    parser.set_defaults(run=run)


def split(text: str) -> tuple[str, str | None]:
    """ "layers.py:TimeLSTM" -> path and class; a colon inside a path stays there."""
    path, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not os.path.exists(text):
        return path, name
    return text, None


def run(args: argparse.Namespace) -> int:
    """Print the reports; returns the exit status."""
    path, only = split(args.file)
    try:
        reports = check_file(path, only, args.make, args.seed, seconds=args.time_limit)
    except LoadError as error:
        print(f"tinygrad-rnn check: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(as_json(reports))
    elif not reports:
        print(f"{path} has no layer: no class with forward", file=sys.stderr)
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print("\n\n".join(r.text(colour) for r in reports))
        if len(reports) > 1:
            print("\n" + summary(reports))
    return status(reports)


def summary(reports: list[Report]) -> str:
    counts = [(sum(r.verdict == v for r in reports), v) for v in (
        "ok", "convention", "wrong", "unchecked")]
    return f"{len(reports)} layers: " + ", ".join(f"{n} {v}" for n, v in counts if n)


def status(reports: list[Report]) -> int:
    verdicts = {r.verdict for r in reports}
    if "wrong" in verdicts:
        return 1
    return 2 if "unchecked" in verdicts or not reports else 0
