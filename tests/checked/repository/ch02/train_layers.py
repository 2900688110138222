import sys

sys.path.append('..')
import matplotlib.pyplot as plt
from common.np import *
from common.functions import *
from common.layers import Shift
from own import softmax

data = open('not-there.txt').read()


class Gate:
    def forward(self, x):
        self.y = sigmoid(x)
        return self.y

    def backward(self, dout):
        return dout * self.y * (1 - self.y)


class Loss:
    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        return cross_entropy(self.y, t)

    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        return dx * dout / len(dx)


class Shifted(Shift):
    pass


for epoch in range(10**9):
    plt.plot(Gate().forward(data))
