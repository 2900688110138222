"""Layers of PyTorch against what from_torch makes of them, and layers of ours against to_torch."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.interop import (
    from_onnx,
    from_state_dict,
    from_torch,
    load_safetensors,
    load_torch,
    save_safetensors,
    to_torch,
)

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed: pip install torch", allow_module_level=True)
import torch

torch.set_num_threads(1)  # everything here is small
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(*[st.integers(1, 4)] * 4)
KINDS = ("RNN", "LSTM", "GRU")
FORMS = {
    "RNN": [{}],
    "LSTM": [{}],
    "GRU": [{"reset": "after", "update": update, "recurrent_bias": bias}
            for update in ("old", "new") for bias in (False, True)],
}  # fmt: skip
ALL_FORMS = [(kind, options) for kind in KINDS for options in FORMS[kind]]


def draw(module, rng):
    """Weights that are not small, and no bias that is zero."""
    for p in module.parameters():
        values = rng.normal(size=tuple(p.shape))
        p.data = torch.from_numpy(values).to(p.dtype) if isinstance(p, torch.Tensor) else values
    return module


def agree(ours, theirs, inputs, rng, like_ours=lambda state: state):
    """Outputs, and gradients of all inputs, from the same random cotangents, in float64."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    ys = [torch.from_numpy(x).requires_grad_() for x in inputs]
    outs, expected = ours(*xs), theirs(*ys)
    assert len(outs) == len(expected)
    loss, target = 0, 0
    for a, b in zip(outs, expected, strict=True):
        assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-12)
        g = rng.normal(size=a.shape)
        loss, target = loss + (a * g).sum(), target + (b * torch.from_numpy(g)).sum()
    loss.backward()
    target.backward()
    for x, y in zip(xs, ys, strict=True):
        assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=0, atol=1e-12 * scale(y.grad))


def scale(gradient):
    return max(1, float(gradient.abs().max()))


def compare_recurrent(ours, theirs, rng, N, T):
    """A stack of ours, called as the one of PyTorch is called."""
    D, H, cells = ours.cells[0].Wx.shape[0], ours.cells[0].Wh.shape[0], len(ours.cells)
    states = len(ours.cells[0].state_sizes)

    def run_ours(xs, *state):
        state = state if cells > 1 else [s[0] for s in state]
        hs, final = ours(xs, tuple(state) if states > 1 else state[0])
        final = final if isinstance(final, tuple) else (final,)
        return hs, *(final if cells > 1 else [f[None] for f in final])

    def run_theirs(xs, *state):
        hs, final = theirs(xs, tuple(state) if states > 1 else state[0])
        return hs, *(final if isinstance(final, tuple) else (final,))

    inputs = [rng.normal(size=(N, T, D)), *(rng.normal(size=(cells, N, H)) for _ in range(states))]
    agree(run_ours, run_theirs, inputs, rng)


