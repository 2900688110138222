# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Write your own cell
#
# A cell is a formula: an input and a state go in, the new state comes out. There is no backward pass to write. `Recurrent` runs any cell over time, with several layers, two directions, dropout and padded batches.
#
# Here: the minimal gated unit (Zhou et al., 2016): one gate $f$, which both forgets and lets in.
#
# $$f = \sigma(W_f [x, h]) \qquad \hat h = \tanh(W_h [x, f \odot h]) \qquad h' = (1 - f) \odot h + f \odot \hat h$$

# %%
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.functional import sigmoid

tg.manual_seed(0)
rng = np.random.default_rng(0)


class MinimalGatedUnit(tg.nn.Module):
    """x (N, D), h (N, H) -> h (N, H)."""

    def __init__(self, D, H):
        self.Wf = tg.nn.Parameter(rng.normal(size=(D + H, H)) / np.sqrt(D + H))
        self.Wh = tg.nn.Parameter(rng.normal(size=(D + H, H)) / np.sqrt(D + H))
        self.state_sizes = (H,)

    def forward(self, x, h):
        f = sigmoid(np.concatenate([x, h], axis=1) @ self.Wf)
        return (1 - f) * h + f * np.tanh(np.concatenate([x, f * h], axis=1) @ self.Wh)


# %% [markdown]
# ## Its graph
#
# One step, as the engine has recorded it. The buttons walk backward through it.

# %%
cell = MinimalGatedUnit(3, 4)
tg.draw(np.sum(cell(np.ones((2, 3)), np.zeros((2, 4)))), names=cell)

# %% [markdown]
# ## Is its gradient right?
#
# It has to be: every call in the formula has a rule that is tested. Who does not believe it compares with finite differences:

# %%
x, h = rng.normal(size=(2, 3)), rng.normal(size=(2, 4))
tg.check.check_gradients(lambda x, h: cell(x, h), x, h)

# %% [markdown]
# ## It learns
#
# The task: eight numbers come in, one after another; at the end, say what the first one was.

# %%
layer, output = tg.nn.Recurrent(MinimalGatedUnit(1, 16)), tg.nn.Linear(16, 1)
parameters = [*layer.parameters(), *output.parameters()]
optimizer = tg.optim.Adam(parameters, lr=0.02)


@tg.jit  # the step is recorded, and replayed: remove this line, and it is the same, more slowly
def step(xs):
    hs, _ = layer(xs)
    loss = np.mean((output(hs[:, -1]) - xs[:, 0]) ** 2)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


losses = [step(rng.normal(size=(32, 8, 1))).item() for _ in range(400)]
print("squared error, first 20 steps:", np.mean(losses[:20]).round(2))
print("last 20 steps:", np.mean(losses[-20:]).round(3))
assert np.mean(losses[-20:]) < 0.2 * np.mean(losses[:20])

# %% [markdown]
# ## Now you
#
# - Give it a bias in the gate, and start it at 1. Does it learn sooner?
# - Make it remember the first of 30 numbers.
# - Write a peephole LSTM: gates that also see $c$. `state_sizes = (H, H)`, and `forward(x, h, c)` returns `h, c`.
