"""What assignments of courses ask for: names, words and dicts tell what is what."""

import numpy as np

try:
    from a_compiled_library import products
except ImportError:
    def products(a, b):
        return np.einsum("ij,jk->ik", a, b)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# the batch in columns, and a loss that is a mean: each layer divides the gradients of its weights


def linear_forward(A, W, b):
    return W @ A + b, (A, W, b)


def linear_backward(dZ, cache):
    A_prev, W, _ = cache
    m = A_prev.shape[1]
    dW = dZ @ A_prev.T / m
    db = dZ.sum(axis=1, keepdims=True) / m
    return W.T @ dZ, dW, db


def linear_activation_forward(A_prev, W, b, activation):
    Z, cache = linear_forward(A_prev, W, b)
    if activation == "sigmoid":
        return sigmoid(Z), (cache, Z)
    if activation == "relu":
        return np.maximum(0, Z), (cache, Z)
    raise ValueError(activation)


def linear_activation_backward(dA, cache, activation):
    linear_cache, Z = cache
    if activation == "sigmoid":
        dZ = dA * sigmoid(Z) * (1 - sigmoid(Z))
    elif activation == "relu":
        dZ = dA * (Z > 0)
    return linear_backward(dZ, linear_cache)


# a whole network: backward begins with the labels


def network_forward(X, parameters):
    W1, b1 = parameters["W1"], parameters["b1"]
    W2, b2 = parameters["W2"], parameters["b2"]
    A1 = np.tanh(W1 @ X + b1)
    A2 = sigmoid(W2 @ A1 + b2)
    return A2, {"A1": A1, "A2": A2, "W2": W2}


def network_backward(X, Y, cache):
    A1, A2 = cache["A1"], cache["A2"]
    m = X.shape[1]
    dZ2 = (A2 - Y) / m
    dZ1 = cache["W2"].T @ dZ2 * (1 - A1**2)
    return {"dW1": dZ1 @ X.T, "db1": dZ1.sum(axis=1, keepdims=True),
            "dW2": dZ2 @ A1.T, "db2": dZ2.sum(axis=1, keepdims=True)}


# one step that adds to a dict of gradients, and is handed that of the scores


def char_step_forward(parameters, a_prev, x):
    a_next = np.tanh(parameters["Wax"] @ x + parameters["Waa"] @ a_prev + parameters["b"])
    e = np.exp(parameters["Wya"] @ a_next + parameters["by"])
    p_t = e / e.sum(axis=0, keepdims=True)
    return a_next, p_t


def char_step_backward(dy, gradients, parameters, x, a, a_prev):
    gradients["dWya"] += dy @ a.T
    gradients["dby"] += dy.sum(axis=1, keepdims=True)
    da = parameters["Wya"].T @ dy + gradients["da_next"]
    draw = (1 - a * a) * da
    gradients["db"] += draw.sum(axis=1, keepdims=True)
    gradients["dWax"] += draw @ x.T
    gradients["dWaa"] += draw @ a_prev.T
    gradients["da_next"] = parameters["Waa"].T @ draw
    return gradients


# a loss of the weights first, with a number for what is added


def hinge_loss(W, X, y, reg):
    scores = X @ W
    rows = np.arange(len(y))
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    loss = margins.sum() / len(y) + reg * np.sum(W * W)
    d = (margins > 0).astype(float)
    d[rows, y] = -d.sum(axis=1)
    dW = X.T @ d / len(y) + 2 * reg * W
    return loss, dW


# images with their channels last


