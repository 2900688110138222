"""Layers of PyTorch as layers of ours, and back.

Weights are copied. What is trained on one side does not reach the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor
from .files import numpy_of
from .layouts import LAYERS, TORCH, Weights, array, export, grid, restore, stack, unused
from .needs import needed

__all__ = ["from_torch", "to_torch"]


def from_torch(module: Any) -> nn.Module:
    """The layer that computes what a PyTorch module computes, with copies of its weights.

    ==================================  =============================================
    ``torch.nn``                        ``tinygrad_rnn.nn``
    ==================================  =============================================
    ``RNN``, ``LSTM``, ``GRU``          the same; any number of layers and directions
    ``RNNCell LSTMCell GRUCell``        the same
    ``Linear``, ``Embedding``           the same
    ``LayerNorm``                       the same, over the last axis
    ==================================  =============================================

    A GRU comes in the form ``reset="after", update="old", recurrent_bias=True``. Our layers are
    batch first, whatever ``batch_first`` says; a single cell has the state (N, H), not (1, N, H).
    The two biases of PyTorch are one here, their sum. A bias or scale that the module leaves out
    is a parameter that starts at 0, or 1. Weights keep their dtype (bfloat16
    becomes float32); inputs and outputs have the
    shapes that each of our layers names.

    Raises:
        TypeError: for any other module.
        ValueError: for an option that has no counterpart here; it says which.
        ImportError: without torch.
    """
    torch = needed("torch", "from_torch")
    t = torch.nn
    convert: dict[Any, Callable[[Any], nn.Module]] = {
        t.RNN: _from_recurrent, t.LSTM: _from_recurrent, t.GRU: _from_recurrent,
        t.RNNCell: _from_cell, t.LSTMCell: _from_cell, t.GRUCell: _from_cell,
        t.Linear: _from_linear, t.Embedding: _from_embedding, t.LayerNorm: _from_layer_norm,
    }  # fmt: skip
    if type(module) not in convert:
        names = ", ".join(kind.__name__ for kind in convert)
        raise TypeError(f"from_torch: {type(module).__name__}, wanted one of torch.nn's {names}")
    return convert[type(module)](module).train(module.training)


def to_torch(layer: nn.Module) -> Any:
    """The PyTorch module that computes what a layer computes, with copies of its weights.

    The table of ``from_torch``, read from right to left. Recurrent modules are ``batch_first``;
    a ``stateful`` layer becomes one whose state you pass on yourself.

    Raises:
        TypeError: for any other layer.
        ValueError: for a form that PyTorch does not have: a GRU that resets before the product
            with Wh, as the book's does, residual layers, and layers of different H.
        ImportError: without torch.
    """
    torch = needed("torch", "to_torch")
    if isinstance(layer, nn.Recurrent):
        return _to_recurrent(layer, torch).train(layer.training)
    convert: dict[Any, Callable[[Any, Any], Any]] = {
        nn.RNNCell: _to_cell, nn.LSTMCell: _to_cell, nn.GRUCell: _to_cell,
        nn.Linear: _to_linear, nn.Embedding: _to_embedding, nn.LayerNorm: _to_layer_norm,
    }  # fmt: skip
    if type(layer) not in convert:
        names = ", ".join(["RNN", "LSTM", "GRU", *(kind.__name__ for kind in convert)])
        raise TypeError(f"to_torch: {type(layer).__name__}, wanted one of {names}")
    return convert[type(layer)](layer, torch).train(layer.training)


# --- from PyTorch --------------------------------------------------------------------------------


def _from_recurrent(module: Any) -> nn.Recurrent:
    kind = next(k for k, layer in LAYERS.items() if layer.__name__ == type(module).__name__)
    directions = ["", "_reverse"] if module.bidirectional else [""]
    cells = [
        _cell(module, kind, f"_l{i}{direction}")
        for i in range(module.num_layers) for direction in directions
    ]  # fmt: skip
    return stack(cells, module.bidirectional, module.dropout)


def _from_cell(module: Any) -> Any:
    kind = next(kind for kind in LAYERS if kind.__name__ == type(module).__name__)
    return _cell(module, kind, "")


def _cell(module: Any, kind: type[nn.Cell], suffix: str) -> Any:
    Wx, Wh = (numpy_of(getattr(module, f"weight_{x}{suffix}")).T for x in ("ih", "hh"))
    if module.bias:
        bx, bh = (numpy_of(getattr(module, f"bias_{x}{suffix}")) for x in ("ih", "hh"))
    else:
        bx = bh = np.zeros_like(Wx, shape=Wx.shape[1])
    Wp = (numpy_of(getattr(module, f"weight_hr{suffix}")).T if getattr(module, "proj_size", 0)
          else None)  # fmt: skip
    cell = restore(kind, Weights(Wx, Wh, bx, bh, Wp), TORCH)
    if kind is nn.RNNCell:
        cell.activation = module.nonlinearity
    return cell


def _from_linear(module: Any) -> nn.Linear:
    W = numpy_of(module.weight).T
    D, H = W.shape
    layer = nn.Linear(D, H, bias=module.bias is not None, dtype=W.dtype, rng=unused())
    layer.W.data = W
    if layer.b is not None:
        layer.b.data = numpy_of(module.bias)
    return layer


def _from_embedding(module: Any) -> nn.Embedding:
    _only(module, padding_idx=None, max_norm=None, scale_grad_by_freq=False)
    W = numpy_of(module.weight)
    layer = nn.Embedding(*W.shape, dtype=W.dtype, rng=unused())
    layer.W.data = W
    return layer


def _from_layer_norm(module: Any) -> nn.LayerNorm:
    if len(module.normalized_shape) != 1:
        raise ValueError(f"from_torch: LayerNorm over {tuple(module.normalized_shape)}; ours"
                         " normalises the last axis only")
    parameters = list(module.parameters())
    dtype = numpy_of(parameters[0]).dtype if parameters else np.float32
    layer = nn.LayerNorm(module.normalized_shape[0], module.eps, dtype=dtype)
    if module.weight is not None:
        layer.gamma.data = numpy_of(module.weight)
    if module.bias is not None:
        layer.beta.data = numpy_of(module.bias)
    return layer


def _only(module: Any, **wanted: Any) -> None:
    """ValueError if an option of the module, where it has one, has another value."""
    for name, value in wanted.items():
        if getattr(module, name, value) != value:
            raise ValueError(f"from_torch: {type(module).__name__} with {name}="
                             f"{getattr(module, name)!r}, which has no counterpart here; wanted"
                             f" {name}={value!r}")


# --- to PyTorch ----------------------------------------------------------------------------------


def _to_recurrent(layer: nn.Recurrent, torch: Any) -> Any:
    name = type(layer).__name__
    if layer.residual:
        raise ValueError(f"to_torch: {name} with residual=True; torch.nn.{name} has no skip"
                         " connections: convert the layers one by one and add them up")
    rows = grid(layer, "to_torch")
    if layer.recurrent_dropout:
        raise ValueError(f"to_torch: {name} with recurrent_dropout={layer.recurrent_dropout}, which"
                         f" torch.nn.{name} does not have")
    forms = [_form(cell) for row in rows for cell in row]
    if any(form != forms[0] for form in forms):
        raise ValueError(f"to_torch: cells of {forms}; torch.nn.{name} has one form for all layers")
    H = rows[0][0].state_sizes[-1]
    sizes = [cell.state_sizes[-1] for row in rows for cell in row]
    if set(sizes) != {H}:
        raise ValueError(f"to_torch: cells of H = {sizes}; torch.nn has one H for all layers")
    kind = getattr(torch.nn, LAYERS[type(rows[0][0])].__name__)
    module = kind(
        rows[0][0].Wx.shape[0], H, len(rows), batch_first=True, dropout=layer.dropout,
        bidirectional=layer.directions == 2, dtype=_dtype(rows[0][0].Wx, torch), **forms[0]
    )  # fmt: skip
    for i, row in enumerate(rows):
        for cell, direction in zip(row, ("", "_reverse"), strict=False):
            _fill(module, cell, f"_l{i}{direction}", torch)
    return module


def _to_cell(cell: Any, torch: Any) -> Any:
    form = _form(cell)
    if form.pop("proj_size", 0):
        raise ValueError("to_torch: an LSTMCell with proj_size, which torch.nn.LSTMCell does not"
                         " have; an LSTM of it can be converted")
    D, H = cell.Wx.shape[0], cell.state_sizes[-1]
    kind = getattr(torch.nn, type(cell).__name__)
    module = kind(D, H, dtype=_dtype(cell.Wx, torch), **form)
    _fill(module, cell, "", torch)
    return module


def _form(cell: Any) -> dict[str, Any]:
    """The options of torch.nn for what is peculiar to a cell."""
    if isinstance(cell, nn.RNNCell):
        return {"nonlinearity": cell.activation}
    return {} if getattr(cell, "Wp", None) is None else {"proj_size": cell.Wp.shape[1]}


def _fill(module: Any, cell: Any, suffix: str, torch: Any) -> None:
    if isinstance(cell, nn.GRUCell) and cell.reset == "before":
        raise ValueError('to_torch: a GRU with reset="before" (Cho et al. and the book) is another'
                         " function than torch.nn.GRU, which resets after the product with Wh, and"
                         ' no weights make them equal; GRU(..., reset="after") can be converted')
    Wx, Wh, bx, bh, Wp = export(cell, TORCH)
    projection = {} if Wp is None else {f"weight_hr{suffix}": Wp.T}
    _set(module, torch, **{f"weight_ih{suffix}": Wx.T, f"weight_hh{suffix}": Wh.T,
                           f"bias_ih{suffix}": bx, f"bias_hh{suffix}": bh, **projection})


def _to_linear(layer: nn.Linear, torch: Any) -> Any:
    bias = {} if layer.b is None else {"bias": array(layer.b)}
    module = torch.nn.Linear(*layer.W.shape, bias=bool(bias), dtype=_dtype(layer.W, torch))
    return _set(module, torch, weight=array(layer.W).T, **bias)


def _to_embedding(layer: nn.Embedding, torch: Any) -> Any:
    module = torch.nn.Embedding(*layer.W.shape, dtype=_dtype(layer.W, torch))
    return _set(module, torch, weight=array(layer.W))


def _to_layer_norm(layer: nn.LayerNorm, torch: Any) -> Any:
    module = torch.nn.LayerNorm(layer.gamma.size, layer.eps, dtype=_dtype(layer.gamma, torch))
    return _set(module, torch, weight=array(layer.gamma), bias=array(layer.beta))


def _set(module: Any, torch: Any, **arrays: np.ndarray) -> Any:
    with torch.no_grad():
        for name, a in arrays.items():
            getattr(module, name).copy_(torch.from_numpy(np.ascontiguousarray(a)))
    return module


def _dtype(parameter: Tensor, torch: Any) -> Any:
    return getattr(torch, parameter.dtype.name)
