"""Right layers for the examples of the catalogue of mistakes, which are not among those of the
book: each mistake is put into one of them."""

import numpy as np


class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.dot(dout, W.T)


class Tanh:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * (1 - self.y ** 2)


class Rectified:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.out = np.maximum(0, x)
        return self.out

    def backward(self, dout):
        return dout * (self.out > 0)


class SoftmaxInSteps:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.y = e / e.sum(axis=-1, keepdims=True)
        return self.y

    def backward(self, dout):
        dx = self.y * dout
        total = np.sum(dx, axis=-1, keepdims=True)
        dx -= self.y * total
        return dx


class SoftmaxByJacobian:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y

    def backward(self, dout):
        dx = np.zeros_like(dout)
        for i, s in enumerate(self.y):
            jacobian = np.diag(s) - np.outer(s, s)
            dx[i] = jacobian @ dout[i]
        return dx


class Broadcast:
    """A dot product of rows; W (N, D) as the rows of an embedding are."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x, idx):
        self.x, self.idx = x, idx
        self.rows = self.params[0][idx]
        return np.sum(self.rows * x, axis=1)

    def backward(self, dout):
        dout = dout.reshape(-1, 1)
        dW = dout * self.x
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.idx, dW)
        return dout * self.rows


class Fading:
    def __init__(self):
        self.params, self.grads = [], []
        self.h = self.dh = None

    def forward(self, xs):
        h, hs = 0 if self.h is None else self.h, []
        for t in range(xs.shape[1]):
            h = xs[:, t] + 0.5 * h
            hs.append(h)
        return np.stack(hs, axis=1)

    def backward(self, dhs):
        dh, dxs = 0, np.zeros_like(dhs)
        for t in reversed(range(dhs.shape[1])):
            dxs[:, t] = dhs[:, t] + dh
            dh = 0.5 * dxs[:, t]
        self.dh = dh
        return dxs


class Begun:
    def __init__(self):
        self.params, self.grads = [], []
        self.fading = Fading()

    def forward(self, xs, h):
        self.fading.h = h
        return self.fading.forward(xs + h[:, None])

    def backward(self, dhs):
        dxs = self.fading.backward(dhs)
        return dxs, np.sum(dxs, axis=1) + self.fading.dh


class AffineByHand:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        dW = np.dot(self.x.T, dout)
        db = np.sum(dout, axis=0)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        dx = np.dot(dout, W.T)
        return dx


class BiasOnly:
    def __init__(self, b):
        self.params, self.grads = [b], [np.zeros_like(b)]

    def forward(self, x):
        return x + self.params[0]

    def backward(self, dout):
        db = np.sum(dout, axis=0)
        self.grads[0] += db - self.grads[0]
        return dout


class Chain:
    """Affine, tanh, affine, with D = H so that their backwards fit in any order."""

    def __init__(self, Wh, b):
        self.first, self.second = Affine(Wh, b), Tanh()
        self.params, self.grads = self.first.params, self.first.grads

    def forward(self, h):
        h = self.first.forward(h)
        return self.second.forward(h)

    def backward(self, dout):
        dout = self.second.backward(dout)
        dout = self.first.backward(dout)
        return dout


class Nested:
    """The same, one call in the other."""

    def __init__(self, Wh, b):
        self.first, self.second = Affine(Wh, b), Tanh()
        self.params, self.grads = self.first.params, self.first.grads

    def forward(self, h):
        return self.second.forward(self.first.forward(h))

    def backward(self, dout):
        return self.first.backward(self.second.backward(dout))


class Tower:
    """The same, as a list of layers."""

    def __init__(self, Wh, b):
        self.layers = [Affine(Wh, b), Tanh()]
        self.params, self.grads = self.layers[0].params, self.layers[0].grads

    def forward(self, h):
        for layer in self.layers:
            h = layer.forward(h)
        return h

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class MeanLoss:
    def forward(self, x, z):
        self.d = x - z
        return np.mean(self.d ** 2)

    def backward(self, dout):
        dx = 2 * self.d * dout / self.d.size
        return dx, -dx


class Centred:
    """x minus the mean of the batch."""

    def forward(self, x):
        return x - np.mean(x, axis=0)

    def backward(self, dout):
        return dout - np.mean(dout, axis=0)


class Spread:
    """x minus the mean of the batch, as a product."""

    def forward(self, x):
        return x - np.ones(len(x)) @ x / len(x)

    def backward(self, dout):
        N, D = dout.shape
        return dout - np.ones(N) @ dout / N


class Recentred:
    """x minus the mean of its units, by a matrix."""

    def forward(self, x):
        n = x.shape[1]
        self.C = np.tri(n)
        return x @ self.C.T

    def backward(self, dout):
        dx = 1.0 * dout
        return dx @ self.C


class Repeated:
    """Tanh of the input, three times over."""

    def forward(self, x):
        self.parts = [np.tanh(k * x) for k in (1, 2, 3)]
        return sum(self.parts)

    def backward(self, dout):
        dx = 0
        for k, part in zip((1, 2, 3), self.parts):
            dx += k * dout * (1 - part ** 2)
        return dx


class Halves:
    """The first half of the columns doubled, the second tripled."""

    def forward(self, h):
        self.H = h.shape[1] // 2
        return np.concatenate([2 * h[:, :self.H], 3 * h[:, self.H:]], 1)

    def backward(self, dout):
        H = self.H
        d0 = dout[:, :H]
        dout = dout[:, H:]
        return np.concatenate([2 * d0, 3 * dout], 1)


class TimeCopy:
    def forward(self, xs):
        self.xs = xs
        return xs ** 2

    def backward(self, dhs):
        N, T, D = dhs.shape
        dxs = np.zeros_like(dhs)
        for t in reversed(range(T)):
            dxs[:, t] = dhs[:, t] * 2 * self.xs[:, t]
        return dxs


class StepSum:
    """Affine at every time step."""

    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, xs):
        self.steps = [Affine(*self.params) for _ in range(xs.shape[1])]
        return np.stack([s.forward(xs[:, t]) for t, s in enumerate(self.steps)], 1)

    def backward(self, dhs):
        for g in self.grads:
            g[...] = 0
        dxs = []
        for t, cell in enumerate(self.steps):
            dxs.append(cell.backward(dhs[:, t]))
            for g, step in zip(self.grads, cell.grads):
                g += step
        return np.stack(dxs, 1)


class TwoGates:
    """Two gates, both activated."""

    def forward(self, h, c):
        self.c, self.f, self.g = c, 1 / (1 + np.exp(-h)), np.tanh(c)
        return self.f * self.g

    def backward(self, dout):
        df = dout * self.g
        dg = dout * self.f
        dh = df * self.f * (1 - self.f)
        dc = dg * (1 - self.g ** 2)
        return dh, dc


class Shared:
    """The share of each in its row."""

    def forward(self, x):
        self.x, self.s = x, np.sum(x**2, axis=1, keepdims=True)
        return x**2 / self.s

    def backward(self, dout):
        dx = 2 * self.x * dout / self.s
        total = 2 * np.sum(dout * self.x**2, axis=1, keepdims=True) / self.s**2
        dx -= self.x * total
        return dx


class Normed:
    """Each row over the root of its mean square."""

    def __init__(self):
        self.eps = 1e-5

    def forward(self, x):
        self.x, self.var = x, np.mean(x**2, axis=1, keepdims=True)
        return x / np.sqrt(self.var + self.eps)

    def backward(self, dout):
        root = np.sqrt(self.var + self.eps)
        return dout / root - self.x * np.mean(dout * self.x, axis=1, keepdims=True) / root**3


class Standard:
    """Each column in units of its own: its mean 0, its variance 1."""

    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.x, self.mu, self.var = x, x.mean(axis=0), x.var(axis=0) + 1e-5
        return (x - self.mu) / np.sqrt(self.var)

    def backward(self, dout):
        x, mu, var = self.x, self.mu, self.var
        slope = np.mean(dout * (x - mu), axis=0) / var
        return (dout - np.mean(dout, axis=0) - (x - mu) * slope) / np.sqrt(var)


class Weighed:
    """Rows without their mean, and each column times a factor of its own."""

    def __init__(self, gamma):
        self.params, self.grads = [gamma], [np.zeros_like(gamma)]

    def forward(self, x):
        (g,) = self.params
        self.x = x - np.mean(x, axis=1, keepdims=True)
        return g * self.x

    def backward(self, dout):
        (g,) = self.params
        self.grads[0][...] = np.sum(dout * self.x, axis=0)
        return dout * g - np.mean(dout * g, axis=1, keepdims=True)


class Heads:
    """A block of columns for each head, scaled by its number."""

    def forward(self, x):
        self.h = x.shape[1] // 2
        return np.hstack([(i + 1) * x[:, i * self.h:(i + 1) * self.h] for i in range(2)])

    def backward(self, dout):
        return np.hstack([(i + 1) * dout[:, i * self.h:(i + 1) * self.h] for i in range(2)])


class Scores:
    """Of each query with each key."""

    def forward(self, q, k):
        self.handed = q, k
        return q @ k.swapaxes(-2, -1)

    def backward(self, dout):
        q, k = self.handed
        return dout @ k, (dout.swapaxes(-2, -1) @ q).reshape(k.shape)


class InlineGates:
    """A gate and what passes it, each with the derivative of its activation where it is used."""

    def __init__(self, Wf, Wg):
        self.Wf, self.Wg = Wf, Wg

    def forward(self, x):
        self.x, self.f, self.g = x, 1 / (1 + np.exp(-x @ self.Wf)), np.tanh(x @ self.Wg)
        return self.f * self.g

    def backward(self, dout):
        f, g = self.f, self.g
        df, dg = dout * g, dout * f
        self.dWf = self.x.T @ (df * f * (1 - f))
        self.dWg = self.x.T @ (dg * (1 - g**2))
        dx = (df * f * (1 - f)) @ self.Wf.T + (dg * (1 - g**2)) @ self.Wg.T
        return dx


class Squared:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.x = x
        return np.sin(x) + x ** 2

    def backward(self, dout):
        return dout * np.cos(self.x) + 2 * (dout * self.x)


class StepsInDicts:
    """A plain RNN whose step back gives its gradients in a dict."""

    def __init__(self, Wx, Wh):
        self.params, self.grads = [Wx, Wh], [np.zeros_like(Wx), np.zeros_like(Wh)]

    def forward(self, xs):
        Wx, Wh = self.params
        self.xs, self.hs = xs, np.zeros((xs.shape[0], xs.shape[1] + 1, len(Wh)))
        for t in range(xs.shape[1]):
            self.hs[:, t + 1] = np.tanh(xs[:, t] @ Wx + self.hs[:, t] @ Wh)
        return self.hs[:, 1:]

    def step_back(self, dh, t):
        Wx, Wh = self.params
        da = dh * (1 - self.hs[:, t + 1] ** 2)
        return {"dx": da @ Wx.T, "dh": da @ Wh.T, "dWx": self.xs[:, t].T @ da,
                "dWh": self.hs[:, t].T @ da}

    def backward(self, dhs):
        dWx, dWh, dxs = 0, 0, np.zeros_like(self.xs)
        dh = np.zeros_like(dhs[:, 0])
        for t in reversed(range(dhs.shape[1])):
            g = self.step_back(dhs[:, t] + dh, t)
            dh = g["dh"]
            dxs[:, t] = g["dx"]
            dWx += g["dWx"]
            dWh += g["dWh"]
        self.grads[0][...], self.grads[1][...] = dWx, dWh
        return dxs


class ProbsEdited:
    """The probabilities, edited into the gradient of the mean of their cross entropies."""

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p, self.t = e / e.sum(axis=1, keepdims=True), t
        return -np.mean(np.log(self.p[np.arange(len(t)), t]))

    def backward(self, dout=1.0):
        d, t = dout * self.p, self.t
        rows = np.arange(len(t))
        d[rows, t] -= dout
        d /= len(t)
        return d


class IdsLoss:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        return -np.sum(np.log(self.y[np.arange(len(t)), t])) / len(t)

    def backward(self, dout=1):
        dx = (self.y - np.eye(self.y.shape[1])[self.t]) * dout
        return dx / len(dx)


class TwoProducts:
    def __init__(self, A, B):
        self.params, self.grads = [A, B], [np.zeros_like(A), np.zeros_like(B)]

    def forward(self, x):
        A, B = self.params
        self.x, self.a, self.b = x, x @ A, x @ B
        return self.a * self.b

    def backward(self, dout):
        A, B = self.params
        da = dout * self.b
        dx = da @ A.T
        self.grads[0][...] = self.x.T @ da
        db = dout * self.a
        dx += db @ B.T
        self.grads[1][...] = self.x.T @ db
        return dx
