"""An autograd engine in 60 lines, on NumPy's protocols: docs/sixty.md builds it in six steps."""

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


def fitted(g, x):  # the sum over what broadcasting had repeated
    g = g.sum(tuple(range(g.ndim - x.ndim)))
    return g.sum(tuple(i for i, n in enumerate(x.shape) if n == 1), keepdims=True)
