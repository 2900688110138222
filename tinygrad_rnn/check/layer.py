"""Check a layer: its own ``backward`` against the derivative of its own ``forward``."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import linecache
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..show import file_name
from . import recipes
from .arguments import TRAINING, Random, init_specs
from .causes import explain_wrong
from .forms import AT_OUTPUT, is_empty
from .formulas import compare_forward
from .limits import SLOWEST, TimeUp, time_limit, worked
from .loading import LIBRARIES
from .numpy_standin import noting_float32, unclipped
from .outcome import Outcome, evaluate, truth_without_epsilon, used_of
from .recipes import CannotMake
from .repair import Budget
from .report import Cause, Report, compare, listed, shows
from .running import (
    LOSSES,
    CannotRun,
    Setup,
    arguments_of,
    at_work,
    clone,
    copies,
    draw_cotangents,
    file_of,
    gradient_target,
    is_float,
    is_of_the_call,
    item_at,
    observe,
    outputs_of,
    places,
    slots_of,
    target_of,
    truth,
)
from .smallest import smallest_example
from .source import (
    attributes_set,
    is_computed_with,
    is_read,
    left_none,
    lines_run_in,
    node_of,
    not_reached,
    unread,
)
from .words import join, say

SECONDS = 5.0


def check_layer(layer: Any, *inputs: Any, seed: int = 0, explain: bool = True,
                seconds: float = SECONDS) -> Report:
    """Compare the hand-written backward of a layer with the derivative of its own forward.

    Args:
        layer: an object with ``forward``, ``backward`` and, if it has parameters, the lists
            ``params`` and ``grads``. It is copied, and not changed.
        inputs: what ``forward`` takes. Arrays of floats, any shape, are differentiated in
            float64, except labels.
        seed: of the random cotangents.
        explain: look for the cause of what is wrong, and for the smallest example.
        seconds: limit for one run of the layer.

    Returns a ``Report``: ``ok``, ``verdict``, ``cause``, ``line``, ``gradients``, ``str()``. What
    the layer raises stands in the report: nothing is raised here.
    """
    name = type(layer).__name__
    values = [np.asarray(x) if isinstance(x, (list, np.generic, np.ndarray)) else x for x in inputs]
    values = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
              for x in values]
    report = Report(name)
    for method in ("forward", "backward"):
        if not callable(getattr(layer, method, None)):
            return unchecked(report, say("{name} has no {method}", name=name, method=method))
    try:
        with time_limit(seconds):
            snapshot, _ = clone(layer)
            setup = Setup(snapshot, values, recipes.names_of_inputs(layer, len(values)),
                          slots_of(snapshot, _parameter_names(layer)))
            error = recipes.attempt(setup)
            if error is not None and error.phase != "returned":
                raise error
    except (CannotRun, TimeUp) as error:
        return could_not_run(report, error, file_of(type(layer)), seconds)
    except Exception as error:
        return unchecked(report, say("the layer cannot be copied: {error}",
                                     error=f"{type(error).__name__}: {error}"))
    return _check(report, setup, _Limits(seed, explain, seconds))


def assert_matches_autograd(layer: Any, *inputs: Any, **options: Any) -> None:
    """Raise AssertionError, with the report as its text, unless ``check_layer`` finds the layer
    right. For tests."""
    __tracebackhide__ = True
    report = check_layer(layer, *inputs, **options)
    if not report.ok:
        raise AssertionError(f"{report.name}.backward does not match its forward\n{report}")


@dataclass
class _Limits:
    """How far a check goes; see ``check_class``."""

    seed: int
    explain: bool
    seconds: float
    deadline: float | None = None
    trusted: Sequence[type] = ()

    def __post_init__(self):
        self.end = worked() + self.seconds if self.deadline is None else self.deadline

    def budget(self):
        """The work that is left for causes."""
        return Budget(self.end - worked() if self.explain else 0.0)


def check_class(cls: Any, recipe: Any = None, name: str | None = None, seed: int = 0,
                explain: bool = True, seconds: float = SECONDS,
                deadline: float | None = None, trusted: Sequence[type] = (),
                known: dict[Any, recipes.Search] | None = None) -> Report:
    """Check a class of which no object is at hand: how to construct it is found by trying.
    ``trusted``: classes that it uses and that are known to be right, which are not to blame;
    ``known``: what was found by trying, for a caller that asks again.

    Returns a ``Report``, as ``check_layer`` does; "unchecked" if no way is found.
    """
    report = Report(name or cls.__name__)
    backward: Any = getattr(cls, "backward", None)
    if not callable(backward):
        return unchecked(report, say("{name} has no {method}", name=report.name,
                                     method="backward"))
    if any(c.__module__.partition(".")[0] in LIBRARIES for c in cls.__mro__):
        return unchecked(report, say("{name} is a class of another library, which computes with"
                                     " other arrays than NumPy's", name=report.name))
    if is_empty(inspect.unwrap(backward)):
        return unchecked(report, say("{name}.backward is empty", name=report.name))
    search = None
    known = {} if known is None else known
    cls = _meant(cls, seed, seconds, known)
    typo = _no_constructor(cls)
    if typo is not None:
        return unchecked(report, typo)
    try:
        if recipe is None and getattr(getattr(cls, "form", None), "globals", None):
            recipe = recipes.from_factory(cls, report.name)
        if recipe is None:
            search = recipes.find(cls, seconds, known)
            recipe = search.best
        with time_limit(seconds):
            setup = recipe.setup()
    except (CannotMake, CannotRun, TimeUp) as error:
        could_not_run(report, error, file_of(cls), seconds)
        if read := _libraries_read(cls):
            return unchecked(report, say("{name} computes with {library}: only layers that compute"
                                         " with NumPy are judged", name=report.name, library=read))
        return _not_written(report, cls.forward, error)
    limits = _Limits(seed, explain, seconds, deadline, trusted)
    if search is not None:
        other, right = _right_otherwise(search, seed, seconds)
        if other is not None and not right:
            other.notes += [say("for {those} more is wrong; checked with {these}",
                                those=recipe.words(other), these=other.words(recipe))]
            recipe, setup = other, other.setup()
        elif other is not None:
            right = _check(report, other.setup(), limits)
            if (right.verdict == "ok" or right.kind == "dout_ignored") and other.cast is None:
                right.notes += [right.cause] * (right.kind == "dout_ignored")
                right.verdict, right.kind = "convention", "inputs"
                right.cause = say("right for {these}, wrong for {those}",
                                  these=other.words(recipe), those=recipe.words(other))
            return right
    if derivative := _is_derivative(setup, seed):
        report.verdict, report.kind = "convention", "derivative_at_x"
        report.cause = derivative
        return report
    target = target_of(setup.layer)
    if target is not None:
        if not _with_target(report, recipe, target, seed):
            return report
        setup = recipe.setup()
    report = _check(report, setup, limits, search and partial(search.others, recipe))
    if search is not None and len(report.causes) > 1 and not report.gradients:  # backward raised
        for other in search.raised(recipe):  # what it is meant for has fewer mistakes
            again = _check(Report(report.name), other.setup(), limits)
            if again.causes and not again.unexplained and len(again.causes) < len(report.causes):
                report, recipe = again, other
    if report.verdict == "wrong" and (kept := _toll(setup, seed)):
        report = Report(report.name, verdict="convention", kind="toll", cause=say(
            "forward gives back what it is handed, and backward adds the gradient of self.{name} to"
            " the one that it is handed", name=kept[0])) if kept[1] else unchecked(
            Report(report.name), say(
                "forward gives back what it is handed, and keeps self.{name}: backward may give the"
                " gradient of that", name=kept[0]))
    if recipe.wider and (report.kind == "idle_input" or recipes.is_point(recipe.inputs)):
        # as what is normalised over one element does; and one number shows nothing of a batch
        return could_not_run(Report(report.name), recipe.wider[0][1], file_of(cls))
    report.notes += recipe.notes + getattr(cls, "notes", [])
    if held := ", ".join(k for k, spec in recipe.init.items() if spec in recipes.INNER):
        if report.verdict == "wrong":  # those that it is made for may have another manner
            return unchecked(Report(report.name), say(
                "with layers of this project for {names} it is wrong: let --make give it"
                " those that it is made for", names=held))
        report.notes.append(say("checked with layers of this project for {names}",
                                names=held))
    first = recipe.first_error
    raised = [say("for {those} {phase} raises {error}", those=those, phase=error.phase,
                  error=str(error)) for those, error in recipe.wider]
    if raised and report.verdict == "ok":
        report.verdict, report.kind = "convention", "inputs"
        report.cause = join([say("right for {these}", these=recipe.words()), raised[0]])
    elif raised:
        report.notes += raised
    elif not report.ok and not recipe.notes and first is not None:
        report.notes.append(say("with other inputs {phase} raises {error}; checked with {these}",
                                phase=first.phase, error=str(first), these=recipe.words()))
    return report


def _libraries_read(cls):
    """The libraries with other arrays than NumPy's that the methods of a class read."""
    functions = [inspect.unwrap(fn) for fn in vars(cls).values() if inspect.isfunction(fn)]
    return ", ".join({name for fn in functions for name in fn.__code__.co_names
                      if name in LIBRARIES - {"scipy", "sklearn"} and name in fn.__globals__})


