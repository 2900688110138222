"""Peephole LSTM (Gers & Schmidhuber, 2000): the gates also see the cell state."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.check import check_gradients
from tinygrad_rnn.functional import sigmoid


class PeepholeLSTMCell(tg.nn.Cell):
    """x (N, D), h and c (N, H) -> h, c (N, H). Gates f, g, i, o; p (3, H) are the peepholes."""

    gates, states = 4, 2

    def __init__(self, D, H, **options):
        super().__init__(D, H, **options)
        self.p = tg.nn.Parameter(np.random.default_rng(0).normal(size=(3, H)) * 0.1)

    def step(self, a, h, c):
        f, g, i, o = np.split(a + h @ self.Wh, 4, axis=-1)
        c_new = sigmoid(f + self.p[0] * c) * c + sigmoid(i + self.p[1] * c) * np.tanh(g)
        return sigmoid(o + self.p[2] * c_new) * np.tanh(c_new), c_new


rng = np.random.default_rng(1)
cell = PeepholeLSTMCell(4, 5, dtype=np.float64)
names, weights = zip(*cell.named_parameters(), strict=True)


def forward(x, h, c, *weights):
    for name, w in zip(names, weights, strict=True):
        setattr(cell, name, w)
    return cell(x, h, c)


check_gradients(forward, *(rng.normal(size=(3, n)) for n in (4, 5, 5)), *weights, order=2)
print("gradients of first and second order are right")
