"""What was met in libraries of one's own: gradients under short names in any order, seeds that are
None, blocks of layers that keep their gradients each in its own way, deep in one another."""

from collections import OrderedDict

import numpy as np
from chain import Chain


class Dense:
    """Gradients of weights come first, under shorter names than the weights have."""

    def __init__(self, input_dim, output_dim):
        self.weight = np.random.randn(input_dim, output_dim)
        self.bias = np.zeros((1, output_dim))

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, dz):
        dW = self.x.T @ dz
        db = np.sum(dz, 0, keepdims=True)
        dX = dz @ self.weight.T
        return dW, db, dX


class Seeded:
    """A seed for those who want one; in training there is none."""

    def __init__(self, rate, seed=None):
        self.rate, self.seed = rate, seed

    def forward(self, x):
        np.random.seed(self.seed)
        self.mask = (np.random.random_sample(x.shape) >= self.rate).astype("int")
        out = x.copy()
        out[self.mask == 0] = 0
        out[self.mask == 1] *= 1 / (1 - self.rate)
        return out

    def backward(self, dout, x):
        grad = dout.copy() / (1 - self.rate)
        grad[self.mask != 1] = 0
        return grad


class Adding:
    """Adds to its gradients, which its optimizer clears."""

    def __init__(self, D, H):
        self.W = np.random.randn(D, H)
        self.dW = np.zeros((D, H))

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW += self.x.T @ dout
        return dout @ self.W.T


class Setting:
    """Sets its gradients anew."""

    def __init__(self, D):
        self.g = np.ones(D)
        self.dg = np.zeros(D)

    def forward(self, x):
        self.x = x
        return x * self.g

    def backward(self, dout):
        self.dg = np.sum(dout * self.x, axis=0)
        return dout * self.g


class Mixed(Chain):
    def __init__(self, D, H):
        self.layers = [Adding(D, H), Setting(H)]


class Holder:
    def __init__(self, D, H):
        self.blocks = [Mixed(D, H)]

    def forward(self, x):
        return self.blocks[0].forward(x)

    def backward(self, dout):
        return self.blocks[0].backward(dout)


class Deep:
    """Its weights stand six names deep: holder, blocks, 0, layers, 0, W."""

    def __init__(self, D, H):
        self.holder = Holder(D, H)

    def forward(self, x):
        return self.holder.forward(x)

    def backward(self, dout):
        return self.holder.backward(dout)


class Lifted:
    """One number that is wrong, for another reason than its size."""

    def __init__(self):
        self.c = np.array([0.7])
        self.dc = np.zeros(1)

    def forward(self, x):
        self.x = x
        return x * np.exp(self.c) * self.c

    def backward(self, dout):
        self.dc = np.array([np.sum(dout * np.cos(self.x))])
        return dout * np.exp(self.c) * self.c


class Pair2:
    """A network of fixed sizes: no one says them."""

    def __init__(self):
        self.first, self.last = Adding(2, 9), Adding(9, 3)

    def forward(self, x):
        return self.last.forward(np.tanh(self.first.forward(x)))

    def backward(self, dout):
        hidden = np.tanh(self.first.forward(self.first.x))
        return self.first.backward(self.last.backward(dout) * (1 - hidden**2))


class Squares:
    """Its gradient is an expression, for which it has no name."""

    def loss(self, predictions, targets):
        return 0.5 * np.sum((predictions - targets) ** 2) / targets.shape[0]

    def grad(self, predictions, targets):
        return (predictions - targets) / targets.shape[0]


class Weighed:
    """A loss with weights for the classes, which it does not learn."""

    def __init__(self, weights=None):
        self._weights = np.ones(1) if weights is None else weights

    def loss(self, predictions, targets):
        return np.sum(self._weights * (predictions - targets) ** 2)

    def grad(self, predictions, targets):
        return self._weights * 2 * (predictions - targets)


class Param:
    def __init__(self, data):
        self.data, self.grad = data, None


class Keyed2:
    """Parameters are objects in a dict; their gradients stand in them once backward has run."""

    def __init__(self, num_in, num_out):
        self.params = {"w": Param(np.random.randn(num_in, num_out)), "b": Param(np.zeros(num_out))}

    def forward(self, inputs):
        self.inputs = inputs
        return np.dot(inputs, self.params["w"].data) + self.params["b"].data

    def backward(self, grad):
        self.params["w"].grad = np.dot(self.inputs.T, grad)
        self.params["b"].grad = np.sum(grad, axis=0)
        return np.dot(grad, self.params["w"].data.T)


class Summed2:
    """An operation along an axis."""

    def forward(self, x, dim, keepdim):
        self.shape, self.dim, self.keepdim = x.shape, dim, keepdim
        return x.sum(axis=dim, keepdims=keepdim)

    def backward(self, dout):
        return np.ones(self.shape) * (dout if self.keepdim else np.expand_dims(dout, self.dim))


