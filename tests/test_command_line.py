"""The command line where people use it: other terminals, closed pipes, signals, odd arguments."""

import csv
import io
import json
import os
import shlex
import shutil
import sys

import numpy as np
import pytest
from command_lines import (
    SMALL,
    date_run,
    one_sentence,
    posix,
    text_run,
    texts_and_dates,
)

from models.commands import arguments, train
from models.commands.main import main
from models.data import DataError
from models.files import checkpoint
from models.pictures.plots import check_picture
from models.training import LOG, MODEL, Run, load_model, make_config, make_task
from models.training import run as loop

for _name in ("tqdm", "safetensors", "matplotlib"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[models]")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts_and_dates(tmp_path_factory.mktemp("data"))


# ---- what a user can cause is a sentence ----


@pytest.mark.parametrize("words", [
    "train date --seed -1", "train date --epochs 0", "train date --lr nan", "train date --lr -1",
    "train text f --dropout 1", "train text f --dropout -1", "train date --hidden 0",
    "train date --schedule x", "train date --time-limit soon", "train", "nothing", "", "generate",
    "generate x --prompt a --seed -1", "generate x --prompt a --top-p 2", "answer x y --beam 0",
    "gradients --seed -1", "train date --forget-bias inf", "train date --epochs 1e9",
])  # fmt: skip
def test_what_is_not_understood_ends_with_status_2(words, capsys):
    one_sentence(capsys, words.split(), 2, "see tinygrad-rnn")


def test_settings_and_folders_that_do_not_fit(data, tmp_path, capsys):
    out = tmp_path / "out"
    file = tmp_path / "file"
    file.write_text("not a folder")
    words = data / "words.txt"
    better = ["train", "text", words, "--model", "better", "--out", out]
    for told, *command in [
        ("one number", *better, "--embedding", "4", "--hidden", "8"),
        ("an even number", "train", "date", "--bidirectional", "--hidden", "9", "--out", out),
        ("GiB", "train", "date", "--hidden", "100000000", "--out", out),
        ("GiB", *better, "--hidden", "100000000"),
        ("GiB", *better, "--layers", "100000000"),
        ("too large", "train", "date", "--hidden", str(10**30), "--out", out),
        ("--lr-decay 0.5 is of", "train", "date", "--schedule", "cosine", "--lr-decay", "0.5"),
        ("cannot be written to", *date_run(data, file)),
        ("cannot be written to", *date_run(data, file / "below")),
        ("a picture ends in", *date_run(data, out, "--plot", tmp_path / "x.txt")),
        ("a picture ends in", *date_run(data, out, "--plot", tmp_path / "x")),
        ("not a folder", *date_run(data, out, "--plot", tmp_path / "none" / "x.png")),
        ("a picture ends in", "gradients", "--output", tmp_path / "x.txt"),
        ("a picture ends in", "gates", out, "--output", tmp_path / "x.txt"),
        ("a picture ends in", "attention", out, "x", "--output", tmp_path / "x.txt"),
        ("a folder", "gradients", "--output", tmp_path / "p.png"),
        ("cannot be read", "train", "text", tmp_path, "--out", out),
    ]:  # fmt: skip
        (tmp_path / "p.png").mkdir(exist_ok=True)
        one_sentence(capsys, command, 1, told)
    assert not out.exists()  # none of it had begun


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_is_read_only(data, tmp_path, capsys):
    tmp_path.chmod(0o500)
    one_sentence(capsys, date_run(data, tmp_path), 1, "cannot be written to")


def test_no_memory_is_a_sentence(data, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise MemoryError("Unable to allocate 3. TiB")

    monkeypatch.setattr(Run, "_one_step", full)
    one_sentence(capsys, date_run(data, tmp_path / "a"), 1, "not enough memory", "3. TiB")
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "save", full)
    one_sentence(capsys, date_run(data, tmp_path / "b"), 1, "no memory is left to save")


def test_a_mistake_of_ours_says_so(monkeypatch, capsys):
    def broken(args):
        raise KeyError("x\ny")

    monkeypatch.setattr(train, "run_train", broken)
    one_sentence(capsys, ["train", "date"], 70, "a mistake of this program", "KeyError")
    monkeypatch.setenv("TINYGRAD_RNN_TRACEBACK", "1")
    assert main(["train", "date"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_banned_symbols(data, tmp_path, capsys):
    (tmp_path / "n.txt").write_text("N N N N N N $ N N N " * 30)
    assert main(["train", "text", str(tmp_path / "n.txt"), *SMALL, "--steps", "3", "--out",
                 str(tmp_path / "n")]) == 0  # fmt: skip
    assert main(["generate", str(tmp_path / "n"), "--prompt", "N"]) == 0  # as the book bans them
    capsys.readouterr()
    one_sentence(capsys, ["generate", tmp_path / "n", "--prompt", "N", "--ban", "N", "--ban", "$"],
                 1, "nothing is left")  # fmt: skip


def test_odd_lines_in_a_log(data, tmp_path):
    assert main(date_run(data, tmp_path)) == 0
    before = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    odd = [b"[1, 2]", b"3", b"{}", b'{"step": "x"}', b'{"epoch": 1, "step": null}', b"\xff\xfe",
           b"", b"[" * 100_000, b'{"epoch": 1, "st']  # fmt: skip
    with open(tmp_path / LOG, "ab") as file:
        file.write(b"\n".join(odd))
    more = ["--resume", str(tmp_path), "--epochs", "3", "--plot"]
    assert main(["train", "date", *more]) == 0
    records = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert records[: len(before)] == before and len(records) > len(before)


@pytest.mark.parametrize("text, seconds", [
    ("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1:30", 90), ("1:00:01", 3601),
])  # fmt: skip
def test_durations(text, seconds):
    assert arguments.duration(text) == seconds


@pytest.mark.parametrize("text", ["1:60", "1:60:00", "1:99:99", "1:2:03", "-1", "", "1d"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        arguments.duration(text)


@pytest.mark.parametrize("name", ["constant", "exponential", "plateau", "linear", "cosine"])
def test_schedules(name, data, tmp_path, monkeypatch):
    """The rate of every step, against the formulas written out."""
    assert main(date_run(data, tmp_path, "--schedule", name, "--warmup", "3", "--epochs", "3",
                         "--lr", "0.5")) == 0  # fmt: skip
    task = make_task(make_config("date", data=str(data / "dates.txt"), H=8, epochs=3, lr=0.5,
                                 schedule=name, warmup=3, batch_size=20))  # fmt: skip
    rates, values = [], iter([0.9, 0.5, 0.5])
    monkeypatch.setattr(task, "evaluate", lambda: next(values))
    original = Run._one_step

    def step(self, xs, ts):
        rates.append(task.optimizer.lr)
        return original(self, xs, ts)

    monkeypatch.setattr(Run, "_one_step", step)
    Run(task, tmp_path / "x", lambda text: None).train()
    steps = np.arange(15)
    epoch = steps // 5
    shape = {
        "constant": np.ones(15), "exponential": 0.5**epoch,
        "plateau": np.where(epoch == 2, 0.25, 1), "linear": 1 - steps / 15,
        "cosine": 0.5 + 0.5 * np.cos(np.pi * steps / 15),
    }[name]  # fmt: skip
    warm = np.minimum(1, [0.25, 0.5, 0.75] + 12 * [1])
    np.testing.assert_allclose(rates, 0.5 * warm * shape, rtol=1e-12)


def test_forget_bias():
    task = make_task(make_config("date", model="deep", H=8, forget_bias=0.75))
    biases = [p.numpy() for name, p in task.model.named_parameters() if name.endswith("cells.0.b")]
    biases = [b for b in biases if b.shape == (32,)]
    assert biases
    for b in biases:
        assert (b[:8] == 0.75).all() and (b[8:] == 0).all()


# ---- logs ----


def test_logs_that_tools_read(data, tmp_path, monkeypatch, capsys):
    """Every number of the log is in the CSV; validation beside training; redrawn under way."""
    monkeypatch.setattr(loop, "DRAW_EVERY", 0)
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    drawn = []
    draw = train.training_curve
    monkeypatch.setattr(train, "training_curve", lambda *a: (drawn.append(len(a[0])), draw(*a)))
    out = tmp_path / "out"
    assert main(date_run(data, out, "--csv", "--plot", "--steps", "7")) == 0
    assert len(drawn) == 7 + 1 and drawn[-1] > drawn[1]
    assert main(["train", "date", "--resume", str(out), "--steps", "10", "--csv"]) == 0
    records = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    with open(out / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{k: v for k, v in row.items() if v} for row in rows] == [
        {k: str(v) for k, v in record.items()} for record in records
    ]
    whole = (out / "log.csv").read_bytes()
    (out / "log.csv").unlink()
    assert main(["train", "date", "--resume", str(out), "--steps", "10", "--csv"]) == 0  # done
    assert (out / "log.csv").read_bytes() == whole
    steps = [r for r in records if "loss" in r]
    assert all({"norm", "lr", "tokens_per_second"} <= r.keys() for r in steps)
    epochs = [r for r in records if "train_loss" in r]
    assert [r["epoch"] for r in epochs] == [1, 2]
    task = make_task(make_config("date", data=str(data / "dates.txt"), H=12, batch_size=20))
    checkpoint_of_last = load_model(out / MODEL)
    expected = checkpoint_of_last.model.loss(*(
        task.reader._encode(task.test.inputs), task.vocabulary.encode_lines(task.test.answers)))
    assert epochs[-1]["valid_loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert main(text_run(data, tmp_path / "text", "--csv")) == 0
    for r in Run(make_task(make_config("text", data=str(data / "words.txt"), D=8, H=8,
                                       batch_size=3, time_size=5)), tmp_path / "text").log.read():
        if "valid_loss" in r:
            assert r["valid_perplexity"] == pytest.approx(np.exp(r["valid_loss"]))


def test_event_files_for_tensorboard(data, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(date_run(data, tmp_path, "--tensorboard", "--steps", "7")) == 0
    assert main(["train", "date", "--resume", str(tmp_path), "--steps", "10", "--tensorboard"]
                ) == 0  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]

    def told():
        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        for name in ("loss", "valid_loss", "valid_accuracy", "lr"):
            shown = [(e.step, e.value) for e in events.Scalars(name)]
            assert shown == [(r["step"], pytest.approx(r[name])) for r in records if name in r]

    told()
    shutil.rmtree(tmp_path / "tensorboard")  # and asked for when all is done
    assert main(["train", "date", "--resume", str(tmp_path), "--steps", "10", "--tensorboard"]
                ) == 0  # fmt: skip
    told()


def test_tensorboard_that_is_not_installed(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    one_sentence(capsys, date_run(data, tmp_path, "--tensorboard"), 1, "pip install tensorboard")


# ---- several answers ----


def test_n_best_answers_with_scores(data, tmp_path, capsys):
    assert main(date_run(data, tmp_path, "--teacher-forcing", "0.5")) == 0
    capsys.readouterr()
    text = (data / "dates.txt").read_text(encoding="utf-8").split("_")[0].rstrip()
    for more, beam, options in [
        (["--best", "3"], 3, {}), (["--beam", "5", "--best", "2"], 5, {}),
        (["--best", "3", "--end", "1", "--length-penalty", "1"], 3,
         {"end": "1", "length_penalty": 1.0}),
    ]:  # fmt: skip
        assert main(["answer", str(tmp_path), text, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        (answers,) = load_model(tmp_path).answers([text], beam, **options)
        end = options.get("end")
        assert lines == [f"{a.rstrip(end)}\t{score:.4f}" for a, score in answers[: int(
            more[more.index("--best") + 1])]]
        scores = [float(line.split("\t")[1]) for line in lines]
        assert scores == sorted(scores, reverse=True)
    one_sentence(capsys, ["answer", tmp_path, text, "--beam", "2", "--best", "3"], 1, "--best 3")
    one_sentence(capsys, ["answer", tmp_path, text, "--end", "~"], 1, "'~' is not among")
    one_sentence(capsys, ["train", "date", "--teacher-forcing", "1.5"], 2, "--teacher-forcing")


# ---- suggestions ----


@posix
@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "-x", "two\nlines", "`ls`", "한"])
def test_suggested_commands_can_be_pasted(name, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*text_run(data, "unused")[:-4], f"--out={name}", "--steps", "3"]) == 0
    told = capsys.readouterr().out.split("Try:\n")[1]
    for line in told.split("  tinygrad-rnn ")[1:]:
        words = shlex.split(line)
        assert main(words) == 0, line


@pytest.mark.parametrize(("word", "quoted"), [
    ("runs\\a-1", "runs\\a-1"), ("--out=x", "--out=x"), ("a b", '"a b"'), ("a&b", '"a&b"'),
    ("$HOME", '"$HOME"'), ("x|y>z", '"x|y>z"'), ("", '""'), ("C:\\my dir\\", '"C:\\my dir\\\\"'),
])  # fmt: skip
def test_commands_for_windows_are_quoted_as_its_shells_read_them(word, quoted, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert arguments.join(["a", word]) == f"a {quoted}"


@pytest.mark.parametrize("symbol", ["--help", "$(ls)", "it's", "-1", '"', "\\"])
def test_a_suggested_prompt_is_taken_as_it_is(symbol, tmp_path, capsys):
    (tmp_path / "t.txt").write_text(f"{symbol} a b c d e f\n" * 30, encoding="utf-8")
    assert main(["train", "text", str(tmp_path / "t.txt"), *SMALL, "--steps", "3", "--out",
                 str(tmp_path / "o")]) == 0  # fmt: skip
    line = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(line)[1:]
    assert words[0] == "generate" and words[-1] == f"--prompt={symbol}"
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(symbol)


def test_a_symbol_that_cannot_be_typed_is_not_suggested(tmp_path, capsys):
    (tmp_path / "t.txt").write_text("\x1b \x07 " * 100, encoding="utf-8")
    assert main(["train", "text", str(tmp_path / "t.txt"), "--level", "char", *SMALL, "--steps",
                 "3", "--out", str(tmp_path / "o")]) == 0  # fmt: skip
    assert "generate" not in capsys.readouterr().out


@pytest.mark.parametrize("variable, argv, found, shown", [
    ("python run.py", ["x"], True, "python run.py"),
    (None, ["/env/bin/tinygrad-rnn"], True, "tinygrad-rnn"),
    (None, ["/my env/tinygrad-rnn"], False, "'/my env/tinygrad-rnn'"),
    (None, ["/lib/tinygrad_rnn/__main__.py"], True, "python3 -m tinygrad_rnn"),
    (None, ["/lib/tinygrad_rnn/__main__.py"], False, "/env/bin/python3 -m tinygrad_rnn"),
    (None, ["/lib/pytest/__main__.py"], True, "tinygrad-rnn"),
    ("uv", ["/env/bin/tinygrad-rnn"], True, "uv run tinygrad-rnn"),
    ("uv", ["/lib/tinygrad_rnn/__main__.py"], True, "uv run python3 -m tinygrad_rnn"),
])  # fmt: skip
@posix
def test_how_the_program_was_called(variable, argv, found, shown, monkeypatch):
    monkeypatch.delenv("TINYGRAD_RNN_COMMAND", raising=False)
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    if variable == "uv":
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    elif variable:
        monkeypatch.setenv("TINYGRAD_RNN_COMMAND", variable)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "executable", "/env/bin/python3")
    monkeypatch.setattr(arguments.shutil, "which",
                        lambda name: f"/env/bin/{name}" if found else None)
    assert arguments.how_called() == shown


def test_version(capsys):
    import tinygrad_rnn

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"tinygrad-rnn {tinygrad_rnn.__version__}\n"


def test_pictures_are_asked_for_before_the_work(tmp_path):
    check_picture(tmp_path / "a.svg")
    check_picture(tmp_path / "to come" / "a.PNG", folder_comes=True)
    with pytest.raises(DataError, match="ends in"):
        check_picture(tmp_path / "a.mp3")


@posix
def test_run_py_installs_what_the_readme_promises(tmp_path, monkeypatch):
    import run

    monkeypatch.setattr(run, "VENV", str(tmp_path))
    monkeypatch.setattr(run, "PYTHON", sys.executable)
    monkeypatch.setattr(run.sys, "stderr", io.StringIO())
    asked = []
    # numba has no wheel for some Pythons
    monkeypatch.setattr(run, "install", lambda extras: asked.append(extras) or "fast" in extras)
    run.prepare("use")
    run.prepare("use")  # that was all
    assert asked == ["models,check,fast", "models,check"]
    (tmp_path / "installed-use").unlink()
    monkeypatch.setattr(run, "install", lambda extras: 1)
    with pytest.raises(SystemExit, match="the installation failed"):
        run.prepare("use")
    monkeypatch.setattr(sys, "argv", ["my clone/run.py", "info"])
    assert shlex.split(run.called())[1:] == ["my clone/run.py"]
