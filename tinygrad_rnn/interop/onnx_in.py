"""ONNX in: the recurrent nodes of any model file as layers.

A model is a graph of nodes, with graphs inside of it (the branches of an If, the body of a Loop)
and functions. Weights that are computed from constants are computed here: ``Values`` folds them
with the reference evaluator of ONNX, for the few operators that only move and scale numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from .cells import DEFAULTS, PRESETS, Activation, Form, formed
from .files import FormatError, StrPath, read_bytes, shown, text_of
from .found import Found, Left
from .layouts import LAYERS, ONNX, Weights, restore, stack
from .needs import needed

__all__ = ["from_onnx"]

KINDS = {layer.__name__: cell for cell, layer in LAYERS.items()}
ACTIVATIONS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
INPUTS = {"W": 1, "R": 2, "B": 3, "sequence_lens": 4, "initial_h": 5, "initial_c": 6, "P": 7}
# They move, choose and scale numbers: of few there come no more than a little more.
BROADCAST = {"Add", "Div", "Mul", "Pow", "Sub", "Where"}
FOLDED = BROADCAST | {
    "Cast", "CastLike", "Concat", "DequantizeLinear", "Flatten", "Gather", "Identity", "Neg",
    "QuantizeLinear", "Reciprocal", "ReduceL2", "ReduceSum", "Reshape", "Slice", "Split", "Sqrt",
    "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
# Of zeros they make zeros, whatever the sizes.
KEEP_ZEROS = (FOLDED | {"Expand", "Tile", "ConstantOfShape"}) - {
    "Add", "Sub", "Div", "Pow", "Where", "Reciprocal", "QuantizeLinear", "DequantizeLinear"}
MOST_DEEP, MOST_NODES = 100, 1_000_000
QUANTIZED = ("com.microsoft", "DynamicQuantizeLSTM")


def from_onnx(model: Any) -> Found:
    """The layers of all RNN, LSTM and GRU nodes of an ONNX model, by the names of the nodes.

    Args:
        model: ``onnx.ModelProto``, or the path of a file.

    Returns a dict from name to ``RNN``, ``LSTM`` or ``GRU``, in the order of the graph; a node
    without a name goes by its first output, one inside of an If, Loop or Scan also by the names of
    these (``If_0/then_branch/lstm``), and where a name comes again it ends in #2, #3. A stack of
    layers is one node for each. A layer computes what its node does: with its peepholes,
    activations, clipping, coupled gates and direction (then its cells, or the layer, are of a class
    of their own, see ``interop.cells``), and from a constant initial state or to constant lengths
    if it is called without. What the graph computes or is given you hand over: ``.notes`` says so.

    A node that cannot be taken over does not cost the others: it stands in ``.left`` with the
    reason, and in a warning. Weights of bfloat16 become float32, with a warning.

    Raises FormatError for a file that is no ONNX model, and where no recurrent node of a model
    could be taken over; FileNotFoundError for no file, ImportError without onnx.
    """
    onnx = needed("onnx", "from_onnx")
    where = "the model" if isinstance(model, onnx.ModelProto) else str(model)
    if not isinstance(model, onnx.ModelProto):
        model = _read(onnx, model)
    found = Found()
    try:
        model = _inlined(onnx, model, found)
        for path, node, values in _nodes(onnx, model.graph, Values(onnx, model), ""):
            _take(path, node, values, found)
    except RecursionError:
        raise FormatError(f"from_onnx: {where} has graphs inside of graphs without end") from None
    left = "; ".join(f"{name}: {why}" for name, why in found.left.items())
    if left and not found:
        raise FormatError(f"from_onnx: no recurrent layer of {where} could be taken over: {left}")
    found.tell("from_onnx", where)
    return found


def _read(onnx: Any, path: StrPath) -> Any:
    """The model in a file. FormatError, whatever is wrong with it."""
    content = read_bytes(path)
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf has errors of its own, without a common name in all versions
        raise FormatError(f"from_onnx: {path} is no ONNX model, or not a whole one") from None
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise FormatError(f"from_onnx: {path} is no ONNX model, or not a whole one")
    try:
        onnx.external_data_helper.load_external_data_for_model(
            model, str(Path(path).parent))
    except Exception as error:
        raise FormatError(f"from_onnx: the numbers of {path} that are in other files cannot be read"
                          f" ({shown(str(error), 200)})") from None
    return model


# ---- graphs, and what is in them ----------------------------------------------------------------


def _inlined(onnx: Any, model: Any, found: Found) -> Any:
    """The model with the functions that it defines put in place of their calls."""
    if not model.functions:
        return model
    try:
        if _size(model, found) < MOST_NODES:
            return needed("onnx.inliner", "from_onnx").inline_local_functions(model)
        why = f"more than {MOST_NODES:,} nodes in functions of functions"
    except RecursionError:
        why = "functions that call themselves"
    except Exception as error:  # of the checks in ONNX
        why = shown(str(error), 200)
    found.left["functions"] = why
    return model


def _size(model: Any, found: Found) -> int:
    """How many nodes there are once all functions are in place."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[Any, int] = {}

    def size(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = node.domain, node.op_type
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key].node)
            total += sizes.get(key, 1) + sum(size(g.node) for _, g in _graphs(node))
        return total

    return size(model.graph.node)


