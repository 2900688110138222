"""The command line and the training loop: every command, resumed runs, bad input."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from models.commands.main import main
from models.data import DataError, make_dates, make_sums
from models.files import checkpoint
from models.files.book import load_rnnlm, read_arrays
from models.language import BetterRnnlm, Rnnlm
from models.training import BEST, LOG, MODEL, Run, load_model
from tinygrad_rnn import optim

for _name in ("tqdm", "safetensors", "matplotlib"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[models]")

WORDS = "the cat sat on the mat and the dog sat on the log\n"
SMALL_PAIRS = ["--hidden", "12", "--batch-size", "20"]
SMALL_TEXT = ["--hidden", "8", "--embedding", "8", "--batch-size", "3", "--time-size", "5"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, pairs in (("dates", make_dates(120)), ("sums", make_sums(120))):
        lines = [x + t for x, t in zip(pairs.inputs, pairs.answers, strict=True)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "words.txt").write_text(WORDS * 12, encoding="utf-8")
    for part, times in (("train", 12), ("valid", 3), ("test", 4)):
        (folder / f"ptb.{part}.txt").write_text(WORDS * times, encoding="utf-8")
    return folder


def weights(folder, file=MODEL):
    """The arrays of a run, and what its checkpoint says but for the time it took."""
    arrays, about = checkpoint.load(folder / file)
    about["training"].pop("seconds")
    return {name: array.tobytes() for name, array in arrays.items()}, about


def logged(folder):
    """The records of a run, but for what hangs on time."""
    records = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "tokens_per_second")}
            for r in records]  # fmt: skip


RUNS = {
    "date": ["date", "--data", "{}/dates.txt", *SMALL_PAIRS, "--epochs", "2"],
    "bidirectional": ["date", "--data", "{}/dates.txt", *SMALL_PAIRS, "--epochs", "2",
                      "--bidirectional", "--input-feeding", "--score", "additive"],
    "deep": ["addition", "--model", "deep", "--data", "{}/sums.txt", *SMALL_PAIRS, "--steps", "8",
             "--layers", "2", "--no-residual", "--ema", "0.8"],
    "addition": ["addition", "--model", "peeky", "--reverse", "--data", "{}/sums.txt",
                 *SMALL_PAIRS, "--epochs", "2", "--teacher-forcing", "0.7", "--schedule", "cosine"],
    "ptb": ["ptb", "--data-dir", "{}", *SMALL_TEXT, "--epochs", "2"],
    "simple": ["ptb", "--model", "simple", "--words", "40", "--data-dir", "{}", *SMALL_TEXT,
               "--epochs", "3"],
    "better": ["ptb", "--model", "better", "--data-dir", "{}", "--hidden", "8", "--batch-size",
               "3", "--time-size", "5", "--epochs", "3", "--ema", "0.95"],
    "text": ["text", "{}/words.txt", "--level", "char", "--cell", "gru", *SMALL_TEXT, "--steps",
             "30"],
}  # fmt: skip


def train(name, data, out, *more):
    arguments = [a.format(data) for a in RUNS[name]]
    return main(["train", *arguments, "--out", str(out), *more])


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in RUNS:
        assert train(name, data, folder / name, "--plot") == 0
    return folder


# ---- every command ----


@pytest.mark.parametrize("name", RUNS)
def test_training_leaves_model_log_and_curve(runs, name, capsys):
    folder = runs / name
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    records = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    steps = [r["step"] for r in records]
    assert steps == sorted(steps) and all("epoch" in r for r in records)
    assert any("loss" in r for r in records)
    assert (folder / "attention.png").exists() == (name in ("date", "bidirectional", "deep"))
    assert (folder / BEST).exists() == any("train_loss" in r for r in records)
    assert main(["evaluate", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    value = result["accuracy" if "accuracy" in result else "perplexity"]
    last = [r for r in records if "train_loss" in r]
    if last and result["split"] != "test":
        measure = "accuracy" if "accuracy" in result else "perplexity"
        values = [r[f"valid_{measure}"] for r in last]
        assert value == (max(values) if measure == "accuracy" else min(values))
        assert main(["evaluate", str(folder), "--json", "--last"]) == 0
        assert json.loads(capsys.readouterr().out)[measure] == values[-1]


@pytest.mark.parametrize("name", [n for n in RUNS if n not in ("ptb", "simple", "better", "text")])
def test_answers(runs, data, name, capsys):
    text = (data / ("sums.txt" if name in ("addition", "deep") else "dates.txt")).read_text()
    text = text.split("_")[0].rstrip()
    answers = []
    for beam in (1, 4):
        assert main(["answer", str(runs / name), text, "--beam", str(beam)]) == 0
        answers.append(capsys.readouterr().out.rstrip("\n"))
    reader = load_model(runs / name)
    assert answers == [reader.answer([text], beam)[0].rstrip() for beam in (1, 4)]
    code = main(["attention", str(runs / name), text, "--output", str(runs / f"{name}.svg")])
    printed = capsys.readouterr()
    if name == "addition":
        assert code == 1 and "has no attention" in printed.err
    else:
        assert code == 0 and printed.out.rstrip("\n") == answers[0]
        assert "<svg" in (runs / f"{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ptb", "simple", "better", "text"])
def test_generation_by_command(runs, name, capsys):
    def generate(*more):
        arguments = ["generate", str(runs / name), "--prompt", "the", "--length", "30", *more]
        assert main(arguments) == 0
        return capsys.readouterr().out

    assert generate("--seed", "1") == generate("--seed", "1") != generate("--seed", "2")
    assert generate("--temperature", "0") == generate("--top-k", "1", "--seed", "3")
    assert generate("--top-p", "1e-9", "--seed", "5") == generate("--temperature", "0")
    symbol = "a" if name == "text" else "cat"
    with_it = generate("--seed", "1", "--temperature", "5").removeprefix("the")
    without = generate("--seed", "1", "--temperature", "5", "--ban", symbol).removeprefix("the")
    assert symbol in with_it and symbol not in without


def test_gradients_command(tmp_path, capsys):
    picture = tmp_path / "gradients.png"
    assert main(["gradients", "--output", str(picture), "--steps", "12", "--hidden", "8"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "LSTM, weights x 2" in capsys.readouterr().out


# ---- resumed runs ----


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_at_any_step_and_resumed_ends_with_the_same_bits(
    name, data, runs, tmp_path, monkeypatch
):
    whole, about = weights(runs / name)
    total = about["training"]["step"]
    for stop in {1, total // 2, total - 1}:
        out = tmp_path / str(stop)
        original = Run._one_step

        def interrupted(self, xs, ts, stop=stop, original=original):
            if self.step + 1 == stop:
                signal.raise_signal(signal.SIGINT)
            return original(self, xs, ts)

        monkeypatch.setattr(Run, "_one_step", interrupted)
        assert train(name, data, out) == 130
        monkeypatch.setattr(Run, "_one_step", original)
        assert weights(out)[1]["training"]["step"] == stop
        steps = ["--steps", str(total)] if "--steps" in RUNS[name] else []
        assert main(["train", RUNS[name][0], "--resume", str(out), *steps]) == 0
        assert weights(out) == (whole, about)
        assert logged(out) == logged(runs / name)


def test_averages_of_the_weights_are_measured_and_kept(data, tmp_path, monkeypatch, capsys):
    steps, update = [], optim.EMA.update

    def noted(ema):
        update(ema)
        steps.append([p.data.copy() for p in ema.params])

    monkeypatch.setattr(optim.EMA, "update", noted)
    assert train("better", data, tmp_path, "--epochs", "1", "--no-jit") == 0
    best, last = (checkpoint.load(tmp_path / file)[0] for file in (BEST, MODEL))
    assert not any("average" in name for name in best)
    named = load_model(tmp_path).model.named_parameters()
    for (name, _), *each in zip(named, *steps, strict=True):
        np.testing.assert_array_equal(last[name], each[-1])
        wanted = np.average(each, axis=0, weights=0.95 ** np.arange(len(each))[::-1])
        np.testing.assert_allclose(best[name], wanted, rtol=1e-5, atol=1e-6)


def test_a_run_begins_with_the_weights_of_another(data, runs, tmp_path, capsys):
    more = ["--finetune", str(runs / "better")]
    assert train("better", data, tmp_path, *more, "--epochs", "1", "--lr", "1e-30") == 0
    begun, of = checkpoint.load(tmp_path / MODEL)[0], checkpoint.load(runs / "better" / BEST)[0]
    for name in of:
        if not name.startswith(checkpoint.PREFIX):
            np.testing.assert_array_equal(begun[name], of[name])
    out = ["--out", tmp_path / "other"]
    for arguments, told in (
        ([*RUNS["better"], "--hidden", "9", *out], "not the weights of this model"),
        ([*RUNS["text"], *out], "its vocabulary of"),
        (["ptb", "--resume", tmp_path], "is of a new run"),
    ):
        one_sentence(capsys, ["train", *[str(a).format(data) for a in arguments], *more], told)


def test_ctrl_c_says_how_to_go_on(data, tmp_path, monkeypatch, capsys):
    original = Run._one_step

    def interrupted(self, xs, ts):
        signal.raise_signal(signal.SIGINT)
        return original(self, xs, ts)

    monkeypatch.setattr(Run, "_one_step", interrupted)
    assert train("date", data, tmp_path) == 130
    error = capsys.readouterr().err
    command = re.search(r"go on with tinygrad-rnn (train date --resume .*)", error).group(1)
    monkeypatch.setattr(Run, "_one_step", original)
    assert main(command.split()) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_midst_of_it_and_resumed(data, runs, tmp_path):
    """A process that saves after every step is killed wherever it is, again and again."""
    program = (
        "import sys, models.training.run as t; t.SAVE_EVERY = 0;"
        "from models.commands.main import main;"
        "sys.exit(main(sys.argv[1:]))"
    )
    more = ["--out", str(tmp_path)]
    arguments = ["train", *[a.format(data) for a in RUNS["ptb"]]]
    for delay in (0.0, 0.01, 0.02):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments, *more], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        before = (tmp_path / MODEL).stat().st_mtime_ns if more[0] == "--resume" else 0
        while process.poll() is None and time.monotonic() < deadline:
            path = tmp_path / MODEL
            if path.exists() and path.stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / MODEL).exists():
            more = ["--resume", str(tmp_path)]
    assert main([*arguments, *more]) == 0
    assert weights(tmp_path) == weights(runs / "ptb")


def test_more_epochs_are_those_that_a_longer_run_would_have_had(data, runs, tmp_path):
    more = ("--schedule", "exponential")  # the other default falls over all epochs that there are
    assert train("date", data, tmp_path / "long", "--epochs", "3", *more) == 0
    assert train("date", data, tmp_path / "short", *more) == 0
    assert main(["train", "date", "--resume", str(tmp_path / "short"), "--epochs", "3"]) == 0
    assert weights(tmp_path / "short")[0] == weights(tmp_path / "long")[0]


def test_a_rate_that_falls_over_the_run_is_said_to_change_with_its_length(data, tmp_path, capsys):
    assert train("date", data, tmp_path) == 0
    capsys.readouterr()
    assert main(["train", "date", "--resume", str(tmp_path), "--epochs", "3"]) == 0
    assert "--schedule cosine falls over 3 epochs from here on" in capsys.readouterr().out


def test_a_run_in_the_same_folder_moves_the_old_one_aside(data, tmp_path, capsys):
    assert train("better", data, tmp_path) == 0
    old = weights(tmp_path)
    assert train("date", data, tmp_path, "--steps", "1") == 0
    assert "is kept in" in capsys.readouterr().out
    assert weights(tmp_path / "before") == old
    assert not (tmp_path / BEST).exists() and (tmp_path / "before" / BEST).exists()


# ---- bad input ----


def one_sentence(capsys, arguments, *words):
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tinygrad-rnn: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, error


def test_bad_input_is_a_sentence(runs, data, tmp_path, capsys):
    (tmp_path / MODEL).write_bytes(b"nothing")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 1000)
    (tmp_path / "short.txt").write_text("too short")
    cut = tmp_path / "cut"
    cut.mkdir()
    content = (runs / "date" / MODEL).read_bytes()
    (cut / MODEL).write_bytes(content[: len(content) // 2])
    for words, *arguments in [
        ("there is no such file", "answer", tmp_path / "none", "x"),
        ("not a whole model file", "answer", tmp_path, "x"),
        ("not a whole model file", "answer", cut, "x"),
        ("not a whole model file", "train", "date", "--resume", cut),
        ("empty", "train", "date", "--data", tmp_path / "empty.txt"),
        ("no.txt", "train", "date", "--data", tmp_path / "no.txt"),
        ("not UTF-8", "train", "text", tmp_path / "latin.txt"),
        ("shorter than one batch", "train", "text", tmp_path / "short.txt"),
        ("no such file", "train", "text", tmp_path / "none.txt"),
        ("which FILE", "train", "text"),
        ("no such file", "train", "ptb", "--data-dir", tmp_path),
        ("--score is of --model attention or deep", "train", "addition", "--score", "dot"),
        ("holds a model of ptb", "answer", runs / "ptb", "x"),
        ("holds a model of date", "generate", runs / "date", "--prompt", "x"),
        ("holds a model of date", "train", "addition", "--resume", runs / "date"),
        ("'unheard' is not among", "generate", runs / "ptb", "--prompt", "unheard"),
        ("the prompt is empty", "generate", runs / "ptb", "--prompt", ""),
        ("'~' is not among", "answer", runs / "date", "~"),
        ("but the model reads 29", "answer", runs / "date", "1" * 30),
        ("was begun with --hidden 12", "train", "date", "--resume", runs / "date", "--hidden",
         "99"),
        ("its vocabulary", "evaluate", runs / "text", "--data", data / "dates.txt"),
        ("its vocabulary", "train", "date", "--resume", runs / "date", "--data",
         data / "sums.txt"),
        ("cannot be read", "evaluate", tmp_path / "none.pkl"),
    ]:
        one_sentence(capsys, arguments, words)
    with pytest.raises(SystemExit):
        main(["train", "date", "--epochs", "0"])


def test_without_safetensors_training_does_not_even_begin(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for arguments in (["train", "date", "--out", tmp_path / "new"], ["answer", runs / "date", "x"]):
        one_sentence(capsys, arguments, 'pip install "tinygrad-rnn[models]"')
    assert not (tmp_path / "new").exists()


def test_weights_of_another_shape_are_refused(runs, tmp_path, capsys):
    arrays, about = checkpoint.load(runs / "date" / MODEL)
    about["config"]["H"] = 13
    checkpoint.save(tmp_path / MODEL, arrays, about)
    one_sentence(capsys, ["answer", tmp_path, "x"], "not the weights of this model")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(data, tmp_path, capsys,
                                                                      monkeypatch):
    original = Run._one_step
    calls = []

    def broken(self, xs, ts):
        calls.append(1)
        if len(calls) == 8:
            self.task.model.encoder.embed.W.data[...] = np.nan
        return original(self, xs, ts)

    monkeypatch.setattr(Run, "_one_step", broken)
    with np.errstate(invalid="ignore"):
        one_sentence(capsys, ["train", *[a.format(data) for a in RUNS["date"]], "--out", tmp_path],
                     "step 8 (epoch 2): the loss is nan", "keeps the last good state")
    arrays, about = checkpoint.load(tmp_path / MODEL)
    assert about["training"]["step"] == 5
    assert all(np.isfinite(a).all() for a in arrays.values())


def test_a_full_disk_keeps_the_last_good_checkpoint(data, tmp_path, capsys, monkeypatch):
    assert train("date", data, tmp_path) == 0
    good = (tmp_path / MODEL).read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    one_sentence(capsys, ["train", "date", "--resume", tmp_path, "--epochs", "3"],
                 "No space left on device", "is as it was")
    assert (tmp_path / MODEL).read_bytes() == good
    assert not list(tmp_path.glob("*.part"))


# ---- the book's weight files ----


def book_file(path, model, protocol=None):
    arrays = [p.detach().numpy().astype(np.float16) for p in model.parameters()]
    path.write_bytes(pickle.dumps(arrays, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kind", [lambda: Rnnlm(9, 3, 4), lambda: BetterRnnlm(9, 4, 4)])
def test_weights_of_the_book_are_read(kind, protocol, tmp_path):
    model = kind()
    loaded = load_rnnlm(book_file(tmp_path / "w.pkl", model, protocol))
    assert type(loaded) is type(model)
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        assert theirs.dtype == np.float32
        assert np.array_equal(ours.numpy().astype(np.float16), theirs.numpy())


def test_the_commands_take_a_weight_file_of_the_book(data, tmp_path, capsys):
    V = len(set(WORDS.split())) + 1
    path = book_file(tmp_path / "w.pkl", Rnnlm(V, 3, 4))
    assert main(["evaluate", str(path), "--data-dir", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] == pytest.approx(V, rel=0.1)
    assert main(["generate", str(path), "--data-dir", str(data), "--prompt", "the"]) == 0
    other = book_file(tmp_path / "o.pkl", Rnnlm(V + 1, 3, 4))
    one_sentence(capsys, ["evaluate", other, "--data-dir", data], "but Penn Treebank has")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


class Subtle:
    def __reduce__(self):
        return np.dtype, ("O",)


@pytest.mark.parametrize("content, words", [
    (Evil(), "nothing in it was run"), ([Evil()], "nothing in it was run"),
    (np.save, "nothing in it was run"), ([Subtle()], "wanted floating-point"),
    ([np.array([{}], dtype=object)], "wanted floating-point"), ({"a": 1}, "a list of arrays"),
    ([1, 2], "a list of arrays"), ([np.arange(3)], "wanted floating-point"),
    ([np.zeros((2, 2), np.float16)] * 6, r"of shape \(2, 2\), wanted \(2, 8\)"),
    ([np.zeros(2, np.float16)] * 3, "neither an Rnnlm nor a BetterRnnlm"),
])  # fmt: skip
def test_a_file_that_names_anything_else_is_refused(content, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(3, 6):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DataError, match=words):
            load_rnnlm("w.pkl")
    assert not (tmp_path / "was-run").exists()


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_broken_weight_file_is_a_sentence(place, byte):
    content = bytearray(pickle.dumps([np.ones((2, 3), np.float16)]))
    content[place % len(content)] = byte
    try:
        arrays = read_arrays_of(bytes(content))
    except DataError:
        return
    assert all(a.dtype.kind == "f" for a in arrays)


def read_arrays_of(content):
    with tempfile.NamedTemporaryFile(suffix=".pkl", delete=False) as file:
        file.write(content)
    try:
        return read_arrays(file.name)
    finally:
        os.unlink(file.name)


def test_dropout_goes_on_where_it_was(tmp_path):
    """The random generators of a model are part of its checkpoint."""
    tg.manual_seed(1)
    model = BetterRnnlm(9, 4, 4)
    states = checkpoint.generator_states(model)
    first = model.loss(np.zeros((2, 3), int), np.zeros((2, 3), int)).item()
    checkpoint.restore_generators(model, json.loads(json.dumps(states)))
    model.reset_state()
    assert model.loss(np.zeros((2, 3), int), np.zeros((2, 3), int)).item() == first
