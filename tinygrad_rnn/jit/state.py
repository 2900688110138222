"""What a function can reach: the arrays, numbers and generators that a step reads and changes.

A recording must know everything that lives on from call to call: parameters, the arrays of an
optimizer, its learning rate, the hidden states of stateful layers, generators. They are found by
walking from the arguments, and from the function through its closure, the globals that it names,
the attributes of the objects there, and the methods of their classes. What is found is an input of
the recording; what is neither a float among the arguments nor a number that changes by design (the
learning rate and step count of an optimizer) is part of its signature.
"""

from __future__ import annotations

import argparse
import array
import dataclasses
import operator
import os
import sys
import types
import weakref
from collections import deque
from functools import cache, partial
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["ARRAYS", "Place", "Reached", "rebuilt", "walk"]

MANY = 1_000  # items
ARRAYS = (np.ndarray, np.memmap)  # other subclasses compute in ways of their own
SCALARS = frozenset((type(None), bool, int, float, str, bytes, complex))
CODE = (types.FunctionType, type, np.ufunc)
NAMESPACES = (types.SimpleNamespace, argparse.Namespace)


class Place:
    """Where something is kept, so that it can be exchanged: an attribute, an item, a cell, or an
    item of the tuple in another place."""

    __slots__ = ("container", "key", "kind")

    def __init__(self, kind, container, key=None):
        self.kind, self.container, self.key = kind, container, key

    def get(self) -> Any:
        if self.kind == "attribute":
            return getattr(self.container, self.key)
        if self.kind == "tuple":
            return self.container.get()[self.key]
        return self.container.cell_contents if self.kind == "cell" else self.container[self.key]

    def set(self, value) -> None:
        if self.kind == "attribute":  # also of what is frozen: it is put back
            owner = type if isinstance(self.container, type) else object
            owner.__setattr__(self.container, self.key, value)
        elif self.kind == "tuple":
            items = list(self.container.get())
            items[self.key] = value
            self.container.set(rebuilt(self.container.get(), items))
        elif self.kind == "cell":
            self.container.cell_contents = value
        else:
            self.container[self.key] = value

    def __str__(self):
        if self.kind == "attribute":
            owner = self.container if isinstance(self.container, type) else type(self.container)
            return f"{owner.__name__}.{self.key}"
        return "a variable of an enclosing function" if self.kind == "cell" else f"[{self.key!r}]"


def rebuilt(x, items):
    """A tuple, a named one too, or a list of the kind of ``x`` with these items."""
    return x._make(items) if hasattr(x, "_make") else type(x)(items)


class Reached:
    """The result of a walk: inputs in a fixed order, places, and the signature of it all."""

    def __init__(self):
        self.tensors: list[Tensor] = []
        self.arrays: list[Place] = []
        self.again: list[tuple[Place, int]] = []  # further places of an array: which one
        self.generators: list[Place] = []
        self.numbers: list[Place] = []
        self.spots: list[tuple] = []  # all places, as they are made, with what they hold
        self.held: list[Any] = []
        self.containers: list[tuple[Any, Any, tuple]] = []  # whose, what, and what was in it
        self.kept: list[Any] = []  # known by id in the signature: nothing else may get that id
        self.key: list[Any] = []

    @property
    def places(self) -> list[Place]:
        return [Place(*spot) for spot in self.spots]

    def signature(self):
        return tuple(self.key)


