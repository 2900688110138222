"""How much each time step matters: the norm of the gradient of every hidden state."""

import numpy as np

import tinygrad_rnn as tg

T, N, H = 30, 16, 32
rng = np.random.default_rng(0)
for name, cell in [
    ("RNN", tg.nn.RNNCell(8, H, rng=rng)), ("LSTM", tg.nn.LSTMCell(8, H, rng=rng)),
    ("GRU", tg.nn.GRUCell(8, H, rng=rng)),
]:  # fmt: skip
    state = tuple(tg.Tensor(np.zeros((N, H), np.float32)) for _ in cell.state_sizes)
    hs = []
    for x in rng.normal(size=(T, N, 8)).astype(np.float32):
        new = cell(x, *state)
        state = new if isinstance(new, tuple) else (new,)
        hs.append(state[0])
    gradients = tg.grad(np.mean(hs[-1] ** 2), hs)  # of Tensors on the way, not only of leaves
    norms = [np.linalg.norm(g.numpy()) for g in gradients]
    print(f"{name:5}", " ".join(f"{norm:.1e}" for norm in norms[::-5]))
