"""tg.jit: arguments and results of all kinds, and numbers among them."""

import collections
import copy
from dataclasses import dataclass

import numpy as np
import pytest
from jit_worlds import Thing, X
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.jit import JitError


@dataclass
class Batch:
    xs: np.ndarray
    scale: float = 1.0


class Named(collections.namedtuple("Named", "h c")):
    __slots__ = ()


def test_named_tuples_dataclasses_and_kinds_of_dicts_come_and_go():
    def f(state, batch, more):
        n = batch.xs * batch.scale
        return (Named(state.h + n, state.c), Batch(n, 2.0),
                collections.OrderedDict(b=more["a"] * 2, c=(None, "text", 3)))

    jitted = tg.jit(f)
    for k, x in enumerate(X):
        arguments = (Named(x, np.ones(4)), Batch(x, float(k)), collections.OrderedDict(a=x))
        got, expected = jitted(*arguments), f(*arguments)
        assert [type(a) for a in got] == [type(e) for e in expected]
        assert_array_equal(got[0].h, expected[0].h)
        assert_array_equal(got[1].xs, expected[1].xs)
        assert_array_equal(got[2]["b"], expected[2]["b"])
        assert got[1].scale == 2.0 and got[2]["c"] == expected[2]["c"]
    assert len(jitted.recordings) == 1


def test_an_object_that_comes_as_an_argument_is_looked_into():
    thing, model, rng = Thing(), nn.Linear(4, 2, dtype=np.float64), np.random.default_rng(0)
    factor = [1.0]

    def f(thing, model, rng, function):
        loss = np.sum(model(thing.x * thing.scale)) * function(rng.random())
        loss.backward()
        model.W.data -= 0.1 * model.W.grad.data
        model.zero_grad()
        return loss

    other, twin, same = copy.deepcopy((thing, model, rng))
    jitted = tg.jit(f)
    for i, x in enumerate(X):
        factor[0] = 1.0 + i // 2
        for t in (thing, other):
            t.x, t.scale = x, 1.0 + i // 3
        expected = f(other, twin, same, lambda u: u * factor[0])
        got = jitted(thing, model, rng, lambda u: u * factor[0])
        assert_allclose(got.item(), expected.item(), rtol=1e-12)
        assert_allclose(model.W.numpy(), twin.W.numpy(), rtol=1e-12)
        assert rng.bit_generator.state == same.bit_generator.state


def test_a_constant_that_is_returned_is_new_each_time():
    jitted = tg.jit(lambda x: (x + 1, np.arange(3), Tensor(np.zeros(2))))
    for x in X:
        _, ids, zeros = jitted(x)
        assert_array_equal(ids, [0, 1, 2])
        assert_array_equal(zeros.numpy(), [0, 0])
        ids += 7
        zeros.data[:] = 7


@pytest.mark.parametrize("x", [np.asfortranarray(X[0]), X[0][::-1], X[0].astype(">f8"),
                               np.broadcast_to(X[0][0], (3, 4)), np.zeros((0, 4)),
                               np.arange(12, dtype=np.int8).reshape(3, 4), X[0] > 0,
                               X[0].astype(np.float16), X[0] + 1j])  # fmt: skip
def test_arrays_of_all_kinds(x):
    def f(x):
        y = np.concatenate([x, x * 2])
        return y, y.T.copy(), x.sum(0), np.multiply(x, x).ravel(), x[1:], x.flatten()

    jitted = tg.jit(f)
    for _ in range(3):
        for a, b in zip(jitted(x), f(x), strict=True):
            assert a.dtype == b.dtype
            # NumPy 2.1 adds up rows that lie backwards in another order where it has an ``out``
            assert_allclose(a, b, rtol=1e-14)


def test_operators_of_integers():
    def f(x):
        y = x << 1
        y >>= 2
        return y, 3 << x, 100 >> x, x // 3, x % 3, x ^ 5, x & 6, x | 1, ~x, x**2, x.sum() << 2

    jitted = tg.jit(f)
    for k in range(4):
        x = np.random.default_rng(k).integers(0, 9, (3, 4))
        for a, b in zip(jitted(x), f(x), strict=True):
            assert a.dtype == b.dtype and type(a) is type(b)
            assert_array_equal(a, b)


