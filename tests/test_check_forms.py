"""check recognises what people write: other names, functions with a cache, one function for all."""

import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from leaves import seeds
from mutants import SOURCE

from tinygrad_rnn import Tensor
from tinygrad_rnn.check import check_class
from tinygrad_rnn.check.files import check, check_here, files_in
from tinygrad_rnn.check.filled import Filled
from tinygrad_rnn.check.mistakes import ratio_of
from tinygrad_rnn.check.outcome import evaluate
from tinygrad_rnn.check.repair import Bench
from tinygrad_rnn.check.report import compare
from tinygrad_rnn.check.running import Setup, named_slots

FORMS = Path(__file__).parent / "checked" / "forms.py"


def mistaken(path, name, right, wrong, folder, **how):
    """The report on what has this name in a file, with a mistake."""
    text = path.read_text()
    assert text.count(right) == 1
    (folder / "m.py").write_text(text.replace(right, wrong))
    shutil.copy(FORMS.parent / "chain.py", folder)  # which some of them import
    (report,) = check_here(folder / "m.py", only=name, **how)
    return report


@pytest.fixture(scope="module")
def found():
    return {r.name: r for r in check_here(FORMS)}


@pytest.mark.parametrize("name, gradients", [
    ("rnn_step", {"x", "prev_h", "Wx", "Wh", "b"}),
    ("rnn", {"x", "h0", "Wx", "Wh", "b"}),
    ("softmax_loss", {"x"}),
    ("rnn_cell", {"xt", "a_prev", "Wax", "Waa", "ba"}),
    ("Dense", {"W", "b", "X"}),
    ("Net", {"W1", "W2"}),
    ("steps", {"x", "h0", "Wx", "Wh", "b"}),  # time first
    ("ListCell", {"kernel", "recurrent_kernel", "bias", "inputs_0", "inputs_1"}),
    ("StateCell", {"W", "U", "b", "x", "h", "c"}),
    ("scaled", {"x", "W", "b", "b_scale"}),  # returned without names
    ("Tagger", {"params[0]", "params[1]"}),
    ("Shared", {"W", "b", "x"}),  # what a part shares with it counts once
])  # fmt: skip
def test_every_form_is_judged(found, name, gradients):
    assert found[name].verdict in ("ok", "convention"), str(found[name])
    assert {g.name for g in found[name].gradients} == gradients


def test_two_arrays_may_be_of_one_shape_and_gradients_have_no_names():
    found = {r.name: r for r in check_here(FORMS.parent / "elementwise.py")}
    for name, other in (("multiply", "w"), ("plus", "b")):
        assert found[name].verdict == "convention", str(found[name])
        assert {g.name for g in found[name].gradients} == {"x", other}
        assert f"right for x (N, D), {other} (N, D)" in str(found[name]) or (
            f"right for {other} (N, " in str(found[name])), str(found[name])
    assert "not summed over the batch: `dout`" in str(found["affine"])
    assert "wrong sign: `dout` should be negated" in str(found["minus"])


def test_nothing_is_silent_about_a_part(found):
    report = found["Forgets"]
    assert report.verdict == "unchecked" and "db not compared" in report.cause
    report = found["single"]  # without a batch, and a state whose gradient is not returned
    assert report.verdict == "unchecked" and "dc0 not compared" in report.cause, str(report)


def test_a_loss_alone_with_global_weights_is_found_in_a_folder(tmp_path):
    (tmp_path / "m.py").write_text((FORMS.parent / "alone.py").read_text())
    (tmp_path / "n.py").write_text("def square(x):\n    return x, x**2\n")
    assert [p.name for p in files_in(tmp_path)] == ["m.py"]
    (report,) = check_here(tmp_path / "m.py")
    assert report.verdict in ("ok", "convention"), str(report)
    assert {g.name for g in report.gradients} == {"Wxh", "Whh", "Why", "bh", "by"}


@pytest.mark.parametrize("name, right, wrong", [
    ("rnn_step", "dWh = prev_h.T.dot(da)", "dWh = prev_h.T.dot(dnext_h)"),
    ("rnn", "dWx += a;", "dWx = a;"),
    ("softmax_loss", "dx /= N\n", "dx /= N + 1\n"),
    ("rnn_cell", "dba = np.sum(dtanh,", "dba = np.sum(da_next,"),
    ("Dense", 'self.X.T @ grad_out\n', 'self.X.T @ grad_out * 2\n'),
    ("Net", "* (h > 0))", ")"),
    ("steps", "da @ Wx.T, da @ Wh.T", "da @ Wx.T, 0 * da"),
    ("ListCell", "self.r_kernel_grad += inputs[1].T", "self.r_kernel_grad -= inputs[1].T"),
    ("StateCell", "da @ self.U.T, 0.5 * dc", "da @ self.U.T, dc"),
    ("Shared", "1 * self.part.dW", "2 * self.part.dW"),
])  # fmt: skip
def test_a_mistake_is_found_in_every_form(name, right, wrong, tmp_path):
    report = mistaken(FORMS, name, right, wrong, tmp_path, explain=False)
    assert report.verdict == "wrong", str(report)


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("forms_as_a_module", FORMS)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_module_its_functions_and_its_objects(module, found):
    reports = {r.name: r for r in check(module, explain=False)}
    assert {n: r.verdict for n, r in reports.items()} == {n: r.verdict for n, r in found.items()}
    X, y = np.random.default_rng(0).normal(size=(3, 4)), np.array([1, 0, 1])
    for layer, inputs, gradients in ((module.Dense(4, 5), [X], {"W", "b", "X"}),
                                     (module.Net(4, 5, 2), [X, y], {"W1", "W2"})):
        report = check(layer, *inputs)
        assert report.ok and {g.name for g in report.gradients} == gradients, str(report)
        assert report.name == type(layer).__name__
    assert check(module.rnn_step_forward).ok and check(module.rnn_step_backward).ok


def test_an_object_whose_methods_have_other_names_and_a_mistake(module):
    class Doubled(module.Dense):
        def backward_pass(self, grad_out):
            return 2 * super().backward_pass(grad_out)

    report = check(Doubled(4, 5), np.random.default_rng(0).normal(size=(3, 4)))
    assert report.verdict == "wrong" and [g.name for g in report.gradients if not g.ok] == ["X"]


def halves_forward(x, w): return x * w, (x, w)
def halves_backward(dout, cache): return dout * cache[1], None  # fmt: skip


