"""models/data against the book's own loops, spelt out naively."""

import re
from collections import Counter
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import (
    DataError,
    Pairs,
    Vocabulary,
    encode_inputs,
    encode_pairs,
    make_dates,
    make_sums,
    read_corpus,
    read_pairs,
    split_pairs,
)
from models.data.pairs import MONTHS, WEEKDAYS


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


@given(pairs=pairs_in_format(), end=st.sampled_from(["\n", "\r\n", "\r"]), bom=st.booleans(),
       last=st.integers(0, 3))  # fmt: skip
def test_a_file_in_the_format_is_read_back(tmp_path_factory, pairs, end, bom, last):
    text = end.join(lines_of(pairs)) + last * end
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
