"""Odd arguments and odd surroundings of the command line: what cannot be is told before the work,
and what was accepted can be used afterwards."""

import math
import os
import subprocess
import sys

import pytest

from models.commands.main import main
from models.data import DataError
from models.data.reading import read_text
from models.training import MODEL, Run, load_config
from models.training.config import LARGEST, MOST_LAYERS

for _name in ("tqdm", "safetensors"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[models]")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text("the cat sat on the mat\n" * 30, encoding="utf-8")
    return path


def train(text, out, *more):
    return main(["train", "text", str(text), "--hidden", "4", "--embedding", "4", "--batch-size",
                 "3", "--time-size", "5", "--steps", "3", "--no-jit", "--out", str(out),
                 *map(str, more)])  # fmt: skip


@pytest.mark.parametrize("option", [
    "--seed", "--epochs", "--warmup", "--patience", "--words", "--min-count", "--lr", "--max-norm",
    "--forget-bias",
])  # fmt: skip
def test_a_setting_that_no_checkpoint_may_hold_is_told_before_the_training(
    option, text, tmp_path, capsys
):
    assert train(text, tmp_path / "out", option, 10**39) == 1
    assert f"{option} 1" in (error := capsys.readouterr().err) and "too large" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [
    ["train", "addition", "--out", ""], ["train", "addition", "--data", ""],
    ["train", "addition", "--resume", ""], ["train", "ptb", "--data-dir", ""],
    ["train", "text", ""], ["evaluate", ""], ["evaluate", "run", "--data="],
    ["attention", "run", "1+1", "--output", ""], ["gates", ""],
])  # fmt: skip
def test_an_empty_name_is_not_an_option_that_was_left_out(arguments, capsys):
    """As a shell makes it of a variable that it does not know."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "invalid name value: ''" in capsys.readouterr().err


def test_layers_without_end_are_told_before_they_are_made(text, tmp_path, capsys):
    assert train(text, tmp_path / "out", "--model", "better", "--layers", MOST_LAYERS + 1) == 1
    assert "--layers 1001 is too large" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed", "--epochs", "--warmup", "--patience"])
def test_the_largest_setting_that_is_taken_can_be_read_again(option, text, tmp_path):
    assert train(text, tmp_path, option, LARGEST - 1) == 0
    assert LARGEST - 1 in vars(load_config(tmp_path)).values()


@pytest.mark.parametrize("more", [["--data", "x"], ["--data"], ["--epoch", "2"]])
def test_an_option_has_its_whole_name(more, text, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(text, tmp_path / "out", *more)
    assert f"unrecognized arguments: {' '.join(more)}" in capsys.readouterr().err


@pytest.mark.parametrize("more, told", [
    (["--forget-bias", "1", "--cell", "gru"], "--forget-bias 1.0 is of --cell lstm; gru has no"),
    (["--forget-bias", "1", "--model", "simple"], "--forget-bias 1.0 is of --cell lstm; rnn has"),
    (["--layers", "3"], "--layers is of --model better, not of rnnlm"),
    (["--min-count", "1000"], "every symbol becomes <unk>: give a smaller --min-count"),
    (["--max-vocab", "1"], "every symbol becomes <unk>"),
    (["--level", "char", "--max-vocab", "2", "--min-count", "1000"], "every symbol becomes <unk>"),
])  # fmt: skip
def test_an_option_that_would_do_nothing_or_leave_nothing_is_told(
    more, told, text, tmp_path, capsys
):
    assert train(text, tmp_path / "out", *more) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_resumed_run_is_held_to_the_same(text, tmp_path, capsys):
    assert train(text, tmp_path) == 0
    assert main(["train", "text", "--resume", str(tmp_path), "--epochs", str(LARGEST)]) == 1
    assert "too large" in capsys.readouterr().err
    assert main(["train", "text", "--resume", str(tmp_path / MODEL)]) == 1
    assert "wanted the folder of a run" in capsys.readouterr().err


def test_the_same_folder_may_be_called_by_another_name(text, tmp_path, monkeypatch, capsys):
    assert train(text, tmp_path / "run") == 0
    monkeypatch.chdir(tmp_path)
    resume = ["train", "text", "--resume", "run", "--steps", "4", "--no-jit", "--out"]
    assert main([*resume, str(tmp_path / "run")]) == 0
    assert main([*resume, "other"]) == 1
    assert "a resumed run stays in its folder" in capsys.readouterr().err
    assert main(["generate", "run", "--prompt=the", "--length", str(10**20)]) == 1
    assert "--length 1" in (error := capsys.readouterr().err) and "too large" in error


def test_what_was_in_the_folder_is_never_overwritten(text, tmp_path, monkeypatch, capsys):
    kept = []
    for seed in range(3):
        assert train(text, tmp_path, "--seed", seed) == 0
        kept.append((tmp_path / MODEL).read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(Run, "_one_step", lambda *_: (math.nan, 1.0))
        assert train(text, tmp_path) == 1
    assert "Nothing was saved" in capsys.readouterr().err
    assert train(text, tmp_path) == 0
    for folder, content in zip(("before", "before-2", "before-3"), kept, strict=True):
        assert (tmp_path / folder / MODEL).read_bytes() == content


@pytest.mark.parametrize("name, told", [
    ("none", "none/model.safetensors: there is no such file; train a model with --out"),
    ("none.safetensors", "none.safetensors: there is no such file"),
])  # fmt: skip
def test_a_run_that_is_not_there_is_named_once(name, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", name]) == 1
    error = capsys.readouterr().err.replace("\\", "/")
    assert told in error and error.count("model.safetensors") <= 1


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="a device without an end")
def test_a_device_is_not_read_to_its_end(tmp_path, capsys):
    assert train("/dev/zero", tmp_path) == 1
    assert "not a file" in capsys.readouterr().err
    assert main(["evaluate", "/dev/zero"]) == 1
    assert "neither a file nor the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["hex", "rot13", "base64", "undefined", "", "x\0y", "../x"])
def test_a_codec_that_makes_no_text_is_no_encoding(encoding, text):
    with pytest.raises(DataError, match="there is no such encoding"):
        read_text(text, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "U8", "utf_8", "UTF8", "utf-8-sig"])
def test_the_mark_before_a_text_is_no_part_of_it_whatever_utf8_is_called(encoding, tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfword")
    assert read_text(tmp_path / "bom.txt", encoding) == "word"


def test_standard_input_that_is_closed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    assert train("-", tmp_path / "out") == 1
    assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_a_training_whose_standard_streams_are_all_closed(text, tmp_path):
    command = [sys.executable, "-m", "tinygrad_rnn", "train", "text", str(text), "--hidden", "4",
               "--steps", "3", "--batch-size", "3", "--time-size", "5", "--out",
               str(tmp_path)]  # fmt: skip
    shell = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command])
    assert shell.returncode == 0
    assert load_config(tmp_path).H == 4