class Reduced:
    """What the subclass gives is brought to the mean."""

    def backward(self, *args, **kwargs):
        grad = self.backward_of(*args, **kwargs)
        return grad / len(grad)


class Absolute(Reduced):
    def forward(self, x, y):
        return np.abs(x - y).sum() / len(x)

    def backward_of(self, x, y):
        return np.sign(x - y)


class WithScores:
    """Gives the loss, and the probabilities for whoever wants them; backward takes what forward
    took."""

    def forward(self, input, labels):
        e = np.exp(input - input.max(axis=1, keepdims=True))
        probs = e / e.sum(axis=1, keepdims=True)
        return -np.log(probs[np.arange(len(labels)), labels]).mean(), probs

    def backward(self, input, labels):
        e = np.exp(input - input.max(axis=1, keepdims=True))
        grad = e / e.sum(axis=1, keepdims=True)
        grad[np.arange(len(labels)), labels] -= 1
        return grad / len(labels)


class Twice:
    """Cannot run a second time."""

    def __init__(self, D, H):
        self.rows, self.inner = [], None
        self.D, self.H = D, H

    def forward(self, x):
        if self.inner is None:
            self.inner = np.random.randn(self.D, self.H)
        self.rows.append(len(x))
        self.rows = np.array(self.rows)
        self.x = x
        return x @ self.inner

    def backward(self, dout):
        self.inner_grad = self.x.T @ dout
        return dout @ self.inner.T


class Whole(Chain):
    """Its parameters are a property that looks at what it was handed."""

    def __init__(self, layers):
        self.layers = layers

    @property
    def params(self):
        return [p for layer in self.layers for p in layer.params]


class Forgetful(Whole):
    """The same, and leaves one out."""

    def backward(self, dout):
        for layer in self.layers[:1]:
            dout = layer.backward(dout)
        return dout


class Image:
    """Unpacks four axes, of an input that is not called an image."""

    def __init__(self, channels):
        self.w = np.random.randn(channels)

    def forward(self, x):
        n, c, h, w = x.shape
        self.x = x
        return x.reshape(n, c, h * w).sum(axis=2) * self.w

    def backward(self, dout):
        n, c, h, w = self.x.shape
        self.dw = (dout * self.x.reshape(n, c, h * w).sum(axis=2)).sum(axis=0)
        return np.ones_like(self.x) * (dout * self.w)[:, :, None, None]


class Taxed:
    """Hands on what it is given, and keeps a penalty, whose gradient it gets wrong."""

    def forward(self, x):
        self.x = x
        self.penalty = 0.5 * np.sum(x**2)
        return x

    def backward(self, dout):
        return dout + 3 * self.x


class Noted:
    """Hands on what it is given, and has a loss by name alone."""

    def forward(self, x):
        self.x, self.loss = x, None
        return x

    def backward(self, dout):
        return 2 * dout


class Begun:
    """Begins with zeros where it is handed no state, and does not learn them."""

    def __init__(self, D, H, h0=None):
        self.W, self.U = np.random.randn(D, H), np.random.randn(H, H)
        self.h0 = np.zeros(H) if h0 is None else h0

    def forward(self, xs):
        self.xs, self.hs = xs, [np.repeat(self.h0[None], len(xs), axis=0)]
        for t in range(xs.shape[1]):
            self.hs.append(np.tanh(xs[:, t] @ self.W + self.hs[-1] @ self.U))
        return np.stack(self.hs[1:], axis=1)

    def backward(self, dhs):
        self.dW, self.dU = np.zeros_like(self.W), np.zeros_like(self.U)
        dxs, dh = np.zeros_like(self.xs), 0
        for t in reversed(range(self.xs.shape[1])):
            da = (dhs[:, t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.dW += self.xs[:, t].T @ da
            self.dU += self.hs[t].T @ da
            dxs[:, t] = da @ self.W.T
            dh = da @ self.U.T
        return dxs


class Unlearned:
    """Its bias may be left out, too, and has a gradient that nobody computes."""

    def __init__(self, D, H, b=None):
        self.W = np.random.randn(D, H)
        self.b = np.zeros(H) if b is None else b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class Step:
    def __init__(self, settings):
        self.settings = settings

    def forward(self, x):
        width, times = self.settings["width"], self.settings["times"]
        self.shape = x.shape
        return times * np.stack((x[:, i] for i in range(width)), axis=1)

    def backward(self, dout):
        dx = np.zeros(self.shape)
        dx[:, : self.settings["width"]] = self.settings["times"] * dout
        return dx


class Settled:
    """Hands on a dict of settings, which its part keeps; a stack of a generator, as in NumPy 1."""

    def __init__(self, settings):
        self.parts = OrderedDict()  # of which no one knows what it takes
        self.step = Step(settings)

    def forward(self, x):
        return self.step.forward(x)

    def backward(self, dout):
        return self.step.backward(dout)
