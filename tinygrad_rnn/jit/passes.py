"""Passes over a tape: each takes one and gives a better one, and knows nothing of the others."""

from __future__ import annotations

import numpy as np

from .tape import Call, Tape, Value, replace, values_in

__all__ = ["compute_constants", "drop_unused", "share"]


def drop_unused(tape: Tape) -> Tape:
    """Leave out calls whose values nobody reads; draws and checks stay."""
    needed = set(values_in(tape.results))
    kept: list[Call] = []
    for call in reversed(tape.calls):
        if call.effect or call.out in needed:
            kept.append(call)
            needed.update(call.inputs())
    constants = {v: a for v, a in tape.constants.items() if v in needed}
    return Tape(kept[::-1], tape.inputs, constants, tape.results)


def compute_constants(tape: Tape) -> Tape:
    """Calls that depend on no input are done once, here."""
    known = dict(tape.constants)
    calls = []
    for call in tape.calls:
        if call.effect or not all(v in known for v in call.inputs()):
            calls.append(call)
            continue
        args, kwargs = replace((call.args, call.kwargs), known.__getitem__)
        known[call.out] = call.fn(*args, **kwargs)
    return Tape(calls, tape.inputs, known, tape.results)


def share(tape: Tape) -> Tape:
    """The same call of the same values is done once."""
    seen: dict = {}
    same: dict[Value, Value] = {}
    calls = []
    for call in tape.calls:
        args, kwargs = replace((call.args, call.kwargs), lambda v: same.get(v, v))
        call = Call(call.fn, args, kwargs, call.out, call.effect, call.view, call.line)
        key = None if call.effect else _key((call.fn, args, kwargs))
        if key is not None and key in seen:
            same[call.out] = seen[key]
            continue
        if key is not None:
            seen[key] = call.out
        calls.append(call)
    results = [same.get(v, v) for v in tape.results]
    return Tape(calls, tape.inputs, tape.constants, results)


def _key(x):
    """The argument as something hashable; None where it cannot be compared."""
    if isinstance(x, (tuple, list)):
        parts = [_key(item) for item in x]
        return None if any(p is None for p in parts) else (type(x), *parts)
    if isinstance(x, dict):
        return _key(tuple(x.items()))
    if isinstance(x, slice):
        return _key((slice, x.start, x.stop, x.step))
    if isinstance(x, np.ndarray):
        return None
    try:
        hash(x)
    except TypeError:
        return None
    return type(x), repr(x) if type(x) is float else x  # 0.0 is not -0.0
