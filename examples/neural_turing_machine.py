"""A neural Turing machine (Graves et al., 2014) learns to copy: heads are attention over memory."""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.functional import sigmoid, softmax

N, L, B, M, W, H = 16, 3, 4, 8, 8, 48  # batch, length, bits, memory slots and width, hidden size


class Machine(tg.nn.Module):
    """xs (N, T, B + 1) -> logits (N, T, B). A GRU moves one read and one write head."""

    def __init__(self):
        self.cell = tg.nn.GRUCell(B + 1 + W, H)
        self.heads = tg.nn.Linear(H, 2 * (W + 1 + 3) + 2 * W)
        self.out = tg.nn.Linear(H + W, B)

    def forward(self, xs):
        memory = np.full((N, M, W), 0.1, np.float32)
        h, read, first = np.zeros((N, H), np.float32), np.zeros((N, W), np.float32), np.eye(1, M)
        at = [np.repeat(first, N, axis=0).astype(np.float32)] * 2
        ys = []
        for t in range(xs.shape[1]):
            h = self.cell(np.concatenate([xs[:, t], read], axis=1), h)
            *moves, erase, add = np.split(self.heads(h), [W + 4, 2 * W + 8, 3 * W + 8], axis=1)
            at = [self.move(a, memory, m) for a, m in zip(at, moves, strict=True)]
            w = np.expand_dims(at[0], 2)
            memory = memory * (1 - w * np.expand_dims(sigmoid(erase), 1)) + w * np.expand_dims(
                np.tanh(add), 1)  # fmt: skip
            read = (np.expand_dims(at[1], 1) @ memory)[:, 0]
            ys.append(self.out(np.concatenate([h, read], axis=1)))
        return np.stack(ys, axis=1)

    def move(self, at, memory, m):
        """Look for a key, or stay (gate), then shift by -1, 0 or 1: weights (N, M)."""
        key, gate, shift = np.split(m, [W, W + 1], axis=1)
        found = softmax((memory @ np.expand_dims(np.tanh(key), 2))[:, :, 0])
        at = at + sigmoid(gate) * (found - at)
        s = softmax(shift)
        return sum(s[:, k : k + 1] * np.roll(at, k - 1, axis=1) for k in range(3))


tg.manual_seed(3)
rng, model = np.random.default_rng(0), Machine()
optimizer = tg.optim.RMSprop(model.parameters(), lr=0.003)
for step in range(int(sys.argv[1]) if len(sys.argv) > 1 else 600):
    bits = rng.integers(0, 2, (N, L, B)).astype(np.float32)
    xs = np.zeros((N, 2 * L + 1, B + 1), np.float32)
    xs[:, :L, :B], xs[:, L, B] = bits, 1  # the sequence, then the sign to repeat it
    loss = tg.functional.binary_cross_entropy_with_logits(model(xs)[:, L + 1 :], bits)
    loss.backward()
    tg.optim.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % 50 == 49:
        print(f"step {step + 1}: {loss.item() / np.log(2):.3f} bits of loss per bit")
