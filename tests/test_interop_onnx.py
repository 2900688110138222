"""ONNX graphs, run by onnxruntime, against the models that they were made from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from models import (
    AttentionSeq2seq,
    BetterRnnlm,
    DeepAttentionSeq2seq,
    PeekySeq2seq,
    Rnnlm,
    Seq2seq,
    SimpleRnnlm,
)
from models.export import language_model_to_onnx, seq2seq_to_onnx
from tinygrad_rnn import Tensor, nn, no_grad
from tinygrad_rnn.interop import from_onnx, to_onnx

onnx = pytest.importorskip("onnx", reason="pip install onnx")
runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(*[st.integers(1, 4)] * 4)
FORMS = [("RNN", {}), ("LSTM", {}), *(("GRU", {"reset": reset, "update": update,
                                               "recurrent_bias": reset == "after"})
         for reset in ("before", "after") for update in ("new", "old"))]  # fmt: skip
TEXTS = {
    "simple": lambda: SimpleRnnlm(7, 3, 4),
    "lstm": lambda: Rnnlm(7, 3, 4),
    "gru": lambda: Rnnlm(7, 3, 4, "gru"),
    "better": lambda: BetterRnnlm(7, 4, 4, num_layers=3),
    "better gru": lambda: BetterRnnlm(7, 4, 4, cell="gru"),
}
PAIRS = {
    "plain": lambda: Seq2seq(7, 3, 4),
    "peeky": lambda: PeekySeq2seq(7, 3, 4),
    "attention": lambda: AttentionSeq2seq(7, 3, 4),
    "bidirectional": lambda: AttentionSeq2seq(7, 3, 4, True, score="general"),
    "scaled": lambda: AttentionSeq2seq(7, 3, 4, score="scaled_dot"),
    "feeding": lambda: AttentionSeq2seq(7, 3, 4, input_feeding=True, score="additive"),
    "deep": lambda: DeepAttentionSeq2seq(7, 3, 4),
    "deep bidirectional": lambda: DeepAttentionSeq2seq(7, 4, 4, 2, True, True, "additive"),
}
TO = {"rtol": 0, "atol": 1e-5}
every_opset = pytest.mark.parametrize("opset", range(17, 23))


def drawn(module, rng):
    """The module with weights large enough to have opinions, and not so large that a recurrence
    makes more of its rounding: matrices of variance 1 / rows keep a vector's length. (Of variance
    1 they took float32 to 1e-5, and float64 with weights moved by one rounding as far.)"""
    for p in module.parameters():
        p.data = rng.normal(size=p.shape) / (len(p) ** 0.5 if p.ndim > 1 else 1)
    return module.eval()


def for_models(makers):
    """A test of a model with drawn weights, for each of ``makers`` and every opset."""

    def decorate(test):
        @every_opset
        @pytest.mark.parametrize("name", makers)
        @settings(max_examples=3)
        @given(seeds)
        def on_drawn_model(name, opset, seed):
            rng = np.random.default_rng(seed)
            test(drawn(makers[name](), rng), opset, rng)

        return on_drawn_model

    return decorate


class Session:
    """A graph in onnxruntime, after the checker of ONNX: arrays by name in and out."""

    def __init__(self, model):
        onnx.checker.check_model(model, full_check=True)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = runtime.InferenceSession(model.SerializeToString(), options)
        self.inputs = [i.name for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def __call__(self, **feeds):
        feeds = {name: feeds[name] for name in self.inputs}
        return dict(zip(self.outputs, self.session.run(None, feeds), strict=True))


def full(ids):
    return np.full(len(ids), ids.shape[1], np.int32)


# ---- layers ----


@every_opset
@pytest.mark.parametrize(("kind", "options"), FORMS)
@settings(max_examples=5)
@given(seeds, sizes, st.integers(1, 3), st.booleans(), st.booleans())
def test_layers(kind, options, opset, seed, sizes, layers, bidirectional, residual):
    rng, (_, _, D, H) = np.random.default_rng(seed), sizes
    layer = drawn(getattr(nn, kind)(D, H, layers, bidirectional, 0.5, residual, **options), rng)
    model = to_onnx(layer, opset)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    assert [n.op_type for n in model.graph.node].count(kind) == layers
    run, cells = Session(model), layers * (1 + bidirectional)
    for N, T in (sizes[:2], sizes[2:]):  # one graph for every size
        xs = rng.normal(size=(N, T, D)).astype(np.float32)
        lengths = rng.integers(1, T + 1, N).astype(np.int32)
        names = [name for name in ("h0", "c0") if name in run.inputs]
        states = [rng.normal(size=(cells, N, H)).astype(np.float32) for _ in names]
        out = run(xs=xs, lengths=lengths, **dict(zip(names, states, strict=True)))
        states = tuple(s if cells > 1 else s[0] for s in states)
        hs, final = layer(Tensor(xs), states if len(states) > 1 else states[0], lengths)
        assert_allclose(out["hs"], hs.detach(), **TO)
        for name, part in zip("hc", final if kind == "LSTM" else [final], strict=False):
            assert_allclose(out[name].reshape(part.shape), part.detach(), **TO)


@pytest.mark.parametrize(("kind", "options"), FORMS)
@given(seeds, sizes, st.integers(1, 3), st.booleans(), st.integers(17, 22))
def test_nodes_come_back_as_layers(kind, options, seed, sizes, layers, bidirectional, opset):
    rng, (N, T, D, H) = np.random.default_rng(seed), sizes
    layer = drawn(getattr(nn, kind)(D, H, layers, bidirectional, dtype=np.float64, **options), rng)
    found = from_onnx(to_onnx(layer, opset))
    assert list(found) == [str(i) for i in range(layers)]
    expected, _ = layer(xs := Tensor(rng.normal(size=(N, T, D))))
    for one in found.values():
        assert type(one) is type(layer)
        xs, _ = one(xs)
    assert_allclose(xs.detach(), expected.detach(), rtol=0, atol=1e-12)


def test_a_model_file_with_other_nodes_around(tmp_path):
    model = drawn(BetterRnnlm(7, 4, 4), np.random.default_rng(0))
    onnx.save(language_model_to_onnx(model), tmp_path / "model.onnx")
    found = from_onnx(tmp_path / "model.onnx")
    assert list(found) == ["recurrent.0", "recurrent.1"]
    for layer, cell in zip(found.values(), model.recurrent.cells, strict=True):
        for p, q in zip(layer.parameters(), cell.parameters(), strict=True):
            assert_allclose(p.detach(), q.detach())


# ---- language models ----


@for_models(TEXTS)
def test_language_models_chunk_by_chunk(model, opset, rng):
    run = Session(language_model_to_onnx(model, opset))
    cells, H = len(model.recurrent.cells), 4
    carried = {part: np.zeros((cells, 3, H), np.float32) for part in "hc"}
    for T in (1, 5, 2):  # the state goes along, as the model carries its own
        ids = rng.integers(0, 7, (3, T))
        out = run(ids=ids, lengths=full(ids), **{f"{k}0": v for k, v in carried.items()})
        with no_grad():
            assert_allclose(out["logits"], model(ids), **TO)
        state = model.recurrent.state
        for part, value in zip("hc", state if isinstance(state, tuple) else (state,), strict=False):
            carried[part] = out[part]
            assert_allclose(out[part].reshape(value.shape), value, **TO)


@given(seeds)
def test_padding_does_not_reach_the_state(seed):
    rng = np.random.default_rng(seed)
    model = drawn(Rnnlm(7, 3, 4), rng)
    run = Session(language_model_to_onnx(model))
    ids, lengths = rng.integers(0, 7, (3, 6)), np.array([6, 2, 1], np.int32)
    zeros = np.zeros((1, 3, 4), np.float32)
    whole = run(ids=ids, lengths=lengths, h0=zeros, c0=zeros)
    for n, T in enumerate(lengths):
        model.reset_state()
        with no_grad():
            assert_allclose(whole["logits"][n, :T], model(ids[n : n + 1, :T])[0], **TO)
        assert_allclose(whole["c"][0, n], model.recurrent.state[1][0], **TO)


def test_a_tied_matrix_is_in_the_graph_once():
    names = [t.name for t in language_model_to_onnx(BetterRnnlm(7, 4, 4)).graph.initializer]
    assert names.count("embed.W") == 1
    big = [t for t in language_model_to_onnx(BetterRnnlm(50, 4, 4)).graph.initializer
           if np.prod(t.dims) == 50 * 4]  # fmt: skip
    assert len(big) == 1


# ---- sequence to sequence ----


def decode(decoder, state, steps):
    """The decoder fed with columns of ids, its state handed on: logits and weights of all steps."""
    outs = []
    for ids in steps:
        out = decoder(ids=ids, **state)
        state |= {k.removeprefix("next_"): v for k, v in out.items() if k.startswith("next_")}
        outs.append(out)
    joined = {name: np.concatenate([out[name] for out in outs], axis=1)
              for name in ("logits", "weights") if name in outs[0]}  # fmt: skip
    return joined["logits"], joined.get("weights")


@for_models(PAIRS)
def test_encoder_and_decoder_step(model, opset, rng):
    encoder, decoder = map(Session, seq2seq_to_onnx(model, opset))
    for N, Tx, Ty in ((3, 4, 5), (1, 2, 1)):
        xs, ts = rng.integers(0, 7, (N, Tx)), rng.integers(0, 7, (N, Ty))
        with no_grad():
            encoded, start = model.encode(xs)
            expected, _, looks = model.decoder(ts, encoded, start)
        state = encoder(ids=xs, lengths=full(xs))
        assert_allclose(state["encoded"], encoded, **TO)
        state["lengths"] = full(xs)
        logits, weights = decode(decoder, dict(state), np.split(ts, Ty, axis=1))
        assert_allclose(logits, expected, **TO)
        assert (weights is None) == (looks is None)
        if weights is not None:
            assert_allclose(weights, looks, **TO)
        if "context" not in state:  # all steps at once
            assert_allclose(decode(decoder, dict(state), [ts])[0], expected, **TO)


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=10)
@given(seeds)
def test_a_padded_batch_is_read_as_each_sequence_alone(name, seed):
    rng = np.random.default_rng(seed)
    model = drawn(PAIRS[name](), rng)
    encoder, decoder = map(Session, seq2seq_to_onnx(model))
    xs, ts = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 4))
    lengths = np.array([5, 3, 1], np.int32)
    state = encoder(ids=xs, lengths=lengths) | {"lengths": lengths}
    logits, weights = decode(decoder, state, np.split(ts, 4, axis=1))
    for n, T in enumerate(lengths):
        with no_grad():
            one = slice(n, n + 1)
            expected, _, looks = model.decoder(ts[one], *model.encode(xs[one, :T]))
        assert_allclose(logits[n], expected[0], **TO)
        if weights is not None:
            assert_allclose(weights[n, :, :T], looks[0], **TO)
            assert not np.any(weights[n, :, T:])


def test_greedy_answers_without_our_library():
    """The loop that a program in another language would write."""
    model = drawn(AttentionSeq2seq(7, 3, 4, True, True), np.random.default_rng(2))
    encoder, decoder = map(Session, seq2seq_to_onnx(model))
    xs = np.random.default_rng(3).integers(0, 7, (4, 6))
    state = encoder(ids=xs, lengths=full(xs)) | {"lengths": full(xs)}
    ids, answer = np.full((4, 1), 2), []
    for _ in range(8):
        out = decoder(ids=ids, **state)
        state |= {k.removeprefix("next_"): v for k, v in out.items() if k.startswith("next_")}
        ids = out["logits"].argmax(-1)
        answer.append(ids)
    assert np.array_equal(np.concatenate(answer, axis=1), model.generate(xs, 2, 8))


# ---- refusals ----


class OtherDecoder(nn.Module):
    pass


def other_seq2seq():
    model = Seq2seq(7, 3, 4)
    model.decoder = OtherDecoder()
    return model


REFUSED = [
    (lambda: to_onnx(nn.LSTM(2, 3), opset=16), ValueError, "opset=16, wanted 17 to 22"),
    (lambda: to_onnx(nn.LSTM([nn.Linear(2, 2)])), TypeError, "to_onnx: a layer of Linear"),
    (lambda: to_onnx(nn.LSTM(2, 3, proj_size=2)), ValueError, "with proj_size=2"),
    (lambda: to_onnx(nn.Linear(2, 2)), TypeError, "to_onnx: Linear, wanted an RNN"),
    (lambda: to_onnx(nn.GRU([nn.GRUCell(2, 3), nn.GRUCell(2, 3, "after")], bidirectional=True)),
     ValueError, "a GRU node has one form"),
    (lambda: language_model_to_onnx(Seq2seq(7, 3, 4)), TypeError, "wanted an Rnnlm"),
    (lambda: seq2seq_to_onnx(other_seq2seq()), TypeError, "OtherDecoder, wanted Decoder"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
