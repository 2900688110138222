# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Sequence to sequence: reversal and peeking
#
# An encoder reads six digits, and a decoder writes them again from the encoder's last state alone. It is the smallest task on which the two tricks of chapter 7 show themselves:
#
# - **reversal**: the input is read from its end, so that the first digit to be written is the one that was read last;
# - **peeking**: the decoder is shown the encoder's last state at every step, not only at the first.

# %%
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.models import PeekySeq2seq, Seq2seq

DIGITS, START, LENGTH = 10, 10, 6


def batch(rng, N, reverse):
    """Inputs (N, LENGTH) and answers (N, 1 + LENGTH), which begin with the start symbol."""
    digits = rng.integers(0, DIGITS, (N, LENGTH))
    return digits[:, ::-1] if reverse else digits, np.insert(digits, 0, START, axis=1)


def learn(kind, reverse, steps=250):
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    model = kind(DIGITS + 1, 8, 32)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        loss = model.loss(*batch(rng, 32, reverse))
        loss.backward()
        tg.optim.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses


results = {(kind.__name__, reverse): learn(kind, reverse)
           for reverse in (False, True) for kind in (Seq2seq, PeekySeq2seq)}
for (name, reverse), (_, losses) in results.items():
    means = "  ".join(f"{np.mean(losses[k : k + 50]):.2f}" for k in range(0, 250, 50))
    print(f"{name:13} {'reversed' if reverse else 'as it is':9} loss {means}")
assert np.mean(results["Seq2seq", True][1][-50:]) < np.mean(results["Seq2seq", False][1][-50:])

# %% [markdown]
# A guess costs $\ln 10 = 2.30$. Reversal helps most, and from the beginning: between reading the first digit and writing it lies one step instead of six. That is the vanishing gradient again.
#
# ## How far the gradient has to go
#
# `tg.grad` takes any Tensor, so one can ask how much the loss of *each* output depends on the *embedding of each input*. That is done here for the untrained model: a row for each output, a column for each input as it is read.

# %%
def reach(reverse):
    tg.manual_seed(0)
    model = Seq2seq(DIGITS + 1, 8, 32)
    xs, ts = batch(np.random.default_rng(1), 16, reverse)
    vectors = model.encoder.embed(xs)
    hs, state = model.encoder.lstm(vectors)
    logits, _, _ = model.decoder(ts[:, :-1], hs, (state,))
    rows = []
    for u in range(LENGTH):
        loss = tg.functional.cross_entropy(logits[:, u], ts[:, u + 1])
        gradient = tg.grad(loss, vectors, create_graph=True)  # so that the graph is there for the next
        rows.append(np.linalg.norm(gradient.detach().numpy(), axis=(0, 2)))
    return np.array(rows)


for reverse in (False, True):
    own = reach(reverse)[0, -1 if reverse else 0]
    print("reversed:" if reverse else "as it is:", f"the first digit's own input moves its loss by {own:.0e}")
tg.Tensor(reach(True) ** 0.5)  # the root, so that small ones can be seen

# %% [markdown]
# ## What it writes

# %%
rng = np.random.default_rng(9)
model, _ = results["PeekySeq2seq", True]
xs, ts = batch(rng, 5, True)
for t, y in zip(ts, model.generate(xs, START, LENGTH)):
    print("wanted", *t[1:], " wrote", *y, " all right" if np.array_equal(t[1:], y) else "")

# %% [markdown]
# ## Now you
#
# - Let it write the digits in the *other* order. Does reversal still help?
# - Train on 6 digits, and let it write 9. What goes wrong?
# - `model.force(0.5)` before the training: the decoder reads its own symbol half of the time.
