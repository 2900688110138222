"""Layers with a path that backward does not follow, and others whose forward is what is wrong; and
right ones that are easily taken for wrong."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Coupled:
    """One gate: what it does not let in is kept. Backward forgets what it keeps."""

    def __init__(self, Wi, Wz):
        self.params, self.grads = [Wi, Wz], [np.zeros_like(Wi), np.zeros_like(Wz)]

    def forward(self, x, h_prev):
        Wi, Wz = self.params
        i = sigmoid(np.dot(x, Wi))
        keep = 1 - i
        z = np.tanh(np.dot(x, Wz))
        self.cache = x, h_prev, i, keep, z
        return i * z + keep * h_prev

    def backward(self, dh):
        Wi, Wz = self.params
        x, h_prev, i, keep, z = self.cache
        da = dh * z * i * (1 - i)
        dz = dh * i * (1 - z**2)
        self.grads[0][...] = np.dot(x.T, da)
        self.grads[1][...] = np.dot(x.T, dz)
        return np.dot(da, Wi.T) + np.dot(dz, Wz.T), dh * keep


class Spread:
    """Rows over their spread; backward takes the spread for a constant."""

    def forward(self, x):
        self.spread = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        return x / self.spread

    def backward(self, dout):
        return dout / self.spread


class SoftmaxWithLoss:
    """Without the minus in front."""

    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        chosen = np.log(self.y[np.arange(len(t)), t])
        return np.sum(chosen) / len(t)

    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dout * dx / len(self.t)


class Sampled:
    """A part that is wrong: three looks at a matrix, of which the gradient has the first."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, h, ids):
        self.h, self.ids = h, ids
        return np.sum(h * self.params[0][ids] ** 2)

    def backward(self, dout=1):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.ids, dout * self.h * self.params[0][self.ids])
        return dout * self.params[0][self.ids] ** 2


class Guess:
    """Right, but for its part, which it calls without an argument."""

    def __init__(self, V, H):
        self.W = 0.5 * np.random.randn(V, H)
        self.loss = Sampled(0.5 * np.random.randn(V, H))
        self.params = [self.W, *self.loss.params]
        self.grads = [np.zeros_like(self.W), *self.loss.grads]

    def forward(self, words, ids):
        self.words = words
        return self.loss.forward(self.W[words], ids)

    def backward(self):
        dh = self.loss.backward()
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.words, dh)


# --- right ---------------------------------------------------------------------------------------


class Late:
    """Its list of gradients is there once backward has run."""

    def __init__(self, input_size, output_size):
        self.params = [np.random.randn(input_size, output_size), np.zeros(output_size)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        self.grads = [self.x.T @ dout, dout.sum(axis=0)]
        return dout @ self.params[0].T


class Looked:
    """Its gradient is no list: there is one weight."""

    def __init__(self, vocab_size, embed_dim):
        self.params = [np.random.randn(vocab_size, embed_dim)]

    def forward(self, ids):
        self.ids = ids
        return self.params[0][ids]

    def backward(self, dout):
        self.grads = np.zeros_like(self.params[0])
        np.add.at(self.grads, self.ids, dout)


class Scaled:
    """``dim`` is a size here, and no axis."""

    def __init__(self, dim):
        self.gamma = np.ones(dim)

    def forward(self, x):
        self.x = x
        return self.gamma * x

    def backward(self, dout):
        self.dgamma = (dout * self.x).sum(axis=0)
        return self.gamma * dout


class Widened:
    """W stands in every second place of ``wide``, which has a gradient on the way to that of W."""

    def __init__(self, input_size, output_size):
        self.W, self.dW = np.random.randn(input_size, output_size), None
        self.wide = np.zeros((input_size, 2 * output_size))

    def forward(self, x):
        self.x = x
        self.wide[:, ::2] = self.W
        return x @ self.wide

    def backward(self, dout):
        self.dwide = self.x.T @ dout
        self.dW = self.dwide[:, ::2]
        return dout @ self.wide.T


class Passing:
    """Has an array y, and hands on what backward is given under the name of its gradient."""

    def __init__(self, shape_in):
        self.y = np.zeros(shape_in)

    def forward(self, x):
        return x

    def backward(self, grad_y):
        return grad_y


class Whole:
    """A softmax of one sample, whose shape the constructor is told."""

    def __init__(self, shape_in):
        self.shape = shape_in
        self.unused = np.zeros(None)  # a number, in NumPy 1

    def forward(self, x):
        e = np.exp(x - x.max())
        self.y = e / e.sum()
        return self.y

    def backward(self, grad_y):
        return self.y * (grad_y - np.sum(grad_y * self.y, axis=0))


class Target:
    """A softmax and its loss: backward wants the labels, and may be called without."""

    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y

    def backward(self, dout, y_true=None):
        return self.y - y_true


class Toll:
    """Hands on what it is given, and adds the gradient of what it keeps."""

    def forward(self, x):
        self.x = x
        self.loss = 0.5 * np.sum(x**2)
        return x

    def backward(self, dout):
        return dout + self.x


class Summed:
    """Adds to the loss that it keeps."""

    def __init__(self, shape_in):
        self.loss = np.zeros(shape_in)

    def forward(self, x, t):
        self.x, self.t = x, t
        self.loss += 0.5 * (x - t) ** 2
        return self.x

    def backward(self):
        return self.x - self.t


class Handed:
    """A step whose backward is handed what forward took and gave."""

    def __init__(self, D, H):
        self.Wx, self.Wh = np.random.randn(D, H), np.random.randn(H, H)

    def forward(self, x, h):
        return np.tanh(x @ self.Wx + h @ self.Wh)

    def backward(self, delta, h, h_prev_l, h_prev_t):
        da = delta * (1 - h**2)
        self.dWx, self.dWh = h_prev_l.T @ da, h_prev_t.T @ da
        dx = da @ self.Wx.T
        dh = da @ self.Wh.T
        return dx, dh


class Pooled:
    """The constructor takes a shape apart, and wants a word."""

    def __init__(self, input_dim, padding):
        n, self.height, self.width = input_dim
        if padding not in ("same", "valid"):
            raise ValueError("same or valid")

    def forward(self, x):
        return x.reshape(len(x), self.height * self.width)

    def backward(self, dout):
        return dout.reshape(-1, self.height, self.width)


class Sequence:
    """Returns the gradient of a state that forward may be handed, and none of x."""

    def __init__(self, D, H):
        self.Wx, self.Wh = np.random.randn(D, H), np.random.randn(H, H)

    def forward(self, x, h_0=None):
        self.x, self.hs = x, [np.zeros((len(x), len(self.Wh))) if h_0 is None else h_0]
        for t in range(x.shape[1]):
            self.hs.append(np.tanh(x[:, t] @ self.Wx + self.hs[-1] @ self.Wh))
        return self.hs[-1]

    def backward(self, delta):
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        for t in reversed(range(self.x.shape[1])):
            da = delta * (1 - self.hs[t + 1] ** 2)
            self.dWx += self.x[:, t].T @ da
            self.dWh += self.hs[t].T @ da
            delta = da @ self.Wh.T
        dh_0 = delta
        return dh_0
