"""The networks of chapters 5 to 8 from the layers of manual/, every backward pass by hand.

What manual/ does not have stands here, in its style: ``forward``, ``backward``, and the lists
``params`` and ``grads``, whose arrays ``backward`` fills in place. Each docstring derives what
``backward`` computes; dx stands for dL/dx, and a value that is used in several places is given the
sum of what comes back from each. A network has its params in the order of the model that it is
held against, and is made from that model's weights by name.

N batch, T steps of the encoder, U of the decoder, D inputs, H hidden units, V vocabulary.
"""

import math

import numpy as np

from tinygrad_rnn import manual


def under(weights, name):
    """The weights whose names begin with ``name.``, by the rest of their names."""
    return {k.removeprefix(f"{name}."): w for k, w in weights.items() if k.startswith(f"{name}.")}


def make(layer, weights, name):
    """A layer with its own weights from all those of a network."""
    return layer(*under(weights, name).values())


def collect(*layers):
    """The params and the grads of layers, one after the other."""
    return [p for y in layers for p in y.params], [g for y in layers for g in y.grads]


def clear(grads):
    for grad in grads:
        grad[...] = 0


def add(grads, step):
    """A weight that is used at every step is given the sum over the steps."""
    for total, grad in zip(grads, step, strict=True):
        total += grad


# ---- language models: layers in a row -----------------------------------------------------------


class LanguageModel:
    """Layers in a row and the loss: ids xs, ts (N, T) -> mean cross-entropy. Chapters 5 and 6."""

    def __init__(self, *layers):
        self.layers, self.last = layers, manual.TimeSoftmaxWithLoss()
        self.params, self.grads = collect(*layers)

    def forward(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.last.forward(xs, ts)

    def backward(self):
        dout = self.last.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)

    def reset_state(self):
        for layer in self.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()


class TiedLanguageModel(LanguageModel):
    """A LanguageModel that ends with the matrix W (V, H) it begins with: scores = hs W^T + b.

    To TimeAffine, A = W^T is a weight as any other, with the gradient dA. W is used twice, as the
    rows of the embedding and as A:  dW = dW_embedding + dA^T
    """

    def __init__(self, embed, *between, b):
        self.affine = manual.TimeAffine(embed.params[0].T, b)
        super().__init__(embed, *between, self.affine)
        del self.params[-2], self.grads[-2]  # W counts once, at its first place

    def backward(self):
        super().backward()
        self.grads[0] += self.affine.grads[0].T


# ---- LSTM layers, their states handed over ------------------------------------------------------


class TimeLSTM(manual.TimeLSTM):
    """manual.TimeLSTM from a state (h, c), with its final state for an output too.

        hs, (h, c) = forward(xs, (h, c))        dxs, (dh, dc) = backward(dhs, (dh, dc))

    The final h is also the last of hs, so that its gradient is added to that of hs. The final c is
    an output of the last cell only: its gradient is what goes into that cell first.
    """

    def forward(self, xs, state=(None, None)):
        self.set_state(*state)
        return super().forward(xs), (self.h, self.c)

    def backward(self, dhs, dstate=(0, 0)):
        clear(self.grads)
        (dh, dc), dxs = dstate, []
        for t in reversed(range(len(self.layers))):
            dx, dh, dc = self.layers[t].backward(dhs[:, t] + dh, dc)
            add(self.grads, self.layers[t].grads)
            dxs.append(dx)
        return np.stack(dxs[::-1], axis=1), (dh, dc)


class TimeBiLSTM:
    """Two TimeLSTM, the second from the end; their states side by side, the final ones too.

    Side by side forward, cut in two backward; reversed forward, reversed backward. xs is read by
    both: dxs = dxs1 + reversed dxs2. They start from zeros, which want no gradient (None).
    """

    def __init__(self, *params):
        self.lstm1, self.lstm2 = TimeLSTM(*params[:3]), TimeLSTM(*params[3:])
        self.params, self.grads = collect(self.lstm1, self.lstm2)

    def forward(self, xs):
        hs1, (h1, c1) = self.lstm1.forward(xs)
        hs2, (h2, c2) = self.lstm2.forward(xs[:, ::-1])
        return np.dstack((hs1, hs2[:, ::-1])), (np.hstack((h1, h2)), np.hstack((c1, c2)))

    def backward(self, dhs, dstate):
        (dh1, dh2), (dc1, dc2) = (np.hsplit(d, 2) for d in dstate)
        dhs1, dhs2 = np.dsplit(dhs, 2)
        dxs1, _ = self.lstm1.backward(dhs1, (dh1, dc1))
        dxs2, _ = self.lstm2.backward(dhs2[:, ::-1], (dh2, dc2))
        return dxs1 + dxs2[:, ::-1], None


