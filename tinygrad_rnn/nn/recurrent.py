"""Cells (one step) and recurrent layers (over time), as plain tensor expressions.

N is the batch, T time steps, D inputs, H hidden units. Weights are float32 unless ``dtype`` says
otherwise, and all that is computed with them has the dtype that NumPy gives to it and x.

A cell maps ``x (N, D)`` and its state to its new state; what it puts out is the first part of
that. Any Module whose ``forward(x, *state)`` does so, with ``state_sizes`` for the widths of the
parts of its state, can be run over time by ``Recurrent``.
"""

import inspect
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from .. import recompute
from ..derived.table import together
from ..functional import sigmoid
from ..primitive import own_function
from ..random import generator
from ..speed import collector_paused
from ..tensor import Array, Tensor, beside, plain
from .layers import check_sizes, normal
from .module import Module, Parameter

__all__ = ["GRU", "LSTM", "RNN", "Cell", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]


class Cell(Module):
    """A cell whose input product does not depend on the state, so that a layer can do it for all
    time steps at once: ``forward(x, *state) = step(project(x), *state)``.

    x (N, D) and each part of the state (N, H) -> the new state, (N, H) each. Weights of k gates
    side by side: Wx (D, kH), Wh (H, kH), b (kH,), drawn with scales 1/sqrt(D), 1/sqrt(H), 0.
    Subclasses say k (``gates``), the parts of the state (``states``), and ``step``, which is a
    NotImplementedError here. ValueError for sizes that are no whole numbers from 1, and where
    shapes do not fit.
    """

    gates, states = 1, 1

    def __init__(self, D: int, H: int, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None, out: int | None = None) -> None:
        check_sizes(type(self).__name__, D=D, H=H)
        out = H if out is None else out  # the width of what is put out, and fed back
        self.Wx = Parameter(normal(rng, 1 / math.sqrt(D), (D, self.gates * H), dtype))
        self.Wh = Parameter(normal(rng, 1 / math.sqrt(out), (out, self.gates * H), dtype))
        self.b = Parameter(np.zeros(self.gates * H, dtype))
        self.state_sizes = (out,) + (H,) * (self.states - 1)

    def project(self, x):
        """What of ``forward`` depends on x alone, of one step or all: x (..., D) -> (..., kH)."""
        return x @ self.Wx + self.b

    def step(self, a, *state):
        raise NotImplementedError

    def forward(self, x: Array, *state: Array) -> Any:
        return self.step(self.project(x), *state)


