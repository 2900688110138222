"""What improves a tape changes no number: each pass alone, joins, the softmax, and the order."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jit_worlds import recorded
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.jit import blocks
from tinygrad_rnn.jit.memory import laid
from tinygrad_rnn.jit.passes import compute_constants, drop_unused, one_join, share, sooner
from tinygrad_rnn.jit.replay import Program
from tinygrad_rnn.jit.tape import Call, Tape, Value, values_in


def run(tape, *arrays):
    return Program(tape, {}).run(list(arrays))[0]


def program_of(x, y):
    dead = np.exp(x)
    constant = np.arange(12.0).reshape(3, 4) * 2
    z = np.tanh(x @ y) + np.tanh(x @ y)
    z = z.reshape(4, 3).T @ constant.T
    buffer = np.zeros_like(x, shape=(3, 3))
    for i in range(3):
        buffer[i] = z[i] * i
    buffer += z[:, ::-1]
    del dead
    return np.concatenate([buffer, z.T[:2], np.concatenate([z[:1], z[1:2] * 2])])


@pytest.mark.parametrize("improve", [drop_unused, compute_constants, one_join, share,
                                     lambda tape: tape])
@given(seeds)
def test_a_pass_changes_no_number(improve, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 5)), rng.normal(size=(5, 4))]
    tape = recorded(program_of, *(a.copy() for a in arrays))
    better = improve(tape)
    for _ in range(2):
        arrays = [rng.normal(size=(3, 5)), rng.normal(size=(5, 4))]
        before = [a.copy() for a in arrays]
        assert_allclose(run(better, *arrays), program_of(*(a.copy() for a in arrays)), rtol=1e-13)
        for a, b in zip(arrays, before, strict=True):
            assert_array_equal(a, b)  # what comes in is only read


def test_what_is_written_over_whole_is_a_call_as_any_other():
    """Which chains and the plan of memory take; what casts, or stretches, is an edit."""
    def f(x):
        y = np.exp(x)
        np.multiply(y, 2.0, out=y)
        np.add(y[0], 1.0, out=y)
        return y

    one, other, *_, last = (call.fn for call in recorded(f, np.ones((2, 3))).calls)
    assert (one, other) == (np.exp, np.multiply) and last.__name__ == "add.out"


def test_each_pass_does_its_work():
    tape = recorded(program_of, np.ones((3, 5)), np.ones((5, 4)))

    def count(tape, fn):
        return sum(call.fn is fn for call in tape.calls)

    assert count(tape, np.exp) == 1 and count(drop_unused(tape), np.exp) == 0
    assert count(tape, np.tanh) == 2 and count(share(tape), np.tanh) == 1
    full = compute_constants(tape)
    assert count(tape, np.full) == 1 and count(full, np.full) == 0
    assert count(tape, np.stack) == 0 and count(one_join(tape), np.stack) == 1


def join_often(x, y):
    """Pieces in several joins, joins of joins, pieces that are read, edited and handed out."""
    p, q = x * 2, y + x
    gates = np.concatenate([p, q, np.tanh(q)], -1)
    steps = np.stack([gates, gates * p[:, :1], np.concatenate([q, y, p], -1), gates])
    rows = np.concatenate([p, q, p])
    p = p + rows[: len(p)]
    p[0] = 3
    p += np.stack([p, q])[1]
    steps[1] *= 2
    steps = np.concatenate([steps, steps[:1] - 1])
    return steps, rows, q, p


@given(seeds, st.integers(1, 3), st.sampled_from([1, 64, 70]))
def test_pieces_are_made_where_a_join_wants_them(seed, N, K):
    rng = np.random.default_rng(seed)
    jitted = tg.jit(join_often)
    for _ in range(3):
        x, y = rng.normal(size=(2, N, K))
        for got, expected in zip(jitted(x, y), join_often(x.copy(), y.copy()), strict=True):
            assert_array_equal(got, expected)
    if K >= 64:
        assert len(jitted._last.program.memory.place) >= 5


def test_zeros_of_different_sign_are_not_shared():
    jitted = tg.jit(lambda x: (x * 0.0, x * -0.0))
    plus, minus = jitted(np.ones(2))
    assert not np.signbit(plus).any() and np.signbit(minus).all()


def test_draws_are_neither_shared_nor_dropped():
    rng = np.random.default_rng(0)

    def f(x):
        rng.random(3)
        return x + rng.random(3) - rng.random(3)

    jitted, twin = tg.jit(f), np.random.default_rng(0)
    for _ in range(3):
        twin.random(3)
        assert_array_equal(jitted(np.ones(3)), 1 + twin.random(3) - twin.random(3))


def test_a_tape_can_be_read():
    x, y = Value((2, 3), np.dtype("f8")), Value((2, 3), np.dtype("f8"))
    tape = Tape([Call(np.tanh, (x,), {}, y)], [x], {}, [y])
    assert str(tape) == "v0 = tanh(in0)  # float64[2, 3]\nreturn v0"


@given(seeds, st.booleans(), st.sampled_from([None, "sum", "rows", "twice", "squared"]))
def test_a_bias_and_the_slope_are_computed_with_the_softmax(seed, rows, looked_at):
    """What else is read of the logits stays as it was. The slope of a squared loss hangs on the
    loss itself, so it has to wait for it."""
    rng = np.random.default_rng(seed)
    h, W, b = (rng.normal(size=s) for s in [(6, 4) if rows else (2, 3, 4), (4, 5), 5])
    W, b = nn.Parameter(W), nn.Parameter(b)
    ts = rng.integers(0, 5, h.shape[:-1])

    def step(h, ts):
        W.grad = b.grad = None
        logits = h @ W + b
        loss = F.cross_entropy(logits, ts)
        if looked_at == "twice":
            loss = loss + F.cross_entropy(logits * 1, ts) * 2
        elif looked_at == "squared":
            loss = loss * loss
        loss.backward()
        out = [loss, W.grad, b.grad]
        if looked_at == "sum":
            out.append(logits)
        elif looked_at == "rows":
            out.append(np.reshape(logits, (-1, 5)))
        return out

    jitted = tg.jit(step)
    for _ in range(2):
        h, expected = rng.normal(size=h.shape), None
        got, expected = jitted(h, ts), step(h, ts)
        for a, e in zip(got, expected, strict=True):
            assert_allclose(a.detach().numpy(), e.detach().numpy(), rtol=1e-12, atol=1e-13)
    calls = jitted._last.program.tape.calls
    (fused, *_) = [call for call in calls if call.fn is blocks.softmax_nll]
    assert (fused.args[1] is not None) == (looked_at in (None, "squared"))
    assert (fused.args[3] is None) == (looked_at == "squared")
    assert (blocks.softmax_slope in [call.fn for call in calls]) == (looked_at == "squared")


@given(seeds, st.integers(2, 5), st.booleans())
def test_states_before_and_after_each_step_are_one_stack(seed, T, early):
    W = nn.Parameter(np.random.default_rng(seed).normal(size=(3, 3)))

    def step(h, xs):
        W.grad = None
        states = [h]
        for t in range(T):
            if early and t == T - 1:  # before the last state is there
                before = np.stack(states)
            states.append(np.tanh(states[-1] @ W + xs[t]))
        after = np.stack(states[1:])
        if not early:
            before = np.stack(states[:-1])
        loss = np.sum(after * before * 2 + np.sin(after))
        loss.backward()
        return loss, after, before, W.grad

    jitted, rng = tg.jit(step), np.random.default_rng(seed + 1)
    for _ in range(3):
        h, xs = rng.normal(size=(2, 3)), rng.normal(size=(T, 2, 3))
        for a, e in zip(jitted(h, xs), step(h, xs), strict=True):
            assert_allclose(a.numpy(), e.numpy(), rtol=1e-12, atol=1e-13)
    stacked = [c.out.shape[0] for c in jitted._last.program.tape.calls if c.fn is np.stack]
    assert T + 1 in stacked  # at the least of those that the gradient of W asks for


def test_the_slope_of_the_loss_is_written_over_the_logits():
    layer = nn.Linear(3, 50, rng=np.random.default_rng(0))

    @tg.jit
    def step(x, ts):
        loss = F.cross_entropy(layer(x), ts)
        loss.backward()
        return loss, layer.W.grad

    x, ts = np.ones((200, 3), np.float32), np.arange(200) % 50
    layer.zero_grad()
    step(x, ts)
    (recording,) = step.recordings.values()
    assert recording.program.nbytes < 1.5 * 200 * 50 * 4


# ---- sooner ----


@given(seeds, st.integers(1, 6))
def test_what_shrinks_is_done_sooner(seed, T):
    def f(x):
        large = [np.tanh(x * k) for k in range(1, T + 1)]
        again = [np.exp(y) for y in large]
        return np.stack([np.sum(y * y) + np.max(e) for y, e in zip(large, again, strict=True)])

    x = np.random.default_rng(seed).normal(size=(40, 50))
    tape = recorded(f, x)
    better = sooner(tape)
    known = {*better.inputs, *better.constants}
    for call in better.calls:
        assert known.issuperset(values_in((call.args, call.kwargs)))
        known.update(call.outs)
    assert {*better.calls} == {*tape.calls} and len(better.calls) == len(tape.calls)
    plain, program = Program(tape, {}), Program(better, {})
    assert_array_equal(program.run([x])[0], plain.run([x])[0])
    assert program.nbytes <= plain.nbytes
    if T > 3:
        assert program.nbytes < ceil(0.8 * plain.nbytes)


def test_what_grows_is_not():
    def f(x):
        large = [np.tanh(x * k) for k in range(1, 6)]
        late = np.exp(x)
        return np.stack([np.sum((y * 2) * late - (y * 3) * late) for y in large])

    tape = recorded(f, np.ones((40, 50)))
    assert Program(sooner(tape), {}).nbytes <= Program(tape, {}).nbytes


def test_nothing_passes_a_check():
    table = np.arange(10.0).reshape(5, 2)
    state, big = np.zeros(40), np.ones((50, 40))

    @tg.jit
    def f(ids):
        large = np.tanh(big) * 2
        late = tg.functional.embedding(table, ids)
        state[...] += large[0]
        return np.sum(late)

    for _ in range(2):
        f(np.array([0, 1]))
    before = state.copy()
    with pytest.raises(IndexError):
        f(np.array([0, 9]))
    assert_array_equal(state, before)


def test_checks_stay_where_they_are():
    x, large, other, number = Value((40, 50), np.dtype(float)), *(
        Value((40, 50), np.dtype(float)) for _ in range(2)), Value()  # fmt: skip
    calls = [Call(np.tanh, (x,), {}, large), Call(np.exp, (x,), {}, other),
             Call(len, (large,), {}, number, effect=True)]  # fmt: skip
    tape = Tape(calls, [x], {}, [other, number])
    assert sooner(tape).calls == calls


@given(seeds, st.integers(0, 12))
def test_each_buffer_lies_in_the_lowest_place_that_is_free_while_it_lives(seed, many):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, many).tolist()
    begins, lanes = rng.integers(0, 12, many), rng.integers(-1, 2, many)
    lives = [(b, b + int(rng.integers(0, 6)), of, int(rng.integers(0, 2)) if of >= 0 else -1)
             for b, of in zip(begins.tolist(), lanes.tolist(), strict=True)]
    offsets, end = laid(sizes, lives)
    placed: list[int] = []
    for b in sorted(range(many), key=lambda b: -sizes[b]):
        first, last, of, lane = lives[b]
        taken = [(offsets[x], offsets[x] + sizes[x]) for x in placed
                 if (lives[x][0] <= last and lives[x][1] >= first)
                 or (lives[x][2] == of and lives[x][3] != lane)]  # fmt: skip
        assert offsets[b] == min(at for at in [0, *(stop for _, stop in taken)] if all(
            at + sizes[b] <= start or at >= stop for start, stop in taken))
        placed.append(b)
    assert end == max((offsets[b] + sizes[b] for b in placed), default=0)
