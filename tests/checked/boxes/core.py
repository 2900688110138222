"""Functions that are called with arrays in boxes, which know who made them."""

import weakref

import numpy as np


class Box:
    __array_priority__ = 200

    def __init__(self, data):
        if not isinstance(data, np.ndarray):
            raise TypeError(f"{type(data)} is not supported")
        self.data, self.grad, self.creator = data, None, None

    def backward(self):
        self.grad = Box(np.ones_like(self.data))
        for x, gx in zip(self.creator.inputs, (self.creator.backward(self.grad),)):
            x.grad = gx


def as_box(x):
    return x if isinstance(x, Box) else Box(np.asarray(x))


class Function:
    def __call__(self, *inputs):
        self.inputs = [as_box(x) for x in inputs]
        y = Box(np.asarray(self.forward(*[x.data for x in self.inputs])))
        y.creator = self
        self.outputs = [weakref.ref(y)]
        return y

    def forward(self, x):
        raise NotImplementedError()

    def backward(self, gy):
        raise NotImplementedError()


class Mul(Function):
    def forward(self, x0, x1):
        return x0 * x1

    def backward(self, gy):
        x0, x1 = self.inputs
        return gy * x1, gy * x0


def setup_box():
    Box.__mul__ = Box.__rmul__ = lambda a, b: Mul()(a, b)
