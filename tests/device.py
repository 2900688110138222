"""An array of another library, for machines that have no GPU: what CuPy's arrays are to NumPy.

``Device`` wraps an array of NumPy's and hides it: it takes part in the two protocols and has the
methods that arrays have. But ``np.asarray`` of it is an error, and so is one call for it and an
array of NumPy's ("host"). ``to_device`` and what leads back (``get``, ``item``, ``float``, ...) is
counted in ``crossings``; so is what makes CuPy wait for the device, a mask as an index. Arrays that
calls make in new memory are counted in ``allocations``.
"""

import ctypes
import operator
import subprocess
import tempfile
from collections import Counter
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

crossings: Counter = Counter()
allocations: Counter = Counter()  # by the name of the call
# What CuPy 14 has not, or calls otherwise: of NumPy's functions, of reductions, of keywords.
LACKS = {f"numpy.{name}" for name in (
    "block", "geomspace", "insert", "matvec", "nanpercentile", "nanquantile", "polyder", "polydiv",
    "polyint", "spacing", "unstack", "vecdot", "vecmat", "linalg.diagonal", "linalg.matrix_norm",
    "linalg.multi_dot", "linalg.outer", "linalg.svdvals", "linalg.tensordot", "linalg.trace",
    "linalg.vecdot", "linalg.vector_norm")}  # fmt: skip
METHODS = {"reduce": {np.add, np.multiply}, "accumulate": {np.add, np.multiply},
           "reduceat": {np.add}, "at": {np.add, np.subtract, np.maximum, np.minimum}}  # fmt: skip
OTHERS = {np.reshape: "shape", np.linalg.cholesky: "upper", np.max: "initial", np.min: "initial",
          np.sum: "initial", np.argsort: "stable", np.sort: "stable"}  # fmt: skip
noted: list | None = None  # while a graph is captured: calls, and what was in their arrays before


def cross(way):
    if noted is not None:
        raise RuntimeError("nothing waits for the device, or crosses, while a graph is captured")
    crossings[way] += 1


def do(fn, *args, **kwargs):
    """Every call that computes on the device ends here."""
    if noted is not None:
        before = [(a, a.copy()) for a in _arrays((args, kwargs)) if a.flags.writeable]
    result = fn(*args, **kwargs)
    result = np.asarray(result) if isinstance(result, np.generic) else result
    for made in _arrays([result]):
        if made.size and not any(np.may_share_memory(made, a) for a in _arrays((args, kwargs))):
            allocations[getattr(getattr(fn, "__self__", fn), "__name__", fn)] += 1
    if noted is not None:
        noted.append((fn, args, kwargs, result, before))
    return result


def join(fn, arrays, *args, **kwargs):
    """np.concatenate, np.stack: where more than eight lie CuPy's kernel is told by the host."""
    if len(arrays) > 8:
        pinned()
    return fn(arrays, *args, **kwargs)


def at(index):
    """An index inside; of numbers alone it gives a view, as CuPy's does. What comes of a mask
    hangs on how many are in it, for which CuPy waits."""
    index = _inside(index)
    parts = index if isinstance(index, tuple) else (index,)
    if any(getattr(i, "dtype", None) == np.bool_ for i in parts):
        cross("out")
    if any(isinstance(i, list) for i in parts):
        cross("in")
    return (*parts, ...) if all(isinstance(i, (int, np.integer)) for i in parts) else index


def to_device(x):
    """A copy on the device."""
    cross("in")
    return Device(np.array(x))


