"""Compiled loops: training with them, where they are kept, and their tanh, exp and softmax."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jit_worlds import kernels
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm, Rnnlm
from tinygrad_rnn import nn, optim
from tinygrad_rnn.jit import blocks, loops

pytest.importorskip("numba", reason="numba is not installed: pip install numba")
native = pytest.importorskip("tinygrad_rnn.jit.native")


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


# ---- the functions of the loops ----


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


def test_with_numba_s_compiler_switched_off_the_calls_are_numpy_s(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    weight = tg.nn.Parameter(np.full((4, 4), 0.1, np.float32))
    x = np.ones((300, 4), np.float32)

    def step(x):
        return np.sum(np.tanh(x @ weight) * 2)

    recorded = tg.jit(step)
    for _ in range(3):
        assert recorded(x).item() == step(x).item()  # bit for bit, as without numba
