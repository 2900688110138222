"""What can be wrong apart from the values of gradients: arrays replaced, edited, shared, missing;
memory that was never written; caches that do not survive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .report import Cause, listed
from .running import CannotRun, again, observe, places
from .words import join, say

if TYPE_CHECKING:
    from .outcome import Outcome


def epsilon_problem() -> Cause:
    """A convention of many losses."""
    return Cause("convention", say(
        "an epsilon stands in the logarithm of the forward, and not in its derivative"),
                   wrong=False)


def protocol_problems(outcome: Outcome):
    """The findings of one full observation."""
    seen, names = outcome.observation, outcome.setup.slots.names
    inputs = outcome.setup.names
    yield from _nested(seen.layer)
    if seen.replaced:
        slots = ", ".join(f"grads[{i}]" for i in seen.replaced)
        i = seen.replaced[0]
        yield Cause("replaced", say(
            "replaced by a new array instead of filled in place ({form}): {slots}; an optimizer"
            " that holds the old array never sees the gradient", slots=slots,
            form=f"grads[{i}][...] = d{names[i]}"))
    if seen.aliased:
        shared = [n.removeprefix("d") for pair in seen.aliased for n in pair]
        right = not getattr(seen.layer, "grads", None) and {*shared} <= {
            g.name for g in outcome.gradients if g.ok}  # two biases of one sum, and made anew
        yield Cause("aliased", say(
            "{pairs} share their memory: what is written into one is written into the other",
            pairs="; ".join(f"{a}, {b}" for a, b in seen.aliased)),
            gradients=shared, wrong=not right)
    for i in seen.params_edited:
        right = any(g.name == names[i] and g.ok for g in outcome.gradients)  # then it updates it
        yield Cause("into_parameter", say(
            "backward writes into the parameter {name} itself", name=names[i]), wrong=not right)
    for i in seen.inputs_edited:
        if _same_after(outcome, i):  # x -= x.max(), before a softmax
            yield Cause("input_edited", say(
                "the caller's array {name} is edited in place, by what does not change the output",
                name=inputs[i]), wrong=False)
        else:
            yield Cause("input_edited", say("the caller's array {name} is edited in place",
                                              name=inputs[i]))
    if seen.dout_edited:
        if seen.dout_returned:  # the gradient is made in place: common, and right by itself
            outcome.notes.append(say(
                "backward edits the gradient that it is handed, and returns it"))
        else:
            yield Cause("input_edited", say(
                "backward edits the gradient that it is handed, in place"))
    if outcome.unwritten:
        yield Cause("uninitialised", say(
            "uninitialised memory (np.empty) is read: part of {names} is never written",
            names=listed(outcome.unwritten)), gradients=outcome.unwritten)
    short = _shorter(outcome)
    for g in outcome.gradients:
        if g.name in short:
            yield Cause("none", join([say(
                "params has {m}, grads has {n}: an optimizer never sees the gradient {name}",
                m=len(names), n=len(names) - len(short), name=f"d{g.name}"),
                *_standing(outcome, g.name)]), gradients=[g.name])
        elif outcome.got.get(g.name) is None:
            words = "None stands where the gradient {name} belongs" if g.shape == () else (
                "nothing is found where the gradient {name} belongs")
            yield Cause("none", say(words, name=f"d{g.name}"), gradients=[g.name])
    if outcome.setup.rate:
        yield Cause("updates", say(
            "backward applies the update itself, as a step of {rate} times the gradient: an"
            " optimizer would make it a second time", rate=f"{outcome.setup.rate:g}"), wrong=False)
    elif outcome.setup.handed:
        yield Cause("updates", say(
            "backward hands its gradients to an optimizer itself: these are compared"), wrong=False)
    elif not outcome.unwritten and not seen.replaced and outcome.setup.rounds == 1:
        yield from _second(outcome)


def _shorter(outcome: Outcome):
    """The parameters at the end of params for which the list grads has nothing."""
    grads = getattr(outcome.observation.layer, "grads", None)
    slots = outcome.setup.slots
    return [] if slots.beside or not isinstance(grads, (list, tuple)) else [
        n for n in slots.names[len(grads):] if outcome.got.get(n) is None]


def _standing(outcome: Outcome, name: str):
    """Where else in the layer the right gradient stands, as a sentence or none."""
    wanted = outcome.wanted[name]
    for path, a in places(outcome.observation.layer):
        if a.shape == wanted.shape and np.any(a) and np.allclose(a, wanted):
            at = "".join(f"[{k!r}]" if isinstance(k, int) else f".{k}" for k in path)
            return [say("it stands in {place}", place="self" + at)]
    return []


def _nested(layer):
    """What an optimizer makes of lists of lists."""
    lists = [x for k in ("params", "grads") if isinstance(
        x := getattr(layer, k, None), (list, tuple))]
    for i, (p, g) in enumerate(zip(*lists, strict=False) if len(lists) == 2 else ()):
        if isinstance(p, (list, tuple)):
            try:
                p -= 0.1 * g
            except Exception as error:
                yield Cause("nested", say(
                    "params[{i}] is a list of arrays where an array belongs (+ joins lists, [...]"
                    " puts them into another): in an optimizer, params[{i}] -= lr * grads[{i}]"
                    " raises {error}", i=i, error=f"{type(error).__name__}: {error}"))


def _same_after(outcome: Outcome, i: int):
    """Whether forward gives the same for an input as it left it."""
    seen, setup = outcome.observation, outcome.setup
    inputs = list(setup.inputs)
    inputs[i] = seen.given[i]
    try:
        outputs = observe(replace(setup, inputs=inputs), np.random.default_rng(0), True)[0].outputs
    except CannotRun:
        return False
    return all(np.shape(a) == np.shape(b) and np.allclose(a, b) for a, b in zip(
        outputs, seen.outputs, strict=True))


def _second(outcome: Outcome):
    """A second backward of the same forward must give the same again."""
    seen = outcome.observation
    if not (seen.overwritten or seen.state) or not _changes(
            seen, again(outcome.setup, seen, outcome.cotangents)):
        return
    if seen.state and not _changes(seen, again(outcome.setup, seen, outcome.cotangents, True)):
        yield Cause("state_not_cut", say(
            "backward begins with the gradient that the call before left in {names}: the state is"
            " not cut between calls (truncated BPTT)",
            names=listed(seen.state, "self.")))
        return
    if not seen.overwritten:
        return
    text = say("backward overwrites what forward kept for it: a second backward of the same forward"
               " gives another gradient")
    if len(seen.outputs) == 1 and np.ndim(seen.outputs[0]) == 0:
        outcome.notes.append(text)  # common in a loss, whose backward is called once
    else:
        yield Cause("cache", text)


def _changes(seen, second):
    """Whether a second backward gave another gradient (adding the same again is none)."""
    if second is None:
        return False
    returned, grads = second

    def same(a, b):
        return not isinstance(a, np.ndarray) or (isinstance(b, np.ndarray) and a.shape == b.shape
                                                 and np.allclose(a, b, rtol=1e-9, atol=1e-12))

    def added(before, first, then):
        return before is not None and before.shape == first.shape and then is not None and same(
            first - before, then - first)

    return not all(map(same, seen.returned, returned)) or not all(
        a is None or same(a, b) or added(before, a, b)
        for before, a, b in zip(seen.grads_before, seen.grads, grads, strict=True))
