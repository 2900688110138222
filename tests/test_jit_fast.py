"""Chains of elementwise calls as compiled loops: the numbers of NumPy, for any chain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm, Rnnlm
from tinygrad_rnn import optim
from tinygrad_rnn.jit import loops
from tinygrad_rnn.jit.loops import Kernel

numba = pytest.importorskip("numba", reason="numba is not installed: pip install numba")
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
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)


def kernels(jitted):
    return [call.fn for call in jitted._last.program.tape.calls if isinstance(call.fn, Kernel)]


class Chain:
    """Some calls, drawn from the ways in which values meet in a step."""

    changing = ("lr",)

    def __init__(self, seed, choices, shape):
        rng = np.random.default_rng(seed)
        self.choices, self.shape = choices, shape
        draw = lambda *s: rng.normal(size=s).astype(np.float32)  # noqa: E731
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
                values.append(p * (np.sum(q) / np.float32(q.size)))
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
            elif what == "keep":
                kept += [p, row * 3 + row]
            else:
                values.append(np.tanh({"add": np.add, "multiply": np.multiply,
                                       "subtract": np.subtract, "minus": np.subtract}[what](p, q)))
        return [np.tanh(values[-1] * x + 1), *kept]


WAYS = ["add", "multiply", "subtract", "minus", "join", "slice", "halves", "sum", "columns",
        "edit", "update", "keep"]  # fmt: skip
choices = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 20), st.integers(0, 20)),
                   min_size=2, max_size=8)  # fmt: skip


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, choices, st.sampled_from([(2, 3), (1, 4), (3, 64), (5, 1)]))
def test_any_chain_gives_the_numbers_of_numpy(seed, choices, shape):
    rng = np.random.default_rng(seed)
    eager, recorded = (Chain(seed, choices, shape) for _ in range(2))
    jitted = tg.jit(recorded.__call__)
    for lr in (0.5, 0.25):
        eager.lr = lr
        recorded.lr = lr
        x, row = (rng.normal(size=s).astype(np.float32) for s in (shape, shape[-1]))
        expected, got = eager(x.copy(), row.copy()), jitted(x.copy(), row.copy())
        assert len(expected) == len(got)
        pairs = [*zip(got, expected, strict=True), (recorded.W._data, eager.W._data)]
        for a, b in [*pairs, *zip(recorded.state, eager.state, strict=True)]:
            assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert kernels(jitted)


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


def test_without_a_folder_to_write_to_it_works_all_the_same(eager_to_fuse, monkeypatch):
    (eager_to_fuse / "file").touch()
    monkeypatch.setattr(loops, "cache_folder", lambda: eager_to_fuse / "file" / "below")
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    jitted = tg.jit(lambda x: np.tanh(x * 2) * x)
    assert_allclose(jitted(x), np.tanh(x * 2) * x, rtol=1e-6)
    assert kernels(jitted)


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


def test_a_parameter_in_another_order_is_recorded_anew(eager_to_fuse, monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
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
