"""Layers that are written in another form than as a class with ``forward`` and ``backward``.

Each becomes such a class, so that all else need not know: methods under other names; two functions
with a cache between them; one function, or method, that returns a loss and all gradients. What is
what is told by the names (``dWx`` belongs to ``Wx``) and confirmed by the shapes.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import functools
import inspect
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor
from .arguments import is_label, is_large_size
from .numpy_standin import is_tracing
from .running import (
    arguments_of,
    draw_again,
    draws,
    gradient_names,
    gradient_target,
    is_positional,
    is_target,
)
from .source import (
    attributes_read,
    attributes_set,
    is_array_there,
    items_read,
    keys_of,
    keys_read,
    node_of,
    returned_names,
)
from .words import say

_FORWARD = re.compile(r"(feed_?forward|forward|f_?prop|fwd)(_?(prop(agat[a-z]+)?|pass))?", re.I)
_BACKWARD = re.compile(
    r"(back_?ward|back_?prop(agat[a-z]+)?|b_?prop|bwd)(_?(prop(agat[a-z]+)?|pass))?", re.I)
_LOSS = re.compile(r"loss|cost|error|^j$|objective|nll|^l$", re.I)
_WEIGHT = re.compile(r"[WUV]\w*|w|w_\w+|w\d+|b|b_\w+|b\w?\w?|bias\w*|gamma|beta|weights?|embed\w*")
_GRADIENT = re.compile(r"_*((comput|calc|get)\w*_)?(grad(ient)?s?|derivatives?)", re.I)
_BEGINS = re.compile(r"_*(re)?(init|set|build|create|make|prepare|compile)\w*")
_DICTS = re.compile(r"param\w*|weights?|theta|p|model")


def layers_of(own: dict[str, Any], home: str, beside: Any = None) -> list[tuple[str, Any]]:
    """What a module of the name ``home`` defines that can be checked, in the order of ``own``:
    (name, class). Classes with no ``backward`` under any name are among them, so that they are
    spoken of. ``beside``: functions of other modules, for one that goes forward or backward alone.
    """
    made = []
    for name, thing in own.items():
        if isinstance(thing, type) and thing.__module__ == home:
            made.append((name, as_layer(thing)))
    for name, fn in own.items():
        if isinstance(fn, types.FunctionType) and fn.__module__ == home:
            layer = _from_function(name, fn, own, beside or {})
            if layer is not None:
                made.append(layer)
    order = list(own)
    found = [(n, c) for n, c in made if c is not None]
    return sorted(found, key=lambda pair: order.index(getattr(pair[1], "of", pair[0])))


def take_in_methods(own: dict[str, Any], home: str) -> dict[str, list[str]]:
    """Functions that take ``self`` and stand after a class that has none of their name, in a later
    cell, become its methods: class -> their names."""
    taken: dict[str, list[str]] = {}
    cls: Any = None
    for name, thing in own.items():
        if isinstance(thing, type) and thing.__module__ == home:
            cls = thing
        elif cls is not None and _is_method(thing) and not hasattr(cls, name):
            setattr(cls, name, thing)
            taken.setdefault(cls.__name__, []).append(name)
    return taken


def _is_method(fn):
    return isinstance(fn, types.FunctionType) and fn.__code__.co_varnames[
        : fn.__code__.co_argcount][:1] == ("self",)


def as_layer(cls: Any) -> Any:
    """The class, or a subclass in which its methods have the names ``forward`` and ``backward``;
    None if it has nothing like them."""
    forward = getattr(cls, "forward", None)
    if callable(forward) and any(map(_is_abstract, [forward, *_called_by(cls, forward)])):
        return None
    if _are_static(cls, "forward", "backward"):
        if re.fullmatch("ctx|context", next(iter(inspect.signature(forward).parameters), "")):
            return _in_context(cls)
        return _Pair(cls.forward, cls.backward).layer(cls.__name__, cls.__name__)
    if callable(forward) and callable(getattr(cls, "backward", None)):
        return _with_cache(_unpacked(_boxed(_kept(cls))))
    methods = [n for n in dir(cls) if inspect.isfunction(getattr(cls, n, None))]
    for back in [n for n in methods if _rest(_BACKWARD, n) is not None] or (
            difflib.get_close_matches("backward", methods, 1, 0.8)) or [  # misspelt, and called so
                n for n in methods if callable(forward) and _GRADIENT.fullmatch(n)][:1]:
        rest = _rest(_BACKWARD, back) or ""
        fronts = [n for n in methods if _rest(_FORWARD, n) == rest] or [
            n for n in methods if _rest(_FORWARD, n) is not None] or [
            n for n in ("__call__", "call") if n in methods]
        if fronts and _are_static(cls, fronts[0], back):
            pair = _Pair(getattr(cls, fronts[0]), getattr(cls, back))
            return pair.layer(cls.__name__, cls.__name__)
        if fronts:
            return _with_cache(_unpacked(_kept(
                _renamed(cls, getattr(cls, fronts[0]), getattr(cls, back)))))
    for name in methods:
        fn = _method(cls, name)
        if _LOSS.search(name) and _gives_gradients(fn):
            return _method_with_loss(cls, fn)
    for name in methods:
        losses = [_method(cls, n) for n in methods if _LOSS.search(n)]
        given = _listed(getattr(cls, name))
        if re.search("bptt|back|^grad", name) and (all(map(_is_gradient, given)) or _is_formula(
                getattr(cls, name))) and (
                made := _beside_loss(cls, _method(cls, name), losses)):
            return made
    return cls if callable(forward) else None


def begun(cls: Any) -> Any:
    """A subclass whose constructor goes on to the methods that give ``self`` what forward reads and
    the constructor does not make, such as init_params(n_in) or initialize(optimizer), and takes
    what they take; None where there are none."""
    methods = [fn for n in dir(cls) if _BEGINS.fullmatch(n) and n != "__init__"
               and isinstance(fn := getattr(cls, n), types.FunctionType)]
    own, chosen = inspect.signature(cls).parameters, list[Any]()
    made = {*attributes_set(cls.__init__, but_none=True)}
    ahead = [cls.forward]
    while ahead:
        needed = {name for fn in ahead for name in attributes_read(fn)} - made
        ahead = [fn for fn in methods if fn not in chosen and needed & {*attributes_set(fn)}]
        chosen = ahead + chosen  # what one of them reads is made before
    taken: dict[Any, dict[str, str]] = {}
    for fn in chosen:
        names = [p.name for p in arguments_of(fn)[1:] if p.default is p.empty
                 and p.kind is not p.VAR_KEYWORD]
        taken[fn] = dict(zip(names, names, strict=True)) if len(names) != 1 else {
            names[0]: re.sub("^_*set_", "", fn.__name__) if "set_" in fn.__name__ else names[0]}

    def construct(self, **given):
        cls.__init__(self, **{k: v for k, v in given.items() if k in own})
        for fn, names in taken.items():
            fn(self, **{n: given[k] for n, k in names.items()})

    others = dict.fromkeys(k for names in taken.values() for k in names.values() if k not in own)
    signature = inspect.Signature(sorted([*own.values(), *(
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY) for k in others)],
        key=lambda p: p.kind))
    return type(cls.__name__, (cls,), {
        "__init__": construct, "__signature__": signature, "__module__": cls.__module__,
        "__qualname__": cls.__qualname__}) if chosen else None


def goes(name: str) -> str:
    """Which way a function goes, by its name: forward, backward or neither."""
    return "backward" if _rest(_BACKWARD, name) is not None else (
        "forward" if _rest(_FORWARD, name) is not None else "")


def _are_static(cls, *names: str):
    return all(isinstance(inspect.getattr_static(cls, n, None), staticmethod) for n in names)


def _method(cls, name: str):
    """A method of a class, also where it is static: one that takes ``self``."""
    fn = getattr(cls, name)
    if not _are_static(cls, name):
        return fn
    return _taking("self", *arguments_of(fn))(functools.wraps(fn)(
        lambda self, *given, **named: fn(*given, **named)))


def _is_abstract(fn):
    code = getattr(fn, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)


def _called_by(cls: Any, fn):
    """The methods of a class that one of them reads."""
    names = getattr(getattr(fn, "__code__", None), "co_names", ())
    return [method for name in names if inspect.isfunction(method := getattr(cls, name, None))]


def is_empty(fn):
    """Whether a function does nothing yet."""
    node = node_of(fn)
    return _is_abstract(fn) or (node is not None and all(
        isinstance(s, ast.Pass) or (isinstance(s, (ast.Expr, ast.Return)) and isinstance(
            s.value, (ast.Constant, type(None)))) for s in node.body))


def _rest(pattern, name: str):
    """A name without the word for its direction, None if it has none, or is that of a test, or of
    the probabilities of the forward-backward algorithm."""
    match = pattern.search(name)
    if match is None or re.search(r"(^|_)tests?(_|$)|prob(s|abilit\w*)?$", name, re.IGNORECASE):
        return None
    return (name[: match.start()] + name[match.end():]).strip("_")


def _renamed(cls: type, forward, backward) -> Any:
    body = {"forward": forward, "backward": backward, "__module__": cls.__module__}
    return type(cls.__name__, (cls,), body)


def _taking(*names: Any) -> Callable[[Any], Any]:
    """A decorator: a function that is called with what has these names."""
    def decorate(fn):
        fn.__signature__ = inspect.Signature([
            inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            if isinstance(n, str) else n for n in names])
        return fn

    return decorate


_OUTPUT = ("output", "outputs", "out", "y", "probs", "a")
_EDGES = re.compile(
    r"_?(prev|next|input|inputs|in|old|last|pre|tm1|t|0|ext|seq)$|^(prev|input|in)_?")


def _kept(cls: Any) -> Any:
    """The class, or, where its forward keeps its outputs as attributes of which backward is handed
    the gradients, or backward keeps those of the inputs (``self.dinputs``), a subclass in which
    they are returned. Where backward of a loss is handed what the loss was taken of, in place of a
    gradient, it begins with that of the mean (or, if that is right, of the sum) of the losses."""
    forward, backward = cls.forward, cls.backward
    inputs = [p.name for p in arguments_of(forward)[1:]]
    taken = [p for p in arguments_of(backward)[1:] if is_positional(p)]
    free = [p.name for p in taken if p.default is p.empty and p.name not in inputs]
    kept, left = attributes_set(forward), attributes_set(backward)
    outputs = [] if returned_names(forward) or _is_abstract(forward) else [
        t for n in free if (t := gradient_target(n)) in kept]
    if len(outputs) != len(free):
        outputs = [n for n in _OUTPUT if n in kept][: len(free) == 1]
    if returned_names(forward):
        outputs = ["loss"] * (not taken and "loss" in kept and not any(
            "loss" in n for n in returned_names(forward)))
    of_inputs = {} if returned_names(backward) else _gradients_kept(inputs, left)
    at_values = bool(of_inputs) and len(free) == 1 < len(inputs) and len(taken) == len(inputs) and (
        bool(returned_names(forward)) and is_array_there(backward, free[0]))
    if not outputs and not of_inputs:
        return cls

    def with_loss(total):
        @functools.wraps(forward)
        def returned(self, *given):
            made = forward(self, *given)
            if at_values:
                self.handed_in = given
                return total(made) if np.ndim(made) else made
            found = tuple(getattr(self, n) for n in outputs)
            return made if not outputs else found[0] if len(found) == 1 else found

        return returned

    @functools.wraps(backward)
    def with_gradients(self, *douts):
        if at_values:  # the prediction, as forward has made it or was handed it
            made = next((getattr(self, n) for n in _OUTPUT if n in kept), self.handed_in[0])
            backward(self, made, *self.handed_in[1:])
            return tuple(douts[0] * getattr(self, of_inputs[n]) if n in of_inputs else None
                         for n in inputs)
        made = backward(self, *douts)
        if not of_inputs:
            return made
        return tuple(getattr(self, of_inputs[n], None) if n in of_inputs else None for n in inputs)

    if at_values:
        _taking("self", "dout")(with_gradients)
    made = _renamed(cls, with_loss(np.mean), with_gradients)
    made.kept = outputs  # to which it may add
    made.variants = [made, _renamed(cls, with_loss(np.sum), with_gradients)] if at_values else []
    return made


def _gradients_kept(inputs: list[str], left: list[str]) -> dict[str, str]:
    """The attributes that hold the gradients of inputs: by name, or, for "dh_prev" of h_input, but
    for what says which of several h it is; "dinputs" is that of the first of all."""
    found: dict[str, str] = {}
    for n in inputs:
        near = [a for a in left if (t := gradient_target(a)) and (
            _EDGES.sub("", t) == _EDGES.sub("", n) != "")]
        name = next((k for k in gradient_names(n) if k in left), None)
        if name or len(near) == 1:
            found[n] = name or near[0]
    whole = next((a for a in left if gradient_target(a) in ("inputs", "input", "x")), None)
    return found or ({inputs[0]: whole} if whole and inputs else {})


def _boxed(cls: Any) -> Any:
    """The class, or, where calling its objects hands forward the arrays in variables of the
    author's, which backward reads there, a subclass whose forward is that call, and whose backward
    takes and gives arrays."""
    call = next((vars(c)["__call__"] for c in cls.__mro__ if "__call__" in vars(c)), None)
    box = _box_of(call) if isinstance(call, types.FunctionType) else None
    if box is None:
        return cls
    forward, backward = cls.forward, cls.backward
    of_gradients = getattr(box, "backward", None)  # it begins with ones: in a variable, or not
    boxed = isinstance(of_gradients, types.FunctionType) and box in _classes_read(of_gradients)

    @functools.wraps(forward)
    def on_arrays(self, *inputs):
        if is_tracing():
            return forward(self, *inputs)
        self.forward = types.MethodType(forward, self)  # which the call calls
        try:
            made = call(self, *(box(x) if isinstance(x, np.ndarray) else x for x in inputs))
        finally:
            del self.forward
        self.made = made  # that know their function are known to it by weak references
        return opened(made)

    @functools.wraps(backward)
    def to_arrays(self, *douts):
        return opened(backward(self, *(box(np.asarray(g)) if boxed else g for g in douts)))

    def opened(found):
        if isinstance(found, (list, tuple)):
            return tuple(map(opened, found))
        return found.data if isinstance(found, box) else found

    made: Any = _renamed(cls, on_arrays, to_arrays)
    made.backward_alone = backward  # what it calls are functions again: these are not to blame
    return made


class _Context:
    """What a static forward hands on to backward: what it saves, and its own attributes."""

    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


def _in_context(cls: Any) -> Any:
    """A class for two static functions, whose first argument is what one keeps for the other, and
    the others arrays, or objects of the author's that hold one each."""
    forward, backward = cls.forward, cls.backward
    taken = list(inspect.signature(forward).parameters.values())[1:]
    box = _box_of(forward, [p.annotation for p in taken])

    def boxed(x):
        if box is None or not isinstance(x, np.ndarray):
            return x
        made = box(x)
        if hasattr(made, "requires_grad"):
            made.requires_grad = True
        return made

    def opened(found):
        if isinstance(found, (list, tuple)):
            return tuple(map(opened, found))
        return found.data if box is not None and isinstance(found, box) else found

    @_taking("self", *taken)
    @functools.wraps(forward)
    def with_context(self, *inputs):
        if box is not None and is_tracing():
            raise TypeError(f"{box.__name__} holds arrays alone")  # and has our Tensor's names
        self.context = _Context()
        return opened(forward(self.context, *map(boxed, inputs)))

    @_taking("self", *list(inspect.signature(backward).parameters.values())[1:])
    @functools.wraps(backward)
    def from_context(self, *douts):
        return opened(backward(self.context, *(boxed(np.asarray(g)) for g in douts)))

    return type(cls.__name__, (), {"forward": with_context, "backward": from_context,
                                   "__module__": cls.__module__})


