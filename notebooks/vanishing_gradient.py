# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The vanishing gradient, and what a gate does about it
#
# How much does the last state of a recurrent layer depend on the first input? That is the norm of a gradient, and `tg.grad` gives it for each time step at once.

# %%
import numpy as np
import tinygrad_rnn as tg

rng = np.random.default_rng(1)
T, N, H = 50, 16, 64
xs = rng.normal(size=(T, N, H))
dh = rng.normal(size=(N, H)) / np.sqrt(N * H)


def through_time(cell):
    """The norm of d loss / d h_t for t = 1 ... T, where the loss looks at the last h only."""
    state = tuple(tg.Tensor(np.zeros((N, size)), requires_grad=True) for size in cell.state_sizes)
    hs = []
    for x in xs:
        new = cell(x, *state)
        state = new if isinstance(new, tuple) else (new,)
        hs.append(state[0])
    return [np.linalg.norm(g.numpy()) for g in tg.grad(hs[-1], hs, dh)]


def told(name, norms):
    back = "  ".join(f"{norms[-1 - k]:.0e}" for k in (1, 10, 20, 49))
    print(f"{name:34} 1, 10, 20, 49 steps back: {back}")


# %% [markdown]
# ## A simple RNN
#
# Going back one step multiplies by $W_h^\top$ and by $1 - h^2 \le 1$. If $W_h$ is small the gradient vanishes; if it is large it explodes.

# %%
rnn = tg.nn.RNNCell(H, H, dtype=np.float64, rng=rng)
Wh = rnn.Wh.numpy().copy()
for scale in (0.5, 1.0, 2.0):
    rnn.Wh.data[...] = scale * Wh
    told(f"RNN, Wh times {scale}", through_time(rnn))

# %% [markdown]
# ## An LSTM
#
# $c_t = f \odot c_{t-1} + i \odot g$: back along $c$ there is no matrix, only the forget gate. So how far the gradient reaches is a matter of the gate's bias. At the book's initial weights $f \approx \sigma(0) = \frac12$, and half of the gradient is lost at every step: it vanishes as fast as an RNN's! With a bias of 3, $f \approx 0.95$.

# %%
lstm = tg.nn.LSTMCell(H, H, dtype=np.float64, rng=rng)
norms = {}
for bias in (0.0, 1.0, 3.0):
    lstm.b.data[:H] = bias  # the gates stand in the order f, g, i, o
    norms[bias] = through_time(lstm)
    told(f"LSTM, bias of the forget gate {bias}", norms[bias])
assert norms[3.0][0] > 1e3 * norms[0.0][0]

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:  # pip install matplotlib
    plt = None
if plt:
    rnn.Wh.data[...] = Wh
    figure, axes = plt.subplots(figsize=(7, 3.6))
    axes.semilogy(through_time(rnn)[::-1], color="grey", label="RNN")
    for bias, values in norms.items():
        axes.semilogy(values[::-1], label=f"LSTM, bias of the forget gate {bias}")
    axes.set(xlabel="time steps back", ylabel="norm of the gradient")
    axes.legend()

# %% [markdown]
# A straight line that falls is a gradient that vanishes: by the same factor at every step.
#
# That is why many start the forget gate at 1 (Jozefowicz et al., 2015), and why an LSTM that has *learned* to remember does better than this picture of one at its initial weights.
#
# ## Truncated BPTT
#
# A text is too long to go back through all of it. The state is carried from piece to piece, and the gradient stops at the border: `stateful=True`.

# %%
layer = tg.nn.LSTM(H, H, stateful=True)
first, _ = layer(xs[:25].swapaxes(0, 1).astype(np.float32))
second, _ = layer(xs[25:].swapaxes(0, 1).astype(np.float32))
try:
    tg.grad(np.sum(second), first)
except RuntimeError as error:
    print("The graph ends at the border:", error)

# %% [markdown]
# ## Now you
#
# - At which bias is a tenth of the gradient left after 49 steps? Work it out ($f^{49} = 0.1$), then try.
# - What does a GRU do? Its update gate has the bias `b[:H]`; in the book's convention a *negative* one keeps the old state.
