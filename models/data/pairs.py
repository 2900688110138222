"""Pairs: an input and its answer, for sequence to sequence. Written dates, sums, and files.

The book's format, one pair a line: an input padded with spaces, then the start symbol ``_``, then
the answer. *Deep Learning from Scratch 2*, chapters 7 and 8; the sums are drawn as in the addition
example of Keras, which the book's own file follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from .reading import DataError, read_text

START = "_"


@dataclass(frozen=True)
class Pairs:
    """Inputs (N strings of Tx characters) and answers (N strings of Ty, the first one ``_``)."""

    inputs: tuple[str, ...]
    answers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def input_width(self) -> int:
        """Tx, the number of characters of every input."""
        return len(self.inputs[0])

    def select(self, rows: Iterable[int]) -> Pairs:
        """The pairs at these rows, in this order."""
        chosen = [int(row) for row in rows]
        return Pairs(
            tuple(self.inputs[row] for row in chosen), tuple(self.answers[row] for row in chosen)
        )


DATE_WIDTH = 29
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2017, 7, 24)  # the range of the book's date.txt
# Spelt out, because strftime would follow the user's language.
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Title case twice: in the book's file it is as frequent as lower and upper case together.
CASES = (str, str, str.lower, str.upper)


def make_dates(count: int = 50_000, seed: int = 0) -> Pairs:
    """Written dates and their ISO form: ``MONDAY, MAY 5, 1975`` -> ``_1975-05-05``, 29 + 11 wide.

    A quarter each of ``May 5, 1975`` with the month in full, with the month's first three
    letters, ``Monday, May 5, 1975`` and ``5/5/75``; words in title case (half of them), lower case
    or upper case; days from 1970-01-01 to 2017-07-24, so that two digits name a year. No written
    date occurs twice. ValueError when ``count`` is not in 1..60,000 (there are 17,372 ``m/d/yy``).
    """
    _check_count("make_dates", count, 60_000)
    rng = np.random.default_rng(seed)
    days = (LAST_DAY - FIRST_DAY).days + 1
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        draws = zip(
            rng.integers(days, size=count).tolist(), rng.integers(4, size=count).tolist(),
            strict=True,
        )  # fmt: skip
        for day, case in draws:
            if len(pairs) == count:
                break
            when = FIRST_DAY + timedelta(day)
            # The way of writing moves on only when a new date was found: exact quarters.
            written = CASES[case](_write_date(when, way=len(pairs) % 4))
            pairs.setdefault(written.ljust(DATE_WIDTH), START + when.isoformat())
    return Pairs(tuple(pairs), tuple(pairs.values()))


def _write_date(when: date, way: int) -> str:
    if way == 0:
        return f"{when.month}/{when.day}/{when.year % 100:02}"
    month = MONTHS[when.month - 1]
    if way == 1:
        month = month[:3]
    weekday = f"{WEEKDAYS[when.weekday()]}, " if way == 2 else ""
    return f"{weekday}{month} {when.day}, {when.year}"


def make_sums(count: int = 50_000, seed: int = 0) -> Pairs:
    """Sums of two numbers below 1000: ``16+75  `` -> ``_91  ``, 7 + 5 wide.

    Each number has one, two or three digits with equal chance. No sum occurs twice, also not with
    its terms exchanged. ValueError when ``count`` is not in 1..100,000.
    """
    _check_count("make_sums", count, 100_000)
    rng = np.random.default_rng(seed)
    terms = np.empty((0, 2), dtype=np.int64)
    while len(terms) < count:
        digits = rng.integers(1, 4, size=(count, 2))
        terms = np.concatenate([terms, rng.integers(0, 10**digits)])
        unordered = terms.min(axis=1) * 1000 + terms.max(axis=1)
        terms = terms[np.sort(np.unique(unordered, return_index=True)[1])]
    rows = terms[:count].tolist()
    return Pairs(
        tuple(f"{a}+{b}".ljust(7) for a, b in rows),
        tuple(START + str(a + b).ljust(4) for a, b in rows),
    )


def _check_count(name: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise ValueError(f"{name}: count is {count}, wanted 1 to {most}")


def read_pairs(path: str | Path) -> Pairs:
    """Read a file in the book's format; the widths are those of its first line.

    DataError, naming file and line, when the file is missing, empty or not UTF-8, or when a line
    has another width, its ``_`` in another place, or nothing on one side of it.
    """
    inputs, answers = [], []
    lines = read_text(path).rstrip("\n").split("\n")
    length, at = len(lines[0]), lines[0].find(START)
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        if START not in line:
            raise DataError(f"{where}: no {START!r} between input and answer")
        if len(line) != length:
            raise DataError(
                f"{where}: {len(line)} characters, but line 1 has {length}: "
                "pad inputs and answers with spaces to one width"
            )
        if line.find(START) != at:
            raise DataError(
                f"{where}: {START!r} is character {line.find(START) + 1}, "
                f"but in line 1 it is character {at + 1}"
            )
        if at == 0 or at == length - 1:
            raise DataError(f"{where}: nothing {'before' if at == 0 else 'after'} {START!r}")
        inputs.append(line[:at])
        answers.append(line[at:])
    return Pairs(tuple(inputs), tuple(answers))


def split_pairs(pairs: Pairs, test_fraction: float = 0.1, seed: int = 1984) -> tuple[Pairs, Pairs]:
    """Shuffle and split into (train, test); no written input stands on both sides.

    *Overlap* is meant literally: the same string of characters. A file may hold an input several
    times (a sixth of the lines of the book's date.txt repeat one); all copies go to one side.
    The same day written in two ways is two inputs: reading both is what the model has to learn.

    The test set is ``test_fraction`` of the pairs, and at most the copies of one input more.
    DataError when either side would be empty.
    """
    group_of: dict[str, int] = {}
    groups = np.array([group_of.setdefault(text, len(group_of)) for text in pairs.inputs])
    # One random rank for each distinct input: sorting by it shuffles, and keeps copies together.
    ranks = np.random.default_rng(seed).permutation(len(group_of))[groups]
    order = np.argsort(ranks, kind="stable")
    cut = len(pairs) - round(len(pairs) * test_fraction)
    if 0 < cut < len(pairs):
        cut = int(np.searchsorted(ranks[order], ranks[order[cut]]))
    if not 0 < cut < len(pairs):
        raise DataError(
            f"{len(pairs)} pairs with {len(group_of)} different inputs are too few to keep "
            f"{test_fraction:.0%} of them for testing"
        )
    return pairs.select(order[:cut]), pairs.select(order[cut:])
