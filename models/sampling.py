"""Choosing the next symbol from logits, and the likeliest sequence of symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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

    ValueError when an argument is outside its range, logits are NaN or inf, or nothing is left.
    """
    logits = np.array(logits, dtype=np.float64)
    V = logits.shape[-1]
    left_out = np.asarray(banned)
    if left_out.size and left_out.dtype.kind not in "iu":
        raise ValueError(f"distribution: banned={banned!r}, wanted ids")
    left_out = left_out.astype(np.int64)
    if np.isnan(logits).any() or (logits == np.inf).any():
        raise ValueError("distribution: logits that are NaN or infinite say nothing")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"distribution: temperature={temperature}, wanted a number from 0")
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
    if (top == -np.inf).any():
        raise ValueError("distribution: nothing is left: all symbols are banned or impossible")
    return _shares(logits, top, temperature, top_k, top_p)


def _shares(logits: Any, top: Any, temperature: float, top_k: int | None,
            top_p: float | None) -> Any:
    """``distribution`` of logits in float64, of which the largest are finite."""
    if temperature == 0:
        p = np.zeros_like(logits)
        np.put_along_axis(p, logits.argmax(axis=-1, keepdims=True), 1, axis=-1)
        return p
    with np.errstate(over="ignore", under="ignore"):  # a temperature near 0: the likeliest alone
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


def chooser(temperature: float, top_k: int | None, top_p: float | None, banned: ArrayLike,
            rng: np.random.Generator) -> Callable[[np.ndarray], int]:
    """``choose(logits (V,))``: the ids that ``draw`` would draw from ``distribution`` one after the
    other. What does not change, and is right for the first logits, is not looked at again."""
    left_out = np.asarray(banned)
    checked = False

    def choose(logits: np.ndarray) -> int:
        nonlocal checked
        if not checked:
            p = distribution(logits, temperature, top_k, top_p, banned)
            checked = True
            return int(draw(p[None], rng)[0])
        if left_out.size:
            logits = logits.copy()
            logits[left_out] = -np.inf
        best = int(logits.argmax())  # of NaN, if there is one
        top = float(logits[best])
        if not -np.inf < top < np.inf:
            distribution(logits, temperature, top_k, top_p, banned)  # which says what is wrong
        if temperature == 0:
            rng.random()  # as a draw does
            return best
        wide = logits.astype(np.float64)
        return int(draw(_shares(wide, top, temperature, top_k, top_p)[None], rng)[0])

    return choose


class Found(NamedTuple):
    """What a beam search found for each of N rows, the best first.

    ids: (N, K, length); after the end symbol there is nothing but end symbols.
    scores: (N, K), log-probabilities, divided by ``((5 + L) / 6) ** length_penalty``.
    lengths: (N, K), L symbols with the end symbol.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    lengths: NDArray[np.int64]


def beam_search(
    step: Callable[[NDArray[np.int64], Any], tuple[np.ndarray, Any]], state: Any, start_id: int,
    length: int, N: int, beam: int, end_id: int | None = None, length_penalty: float = 0.0,
) -> Found:
    """The likeliest sequences that keeping ``beam`` candidates at each step finds.

    ``step(ids (R, 1), state)`` gives log-probabilities (R, V) of the next symbol and the new
    state: an array or Tensor with R rows, or a tuple of such, nested as you like. With one
    candidate it is the greedy choice; with V^(length-1) it is the exact maximum.

    A candidate that has come to ``end_id`` goes no further and keeps its place among the others;
    when all have, the search ends. ``length_penalty`` makes up for that a longer answer, being a
    product of more probabilities, is less likely: 0 does nothing, 1 compares about the mean of a
    symbol (Wu et al., 2016, equation 14).

    ValueError when beam is less than 1, the penalty is negative, no number or so large that all
    scores become 0, or the log-probabilities are NaN.
    """
    if beam < 1:
        raise ValueError(f"beam_search: beam={beam}, wanted 1 or more")
    if not 0 <= length_penalty < np.inf:
        raise ValueError(f"beam_search: length_penalty={length_penalty}, wanted 0 or more")
    with np.errstate(over="ignore"):
        if np.isinf(np.divide(5 + length, 6) ** length_penalty):
            raise ValueError(f"beam_search: length_penalty={length_penalty} is too large, it makes"
                             f" the score of {length} symbols 0")  # fmt: skip
    ids = np.full((N, 1, 1), start_id)
    total = np.zeros((N, 1))  # log-probability of each of the k candidates of each row
    lengths = np.zeros((N, 1), dtype=np.int64)
    ended = np.zeros((N, 1), dtype=bool)
    for t in range(length):
        k = total.shape[1]
        logp, state = step(ids[:, :, -1].reshape(-1, 1), state)
        if np.isnan(logp).any():
            raise ValueError(f"beam_search: the log-probabilities of symbol {t + 1} are NaN")
        V = logp.shape[-1]
        logp = logp.reshape(N, k, V).astype(np.float64)
        if end_id is not None:
            logp[ended] = np.where(np.arange(V) == end_id, 0.0, -np.inf)
        totals = (total[:, :, None] + logp).reshape(N, k * V)
        longer = np.repeat(lengths + ~ended, V, axis=1)
        best = np.argsort(-_score(totals, longer, length_penalty), axis=1, kind="stable")[:, :beam]
        total, lengths = (np.take_along_axis(a, best, axis=1) for a in (totals, longer))
        rows = (np.arange(N)[:, None] * k + best // V).ravel()  # whom each candidate goes on from
        ids = np.concatenate(
            [ids.reshape(N * k, -1)[rows], (best % V).reshape(-1, 1)], axis=1
        ).reshape(N, -1, t + 2)
        ended = np.zeros_like(total, bool) if end_id is None else ids[:, :, -1] == end_id
        if ended.all():
            break
        if beam > 1:
            state = select_rows(state, rows)
    missing = length + 1 - ids.shape[2]
    ids = np.pad(ids, ((0, 0), (0, 0), (0, missing)), constant_values=end_id or 0)
    return Found(ids[:, :, 1:], _score(total, lengths, length_penalty), lengths)


def _score(total: np.ndarray, lengths: np.ndarray, penalty: float) -> Any:
    return total / ((5 + lengths) / 6) ** penalty


def select_rows(state: Any, rows: NDArray[np.int64]) -> Any:
    """These rows of every array in nested tuples."""
    if isinstance(state, tuple):
        return tuple(select_rows(part, rows) for part in state)
    return state[rows]
