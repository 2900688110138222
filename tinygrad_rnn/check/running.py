"""Run a layer: its own backward on arrays (``observe``), and the gradients of its own forward by
automatic differentiation (``truth``)."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import itertools
import random
import re
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import ancestry, propagate
from ..tensor import Tensor
from .arguments import is_label
from .limits import TimeUp
from .loading import is_widened
from .numpy_standin import clips, numpy_standin, tracing
from .source import displays, handed_on, profiled, returned_names, untouched
from .words import say

_HERE = str(Path(__file__).parent)


class CannotRun(Exception):
    """The layer could not be run to its end. ``phase``: "forward", "backward", ...; ``line``:
    where, in the file of the layer; ``error``: what was raised; ``how_far``: it came, where no
    line tells."""

    def __init__(self, phase, error, line=None, how_far: int = 0):
        super().__init__(f"{type(error).__name__}: {error}".removesuffix(": "))
        self.phase, self.error, self.line = phase, error, line
        self.file = ""
        lines = lines_run(error)
        self.depth = (_PHASES.get(phase, 2), lines[0] if lines else how_far)  # how far it came
        self.progress = self.depth[0], lines  # also in what it called


def is_of_the_call(error: BaseException):
    """Whether a function was called with what it does not take, by us."""
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return isinstance(error, TypeError) and "argument" in str(error) and all(
        Path(f.f_code.co_filename).parent == Path(__file__).parent for f in frames)


_PHASES = {"construction": 0, "forward": 1, "output": 2, "backward": 3, "unwritten": 4,
           "returned": 5}


def lines_run(error: BaseException) -> list[int]:
    """How many lines of each function of theirs were run before an exception, the outermost, that
    of the layer, first. How far a run came is told by that one alone: arrays of an odd shape pass
    the product that those of the likeliest fail in, in what it calls, and fail later all the same.
    """
    trace, found = error.__traceback__, []
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_widened(trace.tb_frame) or not code.co_filename.startswith(_HERE):
            found.append(trace.tb_lineno - code.co_firstlineno)
        trace = trace.tb_next
    return found


# --- the arrays of a layer, and copies of it -----------------------------------------------------

_ATOMS = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType,
          types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.generic, Tensor)
_NUMBERS = (np.ndarray, np.generic, float, int, Tensor)


def _reachable(root):
    """Everything but atoms that can be reached from an object, each once, in the order it is met;
    modules, too, but not what is in them."""
    seen, stack = set(), [root]
    while stack:
        x = stack.pop()
        if isinstance(x, types.ModuleType):
            yield x
            continue
        if isinstance(x, _ATOMS) or id(x) in seen:
            continue
        seen.add(id(x))
        yield x
        if isinstance(x, dict):
            stack.extend(reversed(list(x.values())))
        elif isinstance(x, (list, tuple, set)):
            stack.extend(reversed(list(x)))
        elif not isinstance(x, (np.ndarray, np.random.Generator, np.random.RandomState)):
            with contextlib.suppress(Exception):
                stack.extend(reversed(list(vars(x).values())))


def arrays_of(root):
    """All arrays that can be reached from an object, each once, in the order they are met."""
    return [x for x in _reachable(root) if isinstance(x, np.ndarray)]


def objects_of(root):
    """The same of objects that are neither arrays nor containers."""
    return [x for x in _reachable(root) if not isinstance(
        x, (np.ndarray, dict, list, tuple, set, types.ModuleType))]


def _not_copied(root):
    """What cannot be copied, and stays the same in a copy: modules, locks, open files."""
    for x in _reachable(root):
        if isinstance(x, types.ModuleType):
            yield x
        elif not isinstance(x, (np.ndarray, dict, list, tuple, set)) and not hasattr(x, "__dict__"):
            try:
                copy.copy(x)
            except Exception:
                yield x


def _owner(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _flat_index(view, owner):
    """Where the elements of a view lie in the memory of its owner, counted in elements."""
    offset = view.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    index = np.asarray(offset)
    for n, stride in zip(view.shape, view.strides, strict=True):
        index = index[..., None] + np.arange(n) * stride
    return index // owner.itemsize


def clone(root: Any, leaves: Any = ()) -> tuple[Any, list[Tensor]]:
    """A deep copy, in which arrays that share memory still do, and every float is float64.

    ``leaves``: arrays that become Tensors which require grad, and their views with them.
    Returns the copy and the Tensors.
    """
    leaves = list(leaves)
    memo: dict[int, Any] = {id(x): x for x in _not_copied(root)}
    unique: dict[int, Tensor] = {}
    for p in leaves:
        if id(p) not in unique:
            unique[id(p)] = Tensor(p.astype(np.float64), requires_grad=True)
    memo.update(unique)
    owners: dict[int, np.ndarray] = {}
    arrays = arrays_of(root) + leaves
    for a in arrays:
        if id(a) in memo or a.dtype.hasobject:
            continue
        owner = _owner(a)
        whole = next((p for p in leaves if _owner(p) is owner), None)
        if whole is not None and np.may_share_memory(whole, a):
            at = {k: i for i, k in enumerate(_flat_index(whole, owner).ravel().tolist())}
            places = [at.get(k, -1) for k in _flat_index(a, owner).ravel().tolist()]
            if -1 not in places:  # a view of a parameter: part of the leaf
                index = np.array(places, dtype=int).reshape(a.shape)
                memo[id(a)] = unique[id(whole)].reshape(-1)[index]
                continue
        dtype = np.dtype(np.float64) if a.dtype in (np.float32, np.float16) else a.dtype
        if id(owner) not in owners:
            owners[id(owner)] = np.array(owner, dtype=dtype, order="K")
        new = owners[id(owner)]
        if a is owner:
            memo[id(a)] = new
        elif a.size and a.dtype == owner.dtype and new.strides == tuple(
                s // a.itemsize * new.itemsize for s in owner.strides):
            start = int(_flat_index(a, owner).ravel()[0])
            memo[id(a)] = np.ndarray(a.shape, dtype, new if new.flags.c_contiguous else new.T,
                                     start * new.itemsize,
                                     [s // a.itemsize * new.itemsize for s in a.strides])
    return copy.deepcopy(root, memo), [unique[id(p)] for p in leaves]


# --- params and grads ----------------------------------------------------------------------------


@dataclass
class Slots:
    """The parameters of a layer: what they are called, and where they stand, as paths such as
    ("params", 0) or ("W",)."""

    names: list[str]
    paths: list[tuple[Any, ...]]

    @property
    def beside(self):
        """Whether gradients stand beside their parameters, and not in ``grads``."""
        return any(path[0] != "params" for path in self.paths)

    def params(self, layer):
        return [item_at(layer, path) for path in self.paths]

    def grads(self, layer):
        return [gradient_of(layer, path) for path in self.paths]


@functools.cache
def gradient_names(name: str) -> list[str]:
    """What the gradient of W may be called."""
    forms = "d{0} d_{0} grad_{0} {0}_grad {0}_gradient gradient_{0} gradients_{0} g{0} g_{0}" \
        " delta_{0} nabla_{0} grad{0} {0}grad D{0} diff_{0} {0}_delta {0}_d dL_d{0} dLd{0} dL{0}"
    beside = ["grad", "grads", "gradient", "deriv", "derivative", "diff"]  # "value": W
    return [form.format(name) for form in forms.split()] + beside * (
        name in ("value", "val", "data", "param", "params"))


@functools.cache
def gradient_target(name: str) -> str | None:
    """ "dWx", "grad_Wx", "Wx_grad" -> "Wx"; None for what is no name of a gradient."""
    for pattern in (r"dL_?d_?(\w+)", r"(?:grad|gradients?|delta|nabla|diff|g)_(\w+)",
                    r"d_?([A-Za-z]\w*)", r"(\w+?)_(?:grad|delta)", r"grad(\w+)", r"dL_?(\w+)"):
        match = re.fullmatch(pattern, name)
        if match:
            return match[1]
    return None


def _is_short_for(short: str, name: str):
    """ "w" is short for "weights", "r_kernel" for "recurrent_kernel", "E" for "embed_matrix"."""
    parts, whole = short.lower().split("_"), name.lower().split("_")
    return len(parts) in (1, len(whole)) and all(b.startswith(a) for a, b in zip(
        parts, whole, strict=False))


def places(root: Any, depth: int = 5) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Arrays of floats that stand in an object, in its dicts and lists, and in objects in it."""
    items = root.items() if isinstance(root, dict) else enumerate(root) if isinstance(
        root, (list, tuple)) else getattr(root, "__dict__", {}).items()
    for key, value in list(items):
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "f":
                yield (key,), value
        elif depth and not isinstance(value, _ATOMS):
            for path, array in places(value, depth - 1):
                yield (key, *path), array


