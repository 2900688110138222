"""Layers as they stand in other repositories than the book's."""

import numpy as np


class Leaky:
    def __init__(self, alpha=0.01):
        self.alpha = alpha

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)

    def backward(self, dout):
        return np.where(self.x > 0, dout, self.alpha * dout)


class Dense:
    """Its inputs are counted by whoever joins the layers."""

    def __init__(self, units_num, inputs_num=None, data_type=np.float32):
        scale = 1 / np.sqrt(inputs_num)
        self.w = np.random.uniform(-scale, scale, (inputs_num, units_num)).astype(data_type)
        self.b = np.zeros(units_num, data_type)

    def forward(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, error):
        self.grad_w = self.x.reshape(-1, self.x.shape[-1]).T @ error.reshape(-1, error.shape[-1])
        self.grad_b = error.reshape(-1, error.shape[-1]).sum(0)
        return error @ self.w.T


class Softmax:
    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.y = e / e.sum(axis=-1, keepdims=True)
        return self.y

    def backward(self, dout):  # divided by the batch, too
        dx = self.y * (dout - np.sum(dout * self.y, axis=-1, keepdims=True))
        return dx / dout.shape[0]


class Attention:
    """Right but for its softmax; its gradients stand in layers of its own."""

    def __init__(self, d_model, data_type):
        self.q_linear = Dense(d_model, d_model, data_type)
        self.k_linear = Dense(d_model, d_model, data_type)
        self.v_linear = Dense(d_model, d_model, data_type)
        self.softmax = Softmax()

    def forward(self, query, key, value, mask):
        self.q, self.k = self.q_linear.forward(query), self.k_linear.forward(key)
        self.v = self.v_linear.forward(value)
        self.mask = mask
        self.a = self.softmax.forward(np.where(
            mask == 0, float("-inf"), np.matmul(self.q, self.k.transpose(0, 2, 1))))
        return np.matmul(self.a, self.v), self.a

    def backward(self, error):
        dv = np.matmul(self.a.transpose(0, 2, 1), error)
        ds = self.softmax.backward(np.matmul(error, self.v.transpose(0, 2, 1)))
        dq = np.matmul(ds, self.k)
        dk = np.matmul(ds.transpose(0, 2, 1), self.q)
        return self.q_linear.backward(dq), self.k_linear.backward(dk), self.v_linear.backward(dv)


class Block:
    """Right once the softmax is."""

    def __init__(self, d_model, data_type):
        self.attention = Attention(d_model, data_type)

    def forward(self, src, src_mask, training):
        return src + self.attention.forward(src, src, src, src_mask)[0]

    def backward(self, error):
        dq, dk, dv = self.attention.backward(error)
        return dq + dk + dv + error


class Dropout:
    def __init__(self, rate=0.1):
        self.rate = rate

    def forward(self, x, training=True):
        self.mask = np.random.rand(*x.shape) > self.rate if training else 1.0
        return x * self.mask

    def backward(self, error):
        return error * self.mask


class TwiceDropped:
    """Right but in training: the second mask is all that is left."""

    def __init__(self, rate):
        self.dropout = Dropout(rate)

    def forward(self, src, training):
        return self.dropout.forward(3 * self.dropout.forward(src, training), training)

    def backward(self, error):
        return self.dropout.backward(3 * self.dropout.backward(error))


class Kept:
    """Its output and its gradients are attributes, and nothing is returned."""

    def __init__(self, n_inputs, n_neurons):
        self.weights = np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs, _training):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0)  # (H,), which may be subtracted from (1, H)
        self.dinputs = dvalues @ self.weights.T


class KeptWrong(Kept):
    def backward(self, dvalues):
        super().backward(dvalues)
        self.dinputs = dvalues @ (2 * self.weights.T)


class SquaredLoss:
    """Backward begins with what the loss is taken of; the mean of the losses is meant."""

    def forward(self, y_pred, y_true):
        return np.mean((y_true - y_pred) ** 2, axis=-1)

    def backward(self, dvalues, y_true):
        self.dinputs = -2 * (y_true - dvalues) / len(dvalues[0]) / len(dvalues)


class SquaredLossOfSum(SquaredLoss):
    def backward(self, dvalues, y_true):
        self.dinputs = -2 * (y_true - dvalues) / len(dvalues[0])


