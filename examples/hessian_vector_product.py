"""The strongest curvature of an LSTM's loss, by power iteration with Hessian-vector products."""

import numpy as np

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
cell = tg.nn.LSTMCell(3, 6, dtype=np.float64, rng=rng)
xs, target = rng.normal(size=(8, 5, 3)), rng.normal(size=(8, 6))


def loss(Wh):
    """Mean squared error of the last hidden state, as a function of the recurrent weights."""
    cell.Wh = Wh
    h = c = np.zeros((8, 6))
    for t in range(5):
        h, c = cell(xs[:, t], h, c)
    return np.mean((h - target) ** 2)


Wh, v = cell.Wh.detach(), rng.normal(size=(6, 24))
for i in range(60):
    v /= np.linalg.norm(v)
    _, Hv = tg.hvp(loss, Wh, v)  # costs about as much as two gradients; H is never formed
    curvature = float(np.sum(v * Hv.numpy()))
    if i % 20 == 19:
        print(f"iteration {i + 1}: strongest curvature {curvature:.6f}")
    v = Hv.numpy().copy()
