"""Module: an object that finds its parameters by walking its attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from ..tensor import Tensor

__all__ = ["Module", "Parameter"]

P = ParamSpec("P")  # what ``forward`` takes and gives is what a call takes and gives
R = TypeVar("R", covariant=True)


class Parameter(Tensor):
    """A leaf Tensor that requires grad, of any shape: what an optimizer updates. It holds a copy of
    ``data``. TypeError for anything but floats."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data, requires_grad=True)


class _Forward(Protocol[P, R]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Module:
    """Base of cells, layers and models: define ``forward``, and set parameters as attributes.

    Parameters are the leaf Tensors that require grad among the attributes, in the order in which
    they were set, also inside modules, lists, tuples and dicts. One that stands in two places
    counts once, by identity, under its first name. A state is not a parameter.

    ``module(...)`` calls ``forward``; NotImplementedError if there is none.
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self: _Forward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return self.forward(*args, **kwargs)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, Parameter) pairs; names are paths such as ``encoder.lstm.cells.0.Wx``."""
        seen = set()
        for name, value in _walk(self, ""):
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> list[Tensor]:
        """All parameters, as a list."""
        return [p for _, p in self.named_parameters()]

    def modules(self) -> list[Module]:
        """This module and all inside it."""
        found = {id(self): self}
        for _, value in _walk(self, ""):
            if isinstance(value, Module):
                found.setdefault(id(value), value)
        return list(found.values())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters as arrays, by name."""
        return {name: np.copy(p.detach().numpy()) for name, p in self.named_parameters()}

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take over arrays by name, in the dtype of the parameters. KeyError for names that are
        missing or unknown, ValueError for another shape; an error leaves everything as it was."""
        ours = dict(self.named_parameters())
        kind = f"{type(self).__name__}.load_state_dict"
        missing, unknown = ours.keys() - arrays.keys(), arrays.keys() - ours.keys()
        if missing or unknown:
            raise KeyError(f"{kind}: missing {sorted(missing)}, unknown {sorted(unknown)}")
        for name, p in ours.items():
            if np.shape(arrays[name]) != p.shape:
                raise ValueError(f"{kind}: {name} of shape {np.shape(arrays[name])}, wanted"
                                 f" {p.shape}")
        for name, p in ours.items():
            p.data[...] = arrays[name]

    def train(self, training: bool = True) -> Self:
        """Switch this module and all inside it to training (dropout on)."""
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Switch this module and all inside it to evaluation (dropout off)."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All modules and parameters below ``value``, with their names."""
    if isinstance(value, Module):
        items: Iterable[tuple[Any, Any]] = vars(value).items()
    elif isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value)
    for key, item in items:
        path = f"{name}.{key}" if name else str(key)
        if isinstance(item, Parameter) or (
            isinstance(item, Tensor) and item.requires_grad and item.is_leaf
        ):
            yield path, item
        elif isinstance(item, Module):
            yield path, item
            yield from _walk(item, path)
        elif isinstance(item, (list, tuple, dict)):
            yield from _walk(item, path)
