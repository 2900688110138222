"""tg.jit: a function that is recorded for a few time steps, or for one size of a
batch, is replayed for any number of them."""

import contextlib
import copy
import dataclasses
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from models import language, seq2seq
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn, optim
from tinygrad_rnn.jit import jitted, lengths, loops, recording, resized, roll, same
from tinygrad_rnn.jit import tape as tape_module
from tinygrad_rnn.jit.jitted import ForSize, Recording
from tinygrad_rnn.jit.recording import Recorder
from tinygrad_rnn.jit.trace import trace

N, D, H, V = 3, 4, 5, 6
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _few_are_long(monkeypatch):
    monkeypatch.setattr(jitted, "LONG", 20)
    monkeypatch.setattr(lengths, "STEPS", ((13, 14, 16, 17),))
    monkeypatch.setattr(jitted, "STEPS", lengths.STEPS)


class Layers(nn.Module):
    """Layers one after the other, of which the sequences count."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


class Decoder(nn.Module):
    """Attention over all time steps in each one: arrays (N, T, T)."""

    def __init__(self, rng):
        super().__init__()
        self.encoder = nn.GRU(D, H, dtype=np.float64, rng=rng)
        self.cell = nn.LSTMCell(D + H, H, dtype=np.float64, rng=rng)
        self.attention = nn.Attention()

    def forward(self, x):
        keys, h = self.encoder(x)
        c, hs = h * 0, []
        for t in range(x.shape[1]):
            context, _ = self.attention(h[:, None], keys)
            h, c = self.cell(np.concatenate([x[:, t], context[:, 0]], axis=-1), h, c)
            hs.append(h)
        return np.stack(hs, axis=1)


def layer(kind, *args, **kwargs):
    return lambda rng: Layers(kind(D, H, *args, dtype=np.float64, rng=rng, **kwargs))


MODELS = {
    "LSTM": layer(nn.LSTM), "GRU": layer(nn.GRU), "two directions": layer(
        nn.RNN, bidirectional=True), "dropout": lambda rng: Layers(
        *layer(nn.RNN)(rng).layers, nn.Dropout(0.3)),
    "stateful": layer(nn.LSTM, stateful=True), "decoder": Decoder,
    "language model": lambda rng: Layers(nn.Embedding(V, D, dtype=np.float64, rng=rng), *layer(
        nn.LSTM)(rng).layers, nn.Linear(H, V, dtype=np.float64, rng=rng)),
}  # fmt: skip


def training(make, recorded):
    tg.manual_seed(0)
    model = make(np.random.default_rng(0))
    opt = optim.Adam(model.parameters(), 0.01)

    def step(x, targets):
        out = model(x)
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), targets.reshape(-1))
        loss.backward()
        optim.clip_grad_norm_(opt.params, 1.0)
        opt.step()
        opt.zero_grad()
        return loss

    return (tg.jit(step, fast=False) if recorded else step), model


def batch(name, T, rng, n=N):
    targets = rng.integers(0, H, (n, T))
    return (targets if name == "language model" else rng.normal(size=(n, T, D))), targets


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_as_without_whatever_the_length(name, monkeypatch):
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    (step, model), (plain, other) = (training(MODELS[name], how) for how in (True, False))
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    for T in (21, 21, 21, 30, 30, 30, 21):
        assert_allclose(step(*batch(name, T, one)).item(), plain(*batch(name, T, two)).item(),
                        1e-10)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert_allclose(p.data, q.data, 1e-8, 1e-12)
    assert {type(r) for r in step.recordings.values()} == {ForSize}
    assert len({r.program.lines for r in step.recordings.values()}) <= 2  # with and without a state


def test_another_length_records_nothing_and_runs_for_real_twice():
    away = types.ModuleType("away")  # under a name that the function does not say
    away.runs = runs = []

    @tg.jit
    def f(x):
        vars(away)["runs"].append((type(x) is np.ndarray, x.shape[1]))
        a = x[:, 0] * 0
        for t in range(x.shape[1]):
            a = np.tanh(a * 0.5 + x[:, t])
        return a

    for T in (24, 24, 24, 24, 60, 60, 60, 60):
        f(rng.normal(size=(2, T, 3)))
    assert [T for real, T in runs if real] == [24, 24, 60, 60]
    assert [T for real, T in runs if not real] == [13, 14, 16, 17, 24, 60]  # and what that is


def test_what_each_step_needs_for_itself_alone_is_one_buffer():
    def carried(x):
        a = x[:, 0] * 0
        for t in range(x.shape[1]):
            b = a * 0.5
            b = np.sin(b) + x[:, t]
            a = b * b
        return a

    def kept(x):
        p = tg.nn.Parameter(np.ones_like(x[:, 0]))
        a = tg.Tensor(x[:, 0] * 0)
        for t in range(x.shape[1]):
            a = np.tanh(a * p + x[:, t])
        np.sum(a).backward()
        return p.grad

    sizes = {}
    for f in (carried, kept):
        for T in (100, 400):
            step = tg.jit(f, fast=False)
            for _ in range(3):
                step(rng.normal(size=(8, T, 16)))
            assert isinstance(step._last, ForSize)
            sizes[f, T] = step._last.program.nbytes
    assert sizes[carried, 100] == sizes[carried, 400]
    assert 300 * 8 * 16 * 8 <= sizes[kept, 400] - sizes[kept, 100] <= 2 * 300 * 8 * 16 * 8


@pytest.mark.usefixtures("as_python")
@pytest.mark.parametrize("sums", [False, True])
def test_chains_of_time_steps_that_nothing_divides_are_one_for_each(sums):
    pytest.importorskip("numba")
    weight = nn.Parameter(np.full(4, 0.5, np.float32))

    def f(x):
        a = tg.Tensor(x[:, 0] * 0)
        for t in range(x.shape[1]):
            a = np.tanh(np.sum(a, 1, keepdims=True) + weight if sums else a * weight + x[:, t])
        np.sum(a).backward()
        g, weight.grad = weight.grad, None
        return a, g

    step = tg.jit(f)
    for T in (24, 24, 31):
        x = rng.normal(size=(2, T, 4)).astype(np.float32)
        for one, other in zip(step(x), f(x), strict=True):
            assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)
    assert {type(r) for r in step.recordings.values()} == {ForSize}


# a body with x (2, n, 3), t, what was before, how many steps there are
A_LOOP = {
    "places": lambda x, t, a, n: a + np.arange(n, dtype=x.dtype)[t] + np.arange(n)[::-1][t],
    "infinity": lambda x, t, a, n: np.where(x[:, t] > 0, np.maximum(a, -np.inf), 0.5),
    "at the least": lambda x, t, a, n: a - np.max(x[:, t], axis=0, initial=-0.5),
    "a complex number": lambda x, t, a, n: np.real(np.multiply(a + x[:, t], 0.5 + 1j)),
    "seven pieces": lambda x, t, a, n: np.concatenate([a] * 6 + [x[:, t]], 1)[:, 17:20],
    "numbers that hang on both": lambda x, t, a, n: a / n + x[:, t] * (n * n - t),
    "two ends": lambda x, t, a, n: a if t in (0, n - 1) else a - x[:, t - 1] * x[:, t + 1],
    "before the last": lambda x, t, a, n: a + (x[:, t - 2] if t > 1 else 0),
    "ones": lambda x, t, a, n: a + np.ones((2, n), x.dtype)[:, t : t + 1] / n,
    "a small number": lambda x, t, a, n: a * np.float64(1e-3) + np.float32(0.1) * x[:, t],
}  # fmt: skip


@pytest.mark.parametrize("name", A_LOOP)
def test_what_hangs_on_the_step_and_their_number_is_a_loop(name):
    def f(x):
        a, n, seen = x[:, 0] * 0, x.shape[1], []
        for t in range(n):
            a = A_LOOP[name](x, t, np.tanh(a) + x[:, t], n)
            seen.append(a)
        return a, np.stack(seen, 1) * np.arange(n, dtype=x.dtype)[:, None], np.arange(n) + n

    step = tg.jit(f, fast=False)
    for T in (24, 24, 31, 21, 31):
        x = rng.normal(size=(2, T, 3))
        for one, other in zip(step(x), f(x), strict=True):
            assert_array_equal(one, other)
    assert {type(r) for r in step.recordings.values()} == {ForSize}


LIKE_NO_LOOP = {
    "another beginning": lambda x, t, a: a if t < 18 else a * 0.5,
    "another end": lambda x, t, a: a * 2 if t == 19 else a,
    "every second": lambda x, t, a: a * 0.5 if t % 3 else a,
    "a number that grows": lambda x, t, a: a + 1.5 ** t,
    "a list": lambda x, t, a: a + [1.0, 3.0, 7.0, 2.0][t % 4],
}


@pytest.mark.parametrize("name", LIKE_NO_LOOP)
def test_a_loop_that_is_none_is_recorded_as_it_is(name):
    def f(x):
        a = x[:, 0] * 0
        for t in range(x.shape[1]):
            a = LIKE_NO_LOOP[name](x, t, np.tanh(a) + x[:, t])
        return a

    step = tg.jit(f, fast=False)
    for T in (21, 21, 21, 22, 22, 22):
        x = rng.normal(size=(2, T, 3))
        assert_array_equal(step(x), f(x))
    assert {type(r) for r in step.recordings.values()} == {Recording}


SEVENTEEN = 17  # steps that are alike, and are all that is seen in few
HEADS, EACH = [np.tanh, np.sin], [0.5] * SEVENTEEN + [0.25] * 50
HIDDEN_STEPS = {  # what is done to a, of x (2, n, 3), in step t; w hides it in the first two calls
    "a branch": lambda x, t, a, w: np.where(w > 0, a if t < SEVENTEEN else a * 0.5, a),
    "another function": lambda x, t, a, w: a + w * HEADS[t >= SEVENTEEN](a),
    "another literal": lambda x, t, a, w: a + w * (0.5 if t < SEVENTEEN else 0.25),
    "a list of numbers": lambda x, t, a, w: a + w * EACH[t],
    "another operand": lambda x, t, a, w: a + w * (x[:, t] if t < SEVENTEEN else x[:, t - 1]),
    "the step, to the end": lambda x, t, a, w: a + w * min(t, SEVENTEEN),
    "the same row": lambda x, t, a, w: a + w * x[:, min(t, SEVENTEEN)],
    "under a mask": lambda x, t, a, w: np.where(
        np.abs(x[:, t]) > 9 - 8 * w, np.exp(a) if t < SEVENTEEN else a, a),
    "the number of steps": lambda x, t, a, w: a + w * (1 if x.shape[1] < 20 else 2),
    "a row from the end": lambda x, t, a, w: a + w * x[:, max(x.shape[1] - 18, t)],
    "two literals": lambda x, t, a, w: a * (1 - w + w * (0.9 if t == 20 else 0.8)),
    "gradients": lambda x, t, a, w: a + 0 * slope(
        a, lambda h: np.sum(h * (w if t < SEVENTEEN else 2 * w))).numpy() + w * slope(
        a, lambda h: np.sum(h * (1 if t < SEVENTEEN else 2))).numpy(),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN_STEPS)
@pytest.mark.parametrize("fast", [False, True])
def test_what_a_step_does_of_its_own_is_right_where_no_proof_sees_it(name, fast):
    def f(x, w):
        a = x[:, 0] * 0
        for t in range(x.shape[1]):
            a = HIDDEN_STEPS[name](x, t, np.tanh(a) + x[:, t], w)
        return a

    step = tg.jit(f, fast=fast)
    for T in (24, 30, 12, 24, 16):
        x = rng.normal(size=(2, T, 3))
        for w in (0.0, 0.0, 1.0):
            assert_allclose(step(x, w), f(x, w), 1e-10, 1e-12)


def one_other(tape, rng):
    """The tape with one call more, or with another function, number or operand in one."""
    calls = list(tape.calls)
    i = int(rng.integers(len(calls)))
    call, made = calls[i], {c.out for c in calls[:i]}
    kinds = ["one more"]
    others = {v: [w for w in made if w is not v] for v in call.inputs() if v in made}
    if any(others.values()):
        kinds.append("operand")
    if any(type(x) is int for x in np.ravel(np.asarray(call.args, object)) if x is not None):
        kinds.append("number")
    if call.fn in (np.multiply, np.add):
        kinds.append("function")
    kind = kinds[rng.integers(len(kinds))]
    if kind == "one more":
        calls.insert(i, dataclasses.replace(call, out=copy.copy(call.out)))
    elif kind == "function":
        calls[i] = dataclasses.replace(call, fn=np.subtract)
    elif kind == "operand":
        old = next(v for v, found in others.items() if found)
        new = others[old][rng.integers(len(others[old]))]
        calls[i] = dataclasses.replace(call, args=tape_module.replace(
            call.args, lambda v: new if v is old else v), _inputs=None)
    else:
        calls[i] = dataclasses.replace(call, args=plus_one(call.args), _inputs=None)
    return dataclasses.replace(tape, calls=calls), kind


def plus_one(x):
    if isinstance(x, tuple):
        return tuple(map(plus_one, x))
    return x + 1 if type(x) is int else x


@pytest.mark.parametrize("T", [24, 25])
def test_each_call_of_all_steps_is_compared(T, monkeypatch):
    """Whichever call of the tape is another one, it is seen."""
    w = nn.Parameter(np.full(3, 0.5))

    @tg.jit
    def step(x, part):
        h, hs = np.zeros((2, 3)), []
        for t in range(x.shape[1]):
            h = np.tanh(h * w + x[:, t] * part) * 0.9
            hs.append(h)
        loss = np.sum(np.stack(hs, 1)[:, 3:] ** 2) / x.shape[1]
        g = tg.grad(loss, [w])[0]
        return loss, g

    seen = []
    is_at = same.AsRecorded.is_at
    monkeypatch.setattr(same.AsRecorded, "is_at", lambda *a: seen.append(a) or is_at(*a))
    for _ in range(2):
        step(rng.normal(size=(2, T, 3)), 0.5)
    ((made, n, tape, homes),) = seen
    assert type(step._last) is ForSize and n == T and made.is_at(T, tape, homes)
    generator, kinds = np.random.default_rng(T), set()
    for _ in range(300):
        other, kind = one_other(tape, generator)
        kinds.add(kind)
        assert not is_at(made, T, other, homes), kind
    assert kinds == {"one more", "operand", "number", "function"}
    assert not is_at(made, T + 1, tape, homes)


def test_calls_are_counted_in_a_few_steps_alone():
    """Python takes twice as long where someone looks on."""
    away = types.ModuleType("away")  # under a name that the function does not say
    away.runs = runs = []

    @tg.jit
    def f(x):
        vars(away)["runs"].append((x.shape[1], sys.gettrace() is not None))
        h = x[:, 0]
        for t in range(x.shape[1]):
            h = np.tanh(h + x[:, t])
        return h

    before = sys.gettrace()
    if before is not None:
        pytest.skip("a debugger looks on")
    for T in (24, 24, 30, 30):
        f(rng.normal(size=(2, T, 3)))
    assert [T for T, looked in runs if looked] == [13, 17]
    assert sorted(T for T, looked in runs if not looked) == [14, 16, *[24] * 3, *[30] * 3]


@pytest.mark.parametrize("notebook", [False, True])
def test_the_steps_of_a_layer_are_not_looked_at_once_more(notebook, monkeypatch):
    traced = []
    if notebook:  # which is asked for the names of its cells, and calls functions of its own
        shell = types.SimpleNamespace(compile=types.SimpleNamespace(
            format_code_name=lambda file: str(Path(file)) and None))
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(
            get_ipython=lambda: (lambda: shell)()))
    monkeypatch.setattr(jitted, "trace", lambda f, reached, given: traced.append(f) or trace(
        f, reached, given))
    (step, _), data = training(MODELS["LSTM"], True), np.random.default_rng(1)
    for T in (24, 24, 30, 30):
        step(*batch("LSTM", T, data))
    assert not traced and {type(r) for r in step.recordings.values()} == {ForSize}


@pytest.mark.parametrize("far", [17, 99])
def test_a_cell_that_counts_its_steps_is_right_where_no_proof_sees_it(far):
    class Counting(nn.RNNCell):
        def step(self, a, h):
            self.seen.append(None)
            return super().step(a, h) + (self.w if len(self.seen) > far else 0.0)

    cell = Counting(D, H, dtype=np.float64, rng=rng)
    layer, cell.seen = nn.Recurrent(cell), []

    def f(x, w):
        cell.seen, cell.w = [], w
        hs, _ = layer(x)
        cell.seen = []
        return hs

    step = tg.jit(f, fast=False)
    for T in (12, 18, 15, 18):
        x = rng.normal(size=(2, T, D))
        for w in (0.0, 0.0, 1.0):
            assert_allclose(step(x, w).numpy(), f(x, w).numpy(), 1e-10)
    assert (type(step._last) is ForSize) == (far == 99)


def test_many_arguments_are_joined_beside_a_loop():
    def run(x, h, *more):
        y = h
        for t in range(x.shape[1]):
            y = np.tanh(x[:, t] + y)
        return np.concatenate([h, *more, y])

    step, more = tg.jit(run), [np.full((1, D), i) for i in range(roll.LIST)]
    for T in (21, 21, 30, 30):
        x = np.random.default_rng(T).normal(size=(N, T, D))
        assert_allclose(step(x, np.ones((N, D)), *more), run(x, np.ones((N, D)), *more), 1e-12)
    assert {type(r) for r in step.recordings.values()} == {ForSize}


def test_constants_beside_a_loop_stay_what_they_are():
    def f(x):
        a = x[:, 0] * 0
        for t in range(x.shape[1]):
            a = np.tanh(a + x[:, t])
        return a * -np.arange(8.0), a * np.array([1.0, 3, 7, 2, 9, 4, 8, 6])

    step = tg.jit(f, fast=False)
    for T in (24, 24, 31):
        x = rng.normal(size=(2, T, 8))
        for one, other in zip(step(x), f(x), strict=True):
            assert_array_equal(one, other)
            assert_array_equal(np.signbit(one), np.signbit(other))  # -0.0 is the first of one
    assert type(step._last) is ForSize


BREAKS = {
    "where a buffer lies": (roll.Unrolled, "_begin", lambda self, buffer, k: self.offsets[
        (self.places.get((*buffer, k)) or self.places[buffer])[0]]),
    "when it is free again": (roll, "life", lambda first, last, lanes, spans: (first, first, -1,
                                                                              -1)),
    "how it goes on": (roll, "steps", lambda one, other: (0,) * len(one.numbers)),
    "the lines": (roll.Unrolled, "_text", lambda self, line, loop=None, as_is=roll.Unrolled._text:
                  as_is(self, line, loop).replace("add", "subtract") if loop else "pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_not_believed(name, monkeypatch):
    def f(x):
        p, hs = tg.nn.Parameter(np.full_like(x[:, 0], 0.5)), []
        h = tg.Tensor(x[:, 0] * 0)
        for t in range(x.shape[1]):
            h = np.tanh(h * p + x[:, t]) * h + x[:, t]
            hs.append(h)
        np.sum(np.stack(hs) * h).backward()
        return p.grad, h

    place, attribute, wrong = BREAKS[name]
    monkeypatch.setattr(place, attribute, wrong)
    step = tg.jit(f, fast=False)
    for _ in range(3):
        x = rng.normal(size=(2, 24, 3))
        for a, b in zip(step(x), f(x), strict=True):
            assert_allclose(a.numpy(), b.numpy(), 1e-12)
    assert type(step._last) is Recording


def test_it_explains_itself(capsys):
    model = nn.LSTM(D, H)
    step = tg.jit(lambda x: model(x)[0])
    for _ in range(3):
        step(rng.normal(size=(N, 40, D)).astype(np.float32))
    step.explain()
    said = capsys.readouterr().out
    assert "40 steps in" in said and "the slowest" in said and "-> float32[" in said


# ---- batches of other sizes ----


@pytest.mark.parametrize("name", MODELS)
def test_a_second_size_of_a_batch_records_nothing(name, monkeypatch):
    traces = []
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    monkeypatch.setattr(jitted, "trace", lambda *a: traces.append(a) or trace(*a))
    (step, model), (plain, other) = (training(MODELS[name], how) for how in (True, False))
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    for n in (8, 8, 5, 5, 7, 7, 7, 3, 11, 11):
        if name == "stateful":  # it begins anew with each
            model.layers[0].reset_state(), other.layers[0].reset_state()
        (x, targets), (same, _) = (batch(name, 9, r, n) for r in (one, two))
        assert_allclose(step(x, targets).item(), plain(same, targets).item(), 1e-10)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert_allclose(p.data, q.data, 1e-8, 1e-12)
    assert [type(r) for r in step.recordings.values()] == [Recording] + [ForSize] * 4
    assert len(traces) == 1
    assert step._last.program.loops


@pytest.mark.parametrize(("name", "sizes", "kinds", "traced"), [
    # recorded for 13, 14, 16 and 17 steps of the first
    ("GRU", [(8, 24), (5, 24), (7, 24), (3, 24), (11, 24)], [ForSize] * 5, 4),
    # recorded once more, for 11 steps, and for 9, in which the program calls as many functions
    ("language model", [(4, 15), (4, 12), (4, 18), (4, 10)], [Recording] + [ForSize] * 3, 3),
    ("two directions", [(4, 13), (4, 15), (4, 18)], [Recording] + [ForSize] * 2, 3),
    ("LSTM", [(7, 19), (7, 15), (8, 15), (3, 15)], [Recording] + [ForSize] * 3, 3),
    ("dropout", [(8, 9), (6, 9), (6, 12)], [Recording, ForSize, Recording], 2),
])  # fmt: skip
def test_one_size_is_enough_whatever_the_length(name, sizes, kinds, traced, monkeypatch):
    """Of a batch, of long sequences or not, or one length and the beginning of another."""
    traces = []
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    for place in (jitted, lengths):
        monkeypatch.setattr(place, "trace", lambda *a: traces.append(a) or trace(*a))
    (step, model), (plain, other) = (training(MODELS[name], how) for how in (True, False))
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    for n, T in [size for size in sizes for _ in range(3)]:
        (x, targets), (same, _) = (batch(name, T, r, n) for r in (one, two))
        assert_allclose(step(x, targets).item(), plain(same, targets).item(), 1e-10)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert_allclose(p.data, q.data, 1e-8, 1e-12)
    assert [type(r) for r in step.recordings.values()] == kinds
    assert len(traces) == traced


OF_ROWS = {  # and what they are recorded as for 6, for 9 and for 2
    "a mean": (lambda x, n: np.mean(x, axis=0) + 1 / n, Recording, ForSize, ForSize),
    "a mean of squares": (lambda x, n: np.add.reduce(x * x, axis=None) / (x.size * 1.0),
                          ForSize, ForSize, ForSize),
    "a quotient": (lambda x, n: np.tanh(x) / float(n), Recording, ForSize, ForSize),
    "a shape": (lambda x, n: np.tanh(x.reshape(-1)).reshape(3, n) @ np.ones((n, 2)),
                ForSize, ForSize, ForSize),
    "parts": (lambda x, n: np.concatenate([x[: n - 1] * 2, x[n - 1 :], x[::-1], np.zeros((n, 3))]),
              ForSize, ForSize, ForSize),
    "a number that is the size": (lambda x, n: np.sum(x[:, None] * np.ones((4, 1)) / 4, axis=1),
                                  Recording, ForSize, ForSize),
    "an axis that is as long": (lambda x, n: np.stack([x, x * 2, x * 3, x * 4]).reshape(4, n, 3),
                                Recording, ForSize, ForSize),
    "a root": (lambda x, n: np.sum(x) * np.sqrt(n), Recording, Recording, Recording),
    "few rows": (lambda x, n: np.tanh(x) if n > 2 else np.sinh(x), ForSize, ForSize, Recording),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ROWS)
def test_what_hangs_on_the_rows_is_made_or_recorded(name, monkeypatch):
    monkeypatch.setattr(Recorder, "asks", lambda _, sizes, whole=False: sizes)  # as the engine's
    monkeypatch.setattr(recording, "_ends", lambda *_: ())
    f, *kinds = OF_ROWS[name]
    step = tg.jit(lambda x: f(x, len(x)), fast=False)
    for n in (4, 4, 6, 6, 9, 9, 9, 2, 2, 2):
        x = rng.normal(size=(n, 3))
        assert_array_equal(step(x), f(x, n))
    assert [type(r) for r in step.recordings.values()] == [Recording, *kinds]


def recorded_as(tape, homes):
    """A tape, for equality."""
    order = {value: i for i, value in enumerate([*tape.inputs, *tape.results])}
    return (str(tape), [(x.shape, x.tobytes()) for x in tape.constants.values()],
            [(order[new], order[old]) for new, old in homes.items()])


@pytest.mark.parametrize("name", MODELS)
def test_a_tape_for_another_size_is_what_would_be_recorded(name, monkeypatch):
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    made = []
    for n in (8, 5):
        step, _ = training(MODELS[name], True)
        step(*batch(name, 9, np.random.default_rng(1), n))
        made.append(step._last)
    one, other = ((r.program.tape, r.program.homes) for r in made)
    shapes = [value.shape for value in other[0].inputs]
    assert recorded_as(*resized.resized(*one, shapes)) == recorded_as(*other)


@pytest.mark.usefixtures("as_python")
def test_a_smaller_batch_does_what_pays_for_the_larger():
    pytest.importorskip("numba")
    table, weight = (nn.Parameter(rng.normal(size=size).astype(np.float32))
                     for size in ((5, 2), (2, 3)))

    def f(ids):
        loss = np.sum(np.tanh(table[ids] @ weight))
        loss.backward()
        table.grad = weight.grad = None
        return loss

    step = tg.jit(f)
    for n in (8, 8, 3, 3, 2, 9, 9):
        ids = rng.integers(0, 5, (n, 4))
        assert_allclose(step(ids).item(), f(ids).item(), 1e-5)
    assert [type(r) for r in step.recordings.values()] == [Recording] + [ForSize] * 3


def test_rows_that_are_made_wrong_are_not_believed(monkeypatch):
    monkeypatch.setattr(roll, "value", lambda p, T, as_is=roll.value: as_is(p, T) + (p[3] != 0))
    step = tg.jit(np.tanh, fast=False)
    for n in (4, 6, 9, 9, 9):
        x = rng.normal(size=(n, 3))
        assert_array_equal(step(x), np.tanh(x))
        assert type(step._last) is Recording


def test_a_guess_that_is_wrong_leaves_nothing(monkeypatch):
    """Neither in what the function edits nor in the recordings that come after it."""
    as_is = resized.resized

    def wrong(*args):
        tape, homes = as_is(*args)
        first = tape.calls[0]
        tape.calls[0] = dataclasses.replace(first, fn=np.subtract, _inputs=None)
        return tape, homes

    monkeypatch.setattr(lengths, "resized", wrong)
    kept = [np.zeros(3), np.zeros(3)]

    def f(x, into):
        y = np.add(x, into)
        into += y.sum(axis=0)
        return y

    step = tg.jit(lambda x: f(x, kept[0]), fast=False)
    for n in (4, 4, 6, 6, 9, 9, 9):
        x = rng.normal(size=(n, 3))
        assert_array_equal(step(x), f(x, kept[1]))
        assert_array_equal(*kept)
    assert [type(r) for r in step.recordings.values()] == [Recording, Recording, ForSize]


@pytest.mark.parametrize("kind", ["parameter", "array", "replaced", "returned"])
def test_a_small_step_of_a_wrong_gradient_is_not_near_the_right_one(kind):
    """What a size changes is 1 / n alone; the weights agree to 1e-5 whatever it is."""
    pytest.importorskip("numba")
    first = rng.normal(size=(D, D)).astype(np.float32)
    worlds = []
    for record in (True, False):
        kept = {"w": first.copy()}
        parameter = nn.Parameter(first)

        def step(x, w, kept=kept, parameter=parameter):
            p = parameter if kind == "parameter" else nn.Parameter(
                w if kind == "returned" else kept["w"])
            (np.sum(np.tanh(x @ p) ** 2) / len(x)).backward()
            change = np.float32(1e-4) * p.grad.data
            p.grad = None
            if kind == "parameter":
                p.data -= change
            elif kind == "array":
                kept["w"] -= change
            elif kind == "replaced":
                kept["w"] = kept["w"] - change
            return w - change

        run, w = tg.jit(step) if record else step, first
        for n in (12, 9, 7):
            for k in range(20):
                x = np.random.default_rng(n + k).normal(size=(n, D)).astype(np.float32)
                new = run(x, w)
                w = new if kind == "returned" else w
        worlds.append([w, kept["w"], parameter.data])
    for one, other in zip(*worlds, strict=True):
        assert_allclose(one - first, other - first, 0, 1e-5 * np.abs(first).max())


ASKING = {  # what shows in the third call alone, and whether it is known to hang on the rows
    "len": (lambda x, i: np.minimum(i, len(x) - 1), True),
    "shape": (lambda x, i: np.where(i[:, None] > 1, -float(x.shape[0]), x), True),
    "size": (lambda x, i: x * (i > 1)[:, None] / x.size, True),
    "all of it": (lambda x, i: np.where(i > 1, 1 / np.shape(x)[0], 0), True),
    "of a Tensor": (lambda x, i: np.where(i > 1, len(tg.Tensor(x)), 0), True),
    "of a part": (lambda x, i: np.where(i > 1, x[1:].shape[0], 0) + np.sum(x[1:]), True),
    "rows": (lambda x, i: sum(row * (k % 5) for k, row in enumerate(x)) * np.max(i // 2), True),
    "the other axis": (lambda x, i: np.where(i[:, None] > 1, x.shape[1], x), False),
    "an engine's": (lambda x, i: F.softmax(tg.Tensor(x)) * (i[:, None] > 1), False),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKING)
def test_a_size_that_the_program_asks_for_is_recorded(name):
    """The proof cannot see what does not show in the calls that it sees."""
    f, hangs = ASKING[name]
    step = tg.jit(f, fast=False)
    for n in (8, 7):
        for many in (0, 0, 9):
            x, i = rng.normal(size=(n, 3)), np.full(n, many)
            one, other = (np.asarray(g(x, i)) for g in (step, f))
            assert_array_equal(one, other)
    assert type(step._last) is (Recording if hangs else ForSize)


def caught(x):
    """How many rows there are, from an error."""
    n = 0
    with contextlib.suppress(IndexError):
        for n in range(100):
            x[n]
    return n


HIDDEN = {  # sizes of a batch, and what shows behind w alone: two sizes say nothing of the third
    "half": ((11, 10, 8), lambda x, w: w * (len(x) // 2)),
    "half, on a line": ((20, 19, 16), lambda x, w: w * (x.shape[0] // 2)),
    "rest": ((9, 6, 4), lambda x, w: w * (len(x) % 3)),
    "at most": ((12, 9, 5), lambda x, w: w * min(len(x), 8)),
    "at least": ((5, 6, 12), lambda x, w: w * max(x.shape[0], 8)),
    "a branch": ((12, 9, 5), lambda x, w: x * w * 2 if len(x) > 8 else x * w),
    "rounded": ((12, 9, 5), lambda x, w: w * round(len(x) * 0.1)),
    "rows of a part": ((11, 10, 8), lambda x, w: w * np.sum(x[: len(x) // 2])),
    "more rows than there are": ((8, 12, 20), lambda x, w: w * np.sum(x[:16])),
    "every other": ((8, 7, 6), lambda x, w: w * x[::2].shape[0]),
    "filled": ((11, 10, 8), lambda x, w: w * np.full(x.shape, len(x) // 2)),
    "bytes": ((11, 10, 8), lambda x, w: w * x.nbytes),
    "steps in memory": ((11, 10, 8), lambda x, w: w * x.T.copy().strides[0]),
    "many shapes": ((11, 10, 8), lambda x, w: w * [*map(np.shape, (x, x))][1][0]),
    "an error": ((11, 10, 8), lambda x, w: w * (caught(x) // 2)),
    "uneven parts": ((7, 8, 6, 5), lambda x, w: slope(
        x, lambda t: np.sum(np.array_split(t, 3)[1] ** 2) * w)),
    "degrees of freedom": ((7, 8, 6), lambda x, w: np.var(tg.Tensor(x), axis=0, ddof=1) * w),
    "median": ((7, 8, 6), lambda x, w: np.median(tg.Tensor(x), axis=0) * w),
    "clipped indices": ((7, 8, 6), lambda x, w: np.take(tg.Tensor(x), [99], 0, mode="clip") * w),
    "shifted": ((7, 8, 6), lambda x, w: np.fft.fftshift(tg.Tensor(x), axes=0) * w),
    "running products": ((8, 7, 12), lambda x, w: np.cumprod(tg.Tensor(x), axis=0) * w),
    "slopes of a product": ((8, 7, 6, 5, 12), lambda x, w: slope(
        x, lambda t: np.sum(np.sin(np.prod(t, axis=0)) * w))),
    "products of all": ((5, 8, 3, 12), lambda x, w: slope(x, lambda t: np.sum((t @ t.T) ** 2) * w)),
    "scaled": ((5, 8, 3), lambda x, w: F.scaled_dot_product_attention(x.T, x.T, x.T) * w),
}


def slope(x, f):
    t = tg.Tensor(x, requires_grad=True)
    f(t).backward()
    return t.grad


@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_size_makes_is_right_where_no_proof_sees_it(name):
    sizes, f = HIDDEN[name]
    step = tg.jit(f, fast=False)
    for n in sizes:
        x = rng.normal(size=(n, 4))
        for w in (0.0, 0.0, 1.0):
            one, other = (np.asarray(y.numpy() if isinstance(y, tg.Tensor) else y)
                          for y in (step(x, w), f(x, w)))
            assert_allclose(one, other, 1e-12, 1e-12)


LITERALS = {  # eights that are no number of rows, beside the first batch of eight; b is a number
    "ones": lambda x, b: np.ones((8, 4)) * b,
    "a row": lambda x, b: np.zeros(8) + b,
    "numbers": lambda x, b: np.arange(8) * b,
    "numbers apart": lambda x, b: np.arange(8) * 8 * b,
    "full": lambda x, b: np.full((4, 8), 2.0) * b,
    "a square": lambda x, b: np.ones((8, 8)) @ np.ones((8, 8)) * b,
    "stretched": lambda x, b: np.broadcast_to(b, (8, 4)),
    "rows": lambda x, b: x.reshape(8, -1)[0],
    "columns": lambda x, b: x.T.reshape(-1, 8)[:, 0],
    "as they are": lambda x, b: np.full_like(x, 1 / 32),
    "all added up": lambda x, b: np.sum(np.full_like(x, 8.0)),
    "a part": lambda x, b: (np.ones((8, 4)) * b)[:, :2],
    "turned": lambda x, b: (np.ones((8, 4)) * b).T,
    "in a row": lambda x, b: (np.ones((8, 4)) * b).reshape(-1),
    "times one row": lambda x, b: np.ones((8, 1)) * x[0],
    "times a sum": lambda x, b: np.ones((8, 1)) * x.sum(0),
    "outer": lambda x, b: np.outer(np.ones(8), x[0]),
    "below": lambda x, b: np.concatenate([x, np.ones((8, 4)) * b]),
    "above": lambda x, b: np.concatenate([np.ones((8, 4)), x]),
    "stacked": lambda x, b: np.stack([np.ones((8, 4)) * b, np.ones((8, 4))]),
    "chosen": lambda x, b: np.where(b > 0, np.ones((8, 4)), 0),
    "a product": lambda x, b: np.ones((8, 4)) @ x[0],
    "looked up": lambda x, b: x[np.arange(8) % 2],
    "looked up in a row": lambda x, b: x[0][np.zeros(8, int)],
    "looked up in it": lambda x, b: (np.ones((8, 4)) * b)[np.arange(8), 0],
    "added along": lambda x, b: np.cumsum(np.ones(8) * b),
    "drawn": lambda x, b: F.dropout(tg.Tensor(np.ones((8, 4))), 0.5, True) * b,
    "filled": lambda x, b: filled(np.zeros((8, 4)), x[0]),
    "filled beside it": lambda x, b: filled(np.zeros_like(x, shape=(8, 4)), x[0]),
    "repeated": lambda x, b: np.repeat(tg.Tensor(x)[:1], 8, 0),
    "tiled": lambda x, b: np.tile(tg.Tensor(x)[0], (8, 1)),
    "softmax": lambda x, b: F.softmax(tg.Tensor(np.ones((4, 8)) * b), 0),
    "a slope": lambda x, b: slope(x[0], lambda t: np.sum(np.broadcast_to(t, (8, 4)) * 2)),
    "a slope of a product": lambda x, b: slope(x[0], lambda t: np.sum(np.ones((8, 1)) * t)),
    "a mean": lambda x, b: slope(x, np.mean),
    "as long as the rows": lambda x, b: np.ones_like(x) * b,
    "as wide as the rows": lambda x, b: np.ones_like(x.T) * b,
    "as many": lambda x, b: np.ones_like(x.reshape(-1)) * b,
    "and one": lambda x, b: np.ones_like(np.concatenate([x, x[:1]])) * b,
    "beside nothing": lambda x, b: np.append(np.ones((8, 4)) * b, x[:0], 0),
    "of the rows": lambda x, b: np.ones_like(x) * np.arange(4) + x * b,
}


def filled(array, rows):
    array[...] = rows
    return array


@pytest.mark.parametrize("name", LITERALS)
def test_a_literal_is_no_number_of_rows(name):
    """It meets no row, and shows behind w alone: shapes say what it is, or it is recorded."""
    f = lambda x, b, w: np.sum(LITERALS[name](x, b)) * w  # noqa: E731
    step = tg.jit(f, fast=False)
    for n in (8, 12, 4, 16, 10):
        for w in (0.0, 0.0, 1.0):
            x, b, found = rng.normal(size=(n, 4)), np.full((), w), []
            for g in (step, f):
                tg.manual_seed(n)
                found.append(float(np.asarray(getattr(y := g(x, b, w), "data", y))))
            assert_allclose(*found, 1e-12, 1e-12)


HANDED_ON = {  # sizes that stand in the shape of something else, and are no numbers to compute with
    "repeated": lambda t: np.repeat(t[:, None], 3, axis=1),
    "tiled": lambda t: np.tile(t[0], (3, 1)),
    "windows": lambda t: np.lib.stride_tricks.sliding_window_view(t, 2, 1),
    "a block": lambda t: np.block([[t, t], [t, t]]),
    "a column less": lambda t: np.delete(t, 1, 1),
    "taken": lambda t: np.take(t, [1, 5], 1, mode="wrap"),
    "spread": lambda t: np.std(t, axis=1),
    "without gaps": lambda t: np.nanmean(t, axis=0),
    "slopes": lambda t: np.gradient(t, axis=1),
}


@pytest.mark.parametrize("name", HANDED_ON)
def test_a_size_that_a_derived_function_hands_on_is_not_asked_for(name):
    step = tg.jit(lambda x: HANDED_ON[name](tg.Tensor(x)), fast=False)
    for n in (8, 7, 5, 12):
        for _ in range(3):
            x = rng.normal(size=(n, 4))
            assert_allclose(step(x).numpy(), HANDED_ON[name](tg.Tensor(x)).numpy(), 1e-12, 1e-12)
    assert [type(r) for r in step.recordings.values()][2:] == [ForSize] * 2


NETWORKS = {
    "simple": lambda: language.SimpleRnnlm(V, 8, 12), "Rnnlm": lambda: language.Rnnlm(V, 8, 12),
    "GRU": lambda: language.Rnnlm(V, 8, 12, "gru"), "better": lambda: language.BetterRnnlm(V, 8, 8),
    "Seq2seq": lambda: seq2seq.Seq2seq(V, 8, 12), "peeky": lambda: seq2seq.PeekySeq2seq(V, 8, 12),
    "attention": lambda: seq2seq.AttentionSeq2seq(V, 8, 12),
    "two directions": lambda: seq2seq.AttentionSeq2seq(V, 8, 12, bidirectional=True),
    "deep": lambda: seq2seq.DeepAttentionSeq2seq(V, 8, 12, 2),
}  # fmt: skip


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("as_python")
def test_a_model_is_recorded_for_one_size_of_a_batch(name, fast, monkeypatch):
    """With and without loops; what it reads and writes is of other sizes than the batch."""
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    if fast:
        pytest.importorskip("numba")
        monkeypatch.setattr(loops, "MANY", 0)
        monkeypatch.setattr(loops, "WORTH", 0)
    worlds = []
    for record in (True, False):
        tg.manual_seed(0)
        model = NETWORKS[name]()
        opt = optim.SGD(model.parameters(), 0.5)

        def step(xs, ts, model=model, opt=opt):
            loss = model.loss(xs, ts)
            loss.backward()
            optim.clip_grad_norm_(opt.params, 5.0)
            opt.step()
            opt.zero_grad()
            if hasattr(model, "reset_state"):
                model.reset_state()
            return loss

        worlds.append((tg.jit(step, fast=fast) if record else step, model))
    (step, model), (plain, other) = worlds
    for n in (11, 10, 7, 13):
        for k in range(3):
            xs, ts = (np.random.default_rng((n, k)).integers(0, V, (n, 6)) for _ in range(2))
            state = tg.random.state()
            found = step(xs, ts).item()
            tg.random.restore(state)
            assert_allclose(found, plain(xs, ts).item(), 1e-5)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert_allclose(p.data, q.data, 1e-4, 1e-6)
    assert [type(r) for r in step.recordings.values()] == [Recording] + [ForSize] * 3


@pytest.mark.usefixtures("as_python")
def test_rows_of_no_elements_are_a_chain_too(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(loops, "MANY", 0)
    monkeypatch.setattr(loops, "WORTH", 0)
    step = tg.jit(lambda x: np.tanh(np.minimum(x, 1) * 2) + 1)
    for shape in ((0, 5), (5, 0)):
        for _ in range(3):
            assert step(np.zeros(shape, np.float32)).shape == shape


def test_an_array_is_stacked_as_a_list_of_its_rows_is():
    step = tg.jit(lambda x: np.stack(x))
    for n in (3, 3, 4):
        x = rng.normal(size=(n, 2, 3))
        assert_array_equal(step(x), x)


@pytest.mark.usefixtures("eager_to_fuse")
def test_gates_are_no_hindrance_to_other_sizes(monkeypatch):
    """A loop over the columns of a gate is handed whole rows, the last of which ends behind the
    array."""
    pytest.importorskip("numba")
    monkeypatch.setattr(jitted, "threads", lambda: 1)
    model = nn.LSTM(D, 16, rng=np.random.default_rng(0))

    @tg.jit
    def step(x):
        loss = (model(x)[0] ** 2).mean()
        loss.backward()
        grads = [p.grad.numpy() for p in model.parameters()]
        model.zero_grad()
        return loss, grads

    for size in (9, 9, 7, 7, 6, 12):
        x = np.random.default_rng(size).normal(size=(size, 5, D)).astype(np.float32)
        found, right = step(x), step.__wrapped__(x)
        for a, b in zip(found[1], right[1], strict=True):
            assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert [type(r) for r in step.recordings.values()][2:] == [ForSize] * 2