def item_at(root, path):
    for key in path:
        if root is None:
            return None
        root = _item(root, key)
    return root


def _item(root, key):
    if isinstance(root, (dict, list, tuple)):
        try:
            return root[key]
        except (KeyError, IndexError):
            return None
    return getattr(root, key, None)


def gradient_of(layer, path):
    """The gradient of the parameter at a path: in ``grads``, beside it by its name, or in a dict of
    gradients."""
    *above, leaf = path
    grads = getattr(layer, "grads", None)
    if path[0] == "params" and isinstance(grads, np.ndarray) and len(layer.params) == 1:
        return grads
    if path[0] == "params" and isinstance(grads, (list, tuple, dict)):
        names = (leaf, *gradient_names(str(leaf))) if isinstance(grads, dict) else (leaf,)
        found = (item_at(grads, [*above[1:], name]) for name in names)
        return next((g for g in found if g is not None and not isinstance(g, types.ModuleType)),
                    None)
    holder = item_at(layer, above)
    for name in gradient_names(str(leaf)):
        for beside in (holder, layer):
            value = _item(beside, name) if not isinstance(beside, (list, tuple)) else None
            if isinstance(value, (np.ndarray, np.generic, float)):
                return value
    owner = item_at(layer, above[:-1]) if isinstance(holder, dict) else holder
    named = dict(getattr(holder, "__dict__", {}))
    for key, value in getattr(owner, "__dict__", {}).items():
        if isinstance(value, dict) and value is not holder and re.search(
                r"grad|^d|delta|nabla", str(key), re.IGNORECASE):
            for name in (leaf, *gradient_names(str(leaf))):
                if isinstance(value.get(name), (np.ndarray, np.generic, float)):
                    return value[name]
            named.update(value)
    returned = getattr(layer, "returned_gradients", {})
    for k in range(len(path)):  # grads["Wx"]["f"] of self.cell.Wx["f"]
        if isinstance(g := item_at(returned, path[k:]), np.ndarray):
            return g
    alike = {k: v for k, v in named.items() if isinstance(v, np.ndarray)
             and v.shape == np.shape(_item(holder, leaf))}
    return _only(v for k, v in alike.items() if (target := gradient_target(str(k))) and [
        n for n in alike if n != k and _is_short_for(target, str(n))] == [leaf])


def _only(found):
    """The one thing that was found; None where there are none, or several."""
    found = list(found)
    return found[0] if len(found) == 1 else None


