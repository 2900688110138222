"""Layers that hold layers: which ones, and a right one in the place of one that is wrong."""

from __future__ import annotations

import contextlib
import inspect
import types
from typing import Any

from .arguments import is_label
from .numpy_standin import is_tracing
from .running import (
    Setup,
    arguments_of,
    clone,
    copies,
    draw_again,
    draws,
    gradient_names,
    gradient_of,
    is_float,
    item_at,
    named_slots,
    places,
    slots_of,
    truth,
)

_MODULES = {types.ModuleType}  # theirs: a stand-in for NumPy is of another class


def parts_of(cls: type) -> list[type]:
    """The classes with a forward and a backward that the methods of a class name."""
    found: dict[type, None] = {}
    for base in cls.__mro__:
        for fn in vars(base).values():
            if isinstance(fn, types.FunctionType):
                names = [*_names_in(fn.__code__)]
                spaces = [fn.__globals__, *(  # nn.Linear
                    vars(m) for m in map(fn.__globals__.get, names) if type(m) in _MODULES)]
                for part in (space[n] for n in names for space in spaces if n in space):
                    if isinstance(part, type) and part not in cls.__mro__ and all(
                            callable(getattr(part, k, None)) for k in ("forward", "backward")):
                        found[part] = None
    return list(found)


def _names_in(code: types.CodeType):
    """The global names that a function reads, in its comprehensions, too."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _names_in(inner)


def _beside(layer, path):
    """The name of the attribute for the gradient of the one that has the last name of a path, None
    if there is none."""
    return next((k for k in gradient_names(str(path[-1])) if hasattr(layer, k)), None)


@contextlib.contextmanager
def mended(cls: Any):
    """Inside the block the backward of a class is right: it is the derivative of its forward."""
    own = {k: vars(cls)[k] for k in ("forward", "backward") if k in vars(cls)}
    forward, backward = cls.forward, cls.backward

    def remembering(self, *inputs, **options):
        if is_tracing():
            return forward(self, *inputs, **options)
        self.__dict__.pop("before", None)
        before = clone(self)[0], copies(inputs), draws()
        y = forward(self, *inputs, **options)
        self.before = before
        return y

    def right(self, *douts, **named):
        layer, inputs, drawn = self.before
        try:
            bound = inspect.signature(backward).bind(self, *douts, **named)
        except TypeError:
            return backward(self, *douts, **named)  # which raises it as it would
        bound.apply_defaults()  # the 1 of a loss
        douts = bound.args[1:]
        slots = slots_of(layer)
        if not slots.names:  # gradients that are None until backward, or in layers of its own
            after = clone(self)[0]
            with contextlib.suppress(Exception):
                backward(after, *copies(douts))
            slots = named_slots(layer, [p for p, _ in places(layer)
                                        if gradient_of(after, p) is not None
                                        or (len(p) == 1 and _beside(layer, p))])
        states = tuple(k for k in ("h", "c") if hasattr(layer, f"d{k}"))
        setup = Setup(layer, inputs, [], slots, states=states,
                      prepare=lambda _: draw_again(drawn))  # the mask that forward has drawn
        found = truth(setup, list(douts))
        if not slots.beside and any(gradient_of(self, path) is None for path in slots.paths):
            after = clone(self)[0]  # a property, of arrays that are None until backward
            backward(after, *copies(douts))
            vars(self).update({k: v for k, v in vars(after).items() if vars(self).get(k) is None})
        for path, g in zip(slots.paths, found.params, strict=True):
            if slots.beside:
                holder = item_at(self, path[:-1])
                setattr(holder, _beside(holder, path) or f"d{path[-1]}", g)
            else:
                gradient_of(self, path)[...] = g
        vars(self).update({f"d{k}": g for k, g in found.states.items()})
        names = [*(p.name for p in arguments_of(forward)[1:]), *("" for _ in inputs)]
        given = [g for n, x, g in zip(names, inputs, found.inputs, strict=False)
                 if is_float(x) and not is_label(n)]
        return given[0] if len(given) == 1 else tuple(given) if given else None

    cls.forward, cls.backward = remembering, right
    try:
        yield
    finally:
        for name in ("forward", "backward"):
            if name in own:
                setattr(cls, name, own[name])
            else:
                delattr(cls, name)


@contextlib.contextmanager
def each_use_its_own(classes):
    """Inside the block an object of these that is used several times has, in each backward, what
    its forward kept then, the last first."""
    methods = [(cls, cls.forward, cls.backward, {*vars(cls)}) for cls in classes]

    def keeping(forward):
        def run(self, *inputs, **options):
            y = forward(self, *inputs, **options)
            vars(self).setdefault("kept_then", []).append(
                {k: v for k, v in vars(self).items() if k != "kept_then"})
            return y

        return run

    def recalling(backward):
        def run(self, *douts, **options):
            vars(self).update(self.kept_then.pop() if vars(self).get("kept_then") else {})
            return backward(self, *douts, **options)

        return run

    try:
        for cls, forward, backward, _ in methods:
            cls.forward, cls.backward = keeping(forward), recalling(backward)
        yield
    finally:
        for cls, forward, backward, own in methods:
            for name, fn in (("forward", forward), ("backward", backward)):
                if name in own:
                    setattr(cls, name, fn)
                else:
                    delattr(cls, name)
