"""Layers that hold layers, and layers that are wrong in their forward."""

import numpy as np


class MyRNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache = None

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h = np.tanh(x @ Wx + h_prev @ Wh + b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh):
        Wx, Wh, b = self.params
        x, h_prev, h = self.cache
        da = dh * (1 - h)
        self.grads[0][...] = x.T @ da
        self.grads[1][...] = h_prev.T @ da
        self.grads[2][...] = da.sum(axis=0)
        return da @ Wx.T, da @ Wh.T


class MyTimeRNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, xs):
        N, T, D = xs.shape
        h = np.zeros((N, self.params[1].shape[0]))
        self.layers, hs = [], []
        for t in range(T):
            layer = MyRNN(*self.params)
            h = layer.forward(xs[:, t], h)
            self.layers.append(layer)
            hs.append(h)
        return np.stack(hs, axis=1)

    def backward(self, dhs):
        dxs, dh = np.empty((*dhs.shape[:2], self.params[0].shape[0])), 0
        grads = [0, 0, 0]
        for t in reversed(range(dhs.shape[1])):
            layer = self.layers[t]
            dxs[:, t], dh = layer.backward(dhs[:, t] + dh)
            for i, grad in enumerate(layer.grads):
                grads[i] += grad
        for i, grad in enumerate(grads):
            self.grads[i][...] = grad
        return dxs


class Unwritten:
    def forward(self, xs):
        hs = np.empty_like(xs)
        for t in range(xs.shape[1] - 1):
            hs[:, t] = 2 * xs[:, t]
        return hs

    def backward(self, dout):
        return 2 * dout


class Blind:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, idx):
        self.n = len(idx)
        return self.params[0][: self.n] * 2

    def backward(self, dout):
        self.grads[0][...] = 0
        self.grads[0][: self.n] = 2 * dout


class Sigmoid:
    def forward(self, x):
        return 1 / (1 + np.exp(-x))

    def backward(self, x):
        y = self.forward(x)
        return y * (1 - y)


class Skip:
    """Contexts and targets are one-hot: labels, which need no gradient."""

    def __init__(self, vocab_size, hidden_size):
        self.W_in = 0.1 * np.random.randn(vocab_size, hidden_size)
        self.W_out = 0.1 * np.random.randn(hidden_size, vocab_size)
        self.params = [self.W_in, self.W_out]
        self.grads = [np.zeros_like(self.W_in), np.zeros_like(self.W_out)]

    def forward(self, contexts, target):
        self.c, self.t = contexts[:, 0], target
        self.h = self.t @ self.W_in
        s = np.exp(self.h @ self.W_out)
        self.y = s / s.sum(axis=1, keepdims=True)
        return -np.sum(np.log(self.y) * self.c) / len(self.c)

    def backward(self, dout=1):
        ds = (self.y - self.c) * dout / len(self.c)
        self.grads[1][...] = self.h.T @ ds
        self.grads[0][...] = self.t.T @ (ds @ self.W_out.T)
        return None
