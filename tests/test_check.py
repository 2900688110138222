"""check: right layers pass, wrong ones do not, and what cannot be checked says so."""

import inspect
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import Tensor, manual
from tinygrad_rnn.check import (
    assert_matches_autograd,
    check_class,
    check_file,
    check_gradients,
    check_layer,
    limits,
    strategies,
)
from tinygrad_rnn.check.running import quietly

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


class Relu:
    """Its derivative at 0 is 0 here, as good as the 1/2 of automatic differentiation."""

    def forward(self, x):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dout):
        return dout * (self.x > 0)


def test_where_the_derivative_does_not_exist_nobody_is_accused():
    report = check_layer(Relu(), np.zeros((2, 3)))
    assert report.ok and "does not exist" in report.notes[-1]


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


# --- what is odd ---------------------------------------------------------------------------------

CHECKED = BOOK_STYLE.parent


@pytest.fixture(scope="module")
def odd():
    return {r.name: r for r in check_file(CHECKED / "odd.py", seconds=0.5)}


@pytest.mark.parametrize("name, verdict, cause", [
    ("Raises", "unchecked", "backward raises RuntimeError: not yet"),
    ("ForwardRaises", "unchecked", "undefined"),
    ("ReturnsNone", "wrong", "`dx` is computed, and backward does not return it"),
    ("TooMany", "wrong", "backward returns: 2; inputs of floats that forward takes: 1"),
    ("WrongShape", "wrong", r"shape \(5,\) where \(3, 5\) belongs"),
    ("OwnMask", "ok", None),
    ("NoBackward", "unchecked", "NoBackward has no backward"),
    ("NeverEnds", "unchecked", "forward did not end in time"),
    ("Sleeps", "unchecked", "backward did not end in time"),
    ("Prints", "ok", None),
    ("AsksForMore", "ok", None),
    ("HasSizes", "ok", None),
    ("Attributes", "ok", None),
    ("Views", "ok", None), ("Branches", "ok", None),
    ("LossOfEither", "convention", r"right for .* ids \(N,\), wrong for .* one-hot \(N, V\)"),
    ("RightLossOfEither", "ok", None), ("CallableBackward", "ok", None),
    ("PartialBackward", "ok", None),
    ("CannotBeDefined", "unchecked", "NotThere"),
    ("Last", "ok", None),
])  # fmt: skip
def test_odd_layers_give_a_clear_line_and_the_others_are_still_checked(odd, name, verdict, cause):
    report = odd[name]
    assert report.verdict == verdict, str(report)
    if cause is None:
        assert report.cause is None and report.gradients
    else:
        assert re.search(cause, report.cause), report.cause
        assert "\n" not in report.cause


def test_odd_layers_in_the_right_lines(odd):
    text = (CHECKED / "odd.py").read_text().splitlines()
    assert 'RuntimeError("not yet")' in text[odd["Raises"].line - 1]
    assert "x.undefined" in text[odd["ForwardRaises"].line - 1]
    assert "time.sleep" in text[odd["Sleeps"].line - 1]
    assert odd["Prints"].notes == ["the layer prints; its output is not shown"]
    assert [g.name for g in odd["Attributes"].gradients] == ["W", "b", "x"]
    (note,) = odd["Branches"].notes
    first = next(n for n, line in enumerate(text, 1) if "not what forward does" in line)
    assert "not judged" in note and note.endswith(f": {first}-{first + 1}")
    assert not odd["Last"].notes and not odd["PartialBackward"].notes
    assert not any("not judged" in note for note in odd["RightLossOfEither"].notes)


@pytest.mark.parametrize("name, verdict, said", [
    ("Softmax", "convention", "samples stand in columns"),
    ("SoftmaxWithLoss", "convention", "samples stand in columns"),
    ("CrossEntropy", "convention",
     r"right for x .*\(V,\), t one-hot \(V,\), wrong for x .*\(N, V\)"),
    ("Likelihood", "convention", r"right for x \(H,\), t ids \(\), wrong for x \(N, H\)"),
    ("Jacobian", "convention", r"right for x \(D, 1\); for x \(N, D\) backward raises"),
    ("ForgetsTheBatch", "wrong", None)])
def test_columns_and_one_sample(name, verdict, said):
    (report,) = check_file(CHECKED / "oriented.py", only=name)
    assert report.verdict == verdict, str(report)
    assert report.causes if said is None else re.search(said, report.cause), str(report)


@pytest.mark.parametrize("make, names", [
    ("AsksForMore(2, beta=3.0)", ["x"]), ("HasSizes(D=3, H=4)", ["params[0]", "params[1]", "x"]),
    ("factory", ["params[0]", "params[1]", "x"]), ("lambda: Last()", ["x"]),
])  # fmt: skip
def test_make(make, names):
    (report,) = check_file(CHECKED / "odd.py", make=make)
    assert report.ok and [g.name for g in report.gradients] == names


@pytest.mark.parametrize("make", ["AsksForMore(", "AsksForMore()", "NotThere()", "3"])
def test_make_that_makes_nothing(make):
    (report,) = check_file(CHECKED / "odd.py", make=make)
    assert report.verdict == "unchecked" and "--make" in report.cause


def test_the_time_limit_holds_in_another_thread():
    reports = []
    thread = threading.Thread(target=lambda: reports.extend(
        check_file(CHECKED / "odd.py", only="NeverEnds", seconds=0.3)))
    thread.start()
    thread.join(20)
    assert reports[0].verdict == "unchecked" and "did not end in time" in reports[0].cause


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.parametrize("name", ["__enter__", "__exit__"])
def test_a_limit_that_rings_while_it_is_entered_or_left_leaves_no_timer(name):
    def ring(frame, event, _):
        if event == "call" and frame.f_code is getattr(limits._ByTimers, name).__code__:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGPROF)

    before = signal.signal(signal.SIGPROF, lambda *_: None)
    try:
        sys.setprofile(ring)
        with limits.time_limit(50):
            pass
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        with pytest.raises(limits.TimeUp), limits.time_limit(50):
            signal.raise_signal(signal.SIGPROF)
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGPROF, before)


