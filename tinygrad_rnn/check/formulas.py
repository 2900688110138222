"""The formulas of the known layers, with the conventions in which they are written, so that a wrong
forward with a consistent backward is found too.

A layer is known by the name of its class and the shapes of its parameters. The first variant is
the book's; the others are conventions of the literature. What is none of them is wrong.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import manual
from .arguments import GATES
from .protocol import epsilon_problem
from .report import Cause
from .words import join, say

if TYPE_CHECKING:
    from .outcome import Outcome

CLOSE = 1e-8
NEARLY = 1e-4  # what an epsilon in the logarithm does


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


# --- cells: parameters, x (N, D) and states to new states ----------------------------------------


def _gates(params, x, h):
    Wx, Wh, *b = params
    return x @ Wx + h @ Wh + (b[0] if b else 0)


def _rnn(activation):
    return lambda params, x, h: (activation(_gates(params, x, h)),)


def _lstm(order):
    def cell(params, x, h, c):
        blocks = dict(zip(order, np.split(_gates(params, x, h), 4, -1), strict=True))
        c = _sigmoid(blocks["f"]) * c + _sigmoid(blocks["i"]) * np.tanh(blocks["g"])
        return _sigmoid(blocks["o"]) * np.tanh(c), c

    return cell


def _gru(order, after, old):
    def cell(params, x, h):
        Wx, Wh, *b = params
        H = Wh.shape[0]
        at = {name: slice(k * H, (k + 1) * H) for k, name in enumerate(order)}
        Ax = x @ Wx + (b[0] if b else 0)
        z, r = (_sigmoid(Ax[:, at[k]] + h @ Wh[:, at[k]]) for k in "zr")
        if after:
            new = np.tanh(Ax[:, at["h"]] + r * (h @ Wh[:, at["h"]]))
        else:
            new = np.tanh(Ax[:, at["h"]] + (r * h) @ Wh[:, at["h"]])
        return (z * h + (1 - z) * new if old else (1 - z) * h + z * new,)

    return cell


def _cells(kind):
    """The variants of a cell: (what is different from the book, order of its gates, function)."""
    if kind == "rnn":
        yield "", "", _rnn(np.tanh)
        yield say("relu in place of tanh"), "", _rnn(lambda a: np.maximum(a, 0))
        yield say("the sigmoid in place of tanh"), "", _rnn(_sigmoid)
    elif kind == "lstm":
        for order in itertools.permutations("fgio"):
            text = "" if order == tuple("fgio") else _in_order(order, "f, g, i, o")
            yield text, "".join(order), _lstm(order)
    else:
        for order, after, old in itertools.product(itertools.permutations("zrh"), (False, True),
                                                   (False, True)):
            texts = []
            if order != tuple("zrh"):
                texts.append(_in_order(order, "z, r, h"))
            if after:
                texts.append(say("the reset gate is applied after the product with Wh, as in cuDNN"
                                 " and PyTorch (the book: before)"))
            if old:
                texts.append(say("z weighs the old state, as in cuDNN, PyTorch and Keras (the book:"
                                 " the new one)"))
            yield join(texts), "".join(order), _gru(order, after, old)


def _in_order(order, book):
    return say("the gates stand in the order {order} (the book: {book})", order=", ".join(order),
               book=book)


def _cell_outputs(cell, params, inputs):
    return cell(params, *inputs)


def _over_time(cell, params, inputs, reverse=False):
    (xs,) = inputs
    N, T, _ = xs.shape
    H = params[1].shape[0]
    arity = cell.__code__.co_argcount - 2
    states = [np.zeros((N, H))] * arity
    hs: list[Any] = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        states = cell(params, xs[:, t], *states)
        hs[t] = states[0]
    return (np.stack(hs, 1),)


def _both_ways(cell, params, inputs):
    n = len(params) // 2
    first = _over_time(cell, params[:n], inputs)[0]
    second = _over_time(cell, params[n:], inputs, reverse=True)[0]
    return (np.concatenate([first, second], 2),)


def _fits_cell(kind, params):
    times = len(GATES[kind]) or 1
    if len(params) not in (2, 3) or any(p.ndim != 2 for p in params[:2]):
        return False
    H = params[1].shape[0]
    shapes = (params[0].shape[0], times * H), (H, times * H), (times * H,)
    return all(p.shape == s for p, s in zip(params, shapes, strict=False))


# --- the others ----------------------------------------------------------------------------------

_BOOK: dict[str, Any] = {name.lower(): getattr(manual, name) for name in manual.__all__}
_ALONE: dict[str, Any] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


def _one(kind, params, inputs):
    """What the book's layer of that kind gives."""
    if kind in _ALONE:
        return _ALONE[kind](*inputs)
    if "softmaxwithloss" in kind and (np.asarray(inputs[1]) < 0).any():
        raise ValueError("labels to be ignored: how they count is another convention")
    over_time = "loss" in kind and np.ndim(inputs[0]) == 3 and not kind.startswith("time")
    return _BOOK["time" * over_time + kind](*params).forward(*inputs)


