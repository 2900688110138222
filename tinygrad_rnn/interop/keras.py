"""Recurrent weights of Keras, as the plain arrays of ``get_weights()`` and ``set_weights``.

Keras need not be installed. Its layouts: ``kernel (D, kH)`` and ``recurrent_kernel (H, kH)``, not
transposed; gates i, f, c, o of an LSTM and z, r, h of a GRU; ``bias (kH,)``, or (2, kH) for a GRU
that resets after the product (``reset_after=True``, its default): one for each product. z weighs
the old state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import nn
from .layouts import KERAS, Weights, export, grid, restore, stack

__all__ = ["from_keras", "to_keras"]

_KINDS: dict[str, type[nn.Cell]] = {"SimpleRNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def from_keras(kind: str, weights: Sequence[ArrayLike], reset_after: bool = True) -> nn.Recurrent:
    """The layer that computes what a layer of Keras with these weights computes.

    Args:
        kind: "SimpleRNN", "LSTM" or "GRU", with the activations that Keras gives them by default.
        weights: ``layer.get_weights()``: kernel, recurrent kernel, and bias unless it was left
            out. Twice as many, of a ``Bidirectional`` layer that concatenates, give a layer with
            two directions. Their dtype becomes that of the layer.
        reset_after: of a GRU, as in Keras.

    Call the layer for all states, ``return_sequences=True``; its final state is ``return_state``.
    Raises ValueError for another kind, and if the arrays do not fit together.
    """
    if kind not in _KINDS:
        raise ValueError(f"from_keras: kind={kind!r}, wanted {', '.join(map(repr, _KINDS))}")
    arrays = [np.asarray(w) for w in weights]
    shapes = [w.shape for w in arrays]
    if len(arrays) not in (2, 3, 4, 6) or any(len(shape) != 2 for shape in shapes[:2]):
        raise ValueError(f"from_keras: {kind} of arrays {shapes}, wanted kernel (D, kH), recurrent"
                         " kernel (H, kH) and bias, once, or twice for two directions")
    half = len(arrays) // (2 if len(arrays) > 3 else 1)
    pairs = [arrays[i : i + half] for i in range(0, len(arrays), half)]
    cells = [_cell(kind, *pair, reset_after=reset_after) for pair in pairs]
    return stack(cells, bidirectional=len(cells) == 2)


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


def _cell(kind: str, Wx: np.ndarray, Wh: np.ndarray, bias: np.ndarray | None = None, *,
          reset_after: bool) -> Any:
    cls = _KINDS[kind]
    H, k = len(Wh), len(KERAS[cls])
    after = cls is nn.GRUCell and reset_after
    if bias is None:
        bias = np.zeros((2, k * H) if after else k * H, Wx.dtype)
    wanted = ((Wx.shape[0], k * H), (H, k * H), (2, k * H) if after else (k * H,))
    came = (Wx.shape, Wh.shape, bias.shape)
    if came != wanted:
        form = f" with reset_after={bool(reset_after)}" if cls is nn.GRUCell else ""
        raise ValueError(f"from_keras: {kind}{form} of arrays {came}, wanted {wanted}")
    bx, bh = bias if after else (bias, np.zeros_like(bias))
    return restore(cls, Weights(Wx, Wh, bx, bh), KERAS, "after" if after else "before")


def _arrays(cell: Any) -> list[np.ndarray]:
    Wx, Wh, bx, bh, _ = export(cell, KERAS)
    after = isinstance(cell, nn.GRUCell) and cell.reset == "after"
    return [Wx, Wh, np.stack([bx, bh]) if after else bx]
