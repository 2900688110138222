"""``tinygrad-rnn check FILE[:LAYER] ...``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..cores import available
from .apart import check_apart
from .files import files_in
from .layer import SECONDS
from .loading import LoadError
from .page import page
from .patch import patch
from .report import VERDICTS, Report
from .words import LANGUAGES, Said, in_language, language, padded, speaker, wide


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, in the language of the locale, or of ``--lang`` beside ``--help``."""
    tr = speaker(language(_asked(sys.argv)))

    class Help(argparse.RawDescriptionHelpFormatter):
        """What argparse says of itself, in that language, too."""

        def add_usage(self, usage, actions, groups, prefix=None):
            super().add_usage(usage, actions, groups, prefix or tr("usage: "))

        def start_section(self, heading):
            super().start_section({"positional arguments": tr("positional arguments"),
                                   "options": tr("options")}.get(heading, heading))

        def add_argument(self, action):
            if action.dest == "help":
                action.help = tr("show this help message and exit")
            super().add_argument(action)

    parser.formatter_class = Help
    parser.description = tr(
        "Compare the hand-written backward of every layer in a file with the derivative of its own"
        " forward.\nA layer is a class with forward and backward, and with params and grads if it"
        " has parameters.")
    parser.epilog = tr(
        "exit status: 0 right, 1 wrong, 2 could not be checked, or nothing was found to check\n"
        "The file is executed, with the rights of the caller, in a process of its own: its"
        " definitions,\nimports and assignments, and its \"if\" and \"try\" at the top level, too."
        " Its loops and bare calls at\nthe top level are not.")
    parser.add_argument("files", metavar="FILE[:LAYER]", nargs="+", help=tr(
        "a Python file or a notebook, and the one class of it to check; a folder: all files below"
        " it; -: standard input"))
    parser.add_argument("--make", metavar="EXPRESSION", help=tr(
        'how to construct the layer: "MyCell(D=3, H=4)", or a function of the file that returns it,'
        " alone or as (layer, inputs...)"))
    parser.add_argument("--json", action="store_true", help=tr("print JSON"))
    parser.add_argument("--patch", action="store_true", help=tr(
        "print the repairs that were found, for git apply; no file is edited"))
    parser.add_argument("--html", metavar="FILE", type=Path, help=tr(
        "write all reports to one page"))
    parser.add_argument("--lang", choices=LANGUAGES, help=tr(
        "the language of the reports (default: that of the locale)"))
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=tr(
        "of the random values (default {n})", n=0))
    parser.add_argument("--time-limit", type=float, default=SECONDS, metavar="SECONDS", help=tr(
        "of CPU time, for one run of one layer; and of the search for its mistakes, the work that"
        " is done in that time (default {n})", n=f"{SECONDS:g}"))
    parser.set_defaults(run=run)


