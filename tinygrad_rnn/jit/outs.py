"""Calls of a tape as CuPy does them into memory that is given to it.

NumPy's ufuncs take ``out=``, and so do CuPy's. For much of the rest there is a call that does:
``np.copyto`` where one of two is chosen, or something copied; ``np.take`` for rows that are looked
up. What still allocates at each replay is left as it is: ``np.einsum``, for one, has no ``out=``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np

from ..functional import (
    _log_softmax,
    _logsumexp,
    _nll,
    _nll_slope,
    _row_totals,
    _softmax,
    nll_slope_rows,
)
from .recording import Recorder, added, overwritten, picked, writes
from .tape import Call, Tape, Value, replace

__all__ = ["lists_as_arrays", "opened", "written"]


# ---- functions of ours, call by call ----


def _totals(x: Any) -> Any:
    top = np.max(x, axis=1, keepdims=True)
    return np.concatenate((top, np.sum(np.exp(x - top), axis=1, keepdims=True)), axis=1)


def _slope(x: Any, targets: Any, totals: Any, scale: Any) -> Any:
    y = np.empty_like(x)
    nll_slope_rows(x, targets, totals, scale, y)
    return y


INDEXING = {operator.getitem, picked, overwritten, added}
BODIES = {_softmax: None, _log_softmax: None, _logsumexp: None, _nll: None, _row_totals: _totals,
          _nll_slope: _slope}  # fmt: skip


def opened(tape: Tape) -> Tape:
    """Softmax and its kin as the NumPy calls that they are made of, which are planned and fused
    like others."""
    calls: list[Call] = []
    constants = dict(tape.constants)
    for call in tape.calls:
        if call.fn in BODIES:
            inside = _recorded(BODIES[call.fn] or call.fn.__wrapped__, call)
            calls += inside.calls
            constants |= inside.constants
        else:
            calls.append(call)
    return Tape(calls, tape.inputs, constants, tape.results)


def _recorded(body: Callable, call: Call) -> Tape:
    """The calls that ``body`` makes in the place of this one."""
    with np.errstate(all="ignore"):  # what stands here in the place of values is 0
        recorder = Recorder()
        made = body(*(recorder.input(np.zeros(x.shape, x.dtype)) for x in call.args),
                    **call.kwargs)
    known = dict(zip(recorder.tape.inputs, call.args, strict=True)) | {made._symbol(): call.out}
    calls = []
    for one in recorder.tape.calls:
        args, kwargs = replace((one.args, one.kwargs), lambda v: known.get(v, v))
        out = known.get(one.out, one.out)
        calls.append(Call(one.fn, args, kwargs, out, one.effect, one.view, call.line))
    return Tape(calls, constants=recorder.tape.constants)


def lists_as_arrays(tape: Tape) -> Tape:
    """Indices that are lists are constants: CuPy would send them over at each call."""
    constants = dict(tape.constants)

    def array(at: Any) -> Any:
        if not (isinstance(at, list) and at and all(type(i) is int for i in at)):
            return at
        value = Value((len(at),), np.dtype(np.intp))
        constants[value] = np.array(at, np.intp)
        return value

    calls = []
    for call in tape.calls:
        if call.fn in INDEXING:
            x, index, *rest = call.args
            index = tuple(map(array, index)) if isinstance(index, tuple) else array(index)
            call = Call(call.fn, (x, index, *rest), call.kwargs, call.out, call.effect, call.view,
                        call.line)
        calls.append(call)
    return Tape(calls, tape.inputs, constants, tape.results)


# ---- calls that write ----


@cache
def with_out(fn: Callable) -> Callable:
    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return writes(call)


@cache
def reduction(fn: Callable) -> Callable:
    """A function in the place of ``reduce`` of a ufunc, of which CuPy has but two."""
    @wraps(fn)
    def reduce(x: Any, axis: Any = 0, **kwargs: Any) -> Any:
        return fn(x, axis=axis, **kwargs)

    return writes(reduce)


@writes
def chosen(condition: Any, a: Any, b: Any, out: Any = None) -> Any:
    """np.where."""
    if out is None:
        return np.where(condition, a, b)
    np.copyto(out, b)
    np.copyto(out, a, where=condition)
    return out


@writes
def copied(x: Any, dtype: Any = None, out: Any = None) -> Any:
    """np.copy and np.astype."""
    if out is None:
        return np.copy(x) if dtype is None else np.astype(x, dtype)
    np.copyto(out, x, casting="unsafe")
    return out


@writes
def part(x: Any, index: Any, out: Any = None) -> Any:
    """A part that an index of numbers and slices names."""
    return copied(x[index], out=out)


# reductions that CuPy has as functions only
REDUCTIONS = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
              np.logical_or: np.any, np.logical_and: np.all}  # fmt: skip
OUT = {np.mean, np.var, np.std, np.take, np.argmax, np.argmin}  # to both libraries


def written(tape: Tape) -> Tape:
    """The same with calls that write."""
    calls: list[Call] = []
    for call in tape.calls:
        calls += _writing(call)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _writing(call: Call) -> list[Call]:
    fn, args, out = call.fn, call.args, call.out
    array = bool(args) and isinstance(args[0], Value) and args[0].dtype is not None
    if call.view or out.dtype is None or not array:
        return [call]

    def instead(fn: Callable, *args: Any, out: Value = out, **kwargs: Any) -> Call:
        return Call(fn, args, kwargs, out, line=call.line)

    ufunc = getattr(fn, "__self__", None)
    if isinstance(ufunc, np.ufunc) and fn.__name__ == "reduce" and ufunc in REDUCTIONS:
        return [instead(reduction(REDUCTIONS[ufunc]), *args, **call.kwargs)]
    if fn in OUT:
        return [instead(with_out(fn), *args, **call.kwargs)]
    if fn is np.where and args[0].dtype == np.bool_:
        return [instead(chosen, *args)]
    if fn is np.copy:
        return [instead(copied, args[0])]
    if fn is np.astype:
        return [instead(copied, args[0], dtype=out.dtype)]
    if fn is np.vdot and out.dtype.kind == "f":
        product = Value(args[0].shape, out.dtype)
        if args[0].shape == args[1].shape:
            return [instead(np.multiply, *args, out=product),
                    instead(reduction(np.sum), product, axis=None)]
    if fn is np.reshape and out.order is None and len(args) == 2 and not call.kwargs:
        copy = Value(args[0].shape, out.dtype)
        return [instead(copied, args[0], out=copy), seen_as(out, copy, call)]
    if fn in (operator.getitem, picked):
        return _looked_up(call, instead)
    return [call]


def seen_as(out: Value, x: Value, call: Call) -> Call:
    return Call(np.reshape, (x, out.shape), {}, out, view=True, line=call.line)


def _looked_up(call: Call, instead: Callable) -> list[Call]:
    """A part of an array: one index of whole numbers beside whole axes, one for each axis, or
    numbers and slices."""
    x, index = call.args
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [i for i, at in enumerate(parts) if isinstance(at, Value)]
    if any(parts[i].dtype is None or parts[i].dtype.kind not in "iu" for i in arrays):
        return [call]  # a mask, or a number that changes
    if not arrays and all(at is None or isinstance(at, (int, slice, type(...))) for at in parts):
        return [instead(part, x, index)]
    if len(arrays) == 1 and all(at == slice(None) for i, at in enumerate(parts) if i not in arrays):
        return [instead(with_out(np.take), x, parts[arrays[0]], axis=arrays[0])]
    if len(arrays) != len(x.shape) or len(parts) != len(arrays) or not x.contiguous:
        return [call]
    flat = Value((int(np.prod(x.shape)),), x.dtype)
    calls, place, kind = [seen_as(flat, x, call)], None, np.dtype(np.intp)
    for at, n in zip(parts, x.shape, strict=True):  # from the end where it is below 0
        if at.dtype != kind:
            at, narrow = Value(at.shape, kind), at
            calls.append(instead(copied, narrow, dtype=kind, out=at))
        within = Value(at.shape, kind)
        calls.append(instead(np.remainder, at, n, out=within))
        if place is not None:
            row = Value(place.shape, kind)
            both = Value(np.broadcast_shapes(place.shape, at.shape), kind)
            calls += [instead(np.multiply, place, n, out=row),
                      instead(np.add, row, within, out=both)]
            within = both
        place = within
    return [*calls, instead(with_out(np.take), flat, place)]
