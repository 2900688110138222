"""tg.jit: the numbers of eager training, and a clear word about whatever it cannot follow."""

import os
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from steps import step_of

import tinygrad_rnn as tg
from models import (
    AttentionSeq2seq,
    BetterRnnlm,
    DeepAttentionSeq2seq,
    PeekySeq2seq,
    Rnnlm,
    Seq2seq,
    SimpleRnnlm,
)
from tinygrad_rnn import Tensor, nn, optim
from tinygrad_rnn import functional as F
from tinygrad_rnn.jit import JitError, blocks
from tinygrad_rnn.jit.passes import compute_constants, drop_unused, one_join, share
from tinygrad_rnn.jit.recording import Recorder
from tinygrad_rnn.jit.replay import Program
from tinygrad_rnn.jit.tape import Call, Tape, Value

V = 7
seeds = st.integers(0, 2**32 - 1)
MODELS = {
    "simple": (SimpleRnnlm, {}), "lstm": (Rnnlm, {}), "gru": (Rnnlm, {"cell": "gru"}),
    "better": (BetterRnnlm, {"dropout": 0.4}), "better gru": (
        BetterRnnlm, {"num_layers": 3, "cell": "gru"}),
    "plain": (Seq2seq, {}), "peeky": (PeekySeq2seq, {}), "attention": (AttentionSeq2seq, {}),
    "feeding": (AttentionSeq2seq, {"bidirectional": True, "input_feeding": True,
                                   "score": "additive"}),
    "general": (AttentionSeq2seq, {"bidirectional": True, "score": "general"}),
    "deep": (DeepAttentionSeq2seq, {}),
    "deep bidirectional": (DeepAttentionSeq2seq, {"num_layers": 2, "residual": False,
                                                  "bidirectional": True, "score": "scaled_dot"}),
}  # fmt: skip
# The first steps of those that divide by the root of g² are g / |g|. A gradient that is 0 but for
# rounding (through the softmax of one time step) would make of it a noise of size 1, in eager
# runs too: hence the large eps.
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.5, weight_decay=0.01), "momentum": lambda p: optim.Momentum(p),
    "nesterov": lambda p: optim.Nesterov(p, 0.1),
    "adagrad": lambda p: optim.AdaGrad(p, 0.1, eps=1e-2),
    "rmsprop": lambda p: optim.RMSprop(p, eps=1e-2), "adam": lambda p: optim.Adam(p, eps=1e-2),
    "book": lambda p: optim.Adam(p, book=True),
    "adamw": lambda p: optim.AdamW(p, eps=1e-2),
}  # fmt: skip


