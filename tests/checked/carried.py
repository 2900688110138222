"""A part whose state is given from outside, and wrong; names that are not there, two in a line."""

import numpy as np


class Carried:
    """The gradient of the weight is that of the last step alone."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]
        self.h, self.dh = None, None

    def set_state(self, h):
        self.h = h

    def forward(self, xs):
        (W,) = self.params
        self.hs = [self.h if self.h is not None else np.zeros(xs[:, 0].shape)]
        for t in range(xs.shape[1]):
            self.hs.append(np.tanh(xs[:, t] + self.hs[-1] @ W))
        self.h = self.hs[-1]
        return np.stack(self.hs[1:], axis=1)

    def backward(self, dhs):
        (W,) = self.params
        dxs, dh = np.zeros(dhs.shape), 0
        for t in reversed(range(dhs.shape[1])):
            dxs[:, t] = (dhs[:, t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.grads[0][...] = self.hs[t].T @ dxs[:, t]
            dh = dxs[:, t] @ W.T
        self.dh = dh
        return dxs


class Follower:
    """Right, once its part is: it reads the gradient of the state there."""

    def __init__(self, W):
        self.rnn = Carried(W)
        self.params, self.grads = self.rnn.params, self.rnn.grads

    def forward(self, xs, h):
        self.rnn.set_state(h)
        return self.rnn.forward(xs)

    def backward(self, dhs):
        dxs = self.rnn.backward(dhs)
        return dxs, 1.0 * self.rnn.dh


class Dot:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class Tanh:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.out = np.tanh(x)
        return self.out

    def backward(self, dout):
        return dout * (1 - self.out**2)


class Misnamed:
    """Two names that are not there: to leave out the loop that reads them would end the error."""

    def __init__(self, W):
        self.dots = [Dot(W), Dot(2 * W)]
        self.tanhs = [Tanh(), Tanh()]
        self.params = self.dots[0].params + self.dots[1].params
        self.grads = self.dots[0].grads + self.dots[1].grads

    def forward(self, x):
        return sum(b.forward(a.forward(x)) for a, b in zip(self.dots, self.tanhs))

    def backward(self, dout):
        dx = 0
        for a, b in zip(self.dot, self.tanh):
            dx += a.backward(b.backward(dout))
        return dx