def _box_of(fn, first=()) -> Any:
    """The class of objects that a function makes to hold an array each, as ``data``."""
    for cls in [c for c in first if isinstance(c, type)] + _classes_read(fn):
        with contextlib.suppress(Exception, SystemExit):
            if isinstance(cls(np.zeros(2)).data, np.ndarray):
                return cls
    return None


def _classes_read(fn, deep: bool = True) -> list[Any]:
    """The classes that a function names, or one that it calls."""
    codes, found = [fn.__code__], []
    for code in codes:
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        for thing in map(fn.__globals__.get, code.co_names):
            if isinstance(thing, type):
                found.append(thing)
            elif isinstance(thing, types.ModuleType):
                found += [c for n in code.co_names if isinstance(c := getattr(thing, n, 0), type)]
            elif deep and isinstance(thing, types.FunctionType):
                found += _classes_read(thing, False)
    return found


def _unpacked(cls: Any) -> Any:
    """The class, or, where its forward takes several arrays as one argument, a list or a tuple, a
    subclass whose forward takes each by itself."""
    forward, backward = cls.forward, cls.backward
    parameters = arguments_of(forward)
    names = {p.name: items_read(forward, p.name) for p in parameters[1:]}
    if not any(names.values()) or not all(map(is_positional, parameters)):
        return cls

    @_taking(parameters[0], *(k for n, items in names.items() for k in items or [n]))
    @functools.wraps(forward)
    def one_by_one(self, *inputs):
        if len(inputs) == len(names):  # a call of its own, with lists
            return forward(self, *inputs)
        given = iter(inputs)
        self.handed_in = {n: [next(given) for _ in items] if items else next(given)
                          for n, items in names.items()}
        return forward(self, *self.handed_in.values())

    taken = arguments_of(backward)

    @_taking(*(p for p in taken if not names.get(p.name)))
    @functools.wraps(backward)
    def with_lists(self, *douts):
        left = iter(douts)
        return backward(self, *[self.handed_in[p.name] if names.get(p.name) else next(left)
                                for p in taken[1:]])

    return _renamed(cls, one_by_one, with_lists)


