"""How to construct a layer, and what to hand its forward: found from signatures and by trying.

A recipe is symbolic: shapes are tuples of N (batch), T (time), U (a second time), D (inputs), H
(hidden), V (vocabulary) and multiples such as 4H, so that one recipe makes the layer in any size.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .limits import TimeUp
from .numpy_standin import numpy_standin
from .running import CannotRun, Setup, observe, quietly, slots_of

SIZES = {"N": 3, "T": 4, "U": 2, "D": 5, "H": 6, "V": 7, "Z": 2}  # all of use together differ
LABELS = {"t", "ts", "target", "targets", "label", "labels", "y_true", "teacher", "correct"}


class CannotMake(Exception):
    """How to construct the layer or to call its forward was not found; the text asks for it."""


class Random:
    """Values: normal weights, ids with repetitions, distributions."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def array(self, shape, scale=1.0):
        return scale * self.rng.normal(size=shape)

    def ids(self, shape, n):
        ids = self.rng.integers(0, n, shape)
        if ids.size > 1:
            ids.reshape(-1)[-1] = ids.reshape(-1)[0]
        return ids


@dataclass(frozen=True)
class Spec:
    """One argument: ``kind`` is float, weight, distribution, ids, label, size or value."""

    kind: str
    shape: tuple[str, ...] = ()
    value: Any = None

    def make(self, sizes, values):
        if self.kind == "value":
            return self.value
        if self.kind == "size":
            return measure(self.value, sizes)
        shape = tuple(measure(s, sizes) for s in self.shape)
        if self.kind == "ids":
            return values.ids(shape, measure(self.value, sizes))
        if self.kind == "distribution":
            e = np.exp(values.array(shape))
            return e / e.sum(-1, keepdims=True)
        return values.array(shape, 0.5 if self.kind == "weight" else 1.0)


def measure(symbol: str, sizes):
    """ "4H" -> 4 times the size of H."""
    return int(symbol[:-1] or 1) * sizes[symbol[-1]]


@dataclass
class Recipe:
    """A class (or ``fixed``: a function that makes the layer) and how to call it."""

    cls: Callable[..., Any]
    init: dict[str, Spec]
    inputs: list[Spec]
    input_names: list[str]
    fixed_inputs: list[Any] | None = None
    as_tuple: bool = False

    def setup(self, sizes=None, values=None):
        """The layer and its inputs, ready to run."""
        sizes = {**SIZES, **(sizes or {})}
        values = values or Random()
        with quietly():
            arguments = {k: spec.make(sizes, values) for k, spec in self.init.items()}
            try:
                layer = self.cls(**arguments)
            except (Exception, SystemExit, TimeUp) as error:
                raise CannotRun("construction", error) from error
        inputs = self.fixed_inputs
        if inputs is None:
            inputs = [spec.make(sizes, values) for spec in self.inputs]
        arrays = [k for k, v in arguments.items() if isinstance(v, np.ndarray)]
        return Setup(layer, inputs, slots_of(layer, arrays), as_tuple=self.as_tuple)


# --- what names stand for ------------------------------------------------------------------------

_F, _W = (lambda *shape: Spec("float", shape)), (lambda *shape: Spec("weight", shape))
_STEP, _OVER_TIME, _ROW = ("N", "D"), ("N", "T", "D"), ("N", "V")

_INT_SIZES = [
    (r"(n_?)?(vocab|words?|classes|labels|V|dict)(_?(size|num|dim|n))?", "V"),
    (r"(n_?|num_?)?(hidden|h|hid|units?|state)(_?(size|dim|units?|num|n))?|H|hidden_dims?", "H"),
    (r"(n_?|num_?)?(wordvec|embed(ding)?|input|in|x|d|emb)(_?(size|dim|features|num|units|n))?|D",
     "D"),
    (r"(n_?|num_?)?(out(put)?)(_?(size|dim|features|num|units|n))?|O", "H"),
    (r"(batch|N)(_?size)?", "N"), (r"time_?(size|steps)?|T|seq_?len(gth)?", "T"),
]  # fmt: skip


