"""Where elements tie, or lie on a corner: the second derivative goes with the first.

All functions here are linear in pieces. So the Hessian of sum(w h(x)³) is Jᵀ diag(6 w h) J, with J
the Jacobian that the conventions give at the tie: nothing may be added by how the share is found.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, grad, vjp
from tinygrad_rnn import functional as F

PIECES = {
    "max": np.max, "min": np.min, "max, axis": lambda x: np.max(x, axis=1),
    "min, keepdims": lambda x: np.min(x, axis=0, keepdims=True),
    "maximum": lambda x: np.maximum(x, x.T), "minimum": lambda x: np.minimum(x, x[0]),
    "maximum of a number": lambda x: np.maximum(x, 1.0), "fmax": lambda x: np.fmax(x, x[:, :1]),
    "fmin": lambda x: np.fmin(x[0], x[1]), "maximum.reduce": np.maximum.reduce,
    "minimum.accumulate": lambda x: np.minimum.accumulate(x, axis=1), "ptp": np.ptp,
    "ptp, axis": lambda x: np.ptp(x, axis=0), "nanmax": lambda x: np.nanmax(x, axis=1),
    "nanmin": np.nanmin, "sort": np.sort, "sort, axis": lambda x: np.sort(x, axis=0),
    "partition": lambda x: np.partition(x, 1), "median": np.median,
    "median, axis": lambda x: np.median(x, axis=0), "nanmedian": np.nanmedian,
    "quantile": lambda x: np.quantile(x, [0.2, 0.7], axis=1), "clip": lambda x: np.clip(x, 0, 1),
    "clip by arrays": lambda x: np.clip(x, x[0], x[1] + 1), "abs": np.abs, "fabs": np.fabs,
    "where": lambda x: np.where(x > 0, x, 2 * x), "relu": F.relu, "leaky_relu": F.leaky_relu,
    "l1 norm": lambda x: np.linalg.norm(x, 1, axis=1),
    "inf norm": lambda x: np.linalg.norm(x, np.inf, axis=0),
    "matrix norm": lambda x: np.linalg.norm(x, np.inf), "copysign": lambda x: np.copysign(x, -x),
    "interp": lambda x: np.interp(x, [-1.0, 0.0, 1.0], [0.0, 2.0, 1.0]),
    "remainder": lambda x: np.remainder(x, 2.0), "max of sums": lambda x: np.max(x + x.T, axis=1),
    "max of max": lambda x: np.maximum(np.max(x, axis=0), np.max(x, axis=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", PIECES)
@given(st.lists(st.integers(-1, 1), min_size=9, max_size=9), st.integers(0, 2**32 - 1))
def test_the_hessian_at_a_tie_is_that_of_the_shares(name, values, seed):
    h, rng = PIECES[name], np.random.default_rng(seed)
    a = np.reshape(np.array(values, float), (3, 3))
    y = h(Tensor(a))
    w, v = rng.normal(size=y.shape), rng.normal(size=(3, 3))
    J = np.stack([np.ravel(vjp(h, a, np.reshape(one, y.shape))[1].numpy())
                  for one in np.eye(y.size)])
    want = J.T @ (np.ravel(6 * w * y.numpy()) * (J @ v.ravel()))
    x = Tensor(a, requires_grad=True)
    (g,) = grad(np.sum(w * h(x) ** 3), [x], create_graph=True)
    assert_allclose(np.ravel(g.numpy()), J.T @ np.ravel(3 * w * y.numpy() ** 2), atol=1e-12)
    got = grad(np.sum(g * v), x, allow_unused=True) if g.requires_grad else None
    assert_allclose(0 if got is None else np.ravel(got.numpy()), want, atol=1e-11)


@pytest.mark.parametrize("how", [{"kind": "stable"}, {"stable": True}])
def test_a_stable_sort_keeps_the_order_of_what_ties(how):
    values = np.random.default_rng(0).integers(0, 4, 300).astype(float)
    x, g = Tensor(values, requires_grad=True), np.arange(300.0)
    np.sort(x, **how).backward(g)
    np.testing.assert_array_equal(x.grad.numpy()[np.argsort(values, kind="stable")], g)
