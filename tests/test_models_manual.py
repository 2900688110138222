"""Whole models against the same networks from hand-derived layers: loss and every gradient."""

import numpy as np
import pytest
from hand_derived import (
    AttentionDecoder,
    Decoder,
    Encoder,
    InputFeedingDecoder,
    LanguageModel,
    PeekyDecoder,
    TiedLanguageModel,
    make,
    under,
)
from hand_derived import Seq2seq as Twin
from hypothesis import example, given, settings
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
from models.files.checkpoint import generator_states
from tinygrad_rnn import manual

V = 7
BOTH = [False, True]
SCORES = ["dot", "scaled_dot", "general", "additive"]
seeds = st.integers(0, 2**32 - 1)
sizes = st.permutations(range(1, 7)).map(lambda p: p[:5])  # N, T, U, D, H: no two alike
ones = (1, 1, 1, 1, 1)
few = settings(max_examples=max(1, settings().max_examples // 5))  # for each of many variants


def drawn(model, rng):
    """Random weights, large enough for every gate to open and close: arrays by name, copies."""
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    return model.state_dict()


def assert_same(model, twin, xs, ts, reverse=False):
    """The loss, and the gradient of every parameter. ``reverse``: the model is given xs reversed,
    and its twin does that itself."""
    model.zero_grad()
    loss = model.loss(xs[:, ::-1] if reverse else xs, ts)
    assert_allclose(loss.item(), twin.forward(xs, ts), rtol=1e-10)
    loss.backward()
    twin.backward()
    names = [name for name, _ in model.named_parameters()]
    for name, p, g in zip(names, model.parameters(), twin.grads, strict=True):
        assert_allclose(p.grad.numpy(), g, rtol=1e-9, atol=1e-11, err_msg=name)


# ---- language models ----------------------------------------------------------------------------

LAYERS = {"rnn": manual.TimeRNN, "lstm": manual.TimeLSTM, "gru": manual.TimeGRU}


def stateful(cell, weights, layer=0):
    """The layer of this cell with the weights of one layer of the model."""
    return LAYERS[cell](*under(weights, f"recurrent.cells.{layer}").values(), stateful=True)


def assert_same_text(model, twin, rng, N, T, restarts):
    """Batches that follow each other in a text, with a step of gradient descent after each.

    The state goes on to the next batch and the gradient does not come back from it (truncated
    BPTT). ``restarts`` says for each batch after the first whether another text begins there.
    """
    for restart in [False, *restarts]:
        if restart:
            model.reset_state()
            twin.reset_state()
        assert_same(model, twin, *rng.integers(0, V, (2, N, T)))
        for p, q, g in zip(model.parameters(), twin.params, twin.grads, strict=True):
            p.data[...] -= 0.1 * g
            q -= 0.1 * g


restarts = st.lists(st.booleans(), min_size=1, max_size=3)


@pytest.mark.parametrize("cell", ["simple", *LAYERS])
@given(seeds, sizes, restarts)
@example(0, ones, [False, True])
def test_rnnlm(cell, seed, sizes, restarts):
    N, T, _, D, H = sizes
    rng = np.random.default_rng(seed)
    if cell == "simple":
        model, cell = SimpleRnnlm(V, D, H, dtype=np.float64), "rnn"
    else:
        model = Rnnlm(V, D, H, cell, dtype=np.float64)
    weights = drawn(model, rng)
    twin = LanguageModel(
        make(manual.TimeEmbedding, weights, "embed"),
        stateful(cell, weights),
        make(manual.TimeAffine, weights, "affine"),
    )
    assert_same_text(model, twin, rng, N, T, restarts)


class SinglePrecision:
    """A generator that draws its uniform numbers in float32, as the dropout of the models does."""

    def __init__(self, state):
        self.rng = np.random.default_rng()
        self.rng.bit_generator.state = state

    def random(self, shape):
        return self.rng.random(shape, dtype=np.float32)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", LAYERS)
@few
@given(seeds, sizes, restarts, st.sampled_from([0.0, 0.2, 0.5]))
@example(0, ones, [False, True], 0.5)
def test_better_rnnlm(cell, num_layers, training, seed, sizes, restarts, p):
    N, T, _, _, H = sizes
    rng = np.random.default_rng(seed)
    model = BetterRnnlm(V, H, H, p, num_layers, cell, dtype=np.float64).train(training)
    weights = drawn(model, rng)
    # One generator for the masks at both ends, and one for those between the layers.
    ends, between = (SinglePrecision(state) for state in generator_states(model))

    def dropout(rng):
        layer = manual.TimeDropout(p, rng=rng)
        layer.train_flg = training
        return layer

    layers = [stateful(cell, weights, 0)]
    for i in range(1, num_layers):
        layers += [dropout(between), stateful(cell, weights, i)]
    embed = make(manual.TimeEmbedding, weights, "embed")
    twin = TiedLanguageModel(embed, dropout(ends), *layers, dropout(ends), b=weights["b"])
    assert_same_text(model, twin, rng, N, T, restarts)


# ---- sequence to sequence -----------------------------------------------------------------------


def assert_same_pairs(model, decoder, seed, sizes, reverse, **encoder):
    """A model against a twin of Encoder and ``decoder``, on inputs and answers drawn at random."""
    N, T, U, _, _ = sizes
    rng = np.random.default_rng(seed)
    weights = drawn(model, rng)
    twin = Twin(Encoder(under(weights, "encoder"), reverse=reverse, **encoder),
                decoder(under(weights, "decoder")))  # fmt: skip
    xs, ts = rng.integers(0, V, (N, T)), rng.integers(0, V, (N, U + 1))
    assert_same(model, twin, xs, ts, reverse)


pairs = given(seeds, sizes, st.booleans())


@pytest.mark.parametrize("kind, decoder", [(Seq2seq, Decoder), (PeekySeq2seq, PeekyDecoder)])
@pairs
@example(0, ones, False)
def test_seq2seq(kind, decoder, seed, sizes, reverse):
    *_, D, H = sizes
    assert_same_pairs(kind(V, D, H, dtype=np.float64), decoder, seed, sizes, reverse)


@pytest.mark.parametrize("bidirectional", BOTH)
@pytest.mark.parametrize("input_feeding", BOTH)
@pytest.mark.parametrize("score", SCORES)
@few
@pairs
@example(0, ones, False)
def test_attention_seq2seq(bidirectional, input_feeding, score, seed, sizes, reverse):
    *_, D, H = sizes
    H = 2 * H if bidirectional else H
    model = AttentionSeq2seq(V, D, H, bidirectional, input_feeding, score, dtype=np.float64)
    decoder = InputFeedingDecoder if input_feeding else AttentionDecoder
    assert_same_pairs(model, lambda weights: decoder(weights, score), seed, sizes, reverse,
                      bidirectional=bidirectional)  # fmt: skip


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("residual", BOTH)
@pytest.mark.parametrize("bidirectional", BOTH)
@pytest.mark.parametrize("score", SCORES)
@few
@pairs
@example(0, ones, False)
@example(0, (2, 3, 4, 5, 5), True)  # D = H, and with two directions the one after:
@example(0, (2, 3, 4, 6, 3), True)  # a skip connection around every layer
def test_deep_attention_seq2seq(num_layers, residual, bidirectional, score, seed, sizes, reverse):
    *_, D, H = sizes
    H = 2 * H if bidirectional else H
    model = DeepAttentionSeq2seq(V, D, H, num_layers, residual, bidirectional, score,
                                 dtype=np.float64)  # fmt: skip
    assert_same_pairs(model, lambda weights: InputFeedingDecoder(weights, score, residual), seed,
                      sizes, reverse, bidirectional=bidirectional, residual=residual)  # fmt: skip
