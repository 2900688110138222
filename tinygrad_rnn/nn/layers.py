"""Layers without time. Weights are float32 and drawn as in the book, unless said otherwise."""

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..random import generator
from ..tensor import Array, Tensor
from .module import Module, Parameter

__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear"]


def normal(rng: np.random.Generator | None, scale: float, shape: tuple[int, ...],
           dtype: DTypeLike) -> np.ndarray:
    """Normal numbers of mean 0 and standard deviation ``scale``."""
    return (generator(rng).standard_normal(size=shape) * scale).astype(dtype)


def check_sizes(name: str, **sizes: Any) -> None:
    """ValueError unless all are whole numbers from 1."""
    for letter, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{name}: {letter} = {size!r}, wanted a whole number from 1")


class Linear(Module):
    """x (..., D) -> x W + b (..., H): the book's Affine, chapter 1.

    W (D, H) is drawn with scale 1/sqrt(D), b (H,) is 0; without ``bias`` b is None. ValueError for
    sizes that are no whole numbers from 1, and an x whose last axis is not D.
    """

    elsewhere: ClassVar[dict[str, str]] = {
        "in_features": "it is D, the first argument",
        "out_features": "it is H, the second argument",
        "units": "it is H, the second argument after D",
        "use_bias": "it is bias=",
    }

    def __init__(self, D: int, H: int, bias: bool = True, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        check_sizes("Linear", D=D, H=H)
        self.W = Parameter(normal(rng, 1 / math.sqrt(D), (D, H), dtype))
        self.b = Parameter(np.zeros(H, dtype)) if bias else None

    def forward(self, x: Any) -> Tensor:
        y: Tensor = x @ self.W
        return y if self.b is None else y + self.b


class Embedding(Module):
    """Integer ids (...) -> rows of W (V, D), (..., D). W is drawn with scale 0.01. Chapter 4.

    The row ``padding_idx`` is 0 and gets no gradient. TypeError for ids that are no integers,
    IndexError for one, or a padding_idx, that is not from 0 to V - 1, ValueError for sizes that are
    no whole numbers from 1.
    """

    elsewhere: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("num_embeddings", "input_dim"), "it is V, the first argument"),
        **dict.fromkeys(("embedding_dim", "output_dim"), "it is D, the second argument"),
        "mask_zero": "it is padding_idx=0",
    }

    def __init__(self, V: int, D: int, padding_idx: int | None = None, *,
                 dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None) -> None:
        check_sizes("Embedding", V=V, D=D)
        W = normal(rng, 0.01, (V, D), dtype)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            if not 0 <= padding_idx < V:
                raise IndexError(f"Embedding: padding_idx={padding_idx}, wanted from 0 to {V - 1}")
            W[padding_idx] = 0
        self.W = Parameter(W)

    def forward(self, ids: Array) -> Tensor:
        return F.embedding(self.W, ids, self.padding_idx)


class Dropout(Module):
    """In training, zeros with probability p, the rest scaled by 1/(1-p); any shape. After
    ``eval()`` x as it is. Srivastava et al. (2014); chapter 6. ValueError unless 0 <= p < 1."""

    elsewhere: ClassVar[dict[str, str]] = {
        "rate": "it is p, the first argument",
        "inplace": "x is never edited: leave it out",
    }

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p={p}, wanted 0 <= p < 1")
        self.p, self.rng = p, generator(rng)

    def forward(self, x: Array) -> Tensor:
        return F.dropout(x, self.p, self.training, self.rng)


class LayerNorm(Module):
    """x (..., D) normalised over D, scaled by gamma (D,) and shifted by beta (D,) -> (..., D).

    Ba, Kiros & Hinton (2016). ``D``: one size, or a tuple of those of the last axes, which are then
    normalised together. ``eps`` is added to the variance. ValueError for an x whose last axes are
    not D.
    """

    elsewhere: ClassVar[dict[str, str]] = {
        "normalized_shape": "it is D, the first argument",
        "epsilon": "it is eps=",
        **dict.fromkeys(("elementwise_affine", "bias", "center", "scale"),
                        "there are always gamma and beta: leave it out"),
    }  # fmt: skip

    def __init__(self, D: int | tuple[int, ...], eps: float = 1e-5, *,
                 dtype: DTypeLike = np.float32) -> None:
        self.gamma = Parameter(np.ones(D, dtype))
        self.beta = Parameter(np.zeros(D, dtype))
        self.eps = eps

    def forward(self, x: Array) -> Tensor:
        return F.layer_norm(x, self.gamma, self.beta, self.eps)
