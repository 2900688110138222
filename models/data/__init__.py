"""What the models learn from: pairs and running text, their symbols, and batches of both.

Imports run downwards: reading, pairs, vocabulary, text, stream, mapped, batches.
"""

from .batches import Batches, PairBatches, TextBatches
from .pairs import START, Pairs, make_dates, make_sums, read_pairs, split_pairs
from .reading import DataError
from .stream import read_large_corpus
from .text import Corpus, Level, PennTreebank, load_ptb, read_corpus, split_text
from .vocabulary import Ids, Vocabulary, encode_inputs, encode_pairs

__all__ = [
    "START", "Batches", "Corpus", "DataError", "Ids", "Level", "PairBatches", "Pairs",
    "PennTreebank", "TextBatches", "Vocabulary", "encode_inputs", "encode_pairs", "load_ptb",
    "make_dates", "make_sums", "read_corpus", "read_large_corpus", "read_pairs",
    "split_pairs", "split_text",
]  # fmt: skip
