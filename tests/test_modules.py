"""Modules: what they find, save, show, and refuse."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn import functional as F


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


class Named(nn.Module):
    """Has no __init__."""


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
    (lambda: nn.GRU(3, 4, proj_size=2), "GRU: proj_size= is not known, wanted D, H, .*, reset, u"),
    (lambda: nn.Linear(in_features=3, out_features=4), "Linear: in_features= .* D, the first"),
    (lambda: nn.Embedding(9, embedding_dim=4), "Embedding: embedding_dim= .* D, the second"),
    (lambda: nn.LayerNorm(3, elementwise_affine=False), "LayerNorm: .* always gamma and beta"),
    (lambda: nn.Dropout(0.1, inplace=True), "Dropout: inplace= .* x is never edited"),
    (lambda: nn.Recurrent(cell=nn.LSTMCell(3, 4)), "Recurrent: cell= is not known, wanted cells,"),
    (lambda: Named(1), "Named takes no arguments"),
    (lambda: Named(size=1), "Named takes no arguments"),
    (lambda: nn.Recurrent(nn.LSTM(3, 4)), "Recurrent: cell 0 is a LSTM, a layer that runs over"),
    (lambda: nn.Recurrent(nn.Linear(3, 4))(np.ones((2, 5, 3))),
     "Recurrent: cell 0, a Linear, has no state_sizes"),
    (lambda: nn.Recurrent([nn.GRUCell(3, 4), np.tanh]), "Recurrent: cell 1 is a ufunc, wanted a"),
    (lambda: nn.Linear(3, 4).to("cuda"), "Linear.to: 'cuda' came, wanted a library of arrays"),
    (lambda: nn.Linear(3, 4).load_state_dict([1]), "Linear.load_state_dict: a list came, wanted"),
    (lambda: tg.checkpoint(np.tanh, 1.0), r"checkpoint: the function alone .* checkpoint\(f\)\("),
    (lambda: tg.distributed.average_gradients(nn.Linear(3, 4)), "average_gradients: a Linear"),
    (lambda: tg.distributed.broadcast(nn.Linear(3, 4).parameters()), "broadcast: a list came"),
    (lambda: tg.grad(np.sum, tg.Tensor([1.0, 2.0])), r"grad: .* a function stands alone"),
])  # fmt: skip
def test_what_other_libraries_call_it_is_told_in_the_words_of_this_one(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_attributes_that_a_module_does_not_have():
    class Broken(nn.Module):
        @property
        def size(self):
            return self.sizes[0]

    for name, here in (("weight", "W"), ("bias", "b"), ("cuda", r"to\(cupy\)")):
        with pytest.raises(AttributeError, match=f"^Linear.{name}: no such .* here it is {here}$"):
            getattr(nn.Linear(3, 4), name)
    with pytest.raises(AttributeError, match="sizes"):  # what is missing, and not what asked
        Broken().size  # noqa: B018


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "4"])
def test_sizes_are_whole_numbers_from_1(size):
    for make, names in ((nn.Linear, "DH"), (nn.Embedding, "VD"), (nn.LSTM, "DH"), (nn.GRU, "DH")):
        for name, sizes in zip(names, ((size, 3), (3, size)), strict=True):
            with pytest.raises(ValueError, match=f": {name} = {size!r}, wanted a whole number"):
                make(*sizes)


def test_sizes_at_their_bounds():
    for i in (0, 2):
        W = nn.Embedding(3, 2, padding_idx=i).W.numpy()
        assert [bool(row.any()) for row in W] == [k != i for k in range(3)]
    for i in (-1, 3):
        with pytest.raises(IndexError, match=f"padding_idx={i}"):
            nn.Embedding(3, 2, padding_idx=i)
    for size in (-1, 3):
        with pytest.raises(ValueError, match=f"proj_size={size}"):
            nn.LSTMCell(2, 3, size)
    assert [cell.state_sizes for cell in nn.RNN(2, [3, 4], num_layers=2).cells] == [(3,), (4,)]
    for H, num_layers in (([3, 4], 3), ([3, 4], 1), ([], None)):
        with pytest.raises(ValueError, match="widths for"):
            nn.RNN(2, H, num_layers)
    additive = nn.Attention("additive", H=3, K=5)
    assert (additive.Wq.shape, additive.Wk.shape, additive.v.shape) == ((3, 3), (5, 3), (3,))
    assert nn.Attention("additive", H=3, A=4).Wk.shape == (3, 4)


@pytest.mark.parametrize("make", [
    lambda: nn.Linear(2, 3, rng=0), lambda: nn.LSTM(2, 3, rng=0), lambda: nn.Dropout(0.5, rng=0),
    lambda: tg.functional.dropout(np.ones(3), rng=0),
    lambda: nn.Embedding(2, 3, rng="0"),
])  # fmt: skip
def test_a_seed_is_no_generator(make):
    with pytest.raises(TypeError, match=r"rng: .* came, wanted a generator"):
        make()
