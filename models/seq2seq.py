"""Sequence to sequence, with and without attention: chapters 7 and 8.

A model is an encoder and a decoder. The encoder gives all its hidden states and its final state;
the decoder goes on from that state and predicts each symbol of the answer from those before it.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.functional import cross_entropy, log_softmax
from tinygrad_rnn.tensor import Array, beside, host

from .sampling import Found, beam_search
from .steps import Steps

State: TypeAlias = tuple[Any, ...]  # what the layers carry from step to step


class Encoder(nn.Module):
    """Ids xs (N, Tx) -> all hidden states hs (N, Tx, H), and the final (h, c) of each layer.

    ``bidirectional``: two LSTMs of H/2 read in either direction, and their states are put side by
    side (Schuster & Paliwal, 1997), so that a decoder of H fits as it is. ``residual``: every layer
    adds its input to its output, where the sizes agree (the last two of three layers).
    """

    def __init__(self, V: int, D: int, H: int, num_layers: int = 1, bidirectional: bool = False,
                 residual: bool = False, *, dtype: DTypeLike = np.float32) -> None:
        if bidirectional and H % 2:
            raise ValueError(f"Encoder: H={H}, wanted an even number for two directions")
        self.directions = 2 if bidirectional else 1
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D, H // self.directions, num_layers, bidirectional, residual=residual,
                            dtype=dtype)  # fmt: skip

    def forward(self, xs: Array) -> tuple[Tensor, State]:
        hs, (h, c) = self.lstm(self.embed(xs))
        if len(self.lstm.cells) == 1:
            return hs, ((h, c),)
        k = self.directions  # h and c are (layers * directions, N, H / directions)
        layers = range(0, len(self.lstm.cells), k)
        return hs, tuple(
            tuple(np.concatenate(np.unstack(part[i : i + k]), axis=-1) for part in (h, c))
            for i in layers
        )


class Decoder(nn.Module):
    """Ids ts (N, Ty), encoder states (N, Tx, H), state -> logits (N, Ty, V), state, weights.

    ``state`` is a tuple of what the layers carry from step to step, at first the (h, c) of each
    layer of the encoder (``start`` makes the decoder's own of it). ``weights`` (N, Ty, Tx) say
    where a decoder with attention looks; without, None. This one sees nothing of the input but
    the state (Sutskever et al., 2014).
    """

    def __init__(self, V: int, D: int, H: int, *, dtype: DTypeLike = np.float32) -> None:
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D, H, dtype=dtype)
        self.affine = nn.Linear(H, V, dtype=dtype)

    def start(self, encoded: Tensor, state: State) -> State:
        """The state before the first step."""
        return state

    def forward(self, ts: Array, encoded: Tensor,
                state: State) -> tuple[Tensor, State, Tensor | None]:
        hs, top = self.lstm(self.embed(ts), state[0])
        return self.affine(hs), (top,), None


class PeekyDecoder(Decoder):
    """The encoder's last hidden state is given to the LSTM and the affine layer at every step.

    Cho et al. (2014); the book, chapter 7.
    """

    def __init__(self, V: int, D: int, H: int, *, dtype: DTypeLike = np.float32) -> None:
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(H + D, H, dtype=dtype)
        self.affine = nn.Linear(2 * H, V, dtype=dtype)

    def forward(self, ts: Array, encoded: Tensor,
                state: State) -> tuple[Tensor, State, Tensor | None]:
        peek = np.repeat(encoded[:, -1:], ts.shape[1], axis=1)
        hs, top = self.lstm(np.concatenate([peek, self.embed(ts)], axis=-1), state[0])
        return self.affine(np.concatenate([peek, hs], axis=-1)), (top,), None


class AttentionDecoder(Decoder):
    """LSTM; attention over the encoder states (query: hidden state; keys and values: encoder
    states; ``score``: see nn.Attention); affine layer on context and hidden state side by side.

    Luong et al. (2015); the book, chapter 8. Attention does not feed back into the LSTM, so with
    teacher forcing all steps are attended to at once.
    """

    def __init__(self, V: int, D: int, H: int, score: str = "dot", *,
                 dtype: DTypeLike = np.float32) -> None:
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D, H, dtype=dtype)
        self.attention = attention(score, H, dtype)
        self.affine = nn.Linear(2 * H, V, dtype=dtype)

    def forward(self, ts: Array, encoded: Tensor,
                state: State) -> tuple[Tensor, State, Tensor | None]:
        hs, top = self.lstm(self.embed(ts), state[0])
        context, weights = self.attention(hs, encoded)
        return self.affine(np.concatenate([context, hs], axis=-1)), (top,), weights


class InputFeedingDecoder(AttentionDecoder):
    """AttentionDecoder whose LSTM also reads the context of the step before, at first zeros.

    Luong et al. (2015), section 3.3. Each step waits for the attention of the one before.
    """

    def __init__(self, V: int, D: int, H: int, score: str = "dot", *,
                 dtype: DTypeLike = np.float32) -> None:
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D + H, H, dtype=dtype)
        self.attention = attention(score, H, dtype)
        self.affine = nn.Linear(2 * H, V, dtype=dtype)

    def start(self, encoded: Tensor, state: State) -> State:
        return (*state, np.zeros_like(encoded[:, 0]))

    def forward(self, ts: Array, encoded: Tensor,
                state: State) -> tuple[Tensor, State, Tensor | None]:
        bottom, *_, context = state
        hs, contexts, weights, bottom, context = self.attend(ts, encoded, bottom, context)
        return self.affine(np.concatenate([contexts, hs], axis=-1)), (bottom, context), weights

    def attend(self, ts: Array, encoded: Tensor, state: State,
               context: Tensor) -> tuple[Any, Any, Any, State, Tensor]:
        """Hidden states, contexts (N, Ty, H) and weights of all steps; last state and context."""
        (cell,) = self.lstm.cells
        hs, contexts, weights = [], [], []
        for x in np.unstack(self.embed(ts), axis=1):
            state = cell(np.concatenate([x, context], axis=-1), *state)
            c, w = self.attention(state[0][:, None], encoded)
            context = c[:, 0]
            hs.append(state[0])
            contexts.append(context)
            weights.append(w)
        return (np.stack(hs, axis=1), np.stack(contexts, axis=1), np.concatenate(weights, axis=1),
                state, context)  # fmt: skip


class DeepAttentionDecoder(InputFeedingDecoder):
    """Several LSTM layers, each given a context: the lowest that of the step before (its own
    hidden state is the query), those above it the one of their step, side by side with the output
    of the layer below. ``residual``: they add that output to their own.

    The book, chapter 8.4; Wu et al. (2016), GNMT, where all layers are given the former.
    """

    def __init__(self, V: int, D: int, H: int, score: str = "dot", num_layers: int = 3,
                 residual: bool = True, *, dtype: DTypeLike = np.float32) -> None:
        super().__init__(V, D, H, score, dtype=dtype)
        self.upper = [nn.LSTM(2 * H, H, dtype=dtype) for _ in range(num_layers - 1)]
        self.residual = residual

    def forward(self, ts: Array, encoded: Tensor,
                state: State) -> tuple[Tensor, State, Tensor | None]:
        bottom, *above, context = state
        hs, contexts, weights, bottom, context = self.attend(ts, encoded, bottom, context)
        for i, lstm in enumerate(self.upper):
            below = hs
            hs, above[i] = lstm(np.concatenate([contexts, below], axis=-1), above[i])
            if self.residual:
                hs = hs + below
        logits = self.affine(np.concatenate([contexts, hs], axis=-1))
        return logits, (bottom, *above, context), weights


def attention(score: str, H: int, dtype: DTypeLike) -> nn.Attention:
    sized: dict[str, Any] = {"H": H, "dtype": dtype} if score in ("general", "additive") else {}
    return nn.Attention(score, **sized)


class Seq2seq(nn.Module):
    """Reads ids (N, Tx) and writes ids (N, Ty); V symbols, vectors of D, hidden states of H.

    Sutskever et al. (2014); the book, chapter 7. The decoder starts from both parts of the
    encoder's final state. (The book hands over h only.) Weights are float32 unless ``dtype`` says
    otherwise. IndexError for an id that is not from 0 to V - 1.
    """

    def __init__(self, V: int, D: int = 16, H: int = 128, *,
                 dtype: DTypeLike = np.float32) -> None:
        self.encoder = Encoder(V, D, H, dtype=dtype)
        self.decoder = Decoder(V, D, H, dtype=dtype)

    def encode(self, xs: Array) -> tuple[Tensor, State]:
        """All encoder states (N, Tx, H), and the state in which the decoder starts."""
        encoded, state = self.encoder(xs)
        return encoded, self.decoder.start(encoded, state)

    def loss(self, xs: Array, ts: Array) -> Tensor:
        """Mean cross-entropy, in nats, of predicting ts[:, 1:] from xs (N, Tx) and ts[:, :-1], for
        ts (N, Ty): teacher forcing.

        After ``force(ratio)``, while it trains, each symbol that the decoder reads is that of ts
        with probability ``ratio``, and else the likeliest after what it has read (scheduled
        sampling, Bengio et al., 2015); no gradient goes through that choice.
        """
        if self.training and self.rng is not None:
            logits = self._partly_forced(xs, ts)
        else:
            logits, _, _ = self.decoder(ts[:, :-1], *self.encode(xs))
        return cross_entropy(logits, ts[:, 1:])

    rng: np.random.Generator | None = None  # what ``force`` draws from
    ratio = 1.0

    def force(self, ratio: float) -> None:
        """Set the teacher-forcing ratio of the loss. ValueError unless 0 <= ratio <= 1."""
        if not 0 <= ratio <= 1:
            raise ValueError(f"force: ratio={ratio}, wanted 0 <= ratio <= 1")
        self.ratio, self.rng = ratio, None if ratio == 1 else tg.random.generator()

    def _partly_forced(self, xs: Array, ts: Array) -> Tensor:
        assert self.rng is not None
        encoded, state = self.encode(xs)
        N, T = ts.shape[0], ts.shape[1] - 1
        drawn = self.rng.random((N, T))  # rows of the batch first, as everywhere
        forced, answers = (beside(x, encoded) for x in (self.ratio > drawn.T, ts))
        read: Any = ts[:, 0]
        steps: list[Any] = []
        for t in range(T):
            logits, state, _ = self.decoder(read[:, None], encoded, state)
            steps.append(logits)
            if t + 1 < T:
                read = np.where(forced[t], answers[:, t + 1],
                                np.argmax(logits[:, 0], axis=-1))
        return cast(Tensor, np.concatenate(steps, axis=1))

    def search(self, xs: np.ndarray, start_id: int, length: int, beam: int = 1,
               end_id: int | None = None, length_penalty: float = 0.0) -> Found:
        """The likeliest answers of up to ``length`` symbols after ``start_id``, best first: ids
        (N, beam, length), scores and lengths (N, beam).

        ``xs``: ids (N, Tx). ``beam``: how many beginnings are kept at each step; 1 is the greedy
        choice. ``end_id``, ``length_penalty``: see ``sampling.beam_search``, with its ValueErrors.
        """
        with tg.no_grad():
            return beam_search(Steps(self), self.encode(xs), start_id, length, len(xs), beam,
                               end_id, length_penalty)

    def advance(self, ids: NDArray[np.int64], state: Any) -> tuple[Tensor, Any]:
        """Ids (R, 1) and what ``encode`` gave, or this -> log-probabilities (R, V), and the next
        state."""
        encoded, carried = state
        logits, carried, _ = self.decoder(ids, encoded, carried)
        return log_softmax(logits[:, -1]), (encoded, carried)

    def generate(self, xs: np.ndarray, start_id: int, length: int, beam: int = 1,
                 end_id: int | None = None, length_penalty: float = 0.0) -> NDArray[np.int64]:
        """The best answers that ``search`` finds: ids (N, length). ValueErrors as there."""
        return self.search(xs, start_id, length, beam, end_id, length_penalty).ids[:, 0]

    def reset_state(self) -> None:
        """Nothing is carried over from one batch to the next."""


class PeekySeq2seq(Seq2seq):
    """Seq2seq whose decoder sees the encoder's last hidden state at every step: reads ids (N, Tx),
    writes ids (N, Ty). Cho et al. (2014); the book, chapter 7. Errors as in Seq2seq."""

    def __init__(self, V: int, D: int = 16, H: int = 128, *,
                 dtype: DTypeLike = np.float32) -> None:
        self.encoder = Encoder(V, D, H, dtype=dtype)
        self.decoder = PeekyDecoder(V, D, H, dtype=dtype)


class AttentionSeq2seq(Seq2seq):
    """Seq2seq whose decoder attends to all encoder states: reads ids (N, Tx), writes ids (N, Ty).

    Bahdanau et al. (2015); Luong et al. (2015); the book, chapter 8.

    Args:
        bidirectional: the encoder reads in both directions.
        input_feeding: the context is also an input of the next step of the LSTM.
        score: "dot", "scaled_dot", "general" or "additive": see nn.Attention.

    ValueError for another score, and for two directions of an odd H.
    """

    def __init__(self, V: int, D: int = 16, H: int = 256, bidirectional: bool = False,
                 input_feeding: bool = False, score: str = "dot", *,
                 dtype: DTypeLike = np.float32) -> None:
        self.encoder = Encoder(V, D, H, bidirectional=bidirectional, dtype=dtype)
        decoder = InputFeedingDecoder if input_feeding else AttentionDecoder
        self.decoder = decoder(V, D, H, score, dtype=dtype)

    def attention_weights(self, xs: Array, ts: Array) -> np.ndarray:
        """Where the model looks while it writes ts[:, 1:]: weights (N, Ty - 1, Tx)."""
        with tg.no_grad():
            _, _, weights = self.decoder(ts[:, :-1], *self.encode(xs))
        assert weights is not None  # this decoder attends
        return host(weights)


class DeepAttentionSeq2seq(AttentionSeq2seq):
    """AttentionSeq2seq with several layers in encoder and decoder: reads ids (N, Tx), writes ids
    (N, Ty). Wu et al. (2016); the book, chapter 8.4.

    Args:
        num_layers: LSTM layers on either side.
        residual: skip connections around every layer whose input and output have one size.
        bidirectional, score: as in AttentionSeq2seq, with its ValueErrors.
    """

    def __init__(self, V: int, D: int = 16, H: int = 256, num_layers: int = 3,
                 residual: bool = True, bidirectional: bool = False, score: str = "dot", *,
                 dtype: DTypeLike = np.float32) -> None:
        self.encoder = Encoder(V, D, H, num_layers, bidirectional, residual, dtype=dtype)
        self.decoder = DeepAttentionDecoder(V, D, H, score, num_layers, residual, dtype=dtype)
