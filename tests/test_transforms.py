"""Transforms against closed forms and against each other, to the third order."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, grad, nn, no_grad
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


def test_grad_of_a_function_is_a_function():
    assert grad(grad(lambda x, k: k * x**3))(2.0, k=5.0).item() == 60.0
    assert_allclose(grad(np.sum)(np.zeros((2, 3))).numpy(), np.ones((2, 3)))


def test_gradients_with_a_graph_are_summed_as_others_are():
    x = Tensor([2.0, -3.0], requires_grad=True)
    for n in (1, 2, 3):
        np.sum(x**3).backward(create_graph=True)
        assert_allclose(x.grad.detach().numpy(), n * 3 * x.detach().numpy() ** 2)
    assert_allclose(grad(np.sum(x.grad), x).numpy(), 18 * x.detach().numpy())


def test_arguments_are_counted_from_either_end():
    for i, wanted in ((0, 5.0), (1, 2.0), (-1, 2.0), (-2, 5.0)):
        assert value_and_grad(lambda x, y: x * y, i)(2.0, 5.0)[1].item() == wanted
    for i in (2, -3):
        with pytest.raises(IndexError, match=f"no argument {i} among the 2"):
            value_and_grad(lambda x, y: x * y, i)(2.0, 5.0)


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
    with pytest.raises(TypeError, match="hvp: f returned tuple"):
        hvp(lambda x: (x, x), np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="vjp: f returned NoneType"):
        vjp(lambda x: None, np.ones(3))
    with pytest.raises(IndexError, match="value_and_grad: no argument 1 among the 1"):
        value_and_grad(np.sum, 1)(np.ones(3))
    x = Tensor(1.0, requires_grad=True)
    for output, inputs, words in (([x], x, "output is a list"), (abs, x, "output is a .*function"),
                                  (x * 2, [x, 1.5], "input 1 is a float"),
                                  (x * 2, 1.5, "input 0 is a float"), (x, None, "input 0 is a No")):
        with pytest.raises(TypeError, match=f"grad: {words}"):
            grad(output, inputs)
    for option in ("create_graph", "allow_unused", "retain_graph", "grad_output"):
        with pytest.raises(TypeError, match=r"grad: output is a function, .* stands alone"):
            grad(lambda x: x, **{option: True})


def test_a_cotangent_may_be_a_number_or_a_list():
    f, s, x, J, *_ = problem(3, 2, 3)
    assert_allclose(vjp(s, x, 1.0)[1].numpy(), value_and_grad(s)(x)[1].numpy())
    assert_allclose(vjp(f, x, [1, 0])[1].numpy(), J[0])


# ---- all in all ----


def by_grad(f, x):
    x = x * 1.0 if isinstance(x, Tensor) else Tensor(x, requires_grad=True)
    return grad(f(x), x, create_graph=True)


OURS = SimpleNamespace(
    sum=np.sum, tanh=np.tanh, grad=by_grad,
    value_and_grad=lambda f, x: value_and_grad(f)(x), vjp=vjp, jvp=jvp, hvp=hvp, jacobian=jacobian)

# Each transform as one number, linear in the derivatives of a scalar function f at x.
NUMBERS = {
    "grad": lambda lib, f, x, w: lib.sum(lib.grad(f, x) * w),
    "value_and_grad": lambda lib, f, x, w: (lambda y, g: y + lib.sum(g * w))(
        *lib.value_and_grad(f, x)),
    "vjp": lambda lib, f, x, w: lib.sum(lib.vjp(lambda x: f(x) * w, x, w)[1]),
    "jvp": lambda lib, f, x, w: lib.jvp(f, x, w)[1],
    "hvp": lambda lib, f, x, w: lib.sum(lib.hvp(f, x, w)[1] * w),
    "jacobian": lambda lib, f, x, w: lib.sum(lib.jacobian(lambda x: f(x) * w, x)),
}


def orders(name, w):
    """The same of a sum of functions of one element each: what is in front of their derivatives of
    order 0, 1 and 2."""
    one = np.ones_like(w)
    return {"value_and_grad": (one, w, 0), "hvp": (0, 0, w * w), "vjp": (0, w @ w * one, 0),
            "jacobian": (0, np.sum(w) * one, 0)}.get(name, (0, w, 0))  # fmt: skip


def falling(n, k):
    return math.perm(n, k) if k <= n else 0


@pytest.mark.parametrize("by", ["closure", "argument and closure", "argument"])
@pytest.mark.parametrize("inner", NUMBERS)
@pytest.mark.parametrize("outer", NUMBERS)
@settings(max_examples=3)
@given(seeds, sizes)
def test_every_transform_in_every_other(outer, inner, by, seed, n):
    """Of x^4 z^3 summed up, where z is the variable of the outer transform, and reaches the inner
    one by the closure that it transforms, by the point that it is taken at, or by both."""
    rng = np.random.default_rng(seed)
    x, z, v, w = rng.uniform(0.5, 2, (4, n))
    in_closure, at_z = 3 * (by != "argument"), by != "closure"

    def of_z(z):
        def f(x):
            return np.sum(x**4 * z**in_closure)

        return NUMBERS[inner](OURS, f, z if at_z else x, v)

    expected = 0.0
    for a, weight in enumerate(orders(inner, v)):  # a-th derivative by x, b-th by z
        power = (4 - a) * at_z + in_closure
        factor = weight * falling(4, a) * (1 if at_z else x ** (4 - a))
        for b, weight_z in enumerate(orders(outer, w)):
            if b <= power:
                expected += np.sum(weight_z * factor * falling(power, b) * z ** (power - b))
    found = NUMBERS[outer](OURS, of_z, z, w)
    assert_allclose(found.detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("first", range(len(NUMBERS)))
def test_three_nested_transforms_against_jax(first):
    inner, middle, outer = ([*NUMBERS.values()] * 2)[first : first + 3]
    jax = pytest.importorskip("jax", reason="pip install jax")

    def jax_vjp(f, x, v):
        y, pull = jax.vjp(f, x)
        return y, pull(v)[0]

    theirs = SimpleNamespace(
        sum=jax.numpy.sum, tanh=jax.numpy.tanh, vjp=jax_vjp,
        jvp=lambda f, x, v: jax.jvp(f, (x,), (v,)), grad=lambda f, x: jax.grad(f)(x),
        value_and_grad=lambda f, x: jax.value_and_grad(f)(x),
        hvp=lambda f, x, v: (f(x), jax.jvp(jax.grad(f), (x,), (v,))[1]),
        jacobian=lambda f, x: jax.jacobian(f)(x))  # fmt: skip
    A, B, (x, y, z, u, v, w) = (np.random.default_rng(7).normal(size=s) / 2
                                for s in ((3, 3), (3, 3), (6, 3)))  # fmt: skip

    def three_deep(lib):
        def of_z(z):
            def of_y(y):
                return inner(lib, lambda x: lib.sum(lib.tanh(A @ (x * y) + B @ z)) ** 2, x + z, u)

            return middle(lib, of_y, y, v)

        return outer(lib, of_z, z, w)

    with jax.enable_x64(True):
        expected = np.asarray(three_deep(theirs))
    assert_allclose(three_deep(OURS).detach().numpy(), expected, rtol=1e-9)


def test_what_was_lost_when_transforms_were_nested():
    def f(x, y):
        return x * y * y

    for inner in (lambda y: value_and_grad(f)(2.0, y)[1],
                  lambda y: value_and_grad(lambda x: f(x, y))(2.0)[1],
                  lambda y: value_and_grad(lambda x, y: f(x, y=y))(2.0, y=y)[1]):  # fmt: skip
        gradient, slope = value_and_grad(inner)(3.0)
        assert (gradient.item(), slope.item()) == (9.0, 6.0)
    # Perturbations are not confused: d/dx (x d/dy (x + y)) = 1.
    assert value_and_grad(lambda x: x * value_and_grad(lambda y: x + y)(1.0)[1])(5.0)[1].item() == 1


def test_a_step_of_maml():
    """w' = w - a dL(w, s)/dw with L = (w - s)^2 / 2; dL(w', t)/ds = (w' - t) a."""

    def loss(w, s):
        return 0.5 * (w - s) ** 2

    def adapted(s):
        w = 2.0 - 0.1 * value_and_grad(loss)(2.0, s)[1]
        return loss(w, 5.0)

    assert_allclose(value_and_grad(adapted)(1.0)[1].numpy(), (2 - 0.1 - 5) * 0.1)


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "grad"])
def test_parameters_in_a_closure_get_their_gradients(name):
    """They are nobody's argument: backward finds them. Under no_grad there is no graph to keep."""
    layer = nn.Linear(3, 1, dtype=np.float64)
    x, w = np.random.default_rng(1).normal(size=(2, 3))

    def number():
        return NUMBERS[name](OURS, lambda x: np.sum(layer(x)) ** 2, x, w)

    number().backward()
    W, step, numeric = layer.W.data.copy(), 1e-6, np.zeros((3, 1))
    for i in range(3):
        for sign in (1, -1):
            layer.W.data = W + sign * step * np.eye(3)[:, i : i + 1]
            with no_grad():
                numeric[i] += sign * number().item() / (2 * step)
    assert_allclose(layer.W.grad.numpy(), numeric, rtol=1e-6, atol=1e-8)