def _meant(cls, seed: int, seconds: float, known):
    """Of a class that is meant in one sense or in another, that in which most of it is right. The
    second half are the first once more, with another loss: what does not run there runs nowhere."""
    variants = getattr(cls, "variants", [cls])
    half, shares = len(variants) // 2, list[float]()
    for k, variant in enumerate(variants if half else ()):
        runs = k < half or shares[k - half] >= 0
        shares.append(_rightness(variant, seed, seconds, known) if runs else -1.0)
    return variants[shares.index(max(shares))] if half else cls


def _rightness(cls, seed: int, seconds: float, known):
    """The share of the gradients of a class that are right; -1 where it does not run."""
    with contextlib.suppress(CannotMake, CannotRun, TimeUp, Exception), time_limit(seconds):
        recipe: Any = recipes.find(cls, seconds, known).running[0]
        found = evaluate(recipe.setup(), seed, light=True).gradients
        return sum(g.ok for g in found) / len(found)
    return -1.0


def _with_target(report: Report, recipe: recipes.Recipe, target: str, seed: int):
    """Whether a backward that takes a target can be judged: by the loss for which most of its
    gradients are right. The loss goes into the recipe, or what is missing into the report."""
    best: tuple[int, Any] = (0, None)
    for loss in (None, *LOSSES):
        recipe.loss = loss
        with contextlib.suppress(CannotRun, ValueError, TypeError, IndexError):
            outcome = evaluate(recipe.setup(), seed, light=True)
            right = sum(g.ok and bool(np.any(outcome.wanted[g.name])) for g in outcome.gradients)
            if right > best[0]:
                best = right, loss
    found, recipe.loss = best
    if not found:
        unchecked(report, say("backward takes the target {target}, and its gradients are those of"
                              " none of the usual losses", target=target))
    elif recipe.loss:
        report.notes.append(say(
            "backward takes the target {target}: compared with the gradient of {loss}"
            " (divided by {over})", target=target, loss=say(recipe.loss[0]), over=recipe.loss[1]))
    return found > 0


def _no_constructor(cls):
    """What is raised where a class has a method that is almost called __init__, and no
    constructor; None if it has one. What that method does not take, and reads all the same, is
    handed over, too."""
    if cls.__init__ is not object.__init__:
        return None
    for name, method in vars(cls).items():
        bare = name.removeprefix(f"_{cls.__name__.lstrip('_')}")
        if isinstance(method, types.FunctionType) and re.fullmatch(r"_*(init|int|inti)_*", bare):
            arguments = recipes.required(method)[0][1:] or _untaken(method)
            try:
                cls(*arguments)
            except Exception as error:
                return say("{name}({arguments}) raises {error}: {method} is not __init__",
                           name=cls.__name__, arguments=", ".join(arguments), method=bare,
                           error=f"{type(error).__name__}: {error}")
    return None


