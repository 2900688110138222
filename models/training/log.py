"""The log of a run: ``log.jsonl``, one JSON object a line; on request also as CSV, and as event
files that TensorBoard reads."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

from ..data import DataError
from ..files import checkpoint

LOG, CSV, EVENTS = "log.jsonl", "log.csv", "tensorboard"
Record = dict[str, Any]
# All that a record may hold. Losses are means in nats, norm is that of the whole gradient before
# clipping, tokens are targets: symbols that are predicted.
COLUMNS = (
    "epoch", "step", "loss", "perplexity", "train_loss", "valid_loss", "valid_perplexity",
    "valid_accuracy", "norm", "lr", "tokens_per_second", "seconds",
)  # fmt: skip


class Log:
    """What happened in a run, in its folder. A record has at least ``epoch`` and ``step``.

    A log that cannot be written is told once (``problem``), and costs the training nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.problem: str | None = None
        self.odd = 0  # lines that were no records when it was last read
        self.csv: Path | None = None
        self.events: Events | None = None

    def write(self, record: Record) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            if self.csv is not None:
                new = not self.csv.exists()
                with open(self.csv, "a", encoding="utf-8", newline="") as file:
                    file.write(as_csv([record], heading=new))
            if self.events is not None:
                self.events.write(record)
        except OSError as error:
            self.problem = (f"{error.filename or self.path}: cannot be written ({error.strerror});"
                            " training goes on")

    def read(self) -> list[Record]:
        """The records so far, without lines that are none (a line that was cut off, say)."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        records = [_record(line) for line in lines]
        self.odd = records.count(None)
        return [record for record in records if record is not None]

    def cut(self, step: int, measured: int) -> None:
        """Leave out what came after ``step``, and epochs after ``measured``: it comes anew."""
        kept = [
            record for record in self.read()
            if record["step"] <= step and ("train_loss" not in record
                                           or record["epoch"] <= measured)
        ]  # fmt: skip
        try:
            lines = "".join(json.dumps(record) + "\n" for record in kept)
            checkpoint.write_atomically(self.path, lines.encode())
            if self.csv is not None:
                checkpoint.write_atomically(self.csv, as_csv(kept, heading=True).encode())
            if self.events is not None:
                self.events.cut(step, kept)
        except DataError as error:
            self.problem = f"{error}; the training goes on"


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(record, dict) and all(type(record.get(k)) is int for k in ("epoch", "step"))
    return record if fits else None


def as_csv(records: list[Record], heading: bool) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    if heading:
        table.writeheader()
    table.writerows(records)
    return text.getvalue()


class Events:
    """Event files for TensorBoard, a curve for every number of the records over their steps.

    ImportError when tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise ImportError("--tensorboard needs tensorboard: pip install tensorboard") from None
        self._folder, self._open = folder, EventFileWriter
        self._event, self._summary, self._session = Event, Summary, SessionLog
        self._writer: Any = None

    def cut(self, step: int, kept: list[Record]) -> None:
        """What is in the folder after this step is no longer shown; an empty one gets what was
        ``kept``."""
        earlier = [] if any(self._folder.glob("*")) else kept
        self._add(step + 1, session_log=self._session(status=self._session.START))
        for record in earlier:
            self.write(record)

    def write(self, record: Record) -> None:
        values = [
            self._summary.Value(tag=name, simple_value=float(value))
            for name, value in record.items()
            if name not in ("epoch", "step", "seconds") and value is not None
        ]
        self._add(record["step"], summary=self._summary(value=values))

    def _add(self, step: int, **what: Any) -> None:
        if self._writer is None:
            self._writer = self._open(str(self._folder))
        self._writer.add_event(self._event(wall_time=time.time(), step=step, **what))
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
