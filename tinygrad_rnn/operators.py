"""Operators, and methods under NumPy's names.

They call ``apply`` (here: ``self.__primitive__``) as NumPy's protocols do, without the way through
NumPy, which would cost a third more.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .primitive import Function
from .protocols import Protocols, arrays_in

T = TypeVar("T")  # a Tensor: what the class above makes of this one
Axis: TypeAlias = int | tuple[int, ...] | None


def _method(fn: Any) -> Function:
    """np.fn as a method, with NumPy's own arguments."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call(fn, (self, *args), kwargs)

    return method


def _reflected_method(fn: Any) -> Function:
    return lambda self, other: self._call(fn, (other, self), {})


_OF_BITS = np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift


def _unary(fn: Function) -> Callable[[T], T]:
    return lambda self: self.__primitive__(fn, self)


def _binary(fn: Function) -> Callable[[T, Any], T]:
    return lambda self, other: self.__primitive__(fn, self, other)


def _reflected(fn: Function) -> Callable[[T, Any], T]:
    return lambda self, other: self.__primitive__(fn, other, self)


def _reduced(fn: Function, x: Any, axis: Axis, keepdims: bool, form: dict[str, Any]) -> Any:
    if form:
        return x._call(fn, (x,), {"axis": axis, "keepdims": keepdims, **form})
    return x.__primitive__(fn, x, axis=axis, keepdims=keepdims)


def _in_place(fn: Function) -> Callable[[T, Any], T]:
    """``t += other``: the name stands for the new version. Its shape and dtype stay, as in NumPy,
    where numbers alone (no axes) become whatever comes out."""

    def method(self: Any, other: Any) -> Any:
        new = self.__primitive__(fn, self, other)
        if not self.shape or (new.shape, new.dtype) == (self.shape, self.dtype):
            return new
        if new.shape != self.shape:
            raise ValueError(f"{fn.__name__}: a result of {new.shape} does not fit into the Tensor"
                             f" of {self.shape} on the left; write t = t + ... for a new one")
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{fn.__name__}: a result of {new.dtype} does not fit into the Tensor"
                            f" of {self.dtype} on the left")
        return new.astype(self.dtype)

    return method


def _of_memory(name: str) -> Callable[..., Any]:
    """A method of arrays about their memory, which a value does not have."""

    def method(self: Any, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{name}: a Tensor is a value, without memory of its own to show; for an"
                        f" array, cut from the graph: t.detach().numpy().{name}(...)")

    return method


def _of_values(name: str) -> Callable[..., Any]:
    """A method that writes values down, and gives none that a gradient could come back to."""
    return lambda self, *args: getattr(self._held, name)(*args)


# What arrays of other libraries have, and what it is here (t is the Tensor).
_HERE = {
    "clone": "t.copy()", "contiguous": "t.copy()", "dim": "t.ndim", "numel": "t.size", "t": "t.T",
    "permute": "t.transpose(axes)", "expand": "np.broadcast_to(t, shape)",
    "norm": "np.linalg.norm(t)",
    "unsqueeze": "np.expand_dims(t, axis)", "chunk": "np.array_split(t, n, axis)",
    "masked_fill": "np.where(mask, value, t)", "gather": "np.take_along_axis(t, ids, axis)",
    "index_select": "np.take(t, ids, axis)", "mm": "t @ u", "bmm": "t @ u", "grad_fn": "repr(t)",
    "requires_grad_": "t.requires_grad = True", "ctypes": "t.numpy().ctypes",
    **dict.fromkeys(("float", "double", "half", "long", "int", "bool", "to", "type"),
                    "t.astype(dtype)"),
    **{name: f"tinygrad_rnn.functional.{name}(t)" for name in (
        "sigmoid", "relu", "softmax", "log_softmax", "logsumexp", "erf")},
}  # fmt: skip


def _here(name: str) -> str | None:
    """How what is no attribute of a Tensor is written, if it is known."""
    if name.endswith("_") and not name.startswith("_") and name not in _HERE:
        return "t[...] = value, or t += value: a Tensor has no methods that edit it"
    for module in (np, np.linalg):
        fn = getattr(module, name, None)
        if callable(fn) and not isinstance(fn, type) and name not in _HERE:
            return f"{module.__name__.replace('numpy', 'np')}.{name}(t)"
    return _HERE.get(name)


def _compare(fn: Function) -> Callable[[Any, Any], Any]:
    return lambda self, other: fn(self._held, arrays_in(other))


