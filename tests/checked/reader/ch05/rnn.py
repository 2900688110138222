import sys

sys.path.append("..")
import numpy as np
from common.layers import Affine


class RNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h_next = np.tanh(np.dot(h_prev, Wh) + np.dot(x, Wx) + b)
        self.cache = (x, h_prev, h_next)
        return h_next

    def backward(self, dh_next):
        Wx, Wh, b = self.params
        x, h_prev, h_next = self.cache
        dt = dh_next * (1 - h_next)
        self.grads[0][...] = np.dot(x.T, dt)
        self.grads[1][...] = np.dot(h_prev.T, dt)
        self.grads[2][...] = np.sum(dt, axis=0)
        return np.dot(dt, Wx.T), np.dot(dt, Wh.T)


class Output:
    def __init__(self, Wx, Wh, b, W, c):
        self.rnn, self.affine = RNN(Wx, Wh, b), Affine(W, c)
        self.params = self.rnn.params + self.affine.params
        self.grads = self.rnn.grads + self.affine.grads

    def forward(self, x, h_prev):
        return self.affine.forward(self.rnn.forward(x, h_prev))

    def backward(self, dout):
        return self.rnn.backward(self.affine.backward(dout))
