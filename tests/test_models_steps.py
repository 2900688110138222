"""Symbol after symbol: what is recorded gives the bits of what is not."""

import functools
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from models import (
    AttentionSeq2seq,
    BetterRnnlm,
    DeepAttentionSeq2seq,
    PeekySeq2seq,
    Rnnlm,
    Seq2seq,
    SimpleRnnlm,
    steps,
)
from models.sampling import chooser, distribution, draw
from tinygrad_rnn.jit.jitted import Jitted

WRITERS = {
    "lstm": lambda: Rnnlm(9, 4, 5), "gru": lambda: Rnnlm(9, 4, 5, "gru"),
    "rnn": lambda: SimpleRnnlm(9, 4, 5, dtype=np.float64), "better": lambda: BetterRnnlm(9, 4, 4),
}  # fmt: skip
PAIRS = {
    "plain": lambda: Seq2seq(9, 4, 6), "peeky": lambda: PeekySeq2seq(9, 4, 6),
    "feeding": lambda: AttentionSeq2seq(9, 4, 6, bidirectional=True, input_feeding=True),
    "attention": lambda: AttentionSeq2seq(9, 4, 6), "deep": lambda: DeepAttentionSeq2seq(9, 4, 6),
}  # fmt: skip
NEVER = 10**9


class Counted:
    """Runs with and without recordings; how many of the steps were replays."""

    def __init__(self, monkeypatch):
        self.patch, self.replays = monkeypatch, 0
        repeatable = Jitted.repeatable

        def counting(jitted, *args):
            result, replay = repeatable(jitted, *args)
            return result, replay and (lambda: self.count() or replay())

        monkeypatch.setattr(Jitted, "repeatable", counting)

    def count(self):
        self.replays += 1

    def both(self, run):
        """What ``run`` gives without recordings, and with some of the steps recorded."""
        self.patch.setattr(steps, "PAYS", NEVER)
        plain = run()
        self.patch.setattr(steps, "PAYS", 2)
        return plain, run()


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


@pytest.mark.parametrize("kind", WRITERS)
def test_generation_gives_the_same_symbols_recorded(kind, counted):
    tg.manual_seed(3)
    model = WRITERS[kind]()
    for settings in ({"temperature": 0}, {"temperature": 2.0, "banned": [1, 4]},
                     {"top_k": 3, "top_p": 0.9}):  # fmt: skip
        one, other = counted.both(lambda settings=settings: model.generate(
            [1, 2], 30, rng=np.random.default_rng(0), **settings))
        np.testing.assert_array_equal(one, other)
    assert counted.replays > 60 and model.training and model.recurrent.state is None
    before = counted.replays
    for p in model.parameters():  # other weights: the recording reads them
        p.data += 0.5
    one, other = counted.both(lambda: model.generate(3, 20, rng=np.random.default_rng(1)))
    np.testing.assert_array_equal(one, other)
    assert counted.replays > before


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("kind", PAIRS)
def test_search_finds_the_same_recorded(kind, beam, counted):
    tg.manual_seed(4)
    model = PAIRS[kind]()
    xs = np.random.default_rng(0).integers(0, 9, (2, 5))
    one, other = counted.both(lambda: model.search(xs, 1, 12, beam))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert counted.replays > 3


class Odd(Rnnlm):
    """One that counts in Python, which a replay would not."""

    calls = 0

    def forward(self, xs):
        self.calls += 1
        return super().forward(xs)


def test_what_cannot_be_recorded_goes_on_as_it_is(counted):
    model = Odd(9, 4, 5)
    one, other = counted.both(lambda: model.generate(1, 25, rng=np.random.default_rng(0)))
    np.testing.assert_array_equal(one, other)
    assert counted.replays == 0 and model.calls == 50


def test_a_model_that_has_written_is_not_kept(counted):
    model = Rnnlm(9, 4, 5)
    counted.both(functools.partial(model.generate, 1, 20))
    assert counted.replays
    alive = weakref.ref(model.recurrent)
    del model
    gc.collect()
    assert alive() is None


def test_logits_that_say_nothing_are_told_in_a_replay_too(counted):
    model = Rnnlm(9, 4, 5)
    counted.both(lambda: model.generate(1, 20))
    model.affine.b.data[2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.generate(1, 20)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0.3, 1.0]), st.sampled_from([None, 1, 3]),
       st.sampled_from([None, 0.5]), st.sampled_from([(), [0], [2, 3]]))  # fmt: skip
def test_a_chooser_draws_from_the_distribution(seed, temperature, top_k, top_p, banned):
    one, other = np.random.default_rng(seed), np.random.default_rng(seed)
    choose = chooser(temperature, top_k, top_p, banned, other)
    for logits in np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32):
        p = distribution(logits[None], temperature, top_k, top_p, banned)
        assert choose(logits) == int(draw(p, one)[0])
    assert one.random() == other.random()
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="distribution: logits"):
            choose(np.array([0, wrong, 1, 2, 3], np.float32))
    with pytest.raises(ValueError, match="nothing is left"):
        choose(np.full(5, -np.inf, np.float32))
