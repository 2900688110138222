"""Every line of the table against central differences, to the second order, and under tg.jit.

``samplers`` has, for each callable of the tables, functions of float arrays with their shapes. A
rule without a sampler fails the suite.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from samplers import METHODS, SAMPLERS
from samplers.cases import REAL, away

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, derived, graph, primitive

pytestmark = [  # what newer or older versions of NumPy think of functions that are in the tables
    pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning"),
]
seeds = st.integers(0, 2**32 - 1)
CASES = [
    pytest.param(*case, id=f"{fn.__name__}-{i}")
    for fn, cases in SAMPLERS.items()
    for i, case in enumerate(cases)
] + [pytest.param(*case, id=f"method-{i}") for i, case in enumerate(METHODS)]


def sample(seed, shapes, domain):
    """Inputs in the domain, half of them views that are not contiguous."""
    rng = np.random.default_rng(seed)
    low, high, kink = domain
    xs = []
    for shape in shapes:
        x = rng.uniform(low, high, shape)
        if rng.random() < 0.5 and len(shape) > 1:
            x = np.asarray(x.T.copy().T)
        xs.append(x)
    if kink:  # all elements of all inputs apart
        flat = away(np.concatenate([x.ravel() for x in xs] or [np.zeros(0)]))
        ends = np.cumsum([x.size for x in xs])[:-1]
        xs = [p.reshape(x.shape) for p, x in zip(np.split(flat, ends), xs, strict=True)]
    return xs, rng


def raw(fn, xs):
    """The function on Tensors without gradient, as an array: the forward pass alone."""
    return fn(*map(Tensor, xs)).numpy()


def difference(f, xs, vs, step):
    """Central difference of f along the direction vs."""
    ahead = f([x + step * v for x, v in zip(xs, vs, strict=True)])
    return (ahead - f([x - step * v for x, v in zip(xs, vs, strict=True)])) / (2 * step)


def gradients(fn, xs, g, create_graph=False):
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    y = fn(*leaves)
    return leaves, tg.grad(y, leaves, g, create_graph=create_graph, allow_unused=True)


def test_every_line_of_the_table_has_a_sampler():
    assert set(primitive.RULES) | set(derived.DERIVED) == set(SAMPLERS)


@pytest.mark.parametrize("fn, shapes, domain", CASES)
def test_first_and_second_derivative(fn, shapes, domain):
    @given(seed=seeds)  # one for each case: hypothesis keeps a chain of settings for each function
    def holds(seed):
        first_and_second_derivative(fn, shapes, domain, seed)

    holds()


def first_and_second_derivative(fn, shapes, domain, seed):
    xs, rng = sample(seed, shapes, domain)
    originals = [x.copy() for x in xs]
    y = raw(fn, xs)
    g = rng.normal(size=y.shape)
    vs = [rng.normal(size=x.shape) for x in xs]
    leaves, firsts = gradients(fn, xs, g)
    for x, original, first in zip(xs, originals, firsts, strict=True):
        assert np.array_equal(x, original)
        if first is not None:
            assert first.shape == x.shape and first.data.flags.writeable
    directional = sum(np.vdot(d.numpy(), v) for d, v in zip(firsts, vs, strict=True)
                      if d is not None)  # fmt: skip
    numeric = difference(lambda xs: np.vdot(raw(fn, xs), g), xs, vs, 1e-6)
    assert_allclose(directional, numeric, rtol=1e-6, atol=1e-7)

    def slope(xs):
        _, ds = gradients(fn, xs, g)
        return sum(np.vdot(d.numpy(), v) for d, v in zip(ds, vs, strict=True) if d is not None)

    leaves, firsts = gradients(fn, xs, g, create_graph=True)
    total = sum((d * v).sum() for d, v in zip(firsts, vs, strict=True) if d is not None)
    seconds = [None] * len(xs)
    if isinstance(total, Tensor) and total.requires_grad:
        seconds = tg.grad(total, leaves, allow_unused=True)
    ws = [rng.normal(size=x.shape) for x in xs]
    exact = sum(np.vdot(d.numpy(), w) for d, w in zip(seconds, ws, strict=True) if d is not None)
    assert_allclose(exact, difference(slope, xs, ws, 1e-6), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("fn, shapes, domain", CASES)
def test_float32_stays_float32_and_values_are_those_of_numpy(fn, shapes, domain, monkeypatch):
    cast = graph.cast

    def no_promotion(c, node):  # no rule may hand the engine float64 to be cast back
        assert c.dtype == node.dtype
        return cast(c, node)

    xs, rng = sample(1, shapes, domain)
    xs = [x.astype(np.float32) for x in xs]
    expected = np.asarray(fn(*xs))
    if expected.dtype == np.float32:
        monkeypatch.setattr(graph, "cast", no_promotion)
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    y = fn(*leaves)
    assert y.dtype == expected.dtype
    assert_allclose(y.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    for d in tg.grad(y, leaves, rng.normal(size=y.shape).astype("f"), allow_unused=True):
        assert d is None or d.dtype == np.float32


BY_NAME = [
    "abs", "sign", "sqrt", "square", "exp", "expm1", "log", "log1p", "sin", "cos", "tan",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "var",
    "std", "cumsum", "cumprod", "ravel", "squeeze", "expand_dims", "moveaxis", "broadcast_to",
    "flip", "roll", "tile", "repeat", "split", "unstack", "take", "dot", "diagonal", "trace",
    "maximum", "minimum", "sum", "mean", "max", "min", "prod", "clip", "reshape", "transpose",
    "swapaxes", "astype", "copy",
]  # fmt: skip
ARGUMENTS = {
    "expand_dims": (0,), "moveaxis": (0, 1), "broadcast_to": ((4, 2, 2),), "roll": (1,),
    "tile": (2,), "repeat": (2,), "split": (2,), "take": ([0, 1],), "dot": (np.eye(2),),
    "maximum": (0.3,), "minimum": (0.3,), "clip": (0.2, 0.7), "reshape": ((4,),),
    "swapaxes": (0, 1), "astype": (np.float32,),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_methods_are_the_functions(name):
    x = np.array([[0.25, 0.5], [0.75, 0.125]]) + (1 if name == "arccosh" else 0)
    arguments = ARGUMENTS.get(name, ())
    expected = getattr(np, name)(x, *arguments)
    actual = getattr(Tensor(x, requires_grad=True), name)(*arguments)
    for a, e in zip(actual if isinstance(actual, list) else [actual],
                    expected if isinstance(actual, list) else [expected], strict=True):  # fmt: skip
        assert a.requires_grad
        assert_allclose(a.detach().numpy(), e)


def test_operators_and_their_reflections():
    x = Tensor([0.5, 2.0], requires_grad=True)
    y = 1 + x - 3 + (2 * x) / (1 / x) - (4 - x) ** 2 + 2**x + np.eye(2) @ x + -x + (+abs(x)) % 1.7
    v = np.array([0.5, 2.0])
    expected = 1 + v - 3 + (2 * v) / (1 / v) - (4 - v) ** 2 + 2**v + v - v + v % 1.7
    assert_allclose(y.detach().numpy(), expected)
    assert np.array_equal(x > 1, [False, True]) and type(x == 2) is np.ndarray
    assert (np.float64(2) * x).requires_grad and (np.ones(2) - x).requires_grad


def test_ties_and_other_conventions():
    def slope(f, x):
        return tg.value_and_grad(lambda x: np.sum(f(x)))(np.array(x))[1].tolist()

    assert slope(np.max, [1.0, 3.0, 3.0]) == [0, 0.5, 0.5]
    assert slope(lambda x: np.maximum(x, 1.0), [1.0, 2.0, 0.0]) == [0.5, 1, 0]
    assert slope(np.abs, [0.0, -2.0]) == [0, -1]
    assert slope(lambda x: np.clip(x, 0, 1), [0.0, 1.0, 2.0]) == [1, 1, 0]
    assert slope(np.linalg.norm, [0.0, 0.0]) == [0, 0]
    assert slope(lambda x: np.where(x > 0, x, 0), [0.0, 1.0]) == [0, 1]
    assert slope(lambda x: x**0, [0.0]) == [0] and slope(lambda x: x**2, [0.0]) == [0]
    assert slope(np.prod, [0.0, 2.0, 3.0]) == [6, 0, 0]


def test_what_has_no_rule_is_an_error_that_names_it():
    x = Tensor(np.eye(2), requires_grad=True)
    for call, name in [
        (lambda: np.linalg.eig(x), "linalg.eig"), (lambda: np.roots(x[0]), "roots"),
        (lambda: np.i0(x), "i0"), (lambda: np.invert.at(x, 0), r"invert\.at"),
        (lambda: np.quantile(x, 0.5, weights=np.eye(2)), "quantile.*weights="),
        (lambda: np.add(x, x, where=np.eye(2) > 0), "add"), (lambda: x * 1j, "multiply"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=name):
            call()


def test_functions_without_derivative_give_plain_arrays():
    x = Tensor([[1.0, 3.0], [2.0, 0.0]], requires_grad=True)
    for result in (np.argmax(x), x.argmax(1), np.isnan(x), np.greater(x, 1), np.argsort(x),
                   np.nonzero(x)[0], np.any(x), np.allclose(x, x), np.shape(x)):  # fmt: skip
        assert not isinstance(result, Tensor)


def test_the_suite_sees_a_wrong_rule():
    """The checks above fail when a rule is wrong in the first or in the second order."""
    right = primitive.RULES[np.sin]
    check = first_and_second_derivative
    try:
        primitive.rule(np.sin, lambda g, _y, x: -g * np.cos(x))
        with pytest.raises(AssertionError):
            check(np.sin, [(3,)], (*REAL, False), 1)
        # right in the first order, but a constant for the second
        primitive.rule(np.sin, lambda g, _y, x: g * np.cos(
            x.detach() if isinstance(x, Tensor) else x))  # fmt: skip
        with pytest.raises(AssertionError):
            check(np.sin, [(3,)], (*REAL, False), 1)
    finally:
        primitive.RULES[np.sin] = right
