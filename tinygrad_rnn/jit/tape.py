"""The tape: a plain list of NumPy calls, each of which makes one new value.

Nothing on a tape is ever overwritten: the recorder turns ``a += b`` into a new value that stands
for ``a`` from then on. So a pass over the list needs to look at no more than who uses what. Where
a value lives, and which calls may work in place, is decided last (memory.py).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["LEAST", "Call", "Choices", "Tape", "Value", "chosen", "name_of", "replace", "segments",
           "values_in", "view"]  # fmt: skip

LEAST = 6  # repetitions that make a loop


class Value:
    """What a call makes: an array of known shape and dtype, a Python number (dtype None), or a
    random generator (shape None)."""

    __slots__ = ("contiguous", "dtype", "order", "shape")

    def __init__(self, shape=(), dtype=None, order=None, contiguous=True):
        self.shape, self.dtype = shape, dtype
        self.order = order  # axes from the slowest to the fastest in memory; None: as in C
        self.contiguous = contiguous and order is None

    @classmethod
    def of(cls, x):
        if not isinstance(x, np.ndarray):
            return cls((), x.dtype) if isinstance(x, np.generic) else cls()
        if x.flags.c_contiguous:
            return cls(x.shape, x.dtype)
        order = tuple(sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i)))
        return cls(x.shape, x.dtype, order if order != tuple(range(x.ndim)) else None, False)

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize if self.dtype is not None else 0

    def __repr__(self):
        if self.shape is None:
            return "generator"
        if self.dtype is None:
            return "number"
        return f"{self.dtype}{list(self.shape)}"


@dataclass(eq=False, slots=True)
class Call:
    """``out = fn(*args, **kwargs)``; values may stand inside lists, tuples and slices of args.

    ``effect``: does something besides (draws random numbers, checks ids), so it is never dropped.
    ``view``: ``out`` is memory of the first argument. ``line``: where the program asked for it.
    ``more``: further values that it makes. ``lane``: where it is one of many calls that run beside
    others, on another core (lanes.py): the numbers of all these and of its own.
    """

    fn: Any
    args: tuple
    kwargs: dict[str, Any]
    out: Value
    effect: bool = False
    view: bool = False
    line: str = ""
    more: tuple[Value, ...] = ()
    lane: tuple[int, int] | None = None
    _inputs: list[Value] | None = None
    key: Any = None  # see passes.share

    @property
    def outs(self) -> tuple[Value, ...]:
        """All that it makes."""
        return self.out, *self.more

    def inputs(self) -> list[Value]:
        if self._inputs is None:  # asked again and again by the passes
            self._inputs = list(values_in((self.args, self.kwargs)))
        return self._inputs

    def of(self, others: dict[Value, Value]) -> "Call":
        """The same call with others in the places of these values."""
        if others.keys().isdisjoint(self.inputs()):
            return self
        args, kwargs = replace((self.args, self.kwargs), lambda v: others.get(v, v))
        return dataclasses.replace(self, args=args, kwargs=kwargs, _inputs=None, key=None)


@dataclass(eq=False, slots=True)
class Tape:
    """``inputs`` come in at each replay, ``constants`` do not change, ``results`` go out.
    ``masks``: what is in inputs of which others take their shape. ``kept_outside``: constants that
    something holds which a replay does not see, and what was in them. ``cached``: the same of what
    functools.cache keeps. ``asked``: sizes that the program asked for, which it may compute with;
    None among them where it could know them from an error. ``entered``: how often the program
    itself called a function, where that was counted.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    constants: dict[Value, Any] = field(default_factory=dict)
    results: list[Value] = field(default_factory=list)
    masks: dict[Value, Any] = field(default_factory=dict)
    kept_outside: list[tuple[Any, Any]] = field(default_factory=list)
    cached: list[tuple[Any, Any]] = field(default_factory=list)
    asked: set[int | None] = field(default_factory=set)
    entered: float = 0

    @property
    def looked_at(self) -> bool:
        """Whether it holds only for what was in some arrays."""
        return bool(self.masks or self.kept_outside or self.cached)

    def users(self) -> dict[Value, list[Call]]:
        """Which calls read a value."""
        users: dict[Value, list[Call]] = {}
        for call in self.calls:
            for value in dict.fromkeys(call.inputs()):
                users.setdefault(value, []).append(call)
        return users

    def __str__(self):
        names: dict[Value, str] = {}
        for kind, values in (("in", self.inputs), ("const", self.constants)):
            for value in values:
                names[value] = f"{kind}{len(names)}"
        lines = []
        for i, call in enumerate(self.calls):
            for k, out in enumerate(call.outs):
                names[out] = f"v{i}" if k == 0 else f"v{i}_{k}"
            args = [_text(a, names) for a in call.args]
            args += [f"{k}={_text(v, names)}" for k, v in call.kwargs.items()]
            mark = "view " if call.view else ""
            lane = f"lane {call.lane[1]}: " if call.lane else ""
            made = ", ".join(names[out] for out in call.outs)
            said = f"{mark}{name_of(call.fn)}({', '.join(args)})"
            lines.append(f"{lane}{made} = {said}  # {call.out!r}")
        lines.append(f"return {', '.join(names.get(v, '?') for v in self.results)}")
        return "\n".join(lines)


