from common.np import *


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cross_entropy(y, t):
    """t: labels."""
    return -np.sum(np.log(y[np.arange(len(t)), t] + 1e-7)) / len(t)
