"""Tensor: an array, and the record of the NumPy call that made it.

NumPy's own protocols are the instruction set. ``np.tanh(t)``, ``t @ w``, ``np.concatenate([t, u])``
all end in ``apply(fn, *arrays, **metadata)``, which runs ``fn`` on the arrays and, where a gradient
is wanted, keeps a ``Node``: the callable, its arguments, and the nodes these came from. The graph
is data. ``backward`` walks it from the newest node to the oldest and asks the table in ``rules.py``
for the cotangent of each argument.

Tensor -> Node -> older nodes: references run one way only, a node holds arrays and never Tensors,
so there are no cycles, and what nothing refers to is freed at once.
"""

from __future__ import annotations

import gc
import inspect
import itertools
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from functools import cache
from typing import Any, Self, TypeAlias, Union

import numpy as np
from numpy.typing import DTypeLike

from .derived import DERIVED
from .rules import (
    PLAIN,
    RULES,
    Erase,
    Function,
    Primitive,
    Product,
    Scatter,
    add_at,
    scatter,
    write,
)

__all__ = ["Tensor", "apply", "from_dlpack", "grad", "no_grad"]

Array: TypeAlias = Union["Tensor", np.ndarray]
Axis: TypeAlias = int | tuple[int, ...] | None
Pending: TypeAlias = "dict[Node, Any]"  # the cotangents that nodes have got so far


# --- whether calls are recorded ------------------------------------------------------------------

# How many no_grad blocks are open in this thread or task. A count, not a flag: blocks may overlap.
_no_grad_blocks: ContextVar[int] = ContextVar("no_grad_blocks", default=0)


class no_grad(ContextDecorator):
    """``with no_grad():`` or ``@no_grad()``: calls inside are computed and not recorded.

    Holds for the current thread and async task only, and ends with the block however it is left.
    """

    def __enter__(self) -> None:
        _no_grad_blocks.set(_no_grad_blocks.get() + 1)

    def __exit__(self, *_: object) -> None:
        _no_grad_blocks.set(_no_grad_blocks.get() - 1)


class _enable_grad:
    """Calls inside are recorded, whatever is around it: for the transforms."""

    def __enter__(self) -> None:
        self.outer = _no_grad_blocks.get()
        _no_grad_blocks.set(0)

    def __exit__(self, *_: object) -> None:
        _no_grad_blocks.set(self.outer)


# --- the graph -----------------------------------------------------------------------------------

_births = itertools.count()


class Node:
    """One call: ``fn(*args, **meta)``. A leaf has no ``fn`` and holds the gradient instead.

    ``args`` are arrays, or, where no rule reads one, something that has its shape and dtype.
    ``parents`` are the nodes of the arguments (None: no gradient wanted), and None when freed.
    A call with several outputs has a tuple of shapes, and one ``getitem`` node for each output.
    """

    __slots__ = ("args", "birth", "dtype", "fn", "grad", "meta", "out", "parents", "shape", "steps")

    def __init__(self, fn: Any, args: Any, meta: dict[str, Any], parents: Any, steps: Any,
                 out: Any, shape: Any, dtype: Any) -> None:
        self.fn, self.args, self.meta, self.parents = fn, args, meta, parents
        self.steps, self.out, self.shape, self.dtype = steps, out, shape, dtype
        self.grad: Tensor | None = None
        self.birth = next(_births)  # a node is younger than its parents: this orders the graph

    def free(self) -> None:
        self.args = self.parents = self.out = None


class _Spec:
    """Shape and dtype of an array that no rule reads."""

    __slots__ = ("dtype", "shape")

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype = array.shape, array.dtype


def _leaf(array: Any) -> Node:
    return Node(None, (), {}, (), (), None, array.shape, array.dtype)


_newest_first = operator.attrgetter("birth")


@cache
def keep_freed_memory() -> None:
    """A graph is freed with every step. The allocator of Linux (glibc) would hand its memory back
    to the system, and the next step would fault it in again, page by page: let it keep 256 MB,
    unless the user has tuned it."""
    import ctypes  # not before the first backward pass

    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        with suppress(AttributeError, OSError, TypeError):  # of another system
            mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3
            mallopt(mmap_threshold, 2**25)  # the most that it takes
            mallopt(trim_threshold, 2**28)


