"""Small files that ask for much: memory and time stay within a multiple of the file."""

import pickle
import tracemalloc

import fuzz_files
import numpy as np
import pytest

from models.data import DataError
from models.files.book import read_arrays
from tinygrad_rnn.interop import FormatError, from_state_dict, read_torch
from tinygrad_rnn.interop.torch_files import read_pickled


def text(content, opcode=b"X"):
    return opcode + len(content).to_bytes(4, "little") + content


def many(one, count, *memo):
    """A list of ``count`` times the opcodes ``one``, which refer to what ``memo`` made."""
    put = b"".join(part + b"q%c0" % i for i, part in enumerate(memo))
    return b"\x80\x04" + put + b"(" + one * count + b"l."


LONG = 100_000
MINUS_1 = b"J\xff\xff\xff\xff"
DTYPE = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNN" + 2 * MINUS_1 + b"K\x00tb"
ARRAY = (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
         b"J\xa8\x61\x00\x00\x85" + DTYPE + b"K\x00h\x02tb")  # 25,000 numbers
ENCODE = b"c_codecs\nencode\n"
PAIRS = b"ccollections\nOrderedDict\n"
DEEP = 10_000
HUGE_INT = b"\x8b" + (5001).to_bytes(4, "little") + b"\x01" * 5001
TWICE = b"K\x00" + b"2\x86" * 60  # a tuple of a tuple twice, of a tuple twice, ...
BOMBS = {
    "a long text in many names": many(b"h\x00h\x00\x93", 2000, text(bytes(LONG))),
    "a long name in many calls": many(b"h\x00)R", 2000, b"c" + b"m" * LONG + b"\nx\n"),
    "bytes that are the key of many dicts": many(b"}h\x00Ns", 2000, text(bytes(LONG), b"T")),
    "text that is the content of many arrays": many(
        b"h\x01h\x00h\x03\x86R", 2000, text(bytes(LONG)), ENCODE, b"N", text(b"latin1")),
    "text that nothing encodes": many(
        b"h\x01h\x00h\x03\x86R", 200, text("\u2028".encode() + bytes(LONG)), ENCODE, b"N",
        text(b"latin1")),
    "dicts in dicts": b"\x80\x02" + b"}(U\x01a" * DEEP + b"}" + b"U\x01b]u" * DEEP + b".",
    "tuples in tuples": b"\x80\x02K\x00" + b"\x85" * DEEP + b".",
    "pairs that many dicts share": many(
        b"h\x00h\x01\x85R", 5000, PAIRS, b"](" + b"U\x01aN\x86" * 5000 + b"e"),
    "a state that many objects share": many(
        b"h\x00)Rh\x01b", 5000, PAIRS, b"}(" + b"".join(
            b"K%cU\x01a" % i for i in range(250)) * 20 + b"u"),
    "pairs with a long key": many(
        b"h\x00]h\x01N\x86a\x85R", 2000, PAIRS, text(bytes(LONG), b"T")),
    "a key of tuples": many(b"h\x00](" + TWICE + b"]\x86e\x85R", 1, PAIRS),
    "a parameter of a parameter": many(
        b"h\x00h\x01\x85Rq\x01", 5000, b"ctorch._utils\n_rebuild_parameter\n", b"N"),
    "a number of 10,000 digits for a dtype": many(
        ARRAY.replace(b"U\x02f4", HUGE_INT), 1, b"N", b"N", text(bytes(LONG), b"T")),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["pickle", "torch"])
@pytest.mark.parametrize("what", BOMBS)
def test_memory_and_time_are_within_a_multiple_of_the_file(what, kind, tmp_path):
    """The number of calls stands for the time."""
    content = BOMBS[what]
    if kind == "torch":
        content = fuzz_files.torch_archive(content)
    (tmp_path / "file").write_bytes(content)
    tracemalloc.start()
    try:
        (read_torch if kind == "torch" else read_pickled)(tmp_path / "file")
    except FormatError as error:
        assert str(error).isprintable()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8_000_000 + 64 * len(content)


def test_a_weight_file_whose_arrays_share_one_text(tmp_path):
    content = many(ARRAY, 2000, text(bytes(LONG)), ENCODE, b"h\x01h\x00" + text(b"latin1") +
                   b"\x86R")  # fmt: skip
    (tmp_path / "w.pkl").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"opcodes|more than it has numbers for"):
        read_arrays(tmp_path / "w.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * len(content)


@pytest.mark.parametrize("key", [HUGE_INT, TWICE, b"K\x00" + b"\x85" * 50_000,
                                 text(bytes(301)), b"N"])
def test_a_storage_is_named_by_a_short_text(key, tmp_path):
    """In the older kind of file the list of storages is the file's as well."""
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {}))
    tree = fuzz_files.STATE_DICT.replace(b"q\x06K\x06tq", b"q\x06K\x06Ntq")
    (tmp_path / "w.pth").write_bytes(head + tree + b"\x80\x02](" + key + b"e." + bytes(32))
    with pytest.raises(FormatError, match="no short text"):
        read_torch(tmp_path / "w.pth")


@pytest.mark.parametrize("protocol", range(6))
def test_what_people_write_is_within_the_bounds(protocol, tmp_path):
    """Names as deep and as long as those of real models, one text as the content of two arrays."""
    tree = {"model": {f"encoder_{i}": {"layers": [{"lstm": {
        "weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2)),
        "bias_ih_l0": np.ones(8), "bias_hh_l0": np.ones(8)}}] * 1} for i in range(50)},
        "history": [[j, {"loss": j / 7}] for j in range(1000)]}  # fmt: skip
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(tree, protocol))
    found = from_state_dict(tmp_path / "w.pkl")
    assert list(found) == [f"model.encoder_{i}.layers.0.lstm" for i in range(50)]
    assert (found["model.encoder_7.layers.0.lstm"].cells[0].b.data == 2).all()
