"""The likely cause of what is wrong, from a catalogue of known mistakes.

Each mistake is applied to the right gradient; if that gives the wrong one, it is named. To pin it
to a line, ``repair`` looks for the edit of the source that undoes it.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..primitive import RULES, Primitive
from .outcome import pairs
from .repair import common_ratio, find_repair, ratio_in_words
from .running import CannotRun, arrays_of, observe, truth

if TYPE_CHECKING:
    from .outcome import Outcome
    from .report import Report
    from .running import Setup

# Findings that are causes by themselves, most telling first.
_FIRST = ("replaced", "aliased", "into_parameter", "input_edited", "count", "none",
          "state_not_carried", "state_not_cut", "cache")  # fmt: skip
# Mistakes that leave part of an array unwritten.
_UNFINISHED = {"return_in_loop", "steps"}


@dataclass
class Cause:
    kind: str
    text: str
    line: int | None = None


def explain_wrong(report: Report, outcome: Outcome, deadline: float, filename: str):
    """Put the cause and its line into a report."""
    cause = _cause(outcome, deadline, filename)
    if cause is None:
        cause = Cause("unknown", "no mistake of the catalogue explains it; the first wrong element"
                      " is a place to begin")
    if cause.line is None:
        cause.line = _line(cause, outcome, filename)
    report.cause, report.line, report.kind = cause.text, cause.line, cause.kind


def _cause(outcome: Outcome, deadline: float, filename: str):
    problems = {p.kind: p for p in outcome.problems if p.wrong}
    for kind in _FIRST:
        if kind in problems:
            return Cause(kind, problems[kind].text, problems[kind].line)
    applied = _applied(outcome)
    kinds = None
    if "uninitialised" in problems:
        applied = Cause("uninitialised", problems["uninitialised"].text)
        kinds = _UNFINISHED
    elif applied is not None and applied.kind in ("state_returned", "mask", "zero",
                                                  "dout_ignored", "returned_order"):
        kinds = {applied.kind}
    if time.monotonic() < deadline and outcome.wrong_gradients:
        edit = find_repair(outcome, deadline, kinds)
        if edit is not None:
            same_file = edit.function.filename == filename
            return Cause(edit.kind, edit.text, edit.line if same_file else None)
    return applied or next((Cause(p.kind, p.text) for p in problems.values()), None)


def _applied(outcome: Outcome):
    """The mistake that, applied to the right gradients, gives all of the wrong ones."""
    found = [_one(g.name, outcome.got.get(g.name), outcome.wanted[g.name], outcome)
             for g in outcome.wrong_gradients]
    names = ", ".join(f"d{g.name}" for g in outcome.wrong_gradients)
    if found and None not in found and len({c.kind for c in found}) == 1:
        return Cause(found[0].kind, found[0].text.replace("{}", names))
    if found and None not in found:  # several mistakes at once
        texts = [c.text.replace("{}", f"d{g.name}")
                 for c, g in zip(found, outcome.wrong_gradients, strict=True)]
        return Cause(found[0].kind, "; ".join(texts))
    rule = _with_wrong_rules(outcome)
    if rule is not None:
        return rule
    if _without_dout(outcome):  # a constant one, or several of them
        return Cause("dout_ignored", f"the gradient handed to backward is ignored: {names} is what"
                     " it would be if that were 1")
    return None


# A derivative with a mistake: kind, words, function, and its rule (see rules.py).
_WRONG_RULES: list[tuple[str, str, Any, Any]] = [
    ("missing_derivative", "the derivative of tanh is missing", np.tanh, lambda g, _y, _x: g),
    ("input_not_output", "the derivative of tanh is taken of its input where its output belongs",
     np.tanh, lambda g, _y, x: g * (1 - x * x)),
    ("wrong_derivative", "the derivative of tanh is wrong: that of the sigmoid", np.tanh,
     lambda g, y, _x: g * y * (1 - y)),
    ("wrong_derivative", "the derivative of tanh is wrong: y is not squared", np.tanh,
     lambda g, y, _x: g * (1 - y)),
    ("sign", "wrong sign in the derivative of tanh: 1 + y**2", np.tanh,
     lambda g, y, _x: g * (1 + y * y)),
    ("missing_derivative", "the derivative of the maximum (relu) is missing", np.maximum,
     lambda g, _y, _a, _b: g),
]  # fmt: skip


def _with_wrong_rules(outcome: Outcome):
    """Differentiate the forward with a mistake in one derivative: does it give what is wrong?"""
    wrong = [g.name for g in outcome.wrong_gradients]
    if any(not isinstance(outcome.got.get(n), np.ndarray) for n in wrong):
        return None
    for kind, text, fn, vjp in _WRONG_RULES:
        right = RULES[fn]
        RULES[fn] = Primitive(fn, (vjp,) * len(right.vjps))
        try:
            mistaken = replace(outcome, problems=[], truth=truth(outcome.setup, outcome.cotangents))
        except CannotRun:
            return None
        finally:
            RULES[fn] = right
        made = {name: g for name, _, g in pairs(mistaken, outcome.observation)}
        if all(_close(outcome.got[n], made[n]) for n in wrong) and wrong:
            return Cause(kind, text)
    return None


def _without_dout(outcome: Outcome):
    """Whether what is wrong is right for a cotangent of ones."""
    ones = [np.ones_like(g) for g in outcome.cotangents]
    try:
        as_ones = replace(outcome, truth=truth(outcome.setup, ones))
        wanted = {name: right for name, _, right in pairs(as_ones, outcome.observation)}
    except CannotRun:
        return False
    wrong = [g.name for g in outcome.wrong_gradients]
    return bool(wrong) and all(
        isinstance(outcome.got[n], np.ndarray) and n in wanted and _close(outcome.got[n], wanted[n])
        for n in wrong)


def _close(a, b):
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-10)


def _one(name, got, wanted, outcome: Outcome):
    if not isinstance(got, np.ndarray):
        return None
    for other, right in outcome.wanted.items():
        if other != name and np.any(right) and _close(got, right):
            if name in outcome.input_names:
                return Cause("returned_order", "{} are returned in each other's place")
            return Cause("slot", f"{{}} holds the gradient of another parameter, d{other}")
    states = [x for x in outcome.setup.inputs if isinstance(x, np.ndarray)]
    for y in outcome.observation.outputs + states:
        if isinstance(y, np.ndarray) and y.ndim and got.ndim and _close(got, y):
            return Cause("state_returned", "{}: a state (what forward took or gave) is returned"
                         " where a gradient belongs")
    if got.shape != wanted.shape:
        if got.shape == wanted.shape[::-1] and _close(got.T, wanted):
            return Cause("transposed", "{} is transposed")
        if any(np.shape(s) == got.shape for s in outcome.observation.outputs + states):
            return Cause("state_returned", f"{{}}: shape {got.shape}, that of a state, where"
                         f" {wanted.shape} belongs")
        return Cause("shape", f"{{}}: shape {got.shape} where {wanted.shape} belongs")
    rows = _ignored(outcome, wanted)
    if rows is not None and _close(got[~rows], wanted[~rows]):
        return Cause("mask", "labels that are to be ignored are not masked: their rows of {} are"
                     " not zero")
    if not np.any(got):
        return Cause("zero", "{} is left at zero")
    if _close(got, -wanted):
        return Cause("sign", "wrong sign of {}")
    ratio = common_ratio(outcome, [name])
    if ratio is not None:
        return Cause("scaling", "{}: scaling is forgotten or wrong, "
                     f"{ratio_in_words(1 / ratio, outcome)} times what it should be")
    if got.ndim == 2 and got.shape[0] == got.shape[1] and _close(got.T, wanted):
        return Cause("transposed", "{} is transposed")
    return _blocks(got, wanted)


def _ignored(outcome: Outcome, wanted):
    """Which rows of a gradient belong to labels that are ignored, or None."""
    label = getattr(outcome.setup.layer, "ignore_label", None)
    for x in outcome.setup.inputs:
        if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and (
                x.shape == wanted.shape[: x.ndim]) and (x == label).any():
            return x == label
    return None


def _blocks(got, wanted):
    """The blocks of the gates in each other's place."""
    n = got.shape[-1]
    for k in (4, 3):
        if n % k == 0 and n > k:
            mine, theirs = np.split(got, k, -1), np.split(wanted, k, -1)
            order = [next((j for j in range(k) if _close(a, theirs[j])), None) for a in mine]
            if None not in order and order != list(range(k)):
                return Cause("wrong_gate", "{}: the gates stand in each other's place, blocks in"
                             f" the order {order}")
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
    wrong = [g.name for g in outcome.wrong_gradients]
    slots = [i for i, n in enumerate(setup.slots.names) if n in wrong]
    watch = _Watch(filename, cause.kind, setup, slots)
    with contextlib.suppress(CannotRun):
        watch.run(outcome)
    return watch.line


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

    def __init__(self, filename: str, kind, setup: Setup, slots):
        self.filename, self.kind, self.setup, self.slots = filename, kind, setup, slots
        self.line = None
        self.held = None
        self.layer = None
        self.where = None
        self.in_backward = False
        self.return_line = None

    def state(self, frame):
        """What is watched, as bytes or identities."""
        layer, setup = self.layer, self.setup
        if layer is None:
            return None
        with contextlib.suppress(Exception):
            if self.kind == "into_parameter":
                return [p.tobytes() for p in setup.slots.params(layer)]
            grads = setup.slots.grads(layer)
            if self.kind == "replaced":
                return [id(g) for g in grads]
            if self.kind in ("input_edited", "cache"):
                return [a.tobytes() for a in self.watched]
            if self.slots:
                return [grads[i].tobytes() for i in self.slots]
        return None

    def trace(self, frame, event, _):
        code = frame.f_code
        if code.co_filename != self.filename:
            return None
        if self.layer is None and code.co_name in ("forward", "backward"):
            owner = frame.f_locals.get("self")
            if type(owner) is type(self.setup.layer):
                self.layer = owner
                self.watched = [a for a in frame.f_locals.values() if isinstance(a, np.ndarray)]
                self.held = self.state(frame)
        if (self.kind == "cache" and code.co_name == "backward" and not self.in_backward
                and frame.f_locals.get("self") is self.layer):
            grads = {id(g) for g in self.setup.slots.grads(self.layer)}
            self.in_backward = True
            self.watched = [a for a in arrays_of(self.layer) if id(a) not in grads
                            and not any(np.may_share_memory(a, g)
                                        for g in self.setup.slots.grads(self.layer))]
            self.held = self.state(frame)
        if event == "call":
            if self.kind == "input_edited" and code.co_name == "backward" and (
                    frame.f_locals.get("self") is self.layer):
                self.watched = [a for k, a in frame.f_locals.items() if isinstance(a, np.ndarray)]
                self.held = self.state(frame)
            return self.trace
        if event == "return" and code.co_name == "backward":
            self.return_line = frame.f_lineno
        now = self.state(frame)
        if now is not None and self.held is not None and now != self.held and self.where:
            self.line = self.where
        if now is not None:
            self.held = now
        self.where = frame.f_lineno
        return self.trace

    def run(self, outcome: Outcome):
        earlier = sys.gettrace()
        sys.settrace(self.trace)
        try:
            observe(self.setup, np.random.default_rng(outcome.seed + 1), light=True)
        finally:
            sys.settrace(earlier)
        if self.line is None:
            self.line = self.return_line
