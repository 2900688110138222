"""Chains of calls as compiled loops, or in blocks: the numbers of NumPy, for any chain."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm, Rnnlm
from tinygrad_rnn import nn, optim
from tinygrad_rnn.jit import blocks, chains, cut, loops
from tinygrad_rnn.jit.loops import Kernel
from tinygrad_rnn.jit.rows import added_rows, looked_up, moved_rows

pytest.importorskip("numba", reason="numba is not installed: pip install numba")
native = pytest.importorskip("tinygrad_rnn.jit.native")
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def eager_to_fuse(monkeypatch, tmp_path):
    """Chains of any size become loops, kept in a folder of this test."""
    monkeypatch.setattr(loops, "MANY", 1)
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(loops, "cache_folder", lambda: tmp_path)
    loops.load.cache_clear()
    yield tmp_path
    loops.load.cache_clear()


@pytest.fixture
def as_python(eager_to_fuse, monkeypatch):
    """The loops run as Python: what is in them, without the time to compile it."""
    monkeypatch.setattr(loops, "PRELUDE", loops.PRELUDE.replace(
        "from numba import njit", "njit = lambda **options: lambda function: function"))


def kernels(jitted):
    return [call.fn for call in jitted._last.program.tape.calls if isinstance(call.fn, Kernel)]


class Chain:
    """Some calls, drawn from the ways in which values meet in a step."""

    changing = ("lr",)

    def __init__(self, seed, choices, shape, dtype=np.float32):
        rng = np.random.default_rng(seed)
        self.choices, self.shape = choices, shape
        draw = lambda *s: rng.normal(size=s).astype(dtype)  # noqa: E731
        self.W, self.state = tg.nn.Parameter(draw(*shape)), [draw(*shape), draw(shape[-1])]
        self.lr = 0.5

    def __call__(self, x, row):
        values = [x, self.W._data, self.state[0], x[:, ::-1], x * 0.5]
        kept = []
        for i, (what, a, b) in enumerate(self.choices):
            p, q = values[a % len(values)], values[b % len(values)]
            if what == "join":
                joined = np.concatenate([p, q, p + q], axis=b % 2)
                values += [joined[:: 3 if b % 2 == 0 else 1, : self.shape[1]] * 1.5]
                values[-1] = values[-1] if values[-1].shape == self.shape else p
            elif what == "slice":
                wide = np.stack([p, q, p * q]) + row
                values += [wide[1], wide[i % 3] - wide[2]]
            elif what == "halves":
                gates = np.concatenate([p, q], -1) * 2 + np.concatenate([row, row])
                D = self.shape[1]
                values.append(gates[:, D:] * gates[:, :D])
            elif what == "sum":
                values.append(p * (np.sum(q) / q.dtype.type(q.size)))
            elif what == "columns":
                values.append(p * np.mean(q, axis=1, keepdims=True))
            elif what == "edit":
                p = p.copy()
                p += q
                values.append(p)
            elif what == "update":
                self.W._data -= self.lr * p
                self.state[0] *= 0.5
                self.state[0] += q
                self.state[1] *= np.tanh(row)
                values += [self.W._data * 1, self.state[0] * 1]
            elif what == "old":  # is read after its array has a new value
                old = self.W._data.copy()
                self.W._data -= self.lr * p
                values += [self.W._data * 1, old * q]
            elif what == "keep":
                kept += [p, row * 3 + row]
            else:
                values.append(np.tanh({"add": np.add, "multiply": np.multiply,
                                       "subtract": np.subtract, "minus": np.subtract}[what](p, q)))
        return [np.tanh(values[-1] * x + 1), *kept]


WAYS = ["add", "multiply", "subtract", "minus", "join", "slice", "halves", "sum", "columns",
        "edit", "update", "old", "keep"]  # fmt: skip
choices = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 20), st.integers(0, 20)),
                   min_size=2, max_size=8)  # fmt: skip


shapes = st.sampled_from([(2, 3), (1, 4), (3, 64), (5, 1)])


def compare_chains(seed, choices, shape, dtype, tolerance, fast):
    """The recorded function, after it gave the numbers of the eager one."""
    rng = np.random.default_rng(seed)
    eager, recorded = (Chain(seed, choices, shape, dtype) for _ in range(2))
    jitted = tg.jit(recorded.__call__, fast=fast)
    for lr in (0.5, 0.25):
        eager.lr = lr
        recorded.lr = lr
        x, row = (rng.normal(size=s).astype(dtype) for s in (shape, shape[-1]))
        expected, got = eager(x.copy(), row.copy()), jitted(x.copy(), row.copy())
        assert len(expected) == len(got)
        pairs = [*zip(got, expected, strict=True), (recorded.W._data, eager.W._data)]
        for a, b in [*pairs, *zip(recorded.state, eager.state, strict=True)]:
            assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return jitted


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, choices, shapes)
@example(0, [("old", 0, 0)], (2, 3))
def test_any_chain_gives_the_numbers_of_numpy(seed, choices, shape):
    assert kernels(compare_chains(seed, choices, shape, np.float32, 1e-4, fast=True))


@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, choices, shapes, st.sampled_from([np.float32, np.float64]), st.sampled_from([1, 64]))
@example(0, [("old", 0, 0)], (2, 3), np.float64, 1)
def test_any_chain_in_blocks_gives_the_numbers_of_numpy(monkeypatch, seed, choices, shape, dtype,
                                                        block):  # fmt: skip
    monkeypatch.setattr(cut, "LARGE", 0)
    monkeypatch.setattr(cut, "BLOCK", block)
    jitted = compare_chains(seed, choices, shape, dtype, 0, fast=False)
    assert any(isinstance(call.fn, cut.Blocks) for call in jitted._last.program.tape.calls)


@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(2, 4), st.integers(0, 3),
       st.booleans())
def test_an_array_is_looked_at_as_rows_where_they_lie_evenly(seed, n, m, C, beyond, turned):
    whole = np.random.default_rng(seed).normal(size=(n, m, C + beyond))
    x = whole[..., :C].swapaxes(0, 1) if turned else whole[..., :C]
    rows = chains.as_rows(x, n * m, C)
    if rows is not None:
        assert_array_equal(rows[:, :C], x.reshape(n * m, C))
        assert np.shares_memory(rows, whole)
    assert (rows is None) == (turned and n > 1 and m > 1)  # then only a copy has such rows


def test_small_arrays_are_not_cut():
    @tg.jit(fast=False)
    def f(x):
        return np.tanh(x) * x + 1

    for size, expected in ((1000, False), (1 << 20, True)):
        f(np.ones((size, 2)))
        made = [call.fn for call in f._last.program.tape.calls]
        assert any(isinstance(fn, cut.Blocks) for fn in made) == expected


def train(kind, options, optimizer, fast, steps=6):
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    model = kind(7, 6, 6, **options)
    made = optimizer(model.parameters())
    run = tg.jit(fast=fast)(step_of(model, made))
    losses = []
    for _ in range(steps):
        loss, norm = run(rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 5)))
        losses.append((loss.item(), float(norm)))
        made.lr *= 0.9
    return losses, model.state_dict(), made.state_dict()["state"], run


@pytest.mark.usefixtures("as_python")
@pytest.mark.parametrize("kind, options", [
    (Rnnlm, {"cell": "lstm"}), (Rnnlm, {"cell": "gru"}), (Rnnlm, {"cell": "rnn"}),
    (BetterRnnlm, {"dropout": 0.3}), (AttentionSeq2seq, {"bidirectional": True}),
])  # fmt: skip
@pytest.mark.parametrize("optimizer", [
    lambda p: optim.Adam(p, eps=1e-2), lambda p: optim.Momentum(p, 0.1),
    lambda p: optim.AdamW(p, eps=1e-2), lambda p: optim.SGD(p, 0.5, weight_decay=0.1),
], ids=["adam", "momentum", "adamw", "sgd"])  # fmt: skip
def test_training_with_loops_is_training_without(kind, options, optimizer):
    losses, weights, state, run = train(kind, options, optimizer, True)
    others, other_weights, other_state, plain = train(kind, options, optimizer, False)
    assert kernels(run) and not kernels(plain)
    assert_allclose(losses, others, rtol=1e-5)
    for name, w in weights.items():
        assert_allclose(w, other_weights[name], rtol=1e-5, atol=1e-6)
    for one, other in zip(state, other_state, strict=True):
        for key in one:
            assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-6)


def test_compiled_loops_are_kept_on_disk(eager_to_fuse):
    losses, _, _, run = train(Rnnlm, {}, lambda p: optim.SGD(p, 0.5), True)
    expected, _, _, _ = train(Rnnlm, {}, lambda p: optim.SGD(p, 0.5), False)
    assert_allclose(losses, expected, rtol=1e-5)
    machine_code = sorted((eager_to_fuse / "__pycache__").glob("*.nbc"))
    assert len(machine_code) >= len({kernel.key for kernel in kernels(run)}) > 1
    loops.load.cache_clear()
    again, _, _, _ = train(Rnnlm, {}, lambda p: optim.SGD(p, 0.5), True)
    assert_array_equal(again, losses)  # the same bits from machine code that was read
    assert sorted((eager_to_fuse / "__pycache__").glob("*.nbc")) == machine_code


@pytest.mark.usefixtures("eager_to_fuse")
def test_loops_are_vectorised_and_not_told_to_look_for_overlaps():
    """That arrays do not overlap is said by an option of numba's own."""
    _, _, _, run = train(Rnnlm, {}, lambda p: optim.SGD(p, 0.5), True)
    compiled = [kernel for kernel in kernels(run) if loops.load(kernel.source({})).signatures]
    assert len(compiled) > 4 and max(len(kernel.outs) for kernel in compiled) > 3
    for kernel in compiled:  # others are written over an operand
        (code,) = loops.load(kernel.source({})).inspect_llvm().values()
        assert re.search(r"store <\d+ x float>", code)
        assert code.count("noalias") > len(kernel.inputs) + len(kernel.outs)


