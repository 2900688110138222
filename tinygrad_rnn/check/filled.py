"""Arrays that a forward creates and fills, as it would fill NumPy's: what is written into a row of
one is in it.

A Tensor is a value, and a part of it is one of its own. Here a part knows which elements it has, so
that ``out[n][m] = s``, ``row = out[n]; row += s`` and ``np.add(a, b, out=out[n])`` write into the
whole, also in ``for row in out`` and through ``out.T`` or ``out.reshape(-1)``.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["Filled", "filling"]

_getitem, _setitem = Tensor.__getitem__, Tensor.__setitem__


class Filled(Tensor):
    """A Tensor, or a part of one: of which ``whole``, and where each of its elements is in it."""

    whole: Tensor | None = None
    positions: np.ndarray | None = None
    parts: tuple[weakref.ref[Filled], ...] = ()  # of a whole that is one of these, too

    def become(self, other: Tensor) -> None:
        self._held, self._node, self._exposed = other._held, other._node, other._exposed

    def read(self, whole: Tensor) -> None:
        """Of a part: what stands there now."""
        if self.positions is not None:
            self.become(_getitem(whole, np.unravel_index(self.positions, whole.shape)))

    def __getitem__(self, index: Any) -> Any:
        return part(self, lambda x: x[index], _getitem(self, index))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        whole = self if self.whole is None else self.whole
        if whole is not self and self.positions is not None:
            index = np.unravel_index(self.positions[index], whole.shape)
        _setitem(whole, index, value)
        if isinstance(whole, Filled):
            parts = [(ref, part) for ref in whole.parts if (part := ref()) is not None]
            whole.parts = tuple([ref for ref, _ in parts])
            for _, part in parts:
                part.read(whole)
        else:
            self.read(whole)

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        return part(self, lambda x: x.reshape(*shape, **kwargs), super().reshape(*shape, **kwargs))

    def ravel(self, *args: Any, **kwargs: Any) -> Any:
        return part(self, lambda x: x.ravel(*args, **kwargs), super().ravel(*args, **kwargs))

    def transpose(self, *axes: Any) -> Any:
        return part(self, lambda x: x.transpose(*axes), super().transpose(*axes))

    @property
    def T(self) -> Any:
        return self.transpose()


def part(t: Tensor, view: Callable[[Any], Any], made: Any) -> Any:
    """``made``, which is ``view`` of ``t``, as a part of it, if NumPy's would be a view."""
    known = t.positions if isinstance(t, Filled) else None
    positions = np.arange(t.size).reshape(t.shape) if known is None else known
    try:
        seen = view(positions)
    except Exception:  # an index that holds Tensors
        return made
    if not made.ndim or not np.may_share_memory(seen, positions):
        return made
    new = object.__new__(Filled)
    new.whole = t if not isinstance(t, Filled) or t.whole is None else t.whole
    new.positions = seen
    new.become(made)
    if isinstance(new.whole, Filled):
        new.whole.parts += (weakref.ref(new),)
    return new


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Rows of any Tensor are parts of it inside the block."""
    tensor: Any = Tensor
    kept = tensor.__getitem__, tensor.__iter__
    tensor.__getitem__ = lambda t, index: part(t, lambda x: x[index], _getitem(t, index))
    tensor.__iter__ = lambda t: (t[i] for i in range(len(t)))
    try:
        yield
    finally:
        tensor.__getitem__, tensor.__iter__ = kept


def _in_place(name: str) -> Callable[[Filled, Any], Filled]:
    def method(self: Filled, other: Any) -> Filled:
        self[...] = getattr(Tensor, name)(self, other)
        return self

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Filled, f"__i{_name}__", _in_place(f"__i{_name}__"))
