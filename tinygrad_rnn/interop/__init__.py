"""Weights and models in and out: PyTorch, Keras, ONNX, safetensors.

Each function imports its library when it is called; ``pip install 'tinygrad-rnn[interop]'`` brings
ONNX and safetensors. Whoever converts from or to PyTorch or Keras has that already.
"""

from .keras import from_keras, to_keras
from .onnx import from_onnx, to_onnx
from .pytorch import from_torch, to_torch
from .safetensors import load_safetensors, save_safetensors

__all__ = [
    "from_keras", "from_onnx", "from_torch", "load_safetensors", "save_safetensors", "to_keras",
    "to_onnx", "to_torch",
]  # fmt: skip
