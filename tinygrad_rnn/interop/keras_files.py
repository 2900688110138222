"""The files of Keras: .keras, .weights.h5, and the .h5 of Keras 1 to 3; h5py is wanted."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from .cells import PRESETS, Activation, Form, formed
from .files import FormatError, StrPath, read_bytes, shown, text_of
from .found import Found, Left
from .keras import KINDS, cell_of
from .layouts import stack
from .needs import needed

__all__ = ["read_keras"]

CELLS = {"SimpleRNNCell": "SimpleRNN", "LSTMCell": "LSTM", "GRUCell": "GRU"}
MOST_DEEP = 50


def read_keras(path: StrPath) -> Found:
    """The recurrent layers of a file of Keras: see ``from_keras``."""
    h5py = needed("h5py", "from_keras")
    content = read_bytes(path)
    found = Found()
    try:
        config, version = None, "3"
        if content[:2] == b"PK":
            config, version, content = _unzipped(content)
        with h5py.File(io.BytesIO(content)) as file:
            if "model_weights" in file or "layer_names" in file.attrs:
                if "model_config" in file.attrs:
                    config = json.loads(text_of(file.attrs["model_config"]))
                version = text_of(file.attrs.get("keras_version", "3"))
                store: Any = Legacy(h5py, file.get("model_weights", file), len(content))
            else:
                store = Native(h5py, file, len(content))
            taken = []
            for name, place, kind, options in _layers(config, "", "", 0):
                _take(name, place, kind, options, store, version, found)
                taken.append(name if isinstance(store, Legacy) else place)
            _others(store, found, taken, version)
    except FormatError as error:
        raise FormatError(f"from_keras: {path}: {error}") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError,
            zipfile.BadZipFile, NotImplementedError) as error:  # of h5py, zipfile and json
        raise FormatError(f"from_keras: {path} is no file of Keras, or not a whole one"
                          f" ({shown(str(error), 120)})") from None
    found.tell("from_keras", str(path))
    return found


def _unzipped(content: bytes) -> tuple[Any, str, bytes]:
    """Config, version and weights of a .keras file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(sizes.get(n, 0) for n in ("config.json", "metadata.json", "model.weights.h5")) > (
                64 * len(content)):
            raise FormatError("its parts are far more than the file")
        config = json.loads(archive.read("config.json"))
        version = str(json.loads(archive.read("metadata.json")).get("keras_version", "3"))
        return config, version, archive.read("model.weights.h5")


# ---- the arrays of a layer ----------------------------------------------------------------------


@dataclass
class Native:
    """The groups of a .weights.h5 file of Keras 3: ``layers/lstm/cell/vars/0``."""

    h5py: Any
    file: Any
    size: int

    def cells(self, place: str, name: str, kind: str) -> list[list[np.ndarray]]:
        """The arrays of the cells of a layer, in the order in which they were made."""
        if kind == "Bidirectional":
            return [a for part in ("forward_layer", "backward_layer")
                    for a in self.cells(f"{place}/{part}", name, "")]  # fmt: skip
        if f"{place}/cell/cells" in self.file:
            inside = self.file[f"{place}/cell/cells"]
            return [self._vars(inside[key]) for key in sorted(inside, key=_number)]
        return [self._vars(self.file[f"{place}/cell"])]

    def _vars(self, group: Any) -> list[np.ndarray]:
        return [_read(self.h5py, group["vars"][key], self.size)
                for key in sorted(group["vars"], key=_number)]  # fmt: skip

    def places(self) -> Iterator[tuple[str, str, str]]:
        """All layers that have cells: place, kind of their cells, and whether in two directions."""
        found: list[str] = []
        self.file.visit(found.append)
        for place in found:
            inside = self.file[place]
            last = place.rpartition("/")[2]
            if last in ("forward_layer", "backward_layer") or isinstance(inside, self.h5py.Dataset):
                continue
            if "forward_layer" in inside and "cell" in inside["forward_layer"]:
                yield place, "Bidirectional", place
            elif "cell" in inside:
                yield place, "", place


