"""``tinygrad-rnn sweep FILE.toml``: many trainings with other settings, several at a time.

Each is ``tinygrad-rnn train`` in a process and a folder of its own, so it saves, resumes and fails
as that does. joblib (extra [sweep]) hands them out: here, or with Dask or Ray to many machines.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_rnn.cores import available

from ..data import DataError
from ..files.checkpoint import write_atomically
from ..pictures.plots import training_curve
from ..training import MODEL
from ..training.log import Log
from ..training.output import say
from . import train
from .arguments import NAME, Parser, command
from .errors import FAILED

DONE, OUTPUT, TABLE, PICTURE = "done.json", "output.txt", "table.csv", "curves.png"
KNOWN: dict[str, type] = {"task": str, "data": str, "out": str, "jobs": int, "backend": str,
                          "address": str, "fixed": dict, "vary": dict}  # fmt: skip
KINDS = {str: "text", int: "a whole number", dict: "a table"}
EACH_ITS_OWN = ("out", "resume", "help")
BACKENDS = ("threading", "dask", "ray")  # of joblib; here a thread waits for each training
LOCKED = "another training"  # what a run says whose folder is taken


@dataclass(frozen=True)
class Sweep:
    """What FILE.toml asks for."""

    task: str
    out: Path
    jobs: int
    backend: str
    address: str | None
    runs: dict[str, list[str]]  # by name: the arguments of ``train``
    varied: dict[str, dict[str, Any]]  # by name: its settings among those that vary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Train once for every combination of the settings that vary."
    parser.add_argument("file", metavar="FILE.toml", help="what to train: see docs/scale.md")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    sweep = read(Path(args.file))
    if args.dry_run:
        for words in sweep.runs.values():
            say(command("train", *words))
        return 0
    try:
        import joblib  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError("sweep needs joblib: pip install 'tinygrad-rnn[sweep]'") from None
    say(f"{len(sweep.runs)} trainings, {sweep.jobs} at a time, in {sweep.out}")
    threads = max(1, available() // sweep.jobs) if sweep.backend == "threading" else None
    with _engine(sweep):
        each = joblib.parallel.get_active_backend()[0].supports_return_generator  # not Ray's
        waiting = joblib.Parallel(sweep.jobs, return_as="generator_unordered" if each else "list")(
            joblib.delayed(one)(words, threads) for words in sweep.runs.values())
        for words, problem in waiting:
            say(f"{Path(words[-1]).name}: {problem or 'done'}")
    rows = table(sweep)
    for line in aligned(rows):
        say(line)
    for line in over_seeds(sweep, rows):
        say(line)
    say(f"\nthe table is in {sweep.out / TABLE}")
    if points := curves(sweep):
        train.draw(lambda: training_curve(points, sweep.out / PICTURE, sweep.task),
                   f"the curves are in {sweep.out / PICTURE}")
    return FAILED if any(row["state"] != "done" for row in rows) else 0


def read(file: Path) -> Sweep:
    """The sweep that a file describes, every run of it looked at. DataError."""
    try:
        asked = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows marks beginnings
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: no TOML ({error})") from None
    for name, value in asked.items():
        if name not in KNOWN:
            raise DataError(f"{file}: {name!r} is none of {', '.join(KNOWN)}")
        if type(value) is not KNOWN[name] or value == "":
            raise DataError(f"{file}: {name} is {value!r}, wanted {KINDS[KNOWN[name]]}")
    task, fixed, vary = asked.get("task"), asked.get("fixed", {}), asked.get("vary", {})
    if asked.get("data") == "-":
        raise DataError(f"{file}: data is '-', but every run reads them for itself: name a file")
    names = [name.replace("-", "_") for name in (*fixed, *vary)]
    for name in names:
        if name in EACH_ITS_OWN or names.count(name) > 1:
            why = "each run has its own" if name in EACH_ITS_OWN else "it is given twice"
            raise DataError(f"{file}: {name} among the settings: {why}")
    if task not in train.TASKS:
        raise DataError(f"{file}: task is {task!r}, wanted one of {', '.join(train.TASKS)}")
    for name, values in vary.items():
        if not isinstance(values, list) or not values:
            raise DataError(f"{file}: vary.{name} is {values!r}, wanted a list of values")
    jobs, backend = asked.get("jobs", available()), asked.get("backend", BACKENDS[0])
    if jobs < 1 or backend not in BACKENDS:
        raise DataError(f"{file}: jobs = {jobs!r}, backend = {backend!r}; wanted 1 or more, and one"
                        f" of {', '.join(BACKENDS)}")  # fmt: skip
    if asked.get("address") and backend == BACKENDS[0]:
        raise DataError(f"{file}: an address is of backend = 'dask' or 'ray'")
    out = Path(asked.get("out", f"runs/{file.stem}"))
    runs: dict[str, list[str]] = {}
    varied: dict[str, dict[str, Any]] = {}
    parser = Parser(prog=f"{NAME} train", add_help=False)
    train.add_arguments(parser)
    for values in itertools.product(*vary.values()):
        settings = dict(zip(vary, values, strict=True))
        name = ",".join(f"{key}={_plain(value)}" for key, value in settings.items()) or "run"
        if name in runs:
            raise DataError(f"{file}: two runs are {name}")
        words = [task, *([str(asked["data"])] if task == "text" and "data" in asked else []),
                 *_options(fixed | settings)]  # fmt: skip
        if task != "text" and "data" in asked:
            words += ["--data-dir" if task == "ptb" else "--data", str(asked["data"])]
        runs[name] = [*words, "--out", str(out / name)]
        config = train.config_of(parser.parse_args(runs[name]))  # DataError now, not after hours
        if config.data and not Path(config.data).exists():
            raise DataError(f"{file}: {config.data}: no such file")
        varied[name] = settings
    return Sweep(task, out, min(jobs, len(runs)), backend, asked.get("address"), runs, varied)


def _plain(value: Any) -> str:
    return re.sub(r"[^\w.+-]+", "_", str(value))


def _options(settings: dict[str, Any]) -> list[str]:
    """``{"hidden": 8, "jit": False}`` -> ``--hidden=8 --no-jit``."""
    words = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag}={value}")
    return words


def one(words: list[str], threads: int | None = None) -> tuple[list[str], str | None]:
    """Train with these arguments, the last of which is the folder, from where it was; what went
    wrong, if anything did. Done already is done."""
    out = Path(words[-1])
    with contextlib.suppress(OSError, ValueError):
        if json.loads((out / DONE).read_text(encoding="utf-8")) == words:
            return words, None
    environment = dict(os.environ)
    if threads is not None:
        environment |= {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    out.mkdir(parents=True, exist_ok=True)
    while True:
        more = ["--resume", str(out)] if (out / MODEL).exists() else []
        with open(out / OUTPUT, "a", encoding="utf-8") as output:
            ended = subprocess.run(
                [sys.executable, "-m", "tinygrad_rnn", "train", *words, *more], env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True,
                errors="replace", check=False,
            )  # fmt: skip
            output.write(ended.stderr)
        if ended.returncode == 0:
            write_atomically(out / DONE, json.dumps(words).encode())
            return words, None
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        if not (said and LOCKED in said[-1]):
            return words, said[-1] if said else f"exit status {ended.returncode}"
        time.sleep(1)  # of a sweep that was killed a training may be left, which ends by itself


@contextlib.contextmanager
def _engine(sweep: Sweep) -> Iterator[None]:
    """joblib's backend. A SIGTERM ends as Ctrl-C does: each training saves, and is resumed."""
    import joblib

    address = [sweep.address] if sweep.address else []
    try:
        if sweep.backend == "dask":
            from distributed import Client  # type: ignore[import-not-found, unused-ignore]

            Client(*address)  # type: ignore[no-untyped-call, unused-ignore]
        elif sweep.backend == "ray":
            import ray  # type: ignore[import-not-found, unused-ignore]
            from ray.util.joblib import (  # type: ignore[import-not-found, unused-ignore]
                register_ray,
            )

            ray.init(*address)
            register_ray()
    except ImportError:
        needs = {"dask": "dask[distributed]", "ray": "ray"}[sweep.backend]
        raise ImportError(f"backend = {sweep.backend!r} needs more: pip install '{needs}'"
                          ) from None  # fmt: skip
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with joblib.parallel_config(backend=sweep.backend):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- what came of it -------------------------------------------------------------------------


