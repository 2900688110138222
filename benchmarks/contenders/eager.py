"""This project, as a user writes it."""

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm, Rnnlm, Seq2seq
from tinygrad_rnn import optim


def training_step(model, optimizer, max_norm):
    def train(*batch):
        loss = model.loss(*batch)
        loss.backward()
        optim.clip_grad_norm_(optimizer.params, max_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return train


class Contender:
    def __init__(self, workload, dropout):
        w = self.w = workload
        tg.manual_seed(0)
        self.model = {
            "rnnlm": lambda: Rnnlm(w.V, w.D, w.H),
            "better": lambda: BetterRnnlm(w.V, w.D, w.H, dropout, w.layers),
            "addition": lambda: Seq2seq(w.V, w.D, w.H),
            "date": lambda: AttentionSeq2seq(w.V, w.D, w.H),
        }[w.name]()
        self.model.load_state_dict(w.weights())
        kind = {"sgd": optim.SGD, "adam": optim.Adam}[w.optimizer]
        self.optimizer = kind(self.model.parameters(), w.lr)
        self.xs, self.ts = w.batch()
        self.train = training_step(self.model, self.optimizer, w.max_norm)

    def loss_and_gradients(self):
        loss = self.model.loss(self.xs, self.ts)
        loss.backward()
        gradients = {name: p.grad.numpy() for name, p in self.model.named_parameters()}
        self.model.zero_grad()
        self.model.reset_state()
        return loss.item(), gradients

    def step(self):
        return self.train(self.xs, self.ts)