def _untaken(fn):
    """The names that a function reads and does not take: those of nothing, or of arrays."""
    nodes: Any = ast.walk(node_of(fn) or ast.Module([], []))
    names = dict.fromkeys(n.id for n in nodes if isinstance(n, ast.Name))
    there = {k for k, v in {**fn.__builtins__, **fn.__globals__}.items()
             if not isinstance(v, np.ndarray)}
    return [n for n in names if n not in there and n not in fn.__code__.co_varnames]


def _is_derivative(setup: Setup, seed: int) -> str:
    """What is to be said where backward takes the input, or the output, not a gradient, and gives
    the derivative there; "" where it does not."""
    x = setup.inputs[0] if len(setup.inputs) == 1 else None
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or setup.slots.names:
        return ""
    try:
        if evaluate(setup, seed, light=True).right:
            return ""
        taken = arguments_of(setup.layer.backward)[0].name
        with at_work(setup.layer) as layer:
            y = layer.forward(x.copy())
            # what ignores its argument is another mistake, and so is half of a gradient: that looks
            # at what forward has kept
            found = [layer.backward(at) for at in (x.copy(), np.copy(y), 1 - 2 * x)]
            layer.forward(1 - 2 * x)
            again = [layer.backward(at) for at in (x.copy(), np.copy(y))]
        if gradient_target(taken) or not all(map(np.array_equal, found, again)):
            return ""
        wanted = truth(setup, [np.ones_like(y)]).inputs[0]
    except Exception:
        return ""
    if not all(is_float(got) and np.shape(y) == got.shape == x.shape for got in found) or (
            np.array_equal(found[0], found[2])):
        return ""
    name = setup.names[0]
    if np.allclose(found[0], wanted):
        return say("backward({x}) is the derivative at {x}, and right: whoever calls it multiplies"
                   " it with the gradient", x=name)
    return AT_OUTPUT if np.allclose(found[1], wanted) else ""


def _right_otherwise(search: recipes.Search, seed: int, seconds: float):
    """Where a layer is not right with its likeliest inputs: others with which it is, if there are
    some, and True; or others of as many axes with which less is wrong, and False."""
    first: Any = search.best
    better, fewest = None, set[str]()
    try:
        with time_limit(seconds):
            outcome = evaluate(first.setup(), seed)
            missed = set(_unseen(outcome, [])) if outcome.right else set()
            if not missed and (outcome.right or _at_a_kink(outcome)):
                return None, False
            wrong = fewest = {g.name for g in outcome.wrong_gradients} | missed
    except (CannotRun, TimeUp):
        return None, False
    if not wrong:
        return None, False
    with contextlib.suppress(CannotRun, TimeUp), time_limit(seconds):
        cast = {k for k in wrong if not np.any(outcome.wanted.get(k, 1))}
        whole = recipes.with_ids(first, cast)  # what is cast to integers is not differentiated
        if whole is not None and evaluate(whole.setup(), seed).right:
            return whole, True
        narrow = [*search.narrow(first, outcome)]
        for recipe in itertools.chain(narrow, search.others(
                first, outcome.got, not wrong & {*outcome.setup.slots.names})):
            setup = recipe.setup()
            if recipes.is_right_by_chance(setup) and recipe not in narrow:
                continue
            if any(type(s.value) is bool and s != held for s, held in zip(
                    recipe.inputs, first.inputs, strict=True)):
                continue  # whether in training or not: both are meant
            other = evaluate(setup, seed, light=True)
            if _is_handed_on(other) and not _is_handed_on(outcome):
                continue  # where forward does nothing, there is nothing to be right
            shown = {name for name, g in other.wanted.items() if np.any(g)}
            if other.right and wrong <= shown and not (missed and _unseen(other, [])):
                return recipe, True
            left = {g.name for g in other.wrong_gradients}
            if left and left < fewest and fewest - left <= shown and all(
                    np.ndim(a) >= np.ndim(b) for a, b in zip(
                        setup.inputs, outcome.setup.inputs, strict=True)):
                fewest, better = left, recipe
    return better, False


def _is_handed_on(outcome: Outcome):
    """Whether forward returns its input as it is."""
    return any(np.array_equal(x, y) for x in outcome.setup.inputs
               for y in outcome.observation.outputs)


def _parameter_names(layer):
    """The names of the constructor's arguments that are its parameters, if all are."""
    names, _ = recipes.required(type(layer))
    params = getattr(layer, "params", None)
    return names if isinstance(params, (list, tuple)) and len(names) == len(params) else ()


def unchecked(report: Report, cause: str, line: int | None = None) -> Report:
    report.verdict, report.cause, report.line = "unchecked", cause, line
    return report


def _not_written(report: Report, fn, error: Any = None) -> Report:
    """What is said of a function that leaves None where its results belong, and perhaps raises an
    error because of it; the report as it is where that is not so."""
    fn, raised = inspect.unwrap(fn), getattr(error, "error", getattr(error, "__cause__", None))
    names = left_none(fn) if getattr(error, "phase", "output") == "output" or isinstance(
        raised, (TypeError, AttributeError)) else []
    report.source = "" if names else report.source
    return unchecked(report, say(
        "{function} is not written yet: it leaves None in {names}", names=", ".join(names),
        function=".".join(fn.__qualname__.rsplit(".")[-2:]))) if names else report


