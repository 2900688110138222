"""Text of any size: streams against the whole text at once, the cache, and what files can be."""

import gzip
import lzma
import os
import subprocess
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands.main import main
from models.data import DataError, Vocabulary, read_large_corpus, split_text, stream
from models.data import reading as files
from models.files import checkpoint
from models.training import MODEL

pytest.importorskip("safetensors", reason="pip install tinygrad-rnn[models]")

# Letters, accents that compose, Hangul in parts, line ends of all kinds, and what has no case.
letters = st.sampled_from("ab e\u0301\u0323\u1112\u1161\u11ab\r\n\t\u3000\u5b57😀")
texts = st.text(letters, min_size=1, max_size=60)
levels = st.sampled_from(["word", "char"])


@given(texts.filter(lambda t: t.strip()), levels, st.integers(1, 9), st.booleans(),
       st.integers(1, 3), st.none() | st.integers(1, 5))  # fmt: skip
def test_a_stream_is_the_whole_text(tmp_path_factory, text, level, block, in_file, least, most):
    folder = tmp_path_factory.mktemp("stream")
    (folder / "t.txt").write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        patch.setattr(stream, "IN_MEMORY", 0 if in_file else 1 << 20)
        corpus = read_large_corpus(folder / "t.txt", level, "utf-8", least, most, folder)
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = unicodedata.normalize("NFC", whole) if level == "char" else whole
    symbols = split_text(whole, level)
    counts = Counter(symbols)
    kept = [s for s in dict.fromkeys(symbols) if counts[s] >= least]
    if most is not None and len(kept) + (len(kept) < len(counts)) > most:
        often = sorted((s for s in dict.fromkeys(symbols) if s != "<unk>"),
                       key=lambda s: -counts[s])[: most - 1]  # fmt: skip
        kept = [s for s in kept if s in often]
    if len(kept) < len(counts):
        symbols = [s if s in kept else "<unk>" for s in symbols]
        kept = [s for s in kept if s != "<unk>"] + ["<unk>"]
    assert corpus.vocabulary == Vocabulary(kept)
    assert corpus.vocabulary.decode(np.asarray(corpus.ids)) == symbols
    assert isinstance(corpus.ids, np.memmap) == in_file


def test_a_text_that_was_read_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "IN_MEMORY", 100)
    file, cache = tmp_path / "t.txt", tmp_path / "cache"
    file.write_text("a rose is a rose is a rose\n" * 20)
    first = read_large_corpus(file, cache=cache)
    expected = np.array(first.ids)  # the file under it is about to be spoiled
    monkeypatch.setattr(stream, "read_blocks", None)
    again = read_large_corpus(file, cache=cache)
    assert again.vocabulary == first.vocabulary and np.array_equal(again.ids, expected)
    monkeypatch.undo()
    monkeypatch.setattr(stream, "IN_MEMORY", 100)
    for spoil in (lambda ids, about: ids.write_bytes(ids.read_bytes()[:-4]),
                  lambda ids, about: about.write_text("[]"), lambda ids, about: about.unlink(),
                  lambda ids, about: ids.unlink()):  # fmt: skip
        (ids,), (about,) = cache.glob("*.ids"), cache.glob("*.json")
        spoil(ids, about)
        again = read_large_corpus(file, cache=cache)
        assert np.array_equal(again.ids, expected)
    read_large_corpus(file, "char", cache=cache)
    read_large_corpus(file, min_count=21, cache=cache)
    file.write_text("a rose is a rose is a nose\n" * 20)
    assert "nose" in read_large_corpus(file, cache=cache).vocabulary
    assert len(list(cache.glob("*.ids"))) == 4 and not list(cache.glob("*.part"))


def test_files_as_people_have_them(tmp_path):
    text = "한글 워드 “naïve”\n" * 5
    expected = read_large_corpus(write(tmp_path / "a.txt", text.encode()))
    for name, content, encoding in [
        ("a.gz", gzip.compress(text.encode()), "utf-8"),
        ("a.XZ", lzma.compress(text.encode()), "utf-8"),
        ("a.bom", text.encode("utf-8-sig"), "UTF8"),
        ("a.16", text.encode("utf-16"), "utf-16"), ("a.32", text.encode("utf-32"), "utf-32"),
        ("a.win", text.replace("\n", "\r\n").encode(), "utf-8"),
    ]:  # fmt: skip
        corpus = read_large_corpus(write(tmp_path / name, content), encoding=encoding)
        assert corpus.vocabulary == expected.vocabulary, name
        assert np.array_equal(corpus.ids, expected.ids)
    file = write(tmp_path / "k", "한글 워드\n".encode("cp949"))
    korean = read_large_corpus(file, encoding="cp949")
    assert korean.vocabulary.symbols == ("한글", "워드", "<eos>")


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name, content, encoding, words", [
    ("a.txt", b"caf\xe9 \n", "utf-8", "line 1: not UTF-8; save the file as UTF-8, or name"),
    ("a.txt", b"a\nb\n\xe9", "utf-8", "line 3: not UTF-8"), ("a.txt", b"\xc3", "utf-8", "line 1"),
    ("a.txt", b"abc", "utf-16", "line 1: not UTF-16"), ("a.txt", b"a", "no-such", "no such encod"),
    ("a.txt", b" \n\t\n", "utf-8", "is empty"), ("a.txt", b"", "utf-8", "is empty"),
    ("a.gz", b"no", "utf-8", "cannot be unpacked"), ("a.xz", b"no", "utf-8", "cannot be unpacked"),
    ("a.gz", gzip.compress(b"a b c" * 99, mtime=0)[:-9], "utf-8", "cannot be unpacked"),
])  # fmt: skip
def test_files_that_cannot_be_read(name, content, encoding, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read_large_corpus(write(tmp_path / name, content), encoding=encoding, cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def weights(out):
    arrays, _ = checkpoint.load(out / MODEL)
    return {name: array.tobytes() for name, array in arrays.items()}


SMALL = ["--hidden", "8", "--embedding", "8", "--batch-size", "3", "--time-size", "5"]


def test_training_from_a_file_of_ids_is_training_from_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "cache"))
    file = write(tmp_path / "t.txt", b"the cat sat on the mat\n" * 40)
    command = ["train", "text", str(file), *SMALL, "--min-count", "41"]
    assert main([*command, "--steps", "30", "--out", str(tmp_path / "memory")]) == 0
    monkeypatch.setattr(stream, "IN_MEMORY", 0)
    assert main([*command, "--steps", "10", "--out", str(tmp_path / "file")]) == 0
    assert main(["train", "text", "--resume", str(tmp_path / "file"), "--steps", "30"]) == 0
    assert weights(tmp_path / "file") == weights(tmp_path / "memory")
    assert list((tmp_path / "cache").glob("*.ids"))


