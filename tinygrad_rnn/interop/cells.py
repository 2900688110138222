"""Cells and layers of other libraries that nn does not have: peepholes, other activations, clipped
gates, coupled gates, one direction from the end, an initial state of one's own.

All of it is plain tensor expressions over ``nn``'s cells; gradients come of themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from .. import nn

__all__ = ["Activation", "Form", "PeepholeLSTMCell", "Preset", "formed"]


@dataclass(frozen=True)
class Activation:
    """A function of ONNX by its name, in lower case, with its alpha and beta."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Any) -> Any:
        a, b = self.alpha, self.beta
        match self.name:
            case "tanh":
                return np.tanh(x)
            case "sigmoid":
                return F.sigmoid(x)
            case "relu":
                return F.relu(x)
            case "affine":
                return a * x + b
            case "leakyrelu":
                return np.where(x >= 0, x, a * x)
            case "thresholdedrelu":
                return np.where(x > a, x, 0)
            case "scaledtanh":
                return a * np.tanh(b * x)
            case "hardsigmoid":
                return np.clip(a * x + b, 0, 1)
            case "elu":
                return np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0)))
            case "softsign":
                return x / (1 + np.abs(x))
            case "softplus":
                return np.logaddexp(x, 0)
        raise ValueError(f"Activation: there is no {self.name!r}")


# What alpha and beta are unless a node says so; None where a function has none, NaN where the
# standard and the runtimes do not agree on it.
DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "tanh": (None, None), "sigmoid": (None, None), "relu": (None, None),
    "softsign": (None, None), "softplus": (None, None), "affine": (math.nan, math.nan),
    "leakyrelu": (0.01, None), "thresholdedrelu": (math.nan, None),
    "scaledtanh": (math.nan, math.nan), "hardsigmoid": (0.2, 0.5), "elu": (1.0, None),
}  # fmt: skip
SIGMOID, TANH = Activation("sigmoid"), Activation("tanh")


@dataclass(frozen=True)
class Form:
    """In what a cell may differ from the usual one.

    ``gate``, ``new``, ``out``: the functions of the gates, of what is new, and (of an LSTM) of c.
    ``clip``: what goes into the first two is kept between -clip and clip. ``coupled``: f = 1 - i.
    """

    gate: Activation = SIGMOID
    new: Activation = TANH
    out: Activation = TANH
    clip: float | None = None
    coupled: bool = False

    def clipped(self, x: Any) -> Any:
        return x if self.clip is None else np.clip(x, -self.clip, self.clip)


class PeepholeLSTMCell(nn.LSTMCell):
    """One step of an LSTM whose gates see c: x (N, D), h and c (N, H) -> h, c (N, H).

        f = sigmoid(x Wx_f + h Wh_f + b_f + pf * c)        (i likewise)
        o = sigmoid(x Wx_o + h Wh_o + b_o + po * c_new)

    Gers & Schmidhuber (2000). ``pf``, ``pi``, ``po`` (H,), which begin as zeros;
    ``peepholes=False`` leaves them out, for a cell that has another ``form`` only. ValueError where
    shapes do not fit.
    """

    def __init__(self, D: int, H: int, form: Form | None = None, peepholes: bool = True, *,
                 dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None) -> None:
        super().__init__(D, H, dtype=dtype, rng=rng)
        self.form = form or Form()
        self.pf, self.pi, self.po = (
            nn.Parameter(np.zeros(H, dtype)) if peepholes else None for _ in range(3)
        )

    def step(self, a: Any, h: Any, c: Any) -> Any:
        form = self.form
        f, g, i, o = np.split(a + h @ self.Wh, 4, axis=-1)
        i = form.gate(form.clipped(_peep(i, self.pi, c)))
        f = 1 - i if form.coupled else form.gate(form.clipped(_peep(f, self.pf, c)))
        c = f * c + i * form.new(form.clipped(g))
        return form.gate(form.clipped(_peep(o, self.po, c))) * form.out(c), c


def _peep(a: Any, p: Any, c: Any) -> Any:
    return a if p is None else a + p * c


