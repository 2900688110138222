"""Attention: a weighted mean of values, the weights being a softmax of scores of keys."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..functional import attend, scaled_dot
from ..random import generator
from ..tensor import Array, Tensor, plain
from .layers import normal
from .module import Module, Parameter

__all__ = ["Attention"]


class Attention(Module):
    """context, weights = attention(query (N, Tq, H), keys (N, Tk, K), values=None, mask=None)

    Scores of a query q and a key k (Luong et al. 2015; Bahdanau et al. 2015; Vaswani et al. 2017):
        "dot"         q · k                          (chapter 8)
        "scaled_dot"  q · k / sqrt(H)
        "general"     q W k                          W (H, K)
        "additive"    v · tanh(q Wq + k Wk)          Wq (H, A), Wk (K, A), v (A,)

    ``H``, ``K`` (default H) and ``A`` (default H) are wanted only by the last two. ``values``
    (N, Tk, M) are the keys if not given. ``mask`` is True where a key may be seen: (N, Tk), or
    (N, Tq, Tk). Returns context (N, Tq, M) and weights (N, Tq, Tk); a query that may see nothing
    gets zeros for both. ValueError for another score, for an H that is wanted and missing, and
    where shapes do not fit.
    """

    def __init__(self, score: str = "dot", H: int | None = None, K: int | None = None,
                 A: int | None = None, *, dtype: DTypeLike = np.float32,
                 rng: np.random.Generator | None = None) -> None:
        if score not in ("dot", "scaled_dot", "general", "additive"):
            raise ValueError(f"Attention: score={score!r}, wanted 'dot', 'scaled_dot', 'general'"
                             " or 'additive'")
        self.score = score
        if score in ("general", "additive"):
            if H is None:
                raise ValueError(f"Attention: score={score!r} has weights and wants H, the size of"
                                 " the query")
            K, A, rng = K or H, A or H, generator(rng)
            if score == "general":
                self.W = Parameter(normal(rng, 1 / math.sqrt(H), (H, K), dtype))
            else:
                self.Wq = Parameter(normal(rng, 1 / math.sqrt(H), (H, A), dtype))
                self.Wk = Parameter(normal(rng, 1 / math.sqrt(K), (K, A), dtype))
                self.v = Parameter(normal(rng, 1 / math.sqrt(A), (A,), dtype))

    def forward(self, query: Array, keys: Array, values: Array | None = None,
                mask: Array | None = None) -> tuple[Tensor, Tensor]:
        query, keys = (x if isinstance(x, Tensor) else Tensor(x) for x in (query, keys))
        if query.ndim != 3 or keys.ndim != 3 or query.shape[0] != keys.shape[0]:
            raise ValueError(f"Attention: query {query.shape} and keys {keys.shape}, wanted"
                             " (N, Tq, H) and (N, Tk, K)")
        if mask is not None:
            mask = plain(mask)
            mask = mask[:, None, :] if mask.ndim == 2 else mask
        return attend(self._scores, query, keys, keys if values is None else values, mask)

    def _scores(self, query: Any, keys: Any) -> Any:
        if self.score == "additive":
            q, k = query @ self.Wq, keys @ self.Wk
            return np.tanh(np.expand_dims(q, 2) + np.expand_dims(k, 1)) @ self.v
        if self.score == "general":
            query = query @ self.W
        if query.shape[-1] != keys.shape[-1]:
            raise ValueError(f"Attention: query {query.shape} and keys {keys.shape} differ in their"
                             f" last axis; score={self.score!r} wants them equal")
        if self.score == "scaled_dot":
            return scaled_dot(query, keys)
        return query @ np.swapaxes(keys, -1, -2)
