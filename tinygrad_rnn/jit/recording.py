"""Arrays that compute at once and write every NumPy call onto a tape.

They sit below the Tensors: the engine, the layers and the optimizers see arrays that take part in
NumPy's protocols (NEP 13, NEP 18), as CuPy's do, and know nothing of the recording.
"""

import contextlib
import dis
import gc
import itertools
import linecache
import operator
import os
import sys
import warnings
import weakref
from collections.abc import Sequence
from functools import cache
from types import CodeType, FrameType
from typing import Any

import numpy as np

from ..arguments import signature
from ..functional import _sigmoid
from ..show import cell_name
from ..speed import add_at
from ..tensor import Tensor
from . import JitError
from .state import ARRAYS, rebuilt
from .tape import Call, Tape, Value, name_of

__all__ = ["MAKERS", "PACKAGE", "Recorder", "RecordingArray", "RecordingGenerator",
           "RecordingNumber", "RecordingSource", "added", "draw", "forget_names", "holder",
           "is_a_librarys", "line_of", "overwritten", "same_bits", "source_line"]  # fmt: skip


class JitAttributeError(JitError, AttributeError):
    """For hasattr: an array under recording does not have all that an array has."""


def here() -> tuple[FrameType | None, FrameType | None]:
    """Where the program stands: the innermost frame outside this library, NumPy and Python's own;
    and the innermost one of the engine."""
    frame: FrameType | None = sys._getframe(1)
    engine = None
    while frame is not None:
        whose = owner_of(frame.f_code.co_filename)
        if whose == "program":
            return frame, engine
        if engine is None and whose == "engine":
            engine = frame
        frame = frame.f_back
    return None, engine


@cache
def owner_of(file: str) -> str:
    """Whose lines these are."""
    if file.startswith(HERE) or is_a_librarys(file):
        return "library"
    return "engine" if file.startswith(PACKAGE) else "program"


@cache
def axis_after(code: CodeType, at: int) -> slice:
    """Which numbers of a shape are taken: the one in ``x.shape[1]``, or all."""
    lines = list(dis.get_instructions(code))
    first = sum(line.offset <= at for line in lines) - 1
    asked, *after = lines[first : first + 3]
    if asked.argval == "shape" and len(after) == 2 and type(i := after[0].argval) is int and (
            after[1].opname.startswith("BINARY") and after[1].argrepr in ("", "[]")):
        return slice(i, i + 1 or None)
    return slice(None)


@cache
def file_named(file: str) -> str:
    """A file, or a cell as its notebook calls it. IPython is asked once in a recording: what it
    calls then would count as calls of the program."""
    return cell_name(file) or file


def forget_names() -> None:
    """Another cell may have the name."""
    file_named.cache_clear()
    _as_text.cache_clear()


def source_line():
    """The line of the program."""
    frame, engine = here()
    place = None if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    return _as_text(place, engine and (engine.f_code.co_filename, engine.f_lineno))


@cache
def _as_text(place, engine):
    if engine is not None:
        engine = f"{engine[0][len(PACKAGE):]}:{engine[1]}"
    if place is None:
        return engine or "?"
    line = f"{file_named(place[0])}:{place[1]}"
    return line if engine is None else f"{line} (in {engine})"


def said_here() -> str:
    """The call in it, as it is written; "this" where that cannot be told."""
    frame, _ = here()
    if frame is None:
        return "this"
    places = itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    line, end, first, last = next(places, (None,) * 4)
    text = linecache.getline(frame.f_code.co_filename, line or 0).encode()[first:last].decode()
    return text if text and line == end else "this"


def line_of(error):
    """Where an error was raised: the innermost line outside this library and outside NumPy."""
    line, trail = "jit", error.__traceback__
    while trail is not None:
        file = trail.tb_frame.f_code.co_filename
        if not file.startswith(PACKAGE) and not is_a_librarys(file):
            line = f"{file_named(file)}:{trail.tb_lineno}"
        trail = trail.tb_next
    return line


NUMPY, PYTHONS = f"{os.sep}numpy{os.sep}", os.path.dirname(os.__file__) + os.sep


@cache
def is_a_librarys(file: str) -> bool:
    """Whether it is NumPy's or Python's: a line of theirs says nothing to the one who reads it."""
    return NUMPY in file or "<__array_" in file or file.endswith((".pyx", ".pxd")) or (
        file.startswith((PYTHONS, "<frozen ")) and "site-packages" not in file)


# what does for arrays what these do for numbers
INSTEAD = {"min": "np.minimum", "max": "np.maximum", "round": "np.round", "sorted": "np.sort",
           "int": "np.floor", "range": "a loop of fixed length and np.where"}  # fmt: skip


# in which no array is
ATOMS = frozenset({int, float, bool, str, type(None), type(...), np.dtype, type})

HERE = os.path.dirname(__file__)
PACKAGE = os.path.dirname(HERE) + os.sep
DERIVED = os.path.join(PACKAGE, "derived") + os.sep  # which computes with sizes, as programs do
# what of the package's stands between the program and an array of which it asks for the size
ASKING = {"shape", "size", "__len__", "__iter__", "__array_function__"}


class Size:
    """How many elements there are along an axis, for a derived function: asked for by whatever is
    made of the number, and not where it stands in a shape alone that is handed on, as it is."""

    __slots__ = ("asked", "n")

    def __init__(self, n: int, asked: set[int | None]) -> None:
        self.n, self.asked = n, asked

    def __array__(self, *args, **kwargs):
        self.asked.add(self.n)
        return np.array(self.n, *args, **kwargs)


def _asks(name: str) -> Any:
    compute = getattr(int, name)

    def method(self, *others):
        self.asked.add(self.n)
        return compute(self.n, *[other.n if isinstance(other, Size) else other
                                 for other in others])

    return method


for _name, _value in vars(int).items():
    if callable(_value) and _name not in ("__new__", "__getattribute__", "__getnewargs__"):
        setattr(Size, _name, _asks(_name))


