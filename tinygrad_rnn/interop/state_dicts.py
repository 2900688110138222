"""State dicts of PyTorch: arrays under PyTorch's names, from its files or from anybody's.

PyTorch is not needed. ``from_state_dict`` makes layers of what is there; ``load_torch`` fills a
module of ours that has the same attributes as theirs.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..tensor import Tensor
from .files import Arrays, FormatError, StrPath, numpy_of, shown, spoiled
from .found import Found, Left
from .layouts import LAYERS, TORCH, Weights, restore, stack
from .safetensors import read_safetensors
from .torch_files import read_pickled, read_torch

__all__ = ["Loaded", "from_state_dict", "load_torch"]

KINDS: dict[int, type[nn.Cell]] = {1: nn.RNNCell, 3: nn.GRUCell, 4: nn.LSTMCell}  # by their gates
_NAME = re.compile(r"(?:(.*)\.)?(weight|bias)_(ih|hh|hr)(?:_l(\d{1,4})(_reverse)?)?")


class Loaded(NamedTuple):
    """What ``load_torch`` left: names that the module has and the file has not, and the reverse."""

    missing: list[str]
    unexpected: list[str]


def arrays_of(source: StrPath | Mapping[str, Any], prefix: str = "") -> Arrays:
    """The arrays of a file, or of a state dict, whose names begin with ``prefix``; without it."""
    if isinstance(source, Mapping):
        arrays = Arrays()
        _gather(source, "", arrays)
    elif str(source).endswith(".safetensors"):
        arrays = read_safetensors(source)
    elif str(source).endswith(".pkl"):
        arrays = read_pickled(source)
    else:
        arrays = read_torch(source)
    found, n = Arrays(), len(prefix)
    found.update((name[n:], a) for name, a in arrays.items() if name.startswith(prefix))
    found.left = {name[n:]: why for name, why in arrays.left.items() if name.startswith(prefix)}
    if prefix and not found and not found.left:
        raise FormatError(f"{source if not isinstance(source, Mapping) else 'the state dict'}: no"
                          f" name begins with {prefix!r}; there are"
                          f" {shown(', '.join(map(shown, arrays)), 300)}")
    return found


def from_state_dict(source: StrPath | Mapping[str, Any], prefix: str = "") -> Found:
    """The recurrent layers of a PyTorch state dict, by the names of their modules.

    Args:
        source: the path of a file of ``torch.save``, of safetensors with PyTorch's names, or of a
            pickled dict of arrays (.pkl); or a state dict, also one inside of other dicts.
        prefix: take only names that begin with this, and leave it out of them.

    Returns a dict from name to ``RNN``, ``LSTM``, ``GRU`` or one of their cells, as ``from_torch``
    converts them; a module that is itself recurrent is called "". How many layers, directions and
    gates there are is in the names and shapes. ``.left`` names all other arrays, and layers of
    which something is missing, the latter with a warning; ``.notes`` what a state dict does not
    say: whether an RNN has tanh (as is taken here) or relu.

    Raises FormatError for a file that cannot be read; FileNotFoundError for no file.
    """
    arrays = arrays_of(source, prefix)
    groups: dict[str, dict[str, np.ndarray]] = {}
    found, others = Found(), dict[str, str]()
    for name, why in arrays.left.items():  # a weight that is lost is told, the rest is listed
        (found.left if _NAME.fullmatch(name) else others)[shown(name)] = why
    for name, a in arrays.items():
        if match := _NAME.fullmatch(name):
            stem = match[1] or ""
            groups.setdefault(stem, {})[name[len(stem) + 1 if stem else 0 :]] = a
        else:
            others[shown(name)] = "not of a recurrent layer"
    for stem, group in groups.items():
        try:
            found[stem] = layer = _layer(group)
        except Left as why:
            found.left[shown(stem)] = str(why)
            continue
        if isinstance(layer, (nn.RNN, nn.RNNCell)):
            found.notes[stem] = ["a state dict does not say whether it has tanh or relu: taken for"
                                 " tanh"]  # fmt: skip
    found.tell("from_state_dict", "the state dict" if isinstance(source, Mapping) else str(source))
    found.left |= others
    return found


def load_torch(module: nn.Module, source: StrPath | Mapping[str, Any], strict: bool = True,
               prefix: str = "") -> Loaded:
    """Fill a module of ours with the weights of a PyTorch module that has the same attributes.

    Args:
        module: any Module. What it calls ``encoder.lstm`` PyTorch does too; lists are
            ``ModuleList`` and ``Sequential``.
        source, prefix: as of ``from_state_dict``.
        strict: a name that only one of both has is a KeyError. With False what fits is filled, and
            the names that were left are returned.

    RNN, LSTM and GRU (of the form ``reset="after"``, with ``recurrent_bias=True``), their cells,
    Linear, Embedding, LayerNorm, and parameters and buffers of modules of one's own under their own
    names. NaN and infinite weights are taken over with a warning.

    Raises KeyError for names (see ``strict``), ValueError for shapes and forms that do not fit; an
    error leaves the module as it was. FormatError and FileNotFoundError as ``from_state_dict``.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"load_torch: a {type(module).__name__} came, wanted a Module")
    arrays = arrays_of(source, prefix)
    missing: list[str] = []
    used: set[str] = set()
    new: list[tuple[Tensor, np.ndarray]] = []
    for wanted, fill in _parts(module, ""):
        lacking = [name for name in wanted if name not in arrays]
        missing += lacking
        if not lacking:
            new += fill(arrays)
        used |= set(wanted) - set(lacking) if lacking else set(wanted)
    unexpected = [name for name in arrays if name not in used]
    if strict and (missing or unexpected):
        lost = [f"{name} ({arrays.left[name]})" if name in arrays.left else name
                for name in sorted(missing)]
        raise KeyError(f"load_torch: missing {shown(str(lost), 400)}, unexpected"
                       f" {shown(str(sorted(map(shown, unexpected))), 400)}; strict=False leaves"
                       " them")  # fmt: skip
    for parameter, a in new:
        parameter.data[...] = a
    for name in sorted(used):
        if name in arrays and (said := spoiled(arrays[name])):
            warnings.warn(f"load_torch: {shown(name)} holds {said}", stacklevel=2)
    return Loaded(missing, [shown(name, 200) for name in unexpected])


