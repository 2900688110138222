"""``draw``: which boxes and arrows the graph of a Tensor has."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node, ancestry, births
from ..nn import Cell, Module
from ..primitive import RULES, Primitive
from ..show import extent
from ..tensor import Tensor, cotangents, host
from .picture import Box, Drawing


class Step(NamedTuple):
    """The calls that one step of a module made: those numbered from ``first`` to ``last``."""

    label: str
    first: int
    last: int


@contextmanager
def cell_steps(model: Module) -> Iterator[list[Step]]:
    """Note the steps that the cells in ``model`` make, so that ``draw`` can show each as one box.

        with tg.cell_steps(lstm) as steps:
            hs, _ = lstm(xs)
        print(tg.draw(hs, names=lstm, steps=steps))

    A cell is any Module with ``state_sizes``. The product of the inputs of a Cell, which the layer
    does for all time steps at once, belongs to no step. TypeError for anything but a Module.
    """
    if not isinstance(model, Module):
        raise TypeError(f"cell_steps: {type(model).__name__}, wanted a Module")
    steps: list[Step] = []
    cells = [(name, m) for name, m in _named_modules(model) if hasattr(m, "state_sizes")]
    methods = [(cell, "step" if isinstance(cell, Cell) else "forward") for _, cell in cells]
    for (name, _), (cell, method) in zip(cells, methods, strict=True):
        setattr(cell, method, _noting(getattr(cell, method), name, type(cell).__name__, steps))
    try:
        yield steps
    finally:
        for cell, method in methods:
            delattr(cell, method)  # the one of its class shows again


def _noting(method: Callable[..., Any], name: str, kind: str,
            steps: list[Step]) -> Callable[..., Any]:
    count = itertools.count()

    @functools.wraps(method)
    def noted(*args: Any) -> Any:
        first = next(births)
        result = method(*args)
        label = f"{kind} {name}".rstrip() + f"\nstep {next(count)}"
        steps.append(Step(label, first, next(births)))
        return result

    return noted


def _named_modules(module: Any, name: str = "") -> Iterator[tuple[str, Module]]:
    """The module and all inside it, with paths as in ``named_parameters``."""
    paths, seen = [(name, module)], set()
    while paths:
        path, value = paths.pop(0)
        if isinstance(value, Module):
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield path, value
            items: Iterable[tuple[Any, Any]] = vars(value).items()
        else:
            items = value.items() if isinstance(value, dict) else enumerate(value)
        paths += [(f"{path}.{key}" if path else str(key), item) for key, item in items
                  if isinstance(item, (Module, list, tuple, dict))]  # fmt: skip


def draw(tensor: Tensor, names: Module | Mapping[str, Tensor] | None = None,
         steps: list[Step] | None = None, values: bool = False,
         gradients: bool = False) -> Drawing:
    """The graph that leads to ``tensor``: a picture in a notebook, and DOT text wherever a text is
    wanted (for Graphviz, and many editors and web pages).

    Args:
        tensor: any Tensor; draw it before ``backward`` frees its graph.
        names: Tensors by name, or a Module for the names of its parameters.
        steps: what ``cell_steps`` noted: the calls of one step become one box.
        values: write into each box the value that stands there: up to four numbers, and the range
            of more. What no rule reads was not kept; it is computed again from what was.
        gradients: write there, too, how much the sum of ``tensor`` changes with that value. The
            backward pass is run for it, without touching any ``.grad``, and the graph stays.

    Leaves (what ``backward`` gives a gradient) are filled boxes with name, shape and dtype; calls
    are ellipses with the NumPy function, its metadata and the shape of the result; arrays without
    a gradient are grey.

    Raises RuntimeError when the graph is gone, TypeError for anything but Tensors.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"draw: {type(tensor).__name__}, wanted a Tensor")
    if not isinstance(names, Module | Mapping | None):
        raise TypeError(f"draw: names={type(names).__name__}, wanted Tensors by name, or a Module")
    if not isinstance(steps, list | None):
        raise TypeError(f"draw: steps={type(steps).__name__}, wanted what cell_steps notes")
    labels = {}
    named = names.named_parameters() if isinstance(names, Module) else (names or {}).items()
    for name, t in named:
        if not isinstance(t, Tensor):
            raise TypeError(f"draw: names[{name!r}] is a {type(t).__name__}, wanted a Tensor")
        if t._node is not None:
            labels[t._node] = name
    if tensor._node is None:
        return Drawing([Box("n0", _shape(tensor), "array")], [])
    try:
        order = ancestry(tensor._node)[::-1]
    except RuntimeError:
        raise RuntimeError("draw: backward has freed this graph; draw it before, or call backward"
                           " with retain_graph=True") from None
    steps = steps or []
    boxes = _boxes(order, steps)
    kept = _values(order, tensor, names) if values else {}
    slopes: dict[Node, Tensor] = {}
    if gradients:
        slopes = cotangents("draw", tensor, np.ones_like(tensor._held), set(order), True, False)
    identity = {node: f"n{i}" for i, node in enumerate(order)}
    drawn: dict[str, Box] = {}
    edges: dict[tuple[str, str, int], tuple[str, str]] = {}
    arrays: dict[int, str] = {}
    for node in order:
        here = boxes.get(node, identity[node])
        if here not in drawn:
            if node in boxes:
                drawn[here] = Box(here, steps[int(here[1:])].label, "step")
            else:
                kind = "leaf" if node.fn is None else "call"
                label = _label(node, labels.get(node))
                if not isinstance(node.shape, list):  # one output
                    label += "\n" + _numbers("=", kept[node]) if node in kept else ""
                    label += "\n" + _numbers("grad", host(slopes[node])) if node in slopes else ""
                drawn[here] = Box(here, label, kind)
        for i, parent in enumerate(node.parents):
            argument = node.args[i] if i < len(node.args) else None
            if parent is not None:
                source = boxes.get(parent, identity[parent])
            elif getattr(argument, "shape", ()):  # an array; numbers stand in the label
                source = arrays.setdefault(id(argument), f"a{len(arrays)}")
                label = _shape(argument)
                if values and isinstance(argument, np.ndarray):
                    label += "\n" + _numbers("=", argument)
                drawn.setdefault(source, Box(source, label, "array"))
            else:
                continue
            if source != here:
                # One arrow between a box and another place; two into the product h * h.
                once = "s" in source + here
                edges[source, here, 0 if once else i] = source, here
    return Drawing(list(drawn.values()), list(edges.values()))


def _values(order: list[Node], tensor: Tensor,
            names: Module | Mapping[str, Tensor] | None) -> dict[Node, Any]:
    """What stood at each node: what the graph has kept, what has a name, and what follows."""
    named = names.named_parameters() if isinstance(names, Module) else (names or {}).items()
    known: dict[Node, Any] = {t._node: host(t) for _, t in named if t._node is not None}
    known[tensor._node] = host(tensor)
    for node in order:
        if node.out is not None:
            known[node] = node.out
        for argument, parent in zip(node.args, node.parents, strict=False):
            if parent is not None and isinstance(argument, np.ndarray):
                known[parent] = argument
    for node in order:
        if node in known or node.fn is None:
            continue
        arguments = [a if parent is None else known.get(parent)
                     for a, parent in zip(node.args, node.parents, strict=False)]  # fmt: skip
        if not any(a is None or isinstance(a, Node) for a in arguments):
            primitive = node.fn if isinstance(node.fn, Primitive) else RULES[node.fn]
            with np.errstate(all="ignore"):  # it was told when it came
                found = primitive.call(*arguments, **node.meta)
            known[node] = np.asarray(found) if isinstance(found, np.generic) else found
    return known


def _numbers(word: str, array: np.ndarray) -> str:
    if not array.size:
        return f"{word} empty"
    if array.size > 4:
        return f"{word} {extent(array, 3)}"
    return f"{word} " + ", ".join(f"{x:.3g}" for x in array.ravel().tolist())


def _boxes(order: list[Node], steps: list[Step]) -> dict[Node, str]:
    """Which of the nodes stand in which box: node -> "s<number of the step>"."""
    outer: list[int] = []  # a step within a step (a cell made of cells) belongs to the outer one
    for k in sorted(range(len(steps)), key=lambda k: steps[k].first):
        if not outer or steps[k].first > steps[outer[-1]].last:
            outer.append(k)
    starts = [steps[k].first for k in outer]
    found = {}
    for node in order:
        at = bisect(starts, node.birth) - 1
        if node.fn is not None and at >= 0 and node.birth < steps[outer[at]].last:
            found[node] = f"s{outer[at]}"
    return found


def _label(node: Node, name: str | None) -> str:
    if node.fn is None:
        return "\n".join(filter(None, [name, _shape(node)]))
    words = [getattr(node.fn, "name", None) or node.fn.__name__.lstrip("_")]
    words += [_value(a) for a, p in zip(node.args, node.parents, strict=False)
              if p is None and not getattr(a, "shape", ())]  # fmt: skip
    words += [f"{k}={v}" for k, v in node.meta.items() if v is not None and v is not False]
    shape = str(node.shape)
    if isinstance(node.shape, list):  # several outputs
        shape = ", ".join(f"{len(list(g))} x {one}" for one, g in itertools.groupby(node.shape))
    return "\n".join(filter(None, [name, " ".join(filter(None, words)), shape]))


def _value(argument: Any) -> str:
    """A number, or an index as it was written; "" for one that no rule reads."""
    if isinstance(argument, slice):
        ends = ["" if end is None else str(end) for end in (argument.start, argument.stop)]
        return ":".join(ends) + (f":{argument.step}" if argument.step is not None else "")
    if isinstance(argument, tuple):
        return "[" + ", ".join(map(_value, argument)) + "]"
    if argument is Ellipsis:
        return "..."
    if hasattr(argument, "shape"):
        return str(argument) if hasattr(argument, "item") and argument.shape == () else "array"
    return f"{argument:.4g}" if isinstance(argument, float) else str(argument)


def _shape(array: Any) -> str:
    return f"{tuple(array.shape)} {array.dtype}"
