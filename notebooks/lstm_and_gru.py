# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # LSTM and GRU
#
# The same task for three cells: fifteen numbers come in, one after another; at the end, say what the first one was. A cell has to carry it past fourteen others.

# %%
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn

T, H = 15, 16


def learn(layer, steps=250):
    """The squared error at every step of training. The inputs have variance 1: who remembers nothing is at 1."""
    rng = np.random.default_rng(0)
    output = nn.Linear(H, 1)
    parameters = [*layer.parameters(), *output.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.02)
    losses = []
    for _ in range(steps):
        xs = rng.normal(size=(32, T, 1)).astype(np.float32)
        hs, _ = layer(xs)
        loss = np.mean((output(hs[:, -1]) - xs[:, 0]) ** 2)
        loss.backward()
        tg.optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


tg.manual_seed(1)
layers = {"RNN": nn.RNN(1, H), "LSTM": nn.LSTM(1, H), "GRU": nn.GRU(1, H)}
layers["LSTM, open"] = nn.LSTM(1, H)
layers["LSTM, open"].cells[0].b.data[:H] = 2  # its forget gates begin near 1
curves = {name: learn(layer) for name, layer in layers.items()}
for name, losses in curves.items():
    print(f"{name:10}", "  ".join(f"{np.mean(losses[k : k + 50]):.2f}" for k in range(0, 250, 50)))

# %% [markdown]
# The LSTM with the usual initial weights has learned nothing, and the simple RNN has: at $b_f = 0$ a forget gate stands at one half, and of what came in first $2^{-14}$ is left at the end. Opened, it learns at once. The GRU keeps half of its old state, too, but finds the way out of it.
#
# ## The cells
#
# An LSTM has two states and four blocks of weights, a GRU one state and three.

# %%
for name, layer in layers.items():
    print(f"{name:10} {sum(p.size for p in layer.parameters()):5,} parameters, Wh is", layer.cells[0].Wh.shape)
layers["LSTM"]

# %% [markdown]
# ## What the gates do
#
# The cell is its formula, so a gate can be looked at by writing the formula down once more. Here is the forget gate of the trained LSTM, for one sequence: a row for each time step, a column for each unit.

# %%
from tinygrad_rnn.functional import sigmoid

cell = layers["LSTM, open"].cells[0]
xs = np.random.default_rng(5).normal(size=(1, T, 1)).astype(np.float32)
h, c = np.zeros((1, H), np.float32), np.zeros((1, H), np.float32)
forget = []
with tg.no_grad():
    for t in range(T):
        a = xs[:, t] @ cell.Wx + cell.b + h @ cell.Wh
        forget.append(sigmoid(a[:, :H])[0])
        h, c = cell(xs[:, t], h, c)
gates = np.stack(forget)
kept = np.prod(gates[1:].numpy(), axis=0)  # of what c held after the first step
print(f"the best unit still holds {kept.max():.0%} of it at the end, the median one {np.median(kept):.0e}")
gates

# %% [markdown]
# What $c$ held after the first step is multiplied by the gate at every later one. A unit whose gate stands near 1 keeps it: those are the ones that carry the number.
#
# ## Two GRUs
#
# The book's GRU applies the reset gate *before* the product with `Wh`, and lets `z` weigh the *new* state. PyTorch, cuDNN and Keras do the opposite of both. They are different functions, not two ways to store one:

# %%
xs = np.random.default_rng(0).normal(size=(2, 3, 1))
book = nn.GRU(1, 4, dtype=np.float64)
for options in ({}, {"update": "old"}, {"reset": "after"}, {"reset": "after", "update": "old"}):
    other = nn.GRU(1, 4, dtype=np.float64, **options)
    for ours, theirs in zip(other.parameters(), book.parameters()):
        ours.data = theirs.data[: ours.size].reshape(ours.shape) if ours.ndim == 1 else theirs.data
    far = np.abs((other(xs)[0] - book(xs)[0]).numpy()).max()
    print(f"{options!s:38} differs from the book's by {far:.3f}")

# %% [markdown]
# ## Now you
#
# - At which bias of the forget gate does the LSTM learn soonest? And what is the like of it for the GRU, in the book's convention?
# - Which cell still learns it with `T = 50`?
# - Remove the output gate of the LSTM (a `Cell` of your own, see `write_your_own_cell`). Does it matter here?