def could_not_run(report: Report, error: Any, filename: str, seconds: float = SECONDS) -> Report:
    """A layer that cannot be made, does not end, or raises: in backward that is an error of the
    layer's, elsewhere it may be ours for having called it in a way that was not meant."""
    if isinstance(error, CannotMake):
        unchecked(report, error.args[0], getattr(error.__cause__, "line", None))
        report.file = file_name(filename) if filename else ""
        report.source = source_line(filename, report.line)
        return report
    if isinstance(error, TimeUp):
        return unchecked(report, say(
            "not finished within {seconds} s (a loop without end?)", seconds=f"{seconds:g}"))
    if isinstance(error.error, TimeUp):
        return unchecked(report, say(
            "{phase} did not end in time (a loop without end?)", phase=error.phase),
                          error.line)
    what: str = say("{phase} raises {error}", phase=error.phase, error=error)
    if is_of_the_call(error.error):
        return unchecked(report, say("how {phase} is called was not found by trying: {error}",
                                     phase=error.phase, error=str(error.error)))
    if error.phase in ("output", "unwritten"):
        what = error.error.args[0] if error.error.args else str(error.error)
    if error.phase == "forward" and not recipes.is_own(error):
        what = say("{phase} raises {error}: if it wants other inputs, let --make name a function"
                   " that returns (layer, inputs...)", phase=error.phase, error=error)
    if error.phase == "trace":
        what = say("forward cannot be differentiated: {error}", error=error)
    report.file = file_name(filename) if filename else ""
    unchecked(report, what, error.line)
    if error.phase == "unwritten":
        report.verdict, report.kind = "wrong", "uninitialised"
    report.source = source_line(filename, error.line)
    return report


def source_line(filename: str, line):
    """The text of a line of a file."""
    return linecache.getline(filename, line).strip() if filename and line else ""


# --- one check -----------------------------------------------------------------------------------


def _check(report: Report, setup: Setup, limits: _Limits, others: Any = None) -> Report:
    """Judge a layer as it is set up. ``others``: a function of its gradients that yields the
    recipes of other uses of it."""
    seed, seconds, filename = limits.seed, limits.seconds, file_of(type(setup.layer))
    report.file = file_name(filename) if filename else ""
    outcome: Any = None
    first: Any = None
    setup, conventions = _in_training(setup, seed)
    runs: list[Setup] = []
    shown: set[str] = set()
    with noting_float32() as narrowed:
        try:
            with time_limit(seconds):
                for outcome in _scenarios(setup, seed):
                    if not outcome.right:
                        outcome = _at_a_kink(outcome) or outcome
                    first = first or outcome
                    if not outcome.right:
                        if outcome.setup.rounds < 2 or not _is_right_in_steps(setup, seed):
                            break
                        outcome = first
                        outcome.problems.append(Cause("steps", say(
                            "right for a sequence, forward for each of its steps and then backward"
                            " for each, the last one first; wrong if backward follows each"
                            " forward"), wrong=False))
                    conventions += [p for p in outcome.problems if p not in conventions]
                    runs.append(outcome.setup)
                    shown |= {k for k, g in outcome.wanted.items() if shows(g, outcome.tolerance)}
        except CannotRun as error:
            return _raised(report, error, setup, limits)
        except TimeUp as error:
            return could_not_run(report, error, filename, seconds)
        if narrowed:
            report.notes.append(say(
                "float32 is hard-coded; it was widened to float64 for the check"))
    if not first.gradients:
        return unchecked(report, say(
            "nothing to compare: no parameter and no input of floats"))
    if all(outcome.got.get(g.name) is None for g in first.gradients) and _not_written(
            report, type(setup.layer).backward).verdict == "unchecked":
        return report
    if outcome.observation.printed:
        report.notes.append(say("the layer prints; its output is not shown"))
    report.notes += dict.fromkeys(first.notes)
    returned = first.observation.returned
    ids = [n for n, x, g in zip(setup.names, setup.inputs, returned, strict=False) if _are_ids(x)
           and g is not None and np.any(g) and len(returned) == len(setup.inputs)]
    if ids and outcome.right and not outcome.setup.scenario.startswith("with one-hot"):
        report.notes.append(say("backward returns something for {names}: ids have no gradient to"
                                " compare it with", names=listed(ids, "")))
    report.gradients = first.gradients if outcome.right else outcome.gradients
    if not outcome.right:
        if outcome.setup.scenario:
            report.notes.append(say("seen {when}", when=say(outcome.setup.scenario)))
        report.verdict = "wrong"
        report.notes += dict.fromkeys(
            p.text for p in outcome.problems
            if not p.wrong and p.kind in ("input_edited", "dout_ignored"))
        if outcome.unseen:
            report.notes.append(say("no gradient of {names} is found, and none is compared",
                                    names=listed(outcome.unseen, "")))
        with _search(report):
            budget = limits.budget()
            if names := unread(type(setup.layer).backward):
                report.notes.append(say("backward computes {names}, and nothing reads it",
                                        names=", ".join(names)))
            with unclipped(outcome.clipped):
                repairs = explain_wrong(report, outcome, budget.part(0.8), filename,
                                        limits.trusted, _more(setup, seed))
                if limits.explain:
                    report.example, report.worked = smallest_example(outcome, budget, repairs)
                else:  # nobody has looked
                    report.searched, report.unexplained = "", []
            if not report.causes and any(c.wrong for c in compare_forward(report.name, outcome)):
                report.notes.append(say("forward is not the formula of {name}: perhaps the mistake"
                                        " is there", name=report.name))
        return report
    with contextlib.suppress(TimeUp), time_limit(seconds):
        conventions += compare_forward(report.name, first)
        missed, elsewhere = _not_reached(runs, others(first.got) if others else (), seed)
        conventions[:0] = elsewhere
        if missed:
            report.notes.append(say("lines of backward that no input that was tried"
                                    " reaches, and that are not judged: {lines}",
                                    lines=", ".join(missed)))
    if dark := [n for n in {**dict.fromkeys(setup.slots.names), **first.wanted} if n not in shown]:
        text = say("{gradients}: right would be 0, or next to it, in everything that was tried: a"
                   " mistake there may not show", gradients=listed(dark))
        if not shown and setup.slots.names:
            return unchecked(report, text)
        report.notes.append(text)
    for name in _idle(first):
        text = say("the output does not depend on the input {name}: whatever it is, forward gives"
                   " the same", name=name)
        conventions.insert(0, Cause("idle_input", join([text, *_without(setup, name)]),
                                      _line_without(setup.layer, name)))
    left: list[str] = []
    missed = _unseen(first, left)
    if left:
        report.notes.append(say("{names}: as the constructor makes it where it is not handed over;"
                                " no gradient of it is compared", names=", ".join(left)))
    if (left_out := _left_out(first, missed)) is not None:
        conventions.insert(0, left_out)
    elif missed:
        return unchecked(report, say(
            "{gradients} not compared: forward depends on {names}, for which no gradient is found;"
            " all others are right", gradients=listed(missed), names=listed(missed, "")))
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


