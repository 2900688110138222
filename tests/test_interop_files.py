"""Files of strangers: pickles and PyTorch's archives, read as data, against their own writers."""

import argparse
import io
import os
import pickle
import warnings

import fuzz_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import DataError
from models.files.book import read_arrays
from tinygrad_rnn import nn
from tinygrad_rnn.interop import FormatError, from_state_dict, read_torch, save_safetensors
from tinygrad_rnn.interop.pickles import array_of, read_pickle
from tinygrad_rnn.interop.torch_files import read_pickled

protocols = pytest.mark.parametrize("protocol", range(6))
VIEWS = {
    "rows": lambda a: a, "columns": np.asfortranarray, "transposed": lambda a: a.transpose(2, 0, 1),
    "scalar": lambda a: a[0, 0, :1].reshape(()), "empty": lambda a: a[:0],
    "strided": lambda a: a[::2],
}  # fmt: skip


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


# ---- pickles of arrays ----


@protocols
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i8", "u1", "?"])
def test_arrays_of_every_protocol(protocol, view, dtype):
    a = VIEWS[view](np.arange(24).reshape(2, 3, 4).astype(dtype))
    (read,) = read_pickle(io.BytesIO(pickle.dumps([a], protocol)))
    assert same(array_of(read), a)
    assert not array_of(read).flags.writeable


def test_a_weight_file_of_python_2(tmp_path):
    (tmp_path / "w.pkl").write_bytes(fuzz_files.PYTHON_2)
    (a,) = read_arrays(tmp_path / "w.pkl")
    assert same(a, np.array([[1, 2]], np.float32))


def crafted(state, name=b"numpy.core.multiarray\n_reconstruct\n"):
    """An array whose BUILD is given ``state``, as pickle opcodes."""
    return (b"\x80\x02]c" + name + b"(cnumpy\nndarray\nK\x00\x85U\x01btR" + state + b"ba.")


MINUS_1 = b"J\xff\xff\xff\xff"
DTYPE = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNN" + 2 * MINUS_1 + b"K\x00tb"
HARM = {
    "no state": b"N", "short": b"(K\x01t", "no dtype": b"(K\x01K\x01\x85NK\x00U\x04abcdt",
    "more than there is": b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"K\x00U\x04abcdt",
    "negative": b"(K\x01" + MINUS_1 + b"\x85" + DTYPE + b"K\x00U\x04abcdt",
    "a list for bytes": b"(K\x01K\x01\x85" + DTYPE + b"K\x00]t",
    "a number for bytes": b"(K\x01K\x01\x85" + DTYPE + b"K\x00K\x05t",
    "33 axes": b"(K\x01(" + b"K\x01" * 33 + b"t" + DTYPE + b"K\x00U\x04abcdt",
}  # fmt: skip


@pytest.mark.parametrize("what", HARM)
def test_what_numpy_would_have_believed(what, tmp_path):
    (tmp_path / "w.pkl").write_bytes(crafted(HARM[what]))
    with pytest.raises(DataError, match="not a weight file of the book"):
        read_arrays(tmp_path / "w.pkl")
    with pytest.raises(FormatError):
        read_pickled(tmp_path / "w.pkl")


def test_the_crafted_array_is_one_when_its_sizes_are_true(tmp_path):
    content = crafted(b"(K\x01K\x01\x85" + DTYPE + b"K\x00U\x04\x00\x00\x80?t")
    (tmp_path / "w.pkl").write_bytes(content)
    assert same(read_arrays(tmp_path / "w.pkl")[0], np.ones(1, np.float32))


def test_one_array_in_many_places_is_not_many_copies(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps([np.ones(1000)] * 50))
    with pytest.raises(DataError, match="more than it has numbers for"):
        read_arrays(tmp_path / "w.pkl")


