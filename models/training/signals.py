"""Signals that ask a training to end or to save: what a person, a shell or a scheduler sends."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

# Ctrl-C; `kill`, and what schedulers send before they kill; a terminal that goes; CPU time used up.
ENDING = [s for s in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, s)]
SAVING = [s for s in ("SIGUSR1",) if hasattr(signal, s)]


def nothing_to_save_yet() -> None:
    """From here on, what asks to save no longer ends the process, which it does by itself."""
    if threading.current_thread() is threading.main_thread():
        for name in SAVING:
            if signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:
                signal.signal(getattr(signal, name), lambda number, frame: None)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, and saved, unless ``at_once``. ``status`` is the exit
    status of a process that the signal has ended: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, text: str, number: int, at_once: bool = False) -> None:
        super().__init__(text)
        self.status, self.at_once = 128 + number, at_once


class Signals:
    """While it is entered, a signal only leaves a note: to end (``ending``, its number) or to save
    and go on (``saving``). A second signal to end does so at once, unless it comes within ``echo``
    seconds: a terminal and mpiexec may both send one.

    Signals that the process ignores stay ignored (``nohup``). Only the main thread gets signals;
    elsewhere this does nothing.
    """

    def __init__(self, echo: float = 0.0) -> None:
        self.ending: int | None = None
        self._echo, self._came = echo, 0.0
        self.saving = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for names, handler in ((ENDING, self._end), (SAVING, self._save)):
                for name in names:
                    number = getattr(signal, name)
                    before = signal.getsignal(number)
                    if before is not signal.SIG_IGN or number == signal.SIGINT:
                        self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _end(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.ending is not None and now - self._came >= self._echo:
            raise Interrupted("stopped at once", number, at_once=True)
        if self.ending is None:
            self.ending, self._came = number, now

    def _save(self, number: int, frame: Any) -> None:
        self.saving = True
