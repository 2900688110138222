"""What a function can reach: the arrays, numbers and generators that a step reads and changes.

A recording must know everything that lives on from call to call: parameters, the arrays of an
optimizer, its learning rate, the hidden states of stateful layers, generators. They are found by
walking from the arguments, and from the function through its closure, the globals that it names,
the attributes of the objects there, and the methods of their classes. What is found is an input of
the recording; what is neither a float among the arguments nor a number that changes by design (the
learning rate and step count of an optimizer) is part of its signature.
"""

from __future__ import annotations

import abc
import array
import copy
import dataclasses
import dis
import enum
import gc
import io
import operator
import os
import random
import sys
import threading
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache, partial, partialmethod, singledispatchmethod, wraps
from itertools import chain, compress
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["ARRAYS", "Place", "Reached", "content", "foreign", "lasting", "ours_module", "rebuilt",
           "refill", "walk", "where"]

MANY = 1_000  # items
LISTS = ("tensors", "arrays", "again", "generators", "generators_again", "numbers", "sources",
         "spots", "held", "containers", "kept", "cached", "key")  # of what is reached
ARRAYS = (np.ndarray, np.memmap)  # other subclasses compute in ways of their own
SCALARS = frozenset((type(None), bool, int, float, str, bytes, complex))
BASES = (int, float, complex, str, bytes)  # of classes of one's own
CODE = (types.FunctionType, type, np.ufunc)
METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
CACHED = type(cache(len))
VIEWS: tuple = (type({}.keys()), type({}.values()), type({}.items()))
OPAQUE = ("numpy", "builtins", "numba", "llvmlite")  # packages whose objects are what they are
# How classes of Python's own are looked into that hold what the program puts there, like those of
# the program or as so many bytes. By name, since most programs import few of their modules.
HOLDERS: dict[str, str] = dict.fromkeys((
    "types.SimpleNamespace", "argparse.Namespace", "_thread._local", "collections.ChainMap",
    "collections.UserDict", "collections.UserList", "configparser.RawConfigParser",
    "configparser.SectionProxy", "_weakrefset.WeakSet", "weakref.WeakKeyDictionary",
    "weakref.WeakValueDictionary", "multiprocessing.sharedctypes.SynchronizedBase",
    "builtins.BaseException"), "object")
HOLDERS |= dict.fromkeys((
    "queue.Queue", "_queue.SimpleQueue", "asyncio.queues.Queue", "multiprocessing.queues.Queue",
    "multiprocessing.queues.SimpleQueue", "multiprocessing.connection._ConnectionBase"), "source")
HOLDERS |= dict.fromkeys((
    "_ctypes._SimpleCData", "_ctypes.Array", "_ctypes.Structure", "_ctypes.Union"), "values")


THROUGH = frozenset(("cached", "jitted", "method", "partial", "proxy", "reference", "variable",
                     "view"))


class Aside:
    """Holds what no recording looks at: the counts of the one who lets something be recorded."""

    def __init__(self, held: Any) -> None:
        self.held = held


class Place:
    """Where something is kept, so that it can be exchanged: an attribute, an entry of an object's
    ``__dict__`` (whatever the class makes of that name), an item, a cell, an item of the tuple in
    another place, or what the method in another place belongs to."""

    __slots__ = ("container", "key", "kind")

    def __init__(self, kind, container, key=None):
        self.kind, self.container, self.key = kind, container, key

    def get(self) -> Any:
        if self.kind == "entry":
            return vars(self.container)[self.key]
        if self.kind == "attribute":
            return getattr(self.container, self.key)
        if self.kind == "tuple":
            return self.container.get()[self.key]
        if self.kind == "self":
            return self.container.get().__self__
        return self.container.cell_contents if self.kind == "cell" else self.container[self.key]

    def set(self, value) -> None:
        if self.kind == "entry":
            vars(self.container)[self.key] = value
        elif self.kind == "attribute":  # also of what is frozen: it is put back
            owner = type if isinstance(self.container, type) else object
            owner.__setattr__(self.container, self.key, value)
        elif self.kind == "tuple":
            items = list(self.container.get())
            items[self.key] = value
            self.container.set(rebuilt(self.container.get(), items))
        elif self.kind == "self":
            self.container.set(getattr(value, self.key))
        elif self.kind == "cell":
            self.container.cell_contents = value
        else:
            self.container[self.key] = value

    def __str__(self):
        if self.kind in ("attribute", "entry"):
            owner = self.container if isinstance(self.container, type) else type(self.container)
            return f"{owner.__name__}.{self.key}"
        return "a variable of an enclosing function" if self.kind == "cell" else f"[{self.key!r}]"