def test_a_gradient_that_is_not_handed_back_does_not_end_the_search():
    report = check(halves_forward)
    assert report.causes and "failed" not in str(report), str(report)


def twice_forward(x, W):
    y = x @ W
    return y, (x, W)


def twice_backward(dy, cache):
    x, W = cache
    dx, dW = 2 * dy @ W.T, x.T @ dy
    return dx, dW


class Twice:
    def __init__(self, W):
        self.W, self.dW = W, np.zeros_like(W)

    def fprop(self, x):
        self.x = x
        return x @ self.W

    def bprop(self, dy):
        self.dW[...] = self.x.T @ dy
        return 2 * dy @ self.W.T


def test_the_example_is_worked_through_in_every_form():
    for layer, wrong in ((twice_forward, "dx, dW = (2 * dy @ W.T, x.T @ dy)"),
                         (Twice, "return 2 * dy @ self.W.T")):
        rows = check(layer).worked
        assert {r.text: (r.value, r.right) for r in rows}[wrong][0].startswith("2")
        assert {r.part for r in rows} == {"given", "forward", "backward"}


# --- courses and tutorials -----------------------------------------------------------------------

COURSES = FORMS.parent / "courses.py"
GATES = {kind + gate for kind in "Wb" for gate in "fico"}


@pytest.fixture(scope="module")
def course():
    return {r.name: r for r in check_here(COURSES)}


@pytest.mark.parametrize("name, gradients, words", [
    ("dropout", {"x"}, ""),
    ("pool", {"x"}, ""),
    ("norm", {"gamma", "beta", "x"}, ""),
    ("lstm_cell", {"xt", "a_prev", "c_prev", *GATES}, ""),
    ("lstm", {"x", "a0", *GATES}, ""),
    ("scored", {"W", "x"}, ""),
    ("area", {"x", "y"}, ""),
    ("ColumnRNN", {"Whh", "Wxh", "Why", "bh", "by"}, "clips its gradients"),
    ("Regression", {"W", "X"}, "half the squared error (divided by 1)"),
    ("Classifier", {"W", "b"}, "the cross entropy (divided by N)"),
    ("Model", {"W"}, "no gradient of features"),
    ("OnEither", {"W"}, ""),
    ("even", {"x"}, ""),
    ("Deep", {"params[0]", "params[1]", "h"}, ""),
])  # fmt: skip
def test_what_courses_ask_for_is_judged(course, name, gradients, words):
    report = course[name]
    assert report.verdict in ("ok", "convention") and words in str(report), str(report)
    assert {g.name for g in report.gradients} == gradients


ASSIGNMENTS = FORMS.parent / "assignments.py"


@pytest.fixture(scope="module")
def assignment():
    return {r.name: r for r in check_here(ASSIGNMENTS)}


@pytest.mark.parametrize("name, gradients, words", [
    ("linear", {"A", "W", "b"}, "divided by the batch"),
    ("linear_activation", {"A_prev", "W", "b"}, "divided by the batch"),
    ("network", {"W1", "b1", "W2", "b2"}, "the cross entropy (divided by N)"),
    ("char_step", {"a_prev", "Wax", "Waa", "Wya", "b", "by"}, "what the softmax is taken of"),
    ("hinge_loss", {"W"}, ""),
    ("conv", {"A_prev", "W", "b"}, ""),
    ("Squares", {"x"}, ""),
    ("Product", {"W", "x"}, ""),
    ("Windows", {"x"}, ""),
    ("Filters", {"W"}, ""),
    ("Cut", {"x"}, "edited in place"),
    ("Late", {"W", "x"}, ""),
    ("Step", {"W", "b", "x"}, ""),
    ("Named", {"weights", "bias"}, "no gradient of x"),
    ("Nested", {"weights", "bias", "x"}, ""),
    ("Distance", {"x"}, ""),
    ("Entropy", {"x"}, ""),
    ("TwiceSquared", {"input_tensor"}, ""),
    ("Long", {"weights", "input_tensor"}, ""),
])  # fmt: skip
def test_what_assignments_ask_for_is_judged(assignment, name, gradients, words):
    report = assignment[name]
    assert report.verdict in ("ok", "convention") and words in str(report), str(report)
    assert {g.name for g in report.gradients} == gradients


@pytest.mark.parametrize("name, right, wrong", [
    ("linear", "dW = dZ @ A_prev.T / m", "dW = dZ @ A_prev.T"),  # one of the two alone
    ("network", "(1 - A1**2)", "(1 - A1)"),
    ("char_step", '+ gradients["da_next"]', ""),
    ("conv", "dZ.sum(axis=(0, 1, 2))", "dZ.mean(axis=(0, 1, 2))"),
    ("Squares", "2 * self.d + 1", "2 * self.d"),
    ("Late", "self.dW = self.x.T @ dout", "self.dW = -self.x.T @ dout"),
    ("Named", "grad_bias = dout.sum(axis=0)", "grad_bias = dout.mean(axis=0)"),
])  # fmt: skip
def test_a_mistake_in_what_assignments_ask_for_is_found(name, right, wrong, tmp_path):
    report = mistaken(ASSIGNMENTS, name, right, wrong, tmp_path, explain=False)
    assert report.verdict == "wrong", str(report)


def test_what_is_not_written_yet_is_not_called_wrong(course):
    assert (course["Later"].verdict, course["Later"].cause) == (
        "unchecked", "Later.backward is empty")
    assert (course["exercise"].verdict, course["exercise"].cause) == (
        "unchecked", "exercise_backward is not written yet: it leaves None in dx, dW")


@pytest.mark.parametrize("name, right, wrong, cause", [
    ("pool", "dout[:, :, i, j, None, None] / k**2", "dout[:, :, i, j, None, None] / k", "scaling"),
    ("lstm_cell", "dc * cct * it * (1 - it)", "-dc * cct * it * (1 - it)", "wrong sign"),
    ("Regression", "return d @ self.W.T", "return -d @ self.W.T", "wrong sign"),
])  # fmt: skip
def test_a_mistake_in_what_courses_ask_for_has_its_cause(name, right, wrong, cause, tmp_path):
    report = mistaken(COURSES, name, right, wrong, tmp_path)
    assert report.verdict == "wrong" and cause in report.cause, str(report)


def test_blocks_are_no_steps_of_time(tmp_path):
    (tmp_path / "m.py").write_text(COURSES.read_text().replace(
        "dh = b.backward(dh)\n        return dh", "dh = b.backward(np.sin(dh))\n        return dh"))
    (report,) = check_here(tmp_path / "m.py", only="Deep", seconds=1)
    assert report.verdict == "wrong" and "time step" not in str(report.cause), str(report)


