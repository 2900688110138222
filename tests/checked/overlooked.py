"""Layers with a path that backward does not follow, and others whose forward is what is wrong; and
right ones that are easily taken for wrong."""

import numpy as np
from chain import Chain


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


class Classes:
    """A step of one number for all classes, and no gradient of the weights: no path is dropped."""

    def __init__(self, output_size, rate=0.01):
        self.bias, self.rate, self.W = np.random.randn(output_size), rate, None

    def softmax(self, a):
        return np.exp(a) / np.exp(a).sum(axis=1, keepdims=True)

    def forward(self, x):
        self.x = x
        if self.W is None:
            self.W = 0 * x.T @ np.ones((len(x), len(self.bias)))
        return self.softmax(x @ self.W + self.bias)

    def backward(self, error):
        step = np.sum(error) / len(error)
        dx = error @ self.W.T
        self.bias -= self.rate * step / len(error)
        return dx


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


class Borrowed:
    """Asks something for its derivative that cannot be asked: nothing is known of the mistake."""

    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * self.y.derivative(state=self.y)


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


class Left:
    """Leaves the gradient of what it reads where another layer looks for it."""

    def __init__(self, vocab_size, hidden_size):
        self.W, self.dW = np.random.randn(vocab_size, hidden_size), None

    def forward(self, ids, src):
        self.ids, self.src = ids, src
        return self.W[ids] * src

    def backward(self, dout):
        self.dW = np.zeros_like(self.W)
        self.for_encoder = dout * self.W[self.ids]
        np.add.at(self.dW, self.ids, dout * self.src)


# --- made of others, or of what is no number -----------------------------------------------------


class Squash:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * (1 - self.y**2)


class Twice:
    """One Squash in two places: it knows the second alone."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]
        self.squash = Squash()

    def forward(self, x):
        self.a = self.squash.forward(x)
        return self.squash.forward(np.dot(self.a, self.params[0]))

    def backward(self, dout):
        da = self.squash.backward(dout)
        self.grads[0][...] = np.dot(self.a.T, da)
        return self.squash.backward(np.dot(da, self.params[0].T))


class Tower:
    """As many products as sizes."""

    def __init__(self, inputs, hidden):
        self.sizes = [inputs, *hidden]
        self.W = [0.5 * np.random.randn(*s) for s in zip(self.sizes, self.sizes[1:], strict=False)]

    def forward(self, x):
        self.xs = [x]
        for W in self.W:
            self.xs.append(self.xs[-1] @ W)
        return self.xs[-1]

    def backward(self, dout):
        for W in reversed(self.W):
            dout = dout @ W.T
        return dout


class Product:
    def __init__(self, inputs, outputs):
        self.W, self.dW = np.random.randn(inputs, outputs), None

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class Listed(Chain):
    """Its parts stand in two lists."""

    def __init__(self, D, H):
        self.layers = [Product(D, H), Product(H, H)]
        self.with_weights = self.layers[:]


class Configured:
    """What it is made of stands in a dict, and in a shape that is taken apart."""

    def __init__(self, dim, conf):
        self.rows, self.columns = dim[0], dim[1]
        self.W = np.random.randn(self.rows * self.columns, conf["units"])
        self.scale = conf["scale"]

    def forward(self, x):
        self.x = x.reshape(len(x), -1)
        return self.scale * (self.x @ self.W)

    def backward(self, dout):
        self.dW = self.scale * (self.x.T @ dout)
        return self.scale * (dout @ self.W.T).reshape(-1, self.rows, self.columns)


class Resampled:
    """Each column several times."""

    def __init__(self, scale):
        self.times = scale

    def forward(self, x):
        return x.repeat(self.times, axis=1)

    def backward(self, dout):
        return dout.reshape(len(dout), -1, self.times).sum(axis=2)


# --- static, with what one keeps for the other in an argument ------------------------------------


class Held:
    """An array, in an object of the author's."""

    def __init__(self, data):
        if not isinstance(data, np.ndarray):
            raise TypeError("an array is wanted")
        self.data, self.requires_grad = data, False

    def __mul__(self, other):
        return Held(self.data * other.data)


class Times:
    @staticmethod
    def forward(ctx, x: Held, y: Held):
        ctx.save_for_backward(x, y)
        return Held(np.multiply(x.data, y.data))

    @staticmethod
    def backward(ctx, grad_z: Held):
        x, y = ctx.saved_tensors
        return grad_z * y if x.requires_grad else None, grad_z * x if y.requires_grad else None


class Squared:
    @staticmethod
    def forward(ctx, x: Held):
        ctx.x = x
        return Held(x.data**2)

    @staticmethod
    def backward(ctx, grad_y: Held):
        return grad_y * ctx.x


class Chosen:
    @staticmethod
    def forward(ctx, condition, x, y):
        ctx.condition = condition
        return np.where(condition, x, y)

    @staticmethod
    def backward(ctx, grad):
        return None, np.where(ctx.condition, grad, 0), np.where(ctx.condition, 0, grad)


class Parted:
    """Something is added to what is returned. To be added to what is read no more would do, too."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x, z):
        self.x = x
        return np.concatenate([np.dot(x, self.params[0]), z], axis=1)

    def backward(self, dout):
        W, = self.params
        dy, dz = dout[:, :W.shape[1]], dout[:, W.shape[1]:].copy()
        self.grads[0][...] = np.dot(self.x.T, dy)
        dx = np.dot(dy, W.T)
        dz[:, -1] += dx[:, 0]
        return dx, dz


def softmax(s):
    s = s - s.max(axis=1, keepdims=True)
    s = np.exp(s)
    return s / s.sum(axis=1, keepdims=True)


class Attended:
    """Twice its gradient: that of softmax(2 s), which `s += s - max` would be in the function."""

    def forward(self, hs, h):
        self.hs, self.h = hs, h
        self.a = softmax(np.sum(hs * h[:, np.newaxis], axis=2))
        return self.a

    def backward(self, da):
        ds = self.a * da
        ds = ds - self.a * np.sum(ds, axis=1, keepdims=True)
        dt = 2 * ds[:, :, np.newaxis]
        return dt * self.h[:, np.newaxis], np.sum(dt * self.hs, axis=1)