def walk(f, given=()) -> Reached:
    """All that can be reached from a function and its arguments, which are lists and dicts."""
    found = Reached()
    seen: dict[int, Any] = {}
    key, spots, held = found.key, found.spots, found.held

    def keep(spot, value, given=False):
        spots.append(spot)
        held.append(value)
        visit(value, spot, given)

    def visit(x, spot=None, given=False):
        kind: Any = type(x)
        sort = sort_of(kind)
        if sort == "scalar":
            if (kind is float or kind is int) and spot is not None and (
                    (given and kind is float) or changing(spot)):
                found.numbers.append(Place(*spot))
                key.append(kind)
            else:
                key.append((kind, x if x or kind is not float else repr(x)))  # 0.0 is not -0.0
            return
        if sort == "tuple":  # it may be made anew at each call
            key.append((kind, len(x)))
            for i, item in enumerate(x):
                visit(item, spot and ("tuple", Place(*spot), i), given)
            return
        if sort == "number":  # of NumPy
            key.append(("array", (), x.dtype) if given else (kind, x.tobytes()))
            if given:
                found.arrays.append(Place(*spot))
            return
        at = seen.get(id(x))
        if at is not None:
            key.append(("again", at))
            if sort == "array":
                found.again.append((Place(*spot), at[1]))
            return
        seen[id(x)] = len(seen)
        if sort == "tensor":
            found.tensors.append(x)
            node = x._node
            data = x._data
            key.append(("tensor", x.shape, x.dtype, data.flags.c_contiguous, node is not None))
            if node is not None and node.fn is None:
                keep(("attribute", x, "grad"), node.grad)
        elif sort == "array":
            seen[id(x)] = len(seen), len(found.arrays)
            key.append(("array", x.shape, x.dtype, x.flags.c_contiguous))
            found.arrays.append(Place(*spot))
        elif sort == "object":
            key.append(kind)
            given = given and dataclasses.is_dataclass(x)
            for name in slots(kind):
                if hasattr(x, name):
                    keep(("attribute", x, name), getattr(x, name), given)
            if hasattr(x, "__dict__"):
                attributes(x, vars(x), given)
            if ours_module(kind.__module__):
                visit(kind)
        elif sort == "container":
            if len(x) > MANY:  # a vocabulary, a data set: not walked each time
                known(x, len(x))
                return
            names = tuple(x) if isinstance(x, dict) else tuple(range(len(x)))
            labels = tuple([k if type(k) in SCALARS else id(k) for k in names])
            found.kept.append(names)
            key.append((kind, labels))
            found.containers.append((x, x, names))
            for k in names:
                keep(("item", x, k), x[k], given)
            if kind not in (list, dict):
                attributes(x, getattr(x, "__dict__", {}))
                visit(kind)
        elif sort == "function":
            visit_function(x)
        elif sort == "class":
            visit_class(x)
        elif sort == "generator":
            key.append("generator")
            found.generators.append(Place(*spot))
        elif sort == "set":
            key.append((kind, len(x)))
            for item in x:
                visit(item)
        elif sort == "method":
            visit(x.__func__)
            visit(x.__self__)
        elif sort == "partial":
            parts = Partial(x)
            keep(("item", parts, 0), parts[0])
        elif sort == "bytes":
            key.append((kind, bytes(x)))
        elif sort == "jitted":
            visit(x.f)
        else:
            known(x)

    def known(x, *more):
        """By what it is equal to, or by what it is."""
        try:
            hash(x)
            key.append((type(x), x, more))
        except TypeError:
            found.kept.append(x)
            key.append(("other", id(x), more))

    def attributes(x, inside, given=False):
        names = tuple(inside)
        key.append(names)
        found.containers.append((x, inside, names))
        for name, value in inside.items():
            keep(("attribute", x, name), value, given)

    def visit_function(f):
        code = f.__code__
        found.kept.append(code)
        key.append(("function", id(code)))
        if not ours_module(f.__module__):
            return
        for name, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # a variable that is not set yet
                key.append("empty")
                continue
            if isinstance(value, types.ModuleType):
                visit_globals({name: value}, (name, *names_of(code)))
            else:
                keep(("cell", cell), value)
        visit_globals(f.__globals__, names_of(code))
        for name, value in (("__defaults__", f.__defaults__), ("__kwdefaults__", f.__kwdefaults__)):
            if value:
                keep(("attribute", f, name), value)
        if f.__dict__:
            attributes(f, f.__dict__)

    def visit_globals(inside, names):
        for name in names:
            if name in inside:
                value = inside[name]
                if isinstance(value, CODE) and not ours_module(
                        getattr(value, "__module__", "numpy")):
                    key.append(value)
                elif not isinstance(value, types.ModuleType):
                    keep(("item", inside, name), value)
                elif ours_module(value.__name__) and id(value) not in seen:
                    seen[id(value)] = len(seen)
                    visit_globals(vars(value), names)

    def visit_class(cls):
        """What its methods reach, and its own attributes."""
        key.append(cls)
        for base in cls.__mro__:
            if not ours_module(base.__module__) or (base is not cls and id(base) in seen):
                continue
            seen.setdefault(id(base), len(seen))
            values = tuple(vars(base).values())
            parts = classes.get(base)
            if parts is None or parts.values != values:
                made = Parts(base, values)
                if parts is not None and parts.inner == made.inner:  # something of Python's own
                    parts.values = made.values
                else:
                    parts = classes[base] = made
            key.append(parts)
            for inside, names in parts.named:
                visit_globals(inside, names)
            for function in parts.functions:
                visit(function)
            for name in parts.data:
                keep(("attribute", base, name), vars(base)[name])

    for x in given:
        visit(x, None, True)
    visit(f)
    # they refer to each other, and what they found should not wait for the garbage collector
    keep = visit = attributes = visit_function = visit_globals = visit_class = None  # type: ignore # noqa: F811
    return found


