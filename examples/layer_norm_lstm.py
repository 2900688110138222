"""LSTM with layer normalisation (Ba et al., 2016): inputs, states and cell are normalised."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.check import check_gradients
from tinygrad_rnn.functional import sigmoid


class LayerNormLSTMCell(tg.nn.Module):
    """x (N, D), h and c (N, H) -> h, c (N, H). Gates f, g, i, o."""

    def __init__(self, D, H, dtype=np.float32):
        self.x = tg.nn.Linear(D, 4 * H, bias=False, dtype=dtype)
        self.h = tg.nn.Linear(H, 4 * H, bias=False, dtype=dtype)
        self.norm_x, self.norm_h = (tg.nn.LayerNorm(4 * H, dtype=dtype) for _ in range(2))
        self.norm_c = tg.nn.LayerNorm(H, dtype=dtype)
        self.state_sizes = (H, H)

    def forward(self, x, h, c):
        f, g, i, o = np.split(self.norm_x(self.x(x)) + self.norm_h(self.h(h)), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(self.norm_c(c)), c


rng = np.random.default_rng(1)
cell = LayerNormLSTMCell(4, 5, dtype=np.float64)
check_gradients(cell, *(rng.normal(size=(3, n)) for n in (4, 5, 5)), order=2)


def of_weights(Wx, Wh):
    cell.x.W, cell.h.W = Wx, Wh
    return cell(*(np.ones((3, n)) for n in (4, 5, 5)))


check_gradients(of_weights, rng.normal(size=(4, 20)), rng.normal(size=(5, 20)), order=2)
print("gradients of first and second order are right")
