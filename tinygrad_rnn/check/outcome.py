"""One comparison of a layer: its own gradients beside the right ones."""

from __future__ import annotations

import functools
import itertools
import re
import types
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .arguments import init_specs, is_label
from .limits import work
from .numpy_standin import is_unclipped, is_unpoisoned, noting_clips, unclipped, unpoisoned
from .protocol import epsilon_problem, protocol_problems
from .report import Cause, Gradient, compare, listed
from .running import (
    CannotRun,
    Observation,
    Setup,
    Truth,
    backward_arguments,
    file_of,
    loss_gradient,
    objects_of,
    observe,
    places,
    target_of,
    truth,
)
from .source import (
    codes_run,
    functions_of,
    has_loop,
    is_computed_with,
    replaced,
    unread,
    without_epsilon,
)
from .words import say

_DATA = re.compile(r"(x|xt|xs|inputs?|data)(_\w+)?", re.IGNORECASE)  # of a whole network
_WHOLE = re.compile(
    r"(net(work)?|model|sequential|classifier|cnn|regress\w*|mlp|perceptron)\d*$", re.I)
EVALUATION = 2e-3  # work, in seconds
TOLERANCE = 1e-6  # relative to the largest element; float64 agrees to about 1e-14
TOLERANCE_FLOAT32 = 1e-4  # where the layer's own code narrows to float32 and cannot be widened


@dataclass
class Outcome:
    """One comparison: the gradients, what they were compared with, and what went wrong apart from
    their values."""

    setup: Setup
    gradients: list[Gradient] = field(default_factory=list)
    got: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    observation: Observation | None = None
    truth: Truth | None = None
    cotangents: list[Any] = field(default_factory=list)
    tolerance: float = TOLERANCE
    unseen: list[str] = field(default_factory=list)  # inputs for which no gradient is returned
    seed: int = 0
    clipped: bool = False  # it holds where np.clip changes nothing

    @property
    def right(self):
        return all(g.ok for g in self.gradients) and not any(p.wrong for p in self.problems)

    @property
    def wrong_gradients(self):
        return [g for g in self.gradients if not g.ok]

    @functools.cached_property
    def unwritten(self):
        """The gradients of which a part is NaN because it is memory that nobody wrote: once that
        is zero, it is not. A division by zero leaves NaN there."""
        nan = [n for n, g in self.got.items() if _has_nan(g) and not _has_nan(self.wanted[n])]
        if not nan or is_unpoisoned():
            return []
        with unpoisoned(), suppress(CannotRun):
            again = evaluate(self.setup, self.seed, light=True)
            nan = [n for n in nan if not _has_nan(again.got.get(n))]
        return nan


