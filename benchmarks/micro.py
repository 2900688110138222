"""Small measurements, each run in a process of its own: ``python -m benchmarks.micro WHAT``."""

from __future__ import annotations

import json
import sys
import time

CHAIN = 500  # additions and as many products


def chain(library: str, rounds: int) -> float:
    """Microseconds of one operation of 3 elements, forward and backward together, at best."""
    import numpy as np

    data = np.array([0.1, -0.2, 0.3], dtype=np.float32)

    def run(x, y):
        for _ in range(CHAIN):
            x = (x + y) * y
        return x

    if library == "tinygrad_rnn":
        import tinygrad_rnn as tg

        def once():
            x, y = tg.Tensor(data, requires_grad=True), tg.Tensor(data, requires_grad=True)
            run(x, y).sum().backward()
    elif library == "torch":
        import torch

        torch.set_num_threads(1)

        def once():
            x = torch.from_numpy(data.copy()).requires_grad_()
            y = torch.from_numpy(data.copy()).requires_grad_()
            run(x, y).sum().backward()
    elif library == "autograd":
        import autograd
        import autograd.numpy as anp

        gradient = autograd.grad(lambda xy: anp.sum(run(xy[0], xy[1])))

        def once():
            gradient((data, data))
    else:
        import mygrad

        def once():
            x, y = mygrad.tensor(data), mygrad.tensor(data)
            run(x, y).sum().backward()

    return _best(once, rounds) / (2 * CHAIN) * 1e6


def over_time(T: int, rounds: int) -> float:
    """Microseconds per time step of an LSTM over T steps (N 8, D = H = 32), loss and gradient."""
    import numpy as np

    import tinygrad_rnn as tg

    tg.manual_seed(0)
    layer, xs = tg.nn.LSTM(32, 32), np.random.default_rng(0).random((8, T, 32), np.float32)

    def once():
        hs, _ = layer(xs)
        (hs * hs).mean().backward()
        layer.zero_grad()

    return _best(once, rounds) / T * 1e6


def _best(once, rounds):
    once()
    times = []
    for _ in range(rounds):
        before = time.process_time()  # one thread: what else the machine does is left out
        once()
        times.append(time.process_time() - before)
    return min(times)


if __name__ == "__main__":
    what, argument, count = sys.argv[1:]
    if what == "chain":
        print(json.dumps(chain(argument, int(count))))
    else:
        print(json.dumps(over_time(int(argument), int(count))))
