"""Only forward; what goes backward stands in another file of the folder."""

import numpy as np


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def tanh_forward(x):
    y = np.tanh(x)
    return y, y