def test_functions_that_take_arrays_in_boxes(tmp_path):
    boxes = FORMS.parent / "boxes"
    reports = [r for name in ("core.py", "functions.py") for r in check_here(boxes / name)]
    assert [(r.name, r.verdict) for r in reports] == [(n, "ok") for n in (
        "Mul", "Square", "Exp", "Reshape", "Clip", "Sum")], "\n".join(map(str, reports))
    shutil.copytree(boxes, tmp_path / "boxes")
    path = tmp_path / "boxes" / "functions.py"
    path.write_text(path.read_text().replace("x * gy * 2", "x * gy"))
    (report,) = check_here(path, only="Square")
    assert [c.diff for c in report.causes] == [["- return x * gy", "+ return x * gy * 2"]]


# --- layers in layers, and forwards that are wrong -----------------------------------------------

PARTS = FORMS.parent / "parts.py"
CARRIED = FORMS.parent / "carried.py"


def test_a_right_part_in_its_place_gives_the_gradient_of_its_state():
    (report,) = check_here(CARRIED, only="Follower")
    assert "Carried, which is wrong: mend that first; Follower itself is right" in report.cause


def test_what_raises_is_not_explained_by_leaving_it_out():
    (report,) = check_here(CARRIED, only="Misnamed")
    assert [(c.kind, "is meant" in c.text) for c in report.causes] == [("misspelt", True)] * 2
    assert "+ for a, b in zip(self.dots, self.tanhs):" in str(report), str(report)


@pytest.mark.parametrize("name, verdict, words", [
    ("MyTimeRNN", "wrong",
     "uses MyRNN, which is wrong: mend that first; MyTimeRNN itself is right"),
    ("Unwritten", "wrong", "never written"),
    ("Blind", "wrong", "does not depend on the input idx"),
    ("Sigmoid", "convention", "is the derivative at x"),
    ("Skip", "ok", ""),
])  # fmt: skip
def test_a_layer_is_judged_after_its_parts(name, verdict, words):
    (report,) = check_here(PARTS, only=name)
    assert report.verdict == verdict and words in (report.cause or ""), str(report)


def test_a_layer_that_is_wrong_beside_its_part_is_told_so(tmp_path):
    text = PARTS.read_text().replace("dhs[:, t] + dh", "dhs[:, t]")
    (tmp_path / "m.py").write_text(text)
    (report,) = check_here(tmp_path / "m.py", only="MyTimeRNN")
    assert report.verdict == "wrong" and "MyTimeRNN is not right then either" in report.notes[0]


def test_what_a_part_raises_is_said_beside_the_mistakes_of_its_own(tmp_path):
    (tmp_path / "m.py").write_text('''
class Part:
    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dout):
        return 2 * dout * self.xx

class Whole:
    def __init__(self):
        self.part = Part()

    def forward(self, x):
        return 3 * self.part.forward(x)

    def backward(self, dout):
        return self.part.backward(-3 * dout)
''')
    _, report = check_here(tmp_path / "m.py")
    assert "Whole is not right then either" in report.notes[0], str(report)
    assert report.notes[1] == "backward raises AttributeError: 'Part' object has no attribute 'xx'"
    assert [c.kind for c in report.causes] == ["sign"]


def test_an_axis_of_size_one_does_not_make_a_layer_right(tmp_path):
    """Along it a transpose, and the sum that is missing here, are right by chance."""
    path = tmp_path / "layers.py"
    path.write_text('''
class TimesItsSum:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.x, self.s = x, x.sum(axis=1, keepdims=True)
        return x * self.s

    def backward(self, dout):
        return dout * self.s + dout * self.x
''')
    (report,) = check_here(path)
    assert report.verdict == "wrong" and [g.name for g in report.gradients if not g.ok] == ["x"]


@pytest.fixture(scope="module")
def kinds():
    return {r.name: r for r in check_here(FORMS.with_name("kinds.py"))}


@pytest.mark.parametrize("name, verdict, words", [
    ("forward", "ok", ""),
    ("Dicts", "ok", ""),
    ("Updates", "convention", "backward applies the update itself"),
    ("UpdatesTooEarly", "wrong", ""),
    ("Cached", "ok", ""),
    ("WeightsAsInputs", "convention", "backward returns no gradient of x"),
    ("Unused", "wrong", "does not depend on the input h:"),
    ("Unused", "wrong", "without it forward raises TypeError"),
    ("NotReturned", "wrong", "dx"),
    ("ListInList", "wrong", "raises TypeError: can't multiply sequence"),
    ("FirstOnly", "wrong", "not those of self.layers[1]"),
    ("SharedFirstOnly", "wrong", "the first of 2 inner layers alone"),
    ("NoConstructor", "unchecked", "TypeError: NoConstructor() takes no arguments"),
    ("NoConstructorOfNothing", "unchecked", "NoConstructorOfNothing(W, b) raises TypeError"),
    ("LabelsTwice", "wrong", "`dout * np.log(self.y) / len(self.t)` should be negated"),
    ("TwoExceptions", "unchecked", "AttributeError: 'numpy.ndarray' object has no attribute"),
    ("AddedNowhere", "wrong", "`grads` is added up nowhere: `for k, g in "),
    ("ReturnsDout", "wrong", "`dout` stands where `dx` belongs"),
    ("EditsAndDoubles", "wrong", "scaled by `2`, which does not belong there"),
    ("OneWeightTwice", "wrong", "the output does not depend on Wx, for which backward gives"),
    ("FromAnotherFile", "unchecked", "with MatMul of the book in its place every gradient"),
    ("RaisesInVain", "unchecked", "no attribute 'to_array'"),
    ("Misspelt", "wrong", "`self.inner.backward` is meant"),
    ("OneSample", "convention", "for x (N, D) forward raises TypeError"),
    ("Sequences", "ok", ""),
    ("Later", "ok", ""),
    ("GradsForgotten", "wrong", "grads has 0: an optimizer never sees the gradient dW; it stands in"
     " self.inner.grads[0]"),
    ("RowBias", "convention", "right for b (1, H), wrong for b (H,)"),
    ("WeightedLoss", "convention", "returns no gradient of weights: for a loss these are data"),
    ("ClippedOverTime", "convention", "clips its gradients"),
    ("CrossEntropyOfRows", "ok", ""),
    ("AfterSoftmax", "convention", "the gradient before the softmax that made y_pred, not that"),
    ("BatchAndTime", "convention", "right for x (N, T, H), wrong for x (N, H)"),
    ("ListOfArrays", "ok", ""),
    ("ScoresWithoutLabels", "ok", ""),
])  # fmt: skip
def test_every_kind_is_judged(kinds, name, verdict, words):
    report = kinds[name]
    assert report.verdict == verdict and words in (report.cause or ""), str(report)


