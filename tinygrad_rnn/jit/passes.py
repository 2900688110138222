"""Passes over a tape: each takes one and gives a better one, and knows nothing of the others."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from typing import Any

import numpy as np

from ..functional import _nll, _nll_slope
from .blocks import softmax_nll, softmax_slope
from .memory import elementwise
from .tape import Call, Tape, Value, chosen, replace, values_in

EACH_BY_ITSELF = {np.where, np.concatenate, np.stack, np.reshape, np.copy, operator.getitem}

__all__ = ["bias_in_softmax", "compute_constants", "drop_unused", "keep_softmax", "longer_stack",
           "one_join", "share", "slope_in_softmax", "sooner"]  # fmt: skip


def drop_unused(tape: Tape) -> Tape:
    """Leave out calls whose values nobody reads; draws and checks stay."""
    needed = set(values_in(tape.results))
    kept: list[Call] = []
    for call in reversed(tape.calls):
        if call.effect or not needed.isdisjoint(call.outs):
            kept.append(call)
            needed.update(call.inputs())
    constants = {v: a for v, a in tape.constants.items() if v in needed}
    return Tape(kept[::-1], tape.inputs, constants, tape.results)


def compute_constants(tape: Tape) -> Tape:
    """Calls that depend on no input are done once, here, but for what hangs on how many elements
    there are (resized.py)."""
    known = dict(tape.constants)
    calls = []
    for call in tape.calls:
        if call.effect or not all(v in known for v in call.inputs()) or not (
                call.view or elementwise(call) or call.fn in EACH_BY_ITSELF
                or all(math.prod(v.shape) < 2 for v in call.inputs())):
            calls.append(call)
            continue
        args, kwargs = replace((call.args, call.kwargs), known.__getitem__)
        known[call.out] = call.fn(*args, **kwargs)
    return Tape(calls, tape.inputs, known, tape.results)


def one_join(tape: Tape) -> Tape:
    """Rows of equal blocks one below the other are a stack of these blocks, looked at as rows:
    what is both (the gradients of the gates at all times) is then one array."""
    calls = []
    for call in tape.calls:
        pieces: Any = call.args[0] if call.fn is np.concatenate else ()
        if (isinstance(pieces, (list, tuple)) and len(pieces) > 1
                and call.args[1:] in ((), (0,)) and not call.kwargs
                and all(isinstance(p, Value) and p.order is None for p in pieces)
                and len({(p.shape, p.dtype) for p in pieces}) == 1 and pieces[0].shape[1:]):
            stack = Value((len(pieces), *pieces[0].shape), call.out.dtype)
            calls.append(Call(np.stack, (pieces, 0), {}, stack, line=call.line))
            calls.append(Call(np.reshape, (stack, call.out.shape), {}, call.out, view=True,
                              line=call.line))
        else:
            calls.append(call)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def longer_stack(tape: Tape) -> Tape:
    """The states before and after each time step, stacked, are views of one longer stack: the
    loops of an LSTM are then alike for every number of steps (roll.py)."""
    known = {*tape.inputs, *tape.constants}
    later = [call for call in tape.calls if _stacks_rows(call)]
    views: dict[Value, Call] = {}
    calls = []
    for call in tape.calls:
        if call.out in views:
            call = views[call.out]
        elif call in later:
            later.remove(call)
            after = call.args[0]
            for other in later:
                before = other.args[0]
                if [*before[1:]] == [*after[:-1]] and before[0] in known and (
                        call.out.dtype == other.out.dtype):
                    whole = Value((len(after) + 1, *call.out.shape[1:]), call.out.dtype)
                    calls.append(Call(np.stack, ([before[0], *after], 0), {}, whole,
                                      line=call.line))
                    for at, part in ((slice(1, None), call), (slice(len(after)), other)):
                        views[part.out] = Call(operator.getitem, (whole, at), {}, part.out,
                                               view=True, line=part.line)
                    later.remove(other)
                    call = views[call.out]
                    break
        calls.append(call)
        known.update(call.outs)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _stacks_rows(call):
    return (call.fn is np.stack and call.args[1:] in ((), (0,)) and not call.kwargs
            and call.out.order is None and not isinstance(call.args[0], Value)
            and all(isinstance(v, Value) for v in call.args[0]))


def share(tape: Tape) -> Tape:
    """The same call of the same values is done once; a reshape to the same shape not at all,
    unless with another number of rows it might be to another one."""
    seen: dict = {}
    same: dict[Value, Value] = {}
    calls = []
    for call in tape.calls:
        call = call.of(same)
        if (call.fn is np.reshape and call.view and call.args[0].shape == call.out.shape
                and not _open(*call.args[1:], **call.kwargs)):
            same[call.out] = call.args[0]
            continue
        if not (call.effect or call.more):
            call.key = call.key or _key((call.fn, call.args, call.kwargs))
            if call.key in seen:
                same[call.out] = seen[call.key]
                continue
            if call.key is not None:
                seen[call.key] = call.out
        calls.append(call)
    results = [same.get(v, v) for v in tape.results]
    return Tape(calls, tape.inputs, tape.constants, results)


def _open(shape, *_, **__):
    """Whether it is another shape for another number of elements."""
    return isinstance(shape, (tuple, list)) and len(shape) > 1 and -1 in shape


def keep_softmax(tape: Tape) -> Tape:
    """Cross-entropy that is differentiated computes its softmax once, in the forward pass."""
    slopes = {call.args[:2] for call in tape.calls if call.fn is _nll_slope}
    calls: list[Call] = []
    softmax: dict[tuple, Value] = {}
    for call in tape.calls:
        key = call.args[:2]
        if call.fn is _nll and key in slopes and key not in softmax:
            p = softmax[key] = Value(key[0].shape, key[0].dtype)
            calls.append(Call(softmax_nll, (key[0], None, key[1], None), {}, p, line=call.line,
                              more=(call.out,)))
        elif call.fn is _nll_slope and key in softmax:
            args = softmax[key], key[1], call.args[3]
            calls.append(Call(softmax_slope, args, {}, call.out, line=call.line))
        else:
            calls.append(call)
    return drop_unused(Tape(calls, tape.inputs, tape.constants, tape.results))


def slope_in_softmax(tape: Tape) -> Tape:
    """Where the cotangent of a cross-entropy does not hang on its value, as with a mean over the
    targets, the forward pass leaves the gradient in the place of the softmax."""
    users = tape.users()
    for call in [call for call in tape.calls if call.fn is softmax_nll]:
        p, (y,) = call.out, call.more
        if len(users.get(p, ())) != 1 or p in tape.results or call.args[3] is not None:
            continue
        (slope,) = users[p]
        calls = tape.calls
        first, last = calls.index(call), calls.index(slope)
        scale = slope.args[2]
        needed, before = {scale}, []
        for other in reversed(calls[first + 1 : last]):
            if not needed.isdisjoint(other.outs):
                before.append(other)
                needed.update(other.inputs())
        if needed.isdisjoint(call.outs) and not any(other.effect for other in before):
            merged = Call(softmax_nll, (*call.args[:3], scale), {}, slope.out, line=call.line,
                          more=(y,))
            moved = {*map(id, before), id(slope)}
            rest = [other for other in calls[first + 1 :] if id(other) not in moved]
            calls = [*calls[:first], *before[::-1], merged, *rest]
            tape = Tape(calls, tape.inputs, tape.constants, tape.results)
    return tape


def bias_in_softmax(tape: Tape) -> Tape:
    """A bias of logits that nobody else reads is added where they are in the cache anyway."""
    made, users = {call.out: call for call in tape.calls}, tape.users()
    calls = []
    for call in tape.calls:
        if call.fn is softmax_nll and call.args[1] is None:
            x, _, targets, scale = call.args
            rows = made.get(x)
            total = made.get(rows.args[0]) if rows and rows.fn is np.reshape else rows
            if rows and total and total.fn is np.add and _is_bias(total.args, x) and all(
                    len(users[v]) == 1 and v not in tape.results for v in (x, total.out)):
                y, bias = total.args
                if rows is not total:
                    x = Value(x.shape, x.dtype)
                    calls.append(Call(np.reshape, (y, x.shape), {}, x, view=rows.view))
                    y = x
                call = Call(call.fn, (y, bias, targets, scale), {}, call.out, line=call.line,
                            more=call.more)
        calls.append(call)
    return drop_unused(Tape(calls, tape.inputs, tape.constants, tape.results))


def sooner(tape: Tape, times: float = 1, few: int = 0) -> Tape:
    """What reads a value for the last times is done as soon as it can be, where it makes less than
    half of what it sets free: gradients of weights, which the engine leaves for the end. ``times``:
    how many times as many steps there are where the tape is used, in ``few`` places of which, if it
    says so, there is one of these axes."""
    when: dict[Call, int] = {}
    made: dict[Value, int] = {}  # when
    root: dict[Value, Value] = {}
    readers: dict[Value, list[Call]] = {}

    def ready(call):
        return max((made[v] for v in call.inputs() if v in made), default=-1)

    def large(value):
        return value.nbytes * (times if few and any(n % few == 0 for n in value.shape or ()) else 1)

    for i, call in enumerate(tape.calls):
        read = [root.get(v, v) for v in call.inputs()]
        when[call] = ready(call) if call.view else i  # views are no work
        for out in call.outs:
            made[out] = when[call]
            root[out] = read[0] if call.view else out
        if not call.view:
            for value in dict.fromkeys(read):
                readers.setdefault(value, []).append(call)
    # nothing is done before a check, or a draw, that it came after
    checks = [i for i, call in enumerate(tape.calls) if call.effect]
    for call in tape.calls:
        for value in call.outs:
            reading = readers.get(value)
            if not reading:
                continue
            soon = max(map(ready, reading))
            late = [other for other in reading if when[other] > soon]
            size = sum(large(out) for other in late for out in other.outs)
            over = bisect_left(checks, max((when[other] + 1 for other in late), default=0))
            free = large(value) if few else times * value.nbytes
            if chosen(2 * size < free) and over == bisect_left(checks, soon):
                for other in late:
                    when[other] = soon
                    made.update(dict.fromkeys(other.outs, soon))
    for call in tape.calls:
        if call.view:
            when[call] = made[call.out] = ready(call)
    calls = sorted(tape.calls, key=when.__getitem__)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _is_bias(args, x):
    """Whether y + b, the sum of these two, is x (n, V), perhaps in other rows, for one row b."""
    y, b = args
    plain = all(isinstance(v, Value) and v.order is None and v.dtype == x.dtype for v in args)
    return plain and b.shape == x.shape[1:] and y.nbytes == x.nbytes


def _key(x):
    """The argument as something hashable; None where it cannot be compared."""
    if isinstance(x, (tuple, list)):
        parts = [item if type(item) is Value else _key(item) for item in x]
        return None if None in parts else (type(x), *parts)
    if isinstance(x, dict):
        return _key(tuple(x.items())) if x else ()
    if isinstance(x, slice):
        return _key((slice, x.start, x.stop, x.step))
    try:
        hash(x)
    except TypeError:
        return None
    return type(x), repr(x) if type(x) is float else x  # 0.0 is not -0.0