class Recorder:
    """One recording: the tape, and which array looks at which memory.

    Arrays under recording lie in real memory, on which NumPy computes: what is a view, what
    overlaps, what is a scalar, NumPy decides. An array that owns its memory has the value that
    stands for this memory on the tape now; a view of it is the way from there.
    """

    def __init__(self):
        self.tape = Tape()
        self._constants = {}  # id of an array -> (the array, its value): the reference keeps the id
        self.made = []  # weak references to all recording arrays
        self._owners = {}  # id of what owns memory -> weak reference to the array that has it
        self._errors: Any = np.geterr()
        self.drawing = False
        self.outside: dict[Value, Any] = {}  # inputs that are no arguments, as they came in
        self._sources: dict[Value, frozenset[Value | None]] = {}  # of what calls made, see below
        self._steady: dict[tuple, bool] = {}  # see below
        self.refused: JitError | None = None  # the first refusal: it counts, even if it is caught
        self.over = False  # then its arrays, should something have them yet, are as any others

    def alive(self):
        """The recording arrays that something still holds."""
        return [array for made in self.made if (array := made()) is not None]

    def asks(self, sizes: Sequence[int], whole: bool = False) -> Any:
        """Note what of these the program asks for, and not the engine. What it gets for them,
        where they are the ``whole`` shape."""
        frame: Any = sys._getframe(2)
        while (file := frame.f_code.co_filename).startswith(PACKAGE):
            if frame.f_code.co_name not in ASKING:
                if not file.startswith(DERIVED):
                    return sizes
                if whole:
                    return tuple([Size(n, self.tape.asked) for n in sizes])
                break
            frame = frame.f_back
        self.tape.asked.update(sizes[axis_after(frame.f_code, frame.f_lasti)])
        return sizes

    def refuse(self, what, error=None):
        """A JitError that names the line."""
        refusal = (error or JitError)(f"{source_line()}: {what}")
        if error is None:
            self.refused = self.refused or refusal
        return refusal

    def refuse_choice(self, what, instead=""):
        return self.refuse(f"{what}: which elements come out, or how many, hangs on the values,"
                           f" which a recording cannot follow{instead}")

    # values from outside

    def input(self, x):
        """A recording array, number or generator for what comes in anew at each replay."""
        if isinstance(x, np.random.Generator):
            value = Value(None)
            self.tape.inputs.append(value)
            return RecordingGenerator(self, x, value)
        value = Value.of(x)
        self.tape.inputs.append(value)
        array = self.wrap(x, value)
        array._given = isinstance(x, np.ndarray)
        return array

    def wrap(self, x, value, base=None, path=()):
        """What the program sees of ``x``, which ``value`` is on the tape."""
        if isinstance(x, np.ndarray):
            array = RecordingArray(self, x, value, base, path)
            if base is None:
                self._owners[id(holder(x))] = weakref.ref(array)
            return array
        return (RecordingScalar if isinstance(x, np.generic) else RecordingNumber)(self, x, value)

    def owner(self, array):
        """The recording array that has the memory of ``array``, or None."""
        known = self._owners.get(id(holder(array)))
        return known and known()

    def constant(self, array):
        """The value of an array that the program brought along, copied: it may be edited later."""
        if type(array) not in ARRAYS:
            raise self.refuse(f"{type(array).__name__} computes in a way of its own, which is not"
                              " recorded; hand in np.asarray of it")
        held = self._constants.get(id(array))
        if held is None or not np.array_equal(held[1], array, equal_nan=array.dtype.kind == "f"):
            value = Value.of(array)
            self.tape.constants[value] = array.copy()
            held = self._constants[id(array)] = array, self.tape.constants[value], value
        return held[2]

    def kept_outside(self):
        """Constants that someone holds besides this recorder, each with what is on the tape."""
        kept = [held[:2] for held in self._constants.values()]
        self._constants = {}
        for collect in (lambda: None, gc.collect):  # what only cycles hold is not kept
            if kept:
                collect()
            kept = [pair for pair in kept if _held_elsewhere(pair)]
        return kept

    def sources(self, array):
        """The inputs on which an array hangs; None among them stands for chance."""
        value, calls = array._symbol(), self.tape.calls
        for call in itertools.islice(calls, len(self._sources), None):
            found = [self._sources.get(v, {v} - self.tape.constants.keys()) for v in call.inputs()]
            self._sources[call.out] = frozenset([None] * call.effect).union(*found)
        return self._sources.get(value, {value} - self.tape.constants.keys())

    def keeps(self, mask):
        """Whether a mask is made of none of the arguments, but of masks alone. These will be
        looked at before each replay: the function is recorded anew for others."""
        found: dict[Any, Any] = {value: self.outside.get(value) for value in self.sources(mask)}
        if not all(isinstance(x, np.ndarray) and x.dtype == np.bool_ for x in found.values()):
            return False
        self.tape.masks.update((value, x.copy()) for value, x in found.items())
        return True

    def makes(self, original, args, kwargs):
        """What the program gets of ``np.zeros`` and its kind, which it may fill, and of
        ``np.array`` and its kind of recorded values."""
        if self.drawing:
            return original(*args, **kwargs)
        original = np.zeros if original is np.empty else original
        args = _opened(args)
        out = original(*_plain(args), **_plain(kwargs))
        if _first((args, kwargs)) is None and (
                original not in MAKERS[:4] or out.dtype.kind != "f"):  # others say where, mostly
            return out
        return self.record(original, args, kwargs, out)

    def steady(self, func, args, kwargs, result):
        """Whether the function gives the same shapes and dtypes for other numbers: roots of a
        polynomial, edges of bins, residuals of least squares do not."""
        kinds: list[Any] = []

        def kind(x):
            kinds.append((np.shape(x), getattr(x, "dtype", type(x))))
            return x

        _plain((args, kwargs), kind)
        known = func, *kinds
        if known not in self._steady:
            self._steady[known] = True
            for other in (_zeros, _normal):
                with np.errstate(all="ignore"), warnings.catch_warnings(), (
                        contextlib.suppress(Exception)):
                    warnings.simplefilter("ignore")
                    got = func(*_plain(args, other), **_plain(kwargs, other))
                    self._steady[known] &= _kinds(got) == _kinds(result)
        return self._steady[known]

    # calls

    def call(self, fn, args, kwargs, effect=False):
        """Compute ``fn(*args, **kwargs)``, and record it."""
        plain = [x.value if type(x) is RecordingArray else _plain(x) for x in args]
        try:
            out = fn(*plain, **(kwargs and _plain(kwargs)))
        except Exception:  # which the program may catch, and so know a size
            self.tape.asked.add(None)
            raise
        return out if self.over else self.record(fn, args, kwargs, out, effect)

    def record(self, fn, args, kwargs, out, effect=False):
        """What the program gets for ``out``, which ``fn`` has given."""
        if isinstance(out, (tuple, list)):
            if effect:
                raise self.refuse(f"{name_of(fn)} gives several arrays, which is not supported"
                                  " under tg.jit")
            return rebuilt(out, [self.record(nth(fn, i), args, kwargs, one)
                                 for i, one in enumerate(out)])
        array = isinstance(out, (np.ndarray, np.generic))
        if array and out.dtype.hasobject:
            raise self.refuse(f"{name_of(fn)} gives an array of Python objects, which cannot be"
                              " recorded")
        if not array and not isinstance(out, (int, float)):
            raise self.refuse(f"{name_of(fn)} gives {type(out).__name__}, which cannot be recorded")
        value = Value.of(out)
        root = self.owner(out) if isinstance(out, np.ndarray) else None
        if effect and root is not None:  # a check, which is done again at each replay
            out, root = out.copy(order="K"), None
        more = named = False
        if root is not None:
            named = isinstance(args[0] if args else 0, str) or (
                name_of(fn).partition("[")[0] in _EACH)
            more = _first((args[1:], kwargs)) is not None
            if more and not named:  # where it lies hangs on a value
                if fn is not operator.getitem:
                    raise self.refuse_choice(name_of(fn))
                fn, out, root = picked, out.copy(order="K"), None
        if root is None:
            self.add(fn, self.symbolic(args), self.symbolic(kwargs), value, effect)
            return self.wrap(out, value)
        first = args[0] if args else None
        step: Any
        same = next((x for x in args if named and isinstance(x, RecordingArray)
                     and same_memory(out, x.value)), None)
        if same is not None:  # which NumPy has handed back as it is
            step, path, first, out = (operator.getitem, (...,), {}), same._path, same, (
                same.value[...])
        elif isinstance(first, RecordingArray) and (root is first or root is first._base) and (
                not more):
            step, path = (fn, *_plain((args[1:], kwargs))), first._path
        else:  # a view of something else than of the first argument
            step, path, first = (window, self._place(out, root.value), {}), (), root
        self.add(step[0], (first._symbol(), *step[1]), step[2], value, view=True)
        return self.wrap(out, value, root, (*path, step))

    def _place(self, view, root):
        """Where a view lies in the memory of ``root``: offset in bytes, shape, strides."""
        offset = view.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        in_one_piece = root.transpose(Value.of(root).order or range(root.ndim)).flags.c_contiguous
        if view.dtype != root.dtype or offset < 0 or not in_one_piece:  # as what is copied of it
            raise self.refuse("this view of an array cannot be recorded; make it in another way,"
                              " or of a copy")
        return offset, view.shape, view.strides

    def add(self, fn, args, kwargs, out, effect=False, view=False):
        """One call more on the tape."""
        errors: Any = np.geterr()
        if errors != self._errors and not view:
            fn = under(fn, {k: v for k, v in errors.items() if v != self._errors[k]})
        self.tape.calls.append(Call(fn, args, kwargs, out, effect, view, source_line()))

    def symbolic(self, x):
        """The argument as it stands on the tape."""
        kind = type(x)
        if kind in ATOMS:
            return x
        if kind is tuple:
            return tuple([self.symbolic(item) for item in x])
        if kind is RecordingArray or isinstance(x, RecordingArray):
            if x._recorder is not self:
                raise self.refuse("an array of another recording came; nothing that was made in a"
                                  " recorded step may be kept for the next")
            return x._symbol()
        if isinstance(x, np.ndarray):
            return self.constant(x)
        if isinstance(x, (tuple, list)):
            return rebuilt(x, [self.symbolic(item) for item in x])
        if isinstance(x, dict):
            return {k: self.symbolic(v) for k, v in x.items()}
        if isinstance(x, slice):
            return slice(*(self.symbolic(item) for item in (x.start, x.stop, x.step)))
        return x.n if isinstance(x, Size) else x

    def update(self, target, fn, args, kwargs=None):
        """``target`` becomes ``fn(*args)``, as ``out=`` does it: a new value on the tape."""
        kwargs = kwargs or {}
        symbolic = self.symbolic(args), self.symbolic(kwargs)
        plain = _plain(args), _plain(kwargs)
        if elementwise(fn) and _kind(fn, *plain) == (target.shape, target.dtype):
            fn(*plain[0], **plain[1], out=target.value)
        else:  # it casts, or stretches, or does something else to what was there
            if fn in _IN_TURN and _overwrites(fn, target.value, *plain[0], **plain[1]):
                raise self.refuse(f"np.{fn.__name__} writes into what it has yet to read, and a"
                                  " replay may do so in another order: hand in another out=")
            fn, symbolic = into(fn), ((target._symbol(), *symbolic[0]), symbolic[1])
            fn.edit(target.value, *plain[0], **plain[1])
        return self.edited(target, fn, *symbolic)

    def edit(self, target, fn, args, kwargs=None):
        """``fn(target, *args)`` has edited ``target``: ``fn.edit`` does it to an array."""
        symbolic = (target._symbol(), *self.symbolic(args)), self.symbolic(kwargs or {})
        fn.edit(target.value, *_plain(args), **_plain(kwargs or {}))
        return self.edited(target, fn, *symbolic)

    def edited(self, target, fn, args, kwargs):
        """What is in the memory of ``target`` now is ``fn(*args)``."""
        value, root = Value.of(target.value), target._base
        self.add(fn, args, kwargs, value)
        if root is None:
            target._now = value
        else:
            whole = Value.of(root.value)
            self.add(through, (root._now, value, list(target._path)), {}, whole)
            root._now, root._version = whole, root._version + 1
            target._now, target._version = value, root._version
        if root is None:
            target._version += 1
        return target