class SquaredLossWrong(SquaredLoss):
    def backward(self, dvalues, y_true):
        self.dinputs = -1 * (y_true - dvalues) / len(dvalues[0]) / len(dvalues)


class KeptCell:
    """Which gradients backward takes says which attributes are its outputs."""

    def __init__(self, hidden_size, input_size):
        self.W = np.random.randn(input_size + hidden_size, hidden_size)
        self.dW = np.zeros_like(self.W)

    def cell_forward(self, c_input, h_input, x_input):
        self.joined, self.c_input = np.hstack([x_input, h_input]), c_input
        self.g = np.tanh(self.joined @ self.W)
        self.c_next = c_input + self.g
        self.h_next = np.tanh(self.c_next)

    def cell_backward(self, dc_next, dh_next):
        self.dc_prev = dc_next + dh_next * (1 - self.h_next**2)
        dg = self.dc_prev * (1 - self.g**2)
        self.dW = self.joined.T @ dg
        dz = dg @ self.W.T
        D = self.joined.shape[1] - dg.shape[1]
        self.dx, self.dh_prev = dz[:, :D], dz[:, D:]


class KeptStep:
    """One sample, and weights on its left."""

    def forward(self, x, prev_s, U, W, V):
        self.s = np.tanh(U @ x + W @ prev_s)
        self.o = V @ self.s

    def backward(self, x, prev_s, U, W, V, diff_s, do):
        self.forward(x, prev_s, U, W, V)
        da = (V.T @ do + diff_s) * (1 - self.s**2)
        dU, dW, dV = np.outer(da, x), np.outer(da, prev_s), np.outer(do, self.s)
        dprev_s = W.T @ da
        return dprev_s, dU, dW, dV


class Bptt:
    """A network of one sentence: its loss is a mean, and backward the gradient of the sum."""

    def __init__(self, word_dim, hidden_dim=100, bptt_truncate=2):
        self.hidden_dim, self.bptt_truncate = hidden_dim, bptt_truncate
        self.U = np.random.uniform(-1, 1, (hidden_dim, word_dim))
        self.W = np.random.uniform(-1, 1, (hidden_dim, hidden_dim))
        self.V = np.random.uniform(-1, 1, (word_dim, hidden_dim))

    def forward_propagation(self, x):
        s, o = np.zeros((len(x) + 1, self.hidden_dim)), np.zeros((len(x), len(self.V)))
        for t in range(len(x)):
            s[t] = np.tanh(self.U[:, x[t]] + self.W.dot(s[t - 1]))
            e = np.exp(self.V.dot(s[t]))
            o[t] = e / e.sum()
        return o, s

    def calculate_total_loss(self, x, y):
        L, count = 0, np.sum(len(words) for words in y)  # a generator, as NumPy 1 takes it
        for sentence, words in zip(x, y, strict=True):
            o, _ = self.forward_propagation(sentence)
            L += -np.sum(np.log(o[np.arange(len(words)), words]))
        return L / count

    def bptt(self, x, y):
        o, s = self.forward_propagation(x)
        dLdU, dLdV, dLdW = map(np.zeros_like, (self.U, self.V, self.W))
        o[np.arange(len(y)), y] -= 1
        for t in reversed(range(len(y))):
            dLdV += np.outer(o[t], s[t])
            d = self.V.T.dot(o[t]) * (1 - s[t] ** 2)
            for step in range(t, max(-1, t - self.bptt_truncate - 1), -1):
                dLdW += np.outer(d, s[step - 1])
                dLdU[:, x[step]] += d
                d = self.W.T.dot(d) * (1 - s[step - 1] ** 2)
        return [dLdU, dLdV, dLdW]


class BpttWrong(Bptt):
    def bptt(self, x, y):
        dLdU, dLdV, dLdW = super().bptt(x, y)
        dLdW *= 2
        return [dLdU, dLdV, dLdW]


class NotYet(KeptCell):
    def cell_backward(self, dc_next, dh_next):
        return


