"""What a model is made of and what comes out of its parts: ``summary``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..grad_mode import no_grad
from .module import Module, count, described

__all__ = ["summary"]


class Table(str):
    """A text that a console shows as it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summary(model: Module, *inputs: Any) -> str:
    """A table of all modules in a model: what they are, how many parameters they have, and, where
    ``inputs`` are given, the shapes that each puts out when the model is called with them.

    The model is run once, in evaluation and without a graph, and left as it was; a cell shows no
    shapes, because its layer calls its steps. After PyTorch's torchinfo and Keras's summary (2015).
    TypeError for what is no Module.
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: a Module is wanted, {type(model).__name__} came")
    shapes: dict[int, str] = {}
    modules = model.modules()
    before = [(module, dict(vars(module))) for module in modules]
    try:
        if inputs:
            model.eval()
            for module in modules:
                vars(module)["forward"] = _watched(module, shapes)
            with no_grad():
                model(*inputs)
    finally:
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)
    rows = [("module", "parameters", "output")]
    for name, module in model.named_modules():
        label = f"{name}: " if name else ""
        rows.append((label + described(module), f"{count(module):,}", shapes.get(id(module), "")))
    wide, number = (max(len(row[k]) for row in rows) for k in (0, 1))
    lines = [f"{what:{wide}}  {n:>{number}}  {out}".rstrip() for what, n, out in rows]
    trained = sum(p.size for p in model.parameters() if p.requires_grad)
    kept = sum(b.size for b in model.buffers())
    lines.append(f"{count(model):,} parameters, {trained:,} of them trained; {kept:,} numbers in"
                 " buffers")
    return Table("\n".join(lines))


def _watched(module: Module, shapes: dict[int, str]) -> Any:
    """Its forward, which notes the shapes of what it gives."""
    forward = module.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        shapes[id(module)] = _shapes_of(out)
        return out

    return watched


def _shapes_of(out: Any) -> str:
    if isinstance(out, (tuple, list)):
        return ", ".join(map(_shapes_of, out))
    return str(np.shape(out)) if hasattr(out, "shape") else type(out).__name__