class Device(np.lib.mixins.NDArrayOperatorsMixin):
    __slots__ = ("__weakref__", "_a")
    # what NumPy offers only through like=, by which an array comes in
    _coming = (np.asarray, np.array, np.ascontiguousarray, np.asanyarray)
    _made = (np.zeros, np.ones, np.empty, np.full, np.arange, np.eye, np.tri, np.identity)

    def __init__(self, a):
        self._a = a

    # the protocols

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if not _ours((inputs, kwargs)) or any(
                hasattr(x, "__array_ufunc__") and not isinstance(x, (Device, np.generic))
                for x in inputs):
            return NotImplemented
        if f"numpy.{ufunc.__name__}" in LACKS or ufunc not in METHODS.get(method, {ufunc}):
            raise NotImplementedError(f"CuPy has no {ufunc.__name__}.{method}")
        if kwargs.keys() - {"dtype", "casting", "axis", "keepdims"}:
            raise TypeError(f"CuPy's {ufunc.__name__} takes no {sorted(kwargs)}")
        inputs, kwargs = _inside(inputs), _inside(kwargs)
        if out is not None:
            kwargs["out"] = tuple(_inside(x) for x in out)
        result = _outside(do(getattr(ufunc, method), *inputs, **kwargs))
        return out[0] if out is not None else result

    def __array_function__(self, func, types, args, kwargs):
        if any(t is not Device for t in types):
            return NotImplemented  # the host's; or those that wrap ours, whose turn it is
        if f"{func.__module__}.{func.__name__}" in LACKS or OTHERS.get(func) in kwargs:
            raise NotImplementedError(f"CuPy has no np.{func.__name__} with {sorted(kwargs)}")
        if func in self._coming:
            if isinstance(args[0], Device):
                return args[0].astype(kwargs.get("dtype", args[0].dtype))
            cross("in")
            return Device(np.array(func(*args, **kwargs)))
        if func not in self._made and not _ours((args, kwargs)):
            return NotImplemented
        out = kwargs.get("out")
        if func in (np.concatenate, np.stack, np.vstack, np.hstack):
            func, args = join, (func, *args)
        result = do(func, *_inside(args), **_inside(kwargs))
        if func in (np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.shares_memory,
                    np.may_share_memory, np.iscomplexobj, np.array_repr, np.array_str):
            return result
        return _outside(result) if out is None else out

    def __array__(self, *args, **kwargs):
        raise TypeError("an array of the device does not become one of the host by itself: get()")

    # back

    def get(self):
        cross("out")
        return self._a.copy()

    def item(self, *args):
        cross("out")
        return self._a.item(*args)

    def tolist(self):
        cross("out")
        return self._a.tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.item().__index__()

    def __bool__(self):
        cross("out")
        return bool(self._a)

    # what arrays have

    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    dtype = property(lambda self: self._a.dtype)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: self._a.flags)
    T = property(lambda self: Device(self._a.T))
    base = property(lambda self: self._a.base)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"device {self._a!r}"

    def __str__(self):
        return str(self._a)

    def __getitem__(self, index):
        _refuse(index)
        return _outside(do(operator.getitem, self._a, at(index)))

    def __setitem__(self, index, value):
        _refuse((index, value))
        do(operator.setitem, self._a, at(index), _inside(value))

    __hash__ = None


class Generator:
    """As CuPy's of random numbers: it draws on the device, and its state is nobody's to see."""

    def __init__(self, seed):
        self._drawn = _drawn(np.random.default_rng(seed))
        next(self._drawn)

    def random(self, size=None, dtype=np.float64):
        return self._drawn.send(("random", size, dtype))

    def standard_normal(self, size=None, dtype=np.float64):
        return self._drawn.send(("standard_normal", size, dtype))


def _drawn(rng):
    numbers = None
    while True:
        method, size, dtype = yield numbers
        numbers = _outside(getattr(rng, method)(size, dtype=dtype))


def _method(name):
    def method(self, *args, **kwargs):
        _refuse((args, kwargs))
        return _outside(do(getattr(np.ndarray, name), self._a, *_inside(args), **_inside(kwargs)))

    return method


for _name in ["all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumprod",
              "cumsum", "diagonal", "dot", "fill", "flatten", "max", "mean", "min", "nonzero",
              "prod", "ravel", "repeat", "reshape", "round", "searchsorted", "sort", "squeeze",
              "std", "sum", "swapaxes", "take", "trace", "transpose", "var", "view"]:  # fmt: skip
    setattr(Device, _name, _method(_name))


def _refuse(x):
    if not _ours(x):
        raise TypeError("an array of the host met one of the device in one call")


def _ours(x):
    """Whether it holds no array of the host."""
    if isinstance(x, np.ndarray):
        return False
    if isinstance(x, (tuple, list)):
        return all(map(_ours, x))
    if isinstance(x, dict):
        return all(map(_ours, x.values()))
    return True


