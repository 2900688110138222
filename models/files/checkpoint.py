"""A training run in one safetensors file: weights, what it takes to use them, and to go on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.interop import files
from tinygrad_rnn.interop.files import FormatError
from tinygrad_rnn.interop.safetensors import KEY, pack, unpack
from tinygrad_rnn.optim import EMA, Optimizer

from ..data import DataError

PREFIX = "training."  # arrays that only training needs; all others are weights


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: at every moment it is the old one or the new one, whole.

    DataError when it cannot be written; the old one is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, content)
    except OSError as error:
        kept = "; the file that was there is as it was" if path.exists() else ""
        raise DataError(f"{path}: cannot be written ({error.strerror}){kept}") from None


def require_library() -> None:
    """ImportError that says what to install, before hours of training end in it."""
    try:
        import safetensors  # noqa: F401
    except ImportError:
        raise ImportError(
            'model files need safetensors: pip install "tinygrad-rnn[models]"'
        ) from None


def save(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Arrays by name, and anything that JSON can hold, with the digests of all of it."""
    write_atomically(path, pack(arrays, {KEY: json.dumps(about)}, "checkpoint"))


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``save`` wrote: arrays and about. DataError when it is missing, cut off, foreign or
    damaged, and when weights are NaN or infinite; it names the array.

    Whether ``about`` says what this program says is still to be seen: see ``training.saved``.
    """
    require_library()
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: neither a file nor the folder of a run")
    if not path.exists():
        raise DataError(f"{path}: there is no such file; train a model with --out {path.parent}")
    try:
        arrays, metadata = unpack(path.read_bytes())
        about = json.loads(metadata[KEY])
        if not isinstance(about, dict):
            raise ValueError
    except FormatError as error:
        raise DataError(f"{path}: not a whole model file of this program ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, ValueError, RecursionError):
        raise DataError(f"{path}: not a whole model file of this program (it does not say what it"
                        " is)") from None
    for name, array in arrays.items():
        if not name.startswith(PREFIX) and (said := files.spoiled(array)):
            raise DataError(f"{path}: the weights {files.shown(name)} hold {said}")
    if not arrays.verified:
        warnings.warn(f"{path}: a model file without digests, of an earlier version; it is believed"
                      " as it is, and gets them when it is saved again", stacklevel=2)
    return arrays, about


# ---- what a model carries besides its weights ---------------------------------------------------


def carried_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """The hidden states that stateful layers carry from batch to batch."""
    arrays = {}
    for i, layer in enumerate(_recurrent(model)):
        if layer.state is not None:
            parts = layer.state if isinstance(layer.state, tuple) else (layer.state,)
            arrays.update({f"state.{i}.{k}": p.numpy() for k, p in enumerate(parts)})
    return arrays


def restore_carried(model: nn.Module, arrays: dict[str, np.ndarray], N: int,
                    rows: slice = slice(None)) -> None:
    """Give stateful layers what ``carried_arrays`` took from them, for batches of N sequences, of
    which this process has these ``rows``.

    ValueError for states of other shapes."""
    for i, layer in enumerate(_recurrent(model)):
        names = sorted(name for name in arrays if name.startswith(f"state.{i}."))
        stacked = (len(layer.cells),) if len(layer.cells) > 1 else ()
        wanted = [(*stacked, N, size) for size in layer.cells[0].state_sizes]
        came = [arrays[name].shape for name in names]
        if came not in ([], wanted):
            raise ValueError(f"a state of shapes {came}, wanted {wanted}")
        parts = tuple(tg.Tensor(np.array(arrays[name][..., rows, :])) for name in names)
        layer.state = None if not parts else parts if len(parts) > 1 else parts[0]


def generator_states(model: nn.Module) -> list[Any]:
    """The state of every random generator in the model (dropout), in the order of its modules."""
    return [rng.bit_generator.state for rng in _generators(model)]


def restore_generators(model: nn.Module, states: list[Any]) -> None:
    for rng, state in zip(_generators(model), states, strict=True):
        rng.bit_generator.state = state


def _recurrent(model: nn.Module) -> list[nn.Recurrent]:
    return [module for module in model.modules() if isinstance(module, nn.Recurrent)]


def _generators(model: nn.Module) -> list[np.random.Generator]:
    drawn: list[Any] = [getattr(module, "rng", None) for module in model.modules()]
    return [rng for rng in drawn if isinstance(rng, np.random.Generator)]


def optimizer_arrays(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """The arrays of an optimizer's ``state_dict`` by name."""
    return {
        f"optimizer.{i}.{slot}": array
        for i, slots in enumerate(optimizer.state_dict()["state"])
        for slot, array in slots.items()
    }


def restore_optimizer(optimizer: Optimizer, arrays: dict[str, np.ndarray], steps: int,
                      lr: float) -> None:
    state = [
        {slot: arrays[f"optimizer.{i}.{slot}"] for slot in slots}
        for i, slots in enumerate(optimizer.state)
    ]
    optimizer.load_state_dict({"steps": steps, "lr": lr, "state": state})


def average_arrays(average: EMA | None) -> dict[str, np.ndarray]:
    """The averages of weights by name."""
    arrays = average.state_dict()["averages"] if average else []
    return {f"average.{i}": array for i, array in enumerate(arrays)}


def restore_average(average: EMA | None, arrays: dict[str, np.ndarray], steps: int) -> None:
    """The averages after so many steps, each of which has moved them."""
    if average is not None:
        averages = [arrays[f"average.{i}"] for i in range(len(average.averages))]
        average.load_state_dict({"steps": steps, "decay": average.decay, "averages": averages})
