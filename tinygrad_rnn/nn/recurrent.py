"""Cells (one step) and recurrent layers (over time), as plain tensor expressions.

N is the batch, T time steps, D inputs, H hidden units. Weights are float32 unless ``dtype`` says
otherwise, and all that is computed with them has the dtype that NumPy gives to it and x.

A cell maps ``x (N, D)`` and its state to its new state; what it puts out is the first part of
that. Any Module whose ``forward(x, *state)`` does so, with ``state_sizes`` for the widths of the
parts of its state, can be run over time by ``Recurrent``.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..functional import sigmoid
from ..primitive import own_function
from ..random import generator
from ..speed import collector_paused
from ..tensor import Array, Tensor, plain
from .layers import normal
from .module import Module, Parameter

__all__ = ["GRU", "LSTM", "RNN", "Cell", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]


class Cell(Module):
    """A cell whose input product does not depend on the state, so that a layer can do it for all
    time steps at once: ``forward(x, *state) = step(project(x), *state)``.

    x (N, D) and each part of the state (N, H) -> the new state, (N, H) each. Weights of k gates
    side by side: Wx (D, kH), Wh (H, kH), b (kH,), drawn with scales 1/sqrt(D), 1/sqrt(H), 0.
    Subclasses say k (``gates``), the parts of the state (``states``), and ``step``, which is a
    NotImplementedError here. ValueError where shapes do not fit.
    """

    gates, states = 1, 1

    def __init__(self, D: int, H: int, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        self.Wx = Parameter(normal(rng, 1 / math.sqrt(D), (D, self.gates * H), dtype))
        self.Wh = Parameter(normal(rng, 1 / math.sqrt(H), (H, self.gates * H), dtype))
        self.b = Parameter(np.zeros(self.gates * H, dtype))
        self.state_sizes = (H,) * self.states

    def project(self, x):
        """What of ``forward`` depends on x alone, of one step or all: x (..., D) -> (..., kH)."""
        return x @ self.Wx + self.b

    def step(self, a, *state):
        raise NotImplementedError

    def forward(self, x: Array, *state: Array) -> Any:
        return self.step(self.project(x), *state)


class RNNCell(Cell):
    """One step of a simple RNN: x (N, D), h (N, H) -> h (N, H). Elman (1990); chapter 5.

    ValueError where shapes do not fit.
    """

    def step(self, a, h):
        return np.tanh(a + h @ self.Wh)


class LSTMCell(Cell):
    """One LSTM step: x (N, D), h and c (N, H) -> h, c (N, H). Gates f, g, i, o.

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000); chapter 6.
    ValueError where shapes do not fit.
    """

    gates, states = 4, 2

    def step(self, a, h, c):
        f, g, i, o = np.split(a + h @ self.Wh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c


class GRUCell(Cell):
    """One GRU step: x (N, D), h (N, H) -> h (N, H). Gates z, r, h.

    Cho et al. (2014); the book, appendix C.

    ``reset``: the reset gate acts "before" the product with Wh (Cho; the book) or "after" it
    (cuDNN, PyTorch, Keras). ``update``: z weighs the "new" state (the book) or the "old" one.
    ``recurrent_bias``: a bias of that product for the reset gate to act on, ``bh`` (H,), as those
    libraries have it; only after the product does it differ from b. ValueError for other words,
    for ``recurrent_bias`` with "before", and where shapes do not fit.
    """

    gates = 3

    def __init__(self, D: int, H: int, reset: str = "before", update: str = "new",
                 recurrent_bias: bool = False, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        if reset not in ("before", "after") or update not in ("new", "old"):
            raise ValueError(f"GRUCell: reset={reset!r}, update={update!r}; wanted 'before' or"
                             " 'after', 'new' or 'old'")
        if recurrent_bias and reset == "before":
            raise ValueError("GRUCell: recurrent_bias wants reset='after'; 'before' has no use for"
                             " a second bias")
        super().__init__(D, H, dtype=dtype, rng=rng)
        self.reset, self.update = reset, update
        self.bh = Parameter(np.zeros(H, dtype)) if recurrent_bias else None

    def step(self, a, h):
        H = len(self.Wh)
        Wzr, Wn = self.Wh[:, : 2 * H], self.Wh[:, 2 * H :]
        z, r = np.split(sigmoid(a[:, : 2 * H] + h @ Wzr), 2, axis=-1)
        if self.reset == "before":
            product = (r * h) @ Wn
        else:
            product = h @ Wn
            product = r * (product if self.bh is None else product + self.bh)
        new = np.tanh(a[:, 2 * H :] + product)
        if self.update == "old":
            z = 1 - z
        return (1 - z) * h + z * new


class Recurrent(Module):
    """Cells over time: xs (N, T, D) -> hs (N, T, H), or 2H when bidirectional.

        hs, state = layer(xs, state=None, lengths=None)

    Args:
        cells: one cell; or one for each layer; or, bidirectional, a pair for each layer
            (a flat list: layer 0 forward, layer 0 backward, layer 1 forward, ...).
        bidirectional: the second cell of a pair reads backwards; both outputs are concatenated.
        dropout: probability between layers (not after the last).
        residual: add the input of a layer to its output wherever the sizes agree.
        stateful: start from the last state, cut from the graph (truncated BPTT), until
            ``reset_state()``.

    ``state`` is ``h (N, H)`` or a tuple ``(h, c)``; with several layers or directions each part
    is stacked, (layers * directions, N, H). ``lengths`` (N,) are the true lengths in a padded
    batch, integers from 0 to T: each sequence is treated as if it were alone, and padded steps
    come out as 0.

    Two directions: Schuster & Paliwal (1997); truncated BPTT: chapter 5; stacks, dropout between
    them and skip connections: chapters 6 and 8. ValueError for xs, state or lengths of other
    shapes or values, for T = 0, for no cells or an odd number of them in two directions, and
    unless 0 <= dropout < 1.
    """

    def __init__(self, cells: Module | Sequence[Module], bidirectional: bool = False,
                 dropout: float = 0.0, residual: bool = False, stateful: bool = False) -> None:
        self.cells: list[Any] = [cells] if isinstance(cells, Module) else list(cells)
        self.directions = 2 if bidirectional else 1
        if not self.cells or len(self.cells) % self.directions:
            raise ValueError(f"{type(self).__name__}: {len(self.cells)} cells for"
                             f" {self.directions} directions")
        if not 0 <= dropout < 1:
            raise ValueError(f"{type(self).__name__}: dropout={dropout}, wanted 0 <= dropout < 1")
        self.dropout, self.rng = dropout, generator()
        self.residual, self.stateful = residual, stateful
        self.state: Any = None

    def reset_state(self) -> None:
        """Forget the state carried over: the next call starts from zeros."""
        self.state = None

    def forward(self, xs: Array, state: Any = None,
                lengths: Any = None) -> tuple[Tensor, Any]:
        hs: Any = xs if isinstance(xs, Tensor) else Tensor(xs)
        lengths = self._check(hs, lengths)
        states = self._split(hs, self.state if state is None and self.stateful else state)
        finals = []
        for k in range(0, len(self.cells), self.directions):
            inputs = hs
            outputs = []
            for d in range(self.directions):
                out, final = self._run(self.cells[k + d], inputs, states[k + d], lengths, d == 1)
                outputs.append(out)
                finals.append(final)
            hs = outputs[0] if self.directions == 1 else np.concatenate(outputs, axis=-1)
            if self.residual and hs.shape == inputs.shape:
                hs = hs + inputs
                if lengths is not None:
                    hs = np.where(_real(lengths, hs.shape[1])[:, :, None], hs, 0)
            if self.dropout and k + self.directions < len(self.cells):
                hs = F.dropout(hs, self.dropout, self.training, self.rng)
        final = self._join(finals)
        if self.stateful:  # the values carry over, the graph does not: truncated BPTT
            self.state = tuple(s.detach() for s in final) if isinstance(final, tuple) else (
                final.detach())
        return hs, final

    @collector_paused()
    def _run(self, cell: Module, xs: Any, state: Any, lengths: Any, backward: bool) -> Any:
        """One cell over all time steps, from the last to the first if ``backward``."""
        N, T = xs.shape[:2]
        order: Any = None
        if backward:  # only the real part is reversed; the padding stays where it is
            steps = np.arange(T)
            ends = np.full((N, 1), T) if lengths is None else lengths[:, None]
            order = np.arange(N)[:, None], np.where(steps < ends, ends - 1 - steps, steps)
            xs = np.flip(xs, 1) if lengths is None else xs[order]
        project, step = (cell.project, cell.step) if isinstance(cell, Cell) else (None, cell)
        xs = np.swapaxes(xs, 0, 1)  # time first: what a step reads and writes is one block
        outs = []
        for t, x in enumerate(np.unstack(project(xs) if project else xs)):
            new = step(x, *state)
            new = new if isinstance(new, tuple) else (new,)
            if lengths is None:
                state = new
                outs.append(new[0])
            else:  # where a sequence has ended its state is frozen
                real = (t < lengths)[:, None]
                state = tuple(np.where(real, n, s) for n, s in zip(new, state, strict=True))
                outs.append(np.where(real, new[0], 0))
        hs = np.swapaxes(np.stack(outs), 0, 1)
        if backward:
            hs = np.flip(hs, 1) if lengths is None else hs[order]
        return hs, state

    def _check(self, xs: Tensor, lengths: Any) -> Any:
        name = type(self).__name__
        if xs.ndim != 3:
            raise ValueError(f"{name}: xs of shape {xs.shape}, wanted (N, T, D)")
        N, T, D = xs.shape
        if T == 0:
            raise ValueError(f"{name}: xs of shape {xs.shape} has no time step")
        Wx = getattr(self.cells[0], "Wx", None)
        if Wx is not None and Wx.shape[0] != D:
            raise ValueError(f"{name}: xs of shape {xs.shape}, wanted D = {Wx.shape[0]}")
        if lengths is None:
            return None
        lengths = plain(lengths).copy()
        if lengths.shape != (N,) or lengths.dtype.kind not in "iu":
            raise ValueError(f"{name}: lengths of shape {lengths.shape} and {lengths.dtype}, wanted"
                             f" ({N},) integers")
        return _within(lengths, name=name, T=T)

    def _split(self, xs: Tensor, state: Any) -> list[Any]:
        """For each cell the parts of its initial state, zeros where none is given."""
        N = xs.shape[0]
        if state is None:
            return [tuple(np.zeros_like(xs, shape=(N, size)) for size in cell.state_sizes)
                    for cell in self.cells]
        parts = state if isinstance(state, tuple) else (state,)
        sizes = self.cells[0].state_sizes
        stacked = len(self.cells) > 1
        wanted = [((len(self.cells),) if stacked else ()) + (N, size) for size in sizes]
        came = [np.shape(p) for p in parts]
        if came != wanted:
            raise ValueError(f"{type(self).__name__}: state of shapes {came}, wanted {wanted}")
        parts = tuple(p if isinstance(p, Tensor) else Tensor(p) for p in parts)
        return list(zip(*map(np.unstack, parts), strict=True)) if stacked else [parts]

    def _join(self, finals: list[Any]) -> Any:
        if len(finals) == 1:
            parts = finals[0]
        else:
            parts = tuple(np.stack(part) for part in zip(*finals, strict=True))
        return parts if len(parts) > 1 else parts[0]


@partial(own_function, checks=True)
def _within(lengths: np.ndarray, *, name: str, T: int) -> np.ndarray:
    """Lengths from 0 to T, checked."""
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > T:
        raise ValueError(f"{name}: lengths from {lengths.min()} to {lengths.max()}, wanted from"
                         f" 0 to T = {T}")
    return lengths


def _real(lengths: np.ndarray, T: int) -> np.ndarray:
    """(N, T): which steps are not padding."""
    return np.arange(T) < lengths[:, None]


class _Stack(Recurrent):
    """Layers of one kind of cell, D -> H."""

    cell: type[Cell]

    def __init__(self, D: Any, H: Any = None,
                 num_layers: int = 1, bidirectional: bool = False, dropout: float = 0.0,
                 residual: bool = False, stateful: bool = False, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None, **options: Any) -> None:
        if isinstance(D, (Module, list, tuple)):  # cells of one's own
            cells = D
        else:
            directions = 2 if bidirectional else 1
            rng = rng or generator()
            cells = [
                self.cell(D if layer == 0 else directions * H, H, dtype=dtype, rng=rng, **options)
                for layer in range(num_layers) for _ in range(directions)
            ]
        super().__init__(cells, bidirectional, dropout, residual, stateful)


class RNN(_Stack):
    """RNNCell over time: xs (N, T, D) -> hs (N, T, H), h (N, H). Chapter 5.

    RNN(D, H), or RNN(cells) for cells of one's own. More, and its ValueErrors: see Recurrent.
    """

    cell = RNNCell


class LSTM(_Stack):
    """LSTMCell over time: xs (N, T, D) -> hs (N, T, H) and (h, c), each (N, H). Chapter 6.

    LSTM(D, H), or LSTM(cells). More, and its ValueErrors: see Recurrent.
    """

    cell = LSTMCell


class GRU(_Stack):
    """GRUCell over time: xs (N, T, D) -> hs (N, T, H), h (N, H). The book, appendix C.

    GRU(D, H, reset="before", update="new", recurrent_bias=False), or GRU(cells). More, and its
    ValueErrors: see Recurrent and GRUCell.
    """

    cell = GRUCell
