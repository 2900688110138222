"""What else readers write, and what they get wrong in it."""

from pathlib import Path

import pytest

from tinygrad_rnn.check.files import check_here

FURTHER = Path(__file__).parent / "checked" / "further.py"


def mistaken(name, right, wrong, folder):
    """The report on what has this name, with a mistake in it."""
    text = FURTHER.read_text()
    assert text.count(right) == 1
    (folder / "m.py").write_text(text.replace(right, wrong))
    (report,) = check_here(folder / "m.py", only=name)
    return report


@pytest.fixture(scope="module")
def found():
    return {r.name: r for r in check_here(FURTHER)}


@pytest.mark.parametrize("name, gradients", [
    ("hinge_loss", "W"), ("TwoLayers", "W1 W2"), ("carry", "W U x h c"), ("swish", "x"),
    ("softplus", "x beta"), ("Thinned", "x"), ("maxima", "x"), ("averaged", "gamma beta x"),
    ("affine_scaled_relu", "w gamma beta x"),
])  # fmt: skip
def test_what_readers_write_is_judged(found, name, gradients):
    report = found[name]
    assert report.verdict in ("ok", "convention"), str(report)
    assert [g.name for g in report.gradients] == gradients.split(), str(report)


def test_a_name_of_python_2_is_called_by_that_of_python_3(found):
    report = found["squares_loss"]
    assert report.verdict == "unchecked" and (
        "name 'xrange' is not defined; with range in its place every gradient is right"
        in report.cause)


@pytest.mark.parametrize("rate, factor", [("0.2", "/ (1 - self.rate)"), ("0.5", "* 2")])
def test_a_scale_has_a_name_where_it_cannot_be_another(rate, factor, tmp_path):
    text = FURTHER.read_text().replace("self, rate):", f"self, rate={rate}):")
    text = text.replace("dout * self.kept / (1 - self.rate)", "dout * self.kept")
    (tmp_path / "m.py").write_text(text)
    (report,) = check_here(tmp_path / "m.py", only="Thinned")
    (cause,) = report.causes
    assert cause.diff[-1] == f"+ return dout * self.kept {factor}", str(report)


def test_names_of_the_book_that_are_no_functions(tmp_path):
    (tmp_path / "m.py").write_text("""\
class Squash:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.y = x.copy() if GPU else np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * (1 - self.y ** 2)
""")
    (report,) = check_here(tmp_path / "m.py")
    assert "with GPU, np of the book in its place every gradient is right" in str(report)


def test_an_import_for_python_2_and_3(tmp_path):
    text = "from past.builtins import xrange\n" + FURTHER.read_text()
    (tmp_path / "m.py").write_text(text)
    (report,) = check_here(tmp_path / "m.py", only="squares_loss")
    assert report.ok and "past.builtins is not found" in str(report), str(report)


def test_a_guess_that_does_not_fit_accuses_nobody(tmp_path):
    """Samples in columns, though nothing says so, and gradients of other shapes."""
    text = FURTHER.read_text().replace("sums[i + m] =", "sums[n] =")
    text = text.replace("    sums[i] =", "    k, n = i, i + m\n    sums[k] =")
    (tmp_path / "m.py").write_text(text)
    (report,) = check_here(tmp_path / "m.py", only="averaged")
    assert report.verdict != "wrong", str(report)


@pytest.mark.parametrize("name, right, wrong, cause, diff", [
    ("hinge_loss", "= -counts.sum(axis=1)", "= counts.sum(axis=1)", "wrong sign",
     ["- counts[rows, y] = counts.sum(axis=1)", "+ counts[rows, y] = -counts.sum(axis=1)"]),
    ("hinge_loss", "    loss += reg * np.sum(W * W)\n", "",
     "`2 * reg * W` is the derivative of a penalty, and the loss has none",
     ["- dW += 2 * reg * W"]),
    ("TwoLayers", " * mask * (hidden > 0)", " * mask", "(hidden > 0)", None),
    ("TwoLayers", "        dscores /= len(y)\n", "",
     "scaling is forgotten behind `dscores[rows, y] -= 1`: the gradient is N = 3 times",
     ["+ dscores /= X.shape[0]"]),
])  # fmt: skip
def test_one_function_for_a_loss_and_its_gradients_has_causes(name, right, wrong, cause, diff,
                                                              tmp_path):
    report = mistaken(name, right, wrong, tmp_path)
    assert report.verdict == "wrong" and cause in str(report.cause), str(report)
    assert diff is None or [c.diff for c in report.causes] == [diff], str(report)


def test_the_line_in_which_a_function_edits_what_it_is_handed(tmp_path):
    report = mistaken("carry", "dc = dnext_c + dnext_h *", "dc = dnext_c\n    dc += dnext_h *",
                      tmp_path)
    assert report.verdict == "wrong" and "in place" in report.cause, str(report)
    assert report.causes[0].source.startswith("dc += dnext_h"), str(report)


def test_the_line_that_asks_for_memory_which_is_not_written(tmp_path):
    (tmp_path / "m.py").write_text('''\
import numpy as np


class Shifted:
    def forward(self, x):
        moved = np.empty(x.shape)
        out = np.empty_like(x)
        moved[:, 1:] = x[:, :-1]
        out[:] = x + moved
        return out

    def backward(self, dout):
        dx = dout.copy()
        dx[:, :-1] += dout[:, 1:]
        return dx
''')
    (report,) = check_here(tmp_path / "m.py")
    assert report.verdict == "wrong" and report.source == "moved = np.empty(x.shape)", str(report)
