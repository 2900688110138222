"""What a typed program does with the library, for ``mypy --strict``; .ci/package runs it too.

NumPy's stubs do not know its protocols and call ``np.tanh(t)`` an array: a typed program takes the
methods of Tensor and the named functions.
"""

from typing import Any

import numpy as np

import tinygrad_rnn as tg


class Cell(tg.nn.Module):
    def __init__(self, D: int, H: int) -> None:
        self.W = tg.nn.Parameter(np.ones((D, H)))
        self.state_sizes = (H,)

    def forward(self, x: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
        y: tg.Tensor = tg.functional.sigmoid(x @ self.W) * h + x @ self.W
        return y


x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
layer = tg.nn.Recurrent(Cell(3, 4))
hs, h = layer(x.reshape(1, 2, 3))
loss: tg.Tensor = tg.functional.softmax(hs).mean() * 2 - 1
loss.backward(retain_graph=True)
if x.grad is not None:
    total: np.ndarray[Any, Any] = x.grad.numpy()
gradient: tg.Tensor = tg.grad(loss, x)


def energy(w: tg.Tensor) -> tg.Tensor:
    return (w * w).sum()


value, product = tg.hvp(energy, np.ones(3), np.ones(3))
value.item()
optimizer = tg.optim.Adam(layer.parameters(), lr=0.01)
norm = tg.optim.clip_grad_norm_(layer.parameters(), 1.0)
optimizer.step()
optimizer.zero_grad()
layer.eval().load_state_dict(layer.state_dict())
lstm = tg.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
tg.manual_seed(1)
with tg.no_grad():
    context, weights = tg.nn.Attention("general", H=4)(np.ones((1, 2, 4)), np.ones((1, 5, 4)))
print(tg.draw(energy(x)).count("->"), "arrows")
