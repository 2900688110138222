"""The layers of manual/, with their hand-derived backward, put together as in the book."""

import numpy as np

from tinygrad_rnn import manual
from tinygrad_rnn.speed import keep_freed_memory

keep_freed_memory()  # as the engine does: that is not what is compared


class LanguageModel:
    """Embedding, LSTM layers, affine, dropout between; "better" has one matrix for both ends."""

    def __init__(self, w, p, dropout):
        lstms = [
            manual.TimeLSTM(*(p[f"recurrent.cells.{k}.{a}"] for a in ("Wx", "Wh", "b")),
                            stateful=True) for k in range(w.layers)
        ]  # fmt: skip
        self.tied = w.name == "better"
        ends = (p["embed.W"].T, p["b"]) if self.tied else (p["affine.W"], p["affine.b"])
        self.affine = manual.TimeAffine(*ends)
        self.layers = [manual.TimeEmbedding(p["embed.W"])]
        for lstm in lstms:
            self.layers += [manual.TimeDropout(dropout), lstm] if dropout else [lstm]
        self.layers += [manual.TimeDropout(dropout)] if dropout else []
        self.layers.append(self.affine)
        self.lstms, self.last = lstms, manual.TimeSoftmaxWithLoss()

    def loss(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.last.forward(xs, ts)

    def backward(self):
        d = self.last.backward()
        for layer in reversed(self.layers):
            d = layer.backward(d)

    def gradients(self):
        g = {"embed.W": self.layers[0].grads[0]}
        for k, lstm in enumerate(self.lstms):
            g |= dict(zip([f"recurrent.cells.{k}.{a}" for a in ("Wx", "Wh", "b")], lstm.grads,
                          strict=True))  # fmt: skip
        if self.tied:
            g["embed.W"] = g["embed.W"] + self.affine.grads[0].T
            return g | {"b": self.affine.grads[1]}
        return g | {"affine.W": self.affine.grads[0], "affine.b": self.affine.grads[1]}

    def reset(self):
        for lstm in self.lstms:
            lstm.reset_state()


class Seq2seq:
    """Encoder and decoder, whose LSTM starts from h and c of the encoder; attention for dates."""

    def __init__(self, w, p, dropout):
        def lstm(side):
            arrays = (p[f"{side}.lstm.cells.0.{a}"] for a in ("Wx", "Wh", "b"))
            return manual.TimeLSTM(*arrays, stateful=side == "decoder")

        self.e_embed, self.e_lstm = manual.TimeEmbedding(p["encoder.embed.W"]), lstm("encoder")
        self.d_embed, self.d_lstm = manual.TimeEmbedding(p["decoder.embed.W"]), lstm("decoder")
        self.attention = manual.TimeAttention() if w.name == "date" else None
        self.affine = manual.TimeAffine(p["decoder.affine.W"], p["decoder.affine.b"])
        self.last, self.H = manual.TimeSoftmaxWithLoss(), w.H

    def loss(self, xs, ts):
        encoded = self.e_lstm.forward(self.e_embed.forward(xs))
        self.d_lstm.set_state(self.e_lstm.h, self.e_lstm.c)
        hs = self.d_lstm.forward(self.d_embed.forward(ts[:, :-1]))
        if self.attention:
            hs = np.concatenate([self.attention.forward(encoded, hs), hs], axis=2)
        self.shape = encoded.shape
        return self.last.forward(self.affine.forward(hs), ts[:, 1:])

    def backward(self):
        d = self.affine.backward(self.last.backward())
        if self.attention:
            dencoded, dhs = self.attention.backward(d[:, :, : self.H])
            d = dhs + d[:, :, self.H :]
        else:
            dencoded = np.zeros(self.shape, d.dtype)
        self.d_embed.backward(self.d_lstm.backward(d))
        self.e_embed.backward(backward_from(self.e_lstm, dencoded, self.d_lstm))

    def gradients(self):
        g = {}
        for side, embed, lstm in (("encoder", self.e_embed, self.e_lstm),
                                  ("decoder", self.d_embed, self.d_lstm)):  # fmt: skip
            g[f"{side}.embed.W"] = embed.grads[0]
            g |= dict(zip([f"{side}.lstm.cells.0.{a}" for a in ("Wx", "Wh", "b")], lstm.grads,
                          strict=True))  # fmt: skip
        return g | {"decoder.affine.W": self.affine.grads[0],
                    "decoder.affine.b": self.affine.grads[1]}  # fmt: skip

    def reset(self):
        pass


def backward_from(lstm, dhs, after):
    """TimeLSTM.backward where the final h and c have a gradient too: that of the layer after."""
    for g in lstm.grads:
        g[...] = 0
    dxs = np.empty((*dhs.shape[:2], lstm.params[0].shape[0]), dhs.dtype)
    dh, dc = after.dh, after.dc
    for t in reversed(range(dhs.shape[1])):
        dxs[:, t], dh, dc = lstm.layers[t].backward(dhs[:, t] + dh, dc)
        for total, g in zip(lstm.grads, lstm.layers[t].grads, strict=True):
            total += g
    return dxs


class Contender:
    def __init__(self, workload, dropout):
        self.w, self.params = workload, workload.weights()
        network = Seq2seq if workload.seq2seq else LanguageModel
        self.network = network(workload, self.params, dropout)
        self.xs, self.ts = workload.batch()
        self.m = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.v = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.steps = 0

    def loss_and_gradients(self):
        loss = self.network.loss(self.xs, self.ts)
        self.network.backward()
        self.network.reset()
        return loss, self.network.gradients()

    def step(self):
        loss = self.network.loss(self.xs, self.ts)
        self.network.backward()
        gradients = self.network.gradients()
        norm = np.sqrt(sum(float(np.sum(g**2)) for g in gradients.values()))
        rate = self.w.max_norm / (norm + 1e-6)
        if rate < 1:
            for g in gradients.values():
                g *= rate
        self.update(gradients)
        return loss

    def update(self, gradients):
        """SGD and Adam in the way of the book, with everybody's epsilon."""
        self.steps += 1
        lr = self.w.lr
        if self.w.optimizer == "sgd":
            for name, g in gradients.items():
                self.params[name] -= lr * g
            return
        rate, root = lr / (1 - 0.9**self.steps), (1 - 0.999**self.steps) ** 0.5
        for name, g in gradients.items():
            m, v = self.m[name], self.v[name]
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            self.params[name] -= rate * m / (np.sqrt(v) / root + 1e-8)