def slots_of(layer, names=()):
    """Find ``params``/``grads`` (lists or dicts), or attributes such as W and dW. ``names``: those
    that the constructor has for its arrays, which are parameters if they are as many."""
    params = getattr(layer, "params", None)
    if isinstance(params, dict) and (paths := [("params", k) for k, v in params.items()
                                               if isinstance(v, np.ndarray)]):
        return named_slots(layer, paths)
    listed = isinstance(params, (list, tuple)) and params
    beside = [] if listed and hasattr(layer, "grads") else [
        p for p, _ in places(layer) if gradient_of(layer, p) is not None]
    if beside or not listed:
        return named_slots(layer, beside)
    nested = any(isinstance(v, (list, tuple)) for v in params)
    paths = [("params", *p) for p, _ in places(params)] if nested else [
        ("params", i) for i, v in enumerate(params) if isinstance(v, np.ndarray)]
    own = {id(v): k for k, v in getattr(layer, "__dict__", {}).items() if isinstance(v, np.ndarray)}
    called = [own.get(id(item_at(layer, p)), "params" + "".join(f"[{k}]" for k in p[1:]))
              for p in paths]
    return Slots(list(names) if len(names) == len(paths) else called, paths)


def named_slots(layer, paths):
    """Slots for arrays at paths, each called by the last part of its path, if that is enough. What
    a layer shares with its parts is its own: their gradients are what it adds up. An object that
    stands in several lists has each once."""
    once = {(id(item_at(layer, path[:-1])), path[-1]): path for path in reversed(paths)}
    paths = [path for path in paths if path in once.values()]
    depth: dict[int, int] = {}
    for path in paths:
        at = id(item_at(layer, path))
        depth[at] = min(len(path), depth.get(at, len(path)))
    paths = [path for path in paths if len(path) == depth[id(item_at(layer, path))]]
    last = [str(path[-1]) for path in paths]
    return Slots([name if last.count(name) == 1 else ".".join(map(str, path))
                  for name, path in zip(last, paths, strict=True)], paths)


# --- calling what is not ours --------------------------------------------------------------------


def _modules_with_numpy(layer):
    """The global names of all modules that the classes of a layer come from, where these hold the
    real NumPy: there it is replaced while a check runs."""
    seen, found = set(), []
    classes = {c for part in objects_of(layer) for c in type(part).__mro__}
    stack = [names for c in classes for names in _globals_of(c)]
    while stack:
        names = stack.pop()
        name = str(names.get("__name__"))
        own = name.startswith("tinygrad_rnn.") and not name.startswith("tinygrad_rnn.manual")
        if id(names) in seen or own or name.partition(".")[0] in ("numpy", "builtins"):
            continue
        seen.add(id(names))
        holds = [k for k, v in names.items() if v is np]
        if holds:
            found.append((names, holds))
            stack += [there for v in list(names.values()) for there in _globals_of(v)]
    return found


def _globals_of(thing):
    """The global names that a function, or the methods of a class, read."""
    functions = vars(thing).values() if isinstance(thing, type) else [thing]
    return [getattr(getattr(fn, "__wrapped__", fn), "__globals__", fn.__globals__)
            for fn in functions if type(fn) is types.FunctionType]


@contextlib.contextmanager
def numpy_replaced(layer):
    """Modules of the layer that hold the real NumPy hold the stand-in inside the block."""
    modules = _modules_with_numpy(layer)
    for names, holds in modules:
        for k in holds:
            names[k] = numpy_standin
    try:
        yield
    finally:
        for names, holds in modules:
            for k in holds:
                names[k] = np


@contextlib.contextmanager
def quietly(out=None, seed: int = 1):
    """Foreign code: no output, no warnings, no floating-point errors, the same random numbers each
    time, and the caller's random state as it was."""
    # people's layers draw from the global state
    state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    out = io.StringIO() if out is None else out
    hook = sys.unraisablehook  # a limit that rings in a generator that is being closed rings again
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, TimeUp) else hook(lost)
    try:
        with (warnings.catch_warnings(), np.errstate(all="ignore"),
              contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO())):
            warnings.simplefilter("ignore")
            yield out
    finally:
        sys.unraisablehook = hook
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(python_state)


@contextlib.contextmanager
def at_work(layer, out=None):
    """A copy of a layer, to be run inside the block: quietly, and with the stand-in for NumPy."""
    layer, _ = clone(layer)
    with quietly(out), numpy_replaced(layer):
        yield layer


def file_of(cls: Any):
    """The file that a class's own forward or backward was compiled from."""
    for name in ("backward", "forward"):
        fn = inspect.unwrap(getattr(cls, name, None) or (lambda: None))
        inner = [c.cell_contents for c in getattr(fn, "__closure__", None) or ()
                 if isinstance(c.cell_contents, types.FunctionType) and c.cell_contents is not fn]
        if len(inner) == 1:  # a decorator that does not say what it wraps
            fn = inner[0]
        code = getattr(fn, "__code__", None)
        if code is not None and code.co_filename != __file__:
            return code.co_filename
    return ""


@contextlib.contextmanager
def _phase(name, layer):
    try:
        yield
    except (Exception, SystemExit, TimeUp) as error:
        raise CannotRun(name, error, line_of(error, file_of(type(layer)))) from error


