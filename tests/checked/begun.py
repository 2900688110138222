"""Layers that are not complete when they are made: another method makes their weights."""

import copy

import numpy as np


class Base:
    def set_input_shape(self, shape):
        self.input_shape = shape


class Full(Base):
    """Its backward hands the gradients to an optimizer of each weight."""

    def __init__(self, n_out, input_shape=None):
        self.n_out, self.input_shape = n_out, input_shape
        self.W = None

    def initialize(self, optimizer):
        self.W = np.random.randn(self.input_shape[0], self.n_out)
        self.b = np.zeros((1, self.n_out))
        self.for_W, self.for_b = copy.copy(optimizer), copy.copy(optimizer)

    def forward_pass(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward_pass(self, dout):
        dx = dout @ self.W.T
        self.W = self.for_W.update(self.W, self.x.T @ dout)
        self.b = self.for_b.update(self.b, np.sum(dout, axis=0, keepdims=True))
        return dx


class Gain(Base):
    """Of which the shape is told, by a method of the base."""

    def _build(self):
        self.g = np.ones(self.input_shape)

    def forward(self, x):
        self.x = x
        return self.g * x

    def backward(self, dout):
        self.dg = np.sum(dout * self.x, axis=0)
        return self.g * dout


class Simple:
    """Recurrent; of its units alone it knows when it is made."""

    def __init__(self, units):
        self.units = units

    def init_weights(self, n_in):
        self.Wx = np.random.randn(n_in, self.units)
        self.Wh = np.random.randn(self.units, self.units)

    def forward(self, xs):
        N, T, _ = xs.shape
        self.xs, self.hs = xs, np.zeros((N, T + 1, self.units))
        for t in range(T):
            self.hs[:, t] = np.tanh(xs[:, t] @ self.Wx + self.hs[:, t - 1] @ self.Wh)
        return self.hs[:, :-1]

    def backward(self, dhs):
        dxs, dh = np.empty_like(self.xs), 0
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        for t in reversed(range(dhs.shape[1])):
            da = (dhs[:, t] + dh) * (1 - self.hs[:, t] ** 2)
            self.dWx += self.xs[:, t].T @ da
            self.dWh += self.hs[:, t - 1].T @ da
            dxs[:, t], dh = da @ self.Wx.T, da @ self.Wh.T
        return dxs