class RNNCell(Cell):
    """One step of a simple RNN: x (N, D), h (N, H) -> h (N, H). Elman (1990); chapter 5.

    ``activation``: "tanh", or "relu" (Le, Jaitly & Hinton, 2015). ValueError for another, for sizes
    that are no whole numbers from 1, and where shapes do not fit.
    """

    def __init__(self, D: int, H: int, activation: str = "tanh", *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        if activation not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: activation={activation!r}, wanted 'tanh' or 'relu'")
        super().__init__(D, H, dtype=dtype, rng=rng)
        self.activation = activation

    def step(self, a, h):
        a = a + h @ self.Wh
        return np.tanh(a) if self.activation == "tanh" else F.relu(a)


class LSTMCell(Cell):
    """One LSTM step: x (N, D), h and c (N, H) -> h, c (N, H). Gates f, g, i, o.

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000); chapter 6.

    ``proj_size``: h is projected from H to that many units by Wp (H, P), and is (N, P) then; Wh is
    (P, 4H). Sak et al. (2014). ValueError unless 0 <= proj_size < H, for sizes that are no whole
    numbers from 1, and where shapes do not fit.
    """

    gates, states = 4, 2

    def __init__(self, D: int, H: int, proj_size: int = 0, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        check_sizes("LSTMCell", D=D, H=H)
        if not 0 <= proj_size < H:
            raise ValueError(f"LSTMCell: proj_size={proj_size}, wanted from 0 (none) to less than"
                             f" H = {H}")
        rng = generator(rng)
        super().__init__(D, H, dtype=dtype, rng=rng, out=proj_size or H)
        self.Wp = Parameter(normal(rng, 1 / math.sqrt(H), (H, proj_size), dtype)) if (
            proj_size) else None

    def step(self, a, h, c):
        f, g, i, o = np.split(a + h @ self.Wh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h if self.Wp is None else h @ self.Wp, c


class GRUCell(Cell):
    """One GRU step: x (N, D), h (N, H) -> h (N, H). Gates z, r, h.

    Cho et al. (2014); the book, appendix C.

    ``reset``: the reset gate acts "before" the product with Wh (Cho; the book) or "after" it
    (cuDNN, PyTorch, Keras). ``update``: z weighs the "new" state (the book) or the "old" one.
    ``recurrent_bias``: a bias of that product for the reset gate to act on, ``bh`` (H,), as those
    libraries have it; only after the product does it differ from b. ValueError for other words,
    for ``recurrent_bias`` with "before", for sizes that are no whole numbers from 1, and where
    shapes do not fit.
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

        hs, state = layer(xs, state=None, lengths=None, resets=None)

    Args:
        cells: one cell; or one for each layer; or, bidirectional, a pair for each layer
            (a flat list: layer 0 forward, layer 0 backward, layer 1 forward, ...).
        bidirectional: the second cell of a pair reads backwards; both outputs are concatenated.
        dropout: probability between layers (not after the last).
        residual: add the input of a layer to its output wherever the sizes agree.
        stateful: start from the last state, cut from the graph (truncated BPTT), until
            ``reset_state()``.
        recurrent_dropout: probability on the recurrent connection: the h that a step is given,
            with one mask for all steps of a call (Gal & Ghahramani, 2016, as in Keras).
        checkpoint: a number of time steps after which only the state is kept for backward, which
            computes what lies between anew (see ``tg.checkpoint``); True: about sqrt(T).

    ``state`` is ``h (N, H)`` or a tuple ``(h, c)``; with several layers or directions each part
    is stacked, (layers * directions, N, H), or, where their sizes differ, a list. ``lengths`` (N,)
    are the true lengths in a padded batch, integers from 0 to T: each sequence is treated as if it
    were alone, nothing beyond its length is computed with, and padded steps come out as 0.
    ``resets`` (N, T) are True where a new sequence begins inside a row, as episodes of
    reinforcement learning do: the state starts there from zeros, in both directions.

    Two directions: Schuster & Paliwal (1997); truncated BPTT: chapter 5; stacks, dropout between
    them and skip connections: chapters 6 and 8. ValueError for xs, state, lengths or resets of
    other shapes or values, for T = 0, for no cells or an odd number of them in two directions, and
    unless 0 <= dropout < 1. TypeError for cells that are none.
    """

    def __init__(self, cells: Module | Sequence[Module], bidirectional: bool = False,
                 dropout: float = 0.0, residual: bool = False, stateful: bool = False,
                 recurrent_dropout: float = 0.0, checkpoint: bool | int = False) -> None:
        name = type(self).__name__
        self.cells: list[Any] = [cells] if isinstance(cells, Module) else list(cells)
        self.directions = 2 if bidirectional else 1
        if not self.cells or len(self.cells) % self.directions:
            raise ValueError(f"{name}: {len(self.cells)} cells for {self.directions} directions")
        for i, cell in enumerate(self.cells):
            _check_cell(name, i, cell)
        for what, p in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= p < 1:
                raise ValueError(f"{name}: {what}={p}, wanted 0 <= {what} < 1")
        self.dropout, self.rng = dropout, generator()
        self.residual, self.stateful = residual, stateful
        if not isinstance(checkpoint, (bool, int)) or checkpoint < 0:
            raise ValueError(f"{name}: checkpoint={checkpoint!r}, wanted True, False, or a number"
                             " of time steps")
        self.recurrent_dropout, self.checkpoint = recurrent_dropout, checkpoint
        self.state: Any = None

    def reset_state(self) -> None:
        """Forget the state carried over: the next call starts from zeros."""
        self.state = None

    def forward(self, xs: Array, state: Any = None, lengths: Any = None,
                resets: Any = None) -> tuple[Tensor, Any]:
        if isinstance(xs, (list, tuple)):  # of numbers, which go to where the weights are
            xs = together([*self.parameters()[:1], xs])[-1]
        hs: Any = xs if isinstance(xs, Tensor) else Tensor(xs)
        lengths, resets = self._check(hs, lengths, resets)
        states = self._split(hs, self.state if state is None and self.stateful else state)
        finals = []
        for k in range(0, len(self.cells), self.directions):
            inputs = hs
            cells = self.cells[k : k + self.directions]
            read = hs if lengths is None else _without_padding(hs, lengths, cells)
            outputs = []
            for d in range(self.directions):
                out, final = self._run(self.cells[k + d], read, states[k + d], lengths, resets,
                                       d == 1)
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
            self.state = _detached(final)
        return hs, final

    @collector_paused()
    def _run(self, cell: Module, xs: Any, state: Any, lengths: Any, resets: Any,
             backward: bool) -> Any:
        """One cell over all time steps, from the last to the first if ``backward``."""
        N, T = xs.shape[:2]
        order: Any = None
        if backward:  # only the real part is reversed; the padding stays where it is
            steps, rows = (beside(np.arange(n), xs) for n in (T, N))
            ends = T if lengths is None else lengths[:, None]
            order = rows[:, None], np.where(steps < ends, ends - 1 - steps, steps)
            xs = np.flip(xs, 1) if lengths is None else xs[order]
            if resets is not None:  # what begins at t + 1 ends at t
                last = np.concatenate([resets[:, 1:], np.zeros_like(resets[:, :1])], axis=1)
                resets = last[order]
        keep = None
        if self.recurrent_dropout and self.training:
            keep = F.dropout_mask(state[0], self.recurrent_dropout, self.rng)
        xs = np.swapaxes(xs, 0, 1)  # time first: what a step reads and writes is one block
        run, K = self._steps, T  # how many steps are one segment
        if self.checkpoint and not recompute.idle():
            run = recompute.checkpoint(run)
            K = math.isqrt(T - 1) + 1 if self.checkpoint is True else self.checkpoint
        pieces = []
        for t in range(0, T, K):
            ends = lengths if t == 0 or lengths is None else lengths - t
            begins = None if resets is None else resets[:, t : t + K]
            hs, state = run(cell, xs[t : t + K] if K < T else xs, state, ends, begins, keep)
            pieces.append(hs)
        hs = np.swapaxes(pieces[0] if K >= T else np.concatenate(pieces), 0, 1)
        if backward:
            hs = np.flip(hs, 1) if lengths is None else hs[order]
        return hs, state

    def _steps(self, cell: Any, xs: Any, state: Any, lengths: Any, resets: Any, keep: Any) -> Any:
        """One cell over time steps: xs (T, N, D) -> hs (T, N, H) and the last state."""
        project, step = (cell.project, cell.step) if isinstance(cell, Cell) else (None, cell)
        outs = []
        for t, x in enumerate(np.unstack(project(xs) if project else xs)):
            if resets is not None:
                state = tuple(np.where(resets[:, t, None], 0, s) for s in state)
            new = step(x, *(state if keep is None else (state[0] * keep, *state[1:])))
            new = new if isinstance(new, tuple) else (new,)
            if lengths is None:
                state = new
                outs.append(new[0])
            else:  # where a sequence has ended its state is frozen
                real = (t < lengths)[:, None]
                state = tuple(np.where(real, n, s) for n, s in zip(new, state, strict=True))
                outs.append(np.where(real, new[0], 0))
        return np.stack(outs), state

    def _check(self, xs: Tensor, lengths: Any, resets: Any) -> tuple[Any, Any]:
        name = type(self).__name__
        for i, cell in enumerate(self.cells):
            if not hasattr(cell, "state_sizes"):
                raise TypeError(f"{name}: cell {i}, a {type(cell).__name__}, has no state_sizes,"
                                " the width of each part of its state: set self.state_sizes = (H,)"
                                " where it is made")
        if xs.ndim != 3:
            raise ValueError(f"{name}: xs of shape {xs.shape}, wanted (N, T, D)")
        N, T, D = xs.shape
        if T == 0:
            raise ValueError(f"{name}: xs of shape {xs.shape} has no time step")
        Wx = getattr(self.cells[0], "Wx", None)
        if Wx is not None and Wx.shape[0] != D:
            raise ValueError(f"{name}: xs of shape {xs.shape}, wanted D = {Wx.shape[0]}")
        if lengths is not None:
            lengths = plain(lengths).copy()
            if lengths.shape != (N,) or lengths.dtype.kind not in "iu":
                raise ValueError(f"{name}: lengths of shape {lengths.shape} and {lengths.dtype},"
                                 f" wanted ({N},) integers")
            lengths = beside(_within(lengths, name=name, T=T), xs)
        if resets is not None:
            resets = beside(plain(resets), xs)
            if resets.shape != (N, T) or resets.dtype.kind not in "biu":
                raise ValueError(f"{name}: resets of shape {resets.shape} and {resets.dtype},"
                                 f" wanted ({N}, {T}) booleans")
            resets = resets != 0
            if lengths is not None:
                resets = np.logical_and(resets, _real(lengths, T))
        return lengths, resets

    def _same_sizes(self) -> bool:
        return all(cell.state_sizes == self.cells[0].state_sizes for cell in self.cells)

    def _split(self, xs: Tensor, state: Any) -> list[Any]:
        """For each cell the parts of its initial state, zeros where none is given."""
        N = xs.shape[0]
        if state is None:
            return [tuple(np.zeros_like(xs, shape=(N, size)) for size in cell.state_sizes)
                    for cell in self.cells]
        parts = state if isinstance(state, tuple) else (state,)
        cells = self.cells
        sizes = cells[0].state_sizes
        wanted: list[Any]
        if len(cells) == 1:
            wanted = [(N, size) for size in sizes]
        elif self._same_sizes():
            wanted = [(len(cells), N, size) for size in sizes]
        else:
            wanted = [[(N, cell.state_sizes[k]) for cell in cells] for k in range(len(sizes))]
        came = [list(map(np.shape, p)) if isinstance(p, list) and isinstance(w, list) else
                np.shape(p) for p, w in zip(parts, wanted, strict=False)]
        if len(parts) != len(wanted) or came != wanted:
            came += list(map(np.shape, parts[len(wanted) :]))
            raise ValueError(f"{type(self).__name__}: state of shapes {came}, wanted {wanted}")
        if len(cells) == 1:
            return [tuple(map(_tensor, parts))]
        return list(zip(*(map(_tensor, p) if isinstance(p, list) else np.unstack(_tensor(p))
                          for p in parts), strict=True))

    def _join(self, finals: list[Any]) -> Any:
        if len(finals) == 1:
            parts = finals[0]
        else:
            join: Any = np.stack if self._same_sizes() else list
            parts = tuple(join(part) for part in zip(*finals, strict=True))
        return parts if len(parts) > 1 else parts[0]


def _check_cell(name: str, i: int, cell: Any) -> None:
    """TypeError for what cannot be run over time as a cell."""
    kind = type(cell).__name__
    if isinstance(cell, Recurrent):
        raise TypeError(f"{name}: cell {i} is a {kind}, a layer that runs over time by itself: call"
                        " it directly, or hand in its cells")
    if not isinstance(cell, Module):
        raise TypeError(f"{name}: cell {i} is a {kind}, wanted a Module whose forward(x, *state)"
                        " gives the new state")


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _detached(state: Any) -> Any:
    """A state of the same form, cut from the graph."""
    if isinstance(state, (tuple, list)):
        return type(state)(map(_detached, state))
    return state.detach()


@partial(own_function, checks=True)
def _within(lengths: np.ndarray, *, name: str, T: int) -> np.ndarray:
    """Lengths from 0 to T, checked."""
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > T:
        raise ValueError(f"{name}: lengths from {lengths.min()} to {lengths.max()}, wanted from"
                         f" 0 to T = {T}")
    return lengths


def _real(lengths: np.ndarray, T: int) -> np.ndarray:
    """(N, T): which steps are not padding."""
    return np.arange(T, like=lengths) < lengths[:, None]


def _without_padding(xs: Any, lengths: np.ndarray, cells: Sequence[Any]) -> Any:
    """xs with something in the place of its padding that these cells can work with.

    What a cell does there is thrown away, but its derivatives are multiplied with zeros on the way
    back, and 0 times NaN is NaN. The cells of this file take zeros. One of somebody's own may not
    (a norm, a logarithm): it gets the first step of the sequence, cut from the graph. A sequence
    of no step borrows that of another one.
    """
    real = _real(lengths, xs.shape[1])[:, :, None]
    if len(lengths) == 0 or all(type(cell) in (RNNCell, LSTMCell, GRUCell) for cell in cells):
        return np.where(real, xs, 0)
    data = plain(xs)
    some = np.argmax(lengths > 0)
    lender = np.where(lengths > 0, np.arange(len(lengths), like=lengths), some)
    first = np.where((lengths[lender] > 0)[:, None], data[lender, 0], 0)
    return np.where(real, xs, first[:, None])


class _Stack(Recurrent):
    """Layers of one kind of cell, D -> H."""

    cell: type[Cell]
    elsewhere: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("batch_first", "time_major"),
                        "batches always come first, xs (N, T, D): leave it out"),
        **dict.fromkeys(("return_sequences", "return_state"),
                        "every call gives all steps and the last state: leave it out"),
        "input_size": "it is D, the first argument",
        "hidden_size": "it is H, the second argument",
        "units": "it is H, the second argument after D",
        "nonlinearity": "it is activation=, of RNN",
        "bias": "there is always one bias b: leave it out",
        "go_backwards": "use bidirectional=True, or hand in np.flip(xs, 1)",
    }  # fmt: skip

    def __init__(self, D: Any = None, H: Any = None,
                 num_layers: int | None = None, bidirectional: bool = False, dropout: float = 0.0,
                 residual: bool = False, stateful: bool = False, recurrent_dropout: float = 0.0,
                 checkpoint: bool | int = False, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None, **options: Any) -> None:
        name = type(self).__name__
        if options:  # they are the cell's
            takes = (list(inspect.signature(kind).parameters) for kind in (_Stack, self.cell))
            self._refuse(options, list(dict.fromkeys(next(takes)[:-1] + next(takes))))
        cells: list[Any]
        if isinstance(D, (Module, list, tuple)):  # cells of one's own
            cells = [D] if isinstance(D, Module) else list(D)
        else:
            if D is None or H is None:
                raise TypeError(f"{name}: {'D and H are' if D is None else 'H is'} missing, wanted"
                                f" {name}(D, H): D inputs, H hidden units")
            widths = list(H) if isinstance(H, (list, tuple)) else [H] * (num_layers or 1)
            if num_layers not in (None, len(widths)) or not widths:
                raise ValueError(f"{name}: {len(widths)} widths for {num_layers} layers")
            rng = generator(rng)
            cells = []
            for width in widths:
                cells += [self.cell(D, width, dtype=dtype, rng=rng, **options)
                          for _ in range(2 if bidirectional else 1)]
                D = sum(cell.state_sizes[0] for cell in cells[-2 if bidirectional else -1 :])
        super().__init__(cells, bidirectional, dropout, residual, stateful, recurrent_dropout,
                         checkpoint)


class RNN(_Stack):
    """RNNCell over time: xs (N, T, D) -> hs (N, T, H), h (N, H). Chapter 5.

    RNN(D, H, num_layers=1, activation="tanh"), RNN(D, [H, ...]) for layers of several widths, or
    RNN(cells) for cells of one's own. More, and its ValueErrors and TypeErrors: see Recurrent.
    """

    cell = RNNCell


class LSTM(_Stack):
    """LSTMCell over time: xs (N, T, D) -> hs (N, T, H) and (h, c), each (N, H). Chapter 6.

    LSTM(D, H, num_layers=1, proj_size=0), LSTM(D, [H, ...]) for layers of several widths, or
    LSTM(cells). More, and its ValueErrors and TypeErrors: see Recurrent and LSTMCell.
    """

    cell = LSTMCell


class GRU(_Stack):
    """GRUCell over time: xs (N, T, D) -> hs (N, T, H), h (N, H). The book, appendix C.

    GRU(D, H, num_layers=1, reset="before", update="new", recurrent_bias=False), GRU(D, [H, ...])
    for layers of several widths, or GRU(cells). More, and its ValueErrors and TypeErrors: see
    Recurrent and GRUCell.
    """

    cell = GRUCell
