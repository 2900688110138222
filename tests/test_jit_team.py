"""Products and lanes that helpers of the replay take: the numbers of one thread, whoever comes, and
NumPy's BLAS as it was afterwards."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn.jit import blocks, jitted, lanes, loops, products, table, team

pytest.importorskip("numba")
if not team.can_share():
    pytest.skip("products of this NumPy, or this system, cannot be shared", allow_module_level=True)


@pytest.fixture(params=[2, 3])
def shared(request, monkeypatch):
    """So many threads, for products of every size."""
    monkeypatch.setattr(table, "threads", lambda: request.param)
    monkeypatch.setattr(table, "LARGE", 1)
    return request.param


def teams(step):
    """The team of a recorded step."""
    return step._last.program.run.__globals__["_team"]


def layer(seed):
    """A step of some products of whole numbers, whose sums are exact in every order."""
    rng = np.random.default_rng(seed)
    n, k, m = rng.integers(1, 40, 3)
    W, x, g = (rng.integers(-3, 4, size=s).astype(np.float32) for s in ((k, m), (n, k), (n, m)))
    p = tg.Tensor(W, requires_grad=True)

    def step(x):
        loss = (x @ p * g).sum()
        loss.backward()
        grad, p.grad = p.grad, None
        return loss, grad

    return step, x


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds)
def test_shared_products_are_products(shared, seed):
    step, x = layer(seed)
    loss, grad = step(x)
    recorded = tg.jit(step)
    for _ in range(4):
        found = recorded(x)
    assert_array_equal(found[0].data, loss.data)
    assert_array_equal(found[1].data, grad.data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds)
def test_rows_and_columns_by_a_matrix_are_products_of_all_of_it(shared, seed):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 20, 2)

    def step(A, u, v, rows):
        turned, stack = np.ascontiguousarray(A.T), np.stack([A, -A, 2 * A])
        return (u @ A, A @ v, u @ A @ v, u[None] @ A, A @ v[:, None], turned @ u, v @ turned,
                turned.T @ v, v[None] @ A.T, A.T @ u, rows @ A, rows @ stack, stack @ v,
                u @ stack, stack @ v[:, None], np.stack([A @ v, A @ (v + v)], axis=1))

    recorded = tg.jit(step)
    for _ in range(4):
        given = [rng.integers(-3, 4, size=shape).astype(np.float32)
                 for shape in ((n, k), n, k, (3, 1, n))]
        for a, b in zip(recorded(*given), step(*given), strict=True):
            assert_array_equal(a, b)


def test_whoever_takes_a_part_gives_the_same_bits(shared, monkeypatch):
    step, x = layer(5)
    recorded = tg.jit(step)
    found = [recorded(x)[1].data for _ in range(30)][3:]
    nobody = tg.jit(step)
    monkeypatch.setattr(team, "_serve", lambda desk: None)  # the replay does all of it itself
    alone = [nobody(x)[1].data for _ in range(6)][3:]
    for grad in (*found, *alone):
        assert_array_equal(grad, found[0])
    assert teams(recorded).desks and teams(nobody).desks


def test_helpers_do_come(shared):
    step, x = layer(5)
    recorded = tg.jit(step)
    for _ in range(3):
        recorded(x)
    desk, came = teams(recorded).desks[0], threading.Event()
    serve = team._serve
    served = []

    def watched(at):
        served.append(at is desk)
        came.set()
        serve(at)

    desk[3] = 0  # nobody is there
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(team, "_serve", watched)
        recorded(x)
        assert came.wait(60)
    assert served == [True]


def test_blas_has_its_threads_again(shared):
    asked = team._blas_threads()[0]
    before = asked()
    seen = []
    step, x = layer(5)

    def fails(x):
        if x.sum() > 1e9:  # read: part of no recording
            raise ValueError
        return step(x)

    recorded = tg.jit(step)
    for _ in range(4):
        recorded(x)
    assert asked() == before
    monitored = teams(recorded)
    with monitored:
        seen.append(asked())
        with monitored:  # another thread's replay
            seen.append(asked())
        seen.append(asked())
    assert seen == [1, 1, 1] and asked() == before
    with pytest.raises(ValueError), monitored:
        raise ValueError
    assert asked() == before


def test_functions_of_python_go_to_the_helpers_too(shared, monkeypatch):
    monkeypatch.setattr(blocks, "threads", lambda: shared)
    monkeypatch.setattr(blocks, "_pool", None)  # no other thread is there to be woken
    step, x = layer(5)
    recorded = tg.jit(step)
    for _ in range(3):
        recorded(x)
    done, at = [0] * 40, {}

    def work(i):
        with np.errstate():  # of whoever asked
            at[threading.get_ident()] = np.geterr()["over"]
        done[i] += 1

    with teams(recorded), np.errstate(over="call"):
        for _ in range(50):
            blocks.each(work, range(40), blocks.SMALL)
    assert done == [50] * 40 and set(at.values()) == {"call"}
    assert team.here() is None


def test_what_is_called_beside_something_is_handed_to_others(shared, monkeypatch):
    monkeypatch.setattr(blocks, "threads", lambda: 2)
    step, x = layer(5)
    recorded = tg.jit(step)
    for _ in range(3):
        recorded(x)
    done = []

    def within(name):
        blocks.beside(*[lambda i=i: done.append((name, i)) for i in range(2)])

    for _ in range(20):
        with teams(recorded):
            blocks.beside(lambda: within("a"), lambda: within("b"))
    assert sorted(done) == sorted([("a", 0), ("a", 1), ("b", 0), ("b", 1)] * 20)


@pytest.mark.parametrize("who", [0, 1])
def test_errors_of_helpers_reach_the_replay(shared, who):
    step, x = layer(5)
    recorded = tg.jit(step)
    for _ in range(3):
        recorded(x)
    works = [lambda: None, lambda: None]
    works[who] = lambda: {}["none"]
    for _ in range(20):
        with teams(recorded), pytest.raises(KeyError, match="none"):
            blocks.beside(*works)
    found = recorded(x)[1].data
    assert_array_equal(found, recorded(x)[1].data)


def test_large_chains_are_shared_by_rows(shared, monkeypatch):
    monkeypatch.setattr(loops, "MANY", 1)
    monkeypatch.setattr(loops, "WORTH", 0)
    rng = np.random.default_rng(0)
    x, row = (rng.normal(size=s).astype(np.float32) for s in ((7, 30), (30,)))
    column = rng.normal(size=(7, 1)).astype(np.float32)

    def step(x, row, column):
        sums = np.sum(x * row, axis=1, keepdims=True)
        return np.tanh(x * column + row) * x, (x - row) * np.sum(x) / 2, x + sums, np.sqrt(sums**2)

    recorded = tg.jit(step)
    for _ in range(4):
        found = recorded(x, row, column)
    for array, right in zip(found, step(x, row, column), strict=True):
        assert_allclose(array, right, rtol=1e-4, atol=1e-6)
    assert teams(recorded).desks


@pytest.mark.parametrize("there", [lambda a: np.einsum("ij,jk->ik", a, a),
                                   lambda a: np.linalg.solve(a, a), lambda a: np.dot(a.T, a)])
def test_blas_keeps_its_threads_where_others_need_them(shared, there):
    step, x = layer(5)
    a = np.eye(128, dtype=np.float32) + 0.01
    recorded = tg.jit(lambda x, a: (step(x), there(a)))
    for _ in range(3):
        recorded(x, a)
    assert teams(recorded).desks and not teams(recorded).products_apart
    without = tg.jit(lambda x, a: (step(x), a + 1))
    for _ in range(3):
        without(x, a)
    assert teams(without).products_apart


def test_replays_of_several_threads_share_the_helpers(shared):
    found = {}

    def work(seed):
        step, x = layer(seed)
        right = step(x)[1].data
        recorded = tg.jit(step)
        found[seed] = [np.abs(recorded(x)[1].data - right).max() for _ in range(40)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert all(max(errors) < 1e-4 for errors in found.values())


@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_lanes_are_one_call_and_large_weights_are_divided(monkeypatch, cache):
    """Whole time loops on each thread's rows, with one handing over; or, where the weight is too
    large for a core's cache, each product by columns."""
    for module, name, value in (
            (jitted, "threads", lambda: 2), (table, "threads", lambda: 2), (lanes, "NATIVE", 0),
            (jitted, "takes_blocks", lambda: True), (products, "WORTH", 0), (table, "LARGE", 1),
            (products, "WIDTHS", range(1, 66)), (products, "HEIGHT", 1),
            (products, "CACHE", cache)):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    model = tg.nn.LSTM(5, 8)
    xs = np.random.default_rng(0).normal(size=(6, 9, 5)).astype(np.float32)

    def step(xs):
        loss = (model(xs)[0] ** 2).mean()
        loss.backward()
        grads = [p.grad for p in model.parameters()]
        model.zero_grad()
        return loss, grads

    right = step(xs)
    recorded = tg.jit(step)
    for _ in range(5):
        loss, grads = recorded(xs)
    calls = recorded._last.program.tape.calls
    assert any(call.lane for call in calls) == bool(cache)
    assert any(call.fn is np.matmul and len(call.out.shape) == 4 for call in calls)  # in blocks
    assert teams(recorded).desks
    assert_allclose(loss.data, right[0].data, rtol=1e-5)
    for a, b in zip(grads, right[1], strict=True):
        assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_midst_of_a_replay():
    """The child has BLAS's threads again, and helpers of its own."""
    program = """
import os, sys
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.jit import table, team
table.threads, table.LARGE = lambda: 2, 1
p = tg.Tensor(np.ones((8, 8), np.float32))
step = tg.jit(lambda x: np.tanh(x @ p) @ p)
x = np.ones((4, 8), np.float32)
right = [step(x).data for _ in range(4)][-1]
asked = team._blas_threads()[0]
before = asked()
crew = step._last.program.run.__globals__["_team"]
with crew:
    child = os.fork()
    if not child:
        good = asked() == before and all((step(x).data == right).all() for _ in range(5))
        os._exit(0 if good else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=120, check=False)
    assert done.returncode == 0