def test_without_a_folder_to_write_to_it_works_all_the_same(eager_to_fuse, monkeypatch):
    (eager_to_fuse / "file").touch()
    monkeypatch.setattr(loops, "cache_folder", lambda: eager_to_fuse / "file" / "below")
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    jitted = tg.jit(lambda x: np.tanh(x * 2) * x)
    assert_allclose(jitted(x), np.tanh(x * 2) * x, rtol=1e-6)
    assert kernels(jitted)


def test_loops_of_the_package_do_without_a_folder_too():
    program = """
import numpy as np
from numba.core import caching
cache = getattr(caching, "CacheImpl", None) or caching._CacheImpl  # numba < 0.62
cache._locator_classes = []
from tinygrad_rnn.jit.native import add_rows
table = np.zeros((2, 3), np.float32)
add_rows(table, np.array([1, 1]), np.ones((2, 3), np.float32))
assert table.tolist() == [[0, 0, 0], [2, 2, 2]] and not add_rows.stats.cache_path
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tanh_of_the_loops(eager_to_fuse):
    """Within 5 units of the last place where the CPU multiplies and adds in one, else 7; NaN,
    infinities and the sign of zero as in NumPy."""
    big = np.geomspace(1e-30, 1e30, 100_003, dtype=np.float32)
    x = np.concatenate([big, -big, np.linspace(-10, 10, 100_003, dtype=np.float32),
                        np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45])])  # fmt: skip
    jitted = tg.jit(lambda x: np.tanh(x) * 1)
    y, exact = jitted(x), np.tanh(x.astype(np.float64))
    assert kernels(jitted) and y.dtype == np.float32
    error = np.abs(y[:-6] - exact[:-6]) / np.spacing(np.abs(exact[:-6]).astype(np.float32))
    assert error.max() < 7
    assert_array_equal(y[-6:-1], exact[-6:-1])
    assert_array_equal(np.signbit(y[-6:]), np.signbit(exact[-6:]))
    assert np.abs(y).max(where=np.isfinite(y), initial=0) <= 1


def test_what_would_not_pay_stays_with_numpy():
    @tg.jit
    def f(x, y):
        return np.tanh(x) * x + 1, np.tanh(y) * y + 1

    f(np.ones(100_000, np.float64), np.ones(3, np.float32))
    assert not kernels(f)


@pytest.mark.usefixtures("as_python")
def test_a_parameter_in_another_order_is_recorded_anew():
    p = tg.nn.Parameter(np.ones((3, 4), np.float32))

    @tg.jit
    def step(g):
        p._data -= 0.5 * (g + p._data)

    step(np.ones((3, 4), np.float32))
    assert_array_equal(p.numpy(), np.zeros((3, 4)))
    p.data = np.ones((4, 3), np.float32).T
    step(np.ones((3, 4), np.float32))
    assert_array_equal(p.numpy(), np.zeros((3, 4)))
    assert len(step.recordings) == 2


class CharModel:
    """A recurrent network over looked-up rows, which are turned, cut and used in drawn ways."""

    def __init__(self, seed, V, D, H, turned, cut, more):
        draw = np.random.default_rng(seed).normal
        self.turned, self.cut, self.more = turned, cut, more
        for name, shape in [("E", (V, D)), ("E2", (V, D)), ("W", (D, 2 * H)), ("b", 2 * H),
                            ("U", (H, 2 * H)), ("W2", (D, 2 * H))]:  # fmt: skip
            # small: rounding is not to grow from step to step
            setattr(self, name, nn.Parameter(draw(scale=0.4, size=shape).astype(np.float32)))

    def parameters(self):
        return [self.E, self.E2, self.W, self.b, self.U, self.W2]

    def rows(self, table, ids, turned):
        x = table[ids]
        x = np.swapaxes(x, 0, 1) if turned else x
        return x[::-1] if self.cut == "backwards" else x[1:] if self.cut == "first" else x

    def __call__(self, ids):
        for p in self.parameters():
            p.grad = None
        x = self.rows(self.E, ids, self.turned)
        T, N, D = x.shape
        a = np.reshape(x, (T * N, D)) @ self.W + self.b
        if self.more == "another table":  # whose gradients are those of the first
            a = a + np.reshape(self.rows(self.E2, -1 - ids, self.turned), (T * N, D)) @ self.W2
        elif self.more == "another order":
            a = a + np.reshape(self.rows(self.E, ids, not self.turned), (T * N, D)) @ self.W2
        z = np.reshape(a, (T, N, -1))
        H = len(self.U)
        h = np.zeros_like(z, shape=(N, H))
        for t in range(T):
            a = z[t] + h @ self.U
            h = np.tanh(a[:, :H]) * a[:, H:]
            if self.more == "rows too":
                h = h + np.sum(x[t], axis=1, keepdims=True)
        loss = np.sum(h * h)
        loss.backward()
        return [loss, z if self.more == "products too" else h, *(p.grad for p in
                self.parameters() if p.grad is not None)]  # fmt: skip


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, st.integers(2, 5), st.integers(1, 4), st.booleans(),
       st.sampled_from([None, "first", "backwards"]),
       st.sampled_from([None, "another table", "another order", "rows too", "products too"]))
@example(0, 3, 2, True, None, "another order")
def test_what_is_done_to_looked_up_rows_is_done_to_the_table(seed, V, H, turned, cut, more):
    rng = np.random.default_rng(seed)
    eager, recorded = (CharModel(seed, V, 3, H, turned, cut, more) for _ in range(2))
    jitted = tg.jit(recorded.__call__)
    for _ in range(2):
        ids = rng.integers(-V, V, (5, 5))
        for a, e in zip(jitted(ids), eager(ids), strict=True):
            assert_allclose(a.numpy(), e.numpy(), rtol=1e-5, atol=1e-5 * np.abs(e.numpy()).max())
    calls = jitted._last.program.tape.calls
    rows = 20 if cut == "first" else 25
    summed = [c for c in calls if c.fn is added_rows and c.args[0].shape == (V, 2 * H)]
    assert bool(summed) == (rows >= 4 * V)
    if summed and more != "products too":
        assert not any(call.fn is looked_up for call in calls)  # but inside of the loops
    if summed and cut is more is None:  # no product has a row for each id
        assert rows not in [call.args[0].shape[0] for call in calls if call.fn is np.matmul]


def test_rows_that_are_not_looked_up_are_not_computed_with():
    E, W = (nn.Parameter(np.ones(s, np.float32)) for s in [(5, 2), (2, 3)])
    E.data[4] = np.nan

    @tg.jit
    def step(ids):
        E.grad = W.grad = None
        np.sum(E[ids] @ W).backward()
        return E.grad, W.grad

    for _ in range(3):
        table, weight = step(np.arange(40) % 4)
        assert_array_equal(table.numpy(), [[30, 30]] * 4 + [[0, 0]])
        assert_array_equal(weight.numpy(), np.full((2, 3), 40))


@pytest.mark.usefixtures("eager_to_fuse")
@pytest.mark.parametrize("wrong", [7, -8])
def test_loops_refuse_ids_that_are_no_rows(wrong):
    E, W = (nn.Parameter(np.ones(s, np.float32)) for s in [(7, 3), (3, 4)])
    look = tg.jit(lambda ids: np.tanh(E[ids] @ W) * 2)

    @tg.jit
    def step(ids):
        loss = np.sum(E[ids] @ W)
        loss.backward()
        for p in (E, W):
            p.data -= 0.1 * p.grad.data
            p.grad = None

    ids = np.zeros(40, int)
    for f in (look, step):
        f(ids)
    assert kernels(look)
    assert added_rows in [call.fn for call in step._last.program.tape.calls]
    before = E.numpy().copy(), W.numpy().copy()
    ids[3] = wrong
    for f in (look, step):
        with pytest.raises(IndexError, match=f"index {wrong} is out of bounds .* with size 7"):
            f(ids)
    assert_array_equal(E.numpy(), before[0])
    assert_array_equal(W.numpy(), before[1])


@given(seeds, st.integers(1, 5), st.integers(1, 300), st.booleans(), st.booleans(),
       st.sampled_from([0.1, 1, 30, 1e4]))  # fmt: skip
def test_softmax_and_cross_entropy_of_the_loops(seed, n, V, bias, slope, size):
    rng = np.random.default_rng(seed)
    x, b = (size * rng.normal(size=s).astype(np.float32) for s in [(n, V), V])
    x[0, rng.integers(V, size=V // 3)] = -np.inf
    targets, scale = rng.integers(-V, V, n), rng.normal(size=n).astype(np.float32)
    x[0, targets[0]] = 0
    exact, got = ((np.empty((n, V), d), np.empty(n, d)) for d in (np.float64, np.float32))
    more = b if bias else None, targets, scale if slope else None
    total = x + b if bias else x  # rounded: what both are to compute with
    blocks.softmax_nll(total.astype(np.float64), None, *more[1:], out=exact)
    blocks.softmax_nll_compiled(x, *more, out=got)
    with_sum = np.empty_like(x), np.empty_like(got[1]), np.full(V, np.nan, np.float32)
    blocks.softmax_nll_compiled(x, *more, out=with_sum)
    assert_allclose(with_sum[2], exact[0].sum(0), rtol=1e-5, atol=1e-5)
    for one, other in zip(with_sum, got, strict=False):
        assert_array_equal(one, other)
    assert_allclose(got[0], exact[0], rtol=1e-5, atol=1e-6)
    assert_allclose(got[1], exact[1], rtol=1e-5, atol=1e-6)
    assert np.all(got[0][np.isneginf(x)] == 0)
    blocks.softmax_nll_compiled(x, *more, out=(x, y := np.empty_like(got[1])))  # in place
    assert_array_equal(x, got[0])
    assert_array_equal(y, got[1])


def test_what_is_not_a_number_stays_so_in_the_softmax():
    x = np.zeros((4, 300), np.float32)
    x[0, 7], x[1, 299], x[2] = np.nan, np.inf, -np.inf
    y = np.empty(4, np.float32)
    with np.errstate(invalid="ignore"):
        blocks.softmax_nll_compiled(x, None, np.zeros(4, int), None, out=(x, y))
    assert np.isnan(x[:3]).all(axis=1).tolist() == [True, True, True]
    assert np.isnan(y[:3]).all()
    assert_allclose(x[3], 1 / 300, rtol=1e-6)


@pytest.mark.usefixtures("eager_to_fuse")
@pytest.mark.parametrize("n", [(3,), (40,), (4, 15)])
@pytest.mark.parametrize("read", [None, "the sum", "other rows", "other axes", "half rows",
                                  "squared"])  # fmt: skip
def test_the_gradient_of_a_bias_is_added_up_in_the_softmax(n, read):
    rng = np.random.default_rng(0)
    W, b = (nn.Parameter(rng.normal(size=s).astype(np.float32)) for s in [(5, 50), 50])

    def step(h, ts):
        W.grad = b.grad = None
        logits = h @ W + b
        if read == "half rows":
            logits, ts = np.reshape(logits, (-1, 25)), np.reshape(ts, -1) % 25
            ts = np.concatenate([ts, ts])
        loss = tg.functional.cross_entropy(logits, ts)
        if read == "squared":
            loss = loss * loss
        elif read == "other rows":
            loss = loss + np.sum(np.tanh(b) * 2)
        elif read == "other axes":
            loss = loss + tg.functional.cross_entropy(h @ W + W[:1, :1], ts)
        loss.backward()
        return [loss, W.grad, b.grad, b.grad * 2 if read == "the sum" else b.grad]

    jitted = tg.jit(step)
    for _ in range(3):
        h, ts = rng.normal(size=(*n, 5)).astype(np.float32), rng.integers(0, 50, n)
        for a, e in zip(jitted(h, ts), step(h, ts), strict=True):
            assert_allclose(a.detach().numpy(), e.detach().numpy(), rtol=1e-5, atol=1e-6)
    calls = [c for c in jitted._last.program.tape.calls if c.fn is blocks.softmax_nll_compiled]
    assert sorted(len(c.outs) for c in calls) == {
        "squared": [2], "half rows": [2], "other axes": [2, 3]}.get(read, [3])  # fmt: skip


def test_exp_of_the_loops():
    x = np.linspace(-87, 0, 300_001, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    got = np.array([native.exp(u) for u in x[::100]], np.float32)
    assert (np.abs(got - exact[::100]) / np.spacing(exact[::100].astype(np.float32))).max() <= 1
    assert native.exp(np.float32(-np.inf)) == native.exp(np.float32(-88)) == 0


@pytest.mark.usefixtures("eager_to_fuse")
@pytest.mark.parametrize("size", [4, 1100])  # loops; blocks of NumPy
@pytest.mark.parametrize("part", [np.s_[1], np.s_[::-1], np.s_[:, ::-1], np.s_[1, 2]])
def test_an_array_that_is_edited_by_its_own_parts(size, part):
    arrays = [np.random.default_rng(0).normal(size=(size, 1024)).astype(np.float32)
              for _ in range(2)]  # fmt: skip
    thing = {"p": arrays[0]}

    def step(x):
        p = thing["p"]
        p -= p[part] * x * 0.5

    jitted = tg.jit(step, fast=size < 1000)
    for x in np.random.default_rng(1).normal(size=(3, size, 1024)).astype(np.float32):
        for thing["p"], f in zip(arrays, (jitted, step), strict=True):
            f(x)
        assert_allclose(arrays[0], arrays[1], rtol=1e-5, atol=1e-5)
    assert any(isinstance(c.fn, (Kernel, cut.Blocks)) for c in jitted._last.program.tape.calls)


@pytest.mark.usefixtures("eager_to_fuse")
@pytest.mark.parametrize("part", [np.s_[:, :6], np.s_[::2], np.s_[::-1], np.s_[:, ::-1]])
def test_an_array_that_does_not_lie_in_one_piece_is_edited(part):
    def step(h, x):
        h -= 0.1 * x
        return h * 1

    jitted = tg.jit(step)
    eager, recorded = (np.ones((8, 12), np.float32)[part] for _ in range(2))
    for x in np.random.default_rng(0).normal(size=(3, *eager.shape)).astype(np.float32):
        assert_allclose(jitted(recorded, x), step(eager, x), rtol=1e-6)
        assert_allclose(recorded, eager, rtol=1e-6)
    assert kernels(jitted)


class Words:
    """A table, a loss of its rows that are looked up, and one step of gradient descent."""

    def __init__(self, seed, V, form):
        rng = np.random.default_rng(seed)
        self.E = nn.Parameter(rng.normal(size=(V, 3)).astype(np.float32))
        self.form, self.v = form, np.zeros((V, 3), np.float32)

    def __call__(self, ids, y, lr, limit):
        loss = np.sum((self.E[ids] * y) ** 2)
        if self.form == "looked up twice":
            loss = loss + np.sum(self.E[ids * 0])
        self.E.grad = None
        loss.backward()
        norm = optim.clip_grad_norm_([self.E], limit)
        g, p = self.E.grad.data, self.E.data
        if self.form == "momentum":
            self.v *= 0.9
            self.v += g
            g = self.v
        elif self.form == "decay":
            g = g + 0.1 * p
        p -= lr * g
        if self.form != "gradient kept":
            self.E.grad = None
        return norm


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, st.integers(8, 60), st.sampled_from([(2,), (3, 4), (6, 1)]),
       st.sampled_from([None, "gradient kept", "momentum", "decay", "looked up twice"]),
       st.sampled_from([0.1, 10.0]), st.sampled_from([0.5, np.inf, np.nan]))
@example(0, 24, (6, 1), None, 0.1, np.inf)
def test_gradient_descent_moves_only_rows_that_were_looked_up(seed, V, shape, form, limit, lr):
    rng = np.random.default_rng(seed)
    eager, recorded = Words(seed, V, form), Words(seed, V, form)
    jitted = tg.jit(recorded.__call__)
    for rate in (0.1, lr, 0.2):
        ids = rng.integers(-V, V, shape)
        y = rng.normal(size=(*shape, 3)).astype(np.float32)
        with np.errstate(invalid="ignore"):
            norms = [f(ids, y, np.float32(rate), limit) for f in (eager, jitted)]
        if form != "gradient":
            assert_allclose(norms[1], norms[0], rtol=1e-5)
        assert_allclose(recorded.E.numpy(), eager.E.numpy(), rtol=1e-5, atol=1e-6)
    moved = [call for call in jitted._last.program.tape.calls if call.fn is moved_rows]
    assert bool(moved) == (form is None and math.prod(shape) * 4 <= V)
    for call in moved:  # in the table itself
        assert jitted._last.program.memory.how[call.out] == "home"


@pytest.mark.parametrize("shape", [(0,), (0, 5)])
def test_no_ids_at_all(shape):
    words = Words(0, 60, None)
    before = words.E.numpy().copy()
    step = tg.jit(words.__call__)
    for _ in range(3):
        step(np.zeros(shape, int), np.ones((*shape, 3), np.float32), np.float32(0.1), 1.0)
    assert moved_rows in [call.fn for call in step._last.program.tape.calls]
    assert_array_equal(words.E.numpy(), before)


@pytest.mark.usefixtures("eager_to_fuse")
def test_a_table_that_is_also_read_as_it_is():
    rng = np.random.default_rng(0)
    for V in (1, 4):
        E, W = (nn.Parameter(rng.normal(size=s).astype(np.float32)) for s in [(V, 6), (6, 40)])
        step = tg.jit(lambda ids, E=E, W=W: np.tanh(E[ids] @ W + E @ W) * 0.5)
        for _ in range(3):
            ids = rng.integers(0, V, 16 if V == 1 else 4)
            expected = np.tanh(E.numpy()[ids] @ W.numpy() + E.numpy() @ W.numpy()) * 0.5
            assert_allclose(step(ids).numpy(), expected, rtol=1e-5, atol=1e-6)
        assert V > 1 or kernels(step)
