"""Problems for layers: sizes with ones among them, values at random; and how close is close."""

import numpy as np
from hypothesis import strategies as st

from tinygrad_rnn import Tensor, manual, nn

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}
PAIRS = {
    "rnn": (nn.RNN, manual.TimeRNN),
    "lstm": (nn.LSTM, manual.TimeLSTM),
    "gru": (nn.GRU, manual.TimeGRU),
}
seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(seeds))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    sizes = [1 if draw(st.booleans()) else n for n in draw(st.permutations([2, 3, 4, 5]))]
    return rng, dtype, sizes, lambda *shape: rng.normal(size=shape).astype(dtype)


def close(actual, expected, what=""):
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    assert actual.shape == np.shape(expected) and actual.dtype == expected.dtype, what
    scale = max(1.0, np.abs(expected).max(initial=0))
    error = np.abs(actual - expected).max(initial=0) / scale
    assert error <= TOLERANCE[expected.dtype.type], f"{what}: {error:.1e}"


def arrays(module):
    return [p.detach().numpy().copy() for p in module.parameters()]


def randomize(module, normal):
    for p in module.parameters():
        p.data = normal(*p.shape)