def rebuilt(x: Any, items: Any) -> Any:
    """A tuple, a named one too, or a list of the kind of ``x`` with these items; how the class
    makes its own is not asked."""
    kind: Any = type(x)
    if kind.__module__ in OPAQUE or hasattr(x, "n_sequence_fields"):  # or of C's
        return kind(items)
    if isinstance(x, tuple):
        new = tuple.__new__(kind, items)
        getattr(new, "__dict__", {}).update(getattr(x, "__dict__", {}))
    else:
        new = copy.copy(x)
        new[:] = items
    return new


class Reached:
    """The result of a walk: inputs in a fixed order, places, and the signature of it all."""

    def __init__(self):
        self.tensors: list[Tensor] = []
        self.arrays: list[Place] = []
        self.again: list[tuple[Place, int]] = []  # further places of an array: which one
        self.generators: list[Place] = []
        self.generators_again: list[tuple[Place, int]] = []  # further places of a generator
        self.numbers: list[Place] = []
        self.sources: list[Place] = []  # of iterators, and whatever else changes by being asked
        self.spots: list[tuple] = []  # all places, as they are made, with what they hold
        self.held: list[Any] = []
        self.containers: list[tuple[Any, Any, tuple]] = []  # whose, what, and what was in it
        self.bags: list[Any] = []  # sets and bytes, whose items no place stands for
        self.caches: list[dict] = []  # of functools.cache
        self.cached: list[np.ndarray] = []  # the arrays in them
        self.kept: list[Any] = []  # known by id in the signature: nothing else may get that id
        self.key: list[Any] = []
        self.seen: dict[int, Any] = {}
        self.given: dict[str, int] = {}  # how many of all these come from the arguments

    @property
    def places(self) -> list[Place]:
        return [Place(*spot) for spot in self.spots]

    def signature(self):
        return tuple(self.key)

    def end_of_given(self) -> None:
        """What is found from here on, the function reaches without its arguments."""
        self.given = {name: len(getattr(self, name)) for name in (*LISTS, "seen")}


