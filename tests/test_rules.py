"""Every line of the table against central differences, to the second order.

``SAMPLERS`` has, for each callable of the table, functions of float arrays with their shapes.
A rule without a sampler fails the suite.
"""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, derived, graph, primitive, rules
from tinygrad_rnn.derived import products
from tinygrad_rnn.functional import _logsumexp, _nll, _nll_slope, _sigmoid

seeds = st.integers(0, 2**32 - 1)
REAL = (-2.0, 2.0)
MASK = np.array([[True, False, True], [False, False, True]])
IDS = np.array([[2, 0, -1], [0, 0, 1]])


def away(x, step=0.05):
    """No element near 0, none near another's size: away from kinks and ties."""
    order = np.argsort(np.argsort(np.abs(x), axis=None)).reshape(x.shape)
    return np.where(x < 0, -1, 1) * (step + np.abs(x) + step * order)


def unary(fn, low=-2.0, high=2.0, kink=False):
    return [
        (fn, [shape], (low, high, kink))
        for shape in [(), (3,), (2, 1, 3), (0,), (2, 0)]
    ]


def binary(fn, low=-2.0, high=2.0, kink=False):
    pairs = [((), ()), ((3,), (2, 3)), ((2, 1), (1, 3)), ((2, 3), ()), ((0, 3), (3,)), ((1,), (2,))]
    return [(fn, [a, b], (low, high, kink)) for a, b in pairs]


def reduction(fn, kink=False, empty=True, axes=((0, 2), (-1, 0))):
    forms = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}]
    forms += [{"axis": a} for a in axes]
    cases = [(lambda x, k=k: fn(x, **k), [(2, 3, 4)], (*REAL, kink)) for k in forms]
    cases += [(fn, [()], (*REAL, kink)), (fn, [(1,)], (*REAL, kink))]
    if empty:
        cases.append((lambda x: fn(x, axis=1), [(0, 3)], (*REAL, kink)))
    return cases


def of(*cases, domain=(*REAL, False)):
    return [(fn, list(shapes), domain) for fn, *shapes in cases]