@dataclass
class Legacy:
    """The groups of a .h5 file, one for each layer, whose attribute names its arrays."""

    h5py: Any
    file: Any
    size: int

    def cells(self, place: str, name: str, kind: str) -> list[list[np.ndarray]]:
        top, _, rest = name.partition("/")
        group = self.file[top]
        groups: dict[str, list[np.ndarray]] = {}
        for key in map(text_of, group.attrs["weight_names"]):
            parts = key.split("/")
            if rest and rest not in parts:
                continue  # of another layer in the same model
            groups.setdefault("/".join(parts[:-1]), []).append(
                _read(self.h5py, group[key], self.size))
        return list(groups.values())

    def places(self) -> Iterator[tuple[str, str, str]]:
        for name in map(text_of, self.file.attrs["layer_names"]):
            names = list(map(text_of, self.file[name].attrs["weight_names"]))
            if any("recurrent_kernel" in n for n in names):
                both = any(part.startswith("backward_") for n in names  # one may be called so, too
                           for part in n.split("/")[:-1] if part != name)
                yield name, "Bidirectional" if both else "", name


def _read(h5py: Any, dataset: Any, size: int) -> np.ndarray:
    if not isinstance(dataset, h5py.Dataset) or (
            dataset.size * dataset.dtype.itemsize > 64 * size):
        raise FormatError(f"{shown(dataset.name)} is no array of floating-point numbers")
    if dataset.dtype.kind != "f":  # bfloat16, say
        kind = text_of(dataset.attrs.get("dtype", dataset.dtype))
        raise Left(f"its weights are {shown(kind)}, wanted floating-point numbers of NumPy's")
    return np.asarray(dataset[()])


def _number(key: str) -> int:
    """lstm_cell, lstm_cell_1, lstm_cell_2; 0, 1, 2, ..., 10: in the order of their numbers."""
    digits = re.search(r"(\d+)$", key)
    return int(digits[1]) if digits else 0


# ---- what a config says -------------------------------------------------------------------------