def _init_specs(name, cls_name: str, k):
    """What a constructor's argument may be, likeliest first; ``k`` gates."""
    gates = "H" if k == 1 else f"{k}H"
    low = name.lower().replace("_", "")
    base = re.sub(r"\d+$", "", low)
    if base in ("wx", "wxh", "wi", "wih", "win", "u") or re.fullmatch(r"w(x|i)[a-z]?", base):
        return [_W("D", gates if base in ("wx", "wi", "wih", "win", "u") else "H")]
    if base in ("wh", "whh", "wrec", "wr") or re.fullmatch(r"w(h|r)[a-z]?", base):
        return [_W("H", gates if base in ("wh", "whh", "wrec", "wr") else "H"), _W("D", "H")]
    if base in ("b", "bias") or re.fullmatch(r"b[a-z]?[a-z]?", base):
        return [_W(gates), _W("H")] if gates != "H" else [_W("H"), _W("D"), _W("V")]
    if base in ("w", "weight", "weights", "embedw", "wembed", "wemb"):
        if "embed" in cls_name.lower():
            return [_W("V", "D")]
        return [_W("D", "H"), _W("V", "D"), _W("D", gates), _W("H", "H")]
    if base in ("gamma", "beta", "scale", "shift", "g"):
        return [_W("D"), _W("H")]
    if re.search(r"ratio|prob|drop|^p$|rate", base):
        return [Spec("value", value=0.4)]
    for pattern, symbol in _INT_SIZES:
        if re.fullmatch(pattern, name) or re.fullmatch(pattern, name.lower()):
            return [Spec("size", value=symbol)]
    if name[:1] in "WUV" or low.startswith("w"):
        return [_W("D", "H"), _W("H", "H"), _W("D", gates), _W("H", gates)]
    return []


def _input_specs(name, cls_name: str):
    """What an argument of forward may be, likeliest first."""
    low = name.lower()
    time = cls_name.lower().startswith("time") or low.endswith("s")
    ids = [Spec("ids", ("N", "T"), "V"), Spec("ids", ("N",), "V")]
    if low in LABELS:
        found = [Spec("ids", ("N",), "V"), Spec("ids", ("N", "T"), "V"),
                 Spec("ids", ("N", "T"), "Z"), Spec("ids", ("N",), "Z"),
                 _F("N", "H"), _F("N", "D"), _F("N", "T", "H")]
        return found if not time else [found[1], found[2], found[0], *found[3:]]
    if low in ("idx", "ids", "indices", "index", "word_ids", "words", "contexts"):
        return ids if time else ids[::-1]
    if re.fullmatch(r"(h|c|s)(_?(prev|in|0|t|tm1|old|last|pre|state))?|h_?c|hidden|state|cell"
                    r"|prev_?(h|c|state)|query|q", low):
        return [_F("N", "H"), _F("N", "D")]
    if low in ("hs_dec", "hs_decoder", "dec_hs", "queries"):
        return [_F("N", "U", "H")]
    if low in ("hs", "hs_enc", "hs_encoder", "enc_hs", "keys", "values", "k", "v", "cs"):
        return [_F("N", "T", "H"), _F("N", "T", "D")]
    if low in ("a", "weights", "attention", "alpha"):
        return [Spec("distribution", ("N", "T")), _F("N", "D")]
    if low in ("p", "prob", "probs", "y", "y_hat", "pred"):
        return [Spec("distribution", _ROW), _F(*_STEP), _F(*_OVER_TIME)]
    step = [_F(*_STEP), _F("N", "H"), _F(*_ROW)]
    over = [_F(*_OVER_TIME), _F("N", "T", "H"), _F("N", "T", "V"), _F("N", "T")]
    if "loss" in cls_name.lower():
        step, over = [_F(*_ROW), _F("N")], [_F("N", "T", "V"), _F("N", "T")]
        ids = []
    floats = over + step if time else step + over
    return floats + (ids if time else ids[::-1]) + ([_F("D")] if not ids else [])


_TIMES = {"lstm": (4,), "gru": (3,), "rnn": (1,)}


def gates_of(cls_name: str, params=()):
    """How many blocks of H the columns of the weights have: by name, else by what fits."""
    low = cls_name.lower()
    for kind, times in _TIMES.items():
        if kind in low:
            return (*times, *(k for k in (1, 4, 3, 2) if k not in times))
    return (1, 4, 3, 2)