class Residual:
    """A layer whose input is added to its output where their sizes agree: hs = layer(xs) + xs.

    xs is used twice: dxs = layer'(dhs) + dhs
    """

    def __init__(self, layer):
        self.layer, self.params, self.grads = layer, layer.params, layer.grads

    def forward(self, xs):
        hs, state = self.layer.forward(xs)
        self.skip = hs.shape == xs.shape
        return hs + xs if self.skip else hs, state

    def backward(self, dhs, dstate):
        dxs, dstart = self.layer.backward(dhs, dstate)
        return dxs + dhs if self.skip else dxs, dstart


class Encoder:
    """Ids (N, T) -> hs (N, T, H) of the topmost layer, and the final (h, c) of every layer.

    Layer l reads the hs of layer l - 1, and hands its final state over to layer l of the decoder,
    from which dstates[l] comes back. ``reverse``: the input is read from the end.
    """

    def __init__(self, weights, bidirectional=False, residual=False, reverse=False):
        self.embed = make(manual.TimeEmbedding, weights, "embed")
        layer, k = (TimeBiLSTM, 6) if bidirectional else (TimeLSTM, 3)
        params = list(under(weights, "lstm").values())
        self.layers = [layer(*params[i : i + k]) for i in range(0, len(params), k)]
        if residual:
            self.layers = [Residual(layer) for layer in self.layers]
        self.step = -1 if reverse else 1
        self.params, self.grads = collect(self.embed, *self.layers)

    def forward(self, ids):
        hs, states = self.embed.forward(ids)[:, :: self.step], []
        for layer in self.layers:
            hs, state = layer.forward(hs)
            states.append(state)
        return hs, states

    def backward(self, dhs, dstates):
        for layer, dstate in zip(self.layers[::-1], dstates[::-1], strict=True):
            dhs, _ = layer.backward(dhs, dstate)
        self.embed.backward(dhs[:, :: self.step])


# ---- attention: other weights than the dot product's --------------------------------------------


class ScaledDotWeight(manual.AttentionWeight):
    """a = softmax(s), s_nt = hs_nt . h_n / sqrt(H): the dot product with q = h / sqrt(H).

    dh = dq / sqrt(H)
    """

    def forward(self, hs, h):
        self.scale = 1 / math.sqrt(h.shape[1])
        return super().forward(hs, h * self.scale)

    def backward(self, da):
        dhs, dq = super().backward(da)
        return dhs, dq * self.scale


class GeneralWeight(manual.AttentionWeight):
    """a = softmax(s), s_nt = hs_nt . h_n W: the dot product with q = h W, W (H, H).

    dh and dW are MatMul's, of dq.
    """

    def __init__(self, W):
        super().__init__()
        self.matmul = manual.MatMul(W)
        self.params, self.grads = self.matmul.params, self.matmul.grads

    def forward(self, hs, h):
        return super().forward(hs, self.matmul.forward(h))

    def backward(self, da):
        dhs, dq = super().backward(da)
        return dhs, self.matmul.backward(dq)


class AdditiveWeight:
    """a = softmax(s), s_nt = e_nt . v, e_nt = tanh(h_n Wq + hs_nt Wk); Wq, Wk (H, H), v (H,).

    With ds from Softmax and A for what stands inside the tanh:
        dv = sum_nt ds_nt e_nt        dA_nt = ds_nt v (1 - e_nt^2)
        dhs_nt = dA_nt Wk^T           dWk = sum_nt hs_nt^T dA_nt
    h_n is the same for all t, therefore dq_n = sum_t dA_nt is what comes back to its product:
        dh_n = dq_n Wq^T              dWq = sum_n h_n^T dq_n
    """

    def __init__(self, Wq, Wk, v):
        self.params = [Wq, Wk, v]
        self.grads = [np.zeros_like(Wq), np.zeros_like(Wk), np.zeros_like(v)]
        self.softmax = manual.Softmax()

    def forward(self, hs, h):
        Wq, Wk, v = self.params
        e = np.tanh(np.dot(h, Wq)[:, None] + np.dot(hs, Wk))
        self.cache = (hs, h, e)
        return self.softmax.forward(np.dot(e, v))

    def backward(self, da):
        Wq, Wk, v = self.params
        hs, h, e = self.cache
        ds = self.softmax.backward(da)
        dA = ds[:, :, None] * v * (1.0 - e**2)
        dq = np.sum(dA, axis=1)
        self.grads[0][...] = np.dot(h.T, dq)
        self.grads[1][...] = np.einsum("nth,nta->ha", hs, dA)
        self.grads[2][...] = np.einsum("nt,nta->a", ds, e)
        return np.dot(dA, Wk.T), np.dot(dq, Wq.T)


