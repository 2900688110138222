"""Transforms against closed forms and against each other, to the third order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, no_grad
from tinygrad_rnn.transforms import hvp, jacobian, jvp, value_and_grad, vjp

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


def problem(seed, m, n):
    """f(x) = tanh(A x), with its Jacobian and a scalar s(x) = sum f(x)^3."""
    rng = np.random.default_rng(seed)
    A, x = rng.normal(size=(m, n)), rng.normal(size=n)
    t = np.tanh(A @ x)
    slope = 1 - t * t
    hessian = A.T @ np.diag(6 * t * slope**2 - 6 * t**3 * slope) @ A

    def f(x):
        return np.tanh(A @ x)

    return f, lambda x: np.sum(f(x) ** 3), x, slope[:, None] * A, hessian, t, rng


@given(seeds, sizes, sizes)
def test_first_order_equals_the_closed_form(seed, m, n):
    f, s, x, J, _, t, rng = problem(seed, m, n)
    u, v = rng.normal(size=m), rng.normal(size=n)
    assert_allclose(jacobian(f, x).numpy(), J, rtol=1e-12, atol=1e-12)
    y, pulled = vjp(f, x, u)
    assert_allclose(y.detach().numpy(), t, rtol=1e-12)
    assert_allclose(pulled.detach().numpy(), u @ J, rtol=1e-10, atol=1e-12)
    assert_allclose(jvp(f, x, v)[1].detach().numpy(), J @ v, rtol=1e-10, atol=1e-12)
    value, gradient = value_and_grad(s)(x)
    assert not value.requires_grad and not gradient.requires_grad
    assert_allclose(value.item(), np.sum(t**3), rtol=1e-12)
    assert_allclose(gradient.numpy(), 3 * t**2 @ J, rtol=1e-10, atol=1e-12)


@given(seeds, sizes, sizes)
def test_second_and_third_order(seed, m, n):
    _, s, x, _, H, _, rng = problem(seed, m, n)
    v, w = rng.normal(size=n), rng.normal(size=n)
    assert_allclose(hvp(s, x, v)[1].detach().numpy(), H @ v, rtol=1e-9, atol=1e-11)
    by_jacobian = jacobian(lambda x: value_and_grad(s)(x)[1], x)
    assert_allclose(by_jacobian.detach().numpy(), H, rtol=1e-9, atol=1e-11)
    forward_twice = jvp(lambda x: jvp(s, x, v)[1], x, w)[1]
    assert_allclose(forward_twice.item(), v @ H @ w, rtol=1e-9, atol=1e-11)
    step = 1e-5
    third = value_and_grad(lambda x: np.sum(hvp(s, x, v)[1] * w))(x)[1].numpy()
    ahead, behind = (problem(seed, m, n)[1] for _ in range(2))
    numeric = [
        (hvp(ahead, x + step * e, v)[1].detach().numpy() @ w
         - hvp(behind, x - step * e, v)[1].detach().numpy() @ w) / (2 * step)
        for e in np.eye(n)
    ]  # fmt: skip
    assert_allclose(third, numeric, rtol=1e-5, atol=1e-6)


@given(seeds)
def test_several_inputs_and_inputs_that_are_not_used(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=3), rng.normal(size=3)
    _, (ga, gb) = vjp(lambda a, b: np.sum(a * a), (a, b))
    assert_allclose(ga.detach().numpy(), 2 * a)
    assert_allclose(gb.detach().numpy(), np.zeros(3))
    _, gradients = value_and_grad(lambda a, b: np.sum(a * b), argnums=(0, 1))(a, b)
    assert_allclose(gradients[0].numpy(), b)
    assert_allclose(gradients[1].numpy(), a)
    assert_allclose(hvp(lambda a: np.sum(3 * a), a, b)[1].numpy(), np.zeros(3))
    assert_allclose(jvp(lambda a: 2 * a, a, b)[1].detach().numpy(), 2 * b)


def test_no_grad_around_a_transform_does_not_cut_it():
    with no_grad():
        assert value_and_grad(lambda x: x * x)(3.0)[1].item() == 6.0
        assert not (Tensor(1.0, requires_grad=True) * 2).requires_grad


def test_errors_name_the_transform_and_the_shapes():
    with pytest.raises(ValueError, match=r"value_and_grad: a scalar .*\(3,\)"):
        value_and_grad(lambda x: x * 2)(np.ones(3))
    with pytest.raises(ValueError, match=r"jvp: direction 0 of shape \(2,\) .*\(3,\)"):
        jvp(lambda x: x, np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="vjp: an output of shape"):
        vjp(lambda x: x, np.ones(3))
    with pytest.raises(TypeError, match="hvp: f returned float"):
        hvp(lambda x: 1.0, np.ones(3), np.ones(3))


def test_a_cotangent_may_be_a_number_or_a_list():
    f, s, x, J, *_ = problem(3, 2, 3)
    assert_allclose(vjp(s, x, 1.0)[1].numpy(), value_and_grad(s)(x)[1].numpy())
    assert_allclose(vjp(f, x, [1, 0])[1].numpy(), J[0])
