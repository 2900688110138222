"""Text of any size: read once, block by block, and encoded to ids that need not be in memory.

Ids that take more than ``IN_MEMORY`` go to a file in a cache folder, named by the SHA-256 of the
text and of what was asked of it, which is mapped into memory: a batch reads what it wants of it.
Training on a text that was read before begins at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .bpe import BytePairs
from .mapped import forget
from .reading import BLOCK, DataError, read_blocks, standard_input
from .text import END_OF_LINE, Corpus, Level, nfc, split_text
from .vocabulary import UNKNOWN, Ids, Vocabulary

IN_MEMORY = 1 << 26  # bytes of ids
ADVICE = ", or name what it is with --encoding"  # about a text in another encoding
VERSION = 2  # of the files in the cache


def read_large_corpus(
    path: str | Path, level: Level = "word", encoding: str = "utf-8", min_count: int = 1,
    max_vocab: int | None = None, cache: str | Path | None = None, pairs: BytePairs | None = None,
) -> Corpus:
    """Read a text as words or characters (in NFC), in memory that hangs on the vocabulary alone.

    With ``pairs`` it is encoded by these instead of by the first three.

    Args:
        path: a text, also ``.gz`` or ``.xz``; ``-`` is standard input.
        min_count, max_vocab: symbols that occur less often, and all but the most frequent
            ``max_vocab``, become ``<unk>``, which counts as one of them.
        cache: the folder for large texts; by default the user's own.

    DataError when the text is missing, empty or not in the encoding.
    """
    folder = Path(cache) if cache is not None else cache_folder()
    name = None
    if str(path) != "-" and Path(path).is_file() and Path(path).stat().st_size > IN_MEMORY / 16:
        by = [level, min_count, max_vocab] if pairs is None else [pairs.merges]
        name = _name(path, encoding, *by)
        if found := _open(folder / name):
            return found
    sink = Sink(folder)
    try:
        blocks = read_blocks(path, encoding, ADVICE)
        new = None
        if pairs is not None:
            symbols: Sequence[str] = ()
            for piece in _pieces(blocks, "word"):
                sink.add(pairs.encode(piece))
                symbols = symbols or piece.split(None, 1)
            vocabulary = pairs.vocabulary
        else:
            symbols = _encode(blocks, level, sink)
            vocabulary, new = _restrict(symbols, sink.counts, min_count, max_vocab)
        if not any(not s.isspace() and s != END_OF_LINE for s in symbols):
            raise DataError(f"{path}: the file is empty")
        ids = sink.finish(new)
        if sink.path is not None:
            ids = _keep(sink.path, folder / (name or sink.path.stem), vocabulary, sink.size)
    except BaseException:
        sink.remove()
        raise
    return Corpus(ids, vocabulary)


def cache_folder() -> Path:
    """Where large texts are kept: the user's cache folder, or what TINYGRAD_RNN_CACHE names."""
    if given := os.environ.get("TINYGRAD_RNN_CACHE"):
        return Path(given)
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "tinygrad-rnn" / "texts"


def keep_standard_input(cache: str | Path | None = None) -> Path:
    """Standard input as a file in the cache folder, named by its SHA-256: a run that is resumed
    reads its text again."""
    folder = Path(cache) if cache is not None else cache_folder()
    sha = hashlib.sha256()
    handle, part = _temporary(folder)
    try:
        with os.fdopen(handle, "wb") as file, os.fdopen(os.dup(standard_input()), "rb") as given:
            while block := given.read(BLOCK):
                sha.update(block)
                file.write(block)
        path = folder / f"stdin-{sha.hexdigest()[:32]}.txt"
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def _temporary(folder: Path) -> tuple[int, Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(".part", "text-", folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror}); name another folder"
                        " for large texts with TINYGRAD_RNN_CACHE") from None
    return handle, Path(path)


