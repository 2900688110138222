"""Tensor: a value and its gradient, and ``apply``, where every operation ends.

``np.tanh(t)``, ``t @ w``, ``np.concatenate([t, u])`` all end in ``apply(fn, *arrays, **metadata)``,
which runs ``fn`` on the arrays and, where a gradient is wanted, records a node of the graph
(``graph.py``). Operators and methods (``operators.py``) call it themselves; NumPy's functions come
through its protocols (``protocols.py``).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Self, TypeAlias, Union

import numpy as np
from numpy.typing import DTypeLike

from .derived.table import beside
from .errors import OTHERS, explained, kind_of, refuse_what_is_gone
from .grad_mode import enable_grad, no_grad_blocks
from .graph import Node, pieces_of, propagate, record
from .operators import Operators
from .primitive import RULES, Function, Primitive, own
from .rules import write
from .show import array_html

__all__ = ["Tensor", "apply", "beside", "from_dlpack", "host"]

Array: TypeAlias = Union["Tensor", np.ndarray]
Axis: TypeAlias = int | tuple[int, ...] | None


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
            values.append(a._value() if a._exposed else a._held)
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
        raise explained(error, primitive.name.lstrip("_"), values, meta) from None
    if type(out) is not np.ndarray:
        if isinstance(out, (list, tuple)):
            return _several(primitive, args, values, parents, needs, meta, out)
        if isinstance(out, np.generic):
            out = out[...]  # type: ignore[index]
        elif isinstance(out, OTHERS) or not hasattr(out, "__array_function__"):
            raise TypeError(f"{primitive.name}: {kind_of(out)} came, wanted np.ndarray")
    dtype = out.dtype
    if not needs or dtype.kind != "f" or no_grad_blocks.get():
        if dtype.kind not in "fiub":
            raise TypeError(f"{primitive.name}: real numbers are wanted, not the {dtype} that came")
        return _wrap(out, None)
    node = record(primitive, args, values, parents, needs, meta, out, out.shape, dtype)
    return _wrap(out, node)


def _several(primitive: Primitive, args: Any, values: list[Any], parents: Any, needs: int,
             meta: dict[str, Any], pieces: Any) -> list[Tensor]:
    pieces = list(map(_array, pieces))
    if not needs or no_grad_blocks.get():
        return [_wrap(piece, None) for piece in pieces]
    shapes = [piece.shape for piece in pieces]
    whole = record(primitive, args, values, parents, needs, meta, None, shapes, values[0].dtype)
    return list(map(_wrap, pieces, pieces_of(whole, pieces)))


def _wrap(array: Any, node: Node | None) -> Tensor:
    t = _new(Tensor)
    t._held, t._node, t._exposed = array, node, False
    return t


_new = object.__new__


def _array(x: Any) -> Any:
    """NumPy gives scalars where an array has no axes: an array again."""
    return x[...] if isinstance(x, np.generic) else x  # type: ignore[index]


def plain(x: Any) -> Any:
    """The array behind a Tensor, an array as it is (of any library), or an array of numbers."""
    if isinstance(x, Tensor):
        return x._value()
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def host(x: Any) -> np.ndarray:
    """The array of NumPy's with the values of a Tensor or of an array of any library."""
    x = plain(x)
    return x if isinstance(x, np.ndarray) or not hasattr(x, "get") else x.get()


def cotangents(name: str, output: Tensor, g: Any, targets: set[Node] | None, retain: bool,
               create_graph: bool) -> dict[Node, Tensor]:
    """The backward pass of ``graph.propagate`` from a Tensor, and Tensors as it finds them.

    ``g``: the cotangent of ``output``, an array or Tensor of its shape; None: 1 for a scalar.
    """
    if output._node is None:
        raise RuntimeError(f"{name}: this Tensor of shape {output.shape} does not require grad")
    if g is None:
        if output.size != 1:
            raise RuntimeError(f"{name}: a Tensor of shape {output.shape} is no scalar: pass its"
                               " cotangent, an array of that shape")
        g = np.ones_like(output._held)
    else:
        if np.shape(g) != output.shape:
            raise ValueError(f"{name}: cotangent of shape {np.shape(g)} for an output of shape"
                             f" {output.shape}")
        if not isinstance(g, Tensor):
            g = own(g) if hasattr(g, "shape") else beside(np.array(g), output)
        g = np.astype(g, output.dtype) if g.dtype != output.dtype else g
    with enable_grad():
        if create_graph:
            g = g if isinstance(g, Tensor) else _wrap(g, None)
            return propagate(output._node, g, targets, retain, _wrap)
        found = propagate(output._node, plain(g), targets, retain)
    return {node: _wrap(_array(c), None) for node, c in found.items()}


