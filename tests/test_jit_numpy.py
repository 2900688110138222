"""Every callable of the tables under tg.jit: the same values and gradients, for new inputs too."""

import numpy as np
import pytest
from samplers import METHODS, SAMPLERS
from test_rules import raw, sample

import tinygrad_rnn as tg

pytestmark = [  # what newer or older versions of NumPy think of functions that are in the tables
    pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning"),
]
CASES = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in [*((fn.__name__, c) for fn, c in SAMPLERS.items()), ("at", METHODS)]
    for i, case in enumerate(cases)
]
# What a recording cannot follow: how many elements come out (unique; a mask as an index, whose
# error says so), which elements are named twice (ufunc.at of arrays that are no sums), rank that
# decides a shape, and calls of NumPy with several results.
REFUSED = {
    "unique", "unique_values", "unique_counts", "unique_inverse", "unique_all", "union1d",
    "intersect1d", "setdiff1d", "setxor1d", "trim_zeros", "polymul", "compress", "extract",
    "piecewise", "at", "lstsq", "frexp",
}  # fmt: skip


@pytest.mark.parametrize("name, fn, shapes, domain", CASES)
def test_under_jit(name, fn, shapes, domain):
    xs, rng = sample(0, shapes, domain)
    cotangent = rng.normal(size=raw(fn, xs).shape)
    step = tg.value_and_grad(lambda *xs: np.sum(fn(*xs) * cotangent),
                             argnums=tuple(range(len(xs))))  # fmt: skip
    jitted = tg.jit(step)
    for seed in range(4):
        xs, _ = sample(seed, shapes, domain)
        y, gs = step(*xs)
        try:
            same, same_gs = jitted(*xs)
        except tg.JitError as error:
            assert name in REFUSED or "a[mask]" in str(error)
            return
        for a, b in zip((y, *gs), (same, *same_gs), strict=True):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-9, atol=1e-12)
