"""Find the lines of mistakes by undoing them: edits of the layer's backward after which its
gradients are right.

An edit undoes one mistake of the catalogue (``mistakes``). The layer is run with each. One that
makes all gradients right, at random values, is the cause. Where none does, there are several
mistakes: an edit that makes some of what is wrong right, and spoils nothing, is made, and the
search goes on from there. In the end every edit must be needed: without it something is wrong
again.
"""

from __future__ import annotations

import ast
import contextlib
import functools
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import chain, product, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from .limits import TimeUp, time_limit, work, worked
from .mistakes import (
    LATE,
    Edit,
    Evidence,
    Scope,
    bound_in,
    called,
    edits,
    factors_of,
    looped,
    name_of,
    placed,
    ratio_in_words,
    ratio_of,
    show,
)
from .outcome import evaluate, pairs
from .patch import change_of, change_of_statement
from .report import allowed
from .running import (
    CannotRun,
    Observation,
    arrays_of,
    call_forward,
    clone,
    copies,
    draw_again,
    draws,
    file_of,
    gradient_names,
    gradients,
    lines_run,
    numpy_replaced,
    objects_of,
    outputs_of,
    quietly,
    state_gradients,
    within,
)
from .smallest import in_sizes
from .source import (
    Function,
    chosen,
    codes_run,
    compiled,
    functions_of,
    is_ours,
    lines_run_in,
    one_of,
    profiled,
    traced,
    with_source,
)

if TYPE_CHECKING:
    from .outcome import Outcome

# Sizes to confirm what was found in: of two rows normalised ones are +-1 whatever backward does
ELSEWHERE = {"N": 7, "T": 3, "V": 9}
LIKELY = 6  # the highest rank of edits that are not many
ORDER = 7  # of those that put lines in another order
ENOUGH = 3  # edits of a place that are tried, where each makes something wrong that is right
FIRSTS = 12  # edits that are made, to look for another one behind them
MOST = 3  # kinds of mistakes that are looked for in one layer
# Work, in seconds: of a run of backward with an edit, of each line that it runs, of a place's edit
TRIAL, LINE, PLACE = 150e-6, 3e-6, 40e-6
RETURNS = "backward returns"  # as many gradients as forward takes inputs


# What shows as one kind in the numbers, and is another in the source.
_MAY_BE = {"uninitialised": ("return_in_loop", "steps"),
           "zero": ("never_called", "not_added", "overwritten", "last_step", "path_dropped",
                    "slot", "mask", "order", "wrong_variable", "extra")}


class Budget:
    """Work (see ``limits``): so many seconds of it, from now on."""

    def __init__(self, seconds: float, limit: float | None = None):
        self.end = worked() + seconds
        self.limit = max(0.0, seconds) if limit is None else limit  # of which these are a part
        self.used_up = False  # whether something was left undone for want of time

    @property
    def over(self):
        late = worked() > self.end
        self.used_up |= late
        return late

    def part(self, share: float):
        """A share of what is left."""
        return Budget(share * (self.end - worked()), self.limit)


class Bench:
    """The layer of an Outcome after its forward, to run its backward on again and again."""

    def __init__(self, outcome: Outcome):
        self.outcome, setup = outcome, outcome.setup
        self.layer, _ = clone(setup.layer)
        setup.start(self.layer)
        self.drawn = draws()
        y, self.kind = outputs_of(call_forward(setup, self.layer, copies(setup.inputs)))
        self.outputs = y
        self.at_once = getattr(type(setup.layer), "at_once", None)
        self.dicts = [(part.__dict__, dict(part.__dict__)) for part in objects_of(self.layer)
                      if hasattr(part, "__dict__")]
        self.lists = [(x, list(x)) for x in _lists(self.dicts)]
        self.arrays = [(a, a.copy()) for a in arrays_of(self.layer)]
        # what makes a gradient zero where none flows shows nothing
        self.idle = {g.name for g in outcome.wrong_gradients
                     if np.abs(outcome.wanted[g.name]).max(initial=0) < 1e-9}
        self.far: Any = 0, None  # how far backward came where it raised, and what
        self.got: dict[str, Any] = {}  # what the last run gave, to compare
        self.cost = TRIAL  # of a run

    def restore(self):
        for attributes, before in self.dicts:
            attributes.clear()
            attributes.update(before)
        for items, those in self.lists:
            items[:] = those
        for array, values in self.arrays:
            np.copyto(array, values)

    def run(self):
        """Backward as it now is: which elements of each gradient are right, name -> booleans; None
        if it raises."""
        outcome, setup = self.outcome, self.outcome.setup
        work(self.cost)
        self.restore()
        self.got = {}
        try:
            with time_limit(0.2):  # an edit may make a loop endless
                if self.at_once:  # which no edit may make another loss
                    draw_again(self.drawn)
                    made, _ = outputs_of(call_forward(setup, self.layer, copies(setup.inputs)))
                    if not all(map(np.allclose, made, self.outputs)):
                        return None
                result, grads = setup.backward(self.layer, copies(outcome.cotangents), self.kind)
        except (Exception, TimeUp) as error:
            self.far = next(iter(lines_run(error)), 0), repr(error)
            return None
        seen = Observation([], gradients(result), gradients(grads),
                           state=state_gradients(self.layer))
        scratch = replace(outcome, problems=[])
        marks = Marks()
        for name, got, wanted in pairs(scratch, seen):
            if name in self.idle:
                continue
            marks.got[name] = got
            if got is None or got.shape != wanted.shape:
                marks[name] = np.zeros(wanted.shape, bool)
            else:
                marks[name] = np.abs(got - wanted) <= allowed(wanted, outcome.tolerance)
        marks[RETURNS] = np.array(not scratch.problems)
        self.got = marks.got
        return marks