KINK = (*REAL, True)
SAMPLERS = {
    np.add: binary(np.add), np.subtract: binary(np.subtract), np.multiply: binary(np.multiply),
    np.divide: binary(np.divide, 0.5, 2.0), np.power: binary(np.power, 0.5, 2.0) + of(
        (lambda x: x**3, (3,)), (lambda x: x**0, (3,)), (lambda x: 2**x, (3,)),
        (lambda x: x**-1.5, (3,)), domain=(0.5, 2.0, False)),
    np.remainder: of((lambda x, y: np.remainder(x, y + 5), (3,), (2, 3)), domain=(0.1, 1.0, False)),
    np.negative: unary(np.negative), np.positive: unary(np.positive),
    np.absolute: unary(np.absolute, kink=True), np.square: unary(np.square),
    np.sqrt: unary(np.sqrt, 0.5, 2.0), np.cbrt: unary(np.cbrt, 0.5, 2.0),
    np.reciprocal: unary(np.reciprocal, 0.5, 2.0),
    **{f: unary(f, 0.1, 0.4) for f in (np.sign, np.floor, np.ceil, np.rint, np.trunc)},
    **{f: unary(f) for f in (np.exp, np.exp2, np.expm1, np.sin, np.cos, np.arctan, np.sinh, np.cosh,
                             np.tanh, np.arcsinh, _sigmoid)},
    **{f: unary(f, 0.5, 2.0) for f in (np.log, np.log2, np.log10, np.log1p)},
    np.tan: unary(np.tan, -1.0, 1.0), np.arccosh: unary(np.arccosh, 1.5, 3.0),
    **{f: unary(f, -0.8, 0.8) for f in (np.arcsin, np.arccos, np.arctanh)},
    np.logaddexp: binary(np.logaddexp),
    np.arctan2: binary(np.arctan2, 0.5, 2.0), np.hypot: binary(np.hypot, 0.5, 2.0),
    np.maximum: binary(np.maximum, kink=True), np.minimum: binary(np.minimum, kink=True),
    np.where: of((lambda a, b: np.where(MASK, a, b), (2, 3), (3,)),
                 (lambda a, b: np.where(MASK, a, b), (), (2, 1))),
    np.sum: reduction(np.sum), np.mean: reduction(np.mean), np.prod: reduction(np.prod),
    np.max: reduction(np.max, kink=True), np.min: reduction(np.min, kink=True),
    np.var: reduction(np.var) + of((lambda x: np.var(x, ddof=1), (4,))),
    np.std: of((np.std, (4,)), (lambda x: np.std(x, axis=(0, 2), ddof=1), (2, 3, 4)), domain=KINK),
    np.cumsum: of((np.cumsum, (2, 3)), (lambda x: np.cumsum(x, axis=1), (2, 3)),
                  (lambda x: np.cumsum(x, axis=0), (0, 2))),
    np.cumprod: of((np.cumprod, (2, 3)), (lambda x: np.cumprod(x, axis=0), (4, 2))),
    np.diff: of((np.diff, (2, 4)), (lambda x: np.diff(x, 2, 0), (4, 2))),
    np.sort: of((np.sort, (2, 4)), (lambda x: np.sort(x, 0), (4, 2)), domain=KINK),
    np.linalg.norm: of(
        (np.linalg.norm, (2, 3)), (lambda x: np.linalg.norm(x, axis=0, keepdims=True), (2, 3)),
        (lambda x: np.linalg.norm(x, axis=(0, 1)), (2, 3)), (lambda x: np.linalg.norm(x, 1), (3,)),
        (lambda x: np.linalg.norm(x, np.inf, 1), (2, 3)), (lambda x: np.linalg.norm(x, 2), (3,)),
        domain=KINK),
    np.reshape: of((lambda x: np.reshape(x, (3, -1)), (2, 3)), (lambda x: x.reshape(6), (2, 3)),
                   (lambda x: x.reshape(0), (0, 2))),
    np.ravel: of((np.ravel, (2, 3)), (np.ravel, ())),
    np.transpose: of((np.transpose, (2, 3)), (lambda x: np.transpose(x, (1, 2, 0)), (2, 3, 4)),
                     (lambda x: x.transpose(-1, 0, 1), (2, 3, 4))),
    np.matrix_transpose: of((np.matrix_transpose, (2, 3, 4))),
    np.swapaxes: of((lambda x: np.swapaxes(x, 0, -1), (2, 3, 4))),
    np.moveaxis: of((lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
                    (lambda x: np.moveaxis(x, (0, 1), (-1, 0)), (2, 3, 4))),
    np.expand_dims: of((lambda x: np.expand_dims(x, (0, -1)), (2, 3))),
    np.squeeze: of((np.squeeze, (2, 1, 3, 1)), (lambda x: np.squeeze(x, 1), (2, 1, 1))),
    np.broadcast_to: of((lambda x: np.broadcast_to(x, (4, 2, 3)), (2, 1))),
    np.flip: of((np.flip, (2, 3)), (lambda x: np.flip(x, (0, -1)), (2, 3, 4))),
    np.fliplr: of((np.fliplr, (2, 3))), np.flipud: of((np.flipud, (2, 3))),
    np.roll: of((lambda x: np.roll(x, 2), (2, 3)), (lambda x: np.roll(x, -1, 1), (2, 3)),
                (lambda x: np.roll(x, (1, 2), (0, 1)), (2, 3))),
    np.copy: of((np.copy, (2, 3))), np.astype: of((lambda x: np.astype(x, np.float64), (2,))),
    np.atleast_1d: of((np.atleast_1d, ())), np.atleast_2d: of((np.atleast_2d, (3,))),
    np.atleast_3d: of((np.atleast_3d, ()), (np.atleast_3d, (3,)), (np.atleast_3d, (2, 3))),
    np.concatenate: of((lambda a, b: np.concatenate([a, b]), (2, 3), (1, 3)),
                       (lambda a, b: np.concatenate([a, b, a], axis=-1), (2, 3), (2, 0)),
                       (lambda a, b: np.concatenate([a, b], axis=None), (2, 3), (2,))),
    np.stack: of((lambda a, b: np.stack([a, b, a], axis=-1), (2, 3), (2, 3))),
    np.hstack: of((lambda a, b: np.hstack([a, b]), (2, 3), (2, 1)),
                  (lambda a, b: np.hstack([a, b]), (2,), (3,))),
    np.vstack: of((lambda a, b: np.vstack([a, b]), (3,), (2, 3))),
    np.dstack: of((lambda a, b: np.dstack([a, b]), (2, 3), (2, 3))),
    np.column_stack: of((lambda a, b: np.column_stack([a, b]), (3,), (3, 2))),
    np.split: of((lambda x: np.split(x, 3, axis=1)[1], (2, 6)),
                 (lambda x: np.tanh(np.split(x, [1, 4])[1]) * x[:3], (6, 2))),
    np.array_split: of((lambda x: np.array_split(x, 3)[0] * np.array_split(x, 3)[2][0], (5,))),
    np.hsplit: of((lambda x: np.hsplit(x, 2)[1], (2, 4))),
    np.vsplit: of((lambda x: np.vsplit(x, 2)[0], (2, 4))),
    np.unstack: of((lambda x: np.unstack(x, axis=1)[1] * np.unstack(x)[0][0], (2, 3))),
    np.tile: of((lambda x: np.tile(x, 3), (2, 3)), (lambda x: np.tile(x, (2, 1, 3)), (2, 3))),
    np.repeat: of((lambda x: np.repeat(x, 2), (2, 3)), (lambda x: np.repeat(x, 3, -1), (2, 3)),
                  (lambda x: np.repeat(x, [2, 0, 1], axis=1), (2, 3))),
    np.pad: of((lambda x: np.pad(x, 1), (2, 3)), (lambda x: np.pad(x, ((1, 0), (0, 2))), (2, 3)),
               (lambda x: np.pad(x, 2, mode="reflect"), (3, 4)),
               (lambda x: np.pad(x, 1, mode="edge"), (2, 3))),
    operator.getitem: of(
        (lambda x: x[1], (3, 2)), (lambda x: x[..., 1:], (3, 2)), (lambda x: x[::-2], (5, 2)),
        (lambda x: x[None, :, 0], (3, 2)), (lambda x: x[IDS], (3, 2)), (lambda x: x[MASK], (2, 3)),
        (lambda x: x[:, IDS], (2, 3)), (lambda x: x[IDS, 1:], (3, 4)), (lambda x: x[[0, 0]], (3,)),
        (lambda x: x[np.array([0, 1, 1]), np.array([2, 0, 0])], (2, 3)), (lambda x: x[...], ()),
        (lambda x: x[np.array([], int)], (3, 2)), (lambda x: x[IDS > 0], (2, 3, 2)),
        (lambda x: x[0] * x[1] + x[1], (2, 3))),
    rules.scatter: of((lambda g: rules.scatter(g, IDS, shape=(3, 4)), (2, 3, 4)),
                      (lambda g: rules.scatter(g, slice(1, 3), shape=(4, 2)), (2, 2))),
    rules.write: of((lambda v, x: rules.write(v, x, (slice(None), 1)), (2,), (2, 3)),
                    (lambda v, x: rules.write(v, x, np.array([0, 2])), (), (3, 2))),
    np.take: of((lambda x: np.take(x, IDS, 1), (2, 3)), (lambda x: np.take(x, 2), (2, 3)),
                (lambda x: np.take(x, [5, 4], 0, mode="wrap"), (3,)),
                (lambda x: np.take(x, [5, -4], 0, mode="clip"), (3,))),
    np.take_along_axis: of((lambda x: np.take_along_axis(x, IDS, 1), (2, 3))),
    np.matmul: of(
        (np.matmul, (3,), (3,)), (np.matmul, (2, 3), (3,)), (np.matmul, (3,), (3, 2)),
        (np.matmul, (2, 3), (3, 4)), (np.matmul, (5, 2, 3), (3, 4)), (np.matmul, (2, 3), (5, 3, 4)),
        (np.matmul, (5, 2, 3), (5, 3, 4)), (np.matmul, (5, 1, 2, 3), (4, 3, 2)),
        (np.matmul, (3,), (5, 3, 4)), (np.matmul, (5, 2, 3), (3,)), (np.matmul, (2, 0), (0, 3)),
        (np.matmul, (0, 2, 3), (3, 4)), (np.matmul, (1, 1), (1, 1)), (lambda x: x @ x.T, (2, 3)),
        (lambda x, w: np.tanh(np.tanh(x @ w) @ w) @ w, (2, 3), (3, 3))),
    np.dot: of((np.dot, (2, 3), (3, 4)), (np.dot, (), (2,)), (np.dot, (2, 3, 4), (4,)),
               (np.dot, (2, 3), (5, 3, 4))),
    np.inner: of((np.inner, (2, 3), (4, 3)), (np.inner, (3,), (3,)), (np.inner, (), (3,))),
    np.outer: of((np.outer, (3,), (2,)), (np.outer, (2, 2), (3,))),
    np.vdot: of((np.vdot, (2, 3), (2, 3))),
    np.tensordot: of((lambda a, b: np.tensordot(a, b, 1), (2, 3), (3, 4)),
                     (lambda a, b: np.tensordot(a, b, ([0, 2], [1, 0])), (2, 3, 4), (4, 2, 5)),
                     (lambda a, b: np.tensordot(a, b, 0), (2,), (3,))),
    np.einsum: of(
        (lambda a, b: np.einsum("ij,jk->ik", a, b), (2, 3), (3, 4)),
        (lambda a, b: np.einsum("ij,jk", a, b), (2, 3), (3, 4)),
        (lambda a, b: np.einsum("...ij,...kj->...ik", a, b), (5, 2, 3), (4, 3)),
        (lambda a: np.einsum("ii->i", a), (3, 3)), (lambda a: np.einsum("ii", a), (3, 3)),
        (lambda a: np.einsum("ijk->kj", a), (2, 3, 4)), (lambda a: np.einsum("ij->", a), (2, 3)),
        (lambda a, b: np.einsum("ij,ik->k", a, b), (2, 3), (2, 4)),
        (lambda a, b: np.einsum("ij,k->k", a, b), (2, 3), (4,)),
        (lambda a, b: np.einsum("iij,j->i", a, b), (2, 2, 3), (3,)),
        (lambda a, b: np.einsum("ij,jk,kl->il", a, b, a), (2, 3), (3, 2)),
        (lambda a, b: np.einsum("ij,ij->ij", a, b), (2, 3), (1, 3))),
    products.contract: of((lambda a, b: products.contract(a, b, subscripts="ij,kj->ki"),
                           (2, 3), (4, 3))),
    np.diagonal: of((np.diagonal, (3, 4)), (lambda x: np.diagonal(x, 1, 2, 0), (3, 2, 4)),
                    (lambda x: np.diagonal(x, -2), (4, 3))),
    np.trace: of((np.trace, (3, 3)), (lambda x: np.trace(x, -1), (3, 4))),
    np.tril: of((np.tril, (3, 4)), (lambda x: np.tril(x, -1), (2, 3, 3))),
    np.triu: of((np.triu, (3, 4)), (lambda x: np.triu(x, 1), (2, 3, 3))),
    np.clip: of((lambda x: np.clip(x, -0.7, 0.9), (2, 3)),
                (lambda x, lo: np.clip(x, lo, None), (2, 3), (3,)),
                (lambda x, hi: np.clip(x, a_min=None, a_max=hi), (2, 3), (3,)), domain=KINK),
    _nll: of((lambda x: _nll(x, np.array([0, 2])), (2, 3)),
             (lambda x: _nll(x, np.arange(0)), (0, 3))),
    _nll_slope: of((lambda x, total, scale: _nll_slope(x, np.array([0, 2]), total, scale), (2, 3),
                    (2,), (2,))),
    _logsumexp: of((_logsumexp, (2, 3)), (lambda x: _logsumexp(x, axis=0, keepdims=True), (2, 3))),
}  # fmt: skip
CASES = [
    pytest.param(*case, id=f"{fn.__name__}-{i}")
    for fn, cases in SAMPLERS.items()
    for i, case in enumerate(cases)
]


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
@given(seed=seeds)
def test_first_and_second_derivative(fn, shapes, domain, seed):
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

    widening = "float64" in getattr(getattr(fn, "__code__", None), "co_names", ())
    if not widening:
        monkeypatch.setattr(graph, "cast", no_promotion)
    xs, rng = sample(1, shapes, domain)
    xs = [x.astype(np.float32) for x in xs]
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    y = fn(*leaves)
    assert widening or y.dtype == np.float32
    assert_allclose(y.detach().numpy(), fn(*xs), rtol=1e-5, atol=1e-6)
    for d in tg.grad(y, leaves, rng.normal(size=y.shape).astype("f"), allow_unused=True):
        assert d is None or d.dtype == np.float32


METHODS = [
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


@pytest.mark.parametrize("name", METHODS)
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
        (lambda: np.linalg.inv(x), "linalg.inv"), (lambda: np.median(x), "median"),
        (lambda: np.fmax(x, x), "fmax"), (lambda: np.add.at(x, 0, 1.0), r"add\.at"),
        (lambda: np.sum(x, where=MASK), "sum"), (lambda: np.sum(x, dtype=np.float32), "sum"),
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
    check = test_first_and_second_derivative.hypothesis.inner_test
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
