"""Autograd on NumPy's own protocols, and recurrent networks as plain tensor expressions."""

from .tensor import Tensor, grad, no_grad

__all__ = ["Tensor", "grad", "no_grad"]
__version__ = "0.1.0"