@protocols
def test_an_array_of_words_does_not_cost_the_others(protocol, tmp_path):
    odd = {"words": np.array(["a", "b"]), "objects": np.array([1, None]), "c": np.ones(2, "c8"),
           "record": np.zeros(2, [("a", "f4")]), "day": np.array(["2020-01-01"], "M8[D]")}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"W": np.ones((2, 3)), **odd}, protocol))
    found = read_pickled(tmp_path / "w.pkl")
    assert list(found) == ["W"] and found.left.keys() == odd.keys()
    assert all("wanted floating-point numbers" in why for why in found.left.values())


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_jax(protocol, tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    a = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    rounded = jnp.asarray(a, jnp.bfloat16)
    tree = {"lstm": {"w": jnp.asarray(a), "half": rounded}}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(tree, protocol))
    found = read_pickled(tmp_path / "w.pkl")
    assert same(found["lstm.w"], a)
    assert same(found["lstm.half"], np.asarray(rounded.astype(np.float32)))
    assert not any(b.flags.writeable for b in found.values())


def test_nothing_of_the_file_reaches_the_terminal(tmp_path):
    evil = "\x1b]0;owned\x07\u202e" + "x" * 500
    name = evil[:50].encode()
    for content in (crafted(b"N", f"posix\nsystem{evil}\n".encode("ascii", "replace")),
                    pickle.dumps(evil), pickle.dumps({evil: np.dtype("f4")}),
                    b"\x8c" + bytes([len(name)]) + name + b"\x8c\x01a\x93."):
        (tmp_path / "w.pkl").write_bytes(content)
        with pytest.raises(DataError) as error:
            read_arrays(tmp_path / "w.pkl")
        assert str(error.value).isprintable() and len(str(error.value)) < 300


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_told(number, tmp_path):
    weights = [np.ones(3), np.array([1, number], np.float16)]
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(weights))
    with pytest.raises(DataError, match=r"array 1 of 2 holds 1 (NaN|infinite)"):
        read_arrays(tmp_path / "w.pkl")


@pytest.mark.parametrize("content, words", [
    (b"", "cut off after 0 bytes"), (b"a", "empty stack"), (b"NNa", "fills something"),
    (b"h\x01.", "has not made"),
    (b"}" * 600_000, "more than 500,000 opcodes"), (b"\xff", "no pickle's opcode"),
    (b"I12", "damaged or cut off"), (b"S'a\n.", "quotation marks"), (b"0", "has not begun"),
    (b"F1\\x30\n.", "escapes"), (b"}\x80\x02NN\x97.", "has no place"),
    (b"\x8b\xff\xff\xff\x7f1.", "cut"),
])  # fmt: skip
def test_what_is_no_pickle(content, words, tmp_path):
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read_pickled(tmp_path / "w.pkl")


# The fuzzer's target, on mutations as hypothesis makes them; hours of it: see fuzz_files.
@pytest.mark.parametrize("kind", ["pickle", "torch"])
@given(st.data())
def test_mutated_files(kind, data):
    content = bytearray(data.draw(st.sampled_from(fuzz_files.seeds(kind))))
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "copy"])):
            case "flip":
                content[i] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                content[i] = data.draw(st.integers(0, 255))
            case "cut":
                del content[i + 1 :]
            case "insert":
                content[i:i] = data.draw(st.binary(max_size=6))
            case "copy":
                content += content[i : i + 40]
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr("tinygrad_rnn.interop.torch_files.read_bytes", None)
        fuzz_files.check(kind, bytes(content))


