"""Byte-pair encoding: symbols that are frequent pieces of words, through the tokenizers library.

Sennrich et al. (2016), on bytes (Radford et al., 2019), so that no text has an unknown symbol. What
is kept of an encoding is its symbols and its merges, and nothing that a stranger's file could run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .reading import DataError
from .vocabulary import Ids, Vocabulary

SIZE = 8000  # symbols that are learnt where nothing else is said


class BytePairs:
    """An encoding: ``vocabulary``, and ``merges``, each two symbols with a space between.

    ImportError when tokenizers is not installed, DataError when the merges are not of the symbols.
    """

    def __init__(self, symbols: Sequence[str], merges: Sequence[str]) -> None:
        library = _library()
        self.vocabulary, self.merges = Vocabulary(symbols), list(merges)
        places = {symbol: i for i, symbol in enumerate(symbols)}
        pairs = [tuple(merge.split(" ")) for merge in self.merges]
        if any(len(p) != 2 or p[0] not in places or p[1] not in places or "".join(p) not in places
               for p in pairs):  # fmt: skip
            raise DataError("byte-pair encoding: merges that are not of its symbols")
        missing = set(library.pre_tokenizers.ByteLevel.alphabet()) - places.keys()
        if missing:
            raise DataError(f"byte-pair encoding: {len(missing)} of the 256 bytes are no symbols")
        self._tokenizer = library.Tokenizer(library.models.BPE(vocab=places, merges=pairs))
        self._tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = library.decoders.ByteLevel()

    @classmethod
    def train(cls, blocks: Iterable[str], size: int = SIZE) -> BytePairs:
        """Learn ``size`` symbols (256 of them are the bytes) from a text."""
        library = _library()
        if size < 256:
            raise DataError(f"byte-pair encoding: {size} symbols, wanted 256, for the bytes, or"
                            " more")  # fmt: skip
        learner = library.Tokenizer(library.models.BPE())
        learner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        learner.train_from_iterator(iter(blocks), library.trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ))  # fmt: skip
        return cls._of(json.loads(learner.to_str()))

    @classmethod
    def from_file(cls, path: str | Path) -> BytePairs:
        """The encoding of a ``tokenizer.json`` of byte-level BPE. DataError for anything else."""
        if not Path(path).is_file():  # a checkpoint may name a device, which has no end
            raise DataError(f"{path}: no such file")
        try:
            said = json.loads(Path(path).read_text(encoding="utf-8"))
            if said["model"]["type"] != "BPE" or "ByteLevel" not in json.dumps(
                    said["pre_tokenizer"]):
                raise ValueError
            return cls._of(said)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise DataError(f"{path}: not a tokenizer.json of byte-level BPE") from None

    @classmethod
    def _of(cls, said: Any) -> BytePairs:
        places = said["model"]["vocab"]
        symbols = sorted(places, key=places.__getitem__)
        if [places[s] for s in symbols] != list(range(len(symbols))):
            raise ValueError
        merges = [m if isinstance(m, str) else " ".join(m) for m in said["model"]["merges"]]
        return cls(symbols, merges)

    def encode(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text).ids, np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text; bytes that are no UTF-8 are shown as U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ImportError('--level bpe needs tokenizers: pip install "tinygrad-rnn[bpe]"') from None
    return tokenizers
