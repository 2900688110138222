"""Forecast a noisy sine wave with an LSTM, then let it run on its own predictions."""

import numpy as np

import tinygrad_rnn as tg

tg.manual_seed(0)
rng = np.random.default_rng(0)
wave = np.sin(np.arange(1200) * 0.1).astype(np.float32)
noisy = wave + rng.normal(size=wave.shape).astype(np.float32) * 0.05


class Forecaster(tg.nn.Module):
    """Values xs (N, T, 1) and a state -> the value after each (N, T, 1), state."""

    def __init__(self, H=32):
        self.lstm, self.out = tg.nn.LSTM(1, H), tg.nn.Linear(H, 1)

    def forward(self, xs, state=None):
        hs, state = self.lstm(xs, state)
        return self.out(hs), state


model = Forecaster()
optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
for step in range(150):
    starts = rng.integers(0, 900, 16)[:, None] + np.arange(41)
    windows = noisy[starts][:, :, None]
    predicted, _ = model(windows[:, :-1])
    loss = np.mean((predicted - windows[:, 1:]) ** 2)
    loss.backward()
    tg.optim.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % 50 == 49:
        print(f"step {step + 1}: mean squared error {loss.item():.4f}")

with tg.no_grad():
    y, state = model(noisy[None, 950:1000, None])
    y, free = y[:, -1:], []
    for _ in range(60):  # about one period
        free.append(y.item())
        y, state = model(y, state)
print(f"60 steps on its own: mean error {np.abs(free - wave[1000:1060]).mean():.3f}")
