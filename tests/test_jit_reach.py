"""tg.jit: what reaches a function unseen, or a graph that would go through it, is noticed; and what
a recording cannot say names its line."""

import ctypes
import functools
import itertools
import random
import types
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jit_worlds import Thing, X, flat
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.jit import JitError

# ---- what comes in unseen is noticed ----

# Each is a function of an array and of what it goes on with: rows, counts, random numbers. These
# lie in a module, under names that the function does not say.
UNSEEN = {
    "iterator": lambda x, rows, n, r: x + next(rows),
    "ids": lambda x, rows, n, r: x[np.array([next(n) % 3])],
    "counter": lambda x, rows, n, r: x * next(n),
    "random": lambda x, rows, n, r: x * r.random(),
    "returned": lambda x, rows, n, r: (x * 2, next(n)),
    "branch": lambda x, rows, n, r: x if next(n) % 2 else x * 2,
    "shape": lambda x, rows, n, r: x[: 1 + next(n) % 2],
}


def unseen(name):
    f, away = UNSEEN[name], types.ModuleType("away")
    away.rows, away.n, away.r = iter(X), itertools.count(), random.Random(0)
    return lambda x: f(x, *[vars(away)[key] for key in ("rows", "n", "r")])


@pytest.mark.parametrize("name", UNSEEN)
def test_what_comes_in_unseen_is_noticed_before_anything_is_replayed(name):
    f, g = unseen(name), unseen(name)
    jitted, x = tg.jit(f), X[0]
    with pytest.raises(JitError) as error:
        for _ in range(3):
            expected = g(x)
            assert_array_equal(flat(jitted(x))[0], flat(expected)[0])
    if name not in ("returned", "branch"):
        assert "test_jit_reach.py:" in str(error.value) and "then,\n" in str(error.value)
    jitted = tg.jit(unseen(name), fallback="eager")
    for _ in range(5):
        jitted(x)


