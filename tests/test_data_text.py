"""Running text, the Penn Treebank, and batches of both kinds of data."""

import hashlib
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import (
    Corpus,
    DataError,
    PairBatches,
    TextBatches,
    Vocabulary,
    load_ptb,
    read_corpus,
    split_text,
)
from models.data.text import PTB_SHA256

# ---- running text -----------------------------------------------------------------------------

words = st.text("abc<>-", min_size=1, max_size=4)


@given(lines=st.lists(st.lists(words, max_size=5), min_size=1, max_size=9))
def test_words_of_a_text_in_ptb_format(lines):
    text = "".join(" " + " ".join(line) + " \n" for line in lines)
    as_in_the_book = text.replace("\n", "<eos>").strip().split()
    assert split_text(text, "word") == as_in_the_book
    assert split_text(text, "word") == [word for line in lines for word in [*line, "<eos>"]]
    assert "".join(split_text(text, "char")) == text


def test_corpus_takes_its_vocabulary_from_the_training_file(tmp_path):
    train, test, other = (tmp_path / f"{name}.txt" for name in ("train", "test", "other"))
    train.write_text("to be or\nnot to be\n", encoding="utf-8")
    test.write_text("not to\n", encoding="utf-8")
    other.write_text("to see\n", encoding="utf-8")
    corpus = read_corpus(train)
    assert corpus.vocabulary.symbols == ("to", "be", "or", "<eos>", "not")
    assert corpus.ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 3]
    assert read_corpus(test, vocabulary=corpus.vocabulary).ids.tolist() == [4, 0, 3]
    with pytest.raises(DataError, match=r"other\.txt: 'see' is not among the 5 symbols"):
        read_corpus(other, vocabulary=corpus.vocabulary)
    letters = read_corpus(test, level="char")
    assert "".join(letters.vocabulary.decode(letters.ids)) == "not to\n"


@given(text=st.text("abcdefgh", min_size=1), count=st.integers(1, 40))
def test_the_first_symbols_have_a_vocabulary_of_their_own(text, count):
    vocabulary = Vocabulary.of(text)
    first = Corpus(vocabulary.encode(text), vocabulary).first(count)
    assert "".join(first.vocabulary.decode(first.ids)) == text[:count]
    assert first.vocabulary == Vocabulary.of(text[:count])


# ---- Penn Treebank ----------------------------------------------------------------------------

TINY_PTB = {"ptb.train.txt": b" a b c \n", "ptb.valid.txt": b" b c \n", "ptb.test.txt": b" c \n"}


def serve(monkeypatch, content):
    """Let pooch's downloads be answered by ``content(url)``; return the list of addresses asked."""
    pytest.importorskip("pooch", reason="pooch is not installed: pip install pooch")
    asked = []

    def download(self, url, output_file, pooch, check_only=False):
        assert self.kwargs.get("verify", True) is True  # TLS is never switched off
        asked.append(url)
        with open(output_file, "wb") as file:
            file.write(content(url))

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", download)
    return asked


def test_ptb_from_a_folder(tmp_path):
    for name, content in TINY_PTB.items():
        (tmp_path / name).write_bytes(content)
    ptb = load_ptb(tmp_path)
    assert [c.ids.tolist() for c in (ptb.train, ptb.valid, ptb.test)] == [
        [0, 1, 2, 3], [1, 2, 3], [2, 3],
    ]  # fmt: skip
    assert ptb.train.vocabulary is ptb.valid.vocabulary is ptb.test.vocabulary
    (tmp_path / "ptb.test.txt").unlink()
    with pytest.raises(DataError, match=r"ptb\.test\.txt: no such file"):
        load_ptb(tmp_path)


def test_ptb_is_downloaded_once(tmp_path, monkeypatch):
    for name, content in TINY_PTB.items():
        monkeypatch.setitem(PTB_SHA256, name, hashlib.sha256(content).hexdigest())
    asked = serve(monkeypatch, lambda url: TINY_PTB[url.rsplit("/", 1)[1]])
    first, second = load_ptb(cache=tmp_path), load_ptb(cache=tmp_path)
    assert len(asked) == 3 and all(url.startswith("https://") for url in asked)
    assert first.train.ids.tolist() == second.train.ids.tolist() == [0, 1, 2, 3]


