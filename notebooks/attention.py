# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Attention, on dates
#
# `SATURDAY, MAY 2, 1987` becomes `1987-05-02`. A decoder with attention looks at all that was read, at every step, and where it looks can be seen.

# %%
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.models import AttentionSeq2seq
from tinygrad_rnn.models.data import Vocabulary, encode_pairs, make_dates

pairs = make_dates(5000)
vocabulary = Vocabulary.of_pairs(pairs)
xs, ts = encode_pairs(pairs, vocabulary)
print(repr(pairs.inputs[2]), "->", pairs.answers[2])

# %% [markdown]
# ## Training
#
# 300 small batches of the first 4,500 dates; the last 500 are kept for the test. (The book's sizes, and 50,000 dates: `tinygrad-rnn train date`.)

# %%
tg.manual_seed(0)
rng = np.random.default_rng(0)
model = AttentionSeq2seq(len(vocabulary), 16, 48, bidirectional=True)
optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
losses = []
for step in range(300):
    rows = rng.integers(0, 4500, 32)
    loss = model.loss(xs[rows], ts[rows])
    loss.backward()
    tg.optim.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if step % 60 == 59:
        print(f"step {step + 1}: loss {np.mean(losses[-60:]):.2f}")

# %%
answers = model.generate(xs[4500:], ts[0, 0], 10)
right = np.all(answers == ts[4500:, 1:], axis=1)
print(f"{right.mean():.0%} of the dates that it has not seen are right")
assert right.mean() > 0.5

# %% [markdown]
# ## Where it looks
#
# A row for each symbol that is written, a column for each that was read. (Spaces at the end are padding; they are left out.)

# %%
def show(k):
    """The attention weights for date ``k``, as text, and as a picture."""
    written, read = pairs.answers[k][1:], pairs.inputs[k].rstrip()
    weights = model.attention_weights(xs[k : k + 1], ts[k : k + 1])[0, :, : len(read)]
    print("      " + read)
    for symbol, row in zip(written, weights):
        print(f"    {symbol} " + "".join(" .:*#"[min(int(5 * w), 4)] for w in row))
    return weights


weights = show(4502)

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:  # pip install matplotlib
    plt = None
if plt:
    read, written = pairs.inputs[4502].rstrip(), pairs.answers[4502][1:]
    figure, axes = plt.subplots(figsize=(0.32 * len(read) + 1, 3.6))
    axes.imshow(weights, vmin=0, vmax=1)
    axes.set_xticks(range(len(read)), read)
    axes.set_yticks(range(len(written)), written)

# %% [markdown]
# For the year it looks at the last digits, for the month at the letters that tell it from the others, and for a dash anywhere.
#
# ## Now you
#
# - Which months does it confuse after 200 steps? Look at `pairs.answers[k]` beside what it wrote for the rows where `right` is False.
# - Put `score="additive"` into the model. Is the picture sharper?
# - Take attention away (`Seq2seq`): how many steps does it want for the same accuracy?
