"""check: right layers pass, wrong ones do not, and what cannot be checked says so."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import Tensor, manual
from tinygrad_rnn.check import (
    assert_matches_autograd,
    check_class,
    check_file,
    check_gradients,
    check_layer,
)

BOOK_STYLE = Path(__file__).parent / "checked" / "book_style.py"


# --- no false alarm ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", manual.__all__)
def test_every_manual_layer_is_right(name):
    report = check_class(getattr(manual, name))
    assert report.verdict == "ok" and not report.cause, str(report)
    assert report.gradients and max(g.max_rel_error for g in report.gradients) < 1e-12


def test_a_file_in_the_style_of_the_book_is_right():
    reports = {r.name: r for r in check_file(BOOK_STYLE)}
    wrong = [str(r) for r in reports.values() if not r.ok]
    assert not wrong, "\n".join(wrong)
    assert list(reports) == [
        "Affine", "Relu", "Embed", "SoftmaxWithLoss", "LSTM", "TimeLSTM", "TimeDropout",
        "TimeSoftmaxWithLoss", "WeightSum", "Rnnlm"]  # fmt: skip
    assert reports["SoftmaxWithLoss"].verdict == "convention"
    assert "epsilon" in reports["SoftmaxWithLoss"].cause
    assert any("float32" in note for note in reports["TimeLSTM"].notes)
    assert {g.name for g in reports["TimeLSTM"].gradients} == {"Wx", "Wh", "b", "xs"}


def test_objects_at_hand():
    rng = np.random.default_rng(0)
    layer = manual.LSTM(*(rng.normal(size=s) for s in ((3, 8), (2, 8), 8)))
    report = check_layer(layer, *(rng.normal(size=s) for s in ((4, 3), (4, 2), (4, 2))))
    assert report.ok and [g.name for g in report.gradients] == [
        "Wx", "Wh", "b", "x", "h_prev", "c_prev"]
    assert layer.cache is None  # checked on a copy


class Doubled:
    """x -> 2 x, with a wrong backward."""

    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        return dout


def test_assertion_is_readable():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(AssertionError, match=r"Doubled.backward does not match its forward\n"
                       r"Doubled: wrong\n.*\n +dx .*wrong.*\[0, 0\]"):
        assert_matches_autograd(Doubled(), x)


# --- the command ---------------------------------------------------------------------------------


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "tinygrad_rnn", "check", *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False)


def test_command_prints_a_table_or_json():
    done = command(BOOK_STYLE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TimeLSTM: ok" in done.stdout and "\033" not in done.stdout
    done = command(f"{BOOK_STYLE}:WeightSum", "--json")
    (layer,) = json.loads(done.stdout)["layers"]
    assert layer["name"] == "WeightSum" and layer["verdict"] == "ok" and done.returncode == 0
    assert layer["cause"] is None and layer["line"] is None
    assert layer["gradients"][0].keys() == {"name", "ok", "max_abs_error", "max_rel_error", "index"}


def test_command_names_what_is_not_there(tmp_path):
    done = command(tmp_path / "none.py")
    assert done.returncode == 2 and "none.py" in done.stderr and not done.stdout
    done = command(f"{BOOK_STYLE}:Wait")
    assert done.returncode == 2 and "TimeLSTM" in done.stderr
    (tmp_path / "bad.py").write_text("def f(:\n")
    done = command(tmp_path / "bad.py")
    assert done.returncode == 2 and "line 1" in done.stderr


# --- check_gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_check_gradients(order):
    x, W = np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(0, 1, 6).reshape(3, 2)
    check_gradients(lambda x, W: np.tanh(x @ W), x, W, order=order)
    check_gradients(lambda x, i: x[i], x, np.array([0, 1, 1]), order=order)

    def cut(x):
        return x * Tensor(x.detach()) if order == 1 else x * x * Tensor(x.detach())

    with pytest.raises(AssertionError, match=r"input 0\[\d, \d\]"):
        check_gradients(cut, x + 3, order=order)
    with pytest.raises(ValueError, match="order 3"):
        check_gradients(cut, x, order=3)
