"""The graph: a ``Node`` for each recorded call, and the loop that goes back through them.

It knows arrays and nodes only. A Tensor refers to its node; a node refers to the nodes of its
arguments and to arrays, never to a Tensor. So references run one way, from new to old: there are no
cycles, and what nothing refers to is freed at once. To record the backward pass itself, the caller
hands in ``wrap``, which makes a Tensor of an array and its node; then the rules run on Tensors.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .primitive import Erase, Primitive, Product, Scatter, own
from .rules import scatter, write
from .speed import add_at, add_reduce, keep_freed_memory

births = itertools.count()

Wrap: TypeAlias = Callable[[Any, "Node | None"], Any]


class Node:
    """One call: ``fn(*args, **meta)``. A leaf has no ``fn`` and holds the gradient instead.

    ``args`` are arrays, or, where no rule reads one, something that has its shape and dtype.
    ``parents`` are the nodes of the arguments (None: no gradient wanted), and None when freed.
    ``steps`` are the rules to run, as pairs (argument, rule); None: one rule for a sequence.
    ``shape`` is a list of shapes for a call with several outputs; each of them is a ``getitem``
    without steps.
    """

    __slots__ = ("args", "birth", "dtype", "fn", "grad", "meta", "out", "parents", "shape", "steps")

    def __init__(self, shape: Any, dtype: Any, fn: Any = None, args: Any = (), meta: Any = None,
                 parents: Any = (), steps: Any = (), out: Any = None) -> None:
        self.fn, self.args, self.meta, self.parents = fn, args, meta, parents
        self.steps, self.out, self.shape, self.dtype = steps, out, shape, dtype
        self.grad: Any = None
        self.birth = next(births)  # a node is younger than its parents: this orders the graph

    def free(self) -> None:
        self.args = self.parents = self.out = None


# --- recording a call ----------------------------------------------------------------------------


def record(primitive: Primitive, given: Sequence[Any], values: Sequence[Any], parents: Any,
           needs: int, meta: dict[str, Any], out: Any, shape: Any, dtype: Any) -> Node:
    """The node of a call, which keeps alive only what its rules will read.

    ``given``: the arguments as they came; ``values``: the arrays behind them; ``needs``: bit i is
    set where argument i wants a gradient.
    """
    steps, reads_out, reads = primitive.plans.get(needs) or primitive.plan(needs)
    parents = kept = tuple(parents)
    if reads is not None or needs + 1 != 1 << len(parents):
        keep: list[Any] = []
        for a, value, parent, read in zip(given, values, parents, reads or _NONE, strict=False):
            if read:
                keep.append(own(value) if a is value else value)
            elif parent is not None:
                keep.append(parent)
            else:
                keep.append(Node(value.shape, value.dtype) if hasattr(value, "shape") else value)
        kept = tuple(keep)  # one of arrays alone is of no concern to the garbage collector
    return Node(shape, dtype, primitive if steps is None else primitive.fn, kept, meta, parents,
                steps, out if reads_out else None)


_NONE = itertools.repeat(False)


def pieces_of(whole: Node, pieces: Sequence[Any]) -> list[Node]:
    """The nodes of the outputs of a call with several: each takes its cotangent to its place."""
    return [Node(piece.shape, piece.dtype, operator.getitem, (whole, k), {}, (whole, None))
            for k, piece in enumerate(pieces)]


# --- going back ----------------------------------------------------------------------------------


def cast(c: Any, node: Node) -> Any:
    """Undo broadcasting and promotion: the cotangent in the shape and dtype of its argument."""
    if c.shape != node.shape:
        lead = len(c.shape) - len(node.shape)
        assert lead >= 0, f"a rule gave a cotangent of {c.shape} for {node.shape}"
        stretched = [lead + i for i, n in enumerate(node.shape) if n == 1 != c.shape[lead + i]]
        c = np.reshape(add_reduce(c, (*range(lead), *stretched)), node.shape)
    return c if c.dtype == node.dtype else c.astype(node.dtype)


class Sum:
    """The cotangents of a node so far, added up in place in an array of its own (``owned``), and
    products that wait to become one."""

    __slots__ = ("node", "owned", "products", "total")

    def __init__(self, node: Node, first: Any = None, owned: bool = False) -> None:
        self.node, self.total, self.owned = node, first, owned
        self.products: list[Product] = []

    def add(self, c: Any) -> None:
        kind = type(c)
        if kind is Product:
            self.products.append(c)
        elif kind is Scatter:
            if self.total is None and self.products:
                self.value()  # a product is a buffer to add into
            if self.total is None:
                self.total = np.zeros_like(c.g, shape=self.node.shape, dtype=self.node.dtype)
            elif not self.owned:
                self.total = self.total.copy()
            self.owned = True
            add_at(self.total, c.index, c.g)
        elif kind is Sum:
            self.add(c.value())
        elif self.total is None:
            self.total = c
        elif self.owned:
            self.total += c
        else:
            self.total = self.total + c
            self.owned = True

    def value(self) -> Any:
        if self.products:
            # they came in newest first; in the order of time, a stack of them may be at hand (jit)
            lefts = [p.left for p in reversed(self.products)]
            rights = [p.right for p in reversed(self.products)]
            self.products = []
            left, right = (x[0] if len(x) == 1 else np.concatenate(x) for x in (lefts, rights))
            self.add(cast(np.transpose(left) @ right, self.node))
            self.owned = True
        return self.total


def ancestry(node: Node, since: int = 0) -> list[Node]:
    """The node and all that it came from, newest first: a reverse topological order. What was born
    before ``since`` is not looked into."""
    seen, stack = {node}, [node]
    while stack:
        node = stack.pop()
        parents = node.parents if node.birth >= since else ()
        if parents is None:
            raise RuntimeError("backward: an earlier backward has freed this graph; call that one"
                               " with retain_graph=True, or run the forward pass again")
        for parent in parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=operator.attrgetter("birth"), reverse=True)


def propagate(root: Node, seed: Any, targets: set[Node] | None = None, retain: bool = False,
              wrap: Wrap | None = None, since: int = 0) -> dict[Node, Any]:
    """The backward pass from ``root`` with its cotangent ``seed``: cotangents of ``targets`` (None:
    of all leaves), by node. The graph is freed on the way unless ``retain``. See ``ancestry``."""
    keep_freed_memory()
    order = ancestry(root, since)
    wanted = None
    if targets is not None:  # only what lies between the targets and the root
        wanted = set(targets)
        for node in reversed(order):
            if node.birth >= since and any(parent in wanted for parent in node.parents):
                wanted.add(node)
    pending: dict[Node, Any] = {root: seed}
    found: dict[Node, Any] = {}
    for node in order:
        g, owned = pending.pop(node, None), False
        if g is None:
            continue
        if type(g) is Sum:
            if g.total is None and node.fn is np.transpose and targets is None:
                for p in g.products:  # (leftᵀ right)ᵀ = rightᵀ left: a tied weight's stay products
                    _give(node.parents[0], Product(p.right, p.left), pending, wrap)
                if not retain:
                    node.free()
                continue
            g, owned = g.value(), g.owned
        if node.fn is None if targets is None else node in targets:
            found[node] = g if owned and node.fn is None else g.copy()
        if node.fn and (wanted is None or (node.birth >= since and any(
                parent in wanted for parent in node.parents))):
            _step(node, g, owned, pending, wanted, wrap)
            if not retain:
                node.free()
    return found


def _step(node: Node, g: Any, owned: bool, pending: dict[Node, Any], wanted: set[Node] | None,
          wrap: Wrap | None) -> None:
    """Give the parents of one node their share of its cotangent."""
    out, args, parents, meta = node.out, node.args, node.parents, node.meta
    if type(node.shape) is list and node.steps:  # pieces that nobody used
        like = next(piece for piece in g if piece is not None)
        g = [np.zeros_like(like, shape=shape) if piece is None else piece
             for piece, shape in zip(g, node.shape, strict=True)]
    if wrap:  # the same rules, on Tensors
        out = None if out is None else wrap(out, node)
        args = [wrap(a, p) if p is not None and type(a) is not Node else a
                for a, p in zip(args, parents, strict=True)]
    if node.steps == ():  # one of several outputs
        pending.setdefault(args[0], [None] * len(args[0].shape))[args[1]] = g
        return
    if node.steps is None:  # a sequence: one rule for all
        for parent, c in zip(parents, node.fn.vjps[0](g, out, *args, **meta), strict=True):
            if c is not None and parent is not None and (wanted is None or parent in wanted):
                _give(parent, c, pending, wrap)
        return
    for i, vjp in node.steps:
        parent = parents[i]
        if wanted is None or parent in wanted:
            c = vjp(g, out, *args, **meta)
            if type(c) is Erase:
                g, owned = (g if owned or wrap else g.copy()), False
                c = write(0.0, g, c.index) if wrap else _erase(g, c.index, parent)
            _give(parent, c, pending, wrap)


def _erase(g: Any, index: Any, node: Node) -> Sum:
    """Zeros at ``index`` in place: a buffer that T steps fill costs one array, not T."""
    g[index] = 0
    return Sum(node, g, owned=True)


def _give(parent: Node, c: Any, pending: dict[Node, Any], wrap: Wrap | None) -> None:
    """Add one share to what a node has got so far."""
    held, kind = pending.get(parent), type(c)
    if kind is Scatter and wrap:
        c = kind = scatter(c.g, c.index, shape=parent.shape)
    if kind is not Product and kind is not Scatter:
        if kind is not Sum and (c.shape != parent.shape or c.dtype != parent.dtype):
            c = cast(c, parent)
        if held is None:
            pending[parent] = c
            return
    if type(held) is not Sum:
        held = pending[parent] = Sum(parent, held)
    held.add(c)
