"""PyTorch, eager, with LSTM cells written as tensor expressions like ours."""

import torch
import torch.nn.functional as F

from . import networks


class Ops:
    def __init__(self, dropout):
        self.p = dropout

    def lstm(self, name, p, xs, state):
        Wx, Wh, b = p[f"{name}.Wx"], p[f"{name}.Wh"], p[f"{name}.b"]
        h, c = state
        hs = []
        for a in (xs @ Wx + b).unbind(1):
            f, g, i, o = (a + h @ Wh).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
        return torch.stack(hs, dim=1), (h, c)

    def dropout(self, x):
        return F.dropout(x, self.p)

    def softmax(self, x):
        return torch.softmax(x, dim=-1)

    def transpose(self, x):
        return x.transpose(1, 2)

    def concatenate(self, parts):
        return torch.cat(parts, dim=-1)

    def cross_entropy(self, logits, ts):
        return F.cross_entropy(logits.flatten(0, 1), ts.flatten())


class Contender:
    ops = Ops

    def __init__(self, workload, dropout):
        w = self.w = workload
        self.p = {name: torch.from_numpy(a.copy()).requires_grad_()
                  for name, a in w.weights().items()}  # fmt: skip
        self.network = self.ops(dropout)
        self.prepare()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[w.optimizer]
        self.optimizer = kind(self.trained(), w.lr)
        self.xs, self.ts = map(torch.from_numpy, w.batch())
        self.reset()

    def prepare(self):
        """Make what the network needs besides the weights by name."""

    def trained(self):
        return list(self.p.values())

    def reset(self):
        zeros = torch.zeros(self.w.N, self.w.H)
        self.state = [(zeros, zeros)] * self.w.layers

    def gradients(self):
        return {name: a.grad.numpy() for name, a in self.p.items()}

    def forward(self):
        loss, state = networks.loss(self.w, self.network, self.p, self.xs, self.ts, self.state)
        if not self.w.seq2seq:
            self.state = [(h.detach(), c.detach()) for h, c in state]
        return loss

    def loss_and_gradients(self):
        loss = self.forward()
        loss.backward()
        gradients = {name: g.copy() for name, g in self.gradients().items()}
        self.optimizer.zero_grad()
        self.reset()
        return loss.item(), gradients

    def step(self):
        loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained(), self.w.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss
