# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Check your own layer
#
# You have derived a backward pass by hand, as *Deep Learning from Scratch 2* does. Is it right? `check` differentiates the layer's own `forward`, and compares. In Jupyter that is one line at the top of a cell.

# %%
# %load_ext tinygrad_rnn

# %% [markdown]
# ## A cell that defines a layer
#
# Put your own layer in its place: a class with `forward` and `backward`, parameters in the list `params`, their gradients in the list `grads`.

# %%
import numpy as np


class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        self.grads[1][...] = np.mean(dout, axis=0)
        return np.dot(dout, W.T)


# %% [markdown]
# ## The report
#
# With `%%check` at the top of the cell above, its layers are reported right below it. For a class that is there already, `check` does the same:

# %%
from tinygrad_rnn.check import check

report = check(Affine)
report


# %% [markdown]
# Its verdict, the likely cause and the line are attributes, too:

# %%
print(report.verdict, "|", report.cause, "| line", report.line)
assert report.verdict == "wrong"


# %% [markdown]
# ## Mended

# %%
class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.dot(dout, W.T)


assert check(Affine).ok
check(Affine)

# %% [markdown]
# ## An LSTM of the whole sequence
#
# Sizes and inputs are found by trying. Where that does not work, hand over a layer and its inputs yourself:

# %%
from tinygrad_rnn.check import check_layer
from tinygrad_rnn.manual import TimeLSTM

rng = np.random.default_rng(0)
N, T, D, H = 2, 3, 4, 5
layer = TimeLSTM(rng.normal(size=(D, 4 * H)), rng.normal(size=(H, 4 * H)), rng.normal(size=4 * H))
print(check_layer(layer, rng.normal(size=(N, T, D))))

# %% [markdown]
# ## Now you
#
# - Your own chapter: `check("chapter6.py")` takes a file, `check("chapter6.ipynb")` a notebook, and gives a report for each layer in it.
# - Break `TimeLSTM`: copy it into a cell, leave out the addition of `dh`, and look at which gradients stay right.
# - Twenty layers with a mistake each: `find_the_mistake`.
