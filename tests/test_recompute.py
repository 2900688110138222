"""Checkpoints: what runs again for backward gives the values and gradients of what does not."""

import gc
import itertools
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn

LINES = ["h = np.tanh(h @ w)", "h = h * x", "h, x = x, h", "h = F.softmax(h) + x", "x = x - h",
         "h[0] = x[1]", "x = np.concatenate([h[1:], x[:1]])", "h = F.dropout(h, 0.5, rng=rng)",
         "h = F.dropout(h, 0.5)", "h = h.detach() * x", "h = np.where(a > 0, h, x)",
         "w = w * 0.5", "h = h + a", "h = nn.Dropout(0.5)(h)", "x = np.sort(x, 0)"]  # fmt: skip


def program(lines, results):
    """f(x, w, a, k=...) with these lines, and a weight and a generator that it closes over."""
    space = {"np": np, "F": F, "nn": nn, "rng": np.random.default_rng(3),
             "v": nn.Parameter(np.full((3, 3), 0.3)), "__name__": "__main__"}
    body = "\n    ".join(["h = x * v", *lines, f"return {results}"])
    exec(f"def f(x, w, a, k=1.0):\n    {body}", space)
    return space["f"], space["v"], space["rng"]


@pytest.mark.parametrize("nested", [False, True])
@given(st.lists(st.sampled_from(LINES), max_size=7), st.sampled_from(
    ["h", "(h, x)", "[x * k, {'a': h}]", "(h, a, h, None)", "(x + w, h)"]), st.data())
def test_a_checkpoint_gives_what_the_function_gives(nested, lines, results, data):
    asked = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    runs = []
    for change in (lambda f: f, tg.checkpoint):
        tg.manual_seed(0)
        f, v, rng = program(lines, results)
        rest = np.random.default_rng(1)
        x, w = (tg.Tensor(rest.normal(size=(3, 3)), requires_grad=True) for _ in range(2))
        a = rest.normal(size=(3, 3))
        g = change(f)
        if nested:
            g = change(lambda x, w, a, k, g=g: g(x, w=w, a=a, k=k))
        out = g(x * 1.0, w, a, k=0.5)
        a[...] = 0  # too late to matter
        tensors = [t for t in flat(out) if t.requires_grad]
        loss = sum((np.sum(t * rest.normal(size=t.shape))
                    for t, wanted in zip(tensors, asked, strict=False) if wanted), np.sum(v) * 0)
        loss.backward()
        runs.append(([*flat(out), rng.random(), tg.random.generator().random()],
                     [x.grad, w.grad, v.grad]))
    (one, gs), (other, hs) = runs
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(values(b), values(a))
    for a, b in zip(there(gs), there(hs), strict=True):  # sums in another order
        np.testing.assert_allclose(values(b), values(a), rtol=1e-11, atol=1e-13)


def there(gs):
    return [g for g in gs if g is not None]


def flat(out):
    if isinstance(out, tg.Tensor):
        return [out]
    items = out.values() if isinstance(out, dict) else out if isinstance(out, (list, tuple)) else []
    return [t for item in items for t in flat(item)]


def values(x):
    return x.detach().numpy() if isinstance(x, tg.Tensor) else x


@given(st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]), st.integers(1, 9), st.integers(1, 5),
       st.sampled_from([{}, {"bidirectional": True, "num_layers": 2}, {"recurrent_dropout": 0.3},
                        {"dropout": 0.5, "num_layers": 2}, {"stateful": True}]),
       st.sampled_from([None, "lengths", "resets"]))  # fmt: skip
def test_a_layer_with_checkpoints_is_the_layer(kind, T, K, options, what):
    rng = np.random.default_rng(T)
    more = {"lengths": {"lengths": rng.integers(0, T + 1, 2)},
            "resets": {"resets": rng.random((2, T)) < 0.3}}.get(what, {})
    x = rng.normal(size=(2, T, 3))
    runs = []
    for checkpoint in (False, K, True):
        tg.manual_seed(1)
        layer = kind(3, 4, checkpoint=checkpoint, dtype=np.float64, **options)
        xs = tg.Tensor(x, requires_grad=True)
        for _ in range(2):
            hs, _ = layer(xs, **more)
            np.sum(hs * hs).backward()
        runs.append([hs.detach().numpy(), xs.grad.numpy(),
                     *(p.grad.numpy() for p in layer.parameters())])
    for one, other in itertools.product(runs[:1], runs[1:]):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_a_layer_with_checkpoints_has_the_bits_of_its_segments_one_by_one():
    layer = nn.LSTM(3, 4, checkpoint=4, dtype=np.float64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 10, 3))
    xs, ys = tg.Tensor(x, requires_grad=True), tg.Tensor(x, requires_grad=True)
    hs, _ = layer(xs)
    np.sum(hs * hs).backward()
    found = [p.grad.numpy().copy() for p in layer.parameters()]
    layer.zero_grad()
    layer.checkpoint, pieces, state = False, [], None
    for t in range(0, 10, 4):
        piece, state = layer(ys[:, t : t + 4], state)
        pieces.append(piece)
    whole = np.concatenate(pieces, axis=1)
    np.sum(whole * whole).backward()
    np.testing.assert_array_equal(hs.detach().numpy(), whole.detach().numpy())
    np.testing.assert_array_equal(xs.grad.numpy(), ys.grad.numpy())
    for a, p in zip(found, layer.parameters(), strict=True):
        np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-12)


