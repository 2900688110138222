"""Whatever the forward pass took, the backward pass takes: writing, odd axes, broadcast operands.

And the methods of a Tensor under the names that an array has them by.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4))
IDS = np.array([2, 0, 2])


def written(index, shape, value):
    """t[index] = v, with its gradients by v and by t, and what they must be."""
    t = Tensor(rng.normal(size=shape), requires_grad=True)
    v = Tensor(value, requires_grad=True)
    new = t * 1.0
    new[index] = v
    plain = t.detach().numpy().copy()
    plain[index] = value
    np.testing.assert_array_equal(new.detach(), plain)
    g = rng.normal(size=shape)
    by_t, by_v = tg.grad(np.sum(new * g), [t, v])
    one = np.zeros(np.shape(value))
    right = np.zeros(np.shape(value))
    for k in np.ndindex(one.shape):  # what each element of v reaches
        one[k] = 1
        reached = np.zeros(shape)
        reached[index] = one
        right[k], one[k] = np.sum(reached * g), 0
    np.testing.assert_allclose(by_v.numpy(), right)
    kept = np.ones(shape)
    kept[index] = 0
    np.testing.assert_allclose(by_t.numpy(), kept * g)


@pytest.mark.parametrize("index, shape, value", [
    (0, (3, 5), rng.normal(size=(1, 5))), (0, (3, 5), rng.normal(size=(1, 1, 5))),
    (0, (3, 5), rng.normal(size=5)), (..., (), np.array(2.0)), ((), (), np.array(2.0)),
    (..., (3,), np.array([2.0])), (slice(1, None), (3, 2), np.array(2.0)),
    (None, (3,), rng.normal(size=(1, 3))), (IDS, (4,), rng.normal(size=3)),
    (IDS, (4, 2), rng.normal(size=(3, 2))), ((slice(None), IDS), (2, 4), rng.normal(size=(2, 3))),
    ((IDS, IDS), (4, 4), rng.normal(size=3)), ([1, 1], (2,), np.array([3.0, 4.0])),
    (X > 0, (3, 4), np.array(1.0)), (np.int8(1), (3,), np.array(1.0)),
])  # fmt: skip
def test_what_is_written_has_the_gradient_of_what_stays(index, shape, value):
    written(index, shape, value)


def test_second_order_through_elements_written_twice():
    v = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    t = Tensor(np.zeros(4)) * v.sum()
    t[IDS] = v
    (g,) = tg.grad(np.sum(t**3), [v], create_graph=True)
    np.testing.assert_allclose(g.detach(), [0, 12, 27])
    np.testing.assert_allclose(tg.grad(np.sum(g), v).numpy(), [0, 12, 18])


@given(seed=st.integers(0, 2**32 - 1), power=st.integers(2, 4))
def test_second_order_of_what_was_read_before_it_was_written(seed, power):
    """In a second backward the old elements are asked for from both sides: by the first one's
    formulas, which read them, and by what was not overwritten."""
    draw = np.random.default_rng(seed)
    values, g = draw.uniform(0.5, 2, 3), draw.normal(size=3)

    def loss(p):
        x = p * 1.0
        before = np.sum(x**power)
        x[0] = p[1] * 2.0
        return before + np.sum(x**2)

    p = Tensor(values, requires_grad=True)
    (first,) = tg.grad(loss(p), [p], create_graph=True)
    hessian = power * (power - 1) * values ** (power - 2) + [0.0, 8.0 + 2.0, 2.0]
    np.testing.assert_allclose(tg.grad(np.sum(first * g), p).numpy(), hessian * g)


@pytest.mark.parametrize("f", [
    lambda x: np.sum(x, axis=0), lambda x: np.sum(x, axis=-1, keepdims=True),
    lambda x: np.max(x, axis=0), lambda x: np.min(x, axis=-1), lambda x: np.prod(x, axis=-1),
    lambda x: np.sum(x, axis=()), lambda x: x.sum(0),
])  # fmt: skip
def test_a_reduction_over_an_axis_that_a_number_does_not_have(f):
    x = Tensor(2.0, requires_grad=True)
    y = f(x)
    assert y.item() == 2 and tg.grad(y, x).tolist() == 1


def test_elements_of_an_iterated_tensor_are_tensors():
    x = Tensor([1.0, 2.0], requires_grad=True)
    first, second = x
    assert type(first.data) is np.ndarray and repr(first) == "Tensor(1., from=getitem)"
    first[...] = second * 3
    assert tg.grad(first * second, x).tolist() == [0, 12]


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_roll_by_lists(i, j):
    x = Tensor(X, requires_grad=True)
    y = np.roll(x, [i, j], [1, 0])
    np.testing.assert_array_equal(y.detach(), np.roll(X, [i, j], [1, 0]))
    np.testing.assert_array_equal(tg.grad(y, x, X).numpy(), np.roll(X, [-i, -j], [1, 0]))


METHODS = [
    ("round", (1,)), ("conj", ()), ("conjugate", ()), ("argpartition", (1,)), ("tobytes", ()),
    ("compress", ([True, False, True], 0)), ("sum", (0,), {"dtype": np.float32}),
    ("mean", (), {"where": X > 0}), ("max", (), {"axis": 0, "initial": 0.0}),
    ("var", (), {"axis": 1, "ddof": 1}), ("reshape", (4, 3), {"order": "F"}), ("flatten", ("F",)),
    ("ravel", ("F",)), ("astype", (np.float32,), {"copy": False}), ("item", (1, 2)),
    ("copy", ("F",)), ("__contains__", (X[1, 2],)), ("__divmod__", (0.3,)),
    ("__floordiv__", (0.3,)), ("__rfloordiv__", (0.3,)), ("__rdivmod__", (0.3,)),
]  # fmt: skip


@pytest.mark.parametrize("name, args, kwargs", [(*m, {})[:3] for m in METHODS])
def test_methods_are_those_of_an_array(name, args, kwargs):
    def flat(r):
        return [np.asarray(v.detach() if isinstance(v, Tensor) else v)
                for v in (r if isinstance(r, tuple) else (r,))]  # fmt: skip

    ours = flat(getattr(Tensor(X, requires_grad=True), name)(*args, **kwargs))
    theirs = flat(getattr(X, name)(*args, **kwargs))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_attributes_are_those_of_an_array():
    t, x = Tensor(X), Tensor(X, requires_grad=True)
    assert t.strides == X.strides and t.flags.c_contiguous and t.itemsize == 8
    assert x.real is x and np.all(x.imag.numpy() == 0) and tg.grad(np.sum(x.view()), x).size == 12
    with pytest.raises(TypeError, match="astype"):
        x.view(np.float32)


def test_flat_reads_and_writes():
    x = Tensor(X, requires_grad=True)
    np.testing.assert_array_equal([e.item() for e in x.flat], X.ravel())
    assert len(x.flat) == 12 and tg.grad(x.flat[5], x).numpy()[1, 1] == 1
    t = x * 1.0
    t.flat[[1, -1]] = x[0, 0]
    assert tg.grad(np.sum(t), x).numpy()[0].tolist() == [3, 0, 1, 1]
    t.flat = 2.0
    assert np.all(t.numpy() == 2)


@pytest.mark.parametrize("edit", [
    lambda t: t.sort(), lambda t: t.sort(0), lambda t: t.fill(2.0), lambda t: t.partition(1),
    lambda t: t.put([0, 5], [1.0, 2.0]),
])  # fmt: skip
def test_methods_that_write_make_a_new_version(edit):
    x = Tensor(X, requires_grad=True)
    t = x * 1.0
    before = np.sum(t * t)
    edit(t)
    expected = X.copy()
    edit(expected)
    np.testing.assert_array_equal(t.detach(), expected)
    np.testing.assert_allclose(tg.grad(before, x).numpy(), 2 * X)


@pytest.mark.parametrize("first", [False, True])
def test_two_results_may_be_written_to_two_tensors_or_one(first):
    v = np.array([1.5, -2.25])
    x, whole = Tensor(v, requires_grad=True), Tensor(np.zeros(2))
    part = Tensor(np.zeros(2)) if first else None
    got = np.modf(x, out=(part, whole))
    assert got[1] is whole and (got[0] is part or not first)
    for one, wanted in zip(got, np.modf(v), strict=True):
        np.testing.assert_array_equal(one.detach().numpy(), wanted)
    np.sum(got[0] * np.array([2.0, 3.0])).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 3])
