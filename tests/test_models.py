"""What the models do beyond their loss: generation, beam search, tying, carried states."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

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
from models.pictures.gradients import CELLS, through_time
from models.sampling import beam_search, distribution, draw
from models.training import perplexity
from tinygrad_rnn import optim
from tinygrad_rnn.functional import cross_entropy, log_softmax

seeds = st.integers(0, 2**32 - 1)
PAIRS = {
    "plain": lambda V, D, H: Seq2seq(V, D, H, dtype=np.float64),
    "peeky": lambda V, D, H: PeekySeq2seq(V, D, H, dtype=np.float64),
    "attention": lambda V, D, H: AttentionSeq2seq(V, D, H, dtype=np.float64),
    "bidirectional": lambda V, D, H: AttentionSeq2seq(V, D, H, True, score="general",
                                                      dtype=np.float64),
    "feeding": lambda V, D, H: AttentionSeq2seq(V, D, H, input_feeding=True, score="additive",
                                                dtype=np.float64),
    "deep": lambda V, D, H: DeepAttentionSeq2seq(V, D, H, dtype=np.float64),
    "deep bidirectional": lambda V, D, H: DeepAttentionSeq2seq(
        V, D, H, 2, False, True, "scaled_dot", dtype=np.float64),
}  # fmt: skip
TEXTS = {
    "simple": lambda V: SimpleRnnlm(V, 3, 4, dtype=np.float64),
    "lstm": lambda V: Rnnlm(V, 3, 4, dtype=np.float64),
    "gru": lambda V: Rnnlm(V, 3, 4, "gru", dtype=np.float64),
    "better": lambda V: BetterRnnlm(V, 4, 4, dtype=np.float64),
}


def drawn(model, seed):
    """The model with weights large enough to have opinions."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = rng.normal(size=p.shape)
    return model


def log_probabilities(model, xs, start, ids):
    """log p of each answer, ids (N, T) -> (N,), from one pass with teacher forcing."""
    forced = np.concatenate([np.full((len(ids), 1), start), ids[:, :-1]], axis=1)
    logits, _, _ = model.decoder(forced, *model.encode(xs))
    logp = log_softmax(logits).numpy()
    return np.take_along_axis(logp, ids[..., None], axis=-1)[..., 0].sum(axis=1)


# ---- sequence to sequence ----


@pytest.mark.parametrize("name", PAIRS)
@given(seeds)
def test_step_by_step_is_the_same_as_teacher_forcing(name, seed):
    model, rng = drawn(PAIRS[name](7, 3, 4), seed), np.random.default_rng(seed)
    xs = rng.integers(0, 7, (3, 4))
    ids = model.generate(xs, 2, 5)
    assert ids.shape == (3, 5)
    forced = np.concatenate([np.full((3, 1), 2), ids[:, :-1]], axis=1)
    logits, _, weights = model.decoder(forced, *model.encode(xs))
    assert np.array_equal(logits.argmax(-1), ids)
    ts = np.concatenate([np.full((3, 1), 2), ids], axis=1)
    logp = log_probabilities(model, xs, 2, ids)
    assert_allclose(model.loss(xs, ts).item(), -logp.mean() / 5, rtol=1e-10)
    if hasattr(model, "attention_weights"):
        assert_allclose(model.attention_weights(xs, ts), weights.numpy())
        assert_allclose(weights.numpy().sum(-1), 1)


@pytest.mark.parametrize("name", PAIRS)
@given(seeds, st.integers(1, 6))
def test_a_beam_that_keeps_everything_finds_the_likeliest_answer(name, seed, N):
    V, T = 3, 3
    model, rng = drawn(PAIRS[name](V, 2, 4), seed), np.random.default_rng(seed)
    xs = rng.integers(0, V, (N, 3))
    everything = np.array(list(itertools.product(range(V), repeat=T)))
    best = [
        everything[np.argmax(log_probabilities(
            model, np.repeat(x[None], len(everything), 0), 1, everything))] for x in xs
    ]  # fmt: skip
    assert np.array_equal(model.generate(xs, 1, T, beam=V**T), best)


@given(seeds)
def test_a_beam_of_one_is_greedy(seed):
    model = drawn(AttentionSeq2seq(7, 3, 4, input_feeding=True), seed)
    xs = np.random.default_rng(seed).integers(0, 7, (3, 4))
    assert np.array_equal(model.generate(xs, 2, 5, beam=1), model.generate(xs, 2, 5))
    with pytest.raises(ValueError, match="beam=0"):
        model.generate(xs, 2, 5, beam=0)


