"""The whole model against the same network built from hand-derived layers; training end to end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from models.cli import main
from models.data import make_dates
from models.seq2seq import AttentionSeq2seq
from models.training import Reader
from tinygrad_rnn import manual


class HandDerived:
    """AttentionSeq2seq from the layers of manual/, with its backward pass written out."""

    def __init__(self, eW, eWx, eWh, eb, dW, dWx, dWh, db, W, b):
        self.e_embed, self.e_lstm = manual.TimeEmbedding(eW), manual.TimeLSTM(eWx, eWh, eb)
        self.d_embed, self.d_lstm = manual.TimeEmbedding(dW), manual.TimeLSTM(dWx, dWh, db)
        self.attention, self.affine = manual.TimeAttention(), manual.TimeAffine(W, b)
        self.last = manual.TimeSoftmaxWithLoss()

    def loss(self, xs, ts):
        self.encoded = self.e_lstm.forward(self.e_embed.forward(xs))
        self.d_lstm.set_state(self.e_lstm.h, self.e_lstm.c)
        hs = self.d_lstm.forward(self.d_embed.forward(ts[:, :-1]))
        context = self.attention.forward(self.encoded, hs)
        scores = self.affine.forward(np.concatenate([context, hs], axis=2))
        return self.last.forward(scores, ts[:, 1:])

    def gradients(self):
        d = self.affine.backward(self.last.backward())
        H = d.shape[2] // 2
        dencoded, dhs = self.attention.backward(d[:, :, :H])
        self.d_embed.backward(self.d_lstm.backward(dhs + d[:, :, H:]))
        # the final state of the encoder starts the decoder; dc enters through one more step
        dencoded = dencoded.copy()
        dencoded[:, -1] += self.d_lstm.dh
        self.e_embed.backward(self.backward_from(self.e_lstm, dencoded, self.d_lstm.dc))
        layers = (self.e_embed, self.e_lstm, self.d_embed, self.d_lstm, self.affine)
        return [g for layer in layers for g in layer.grads]

    @staticmethod
    def backward_from(lstm, dhs, dc):
        """TimeLSTM.backward with a gradient of the final c as well."""
        for g in lstm.grads:
            g[...] = 0
        dxs, dh = np.empty((*dhs.shape[:2], lstm.params[0].shape[0]), dhs.dtype), 0
        for t in reversed(range(dhs.shape[1])):
            dxs[:, t], dh, dc = lstm.layers[t].backward(dhs[:, t] + dh, dc)
            for total, g in zip(lstm.grads, lstm.layers[t].grads, strict=True):
                total += g
        return dxs


@given(st.integers(0, 2**32 - 1), st.permutations([2, 3, 4, 5, 6]), st.booleans())
def test_attention_seq2seq_equals_the_hand_derived_network(seed, sizes, single):
    N, Tx, Ty, D, H = [1] * 5 if single else sizes
    V, rng = 7, np.random.default_rng(seed)
    model = AttentionSeq2seq(V, D, H, dtype=np.float64)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    twin = HandDerived(*(p.detach().numpy().copy() for p in model.parameters()))
    xs, ts = rng.integers(0, V, (N, Tx)), rng.integers(0, V, (N, Ty + 1))
    loss = model.loss(xs, ts)
    assert_allclose(loss.item(), twin.loss(xs, ts), rtol=1e-10)
    loss.backward()
    for p, g in zip(model.parameters(), twin.gradients(), strict=True):
        assert_allclose(p.grad.numpy(), g, rtol=1e-9, atol=1e-11)


@given(st.integers(0, 2**32 - 1))
def test_generation_is_the_likeliest_symbol_of_teacher_forcing(seed):
    tg.manual_seed(seed)
    model, rng = AttentionSeq2seq(7, 4, 5), np.random.default_rng(seed)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    xs = rng.integers(0, 7, (3, 4))
    ids, weights = model.generate(xs, 2, 6)
    assert ids.shape == (3, 6) and weights.shape == (3, 6, 4)
    assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    forced = np.concatenate([np.full((3, 1), 2), ids[:, :-1]], axis=1)
    logits, _, _ = model.decoder(forced, *model.encoder(xs))
    assert np.array_equal(logits.argmax(-1), ids)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dates")
    pairs = make_dates(120)
    lines = [x + t for x, t in zip(pairs.inputs, pairs.answers, strict=True)]
    (folder / "dates.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["train", "date", "--data", str(folder / "dates.txt"), "--epochs", "2", "--hidden",
                 "16", "--batch-size", "20", "--out", str(folder / "run")]  # fmt: skip
    return folder, arguments


def test_the_command_line_from_training_to_pictures(trained, capsys):
    folder, arguments = trained
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "epoch 2: loss" in printed and "Try:" in printed
    assert (folder / "run" / "attention.png").read_bytes().startswith(b"\x89PNG")
    text = make_dates(1).inputs[0].rstrip()
    assert main(["answer", str(folder / "run"), text]) == 0
    answer = capsys.readouterr().out
    loaded = Reader.load(folder / "run")
    assert loaded.answer([text])[0][0].rstrip() == answer.rstrip("\n")
    picture = folder / "a.svg"
    assert main(["attention", str(folder / "run"), text, "--output", str(picture)]) == 0
    assert "<svg" in picture.read_text(encoding="utf-8")
    first = (folder / "run" / "model.safetensors").read_bytes()
    assert main(arguments) == 0  # the same seed, the same model
    assert (folder / "run" / "model.safetensors").read_bytes() == first


def test_bad_input_is_a_sentence(trained, capsys, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "empty.txt").write_text("")
    for arguments, words in [
        (["answer", str(tmp_path / "none"), "x"], "there is no such file"),
        (["answer", str(tmp_path), "x"], "not a model of this program"),
        (["train", "date", "--data", str(tmp_path / "empty.txt")], "empty"),
        (["train", "date", "--data", str(tmp_path / "no.txt")], "no.txt"),
    ]:
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert words in error and error.startswith("tinygrad-rnn: ") and error.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["train", "date", "--epochs", "0"])