def test_a_cast_that_is_not_allowed_is_not_recorded():
    def f(x):
        try:
            return x.astype(np.float32, casting="safe")
        except TypeError:
            return x * 2

    step = tg.jit(f)
    for x in (np.ones(2), np.arange(2.0)):
        assert_array_equal(step(x), x * 2)


def test_a_number_of_numpy_is_indexed_as_one():
    def f(x):
        s = np.sum(x)
        t = s[...]
        t += 1  # an array, which can be edited
        return s[None] * s[None, ...], t, s[()]

    step = tg.jit(f)
    for x in (np.ones(2), np.arange(2.0)):
        for got, want in zip(step(x), f(x), strict=True):
            assert got.shape == want.shape
            assert_array_equal(got, want)


@pytest.mark.parametrize("x", [np.ones(1).view(np.recarray), np.ma.masked_array([1.0], [True])],
                         ids=["recarray", "masked"])
def test_arrays_that_compute_in_ways_of_their_own_are_refused(x):
    with pytest.raises(JitError, match="computes in a way of its own"):
        tg.jit(lambda a, b: a + b)(np.ones(1), x)


def test_a_float_argument_that_decides_is_refused_and_an_int_is_not():
    jitted = tg.jit(lambda x, k: x * 2 if k == 1 else x)
    assert_array_equal(jitted(X[0], 1), X[0] * 2)
    assert_array_equal(jitted(X[0], 2), X[0])
    for f in (lambda x, k: x if k > 0 else -x, lambda x, k: x * {1.0: 2}.get(k, 3),
              lambda x, k: x * len(f"{k}"), lambda x, k: x * round(k)):  # fmt: skip
        with pytest.raises(JitError, match="may decide if it is an int"):
            tg.jit(f)(X[0], 1.0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_loss_of_next_to_nothing(n):
    def step(x, ts):
        loss = tg.functional.cross_entropy(x @ W, ts) ** 2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    W = nn.Parameter(np.ones((3, 2), np.float32))
    optimizer = tg.optim.SGD([W], lr=0.1)
    jitted = tg.jit(step)
    x, ts = np.arange(3 * n, dtype=np.float32).reshape(n, 3), np.zeros(n, int)
    for _ in range(3):
        before = W.numpy().copy()
        got, after = jitted(x, ts).item(), W.numpy().copy()
        W.data[...] = before
        assert_allclose(got, step(x, ts).item(), rtol=1e-5)
        assert_allclose(after, W.numpy(), rtol=1e-5)


PICKED = {
    "a row": lambda x, i, rows: (x * 2)[i],
    "a column": lambda x, i, rows: (x * 2)[:, i],
    "a part of what comes in": lambda x, i, rows: x[i, 1:],
    "an embedding": lambda x, i, rows: tg.functional.embedding(rows, i).numpy(),
}


@pytest.mark.parametrize("name", PICKED)
def test_where_a_view_lies_may_hang_on_a_value(name):
    rows = tg.nn.Parameter(np.arange(12.0).reshape(3, 4))
    jitted = tg.jit(lambda x: PICKED[name](x, np.argmax(x[:, 0]), rows))
    for largest in (0, 0, 1, 2):  # the proof sees one place alone
        x = np.arange(9.0).reshape(3, 3)
        x[largest, 0] = 10
        assert_array_equal(jitted(x), PICKED[name](x, largest, rows))


def test_rows_at_a_place_that_hangs_on_a_value_are_edited():
    def f(x):
        x = x * 1
        x[np.argmax(x[:, 0])] += 1
        return x

    jitted = tg.jit(f)
    for largest in (0, 0, 1, 2):
        x = np.zeros((3, 3))
        x[largest, 0] = 10
        assert_array_equal(jitted(x), f(x))


def test_divmod_of_a_float_gives_floats():
    step = tg.jit(lambda x, f: (x * f, *divmod(f, 2), *divmod(7.5, f)))
    for f in (0.75, 3.0, -2.5):
        got = step(X[0], f)[1:]
        assert got == (*divmod(f, 2), *divmod(7.5, f)) and {*map(type, got)} == {float}
