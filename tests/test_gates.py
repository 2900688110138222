"""models/pictures/gates.py: the gates of a model's cells, against the hand-derived layers' own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from models.commands.main import main
from models.language import Rnnlm
from models.pictures.gates import gate_activations, table
from models.seq2seq import AttentionSeq2seq


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5))
def test_gates_are_those_of_the_hand_derived_cell(seed, N, T):
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(N, T, 3))
    for layer, kind, wanted in (
        (tg.nn.LSTM(3, 4, dtype=np.float64, rng=rng), tg.manual.LSTM, {"f": 3, "i": 5, "o": 6}),
        (tg.nn.GRU(3, 4, dtype=np.float64, rng=rng), tg.manual.GRU, {"z": 2, "r": 3}),
    ):
        gates = gate_activations(layer, lambda layer=layer: layer(xs))["cells.0"]
        assert gates.keys() == wanted.keys()
        cell = kind(*(p.numpy() for p in layer.parameters()))
        state = [np.zeros((N, 4))] * len(layer.cells[0].state_sizes)
        for t in range(T):
            new = cell.forward(xs[:, t], *state)
            state = new if isinstance(new, tuple) else (new,)
            for name, place in wanted.items():  # where its cache has them
                assert_allclose(gates[name][t], cell.cache[place], rtol=1e-12)


def test_every_cell_of_a_model_is_named_and_left_as_it_was():
    model = AttentionSeq2seq(11, 4, 6, bidirectional=True, input_feeding=True).train()
    xs, ts = np.zeros((2, 5), int), np.zeros((2, 4), int)
    before = [dict(vars(module)) for module in model.modules()]
    gates = gate_activations(model, lambda: model.loss(xs, ts))
    assert list(gates) == ["encoder.lstm.cells.0", "encoder.lstm.cells.1", "decoder.lstm.cells.0"]
    assert gates["encoder.lstm.cells.1"]["f"].shape == (5, 2, 3)
    assert gates["decoder.lstm.cells.0"]["o"].shape == (3, 2, 6)
    assert [dict(vars(module)) for module in model.modules()] == before and model.training
    assert len(table(gates).splitlines()) == 10
    with pytest.raises(ZeroDivisionError):
        gate_activations(model, lambda: 1 / 0)
    assert [dict(vars(module)) for module in model.modules()] == before


def test_a_model_without_gates_says_so():
    model = Rnnlm(5, 3, 4, cell="rnn")
    with pytest.raises(ValueError, match="Rnnlm ran no LSTM and no GRU cell"):
        gate_activations(model, lambda: model(np.zeros((1, 2), int)))


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_the_command_draws_and_prints_them(tmp_path, capsys, cell):
    wanted = "is not installed: pip install tinygrad-rnn[models]"
    pytest.importorskip("safetensors", reason=f"safetensors {wanted}")
    image = pytest.importorskip("matplotlib.image", reason=f"matplotlib {wanted}")
    text, picture = tmp_path / "text.txt", tmp_path / "gates.png"
    text.write_text("to be or not to be, " * 30)
    run = str(tmp_path / "run")
    main(["train", "text", str(text), "--level", "char", "--cell", cell, "--hidden", "8",
          "--steps", "2", "--time-size", "5", "--batch-size", "4", "--out", run])  # fmt: skip
    capsys.readouterr()
    status = main(["gates", run, "--output", str(picture)])
    shown = capsys.readouterr()
    if cell == "rnn":
        assert status == 1 and "ran no LSTM and no GRU cell" in shown.err
        return
    assert status == 0
    assert image.imread(picture).shape[1] > 600
    assert [line.split()[:2] for line in shown.out.splitlines()[1:]] == [
        ["recurrent.cells.0", "z"], ["recurrent.cells.0", "r"]
    ]  # fmt: skip
