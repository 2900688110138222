"""Layers over time: padding, sequences inside of sequences, and all forms that layers have."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_problems import arrays, problems, seeds
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn


class Direction(nn.Module):
    """A cell of one's own that takes neither zeros nor ones: it looks at a direction alone."""

    def __init__(self, D, H, rng):
        self.W, self.state_sizes = nn.Parameter(rng.normal(size=(D, H))), (H,)

    def forward(self, x, h):
        x = x - x * x
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
