"""Layers that cannot be checked, or only with care. Each test names one of them."""
import functools
import time

import numpy as np


class Raises:
    def forward(self, x):
        return x * 2

    def backward(self, dout):
        raise RuntimeError("not yet")


class ForwardRaises:
    def forward(self, x):
        return x.undefined

    def backward(self, dout):
        return dout


class ReturnsNone:
    def forward(self, x):
        return x * 2

    def backward(self, dout):
        dx = dout * 2


class TooMany:
    def forward(self, x):
        return x * 2

    def backward(self, dout):
        return dout * 2, dout


class WrongShape:
    def forward(self, x):
        return x * 2

    def backward(self, dout):
        return dout.sum(axis=0) * 2


class OwnMask:
    def forward(self, x):
        self.mask = np.random.default_rng().random(x.shape) > np.random.rand(*x.shape)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class NoBackward:
    def forward(self, x):
        return x * 2


class NeverEnds:
    def forward(self, x):
        while True:
            x = x + 1

    def backward(self, dout):
        return dout


class Sleeps:
    def forward(self, x):
        return x * 2

    def backward(self, dout):
        try:
            time.sleep(3600)
        except Exception:
            pass
        return dout * 2


class Prints:
    def forward(self, x):
        print("noise", x.shape)
        return x * 2

    def backward(self, dout):
        print("noise")
        return dout * 2


class AsksForMore:
    def __init__(self, alpha, beta):
        self.factor = alpha * beta

    def forward(self, x):
        return x * self.factor

    def backward(self, dout):
        return dout * self.factor


class HasSizes:
    def __init__(self, D, H):
        self.params = [np.random.randn(D, H).astype('f'), np.zeros(H, 'f')]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(0)
        return dout @ self.params[0].T


class Attributes:
    def __init__(self, W, b):
        self.W, self.b, self.dW, self.db = W, b, None, None

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        self.dW, self.db = np.dot(self.x.T, dout), dout.sum(axis=0)
        return np.dot(dout, self.W.T)


class Views:
    """Gates are views of one weight, made by the constructor."""

    def __init__(self, W):
        H = W.shape[1] // 2
        self.params, self.grads = [W], [np.zeros_like(W)]
        self.left, self.right = W[:, :H], W[:, H:]
        self.dleft, self.dright = self.grads[0][:, :H], self.grads[0][:, H:]

    def forward(self, x):
        self.x = x
        return x.dot(self.left), x.dot(self.right)

    def backward(self, dleft, dright):
        self.dleft[...] = self.x.T.dot(dleft)
        self.dright[...] = self.x.T.dot(dright)
        return dleft.dot(self.left.T) + dright.dot(self.right.T)


class Branches:
    """One branch of backward is run in training, one where something raises, and one never."""

    def __init__(self):
        self.training, self.scale = False, None

    def forward(self, x):
        return x * 2

    def backward(self, dout):
        if dout.ndim > 9:
            raise ValueError("so many axes")
        if self.training:
            dx = 2 * dout
        elif self.scale is not None:
            dx = dout * self.scale  # not what forward does
            dx = dx / 2
        else:
            dx = dout + dout
        return dx


class LossOfEither:
    """Labels as ids or as one-hot rows, for which backward has a line of its own each."""

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p, self.t = e / e.sum(axis=1, keepdims=True), t
        ids = t.argmax(axis=1) if t.size == x.size else t
        return -np.sum(np.log(self.p[np.arange(len(x)), ids]))

    def backward(self, dout=1):
        if self.t.size == self.p.size:
            dx = self.t - self.p
        else:
            dx = self.p.copy()
            dx[np.arange(len(dx)), self.t] -= 1
        return dx * dout


class RightLossOfEither(LossOfEither):
    def backward(self, dout=1):
        if self.t.size == self.p.size:
            dx = self.p - self.t
        else:
            dx = self.p.copy()
            dx[np.arange(len(dx)), self.t] -= 1
        return dx * dout


class Twice:
    def __call__(self, dout):
        return dout * 2


class CallableBackward:
    backward = Twice()

    def forward(self, x):
        return x * 2


class PartialBackward:
    def forward(self, x):
        return x * 2

    def scaled(self, dout, by):
        return dout * by

    backward = functools.partialmethod(scaled, by=2)


def factory():
    return HasSizes(3, 4), np.ones((2, 3))


class CannotBeDefined(NotThere):  # noqa: F821
    def forward(self, x):
        return x


class Last:
    def forward(self, x):
        return -x

    def backward(self, dout):
        return -dout
