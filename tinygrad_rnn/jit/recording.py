"""Arrays that compute at once and write every NumPy call onto a tape.

They sit below the Tensors: the engine, the layers and the optimizers see arrays that take part in
NumPy's protocols (NEP 13, NEP 18), as CuPy's do, and know nothing of the recording.
"""

import itertools
import operator
import os
import sys
import weakref
from types import FrameType
from typing import Any

import numpy as np

from ..functional import _sigmoid
from ..speed import add_at
from ..tensor import Tensor
from . import JitError
from .state import ARRAYS
from .tape import Call, Tape, Value, name_of

__all__ = ["Recorder", "RecordingArray", "RecordingGenerator", "RecordingNumber", "added",
           "draw", "overwritten"]  # fmt: skip


class JitAttributeError(JitError, AttributeError):
    """For hasattr: an array under recording does not have all that an array has."""


def source_line():
    """Where the program stands: the innermost line outside this folder and outside NumPy."""
    frame: FrameType | None = sys._getframe(1)
    inside, engine = _here(), None
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(inside) and NUMPY not in file and "<__array_" not in file:
            line = f"{file}:{frame.f_lineno}"
            if not file.startswith(_package()):
                return line if engine is None else f"{line} (in {engine})"
            engine = engine or f"{file[len(_package()):]}:{frame.f_lineno}"
        frame = frame.f_back
    return engine or "?"


NUMPY = f"{os.sep}numpy{os.sep}"


def _here():
    return os.path.dirname(__file__)


def _package():
    return os.path.dirname(_here()) + os.sep


class Storage:
    """Memory that one or several recording arrays look at: the value that it holds now."""

    __slots__ = ("value", "version")

    def __init__(self, value):
        self.value, self.version = value, 0


