"""Threads that share the native calls of a replay.

Each helper looks at a desk for what the replay puts there (native.py, ``serve``), from its first
line to its last: handing over takes a microsecond, where waking a thread takes fifty. What nobody
has taken when the replay comes to its end, as on a busy machine, the replay does itself. What is
put there is native code, or a function of Python's, which then waits for the interpreter lock.

Meanwhile NumPy's BLAS works on one core: its own threads, which look for work for as long as ours,
would share a core with them.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

__all__ = ["Team", "can_share", "here"]

FREE, CLOSED = 0, 4  # as in native.py

_lock = threading.Lock()
_replays = 0  # that want BLAS on one core
_before = 0  # its threads, before the first of them
_present = threading.local()  # the team of a replay, in the thread of that

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Team:
    """The helpers of one program: ``with team:`` they are there. ``desks``: where they look."""

    def __init__(self) -> None:
        self.desks: list[np.ndarray] = []
        self.products_apart = True  # no product of the program is shared by BLAS itself

    def desk(self, i: int) -> int:
        """Where helper ``i`` looks, from 0: an address at the beginning of a line of the cache."""
        while len(self.desks) <= i:
            room = np.zeros(16, np.int64)
            begin = -room.ctypes.data % 64 // 8
            self.desks.append(room[begin : begin + 8])
        return self.desks[i].ctypes.data

    def beside(self, works: Sequence[Callable[[], Any]]) -> None:
        """Call all of them at the same time, the first one here; an error leaves here when all
        have ended. No more than helpers and one."""
        from .native import address, pause, run, side_by_side

        errors: list[BaseException] = []

        def guarded(work):
            def call(_):
                try:
                    work()
                except BaseException as error:
                    errors.append(error)

            return CALLBACK(call)

        calls = [guarded(work) for work in works]
        words = [pause(), len(calls)]
        for i, call in enumerate(calls):
            code = ctypes.cast(call, ctypes.c_void_p).value or 0
            words += [code, 0, self.desk(i - 1) if i else 0]
        table = np.array(words, np.int64)
        _present.team = None  # its desks are taken, for what is called in here
        run(np.array([[address(side_by_side), table.ctypes.data]]))
        _present.team = self
        if errors:
            raise errors[0]

    def __enter__(self) -> None:
        _present.team = self
        process = os.getpid()
        helpers = _helpers(process, len(self.desks))
        for desk in self.desks:
            desk[0] = FREE
            if desk[3] != process:  # of whom nobody is there, or on the way
                desk[3] = process
                with suppress(RuntimeError):  # the main thread has ended, and with it all pools
                    helpers.submit(_serve, desk)
        if self.products_apart:
            _blas_on_one_core()

    def __exit__(self, *error: Any) -> None:
        _present.team = None
        for desk in self.desks:
            desk[0] = CLOSED
        if self.products_apart:
            _blas_as_before()


def can_share() -> bool:
    """Whether this system and NumPy's BLAS have what it takes."""
    from .native import blas, pause

    return bool(blas("sgemm") and pause() and _blas_threads())


def here() -> Team | None:
    """The team of the replay that this thread is in."""
    return getattr(_present, "team", None)


@cache
def _helpers(process: int, many: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of those of its parent."""
    return ThreadPoolExecutor(many, "tg.jit")


def _serve(desk: np.ndarray) -> None:
    from .native import pause, serve

    serve(desk.ctypes.data, pause())


@cache
def _blas_threads() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How NumPy's own OpenBLAS is asked for its number of threads, and told."""
    with suppress(Exception):  # other names, another library, another system
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
        return (library.scipy_openblas_get_num_threads64_,
                library.scipy_openblas_set_num_threads64_)
    return None


def _blas_on_one_core() -> None:
    global _replays, _before
    asked = _blas_threads()
    if asked is not None:
        with _lock:
            if not _replays:
                _before = asked[0]()
                asked[1](1)
            _replays += 1


def _blas_as_before() -> None:
    global _replays
    asked = _blas_threads()
    if asked is not None:
        with _lock:
            _replays -= 1
            if not _replays:
                asked[1](_before)


def _in_a_child() -> None:
    """A fork in the midst of a replay of another thread, which the child does not have."""
    global _lock, _replays
    _lock = threading.Lock()
    if _replays:
        _replays = 1
        _blas_as_before()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_child)