@given(seeds, st.integers(1, 3), st.floats(0, 2))
def test_a_beam_with_an_end_symbol_finds_the_best_answers_with_their_scores(seed, N, penalty):
    """Against all answers, of which each ends with the end symbol or has the full length."""
    V, T, end = 3, 3, 2
    model = drawn(AttentionSeq2seq(V, 2, 4, dtype=np.float64), seed)
    rng = np.random.default_rng(seed)
    xs = rng.integers(0, V, (N, 3))
    found = model.search(xs, 1, T, V**T, end, penalty)
    for x, ids, scores, lengths in zip(xs, *found, strict=True):
        expected = {}
        for answer in itertools.product(range(V), repeat=T):
            L = answer.index(end) + 1 if end in answer else T
            logits, _, _ = model.decoder(np.array([[1, *answer[:-1]]]), *model.encode(x[None]))
            logp = log_softmax(logits).numpy()[0, np.arange(L), answer[:L]].sum()
            whole = answer[:L] + (end,) * (T - L)
            expected[whole] = logp / ((5 + L) / 6) ** penalty, L
        best = sorted(expected, key=lambda answer: -expected[answer][0])
        assert_allclose(scores[: len(best)], [expected[a][0] for a in best], rtol=1e-9)
        assert (scores[len(best) :] == -np.inf).all()  # an end symbol is followed by nothing else
        for answer, score, length in zip(ids[: len(best)], scores, lengths, strict=False):
            assert_allclose(score, expected[tuple(answer)][0], rtol=1e-9)
            assert length == expected[tuple(answer)][1]


def test_a_beam_stops_when_all_its_answers_have_ended():
    calls = []

    def step(ids, state):
        calls.append(ids.shape)
        return np.log([[0.1, 0.9]] * len(ids)), state

    found = beam_search(step, (), 0, 50, 4, 1, end_id=1)
    assert len(calls) == 1 and found.ids.tolist() == [[[1] * 50]] * 4
    assert_allclose(found.scores, np.log(0.9))
    for wrong in ({"beam": 0}, *({"length_penalty": x} for x in (-1, np.nan, 1e308))):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            beam_search(step, (), 0, 5, 4, **({"beam": 1} | wrong))
    with pytest.raises(ValueError, match="symbol 1 are NaN"):
        beam_search(lambda ids, state: (np.full((1, 2), np.nan), state), (), 0, 5, 1, 1)


@pytest.mark.parametrize("name", PAIRS)
@given(seeds, st.floats(0, 1))
def test_scheduled_sampling(name, seed, ratio):
    """Against the same decoder fed with the symbols that the rule says, and its gradients."""
    model, rng = drawn(PAIRS[name](7, 3, 4), seed), np.random.default_rng(seed)
    xs, ts = rng.integers(0, 7, (3, 4)), rng.integers(0, 7, (3, 5))
    plain = model.loss(xs, ts).item()
    model.force(ratio)
    if ratio == 1:
        assert model.rng is None and model.loss(xs, ts).item() == plain
        return
    model.rng = np.random.default_rng(seed)
    model.loss(xs, ts).backward()
    grads = [p.grad.numpy() for p in model.parameters()]
    forced = ratio > np.random.default_rng(seed).random((3, 4)).T  # rows of the batch first
    read = ts[:, :-1].copy()
    for t in range(1, 4):
        logits, _, _ = model.decoder(read, *model.encode(xs))
        read[:, t] = np.where(forced[t - 1], ts[:, t], logits.argmax(-1)[:, t - 1])
    model.zero_grad()
    logits, _, _ = model.decoder(read, *model.encode(xs))
    cross_entropy(logits, ts[:, 1:]).backward()
    for g, p in zip(grads, model.parameters(), strict=True):
        assert_allclose(g, p.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert model.eval().loss(xs, ts).item() == plain


def test_scheduled_sampling_can_be_recorded():
    losses = []
    for record in (False, True):
        model, rng = drawn(AttentionSeq2seq(7, 3, 4), 1), np.random.default_rng(1)
        model.force(0.5)
        model.rng = np.random.default_rng(3)
        step = tg.jit(model.loss) if record else model.loss
        batches = [(rng.integers(0, 7, (3, 4)), rng.integers(0, 7, (3, 5))) for _ in range(6)]
        losses.append([step(xs, ts).item() for xs, ts in batches])
    assert_allclose(*losses, rtol=1e-12)
    for ratio in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="wanted 0 <= ratio <= 1"):
            model.force(ratio)