def test_gradients_of_gradients():
    rng = np.random.default_rng(0)
    x, w, v = (rng.normal(size=(3, 3)) for _ in range(3))

    def f(w):
        return np.sum(F.sigmoid(tg.Tensor(x) @ w) * np.tanh(w) ** 2)

    inside = tg.checkpoint(lambda w: tg.checkpoint(np.tanh)(w) ** 2)
    twice = tg.checkpoint(lambda w: np.sum(F.sigmoid(tg.Tensor(x) @ w) * inside(w)))
    np.testing.assert_allclose(tg.hvp(twice, w, v)[1].numpy(), tg.hvp(f, w, v)[1].numpy(), 1e-12)
    third, wanted = (tg.grad(np.sum(tg.hvp(g, u, v)[1]), u).numpy() for g in (twice, f)
                     for u in [tg.Tensor(w, requires_grad=True)])
    np.testing.assert_allclose(third, wanted, rtol=1e-11)


def test_a_result_that_nobody_asks_for_brings_no_nan():
    x = tg.Tensor([0.0, 4.0], requires_grad=True)
    _, y = tg.checkpoint(lambda x: (np.sqrt(x[:1]), x * 3))(x)
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


def test_backward_twice_and_a_graph_that_is_freed():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = np.sum(tg.checkpoint(lambda x: x * x)(x))
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 8])

    @tg.checkpoint
    def editing(t):
        t[0] = t[1] * 2.0
        return np.sum(t * t)

    z = editing(x * 1.0)
    z.backward(retain_graph=True)
    z.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4, 8 + 2 * 20])
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_what_changes_in_between_is_no_wrong_gradient():
    w = nn.Parameter(np.ones(3))
    counter = itertools.count()
    x = tg.Tensor(np.ones(3), requires_grad=True)
    kept = []

    def cached(x):
        kept.append(w * 2) if not kept else None
        return x * kept[0]

    for f, edit in ((lambda x: x * w, lambda: w.data.__imul__(2)),
                    (lambda x: x * next(counter), lambda: None), (cached, lambda: None)):
        y = np.sum(tg.checkpoint(f)(x))
        edit()
        with pytest.raises(RuntimeError, match="gives something else when it runs again"):
            y.backward()


def test_an_argument_that_is_edited_afterwards_counts_as_it_was():
    x = tg.Tensor(np.ones(3), requires_grad=True)
    t, a = x * 2, np.ones(3)
    y = np.sum(tg.checkpoint(lambda pair: pair[0] * pair[0] * pair[1])((t, a)))
    t[0], a[1] = 5.0, 7.0
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8, 8, 8])


def test_without_gradients_and_under_jit_it_is_the_function():
    calls = []
    layer = nn.RNN(2, 3, checkpoint=2, rng=np.random.default_rng(0))

    @tg.checkpoint
    def f(x):
        calls.append(x)
        return layer(x)[0]

    with tg.no_grad():
        assert not f(np.ones((1, 5, 2), np.float32)).requires_grad
    assert len(calls) == 1

    def step(x):
        loss = np.sum(layer(x)[0] ** 2)
        layer.zero_grad()
        loss.backward()
        return loss, [p.grad for p in layer.parameters()]

    x = np.random.default_rng(0).normal(size=(2, 30, 2)).astype(np.float32)
    jitted = tg.jit(step, fast=False)
    for _ in range(3):
        found = jitted(x)
    calls = len(jitted._last.recorded.calls)
    layer.checkpoint = False
    jitted(x)
    assert len(jitted._last.recorded.calls) == calls  # no segments
    wanted = step(x)
    for a, b in zip([found[0], *found[1]], [wanted[0], *wanted[1]], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-5, 1e-6)


def test_only_arguments_and_results_are_kept_and_nothing_in_circles():
    """What is traced is the memory of arrays: of sixteen times the steps, some four times as much,
    beside xs and hs."""
    grown = []
    for T in (64, 1024):
        layer = nn.LSTM(4, 16, checkpoint=True, rng=np.random.default_rng(0))
        x = np.zeros((2, T, 4), np.float32)
        gc.collect()
        tracemalloc.start()
        hs, _ = layer(x)
        alive = tracemalloc.get_traced_memory()[0] - hs.numpy().nbytes - x.nbytes
        tracemalloc.stop()
        grown.append(alive)
        hs.backward(np.ones_like(hs.detach().numpy()))
    assert grown[1] < 8 * grown[0]

    kept = tg.Tensor(np.ones(3))
    w = nn.Parameter(np.ones(3))
    array = weakref.ref(kept)
    gc.disable()
    try:
        y = np.sum(tg.checkpoint(lambda x: x * w)(kept))
        y.backward()
        del y, kept
        assert array() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("wrong", [-1, 1.5, "yes", None])
def test_checkpoint_is_a_number_of_steps(wrong):
    with pytest.raises(ValueError, match="RNN: checkpoint="):
        nn.RNN(2, 3, checkpoint=wrong)
