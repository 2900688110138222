"""The process in which one file is checked: started by ``apart``, told what to do in one line of
JSON, it says in such lines how far it is, so that its end, however it comes, has a place."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

MEMORY = 4 << 30  # bytes of addresses
FILES = 1 << 28  # bytes of one file that is written


def main() -> None:
    request = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # what checked code prints, and reads, goes nowhere, also from C
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: os._exit(0))  # one process reports

    one_by_one = threading.Lock()

    def say(**message: Any) -> None:
        with one_by_one:
            out.write(json.dumps(message) + "\n")
            out.flush()

    threading.Thread(target=_beat, args=(request["beat"], say), daemon=True).start()
    limit = _limits()
    try:
        _check(request, say, limit)
    except BaseException as error:  # a crash of ours, at last
        say(crashed=f"{type(error).__name__}: {error}")
    os._exit(0)  # threads that never end are left behind


def _beat(seconds: float, say) -> None:
    """Say every so many seconds that something is computed, however slowly on a busy machine: what
    waits is ended by who listens, and what computes by its limit of CPU time."""
    before = time.process_time()
    while True:
        time.sleep(seconds)
        now = time.process_time()
        if now - before > seconds / 100:
            say(computing=now)
        before = now


def _limits():
    """Limit memory and files; returns a function that allows so many more seconds of CPU time,
    which also ends C code."""
    try:
        import resource
    except ImportError:  # Windows
        return lambda seconds: None
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, FILES),
                       (resource.RLIMIT_AS, MEMORY)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))

    def allow(seconds: float):
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime + seconds) + 1
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (end, hard))

    return allow


def _check(request, say, allow) -> None:
    from .apart import packed
    from .files import Checks
    from .loading import LoadError, Program

    seconds, skipped = request["seconds"], set(request["skipped"])

    def watch(statement):
        say(at=statement)
        return statement not in skipped

    path = Path(request["path"])
    allow(12 * seconds)
    with contextlib.suppress(OSError):
        os.chdir(path.parent)
    try:
        program = Program(path, seconds, watch, request["source"])
        checks = Checks(program, request["only"], request["make"], request["seed"],
                        request["explain"], seconds)
    except LoadError as error:
        say(unreadable=packed(error.args[0]))
        return
    say(found=[name for name, _ in checks.found])
    for name, check in checks.found:
        if name in request["done"]:
            continue
        say(begin=name)
        allow(12 * seconds)
        checks.explain = request["explain"] and name not in request["given_up"]
        for report in check():
            say(report=packed(report), layer=name)
        say(end=name)
    say(finished=True)