def _layers(config: Any, name: str, place: str, deep: int) -> Iterator[tuple[str, str, str, Any]]:
    """The recurrent layers of a model's config, and of the models inside of it: their names, the
    places of their weights, kinds and configs."""
    if deep > MOST_DEEP:
        raise FormatError("it has models inside of models without end")
    inside = config["config"] if config is not None else ()
    used: dict[str, int] = {}
    for layer in inside.get("layers", ()) if isinstance(inside, dict) else inside:
        kind, options = str(layer["class_name"]), layer["config"]
        snake = _snake_case(kind)
        count = used[snake] = used.get(snake, -1) + 1
        here = f"{place}layers/{snake}" + (f"_{count}" if count else "")
        named = options if isinstance(options, dict) and "name" in options else layer
        full = name + str(named.get("name", kind))
        if kind in ("Functional", "Sequential", "Model"):
            yield from _layers(layer, full + "/", here + "/", deep + 1)
        elif kind in (*KINDS, "Bidirectional", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"):
            yield full, here, kind, options


def _snake_case(name: str) -> str:
    """What Keras makes of the name of a class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _take(name: str, place: str, kind: str, options: Any, store: Any, version: str,
          found: Found) -> None:
    name = found.free(shown(name, 200))
    try:
        inner, two = options, kind == "Bidirectional"
        if two:
            if options.get("merge_mode") != "concat":
                raise Left(f"merge_mode={shown(options.get('merge_mode'))}; here two directions"
                            " are concatenated")
            kind, inner = options["layer"]["class_name"], options["layer"]["config"]
            behind = options.get("backward_layer")
            if behind and _form(behind["class_name"], behind["config"], version) != _form(
                    kind, inner, version):
                raise Left("its two directions are layers of different kinds")
        specs = [(CELLS.get(c["class_name"], ""), c["config"]) for c in _cells_of(inner)] if (
            kind == "RNN") else [(kind, inner)]
        if any(k not in KINDS for k, _ in specs):
            raise Left(f"{shown(kind)} of cells that are none of {', '.join(CELLS)}")
        if len({k for k, _ in specs}) > 1:
            raise Left("its cells are of different kinds")
        arrays = store.cells(place, found_name(name), "Bidirectional" if two else "")
        specs = specs * 2 if two else specs
        if len(arrays) != len(specs) or (two and len(specs) > 2):
            raise Left(f"{len(arrays)} sets of weights for {len(specs)} cells")
        cells = [
            formed(cell_of(k, *a, reset_after=bool(c.get("reset_after", False))),
                   _form(k, c, version), None)
            for a, (k, c) in zip(arrays, specs, strict=True)
        ]  # fmt: skip
        layer = stack(cells, bidirectional=two)
        if inner.get("go_backwards"):
            if two:
                raise Left("go_backwards inside of Bidirectional")
            preset: Any = PRESETS[type(layer)](cells)
            preset.reverse = preset.flipped = True
            layer = preset
        if inner.get("stateful"):
            found.notes[name] = ["it is stateful in Keras: set .stateful for the same here"]
        found[name] = layer
    except (Left, ValueError, KeyError, TypeError, AttributeError) as why:
        if isinstance(why, FormatError):
            raise
        told = str(why).removeprefix("from_keras: ") if isinstance(why, ValueError) else (
            f"its weights or its config are not those of a {shown(kind)}")
        found.left[name] = shown(told, 200)


def found_name(name: str) -> str:
    """The name in the file, without what was put behind it."""
    return name.partition("#")[0]


def _cells_of(options: Any) -> list[Any]:
    cell = options["cell"]
    return list(cell["config"]["cells"]) if cell["class_name"] == "StackedRNNCells" else [cell]


def _form(kind: str, options: Any, version: str) -> Form:
    if kind.startswith("CuDNN"):
        return Form()
    new = _activation(options.get("activation", "tanh"), version)
    gate = Form().gate if kind == "SimpleRNN" else (
        _activation(options.get("recurrent_activation", _gates(version)), version))
    return Form(gate, new, new if kind == "LSTM" else Form().out)


def _gates(version: str) -> str:
    """The activation of gates where none is named. TensorFlow's own Keras 2.2.4 is of TensorFlow 1,
    which had hard_sigmoid too, and of 2.0 and 2.1, which had not: taken for the latter."""
    number = re.match(r"(\d+)\.(\d+)", version)
    old = number is not None and (int(number[1]), int(number[2])) < (2, 3)
    return "hard_sigmoid" if old and version != "2.2.4-tf" else "sigmoid"


def _activation(name: Any, version: str) -> Activation:
    if isinstance(name, dict):  # a class with a config
        name = name.get("config")
    of = {
        "linear": Activation("affine", 1.0, 0.0), "elu": Activation("elu", 1.0),
        "leaky_relu": Activation("leakyrelu", 0.2),
        "hard_sigmoid": Activation("hardsigmoid", 0.2 if version.startswith(("1", "2")) else 1 / 6,
                                   0.5),
        **{n: Activation(n) for n in ("tanh", "sigmoid", "relu", "softsign", "softplus")},
    }  # fmt: skip
    if not isinstance(name, str) or name not in of:
        raise Left(f"the activation {shown(name)}")
    return of[name]


# ---- weights without a config -------------------------------------------------------------------


def _others(store: Any, found: Found, taken: list[str], version: str) -> None:
    """The layers that no config describes, as their shapes tell: all of a file of weights alone,
    and what is inside of layers and models of one's own."""
    by_gates = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
    for place, kind, name in store.places():
        if any(f"{other}/".startswith(f"{place}/") for other in taken):
            continue
        name = found.free(shown(name, 200))
        try:
            arrays = store.cells(place, name, kind)
            cells = []
            if any(len(a) < 2 for a in arrays):
                raise Left("it has no kernel and recurrent kernel")
            for Wx, Wh, *bias in arrays:
                gates = by_gates.get(Wh.shape[1] // max(len(Wh), 1), "")
                if not gates or len(bias) > 1:
                    raise Left("its weights are those of no SimpleRNN, LSTM or GRU")
                after = bias[0].ndim == 2 if bias else True
                cell = cell_of(gates, Wx, Wh, *bias, reset_after=after)
                cudnn = bias and bias[0].shape == (2 * Wh.shape[1],)  # has one form alone
                cells.append(cell if cudnn else formed(cell, _form(gates, {}, version), None))
            if len({type(cell) for cell in cells}) > 1:
                raise Left("its cells are of different kinds")
            found[name] = stack(cells, bidirectional=kind == "Bidirectional")
            has = "" if gates == "SimpleRNN" else (
                " (its gates: sigmoid)" if cudnn else f" (its gates: {_gates(version)})")
            found.notes[name] = ["the file does not say which activations it has, nor whether it"
                                 f" goes backwards: taken for Keras {shown(version)}'s default"
                                 f" ones{has}"]  # fmt: skip
            if isinstance(cells[0], nn.GRUCell) and not any(len(a) == 3 for a in arrays):
                found.notes[name].append("nor whether it resets after the product: taken so")
        except (Left, ValueError, IndexError, KeyError) as why:
            if isinstance(why, FormatError):
                raise
            found.left[name] = shown(str(why), 200)
