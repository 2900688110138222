"""Functions of functions: gradients, products with Jacobians and Hessians, of any order.

Each takes ``f`` of arrays or Tensors (it gets Tensors) and returns Tensors. Inputs that already
carry a graph stay in it, so transforms nest: ``value_and_grad`` of a function that calls ``vjp``
gives second derivatives, and so on. They record also inside ``no_grad``. Arrays have any shape;
floats keep their dtype, whole numbers count as float64.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tensor import Array, Tensor, _enable_grad, grad, plain

__all__ = ["hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

Function = Callable[..., Any]  # of Tensors, giving one
Inputs = Array | float | Sequence[Array | float]


def _inputs(inputs: Inputs) -> tuple[list[Tensor], bool]:
    """Tensors that f may be differentiated by, and whether they came alone."""
    if isinstance(inputs, (tuple, list)):
        return [_differentiable(x) for x in inputs], False
    return [_differentiable(inputs)], True


def _differentiable(x: Any) -> Tensor:
    if isinstance(x, Tensor) and x.requires_grad:
        return x * 1.0  # a point of its own in the outer graph
    x = plain(x)
    return Tensor(x if x.dtype.kind == "f" else x.astype(float), requires_grad=True)


def _outputs_of(f: Function, xs: Sequence[Any], name: str) -> Tensor:
    y = f(*xs)
    if not isinstance(y, Tensor):
        raise TypeError(f"{name}: f returned {type(y).__name__}, a Tensor is wanted")
    return y


def _pull(y: Tensor, xs: Sequence[Tensor], v: Any, create_graph: bool) -> list[Tensor]:
    """vᵀ J for each input; zeros for an input that y does not depend on."""
    if not y.requires_grad:
        return [Tensor(np.zeros_like(x.detach().numpy())) for x in xs]
    gs = grad(y, xs, v, create_graph=create_graph, allow_unused=True, retain_graph=True)
    return [Tensor(np.zeros_like(x.detach().numpy())) if g is None else g
            for g, x in zip(gs, xs, strict=True)]


def _tangents(v: Inputs, xs: Sequence[Tensor], name: str) -> Sequence[Any]:
    vs = v if isinstance(v, (tuple, list)) else (v,)
    if len(vs) != len(xs):
        raise ValueError(f"{name}: {len(xs)} inputs, {len(vs)} directions")
    for i, (u, x) in enumerate(zip(vs, xs, strict=True)):
        if np.shape(u) != x.shape:
            raise ValueError(f"{name}: direction {i} of shape {np.shape(u)} for an input of shape"
                             f" {x.shape}")
    return vs


def value_and_grad(f: Function, argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """``g(*args) -> (f(*args), gradient)`` of a scalar function.

    ``argnums``: the argument to differentiate by, or a tuple of them (then a tuple of gradients).
    A gradient has the shape of its argument, any shape. g raises TypeError if f returns no Tensor,
    ValueError if that is no scalar, IndexError if there is no such argument.
    """
    wanted = argnums if isinstance(argnums, tuple) else (argnums,)

    @functools.wraps(f)
    def with_grad(*given: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        with _enable_grad():
            args = list(given)
            nested = any(isinstance(args[i], Tensor) and args[i].requires_grad for i in wanted)
            for i in wanted:
                args[i] = _differentiable(args[i])
            y = _outputs_of(lambda *xs: f(*xs, **kwargs), args, "value_and_grad")
            if y.size != 1:
                raise ValueError(f"value_and_grad: a scalar is wanted, f gave shape {y.shape}")
            gs = _pull(y, [args[i] for i in wanted], np.ones(y.shape, y.dtype), nested)
            y = y if nested else y.detach()
            return y, tuple(gs) if isinstance(argnums, tuple) else gs[0]

    return with_grad


def vjp(f: Function, inputs: Inputs, v: Array | float | None = None) -> tuple[Tensor, Any]:
    """Vector-Jacobian product: ``(f(*inputs), vᵀ J)``.

    ``inputs``: an array, or a tuple for a function of several (then a tuple comes back).
    ``v``: cotangent of the shape of the output; may be left out for a scalar. The product has the
    shape of the input, any shape. TypeError if f returns no Tensor, ValueError for a v of another
    shape, or that is missing.
    """
    with _enable_grad():
        xs, single = _inputs(inputs)
        y = _outputs_of(f, xs, "vjp")
        if v is None and y.size != 1:
            raise ValueError(f"vjp: an output of shape {y.shape} needs its cotangent v")
        if v is not None and np.shape(v) != y.shape:
            raise ValueError(f"vjp: v of shape {np.shape(v)} for an output of shape {y.shape}")
        gs = _pull(y, xs, np.ones(y.shape, y.dtype) if v is None else v, True)
    return y, gs[0] if single else tuple(gs)


def jvp(f: Function, inputs: Inputs, v: Inputs) -> tuple[Tensor, Tensor]:
    """Jacobian-vector product: ``(f(*inputs), J v)``, for ``v`` of the shapes of the inputs.

    Reverse mode twice: ``uᵀ J`` is linear in ``u``, and its derivative by ``u`` is ``J``. The
    product has the shape of the output, any shape. TypeError if f returns no Tensor, ValueError
    for a v of another shape.
    """
    with _enable_grad():
        xs, _ = _inputs(inputs)
        vs = _tangents(v, xs, "jvp")
        y = _outputs_of(f, xs, "jvp")
        u = Tensor(np.zeros(y.shape, y.dtype), requires_grad=True)
        total = sum((np.sum(g * w) for g, w in zip(_pull(y, xs, u, True), vs, strict=True)), 0.0)
        if not (isinstance(total, Tensor) and total.requires_grad):
            return y, Tensor(np.zeros(y.shape, y.dtype))
        return y, _pull(total, [u], np.ones((), total.dtype), True)[0]


def hvp(f: Function, inputs: Inputs, v: Inputs) -> tuple[Tensor, Any]:
    """Hessian-vector product of a scalar function: ``(f(*inputs), H v)``.

    ``v`` and the product have the shapes of the inputs, any shape; the Hessian itself is never
    made (Pearlmutter, 1994). TypeError if f returns no Tensor, ValueError if that is no scalar, and
    for a v of another shape.
    """
    with _enable_grad():
        xs, single = _inputs(inputs)
        vs = _tangents(v, xs, "hvp")
        y = _outputs_of(f, xs, "hvp")
        if y.size != 1:
            raise ValueError(f"hvp: a scalar is wanted, f gave shape {y.shape}")
        first = _pull(y, xs, np.ones(y.shape, y.dtype), True)
        slope = sum((np.sum(g * w) for g, w in zip(first, vs, strict=True)), 0.0)
        if not (isinstance(slope, Tensor) and slope.requires_grad):
            gs = [Tensor(np.zeros(x.shape, x.dtype)) for x in xs]
        else:
            gs = _pull(slope, xs, np.ones((), slope.dtype), True)
    return y, gs[0] if single else tuple(gs)


def jacobian(f: Function, inputs: Inputs) -> Any:
    """All partial derivatives: for an output of shape S and an input of shape X, shape S + X.

    One backward pass per element of the output. A tuple of inputs gives a tuple. TypeError if f
    returns no Tensor.
    """
    with _enable_grad():
        xs, single = _inputs(inputs)
        y = _outputs_of(f, xs, "jacobian")
        rows = []
        for k in range(y.size):
            one = np.zeros(y.size, y.dtype)
            one[k] = 1
            rows.append(_pull(y, xs, one.reshape(y.shape), True))
        js = [
            np.reshape(np.stack([row[i] for row in rows]), y.shape + x.shape)
            if rows else Tensor(np.zeros(y.shape + x.shape, x.dtype))
            for i, x in enumerate(xs)
        ]
    return js[0] if single else tuple(js)