@contextmanager
def collector_paused() -> Iterator[None]:
    """While a long graph grows. It has no cycles, but to find that out Python's garbage collector
    would walk all of it again and again: longer than the forward pass takes at T = 10,000."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ancestry(node: Node) -> list[Node]:
    """The node and all that it came from, newest first: a reverse topological order."""
    seen, stack = {node}, [node]
    while stack:
        parents = stack.pop().parents
        if parents is None:
            raise RuntimeError("backward: an earlier backward has freed this graph; call that one"
                               " with retain_graph=True, or run the forward pass again")
        for parent in parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=_newest_first, reverse=True)


class _Sum:
    """The cotangents of one node, added up in place, in an array that belongs to this sum."""

    __slots__ = ("node", "owned", "products", "total")

    def __init__(self, node: Node, first: Any = None, owned: bool = False) -> None:
        self.node, self.total, self.owned = node, first, owned
        self.products: list[Product] = []

    def add(self, c: Any) -> None:
        kind = type(c)
        if kind is Product:
            self.products.append(c)
        elif kind is Scatter:
            self._scatter(c.g, c.index)
        elif kind is _Sum:
            self.add(c.value())
        elif self.total is None:
            self.total = c
        elif self.owned:
            self.total += c
        else:
            self.total = self.total + c
            self.owned = True

    def _scatter(self, g: Any, index: Any) -> None:
        if type(self.node.shape) is list:  # the k-th of several outputs
            if self.total is None:
                self.total = [None] * len(self.node.shape)
            held = self.total[index]
            self.total[index] = g if held is None else held + g
        elif isinstance(g, Tensor):
            g = scatter(g, index, shape=self.node.shape)
            self.total = g if self.total is None else self.total + g
        else:
            if self.total is None and self.products:
                self.value()  # a product is a buffer to add into
            if self.total is None:
                self.total = np.zeros_like(g, shape=self.node.shape, dtype=self.node.dtype)
            elif not self.owned:
                self.total = self.total.copy()
            self.owned = True
            add_at(self.total, index, g)

    def value(self) -> Any:
        if self.products:
            # they came in newest first; in the order of time, a stack of them may be at hand (jit)
            lefts = [p.left for p in reversed(self.products)]
            rights = [p.right for p in reversed(self.products)]
            self.products = []
            left, right = (x[0] if len(x) == 1 else np.concatenate(x) for x in (lefts, rights))
            self.add(_cast(np.transpose(left) @ right, self.node))
            self.owned = True
        return self.total


MANY = 4096  # elements


def _cast(c: Any, node: Node) -> Any:
    """Undo broadcasting and promotion: the cotangent in the shape and dtype of its argument."""
    if c.shape != node.shape:
        lead = len(c.shape) - len(node.shape)
        if lead < 0:
            raise AssertionError(f"a rule gave a cotangent of {c.shape} for {node.shape}")
        stretched = [lead + i for i, n in enumerate(node.shape) if n == 1 != c.shape[lead + i]]
        if len(node.shape) == 1 and not stretched and c.size > MANY and c.dtype.kind == "f":
            rows = math.prod(c.shape[:lead])  # a bias: BLAS adds its rows in half the time
            c = np.ones_like(c, shape=rows) @ np.reshape(c, (rows, *node.shape))
        else:
            c = np.reshape(np.add.reduce(c, axis=(*range(lead), *stretched)), node.shape)
    return c if c.dtype == node.dtype else c.astype(node.dtype)


def _propagate(root: Node, seed: Any, targets: set[Node] | None, retain: bool,
               create_graph: bool) -> dict[Node, Any]:
    """Cotangents of ``targets`` (None: of all leaves) as a dict from node to array or Tensor."""
    keep_freed_memory()
    order = _ancestry(root)
    wanted = None
    if targets is not None:  # only what lies between the targets and the root
        wanted = set(targets)
        for node in reversed(order):
            if any(parent in wanted for parent in node.parents):
                wanted.add(node)
    pending: Pending = {root: seed}
    found = {}
    for node in order:
        g = pending.pop(node, None)
        if g is None:
            continue
        owned = False
        if type(g) is _Sum:
            if g.total is None and node.fn is np.transpose and targets is None:
                for p in g.products:  # (leftᵀ right)ᵀ = rightᵀ left
                    _give(node.parents[0], Product(p.right, p.left), pending)
                if not retain:
                    node.free()
                continue
            # what came in as an Erase may be handed on; a sum made here is ours to edit
            g, owned = g.value(), g.owned
        if node.fn is None or (targets is not None and node in targets):
            if targets is None or node in targets:
                found[node] = g if owned and node.fn is None else g.copy()
            if node.fn is None:
                continue
        if wanted is not None and not any(parent in wanted for parent in node.parents):
            continue
        _step(node, g, owned, pending, wanted, create_graph)
        if not retain:
            node.free()
    return found


def _step(node: Node, g: Any, owned: bool, pending: Pending, wanted: set[Node] | None,
          create_graph: bool) -> None:
    """Give the parents of one node their share of its cotangent."""
    out, args, parents, meta = node.out, node.args, node.parents, node.meta
    if type(node.shape) is list:
        like = next(piece for piece in g if piece is not None)
        g = [np.zeros_like(like, shape=shape) if piece is None else piece
             for piece, shape in zip(g, node.shape, strict=True)]
    if create_graph:  # the same rules, on Tensors
        if out is not None:
            out = _wrap(out, node)
        args = [_wrap(a, p) if p is not None and type(a) is not Node else a
                for a, p in zip(args, parents, strict=True)]
    if node.steps is None:  # a sequence: one rule for all
        for parent, c in zip(parents, node.fn.vjps[0](g, out, *args, **meta), strict=True):
            if parent is not None and (wanted is None or parent in wanted):
                _give(parent, c, pending)
        return
    for i, vjp in node.steps:
        parent = parents[i]
        if wanted is None or parent in wanted:
            c = vjp(g, out, *args, **meta)
            if type(c) is Erase:
                c = _erased(node, g, owned, c.index, create_graph)
                owned = False
            _give(parent, c, pending)


def _give(parent: Node, c: Any, pending: Pending) -> None:
    """Add one share to what a node has got so far."""
    kind = type(c)
    held = pending.get(parent)
    if kind is Product or kind is Scatter or kind is _Sum:
        if held is None and kind is _Sum:
            pending[parent] = c
            return
    else:
        if c.shape != parent.shape or c.dtype != parent.dtype:
            c = _cast(c, parent)
        if held is None:
            pending[parent] = c
            return
    if type(held) is not _Sum:
        held = pending[parent] = _Sum(parent, held)
    held.add(c)


def _erased(node: Node, g: Any, owned: bool, index: Any, create_graph: bool) -> Any:
    """The cotangent ``g`` with zeros at ``index``, in place if nobody else has it."""
    if create_graph:
        return write(0.0, g, index)
    g = g if owned else g.copy()
    g[index] = 0
    return _Sum(node.parents[1], g, owned=True)


def _seed(name: str, output: Tensor, g: Any, create_graph: bool) -> Any:
    """The cotangent to start from, checked."""
    if output._node is None:
        raise RuntimeError(f"{name}: this Tensor of shape {output.shape} does not require grad")
    if g is None:
        if output.size != 1:
            raise RuntimeError(f"{name}: a Tensor of shape {output.shape} is no scalar: pass its"
                               " cotangent, an array of that shape")
        g = np.ones_like(output._data)
    else:
        shape = np.shape(g)
        if shape != output.shape:
            raise ValueError(f"{name}: cotangent of shape {shape} for an output of shape"
                             f" {output.shape}")
        if not isinstance(g, Tensor):
            g = _own(g) if hasattr(g, "shape") else np.array(g)
        g = np.astype(g, output.dtype) if g.dtype != output.dtype else g
    if create_graph:
        return g if isinstance(g, Tensor) else _wrap(g, None)
    return g._value() if isinstance(g, Tensor) else g


def grad(output: Tensor, inputs: Tensor | Sequence[Tensor], grad_output: Array | None = None,
         create_graph: bool = False, allow_unused: bool = False,
         retain_graph: bool | None = None) -> Any:
    """Gradients of ``output`` with respect to ``inputs``, returned and not stored.

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
    another shape.
    """
    single = isinstance(inputs, Tensor)
    wanted = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for i, x in enumerate(wanted):
        if x._node is None:
            raise RuntimeError(f"grad: input {i} of shape {x.shape} does not require grad")
    seed = _seed("grad", output, grad_output, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    with _enable_grad():
        found = _propagate(output._node, seed, {x._node for x in wanted}, retain, create_graph)
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
        results.append(_gradient(c, create_graph))
    return results[0] if single else tuple(results)


def _gradient(c: Any, create_graph: bool) -> Any:
    if create_graph:
        return c
    return _wrap(np.asarray(c) if isinstance(c, np.generic) else c, None)


# --- recording a call ----------------------------------------------------------------------------


def apply(fn: Function, *args: Any, **meta: Any) -> Any:
    """Run the primitive ``fn`` on arrays and Tensors, and record the call if a gradient is wanted.

    Arrays are positional, metadata (axis, shape) is by keyword. Returns a Tensor, or a list of
    Tensors where ``fn`` returns several arrays.
    """
    primitive = RULES[fn]
    values: list[Any] = []
    parents: list[Node | None] = []
    needs, bit = 0, 1
    for a in args:
        if isinstance(a, Tensor):
            values.append(a._value() if a._exposed else a._data)
            node = a._node
            parents.append(node)
            if node is not None:
                needs |= bit
        else:
            values.append(a)
            parents.append(None)
        bit <<= 1
    try:
        out = primitive.call(*values, **meta)
    except (TypeError, ValueError, IndexError) as error:
        raise _explained(error, primitive.name.lstrip("_"), values, meta) from None
    if type(out) is not np.ndarray:
        if isinstance(out, (list, tuple)):
            return _several(primitive, args, values, parents, needs, meta, out)
        if isinstance(out, np.generic):
            out = np.asarray(out)
    dtype = out.dtype
    if not needs or _no_grad_blocks.get() or dtype.kind != "f":
        if dtype.kind == "c":
            raise TypeError(f"{primitive.name}: complex numbers are not supported")
        return _wrap(out, None)
    node = _record(primitive, args, values, parents, needs, meta, out, out.shape, dtype)
    return _wrap(out, node)


def _record(primitive: Primitive, args: Any, values: list[Any], parents: Any, needs: int,
            meta: dict[str, Any], out: Any, shape: Any, dtype: Any) -> Node:
    """The node of a call, which keeps alive only what its rules will read."""
    steps, reads_out, reads = primitive.plans.get(needs) or primitive.plan(needs)
    parents = tuple(parents)
    kept = parents if reads is None and needs + 1 == 1 << len(parents) else _kept(
        args, values, parents, reads or itertools.repeat(False))
    fn = primitive if steps is None else primitive.fn
    return Node(fn, kept, meta, parents, steps, out if reads_out else None, shape, dtype)


def _kept(args: Any, values: list[Any], parents: Any, reads: Iterable[bool]) -> tuple[Any, ...]:
    """The arguments for the rules: arrays that are read, and what has the shape of the others.

    A tuple: one of arrays alone is of no concern to the garbage collector."""
    kept = []
    for a, value, parent, read in zip(args, values, parents, reads, strict=False):
        if read:  # what came from outside can be edited there: keep a copy
            kept.append(value if parent is not None or isinstance(a, Tensor) else _own(value))
        elif parent is not None:
            kept.append(parent)
        else:
            kept.append(_Spec(value) if hasattr(value, "shape") else value)
    return tuple(kept)


def _several(primitive: Primitive, args: Any, values: list[Any], parents: Any, needs: int,
             meta: dict[str, Any], pieces: Sequence[Any]) -> list[Tensor]:
    """A call with several outputs: one node for the call, one for each piece of it."""
    if not needs or _no_grad_blocks.get():
        return [_wrap(piece, None) for piece in pieces]
    whole = _record(primitive, args, values, parents, needs, meta, None,
                    [piece.shape for piece in pieces], values[0].dtype)
    pick = RULES[operator.getitem].plans.get(1) or RULES[operator.getitem].plan(1)
    return [
        _wrap(piece, Node(operator.getitem, (whole, k), {}, (whole, None), pick[0], None,
                          piece.shape, piece.dtype))
        for k, piece in enumerate(pieces)
    ]


def _own(value: Any) -> Any:
    """A copy of a mutable operand that belongs to the caller."""
    if isinstance(value, tuple):
        return tuple(map(_own, value))
    if isinstance(value, (int, float, slice, type(None), type(...), np.generic)):
        return value
    return value.copy() if hasattr(value, "copy") and hasattr(value, "shape") else np.array(value)


def _explained(error: Exception, name: str, values: Sequence[Any],
               meta: dict[str, Any]) -> Exception:
    """The same error, with the operation and the shapes that came."""
    shapes = [np.shape(v) for v in values if hasattr(v, "shape")]
    if name == "matmul" and len(shapes) == 2 and shapes[0] and shapes[1]:
        (a, b), inner = shapes, shapes[1][-2:][0]
        what = f"{a} @ {b}"
        if a[-1] != inner:
            return ValueError(f"matmul: {what}: inner sizes {a[-1]} and {inner} differ")
    else:
        what = " and ".join(map(str, shapes)) or "scalars"
        if meta:
            what += ", " + ", ".join(f"{k}={v!r}" for k, v in meta.items())
    kind = next(k for k in (IndexError, ValueError, TypeError) if isinstance(error, k))
    return kind(f"{name}: {what}: {error}")


def _wrap(array: Any, node: Node | None) -> Tensor:
    t = _new(Tensor)
    t._data, t._node, t._exposed = array, node, False
    return t


_new = object.__new__


# --- from NumPy's protocols to apply --------------------------------------------------------------


# Of functions that are written in C, NumPy tells the parameters from 2.4 on.
_UNTOLD: dict[Any, Function] = {
    np.concatenate: lambda arrays, axis=0, out=None, dtype=None, casting="same_kind": None,
    np.where: lambda condition, x=None, y=None: None,
    np.maximum: lambda x1, x2: None,
    np.minimum: lambda x1, x2: None,
}


@cache
def _parameters(fn: Function) -> list[inspect.Parameter]:
    return list(inspect.signature(_UNTOLD.get(fn, fn)).parameters.values())


_DEFAULTS = (None, np._NoValue, inspect.Parameter.empty)


def _canonical(fn: Function, primitive: Primitive, args: Any,
               kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The call with arrays positional and metadata by keyword, or None if the rule does not take
    it: an argument that the rule does not know is allowed only at its default."""
    parameters = _parameters(fn)
    bound = dict(zip((p.name for p in parameters), args, strict=False))
    bound.update(kwargs)
    if primitive.sequence:
        arrays = tuple(bound.pop(parameters[0].name))
    else:
        names = [p.name for p in parameters[: primitive.arity]]
        if not all(name in bound for name in names) or any(bound[n] is None for n in names):
            return None
        arrays = tuple(bound.pop(name) for name in names)
    meta = {}
    for p in parameters:
        if p.name in bound:
            value = bound.pop(p.name)
            if p.name in primitive.metadata:
                meta[p.name] = value
            elif not any(value is d for d in (p.default, *_DEFAULTS)) and (
                    hasattr(value, "shape") or value != p.default):
                return None
    return None if bound else (arrays, meta)


