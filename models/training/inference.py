"""Models in use: what it takes to put in text and get out text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import distributed

from ..data import (
    START,
    DataError,
    Ids,
    Level,
    Pairs,
    TextBatches,
    Vocabulary,
    encode_inputs,
    split_text,
)
from ..data.bpe import BytePairs
from ..language import LanguageModel
from ..seq2seq import AttentionSeq2seq, Seq2seq
from . import ranks
from .config import PairsConfig


class Reader:
    """A sequence-to-sequence model with what it takes to use it: vocabulary, settings, widths."""

    def __init__(self, model: Seq2seq, vocabulary: Vocabulary, config: PairsConfig,
                 widths: Sequence[int]) -> None:
        self.model, self.vocabulary, self.config, self.widths = model, vocabulary, config, widths

    def answer(self, texts: Sequence[str], beam: int = 1) -> list[str]:
        """The answers to these texts, padded as in training."""
        return [best[0][0] for best in self.answers(texts, beam)]

    def answers(self, texts: Sequence[str], beam: int = 1, end: str | None = None,
                length_penalty: float = 0.0) -> list[list[tuple[str, float]]]:
        """For each text ``beam`` answers with their scores, best first: see ``Seq2seq.search``.

        ``end``: a symbol with which an answer ends; without, all have the width of training.
        DataError for a symbol that there is not, and for a model that gives no probabilities.
        """
        end_id = None if end is None else int(self.vocabulary.encode([end])[0])
        try:
            found = self.model.search(self._encode(texts), self._start, self.widths[1] - 1, beam,
                                      end_id, length_penalty)  # fmt: skip
        except ValueError as error:
            raise DataError(str(error)) from None
        return [
            [(line, float(score)) for line, score in zip(
                self.vocabulary.decode_lines(ids), scores, strict=True)]
            for ids, scores in zip(found.ids, found.scores, strict=True)
        ]  # fmt: skip

    def attend(self, text: str) -> tuple[str, list[str], np.ndarray]:
        """The answer to one text, its characters in reading order, and the weights (Ty, Tx)."""
        if not isinstance(self.model, AttentionSeq2seq):
            raise DataError(f"the model {self.config.model!r} has no attention")
        (answer,) = self.answer([text])
        ts = self.vocabulary.encode(START + answer)[None]
        weights = self.model.attention_weights(self._encode([text]), ts)[0]
        padded = text.ljust(self.widths[0])
        if self.config.reverse:
            weights = weights[:, ::-1]
        return answer, list(padded), weights

    def accuracy(self, pairs: Pairs, beam: int = 1, batch_size: int = 500) -> float:
        """Share of the pairs whose whole answer is right. Each rank of several answers its own."""
        pairs, right = _own(pairs), 0
        for i in range(0, len(pairs), batch_size):
            answers = self.answer(pairs.inputs[i : i + batch_size], beam)
            expected = pairs.answers[i : i + batch_size]
            right += sum(START + a == b for a, b in zip(answers, expected, strict=True))
        return ranks.mean(right / max(len(pairs), 1), len(pairs))

    def loss(self, pairs: Pairs, batch_size: int = 500) -> float:
        """Mean cross-entropy of the answers, in nats, with teacher forcing. Each rank of several
        measures its own."""
        pairs, training = _own(pairs), self.model.training
        self.model.eval()
        total = 0.0
        with tg.no_grad():
            for i in range(0, len(pairs), batch_size):
                ts = self.vocabulary.encode_lines(pairs.answers[i : i + batch_size])
                xs = self._encode(pairs.inputs[i : i + batch_size])
                total += len(xs) * self.model.loss(xs, ts).item()
        self.model.train(training)
        return ranks.mean(total / max(len(pairs), 1), len(pairs))

    @property
    def _start(self) -> int:
        return int(self.vocabulary.encode(START)[0])

    def _encode(self, texts: Sequence[str]) -> Ids:
        return encode_inputs(texts, self.vocabulary, self.widths[0], self.config.reverse)


def _own(pairs: Pairs) -> Pairs:
    """The pairs that this rank measures."""
    if distributed.size() == 1:
        return pairs
    return pairs.select(range(len(pairs))[distributed.share(len(pairs))])


class Writer:
    """A language model with its vocabulary, and whether its symbols are words, characters, or
    byte pairs: then with their encoding."""

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary, level: Level,
                 pairs: BytePairs | None = None) -> None:
        self.model, self.vocabulary, self.level, self.pairs = model, vocabulary, level, pairs

    def text(self, ids: Sequence[int]) -> str:
        """What these symbols say."""
        if self.pairs is not None:
            return self.pairs.decode(ids)
        symbols = self.vocabulary.decode(np.asarray(ids, np.int64))
        if self.level == "char":
            return "".join(symbols)
        return " ".join(symbols).replace(" <eos>", "\n").replace("\n ", "\n")

    def _ids(self, text: str) -> Ids:
        if self.pairs is not None:
            return self.pairs.encode(text)
        return self.vocabulary.encode(split_text(text, self.level))

    def write(self, prompt: str, length: int, temperature: float = 1.0, top_k: int | None = None,
              top_p: float | None = None, banned: Sequence[str] = (),
              seed: int | None = None) -> str:
        """``prompt`` and ``length`` symbols more. DataError when a symbol is not known."""
        start, left_out = self._ids(prompt), self.vocabulary.encode(banned)
        if not len(start):
            raise DataError("the prompt is empty: give the text a beginning")
        if not set(self.vocabulary.symbols) - set(banned):
            raise DataError(f"all {len(self.vocabulary)} symbols are banned: nothing is left to"
                            " write")  # fmt: skip
        try:
            ids = self.model.generate(start, length, temperature, top_k, top_p, left_out,
                                      np.random.default_rng(seed))  # fmt: skip
        except ValueError as error:
            raise DataError(str(error)) from None
        return self.text([*start.tolist(), *ids.tolist()])


def perplexity(model: LanguageModel, ids: Ids, batch_size: int = 10, time_size: int = 35) -> float:
    """exp of the mean loss over a text, read as the book reads it: in ``batch_size`` streams.

    A text that is shorter than one batch is one stream. Each rank of several reads its own streams.
    Dropout is off; the state that the model carries is what it was before.
    """
    if len(ids) <= batch_size * time_size:
        batch_size, time_size = 1, min(time_size, len(ids) - 1)
    training, carried = model.training, model.recurrent.state
    model.eval()
    model.reset_state()
    own = distributed.share(batch_size)
    losses = [0.0]
    if own.start < own.stop:
        with tg.no_grad():
            losses = [model.loss(xs[own], ts[own]).item()
                      for xs, ts in TextBatches(ids, batch_size, time_size)]
    model.train(training)
    model.recurrent.state = carried
    mean = ranks.mean(float(np.mean(losses)), own.stop - own.start)
    return math.exp(min(mean, 700.0))
