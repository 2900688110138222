"""A tape for arrays of another size, out of one: no call of the function is needed for it.

What the calls then make follows from NumPy's own rules for shapes. Numbers that may hang on the
size, in shapes and slices, are guessed, and so is what arrays are that do not come in. That such an
array has as many rows as a batch counts where it meets one: with another number of them the call
would have failed. Where that is not so, and where a guess is none, Irregular is raised; where it is
wrong, the proof says so (proof.py).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from .blocks import BLOCKED
from .chains import Chain
from .cut import Blocks
from .memory import JOINS, editing, elementwise
from .recording import added, draw, overwritten, through
from .roll import Irregular, evenly, ramp
from .tape import Call, Tape, Value, replace, values_in

__all__ = ["resized"]

Shape = tuple[int, ...]


def resized(tape: Tape, homes: dict[Value, Value], shapes: list[Shape],
            asked: Iterable[int] = ()) -> Any:
    """The tape, and which result is the new value of which input, for inputs of these shapes.
    ``asked``: what the program may compute with."""
    made = _Resized(tape, asked)
    calls = made.all(tape, shapes)
    doubted = _Doubted(tape, asked, made)
    doubted.all(tape, shapes)
    doubted.end(tape.results)

    def now(value):
        return made.other.get(value, value)

    if any(now(new).shape != now(old).shape for new, old in homes.items()):
        raise Irregular
    results = [*map(now, tape.results)]
    read = {*results, *(value for call in calls for value in call.inputs())}
    constants = {value: x for one in tape.constants for value, x in made.shaped[one].items()
                 if value in read}
    return (Tape(calls, [*map(now, tape.inputs)], constants, results),
            {now(new): now(old) for new, old in homes.items()})


class _Resized:
    def __init__(self, tape: Tape, asked: Iterable[int]) -> None:
        self.asked = asked
        self.constants = tape.constants
        self.uniform = {value: x.flat[0] for value, x in tape.constants.items()
                        if x.size and x.tobytes() == x.flat[0].tobytes() * x.size}
        self.shaped = {value: {value: x} for value, x in tape.constants.items()}
        self.other: dict[Value, Value] = {}  # of those whose shape is another one
        self.numbers: dict[int, int] = {}  # of elements along an axis, or in all: then, now
        self.terms: dict[Any, tuple[float, float]] = {}  # so many are added up: then, now

    def give(self, value: Value, shape: Shape) -> None:
        """This shape is that of the value now."""
        if shape == value.shape:
            return
        if len(shape) != len(value.shape):
            raise Irregular
        self.other[value] = Value(shape, value.dtype, value.order, value.contiguous)
        for was, now in (*zip(value.shape, shape, strict=True),
                         (math.prod(value.shape), math.prod(shape))):
            if was != (now := self.told(now)) and was > 1 and was not in self.numbers:
                if was in self.asked:
                    raise Irregular
                self.numbers[was] = now

    def all(self, tape: Tape, shapes: list[Shape]) -> list[Call]:
        """The calls for inputs of these shapes."""
        for value, shape in zip(tape.inputs, shapes, strict=True):
            if value.dtype is not None:
                self.give(value, shape)
        return [self.call(call) for call in tape.calls]

    def told(self, n: int) -> int:
        """How long an axis is that is said to be so long."""
        return n

    def same(self, sizes: Iterable[int]) -> int:
        """How long an axis is that is so long in these arrays, which meet there."""
        one, *others = {*sizes}
        if others:
            raise Irregular(one, others, self.numbers)
        return one

    def part(self, n: int, others: int) -> int:
        """How long one axis is of those that an axis is parted into."""
        return n // others

    def sum(self, sizes: list[int]) -> int:
        """How long an axis is along which these are joined."""
        return sum(sizes)

    def rows(self, pieces: list[int]) -> int:
        """How many rows there are in each of these pieces of a stack."""
        return self.same(pieces)

    def together(self, *shapes: Shape) -> Shape:
        """What shapes give that are broadcast against each other."""
        ndim = max(map(len, shapes))
        every = zip(*((1,) * (ndim - len(shape)) + shape for shape in shapes), strict=True)
        return tuple([self.same([n for n in sizes if n != 1] or [1]) for sizes in every])

    def shape(self, value: Value) -> Shape:
        return self.other.get(value, value).shape

    def hangs(self, x: Any) -> bool:
        """Whether a number may be made of the size: it, its root, 1 by one of them."""
        n: Any = abs(x) if isinstance(x, (int, float, np.integer, np.floating)) else 0
        made_of = (n,) if isinstance(x, int) or not n else (n, 1 / n, n * n, 1 / n / n)
        return any(m < 1e9 and round(m) in self.numbers and abs(m - round(m)) < 1e-6 * m
                   for m in made_of)

    def numbers_in(self, call: Call) -> None:
        """None of them may be made of the size."""
        if any(map(self.hangs, (self.uniform.get(x, x) if isinstance(x, Value) else x
                                for inner in getattr(call.fn, "chain", [call])
                                if inner.fn is np.where or elementwise(inner)
                                for x in inner.args))):
            raise Irregular

    def likely(self, shape: Shape) -> Shape:
        """This shape, with the first axis of rows that may be another one."""
        for axis, n in enumerate(shape[: max(1, len(shape) - 1)]):
            if n in self.numbers:
                return (*shape[:axis], self.numbers[n], *shape[axis + 1 :])
        return shape

    def constant(self, value: Value, shape: Shape) -> Value:
        """The constant in this shape."""
        known = self.shaped[value]
        if (made := next((v for v in known if v.shape == shape), None)) is not None:
            return made
        x, size = self.constants[value], math.prod(shape)
        if (one := self.uniform.get(value)) is not None:
            new = np.broadcast_to(one, shape) if not any(x.strides) else np.full(
                shape, one, x.dtype, "C" if x.flags.c_contiguous else "F")
        elif (found := evenly(x)) is not None:
            first, step, n, then = found
            n = size if n == x.size else self.numbers.get(n, n)
            if size % n or not {first, step, then}.isdisjoint(self.numbers):
                raise Irregular
            new = ramp(first, step, n, then, size).astype(x.dtype).reshape(shape)
        else:
            raise Irregular
        made = Value(shape, value.dtype, value.order, value.contiguous)
        known[made] = new
        return made

    # calls

    def call(self, call: Call) -> Call:
        values = call.inputs()
        if call.fn is np.divide and call.args[0] in self.terms:
            then, now = self.terms[call.args[0]]
            if then != now and call.args[1:] == (then,):  # a mean
                total, count = call.args
                call = dataclasses.replace(call, args=(total, type(count)(now)), key=None)
        if call.fn is draw:
            return self._draw(call)
        self.numbers_in(call)
        if self.other.keys().isdisjoint(values) and call.fn is not np.broadcast_to and not any(
                v in self.constants and self.likely(v.shape) != v.shape for v in values):
            return call
        fn, args, kwargs = call.fn, call.args, call.kwargs
        named = fn in (np.reshape, np.broadcast_to) and "shape" in kwargs
        if named:
            args = *args, kwargs["shape"]
        own: dict[Value, Value] = {v: self.other[v] for v in values if v in self.other}
        if isinstance(fn, Chain):
            return self._chain(call)
        if fn is np.where or (elementwise(call) and not call.more):
            shapes = self._broadcast(call.out.shape, [(v, v.shape) for v in values], own)
        elif fn is np.matmul:
            shapes = self._product(call, own)
        elif fn in JOINS:
            shapes = self._join(call, own)
        else:
            for v in values:
                if v in self.constants and (shape := self.likely(v.shape)) != v.shape:
                    own[v] = self.constant(v, shape)
            args, shapes = self._other(call, args, own)
        if named:
            args, kwargs = args[:1], {**kwargs, "shape": args[1]}
        return self._made(call, fn, args, kwargs, own, shapes)

    def _made(self, call, fn, args, kwargs, own, shapes):
        for out, shape in zip(call.outs, shapes, strict=True):
            self.give(out, shape)
        if not own and self.other.keys().isdisjoint(call.outs):
            return call
        args, kwargs = replace((args, kwargs), lambda v: own.get(v, v))
        out, *more = (self.other.get(v, v) for v in call.outs)
        return Call(fn, args, kwargs, out, call.effect, call.view, call.line, tuple(more),
                    call.lane)

    def _broadcast(self, shape, operands, own):
        """The shape of what is done element by element, of operands that meet it in these."""
        made = list(self.likely(shape))
        fixed = [(seen, (*self.shape(v)[: len(seen)], *seen[len(v.shape) :]) if seen else ())
                 for v, seen in operands if v not in self.constants]
        for axis in range(1, len(shape) + 1):
            found = [now[-axis] for was, now in fixed if len(was) >= axis and was[-axis] != 1]
            made[-axis] = self.same(found) if found else made[-axis]
        for v, seen in operands:
            if v in self.constants:
                want = tuple([n if n == 1 else m for n, m in zip(
                    seen, made[len(made) - len(seen) :], strict=True)])[: len(v.shape)]
                if want != v.shape:
                    own[v] = self.constant(v, want)
        return [tuple(made)]

    def _chain(self, call):
        fn, own = call.fn, {v: self.other[v] for v in call.inputs() if v in self.other}
        width = fn.shape[-1:]
        operands = [(v, (*v.shape, 1) if kind == "ids" else v.shape)
                    for v, kind in zip(fn.inputs, fn.kinds, strict=True)
                    if kind not in ("table", "number")]
        (shape,) = self._broadcast(fn.shape, operands, own)
        if shape != fn.shape and (isinstance(fn, Blocks) or shape[-1:] != width):
            raise Irregular
        shapes = [shape if out.shape == fn.shape else (*shape[:-1], 1) for out in call.outs]
        for out, made in zip(call.outs, shapes, strict=True):
            self.give(out, made)
        outs = {v: self.other.get(v, v) for v in call.outs}
        return self._made(call, fn.on({**own, **outs}, shape), tuple(fn.inputs), {}, own, shapes)

    def _product(self, call, own):
        shapes = []
        for v, other, axis, back in zip(call.args, call.args[::-1], (-1, -2), (-2, -1),
                                        strict=True):
            if v in self.constants:
                want = list(self.likely(v.shape))
                if other not in self.constants:
                    want[max(axis, -len(want))] = self.shape(other)[max(back, -len(other.shape))]
                if tuple(want) != v.shape:
                    own[v] = self.constant(v, tuple(want))
            shapes.append(own.get(v, v).shape)
        a, b = shapes
        self.same((a[-1], b[max(-2, -len(b))]))
        before = self.together(a[:-2], b[:-2])
        return [(*before, *a[-2:-1], *b[-1:][: len(b) - 1])]

    def _join(self, call, own):
        pieces = call.args[0]
        axis = call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else 0)
        if isinstance(pieces, Value) or axis is None:
            raise Irregular
        like = next((self.shape(v) for v in pieces if v not in self.constants), None)
        if like is None:
            raise Irregular
        axis %= len(call.out.shape)
        stack, along = call.fn is np.stack, []
        for v in pieces:
            shape = self.likely(v.shape) if v in self.constants else self.shape(v)
            along.append(shape[axis % len(shape)])
            if v in self.constants:
                want = like if stack else (*like[:axis], along[-1], *like[axis + 1 :])
                if want != v.shape:
                    own[v] = self.constant(v, want)
            else:
                like = tuple([n if i == axis and not (stack and i) else self.same((n, m))
                              for i, (n, m) in enumerate(zip(like, shape, strict=True))])
        if stack:
            if axis == 0 and like:
                like = (self.rows([n for n, v in zip(along, pieces, strict=True)
                                   if v not in self.constants]), *like[1:])
            return [(*like[:axis], len(pieces), *like[axis:])]
        return [(*like[:axis], self.sum(along), *like[axis + 1 :])]

    def _draw(self, call):
        shape = self.likely(call.out.shape) if call.out.dtype is not None else ()
        if not shape or shape == call.out.shape:
            return call
        args, kwargs = _replaced((call.args, call.kwargs), call.out.shape, shape)
        return self._made(call, draw, args, kwargs, {}, [shape])

    def _other(self, call, args, own):
        """The arguments, and the shapes of what comes out."""
        fn = call.fn
        if fn in (np.reshape, np.broadcast_to):
            x, shape = args[0], call.out.shape
            said: Any = args[1] if isinstance(args[1], (tuple, list)) else (args[1],)
            if fn is np.reshape:
                new = self._regrouped(x.shape, own.get(x, x).shape, shape, said)
            else:
                (new,) = self._broadcast(shape, [(x, x.shape)], own)
            said = tuple([n if n == -1 else m for n, m in zip(said, new, strict=True)])
            return (x, said if np.ndim(args[1]) else said[0], *args[2:]), [new]
        if fn in BLOCKED:  # row by row
            self.same([own.get(v, v).shape[0] for v in call.inputs() if v.shape and
                       v.shape[0] == call.out.shape[0]])
            return args, [next((own.get(v, v).shape for v in call.inputs()
                                if v.shape == out.shape), self.likely(out.shape))
                          for out in call.outs]
        first: Any = args[0]
        if editing(call) or call.effect:
            if call.out.dtype is None:
                return args, [call.out.shape]
            if editing(call):
                args = self._edit(call, args, own)
            return args, [own.get(first, first).shape]
        seen = own.get(first, first).shape if isinstance(first, Value) else ()
        if fn is operator.getitem:
            args, made = self._part(args, own)
            if made is not None:
                return args, [made]
        elif isinstance(getattr(fn, "__self__", None), np.ufunc) and fn.__name__ == "reduce":
            axis, kept = call.kwargs.get("axis", *args[1:2] or [0]), call.kwargs.get("keepdims")
            gone = range(len(seen)) if axis is None else [
                i % len(seen) for i in (axis if isinstance(axis, tuple) else [axis])]
            shape = tuple([1 if i in gone else n for i, n in enumerate(seen)
                           if kept or i not in gone])
            if fn.__self__ is np.add:
                self.terms[call.out] = (math.prod(first.shape) / math.prod(call.out.shape),
                                        math.prod(seen) / math.prod(shape))
            return args, [shape]
        elif len(call.inputs()) == 1 and first.shape == call.out.shape and not call.view:
            return args, [seen]
        with np.errstate(all="ignore"):
            like = replace((args, call.kwargs), lambda v: self.like(own.get(v, v)))
            made = fn(*like[0], **like[1])
        if not isinstance(made, (np.ndarray, np.generic)) or len(call.outs) > 1:
            if own.keys() <= self.constants.keys() or call.out.dtype is not None:
                raise Irregular
            return args, [call.out.shape]
        return args, [made.shape]

    def _edit(self, call, args, own):
        """The arguments of what edits the first of them."""
        first = args[0]
        if type(args[1]) in (tuple, int, slice):
            return (first, _index(args[1], first.shape, own.get(first, first).shape), *args[2:])
        return args

    def _part(self, args, own):
        """The arguments of ``operator.getitem``; the shape it gives, where that is known."""
        first, index = args
        return (first, _index(index, first.shape, own.get(first, first).shape)), None

    def like(self, value: Value) -> Any:
        """An array of this shape."""
        return _like(value)

    def _regrouped(self, was, now, out, said):
        """What rows and columns of an array are that is looked at in another shape."""
        made: list[int] = []
        was, now, out = list(was), list(now), list(out)
        while was or out:
            n = was.pop(0) if was else 1
            new = now.pop(0) if now else 1
            group = [out.pop(0)] if out else []
            while n != (size := math.prod(group)):
                if n < size and was:
                    n, new = n * was.pop(0), new * now.pop(0)
                elif n > size and out:
                    group.append(out.pop(0))
                else:
                    raise Irregular
            if n == new:
                made += group
                continue
            large = [i for i, m in enumerate(group) if m > 1]
            which = large if len(large) == 1 else [
                i for i in large if self.numbers.get(group[i], 0) * n == group[i] * self.told(new)]
            if len(which) != 1:
                raise Irregular
            group[which[0]] = self.part(new, n // group[which[0]])
            if -1 in said and said[len(made) + which[0]] != -1:
                raise Irregular
            made += group
        return tuple(made)


class _Doubted(_Resized):
    """The shapes alone, in which each axis that nothing but a guess says is as long as a prime of
    its own. Where it meets another one it is settled; one that meets none may be anything."""

    def __init__(self, tape: Tape, asked: Iterable[int], real: _Resized) -> None:
        super().__init__(tape, asked)
        self.guessed: dict[int, int] = {}  # primes, and how long that is taken for
        self.settled: dict[int, int] = {}  # primes, and what stands for them now
        # elements along axes that are always so many, perhaps of what is made as well, or too few
        self.given = {n for v in tape.inputs for n in real.shape(v) or ()}
        self.given.update(range((min(real.numbers, default=0) + 1) // 2))
        self.given -= {*real.numbers, *real.numbers.values()}
        self.seen: set[int] = set()  # those that came into the shape of a value
        self.sums: list[tuple[int, list[int]]] = []  # totals, and what is added up
        self.known: dict[int, list[int]] = {}  # of which primes a number is made
        extents = {n for call in tape.calls for out in call.outs
                   for n in (*(out.shape or ()), *(real.shape(out) or ()))}
        # not large: what has no rule runs on arrays of them
        self.primes = (n for n in itertools.count(211, 2) if all(
            n % k for k in range(3, math.isqrt(n) + 1, 2)) and all(m % n for m in extents if m))
        self.constants = {}
        for value in {v for call in tape.calls for v in call.inputs() if v in tape.constants}:
            others = {v.shape for v in real.shaped[value]} - {value.shape} or {value.shape}
            if len(others) > 1:
                raise Irregular
            self.other[value] = Value(self.likely(others.pop()), value.dtype)
            self.seen.update(self.other[value].shape)

    def _of(self, n: int) -> list[int]:
        if n not in self.known:
            self.known[n] = [p for p in self.guessed if n % p == 0] if n else []
        return self.known[n]

    def told(self, n: int) -> int:
        for p in self._of(n):
            n = n // p * self.guessed[p]
        return n

    def now(self, n: int) -> int:
        """The number with what is settled in it."""
        while (p := next((p for p in self._of(n) if p in self.settled), None)) is not None:
            n = n // p * self.settled[p]
        return n

    def same(self, sizes: Iterable[int]) -> int:
        one, *others = sorted({*map(self.now, sizes)}, key=lambda n: (len(self._of(n)), n))
        for other in map(self.now, others):
            if self.told(one) != self.told(other) or self.told(one) == 1:
                raise Irregular
            if other == one:
                continue
            for a, b in ((other, one), (one, other)):  # of which a is p times something
                p, *more = [p for p in self._of(a) if p not in self._of(b)] or [0]
                if p and not more and b * p % a == 0:
                    self.settled[p], one = b * p // a, b
                    break
            else:
                raise Irregular
        return self.now(one)

    def part(self, n: int, others: int) -> int:
        if (n := self.now(n)) % others == 0:
            return n // others
        p, *more = self._of(n)
        if more or others % (n // p) or self.told(n) % others:
            raise Irregular
        part = self.guess(self.told(n) // others)
        self.settled[p] = part * (others // (n // p))
        self.seen.add(part)
        return part

    def sum(self, sizes: list[int]) -> int:
        total, told = sum(map(self.now, sizes)), sum(map(self.told, sizes))
        if total != told:
            total = self.guess(told)
            self.sums.append((total, sizes))
        return total

    def rows(self, pieces: list[int]) -> int:
        """Of others, perhaps, that are joined (``one_join``): what is known is how many in all."""
        one, *others = {*map(self.now, pieces)}
        if others:
            one = self.guess(self.told(one))
            self.sums.append((one * len(pieces), pieces))
        return one

    def guess(self, n: int) -> int:
        """A prime that stands for it."""
        p = next(self.primes)
        self.guessed[p] = n
        return p

    def likely(self, shape: Shape) -> Shape:
        return tuple([self.guess(n) if n > 1 else n for n in super().likely(shape)])

    def give(self, value: Value, shape: Shape) -> None:
        shape = tuple(map(self.now, shape))
        self.seen.update(p for n in shape for p in self._of(n))
        super().give(value, shape)

    def numbers_in(self, call: Call) -> None:
        pass

    def like(self, value: Value) -> Any:
        if value.shape is None or value.dtype is None:
            return 1
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)  # no memory

    def _edit(self, call, args, own):
        first, shape = args[0], None
        here: Any = own.get(first, first)
        if call.fn in (overwritten, added):
            _, shape = self._part(args[:2], own)
            value: Any = args[2]
        elif call.fn is through:
            value, path = args[1:]
            for fn, more, kwargs in path:
                if fn is not operator.getitem or kwargs or here is None:
                    return args
                _, shape = self._part((here, *more), {})
                here = shape and Value(shape, here.dtype)
        if shape is not None and isinstance(value, Value):
            self.together(shape, self.shape(value)[-len(shape) :] if shape else ())
        return args

    def _part(self, args, own):
        first, index = args
        parts = index if isinstance(index, tuple) else (index,)
        if any(values_in(parts)):
            if len(parts) == 1:
                return args, (*self.shape(parts[0]), *own.get(first, first).shape[1:])
            raise Irregular
        shape, made, axis = own.get(first, first).shape, [], 0
        many = sum(x is not None and x is not Ellipsis for x in parts)
        parts = parts if Ellipsis in parts else (*parts, ...)
        for x in parts:
            if x is Ellipsis:
                end = axis + len(shape) - many
                made += shape[axis:end]
                axis = end
            elif x is None:
                made.append(1)
            elif type(x) is slice:
                made.append(self.cut(x, first.shape[axis], shape[axis]))
                axis += 1
            elif type(x) is int:
                axis += 1
            else:
                raise Irregular
        return args, tuple(made)

    def cut(self, x: slice, was: int, now: int) -> int:
        """How long a part of an axis is."""
        told = self.told(now)
        if told != was:
            x = slice(_bound(x.start, was, told), _bound(x.stop, was, told), x.step)
        left = len(range(told)[x])
        if left == told:
            return now
        if not self._of(now) or left == len(range(told + 1)[x]):
            return left
        if x.step not in (None, 1):
            raise Irregular
        part = self.guess(left)
        self.sums.append((now, [part, told - left]))
        return part

    def end(self, results: list[Value]) -> None:
        """There are no more calls."""
        for value in results:  # of which the proof sees the shapes
            for n in map(self.now, self.shape(value) or ()):
                self.same((n, self.told(n)))
        sums = [[total, *sizes] for total, sizes in self.sums]
        for _ in sums:
            for sizes in sums:
                unknown = {p for n in sizes for p in self._of(self.now(n))}
                if len(unknown) == 1:
                    self.same((*unknown, *map(self.told, unknown)))
        if any(self.guessed[p] not in self.given for n in self.seen for p in self._of(self.now(n))):
            raise Irregular


def _like(value):
    if value.shape is None or value.dtype is None:
        return 1
    order = value.order or range(len(value.shape))
    make = np.zeros if value.dtype.kind in "iu" else np.empty  # indices, of which 0 is always one
    made = make([value.shape[axis] for axis in order], value.dtype)
    return made if value.order is None else made.transpose(np.argsort(order))


def _index(index, was, now):
    """The index into an array of another shape."""
    parts = index if isinstance(index, tuple) else (index,)
    if was == now or any(values_in(parts)) or not all(
            x is None or x is Ellipsis or type(x) in (int, slice) for x in parts):
        return index
    many = sum(x is not None and x is not Ellipsis for x in parts)
    made: list[Any] = []
    axis = 0
    for x in parts:
        if x is Ellipsis:
            axis += len(was) - many
        elif x is not None:
            n, m = was[axis], now[axis]
            if n != m and type(x) is int and x not in (0, -1):
                raise Irregular
            if n != m and type(x) is slice:
                x = slice(_bound(x.start, n, m), _bound(x.stop, n, m), x.step)
            axis += 1
        made.append(x)
    return tuple(made) if isinstance(index, tuple) else made[0]


def _bound(i, n, m):
    if i is None or i <= 1:
        return i
    if i * m % n == 0:
        return i * m // n
    if i == n - 1:
        return m - 1
    raise Irregular


def _replaced(x, was, now):
    if isinstance(x, (tuple, list)):
        return now if tuple(x) == was else type(x)([_replaced(item, was, now) for item in x])
    if isinstance(x, dict):
        return {k: _replaced(v, was, now) for k, v in x.items()}
    return x
