"""What can be learnt: settings, data, model, optimizer and measure of each kind of run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import optim

from .data import (
    START,
    Batches,
    Corpus,
    DataError,
    Ids,
    Level,
    PairBatches,
    Pairs,
    TextBatches,
    Vocabulary,
    encode_inputs,
    encode_pairs,
    load_ptb,
    make_dates,
    make_sums,
    read_corpus,
    read_pairs,
    split_pairs,
    split_text,
)
from .language import BetterRnnlm, LanguageModel, Rnnlm, SimpleRnnlm
from .seq2seq import AttentionSeq2seq, DeepAttentionSeq2seq, PeekySeq2seq, Seq2seq

# ---- settings ----


@dataclass(frozen=True)
class PairsConfig:
    """Settings of a sequence-to-sequence run. The defaults are the book's for dates (chapter 8),
    but for the learning rate: 0.003, halved after every epoch, instead of 0.001 all along.
    """

    task: str = "date"
    model: str = "attention"
    D: int = 16
    H: int = 256
    reverse: bool = True
    bidirectional: bool = False
    input_feeding: bool = False
    score: str = "dot"
    num_layers: int = 3
    residual: bool = True
    epochs: int = 4
    batch_size: int = 128
    lr: float = 0.003
    lr_decay: float = 0.5
    max_norm: float | None = 5.0
    seed: int = 1
    data: str | None = None


@dataclass(frozen=True)
class TextConfig:
    """Settings of a language model. The defaults are the book's for Rnnlm (chapter 6).

    After every epoch the learning rate is multiplied by ``lr_decay``; and, where the perplexity on
    held-out data was not the best so far, divided by ``stall_divisor``.
    """

    task: str = "ptb"
    model: str = "rnnlm"
    cell: str = "lstm"
    D: int = 100
    H: int = 100
    num_layers: int = 2
    dropout: float = 0.5
    level: Level = "word"
    words: int | None = None
    epochs: int = 4
    batch_size: int = 20
    time_size: int = 35
    optimizer: str = "sgd"
    lr: float = 20.0
    lr_decay: float = 1.0
    stall_divisor: float = 1.0
    max_norm: float | None = 0.25
    seed: int = 1
    data: str | None = None


Config = PairsConfig | TextConfig

SEQ2SEQ, RNNLM = ("plain", "peeky", "attention", "deep"), ("simple", "rnnlm", "better")
MODELS = {"date": SEQ2SEQ, "addition": SEQ2SEQ, "ptb": RNNLM, "text": RNNLM}
DEFAULT_MODEL = {"date": "attention", "addition": "plain", "ptb": "rnnlm", "text": "rnnlm"}
# Where a task, or a model of it, has other defaults than its config: the book's settings (chapter
# 7 for sums, 5 for "simple", 6 for "better"); for any text Adam, whose learning rate suits
# characters and words.
PRESETS: dict[str, dict[str, Any]] = {
    "addition": {"H": 128, "reverse": False, "epochs": 25, "lr": 0.001, "lr_decay": 1.0},
    "ptb rnnlm": {"lr_decay": 0.65},  # the book: 20 all along
    "ptb simple": {
        "words": 1000, "epochs": 100, "batch_size": 10, "time_size": 5, "lr": 0.1,
        "max_norm": None,
    },
    "ptb better": {"D": 650, "H": 650, "epochs": 40, "stall_divisor": 4.0},
    "text": {
        "D": 64, "H": 256, "epochs": 10, "batch_size": 32, "time_size": 64, "optimizer": "adam",
        "lr": 0.002, "max_norm": 5.0,
    },
    "text better": {"D": 256, "stall_divisor": 4.0},
}  # fmt: skip
# Settings that only some models have.
ONLY = {
    "bidirectional": ("attention", "deep"), "input_feeding": ("attention",),
    "score": ("attention", "deep"), "num_layers": ("deep", "better"), "residual": ("deep",),
    "dropout": ("better",), "cell": ("rnnlm", "better"),
}  # fmt: skip


def make_config(task: str, model: str | None = None, **given: Any) -> Config:
    """The settings of this task and model, with what is given in place of the defaults.

    DataError for settings that the model does not have, or that do not go together.
    """
    model = model or DEFAULT_MODEL[task]
    if model not in MODELS[task]:
        raise DataError(f"{task} has no model {model!r}; there are {', '.join(MODELS[task])}")
    for name in given:
        if name in ONLY and model not in ONLY[name]:
            raise DataError(f"the model {model!r} has no setting {name!r}; it is one of"
                            f" {', '.join(ONLY[name])}")  # fmt: skip
    kind = PairsConfig if task in ("date", "addition") else TextConfig
    settings = {"task": task, "model": model}
    settings |= PRESETS.get(task, {}) | PRESETS.get(f"{task} {model}", {})
    if model == "better" and "H" in given:
        settings["D"] = given["H"]
    return kind(**(settings | given))


def read_config(saved: dict[str, Any]) -> Config:
    """The settings that ``dataclasses.asdict`` made of a config."""
    return (PairsConfig if saved["task"] in ("date", "addition") else TextConfig)(**saved)


def build_model(config: Config, V: int) -> Any:
    """The model of these settings for V symbols, its weights drawn."""
    if isinstance(config, TextConfig):
        if config.model == "better":
            return BetterRnnlm(V, config.D, config.H, config.dropout, config.num_layers,
                               config.cell)  # fmt: skip
        if config.model == "simple":
            return SimpleRnnlm(V, config.D, config.H)
        return Rnnlm(V, config.D, config.H, config.cell)
    D, H = config.D, config.H
    if config.model == "deep":
        return DeepAttentionSeq2seq(V, D, H, config.num_layers, config.residual,
                                    config.bidirectional, config.score)  # fmt: skip
    if config.model == "attention":
        return AttentionSeq2seq(V, D, H, config.bidirectional, config.input_feeding, config.score)
    return (PeekySeq2seq if config.model == "peeky" else Seq2seq)(V, D, H)


# ---- models in use ----


class Reader:
    """A sequence-to-sequence model with what it takes to use it: vocabulary, settings, widths."""

    def __init__(self, model: Seq2seq, vocabulary: Vocabulary, config: PairsConfig,
                 widths: Sequence[int]) -> None:
        self.model, self.vocabulary, self.config, self.widths = model, vocabulary, config, widths

    def answer(self, texts: Sequence[str], beam: int = 1) -> list[str]:
        """The answers to these texts, padded as in training."""
        xs = self._encode(texts)
        return self.vocabulary.decode_lines(
            self.model.generate(xs, self._start, self.widths[1] - 1, beam)
        )

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
        """Share of the pairs whose whole answer is right."""
        right = 0
        for i in range(0, len(pairs), batch_size):
            answers = self.answer(pairs.inputs[i : i + batch_size], beam)
            expected = pairs.answers[i : i + batch_size]
            right += sum(START + a == b for a, b in zip(answers, expected, strict=True))
        return right / len(pairs)

    @property
    def _start(self) -> int:
        return int(self.vocabulary.encode(START)[0])

    def _encode(self, texts: Sequence[str]) -> Ids:
        return encode_inputs(texts, self.vocabulary, self.widths[0], self.config.reverse)


class Writer:
    """A language model with its vocabulary, and whether its symbols are words or characters."""

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary, level: Level):
        self.model, self.vocabulary, self.level = model, vocabulary, level

    def write(self, prompt: str, length: int, temperature: float = 1.0, top_k: int | None = None,
              top_p: float | None = None, banned: Sequence[str] = (),
              seed: int | None = None) -> str:
        """``prompt`` and ``length`` symbols more. DataError when a symbol is not known."""
        symbols = split_text(prompt, self.level)
        if not symbols:
            raise DataError("the prompt is empty: give the text a beginning")
        ids = self.model.generate(
            self.vocabulary.encode(symbols), length, temperature, top_k, top_p,
            self.vocabulary.encode(banned), np.random.default_rng(seed),
        )  # fmt: skip
        symbols += self.vocabulary.decode(ids)
        if self.level == "char":
            return "".join(symbols)
        return " ".join(symbols).replace(" <eos>", "\n").replace("\n ", "\n")


def perplexity(model: LanguageModel, ids: Ids, batch_size: int = 10, time_size: int = 35) -> float:
    """exp of the mean loss over a text, read as the book reads it: in ``batch_size`` streams.

    A text that is shorter than one batch is one stream. Dropout is off; the state that the model
    carries is what it was before.
    """
    if len(ids) <= batch_size * time_size:
        batch_size, time_size = 1, min(time_size, len(ids) - 1)
    training, carried = model.training, model.recurrent.state
    model.eval()
    model.reset_state()
    with tg.no_grad():
        losses = [model.loss(xs, ts).item() for xs, ts in TextBatches(ids, batch_size, time_size)]
    model.train(training)
    model.recurrent.state = carried
    return math.exp(min(np.mean(losses), 700.0))


# ---- runs ----


class Task:
    """One run: ``config``, ``model``, ``optimizer``, ``batches``, and how it is measured.

    ``measure`` is the name of what ``evaluate`` gives, "accuracy" or "perplexity".
    """

    config: Any
    model: Any
    vocabulary: Vocabulary
    batches: Batches
    optimizer: Any
    measure: str
    measured_on = "on held-out data"

    def summary(self) -> str:
        """One line on what is about to be learnt."""
        raise NotImplementedError

    def evaluate(self, split: str = "valid") -> float:
        """The measure on data that the model does not learn from."""
        raise NotImplementedError

    def end_epoch(self, value: float, best: float | None) -> None:
        """Adapt the learning rate, also to the new value and the best one before it."""
        self.optimizer.lr *= self.config.lr_decay

    def samples(self) -> str:
        """A few lines that show what the model can do."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What it takes to use the model, besides its weights and settings."""
        raise NotImplementedError

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
        self.optimizer = optim.Adam(self.model.parameters(), config.lr)
        self.batches = PairBatches(xs, ts, min(config.batch_size, len(xs)), config.seed)
        self.reader = Reader(self.model, self.vocabulary, config, (xs.shape[1], ts.shape[1]))

    def summary(self) -> str:
        return (f"{len(self.train):,} pairs to learn from, {len(self.test):,} to test on,"
                f" {len(self.vocabulary)} characters; {self._size()}")  # fmt: skip

    def evaluate(self, split: str = "valid") -> float:
        return self.reader.accuracy(self.test)

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