# ---- from PyTorch's names -----------------------------------------------------------------------


def _gather(source: Mapping[str, Any], path: str, arrays: Arrays) -> None:
    """Put all of a dict, and of the dicts in it, into ``arrays``, under the names of a file."""
    for key, value in source.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            _gather(value, f"{name}.", arrays)
            continue
        try:
            arrays[name] = numpy_of(value)
        except (TypeError, ValueError, RuntimeError) as error:  # of PyTorch: NumPy has no such
            arrays.left[name] = shown(str(error), 100)


def _layer(group: Mapping[str, np.ndarray]) -> Any:
    """The layer or the cell of arrays under the names of one torch.nn module."""
    matches = [match for name in group if (match := _NAME.fullmatch(name))]
    if any((match[4] is None) != (matches[0][4] is None) for match in matches):
        raise Left("it has the names of a cell and of a layer")
    if matches[0][4] is None:
        return _cell(group, "")
    layers = 1 + max(int(match[4]) for match in matches)
    if layers > len(group):
        raise Left(f"its layers are numbered to {layers}")
    directions = ["", "_reverse"] if any(match[5] for match in matches) else [""]
    cells = [_cell(group, f"_l{i}{d}") for i in range(layers) for d in directions]
    kinds = {type(cell) for cell in cells}
    if len(kinds) > 1:
        raise Left("its layers are of different kinds")
    for i, cell in enumerate(cells):
        row = i // len(directions)
        below = cells[(row - 1) * len(directions) : row * len(directions)]
        wanted = sum(c.state_sizes[0] for c in below) if row else cells[0].Wx.shape[0]
        if cell.Wx.shape[0] != wanted:
            raise Left(f"weight_ih of layer {row} reads {cell.Wx.shape[0]} numbers, wanted"
                          f" {wanted}")
    return stack(cells, bidirectional=len(directions) == 2)


def _cell(group: Mapping[str, np.ndarray], suffix: str) -> Any:
    """The cell of the arrays whose names end in ``suffix``."""
    names = [f"weight_ih{suffix}", f"weight_hh{suffix}"]
    if missing := [name for name in names if name not in group]:
        raise Left(f"it has no {' and no '.join(missing)}")
    ih, hh = (group[name] for name in names)
    hr = group.get(f"weight_hr{suffix}")
    H = hr.shape[-1] if hr is not None and hr.ndim == 2 else hh.shape[-1] if hh.ndim == 2 else 0
    gates = len(hh) // H if H and hh.ndim == 2 and len(hh) % H == 0 else 0
    out = len(hr) if hr is not None else H
    if gates not in KINDS or ih.ndim != 2 or len(ih) != len(hh) or hh.shape[1] != out:
        raise Left(f"weight_ih{suffix} {ih.shape} and weight_hh{suffix} {hh.shape} are those of"
                      " no RNN, LSTM or GRU")
    if hr is not None and gates != 4:
        raise Left(f"weight_hr{suffix}, which only an LSTM has")
    if odd := [a.dtype for a in (ih, hh) if a.dtype.kind != "f"]:
        raise Left(f"its weights are {odd[0]}, wanted floating-point numbers")
    biases = [group.get(f"bias_{x}{suffix}") for x in ("ih", "hh")]
    if (biases[0] is None) != (biases[1] is None):
        raise Left(f"it has one of two biases{suffix}")
    bx, bh = (np.zeros_like(ih, shape=len(ih)) if b is None else b for b in biases)
    if any(b.shape != (len(ih),) or b.dtype.kind != "f" for b in (bx, bh)):
        raise Left(f"biases{suffix} of shapes {bx.shape} and {bh.shape}, wanted {(len(ih),)}"
                      " floating-point numbers")
    return restore(KINDS[gates], Weights(ih.T, hh.T, bx, bh, None if hr is None else hr.T), TORCH)