def line_of(error: BaseException, filename: str):
    """The last line of a file that was run before an exception."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__)
             if frame.f_code.co_filename == filename]
    return lines[-1] if lines else None


def outputs_of(y):
    """Outputs as a list, and how to give cotangents back: "single", "tuple" or "list"; of a tuple
    with tuples in it, hs, (h, c), how many there are in each, 0 for none."""
    if isinstance(y, tuple):
        sizes = tuple(len(part) if isinstance(part, tuple) else 0 for part in y)
        if any(sizes) and all(isinstance(v, _NUMBERS) for v in _flat(y)):
            return _flat(y), sizes
        return list(y), "tuple"
    if isinstance(y, list):
        return y, "list"
    return [y], "single"


def _flat(parts):
    return [v for part in parts for v in (part if isinstance(part, tuple) else (part,))]


def copies(values):
    return [v.copy() if isinstance(v, (np.ndarray, dict)) else v for v in values]


RATE = 0.5  # what a backward is handed that applies the update itself
_RATES = re.compile(r"lr|eta|alpha|(learn(ing)?_?)?rate|step_?size", re.IGNORECASE)


def arguments_of(fn) -> list[inspect.Parameter]:
    """What a function takes; ``*args``, where that is not known: what it hands them on to tells."""
    is_method = isinstance(fn, types.MethodType)
    function = fn.__func__ if is_method else fn
    found = list(_arguments_of(function, is_method))
    inner = getattr(type(fn.__self__), handed_on(function), None) if is_method and all(
        p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found) else None
    return list(_arguments_of(inner, True)) if isinstance(inner, types.FunctionType) else found


@functools.cache  # asked for in each run of a backward
def _arguments_of(fn, is_method: bool):
    try:
        found = inspect.signature(types.MethodType(fn, "") if is_method else fn).parameters
    except (TypeError, ValueError):
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]
    # a decorator that does not say what it wraps
    inner = _only(c.cell_contents for c in getattr(fn, "__closure__", None) or ()
                  if isinstance(c.cell_contents, types.FunctionType))
    whole = inner and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name == "self"
                          for p in found.values())
    return _arguments_of(inner, is_method) if whole else found.values()


def is_positional(p: inspect.Parameter):
    return p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)


def backward_arguments(layer, cotangents: list[Any], kind, setup: Setup):
    """What ``backward`` is called with: its signature says how many of the cotangents it takes. A
    rate, and what has the name of an input of forward beside a cotangent, is handed over, too."""
    parameters = arguments_of(layer.backward)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return list(cotangents)
    taken = list(filter(is_positional, parameters))
    rates = [bool(k and _RATES.fullmatch(p.name)) for k, p in enumerate(taken)]
    given = dict(zip(forward_names(layer), setup.inputs, strict=False))
    again = [p.name in given and p.default is p.empty and not any(  # h beside h_prev: an output
        q.name.startswith(f"{p.name}_prev") for q in taken) for p in taken]
    labels = any(is_label(p.name) for p in taken)
    at_inputs = bool(cotangents) and np.ndim(cotangents[0]) == 0 and (  # of a loss
        labels or len(cotangents) == 1 < len(taken))
    if all(again) and not at_inputs and len(again) <= len(cotangents):
        # backward(x) is handed a gradient, whatever it calls it
        again = [False] * len(taken)
    left: list[Any]
    if kind == "list":
        left = [list(cotangents)]
    else:
        left = [tuple(cotangents)] if setup.as_tuple else [
            g[None] if setup.as_row and np.ndim(g) else g for g in cotangents]
    if isinstance(kind, tuple) and len(kind) == len(taken) - sum(map(max, rates, again)):
        rest = iter(cotangents)  # as they stand in what forward returns
        left = [tuple(itertools.islice(rest, n)) if n else next(rest) for n in kind]
    known = _known(layer, setup, [p for p, rate, same in zip(taken, rates, again, strict=True)
                                  if p.default is p.empty and not rate and not same], len(left))
    arguments: list[Any] = []
    for p, rate, same in zip(taken, rates, again, strict=True):
        if rate or same:
            arguments.append(RATE if rate else given[p.name])
        elif p.name in known:
            arguments.append(known[p.name])
        elif setup.loss and not is_target(p.name) and _OUTPUTS.fullmatch(p.name):
            arguments.append(setup.output)
        elif left:
            arguments.append(left.pop(0))
        elif p.name in untouched(type(layer).backward):
            arguments.append(None)
        else:
            break
    return arguments


def _known(layer, setup: Setup, wanted, cotangents: int) -> dict[str, Any]:
    """What a backward takes that wants more than gradients: outputs of forward by the names that it
    returns them by, a dict for the gradients, and by names like theirs the inputs, in their order.
    """
    if len(wanted) <= cotangents or setup.output is None or setup.loss:
        return {}
    outputs, _ = outputs_of(setup.output)
    made = returned_names(inspect.unwrap(type(layer).forward))
    found: dict[str, Any] = dict(zip(made, outputs, strict=False)) if len(made) == len(
        outputs) else {}
    found = {p.name: found[p.name] for p in wanted if p.name in found}
    free = [p.name for p in wanted if p.name not in found]
    of = [n for n in free if gradient_target(n) or re.search("grad|delta|dout", n)]
    dicts = [n for n in of if re.fullmatch("grad(ient)?s", n)] if len(of) > cotangents else []
    layer.returned_gradients = dict[str, Any]()
    found |= dict.fromkeys(dicts, layer.returned_gradients)
    free = [n for n in free if n not in dicts]
    handed = ([n for n in free if n in of] + [n for n in free if n not in of])[:cotangents]
    rest = [n for n in free if n not in handed and re.search(r"(^|_)(x|inputs?|prev)(_|$)", n)]
    unused = [x for n, x in zip(setup.names, setup.inputs, strict=False) if n not in {
        p.name for p in arguments_of(layer.backward)} - {*free}]
    before = {p.name.split("_")[0] for p in arguments_of(layer.backward) if "_prev" in p.name}
    left = [n for n in free if n not in handed and n.split("_")[0] in before and n not in rest]
    found |= dict(zip(left, outputs, strict=True)) if len(left) == len(outputs) else {}
    return found | dict(zip(rest, copies(unused), strict=False))


def forward_names(layer) -> list[str]:
    """The names of what ``forward`` takes."""
    return [p.name for p in arguments_of(layer.forward) if is_positional(p)]


def handed_back(setup: Setup, layer, returned) -> list[Any]:
    """What ``backward`` returned, as a list of the gradients of inputs. Where it is a dict, or the
    number is another than that of the inputs, the names say what belongs to which input; None
    stands for what is not among them."""
    names = forward_names(layer)[: len(setup.inputs)]
    if isinstance(returned, dict):
        layer.returned_gradients = returned  # where gradients of parameters are looked for
        found = [next((returned[k] for k in (*gradient_names(n), n) if k in returned), None)
                 for n in names]
        layer.not_returned = names if all(g is None for g in found) else []
        return found
    if len(setup.inputs) == 1 and is_float(setup.inputs[0]):
        returned = _stacked(returned, setup.inputs[0])
    result = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    called = returned_names(inspect.unwrap(type(layer).backward))
    if any(isinstance(r, (tuple, list)) for r in result):  # dx, (dW, db)
        shown = displays(type(layer).backward)
        parts = [shown.get(n) or n.strip("()[]").split(", ") if isinstance(r, (tuple, list))
                 else [n] for n, r in zip(called, result, strict=False)]
        called, result = [n for part in parts for n in part], _flat(
            tuple(r) if isinstance(r, list) else r for r in result)
    dicts = [r for r in result if isinstance(r, dict)]
    if dicts:  # of parameters, beside the gradients of inputs
        layer.returned_gradients = dicts[0]
        called = [n for n, r in zip(called, result, strict=False) if not isinstance(r, dict)]
        result = [r for r in result if not isinstance(r, dict)]
    held = {k.lower(): k for k, a in getattr(setup.layer, "__dict__", {}).items()
            if isinstance(a, np.ndarray)}
    taken = {p.name for p in arguments_of(layer.backward)}  # of the output, and now of the input
    own = [None if n in names or n in taken or (t := gradient_target(n)) in names else held.get(
        str(t).lower(), held.get(re.sub(r"d[a-z]\w*?_d_?", "", n.lower(), count=1)))
        for n in called]
    if not any(own) and len(called) == len(result):  # dW of self.weight, db of self.bias
        own = [_only(k for k in held.values() if target and target not in names and _is_short_for(
            target, k) and np.shape(getattr(setup.layer, k)) == np.shape(r))
            for target, r in zip(map(gradient_target, called), result, strict=True)]
    if any(own) and len(called) == len(result):  # of parameters, by their names
        layer.returned_gradients = {k: g for k, g in zip(own, result, strict=True) if k}
        called, result = ([x for k, x in zip(own, some, strict=True) if k is None]
                          for some in (called, result))
        if not result:
            layer.not_returned = names
            return [None] * len(names)
    floats = [x for x in setup.inputs if is_float(x)]
    optional = {g for p in arguments_of(layer.forward) if p.name not in names
                for g in gradient_names(p.name)}
    if optional & {*called} and len(called) == len(result):  # of a state that was not handed over
        called, result = ([x for n, x in zip(called, some, strict=True) if n not in optional]
                          for some in (called, result))
        if not result:
            layer.not_returned = names
            return [None] * len(names)
    if len(result) in (len(setup.inputs), len(floats)) or len(names) < len(setup.inputs):
        return result
    places = [next((k for k, n in enumerate(called) if n in gradient_names(name)), None)
              for name in names]
    there = [k for k in places if k is not None]
    if len(called) != len(result) or len(there) < min(len(result), len(names)):
        return result  # more than these is for others
    return [None if k is None else result[k] for k in places]


def _stacked(returned, x):
    """The gradient of an array that stands for a list of arrays, of which each has its own."""
    if isinstance(returned, list) and len(returned) == 1 != len(x):
        return _stacked(returned[0], x)
    rows = isinstance(returned, list) and [*map(np.shape, returned)] == [row.shape for row in x]
    return np.stack(returned) if rows else returned


def gradients(values):
    """What stands where gradients belong: copies of arrays; None for what is no array."""
    return [np.array(v) if isinstance(v, _NUMBERS)
            and np.asarray(v).dtype.kind in "fiub" else None for v in values]


# --- the layer's own backward --------------------------------------------------------------------


@dataclass
class Observation:
    """What one forward and backward of the layer itself gave, and what they did to others."""

    outputs: list[Any]
    returned: list[Any]  # gradients of inputs, as returned
    grads: list[Any]  # gradients of parameters
    layer: Any = None
    kind: str = "single"
    replaced: list[int] = field(default_factory=list)  # slots whose array is another one
    inputs_edited: list[int] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)  # the inputs, as the layer left them
    dout_edited: list[int] = field(default_factory=list)
    dout_returned: bool = False  # what was edited is also what is returned, by it or by a part
    params_edited: list[int] = field(default_factory=list)
    aliased: list[tuple[str, str]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)  # attributes such as dh, after backward
    printed: bool = False
    overwritten: bool = False  # by backward: what forward had made
    clipped: bool = False  # something, by forward
    grads_before: list[Any] = field(default_factory=list)


@dataclass
class Setup:
    """Everything a run needs: the layer before its forward, its inputs, and how to call it."""

    layer: Any
    inputs: list[Any]
    names: list[str]  # of the inputs
    slots: Slots
    recipe: Any = None  # that it was made by, if it was made here
    scenario: str = ""  # how it is run, in words, where that is not plainly
    prepare: Callable[[Any], None] | None = None  # done to every copy before its forward
    states: tuple[str, ...] = ()  # that ``prepare`` gives, and that have gradients: h, c
    as_tuple: bool = False
    as_row: bool = False  # the gradient of one sample, (H,), is handed over as (1, H)
    rounds: int = 1  # forward and backward so many times on one layer; the last one counts
    labels: frozenset[int] = frozenset()  # inputs that are labels, whatever they are called
    rate: float = 0.0  # backward applies the update itself, by so many times the gradient
    handed: bool = False  # backward hands parameters and gradients to an optimizer
    loss: tuple[str, str] | None = None  # of LOSSES: backward takes the target, not a gradient
    output: Any = None  # of the last forward, for a backward that takes that, too

    def start(self, layer):
        """Bring a copy of the layer to where its last round begins."""
        if self.prepare:
            self.prepare(layer)
        for _ in range(self.rounds - 1):
            self.play(layer)

    def play(self, layer):
        """One forward and one backward; returns the arrays of the layer as they were between."""
        y, kind = outputs_of(call_forward(self, layer, copies(self.inputs)))
        between = {path: a.copy() for path, a in places(layer)}
        with _phase("backward", self.layer):
            self.backward(layer, draw_cotangents(y, np.random.default_rng(9)), kind)
        return between

    def backward(self, layer, cotangents, kind):
        """Run backward; what it gives as gradients of the inputs and of the parameters."""
        held = self.slots.params(layer)
        before = copies(held) if self.rate else ()
        arguments = backward_arguments(layer, cotangents, kind, self)
        with handing(layer, self.handed) as handed:
            returned = layer.backward(*arguments)
        result = handed_back(self, layer, returned)
        grads = self.slots.grads(layer)
        if handed:
            grads = [handed.get(id(p)) if g is None else g for g, p in zip(
                grads, held, strict=True)]
        if self.rate:
            grads = [(a - b) / self.rate if g is None and np.shape(a) == np.shape(b) else g
                     for g, a, b in zip(grads, before, self.slots.params(layer), strict=True)]
        # (H,) for a bias (1, H): whoever subtracts it does not mind
        return result, [g[None] if isinstance(g, np.ndarray) and (1, *g.shape) == np.shape(p) else g
                        for g, p in zip(grads, self.slots.params(layer), strict=True)]


@contextlib.contextmanager
def handing(layer, watched: bool = True):
    """Yields the gradients, by the ids of arrays of a layer, that functions are handed beside these
    arrays inside the block: optimizer.update(self.W, dW), or lists of both."""
    own = {id(a): a for _, a in places(layer)} if watched else {}
    found: dict[int, np.ndarray] = {}

    def note(frame, event, value):
        if event == "call":
            for a, b in itertools.permutations(list(frame.f_locals.values()), 2):
                both = zip(a, b, strict=False) if isinstance(a, (list, tuple)) and isinstance(
                    b, (list, tuple)) else [(a, b)]
                for x, g in both:
                    if id(x) in own and id(g) not in own and isinstance(g, np.ndarray) and (
                            x.shape == g.shape):
                        found.setdefault(id(x), g.copy())

    with profiled(note) if watched else contextlib.nullcontext():
        yield found


def takes_rate(cls) -> bool:
    """Whether backward is handed a rate, to apply the update itself: of one sample, perhaps."""
    back = getattr(cls, "backward", None)
    return any(_RATES.fullmatch(p.name) for p in arguments_of(back)) if back else False


def updated(setup: Setup):
    """The paths of arrays that backward changes, and the rate by which it does; () and 0 where it
    knows no rate, or changes nothing."""
    code = getattr(inspect.unwrap(type(setup.layer).backward), "__code__", None)
    handed = any(map(_RATES.fullmatch, code.co_varnames[2 : code.co_argcount])) if code else False
    held = next((v for k, v in getattr(setup.layer, "__dict__", {}).items() if _RATES.fullmatch(k)
                 and isinstance(v, float) and v), 0.0)
    rate = RATE if handed else held
    if not rate:
        return [], 0.0
    with at_work(setup.layer) as layer:
        before = setup.play(layer)
    first = dict(places(setup.layer))
    edited = [path for path, a in places(layer) if path in first and path in before
              and a.shape == before[path].shape and not np.array_equal(a, before[path])
              and not re.match(r"d|grad|delta", str(path[-1]))]
    return edited, rate if edited else 0.0  # else the slope of a leaky relu, or of a dropout


def draws():
    """The state of what people's layers draw from."""
    return np.random.get_state(), random.getstate()  # noqa: NPY002


