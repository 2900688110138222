"""Layers as people write and misspell them: each stands for a kind that was met in real files."""

import numpy as np
from ch07.seq2seq import Encoder

rng = np.random.default_rng(0)
W_out = rng.normal(size=(4, 3))
b_out = np.zeros(3)


def forward(x):  # reads global weights
    return np.tanh(x @ W_out + b_out)


def backward(dout, x):
    dz = dout * (1 - forward(x) ** 2)
    return {"dW_out": x.T @ dz, "db_out": dz.sum(axis=0), "dx": dz @ W_out.T}


class Dicts:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        return {"W": self.x.T @ dout, "b": dout.sum(0), "x": dout @ self.W.T}


class Updates(Dicts):
    def backward(self, dout, lr):
        dx = dout @ self.W.T
        self.W -= lr * self.x.T @ dout
        self.b = self.b - lr * dout.sum(0)
        return dx


class UpdatesTooEarly(Dicts):
    def __init__(self, W, b, lr=0.1):
        self.W, self.b, self.lr = W, b, lr

    def backward(self, dout):
        self.W -= self.lr * self.x.T @ dout
        self.b -= self.lr * dout.sum(0)
        return dout @ self.W.T


class Linear:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class Cached(Linear):
    def forward(self, x):
        return x @ self.params[0], (x,)

    def backward(self, dout, cache):
        (x,) = cache
        self.grads[0][...] = x.T @ dout
        return dout @ self.params[0].T


class WeightsAsInputs:
    def forward(self, x, w, b):
        self.x, z = x, np.sum(w * x, axis=1) + b
        self.y = 1 / (1 + np.exp(-z))
        return self.y

    def backward(self, dy):
        dz = dy * (1 - self.y) * self.y
        dw = np.sum(self.x * dz.reshape(-1, 1), axis=0)
        db = np.sum(dz)
        return dw, db


class Unused(Linear):
    def forward(self, x, h, h_prev):
        self.x = x
        return x @ self.params[0] + h_prev

    def backward(self, dh):
        self.grads[0][...] = self.x.T @ dh
        dx, dh_prev = dh @ self.params[0].T, dh
        return dx, dh_prev


class NotReturned(Linear):
    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        dx = dout @ self.params[0].T  # noqa: F841


class ListInList:
    def __init__(self, W):
        self.inner = Linear(W)
        self.params, self.grads = [self.inner.params], [self.inner.grads]

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, dout):
        return self.inner.backward(dout)


class FirstOnly:
    def __init__(self, W0, W1):
        self.layers = [Linear(W0), Linear(W1)]
        self.params, self.grads = self.layers[0].params, self.layers[0].grads

    def forward(self, x):
        return self.layers[0].forward(x) + self.layers[1].forward(x)

    def backward(self, dout):
        return self.layers[0].backward(dout) + self.layers[1].backward(dout)


class SharedFirstOnly(FirstOnly):
    def __init__(self, W):
        super().__init__(W, W)


class NoConstructor:
    def __init(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        return x @ self.params[0]

    def backward(self, dout):
        return dout @ self.params[0].T


class NoConstructorOfNothing:
    def __init(self):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]  # noqa: F821

    def forward(self, x):
        return x @ self.params[0] + self.params[1]

    def backward(self, dout):
        return dout @ self.params[0].T


class LabelsTwice:
    """Ids or rows, and backward gives a gradient for them: with the wrong sign."""

    def forward(self, x, t):
        self.t = np.eye(x.shape[1])[t] if t.ndim == 1 else t
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return -np.sum(self.t * np.log(self.y)) / len(x)

    def backward(self, dout=1):
        dx = dout * (self.y - self.t) / len(self.t)
        dt = dout * np.log(self.y) / len(self.t)
        return dx, dt


class TwoExceptions:
    """One where the two sentences differ in length; another, later, where they do not."""

    def forward(self, xs, enc_hs):
        self.xs, self.enc_hs = xs, enc_hs
        return enc_hs.sum(axis=1) * xs.mean()

    def backward(self, dout):
        last = self.enc_hs[:, self.xs.shape[1] - 1]
        return dout.times(last)


