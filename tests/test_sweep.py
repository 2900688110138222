"""Many trainings from one file: folders, table, picture; what was done is not done again."""

import csv
import json
import signal
import subprocess
import sys
import time
import types

import pytest

from models.commands import sweep
from models.commands.main import main
from models.training import LOG, MODEL

for _name in ("joblib", "safetensors", "matplotlib"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[sweep]")
joblib = pytest.importorskip("joblib")

FILE = """
task = "text"
data = '{data}'
out = '{out}'
jobs = 2
[fixed]
level = "char"
hidden = 4
batch-size = 2
time_size = 5
steps = {steps}
jit = false
[vary]
lr = [0.01, 0.1]
seed = [1, 2]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "words.txt").write_text("the cat sat on the mat\n" * 9, encoding="utf-8")

    def write(steps=20, more="", **changes):
        text = FILE.format(data=tmp_path / "words.txt", out=tmp_path / "out", steps=steps) + more
        for old, new in changes.items():
            text = text.replace(old, new)
        (tmp_path / "many.toml").write_text(text, encoding="utf-8")
        return str(tmp_path / "many.toml")

    return write


def test_each_run_is_a_folder_and_all_are_a_table_and_a_picture(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["sweep", file()]) == 0
    names = [f"lr={lr},seed={seed}" for lr in (0.01, 0.1) for seed in (1, 2)]
    assert all((out / name / MODEL).exists() and (out / name / LOG).exists() for name in names)
    with open(out / sweep.TABLE, encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [f"lr={r['lr']},seed={r['seed']}" for r in rows] == names
    assert all(r["state"] == "done" and r["steps"] == "20" and float(r["valid_perplexity"]) > 1
               for r in rows)
    assert (out / sweep.PICTURE).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "mean valid_perplexity" in printed and "deviation" in printed
    times = {name: (out / name / MODEL).stat().st_mtime_ns for name in names}
    assert main(["sweep", file()]) == 0  # all is done
    assert times == {name: (out / name / MODEL).stat().st_mtime_ns for name in names}
    assert main(["sweep", file(25, **{"0.01, 0.1": "0.1"})]) == 0  # on from there, and no further
    assert json.loads((out / names[2] / LOG).read_text().splitlines()[-1])["step"] == 25
    assert times[names[0]] == (out / names[0] / MODEL).stat().st_mtime_ns


def test_a_backend_that_gives_all_at_the_end(file, tmp_path, capsys, monkeypatch):
    """Ray's, in whose place stands one of joblib's own."""
    class Threads(joblib.parallel.ThreadingBackend):
        supports_return_generator = False

    begun = []
    ray, util, inner = (types.ModuleType(name) for name in ("ray", "ray.util", "ray.util.joblib"))
    ray.init = lambda *address: begun.extend(address)
    inner.register_ray = lambda: joblib.register_parallel_backend("ray", Threads)
    for module in (ray, util, inner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    more = {"jobs = 2": "jobs = 2\nbackend = 'ray'\naddress = 'host:1'", "[1, 2]": "[1]"}
    assert main(["sweep", file(**more)]) == 0
    assert begun == ["host:1"] and capsys.readouterr().out.count(": done\n") == 2
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", file(**more)]) == 1
    assert "needs more: pip install 'ray'" in capsys.readouterr().err


def test_what_fails_is_told_and_the_others_go_on(file, tmp_path, capsys):
    out = tmp_path / "out" / "lr=0.1,seed=2"
    out.mkdir(parents=True)
    (out / MODEL).write_bytes(b"not a model")
    assert main(["sweep", file(3)]) == 1
    printed = capsys.readouterr().out
    assert "lr=0.1,seed=2: tinygrad-rnn: " in printed and "not a whole model file" in printed
    assert printed.count(": done") == 3


def test_a_sweep_that_was_killed_goes_on(file, tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "tinygrad_rnn", "sweep", file(400)])
    first = tmp_path / "out" / "lr=0.01,seed=1" / LOG
    while not first.exists() or not first.stat().st_size:  # somewhere in the first trainings
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(["sweep", file(400)]) == 0  # also while what is left of it still trains
    for log in (tmp_path / "out").glob(f"*/{LOG}"):
        steps = [r["step"] for r in map(json.loads, log.read_text().splitlines()) if "loss" in r]
        assert steps == sorted(set(steps)) and steps[-1] == 400  # nothing twice


@pytest.mark.parametrize("old, new, said", [
    ('task = "text"', 'task = "tax"', "task is 'tax'"), ("jobs = 2", "jobs = 0", "jobs = 0"),
    ("jobs = 2", "backend = 'pigeons'", "backend = 'pigeons'"), ("[vary]", "[very]", "'very'"),
    ("seed = [1, 2]", "seed = 1", "vary.seed is 1, wanted a list"),
    ("[0.01, 0.1]", "[0.1, 0.1]", "two runs are lr=0.1,seed=1"),
    ("hidden = 4", "hidden = [", "no TOML"),
    ("seed = [1, 2]", "dropout = [0.5]", "--dropout is of --model better"),
    ("seed = [1, 2]", "out = ['a', 'b']", "out among the settings: each run has its own"),
    ("seed = [1, 2]", "hidden = [4, 8]", "hidden among the settings: it is given twice"),
    ("seed = [1, 2]", "batch_size = [4, 8]", "batch_size among the settings: it is given twice"),
    ("jit = false", "help = true", "help among the settings"),
    ("jobs = 2", "jobs = true", "jobs is True, wanted a whole number"),
    ("jobs = 2", "address = 'host:1'", "an address is of backend"),
    ("[vary]", "[[vary]]", "wanted a table"),
    ("words.txt", "none.txt", "none.txt: no such file"),
])  # fmt: skip
def test_what_a_file_may_not_say(file, old, new, said, capsys):
    assert main(["sweep", file(**{old: new})]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("line, said", [
    ("out = ''", "out is '', wanted text"), ("out = 3", "out is 3, wanted text"),
    ("vary = 3", "vary is 3, wanted a table"), ("fixed = [1]", "fixed is [1], wanted a table"),
    ("data = '-'", "every run reads them for itself"), ("data = ['a']", "wanted text"),
])  # fmt: skip
def test_what_is_of_no_kind_that_is_wanted(line, said, tmp_path, capsys):
    (tmp_path / "s.toml").write_text(f"task = 'text'\n{line}\n", encoding="utf-8-sig")
    assert main(["sweep", str(tmp_path / "s.toml")]) == 1
    assert said in capsys.readouterr().err


def test_a_setting_that_there_is_not(file, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", file(**{"hidden = 4": "hiden = 4"})])
    assert "--hiden=4" in capsys.readouterr().err


def test_a_dry_run_prints_the_commands(file, tmp_path, capsys):
    assert main(["sweep", file(), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("tinygrad-rnn train text") for line in lines)
    assert not (tmp_path / "out").exists()
