"""Settings of a run, the book's as defaults, and the model that they describe."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygrad_rnn import nn

from ..data import DataError, Level
from ..language import BetterRnnlm, Rnnlm, SimpleRnnlm
from ..seq2seq import AttentionSeq2seq, DeepAttentionSeq2seq, PeekySeq2seq, Seq2seq
from . import schedule

Dtype = Literal["float32", "float64"]


@dataclass(frozen=True)
class PairsConfig:
    """Settings of a sequence-to-sequence run. The defaults are the book's for dates (chapter 8),
    but for what lets every seed learn them in four epochs (docs/results.md): a learning rate that
    rises to 0.003 in 100 steps and falls along a cosine, instead of 0.001 all along, gradients
    clipped to 1, and forget gates that begin open.

    For schedule, lr_decay, stall_divisor and warmup see ``schedule.py``. ``forget_bias``: what the
    biases of forget gates are at first (Jozefowicz et al., 2015). ``ema``: the decay of an
    exponential moving average of the weights, which then are what is measured and kept as the best
    (Polyak & Juditsky, 1992). ``patience``: after so many epochs that were not better than the
    best, training ends.
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
    teacher_forcing: float = 1.0
    dtype: Dtype = "float32"
    epochs: int = 4
    batch_size: int = 128
    lr: float = 0.003
    schedule: str = "cosine"
    lr_decay: float = 1.0
    stall_divisor: float = 1.0
    warmup: int = 100
    max_norm: float | None = 1.0
    forget_bias: float = 1.0
    ema: float | None = None
    patience: int | None = None
    seed: int = 1
    data: str | None = None


@dataclass(frozen=True)
class TextConfig:
    """Settings of a language model. The defaults are the book's for Rnnlm (chapter 6). What is
    not the data's or the model's: see PairsConfig."""

    task: str = "ptb"
    model: str = "rnnlm"
    cell: str = "lstm"
    D: int = 100
    H: int = 100
    num_layers: int = 2
    dropout: float = 0.5
    level: Level = "word"
    words: int | None = None
    encoding: str = "utf-8"
    min_count: int = 1
    max_vocab: int | None = None
    tokenizer: str | None = None
    dtype: Dtype = "float32"
    epochs: int = 4
    batch_size: int = 20
    time_size: int = 35
    optimizer: str = "sgd"
    lr: float = 20.0
    schedule: str = "constant"
    lr_decay: float = 1.0
    stall_divisor: float = 1.0
    warmup: int = 0
    max_norm: float | None = 0.25
    forget_bias: float = 0.0
    ema: float | None = None
    patience: int | None = None
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
    "addition": {"H": 128, "reverse": False, "epochs": 25, "lr": 0.001, "schedule": "constant",
                 "warmup": 0, "max_norm": 5.0, "forget_bias": 0.0},
    "addition deep": {"schedule": "cosine", "warmup": 100, "max_norm": 1.0, "forget_bias": 1.0},
    "ptb rnnlm": {"schedule": "exponential", "lr_decay": 0.65},  # the book: 20 all along
    "ptb simple": {
        "words": 1000, "epochs": 100, "batch_size": 10, "time_size": 5, "lr": 0.1,
        "max_norm": None,
    },
    "ptb better": {"D": 650, "H": 650, "epochs": 40, "schedule": "plateau", "stall_divisor": 4.0},
    "text": {
        "D": 64, "H": 256, "epochs": 10, "batch_size": 32, "time_size": 64, "optimizer": "adam",
        "lr": 0.002, "max_norm": 5.0,
    },
    "text better": {"D": 256, "schedule": "plateau", "stall_divisor": 4.0},
}  # fmt: skip
# Settings that only some models have.
ONLY = {
    "bidirectional": ("attention", "deep"), "input_feeding": ("attention",),
    "score": ("attention", "deep"), "num_layers": ("deep", "better"), "residual": ("deep",),
    "dropout": ("better",), "cell": ("rnnlm", "better"),
}  # fmt: skip


LARGEST = 2**31  # no count and no size is larger, and no number than
LARGEST_NUMBER = 1e30
MOST_LAYERS = 1000
FLAGS = {"D": "--embedding", "H": "--hidden", "num_layers": "--layers"}