class Watch:
    """What a walk from a function has read, so that the next walk can be spared: where it would
    read the same, other than in numbers and arrays that are inputs."""

    def __init__(self, found: Reached, numbers: Any = (), parts: Any = None) -> None:
        self.found = found
        self.numbers = numbers  # where numbers lie that the function changes
        self.parts: dict[type, Parts] = {} if parts is None else parts  # of classes met before
        self.complete = True  # whether all that was read is known here
        self.loose: list[tuple[Any, str, Any]] = []  # attributes
        self.cells: list[tuple[Any, Any]] = []
        self.names: list[tuple[dict, str, Any]] = []  # globals
        self.functions: list[tuple[Any, ...]] = []  # with their parts
        self.classes: list[tuple[type, tuple, Same, list, Same]] = []
        self.lengths: list[tuple[Any, int]] = []
        self.twice: set[int] = set()  # what was met again, by id
        self.registered: Any = None  # how many classes were to ABCs, if there is one

    def close(self) -> None:
        """Note the rest, at the end of the walk; the arguments are let go."""
        found, start = self.found, self.found.given
        self.lists = {name: getattr(found, name)[start[name] :] for name in LISTS}
        self.given_key, self.given_arrays = found.key[: start["key"]], start["arrays"]
        self.ids = frozenset(list(found.seen)[start["seen"] :])
        # all containers at once: a loop over them would cost more than all else that is looked at
        containers = sorted(self.lists["containers"], key=lambda c: not isinstance(c[1], dict))
        self.owners = [x for x, _, _ in containers]
        self.kinds = list(map(type, self.owners))
        self.insides = [inside for _, inside, _ in containers]
        self.dicts = [inside for inside in self.insides if isinstance(inside, dict)]
        self.others = self.insides[len(self.dicts) :]
        self.objects = [x for x, inside, _ in containers if getattr(x, "__dict__", 0) is inside]
        self.vars = list(map(vars, self.objects))
        self.sizes = [len(names) for _, _, names in containers]
        self.keys = [name for (_, _, names), _ in zip(containers, self.dicts, strict=False)
                     for name in names]
        self.spots = [("entry", x, name) for x, _, names in containers for name in names]
        self.values = self._values()
        self.shapes = self._shapes([place.get() for place in self.lists["arrays"]])
        del self.found

    def reached(self, given) -> Reached | None:
        """What the function reaches with these arguments, or None if it has to be walked."""
        if not self.complete:
            return None
        new = walk(None, given, Watch(Reached(), self.numbers, self.parts))
        if new.key != self.given_key or not self._unchanged(new.seen.keys()):
            return None
        for name, items in self.lists.items():
            getattr(new, name).extend(items)
        return new

    def _unchanged(self, given) -> bool:
        """Whether all is as it was, and apart from the objects with the ids ``given``."""
        swapped: dict[int, Tensor] = {}
        if (list(map(type, self.owners)) != self.kinds or list(map(len, self.insides)) != self.sizes
                or not all(map(operator.is_, map(vars, self.objects), self.vars))
                or not all(map(operator.is_, chain.from_iterable(self.dicts), self.keys))):
            return False
        now = self._values()
        other = map(operator.is_not, self.values, now)
        if not all(self._alike(self.values[i], now[i], self.spots[i], swapped)
                   for i in compress(range(len(now)), other)):
            return False
        self.values = now
        tensors = self.lists["tensors"]
        if swapped:
            self.lists["tensors"] = tensors = [swapped.get(id(t), t) for t in tensors]
        # what is looked for in a place is there
        if not (all(getattr(x, name, None) is value for x, name, value in self.loose)
                and all(contents(cell) is value for cell, value in self.cells)
                and all(inside.get(name, Same) is value for inside, name, value in self.names)):
            return False
        arrays = [place.get() for place in self.lists["arrays"]]
        ids = frozenset(map(id, (*arrays, *tensors)))
        return (given.isdisjoint(self.ids) and given.isdisjoint(ids)
            and len(ids) == len(arrays) + len(tensors)
            and self._shapes(arrays) == self.shapes
            and all(place.get() is arrays[i - self.given_arrays]
                    for place, i in self.lists["again"])
            and all(f.__code__ is code and f.__defaults__ is defaults and f.__kwdefaults__ is named
                    and len(f.__dict__) == n for f, code, defaults, named, n in self.functions)
            and all(cls.__mro__ is mro and values == tuple(vars(cls).values())
                    and codes == codes_of(plain)
                    for cls, mro, values, plain, codes in self.classes)
            and all(len(x) == n for x, n in self.lengths)
            and self.registered in (None, abc.get_cache_token()))

    def _values(self) -> list[Any]:
        return [*chain.from_iterable(map(operator.methodcaller("values"), self.dicts)),
                *chain.from_iterable(self.others)]

    def _alike(self, a, b, spot, swapped):
        """Whether a walk finds the same where b has taken the place of a: a number or an array
        that is an input, an equal scalar, or a Tensor without a graph, such as a state."""
        if a is b or type(a) is not type(b):
            return a is b
        kind: Any = type(a)
        sort = sort_of(kind)
        if sort == "array":
            return True
        if sort == "tensor":
            swapped[id(a)] = b
            return a._node is None and id(a) not in self.twice
        if sort == "tuple":
            return len(a) == len(b) and not getattr(b, "__dict__", None) and all(
                self._alike(x, y, None, swapped) for x, y in zip(a, b, strict=True))
        return sort == "scalar" and ((spot and changing(spot, self.numbers)) or (
            a == b and repr(a) == repr(b)))

    def _shapes(self, arrays):
        shapes: list[Any] = [(t.shape, t.dtype, layout(t._held), t._node is not None)
                             for t in self.lists["tensors"]]
        return shapes + [(a.shape, a.dtype, layout(a)) for a in arrays]


def layout(array) -> Any:
    """How an array lies in memory: what is a view of one array is a copy of another. With it, of
    which library it is, and whether it is read-only."""
    lies = array.flags.c_contiguous or array.strides
    if foreign(array):
        return type(array), lies
    return lies if array.flags.writeable else (lies, "read-only")


