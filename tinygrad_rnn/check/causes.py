"""Why gradients are wrong. Each wrong gradient has its own cause.

A cause is named only if it has been shown: an edit of the source that makes gradients right
(``repair``, with the catalogue in ``mistakes``), or a mistake that, applied to the right numbers,
gives the wrong ones (here), or a fact that was observed (``protocol``). What nothing explains is
said to be unexplained.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..show import file_name
from . import recipes
from .cuts import dropped_path
from .formulas import of_formula
from .gates import tell_gates
from .mistakes import ratio_of
from .numpy_standin import is_unpoisoned, unpoisoned
from .outcome import evaluate
from .parts import each_use_its_own, parts_of
from .repair import Budget, factor_in_words, find_repair, forward_repair, taken_up
from .report import Cause, listed
from .running import CannotRun, arrays_of, gradient_names, objects_of, observe
from .source import node_of, replaced, returned_names, traced
from .words import join, say

if TYPE_CHECKING:
    from .outcome import Outcome
    from .report import Report
    from .running import Setup

# Numbers that show the kind of a mistake by themselves: no edit of another kind explains them.
_TELLING = {"state_returned", "mask", "zero", "returned_order", "uninitialised"}


@dataclass
class _Shown:
    """What the numbers of one gradient show: a kind, and words in which ``names`` are
    the gradients."""

    kind: str
    words: str
    values: dict[str, Any] = field(default_factory=dict)


def explain_wrong(report: Report, outcome: Outcome, budget: Budget, filename: str, trusted=(),
                  more=None):
    """Put causes, their lines and what was searched into a report.

    Args:
        trusted: classes that are known to be right, whose code is not to blame.
        more: a function of the kinds of facts that are known; it returns the next wrong Outcome of
            the layer as it then runs, or None. It is asked with the repairs of what was found
            made, so that one mistake does not hide another.

    Returns the code of the layer's functions with all repairs: (function, code), ...
    """
    if outcome.gradients:
        tell_gates(report.gradients, outcome)
    idle = [g.name for g in outcome.wrong_gradients if g.name in outcome.setup.slots.names
            and not np.any(outcome.wanted[g.name])]
    if idle and np.any(outcome.got[idle[0]]):  # no edit of backward mends a forward
        code = inspect.unwrap(type(outcome.setup.layer).forward).__code__
        _put(report, [Cause("idle_parameter", say(
            "the output does not depend on {names}, for which backward gives a gradient: forward"
            " leaves it out, or has another in its place", names=", ".join(idle)),
            code.co_firstlineno, code.co_filename, idle,
            source=linecache.getline(code.co_filename, code.co_firstlineno).strip())])
        return []
    edited: list[Any] = []
    codes: dict[Any, Any] = {}
    first: dict[Any, Any] = {}  # the functions as they were
    facts: dict[str, Any] = {}  # that were told, and the Outcome in which they were seen
    apart = _without_sharing(outcome)
    if apart is not None:  # what shared memory alone makes wrong has no other cause
        shared = Cause("aliased", join([p.text for p in outcome.problems if p.kind == "aliased"]))
        shared.gradients = [g.name for g in outcome.wrong_gradients
                            if g.name not in {w.name for w in apart.wrong_gradients}]
        shared.file, shared.line = filename, _line(shared, outcome, filename)
        shared.source = linecache.getline(filename, shared.line or 0).strip()
        _put(report, [shared])
        if apart.right:
            return []
        outcome, more = apart, None
    with contextlib.ExitStack() as mended:
        for _ in range(4):
            repair = _explain_one(report, outcome, budget, filename, trusted, edited, facts)
            stuck = outcome.wrong_gradients and not (repair and repair.complete)
            if stuck and "uninitialised" in facts and not is_unpoisoned():
                mended.enter_context(unpoisoned())  # what else is wrong shows in numbers
                stuck = False
            if report.unexplained or more is None or budget.over or stuck:
                break
            if repair is not None and repair.edits:
                mended.enter_context(replaced(repair.codes))
                codes |= dict(repair.codes)
                first |= {fn: code for fn, code in repair.before if fn not in first}
                edited = [*repair.functions,
                          *(f for f in edited if all(f.fn is not g.fn for g in repair.functions))]
            outcome = more(set(facts))
            if outcome is None:
                break
            # what a repair that stores something brings about is no fact of the layer
            known = {"cache", "input_edited"} - _kinds(outcome, list(first.items()))
            outcome.problems = [p for p in outcome.problems if p.kind not in known]
    if report.unexplained or not report.causes:
        report.searched = say("none of the known mistakes") if not budget.used_up else (
            say("not found within the work of {seconds} s (--time-limit)",
                seconds=f"{budget.limit:.2g}"))
    return list(codes.items())


def _without_sharing(outcome: Outcome):
    """Where gradients share memory with parameters or with each other: the same comparison, with
    an array of its own for each. None where they do not, or where inner layers hold them."""
    setup = outcome.setup
    if not any(p.kind == "aliased" for p in outcome.problems) or not hasattr(
            setup.layer, "grads") or any(
            hasattr(x, "grads") for x in objects_of(setup.layer) if x is not setup.layer):
        return None

    def prepare(layer):
        if setup.prepare:
            setup.prepare(layer)
        layer.grads = [np.zeros_like(g) if isinstance(g, np.ndarray) else g for g in layer.grads]

    with contextlib.suppress(CannotRun, TypeError):
        return evaluate(replace(setup, prepare=prepare), outcome.seed)
    return None


def _explain_one(report: Report, outcome: Outcome, budget: Budget, filename: str, trusted, edited,
                 facts):
    """Add the causes of one Outcome to a report, and what it shows to ``facts``; returns the
    Repair, if one was looked for."""
    findings = [p for p in outcome.problems if p.wrong and p.kind not in facts]
    wrong = [g.name for g in outcome.wrong_gradients]
    rebound = [p for p in findings if p.kind == "replaced"]
    if rebound and (wrong or report.causes or len(findings) > len(rebound)):
        # a matter of its own, which must not hide wrong numbers
        report.notes.append(join([p.text for p in rebound]))
        findings = [p for p in findings if p.kind != "replaced"]
        facts["replaced"] = outcome

    def in_forward(stored=False, formula=None):
        """Whether backward is right once forward is edited, which is the cause then."""
        edit = forward_repair(outcome, budget, stored, formula)
        if edit is not None:
            _put(report, [*report.causes, Cause(
                edit.kind, edit.said, edit.line, edit.function.filename, wrong, edit.change)])
        return edit is not None

    alone = wrong and not findings and not edited
    raised = not outcome.gradients and not edited
    if (alone or raised) and (shared := _used_again(outcome)) is not None:
        _put(report, [*report.causes, shared])
        return None
    formula = of_formula(report.name, outcome) if alone else None
    if alone and in_forward(formula=formula):
        return None
    if formula is not None:
        code = inspect.unwrap(type(outcome.setup.layer).forward).__code__
        _put(report, [*report.causes, Cause("forward", say(
            "backward is right for the formula of {name}, and forward is another: the mistake is"
            " there", name=report.name), code.co_firstlineno, code.co_filename, wrong,
            source=linecache.getline(code.co_filename, code.co_firstlineno).strip())])
        return None
    shown = _all_shown(outcome, wrong, outcome.got)
    causes: list[Cause] = []
    explained: set[str] = set()
    repair = None
    if (wrong or not outcome.gradients) and not budget.over:
        def telling(got):
            return {n: s.kind for n, s in _all_shown(outcome, wrong, got).items()
                    if s.kind in _TELLING}

        most = budget.part(0.85)  # what is left is for forward
        repair = find_repair(outcome, most, telling, trusted, edited)
        budget.used_up |= most.used_up
        if len(repair.edits) > 1 and (not outcome.gradients or any(
                np.shape(outcome.got[n]) != outcome.wanted[n].shape for n in wrong)):
            _leave_what_is_enough(repair, outcome)
        if repair.edits:
            shown = _all_shown(outcome, wrong, repair.got)
        path = dropped_path(outcome, Budget(0.1 * budget.limit)) if (
            wrong and not repair.edits) else None
        if wrong and not repair.edits and path is None and in_forward(stored=True):
            return None
        causes, findings = _with_findings(outcome, repair, findings)
        explained = set(repair.right)
        if path is not None:
            causes.append(path)
            explained |= {*path.gradients}
    old = [c for c in report.causes if c.kind in facts and c.change is None]
    if old and wrong:  # what was told may well be why: only an edit that undoes it says more
        if repair is None or not repair.complete or not causes:
            report.unexplained = []
            return None
        for fact in () if is_unpoisoned() else old:
            causes = _merged(fact, facts[fact.kind], repair, causes)
    if any((c.kind, c.line) == (d.kind, d.line) for c in causes for d in report.causes):
        return None  # the same line again: the repair before is not the whole of it
    if any(p.kind == "count" for p in findings):
        findings = [p for p in findings if p.kind != "none"]
    facts |= {p.kind: outcome for p in findings}
    if repair is not None and repair.edits and {*wrong} - explained:  # what right would be 0
        with replaced(repair.codes), contextlib.suppress(CannotRun):
            explained |= {*wrong} - {g.name for g in evaluate(
                outcome.setup, outcome.seed, light=True).wrong_gradients}
    left = [n for n in wrong if n not in explained]
    causes += _once(findings)
    told = {n for p in findings for n in p.gradients}
    causes += _by_numbers(shown, [n for n in left if n not in told])
    told |= {n for c in causes for n in c.gradients}
    for cause in causes:
        cause.file = cause.file or filename
        if cause.line is None:
            cause.line = _line(cause, outcome, filename)
        if cause.line:
            cause.source = linecache.getline(cause.file, cause.line).strip()
    report.unexplained = [n for n in left if n not in told]
    _put(report, report.causes + causes)
    return repair


def _used_again(outcome: Outcome):
    """The Cause, where a layer inside is used several times in forward, and keeps for backward what
    it saw the last time alone: all is right once each use has what it saw itself."""
    layer = outcome.setup.layer
    names = {k: v for k, v in vars(layer).items() if type(v) in parts_of(type(layer))}
    fn = inspect.unwrap(type(layer).forward)
    calls = {k: [n.lineno for n in ast.walk(node_of(fn) or ast.Module([], []))
                 if isinstance(n, ast.Call) and ast.unparse(n.func) in (
                     f"self.{k}", f"self.{k}.forward", f"self.{k}.__call__")] for k in names}
    again = [k for k, lines in calls.items() if len(lines) > 1]
    with each_use_its_own({type(names[k]) for k in again}), contextlib.suppress(CannotRun):
        if again and evaluate(outcome.setup, outcome.seed, light=True).right:
            line = max(max(calls[k]) for k in again)
            return Cause("cache", say(
                "{names} is used several times in forward, and keeps for backward what it saw the"
                " last time: each place wants one of its own",
                names=", ".join(f"self.{k}" for k in again)), line, fn.__code__.co_filename,
                [g.name for g in outcome.wrong_gradients],
                source=linecache.getline(fn.__code__.co_filename, line).strip())
    return None


def _leave_what_is_enough(repair, outcome: Outcome):
    """How backward is to be called is not known while it raises, or gives another shape: one edit
    is enough if all is right with it alone, in the way of calling it that is found then; and so
    are two of three."""
    cls, n = getattr(outcome.setup.recipe, "cls", None), len(repair.edits)
    fewer = [({i}, codes) for i, codes in enumerate(repair.alone)]
    if n > 2:
        fewer += [({*range(n)} - {i}, codes) for i, codes in enumerate(repair.without)]
    for kept, codes in fewer if isinstance(cls, type) else ():
        those = [repair.edits[i] for i in kept]
        if any(taken_up(e, those) for i, e in enumerate(repair.edits) if i not in kept):
            continue  # they are made with it
        with replaced(codes), contextlib.suppress(CannotRun, recipes.CannotMake):
            search = recipes.find(cls, 1.0)
            uses = search.running[:1] and (
                search.running[0], *search.others(search.running[0], outcome.got))
            if any(_is_right(use.setup(), outcome.seed) for use in uses):
                for those in (repair.edits, repair.mended, repair.alone):
                    those[:] = [x for i, x in enumerate(those) if i in kept]
                repair.codes = codes
                return


def _is_right(setup: Setup, seed: int):
    with contextlib.suppress(CannotRun):
        return not recipes.is_right_by_chance(setup) and evaluate(setup, seed, light=True).right
    return False


def _merged(fact: Cause, seen: Outcome, repair, causes):
    """The causes without the one whose edit undoes what was told before; that has its line now."""
    for i, cause in enumerate(causes):
        if i < len(repair.alone) and fact.kind not in _kinds(seen, repair.alone[i]):
            fact.line, fact.file, fact.change = cause.line, cause.file, cause.change
            fact.source = linecache.getline(cause.file, cause.line).strip()
            fact.gradients = cause.gradients
            return causes[:i] + causes[i + 1 :]
    return causes


def _kinds(outcome: Outcome, codes):
    """The kinds of facts that an Outcome shows with other code."""
    with replaced(codes), contextlib.suppress(CannotRun):
        return {p.kind for p in evaluate(outcome.setup, outcome.seed).problems if p.wrong}
    return {p.kind for p in outcome.problems}


def _put(report: Report, causes):
    report.causes = causes
    if causes:
        first = causes[0]
        report.cause, report.kind = join([c.text for c in causes]), first.kind
        report.line, report.source, report.file = first.line, first.source, file_name(first.file)


def _once(findings):
    """Findings of a kind together."""
    by_kind: dict[str, list[Any]] = {}
    for p in findings:
        by_kind.setdefault(p.kind, []).append(p)
    for same in by_kind.values():
        first = same[0]
        first.text = join([p.text for p in same])
        first.gradients = [n for p in same for n in p.gradients]
        yield first


def _with_findings(outcome: Outcome, repair, findings):
    """Causes from edits. What was observed and is gone with an edit is what that edit mends: it
    has the better words. Returns the causes, and the findings that are left."""
    causes = [Cause(e.kind, e.said, e.line, e.function.filename, sorted(names), e.change)
              for e, names in zip(repair.edits, repair.mended, strict=True)]
    causes = [c for i, c in enumerate(causes) if not any(
        (c.text, c.file, c.line, c.change) == (d.text, d.file, d.line, d.change)
        for d in causes[:i])]  # one mistake in two places of a line
    if not findings or len(causes) != len(repair.edits):
        return causes, findings
    left = list(findings)
    for i, cause in enumerate(causes):
        still = _kinds(outcome, repair.alone[i])
        gone = [p for p in left if p.kind not in still and (
            not p.gradients or {*p.gradients} & {*cause.gradients})]
        if gone and gone[0].kind not in ("count", "none"):  # which the edit tells better
            cause.kind = gone[0].kind
            cause.text = join([p.text for p in gone if p.kind == cause.kind])
        if gone:
            left = [p for p in left if p not in gone]
    return causes, left


def _by_numbers(shown, names):
    """Mistakes that, applied to the right gradients, give the wrong ones; the same mistake of
    several gradients is one."""
    groups: dict[Any, list[str]] = {}
    for n in names:
        if n in shown:
            s = shown[n]
            groups.setdefault((s.kind, s.words, str(s.values)), []).append(n)
    return [Cause(kind, say(words, **{**shown[those[0]].values, "names": listed(those)}),
                  gradients=those) for (kind, words, _), those in groups.items()]





def _close(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=1e-10)


def _all_shown(outcome: Outcome, names, got):
    """What the numbers of gradients show, which are ``got``: name -> _Shown."""
    seen = replace(outcome, got=got)
    return {n: s for n in names if (s := _shown(n, seen)) is not None}


def _shown(name, outcome: Outcome):
    """What the numbers of one gradient show, or None."""
    got, wanted = outcome.got.get(name), outcome.wanted[name]
    if not isinstance(got, np.ndarray):
        return None
    if name in outcome.unwritten:
        return _Shown("uninitialised", "uninitialised memory (np.empty) is read: part of {names} is"
                      " never written")
    for other, right in outcome.wanted.items():
        if other != name and np.abs(right).max(initial=0) > 1e-9 and _close(got, right):
            if name not in outcome.setup.names:
                return _Shown("slot", "{names} holds the gradient of another parameter, {other}",
                              {"other": f"d{other}"})
            if not _close(outcome.got.get(other), right):
                return _Shown("returned_order", "{names} are returned in each other's place")
    states = [x for x in outcome.setup.inputs if isinstance(x, np.ndarray)]
    for y in outcome.observation.outputs + states:
        if isinstance(y, np.ndarray) and y.ndim and got.ndim and _close(got, y):
            return _Shown("state_returned", "{names}: a state (what forward took or gave) is"
                          " returned where a gradient belongs")
    if got.shape != wanted.shape:
        if got.shape == wanted.shape[::-1] and _close(got.T, wanted):
            return _Shown("transposed", "{names} is transposed")
        return _Shown("shape", "{names}: shape {shape} where {wanted} belongs",
                      {"shape": got.shape, "wanted": wanted.shape})
    rows = _ignored(outcome, wanted)
    if rows is not None and _close(got[~rows], wanted[~rows]):
        return _Shown("mask", "labels that are to be ignored are not masked: their rows of {names}"
                      " are not zero")
    if not np.any(got):
        return _Shown("zero", "{names} is left at zero")
    if outcome.setup.rounds > 1 and name in outcome.setup.slots.names:
        before = outcome.observation.grads_before[outcome.setup.slots.names.index(name)]
        if np.shape(before) == got.shape and np.any(before) and _close(got - before, wanted):
            return _Shown("stale", "{names}: added to what it holds from before, which the others"
                          " are not")
    step = _last_step(name, got, wanted, outcome)
    if step is not None:
        return step
    if _close(got, -wanted):
        return _Shown("sign", "wrong sign of {names}")
    ratio = ratio_of(got, wanted)
    if ratio is not None:
        return _Shown("scaling", "{names}: scaling is forgotten or wrong, {ratio} times what it"
                      " should be", {"ratio": factor_in_words(name, ratio, outcome)})
    if got.ndim == 2 and got.shape[0] == got.shape[1] and _close(got.T, wanted):
        return _Shown("transposed", "{names} is transposed")
    return None


def _last_step(name, got, wanted, outcome: Outcome):
    """Whether a gradient is that of one time step, where that of all belongs."""
    layers = [v for v in vars(outcome.observation.layer).values() if isinstance(v, list) and v
              and all(isinstance(getattr(x, "grads", None), list) for x in v)]
    slots = outcome.setup.slots.names
    for steps in layers if name in slots else ():
        grads = [x.grads[k] for x in steps for k in range(len(x.grads))
                 if np.shape(x.grads[k]) == wanted.shape]
        own = getattr(outcome.observation.layer, "grads", ())
        if len(steps) > 1 and any(g is h for g in steps[0].grads for h in own) and _close(
                sum(np.asarray(g) for g in grads), wanted):
            return _Shown("first_only", "{names} is that of the first of {n} inner layers alone,"
                          " whose parameters and gradients stand for all: the others are not"
                          " added", {"n": len(steps)})
        apart = [g for g in grads if not any(g is h for h in own)]  # else no steps, but blocks
        if len(steps) > 1 and any(_close(np.asarray(g), got) for g in apart):
            return _Shown("last_step", "{names} is that of one time step alone: the steps are not"
                          " added up")
    return None


def _ignored(outcome: Outcome, wanted):
    """Which rows of a gradient belong to labels that are ignored, or None."""
    label = getattr(outcome.setup.layer, "ignore_label", None)
    for x in outcome.setup.inputs:
        if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and (
                x.shape == wanted.shape[: x.ndim]) and (x == label).any():
            return x == label
    return None


# --- which line ----------------------------------------------------------------------------------


def _line(cause, outcome: Outcome, filename: str):
    """The line that wrote what is wrong, found by watching the arrays while backward runs."""
    if not filename:
        return None
    setup = outcome.setup
    if cause.kind in ("aliased", "uninitialised", "state_not_carried", "state_not_cut"):
        line = _line_in_source(cause.kind, setup)
        if line is not None:
            return line
    wrong = cause.gradients or [g.name for g in outcome.wrong_gradients]
    if cause.gradients and (cause.kind == "slot" or not {*wrong} & {*setup.slots.names}):
        line = _line_of_name(type(setup.layer).backward, filename, wrong)
        if line is not None:
            return line
    slots = [i for i, n in enumerate(setup.slots.names) if n in wrong]
    watch = _Watch(filename, cause.kind, setup, slots,
                   cause.kind == "input_edited" and bool(outcome.observation.inputs_edited))
    with contextlib.suppress(CannotRun):
        watch.run(outcome)
    return watch.line


def _line_of_name(backward, filename: str, names):
    """The last line of backward that gives a value to what it returns as the gradient of one of
    these inputs, by its name, or writes into it."""
    fn = inspect.unwrap(backward)
    called = {g for name in names for g in gradient_names(name)} & {*returned_names(fn)}
    nodes: Any = ast.walk(node_of(fn) or ast.Module([], []))
    lines = [n.lineno for n in nodes if isinstance(n, (ast.Assign, ast.AugAssign))
             for t in getattr(n, "targets", [getattr(n, "target", None)])
             if called & {m.id for m in ast.walk(t) if isinstance(m, ast.Name)}]
    return max(lines, default=None) if fn.__code__.co_filename == filename else None


_MARKS = {"aliased": ("__init__", r"self\.grads\b.*="), "uninitialised": ("backward", r"\bempty"),
          "state_not_carried": ("forward", r"self\.(h|c|state)\w*\b"),
          "state_not_cut": ("backward", r"self\.d[hc]\b(?!.*=[^=].*self\.d)")}  # fmt: skip


def _line_in_source(kind, setup: Setup):
    """The first line of a method of the layer that has the mark of a mistake."""
    method, mark = _MARKS[kind]
    fn: Any = getattr(type(setup.layer), method, None)
    with contextlib.suppress(OSError, TypeError):
        lines, first = inspect.getsourcelines(fn)
        for i, line in enumerate(lines):
            if re.search(mark, line):
                return first + i
    return None


class _Watch:
    """Runs the layer line by line, and notes the last line in the file that changed something."""

    def __init__(self, filename: str, kind, setup: Setup, slots, of_inputs=False):
        self.of_inputs = of_inputs
        self.filename, self.kind, self.setup, self.slots = filename, kind, setup, slots
        self.layer: Any = None
        self.arrays: list[Any] = []  # that are watched, where these are no parameters or gradients
        self.held = self.where = self.line = self.return_line = None
        self.functions = [getattr(inspect.unwrap(getattr(type(setup.layer), k)), "__code__", None)
                          for k in ("forward", "backward")]  # of no class, perhaps

    def state(self):
        """What is watched, as bytes or identities."""
        with contextlib.suppress(Exception):
            if self.kind == "into_parameter":
                return [p.tobytes() for p in self.setup.slots.params(self.layer)]
            if self.kind in ("input_edited", "cache"):
                return [a.tobytes() for a in self.arrays]
            grads = self.setup.slots.grads(self.layer)
            if self.kind == "replaced":
                return [id(g) for g in grads]
            return [grads[i].tobytes() for i in self.slots]
        return None

    def begin(self, layer, arguments, backward: bool):
        """Watch from here on: a call of forward or of backward."""
        self.layer = layer
        if not (self.of_inputs and backward):  # else those that forward was handed
            self.arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        if self.kind == "cache":
            grads = self.setup.slots.grads(layer)
            self.arrays = [a for a in arrays_of(layer) if not any(
                np.may_share_memory(a, g) for g in grads)] if backward else []
        self.held = self.state()

    def trace(self, frame, event, _):
        code = frame.f_code
        if code.co_filename != self.filename:
            return None
        if event == "call":
            layer = frame.f_locals.get("self")
            if code in self.functions if layer is None else (
                    code.co_name in ("forward", "backward") and (
                        type(layer) is type(self.setup.layer) if self.layer is None
                        else layer is self.layer)):
                self.begin(layer, frame.f_locals.values(), code is self.functions[1] or (
                    code.co_name == "backward"))
            return self.trace
        if event == "return" and code is self.functions[1]:
            self.return_line = frame.f_lineno
        now = self.state()
        if now is not None:
            if now != self.held and self.where:
                self.line = self.where
            self.held = now
        caller = frame.f_back if event == "return" else None  # whose line goes on
        self.where = (caller if caller and caller.f_code.co_filename == self.filename
                      else frame).f_lineno
        return self.trace

    def run(self, outcome: Outcome):
        with traced(self.trace):
            observe(self.setup, np.random.default_rng(outcome.seed + 1), light=True)
        if self.line is None:
            self.line = self.return_line