WEIGHTS = {
    "dot": manual.AttentionWeight,
    "scaled_dot": ScaledDotWeight,
    "general": GeneralWeight,
    "additive": AdditiveWeight,
}


class Attention(manual.Attention):
    """manual.Attention with any of the WEIGHTS: hs (N, T, H), h (N, H) -> context (N, H)."""

    def __init__(self, weight):
        super().__init__()
        self.attention_weight_layer = weight
        self.params, self.grads = weight.params, weight.grads


class Attentions:
    """One Attention for each step of the decoder: all with the same weights, and the same hs.

    The gradients of both are therefore sums over the steps: ``grads`` and ``dhs``.
    """

    def __init__(self, weights, score):
        self.new = lambda: Attention(make(WEIGHTS[score], weights, "attention"))
        self.params, self.grads = collect(self.new())

    def start(self, hs):
        self.hs, self.layers = hs, []

    def look(self, h):
        """The context of the next step."""
        self.layers.append(self.new())
        return self.layers[-1].forward(self.hs, h)

    def start_back(self):
        clear(self.grads)
        self.dhs = np.zeros_like(self.hs)

    def look_back(self, t, dcontext):
        """dh of step t."""
        dhs, dh = self.layers[t].backward(dcontext)
        add(self.grads, self.layers[t].grads)
        self.dhs += dhs
        return dh


# ---- decoders -----------------------------------------------------------------------------------


class Decoder:
    """Ids (N, U), hs_enc (N, T, H), states of the encoder -> scores (N, U, V). Chapter 7.

    backward(dscores) gives dhs_enc, and dstates for the final states of the encoder. Of hs_enc
    this decoder makes no use.
    """

    def __init__(self, weights):
        self.embed = make(manual.TimeEmbedding, weights, "embed")
        self.lstm = make(TimeLSTM, weights, "lstm")
        self.affine = make(manual.TimeAffine, weights, "affine")
        self.params, self.grads = collect(self.embed, self.lstm, self.affine)

    def forward(self, ids, hs_enc, states):
        self.hs_enc = hs_enc
        hs, _ = self.lstm.forward(self.embed.forward(ids), states[0])
        return self.affine.forward(hs)

    def backward(self, dscores):
        dxs, dstate = self.lstm.backward(self.affine.backward(dscores))
        self.embed.backward(dxs)
        return np.zeros_like(self.hs_enc), [dstate]


class PeekyDecoder(Decoder):
    """Decoder that is shown p, the last of hs_enc, at every step: [p, x_u] -> LSTM -> h_u,
    [p, h_u] -> scores. Chapter 7.

    p is used 2 U times:  dhs_enc at the last step = sum_u (dp of the LSTM + dp of the scores)
    """

    def forward(self, ids, hs_enc, states):
        self.hs_enc = hs_enc
        peek = np.repeat(hs_enc[:, -1:], ids.shape[1], axis=1)
        hs, _ = self.lstm.forward(np.dstack((peek, self.embed.forward(ids))), states[0])
        return self.affine.forward(np.dstack((peek, hs)))

    def backward(self, dscores):
        H = self.hs_enc.shape[2]
        dpeek1, dhs = np.dsplit(self.affine.backward(dscores), [H])
        dinputs, dstate = self.lstm.backward(dhs)
        dpeek2, dxs = np.dsplit(dinputs, [H])
        self.embed.backward(dxs)
        dhs_enc = np.zeros_like(self.hs_enc)
        dhs_enc[:, -1] = np.sum(dpeek1 + dpeek2, axis=1)
        return dhs_enc, [dstate]


class AttentionDecoder(Decoder):
    """Decoder with [context_u, h_u] -> scores. Chapter 8.

    h_u is used twice:  dh_u = dh_u of the scores + dh_u of the attention
    """

    def __init__(self, weights, score):
        super().__init__(weights)
        self.attentions = Attentions(weights, score)
        self.params, self.grads = collect(self.embed, self.lstm, self.attentions, self.affine)

    def forward(self, ids, hs_enc, states):
        hs, _ = self.lstm.forward(self.embed.forward(ids), states[0])
        self.attentions.start(hs_enc)
        contexts = np.stack([self.attentions.look(h) for h in np.unstack(hs, axis=1)], axis=1)
        return self.affine.forward(np.dstack((contexts, hs)))

    def backward(self, dscores):
        dcontexts, dhs = np.dsplit(self.affine.backward(dscores), 2)
        self.attentions.start_back()
        for u in range(dhs.shape[1]):
            dhs[:, u] += self.attentions.look_back(u, dcontexts[:, u])
        dxs, dstate = self.lstm.backward(dhs)
        self.embed.backward(dxs)
        return self.attentions.dhs, [dstate]


