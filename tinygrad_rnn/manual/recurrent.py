"""Recurrent cells (one step) and layers (all steps): RNN, LSTM, GRU, bidirectional LSTM.

N batch, T time steps, D inputs, H hidden units. Weights are Wx (D, kH), Wh (H, kH), b (kH,), with
the k gates side by side. In every derivation A is what stands inside the activations, and dA its
gradient; as A = x Wx + h_prev Wh + b, the rest is Affine twice:
    dx = dA Wx^T    dh_prev = dA Wh^T    dWx = x^T dA    dWh = h_prev^T dA    db = sum_n dA_n

Over time, h_t is an output of step t and an input of step t + 1: its gradient is the sum of both,
dh_next = dhs_t + dh_prev(t + 1). A weight is used at every step: its gradient is the sum over t.
"""

from typing import Any

import numpy as np

from .layers import Array, sigmoid


class RNN:
    """One step: x (N, D), h_prev (N, H) -> h_next (N, H). Chapter 5.

    h = tanh(A), A = x Wx + h_prev Wh + b. As tanh' = 1 - tanh^2: dA = dh (1 - h^2)
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache: Any = None

    def forward(self, x: Array, h_prev: Array) -> Array:
        Wx, Wh, b = self.params
        h_next = np.tanh(np.dot(x, Wx) + np.dot(h_prev, Wh) + b)
        self.cache = (x, h_prev, h_next)
        return h_next

    def backward(self, dh_next: Array) -> tuple[Array, Array]:
        Wx, Wh, _ = self.params
        x, h_prev, h_next = self.cache

        dA = dh_next * (1.0 - h_next**2)

        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][...] = np.dot(h_prev.T, dA)
        self.grads[2][...] = np.sum(dA, axis=0)
        dx = np.dot(dA, Wx.T)
        dh_prev = np.dot(dA, Wh.T)
        return dx, dh_prev


class LSTM:
    """One step: x (N, D), h_prev and c_prev (N, H) -> h_next, c_next (N, H). Chapter 6.

    A = x Wx + h_prev Wh + b (N, 4H), in blocks f, g, i, o; s is the sigmoid:
        f = s(A_f)    g = tanh(A_g)    i = s(A_i)    o = s(A_o)
        c = f c_prev + i g             h = o tanh(c)
    c reaches the loss directly and through h; with dc for the sum of both
        dc = dc_next + dh o (1 - tanh(c)^2)
        df = dc c_prev    dg = dc i    di = dc g    do = dh tanh(c)    dc_prev = dc f
        dA_f = df f (1 - f)    dA_g = dg (1 - g^2)    dA_i = di i (1 - i)    dA_o = do o (1 - o)
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache: Any = None

    def forward(self, x: Array, h_prev: Array, c_prev: Array) -> tuple[Array, Array]:
        Wx, Wh, b = self.params
        H = Wh.shape[0]

        A = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f = sigmoid(A[:, :H])
        g = np.tanh(A[:, H : 2 * H])
        i = sigmoid(A[:, 2 * H : 3 * H])
        o = sigmoid(A[:, 3 * H :])

        c_next = f * c_prev + g * i
        tanh_c = np.tanh(c_next)
        h_next = o * tanh_c
        self.cache = (x, h_prev, c_prev, f, g, i, o, tanh_c)
        return h_next, c_next

    def backward(self, dh_next: Array, dc_next: Array) -> tuple[Array, Array, Array]:
        Wx, Wh, _ = self.params
        x, h_prev, c_prev, f, g, i, o, tanh_c = self.cache

        dc = dc_next + dh_next * o * (1.0 - tanh_c**2)
        df = dc * c_prev
        dg = dc * i
        di = dc * g
        do = dh_next * tanh_c
        dc_prev = dc * f
        dA = np.hstack(
            (df * f * (1.0 - f), dg * (1.0 - g**2), di * i * (1.0 - i), do * o * (1.0 - o))
        )

        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][...] = np.dot(h_prev.T, dA)
        self.grads[2][...] = np.sum(dA, axis=0)
        dx = np.dot(dA, Wx.T)
        dh_prev = np.dot(dA, Wh.T)
        return dx, dh_prev, dc_prev