def test_standard_input(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tinygrad_rnn", "train", "text", "-", *SMALL, "--steps", "5",
               "--out", str(out)]  # fmt: skip
    done = subprocess.run(command, input=b"the cat sat on the mat\n" * 40, capture_output=True,
                          env=os.environ | {"TINYGRAD_RNN_CACHE": str(tmp_path / "cache")})
    assert (done.returncode, done.stderr) == (0, b"")
    assert main(["train", "text", "--resume", str(out), "--steps", "7"]) == 0
    assert main(["evaluate", str(out)]) == 0


# ---- byte-pair encoding ----


def test_byte_pairs_lose_nothing(tmp_path, monkeypatch):
    pytest.importorskip("tokenizers", reason='pip install "tinygrad-rnn[bpe]"')
    from models.data.bpe import BytePairs

    pairs = BytePairs.train(["the cat sat on the mat, 한글 \n"] * 50, 300)
    assert len(pairs.vocabulary) <= 300 and len(pairs.encode("the cat")) == 2
    text = "the cats — 한국 😀\n\n  sat"
    assert pairs.decode(pairs.encode(text).tolist()) == text
    again = BytePairs(pairs.vocabulary.symbols, pairs.merges)
    assert np.array_equal(again.encode(text), pairs.encode(text))
    write(tmp_path / "t.txt", (text * 9).encode())
    for block, in_memory in ((1 << 20, 1 << 20), (7, 0)):
        monkeypatch.setattr(files, "BLOCK", block)
        monkeypatch.setattr(stream, "IN_MEMORY", in_memory)
        corpus = read_large_corpus(tmp_path / "t.txt", pairs=pairs, cache=tmp_path)
        assert pairs.decode(corpus.ids.tolist()) == text * 9
    for symbols, merges in [(["a"], []), (pairs.vocabulary.symbols, ["a"]),
                            (pairs.vocabulary.symbols, ["a zzz"])]:  # fmt: skip
        with pytest.raises(DataError, match="byte-pair encoding"):
            BytePairs(symbols, merges)
    with pytest.raises(DataError, match="wanted 256"):
        BytePairs.train(["a"], 255)


def test_training_with_byte_pairs(tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers", reason='pip install "tinygrad-rnn[bpe]"')
    file = write(tmp_path / "t.txt", "the cat sat on the mat 한글\n".encode() * 60)
    out = tmp_path / "out"
    command = ["train", "text", str(file), *SMALL, "--level", "bpe"]
    assert main([*command, "--max-vocab", "280", "--steps", "10", "--out", str(out)]) == 0
    assert main(["train", "text", "--resume", str(out), "--steps", "20"]) == 0
    assert main(["evaluate", str(out)]) == 0
    capsys.readouterr()
    assert main(["generate", str(out), "--prompt", "a 글 new", "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("a 글 new")

    kinds = tokenizers.pre_tokenizers
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = kinds.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=270, show_progress=False,
                                             initial_alphabet=kinds.ByteLevel.alphabet())
    learner.train_from_iterator([file.read_text(encoding="utf-8")], trainer)
    learner.save(str(tmp_path / "tokenizer.json"))
    given = [*command, "--tokenizer", str(tmp_path / "tokenizer.json"), "--steps", "5"]
    assert main([*given, "--out", str(tmp_path / "given")]) == 0
    assert len(checkpoint.load(tmp_path / "given" / MODEL)[1]["vocabulary"]) == 270
    for content in (b"{}", b"[", b'{"model": {"type": "WordPiece"}}', b"\xff"):
        write(tmp_path / "tokenizer.json", content)
        assert main([*given, "--out", str(tmp_path / "given")]) == 1
        assert "not a tokenizer.json of byte-level BPE" in capsys.readouterr().err
    for more in (["--words", "9"], ["--min-count", "2"]):
        assert main([*command, *more]) == 1
    assert main(["train", "text", str(file), "--tokenizer", "x.json"]) == 1


@pytest.mark.parametrize("content, words", [
    (b" \n\t\n " * 50, "the file is empty"), ("가 나 다\n".encode("cp949") * 50, "--encoding"),
])  # fmt: skip
def test_texts_that_byte_pairs_refuse_as_words_do(content, words, tmp_path, capsys):
    pytest.importorskip("tokenizers", reason='pip install "tinygrad-rnn[bpe]"')
    file = write(tmp_path / "t.txt", content)
    for level in ("word", "bpe"):
        assert main(["train", "text", str(file), *SMALL, "--level", level]) == 1
        assert words in capsys.readouterr().err