@contextlib.contextmanager
def _search(report: Report):
    """Inside the block causes are looked for; where that fails, the verdict stands without."""
    try:
        yield
    except Exception as error:
        report.notes.append(say("the search for a cause failed: {error}",
                                error=f"{type(error).__name__}: {error}"))


def _not_reached(runs: list[Setup], others, seed: int):
    """The statements of backward that none of these runs reaches, by their lines, nor another use
    in which the layer is right; and where it is wrong in one of these, that."""
    cls, lines = type(runs[0].layer), set[int]()
    fn = inspect.unwrap(cls.backward)
    if not isinstance(fn, types.FunctionType) or fn.__module__ not in {
            c.__module__ for c in cls.__mro__}:
        return [], []  # an object that can be called, functools.partialmethod

    def with_those_of(setup):
        return lines.union(lines_run_in(
            lambda: observe(setup, np.random.default_rng(0), light=True), {fn.__code__}))

    for setup in runs:
        lines = with_those_of(setup)
        missed = not_reached(fn, lines)
        if not missed:
            return missed, []
    wrong = None
    for recipe in others:
        with contextlib.suppress(CannotRun):
            setup = recipe.setup()
            there = with_those_of(setup)
            left = not_reached(fn, there)
            if left != missed and evaluate(setup, seed, light=True).right:
                lines, missed = there, left
            elif left != missed and all(
                    a.kind != "distribution" or b.kind == a.kind for a, b in zip(
                        runs[0].recipe.inputs, recipe.inputs, strict=True)):
                wrong = wrong or (recipe, there)
    if wrong and (left := not_reached(fn, lines | wrong[1])) != missed:  # nor where it is right
        return left, [Cause("inputs", say(
            "right for {these}, wrong for {those}", these=runs[0].recipe.words(wrong[0]),
            those=wrong[0].words(runs[0].recipe)), wrong=False)]
    return missed, []


def _in_training(setup: Setup, seed: int):
    """A layer that is right only while its own flag says that it is in training, in training, and
    that as a convention; any other as it is."""
    flags = _training_flags(setup)
    there = replace(setup, prepare=_with_flags(flags))
    with contextlib.suppress(CannotRun):
        if flags and evaluate(there, seed, light=True).right and not evaluate(
                setup, seed, light=True).right:
            return there, [Cause("training", say(
                "right in training (self.{flag} = True), wrong without", flag=flags[0]),
                wrong=False)]
    return setup, []


def _training_flags(setup: Setup):
    """The attributes of a layer that say that it is not in training."""
    return [k for k, v in getattr(setup.layer, "__dict__", {}).items()
            if v is False and TRAINING.fullmatch(k)] if setup.prepare is None else []


def _with_flags(flags):
    def prepare(layer: Any):
        for flag in flags:
            setattr(layer, flag, True)

    return prepare


def _idle(outcome: Outcome):
    """The names of inputs, floats and ids, on which no output depends."""
    setup, rng = outcome.setup, np.random.default_rng(7)
    if setup.recipe is None or setup.recipe.fixed_inputs is not None:
        return  # inputs that were handed over may be such that nothing depends on them

    def outputs(inputs):
        seen, _ = observe(replace(setup, inputs=inputs), np.random.default_rng(0), light=True)
        return seen.outputs

    for i, x in enumerate(setup.inputs):
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fi" or not x.size or (
                setup.recipe.inputs[i].kind == "lengths"  # all may be handled alike
                or setup.names[i].startswith("_")  # and it is said to be unused
                or i in outcome.observation.inputs_edited):  # it is there to be written into
            continue
        if x.dtype.kind == "f":
            if i >= len(outcome.truth.inputs) or np.abs(outcome.truth.inputs[i]).max() > 1e-12:
                continue
            drawn = [rng.normal(size=x.shape) for _ in range(2)]
        else:
            drawn = [rng.integers(0, max(x.max(), 1) + 1, x.shape) for _ in range(6)]
        with contextlib.suppress(CannotRun):
            first = outputs(setup.inputs)
            if all(np.shape(a) == np.shape(b) and np.array_equal(a, b)
                   for other in drawn for a, b in zip(
                       first, outputs([*setup.inputs[:i], other, *setup.inputs[i + 1:]]),
                       strict=True)):
                yield setup.names[i]


def _without(setup: Setup, name: str):
    """What is raised where an argument that no line reads is left out, as a sentence or none."""
    forward = inspect.unwrap(type(setup.layer).forward)
    nodes: Any = ast.walk(node_of(forward) or ast.Module([], []))
    if hasattr(type(setup.layer), "form") or name in [  # a function is called by what it takes
            n.attr if isinstance(n, ast.Attribute) else n.id for n in nodes
            if isinstance(n, (ast.Name, ast.Attribute))]:
        return []
    inputs = [x for n, x in zip(setup.names, setup.inputs, strict=False) if n != name]
    try:
        with at_work(setup.layer) as layer:
            layer.forward(*copies(inputs))
    except Exception as error:
        return [say("without it forward raises {error}", error=f"{type(error).__name__}: {error}")]
    return []


def _line_without(layer, name: str):
    """The line of forward that reads self.name where the argument belongs, else its first."""
    code = inspect.unwrap(type(layer).forward).__code__
    reads = [n.lineno for n in ast.walk(node_of(inspect.unwrap(type(layer).forward))
                                        or ast.Module([], []))
             if isinstance(n, ast.Attribute) and n.attr == name and isinstance(n.ctx, ast.Load)]
    return min(reads, default=code.co_firstlineno)


