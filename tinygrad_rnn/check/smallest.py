"""The smallest example that shows a wrong gradient, worked through in numbers, forward and
backward, so that it can be followed on paper."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .forms import goes
from .limits import TimeUp, time_limit
from .outcome import evaluate
from .recipes import Recipe
from .running import CannotRun, observe
from .source import codes_run, replaced, to_read, traced
from .words import Said, join, say

if TYPE_CHECKING:
    from .outcome import Outcome
    from .repair import Budget
    from .running import Setup

LARGEST = 3  # of each size
ROWS = 40  # lines of a worked example
PLAIN = 0.01  # an error that shows in numbers of four digits
# Values to try, over and over, the plainest first.
POOLS = ([1.0], [0.5], [1.0, 2.0], [1.0, -1.0], [0.5, 1.0, -1.0], [1.0, -0.5, 2.0, 0.5, -1.0])


class Pool:
    """Values for a recipe, and cotangents: a few numbers, over and over."""

    def __init__(self, numbers):
        self.numbers = numbers

    def array(self, shape, scale=1.0):
        n = int(np.prod(shape))
        return np.array(list(itertools.islice(itertools.cycle(self.numbers), n)), float).reshape(
            shape)

    def ids(self, shape, n):
        values = np.abs(np.array(self.numbers) * 2).astype(np.int64) % n
        return np.resize(values, shape)

    def normal(self, size):
        return self.array(size)


@dataclass
class Row:
    """A line that ran: where, its text, what it gave, and what it gives with the repair made, if
    that is another value."""

    part: str
    line: int
    text: str
    value: str
    right: str = ""


def smallest_example(outcome: Outcome, budget: Budget, repairs=()):
    """The example in words, and worked through (Rows); ("", []) if none was found in time.
    ``repairs``: the code of the layer's functions once it is right."""
    if not outcome.wrong_gradients:
        return "", []
    wrong = {g.name for g in outcome.wrong_gradients}
    found = None
    for sizes, pool in itertools.product(_sizes(_symbols(outcome)), POOLS):
        if budget.over or (found and sum(sizes) > sum(found[0]) + 1):
            break
        small = _is_wrong(outcome, sizes, Pool(pool), wrong)
        if small is not None:
            found = found or (sizes, pool, small)
            if small.wrong_gradients[0].max_abs_error > PLAIN:
                found = sizes, pool, small
                break
    if found is None:
        return "", []
    sizes, pool, small = found
    with contextlib.suppress(Exception):
        return _words(outcome, sizes, pool, small), worked(small, Pool(pool), repairs)
    return "", []


def _sizes(symbols):
    """Sizes N, T, D, H: those that the layer has, the smallest first."""
    ranges = [range(1, LARGEST + 1) if not symbols or k in symbols or (k == "H" and "V" in symbols)
              else (1,) for k in "NTDH"]
    return sorted(itertools.product(*ranges), key=lambda s: (sum(s), max(s), s))


def _is_wrong(outcome: Outcome, sizes, pool: Pool, wrong):
    try:
        with time_limit(0.5):
            setup = _setup(outcome, sizes, pool)
            small = evaluate(setup, outcome.seed, light=True, rng=pool)
    except (CannotRun, TimeUp, ValueError, IndexError, TypeError, ZeroDivisionError):
        return None
    finite = all(np.isfinite(w).all() for w in small.wanted.values())
    named = {g.name for g in small.wrong_gradients}
    told = {p.kind for p in small.problems} <= {p.kind for p in outcome.problems}
    return small if finite and named and named <= wrong and told else None


def _setup(outcome: Outcome, sizes, values):
    """The layer of an Outcome in other sizes: made anew where there is a recipe, else only its
    inputs are cut down to a part of batch and time."""
    N, T, D, H = sizes
    old = outcome.setup
    if _is_symbolic(old.recipe):
        return in_sizes(old, {"N": N, "T": T, "D": D, "H": H, "V": H + 1, "U": T}, values)
    inputs = []
    for x in old.inputs:
        if isinstance(x, np.ndarray) and x.ndim:
            x = x[:N]
            x = x[:, :T] if x.ndim == 3 or (x.ndim == 2 and x.dtype.kind in "iu") else x
            x = values.array(x.shape) if x.dtype.kind == "f" else x
        inputs.append(x)
    return replace(old, inputs=inputs)


def in_sizes(setup: Setup, sizes, values=None):
    """The layer and inputs of a Setup made anew in other sizes. Raises CannotRun."""
    if not _is_symbolic(setup.recipe) or setup.states:  # a state is of one size
        raise CannotRun("construction", ValueError("not in other sizes"))
    return replace(setup.recipe.setup(sizes, values), prepare=setup.prepare, rounds=setup.rounds)


def _is_symbolic(recipe):
    """Whether a recipe makes the layer in any size."""
    init: Any = getattr(getattr(recipe, "cls", None), "__init__", None)
    return type(recipe) is Recipe and recipe.fixed_inputs is None and bool(
        recipe.init or init is object.__init__ or recipe.inputs)


