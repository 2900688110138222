"""Stand-ins for the book's own modules (``common.np``, ``common.layers``, ...), which a file that
is checked imports, and which are often not beside it. The layers are those of ``manual``; the
rest is here. What is not here either can be imported and defined against, and says so when used.
"""

import types
from typing import Any

import numpy as np

from .. import manual
from .numpy_standin import numpy_standin


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(0, x)


def softmax(x):
    """Along the last axis."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def cross_entropy_error(y, t):
    """Mean of -log y at the labels: y (N, V) or (V,), t labels or one-hot."""
    if y.ndim == 1:
        y, t = y.reshape(1, -1), np.reshape(t, (1, -1))
    t = np.asarray(t)
    if t.size == y.size:
        t = np.argmax(t, axis=1)
    return -np.sum(np.log(y[np.arange(len(t)), t.reshape(-1)] + 1e-7)) / len(t)


def clip_grads(grads, max_norm):
    """Scale all gradients, in place, to a total norm of at most ``max_norm``."""
    rate = max_norm / (np.sqrt(sum(np.sum(g**2) for g in grads)) + 1e-6)
    if rate < 1:
        for g in grads:
            g *= rate


def _windows(x, fh, fw, stride, pad):
    """The windows of images x (N, C, H, W): (N, C, fh, fw, rows, columns)."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = ((n - f) // stride + 1 for n, f in zip(x.shape[2:], (fh, fw), strict=True))
    return np.stack([np.stack([x[:, :, i : i + stride * rows : stride,
                                 j : j + stride * columns : stride]
                               for j in range(fw)], axis=2) for i in range(fh)], axis=2)


def _images(windows, shape, stride, pad):
    """The sum of windows, each where it was taken from."""
    _, _, fh, fw, rows, columns = windows.shape
    N, C, H, W = shape
    x = np.zeros_like(windows, shape=(N, C, H + 2 * pad, W + 2 * pad))
    for i in range(fh):
        for j in range(fw):
            x[:, :, i : i + stride * rows : stride,
              j : j + stride * columns : stride] += windows[:, :, i, j]
    return x[:, :, pad : pad + H, pad : pad + W]


def _size(n, f, stride, pad):
    return (n + 2 * pad - f) // stride + 1


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    """A row for each window: (N rows columns, C fh fw)."""
    windows = _windows(input_data, filter_h, filter_w, stride, pad).transpose(0, 4, 5, 1, 2, 3)
    return windows.reshape(-1, input_data.shape[1] * filter_h * filter_w)