def foreign(x) -> bool:
    """Whether it is an array of a library for another device, such as CuPy's."""
    kind: Any = type(x)
    return not issubclass(kind, np.ndarray) and sort_of(kind) == "array"


def contents(cell) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is not set yet
        return Same


def changed(inside, names) -> bool:
    """Whether a list, a dict or a deque has other keys than these."""
    if not isinstance(inside, dict):
        return len(inside) != len(names)
    return len(inside) != len(names) or not all(map(operator.is_, inside, names))


def content(bag) -> Any:
    """What is in a set, or in bytes."""
    return bag.tobytes() if isinstance(bag, np.ndarray) and not bag.dtype.hasobject else tuple(bag)


def refill(inside, items) -> None:
    """Put into a list, dict, set ... what was in it."""
    if isinstance(inside, np.ndarray):
        inside[:] = np.frombuffer(items, inside.dtype) if isinstance(items, bytes) else items
        return
    if isinstance(inside, (bytearray, array.array)):  # whose memory an array may look at
        was: Any = bytearray if isinstance(inside, bytearray) else partial(
            array.array, inside.typecode)
        inside[:] = was(items)
        return
    if hasattr(inside, "clear"):
        inside.clear()
    else:
        del inside[:]
    (inside.update if isinstance(inside, (dict, set)) else inside.extend)(items)


