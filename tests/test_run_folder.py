"""The folder of a run while it is written to, and which of its files a run goes on from."""

import os
from contextlib import ExitStack

import damage
import pytest

from models.commands.main import main
from models.data import DataError
from models.files.lock import LOCK, only_writer
from models.training import BEST, LOG, MODEL, Run, load_config, load_model

pytest.importorskip("safetensors", reason="pip install tinygrad-rnn[models]")


@pytest.fixture
def data(tmp_path):
    return damage.sums(tmp_path / "sums.txt", 100)


def train(*arguments):
    return main(["train", "addition", *map(str, arguments)])


@pytest.mark.skipif(os.name == "nt", reason="Windows renames no folder with an open file in it")
def test_a_folder_that_is_renamed_or_removed_is_another_one(tmp_path):
    out, away = tmp_path / "out", tmp_path / "away"

    def is_held():
        with pytest.raises(DataError, match="another training"), only_writer(out):
            pass

    with only_writer(out) as first:
        first.check()
        out.rename(away)
        with only_writer(out), pytest.raises(DataError, match="another training"):
            first.check()
        first.check()  # the other one is done
        is_held()
        (out / LOCK).unlink()
        out.rmdir()
        first.check()
        is_held()
    with only_writer(away), only_writer(out):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows renames no folder with an open file in it")
def test_a_training_does_not_write_into_the_folder_of_another(data, tmp_path, monkeypatch, capsys):
    """It goes on, and what it cannot save is an error at its end."""
    out, original = tmp_path / "out", Run._one_step
    with ExitStack() as held:

        def step(run, xs, ts):
            if run.step == 6:  # of 8; 4 are an epoch
                out.rename(tmp_path / "away")
                held.enter_context(only_writer(out))
            return original(run, xs, ts)

        monkeypatch.setattr(Run, "_one_step", step)
        assert train("--data", data, *damage.SIZES, "--out", out) == 1
        told = capsys.readouterr()
        assert "another training" in told.err and "the training goes on" in told.out
        assert not (out / MODEL).exists() and not (out / LOG).exists()
    assert load_model(tmp_path / "away")


def test_a_run_goes_on_from_its_last_state_and_with_the_settings_of_that(
    data, tmp_path, capsys
):
    """``best.safetensors`` may be of earlier settings, and is not needed."""
    out, moved = tmp_path / "out", tmp_path / "moved.txt"
    assert train("--data", data, *damage.SIZES, "--out", out) == 0
    best = (out / BEST).read_bytes()
    data.rename(moved)
    more = ["--resume", out, "--no-jit"]
    assert train(*more) == 1 == main(["evaluate", str(out)])
    told = f"tinygrad-rnn: {data}: no such file; --data says where it is now\n"
    assert capsys.readouterr().err == told + told
    assert train(*more, "--epochs", 9, "--steps", 9, "--data", moved) == 0
    (out / BEST).write_bytes(best)  # nothing was better since
    assert train(*more) == 0
    assert load_config(out / MODEL).epochs == 9
    (out / BEST).write_bytes(best[:-1])
    assert train(*more, "--epochs", 10) == 0