def _graphs(node: Any) -> Iterator[tuple[str, Any]]:
    """The graphs among the attributes of a node, with their names."""
    for a in node.attribute:
        if a.HasField("g"):
            yield text_of(a.name), a.g
        yield from ((f"{text_of(a.name)}.{i}", g) for i, g in enumerate(a.graphs))


def _nodes(onnx: Any, graph: Any, values: Values, path: str) -> Iterator[tuple[str, Any, Values]]:
    """All nodes of a graph and of the graphs inside of it, each with its path."""
    values = values.inside(graph)
    for node in graph.node:
        name = path + text_of(node.name or next(filter(None, node.output), node.op_type))
        yield name, node, values
        for part, inner in _graphs(node):
            yield from _nodes(onnx, inner, values, f"{name}/{part}/")


@dataclass
class Values:
    """What is known of the values of a graph: constants, and what nodes make of constants."""

    onnx: Any
    model: Any
    constants: dict[str, Any] = field(default_factory=dict)  # TensorProto or array, by name
    makers: dict[str, Any] = field(default_factory=dict)  # nodes, by the names of their outputs
    room: int = 0  # numbers that folding may still make

    def inside(self, graph: Any) -> Values:
        """The values of a graph inside of the one of these, which it sees."""
        here = {t.name: t for t in graph.initializer}
        here |= {t.values.name: t for t in graph.sparse_initializer}
        made = {name: n for n in graph.node for name in n.output if name}
        hidden = made.keys() | {i.name for i in graph.input}  # what had the same name outside
        constants, makers = (
            {k: v for k, v in outside.items() if k not in hidden} | inside
            for outside, inside in ((self.constants, here), (self.makers, made))
        )
        there = sum(_numel(t) for t in graph.initializer)
        return Values(self.onnx, self.model, constants, makers, self.room + 16 * there + 10**6)

    def __call__(self, name: str, deep: int = 0) -> np.ndarray | None:
        """The array of a value, None if it is not a constant. Left for one that is refused."""
        if name not in self.constants:
            node = self.makers.get(name)
            if node is None or deep > MOST_DEEP or node.domain not in ("", "ai.onnx"):
                return None
            if node.op_type == "Constant":
                made: dict[str, Any] = {node.output[0]: self._constant(node)}
            elif node.op_type in FOLDED and not list(_graphs(node)):
                inputs = {i: self(i, deep + 1) for i in node.input if i}
                if not all(a is not None for a in inputs.values()):
                    return None
                made = self._fold(node, inputs)
            else:
                return None
            self.constants.update(made)
        known: np.ndarray | None = self.constants[name]
        if known is not None and not isinstance(known, np.ndarray):
            known = self.constants[name] = self._array(known)
        return known

    def of_every_row(self, name: str, k: int, H: int) -> np.ndarray | None:
        """What is repeated for a batch of a size that the graph computes, (k, 1, H)."""
        node, known = self.makers.get(name), None
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "ConstantOfShape":
            known = next((self._array(a.t) for a in node.attribute), None)
        elif node.op_type in ("Expand", "Tile"):
            known = self(node.input[0])
        shape = () if known is None else (1, 1, 1, *known.shape)[-max(known.ndim, 3):]
        axes = ((1, k), (1,), (1, H)) if node.op_type != "Tile" else ((k,), (1,), (H,))
        if known is None or len(shape) != 3 or any(
                n not in fits for n, fits in zip(shape, axes, strict=True)):
            return None
        return np.broadcast_to(known.reshape(shape), (k, 1, H))

    def zero(self, name: str, deep: int = 0) -> bool:
        """Whether a value is zeros, whatever its size."""
        if (known := self(name)) is not None:
            return not np.any(known)
        node = self.makers.get(name)
        if node is None or node.op_type not in KEEP_ZEROS or deep > MOST_DEEP:
            return False
        if node.op_type == "ConstantOfShape":
            return not any(np.any(self._array(a.t)) for a in node.attribute)
        many = node.op_type == "Concat"
        return all(self.zero(i, deep + 1) for i in (node.input if many else node.input[:1]))

    def bfloat16(self, name: str, deep: int = 0) -> bool:
        """Whether a constant is made of numbers of bfloat16."""
        tensor, node = self.constants.get(name), self.makers.get(name)
        if isinstance(tensor, self.onnx.TensorProto):
            return bool(tensor.data_type == self.onnx.TensorProto.BFLOAT16)
        if tensor is not None and tensor.dtype.name == "bfloat16":
            return True
        if node is None or node.op_type not in FOLDED or deep > MOST_DEEP:
            return False
        return any(self.bfloat16(i, deep + 1) for i in node.input[:1])

    def _array(self, tensor: Any) -> np.ndarray:
        if isinstance(tensor, self.onnx.SparseTensorProto):
            raise Left(f"{shown(tensor.values.name)} is a sparse tensor, wanted a dense one")
        try:
            known: np.ndarray = self.onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise Left(f"{shown(tensor.name)} is damaged ({shown(str(error), 100)})") from None
        return known

    def _constant(self, node: Any) -> np.ndarray | None:
        kinds = {"value": "t", "value_float": "f", "value_floats": "floats", "value_int": "i",
                 "value_ints": "ints"}  # fmt: skip
        for a in node.attribute:
            if a.name == "value":
                return self._array(a.t)
            if a.name == "sparse_value":
                return self._array(a.sparse_tensor)
            if a.name in kinds:
                dtype = np.float32 if "float" in a.name else np.int64
                return np.array(getattr(a, kinds[a.name]), dtype)
        return None

    def _fold(self, node: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """What a node makes of constants, by the reference evaluator of ONNX."""
        shapes = [a.shape for a in inputs.values()]
        try:
            if node.op_type in BROADCAST:
                size = math.prod(np.broadcast_shapes(*shapes))
            elif node.op_type == "Gather":
                size = math.prod(shapes[0][1:]) * math.prod(shapes[1]) + max(shapes[0], default=1)
            else:
                size = sum(math.prod(shape) for shape in shapes)
        except (ValueError, IndexError):
            raise Left(f"{node.op_type} of constants that do not fit") from None
        self.room -= size
        if self.room < 0:
            raise Left("constants that become far more than the file has")
        outputs = [name for name in node.output if name]
        try:
            made = self._evaluated(node, inputs, outputs)
        except Exception as error:  # of any operator
            raise Left(f"{node.op_type} of constants fails ({shown(str(error), 100)})") from None
        return dict(zip(outputs, map(np.asarray, made), strict=True))

    def _evaluated(self, node: Any, inputs: dict[str, Any], outputs: list[str]) -> Any:
        from onnx.reference import ReferenceEvaluator

        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype
        infos = [helper.make_tensor_value_info(name, kind(a.dtype), a.shape)
                 for name, a in inputs.items()]  # fmt: skip
        graph = helper.make_graph(
            [node], "fold", infos,
            [helper.make_tensor_value_info(name, 0, None) for name in outputs])  # fmt: skip
        opsets = [helper.make_opsetid(o.domain, max(o.version, 19) if (
            node.op_type in ("QuantizeLinear", "DequantizeLinear") and not o.domain) else o.version)
            for o in self.model.opset_import]  # the evaluator knows none before 19, the same
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, inputs)


