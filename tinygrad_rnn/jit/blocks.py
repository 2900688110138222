"""Row blocks on all cores: softmax and cross-entropy over a large vocabulary.

NumPy lets go of the interpreter lock inside its loops, so blocks of rows that fit the cache can be
worked off by several threads. What is done with a block stands in functional.py.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, partial
from typing import Any

import numpy as np

from ..cores import get_num_threads as threads
from ..functional import _nll_slope, _row_totals, nll_slope_rows, row_totals
from .team import here

__all__ = ["BLOCKED", "beside", "each", "signals_later", "softmax_nll",
           "softmax_nll_compiled", "softmax_slope", "threads"]  # fmt: skip

SMALL = 1 << 18  # elements below which handing over costs more than it gives
SHARES = 4  # of the rows, for each thread
THREAD_BLOCK = 1 << 18  # elements; smaller ones wait for the interpreter lock more than they work
# of which a program may have handlers that raise something
SIGNALS = [getattr(signal, name) for name in (
    "SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF",
    "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGCHLD", "SIGIO") if hasattr(signal, name)]
# as C has them: the enums of Python's are slow
_get_handler: Any = getattr(signal.getsignal, "__wrapped__", signal.getsignal)
_set_handler: Any = getattr(signal.signal, "__wrapped__", signal.signal)


@cache
def _pool(process: int, helpers: int) -> ThreadPoolExecutor:
    """The threads of this process: a fork has none of those of its parent."""
    return ThreadPoolExecutor(max(1, helpers), "tg.jit")


def each(work: Callable, blocks: Iterable, size: int) -> None:
    """``work(block)`` for every block, on all cores where ``size`` elements are worth it."""
    todo = iter(list(blocks))  # next() of it is atomic: whoever is free takes the next block
    if threads() == 1 or size < SMALL:
        for block in todo:
            work(block)
        return

    def drain():
        try:
            for block in todo:
                work(block)
        finally:  # after an error nobody takes another one
            for _ in todo:
                pass

    beside(*[drain] * threads())


def beside(first: Callable, *others: Callable) -> None:
    """Call all of them at the same time, the first one here; an error, or Ctrl-C, leaves here when
    all have ended: nobody may still write then."""
    # each in a copy of this context, which holds np.errstate
    apart = [partial(copy_context().run, other) for other in others]
    team = here()
    if team is not None and len(apart) <= len(team.desks):
        with signals_later():
            team.beside([first, *apart])
        return
    helpers: list[Future] = []
    mine = [first]
    with signals_later():
        try:
            for other in apart:
                try:
                    helpers.append(_pool(os.getpid(), threads() - 1).submit(other))
                except RuntimeError:  # the main thread has ended, and with it all pools
                    mine.append(other)
            for work in mine:
                work()
        finally:
            wait(helpers)
    for helper in helpers:
        helper.result()


class Signalled(BaseException):
    """An error that a handler of a signal raises, where nothing else should take it for its own."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@contextmanager
def signals_later(apart: bool = False) -> Iterator[Callable[[bool], None]]:
    """What the program does on a signal (Ctrl-C, an alarm) it does at the end of this, as what is
    in here is not to be left half done; or between ``critical(False)`` and ``critical(True)``.
    When it raises something, what follows is critical. ``apart``: what it raises is seen as such
    outside alone, and nothing in here catches it as an Exception."""
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # it does not come elsewhere
        handlers = {number: handler for number in SIGNALS if callable(
            handler := _get_handler(number))}
    came: dict[int, Any] = {}
    now = [True]

    def on_signal(number, frame):
        if now[0]:
            came[number] = frame
            return
        try:
            handlers[number](number, frame)
        except BaseException as error:
            now[0] = True
            if apart and isinstance(error, Exception):
                raise Signalled(error) from error
            raise

    def critical(on):
        now[0] = on
        while came and not now[0]:
            on_signal(*came.popitem())

    for number in handlers:
        _set_handler(number, on_signal)
    try:
        yield critical
    except Signalled as signalled:
        if apart:
            raise signalled.error from signalled.error.__cause__
        raise
    finally:
        now[0] = True
        for number, handler in handlers.items():
            if _get_handler(number) is on_signal:  # nobody has set another one meanwhile
                _set_handler(number, handler)
        for number, frame in came.items():
            handlers[number](number, frame)


def _row_blocks(x):
    # at least as many as threads
    step = max(1, min(THREAD_BLOCK // max(1, math.prod(x.shape[1:])), -(-len(x) // threads())))
    return [slice(i, i + step) for i in range(0, len(x), step)]


def totals_of_rows(x, out):
    each(lambda rows: row_totals(x[rows], out[rows]), _row_blocks(x), x.size)


def nll_slope(x, targets, totals, scale, out):
    def work(rows):
        nll_slope_rows(x[rows], targets[rows], totals[rows], scale[rows], out[rows])

    each(work, _row_blocks(x), x.size)


def softmax_nll(x, bias, targets, scale, out):
    """With p = softmax(x + bias): -log p[target] of each row, and p itself; or, where ``scale`` is
    not None, what the backward pass makes of it, scale (p - one-hot(targets)). x (n, V), bias (V,)
    or None, targets (n,), scale (n,) -> ``out``: (n, V), which may be the memory of x, and (n,)."""

    def work(rows):
        p, y, t, z = out[0][rows], out[1][rows], targets[rows], x[rows]
        if bias is not None:
            z = np.add(z, bias, out=p)
        np.subtract(z, np.max(z, axis=1, keepdims=True), out=p)
        place = np.arange(len(t)), t
        target = p[place]
        np.exp(p, out=p)
        total = np.sum(p, axis=1)
        y[...] = np.log(total) - target
        if scale is None:
            p *= (1 / total)[:, None]
        else:
            p *= (scale[rows] / total)[:, None]
            p[place] -= scale[rows]
            p[scale[rows] == 0] = 0  # what does not count, whatever is in it

    each(work, _row_blocks(x), x.size)


def softmax_nll_compiled(x, bias, targets, scale, out):
    """``softmax_nll`` of float32, by numba; also the sum of all rows of the slope, (V,), where
    ``out`` has a place for it."""
    from .native import softmax_rows

    p, y, *totals = out
    n, V = x.shape
    # of one kind of array each: another one would be compiled for
    bias = np.zeros(V, x.dtype) if bias is None else np.array(bias)
    targets, s = np.array(targets, np.intp), np.array(y if scale is None else scale)
    shares = min(n, SHARES * threads())
    parts = np.zeros((shares, V if totals else 0), x.dtype)

    def work(i):
        rows = slice(n * i // shares, n * (i + 1) // shares)
        if p is not x:
            np.copyto(p[rows], x[rows])
        softmax_rows(p[rows], bias, targets[rows], s[rows], scale is not None, y[rows], parts[i])

    each(work, range(shares), x.size)
    if totals:
        np.add.reduce(parts, axis=0, out=totals[0])


def softmax_slope(p, targets, scale, out):
    """scale (p - one-hot(targets)): the gradient of ``softmax_nll``; (n, V)."""

    def work(rows):
        g, t, s = out[rows], targets[rows], scale[rows]
        np.multiply(p[rows], s[:, None], out=g)
        g[np.arange(len(t)), t] -= s
        g[s == 0] = 0

    each(work, _row_blocks(p), p.size)


# function on the tape -> what a replay runs; ``out`` may be the memory of the first argument
BLOCKED = {
    _row_totals: totals_of_rows, _nll_slope: nll_slope, softmax_nll: softmax_nll,
    softmax_slope: softmax_slope, softmax_nll_compiled: softmax_nll_compiled,
}  # fmt: skip