def test_only_the_last_two_of_three_layers_can_have_skip_connections():
    with_skips, without = (DeepAttentionSeq2seq(5, 3, 4, residual=r) for r in (True, False))
    xs, ts = np.zeros((2, 3), int), np.zeros((2, 3), int)
    without.load_state_dict(with_skips.state_dict())
    assert with_skips.loss(xs, ts).item() != without.loss(xs, ts).item()


def test_an_odd_width_has_no_two_halves():
    with pytest.raises(ValueError, match="H=5, wanted an even number"):
        AttentionSeq2seq(7, 3, 5, bidirectional=True)


# ---- language models ----


@pytest.mark.parametrize("name", TEXTS)
@given(seeds)
def test_greedy_generation_is_the_likeliest_next_symbol(name, seed):
    model, start = drawn(TEXTS[name](7), seed), [1, 4]
    model(np.array([[3, 5]]))  # a state that generation must leave alone
    carried = model.recurrent.state
    ids = model.generate(start, 6, temperature=0)
    assert model.recurrent.state is carried and model.training
    model.eval()
    model.reset_state()
    logits = model(np.array([[*start, *ids[:-1]]]))
    assert np.array_equal(logits.argmax(-1)[0, 1:], ids)


@given(seeds)
def test_the_state_is_carried_and_forgotten(seed):
    model = drawn(TEXTS["lstm"](7), seed)
    xs = np.random.default_rng(seed).integers(0, 7, (2, 6))
    whole = model(xs).numpy()
    model.reset_state()
    parts = [model(xs[:, :4]).numpy(), model(xs[:, 4:]).numpy()]
    assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12)
    model.reset_state()
    assert_allclose(model(xs).numpy(), whole, rtol=1e-12)


def test_a_tied_matrix_is_one_parameter():
    model = BetterRnnlm(9, 4, 4)
    names = [name for name, _ in model.named_parameters()]
    assert names.count("embed.W") == 1 and sum(p.shape == (9, 4) for p in model.parameters()) == 1
    assert "embed.W" in model.state_dict() and len(model.state_dict()) == len(names)
    xs = np.array([[1, 2, 3]])
    model.eval()
    model.loss(xs, xs).backward()
    g = model.embed.W.grad.numpy()
    assert np.all(np.any(g != 0, axis=1))  # all rows: the affine end reads the words that came not
    norm = optim.clip_grad_norm_(model.parameters(), 1e9)
    assert norm == pytest.approx(
        np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in model.parameters())))  # fmt: skip
    before = model.embed.W.numpy().copy()
    optim.SGD(model.parameters(), lr=0.5).step()
    assert_allclose(model.embed.W.numpy(), before - 0.5 * g, rtol=1e-6)
    with pytest.raises(ValueError, match="wants D = H"):
        BetterRnnlm(9, 4, 5)
    with pytest.raises(ValueError, match="cell='elman'"):
        Rnnlm(9, 4, 5, "elman")


@given(seeds, st.integers(2, 60))
def test_perplexity_leaves_the_model_as_it_was(seed, length):
    model = drawn(TEXTS["better"](7), seed)
    ids = np.random.default_rng(seed).integers(0, 7, length)
    model(ids[None, :2])
    carried = model.recurrent.state
    first = perplexity(model, ids, 3, 5)
    assert model.training and model.recurrent.state is carried
    assert perplexity(model, ids, 3, 5) == first >= 1


# ---- sampling ----


