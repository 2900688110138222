"""Chains of elementwise calls on large arrays, cut into blocks of rows that stay in the cache.

NumPy goes through memory once for each call. Block by block it finds what the call before wrote
where it is fastest to read; for arrays that fit the cache anyway it is not worth the calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .blocks import signals_later
from .chains import Chain, gather, kind_of
from .tape import Call, Tape, Value, name_of

__all__ = ["Blocks", "cut"]

LARGE = 1 << 22  # bytes of an array from which on it is cut
BLOCK = 1 << 18  # bytes of a block of it


def cut(tape: Tape) -> Tape:
    """Chains of elementwise calls on large arrays become calls on block after block."""
    return gather(tape, Blocks, 0)


class Blocks(Chain):
    """A chain as calls of NumPy on blocks."""

    def __init__(self, chain: list[Call], kept: set[Value]):
        super().__init__(chain, kept)
        self.last = {v: i for i, call in enumerate(chain) for v in call.inputs()}
        self.place: dict[Value, int] = {}  # of what is not kept: which temporary
        free: list[int] = []
        self._many = 0
        for i, call in enumerate(chain):
            free += [self.place[v] for v in dict.fromkeys(call.inputs())
                     if v in self.place and self.last[v] == i]
            if call.out not in kept:
                if not free:
                    free.append(self._many)
                    self._many += 1
                self.place[call.out] = free.pop()

    @staticmethod
    def group(call: Call) -> Any:
        out = call.out
        accepts = (isinstance(call.fn, np.ufunc) and call.fn.signature is None and not call.kwargs
                and not call.more and out.nbytes > LARGE and out.order is None
                and all(kind_of(x, out.shape, out.dtype) for x in call.args))
        return (out.shape, out.dtype) if accepts else None

    def may_edit(self, out: Value, source: Value) -> bool:
        made = next(i for i, call in enumerate(self.chain) if call.out is out)
        return source in self.inputs and self.last[source] <= made and (
            self.kinds[self.inputs.index(source)] == "full")

    def _step(self, C):
        return max(1, BLOCK // (C * self.dtype.itemsize))

    def temporaries(self, C: int) -> list[np.ndarray]:
        return [np.empty((self._step(C), C), self.dtype) for _ in range(self._many)]

    def function(self, edited: dict[str, str]) -> Callable:
        names = [f"a{i}" for i in range(len(self.inputs))]
        names += [f"y{i}" for i in range(len(self.outs)) if f"y{i}" not in edited]
        names += [f"t{i}" for i in range(self._many)]
        at = {name: i for i, name in enumerate(names)}
        where = {v: at[f"a{i}"] for i, v in enumerate(self.inputs)}
        for i, v in enumerate(self.outs):
            where[v] = at[edited.get(f"y{i}", f"y{i}")]
        where |= {v: at[f"t{i}"] for v, i in self.place.items()}
        steps = [(call.fn, [(where[x], None) if isinstance(x, Value) else (None, x)
                            for x in call.args], where[call.out]) for call in self.chain]
        whole = [kind == "full" for kind in self.kinds]
        whole += [True] * (len(names) - len(whole) - self._many)

        def run(R, C, *arrays):
            step = self._step(C)
            for first in range(0, R, step):
                size = min(step, R - first)
                parts = [x[first : first + size, :C] if cut else x
                         for x, cut in zip(arrays, whole, strict=False)]
                parts += [x[:size] for x in arrays[len(whole) :]]
                for fn, args, out in steps:
                    fn(*[x if i is None else parts[i] for i, x in args], out=parts[out])

        whole_run: Any = signals_later()(run)  # what is edited is not to be left half new
        whole_run.like = repr((BLOCK, whole, [(name_of(fn), *more) for fn, *more in steps]))
        return whole_run