def draw_again(drawn) -> None:
    """From here on the same is drawn as from there on."""
    np.random.set_state(drawn[0])  # noqa: NPY002
    random.setstate(drawn[1])


def call_forward(setup: Setup, layer, inputs):
    with _phase("forward", setup.layer):
        setup.output = layer.forward(*inputs)
        return setup.output


def draw_cotangents(outputs, rng, setup: Setup | None = None):
    """What backward is handed: for each output random numbers, or a target."""
    found = []
    for y in outputs:
        g = rng.normal(size=np.shape(y))
        # a loss is handed a plain number, as people do
        found.append(float(g) if np.ndim(y) == 0 else g)
    return [_target(setup.loss, outputs[0], found[0])] if setup and setup.loss else found


# The gradients of losses, of the output y and the target t, with which a backward begins that is
# handed the target; and by what it may be divided.
_LOSSES = {
    "half the squared error": lambda y, t: y - t,
    "the squared error": lambda y, t: 2 * (y - t),
    "the cross entropy": lambda y, t: -t / y if _sums_to_one(y) else (y - t) / (y * (1 - y)),
}
LOSSES = [(kind, over) for kind in _LOSSES for over in ("1", "N", "size")]


_TARGETS = re.compile(
    r"y|t|ys|ts|(y_?|targets?|labels?)(_?(true|s|real|batch))?|desired|expected", re.I)
