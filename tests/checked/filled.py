"""Outputs that are filled through their rows, as NumPy's can be."""

import numpy as np


class Product:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class Chained(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            for m in range(W.shape[1]):
                out[n][m] = np.sum(x[n] * W[:, m])
        self.x = x
        return out


class OfLists(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.array([[0.0] * W.shape[1]] * len(x))
        for n in range(len(x)):
            for m in range(W.shape[1]):
                for d in range(len(W)):
                    out[n][m] += x[n][d] * W[d][m]
        self.x = x
        return out


class AddedTo(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            row = out[n]
            row += x[n] @ W
            row[0] *= 1.0
        self.x = x
        return out


class EachRow(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for row, values in zip(out, x):
            row[:] = values @ W
        self.x = x
        return out


class IntoRows(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for n in range(len(x)):
            np.matmul(x[n], W, out=out[n])
        self.x = x
        return out


class Flat(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        flat = out.reshape(-1)
        for k in range(flat.size):
            n, m = divmod(k, W.shape[1])
            flat[k] += np.sum(x[n] * W[:, m])
        self.x = x
        return out


class Turned(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        for m in range(W.shape[1]):
            out.T[m] = x @ W[:, m]
        self.x = x
        return out


class InAnother(Product):
    def forward(self, x):
        (W,) = self.params
        out = np.zeros((len(x), W.shape[1]))
        whole = np.empty((2, *out.shape))
        out = whole[1]
        for n in range(len(x)):
            whole[:, n][1][...] = x[n] @ W
        self.x = x
        return whole[1]


class InACopy(Product):
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


class WrongInIt(Chained):
    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout * 2
        return dout @ self.params[0].T
