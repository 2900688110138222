"""What forward takes and gives, and backward wants back, in less usual ways. All are right."""

import numpy as np


class IgnoresLengths:
    """Padding is not masked: whoever uses it looks at the steps that are there."""

    def forward(self, xs, lengths):
        self.cache = xs, lengths
        return np.cumsum(xs, axis=1)

    def backward(self, dout):
        return dout[:, ::-1].cumsum(axis=1)[:, ::-1]


class UsesLengths:
    def forward(self, xs, lengths):
        self.there = np.arange(xs.shape[1]) < lengths[:, None]
        return xs * self.there[..., None]

    def backward(self, dout):
        return dout * self.there[..., None]


class TwoStates:
    """Outputs and a tuple of last states; their gradients are taken one by one."""

    def forward(self, xs):
        h = c = 0 * xs[:, 0]
        hs = []
        for t in range(xs.shape[1]):
            c = 0.5 * c + xs[:, t]
            h = 0.3 * h + c
            hs.append(h)
        return np.stack(hs, 1), (h, c)

    def backward(self, dhs, dh_last=None, dc_last=None):
        dh = 0 if dh_last is None else dh_last
        dc = 0 if dc_last is None else dc_last
        dxs = np.empty_like(dhs)
        for t in reversed(range(dhs.shape[1])):
            dh = dh + dhs[:, t]
            dc = dc + dh
            dxs[:, t] = dc
            dh, dc = 0.3 * dh, 0.5 * dc
        return dxs


class TwoStatesTogether(TwoStates):
    def backward(self, dhs, dstates):
        return super().backward(dhs, *dstates)


class HandsOnItsOutput:
    """Backward wants what forward has returned beside the output, under the same name."""

    def forward(self, x):
        tanh_x = np.tanh(x)
        return 2 * tanh_x, tanh_x

    def backward(self, dout, tanh_x):
        return 2 * dout * (1 - tanh_x**2)


def clamp_back(dout, x):
    dout[x < 0] = 0
    return dout


