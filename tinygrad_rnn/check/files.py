"""Check the layers of a file, of a folder, of whatever is handed over: which ones there are, in
which order, and how long each may take."""

from __future__ import annotations

import contextlib
import re
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from . import recipes
from .apart import check_apart
from .forms import as_layer, layers_of
from .layer import SECONDS, check_class, check_layer, could_not_run, unchecked
from .limits import TimeUp, time_limit
from .loading import LoadError, Program
from .parts import mended, names_of, parts_of
from .recipes import CannotMake
from .report import Cause, Report
from .running import CannotRun

# Folders that hold no code of the author.
_NOT_THEIRS = {"site-packages", "node_modules", "__pycache__", "build", "dist", "venv", "env"}
# What a file says that has a layer: a backward, under one of its names.
_HAS_A_LAYER = re.compile(rb"def\s+\w*(backward|bprop|back_?prop|grad)", re.IGNORECASE)


def check(what: Any, *inputs: Any, **options: Any) -> Any:
    """Check whatever is handed over.

    Args:
        what: a class or an object (returns a ``Report``), or a module, or the path of a file or a
            folder (returns a list of them).
        inputs: for an object: what its ``forward`` takes.
        options: those of ``check_class``, ``check_layer`` or ``check_file``.

    Raises LoadError for a path where nothing can be read.
    """
    if isinstance(what, type):
        return check_class(as_layer(what) or what, **options)
    if isinstance(what, types.ModuleType):
        return [check_class(c, **options) for c in _layers_in(what)]
    if isinstance(what, (str, Path)):
        return [r for path in files_in(Path(what)) for r in check_file(path, **options)]
    return check_layer(what, *inputs, **options)


def _layers_in(module: types.ModuleType):
    return [c for c in vars(module).values() if isinstance(c, type)
            and c.__module__ == module.__name__ and callable(getattr(c, "forward", None))
            and callable(getattr(c, "backward", None))]


def check_file(path: str | Path, only: str | None = None, make: str | None = None, seed: int = 0,
               explain: bool = True, seconds: float = SECONDS) -> list[Report]:
    """Check the layers of a file, all or the one named ``only``; ``make``: see ``--make``.

    The file, a Python file or a notebook, is executed, in a process of its own.

    Returns a ``Report`` for each. Raises LoadError if there is no such file, if it is no Python,
    and if it has no such layer.
    """
    return check_apart(path, only, make, seed, explain, seconds)


def check_here(path: str | Path, only: str | None = None, make: str | None = None, seed: int = 0,
               explain: bool = True, seconds: float = SECONDS) -> list[Report]:
    """The same in this process, which what is checked may end."""
    checks = Checks(Program(path, seconds), only, make, seed, explain, seconds)
    return [report for _, run in checks.found for report in run()]


def files_in(path: Path) -> list[Path]:
    """The file itself; of a folder, those below it, Python and notebooks, that have a layer."""
    if not path.is_dir():
        return [path]
    return [p for p in sorted(path.rglob("*")) if p.suffix in (".py", ".ipynb") and p.is_file()
            and not any(part in _NOT_THEIRS or part.startswith(".")
                        for part in p.relative_to(path).parts)
            and _HAS_A_LAYER.search(p.read_bytes())]


class Checks:
    """The checks of one loaded file: ``found`` has the name of each and the call that makes it."""

    def __init__(self, program: Program, only: str | None, make: str | None, seed: int,
                 explain: bool, seconds: float):
        self.program, self.seed, self.explain, self.seconds = program, seed, explain, seconds
        # causes are looked for as long as there is time
        self.end = time.process_time() + 1.5 * seconds
        layers = layers_of(program)
        failed = {k: v for k, v in program.main.failed.items() if k.isidentifier()}
        if only is not None:
            found = [(n, c) for n, c in layers if n == only]
            failed = {k: v for k, v in failed.items() if k == only}
            if not found and not failed:
                have = ", ".join(n for n, _ in layers) or "none"
                raise LoadError(f"{program.path} has no layer {only} (a class with forward); it"
                                f" has: {have}")
            layers = found
        self.left = len(layers)
        self.verdicts: dict[type, str] = {}
        self.found: list[tuple[str, Callable[[], Iterator[Report]]]] = []
        if make is not None:
            self.found = [(only or make, lambda: self._made(make, only or make))]
            return
        self.found = [(name, partial(self._layer, name, c)) for name, c in layers]
        self.found += [(name, partial(self._failed, name, why)) for name, why in failed.items()]

    def _failed(self, name: str, why: str):
        return self._with_file([unchecked(Report(name), f"{name} cannot be defined: {why}")])

    def _layer(self, name, cls):
        now = time.process_time()
        share = now + max(1.0, (self.end - now) / min(self.left, 3)) if self.end > now else now
        self.left -= 1
        try:
            report = self._with_parts(name, cls, share)
        except (Exception, SystemExit) as error:
            report = unchecked(Report(name), "the check itself failed:"
                               f" {type(error).__name__}: {error}")
        yield from self._with_file([report])

    def _with_parts(self, name, cls, end: float) -> Report:
        """The report of a class. Where it is wrong and uses a layer that is wrong, that is said,
        and whether it is right once that is mended."""
        def checked(c, explain, seconds_end=end):
            return check_class(c, None, name if c is cls else None, self.seed, explain,
                               self.seconds, seconds_end)

        parts = parts_of(cls)
        report: Report = checked(cls, self.explain and not parts)
        if report.verdict == "wrong" and parts:
            wrong = [part for part in parts if self._is_wrong(part, checked)]
            if not wrong:
                report = checked(cls, self.explain)
            else:
                with contextlib.ExitStack() as stack:
                    for part in wrong:
                        stack.enter_context(mended(part))
                    after = checked(cls, False)
                text = f"{name} uses {names_of(wrong)}, which is wrong: mend that first"
                if not after.ok and self.explain:
                    report = checked(cls, True)
                    report.notes.insert(0, text + f"; {name} is not right then either")
                else:
                    report.kind, report.line = "inherits", None
                    report.cause = text + f"; {name} itself is right"
                    report.causes = [Cause("inherits", report.cause)]
        self.verdicts[cls] = report.verdict
        return report

    def _is_wrong(self, part, checked):
        if part not in self.verdicts:
            self.verdicts[part] = checked(part, False).verdict
        return self.verdicts[part] == "wrong"

    def _made(self, make, name):
        try:
            with time_limit(self.seconds):
                recipe = recipes.from_expression(make, self.program.module)
                cls = type(recipe.setup().layer)
            report = check_class(cls, recipe, None, self.seed, self.explain, self.seconds, self.end)
        except CannotMake as error:
            report = unchecked(Report(name), str(error))
        except CannotRun as error:
            report = could_not_run(Report(name), error, str(self.program.path))
        except TimeUp:
            report = unchecked(Report(name), f"not finished within {self.seconds:g} s")
        yield from self._with_file([report])

    def _with_file(self, reports):
        for report in reports:
            report.file = report.file or self.program.path.name
            report.notes += [f"{name} is not found: a stand-in of this project is used for it"
                             for name in self.program.missing]
            yield report