# ---- PyTorch's files ----


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["zip", "legacy"])
def save(request, torch, tmp_path):
    def save(thing):
        path = tmp_path / "model.pth"
        torch.save(thing, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return save


def network(torch):
    return torch.nn.Sequential(
        torch.nn.LSTM(3, 4, 2, bidirectional=True), torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def assert_state(found, module, prefix=""):
    state = module.state_dict()
    assert {prefix + name for name in state} <= set(found)
    for name, value in state.items():
        assert same(found[prefix + name], value.numpy()), name


def test_state_dicts_and_whole_modules(save, torch):
    module = network(torch)
    for thing in (module.state_dict(), module):
        found = read_torch(save(thing))
        assert sorted(found) == sorted(module.state_dict())
        assert_state(found, module)
        assert not found.left


def test_a_checkpoint_with_other_things_in_it(save, torch):
    module = network(torch)
    optimizer = torch.optim.Adam(module.parameters())
    module[1](torch.ones(2, 3)).sum().backward()
    optimizer.step()
    found = read_torch(save({
        "epoch": 3, "model": module.state_dict(), "optimizer": optimizer.state_dict(),
        "options": argparse.Namespace(a=1), "why": os.mkdir,
    }))  # fmt: skip
    assert_state(found, module, "model.")
    assert found.left == {}  # options and a function: no arrays are in them, and none was made
    assert any(name.startswith("optimizer.state.") for name in found)


def test_tensors_of_every_kind(save, torch):
    x = torch.randn(4, 6)
    tensors = {
        "transposed": x.T, "a part": x[1:3, ::2], "half": x.half(), "double": x.double()[::2],
        "integers": torch.arange(3), "booleans": x > 0, "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0), "parameter": torch.nn.Parameter(x), "tied": x, "again": x,
    }  # fmt: skip
    found = read_torch(save(tensors))
    for name, tensor in tensors.items():
        assert same(found[name], tensor.detach().numpy()), name
    assert same(read_torch(save({"b": x.bfloat16()}))["b"], x.bfloat16().float().numpy())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["complex64", "float8_e4m3fn", "qint8", "uint16"])
def test_tensors_that_numpy_does_not_have_do_not_cost_the_others(kind, save, torch):
    x = torch.arange(6.0).reshape(2, 3)
    odd = (torch.quantize_per_tensor(x, 0.1, 0, torch.qint8) if kind == "qint8"
           else x.to(getattr(torch, kind)))  # fmt: skip
    found = read_torch(save({"odd": odd, "x": x, "again": odd}))
    assert list(found) == ["x"] and same(found["x"], x.numpy())
    assert found.left["odd"].endswith("of a kind that NumPy does not have")


def test_a_torchscript_archive(torch, tmp_path):
    with warnings.catch_warnings():  # it is deprecated, the files are there
        warnings.simplefilter("ignore")
        module = torch.jit.trace(network(torch)[1:], torch.ones(2, 3))
    module.save(tmp_path / "model.pt")
    assert_state(read_torch(tmp_path / "model.pt"), module)


@given(st.data())
def test_a_file_that_is_cut_off_or_damaged(data):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save(network(torch).state_dict(), file)
    content = bytearray(file.getvalue())
    i = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[i:]
    else:
        content[i] ^= 255
    try:
        found = fuzz_read(bytes(content))
    except FormatError as error:
        assert str(error).isprintable()
    else:
        assert all(np.isfinite(a).all() for a in found.values())


def fuzz_read(content):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_rnn.interop.torch_files.read_bytes", lambda path: content)
        return read_torch("model.pth")


@pytest.mark.parametrize("offset", [1, 6, 200])
def test_a_tensor_that_reaches_beyond_its_storage(offset):
    whole = fuzz_files.STATE_DICT
    assert fuzz_read(fuzz_files.torch_archive(whole))["w"].shape == (2, 3)
    beyond = whole.replace(b"QK\x00K\x02", b"QK" + bytes([offset]) + b"K\x02")
    with pytest.raises(FormatError, match="reaches beyond its storage of 6 numbers"):
        fuzz_read(fuzz_files.torch_archive(beyond))


def test_no_file_and_no_regular_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_torch(tmp_path / "none.pth")
    with pytest.raises(FormatError, match="not a file"):
        read_torch(tmp_path)
    with pytest.raises(FormatError, match="not a file"):
        read_torch(os.devnull)


@pytest.mark.filterwarnings("error")
def test_a_file_without_a_recurrent_layer_is_told(tmp_path):
    pytest.importorskip("safetensors", reason="pip install safetensors")
    path = tmp_path / "m.safetensors"
    save_safetensors(nn.Linear(2, 3), path)
    with pytest.warns(UserWarning, match="m.safetensors has no recurrent layer"):
        assert from_state_dict(path) == {}
