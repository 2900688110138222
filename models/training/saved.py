"""What a model file says of itself, held against what it may say, before anything is built of it.

A checkpoint may be a stranger's. The schema is the annotations below and those of the configs; what
is no such value is one sentence with its place, and no number can ask for more memory than the file
itself has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import numpy as np

from tinygrad_rnn.interop.files import shown

from ..data import DataError
from ..files.checkpoint import PREFIX
from . import schedule
from .config import LARGEST, LARGEST_NUMBER, MODELS, Config, PairsConfig, TextConfig


class Place(TypedDict, total=False):
    """How far a training is: what ``Run`` goes on from."""

    step: int
    seconds: float
    best: float | None
    best_epoch: int
    measured: int
    recent: list[float]
    epoch_loss: float
    epoch_steps: int
    lr: float
    optimizer_steps: int
    batches: dict[str, int]
    generators: list[dict[str, Any]]


class Always(TypedDict):
    """What every checkpoint holds besides arrays."""

    config: dict[str, Any]
    vocabulary: list[str]
    training: Place


class About(Always, total=False):
    """What a checkpoint may hold besides arrays."""

    widths: list[int]
    merges: list[str]
    data: str


CHOICES = {
    "cell": ("rnn", "lstm", "gru"), "optimizer": ("sgd", "adam"), "schedule": schedule.NAMES,
    "dtype": ("float32", "float64"),
    "score": ("dot", "scaled_dot", "general", "additive"),
}  # fmt: skip


def checked(file: Path, about: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Config:
    """The settings in ``about``, once all of it is what ``About`` says; else DataError."""
    try:
        _conforms(about, About, "it")
        config = _config(about["config"])
        _follows(about["training"])
        _fits(config, about, arrays)
    except _Wrong as wrong:
        raise DataError(f"{file}: not a model of this program ({wrong})") from None
    return config


class _Wrong(ValueError):
    """What is not as it should be, and where."""


def _config(saved: dict[str, Any]) -> Config:
    task, model = saved.get("task"), saved.get("model")
    if not isinstance(task, str) or task not in MODELS or model not in MODELS[task]:
        raise _Wrong(f"its task is {shown(task)}, its model {shown(model)}, which there is not")
    kind = PairsConfig if task in ("date", "addition") else TextConfig
    hints = get_type_hints(kind)
    for name, value in saved.items():
        if name not in hints:
            raise _Wrong(f"it has a setting {shown(name)} that this version does not know")
        _conforms(value, hints[name], f"config.{name}")
        if name in CHOICES and value not in CHOICES[name]:
            raise _Wrong(f"config.{name} is {shown(value)}")
        lowest = 0 if name in ("seed", "warmup") or type(value) is float else 1
        if type(value) in (int, float) and not lowest <= value < LARGEST_NUMBER:
            raise _Wrong(f"config.{name} is {value}")
    for name in ("dropout", "ema"):
        if not 0 <= (saved.get(name) or 0) < 1:
            raise _Wrong(f"config.{name} is {saved[name]}")
    data = saved.get("data")
    if data is not None and ("\0" in data or _exists_otherwise(Path(data))):
        raise _Wrong("config.data is neither a file nor a folder")  # a device may have no end
    config: Config = kind(**saved)
    return config


def _follows(place: Mapping[str, Any]) -> None:
    """How far a training is, in steps, batches and epochs that were measured, is one place."""
    for name in ("step", "epoch_steps", "optimizer_steps", "measured", "best_epoch", "seconds",
                 "lr"):
        if not 0 <= place.get(name, 0) < LARGEST_NUMBER:
            raise _Wrong(f"training.{name} is {place[name]}")
    batches = place.get("batches", {})
    epoch, index, length = (batches.get(name, 0) for name in ("epoch", "index", "length"))
    if "step" in place and length and place["step"] != epoch * length + index:
        raise _Wrong(f"it is at step {place['step']}, but batch {index} of epoch {epoch}")
    measured = place.get("measured", epoch)
    if not epoch - 1 <= measured <= epoch or (measured < epoch and not place.get("epoch_steps")):
        raise _Wrong(f"it is in epoch {epoch}, but {measured} are measured")


def _exists_otherwise(path: Path) -> bool:
    try:
        return path.exists() and not (path.is_file() or path.is_dir())
    except OSError:
        return False


def _fits(config: Config, about: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Sizes ask for no more than what is there: every weight matrix has two of D, H and V."""
    weights = [a for name, a in arrays.items() if not name.startswith(PREFIX)]
    there = sum(a.size for a in weights)
    D, H, V = config.D, config.H, len(about["vocabulary"])
    layers = config.num_layers
    deep = layers if config.model in ("deep", "better") else 1
    if max(V * D, D * H, deep * H * H) > there or deep > len(weights):
        raise _Wrong(f"{V:,} symbols, D = {D:,}, H = {H:,} and {layers:,} layers want more weights"
                     f" than the {there:,} it has")
    if len(set(about["vocabulary"])) != V:
        raise _Wrong("its vocabulary has a symbol twice")
    widths = about.get("widths")
    if isinstance(config, PairsConfig) and (
            widths is None or len(widths) != 2 or not all(1 <= n <= 100_000 for n in widths)):
        raise _Wrong("its widths are not those of an input and an answer")


def _conforms(value: Any, kind: Any, where: str) -> None:
    """_Wrong unless a value of JSON is what an annotation says. Numbers are finite and bounded."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if is_typeddict(kind):
        if not isinstance(value, dict):
            raise _Wrong(f"{where} is a {_name(value)}, wanted an object")
        for name, hint in get_type_hints(kind).items():
            if name in value:
                _conforms(value[name], hint, name if where == "it" else f"{where}.{name}")
            elif name in kind.__required_keys__:
                raise _Wrong(f"{where} has no {name}")
    elif origin in (Union, UnionType):
        if not any(_is(value, option) for option in args):
            _conforms(value, next(a for a in args if a is not NoneType), where)
    elif origin is Literal:
        if value not in args:
            raise _Wrong(f"{where} is {shown(value)}, wanted one of {', '.join(map(str, args))}")
    elif origin in (list, dict):
        if not isinstance(value, origin):
            raise _Wrong(f"{where} is a {_name(value)}, wanted a {origin.__name__}")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _conforms(item, args[-1], f"{where}.{shown(key)}")
    elif not _is(value, kind):
        wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise _Wrong(f"{where} is {shown(value)}, wanted {wanted.get(kind, 'something else')}")


def _is(value: Any, kind: Any) -> bool:
    if kind in (NoneType, None):
        return value is None
    if kind is int:
        return type(value) is int and abs(value) < LARGEST
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _name(value: Any) -> str:
    kinds: dict[type, str] = {dict: "object", list: "list", str: "text"}
    return kinds.get(type(value), "number")
