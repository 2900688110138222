"""State dicts of PyTorch without PyTorch, against PyTorch."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import nn, no_grad
from tinygrad_rnn.interop import FormatError, from_state_dict, load_torch

torch = pytest.importorskip("torch", reason="pip install torch")

KINDS = ["RNN", "LSTM", "GRU"]
kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 2**32 - 1)


class Ours(nn.Module):
    """As people write theirs."""

    def __init__(self, kind="GRU", bias=True):
        options = {"reset": "after", "recurrent_bias": True} if kind == "GRU" else {}
        self.embed = nn.Embedding(7, 3)
        self.rnn = getattr(nn, kind)(3, 4, 2, bidirectional=True, **options)
        self.heads = [nn.Linear(8, 5), nn.LayerNorm(5)]
        self.cell = getattr(nn, f"{kind}Cell")(5, 6, **options)
        self.scale = nn.Parameter(np.zeros(2))

    def forward(self, ids):
        hs, _ = self.rnn(self.embed(ids))
        for head in self.heads:
            hs = head(hs)
        state = [np.zeros((len(ids), 6))] * len(self.cell.state_sizes)
        out = self.cell(hs[:, -1], *state)
        return (out[0] if isinstance(out, tuple) else out) * self.scale[0]


class Theirs(torch.nn.Module):
    def __init__(self, kind="GRU"):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 3)
        self.rnn = getattr(torch.nn, kind)(3, 4, 2, bidirectional=True, batch_first=True)
        self.heads = torch.nn.ModuleList([torch.nn.Linear(8, 5), torch.nn.LayerNorm(5)])
        self.cell = getattr(torch.nn, f"{kind}Cell")(5, 6)
        self.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
        with torch.no_grad():
            for p in self.parameters():
                p.normal_()

    def forward(self, ids):
        hs, _ = self.rnn(self.embed(ids))
        for head in self.heads:
            hs = head(hs)
        out = self.cell(hs[:, -1])
        return (out[0] if isinstance(out, tuple) else out) * self.scale[0]


def assert_same(ours, theirs):
    ids = np.arange(14).reshape(2, 7) % 7
    with no_grad():
        assert_allclose(ours(ids).numpy(), theirs(torch.tensor(ids)).detach(), 1e-4, 1e-5)


@pytest.fixture(params=["pth", "legacy", "safetensors", "pkl", "dict"])
def save(request, tmp_path):
    """A state dict as a source of every kind."""

    def save(state):
        path = tmp_path / f"model.{request.param}"
        if request.param == "dict":
            return state
        if request.param == "safetensors":
            pytest.importorskip("safetensors.torch").save_file(state, path)
        elif request.param == "pkl":
            path.write_bytes(pickle.dumps({k: v.numpy() for k, v in state.items()}))
        else:
            torch.save(state, path, _use_new_zipfile_serialization=request.param == "pth")
        return path

    return save


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_with_the_same_attributes(kind, save):
    torch.manual_seed(0)
    theirs, ours = Theirs(kind), Ours(kind)
    assert load_torch(ours, save(theirs.state_dict())) == ([], [])
    assert_same(ours, theirs)


@given(seeds, kinds, st.integers(1, 3), st.booleans(), st.booleans())
def test_layers_are_found_by_their_names(seed, kind, layers, bidirectional, bias):
    torch.manual_seed(seed)
    D, H = 3, 4
    theirs = getattr(torch.nn, kind)(D, H, layers, bidirectional=bidirectional, bias=bias,
                                     batch_first=True)  # fmt: skip
    state = {f"encoder.{name}": a for name, a in theirs.state_dict().items()}
    found = from_state_dict(state | {"encoder.other": torch.zeros(2)})
    assert list(found) == ["encoder"] and list(found.left) == ["encoder.other"]
    assert ("encoder" in found.notes) == (kind == "RNN")
    xs = torch.randn(2, 5, D)
    with no_grad():
        hs, _ = found["encoder"](xs.numpy())
        assert_allclose(hs.numpy(), theirs(xs)[0].detach(), 1e-4, 1e-6)
    assert list(from_state_dict(state, "encoder.")) == [""]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_found(kind):
    theirs = getattr(torch.nn, f"{kind}Cell")(3, 4)
    (cell,) = from_state_dict(theirs.state_dict()).values()
    assert type(cell) is getattr(nn, f"{kind}Cell")
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    state = (h, h) if kind == "LSTM" else (h,)
    out = theirs(x, state if kind == "LSTM" else h)
    out = out[0] if kind == "LSTM" else out
    with no_grad():
        ours = cell(x.numpy(), *(s.numpy() for s in state))
    assert_allclose((ours[0] if kind == "LSTM" else ours).numpy(), out.detach(), 1e-5, 1e-6)


def test_an_update_gate_that_weighs_the_new_state():
    theirs = Theirs("GRU")
    ours = Ours("GRU")
    ours.rnn = nn.GRU(3, 4, 2, bidirectional=True, reset="after", update="new", recurrent_bias=True)
    load_torch(ours, theirs.state_dict())
    assert_same(ours, theirs)


def test_what_is_left_is_listed_and_the_rest_comes(tmp_path):
    theirs, ours = Theirs(), Ours()
    state = {f"module.{name}": a for name, a in theirs.state_dict().items()}
    del state["module.rnn.weight_hh_l1_reverse"], state["module.heads.0.bias"]
    state["module.extra"] = torch.ones(1)
    before = {name: p.numpy().copy() for name, p in ours.named_parameters()}
    with pytest.raises(KeyError, match=r"missing .*heads.0.bias.*unexpected .*extra"):
        load_torch(ours, state, prefix="module.")
    assert all(np.array_equal(before[name], p.detach()) for name, p in ours.named_parameters())
    loaded = load_torch(ours, state, strict=False, prefix="module.")
    assert loaded.missing == ["rnn.weight_hh_l1_reverse", "heads.0.bias"]
    assert set(loaded.unexpected) == {"extra"}
    for name, p in ours.named_parameters():
        same = np.array_equal(before[name], p.detach())
        assert same == (name in ("heads.0.b", "rnn.cells.3.Wx", "rnn.cells.3.Wh", "rnn.cells.3.b",
                                 "rnn.cells.3.bh")), name  # fmt: skip


REFUSED = [
    (lambda ours, state: state.update({"heads.0.weight": torch.ones(2, 2)}), "heads.0.weight of"),
    (lambda ours, state: state.update({"rnn.weight_ih_l1": torch.ones(12, 5)}), "Wx of shape"),
    (lambda ours, state: state.update({"rnn.weight_hh_l1": torch.ones(13, 4)}), "those of no RNN"),
    (lambda ours, state: setattr(ours, "rnn", nn.GRU(3, 4, 2, bidirectional=True)), "another func"),
    (lambda ours, state: setattr(ours, "rnn", nn.LSTM(3, 4, 2, bidirectional=True)),
     "of a GRUCell, wanted LSTMCell"),
    (lambda ours, state: setattr(ours, "rnn", nn.GRU(3, 4, 2, True, reset="after")),
     "recurrent_bias=True"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_what_does_not_fit_changes_nothing(change, words):
    ours, state = Ours(), Theirs().state_dict()
    change(ours, state)
    before = {name: p.numpy().copy() for name, p in ours.named_parameters()}
    with pytest.raises(ValueError, match=words):
        load_torch(ours, state)
    assert all(np.array_equal(before[name], p.detach()) for name, p in ours.named_parameters())


@pytest.mark.parametrize(("change", "words"), [
    (lambda s: s.pop("a.weight_hh_l0"), "no weight_hh_l0"),
    (lambda s: s.pop("a.bias_hh_l0"), "one of two biases"),
    (lambda s: s.update({"a.weight_hh_l0": torch.ones(5, 4)}), "those of no RNN"),
    (lambda s: s.update({"a.weight_ih": torch.ones(5, 4)}), "a cell and of a layer"),
    (lambda s: s.update({"a.weight_ih_l9999": torch.ones(5, 4)}), "numbered to 10000"),
    (lambda s: s.update({"a.weight_ih_l1": torch.ones(16, 9)}), "reads 9 numbers, wanted 4"),
    (lambda s: s.update({"a.weight_ih_l0": torch.ones(16, 4).int()}), "int32, wanted floating"),
])  # fmt: skip
def test_a_bad_layer_does_not_cost_the_others(change, words):
    state = {f"{name}.{key}": a for name in "ab"
             for key, a in torch.nn.LSTM(4, 4, 2).state_dict().items()}  # fmt: skip
    change(state)
    with pytest.warns(UserWarning, match=words):
        found = from_state_dict(state)
    assert list(found) == ["b"] and list(found.left) == ["a"]


@pytest.mark.parametrize("save", ["pth", "legacy", "safetensors", "dict"], indirect=True)
def test_a_weight_that_numpy_does_not_have_is_told(save):
    state = torch.nn.LSTM(4, 4).state_dict()
    state["weight_hh_l0"] = state["weight_hh_l0"].to(torch.float8_e4m3fn)
    source = save(state)
    with pytest.warns(UserWarning, match=r"weight_hh_l0: .*[fF]loat8|weight_hh_l0: .*NumPy"):
        found = from_state_dict(source)
    assert not found and {"weight_hh_l0", ""} == set(found.left)
    with pytest.raises(KeyError, match=r"missing \['weight_hh_l0 \("):
        load_torch(nn.LSTM(4, 4), source)


def test_buffers_and_frozen_parameters_are_filled():
    class Normalised(nn.Module):
        def __init__(self):
            self.running_mean, self.weight = nn.Buffer(np.zeros(2)), nn.Parameter(np.zeros(2))
            self.weight.requires_grad = False

    ours = Normalised()
    state = {"weight": torch.ones(2), "running_mean": torch.tensor([1.0, 2.0])}
    assert load_torch(ours, state) == ([], [])
    assert ours.weight.numpy().tolist() == [1, 1] and ours.running_mean.numpy().tolist() == [1, 2]


def test_a_state_dict_inside_of_a_checkpoint():
    state = torch.nn.LSTM(3, 4).state_dict()
    found = from_state_dict({"epoch": 3, "model": {"encoder": state}})
    assert list(found) == ["model.encoder"]
    assert load_torch(nn.LSTM(3, 4), {"model": state}, prefix="model.") == ([], [])


def test_weights_that_are_no_numbers_are_told():
    state = torch.nn.Linear(2, 3).state_dict()
    state["bias"][1] = np.nan
    with pytest.warns(UserWarning, match="bias holds 1 NaN"):
        load_torch(nn.Linear(2, 3), state)


def test_a_prefix_that_nothing_has():
    with pytest.raises(FormatError, match=r"no name begins with 'encoder.'; there are weight"):
        from_state_dict(torch.nn.Linear(2, 3).state_dict(), "encoder.")