class GRU:
    """One step: x (N, D), h_prev (N, H) -> h_next (N, H). Appendix C, with a bias.

    Blocks z, r, h of the columns; s is the sigmoid. r weighs h_prev before the product with Wh:
        z = s(x Wx_z + h_prev Wh_z + b_z)    r = s(x Wx_r + h_prev Wh_r + b_r)
        h_hat = tanh(A_h), A_h = x Wx_h + u Wh_h + b_h, u = r h_prev
        h = (1 - z) h_prev + z h_hat
    From the end to the beginning:
        dz = dh (h_hat - h_prev)      dA_z = dz z (1 - z)
        dh_hat = dh z                 dA_h = dh_hat (1 - h_hat^2)
        du = dA_h Wh_h^T              dr = du h_prev              dA_r = dr r (1 - r)
    h_prev enters by three ways, the product with Wh_z and Wh_r, u, and the last line:
        dh_prev = [dA_z dA_r] [Wh_z Wh_r]^T + du r + dh (1 - z)
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache: Any = None

    def forward(self, x: Array, h_prev: Array) -> Array:
        Wx, Wh, b = self.params
        H = Wh.shape[0]

        Ax = np.dot(x, Wx) + b
        Ah = np.dot(h_prev, Wh[:, : 2 * H])
        z = sigmoid(Ax[:, :H] + Ah[:, :H])
        r = sigmoid(Ax[:, H : 2 * H] + Ah[:, H:])
        u = r * h_prev
        h_hat = np.tanh(Ax[:, 2 * H :] + np.dot(u, Wh[:, 2 * H :]))

        h_next = (1.0 - z) * h_prev + z * h_hat
        self.cache = (x, h_prev, z, r, u, h_hat)
        return h_next

    def backward(self, dh_next: Array) -> tuple[Array, Array]:
        Wx, Wh, _ = self.params
        H = Wh.shape[0]
        x, h_prev, z, r, u, h_hat = self.cache

        dz = dh_next * (h_hat - h_prev)
        dh_hat = dh_next * z
        dA_h = dh_hat * (1.0 - h_hat**2)
        du = np.dot(dA_h, Wh[:, 2 * H :].T)
        dr = du * h_prev
        dA_zr = np.hstack((dz * z * (1.0 - z), dr * r * (1.0 - r)))
        dA = np.hstack((dA_zr, dA_h))

        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][:, : 2 * H] = np.dot(h_prev.T, dA_zr)
        self.grads[1][:, 2 * H :] = np.dot(u.T, dA_h)
        self.grads[2][...] = np.sum(dA, axis=0)
        dx = np.dot(dA, Wx.T)
        dh_prev = np.dot(dA_zr, Wh[:, : 2 * H].T) + du * r + dh_next * (1.0 - z)
        return dx, dh_prev


class TimeRNN:
    """RNN over time: xs (N, T, D) -> hs (N, T, H). Chapter 5.

    A call begins with the state that `set_state` gave (zeros when none was given), or with
    `stateful=True` where the call before it ended. Backward goes through the latest call only
    (truncated BPTT), and leaves the gradient of the state it began with in `dh`. `h` is the state
    it ended with, (N, H). ValueError for xs of another rank, or without a time step.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers: Any = None
        self.stateful = stateful
        self.reset_state()

    def set_state(self, h: Array | None) -> None:
        """Begin the next call with h (N, H), or with zeros for None."""
        self.h = self.h_start = h

    def reset_state(self) -> None:
        """Forget all states: the next call begins with zeros."""
        self.set_state(None)
        self.dh: Array | None = None

    def forward(self, xs: Array) -> Array:
        N, T, _ = _check_steps(self, xs)
        H = self.params[1].shape[0]
        h = self.h if self.stateful else self.h_start
        if h is None:
            h = np.zeros_like(xs, shape=(N, H))

        self.layers = []
        hs = []
        for t in range(T):
            layer = RNN(*self.params)
            h = layer.forward(xs[:, t, :], h)
            hs.append(h)
            self.layers.append(layer)
        self.h = h
        return np.stack(hs, axis=1)

    def backward(self, dhs: Array) -> Array:
        _clear(self.grads)
        dxs = []
        dh: Any = 0
        for t in reversed(range(len(self.layers))):
            layer = self.layers[t]
            dx, dh = layer.backward(dhs[:, t, :] + dh)
            dxs.append(dx)
            _add(self.grads, layer.grads)
        self.dh = dh
        return np.stack(dxs[::-1], axis=1)