class Flat:
    """``t.flat``: reading gives new Tensors, writing makes a new version of ``t``."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __len__(self) -> int:
        return self._tensor.size

    def __iter__(self) -> Any:
        return iter(np.ravel(self._tensor))

    def __getitem__(self, index: Any) -> Any:
        return np.ravel(self._tensor)[index]

    def __setitem__(self, index: Any, values: Any) -> None:
        t = self._tensor
        flat = np.ravel(t)
        flat[index] = values
        t[...] = np.reshape(flat, t.shape)


class Operators(Protocols):
    """The face of an array. Comparisons, ``argmax`` and ``argmin`` give plain arrays."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._held.shape

    @shape.setter
    def shape(self, _: Any) -> None:
        raise AttributeError("shape: a Tensor keeps its shape; t.reshape(...) is a new one")

    @property
    def ndim(self) -> int:
        return self._held.ndim

    @property
    def size(self) -> int:
        return self._held.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._held.dtype

    @dtype.setter
    def dtype(self, _: Any) -> None:
        raise AttributeError("dtype: a Tensor keeps its dtype; t.astype(...) is a new one")

    @property
    def T(self) -> Self:
        return self.__primitive__(np.transpose, self)

    @property
    def mT(self) -> Self:
        return self.__primitive__(np.swapaxes, self, axis1=-1, axis2=-2)

    itemsize = property(lambda self: self._held.itemsize)
    nbytes = property(lambda self: self._held.nbytes)
    strides = property(lambda self: self._held.strides)
    flags = property(lambda self: self._held.flags)
    device = property(lambda self: self._held.device)
    base = property(lambda self: None)  # a value is a view of nothing

    __add__, __radd__ = _binary(np.add), _reflected(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply), _reflected(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide), _reflected(np.divide)
    __pow__, __rpow__ = _binary(np.power), _reflected(np.power)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _reflected(np.floor_divide)
    __mod__, __rmod__ = _binary(np.remainder), _reflected(np.remainder)
    __matmul__, __rmatmul__ = _binary(np.matmul), _reflected(np.matmul)
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __lt__, __le__ = _compare(np.less), _compare(np.less_equal)
    __gt__, __ge__ = _compare(np.greater), _compare(np.greater_equal)
    __eq__, __ne__ = _compare(np.equal), _compare(np.not_equal)
    __and__, __or__, __xor__, __lshift__, __rshift__ = map(_method, _OF_BITS)
    __rand__, __ror__, __rxor__, __rlshift__, __rrshift__ = map(_reflected_method, _OF_BITS)
    __iadd__, __isub__, __imul__ = map(_in_place, (np.add, np.subtract, np.multiply))
    __itruediv__, __ifloordiv__ = map(_in_place, (np.divide, np.floor_divide))
    __imod__, __ipow__, __imatmul__ = map(_in_place, (np.remainder, np.power, np.matmul))
    __hash__ = object.__hash__  # identity, as == compares values

    abs, sign, sqrt, square = map(_unary, (np.absolute, np.sign, np.sqrt, np.square))
    exp, expm1, log, log1p = map(_unary, (np.exp, np.expm1, np.log, np.log1p))
    sin, cos, tan = map(_unary, (np.sin, np.cos, np.tan))
    arcsin, arccos, arctan = map(_unary, (np.arcsin, np.arccos, np.arctan))
    sinh, cosh, tanh = map(_unary, (np.sinh, np.cosh, np.tanh))
    arcsinh, arccosh, arctanh = map(_unary, (np.arcsinh, np.arccosh, np.arctanh))
    var, std = _method(np.var), _method(np.std)
    cumsum, cumprod = _method(np.cumsum), _method(np.cumprod)
    ravel, squeeze, expand_dims = map(_method, (np.ravel, np.squeeze, np.expand_dims))
    moveaxis, broadcast_to = _method(np.moveaxis), _method(np.broadcast_to)
    flip, roll, tile, repeat = map(_method, (np.flip, np.roll, np.tile, np.repeat))
    split, unstack, take = map(_method, (np.split, np.unstack, np.take))
    dot, diagonal, trace = map(_method, (np.dot, np.diagonal, np.trace))
    maximum, minimum = _method(np.maximum), _method(np.minimum)
    argmax, argmin, argsort = map(_method, (np.argmax, np.argmin, np.argsort))
    nonzero, any, all = map(_method, (np.nonzero, np.any, np.all))
    argpartition, searchsorted = map(_method, (np.argpartition, np.searchsorted))
    round, conj, conjugate = map(_method, (np.round, np.conj, np.conj))
    real = property(lambda self: self)
    imag = property(lambda self: np.zeros_like(self))
    put, choose = _method(np.put), _method(np.choose)
    tofile, dump, dumps = map(_of_values, ("tofile", "dump", "dumps"))
    byteswap, setflags = _of_memory("byteswap"), _of_memory("setflags")
    getfield, setfield = _of_memory("getfield"), _of_memory("setfield")

    __invert__ = _method(np.invert)

    if not TYPE_CHECKING:  # to a type checker a name that is not there is an error

        def __getattr__(self, name):
            here = _here(name)
            raise AttributeError(f"Tensor.{name}: no such attribute" + (
                f"; here it is {here}" if here else ""), name=name, obj=self)  # fmt: skip

    def to_device(self, device: Any, *, stream: Any = None) -> Self:
        """The same value: a Tensor stays where its array is. ValueError for another device."""
        if device != self.device or stream is not None:
            raise ValueError(f"to_device: {device!r}: this Tensor is on {self.device!r}; make one"
                             " of an array that is there")
        return self.copy()

    def __divmod__(self, other: Any) -> tuple[Self, Self]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Self, Self]:
        return other // self, other % self

    def __round__(self, decimals: int = 0) -> Self:
        return np.round(self, decimals)

    def __delitem__(self, _: Any) -> None:
        raise ValueError("del t[i]: the elements of a Tensor cannot be taken out; np.delete(t, i,"
                         " axis) is a new one without them")

    def resize(self, *_: Any, **__: Any) -> None:
        raise TypeError("resize: a Tensor keeps its shape; np.resize(t, shape) is a new one")

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self == value))

    def compress(self, condition: Any, axis: int | None = None) -> Self:
        return np.compress(condition, self, axis)

    @property
    def flat(self) -> Flat:
        """The elements in the order of rows, to be walked over, picked and written."""
        return Flat(self)

    @flat.setter
    def flat(self, values: Any) -> None:
        self.flat[:] = values

    def fill(self, value: Any) -> None:
        self[...] = value

    def sort(self, axis: int = -1) -> None:
        self[...] = np.sort(self, axis)

    def partition(self, kth: Any, axis: int = -1) -> None:
        self[...] = np.partition(self, kth, axis)

    def tobytes(self, order: Any = "C") -> bytes:
        """The values as bytes, row after row."""
        return self._held.tobytes(order)

    def view(self, dtype: DTypeLike | None = None, *shape: int) -> Self:
        """The same value. TypeError for another dtype: bits read anew have no derivative."""
        if shape or isinstance(dtype, (int, tuple)):
            raise TypeError("view: in another shape, that is t.reshape(...) here")
        if dtype is not None and np.dtype(dtype) != self.dtype:
            raise TypeError(f"view: the bits of {self.dtype} as {np.dtype(dtype)} have no"
                            " derivative; .astype() converts the values")
        return self.copy()

    def reshape(self, *shape: Any, order: Any = "C") -> Self:
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        if order != "C":
            return np.reshape(self, shape, order=order)
        return self.__primitive__(np.reshape, self, shape=shape)

    def transpose(self, *axes: Any) -> Self:
        axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return self.__primitive__(np.transpose, self, axes=axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        return self.__primitive__(np.swapaxes, self, axis1=axis1, axis2=axis2)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Self:
        return self.__primitive__(np.astype, self, dtype=np.dtype(dtype))

    def copy(self, order: Any = "C") -> Self:
        return self.__primitive__(np.copy, self, order=order)

    def flatten(self, order: Any = "C") -> Self:
        return np.ravel(self, order)

    def sum(self, axis: Axis = None, keepdims: bool = False, **form: Any) -> Self:
        return _reduced(np.sum, self, axis, keepdims, form)

    def mean(self, axis: Axis = None, keepdims: bool = False, **form: Any) -> Self:
        return _reduced(np.mean, self, axis, keepdims, form)

    def max(self, axis: Axis = None, keepdims: bool = False, **form: Any) -> Self:
        return _reduced(np.max, self, axis, keepdims, form)

    def min(self, axis: Axis = None, keepdims: bool = False, **form: Any) -> Self:
        return _reduced(np.min, self, axis, keepdims, form)

    def prod(self, axis: Axis = None, keepdims: bool = False, **form: Any) -> Self:
        return _reduced(np.prod, self, axis, keepdims, form)

    def clip(self, min: Any = None, max: Any = None) -> Self:
        return np.clip(self, min, max)

    def pow(self, exponent: Any) -> Self:
        return self**exponent


for _name, _fn in vars(Operators).items():
    if isinstance(_fn, FunctionType):  # an error of Python's about arguments says the name
        _fn.__name__, _fn.__qualname__ = _name, f"Tensor.{_name}"
    if _fn.__doc__ is None and not _name.startswith("_"):
        _fn.__doc__ = f"See ``{'np' if hasattr(np, _name) else 'np.ndarray'}.{_name}``."
