# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Find the mistake
#
# Twenty layers of *Deep Learning from Scratch 2*, each with one mistake in its backward pass, from easy to hard. Print one, copy it into a cell, mend it, and let `judge` say whether its gradients are right: it differentiates the layer's own `forward` and compares.
#
# | exercises | about |
# |---|---|
# | 1 to 3, 7 | sigmoid, products, biases, embeddings |
# | 4 to 6, 15, 16 | the simple RNN, one step and all steps |
# | 8 to 11 | the LSTM |
# | 12 to 14, 17 | the GRU |
# | 18 to 20 | softmax, dropout, two directions |

# %%
from exercises import exercise, hint, judge

# %% [markdown]
# ## The first, together

# %%
exercise(1)

# %% [markdown]
# Stuck? There are two hints for each, a weak one and a strong one.

# %%
hint(1)
hint(1, strength=2)

# %% [markdown]
# Here it is, not mended yet. `judge` says which gradient is wrong, and where first.

# %%
from tinygrad_rnn.manual.layers import Array, sigmoid


class Sigmoid:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x: Array) -> Array:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        return dout * (1.0 - self.out)


judge(1, Sigmoid)

# %% [markdown]
# Who gives up asks for the likely cause, the line and the repair, worked out on the smallest example:

# %%
judge(1, Sigmoid, explain=True)


# %% [markdown]
# With $y = \sigma(x)$, $\sigma' = y\,(1 - y)$: a factor was missing.

# %%
class Sigmoid:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x: Array) -> Array:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: Array) -> Array:
        return dout * self.out * (1.0 - self.out)


judge(1, Sigmoid)

# %% [markdown]
# ## Now you
#
# `exercise(2)` and so on. Below is a place for your layer.

# %%
exercise(2)
