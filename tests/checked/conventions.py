"""Right layers that are written in other conventions than the book's, and one wrong forward."""
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LSTM:
    """Gates in the order i, f, g, o, as in PyTorch."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        i, f, g, o = np.split(x @ Wx + h_prev @ Wh + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c_prev + i * g
        self.cache = x, h_prev, c_prev, i, f, g, o, c
        return o * np.tanh(c), c

    def backward(self, dh, dc):
        Wx, Wh, b = self.params
        x, h_prev, c_prev, i, f, g, o, c = self.cache
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        dA = np.hstack([dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g ** 2),
                        dh * np.tanh(c) * o * (1 - o)])
        self.grads[0][...], self.grads[1][...] = x.T @ dA, h_prev.T @ dA
        self.grads[2][...] = dA.sum(0)
        return dA @ Wx.T, dA @ Wh.T, dc * f


class GRU:
    """Reset after the product, z weighs the old state: cuDNN's."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        H = Wh.shape[0]
        Ax, Ah = x @ Wx + b, h_prev @ Wh
        z, r = sigmoid(Ax[:, :H] + Ah[:, :H]), sigmoid(Ax[:, H:2*H] + Ah[:, H:2*H])
        n = np.tanh(Ax[:, 2*H:] + r * Ah[:, 2*H:])
        self.cache = x, h_prev, z, r, n, Ah[:, 2*H:]
        return z * h_prev + (1 - z) * n

    def backward(self, dh):
        Wx, Wh, b = self.params
        x, h_prev, z, r, n, An = self.cache
        dn = dh * (1 - z) * (1 - n ** 2)
        dz = dh * (h_prev - n) * z * (1 - z)
        dr = dn * An * r * (1 - r)
        dAx, dAh = np.hstack([dz, dr, dn]), np.hstack([dz, dr, dn * r])
        self.grads[0][...], self.grads[1][...] = x.T @ dAx, h_prev.T @ dAh
        self.grads[2][...] = dAx.sum(0)
        return dAx @ Wx.T, dAh @ Wh.T + dh * z


class RNN:
    """The bias is left out, consistently: forward is wrong, backward belongs to it."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x, h_prev):
        self.cache = x, h_prev, np.tanh(x @ self.params[0] + h_prev @ self.params[1])
        return self.cache[2]

    def backward(self, dh):
        x, h_prev, h = self.cache
        dA = dh * (1 - h ** 2)
        self.grads[0][...], self.grads[1][...] = x.T @ dA, h_prev.T @ dA
        return dA @ self.params[0].T, dA @ self.params[1].T


class MyPeepholeLSTM:
    """No known formula: only its backward is checked."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x, h_prev):
        self.cache = x, h_prev, np.sin(x @ self.params[0] + h_prev @ self.params[1] + self.params[2])
        self.cos = np.cos(x @ self.params[0] + h_prev @ self.params[1] + self.params[2])
        return self.cache[2]

    def backward(self, dh):
        x, h_prev, h = self.cache
        dA = dh * self.cos
        self.grads[0][...], self.grads[1][...] = x.T @ dA, h_prev.T @ dA
        self.grads[2][...] = dA.sum(0)
        return dA @ self.params[0].T, dA @ self.params[1].T
