"""Layers over time of one right cell: what is wrong is theirs, and the cell is not to blame."""
import numpy as np


class Cell:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev, s_prev):
        Wx, Wh, b = self.params
        h = np.tanh(np.dot(x, Wx) + np.dot(h_prev, Wh) + b)
        s = s_prev + h
        self.cache = x, h_prev, h
        return h, s

    def backward(self, dh, ds):
        Wx, Wh, b = self.params
        x, h_prev, h = self.cache
        dt = (dh + ds) * (1 - h ** 2)
        self.grads[0][...] = np.dot(x.T, dt)
        self.grads[1][...] = np.dot(h_prev.T, dt)
        self.grads[2][...] = np.sum(dt, axis=0)
        return np.dot(dt, Wx.T), np.dot(dt, Wh.T), ds


class Steps:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, xs):
        Wx, Wh, b = self.params
        N, T, D = xs.shape
        h = s = np.zeros((N, Wh.shape[0]))
        self.cells = [Cell(*self.params) for _ in range(T)]
        ss = []
        for t, cell in enumerate(self.cells):
            h, s = cell.forward(xs[:, t], h, s)
            ss.append(h + s)
        return np.stack(ss, axis=1)

    def backward(self, dss):
        Wx, Wh, b = self.params
        N, T, H = dss.shape
        D = Wx.shape[0]
        dxs = np.empty((N, T, D))
        dh = ds = 0
        for g in self.grads:
            g[...] = 0
        for t in reversed(range(T)):
            dx, dh, ds = self.cells[t].backward(dss[:, t] + dh, dss[:, t] + ds)
            dxs[:, t] = dx
            for g, step in zip(self.grads, self.cells[t].grads):
                g += step
        return dxs


class OddSteps(Steps):
    """The states have the size of the input: the product with Wh raises."""

    def forward(self, xs):
        Wx, Wh, b = self.params
        h = np.zeros((len(xs), Wx.shape[0]))
        gates = Gates(*self.params)
        self.h = gates.forward(xs[:, 0], h)
        return self.h


class Gates(Cell):
    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        H = h_prev.shape[1]
        A = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f, g = A[:, :H], A[:, H:2 * H]
        return f * h_prev + g * np.tanh(A[:, 2 * H:])


class Stored:
    """Its gradients are attributes, too."""

    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        self.x = x
        return np.dot(x, self.params[0]) + self.params[1]

    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        self.grads[0][...] = self.dW
        self.grads[1][...] = self.db
        return np.dot(dout, self.params[0].T)


class Multiplied:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return np.dot(x, self.params[0])

    def backward(self, dout):
        dx = np.dot(dout, self.params[0].T)
        self.grads[0][...] = np.dot(self.x.T, dout)
        return dx


class Mixed:
    """Two halves of the columns, one of which is handed on, and both are added up."""

    def forward(self, x, h):
        self.H = H = h.shape[1]
        return np.concatenate([h, x + h.sum(1, keepdims=True), 2 * h], axis=1)

    def backward(self, dout):
        H = self.H
        D = dout.shape[1] - 2 * H
        d0, dx, d1 = dout[:, :H], dout[:, H:H + D], dout[:, H + D:]
        dsum = np.repeat(np.sum(dx, axis=1, keepdims=True), H, axis=1)
        dh = d0 + 2 * d1
        out = dh + dsum
        return dx, out


class Scale:
    def __init__(self, gamma, beta):
        self.params, self.grads = [gamma, beta], [np.zeros_like(gamma), np.zeros_like(beta)]

    def forward(self, x):
        self.x = x
        return self.params[0] * np.tanh(x) + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = np.sum(dout * np.tanh(self.x), axis=0)
        self.grads[1][...] = np.sum(dout, axis=0)
        return dout * self.params[0] * (1 - np.tanh(self.x) ** 2)


class Scales:
    """One part a step, each in a list, whose gradients are added up in another."""

    def __init__(self, gamma, beta):
        self.params, self.grads = [gamma, beta], [np.zeros_like(gamma), np.zeros_like(beta)]

    def forward(self, xs):
        self.parts = [Scale(*self.params) for _ in range(xs.shape[1])]
        return np.stack([p.forward(xs[:, t]) for t, p in enumerate(self.parts)], axis=1)

    def backward(self, dout):
        sums, dxs = [0, 0], dout.copy()
        for t in range(dout.shape[1]):
            dxs[:, t] = self.parts[t].backward(dout[:, t])
            for i, step in enumerate(self.parts[t].grads):
                sums[i] += step
        for g, total in zip(self.grads, sums):
            g[...] = total
        return dxs