def test_what_is_raised_is_named_as_the_author_sees_it(kinds):
    report = kinds["Bracketed"]
    assert "'numpy._ArrayFunctionDispatcher' object is not subscriptable" in report.cause
    assert report.source == "self.grads = [np.zeros_like[W]]", str(report)
    report = kinds["ColumnsAndRows"]  # in columns and in rows: which are meant, nobody knows
    assert report.verdict == "unchecked" and "backward raises ValueError" in report.cause
    assert any("for x (N, D), h_prev (N, H) forward raises" in n for n in report.notes)


def test_what_forward_and_backward_take_and_give_in_less_usual_ways():
    reports = check_here(Path(__file__).parent / "checked" / "signatures.py", explain=False)
    assert [r.name for r in reports if r.verdict == "ok"] == [r.name for r in reports], "\n".join(
        str(r) for r in reports if r.verdict != "ok")
    assert all(len(r.gradients) == len({g.name for g in r.gradients}) > 0 for r in reports)
    assert any("edits the gradient that it is handed" in note for r in reports
               if r.name == "EditsByAPart" for note in r.notes)


@pytest.mark.parametrize("file", ["forward.py", "backward.py"])
def test_forward_in_one_file_and_backward_in_another(file):
    affine, tanh = check_here(Path(__file__).parent / "checked" / "halves" / file)
    assert (tanh.name, tanh.verdict) == ("tanh", "ok"), str(tanh)
    assert [(c.kind, c.gradients, c.line) for c in affine.causes] == [("batch", ["b"], 6)]
    assert affine.causes[0].file.endswith("backward.py")


def test_what_was_taken_from_elsewhere_is_said(kinds):
    assert any("IndexError: index 3 is out" in note for note in kinds["TwoExceptions"].notes)
    assert any("raises ValueError" in note for note in kinds["OneWeightTwice"].notes)
    assert any("x is edited in place" in note for note in kinds["EditsAndDoubles"].notes)
    assert "grads[k] += g" in "".join(kinds["AddedNowhere"].causes[0].diff)
    assert any("one-hot rows" in note for note in kinds["LabelsTwice"].notes)
    assert any("stand behind the class" in note for note in kinds["Later"].notes)
    assert any("ch07.seq2seq is not found" in note for note in kinds["Sequences"].notes)
    assert any("no attribute 'backword'" in note for note in kinds["Misspelt"].notes)
    assert {g.name for g in kinds["forward"].gradients} == {"W_out", "b_out", "x"}


# --- what is said of what is wrong ---------------------------------------------------------------


def test_each_gate_is_told_right_or_wrong(tmp_path):
    right, wrong = "dg = dc * i", "dg = dc * o"
    assert SOURCE.count(right) == 1
    (tmp_path / "m.py").write_text(SOURCE.replace(right, wrong))
    (report,) = check_here(tmp_path / "m.py", only="LSTM", explain=False)
    gates = {g.name: g.gates for g in report.gradients if g.gates}
    assert set(gates) == {"Wx", "Wh", "b"}
    assert all(g == {"f": True, "g": False, "i": True, "o": True} for g in gates.values())
    assert "gates of dWx, dWh, db: f ok, g wrong, i ok, o ok" in str(report)
    assert ">g ✗<" in report._repr_html_()  # told without colours, too


class Unknown:
    """Wrong in a way that nobody has thought of."""

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, dout):
        return dout * np.cos(3 * self.x + 1)


def test_what_is_not_found_is_said_and_no_cause_is_made_up():
    report = check(Unknown)
    assert report.verdict == "wrong" and not report.causes and report.unexplained == ["x"]
    assert "none of the known mistakes" in str(report) and "likely cause" not in str(report)
    assert report.example  # where there is no cause it is needed most
    report = check_class(Unknown, deadline=0.0)  # no time at all
    assert "not found within the work of 0 s (--time-limit)" in str(report)


ELSEWHERE = FORMS.parent / "elsewhere.py"


@pytest.fixture(scope="module")
def elsewhere():
    return {r.name: r for r in check_here(ELSEWHERE, explain=False)}


@pytest.mark.parametrize("name, verdict, cause", [
    ("Leaky", "ok", ""),  # its slope is no rate of learning
    ("Dense", "ok", ""),  # a size that is None until it is set
    ("Attention", "wrong", "uses Softmax, which is wrong: mend that first; Attention itself is"),
    ("Block", "wrong", "uses Attention, which is wrong: mend that first; Block itself is right"),
    ("TwiceDropped", "wrong", ""),  # right without training alone is not right
    ("Kept", "ok", ""),
    ("KeptWrong", "wrong", ""),
    ("SquaredLoss", "ok", ""),
    ("SquaredLossOfSum", "ok", ""),
    ("SquaredLossWrong", "wrong", ""),
    ("KeptCell", "ok", ""),
    ("Bptt", "ok", ""),
    ("BpttWrong", "wrong", ""),
    ("Net", "ok", ""),
    ("Row", "convention", "backward applies the update itself"),
    ("Activation", "ok", ""),
    ("Static", "ok", ""),
    ("NotYet", "unchecked", "NotYet.backward is empty"),
    ("SplitCell", "ok", ""),
    ("squared_loss", "ok", ""),
    ("AsksForMore", "unchecked", "how backward is called was not found by trying"),
    ("characters", "ok", ""),
    ("KeptStep", "convention", "backward returns no gradient of x"),
])  # fmt: skip
def test_what_other_repositories_have(elsewhere, name, verdict, cause):
    report = elsewhere[name]
    assert report.verdict == verdict and cause in str(report.cause or ""), str(report)


def test_outputs_are_filled_through_their_rows_as_numpys_are():
    reports = check_here(FORMS.parent / "filled.py")
    assert [(r.name, r.verdict) for r in reports if r.name != "WrongInIt"] == [
        (r.name, "ok") for r in reports if r.name != "WrongInIt"]  # fmt: skip
    assert len(reports) == 10 and reports[-1].verdict == "wrong" and reports[-1].kind == "scaling"