def compare_parameter_gradients(ours, theirs):
    """A layer whose weights are the gradients, converted, against the gradients of PyTorch."""
    state = {name: p.grad.numpy() for name, p in ours.named_parameters()}
    ours.load_state_dict(state)
    gradients = dict(to_torch(ours).named_parameters())
    for name, p in theirs.named_parameters():
        if name.startswith("bias_hh"):  # b is the sum of both: it has the gradient of either
            came, wanted = gradients[name].detach(), p.grad
            rows = slice(0, None)
            if isinstance(theirs, (torch.nn.GRU, torch.nn.GRUCell)):
                rows = slice(len(wanted) // 3 * 2, None)
            else:
                came = gradients[name.replace("hh", "ih")].detach()
            assert_allclose(came[rows], wanted[rows], rtol=0, atol=1e-12 * scale(p.grad))
        else:
            assert_allclose(gradients[name].detach(), p.grad, rtol=0, atol=1e-12 * scale(p.grad))


@pytest.mark.parametrize("kind", KINDS)
@given(seeds, sizes, st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_recurrent_from_torch(kind, seed, sizes, layers, bidirectional, bias, batch_first):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    theirs = draw(getattr(torch.nn, kind)(
        D, H, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional,
        dtype=torch.float64), rng)  # fmt: skip
    ours = from_torch(theirs)
    theirs.batch_first = True  # the weights do not know
    assert type(ours) is getattr(nn, kind)
    compare_recurrent(ours, theirs, rng, N, T)
    if bias:
        compare_parameter_gradients(ours, theirs)


@pytest.mark.parametrize(("kind", "options"), ALL_FORMS)
@given(seeds, sizes, st.integers(1, 3), st.booleans())
def test_recurrent_to_torch_and_back(kind, options, seed, sizes, layers, bidirectional):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    ours = draw(getattr(nn, kind)(D, H, layers, bidirectional, dtype=np.float64, **options), rng)
    theirs = to_torch(ours)
    compare_recurrent(ours, theirs, rng, N, T)
    compare_recurrent(from_torch(theirs), theirs, rng, N, T)


@pytest.mark.parametrize(("kind", "options"), ALL_FORMS)
@given(seeds, sizes)
def test_cells(kind, options, seed, sizes):
    rng, (N, _, D, H) = np.random.default_rng(seed), sizes
    ours = draw(getattr(nn, kind + "Cell")(D, H, dtype=np.float64, **options), rng)
    theirs = to_torch(ours)
    assert type(theirs) is getattr(torch.nn, kind + "Cell")
    inputs = [rng.normal(size=(N, D)), *(rng.normal(size=(N, H)) for _ in ours.state_sizes)]

    def both(cell):
        def run(x, *state):
            out = cell(x, *state) if cell is not theirs else theirs(
                x, state if len(state) > 1 else state[0])
            return out if isinstance(out, tuple) else (out,)
        return run

    agree(both(ours), both(theirs), inputs, rng)
    agree(both(from_torch(theirs)), both(theirs), inputs, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_outputs(kind):
    """In the precision of use, over many steps: a wider layer, 1e-6."""
    theirs = getattr(torch.nn, kind)(20, 30, 2, batch_first=True, bidirectional=True)
    xs = np.random.default_rng(0).normal(size=(5, 25, 20)).astype(np.float32)
    for module in (theirs, to_torch(from_torch(theirs))):
        hs, _ = from_torch(module)(Tensor(xs))
        assert hs.dtype == np.float32
        expected = module(torch.from_numpy(xs))[0].detach()
        assert_allclose(hs.detach().numpy(), expected, rtol=0, atol=1e-6)


@given(seeds, sizes, st.booleans())
def test_linear_layer_norm_and_embedding(seed, sizes, bias):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    D += 1  # one number has no variance
    x, ids = rng.normal(size=(N, T, D)), rng.integers(0, D, (N, T))
    pairs = [
        (torch.nn.Linear(D, H, bias, dtype=torch.float64), x),
        (torch.nn.LayerNorm(D, 1e-3, bias=bias, dtype=torch.float64), x),
        (torch.nn.Embedding(D, H, dtype=torch.float64), ids),
    ]
    for theirs, value in pairs:
        draw(theirs, rng)
        ours = from_torch(theirs)
        again = to_torch(ours)
        assert type(ours).__name__ == type(theirs).__name__ == type(again).__name__
        for module in (theirs, again):
            module.zero_grad()
            ours.zero_grad()
            if value is ids:
                a, b = ours(ids), module(torch.from_numpy(ids))
                assert_allclose(a.detach().numpy(), b.detach(), rtol=0, atol=1e-12)
                g = rng.normal(size=a.shape)
                (a * g).sum().backward()
                (b * torch.from_numpy(g)).sum().backward()
            else:
                agree(lambda t, f=ours: [f(t)], lambda t, f=module: [f(t)], [value], rng)
        for p, q in zip(ours.parameters(), again.parameters(), strict=True):
            expected = q.grad.T if type(ours) is nn.Linear and p.ndim == 2 else q.grad
            assert_allclose(p.grad.numpy(), expected, rtol=0, atol=1e-12 * scale(q.grad))


def test_weights_are_copies_and_modes_are_kept():
    theirs = torch.nn.LSTM(2, 3, 2, dropout=0.5).eval()
    ours = from_torch(theirs)
    assert not ours.training and ours.dropout == 0.5 and not to_torch(ours).training
    before = ours.state_dict()
    with torch.no_grad():
        for p in theirs.parameters():
            p.zero_()
    for name, value in ours.state_dict().items():
        assert np.array_equal(value, before[name])
    again = to_torch(ours)
    ours.cells[0].Wx.data[...] = 0
    assert again.weight_ih_l0.abs().min() > 0


def test_converting_draws_no_random_number_of_the_user():
    tg.manual_seed(3)
    nn.Linear(2, 2)
    expected = tg.random.generator().random()
    tg.manual_seed(3)
    nn.Linear(2, 2)
    for module in (torch.nn.Linear(2, 2), torch.nn.Embedding(2, 2), torch.nn.LSTMCell(2, 2)):
        from_torch(module)
    assert tg.random.generator().random() == expected


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its exporter that knows LSTM nodes
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_files_of_torch(kind, tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx")
    theirs = getattr(torch.nn, kind)(3, 4, 2, bidirectional=True).eval()
    xs = torch.randn(5, 2, 3)
    torch.onnx.export(theirs, (xs,), tmp_path / "model.onnx", dynamo=False, opset_version=17)
    hs = Tensor(xs.numpy().swapaxes(0, 1))
    for layer in from_onnx(tmp_path / "model.onnx").values():
        hs, _ = layer(hs)
    expected = theirs(xs)[0].detach().numpy().swapaxes(0, 1)
    assert_allclose(hs.detach(), expected, rtol=0, atol=1e-6)


REFUSED_BY_TO_TORCH = [
    (lambda: nn.GRU(2, 3), ValueError, r'reset="before".*reset="after"\) can be converted'),
    (lambda: nn.GRUCell(2, 3), ValueError, 'reset="before"'),
    (lambda: nn.LSTM(2, 2, residual=True), ValueError, "no skip connections"),
    (lambda: nn.LSTM([nn.LSTMCell(2, 3), nn.LSTMCell(3, 4)]), ValueError, r"H = \[3, 4\]"),
    (lambda: nn.LSTM([nn.LSTMCell(2, 3), nn.RNNCell(3, 3)]), TypeError, "LSTMCell, RNNCell"),
    (lambda: nn.Attention(), TypeError, "to_torch: Attention"),
]
REFUSED_BY_TO_TORCH += [
    (lambda: nn.LSTM(2, 3, recurrent_dropout=0.5), ValueError, "recurrent_dropout=0.5"),
    (lambda: nn.LSTMCell(2, 3, proj_size=2), ValueError, "an LSTM of it can be converted"),
    (lambda: nn.RNN([nn.RNNCell(2, 3), nn.RNNCell(3, 3, "relu")]), ValueError, "one form for all"),
]
REFUSED_BY_FROM_TORCH = [
    (lambda: torch.nn.Embedding(2, 3, padding_idx=0), ValueError, "padding_idx=0"),
    (lambda: torch.nn.Embedding(2, 3, max_norm=1.0), ValueError, "max_norm=1.0"),
    (lambda: torch.nn.LayerNorm((2, 3)), ValueError, r"LayerNorm over \(2, 3\)"),
    (lambda: torch.nn.Conv1d(1, 1, 1), TypeError, "from_torch: Conv1d, wanted one of"),
]


@given(seeds, st.integers(1, 3), st.booleans(), st.sampled_from(["proj_size", "relu"]))
def test_projections_and_relu_both_ways(seed, layers, bidirectional, what):
    rng = np.random.default_rng(seed)
    kind, options = (torch.nn.LSTM, {"proj_size": 2}) if what == "proj_size" else (
        torch.nn.RNN, {"nonlinearity": "relu"})  # fmt: skip
    theirs = draw(kind(3, 4, layers, bidirectional=bidirectional, batch_first=True,
                       dtype=torch.float64, **options), rng)  # fmt: skip
    xs = rng.normal(size=(2, 5, 3))
    expected, final = theirs(torch.from_numpy(xs))
    final = final if isinstance(final, tuple) else (final,)
    layers_of_ours = [from_torch(theirs)]
    if what == "proj_size":
        layers_of_ours += from_state_dict(theirs.state_dict()).values()
        filled = nn.LSTM(3, 4, layers, bidirectional, proj_size=2, dtype=np.float64)
        assert load_torch(filled, theirs.state_dict()) == ([], [])
        layers_of_ours.append(filled)
    for ours in layers_of_ours:
        hs, state = ours(xs)
        size = max(1.0, float(expected.detach().abs().max()))
        assert_allclose(hs.detach(), expected.detach(), rtol=0, atol=1e-12 * size)
        for a, b in zip(state if isinstance(state, tuple) else (state,), final, strict=True):
            b = b.detach().numpy()
            assert_allclose(a.detach().numpy().reshape(b.shape), b, rtol=0, atol=1e-12 * size)
        back, _ = to_torch(ours)(torch.from_numpy(xs))
        assert_allclose(back.detach(), expected.detach(), rtol=0, atol=1e-12 * size)


def test_a_cell_with_relu():
    theirs = torch.nn.RNNCell(3, 4, nonlinearity="relu")
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    for cell in (from_torch(theirs), from_torch(to_torch(from_torch(theirs)))):
        assert cell.activation == "relu"
        assert_allclose(cell(x.numpy(), h.numpy()).detach(), theirs(x, h).detach(), atol=1e-6)


@pytest.mark.parametrize(("make", "error", "message"), REFUSED_BY_TO_TORCH)
def test_what_torch_cannot_express_is_named(make, error, message):
    with pytest.raises(error, match=message):
        to_torch(make())


@pytest.mark.parametrize(("make", "error", "message"), REFUSED_BY_FROM_TORCH)
def test_what_we_cannot_express_is_named(make, error, message):
    with pytest.raises(error, match=message):
        from_torch(make())


def test_what_is_taken_for_something_else_is_told(tmp_path):
    layer, state = nn.LSTM(3, 4), torch.nn.LSTM(3, 4).state_dict()
    half = torch.nn.LSTM(3, 4).bfloat16()  # NumPy has no such dtype
    assert from_torch(half).cells[0].Wx.dtype == np.float32
    for call, said in ((lambda: load_torch("lstm", state), "load_torch: a str came"),
                       (lambda: load_safetensors("a", layer), "load_safetensors: a str came"),
                       (lambda: from_state_dict([1]), "path of a file is wanted, list came"),
                       (lambda: from_onnx(3), "path of a file is wanted, int came")):
        with pytest.raises(TypeError, match=said):
            call()
    with pytest.raises(FileNotFoundError) as missing:
        save_safetensors(layer, tmp_path / "none" / "a.safetensors")
    assert missing.value.filename == str(tmp_path / "none" / "a.safetensors")


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_a_tensor_of_pytorch_in_an_expression_is_told_apart():
    for call in (lambda x, y: x * y, lambda x, y: y + x, np.maximum):
        with pytest.raises(TypeError, match=r"torch\.Tensor came, wanted np\.ndarray"):
            call(Tensor([1.0, 2.0]), torch.ones(2))
