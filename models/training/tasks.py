"""What can be learnt: data, model, optimizer and measure of each kind of run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import optim

from ..data import (
    START,
    Batches,
    Corpus,
    DataError,
    Ids,
    PairBatches,
    TextBatches,
    Vocabulary,
    encode_pairs,
    load_ptb,
    make_dates,
    make_sums,
    read_large_corpus,
    read_pairs,
    split_pairs,
)
from ..data.bpe import SIZE, BytePairs
from ..data.mapped import forget
from ..data.reading import read_blocks
from ..data.stream import ADVICE
from ..data.vocabulary import UNKNOWN
from .config import Config, PairsConfig, TextConfig, build_model
from .inference import Reader, Writer, perplexity
from .schedule import factor


class Task:
    """One run: ``config``, ``model``, ``optimizer``, ``batches``, and how it is measured.

    ``measure`` is the name of what ``evaluate`` gives, "accuracy" or "perplexity".
    """

    config: Any
    model: Any
    vocabulary: Vocabulary
    batches: Batches
    optimizer: Any
    average: optim.EMA | None  # of the weights, as it is wanted
    measure: str
    measured_on = "on held-out data"
    rows: int  # of a batch
    rate: float  # the learning rate but for warm-up and what depends on the step

    def summary(self) -> str:
        """One line on what is about to be learnt."""
        raise NotImplementedError

    def evaluate(self, split: str = "valid") -> float:
        """The measure on data that the model does not learn from."""
        raise NotImplementedError

    def held_out_loss(self, value: float) -> float:
        """The loss, in nats, beside ``value``, which ``evaluate`` gave on the same data."""
        raise NotImplementedError

    def set_rate(self, step: int, total: int) -> None:
        """Give the optimizer its learning rate for step ``step`` (from 0) of ``total``."""
        config = self.config
        self.optimizer.lr = self.rate * factor(config.schedule, config.warmup, step, total)

    def end_epoch(self, better: bool) -> None:
        """Adapt the rate to the epoch, and to whether it was the best so far."""
        self.rate *= self.config.lr_decay
        if not better:
            self.rate /= self.config.stall_divisor

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are measured and kept: averages, if wanted."""
        return self.average.averaged() if self.average else nullcontext()

    def samples(self) -> str:
        """A few lines that show what the model can do."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What it takes to use the model, besides its weights and settings."""
        raise NotImplementedError

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all data, also those it is measured on, in 16 digits: they are part of a
        run."""
        return sha256(self.vocabulary, *self.learnt())

    def learnt(self) -> Iterator[Ids]:
        """The ids of all data."""
        raise NotImplementedError

    def _learn_with(self, optimizer: type[optim.Optimizer]) -> None:
        params, config = list(self.model.parameters()), self.config
        self.optimizer, self.rate = optimizer(params, config.lr), config.lr
        self.average = None if config.ema is None else optim.EMA(params, config.ema, debias=True)

    def _size(self) -> str:
        return f"{sum(p.size for p in self.model.parameters()):,} parameters"


class PairsTask(Task):
    """Dates or sums. A tenth of the pairs is held out, no input of which is trained on."""

    measure = "accuracy"

    def __init__(self, config: PairsConfig):
        self.config = config
        if config.data:
            pairs = read_pairs(config.data)
        else:
            pairs = make_dates() if config.task == "date" else make_sums()
        self.train, self.test = split_pairs(pairs)
        self.vocabulary = Vocabulary.of_pairs(pairs)
        xs, ts = encode_pairs(self.train, self.vocabulary, config.reverse)
        tg.manual_seed(config.seed)
        self.model = build_model(config, len(self.vocabulary))
        self._learn_with(optim.Adam)
        self.rows = min(config.batch_size, len(xs))
        self.batches = PairBatches(xs, ts, self.rows, config.seed)
        self.reader = Reader(self.model, self.vocabulary, config, (xs.shape[1], ts.shape[1]))

    def summary(self) -> str:
        return (f"{len(self.train):,} pairs to learn from, {len(self.test):,} to test on,"
                f" {len(self.vocabulary)} characters; {self._size()}")  # fmt: skip

    def evaluate(self, split: str = "valid") -> float:
        return self.reader.accuracy(self.test)

    def held_out_loss(self, value: float) -> float:
        return self.reader.loss(self.test)

    def samples(self) -> str:
        rows = sorted({text: row for row, text in enumerate(self.test.inputs)}.values())[:5]
        pairs = self.test.select(rows)
        return "\n".join(
            f"  {'right' if START + a == b else 'WRONG'}  {x} -> {a}"
            + ("" if START + a == b else f"  (it is {b[1:]})")
            for x, a, b in zip(
                pairs.inputs, self.reader.answer(pairs.inputs), pairs.answers, strict=True
            )
        )

    def about(self) -> dict[str, Any]:
        return {"vocabulary": list(self.vocabulary.symbols), "widths": list(self.reader.widths)}

    def learnt(self) -> Iterator[Ids]:
        for pairs in (self.train, self.test):
            yield from encode_pairs(pairs, self.vocabulary)


class TextTask(Task):
    """Penn Treebank or any text. Of a text the last tenth is held out, but no more than a million
    symbols.

    With ``words`` only the first symbols are read, as in chapter 5, and nothing is held out: the
    perplexity is then that of the text which the model learns.
    """

    measure = "perplexity"

    def __init__(self, config: TextConfig):
        self.config = config
        self.pairs = byte_pairs(config) if config.level == "bpe" else None
        self.parts = read_text(config, self.pairs)
        train = self.parts["train"]
        self.vocabulary = train.vocabulary
        tg.manual_seed(config.seed)
        self.model = build_model(config, len(self.vocabulary))
        self._learn_with({"sgd": optim.SGD, "adam": optim.Adam}[config.optimizer])
        self.rows = config.batch_size
        self.batches = TextBatches(train.ids, self.rows, config.time_size)
        self.writer = Writer(self.model, self.vocabulary, config.level, self.pairs)
        if "valid" not in self.parts:
            self.measured_on = "on the text itself"

    def summary(self) -> str:
        unit = {"word": "words", "char": "characters", "bpe": "pieces"}[self.config.level]
        sizes = ", ".join(f"{name} {len(part.ids):,}" for name, part in self.parts.items())
        return f"{unit}: {sizes}; {len(self.vocabulary):,} different ones; {self._size()}"

    def evaluate(self, split: str = "valid") -> float:
        return perplexity(self.model, self.part(split)[1].ids)

    def held_out_loss(self, value: float) -> float:
        return math.log(value)

    def part(self, split: str) -> tuple[str, Corpus]:
        """The part of this name, or what stands in for it: test, valid, train."""
        name = next(name for name in (split, "valid", "train") if name in self.parts)
        return name, self.parts[name]

    def samples(self) -> str:
        ids = self.part("valid")[1].ids[:1]
        prompt = self.writer.text(ids.tolist())
        length = 80 if self.config.level == "char" else 20
        text = self.writer.write(prompt, length, seed=self.config.seed)
        return "  " + " | ".join(line for line in text.split("\n") if line.strip())

    def about(self) -> dict[str, Any]:
        merges = {} if self.pairs is None else {"merges": self.pairs.merges}
        return {"vocabulary": list(self.vocabulary.symbols), **merges}

    def learnt(self) -> Iterator[Ids]:
        return (part.ids for part in self.parts.values())


HELD_OUT = 1_000_000  # symbols at most: measuring must not take longer than learning


def byte_pairs(config: TextConfig) -> BytePairs:
    """The encoding that is given, or learnt from the text."""
    if config.tokenizer:
        return BytePairs.from_file(config.tokenizer)
    text = read_blocks(config.data or "", config.encoding, ADVICE)
    return BytePairs.train(text, config.max_vocab or SIZE)


def read_text(config: TextConfig, pairs: BytePairs | None = None) -> dict[str, Corpus]:
    """The parts "train", "valid", "test" of the data of a language model, as far as there are."""
    if config.task == "ptb":
        ptb = load_ptb(config.data)
        if config.words:
            return {"train": ptb.train.first(config.words)}
        return {"train": ptb.train, "valid": ptb.valid, "test": ptb.test}
    whole = read_large_corpus(config.data or "", config.level, config.encoding, config.min_count,
                              config.max_vocab, pairs=pairs)  # fmt: skip
    if whole.vocabulary.symbols == (UNKNOWN,) and (config.min_count > 1 or config.max_vocab):
        raise DataError(f"{config.data}: every symbol becomes {UNKNOWN}: give a smaller --min-count"
                        " or a larger --max-vocab")
    if config.words:
        return {"train": whole.first(config.words)}
    cut = len(whole.ids) - min(len(whole.ids) // 10, HELD_OUT)
    held = whole.ids[cut:]
    if len(held) < 2:
        return {"train": whole}
    return {"train": Corpus(whole.ids[:cut], whole.vocabulary),
            "valid": Corpus(held, whole.vocabulary)}  # fmt: skip


def sha256(vocabulary: Vocabulary, *parts: Ids) -> str:
    """The digest of symbols and of their ids, whatever type of integer these are, in 16 digits."""
    sha = hashlib.sha256(json.dumps(vocabulary.symbols).encode())
    for ids in parts:
        sha.update(f"{ids.shape}".encode())
        flat = ids.reshape(-1)
        for i in range(0, flat.size, 1 << 20):  # of a text that is larger than memory as well
            sha.update(np.asarray(flat[i : i + (1 << 20)], "<i8").data)
            forget(flat)
    return sha.hexdigest()[:16]


def make_task(config: Config) -> Task:
    return PairsTask(config) if isinstance(config, PairsConfig) else TextTask(config)