class Marks(dict[str, np.ndarray]):
    """Which elements of each gradient are right; ``got``: what was compared."""

    def __init__(self):
        super().__init__()
        self.got: dict[str, Any] = {}

    @property
    def right(self):
        return {name for name, marks in self.items() if marks.all()}


def _lists(dicts):
    seen = {}
    stack = [v for live, _ in dicts for v in live.values()]
    while stack:
        x = stack.pop()
        if isinstance(x, list) and id(x) not in seen:
            seen[id(x)] = x
            stack.extend(x)
    return seen.values()


@dataclass
class Gain:
    """What an edit made right, and nothing wrong: whole gradients, elements, and gradients that
    are off by one factor now and were off otherwise before."""

    names: set[str]
    elements: int
    in_proportion: set[str]


class Known:
    """Arrays that are known again, in another shape or transposed, too: by size and sums of
    powers. What is the same everywhere, or no array of floats, is none of them."""

    def __init__(self, arrays):
        self.marks = sorted((a.size, float(np.vdot(a, a)), *self.powers(a)) for a in arrays
                            if self.may_be(a) and np.isfinite(a).all() and np.ptp(a))
        self.sizes = {size for size, *_ in self.marks}

    @staticmethod
    def may_be(a):
        return isinstance(a, np.ndarray) and a.dtype == np.float64 and a.size > 1

    @staticmethod
    def powers(a):
        return float(np.vdot(a * a, a)), float(a.sum())

    def find(self, a):
        """Which of them an array is, None if none."""
        if not self.may_be(a) or a.size not in self.sizes:
            return None
        size, total = a.size, float(np.vdot(a, a))
        for i in range(bisect_left(self.marks, (size, total * (1 - 1e-9))), len(self.marks)):
            n, other, *powers = self.marks[i]
            if n > size or other > total * (1 + 1e-9):
                return None
            cubes, plain = self.powers(a)
            if abs(powers[0] - cubes) <= 1e-7 * total**1.5 and (
                    abs(powers[1] - plain) <= 1e-7 * (size * total)**0.5):
                return i
        return None

    def __contains__(self, a):
        return self.find(a) is not None


def gain(before, after, wanted=None):
    """A Gain, or None if nothing is gained or something lost. ``wanted``: the right gradients,
    where those that are in proportion to them count."""
    names, elements, close = set(), 0, set()
    for name, now in after.items():
        was = before.get(name)
        if was is None:
            was = np.zeros(now.shape, bool)
        if (was & ~now).any():
            return None
        elements += int(now.sum() - was.sum())
        if now.all() and not was.all():
            names.add(name)
        if wanted and not now.all() and name in wanted and _in_proportion(
                after.got[name], wanted[name]) and not _in_proportion(
                before.got.get(name), wanted[name]):
            close.add(name)
    return Gain(names, elements, close) if elements or close else None


def _in_proportion(got, wanted):
    if not isinstance(got, np.ndarray) or got.size < 2 or got.shape != wanted.shape:
        return False
    across = float(np.vdot(got, wanted))  # of most that are not, this is enough to know
    return abs(across * across / ((np.vdot(got, got) * np.vdot(wanted, wanted)) or 1) - 1) < 1e-6 \
        and (ratio_of(got, wanted) is not None or np.allclose(got, -wanted, rtol=1e-6, atol=1e-12))


@dataclass
class Repair:
    """The edits that were found. ``complete``: all is right with them."""

    edits: list[Edit] = field(default_factory=list)
    mended: list[set[str]] = field(default_factory=list)  # what is wrong without each of them
    complete: bool = False
    right: set[str] = field(default_factory=set)  # gradients that are right with all of them
    alone: list[Any] = field(default_factory=list)  # each, without the others: (function, code), ..
    without: list[Any] = field(default_factory=list)  # the others, without each
    codes: list[Any] = field(default_factory=list)  # with all of them
    before: list[Any] = field(default_factory=list)  # without
    functions: list[Function] = field(default_factory=list)  # their trees, with all of them
    got: dict[str, Any] = field(default_factory=dict)  # the gradients then


def find_repair(outcome: Outcome, budget: Budget, evidence=dict, trusted=(), edited=()):
    """Search for the edits that make the gradients of a wrong Outcome right.

    Args:
        evidence: of gradients as they now are, name -> the kind of mistake that its numbers show:
            an edit for that gradient alone must be of that kind.
        trusted: classes whose methods are known to be right.
        edited: functions that run, and are edited on, in the form that a repair gave them.
    """
    with quietly(), numpy_replaced(outcome.setup.layer):
        try:
            search = _Search(outcome, budget, evidence, trusted, edited)
        except Exception:
            return Repair()
        with contextlib.closing(search):
            raised = not search.now
            search.go()
            # that something else raises later, or nothing does, shows little
            return search.found if search.found.complete or not raised else Repair()