def _unseen(outcome: Outcome, left: list[str] | None = None):
    """The names of arrays of the layer on which its output depends, and for which no gradient was
    compared. Constants, made the same each time and neither handed over, are none of them, nor
    is what forward fills itself. Those that the constructor makes where it is not handed them, and
    that have no name of weights, a first state, go into ``left``."""
    setup, layer = outcome.setup, outcome.setup.layer
    params = setup.slots.params(layer)
    found = {id(a): (path, a) for path, a in places(layer) if a.size and not any(
        np.may_share_memory(a, p) for p in params if isinstance(p, np.ndarray))
        and path[-1] not in getattr(type(layer), "kept", ())}
    if setup.recipe is not None:
        try:
            again = dict(places(setup.recipe.setup(seed=2).layer))
        except CannotRun:
            again = {}
        given = {k for k, spec in setup.recipe.init.items() if spec.kind == "weight"}
        # ones and zeros may be weights before training; those of a loss that has none are not
        trains = setup.slots.names or any(np.ndim(y) for y in outcome.observation.outputs)
        found = {i: (path, a) for i, (path, a) in found.items()
                 if "params" in path or str(path[-1]) in given or (
                     trains and len(set(a.ravel())) == 1)
                 or path not in again or not np.array_equal(a, again[path])}
    names = list(outcome.unseen)
    for path, array in found.values():
        with contextlib.suppress(CannotRun, Exception):
            (g,) = truth(setup, outcome.cotangents, others=[path]).others
            if np.abs(g).max(initial=0) > 1e-9 and not recipes.is_written(setup, path):
                begins = len(set(array.ravel())) == 1 and str(path[-1]) in _left_to_others(
                    type(item_at(layer, path[:-1])))
                (names if left is None or not begins else left).append(".".join(map(str, path)))
    return names


def _left_to_others(cls):
    """The arguments of a constructor that may be left out, and have no name of weights."""
    found = [p.name for p in arguments_of(cls) if p.default is None]
    return {n for n in found if init_specs(n, cls.__name__, 1, found)[0][0].kind != "weight"}


def _left_out(outcome: Outcome, missed):
    """A finding, where the layer has the parameters of some of several inner layers, and not those
    of others like them."""
    layer = outcome.setup.layer
    own = outcome.setup.slots.params(layer)
    paths = [path for path, _ in places(layer) if "params" in path[1:]]
    missed = [path for path in paths if ".".join(map(str, path)) in missed]

    def has(path):
        return any(np.may_share_memory(a, p) for q, a in places(layer) if q == path for p in own)

    for path in missed:
        inner = path[: path.index("params", 1)]
        if any(len(p) == len(path) and p[0] == path[0] and p != path and has(p) for p in paths):
            return Cause("left_out", say(
                "params has those of some of the layers in self.{list}, and not those of"
                " self.{inner}: an optimizer never sees them", list=inner[0],
                inner=inner[0] + "".join(f"[{k!r}]" for k in inner[1:])))
    return None


def _scenarios(setup: Setup, seed: int):
    """The plain case first; then those that the layer has: a second round on the same object,
    labels that are ignored, a state that is given and carried."""
    plain = evaluate(setup, seed)
    yield plain
    yield _allow_accumulation(evaluate(replace(setup, rounds=2, scenario=(
        "in the second forward and backward of the same object")), seed), plain)
    ignored = getattr(setup.layer, "ignore_label", None)
    if isinstance(ignored, int):
        inputs = [_ignore(x, ignored) for x in setup.inputs]
        if any(a is not b for a, b in zip(inputs, setup.inputs, strict=True)):
            yield evaluate(replace(setup, inputs=inputs, scenario="with labels to be ignored"),
                           seed)
    if hasattr(setup.layer, "stateful"):
        yield from _with_state(setup, seed)
    yield from _with_one_hot(plain)
    yield from _drawn_again(plain)
    if flags := _training_flags(setup):
        with contextlib.suppress(CannotRun):
            yield evaluate(replace(setup, prepare=_with_flags(flags), scenario="in training"), seed)
    if two := setup.recipe and setup.recipe.with_two():
        with contextlib.suppress(CannotRun):
            yield evaluate(replace(two.setup(), scenario=(
                "with two heads or layers, where one is the default")), seed)


def _drawn_again(plain: Outcome):
    """With other weights, where some gradient is zero by chance: all units dead, or dropped."""
    dark = {k for k, g in plain.wanted.items() if not shows(g, plain.tolerance)}
    for seed in range(2, 6):
        with contextlib.suppress(CannotRun, TimeUp), time_limit(0.5):
            if dark and plain.setup.recipe is not None:
                again = evaluate(plain.setup.recipe.setup(values=Random(seed), seed=seed),
                                 plain.seed)
                if lit := {k for k in dark if shows(again.wanted.get(k, 0), again.tolerance)}:
                    dark -= lit
                    yield again


def _is_right_in_steps(setup: Setup, seed: int):
    """Whether a cell that keeps its states itself is right over two steps."""
    cls, rng = type(setup.layer), np.random.default_rng(seed + 3)
    takes = sum(p.default is p.empty for p in arguments_of(setup.layer.backward))

    def forward(self, *inputs):
        n = len(inputs) // 2
        return tuple(y for given in (inputs[:n], inputs[n:])
                     for y in outputs_of(cls.forward(self, *given))[0][:takes])

    def backward(self, *douts):
        after = outputs_of(cls.backward(self, *douts[takes:]))[0]
        return (*outputs_of(cls.backward(self, *douts[:takes]))[0], *after)

    with contextlib.suppress(CannotRun, Exception):
        layer, _ = clone(setup.layer)
        layer.__class__ = type(cls.__name__, (cls,), {
            "__module__": cls.__module__, "forward": forward, "backward": backward})
        after = [rng.normal(size=x.shape) if is_float(x) else x for x in setup.inputs]
        return setup.prepare is None and evaluate(replace(
            setup, layer=layer, inputs=[*setup.inputs, *after],
            names=[*setup.names, *(f"{n}_after" for n in setup.names)]), seed, light=True).right
    return False