def _numel(tensor: Any) -> int:
    return math.prod(tensor.dims) if all(0 <= n < 2**40 for n in tensor.dims) else 0


# ---- nodes --------------------------------------------------------------------------------------


def _take(path: str, node: Any, values: Values, found: Found) -> None:
    """Put the layer of a node into ``found``, if it is a recurrent one."""
    operator, ours = text_of(node.op_type), node.domain in ("", "ai.onnx")
    if operator not in KINDS if ours else not any(kind in operator for kind in KINDS):
        return
    name = found.free(shown(path, 200))
    try:
        if not ours and (node.domain, operator) != QUANTIZED:
            raise Left(f"{shown(operator)} of {shown(text_of(node.domain))} is no operator of ONNX")
        notes: list[str] = []
        found[name] = _layer(node, values, notes)
        if notes:
            found.notes[name] = notes
    except Left as why:
        found.left[name] = str(why)
    except (TypeError, ValueError) as error:  # of attributes that are of no type, or of another
        found.left[name] = f"its attributes are damaged ({shown(str(error), 100)})"


def _layer(node: Any, values: Values, notes: list[str]) -> nn.Recurrent:
    kind = "LSTM" if node.domain else node.op_type
    options = {a.name: values.onnx.helper.get_attribute_value(a) for a in node.attribute}
    direction = text_of(options.get("direction", b"forward"))
    if direction not in ("forward", "reverse", "bidirectional"):
        raise Left(f"direction={shown(direction)}, which ONNX does not have")
    k = 2 if direction == "bidirectional" else 1
    given = {key: node.input[i] for key, i in INPUTS.items() if any(node.input[i : i + 1])}
    if (node.domain, node.op_type) == QUANTIZED:
        arrays = _dequantized(node, values, notes)
    else:
        arrays = {key: _weights(key, given[key], values, notes) for key in "WRBP" if key in given}
    W, R, B, P = _fitting(kind, k, arrays, options)
    reset = "after" if options.get("linear_before_reset") else "before"
    forms = _forms(kind, k, options)
    cells = []
    for d in range(k):
        weights = Weights(W[d].T, R[d].T, *np.split(B[d], 2))
        peepholes = None if P is None or not P[d].any() else P[d]
        cell = restore(KINDS[kind], weights, ONNX, reset)
        cells.append(formed(cell, forms[d], peepholes))
    start = _initial(kind, k, R.shape[2], given, values, options, notes)
    lengths = _lengths(given, values, notes)
    plain = stack(cells, bidirectional=k == 2)
    if direction != "reverse" and start is None and lengths is None:
        return plain
    layer: Any = PRESETS[type(plain)](cells, bidirectional=k == 2)
    layer.reverse, layer.initial, layer.lengths = direction == "reverse", start, lengths
    return layer  # type: ignore[no-any-return]


