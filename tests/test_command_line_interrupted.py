"""Trainings that lose their output, their disk or their time: what they have reached is saved
first, and signals end them in order."""

import functools
import io
import os
import shlex
import signal
import sys
import time

import pytest
from command_lines import date_run, logged, posix, program, text_run, texts_and_dates, weights

from models.commands import train
from models.commands.main import main
from models.files import checkpoint
from models.training import BEST, LOG, MODEL, Run, make_config, make_task
from models.training import run as loop
from models.training.output import Unbreakable, plain, say

for _name in ("tqdm", "safetensors", "matplotlib"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[models]")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts_and_dates(tmp_path_factory.mktemp("data"))


# ---- output may get lost, and nothing else ----


@pytest.mark.parametrize("encoding", ["cp949", "cp1252", "ascii", "utf-8"])
def test_a_terminal_of_any_encoding(encoding, data, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    process = program(*text_run(data, tmp_path, "--level", "char", file="odd.txt"),
                      env=environment)  # fmt: skip
    out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    assert "\x1b" not in out and (tmp_path / MODEL).exists()
    process = program("generate", tmp_path, "--prompt", "한", "--seed", "1", env=environment)
    assert process.communicate()[1] == "" and process.returncode == 0


@posix
def test_a_pipe_that_is_closed_does_not_end_a_training(data, tmp_path):
    for stream in ("stdout", "stderr"):
        out = tmp_path / stream
        other = {"stdout": "stderr", "stderr": "stdout"}[stream]
        with program(*text_run(data, out)) as process:
            getattr(process, stream).close()
            getattr(process, other).read()
        assert process.returncode == 0
        assert weights(out)[1]["training"]["step"] == 40


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output(data, tmp_path):
    with open("/dev/full", "w") as full:
        process = program(*text_run(data, tmp_path), stdout=full)
        assert (process.communicate()[1], process.returncode) == ("", 0)
        process = program("generate", tmp_path, "--prompt", "the", stdout=full)
        assert "No space left" in process.communicate()[1] and process.returncode == 1


@posix
def test_other_commands_end_quietly_when_nobody_reads(data, tmp_path):
    assert main(text_run(data, tmp_path)) == 0
    with program("generate", tmp_path, "--prompt", "the", "--length", "1000") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_way_of_showing_that_fails_costs_nothing(data, tmp_path):
    def show(text):
        raise OSError("gone")

    run = Run(make_task(make_config("date", data=str(data / "dates.txt"), H=8, epochs=1)),
              tmp_path, show)  # fmt: skip
    assert run.train() and (tmp_path / MODEL).exists()


def test_what_is_said(capsys, monkeypatch):
    say("a\x1b[2Jb\tc\n\x9b")
    assert capsys.readouterr().out == "a\\x1b[2Jb\tc\n\\x9b\n"
    assert plain("한 é\n") == "한 é\n"
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    Unbreakable(narrow).write("é")
    assert narrow.buffer.getvalue() == b"\\xe9"
    narrow.close()
    Unbreakable(narrow).write("x")
    Unbreakable(None).write("x")
    monkeypatch.setattr(sys, "stdout", None)
    say("x")


# ---- save, then speak ----


@pytest.mark.parametrize("what", ["evaluate", "samples", "write"])
def test_what_follows_an_epoch_does_not_cost_it(what, data, tmp_path, monkeypatch, capsys):
    """Measuring, showing, or a log that breaks: the epoch is saved before, or all the same."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    task = make_task(make_config("date", data=str(data / "dates.txt"), H=8, epochs=1))
    steps = len(task.batches)

    def broken(*args):
        raise RuntimeError("broken")

    run = Run(task, tmp_path)
    if what == "write":
        monkeypatch.setattr(run.log, "path", tmp_path / "none" / LOG)
        monkeypatch.setattr(run.log, "cut", lambda *place: None)
        assert run.train()
        assert capsys.readouterr().out.count("training goes on") == 1
        return
    monkeypatch.setattr(task, what, broken)
    with pytest.raises(RuntimeError):
        run.train()
    again = Run.resume(tmp_path, make_task(task.config))
    assert again.step == steps
    assert again.train()
    straight = Run(make_task(task.config), tmp_path / "straight")
    assert straight.train()
    assert weights(tmp_path) == weights(tmp_path / "straight")
    assert logged(again) == logged(straight)


def test_a_disk_that_is_full_for_a_while(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    calls, fsync = [], os.fsync

    def full(fd):
        calls.append(fd)
        if 3 < len(calls) < 6:
            raise OSError(28, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    assert main(date_run(data, tmp_path)) == 0
    assert "saving is tried again" in capsys.readouterr().out
    assert weights(tmp_path)[1]["training"]["step"] == 10


# ---- signals ----


def signalled(monkeypatch, number, at):
    original = Run._one_step

    def step(self, xs, ts):
        if self.step + 1 == at:
            signal.raise_signal(number)
        return original(self, xs, ts)

    monkeypatch.setattr(Run, "_one_step", step)


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"])
def test_a_signal_saves_and_ends(name, data, tmp_path, monkeypatch, capsys, request):
    number = getattr(signal, name)
    # What has started the tests may have it ignored, as nohup does and a shell in the background.
    before = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    request.addfinalizer(functools.partial(signal.signal, number, signal.signal(number, before)))
    signalled(monkeypatch, number, at=7)
    assert main(date_run(data, tmp_path / "a b")) == 128 + number
    assert weights(tmp_path / "a b")[1]["training"]["step"] == 7
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    command = shlex.split(capsys.readouterr().err.split("go on with ")[1])
    assert command[0] == "tinygrad-rnn" and main(command[1:]) == 0
    assert main(date_run(data, tmp_path / "straight")) == 0
    assert weights(tmp_path / "a b") == weights(tmp_path / "straight")


@posix
def test_sigusr1_saves_and_goes_on(data, tmp_path, monkeypatch):
    saved = []
    save = Run.save
    monkeypatch.setattr(Run, "save", lambda run, *a: (saved.append(run.step), save(run, *a)))
    signalled(monkeypatch, signal.SIGUSR1, at=3)
    assert main(date_run(data, tmp_path)) == 0
    assert saved[0] == 3 and saved[-1] == 10


@posix
def test_sigusr1_before_there_is_anything_to_save_does_not_end_the_training(
        data, tmp_path, monkeypatch, request):  # fmt: skip
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    request.addfinalizer(functools.partial(signal.signal, signal.SIGUSR1, before))
    made = train.make_task

    def make_task(config):
        signal.raise_signal(signal.SIGUSR1)
        return made(config)

    monkeypatch.setattr(train, "make_task", make_task)
    assert main(date_run(data, tmp_path)) == 0


@posix
def test_a_signal_that_is_ignored_stays_ignored(data, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        signalled(monkeypatch, signal.SIGHUP, at=3)
        assert main(date_run(data, tmp_path)) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
def test_a_second_signal_ends_at_once(data, tmp_path, monkeypatch, capsys):
    def step(self, xs, ts):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(Run, "_one_step", step)
    assert main(date_run(data, tmp_path)) == 143
    assert "stopped at once" in capsys.readouterr().err


@posix
def test_a_process_that_is_terminated(data, tmp_path):
    """As a scheduler does it: from outside, wherever the process is."""
    process = program(*text_run(data, tmp_path, "--steps", "100000000"))
    process.stdout.readline()
    while not (tmp_path / LOG).exists() or not (tmp_path / LOG).stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == 143
    assert "stopped and saved after step" in error
    step = weights(tmp_path)[1]["training"]["step"]
    assert main(["train", "text", "--resume", str(tmp_path), "--steps", str(step + 3)]) == 0


# ---- best, last, patience, time ----


def test_the_best_epoch_is_what_is_used(data, tmp_path, monkeypatch, capsys):
    values = iter([0.25, 0.75, 0.5])
    task = make_task(make_config("date", data=str(data / "dates.txt"), H=8, epochs=3))
    monkeypatch.setattr(task, "evaluate", lambda: next(values))
    assert Run(task, tmp_path, lambda text: None).train()
    best, last = (checkpoint.load(tmp_path / file)[1]["training"] for file in (BEST, MODEL))
    assert (best["step"], last["step"]) == (2 * len(task.batches), 3 * len(task.batches))
    assert (last["best"], last["best_epoch"]) == (0.75, 2)
    answers = {}
    for more in ((), ("--last",)):
        for model in (tmp_path, tmp_path / BEST, tmp_path / MODEL):
            assert main(["evaluate", str(model), "--json", *more]) == 0
            answers[model.name, *more] = capsys.readouterr().out
    assert answers[tmp_path.name,] == answers[BEST,]
    assert answers[tmp_path.name, "--last"] == answers[MODEL,]


def test_patience_ends_early_and_may_be_lengthened(data, tmp_path, monkeypatch, capsys):
    def values():
        yield from [0.5, 0.25, 0.5, 0.75, 0.1, 0.2, 0.3]

    config = make_config("date", data=str(data / "dates.txt"), H=8, epochs=7, patience=2)
    task = make_task(config)
    series = values()
    monkeypatch.setattr(task, "evaluate", lambda: next(series))
    assert Run(task, tmp_path).train()
    assert "no epoch since 1 was better" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / MODEL)[1]["training"]["measured"] == 3
    assert main(["train", "date", "--resume", str(tmp_path), "--patience", "9", "--epochs", "4"]
                ) == 0  # fmt: skip
    assert checkpoint.load(tmp_path / MODEL)[1]["training"]["measured"] == 4


def test_time_limit(data, tmp_path, capsys):
    assert main(date_run(data, tmp_path, "--time-limit", "0")) == 0
    told = capsys.readouterr().out
    command = shlex.split(told.split("go on with ")[1].splitlines()[0])
    assert "The model is in" not in told and main(command[1:]) == 0
    assert "The model is in" in capsys.readouterr().out
    assert main(date_run(data, tmp_path / "straight")) == 0
    assert weights(tmp_path) == weights(tmp_path / "straight")
