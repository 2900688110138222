"""Trained models, read from the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import nn

from ..data import DataError, Vocabulary
from ..files import checkpoint
from .config import Config, PairsConfig, build_model, read_config
from .inference import Reader, Writer
from .tasks import Task, make_task

MODEL, BEST = "model.safetensors", "best.safetensors"


def model_file(path: str | Path) -> Path:
    """The file of weights to use: the best epoch's where there is one."""
    path = Path(path)
    if path.is_file():
        return path
    return path / BEST if (path / BEST).exists() else path / MODEL


def load_config(path: str | Path) -> Config:
    """The settings of a trained model."""
    config: Config = _read(path)[2]
    return config


def load_model(path: str | Path) -> Reader | Writer:
    """A trained model, ready for use: a Reader of pairs or a Writer of text. DataError."""
    arrays, about, config = _read(path)
    try:
        vocabulary = Vocabulary(about["vocabulary"])
        model = build_model(config, len(vocabulary)).eval()
        load_weights(model_file(path), model, arrays)
        if isinstance(config, PairsConfig):
            return Reader(model, vocabulary, config, about["widths"])
        return Writer(model, vocabulary, config.level)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{model_file(path)}: not a model of this program ({error})") from None


def load_task(path: str | Path, config: Config) -> Task:
    """A trained model with its data, to be measured. DataError when the data are others."""
    arrays, about, _ = _read(path)
    task = make_task(config)
    if about["vocabulary"] != list(task.vocabulary.symbols):
        raise DataError(f"{model_file(path)}: its vocabulary of {len(about['vocabulary'])} symbols"
                        f" is not that of the data ({len(task.vocabulary)})")  # fmt: skip
    load_weights(model_file(path), task.model, arrays)
    task.model.eval()
    return task


def _read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any], Any]:
    file = model_file(path)
    arrays, about = checkpoint.load(file)
    try:
        return arrays, about, read_config(about["config"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: not a model of this program ({error})") from None


def load_weights(file: Path, model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    try:
        model.load_state_dict(
            {k: v for k, v in arrays.items() if not k.startswith(checkpoint.PREFIX)}
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{file}: not the weights of this model ({error})") from None
