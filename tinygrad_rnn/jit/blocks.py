"""Row blocks on all cores: softmax and cross-entropy over a large vocabulary.

NumPy lets go of the interpreter lock inside its loops, so blocks of rows that fit the cache can be
worked off by several threads. What is done with a block stands in functional.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache

from ..functional import BLOCK, _nll, _nll_slope, nll_rows, nll_slope_rows

__all__ = ["BLOCKED", "each", "threads"]

SMALL = 1 << 18  # elements below which handing over costs more than it gives


@cache
def threads() -> int:
    """How many threads to use: those of the matrix products, at most one for each core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return max(1, min([cores or 1, *(int(limit) for limit in limits if limit.isdigit())]))


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process: a fork has none of those of its parent."""
    return ThreadPoolExecutor(max(1, threads() - 1), "tg.jit")


def each(work: Callable, blocks: Iterable, size: int) -> None:
    """``work(block)`` for every block, on all cores where ``size`` elements are worth it."""
    todo = iter(list(blocks))  # next() of it is atomic: whoever is free takes the next block
    if threads() == 1 or size < SMALL:
        for block in todo:
            work(block)
        return

    def drain():
        for block in todo:
            work(block)

    # each in a copy of this context, which holds np.errstate
    helpers = [_pool(os.getpid()).submit(copy_context().run, drain) for _ in range(threads() - 1)]
    try:
        drain()
    finally:  # nobody may still write when an error, or Ctrl-C, leaves here
        for _ in todo:
            pass
        for helper in helpers:
            helper.result()


def _row_blocks(x):
    # at least as many as threads
    step = max(1, min(BLOCK // max(1, x.shape[1]), -(-len(x) // threads())))
    return [slice(i, i + step) for i in range(0, len(x), step)]


def nll(x, targets, out):
    each(lambda rows: nll_rows(x[rows], targets[rows], out[rows]), _row_blocks(x), x.size)


def nll_slope(x, targets, total, scale, out):
    def work(rows):
        nll_slope_rows(x[rows], targets[rows], total[rows], scale[rows], out[rows])

    each(work, _row_blocks(x), x.size)


# function on the tape -> what a replay runs; ``out`` may be the memory of the first argument
BLOCKED = {_nll: nll, _nll_slope: nll_slope}
