"""Stand-ins for the book's own modules (``common.np``, ``common.layers``, ...), which a file that
is checked imports, and which are often not beside it. The layers are those of ``manual``; the
rest is here. What is not here either can be imported and defined against, and says so when used.
"""

import types

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


_LAYERS = {name: getattr(manual, name) for name in manual.__all__}
_FUNCTIONS = {f.__name__: f for f in (sigmoid, relu, softmax, cross_entropy_error)}
_NUMPY = {"np": numpy_standin, "numpy": numpy_standin}

BOOK = {
    "common": {},
    "common.np": _NUMPY,
    "common.config": {"GPU": False},
    "common.functions": {**_NUMPY, **_FUNCTIONS},
    "common.layers": {**_NUMPY, **_FUNCTIONS, **_LAYERS},
    "common.time_layers": {**_NUMPY, **_FUNCTIONS, **_LAYERS},
    "common.base_model": {"BaseModel": BaseModel},
    "common.util": {"clip_grads": clip_grads, "to_gpu": lambda x: x, "to_cpu": lambda x: x},
    "common.optimizer": {"SGD": SGD},
}


def missing(name, module):
    """A class that can be inherited from and named, and raises where it would be needed."""

    def __init__(self, *args, **kwargs):
        raise ImportError(f"{name} of {module} is not there")

    return type(name, (), {"__init__": __init__, "__module__": module})


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
