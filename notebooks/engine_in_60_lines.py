# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An autograd engine in 60 lines
#
# A few cells, and an LSTM learns. The page [An engine in 60 lines](../docs/sixty.md) explains each step; here is the whole of it, to be changed and broken.
#
# ## A value that remembers
#
# NumPy asks an object whether it wants to do the work itself: `__array_ufunc__` and `__array_function__`. This one writes down what was called, and on what.
#
# Backward is one loop, the youngest value first: all that was made from it has been asked before. `RULES` and `fitted`, which it needs, come in the next two cells.

# %% tags=["engine"]
import itertools
import operator

import numpy as np

births = itertools.count()


class Var(np.lib.mixins.NDArrayOperatorsMixin):  # +, *, @ ... as NumPy's functions
    def __init__(self, value, fn=None, args=()):
        self.value, self.fn, self.args = np.asarray(value), fn, args
        self.grad, self.birth = None, next(births)

    def __array_ufunc__(self, ufunc, method, *args):
        return call(ufunc, *args)

    def __array_function__(self, fn, types, args, kwargs):
        return call(fn, *args)

    def __getitem__(self, index):
        return call(operator.getitem, self, index)

    def backward(self):
        nodes, self.grad = {id(self): self}, np.ones_like(self.value)
        while nodes:  # the newest first: all that was made from it has been asked before
            node = nodes.pop(max(nodes, key=lambda key: nodes[key].birth))
            for arg, rule in zip(node.args, RULES.get(node.fn, ()), strict=False):
                if isinstance(arg, Var):
                    g = fitted(rule(node.grad, node.value, *map(array, node.args)), arg.value)
                    arg.grad = g if arg.grad is None else arg.grad + g
                    nodes[id(arg)] = arg


def call(fn, *args):
    return Var(fn(*map(array, args)), fn, args)


def array(x):
    return x.value if isinstance(x, Var) else x


# %%
y = np.sum(np.tanh(3.0 * Var([1.0, 2.0])))
print(y.value, "from", y.fn.__name__, "of", y.args[0].fn.__name__)


# %% [markdown]
# ## The table
#
# One line for each function: the cotangent of each argument, from that of the result ($g$, the book's `dout`), the result $y$ and the arguments.

# %% tags=["engine"]
def scatter(g, y, x, index):
    whole = np.zeros_like(x)
    np.add.at(whole, index, g)
    return whole


RULES = {  # function: the cotangent of each argument, from that of the result (g), y and the inputs
    np.add: (lambda g, y, a, b: g, lambda g, y, a, b: g),
    np.subtract: (lambda g, y, a, b: g, lambda g, y, a, b: -g),
    np.multiply: (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    np.divide: (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
    np.matmul: (lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g),
    np.negative: (lambda g, y, x: -g,),
    np.exp: (lambda g, y, x: g * y,),
    np.tanh: (lambda g, y, x: g * (1 - y * y),),
    np.sum: (lambda g, y, x: np.broadcast_to(g, x.shape),),
    operator.getitem: (scatter,),
}


# %% [markdown]
# ## Broadcasting
#
# What NumPy has repeated gets the sum of the shares. That is so for every function, so it belongs in the loop and not in the rules.

# %% tags=["engine"]
def fitted(g, x):  # the sum over what broadcasting had repeated
    g = g.sum(tuple(range(g.ndim - x.ndim)))
    return g.sum(tuple(i for i, n in enumerate(x.shape) if n == 1), keepdims=True)


# %%
x = Var([1.0, 2.0])
np.sum(x * x).backward()
print(x.grad)

# %% [markdown]
# ## An LSTM learns
#
# The task: say what the first of five numbers was.

# %%
rng = np.random.default_rng(0)
D, H = 1, 12
params = [rng.normal(size=shape) / np.sqrt(shape[0]) for shape in ((D, 4 * H), (H, 4 * H), (H, 1))]
params.append(np.zeros(4 * H))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def first_number(xs, Wx, Wh, Wy, b):
    h, c = np.zeros((2, len(xs), H))
    for t in range(xs.shape[1]):
        a = xs[:, t] @ Wx + h @ Wh + b
        f, g, i, o = (a[:, k * H : (k + 1) * H] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h @ Wy


def train(steps, rate=0.02):
    seen, mean, square = [], [0.0] * 4, [0.0] * 4
    for k in range(1, steps + 1):
        xs = rng.normal(size=(32, 5, D))
        variables = list(map(Var, params))
        error = first_number(xs, *variables) - xs[:, 0]
        loss = np.sum(error * error) / error.value.size
        loss.backward()
        for i, v in enumerate(variables):  # Adam
            mean[i] = 0.9 * mean[i] + 0.1 * v.grad
            square[i] = 0.999 * square[i] + 0.001 * v.grad**2
            params[i] -= rate * mean[i] / (1 - 0.9**k) / (np.sqrt(square[i] / (1 - 0.999**k)) + 1e-8)
        seen.append(float(loss.value))
    return seen


losses = train(150)
print("squared error:", np.mean(losses[:10]).round(2), "->", np.mean(losses[-10:]).round(2))
assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])

# %% [markdown]
# ## The real engine gives the same

# %%
import tinygrad_rnn as tg

xs = rng.normal(size=(4, 5, D))
ours, theirs = list(map(Var, params)), [tg.Tensor(p, requires_grad=True) for p in params]
np.sum(first_number(xs, *ours)).backward()
np.sum(first_number(xs, *theirs)).backward()
print([bool(np.allclose(a.grad, b.grad.numpy())) for a, b in zip(ours, theirs)])

# %% [markdown]
# ## Now you
#
# - `np.log` has no rule yet, so `np.log(x)` records, and `backward` stops there in silence. Add the line. Then make `backward` complain about a function that it does not know.
# - Gradients of gradients: what if `rule` were given `Var`s instead of arrays? Which lines stand in the way?
# - `max(nodes, ...)` looks through all open nodes each time. Put a heap (`heapq`) in its place.