def train(kind, options, optimizer, sizes, seed, dtype, steps, jit):
    """Losses and norms of some steps, with all that may change between calls changing."""
    N, T, Ty, D, H = sizes
    tg.manual_seed(seed)
    rng = np.random.default_rng(seed)
    if options.get("bidirectional"):
        H *= 2
    if kind is BetterRnnlm:
        D = H
    model = kind(V, D, H, **options, dtype=dtype)
    made = OPTIMIZERS[optimizer](model.parameters())

    step = step_of(model, made)
    run = tg.jit(step) if jit else step
    seen = []
    saved = model.state_dict()
    language = not isinstance(model, Seq2seq)
    for i in range(steps):
        xs = rng.integers(0, V, (N, T))
        ts = rng.integers(0, V, (N, T if language else Ty + 1))
        ts[rng.random(ts.shape) < 0.1] = -1 if language else 0
        loss, norm = run(xs, ts)
        seen.append((loss.item(), float(norm)))
        if i % 7 == 3:
            made.lr *= 0.9
        if i % 11 == 5:
            model.reset_state()
        if i == 12:
            model.load_state_dict(saved)
        if i % 10 == 8:
            model.train(not model.training)
    return np.array(seen), model.state_dict(), made.state_dict()


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=max(1, settings().max_examples // 10))
@given(seeds, st.permutations([1, 2, 3, 4, 5]), st.sampled_from(sorted(OPTIMIZERS)), st.booleans())
def test_fifty_steps_are_those_of_eager(name, seed, sizes, optimizer, single):
    kind, options = MODELS[name]
    dtype = np.float32 if single else np.float64
    with np.errstate(under="ignore"):
        seen, weights, state = (list(pair) for pair in zip(*(
            train(kind, options, optimizer, sizes, seed, dtype, 50, jit) for jit in (False, True)
        ), strict=True))  # fmt: skip
    rtol = 1e-5 if single else 1e-12
    assert_allclose(seen[1], seen[0], rtol=rtol)
    for key, eager in weights[0].items():
        assert weights[1][key].dtype == dtype
        assert_allclose(weights[1][key], eager, rtol=rtol, atol=rtol, err_msg=key)
    assert state[0]["steps"] == state[1]["steps"] == 50 and state[0]["lr"] == state[1]["lr"]
    for one, other in zip(state[0]["state"], state[1]["state"], strict=True):
        for key in one:
            assert_allclose(other[key], one[key], rtol=rtol, atol=rtol)


@given(seeds)
def test_lengths_masks_and_lists_may_change_from_call_to_call(seed):
    rng = np.random.default_rng(seed)
    layer = nn.LSTM(3, 4, 2, bidirectional=True, dtype=np.float64, rng=rng)
    attention = nn.Attention("additive", 4, 8, dtype=np.float64, rng=rng)

    def f(batch, lengths, scale=1.0):
        hs, (h, _) = layer(batch["xs"], lengths=lengths)
        context, weights = attention(h[-1][:, None], hs, mask=batch["mask"])
        loss = np.sum(context * context) * scale
        grads = tg.grad(loss, layer.parameters())
        return {"loss": loss, "grads": list(grads)}, weights

    jitted = tg.jit(f)
    for _ in range(4):
        batch = {"xs": rng.normal(size=(3, 5, 3)), "mask": rng.random((3, 5)) < 0.7}
        arguments = batch, rng.integers(1, 6, 3), float(rng.normal())
        (one, w1), (other, w2) = f(*arguments), jitted(*arguments)
        assert_allclose(other["loss"].numpy(), one["loss"].detach().numpy(), rtol=1e-12)
        assert_allclose(w2.numpy(), w1.detach().numpy(), rtol=1e-12)
        for a, b in zip(one["grads"], other["grads"], strict=True):
            assert_allclose(b.numpy(), a.numpy(), rtol=1e-10, atol=1e-14)
    assert len(jitted.recordings) == 1


@given(seeds)
def test_gradients_of_gradients_and_buffers_filled_step_by_step(seed):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(4, 4))

    def f(x):
        x = Tensor(x, requires_grad=True)
        hs = np.zeros_like(x, shape=(3, 2, 4))
        h = x
        for t in range(3):
            h = np.tanh(h @ W)
            hs[t] = h
        g = tg.grad(np.sum(hs**2), x, create_graph=True)
        return tg.grad(np.sum(g**3), x)

    jitted = tg.jit(f)
    for _ in range(3):
        x = rng.normal(size=(2, 4))
        assert_allclose(jitted(x).numpy(), f(x).numpy(), rtol=1e-10, atol=1e-14)


def test_gradients_are_summed_over_calls_as_in_eager():
    layer = nn.Linear(3, 2, dtype=np.float64, rng=np.random.default_rng(0))

    def f(x):
        np.sum(layer(x) ** 2).backward()

    jitted, x = tg.jit(f), np.ones((4, 3))
    jitted(x)
    once = layer.W.grad.numpy().copy()
    for k in (2, 3, 4):
        jitted(x)
        assert_allclose(layer.W.grad.numpy(), k * once)
    layer.zero_grad()
    jitted(x)
    assert_allclose(layer.W.grad.numpy(), once)


def test_results_are_not_touched_by_the_next_call():
    jitted = tg.jit(lambda x: (np.tanh(x), np.exp(x)))
    first = jitted(np.zeros((3, 3)))
    jitted(np.zeros((3, 3)))
    again = jitted(np.zeros((3, 3)))
    jitted(np.ones((3, 3)))
    assert_array_equal(first[1], np.ones((3, 3)))
    assert_array_equal(again[1], np.ones((3, 3)))