class EditsByAPart:
    """A function under backward edits what it is handed, and returns it."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x, self.y = x, x @ self.params[0]
        return np.maximum(self.y, 0)

    def backward(self, dout):
        dy = clamp_back(dout, self.y)
        self.grads[0][...] = self.x.T @ dy
        return dy @ self.params[0].T


def window_forward(x, settings):
    return x * settings["stride"], (x, settings)


def window_backward(dout, cache):
    x, settings = cache
    dx = np.pad(dout, settings["pad"])[settings["pad"] :, settings["pad"] :]
    return dx[: len(x), : x.shape[1]] * settings["stride"]


class MaskedScores:
    def __init__(self, W, mask):
        self.W, self.mask = W, mask
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        N, T, D = xs.shape
        self.xs = xs
        scores = (xs @ self.W) @ xs.transpose(0, 2, 1)
        scores[:, self.mask] = 0
        return scores

    def backward(self, dout):
        dout = np.where(self.mask, 0, dout)
        dy = dout @ self.xs
        self.grads[0][...] = np.einsum("ntd,nth->dh", self.xs, dy)
        return dy @ self.W.T + dout.transpose(0, 2, 1) @ (self.xs @ self.W)


class WordModel:
    """A whole network on ids, of several sizes."""

    def __init__(self, vocab_size, emb_dim, hidden_size):
        self.params = [np.random.randn(vocab_size, emb_dim), np.random.randn(emb_dim, hidden_size),
                       np.random.randn(hidden_size, vocab_size)]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, xs, ys):
        E, W, U = self.params
        N, T, D = E[xs].shape
        rows, labels = E[xs].reshape(N * T, D), ys.reshape(N * T)
        hidden = np.tanh(rows @ W)
        e = np.exp(hidden @ U)
        p = e / e.sum(axis=1, keepdims=True)
        self.cache = xs, labels, rows, hidden, p
        return -np.mean(np.log(p[np.arange(N * T), labels]))

    def backward(self):
        E, W, U = self.params
        xs, labels, rows, hidden, p = self.cache
        ds = p.copy()
        ds[np.arange(len(labels)), labels] -= 1
        ds /= len(labels)
        self.grads[2][...] = hidden.T @ ds
        da = (ds @ U.T) * (1 - hidden**2)
        self.grads[1][...] = rows.T @ da
        self.grads[0][...] = 0
        np.add.at(self.grads[0], xs.reshape(-1), da @ W.T)


class AtItsInputs:
    """A loss whose backward is handed what its forward was."""

    def forward(self, scores, y_true):
        return np.sum((scores - y_true) ** 2) / len(scores)

    def backward(self, scores, y_true):
        return 2 * (scores - y_true) / len(scores)


class ShortNames:
    """Gradients in a dict, under names that begin like those of the parameters."""

    def __init__(self, input_dim, output_dim):
        self.weights, self.bias = np.random.randn(input_dim, output_dim), np.zeros(output_dim)
        self.gradients = {}

    def forward(self, x):
        self.x = x
        out = np.ndarray((len(x), len(self.bias)))
        for i in range(len(x)):
            out[i] = x[i] @ self.weights + self.bias
        return out

    def backward(self, dLdY):
        self.gradients["dLdW"] = self.x.T @ dLdY
        self.gradients["dLdb"] = dLdY.sum(axis=0)
        self.gradients["dLdX"] = dLdY @ self.weights.T
        return self.gradients["dLdX"]


class RunningMean:
    """Adds to an array of its own, on which the output does not depend."""

    def __init__(self, gamma):
        self.gamma, self.dgamma, self.mean = gamma, None, np.zeros_like(gamma)

    def forward(self, x):
        mean = x.mean(axis=0)
        self.mean *= 0.9
        self.mean += 0.1 * mean
        self.xc = x - mean
        return self.gamma * self.xc

    def backward(self, dout):
        self.dgamma = np.sum(self.xc * dout, axis=0)
        return self.gamma * (dout - dout.mean(axis=0))


class WordNet:
    """Made of a dict of words and of a list of sizes."""

    def __init__(self, word_to_idx, hidden_dims):
        sizes = [len({i for _, i in word_to_idx.items()})] + hidden_dims
        self.params = [np.random.randn(a, b) for a, b in zip(sizes, sizes[1:])]
        self.grads = [np.zeros_like(p) for p in self.params]

    def forward(self, x):
        self.hs = [x]
        for W in self.params:
            self.hs.append(np.tanh(self.hs[-1] @ W))
        return self.hs[-1]

    def backward(self, dout):
        for k in reversed(range(len(self.params))):
            da = dout * (1 - self.hs[k + 1] ** 2)
            self.grads[k][...] = self.hs[k].T @ da
            dout = da @ self.params[k].T
        return dout


class WeightsHandedOver:
    def loss_and_grad(self, W, test_data, test_labels, reg=0.1):
        scores = test_data @ W
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        p, rows = e / e.sum(axis=1, keepdims=True), np.arange(len(test_labels))
        loss = -np.sum(np.log(p[rows, test_labels])) + 0.5 * reg * np.sum(W**2)
        p[rows, test_labels] -= 1
        dW = test_data.T @ p + reg * W
        return loss, dW


class TestOfSquare:
    """No layer."""

    def test_forward(self, x):
        return x**2

    def test_backward(self, dout):
        return dout


class StepCell:
    def __init__(self, input_size, hidden_size):
        self.Wx = np.random.randn(input_size, hidden_size)
        self.Wh = np.random.randn(hidden_size, hidden_size)
        self.dWx, self.dWh = np.zeros_like(self.Wx), np.zeros_like(self.Wh)
        self.hidden_size = hidden_size

    def forward(self, x, h):
        self.cache = x, h, np.tanh(x @ self.Wx + h @ self.Wh)
        return self.cache[2]

    def backward(self, dh):
        x, h, y = self.cache
        da = dh * (1 - y**2)
        self.dWx[...] = x.T @ da
        self.dWh[...] = h.T @ da
        return da @ self.Wx.T, da @ self.Wh.T


class OverTime:
    """Handed a cell of this file."""

    def __init__(self, cell):
        self.cell = cell

    def forward(self, xs):
        h = np.zeros((len(xs), self.cell.hidden_size))
        self.caches, hs = [], []
        for t in range(xs.shape[1]):
            h = self.cell.forward(xs[:, t], h)
            self.caches.append(self.cell.cache)
            hs.append(h)
        return np.stack(hs, 1)

    def backward(self, dhs):
        dh, dxs = 0, np.zeros((*dhs.shape[:2], len(self.cell.Wx)))
        dWx, dWh = 0, 0
        for t in reversed(range(dhs.shape[1])):
            self.cell.cache = self.caches[t]
            dxs[:, t], dh = self.cell.backward(dhs[:, t] + dh)
            dWx, dWh = dWx + self.cell.dWx, dWh + self.cell.dWh
        self.cell.dWx, self.cell.dWh = dWx, dWh
        return dxs


class ParamsByCall:
    """Its gradients are there once backward has run; params is a method."""

    def __init__(self, input_dim, hidden_dim):
        self.W = np.random.randn(input_dim, hidden_dim)

    def params(self):
        return [(self.W, self.dW)]

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, out_grad):
        self.dW = self.x.T @ out_grad
        return out_grad @ self.W.T
