"""Check a layer: its own ``backward`` against the derivative of its own ``forward``."""

from __future__ import annotations

import inspect
import linecache
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import recipes
from .formulas import compare_forward
from .limits import TimeUp, time_limit
from .loading import layers_of, load
from .numpy_standin import noting_float32
from .protocol import Problem, protocol_problems
from .recipes import LABELS, CannotMake, Recipe
from .report import Gradient, Report, compare
from .running import (
    CannotRun,
    Observation,
    Setup,
    Truth,
    again,
    backward_arguments,
    clone,
    file_of,
    observe,
    slots_of,
    truth,
)
from .source import codes_run, functions_of, replaced, without_epsilon

TOLERANCE = 1e-6  # relative to the largest element; float64 agrees to about 1e-14
TOLERANCE_FLOAT32 = 1e-4  # where the layer's own code narrows to float32 and cannot be widened
SECONDS = 5.0


@dataclass
class Outcome:
    """One comparison: the gradients, what they were compared with, and what went wrong apart from
    their values."""

    setup: Setup
    input_names: list[str]
    gradients: list[Gradient] = field(default_factory=list)
    got: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    observation: Observation | None = None
    truth: Truth | None = None
    cotangents: list[Any] = field(default_factory=list)
    tolerance: float = TOLERANCE
    scenario: str = ""
    recipe: Recipe | None = None
    seed: int = 0

    @property
    def right(self):
        return all(g.ok for g in self.gradients) and not any(p.wrong for p in self.problems)

    @property
    def wrong_gradients(self):
        return [g for g in self.gradients if not g.ok]


def check_layer(layer, *inputs, seed=0, explain=True, seconds=SECONDS) -> Report:
    """Compare the hand-written backward of a layer with the derivative of its own forward.

    Args:
        layer: an object with ``forward``, ``backward`` and, if it has parameters, the lists
            ``params`` and ``grads``. It is copied, and not changed.
        inputs: what ``forward`` takes. Arrays of floats are differentiated, except labels.
        seed: of the random cotangents.
        explain: look for the cause of what is wrong, and for the smallest example.
        seconds: limit for one run of the layer.

    Returns a ``Report``: ``ok``, ``verdict``, ``cause``, ``line``, ``gradients``, ``str()``.
    """
    name = type(layer).__name__
    values = [np.asarray(x) if isinstance(x, (list, np.generic, np.ndarray)) else x for x in inputs]
    values = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
              for x in values]
    report = Report(name)
    try:
        with time_limit(seconds):
            snapshot, _ = clone(layer)
            setup = Setup(snapshot, values, slots_of(snapshot, _parameter_names(layer)))
            error = recipes.attempt(setup)
            if error is not None and error.phase != "returned":
                raise error
    except CannotRun as error:
        return _could_not_run(report, error, file_of(layer))
    except TimeUp:
        return _unchecked(report, f"not finished within {seconds:g} s")
    except Exception as error:
        return _unchecked(report, f"the layer cannot be copied: {type(error).__name__}: {error}")
    return _check(report, setup, recipes.input_names(layer, len(values)), None, seed, explain,
                  seconds, time.monotonic() + 4)


def assert_matches_autograd(layer, *inputs, **options) -> None:
    """Raise AssertionError, with the report as its text, unless ``check_layer`` finds the layer
    right. For tests."""
    __tracebackhide__ = True
    report = check_layer(layer, *inputs, **options)
    if not report.ok:
        raise AssertionError(f"{report.name}.backward does not match its forward\n{report}")


