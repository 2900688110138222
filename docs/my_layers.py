"""An LSTM as a reader of the book writes it, with one mistake in its backward pass."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        A = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f, g, i, o = np.split(A, 4, axis=1)
        f, g, i, o = sigmoid(f), np.tanh(g), sigmoid(i), sigmoid(o)
        c = f * c_prev + g * i
        h = o * np.tanh(c)
        self.cache = x, h_prev, c_prev, f, g, i, o, c
        return h, c

    def backward(self, dh, dc):
        Wx, Wh, _ = self.params
        x, h_prev, c_prev, f, g, i, o, c = self.cache
        tanh_c = np.tanh(c)
        dc = dc + dh * o * (1 - tanh_c**2)
        df, dg, di, do = dc * c_prev, dc * i, dc * g, dh * tanh_c
        df *= f * (1 - f)
        dg *= g * (1 - g)
        di *= i * (1 - i)
        do *= o * (1 - o)
        dA = np.hstack((df, dg, di, do))
        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][...] = np.dot(h_prev.T, dA)
        self.grads[2][...] = dA.sum(axis=0)
        return np.dot(dA, Wx.T), np.dot(dA, Wh.T), dc * f
