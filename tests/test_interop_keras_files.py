"""Files of Keras, against Keras; stacked cells, several layers and cuDNN's arrays."""

import importlib.util
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import nn, no_grad
from tinygrad_rnn.interop import FormatError, from_keras

h5py = pytest.importorskip("h5py", reason="pip install h5py")
needs_keras = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("keras", "torch")),
    reason="Keras, or PyTorch to run it on, is not installed: pip install keras torch")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read at the first import
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.utils.clear_session(free_memory=False)  # a collection each time: half of the time
    keras.utils.set_random_seed(0)
    return keras


SEQ = {"return_sequences": True}
# Layers of Keras for 3 inputs, by what is new in them.
LAYERS = {
    "lstm": lambda L: L.LSTM(4, **SEQ),
    "gru": lambda L: L.GRU(4, **SEQ),
    "rnn": lambda L: L.SimpleRNN(4, **SEQ),
    "before": lambda L: L.GRU(4, reset_after=False, **SEQ),
    "no bias": lambda L: L.LSTM(4, use_bias=False, **SEQ),
    "both": lambda L: L.Bidirectional(L.GRU(4, **SEQ)),
    "lstms": lambda L: L.Bidirectional(L.LSTM(4, **SEQ)),
    "stacked": lambda L: L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(4)]), **SEQ),
    "listed": lambda L: L.RNN([L.GRUCell(4), L.GRUCell(4)], **SEQ),
    "one": lambda L: L.RNN(L.GRUCell(4), **SEQ),
    "backwards": lambda L: L.LSTM(4, go_backwards=True, **SEQ),
    "relu": lambda L: L.SimpleRNN(4, activation="relu", **SEQ),
    "activations": lambda L: L.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid",
                                    **SEQ),
    "gru elu": lambda L: L.GRU(4, activation="elu", recurrent_activation="softsign", **SEQ),
    "linear": lambda L: L.LSTM(4, activation="linear", **SEQ),
}  # fmt: skip


