"""Small trainings by the command line, and what they leave."""

import os
import subprocess
import sys

import pytest

from models.commands.main import main
from models.data import make_dates
from models.files import checkpoint
from models.training import MODEL

SMALL = ["--hidden", "8", "--embedding", "8", "--batch-size", "3", "--time-size", "5"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and shells of POSIX")


def texts_and_dates(folder):
    pairs = make_dates(120)
    lines = [x + t for x, t in zip(pairs.inputs, pairs.answers, strict=True)]
    (folder / "dates.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "words.txt").write_text("the cat sat on the mat\n" * 30, encoding="utf-8")
    (folder / "odd.txt").write_text("한글 → “naïve” \x1b[31m 😀\n" * 30, encoding="utf-8")
    return folder


def program(*args, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
               "encoding": "utf-8", "errors": "replace"} | options  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "tinygrad_rnn", *map(str, args)], **options)


def text_run(data, out, *more, file="words.txt"):
    return ["train", "text", str(data / file), *SMALL, "--out", str(out), "--steps", "40", *more]


def date_run(data, out, *more):
    return ["train", "date", "--data", str(data / "dates.txt"), "--hidden", "12", "--batch-size",
            "20", "--epochs", "2", "--out", str(out), *more]  # fmt: skip


def one_sentence(capsys, arguments, status, *words):
    try:
        got = main([str(a) for a in arguments])
    except SystemExit as stop:
        got = stop.code
    error = capsys.readouterr().err
    assert got == status, error
    assert error.startswith("tinygrad-rnn: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, error


def weights(out):
    arrays, about = checkpoint.load(out / MODEL)
    about["training"].pop("seconds")
    return {name: array.tobytes() for name, array in arrays.items()}, about


def logged(run):
    """The records of a run, but for what hangs on time."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "tokens_per_second")}
            for r in run.log.read()]  # fmt: skip