class TimeLSTM:
    """LSTM over time: xs (N, T, D) -> hs (N, T, H). Chapter 6.

    States as in TimeRNN, with the pair h, c for h; c is zeros when `set_state` gives h only.
    Backward leaves the gradients of both initial states, in `dh` and `dc`. ValueError as there.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers: Any = None
        self.stateful = stateful
        self.reset_state()

    def set_state(self, h: Array | None, c: Array | None = None) -> None:
        """Begin the next call with h and c (N, H), or with zeros for None."""
        self.h = self.h_start = h
        self.c = self.c_start = c

    def reset_state(self) -> None:
        """Forget all states: the next call begins with zeros."""
        self.set_state(None)
        self.dh: Array | None = None
        self.dc: Array | None = None

    def forward(self, xs: Array) -> Array:
        N, T, _ = _check_steps(self, xs)
        H = self.params[1].shape[0]
        h, c = (self.h, self.c) if self.stateful else (self.h_start, self.c_start)
        if h is None:
            h = np.zeros_like(xs, shape=(N, H))
        if c is None:
            c = np.zeros_like(xs, shape=(N, H))

        self.layers = []
        hs = []
        for t in range(T):
            layer = LSTM(*self.params)
            h, c = layer.forward(xs[:, t, :], h, c)
            hs.append(h)
            self.layers.append(layer)
        self.h, self.c = h, c
        return np.stack(hs, axis=1)

    def backward(self, dhs: Array) -> Array:
        _clear(self.grads)
        dxs = []
        dh: Any = 0
        dc: Any = 0
        for t in reversed(range(len(self.layers))):
            layer = self.layers[t]
            dx, dh, dc = layer.backward(dhs[:, t, :] + dh, dc)
            dxs.append(dx)
            _add(self.grads, layer.grads)
        self.dh, self.dc = dh, dc
        return np.stack(dxs[::-1], axis=1)


class TimeGRU:
    """GRU over time: xs (N, T, D) -> hs (N, T, H). Appendix C.

    States, and the ValueError, as in TimeRNN.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers: Any = None
        self.stateful = stateful
        self.reset_state()

    def set_state(self, h: Array | None) -> None:
        """Begin the next call with h (N, H), or with zeros for None."""
        self.h = self.h_start = h

    def reset_state(self) -> None:
        """Forget all states: the next call begins with zeros."""
        self.set_state(None)
        self.dh: Array | None = None

    def forward(self, xs: Array) -> Array:
        N, T, _ = _check_steps(self, xs)
        H = self.params[1].shape[0]
        h = self.h if self.stateful else self.h_start
        if h is None:
            h = np.zeros_like(xs, shape=(N, H))

        self.layers = []
        hs = []
        for t in range(T):
            layer = GRU(*self.params)
            h = layer.forward(xs[:, t, :], h)
            hs.append(h)
            self.layers.append(layer)
        self.h = h
        return np.stack(hs, axis=1)

    def backward(self, dhs: Array) -> Array:
        _clear(self.grads)
        dxs = []
        dh: Any = 0
        for t in reversed(range(len(self.layers))):
            layer = self.layers[t]
            dx, dh = layer.backward(dhs[:, t, :] + dh)
            dxs.append(dx)
            _add(self.grads, layer.grads)
        self.dh = dh
        return np.stack(dxs[::-1], axis=1)


class TimeBiLSTM:
    """Two LSTMs, one of them from the end: xs (N, T, D) -> hs (N, T, 2H). Chapter 8.

    hs_t = [LSTM1(xs)_t, LSTM2(reversed xs)_(T-1-t)]. dhs is cut in the two halves, the second is
    reversed on its way in and its dxs on the way out: dxs = dxs1 + reversed dxs2.
    The states and their gradients are those of `forward_lstm` and `backward_lstm`. ValueError as
    in TimeLSTM.
    """

    def __init__(self, Wx1: Array, Wh1: Array, b1: Array, Wx2: Array, Wh2: Array, b2: Array,
                 stateful: bool = False) -> None:
        self.forward_lstm = TimeLSTM(Wx1, Wh1, b1, stateful)
        self.backward_lstm = TimeLSTM(Wx2, Wh2, b2, stateful)
        self.params = self.forward_lstm.params + self.backward_lstm.params
        self.grads = self.forward_lstm.grads + self.backward_lstm.grads

    def reset_state(self) -> None:
        """Forget all states: the next call begins with zeros."""
        self.forward_lstm.reset_state()
        self.backward_lstm.reset_state()

    def forward(self, xs: Array) -> Array:
        hs1 = self.forward_lstm.forward(xs)
        hs2 = self.backward_lstm.forward(xs[:, ::-1])[:, ::-1]
        return np.concatenate((hs1, hs2), axis=2)

    def backward(self, dhs: Array) -> Array:
        H = dhs.shape[2] // 2
        dxs1 = self.forward_lstm.backward(dhs[:, :, :H])
        dxs2 = self.backward_lstm.backward(dhs[:, ::-1, H:])[:, ::-1]
        return dxs1 + dxs2


def _check_steps(layer: object, xs: Array) -> tuple[int, ...]:
    if xs.ndim != 3 or xs.shape[1] == 0:
        name = type(layer).__name__
        raise ValueError(f"{name}: xs {xs.shape}, wanted (N, T, D) with at least one time step")
    return xs.shape


def _clear(grads: list[Array]) -> None:
    for grad in grads:
        grad[...] = 0


def _add(grads: list[Array], step: list[Array]) -> None:
    for grad, grad_t in zip(grads, step, strict=True):
        grad += grad_t