def _call(fn: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """What ``fn(*args, **kwargs)`` is for Tensors, for any callable of NumPy."""
    if fn in RULES:
        canonical = _canonical(fn, RULES[fn], args, kwargs)
        if canonical:
            arrays, meta = canonical
            return apply(fn, *arrays, **meta)
    if fn in DERIVED:
        args = [[np.asarray(x) if np.isscalar(x) else x for x in a] if isinstance(a, (list, tuple))
                and any(isinstance(x, Tensor) for x in a) else a for a in args]
        return DERIVED[fn](*args, **kwargs)
    if fn in PLAIN:
        return fn(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})
    module = getattr(fn, "__module__", None) or "numpy"
    name = f"{module}.{fn.__name__}".replace("numpy", "np")
    what = f"{name}: no derivative rule; use .detach() if no gradient is wanted"
    if fn in RULES:
        given = ", ".join(f"{k}={v!r}" for k, v in kwargs.items())
        what = f"{name}: no derivative rule for this form of the call ({given})"
    return _on_arrays(fn, args, kwargs, what)


def _on_arrays(fn: Function, args: Any, kwargs: dict[str, Any], what: str) -> Any:
    """``fn`` of arrays, which has no rule: for Tensors that want no gradient, so that none can be
    lost. TypeError, saying ``what``, for any other."""

    def array(x: Any) -> Any:
        if isinstance(x, Tensor):
            if x._node is not None:
                raise TypeError(what)
            return x.data  # not _data: the result may be a view of it
        if isinstance(x, (list, tuple)):
            return list(map(array, x)) if isinstance(x, list) else tuple(map(array, x))
        return x

    return fn(*map(array, args), **{k: array(v) for k, v in kwargs.items()})