class Recorder:
    """One recording: the tape, and who wraps what."""

    def __init__(self):
        self.tape = Tape()
        self._constants = {}  # id of an array -> (the array, its value): the reference keeps the id
        self.made = []  # weak references to all recording arrays

    def alive(self):
        """The recording arrays that something still holds."""
        return [array for made in self.made if (array := made()) is not None]

    # values from outside

    def input(self, x):
        """A recording array, number or generator for what comes in anew at each replay."""
        if isinstance(x, np.random.Generator):
            value = Value(None)
            self.tape.inputs.append(value)
            return RecordingGenerator(self, x, value)
        value = Value.of(x)
        self.tape.inputs.append(value)
        if isinstance(x, (int, float)):
            return RecordingNumber(self, x, Storage(value))
        return RecordingArray(self, x, Storage(value))

    def constant(self, array):
        """The value of an array that the program brought along, copied: it may be edited later."""
        if type(array) not in ARRAYS:
            raise JitError(f"{source_line()}: {type(array).__name__} computes in a way of its own,"
                           " which is not recorded; hand in np.asarray of it")
        held = self._constants.get(id(array))
        if held is None or not np.array_equal(held[1], array, equal_nan=array.dtype.kind == "f"):
            value = Value.of(array)
            self.tape.constants[value] = array.copy()
            held = self._constants[id(array)] = array, self.tape.constants[value], value
        return held[2]

    # calls

    def call(self, fn, args, kwargs, effect=False):
        """Compute ``fn(*args, **kwargs)``, and record it."""
        out = fn(*_plain(args), **_plain(kwargs))
        args, kwargs = self.symbolic(args), self.symbolic(kwargs)
        return self.record(fn, args, kwargs, out, effect)

    def record(self, fn, args, kwargs, out, effect=False, base=None):
        if isinstance(out, (tuple, list)):
            raise JitError(f"{source_line()}: {name_of(fn)} gives several arrays, which is not"
                           " supported under tg.jit")
        number = not isinstance(out, (np.ndarray, np.generic))
        if not number and out.dtype.hasobject:
            raise JitError(f"{source_line()}: {name_of(fn)} gives an array of Python objects, which"
                           " cannot be recorded")
        if number and not isinstance(out, (int, float)):
            raise JitError(f"{source_line()}: {name_of(fn)} gives {type(out).__name__}, which"
                           " cannot be recorded")
        value = Value.of(out)
        view = base is not None and np.may_share_memory(out, base.value)
        self.tape.calls.append(Call(fn, args, kwargs, value, effect, view, source_line()))
        if number:
            return RecordingNumber(self, out, Storage(value))
        if isinstance(out, np.generic):
            out = np.asarray(out)
        if view:
            path = (*base._path, (fn, args[1:], kwargs))
            return RecordingArray(self, out, base._storage, path, value)
        return RecordingArray(self, out, Storage(value))

    def symbolic(self, x):
        """The argument as it stands on the tape."""
        if isinstance(x, RecordingArray):
            if x._recorder is not self:
                raise JitError(f"{source_line()}: an array of another recording came; nothing that"
                               " was made in a recorded step may be kept for the next")
            return x._value()
        if isinstance(x, np.ndarray):
            return self.constant(x)
        if isinstance(x, (tuple, list)):
            return type(x)([self.symbolic(item) for item in x])
        if isinstance(x, dict):
            return {k: self.symbolic(v) for k, v in x.items()}
        if isinstance(x, slice):
            return slice(*(self.symbolic(item) for item in (x.start, x.stop, x.step)))
        return x

    def update(self, target, fn, args, kwargs=None):
        """``target`` becomes ``fn(*args)``: a new value; its memory is edited as in eager."""
        kwargs = kwargs or {}
        symbolic = self.symbolic(args), self.symbolic(kwargs)
        new = fn(*_plain(args), **_plain(kwargs))
        value = Value.of(target.value)
        if not isinstance(target.value, np.ndarray):
            raise JitError(f"{source_line()}: a number cannot be updated in place")
        if new.dtype != target.dtype:  # as out= casts
            made = Value.of(new)
            self.tape.calls.append(Call(fn, *symbolic, made, line=source_line()))
            fn, symbolic = np.astype, ((made, target.dtype), {})
        if np.shape(new) != target.shape:
            raise ValueError(f"{name_of(fn)}: a result of {np.shape(new)} for {target.shape}")
        target.value[...] = new
        self.tape.calls.append(Call(fn, *symbolic, value, line=source_line()))
        storage = target._storage
        if target._path:
            root = Value(storage.value.shape, storage.value.dtype, storage.value.order)
            self.tape.calls.append(Call(through, (storage.value, value, self.path(target)), {},
                                        root, line=source_line()))
            storage.value = root
        else:
            storage.value = value
        storage.version += 1
        target._version, target._cached = storage.version, value
        return target

    @staticmethod
    def path(array):
        return [(fn, args, kwargs) for fn, args, kwargs in array._path]


def through(root, value, path):
    """A copy of ``root`` with ``value`` written into a view of it."""
    root = view = root.copy(order="K")
    for fn, args, kwargs in path:
        view = fn(view, *args, **kwargs)
    view[...] = value
    return root


def overwritten(array, index, value):
    """A copy of ``array`` with ``value`` at ``index``."""
    array = array.copy(order="K")
    array[index] = value
    return array


def added(buffer, index, g):
    """A copy of ``buffer`` with ``g`` added at ``index``."""
    buffer = buffer.copy(order="K")
    add_at(buffer, index, g)
    return buffer


def draw(generator, method, args, kwargs):
    """Random numbers from the generator that the program uses."""
    return getattr(generator, method)(*args, **kwargs)


def _plain(x):
    """The arrays themselves, to compute with."""
    if isinstance(x, RecordingArray):
        return x.value
    if isinstance(x, (tuple, list)):
        return type(x)([_plain(item) for item in x])
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, slice):
        return slice(*map(_plain, (x.start, x.stop, x.step)))
    return x


def _first(x):
    if isinstance(x, RecordingArray):
        return x
    if isinstance(x, (tuple, list)):
        return next((found for item in x if (found := _first(item)) is not None), None)
    if isinstance(x, dict):
        return _first(list(x.values()))
    return None