@given(seeds)
def test_writing_into_parts_of_a_created_array_is_writing_into_numpys(seed):
    """Views of views, in any order, written to in every way; an older view is read anew."""
    rng = np.random.default_rng(seed)
    real, ours = np.zeros((3, 4, 2)), Filled(np.zeros((3, 4, 2)))
    views = [(real, ours)]
    for _ in range(8):
        a, b = views[rng.integers(len(views))]
        how = rng.integers(6)
        if how == 0 and a.ndim > 1:
            i = int(rng.integers(len(a)))
            views.append((a[i], b[i]))
        elif how == 1 and a.ndim > 1:
            views.append((a.T, b.T))
        elif how == 2:
            views.append((a[..., ::2], b[..., ::2]))
        elif how == 3:
            value, i = rng.normal(), int(rng.integers(len(a)))
            a[i] = value
            b[i] = Tensor(value, requires_grad=True)
        elif how == 4:
            value = rng.normal(size=a.shape)
            a += value
            b += value
        else:
            value = rng.normal(size=a.shape)
            np.multiply(a, value, out=a)
            np.multiply(b, value, out=b)
    for a, b in views:
        np.testing.assert_array_equal(b.detach().numpy(), a)


def test_a_state_that_each_forward_makes_anew_is_no_weight():
    reports = check_here(FORMS.parent / "restarted.py")
    assert {r.name: r.verdict for r in reports} == {"Step": "ok", "Restarted": "ok"}
    assert {g.name for g in reports[-1].gradients} == {"W", "xs"}


ABROAD = [FORMS.parent / f"{name}.py" for name in ("nearby", "abroad", "tried", "reached")]


@pytest.fixture(scope="module")
def abroad():
    return {r.name: r for path in ABROAD for r in check_here(path, explain=False)}


def where(name):
    """The file in which a layer of this name is defined."""
    return next(p for p in ABROAD if re.search(rf"^(class|def) {name}\b", p.read_text(), re.M))


@pytest.mark.parametrize("name, verdict, words", [
    ("tagged", "ok", ""),
    ("model", "convention", "the cross entropy (divided by N)"),
    ("cost_n", "convention", "backward returns no gradient of x"),
    ("forward_propagation", "wrong", ""),
    ("n", "ok", ""),  # of a name of its own, not the backward of another
    ("Reshaped", "ok", ""),
    ("Gelu", "ok", ""),
    ("Decayed", "convention", "backward adds to dW the gradient of a penalty"),
    ("Updated", "convention", "hands its gradients to an optimizer"),
    ("Normalized", "convention", "right in training (self._is_training = True), wrong without"),
    ("Classified", "convention", "what the softmax is taken of"),
    ("Probabilities", "convention", "handed what forward returns"),
    ("Characters", "convention", "clips its gradients"),
    ("Penalised", "convention", "backward adds to dweights the gradient of a penalty"),
    ("Scaled", "wrong", ""),
    ("Selected", "ok", ""), ("SelectedEmbedding", "ok", ""),
    ("Joint", "convention", "the sum of the gradients of key, value"),
    ("Unfinished", "unchecked", "Unfinished.forward is not written yet: it leaves None in out"),
    ("Placeholder", "unchecked", "Placeholder.backward is not written yet: it leaves None in self"),
    ("Stateful", "convention", "right for a sequence, forward for each of its steps"),
    ("Static", "ok", ""),
    ("Network", "ok", ""),
    ("Branching", "convention", "before the softmax that made y_pred"),
    ("Single", "ok", ""), ("Asked", "ok", ""), ("Pointwise", "ok", ""),
    ("TinyModel", "convention", "the data of a whole network"), ("ForgetfulModel", "wrong", ""),
    ("TypedLoss", "convention", "(3,7)  ok"),
    ("Switched", "ok", "compared with central differences"),
    ("Ending", "convention", "does not look at the gradient that it is handed"),
    ("Named", "ok", ""), ("RowsGRU", "ok", ""), ("Remade", "ok", ""), ("dense_single", "ok", ""),
    ("Idle", "ok", ""), ("BothWays", "ok", ""),
    ("AtOutput", "convention", "backward is handed what forward gave, not a gradient, and gives"),
    ("logistic", "ok", "backward is handed what forward gave, not a gradient, and gives"),
    ("WholeSoftmax", "convention", "right for x (D,), wrong for x (N, D)"),
    ("Reported", "convention", "backward returns no gradient of x"),
    ("squares_loss", "convention", "backward returns no gradient of X"),
    ("layered_loss", "convention", "backward returns no gradient of X"),
    ("columns_loss", "ok", ""), ("Keyed", "ok", ""),
    ("empty_loss", "unchecked", "dW: right would be 0"),
    ("Mean2d", "ok", ""), ("Surprise", "ok", ""), ("Rooted", "ok", ""), ("Filling", "ok", ""),
    ("OneStep", "convention", "returns the gradient of x as a row, (1, 5)"),
    ("AsRow", "convention", "returns the gradient of x as a row, (1, 5)"),
    ("OneNumber", "unchecked", "forward raises TypeError: NumPy boolean array indexing assignment"),
    ("WholeLoss", "convention", "right for x (V,), t one-hot (V,), wrong for x (N, V), t one-hot"),
    ("HandedBack", "convention", "are divided by the batch"), ("Boxed", "ok", "dparams"),
    ("Mirrored2d", "ok", ""), ("Squeeze2d", "ok", "(3,1,1,5)"),
    ("Picked", "ok", ""), ("OnTop", "wrong", "OnTop itself is right"),
    ("Around", "wrong", "Around itself is right"),
    ("Guessed", "unchecked", "how backward is called was not found by trying"),
    ("Initialised", "convention", "right for bias_init_fn (1, n), wrong for bias_init_fn (n,)"),
    ("squared_error", "ok", "dtheta    (5,)"),
    ("Dense", "ok", "dweight   (5,6)"), ("Seeded", "ok", ""), ("Lifted", "wrong", ""),
    ("Mixed", "convention", "does not clear it"), ("Holder", "convention", "dW "),
    ("Deep", "convention", "dW "),
    ("Pair2", "convention", "dx        (3,2)  ok"), ("Image", "ok", "dx        (3,5,4,4)  ok"),
    ("Squares", "ok", "dpredictions"), ("Weighed", "ok", "dpredictions"),
    ("Keyed2", "ok", "dparams.w.data"), ("Summed2", "ok", ""),
    ("Absolute", "convention", "dx        (3,5)  ok"), ("WithScores", "ok", "dinput"),
    ("Twice", "unchecked", "'numpy.ndarray' object has no attribute 'append'"),
    ("Whole", "ok", "checked with layers of this project for layers"),
    ("Forgetful", "unchecked", "with layers of this project for layers it is wrong"),
    ("Begun", "ok", "no gradient of it is compared"), ("Settled", "ok", "dx"),
    ("Unlearned", "unchecked", "db not compared"),
    ("Taxed", "unchecked", "keeps self.penalty"), ("Noted", "wrong", "2 times"),
    ("ForOne", "convention", "right for x (D, 1), wrong for x (D, N)"), ("Unsummed", "wrong", "db"),
    ("BinaryLoss", "convention", "y_pred probabilities (N, 1), wrong for"),
    ("ColumnLoss", "convention", "right for outputs (N, 1), true_labels (N, 1), wrong for"),
    ("OneRowLoss", "ok", "dinputs   (1,3)"),
    ("EachStep", "convention", "dW, dU, db: one for each step or sample, and right once they are"),
    ("FromState", "convention", "backward returns no gradient of h_prev"), ("Flat", "ok", "dx"),
    ("Activated", "ok", "checked with layers of this project for activation"),
    ("Wrapping", "ok", ""), ("Built", "ok", "dkernel   (5,6)"), ("Highest", "ok", ""),
    ("WordRows", "ok", "dembed_matrix"), ("Masked", "ok", "has no attribute 'mask'; checked with"),
    ("Sampled", "ok", "dx"),
])  # fmt: skip
def test_what_is_written_far_from_the_book_is_judged(abroad, name, verdict, words):
    report = abroad[name]
    assert report.verdict == verdict and words in str(report), str(report)