def model_of(keras, name):
    """A model in which a layer stands among others of its kind, and in a model inside of it."""
    x = inputs = keras.Input((None, 3))
    x = keras.layers.LSTM(3, return_sequences=True, name="other")(x)
    x = LAYERS[name](keras.layers)(x)
    own = LAYERS[name](keras.layers)
    own.name = "own"
    inner = keras.Sequential([keras.Input((None, x.shape[-1])), own], name="inner")
    model = keras.Model(inputs, inner(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


@needs_keras
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_files(name, suffix, keras, tmp_path):
    model = model_of(keras, name)
    path = tmp_path / f"model{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    found = from_keras(path)
    assert len(found) == 3 and not found.left
    if suffix == ".weights.h5":
        assert all(any("which activations" in note for note in n) for n in found.notes.values())
        if name in ("backwards", "relu", "activations", "gru elu", "linear"):
            return
        order = sorted(found, key=lambda n: ("sequential" in n, n != "layers/lstm", n))
        ours = [found[n] for n in order]
    else:
        ours = list(found.values())
        assert [name for name in found if name in ("other", "inner/own")] == ["other", "inner/own"]
    theirs = [model.layers[1], model.layers[2], model.layers[3].layers[0]]
    for layer, reference in zip(ours, theirs, strict=True):
        xs = np.random.default_rng(1).normal(size=(2, 5, layer.cells[0].Wx.shape[0]))
        xs = xs.astype(np.float32)
        expected = reference(xs).detach().numpy()
        with no_grad():
            assert_allclose(layer(xs)[0].numpy(), expected, 1e-4, 1e-5)


@needs_keras
@pytest.mark.parametrize(("make", "why"), [
    (lambda L: L.LSTM(4, activation="gelu"), "the activation gelu"),
    (lambda L: L.Bidirectional(L.LSTM(4), merge_mode="sum"), "merge_mode=sum"),
    (lambda L: L.RNN([L.GRUCell(4), L.LSTMCell(4)]), "cells are of different kinds"),
])  # fmt: skip
def test_a_bad_layer_does_not_cost_the_others(make, why, keras, tmp_path):
    inputs = keras.Input((None, 3))
    x = keras.layers.LSTM(3, return_sequences=True, name="good")(inputs)
    bad = make(keras.layers)
    bad.name = "bad"
    keras.Model(inputs, bad(x)).save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match=rf"bad: .*({why})"):
        found = from_keras(tmp_path / "m.keras")
    assert list(found) == ["good"] and list(found.left) == ["bad"]


# ---- files as older versions wrote them ----


def old_file(kind, weights, config, version="2.3.1"):
    """A .h5 file of Keras 2 with one layer."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {
            "name": "s", "layers": [{"class_name": kind, "config": {"name": "a", **config}}],
        }}).encode()  # fmt: skip
        file.create_group("model_weights").attrs["layer_names"] = [b"a"]
        group = file["model_weights"].create_group("a")
        names = [f"a/{n}:0" for n in ("kernel", "recurrent_kernel", "bias")]
        group.attrs["weight_names"] = [n.encode() for n in names]
        for name, a in zip(names, weights, strict=True):
            group[name] = a
    return content.getvalue()


def test_hard_sigmoid_of_keras_2_is_another_function(tmp_path):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s).astype(np.float32) for s in ((3, 12), (4, 12), (12,))]
    config = {"activation": "tanh", "recurrent_activation": "hard_sigmoid"}
    slopes = []
    for version in ("2.3.1", "3.15.0"):
        (tmp_path / "m.h5").write_bytes(old_file("GRU", weights, config, version))
        layer = from_keras(tmp_path / "m.h5")["a"]
        slopes.append(layer.cells[0].form.gate.alpha)
    assert slopes == [0.2, 1 / 6]


def weights_alone(arrays, version, name="a"):
    """A file of save_weights of Keras 2, with one LSTM."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["keras_version"], file.attrs["layer_names"] = version.encode(), [name.encode()]
        group = file.create_group(name)
        names = [f"{name}/{n}:0" for n in ("kernel", "recurrent_kernel", "bias")]
        group.attrs["weight_names"] = [n.encode() for n in names]
        for name, a in zip(names, arrays, strict=True):
            group[name] = a
    return content.getvalue()


@pytest.mark.parametrize("version, gates", [
    ("1.2.2", "hard_sigmoid"), ("2.2.5", "hard_sigmoid"), ("2.1.6-tf", "hard_sigmoid"),
    ("2.2.4-tf", "sigmoid"), ("2.3.0", "sigmoid"), ("2.15.0", "sigmoid"), ("3.4.1", "sigmoid"),
])  # fmt: skip
def test_weights_alone_have_the_default_gates_of_the_keras_that_wrote_them(
        version, gates, tmp_path):
    rng = np.random.default_rng(0)
    W, U, b = (rng.normal(size=s) for s in ((3, 16), (4, 16), (16,)))
    xs = rng.normal(size=(2, 5, 3))
    (tmp_path / "w.h5").write_bytes(weights_alone([W, U, b], version))
    found = from_keras(tmp_path / "w.h5")
    assert f"Keras {version}'s default ones (its gates: {gates})" in found.notes["a"][0]
    gate = (lambda a: 1 / (1 + np.exp(-a))) if gates == "sigmoid" else (
        lambda a: np.clip(0.2 * a + 0.5, 0, 1))
    h = c = np.zeros((2, 4))
    for x in xs.swapaxes(0, 1):
        i, f, g, o = np.split(x @ W + h @ U + b, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    assert_allclose(found["a"](xs)[0].detach()[:, -1], h)


@pytest.mark.parametrize("spoil, why", [
    (lambda a: [a[0].astype("i4"), *a[1:]], "its weights are int32, wanted floating-point"),
    (lambda a: [a[0].view("V8"), *a[1:]], "wanted floating-point numbers of NumPy's"),
])  # fmt: skip
def test_numbers_of_another_kind_are_a_layer_that_is_left(spoil, why, tmp_path):
    arrays = [np.ones(s) for s in ((3, 16), (4, 16), (16,))]
    (tmp_path / "w.h5").write_bytes(weights_alone(spoil(arrays), "3.4.1"))
    with pytest.warns(UserWarning, match=why):
        assert list(from_keras(tmp_path / "w.h5").left) == ["a"]


@pytest.mark.parametrize("name", ["LSTM_1_backward", "backward_lstm"])
def test_a_layer_called_backward_is_one_layer(name, tmp_path):
    arrays = [np.ones(s) for s in ((3, 16), (4, 16), (16,))]
    (tmp_path / "w.h5").write_bytes(weights_alone(arrays, "2.3.1", name))
    found = from_keras(tmp_path / "w.h5")
    assert found[name].directions == 1 and not found.left


def from_cudnn(weights, kind):
    """The conversion, element by element: weights of a CuDNN layer for the layer without."""
    k = 4 if kind == "LSTM" else 3
    Wx, Wh, b = weights
    D, H = Wx.shape[0], len(Wh)
    new_x, new_h = np.empty_like(Wx), np.empty_like(Wh)
    for gate in range(k):
        block = Wx[:, gate * H : (gate + 1) * H].ravel()  # in memory (H, D), whatever its shape
        for d in range(D):
            for j in range(H):
                new_x[d, gate * H + j] = block[j * D + d]
        new_h[:, gate * H : (gate + 1) * H] = Wh[:, gate * H : (gate + 1) * H].T
    return [new_x, new_h, b[: k * H] + b[k * H :] if kind == "LSTM" else b.reshape(2, -1)]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_arrays_of_cudnn_layers(kind, tmp_path):
    rng = np.random.default_rng(0)
    D, H, k = 3, 5, 4 if kind == "LSTM" else 3
    weights = [rng.normal(size=s) for s in ((D, k * H), (H, k * H), (2 * k * H,))]
    expected = from_keras(kind, from_cudnn(weights, kind))
    (tmp_path / "m.h5").write_bytes(old_file(f"CuDNN{kind}", weights, {}))
    for layer in (from_keras(f"CuDNN{kind}", weights), from_keras(kind, weights),
                  from_keras(tmp_path / "m.h5")["a"]):  # fmt: skip
        for p, q in zip(layer.parameters(), expected.parameters(), strict=True):
            assert_allclose(p.detach(), q.detach())


# ---- arrays in a row ----


def drawn(rng, D, H, bias=True):
    shapes = [(D, 4 * H), (H, 4 * H), (4 * H,)]
    return [rng.normal(size=s) for s in shapes[: 3 if bias else 2]]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_six_arrays_of_two_layers_are_two_layers(seed, bias):
    rng = np.random.default_rng(seed)
    one, two, three = drawn(rng, 3, 4, bias), drawn(rng, 4, 4, bias), drawn(rng, 4, 4, bias)
    layer = from_keras("LSTM", one + two + three)
    assert layer.directions == 1 and len(layer.cells) == 3
    xs = rng.normal(size=(2, 5, 3))
    hs = xs
    for weights in (one, two, three):
        hs, _ = from_keras("LSTM", weights)(hs)
    assert_allclose(layer(xs)[0].detach().numpy(), hs.detach().numpy())


def test_directions_layers_and_what_could_be_either():
    rng = np.random.default_rng(0)
    both = from_keras("LSTM", [*drawn(rng, 3, 4), *drawn(rng, 3, 4)])
    assert both.directions == 2 and len(both.cells) == 2
    four = from_keras("LSTM", [a for D in (3, 3, 8, 8) for a in drawn(rng, D, 4)])
    assert four.directions == 2 and len(four.cells) == 4
    square = [*drawn(rng, 4, 4), *drawn(rng, 4, 4)]
    with pytest.raises(ValueError, match="say bidirectional=True or False"):
        from_keras("LSTM", square)
    assert from_keras("LSTM", square, bidirectional=True).directions == 2
    assert len(from_keras("LSTM", square, bidirectional=False).cells) == 2
    for weights, options in (([*drawn(rng, 3, 4), *drawn(rng, 5, 4)], {}),
                             ([*drawn(rng, 3, 4), *drawn(rng, 3, 4)], {"bidirectional": False}),
                             (drawn(rng, 3, 4), {"bidirectional": True})):  # fmt: skip
        with pytest.raises(ValueError, match="fit together"):
            from_keras("LSTM", weights, **options)


# ---- damage ----


@needs_keras
def test_damaged_files(keras, tmp_path):
    model = model_of(keras, "gru")
    rng = np.random.default_rng(0)
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"m{suffix}")
        content = (tmp_path / f"m{suffix}").read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            place = rng.integers(len(content))
            if rng.random() < 0.3:
                del damaged[place:]
            else:
                damaged[place] ^= 1 << rng.integers(8)
            (tmp_path / "d").write_bytes(damaged)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("warnings.warn", lambda *_, **__: None)  # of what is left out
                try:
                    found = from_keras(tmp_path / "d")
                except FormatError as error:
                    assert str(error).isprintable()
                else:
                    assert all(isinstance(layer, nn.Recurrent) for layer in found.values())


def test_what_is_no_file_of_keras(tmp_path):
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    (tmp_path / "text").write_text("no model")
    for name in ("zip", "text"):
        with pytest.raises(FormatError, match="no file of Keras"):
            from_keras(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        from_keras(tmp_path / "none.keras")


def own(keras, base):
    """An LSTM inside of a class that is not Keras's."""

    class Own(base):
        def __init__(self, **options):
            super().__init__(**options)
            self.layer = keras.layers.LSTM(4, return_sequences=True)

        def build(self, shape):
            self.layer.build(shape)

        def call(self, x):
            return self.layer(x)

    return Own()


@needs_keras
@pytest.mark.parametrize("how, suffix", [
    ("layer", ".keras"), ("layer", ".h5"), ("in time", ".keras"), ("in time", ".h5"),
    ("model", ".keras"),  # the older kind of file has no such thing
])  # fmt: skip
def test_what_is_inside_of_what_no_config_describes(how, suffix, keras, tmp_path):
    """It comes as its shapes tell, with a note, and costs the others nothing."""
    shape = (5, 3)
    if how == "in time":
        outer, shape = keras.layers.TimeDistributed(
            keras.layers.LSTM(4, return_sequences=True)), (2, 5, 3)
    else:
        outer = own(keras, keras.Model if how == "model" else keras.layers.Layer)
    model = outer if how == "model" else keras.Sequential([keras.Input(shape), outer])
    model(np.zeros((1, *shape), np.float32))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    model.save(tmp_path / f"model{suffix}")
    found = from_keras(tmp_path / f"model{suffix}")
    ((name, ours),) = found.items()
    assert "does not say which activations" in found.notes[name][0]
    xs = rng.normal(size=(2, 5, 3)).astype(np.float32)
    theirs = outer.layer(xs).detach().numpy()
    assert_allclose(ours(xs)[0].detach().numpy(), theirs, 1e-5, 1e-6)


@needs_keras
def test_stacked_cells_in_two_directions_are_told(keras, tmp_path):
    cells = [keras.layers.LSTMCell(4) for _ in range(2)]
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(4, return_sequences=True),
                              keras.layers.Bidirectional(keras.layers.RNN(cells))])
    for save, suffix in ((model.save, ".keras"), (model.save_weights, ".weights.h5")):
        save(tmp_path / f"model{suffix}")
        with pytest.warns(UserWarning, match="left out"):
            found = from_keras(tmp_path / f"model{suffix}")
        assert len(found) == len(found.left) == 1
