"""Layers as tensor expressions against the book's layers with the backward derived by hand."""

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, manual, nn
from tinygrad_rnn import functional as F

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}
PAIRS = {
    "rnn": (nn.RNN, manual.TimeRNN),
    "lstm": (nn.LSTM, manual.TimeLSTM),
    "gru": (nn.GRU, manual.TimeGRU),
}
seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(seeds))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    sizes = [1 if draw(st.booleans()) else n for n in draw(st.permutations([2, 3, 4, 5]))]
    return rng, dtype, sizes, lambda *shape: rng.normal(size=shape).astype(dtype)


def close(actual, expected, what=""):
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    assert actual.shape == np.shape(expected) and actual.dtype == expected.dtype, what
    scale = max(1.0, np.abs(expected).max(initial=0))
    error = np.abs(actual - expected).max(initial=0) / scale
    assert error <= TOLERANCE[expected.dtype.type], f"{what}: {error:.1e}"


def arrays(module):
    return [p.detach().numpy().copy() for p in module.parameters()]


def randomize(module, normal):
    for p in module.parameters():
        p.data = normal(*p.shape)


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


def test_modules_find_parameters_once_and_never_a_state():
    class Tied(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.W = self.a.W
            self.more = {"list": [nn.Dropout(0.5), nn.Linear(3, 2, bias=False)]}
            self.state = self.a.W * 2

    model = Tied()
    names = [name for name, _ in model.named_parameters()]
    assert names == ["a.W", "a.b", "b.b", "more.list.1.W"]
    model.eval()
    assert not any(m.training for m in model.modules()) and len(model.modules()) == 5
    saved = model.state_dict()
    other = Tied()
    other.load_state_dict(saved)
    assert np.array_equal(other.b.W.detach().numpy(), saved["a.W"])
    before = other.state_dict()
    with pytest.raises(KeyError, match=r"missing \['a\.b'\], unknown \['z'\]"):
        other.load_state_dict({**{k: v * 0 for k, v in saved.items() if k != "a.b"}, "z": 1})
    with pytest.raises(ValueError, match=r"a\.b of shape \(4,\), wanted \(3,\)"):
        other.load_state_dict({**saved, "a.b": np.zeros(4)})
    assert all(np.array_equal(before[k], v) for k, v in other.state_dict().items())


@pytest.mark.parametrize("call, error, words", [
    (lambda: F.embedding(np.ones((5, 2)), [5]), IndexError, "embedding: ids from 5 to 5.* 0 to 4"),
    (lambda: F.embedding(np.ones((5, 2)), [-1]), IndexError, "embedding: ids from -1"),
    (lambda: F.embedding(np.ones((5, 2)), [0.5]), TypeError, "embedding: ids are integers, float"),
    (lambda: F.cross_entropy(np.ones((2, 3)), [0]), ValueError, r"cross_entropy: targets \(1,\)"),
    (lambda: F.cross_entropy(np.ones((1, 3)), [3]), IndexError, "cross_entropy: ids from 3"),
    (lambda: nn.LSTM(3, 4)(np.ones((2, 0, 3))), ValueError, r"LSTM: .*\(2, 0, 3\) has no time"),
    (lambda: nn.LSTM(3, 4)(np.ones((2, 5, 2))), ValueError, r"LSTM: xs .*\(2, 5, 2\), .*D = 3"),
    (lambda: nn.GRU(3, 4)(np.ones((2, 5, 3)), lengths=[6, 1]), ValueError, "GRU: lengths .* T = 5"),
    (lambda: nn.GRU(3, 4, recurrent_bias=True), ValueError, "recurrent_bias wants reset='after'"),
    (lambda: nn.RNN(3, 4)(np.ones((2, 5, 3)), np.ones((1, 4))), ValueError, "RNN: state of shapes"),
    (lambda: nn.Attention()(Tensor(np.ones((1, 2, 3))), Tensor(np.ones((1, 2, 4)))), ValueError,
     r"Attention: query \(1, 2, 3\) and keys \(1, 2, 4\)"),
    (lambda: nn.Linear(3, 4)(Tensor(np.ones((2, 5)))), ValueError,
     r"matmul: \(2, 5\) @ \(3, 4\): inner sizes 5 and 3 differ"),
])  # fmt: skip
def test_errors_name_operation_and_shapes(call, error, words):
    with pytest.raises(error, match=words):
        call()


# --- padding, and sequences inside of sequences ---------------------------------------------------


class Direction(nn.Module):
    """A cell of one's own that does not take zeros: it looks at the direction of x alone."""

    def __init__(self, D, H, rng):
        self.W, self.state_sizes = nn.Parameter(rng.normal(size=(D, H))), (H,)

    def forward(self, x, h):
        return np.tanh(x / np.sqrt(np.sum(x * x, axis=1, keepdims=True)) @ self.W + 0.5 * h)


def layers(rng, D, H):
    options = {"dtype": np.float64, "rng": rng}
    yield "rnn", nn.RNN(D, H, activation="relu", **options)
    yield "lstm, projected, two directions", nn.LSTM(D, [H, H + 1], bidirectional=True,
                                                     proj_size=1, **options)
    yield "gru, residual stack", nn.GRU(D, D, 2, residual=True, **options)
    yield "a cell of one's own", nn.Recurrent([Direction(D, H, rng), Direction(H, H, rng)])
    yield "both ways", nn.Recurrent([Direction(D, H, rng), Direction(D, H, rng)], True)


def flat(state):
    return [a for part in state for a in flat(part)] if isinstance(state, (list, tuple)) else [
        state.detach().numpy()]


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -np.inf, 1e300])
@given(seeds, st.booleans())
def test_what_lies_in_the_padding_changes_nothing(rubbish, seed, empty):
    rng = np.random.default_rng(seed)
    N, T, D, H = 3, 4, 2, 3
    lengths = rng.integers(1, T + 1, N)
    if empty:
        lengths[rng.integers(0, N)] = 0
    xs = rng.normal(size=(N, T, D))
    real = np.arange(T) < lengths[:, None]
    for name, layer in layers(rng, D, H):
        outcomes = []
        for padding in (0.5, rubbish):
            x = Tensor(np.where(real[:, :, None], xs, padding), requires_grad=True)
            layer.zero_grad()
            hs, state = layer(x, lengths=lengths)
            hs.backward(np.sin(np.arange(hs.size)).reshape(hs.shape))
            assert not x.grad.numpy()[~real].any() and not hs.detach().numpy()[~real].any()
            outcomes.append([hs.detach().numpy(), *flat(state), x.grad.numpy(),
                             *(p.grad.numpy() for p in layer.parameters())])  # fmt: skip
        for a, b in zip(*outcomes, strict=True):
            assert np.isfinite(b).all(), name
            assert np.array_equal(a, b), name


