"""Paths that backward does not follow, found by cutting them in forward.

Where what is wrong is the derivative of forward with one of its values held constant, backward
leaves out all that comes through this value: that is shown by the numbers, whatever backward looks
like. Held is what a statement reads, as a whole or one by one.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .mistakes import expression, placed, show
from .outcome import evaluate
from .repair import elsewhere
from .report import Cause
from .running import CannotRun, clone, copies, file_of, numpy_replaced, objects_of, quietly
from .source import codes_run, compiled, functions_of, replaced, with_source
from .words import say

if TYPE_CHECKING:
    from .outcome import Outcome
    from .repair import Budget

_HELD = "(_held.detach() if hasattr(_held := {}, 'detach') else _held)"


def dropped_path(outcome: Outcome, budget: Budget):
    """The Cause, if there is such a value; None if there is none. A gradient that is zero is not
    explained by it."""
    wrong = {n for n in _wrong(outcome) if np.any(outcome.got[n])}
    best: tuple[set[str], Any] = set(), None
    for f, cut in [pair for fn in (_of_forward(outcome) if wrong else ()) for pair in _cuts(fn)]:
        if budget.over or best[0] == wrong:
            break
        code = _held(f, cut.places)
        with replaced([(f.fn, code)] if code else []), contextlib.suppress(CannotRun):
            now = evaluate(outcome.setup, outcome.seed, light=True)
            mended = {g.name for g in now.gradients if g.ok and np.any(now.wanted[g.name])} & wrong
            if len(mended) > len(best[0]) and _wrong(now) <= _wrong(outcome) and not (
                    _conventions(now) - _conventions(outcome)) and (
                    again := elsewhere(outcome)) and mended <= {
                        g.name for g in again.gradients if g.ok}:
                best = mended, Cause("path_dropped", say(
                    "a path of the gradient is dropped: backward gives what would be right if"
                    " `{what}` in `{where}` were a constant", what=cut.what,
                    where=show(cut.statement)), cut.statement.lineno, f.filename, sorted(mended))
    return best[1]


def _wrong(outcome: Outcome):
    return {g.name for g in outcome.wrong_gradients}


def _conventions(outcome: Outcome):
    return {p.kind for p in outcome.problems if not p.wrong}


def _of_forward(outcome: Outcome):
    """The functions that forward runs, but for those of other layers."""
    layer, inputs = clone(outcome.setup.layer)[0], outcome.setup.inputs
    with quietly(), numpy_replaced(layer):
        run = codes_run(lambda: layer.forward(*copies(inputs)), file_of(type(layer)))
    own = {inspect.unwrap(fn) for base in type(layer).__mro__ for fn in vars(base).values()
           if inspect.isfunction(fn)}
    return with_source([f for f in functions_of(run, objects_of(layer))
                        if f in own or "." not in f.__qualname__])


@dataclass
class _Cut:
    """What is held: some of what a statement reads, each in its place: (parent, field, at)."""

    statement: Any
    places: list[Any]

    @property
    def what(self):
        """As words; not the object whose method is called with what else is held."""
        handed = [p for p in self.places if p[1] != "value" or p[0] is self.statement]
        return ", ".join(dict.fromkeys(show(_at(*p)) for p in handed or self.places))


def _cuts(function):
    """For each statement all that it reads, then each of it: (function, cut), ..."""
    whole = [_Cut(s, [*_read(s, "value", None, s.value)]) for s in ast.walk(function.node)
             if isinstance(s, (ast.Assign, ast.AugAssign, ast.Return, ast.Expr)) and s.value]
    each = [_Cut(cut.statement, [p]) for cut in whole for p in cut.places[1:] and cut.places]
    return [(function, cut) for cut in whole + each if cut.places]


def _at(parent, name, at):
    value = getattr(parent, name)
    return value if at is None else value[at]


def _read(parent, name, at, n) -> Iterator[tuple[Any, str, Any]]:
    """The places in an expression of the values that it reads: names, attributes and items."""
    if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute):
        yield from _read(n.func, "value", None, n.func.value)  # an array's method
    if isinstance(n, (ast.Name, ast.Attribute, ast.Subscript)):
        if not (isinstance(n, ast.Name) and n.id in ("self", "np")):
            yield parent, name, at
    elif not isinstance(n, ast.Lambda):
        for field, value in ast.iter_fields(n):
            if field != "func":
                for k, part in enumerate(value) if isinstance(value, list) else [(None, value)]:
                    if isinstance(part, ast.AST):
                        yield from _read(n, field, k, part)


def _held(function, places):
    """The code of a function in which the values of these places are constants."""
    before = [(p, name, at, _at(p, name, at)) for p, name, at in places]
    try:
        for p, name, at, n in before:
            _put(p, name, at, placed(expression(_HELD.format(ast.unparse(n))), n))
        return compiled(function, function.node)
    finally:
        for place in before:
            _put(*place)


def _put(parent, name, at, n):
    if at is None:
        setattr(parent, name, n)
    else:
        getattr(parent, name)[at] = n