def walk(f, given=(), watch=None) -> Reached:
    """All that can be reached from a function and its arguments, which are lists and dicts.
    A ``watch`` of what is found will know what was read on the way."""
    found = Reached() if watch is None else watch.found
    watch = Watch(found) if watch is None else watch
    key, spots, held, seen = found.key, found.spots, found.held, found.seen
    of_modules: set[tuple[int, str]] = set()  # which attributes of which modules were visited

    def keep(spot, value, given=False):
        if spot is not None:
            spots.append(spot)
            held.append(value)
        visit(value, spot, given)

    def visit(x, spot=None, given=False):
        kind: Any = type(x)
        sort = sort_of(kind)
        if spot is None and sort == "array":  # nothing can take its place
            sort = "values"
        if spot is None and sort == "generator":  # which is noticed if it is asked
            spot = "item", [x], 0
        if sort == "scalar":
            if (kind is float or kind is int) and spot is not None and (
                    (given and kind is float) or changing(spot, watch.numbers)):
                found.numbers.append(Place(*spot))
                key.append(kind)
            else:
                key.append(exactly(x))
            return
        if sort == "tuple":  # it may be made anew at each call
            key.append((kind, len(x)))
            for i, item in enumerate(x):
                visit(item, spot and ("tuple", Place(*spot), i), given)
            if kind is not tuple:
                attributes(x, getattr(x, "__dict__", {}))
                visit(kind)
            return
        if sort == "number":  # of NumPy
            changes = given or (spot is not None and changing(spot, watch.numbers))
            key.append(("array", (), x.dtype) if changes else (kind, x.tobytes()))
            watch.complete &= not isinstance(x, np.void)  # whose fields can be set
            if changes:
                found.arrays.append(Place(*spot))
            return
        if sort == "source" or (sort == "method" and source_of(x)):
            key.append(kind)
            if spot is not None:
                found.sources.append(Place(*spot))
            return
        at = seen.get(id(x))
        if at is not None:
            key.append(("again", at))
            watch.twice.add(id(x))
            if found.given and sort != "class" and (
                    at if type(at) is int else at[0]) < found.given["seen"]:
                watch.complete = False  # it is an argument, or a part of one, too
            if sort == "array":
                found.again.append((Place(*spot), at[1]))
            if sort == "generator":
                found.generators_again.append((Place(*spot), at[1]))
            return
        seen[id(x)] = len(seen)
        if sort in THROUGH:  # what is behind it says nothing of it
            key.append(kind)
        if sort == "tensor":
            found.tensors.append(x)
            node = x._node
            data = x._held
            key.append(("tensor", x.shape, x.dtype, layout(data), node is not None))
            if node is not None and node.fn is None:
                watch.loose.append((x, "grad", node.grad))
                keep(("attribute", x, "grad"), node.grad)
        elif sort == "array":
            seen[id(x)] = len(seen), len(found.arrays)
            key.append(("array", x.shape, x.dtype, layout(x)))
            found.arrays.append(Place(*spot))
        elif sort == "object":
            key.append(kind)
            key.extend(base.__repr__(x) for base in BASES if isinstance(x, base))
            given = given and dataclasses.is_dataclass(x)
            for name in slots(kind):
                watch.loose.append((x, name, getattr(x, name, None)))
                if hasattr(x, name):
                    key.append(name)
                    keep(("attribute", x, name), getattr(x, name), given)
            if hasattr(x, "__dict__"):
                attributes(x, vars(x), given)
            if isinstance(x, threading.local):  # another thread has other attributes
                watch.complete = False
            if ours_module(kind.__module__):
                visit(kind)
        elif sort == "container":
            if len(x) > MANY:  # a vocabulary, a data set: not walked each time
                watch.lengths.append((x, len(x)))
                known(x, len(x))
                return
            names = tuple(x) if isinstance(x, dict) else tuple(range(len(x)))
            found.kept.append(names)
            key.append((kind, tuple([exactly(k) if type(k) in SCALARS else id(k) for k in names])
                        if isinstance(x, dict) else len(names)))
            found.containers.append((x, x, names))
            for k in names:
                keep(("item", x, k), x[k], given)
            if kind not in (list, dict):
                attributes(x, getattr(x, "__dict__", {}))
                if isinstance(x, defaultdict):
                    watch.loose.append((x, "default_factory", x.default_factory))
                    visit(x.default_factory)
                visit(kind)
        elif sort == "function":
            visit_function(x)
        elif sort == "class":
            visit_class(x)
        elif sort == "generator":
            key.append("generator")
            seen[id(x)] = len(seen), len(found.generators)
            found.generators.append(Place(*spot))
        elif sort == "set":
            watch.complete = False
            key.append((kind, len(x)))
            if hasattr(x, "clear"):
                found.bags.append(x)
            for item in x:
                visit(item)
            if kind not in (set, frozenset):
                attributes(x, getattr(x, "__dict__", {}))
                visit(kind)
        elif sort == "method":
            called = getattr(x, "__name__", None)
            visit(getattr(x, "__func__", called))
            if isinstance(x.__self__, (types.ModuleType, types.NoneType)):
                known(x)
            else:
                keep(spot and ("self", Place(*spot), called), x.__self__)
        elif sort == "view":  # of a dict
            visit(x.mapping)
        elif sort in ("partial", "variable"):
            watch.complete = False
            inside: Any = Partial(x) if sort == "partial" else Variable(x)
            keep(("item", inside, 0), inside[0])
            if sort == "partial":
                attributes(x, vars(x))
                if kind is not partial:
                    visit(kind)
        elif sort == "reference":
            watch.complete = False
            visit(x())
        elif sort == "proxy":
            visit(gc.get_referents(x)[0])
        elif sort == "cached":
            visit(x.__wrapped__)
            for result in results_in(x, watch) if kind is CACHED else ():
                if type(result) not in ARRAYS:
                    visit(result)
                # There may be one for each length of a sequence, so they are no part of the
                # signature; a recording looks at those that it has found.
                else:
                    found.cached.append(result)
                    if result.flags.c_contiguous and result.flags.writeable:
                        found.bags.append(result.reshape(-1))
        elif sort == "values":
            watch.complete = False
            strided = isinstance(x, np.ndarray) or not memoryview(x).contiguous
            inside = np.asarray(x) if strided else np.frombuffer(x, np.uint8)
            key.append((kind, inside.shape, inside.dtype, inside.tobytes(),
                        np.asarray(getattr(x, "mask", ())).tobytes()))
            if inside.flags.c_contiguous and inside.flags.writeable:
                found.bags.append(inside.reshape(-1))
        elif sort == "bytes":
            watch.complete = False
            key.append((kind, bytes(x)))
            if hasattr(x, "extend"):
                found.bags.append(x)
        elif sort == "jitted":
            visit(x.f)
            attributes(x, vars(x))
        elif isinstance(x, types.ModuleType):
            known(x)
        else:  # of Python's own: the flag of a threading.Event, the level of a logger
            inside = {name: value for name, value in getattr(x, "__dict__", {}).items()
                      if type(value) in SCALARS}
            watch.loose += [(x, name, value) for name, value in inside.items()]
            known(x, *map(exactly, inside.values()))

    def known(x, *more):
        """By what it is equal to and says, or by what it is."""
        try:
            hash(x)
            # range(0, 3, 2) is equal to range(0, 4, 2)
            kind: Any = type(x)
            said = repr(x) if kind.__eq__ is not object.__eq__ else None
            key.append((kind, x, said, more))
        except (TypeError, ValueError):  # ValueError: of a memoryview
            found.kept.append(x)
            key.append(("other", id(x), more))

    def attributes(x, inside, given=False):
        names = tuple(inside)
        key.append(names)
        found.containers.append((x, inside, names))
        for name, value in inside.items():
            keep(("entry", x, name), value, given)

    def visit_function(f):
        code = f.__code__
        found.kept.append(code)
        watch.functions.append((f, code, f.__defaults__, f.__kwdefaults__, len(f.__dict__)))
        key.append(("function", id(code)))
        if not ours_module(f.__module__):
            return
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            value = contents(cell)
            watch.cells.append((cell, value))
            if value is Same:
                key.append("empty")
            elif isinstance(value, types.ModuleType):
                visit_globals({name: value}, (name,), names_of(code)[1])
            else:
                keep(("cell", cell), value)
        visit_globals(f.__globals__, *names_of(code))
        for name, value in (("__defaults__", f.__defaults__), ("__kwdefaults__", f.__kwdefaults__)):
            if value:
                keep(("attribute", f, name), value)
        if f.__dict__:
            attributes(f, f.__dict__)

    def visit_globals(inside, names, attributes):
        """The variables of these names; of a module of ours, those that are named as its
        attributes."""
        for name in names:
            watch.names.append((inside, name, inside.get(name, Same)))
            if name in inside:
                value = inside[name]
                if isinstance(value, CODE) and not ours_module(
                        getattr(value, "__module__", "numpy")):
                    key.append(value)
                    look_at_abc(value)
                elif not isinstance(value, types.ModuleType):
                    keep(("item", inside, name), value)
                elif ours_module(value.__name__):
                    visit_globals(vars(value), new_of(value, attributes), attributes)
                else:
                    visit_abcs(value, attributes)

    def new_of(module, attributes):
        new = [a for a in attributes if (id(module), a) not in of_modules]
        of_modules.update((id(module), a) for a in new)
        return new

    def visit_abcs(module, attributes):
        for name in new_of(module, attributes):
            value = vars(module).get(name)
            if isinstance(value, types.ModuleType):
                visit_abcs(value, attributes)
            else:
                look_at_abc(value)

    def look_at_abc(x):
        """What isinstance says of it changes with what is registered, to any ABC."""
        if isinstance(x, abc.ABCMeta) and watch.registered is None:
            watch.registered = abc.get_cache_token()
            key.append(("registered", watch.registered))

    def visit_class(cls):
        """What its methods reach, and its own attributes."""
        key.append(cls.__mro__)  # its bases can be exchanged
        look_at_abc(cls)
        for base in cls.__mro__:
            if not ours_module(base.__module__) or (base is not cls and id(base) in seen):
                continue
            seen.setdefault(id(base), len(seen))
            values = tuple(vars(base).values())
            parts = watch.parts.get(base)
            if parts is None or parts.values != values or parts.codes != codes_of(parts.plain):
                made = Parts(base, values)
                if parts is not None and parts.inner == made.inner and parts.codes == made.codes:
                    parts.values = made.values  # something of Python's own
                else:
                    parts = watch.parts[base] = made
            watch.classes.append((base, base.__mro__, parts.values, parts.plain, parts.codes))
            key.append(parts)
            if type(base) is not type and ours_module(type(base).__module__):
                visit(type(base))
            for x in parts.descriptors:
                visit(x)
            for named in parts.named:
                visit_globals(*named)
            for function in parts.functions:
                visit(function)
            for name in parts.data:
                keep(("attribute", base, name), vars(base)[name])

    for x in given:
        visit(x, None, True)
    found.end_of_given()
    if f is not None:
        visit(f)
        watch.close()
    # they refer to each other, and what they found should not wait for the garbage collector
    keep = visit = attributes = visit_function = visit_globals = visit_class = visit_abcs = None  # type: ignore # noqa: F811
    return found


