"""What was met in libraries of one's own: gradients under short names in any order, seeds that are
None, blocks of layers that keep their gradients each in its own way, deep in one another."""

import numpy as np


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


class Mixed:
    def __init__(self, D, H):
        self.layers = [Adding(D, H), Setting(H)]

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


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
