"""Check the layers of a file, of a folder, of whatever is handed over: which ones there are, in
which order, and how long each may take."""

from __future__ import annotations

import contextlib
import copy
import re
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from . import limits, recipes
from .apart import check_apart
from .book import anywhere
from .forms import (
    as_layer,
    completes,
    goes,
    halves,
    layer_of_function,
    layers_of,
    take_in_methods,
)
from .layer import SECONDS, check_class, check_layer, could_not_run, unchecked
from .limits import TimeUp, time_limit, worked
from .loading import LoadError, Program
from .parts import mended, parts_of
from .recipes import CannotMake
from .report import Cause, Report
from .running import CannotRun
from .words import join, say

# Folders that hold no code of the author.
_NOT_THEIRS = {"site-packages", "node_modules", "__pycache__", "build", "dist", "venv", "env"}
# What a file says that has a layer: a backward, under one of its names, or a loss that is returned
# with its gradients.
_HAS_A_LAYER = re.compile(rb"(?i:def\s+\w*(back_?ward|back_?prop|b_?prop|bwd|grad))"
                          rb"|\breturn\s+\(?\w+\s*,\s*\(?(d_?[A-Z]|(?i:\w*grad))")
_DEFINED = re.compile(r"^def\s+(\w+)", re.MULTILINE)


def check(what: Any, *inputs: Any, **options: Any) -> Any:
    """Check whatever is handed over.

    Args:
        what: a class, a function or an object (returns a ``Report``), or a module, or the path of
            a file or a folder (returns a list of them). Of functions, either of the two.
        inputs: for an object: what its ``forward`` takes.
        options: those of ``check_class``, ``check_layer`` or ``check_file``.

    Raises LoadError for a path where nothing can be read.
    """
    if isinstance(what, type):
        return check_class(as_layer(what) or what, **options)
    if isinstance(what, types.FunctionType):
        name, made = layer_of_function(what)
        return check_class(made, name=name, **options)
    if isinstance(what, types.ModuleType):
        return check_defined(vars(what), what.__name__, **options)
    if isinstance(what, (str, Path)):
        return [r for path in files_in(Path(what)) for r in check_file(path, **options)]
    cls = as_layer(type(what))
    if cls is not None and cls is not type(what):  # its methods have other names
        what = copy.copy(what)
        what.__class__ = cls
    return check_layer(what, *inputs, **options)


def check_defined(own: dict[str, Any], home: str, only: Any = None, beside: Any = None,
                  called: str = "", **options: Any) -> list[Report]:
    """Check the layers among what a module of the name ``home`` defines; ``only``: their names,
    ``beside``: see ``layers_of``, ``called``: what the place is called."""
    layers = layers_of(own, home, beside)
    only = [only] if isinstance(only, str) else only
    if missing := [name for name in only or () if name not in dict(layers)]:
        raise _no_layer(called or home, missing, layers)
    return [check_class(c, name=n, **options) for n, c in layers if not only or n in only]


def _no_layer(path, names, layers):
    return LoadError(say("{path} has no layer {name} (a class with forward); it has: {have}",
                         path=str(path), name=", ".join(names),
                         have=", ".join(n for n, _ in layers) or say("none")))


