"""Choosing the next symbol from logits, and the likeliest sequence of symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def distribution(
    logits: ArrayLike, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, banned: ArrayLike = (),
) -> Any:
    """Probabilities (..., V) of the next symbol.

    Symbols that are left out have probability 0, and the others share what was theirs: no drawing
    is repeated, so that banning even the likeliest symbols cannot make the program wait.

    Args:
        logits: (..., V).
        temperature: the logits are divided by it; 0 leaves only the likeliest symbol (greedy).
        top_k: leaves the k likeliest symbols (Fan et al., 2018).
        top_p: leaves the fewest symbols that have this probability together (Holtzman et al.,
            2020).
        banned: ids that never come.

    ValueError when an argument is outside its range, or nothing is left.
    """
    logits = np.array(logits, dtype=np.float64)
    V = logits.shape[-1]
    left_out = np.asarray(banned, dtype=np.int64)
    if not temperature >= 0:
        raise ValueError(f"distribution: temperature={temperature}, wanted 0 or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"distribution: top_k={top_k}, wanted 1 or more")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"distribution: top_p={top_p}, wanted more than 0 and at most 1")
    if left_out.size and (left_out.min() < 0 or left_out.max() >= V):
        raise ValueError(f"distribution: banned={left_out.tolist()}, wanted ids from 0 to {V - 1}")
    if len(np.unique(left_out)) == V:
        raise ValueError(f"distribution: all {V} symbols are banned")
    logits[..., left_out] = -np.inf
    top = logits.max(axis=-1, keepdims=True)
    if temperature == 0:
        p = np.zeros_like(logits)
        np.put_along_axis(p, logits.argmax(axis=-1, keepdims=True), 1, axis=-1)
        return p
    p = np.exp((logits - top) / temperature)
    if top_k is not None or top_p is not None:
        order = np.argsort(-p, axis=-1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=-1)
        if top_k is not None:
            ranked[..., top_k:] = 0
        if top_p is not None:
            before = np.cumsum(ranked, axis=-1) - ranked
            ranked[before >= top_p * ranked.sum(axis=-1, keepdims=True)] = 0
        np.put_along_axis(p, order, ranked, axis=-1)
    return p / p.sum(axis=-1, keepdims=True)


def draw(p: NDArray[np.float64], rng: np.random.Generator) -> Any:
    """One id for each row of probabilities: p (N, V) -> (N,)."""
    bounds = np.cumsum(p, axis=-1)
    point = rng.random((len(p), 1)) * bounds[:, -1:]  # below the sum, which rounding moves off 1
    return np.argmax(bounds > point, axis=-1)


def beam_search(
    step: Callable[[NDArray[np.int64], Any], tuple[np.ndarray, Any]], state: Any, start_id: int,
    length: int, N: int, beam: int,
) -> NDArray[np.int64]:
    """The likeliest sequences that keeping ``beam`` candidates at each step finds: ids (N, length).

    ``step(ids (R, 1), state)`` gives log-probabilities (R, V) of the next symbol and the new
    state: an array or Tensor with R rows, or a tuple of such, nested as you like. With one
    candidate it is the greedy choice; with V^(length-1) it is the exact maximum.
    """
    if beam < 1:
        raise ValueError(f"beam_search: beam={beam}, wanted 1 or more")
    ids = np.full((N, 1), start_id)
    total = np.zeros((N, 1))  # log-probability of each of the k candidates of each row
    for _ in range(length):
        k = total.shape[1]
        logp, state = step(ids[:, -1:], state)
        V = logp.shape[-1]
        totals = (total[:, :, None] + logp.reshape(N, k, V)).reshape(N, k * V)
        best = np.argsort(-totals, axis=1, kind="stable")[:, :beam]
        total = np.take_along_axis(totals, best, axis=1)
        rows = (np.arange(N)[:, None] * k + best // V).ravel()  # whom each candidate goes on from
        ids = np.concatenate([ids[rows], (best % V).reshape(-1, 1)], axis=1)
        if beam > 1:
            state = select_rows(state, rows)
    return ids.reshape(N, -1, length + 1)[:, 0, 1:]


def select_rows(state: Any, rows: NDArray[np.int64]) -> Any:
    """These rows of every array in nested tuples."""
    if isinstance(state, tuple):
        return tuple(select_rows(part, rows) for part in state)
    return state[rows]
