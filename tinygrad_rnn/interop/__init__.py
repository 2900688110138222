"""Weights and models in and out: PyTorch, Keras, ONNX, safetensors.

Each function imports its library when it is called; ``pip install 'tinygrad-rnn[interop]'`` brings
ONNX and safetensors. Whoever converts from or to PyTorch or Keras has that already.
"""

from .pytorch import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
