"""Only backward; ``affine`` is wrong, and the cache of ``tanh`` has another name there."""


def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.mean(0)


def tanh_backward(dout, cache):
    return dout * (1 - cache**2)