_OUTPUTS = re.compile(r"o|a|out(put)?s?|y_?(hat|pred\w*)|pred\w*|probs?|logits", re.I)


def is_target(name: str) -> bool:
    return bool(_TARGETS.fullmatch(name))


def target_of(layer) -> str | None:
    """The argument by which backward takes the target of a loss, beside outputs and inputs of
    forward; None if it takes none, or something else."""
    names = [p.name for p in arguments_of(layer.backward) if p.default is p.empty
             and p.name not in forward_names(layer) and not _RATES.fullmatch(p.name)]
    targets = list(filter(is_target, names))
    return targets[0] if len(targets) == 1 and all(
        n in targets or _OUTPUTS.fullmatch(n) for n in names) else None


def _target(loss, y, g):
    """A target for the output: probabilities where these are wanted."""
    if loss[0] != "the cross entropy":
        return g
    return np.exp(g) / np.sum(np.exp(g), axis=-1, keepdims=True) if _sums_to_one(y) else (
        1 / (1 + np.exp(-g)))


def _sums_to_one(y):
    return np.ndim(y) > 0 and np.shape(y)[-1] > 1 and np.allclose(np.sum(y, axis=-1), 1)


def loss_gradient(setup: Setup, y, t):
    """The gradient of its loss for the output y and the target t."""
    kind, over = setup.loss or LOSSES[0]
    rows = len(y) if np.ndim(y) else 1
    N = setup.recipe.size("N") if setup.recipe is not None else rows
    sizes = {"1": 1, "N": N if N in np.shape(y) else rows, "size": np.size(y)}
    return _LOSSES[kind](y, t) / sizes[over]