class SplitCell:
    """The gradient of h comes in two parts; those of the weights are returned in a dict."""

    def __init__(self, input_size, hidden_size):
        self.W = {g: np.random.randn(input_size, hidden_size) for g in "fg"}

    def forward(self, x_t, h_prev, rate=None):
        f, g = np.tanh(x_t @ self.W["f"]), np.tanh(x_t @ self.W["g"])
        h_t, cache = f * h_prev + g, {"x": x_t, "h": h_prev, "f": f, "g": g}
        return h_t, cache

    def backward(self, dh_ext, dh_next, cache):
        dh, x = dh_ext + dh_next, cache["x"]
        d = {"f": dh * cache["h"] * (1 - cache["f"] ** 2), "g": dh * (1 - cache["g"] ** 2)}
        grads = {"W": {k: x.T @ v for k, v in d.items()}}
        dx_t = sum(v @ self.W[k].T for k, v in d.items())
        dh_prev, drate = dh * cache["f"], 0
        return dx_t, dh_prev, drate, grads


def squared_loss(pred, target):
    diff = pred - target
    grad = 2 / diff.size * diff
    return np.mean(diff**2), grad


class Static:
    @staticmethod
    def forward(x, W):
        return x @ W, (x, W)

    @staticmethod
    def backward(dout, cache):
        x, W = cache
        return dout @ W.T, x.T @ dout


class AsksForMore:
    def forward(self, x):
        return 2 * x

    def backward(self, dout, scale, shift):
        return scale * dout + shift


def characters_forward(X, Y, a0, parameters, vocab_size=27):
    """Gradients are added up in a dict that is handed on."""
    x, a, p, loss = {}, {-1: a0}, {}, 0
    for t in range(len(X)):
        x[t] = np.zeros((vocab_size, 1))
        x[t][X[t]] = 1
        a[t] = np.tanh(parameters["Wax"] @ x[t] + parameters["Waa"] @ a[t - 1] + parameters["b"])
        e = np.exp(parameters["Wya"] @ a[t] + parameters["by"])
        p[t] = e / e.sum()
        loss -= np.log(p[t][Y[t], 0])
    return loss, (p, a, x)


def characters_step(dy, gradients, parameters, x, a, a_prev):
    gradients["dWya"] += dy @ a.T
    gradients["dby"] += dy
    da = (parameters["Wya"].T @ dy + gradients["da_next"]) * (1 - a * a)
    gradients["db"] += da
    gradients["dWax"] += da @ x.T
    gradients["dWaa"] += da @ a_prev.T
    gradients["da_next"] = parameters["Waa"].T @ da
    return gradients


def characters_backward(X, Y, parameters, cache):
    p, a, x = cache
    gradients = {"d" + k: np.zeros_like(v) for k, v in parameters.items()}
    gradients["da_next"] = np.zeros_like(a[0])
    for t in reversed(range(len(X))):
        dy = np.copy(p[t])
        dy[Y[t]] -= 1
        gradients = characters_step(dy, gradients, parameters, x[t], a[t], a[t - 1])
    return gradients, a


class Row:
    """Of one sample, a row, and its backward makes the step."""

    def __init__(self, input_size, output_size):
        self.weights = np.random.rand(input_size, output_size)
        self.bias = np.random.rand(1, output_size)

    def forward_propagation(self, input_data):
        self.input = input_data
        return self.input @ self.weights + self.bias

    def backward_propagation(self, output_error, learning_rate):
        input_error = output_error @ self.weights.T
        self.weights -= learning_rate * self.input.T @ output_error
        self.bias -= learning_rate * output_error
        return input_error


class Activation:
    """It is handed the function and its derivative."""

    def __init__(self, activation, activation_prime):
        self.activation, self.activation_prime = activation, activation_prime

    def forward(self, x):
        self.x = x
        return self.activation(x)

    def backward(self, dout):
        return self.activation_prime(self.x) * dout


class Net:
    """Its gradients are a dict, beside a loss."""

    def __init__(self, input_size, output_size):
        self.params = {"W": np.random.randn(input_size, output_size), "b": np.zeros(output_size)}

    def loss(self, x, t):
        y = x @ self.params["W"] + self.params["b"]
        return np.sum((y - t) ** 2) / 2

    def numerical_gradient(self, x, t):
        grads = {k: np.zeros_like(v) for k, v in self.params.items()}
        return grads

    def gradient(self, x, t):
        d = x @ self.params["W"] + self.params["b"] - t
        grads = {"W": x.T @ d, "b": d.sum(axis=0)}
        return grads
