"""A training run in one safetensors file: weights, what it takes to use them, and to go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.optim import Optimizer

from ..data import DataError

KEY = "tinygrad_rnn"  # our entry in the metadata of the file
PREFIX = "training."  # arrays that only training needs; all others are weights


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: at every moment it is the old one or the new one, whole.

    DataError when it cannot be written; the old one is then as it was.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the name may not come before the content
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
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
    """Arrays by name, and anything that JSON can hold."""
    from safetensors.numpy import save as serialize

    # safetensors writes the memory of an array, whatever its strides say.
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    write_atomically(path, serialize(arrays, metadata={KEY: json.dumps(about)}))


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``save`` wrote: arrays and about. DataError when it is missing, cut off or foreign."""
    require_library()
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(f"{path}: there is no such file; train a model with --out {path.parent}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"{path}: not a whole model file of this program ({error})") from None
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


def restore_carried(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Give stateful layers what ``carried_arrays`` took from them."""
    for i, layer in enumerate(_recurrent(model)):
        names = sorted(name for name in arrays if name.startswith(f"state.{i}."))
        parts = tuple(tg.Tensor(arrays[name]) for name in names)
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
    return [module.rng for module in model.modules() if hasattr(module, "rng")]


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
