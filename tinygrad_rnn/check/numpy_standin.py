"""A stand-in for ``numpy``, handed to checked code in place of the real one.

It is NumPy but for four things, each of which a check needs:

- float32 is float64, wherever it is asked for, so that rounding cannot pass for a mistake;
- while a forward pass is traced, the arrays that it creates can hold Tensors
  (``hs = np.empty((N, T, H), dtype='f')``, then ``hs[:, t, :] = h``);
- memory that NumPy leaves uninitialised is filled with NaN, so that reading it shows;
- ``np.clip`` can be told to leave everything as it is, where a backward clips its gradients.
"""

from __future__ import annotations

import contextlib
import sys
import types
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..tensor import Tensor
from .filled import Filled, filling

_tracing: ContextVar[bool] = ContextVar("tracing", default=False)
_zeroed: ContextVar[Any] = ContextVar("zeroed", default=False)
_emptied: ContextVar[list[Any] | None] = ContextVar("emptied", default=None)
_unclipped: ContextVar[bool] = ContextVar("unclipped", default=False)
_clips: ContextVar[list[str] | None] = ContextVar("clips", default=None)
_widened: ContextVar[list[str] | None] = ContextVar("widened", default=None)


@contextlib.contextmanager
def _set(variable, value):
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


@contextlib.contextmanager
def tracing():
    """Created float arrays are Tensors inside the block, and numbers of Tensors are these."""
    tensor: Any = Tensor
    item = tensor.item
    tensor.item = lambda t, *at: item(t, *at) if at or not t.requires_grad else t
    try:
        with _set(_tracing, True), filling():
            yield
    finally:
        tensor.item = item


def as_float(*x):
    """``float(x)``, also of an array (1, 1), as earlier; x itself of a Tensor of one element."""
    one = len(x) == 1 and isinstance(x[0], (np.ndarray, Tensor)) and x[0].size == 1
    kept = one and isinstance(x[0], Tensor) and x[0].requires_grad
    return x[0].reshape(()) if kept else float(x[0].item() if one else x[0]) if x else 0.0


def as_int(*x, **base):
    """``int(x)``, also of an array of one element, as earlier."""
    one = len(x) == 1 and isinstance(x[0], np.ndarray) and x[0].size == 1
    return int(x[0].item() if one else x[0], *x[1:], **base) if x else 0


def shaped(x, shape):
    """What has the name of x after ``x.shape = shape``."""
    if isinstance(x, Tensor):
        return x.reshape(shape)
    x.shape = shape
    return x


def as_type(x):
    """``type(x)``, where it is compared: that of the array, or number, that a Tensor stands for."""
    if isinstance(x, Tensor) and not x.ndim:
        return np.float64
    return numpy_standin.ndarray if isinstance(x, (np.ndarray, Tensor)) else type(x)


def is_tracing() -> bool:
    return _tracing.get()


def unpoisoned(where: Any = True):
    """Memory that NumPy leaves uninitialised is zero inside the block; ``where``: only what is
    asked for at this file and line."""
    return _set(_zeroed, where)


def is_unpoisoned() -> bool:
    return _zeroed.get() is True


def noting_empty():
    """Yields a list of where memory is asked for that is left uninitialised: file and line."""
    return _set(_emptied, [])


def unclipped(without: bool = True):
    """np.clip changes nothing inside the block."""
    return _set(_unclipped, without)


def is_unclipped() -> bool:
    return _unclipped.get()


def noting_float32():
    """Yields a list that is not empty once something has asked for float32."""
    return _set(_widened, [])


def noting_clips():
    """Yields a list that is longer each time that np.clip has changed something."""
    return _set(_clips, [])


def clips() -> int:
    """How often it has."""
    return len(_clips.get() or ())


def _note(seen: list[str] | None, what: str):
    if seen is not None and not seen:
        seen.append(what)


def _clip(a, a_min=None, a_max=None, out=None, **kwargs):
    clipped = np.clip(a, a_min, a_max, **kwargs)
    if isinstance(a, np.ndarray) and np.any(clipped != a):
        noted = _clips.get()
        if noted is not None:
            noted.append("clipped")
    clipped = a if is_unclipped() else clipped
    if out is None:
        return clipped
    out[...] = clipped
    return out


def wide(dtype):
    """The dtype, or float64 for a narrower float."""
    if dtype is None:
        return None
    try:
        known = np.dtype(dtype)
    except TypeError:
        return dtype
    if known.kind == "f" and known.itemsize < 8:
        _note(_widened.get(), "float32")
        return np.float64
    return dtype


def _fillable(array):
    return Filled(array) if _tracing.get() and array.dtype.kind == "f" else array


def _poisoned(array):
    if array.dtype.kind == "f":
        asking = sys._getframe(2)
        at, noted = (asking.f_code.co_filename, asking.f_lineno), _emptied.get()
        if noted is not None:
            noted.append(at)
        array.fill(0.0 if _zeroed.get() in (True, at) else np.nan)
    return array