TRANSFORMS = {
    "value_and_grad": lambda f, x: value_and_grad(f)(x),
    "vjp": lambda f, x: vjp(f, x, 1.0),
    "jvp": lambda f, x: jvp(f, x, x),
    "hvp": lambda f, x: hvp(f, x, x),
    "jacobian": lambda f, x: (f(x), jacobian(f, x)),
}


@pytest.mark.parametrize("constant", [2, 2.0, np.float32(2), np.array(2.0), Tensor(2.0)])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_depends_on_nothing_has_derivative_zero(name, constant):
    x = np.ones(3, np.float32)
    value, derivative = TRANSFORMS[name](lambda x: constant, x)
    assert float(value) == 2 and not np.any(derivative.numpy())
    assert derivative.shape == (() if name == "jvp" else x.shape)

    def inner(z):
        return np.sum(TRANSFORMS[name](lambda x: constant, z)[1])

    assert not np.any(value_and_grad(inner)(x)[1].numpy())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_results_carry_a_graph_only_if_there_is_one_around(name):
    transform, x = TRANSFORMS[name], np.ones(3)
    w = Tensor(np.ones(3), requires_grad=True)

    def carry(f, x):
        results = transform(f, x)
        if name == "jacobian":  # its value is computed by the test
            results = results[1], results[1]
        return [bool(t.requires_grad) for t in results]

    def square(x):
        return np.sum(x * x * w)

    assert carry(lambda x: np.sum(x**3), x) == [False, False]
    with no_grad():
        assert carry(square, x) == carry(square, w) == [False, False]
    assert carry(square, x) == carry(square, w) == [True, True]


def test_gradients_have_no_graph_unless_it_is_asked_for():
    w = Tensor(np.ones(3), requires_grad=True)
    assert not grad(np.sum(w**3), w).requires_grad
    assert grad(np.sum(w**3), w, create_graph=True).requires_grad
    np.sum(w**3).backward()
    assert not w.grad.requires_grad
    loss = np.sum(w**3)
    loss.backward()  # is freed
    with pytest.raises(RuntimeError, match="freed"):
        grad(loss, w)
    with pytest.raises(RuntimeError, match="was not used"):
        grad(np.sum(w), Tensor(1.0, requires_grad=True))
