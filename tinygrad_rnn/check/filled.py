"""Arrays that a forward creates and fills, as it would fill NumPy's: what is written into a row of
one is in it.

A Tensor is a value, and a part of it is one of its own. Here a part knows which elements it has, so
that ``out[n][m] = s``, ``row = out[n]; row += s`` and ``np.add(a, b, out=out[n])`` write into the
whole, also in ``for row in out`` and through ``out.T`` or ``out.reshape(-1)``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["Filled"]


class Filled(Tensor):
    """A Tensor, or a part of one: of which ``whole``, and where each of its elements is in it."""

    whole: Filled | None = None
    positions: np.ndarray | None = None

    def part(self, view: Callable[[Any], Any], made: Tensor) -> Any:
        """``made``, which is ``view`` of this Tensor, as a part, if NumPy's would be a view."""
        if self.positions is None:
            self.positions = np.arange(self.size).reshape(self.shape)
            self.parts: list[weakref.ref[Filled]] = []  # of a whole
        try:
            positions = view(self.positions)
        except Exception:  # an index that holds Tensors
            return made
        if not made.ndim or not np.may_share_memory(positions, self.positions):
            return made
        new = object.__new__(Filled)
        new.whole, new.positions = self if self.whole is None else self.whole, positions
        new.become(made)
        new.whole.parts.append(weakref.ref(new))
        return new

    def become(self, other: Tensor) -> None:
        self._held, self._node, self._exposed = other._held, other._node, other._exposed

    def __getitem__(self, index: Any) -> Any:
        return self.part(lambda x: x[index], super().__getitem__(index))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        whole, positions = self.whole, self.positions
        if whole is None:
            super().__setitem__(index, value)
            whole = self
        elif positions is not None:
            Tensor.__setitem__(whole, np.unravel_index(positions[index], whole.shape), value)
        if whole.positions is not None:
            parts = [(ref, part) for ref in whole.parts if (part := ref()) is not None]
            whole.parts = [ref for ref, _ in parts]
            for _, part in parts:
                there = np.unravel_index(part.positions, whole.shape)
                part.become(Tensor.__getitem__(whole, there))

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        return self.part(lambda x: x.reshape(*shape, **kwargs), super().reshape(*shape, **kwargs))

    def ravel(self, *args: Any, **kwargs: Any) -> Any:
        return self.part(lambda x: x.ravel(*args, **kwargs), super().ravel(*args, **kwargs))

    def transpose(self, *axes: Any) -> Any:
        return self.part(lambda x: x.transpose(*axes), super().transpose(*axes))

    @property
    def T(self) -> Any:
        return self.transpose()


def _in_place(name: str) -> Callable[[Filled, Any], Filled]:
    def method(self: Filled, other: Any) -> Filled:
        self[...] = getattr(Tensor, name)(self, other)
        return self

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Filled, f"__i{_name}__", _in_place(f"__i{_name}__"))