def observe(setup: Setup, rng, light: bool = False):
    """One forward and one backward on a copy of the layer; returns an Observation and the
    cotangents. ``light``: only the gradients."""
    inputs, out = copies(setup.inputs), io.StringIO()
    with at_work(setup.layer, out) as layer:
        setup.start(layer)
        old = {id(a) for a in arrays_of(layer)}
        given, noted = copies(inputs), clips()
        raw = call_forward(setup, layer, given)
        clipped = clips() > noted
        outputs, kind = outputs_of(raw)
        if not any(isinstance(y, _NUMBERS) for y in outputs):
            raise CannotRun("output", ValueError(say(
                "forward returns {what}, no array", what=_named(raw))))
        if not all(np.size(y) for y in outputs if isinstance(y, _NUMBERS)):
            raise CannotRun("output", ValueError(say("the output is empty")))
        outputs = copies(outputs)
        cotangents = draw_cotangents(outputs, rng, setup)
        handed = copies(cotangents)
        params = setup.slots.params(layer)
        before = copies(params)
        kept = [(a, a.copy()) for _, a in places(layer) if id(a) not in old] if not light else []
        slots_before = setup.slots.grads(layer)
        grads_before = gradients(slots_before)
        passed: list[Any] = []  # what functions return

        def note(frame, event, value):
            if event == "return" and frame.f_code.co_filename != __file__:
                passed.extend(_flat([value]))

        with profiled(note) if not light else contextlib.nullcontext(), _phase(
                "backward", setup.layer):
            result, grads = setup.backward(layer, handed, kind)
    seen = Observation(outputs, gradients(result), gradients(grads), layer, kind)
    seen.state, seen.clipped = state_gradients(layer), clipped
    if light:
        return seen, cotangents
    seen.grads_before = grads_before
    seen.overwritten = any(_differs(a, then) for a, then in kept)
    if isinstance(getattr(layer, "grads", None), (list, tuple)) and not (
            setup.slots.beside or hasattr(layer, "form")
            or getattr(setup.layer, "grads", None) is None  # nobody can hold what is not there
            or isinstance(getattr(type(layer), "grads", None), property)):  # read anew each time
        seen.replaced = [i for i, (a, b) in enumerate(zip(slots_before, grads, strict=True))
                         if isinstance(a, np.ndarray) and a is not b]
    seen.given = given
    seen.inputs_edited = [i for i, (a, b) in enumerate(zip(given, inputs, strict=True))
                          if _differs(a, b)]
    seen.dout_edited = [i for i, (a, b) in enumerate(zip(handed, cotangents, strict=True))
                        if _differs(a, b)]
    seen.dout_returned = any(isinstance(r, np.ndarray) and np.may_share_memory(r, handed[i])
                             for i in seen.dout_edited for r in passed)
    if not setup.rate and not setup.handed:
        seen.params_edited = [i for i, (a, b) in enumerate(zip(params, before, strict=True))
                              if _differs(a, b)]
    seen.aliased = _aliases(setup.slots.names, params, grads)
    seen.printed = bool(out.getvalue())
    return seen, cotangents


def _named(x):
    return "None" if x is None else type(x).__name__


def state_gradients(layer):
    """The gradients of initial states that backward leaves in the layer."""
    return {k: np.copy(v) for k, v in getattr(layer, "__dict__", {}).items()
            if k in ("dh", "dc") and isinstance(v, np.ndarray)}


def again(setup: Setup, seen, cotangents: list[Any], forget=False):
    """The gradients of a second backward of the same forward, or None if it raises. ``forget``:
    without the gradients of states that the first one left in the layer."""
    with at_work(seen.layer) as layer:
        for name in seen.state if forget else ():
            setattr(layer, name, None)
        try:
            result, grads = setup.backward(layer, copies(cotangents), seen.kind)
        except (Exception, SystemExit):
            return None
    return gradients(result), gradients(grads)


def _differs(a, b):
    return isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _aliases(names, params, grads):
    found = []
    for i, g in enumerate(grads):
        if not isinstance(g, np.ndarray):
            continue
        for j, h in enumerate(grads[:i]):
            same_param = params[i] is params[j]
            if isinstance(h, np.ndarray) and np.shares_memory(g, h) and not same_param:
                found.append((f"d{names[j]}", f"d{names[i]}"))
        for j, p in enumerate(params):
            if np.shares_memory(g, p):
                found.append((names[j], f"d{names[i]}"))
    return found


# --- the truth -----------------------------------------------------------------------------------


@dataclass
class Truth:
    """Gradients of the layer's own forward: by automatic differentiation, if that is possible."""

    outputs: list[np.ndarray]
    inputs: list[np.ndarray | None]  # None: integers
    params: list[np.ndarray]
    states: dict[str, np.ndarray] = field(default_factory=dict)
    others: list[np.ndarray] = field(default_factory=list)
    by_differences: bool = False
    cotangents: list[Any] = field(default_factory=list)  # of the outputs


