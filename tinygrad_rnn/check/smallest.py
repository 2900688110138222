"""The smallest example that shows a wrong gradient: hypothesis shrinks sizes and values."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .limits import TimeUp, time_limit
from .outcome import evaluate
from .recipes import Recipe
from .running import CannotRun, Setup

if TYPE_CHECKING:
    from .outcome import Outcome

EXAMPLES = 60


class Pool:
    """Values for a recipe: a few numbers, over and over."""

    def __init__(self, numbers):
        self.numbers = numbers

    def array(self, shape, scale=1.0):
        n = int(np.prod(shape))
        return np.array(list(itertools.islice(itertools.cycle(self.numbers), n)), float).reshape(
            shape)

    def ids(self, shape, n):
        values = np.abs(np.array(self.numbers) * 2).astype(np.int64) % n
        return np.resize(values, shape)


def smallest_example(outcome: Outcome, deadline: float):
    """The example in words, "" if there is none or no time, or hypothesis is not there."""
    try:
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis import strategies as st
    except ImportError:
        return ""
    if not outcome.wrong_gradients or time.monotonic() > deadline:
        return ""
    found: list[tuple[Any, ...]] = []

    def is_wrong(case):
        if time.monotonic() > deadline:
            return False
        sizes, numbers = case
        try:
            with time_limit(0.5):
                setup = _setup(outcome, sizes, Pool([k / 2 for k in numbers]))
                small = evaluate(setup, outcome.input_names, outcome.seed, light=True,
                                 scenario=outcome.scenario)
        except (CannotRun, TimeUp, ValueError, IndexError, TypeError, ZeroDivisionError):
            return False
        finite = all(np.isfinite(w).all() for w in small.wanted.values())
        if finite and small.wrong_gradients and not small.problems:
            found.append((sum(sizes), len(numbers), sum(map(abs, numbers)), case, small))
            return True
        return False

    n = st.integers(1, 4)
    cases = st.tuples(st.tuples(n, n, n, n), st.lists(st.integers(-4, 4), min_size=1, max_size=6))
    limits = settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True,
                      suppress_health_check=list(HealthCheck),
                      phases=(Phase.generate, Phase.shrink))
    with contextlib.suppress(Exception):  # nothing found, or the time was over on the way
        find(cases, is_wrong, settings=limits)
    if not found:
        return ""
    _, _, _, case, small = min(found, key=lambda f: f[:3])
    return _words(outcome, case, small)


def _setup(outcome: Outcome, sizes, values):
    """The layer of an Outcome in other sizes: made anew where there is a recipe, else only its
    inputs are cut down to a part of batch and time."""
    N, T, D, H = sizes
    old = outcome.setup
    if _is_symbolic(outcome.recipe):
        wanted = {"N": N, "T": T, "D": D, "H": H, "V": H + 1, "U": T}
        new = outcome.recipe.setup(wanted, values)
        new.prepare, new.rounds, new.as_tuple = old.prepare, old.rounds, old.as_tuple
        if old.prepare is not None and outcome.states:
            raise ValueError("a state of another size")
        return new
    inputs = []
    for x in old.inputs:
        if isinstance(x, np.ndarray) and x.ndim:
            x = x[:N]
            x = x[:, :T] if x.ndim == 3 or (x.ndim == 2 and x.dtype.kind in "iu") else x
            x = values.array(x.shape) if x.dtype.kind == "f" else x
        inputs.append(x)
    return Setup(old.layer, inputs, old.slots, old.prepare, old.as_tuple, old.rounds)


def _is_symbolic(recipe):
    """Whether a recipe makes the layer in any size."""
    init: Any = recipe.cls.__init__
    return type(recipe) is Recipe and recipe.fixed_inputs is None and bool(
        recipe.init or init is object.__init__ or recipe.inputs)


def _words(outcome: Outcome, case, small):
    (N, T, D, H), numbers = case
    symbols = _symbols(outcome)
    sizes = {"N": N, "T": T, "D": D, "H": H, "V": H + 1, "U": T}
    said = ", ".join(f"{k}={sizes[k]}" for k in "NTUDHV" if k in symbols)
    if not _is_symbolic(outcome.recipe):  # the first input says what is left of the batch
        said = f"inputs of shape {', '.join(str(np.shape(x)) for x in small.setup.inputs)}"
    values = [k / 2 for k in numbers]
    if len(values) == 1:
        said += f", all values {values[0]:g}"
    else:
        said += f", values {', '.join(f'{v:g}' for v in values)} over and over"
    g = small.wrong_gradients[0]
    got, wanted = small.got[g.name], small.wanted[g.name]
    if g.index is None:
        return f"{said}: d{g.name} has shape {g.shape}, {wanted.shape} belongs"
    where = f"d{g.name}" + (str(list(g.index)) if g.index else "")
    return f"{said}: {where} is {float(got[g.index]):.4g}, right is {float(wanted[g.index]):.4g}"


def _symbols(outcome: Outcome):
    """Which sizes the layer has."""
    if not _is_symbolic(outcome.recipe):
        return ""
    specs = [*outcome.recipe.init.values(), *outcome.recipe.inputs]
    return {s[-1] for spec in specs for s in (*spec.shape, spec.value or "")
            if isinstance(s, str) and s}