def _refused(what):
    def refuse(self, *args, **kwargs):
        hint = (". An argument may decide if it is an int, a bool or a string: for each, the step"
                " is recorded anew") if isinstance(self, RecordingNumber) else ""
        raise JitError(f"{source_line()}: {what} of a value that is being recorded: a replay could"
                       " not follow it. Compute it with NumPy calls (np.where for a choice), or"
                       f" return it and look at it outside the recorded step{hint}")
    return refuse


def _operator(fn):
    def method(self, other):
        if isinstance(other, Tensor):
            return NotImplemented
        return self._recorder.call(fn, (self, other), {})

    def reflected(self, other):
        return self._recorder.call(fn, (other, self), {})

    def in_place(self, other):
        return self._recorder.update(self, fn, (self, other))

    return method, reflected, in_place


def _unary(fn):
    return lambda self: self._recorder.call(fn, (self,), {})


def _method(fn):
    return lambda self, *args, **kwargs: fn(self, *args, **kwargs)


class RecordingArray:
    """An array under recording. What it holds now is ``value``; what stands for it on the tape
    changes with every edit of its memory, also through another view of it."""

    __slots__ = ("__weakref__", "_cached", "_path", "_recorder", "_storage", "_version", "value")

    def __init__(self, recorder, value, storage, path=(), cached=None):
        self._recorder, self.value, self._storage, self._path = recorder, value, storage, path
        self._version, self._cached = storage.version, cached or storage.value
        recorder.made.append(weakref.ref(self))

    def _value(self):
        if self._version != self._storage.version:  # edited through another view: look again
            value, array = self._storage.value, None
            for fn, args, kwargs in self._path:
                out = Value(self.shape, self.dtype) if array is None else array
                self._recorder.tape.calls.append(
                    Call(fn, (value, *args), kwargs, out, view=True, line=source_line()))
                value = out
            self._version, self._cached = self._storage.version, value
        return self._cached

    # the protocols

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        recorder = _first(inputs)._recorder if _first(inputs) is not None else out[0]._recorder
        if method == "at":
            recorder.update(_target(inputs[0]), added_of(ufunc), inputs)
            return None
        fn = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "__call__" and kwargs.get("where", True) is not True:
            if out is None:
                raise JitError(f"{source_line()}: np.{ufunc.__name__} with where= and without out="
                               " leaves the other elements to chance; use np.where")
            target, mask = _target(out), kwargs.pop("where")
            return recorder.update(target, masked(ufunc), (target, mask, *inputs), kwargs)
        if out is None:
            return recorder.call(fn, inputs, kwargs)
        return recorder.update(_target(out[0]), fn, inputs, kwargs)

    def __array_function__(self, func, types, args, kwargs):
        if any(issubclass(t, Tensor) for t in types):
            return NotImplemented
        if func in _QUESTIONS:
            return func(*_plain(args), **_plain(kwargs))
        if func in _OWN:
            return _OWN[func](*args, **kwargs)
        if func in _EDITING:
            raise JitError(f"{source_line()}: np.{func.__name__} edits its argument and gives"
                           " nothing, which cannot be recorded; write a[index] = value, or use"
                           " np.where")
        if func in _UNKNOWN_SHAPE or (func is np.where and len(args) == 1) or (
                func in _COUNTED and isinstance(args[1], RecordingArray)):
            raise _unknown_shape(f"np.{func.__name__}")
        recorder = _first((args, kwargs))._recorder
        out = kwargs.pop("out", None)
        if out is not None:
            return recorder.update(_target(out), func, args, kwargs)
        result = func(*_plain(args), **_plain(kwargs))
        base = args[0] if args and isinstance(args[0], RecordingArray) else None
        return recorder.record(func, recorder.symbolic(args), recorder.symbolic(kwargs), result,
                               base=base)

    @staticmethod
    def __primitive__(fn, *args, **kwargs):
        """One of the engine's own functions: one call on the tape."""
        if fn is add_at:
            buffer = _target(args[0])
            buffer._recorder.update(buffer, added, args)
            return None
        if fn in _INLINE:  # a few NumPy calls and no loop: they are better planned one by one
            return fn.__wrapped__(*args, **kwargs)
        recorder = _first((args, kwargs))._recorder
        return recorder.call(fn, args, kwargs, effect=getattr(fn, "checks", False))

    def __array__(self, *args, **kwargs):
        raise JitError(f"{source_line()}: an array that is being recorded would become a plain one"
                       " (np.asarray(a), np.array([a, b]), zeros[i] = a), which a replay could not"
                       " follow: join arrays with np.stack, and make one that is filled with"
                       " np.zeros_like(a, shape=...)")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise JitAttributeError(f"{source_line()}: .{name} of an array that is being recorded:"
                                f" use the function np.{name}, if there is one")

    # what it is

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    itemsize = property(lambda self: self.value.itemsize)
    nbytes = property(lambda self: self.value.nbytes)
    base = property(lambda self: self._storage if self._path else None)
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))

    def __len__(self):
        return len(self.value)

    def __iter__(self):
        return iter([self[i] for i in range(len(self.value))])

    def __repr__(self):
        return f"recorded {self.value!r}"

    __bool__, __float__, __int__ = map(_refused, ("bool", "float", "int"))
    __index__, item, tolist = map(_refused, ("an index", "item", "tolist"))
    __hash__ = object.__hash__

    # indexing

    def __getitem__(self, index):
        if any(getattr(i, "dtype", None) == np.bool_ for i in
               (index if isinstance(index, tuple) else (index,))):
            raise _unknown_shape("a[mask]", "; use np.where(mask, a, 0)")
        if any(isinstance(i, slice) and _first((i.start, i.stop, i.step)) is not None for i in
               (index if isinstance(index, tuple) else (index,))):
            raise _unknown_shape("a[i:j]", "; use an index of fixed length, a[i + np.arange(n)]")
        out = self.value[_plain(index)]
        recorder = self._recorder
        args = recorder.symbolic((self, index))
        return recorder.record(operator.getitem, args, {}, out, base=self)

    def __setitem__(self, index, value):
        if isinstance(value, RecordingArray) and value._storage is self._storage:
            here = self.value[_plain(index)]
            if same_memory(here, value.value):
                return  # a[i] += b has already edited a[i]
        self._recorder.update(self, overwritten, (self, index, value))

    # operators

    __add__, __radd__, __iadd__ = _operator(np.add)
    __sub__, __rsub__, __isub__ = _operator(np.subtract)
    __mul__, __rmul__, __imul__ = _operator(np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = _operator(np.divide)
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operator(np.floor_divide)
    __pow__, __rpow__, __ipow__ = _operator(np.power)
    __mod__, __rmod__, __imod__ = _operator(np.remainder)
    __matmul__, __rmatmul__, __imatmul__ = _operator(np.matmul)
    __and__, __rand__, __iand__ = _operator(np.bitwise_and)
    __or__, __ror__, __ior__ = _operator(np.bitwise_or)
    __xor__, __rxor__, __ixor__ = _operator(np.bitwise_xor)
    __lt__, __le__ = _operator(np.less)[0], _operator(np.less_equal)[0]
    __gt__, __ge__ = _operator(np.greater)[0], _operator(np.greater_equal)[0]
    __eq__, __ne__ = _operator(np.equal)[0], _operator(np.not_equal)[0]  # type: ignore[assignment]
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __invert__ = _unary(np.invert)

    # methods under NumPy's names

    sum, mean, prod, any, all = map(_method, (np.sum, np.mean, np.prod, np.any, np.all))
    max, min, argmax, argmin = map(_method, (np.max, np.min, np.argmax, np.argmin))
    ravel, squeeze, swapaxes = map(_method, (np.ravel, np.squeeze, np.swapaxes))
    repeat, take, argsort, clip = map(_method, (np.repeat, np.take, np.argsort, np.clip))
    dot, cumsum, diagonal, trace = map(_method, (np.dot, np.cumsum, np.diagonal, np.trace))
    var, std, round, cumprod = map(_method, (np.var, np.std, np.round, np.cumprod))
    conj, conjugate, searchsorted = map(_method, (np.conj, np.conj, np.searchsorted))
    real, imag = property(lambda self: np.real(self)), property(lambda self: np.imag(self))

    def flatten(self, order="C"):
        return np.ravel(self, order).copy()

    def sort(self, axis=-1):
        self[...] = np.sort(self, axis)

    def copy(self, order="K"):
        return _copy(self, order)

    def astype(self: Any, dtype, copy=True):
        if np.dtype(dtype) == self.dtype:
            return _copy(self) if copy else self
        return np.astype(self, dtype)

    def reshape(self, *shape):
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes):
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def fill(self, value):
        self[...] = value