def required(fn):
    """The arguments of a function that have no default, without ``self``, and whether more are
    taken by ``*args``."""
    parameters = list(inspect.signature(fn).parameters.values())
    names = [p.name for p in parameters if p.default is p.empty
             and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names, any(p.kind is p.VAR_POSITIONAL for p in parameters)


# --- the search ----------------------------------------------------------------------------------


def find(cls):
    """A Recipe for a class: one whose forward and backward run, else one whose forward runs.

    Raises CannotMake, in one sentence that says what to give, or CannotRun for what the layer
    raised at the likeliest of its recipes.
    """
    name = cls.__name__
    try:
        init_names, _ = required(cls)
    except (TypeError, ValueError):
        init_names = []
    example = ", ".join(f"{n}=..." for n in init_names)
    input_names, starred = required(cls.forward)
    input_names = input_names[1:] if input_names[:1] == ["self"] else input_names
    choices = {n: _input_specs(n, name) for n in input_names}
    unknown = [n for n in init_names if not _init_specs(n, name, 1)]
    if unknown:
        raise CannotMake(f"what {', '.join(unknown)} of {name}({', '.join(init_names)}) may be is"
                         f' not known: say it with --make "{name}({example})"')
    if starred and not input_names:
        raise CannotMake(f"what {name}.forward(*args) takes is not known: give a factory with"
                         " --make that returns (layer, inputs...)")
    first_error = half = None
    for k in gates_of(name):
        inits = [_init_specs(n, name, k) for n in init_names]
        for init in itertools.islice(itertools.product(*inits), 24):
            if half is not None and _W("H", "H") in init and "Wh" not in init_names:
                continue  # it would hide that the layer is right only when D = H
            for inputs in _ordered(list(choices.values())):
                if half is not None and _hides(inputs, half.inputs):
                    continue
                recipe = Recipe(cls, dict(zip(init_names, init, strict=True)), list(inputs),
                                input_names)
                error = _attempt(recipe)
                if error is None:
                    return recipe
                if isinstance(error.error, TimeUp):
                    raise error
                if error.phase in ("backward", "returned") and half is None:
                    half = recipe
                if _tells(error, first_error):
                    first_error = error
            if first_error is not None and first_error.phase == "construction":
                continue
        if not any("k" in s for s in init_names) and not any(
                n.lower()[:1] in "wub" for n in init_names):
            break
    if half is not None:
        return half
    error = first_error
    if error is not None and error.phase == "construction":
        raise CannotMake(f"{name}({', '.join(init_names)}) raised {error}: say how it is made with"
                         f' --make "{name}({example})"')
    if error is None:
        raise CannotMake(f'say how {name} is made with --make "{name}({example})"')
    raise error


def _hides(inputs, held):
    """Whether integers stand where floats have run already: nothing could be found wrong."""
    return any(a.kind == "ids" and b.kind != "ids" for a, b in zip(inputs, held, strict=True))


def _tells(error, held):
    """Whether an error says more than the one that is held: one from inside forward does."""
    if held is None:
        return True
    return held.phase == "construction" and error.phase != "construction"


def _ordered(choices, limit=150):
    """The product of the choices, those first whose places in the lists are small."""
    every = itertools.product(*(list(enumerate(c)) for c in choices))
    ranked = sorted(itertools.islice(every, 3000), key=lambda c: sum(i for i, _ in c))
    return [tuple(spec for _, spec in c) for c in ranked[:limit]]


def _attempt(recipe):
    """None if the recipe runs to the end, else CannotRun."""
    try:
        setup = recipe.setup()
    except CannotRun as error:
        return error
    return attempt(setup, recipe)


def attempt(setup: Setup, recipe=None):
    """None if forward and backward run, else CannotRun. Tries one tuple of cotangents where
    backward does not take them one by one."""
    try:
        seen, _ = observe(setup, np.random.default_rng(1), light=True)
    except CannotRun as error:
        if error.phase != "backward" or isinstance(error.error, TimeUp):
            return error
        setup.as_tuple = True
        try:
            seen, _ = observe(setup, np.random.default_rng(1), light=True)
        except CannotRun:
            setup.as_tuple = False
            return error
        if recipe is not None:
            recipe.as_tuple = True
    values = [y for y in seen.outputs if isinstance(y, (np.ndarray, np.generic, float))]
    if not values:
        return CannotRun("forward", ValueError("forward returns no array"))
    if not all(np.isfinite(y).all() for y in values):
        return CannotRun("forward", ValueError("the output is not finite"))
    if not _fits(seen, setup):
        return CannotRun("returned", ValueError("shapes do not fit"))
    return None


def _fits(seen, setup: Setup):
    """Whether what backward returned has the shapes of the inputs: else another recipe may."""
    floats = [x for x in setup.inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    found = [r for r in seen.returned if isinstance(r, np.ndarray)]
    return len(found) > len(floats) or all(
        r.shape == x.shape for r, x in zip(found, floats, strict=False))


def from_expression(text, module):
    """A Recipe from ``--make``: an expression that gives a layer, (layer, inputs...), or the name
    of a function that returns one of these. Inputs that it does not give are found by trying."""
    names = dict(vars(module))
    names.setdefault("np", numpy_standin)
    try:
        code = compile(ast.parse(text, mode="eval"), "--make", "eval")
    except SyntaxError as error:
        raise CannotMake(f"--make {text!r} is no expression: {error.msg}") from None

    def make():
        value = eval(code, names)
        is_layer = hasattr(value, "forward") and not isinstance(value, type)
        return value() if callable(value) and not is_layer else value

    return from_factory(make, text)


def from_factory(make, text="the factory"):
    """A Recipe from a function without arguments that returns a layer or (layer, inputs...)."""
    try:
        with quietly():
            value = make()
    except (Exception, SystemExit) as error:
        raise CannotMake(f"--make {text!r} raised {type(error).__name__}: {error}") from None
    given = None
    if isinstance(value, tuple):
        value, *given = value
    if not hasattr(value, "forward"):
        raise CannotMake(f"--make {text!r} gave {type(value).__name__}, not a layer with forward")

    def layer():
        with quietly():
            again = make()
        return again[0] if isinstance(again, tuple) else again

    input_names, _ = required(value.forward)
    if given is not None:
        given = [np.asarray(x, float) if np.asarray(x).dtype.kind == "f" else np.asarray(x)
                 for x in given]
        return Recipe(layer, {}, [], _input_names(value, len(given)), fixed_inputs=given)
    name = type(value).__name__
    choices = [_input_specs(n, name) for n in input_names]
    first, half = None, None
    for sizes in _sizes_of(value):
        for inputs in _ordered(choices):
            recipe = _Sized(layer, {}, list(inputs), input_names)
            recipe.sizes = sizes
            failure = _attempt(recipe)
            if failure is None:
                return recipe
            first = first or failure
            if failure.phase in ("backward", "returned"):
                half = half or recipe
    if half is not None:
        return half
    raise first or CannotMake(f"what {name}.forward takes was not found: let --make return"
                              " (layer, inputs...)")


class _Sized(Recipe):
    """A recipe whose layer has its sizes already."""

    sizes: dict[str, int]

    def setup(self, sizes=None, values=None):
        sizes = {k: v for k, v in (sizes or {}).items() if k in "NTUZ"}
        return super().setup({**self.sizes, **sizes}, values)


def _sizes_of(layer):
    """Sizes D, H, V that the parameters of a finished layer suggest, likeliest first."""
    params = slots_of(layer).params(layer)
    matrices = [p.shape for p in params if p.ndim == 2]
    found = []
    if matrices:
        square = next((s[0] for s in matrices[1:]), matrices[0][1])
        found.append({"D": matrices[0][0], "H": square, "V": matrices[0][0]})
        found.append({"D": matrices[0][0], "H": matrices[0][1], "V": matrices[-1][1]})
    elif params:
        found.append({"D": params[0].shape[-1], "H": params[0].shape[-1]})
    return [{**SIZES, **sizes} for sizes in (*found, {})]


def _input_names(layer, n):
    try:
        names = [p.name for p in inspect.signature(layer.forward).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(n)]


def input_names(layer, n):
    """The names that forward has for its first ``n`` inputs."""
    return _input_names(layer, n)
