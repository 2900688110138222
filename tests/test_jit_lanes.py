"""The rows of a batch in lanes, and products by blocks of the weights: the numbers of eager, and
no lane writes where another one reads."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jit_worlds import flat, recorded
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm, Rnnlm
from tinygrad_rnn import nn, optim, speed
from tinygrad_rnn.jit import blocks, jitted, lanes, loops, products
from tinygrad_rnn.jit.cut import Blocks, cut
from tinygrad_rnn.jit.loops import Kernel
from tinygrad_rnn.jit.passes import drop_unused
from tinygrad_rnn.jit.replay import Program


@pytest.fixture(params=[2, 3])
def any_size(request, monkeypatch, tmp_path):
    """Lanes, and blocks, of any size; on so many cores."""
    monkeypatch.setattr(jitted, "takes_blocks", lambda: True)
    monkeypatch.setattr(jitted, "threads", lambda: request.param)
    monkeypatch.setattr(lanes, "WORTH", 0)
    monkeypatch.setattr(lanes, "NATIVE", 0)
    monkeypatch.setattr(products, "WORTH", 0)
    monkeypatch.setattr(products, "WIDTHS", range(1, 66))
    monkeypatch.setattr(products, "HEIGHT", 1)
    # and chains of any length as loops, run as Python
    monkeypatch.setattr(loops, "MANY", 1)
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(loops, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(loops, "PRELUDE", loops.PRELUDE.replace(
        "from numba import njit", "njit = lambda **options: lambda function: function"))
    loops.load.cache_clear()
    blocks._pool.cache_clear()
    monkeypatch.setattr(blocks, "threads", lambda: request.param)
    yield request.param
    loops.load.cache_clear()
    blocks._pool.cache_clear()


def laned(program):
    """The calls of each lane, views left out."""
    found: dict = {}
    for call in program.tape.calls:
        if call.lane and not call.view:
            found.setdefault(call.lane[0], {}).setdefault(call.lane[1], []).append(call)
    return found


def check_apart(program):
    """What a lane writes is neither read nor written by another one; and the lines of lanes that
    belong together follow each other."""
    lines = [lane for _, (lane, _) in sorted(program.lanes.items())]
    assert lines == sorted(lines) and len(lines) == sum(
        1 + max(at) - min(at) for n in set(lines)
        for at in [[i for i, (lane, _) in program.lanes.items() if lane == n]])
    array = program.memory.array
    for group in laned(program).values():
        written = {k: [array[v] for call in calls for v in call.outs]
                   for k, calls in group.items()}
        touched = {k: written[k] + [array[v] for call in calls for v in call.inputs() if v in array]
                   for k, calls in group.items()}  # fmt: skip
        for k in group:
            for other in group:
                for x in written[k] if other != k else ():
                    assert not any(np.may_share_memory(x, y) and np.shares_memory(x, y)
                                   for y in touched[other])


class Net:
    """A recurrent layer of any kind, read out at every step, or at the last one alone."""

    def __init__(self, kind, N, T, H, seed, dtype, last):
        rng = np.random.default_rng(seed)
        self.layer = kind(3, H, dtype=dtype, rng=rng)
        self.last = last
        self.xs = rng.normal(size=(N, T, 3)).astype(dtype)
        self.weights = rng.normal(size=(N, T, self.layer(self.xs)[0].shape[-1])).astype(dtype)
        self.params = [*self.layer.parameters()]

    def __call__(self):
        hs, state = self.layer(self.xs)
        loss = np.sum((hs[:, -1] if self.last else hs * hs) * (
            self.weights[:, -1] if self.last else self.weights))
        loss.backward()
        return [loss, state, [(p.grad, setattr(p, "grad", None))[0] for p in self.params]]


KINDS = {
    "lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN,
    "gru after": lambda *a, **k: nn.GRU(*a, reset="after", update="old", **k),
    "two ways": lambda *a, **k: nn.LSTM(*a, bidirectional=True, **k),
    "deep": lambda *a, **k: nn.GRU(*a, num_layers=2, residual=True, **k),
}  # fmt: skip


@pytest.mark.parametrize("fast", [pytest.param(True, marks=pytest.mark.skipif(
    not loops.available(), reason="numba is not installed: pip install numba")), False])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.sampled_from(sorted(KINDS)), st.integers(4, 9), st.integers(4, 6),
       st.integers(3, 8), st.booleans(), st.booleans())
@example(0, "lstm", 5, 5, 4, True, False)
@example(0, "two ways", 4, 4, 4, False, False)
def test_lanes_give_the_numbers_of_eager(any_size, fast, seed, kind, N, T, H, single, last):
    dtype, tolerance = (np.float32, 1e-5) if single else (np.float64, 1e-12)
    eager = Net(KINDS[kind], N, T, H, seed, dtype, last)
    net = Net(KINDS[kind], N, T, H, seed, dtype, last)
    run = tg.jit(fast=fast)(net.__call__)
    expected = [*map(np.asarray, flat(eager()))]
    for _ in range(3):
        found = [*map(np.asarray, flat(run()))]
        for a, e in zip(found, expected, strict=True):
            assert_allclose(a, e, rtol=tolerance, atol=tolerance * max(1, np.abs(e).max()))
    program = run._last.program
    groups = laned(program)
    if fast and single:
        assert any(isinstance(c.fn, Kernel) for group in groups.values() for c in group[0])
    assert groups and all(len(group) == min(any_size, N // 2) for group in groups.values())
    check_apart(program)


@pytest.mark.parametrize("kind, options", [
    (Rnnlm, {"cell": "gru"}), (BetterRnnlm, {"dropout": 0.3}), (AttentionSeq2seq, {}),
])  # fmt: skip
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_training_in_lanes_is_training_in_one(any_size, monkeypatch, kind, options, dtype,
                                              tolerance):
    def train():
        tg.manual_seed(0)
        rng = np.random.default_rng(0)
        model = kind(7, 8, 8, **options, dtype=dtype)
        made = optim.Adam(model.parameters(), eps=1e-2)
        run = tg.jit(step_of(model, made))
        losses = [run(rng.integers(0, 7, (6, 6)), rng.integers(0, 7, (6, 6)))[0].item()
                  for _ in range(9)]
        return losses, model.state_dict(), run._last.program

    losses, weights, program = train()
    assert len(laned(program)) >= 2
    check_apart(program)
    monkeypatch.setattr(jitted, "takes_blocks", lambda: False)
    expected, expected_weights, plain = train()
    assert not laned(plain)
    assert_allclose(losses, expected, rtol=tolerance)
    for name, w in weights.items():
        assert_allclose(w, expected_weights[name], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_lanes_give_the_same_bits_each_time(any_size):
    net = Net(nn.LSTM, 32, 8, 24, 0, np.float32, False)
    run = tg.jit(net.__call__)
    expected = flat(run())
    for _ in range(20):
        for a, e in zip(flat(run()), expected, strict=True):
            assert_array_equal(a, e)
    assert laned(run._last.program)


def test_explain_counts_the_calls_of_lanes_once(any_size, capsys):
    net = Net(nn.LSTM, 32, 6, 8, 0, np.float32, False)
    run = tg.jit(net.__call__)
    for _ in range(2):
        run()
    run.explain()
    said = capsys.readouterr().out
    recorded, left, replayed = map(int, re.findall(r"(-?\d+) (?:calls|of them|replayed)", said))
    assert recorded == left + replayed and left > 0
    assert f"time steps in {any_size} lanes" in said


# ---- where they pay ----


def steps(T, shared=True):
    def f(h, *weights):
        for t in range(T):
            h = np.tanh(np.matmul(h, weights[0 if shared else t]))
        return h + 1

    return f


def pieces(tape):
    return sum(bool(call.lane) for call in tape.calls)


def test_long_runs_with_large_weights_become_lanes():
    h, W = np.ones((64, 512), np.float32), np.ones((512, 512), np.float32)
    large = recorded(steps(9), h, W)
    assert pieces(lanes.split_rows(large, 2)) == 2 * 18
    assert pieces(lanes.split_rows(large, 1)) == 0
    assert len({c.lane for c in lanes.split_rows(large, 99).calls if c.lane}) == lanes.MOST
    for other in (
        recorded(steps(3), h, W),  # too short
        recorded(steps(9), h[:, :64], W[:64, :64]),  # products too small
        recorded(steps(9), np.ones((512, 512), np.float32), W),  # rows enough for BLAS
        recorded(steps(9, shared=False), h, *[W] * 9),  # every weight is read once
        recorded(steps(9), h[:, :509], W[:509, :509]),  # a width without divisors
        recorded(steps(9), h[:3], W),
    ):
        assert pieces(lanes.split_rows(other, 2)) == 0


@given(st.integers(1, 200), st.integers(1, 3000), st.integers(1, 3000))
@example(10, 650, 2600)
@example(10, 2600, 650)
@example(64, 1024, 256)
def test_blocks_of_a_weight(rows, K, M):
    found = products.blocks_of(rows, K, M)
    if found is not None:
        height, width = found
        assert K % height == 0 and M % width == 0
        assert rows * height * width <= products.SMALL and 32 <= width <= 65 and height >= 64
    known = {(10, 650, 2600): (650, 65), (10, 2600, 650): (1300, 65), (64, 1024, 256): (256, 32)}
    assert known.get((rows, K, M), found) == found


def test_it_is_left_to_the_kernels_of_blas(monkeypatch):
    def takes(**library):
        monkeypatch.setattr(products, "blas", lambda: library or None)
        products.takes_blocks.cache_clear()
        return products.takes_blocks()

    try:
        assert takes(internal_api="openblas", architecture="SkylakeX")
        assert not takes(internal_api="openblas", architecture="Haswell")
        assert not takes(internal_api="mkl")
        assert not takes()
    finally:
        products.takes_blocks.cache_clear()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("cores", [2, 3])
def test_products_of_odd_lanes_with_weights_in_any_order(any_size, monkeypatch, order, cores):
    monkeypatch.setattr(products, "SMALL", 150)  # 3 columns for 4 rows, 4 for 3
    rng = np.random.default_rng(0)
    h, W = rng.normal(size=(7, 12)), np.asarray(rng.normal(size=(12, 12)), order=order)
    tape = lanes.on_cores(recorded(steps(5), h, W), cores)
    assert sum(call.fn is np.positive for call in tape.calls) == 1  # one weight, put in blocks once
    assert not any(call.fn is np.matmul and len(call.args[1].shape) == 2 for call in tape.calls)
    assert_allclose(Program(tape, {}).run([h, W])[0], steps(5)(h, W), rtol=1e-12)


@pytest.mark.parametrize("small", [True, False])
def test_few_rows_times_a_transposed_weight_are_rows_again(any_size, monkeypatch, small):
    monkeypatch.setattr(products, "SMALL", 6 * 8 * 8 - (not small))
    monkeypatch.setattr(speed, "FEW_ROWS", 6)

    def f(g, W):
        for _ in range(4):
            g = speed.times_transposed(g, W)  # as the engine does it
        return g

    rng = np.random.default_rng(0)
    g, W = rng.normal(size=(6, 8)), rng.normal(size=(8, 8))
    tape = lanes.rows_first(recorded(f, g, W), 2)
    assert sum(call.fn is np.matmul for call in tape.calls) == 4
    copied = [call.out for call in tape.calls if call.fn is np.positive]
    assert {call.args[1] for call in tape.calls if call.fn is np.matmul} == set(copied) or (
        not small and not copied)  # a small weight is turned once
    assert sum(call.fn is np.transpose and call.args[0] is tape.inputs[1]
               for call in tape.calls) == 1  # fmt: skip
    assert_allclose(Program(tape, {}).run([g, W])[0], f(g, W), rtol=1e-12)

    def looked_at(g, W):
        y = np.matmul(W, np.transpose(g))
        return np.copy(np.transpose(y), order="C") + y.sum()

    def turned_otherwise(g, W):
        y = np.transpose(np.matmul(W, np.transpose(g)), (0, 1))
        return np.copy(y, order="C")

    for other in (looked_at, turned_otherwise):
        tape = recorded(other, g, W)
        assert lanes.rows_first(tape, 2).calls == tape.calls

    def in_another_order(g, W):
        y = [np.matmul(W, np.transpose(x)) for x in (g, g * 2)]
        second, first = (np.copy(np.transpose(x), order="C") for x in reversed(y))
        return first + second

    tape = lanes.rows_first(recorded(in_another_order, g, W), 2)
    assert not any(call.fn is np.positive for call in tape.calls)
    assert_allclose(Program(tape, {}).run([g, W])[0], in_another_order(g, W), rtol=1e-12)
    tape = recorded(f, g, W)
    tape.results += [call.out for call in tape.calls if call.fn is np.matmul]
    assert lanes.rows_first(tape, 2).calls == tape.calls


def test_floating_point_errors_in_lanes_are_raised_as_asked(any_size):
    @tg.jit(fast=False)
    def f(h, W):
        for _ in range(4):
            h = np.exp(h @ W)
        return h

    h, W = np.zeros((8, 8)), np.full((8, 8), 0.01)
    expected = [f(h, W).copy() for _ in range(2)]
    assert laned(f._last.program)
    for row in (0, 7):  # in the first lane, and in the last one
        large = h.copy()
        large[row] = 1e5
        with pytest.raises(FloatingPointError), np.errstate(over="raise"):
            f(large, W)
    assert_array_equal(f(h, W), expected[0])


def test_runs_end_where_rows_meet(any_size):
    def reversed_rows(h, W):
        for _ in range(4):
            h = np.tanh(h @ W)
            h = h + h[::-1]
        return h

    def own_weight(h, W):
        y = W
        for _ in range(4):
            y = np.tanh(y @ W)
        for _ in range(4):
            h = h @ y
        return h + 1

    def picked(h, W):
        other = W[np.array([3, 1, 0, 2, 7, 5, 6, 4])]  # a new array at each replay
        h = h + other
        for _ in range(4):
            h = np.tanh(h @ W)
        return h * 2

    def whole_and_by_rows(h, W):
        for _ in range(4):
            h = np.tanh(h @ W)
        return np.exp(h + W)

    rng = np.random.default_rng(0)
    for f in (reversed_rows, own_weight, picked, whole_and_by_rows):
        h, W = rng.normal(size=(8, 8)), rng.normal(size=(8, 8)) / 3
        program = Program(lanes.on_cores(drop_unused(recorded(f, h, W)), any_size), {})
        assert laned(program) or f is reversed_rows
        check_apart(program)
        for _ in range(3):
            assert_allclose(program.run([h, W])[0], f(h, W), rtol=1e-12)


def test_lists_and_dtypes_among_the_operands(any_size):
    def f(h, W):
        for i in range(4):
            h = np.tanh(h @ W) + [[float(i * k)] for k in range(6)]
        return np.concatenate(np.stack([h, h @ ([[1.0, 2.0, 3.0]] * 3)]), axis=1)

    def once(h, W):
        return np.matmul(h, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]) + 1

    rng = np.random.default_rng(0)
    def joined(h, W):
        for _ in range(4):
            h = np.tanh(h @ W)
        return np.concatenate([h, h], axis=1, dtype=np.float64).T + 1

    for g, arrays in ((joined, (rng.normal(size=(6, 4)), rng.normal(size=(4, 4)))),
                      (f, (rng.normal(size=(6, 3)), rng.normal(size=(3, 3)))),
                      (once, (rng.normal(size=(6, 3)), rng.normal(size=(3, 3))))):
        run = tg.jit(fast=False)(g)
        for _ in range(3):
            assert_allclose(run(*arrays), g(*arrays), rtol=1e-12)


def test_what_is_cut_into_blocks_stays_out_of_lanes(any_size, monkeypatch):
    monkeypatch.setattr(products, "ROWS", 1000)

    def f(h, W):
        for _ in range(4):
            h = np.tanh(h @ W) * 2
        return h + 1

    h, W = np.ones((600, 1000)), np.ones((1000, 1000))
    tape = lanes.on_cores(cut(recorded(f, h, W)), any_size)
    assert pieces(tape) and any(isinstance(call.fn, Blocks) for call in tape.calls)
    assert not any(isinstance(call.fn, Blocks) for call in tape.calls if call.lane)