def table(sweep: Sweep) -> list[dict[str, Any]]:
    """A row for each run: what varies, its best measure, last loss, steps, seconds, state. Written
    as CSV, too."""
    rows = []
    for name, settings in sweep.varied.items():
        folder = sweep.out / name
        records = Log(folder).read()
        row = {**settings, **best(records)}
        row["loss"] = next((r["loss"] for r in reversed(records) if "loss" in r), None)
        row["steps"] = records[-1]["step"] if records else 0
        row["seconds"] = records[-1]["seconds"] if records else 0.0
        row["state"] = "done" if (folder / DONE).exists() else "not done"
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(sweep.out / TABLE, text.getvalue().encode())
    return [{name: row.get(name) for name in columns} for row in rows]


def curves(sweep: Sweep) -> list[dict[str, Any]]:
    """How the measure of each run went, as records of one log."""
    return [
        {"step": record["step"], f"{name}_{key.removeprefix('valid_')}": value}
        for name in sweep.runs for record in Log(sweep.out / name).read()
        for key, value in record.items() if key in ("valid_accuracy", "valid_perplexity", "loss")
    ]  # fmt: skip


def best(records: list[dict[str, Any]]) -> dict[str, float]:
    for name, choose in (("valid_accuracy", max), ("valid_perplexity", min)):
        if values := [r[name] for r in records if r.get(name) is not None]:
            return {name: choose(values)}
    return {}


def over_seeds(sweep: Sweep, rows: list[dict[str, Any]]) -> list[str]:
    """Mean and standard deviation over seeds of each combination of the other settings."""
    measure = next((n for row in rows for n in row if n.startswith("valid_")), "loss")
    groups: dict[tuple[Any, ...], list[float]] = {}
    others = [name for name in next(iter(sweep.varied.values())) if name != "seed"]
    for row in rows:
        if row.get(measure) is not None and "seed" in row:
            groups.setdefault(tuple(str(row[n]) for n in others), []).append(row[measure])
    if not any(len(values) > 1 for values in groups.values()):
        return []
    return ["", *aligned([
        {**dict(zip(others, key, strict=True)), "seeds": len(values),
         f"mean {measure}": statistics.fmean(values),
         "deviation": statistics.stdev(values) if len(values) > 1 else None}
        for key, values in groups.items()])]  # fmt: skip


def aligned(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as lines of text, under the names of their columns."""
    lines = [list(rows[0]), *([_shown(x) for x in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(x.rjust(w) for x, w in zip(line, widths, strict=True)) for line in lines]


def _shown(x: Any) -> str:
    return "-" if x is None else f"{x:.4g}" if isinstance(x, float) else str(x)