class FormRNNCell(nn.RNNCell):
    """An RNNCell of another ``form``."""

    def __init__(self, D: int, H: int, form: Form, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        super().__init__(D, H, dtype=dtype, rng=rng)
        self.form = form

    def step(self, a: Any, h: Any) -> Any:
        return self.form.new(self.form.clipped(a + h @ self.Wh))


class FormGRUCell(nn.GRUCell):
    """A GRUCell of another ``form``, with z that weighs the old state."""

    def __init__(self, D: int, H: int, form: Form, reset: str = "after", *,
                 dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None) -> None:
        super().__init__(D, H, reset, "old", reset == "after", dtype=dtype, rng=rng)
        self.form = form

    def step(self, a: Any, h: Any) -> Any:
        form, H = self.form, len(self.Wh)
        gates = a[:, : 2 * H] + h @ self.Wh[:, : 2 * H]
        z, r = np.split(form.gate(form.clipped(gates)), 2, axis=-1)
        Wn = self.Wh[:, 2 * H :]
        product = (r * h) @ Wn if self.bh is None else r * (h @ Wn + self.bh)
        return (1 - z) * form.new(form.clipped(a[:, 2 * H :] + product)) + z * h


def formed(cell: Any, form: Form, peepholes: np.ndarray | None) -> Any:
    """A cell with the weights of ``cell``, of another form."""
    if form == Form() and peepholes is None:
        return cell
    if type(cell) is nn.RNNCell and form == Form(new=Activation("relu")):
        cell.activation = "relu"
        return cell
    (D, _), H, dtype = cell.Wx.shape, len(cell.Wh), cell.Wx.dtype
    new: Any
    if isinstance(cell, nn.LSTMCell):
        new = PeepholeLSTMCell(D, H, form, peepholes is not None, dtype=dtype)
        if peepholes is not None:
            new.pi.data, new.po.data, new.pf.data = np.split(peepholes, 3)
    elif isinstance(cell, nn.GRUCell):
        new = FormGRUCell(D, H, form, cell.reset, dtype=dtype)
        if cell.bh is not None:
            new.bh.data = _copy(cell.bh)
    else:
        new = FormRNNCell(D, H, form, dtype=dtype)
    new.Wx.data, new.Wh.data, new.b.data = _copy(cell.Wx), _copy(cell.Wh), _copy(cell.b)
    return new


def _copy(parameter: Any) -> np.ndarray:
    return np.array(parameter.detach().numpy(), order="C")


class Preset:
    """What makes a layer start and run as its source did; a base of layers, before nn's own.

    ``reverse``: it runs from the end (of each sequence) to the beginning. ``flipped``: the states
    come out in the order in which they were computed, the last time step first. ``initial``: the
    parts of its initial state, (cells, n, H) with n = 1 for every batch size, where it is given
    none. ``lengths``: of its sequences, where it is given none; one number is that of all.
    """

    preset = True
    reverse = False
    flipped = False
    initial: tuple[np.ndarray, ...] | None = None
    lengths: np.ndarray | int | None = None

    def forward(self: Any, xs: Any, state: Any = None, lengths: Any = None,
                resets: Any = None) -> Any:
        N = np.shape(xs)[0]
        if state is None and self.initial is not None and not (self.stateful and self.state):
            parts = [_for_batch(part, N) for part in self.initial]
            parts = [part[0] for part in parts] if len(self.cells) == 1 else parts
            state = tuple(parts) if len(parts) > 1 else parts[0]
        if lengths is None and self.lengths is not None:
            lengths = np.full(N, self.lengths) if isinstance(self.lengths, int) else self.lengths
        hs, final = super().forward(xs, state, lengths, resets)  # type: ignore[misc]
        return np.flip(hs, 1) if self.flipped else hs, final

    def _run(self, *args: Any) -> Any:
        *args, backward = args  # type: ignore[assignment]
        return super()._run(*args, backward or self.reverse)  # type: ignore[misc]


def _for_batch(part: np.ndarray, N: int) -> np.ndarray:
    return np.repeat(part, N, axis=1) if part.shape[1] == 1 else part


class PresetRNN(Preset, nn.RNN):
    """An RNN as its source ran it."""


class PresetLSTM(Preset, nn.LSTM):
    """An LSTM as its source ran it."""


class PresetGRU(Preset, nn.GRU):
    """A GRU as its source ran it."""


PRESETS: dict[type[nn.Recurrent], Any] = {nn.RNN: PresetRNN, nn.LSTM: PresetLSTM, nn.GRU: PresetGRU}
