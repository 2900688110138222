"""The log of a run: ``log.jsonl``, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..data import DataError
from ..files import checkpoint

LOG = "log.jsonl"
Record = dict[str, Any]


class Log:
    """What happened in a run, in its folder. A record has at least ``epoch`` and ``step``.

    A log that cannot be written is told once (``problem``), and costs the training nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.problem: str | None = None
        self.odd = 0  # lines that were no records when it was last read

    def write(self, record: Record) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            self.problem = f"{self.path}: cannot be written ({error.strerror}); training goes on"

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
            json.dumps(record) for record in self.read()
            if record["step"] <= step and ("train_loss" not in record
                                           or record["epoch"] <= measured)
        ]  # fmt: skip
        try:
            checkpoint.write_atomically(self.path, "".join(f"{x}\n" for x in kept).encode())
        except DataError as error:
            self.problem = f"{error}; the training goes on"


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(record, dict) and all(type(record.get(k)) is int for k in ("epoch", "step"))
    return record if fits else None
