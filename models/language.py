"""Language models: the probability of each next symbol of a text, chapters 5 and 6."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.functional import cross_entropy
from tinygrad_rnn.tensor import Array

from .sampling import chooser
from .steps import Steps

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def layer(cell: str) -> Any:
    """The layer of this kind of cell."""
    if cell not in LAYERS:
        raise ValueError(f"cell={cell!r}, wanted one of {', '.join(LAYERS)}")
    return LAYERS[cell]


class LanguageModel(nn.Module):
    """Ids xs (N, T) -> logits (N, T, V) of the symbol after each.

    The hidden state is carried over to the next call and cut from the graph (truncated BPTT), so
    that batches of one text follow each other; ``reset_state()`` before another text.
    """

    embed: nn.Embedding
    recurrent: nn.Recurrent

    def forward(self, xs: Array) -> Tensor:
        raise NotImplementedError

    def loss(self, xs: Array, ts: Array) -> Tensor:
        """Mean cross-entropy of ts (N, T); its exponential is the perplexity."""
        return cross_entropy(self(xs), ts)

    def reset_state(self) -> None:
        """Forget what was read: the next call starts from zeros."""
        self.recurrent.reset_state()

    def generate(self, start: ArrayLike, length: int, temperature: float = 1.0,
                 top_k: int | None = None, top_p: float | None = None,
                 banned: ArrayLike = (),
                 rng: np.random.Generator | None = None) -> NDArray[np.int64]:
        """Go on from ``start`` by ``length`` symbols that are drawn one after the other.

        Args:
            start: an id, or the ids (T,) of a beginning.
            temperature, top_k, top_p, banned: see ``sampling.distribution``; 0 is greedy.
            rng: np.random.Generator.

        Returns ids (length,), without the beginning. Dropout is off, and the state that the model
        carries is what it was before. ValueError for a beginning that is no id, and for a
        temperature, top_k or top_p that leaves nothing to draw from.
        """
        ids = np.atleast_1d(np.asarray(start))
        if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu":
            raise ValueError(f"generate: start={start!r}, wanted an id or a sequence of ids")
        if length < 0:
            raise ValueError(f"generate: length={length}, wanted 0 or more")
        choose = chooser(temperature, top_k, top_p, banned, rng or tg.random.generator())
        training, carried = self.training, self.recurrent.state
        self.eval()
        answer = np.empty(length, dtype=np.int64)
        try:
            with tg.no_grad():
                step, state, ids = Steps(self), None, ids[None]
                for t in range(length):
                    logits, state = step(ids, state)
                    answer[t] = choose(logits[0])
                    ids = answer[t : t + 1, None]
        finally:
            self.train(training)
            self.recurrent.state = carried
        return answer

    def advance(self, ids: NDArray[np.int64], state: Any) -> tuple[Tensor, Any]:
        """Ids (N, T) and the state before them -> logits (N, V) after them, and the state then."""
        self.recurrent.state = state
        logits = self(ids)[:, -1]
        state, self.recurrent.state = self.recurrent.state, None
        return logits, state


class Rnnlm(LanguageModel):
    """Embedding, one recurrent layer (``cell``: "lstm", "gru" or "rnn"), affine: integer ids
    xs (N, T) -> logits (N, T, V). Chapter 6.

    V symbols, vectors of D, hidden states of H; weights and logits are float32 unless ``dtype``
    says otherwise. ValueError for another cell, IndexError for an id that is not from 0 to V - 1.
    """

    def __init__(self, V: int, D: int = 100, H: int = 100, cell: str = "lstm", *,
                 dtype: DTypeLike = np.float32) -> None:
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.recurrent = layer(cell)(D, H, stateful=True, dtype=dtype)
        self.affine = nn.Linear(H, V, dtype=dtype)

    def forward(self, xs: Array) -> Tensor:
        hs, _ = self.recurrent(self.embed(xs))
        return self.affine(hs)


class SimpleRnnlm(Rnnlm):
    """Rnnlm with simple RNN cells: ids xs (N, T) -> logits (N, T, V). Chapter 5; Mikolov et al.
    (2010). IndexError for an id that is not from 0 to V - 1."""

    def __init__(self, V: int, D: int = 100, H: int = 100, *,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(V, D, H, "rnn", dtype=dtype)


class BetterRnnlm(LanguageModel):
    """Rnnlm with several layers, dropout between all of them, and one matrix for both ends: ids
    xs (N, T) -> logits (N, T, V).

    The rows of the embedding are also the columns of the affine layer (weight tying: Press & Wolf,
    2017; Inan et al., 2017), hence ValueError unless D = H. Chapter 6; Zaremba et al. (2014).
    """

    def __init__(self, V: int, D: int = 650, H: int = 650, dropout: float = 0.5,
                 num_layers: int = 2, cell: str = "lstm", *,
                 dtype: DTypeLike = np.float32) -> None:
        if D != H:
            raise ValueError(f"BetterRnnlm: D={D}, H={H}; one matrix for both ends wants D = H")
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = layer(cell)(D, H, num_layers, dropout=dropout, stateful=True, dtype=dtype)
        self.b = nn.Parameter(np.zeros(V, dtype))

    def forward(self, xs: Array) -> Tensor:
        hs, _ = self.recurrent(self.dropout(self.embed(xs)))
        logits: Tensor = self.dropout(hs) @ self.embed.W.T + self.b
        return logits