class AddedNowhere:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        self.layers = [Linear(*self.params) for _ in range(xs.shape[1])]
        return np.stack([layer.forward(xs[:, t]) for t, layer in enumerate(self.layers)], axis=1)

    def backward(self, dhs):
        dxs = np.empty((*dhs.shape[:2], len(self.params[0])))
        grads = [0]
        for t in reversed(range(dhs.shape[1])):
            layer = self.layers[t]
            dxs[:, t] = layer.backward(dhs[:, t])
            for i, grad in enumerate(grads):
                self.grads[i][...] = grad
        return dxs


class ReturnsDout:
    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        dx = dout * self.out * (1 - self.out)  # noqa: F841
        return dout


class EditsAndDoubles:
    def forward(self, x):
        x -= x.max(axis=1, keepdims=True)
        e = np.exp(x)
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y

    def backward(self, dout):
        dx = self.y * (dout - np.sum(dout * self.y, axis=1, keepdims=True))
        return 2 * dx


class OneWeightTwice:
    def __init__(self, Wx, Wh):
        self.params, self.grads = [Wx, Wh], [np.zeros_like(Wx), np.zeros_like(Wh)]

    def forward(self, x, h_prev):
        Wx, Wh = self.params
        self.cache = x, h_prev
        return np.dot(x, Wh) + np.dot(h_prev, Wh)

    def backward(self, dout):
        (x, h_prev), (Wx, Wh) = self.cache, self.params
        self.grads[0][...] = np.dot(x.T, dout)
        self.grads[1][...] = np.dot(h_prev.T, dout)
        return np.dot(dout, Wx.T), np.dot(dout, Wh.T)


class FromAnotherFile(Linear):
    def forward(self, x):
        self.layer = MatMul(*self.params)  # noqa: F821
        return self.layer.forward(x)

    def backward(self, dout):
        dx = self.layer.backward(dout)
        self.grads[0][...] = self.layer.grads[0]
        return dx


class Misspelt(ListInList):
    def __init__(self, W):
        self.inner = Linear(W)
        self.params, self.grads = self.inner.params, self.inner.grads

    def backward(self, dout):
        return self.inner.backword(dout)


class OneSample:
    def forward(self, x):
        self.mask = np.random.random(*x.shape) > 0.5  # noqa: NPY002
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask




class Sequences(Encoder):
    def forward(self, xs):
        return self.lstm.forward(self.embed.forward(xs))

    def backward(self, dhs):
        return self.embed.backward(self.lstm.backward(dhs))


class Later:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]


def forward_pass(self, x):
    self.x = x
    return x @ self.params[0]


def backward_pass(self, dout):
    self.grads[0][...] = self.x.T @ dout
    return dout @ self.params[0].T


class RowBias:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, np.sum(dout, axis=0, keepdims=True)
        return dout @ self.W.T


class WeightedLoss:
    def forward(self, logits, targets, weights):
        self.p, self.t, self.w = 1 / (1 + np.exp(-logits)), targets, weights
        loss = -(targets * np.log(self.p) + (1 - targets) * np.log(1 - self.p))
        return np.mean(loss * weights), self.p

    def backward(self):
        return self.w * (self.p - self.t) / self.p.size