@pytest.mark.parametrize("name, right, wrong", [
    ("Decayed", "2 * self.decay * self.W", "2 * self.decay * self.W**2"),
    ("Updated", "dout.sum(axis=0)])", "-dout.sum(axis=0)])"),
    ("Normalized", "(d * self.normal).mean(axis=0)", "(d * self.normal).sum(axis=0)"),
    ("Gelu", "* np.exp(-(self.x**2) / 2)", "* np.exp(-(self.x**2))"),
    ("Classified", "kept.T @ deltas, deltas", "kept.T @ deltas, -deltas"),
    ("Penalised", "2 * self.l2 * self.weights", "self.l2 * self.weights**2"),
    ("Joint", "dout * query + dout * 2", "dout * query + dout"),
    ("Stateful", "self.dU += before.T @ da", "self.dU += -before.T @ da"),
    ("Static", "-y / y_pred", "y / y_pred"),
    ("AsRow", "delta.T @ self.x[None]", "delta.T @ self.x[None] / 2"),
    ("Surprise", "self.grad = -label", "self.grad = -2 * label"),
    ("Rooted", "targets / outputs", "outputs / targets"),
    ("OneStep", "np.outer(da, self.h_prev)", "np.outer(da, self.h)"),
    ("HandedBack", "self.dU += h_prev_t.T @ da / len(da)", "self.dU += h_prev_t.T @ da"),
    ("HandedBack", "self.dU += h_prev_t.T @ da", "self.dU += h_t.T @ da"),
    ("Filling", "= x.T @ d", "= x.T @ upstream_gradient"),
    ("Boxed", "self.x.T @ grads", "(2 * self.x).T @ grads"),
    ("Initialised", "self.x.T @ delta", "self.x.T @ delta / 2"),
    ("Dense", "np.sum(dz, 0", "2 * np.sum(dz, 0"), ("Seeded", "copy() / (1", "copy() * (1"),
    ("Deep", "self.dW += self.x.T", "self.dW += 2 * self.x.T"),
    ("Deep", "self.dg = np.sum", "self.dg = 2 * np.sum"),
    ("Pair2", "1 - hidden**2", "1 - hidden"), ("Image", "self.w)[", "self.dw)["),
    ("Squares", "return (predictions - targets)", "return (targets - predictions)"),
    ("Weighed", "self._weights * 2", "self._weights * 3"),
    ("Keyed2", "np.sum(grad, axis=0)", "np.mean(grad, axis=0)"),
    ("Summed2", "np.ones(self.shape) *", "2 * np.ones(self.shape) *"),
    ("Absolute", "np.sign(x - y)", "np.sign(y - x)"),
    ("Begun", "self.hs[t].T @ da", "self.hs[t + 1].T @ da"),
    ("Settled", "self.step.backward(dout)", "2 * self.step.backward(dout)"),
    ("WithScores", "labels] -= 1", "labels] -= 2"),
    ("ForOne", "self.V.T @ dz", "self.V.T @ da"),
    ("ForOne", "dz @ self.x.T, dz", "dz @ self.x.T, da"),
    ("BinaryLoss", "(y_pred - t) / (y_pred", "(t - y_pred) / (y_pred"),
    ("ColumnLoss", "2 * np.sum(self.gap", "np.sum(self.gap"),
    ("OneRowLoss", "y_true.argmax()] -= 1", "y_true.argmax()] -= 2"),
    ("EachStep", "self.hs[t].T @ da\n            db", "self.hs[t + 1].T @ da\n            db"),
    ("FromState", "self.hs[t - 1].T @ da", "self.hs[t].T @ da"),
    ("Wrapping", "dout * self.derivative(self.x)", "dout * self.derivative(2 * self.x)"),
    ("Built", "self.x.T @ dout\n        return dout @ self.kernel.T",
     "self.x.T @ dout / 2\n        return dout @ self.kernel.T"),
    ("WordRows", "self.ids, dout)", "self.ids, 2 * dout)"),
    ("Masked", "dout.swapaxes(1, 2) @", "-dout.swapaxes(1, 2) @"),
    ("Sampled", "dy * self.noise", "dy"),
    ("Highest", "= dout[n]", "= 2 * dout[n]"), ("Flat", "grad.reshape(", "2 * grad.reshape("),
    ("Mean2d", "/ (H * W)", "/ H"), ("squared_error", "grad_vec = 2 *", "grad_vec ="),
])  # fmt: skip
def test_a_mistake_far_from_the_book_is_found(name, right, wrong, tmp_path):
    report = mistaken(where(name), name, right, wrong, tmp_path, explain=False)
    assert report.verdict == "wrong", str(report)


