"""A Module in a safetensors file: names, strides, ties, and refusals that change nothing."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from models import AttentionSeq2seq, BetterRnnlm, DeepAttentionSeq2seq
from tinygrad_rnn import nn
from tinygrad_rnn.interop import (
    FormatError,
    load_safetensors,
    read_safetensors,
    save_safetensors,
)

numpy = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")


class Normalised(nn.Module):
    """With a buffer, and a parameter that is not trained."""

    def __init__(self):
        self.mean, self.scale = nn.Buffer(np.arange(3.0)), nn.Parameter(np.ones(3, "f"))
        self.scale.requires_grad = False


MODULES = {
    "normalised": Normalised,
    "linear": lambda: nn.Linear(2, 3, dtype=np.float64),
    "half": lambda: nn.LSTM(2, 3, 2, bidirectional=True, dtype=np.float16),
    "tied": lambda: BetterRnnlm(5, 4, 4),
    "seq2seq": lambda: AttentionSeq2seq(5, 3, 4, bidirectional=True, score="additive"),
    "deep": lambda: DeepAttentionSeq2seq(5, 3, 4),
    "nothing": lambda: nn.Attention(),
}


@pytest.mark.parametrize("name", MODULES)
def test_saved_and_loaded(name, tmp_path):
    saved, other = MODULES[name](), MODULES[name]()
    path = tmp_path / "weights.safetensors"
    save_safetensors(saved, path)
    assert set(numpy.load_file(path)) == set(saved.state_dict())
    for a in other.parameters() + other.buffers():
        a.data[...] = 5
    assert load_safetensors(other, path) is other
    for p, q in zip(saved.state_dict().values(), other.state_dict().values(), strict=True):
        assert p.dtype == q.dtype
        assert_array_equal(p, q)


def test_what_is_no_module_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match="a dict came, wanted a Module"):
        save_safetensors({"a": np.ones(2)}, tmp_path / "w")


@pytest.mark.parametrize("view", [
    lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], lambda a: np.asfortranarray(a),
    lambda a: np.broadcast_to(a[0], a.shape), lambda a: a[0, 0],
])  # fmt: skip
def test_arrays_that_lie_differently_in_memory(view, tmp_path):
    """The library writes memory as it lies; what is read back must be the values."""
    module = nn.Module()
    a = view(np.arange(24.0).reshape(4, 6))
    module.w = nn.Parameter(np.zeros(a.shape))
    module.w.data = np.asarray(a)
    save_safetensors(module, tmp_path / "w")
    assert_array_equal(numpy.load_file(tmp_path / "w")["w"], a)
    module.w.data = np.zeros_like(a)
    assert_array_equal(load_safetensors(module, tmp_path / "w").w.detach(), a)


def test_names_do_not_change():
    """Files of earlier versions stay readable: a change of this list breaks them."""
    assert [name for name, _ in BetterRnnlm(5, 4, 4).named_parameters()] == [
        "embed.W", "recurrent.cells.0.Wx", "recurrent.cells.0.Wh", "recurrent.cells.0.b",
        "recurrent.cells.1.Wx", "recurrent.cells.1.Wh", "recurrent.cells.1.b", "b",
    ]  # fmt: skip
    gru = nn.GRU(2, 3, bidirectional=True, reset="after", recurrent_bias=True)
    assert [name for name, _ in gru.named_parameters()] == [
        "cells.0.Wx", "cells.0.Wh", "cells.0.b", "cells.0.bh",
        "cells.1.Wx", "cells.1.Wh", "cells.1.b", "cells.1.bh",
    ]  # fmt: skip
    assert [name for name, _ in AttentionSeq2seq(5, 3, 4, score="general").named_parameters()] == [
        "encoder.embed.W", "encoder.lstm.cells.0.Wx", "encoder.lstm.cells.0.Wh",
        "encoder.lstm.cells.0.b", "decoder.embed.W", "decoder.lstm.cells.0.Wx",
        "decoder.lstm.cells.0.Wh", "decoder.lstm.cells.0.b", "decoder.attention.W",
        "decoder.affine.W", "decoder.affine.b",
    ]  # fmt: skip
    assert [name for name, _ in nn.LayerNorm(2).named_parameters()] == ["gamma", "beta"]


def test_a_tied_matrix_is_stored_once_and_stays_tied(tmp_path):
    model = BetterRnnlm(50, 4, 4)
    save_safetensors(model, tmp_path / "w")
    assert sum(a.shape == (50, 4) for a in numpy.load_file(tmp_path / "w").values()) == 1
    layer = nn.Module()
    layer.first, layer.second = nn.Linear(3, 3), nn.Linear(3, 3)
    layer.second.W = layer.first.W
    save_safetensors(layer, tmp_path / "w")
    assert list(numpy.load_file(tmp_path / "w")) == ["first.W", "first.b", "second.b"]
    layer.first.W.data = np.zeros((3, 3))
    load_safetensors(layer, tmp_path / "w")
    assert layer.second.W is layer.first.W
    assert np.any(layer.second.W.detach().numpy())


def test_a_file_of_another_module_changes_nothing(tmp_path):
    save_safetensors(nn.Linear(2, 3), tmp_path / "w")
    for other, error, message in (
        (nn.Linear(2, 4), ValueError, r"W of shape \(2, 3\), wanted \(2, 4\)"),
        (nn.Linear(2, 3, bias=False), KeyError, r"unknown \['b'\]"),
        (nn.LayerNorm(3), KeyError, r"missing \['beta', 'gamma'\]"),
    ):
        before = other.state_dict()
        with pytest.raises(error, match=message):
            load_safetensors(other, tmp_path / "w")
        for name, value in other.state_dict().items():
            assert_array_equal(value, before[name])


def test_no_numbers_of_a_shape_that_numpy_cannot_count(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [0, *[2**30] * 3], "data_offsets": [0, 0]}})
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    with pytest.raises(FormatError, match="w has no valid shape"):
        read_safetensors(tmp_path / "w")