def _creator(fn, fill=lambda array: array):
    def create(shape, *args, **kwargs):
        shape = () if shape is None else shape  # as in NumPy 1
        return _fillable(fill(fn(shape, *_wide_args(args), **_wide_kwargs(kwargs))))

    return create


def _liker(fn, fill=lambda array: array):
    def create(a, *args, **kwargs):
        a = a.detach().numpy() if isinstance(a, Tensor) else np.asarray(a)
        made = fn(a, *_wide_args(args), **_wide_kwargs(kwargs))
        return _fillable(fill(made.astype(wide(made.dtype), copy=False)))

    return create


def _wide_args(args):
    return [wide(a) if isinstance(a, (str, type, np.dtype)) else a for a in args]


def _wide_kwargs(kwargs):
    return {k: wide(v) if k == "dtype" else v for k, v in kwargs.items()}


def _holds_tensor(x):
    if isinstance(x, (list, tuple)):
        return any(map(_holds_tensor, x))
    return isinstance(x, Tensor)


def _stack(x):
    if isinstance(x, (list, tuple)):
        return np.stack([_stack(item) for item in x])
    return x if isinstance(x, Tensor) else np.asarray(x)


def _array(a, dtype=None, *args, copied=True, **kwargs):
    if _holds_tensor(a):
        out = _stack(a)
        out = out if dtype is None or wide(dtype) in (float, "float64") else out.astype(wide(dtype))
        return np.copy(out) if copied else out
    fn = np.array if copied else np.asarray
    made = fn(a, wide(dtype), *args, **kwargs)
    made = made.astype(np.float64) if made.dtype in (np.float32, np.float16) else made
    return _fillable(made) if isinstance(a, list) else made


def _sum(a, *args, **kwargs):
    """NumPy 1 takes a generator, too."""
    return sum(a) if isinstance(a, types.GeneratorType) else _of_lists(np.sum)(a, *args, **kwargs)


def _of_lists(fn):
    """A function that takes lists of Tensors, too, as NumPy's takes lists of arrays."""
    return lambda a, *args, **kwargs: fn(_stack(a) if _holds_tensor(a) else a, *args, **kwargs)


class _ArrayType(type):
    def __instancecheck__(cls, x):
        return isinstance(x, (np.ndarray, Tensor))

    def __call__(cls, shape, *args, **kwargs):
        if cls is not _Array or len(args) > 1 or kwargs.keys() - {"dtype"}:
            return super().__call__(shape, *args, **kwargs)
        return numpy_standin.empty(shape, *args, **kwargs)


class _Array(np.ndarray, metaclass=_ArrayType):
    """``isinstance(x, np.ndarray)`` holds for Tensors too; ``np.ndarray(shape)`` is np.empty."""


class _Joined:
    """np.c_ and np.r_, also of Tensors."""

    def __init__(self, real, axis):
        self.real, self.axis = real, axis

    def __getitem__(self, items):
        if not _holds_tensor(items):
            return self.real[items]
        items = [_stack(x) for x in (items if isinstance(items, tuple) else (items,))]
        if self.axis and all(x.ndim == 1 for x in items):
            return np.stack(items, 1)
        return np.concatenate(items, self.axis)


_NARROW = {"float32", "float16", "single", "half"}


class _Module(types.ModuleType):
    """A module of NumPy's, with something else in some places."""

    def __init__(self, real, **others):
        super().__init__(real.__name__)
        vars(self).update(others, real=real)

    def __getattr__(self, name):
        return getattr(self.__dict__["real"], name)


def _default_rng(seed: int | None = None):
    """A generator without a seed has one: two runs of a layer draw the same."""
    return np.random.default_rng(0 if seed is None else seed)


def _seed(seed=None):
    """The same of the state that all share: ``seed()`` would draw another mask in each run."""
    if seed is not None:
        np.random.seed(seed)  # noqa: NPY002


def _as_strided(x, shape, strides, *args, **kwargs):
    real = np.lib.stride_tricks.as_strided
    if not isinstance(x, Tensor):
        return real(x, shape, strides, *args, **kwargs)
    at = np.empty_like(x.detach().numpy(), dtype=np.int64)  # which element stands where
    at[...] = np.arange(at.size).reshape(at.shape)
    return x.reshape(-1)[real(at, shape, strides)]


# What NumPy 1 had and NumPy 2 has not, and what stands for it.
_EARLIER: dict[str, Any] = {
    "int": int, "float": float, "bool": bool, "complex": complex, "object": object, "str": str,
    "long": int, "unicode": str, "float_": np.float64, "complex_": np.complex128,
    "unicode_": np.str_, "string_": np.bytes_, "Inf": np.inf, "Infinity": np.inf,
    "infty": np.inf, "PINF": np.inf, "NINF": -np.inf, "NaN": np.nan, "NAN": np.nan,
    "product": np.prod, "cumproduct": np.cumprod, "sometrue": np.any, "alltrue": np.all,
    "round_": np.round, "row_stack": np.vstack, "in1d": np.isin, "asfarray": (
        lambda a, *_: _array(a, np.float64, copied=False)),
    "trapz": getattr(np, "trapezoid", None), "mat": np.asmatrix,
}  # fmt: skip
_PYTHON = {"int", "float", "bool", "complex", "object", "str", "long"}  # NumPy 2 has some anew