def _held_elsewhere(pair):
    root = holder(pair[0])
    return sys.getrefcount(root) > 3  # of these one is root, one getrefcount's, one in the pair


def holder(x):
    """What the memory of an array belongs to. (Not all that lies between is an array:
    ``as_strided`` puts something of its own there.)"""
    while (base := getattr(x, "base", getattr(x, "obj", None))) is not None:
        x = base
    return x


def elementwise(fn):
    return isinstance(fn, np.ufunc) and fn.signature is None and fn.nout == 1


def _kind(fn, args, kwargs):
    """Shape and dtype of what an elementwise function gives; None where that is not so simple."""
    kinds = [x.dtype if hasattr(x, "dtype") else type(x) for x in args]
    if kwargs or not all(kind in (int, float) or isinstance(kind, np.dtype) for kind in kinds):
        return None
    return np.broadcast_shapes(*map(np.shape, args)), fn.resolve_dtypes((*kinds, None))[-1]


def picked(array, index):
    """A part of an array, in memory of its own."""
    return array[index].copy(order="K")


def window(root, offset, shape, strides):
    """A view of an array: so many bytes from its beginning."""
    flat = np.lib.stride_tricks.as_strided(root, (offset // root.itemsize + 1,), (root.itemsize,))
    return np.lib.stride_tricks.as_strided(flat[-1:], shape, strides)


def editing(edit, name):
    """The function that gives a copy of its first argument, edited; ``edit`` works in place."""
    def fn(array, *args, **kwargs):
        array = np.copy(array, order="K")  # of a number, too, which is an array then
        edit(array, *args, **kwargs)
        return array

    vars(fn).update(edit=edit)
    fn.__name__ = name
    return fn


def writes(fn: Any) -> Any:
    """Say of a function that it takes ``out=``; without, it makes an array."""
    vars(fn)["writes"] = True
    return fn


# what ``a[index] = value`` makes of a, and what ``add_at`` does
overwritten = editing(operator.setitem, "overwritten")
added = editing(add_at, "added")


def _write_through(view, value, path):
    for fn, args, kwargs in path:
        view = fn(view, *args, **kwargs)
    view[...] = value


# what a value that is written into a view makes of the array that the view looks at
through = editing(_write_through, "through")


@cache
def edited(fn):
    """np.put and its kind, which edit their first argument."""
    return editing(fn, name_of(fn))


@cache
def into(fn):
    """A call with ``out=``: the first argument is what was there, of which some may stay."""
    def edit(array, *args, **kwargs):
        fn(*args, **kwargs, out=array)

    return editing(edit, f"{name_of(fn)}.out")


@cache
def masked(ufunc):
    """``ufunc`` with ``where=``: the first argument is what was there."""
    def edit(array, mask, *inputs, **kwargs):
        ufunc(*inputs, out=array, where=mask, **kwargs)

    return editing(edit, f"{ufunc.__name__}.where")


@cache
def nth(fn, i):
    """One of the arrays that ``fn`` gives."""
    def pick(*args, **kwargs):
        return fn(*args, **kwargs)[i]

    pick.__name__ = f"{name_of(fn)}[{i}]"
    return pick


def under(fn, errors):
    """``fn``, which the program calls under a np.errstate of its own."""
    if hasattr(fn, "edit"):
        return editing(under(fn.edit, errors), name_of(fn))

    def call(*args, **kwargs):
        with np.errstate(**errors):
            return fn(*args, **kwargs)

    call.__name__ = name_of(fn)
    return call


def draw(generator, method, args, kwargs):
    """Random numbers from the generator that the program uses."""
    return getattr(generator, method)(*args, **kwargs)


def _one_more(array):
    return array + 1 if array.dtype.kind in "iu" else array


def _plain(x, look=lambda array: array):
    """The arrays themselves, to compute with."""
    kind = type(x)
    if kind in ATOMS:
        return x
    if kind is tuple:
        return tuple([_plain(item, look) for item in x])
    if kind is RecordingArray or isinstance(x, RecordingArray):
        return look(x.value)
    if isinstance(x, (tuple, list)):
        return rebuilt(x, [_plain(item, look) for item in x])
    if isinstance(x, dict):
        return {k: _plain(v, look) for k, v in x.items()}
    if isinstance(x, slice):
        return slice(*map(_plain, (x.start, x.stop, x.step)))
    return x.n if isinstance(x, Size) else x


def _read_only(x):
    """The array for a function that should not edit it."""
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def _overwrites(fn, out, pieces, axis=0, **_):
    """Whether a join writes over a piece before that is read; ``ptp`` reads its array twice."""
    if fn is np.ptp:
        return np.shares_memory(out, pieces)
    if fn is np.concatenate:
        ends = np.cumsum([np.shape(piece)[axis or 0] for piece in pieces])[:-1]
        parts = np.split(out, ends, axis or 0)
    else:
        parts = np.moveaxis(out, axis, 0)
    return any(np.shares_memory(piece, part) and not (i == j and same_memory(piece, part))
               for i, piece in enumerate(pieces) for j, part in enumerate(parts[: i + 1]))


def _first(x):
    kind = type(x)
    if kind in ATOMS or kind is np.ndarray:
        return None
    if issubclass(kind, RecordingArray):
        return x
    if issubclass(kind, (tuple, list, dict)):
        for item in x.values() if issubclass(kind, dict) else x:
            if (found := _first(item)) is not None:
                return found
    return None


def _shaping(fn, args, kwargs):
    """Whether a recorded value, not the first, says how many elements come out, or where from."""
    names = itertools.islice(signature(fn).parameters, 1, None)
    given = [*zip(names, args, strict=False), *kwargs.items()]
    return any(_first(x) is not None for name, x in given if fn in _COUNTED or name in _SHAPING
               or (name == "bins" and np.ndim(x) == 0))  # else their edges


def _refused(what, look=None, also=""):
    """A method that a recorded value does not have; of what hangs on no input, ``look`` at it."""
    def refuse(self, *args, **kwargs):
        if look is not None and (self._recorder.over or not self._recorder.sources(self)):
            return look(self.value, *args, **kwargs)
        hint = (". An argument may decide if it is an int, a bool or a string: for each, the step"
                " is recorded anew") if isinstance(self, RecordingNumber) else also
        call = said_here().partition("(")[0]
        numpys = INSTEAD.get(call) or call.replace("math.", "np.") * hasattr(np, call[5:])
        if numpys != call:
            hint = f". Here, write {numpys} in place of {call}" * bool(numpys) + hint
        raise self._recorder.refuse(
            f"{what} of a value that is being recorded: a replay could not follow it. Compute it"
            " with NumPy calls (np.where for a choice), or return it and look at it outside the"
            f" recorded step{hint}")
    return refuse


def _operator(fn):
    def method(self, other):
        if isinstance(other, Tensor):
            return NotImplemented
        return self._recorder.call(fn, (self, other), {})

    def reflected(self, other):
        return self._recorder.call(fn, (other, self), {})

    def in_place(self, other):
        return fn(self, other, out=self)

    return method, reflected, in_place


def _opened(x):
    """With the arrays of Tensors in their places, which have no graph to lose."""
    if isinstance(x, (tuple, list)):
        return rebuilt(x, [_opened(item) for item in x])
    return np.copy(x._held) if isinstance(x, Tensor) and x._node is None else x


def _unary(fn):
    return lambda self: self._recorder.call(fn, (self,), {})


def _part(fn):
    return property(fn, lambda self, value: operator.setitem(fn(self), ..., value))


def _fixed(name, instead):
    def get(self):
        if name == "shape":
            return self._recorder.asks(self.value.shape, whole=True)
        self._recorder.asks(self.value.shape)
        return getattr(self.value, name)

    def refuse(self, _):
        raise self._recorder.refuse(f".{name} of an array that is being recorded is set, which a"
                                    f" replay would not do: write {instead}")
    return property(operator.attrgetter("value.dtype") if name == "dtype" else get, refuse)


def _method(fn):
    return lambda self, *args, **kwargs: fn(self, *args, **kwargs)


class RecordingArray:
    """An array under recording. What it holds now is ``value``; ``_base`` is the array whose
    memory it looks at, None for its own, as NumPy has it. What stands for that memory on the tape
    changes with every edit, also through another view of it."""

    __slots__ = ("__weakref__", "_base", "_given", "_now", "_path", "_recorder", "_version",
                 "value")

    def __init__(self, recorder, array, value, base=None, path=()):
        self._recorder, self.value, self._base, self._path = recorder, array, base, path
        self._now, self._version = value, base._version if base is not None else 0
        self._given = base is not None and base._given  # whether it, or its base, comes in
        recorder.made.append(weakref.ref(self))

    # for isinstance
    __class__ = property(operator.attrgetter("value.__class__"))  # type: ignore[assignment]

    def _symbol(self):
        """Its value on the tape."""
        if self._base is not None and self._version != self._base._version:
            value, array = self._base._now, self._base.value  # edited: look again
            for fn, args, kwargs in self._path:
                array = fn(array, *args, **kwargs)
                seen = Value.of(array)
                self._recorder.add(fn, (value, *args), kwargs, seen, view=True)
                value = seen
            self._version, self._now = self._base._version, value
        return self._now

    # the protocols

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        for x in inputs:
            if issubclass(type(x), Tensor):
                return NotImplemented
        recorder = _first((inputs, out, kwargs))._recorder
        if recorder.over:
            kwargs |= {"out": _plain(out)} if out is not None else {}
            return getattr(ufunc, method)(*_plain(inputs), **_plain(kwargs))
        if method == "at":
            recorder.edit(self._target(inputs[0]), edited(ufunc.at), inputs[1:])
            return None
        fn = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "__call__" and kwargs.get("where", True) is not True:
            if out is None:
                raise recorder.refuse(f"np.{ufunc.__name__} with where= and without out= leaves the"
                                      " other elements to chance; use np.where")
            mask = kwargs.pop("where")
            return recorder.edit(self._target(out), masked(ufunc), (mask, *inputs), kwargs)
        if kwargs and _first(kwargs.get("axis")) is not None:
            raise recorder.refuse_choice(f"np.{ufunc.__name__}.{method}")
        if out is None:
            return recorder.call(fn, inputs, kwargs)
        return recorder.update(self._target(out), fn, inputs, kwargs)

    def __array_function__(self, func, types, args, kwargs):
        if any(issubclass(t, Tensor) for t in types):
            return NotImplemented
        args = [list(x) if hasattr(x, "__getitem__") and hasattr(x, "__iter__") and not isinstance(
            x, KNOWN) else x for x in args]  # a deque
        if func in (np.shares_memory, np.may_share_memory) and not self._recorder.over and len(
                {id(x if getattr(x, "_base", None) is None else x._base) for x in args[:2]}) > 1:
            raise self._lies(f"np.{func.__name__}")
        if func in _QUESTIONS or self._recorder.over:
            self._recorder.asks((*self.value.shape, self.value.size))
            return func(*_plain(args), **_plain(kwargs))
        if not args:  # the first one, on which so much hangs, is given without its name
            args = [kwargs.pop(name) for name in itertools.islice(
                signature(func).parameters, 1) if name in kwargs]
        if func in _OWN:
            return _OWN[func](*args, **kwargs)
        args, recorder = tuple(args), self._recorder
        if func in _EDITING:
            recorder.edit(self._target(args[0]), edited(func), args[1:], kwargs)
            return None
        if func in _UNKNOWN_SHAPE or (func is np.where and len(args) + len(kwargs) == 1) or (
                _first((args[1:], kwargs)) is not None and _shaping(func, args[1:], kwargs)):
            raise recorder.refuse_choice(f"np.{func.__name__}")
        out = kwargs.pop("out", None)
        if out is not None and out is not np._NoValue:
            return recorder.update(self._target(out), func, args, kwargs)
        try:
            result = func(*_plain(args, _read_only), **_plain(kwargs, _read_only))
        except Exception as error:
            recorder.tape.asked.add(None)
            if not isinstance(error, ValueError) or "read-only" not in str(error):
                raise
            raise recorder.refuse(f"np.{func.__name__} edits its argument in this form, which"
                                  " cannot be recorded; write a[index] = value, or use np.where"
                                  ) from None
        if not any(map(callable, args)) and not recorder.steady(func, args, kwargs, result):
            raise recorder.refuse_choice(f"np.{func.__name__}")
        return recorder.record(func, args, kwargs, _writable(func, result))

    @staticmethod
    def __primitive__(fn, *args, **kwargs):
        """One of the engine's own functions: one call on the tape."""
        if (tensor := next((x for x in args if isinstance(x, Tensor)), None)) is not None:
            return tensor.__primitive__(fn, *args, **kwargs)
        recorder = _first((args, kwargs))._recorder
        if recorder.over:
            return fn(*_plain(args), **_plain(kwargs))
        if fn is add_at:
            recorder.edit(_first((args, kwargs))._target(args[0]), added, args[1:])
            return None
        if fn in _INLINE:  # a few NumPy calls and no loop: they are better planned one by one
            return fn.__wrapped__(*args, **kwargs)
        return recorder.call(fn, args, kwargs, effect=getattr(fn, "checks", False))

    def _target(self, out):
        """The array that a recorded value is written into."""
        if isinstance(out, tuple) and len(out) == 1:
            (out,) = out
        if not isinstance(out, RecordingArray):
            raise self._recorder.refuse(
                "a value that is being recorded is written into an array that is not; make that"
                " one with np.zeros_like(a, shape=...)")
        return out

    def __array__(self, *args, **kwargs):
        if self._recorder.over or not self._recorder.sources(self):
            return np.array(self.value)
        raise self._recorder.refuse(
            f"{said_here()} would make a plain array of one that is being recorded, which a replay"
            " could not follow: write a.astype(np.float32) for np.float32(a), and fill what was"
            " made with np.zeros_like(a, shape=...) or, of floats, with np.zeros")

    def __reduce_ex__(self, protocol):
        if self._recorder.over:
            return self.value.__reduce_ex__(protocol)
        raise self._recorder.refuse("pickling an array that is being recorded: return it, and save"
                                    " it outside the recorded step")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if self._recorder.over:
            return getattr(self.value, name)
        raise self._recorder.refuse(f".{name} of an array that is being recorded: " + (
            f"use the function np.{name}" if hasattr(np, name) else "a replay would not do that"),
            JitAttributeError)

    # what it is

    shape = _fixed("shape", "a = a.reshape(...)")
    ndim = property(operator.attrgetter("value.ndim"))
    dtype = _fixed("dtype", "a = a.astype(...), of which the numbers stay what they are")
    itemsize = property(operator.attrgetter("value.itemsize"))
    strides = _fixed("strides", "a = a.reshape(...), or np.transpose")
    flags = property(lambda self: RecordingFlags(self))
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))

    @property
    def size(self):
        self._recorder.asks((self.value.size,))
        return self.value.size

    @property
    def nbytes(self):
        self._recorder.asks((self.value.size,))
        return self.value.nbytes

    @property
    def base(self):
        asks = sys._getframe(1).f_code.co_filename
        if self._given and not self._recorder.over and not asks.startswith(PACKAGE):  # the engine
            raise self._lies(".base")
        return self._base

    def _lies(self, what):
        return self._recorder.refuse(f"{what}: where an array lies that comes from outside may"
                                     " differ from call to call, and a replay does not look; ask"
                                     " outside the recorded step")

    def __len__(self):
        self._recorder.asks(self.value.shape[:1])
        return len(self.value)

    def __iter__(self):
        return iter([self[i] for i in range(len(self))])

    # A text that hangs on values is marked: should it come out of the function, the proof sees it.

    def _marked(self, text):
        over = self._recorder.over or not self._recorder.sources(self)
        return text if over else f"recorded {text}"

    def __repr__(self):
        return self._marked(repr(self.value))

    def __str__(self):
        return self._marked(str(self.value))

    def __format__(self, spec):
        return self._marked(format(self.value, spec))

    __bool__, __float__, __int__, __complex__ = (
        _refused(kind.__name__, kind) for kind in (bool, float, int, complex))
    __index__ = _refused("an index", operator.index, ". A table that is read at recorded indices,"
                         " np.eye(n)[ids], is made outside the recorded step")
    item, tolist, tobytes = (
        _refused(name, getattr(np.ndarray, name)) for name in ("item", "tolist", "tobytes"))
    __hash__ = object.__hash__

    # indexing

    def __getitem__(self, index):
        if self._recorder.over:
            return self.value[_plain(index)]
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, RecordingArray) and i.dtype == np.bool_
               and not self._recorder.keeps(i) for i in parts):
            raise self._recorder.refuse_choice(
                "a[mask]", "; use np.where(mask, a, 0), and for a[mask] = b[mask]"
                " np.copyto(a, b, where=mask)")
        if any(isinstance(i, slice) and _first((i.start, i.stop, i.step)) is not None
               for i in parts):
            raise self._recorder.refuse_choice(
                "a[i:j]", "; use an index of fixed length, a[i + np.arange(n)]")
        self._recorder.tape.asked.update(_ends(self.value.shape, parts))
        return self._recorder.call(operator.getitem, (self, index), {})

    def __setitem__(self, index, value):
        if self._recorder.over:
            self.value[_plain(index)] = _plain(value)
            return
        if isinstance(value, RecordingArray) and value._base is not None and (
                value._base is self or value._base is self._base):
            here = self.value[_plain(index)]
            if isinstance(here, np.ndarray) and same_memory(here, value.value):
                return  # a[i] += b has already edited a[i]
        if isinstance(value, Tensor):
            value = value.numpy()
        parts = index if isinstance(index, tuple) else (index,)
        self._recorder.tape.asked.update(_ends(self.value.shape, parts))
        self._recorder.edit(self, overwritten, (index, value))

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
    __lshift__, __rlshift__, __ilshift__ = _operator(np.left_shift)
    __rshift__, __rrshift__, __irshift__ = _operator(np.right_shift)
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
    real, imag, flat = map(_part, (np.real, np.imag, lambda self: RecordingFlat(self)))

    def flatten(self, order="C"):
        return np.ravel(self, order).copy()

    def sort(self, axis=-1):
        self[...] = np.sort(self, axis)

    def partition(self, kth, axis=-1):
        self[...] = np.partition(self, kth, axis)

    def put(self: Any, indices, values, mode="raise"):
        np.put(self, indices, values, mode)

    def view(self, *kind, **kinds):
        if kind or kinds:
            raise self._recorder.refuse("a view of an array that is being recorded as one of"
                                        " another kind; np.astype gives the numbers in another"
                                        " dtype")
        return self[...]

    def copy(self, order="C"):
        return _copy(self, order)

    def __copy__(self):
        return _copy(self)

    def __deepcopy__(self, _):
        return _copy(self)

    def __divmod__(self, other):
        return np.divmod(self, other)

    def __rdivmod__(self, other):
        return np.divmod(other, self)

    def astype(self: Any, dtype, order="K", casting="unsafe", subok=True, copy=True):
        if not np.can_cast(self.dtype, dtype, casting):
            self.value.astype(dtype, order, casting)  # raises what NumPy does
        if np.dtype(dtype) == self.dtype:
            return _copy(self, order) if copy else self
        return np.copy(np.astype(self, dtype), order)

    def reshape(self, *shape, **kwargs):
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes):
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    def fill(self, value):
        self[...] = value