class RecordingNumber(RecordingArray):
    """A Python number under recording (a learning rate, a count of steps). With other numbers it
    stays one, so that it never widens the dtype of an array (NEP 50)."""

    __slots__ = ()

    shape: tuple = ()
    ndim, size, itemsize, nbytes = 0, 1, 0, 0
    dtype = property(lambda self: np.result_type(self.value))

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        return RecordingArray.__array_ufunc__(self, ufunc, method, *inputs, out=out, **kwargs)


def _number_operator(name):
    fn = getattr(operator, name)
    slow = getattr(RecordingArray, f"__{name}__")
    slow_reflected = getattr(RecordingArray, f"__r{name}__")

    def method(self, other):
        if isinstance(other, (int, float, RecordingNumber)):
            return self._recorder.call(fn, (self, other), {})
        return slow(self, other)

    def reflected(self, other):
        if isinstance(other, (int, float)):
            return self._recorder.call(fn, (other, self), {})
        return slow_reflected(self, other)

    setattr(RecordingNumber, f"__{name}__", method)
    setattr(RecordingNumber, f"__r{name}__", reflected)
    setattr(RecordingNumber, f"__i{name}__", method)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod"):
    _number_operator(_name)



def _number_comparison(name):
    fn, slow = getattr(operator, name), getattr(RecordingArray, f"__{name}__")

    def method(self, other):
        if isinstance(other, (int, float, RecordingNumber)):
            return self._recorder.call(fn, (self, other), {})
        return slow(self, other)

    setattr(RecordingNumber, f"__{name}__", method)


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _number_comparison(_name)
RecordingNumber.__hash__ = _refused("a look-up")  # type: ignore[assignment]
RecordingNumber.__str__ = RecordingNumber.__format__ = _refused("the text")  # type: ignore[method-assign,assignment]
RecordingNumber.__round__ = _refused("round")  # type: ignore[attr-defined]
RecordingNumber.__neg__ = lambda self: self._recorder.call(operator.neg, (self,), {})  # type: ignore[method-assign]


