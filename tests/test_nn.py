"""Layers as tensor expressions against the book's layers with the backward derived by hand."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_problems import PAIRS, arrays, close, problems, randomize
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, manual, nn
from tinygrad_rnn import functional as F


@pytest.mark.parametrize("kind", PAIRS)
@given(problems())
def test_layers_equal_the_hand_derived_ones_over_stateful_calls(kind, problem):
    _, dtype, (N, T, D, H), normal = problem
    ours, theirs = PAIRS[kind]
    layer = ours(D, H, stateful=True, dtype=dtype)
    randomize(layer, normal)
    twin = theirs(*arrays(layer), stateful=True)
    for call in range(3):
        x = Tensor(normal(N, T, D), requires_grad=True)
        state = None
        if call == 0:  # from given states, whose gradients are wanted too
            parts = [normal(N, H) for _ in range(2 if kind == "lstm" else 1)]
            twin.set_state(*parts)
            state = tuple(Tensor(p, requires_grad=True) for p in parts)
        layer.zero_grad()
        hs, final = layer(x, state if state is None or len(state) > 1 else state[0])
        expected = twin.forward(x.detach().numpy())
        close(hs, expected, "hs")
        close(final[0] if kind == "lstm" else final, twin.h, "h")
        g = normal(N, T, H)
        hs.backward(g)
        close(x.grad, twin.backward(g), "dxs")
        for p, dp in zip(layer.parameters(), twin.grads, strict=True):
            close(p.grad, dp, "params")
        if state is not None:
            close(state[0].grad, twin.dh, "dh")
            if kind == "lstm":
                close(state[1].grad, twin.dc, "dc")


@given(problems())
def test_bidirectional_equals_the_hand_derived_one(problem):
    _, dtype, (N, T, D, H), normal = problem
    layer = nn.LSTM(D, H, bidirectional=True, dtype=dtype)
    randomize(layer, normal)
    twin = manual.TimeBiLSTM(*arrays(layer))
    x, g = Tensor(normal(N, T, D), requires_grad=True), normal(N, T, 2 * H)
    hs, (h, c) = layer(x)
    assert h.shape == c.shape == (2, N, H)
    close(hs, twin.forward(x.detach().numpy()))
    hs.backward(g)
    close(x.grad, twin.backward(g))
    for p, dp in zip(layer.parameters(), twin.grads, strict=True):
        close(p.grad, dp)


@pytest.mark.parametrize("kind", PAIRS)
@given(problems(), st.integers(1, 3), st.booleans(), st.booleans(), st.data())
def test_a_padded_batch_equals_each_sequence_alone(kind, problem, layers, both, residual, data):
    _, _, (N, T, D, H), _ = problem
    rng = problem[0]
    layer = PAIRS[kind][0](D, H, layers, bidirectional=both, residual=residual, dtype=np.float64)
    lengths = np.array(data.draw(st.lists(st.integers(1, T), min_size=N, max_size=N)))
    xs = Tensor(rng.normal(size=(N, T, D)), requires_grad=True)
    hs, final = layer(xs, lengths=lengths)
    g = rng.normal(size=hs.shape)
    hs.backward(g)
    gradients = [p.grad.numpy() for p in layer.parameters()]
    layer.zero_grad()
    for n, length in enumerate(lengths):
        alone = Tensor(xs.detach().numpy()[n : n + 1, :length], requires_grad=True)
        out, end = layer(alone)
        out.backward(g[n : n + 1, :length])
        assert_allclose(hs.detach().numpy()[n, :length], out.detach().numpy()[0], atol=1e-12)
        assert not hs.detach().numpy()[n, length:].any()
        assert_allclose(xs.grad.numpy()[n, :length], alone.grad.numpy()[0], atol=1e-11)
        assert not xs.grad.numpy()[n, length:].any()
        for whole, one in zip(final if kind == "lstm" else [final],
                              end if kind == "lstm" else [end], strict=True):  # fmt: skip
            assert_allclose(whole.detach().numpy()[..., n, :], one.detach().numpy()[..., 0, :],
                            atol=1e-12)  # fmt: skip
    for p, expected in zip(layer.parameters(), gradients, strict=True):
        assert_allclose(p.grad.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("kind", PAIRS)
def test_a_residual_connection_adds_the_input_of_each_layer(kind):
    rng = np.random.default_rng(0)
    layer = PAIRS[kind][0](3, 3, 2, residual=True, dtype=float)
    one, two = (PAIRS[kind][0](3, 3, dtype=float) for _ in range(2))
    for k, alone in enumerate((one, two)):
        for mine, its in zip(alone.parameters(), layer.cells[k].parameters(), strict=True):
            mine.data = its.data
    x, y = (Tensor(a, requires_grad=True) for a in [rng.normal(size=(2, 4, 3))] * 2)
    g = rng.normal(size=(2, 4, 3))
    got = layer(x)[0]
    below = one(y)[0] + y
    want = two(below)[0] + below
    got.backward(g)
    want.backward(g)
    assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)
    assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)


@given(problems(), st.sampled_from([("before", False), ("after", False), ("after", True)]),
       st.sampled_from(["new", "old"]))  # fmt: skip
def test_forms_of_the_gru(problem, form, update):
    rng, _, (N, _, D, H), _ = problem
    reset, recurrent_bias = form
    cell = nn.GRUCell(D, H, reset, update, recurrent_bias, dtype=np.float64)
    x, h = rng.normal(size=(N, D)), rng.normal(size=(N, H))
    for p in cell.parameters():
        p.data = rng.normal(size=p.shape)
    Wx, Wh, b, *bh = arrays(cell)
    bh = bh[0] if recurrent_bias else 0
    a = x @ Wx + b
    z, r = (1 / (1 + np.exp(-a[:, k * H : (k + 1) * H] - h @ Wh[:, k * H : (k + 1) * H]))
            for k in (0, 1))  # fmt: skip
    Wn = Wh[:, 2 * H :]
    inner = (r * h) @ Wn if reset == "before" else r * (h @ Wn + bh)
    new = np.tanh(a[:, 2 * H :] + inner)
    expected = (1 - z) * h + z * new if update == "new" else z * h + (1 - z) * new
    assert_allclose(cell(Tensor(x), Tensor(h)).detach().numpy(), expected, atol=1e-12)


@given(problems(), st.sampled_from([1, 2]))
def test_any_cell_runs_over_time(problem, layers):
    """A cell of nothing but its forward; two layers from two cells."""

    class Leaky(nn.Module):
        def __init__(self, D, H):
            self.W, self.state_sizes = nn.Parameter(problem[0].normal(size=(D, H))), (H,)

        def forward(self, x, h):
            return 0.5 * h + np.tanh(x @ self.W)

    rng, _, (N, T, D, H), _ = problem
    cells = [Leaky(D if k == 0 else H, H) for k in range(layers)]
    xs = rng.normal(size=(N, T, D))
    hs, _ = nn.RNN(cells)(xs)
    for cell in cells:
        h, out = np.zeros((N, H)), []
        for t in range(T):
            h = 0.5 * h + np.tanh(xs[:, t] @ cell.W.detach().numpy())
            out.append(h)
        xs = np.stack(out, 1)
    assert_allclose(hs.detach().numpy(), xs, atol=1e-12)


@given(problems())
def test_attention_equals_the_hand_derived_one(problem):
    _, _, (N, T, K, H), normal = problem
    keys, query = Tensor(normal(N, T, H), requires_grad=True), Tensor(normal(N, K, H), True)
    twin = manual.TimeAttention()
    context, weights = nn.Attention()(query, keys)
    close(context, twin.forward(keys.detach().numpy(), query.detach().numpy()))
    assert weights.shape == (N, K, T)
    g = normal(N, K, H)
    context.backward(g)
    dkeys, dquery = twin.backward(g)
    close(keys.grad, dkeys)
    close(query.grad, dquery)


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "additive"])
@given(problems(), st.data())
def test_attention_looks_only_where_the_mask_lets_it(score, problem, data):
    rng, _, (N, Tq, Tk, H), _ = problem
    attention = nn.Attention(score, H, dtype=np.float64)
    query, keys = rng.normal(size=(N, Tq, H)), rng.normal(size=(N, Tk, H))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=N * Tk, max_size=N * Tk)))
    mask = mask.reshape(N, Tk)
    tkeys = Tensor(keys, requires_grad=True)
    context, weights = attention(Tensor(query, True), tkeys, mask=mask)
    (context * rng.normal(size=context.shape)).sum().backward()
    assert np.isfinite(tkeys.grad.numpy()).all()
    assert not tkeys.grad.numpy()[~mask].any()
    for n in range(N):
        kept = mask[n]
        if not kept.any():
            assert not weights.detach().numpy()[n].any()
            assert not context.detach().numpy()[n].any()
            continue
        alone, w = attention(Tensor(query[n : n + 1]), Tensor(keys[n : n + 1, kept]))
        assert_allclose(context.detach().numpy()[n], alone.detach().numpy()[0], atol=1e-12)
        assert_allclose(weights.detach().numpy()[n][:, kept], w.detach().numpy()[0], atol=1e-12)


@pytest.mark.parametrize("block", [F.BLOCK, 8])
@given(problems())
def test_losses_and_embedding_equal_the_hand_derived_ones(block, problem):
    with mock.patch.object(F, "BLOCK", block):
        check_losses(problem)


def check_losses(problem):
    rng, _, (N, T, V, D), normal = problem
    V += 1
    ts = rng.integers(-1, V, (N, T))
    xs = Tensor(normal(N, T, V), requires_grad=True)
    twin = manual.TimeSoftmaxWithLoss()
    loss = F.cross_entropy(xs, ts)
    close(loss, np.asarray(twin.forward(xs.detach().numpy(), ts)))
    loss.backward()
    close(xs.grad, twin.backward())
    logits, t = Tensor(normal(N, T), requires_grad=True), rng.integers(0, 2, (N, T))
    twin = manual.TimeSigmoidWithLoss()
    loss = F.binary_cross_entropy_with_logits(logits, t)
    close(loss, np.asarray(twin.forward(logits.detach().numpy(), t)))
    loss.backward()
    close(logits.grad, twin.backward())
    W, ids, g = Tensor(normal(V, D), requires_grad=True), rng.integers(0, V, (N, T)), None
    twin = manual.TimeEmbedding(W.detach().numpy())
    g = normal(N, T, D)
    F.embedding(W, ids).backward(g)
    twin.forward(ids)
    twin.backward(g)
    close(W.grad, twin.grads[0])


def test_saturation_without_warnings():
    x = Tensor([-1000.0, -40.0, -2.0, 0.0, 1000.0], requires_grad=True)
    y = F.sigmoid(x)
    exact = [0, 4.248354255291589e-18, 0.11920292202211755, 0.5, 1]
    assert_allclose(y.detach().numpy(), exact, rtol=0, atol=2e-16)  # rounded as numbers near 1 are
    y.backward(np.ones(5))
    assert_allclose(x.grad.numpy(), [0, 0, 0.1049935854035065, 0.25, 0], rtol=0, atol=2e-16)
    rows = Tensor([[1e4, 0.0], [-np.inf, 0.0], [-np.inf, -np.inf]], requires_grad=True)
    p = F.softmax(rows)
    assert_allclose(p.detach().numpy(), [[1, 0], [0, 1], [0, 0]])
    p.backward(np.arange(6.0).reshape(3, 2))
    assert_allclose(rows.grad.numpy(), np.zeros((3, 2)))
    assert_allclose(F.logsumexp(rows).detach().numpy(), [1e4, 0, -np.inf])
    assert_allclose(F.cross_entropy(Tensor([[1e4, -1e4]]), [1]).item(), 2e4)
    assert F.cross_entropy(Tensor([[1e4, -1e4]]), [-1]).item() == 0
    assert_allclose(F.binary_cross_entropy_with_logits(Tensor([1e4, -1e4]), [0, 0]).item(), 5e3)
    assert F.sigmoid(Tensor(np.float32([-1000, 1000]))).dtype == np.float32


def test_layer_norm_scales_the_last_axes():
    x = np.ones((3, 4))
    for gamma, beta in ((np.ones(3), 0.0), (np.ones(4), np.ones((3, 4))), (np.ones((3, 1)), 0.0)):
        with pytest.raises(ValueError, match=r"layer_norm: (gamma|beta) of shape"):
            tg.functional.layer_norm(x, gamma, beta)
    assert tg.functional.layer_norm(x, np.ones(4), np.zeros(4)).shape == (3, 4)


def test_relu_dropout_layer_norm():
    x = Tensor([-1.0, 0.0, 2.0], requires_grad=True)
    F.relu(x).backward(np.array([3.0, 5.0, 7.0]))
    assert x.grad.tolist() == [0, 0, 7]
    tg.manual_seed(3)
    ones = np.ones((200, 50), np.float32)
    first = F.dropout(ones, 0.25).numpy()
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)} and abs(first.mean() - 1) < 0.05
    tg.manual_seed(3)
    assert np.array_equal(first, F.dropout(ones, 0.25).numpy())
    assert np.array_equal(F.dropout(ones, 0.25, training=False).numpy(), ones)
    y = nn.LayerNorm(50)(np.random.default_rng(0).normal(5, 3, (4, 50)).astype("f"))
    assert y.dtype == np.float32
    assert_allclose(y.detach().numpy().mean(1), 0, atol=1e-5)
    assert_allclose(y.detach().numpy().std(1), 1, atol=1e-3)


@pytest.mark.parametrize("layer, shapes", [
    (nn.Linear(2, 3), [(4, 2)]), (nn.LayerNorm(2), [(4, 2)]), (nn.Dropout(0), [(4, 2)]),
    (nn.LSTM(2, 3), [(4, 5, 2)]), (nn.GRUCell(2, 3), [(4, 2), (4, 3)]),
    (nn.Attention(), [(4, 3, 2), (4, 5, 2)]), (nn.Attention(), [(4, 3, 2), (4, 5, 2), (4, 5, 6)]),
])  # fmt: skip
def test_layers_take_lists(layer, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in shapes]
    first, other = layer(*arrays), layer(*(x.tolist() for x in arrays))
    first, other = (x if isinstance(x, tuple) else (x,) for x in (first, other))
    assert np.array_equal(first[0].detach().numpy(), other[0].detach().numpy())


def test_layers_without_time_are_what_functional_makes_of_their_parameters():
    rng = np.random.default_rng(0)
    ids, x = np.array([[0, 2], [2, 1]]), rng.normal(size=(2, 4, 3))
    embedding = nn.Embedding(3, 4, padding_idx=2, dtype=np.float64)
    assert not embedding.W.detach().numpy()[2].any()
    embedding(ids).backward(np.ones((2, 2, 4)))
    assert embedding.W.grad.numpy()[2].tolist() == [0] * 4
    assert embedding.W.grad.numpy()[:2].all()
    with pytest.raises(IndexError, match="Embedding: padding_idx=3, wanted from 0 to 2"):
        nn.Embedding(3, 4, padding_idx=3)
    norm = nn.LayerNorm((4, 3), eps=0.1, dtype=np.float64)
    norm.gamma.data = gamma = rng.normal(size=(4, 3))
    wanted = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 0.1)
    assert_allclose(norm(x).detach().numpy(), wanted * gamma, atol=1e-12)
    linear = nn.Linear(3, 2, dtype=np.float64)
    W, _ = arrays(linear)
    linear.b.data = b = np.array([1.0, -2.0])
    assert_allclose(linear(x).detach().numpy(), x @ W + b, atol=1e-13)
    assert nn.Linear(3, 2, bias=False).b is None


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "additive"])
def test_scores_of_attention_are_their_formulas(score):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=s) for s in ((2, 3, 4), (2, 5, 4), (2, 5, 6)))
    layer = nn.Attention(score, 4, A=7, dtype=np.float64)
    w = {n: p.detach().numpy() for n, p in layer.named_parameters()}
    scores = {
        "dot": lambda: np.einsum("nqh,nkh->nqk", q, k),
        "scaled_dot": lambda: np.einsum("nqh,nkh->nqk", q, k) / 2,
        "general": lambda: np.einsum("nqh,hj,nkj->nqk", q, w["W"], k),
        "additive": lambda: np.tanh((q @ w["Wq"])[:, :, None] + (k @ w["Wk"])[:, None]) @ w["v"],
    }[score]()
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    context, weights = layer(q, k, v)
    assert_allclose(weights.detach().numpy(), p, atol=1e-13)
    assert_allclose(context.detach().numpy(), p @ v, atol=1e-13)
    assert_allclose(layer(q, k)[0].detach().numpy(), p @ k, atol=1e-13)


def test_weights_are_drawn_with_the_scales_of_the_book():
    tg.manual_seed(0)
    D, H, P, V, A = 400, 300, 200, 500, 100
    drawn = {  # array -> the standard deviation that it was drawn with
        "Linear": (nn.Linear(D, H).W, D**-0.5), "Embedding": (nn.Embedding(V, D).W, 0.01),
        "general": (nn.Attention("general", H, D).W, H**-0.5),
        "query": (nn.Attention("additive", H, D, A).Wq, H**-0.5),
        "keys": (nn.Attention("additive", H, D, A).Wk, D**-0.5),
        "projection": (nn.LSTMCell(D, H, P).Wp, H**-0.5),
        "projected": (nn.LSTMCell(D, H, P).Wh, P**-0.5),
    }
    for kind in (nn.RNNCell, nn.LSTMCell, nn.GRUCell):
        cell = kind(D, H)
        drawn[f"{kind.__name__}.Wx"], drawn[f"{kind.__name__}.Wh"] = (
            (cell.Wx, D**-0.5), (cell.Wh, H**-0.5))  # fmt: skip
        assert not cell.b.detach().numpy().any()
    for name, (p, scale) in drawn.items():
        values = p.detach().numpy()
        assert p.dtype == np.float32, name
        assert abs(values.std() / scale - 1) < 0.02 and abs(values.mean()) < 0.02 * scale, name
    v = nn.Attention("additive", H, D, 40_000).v.detach().numpy()
    assert abs(v.std() * 200 - 1) < 0.02
    assert not nn.Linear(D, H).b.detach().numpy().any()
    first, again = (nn.LSTM(4, 3, rng=np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(arrays(first), arrays(again), strict=True))


@pytest.mark.parametrize("word, said", [
    ("batch_first", "batches always come first"), ("time_major", "batches always come first"),
    ("return_sequences", "gives all steps"), ("return_state", "gives all steps"),
    ("input_size", "is D"), ("hidden_size", "is H"), ("units", "is H"), ("bias", "always one bias"),
    ("nonlinearity", "is activation="), ("go_backwards", "bidirectional=True"),
])  # fmt: skip
def test_words_of_other_libraries_are_told_in_ours(word, said):
    with pytest.raises(TypeError, match=said):
        nn.LSTM(3, 4, **{word: 5})
