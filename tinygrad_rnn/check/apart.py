"""Check files apart: each in a process of its own (``worker``), which may end as it likes. What it
was doing when it ended is unchecked, and all else keeps its report."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from .loading import LoadError
from .report import Report
from .words import Said, say

_PACKAGE = __package__ or "tinygrad_rnn.check"
_OUT_OF_TIME = -getattr(signal, "SIGXCPU", 0)
PATIENCE = 10.0, 10.0  # seconds, and times the limit of CPU time, until one that waits is ended


def check_apart(path: str | Path, only: str | None = None, make: str | None = None, seed: int = 0,
                explain: bool = True, seconds: float = 5.0,
                source: str | None = None) -> list[Report]:
    """The reports of the layers of a file, in its order, each also where the process was ended by
    another. Raises LoadError for a file that cannot be read, and for a layer that is not there."""
    request: dict[str, Any] = {
        "path": str(Path(path).resolve()), "only": only, "make": make, "seed": seed,
        "explain": explain, "seconds": seconds, "source": source, "skipped": [], "done": [],
        "given_up": []}  # of these no cause is looked for
    why: dict[str, str] = {}
    found: list[str] = []
    reports: dict[str, list[Report]] = {}
    for _ in range(80):  # so often may a process of one file end before its time
        run = _Run(request, seconds)
        if run.unreadable:
            raise LoadError(run.unreadable)
        found = run.found or found
        for name, report in run.reports:
            if name in why:
                report.notes.append(say("looking for a cause was given up: {why}", why=why[name]))
            reports.setdefault(name, []).append(report)
        request["done"] = [*request["done"], *run.ended]
        if run.finished:
            break
        if explain and run.crashed and run.layer is not None and run.layer not in why:
            why[run.layer] = run.why  # perhaps it was an edit that did
            request["given_up"] = [*why]
            reports.pop(run.layer, None)
        elif run.layer is not None:
            reports.setdefault(run.layer, []).append(_ended(run.layer, run.why, path))
            request["done"].append(run.layer)
        elif run.at is not None and not run.found and run.at not in request["skipped"]:
            request["skipped"].append(run.at)
        else:
            raise LoadError(say("{path}: {error}", path=str(path), error=run.why))
    return [report for name in dict.fromkeys([*found, *reports]) for report in
            reports.get(name, [])]


def _ended(name: str, why: str, path) -> Report:
    report = Report(name)
    report.verdict, report.cause, report.file = "unchecked", why, Path(path).name
    return report


class _Run:
    """One process, to its end: how far it came, and why it ended."""

    def __init__(self, request, seconds: float):
        self.found: list[str] = []
        self.reports: list[tuple[str, Report]] = []
        self.ended: list[str] = []
        self.layer: str | None = None  # the one that is being checked
        self.at: str | None = None  # the statement that is being loaded
        self.finished, self.unreadable, self.why = False, "", ""
        self.crashed = False  # by a signal, but that of its time
        home = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
            filter(None, [home, os.environ.get("PYTHONPATH")])), "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")}
        own_group: Any = {"start_new_session": True} if os.name == "posix" else {}
        self.process: Any = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {_PACKAGE}.worker import main; main()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, encoding="utf-8", errors="replace", **own_group)
        self.silent = False
        try:
            self._listen(request, PATIENCE[0] + PATIENCE[1] * seconds)
        finally:
            self._kill()
            status = self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()
        if not self.finished:
            self.why = self.why or _why(status, self.silent)
            self.crashed = not self.silent and status < 0 and status != _OUT_OF_TIME

    def _listen(self, request, patience: float):
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps({**request, "beat": patience / 4}) + "\n")
            self.process.stdin.close()
        clock = _Clock(patience, self._silence)
        for line in self.process.stdout:
            clock.again()
            with contextlib.suppress(ValueError):
                self._take(json.loads(line))
            if self.finished or self.unreadable or self.why:
                break
        clock.stop()

    def _take(self, message):
        match message:
            case {"at": statement}:
                self.at = statement
            case {"found": names}:
                self.found, self.at = names, None
            case {"begin": name}:
                self.layer = name
            case {"report": report, "layer": name}:
                self.reports.append((name, unpacked(report)))
            case {"end": name}:
                self.ended.append(name)
                self.layer = None
            case {"unreadable": text}:
                self.unreadable = unpacked(text)
            case {"crashed": text}:
                self.why = say("the check itself failed: {error}", error=text)
            case {"finished": True}:
                self.finished = True

    def _silence(self):
        self.silent = True
        self._kill()

    def _kill(self):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()


class _Clock:
    """Calls ``ring`` when ``again`` was not called for so many seconds."""

    def __init__(self, seconds: float, ring):
        self.seconds, self.ring = seconds, ring
        self.timer: threading.Timer | None = None
        self.again()

    def again(self):
        self.stop()
        self.timer = threading.Timer(self.seconds, self.ring)
        self.timer.daemon = True
        self.timer.start()

    def stop(self):
        if self.timer is not None:
            self.timer.cancel()


def _why(status: int, silent: bool) -> str:
    if silent:
        return say("it did not end in time, and was ended")
    if status >= 0:
        return say("it ended the process, with exit status {status}", status=status)
    if status == _OUT_OF_TIME:
        return say("it did not end within its limit of CPU time")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return say("it ended the process, by {name}", name=name)


# --- reports as plain data -----------------------------------------------------------------------


def packed(x: Any) -> Any:
    """A report as JSON has it; its classes are named."""
    if isinstance(x, Said):
        return {"said": packed(x.said())}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = {f.name: packed(getattr(x, f.name)) for f in dataclasses.fields(x) if f.init}
        return {"class": f"{type(x).__module__}:{type(x).__qualname__}", "fields": fields}
    if isinstance(x, dict):
        return {"dict": [[packed(k), packed(v)] for k, v in x.items()]}
    if isinstance(x, tuple):
        return {"tuple": [packed(v) for v in x]}
    if isinstance(x, (list, set)):
        return [packed(v) for v in x]
    if isinstance(x, np.ndarray):
        return {"array": x.tolist(), "dtype": x.dtype.str}
    if isinstance(x, np.generic):
        return x.item()
    return x if isinstance(x, (str, int, float, bool, type(None))) else str(x)


def unpacked(x: Any) -> Any:
    """The report again. Only classes of this package are made."""
    match x:
        case {"class": str(name), "fields": dict(fields)}:
            module, _, qualname = name.partition(":")
            if module.rpartition(".")[0] != _PACKAGE:
                raise ValueError(f"{name} is no class of {_PACKAGE}")
            cls: Any = getattr(importlib.import_module(module), qualname)
            if not hasattr(cls, "__dataclass_fields__"):
                raise ValueError(f"{name} is no dataclass")
            return cls(**{k: unpacked(v) for k, v in fields.items()})
        case {"said": parts}:
            return Said.of(*unpacked(parts))
        case {"dict": list(items)}:
            return {unpacked(k): unpacked(v) for k, v in items}
        case {"tuple": list(items)}:
            return tuple(unpacked(v) for v in items)
        case {"array": list(items), "dtype": str(dtype)}:
            return np.array(items, dtype)
        case list():
            return [unpacked(v) for v in x]
    return x
