"""Minimal gated unit (Zhou et al., 2016): one gate that forgets and resets."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.check import check_gradients
from tinygrad_rnn.functional import sigmoid


class MinimalGatedUnit(tg.nn.Cell):
    """x (N, D), h (N, H) -> h (N, H). Gates f, h."""

    gates = 2

    def step(self, a, h):
        af, ah = np.split(a, 2, axis=-1)
        Wf, Wh = np.split(self.Wh, 2, axis=-1)
        f = sigmoid(af + h @ Wf)
        return (1 - f) * h + f * np.tanh(ah + (f * h) @ Wh)


rng = np.random.default_rng(1)
cell = MinimalGatedUnit(4, 5, dtype=np.float64)
names, weights = zip(*cell.named_parameters(), strict=True)


def forward(x, h, *weights):
    for name, w in zip(names, weights, strict=True):
        setattr(cell, name, w)
    return cell(x, h)


check_gradients(forward, rng.normal(size=(3, 4)), rng.normal(size=(3, 5)), *weights, order=2)
print("gradients of first and second order are right")