def col2im(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_shape
    rows, columns = _size(H, filter_h, stride, pad), _size(W, filter_w, stride, pad)
    windows = col.reshape(N, rows, columns, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    return _images(windows, input_shape, stride, pad)


def im2col_cython(x, fh, fw, padding, stride):
    """A column for each window: (C fh fw, rows columns N)."""
    windows = _windows(x, fh, fw, stride, padding).transpose(1, 2, 3, 4, 5, 0)
    return windows.reshape(x.shape[1] * fh * fw, -1)


def col2im_cython(cols, N, C, H, W, fh, fw, padding, stride):
    rows, columns = _size(H, fh, stride, padding), _size(W, fw, stride, padding)
    windows = cols.reshape(C, fh, fw, rows, columns, N).transpose(5, 0, 1, 2, 3, 4)
    return _images(windows, (N, C, H, W), stride, padding)


def col2im_6d_cython(cols, N, C, H, W, fh, fw, padding, stride):
    return _images(cols.transpose(3, 0, 1, 2, 4, 5), (N, C, H, W), stride, padding)


class BaseModel:
    """What models of the book inherit: nothing but the two lists, and nothing is read from disk."""

    def __init__(self):
        self.params, self.grads = None, None

    def forward(self, *args):
        raise NotImplementedError

    def backward(self, *args):
        raise NotImplementedError


class SGD:
    def __init__(self, lr=0.01):
        self.lr = lr

    def update(self, params, grads):
        for p, g in zip(params, grads, strict=True):
            p -= self.lr * g


class UnigramSampler:
    """Negative samples: words by their frequency to the power ``power``, ``sample_size`` for each
    target."""

    def __init__(self, corpus, power, sample_size):
        self.sample_size = sample_size
        p = np.bincount(np.reshape(corpus, -1)).astype(float) ** power
        self.word_p = p / p.sum()

    def get_negative_sample(self, target):
        shape = len(target), self.sample_size
        return np.random.choice(len(self.word_p), size=shape, p=self.word_p)  # noqa: NPY002


class EmbeddingDot:
    """h (N, D) times the vectors of the words idx (N,), row by row."""

    def __init__(self, W):
        self.embed = manual.Embedding(W)
        self.params, self.grads = self.embed.params, self.embed.grads

    def forward(self, h, idx):
        self.cache = h, self.embed.forward(idx)
        return np.sum(self.cache[1] * h, axis=1)

    def backward(self, dout):
        h, rows = self.cache
        dout = dout.reshape(len(dout), 1)
        self.embed.backward(dout * h)
        return dout * rows


class NegativeSamplingLoss:
    """The loss of the target and of ``sample_size`` other words."""

    def __init__(self, W, corpus, power=0.75, sample_size=5):
        self.sampler = UnigramSampler(corpus, power, sample_size)
        self.parts = [(EmbeddingDot(W), manual.SigmoidWithLoss()) for _ in range(sample_size + 1)]
        self.params = [p for dot, _ in self.parts for p in dot.params]
        self.grads = [g for dot, _ in self.parts for g in dot.grads]

    def forward(self, h, target):
        words = np.column_stack([target, self.sampler.get_negative_sample(target)])
        return sum(loss.forward(dot.forward(h, words[:, i]), np.full(len(words), int(i == 0)))
                   for i, (dot, loss) in enumerate(self.parts))

    def backward(self, dout=1):
        return sum(dot.backward(loss.backward(dout)) for dot, loss in self.parts)


class _OfLayers(BaseModel):
    """The parameters of several layers."""

    def hold(self, *layers):
        self.params = [p for layer in layers for p in layer.params]
        self.grads = [g for layer in layers for g in layer.grads]


def _weights(*shape):
    return np.random.randn(*shape) / np.sqrt(shape[0])  # noqa: NPY002 people seed this one


class Encoder(_OfLayers):
    """Ids (N, T) to the last hidden state (N, H)."""

    def __init__(self, vocab_size, wordvec_size, hidden_size):
        D, H = wordvec_size, hidden_size
        self.embed = manual.TimeEmbedding(_weights(vocab_size, D))
        self.lstm = manual.TimeLSTM(_weights(D, 4 * H), _weights(H, 4 * H), np.zeros(4 * H))
        self.hold(self.embed, self.lstm)

    def forward(self, xs):
        self.hs = self.lstm.forward(self.embed.forward(xs))
        return self.hs[:, -1, :]

    def backward(self, dh):
        dhs = np.zeros_like(self.hs)
        dhs[:, -1, :] = dh
        return self.embed.backward(self.lstm.backward(dhs))


class Decoder(_OfLayers):
    """Ids (N, T) and a first state (N, H) to scores (N, T, V)."""

    def __init__(self, vocab_size, wordvec_size, hidden_size):
        D, H = wordvec_size, hidden_size
        self.embed = manual.TimeEmbedding(_weights(vocab_size, D))
        self.lstm = manual.TimeLSTM(_weights(D, 4 * H), _weights(H, 4 * H), np.zeros(4 * H),
                                    stateful=True)
        self.affine = manual.TimeAffine(_weights(H, vocab_size), np.zeros(vocab_size))
        self.hold(self.embed, self.lstm, self.affine)

    def forward(self, xs, h):
        self.lstm.set_state(h)
        return self.affine.forward(self.lstm.forward(self.embed.forward(xs)))

    def backward(self, dscore):
        self.embed.backward(self.lstm.backward(self.affine.backward(dscore)))
        return self.lstm.dh


class Seq2seq(_OfLayers):
    """An encoder, a decoder and their loss."""

    def __init__(self, vocab_size, wordvec_size, hidden_size):
        self.encoder = Encoder(vocab_size, wordvec_size, hidden_size)
        self.decoder = Decoder(vocab_size, wordvec_size, hidden_size)
        self.softmax = manual.TimeSoftmaxWithLoss()
        self.hold(self.encoder, self.decoder)

    def forward(self, xs, ts):
        h = self.encoder.forward(xs)
        return self.softmax.forward(self.decoder.forward(ts[:, :-1], h), ts[:, 1:])

    def backward(self, dout=1):
        return self.encoder.backward(self.decoder.backward(self.softmax.backward(dout)))


_LAYERS = {name: getattr(manual, name) for name in manual.__all__}
_FUNCTIONS = {f.__name__: f for f in (sigmoid, relu, softmax, cross_entropy_error)}
_COLUMNS = {f.__name__: f for f in (im2col, col2im)}
_NUMPY = {"np": numpy_standin, "numpy": numpy_standin}

_CONTENTS: dict[str, dict[str, Any]] = {
    "np": _NUMPY,
    "config": {"GPU": False},
    "functions": {**_NUMPY, **_FUNCTIONS},
    "layers": {**_NUMPY, **_FUNCTIONS, **_LAYERS},
    "time_layers": {**_NUMPY, **_FUNCTIONS, **_LAYERS},
    "attention_layer": {k: v for k, v in _LAYERS.items() if "Attention" in k or k == "WeightSum"},
    "negative_sampling_layer": {c.__name__: c for c in (UnigramSampler, EmbeddingDot,
                                                        NegativeSamplingLoss)},
    "seq2seq": {c.__name__: c for c in (Encoder, Decoder, Seq2seq)},
    "base_model": {"BaseModel": BaseModel},
    "im2col_cython": {f.__name__: f for f in (im2col_cython, col2im_cython, col2im_6d_cython)},
    "util": {**_COLUMNS, "clip_grads": clip_grads, "to_gpu": lambda x: x, "to_cpu": lambda x: x},
    "optimizer": {"SGD": SGD},
    "builtins": {"xrange": range},  # of past
}


def contents_of(module: str):
    """What a module of the book holds, by the last part of its name (common.layers, ch07.seq2seq,
    layers); nothing for one that is not known."""
    return _CONTENTS.get(module.rpartition(".")[2], {})


def anywhere(name: str):
    """What the book calls by a name, None if it knows no such name."""
    return next((c[name] for c in _CONTENTS.values() if name in c), None)


def missing(name, module):
    """A class that can be inherited from and named, and raises where it would be needed."""

    def __init__(self, *args, **kwargs):
        raise ImportError(f"{name} of {module} is not there")

    return type(name, (), {"__init__": __init__, "__module__": module,
                           "__class_getitem__": classmethod(lambda cls, key: cls)})


class StandIn(types.ModuleType):
    """A module of ``contents``; any other public name is a class that raises when it is used."""

    def __init__(self, name, contents):
        super().__init__(name)
        self.__dict__.update(contents)
        self.__all__ = [key for key in contents if not key.startswith("_")]
        self.__path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return missing(name, self.__name__)