def _toll(setup: Setup, seed: int):
    """Of a layer that hands on what it was handed: the attribute, made of that, whose gradient
    backward may add, a loss of its own, perhaps, and whether it does; None where there is none."""
    cls = type(setup.layer)

    def right_with(name):
        def forward(self, *inputs):
            y = cls.forward(self, *inputs)
            self.weighed = np.random.default_rng(seed).normal(size=y.shape)
            return np.sum(y * self.weighed) + np.sum(getattr(self, name))

        def backward(self, dout):
            return dout * cls.backward(self, self.weighed)

        layer, _ = clone(setup.layer)
        layer.__class__ = type(cls.__name__, (cls,), {
            "__module__": cls.__module__, "forward": forward, "backward": backward})
        with contextlib.suppress(CannotRun, Exception):
            return evaluate(replace(setup, layer=layer), seed, light=True).right
        return False

    with contextlib.suppress(CannotRun, Exception):
        floats = [x for x in setup.inputs if is_float(x)]
        seen, other = (observe(replace(setup, inputs=[
            x * scale if is_float(x) else x for x in setup.inputs]), np.random.default_rng(seed),
            light=True)[0] for scale in (1, 0.9))
        made = [n for n in attributes_set(inspect.unwrap(cls.forward)) if (np.asarray(
            kept := getattr(seen.layer, n)).dtype.kind == "f" and not np.array_equal(
                kept, getattr(other.layer, n)) and not any(np.array_equal(kept, x)
                                                           for x in floats))]
        if made and any(np.array_equal(seen.outputs[0], x) for x in floats):
            right = next(filter(right_with, made), None)
            return right or ", self.".join(made), right is not None
    return None


def _with_one_hot(plain: Outcome):
    """Ids as one-hot rows, where backward returns a gradient that has their shape: there is a right
    one for it, if forward reads them."""
    setup, returned = plain.setup, plain.observation.returned
    inputs = list(setup.inputs)
    for i, (x, g) in enumerate(zip(inputs, returned, strict=False)):
        if _are_ids(x) and isinstance(g, np.ndarray) and g.shape[:-1] == x.shape and (
                0 <= x.min() <= x.max() < g.shape[-1]):
            inputs[i] = np.eye(g.shape[-1])[x]
    if len(returned) == len(inputs) and any(map(_are_ids, setup.inputs)) and not any(
            map(_are_ids, inputs)):
        with contextlib.suppress(CannotRun):
            outcome = evaluate(replace(setup, inputs=inputs, scenario=(
                "with one-hot rows in the place of ids")), plain.seed)
            if all(np.any(g) for g in outcome.truth.inputs if g is not None):
                yield outcome


def _are_ids(x):
    return isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.size > 0


def _at_a_kink(outcome: Outcome):
    """Where a derivative does not exist (relu at 0, a tie of max) any value is as good: the same
    comparison a little way off, if all is right there."""
    if any(p.wrong for p in outcome.problems):
        return None
    rng = np.random.default_rng(outcome.seed)
    inputs = [x + 1e-2 * rng.normal(size=x.shape) if is_float(x) else x
              for x in outcome.setup.inputs]
    try:
        moved = evaluate(replace(outcome.setup, inputs=inputs), outcome.seed)
    except CannotRun:
        return None
    if not moved.right:
        return None
    moved.notes.append(say(
        "compared beside the given inputs: at them the derivative does not exist"))
    return moved


def _ignore(x, label):
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or x.size < 3:
        return x
    x = x.astype(np.int64)
    x.reshape(-1)[::3] = label
    return x


def _allow_accumulation(outcome: Outcome, plain: Outcome | None = None):
    """A layer that adds to its gradients, all of them, until someone clears them, is right by
    convention; one that adds to some of them is not. Of a layer that holds layers each may, or may
    not. ``plain``: the first round, where that is right by another convention."""
    slots, seen = outcome.setup.slots, outcome.observation
    if outcome.right or not slots.names:
        return outcome
    added = {}
    for name, before, after in zip(slots.names, seen.grads_before, seen.grads, strict=True):
        if before is None or after is None or before.shape != after.shape:
            return outcome
        added[name] = after - before
    wrong, holders = {g.name for g in outcome.wrong_gradients}, _holders(outcome.setup)
    adding = {holders[name] for name in slots.names if name in wrong}
    got = {**outcome.got, **{k: g for k, g in added.items() if holders[k] in adding}}
    for wanted in (outcome.wanted, *([plain.wanted] if plain is not None and plain.right else [])):
        adjusted = [compare(g.name, got[g.name], wanted.get(g.name, outcome.wanted[g.name]),
                            outcome.tolerance) for g in outcome.gradients]
        if all(g.ok for g in adjusted):
            break
    if all(g.ok for g in adjusted):
        outcome.gradients, outcome.got = adjusted, got
        outcome.problems.append(Cause("accumulates", say(
            "backward adds to what grads hold and does not clear it: the caller has to, before"
            " every step (the book overwrites)"), wrong=False))
    return outcome


def _holders(setup: Setup):
    """The innermost object that each parameter stands in, by the name of the parameter."""
    layer, inner = setup.layer, dict[int, tuple[Any, ...]]()
    for path, array in places(layer):
        objects = [k for k in range(len(path)) if hasattr(item_at(layer, path[:k]), "__dict__")]
        inner[id(array)] = max(inner.get(id(array), ()), path[: objects[-1]], key=len)
    return {name: inner.get(id(item_at(layer, path)), ()) for name, path in zip(
        setup.slots.names, setup.slots.paths, strict=True)}


