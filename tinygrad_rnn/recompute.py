"""``checkpoint``: a call of which the graph keeps the arguments alone, and which runs again for the
backward pass: less memory for more time. Chen, Xu, Zhang & Guestrin (2016).

The first run records its graph as ever. Then one node takes the place of all its nodes: its parents
are what the call read from before it (arguments, and what came by a closure, as weights), and its
rule runs the function again, and goes back through the graph of that as far as these parents. It
does so on arrays, or, where gradients are recorded themselves, on Tensors: so it has all orders.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from . import random
from .grad_mode import no_grad_blocks
from .graph import Node, ancestry, births, pieces_of, propagate
from .jit.state import rebuilt, walk
from .primitive import Primitive, own
from .tensor import Tensor, _wrap

__all__ = ["checkpoint"]

P = ParamSpec("P")
R = TypeVar("R")


def checkpoint(f: Callable[P, R], *arguments: Any) -> Callable[P, R]:
    """``f``, of which nothing is kept for backward but arguments and results: it runs again there.

    Args:
        f: a function of arrays, Tensors and other values, or a Module, that gives Tensors, alone or
            in tuples, lists and dicts. It must give the same when it runs again. Generators that it
            reaches (for dropout) are put back for that; whatever else it changes it changes twice.

    Gradients are those of ``f``, of any order; where several calls read one weight, it gets one sum
    of each of them. Within ``no_grad``, and under ``tg.jit``, which plans memory itself, it is
    plain ``f``. In backward, RuntimeError where ``f`` gives something else than at first, because
    what it reads was changed in between. TypeError for arguments of ``f``, which come afterwards.
    """
    if arguments:
        raise TypeError("checkpoint: the function alone is wanted, and then its arguments:"
                        " checkpoint(f)(x)")

    @functools.wraps(f, updated=())
    def checkpointed(*args: P.args, **kwargs: P.kwargs) -> R:
        if idle():
            return f(*args, **kwargs)
        held = _held([args, kwargs])
        generators = [place.get() for place in walk(f, [list(args), kwargs]).generators]
        before, start = _states(generators), next(births)
        out = f(*args, **kwargs)
        made = [y._node is not None and y._node.birth >= start and y._node.fn is not None
                for y in _tensors(out)]
        ys = [y for y, new in zip(_tensors(out), made, strict=True) if new]
        sums = [_sum(y) for y in ys]

        def again(gs: Any, _y: Any, *parents: Any) -> list[Any]:
            args, kwargs = _held(held)
            now, start = _states(generators), next(births)
            _put(generators, before)
            try:
                results = _tensors(f(*args, **kwargs))
            finally:
                _put(generators, now)
            ys = [y for y, new in zip(results, made, strict=False) if new]
            if [_sum(y) for y in ys] == sums:
                root = _joined(ys, gs)
                if {n for n in ancestry(root, start) if n.birth < start} <= set(parents):
                    wrap = _wrap if any(isinstance(g, Tensor) for g in gs) else None
                    found = propagate(root, gs, set(parents), wrap is not None, wrap, start)
                    return [found.get(node) for node in parents]
            raise RuntimeError("checkpoint: the function gives something else when it runs again"
                               " for backward: what it reads was changed in between (a parameter,"
                               " a state, a counter), or it draws from a generator that cannot be"
                               " found")

        if ys:
            parents = tuple(n for n in ancestry(_joined(ys, ys), start) if n.birth < start)
            primitive = Primitive(checkpointed, (again,), lambda *_: None, sequence=True)
            whole = Node([y.shape for y in ys], ys[0].dtype, primitive, parents, {}, parents, None)
            for y, node in zip(ys, pieces_of(whole, ys), strict=True):
                y._node = node
        return out

    checkpointed.__name__ = "checkpoint"
    return checkpointed


def idle() -> bool:
    """Whether checkpoints do nothing here."""
    return no_grad_blocks.get() > 0 or random.recording.get() is not None


def _states(generators: Sequence[np.random.Generator]) -> Any:
    return [g.bit_generator.state for g in generators], random.state()


def _put(generators: Sequence[np.random.Generator], states: Any) -> None:
    for g, state in zip(generators, states[0], strict=True):
        g.bit_generator.state = state
    random.restore(states[1])


def _joined(ys: Sequence[Tensor], gs: Sequence[Any]) -> Node:
    """A node that hands its cotangents ``gs`` on to ``ys``."""
    nodes = tuple(y._node for y in ys)
    return Node([y.shape for y in ys], None, _HAND_ON, nodes, {}, nodes, None)


_HAND_ON = Primitive(list, (lambda gs, _y, *_nodes: gs,), sequence=True)


def _held(x: Any) -> Any:
    """Arguments as they are now: no later edit of them reaches these."""
    if isinstance(x, Tensor):
        return _wrap(x._value(), x._node)
    if isinstance(x, np.ndarray):
        return own(x)
    if isinstance(x, (tuple, list)):
        return rebuilt(x, [_held(item) for item in x])
    return {k: _held(v) for k, v in x.items()} if type(x) is dict else x


def _tensors(x: Any) -> Iterator[Tensor]:
    """The Tensors in a result, in order."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (tuple, list, dict)):
        for item in x.values() if isinstance(x, dict) else x:
            yield from _tensors(item)


def _sum(y: Tensor) -> Any:
    """Of all bits, to tell whether values are the same; on a device nobody waits for it yet."""
    x = y._held
    if isinstance(x, np.ndarray):
        return zlib.crc32(x.tobytes())
    bits = np.ravel(x).view(f"u{x.itemsize}").astype(np.uint64)
    return np.sum(bits * np.arange(1, 2 * x.size, 2, dtype=np.uint64, like=x))  # modulo 2^64