def _with_cache(cls: Any) -> Any:
    """The class, or, where its forward returns something that its backward wants back, a cache or
    what it calls by the same name, a subclass that hands it over."""
    forward, backward = cls.forward, cls.backward
    names = returned_names(forward)
    try:
        taken = list(inspect.signature(backward).parameters.values())
    except (TypeError, ValueError):
        return cls
    wanted = [p.name for p in taken if "cache" in p.name.lower() or p.name in names[1:] or (
        p.name in names and p.name not in inspect.signature(forward).parameters)]
    caches = [n for n in names if "cache" in n.lower() or n in wanted] or (
        names[len(names) - len(wanted) :])
    if not wanted or len(names) <= len(caches):
        return cls

    @functools.wraps(forward)
    def without(self, *inputs):
        parts = forward(self, *inputs)
        self.handed_on = {n: p for n, p in zip(names, parts, strict=True) if n in caches}
        left = tuple(p for n, p in zip(names, parts, strict=True) if n not in caches)
        return left[0] if len(left) == 1 else left

    @functools.wraps(backward)
    def with_it(self, *douts):
        kept, given = dict(self.handed_on), list(douts)
        if parts is not None:  # dh_ext and dh_next are handed the gradient of h together
            given = [douts[i] if i not in parts[:k] else np.zeros_like(douts[i])
                     for k, i in enumerate(parts)]
        self.forward = types.MethodType(forward, self)  # which backward may call
        try:
            return backward(self, *[
                kept.pop(p.name if p.name in kept else next(iter(kept))) if p.name in wanted
                else given.pop(0) for p in taken[1:] if p.name in wanted or given])
        finally:
            del self.forward

    left = [n for n in names if n not in caches]
    free = [p.name for p in taken[1:] if p.name not in wanted and p.default is p.empty]
    stems = [_EDGES.sub("", n) for n in left]
    found = [_EDGES.sub("", gradient_target(n) or "") for n in free]
    parts = [stems.index(n) for n in found] if len(free) > len(left) and set(found) == set(
        stems) else None
    _taking(*([p for p in taken if p.name not in wanted] if parts is None else
              [taken[0], *(f"d{n}" for n in left)]))(with_it)
    return _renamed(cls, without, with_it)