def check_class(cls, recipe=None, name=None, seed=0, explain=True, seconds=SECONDS,
                deadline=None) -> Report:
    """Check a class of which no object is at hand: how to construct it is found by trying."""
    report = Report(name or cls.__name__)
    if not callable(getattr(cls, "backward", None)):
        return _unchecked(report, f"{report.name} has no backward")
    try:
        with time_limit(seconds):
            recipe = recipe or recipes.find(cls)
            setup = recipe.setup()
    except CannotMake as error:
        return _unchecked(report, str(error))
    except CannotRun as error:
        return _could_not_run(report, error, file_of(_Named(cls)))
    except TimeUp:
        return _unchecked(report, f"not finished within {seconds:g} s (a loop without end?)")
    deadline = time.monotonic() + 4 if deadline is None else deadline
    return _check(report, setup, recipe.input_names, recipe, seed, explain, seconds, deadline)


class _Named:
    """An object whose type is asked for its file, where there is no object yet."""

    def __new__(cls, wanted):
        return object.__new__(type("_", (wanted,), {}))


def check_file(path, only=None, make=None, seed=0, explain=True, seconds=SECONDS) -> list[Report]:
    """Check the layers of a file, all or the one named ``only``; ``make``: see ``--make``.

    Raises LoadError if the file is no Python, ValueError if it has no such layer.
    """
    module = load(path, seconds)
    found = layers_of(module)
    failed = dict(module.failed)
    if only is not None:
        found = [c for c in found if c.__name__ == only]
        failed = {k: v for k, v in failed.items() if k == only}
        if not found and not failed:
            have = ", ".join(c.__name__ for c in layers_of(module)) or "none"
            raise ValueError(f"{path} has no layer {only} (a class with forward); it has: {have}")
    # Causes are looked for as long as there is time: a file is done within seconds.
    deadline = time.monotonic() + 7
    reports = []
    if make is not None:
        try:
            with time_limit(seconds):
                recipe = recipes.from_expression(make, module)
                cls = type(recipe.setup().layer)
        except CannotMake as error:
            return [_unchecked(Report(only or make), str(error))]
        except CannotRun as error:
            return [_could_not_run(Report(only or make), error, str(path))]
        except TimeUp:
            return [_unchecked(Report(only or make), f"not finished within {seconds:g} s")]
        return [_with_file(check_class(cls, recipe, None, seed, explain, seconds, deadline), path)]
    left = len(found)
    for cls in found:
        now = time.monotonic()
        share = now + max(1.0, (deadline - now) / min(left, 3)) if deadline > now else now
        reports.append(check_class(cls, None, None, seed, explain, seconds, share))
        left -= 1
    for name, why in failed.items():
        if name.isidentifier():
            reports.append(_unchecked(Report(name), f"{name} cannot be defined: {why}"))
    return [_with_file(r, path) for r in reports]


def _with_file(report, path):
    if not report.file:
        report.file = Path(path).name
    return report


def _parameter_names(layer):
    """The names of the constructor's arguments that are its parameters, if all are."""
    try:
        names, _ = recipes.required(type(layer))
    except (TypeError, ValueError):
        return ()
    params = getattr(layer, "params", None)
    return names if isinstance(params, (list, tuple)) and len(names) == len(params) else ()


def _unchecked(report, cause, line=None):
    report.verdict, report.cause, report.line = "unchecked", cause, line
    return report


def _could_not_run(report, error, filename):
    """A layer that raises: in backward that is an error of the layer's, elsewhere it may be ours
    for having called it in a way that was not meant."""
    if isinstance(error.error, TimeUp):
        return _unchecked(report, f"{error.phase} did not end in time (a loop without end?)",
                          error.line)
    what = f"{error.phase} raises {error}"
    if error.phase == "trace":
        what = f"forward cannot be differentiated: {error}"
    report.file = Path(filename).name if filename else ""
    _unchecked(report, what, error.line)
    report.source = source_line(filename, error.line)
    return report


def source_line(filename, line):
    """The text of a line of a file."""
    return linecache.getline(filename, line).strip() if filename and line else ""


# --- one check -----------------------------------------------------------------------------------


