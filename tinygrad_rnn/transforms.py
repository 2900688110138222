"""Functions of functions: gradients, products with Jacobians and Hessians, of any order.

Each takes ``f`` of arrays or Tensors (it gets Tensors) and returns Tensors. All that ``f`` reads
and that wants a gradient of its own stays in the graph: inputs that carry one, and what comes by a
closure, as the variables of a transform around this one, or a model's parameters. So transforms
nest: ``value_and_grad`` of a function that calls ``vjp`` gives second derivatives, and so on.
Results carry a graph if there is such a thing, and only then. Inside ``no_grad`` transforms give
the same numbers, without a graph. Where ``f`` does not depend on an input, or returns a mere number
or array, the derivative is 0. Arrays have any shape; floats keep their dtype, whole numbers count
as float64.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .grad_mode import enable_grad
from .tensor import Array, Tensor, cotangents, plain

__all__ = ["grad", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

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


def _output_of(f: Function, xs: Sequence[Any], name: str) -> Tensor:
    y = f(*xs)
    if not isinstance(y, Tensor):
        kind = getattr(getattr(y, "dtype", None), "kind", "")
        if not isinstance(y, (int, float)) and kind not in list("biuf"):
            raise TypeError(f"{name}: f returned {type(y).__name__}, a Tensor is wanted")
        y = Tensor(y)  # it depends on nothing
    return y


def _reaches_out(xs: Sequence[Tensor], *ends: Any) -> bool:
    """Whether one of ``ends`` depends on a Tensor that wants a gradient and is not of this
    transform, which made the leaves ``xs`` itself."""
    own = {x._node for x in xs if x._node.fn is None}
    seen = {end._node for end in ends if isinstance(end, Tensor) and end.requires_grad} - own
    stack = list(seen)
    while stack:
        node = stack.pop()
        if node.fn is None:
            return True
        fresh = {parent for parent in node.parents or () if parent is not None} - own - seen
        seen |= fresh
        stack += fresh
    return False


def _pull(y: Any, xs: Sequence[Tensor], v: Any, create_graph: bool) -> list[Tensor]:
    """vᵀ J for each input; zeros for an input that y does not depend on."""
    gs: Sequence[Any] = [None] * len(xs)
    if isinstance(y, Tensor) and y.requires_grad:
        gs = grad(y, xs, v, create_graph=create_graph, allow_unused=True, retain_graph=True)
    return [Tensor(np.zeros_like(x.detach().numpy())) if g is None else g
            for g, x in zip(gs, xs, strict=True)]


def _dot(gs: Sequence[Tensor], vs: Sequence[Any]) -> Any:
    """The sum of all products of elements."""
    return sum((np.sum(g * v) for g, v in zip(gs, vs, strict=True)), 0.0)


def _tangents(v: Inputs, xs: Sequence[Tensor], name: str) -> Sequence[Any]:
    vs = v if isinstance(v, (tuple, list)) else (v,)
    if len(vs) != len(xs):
        raise ValueError(f"{name}: {len(xs)} inputs, {len(vs)} directions")
    for i, (u, x) in enumerate(zip(vs, xs, strict=True)):
        if np.shape(u) != x.shape:
            raise ValueError(f"{name}: direction {i} of shape {np.shape(u)} for an input of shape"
                             f" {x.shape}")
    return vs


def grad(output: Tensor | Function, inputs: Tensor | Iterable[Tensor] | None = None,
         grad_output: Array | None = None, create_graph: bool = False, allow_unused: bool = False,
         retain_graph: bool | None = None) -> Any:
    """Gradients of ``output`` with respect to ``inputs``, returned and not stored.

    ``grad(f)``, of a function alone, is what JAX means by it: ``grad(f)(*args)`` is the gradient
    that ``value_and_grad(f)`` gives.

    Args:
        output: Tensor; a scalar unless ``grad_output`` is given.
        inputs: one Tensor or a sequence; leaves, or Tensors on the way to ``output``.
        grad_output: cotangent, an array or Tensor of the shape of ``output``.
        create_graph: record the gradients themselves, for higher orders.
        allow_unused: None for an input that ``output`` does not depend on, not an error.
        retain_graph: keep the graph for another pass (default: ``create_graph``).

    Returns a Tensor for one Tensor, a tuple of Tensors for a sequence, each of the shape and dtype
    of its input. Raises RuntimeError for an input or output without a graph, for one that is not
    used, for a missing cotangent and for a graph that is freed; ValueError for a cotangent of
    another shape; TypeError for what is no Tensor.
    """
    if callable(output) and inputs is None and grad_output is None and not (
            create_graph or allow_unused or retain_graph):  # fmt: skip
        both = value_and_grad(output)
        return functools.wraps(output)(lambda *args, **kwargs: both(*args, **kwargs)[1])
    single = isinstance(inputs, Tensor) or not np.iterable(inputs)
    wanted: tuple[Any, ...] = (inputs,) if single else tuple(inputs)  # type: ignore[arg-type]
    for name, x in (("output", output), *((f"input {i}", x) for i, x in enumerate(wanted))):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: {name} is a {type(x).__name__}, wanted a Tensor"
                            + "; a function stands alone, grad(f)" * callable(x))  # fmt: skip
    for i, x in enumerate(wanted):
        if x._node is None:
            raise RuntimeError(f"grad: input {i} of shape {x.shape} does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    found = cotangents("grad", output, grad_output,  # type: ignore[arg-type]
                       {x._node for x in wanted}, retain, create_graph)
    results: list[Any] = []
    taken = set()
    for i, x in enumerate(wanted):
        c = found.get(x._node)
        if c is None:
            if not allow_unused:
                raise RuntimeError(f"grad: input {i} of shape {x.shape} was not used for the"
                                   " output; allow_unused=True gives None for it")
            results.append(None)
            continue
        if x._node in taken:  # the same input twice: two gradients never share memory
            c = c.copy()
        taken.add(x._node)
        results.append(c)
    return results[0] if single else tuple(results)


def value_and_grad(f: Function, argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """``g(*args) -> (f(*args), gradient)`` of a scalar function.

    ``argnums``: the argument to differentiate by, or a tuple of them (then a tuple of gradients).
    A gradient has the shape of its argument, any shape. g raises TypeError if f returns what is no
    number, ValueError if that is no scalar, IndexError if there is no such argument.
    """
    wanted = argnums if isinstance(argnums, tuple) else (argnums,)

    @functools.wraps(f)
    def with_grad(*given: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        with (block := enable_grad()):
            args = list(given)
            for i in wanted:
                if not -len(args) <= i < len(args):
                    raise IndexError(f"value_and_grad: no argument {i} among the {len(args)} that"
                                     " came by position")
                args[i] = _differentiable(args[i])
            xs = [args[i] for i in wanted]
            y = _output_of(lambda *args: f(*args, **kwargs), args, "value_and_grad")
            if y.size != 1:
                raise ValueError(f"value_and_grad: a scalar is wanted, f gave shape {y.shape}")
            nested = not block.outer and _reaches_out(xs, y)
            gs = _pull(y, xs, np.ones_like(plain(y)), nested)
        y = y if nested else y.detach()
        return y, tuple(gs) if isinstance(argnums, tuple) else gs[0]

    return with_grad


def vjp(f: Function, inputs: Inputs, v: Array | float | None = None) -> tuple[Tensor, Any]:
    """Vector-Jacobian product: ``(f(*inputs), vᵀ J)``.

    ``inputs``: an array, or a tuple for a function of several (then a tuple comes back).
    ``v``: cotangent of the shape of the output; may be left out for a scalar. The product has the
    shape of the input, any shape. TypeError if f returns no number, ValueError for a v of another
    shape, or that is missing.
    """
    with (block := enable_grad()):
        xs, single = _inputs(inputs)
        y = _output_of(f, xs, "vjp")
        if v is None and y.size != 1:
            raise ValueError(f"vjp: an output of shape {y.shape} needs its cotangent v")
        if v is not None and np.shape(v) != y.shape:
            raise ValueError(f"vjp: v of shape {np.shape(v)} for an output of shape {y.shape}")
        nested = not block.outer and _reaches_out(xs, y, v)
        gs = _pull(y, xs, np.ones_like(plain(y)) if v is None else v, nested)
    return y if nested else y.detach(), gs[0] if single else tuple(gs)


def jvp(f: Function, inputs: Inputs, v: Inputs) -> tuple[Tensor, Tensor]:
    """Jacobian-vector product: ``(f(*inputs), J v)``, for ``v`` of the shapes of the inputs.

    Reverse mode twice: ``uᵀ J`` is linear in ``u``, and its derivative by ``u`` is ``J``. The
    product has the shape of the output, any shape. TypeError if f returns no number, ValueError
    for a v of another shape.
    """
    with (block := enable_grad()):
        xs, _ = _inputs(inputs)
        vs = _tangents(v, xs, "jvp")
        y = _output_of(f, xs, "jvp")
        nested = not block.outer and _reaches_out(xs, y, *vs)
        u = Tensor(np.zeros_like(plain(y), dtype=y.dtype if y.dtype.kind == "f" else float), True)
        (product,) = _pull(_dot(_pull(y, xs, u, True), vs), [u], None, nested)
    return y if nested else y.detach(), product


def hvp(f: Function, inputs: Inputs, v: Inputs) -> tuple[Tensor, Any]:
    """Hessian-vector product of a scalar function: ``(f(*inputs), H v)``.

    ``v`` and the product have the shapes of the inputs, any shape; the Hessian itself is never
    made (Pearlmutter, 1994). TypeError if f returns no number, ValueError if that is no scalar, and
    for a v of another shape.
    """
    with (block := enable_grad()):
        xs, single = _inputs(inputs)
        vs = _tangents(v, xs, "hvp")
        y = _output_of(f, xs, "hvp")
        if y.size != 1:
            raise ValueError(f"hvp: a scalar is wanted, f gave shape {y.shape}")
        nested = not block.outer and _reaches_out(xs, y, *vs)
        slopes = _pull(y, xs, np.ones_like(plain(y)), True)
        gs = _pull(_dot(slopes, vs), xs, None, nested)
    return y if nested else y.detach(), gs[0] if single else tuple(gs)


def jacobian(f: Function, inputs: Inputs) -> Any:
    """All partial derivatives: for an output of shape S and an input of shape X, shape S + X.

    One backward pass per element of the output. A tuple of inputs gives a tuple. TypeError if f
    returns no number.
    """
    with (block := enable_grad()):
        xs, single = _inputs(inputs)
        y = _output_of(f, xs, "jacobian")
        nested = not block.outer and _reaches_out(xs, y)
        rows = []
        for k in range(y.size):
            one = np.zeros_like(plain(y), shape=y.size)
            one[k] = 1
            rows.append(_pull(y, xs, one.reshape(y.shape), nested))
        js = [
            np.reshape(np.stack([row[i] for row in rows]), y.shape + x.shape)
            if rows else Tensor(np.zeros_like(plain(x), shape=y.shape + x.shape))
            for i, x in enumerate(xs)
        ]
    return js[0] if single else tuple(js)
