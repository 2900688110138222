"""An array of another library, for machines that have no GPU: what CuPy's arrays are to NumPy.

``Device`` wraps an array of NumPy's and hides it: it takes part in the two protocols and has the
methods that arrays have. But ``np.asarray`` of it is an error, and so is one call for it and an
array of NumPy's ("host"). ``to_device`` and what leads back (``get``, ``item``, ``float``, ...) is
counted in ``crossings``.
"""

from collections import Counter

import numpy as np

crossings: Counter = Counter()


def to_device(x):
    """A copy on the device."""
    crossings["in"] += 1
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
        inputs, kwargs = _inside(inputs), _inside(kwargs)
        if out is not None:
            kwargs["out"] = tuple(_inside(x) for x in out)
        result = _outside(getattr(ufunc, method)(*inputs, **kwargs))
        return out[0] if out is not None else result

    def __array_function__(self, func, types, args, kwargs):
        if any(t is not Device for t in types):
            return NotImplemented  # the host's; or those that wrap ours, whose turn it is
        if func in self._coming:
            if isinstance(args[0], Device):
                return args[0].astype(kwargs.get("dtype", args[0].dtype))
            crossings["in"] += 1
            return Device(np.array(func(*args, **kwargs)))
        if func not in self._made and not _ours((args, kwargs)):
            return NotImplemented
        out = kwargs.get("out")
        result = func(*_inside(args), **_inside(kwargs))
        if func in (np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.shares_memory,
                    np.may_share_memory, np.iscomplexobj, np.array_repr, np.array_str):
            return result
        return _outside(result) if out is None else out

    def __array__(self, *args, **kwargs):
        raise TypeError("an array of the device does not become one of the host by itself: get()")

    # back

    def get(self):
        crossings["out"] += 1
        return self._a.copy()

    def item(self, *args):
        crossings["out"] += 1
        return self._a.item(*args)

    def tolist(self):
        crossings["out"] += 1
        return self._a.tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.item().__index__()

    def __bool__(self):
        crossings["out"] += 1
        return bool(self._a)

    # what arrays have

    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    dtype = property(lambda self: self._a.dtype)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
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
        return _outside(self._a[_inside(index)])

    def __setitem__(self, index, value):
        _refuse((index, value))
        self._a[_inside(index)] = _inside(value)

    __hash__ = None


def _method(name):
    def method(self, *args, **kwargs):
        _refuse((args, kwargs))
        return _outside(getattr(self._a, name)(*_inside(args), **_inside(kwargs)))

    return method


for _name in ["all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumprod",
              "cumsum", "diagonal", "dot", "fill", "flatten", "max", "mean", "min", "nonzero",
              "prod", "ravel", "repeat", "reshape", "round", "searchsorted", "sort", "squeeze",
              "std", "sum", "swapaxes", "take", "trace", "transpose", "var"]:  # fmt: skip
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
        return type(x)(map(_inside, x))
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