def from_dlpack(array: Any) -> Tensor:
    """A Tensor of the values of any array that speaks DLPack (PyTorch, JAX, CuPy, ...), copied.

    Shape and dtype stay. BufferError for a Tensor that requires grad, AttributeError for what does
    not speak DLPack; what NumPy cannot hold (bfloat16, memory of a GPU) is NumPy's own error.
    """
    return Tensor(np.from_dlpack(array))


class Tensor(Operators):
    """An array whose operations are recorded, so that gradients can flow back through them.

    Args:
        data: anything ``np.array`` takes, of any shape and real dtype, or a Tensor. It is copied: a
            Tensor is a value, and no later edit of ``data`` reaches it.
        requires_grad: make it a leaf: ``backward`` stores its gradient in ``.grad``.

    Raises TypeError for anything but real numbers, and for ``requires_grad`` on anything but
    floating-point ones.
    """

    __slots__ = ("__weakref__", "_exposed", "_held", "_node")
    _held: Any  # an array of NumPy, or of a library that follows its protocols
    _node: Any

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data._held
        if isinstance(data, np.ma.MaskedArray):
            raise TypeError("Tensor: a masked array came, whose mask would be lost: fill it first")
        if isinstance(data, np.matrix):
            data = np.asarray(data)  # its * is another product
        try:
            data = _array(data.copy() if hasattr(data, "__array_function__") else np.array(data))
        except ValueError:
            raise ValueError(f"Tensor: the {type(data).__name__} that came is no array: its rows"
                             " differ in length or depth") from None  # fmt: skip
        if data.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: real numbers are wanted, {data.dtype} came")
        self._held, self._node, self._exposed = data, None, False
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
        self._node = Node(self.shape, self.dtype) if wanted else None

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
                self._held = self._held.copy()
            self._exposed = True
        return self._held

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._held:
            value = value._held if isinstance(value, Tensor) else value
            value = np.array(value, dtype=self.dtype) if not hasattr(
                value, "__array_function__") else value.astype(self.dtype)
            if self._node is not None and value.shape != self.shape:
                raise ValueError(f"data: shape {value.shape} for a Tensor of shape {self.shape}")
            self._held, self._exposed = value, False

    def _alone(self) -> bool:
        """Whether nothing else holds the array or its memory (as ndarray.resize asks)."""
        return getattr(self._held, "base", None) is None and self._holders() <= _ALONE

    def _holders(self) -> int:
        return sys.getrefcount(self._held)

    def _value(self) -> Any:
        """The array for a call. While someone outside holds it, the graph gets a copy."""
        if self._exposed:
            if not self._alone():
                return self._held.copy()
            self._exposed = False
        return self._held

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor")
        return iter(apply(np.unstack, self) if len(self) else ())

    def __repr__(self) -> str:
        text = repr(self._held).removeprefix("array(").removesuffix(")")
        text = text.replace("\n", "\n ")  # rows stand below each other: "Tensor(" is longer
        if self._node is not None:
            fn = self._node.fn
            text += ", requires_grad=True" if fn is None else (
                f", from={(getattr(fn, 'name', '') or fn.__name__).lstrip('_')}")
        return f"Tensor({text})"

    def _repr_html_(self) -> str:
        fn = self._node and self._node.fn
        kind = type(self).__name__ + (f" from {getattr(fn, 'name', fn.__name__)}" if fn else "")
        return array_html(self._held, kind)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(str(self), spec)

    # out of the graph

    def detach(self) -> Tensor:
        """The same value, cut from the graph."""
        return _wrap(self._value(), None)

    def numpy(self) -> np.ndarray:
        """The value as an array, cut from the graph (see ``data``)."""
        return self.data

    def item(self, *index: Any) -> Any:
        """The value of a Tensor of one element, or of the element at an index, as a Python number;
        ValueError for more."""
        if self.size != 1 and not index:
            raise ValueError(f"item: one element is wanted, a Tensor of shape {self.shape} came")
        return self._held.item(*index)

    def tolist(self) -> Any:
        """The values as numbers in nested lists."""
        return self._held.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if self._node is not None:
            raise RuntimeError("np.asarray of a Tensor that requires grad (np.array, a[i]=t, np.r_,"
                               " np.ma take it, too) would cut the graph: use .detach(), .numpy(),"
                               " join Tensors by np.stack([...]), fill np.zeros_like(t, shape=...)")
        if copy is False and dtype not in (None, self.dtype):
            raise ValueError("np.asarray: another dtype needs a copy")
        return np.array(self._held, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory itself, as ``data`` hands it out: for ``np.from_dlpack(t)`` and the like of
        other libraries. BufferError for a Tensor that requires grad."""
        if self._node is not None:
            raise BufferError("DLPack of a Tensor that requires grad would cut the graph in"
                              " silence: use .detach()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._held.__dlpack_device__()

    def __float__(self) -> float:
        if self._node is not None:
            raise RuntimeError("float of a Tensor that requires grad would cut the graph: use"
                               " .item() or .detach(); np.zeros_like(t) is an array to be filled,"
                               " np.stack([...]) one of Tensors")
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self._held[()])

    def __bool__(self) -> bool:
        return bool(self._held)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """For copy and pickle: a leaf of its own, of the same class, with what else it holds."""
        if not self.is_leaf:
            raise TypeError("a Tensor with a graph cannot be copied or pickled: detach it first")
        state = object.__reduce_ex__(self, max(2, protocol))[2]
        more, slots = state if isinstance(state, tuple) else (state, {})
        slots = {name: value for name, value in slots.items() if name not in Tensor.__slots__}
        return _rebuilt, (type(self), self._held, self.requires_grad), (more, slots)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf of its own that carries a copy of ``.grad``, as in PyTorch."""
        make, values, (more, slots) = self.__reduce_ex__(2)
        other: Self = make(*values)
        memo[id(self)] = other
        for name, value in {**(more or {}), **slots}.items():
            setattr(other, name, deepcopy(value, memo))
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
        found = cotangents("backward", self, grad, None, retain_graph or create_graph,
                           create_graph)
        for node, c in found.items():
            held = node.grad
            if held is not None and not create_graph:
                c = _wrap(_array(held._value() + c._held), None)
            elif held is not None:
                with enable_grad():
                    c = held + c
            node.grad = c

    # what the protocols find here

    __primitive__ = staticmethod(apply)
    _wrap = staticmethod(_wrap)

    # indexing

    def __getitem__(self, index: Any) -> Tensor:
        return apply(operator.getitem, self, _index(index, self._held))

    def __setitem__(self, index: Any, value: Any) -> None:
        """A new version of this Tensor; graphs made before keep the old one."""
        refuse_what_is_gone(self)
        if self._node is not None and self._node.fn is None and not no_grad_blocks.get():
            raise RuntimeError("t[i] = v: a leaf that requires grad came: write into a copy of it")
        index = _index(index, self._held)
        node = None
        needs = (value._node is not None) if isinstance(value, Tensor) else False
        if (needs or self._node is not None) and not no_grad_blocks.get():
            if self.dtype.kind != "f":
                raise TypeError(f"t[i] = v: a Tensor of {self.dtype} cannot hold a gradient")
            parents = [value._node if needs else None, self._node, None]
            args = plain(value), self, index
            node = record(RULES[write], args, args, parents, needs | (self._node is not None) << 1,
                          {}, None, self.shape, self.dtype)
        value = value._value() if isinstance(value, Tensor) else value
        buffer = self._held if self._alone() else self._held.copy()
        if type(buffer) is np.ndarray is not type(value) and hasattr(value, "__array_function__"):
            buffer = np.array(buffer, like=value)  # it goes to where what is written lies
        try:
            buffer[index] = value
        except (TypeError, ValueError, IndexError) as error:
            raise explained(error, "t[i] = v", [self._held, plain(value)], {}) from None
        self._held, self._exposed = buffer, False
        if not (no_grad_blocks.get() and self._node is not None):
            self._node = node


def _rebuilt(cls: type[Tensor], data: Any, requires_grad: bool) -> Tensor:
    t = object.__new__(cls)
    t._held, t._node, t._exposed = data.copy(), None, False
    t.requires_grad = requires_grad
    return t


def _index(index: Any, like: Any) -> Any:
    """An index whose arrays belong to the graph: later edits outside do not reach it. They are
    where the indexed array is."""
    if isinstance(index, (int, slice)):
        return index
    if isinstance(index, Tensor):
        return beside(index._value(), like)
    if isinstance(index, tuple):
        return tuple(_index(list(i) if isinstance(i, tuple) else i, like) for i in index)
    if isinstance(index, list):
        return beside(np.array(index, dtype=None if len(index) else int), like)
    return beside(own(index), like)


_ALONE = Tensor(0.0)._holders()