@pytest.mark.parametrize("name, words", [
    ("Rectifier", "`self.out >= 0` should be `self.out > 0`"),
    ("Distance", "= 7 times what it should be"),
    ("Lazy", "scaled by `2`, which does not belong there"),
    ("WholeBatch", "- self.y, self.t = exps / np.sum(exps), t"),
    ("Tallied", "dW: added to what it holds from before, which the others are not"),
    ("Covered", "`part[np.where(dx[:, i:i + 2] != 0)] = 0` does not belong there"),
    ("Robust", "-self.delta * np.sign(error)) / len(error) / error.shape[1]"),  # no number
])
def test_a_cause_far_from_the_book(name, words):
    (report,) = check_here(where(name), only=name)
    assert words in str(report) and report.example, str(report)


def test_between_two_single_numbers_a_factor_is_no_cause():
    (report,) = check_here(where("Lifted"), only="Lifted")
    assert report.verdict == "wrong" and not report.causes, str(report)


def test_a_part_that_a_module_has_is_known_to_be_wrong(tmp_path):
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "__init__.py").write_text("""
import numpy as np


class Scale:
    def __init__(self, D):
        self.g, self.dg = np.ones(D), None

    @property
    def params(self):
        return [self.g]

    @property
    def grads(self):
        return [self.dg]

    def forward(self, x):
        self.x = x
        return np.tanh(x * self.g)

    def backward(self, dout):
        self.dg = np.sum(dout * self.x, axis=0)
        return dout * self.g
""")
    (tmp_path / "models.py").write_text("""
import numpy as np

import nn


class Block:
    def __init__(self, D):
        self.scales = [nn.Scale(D), nn.Scale(D)]

    @property
    def params(self):
        return self.scales[0].params + self.scales[1].params

    @property
    def grads(self):
        return self.scales[0].grads + self.scales[1].grads

    def forward(self, x):
        return self.scales[1].forward(self.scales[0].forward(x))

    def backward(self, dout):
        return self.scales[0].backward(self.scales[1].backward(dout))
""")
    with (tmp_path / "models.py").open("a") as file:
        file.write("""

class Open(Block):
    def __init__(self, D):
        super().__init__(D)
        self.held = np.random.randn(D)

    def forward(self, x):
        return super().forward(x) * self.held

    def backward(self, dout):
        return super().backward(dout * self.held)
""")
    block, unseen = check_here(tmp_path / "models.py")
    assert block.cause == (
        "Block uses Scale, which is wrong: mend that first; Block itself is right"), str(block)
    assert unseen.verdict == "wrong" and (
        "uses Scale, which is wrong: mend that first; dheld not compared") in unseen.cause


def test_the_search_for_a_cause_ends_without_lists_of_gradients(tmp_path):
    for name, right, wrong in (("OneStep", "(1 - self.h**2)", "(1 - self.h)"),
                               ("Filling", "(1 - self.forward(x)[0] ** 2)", "self.forward(x)[0]")):
        report = mistaken(where(name), name, right, wrong, tmp_path)
        assert report.verdict == "wrong" and "failed" not in str(report), str(report)


def test_a_library_for_annotations_alone_need_not_be_there(tmp_path):
    (tmp_path / "own.py").write_text(
        "from annotating import Array, Shape\n\n\nclass Double:\n"
        "    def forward(self, x: Array[Shape['N, D']]) -> Array[Shape['N, D']]:\n"
        "        return 2 * x\n\n    def backward(self, dout):\n        return 2 * dout\n")
    assert [r.verdict for r in check_here(tmp_path / "own.py")] == ["ok"]


def test_what_forward_edits_in_place_is_told_with_its_line():
    (report,) = check_here(where("InPlace"), only="InPlace")
    assert report.source == "x[self.mask] = x[self.mask] / 4", str(report)


def test_a_factor_is_seen_beside_an_epsilon():
    wanted = np.array([1.0, 1e-3, 1e-7])
    assert ratio_of(2 * wanted + 1e-8, wanted) == pytest.approx(0.5)
    assert ratio_of(2 * wanted + 1e-5, wanted) is None


class Unmoved:
    """What is added to all scores moves no softmax: whatever makes its gradient 0 mends it."""

    def __init__(self):
        self.c = np.ones(1)

    def forward(self, x):
        e = np.exp(x + self.c)
        self.y = e / e.sum(axis=-1, keepdims=True)
        return self.y

    def backward(self, dout):
        self.dc = np.array([dout.sum()])
        return self.y * dout


def test_a_gradient_that_is_zero_when_right_shows_no_mistake():
    layer = Unmoved()
    slots = named_slots(layer, [("c",)])
    outcome = evaluate(Setup(layer, [np.arange(6.0).reshape(2, 3)], ["x"], slots))
    assert {g.name for g in outcome.wrong_gradients} == {"c", "x"}
    assert {"x"} <= {*Bench(outcome).run()} and "c" not in Bench(outcome).run()


def test_the_forward_backward_algorithm_is_no_layer(tmp_path):
    (tmp_path / "own.py").write_text(
        "class Paths:\n    def get_forward_probs(self, x):\n        return x\n\n"
        "    def get_backward_probs(self, x):\n        return 2 * x\n\n\n"
        "class Double:\n    def forward(self, x):\n        return 2 * x\n\n"
        "    def backward(self, dout):\n        return 2 * dout\n")
    assert [r.name for r in check_here(tmp_path / "own.py")] == ["Double"]


def test_what_is_no_number_is_right_nowhere():
    found = compare("x", np.zeros(2), np.array([np.nan, 0.0]), 1e-6)
    assert not found.ok and found.index == (0,)


def test_a_function_that_cannot_be_defined_and_is_no_layer_is_not_told(tmp_path):
    (tmp_path / "own.py").write_text("def plot(color=missing):\n    pass\n\n\n"
                                     "class Net(Missing):\n    pass\n")
    assert [r.name for r in check_here(tmp_path / "own.py")] == ["Net"]


def test_one_mistake_in_many_lines_is_found_in_all():
    (report,) = check_here(where("Tallies"), only="Tallies")
    assert [(c.kind, *c.gradients) for c in report.causes] == [
        ("overwritten", name) for name in ("gamma", "beta", "scale", "shift")], str(report)


def test_what_only_has_the_names_of_a_layer_is_none(abroad):
    assert not {"seeded_params_and_grads", "show"} & {*abroad}


def test_what_nothing_reads_and_another_formula_are_told(abroad):
    assert "backward computes unused, and nothing reads it" in str(abroad["Sigmoid"])
    assert "forward is not the formula of Sigmoid" in str(abroad["Sigmoid"])


