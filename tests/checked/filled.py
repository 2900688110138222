"""Outputs that are filled through their rows, as NumPy's can be."""

import numpy as np


class Chained:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            for m in range(W.shape[1]):
                out[n][m] = np.sum(x[n] * W[:, m])
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class AddedTo:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            row = out[n]
            row += x[n] @ W
            row[0] *= 1.0
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class EachRow:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for row, values in zip(out, x):
            row[:] = values @ W
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class IntoRows:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            np.matmul(x[n], W, out=out[n])
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class Flat:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        flat = out.reshape(-1)
        for k in range(flat.size):
            n, m = divmod(k, W.shape[1])
            flat[k] += np.sum(x[n] * W[:, m])
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class Turned:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for m in range(W.shape[1]):
            out.T[m] = x @ W[:, m]
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class InAnother:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        whole = np.empty((2, *out.shape))
        out = whole[1]
        for n in range(len(x)):
            whole[:, n][1][...] = x[n] @ W
        self.x = x
        return whole[1]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class InACopy:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        out = (x @ W).copy() * 0
        for n in range(len(x)):
            for m in range(W.shape[1]):
                out[n][m] = np.sum(x[n] * W[:, m])
        for row in out:
            row[0] += 0
        self.x = x
        return out

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class WrongInIt(Chained):
    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout * 2
        return dout @ self.params[0].T
