"""One symbol after the other: a model's step, recorded where that pays (``tg.jit``)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.jit.state import Aside
from tinygrad_rnn.tensor import host, plain

PAYS = 100  # steps of one kind until one is recorded, which costs as much as 50 to 100 of them


class Writer(Protocol):
    """What ``advance`` takes and gives: ids (R, 1) and a state, arrays in nested tuples and lists,
    with as many rows; numbers (R, V) for each next symbol, and the new state."""

    def advance(self, ids: np.ndarray, state: Any) -> tuple[Any, Any]: ...


class Steps:
    """``step(ids, state)``: a model's ``advance`` in a loop in which nothing else happens.

    After ``PAYS`` steps with arrays of the same shapes, in this loop or those before it, one is
    recorded, and from then on replayed, with the same bits.
    """

    def __init__(self, model: Writer) -> None:
        self.model, self.taken = model, _taken().setdefault(model, Counter())
        self.replays: dict[Any, Any] = {}  # of shapes: (replay, its ids, its state)
        self.last: Any = None, None, None

    def __call__(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        replay, its_ids, its_state = self.last
        if replay is None or state is not its_state or ids.shape != its_ids.shape:
            shapes = _shapes((ids, state))
            if shapes not in self.replays:
                return self._advance(shapes, ids, state)
            self.last = replay, its_ids, its_state = self.replays[shapes]
            _write(its_state, state)
        its_ids[...] = ids
        return replay(), its_state

    def _advance(self, shapes: Any, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """A step as it is, or as it is recorded, which then may be replayed."""
        if self.taken[shapes] < PAYS:
            logits, new = self.model.advance(ids, state)
            parts = list(_parts(state))
            if parts and _shapes(new) == _shapes(state) and (
                    all(isinstance(plain(part), np.ndarray) for part in parts)):
                self.taken[shapes] += 1
            return host(logits), new
        ids, state = _map(lambda x: plain(x).copy(), (ids, state))
        logits, replay = _recorded.repeatable(self.model, ids, state)
        self.taken["recorded", shapes] += 1
        if replay is not None:
            self.replays[shapes] = replay, ids, state
            self.taken["recorded", shapes] = 0
        elif self.taken["recorded", shapes] > 3:  # two proofs, and no replay then: there is none
            self.taken[shapes] = -sys.maxsize
        return logits, state


@tg.jit(fallback="eager", fast=False, cache_size=16)
def _recorded(model: Writer, ids: np.ndarray, state: Any) -> Any:
    """What comes next; the new state takes the place of the old one."""
    logits, new = model.advance(ids, state)
    _write(state, new)
    return plain(logits)


def _taken() -> Any:
    """Of models: how many steps with which shapes. They are kept where a recording does not look:
    what changes with every step would be another thing to record."""
    return _TAKEN.held


_TAKEN = Aside(WeakKeyDictionary())


def _shapes(x: Any) -> tuple[Any, ...]:
    return tuple([part.shape for part in _parts(x)])


def _parts(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        for item in x:
            yield from _parts(item)
    elif x is not None:
        yield x


def _map(f: Callable[[Any], Any], x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return type(x)([_map(f, item) for item in x])
    return None if x is None else f(x)


def _write(old: Any, new: Any) -> None:
    """Put new values into old arrays."""
    if isinstance(old, (tuple, list)):
        for a, b in zip(old, new, strict=True):
            _write(a, b)
    elif old is not new and old is not None:
        old[...] = plain(new)