class Parts:
    """What there is in a class: functions, and the globals that the plain ones among them name;
    attributes."""

    def __init__(self, cls, values):
        self.values = Same(values)
        self.named: list[tuple[dict, tuple, tuple]] = []
        self.functions: list[types.FunctionType] = []
        self.data: list[str] = []
        self.descriptors: list[Any] = []
        self.inner: list[Any] = []
        self.plain: list[types.FunctionType] = []  # with no parts but these, which may change
        plain: dict[int, tuple[dict, list, list]] = {}
        for name, value in vars(cls).items():
            inner = next((f for what in ("__func__", "fget", "func", "__wrapped__")
                          if isinstance(f := getattr(value, what, None), types.FunctionType)),
                         value)
            inside = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(inside, CACHED) or sort_of(type(inside)) == "jitted":
                self.inner.append(inside)  # what lies at it, or in it, is the program's, too
                self.descriptors.append(inside)
                continue
            if isinstance(value, singledispatchmethod):
                self.descriptors.append(value.dispatcher)
            if isinstance(value, partialmethod):
                self.inner.append(value)
                self.descriptors += [value.args, value.keywords]
            if isinstance(inner, types.FunctionType):
                self.inner.append(inner)
                if not (inner.__closure__ or inner.__kwdefaults__ or vars(inner)) and all(
                        type(x) in SCALARS for x in inner.__defaults__ or ()):
                    self.plain.append(inner)
                    found = plain.setdefault(id(inner.__globals__), (inner.__globals__, [], []))
                    for into, names in zip(found[1:], names_of(inner.__code__), strict=True):
                        into += names
                else:
                    self.functions.append(inner)
            elif hasattr(type(value), "__get__"):
                if ours_module(type(value).__module__):
                    self.descriptors.append(value)
                    self.inner.append(value)
            elif not name.startswith("__"):
                self.data.append(name)
                self.inner.append(name)
        self.named = [(inside, tuple(dict.fromkeys(names)), tuple(dict.fromkeys(attributes)))
                      for inside, names, attributes in plain.values()]
        self.codes = Same(codes_of(self.plain))