def forward_repair(outcome: Outcome, budget: Budget, stored=False, formula=None):
    """The edit of forward after which backward is right: a sum over a loop that is assigned with =,
    a softmax that adds up the whole batch, or (``stored``) of what it keeps for backward, its
    output being what it was, or any with which it is ``formula``; None if there is none."""
    setup, scopes = outcome.setup, dict[Any, Any]()
    forward = getattr(type(setup.layer), "forward", None)
    if not hasattr(forward, "__code__"):
        return None
    with quietly(), numpy_replaced(setup.layer):
        codes_run(lambda: Bench(outcome), file_of(type(setup.layer)), scopes)
        layer, _ = clone(setup.layer)
        run = {} if stored else codes_run(
            lambda: layer.forward(*copies(setup.inputs)), file_of(type(layer)))
        for f in with_source([forward, *(fn for fn in functions_of(run, objects_of(layer))
                                         if fn is not forward and "exp" in fn.__code__.co_names)]):
            scope = scope_of(f, scopes.get(forward.__code__, {})) if stored else Scope()
            scope.arguments = []  # states: no gradients
            kept = {n for s in ast.walk(f.node) if isinstance(s, ast.Assign) and all(
                ast.unparse(t).startswith("self.") for t in s.targets) for n in ast.walk(s.value)}
            summed = {n for n in ast.walk(f.node) if isinstance(n, ast.Call) and not n.keywords
                      and called(n) == "sum" and "exp" in f.fn.__code__.co_names}
            asked = {"overwritten": looped(f.node), "axis": {*summed}}
            found = edits(f, scope, Evidence(setup, outcome.wanted, {})) if (
                stored or any(asked.values()) or formula is not None) else ()
            for edit in sorted(found, key=lambda e: e.rank):
                if budget.over:
                    break
                if not (edit.old in kept if stored else formula is not None
                        or edit.old in asked.get(edit.kind, ())):
                    continue
                held, undo, mends = f.fn.__code__, edit.make(), False
                try:
                    code = compiled(f, f.node)
                    if code is not None:
                        f.fn.__code__ = code
                        with contextlib.suppress(Exception):
                            mends = _mends(outcome, stored, formula)
                finally:
                    f.fn.__code__ = held
                    undo()
                if mends:
                    edit.said, edit.change = edit.text, change_of(edit)
                    return edit
    return None


def _mends(outcome: Outcome, stored, formula):
    """Whether all is right as the code now is; ``stored``: and the output as it was; ``formula``:
    or what this gives."""
    now = evaluate(outcome.setup, outcome.seed, light=True,
                   fixed_truth=outcome.truth if stored else None)
    if formula is not None and not all(map(np.allclose, now.observation.outputs, formula)):
        return False
    again = elsewhere(outcome) if now.right else None
    return again is not None and again.right and (not stored or all(
        np.array_equal(a, b) for a, b in zip(
            now.observation.outputs, outcome.observation.outputs, strict=True)))


def elsewhere(outcome: Outcome):
    """The comparison at other values, and in other sizes where the layer can be made in them: there
    T - 1 is not N. None where it raises."""
    with contextlib.suppress(CannotRun):
        try:
            return evaluate(in_sizes(outcome.setup, ELSEWHERE), outcome.seed + 1, light=True)
        except (CannotRun, ValueError, TypeError):
            return evaluate(outcome.setup, outcome.seed + 1, light=True)
    return None


def factor_in_words(name, ratio, outcome: Outcome):
    """By how many times a gradient is not what it should be, as the code now is."""
    again = elsewhere(outcome)
    there = again and ratio_of(again.got.get(name), again.wanted.get(name))
    return ratio_in_words(1 / ratio, outcome.setup, (1 / there, again.setup) if there else None)