class InputFeedingLSTM:
    """An LSTM that is given its last context: xs, hs_enc, (h, c) -> hs and contexts (N, U, H).

        h_u, c_u = LSTM([x_u, context_u-1], h_u-1, c_u-1)      context_u = Attention(hs_enc, h_u)

    The first context is 0. context_u is an output and an input of step u + 1; h_u is an output,
    what step u looks for, and a state of step u + 1. Hence, from the last step to the first:
        dcontext_u = dcontexts_u + dcontext of step u + 1
        dh_u = dhs_u + dh of the attention, of dcontext_u + dh of step u + 1
    """

    def __init__(self, weights, score):
        self.lstm = make(manual.LSTM, weights, "lstm")
        self.attentions = Attentions(weights, score)
        self.params, self.grads = collect(self.lstm, self.attentions)

    def forward(self, xs, hs_enc, state):
        (h, c), context = state, np.zeros_like(hs_enc[:, 0])
        self.attentions.start(hs_enc)
        self.cells, hs, contexts = [], [], []
        for x in np.unstack(xs, axis=1):
            self.cells.append(manual.LSTM(*self.lstm.params))
            h, c = self.cells[-1].forward(np.hstack((x, context)), h, c)
            context = self.attentions.look(h)
            hs.append(h)
            contexts.append(context)
        return np.stack(hs, axis=1), np.stack(contexts, axis=1)

    def backward(self, dhs, dcontexts):
        clear(self.grads)
        self.attentions.start_back()
        dxs, dcontext, dh, dc = [], 0, 0, 0
        for u in reversed(range(len(self.cells))):
            dh = dh + dhs[:, u] + self.attentions.look_back(u, dcontexts[:, u] + dcontext)
            dinput, dh, dc = self.cells[u].backward(dh, dc)
            add(self.lstm.grads, self.cells[u].grads)
            dx, dcontext = np.hsplit(dinput, [-dh.shape[1]])
            dxs.append(dx)
        return np.stack(dxs[::-1], axis=1), self.attentions.dhs, (dh, dc)


class InputFeedingDecoder:
    """InputFeedingLSTM, layers above it (or none), and [context_u, h_u] -> scores. Chapter 8.4.

    A layer above gives LSTM([context_u, h_u]), with ``residual`` + h_u, where h_u is the output
    of the layer below. The contexts are read by every layer above and by the scores, h_u by the
    next layer and by the skip connection:
        dcontexts = dcontexts of the scores + sum over the layers above
        dh_u = dh_u of LSTM + dh_u of the sum
    """

    def __init__(self, weights, score, residual=False):
        self.embed = make(manual.TimeEmbedding, weights, "embed")
        self.bottom = InputFeedingLSTM(weights, score)
        self.affine = make(manual.TimeAffine, weights, "affine")
        params = list(under(weights, "upper").values())
        self.upper = [TimeLSTM(*params[i : i + 3]) for i in range(0, len(params), 3)]
        self.residual = residual
        self.params, self.grads = collect(self.embed, self.bottom, self.affine, *self.upper)

    def forward(self, ids, hs_enc, states):
        hs, contexts = self.bottom.forward(self.embed.forward(ids), hs_enc, states[0])
        for lstm, state in zip(self.upper, states[1:], strict=True):
            below = hs
            hs, _ = lstm.forward(np.dstack((contexts, below)), state)
            hs = hs + below if self.residual else hs
        return self.affine.forward(np.dstack((contexts, hs)))

    def backward(self, dscores):
        dcontexts, dhs = np.dsplit(self.affine.backward(dscores), 2)
        dstates = []
        for lstm in self.upper[::-1]:
            dinputs, dstate = lstm.backward(dhs)
            dcontext, dbelow = np.dsplit(dinputs, 2)
            dcontexts = dcontexts + dcontext
            dhs = dbelow + dhs if self.residual else dbelow
            dstates.append(dstate)
        dxs, dhs_enc, dstate = self.bottom.backward(dhs, dcontexts)
        self.embed.backward(dxs)
        return dhs_enc, [dstate, *dstates[::-1]]


# ---- sequence to sequence -----------------------------------------------------------------------


class Seq2seq:
    """Encoder, decoder, loss: ids xs (N, T), ts (N, U + 1) -> mean cross-entropy. Chapter 7.

    ts[:, :-1] is read and ts[:, 1:] is wanted (teacher forcing).
    """

    def __init__(self, encoder, decoder):
        self.encoder, self.decoder = encoder, decoder
        self.last = manual.TimeSoftmaxWithLoss()
        self.params, self.grads = collect(encoder, decoder)

    def forward(self, xs, ts):
        scores = self.decoder.forward(ts[:, :-1], *self.encoder.forward(xs))
        return self.last.forward(scores, ts[:, 1:])

    def backward(self):
        self.encoder.backward(*self.decoder.backward(self.last.backward()))
