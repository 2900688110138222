"""Sequence to sequence with attention, as in chapter 8 of *Deep Learning from Scratch 2*."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.functional import cross_entropy


class Encoder(nn.Module):
    """Ids xs (N, Tx) -> all hidden states hs (N, Tx, H) and the final (h, c), (N, H) each."""

    def __init__(self, V, D, H, *, dtype=np.float32):
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D, H, dtype=dtype)

    def forward(self, xs):
        return self.lstm(self.embed(xs))


class AttentionDecoder(nn.Module):
    """Ids ts (N, Ty), encoder states (N, Tx, H), state (h, c) -> logits (N, Ty, V), state, weights.

    LSTM, then dot-product attention over the encoder states (Luong et al., 2015), then an affine
    layer on context and hidden state side by side. Attention does not feed back into the LSTM, so
    with teacher forcing all steps are attended to at once. Weights are (N, Ty, Tx).
    """

    def __init__(self, V, D, H, *, dtype=np.float32):
        self.embed = nn.Embedding(V, D, dtype=dtype)
        self.lstm = nn.LSTM(D, H, dtype=dtype)
        self.attention = nn.Attention("dot")
        self.affine = nn.Linear(2 * H, V, dtype=dtype)

    def forward(self, ts, encoded, state):
        hs, state = self.lstm(self.embed(ts), state)
        context, weights = self.attention(hs, encoded)
        return self.affine(np.concatenate([context, hs], axis=-1)), state, weights


class AttentionSeq2seq(nn.Module):
    """Reads ids (N, Tx) and writes ids (N, Ty); V symbols, vectors of D, hidden states of H.

    The decoder starts from both parts of the encoder's final state. (The book hands over h only.)
    """

    def __init__(self, V, D=16, H=256, *, dtype=np.float32):
        self.encoder = Encoder(V, D, H, dtype=dtype)
        self.decoder = AttentionDecoder(V, D, H, dtype=dtype)

    def loss(self, xs, ts):
        """Mean cross-entropy of predicting ts[:, 1:] from xs and ts[:, :-1] (teacher forcing)."""
        encoded, state = self.encoder(xs)
        logits, _, _ = self.decoder(ts[:, :-1], encoded, state)
        return cross_entropy(logits, ts[:, 1:])

    def generate(self, xs, start_id, length):
        """The likeliest next symbol, ``length`` times: ids (N, length), weights (N, length, Tx)."""
        with tg.no_grad():
            encoded, state = self.encoder(xs)
            ids, weights = np.full((len(xs), 1), start_id), []
            answer = []
            for _ in range(length):
                logits, state, seen = self.decoder(ids, encoded, state)
                ids = logits.argmax(axis=-1)
                answer.append(ids)
                weights.append(seen.numpy())
        return np.concatenate(answer, axis=1), np.concatenate(weights, axis=1)

    def reset_state(self):
        """Nothing is carried over from one batch to the next."""
