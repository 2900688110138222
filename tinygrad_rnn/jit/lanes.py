"""The rows of a batch on several cores, each core with its own through all time steps.

No row of a batch meets another one in the steps of a recurrent layer, forward or backward. So a run
of calls that work row by row becomes lanes, one for each core: nobody waits for anybody before the
end. What is read of a value afterwards, all rows at once, is a join of its parts, which memory.py
lays out so that it is no work.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from typing import Any

import numpy as np

from .chains import Chain
from .cut import Blocks
from .memory import UNPLANNED, elementwise, takes_out
from .products import as_it_lies, blocks_of, by_columns, in_blocks
from .tape import Call, Tape, Value, replace, view

__all__ = ["on_cores", "rows_first", "split_rows"]

FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}  # that BLAS multiplies
STEPS = 4  # products with one weight from which on it is worth packing
WORTH = 1.2e-3  # seconds on one core from which on handing it over costs less than it gives
NATIVE = 1e-4  # to a helper that waits for it
MOST = 4  # lanes: each holds the interpreter lock for a tenth of its time


def on_cores(tape: Tape, cores: int, times: float = 1, native: bool = False) -> Tape:
    """The time steps on so many cores, with products by blocks of the weights. ``times``: how many
    times as many steps there are where the tape is used. ``native``: team.py hands them over."""
    splitter = _Splitter(rows_first(tape, cores), cores, times, native)
    return in_blocks(splitter.split(), splitter.apart)


def rows_first(tape: Tape, cores: int) -> Tape:
    """Rows times a transposed weight, which was done as the weight times the transposed rows, is
    done row by row again, where that goes by blocks, or the weight is small: turned once for all
    time steps, it is multiplied as it lies."""
    made, users = {call.out: call for call in tape.calls}, tape.users()

    def only_user(value, fn):
        found = users.get(value, [])
        alone = len(found) == 1 and found[0].fn is fn and value not in tape.results
        return found[0] if alone else None

    products = Counter(call.args[0] for call in tape.calls
                       if call.fn is np.matmul and isinstance(call.args[0], Value))
    turned: dict[Value, Value] = {}
    instead: dict[Value, list[Call]] = {}
    for call in tape.calls:
        if call.fn is not np.matmul or len(call.out.shape) != 2 or len(call.inputs()) != 2:
            continue
        weight, rows = call.args[0], made.get(call.args[1])
        back = only_user(call.out, np.transpose)
        copy = only_user(back.out, np.copy) if back else None
        if not (rows and rows.fn is np.transpose and copy and not (*rows.args[1:], *back.args[1:])
                and _is_rows(rows.args[0]) and len(weight.shape) == 2):
            continue
        N, (M, K) = rows.args[0].shape[0], weight.shape
        small = products[weight] >= STEPS and as_it_lies(N, K, M)
        if not small and not _blocks(N, cores, K, M):
            continue
        instead[call.out] = instead[back.out] = []
        if weight not in turned:
            seen = view(np.transpose, weight, line=call.line)
            instead[call.out] = [seen]
            if small:
                lain = Value(seen.out.shape, weight.dtype)
                instead[call.out].append(Call(np.positive, (seen.out,), {}, lain, line=call.line))
            turned[weight] = instead[call.out][-1].out
        instead[copy.out] = [Call(np.matmul, (rows.args[0], turned[weight]), {}, copy.out,
                                  line=call.line)]
    calls = [new for call in tape.calls for new in instead.get(call.out, [call])]
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def split_rows(tape: Tape, cores: int, times: float = 1, native: bool = False) -> Tape:
    """Runs of calls that work row by row become lanes."""
    return _Splitter(tape, cores, times, native).split()


def _cuts(N, cores):
    """The rows of each lane; no lane has more than the last one."""
    lanes = max(1, min(cores, MOST, N // 2))
    return [slice(N * i // lanes, N * (i + 1) // lanes) for i in range(lanes)]


def _rows(N, cores):
    """Of the last lane."""
    last = _cuts(N, cores)[-1]
    return last.stop - last.start


def _blocks(N, cores, K, M):
    """The blocks of a weight (K, M) for the products of a lane."""
    rows = _rows(N, cores)
    return blocks_of(rows, K, M) if rows < N else None


def _is_rows(x: Any, N: int | None = None) -> bool:
    """Whether it is an array (N, ...) that lies row by row."""
    return (isinstance(x, Value) and x.shape is not None and x.dtype is not None
            and x.order is None and len(x.shape) == 2 and N in (None, x.shape[0]))


class _Splitter:
    def __init__(self, tape: Tape, cores: int, times: float, native: bool):
        self.tape, self.cores, self.results = tape, cores, set(tape.results)
        self.times, self.native = times, native
        self.products: dict[Value, int] = {}  # with one weight
        for call in tape.calls:
            if call.fn is np.matmul and isinstance(call.args[1], Value):
                self.products[call.args[1]] = self.products.get(call.args[1], 0) + 1
        self.apart: set[Value] = set()  # weights of which each core rather has a part
        self.calls: list[Any] = []  # and, in the places of joins, lists of the calls of a run
        self.parts: dict[Value, list[Value]] = {}  # one for each lane
        self.regions = 0
        self._begin()

    def _begin(self):
        self.run: list[Call] = []
        self.rows = None
        self.by_rows: dict[Value, None] = {}  # what it reads so
        self.whole: set[Value] = set()  # what every lane reads
        self.inside: set[Value] = set()  # what it makes
        self.after: list[Call] = []  # views of that, which are none of rows
        self.later: set[Value] = set()

    def split(self) -> Tape:
        for call in self.tape.calls:
            if not self._joins(call):
                self._close()
                if not self._joins(call):
                    self.calls.append(call)
        self._close()
        return Tape(self._joined(), self.tape.inputs, self.tape.constants, self.tape.results)

    def _joins(self, call):
        """Whether a call goes on with the run; views go before it, into it or after it."""
        inputs = call.inputs()
        found = self._rows_of(call)
        if found and self.rows in (None, found[0]) and self.later.isdisjoint(inputs):
            N, rows, whole = found
            if (self.run or not call.view) and self.inside.isdisjoint(whole) and (
                    {*self.by_rows, *rows}.isdisjoint({*self.whole, *whole})):
                self.run.append(call)
                self.rows = N
                self.by_rows.update(dict.fromkeys(v for v in rows if v not in self.inside))
                self.whole.update(whole)
                self.inside.update(call.outs)
                return True
        if not call.view or not self.run:
            return False
        if self.inside.isdisjoint(inputs) and self.later.isdisjoint(inputs):
            self.calls.append(call)
        else:
            self.after.append(call)
            self.later.add(call.out)
        return True

    def _rows_of(self, call) -> tuple[int, list[Value], list[Value]] | None:
        """The number of rows, and what it reads by rows and what as a whole; None for calls that
        do not work row by row."""
        if len(call.out.shape or ()) != 2 or call.effect or not (call.view or takes_out(call)):
            return None
        N, width = call.out.shape
        least = N // len(_cuts(N, self.cores))  # rows of a lane
        if N < 4 or not self.results.isdisjoint(call.outs) or not all(
                _is_rows(out, N) and out.dtype in FLOATS and out.nbytes // N * least > UNPLANNED
                for out in call.outs):
            return None
        fn, args = call.fn, call.args
        if call.view:
            kept = fn is operator.getitem and isinstance(args[1], tuple) and (
                len(args[1]) == 2 and args[1][0] == slice(None))
            return (N, [args[0]], []) if kept and _is_rows(args[0], N) else None
        if fn is np.matmul and not call.kwargs and len(call.inputs()) == 2:
            x, weight = args
            good = (_is_rows(x, N) and len(weight.shape) == 2 and x.dtype == weight.dtype
                    and self.products[weight] >= STEPS and _blocks(N, self.cores, *weight.shape))
            if good and self.native and by_columns(_rows(N, self.cores), weight):
                self.apart.add(weight)
                return None
            return (N, [x], [weight]) if good else None
        if fn is np.concatenate:
            axis = call.kwargs.get("axis", args[1] if len(args) > 1 else 0)
            good = axis in (1, -1) and isinstance(args[0], (list, tuple)) and all(
                _is_rows(x, N) for x in args[0])
            return (N, list(args[0]), []) if good else None
        if isinstance(fn, Chain) and not isinstance(fn, Blocks):
            rows = [v for v, kind in zip(fn.inputs, fn.kinds, strict=True)
                    if kind in ("full", "column", "ids")]
            return N, rows, [v for v in fn.inputs if v not in rows]
        if elementwise(call) and not call.kwargs and all(
                isinstance(x, Value) or np.isscalar(x) for x in args):
            rows = [x for x in call.inputs() if _is_rows(x, N) and x.shape[1] in (1, width)]
            whole = [x for x in call.inputs() if x not in rows]
            good = all(x.shape in ((), (1,), (width,)) for x in whole)
            return (N, rows, whole) if good else None
        return None

    def _close(self):
        run, after = self.run, self.after
        work = [call for call in run if not call.view and call.fn is not np.concatenate]
        products = any(call.fn is np.matmul for call in work)
        native = self.native and all(call.out.dtype == np.float32 for call in work)
        if products and sum(map(_seconds, work)) * self.times > (NATIVE if native else WORTH):
            self._lanes()
        else:
            self.calls += run
        self.calls += after
        self._begin()

    def _lanes(self):
        cuts = _cuts(self.rows, self.cores)
        for value in self.by_rows:
            if value not in self.parts:
                views = [view(operator.getitem, value, cut) for cut in cuts]
                self.calls += views
                self.parts[value] = [call.out for call in views]
        for out in self.inside:
            self.parts[out] = [Value((cut.stop - cut.start, out.shape[1]), out.dtype)
                               for cut in cuts]
        for lane in range(len(cuts)):
            own = {v: self.parts[v][lane] for v in (*self.by_rows, *self.inside)}
            self.calls += [_part(call, own, (self.regions, lane)) for call in self.run]
        self.calls.append(self.run)
        self.regions += 1

    def _joined(self):
        """The calls, with joins of what is read of a run as a whole."""
        read = set(self.results)
        for call in self.calls:
            if isinstance(call, Call):
                read.update(call.inputs())
        calls: list[Call] = []
        for item in self.calls:
            if isinstance(item, Call):
                calls.append(item)
                continue
            joins = []
            for call in reversed(item):
                for out in call.outs:
                    if out in read and call.view:
                        read.add(call.args[0])
                        joins.append(call)
                    elif out in read:
                        joins.append(Call(np.concatenate, (self.parts[out], 0), {}, out,
                                          line=call.line))
            calls += joins[::-1]
        return calls


def _part(call, own, lane):
    """The call for the rows of one lane, ``own``: whole values -> theirs."""
    fn, args = call.fn, replace(call.args, lambda v: own.get(v, v))
    out, *more = [own[v] for v in call.outs]
    if isinstance(fn, Chain):
        fn = fn.on(own, (*out.shape[:-1], *fn.shape[-1:]))
    return Call(fn, args, call.kwargs, out, view=call.view, line=call.line, more=tuple(more),
                lane=lane)


def _seconds(call):
    """About what it takes on one core."""
    size = math.prod(call.out.shape)
    if call.fn is np.matmul:
        return size * call.args[0].shape[1] / 100e9
    return size * (len(call.fn.chain) if isinstance(call.fn, Chain) else 1) * 0.1e-9