def _weights(key: str, name: str, values: Values, notes: list[str]) -> np.ndarray:
    a = values(name)
    if a is None:
        raise Left(f"its {key} is computed in the graph, wanted constants")
    if a.dtype.name == "bfloat16" or values.bfloat16(name):
        notes.append(f"{key} was bfloat16, and is float32 now")
        a = a.astype(np.float32)
    if a.dtype.kind != "f":
        raise Left(f"its {key} holds {a.dtype}, wanted floating-point numbers")
    return a


def _dequantized(node: Any, values: Values, notes: list[str]) -> dict[str, np.ndarray]:
    """The weights of a DynamicQuantizeLSTM, whose W and R are (k, D, 4H) and (k, H, 4H) integers
    with a scale and a zero point for each direction, or each column."""
    arrays = {key: _weights(key, node.input[INPUTS[key]], values, notes) for key in "BP"
              if any(node.input[INPUTS[key] : INPUTS[key] + 1])}  # fmt: skip
    for key, first in (("W", 8), ("R", 10)):
        names = [node.input[INPUTS[key]], *node.input[first : first + 2]]
        parts = [values(name) for name in names]
        if len(parts) != 3 or any(a is None for a in parts):
            raise Left(f"its {key}, or its scale or zero point, is computed in the graph")
        q, scale, zero = (np.asarray(a) for a in parts)
        if q.ndim != 3 or q.dtype.kind not in "iu" or scale.dtype.kind != "f" or any(
                a.shape not in ((len(q),), (len(q), q.shape[2])) for a in (scale, zero)):
            raise Left(f"its {key}, scale and zero point do not fit together")
        scale, zero = (a.reshape(len(q), 1, -1) for a in (scale, zero))
        arrays[key] = np.swapaxes((q.astype(np.float32) - zero) * scale, 1, 2)
    notes.append("its weights were quantized, and are float32 now; the node rounds what it"
                 " multiplies them with as well, to 8 bits, the layer does not")
    return arrays


