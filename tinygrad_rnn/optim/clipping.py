"""Gradients made smaller before a step."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from ..primitive import own_function
from ..tensor import Tensor
from .optimizers import tensors

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Any:
    """Scale all gradients so that their common norm is at most ``max_norm``.

    Pascanu et al. (2013); chapter 6. Gradients of any shape are edited in place; a parameter
    without one counts as 0. ``norm_type``: p of the p-norm, also infinity. A norm that is NaN or
    infinite makes all gradients NaN or 0, as in PyTorch; ``error_if_nonfinite``: RuntimeError.
    Returns the norm before clipping, in float64: a number, 0-d under ``tg.jit``. ValueError for a
    max_norm below 0 or a norm_type that is not above 0, TypeError for a Module in the place of its
    parameters.
    """
    norm_type = float(norm_type)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type={norm_type}, wanted more than 0")
    # it would turn the gradients round; a number that is being recorded was looked at before
    if type(max_norm) in (int, float, np.float32, np.float64) and not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm={max_norm}, wanted at least 0")
    grads = [p.grad.data for p in tensors("clip_grad_norm_", params) if p.grad is not None]
    norm = _norm([_wide(g) for g in grads], norm_type)
    if error_if_nonfinite:
        norm = _finite(norm[...] if isinstance(norm, np.generic) else norm,  # type: ignore[index]
                       norm_type=norm_type)
    # A choice without a branch can be recorded.
    scale = np.minimum(max_norm / (norm + 1e-6), 1.0)
    if not isinstance(scale, (float, np.ndarray)) or scale != 1:
        for g in grads:
            g *= np.astype(np.asanyarray(scale) if isinstance(scale, float) else scale,
                           np.float32 if g.dtype == np.float16 else g.dtype)
    return norm


def _norm(grads: list[Any], p: float) -> Any:
    """The p-norm of all elements of all gradients, in float64."""
    if p == 2:
        return np.sqrt(sum(np.astype(np.vdot(g, g), np.float64) for g in grads))
    sizes = [np.abs(g) for g in grads if g.size]
    if p == np.inf:
        top: Any = 0.0
        for size in sizes:
            top = np.maximum(top, np.astype(np.max(size), np.float64))
        return top
    return sum(np.sum(np.astype(size, np.float64) ** p) for size in sizes) ** (1 / p)


def _wide(g: Any) -> Any:
    """float16 as float32: the square of 300 is too large for it."""
    return np.astype(g, np.float32) if g.dtype == np.float16 else g


@partial(own_function, checks=True)
def _finite(norm: np.ndarray, *, norm_type: float) -> np.ndarray:
    """The norm, checked."""
    if not np.isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: the norm of order {norm_type} of all gradients is"
                           f" {float(norm)}")
    return norm


def clip_grad_value_(params: Iterable[Tensor], clip_value: float) -> None:
    """Bring every element of all gradients, of any shape, into [-clip_value, clip_value], in place;
    NaN stays. Mikolov (2012). ValueError for a negative value, TypeError for a Module in the place
    of its parameters."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value={clip_value}, wanted at least 0")
    for p in tensors("clip_grad_value_", params):
        if p.grad is not None:
            g = p.grad.data
            g[...] = np.minimum(np.maximum(g, -clip_value), clip_value)