def _inside(x):
    if isinstance(x, Device):
        return x._a
    if isinstance(x, (tuple, list)):
        made = map(_inside, x)
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    if isinstance(x, dict):
        return {k: _inside(v) for k, v in x.items()}
    return x


def _outside(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return Device(np.asarray(x))  # a reduction to one number stays on the device, as CuPy's do
    if isinstance(x, (tuple, list)):
        made = map(_outside, x)
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    return x


def _arrays(x):
    if isinstance(x, np.ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [a for item in x for a in _arrays(item)] if isinstance(x, (tuple, list)) else []


# ---- kernels: the body that CUDA would get, in C ----


class ElementwiseKernel:
    """As CuPy's: ``kernel(*read, *made)``, over elements of arrays that are broadcast."""

    def __init__(self, read, made, body, name):
        parts = [part.split() for part in f"{read}, {made}".split(", ")]
        self.n = len(read.split(", "))
        lines = ["#include <stdbool.h>", "#include <tgmath.h>",
                 "void kernel(long n, char **p, long **o) {", "for (long i = 0; i < n; i++) {"]
        lines += [f"#define {name} (*({'const ' * (i < self.n)}{C[kind]} *) (p[{i}] + o[{i}][i]))"
                  for i, (kind, name) in enumerate(parts)]
        self.source = "\n".join([*lines, body, "}}", ""])
        self.kinds = [kind for kind, _ in parts]
        self.call = library(self.source)

    def __call__(self, *args):
        assert all(type(a) is Device for a in args)
        do(self._run, *_inside(args))

    def _run(self, *arrays):
        assert [a.dtype.name for a in arrays] == self.kinds
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        assert all(a.shape == shape for a in arrays[self.n :])
        wide = [np.broadcast_to(a, shape) for a in arrays]
        offsets = [np.zeros(shape, np.int64) for _ in arrays]
        for a, o in zip(wide, offsets, strict=True):
            for axis, step in enumerate(a.strides):
                o += np.expand_dims(np.arange(shape[axis]) * step,
                                    [*range(1, len(shape) - axis)])
        p, o = ((ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in some))
                for some in (wide, offsets))
        self.call(ctypes.c_long(wide[0].size), p, o)


C = {"float32": "float", "float64": "double", "bool": "bool"}


@cache
def library(source):
    """The function of a source in C, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.c")
        path.write_text(source)
        subprocess.run(["cc", "-O1", "-Werror", "-Wall", "-Wno-unused-variable", "-shared", "-fPIC",
                        path, "-o", path.with_suffix(".so"), "-lm"], check=True)
        return ctypes.CDLL(str(path.with_suffix(".so"))).kernel


# ---- CUDA graphs ----


class Graph:
    """As CuPy's: what was done while it was captured, done again with the same memory."""

    def __init__(self, calls):
        self.calls = calls

    def launch(self):
        for fn, args, kwargs, result, _ in self.calls:
            again = fn(*args, **kwargs)
            again = np.asarray(again) if isinstance(again, np.generic) else again
            for old, new in zip(_arrays([result]), _arrays([again]), strict=True):
                if old.flags.writeable:  # else it is a view, stretched
                    old[...] = new
        cuda.launches += 1


class Stream:
    def __init__(self, non_blocking=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        pass

    def begin_capture(self):
        global noted
        noted = []

    def end_capture(self):
        global noted
        calls, noted = noted, None
        for *_, before in reversed(calls):  # while it is captured, nothing is done
            for array, values in reversed(before):
                array[...] = values
        return Graph(calls)


def pinned():
    """Take memory of the host, from which is sent; a graph would send what lies there by then."""
    if cuda.pinned is not None:
        cuda.pinned(0)
    if noted is not None:
        noted.append((_send, (), {}, None, []))


def _send():
    raise AssertionError("a graph has sent what nobody has written")


def get_default_pinned_memory_pool():
    return SimpleNamespace(malloc=None)


cuda = SimpleNamespace(Stream=Stream, get_current_stream=Stream, launches=0, pinned=None,
                       MemoryPool=lambda: SimpleNamespace(malloc=None),
                       using_allocator=lambda _: nullcontext(),
                       set_pinned_memory_allocator=lambda f: setattr(cuda, "pinned", f))