@given(seeds, st.booleans(), st.booleans())
def test_where_a_sequence_begins_anew_it_is_as_if_it_were_alone(seed, both, padded):
    rng = np.random.default_rng(seed)
    N, T, D, H = 3, 6, 2, 3
    layer = nn.LSTM(D, H, bidirectional=both, dtype=np.float64, rng=rng)
    xs, resets = rng.normal(size=(N, T, D)), rng.random((N, T)) < 0.3
    lengths = rng.integers(1, T + 1, N) if padded else None
    hs, (h, _) = layer(xs, lengths=lengths, resets=resets)
    for n in range(N):
        end = T if lengths is None else lengths[n]
        starts = [0, *(t for t in range(1, end) if resets[n, t]), end]
        pieces = [layer(xs[n : n + 1, a:b])[0].detach().numpy()[0]
                  for a, b in itertools.pairwise(starts)]  # fmt: skip
        assert_allclose(hs.detach().numpy()[n, :end], np.concatenate(pieces), atol=1e-12)
        assert_allclose(h.detach().numpy()[-1, n, :] if both else h.detach().numpy()[n],
                        pieces[0][0, H:] if both else pieces[-1][-1], atol=1e-12)  # fmt: skip


def test_resets_forget_a_given_state_and_cut_the_gradient():
    layer = nn.GRU(2, 3, dtype=np.float64)
    resets = np.zeros((2, 4), bool)
    resets[0, 0] = resets[1, 2] = True
    xs, h = (Tensor(np.ones(s), requires_grad=True) for s in ((2, 4, 2), (2, 3)))
    hs, _ = layer(xs, h, resets=resets.astype(int))
    np.sum(hs[:, 2:]).backward()
    assert not h.grad.numpy().any()
    assert xs.grad.numpy()[0].all() and not xs.grad.numpy()[1, :2].any()


# --- forms of layers ------------------------------------------------------------------------------