class _Search:
    def __init__(self, outcome: Outcome, budget: Budget, evidence, trusted, edited):
        self.outcome, self.budget, self.told_by = outcome, budget, evidence
        self.bench = Bench(outcome)
        self.scopes: dict[Any, dict[str, Any]] = {}
        filename = file_of(type(outcome.setup.layer))
        codes = codes_run(self.bench.run, filename, self.scopes)
        self.bench.cost += LINE * len(lines_run_in(self.bench.run, codes))
        self.files = {code.co_filename for code in codes}
        known = {f for cls in trusted for f in vars(cls).values() if callable(f)}
        alone = getattr(type(self.bench.layer), "backward_alone", None)
        own = [fn for fn in functions_of(codes, objects_of(self.bench.layer))
               if fn.__name__ not in ("__init__", "forward") and fn not in known
               and alone in (None, fn)
               and (not is_ours(fn.__code__.co_filename) or fn.__code__.co_filename == filename)]
        before = {f.fn: f for f in edited}
        new = {f.fn: f for f in with_source([fn for fn in own if fn not in before])}
        self.functions = [f for fn in own if (f := before.get(fn) or new.get(fn)) is not None]
        self.original = self.codes()
        self.idle = _idle(self.bench)
        self.filename, self.found = filename, Repair()
        self.made: list[Edit] = []
        self.partial: list[Edit] = []
        self.barred: list[Any] = []  # lines in which an edit did not lead to the end
        self.cut_short = False  # whether pairs were left out for want of time
        self.form = object()  # of the trees: another one once they are edited
        self.now = self.bench.run() or Marks()

    def close(self):
        for fn, code in self.original:
            fn.__code__ = code

    # --- one edit, and several ---

    def install(self, function: Function):
        """Let a function run as its tree now is; False if it cannot."""
        code = compiled(function, function.node)
        if code is not None:
            function.fn.__code__ = code
        return code is not None

    def code_with(self, edit: Edit):
        """The code of a function with an edit, None if it cannot run; those of one place, which
        differ in an expression, are compiled together."""
        if edit.code is None or edit.code[0] is not self.form:
            code = None
            if edit.beside[1:]:
                code = self.compiled_as(edit, [e.tree for e in edit.beside])
            for i, e in enumerate(edit.beside) if code else ():
                e.code = self.form, chosen(code, i)
            if code is None:
                edit.code = self.form, self.compiled_as(edit, [edit.tree])
        return edit.code[1]

    def compiled_as(self, edit: Edit, trees):
        undo = replace(edit, new=placed(one_of(trees), edit.old)).make()
        try:
            return compiled(edit.function, edit.function.node)
        finally:
            undo()

    @contextlib.contextmanager
    def tried(self, edit: Edit):
        """Inside the block the edit is made; yields whether the function can run with it."""
        held = edit.function.fn.__code__
        code = self.code_with(edit)
        try:
            edit.function.fn.__code__ = code or held
            yield code is not None
        finally:
            edit.function.fn.__code__ = held

    @contextlib.contextmanager
    def standing(self, edit: Edit):
        """Inside the block the edit is made, and others can be tried with it."""
        form, self.form = self.form, object()
        held, undo = edit.function.fn.__code__, edit.make()
        _forget(edit.function.node)
        try:
            yield self.install(edit.function)
        finally:
            edit.function.fn.__code__ = held
            undo()
            _forget(edit.function.node)
            self.form = form

    def attempt(self, edit: Edit):
        """What is right with one more edit, or None."""
        try:
            with self.tried(edit) as runs:
                return self.bench.run() if runs else None
        except (SyntaxError, ValueError, TypeError):
            return None

    def accept(self, edit: Edit, marks):
        before = [e for e in self.made if (id(e.node), e.field, e.at) == (
            id(edit.node), edit.field, edit.at) and e.is_expression and edit.is_expression
            and show(e.tree) not in show(edit.tree)]  # where it stands in it, both are right
        if before:  # of the same place: what stood there first is what is wrong
            self.undo_all()
            self.made = [e for e in self.made if e is not before[0]]
            for e in self.made:
                e.undo = e.make()
            edit.old = before[0].old
        edit.said, edit.change = edit.text, change_of(edit)  # as it reads before it is made
        edit.undo, edit.mended = edit.make(), marks.right - self.now.right - {RETURNS}
        self.install(edit.function)
        self.made.append(edit)
        self.form, self.now = object(), marks
        _forget(edit.function.node)

    def holds(self, names=None):
        """Whether gradients, all or those named, are right at other values, too, and in other sizes
        where there are some."""
        again = elsewhere(self.outcome)
        if again is None:
            return False
        if names is None:
            return again.right
        return all(g.ok for g in again.gradients if g.name in names)

    def confirmed(self, edit: Edit, names=None):
        with self.tried(edit) as runs:
            return runs and self.holds(names)

    # --- the search ---

    def go(self):
        self.advance()
        made = list(self.made)
        while self.made and not self.complete and len(self.barred) < 2 and not self.budget.over:
            first = self.made[0]  # what mends as much may stand in another line
            if self.evidence and not first.mended:
                break  # some elements alone, which shows little where the numbers say more
            self.barred.append((first.function, first.line, first.is_expression))
            self.make([])
            self.advance()
        if not self.complete:
            self.barred = []
            self.make(made)
            self.advance(self.one_by_one)
        self.found.complete = self.complete
        self.budget.used_up |= self.cut_short and not self.found.complete
        self.keep_what_is_needed()

    @property
    def complete(self):
        return bool(self.made) and self.all_right(self.now) and self.holds()

    def make(self, edits):
        """Make these edits in the functions as they were, and no others."""
        self.undo_all()
        self.made, self.form, self.partial = list(edits), object(), []
        for e in self.made:
            e.undo = e.make()
        for f in self.functions:
            _forget(f.node)
            self.install(f)
        self.now = self.bench.run() or Marks()

    def advance(self, last=lambda: None):
        """Edit, until all is right or nothing is left that mends a part."""
        while len({id(e.mistake) for e in self.made}) < MOST and not self.all_right(self.now):
            best = self.best_of(self.partial)  # what mended other gradients in the round before
            if best is None:
                self.begin()
                best = (self.scan(-1, LIKELY) or self.one_behind_another(0.7)
                        or self.with_a_factor() or self.best_of(self.whole)
                        or self.scan(ORDER - 0.1, ORDER)
                        or self.one_on_the_way(0.25) or self.in_sum() or self.scan(LIKELY, 9)
                        or self.in_sum() or self.best_of(self.partial) or last())
            if best is None:
                break
            for edit, marks in best:
                self.accept(edit, marks)

    def begin(self):
        """A round: what can be tried, and nothing is known yet of what it does."""
        self.partial, self.whole, self.effects, self.further = [], [], [], []
        self.edits = [e for e in self.candidates()
                      if (e.function, e.line, e.is_expression) not in self.barred]
        wrong = [n for n, marks in self.now.items() if n in self.outcome.wanted
                 and not marks.all()]
        self.wrong = [n for n in wrong if self.now.got.get(n) is not None] or wrong
        self.shown = {n for n in self.now.right - {RETURNS} if np.any(self.outcome.wanted.get(n))}
        n = sum(self.outcome.wanted[name].size for name in self.wrong)
        self.directions = np.random.default_rng(0).normal(size=(n, 2))
        self.start = self.along(self.now.got)
        self.reached = self.right_on_the_way()
        if self.made:  # what is left is where nothing is right yet
            right = self.settled()
            self.edits.sort(key=lambda e: id(e.old) in right)
        self.far = np.inf, None
        run = set(lines_run_in(self.bench.run, self.codes_run))
        if not self.bench.got:  # it raised: no expression that it did not come to can be why
            self.far = self.bench.far
            self.edits = [e for e in self.edits if not e.is_expression or not run.isdisjoint(
                range(e.old.lineno, e.old.end_lineno + 1))]

    def all_right(self, marks):
        return bool(marks) and all(m.all() for m in marks.values())

    def scan(self, low, high):
        """Try every edit of these ranks: notes those that mend a part, some whole gradient, and
        what each does; returns one that mends all."""
        if high > LATE and not self.budget.over:
            right = self.settled()
            self.edits += [e for e in self.candidates(late=True) if id(e.old) not in right]
        bent: list[Any] = []
        half = self.budget.part(0.5)
        spoilt: dict[int, int] = {}  # places whose value reaches what is right: no other helps
        for edit in self.edits:
            if not low < edit.rank <= high:
                continue
            if self.budget.over:
                break
            if low >= LIKELY and self.whole and half.over:
                self.cut_short = True  # the others are looked for with what time is left
                break
            if edit.is_expression and spoilt.get(id(edit.old), 0) == ENOUGH:
                continue
            marks = self.attempt(edit)
            if marks is not None and any(not marks[n].all() for n in self.shown & marks.keys()):
                spoilt[id(edit.old)] = spoilt.get(id(edit.old), 0) + 1
            if marks is None:
                there, what = self.bench.far
                self.further += [edit] if there > self.far[0] or (
                    there == self.far[0] and what != self.far[1]) else []
                continue
            self.effects.append((edit, self.along(marks.got)))
            if self.start is None and any(np.shape(marks.got.get(n)) != np.shape(
                    self.now.got.get(n)) for n in self.wrong):
                self.further.append(edit)
            won = gain(self.now, marks, self.outcome.wanted)
            if won is None or not self.allowed(edit, won) or not self.is_shown(edit, won):
                continue
            if self.all_right(marks) and self.confirmed(edit):
                if self.now and self.keeps(edit):
                    return [(edit, marks)]
                bent.append((edit, marks))  # as others may, which are not as far from the mistake
                high = min(high, edit.rank + 1) if self.now else high
                continue
            if not self.now and edit.kind == "extra":
                continue  # what raises is left out: something else may belong there
            if self.now and 3 * len(won.names - {RETURNS}) >= 2 * len(self.wrong) > 4:
                high = min(high, edit.rank)  # that is one, and the other comes next
            self.partial.append(edit)
            self.whole += [edit] if won.names - {RETURNS} else []
        return [max(bent, key=lambda b: len(self.right_on_the_way(b[0])))] if bent else None

    @functools.cached_property
    def known(self):
        right = self.outcome.truth
        given = Known(right.cotangents)  # which every variable can hold
        whole, shares = within(self.outcome.setup, right)
        known = Known(a for a in [*whole, *shares] if a not in given)
        self.whole_cotangents = {known.find(a) for a in whole} - {None}
        return known

    @functools.cached_property
    def named(self):
        """The gradients, each by the names that a variable for it may have."""
        return {v: Known([g]) for name, g in self.outcome.wanted.items()
                for v in gradient_names(name)}

    def right_on_the_way(self, edit: Edit | None = None):
        """What the derivative of forward has on its way, and variables hold when their function
        returns, with one more edit; and the names of those that hold the gradient that they are
        named for."""
        found: set[Any] = set()
        gradients = Known(self.outcome.wanted.values())

        def note(frame, event, result):
            if frame.f_code.co_filename not in self.files:
                return None
            frame.f_trace_lines = False
            given = result if isinstance(result, tuple) else (result,)
            for name, value in (*frame.f_locals.items(), *(("", g) for g in given)) if (
                    event == "return") else ():
                if value in self.named.get(name, ()):
                    found.add(name)
                elif name in self.named and value in gradients:
                    continue  # that of another name
                found.add(self.known.find(value))
            return note

        if not self.known.marks:
            return found
        tried = self.tried(edit) if edit else contextlib.nullcontext(True)
        with tried as runs, traced(note):
            if runs:
                self.bench.run()
        work(self.bench.cost / 2)
        return found - {None}

    def settled(self):
        """The expressions, by identity, of assignments that each time give a variable what the
        derivative of forward has on its way."""
        lines = {f.fn.__code__: {line: s for s in ast.walk(f.node) if isinstance(
            s, (ast.Assign, ast.AugAssign)) for line in range(s.lineno, (s.end_lineno or 0) + 1)}
            for f in self.functions}
        last, right = dict[Any, Any](), dict[Any, bool]()

        def is_right(name, value):
            return value in self.named[name] if name in self.named else (
                self.known.find(value) in self.whole_cotangents)

        def note(frame, event, _):
            if frame.f_code not in lines:
                return None
            done = last.pop(frame, None)
            if done is not None:
                right[done] = right.get(done, True) and all(
                    is_right(n, frame.f_locals.get(n)) for n in bound_in([done]) or [""])
            if event == "line":
                last[frame] = lines[frame.f_code].get(frame.f_lineno)
            return note

        if self.known.marks:
            with traced(note):
                self.bench.run()
            work(self.bench.cost * 3)
        return {id(n) for s, always in right.items() if always for n in ast.walk(s.value)}

    def keeps(self, edit: Edit):
        """Whether what is right on the way stays so with an edit: where it makes up for a mistake
        that is elsewhere, it does not."""
        return self.reached <= self.right_on_the_way(edit)

    def along(self, got):
        """The gradients that are wrong, along two directions; None where one has another shape."""
        parts = [got.get(name) for name in self.wrong]
        if not parts or any(g is None or g.shape != self.outcome.wanted[n].shape
                            for n, g in zip(self.wrong, parts, strict=True)):
            return None
        return np.concatenate([g.ravel() for g in parts]) @ self.directions

    def candidates(self, late=False):
        """All edits, in the order in which they are tried: of the functions that others call, as
        they come first to blame, before those of their callers."""
        self.scopes.clear()
        self.codes_run = codes_run(self.bench.run, self.filename, self.scopes)
        evidence = self.evidence_now()
        found = []
        for depth, f in enumerate(reversed(self.functions)):
            scope = scope_of(f, self.scopes.get(f.fn.__code__, {}), self.idle)
            if f.fn is self.bench.at_once:
                scope.arguments = []  # of which none is a gradient
            found += [(e.rank, depth, e) for e in edits(f, scope, evidence, late)]
        work(PLACE * len(found))
        beside: dict[Any, list[Edit]] = {}
        for rank, _, e in found:
            here = id(e.node), e.field, e.at
            same = beside.setdefault((*here, rank > 6) if e.is_expression else id(e), [])
            same.append(e)
            e.beside = same
            if len(same) == 50:
                del beside[(*here, rank > 6)]
        return [e for *_, e in sorted(found, key=lambda x: x[:2])]

    def evidence_now(self):
        """What is wrong now, and shows itself in numbers: of what has not been mended yet."""
        self.evidence = self.told_by(self.now.got)
        ratios: dict[float, str] = {}
        for name, marks in self.now.items():
            got, wanted = self.now.got.get(name), self.outcome.wanted.get(name)
            ratio = None if marks.all() or wanted is None else ratio_of(got, wanted)
            if ratio is not None and not any(np.isclose(ratio, r, rtol=1e-6) for r in ratios):
                ratios[ratio] = factor_in_words(name, ratio, self.outcome)
        right = self.outcome.wanted
        return Evidence(self.outcome.setup, right, ratios, not self.now or any(
            np.shape(g) != right[n].shape for n, g in self.now.got.items() if n in right))

    def allowed(self, edit: Edit, won: Gain):
        """Where the numbers of a gradient show the kind of its mistake, only that kind explains
        it."""
        shown = {self.evidence[n] for n in won.names if n in self.evidence}
        shown |= {p.kind for p in self.outcome.problems} if shown else set()
        others = [n for n in won.names if n not in self.evidence]
        return bool(others) or not shown or edit.kind in shown or any(
            edit.kind in _MAY_BE.get(kind, ()) for kind in shown)

    def is_shown(self, edit: Edit, won: Gain):
        """Where backward raised, that it does not with an edit shows nothing: one that leaves out
        what raises does as much. Part of a gradient has to be right then, or a name be there."""
        return bool(self.now) or won.elements > 1 or edit.kind == "misspelt"

    def best_of(self, partial):
        """The edit that makes most gradients right, or else most elements, or brings most into
        proportion."""
        ranked: list[Any] = []
        for edit in partial:
            if not any(edit is e for e in self.made):
                marks = self.attempt(edit)
                won = None if marks is None else gain(self.now, marks, self.outcome.wanted)
                if won is not None:
                    ranked.append((-len(won.names), not won.elements, edit.rank, -won.elements,
                                   -len(won.in_proportion), len(ranked), edit, marks))
        most = max((-r[3] for r in ranked), default=0)  # an element may be right by chance
        ranked = [r for r in ranked if r[0] or r[1] or -10 * r[3] >= most]
        ranked = sorted(ranked, key=lambda r: r[:6])[:4]
        held = [r for r in ranked if self.confirmed(r[-2], gain(
            self.now, r[-1], self.outcome.wanted).names)]
        straight = [r for r in held if self.keeps(r[-2])]
        for those in straight, held:
            if those:  # of those that mend the same, the one with which more on the way is right
                best = max((r for r in those if r[:2] == those[0][:2]),
                           key=lambda r: len(self.right_on_the_way(r[-2])))
                return [best[-2:]]
        return None

    def with_a_factor(self):
        """An edit that adds a term, times a factor: what it does is in proportion to what is
        amiss."""
        if self.start is None:
            return None
        amiss = self.along(self.outcome.wanted) - self.start
        for edit, a in self.effects:
            if a is None or "scaled" not in edit.values or np.allclose(a, self.start, rtol=1e-9):
                continue
            effect = a - self.start
            ratio = (effect @ amiss) / (effect @ effect)
            if ratio < 0 or not np.allclose(ratio * effect, amiss, rtol=1e-6):
                continue
            scope = scope_of(edit.function, self.scopes.get(edit.function.fn.__code__, {}))
            for factor in factors_of(ratio, scope):
                new, values = edit.values["scaled"](factor)
                other = replace(edit, new=new if isinstance(new, str) else placed(new, edit.old),
                                values={**edit.values, **values}, beside=(), code=None)
                marks = self.attempt(other)
                if self.all_right(marks) and self.confirmed(other):
                    return [(other, marks)]
        return None

    def in_sum(self):
        """Two edits of different paths: what they do adds up to what is amiss."""
        if self.start is None:
            return None
        found = [(e, a - self.start) for e, a in self.effects if a is not None
                 and np.isfinite(a).all() and not np.allclose(a, self.start, rtol=1e-9)]
        amiss = self.along(self.outcome.wanted) - self.start
        found.sort(key=lambda x: x[1][0])
        effects = np.array([a for _, a in found]).reshape(-1, 2)
        pairs: list[Any] = []
        for i, (edit, effect) in enumerate(found):
            near = 1e-5 * (np.abs(effect) + np.abs(amiss)).max()
            lo, hi = np.searchsorted(effects[:, 0], amiss[0] - effect[0] + np.array([-near, near]))
            pairs += [(edit.rank + found[j][0].rank, i, j) for j in range(max(lo, i + 1), hi)
                      if abs(effects[j, 1] + effect[1] - amiss[1]) <= near]
        bent = None
        for _, i, j in sorted(pairs)[:20]:
            both = sorted((found[i][0], found[j][0]), key=lambda e: e.rank)
            with self.standing(both[0]) as runs:
                marks = self.attempt(both[1]) if runs else None
                if self.all_right(marks) and self.confirmed(both[1]):
                    if self.keeps(both[1]):
                        return [(both[0], self.now), (both[1], marks)]
                    bent = bent or [(both[0], self.now), (both[1], marks)]
        return bent

    def one_behind_another(self, share):
        """Where backward raises, or gives another shape: two edits, of which the first lets it come
        further, or to its end, or gives the shape. What is wrong behind it, and what may belong
        there, is looked for anew with each."""
        if self.now and (self.start is not None or self.whole):
            return None
        right = {id(e): self.attempt(e) or Marks() for e in self.partial}
        most = max((len(marks.right) for marks in right.values()), default=0)
        firsts = [e for e in self.partial if len(right[id(e)].right) == most]
        firsts.sort(key=lambda e: -sum(int(m.sum()) for m in right[id(e)].values()))
        turns: dict[Any, list[Edit]] = {}  # one of each kind in each place, then another
        ran = [] if self.now else [e for e, _ in self.effects]
        for edit in sorted([*ran, *self.further], key=lambda e: e.rank):
            turns.setdefault((id(edit.old), id(edit.mistake)), []).append(edit)
        others = [e for e in chain(*zip_longest(*turns.values())) if e and id(e) not in right]
        others.sort(key=self.comes_to, reverse=True)
        given = dict[Any, Edit]()  # one of those that give the same
        for edit in [*firsts, *others]:
            if len(given) < FIRSTS:
                self.attempt(edit)
                given.setdefault(tuple((n, g.tobytes()) for n, g in self.bench.got.items()
                                       if isinstance(g, np.ndarray)) or id(edit), edit)
        firsts = [*given.values()]
        return self.second_after(firsts, share)

    def comes_to(self, edit: Edit):
        """How many gradients have their shape with an edit, and are not left at zero; and how much
        on the way is right."""
        way = self.right_on_the_way(edit)
        got, wanted = self.bench.got, self.outcome.wanted
        shaped = [n for n, g in got.items() if np.shape(g) == wanted[n].shape and np.any(g)]
        return len(shaped), len(way)

    def one_on_the_way(self, share):
        """Two edits of one path: with the first, more on the way is right, up to the second; or
        what was computed and used nowhere is used; or it is of the likeliest, as for the order of
        a loop."""
        if self.start is None:
            return None
        further = dict[Any, Edit]()
        for edit, a in self.effects:
            if a is None or edit.rank > LIKELY or self.budget.over or np.allclose(
                    a, self.start, rtol=1e-9):
                continue
            way = self.right_on_the_way(edit)
            if self.reached < way:
                further.setdefault(frozenset(way), edit)
        ways = sorted(further, reverse=True, key=lambda way: (
            len(way & self.whole_cotangents), len(way)))
        firsts = [further[way] for way in ways]
        firsts += [e for e, a in self.effects if a is not None and e.rank <= 0]
        firsts += [e for e, a in self.effects if e.revives and a is not None
                   and not np.allclose(a, self.start, rtol=1e-9)]
        firsts = [*{id(e): e for e in firsts}.values()]
        return self.second_after(firsts[:FIRSTS], share)

    def second_after(self, firsts, share):
        """An edit behind one of these, with which all is right."""
        budget, held, found = self.budget, dict(self.__dict__), None
        self.budget = budget.part(share)
        for first, there in [(f, settled) for settled in (False, True) for f in firsts]:
            with self.standing(first) as runs:
                self.now = now = (runs and self.bench.run()) or Marks()
                self.begin()
                right = self.settled()  # it has its mistake elsewhere, if it has one
                here = [n for n in ast.walk(first.tree) if n is first.tree or not hasattr(
                    n, "original")] if first.is_expression else []  # one place
                self.edits = [e for e in self.edits if (id(e.old) in right) == there
                              and not (e.is_expression and e.old in here)]
                found = self.scan(-1, LIKELY)
            over = self.budget.over
            self.__dict__.update({**held, "budget": self.budget})
            if found or over:
                self.cut_short |= over
                break
        self.budget = budget
        return [(first, now), *found] if found else None

    def one_by_one(self):
        """Two edits of one path, which mend something only together, as far as the time goes. The
        first of them does something, and spoils nothing; what the second one does may show only
        after it."""
        if not self.now:
            return None
        budget = self.budget.part(0.7)
        stirring = {id(e) for e, a in self.effects if a is None or self.start is None
                    or not np.allclose(a, self.start, rtol=1e-9)}
        likely = [e for e in self.edits if e.rank <= LIKELY]
        likely.sort(key=lambda e: id(e) in stirring)
        firsts = [e for e in likely if id(e) in stirring]
        part = None  # two that mend a part, where none are found that mend all
        for late, first in product((False, True), firsts):
            seconds = [e for e in likely if (max(first.rank, e.rank) > 4) == late]
            with self.standing(first) as runs:
                marks = self.bench.run() if runs else None
                if any((was & ~marks.get(name, ~was)).any() for name, was in (
                        self.now.items() if marks else ())):
                    continue  # what was right is wrong
                for second in seconds:
                    if budget.over:
                        self.cut_short = True
                        return part
                    both = self.attempt(second) if second is not first else None
                    won = None if both is None else gain(self.now, both)
                    whole = self.all_right(both)
                    if won is not None and won.names and (whole or not part) and self.confirmed(
                            second, None if whole else won.names):
                        part = [(first, marks or self.now), (second, both)]
                        if whole:
                            return part
        return part

    def keep_what_is_needed(self):
        """Every edit must be needed: without it a gradient is wrong that is right with it."""
        kept = list(self.made)
        for edit in list(self.made):
            if taken_up(edit, self.made):
                continue
            others = [e for e in kept if e is not edit]
            without = self.run_with(others)
            if without is not None and not self.now.right - without.right:
                kept = others
        before = self.run_with([])
        if before and not self.found.complete:  # two that only together mend a part show little
            kept = [e for e in kept if self.says_something(before, self.run_with([e]) or Marks())]
        self.now = self.run_with(kept) or Marks()
        found = self.found
        found.edits, found.right, found.got = kept, set(self.now.right), self.now.got
        for edit in kept:
            without = self.run_with([e for e in kept if e is not edit]) or Marks()
            mended = self.now.right - without.right - {RETURNS}
            found.without.append(self.codes())
            found.mended.append(mended or self.mended_by(edit))
            self.run_with([edit])
            found.alone.append(self.codes())
        for i, names in enumerate(found.mended):  # without what only stands at the same place
            later = set().union(*found.mended[i + 1 :])
            found.mended[i] = names - later or names
        self.run_with(kept)
        for edit in kept:
            if edit.change and any(  # or one that stands in what this one made
                    edit.change.meets(e.change) if e.change else e.function is edit.function
                    and edit.change.first <= e.line < edit.change.last
                    for e in kept if e is not edit):
                edit.change = change_of_statement(edit)
        found.functions, found.before = self.functions, self.original
        found.codes = self.codes()

    def says_something(self, before, after):
        """Whether something is gained that is no zero, or a whole gradient: an element of one that
        is zero may be right by chance, with any edit that writes elsewhere."""
        won = gain(before, after, self.outcome.wanted)
        return won is not None and (won.names or won.in_proportion or any(
            (now & ~before[n] & (self.outcome.wanted.get(n, 1) != 0)).any()
            for n, now in after.items() if n in before))

    def codes(self):
        """The functions as they now run: (function, code), ..."""
        return [(f.fn, f.fn.__code__) for f in self.functions]

    def mended_by(self, edit: Edit):
        """What is right in the end, and not with what was edited before it alone."""
        before = self.made[: next(i for i, e in enumerate(self.made) if e is edit)]
        return self.now.right - (self.run_with(before) or Marks()).right - {RETURNS}

    def undo_all(self):
        for edit in reversed(self.made):
            edit.undo()

    def run_with(self, chosen):
        """Make these edits and no others; what is right then. What stands inside an edit that is
        not made is not made either."""
        left_out: set[int] = set()
        kept = []
        for edit in self.made:
            if any(edit is c for c in chosen) and not {id(edit.old), id(edit.node)} & left_out:
                kept.append(edit)
            else:
                left_out |= {id(n) for new in (edit.new if isinstance(edit.new, list) else [
                    edit.new]) for n in ast.walk(new)}
        chosen = kept
        self.undo_all()
        for edit in self.made:
            edit.undo = edit.make() if any(edit is e for e in chosen) else lambda: None
        for function in {id(e.function): e.function for e in self.made}.values():
            if not self.install(function):
                return None
        return self.bench.run()


