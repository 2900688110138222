"""Recurrent layers of Keras: from the plain arrays of ``get_weights()``, or from its files.

Keras need not be installed; files want h5py. Its layouts: ``kernel (D, kH)`` and
``recurrent_kernel (H, kH)``, not transposed; gates i, f, c, o of an LSTM and z, r, h of a GRU;
``bias (kH,)``, or (2, kH) for a GRU that resets after the product (``reset_after=True``, its
default): one for each product. z weighs the old state. What CuDNNLSTM and CuDNNGRU hold has its
kernels turned over, and both biases in a row, (2kH,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import nn
from .files import StrPath
from .layouts import KERAS, Weights, export, grid, plain, restore, stack

__all__ = ["cell_of", "from_keras", "to_keras"]

KINDS: dict[str, type[nn.Cell]] = {
    "SimpleRNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "CuDNNLSTM": nn.LSTMCell,
    "CuDNNGRU": nn.GRUCell,
}  # fmt: skip


def from_keras(kind: str | StrPath, weights: Sequence[ArrayLike] | None = None,
               reset_after: bool = True, bidirectional: bool | None = None) -> Any:
    """The layer that computes what layers of Keras with these weights compute.

    Args:
        kind: "SimpleRNN", "LSTM", "GRU", "CuDNNLSTM" or "CuDNNGRU", with the activations that Keras
            gives them by default. Without ``weights``: the path of a file (.keras, .weights.h5 or
            .h5), whose recurrent layers are returned by their names; see below.
        weights: ``get_weights()``: kernel, recurrent kernel, and bias unless it was left out.
            Twice as many, of a ``Bidirectional`` layer that concatenates, give a layer with two
            directions; those of several layers, or of stacked cells, in a row give as many layers.
            Their dtype becomes that of the layer.
        reset_after: of a GRU, as in Keras.
        bidirectional: whether the weights are of ``Bidirectional``. None: shapes tell, and where
            they fit both (D = H), it is a ValueError.

    Call the layer for all states, ``return_sequences=True``; its final state is ``return_state``.

    Of a file: a dict from name to layer (``interop.Found``), each as its config says: activations,
    ``go_backwards`` (its states come out last step first, as in Keras), ``Bidirectional``, stacked
    cells. What cannot be expressed does not cost the others: it stands in ``.left`` with the
    reason, and in a warning. A file of weights alone (.weights.h5) does not know activations; they
    are taken to be the default ones, and ``.notes`` says so; the same goes for layers inside of
    ``TimeDistributed``, and of layers and models of one's own.

    Raises ValueError for another kind, and if the arrays do not fit together; FormatError for a
    file that cannot be read, FileNotFoundError for no file, ImportError without h5py.
    """
    if weights is None and str(kind) not in KINDS:
        from .keras_files import read_keras

        return read_keras(kind)
    if kind not in KINDS:
        raise ValueError(f"from_keras: kind={kind!r}, wanted {', '.join(map(repr, KINDS))}")
    arrays = [np.asarray(w) for w in weights or ()]
    groups = _groups(str(kind), arrays, reset_after)
    cells = [cell_of(str(kind), *group, reset_after=reset_after) for group in groups]
    return stack(cells, _two_directions(str(kind), cells, bidirectional))


def to_keras(layer: nn.Recurrent) -> list[np.ndarray]:
    """The arrays for ``set_weights`` of the Keras layer that computes what a layer computes.

    That layer is made with the H of this one and default activations; a GRU with
    ``reset_after=True`` if this one has ``reset="after"``, else ``reset_after=False``; a
    bidirectional layer inside ``keras.layers.Bidirectional``. Each layer of a stack is one of
    Keras: convert them one by one. Shapes are those of ``from_keras``; the arrays are copies.

    Raises TypeError for anything but an RNN, LSTM or GRU, ValueError for a stack and for a residual
    layer.
    """
    rows = grid(layer, "to_keras")
    if len(rows) > 1 or layer.residual:
        raise ValueError(f"to_keras: {type(layer).__name__} of {len(rows)} layers, residual="
                         f"{layer.residual}; a layer of Keras is a single one, without skip"
                         " connections")
    return [a for cell in rows[0] for a in _arrays(cell)]


def cell_of(kind: str, Wx: np.ndarray, Wh: np.ndarray, bias: np.ndarray | None = None, *,
            reset_after: bool) -> Any:
    """The cell of the arrays of one layer in one direction. ValueError where they do not fit."""
    cls = KINDS[kind]
    H, k = len(Wh), len(KERAS[cls])
    cudnn = kind.startswith("CuDNN") or (bias is not None and bias.shape == (2 * k * H,))
    after = cls is nn.GRUCell and (reset_after or cudnn)
    if bias is None:
        bias = np.zeros((2, k * H) if after else k * H, Wx.dtype)
    wanted = ((Wx.shape[0], k * H), (H, k * H),
              (2 * k * H,) if cudnn else (2, k * H) if after else (k * H,))  # fmt: skip
    came = (Wx.shape, Wh.shape, bias.shape)
    if came != wanted:
        form = f" with reset_after={bool(reset_after)}" if kind == "GRU" else ""
        raise ValueError(f"from_keras: {kind}{form} of arrays {came}, wanted {wanted}")
    if cudnn:  # cuDNN's matrices lie the other way round, gate by gate
        Wx = np.hstack([w.T.reshape(w.shape, order="F") for w in np.split(Wx, k, 1)])
        Wh = np.hstack([w.T for w in np.split(Wh, k, 1)])
        bias = bias.reshape(2, -1) if after else bias.reshape(2, -1).sum(0)
    bx, bh = bias if after else (bias, np.zeros_like(bias))
    return restore(cls, Weights(Wx, Wh, bx, bh), KERAS, "after" if after else "before")


def _groups(kind: str, arrays: list[np.ndarray], reset_after: bool) -> list[list[np.ndarray]]:
    """The arrays of each layer and direction: three, or two without biases."""
    for size in (3, 2):
        groups = [arrays[i : i + size] for i in range(0, len(arrays), size)]
        if arrays and len(arrays) % size == 0 and all(
                [a.ndim for a in group[:2]] == [2, 2] and (size == 2 or group[2].ndim == 1 or (
                    group[2].shape == (2, group[1].shape[1]) and KINDS[kind] is nn.GRUCell))
                and group[1].shape[1] == group[0].shape[1] for group in groups):
            return groups
    raise ValueError(f"from_keras: {kind} of arrays {[a.shape for a in arrays]}, wanted kernel"
                     " (D, kH), recurrent kernel (H, kH) and bias, once for each layer and"
                     " direction")


def _two_directions(kind: str, cells: list[Any], asked: bool | None) -> bool:
    """Whether cells in a row are pairs of directions, not layers one upon the other."""
    sizes = [cell.Wx.shape[0] for cell in cells], [cell.Wh.shape[0] for cell in cells]
    D, H = sizes
    layers = all(D[i] == H[i - 1] for i in range(1, len(cells)))
    pairs = len(cells) % 2 == 0 and all(
        D[i] == D[i + 1] and (i == 0 or D[i] == H[i - 2] + H[i - 1])
        for i in range(0, len(cells), 2)
    )
    if layers and pairs and asked is None:
        raise ValueError(f"from_keras: {kind} of {len(cells)} kernels that fit as layers and as two"
                         " directions; say bidirectional=True or False")
    if not (layers or pairs) or (asked is not None and not (pairs if asked else layers)):
        how = {None: "layers or directions", True: "two directions", False: "layers"}[asked]
        raise ValueError(f"from_keras: {kind} of kernels for D = {D} and H = {H}, which are no"
                         f" {how} that fit together")
    return pairs if asked is None else asked


def _arrays(cell: Any) -> list[np.ndarray]:
    plain(cell, "to_keras")
    if getattr(cell, "activation", "tanh") != "tanh":
        raise ValueError("to_keras: an RNN with activation='relu'; arrays do not say so, and the"
                         " layer of Keras has tanh by default")
    Wx, Wh, bx, bh, _ = export(cell, KERAS)
    after = isinstance(cell, nn.GRUCell) and cell.reset == "after"
    return [Wx, Wh, np.stack([bx, bh]) if after else bx]
