"""What the tests of tg.jit share: arrays, something to hold them, and what was recorded."""

import numpy as np

from tinygrad_rnn import Tensor
from tinygrad_rnn.jit.loops import Kernel
from tinygrad_rnn.jit.recording import Recorder

V = 7  # words
X = [np.random.default_rng(k).normal(size=(3, 4)) for k in range(6)]


class Thing:
    pass


def flat(x):
    if isinstance(x, (tuple, list)):
        return [y for item in x for y in flat(item)]
    return [x.detach().numpy()] if isinstance(x, Tensor) else [np.array(x)]


def recorded(f, *arrays):
    """The tape of f, with its arguments as inputs."""
    recorder = Recorder()
    out = f(*(recorder.input(a) for a in arrays))
    recorder.tape.results = [out._symbol()]
    return recorder.tape


def kernels(jitted):
    return [call.fn for call in jitted._last.program.tape.calls if isinstance(call.fn, Kernel)]