def _check(report, setup, names, recipe, seed, explain, seconds, deadline):
    filename = file_of(setup.layer)
    report.file = Path(filename).name if filename else ""
    outcome = first = None
    with noting_float32() as narrowed:
        try:
            with time_limit(seconds):
                for outcome in _scenarios(setup, names, seed):
                    outcome.recipe = recipe
                    first = first or outcome
                    if not outcome.right:
                        break
        except CannotRun as error:
            return _raised(report, error, filename, setup, recipe, seed, names)
        except TimeUp:
            return _unchecked(report, f"not finished within {seconds:g} s (a loop without end?)")
        if narrowed:
            report.notes.append("float32 is hard-coded; it was widened to float64 for the check")
    if outcome.observation.printed:
        report.notes.append("the layer prints; its output is not shown")
    report.notes += dict.fromkeys(first.notes)
    report.gradients = first.gradients if outcome.right else outcome.gradients
    if not outcome.right:
        if outcome.scenario:
            report.notes.append(f"seen {outcome.scenario}")
        report.verdict = "wrong"
        _explain(report, outcome, explain, seconds, deadline, filename)
        return report
    conventions = [p for p in first.problems if not p.wrong]
    conventions += [p for p in outcome.problems if not p.wrong and p not in conventions]
    try:
        with time_limit(seconds):
            conventions += compare_forward(report.name, first)
    except TimeUp:
        pass
    for problem in conventions:
        if problem.wrong and report.verdict != "wrong":
            report.verdict, report.cause, report.line = "wrong", problem.text, problem.line
            report.kind = problem.kind
        elif report.verdict == "ok":
            report.verdict, report.cause, report.line = "convention", problem.text, problem.line
            report.kind = problem.kind
        else:
            report.notes.append(problem.text)
    report.source = source_line(filename, report.line)
    return report


def evaluate(setup, names, seed=0, light=False, fixed_truth=None, scenario=""):
    """Run and compare once; returns an Outcome. Raises CannotRun."""
    outcome = Outcome(setup, names, scenario=scenario, seed=seed)
    rng = np.random.default_rng(seed + 1)
    seen, cotangents = observe(setup, rng, light=light)
    outcome.observation, outcome.cotangents = seen, cotangents
    states = {"dh": "h", "dc": "c"} if scenario.startswith("with a given state") else {}
    # what backward is not handed does not reach it: an output without a cotangent is not used
    handed = backward_arguments(setup.layer, cotangents, seen.kind, setup.as_tuple)
    used = list(cotangents)
    if seen.kind == "tuple" and not setup.as_tuple and len(handed) < len(cotangents):
        used = [g if i < max(len(handed), 1) else 0 * g for i, g in enumerate(cotangents)]
    if not handed:
        used = [np.ones_like(g) if i == 0 else 0 * g for i, g in enumerate(cotangents)]
    right = fixed_truth or truth(setup, used, list(states.values()))
    outcome.truth = right
    if any(a is not None and getattr(a, "dtype", None) in (np.float32, np.float16)
           for a in (*seen.grads, *seen.returned, *seen.outputs)):
        outcome.tolerance = TOLERANCE_FLOAT32
    layer_name = type(setup.layer).__name__
    context = {"layer_name": layer_name, "hidden": _hidden(setup), "batch": _batch(setup)}

    def add(name, got, wanted):
        outcome.got[name], outcome.wanted[name] = got, wanted
        outcome.gradients.append(compare(name, got, wanted, outcome.tolerance, **context))

    params = setup.slots.params(setup.layer)
    for i, (name, got) in enumerate(zip(setup.slots.names, seen.grads, strict=True)):
        twins = [j for j, p in enumerate(params) if p is params[i]]
        wanted = right.params[i]
        if len(twins) > 1:  # one array in several slots: its gradient is the sum of theirs
            got = sum(seen.grads[j] for j in twins) if all(
                isinstance(seen.grads[j], np.ndarray) for j in twins) else got
        add(name, got, wanted)
    for name, got, wanted in _returned(outcome, seen, right):
        add(name, got, wanted)
    for gradient, state in states.items():
        if gradient in seen.state and state in right.states:
            add(state, seen.state[gradient], right.states[state])
    if not light:
        outcome.problems += protocol_problems(outcome, again(setup, seen, cotangents))
        if fixed_truth is None and not outcome.right and _nearly(outcome):
            return _without_epsilon(outcome, used) or outcome
    return outcome