def flag(name: str) -> str:
    """How the command line calls a setting."""
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def make_config(task: str, model: str | None = None, **given: Any) -> Config:
    """The settings of this task and model, with what is given in place of the defaults.

    DataError for settings that the model does not have, or that do not go together.
    """
    model = model or DEFAULT_MODEL[task]
    if model not in MODELS[task]:
        raise DataError(f"{task} has no model {model!r}; there are {', '.join(MODELS[task])}")
    for name in given:
        if name in ONLY and model not in ONLY[name]:
            those = " or ".join(m for m in ONLY[name] if m in MODELS[task])
            raise DataError(f"{flag(name)} is of --model {those}, not of {model}")
    kind = PairsConfig if task in ("date", "addition") else TextConfig
    settings = {"task": task, "model": model}
    settings |= PRESETS.get(task, {}) | PRESETS.get(f"{task} {model}", {})
    if model == "better" and "H" in given:
        settings["D"] = given["H"]
    config = kind(**(settings | schedule.settings(settings, given) | given))
    check_config(config)
    cell = "rnn" if model == "simple" else getattr(config, "cell", "lstm")
    if config.forget_bias and cell != "lstm":
        raise DataError(f"--forget-bias {config.forget_bias} is of --cell lstm; {cell} has no"
                        " forget gates")
    return config


def check_config(config: Config) -> None:
    """DataError for settings that do not go together, or that no checkpoint may hold."""
    for name, value in vars(config).items():
        if type(value) in (int, float) and value >= (
                LARGEST if type(value) is int else LARGEST_NUMBER):
            raise DataError(f"{flag(name)} {value} is too large")
    if isinstance(config, PairsConfig):
        if config.bidirectional and config.H % 2:
            raise DataError(f"--bidirectional halves --hidden {config.H}: give an even number")
        if not 0 <= config.teacher_forcing <= 1:
            raise DataError(f"--teacher-forcing {config.teacher_forcing}: wanted a share, 0 to 1")
        return
    if config.level == "bpe" and (config.words or config.min_count > 1):
        raise DataError("--level bpe has neither --words nor --min-count; --max-vocab is how many"
                        " symbols it learns")
    if config.tokenizer and config.level != "bpe":
        raise DataError(f"--tokenizer {config.tokenizer} is of --level bpe")
    if config.model == "better" and config.D != config.H:
        raise DataError(f"--embedding {config.D} and --hidden {config.H}: the model better has one"
                        " matrix for both ends, so they are one number")


def check_memory(config: Config, V: int) -> None:
    """DataError when weights, gradients and what the optimizer keeps cannot fit this machine, or
    there is no end of layers.

    Asked before they are allocated: systems that promise more memory than they have end the
    program without a word.
    """
    there = _memory()
    layers = config.num_layers if config.model in ("better", "deep") else 1
    blocks = 4 if isinstance(config, PairsConfig) else BLOCKS.get(config.cell, 1)
    weights = V * (config.D + config.H) + blocks * config.H * (config.D + config.H * layers)
    least = 2 * np.dtype(config.dtype).itemsize * weights  # with their gradients
    if there is not None and least > there:
        raise DataError(
            f"--hidden {config.H}, --embedding {config.D}, --layers {layers}: with {V:,} symbols"
            f" the weights and their gradients take {least / 2**30:,.0f} GiB or more, and this"
            f" machine has {there / 2**30:,.0f}"
        )
    if layers > MOST_LAYERS:
        raise DataError(f"--layers {layers} is too large: more than {MOST_LAYERS:,} take minutes to"
                        " be made")


BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}  # of H columns


def _memory() -> int | None:
    """Bytes of physical memory, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def build_model(config: Config, V: int) -> Any:
    """The model of these settings for V symbols, its weights drawn. DataError when that cannot
    be."""
    check_config(config)
    check_memory(config, V)
    model = _model(config, V)
    for module in model.modules():
        if isinstance(module, nn.LSTMCell):
            module.b.data[: len(module.Wh.data)] = config.forget_bias
    if isinstance(config, PairsConfig):
        model.force(config.teacher_forcing)
    return model


def _model(config: Config, V: int) -> Any:
    if isinstance(config, TextConfig):
        if config.model == "better":
            return BetterRnnlm(V, config.D, config.H, config.dropout, config.num_layers,
                               config.cell, dtype=config.dtype)  # fmt: skip
        if config.model == "simple":
            return SimpleRnnlm(V, config.D, config.H, dtype=config.dtype)
        return Rnnlm(V, config.D, config.H, config.cell, dtype=config.dtype)
    D, H, dtype = config.D, config.H, config.dtype
    if config.model == "deep":
        return DeepAttentionSeq2seq(V, D, H, config.num_layers, config.residual,
                                    config.bidirectional, config.score, dtype=dtype)  # fmt: skip
    if config.model == "attention":
        return AttentionSeq2seq(V, D, H, config.bidirectional, config.input_feeding, config.score,
                                dtype=dtype)  # fmt: skip
    return (PeekySeq2seq if config.model == "peeky" else Seq2seq)(V, D, H, dtype=dtype)
