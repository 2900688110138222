"""Symbols (characters or words) and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .pairs import Pairs
from .reading import DataError

Ids = NDArray[np.int64]
UNKNOWN = "<unk>"  # what stands for a word that is not in the vocabulary


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
            if UNKNOWN in self:
                known += f"; write {UNKNOWN} in its place"
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