# What it goes on with is the same in the first calls, and then not: no proof would see that.
SOURCES = {
    "iterator": (lambda: itertools.chain([1.0] * 4, itertools.repeat(2.0)), next),
    "its method": (lambda: iter([1.0] * 4 + [2.0] * 4).__next__, lambda take: take()),
    "loop": (lambda: iter([1.0] * 4 + [2.0] * 4),
             lambda rates: max(itertools.islice(rates, 1))),
    "generator": (lambda: (1.0 + (i > 3) for i in range(8)), lambda rates: rates.send(None)),
    "coin": (lambda: random.Random(15), lambda r: 1.0 if r.random() < 0.9 else 2.0),
    "method of a coin": (lambda: random.Random(15).random, lambda flip: 1.0 + (flip() > 0.9)),
    "old generator": (lambda: np.random.RandomState(3), lambda r: 1.0 + (r.uniform() > 0.9)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("form", ["variable", "argument", "attribute"])
def test_whoever_asks_for_what_comes_next_is_refused(name, form):
    make, ask = SOURCES[name]

    def stepper(**options):
        source, thing = make(), Thing()
        thing.pair = (source, [source])
        forms = {"variable": lambda x: x * ask(source), "attribute": lambda x: x * ask(
                     thing.pair[0]) * ask(thing.pair[1][0]),
                 "argument": lambda x, given=None: x * ask(given)}  # fmt: skip
        step = tg.jit(forms[form], **options) if options else forms[form]
        return functools.partial(step, given=source) if form == "argument" else step

    with pytest.raises(JitError, match=r"is asked for what comes next, .* as an argument"):
        stepper(fast=False)(X[0])
    step, eager = stepper(fallback="eager"), stepper()
    for _ in range(6 if form == "variable" else 3):  # asked once in each call, as it is without
        assert_array_equal(step(X[0]), eager(X[0]))


def test_a_seed_that_is_set_inside_is_noticed():
    def f(x):
        y = tg.functional.dropout(Tensor(x), 0.5, True)
        tg.manual_seed(3)  # for the next call
        return y

    with pytest.raises(JitError, match="manual_seed, which a replay would not"):
        tg.jit(f)(X[0])
    falls_back = tg.jit(f, fallback="eager")
    f(X[0])
    for _ in range(3):
        assert_array_equal(falls_back(X[0]).numpy(), f(X[0]).numpy())


def test_what_is_not_asked_may_lie_about():
    thing = Thing()
    thing.batches, thing.coin, thing.take = iter(X), random.Random(0), iter(X).__next__
    step = tg.jit(lambda x: x * len(vars(thing)))
    for x in X:
        assert_array_equal(step(x), 3 * x)
    assert len(step.recordings) == 1 and next(thing.batches) is thing.take() is X[0]


def test_what_is_made_ready_at_the_first_call_is_no_reason_to_refuse():
    @functools.cache
    def positions(n):
        return np.sin(np.arange(n))

    ready = set()

    def f(x):
        if not ready:
            x = x * 1.0
        ready.add(1)
        return x + positions(4)

    jitted = tg.jit(f)
    for x in X:
        assert_array_equal(jitted(x), x + np.sin(np.arange(4)))


@pytest.mark.parametrize("kept", [set(), bytearray(1), (ctypes.c_ubyte * 1)()], ids=type)
def test_what_is_made_ready_at_each_call_is_refused(kept):
    def f(x):
        kept.add(1) if isinstance(kept, set) else kept.__setitem__(0, 1)
        return x * 1.0

    def away():
        kept.clear() if isinstance(kept, set) else kept.__setitem__(0, 0)

    jitted = tg.jit(f)
    assert_array_equal(jitted(X[0]), X[0])
    away()
    with pytest.raises(tg.JitError, match="each call puts something there"):
        jitted(X[1])
    assert not kept or not kept[0]


def test_what_is_kept_where_nobody_looks_is_noticed():
    away, many = types.ModuleType("away"), [None] * 2000

    @functools.cache
    def ready():
        return np.exp(vars(away)["x"])

    def caches(x):
        vars(away)["x"] = x
        return x + ready()

    def stores(x):
        many[5] = x * 2
        return x

    def generates(x):
        return (x * k for k in range(3))

    for f in (caches, stores, generates):
        jitted = tg.jit(f)
        with pytest.raises(JitError, match=r"keeps (float64|a generator)"):
            for _ in range(2):  # the first call of caches fills the cache
                jitted(X[0])


def test_attributes_that_are_made_again_and_again_are_refused_and_taken_away():
    thing = Thing()

    def f(x):
        setattr(thing, f"last{len(vars(thing))}", x * 2)
        return x

    jitted = tg.jit(f)
    jitted(X[0])
    with pytest.raises(JitError, match="makes or deletes the attribute 'last1' of a Thing"):
        jitted(X[0])
    assert list(vars(thing)) == ["last0"]


# ---- graphs end at a recorded function, and it says so ----


def test_a_gradient_through_a_recorded_function_is_refused():
    w = nn.Parameter(np.ones(4))
    jitted = tg.jit(lambda x: np.sum(x * w))
    for _ in range(3):
        y = jitted(X[0])
        assert y.requires_grad
        with pytest.raises(JitError, match=r"test_jit_reach.py:\d+.*which keeps no graph"):
            (y + np.sum(w)).backward()
        with pytest.raises(JitError, match="which keeps no graph"):
            tg.value_and_grad(jitted)(X[0])
        assert w.grad is None


def test_a_graph_that_comes_in_is_refused_where_it_is_wanted():
    w, v = nn.Parameter(np.ones((4, 4))), nn.Parameter(np.ones((4, 4)))

    @tg.jit
    def step(h):
        loss = np.sum((h @ v) ** 2)
        loss.backward()
        grad = v.grad
        v.grad = None
        return loss, grad

    with pytest.raises(JitError, match="with a graph from outside"):
        step(X[0] @ w)
    assert w.grad is None
    for x in X:
        loss, grad = step((x @ w).detach())
        twin = nn.Parameter(np.ones((4, 4)))
        expected = np.sum((x @ w.detach() @ twin) ** 2)
        expected.backward()
        assert_allclose([loss.item(), *grad.numpy().ravel()],
                        [expected.item(), *twin.grad.numpy().ravel()], rtol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_transforms_inside_take_arrays(seed):
    def f(x, v):
        def cube(t):
            return np.sum(np.tanh(t) ** 3)

        return (*tg.value_and_grad(cube)(x), *tg.hvp(cube, x, v), *tg.vjp(np.tanh, x, v),
                *tg.jvp(np.tanh, x, v), tg.jacobian(np.tanh, x[0]))  # fmt: skip

    jitted, rng = tg.jit(f), np.random.default_rng(seed)
    for _ in range(3):
        x, v = rng.normal(size=(2, 2, 3))
        for a, b in zip(jitted(x, v), f(x, v), strict=True):
            assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-14)


# ---- what a recording cannot say ----


def without_warning(fn, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fn(*args, **kwargs)


RNG = np.random.default_rng(0)
SAID = {
    "which elements": [lambda x: x[: x.argmax()], lambda x: np.where(x > 0),
                       lambda x: np.compress(x[:, 0] > 0, x, 0),
                       lambda x: np.bincount(np.argmax(x, 0)),
                       lambda x: np.repeat(x, np.argmax(x, 0), 1),
                       lambda x: np.tile(x, np.argmax(x)), lambda x: x.sum(np.argmax(x) % 2),
                       lambda x: np.add.reduce(x, axis=np.argmax(x) % 2),
                       lambda x: np.diag(x[0], np.argmax(x)),
                       lambda x: np.diagonal(x, np.argmax(x)),
                       lambda x: np.diagonal(x, offset=np.argmax(x)),
                       lambda x: np.rot90(x, np.argmax(x)), lambda x: np.flip(x, np.argmax(x) % 2),
                       lambda x: x.swapaxes(np.argmax(x) % 2, 1),
                       lambda x: x.reshape(np.argmax(x), -1),
                       lambda x: np.hsplit(x, [np.argmax(x) - 4])[0],
                       lambda x: np.einsum(x, [np.argmax(x) % 2, 1 - np.argmax(x) % 2], [0, 1]),
                       lambda x: np.histogram(x, np.argmax(x))[0],
                       lambda x: np.polyfit(x[0], x[1], np.argmax(x) - 5),
                       lambda x: RNG.normal(size=(np.argmax(x), 2)),
                       lambda x: RNG.permutation(np.argmax(x)),
                       lambda x: np.linalg.matrix_power(x[:2, :2], np.argmax(x) - 5)],
    "edits its argument": [lambda x: np.median(x, overwrite_input=True)],
    "would make a plain array": [lambda x: np.float32(x[0, 0])],
    r"\.ctypes": [lambda x: x.ctypes],
    "Python objects": [lambda x: x * np.array(1.0, object)],
    "leaves the other elements": [lambda x: without_warning(np.add, x, 1, where=x > 0)],
}  # fmt: skip


def test_views_of_several_arrays_lie_where_each_of_them_does():
    def f(x):
        i = np.argmax(x)
        wide, scalar = np.broadcast_arrays(x * 2, i)
        row, same = np.atleast_1d(x[0] * 3, i)
        grid = np.meshgrid(x[0], x[1], copy=False)
        return wide * scalar, row + same, grid[0] - grid[1]

    jitted = tg.jit(f)
    for k in (0, 0, 1, 2):
        x = X[0].copy()
        x.flat[k] = 100
        for a, b in zip(jitted(x), f(x), strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("said, f", [(said, f) for said, fs in SAID.items() for f in fs])
def test_what_cannot_be_said_on_a_tape_names_its_line(said, f):
    with pytest.raises(JitError, match=r"test_jit_reach.py:\d+.*" + said):
        tg.jit(f)(X[0])


def test_an_error_of_the_recorder_stays_one_inside_the_engine():
    table = np.ones(4).view(np.recarray)
    for kwargs in ({}, {"fallback": "eager"}):
        f = tg.jit(lambda x: Tensor(x) + table, **kwargs)
        if kwargs:
            assert_array_equal(f(X[0]).numpy(), X[0] + 1)
        else:
            with pytest.raises(JitError, match="recarray computes in a way of its own"):
                f(X[0])


def test_functions_of_numba_are_what_they_are():
    """Its dispatchers keep counts that change, and wrappers of C functions."""
    numba = pytest.importorskip("numba")
    twice = numba.njit(lambda x: 2 * x)
    f = tg.jit(lambda x: np.sum(x) * twice(3.0))
    for k in range(4):
        assert f(X[0] + k) == np.sum(X[0] + k) * 6
    with pytest.raises(JitError, match=r"test_jit_reach\.py"):
        tg.jit(lambda x: twice(x))(X[0])
