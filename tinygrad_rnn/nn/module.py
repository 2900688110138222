"""Module: an object that finds its parameters by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from ..errors import Named
from ..show import tree_html
from ..tensor import Tensor, beside, host, plain

__all__ = ["Buffer", "Module", "Parameter", "Sequential"]

P = ParamSpec("P")  # what ``forward`` takes and gives is what a call takes and gives
R = TypeVar("R", covariant=True)


class Parameter(Tensor):
    """A leaf Tensor that requires grad, of any shape: what an optimizer updates. It holds a copy of
    ``data``. TypeError for anything but floats."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data, requires_grad=True)


class Buffer(Tensor):
    """A Tensor of any shape that belongs to a Module's state without being trained, such as a
    running mean: it is in the state dict. It holds a copy of ``data``. What is set in its place is
    kept as a Buffer, too, cut from any graph."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data)


_OF_PYTORCH = {"weight": "W", "bias": "b", "cuda": "to(cupy)", "cpu": "to(np)",
               "float": "dtype= of its making", "double": "dtype= of its making"}  # fmt: skip


class _Forward(Protocol[P, R]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Module(Named):
    """Base of cells, layers and models: define ``forward``, and set parameters as attributes.

    Parameters are the leaf Tensors that require grad among the attributes, in the order in which
    they were set, also inside modules, lists, tuples and dicts. One that stands in two places
    counts once, by identity, under its first name. A state is not a parameter, and neither is a
    Buffer, which is kept with them in the state dict.

    ``module(...)`` calls ``forward``; NotImplementedError if there is none. ``repr`` shows all of
    it as a tree. TypeError for an array, or anything but a Tensor or None, in the place of a
    parameter: that would take it out of training without a word.
    """

    training = True

    if not TYPE_CHECKING:  # to a type checker a name that is not there is an error

        def __getattr__(self, name):
            if name not in _OF_PYTORCH:
                return object.__getattribute__(self, name)  # the error in Python's words
            raise AttributeError(f"{type(self).__name__}.{name}: no such attribute; here it is"
                                 f" {_OF_PYTORCH[name]}", name=name, obj=self)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self: _Forward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return self.forward(*args, **kwargs)

    if not TYPE_CHECKING:  # a type checker would take it to allow attributes of any name

        def __setattr__(self, name: str, value: Any) -> None:
            held = vars(self).get(name)
            if isinstance(held, Buffer) and not (value is None or isinstance(value, Buffer)):
                value = Buffer(plain(value))
            elif _is_parameter(held) and not (value is None or _is_parameter(value)) and not (
                    isinstance(value, Tensor) and value.requires_grad):  # fmt: skip
                came = ("a Tensor that requires no grad" if isinstance(value, Tensor)
                        else type(value).__name__)  # it would be trained no more, without a word
                raise TypeError(f"{type(self).__name__}.{name}: {came} in the place of a parameter;"
                                " wanted a Parameter, a Tensor of a graph, or None: to give it"
                                f" other values, write {name}.data = ...")
            super().__setattr__(name, value)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(name, Parameter) pairs; names are paths such as ``encoder.lstm.cells.0.Wx``."""
        return _once(self, _is_parameter)

    def parameters(self) -> list[Tensor]:
        """All parameters, as a list."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(name, Buffer) pairs, as in ``named_parameters``."""
        return _once(self, lambda value: isinstance(value, Buffer))

    def buffers(self) -> list[Buffer]:
        """All buffers, as a list."""
        return [b for _, b in self.named_buffers()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(name, Module) pairs: this one, whose name is "", and all inside it, each once."""
        yield "", self
        for name, module in _once(self, lambda value: isinstance(value, Module)):
            if module is not self:
                yield name, module

    def modules(self) -> list[Module]:
        """This module and all inside it."""
        return [module for _, module in self.named_modules()]

    def __repr__(self) -> str:
        return "\n".join(_tree(self, "", {}))

    def _repr_html_(self) -> str:
        return tree_html(list(_tree(self, "", {})))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as arrays of NumPy's, by name."""
        return {name: np.copy(host(t)) for name, t in self._named_state()}

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        return _once(self, lambda value: isinstance(value, Tensor))

    def load_state_dict(self, arrays: Mapping[str, Any]) -> None:
        """Take over arrays by name, in the dtype of the parameters. KeyError for names that are
        missing or unknown, ValueError for another shape, TypeError for what holds no real numbers;
        an error leaves everything as it was."""
        ours = dict(self._named_state())
        kind = f"{type(self).__name__}.load_state_dict"
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{kind}: a {type(arrays).__name__} came, wanted arrays by name")
        missing, unknown = ours.keys() - arrays.keys(), arrays.keys() - ours.keys()
        if missing or unknown:
            raise KeyError(f"{kind}: missing {sorted(missing)}, unknown {sorted(unknown)}")
        new = {}
        for name, t in ours.items():
            array = plain(arrays[name])
            if array.shape != t.shape:
                raise ValueError(f"{kind}: {name} of shape {array.shape}, wanted {t.shape}")
            if array.dtype.kind not in "fiub":
                raise TypeError(f"{kind}: {name} of {array.dtype}, wanted real numbers")
            new[name] = np.astype(array, t.dtype)
        for name, t in ours.items():
            t.data[...] = beside(new[name], t.data)

    def to(self, library: Any) -> Self:
        """Move all parameters and buffers to where the arrays of a library are: ``model.to(cupy)``
        to a GPU, ``model.to(np)`` back. Gradients are forgotten, states reset; an optimizer is made
        afterwards. The library has ``asarray``, and takes part in NumPy's protocols."""
        if not hasattr(library, "asarray"):
            raise TypeError(f"{type(self).__name__}.to: {library!r} came, wanted a library of"
                            " arrays, such as np or cupy")
        for _, t in self._named_state():
            t.data = library.asarray(host(t))
            t.grad = None
        for module in self.modules():
            if hasattr(module, "reset_state"):
                module.reset_state()
        return self

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


class Sequential(Module):
    """Modules, or functions such as ``np.tanh``, one after the other: x, of any shape, goes through
    the first, what that gives through the next, and so on. Of a layer that also gives its state,
    such as LSTM, the next one gets the outputs; the last one's result comes back as it is.

    ``model[i]`` and ``len(model)`` are as in a list. PyTorch's container; chapter 1 has the book's.
    TypeError for what cannot be called.
    """

    def __init__(self, *layers: Any) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"Sequential: layer {i} is a {type(layer).__name__}, which cannot"
                                " be called; wanted modules or functions")
        self.layers = list(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Any:
        return self.layers[i]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def forward(self, x: Any) -> Any:
        for i, layer in enumerate(self.layers):
            if i and isinstance(x, tuple):
                x = x[0]
            x = layer(x)
        return x


def _is_parameter(value: Any) -> bool:
    return isinstance(value, Parameter) or (
        isinstance(value, Tensor) and value.requires_grad and value.is_leaf)


def _children(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The modules, parameters and buffers in ``value`` itself, with their names."""
    if isinstance(value, Module):
        items: Iterable[tuple[Any, Any]] = vars(value).items()
    elif isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value)
    for key, item in items:
        path = f"{name}.{key}" if name else str(key)
        if _is_parameter(item) or isinstance(item, (Buffer, Module)):
            yield path, item
        elif isinstance(item, (list, tuple, dict)):
            yield from _children(item, path)


def _walk(module: Module, name: str, walked: dict[int, Module]) -> Iterator[tuple[str, Any]]:
    """Those in a module and in all modules inside it; into each module once."""
    walked[id(module)] = module
    for path, item in _children(module, name):
        yield path, item
        if isinstance(item, Module) and id(item) not in walked:
            yield from _walk(item, path, walked)


def _once(module: Module, wanted: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """What is wanted below a module, each thing under its first name."""
    seen = set()
    for name, value in _walk(module, "", {}):
        if wanted(value) and id(value) not in seen:
            seen.add(id(value))
            yield name, value


def count(module: Module) -> int:
    """How many numbers the parameters of a module hold."""
    return sum(p.size for p in module.parameters())


def described(module: Module) -> str:
    """What a module is, and its settings, other than those that are off."""
    settings = ", ".join(f"{k}={v!r}" for k, v in vars(module).items()
                         if k != "training" and isinstance(v, (bool, int, float, str))
                         and not (isinstance(v, (bool, float)) and not v))
    return type(module).__name__ + (f"({settings})" if settings else "")


def _tree(module: Module, label: str, shown: dict[int, str], path: str = "") -> Iterator[str]:
    """The lines of ``repr``; ``shown``: under which name what has been shown."""
    n = count(module)
    yield label + described(module) + (f", {n:,} parameter{'s' * (n != 1)}" if n else "")
    for name, item in _children(module, ""):
        first = shown.setdefault(id(item), path + name)
        if first != path + name:
            yield f"  {name}: shared with {first}"
        elif isinstance(item, Module):
            yield from (f"  {line}" for line in _tree(item, f"{name}: ", shown, f"{path}{name}."))
        else:
            kept = " buffer" if isinstance(item, Buffer) else " frozen"
            kind = "" if item.requires_grad else kept
            yield f"  {name} {item.shape} {item.dtype}{kind}"