def test_a_limit_that_rings_in_a_generator_that_is_closed_says_nothing(monkeypatch):
    def raising(error):
        try:
            yield
        finally:
            raise error

    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: said.append(lost.exc_value))
    other = ValueError("of the layer")
    with quietly():
        for error in (limits.TimeUp("over"), other):
            generator = raising(error)
            next(generator)
            del generator
    assert said == [other]


def test_output_of_a_layer_does_not_spoil_json():
    done = command(f"{CHECKED / 'odd.py'}:Prints", "--json")
    assert json.loads(done.stdout)["layers"][0]["verdict"] == "ok" and done.returncode == 0
    done = command(f"{CHECKED / 'odd.py'}:NoBackward")
    assert done.returncode == 2


# --- causes and conventions ----------------------------------------------------------------------


def test_the_published_time_rnn():
    path = CHECKED / "published.py"
    done = command(f"{path}:TimeRNN", "--json")
    (found,) = json.loads(done.stdout)["layers"]
    assert done.returncode == 1 and found["verdict"] == "wrong"
    line = path.read_text().splitlines()[found["line"] - 1]
    assert line.strip() == "self.grads[i][...] = grad"
    assert "left over" in found["cause"] and "`grads`" in found["cause"]
    assert {g["name"]: g["ok"] for g in found["gradients"]} == {
        "Wx": False, "Wh": False, "b": False, "xs": True}
    assert "N=1, T=" in found["example"] and "H=1" in found["example"]


def test_conventions_are_no_mistakes_and_a_wrong_forward_is_one():
    reports = {r.name: r for r in check_file(CHECKED / "conventions.py")}
    assert reports["LSTM"].verdict == reports["GRU"].verdict == "convention"
    assert "i, f, g, o" in reports["LSTM"].cause
    assert "after the product" in reports["GRU"].cause and "old state" in reports["GRU"].cause
    assert reports["RNN"].verdict == "wrong" and "the bias is left out" in reports["RNN"].cause
    assert reports["MyPeepholeLSTM"].verdict == "ok"
    done = command(f"{CHECKED / 'conventions.py'}:GRU")
    assert done.returncode == 0 and "convention" in done.stdout


def test_index_in_words_and_the_state_of_the_caller():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    report = check_class(_HalfLSTM)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    first = next(g for g in report.gradients if g.name == "Wx")
    assert not first.ok and first.place == "row 0, gate g, unit 0" and first.index == (0, 6)
    assert "gate g, unit 0" in str(report)


class _HalfLSTM(manual.LSTM):
    """The gradient of gate g has the wrong sign."""

    def backward(self, dh_next, dc_next):
        x, h_prev, c_prev, f, g, i, o, tanh_c = self.cache
        self.cache = x, h_prev, c_prev, f, g, -i, o, tanh_c
        kept = self.params
        result = super().backward(dh_next, dc_next)
        self.cache, self.params = (x, h_prev, c_prev, f, g, i, o, tanh_c), kept
        return result


def test_without_explanation():
    reports = check_file(CHECKED / "published.py", explain=False)
    assert [r.verdict for r in reports] == ["ok", "wrong"] and not reports[1].example


# --- strategies ----------------------------------------------------------------------------------


@given(st.data())
def test_strategies(data):
    s = data.draw(strategies.sizes(distinct=True))
    assert len({*s}) == 4 and min(s) >= 1
    x = data.draw(strategies.arrays((s.N, s.T, s.D), dtype=np.float32))
    assert x.shape == (s.N, s.T, s.D) and x.dtype == np.float32 and np.abs(x).max() <= 3
    n = data.draw(strategies.lengths(s.N, s.T, min_length=1))
    assert n.shape == (s.N,) and n.min() >= 1 and n.max() <= s.T
    t = data.draw(strategies.labels((s.N, s.T), 5, ignore_label=-1))
    assert t.shape == (s.N, s.T) and t.min() >= -1 and t.max() < 5
    layer = manual.TimeSoftmaxWithLoss()
    assert check_layer(layer, data.draw(strategies.arrays((s.N, s.T, 5))), t).ok


# --- the pages -----------------------------------------------------------------------------------

DOCS = CHECKED.parent.parent / "docs"


def test_the_page_shows_what_the_command_prints():
    page = (DOCS / "check.md").read_text(encoding="utf-8")
    (report,) = check_file(CHECKED / "published.py", only="TimeRNN")
    shown = page.split("TimeRNN: wrong")[1].split("```")[0]
    assert report.cause in shown and f"published.py, line {report.line}" in shown
    assert report.example in shown and report.source in shown
    backward = (CHECKED / "published.py").read_text().split("dh = 0\n")[1]
    assert backward.split("grads = [0, 0, 0]\n")[1].rstrip() in page


def test_the_derivations_quote_the_hand_written_code():
    page = (DOCS / "chapter6.md").read_text(encoding="utf-8").split("## They agree")[0]
    code = inspect.getsource(manual.LSTM) + inspect.getsource(manual.GRU)
    quoted = re.findall(r"^\|[^|]*\| `([^`]+)`[ .]*\|[^|]*\|$", page, re.M)
    quoted = [line for line in quoted if "backward" not in line and "..." not in line]
    assert len(quoted) > 18
    for line in quoted:
        assert line in code, line