def _nearly(outcome):
    """A loss whose gradient is wrong by no more than an epsilon in a logarithm makes it."""
    return (len(outcome.truth.outputs) == 1 and np.ndim(outcome.truth.outputs[0]) == 0
            and all(g.max_rel_error < 1e-2 for g in outcome.wrong_gradients))


def _without_epsilon(outcome, used):
    """The same comparison with the derivative of the forward without its epsilon: if they agree
    then, that backward leaves it out is a convention."""
    setup = outcome.setup
    filename = file_of(setup.layer)
    codes = codes_run(lambda: truth(setup, used), filename)
    pairs = without_epsilon(functions_of(codes))
    if not pairs:
        return None
    with replaced(pairs):
        right = truth(setup, used)
    again = evaluate(setup, outcome.input_names, outcome.seed, False, right, outcome.scenario)
    if not again.right:
        return None
    again.problems.append(Problem(
        "convention", "an epsilon stands in the logarithm of the forward, and not in its"
        " derivative", wrong=False))
    return again


def _returned(outcome, seen, right):
    """Pair what backward returned with the inputs: (name, got, wanted)."""
    names, inputs = outcome.input_names, outcome.setup.inputs
    floats = [i for i, g in enumerate(right.inputs) if g is not None]
    optional = [i for i in floats if names[i].lower() in LABELS and len(floats) > 1]
    needed = [i for i in floats if i not in optional]
    returned = list(seen.returned)
    if not floats:
        return  # ids and labels: whatever is returned is not used
    if len(returned) == len(inputs) and len(inputs) > len(needed):
        pairs = [(i, returned[i]) for i in floats if i in needed or returned[i] is not None]
    elif len(returned) == len(floats):
        pairs = list(zip(floats, returned, strict=True))
    else:
        pairs = list(zip(needed, returned, strict=False))
        if len(returned) < len(needed):
            pairs += [(i, None) for i in needed[len(returned):]]
        if len(returned) != len(needed):
            outcome.problems.append(Problem(
                "count", f"backward returns {len(returned)} gradient"
                f"{'s' * (len(returned) != 1)} where forward takes {len(needed)} inputs that have"
                " one", wrong=True))
    for i, got in pairs:
        yield names[i], got, right.inputs[i]


def _hidden(setup):
    """H, as far as the parameters tell it: the rows of the second matrix."""
    matrices = [p for p in setup.slots.params(setup.layer) if p.ndim == 2]
    return matrices[1].shape[0] if len(matrices) > 1 else None


def _batch(setup):
    return next((x.shape[0] for x in setup.inputs if isinstance(x, np.ndarray) and x.ndim), None)


def _scenarios(setup, names, seed):
    """The plain case first; then those that the layer has: a second round on the same object,
    labels that are ignored, a state that is given and carried."""
    yield evaluate(setup, names, seed)
    second = Setup(setup.layer, setup.inputs, setup.slots, None, setup.as_tuple, rounds=2)
    outcome = evaluate(second, names, seed, scenario="in the second forward and backward of the"
                       " same object")
    yield _allow_accumulation(outcome, setup, seed)
    ignored = getattr(setup.layer, "ignore_label", None)
    if isinstance(ignored, int):
        inputs = [_ignore(x, ignored) for x in setup.inputs]
        if any(a is not b for a, b in zip(inputs, setup.inputs, strict=True)):
            yield evaluate(Setup(setup.layer, inputs, setup.slots, None, setup.as_tuple), names,
                           seed, scenario="with labels to be ignored")
    if hasattr(setup.layer, "stateful"):
        yield from _with_state(setup, names, seed)