@given(seeds, st.integers(1, 12), st.data())
def test_the_distribution_is_masked_and_renormalised(seed, V, data):
    logits = np.random.default_rng(seed).normal(size=(3, V)) * 5
    banned = data.draw(st.sets(st.integers(0, V - 1), max_size=V - 1))
    temperature = data.draw(st.floats(0.1, 10))
    k = data.draw(st.none() | st.integers(1, 15))
    top_p = data.draw(st.none() | st.floats(0.01, 1))
    p = distribution(logits, temperature, k, top_p, list(banned))
    assert_allclose(p.sum(-1), 1)
    assert not p[:, list(banned)].any()
    allowed = np.exp(logits / temperature)
    allowed[:, list(banned)] = 0
    allowed /= allowed.sum(-1, keepdims=True)
    for row, full in zip(p, allowed, strict=True):
        kept = row > 0
        assert_allclose(row[kept], (full / full[kept].sum())[kept], rtol=1e-9)
        assert full[kept].min() >= full[~kept].max(initial=0) - 1e-12
        if k is None and top_p is None:
            assert kept.sum() == V - len(banned)
        if k is not None:
            assert kept.sum() <= k
        if top_p is not None and k is None:  # the fewest symbols that reach top_p
            assert full[kept].sum() >= top_p - 1e-9
            assert full[kept].sum() - full[kept].min() < top_p + 1e-9


@given(seeds)
def test_draws_follow_the_distribution(seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(5, 0.5))
    p[rng.integers(5)] = 0
    p /= p.sum()
    ids = draw(np.repeat(p[None], 4000, 0), rng)
    counts = np.bincount(ids, minlength=5)
    assert not counts[p == 0].any()
    assert np.abs(counts / 4000 - p).max() < 6 * np.sqrt(0.25 / 4000)


def test_what_cannot_be_sampled_is_said():
    for arguments, words in [
        ({"temperature": -1}, "temperature=-1"), ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0}, "top_p=0"), ({"top_p": 1.5}, "top_p=1.5"), ({"banned": [3]}, "from 0 to 2"),
        ({"banned": [0, 1, 2, 2]}, "all 3 symbols are banned"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            distribution(np.zeros(3), **arguments)
    bad = [[np.nan, 1], [np.inf, 1], [-np.inf, -np.inf]]
    for logits, words in zip(bad, ["NaN", "infinite", "nothing is left"], strict=True):
        for temperature in (0, 1):
            with pytest.raises(ValueError, match=words):
                distribution(logits, temperature)
    with pytest.raises(ValueError, match="nothing is left"):
        distribution([[1.0, 2.0], [-np.inf, 2.0]], banned=[1])
    for wrong in ({"temperature": np.nan}, {"temperature": np.inf}, {"banned": [0.5]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            distribution([1.0, 2.0], **wrong)
    assert distribution([1.0, 1.1, -np.inf], 1e-320).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="length=-1"):
        TEXTS["lstm"](7).generate(1, -1)
    spoiled = TEXTS["lstm"](7)
    spoiled.embed.W.data[...] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        spoiled.generate(1, 3)
    for start in ([], [[1]], 1.5, "a"):
        with pytest.raises(ValueError, match="wanted an id or a sequence of ids"):
            TEXTS["lstm"](7).generate(start, 3)


def test_generation_is_repeatable_by_its_generator():
    model = drawn(TEXTS["gru"](7), 1)
    first, second = (model.generate(1, 20, rng=np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)


# ---- gradients through time ----


@pytest.mark.parametrize("cell", CELLS)
@given(seeds, st.floats(0.2, 3))
def test_gradients_through_time_are_those_of_central_differences(cell, seed, scale):
    T, H, N = 4, 3, 1
    result = through_time(cell, scale, T, H, N, seed)
    rng = np.random.default_rng(seed)
    step = CELLS[cell](H, H, dtype=np.float64, rng=rng)
    step.Wh.data *= scale
    xs, dh = rng.normal(size=(T, N, H)), rng.normal(size=(N, H))
    dh /= np.linalg.norm(dh)

    def end(state, at):
        for x in xs[at:]:
            new = step(x, *state)
            state = new if isinstance(new, tuple) else (new,)
        return float(np.sum(state[0].numpy() * dh))

    state, eps = tuple(tg.Tensor(np.zeros((N, H))) for _ in step.state_sizes), 1e-6
    for t, x in enumerate(xs):
        new = step(x, *state)
        state = new if isinstance(new, tuple) else (new,)
        g = np.zeros(H)
        for i in range(H):
            shift = np.eye(H)[i] * eps
            g[i] = (end((state[0] + shift, *state[1:]), t + 1)
                    - end((state[0] - shift, *state[1:]), t + 1)) / (2 * eps)  # fmt: skip
        assert_allclose(result.hidden[t], np.linalg.norm(g), rtol=1e-5, atol=1e-9)
    assert result.clipped <= 5.0 + 1e-9
    assert result.clipped == pytest.approx(min(result.weights, 5.0), rel=1e-5)