class Choices:
    """What passes have chosen by size, one after the other; others may be followed, so that the
    same is chosen for a smaller batch."""

    now: ContextVar["Choices | None"] = ContextVar("now", default=None)

    def __init__(self, followed: Iterable[bool] = ()) -> None:
        self.made: list[bool] = []
        self.followed = iter(followed)

    def of(self, passes: Callable[[], Any]) -> Any:
        token = self.now.set(self)
        try:
            return passes()
        finally:
            self.now.reset(token)


def chosen(so: Any) -> bool:
    """``so``, or what is followed. What passes do one way or the other is right either way."""
    choices = Choices.now.get()
    if choices is not None:
        choices.made.append(so := next(choices.followed, bool(so)))
    return so


def view(fn: Any, x: Value, *args: Any, line: str = "", lane: Any = None) -> Call:
    """The call that looks at a value in another way."""
    axes = range(len(x.shape)) if x.order is None else x.order
    like = np.empty([x.shape[axis] for axis in axes], np.bool_).transpose(np.argsort(axes))
    seen = Value.of(fn(like, *args))
    out = Value(seen.shape, x.dtype, seen.order, seen.contiguous)
    return Call(fn, (x, *args), {}, out, view=True, line=line, lane=lane)


def name_of(fn):
    """The name of a callable, as it is written: tanh, add.reduce."""
    if isinstance(owner := getattr(fn, "__self__", None), np.ufunc):
        return f"{owner.__name__}.{fn.__name__}"
    return getattr(fn, "__name__", type(fn).__name__)


def values_in(x) -> Iterator[Value]:
    """All values in an argument, in order."""
    found: list[Value] = []
    _collect(x, found)
    return iter(found)


def _collect(x, found):
    kind = type(x)
    if kind is Value:
        found.append(x)
    elif isinstance(x, (tuple, list)):
        for item in x:
            _collect(item, found)
    elif kind is dict:
        _collect(list(x.values()), found)
    elif kind is slice:
        _collect((x.start, x.stop, x.step), found)


def segments(keys) -> Iterator[tuple[int, int, int]]:
    """The loops, and what lies between: first line, lines in a repetition, repetitions."""
    numbers: dict[Any, int] = {}
    ids = [numbers.setdefault(key, len(numbers)) for key in keys]
    i = begun = 0
    while i < len(ids):
        best = 1, 0  # repetitions, lines of one
        for p in range(1, (len(ids) - i) // LEAST + 1):
            if ids[i] == ids[i + p] and ids[i : i + p] == ids[i + p : i + 2 * p]:
                n = 2
                while ids[i : i + p] == ids[i + n * p : i + (n + 1) * p]:
                    n += 1
                if n >= LEAST and n * p > best[0] * best[1]:
                    best = n, p
        n, p = best
        if not p:
            i += 1
            continue
        if begun < i:
            yield begun, i - begun, 1
        yield i, p, n
        begun = i = i + n * p
    if begun < i:
        yield begun, i - begun, 1


def replace(x, change):
    """The same argument with ``change(value)`` for each value in it."""
    kind = type(x)
    if kind is Value:
        return change(x)
    if isinstance(x, (tuple, list)):
        return kind([change(item) if type(item) is Value else replace(item, change) for item in x])
    if kind is dict:
        return {k: replace(v, change) for k, v in x.items()}
    if kind is slice:
        return slice(*(replace(item, change) for item in (x.start, x.stop, x.step)))
    return x


def _text(x, names):
    if isinstance(x, Value):
        return names.get(x, "?")
    if isinstance(x, (tuple, list)):
        items = [_text(item, names) for item in x]
        if len(items) > 6:
            items[3:-2] = ["..."]
        return f"[{', '.join(items)}]" if isinstance(x, list) else f"({', '.join(items)})"
    if isinstance(x, slice):
        parts = ["" if p is None else _text(p, names) for p in (x.start, x.stop, x.step)]
        return ":".join(parts[: 2 + bool(parts[2])])
    if isinstance(x, np.ndarray):
        return f"array{list(x.shape)}"
    return repr(x)
