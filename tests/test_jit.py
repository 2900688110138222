"""tg.jit: the numbers of eager training, and a clear word about whatever it cannot follow."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jit_worlds import V
from leaves import seeds
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
from tinygrad_rnn.jit import JitError

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
    "asarray": lambda x: np.float64(x),
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


def test_numbers_that_the_function_changes_are_counted_on():
    class Trainer:
        steps = 0

        def __init__(self):
            self.mean, self.best, self.quiet, self.at = 0.0, np.float64(9), True, (0, 1)

    def world(jit):
        trainer, counter, total = Trainer(), {"calls": 0}, 0

        def f(x, k):
            nonlocal total
            counter["calls"] += 1
            total += k
            Trainer.steps += 2
            trainer.mean = 0.9 * trainer.mean + 0.1 * np.mean(x)
            trainer.best = np.minimum(trainer.best, x[0])
            trainer.quiet = not trainer.quiet
            return x * total / counter["calls"] ** 0.5 + trainer.quiet

        jitted = jit(f)
        for k in range(8):
            if k == 6:
                counter["calls"] = 0
            yield jitted(np.arange(2.0) - k, k % 2), vars(trainer).copy(), dict(counter)
        yield total, Trainer.steps - steps, len(getattr(jitted, "recordings", ())) <= 6

    steps = 0
    expected = list(world(lambda f: f))
    steps = Trainer.steps
    assert str(list(world(tg.jit))) == str(expected)


def test_what_is_made_at_a_first_call_is_there_for_the_next():
    def world(jit):
        masks, thing = {}, SimpleNamespace()

        @jit
        def f(x):
            if x.size not in masks:
                masks[x.size] = np.arange(x.size)
            thing.calls = getattr(thing, "calls", 0) + 1
            return x * masks[x.size] + thing.calls

        for k in range(8):
            yield f(np.ones(2 + k % 2)), thing.calls, list(masks)
        yield getattr(f, "recordings", (1, 2))

    *expected, two = world(lambda f: f)
    *got, recordings = world(tg.jit)
    assert str(got) == str(expected) and len(recordings) == len(two)


def test_a_counter_that_decides_is_refused_and_stays_what_it_was():
    counter = {"calls": 0}

    def f(x):
        counter["calls"] += 1
        return x * 2 if counter["calls"] % 2 else x

    with pytest.raises(JitError, match="bool of a value"):
        tg.jit(f)(np.ones(2))
    assert counter["calls"] == 0


def test_a_list_that_the_function_appends_to_is_refused():
    losses, seen = [], {}

    def appends(x):
        losses.append(x.sum())

    def adds(x):
        seen[len(seen)] = x.sum()

    for f, kind in ((appends, "list"), (adds, "dict")):
        jitted = tg.jit(f)
        with pytest.raises(JitError, match=f"which items a {kind} has"):
            for _ in range(2):  # an entry may be made, once
                jitted(np.ones(2))
    assert losses == [] and seen == {0: 2}


def test_options_are_checked():
    with pytest.raises(ValueError, match="fallback='slow'"):
        tg.jit(lambda x: x, fallback="slow")


# ---- explain ----


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