def _with_state(setup: Setup, seed: int):
    """The state carried from call to call, cut there, and the gradient of a state that is given."""
    def stateful(layer):
        layer.stateful = True

    setup = replace(setup, prepare=stateful)
    second = replace(setup, rounds=2, scenario="in the second call with stateful=True")
    yield _allow_accumulation(evaluate(second, seed))
    seen, _ = observe(setup, np.random.default_rng(0), light=True)
    yield from _carried(setup, second, seed)
    shapes = {k: getattr(seen.layer, k).shape for k in ("h", "c")
              if isinstance(getattr(seen.layer, k, None), np.ndarray)}
    if "h" not in shapes or not hasattr(setup.layer, "set_state"):
        return
    rng = np.random.default_rng(seed + 5)
    states = {k: rng.normal(size=shape) for k, shape in shapes.items()}
    takes = len(arguments_of(setup.layer.set_state))

    def given(layer):
        layer.stateful = True
        layer.set_state(*[s.copy() for s in list(states.values())[:takes]])

    yield evaluate(replace(setup, prepare=given, states=("h", "c"), scenario="with a given state"),
                   seed)


def _carried(setup: Setup, twice: Setup, seed: int):
    """Two calls with stateful=True are one long call; the second is not like the first."""
    if len(setup.inputs) != 1 or np.ndim(setup.inputs[0]) != 3:
        return
    (xs,) = setup.inputs
    T = xs.shape[1]

    def output(run):
        return observe(run, np.random.default_rng(0), light=True)[0].outputs[0]

    first, second = output(setup), output(twice)
    whole = output(replace(setup, inputs=[np.concatenate([xs, xs], 1)]))
    if np.ndim(second) != 3 or second.shape[1] != T or not np.allclose(whole[:, :T], first):
        return
    if np.allclose(second, first) and not np.allclose(whole[:, T:], first):
        outcome = evaluate(replace(setup, prepare=None, scenario=twice.scenario), seed)
        outcome.problems.append(Cause(
            "state_not_carried", say("the state is not carried over: with stateful=True the second"
                                     " call begins from zero again, like the first")))
        yield outcome


def _raised(report: Report, error: CannotRun, setup: Setup, limits: _Limits) -> Report:
    """Backward raised. If it does not at D = H, it is right only there; else it cannot be run."""
    filename, seed = file_of(type(setup.layer)), limits.seed
    could_not_run(report, error, filename)
    raised = report.cause
    if error.phase != "backward" or isinstance(error.error, (TimeUp, CannotRun)) or (
            _not_written(report, type(setup.layer).backward, error).cause != raised):
        return report
    optional = [p.name for p in arguments_of(setup.layer.backward)
                if p.default is None or p.kind is p.VAR_POSITIONAL]
    if optional and "NoneType" in str(error):  # it may be one of these that it stumbles on
        report.cause = join([raised, say("{names} of backward may be left out, and was: None",
                                         names=", ".join(optional))])
        return report
    verdict, report.kind = "unchecked", "raises"
    with contextlib.suppress(CannotRun):
        if setup.recipe is not None and setup.recipe.init and evaluate(
                setup.recipe.setup({"D": 5, "H": 5}), seed).right:
            verdict, report.kind = "wrong", "square_only"
            raised = say("right only when D = H: with D = 5 and H = 6 backward raises {error}; a"
                         " weight is probably transposed, or two sizes are mixed up",
                         error=str(error))
    if verdict == "unchecked" and is_of_the_call(error.error):
        report.kind = ""
        return report
    kind = report.kind  # perhaps it is not meant to be called like this: not wrong yet
    if limits.explain:
        with _search(report), contextlib.suppress(CannotRun, TimeUp), time_limit(
                SLOWEST * limits.seconds):
            explain_wrong(report, _forward_outcome(setup, seed), limits.budget(), filename,
                          limits.trusted, _more_behind(setup, limits))
        # to leave out the line that raises ends the error: a cause only if nothing reads it
        if report.causes and not any(
                c.kind == "extra" and c.line == error.line and is_read(
                    type(setup.layer).backward, error.line) for c in report.causes):
            report.verdict = "wrong"
            report.notes.append(raised)
            return report
    report.verdict, report.kind, report.cause, report.line = verdict, kind, raised, error.line
    report.causes, report.unexplained, report.searched = [], [], ""
    report.source = source_line(filename, error.line)
    return report


def _forward_outcome(setup: Setup, seed: int):
    """An Outcome with the right gradients only, where backward cannot be run."""
    with at_work(setup.layer) as layer:
        outputs, kind = outputs_of(layer.forward(*copies(setup.inputs)))
    outcome = Outcome(setup, seed=seed)
    outcome.cotangents = draw_cotangents(outputs, np.random.default_rng(seed + 1), setup)
    loss = len(outputs) == 1 and np.ndim(outputs[0]) == 0
    if loss and not is_computed_with(type(setup.layer).backward):
        outcome.cotangents = [1.0]  # it is the last layer
    used = used_of(setup, outputs, outcome.cotangents, kind)
    outcome.truth = right = (loss and truth_without_epsilon(setup, used)) or truth(setup, used)
    outcome.wanted = dict(zip(setup.slots.names, right.params, strict=True))
    outcome.wanted |= {n: g for n, g in zip(setup.names, right.inputs, strict=False)
                       if g is not None}
    return outcome


def _more_behind(setup: Setup, limits: _Limits):
    """The same where backward raised: how it is to be called shows only once it does not."""

    def more(told):
        there = setup
        cls = getattr(setup.recipe, "cls", None)
        if isinstance(cls, type) and setup.recipe.fixed_inputs is None:
            with contextlib.suppress(CannotRun, CannotMake):
                search = recipes.find(cls, limits.seconds)
                there = search.running[0].setup() if search.running else setup
        return _more(there, limits.seed)(told)

    return more


def _more(setup: Setup, seed: int):
    """A function that looks for what else is wrong with the layer as it then runs."""

    def more(told):
        with contextlib.suppress(CannotRun):
            for outcome in _scenarios(setup, seed):
                if outcome.wrong_gradients or any(
                        p.wrong and p.kind not in told for p in outcome.problems):
                    return outcome
        return None

    return more
