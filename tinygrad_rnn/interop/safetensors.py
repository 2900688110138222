"""Weights of any Module in one safetensors file, which any framework can read."""

from __future__ import annotations

from os import PathLike
from typing import TypeVar

from .. import nn
from .layouts import array
from .needs import needed

__all__ = ["load_safetensors", "save_safetensors"]

M = TypeVar("M", bound=nn.Module)


def save_safetensors(module: nn.Module, path: str | PathLike[str]) -> None:
    """Write all parameters of a Module to ``path``, under their names in ``named_parameters``.

    The names are paths of attributes (``encoder.lstm.cells.0.Wx``), and stay what they are as long
    as the attributes do. A parameter that stands in two places is stored once; shapes and dtypes
    are kept. ImportError without safetensors.
    """
    library = needed("safetensors.numpy", "save_safetensors")
    # safetensors writes the memory of an array, whatever its strides say: copy it in order.
    arrays = {name: array(p) for name, p in module.named_parameters()}
    library.save_file(arrays, path)


def load_safetensors(module: M, path: str | PathLike[str]) -> M:
    """Take over the parameters that ``save_safetensors`` wrote; returns the module.

    Raises KeyError or ValueError, and changes nothing, if names or shapes differ from those of the
    module (``Module.load_state_dict``); FileNotFoundError for no file, ImportError without
    safetensors.
    """
    library = needed("safetensors.numpy", "load_safetensors")
    module.load_state_dict(library.load_file(path))
    return module