def taken_up(edit: Edit, made):
    """Whether another edit has in its text what this one made: it is not right without it."""
    new = edit.new if isinstance(edit.new, list) else [edit.new]
    return any(n is k for e in made if e is not edit for k in ast.walk(e.old) for n in new)


def _forget(tree):
    """Forget what was noted at nodes of a tree that has changed."""
    for node in ast.walk(tree):
        for name in ("text", "slices"):
            node.__dict__.pop(name, None)


def _idle(bench: Bench):
    """Inner layers whose backward does not run, by identity."""
    ran: set[int] = set()

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_name == "backward":
            ran.add(id(frame.f_locals.get("self")))

    with profiled(note):
        bench.run()
    return {id(part) for part in objects_of(bench.layer)
            if hasattr(type(part), "backward") and id(part) not in ran}


def scope_of(function: Function, names, idle=()):
    """The variables of a function; of several with the same value, the first."""
    values: dict[str, Any] = {}
    seen: list[Any] = []
    attributes = {f"self.{k}": v for k, v in getattr(names.get("self"), "__dict__", {}).items()}
    every = {k: v for k, v in {**names, **attributes}.items() if k != "self"}
    # the gradients of an inner layer, which a loop adds up
    inner = {f"{k}.grads": v.grads for k, v in every.items()
             if isinstance(getattr(v, "grads", None), list)}
    # and what it keeps beside them: the dh of a layer over time
    inner |= {f"{k}.{name}": g for k, v in every.items() if f"{k}.grads" in inner
              for name, g in vars(v).items() if name.startswith("d") and len(name) == 2}
    # and an activation of a variable, where the function computes it
    applied = {ast.unparse(n): n for n in ast.walk(function.node) if isinstance(n, ast.Call)
               and called(n) in ("tanh", "sigmoid") and len(n.args) == 1 and name_of(n.args[0])}
    for text, node in applied.items():
        with contextlib.suppress(Exception):
            made = eval(compile(ast.Expression(node), "", "eval"), function.fn.__globals__, names)
            if not any(np.array_equal(made, v) for v in every.values()):
                inner[text] = made
    for k, v in {**every, **inner}.items():
        if not isinstance(v, (np.ndarray, np.generic, int, float, list, tuple)):
            continue
        if isinstance(v, np.ndarray) and k.startswith("self.") and any(v is s for s in seen):
            continue
        seen.append(v)
        values[k] = v
    return Scope(values, [a.arg for a in function.node.args.args if a.arg != "self"], names,
                 function.fn.__globals__, [k for k, v in every.items() if id(v) in idle],
                 [k for k, v in every.items() if isinstance(v, (list, tuple)) and v
                  and all(id(part) in idle for part in v)])