def truth(setup: Setup, cotangents: list[Any], others=(), values=None):
    """Differentiate the forward of the layer as it stands before its last round.

    Args:
        others: paths of further arrays that are differentiated.
        values: what forward gives for arrays, if it is to be seen whether it gives the same.
    """
    try:
        found = _truth(setup, cotangents, others)
        if values is not None and not all(map(_near, found.outputs, values)):
            raise CannotRun("trace", ValueError(say(
                "forward gives other values where it is differentiated")))
        return found
    except CannotRun as error:
        if error.phase != "trace":
            raise
        if "cannot hold a gradient" in str(error):
            # it adds to an array of its own, as a running mean is: one that can hold a gradient
            own = {id(p) for p in setup.slots.params(setup.layer)}
            with contextlib.suppress(CannotRun):
                found = _truth(setup, cotangents, [*others, *(
                    p for p, a in places(setup.layer) if id(a) not in own and p not in others)])
                found.others = found.others[: len(others)]
                return found
        return _by_differences(setup, cotangents, others, error)


def _near(a, b):
    if not isinstance(b, _NUMBERS):
        return True
    large = np.abs(np.where(np.isfinite(b), b, 0)).max(initial=0)
    return np.shape(a) == np.shape(b) and np.allclose(a, b, 1e-3, 1e-3 * large, equal_nan=True)


DIFFERENCES = 2.0  # seconds of CPU time that central differences may take


def _by_differences(setup: Setup, cotangents: list[Any], others, error: CannotRun):
    """Gradients by central differences, for a forward that takes no Tensors; its ``error`` is
    raised where they would take too long."""
    inputs, end = copies(setup.inputs), time.process_time() + DIFFERENCES
    floats = [i for i, x in enumerate(inputs) if is_float(x)]
    with at_work(setup.layer) as layer:
        setup.start(layer)
        states = [k for k in setup.states if isinstance(getattr(layer, k, None), np.ndarray)]
        drawn = draws()

        def outputs(given, path=(), at=(), more=0.0):
            twin = clone(layer)[0]
            if path:
                item_at(twin, path)[at] += more
            draw_again(drawn)
            with _phase("trace", setup.layer):
                return outputs_of(twin.forward(*given))[0]

        def slopes(x, run):
            found = np.zeros(np.shape(x))
            for at in np.ndindex(found.shape):
                if time.process_time() > end:
                    raise error
                ends = ([np.sum(y * g) for y, g in zip(run(at, h), cotangents, strict=False)]
                        for h in (1e-6, -1e-6))
                found[at] = (sum(next(ends)) - sum(next(ends))) / 2e-6
            return found

        def moved(i, at, h):
            given = copies(inputs)
            given[i][at] += h
            return given

        values = outputs(copies(inputs))
        of_inputs = {i: slopes(inputs[i], lambda at, h, i=i: outputs(moved(i, at, h)))
                     for i in floats}

        def of(paths):
            return [slopes(item_at(layer, path), lambda at, h, path=path: outputs(
                copies(inputs), path, at, h)) for path in paths]

        return Truth(values, [of_inputs.get(i) for i in range(len(inputs))], of(setup.slots.paths),
                     dict(zip(states, of((k,) for k in states), strict=True)), of(others), True)


def within(setup: Setup, right: Truth):
    """The cotangents of everything that forward computes on its way, and the shares that they are
    the sums of: what a backward that is right goes through, in two lists."""
    found = list[Any](), list[Any]()
    own = {id(p) for p in setup.slots.params(setup.layer)}
    others = [path for path, a in places(setup.layer) if id(a) not in own]
    with contextlib.suppress(CannotRun):
        _truth(setup, right.cotangents, others, found)
    return found


def _note_cotangents(root, found):
    nodes = propagate(root, np.ones(()), {*ancestry(root)}, retain=True)
    found[0].extend(nodes.values())
    for node, g in nodes.items():
        found[1].extend(propagate(
            node, g, {*node.parents} - {None}, True, since=node.birth).values())


def _truth(setup: Setup, cotangents: list[Any], others, found: Any = None):
    inputs = copies(setup.inputs)
    with at_work(setup.layer) as layer:
        setup.start(layer)
        params = setup.slots.params(layer)
        starts = {k: getattr(layer, k) for k in setup.states
                  if isinstance(getattr(layer, k, None), np.ndarray)}
        twin, leaves = clone(layer, [*params, *starts.values(),
                                     *(item_at(layer, path) for path in others)])
        given = [Tensor(x, requires_grad=True) if is_float(x) else x for x in inputs]
        with tracing(), _phase("trace", setup.layer):
            # copies: a forward may write into what it is handed
            outputs, _ = outputs_of(twin.forward(*(
                np.copy(t) if isinstance(t, Tensor) else t for t in given)))
            total = 0
            for y, g in zip(outputs, cotangents, strict=False):
                if isinstance(y, Tensor) and y.requires_grad:
                    total = total + np.sum(y * g)
            if isinstance(total, Tensor):
                if found is not None:
                    _note_cotangents(total._node, found)
                total.backward()

    def gradient(t):
        return np.zeros(t.shape) if t.grad is None else t.grad.detach().numpy()

    values = [y.detach().numpy() if isinstance(y, Tensor) else y for y in outputs]
    n, m = len(params), len(params) + len(starts)
    return Truth(values, [gradient(t) if isinstance(t, Tensor) else None for t in given],
                 [gradient(t) for t in leaves[:n]],
                 {k: gradient(t) for k, t in zip(starts, leaves[n:m], strict=True)},
                 [gradient(t) for t in leaves[m:]], cotangents=cotangents)


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
