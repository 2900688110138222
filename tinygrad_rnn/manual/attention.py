"""Attention by dot product, one decoder step or all of them. Chapter 8.

N batch, T encoder steps, H features; hs (N, T, H) are the encoder's states, h (N, H) is the state
of one decoder step. The book's Attention has no parameters: it chooses, and learns nothing.
"""

from typing import Any

import numpy as np

from .layers import Array, Softmax


class WeightSum:
    """Mean of the states under weights a: hs (N, T, H), a (N, T) -> c (N, H).

    Chapter 8. c_nh = sum_t a_nt hs_nth, therefore
        dhs_nth = dc_nh a_nt        da_nt = sum_h dc_nh hs_nth
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.cache: Any = None

    def forward(self, hs: Array, a: Array) -> Array:
        N, T, _ = hs.shape
        ar = a.reshape(N, T, 1)
        self.cache = (hs, ar)
        return np.sum(hs * ar, axis=1)

    def backward(self, dc: Array) -> tuple[Array, Array]:
        hs, ar = self.cache
        N, _, H = hs.shape
        dt = dc.reshape(N, 1, H)
        dhs = dt * ar
        da = np.sum(dt * hs, axis=2)
        return dhs, da


class AttentionWeight:
    """How much each state resembles h: hs (N, T, H), h (N, H) -> a (N, T), rows that sum to 1.

    Chapter 8. s_nt = sum_h hs_nth h_nh and a = softmax(s) over t. With ds from Softmax:
        dhs_nth = ds_nt h_nh        dh_nh = sum_t ds_nt hs_nth
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.softmax = Softmax()
        self.cache: Any = None

    def forward(self, hs: Array, h: Array) -> Array:
        N, _, H = hs.shape
        hr = h.reshape(N, 1, H)
        s = np.sum(hs * hr, axis=2)
        self.cache = (hs, hr)
        return self.softmax.forward(s)

    def backward(self, da: Array) -> tuple[Array, Array]:
        hs, hr = self.cache
        N, T, _ = hs.shape
        ds = self.softmax.backward(da)
        dt = ds.reshape(N, T, 1)
        dhs = dt * hr
        dh = np.sum(dt * hs, axis=1)
        return dhs, dh


class Attention:
    """The states seen from h: hs (N, T, H), h (N, H) -> context (N, H).

    Chapter 8. a = AttentionWeight(hs, h), c = WeightSum(hs, a). hs enters twice, so that its
    gradient is the sum of both:
        dhs, da = WeightSum'(dc)        dhs', dh = AttentionWeight'(da)        dhs + dhs', dh
    `attention_weight` keeps a (N, T).
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.attention_weight_layer = AttentionWeight()
        self.weight_sum_layer = WeightSum()
        self.attention_weight: Any = None

    def forward(self, hs: Array, h: Array) -> Array:
        a = self.attention_weight_layer.forward(hs, h)
        self.attention_weight = a
        return self.weight_sum_layer.forward(hs, a)

    def backward(self, dout: Array) -> tuple[Array, Array]:
        dhs0, da = self.weight_sum_layer.backward(dout)
        dhs1, dh = self.attention_weight_layer.backward(da)
        return dhs0 + dhs1, dh


class TimeAttention:
    """Attention of every decoder step: hs_enc (N, T, H), hs_dec (N, U, H) -> contexts (N, U, H).

    Chapter 8. Every step looks at the same hs_enc, so its gradient is the sum over the steps:
        dhs_enc = sum_u dhs(u)        dhs_dec[:, u] = dh(u)
    `attention_weights` is the list over u of the weights (N, T).
    """

    def __init__(self) -> None:
        self.params, self.grads = [], []
        self.layers: Any = None
        self.attention_weights: Any = None

    def forward(self, hs_enc: Array, hs_dec: Array) -> Array:
        self.layers, self.attention_weights = [], []
        out = []
        for t in range(hs_dec.shape[1]):
            layer = Attention()
            out.append(layer.forward(hs_enc, hs_dec[:, t, :]))
            self.layers.append(layer)
            self.attention_weights.append(layer.attention_weight)
        return np.stack(out, axis=1)

    def backward(self, dout: Array) -> tuple[Array, Array]:
        dhs_enc: Any = 0
        dhs_dec = []
        for t, layer in enumerate(self.layers):
            dhs, dh = layer.backward(dout[:, t, :])
            dhs_enc = dhs_enc + dhs
            dhs_dec.append(dh)
        return dhs_enc, np.stack(dhs_dec, axis=1)
