"""LSTM with coupled gates (Greff et al., 2017): what is forgotten is what is written anew."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.check import check_gradients
from tinygrad_rnn.functional import sigmoid


class CoupledLSTMCell(tg.nn.Cell):
    """x (N, D), h and c (N, H) -> h, c (N, H). Gates f, g, o; the input gate is 1 - f."""

    gates, states = 3, 2

    def step(self, a, h, c):
        f, g, o = np.split(a + h @ self.Wh, 3, axis=-1)
        f = sigmoid(f)
        c = f * c + (1 - f) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c


rng = np.random.default_rng(1)
cell = CoupledLSTMCell(4, 5, dtype=np.float64)
names, weights = zip(*cell.named_parameters(), strict=True)


def forward(x, h, c, *weights):
    for name, w in zip(names, weights, strict=True):
        setattr(cell, name, w)
    return cell(x, h, c)


check_gradients(forward, *(rng.normal(size=(3, n)) for n in (4, 5, 5)), *weights, order=2)
print("gradients of first and second order are right")