class ClippedOverTime:
    """The gradient of the state is clipped at each step; a state may be given as a pair."""

    def __init__(self, Wx, Wh):
        self.Wx, self.Wh = Wx, Wh
        self.dWx, self.dWh = np.zeros_like(Wx), np.zeros_like(Wh)

    def forward(self, x, init_states):
        if init_states is None:
            h = c = np.zeros((len(x), len(self.Wh)))
        else:
            h, c = init_states
        self.x, self.hs = x, [h]
        for t in range(x.shape[1]):
            self.hs.append(np.tanh(x[:, t] @ self.Wx + self.hs[-1] @ self.Wh))
        return np.stack(self.hs[1:], axis=1), self.hs[-1], c

    def backward(self, dhs):
        dxs, dh = np.zeros_like(self.x), 0
        self.dWx.fill(0)
        self.dWh.fill(0)
        for t in reversed(range(dhs.shape[1])):
            da = (dhs[:, t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.dWx += self.x[:, t].T @ da
            self.dWh += self.hs[t].T @ da
            dxs[:, t], dh = da @ self.Wx.T, da @ self.Wh.T
            np.clip(dh, -1, 1, dh)
        return dxs


class GradsForgotten:
    """The gradient is that of the inner layer, and grads of this one has nothing."""

    def __init__(self, W):
        self.inner = RightMatMul(W)
        self.params, self.grads = [W], []

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, dout):
        return self.inner.backward(dout)


class RightMatMul:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0]

    def backward(self, dout):
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class AfterSoftmax:
    """The derivative of the softmax that made y_pred is in this backward."""

    def forward(self, y_pred, y_true):
        self.y, self.t = y_pred, y_true
        return -np.mean(np.log(y_pred[np.arange(len(y_true)), y_true]))

    def backward(self):
        d = self.y.copy()
        d[np.arange(len(self.t)), self.t] -= 1
        return d / len(self.t)


class BatchAndTime:
    """Sums over two axes, whatever there is."""

    def __init__(self, hidden_dim):
        self.gamma, self.gradients = np.ones(hidden_dim), {}

    def forward(self, x):
        self.x = x
        return self.gamma * np.tanh(x)

    def backward(self, dLdY):
        self.gradients["dLdGamma"] = np.sum(dLdY * np.tanh(self.x), axis=(0, 1))
        return dLdY * self.gamma * (1 - np.tanh(self.x) ** 2)


class ListOfArrays:
    """Its forward takes a list, and its backward returns one, of a call more each time."""

    def __init__(self):
        self.kept = []

    def forward(self, arrays):
        out = arrays[0].copy()
        for i in range(1, len(arrays)):
            out += arrays[i] ** 2
        self.kept.append(arrays)
        return out

    def backward(self, dout):
        found = [[dout, *(2 * a * dout for a in arrays[1:])]
                 for dout, arrays in zip([dout], self.kept)]
        return found[0] if len(self.kept) == 1 else found


class ScoresWithoutLabels:
    """Its loss gives the scores alone where it is handed no labels."""

    def __init__(self, input_dim=3000, num_classes=10):
        self.params = {"W": 0.1 * np.random.randn(input_dim, num_classes)}

    def loss(self, X, y=None):
        scores = X @ self.params["W"]
        if y is None:
            return scores
        N = len(X)
        p = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
        loss = -np.sum(np.log(p[np.arange(N), y])) / N
        p[np.arange(N), y] -= 1
        grads = {"W": X.T @ p / N}
        return loss, grads


class Bracketed:
    """Its constructor raises."""

    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like[W]]

    def forward(self, x):
        return x @ self.params[0]

    def backward(self, dout):
        return dout @ self.params[0].T


class ColumnsAndRows:
    """Its forward is that of columns, its backward that of rows."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h = np.tanh(np.dot(Wh, h_prev) + np.dot(Wx, x) + b)
        self.cache = x, h_prev, h
        return h

    def backward(self, dh):
        Wx, Wh, b = self.params
        x, h_prev, h = self.cache
        dt = dh * (1 - h ** 2)
        self.grads[0][...] = np.dot(x.T, dt)
        self.grads[1][...] = np.dot(h_prev.T, dt)
        self.grads[2][...] = np.sum(dt, axis=0)
        return np.dot(dt, Wx.T), np.dot(dt, Wh.T)


class RaisesInVain:
    """Without the line that raises all were right: that is no cause."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0]

    def backward(self, dout):
        dout = dout.to_array()
        self.grads[0][...] = self.x.T @ dout
        return dout @ self.params[0].T


class CrossEntropyOfRows:
    """Right for rows of scores and one-hot labels, whatever else can be multiplied."""

    def forward(self, logits, targets):
        e = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
        self.p, self.t = e / np.sum(e, axis=-1, keepdims=True), targets
        return np.mean(-np.sum(np.log(self.p) * targets, axis=-1))

    def backward(self):
        return (self.p - self.t) / len(self.p)
