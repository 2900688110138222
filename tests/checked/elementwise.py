"""Functions of two arrays, whose gradients are returned without names."""

import numpy as np


def multiply_forward(x, w):
    return x * w, (x, w)


def multiply_backward(dout, cache):
    x, w = cache
    return dout * w, dout * x


def plus_forward(x, b):
    return x + b, None


def plus_backward(dout, cache):
    return dout, dout


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout


def minus_forward(x, y):
    return x - y, np.shape(x)


def minus_backward(dout, shape):
    return dout, dout
