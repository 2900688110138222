"""How other libraries lay out what a cell holds.

They differ in four things: the order of the gates, the transposition of the weights, the number of
biases (b for both products here, one for each there), and what the update gate z of a GRU weighs:
the old state everywhere but in the book. The last is no obstacle: 1 - sigmoid(a) = sigmoid(-a), so
z may change sides if its weights change sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .. import nn
from ..tensor import Tensor

Order: TypeAlias = dict[type[nn.Cell], tuple[int, ...]]

# For each block of theirs, which of ours it is: LSTM f, g, i, o; GRU z, r, h.
TORCH: Order = {nn.RNNCell: (0,), nn.LSTMCell: (2, 0, 1, 3), nn.GRUCell: (1, 0, 2)}  # ifgo, rzn
KERAS: Order = {nn.RNNCell: (0,), nn.LSTMCell: (2, 0, 1, 3), nn.GRUCell: (0, 1, 2)}  # ifco, zrh
ONNX: Order = {nn.RNNCell: (0,), nn.LSTMCell: (2, 3, 0, 1), nn.GRUCell: (0, 1, 2)}  # iofc, zrh

LAYERS: dict[type[nn.Cell], type[nn.Recurrent]] = {
    nn.RNNCell: nn.RNN, nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU,
}  # fmt: skip


class Weights(NamedTuple):
    """Of one cell, in the order of another library: Wx (D, kH), Wh (H, kH), the biases of the two
    products, bx and bh (kH,), and where h is projected Wp (H, P); Wh is (P, kH) then."""

    Wx: np.ndarray
    Wh: np.ndarray
    bx: np.ndarray
    bh: np.ndarray
    Wp: np.ndarray | None = None


def array(tensor: Tensor) -> np.ndarray:
    """A copy of the value of a parameter, contiguous."""
    return np.array(tensor.detach().numpy(), order="C")


def export(cell: Any, order: Order) -> Weights:
    """The Weights of a cell in the layout ``order`` (TORCH, KERAS or ONNX)."""
    Wx, Wh, bx = (array(p) for p in (cell.Wx, cell.Wh, cell.b))
    bh = np.zeros_like(bx)
    H = cell.state_sizes[-1]
    if isinstance(cell, nn.GRUCell):
        if cell.bh is not None:
            bh[2 * H :] = array(cell.bh)
        if cell.update == "new":
            for a in (Wx, Wh, bx):
                a[..., :H] *= -1
    Wp = getattr(cell, "Wp", None)  # of an LSTM
    Wx, Wh, bx, bh = (_blocks(a, order[type(cell)]) for a in (Wx, Wh, bx, bh))
    return Weights(Wx, Wh, bx, bh, None if Wp is None else array(Wp))


def restore(kind: type[nn.Cell], weights: Weights, order: Order, reset: str = "after") -> Any:
    """The cell of class ``kind`` whose Weights these are. ``reset`` is for a GRUCell only."""
    inverse = np.argsort(order[kind]).tolist()
    Wx, Wh, bx, bh = (_blocks(np.asarray(a), inverse) for a in weights[:4])
    D, H = len(Wx), Wx.shape[1] // len(inverse)
    options: dict[str, Any] = {} if weights.Wp is None else {"proj_size": weights.Wp.shape[1]}
    if kind is nn.GRUCell:
        options = {"reset": reset, "update": "old", "recurrent_bias": reset == "after"}
    cell: Any = kind(D, H, dtype=Wx.dtype, rng=unused(), **options)
    if kind is nn.GRUCell and reset == "after":
        cell.bh.data = bh[2 * H :]
        bh = np.concatenate([bh[: 2 * H], np.zeros_like(bx, shape=H)])
    if weights.Wp is not None:
        cell.Wp.data = np.array(weights.Wp, order="C")
    cell.Wx.data, cell.Wh.data, cell.b.data = Wx, Wh, bx + bh
    return cell


def grid(layer: nn.Recurrent, name: str) -> list[list[Any]]:
    """The cells of a Recurrent as rows of layers, one column for each direction; all of one kind.

    TypeError for cells that ``name`` (of the function that was called) cannot express.
    """
    if not isinstance(layer, nn.Recurrent):
        raise TypeError(f"{name}: {type(layer).__name__}, wanted an RNN, LSTM or GRU")
    if getattr(layer, "preset", False):
        raise TypeError(f"{name}: a layer that runs backwards, or has an initial state or lengths"
                        " of its own; wanted a plain one")
    kinds = {type(cell) for cell in layer.cells}
    if len(kinds) > 1 or not kinds <= LAYERS.keys():
        came = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(f"{name}: a layer of {came}; wanted RNNCell, LSTMCell or GRUCell, one kind"
                        " throughout: others know no cell of one's own")
    k = layer.directions
    return [layer.cells[i : i + k] for i in range(0, len(layer.cells), k)]


def plain(cell: Any, name: str) -> None:
    """ValueError for a cell with what only PyTorch has as well."""
    if getattr(cell, "Wp", None) is not None:
        raise ValueError(f"{name}: an LSTM with proj_size={cell.Wp.shape[1]}, which has no"
                         " counterpart there")


def stack(cells: list[Any], bidirectional: bool = False, dropout: float = 0.0) -> nn.Recurrent:
    """The layer of these cells, all of one kind. ValueError where one does not read what is below.
    """
    k = 1 + bidirectional
    rows = [cells[i : i + k] for i in range(0, len(cells), k)]
    read = [cell.Wx.shape[0] for cell in cells]
    given = [read[0], *(sum(cell.state_sizes[0] for cell in row) for row in rows[:-1])]
    if read != [n for n in given for _ in range(k)]:
        raise ValueError(f"layers of {k} direction{'s' * bidirectional} that read {read} numbers,"
                         f" but are given {given}")
    kind = next(layer for cell, layer in LAYERS.items() if isinstance(cells[0], cell))
    return kind(cells, bidirectional=bidirectional, dropout=dropout)


def unused() -> np.random.Generator:
    """A generator for weights that are overwritten at once: nothing is drawn from the user's."""
    return np.random.default_rng(0)


def _blocks(a: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The blocks of the last axis in another order."""
    pieces = np.split(a, len(order), axis=-1)
    return np.concatenate([pieces[i] for i in order], axis=-1)