def _words(outcome: Outcome, sizes, pool, small):
    N, T, D, H = sizes
    symbols = _symbols(outcome)
    known = {"N": N, "T": T, "D": D, "H": H, "V": H + 1, "U": T}
    said: str = ", ".join(f"{k}={known[k]}" for k in "NTUDHV" if k in symbols)
    if not _is_symbolic(outcome.setup.recipe):  # the first input says what is left of the batch
        said = say("inputs of shape {shapes}",
                   shapes=", ".join(str(np.shape(x)) for x in small.setup.inputs))
    values = ", ".join(f"{v:g}" for v in pool)
    every = say("all values {values}", values=values) if len(pool) == 1 else say(
        "values {values} over and over", values=values)
    g = small.wrong_gradients[0]
    got, wanted = small.got[g.name], small.wanted[g.name]
    if g.index is None:
        ends = say("{name} has shape {shape}, {wanted} belongs", name=f"d{g.name}",
                   shape=str(g.shape), wanted=str(wanted.shape))
    else:
        ends = say("{name} is {value}, right is {right}",
                   name=f"d{g.name}" + (str(list(g.index)) if g.index else ""),
                   value=number(got[g.index]), right=number(wanted[g.index]))
    return Said.of(": ", {}, (join([said, every], ", ") if said else every, ends))


def _symbols(outcome: Outcome):
    """Which sizes the layer has."""
    recipe = outcome.setup.recipe
    if not _is_symbolic(recipe):
        return set()
    specs = [*recipe.init.values(), *recipe.inputs]
    return {s[-1] for spec in specs for s in (*spec.shape, spec.value or "")
            if isinstance(s, str) and s}


# --- worked through ------------------------------------------------------------------------------


def worked(outcome: Outcome, pool: Pool, repairs=()):
    """The lines that run forward and backward, with what each gives; [] if they are too many."""
    rows = _rows(outcome, pool)
    if len(rows) > ROWS:
        return []
    with replaced(list(repairs)), contextlib.suppress(CannotRun):
        right = _rows(outcome, pool) if repairs else rows
        if [r.line for r in right] == [r.line for r in rows]:
            for row, other in zip(rows, right, strict=True):
                row.right = other.value if other.value != row.value else ""
    return rows


def _rows(outcome: Outcome, pool: Pool):
    setup = outcome.setup
    taken = zip([*setup.slots.names, *setup.names],
                [*setup.slots.params(setup.layer), *setup.inputs], strict=False)
    handed = zip(list(inspect.signature(type(setup.layer).backward).parameters)[1:],
                 outcome.cotangents, strict=False)
    given = [Row("given", 0, name, text) for name, x in (*taken, *handed)
             if isinstance(x, (np.ndarray, float)) and (text := shown(x))]  # else it is too large
    # theirs, where a form has put ours around them
    ways = {inspect.unwrap(getattr(type(setup.layer), way)).__code__: way
            for way in ("backward", "forward")}
    filename = next(iter(ways)).co_filename
    theirs = {c.co_filename for c in codes_run(
        lambda: observe(setup, pool, light=True), filename)}
    tracer = _Tracer({name: _statements(name) for name in theirs}, ways)
    with traced(tracer.trace):
        observe(setup, pool, light=True)
    return given + tracer.rows


def _statements(filename: str):
    """The assignments and returns of a file, by the line where they begin."""
    return {s.lineno: s for f in to_read(filename).values() for s in ast.walk(f)
            if isinstance(s, (ast.Assign, ast.AugAssign, ast.Return)) and hasattr(s, "original")}


class _Tracer:
    """Notes each assignment that runs, with its value, under forward or backward: in the code of
    ``ways``, and in what is called so."""

    def __init__(self, statements, ways):
        self.statements, self.ways, self.rows = statements, ways, []
        self.part: list[str] = []

    def trace(self, frame, _event, _argument):
        code = frame.f_code
        if code.co_filename not in self.statements or len(self.rows) > ROWS:
            return None
        name = code.co_name
        way = self.ways.get(code) or goes(name)
        if way:
            self.part.append(way)
        if not self.part or name == "__init__" or not (way or code.co_varnames[:1] == ("self",)):
            return None
        part, of_file, last = self.part[-1], self.statements[code.co_filename], [None]

        def local(frame, event, argument):
            if event in ("line", "return"):
                done = of_file.get(last[0]) if last[0] else None
                if isinstance(done, ast.Return) and event == "return":
                    self.note(part, done, shown(argument))
                elif done is not None and not isinstance(done, ast.Return):
                    self.assigned(part, done, frame)
                last[0] = frame.f_lineno
                if event == "return" and way:
                    self.part.pop()
            return local

        return local

    def assigned(self, part, node, frame):
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, (ast.Attribute, ast.Name)):
            return  # names for what is there already
        if isinstance(node.value, ast.Tuple) and not isinstance(target, ast.Tuple):
            return  # a cache
        with contextlib.suppress(Exception):
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            values = [eval(compile(ast.Expression(_loaded(t)), "", "eval"), frame.f_globals,
                           frame.f_locals) for t in targets]
            if all(isinstance(v, (np.ndarray, np.generic, float)) for v in values):
                self.note(part, node, ", ".join(map(shown, values)))

    def note(self, part, node, value):
        if value:
            text = ast.unparse(node).split("\n")[0]
            self.rows.append(Row(part, node.lineno, text, value))


def _loaded(target):
    return ast.parse(ast.unparse(target), mode="eval").body


def shown(value) -> str:
    """A value as it would be written on paper: numbers of four digits."""
    if isinstance(value, (tuple, list)):
        found = [shown(v) for v in value if not isinstance(v, (tuple, dict))]  # these are caches
        return ", ".join(found) if all(found) else ""
    if isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, bool):
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or array.size > 12 or np.isnan(array).all():
            return ""
        return number(array.reshape(-1)[0]) if array.size == 1 else _nested(array.tolist())
    return ""


def _nested(x):
    return "[" + ", ".join(map(_nested, x)) + "]" if isinstance(x, list) else number(x)


def number(x) -> str:
    text = f"{float(x):.4g}"
    return "0" if text == "-0" else text
