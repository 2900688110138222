"""Weights and models in and out: PyTorch, Keras, ONNX, safetensors.

Each function imports its library when it is called; ``pip install 'tinygrad-rnn[interop]'`` brings
ONNX and safetensors. Whoever converts from or to PyTorch or Keras has that already.
"""

from .files import Arrays, FormatError
from .keras import from_keras, to_keras
from .onnx import to_onnx
from .onnx_in import Found, from_onnx
from .pytorch import from_torch, to_torch
from .safetensors import load_safetensors, read_safetensors, save_safetensors
from .torch_files import read_pickled, read_torch

__all__ = [
    "Arrays", "FormatError", "Found", "from_keras", "from_onnx", "from_torch", "load_safetensors",
    "read_pickled", "read_safetensors", "read_torch", "save_safetensors", "to_keras", "to_onnx",
    "to_torch",
]  # fmt: skip
