"""Zoneout (Krueger et al., 2017): in training, some units keep their old state."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.check import check_gradients


class Zoneout(tg.nn.Module):
    """Any cell; each unit of its state is kept with probability p; in evaluation, its mean."""

    def __init__(self, cell, p=0.15, seed=0):
        self.cell, self.p, self.state_sizes = cell, p, cell.state_sizes
        self.rng = np.random.default_rng(seed)

    def forward(self, x, *state):
        new = self.cell(x, *state)
        new = new if isinstance(new, tuple) else (new,)
        if not self.training:
            return tuple(self.p * s + (1 - self.p) * n for s, n in zip(state, new, strict=True))
        keep = [self.rng.random(s.shape) < self.p for s in state]
        return tuple(np.where(*kept) for kept in zip(keep, state, new, strict=True))


rng = np.random.default_rng(1)
cell = Zoneout(tg.nn.GRUCell(4, 5, dtype=np.float64), p=0.4)


def forward(x, h, Wx, Wh):
    cell.rng = np.random.default_rng(2)  # the same mask at every call
    cell.cell.Wx, cell.cell.Wh = Wx, Wh
    return cell(x, h)


weights = cell.cell.Wx, cell.cell.Wh
for _ in range(2):
    check_gradients(forward, rng.normal(size=(3, 4)), rng.normal(size=(3, 5)), *weights, order=2)
    cell.eval()
hs, _ = tg.nn.Recurrent(Zoneout(tg.nn.LSTMCell(4, 5)))(rng.normal(size=(3, 7, 4)))
print("gradients in training and evaluation are right;", hs.shape)
