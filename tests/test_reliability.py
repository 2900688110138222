"""What docs/reliability.md promises of a run's files; the whole campaign is in damage.py."""

import json
import os
import random
import signal
import time
import warnings

import damage
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.commands.main import main
from models.data import DataError
from models.files import checkpoint
from models.files.lock import LOCK, only_writer
from models.training import LOG, MODEL, load_model
from tinygrad_rnn import nn
from tinygrad_rnn.interop import FormatError, load_safetensors, save_safetensors

pytest.importorskip("safetensors", reason="pip install tinygrad-rnn[models]")
numpy_io = pytest.importorskip("safetensors.numpy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data = damage.sums(folder / "sums.txt")
    assert main(["train", "addition", "--data", str(data), *damage.SIZES, "--out",
                 str(folder / "out")]) == 0  # fmt: skip
    return folder


@pytest.fixture
def content(run):
    return (run / "out" / MODEL).read_bytes()


def told(capsys, arguments, *words):
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tinygrad-rnn: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error, error


# ---- digests ----


@given(st.data())
def test_no_flipped_bit_and_no_prefix_is_believed(run, tmp_path_factory, data):
    content = (run / "out" / MODEL).read_bytes()
    folder = tmp_path_factory.mktemp("damaged")
    place = st.integers(0, len(content) - 1)
    assert set(damage.flips(content, folder, [data.draw(place)])) == {"told"}
    assert set(damage.prefixes(content, folder, [data.draw(place)])) == {"told"}


def test_the_damaged_array_is_named(run, content, tmp_path):
    arrays, _ = checkpoint.load(run / "out" / MODEL)
    name, array = next((k, a) for k, a in arrays.items() if k.endswith("Wh"))
    place = content.index(np.ascontiguousarray(array).tobytes())
    damaged = bytearray(content)
    damaged[place + 5] ^= 4
    (tmp_path / MODEL).write_bytes(damaged)
    with pytest.raises(DataError, match=f"the array {name} is damaged"):
        load_model(tmp_path)


def test_the_library_reads_what_we_write(run, tmp_path):
    arrays, _ = checkpoint.load(run / "out" / MODEL)
    theirs = numpy_io.load_file(run / "out" / MODEL)
    assert arrays.keys() == theirs.keys()
    assert all(np.array_equal(arrays[name], theirs[name]) for name in arrays)
    save_safetensors(nn.Linear(2, 3), tmp_path / "w")
    damaged = bytearray((tmp_path / "w").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "w").write_bytes(damaged)
    numpy_io.load_file(tmp_path / "w")  # which has no digests
    with pytest.raises(FormatError, match=r"the array [Wb] is damaged"):
        load_safetensors(nn.Linear(2, 3), tmp_path / "w")


def test_files_without_digests(run, content, tmp_path, capsys):
    numpy_io.save_file({"W": np.ones((2, 3)), "b": np.ones(3)}, tmp_path / "w")
    assert load_safetensors(nn.Linear(2, 3), tmp_path / "w").W.numpy().all()
    arrays, about = checkpoint.load(run / "out" / MODEL)
    metadata = {checkpoint.KEY: json.dumps(about)}
    numpy_io.save_file(dict(arrays), tmp_path / MODEL, metadata=metadata)  # as version 0.1.0 did
    with pytest.warns(UserWarning, match="without digests"):
        assert load_model(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["evaluate", str(tmp_path)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"tinygrad-rnn: {tmp_path}"), told


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_told(run, tmp_path, number):
    arrays, about = checkpoint.load(run / "out" / MODEL)
    name = next(name for name in arrays if not name.startswith(checkpoint.PREFIX))
    arrays[name] = np.where(arrays[name] == arrays[name].flat[0], number, arrays[name])
    checkpoint.save(tmp_path / MODEL, arrays, about)
    with pytest.raises(DataError, match=rf"weights {name} hold 1 (NaN|infinite)"):
        load_model(tmp_path)
    linear = nn.Linear(2, 3)
    linear.W.data[0, 0] = number
    save_safetensors(linear, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"W holds 1 (NaN|infinite)"):
        load_safetensors(nn.Linear(2, 3), tmp_path / "w")


# ---- what a checkpoint says is a stranger's ----

WRONG = {
    "config": [None, [], {}, 5],
    "config.task": ["other", None, [], "ptb"], "config.model": ["other", {}],
    "config.H": [10**9, 0, -1, 2**70, 3.0, "3", None, True, 4],
    "config.D": [10**9, 1], "config.data": ["/dev/zero", "a\0b", 3, ["x"]],
    "config.reverse": [3, None], "config.lr": ["x", None, [0.1]],
    "config.unheard": [1], "config.score": ["x", None], "config.schedule": ["x"],
    "config.seed": [-1, "x"],
    "vocabulary": [None, "abc", [1, 2], [], ["a", "a"], ["x"] * 5],
    "widths": [None, [1], [1, -1], [10**9, 1], "ab", [1, 2, 3], [1.5, 2]],
    "training": [None, []],
}  # fmt: skip
WRONG_PLACE = {
    "training.step": [None, -3.5, "x", 2**80], "training.recent": [None, ["x"]],
    "training.best": ["x", []], "training.batches": [None, {}, {"epoch": "x"}, {"epoch": -1}],
    "training.generators": [None, [], [{}], [5], [{"bit_generator": "MT19937"}]],
    "training.lr": [None, "fast"], "training.measured": [-1, 0, 1, 10**9, "x"],
    "training.batches.epoch": [0, 1, 10**9], "training.optimizer_steps": [None, {}, -1],
}  # fmt: skip


def replaced(about, path, value):
    about = json.loads(json.dumps(about))
    *parents, last = path.split(".")
    into = about
    for name in parents:
        into = into[name]
    into[last] = value
    return about


@pytest.mark.parametrize("path", [*WRONG, *WRONG_PLACE])
def test_what_a_checkpoint_may_not_say(run, path, tmp_path, capsys):
    arrays, about = checkpoint.load(run / "out" / MODEL)
    commands = [["answer", tmp_path, "1+1"], ["evaluate", tmp_path]] if path in WRONG else []
    for value in (WRONG | WRONG_PLACE)[path]:
        checkpoint.save(tmp_path / MODEL, arrays, replaced(about, path, value))
        again = ["train", "addition", "--resume", tmp_path, "--epochs", "3", "--data",
                 run / "sums.txt", "--no-jit"]  # fmt: skip
        for command in [*commands, again]:
            told(capsys, command)


def test_odd_things_that_a_checkpoint_says(run, tmp_path):
    assert set(damage.lies(tmp_path, run / "out", 20)) <= {"told", "used"}


@pytest.mark.parametrize("path", ["config", "config.task", "vocabulary", "widths", "training"])
def test_what_a_checkpoint_must_say(run, path, tmp_path, capsys):
    arrays, about = checkpoint.load(run / "out" / MODEL)
    *parents, last = path.split(".")
    del (about[parents[0]] if parents else about)[last]
    checkpoint.save(tmp_path / MODEL, arrays, about)
    told(capsys, ["answer", tmp_path, "1+1"], "not a model of this program")


@pytest.mark.parametrize("change", [
    lambda a: a.pop("encoder.lstm.cells.0.Wh"), lambda a: a.update(extra=np.ones(3)),
    lambda a: a.update({"embed.W": np.ones((1, 1), np.float32)}),
    lambda a: a.pop("training.optimizer.0.m"),
    lambda a: a.update({"training.optimizer.0.m": np.ones(3)}),
])  # fmt: skip
def test_a_missing_extra_or_other_part(run, change, tmp_path, capsys):
    arrays, about = checkpoint.load(run / "out" / MODEL)
    change(arrays)
    checkpoint.save(tmp_path / MODEL, arrays, about)
    told(capsys, ["train", "addition", "--resume", tmp_path, "--epochs", "3", "--data",
                  run / "sums.txt"])  # fmt: skip


def test_json_that_never_ends(content, tmp_path, capsys):
    deep = "[" * 100_000
    header = json.dumps({"__metadata__": {checkpoint.KEY: deep}}).encode()
    for text in (header, deep.encode(), b'{"a":' * 50_000):
        (tmp_path / MODEL).write_bytes(len(text).to_bytes(8, "little") + text)
        told(capsys, ["answer", tmp_path, "1+1"], "not a whole model file")


# ---- one run, one writer ----


def test_a_second_training_is_told(run, tmp_path, capsys):
    with only_writer(tmp_path):
        told(capsys, ["train", "addition", "--data", run / "sums.txt", *damage.SIZES, "--out",
                      tmp_path], "another training", str(os.getpid()))  # fmt: skip
        assert not (tmp_path / LOG).exists()
    assert main(["train", "addition", "--data", str(run / "sums.txt"), *damage.SIZES, "--out",
                 str(tmp_path)]) == 0  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_lock_dies_with_its_process(run, tmp_path):
    process = damage.training(tmp_path, run / "sums.txt", "--epochs", "100000")
    while not (tmp_path / MODEL).exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    with pytest.raises(DataError, match=f"process {process.pid}"), only_writer(tmp_path):
        pass
    (tmp_path / ".model.safetensors.1-0.part").write_bytes(b"half")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / LOCK).exists()
    with only_writer(tmp_path):
        assert not list(tmp_path.glob(".*.part"))
    assert load_model(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_two_writers_and_a_killed_one(run, tmp_path):
    found = damage.writers(run / "sums.txt", tmp_path, 1)
    assert found.pop("reads, whole", 0) >= 0
    assert found == {"one wrote, the other was told": 1}
    found = damage.kills(run / "sums.txt", tmp_path, 2, random.Random(1))
    assert set(found) <= {"killed, the checkpoint whole", "the weights of a run left alone"}


def test_a_run_that_went_on_elsewhere_meanwhile(run, tmp_path):
    from models.training import Run, load_config
    from models.training.tasks import make_task

    arrays, about = checkpoint.load(run / "out" / MODEL)
    checkpoint.save(tmp_path / MODEL, arrays, about)
    late = Run.resume(tmp_path, make_task(load_config(tmp_path)))
    checkpoint.save(tmp_path / MODEL, arrays, about)
    with pytest.raises(DataError, match="has gone on with this run meanwhile"):
        late.train(1000)


# ---- the data are part of the run ----


def test_other_data_of_the_same_size(run, tmp_path, capsys):
    lines = (run / "sums.txt").read_text().splitlines(keepends=True)
    other = tmp_path / "sums.txt"
    other.write_text("".join([*lines[:-9], *lines[:-10:-1]]))
    for command in (["evaluate", run / "out"],
                    ["train", "addition", "--resume", run / "out", "--epochs", "3"]):
        command += ["--data", other]
        told(capsys, command, "trained on other data", "--data-changed")
    assert main(["evaluate", str(run / "out"), "--data", str(other), "--data-changed"]) == 0
    moved = tmp_path / "moved.txt"
    moved.write_text("".join(lines))
    assert main(["evaluate", str(run / "out"), "--data", str(moved)]) == 0