class RecordingGenerator:
    """A random generator under recording: draws now, and again at each replay."""

    def __init__(self, recorder, generator, value):
        self._recorder, self._generator, self._value = recorder, generator, value

    @property
    def bit_generator(self):
        return _refused("the state")(self)

    def __getattr__(self, method):
        def drawn(*args, **kwargs):
            if method in ("shuffle", "spawn", "permuted") or kwargs.get("out") is not None:
                raise JitError(f"{source_line()}: {method} of a random generator cannot be recorded"
                               " in this form; use permutation, or a[...] = rng.random(a.shape)")
            out = getattr(self._generator, method)(*_plain(args), **_plain(kwargs))
            recorder = self._recorder
            symbolic = (self._value, method, recorder.symbolic(args), recorder.symbolic(kwargs))
            return recorder.record(draw, symbolic, {}, out, effect=True)

        return drawn


def same_memory(a, b):
    """Whether two arrays are the same view, element for element."""
    keys = "data", "shape", "strides", "typestr"
    return all(a.__array_interface__[key] == b.__array_interface__[key] for key in keys)


def added_of(ufunc):
    """``ufunc.at`` that makes a new array."""
    def at(array, index, *values):
        array = array.copy(order="K")
        ufunc.at(array, index, *values)
        return array

    at.__name__ = f"{ufunc.__name__}.at"
    return at


def masked(ufunc):
    """``ufunc`` with ``where=`` that makes a new array."""
    def where(array, mask, *inputs, **kwargs):
        array = array.copy(order="K")
        ufunc(*inputs, out=array, where=mask, **kwargs)
        return array

    where.__name__ = f"{ufunc.__name__}.where"
    return where