def _posing(fn, real):
    """A function of the type by which messages call NumPy's own."""
    kind = type(real)
    name = kind.__name__ if kind.__module__ == "builtins" else f"numpy.{kind.__name__}"
    return type(name, (), {"__call__": staticmethod(fn),
                           "__getattr__": lambda self, name: getattr(real, name)})()


class NumpyStandIn(types.ModuleType):
    """See the text of this module."""

    def __init__(self):
        super().__init__("numpy")
        self.__all__ = [name for name in dir(np) if not name.startswith("_")]
        self.random = _Module(np.random, default_rng=_default_rng, seed=_seed)
        tricks = _Module(np.lib.stride_tricks, as_strided=_as_strided)
        self.lib = _Module(np.lib, stride_tricks=tricks)
        self.ndarray = _Array
        self.zeros, self.ones = _creator(np.zeros), _creator(np.ones)
        self.full, self.eye, self.identity = map(_creator, (np.full, np.eye, np.identity))
        self.empty = _creator(np.empty, _poisoned)
        self.zeros_like, self.ones_like = _liker(np.zeros_like), _liker(np.ones_like)
        self.full_like, self.empty_like = _liker(np.full_like), _liker(np.empty_like, _poisoned)
        self.c_, self.r_ = _Joined(np.c_, -1), _Joined(np.r_, 0)
        self.array = _array
        self.asarray = self.asanyarray = lambda a, dtype=None, **kw: (
            _array(a, dtype, copied=False, **kw))
        self.ascontiguousarray = lambda a, dtype=None: a if _holds_tensor(a) else (
            np.ascontiguousarray(_array(a, dtype, copied=False)))
        self.clip = _clip
        self.sum, self.mean, self.prod = _sum, _of_lists(np.mean), _of_lists(np.prod)
        self.max, self.min = _of_lists(np.max), _of_lists(np.min)
        # constant but for a jump: no gradient goes through it
        self.heaviside = lambda a, b: np.heaviside(
            *(x.detach().numpy() if isinstance(x, Tensor) else x for x in (a, b)))
        self.copy = lambda a, *args: np.copy(a) if isinstance(a, Tensor) else np.array(a)
        self.unravel_index = lambda indices, shape=None, order="C", dims=None: np.unravel_index(
            indices, shape if dims is None else dims, order)
        self.arange, self.linspace = (
            lambda *args, fn=fn, **kw: fn(*args, **_wide_kwargs(kw)) for fn in (
                np.arange, np.linspace))

        self.stack, self.hstack, self.vstack = (  # which took iterators, in NumPy 1
            lambda arrays, *args, fn=fn, **kw: fn(list(arrays) if hasattr(
                arrays, "__next__") else arrays, *args, **kw) for fn in (
                np.stack, np.hstack, np.vstack))
        for name, fn in vars(self).items():
            if isinstance(fn, types.FunctionType):
                vars(self)[name] = _posing(fn, getattr(np, name))
        self.__dict__["finished"] = True

    def __setattr__(self, name, value):
        """A file that puts another function in the place of NumPy's (one that runs on a GPU) means
        the same function: NumPy's stays."""
        if "finished" not in self.__dict__ or not hasattr(np, name):
            super().__setattr__(name, value)

    def __getattr__(self, name):
        if name in _NARROW:
            return wide(np.float32)
        if name in _EARLIER and (name in _PYTHON or not hasattr(np, name)):
            return _EARLIER[name]
        return getattr(np, name)


class _Add:
    """np.add, to whose ``at`` the book assigns cupyx.scatter_add."""

    def __init__(self):
        self.at = np.add.at

    def __call__(self, *args, **kwargs):
        return np.add(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(np.add, name)


class CupyStandIn(NumpyStandIn):
    """NumPy under the name of CuPy, with what only CuPy has."""

    def __init__(self):
        super().__init__()
        self.__dict__["add"] = _Add()
        self.scatter_add, self.cupyx = np.add.at, self
        self.asnumpy = self.asarray
        self.get_array_module = lambda *_: numpy_standin
        self.cuda = _Nothing()


class _Nothing:
    """Anything may be asked of it and called, and nothing happens."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args, **kwargs):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


# what messages call it: unsupported operand type(s) for *: 'float' and 'module'
NumpyStandIn.__name__ = CupyStandIn.__name__ = _Module.__name__ = "module"
numpy_standin = NumpyStandIn()
cupy_standin = CupyStandIn()