def conv_forward(A_prev, W, b, hparameters):
    s, pad = hparameters["stride"], hparameters["pad"]
    m, h, w, _ = A_prev.shape
    f, _, _, n_C = W.shape
    padded = np.pad(A_prev, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    Z = np.zeros((m, (h - f + 2 * pad) // s + 1, (w - f + 2 * pad) // s + 1, n_C))
    for i in range(Z.shape[1]):
        for j in range(Z.shape[2]):
            part = padded[:, i * s : i * s + f, j * s : j * s + f, :]
            Z[:, i, j, :] = np.tensordot(part, W, 3) + b[0, 0, 0]
    return Z, (padded, W, hparameters)


def conv_backward(dZ, cache):
    padded, W, hparameters = cache
    s, pad, f = hparameters["stride"], hparameters["pad"], len(W)
    dA, dW = np.zeros_like(padded), np.zeros_like(W)
    for i in range(dZ.shape[1]):
        for j in range(dZ.shape[2]):
            at = np.s_[:, i * s : i * s + f, j * s : j * s + f, :]
            dA[at] += np.tensordot(dZ[:, i, j, :], W, (1, 3))
            dW += np.tensordot(padded[at], dZ[:, i, j, :], (0, 0))
    dA_prev = dA[:, pad:-pad, pad:-pad, :] if pad else dA
    return dA_prev, dW, dZ.sum(axis=(0, 1, 2)).reshape(1, 1, 1, -1)


# classes whose forward makes a number, or writes into what it is handed


class Squares:
    def forward(self, x, t):
        self.d = x - t
        return float(np.mean(self.d**2)) + np.mean(self.d).item()

    def backward(self, dout=1.0):
        return (2 * self.d + 1) / self.d.size * dout


class Product:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, x):
        self.x = x
        out = products(x, self.params[0])
        self.mask = out < 0
        out[self.mask] = 0
        return out

    def backward(self, dout):
        d = np.where(self.mask, 0, dout)
        self.grads[0][...] = self.x.T @ d
        return d @ self.params[0].T


class Windows:
    """The mean of each window of an image."""

    def forward(self, x):
        N, C, H, W = x.shape
        self.shape = x.shape
        strides = x.itemsize * np.array([C * H * W, H * W, W, 1, W, 1])
        parts = np.lib.stride_tricks.as_strided(x, (N, C, H - 1, W - 1, 2, 2), strides)
        return parts.mean(axis=(4, 5))

    def backward(self, dout):
        dx = np.zeros(self.shape)
        for i in range(2):
            for j in range(2):
                dx[:, :, i : i + dout.shape[2], j : j + dout.shape[3]] += dout / 4
        return dx


class Filters:
    """The size of its images is a default."""

    def __init__(self, input_dim=(1, 9, 9), output_size=4):
        self.params = {"W": np.random.randn(np.prod(input_dim), output_size)}  # noqa: NPY002

    def loss(self, x, t):
        scores = x.reshape(len(x), -1) @ self.params["W"]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        self.x, self.p, self.t = x, e / e.sum(axis=1, keepdims=True), t
        return -np.mean(np.log(self.p[np.arange(len(t)), t]))

    def gradient(self, x, t):
        self.loss(x, t)
        d = self.p.copy()
        d[np.arange(len(t)), t] -= 1
        grads = {"W": self.x.reshape(len(x), -1).T @ d / len(x)}
        return grads  # noqa: RET504


class Cut:
    def forward(self, x):
        self.mask = x <= 0
        x[self.mask] = 0
        return x

    def backward(self, dout):
        return np.where(self.mask, 0, dout)


# classes that make their weights late, apply the update, or hand out gradients by their names


class Late:
    def __init__(self, units):
        self.units, self.W = units, None

    def forward(self, x):
        if self.W is None:
            self.W = np.random.randn(x.shape[1], self.units)  # noqa: NPY002
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class Step:
    def __init__(self, W, b):
        self.W, self.b, self.optimizer = W, b, Optimizer()

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        dx = dout @ self.W.T
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        self.optimizer.update([self.W, self.b], [self.dW, self.db])
        return dx


class Optimizer:
    def update(self, params, grads):
        for p, g in zip(params, grads, strict=True):
            p -= 0.01 * np.sign(g)


class Named:
    def __init__(self, weights, bias):
        self.weights, self.bias = weights, bias

    def forward(self, x):
        self.x = x
        return x @ self.weights + self.bias

    def backward(self, dout):
        grad_weights = self.x.T @ dout
        grad_bias = dout.sum(axis=0)
        return grad_weights, grad_bias


class Nested(Named):
    def backward(self, dout):
        weights_grad = self.x.T @ dout
        bias_grad = dout.sum(axis=0)
        return dout @ self.weights.T, (weights_grad, bias_grad)


class Distance:
    """Its loss stands beside what it hands on."""

    def forward(self, x, t):
        self.x, self.t = x, t
        self.loss = np.abs(x - t)
        return x

    def backward(self):
        return np.sign(self.x - self.t)


class Entropy:
    """Its labels have a name of their own, and are probabilities."""

    def forward(self, x, true):
        e = np.exp(x)
        self.p, self.true = e / e.sum(axis=1, keepdims=True), true
        return -np.sum(true * np.log(self.p)) / len(x)

    def backward(self, dout=1):
        return (self.p - self.true) / len(self.p) * dout


class TwiceSquared:
    """The labels are handed to both, and to backward nothing else."""

    def forward(self, input_tensor, label_tensor):
        self.input_tensor = input_tensor
        return np.sum((input_tensor - label_tensor) ** 2)

    def backward(self, label_tensor):
        return 2 * (self.input_tensor - label_tensor)


class Long:
    def __init__(self, input_size, output_size):
        self.weights = np.random.randn(input_size, output_size)  # noqa: NPY002
        self.gradient_weights = None

    def forward(self, input_tensor):
        self.input_tensor = input_tensor
        return input_tensor @ self.weights

    def backward(self, error_tensor):
        self.gradient_weights = self.input_tensor.T @ error_tensor
        return error_tensor @ self.weights.T
