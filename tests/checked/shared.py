"""Gradients that share the memory of their parameter: alone, and with a mistake beside it."""

import numpy as np


class Shared:
    def __init__(self, W):
        self.params, self.grads = [W], [W]

    def forward(self, x):
        self.x = x
        return np.dot(x, self.params[0])

    def backward(self, dout):
        self.grads[0][...] = np.dot(self.x.T, dout)
        dx = np.dot(dout, self.params[0].T)
        return dx


class SharedAndDoubled(Shared):
    def backward(self, dout):
        self.grads[0][...] = np.dot(self.x.T, dout)
        dx = np.dot(dout, self.params[0].T) * 2
        return dx
