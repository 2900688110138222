"""Weights and models in and out: PyTorch, Keras, ONNX, safetensors.

Each function imports its library when it is called; ``pip install 'tinygrad-rnn[interop]'`` brings
ONNX and safetensors. Whoever converts from or to PyTorch or Keras has that already.
"""

from .files import Arrays, FormatError
from .found import Found
from .keras import from_keras, to_keras
from .onnx import to_onnx
from .onnx_in import from_onnx
from .pytorch import from_torch, to_torch
from .safetensors import load_safetensors, read_safetensors, save_safetensors
from .state_dicts import Loaded, from_state_dict, load_torch
from .torch_files import read_pickled, read_torch

__all__ = [
    "Arrays", "FormatError", "Found", "Loaded", "from_keras", "from_onnx", "from_state_dict",
    "from_torch", "load_safetensors", "load_torch",
    "read_pickled", "read_safetensors", "read_torch", "save_safetensors", "to_keras", "to_onnx",
    "to_torch",
]  # fmt: skip