def codes_of(functions) -> tuple:
    """What may be exchanged in a function while it stays the same one, as a notebook that loads a
    module again does it."""
    return tuple(chain.from_iterable(map(PARTS_OF_A_FUNCTION, functions)))


PARTS_OF_A_FUNCTION = operator.attrgetter(
    "__code__", "__defaults__", "__kwdefaults__", "__closure__")


class Same(tuple):
    """A tuple that equals another with the same objects in it."""

    __slots__ = ()

    def __eq__(self, other):
        return len(self) == len(other) and all(map(operator.is_, self, other))

    def __ne__(self, other):
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def exactly(x) -> tuple[type, Any]:
    """A scalar, as something that equals no other: 0.0 is not -0.0, nor 1 True, and NaN is NaN."""
    return type(x), x if x and x == x and type(x) is not complex else repr(x)


class Partial:
    """The parts of a functools.partial as something that holds one tuple."""

    def __init__(self, held):
        self.held = held

    def __getitem__(self, _):
        return self.held.func, self.held.args, self.held.keywords

    def __setitem__(self, _, parts):
        self.held.__setstate__((*parts, vars(self.held)))


class Variable:
    """What is in a contextvars.ContextVar, as something that holds one item."""

    def __init__(self, held):
        self.held = held

    def __getitem__(self, _):
        return self.held.get(None)

    def __setitem__(self, _, value):
        self.held.set(value)


def by_class(f: Any) -> Any:
    """functools.cache for a function of a class, without keeping that alive."""
    known: dict[int, Any] = {}

    @wraps(f)
    def of(kind):
        found = known.get(id(kind))
        if found is None:
            at = id(kind)
            found = known[at] = f(kind), weakref.ref(kind, lambda _: known.pop(at))
        return found[0]

    return of


def lasting(x) -> bool:
    """Whether it is a thing that stays as it is: a number, a function, a dtype, a range, a path.
    What Python's own make is if it is equal to others like it."""
    kind: Any = type(x)
    sort = sort_of(kind)
    if sort == "other":
        return kind.__eq__ is not object.__eq__ or x is ... or isinstance(x, types.ModuleType)
    return isinstance(x, enum.Enum) or sort in (
        "scalar", "number", "function", "class", "method", "partial", "cached", "jitted", "set")