class Sink:
    """Ids one after the other: in memory, and from some size on in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._parts = folder, list[np.ndarray]()
        self._file: Any = None
        self.path: Path | None = None
        self.size = 0
        self.counts = np.zeros(0, np.int64)

    def add(self, ids: np.ndarray) -> None:
        ids = ids.astype("<i4", copy=False)
        self.size += len(ids)
        counts = np.bincount(ids, minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        if self._file is not None:
            self._file.write(ids.data)
            return
        self._parts.append(ids)
        if 4 * self.size > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        handle, self.path = _temporary(self._folder)
        self._file = os.fdopen(handle, "wb")
        for part in self._parts:
            self._file.write(part.data)
        self._parts.clear()

    def finish(self, new: np.ndarray | None) -> Ids:
        """All ids, renamed to ``new[id]``."""
        if self._file is None:
            whole = np.concatenate(self._parts).astype(np.int64)
            return whole if new is None else new[whole]
        self._file.close()
        assert self.path is not None
        mapped = np.memmap(self.path, "<i4", "r+")
        if new is not None:
            for i in range(0, self.size, BLOCK):
                mapped[i : i + BLOCK] = new[mapped[i : i + BLOCK]]
                forget(mapped)
        mapped.flush()
        return mapped

    def remove(self) -> None:
        """What was written is not wanted."""
        if self._file is not None and self.path is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)


def _encode(blocks: Iterable[str], level: Level, sink: Sink) -> list[str]:
    """Give the ids of all symbols, in the order of their first occurrence, to a sink."""
    known: dict[str, int] = {}
    places = np.full(0x110000, -1, np.int32)  # of characters, by code point
    for piece in _pieces(blocks, level):
        if level == "char":
            points = np.frombuffer(nfc(piece).encode("utf-32-le", "surrogatepass"), "<u4")
            found, first = np.unique(points, return_index=True)
            for i in np.sort(first[places[found] < 0]):
                places[points[i]] = known.setdefault(chr(points[i]), len(known))
            sink.add(places[points])
            continue
        symbols = split_text(piece, level)
        sink.add(np.fromiter((known.setdefault(s, len(known)) for s in symbols), np.int32,
                             len(symbols)))  # fmt: skip
    return list(known)


def _pieces(blocks: Iterable[str], level: Level) -> Iterator[str]:
    """The same text, cut where no symbol is cut: before white space, of which neither a word nor
    a character with its accents holds any."""
    held = ""
    for block in blocks:
        held += block
        cut = max(held.rfind(" "), held.rfind("\n"))
        if cut <= 0 and level == "char" and len(held) > 64:  # without white space
            cut = next((i for i in range(len(held) - 1, 0, -1) if _apart(held[i - 1 : i + 1])), 0)
        if cut > 0:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _apart(pair: str) -> bool:
    """Whether two characters stay two in NFC, whatever comes after them."""
    second = pair[1]
    return second.isascii() or (
        unicodedata.combining(second) == 0 and nfc(pair) == nfc(pair[0]) + nfc(second))


def _restrict(symbols: Sequence[str], counts: np.ndarray, min_count: int,
              max_vocab: int | None) -> tuple[Vocabulary, np.ndarray | None]:
    """The vocabulary that is kept, and the new id of each symbol (None: as they are)."""
    keep = counts >= min_count
    if max_vocab is not None and keep.sum() + (not keep.all()) > max_vocab:
        often = np.argsort(-counts, kind="stable")
        often = often[np.array([symbols[i] != UNKNOWN for i in often], bool)]
        keep[:] = False
        keep[often[: max_vocab - 1]] = counts[often[: max_vocab - 1]] >= min_count
    if keep.all():
        return Vocabulary(symbols), None
    kept = [s for s, k in zip(symbols, keep, strict=True) if k and s != UNKNOWN]
    vocabulary = Vocabulary([*kept, UNKNOWN])
    places = {s: i for i, s in enumerate(vocabulary.symbols)}
    return vocabulary, np.array([places.get(s, len(kept)) for s in symbols])


def _name(path: str | Path, *asked: object) -> str:
    sha = hashlib.sha256(json.dumps([VERSION, *asked]).encode())
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                sha.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return f"text-{sha.hexdigest()[:32]}"


def _keep(part: Path, base: Path, vocabulary: Vocabulary, size: int) -> Ids:
    """Put a finished file and its vocabulary into the cache; the vocabulary last."""
    ids, about = base.with_suffix(".ids"), base.with_suffix(".json")
    os.replace(part, ids)
    new = about.with_suffix(f".{os.getpid()}.part")
    new.write_text(json.dumps({"size": size, "symbols": vocabulary.symbols}), encoding="utf-8")
    os.replace(new, about)
    return np.memmap(ids, "<i4", "r")


def _open(base: Path) -> Corpus | None:
    """What an earlier run has kept, if it is whole."""
    ids, about = base.with_suffix(".ids"), base.with_suffix(".json")
    try:
        said = json.loads(about.read_text(encoding="utf-8"))
        vocabulary, size = Vocabulary(said["symbols"]), said["size"]
        if size and ids.stat().st_size == 4 * size:
            return Corpus(np.memmap(ids, "<i4", "r"), vocabulary)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
