from common.np import *  # noqa: F403


class Affine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]  # noqa: F405

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b  # noqa: F405

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)  # noqa: F405
        self.grads[1][...] = np.sum(dout, axis=0)  # noqa: F405
        return np.dot(dout, W.T)  # noqa: F405