# ---- into a module of ours ----------------------------------------------------------------------


def _parts(module: Any, path: str) -> Iterator[tuple[list[str], Any]]:
    """What to fill: the names that are wanted for it, and a function from all arrays to pairs of a
    parameter and its new value."""

    def name(key: str) -> str:
        return f"{path}.{key}" if path else key

    if isinstance(module, nn.Recurrent) and all(type(c) in LAYERS for c in module.cells):
        for i, cell in enumerate(module.cells):
            row, column = divmod(i, module.directions)
            yield _cell_part(cell, name(""), f"_l{row}{'_reverse' * column}")
    elif type(module) in LAYERS:
        yield _cell_part(module, name(""), "")
    elif isinstance(module, (nn.Linear, nn.Embedding, nn.LayerNorm)):
        for key, ours, turned in (("weight", "W", isinstance(module, nn.Linear)),
                                  ("weight", "gamma", False), ("bias", "b", False),
                                  ("bias", "beta", False)):  # fmt: skip
            parameter = getattr(module, ours, None)
            if parameter is not None:
                yield _plain_part(parameter, name(key), turned)
    else:
        inside = vars(module) if isinstance(module, nn.Module) else module
        items: Any = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for key, value in items:
            if isinstance(value, (nn.Parameter, nn.Buffer)) or (
                    isinstance(value, Tensor) and value.requires_grad):
                yield _plain_part(value, name(str(key)), False)
            elif isinstance(value, (nn.Module, list, tuple, dict)):
                yield from _parts(value, name(str(key)))


def _plain_part(parameter: Tensor, name: str, turned: bool) -> tuple[list[str], Any]:
    def fill(arrays: Mapping[str, np.ndarray]) -> list[tuple[Tensor, np.ndarray]]:
        a = arrays[name].T if turned else arrays[name]
        if a.shape != parameter.shape:
            raise ValueError(f"load_torch: {name} of shape {arrays[name].shape}, wanted"
                             f" {parameter.shape[::-1] if turned else parameter.shape}")
        return [(parameter, a)]

    return [name], fill


def _cell_part(cell: Any, path: str, suffix: str) -> tuple[list[str], Any]:
    keys = [f"{key}{suffix}" for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    if getattr(cell, "Wp", None) is not None:
        keys.append(f"weight_hr{suffix}")
    where = f"load_torch: {path}{keys[0]}"

    def fill(arrays: Mapping[str, np.ndarray]) -> list[tuple[Tensor, np.ndarray]]:
        try:
            theirs = _cell({key: arrays[path + key] for key in keys}, suffix)
        except Left as why:
            raise ValueError(f"load_torch: {path.rstrip('.')}: {why}") from None
        if type(theirs) is not type(cell):
            raise ValueError(f"{where}: of a {type(theirs).__name__}, wanted {type(cell).__name__}")
        ours = dict(cell.named_parameters())
        new = {key: p.data for key, p in theirs.named_parameters()}
        if isinstance(cell, nn.GRUCell):
            if cell.reset != "after":
                raise ValueError(f'{where}: a GRU of PyTorch is another function than one with'
                                 f' reset="before"; make it with reset="after"')
            if cell.update == "new":  # z weighs the other state: 1 - sigmoid(a) is sigmoid(-a)
                for key in ("Wx", "Wh", "b"):
                    new[key][..., : len(cell.Wh)] *= -1
            if cell.bh is None and new.pop("bh").any():
                raise ValueError(f"{where}: a GRU of PyTorch has two biases; make it with"
                                 " recurrent_bias=True")
        for key, p in ours.items():
            if p.shape != new[key].shape:
                raise ValueError(f"{where}: {key} of shape {new[key].shape}, wanted {p.shape}")
        return [(ours[key], new[key]) for key in ours]

    return [path + key for key in keys], fill