def test_ptb_that_is_not_the_published_file_is_refused_and_not_kept(tmp_path, monkeypatch):
    serve(monkeypatch, lambda url: b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"not the published file .*--data-dir$"):
        load_ptb(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(url):
        raise ConnectionError

    serve(monkeypatch, unreachable)
    with pytest.raises(DataError, match=r"ptb\.train\.txt could not .*network.*--data-dir$"):
        load_ptb(cache=tmp_path)


def test_without_pooch_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(DataError, match=r'pip install "tinygrad-rnn\[models\]"'):
        load_ptb()


# ---- batches ----------------------------------------------------------------------------------


@st.composite
def pair_batches(draw):
    count = draw(st.integers(1, 40))
    batch_size = draw(st.integers(1, count))
    xs = np.arange(count * 3).reshape(count, 3)
    return xs, PairBatches(xs, xs[:, :2] + 1000, batch_size, seed=draw(st.integers(0, 99)))


@st.composite
def text_batches(draw):
    batch_size, time_size = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    length = draw(st.integers(batch_size * time_size + 1, 120))
    ids = np.random.default_rng(length).integers(50, size=length)
    return ids, TextBatches(ids, batch_size, time_size)


@given(pair_batches(), st.integers(1, 3))
def test_each_epoch_shuffles_pairs_without_repeating_any(drawn, epochs):
    xs, batches = drawn
    for epoch in range(epochs):
        assert batches.epoch == epoch
        epoch_batches = list(batches)
        assert len(epoch_batches) == len(batches) == len(xs) // len(epoch_batches[0][0])
        rows = np.concatenate([x for x, _ in epoch_batches])
        assert len(np.unique(rows[:, 0])) == len(rows)
        for x, t in epoch_batches:
            assert x.shape == (len(t), 3) and (t == x[:, :2] + 1000).all()


def test_epochs_and_seeds_have_different_orders():
    xs = np.arange(100)[:, None]

    def order(batches):
        return np.concatenate([x for x, _ in batches]).ravel().tolist()

    batches = PairBatches(xs, xs, 10, seed=1)
    first, second = order(batches), order(batches)
    assert len({tuple(o) for o in (first, second, order(PairBatches(xs, xs, 10, seed=2)))}) == 3
    assert order(PairBatches(xs, xs, 10, seed=1)) == first


@given(text_batches(), st.integers(1, 3))
def test_text_batches_are_the_books(drawn, epochs):
    ids, batches = drawn
    xs, ts = ids[:-1], ids[1:]  # RnnlmTrainer.fit and get_batch, one number at a time
    first_xs, _ = batches.batch(0, 0)
    batch_size, time_size = first_xs.shape
    size, time_index = len(xs), 0
    assert len(batches) == size // (batch_size * time_size)
    offsets = [i * (size // batch_size) for i in range(batch_size)]
    for _ in range(epochs):
        for batch_x, batch_t in batches:
            for t in range(time_size):
                for i, offset in enumerate(offsets):
                    assert batch_x[i, t] == xs[(offset + time_index) % size]
                    assert batch_t[i, t] == ts[(offset + time_index) % size]
                time_index += 1


@given(st.one_of(pair_batches(), text_batches()), st.data())
def test_resuming_gives_the_batches_that_an_uninterrupted_run_gets(drawn, data):
    _, batches = drawn
    total = 3 * len(batches)
    stop = data.draw(st.integers(0, total))

    def endless():
        while True:
            yield from batches

    states, seen = [batches.state_dict()], []
    for batch in islice(endless(), total):
        seen.append(batch)
        states.append(batches.state_dict())
    batches.load_state_dict(states[stop])
    rest = list(islice(endless(), total - stop))
    assert batches.state_dict() == states[-1]
    for (x, t), (x_again, t_again) in zip(seen[stop:], rest, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(t, t_again)


def test_a_position_of_other_batches_is_refused_and_leaves_the_position():
    xs = np.arange(100)[:, None]
    batches = PairBatches(xs, xs, 10, seed=1)
    next(iter(batches))
    here = batches.state_dict()
    others = [
        PairBatches(xs, xs, 10, seed=2).state_dict(), PairBatches(xs, xs, 20, seed=1).state_dict(),
        TextBatches(np.arange(101), 2, 5).state_dict(), {}, here | {"index": 10},
        here | {"epoch": -1},
    ]  # fmt: skip
    for state in others:
        with pytest.raises(ValueError, match=r"PairBatches\.load_state_dict: .* is no position"):
            batches.load_state_dict(state)
        assert batches.state_dict() == here


def test_batches_that_cannot_be_made_are_errors():
    xs = np.arange(10)[:, None]
    with pytest.raises(DataError, match="10 pairs are fewer than one batch of 11"):
        PairBatches(xs, xs, 11, seed=0)
    with pytest.raises(ValueError, match="10 inputs, but 9 answers"):
        PairBatches(xs, xs[:9], 3, seed=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        PairBatches(xs, xs, 0, seed=0)
    with pytest.raises(DataError, match=r"20 symbols is shorter than one batch.*need 21"):
        TextBatches(np.arange(20), 4, 5)
    with pytest.raises(ValueError, match="time_size is 0"):
        TextBatches(np.arange(20), 4, 0)