@given(problems())
def test_a_relu_rnn_and_a_projected_lstm_are_their_formulas(problem):
    rng, _, (N, T, D, H), _ = problem
    xs = rng.normal(size=(N, T, D))
    layer = nn.RNN(D, H, activation="relu", dtype=np.float64, rng=rng)
    Wx, Wh, b = arrays(layer)
    h, out = np.zeros((N, H)), []
    for t in range(T):
        h = np.maximum(xs[:, t] @ Wx + h @ Wh + b, 0)
        out.append(h)
    assert_allclose(layer(xs)[0].detach().numpy(), np.stack(out, 1), atol=1e-12)
    H, P = H + 2, H
    layer = nn.LSTM(D, H, proj_size=P, dtype=np.float64, rng=rng)
    Wx, Wh, b, Wp = arrays(layer)
    assert (Wx.shape, Wh.shape, Wp.shape) == ((D, 4 * H), (P, 4 * H), (H, P))
    h, c, out = np.zeros((N, P)), np.zeros((N, H)), []
    for t in range(T):
        f, g, i, o = np.split(xs[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        f, i, o = (1 / (1 + np.exp(-a)) for a in (f, i, o))
        c = f * c + i * np.tanh(g)
        h = (o * np.tanh(c)) @ Wp
        out.append(h)
    hs, (last, cell) = layer(xs)
    assert_allclose(hs.detach().numpy(), np.stack(out, 1), atol=1e-12)
    assert_allclose(last.detach().numpy(), h, atol=1e-12)
    assert_allclose(cell.detach().numpy(), c, atol=1e-12)


def test_layers_of_several_widths_take_and_give_lists_of_states():
    rng = np.random.default_rng(0)
    layer = nn.LSTM(2, [3, 5], bidirectional=True, dtype=np.float64, stateful=True)
    xs = rng.normal(size=(2, 4, 2))
    hs, (h, c) = layer(xs)
    assert hs.shape == (2, 4, 10) and [p.shape for p in h] == [(2, 3), (2, 3), (2, 5), (2, 5)]
    lower = nn.Recurrent(layer.cells[:2], bidirectional=True)
    upper = nn.Recurrent(layer.cells[2:], bidirectional=True)
    assert_allclose(upper(lower(xs)[0])[0].detach().numpy(), hs.detach().numpy(), atol=1e-13)
    again = layer(xs)[0].detach().numpy()  # from the state that was carried over
    layer.stateful = False
    assert_allclose(layer(xs, (h, c))[0].detach().numpy(), again)
    with pytest.raises(ValueError, match=r"LSTM: state of shapes .*\(2, 3\).*, wanted \[\[\(2, 3"):
        layer(xs, (h[::-1], c))
    with pytest.raises(ValueError, match="LSTM: state of shapes"):
        layer(xs, h)


def test_dropout_on_the_recurrent_connection_has_one_mask_for_all_steps():
    tg.manual_seed(0)

    class Echo(nn.Module):
        state_sizes = (40,)

        def forward(self, x, h):
            return np.where(x > 0, 1.0, h)

    layer = nn.Recurrent(Echo(), recurrent_dropout=0.25)
    xs = np.zeros((3, 4, 40))
    xs[:, 0] = 1
    hs = layer(xs)[0].numpy()
    mask = hs[:, 1]
    assert set(np.unique(mask)) == {0, 1 / 0.75} and 0.6 < (mask > 0).mean() < 0.9
    assert_allclose(hs[:, 2], mask**2)
    assert_allclose(hs[:, 3], mask**3)
    assert not np.array_equal(layer(xs)[0].numpy()[:, 1], mask)
    assert (layer.eval()(xs)[0].numpy() == 1).all()
    with pytest.raises(ValueError, match=r"GRU: recurrent_dropout=1, wanted 0 <= recurrent_dr"):
        nn.GRU(2, 3, recurrent_dropout=1)


@pytest.mark.parametrize("options", [
    {}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2},
    {"proj_size": 2, "num_layers": 2, "bidirectional": True},
])  # fmt: skip
def test_an_lstm_is_pytorch_s(options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    theirs = torch.nn.LSTM(3, 5, batch_first=True, dtype=torch.float64, **options)
    ours = nn.LSTM(3, 5, dtype=np.float64, **options)
    order = [1, 2, 0, 3]  # ifgo -> fgio
    for k, cell in enumerate(ours.cells):
        two = options.get("bidirectional", False)
        name = f"_l{k // 2}_reverse" if two and k % 2 else f"_l{k // 2 if two else k}"
        w = {n: p.detach().numpy() for n, p in theirs.named_parameters()}

        def blocks(a):
            return np.concatenate([np.split(a, 4)[i] for i in order])

        cell.Wx.data = blocks(w[f"weight_ih{name}"]).T
        cell.Wh.data = blocks(w[f"weight_hh{name}"]).T
        cell.b.data = blocks(w[f"bias_ih{name}"] + w[f"bias_hh{name}"])
        if "proj_size" in options:
            cell.Wp.data = w[f"weight_hr{name}"].T
    x = rng.normal(size=(2, 4, 3))
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    hs, (h, c) = ours(a)
    ts, (th, tc) = theirs(b)
    assert_allclose(hs.detach().numpy(), ts.detach().numpy(), atol=1e-12)
    assert_allclose(h.detach().numpy().reshape(th.shape), th.detach().numpy(), atol=1e-12)
    assert_allclose(c.detach().numpy().reshape(tc.shape), tc.detach().numpy(), atol=1e-12)
    g = rng.normal(size=hs.shape)
    hs.backward(g)
    ts.backward(torch.tensor(g))
    assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


def test_all_forms_of_layers_can_be_recorded():
    rng = np.random.default_rng(0)
    lengths, resets = np.array([4, 2, 0]), rng.random((3, 4)) < 0.4
    for name, layer in layers(rng, 2, 3):
        layer.mean = nn.Buffer(np.zeros(2))

        def step(xs, lengths, resets, layer=layer):
            hs, _ = layer(xs, lengths=lengths, resets=resets)
            layer.mean = 0.9 * layer.mean + 0.1 * np.mean(xs, axis=(0, 1))
            loss = np.mean(hs * hs)
            loss.backward()
            grads = [p.grad.data.copy() for p in layer.parameters()]
            layer.zero_grad()
            return loss, *grads

        recorded = tg.jit(step)
        for _ in range(3):
            xs = rng.normal(size=(3, 4, 2))
            start = layer.mean
            one = step(xs, lengths, resets)
            mean, layer.mean = layer.mean.numpy().copy(), start
            two = recorded(xs, lengths, resets)
            assert_allclose(layer.mean.numpy(), mean)
            for a, b in zip(one, two, strict=True):
                assert_allclose(np.asarray(getattr(a, "data", a)), np.asarray(
                    getattr(b, "data", b)), rtol=1e-10, atol=1e-13, err_msg=name)  # fmt: skip
        assert len(recorded.recordings) == 1


# --- modules --------------------------------------------------------------------------------------


class Normalised(nn.Module):
    """Takes away a running mean."""

    def __init__(self):
        self.mean, self.scale = nn.Buffer(np.zeros(3, "f")), nn.Parameter(np.ones(3, "f"))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * np.mean(x, axis=0)
        return (x - self.mean) * self.scale


def test_buffers_are_saved_and_not_trained():
    model = nn.Sequential(nn.Linear(2, 3), Normalised())
    assert [n for n, _ in model.named_parameters()] == ["layers.0.W", "layers.0.b",
                                                        "layers.1.scale"]  # fmt: skip
    assert [n for n, _ in model.named_buffers()] == ["layers.1.mean"]
    y = model(np.ones((4, 2), "f"))
    y.backward(np.ones(y.shape))
    mean = model[1].mean
    assert isinstance(mean, nn.Buffer) and not mean.requires_grad and mean.numpy().any()
    saved = model.state_dict()
    assert list(saved) == ["layers.0.W", "layers.0.b", "layers.1.mean", "layers.1.scale"]
    other = nn.Sequential(nn.Linear(2, 3), Normalised())
    other.load_state_dict(saved)
    assert np.array_equal(other[1].mean.numpy(), mean.numpy())
    x = np.ones((4, 2), "f")
    assert np.array_equal(model.eval()(x).numpy(), other.eval()(x).numpy())


def test_a_state_dict_shares_no_memory():
    model = nn.Sequential(nn.Linear(2, 3), Normalised())
    saved = model.state_dict()
    for array in saved.values():
        array += 1
    for name, array in model.state_dict().items():
        assert not np.shares_memory(array, saved[name])
        assert np.array_equal(array + 1, saved[name])
    model.load_state_dict(saved)
    for array in saved.values():
        array += 1
    assert all(np.array_equal(a + 1, saved[k]) for k, a in model.state_dict().items())


@pytest.mark.parametrize("bad, error", [
    (np.full((3, 3), "x"), TypeError), (np.full((3, 3), 1j), TypeError),
    (np.full((3, 3), None), TypeError), (np.zeros((3, 2)), ValueError),
    ([[1, 2, 3], [4, 5]], ValueError),
])  # fmt: skip
def test_a_state_dict_that_cannot_be_taken_over_changes_nothing(bad, error):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    before = model.state_dict()
    after = {k: v + 1 for k, v in before.items()}
    for name in before:
        if name.endswith("W"):
            with pytest.raises(error):
                model.load_state_dict({**after, name: bad})
        assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


def test_an_array_cannot_take_a_parameter_out_of_training():
    linear = nn.Linear(2, 3)
    for wrong in (np.zeros((2, 3)), [[0.0]], 1.0):
        with pytest.raises(TypeError, match=r"Linear\.W: \w+ in the place of a parameter"):
            linear.W = wrong
    W = linear.W
    linear.W = nn.Parameter(np.zeros((2, 3)))
    assert len(linear.parameters()) == 2 and linear.W is not W
    with pytest.raises(TypeError, match=r"Linear\.W: a Tensor that requires no grad"):
        linear.W = Tensor(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"Linear\.W: a Tensor that requires no grad"), tg.no_grad():
        linear.W = linear.W * 2.0
    linear.W = linear.W * 2.0  # of a graph: gradients go on through it
    linear.b = None
    W.requires_grad = False
    linear.V = W
    with pytest.raises(TypeError, match=r"Linear\.V: ndarray"):
        linear.V = np.zeros((2, 3))


def test_sequential_takes_the_outputs_of_a_layer_and_gives_the_last_one_s_all():
    tg.manual_seed(0)
    gru, linear = nn.GRU(2, 3), nn.Linear(3, 4)
    model = nn.Sequential(gru, np.tanh, linear)
    xs = np.ones((2, 5, 2), "f")
    wanted = linear(np.tanh(gru(xs)[0]))
    assert np.array_equal(model(xs).detach().numpy(), wanted.detach().numpy())
    assert len(model) == 3 and model[0] is gru and list(model) == [gru, np.tanh, linear]
    assert model.parameters() == [*gru.parameters(), *linear.parameters()]
    hs, h = nn.Sequential(linear, nn.GRU(4, 3))(np.ones((2, 5, 3), "f"))
    assert hs.shape == (2, 5, 3) and h.shape == (2, 3)
    with pytest.raises(TypeError, match="Sequential: layer 1 is a int"):
        nn.Sequential(linear, 3)


def test_modules_are_shown_as_a_tree_and_as_a_table():
    model = nn.Sequential(nn.Embedding(5, 2), nn.LSTM(2, 3, dropout=0.5), nn.Linear(3, 5))
    model.tied, model.mean = model[0], nn.Buffer(np.zeros(3))
    model[2].b.requires_grad = False
    assert repr(model) == """\
Sequential, 102 parameters
  layers.0: Embedding, 10 parameters
    W (5, 2) float32
  layers.1: LSTM(directions=1, dropout=0.5), 72 parameters
    cells.0: LSTMCell, 72 parameters
      Wx (2, 12) float32
      Wh (3, 12) float32
      b (12,) float32
  layers.2: Linear, 20 parameters
    W (3, 5) float32
    b (5,) float32 frozen
  tied: shared with layers.0
  mean (3,) float64 buffer"""
    model[1].stateful = True
    before = [dict(vars(module)) for module in model.modules()]
    table = nn.summary(model, np.zeros((4, 7), int))
    assert [dict(vars(module)) for module in model.modules()] == before
    assert str(table) == """\
module                                                    parameters  output
Sequential                                                       102  (4, 7, 5)
layers.0: Embedding                                               10  (4, 7, 2)
layers.1: LSTM(directions=1, dropout=0.5, stateful=True)          72  (4, 7, 3), (4, 3), (4, 3)
layers.1.cells.0: LSTMCell                                        72
layers.2: Linear                                                  20  (4, 7, 5)
102 parameters, 97 of them trained; 3 numbers in buffers"""
    assert repr(table) == str(table) and "(4, 7, 5)" not in nn.summary(model)
    with pytest.raises(ValueError, match="inner sizes"):
        nn.summary(model[2], np.zeros((4, 7)))
    assert "forward" not in vars(model[2])


def test_a_module_that_knows_its_parent_is_walked_once():
    child = nn.Linear(2, 3)
    model = nn.Sequential(child)
    child.parent = model
    assert len(model.parameters()) == 2 and len(model.modules()) == 2
    assert "parent: shared with" in repr(model) or "parent" in repr(model)


@pytest.mark.parametrize("make, words", [
    (lambda: nn.LSTM(input_size=3, hidden_size=4), "LSTM: input_size= .* it is D, the first"),
    (lambda: nn.GRU(3, hidden_size=4), "GRU: hidden_size= .* it is H, the second"),
    (lambda: nn.LSTM(8), r"LSTM: H is missing, wanted LSTM\(D, H\)"),
    (lambda: nn.LSTM(), "LSTM: D and H are missing"),
    (lambda: nn.LSTM(3, 4, batch_first=True), "LSTM: batch_first= .* batches always come first"),
    (lambda: nn.RNN(3, 4, nonlinearity="relu"), "RNN: nonlinearity= .* activation="),
    (lambda: nn.GRU(3, 4, proj_size=2), "GRU: proj_size= is not known"),
    (lambda: nn.Recurrent(nn.LSTM(3, 4)), "Recurrent: cell 0 is a LSTM, a layer that runs over"),
    (lambda: nn.Recurrent(nn.Linear(3, 4))(np.ones((2, 5, 3))),
     "Recurrent: cell 0, a Linear, has no state_sizes"),
    (lambda: nn.Recurrent([nn.GRUCell(3, 4), np.tanh]), "Recurrent: cell 1 is a ufunc, wanted a"),
])  # fmt: skip
def test_what_other_libraries_call_it_is_told_in_the_words_of_this_one(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.parametrize("H", [0, -1, 2.5, "4"])
def test_sizes_are_whole_numbers_from_1(H):
    with pytest.raises(ValueError, match=r"LSTMCell: H = .*, wanted a whole number from 1"):
        nn.LSTM(4, H)
    with pytest.raises(ValueError, match="GRUCell: D = 0, wanted a whole number from 1"):
        nn.GRU(0, 4)


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


def test_dropout_lies_between_the_layers_of_a_stack_and_not_behind_it():
    class Copy(nn.Module):
        state_sizes = (50,)

        def forward(self, x, h):
            return x + 0 * h

    tg.manual_seed(0)
    xs = np.ones((4, 3, 50))
    assert (nn.Recurrent(Copy(), dropout=0.5)(xs)[0].numpy() == 1).all()
    two = nn.Recurrent([Copy(), Copy()], dropout=0.2)
    out = two(xs)[0].numpy()
    assert set(np.unique(out)) == {0, 1.25} and abs((out > 0).mean() - 0.8) < 0.1
    assert (two.eval()(xs)[0].numpy() == 1).all()
    layer = nn.Dropout()
    assert layer.p == 0.5 and set(np.unique(layer(xs).numpy())) == {0, 2}
    assert nn.LayerNorm(3).eps == 1e-5


@pytest.mark.parametrize("both", [False, True])
def test_a_layer_goes_on_from_the_state_that_it_gave(both):
    rng = np.random.default_rng(0)
    layer = nn.GRU(2, 3, 2, bidirectional=both, dtype=np.float64, rng=rng)
    xs, h = rng.normal(size=(2, 4, 2)), rng.normal(size=(4 if both else 2, 2, 3))
    hs, last = layer(xs, h)
    for k in range(2 if both else 1):  # the lowest layer by hand, each direction
        cell, state = layer.cells[k], Tensor(h[k])
        for x in np.moveaxis(xs[:, ::-1] if k else xs, 1, 0):
            state = cell(Tensor(x), state)
        assert_allclose(last.detach().numpy()[k], state.detach().numpy(), atol=1e-12)
    layer.stateful = True
    layer(xs)
    carried = layer.state
    assert not carried.requires_grad
    second = layer(xs)[0].detach().numpy()
    layer.reset_state()
    layer.stateful = False
    assert_allclose(layer(xs, carried)[0].detach().numpy(), second, atol=1e-13)
    assert not np.allclose(layer(xs)[0].detach().numpy(), second) and hs.shape[0] == 2