def results_in(x, watch) -> list[Any]:
    """What functools.cache keeps and someone could edit."""
    found, most = gc.get_referents(x), x.cache_parameters()["maxsize"]
    caches = [d for d in found if type(d) is dict and d is not vars(x) and (
        most is None or all(type(link).__name__ == "_lru_list_elem" for link in d.values()))]
    if most is None:
        found = list(chain.from_iterable(map(dict.values, caches)))
    for result in found:
        if isinstance(result, tuple):
            found.extend(result)
    hidden = {id(vars(x)), *map(id, caches)}
    watch.found.caches += caches
    watch.lengths += [(d, len(d)) for d in caches]
    watch.complete &= most is None or not any(len(d) == most for d in caches)
    # in an order that a look-up does not change
    return sorted((r for r in found if id(r) not in hidden and (
        sort_of(type(r)) in ("object", "container", "tensor", "array", "generator"))), key=id)


def source_of(x) -> bool:
    """Whether it is a method of an iterator, or of something else that changes by being asked."""
    kind: Any = type(getattr(x, "__self__", None))
    return sort_of(kind) == "source"


@by_class
def sort_of(kind) -> str:
    """How objects of this class are looked into."""
    if kind in SCALARS:
        return "scalar"
    if kind in ARRAYS:
        return "array"
    sorts: dict[str, Any] = {
        "source": (random.Random, np.random.RandomState, np.random.BitGenerator),
        "tuple": tuple, "number": np.generic, "tensor": Tensor, "container": (list, dict, deque),
        "values": (np.ndarray, memoryview), "set": (set, frozenset),
        "generator": np.random.Generator, "class": type, "function": types.FunctionType,
        "method": METHODS, "partial": partial, "bytes": (bytearray, array.array),
        "variable": ContextVar, "reference": weakref.ref, "proxy": types.MappingProxyType,
        "cached": (CACHED, staticmethod, classmethod), "view": VIEWS,
    }  # fmt: skip
    for sort, classes in sorts.items():
        if issubclass(kind, classes):
            return sort
    if all(hasattr(kind, name) for name in ("__array_ufunc__", "__array_function__", "get")):
        return "array"
    module = kind.__module__ if isinstance(kind.__module__, str) else "builtins"  # as of Cython
    if module.startswith(__package__):
        return "jitted" if kind.__name__ == "Jitted" else "other"
    for base in kind.__mro__:
        if (name := f"{base.__module__}.{base.__qualname__}") in HOLDERS:
            return HOLDERS[name]
    package = module.partition(".")[0]
    if issubclass(kind, types.ModuleType) or (package != "__main__" and (
            package in sys.stdlib_module_names or package in OPAQUE)):
        asked = issubclass(kind, Iterator) and not issubclass(kind, io.IOBase)
        return "source" if asked else "other"
    return "object"


def changing(spot, numbers) -> bool:
    """A number that changes from step to step, as its class says, or as was seen."""
    return where(*spot) in numbers or (
        spot[0] in ("attribute", "entry") and spot[2] in getattr(type(spot[1]), "changing", ()))


def where(kind, container, key=None):
    """What stands for a place among others: an attribute is that of all objects of a class."""
    return kind, type(container) if kind == "entry" else id(container), key


@cache
def names_of(code) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globals and the attributes that code names, also in the functions that it makes."""
    variables: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for step in dis.get_instructions(code):
        if step.opcode in dis.hasname:
            variable = "GLOBAL" in step.opname or step.opname == "LOAD_NAME"
            (variables if variable else attributes)[step.argval] = None
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            for found, more in zip((variables, attributes), names_of(const), strict=True):
                found.update(dict.fromkeys(more))
    return tuple(variables), tuple(attributes)


@by_class
def slots(kind) -> tuple[str, ...]:
    found: list[str] = []
    for base in kind.__mro__:
        names = "args" if base is BaseException else vars(base).get("__slots__", ())
        for name in [names] if isinstance(names, str) else names:
            private = name.startswith("__") and not name.endswith("__")
            found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


@cache
def ours_module(name) -> bool:
    """Whether functions and classes of this module are looked into: not those of Python, of this
    library (they reach nothing but its constants) and of others that are installed."""
    if not isinstance(name, str) or name == "__main__" or name.startswith("tinygrad_rnn.models"):
        return True
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names or package in ("numpy", "tinygrad_rnn"):
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return f"{os.sep}site-packages{os.sep}" not in file
