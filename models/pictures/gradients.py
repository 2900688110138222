"""Gradients through time: how they vanish and explode, and what clipping does (chapter 6.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.optim import clip_grad_norm_

CELLS = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
SCALES = (0.5, 1.0, 2.0, 4.0)
MAX_NORM = 5.0


@dataclass(frozen=True)
class ThroughTime:
    """Norms of the gradients of one cell with its recurrent weights scaled by ``scale``.

    hidden: (T,) mean over the batch of the norm of d loss / d h_t, where the loss is a fixed
        random projection of the last hidden state, of norm 1 for each sequence.
    weights, clipped: norm of the gradient of all weights, before and after clipping.
    """

    scale: float
    hidden: np.ndarray
    weights: float
    clipped: float


def through_time(cell: str, scale: float, T: int = 50, H: int = 64, N: int = 16,
                 seed: int = 1) -> ThroughTime:
    """Run one cell over T steps of random input (N, H), and take the gradient of its end."""
    rng = np.random.default_rng(seed)
    step = CELLS[cell](H, H, dtype=np.float64, rng=rng)
    step.Wh.data *= scale
    xs = rng.normal(size=(T, N, H))
    dh = rng.normal(size=(N, H))
    dh /= np.linalg.norm(dh, axis=1, keepdims=True)
    state = tuple(tg.Tensor(np.zeros((N, size))) for size in step.state_sizes)
    hs = []
    for x in xs:
        new = step(x, *state)
        state = new if isinstance(new, tuple) else (new,)
        hs.append(state[0])
    params = step.parameters()
    gradients = tg.grad(hs[-1], [*hs, *params], tg.Tensor(dh))
    hidden = [np.linalg.norm(g.numpy(), axis=1).mean() for g in gradients[:T]]
    for p, g in zip(params, gradients[T:], strict=True):
        p.grad = g
    before = clip_grad_norm_(params, MAX_NORM)
    clipped = [p.grad.numpy() for p in params if p.grad is not None]
    after = math.sqrt(sum(np.vdot(g, g) for g in clipped))
    return ThroughTime(scale, np.array(hidden), before, after)


def table(runs: Mapping[str, Sequence[ThroughTime]]) -> str:
    """The norms of all runs, as text."""
    back = {len(r.hidden) - 1 for results in runs.values() for r in results}
    lines = [f"norm of the gradient {max(back)} steps back, of all weights, and of these clipped to"
             f" {MAX_NORM:g}"]  # fmt: skip
    for cell, results in runs.items():
        lines += [
            f"{cell:>5}, weights x {r.scale:<4g} {r.hidden[0]:10.2g} {r.weights:10.2g}"
            f" {r.clipped:10.2g}" for r in results
        ]  # fmt: skip
    return "\n".join(lines)