def _variants(kind, params, inputs):
    """Yield (difference from the book in words, order of the gates, outputs); nothing if the layer
    is not known."""
    match = re.fullmatch(r"(time|timebi|bi)?(rnn|lstm|gru)(cell)?", kind)
    if not match:
        if kind in _ALONE or (kind in _BOOK and "dropout" not in kind):
            yield "", "", (_one(kind, params, inputs),)
        if kind in ("softmax", "softmaxwithloss", "sigmoidwithloss"):
            turned = np.transpose(_one(kind, params, [*map(np.transpose, inputs)]))
            yield say("samples stand in columns"), "", (turned,)
        if kind == "softmax":
            whole = _one(kind, params, [np.reshape(inputs[0], (1, -1))])
            yield say("a softmax over all elements: of one sample alone"), "", (
                np.reshape(whole, np.shape(inputs[0])),)
        return
    where, cell_kind, _ = match.groups()
    both = where in ("timebi", "bi")
    if both and len(params) % 2:
        return
    halves = [params[: len(params) // 2], params[len(params) // 2:]] if both else [params]
    if not all(_fits_cell(cell_kind, half) for half in halves):
        return
    run = _both_ways if both else _over_time if where else _cell_outputs
    for text, order, cell in _cells(cell_kind):
        yield text, order, run(cell, params, inputs)


def kind_of(name):
    """The name of a class, as the formulas know it: MyTimeLSTM2 is timelstm."""
    low = re.sub(r"[_\d]", "", name.lower())
    return re.sub(r"^(my|simple|custom|new|numpy|np|hand)|(layer|np|fixed|mine)$", "", low)


def compare_forward(name, outcome: Outcome):
    """Compare the outputs of a layer with the formula of its name; returns Causes: a convention,
    or a wrong forward; none if they agree or the layer is not known."""
    setup = outcome.setup
    params = setup.slots.params(setup.layer)
    outputs = [np.asarray(y) for y in outcome.truth.outputs]
    kind = kind_of(name)
    line = None
    nearly = None
    known = False
    try:
        with np.errstate(all="ignore"):
            for text, _, wanted in _variants(kind, params, setup.inputs):
                wanted = [np.asarray(y) for y in wanted]
                shapes = [y.shape for y in wanted]
                if [y.shape for y in outputs] != shapes:
                    return []  # another function of the same name
                known = True
                distance = _distance(outputs, wanted)
                if distance < CLOSE:
                    return [Cause("convention", text, line, wrong=False)] if text else []
                if distance < NEARLY and not text:
                    nearly = epsilon_problem()
                if "loss" in kind:
                    ratio = float(outputs[0] / wanted[0])
                    n = max(round(ratio), round(1 / ratio))
                    words = say("the loss is {n} times the mean over batch and time", n=n)
                    if ratio < 1:
                        words = say("the loss is 1/{n} of the mean over batch and time", n=n)
                    if n > 1 and abs(max(ratio, 1 / ratio) - n) < NEARLY * n:
                        nearly = Cause("convention", words, wrong=False)
                if len(wanted) == 2 and _distance(outputs[::-1], wanted) < CLOSE and not text:
                    return [Cause("convention", say("c is returned before h"), line, wrong=False)]
    except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
        return []
    if nearly:
        return [nearly]
    if known:
        return [Cause("forward", say(
            "backward belongs to forward, but forward is not the formula of {name}: {guess}",
            name=name, guess=_guess(kind, params, setup.inputs, outputs)), line)]
    return []


def of_formula(name, outcome: Outcome) -> list[Any] | None:
    """What the formula of this name gives, where backward, as far as two directions show, is its
    derivative, whatever forward is; else None."""
    setup, rng, got = outcome.setup, np.random.default_rng(3), outcome.got
    params = setup.slots.params(setup.layer)
    arrays = [*zip(setup.slots.names, params, strict=True),
              *zip(setup.names, setup.inputs, strict=False)]

    def outputs(h) -> list[Any]:
        moved = [x + h * along[n] if n in along else x for n, x in arrays]
        return next([*ys] for text, _, ys in _variants(
            kind_of(name), moved[: len(params)], moved[len(params):]) if not text)

    def value(h):
        return sum(float(np.sum(y * g)) for y, g in zip(outputs(h), outcome.cotangents,
                                                        strict=True))

    if any(np.shape(g) != outcome.wanted[n].shape for n, g in got.items()):
        return None
    along: dict[str, np.ndarray] = {}
    with contextlib.suppress(ValueError, IndexError, TypeError, StopIteration), np.errstate(
            all="ignore"):
        for _ in range(2):
            along = {n: rng.normal(size=x.shape) for n, x in arrays
                     if isinstance(g := got.get(n), np.ndarray) and np.shape(x) == g.shape}
            terms = [along[n] * got[n] for n in along]
            slope, size = sum(map(np.sum, terms)), sum(np.abs(t).sum() for t in terms)
            if not along or abs((value(1e-5) - value(-1e-5)) / 2e-5 - slope) > 1e-6 * size:
                return None
        return outputs(0.0)
    return None


def order_of_gates(params, inputs, outputs) -> str:
    """The gates in the order of their blocks, told by what forward gives ("fgio", "zrh", ...), ""
    where it is no formula that is known."""
    outputs = [np.asarray(y) for y in outputs]
    for cell in ("lstm", "gru"):
        for where, count in (("time", 1), ("", len(inputs)), ("timebi", 1)):
            if len(inputs) != count:
                continue
            try:
                with np.errstate(all="ignore"):
                    for _, order, wanted in _variants(where + cell, params, inputs):
                        if len(wanted) in (1, len(outputs)) and all(
                                y.shape == w.shape for y, w in zip(outputs, wanted, strict=False)
                        ) and _distance(outputs[: len(wanted)], list(wanted)) < CLOSE:
                            return str(order)
            except (ValueError, IndexError, TypeError):
                continue
    return ""


def _distance(outputs, wanted):
    return max(float(np.abs(a - b).max(initial=0)) / max(1e-3, float(np.abs(b).max(initial=0)))
               for a, b in zip(outputs, wanted, strict=True))


def _guess(kind, params, inputs, outputs):
    """Words for a wrong forward: which parameter, if it were left out, would explain it."""
    names = [say("the input's weight"), say("the state's weight"), say("the bias")] if len(
        params) == 3 else [say("the weight"), say("the bias")]
    for i, p in enumerate(params):
        without = [np.zeros_like(p) if j == i else q for j, q in enumerate(params)]
        for _, _, wanted in _variants(kind, without, inputs):
            if _distance(outputs, [np.asarray(y) for y in wanted]) < CLOSE:
                return say("{what} is left out", what=names[i] if i < len(names) else say(
                    "a parameter"))
    _, _, wanted = next(_variants(kind, params, inputs))
    largest = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(
        outputs, wanted, strict=True))
    return say("the largest difference is {size}", size=f"{largest:.2g}")