def _plain(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x._data
    return [_plain(v) for v in x] if isinstance(x, list) else x


def plain(x: Any) -> Any:
    """The array behind a Tensor, an array as it is (of any library), or an array of numbers."""
    if isinstance(x, Tensor):
        return x._value()
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def _like(fn: Function) -> Callable[..., Tensor]:
    """np.zeros_like and its kind: a Tensor without gradient, to be filled step by step."""

    def create(a: Any, *args: Any, **kwargs: Any) -> Tensor:
        arrays = [_plain(x) for x in (a, *args)]
        return _wrap(fn(*arrays, **{k: _plain(v) for k, v in kwargs.items()}), None)

    return create


for _fn in (np.zeros_like, np.ones_like, np.empty_like, np.full_like):
    DERIVED[_fn] = _like(_fn)

_REDUCTIONS: dict[np.ufunc, Function] = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
}  # fmt: skip


def _method(fn: Any) -> Function:
    """np.fn as a method, with NumPy's own arguments."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return _call(fn, (self, *args), kwargs)

    return method


def _unary(fn: Function) -> Callable[[Any], Tensor]:
    return lambda self: apply(fn, self)


def _binary(fn: Function) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: apply(fn, self, other)


def _reflected(fn: Function) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: apply(fn, other, self)


def _compare(fn: Function) -> Callable[[Any, Any], Any]:
    return lambda self, other: fn(self._data, _plain(other))


def from_dlpack(array: Any) -> Tensor:
    """A Tensor of the values of any array that speaks DLPack (PyTorch, JAX, CuPy, ...), copied.

    Shape and dtype stay. BufferError for a Tensor that requires grad, AttributeError for what does
    not speak DLPack; what NumPy cannot hold (bfloat16, memory of a GPU) is NumPy's own error.
    """
    return Tensor(np.from_dlpack(array))


class Tensor:
    """An array whose operations are recorded, so that gradients can flow back through them.

    Args:
        data: anything ``np.array`` takes, of any shape and real dtype, or a Tensor. It is copied: a
            Tensor is a value, and no later edit of ``data`` reaches it.
        requires_grad: make it a leaf: ``backward`` stores its gradient in ``.grad``.

    Raises TypeError for anything but real numbers, and for ``requires_grad`` on anything but
    floating-point ones.
    """

    __slots__ = ("__weakref__", "_data", "_exposed", "_node")
    _data: Any  # an array of NumPy, or of a library that follows its protocols
    _node: Any

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data._data
        data = data.copy() if hasattr(data, "__array_function__") else np.array(data)
        if not isinstance(data, np.ndarray) and isinstance(data, np.generic):
            data = np.asarray(data)
        if data.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: real numbers are wanted, {data.dtype} came")
        self._data, self._node, self._exposed = data, None, False
        self.requires_grad = requires_grad

    # what it is

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this Tensor are recorded. On a leaf it can be set: TypeError for
        anything but floats, RuntimeError for what is no leaf."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted == (self._node is not None):
            return
        if not wanted and self._node.fn is not None:
            raise RuntimeError("requires_grad: only a leaf can be switched off; use .detach()")
        if wanted and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: {self.dtype} has no derivative; a float dtype is"
                            " wanted")
        self._node = _leaf(self._data) if wanted else None

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this Tensor."""
        return self._node is None or self._node.fn is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` has summed up here: a Tensor of this shape, or None. It
        can be set: ValueError for another shape, RuntimeError for what is no leaf that requires
        grad."""
        return self._node and self._node.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if self._node is None or self._node.fn is not None:
            if value is None:
                return
            raise RuntimeError("grad: only a leaf that requires grad holds a gradient")
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            if value.shape != self.shape:
                raise ValueError(f"grad: shape {value.shape} for a Tensor of shape {self.shape}")
        self._node.grad = value

    @property
    def data(self) -> np.ndarray:
        """The array. Editing it edits this Tensor, and never a graph: an array that something else
        holds (a node, a view) is copied first, and one that was handed out is copied when used.
        What is set here is copied, in this dtype; ValueError for another shape where grad is
        required."""
        if not self._exposed:
            if not self._alone():
                self._data = self._data.copy()
            self._exposed = True
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._data:
            value = value._data if isinstance(value, Tensor) else value
            value = np.array(value, dtype=self.dtype) if not hasattr(
                value, "__array_function__") else value.astype(self.dtype)
            if self._node is not None and value.shape != self.shape:
                raise ValueError(f"data: shape {value.shape} for a Tensor of shape {self.shape}")
            self._data, self._exposed = value, False

    def _alone(self) -> bool:
        """Whether nothing else holds the array or its memory (as ndarray.resize asks)."""
        return getattr(self._data, "base", None) is None and self._holders() <= _ALONE

    def _holders(self) -> int:
        return sys.getrefcount(self._data)

    def _value(self) -> Any:
        """The array for a call. While someone outside holds it, the graph gets a copy."""
        if self._exposed:
            if not self._alone():
                return self._data.copy()
            self._exposed = False
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def T(self) -> Tensor:
        return apply(np.transpose, self)

    @property
    def mT(self) -> Tensor:
        return apply(np.swapaxes, self, axis1=-1, axis2=-2)

    itemsize = property(lambda self: self._data.itemsize)
    nbytes = property(lambda self: self._data.nbytes)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor")
        return iter(apply(np.unstack, self) if len(self) else ())

    def __repr__(self) -> str:
        text = repr(self._data).removeprefix("array(").removesuffix(")")
        text = text.replace("\n", "\n ")  # rows stand below each other: "Tensor(" is longer
        if self._node is not None:
            fn = self._node.fn
            if fn is None:
                text += ", requires_grad=True"
            else:
                text += f", from={getattr(fn, 'name', None) or fn.__name__}"
        return f"Tensor({text})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(str(self), spec)

    # out of the graph

    def detach(self) -> Tensor:
        """The same value, cut from the graph."""
        return _wrap(self._value(), None)

    def numpy(self) -> np.ndarray:
        """The value as an array, cut from the graph (see ``data``)."""
        return self.data

    def item(self) -> Any:
        """The value of a Tensor of one element, as a Python number; ValueError for any other."""
        if self.size != 1:
            raise ValueError(f"item: one element is wanted, a Tensor of shape {self.shape} came")
        return self._data.item()

    def tolist(self) -> Any:
        """The values as numbers in nested lists."""
        return self._data.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if self._node is not None:
            raise RuntimeError("np.asarray of a Tensor that requires grad would cut the graph in"
                               " silence: use .detach() or .numpy()")
        if copy is False and dtype not in (None, self.dtype):
            raise ValueError("np.asarray: another dtype needs a copy")
        return np.array(self._data, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory itself, as ``data`` hands it out: for ``np.from_dlpack(t)`` and the like of
        other libraries. BufferError for a Tensor that requires grad."""
        if self._node is not None:
            raise BufferError("DLPack of a Tensor that requires grad would cut the graph in"
                              " silence: use .detach()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def __float__(self) -> float:
        if self._node is not None:
            raise RuntimeError("float of a Tensor that requires grad would cut the graph in"
                               " silence: use .item() or .detach()")
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self._data[()])

    def __bool__(self) -> bool:
        return bool(self._data)

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # For copy and pickle: a leaf of its own with this value, and no gradient yet.
        if not self.is_leaf:
            raise TypeError("a Tensor with a graph cannot be copied or pickled: detach it first")
        return type(self), (self._data, *(() if type(self) is not Tensor else
                                          (self.requires_grad,)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf of its own that carries a copy of ``.grad``, as in PyTorch."""
        make, values = self.__reduce__()
        other = make(*values)
        if self.grad is not None:
            other.grad = deepcopy(self.grad, memo)
        return other

    # backward

    def backward(self, grad: Array | None = None, retain_graph: bool = False,
                 create_graph: bool = False) -> None:
        """Add the gradient of this Tensor to ``.grad`` of every leaf that it was made from.

        Args:
            grad: the cotangent, of this Tensor's shape; may be left out for one element.
            retain_graph: keep the graph for another backward. Otherwise it is freed on the way.
            create_graph: record the backward pass too, so that gradients have gradients.

        Raises RuntimeError if there is no graph, if an earlier backward has freed it, and for a
        missing cotangent; ValueError for one of another shape.
        """
        seed = _seed("backward", self, grad, create_graph)
        with _enable_grad():
            found = _propagate(self._node, seed, None, retain_graph or create_graph, create_graph)
            for leaf, c in found.items():
                held = leaf.grad
                if held is None:
                    leaf.grad = _gradient(c, create_graph)
                elif create_graph:
                    leaf.grad = held + c
                else:
                    leaf.grad = _gradient(held._value() + c, create_graph)

    # the protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None,
                        **kwargs: Any) -> Any:
        if method == "reduce" and ufunc in _REDUCTIONS:
            kwargs.setdefault("axis", inputs[1] if len(inputs) > 1 else 0)
            result = _call(_REDUCTIONS[ufunc], inputs[:1], kwargs)
        elif method == "accumulate" and ufunc is np.add:
            result = np.cumsum(inputs[0], **{"axis": 0, **kwargs})
        elif method == "outer":
            a, b = inputs
            result = _call(ufunc, (np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b), kwargs)
        elif method != "__call__":
            what = f"np.{ufunc.__name__}.{method}: no derivative rule"
            result = _on_arrays(getattr(ufunc, method), inputs, kwargs, what)
        elif ufunc in RULES and not kwargs and len(inputs) == RULES[ufunc].arity:
            result = apply(ufunc, *inputs)
        else:
            if kwargs:
                raise TypeError(f"np.{ufunc.__name__}: no derivative with {', '.join(kwargs)}=")
            result = _call(ufunc, inputs, kwargs)
        return result if out is None else _into(out[0], result, ufunc.__name__)

    def __array_function__(self, func: Function, types: Any, args: Any,
                           kwargs: dict[str, Any]) -> Any:
        out = kwargs.pop("out", None) if kwargs.get("out") is not None else None
        result = _call(func, args, kwargs)
        return result if out is None else _into(out, result, func.__name__)

    __primitive__ = staticmethod(apply)

    # indexing

    def __getitem__(self, index: Any) -> Tensor:
        return apply(operator.getitem, self, _index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        """A new version of this Tensor; graphs made before keep the old one."""
        if self._node is not None and self._node.fn is None and not _no_grad_blocks.get():
            raise RuntimeError("t[i] = v: this Tensor is a leaf that requires grad; write into a"
                               " copy of it")
        index = _index(index)
        node = None
        needs = (value._node is not None) if isinstance(value, Tensor) else False
        if (needs or self._node is not None) and not _no_grad_blocks.get():
            if self.dtype.kind != "f":
                raise TypeError(f"t[i] = v: a Tensor of {self.dtype} cannot hold a gradient")
            parents = [value._node if needs else None, self._node, None]
            bits = needs | (self._node is not None) << 1
            plan = RULES[write].plans.get(bits) or RULES[write].plan(bits)
            args = [_Spec(plain(value)) if p is None else p for p in parents[:2]]
            node = Node(write, [*args, _own(index)], {}, parents, plan[0], None, self.shape,
                        self.dtype)
        buffer = self._data if self._alone() else self._data.copy()
        try:
            buffer[index] = value._value() if isinstance(value, Tensor) else value
        except (TypeError, ValueError, IndexError) as error:
            came = [self._data, plain(value)]
            raise _explained(error, "t[i] = v", came, {}) from None
        self._data, self._exposed = buffer, False
        if not (_no_grad_blocks.get() and self._node is not None):
            self._node = node

    # operators; comparisons give plain arrays

    __add__, __radd__ = _binary(np.add), _reflected(np.add)
    __sub__, __rsub__ = _binary(np.subtract), _reflected(np.subtract)
    __mul__, __rmul__ = _binary(np.multiply), _reflected(np.multiply)
    __truediv__, __rtruediv__ = _binary(np.divide), _reflected(np.divide)
    __pow__, __rpow__ = _binary(np.power), _reflected(np.power)
    __mod__, __rmod__ = _binary(np.remainder), _reflected(np.remainder)
    __matmul__, __rmatmul__ = _binary(np.matmul), _reflected(np.matmul)
    __neg__, __pos__, __abs__ = _unary(np.negative), _unary(np.positive), _unary(np.absolute)
    __lt__, __le__ = _compare(np.less), _compare(np.less_equal)
    __gt__, __ge__ = _compare(np.greater), _compare(np.greater_equal)
    __eq__, __ne__ = _compare(np.equal), _compare(np.not_equal)
    __hash__ = object.__hash__  # identity, as == compares values

    # methods under NumPy's names

    abs, sign, sqrt, square = map(_unary, (np.absolute, np.sign, np.sqrt, np.square))
    exp, expm1, log, log1p = map(_unary, (np.exp, np.expm1, np.log, np.log1p))
    sin, cos, tan = map(_unary, (np.sin, np.cos, np.tan))
    arcsin, arccos, arctan = map(_unary, (np.arcsin, np.arccos, np.arctan))
    sinh, cosh, tanh = map(_unary, (np.sinh, np.cosh, np.tanh))
    arcsinh, arccosh, arctanh = map(_unary, (np.arcsinh, np.arccosh, np.arctanh))
    var, std = _method(np.var), _method(np.std)
    cumsum, cumprod = _method(np.cumsum), _method(np.cumprod)
    ravel, squeeze, expand_dims = map(_method, (np.ravel, np.squeeze, np.expand_dims))
    moveaxis, broadcast_to = _method(np.moveaxis), _method(np.broadcast_to)
    flip, roll, tile, repeat = map(_method, (np.flip, np.roll, np.tile, np.repeat))
    split, unstack, take = map(_method, (np.split, np.unstack, np.take))
    dot, diagonal, trace = map(_method, (np.dot, np.diagonal, np.trace))
    maximum, minimum = _method(np.maximum), _method(np.minimum)
    argsort, nonzero, any, all = map(_method, (np.argsort, np.nonzero, np.any, np.all))

    def reshape(self, *shape: Any) -> Tensor:
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return apply(np.reshape, self, shape=shape)

    def transpose(self, *axes: Any) -> Tensor:
        axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return apply(np.transpose, self, axes=axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return apply(np.swapaxes, self, axis1=axis1, axis2=axis2)

    def astype(self, dtype: DTypeLike) -> Tensor:
        return apply(np.astype, self, dtype=np.dtype(dtype))

    def copy(self) -> Tensor:
        return apply(np.copy, self)

    def flatten(self) -> Tensor:
        return np.ravel(self)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(np.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(np.mean, self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(np.max, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(np.min, self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(np.prod, self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None) -> Any:
        return self._data.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        return self._data.argmin(axis)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        return np.clip(self, min, max)

    def pow(self, exponent: Any) -> Tensor:
        return self**exponent


def _index(index: Any) -> Any:
    """An index whose arrays belong to the graph: later edits outside do not reach it."""
    if isinstance(index, (int, slice)):
        return index
    if isinstance(index, Tensor):
        return index._value()
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return np.array(index, dtype=None if len(index) else int) if isinstance(index, list) else _own(
        index)


def _into(out: Any, result: Any, name: str) -> Any:
    """``out=``: the result becomes the new version of a Tensor; an array cannot hold a graph."""
    if isinstance(out, Tensor):
        out[...] = result
        return out
    if isinstance(result, Tensor) and result._node is not None:
        raise TypeError(f"{name}: the array given as out= (or on the left of +=) cannot hold a"
                        " gradient: write a = a + t, or make it with np.zeros_like(t)")
    out[...] = _plain(result)
    return out


_ALONE = Tensor(0.0)._holders()

for _name, _fn in vars(Tensor).items():
    if _fn.__doc__ is None and not _name.startswith("_"):
        _fn.__doc__ = f"See ``{'np' if hasattr(np, _name) else 'np.ndarray'}.{_name}``."