def _unknown_shape(what, instead=""):
    return JitError(f"{source_line()}: {what}: how many elements come out hangs on the values,"
                    f" which a recording cannot follow{instead}")


def _target(out):
    if isinstance(out, tuple):
        (out,) = out
    if not isinstance(out, RecordingArray):
        raise JitError(f"{source_line()}: a value that is being recorded is written into an array"
                       " that is not; make that one with np.zeros_like(a, shape=...)")
    return out


# --- functions of NumPy that are not simply recorded ---------------------------------------------


def _copy(a, order="K", subok=False):
    """A copy: the same value on the tape, where nothing is overwritten, in new memory."""
    if isinstance(a, RecordingNumber):
        return a
    if order == "C" and not a.value.flags.c_contiguous:
        return np.positive(a, order=order)
    value = a.value.copy(order="K")
    if not isinstance(a.value, np.ndarray) or not a._path or Value.of(value).order == (
            Value.of(a.value).order):
        return type(a)(a._recorder, value, Storage(a._value()))
    return a._recorder.record(np.copy, (a._value(),), {"order": "K"}, value)


def _filled(fill):
    def create(a, *args, dtype=None, shape=None, order="K", subok=True):
        value = args[0] if args else fill
        recorder = _first((a, value))._recorder
        shape = np.shape(a) if shape is None else shape
        shape = shape if isinstance(shape, tuple) else (shape,)
        kind = np.dtype(getattr(a, "dtype", float) if dtype is None else dtype)
        return recorder.call(np.full, (shape, value), {"dtype": kind})

    return create


def _split(ary, indices_or_sections, axis=0):
    n = indices_or_sections
    size = ary.shape[axis]
    if isinstance(n, int):
        ends = [len(part) for part in np.array_split(np.empty(size), n)]
        ends = [0, *np.cumsum(ends).tolist()]
    else:
        ends = [0, *(int(i) for i in n), size]
    before = (slice(None),) * (axis % ary.ndim)
    return [ary[(*before, slice(a, b))] for a, b in itertools.pairwise(ends)]


def _unstack(x, axis=0):
    before = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*before, i)] for i in range(x.shape[axis]))


def _reduction(ufunc):
    def reduce(a, axis=None, dtype=None, out=None, keepdims=False, **kwargs):
        kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
        if dtype is not None:
            kwargs["dtype"] = dtype
        return ufunc.reduce(a, axis=axis, keepdims=keepdims, **kwargs)

    return reduce


def _clip(a, a_min=None, a_max=None, out=None, *, min=None, max=None):
    low, high = a_min if min is None else min, a_max if max is None else max
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _copyto(dst, src, casting="same_kind", where=True):
    dst[...] = src if where is True else np.where(where, src, dst)


def _result_type(*args):
    return np.result_type(*(x.value if isinstance(x, RecordingArray) else x for x in args))


_OWN = {
    # like=: what comes beside an array under recording
    np.asarray: lambda a: a, np.arange: np.arange,
    np.copy: _copy, np.split: _split, np.array_split: _split, np.unstack: _unstack,
    np.zeros_like: _filled(0), np.empty_like: _filled(0), np.ones_like: _filled(1),
    np.full_like: _filled(None),
    np.sum: _reduction(np.add), np.prod: _reduction(np.multiply),
    np.max: _reduction(np.maximum), np.min: _reduction(np.minimum), np.clip: _clip,
    np.any: _reduction(np.logical_or), np.all: _reduction(np.logical_and),
    np.result_type: _result_type, np.copyto: _copyto,
}  # fmt: skip
_INLINE = {_sigmoid}
_QUESTIONS = {np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.shares_memory,
              np.may_share_memory, np.array_repr, np.array_str}  # fmt: skip
_UNKNOWN_SHAPE = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.unique_values, np.compress,
                  np.extract, np.bincount, np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d,
                  np.trim_zeros}  # fmt: skip
_COUNTED = {np.repeat, np.delete}  # whose second argument says how many
_EDITING = {np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis}
