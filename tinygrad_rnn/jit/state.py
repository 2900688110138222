"""What a function can reach: the arrays, numbers and generators that a step reads and changes.

A recording must know everything that lives on from call to call: parameters, the arrays of an
optimizer, its learning rate, the hidden states of stateful layers, generators. They are found by
walking from the function through its closure, the globals that it names, and the attributes of
the objects there. What is found is an input of the recording; what is not a number that changes by
design (the learning rate and step count of an optimizer) is part of its signature.
"""

from __future__ import annotations

import sys
import types
from functools import partial
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["Place", "Reached", "walk"]

MANY = 1_000  # items


class Place:
    """Where something is kept, so that it can be exchanged: an attribute, an item, a cell."""

    __slots__ = ("container", "key", "kind")

    def __init__(self, kind, container, key=None):
        self.kind, self.container, self.key = kind, container, key

    def get(self) -> Any:
        if self.kind == "attribute":
            return getattr(self.container, self.key)
        return self.container.cell_contents if self.kind == "cell" else self.container[self.key]

    def set(self, value) -> None:
        if self.kind == "attribute":
            setattr(self.container, self.key, value)
        elif self.kind == "cell":
            self.container.cell_contents = value
        else:
            self.container[self.key] = value

    def __str__(self):
        if self.kind == "attribute":
            return f"{type(self.container).__name__}.{self.key}"
        return "a variable of an enclosing function" if self.kind == "cell" else f"[{self.key!r}]"


class Reached:
    """The result of a walk: inputs in a fixed order, places, and the signature of it all."""

    def __init__(self):
        self.tensors: list[Tensor] = []
        self.arrays: list[Place] = []
        self.generators: list[Place] = []
        self.numbers: list[Place] = []
        self.places: list[Place] = []  # all, with what they hold
        self.held: list[Any] = []
        self.objects: list[Any] = []
        self.containers: list[tuple[Any, list]] = []  # lists and dicts, with what was in them
        self.key: list[Any] = []

    def signature(self):
        return tuple(self.key)


def walk(*roots) -> Reached:
    """All that can be reached from functions, arguments and objects."""
    found, seen = Reached(), set()
    key, places, held = found.key, found.places, found.held

    def keep(place):
        places.append(place)
        value = place.get()
        held.append(value)
        visit(value, place)

    def visit(x, place=None):
        kind = type(x)
        if x is None or kind in (bool, int, float, str, bytes, complex):
            if kind in (int, float) and place is not None and changing(place):
                found.numbers.append(place)
                key.append(kind)
            else:
                key.append((kind, x))
            return
        if id(x) in seen:
            key.append(("again", id(x)))
            return
        if isinstance(x, (tuple, frozenset, set)):  # they may be made anew at each call
            key.append((kind, len(x)))
            for item in x:
                visit(item)
            return
        seen.add(id(x))
        if kind in (list, dict) and len(x) > MANY:  # a vocabulary, a data set: not walked each time
            key.append(("many", id(x), len(x)))
            return
        if isinstance(x, Tensor):
            found.tensors.append(x)
            node = x._node
            data = x._data
            key.append(("tensor", x.shape, x.dtype, data.flags.c_contiguous, node is not None))
            if node is not None and node.fn is None:
                keep(Place("attribute", x, "grad"))
        elif isinstance(x, np.ndarray):
            key.append(("array", x.shape, x.dtype, x.flags.c_contiguous))
            if place is not None:
                found.arrays.append(place)
        elif isinstance(x, np.random.Generator):
            key.append("generator")
            if place is not None:
                found.generators.append(place)
        elif kind is list:
            key.append((list, len(x)))
            found.containers.append((x, list(x)))
            for i in range(len(x)):
                keep(Place("item", x, i))
        elif kind is dict:
            key.append((dict, tuple(map(id, x))))
            found.containers.append((x, list(x)))
            for k in x:
                keep(Place("item", x, k))
        elif isinstance(x, types.FunctionType):
            visit_function(x)
        elif isinstance(x, types.MethodType):
            visit(x.__func__)
            visit(x.__self__)
        elif isinstance(x, partial):
            visit((x.func, x.args, tuple(x.keywords.items())))
        elif hasattr(x, "__dict__") and not isinstance(x, (type, types.ModuleType)) and ours(kind):
            found.objects.append(x)
            key.append(("object", id(x), len(vars(x))))
            for name in vars(x):
                keep(Place("attribute", x, name))
        else:
            key.append(("other", id(x)))

    def visit_function(f):
        key.append(("function", id(f.__code__)))
        if not ours_function(f):
            return
        for cell in f.__closure__ or ():
            try:
                keep(Place("cell", cell))
            except ValueError:  # a variable that is not set yet
                key.append("empty")
        for name in names(f.__code__):
            if name in f.__globals__:
                keep(Place("item", f.__globals__, name))
        visit(f.__defaults__)
        visit(tuple((f.__kwdefaults__ or {}).items()))

    for root in roots:
        visit(root)
    return found


def changing(place) -> bool:
    """A number that changes from step to step by design, as its class says."""
    return place.kind == "attribute" and place.key in getattr(
        type(place.container), "changing", ())


def names(code):
    found = list(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found += names(const)
    return found


def ours(kind) -> bool:
    """Whether objects of this class are looked into: not those of Python, NumPy or tg.jit."""
    package = kind.__module__.partition(".")[0]
    if package == "__main__":
        return True
    return not (package in sys.stdlib_module_names or package in ("numpy", "builtins")
                or kind.__module__.startswith(__package__))


def ours_function(f) -> bool:
    """The library's own functions reach nothing but constants of the library."""
    module = f.__module__ or "__main__"
    if module == "__main__" or module.startswith("tinygrad_rnn.models"):
        return True
    package = module.partition(".")[0]
    return package not in sys.stdlib_module_names and package not in ("numpy", "tinygrad_rnn")