def _fitting(kind: str, k: int, arrays: dict[str, np.ndarray],
             options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """W (k, gH, D), R (k, gH, H), B (k, 2gH) and P (k, 3H) or None, g gates, once they are so."""
    if missing := {"W", "R"} - arrays.keys():
        raise Left(f"it has no {' and no '.join(sorted(missing))}")
    W, R = arrays["W"], arrays["R"]
    shapes = {key: a.shape for key, a in arrays.items()}
    H, g = R.shape[-1] if R.ndim == 3 else 0, KINDS[kind].gates
    wanted = {"W": (k, g * H, W.shape[-1] if W.ndim == 3 else "D"), "R": (k, g * H, H),
              "B": (k, 2 * g * H), "P": (k, 3 * H)}  # fmt: skip
    misfit = any(shapes[key] != wanted[key] for key in shapes)
    if not H or misfit or ("P" in shapes and kind != "LSTM"):
        came = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise Left(f"{shown(came, 200)} are not the weights of {k} direction{'s' * (k > 1)}")
    if options.get("hidden_size", H) != H:
        raise Left(f"hidden_size={shown(options['hidden_size'])}, but its weights have {H}")
    return W, R, arrays.get("B", np.zeros((k, 2 * g * H), W.dtype)), arrays.get("P")


def _forms(kind: str, k: int, options: dict[str, Any]) -> list[Form]:
    """For each direction its functions, clipping and coupling."""
    usual = ACTIVATIONS[kind]
    names = [text_of(a) for a in options.get("activations", [])] or usual * k
    if len(names) != len(usual) * k:
        raise Left(f"{len(names)} activations, wanted {len(usual) * k}")
    alphas, betas = (list(options.get(f"activation_{x}", [])) for x in ("alpha", "beta"))
    functions = []
    for name in names:
        if name.lower() not in DEFAULTS:
            raise Left(f"the activation {shown(name)}, which ONNX does not have")
        alpha, beta = DEFAULTS[name.lower()]
        alpha = alphas.pop(0) if alphas and alpha is not None else alpha
        beta = betas.pop(0) if betas and beta is not None else beta
        if math.isnan(alpha or 0) or math.isnan(beta or 0):
            raise Left(f"the activation {name} without its alpha and beta, of which runtimes make"
                        " different things")
        functions.append(Activation(name.lower(), alpha or 0.0, beta or 0.0))
    clip = options.get("clip") or None
    if clip is not None and not 0 < clip < math.inf:
        raise Left(f"clip={clip}")
    n = len(usual)
    forms = []
    for d in range(k):
        first, *rest = functions[n * d : n * (d + 1)]
        gate, new, out = (first, *rest, Activation("tanh"))[:3] if rest else (
            Activation("sigmoid"), first, Activation("tanh"))  # fmt: skip
        forms.append(Form(gate, new, out, clip, bool(options.get("input_forget"))))
    return forms


def _initial(kind: str, k: int, H: int, given: dict[str, str], values: Values,
             options: dict[str, Any], notes: list[str]) -> tuple[np.ndarray, ...] | None:
    """The constant initial state, (k, n, H) for each part; None for zeros."""
    parts: list[np.ndarray | None] = []
    for key in ("initial_h", "initial_c")[: 2 if kind == "LSTM" else 1]:
        if key not in given or values.zero(given[key]):
            parts.append(None)
        elif (a := _constant_state(given[key], k, H, values, bool(options.get("layout")))) is None:
            notes.append(f"{key} comes from the graph: hand it over as the state")
            parts.append(None)
        else:
            if a.ndim != 3 or a.shape[::2] != (k, H) or a.dtype.kind != "f":
                raise Left(f"{key} of shape {a.shape}, wanted ({k}, N, {H})")
            notes.append(f"{key} is a constant: the layer starts from it")
            parts.append(a[:, :1] if (a == a[:, :1]).all() else a)
    known = [a for a in parts if a is not None]
    if not known:
        return None
    n = max(a.shape[1] for a in known)
    return tuple(np.zeros((k, n, H), known[0].dtype) if a is None else a for a in parts)


def _constant_state(name: str, k: int, H: int, values: Values, layout: bool) -> np.ndarray | None:
    """A constant part of a state, (k, N, H); None for what the graph computes."""
    a = values(name)
    if layout:
        return np.swapaxes(a, 0, 1) if a is not None and a.ndim == 3 else a
    return values.of_every_row(name, k, H) if a is None else a


def _lengths(given: dict[str, str], values: Values, notes: list[str]) -> np.ndarray | int | None:
    """Constant lengths: one number if all are the same."""
    if "sequence_lens" not in given:
        return None
    a = values(given["sequence_lens"])
    if a is None:
        notes.append("sequence_lens come from the graph: hand them over as lengths")
        return None
    if a.ndim != 1 or a.dtype.kind not in "iu" or not a.size:
        raise Left(f"sequence_lens of shape {a.shape} and {a.dtype}, wanted (N,) integers")
    notes.append("sequence_lens are constants: sequences are that long unless others are given")
    return int(a[0]) if (a == a[0]).all() else a