# --- what a function returns ---------------------------------------------------------------------


def _gives_gradients(fn) -> bool:
    """Whether a function returns a loss and gradients."""
    names = returned_names(fn)
    return len(names) > 1 and any(map(_is_gradient, names[1:])) and not (
        _is_gradient(names[0]) or _DICTS.fullmatch(names[0]) or _WEIGHT.fullmatch(names[0]))


def _is_gradient(name: str) -> bool:
    return bool(re.search(r"grad", name, re.I)) or gradient_target(name) is not None


def _array(x):
    return isinstance(x, (np.ndarray, Tensor, np.generic, float))


def _flat(found: dict[str, Any], keys: Any = str) -> dict[str, Any]:
    """The arrays of a dict, and of the dicts in it, under keys of these types."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return {k: v for k, v in flat.items() if _array(v) and isinstance(k, keys)}


# --- functions -----------------------------------------------------------------------------------


def _from_function(name: str, fn, own, beside) -> tuple[str, Any] | None:
    if _is_method(fn):
        return None
    rest, back = _rest(_FORWARD, name), _rest(_BACKWARD, name)
    if rest is not None:
        other = _with(_BACKWARD, rest, own) or _with(_BACKWARD, rest, beside)
        if other and not (is_empty(fn) or is_empty(other) or returned_names(fn)):
            return None  # what shows how layers are used returns nothing
        return other and (rest or name, _Pair(fn, other).layer(rest or name, name))
    if back is not None:
        other = None if _with(_FORWARD, back, own) else _with(_FORWARD, back, beside)
        return other and (back or name, _Pair(other, fn).layer(back or name, name))
    return (name, _Pair(fn, None).layer(name, name)) if _gives_gradients(fn) else None


def _with(direction, rest: str, functions) -> Any:
    """The function of a name for a direction and of the rest of another, None if there is none."""
    return next((fn for name, fn in functions.items() if isinstance(fn, types.FunctionType)
                 and _rest(direction, name) == rest), None)


def halves(own) -> set[Any]:
    """What is missing where a function goes one way alone: the other direction, and the rest of its
    name."""
    functions = [name for name, fn in own.items() if isinstance(fn, types.FunctionType)
                 and not _is_method(fn)]
    return {(there, rest) for here, there in ((_FORWARD, _BACKWARD), (_BACKWARD, _FORWARD))
            for rest in {_rest(here, n) for n in functions} - {_rest(there, n) for n in own} - {
                None}}


def completes(name: str, missing) -> bool:
    """Whether a function of that name is what is missing to one of ``halves``."""
    return any(_rest(direction, name) == rest for direction, rest in missing)


def layer_of_function(fn) -> tuple[str, Any]:
    """A function that goes forward, or back, as a layer: (name, class). Raises ValueError where
    nothing goes the other way."""
    own = {k: v for k, v in fn.__globals__.items() if getattr(v, "__module__", "") == fn.__module__}
    found = _from_function(fn.__name__, fn, {fn.__name__: fn}, own | fn.__globals__)
    if found is None:
        raise ValueError(f"check: no function goes the other way for {fn.__name__}, and it returns"
                         " no gradients")
    return found


AT_OUTPUT = say("backward is handed what forward gave, not a gradient, and gives the derivative"
                 " there: whoever calls it multiplies it with the gradient")


class _Pair:
    """Two functions, or one that does the work of both, and what their arguments are."""

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., Any] | None):
        self.forward, self.backward = forward, backward
        self.only = ""  # what the one gradient is called, where it has no name of its own
        self.at_output = False  # whether backward is handed the output by the name of the input
        self.renamed: int | None = None  # the output whose gradient has the name of another
        parameters = list(inspect.signature(forward).parameters.values())
        self.arguments = [p.name for p in parameters if is_positional(p) and (
            p.default is p.empty or is_large_size(p) or (  # y=None: scores alone, without a loss
                backward is None and p.default is None and (p.name == "y" or is_label(p.name))))]
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self.keys = {n: keys for n in self.arguments if (keys := self._keys(n))}
        self.weights = [n for n in self.arguments if n not in self.keys and (
            _WEIGHT.fullmatch(n) or (n == "theta" and backward is None)) and (
                n != "beta" or "gamma" in self.arguments)]  # alone, it may be a number
        if len(self.weights) == len(self.arguments):
            self.weights = self.weights[1:]
        self.free = [k for n in self.arguments for k in self.keys.get(
            n, [n] if n in self.weights else [])]
        # weights that are global variables have their values, and with them their sizes
        names = forward.__globals__
        self.globals = {n: names[n] for n in forward.__code__.co_names if isinstance(
            names.get(n), np.ndarray) and names[n].dtype.kind == "f" and names[n].size}
        self.slots = [*self.free, *self.globals]
        self.inputs = [n for n in self.arguments if n not in self.keys and n not in self.weights]

    def _keys(self, name: str):
        """The keys of a dict of parameters, as the function reads them."""
        return list(keys_read(self.forward, name) or ()) if _DICTS.fullmatch(name) else []

    def layer(self, name: str, of: str) -> Any:
        """The class."""
        pair = self

        def init(self, **weights):
            self.params = [weights[k] if k in weights else pair.globals[k].astype(np.float64)
                           for k in pair.slots]
            vars(self).update(zip(pair.slots, self.params, strict=True))
            self.grads = [np.zeros_like(w) for w in self.params]

        @_taking("self", *self.inputs)
        @functools.wraps(self.forward)
        def forward(self, *inputs):
            with pair.globals_of(self):
                return pair.run_forward(self, inputs)

        @_taking("self", *self._douts())
        @functools.wraps(self.backward or self.forward)
        def backward(self, *douts):
            with pair.globals_of(self):
                return pair.run_backward(self, douts)

        cls: Any = type(name, (), {"__init__": init, "forward": forward, "backward": backward,
                                   "__module__": self.forward.__module__})
        _taking(*self.free)(cls)
        cls.of = of
        cls.form = self
        cls.renamed = self.renamed
        if self._taken() == self.inputs and len(self.inputs) == 1 and not self.at_output:
            other = copy.copy(self)
            other.at_output = True
            cls.variants = [cls, other.layer(name, of)]
            cls.variants[1].notes = [AT_OUTPUT]
        if self.backward is None:
            cls.hint = name + "Loss"
            cls.at_once = staticmethod(self.forward)
            given = {gradient_target(n) for n in returned_names(self.forward)}
            if self.inputs and not given & {*self.inputs, *self.slots} and (
                    len(returned_names(self.forward)) == 2):
                of = (self.weights if len(self.weights) == 1 else self.inputs)[0]
                given |= {of}
                self.only = f"d{of}"
            cls.without_gradient = frozenset(n for n in self.inputs if n not in given)
        return cls

    @contextlib.contextmanager
    def globals_of(self, layer):
        """The global weights have the values of a layer inside the block."""
        names, own = self.forward.__globals__, dict(zip(self.slots, layer.params, strict=True))
        held = {n: names[n] for n in self.globals}
        names.update({n: own[n] for n in held})
        try:
            yield
        finally:
            names.update(held)

    def _taken(self):
        """The names of what backward takes."""
        return [p.name for p in arguments_of(self.backward)
                if p.default is p.empty] if self.backward else []

    def _douts(self):
        """What backward is handed from above: gradients, also those in a dict to which it adds, in
        the order of the outputs where their names tell it, or the target of a loss."""
        if self.backward is None:
            return ["dout"]
        names = self._taken()
        sums = [k for n in names for k in self.sums(n) if self._made(gradient_target(k) or "")]
        found = [n for n in names if n not in self.arguments and self._is_cotangent(n)] + sums or [
            n for n in names if n not in self.arguments and "cache" not in n and (
                n == names[0] or is_target(n)) and not self._made(n)]
        outputs = [n for n in returned_names(self.forward) if "cache" not in n]
        of = {self._made(gradient_target(n) or ""): n for n in found}
        if len(found) == len(outputs) == len(of) and len({*of} - {*outputs}) < 2:  # "dy" of p
            left = [n for n in found if n not in [of.get(o) for o in outputs]]
            self.renamed = next((i for i, o in enumerate(outputs) if o not in of), None)
            found = [of[o] if o in of else left[0] for o in outputs]
        return found

    def sums(self, name: str) -> list[str]:
        """The keys of an argument of backward that is a dict of gradients."""
        return sorted(keys_of(self.backward, name)) if re.fullmatch(
            "grad(ient)?s?", name) and name not in self.arguments else []

    def _made(self, name: str) -> str | None:
        """What forward returns, by the name, or the almost same name, that it has in backward."""
        names = [n for n in returned_names(self.forward) if "cache" not in n]
        near = [n for n in names if _EDGES.sub("", n) == _EDGES.sub("", name) != ""]
        return name if name in names else near[0] if len(near) == 1 and not is_target(
            name) else None

    def _is_cotangent(self, name: str):
        return "cache" not in name and not self.sums(name) and (
            _is_gradient(name) or name in ("dout", "delta", "upstream"))

    def run_forward(self, layer, inputs):
        slots = dict(zip(self.slots, layer.params, strict=True))
        given = dict(zip(self.inputs, inputs, strict=True))
        values = {n: {k: slots[k] for k in self.keys[n]} if n in self.keys
                  else slots[n] if n in slots else given[n] for n in self.arguments}
        result = self.forward(**values)
        parts = list(result) if isinstance(result, tuple) else [result]
        names = returned_names(self.forward)
        names = names if len(names) == len(parts) else [f"output{i}" for i in range(len(parts))]
        caches = sum("cache" in n for n in self._taken())
        if len(parts) > caches > sum("cache" in n for n in names):  # under another name
            names[-caches:] = ["cache"] * caches
        if self.backward is None:
            if len(parts) == 1:  # scores, without labels
                raise TypeError(f"{self.forward.__name__} returns no gradients")
            layer.kept = dict(zip([self.only] if self.only and len(parts) == 2 else names[1:],
                                  parts[1:], strict=True)), values
            return parts[0]
        outputs = [(n, p) for n, p in zip(names, parts, strict=True)
                   if _array(p) and "cache" not in n]
        layer.kept = values, dict(outputs), [p for n, p in zip(names, parts, strict=True)
                                             if not _array(p) or "cache" in n]
        made = [p for _, p in outputs]
        return made[0] if len(made) == 1 else tuple(made)

    def run_backward(self, layer, douts):
        if self.backward is None:
            (dout,), (made, values) = douts, layer.kept
            return self._hand_out(layer, {k: v * dout for k, v in _flat(made).items()}, values)
        values, outputs, caches = layer.kept
        known = {**self.defaults, **values}
        handed, caches = dict(zip(self._douts(), douts, strict=False)), list(caches)
        arguments: list[Any] = []
        for name in self._taken():
            if name in handed:
                arguments.append(handed[name])
            elif name in known:
                arguments.append(next(iter(outputs.values())) if self.at_output else known[name])
            elif keys := self.sums(name):
                slots = dict(zip(self.slots, layer.params, strict=True)) | values
                arguments.append({k: np.copy(handed[k]) if k in handed else np.zeros(np.shape(
                    slots.get(gradient_target(k) or "", 0.0))) for k in keys})
            elif self._made(name) in outputs:
                arguments.append(outputs[self._made(name)])
            elif caches:
                arguments.append(caches.pop(0))
        result = self.backward(*arguments)
        if isinstance(result, dict):
            found = dict(result)
        else:
            parts = list(result) if isinstance(result, (tuple, list)) else [result]
            names = returned_names(self.backward)
            if len(names) != len(parts):
                names = [f"d{i}" for i in range(len(parts))]
            own = {k: np.shape(v) for k, v in values.items() if not isinstance(v, dict)}  # settings
            same = (s in (np.shape(g), (1, *np.shape(g))) for g, s in zip(
                parts, own.values(), strict=False))
            if len(names) == len(own) and sum(same) * 2 >= len(names):
                # what has no name of its own stands in the order of the arguments
                names = [n if n.isidentifier() and n not in handed and names.count(n) == 1
                         else f"d{k}" for n, k in zip(names, own, strict=True)]
            found = dict(zip(names, parts, strict=True))
        return self._hand_out(layer, found, values)

    def _hand_out(self, layer, found, values):
        """Gradients, by what they are called, to ``grads`` and to the inputs."""
        flat = _flat(found)
        wanted = dict(zip(self.slots, layer.params, strict=True)) | {
            n: values[n] for n in self.inputs if n in values}
        got: dict[str, Any] = {}
        for target in wanted:
            for name in (*gradient_names(target), target):
                if name in flat:
                    got[target] = flat.pop(name)
                    break
        for name in list(flat):  # "dx" of xt, "da0" of a0: close to the name, and of its shape
            near = (gradient_target(name) or name).lower().replace("_", "")
            left = {t: t.lower().replace("_", "") for t in wanted if t not in got}
            shaped = [t for t in left if np.shape(wanted[t]) == np.shape(flat[name])]
            fits = [t for t in shaped if near and (
                left[t].startswith(near) or near.startswith(left[t]))] or shaped or [
                t for t in left if left[t] == near]
            if len(fits) == 1:
                got[fits[0]] = flat.pop(name)
        for i, name in enumerate(self.slots):
            g = got.get(name)
            if g is not None and np.shape(g) == np.shape(layer.grads[i]):
                layer.grads[i][...] = g
            else:
                layer.grads[i] = g
        layer.not_returned = [n for n in self.inputs if n not in got]
        return tuple(got.get(n) for n in self.inputs)


def _listed(fn) -> list[str]:
    """What a function returns, also in a list."""
    return [n for name in returned_names(fn) for n in name.strip("[]").split(", ")] or [""]


def _is_formula(fn):
    """Whether a function returns one thing that has no name."""
    names = returned_names(inspect.unwrap(fn))
    return len(names) == 1 and not names[0].isidentifier() and names[0][0] not in "[{"


def _beside_loss(cls: Any, back, losses) -> Any:
    """A class with a method that returns the gradients of its weights beside one that returns the
    loss, of the same arguments, or of lists of them; its mean, or its sum. None if there is no such
    loss. How it is meant shows where it is right."""
    taken = arguments_of(back)
    losses = [fn for fn in losses if [p.name.lower() for p in arguments_of(fn)] == [
        p.name.lower() for p in taken]]
    inputs, names = [p.name for p in taken[1:]], _listed(inspect.unwrap(back))
    if _is_formula(back) or names in (["grad"], ["gradient"]):  # of what is predicted
        names = [f"d{n}" for n in inputs if not is_target(n)][:1] or names
    given = {t for n in names if (t := gradient_target(n)) in inputs}

    def one(loss, listed: bool, mean: bool):
        def forward(self, *inputs):
            self.handed_in, self.drawn = inputs, draws()
            for name, value in vars(self).items():
                if "trunc" in name and type(value) is int:
                    setattr(self, name, 1 << 30)  # whole: what is cut off is not wrong
            value = loss(self, *([x] for x in inputs)) if listed else loss(self, *inputs)
            return value * len(inputs[-1]) if mean else value

        def gradients(self):  # which run forward again: what they draw is what it drew
            draw_again(self.drawn)
            found = back(self, *self.handed_in)
            if isinstance(found, dict):
                return found
            return dict(zip(names, found if isinstance(found, (tuple, list)) else [found],
                            strict=False))

        made = _with_loss(cls, loss, forward, back, gradients, taken[1:], given)
        made.notes = [say("{loss} is a mean over the labels: {backward} gives the gradient of their"
                          " sum", loss=loss.__name__, backward=back.__name__)] if mean else []
        return made

    made = [one(loss, listed, mean) for mean in (False, True) for loss in losses
            for listed in (False, True)]
    if made:
        made[0].variants = made
    return made[0] if made else None


def _method_with_loss(cls: type, fn) -> Any:
    """A class one of whose methods returns a loss and all gradients."""
    names = returned_names(fn)[1:]

    def forward(self, *inputs):
        made = fn(self, *inputs)
        if not isinstance(made, (tuple, list)):
            raise TypeError(f"{fn.__name__} returns no gradients")  # but scores, without labels
        loss, *parts = made
        self.kept = _flat(dict(zip(names, parts, strict=False)), (str, tuple))
        return loss

    taken = [p for p in arguments_of(fn)[1:] if p.default is p.empty or p.default is None]
    made = _with_loss(cls, fn, forward, fn, lambda self: self.kept,
                      [p.name for p in taken], {gradient_target(n) for n in names})
    made.at_once = staticmethod(fn)
    return made


def _with_loss(cls: type, loss, forward, back, gradients, taken, given=frozenset()) -> Any:
    """A class with a ``forward`` that returns a loss, and with all gradients, by their names, as
    ``gradients`` finds them after it; ``given``: those arguments whose gradients are among them."""
    inputs = [n if isinstance(n, str) else n.name for n in taken]

    @_taking("self", "dout")
    @functools.wraps(back)
    def backward(self, dout=1.0):
        found = self.gradients = {k: g * dout for k, g in gradients(self).items()}
        return tuple(next((found.pop(k) for k in gradient_names(n) if k in found), None)
                     for n in inputs) if given & {*inputs} else None

    made = _renamed(cls, _taking("self", *taken)(functools.wraps(loss)(forward)), backward)
    made.hint = cls.__name__ + "Loss"
    made.without_gradient = frozenset(p.name for p in arguments_of(loss)) - given
    return made
