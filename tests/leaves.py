"""Leaves for graphs, and numbers for them."""

import math

import numpy as np
from hypothesis import strategies as st

from tinygrad_rnn import Tensor

seeds = st.integers(0, 2**32 - 1)
number = st.floats(-3, 3).map(lambda x: x + math.copysign(0.01, x))


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True)
