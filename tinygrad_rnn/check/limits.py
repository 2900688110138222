"""A limit on the time that foreign code may take: CPU time, and, for what waits and does not
compute, ``WAITING`` times as much by the clock. And a limit on the work of a search: trials are
counted, not timed, so that a slow or a busy machine finds what a fast one finds."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import threading
import time
from typing import Any

WAITING = 4.0
_AGAIN = 0.2  # seconds, until a limit that was caught rings again


SLOWEST = 4.0  # times as long as a machine of today may one take for the same work
_work = [0.0, 0.0, 0.0]  # done since it was asked for, the reading then, and the CPU time then


def work(seconds: float):
    """Note work that a machine of today does in so many seconds of CPU time."""
    _work[0] += seconds


def worked() -> float:
    """The work that has been done, in seconds of CPU time of a machine of today; a machine of any
    age is not let work for more than ``SLOWEST`` times as long."""
    done, reading, before = _work
    now = time.process_time()
    _work[:] = 0.0, reading + max(done, (now - before) / SLOWEST), now
    return _work[1]


class TimeUp(BaseException):
    """The limit is over. No Exception, so that checked code does not catch it by the way."""


# In a browser (Pyodide) and under WASI: no processes, no threads, no timers.
ALONE = sys.platform in ("emscripten", "wasi")


def time_limit(seconds: float) -> contextlib.AbstractContextManager[Any]:
    """Raise TimeUp inside the block once ``seconds`` of CPU time are over.

    By signals where there are some, which also end sleep and input; elsewhere (another thread,
    Windows) by the clock, at the next Python instruction. In a browser there is no limit: whoever
    has started the check can end it (docs/browser.md).
    """
    if ALONE:
        return contextlib.nullcontext()
    in_main = threading.current_thread() is threading.main_thread()
    if hasattr(signal, "setitimer") and in_main:
        return _ByTimers(seconds)
    return _async_limit(WAITING * seconds)


class _ByTimers:
    """Two timers, which ring again and again until the block is left. A ring while it is entered
    or left does nothing: raised there, it would leave a timer running for good."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.earlier: list[Any] = []

    def __enter__(self):
        for number, timer, limit, clock in (
                (signal.SIGPROF, signal.ITIMER_PROF, self.seconds, time.process_time),
                (signal.SIGALRM, signal.ITIMER_REAL, WAITING * self.seconds, time.monotonic)):
            handler = signal.signal(number, self.ring)
            left, interval = signal.setitimer(timer, limit, _AGAIN)
            self.earlier.append((number, timer, handler, left, interval, clock, clock()))

    def __exit__(self, *_):
        for number, timer, handler, left, interval, clock, begun in reversed(self.earlier):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
            if left:  # a limit around this one goes on
                signal.setitimer(timer, max(left - (clock() - begun), 1e-3), interval)

    def ring(self, _, frame):
        if not _is_lost(frame):
            raise TimeUp(f"{self.seconds:g} s are over")


_ENTERED_OR_LEFT = {_ByTimers.__enter__.__code__, _ByTimers.__exit__.__code__}


def _is_lost(frame):
    """Whether an exception there would be dropped, in a callback of the garbage collector, or would
    leave a limit half made."""
    collected = [getattr(f, "__code__", None) for f in gc.callbacks]
    if frame is not None and frame.f_code in collected:
        return True
    while frame is not None and frame.f_code not in _ENTERED_OR_LEFT:
        frame = frame.f_back
    return frame is not None


@contextlib.contextmanager
def _async_limit(seconds: float):
    thread = ctypes.c_ulong(threading.get_ident())
    lock, over = threading.Lock(), threading.Event()

    def stop():
        if not over.wait(seconds):
            with lock:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeUp))

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()