class TextTask(Task):
    """Penn Treebank or any text. Of a text the last tenth is held out.

    With ``words`` only the first symbols are read, as in chapter 5, and nothing is held out: the
    perplexity is then that of the text which the model learns.
    """

    measure = "perplexity"

    def __init__(self, config: TextConfig):
        self.config = config
        self.parts = read_text(config)
        train = self.parts["train"]
        self.vocabulary = train.vocabulary
        tg.manual_seed(config.seed)
        self.model = build_model(config, len(self.vocabulary))
        make = {"sgd": optim.SGD, "adam": optim.Adam}[config.optimizer]
        self.optimizer = make(self.model.parameters(), config.lr)
        self.batches = TextBatches(train.ids, config.batch_size, config.time_size)
        self.writer = Writer(self.model, self.vocabulary, config.level)
        if "valid" not in self.parts:
            self.measured_on = "on the text itself"

    def summary(self) -> str:
        unit = "words" if self.config.level == "word" else "characters"
        sizes = ", ".join(f"{name} {len(part.ids):,}" for name, part in self.parts.items())
        return f"{unit}: {sizes}; {len(self.vocabulary):,} different ones; {self._size()}"

    def evaluate(self, split: str = "valid") -> float:
        return perplexity(self.model, self.part(split)[1].ids)

    def part(self, split: str) -> tuple[str, Corpus]:
        """The part of this name, or what stands in for it: test, valid, train."""
        name = next(name for name in (split, "valid", "train") if name in self.parts)
        return name, self.parts[name]

    def end_epoch(self, value: float, best: float | None) -> None:
        super().end_epoch(value, best)
        if best is not None and value >= best:
            self.optimizer.lr /= self.config.stall_divisor

    def samples(self) -> str:
        ids = self.part("valid")[1].ids[:1]
        prompt = self.vocabulary.decode(ids)[0]
        length = 20 if self.config.level == "word" else 80
        text = self.writer.write(prompt, length, seed=self.config.seed)
        return "  " + " | ".join(line for line in text.split("\n") if line.strip())

    def about(self) -> dict[str, Any]:
        return {"vocabulary": list(self.vocabulary.symbols)}


def read_text(config: TextConfig) -> dict[str, Corpus]:
    """The parts "train", "valid", "test" of the data of a language model, as far as there are."""
    if config.task == "ptb":
        ptb = load_ptb(config.data)
        if config.words:
            return {"train": ptb.train.first(config.words)}
        return {"train": ptb.train, "valid": ptb.valid, "test": ptb.test}
    whole = read_corpus(Path(config.data or ""), config.level)
    if config.words:
        return {"train": whole.first(config.words)}
    cut = len(whole.ids) - len(whole.ids) // 10
    held = whole.ids[cut:]
    if len(held) < 2:
        return {"train": whole}
    return {"train": Corpus(whole.ids[:cut], whole.vocabulary),
            "valid": Corpus(held, whole.vocabulary)}  # fmt: skip


def make_task(config: Config) -> Task:
    return PairsTask(config) if isinstance(config, PairsConfig) else TextTask(config)