class Parts:
    """What there is in a class: functions, and the globals that the plain ones among them name;
    attributes."""

    def __init__(self, cls, values):
        self.values = Same(values)
        self.named: list[tuple[dict, tuple]] = []
        self.functions: list[types.FunctionType] = []
        self.data: list[str] = []
        self.inner: list[Any] = []
        plain: dict[int, tuple[dict, list]] = {}
        for name, value in vars(cls).items():
            inner = next((f for what in ("__func__", "fget", "func", "__wrapped__")
                          if isinstance(f := getattr(value, what, None), types.FunctionType)),
                         value)
            if isinstance(inner, types.FunctionType):
                self.inner.append(inner)
                if not (inner.__closure__ or inner.__kwdefaults__ or vars(inner)) and all(
                        type(x) in SCALARS for x in inner.__defaults__ or ()):
                    names = plain.setdefault(id(inner.__globals__), (inner.__globals__, []))[1]
                    names += names_of(inner.__code__)
                else:
                    self.functions.append(inner)
            elif not name.startswith("__") and not hasattr(type(value), "__get__"):
                self.data.append(name)
                self.inner.append(name)
        self.named = [(inside, tuple(dict.fromkeys(names))) for inside, names in plain.values()]


class Same(tuple):
    """A tuple that equals another with the same objects in it."""

    __slots__ = ()

    def __eq__(self, other):
        return len(self) == len(other) and all(map(operator.is_, self, other))

    def __ne__(self, other):
        return not self == other

    __hash__ = None  # type: ignore[assignment]


classes: weakref.WeakKeyDictionary[type, Parts] = weakref.WeakKeyDictionary()


class Partial:
    """The parts of a functools.partial as something that holds one tuple."""

    def __init__(self, held):
        self.held = held

    def __getitem__(self, _):
        return self.held.func, self.held.args, self.held.keywords

    def __setitem__(self, _, parts):
        self.held.__setstate__((*parts, vars(self.held)))


@cache
def sort_of(kind) -> str:
    """How objects of this class are looked into."""
    if kind in SCALARS:
        return "scalar"
    if kind in ARRAYS:
        return "array"
    sorts: dict[str, Any] = {
        "tuple": tuple, "number": np.generic, "tensor": Tensor, "container": (list, dict, deque),
        "set": (set, frozenset), "generator": np.random.Generator, "class": type,
        "function": types.FunctionType, "method": types.MethodType, "partial": partial,
        "bytes": (bytearray, array.array), "object": NAMESPACES,
    }  # fmt: skip
    for sort, classes in sorts.items():
        if issubclass(kind, classes):
            return sort
    if kind.__module__.startswith(__package__):
        return "jitted" if kind.__name__ == "Jitted" else "other"
    package = kind.__module__.partition(".")[0]
    if issubclass(kind, types.ModuleType) or (package != "__main__" and (
            package in sys.stdlib_module_names or package in ("numpy", "builtins"))):
        return "other"
    return "object"


def changing(spot) -> bool:
    """A number that changes from step to step by design, as its class says."""
    return spot[0] == "attribute" and spot[2] in getattr(type(spot[1]), "changing", ())


@cache
def names_of(code) -> tuple[str, ...]:
    """The globals and attributes that code names, also in the functions that it makes."""
    found = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found += names_of(const)
    return tuple(dict.fromkeys(found))


@cache
def slots(kind) -> tuple[str, ...]:
    found: list[str] = []
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        found += [names] if isinstance(names, str) else names
    return tuple(name for name in found if name not in ("__dict__", "__weakref__"))


@cache
def ours_module(name) -> bool:
    """Whether functions and classes of this module are looked into: not those of Python, of this
    library (they reach nothing but its constants) and of others that are installed."""
    if name is None or name == "__main__" or name.startswith("tinygrad_rnn.models"):
        return True
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names or package in ("numpy", "tinygrad_rnn"):
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return f"{os.sep}site-packages{os.sep}" not in file