def _ignore(x, label):
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or x.size < 3:
        return x
    x = x.astype(np.int64)
    x.reshape(-1)[::3] = label
    return x


def _allow_accumulation(outcome, setup, seed):
    """A layer that adds to its gradients, until someone clears them, is right by convention."""
    if outcome.right:
        return outcome
    seen = outcome.observation
    try:
        rng = np.random.default_rng(9)
        first, _ = observe(setup, rng, light=True)
    except CannotRun:
        return outcome
    for g in outcome.gradients:
        if g.name in setup.slots.names and not g.ok:
            i = setup.slots.names.index(g.name)
            if seen.grads[i] is None or first.grads[i] is None:
                return outcome
            added = seen.grads[i] - first.grads[i]
            outcome.got[g.name] = added
    adjusted = [compare(g.name, outcome.got[g.name], outcome.wanted[g.name], outcome.tolerance)
                for g in outcome.gradients]
    if all(g.ok for g in adjusted):
        outcome.gradients = adjusted
        outcome.problems.append(Problem(
            "accumulates", "backward adds to what grads hold and does not clear it: the caller has"
            " to, before every step", wrong=False))
    else:
        outcome.got.update({g.name: seen.grads[setup.slots.names.index(g.name)]
                            for g in outcome.gradients if g.name in setup.slots.names})
    return outcome


def _with_state(setup, names, seed):
    """The state carried from call to call, cut there, and the gradient of a state that is given."""
    def stateful(layer):
        layer.stateful = True

    yield evaluate(Setup(setup.layer, setup.inputs, setup.slots, stateful, setup.as_tuple, 2),
                   names, seed, scenario="in the second call with stateful=True")
    seen, _ = observe(Setup(setup.layer, setup.inputs, setup.slots, stateful, setup.as_tuple),
                      np.random.default_rng(0), light=True)
    shapes = {k: np.shape(getattr(seen.layer, k, None)) for k in ("h", "c")
              if isinstance(getattr(seen.layer, k, None), np.ndarray)}
    if "h" not in shapes or not hasattr(setup.layer, "set_state"):
        return
    rng = np.random.default_rng(seed + 5)
    states = {k: rng.normal(size=shape) for k, shape in shapes.items()}
    try:
        takes = len(inspect.signature(setup.layer.set_state).parameters)
    except (TypeError, ValueError):
        return

    def given(layer):
        layer.stateful = True
        layer.set_state(*[s.copy() for s in list(states.values())[:takes]])

    yield evaluate(Setup(setup.layer, setup.inputs, setup.slots, given, setup.as_tuple), names,
                   seed, scenario="with a given state")


def _raised(report, error, filename, setup, recipe, seed, names):
    """Backward raised. If it does not at D = H, it is right only there; else it cannot be run."""
    if error.phase == "backward" and recipe is not None and recipe.init:
        try:
            same = recipe.setup({"D": 5, "H": 5})
            right = evaluate(same, names, seed).right
        except CannotRun:
            right = False
        if right:
            report.verdict, report.line, report.kind = "wrong", error.line, "square_only"
            report.cause = (f"right only when D = H: with D = 5 and H = 6 backward raises {error};"
                            " a weight is probably transposed, or two sizes are mixed up")
            report.source = source_line(filename, error.line)
            return report
    if error.phase == "backward" and not isinstance(error.error, TimeUp):
        _could_not_run(report, error, filename)
        report.verdict, report.kind = "wrong", "raises"
        return report
    return _could_not_run(report, error, filename)


def _explain(report, outcome, explain, seconds, deadline, filename):
    from .causes import explain_wrong

    explain_wrong(report, outcome, deadline if explain else 0.0, filename)
    report.source = source_line(filename, report.line)