KNOWN = RecordingArray, np.ndarray, list, tuple, dict, str


class RecordingScalar(RecordingArray):
    """A number of NumPy under recording, which cannot be edited: ``s += 1`` binds a new one."""

    __slots__ = ()
    __class__ = property(lambda self: np.generic)  # type: ignore[assignment]  # and no float

    def __getitem__(self, index):
        if index == ():
            return self
        if index is ...:
            return self._recorder.wrap(np.asarray(self.value), self._now)
        return super().__getitem__(index)

    __hash__ = _refused("a look-up", hash)  # type: ignore[assignment]

    def __round__(self, digits=None):
        return _refused("round")(self) if digits is None else np.round(self, digits)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "matmul", "and", "or",
              "xor", "lshift", "rshift"):
    setattr(RecordingScalar, f"__i{_name}__", lambda self, other: NotImplemented)


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
RecordingNumber.__hash__ = RecordingScalar.__hash__  # type: ignore[assignment]
RecordingNumber.__str__ = RecordingNumber.__format__ = _refused("the text")  # type: ignore[method-assign,assignment]
RecordingNumber.__round__ = _refused("round")  # type: ignore[attr-defined]
RecordingNumber.__divmod__ = lambda self, other: (self // other, self % other)  # type: ignore[method-assign]
RecordingNumber.__rdivmod__ = lambda self, other: (other // self, other % self)  # type: ignore[method-assign]
RecordingNumber.__neg__ = lambda self: self._recorder.call(operator.neg, (self,), {})  # type: ignore[method-assign]
RecordingNumber.__abs__ = lambda self: self._recorder.call(operator.abs, (self,), {})  # type: ignore[method-assign]


class RecordingFlags:
    """``a.flags`` of an array under recording, of which a signature says some."""

    def __init__(self, array):
        vars(self).update(array=array)

    def _asked(self, name):
        array, known = self.array, ("c", "f", "w", "c_contiguous", "contiguous", "f_contiguous",
                                    "fortran", "fnc", "forc", "writeable")
        if array._given and not array._recorder.over and name not in known:
            raise array._lies(f".flags.{name}")
        return array.value.flags

    def __getattr__(self, name):
        return getattr(self._asked(name), name)

    def __getitem__(self, name):
        return self._asked(name.lower())[name]

    def __setattr__(self, name, value):
        raise self.array._recorder.refuse(f".flags.{name} is set, which a replay would not do; set"
                                          " it outside the recorded step")


class RecordingFlat:
    """``a.flat`` of an array under recording: its elements in the order of C."""

    def __init__(self, array):
        self.array = array

    def __getitem__(self, index):
        return np.ravel(self.array).copy()[index]

    def __setitem__(self, index, values):
        ones = np.ones_like(self.array, np.intp, shape=self.array.size)
        np.put(self.array, (np.cumsum(ones) - 1)[index], values)

    def __len__(self):
        return self.array.size

    def __iter__(self):
        return iter(np.ravel(self.array).copy())


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
            recorder = self._recorder
            recorder.drawing = True  # a generator of the program's own may make arrays: plain ones
            try:
                out = getattr(self._generator, method)(*_plain(args), **_plain(kwargs))
            finally:
                recorder.drawing = False
            if _first((args, kwargs)) is not None and self._counts(method, args, kwargs, out):
                raise recorder.refuse_choice(f"{method} of a random generator")
            symbolic = (self._value, method, recorder.symbolic(args), recorder.symbolic(kwargs))
            return recorder.record(draw, symbolic, {}, out, effect=True)

        drawn.__self__ = self  # type: ignore[attr-defined]  # as a method has it
        return drawn

    @staticmethod
    def _counts(method, args, kwargs, out):
        """Whether another shape comes out where recorded numbers are one more."""
        other = getattr(np.random.Generator(np.random.PCG64(0)), method)
        with contextlib.suppress(TypeError, ValueError):
            return np.shape(other(*_plain(args, _one_more), **_plain(kwargs, _one_more))) != (
                np.shape(out))
        return False


class RecordingSource:
    """An iterator, or a random generator that is not followed, under recording."""

    def __init__(self, recorder, source):
        self._recorder = recorder
        self._name = type(getattr(source, "__self__", source)).__name__

    def _asked(self, *args, **kwargs):
        raise self._recorder.refuse(f"a {self._name} is asked for what comes next, which a replay"
                                    " would not do: hand that in as an argument, or draw from a"
                                    " np.random.Generator")

    __next__ = __call__ = _asked

    def __iter__(self):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._asked()


def same_memory(a, b):
    """Whether two arrays are the same view, element for element."""
    one, other = a.__array_interface__, b.__array_interface__
    return one["data"][0] == other["data"][0] and all(
        one[key] == other[key] for key in ("shape", "strides", "typestr"))


def _zeros(x):
    return np.zeros_like(x) if isinstance(x, np.ndarray) else x


def _normal(x):
    """Other numbers of this shape and dtype, negative ones among them."""
    if not isinstance(x, np.ndarray):
        return x
    return np.resize(some_numbers(), x.shape).astype(x.dtype)


@cache
def some_numbers():
    """Which are used again and again, where there are more elements."""
    return np.random.Generator(np.random.PCG64(0)).normal(0, 2, 1 << 12)


def _kinds(x):
    if isinstance(x, (tuple, list)):
        return [_kinds(one) for one in x]
    return (x.shape, x.dtype) if hasattr(x, "dtype") else type(x)


def same_bits(a, b):
    """Whether the same numbers are in two arrays, of which NaN is one."""
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(
        a, b, equal_nan=a.dtype.kind in "fc")


def _writable(fn, result):
    """What came of read-only views of the arguments: a view of these may be edited like them."""
    if isinstance(result, (tuple, list)):
        return rebuilt(result, [_writable(fn, one) for one in result])
    if isinstance(result, np.ndarray) and fn not in _READ_ONLY:
        with contextlib.suppress(ValueError):  # unless they are read-only themselves
            result.flags.writeable = True
    return result


# --- functions of NumPy that are not simply recorded ---------------------------------------------


def _copy(a, order="K", subok=False):
    """A copy: the same value on the tape, where nothing is overwritten, in new memory."""
    if not isinstance(a.value, np.ndarray):
        return a
    copied = a.value.copy(order)
    value = Value.of(copied)
    if value.order == a._symbol().order and a._symbol().contiguous:
        return a._recorder.wrap(copied, a._symbol())
    return a._recorder.call(np.copy, (a,), {"order": order})


def _full_like(a, fill_value, dtype=None, order="K", subok=True, shape=None, **kwargs):
    recorder = _first((a, fill_value))._recorder
    made = np.empty_like(_plain(a), dtype, order, subok, shape)
    if made.flags.c_contiguous:
        return recorder.call(np.full, (made.shape, fill_value), {"dtype": made.dtype})
    axes = np.argsort(made.strides, kind="stable")[::-1].tolist()  # as they lie in memory
    if np.ndim(fill_value):
        fill_value = np.transpose(np.broadcast_to(fill_value, made.shape), axes)
    full = recorder.call(np.full, (made.transpose(axes).shape, fill_value), {"dtype": made.dtype})
    return np.transpose(full, np.argsort(axes).tolist())


def _filled(fill):
    return lambda a, *args, **kwargs: _full_like(a, fill, *args, **kwargs)


def _ends(shape, index):
    """The sizes on which it hangs what parts of an array there are."""
    if not any(type(i) is slice for i in index):
        return ()
    many = sum(np.ndim(i) if getattr(i, "dtype", i) == np.bool_ else i is not None
               and i is not Ellipsis for i in index)
    sizes, axis = [], 0
    for i in index:
        if i is Ellipsis:
            axis += len(shape) - many
        elif i is not None:
            if type(i) is slice and not all(x is None or (type(x) is int and abs(x) < 2)
                                            for x in (i.start, i.stop, i.step)):
                sizes.append(shape[axis])
            axis += np.ndim(i) if getattr(i, "dtype", i) == np.bool_ else 1
    return sizes


def _split(ary, indices_or_sections, axis=0):
    n = indices_or_sections
    size = ary.shape[axis]
    if not isinstance(n, int) or size % n:  # where it is cut is no line in the size
        ary._recorder.tape.asked.add(size)
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
        if out is not None:
            kwargs["out"] = out
        return ufunc.reduce(a, axis=axis, keepdims=keepdims, **kwargs)

    return reduce


def _clip(a, a_min=None, a_max=None, out=None, *, min=None, max=None):
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None or high is None:
        a = np.positive(a) if low is high else np.minimum(a, high) if low is None else (
            np.maximum(a, low))
    else:
        a = np.minimum(np.maximum(a, low), high)
    return a if out is None else np.positive(a, out=out)


def _nan_to_num(x, copy=True, **kwargs):
    number = _first((x, kwargs))._recorder.call(np.nan_to_num, (x,), kwargs)
    if copy or not isinstance(getattr(x, "value", None), np.ndarray):
        return number
    x[...] = number
    return x


def _result_type(*args):
    return np.result_type(*(x.value if isinstance(x, RecordingArray) else x for x in args))


# which do not ask their arguments; they are exchanged while a function is recorded
MAKERS = (np.zeros, np.ones, np.full, np.empty, np.array, np.asarray, np.asanyarray,
          np.ascontiguousarray, np.asfortranarray, np.require)  # fmt: skip
_OWN = {
    # like=: what comes beside an array under recording
    np.asarray: lambda a: a, np.arange: np.arange,
    np.copy: _copy, np.split: _split, np.array_split: _split, np.unstack: _unstack,
    np.zeros_like: _filled(0), np.empty_like: _filled(0), np.ones_like: _filled(1),
    np.full_like: _full_like,
    np.sum: _reduction(np.add), np.prod: _reduction(np.multiply),
    np.max: _reduction(np.maximum), np.min: _reduction(np.minimum), np.clip: _clip,
    np.any: _reduction(np.logical_or), np.all: _reduction(np.logical_and),
    np.result_type: _result_type, np.nan_to_num: _nan_to_num,
}  # fmt: skip
_INLINE = {_sigmoid}
_QUESTIONS = {np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj, np.shares_memory,
              np.may_share_memory, np.array_repr, np.array_str}  # fmt: skip
_UNKNOWN_SHAPE = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.unique_values, np.compress,
                  np.extract, np.bincount, np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d,
                  np.trim_zeros}  # fmt: skip
_COUNTED = {np.delete, np.diag, np.diagflat}  # whose second argument says how many
# What other functions call the argument that says how many, or along which axis.
_SHAPING = {"axis", "axes", "axis1", "axis2", "source", "destination", "shape", "newshape",
            "new_shape", "window_shape", "repeats", "reps", "pad_width", "indices_or_sections",
            "num", "n", "deg", "N"}  # fmt: skip
# What gives a view of each array that comes, wherever the others lie.
_EACH = {"broadcast_arrays", "meshgrid", "ix_", "atleast_1d", "atleast_2d", "atleast_3d",
         "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "require"}
_IN_TURN = {np.concatenate, np.stack, np.ptp}  # which do not look whether out= overlaps the rest
_EDITING = {np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis, np.copyto}
_READ_ONLY = {np.broadcast_to, np.diagonal, np.linalg.diagonal, np.broadcast_arrays,
              np.lib.stride_tricks.sliding_window_view}  # fmt: skip
