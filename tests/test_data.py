"""models/data against the book's own loops, spelt out naively."""

import hashlib
import re
from collections import Counter
from datetime import date
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import (
    Corpus,
    DataError,
    PairBatches,
    Pairs,
    TextBatches,
    Vocabulary,
    encode_inputs,
    encode_pairs,
    load_ptb,
    make_dates,
    make_sums,
    read_corpus,
    read_pairs,
    split_pairs,
    split_text,
)
from models.data.pairs import MONTHS, WEEKDAYS
from models.data.text import PTB_SHA256


@pytest.fixture(scope="module")
def dates():
    return make_dates()


@pytest.fixture(scope="module")
def sums():
    return make_sums()


# Line breaks and carriage returns end lines or are translated, so no field of a file holds them.
characters = st.characters(codec="utf-8", exclude_characters="\r\n\ufeff")
field = st.text(characters, min_size=1, max_size=6)


@st.composite
def pairs_in_format(draw):
    rows = draw(st.lists(st.tuples(field, field), min_size=1, max_size=20))
    rows = [(x.replace("_", " "), t) for x, t in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return Pairs(
        tuple(x.ljust(widths[0]) for x, _ in rows),
        tuple("_" + t.ljust(widths[1]) for _, t in rows),
    )


def lines_of(pairs):
    return [x + t for x, t in zip(pairs.inputs, pairs.answers, strict=True)]


# ---- dates and sums ---------------------------------------------------------------------------


def meaning(written):
    """(date, weekday or None) of a written date, read without any help of the generator."""
    if "/" in written:
        month, day, year = map(int, written.split("/"))
        return date(year + (1900 if year >= 70 else 2000), month, day), None
    *weekday, month_day, year = written.split(", ")
    name, day = month_day.split(" ")
    month = [m.lower()[: len(name)] for m in MONTHS].index(name.lower()) + 1
    return date(int(year), month, int(day)), (weekday[0] if weekday else None)


def test_every_date_is_in_the_books_format_and_answered_rightly(dates):
    assert len(dates) == 50_000
    for written, answer in zip(dates.inputs, dates.answers, strict=True):
        assert len(written) == 29 and len(answer) == 11
        when, weekday = meaning(written.rstrip(" "))
        assert answer == "_" + when.isoformat()
        assert date(1970, 1, 1) <= when <= date(2017, 7, 24)
        if weekday is not None:
            assert weekday.lower() == WEEKDAYS[when.weekday()].lower()


def test_dates_are_written_in_all_ways_and_never_twice(dates):
    def way(written):
        return re.sub("[a-z]+", "a", re.sub("[A-Z]+", "A", re.sub(r"\d+", "9", written))).rstrip()

    ways = Counter(map(way, dates.inputs))
    assert ways.keys() == {
        "9/9/9", "Aa 9, 9", "a 9, 9", "A 9, 9", "Aa, Aa 9, 9", "a, a 9, 9", "A, A 9, 9",
    }  # fmt: skip
    assert ways["9/9/9"] == 12_500
    assert all(ways[w] > 3_000 for w in ways)
    assert len(set(dates.inputs)) == len(dates)
    assert len(Vocabulary.of_pairs(dates)) == 59  # as the book's file


def test_sums_are_right_and_never_occur_twice_also_not_with_terms_exchanged(sums):
    seen = set()
    for written, answer in zip(sums.inputs, sums.answers, strict=True):
        assert len(written) == 7 and len(answer) == 5
        a, b = map(int, written.split("+"))
        assert int(answer.removeprefix("_")) == a + b
        seen.add(frozenset((a, b)))
    assert len(seen) == len(sums) == 50_000
    assert len(Vocabulary.of_pairs(sums)) == 13


@pytest.mark.parametrize("make", [make_dates, make_sums])
@given(count=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_the_seed_fixes_the_data_and_the_count_is_exact(make, count, seed):
    pairs = make(count, seed)
    assert len(pairs) == len(pairs.answers) == count
    assert pairs == make(count, seed)


@pytest.mark.parametrize("make", [make_dates, make_sums])
@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_a_count_that_cannot_be_made_is_an_error(make, count):
    with pytest.raises(ValueError, match=f"{make.__name__}: count is {count}, wanted 1 to"):
        make(count)


# ---- split ------------------------------------------------------------------------------------


@given(
    inputs=st.lists(st.sampled_from("abcdefghijklmnop"), min_size=2, max_size=60),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_split_loses_nothing_and_never_overlaps(inputs, fraction, seed):
    pairs = Pairs(tuple(inputs), tuple(f"_{i}" for i in range(len(inputs))))
    try:
        train, test = split_pairs(pairs, fraction, seed)
    except DataError:
        wanted = round(len(inputs) * fraction)
        # Copies of one input pushed out of train may have been all that it had.
        assert wanted in (0, len(inputs)) or wanted + max(Counter(inputs).values()) > len(inputs)
        return
    assert not set(train.inputs) & set(test.inputs)
    assert sorted(lines_of(train) + lines_of(test)) == sorted(lines_of(pairs))
    extra = len(test) - round(len(inputs) * fraction)
    assert 0 <= extra < max(Counter(test.inputs).values())


def test_the_default_split_is_nine_to_one_shuffled_and_fixed(dates, sums):
    for pairs in (dates, sums):
        train, test = split_pairs(pairs)
        assert (len(train), len(test)) == (45_000, 5_000)
        assert not set(train.inputs) & set(test.inputs)
        assert train.inputs != pairs.inputs[:45_000]
        assert (train, test) == split_pairs(pairs)


def test_too_few_pairs_to_split_is_an_error():
    with pytest.raises(DataError, match="2 pairs with 1 different inputs are too few"):
        split_pairs(Pairs(("a", "a"), ("_1", "_1")), 0.5)


# ---- files in the book's format ---------------------------------------------------------------


@given(pairs=pairs_in_format(), windows=st.booleans(), bom=st.booleans(), last=st.booleans())
def test_a_file_in_the_format_is_read_back(tmp_path_factory, pairs, windows, bom, last):
    end = "\r\n" if windows else "\n"
    text = end.join(lines_of(pairs)) + (end if last else "")
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    assert read_pairs(path) == pairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty"),
        (b"\n \n", ": the file is empty"),
        (b"16+75  _91  \n\xe9\n", ", line 2: not UTF-8; save the file as UTF-8"),
        (b"16+75 91\n", ", line 1: no '_' between input and answer"),
        (b"16+75_91\n\n1+1  _2 \n", ", line 2: no '_' between input and answer"),
        (b"16+75_91 \n52+6 _58\n", ", line 2: 8 characters, but line 1 has 9: pad inputs and "
         "answers with spaces to one width"),
        (b"16+75_91 \n52+6_58  \n", ", line 2: '_' is character 5, but in line 1 it is "
         "character 6"),
        (b"_91\n", ", line 1: nothing before '_'"),
        (b"16+75_\n", ", line 1: nothing after '_'"),
    ],
)  # fmt: skip
def test_a_file_in_another_format_is_one_sentence_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "pairs.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_pairs(path)
    assert str(error.value) == f"{path}{message}"


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file$"):
        read_pairs(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_corpus(tmp_path)


# ---- vocabulary and encoding ------------------------------------------------------------------


@given(lines=st.integers(0, 6).flatmap(
    lambda width: st.lists(st.text(min_size=width, max_size=width), min_size=1, max_size=9)
))  # fmt: skip
def test_lines_encode_and_decode_to_themselves(lines):
    vocabulary = Vocabulary.of("".join(lines))
    ids = vocabulary.encode_lines(lines)
    assert ids.shape == (len(lines), len(lines[0])) and ids.dtype == np.int64
    assert vocabulary.decode_lines(ids) == lines
    assert Vocabulary(list(vocabulary.symbols)) == vocabulary
    for row, line in zip(ids, lines, strict=True):
        assert [vocabulary.symbols[i] for i in row] == list(line)


def test_vocabulary_follows_first_occurrence():
    assert Vocabulary.of("book").symbols == ("b", "o", "k")
    assert Vocabulary.of_pairs(Pairs(("ab", "ba"), ("_b", "_c"))).symbols == ("a", "b", "_", "c")
    assert "k" in Vocabulary.of("book") and "x" not in Vocabulary.of("book")


def test_vocabulary_errors_name_the_symbol():
    with pytest.raises(ValueError, match="'b' occurs more than once"):
        Vocabulary(["a", "b", "b"])
    known = Vocabulary("0123456789")
    with pytest.raises(DataError, match=r"'x' is not among the 10 symbols of the voc.*: 0 1 2 3"):
        known.encode("12x4")
    with pytest.raises(DataError, match=r"'see' is not among the 2 .*; write <unk> in its place"):
        Vocabulary(["to", "<unk>"]).encode(["to", "see"])
    with pytest.raises(ValueError, match=r"lines of lengths \[1, 2\], wanted one length"):
        known.encode_lines(["1", "12"])


@given(pairs=pairs_in_format(), reverse=st.booleans())
def test_encoded_pairs_begin_the_answer_with_the_start_symbol(pairs, reverse):
    vocabulary = Vocabulary.of_pairs(pairs)
    xs, ts = encode_pairs(pairs, vocabulary, reverse)
    assert xs.flags.c_contiguous and xs.shape == (len(pairs), pairs.input_width)
    assert vocabulary.decode_lines(xs[:, ::-1] if reverse else xs) == list(pairs.inputs)
    assert vocabulary.decode_lines(ts) == list(pairs.answers)
    assert (ts[:, 0] == vocabulary.encode("_")).all()


def test_a_typed_input_is_padded_and_a_longer_one_refused():
    vocabulary = Vocabulary("0123456789+ ")
    (ids,) = encode_inputs(["1+2"], vocabulary, 7)
    assert "".join(vocabulary.decode(ids)) == "1+2    "
    (ids,) = encode_inputs(["1+2"], vocabulary, 7, reverse=True)
    assert "".join(vocabulary.decode(ids)) == "    2+1"
    with pytest.raises(DataError, match=r"'1234\+5678' has 9 characters, but the model reads 7"):
        encode_inputs(["1234+5678"], vocabulary, 7)


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
