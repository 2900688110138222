"""A limit on the time that foreign code may take: CPU time, so that a busy machine finds what an
idle one finds; and, for what waits and does not compute, ``WAITING`` times as much by the clock."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import threading
import time

WAITING = 4.0
_AGAIN = 0.2  # seconds, until a limit that was caught rings again


class TimeUp(BaseException):
    """The limit is over. No Exception, so that checked code does not catch it by the way."""


# In a browser (Pyodide) and under WASI: no processes, no threads, no timers.
ALONE = sys.platform in ("emscripten", "wasi")


@contextlib.contextmanager
def time_limit(seconds: float):
    """Raise TimeUp inside the block once ``seconds`` of CPU time are over.

    By signals where there are some, which also end sleep and input; elsewhere (another thread,
    Windows) by the clock, at the next Python instruction. In a browser there is no limit: whoever
    has started the check can end it (docs/browser.md).
    """
    if ALONE:
        yield
        return
    in_main = threading.current_thread() is threading.main_thread()
    if not (hasattr(signal, "setitimer") and in_main):
        with _async_limit(WAITING * seconds):
            yield
        return

    def stop(_, frame):
        if frame is None or not _is_lost(frame):  # else the timer rings again
            raise TimeUp(f"{seconds:g} s are over")

    with contextlib.ExitStack() as stack:
        for number, timer, limit, clock in (
                (signal.SIGPROF, signal.ITIMER_PROF, seconds, time.process_time),
                (signal.SIGALRM, signal.ITIMER_REAL, WAITING * seconds, time.monotonic)):
            stack.enter_context(_timer(number, timer, limit, clock, stop))
        yield


def _is_lost(frame):
    """Whether Python would drop an exception there: in a callback of the garbage collector."""
    return any(getattr(f, "__code__", None) is frame.f_code for f in gc.callbacks)


@contextlib.contextmanager
def _timer(number, timer, seconds: float, clock, stop):
    earlier = signal.signal(number, stop)
    left, interval = signal.setitimer(timer, seconds, _AGAIN)
    begun = clock()
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, earlier)
        if left:  # a limit around this one goes on
            signal.setitimer(timer, max(left - (clock() - begun), 1e-3), interval)


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
