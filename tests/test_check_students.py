"""Mistakes as they were put into layers that people wrote: small layers of the same kinds."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.check import check_layer, layer
from tinygrad_rnn.check.files import check_here
from tinygrad_rnn.check.source import compiled, with_source

SOURCE = '''
import numpy as np


def column_forward(x, W, b):
    cache = (x, W)
    return np.dot(W, x) + b, cache


def column_backward(dout, cache):
    x, W = cache
    dW = np.dot(dout, x.T)
    db = np.sum(dout, axis=1, keepdims=True)
    dx = np.dot(W.T, dout)
    return dx, dW, db


def positive_forward(x):
    return x * (x > 0), x


def positive_backward(dout, cache):
    dx = np.zeros_like(cache)
    dx[cache > 0] = 1
    dx = dx * dout
    return dx


def joint_forward(x, W, b):
    a, column_cache = column_forward(x, W, b)
    y, positive_cache = positive_forward(a)
    return y, (column_cache, positive_cache)


def joint_backward(dout, cache):
    column_cache, positive_cache = cache
    da = positive_backward(dout, positive_cache)
    dx, dW, db = column_backward(da, column_cache)
    return dx, dW, db


class Affine:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        self.x = x
        return np.dot(x, self.params[0]) + self.params[1]

    def backward(self, dout):
        dx = np.dot(dout, self.params[0].T)
        dW = np.dot(self.x.T, dout)
        db = np.sum(dout, axis=0)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        d_all = [dx, dout]  # noqa: F841
        return dx


class Product:
    def forward(self, a, b):
        self.a, self.b = a, b
        return np.matmul(a, b)

    def backward(self, dout):
        da = np.matmul(dout, self.b.swapaxes(-2, -1))
        db = np.matmul(self.a.swapaxes(-2, -1), dout)
        return da, db


class Dropped:
    def __init__(self):
        self.is_training = False

    def forward(self, x):
        self.mask = np.random.rand(*x.shape) > 0.5 if self.is_training else np.ones(x.shape)
        return x * self.mask

    def backward(self, dout):
        if self.is_training:
            return dout * self.mask
        return dout


class Halves:
    def __init__(self, W, h=1):
        self.params, self.grads, self.h = [W], [np.zeros_like(W)], h

    def forward(self, x):
        self.x = x
        d = self.params[0].shape[1] // self.h
        parts = [x @ self.params[0][:, i * d:(i + 1) * d] for i in range(self.h)]
        return np.concatenate(parts, axis=1)

    def backward(self, dout):
        d = self.params[0].shape[1] // self.h
        dx = 0
        for i in range(self.h):
            g = dout[:, i * d:(i + 1) * d]
            self.grads[0][:, i * d:(i + 1) * d] = self.x.T @ g
            dx += g @ self.params[0][:, i * d:(i + 1) * d].T
        return dx


class Bent:
    def forward(self, x):
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dout):
        return np.multiply(np.multiply(self.y, 1 - self.y), dout)


def loud(method):
    def wrap(*args):
        return method(*args)

    return wrap


class Squared:
    @loud
    def forward(self, x):
        self.x = x
        return x**2 - x

    @loud
    def backward(self, dout):
        return dout * 2 * self.x - dout


class Weighed:
    def forward(self, a, b):
        self.a, self.b = a, b
        return a**2 - a * b

    def backward(self, dout):
        return 2 * self.a * dout - dout * self.b, -dout * self.a


class Gated:
    def forward(self, data):
        self.data_out = 1 / (1 + np.exp(-data))
        return self.data_out

    def backward(self, grad_in):
        grad_out = self.__kept(grad_in) * self.data_out * (1 - self.data_out)
        return grad_out

    def __kept(self, grad):
        return grad


class ScoreLoss:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x, t):
        self.x, self.t = x, t
        return -np.sum(np.dot(x, self.params[0])[np.arange(len(x)), t])

    def backward(self, dout=1):
        dy = np.zeros((len(self.x), self.params[0].shape[1]))
        dy[np.arange(len(self.x)), self.t] = -dout
        self.grads[0][...] = np.dot(self.x.T, dy)
        dx = np.dot(dy, self.params[0].T)
        return dx


class Steps:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        self.xs, h = xs, 0
        hs = np.empty((*xs.shape[:2], self.params[0].shape[1]))
        for t in range(xs.shape[1]):
            h = hs[:, t, :] = xs[:, t, :] @ self.params[0] + h
        return hs

    def backward(self, dhs):
        dh, dW = 0, 0
        dxs = np.empty_like(self.xs)
        for t in reversed(range(dhs.shape[1])):
            dh = dhs[:, t, :] + dh
            dW += self.xs[:, t, :].T @ dh
            dxs[:, t, :] = dh @ self.params[0].T
        self.grads[0][...] = dW
        return dxs


def scaled_forward(x, w, b, scale_param):
    return (x @ w + b) * scale_param.get("scale", 1.0), (x, w, scale_param)


def scaled_backward(dout, cache):
    x, w, scale_param = cache
    da = dout * scale_param.get("scale", 1.0)
    dx, dw, db = da @ w.T, x.T @ da, np.sum(da, axis=0)
    return dx, dw, db


class Shares:
    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y

    def backward(self, dout):
        dx = self.y * dout
        total = np.sum(dx, axis=1, keepdims=True)
        dx -= self.y * total
        return dx


class Looks:
    def forward(self, hs, h):
        hr = h[:, None, :]
        e = np.exp((hs * hr).sum(axis=2))
        a = e / e.sum(axis=1, keepdims=True)
        self.cache = hs, hr, a
        return a

    def backward(self, da):
        hs, hr, a = self.cache
        ds = a * (da - np.sum(da * a, axis=1, keepdims=True))
        dt = ds[:, :, np.newaxis]
        dh = (dt * hs).sum(axis=1)
        return dt * hr, dh


def scored_forward(x, W, Wy):
    h = np.tanh(x @ W)
    loss = np.sum((h @ Wy) ** 2)
    return h, loss, (x, W, Wy, h)


def scored_backward(dh, cache):
    x, W, Wy, h = cache
    ds = 2 * h @ Wy
    dWy = h.T @ ds
    da = (dh + ds @ Wy.T) * (1 - h**2)
    return da @ W.T, x.T @ da, dWy


class Normed:
    def __init__(self, gamma, beta):
        self.params = [gamma, beta]
        self.grads = [np.zeros_like(gamma), np.zeros_like(beta)]

    def forward(self, x):
        self.xc = x - x.mean(axis=0)
        self.var = np.mean(self.xc**2, axis=0)
        self.std = np.sqrt(self.var + 1e-5)
        self.xn = self.xc / self.std
        return self.params[0] * self.xn + self.params[1]

    def backward(self, dout):
        N = len(dout)
        self.grads[0][...] = np.sum(self.xn * dout, axis=0)
        self.grads[1][...] = np.sum(dout, axis=0)
        dxn = self.params[0] * dout
        dxc = dxn / self.std
        dstd = -np.sum(dxn * self.xc / self.std**2, axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += 2.0 / N * self.xc * dvar
        return dxc - np.sum(dxc, axis=0) / N


class Joined:
    def __init__(self, W):
        self.W, self.dW = W, None

    def forward(self, h):
        A, B = np.split(self.W, 2, axis=1)
        self.h, self.a, self.b = h, h @ A, h @ B
        return self.a * self.b

    def backward(self, dout):
        A, B = np.split(self.W, 2, axis=1)
        da, db = dout * self.b, dout * self.a
        G = np.dot(self.W, self.W.T)  # noqa: F841
        dA = np.dot(self.h.T, da)
        dB = np.dot(self.h.T, db)
        self.dW = np.hstack((dA, dB))
        return np.dot(da, A.T) + np.dot(db, B.T)


class Cut:
    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dx = dout.copy()
        dx[self.mask] = 0
        return dx


class Jacobians:
    def forward(self, x):
        e = np.exp(x)
        self.y = e / np.sum(e, axis=1, keepdims=True)
        return self.y

    def backward(self, dout):
        dx = np.empty_like(dout)
        for i in range(len(dout)):
            s = self.y[i].reshape(-1, 1)
            dx[i] = (np.diag(s.flatten()) - np.dot(s, s.T)) @ dout[i]
        return dx


class Plain:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = np.sum(dout, axis=0)
        dx = dout @ self.W.T
        return dx


class Encodes:
    def __init__(self, W):
        self.W = W

    def forward(self, xs):
        self.xs = xs
        self.hs = np.tanh(xs @ self.W)
        return self.hs[:, -1]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1, :] = dh
        da = dhs * (1 - self.hs ** 2)
        self.dW = np.tensordot(self.xs, da, ((0, 1), (0, 1)))
        return da @ self.W.T


class Update:
    def __init__(self, W, U):
        self.params, self.grads = [W, U], [np.zeros_like(W), np.zeros_like(U)]

    def forward(self, x, h):
        z = 1 / (1 + np.exp(-x @ self.params[0]))
        u = np.tanh(x @ self.params[1])
        self.cache = x, h, z, u
        return (1 - z) * h + z * u

    def backward(self, dnext):
        x, h, z, u = self.cache
        dt = dnext * z * (1 - u**2)
        dx = dt @ self.params[1].T
        self.grads[1][...] = x.T @ dt
        dz = dnext * u - dnext * h
        dt = dz * z * (1 - z)
        dx += dt @ self.params[0].T
        self.grads[0][...] = x.T @ dt
        return dx, dnext * (1 - z)


class Channels:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        N, C, H, V = x.shape
        self.x = x.transpose(0, 2, 3, 1).reshape(-1, C)
        return (self.x @ self.params[0]).reshape(N, H, V, -1).transpose(0, 3, 1, 2)

    def backward(self, dout):
        N, K, H, V = dout.shape
        d = dout.transpose(0, 2, 3, 1).reshape(-1, K)
        self.grads[0][...] = self.x.T @ d
        return (d @ self.params[0].T).reshape(N, H, V, -1).transpose(0, 3, 1, 2)


class Rows:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        self.xs = xs
        return xs @ self.params[0]

    def backward(self, dout):
        dW = 0
        for t in range(dout.shape[1]):
            g = dout[:, t, :]
            dW += np.dot(self.xs[:, t, :].T, g)
        self.grads[0][...] = dW
        return dout @ self.params[0].T


class Beside:
    def __init__(self, g, c):
        self.params, self.grads = [g, c], [np.zeros_like(g), np.zeros_like(c)]

    def forward(self, x):
        g, c = self.params
        self.x, self.z = x, np.tanh(g * x + c)
        return np.concatenate((x, self.z), axis=1)

    def backward(self, dout):
        g, c = self.params
        dx, dout = dout[:, :len(g)], dout[:, len(g):]
        dout = dout * (1 - self.z**2)
        self.grads[1][...] = np.sum(dout, axis=0)
        self.grads[0][...] = np.sum(dout * self.x, axis=0)
        return dout * g + dx


class Mapped:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return np.dot(x, self.params[0])

    def backward(self, dout):
        W, = self.params
        self.grads[0][...] = np.sum(np.matmul(self.x.swapaxes(-1, -2), dout), axis=0)
        return np.dot(dout, W.T)


class Embedding:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        dW, = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)


class TimeEmbedding:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        self.layers = [Embedding(self.params[0]) for _ in range(xs.shape[1])]
        return np.stack([part.forward(xs[:, t]) for t, part in enumerate(self.layers)], 1)

    def backward(self, dout):
        sums = [0]
        for t, part in enumerate(self.layers):
            part.backward(dout[:, t])
            for k, g in enumerate(part.grads):
                sums[k] += g
        for k, g in enumerate(sums):
            self.grads[k][...] = g


class ByLetters:
    def __init__(self, gamma, beta):
        self.gamma, self.beta = gamma, beta
        self.dgamma, self.dbeta = None, None

    def forward(self, x):
        self.centred = x - x.mean(axis=0)
        self.std = np.sqrt((self.centred**2).mean(axis=0) + 1e-7)
        self.normal = self.centred / self.std
        return self.gamma * self.normal + self.beta

    def backward(self, dout):
        N = len(dout)
        self.dbeta = np.sum(dout, axis=0)
        v = np.sum(self.normal * dout, axis=0)
        self.dgamma = v
        a = self.gamma * dout
        b = a / self.std
        c = -np.sum(a * self.centred, axis=0) / self.std**2
        e = self.centred * c / self.std / N
        return b + e - np.sum(b + e, axis=0) / N


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class EntropyWithLoss:
    def forward(self, x, t):
        self.x, self.t = x, t
        return -np.sum(t * np.log(softmax(x))) / len(x)

    def backward(self, dout=1):
        return dout * (softmax(self.x) - self.t) / len(self.x)


class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        return -np.sum(np.log(self.y[np.arange(len(x)), t])) / len(x)

    def backward(self, dout=1):
        dx = self.y.copy()
        N = len(self.t)
        dx[np.arange(len(dx)), self.t] -= 1
        dx *= dout / N
        return dx
'''
MISTAKES = [
    ("SoftmaxWithLoss", "dx *= dout / N", "dx *= dout * dout / N", "`dout` does not belong there"),
    ("Embedding", "dW[...] = 0", "dout[...] = 0", "`dout` stands where `dW` belongs"),
    ("Embedding", "np.add.at(dW, self.idx, dout)", "for i, k in enumerate(self.idx):\n"
     "            dW[k] += dout[i]\n        np.add.at(dW, self.idx, dout)", "does not belong"),
    ("TimeEmbedding", "g in enumerate(part.grads)", "g in enumerate(self.grads)",
     "`self.grads` stands where `part.grads` belongs"),
    ("TimeEmbedding", "sums[k] += g", "pass", "`sums[k]` is added up nowhere: `sums[k] += g`"),
    ("Affine", "= dW\n        self.grads[1]", "= db\n        self.grads[1]",
     "`db` stands where `dW` belongs"),
    ("Product", "swapaxes(-2, -1), dout)", "swapaxes(-2, -1), da)",
     "`da` stands where `dout` belongs"),
    ("Product", "np.matmul(dout, self.b", "np.matmul(da, self.b",
     "`da` stands where `dout` belongs"),
    ("Affine", "np.dot(dout, self.params[0].T)", "dout * self.params[0].T",
     "`dout * self.params[0].T` should be `dout @ self.params[0].T`"),
    ("Product", "return da, db", "return dout, db", "`dout` stands where `da` belongs"),
    ("column", "db = np.sum(dout, axis=1, keepdims=True)", "db = dout",
     "not summed: `np.sum(dout, axis=1, keepdims=True)` belongs here"),
    ("column", "x, W = cache\n    dW = np.dot(dout, x.T)",
     "dW = np.dot(dout, x.T)\n    x, W = cache", "`x, W = cache` stands too late"),
    ("positive", "dx[cache > 0] = 1\n    dx = dx * dout", "pass\n    dx = dx * dout",
     "dx is left at zero"),
    ("Dropped", "return dout * self.mask\n", "return dout\n", "not applied to `dout`"),
    ("Halves", "dx += g @", "dx = g @", "`dx` is assigned with = where += belongs"),
    ("Bent", "np.multiply(self.y, 1 - self.y)", "np.multiply(self.y, self.y)",
     "`self.y` stands where `1 - self.y` belongs"),
    ("Gated", "self.data_out * (1 - self.data_out)", "self.data_out",
     "the factor `(1 - self.data_out)` is missing"),
    ("Gated", "grad_out = self",
     "grad_in = grad_in + grad_in**2\n        grad_out = self", "does not belong there"),
    ("Weighed", "2 * self.a * dout - dout", "(2 + self.a) * dout - dout",
     "`2 + self.a` should be `2 * self.a`"),
    ("Weighed", "2 * self.a * dout - dout * self.b,", "2 * self.a * dout,",
     "`-dout * self.b` is not added"),
    ("scaled", "return dx, dw, db", "return dout, dw, db", "`dout` stands where `dx` belongs"),
    ("Steps", "dW += self.xs[:, t, :].T @ dh",
     "dW += self.xs[:, t, :].T @ dh; dW += self.xs[:, t, :].T @ dh",
     "`dW += self.xs[:, t, :].T @ dh` does not belong there"),
    ("Steps", "dW += self.xs[:, t, :].T", "dW += self.xs[:, t - 1, :].T",
     "`self.xs[:, t - 1, :]` is a step off: `self.xs[:, t, :]` belongs here"),
    ("Shares", "total = np.sum(dx, axis=1, keepdims=True)", "total = dx",
     "not summed: `np.sum(dx, axis=-1, keepdims=True)` belongs here"),
    ("Shares", "dx = self.y * dout\n        total = np.sum(dx, axis=1, keepdims=True)\n"
     "        dx -= self.y * total\n", "dx = dout @ (np.diagflat(self.y) - self.y.T @ self.y)\n",
     "not the gradient times the softmax's Jacobian"),  # runs for one row, and for rows of one
    ("Looks", "ds = a * (da - np.sum(da * a, axis=1, keepdims=True))", "ds = da * a * (1 - a)",
     "not the gradient times the softmax's Jacobian"),
    ("scored", "x.T @ da, dWy", "x.T @ da * 3, dWy", "scaled by `3`"),
    ("Steps", "dxs[:, t, :] = dh @", "dhs[:, t, :] = dh @", "`dhs` stands where `dxs` belongs"),
    ("Steps", "dhs[:, t, :] + dh\n", "dhs[:, t, :] + dx\n", "`dx` stands where `dh` belongs"),
    ("Joined", "np.dot(self.h.T, db)", "np.dot(db, self.h.T)",
     "`np.dot(db, self.h.T)` are in the wrong order"),
    ("Cut", "dx[self.mask] = 0\n        return", "pass\n        return",
     "`dx[self.mask] = 0` is missing"),
    ("Plain", "self.dW = self.x.T @ dout", "self.dW = dout @ self.W.T",
     "stands in two places: `np.dot(self.x.T, dout)` belongs here"),
    ("Gated", "(grad_in) * self.data_out * (1 - self.data_out)",
     "(grad_in) * self.data_out + 1 - self.data_out",
     "should be `self.__kept(grad_in) * self.data_out * (1 - self.data_out)`"),
    ("Channels", "dout.transpose(0, 2, 3, 1)", "dout.transpose(2, 0, 3, 1)",
     "the axes 2 and 0 stand in each other's place"),
    ("Rows", "g = dout[:, t, :]\n            dW += np.dot(self.xs[:, t, :].T, g)",
     "dW += np.dot(self.xs[:, t, :].T, g)\n            g = dout[:, t, :]",
     "`g = dout[:, t, :]` stands too late"),
    ("Rows", "np.dot(self.xs[:, t, :].T", "np.dot(self.xs[:, t - 1, :].T",
     "`self.xs[:, t - 1, :]` is a step off"),
    ("Normed", "2.0 / N * self.xc", "4.0 / N * self.xc", "the number 4.0 stands where 2.0"),
    ("Looks", "(dt * hs)", "(dt * ds)", "`ds` stands where `hs` belongs"),  # which raises
    ("joint", "da = positive_backward(dout, positive_cache)", "da = dout",
     "the backward of `positive` is never called: `positive_backward(dout, positive_cache)`"),
    ("Encodes", "dhs = np.zeros_like(self.hs)\n        dhs[:, -1, :] = dh\n",
     "dhs = np.zeros_like(self.hs)\n", "`dh` is used nowhere: `dhs[:, -1] = dh` is missing"),
    ("positive", "dx = dx * dout", "dx = dx + 0", "`dout` is ignored"),
    ("Steps", "dh, dW = 0, 0\n        dxs = np.empty_like(self.xs)",
     "dxs = np.empty_like(self.xs)", "`dh = dW = 0` is missing before the loop"),
    ("ByLetters", "return b + e -", "return e -", "`b` is not added to"),
    ("ByLetters", "(a * self.centred", "(v * self.centred", "`v` stands where `a` belongs"),
    ("Normed", "dvar = 0.5 * dstd / self.std\n        dxc += 2.0 / N * self.xc * dvar",
     "dvar = 0.5 * dstd / self.std\n        pass",
     "`dxc += self.xc * dvar * 2 / N` is missing"),
    ("Normed", "return dxc - np.sum(dxc, axis=0) / N",
     "dmu = np.sum(dxc, axis=0)\n        return dxc",
     "`dxc -= dmu / N` is missing"),
    ("EntropyWithLoss", "(softmax(self.x)", "(self.x",
     "activation's input `self.x` where its output `softmax(self.x)` belongs"),
    ("Embedding", "np.add.at(dW, self.idx, dout)", "np.add.at(dout, self.idx, dout)",
     "`dout` stands where `dW` belongs"),
]


@pytest.fixture(autouse=True)
def _no_example(monkeypatch):
    monkeypatch.setattr(layer, "smallest_example", lambda *_: ("", []))  # has tests of its own


def test_they_are_right_without_them(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE)
    reports = check_here(tmp_path / "own.py", explain=False)
    assert len(reports) == 33 and not [str(r) for r in reports if not r.ok]


@pytest.mark.parametrize("name, right, wrong, said", MISTAKES)
def test_a_mistake_of_a_student(name, right, wrong, said, tmp_path):
    assert SOURCE.count(right) == 1
    line = SOURCE[: SOURCE.index(right)].count("\n") + 1
    (tmp_path / "own.py").write_text(SOURCE.replace(right, wrong))
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert report.verdict == "wrong", str(report)
    (cause,) = report.causes
    assert said in cause.text and cause.line in (line, line + 1), str(report)


def test_what_is_right_for_more_axes_alone_is_right_there_beside_a_mistake(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE.replace("return np.dot(dout, W.T)\n\n\nclass Emb",
                                                    "return -np.dot(dout, W.T)\n\n\nclass Emb"))
    (report,) = check_here(tmp_path / "own.py", only="Mapped")
    assert [g.name for g in report.gradients if not g.ok] == ["x"], str(report)
    assert "for x (N, D) more is wrong; checked with x (N, T, D)" in report.notes


def test_where_forward_does_nothing_a_layer_is_not_right(tmp_path):
    (tmp_path / "own.py").write_text('''
import numpy as np


def softmax(x):
    if x.ndim == 2:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        x = e / e.sum(axis=1, keepdims=True)
    return x


class Softmax:
    def forward(self, x):
        self.y = softmax(x)
        return self.y

    def backward(self, dout):
        dx = dout
        total = np.sum(dx, axis=1, keepdims=True)
        return dx
''')
    (report,) = check_here(tmp_path / "own.py")
    assert [(g.ok, g.shape) for g in report.gradients] == [(False, (3, 5))], str(report)
    assert [c.kind for c in report.causes] == ["line_missing", "missing_factor"], str(report)


def test_desired_outputs_are_labels_and_a_forgotten_return_is_no_unwritten_function(tmp_path):
    (tmp_path / "own.py").write_text('''
import numpy as np


class SoftmaxWithLoss:
    def forward(self, x, d):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.d = e / e.sum(axis=1, keepdims=True), d
        t = d.argmax(axis=1) if d.size == x.size else d
        return -np.sum(np.log(self.y[np.arange(len(x)), t])) / len(x)

    def backward(self, dout=1):
        if self.d.size == self.y.size:
            return dout * (self.y - self.d) / len(self.y)
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.d] -= 1
        return dout * dx / len(dx)


class Forgotten:
    def forward(self, x):
        out = x * 2
        self.x = None

    def backward(self, dout):
        return dout * 2
''')
    right, forgotten = check_here(tmp_path / "own.py")
    assert right.ok, str(right)
    assert forgotten.cause == "forward returns None, no array"


def test_a_layer_that_is_right_up_to_an_epsilon(tmp_path):
    """Of two rows what is normalised is +-1, and its gradient is that epsilon."""
    source = SOURCE.replace("self.var + 1e-5", "self.var + 1e-7").replace(
        "self.xc / self.std**2", "self.xc / self.var").replace(
        "return dxc - np.sum(dxc, axis=0) / N",
        "dx = dxc - np.sum(dxc, axis=0) / N\n        return dout")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only="Normed")
    assert report.cause == "`dout` stands where `dx` belongs", str(report)


# two mistakes: ..., what is said of each
PAIRS = [
    ("Shares", [("total = np.sum(", "total = np.mean("), ("self.y * total", "total")],
     ["takes the mean where the sum belongs", "the factor `self.y` is missing in `total`"]),
    ("Shares", [("total = np.sum(", "total = np.mean("),
                ("dx = self.y * dout\n        total", "dx = -(self.y * dout)\n        total")],
     ["takes the mean where the sum belongs", "has a minus too many"]),
    ("Rows", [("dW += np.dot(self.xs[:, t, :].T, g)", "dW -= np.dot(self.xs[:, t, :].T, g)"),
              ("        self.grads[0][...] = dW\n        return dout @ self.params[0].T\n\n\n"
               "class Beside",
               "        self.grads[0][...] = 2 * dW\n        return dout @ self.params[0].T\n\n\n"
               "class Beside")],
     ["wrong sign in `dW -=", "scaled by `2`"]),
    ("Beside", [("dout = dout * (1 - self.z**2)", "dout = dx * (1 - self.z**2)"),
                ("return dout * g + dx", "return dout * g")],
     ["`dx` stands where `dout` belongs", "`dx` is not added to"]),
    ("SoftmaxWithLoss", [("dx = self.y.copy()", "dx = 2 * self.y.copy()"),
                         ("dx *= dout / N", "dx *= dx / N")],
     ["scaled by `2`", "`dx` stands where `dout` belongs"]),
    ("Gated", [("self.data_out * (1", "self.data_out / (1"), ("return grad_out", "return grad_in")],
     ["self.data_out / (1 - self.data_out)` multiplies", "where `grad_out` belongs"]),
    ("column", [("db = np.sum(dout, axis=1, keepdims=True)", "dz = dout * dout\n    db = dz")],
     ["the factor `dout` does not belong", "`np.sum(dz, axis=1, keepdims=True)` belongs"]),
    ("Normed", [("0.5 * dstd", "0.5"), ("2.0 / N * self.xc", "(2.0 / N + self.xc)")],
     ["`dstd` is", "`2.0 / N + self.xc`"]),
    ("Normed", [("return dxc - np.sum(dxc, axis=0) / N",
                 "dx = dxc - np.sum(dxc, axis=0)\n        return dout")],
     ["`dout` stands where `dx` belongs", "`np.sum(dxc, axis=0)` sums where the mean belongs"]),
    ("Looks", [("dh = (dt * hs).sum(axis=1)", "dhr = dt\n        dh = dhr")],
     ["the factor `hs` is missing in `dt`", "`np.sum(dhr, axis=1)` belongs here"]),
    ("Update", [("dx = dt @ self.params[1].T", "W, U = self.params\n        dx = dt @ -U.T"),
                ("dx += dt @ self.params[0].T", "pass")],
     ["has a minus too many", "`dx += np.dot(dt, W.T)` is missing"]),
    ("Looks", [("(dt * hs).sum(axis=1)", "np.sum(dt, axis=1)"),
               ("return dt * hr, dh", "return hr, dh")],
     ["the factor `hs` is missing in `dt`", "the factor `dt` is missing in `hr`"]),
    ("Update", [("dz = dnext * u", "dz = dt * u"), ("dt = dz * z * (1 - z)", "dt = dz * z * z")],
     ["`dt` stands where `dnext` belongs", "`1 - z` belongs"]),
    ("column", [("db = np.sum(dout, axis=1, keepdims=True)", "db = dout"),
                ("    return dx, dW, db\n\n\ndef positive_f",
                 "    return dx, db, db\n\n\ndef positive_f")],
     ["`np.sum(dout, axis=1, keepdims=True)` belongs", "`db` stands where `dW` belongs"]),
    ("Steps", [("for t in reversed(range(dhs.shape[1])):",
                "for t in range(dhs.shape[1]):\n            dh = 0")],
     ["the loop runs forwards", "`dh = 0` stands in the loop"]),
    ("Steps", [("dxs[:, t, :] = dh @", "self.xs[:, t, :] = -dh @")],
     ["the caller's array xs is edited in place", "wrong sign: `-dh"]),
    ("SoftmaxWithLoss", [("dx *= dout / N", "dx = dout\n        dx /= dout")],
     ["the factor `dx` is missing in `dout`"]),
    ("SoftmaxWithLoss", [("        dx[np.arange(len(dx)), self.t] -= 1\n", ""),
                         ("dx *= dout / N", "dx = dx * dout")],
     ["the label is not subtracted", "the size `N` is missing"]),
    ("Shares", [("dx = self.y * dout\n        total", "dx = self.y * dout * dout\n        total"),
                ("dx -= self.y * total", "dx += self.y * total")],
     ["the factor `dout` does not belong there", "wrong sign in `dx += self.y * total`"]),
]


@pytest.mark.parametrize("name, changes, said", PAIRS)
def test_two_mistakes_of_a_student(name, changes, said, tmp_path):
    source = SOURCE
    for right, wrong in changes:
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert len(report.causes) == 2 and all(
        any(words in c.text for c in report.causes) for words in said), str(report)


def test_what_is_left_out_is_no_line_of_its_own(tmp_path):
    added = "np.add.at(dW, self.idx, dout)\n"
    (tmp_path / "own.py").write_text(SOURCE.replace(
        added, "for i, k in enumerate(self.idx):\n            dW[k] += dout[i]\n        " + added))
    (report,) = check_here(tmp_path / "own.py", only="Embedding")
    assert report.causes[0].diff == [
        "- for i, k in enumerate(self.idx):", "-     dW[k] += dout[i]"], str(report)


def test_what_stands_in_the_same_line_stays(tmp_path):
    added = "dW += self.xs[:, t, :].T @ dh"
    (tmp_path / "own.py").write_text(SOURCE.replace(added, f"{added}; {added}"))
    (report,) = check_here(tmp_path / "own.py", only="Steps")
    assert report.causes[0].diff == [f"- {added}; {added}", f"+ pass; {added}"], str(report)


def test_what_a_decorator_wraps_is_in_its_own_file(tmp_path):
    (tmp_path / "loud.py").write_text(
        "def loud(method):\n    def wrap(*args):\n        return method(*args)\n    return wrap\n")
    whole = SOURCE.replace("dout * 2 * self.x - dout", "0 * dout")
    begin = whole.index("class Squared")
    (tmp_path / "own.py").write_text(
        "from loud import loud\n" + whole[begin : whole.index("class Weighed")])
    (report,) = check_here(tmp_path / "own.py")
    assert report.verdict == "wrong" and report.file == "own.py", str(report)
    assert {c.file.rpartition("/")[2] for c in report.causes} == {"own.py"}, str(report)


def test_a_loss_that_returns_what_it_is_handed(tmp_path):
    (tmp_path / "handed.py").write_text(SOURCE.replace("return dx\n\n\nclass Steps",
                                                       "return dout\n\n\nclass Steps"))
    names = runpy.run_path(str(tmp_path / "handed.py"))
    rng = np.random.default_rng(0)
    loss = names["ScoreLoss"](rng.normal(size=(5, 7)))
    report = check_layer(loss, rng.normal(size=(3, 5)), np.array([1, 0, 6]))
    assert report.verdict == "wrong" and not report.gradients[-1].ok, str(report)


def test_private_names_are_those_of_the_class_and_of_no_function():
    def inside(x):
        return x.__w

    for fn in (inside, Private().forward.__func__):
        (function,) = with_source([fn])
        assert compiled(function, function.node).co_names == fn.__code__.co_names


class Private:
    def forward(self):
        return self.__w


def test_what_is_the_same_for_one_element_alone_is_not_wrong(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE.replace("np.dot(s, s.T)", "np.dot(s, s)"))
    (report,) = check_here(tmp_path / "own.py", only="Jacobians")
    assert report.verdict == "unchecked", str(report)


@pytest.mark.parametrize("names", ["U V", "A C", "K Q", "P R", "a b"])
def test_a_matrix_is_known_by_its_use_whatever_its_name(names, tmp_path):
    text = (Path(__file__).parent / "checked" / "catalogue.py").read_text()
    text = text[text.index("class TwoProducts"):]
    for old, new in zip("AB", names.split(), strict=True):
        text = re.sub(rf"\b{old}\b", new, text)
    (tmp_path / "own.py").write_text("import numpy as np\n\n\n" + text)
    (report,) = check_here(tmp_path / "own.py")
    assert report.verdict == "ok" and len(report.gradients) == 3, str(report)