def test_a_gradient_of_another_shape_is_one_whatever_its_name_is_written_like(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n\n"
        "def affine_forward(X, W, b):\n    return X @ W + b, (X, W, b)\n\n"
        "def affine_backward(dout, cache):\n    X, W, b = cache\n"
        "    db = np.sum(dout, axis=0)\n    dx = np.sum(dout, axis=0)\n"
        "    return dx, X.T @ dout, db\n")
    (report,) = check_here(tmp_path / "own.py")
    assert [(g.name, g.ok) for g in report.gradients if g.name == "X"] == [("X", False)]
    assert report.verdict == "wrong"
    assert "stands in two places: `np.dot(dout, W.T)` belongs here" in str(report)


BRANCHES = """
import numpy as np

class Branches:
    def __init__(self, W, Wh):
        self.params = [W, Wh]
        self.grads = [np.zeros_like(W), np.zeros_like(Wh)]

    def forward(self, x):
        W, Wh = self.params
        self.x, self.h = x, np.maximum(x @ Wh - {much}, 0)
        return x @ W + self.h

    def backward(self, dout):
        W, Wh = self.params
        dh = dout * (self.h > 0)
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = {dWh}
        return dout @ W.T + dh @ Wh.T
"""


def test_what_is_zero_in_everything_that_was_tried_is_said(tmp_path):
    def check_with(much, *others, dWh="7 * self.x.T @ dh"):
        text = BRANCHES.format(much=much, dWh=dWh)
        for right, other in others:
            text = text.replace(right, other)
        (tmp_path / "own.py").write_text(text)
        (report,) = check_here(tmp_path / "own.py")
        return report

    dead = check_with(1e6)
    assert dead.ok and any(
        "dWh: right would be 0, or next to it" in n for n in dead.notes), str(dead)
    assert not check_with(0).ok
    alive = check_with(0, dWh="self.x.T @ dh")
    assert alive.ok and not any("next to it" in n for n in alive.notes), str(alive)
    nothing = check_with(1e6, ("self.x.T @ dout", "self.h.T @ dout"),
                         ("x @ W + self.h", "self.h @ W"),
                         ("dh = dout", "dh = dout @ W.T"), ("dout @ W.T + dh", "dh"))
    assert nothing.verdict == "unchecked" and "next to it" in nothing.cause, str(nothing)


BEGUN = FORMS.parent / "begun.py"


def test_what_another_method_makes_is_made():
    found = {r.name: r for r in check_here(BEGUN)}
    assert {n: r.verdict for n, r in found.items() if n != "Base"} == {
        "Full": "convention", "Gain": "ok", "Simple": "ok"}, "\n".join(map(str, found.values()))
    assert [g.name for g in found["Full"].gradients] == ["W", "b", "x"]


@pytest.mark.parametrize("name, right, wrong", [
    ("Full", "self.x.T @ dout)", "self.x.T @ dout * 2)"),
    ("Gain", "dout * self.x, axis", "dout, axis"),
    ("Simple", "da @ self.Wx.T, da @ self.Wh.T", "da @ self.Wx.T, da @ self.Wh"),
])
def test_a_mistake_beside_what_another_method_makes(name, right, wrong, tmp_path):
    report = mistaken(BEGUN, name, right, wrong, tmp_path, explain=False)
    assert report.verdict == "wrong", str(report)


@pytest.mark.parametrize("forward, backward", [
    ("1 / (1 + np.exp(-x))", "dout * (1 - self.y)"),  # y (1 - y) where the output is handed over
    ("x**2", "2 * dout"), ("np.tanh(x)", "1 - self.y * dout")])
def test_half_of_a_gradient_is_no_derivative(forward, backward, tmp_path):
    (tmp_path / "own.py").write_text(f"""
import numpy as np

class Half:
    def forward(self, x):
        self.y = {forward}
        return self.y

    def backward(self, dout):
        return {backward}
""")
    (report,) = check_here(tmp_path / "own.py", explain=False)
    assert report.verdict == "wrong", str(report)


@pytest.fixture(scope="module")
def overlooked():
    return {r.name: r for r in check_here(FORMS.parent / "overlooked.py")}


@pytest.mark.parametrize("name, verdict, words", [
    # what comes through a value that backward takes for a constant
    ("Coupled", "wrong", "if `i` in `keep = 1 - i` were a constant"),
    ("Spread", "wrong", "were a constant"),
    # of what backward is the derivative is known: forward is searched
    ("SoftmaxWithLoss", "wrong", "wrong sign: `np.log(self.y[np.arange(len(t)), t])`"),
    # a part that is wrong is called without an argument: that of its default is 1
    ("Guess", "wrong", "uses Sampled, which is wrong: mend that first; Guess itself is right"),
    ("Borrowed", "unchecked", "has no attribute 'derivative'"),
    ("Late", "ok", ""), ("Looked", "ok", ""), ("Scaled", "ok", ""), ("Widened", "ok", ""),
    ("Passing", "ok", ""), ("Whole", "convention", "right for x (D,), wrong for x (N, D)"),
    ("Target", "unchecked", "y_true of backward may be left out"),
    ("Toll", "convention", "the gradient of self.loss"),
    ("Summed", "convention", "right for x (D,)"),
    ("Handed", "ok", ""),
    ("Pooled", "ok", ""), ("Sequence", "convention", "backward returns no gradient of x"),
    ("Left", "convention", "leaves the gradient of src in self.for_encoder"),
    # static, with a context, and the author's own arrays
    ("Times", "ok", ""), ("Squared", "wrong", "0.5 times what it should be"), ("Chosen", "ok", ""),
    # a forward that could be bent, too
    ("Attended", "wrong", "scaled by `2`, which does not belong there"),
    # written into what nothing reads
    ("Parted", "wrong", "`dz[:, -1] += dx[:, 0]` does not belong there"),
    # a part in two places
    ("Twice", "wrong", "self.squash is used several times in forward"),
    # lists of sizes, dicts, shapes
    ("Tower", "unchecked", "for which no gradient is found"), ("Configured", "ok", ""),
    ("Resampled", "ok", ""), ("Listed", "ok", ""),
])
def test_what_is_easily_overlooked(overlooked, name, verdict, words):
    report = overlooked[name]
    assert (report.verdict, words in str(report)) == (verdict, True), str(report)


def test_a_dropped_path_is_none_where_another_convention_makes_it_right(overlooked):
    report = overlooked["Classes"]
    assert report.verdict == "wrong" and "were a constant" not in str(report), str(report)