def check_file(path: str | Path, only: str | None = None, make: str | None = None, seed: int = 0,
               explain: bool = True, seconds: float = SECONDS) -> list[Report]:
    """Check the layers of a file, all or the one named ``only``; ``make``: see ``--make``.

    The file, a Python file or a notebook, is executed, in a process of its own (in a browser, where
    there is none, in this one).

    Returns a ``Report`` for each. Raises LoadError if there is no such file, if it is no Python,
    and if it has no such layer.
    """
    run = check_here if limits.ALONE else check_apart
    return run(path, only, make, seed, explain, seconds)


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
        self.end = worked() + 1.5 * seconds
        own, home = program.main.own, program.module.__name__
        self.taken_in = take_in_methods(own, home)
        layers = layers_of(own, home, self._beside(own))
        failed = {k: v for k, v in program.main.failed.items() if k.isidentifier() and (
            k[0].isupper() or goes(k) or "loss" in k)}  # what else a file defines is no layer
        if only is not None:
            found = [(n, c) for n, c in layers if n == only]
            failed = {k: v for k, v in failed.items() if k == only}
            if not found and not failed:
                raise _no_layer(program.path, [only], layers)
            layers = found
        self.left = len(layers)
        self.verdicts: dict[type, str] = {}
        self.known: dict[Any, recipes.Search] = {}  # how classes are made and called
        self.found: list[tuple[str, Callable[[], Iterator[Report]]]] = []
        if make is not None:
            self.found = [(only or make, lambda: self._made(make, only or make))]
            return
        self.found = [(name, partial(self._layer, name, c)) for name, c in layers]
        self.found += [(name, partial(self._failed, name, why)) for name, why in failed.items()]

    def _beside(self, own):
        """Functions of other modules: those that the file imports, and, for what goes one way
        alone, those of the files beside it that go the other."""
        program = self.program
        found = {k: v for k, v in vars(program.module).items()
                 if isinstance(v, types.FunctionType) and k not in own}
        missing = halves(own)
        for path in sorted(program.path.parent.glob("*.py")) if missing else ():
            wanted = [name for name in _DEFINED.findall(path.read_text("utf-8", "replace"))
                      if completes(name, missing)]
            if wanted and path != program.path:
                with contextlib.suppress(Exception):
                    module = program.importer(path.stem, fromlist=wanted)
                    found |= {k: vars(module)[k] for k in wanted if k not in found}
        return found

    def _failed(self, name: str, why: str):
        return self._with_file([unchecked(
            Report(name), say("{name} cannot be defined: {why}", name=name, why=why))])

    def _layer(self, name, cls):
        now = worked()
        share = now + max(1.0, (self.end - now) / min(self.left, 3)) if self.end > now else now
        self.left -= 1
        try:
            report = self._with_the_books(name, cls, share)
        except MemoryError as error:
            report = unchecked(Report(name), say("it takes more memory than there is: {error}",
                                                 error=str(error)))
        except (Exception, SystemExit) as error:
            report = unchecked(Report(name), say(
                "the check itself failed: {error}", error=f"{type(error).__name__}: {error}"))
        yield from self._with_file([report])

    def _with_parts(self, name, cls, end: float) -> Report:
        """The report of a class. Where it is wrong and uses a layer that is wrong, that is said,
        and whether it is right once that is mended."""
        def checked(c, explain, trusted=(), known=self.known):
            return check_class(c, None, name if c is cls else None, self.seed, explain,
                               self.seconds, end, trusted, known)

        parts = parts_of(cls)
        report: Report = checked(cls, self.explain and not parts)
        if (report.verdict == "wrong" or report.kind == "raises") and parts:
            wrong = [part for part in parts if self._is_wrong(part, checked)]
            right = [part for part in parts if self.verdicts[part] in ("ok", "convention")]
            for part in right:  # and what a right one is made of
                right += [inner for inner in parts_of(part) if inner not in [*right, *wrong]]
            if not wrong:
                report = checked(cls, self.explain, right)
            else:
                raised = [report.cause] if report.kind in ("raises", "square_only") else []
                with contextlib.ExitStack() as stack:
                    for part in wrong:
                        stack.enter_context(mended(part))
                    search = self.known.get(cls)  # what did not run may run now
                    known = {cls: search} if search and search.running else {}
                    after = checked(cls, False, (), known)
                    alone = report.verdict == "wrong" and after.verdict == "unchecked"
                    if not (after.ok or alone) and self.explain:  # by its own mistakes alone
                        report = checked(cls, True, right, known)
                text = say("{name} uses {parts}, which is wrong: mend that first", name=name,
                           parts=", ".join(part.__name__ for part in wrong))
                if not (after.ok or alone):
                    report.notes.insert(0, join([text, say(
                        "{name} is not right then either", name=name)]))
                else:
                    report.verdict, report.kind, report.line = "wrong", "inherits", None
                    report.searched, report.unexplained = "", []
                    report.cause = join([text, after.cause if alone else say(
                        "{name} itself is right", name=name)])
                    report.causes = [Cause("inherits", report.cause)]
                report.notes += [text for text in raised if text != report.cause]
        self.verdicts[cls] = report.verdict
        return report

    def _with_the_books(self, name, cls, end: float) -> Report:
        """The same; where it stops at a name that is defined nowhere, that is said, and what comes
        of it with what the book calls by this name."""
        report = first = self._with_parts(name, cls, end)
        modules = [vars(record.module) for record in self.program.loaded.values()]
        put: list[str] = []
        while report.verdict == "unchecked" and (undefined := re.search(
                r"NameError: name '(\w+)' is not defined", str(report.cause))) and (
                undefined[1] not in put) and (thing := anywhere(undefined[1])) is not None:
            put.append(undefined[1])
            self.known.clear()
            for names in modules:
                names.setdefault(undefined[1], thing)
            report = self._with_parts(name, cls, max(end, worked() + self.seconds / 2))
        for names in modules:
            for k in put:
                if names[k] is anywhere(k):
                    del names[k]
        if not put:
            return report
        # of Python's own: xrange is range; np, a module, and GPU, a bool, say nothing of their own
        own = [thing.__name__ for thing in map(anywhere, put)
               if getattr(thing, "__module__", "") == "builtins"]
        text = say("with {names} in its place", names=", ".join(own)) if (
            len(own) == len(put)) else say(
            "with {names} of the book in its place", names=", ".join(put))
        if report.ok:
            first.cause = join([first.cause, say("{text} every gradient is right", text=text)])
            return first
        if report.verdict == "unchecked":  # by what is raised there, or was not meant
            first.notes.append(say("{error}; checked {text}", error=report.cause, text=text))
            return first
        report.notes.insert(0, say("{error}; checked {text}", error=first.cause, text=text))
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
        except (CannotMake, CannotRun, TimeUp) as error:
            report = could_not_run(Report(name), error, str(self.program.path), self.seconds)
        yield from self._with_file([report])

    def _with_file(self, reports):
        for report in reports:
            report.file = report.file or self.program.path.name
            methods = self.taken_in.get(report.name, [])
            if methods:
                report.notes.append(say("taken as methods, where they stand behind the class:"
                                        " {names}", names=", ".join(methods)))
            undefined = re.search(r"name '(\w+)' is not defined", str(report.cause))
            if undefined and (why := self.program.why_undefined(undefined[1])):
                report.notes.append(say("{name} is not defined: `{statement}` raised {error}",
                                        name=undefined[1], statement=why[0], error=why[1]))
            report.notes += [say("{path} is not UTF-8: it was read as {encoding}, which Python does"
                                 " with `# -*- coding: {encoding} -*-` in the first line",
                                 path=path, encoding=encoding)
                             for path, encoding in self.program.encodings.items()]
            report.notes += [say("{name} is not found: a stand-in of this project is used for it",
                                 name=name) for name in self.program.missing]
            report.notes += [say("{name} is not found: {path} is used for it", name=name,
                                 path=path.name) for name, path in self.program.moved.items()]
            yield report
