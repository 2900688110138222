"""The library on arrays that are not NumPy's: every rule, layer, loss, optimizer and model on those
of ``device.py``, which behave as a GPU's do; and how often something goes over the bus."""

import importlib
import json
import pkgutil
from pathlib import Path
from types import SimpleNamespace

import customs
import numpy as np
import pytest
import samplers
from device import Device, Generator, crossings, to_device
from numpy.testing import assert_allclose
from test_rules import CASES, sample

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
from tinygrad_rnn import Tensor, distributed, nn, optim
from tinygrad_rnn import functional as F
from tinygrad_rnn.optim import clip_grad_norm_
from tinygrad_rnn.tensor import beside, host

LIBRARY = SimpleNamespace(asarray=to_device)


def on_device(x):
    return isinstance(x._held if isinstance(x, Tensor) else x, Device)


@pytest.fixture(autouse=True)
def count():
    crossings.clear()


def outcome(fn, xs, g):
    """The value and the gradients, as arrays of the host."""
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    y = fn(*leaves)
    found = tg.grad(y, leaves, g, allow_unused=True)
    return [y, *found]


class MadeThere:
    """NumPy, for samplers: what it makes of numbers lies on the device."""

    made = frozenset(["array", "asarray", "eye", "arange", "zeros", "ones", "full", "tri"])

    def __getattr__(self, name):
        f = getattr(np, name)
        if name not in self.made:
            return f
        return lambda *args, **kwargs: f(*args, **kwargs) if any(
            isinstance(x, (Tensor, Device)) for x in args) else to_device(f(*args, **kwargs))


def moved(x):
    if isinstance(x, (tuple, list)):
        return type(x)(map(moved, x))
    return MadeThere() if x is np else to_device(x) if isinstance(x, np.ndarray) else x


@pytest.fixture
def samplers_there(monkeypatch):
    """The constants of samplers lie on the device."""
    for room in pkgutil.iter_modules(samplers.__path__, "samplers."):
        module = importlib.import_module(room.name)
        for name, value in list(vars(module).items()):
            if value is np or isinstance(value, np.ndarray):
                monkeypatch.setattr(module, name, moved(value))
    for case in CASES:
        for cell in getattr(case.values[0], "__closure__", None) or ():
            if isinstance(cell.cell_contents, tuple):
                monkeypatch.setattr(cell, "cell_contents", moved(cell.cell_contents))


@pytest.mark.parametrize("fn, shapes, domain", CASES)
def test_every_rule(fn, shapes, domain, request):
    xs, rng = sample(1, shapes, domain)
    g = rng.normal(size=fn(*map(Tensor, xs)).shape)
    expected = outcome(fn, xs, g)
    request.getfixturevalue("samplers_there")
    ours = outcome(fn, [to_device(x) for x in xs], to_device(g))
    for a, b in zip(ours, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert on_device(a)
            assert_allclose(host(a), host(b), rtol=1e-9, atol=1e-12)


LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, dtype=float), "lstm": lambda: nn.LSTM(3, 4, dtype=float),
    "gru": lambda: nn.GRU(3, 4, dtype=float),
    "gru after": lambda: nn.GRU(3, 4, reset="after", recurrent_bias=True, dtype=float),
    "two directions": lambda: nn.LSTM(3, 4, 2, bidirectional=True, residual=True, dtype=float),
    "stateful": lambda: nn.GRU(3, 4, stateful=True, dtype=float),
}  # fmt: skip


@pytest.mark.parametrize("lengths", [None, [5, 2, 0]])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers(name, lengths):
    xs = np.random.default_rng(0).normal(size=(3, 5, 3))
    found = []
    for move in (lambda x: x, to_device):
        tg.manual_seed(1)
        layer = LAYERS[name]()
        if move is to_device:
            layer.to(LIBRARY)
        for _ in range(2):
            hs, _ = layer(move(xs), lengths=lengths)
            (hs * hs).sum().backward()
        assert on_device(hs) == (move is to_device)
        found.append([hs, *(p.grad for p in layer.parameters())])
    for a, b in zip(*found, strict=True):
        assert_allclose(host(a.detach()), host(b.detach()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "additive"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention(score, masked):
    rng = np.random.default_rng(0)
    query, keys = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))
    mask = np.arange(5) < np.array([[2], [5]]) if masked else None
    sized = {"H": 4, "dtype": float} if score in ("general", "additive") else {}
    layer = nn.Attention(score, **sized)
    expected = layer(query, keys, mask=mask)
    layer.to(LIBRARY)
    for a, b in zip(layer(to_device(query), to_device(keys), mask=mask), expected, strict=True):
        assert on_device(a)
        assert_allclose(host(a.detach()), b.detach().numpy(), rtol=1e-12)