def test_arrays_of_the_closure_are_read_anew():
    scale, table = np.ones(3), {"shift": np.zeros(3)}
    jitted = tg.jit(lambda x: x * scale + table["shift"])
    for k in range(4):
        scale[:] = k
        table["shift"] = np.full(3, 10.0 * k)
        assert_array_equal(jitted(np.ones(3)), np.full(3, 11.0 * k))


def test_evaluation_after_a_replay_copies_no_weight():
    layer = nn.Linear(300, 300)

    def f(x):
        np.sum(layer(x)).backward()
        layer.W.data -= layer.W.grad.data
        layer.zero_grad()

    jitted, x = tg.jit(f), np.ones((2, 300), np.float32)
    for _ in range(3):
        jitted(x)
    layer(x)
    tracemalloc.start()
    layer(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < layer.W.nbytes / 2


# ---- what a replay could not follow ----


def branch_on(x):
    return x if x.sum() > 0 else -x


REFUSED = {
    "bool": branch_on,
    "float": lambda x: float(x[0, 0]) * x,
    "int": lambda x: x[int(x[0, 0])],
    "item": lambda x: x * Tensor(x).sum().item(),
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: np.nonzero(x),
    "asarray": lambda x: np.asarray(x) + 1,
    "random": lambda x: x + np.random.rand(),  # noqa: NPY002
    "generator": lambda x: x + np.random.default_rng(1).normal(),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_said_and_runs_eagerly_only_if_asked(name):
    f, x = REFUSED[name], np.ones((2, 2))
    with pytest.raises(JitError) as error:
        tg.jit(f)(x)
    if name in ("bool", "float", "int", "mask"):
        assert "test_jit.py:" in str(error.value)
    before = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    tg.jit(f, fallback="eager")(x)
    assert before >= 0


def test_a_python_value_that_the_function_changes_is_refused():
    counter = {"calls": 0}

    def f(x):
        counter["calls"] += 1
        return x * 2

    with pytest.raises(JitError, match=r"sets \['calls'\] to 1"):
        tg.jit(f)(np.ones(2))
    assert counter["calls"] == 0


def test_a_list_that_the_function_appends_to_is_refused():
    losses, seen = [], {}

    def appends(x):
        losses.append(x.sum())

    def enters(x):
        seen["sum"] = x.sum()

    for f, kind in ((appends, "list"), (enters, "dict")):
        with pytest.raises(JitError, match=f"which items a {kind} has"):
            tg.jit(f)(np.ones(2))
    assert losses == [] and seen == {}


def test_options_are_checked():
    with pytest.raises(ValueError, match="fallback='slow'"):
        tg.jit(lambda x: x, fallback="slow")


# ---- signatures, errors, threads ----


def test_recordings_are_kept_by_signature_up_to_a_number():
    jitted = tg.jit(lambda x, k: x * k, cache_size=3)
    with pytest.warns(UserWarning, match="for 4 signatures.*, then") as said:
        for k in range(5):
            for n in (2, 3):
                assert_array_equal(jitted(np.ones(n), k), np.full(n, float(k)))
    assert len(said) == 1 and said[0].filename == __file__
    assert len(jitted.recordings) == 3
    single = jitted(np.ones(2, np.float32), 2)
    assert single.dtype == np.float32


def test_an_error_in_a_replay_leaves_everything_as_it_was():
    model = Rnnlm(V, 3, 4)
    optimizer = optim.Adam(model.parameters())

    step = tg.jit(step_of(model, optimizer))
    good, bad = np.ones((2, 3), int), np.full((2, 3), V)
    for _ in range(3):
        step(good, good)
    weights, steps = model.state_dict(), optimizer.steps
    with pytest.raises(IndexError, match=f"ids from {V} to {V}"):
        step(bad, bad)
    assert optimizer.steps == steps
    for name, array in model.state_dict().items():
        assert_array_equal(array, weights[name])
    assert np.isfinite(step(good, good)[0].item())
    with pytest.raises(IndexError):  # also while recording
        tg.jit(lambda xs: model.loss(xs, xs))(bad)
    assert isinstance(model.embed.W.data, np.ndarray)


def test_two_threads_replay_two_recordings():
    results = {}

    def work(seed):
        rng = np.random.default_rng(seed)
        layer = nn.GRU(3, 8, dtype=np.float64, rng=rng)
        f = tg.jit(lambda xs: np.sum(layer(xs)[0] ** 2))
        xs = rng.normal(size=(20, 4, 6, 3))
        results[seed] = [f(x).item() - np.sum(layer(x)[0] ** 2).item() for x in xs]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for differences in results.values():
        assert_allclose(differences, 0, atol=1e-12)
    assert len(results) == 4


def test_threads_that_record_at_the_same_time_leave_numpy_as_it_was():
    original, began, leave = np.random.default_rng, threading.Event(), threading.Event()

    def late(x):
        began.set()
        assert leave.wait(10)  # until the other one, which began before this one, is out
        return x + 2

    other = threading.Thread(target=tg.jit(late), args=(np.ones(2),))

    @tg.jit
    def early(x):
        if not began.is_set():
            other.start()
        assert began.wait(10)
        return x + 1

    early(np.ones(2))
    leave.set()
    other.join()
    assert np.random.default_rng is original


def test_what_is_updated_may_be_returned_too():
    p, state = nn.Parameter(np.ones(3)), [np.ones(3)]

    @tg.jit
    def step(x):
        p._data -= x
        state[0] *= 2
        return p._data, state[0], p

    for i in range(1, 3):
        data, array, same = step(np.full(3, 2.0))
        assert_array_equal(data, np.full(3, 1 - 2.0 * i))
        assert_array_equal(array, np.full(3, 2.0**i))
        assert same is p and not np.shares_memory(data, p.data)


def test_recordings_of_one_function_share_memory():
    layer = nn.LSTM(3, 8, stateful=True, dtype=np.float64, rng=np.random.default_rng(0))
    f = tg.jit(lambda xs: layer(xs)[0] * 2)
    rng = np.random.default_rng(1)
    outs = [f(rng.normal(size=(4, 5, 3))) for _ in range(3)]
    kept = [out.numpy().copy() for out in outs]
    first, second = f.recordings.values()
    assert first.program.memory.block is second.program.memory.block
    layer.reset_state()
    f(rng.normal(size=(4, 5, 3)))
    results = {}

    def work(seed, T):
        xs = np.random.default_rng(seed).normal(size=(10, 4, T, 3))
        results[seed] = [(f2(x).numpy(), twin(x)[0].numpy() * 2) for x in xs]

    plain, twin = (nn.LSTM(3, 8, dtype=np.float64, rng=np.random.default_rng(0)) for _ in range(2))
    f2 = tg.jit(lambda xs: plain(xs)[0] * 2)
    threads = [threading.Thread(target=work, args=(T, T)) for T in (9, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for pairs in results.values():
        for got, expected in pairs:
            assert_allclose(got, expected, rtol=1e-12)
    for out, before in zip(outs, kept, strict=True):
        assert_array_equal(out.numpy(), before)


def test_explain_tells_what_was_recorded(capsys):
    jitted = tg.jit(lambda x: np.tanh(x) + 1)
    jitted.explain()
    assert "nothing is recorded" in capsys.readouterr().out
    jitted(np.ones((4, 4)))
    jitted.explain()
    out = capsys.readouterr().out
    assert "2 calls recorded" in out and "tanh" in out and "test_jit.py" in out and " us " in out


def test_explain_changes_nothing(capsys):
    tg.manual_seed(0)
    model = BetterRnnlm(V, 4, 4)
    optimizer = optim.Adam(model.parameters())

    step = tg.jit(step_of(model, optimizer))
    xs = np.ones((2, 3), int)
    step(xs, xs)
    step(xs, xs)
    before = model.state_dict(), optimizer.state_dict(), model.dropout.rng.bit_generator.state
    step.explain()
    after = model.state_dict(), optimizer.state_dict(), model.dropout.rng.bit_generator.state
    assert str(before) == str(after)
    for name, array in before[0].items():
        assert_array_equal(after[0][name], array)


def test_planned_memory_is_at_most_that_of_eager():
    model = Rnnlm(400, 32, 32)
    optimizer = optim.SGD(model.parameters(), 0.1)
    xs = np.random.default_rng(0).integers(0, 400, (8, 20))

    step = step_of(model, optimizer)
    jitted = tg.jit(step)
    for _ in range(2):
        jitted(xs, xs)
    planned = jitted._last.program.nbytes
    step(xs, xs)
    tracemalloc.start()
    step(xs, xs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert planned <= peak


# ---- the passes ----


def recorded(f, *arrays):
    """The tape of f, with its arguments as inputs."""
    recorder = Recorder()
    out = f(*(recorder.input(a) for a in arrays))
    recorder.tape.results = [out._symbol()]
    return recorder.tape


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


@pytest.mark.parametrize("own_generator", [True, False])
def test_a_recorded_step_and_a_replayed_one_give_the_same_bits(own_generator):
    def train(again):
        tg.manual_seed(5)
        model = Rnnlm(30, 24, 24, cell="gru")
        made = optim.Adam(model.parameters())
        rng = model.recurrent.rng if own_generator else None

        def step(xs, ts):
            x = F.dropout(model.embed(xs), 0.5, True, rng)
            loss = F.cross_entropy(model.affine(model.recurrent(x)[0]), ts)
            loss.backward()
            made.step()
            made.zero_grad()
            return loss

        run = tg.jit(step)
        data = np.random.default_rng(0).integers(0, 30, (4, 2, 9, 6))
        losses = []
        for xs, ts in data:
            run = tg.jit(step) if again else run
            losses.append(run(xs, ts).item())
        return np.array(losses), model.state_dict()

    (losses, weights), (others, other_weights) = train(True), train(False)
    assert_array_equal(losses, others)
    for name, w in weights.items():
        assert_array_equal(w, other_weights[name])


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(blocks, "threads", lambda: 2)
    monkeypatch.setattr(blocks, "SMALL", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.integers(1, 9), st.integers(1, 20))
def test_row_blocks_on_two_threads_are_the_functions_they_stand_for(two_threads, seed, n, classes):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    x, scale, loss = logits.copy(), rng.normal(size=n), np.empty(n)
    scale[rng.random(n) < 0.2] = 0
    blocks.totals_of_rows(x, out=(totals := np.empty((n, 2))))
    assert_array_equal(totals, F._row_totals(x))
    expected = F._nll_slope(x, targets, totals, scale)
    blocks.nll_slope(x.copy(), targets, totals, scale, out=(slope := np.empty_like(x)))
    assert_array_equal(slope, expected)
    bias = rng.normal(size=classes)
    p = np.empty_like(x)
    blocks.softmax_nll(x - bias, bias, targets, None, out=(p, loss))
    assert_allclose(p, F.softmax(x).numpy(), rtol=1e-12)
    blocks.softmax_nll(x, bias * 0, targets, scale, out=(p, loss))
    assert_allclose(p, expected, rtol=1e-12, atol=1e-12)
    blocks.softmax_nll(x, None, targets, None, out=(x, loss))  # in place
    assert_allclose(loss, F._nll(logits, targets, totals), rtol=1e-12, atol=1e-12)
    blocks.softmax_slope(x, targets, scale, out=x)
    assert_allclose(x, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_the_end_of_what_is_updated_in_blocks():
    done = []

    def work():
        for _ in range(3):  # somebody in a hurry
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), blocks.ctrl_c_later():
        work()
    assert done == [1]


@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_an_error_in_a_block_arrives_when_all_threads_have_stopped(two_threads, error):
    done, began = [], threading.Event()

    def work(block):
        if threading.current_thread() is threading.main_thread():
            assert began.wait(10)
            raise error
        began.set()
        time.sleep(0.05)
        done.append(block)

    with pytest.raises(error):
        blocks.each(work, range(100), 100)
    assert len(done) == 1
    with pytest.raises(FloatingPointError), np.errstate(divide="raise"):
        blocks.each(lambda b: np.divide(np.ones(2), b), [np.zeros(2)] * 9, 100)


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
