"""Whole models against the same networks built from hand-derived layers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models import AttentionSeq2seq
from tinygrad_rnn import manual


class HandDerived:
    """AttentionSeq2seq from the layers of manual/, with its backward pass written out."""

    def __init__(self, eW, eWx, eWh, eb, dW, dWx, dWh, db, W, b):
        self.e_embed, self.e_lstm = manual.TimeEmbedding(eW), manual.TimeLSTM(eWx, eWh, eb)
        self.d_embed, self.d_lstm = manual.TimeEmbedding(dW), manual.TimeLSTM(dWx, dWh, db)
        self.attention, self.affine = manual.TimeAttention(), manual.TimeAffine(W, b)
        self.last = manual.TimeSoftmaxWithLoss()

    def loss(self, xs, ts):
        self.encoded = self.e_lstm.forward(self.e_embed.forward(xs))
        self.d_lstm.set_state(self.e_lstm.h, self.e_lstm.c)
        hs = self.d_lstm.forward(self.d_embed.forward(ts[:, :-1]))
        context = self.attention.forward(self.encoded, hs)
        scores = self.affine.forward(np.concatenate([context, hs], axis=2))
        return self.last.forward(scores, ts[:, 1:])

    def gradients(self):
        d = self.affine.backward(self.last.backward())
        H = d.shape[2] // 2
        dencoded, dhs = self.attention.backward(d[:, :, :H])
        self.d_embed.backward(self.d_lstm.backward(dhs + d[:, :, H:]))
        # the final state of the encoder starts the decoder; dc enters through one more step
        dencoded = dencoded.copy()
        dencoded[:, -1] += self.d_lstm.dh
        self.e_embed.backward(self.backward_from(self.e_lstm, dencoded, self.d_lstm.dc))
        layers = (self.e_embed, self.e_lstm, self.d_embed, self.d_lstm, self.affine)
        return [g for layer in layers for g in layer.grads]

    @staticmethod
    def backward_from(lstm, dhs, dc):
        """TimeLSTM.backward with a gradient of the final c as well."""
        for g in lstm.grads:
            g[...] = 0
        dxs, dh = np.empty((*dhs.shape[:2], lstm.params[0].shape[0]), dhs.dtype), 0
        for t in reversed(range(dhs.shape[1])):
            dxs[:, t], dh, dc = lstm.layers[t].backward(dhs[:, t] + dh, dc)
            for total, g in zip(lstm.grads, lstm.layers[t].grads, strict=True):
                total += g
        return dxs


@given(st.integers(0, 2**32 - 1), st.permutations([2, 3, 4, 5, 6]), st.booleans())
def test_attention_seq2seq_equals_the_hand_derived_network(seed, sizes, single):
    N, Tx, Ty, D, H = [1] * 5 if single else sizes
    V, rng = 7, np.random.default_rng(seed)
    model = AttentionSeq2seq(V, D, H, dtype=np.float64)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    twin = HandDerived(*(p.detach().numpy().copy() for p in model.parameters()))
    xs, ts = rng.integers(0, V, (N, Tx)), rng.integers(0, V, (N, Ty + 1))
    loss = model.loss(xs, ts)
    assert_allclose(loss.item(), twin.loss(xs, ts), rtol=1e-10)
    loss.backward()
    for p, g in zip(model.parameters(), twin.gradients(), strict=True):
        assert_allclose(p.grad.numpy(), g, rtol=1e-9, atol=1e-11)