def _has_nan(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and bool(np.isnan(x).any())


def evaluate(setup: Setup, seed: int = 0, light: bool = False, fixed_truth=None, rng=None):
    """Run and compare once; returns an Outcome. ``rng``: draws the cotangents. Raises
    CannotRun."""
    work(EVALUATION)
    outcome = Outcome(setup, seed=seed)
    rng = rng or np.random.default_rng(seed + 1)
    with noting_clips() as clipped:
        seen, cotangents = observe(setup, rng, light=light)
    outcome.observation, outcome.cotangents = seen, cotangents
    used = used_of(setup, seen.outputs, cotangents, seen.kind)
    right = fixed_truth or truth(setup, used, values=seen.outputs)
    outcome.truth = right
    if any(a is not None and getattr(a, "dtype", None) in (np.float32, np.float16)
           for a in (*seen.grads, *seen.returned, *seen.outputs)):
        outcome.tolerance = TOLERANCE_FLOAT32
    if right.by_differences:
        outcome.tolerance = TOLERANCE_FLOAT32
        outcome.notes.append(say("compared with central differences: forward takes arrays alone"))
    context = {"layer_name": type(setup.layer).__name__, "hidden": _hidden(setup)}
    batch = _batch(setup)
    for name, got, wanted in pairs(outcome, seen):
        outcome.got[name], outcome.wanted[name] = got, wanted
        outcome.gradients.append(compare(name, got, wanted, outcome.tolerance, **context,
                                         batch=None if name in setup.slots.names else batch))
    if not light:
        outcome.problems += protocol_problems(outcome)
    if fixed_truth is not None or outcome.right:
        return outcome
    other = None
    if clipped and not is_unclipped():
        with unclipped():
            other = evaluate(setup, seed, light)
        other.clipped = True
        other.problems.append(Cause("clipped", say(
            "backward clips its gradients (np.clip): compared as they are before"), wrong=False))
        if (other.right or not _is_loss(outcome)) and (not seen.clipped or all(
                map(np.array_equal, seen.outputs, other.observation.outputs))):
            return other  # else it is forward that clips, and what it gives
    if _is_loss(outcome):
        last = _as_last(outcome, light)
        other = last if last and last.right else _before_activation(outcome, light) or (
            last or _without_epsilon(outcome, used, light))
    elif any(np.ndim(y) == 0 and not np.any(g) for y, g in zip(seen.outputs, used, strict=True)):
        # a loss beside other outputs, for which backward takes no gradient: that is 1
        ones = [g if np.ndim(g) else 1.0 for g in used]
        whole = evaluate(setup, seed, light, truth(setup, ones))
        other = _if_right(whole) or _of_outputs(outcome, light) or (
            whole if len(whole.wrong_gradients) < len(outcome.wrong_gradients) else None)
    else:
        other = _by_convention(outcome, light) or _of_logits(outcome, light) or _each(outcome)
    return other or outcome


def used_of(setup: Setup, outputs, cotangents, kind):
    """The cotangents that backward is handed, and what stands for them where it takes none. What
    it is not handed does not reach it: an output without a cotangent is not used."""
    handed = backward_arguments(setup.layer, cotangents, kind, setup)
    held = [h for part in handed for h in (part if isinstance(part, (tuple, list)) else (part,))]
    held += [h.base for h in held if setup.as_row and isinstance(h, np.ndarray)]
    if setup.loss:
        return [loss_gradient(setup, outputs[0], cotangents[0])]
    if not any(g is h for g in cotangents for h in held):
        return [np.ones_like(g) if i == 0 else 0 * g for i, g in enumerate(cotangents)]
    if kind in ("single", "list") or setup.as_tuple:
        return list(cotangents)
    return [g if any(g is h for h in held) else 0 * g for g in cotangents]


def _by_convention(outcome: Outcome, light: bool):
    """The same comparison where the gradients of all parameters, and of nothing else, are divided
    by the batch, or have that of a penalty added, or both; None if they have not."""
    setup, names = outcome.setup, outcome.setup.slots.names
    wrong = {g.name for g in outcome.wrong_gradients}
    if not wrong or not wrong <= {*names}:
        return None
    mean, sizes = ("mean_of_batch", say(
        "the gradients of all parameters are divided by the batch, and that of the input is not:"
        " right where the loss is a mean whose own gradient is not divided")), [1]
    shown = {n for n in outcome.got if np.any(outcome.wanted.get(n, 1))}  # of dead units is nothing
    if setup.recipe is not None and len(names) > 1 and wrong == shown & {*names} != shown:
        sizes.append(setup.recipe.size("N"))
    if wrong == shown and len(outcome.got) > 1 and target_of(setup.layer) is None and np.ndim(
            outcome.observation.outputs[0]):
        sizes = [setup.recipe.size("N")] if setup.recipe is not None else []  # of a whole network
    for n in sizes:
        right = replace(outcome.truth, params=[p / n for p in outcome.truth.params])
        decayed, added = _with_decay(outcome, right)
        for wanted, told in ((right, []), (decayed, [("weight_decay", say(
                "backward adds to {gradients} the gradient of a penalty, a multiple of the"
                " parameter (L2) or of its sign (L1): right where the penalty stands in the loss,"
                " elsewhere", gradients=listed(added)))])):
            told = [mean] * (n > 1) + told
            if told and (added or wanted is right) and (found := _if_right(
                    evaluate(setup, outcome.seed, light, wanted), *told)):
                return found
    return None


def _each(outcome: Outcome):
    """The outcome where what is wrong, a matrix among it, has one gradient for each step or sample:
    with their sums, if these are right."""
    got, wanted = outcome.got, outcome.wanted
    wrong = [g.name for g in outcome.wrong_gradients]
    if not {*wrong} <= {*outcome.setup.slots.names} or all(
            np.ndim(wanted[n]) < 2 for n in wrong) or any(
            np.shape(got[n]) != (*np.shape(got[n])[:1], *wanted[n].shape) or not np.ndim(got[n])
            for n in wrong):
        return None
    sums = got | {n: np.sum(got[n], axis=0) for n in wrong}
    return _if_right(replace(outcome, got=sums, problems=[*outcome.problems], gradients=[
        compare(n, sums[n], wanted[n], outcome.tolerance) for n in got]), ("each", say(
            "{gradients}: one for each step or sample, and right once they are added up",
            gradients=listed(wrong))))


def _with_decay(outcome: Outcome, right: Truth):
    """The right gradients with so many times the parameter, and its sign, added as explains the
    most of what is wrong, and the names of those parameters."""
    slots, added, sums = outcome.setup.slots, [], []
    for name, p, g in zip(slots.names, slots.params(outcome.setup.layer), right.params,
                          strict=True):
        got, terms = outcome.got.get(name), np.stack([np.ravel(p), np.sign(np.ravel(p))], 1)
        rates = np.linalg.lstsq(terms, np.ravel(got - g))[0] if (
            np.shape(got) == p.shape and p.size > 2) else np.zeros(2)
        penalty = (terms @ np.maximum(rates, 0.0)).reshape(p.shape)
        added += [name] * bool(np.abs(penalty).max(initial=0) > TOLERANCE)
        sums.append(g + penalty)
    return replace(right, params=sums), added


def _of_logits(outcome: Outcome, light: bool):
    """The same comparison where backward is handed, as its name says, the gradient of something
    else than the probabilities that forward returns: of what the softmax was taken of."""
    named, setup = getattr(type(outcome.setup.layer), "renamed", None), outcome.setup
    if named is None and setup.slots.names and len(outcome.observation.outputs) == 1:
        named = 0  # a whole classifier
    if named is None or named >= len(outcome.cotangents):
        return None
    p, handed = outcome.observation.outputs[named], list(outcome.cotangents)
    axis = next((a for a, n in enumerate(np.shape(p)) if n > 1 and np.all(p > 0)
                 and np.allclose(np.sum(p, axis=a), 1)), None)
    if axis is None:
        return None
    handed[named] = handed[named] - np.mean(handed[named], axis=axis, keepdims=True)
    used = [*handed[:named], handed[named] / p, *handed[named + 1:]]
    left = iter(handed)
    planned = types.SimpleNamespace(normal=lambda size: next(left))
    return _if_right(evaluate(setup, outcome.seed, light, truth(setup, used), planned), (
        "of_logits", say("backward is handed the gradient of what the softmax is taken of, not that"
                         " of the probabilities that forward returns")))


def _of_outputs(outcome: Outcome, light: bool):
    """The same comparison where backward is handed what forward returns beside its loss, in place
    of a gradient."""
    outputs = outcome.observation.outputs
    left = iter(y if np.ndim(y) else np.array(1.0) for y in outputs)
    planned = types.SimpleNamespace(normal=lambda size: next(left))
    used = [0 * y if np.ndim(y) else 1.0 for y in outputs]
    told = _UNSEEN if _looks_away(outcome) else (
        "of_outputs", say("backward is handed what forward returns, not a gradient: right where the"
                          " loss is the last layer"))
    return _if_right(evaluate(outcome.setup, outcome.seed, light, truth(outcome.setup, used),
                              planned), told)


def _if_right(other: Outcome, *told: tuple[str, str]):
    """An Outcome with the conventions by which it is right, None where it is not."""
    if other.right:
        other.problems += [Cause(kind, text, wrong=False) for kind, text in told]
    return other if other.right else None


def _is_loss(outcome: Outcome):
    return len(outcome.truth.outputs) == 1 and np.ndim(outcome.truth.outputs[0]) == 0


def _as_last(outcome: Outcome, light: bool):
    """The same comparison for a loss whose backward does not look at what it is handed, None if it
    does: where the loss is the last layer, that is 1."""
    ones = [1.0 for _ in outcome.cotangents]
    if not _looks_away(outcome):
        return None
    last = evaluate(outcome.setup, outcome.seed, light, truth(outcome.setup, ones))
    if not last.right:
        if is_computed_with(type(outcome.setup.layer).backward):
            return None  # meant to be looked at, which has to show once it is mended
        last = _without_epsilon(last, ones, light) or last
    # an edit may let backward look at it, after all
    last.cotangents = [np.ones_like(g) for g in outcome.cotangents]
    last.problems.append(Cause(*_UNSEEN, wrong=False))
    return last


_UNSEEN = ("dout_ignored", say(
    "backward does not look at the gradient that it is handed: right where the loss is the last"
    " layer, and that gradient is 1"))


def _looks_away(outcome: Outcome):
    """Whether backward gives the same with other cotangents."""
    seen = outcome.observation
    try:
        other = observe(outcome.setup, np.random.default_rng(outcome.seed + 2), light=True)[0]
    except CannotRun:
        return False
    both = [(a, b) for first, later in ((seen.returned, other.returned), (seen.grads, other.grads))
            for a, b in zip(first, later, strict=True) if a is not None and b is not None]
    return bool(both) and all(np.shape(a) == np.shape(b) and np.allclose(a, b) for a, b in both)


def _before_activation(outcome: Outcome, light: bool):
    """The same comparison for a loss of probabilities whose backward has the derivative of what
    made them in it, None where it has not."""
    setup, right = outcome.setup, outcome.truth
    for i, (name, p, g) in enumerate(zip(setup.names, setup.inputs, right.inputs, strict=False)):
        if g is None or not np.all((p > 0) & (p < 1)):
            continue
        for made, before in (("softmax", p * (g - np.sum(g * p, axis=-1, keepdims=True))),
                             ("sigmoid", p * (1 - p) * g)):
            inputs = [*right.inputs[:i], before, *right.inputs[i + 1:]]
            other = _if_right(evaluate(setup, outcome.seed, light, replace(right, inputs=inputs)),
                              ("before_activation", say(
                "backward gives the gradient before the {activation} that made {name}, not that"
                " of {name}: the backward of that layer must hand it on as it is",
                activation=made, name=name)))
            if other is not None:
                return other
    return None


def _without_epsilon(outcome: Outcome, used, light: bool):
    """The same comparison with the derivative of the forward without its epsilon, None if it has
    none. If they agree then, that backward leaves it out is a convention."""
    setup = outcome.setup
    right = truth_without_epsilon(setup, used)
    if right is None:
        return None
    other = evaluate(setup, outcome.seed, light, right)
    if not other.right:
        return other  # the mistake is another one, and plainer to see like this
    other.problems.append(epsilon_problem())
    return other


def truth_without_epsilon(setup: Setup, used):
    """The derivative of the forward without its epsilon, None if it has none."""
    codes = codes_run(lambda: truth(setup, used), file_of(type(setup.layer)))
    pairs = without_epsilon(functions_of(codes, objects_of(setup.layer)))
    with replaced(pairs):
        return truth(setup, used) if pairs else None


def pairs(outcome: Outcome, seen):
    """Each gradient as the layer gave it beside the right one: (name, got, wanted)."""
    right, setup = outcome.truth, outcome.setup
    params = setup.slots.params(setup.layer)
    for i, (name, got) in enumerate(zip(setup.slots.names, seen.grads, strict=True)):
        twins = [j for j, p in enumerate(params) if p is params[i]]
        if len(twins) > 1 and all(seen.grads[j] is not None for j in twins):
            got = sum(seen.grads[j] for j in twins)  # one array in several slots: their sum
        if got is not None or np.any(right.params[i]):  # without influence: needs no gradient
            yield name, got, right.params[i]
    yield from _returned(outcome, seen, right)
    for state in setup.states:
        if f"d{state}" in seen.state and state in right.states:
            yield state, seen.state[f"d{state}"], right.states[state]


def _left_in(layer, wanted):
    """The attribute of a layer that holds a gradient, and what it holds."""
    return next(((path[0], a) for path, a in places(layer) if len(path) == 1 and a.size > 1
                 and a.shape == wanted.shape and np.any(a) and np.allclose(a, wanted)), ("", None))


def _returned(outcome: Outcome, seen, right):
    """Pair what backward returned with the inputs: (name, got, wanted)."""
    names, inputs = outcome.setup.names, outcome.setup.inputs
    floats = [i for i, g in enumerate(right.inputs) if g is not None]
    free = getattr(type(outcome.setup.layer), "without_gradient", ())
    floats = [i for i in floats if names[i] not in free]
    optional = [i for i in floats if i in outcome.setup.labels
                or (is_label(names[i]) and len(inputs) > 1)]
    needed = [i for i in floats if i not in optional]
    returned = list(seen.returned)
    if len(returned) <= 1 and all(g is None for g in returned) and needed:
        left = [_left_in(seen.layer, right.inputs[i]) for i in needed]
        if all(k for k, _ in left):
            outcome.problems.append(Cause("kept", say(
                "backward leaves the gradient of {names} in {places}, and returns none",
                names=listed((names[i] for i in needed), ""),
                places=", ".join(f"self.{k}" for k, _ in left)), wrong=False))
            yield from ((names[i], np.array(g), right.inputs[i])
                        for i, (_, g) in zip(needed, left, strict=True))
            return
    if not floats or (not needed and all(g is None for g in returned)):
        return  # ids and labels: whatever is returned is not used
    loss = len(inputs) > 1 and any(np.ndim(y) == 0 for y in right.outputs)
    whole = _WHOLE.search(type(outcome.setup.layer).__name__) and not unread(
        type(outcome.setup.layer).backward)
    if whole and len(inputs) == 1 and all(g is None for g in returned):
        outcome.problems.append(_no_gradient_of(names))
        return
    if (outcome.setup.rate or loss) and outcome.setup.slots.names and all(
            g is None or (np.ndim(g) == 0 < np.ndim(inputs[floats[0]]) and not any(
                np.array_equal(g, h) for h in outcome.cotangents)) for g in returned):
        outcome.problems.append(_no_gradient_of(names[i] for i in needed))
        return
    if loss and len(returned) < len(needed) and all(
            np.shape(g) == np.shape(inputs[i]) for g, i in zip(returned, needed, strict=False)):
        outcome.problems.append(Cause("no_input_gradient", say(
            "backward returns no gradient of {names}: for a loss these are data, and nothing was"
            " compared", names=listed((names[i] for i in needed[len(returned):]), "")),
                                      wrong=False))
        needed = needed[: len(returned)]
    if len(returned) == len(inputs) and len(inputs) > len(needed):
        pairs = [(i, returned[i]) for i in floats if i in needed or returned[i] is not None]
    elif len(returned) == len(floats):
        pairs = list(zip(floats, returned, strict=True))
    else:
        pairs = list(zip(needed, returned, strict=False))
        if sums := _sums_of(returned, [right.inputs[i] for i in needed]):
            for at, got, wanted in sums:
                yield " + ".join(names[needed[k]] for k in at), got, wanted
            outcome.problems.append(Cause("summed", say(
                "backward returns the sum of the gradients of {names}: right where these are one"
                " and the same array", names=listed(
                    (names[needed[k]] for at, _, _ in sums for k in at if len(at) > 1), "")),
                                          wrong=False))
            return
        if len(returned) < len(needed):
            pairs += [(i, None) for i in needed[len(returned):]]
        n = sum(g is not None for g in returned)
        if n != len(needed):
            outcome.problems.append(Cause(
                "count", say("gradients that backward returns: {n}; inputs of floats that forward"
                             " takes: {needed}", n=n, needed=len(needed))))
    for i, got in pairs:
        if got is None and (i in optional or not np.any(right.inputs[i])):
            continue  # without influence: needs no gradient
        if got is None and (names[i] in getattr(seen.layer, "not_returned", ()) or (
                not outcome.setup.slots.names and i == 0 < len(pairs) - 1
                and all(g is not None for k, g in pairs if k))):
            cls = type(outcome.setup.layer)
            weights = outcome.setup.slots.names or [n for n in names if _is_weight(n, cls)]
            if weights and (_DATA.fullmatch(names[i]) or has_loop(cls.forward)):
                outcome.problems.append(_no_gradient_of([names[i]]))
            else:
                outcome.unseen.append(names[i])  # a state that begins at zero: none is meant
            continue
        if isinstance(got, np.ndarray) and np.ndim(inputs[i]) == 1 and got.shape == (
                1, inputs[i].size):  # the one sample as a row
            outcome.problems.append(Cause("as_row", say(
                "backward returns the gradient of {name} as a row, {shape}: right for whoever"
                " expects one", name=names[i], shape=got.shape), wrong=False))
            got = got[0]
        yield names[i], got, right.inputs[i]


def _sums_of(returned, wanted):
    """Fewer gradients than inputs, where each is that of one, or the sum of those of some that
    follow one another: (which ones, got, the sum); None where they are not."""
    for ends in itertools.combinations(range(1, len(wanted)), len(returned) - 1):
        parts = [*itertools.pairwise((0, *ends, len(wanted)))]
        if len(returned) < len(wanted) and all(
                g is not None and {np.shape(w) for w in wanted[a:b]} == {np.shape(g)}
                and np.allclose(g, sum(wanted[a:b])) for g, (a, b) in zip(
                    returned, parts, strict=True)):
            return [(range(a, b), g, sum(wanted[a:b]))
                    for g, (a, b) in zip(returned, parts, strict=True)]
    return None


def _is_weight(name: str, cls):
    """Whether an input of forward has the name of weights."""
    return init_specs(name, cls.__name__, 1)[0][0].kind == "weight"


def _no_gradient_of(names):
    return Cause("no_input_gradient", say(
        "backward returns no gradient of {names}: the data of a whole network, and its first state,"
        " can do without one, and nothing was compared", names=listed(names, "")), wrong=False)


def _hidden(setup: Setup):
    """H, as far as the parameters tell it: the rows of the second matrix."""
    matrices = [p for p in setup.slots.params(setup.layer) if p.ndim == 2]
    return matrices[1].shape[0] if len(matrices) > 1 else None


def _batch(setup: Setup):
    return next((x.shape[0] for x in setup.inputs if isinstance(x, np.ndarray) and x.ndim), None)