def _asked(arguments: list[str]) -> str | None:
    """The language that is asked for, before anything is parsed."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option == "--lang" or option.startswith("--lang="):
            return option[len("--lang="):] or value
    return None


def split(text: str) -> tuple[str, str | None]:
    """ "layers.py:TimeLSTM" -> path and class; a colon inside a path stays there."""
    path, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not os.path.exists(text):
        return path, name
    return text, None


class Checked:
    """One file: its reports, or why there are none."""

    def __init__(self, path: Path, only: str | None, args: argparse.Namespace):
        self.path = path
        self.reports: list[Report] = []
        self.error: str = ""
        source = sys.stdin.read() if str(path) == "-" else None
        if source is not None:
            self.path = path = Path("stdin")
        try:
            self.reports = check_apart(path, only, args.make, args.seed, True, args.time_limit,
                                       source)
        except LoadError as error:
            self.error = _as_given(error.args[0], path)

    def verdicts(self):
        return {r.verdict for r in self.reports} | ({"unchecked"} if self.error else set())


def _as_given(said: Said, path: Path) -> Said:
    """A sentence that names a file as the command line does."""
    whole = str(path.resolve())
    return Said.of(said.template, {k: v.replace(whole, str(path)) if type(v) is str else v
                                   for k, v in said.values.items()})


def run(args: argparse.Namespace) -> int:
    """Print the reports; returns the exit status."""
    jobs = [(path, only) for text in args.files for name, only in [split(text)]
            for path in files_in(Path(name))]
    many = len(jobs) != 1 or any(Path(split(text)[0]).is_dir() for text in args.files)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lang = language(args.lang)
    done = []
    with ThreadPoolExecutor(min(4, available())) as pool:
        for checked in pool.map(lambda job: Checked(job[0], job[1], args), jobs):
            done.append(checked)
            if not args.json and not args.patch:
                show(checked, many, colour, lang)
    if args.html:
        args.html.write_text(page([(str(c.path), c.reports, c.error) for c in done], lang),
                             "utf-8")
    if args.json:
        print(json.dumps({"layers": [{**r.as_dict(), "path": str(c.path)} for c in done
                                     for r in c.reports],
                          "errors": [c.error for c in done if c.error]},
                         indent=2, ensure_ascii=False))
    elif args.patch:
        changes = [c.change for d in done for r in d.reports for c in r.causes if c.change]
        cells = dict.fromkeys(c.filename for c in changes if re.search(r", cell \d+$", c.filename))
        print(patch([c for c in changes if c.filename not in cells]), end="")
        if cells:
            print(_in("not in the patch: git apply edits no cell of a notebook ({cells})", lang,
                      cells="; ".join(map(_below, cells))), file=sys.stderr)
    elif many:
        print(table(done, lang) if done else _in("no file with a layer in {files}", lang,
                                                 files=", ".join(args.files)))
    return status(done)


def _below(path: str) -> str:
    """A path, relative to the current folder if it is below it."""
    here, there = Path.cwd(), Path(path)
    return str(there.relative_to(here) if there.is_relative_to(here) else there)


def show(checked: Checked, many: bool, colour: bool, lang: str) -> None:
    """One file; of many, what is right in one line."""
    reports = checked.reports
    if checked.error:
        print(f"tinygrad-rnn check: {in_language(checked.error, lang)}", file=sys.stderr)
    elif not reports and not many:
        print(_in("{path} has no layer: no class with forward", lang, path=checked.path),
              file=sys.stderr)
    if not reports:
        return
    if not many:
        print("\n\n".join(r.text(colour, lang) for r in reports))
        if len(reports) > 1:
            print("\n" + summary(reports, lang))
        return
    print(f"{checked.path}")
    right = [r.name for r in reports if r.verdict == "ok"]
    if right:
        print(f"  {_in('ok', lang)}: {', '.join(right)}")
    for r in reports:
        if r.verdict != "ok":
            print("\n".join("  " + line for line in r.text(colour, lang).splitlines()))
    print()


def _in(template: str, lang: str, **values: Any) -> str:
    return speaker(lang)(template, **values)


def table(done: list[Checked], lang: str) -> str:
    """The files with layers, and how many of each verdict."""
    rows = [(str(c.path), [sum(r.verdict == v for r in c.reports) for v in VERDICTS])
            for c in done if c.reports]
    rows += [(str(c.path), [0, 0, 0, 1]) for c in done if c.error]
    columns = zip(*(n for _, n in rows), strict=True)
    rows.append((_in("in all", lang), [sum(n) for n in columns] or [0] * len(VERDICTS)))
    width = max(wide(name) for name, _ in rows)
    heads = [padded(_in(v, lang), 10, right=True) for v in VERDICTS]
    lines = [f"{'':{width}}  " + "  ".join(heads)]
    lines += [f"{padded(name, width)}  " + "  ".join(f"{n or '':>10}" for n in counts)
              for name, counts in rows]
    return "\n".join(line.rstrip() for line in lines)


def summary(reports: list[Report], lang: str) -> str:
    counts = [(sum(r.verdict == v for r in reports), v) for v in (
        "ok", "convention", "wrong", "unchecked")]
    return _in("{n} layers: {counts}", lang, n=len(reports), counts=", ".join(
        f"{n} {_in(v, lang)}" for n, v in counts if n))


def status(done: list[Checked]) -> int:
    """1 if a layer is wrong; 2 if one could not be checked, or there was none; else 0."""
    verdicts = set().union(*(c.verdicts() for c in done))
    if "wrong" in verdicts:
        return 1
    return 2 if "unchecked" in verdicts or not verdicts else 0
