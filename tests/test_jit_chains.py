"""Chains of calls as compiled loops, or in blocks: the numbers of NumPy, for any chain."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jit_worlds import kernels, recorded
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn.jit import chains, cut
from tinygrad_rnn.jit.loops import Kernel

pytest.importorskip("numba", reason="numba is not installed: pip install numba")


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
        values = [x, self.W._held, self.state[0], x[:, ::-1], x * 0.5]
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
            elif what == "rows":  # a sum of rows is read in the next sum, and its axis is new
                d = p - np.mean(p, axis=-1, keepdims=True)
                sums = np.sum(d * d, axis=1)
                some = sums[:: 1 - 2 * (b % 2), np.newaxis]
                values += [q * (0.5 * np.reshape(sums, (-1, 1))), d / np.sqrt(some + 1)]
                kept += [sums] if b % 2 else []
            elif what == "unit":  # over the array of which the sums are
                self.W._held *= 0.5
                self.W._held /= 1 + np.sum(self.W._held * q, -1, keepdims=True) ** 2
                values += [self.W._held * 1]
            elif what == "sums":  # reads the array, which has a new value, and the sums of that
                old = self.W._held.copy()
                self.W._held += p
                values += [q * old + np.sum(self.W._held, -1, keepdims=True)]
            elif what == "edit":
                p = p.copy()
                p += q
                values.append(p)
            elif what == "update":
                self.W._held -= self.lr * p
                self.state[0] *= 0.5
                self.state[0] += q
                self.state[1] *= np.tanh(row)
                values += [self.W._held * 1, self.state[0] * 1]
            elif what == "old":  # is read after its array has a new value
                old = self.W._held.copy()
                self.W._held -= self.lr * p
                values += [self.W._held * 1, old * q]
            elif what == "keep":
                kept += [p, row * 3 + row]
            else:
                values.append(np.tanh({"add": np.add, "multiply": np.multiply,
                                       "subtract": np.subtract, "minus": np.subtract}[what](p, q)))
        return [np.tanh(values[-1] * x + 1), *kept]


WAYS = ["add", "multiply", "subtract", "minus", "join", "slice", "halves", "sum", "columns",
        "rows", "unit", "sums", "edit", "update", "old", "keep"]  # fmt: skip
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
        pairs = [*zip(got, expected, strict=True), (recorded.W._held, eager.W._held)]
        for a, b in [*pairs, *zip(recorded.state, eager.state, strict=True)]:
            assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    return jitted


@pytest.mark.usefixtures("as_python")
@settings(suppress_health_check=["function_scoped_fixture"])  # type: ignore[list-item]
@given(seeds, choices, shapes)
@example(0, [("old", 0, 0)], (2, 3))
@example(0, [("unit", 0, 0), ("sums", 0, 0), ("rows", 5, 7)], (2, 3))
def test_any_chain_gives_the_numbers_of_numpy(seed, choices, shape):
    assert kernels(compare_chains(seed, choices, shape, np.float32, 1e-4, fast=True))


@pytest.mark.usefixtures("as_python")
def test_sums_of_rows_are_in_the_loops_over_them():
    def normalised(x, gain):
        d = x - np.mean(x, axis=-1, keepdims=True)
        return d / np.sqrt(np.mean(d * d, axis=-1, keepdims=True) + 1e-5) * gain

    for shape in ((3, 8), (2, 3, 8)):
        jitted = tg.jit(normalised)
        x, gain = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in (shape, 8))
        assert_allclose(jitted(x, gain), normalised(x, gain), rtol=1e-5, atol=1e-6)
        (kernel,) = kernels(jitted)
        assert len(kernel.loops) == 3
        assert len(kernel.outs) == 2  # d is read in a loop after the one that makes it
        assert len([call for call in jitted._last.program.tape.calls if not call.view]) == 1


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
        p._held -= 0.5 * (g + p._held)

    step(np.ones((3, 4), np.float32))
    assert_array_equal(p.numpy(), np.zeros((3, 4)))
    p.data = np.ones((4, 3), np.float32).T
    step(np.ones((3, 4), np.float32))
    assert_array_equal(p.numpy(), np.zeros((3, 4)))
    assert len(step.recordings) == 2


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


def test_a_chain_in_blocks_is_the_same_whenever_it_is_made(monkeypatch):
    """What is free at the same time is taken in the order of the call, and not of addresses."""
    monkeypatch.setattr(cut, "LARGE", 0)

    def f(x):
        a, b = x * 2, x * 3
        return (a + b) * (x * 4) + x * 5

    def made():
        (call,) = cut.cut(recorded(f, np.ones((2, 3)))).calls
        return call.fn.function({}).like

    assert len({made() for _ in range(20)}) == 1
