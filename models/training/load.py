"""Trained models, read from the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import nn
from tinygrad_rnn.interop.files import shown

from ..data import DataError, Vocabulary
from ..data.bpe import BytePairs
from ..files import checkpoint
from .config import Config, PairsConfig, build_model
from .inference import Reader, Writer
from .saved import checked
from .tasks import Task, make_task

MODEL, BEST = "model.safetensors", "best.safetensors"


def model_file(path: str | Path, last: bool = False) -> Path:
    """The file of weights to use: the best epoch's where there is one, unless the last are asked
    for."""
    path = Path(path)
    if not path.is_dir() and (path.exists() or path.suffix == ".safetensors"):
        return path
    return path / BEST if (path / BEST).exists() and not last else path / MODEL


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
        pairs = None
        if config.level == "bpe":
            pairs = BytePairs(about["vocabulary"], about["merges"])
        return Writer(model, vocabulary, config.level, pairs)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{model_file(path)}: not a model of this program ({error})") from None


def load_task(path: str | Path, config: Config, data_changed: bool = False) -> Task:
    """A trained model with its data, to be measured. DataError when the data are others."""
    arrays, about, _ = _read(path)
    data_there(config)
    task = make_task(config)
    same_data(model_file(path), about, task, data_changed)
    load_weights(model_file(path), task.model, arrays)
    task.model.eval()
    return task


def begin_with(path: str | Path, task: Task) -> None:
    """Put the weights of a trained model in the place of those that were drawn. DataError when it
    has another vocabulary or other sizes; its data may be others."""
    arrays, about, _ = _read(path)
    same_data(model_file(path), about, task, data_changed=True)
    load_weights(model_file(path), task.model, arrays)


def data_there(config: Config, told: str = "--data") -> None:
    """DataError, that ``told`` says where they are, when the data are no longer where they were."""
    if config.data and not Path(config.data).exists():
        option = "--data-dir" if config.task == "ptb" else told
        raise DataError(f"{config.data}: no such file; {option} says where it is now")


def _read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any], Any]:
    file = model_file(path)
    arrays, about = checkpoint.load(file)
    return arrays, about, checked(file, about, arrays)


def same_data(file: Path, about: dict[str, Any], task: Task, data_changed: bool) -> None:
    """DataError when a model was trained on other data than those of the task. ``data_changed``:
    the person knows, and the symbols are the same."""
    if about["vocabulary"] != list(task.vocabulary.symbols):
        what = (len(task.vocabulary) if len(about["vocabulary"]) != len(task.vocabulary)
                else "as many, others or in another order")  # fmt: skip
        raise DataError(f"{file}: its vocabulary of {len(about['vocabulary'])} symbols is not that"
                        f" of the data ({what})")
    if about.get("data", digest := task.digest) != digest and not data_changed:
        raise DataError(f"{file}: it was trained on other data than these (SHA-256"
                        f" {shown(about['data'], 16)}, here {digest}); give it those, or insist"
                        " with --data-changed")


def load_weights(file: Path, model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    try:
        model.load_state_dict(
            {k: v for k, v in arrays.items() if not k.startswith(checkpoint.PREFIX)}
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{file}: not the weights of this model ({error})") from None