class Ids:
    """Ids at each step: no gradient comes back from the parts."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, ids):
        self.parts = [Rows(*self.params) for _ in range(ids.shape[1])]
        return np.stack([p.forward(ids[:, t]) for t, p in enumerate(self.parts)], axis=1)

    def backward(self, dout):
        total = 0
        for t in range(dout.shape[1]):
            self.parts[t].backward(dout[:, t])
            total += self.parts[t].grads[0]
        self.grads[0][...] = total


class Rows:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, ids):
        self.ids = ids
        return self.params[0][ids]

    def backward(self, dout):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.ids, dout)


class Masked:
    """Rows that are left out, and put in one while they are."""

    def forward(self, xs):
        N, T, D = xs.shape
        self.mask = (xs[:, :, 0] > 0).reshape(N * T)
        return (xs.reshape(N * T, D) * self.mask[:, None]).reshape(N, T, D)

    def backward(self, dout):
        mask, shape = self.mask, dout.shape
        dx = dout.reshape(len(mask), -1).copy()
        dx[~mask] = 0
        dx = dx.reshape(shape)
        return dx


class Beside:
    """Backward takes no gradient of what forward gives beside h."""

    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x, self.h = x, np.tanh(np.dot(x, W) + b)
        return self.h, self.h.sum(axis=1)

    def backward(self, dh):
        dt = dh * (1 - self.h ** 2)
        self.grads[0][...] = np.dot(self.x.T, dt)
        self.grads[1][...] = np.sum(dt, axis=0)
        return np.dot(dt, self.params[0].T)


class Compared:
    """Forward takes (N, D) for q as well, where it means (N, T, D)."""

    def __init__(self, gamma):
        self.params, self.grads = [gamma], [np.zeros_like(gamma)]

    def forward(self, q, k):
        self.q, self.k = q, k
        return (q * self.params[0]) @ np.swapaxes(k, -1, -2)

    def backward(self, dout):
        gamma = self.params[0]
        scaled = np.stack([d @ k for d, k in zip(dout, self.k)])
        dk = np.swapaxes(dout, -1, -2) @ (self.q * gamma)
        self.grads[0][...] = np.sum((self.q * scaled).reshape(-1, len(gamma)), axis=0)
        dq = scaled * gamma
        return dq, dk


class MeanOverTime:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, xs, ts):
        self.rest = xs - ts
        return np.sum(self.rest ** 2) / xs.shape[1]

    def backward(self, dout=1):
        T = self.rest.shape[1]
        dout *= 2 / T
        return dout * self.rest


class Normalized:
    """Right for (N, T, D); with (N, D) more of it is wrong than one mistake."""

    def __init__(self, gamma, beta):
        self.params, self.grads = [gamma, beta], [np.zeros_like(gamma), np.zeros_like(beta)]

    def forward(self, x):
        gamma, beta = self.params
        xc = x - x.mean(axis=-1, keepdims=True)
        self.std = np.sqrt((xc ** 2).mean(axis=-1, keepdims=True) + 1e-5)
        self.xn = xc / self.std
        return gamma * self.xn + beta

    def backward(self, dout):
        self.grads[0][...] = (dout * self.xn).sum(axis=(0, 1))
        self.grads[1][...] = dout.sum(axis=(0, 1))
        d = dout * self.params[0]
        dxn = d - d.mean(axis=-1, keepdims=True)
        return (dxn - self.xn * (d * self.xn).mean(axis=-1, keepdims=True)) / self.std


class Highest:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.shape, self.at = x.shape, x.argmax(axis=1)
        return x.max(axis=1)

    def backward(self, dout):
        dx = np.zeros(self.shape)
        dx[np.arange(len(dout)), self.at] += dout
        return dx


class Standardized:
    def __init__(self, gamma):
        self.params, self.grads = [gamma], [np.zeros_like(gamma)]

    def forward(self, x):
        self.xc = x - x.mean(axis=0)
        self.std = np.sqrt(np.mean(self.xc ** 2, axis=0) + 1e-5)
        self.xn = self.xc / self.std
        return self.params[0] * self.xn

    def backward(self, dout):
        N = len(dout)
        self.grads[0][...] = np.sum(dout * self.xn, axis=0)
        dxn = dout * self.params[0]
        dxc = dxn / self.std
        dstd = -np.sum(dxn * self.xc / self.std ** 2, axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += 2 * self.xc * dvar / N
        dmu = -np.sum(dxc, axis=0)
        dx = dxc + dmu / N
        return dx
