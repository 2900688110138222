"""How to construct a layer, and what to hand its forward: found from signatures and by trying.

A recipe is symbolic: shapes are tuples of N (batch), T (time), U (a second time), D (inputs), H
(hidden), V (vocabulary) and multiples such as 4H, so that one recipe makes the layer in any size.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import heapq
import inspect
import itertools
import re
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .arguments import (
    DIVISIBLE,
    IMAGES,
    IN_SHAPE,
    KEEPING,
    LOSS,
    SIZES,
    Inner,
    Random,
    Spec,
    activation,
    family,
    gates_of,
    init_specs,
    inners,
    input_specs,
    is_label,
    is_large_size,
    measure,
    named_size,
    settings,
)
from .arguments import (
    specs as specified,
)
from .forms import begun
from .limits import TimeUp, time_limit, work, worked
from .numpy_standin import noting_empty, numpy_standin, unpoisoned
from .outcome import evaluate
from .running import (
    LOSSES,
    CannotRun,
    Setup,
    Slots,
    arguments_of,
    at_work,
    call_forward,
    copies,
    file_of,
    forward_names,
    gradient_names,
    gradient_of,
    handing,
    is_positional,
    item_at,
    line_of,
    named_slots,
    observe,
    places,
    quietly,
    slots_of,
    takes_rate,
    target_of,
    updated,
)
from .running import is_float as _is_float
from .source import (
    attributes_set,
    compared,
    has_parts,
    is_asked,
    is_gone_through,
    is_multiplied,
    is_place,
    items_read,
    keys_kept,
    keys_read,
    may_be_none,
    node_of,
    returned_names,
    weights_first,
)
from .words import say

PATIENCE = 1.2  # seconds of work, until no other recipe is tried
ATTEMPT = 6e-4  # work, in seconds
DRAWN = 3e-5  # the same, where a recipe is only made, and was tried before
ALIKE = 100  # recipes that raise the very same, no matter of shapes, until none is tried any more
INDEXED = 8  # of the same kinds of values, whose floats are used as indices, until others are tried
INNER = [Spec("made", value=make) for make in (Inner, inners, activation)]
_COUNTS = re.compile(r"h|(n|num)_?(heads?|layers?)|heads?|layers?")
_NO_FLOATS = {"ids": "ids", "lengths": "ids", "onehot": "onehot", "mask": "mask"}


class CannotMake(Exception):
    """How to construct the layer or to call its forward was not found; the text asks for it."""


@dataclass
class Recipe:
    """A class (or ``fixed``: a function that makes the layer) and how to call it."""

    cls: Callable[..., Any]
    init: dict[str, Spec]
    inputs: list[Spec]
    input_names: list[str]
    fixed_inputs: list[Any] | None = None
    as_tuple: bool = False
    as_row: bool = False  # see Setup
    sizes: dict[str, int] = field(default_factory=dict)  # other than SIZES
    slots: Slots | None = None  # where they are found only once backward has run
    rate: float = 0.0  # see Setup
    handed: bool = False  # see Setup
    loss: Any = None  # see Setup
    primed: bool = False  # the first forward makes the parameters
    first_error: CannotRun | None = None  # what likelier recipes raised, where it came furthest
    notes: list[str] = field(default_factory=list)  # what a report should say of it
    wider: list[tuple[str, CannotRun]] = field(default_factory=list)  # uses, and what they raised
    cast: Any = None  # the inputs that are ids in the place of floats, which forward casts
    drawn: Any = None  # what it was chosen from, and what was chosen: see Search._drawn

    def size(self, symbol: str):
        """How large N, T, D ... are."""
        return {**SIZES, **self.sizes}[symbol]

    def with_two(self) -> Recipe | None:
        """The same layer with two heads, or two layers, where the constructor has one for a
        default, with which what is wrong with more does not show; None where it does not run."""
        ones = [p.name for p in arguments_of(self.cls) if type(p.default) is int and p.default == 1
                and p.name not in self.init and _COUNTS.fullmatch(p.name)]
        two = {n: Spec("value", value=2) for n in ones}
        recipes = [replace(self, init=self.init | two, sizes=self.sizes | sizes, slots=None)
                   for sizes in ({}, DIVISIBLE) if two]
        return next((r for r in recipes if _attempt(r) is None), None)

    def words(self, beside: Recipe | None = None):
        """The inputs in words: "x (N, D), t ids (N,)"; ``beside`` another recipe, those alone that
        are others, and what its layer is made of otherwise."""
        told: list[Any] = [*zip(self.input_names, self.inputs, strict=False)]
        if beside is not None:
            told = told * ((beside.inputs, beside.sizes) != (self.inputs, self.sizes)) + [
                (k, s) for k, s in self.init.items() if s != beside.init[k]]
        said = ", ".join(f"{name} {spec.words()}" for name, spec in told)
        return said if self.sizes.get("N") != 1 else said.replace("(N", "(1").replace("N)", "1)")

    def setup(self, sizes=None, values=None, seed: int = 1):
        """The layer and its inputs, ready to run. ``seed``: of what the layer draws itself."""
        sizes = {**SIZES, **self.sizes, **(sizes or {})}
        values = values or Random()
        with quietly(seed=seed):
            arguments = {k: spec.make(sizes, values) for k, spec in self.init.items()}
            arrays = {k: v for k, v in arguments.items() if isinstance(v, np.ndarray)}
            try:
                layer = self.cls(**arguments)
                slots = self.slots or slots_of(layer, [*arrays])  # properties, perhaps
            except (Exception, SystemExit, TimeUp) as error:
                raise CannotRun("construction", error, line_of(error, file_of(self.cls))) from error
        inputs = self.fixed_inputs
        if inputs is None:
            inputs = [spec.make(sizes, values) for spec in self.inputs]
        if self.primed:
            with quietly(seed=seed):
                try:
                    layer.forward(*copies(inputs))
                except (Exception, SystemExit, TimeUp) as error:
                    raise CannotRun("forward", error) from error
        if self.primed:
            slots = self.slots or slots_of(layer, [*arrays])
        for p in slots.params(layer):  # ones and zeros, as training begins with, hide mistakes
            if _is_float(p) and p.flags.writeable and p.size and np.ptp(p) == 0 and not any(
                    np.array_equal(p, a) for a in arrays.values()):
                p += values.array(p.shape, 0.25)
        labels = frozenset(i for i, s in enumerate(self.inputs) if s.kind in ("onehot", "mask"))
        return Setup(layer, inputs, self.input_names, slots, self, as_tuple=self.as_tuple,
                     as_row=self.as_row, rate=self.rate, handed=self.handed,
                     loss=self.loss, labels=labels)


def required(fn):
    """The arguments of a function that have no default, without ``self``, and whether more are
    taken by ``*args``."""
    parameters = arguments_of(fn)
    names = [p.name for p in parameters if p.default is p.empty
             and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names, any(p.kind is p.VAR_POSITIONAL for p in parameters)


# --- the search ----------------------------------------------------------------------------------


@dataclass
class Search:
    """All ways to make a layer of a class and to call it, the likeliest first: ``running`` holds
    those that ran to their end, ``error`` what was raised where it came furthest. ``like``: where
    the layer is made by a function, one that it made, whose sizes are what they are."""

    cls: Any
    seconds: float  # for one run
    like: Any = None
    running: list[Recipe] = field(default_factory=list)
    half: Recipe | None = None  # forward ran, and backward did not, or gave other shapes
    half_error: CannotRun | None = None  # how far backward came
    error: CannotRun | None = None
    failed: list[tuple[Recipe, CannotRun]] = field(default_factory=list)
    indexed: bool = False  # floats were used as indices
    tried: set[Any] = field(default_factory=set)  # of these, what was handed over

    def __post_init__(self):
        cls = self.cls if self.like is None else type(self.like)
        self.name, self.init_names = getattr(cls, "hint", cls.__name__), []
        if self.like is None:
            self.init_names = [*required(cls)[0], *large_defaults(cls)]
        self.columns = weights_first(inspect.unwrap(cls.forward)) > 0
        forward = (cls if self.like is None else self.like).forward
        names, starred = required(forward)
        taken = [p for p in arguments_of(forward) if is_positional(p)]
        if len(taken) > len(names) and taken[len(names)].default is False and KEEPING.fullmatch(
                taken[len(names)].name) and not starred:
            names.append(taken[len(names)].name)
        self.input_names = names[1:] if names[:1] == ["self"] else names
        self.starred = starred and not self.input_names
        self.attempts = self._attempts()

    @functools.cached_property
    def variants(self) -> list[tuple[str, dict[str, int]]]:
        """How a batch stands in the arguments, and the sizes that are others then."""
        if self.like is not None:
            return [("rows", sizes) for sizes in _sizes_of(self.like)] + [
                ("columns", {**sizes, "N": n}) for n in (SIZES["N"], 1)
                for sizes in _sizes_of(self.like, True) if self.columns]
        return [("rows", {}), ("columns", {}), ("rows", DIVISIBLE), ("single", {}),
                *[("row", {"N": 1})] * takes_rate(self.cls),
                *[("columns", {"N": 1})] * (self.columns or len(
                    [*self.init_names, *self.input_names]) == 1),
                ("vectors", {}), *[("column", {"N": 1, "D": SIZES["V"]})] * (
                    not re.search(LOSS, self.name, re.I))]

    def next(self) -> Recipe | None:
        """The next recipe that runs to its end, or None."""
        return next(self.attempts, None)

    @property
    def best(self) -> Recipe | None:
        return self.running[0] if self.running else self.half

    def others(self, first: Recipe, returned: dict[str, Any], alone: bool = True,
               seconds: float = 0.3) -> Iterator[Recipe]:
        """The recipes that run to their end with the same layer and other inputs, or with its
        biases as rows, of as many axes as the gradients that were ``returned`` for them, or, of two
        arrays in all, as x * w, with both of one shape; of a layer that is made of no arrays, with
        samples in columns, or with one alone (unless not ``alone``), where it takes a batch for
        one."""
        end = worked() + seconds
        sized = {s.kind for s in first.init.values()} <= {"size", "shape", "tuple"}
        if sized and alone and first.drawn:
            groups, found, names = first.drawn[:3]
            labels = any(s.kind in ("onehot", "distribution") for s in first.inputs)
            for form, sizes in [("columns", {})] * labels + [
                    ("single", {}), ("columns", {"N": 1})] * (not _takes_samples(first)):
                drawn = self._drawn(groups, found, names, form, sizes)
                if drawn is not None and _attempt(drawn) is None:
                    yield drawn
        rows = {k: replace(s, shape=("1",) * max(1, np.ndim(returned.get(k, 0)) - 1) + s.shape)
                if s.kind == "weight" and len(s.shape) == 1 else replace(s, kind="draw_rows")
                if s.kind == "draw" and k[0] == "b" else s for k, s in first.init.items()}
        lone = [k for k, s in first.init.items() if s.kind == "weight"
                and len(first.init) == len(first.input_names) == 1]
        tried = [first.inputs, *_as_labels(first.inputs), *(specs for _, specs in itertools.islice(
            ranked(self._inputs(first.input_names)), 120))]
        for init, specs in [(rows, first.inputs)] + [
                ({k: replace(first.init[k], shape=specs[0].shape) for k in alike} or first.init,
                 specs) for specs in tried for alike in ([lone, []] if lone else [[]])]:
            recipe = replace(first, init=init, inputs=specs, as_tuple=False, slots=None, notes=[])
            if worked() > end:
                return
            if (init, specs) != (first.init, first.inputs) and not self._is_beside_the_point(
                    recipe) and _attempt(recipe) is None:
                yield recipe

    def raised(self, first: Recipe) -> Iterator[Recipe]:
        """Of the recipes with the same layer, the likeliest one with inputs of more axes than these
        where forward runs, and backward, too, raises."""
        axes = [len(s.shape) for s in first.inputs]
        return itertools.islice((r for r, error in self.failed if error.phase == "backward" and (
            r.init == first.init and all(len(s.shape) >= n for s, n in zip(
                r.inputs, axes, strict=False)) and len(r.inputs) == len(axes)
            and [len(s.shape) for s in r.inputs] != axes)), 1)

    def narrow(self, first: Recipe, outcome) -> Iterator[Recipe]:
        """The recipes with one element where a batch or a row stands, where what backward gave says
        that it is written for that: one sample as a column, where it sums nothing, and several
        biases (H, 1), all of them, have the gradients of all samples; numbers in one column, where
        it returns one, or where there is one label for each."""
        wrong = {g.name for g in outcome.wrong_gradients}
        columns = {n for n, p in zip(outcome.setup.slots.names, outcome.setup.slots.params(
            outcome.setup.layer), strict=True) if p.shape[1:] == (1,)}
        code = getattr(inspect.unwrap(self.cls.backward), "__code__", None)
        groups, found, names, form = first.drawn[:4] if first.drawn else [None] * 4
        drawn = [self._drawn(groups, found, names, form, {"N": 1})] if form == "columns" and (
            code and wrong == columns and len(columns) > 1) and not (
            {"sum", "mean"} & {*code.co_names}) else []
        ranks = {len(s.shape) for s in first.inputs}
        if not first.init and (ranks == {1, 2} or any(
                np.shape(g)[1:] == (1,) for g in outcome.got.values())):
            drawn.append(replace(first, slots=None, notes=[], inputs=[
                replace(s, shape=(s.shape[0], "1"), kind="float" if s.kind == "onehot" else s.kind)
                if len(s.shape) == 2 else s for s in first.inputs]))
        yield from (r for r in drawn if r is not None and _attempt(r) is None)

    def _attempts(self) -> Iterator[Recipe]:
        yield from self._tried(self._recipes())
        if self.best is None and self.indexed:  # floats were used as indices: ids come first then
            yield from self._tried(self._recipes(ids_first=True))
        unset = sizes_left_out(self.cls) if self.best is None and self.like is None else []
        if unset:
            self.init_names = [*self.init_names, *unset]
            yield from self._tried(self._recipes())
        if not self.running and isinstance(self.half_error and self.half_error.error, (
                AttributeError, TypeError)) and (masked := self._up_to_a_mask()):
            raised, self.failed = self.half_error, []
            self.input_names = masked  # of which it keeps what it works with
            for recipe in self._tried(self._recipes()):
                recipe.notes.append(say(
                    "with other inputs {phase} raises {error}; checked with {these}",
                    phase=raised.phase, error=str(raised), these=recipe.words()))
                yield recipe
        half = self.half_error or self.error
        if not self.running and half is not None and isinstance(half.error, (
                ValueError, IndexError, AssertionError) if self.half else Exception):
            said = self.half, self.half_error, self.error
            yield from self._tried(self._nearby(), guessed=True)
            if not self.running:  # of the likeliest
                self.half, self.half_error, self.error = said

    def _up_to_a_mask(self):
        """The inputs with those that may be left out, up to the last mask; [] if there is none."""
        layer = self.cls if self.like is None else self.like
        optional = list(itertools.takewhile(lambda p: p.default is None, [
            p for p in arguments_of(layer.forward) if is_positional(p)
            and p.name not in ("self", *self.input_names)]))
        while optional and "mask" not in optional[-1].name:
            optional.pop()
        return optional and [*self.input_names, *(p.name for p in optional)]

    def _tried(self, recipes, guessed=False) -> Iterator[Recipe]:
        """Those that run. Where backward raised in a likelier way to call it, those that are
        ``guessed``, and with samples in columns, have to be right: else that is what is wrong."""
        end = worked() + PATIENCE
        broken: dict[Any, CannotRun] = {}
        alike: Counter[Any] = Counter()
        indexed: Counter[Any] = Counter()  # by what is no float: how often one was an index
        positive: list[Recipe] = []
        while (recipe := positive.pop() if positive else next(recipes, (0, None))[1]) is not None:
            work(DRAWN)
            if worked() > end:
                return
            key = tuple(recipe.init.values()), tuple(recipe.sizes.items())
            whole = key, tuple(recipe.inputs)
            kinds = tuple(s if s.kind == "onehot" else _NO_FLOATS.get(s.kind)
                          for s in (*key[0], *recipe.inputs))
            if whole in self.tried or key in broken or indexed[kinds] > INDEXED or (
                    self._is_beside_the_point(recipe) or _is_out_of_shape(recipe)):
                continue
            self.tried.add(whole)
            error = _attempt(recipe, self.seconds)
            turned = recipe.drawn[3] == "columns" and not self.columns
            if error is None and (guessed or turned) and not self.running and self.half_error and (
                    self.half_error.phase == "backward" and not _is_right(recipe)):
                continue
            if error is None or self._is_further(recipe, error):
                recipe.first_error = self._furthest(lambda _: True)
                recipe.notes += self._instead_of(recipe)
                recipe.wider = self.wider(recipe)
                self.half, self.half_error = recipe, error
            if error is None:
                self.running.append(recipe)
                yield recipe
                continue
            if isinstance(error.error, TimeUp):
                raise error
            if error.phase == "construction":
                broken[key] = error
            elif error.phase == "output":  # of a logarithm, or a root
                if any("X" in s.shape for s in recipe.inputs):  # or nothing is left of an image
                    self.failed.append((recipe, error))
                positive = [replace(recipe, inputs=[
                    replace(s, kind="distribution") if s.kind == "float" and s.shape else s
                    for s in recipe.inputs])]
            elif error.phase in ("forward", "backward"):
                self.failed.append((recipe, error))
                positive = [r for r in [self._as_unpacked(error, *recipe.drawn)] if r is not None]
                indexed[kinds] += "used as indices must be" in str(error)
                self.indexed = self.indexed or bool(indexed[kinds])
                alike[error.line, str(error)] += 1
                if alike[error.line, str(error)] > ALIKE and error.depth >= self.error.depth and (
                        not isinstance(error.error, (ValueError, IndexError, AssertionError))):
                    return
            if self.error is None or error.depth > self.error.depth:
                self.error = error

    def _is_further(self, recipe: Recipe, error: CannotRun):
        """Whether a recipe whose forward runs comes further than those before it."""
        held = self.half_error
        if error.phase == "returned" and is_point(recipe.inputs):
            return False  # one number, and labels that are more: they are spread over each other
        if held is None:
            return error.phase in ("backward", "returned")
        return error.phase == held.phase and error.depth > held.depth

    def _instead_of(self, recipe: Recipe):
        """What is to be said of a recipe that is not the likeliest: what others raised."""
        likeliest = self.failed[0][0].inputs if self.failed else recipe.inputs
        labels = [i for i, n in enumerate(self.input_names) if is_label(n)
                  and recipe.inputs[i] != likeliest[i]]
        error = self._furthest(lambda other: any(
            other.inputs[i] != recipe.inputs[i] for i in labels))
        if error is not None:
            return [say("checked with {these}; with other labels {what}", these=recipe.words(),
                        what=_raises(error))]
        if _equal_sizes(recipe):
            error = self._furthest(lambda other: not _equal_sizes(other))
            if error is not None:
                return [say("checked where two of its sizes are equal; where all differ {what}",
                            what=_raises(error))]
        return []

    def _furthest(self, where):
        """What was raised by those recipes, where it came furthest; None if nothing was."""
        errors = [error for recipe, error in self.failed if where(recipe)]
        return max(errors, key=lambda error: error.depth, default=None)

    def wider(self, recipe: Recipe, raised: CannotRun | None = None):
        """The uses of the layer of which the recipe is a special case, and what was raised there: a
        batch in rows or in columns, where the recipe has none, or raises in columns; two lengths of
        time, where it has one."""
        kinds = [(s.kind, len(s.shape)) for s in recipe.inputs]
        found: dict[bool, tuple[str, CannotRun]] = {}
        for other, error in self.failed:
            rows = _in_rows(other.inputs)
            batch = _is_batch(other.inputs) and (
                recipe.sizes == {"N": 1} != other.sizes or (not _is_batch(recipe.inputs)
                and any(s.kind == "float" and len(s.shape) == 1 for s in recipe.inputs))
                or (raised is not None and rows and not _in_rows(recipe.inputs)))
            lengths = kinds == [(s.kind, len(s.shape)) for s in other.inputs] and any(
                "U" in s.shape for s in other.inputs) and all(
                a.shape == tuple("T" if n == "U" else n for n in b.shape)
                for a, b in zip(recipe.inputs, other.inputs, strict=True))
            if batch or lengths:
                found.setdefault(rows, (other.words(), error))
        return [*found.values()]

    def _is_beside_the_point(self, recipe: Recipe):
        """Whether a recipe would hide what is wrong: a square weight that a layer is right only
        where D = H; a kernel what is wrong with a matrix; integers, where floats have run, that
        there is a gradient; one sample that the batch is forgotten; one element in each that a row
        is added up, turned or left as it is; as many samples as steps that they are exchanged."""
        held = self.half or (self.running[0] if self.running else None)
        spread = self._is_spread(recipe)
        if held is None or spread:
            return spread
        square = any(s.kind == "weight" and len(s.shape) == 2 and s.shape[0] == s.shape[1]
                     for n, s in recipe.init.items() if held.init.get(n) != s)
        sizes = [s.value for s in recipe.init.values() if s.kind == "size"]
        held_sizes = [s.value for s in held.init.values() if s.kind == "size"]
        fewer = len(set(sizes)) < len(set(held_sizes))
        columns = not self.running and any(s.shape[1:] == ("N",) for s in held.inputs)  # a guess
        kernel = any(s.kind == "weight" and len(s.shape) > 2 == len(held.init[n].shape)
                     for n, s in recipe.init.items() if n in held.init)
        returned = self.half is held and self.half_error and self.half_error.phase == "returned"
        alike = any(len({*a.shape}) < len({*b.shape}) == len(a.shape) == 3
                    for a, b in zip(recipe.inputs, held.inputs, strict=False))
        return square or fewer or kernel or alike or _hides(
            recipe.inputs, held.inputs) or _are_points(recipe.inputs, held.inputs) or (
            _is_batch(held.inputs) and not _is_batch(recipe.inputs) and not (columns or returned))

    def _is_spread(self, recipe: Recipe):
        """Whether labels of a loss have no size of its other inputs: both are spread over each
        other."""
        shapes = {n: {*s.shape} - {"1"} for n, s in zip(
            recipe.input_names, recipe.inputs, strict=False)}
        others = set().union(*(a for n, a in shapes.items() if not is_label(n)))
        return not recipe.init and bool(others) and any(
            a and not a & others for n, a in shapes.items() if is_label(n))

    def _inputs(self, names, ids_first=False):
        layer = self.cls if self.like is None else self.like
        fn, back = inspect.unwrap(layer.forward), inspect.unwrap(getattr(layer, "backward", None))
        dicts = {n: [*settings({**(keys_read(back, n) or {}), **keys})]
                 for n in names if (keys := keys_read(fn, n)) is not None} if isinstance(
                     fn, types.FunctionType) else {}
        flags, at = specified("=True =False"), specified("=0 =1")
        found = [[*dicts.get(n, []), *(flags if is_asked(fn, n) else at if is_place(fn, n) else ()),
                  *(Spec("value", value=word) for word in compared(fn, n)),
                  *input_specs(n, self.name, [*names, *self.init_names])] for n in names]
        for p in [] if self.like is not None else arguments_of(self.cls):
            if isinstance(p.default, tuple) and [*map(type, p.default)] == [int] * 3 and found:
                found[0].insert(0, Spec("float", ("N", *map(str, p.default))))  # input_dim
        shapes = [s.shape for n in self.init_names if IN_SHAPE.fullmatch(n)
                  for _, s in self._init(n, 1) if s.kind == "tuple"]
        for shape in shapes if found else ():  # what has this shape, or is a batch of it
            there = [s.shape for s in found[0]]
            found[0] += [Spec("float", s) for s in (("N", *shape), shape)
                         if s not in there and s.count("N") < 2]
        for n, specs in zip(names, found, strict=True):
            if may_be_none(fn, n) and Spec("value") not in specs:
                specs.insert(2, Spec("value"))
            if {*gradient_names(n)} & {*returned_names(back)}:  # no number, whose own has none
                specs[:] = [s for s in specs if type(s.value) is not float] or specs
        return [list(enumerate(sorted(specs, key=lambda s: s.kind != "ids") if ids_first
                               else specs)) for specs in found]

    def _init(self, name: str, k: int):
        found, cost = init_specs(name, self.name, k, self.init_names)
        if cost and self._holds_layers:  # of a name that says nothing
            found, cost = [*found[:1], *INNER[:2], *found[1:]], 0
        if any(s.kind == "tanh" for s in found) and has_parts(
                self.cls, name, ast.Attribute):
            found = [INNER[2], *found]
        if is_multiplied(self.cls.forward, name) and not any(
                s.kind == "weight" and len(s.shape) == 2 for s in found):
            found = [*init_specs("W", self.name, k, self.init_names)[0], *found]
        if self.like is None:
            fn = self.cls.__init__
            found = [*(Spec("value", value=word) for word in compared(fn, name)), *found,
                     *(Spec("value", value=n) for n in compared(fn, name, int))]
            items = len(items_read(fn, name, False))  # n, h, w = shape
            if not items and found[0].kind == "size" and has_parts(self.cls, name, ast.Subscript):
                found = [*specified("t:N,X,X,C t:C,X,X t:X,X,C" if re.search(
                    IMAGES, self.name, re.I) else "t:N,D t:N,T,D t:D t:N,X,X,C"), *found]
            small = "t:K,K " * bool(re.search("kernel|filter|pool", name))
            found[:0] = specified({2: small + "t:X,X t:D,H", 3: "t:C,X,X t:X,X,C t:N,X,X",
                                   4: "t:N,C,X,X t:H,C,K,K"}.get(items, ""))
            found += specified("s:H,H s:D,H,V" * is_gone_through(fn, name))
            found[:0] = settings(keys) if (keys := keys_kept(self.cls, name)) else []
        if re.search(r"cell$|^layer$", name):
            return [*enumerate([*self._cells, *found])]
        if hasattr(self.cls, "form"):  # the weights of functions: no sizes
            found = [s for s in found if s.kind == "weight"] or found
        return list(enumerate(found, cost))

    @functools.cached_property
    def _holds_layers(self):
        """Whether the class calls the backward of something else."""
        return self.like is None and any(
            isinstance(n, ast.Attribute) and n.attr == "backward"
            and ast.unparse(n.value) not in ("self", "super()")
            for c in self.cls.__mro__ for fn in vars(c).values()
            if isinstance(fn, types.FunctionType)
            for n in ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])))

    @functools.cached_property
    def _cells(self):
        """Cells of the same file, for a layer that is handed one."""
        found = []
        for name, cls in list(inspect.unwrap(self.cls.forward).__globals__.items()):
            if isinstance(cls, type) and cls.__module__ == self.cls.__module__ and re.search(
                    "cell|step|unit", name, re.IGNORECASE) and not issubclass(self.cls, cls):
                recipe = Search(cls, self.seconds).next()
                if recipe is not None:
                    found.append(Spec("made", value=functools.partial(_layer_of, recipe)))
        return found

    def _recipes(self, ids_first=False) -> Iterator[tuple[float, Recipe]]:
        """Recipes with their cost: how far down its list each argument is."""
        name, names = self.name, self.input_names
        counts = [names] if not self.starred else [
            [f"inputs[{i}]" for i in range(n)] for n in (1, 2, 3)]
        starts: list[Any] = []
        for input_names in counts:
            inputs = self._inputs(input_names, ids_first)
            for rank, k in enumerate(gates_of(name)):
                init = [self._init(n, k) for n in self.init_names]
                if rank and init == starts[0][1]:
                    break
                starts.append((2.0 * rank + 3 * len(input_names) * self.starred, init, inputs,
                               input_names))
        streams = []
        likeliest = ("columns", "column") if self.columns else (
            "single" if "_single" in self.name else "rows",)
        for form, sizes in self.variants:
            for cost, init, inputs, input_names in starts:
                extra = cost + 7 * (form not in likeliest) + 5 * (
                    bool(sizes and form != "column") + (form == "vectors"))
                streams.append(self._ranked(extra, init, inputs, input_names, form, sizes))
        yield from heapq.merge(*streams, key=lambda pair: pair[0])

    def _ranked(self, cost: float, init, inputs, input_names, form: str, sizes):
        groups = self._groups(init, inputs, input_names)
        for total, found in itertools.islice(ranked([c for _, c in groups]), 4000):
            recipe = self._drawn(groups, found, input_names, form, sizes)
            if recipe is not None:
                yield cost + total, recipe

    def _groups(self, init, inputs, input_names):
        """The arguments, those of a family together, and what each may be."""
        choices = [*init, *inputs]
        families: dict[Any, list[int]] = {}
        for i, argument in enumerate([*self.init_names, *input_names]):
            families.setdefault((family(argument), tuple(choices[i])), []).append(i)
        return [(at, choices[at[0]]) for at in families.values()]

    def _drawn(self, groups, found, input_names, form: str, sizes) -> Recipe | None:
        """The recipe in which the arguments of each group are what was ``found`` for it."""
        chosen = {i: spec for (at, _), spec in zip(groups, found, strict=True) for i in at}
        specs = [chosen[i] for i in range(len(chosen))]
        n = len(self.init_names)
        if form == "vectors":  # one sample, and weights on its left
            specs = [s.transposed() if len(s.shape) == 2 and "N" not in s.shape else s
                     for s in specs]
        if form in ("single", "vectors"):
            if any(spec.shape == ("N",) and spec.kind != "ids" for spec in specs[n:]):
                return None  # lengths of one sample are no arrays
            specs[n:] = [spec.single() for spec in specs[n:]]
        elif form == "column":  # ids of one sentence, and a state (H, 1)
            if {len(s.shape) for s in specs[n:] if s.kind == "ids"} != {1}:
                return None
            specs = [replace(s, shape=("T",)) if s.kind == "ids" and s.shape == ("N",)
                     else s.transposed() for s in specs]
        elif form == "columns":
            if not self.columns and any(s.kind == "float" and len(s.shape) == 1
                                        for s in specs[n:]):
                return None  # one column is no batch: what forgets to sum over it looks right
            specs = [spec.transposed() for spec in specs]
        return (Recipe if self.like is None else _Sized)(
            self.cls, dict(zip(self.init_names, specs[:n], strict=True)), list(specs[n:]),
            input_names, sizes=dict(sizes), drawn=(groups, found, input_names, form, sizes))

    def _nearby(self) -> Iterator[tuple[float, Recipe]]:
        """Recipes that differ in one argument, or in two, from that which came furthest; from there
        again, once one of them has come further; then from the next that raised something else."""
        done: set[Any] = set()
        while ahead := [pair for pair in self.failed if _key(pair[1]) not in done]:
            recipe, error = max(ahead, key=lambda pair: pair[1].progress)
            done.add(_key(error))
            for near in self._near(error, *recipe.drawn):
                if near is not None:
                    yield 0.0, near
                if self.failed[-1][1].progress > error.progress:
                    break

    def _as_unpacked(self, error: CannotRun, groups, found, names, *how) -> Recipe | None:
        """The recipe with inputs of as many axes as they are unpacked into, or indexed by."""
        told = re.search(r"to unpack \(expected (\d)|-dimensional, but (\d)", str(error.error))
        axes = int(told[1] or told[2]) if told else 0
        fits = [next((s for _, s in choices if len(s.shape) == axes and s.kind == spec.kind), spec)
                if spec.shape and max(at) >= len(self.init_names) and len(spec.shape) != axes
                else spec for (at, choices), spec in zip(groups, found, strict=True)]
        return self._drawn(groups, fits, names, *how) if told and fits != found and (
            how[0] == "rows") else None

    def _told(self, error: CannotRun, groups, found, names, form, sizes):
        """The recipes in which a size of the inputs that an exception names is another that it
        names: "size 2 is different from 5"."""
        named = [int(n) for n in re.findall(r"(?<![\w.])\d+", str(error.error))]
        own = [max(at) >= len(self.init_names) for at, _ in groups]
        symbols = dict.fromkeys(a for spec, ours in zip(found, own, strict=True) if ours
                                for a in spec.shape if a not in "NTU")
        for a, n in itertools.product(symbols, dict.fromkeys(named)):
            if measure(a, {**SIZES, **sizes}) in named and n not in (0, measure(
                    a, {**SIZES, **sizes})):
                yield self._drawn(groups, [replace(spec, shape=tuple(
                    str(n) if b == a else b for b in spec.shape)) if ours else spec
                    for spec, ours in zip(found, own, strict=True)], names, form, sizes)

    def _near(self, error: CannotRun, groups, found, names, *how) -> Iterator[Recipe | None]:
        """The recipes in which another argument, another form, a size that was told, or two of
        these, are other than in one."""
        one = sorted(((cost, k, spec) for k, (_, choices) in enumerate(groups)
                      for cost, spec in choices if spec != found[k]), key=lambda c: c[:2])
        two = sorted(itertools.combinations(one, 2), key=lambda c: c[0][0] + c[1][0])
        forms = [(groups, found, v) for v in self.variants if v != (*how,)]
        if any("X" in spec.shape for spec in found):  # larger images
            forms[:0] = [(groups, found, (how[0], {**how[1], "X": n})) for n in (7, 9, 12, 28)]
        for k in gates_of(self.name) if self.like is None else ():
            other = self._groups([self._init(n, k) for n in self.init_names],
                                 self._inputs(names), names)
            at = [next((i for i, (_, s) in enumerate(choices) if s == spec), 0)
                  for (_, choices), spec in zip(groups, found, strict=True)]
            if len(other) == len(groups) and other != groups:
                forms.append((other, [choices[min(i, len(choices) - 1)][1] for (_, choices), i
                                      in zip(other, at, strict=True)], how))
        here = (groups, found, how)
        far = [(f, (c,)) for c in one[:30] for f in forms], [(here, c) for c in two[:300]]

        def drawn(changed):
            for (group, picks, form), changes in changed:
                picked = {k: spec for _, k, spec in changes}
                yield self._drawn(group, [picked.get(k, s) for k, s in enumerate(picks)], names,
                                  *form)

        yield from drawn([*((here, (c,)) for c in one), *((f, ()) for f in forms)])
        yield from self._told(error, groups, found, names, *how)
        yield from drawn(c for both in itertools.zip_longest(*far) for c in both if c)


def _key(error: CannotRun):
    """Of where and what was raised, whatever the shapes are."""
    return error.progress[0], *error.progress[1], re.sub(r"\d+", "", str(error))


def _layer_of(recipe: Recipe, sizes, values):
    return recipe.setup(sizes, values).layer


def ranked(choices):
    """The product of lists of (cost, item), by the sum of the costs: (sum, items)."""
    if not all(choices):
        return
    start = (0,) * len(choices)
    heap, seen = [(sum(c[0][0] for c in choices), start)], {start}
    while heap:
        cost, at = heapq.heappop(heap)
        yield cost, [c[i][1] for c, i in zip(choices, at, strict=True)]
        for k, c in enumerate(choices):
            if at[k] + 1 < len(c):
                there = (*at[:k], at[k] + 1, *at[k + 1:])
                if there not in seen:
                    seen.add(there)
                    heapq.heappush(heap, (cost + c[at[k] + 1][0] - c[at[k]][0], there))


def large_defaults(cls):
    """Arguments of a constructor that are sizes with a default too large to try."""
    return [p.name for p in filter(is_large_size, arguments_of(cls))]


def sizes_left_out(cls):
    """Arguments of a constructor that are sizes with None for a default, for another to set."""
    return [p.name for p in arguments_of(cls) if p.default is None and named_size(p.name)]


def find(cls, seconds: float, known: dict[Any, Search] | None = None):
    """A Search for a class that has a Recipe: one whose forward and backward run, else one whose
    forward runs. ``known``: searches that were made, by their class.

    Raises CannotMake, in one sentence that says what to give, or CannotRun for what the layer
    raised where it came furthest.
    """
    known = {} if known is None else known
    if cls not in known:
        known[cls] = Search(cls, seconds)
        known[cls].next()
        made = begun(cls) if known[cls].best is None else None
        if made is not None and (other := Search(made, seconds)).next():
            known[cls] = other
    search = known[cls]
    name, init_names = cls.__name__, search.init_names
    if search.best is not None:
        if not search.running and search.half is not None:
            search.half.wider = search.wider(search.half, search.half_error)
        return search
    error = search.error
    example = ", ".join(f"{n}=..." for n in init_names)
    if error is None or error.phase == "construction":
        call = f"{name}({', '.join(init_names)})"
        what = say("{call} raised {error}", call=call, error=str(error)) if error else say(
            "how {call} is made was not found by trying", call=call)
        if error is not None and is_own(error):
            raise CannotMake(what) from error
        raise CannotMake(say('{what}: say how it is made with --make "{example}"', what=what,
                             example=f"{name}({example})")) from error
    raise error


def _is_right(recipe: Recipe):
    with contextlib.suppress(CannotRun):
        return evaluate(recipe.setup(), light=True).right
    return False


def is_right_by_chance(setup: Setup):
    """Whether an input has an axis of size 1: a transpose, a sum along it are right by chance."""
    return any(_is_float(x) and 1 in x.shape for x in setup.inputs)


def is_own(error: CannotRun):
    """Whether no other arguments could change what was raised: a name that is not there."""
    return isinstance(error.error, (NameError, ImportError)) and (
        not isinstance(error.error, UnboundLocalError))


def _raises(error: CannotRun):
    return say("{phase} raises {error}", phase=error.phase, error=str(error))


def _equal_sizes(recipe: Recipe):
    """Whether two of the sizes that a constructor is handed are the same."""
    sizes = [s.value for s in recipe.init.values() if s.kind == "size"]
    return len(set(sizes)) < len(sizes)


def _hides(inputs, held):
    """Whether integers stand where floats have run already, or one for all where there was one for
    each: nothing could be found wrong."""
    return any((a.kind in _NO_FLOATS and b.kind not in _NO_FLOATS)
               or (a.kind == b.kind == "ids" and not a.shape and b.shape)
               for a, b in zip(inputs, held, strict=False))


def with_ids(recipe: Recipe, names) -> Recipe | None:
    """The recipe with ids for the inputs of these names, which were floats; None if there are none,
    or it does not run."""
    for below in "VHD":
        inputs = [replace(s, kind="ids", value=below) if n in names and s.kind == "float" else s
                  for n, s in zip(recipe.input_names, recipe.inputs, strict=False)]
        ids = replace(recipe, inputs=inputs, cast=names)
        if inputs != recipe.inputs and _attempt(ids) is None:
            return ids
    return None


def _is_out_of_shape(recipe: Recipe):
    """Whether the constructor was handed the shape of an input, and no input is one of these, or a
    batch of them."""
    shapes = [s.shape for n, s in recipe.init.items()
              if s.kind == "tuple" and (IN_SHAPE.fullmatch(n) or (
                  s.shape[0] == "N" and n.lower().startswith("in")))]
    return any(not any(x.shape in (s, ("N", *s)) for x in recipe.inputs) for s in shapes)


def _as_labels(inputs: list[Spec]) -> list[list[Spec]]:
    """The same inputs as a loss may want them: the first are probabilities, and the last one-hot
    rows of their shape."""
    *scores, last = inputs
    if not scores or len(last.shape) < 2 or {s.shape for s in scores} != {last.shape}:
        return []
    rows = replace(last, kind="onehot", value=None)
    return [[*scores, rows], [*(replace(s, kind="distribution") for s in scores), rows],
            [*(replace(s, kind="distribution") for s in scores), last]]


def _takes_samples(recipe: Recipe):
    """Whether forward gives for a batch what it gives for its samples: side by side, added up, or
    their mean."""

    def outputs(inputs):
        with at_work(setup.layer) as layer:
            found = layer.forward(*copies(inputs))
        return [*map(np.asarray, found if isinstance(found, tuple) else (found,))]

    with contextlib.suppress(Exception):
        setup, N = recipe.setup(), recipe.size("N")
        each = [outputs([x[k : k + 1] if np.shape(x)[:1] == (N,) else x for x in setup.inputs])
                for k in range(N)]
        return all(any(np.shape(y) == np.shape(z) and np.allclose(y, z) for z in (
            np.concatenate(parts) if y.ndim else sum(parts), sum(parts) / N))
            for y, parts in zip(outputs(setup.inputs), zip(*each, strict=True), strict=True))
    return False


def _are_points(inputs, held):
    """Whether all floats have an axis of one element, where they have run with more."""
    floats = [(a.shape, b.shape) for a, b in zip(inputs, held, strict=False) if a.kind == "float"]
    return bool(floats) and all("1" in a and "1" not in b and (len(a) == len(b) or {*a} == {"1"})
                                for a, b in floats)


def is_point(inputs):
    """Whether all floats are a single element."""
    floats = [s.shape for s in inputs if s.kind == "float"]
    return bool(floats) and all({*shape} == {"1"} for shape in floats)


def _is_batch(inputs):
    return any("N" in s.shape or s.shape[1:][-1:] == ("1",) for s in inputs)


def _in_rows(inputs):
    return any(s.shape[:1] == ("N",) for s in inputs)


def _attempt(recipe, seconds: float = 5.0):
    """None if the recipe runs to the end, else CannotRun."""
    work(ATTEMPT)
    try:
        with time_limit(seconds):
            return attempt(recipe.setup())
    except CannotRun as error:
        return error
    except TimeUp as error:
        return CannotRun("forward", error)


def attempt(setup: Setup):
    """None if forward and backward run, else CannotRun. Tries one tuple of cotangents where
    backward does not take them one by one. How it is run goes into the recipe."""
    recipe = setup.recipe
    try:
        seen, cotangents = observe(setup, np.random.default_rng(1), light=True)
    except CannotRun as error:
        if error.phase != "backward" or isinstance(error.error, TimeUp):
            return error
        target = target_of(setup.layer) is not None
        lone = not target and all(np.ndim(x) == 1 for x in setup.inputs
                                  if isinstance(x, np.ndarray))
        for setup.as_row in (True, False)[not lone:]:  # one sample, whose gradient may be a row
            setup.as_tuple = not target and not setup.as_row
            setup.loss = LOSSES[0] if target else None
            try:
                seen, cotangents = observe(setup, np.random.default_rng(1), light=True)
                if not setup.as_tuple or seen.kind != "single":
                    break  # else (g,) is multiplied with arrays, and another axis is summed over
            except CannotRun:
                continue
        else:
            setup.as_row, setup.as_tuple, setup.loss = False, False, None
            return error
        if recipe is not None:
            recipe.as_row, recipe.as_tuple, recipe.loss = setup.as_row, setup.as_tuple, setup.loss
    there = {path for path, _ in places(setup.layer)}
    known = {id(x) for path, x in places(seen.layer) if path in there}
    late = [path for path, x in places(seen.layer) if path not in there and id(x) not in known
            and gradient_of(seen.layer, path) is not None
            ] if recipe is not None and not recipe.primed else []  # fmt: skip
    if late and _are_kept(setup, late):
        recipe.primed = True
        found = attempt(recipe.setup())
        recipe.primed = found is None
        return found
    # gradients may stand in places that are there only after backward, or be subtracted there
    more = [p for p, _ in places(setup.layer) if p not in setup.slots.paths
            and gradient_of(seen.layer, p) is not None] if setup.slots.beside else []
    if more or not setup.slots.names:
        edited, setup.rate = updated(setup)
        before = [path for path, _ in places(setup.layer)]
        found = [p for p in before if p in edited or gradient_of(seen.layer, p) is not None]
        if len(found) < len(before):
            handed = _handed(setup, cotangents, seen.kind)
            setup.handed = any(p in handed and p not in found for p in before)
            found = [p for p in before if p in found or p in handed]
        setup.slots = named_slots(setup.layer, found)
    elif any(g is None for g in seen.grads):
        setup.rate = updated(setup)[1]
    if recipe is not None:
        states = [path for path in setup.slots.paths if (
            path[0] != "params" and is_written(setup, path)) or (path[-1] in attributes_set(
                type(setup.layer).forward) and not _are_kept(setup, [path]))]  # which it makes anew
        if states:
            setup.slots = named_slots(setup.layer, [
                path for path in setup.slots.paths if path not in states])
        recipe.slots, recipe.rate, recipe.handed = setup.slots, setup.rate, setup.handed
    values = [y for y in seen.outputs if isinstance(y, (np.ndarray, np.generic, float))]
    if not values:
        return CannotRun("output", ValueError(say("forward returns no array")))
    if not all(np.isfinite(y).all() for y in values):
        if _is_unwritten(setup):
            return CannotRun("unwritten", ValueError(say(
                "part of the output is never written: uninitialised memory (np.empty)")),
                _line_of_memory(setup))
        return CannotRun("output", ValueError(say("the output is not finite")))
    if recipe is not None and not setup.slots.names and not any(
            _is_float(x) and i not in setup.labels for i, x in enumerate(setup.inputs)):
        return CannotRun("output", ValueError(say(
            "nothing to compare: no parameter and no input of floats")))
    fits = _fitting(seen, setup)
    if not all(fits):
        return CannotRun("returned", ValueError(say("shapes do not fit")), how_far=sum(fits))
    return None


def _handed(setup: Setup, cotangents, kind):
    """The paths of arrays of the layer that backward hands to others beside a gradient."""
    with contextlib.suppress(Exception), at_work(setup.layer) as layer:
        setup.start(layer)
        layer.forward(*copies(setup.inputs))
        own = {path: id(a) for path, a in places(layer)}
        with handing(layer) as found:
            setup.backward(layer, copies(cotangents), kind)
        return [path for path, a in own.items() if a in found]
    return []


def _are_kept(setup: Setup, paths):
    """Whether the arrays that the first forward makes, unlike states, are those of a second one."""
    with contextlib.suppress(CannotRun), at_work(setup.layer) as layer:
        call_forward(setup, layer, copies(setup.inputs))
        made = dict(places(layer))
        call_forward(setup, layer, copies(setup.inputs))
        now = dict(places(layer))
        return all(path in made and now.get(path) is made[path] for path in paths)
    return False  # a second one raises, which is told later


def is_written(setup: Setup, path):
    """Whether forward writes into an array of the layer."""
    with at_work(setup.layer) as layer:
        array = item_at(layer, path)
        before = np.copy(array)
        call_forward(setup, layer, copies(setup.inputs))
        return item_at(layer, path) is array and not np.array_equal(before, array)


def _line_of_memory(setup: Setup):
    """The line of the layer's file where the memory is asked for that is not written; None where
    there are several."""
    with noting_empty() as places, at_work(setup.layer) as layer:
        call_forward(setup, layer, copies(setup.inputs))
    lines = [place for place in dict.fromkeys(places) if _is_unwritten(setup, place)]
    return lines[0][1] if len(lines) == 1 and lines[0][0] == file_of(type(setup.layer)) else None


def _is_unwritten(setup: Setup, where: Any = True):
    """Whether an output is finite once memory that is left uninitialised is zero."""
    with unpoisoned(where):
        seen, _ = observe(setup, np.random.default_rng(1), light=True)
    return all(np.isfinite(y).all() for y in seen.outputs
               if isinstance(y, (np.ndarray, np.generic, float)))


def _fitting(seen, setup: Setup):
    """Which gradients that backward returned have the shapes of the inputs: where not all have,
    another recipe may."""
    floats = [x for x in setup.inputs if _is_float(x)]
    found = [r for r in seen.returned if isinstance(r, np.ndarray)]
    both = zip(seen.returned, setup.inputs, strict=True) if len(seen.returned) == len(
        setup.inputs) else zip(found, floats, strict=False)
    fits = [] if len(found) > len(floats) else [
        r.shape == x.shape for r, x in both if r is not None and _is_float(x)]
    if hasattr(type(setup.layer), "at_once"):  # a loss
        fits += [np.ndim(y) == 0 or np.size(y) == 1 for y in seen.outputs[:1]]
    form = setup.recipe.drawn[3] if setup.recipe is not None and setup.recipe.drawn else ""
    if form.startswith("column") and weights_first(  # a guess, which they have to fit, too
            inspect.unwrap(type(setup.layer).forward)) <= 0:
        params = setup.slots.params(setup.layer)  # which may be others by now
        fits += [np.shape(g) == p.shape for g, p in zip(seen.grads, params, strict=False)
                 if g is not None and len(params) == len(seen.grads)]
    return fits


def from_expression(text, module):
    """A Recipe from ``--make``: an expression that gives a layer, (layer, inputs...), or the name
    of a function that returns one of these. Inputs that it does not give are found by trying."""
    names = dict(vars(module))
    names.setdefault("np", numpy_standin)
    try:
        code = compile(ast.parse(text, mode="eval"), "--make", "eval")
    except SyntaxError as error:
        raise CannotMake(say("--make {text} is no expression: {error}", text=repr(text),
                             error=error.msg)) from None

    def make():
        value = eval(code, names)
        is_layer = hasattr(value, "forward") and not isinstance(value, type)
        return value() if callable(value) and not is_layer else value

    return from_factory(make, text)


def from_factory(make, text="the factory"):
    """A Recipe from a function without arguments that returns a layer or (layer, inputs...)."""
    try:
        with quietly():
            value = make()
    except (Exception, SystemExit) as error:
        raise CannotMake(say("--make {text} raised {error}", text=repr(text),
                             error=f"{type(error).__name__}: {error}")) from None
    given = None
    if isinstance(value, tuple):
        value, *given = value
    if not hasattr(value, "forward"):
        raise CannotMake(say("--make {text} gave {what}, not a layer with forward",
                             text=repr(text), what=type(value).__name__))

    def layer():
        with quietly():
            again = make()
        return again[0] if isinstance(again, tuple) else again

    if given is not None:
        given = [np.asarray(x, float) if np.asarray(x).dtype.kind == "f" else np.asarray(x)
                 for x in given]
        return Recipe(layer, {}, [], names_of_inputs(value, len(given)), fixed_inputs=given)
    search = Search(layer, 5.0, value)
    recipe = search.next() or search.half
    if recipe is None:
        raise search.error or CannotMake(say(
            "what {name}.forward takes was not found: let --make return (layer, inputs...)",
            name=type(value).__name__))
    return recipe


class _Sized(Recipe):
    """A recipe whose layer has its sizes already."""

    def setup(self, sizes=None, values=None, seed: int = 1):
        sizes = {k: v for k, v in (sizes or {}).items() if k in "NTUZ"}
        return super().setup(sizes, values, seed)


def _sizes_of(layer, columns=False):
    """Sizes D, H, V that the parameters of a finished layer suggest, likeliest first; ``columns``:
    where the batch stands in columns."""
    params = slots_of(layer).params(layer)
    matrices = [p.shape[::-1] if columns else p.shape for p in params
                if p.ndim == 2 and not (columns and p.shape[1] == 1)]
    found = []
    if matrices:
        square = next((s[0] for s in matrices[1:]), matrices[0][1])
        found.append({"D": matrices[0][0], "H": square, "V": matrices[0][0]})
        found.append({"D": matrices[0][0], "H": matrices[0][1], "V": matrices[-1][1]})
    elif params:
        found.append({"D": params[0].shape[-1], "H": params[0].shape[-1]})
    return [{**SIZES, **sizes} for sizes in (*found, {})]


def names_of_inputs(layer, n):
    """The names that forward has for its first ``n`` inputs."""
    names = forward_names(layer)
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(n)]
