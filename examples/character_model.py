"""A character model of any text file: python character_model.py FILE"""

import sys
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg

path = Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 150
text = path.read_text(encoding="utf-8")
symbols = sorted(set(text))
number = {symbol: i for i, symbol in enumerate(symbols)}
ids = np.array([number[c] for c in text], int)
if len(ids) < 2:
    sys.exit(f"{path}: a text of at least two characters is wanted")
N = min(8, len(ids) // 2)  # streams of the text,
streams = ids[: len(ids) // N * N].reshape(N, -1)
T = min(32, streams.shape[1] - 1)  # read T characters at a time (truncated BPTT)


class CharacterModel(tg.nn.Module):
    """Ids (N, T) -> logits (N, T, V) of the character after each."""

    def __init__(self, V, D=16, H=128):
        self.embed = tg.nn.Embedding(V, D)
        self.gru = tg.nn.GRU(D, H, stateful=True)
        self.out = tg.nn.Linear(H, V)

    def forward(self, xs):
        hs, _ = self.gru(self.embed(xs))
        return self.out(hs)


tg.manual_seed(0)
model = CharacterModel(len(symbols))
optimizer = tg.optim.Adam(model.parameters(), lr=0.005)
for step in range(steps):
    at = step * T % (streams.shape[1] - T)
    loss = tg.functional.cross_entropy(model(streams[:, at : at + T]),
                                       streams[:, at + 1 : at + T + 1])  # fmt: skip
    loss.backward()
    tg.optim.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % 50 == 49:
        print(f"step {step + 1}: perplexity {np.exp(loss.item()):.1f}")

model.gru.reset_state()
rng, written = np.random.default_rng(0), [int(ids[0])]
with tg.no_grad():
    for _ in range(200):
        p = tg.functional.softmax(model(np.array([written[-1:]]))[0, 0]).numpy()
        written.append(int(rng.choice(len(symbols), p=p / p.sum())))
print("".join(symbols[i] for i in written))
