"""Derivatives of any function of Tensors against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor
from ..transforms import grad

__all__ = ["check_gradients"]


def check_gradients(f: Callable[..., Any], *inputs: Any, order: int = 1, directions: int = 3,
                    eps: float = 1e-5, tolerance: float = 1e-6, seed: int = 0) -> None:
    """Compare the gradients of ``f`` with central differences, in float64.

    Args:
        f: a function of Tensors that returns a Tensor, or a tuple of them.
        inputs: arrays or Tensors of floats, any shape; integers are passed on as they are.
        order: 1, or 2 to compare the derivative of the gradient along a random direction too.
        directions: random directions in which the differences are taken before all elements are.
        eps: step of the differences, relative to the size of an element (1 at least).
        tolerance: error allowed, relative to the largest derivative (1 at least).
        seed: of the random directions and cotangents.

    Raises AssertionError that names the worst element; ValueError for another order, and if no
    input holds floats.
    """
    if order not in (1, 2):
        raise ValueError(f"check_gradients: order {order}, wanted 1 or 2")
    rng = np.random.default_rng(seed)
    arrays = [x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    floats = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if not floats:
        raise ValueError("check_gradients: no input of floats, so that there is no derivative")

    def scalar(values):
        """f, weighed with random cotangents, that stay the same from call to call."""
        out = f(*values)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        weights = np.random.default_rng(seed + 1)
        total = 0
        for y in outs:
            total = total + np.sum(y * weights.normal(size=np.shape(y)))
        return total

    def gradients(values, create_graph=False):
        tensors = [Tensor(a, requires_grad=True) if i in floats and not isinstance(a, Tensor) else a
                   for i, a in enumerate(values)]
        wanted: Any = [tensors[i] for i in floats]
        total = scalar(tensors)
        if not (isinstance(total, Tensor) and total.requires_grad):
            return [np.zeros(t.shape) for t in wanted]
        found = grad(total, wanted, create_graph=create_graph, allow_unused=True)
        return [np.zeros(t.shape) if g is None else g for t, g in zip(wanted, found, strict=True)]

    def value(values):
        # as in ``gradients``: a weight that f puts in the place of a parameter has to be trainable
        return float(np.asarray(_array(scalar([Tensor(a, requires_grad=i in floats)
                                               for i, a in enumerate(values)]))))

    _compare(value, [_array(g) for g in gradients(arrays)], arrays, floats, rng, directions, eps,
             tolerance, "gradient")
    if order == 2:
        along = [rng.normal(size=arrays[i].shape) for i in floats]

        def slope(values):
            return sum(float(np.sum(_array(g) * v))
                       for g, v in zip(gradients(values), along, strict=True))

        tensors = [Tensor(a, requires_grad=True) if i in floats else a
                   for i, a in enumerate(arrays)]
        first = gradients(tensors, create_graph=True)
        total = sum(np.sum(g * v) for g, v in zip(first, along, strict=True))
        wanted: Any = [tensors[i] for i in floats]
        if isinstance(total, Tensor) and total.requires_grad:
            second = grad(total, wanted, allow_unused=True)
        else:
            second = [None] * len(wanted)
        second = [np.zeros(t.shape) if g is None else _array(g)
                  for t, g in zip(wanted, second, strict=True)]
        _compare(slope, second, arrays, floats, rng, directions, eps, tolerance,
                 "second derivative")


def _array(x):
    return x.detach().numpy() if isinstance(x, Tensor) else x


def _compare(value, analytic, arrays, floats, rng, directions, eps, tolerance: float, what):
    """Random directions first, which are cheap; every element only once one of them disagrees."""
    largest = max([1.0, *(np.abs(g).max(initial=0) for g in analytic)])
    for _ in range(directions):
        along = [rng.choice([-1.0, 1.0], size=arrays[i].shape) for i in floats]
        numeric = _difference(value, arrays, floats, along, eps)
        expected = sum(float(np.sum(g * v)) for g, v in zip(analytic, along, strict=True))
        size = sum(g.size for g in analytic)
        if not abs(numeric - expected) <= tolerance * largest * max(1.0, size**0.5):
            break
    else:
        return
    worst = (-1.0, "")
    for k, i in enumerate(floats):
        for index in np.ndindex(*arrays[i].shape):
            along = [np.zeros(arrays[j].shape) for j in floats]
            along[k][index] = 1.0
            numeric = _difference(value, arrays, floats, along, eps)
            error = abs(numeric - analytic[k][index])
            if not error <= worst[0]:
                where = f"input {i}" + (f"{list(map(int, index))}" if index else "")
                worst = (error, f"{what} of {where} is {analytic[k][index]:.10g}, central"
                         f" differences give {numeric:.10g} (error {error:.1e})")
    raise AssertionError(f"check_gradients: {worst[1]}")


def _difference(value, arrays, floats, along, eps):
    moved = []
    scale = eps * max([1.0, *(float(np.abs(arrays[i]).max(initial=0)) for i in floats)])
    for sign in (1, -1):
        step = list(arrays)
        for i, v in zip(floats, along, strict=True):
            step[i] = arrays[i] + sign * scale * v
        moved.append(value(step))
    return (moved[0] - moved[1]) / (2 * scale)