FUNCTIONS = {
    "sigmoid": F.sigmoid, "softmax": F.softmax, "log_softmax": F.log_softmax, "relu": F.relu,
    "logsumexp": F.logsumexp,
    "cross_entropy": lambda x: F.cross_entropy(x, np.array([0, -1, 3])),
    "binary": lambda x: F.binary_cross_entropy_with_logits(x, np.eye(3, 4)),
    "dropout": lambda x: F.dropout(x, 0.5, True, np.random.default_rng(0)),
    "embedding": lambda x: F.embedding(x, [[2, 0], [2, 2]]),
    "layer_norm": lambda x: F.layer_norm(x, beside(np.ones(4), x.data), beside(np.ones(4), x.data)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, np.tri(3, dtype=bool)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_to_the_second_order(name):
    x = np.random.default_rng(0).normal(size=(3, 4))
    found = []
    for value in (x, to_device(x)):
        leaf = Tensor(value, requires_grad=True)
        y = (FUNCTIONS[name](leaf) ** 2).sum()
        (first,) = tg.grad(y, [leaf], create_graph=True)
        (second,) = tg.grad((first**3).sum(), [leaf])
        found.append([y.detach(), first.detach(), second])
    assert all(map(on_device, found[1]))
    for a, b in zip(*found, strict=True):
        assert_allclose(host(a), host(b), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_ignored_may_hold_anything(hidden):
    logits = np.random.default_rng(0).normal(size=(3, 4))
    logits[1] = hidden
    slopes = []
    for value in (logits, to_device(logits)):
        x = Tensor(value, requires_grad=True)
        slopes.append(host(tg.grad(F.cross_entropy(x, np.array([0, -1, 3])), x)))
    assert not np.any(slopes[1][1])
    assert_allclose(slopes[1], slopes[0], rtol=1e-12)


def test_ids_are_checked_before_they_move():
    weight = Tensor(to_device(np.ones((3, 2))))
    crossings.clear()
    with pytest.raises(IndexError, match="ids from 0 to 3"):
        F.embedding(weight, [0, 3])
    assert not crossings
    with pytest.raises(IndexError, match="ids from 0 to 3"):
        F.embedding(weight, to_device([0, 3]))


OPTIMIZERS = {
    "sgd": lambda ps: optim.SGD(ps, 0.1), "momentum": lambda ps: optim.Momentum(ps, 0.1),
    "nesterov": lambda ps: optim.Nesterov(ps, 0.1, weight_decay=0.1),
    "adagrad": optim.AdaGrad, "rmsprop": optim.RMSprop, "adam": optim.Adam,
    "book's adam": lambda ps: optim.Adam(ps, book=True), "adamw": optim.AdamW,
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_of_training_brings_ids_in_and_a_loss_out(name):
    rng = np.random.default_rng(0)
    xs, ts = rng.integers(0, 9, (2, 4, 6))
    found = []
    for move in (False, True):
        tg.manual_seed(1)
        model = Rnnlm(9, 5, 6, dtype=float)
        if move:
            model.to(LIBRARY)
        optimizer = OPTIMIZERS[name](model.parameters())
        for _ in range(3):
            crossings.clear()
            loss = model.loss(xs, ts)
            loss.backward()
            clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            value = loss.item()
        went = dict(crossings)
        found.append([value, *model.state_dict().values()])
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    # ids of inputs and of targets, and which of these count; then the loss
    assert went == {"in": 3, "out": 1}


def test_a_tensor_of_the_host_that_is_filled_goes_to_the_device():
    states, x = Tensor(np.zeros((3, 2))), Tensor(to_device(np.ones(2)), requires_grad=True)
    crossings.clear()
    for t in range(3):
        states[t] = x * (t + 1)
    assert on_device(states) and crossings.total() == 1, crossings
    (states * states).sum().backward()
    assert_allclose(host(x.grad.data), [28, 28])


def test_generators_of_the_device_draw_there():
    rng = Generator(0)
    crossings.clear()
    layers = [nn.Linear(3, 4, rng=rng), nn.Dropout(0.5, rng=rng)]
    assert on_device(layers[0].W) and on_device(nn.LSTM(3, 4, rng=rng).cells[0].Wh)
    ours = layers[1](Tensor(to_device(np.ones((50, 8)))))
    assert set(np.unique(host(ours))) == {0, 2}
    assert crossings == {"in": 1, "out": 1}  # the ones, and what is looked at
    x = to_device(np.ones((2, 3)))
    with pytest.raises(tg.JitError):  # a replay cannot put it back
        tg.jit(layers[1])(x)
    assert on_device(tg.jit(layers[1], fallback="eager")(x))


@pytest.mark.parametrize("recorded", [False, True])
def test_gradients_of_ranks_cross_once_there_and_once_back(recorded, monkeypatch):
    """The other rank of two has a gradient of zeros, and a third of the weight."""
    def with_another(buffer):
        total = buffer * 1.5
        total[: total.size - 3] /= 1.5
        total[-3:-1] = 2  # both have both parameters
        return total

    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(distributed, "_sum_over_ranks", with_another)
    found = []
    for move in (False, True):
        tg.manual_seed(0)
        model = nn.Linear(3, 2, dtype=float)
        xs = np.random.default_rng(0).normal(size=(4, 3))
        if move:
            model, xs = model.to(LIBRARY), to_device(xs)
        sgd = optim.SGD(model.parameters(), 0.5)

        def step(xs, model=model, sgd=sgd):
            np.mean(model(xs) ** 2).backward()
            distributed.average_gradients(model.parameters())
            sgd.step()
            sgd.zero_grad()

        step = tg.jit(step) if recorded and move else step
        for _ in range(5):
            crossings.clear()
            step(xs)
        went = dict(crossings)
        found.append(model.state_dict().values())
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-12)
    assert went == {"in": 1 + recorded, "out": 1}  # the rate, which may change


MODELS = {
    "simple": lambda: SimpleRnnlm(9, 4, 4, dtype=float), "rnnlm": lambda: Rnnlm(9, 4, 4),
    "better": lambda: BetterRnnlm(9, 4, 4, dtype=float), "seq2seq": lambda: Seq2seq(9, 4, 4),
    "peeky": lambda: PeekySeq2seq(9, 4, 4), "attention": lambda: AttentionSeq2seq(9, 4, 4),
    "feeding": lambda: AttentionSeq2seq(9, 4, 4, bidirectional=True, input_feeding=True),
    "deep": lambda: DeepAttentionSeq2seq(9, 4, 4),
}  # fmt: skip


# What a step brings in: ids (of both sequences), targets, which of these count; three masks of
# dropout; the order of steps and rows, where a layer goes backwards.
BROUGHT = {"simple": 3, "rnnlm": 3, "better": 3 + 3, "seq2seq": 4, "peeky": 4, "attention": 4,
           "feeding": 4 + 2, "deep": 4}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_crossings_of_a_step_of_each_model(name):
    xs, ts = np.random.default_rng(0).integers(0, 9, (2, 4, 6))
    model = MODELS[name]().to(LIBRARY)
    adam = optim.Adam(model.parameters())
    for _ in range(3):
        crossings.clear()
        loss = model.loss(xs, ts)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        assert crossings == {"in": BROUGHT[name]}
        loss.item()
        assert crossings["out"] == 1


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_save_and_generate(name):
    xs, ts = np.random.default_rng(0).integers(0, 9, (2, 4, 6))
    found = []
    for move in (False, True):
        tg.manual_seed(1)
        model = MODELS[name]()
        if move:
            model.to(LIBRARY)
        adam = optim.Adam(model.parameters(), 0.05)
        for _ in range(3):
            loss = model.loss(xs, ts)
            loss.backward()
            adam.step()
            adam.zero_grad()
        model.eval()
        if isinstance(model, Seq2seq):
            written = model.generate(xs, 0, 5)
        else:
            written = model.generate(3, 8, temperature=0)
        assert isinstance(written, np.ndarray)
        saved = model.state_dict()
        adam.load_state_dict(adam.state_dict())
        model.load_state_dict(saved)
        assert all(type(a) is np.ndarray for a in saved.values())
        assert all(on_device(p) == move for p in model.parameters())
        found.append([loss.item(), written, *saved.values()])
    for a, b in zip(*found, strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert not any(map(on_device, model.to(np).parameters()))


def test_the_program_for_a_gpu_runs_on_the_double(monkeypatch, tmp_path, capsys):
    import sys

    from benchmarks import gpu

    monkeypatch.setitem(sys.modules, "double", SimpleNamespace(asarray=to_device, __version__="1"))
    assert gpu.main(["--library", "double", "--quick", "--json", str(tmp_path / "gpu.json")]) == 0
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert results.keys() == {"rnnlm", "better", "addition", "date", "own cell"}
    for result in results.values():
        assert result["difference"] < gpu.AGREE and result["eager"] > 0
        assert result["recorded"] > 0
    assert "DISAGREES" not in capsys.readouterr().out


def test_what_is_exempt_is_there():
    """Of the files that ``pytest --device`` runs."""
    text = "".join(Path(customs.HERE, f"{name}.py").read_text() for name in customs.FILES)
    assert all(f"def {name.partition('[')[0]}(" in text for name in customs.EXEMPT)
