"""A limit on the time that foreign code may take."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time


class TimeUp(BaseException):
    """The limit is over. No Exception, so that checked code does not catch it by the way."""


@contextlib.contextmanager
def time_limit(seconds: float):
    """Raise TimeUp inside the block once ``seconds`` are over.

    By a signal where there is one, which also ends sleep and input; elsewhere (another thread,
    Windows) at the next Python instruction.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not (hasattr(signal, "setitimer") and in_main):
        with _async_limit(seconds):
            yield
        return

    def stop(*_):
        raise TimeUp(f"{seconds:g} s are over")

    earlier = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # again, if it is caught
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
        if left:  # a limit around this one goes on
            spent = time.monotonic() - begun
            signal.setitimer(signal.ITIMER_REAL, max(left - spent, 1e-3), interval)


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
