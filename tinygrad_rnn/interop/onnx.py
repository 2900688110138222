"""ONNX out: recurrent layers as real RNN, LSTM and GRU nodes.

``Graph`` has one method for each kind of layer, so that a model is exported as it is written: see
``to_onnx`` here for a layer alone, and ``models/export.py`` for the models. Values inside a graph
are known by their names. Parameters keep theirs, those of ``named_parameters``, except for the
weights of recurrent nodes, which ONNX wants in another layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import nn
from ..tensor import Tensor
from .layouts import LAYERS, ONNX, array, export, grid, plain
from .needs import needed

__all__ = ["Graph", "to_onnx"]

Shape: TypeAlias = Sequence[int | str | None]  # numbers, and names of dynamic sizes

OPSETS = range(17, 23)


def to_onnx(layer: nn.Recurrent, opset: int = 17) -> Any:
    """An RNN, LSTM or GRU as an ONNX model (``onnx.ModelProto``); batch and time are dynamic.

    Inputs: ``xs (N, T, D)``; ``lengths (N,)`` int32 from 1 to T (for 0 onnxruntime forgets the
    initial state); the initial state ``h0``, of an LSTM also ``c0``, each
    ``(layers * directions, N, H)``. Outputs: ``hs``, ``h``, ``c``.
    As in evaluation: without dropout.

    Raises TypeError for other layers and for cells of one's own, ValueError for an ``opset`` other
    than 17 to 22, ImportError without onnx.
    """
    grid(layer, "to_onnx")
    graph = Graph(layer, opset, "to_onnx")
    xs = graph.input("xs", ["batch", "time", layer.cells[0].Wx.shape[0]], graph.dtype)
    lengths = graph.input("lengths", ["batch"], np.int32)
    hs, states = graph.stateful(layer, xs, lengths)
    graph.output("hs", hs, ["batch", "time", None], graph.dtype)
    graph.output_states(layer, states)
    return graph.model()


class Graph:
    """An ONNX graph while it is being built, for the parameters of one Module.

    ``add`` puts in a node; the other methods put in a whole layer. All take and return names of
    values. ``name`` is that of the calling function, for its errors.
    """

    def __init__(self, module: nn.Module, opset: int, name: str) -> None:
        self.onnx = needed("onnx", name)
        if opset not in OPSETS:
            raise ValueError(f"{name}: opset={opset}, wanted {OPSETS[0]} to {OPSETS[-1]}")
        self.name, self.opset = name, opset
        self.names = {id(p): key for key, p in module.named_parameters()}
        self.layers = {id(m): key for key, m in _named_layers(module)}
        self.dtype = module.parameters()[0].dtype
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.initializers: dict[str, Any] = {}

    # values

    def input(self, name: str, shape: Shape, dtype: DTypeLike) -> str:
        """A value that the caller gives; sizes are numbers, or names of dynamic ones."""
        self.inputs.append(self._info(name, shape, dtype))
        return name

    def output(self, name: str, value: str, shape: Shape, dtype: DTypeLike) -> None:
        """A value that the caller gets under this name."""
        self.add("Identity", value, into=[name])
        self.outputs.append(self._info(name, shape, dtype))

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.int64,
                 name: str | None = None) -> str:
        """An array of the graph's own."""
        name = name or f"constant_{len(self.initializers)}"
        self.initializers[name] = self.onnx.numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def parameter(self, p: Tensor) -> str:
        """A parameter, stored once however often it is used."""
        name = self.names[id(p)]
        return name if name in self.initializers else self.constant(array(p), p.dtype, name)

    def add(self, operator: str, *inputs: str, **options: Any) -> str:
        """A node; returns the name of its output."""
        (output,) = self.several(1, operator, *inputs, **options)
        return output

    def several(self, outputs: int, operator: str, *inputs: str, into: list[str] | None = None,
                name: str = "", **attributes: Any) -> list[str]:
        """A node; returns the names of its outputs."""
        into = into or [f"{operator}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, into, name, **attributes))
        return into

    def transpose(self, x: str, *axes: int) -> str:
        return self.add("Transpose", x, perm=axes)

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps an axis, -1 takes what is left."""
        return self.add("Reshape", x, self.constant(shape))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis]))

    def squeeze(self, x: str, axis: int) -> str:
        return self.add("Squeeze", x, self.constant([axis]))

    def concat(self, *xs: str, axis: int = -1) -> str:
        return self.add("Concat", *xs, axis=axis)

    def size(self, x: str, axis: int) -> str:
        """The size (1,) of an axis."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    # layers

    def linear(self, layer: nn.Linear, x: str) -> str:
        y = self.add("MatMul", x, self.parameter(layer.W))
        return y if layer.b is None else self.add("Add", y, self.parameter(layer.b))

    def embedding(self, layer: nn.Embedding, ids: str) -> str:
        return self.add("Gather", self.parameter(layer.W), ids, axis=0)

    def real(self, lengths: str, T: str) -> str:
        """(N, T): which steps are not padding. ``T`` (1,)."""
        zero, one = self.constant(0), self.constant(1)
        steps = self.add("Range", zero, self.squeeze(T, 0), one)
        lengths = self.add("Cast", lengths, to=self.onnx.TensorProto.INT64)
        return self.add("Less", steps, self.unsqueeze(lengths, 1))

    def recurrent(self, layer: nn.Recurrent, xs: str, lengths: str = "",
                  states: Sequence[Sequence[str]] | None = None) -> tuple[str, list[list[str]]]:
        """A Recurrent: one node for each layer.

        Args:
            xs: (N, T, D).
            lengths: (N,) int32; without, all sequences are T long.
            states: for each layer of the stack the parts of its initial state, (directions, N, H)
                each; without, zeros.

        Returns hs (N, T, directions * H), and the final states as ``states``.
        """
        rows = grid(layer, self.name)
        finals = []
        xs = self.transpose(xs, 1, 0, 2)  # nodes are time-major: onnxruntime has no layout=1
        for i, row in enumerate(rows):
            ys, *final = self._node(f"{self.layers[id(layer)]}.{i}".lstrip("."), row, xs, lengths,
                                    states[i] if states else ())  # fmt: skip
            hs = self.reshape(self.transpose(ys, 0, 2, 1, 3), 0, 0, -1)
            if layer.residual and row[0].Wx.shape[0] == len(row) * row[0].Wh.shape[0]:
                hs = self.add("Add", hs, xs)
                if lengths:
                    mask = self.transpose(self.real(lengths, self.size(xs, 0)), 1, 0)
                    hs = self.add("Where", self.unsqueeze(mask, 2), hs,
                                  self.constant(0, self.dtype))  # fmt: skip
            xs = hs
            finals.append(final)
        return self.transpose(xs, 1, 0, 2), finals

    def _node(self, name: str, row: list[Any], xs: str, lengths: str,
              state: Sequence[str]) -> list[str]:
        """One RNN, LSTM or GRU node: (T, directions, N, H) and final state."""
        kind = LAYERS[type(row[0])].__name__
        options: dict[str, Any] = {"direction": "bidirectional" if len(row) == 2 else "forward"}
        if kind == "GRU":
            forms = {cell.reset for cell in row}
            if len(forms) > 1:
                raise ValueError(f'{self.name}: {name}: a GRU node has one form, not reset="before"'
                                 ' in one direction and "after" in the other')
            options["linear_before_reset"] = int(forms == {"after"})
        for cell in row:
            plain(cell, f"{self.name}: {name}")
        if kind == "RNN":
            options["activations"] = [cell.activation.capitalize() for cell in row]
        weights = [export(cell, ONNX) for cell in row]
        arrays = {
            "W": [w.Wx.T for w in weights],
            "R": [w.Wh.T for w in weights],
            "B": [np.concatenate([w.bx, w.bh]) for w in weights],
        }
        W, R, B = (self.constant(np.stack(a), self.dtype, f"{name}.{letter}")
                   for letter, a in arrays.items())  # fmt: skip
        return self.several(1 + len(row[0].state_sizes), kind, xs, W, R, B, lengths, *state,
                            name=name, hidden_size=row[0].Wh.shape[0], **options)  # fmt: skip

    def stateful(self, layer: nn.Recurrent, xs: str,
                 lengths: str) -> tuple[str, list[list[str]]]:
        """A Recurrent that starts from inputs ``h0`` (and ``c0``), (cells, N, H)."""
        k, H = layer.directions, layer.cells[0].Wh.shape[0]
        n = len(layer.cells) // k
        parts = []
        for part in _parts(layer):
            start = self.input(f"{part}0", [len(layer.cells), "batch", H], self.dtype)
            parts.append([start] if n == 1 else self.several(
                n, "Split", start, self.constant([k] * n), axis=0))  # fmt: skip
        return self.recurrent(layer, xs, lengths, list(zip(*parts, strict=True)))

    def output_states(self, layer: nn.Recurrent, states: list[list[str]]) -> None:
        """Outputs ``h`` (and ``c``), (cells, N, H): the final states of ``recurrent``."""
        H = layer.cells[0].Wh.shape[0]
        for part, values in zip(_parts(layer), zip(*states, strict=True), strict=True):
            whole = self.concat(*values, axis=0)
            self.output(part, whole, [len(layer.cells), "batch", H], self.dtype)

    def attention(self, layer: nn.Attention, query: str, keys: str,
                  mask: str) -> tuple[str, str]:
        """nn.Attention over keys (N, Tk, H) that are values too, where ``mask`` (N, Tk) is True:
        context and weights."""
        if layer.score == "additive":
            q = self.add("MatMul", query, self.parameter(layer.Wq))
            k = self.add("MatMul", keys, self.parameter(layer.Wk))
            both = self.add("Add", self.unsqueeze(q, 2), self.unsqueeze(k, 1))
            v = self.reshape(self.parameter(layer.v), -1, 1)
            scores = self.squeeze(self.add("MatMul", self.add("Tanh", both), v), 3)
        else:
            if layer.score == "general":
                query = self.add("MatMul", query, self.parameter(layer.W))
            scores = self.add("MatMul", query, self.transpose(keys, 0, 2, 1))
            if layer.score == "scaled_dot":
                H = self.add("Cast", self.size(keys, 2), to=self._type(self.dtype))
                scores = self.add("Div", scores, self.add("Sqrt", H))
        lowest = self.constant(np.finfo(self.dtype).min, self.dtype)  # -inf: NaN if all are masked
        scores = self.add("Where", self.unsqueeze(mask, 1), scores, lowest)
        weights = self.add("Softmax", scores, axis=-1)
        return self.add("MatMul", weights, keys), weights

    # the whole

    def model(self) -> Any:
        """The finished model, as onnx.checker accepts it."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "tinygrad_rnn", self.inputs, self.outputs,
                                  list(self.initializers.values()))  # fmt: skip
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, producer_name="tinygrad_rnn", opset_imports=opsets,
                                  ir_version=helper.find_min_ir_version_for(opsets))  # fmt: skip
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _info(self, name: str, shape: Shape, dtype: DTypeLike) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)

    def _type(self, dtype: DTypeLike) -> Any:
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _parts(layer: nn.Recurrent) -> str:
    return "hc"[: len(layer.cells[0].state_sizes)]


def _named_layers(module: Any, name: str = "") -> Iterator[tuple[str, nn.Recurrent]]:
    """(path, Recurrent) pairs, as in ``named_parameters``."""
    if isinstance(module, nn.Recurrent):
        yield name, module
        return
    items: Iterable[tuple[Any, Any]] = (
        vars(module).items() if isinstance(module, nn.Module) else enumerate(module))
    for key, value in items:
        if isinstance(value, (nn.Module, list, tuple)):
            yield from _named_layers(value, f"{name}.{key}" if name else str(key))
