"""The catalogue of mistakes: each entry's own example is found, under its name and in its line; so
are two and three mistakes in one layer, and nothing is accused that is right."""

import inspect
import re
from pathlib import Path

import pytest
from hypothesis import settings
from mutants import SAME, SOURCE, pairs

from tinygrad_rnn import manual
from tinygrad_rnn.check import layer
from tinygrad_rnn.check.files import check_here
from tinygrad_rnn.check.mistakes import MISTAKES
from tinygrad_rnn.check.patch import patch

CATALOGUE = (Path(__file__).parent / "checked" / "catalogue.py").read_text()
# The same mistake may be undone by another entry that says it as well.
AS_WELL = {**SAME, "last_step": {"last_step", "overwritten"}, "number": {"number", "extra"},
           "wrong_branch": {"wrong_branch", "state_not_cut"}, "extra": {"extra", "scaling"},
           "wrong_variable": {"wrong_variable", "wrong_gate"},
           "missing_derivative": {"missing_derivative", "wrong_derivative", "missing_factor"}}


@pytest.fixture(autouse=True)
def _no_example(monkeypatch):
    monkeypatch.setattr(layer, "smallest_example", lambda *_: ("", []))  # has tests of its own


def test_the_layers_of_the_examples_are_right():
    reports = check_here(Path(__file__).parent / "checked" / "catalogue.py")
    assert len(reports) >= 12
    assert not [str(r) for r in reports if not r.ok]


def with_example(example):
    """The source with an example's mistake in it: text, the layer's name, the first line."""
    name, _, change = example.partition(": ")
    right, wrong = change.split(" -> ")
    if f"class {name}:" in CATALOGUE:
        source, begin = CATALOGUE, CATALOGUE.index(f"class {name}:")
        end = CATALOGUE.find("\n\n\n", begin)
        end = len(CATALOGUE) if end < 0 else end
    else:
        whole = inspect.getsource(getattr(manual, name))
        begin = SOURCE.index(whole) + whole.index('"""', whole.index('"""') + 3)
        source, end = SOURCE, SOURCE.index(whole) + len(whole)
    at = source.find(right, begin, end)
    assert at >= 0, f"{right!r} is not in {name}"
    return source[:at] + wrong + source[at + len(right):], name, source[:at].count("\n") + 1


@pytest.mark.parametrize("entry", [m for m in MISTAKES if m.example],
                         ids=lambda m: f"{m.kind}{m.undo.__name__}")
def test_the_example_of_an_entry_is_found(entry, tmp_path):
    source, name, line = with_example(entry.example)
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    if report.verdict == "unchecked" or report.searched:  # the time was over, on a slow machine
        (report,) = check_here(tmp_path / "own.py", only=name, seconds=30)
    assert report.verdict == "wrong", str(report)
    assert report.causes, str(report)
    kinds = AS_WELL.get(entry.kind, {entry.kind})
    lines = range(line - 1, line + entry.example.count("\n") + 3)
    assert any(c.kind in kinds and (c.line in lines) for c in report.causes), str(report)


def test_every_entry_has_an_example_and_words_that_can_be_filled_in():
    for entry in MISTAKES:
        assert entry.example and re.fullmatch(r"\w+: .+ -> .*", entry.example, re.DOTALL), entry
        assert entry.kind == entry.kind.lower() and entry.words


def found(report, mutant, line):
    """Whether a mistake is named: its kind, or its line."""
    kinds = SAME.get(mutant.kind, {mutant.kind})
    span = range(line - 1, line + mutant.text.count("\\n") + 3)
    return any(c.line in span or (c.kind in kinds) for c in report.causes) or (
        mutant.kind == "replaced" and any("replaced by a new array" in n for n in report.notes))


def test_two_mistakes_in_one_layer_are_both_named(tmp_path):
    drawn = pairs(17, seed=3)[: settings().max_examples // 5]  # one of each layer; six in CI
    both, said = 0, []
    for pair in drawn:
        (tmp_path / "pair.py").write_text(pair.source)
        (report,) = check_here(tmp_path / "pair.py", only=pair.layer)
        assert not report.ok
        hits = [found(report, m, line) for m, line in zip(
            (pair.first, pair.second), pair.lines, strict=True)]
        both += all(hits)
        if not all(hits):
            said.append(f"{pair.first.text}\n{pair.second.text}\n{report}")
    assert both >= 0.8 * len(drawn), "\n\n".join(said)


def test_what_is_wrong_beside_memory_that_is_never_written(tmp_path):
    source, name, _ = with_example("AffineByHand: db = np.sum(dout, axis=0) ->"
                                   " db = np.empty(dout.shape[1])")
    (tmp_path / "own.py").write_text(source.replace(
        "dx = np.dot(dout, W.T)\n        return dx", "dx = np.dot(dout, W.T)\n        return -dx"))
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert {"uninitialised", "sign"} == {c.kind for c in report.causes}, str(report)
    (tmp_path / "own.py").write_text(source.replace(
        "dW = np.dot(self.x.T, dout)", "dW = np.empty(W.shape)\n        dW = np.dot(self.x.T, dout)"
    ).replace("db = np.empty(dout.shape[1])", "db = np.empty(dout.shape[1])\n"
              "        db += 2 * np.sum(dout, axis=0)"))
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert {"uninitialised", "scaling"} == {c.kind for c in report.causes}, str(report)


def test_sums_that_are_none(tmp_path):
    reports = {r.name: r for r in check_here(Path(__file__).parent / "checked" / "sums.py")}
    said = {name: [(c.kind, c.line) for c in r.causes] for name, r in reports.items()}
    assert said["SumLoss"] == [("overwritten", 9)], str(reports["SumLoss"])
    assert said["TimeCell"] == [("not_added", 46)], str(reports["TimeCell"])
    assert [k for k, _ in said["Twice"]] == ["never_called"], str(reports["Twice"])
    assert reports["Cell"].verdict == "ok"
    assert said["Rows"] == [("uninitialised", 81), ("ids_twice", 82)], str(reports["Rows"])


def test_two_lines_that_are_missing_at_one_place():
    path = Path(__file__).parent / "checked" / "unstored.py"
    (report,) = check_here(path)
    assert [(c.kind, c.gradients) for c in report.causes] == [("zero", ["W"]), ("zero", ["b"])]
    lines = patch([c.change for c in report.causes]).splitlines()
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert sorted(changed) == [
        "+        self.grads[0][...] = dW", "+        self.grads[1][...] = db"]


def test_what_shared_memory_makes_wrong_has_no_other_cause():
    alone, both = check_here(Path(__file__).parent / "checked" / "shared.py")
    assert [c.kind for c in alone.causes] == ["aliased"], str(alone)
    assert [c.kind for c in both.causes] == ["aliased", "scaling"], str(both)
    assert "* 2" in both.causes[1].diff[0]


LAYER = """import numpy as np


class Own:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x{more}):
        {forward}

    def backward(self, dout=1):
        {backward}
"""


def test_a_mean_that_is_taken_of_what_is_not_masked(tmp_path):
    source = inspect.getsource(manual.TimeSoftmaxWithLoss)
    change = re.search(r"dx \*= dout / .*", source).group()
    for wrong, factor, below in (("dx *= dout", "/ mask.sum()", 0), ("pass", "/ mask.sum()", 2)):
        own, name, line = with_example(f"TimeSoftmaxWithLoss: {change} -> {wrong}")
        (tmp_path / "own.py").write_text(own)
        (report,) = check_here(tmp_path / "own.py", only=name)
        assert [c.line for c in report.causes] == [line + below], str(report)
        assert report.causes[0].diff[1].endswith(factor), str(report)


def test_a_factor_that_makes_it_larger(tmp_path):
    source, name, line = with_example("Broadcast: dW = dout * self.x -> dW = dout")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [(c.text, c.line) for c in report.causes] == [
        ("the factor `self.x` is missing in `dout`", line)], str(report)


def test_a_sum_of_the_softmax_that_is_there_is_not_said_to_be_missing(tmp_path):
    source, name, line = with_example("SoftmaxInSteps: dx -= self.y * total -> dx -= self.y")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [(c.kind, c.line) for c in report.causes] == [("missing_factor", line)], str(report)


@pytest.mark.parametrize("example, said", [
    ("TimeLSTM: dhs[:, t, :] + dh, dc -> dh, dc", "`dhs[:, t]` is not added to `dh`"),
    ("Begun: np.sum(dxs, axis=1) + self.fading.dh -> np.sum(dxs, axis=1)",
     "`self.fading.dh` is not added to `np.sum(dxs, axis=1)`")])
def test_a_path_from_one_step_or_from_an_inner_layer(example, said, tmp_path):
    source, name, line = with_example(example)
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [c.line for c in report.causes] == [line] and said in report.cause, str(report)


def test_two_mistakes_of_one_expression(tmp_path):
    causes = causes_of(tmp_path, [
        "self.t, self.y = t, 1 / (1 + np.exp(-x))",
        "return -np.mean(t * np.log(self.y) + (1 - t) * np.log(1 - self.y))"],
        ["return (self.y + self.t) * dout / len(self.t)"], ", t")
    assert [c.kind for c in causes] == ["sign", "scaling"], causes
    assert causes[0].gradients == causes[1].gradients == ["x"]


def test_zero_over_zero_is_no_uninitialised_memory(tmp_path):
    (cause,) = causes_of(tmp_path, ["self.r = np.maximum(x, 0)", "return self.r ** 2"],
                         ["return dout * (2 * self.r / (self.r > 0))"])
    assert "multiplies where it should divide" in cause.text, cause


@pytest.mark.parametrize("wrong, said", [
    ("return self.y", ["`self.t` is not subtracted from `self.y`", "is N = 3 times"]),
    ("return self.y * dout", ["`self.t` is not subtracted from `self.y`", "is N = 3 times"]),
    ("return self.y / len(self.t)", ["`self.t` is not subtracted from `self.y`"]),
    ("return self.y - self.t", ["`self.t` holds ids", "is N = 3 times"])])
@pytest.mark.parametrize("epsilon", ["", " + 1e-7"])
def test_labels_that_are_ids(wrong, said, epsilon, tmp_path):
    causes = causes_of(tmp_path, [
        "e = np.exp(x - x.max(axis=1, keepdims=True))",
        "self.y, self.t = e / e.sum(axis=1, keepdims=True), t",
        f"return -np.mean(np.log(self.y[np.arange(len(t)), t]{epsilon}))"], [wrong], ", t")
    assert len(causes) == len(said) and all(map(str.__contains__, [c.text for c in causes], said))
    assert all("self.y.shape[0]" in d for c in causes for d in c.diff[-1:]) == (
        "N = 3" in said[-1] and bool(causes[0].diff))


def test_zeros_that_are_right_by_chance_are_no_cause(tmp_path):
    source = STEPS.read_text().replace("dx[np.arange(len(dout)), self.at] += dout",
                                       "dx[np.unravel_index(self.at + 2, dx.shape)] += dout")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only="Highest")
    assert report.verdict == "wrong" and report.unexplained == ["x"], str(report)
    assert not report.causes, str(report)


def test_labels_are_not_all_the_same(tmp_path):
    # where all are 0, y + t is y - t
    (cause,) = causes_of(tmp_path, [
        "self.t, self.y = t, 1 / (1 + np.exp(-x))",
        "return -np.mean(t * np.log(self.y) + (1 - t) * np.log(1 - self.y))"],
        ["return (self.y + self.t) * dout / self.y.size"], ", t")
    assert cause.kind == "sign", cause


def with_examples(*examples):
    """The source with several mistakes in one layer, and their lines."""
    source, name, line = with_example(examples[0])
    lines = [line]
    for example in examples[1:]:
        right, wrong = example.split(" -> ")
        at = source.index(right, source.index(f"class {name}:"))
        lines.append(source[:at].count("\n") + 1)
        source = source[:at] + wrong + source[at + len(right):]
    return source, name, lines


@pytest.mark.parametrize("examples, said", [
    (("LSTM: df * f * (1.0 - f) -> df * f * (1.0 - o)", "dg * (1.0 - g**2) -> dg * (1.0 - g)"),
     ("`o` stands where `f` belongs", "not `1.0 - g`")),
    (("LSTM: di * i * (1.0 - i) -> di * i * (1.0 - f)",
      "dh_prev = np.dot(dA, Wh.T) -> dh_prev = np.dot(dA, Wx.T)"),
     ("`f` stands where `i` belongs", "`Wx` stands where `Wh` belongs")),
    (("TimeAttention: dhs_enc = dhs_enc + dhs -> dhs_enc = dhs",
      "return dhs_enc, np.stack(dhs_dec, axis=1) -> return np.stack(dhs_dec, axis=1), dhs_enc"),
     ("in each other's place", "`dhs_enc`")),
    (("Attention: dhs0, da = -> da, dhs0 =", "dhs0 + dhs1 -> dhs1"),
     ("`da` and `dhs0` are unpacked", "`dhs0` is not added to `dhs1`")),
    (("Affine: np.dot(self.x.T, dout) -> -np.dot(self.x.T, dout)",
      "np.sum(dout, axis=0) -> np.mean(dout, axis=0)"), ("minus", "mean")),
    # one number, which is written into all of the gradient
    (("Affine: np.dot(self.x.T, dout) -> 2 * np.dot(self.x.T, dout)",
      "np.sum(dout, axis=0) -> np.sum(b, axis=0)"),
     ("scaled by `2`", "`b` stands where `dout` belongs"))])
def test_two_mistakes_have_their_own_words_each(examples, said, tmp_path):
    source, name, lines = with_examples(*examples)
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name, seconds=20)  # of a slow machine
    assert {c.line for c in report.causes} == set(lines), str(report)
    assert all(any(words in c.text for c in report.causes) for words in said), str(report)
    assert len(report.causes) == len(said), str(report)


STEPS = Path(__file__).parent / "checked" / "steps.py"


@pytest.mark.parametrize("layer, changes, said", [
    # a part that is right is not to blame, though it is made in a comprehension
    ("Steps", {"dx, dh, ds = self": "dx, ds, dh = self"}, [
        ("`ds` and `dh` are unpacked in each other's place", "dx, ds, dh =")]),
    # what raises only where the sizes differ, alone and beside another mistake
    ("Steps", {"D = Wx.shape[0]": "D = Wh.shape[0]"}, [("`Wh` stands where `Wx`", "D = Wh")]),
    ("Steps", {"D = Wx.shape[0]": "D = Wh.shape[0]", "dss[:, t] + dh": "dss[:, t] - dh"}, [
        ("`Wh` stands where `Wx`", "D = Wh"), ("wrong sign", "- dh")]),
    # two that raise, in one line and in two
    ("Stored", {"= self.db\n": "= self.dbb\n", "np.sum(dout, axis=0)": "np.sum(dout, axis=1)"}, [
        ("axis=0 belongs", "axis=1"), ("self.dbb", "self.dbb")]),
    ("Stored", {"grads[1][...]": "grads[2][...]", "np.sum(dout, axis=0)": "np.sum(dout, axis=1)"}, [
        ("axis=0 belongs", "axis=1"), ("`self.grads[2]` is the slot", "grads[2]")]),
    ("Stored", {"        self.grads[1][...] = self.db\n": ""}, [
        ("`self.db` is computed, and never stored", "")]),
    ("Stored", {"np.sum(dout, axis=0)": "np.sum(dout, axis=1)"}, [("axis=0 belongs", "axis=1")]),
    # two that add up, and neither of which alone mends anything
    ("Mixed", {"d0 + 2 * d1": "d0 - 2 * d1", "dh + dsum": "dh"}, [
        ("wrong sign in `d0 - 2 * d1`", "d0 - 2"), ("`dsum` is not added", "out = dh")]),
    # among equals, the line where nothing is done
    ("Mixed", {"dh + dsum": "dh"}, [("`dsum` is not added to `dh`", "out = dh")]),
    ("Mixed", {"dout[:, :H], dout[:, H:H": "dout[:, H:], dout[:, H:H"}, [
        ("`dout[:, H:]` where `dout[:, :H]` belongs", "d0, dx, d1")]),
    # once the two are in their places, what else is wrong shows
    ("Mixed", {"d0 + 2 * d1": "d0 - 2 * d1", "return dx, out": "return out, dx"}, [
        ("in each other's place", "return"), ("wrong sign", "d0 - 2")]),
    # what raises for the shape of a variable, and what only then can be seen to be wrong
    ("Cell", {"(1 - h ** 2)": "(1 - x ** 2)"}, [("`x` stands where `h`", "x **")]),
    ("Stored", {"np.sum(dout, axis=0)": "np.sum(dout, axis=1)",
                "        self.grads[0][...] = self.dW\n": ""}, [
        ("axis=0 belongs", "axis=1"), ("`self.dW` is computed, and never stored", "")]),
    # what raises later for a kernel than for a matrix is no matter of kernels
    ("Multiplied", {"np.dot(dout, self.params[0].T)": "np.dot(self.params[0].T, dout)"}, [
        ("are in the wrong order", "dx =")]),
    # lists: of sums, of parts; an activation as it is written; rows that were put in one
    ("Scales", {"            g[...] = total\n": "            pass\n"}, [
        ("the gradients in `sums` are computed, and never stored", "")]),
    ("Ids", {"            self.parts[t].backward(dout[:, t])\n": ""}, [
        ("the backward of `self.parts[t]` is never called", "total")]),
    ("Scale", {" * (1 - np.tanh(self.x) ** 2)": ""}, [("the derivative of tanh", "return")]),
    ("Masked", {"        dx[~mask] = 0\n": ""}, [("`dx[~mask] = 0` is missing", "")]),
    # an output without a gradient is none where backward raises, either
    ("Beside", {"np.dot(self.x.T, dt)": "np.dot(dt, self.x.T)", "(1 - self.h ** 2)": "1"}, [
        ("are in the wrong order", "grads[0]"), ("the derivative of tanh", "dt =")]),
    # in how many axes it is to be called shows once it does not raise
    ("Compared", {"d @ k": "k @ d", "return dq, dk": "return dq, 2 * dk"}, [
        ("are in the wrong order", "scaled ="), ("scaled by `2`", "return")]),
    # a loss whose dout a mistake cancels is still to be right for each of them, not for 1 alone
    ("MeanOverTime", {"2 / T": "2 / dout"}, [("`dout` stands where `T` belongs", "dout *=")]),
    # what is meant for more axes than those with which it is tried first
    ("Normalized", {"(dout * self.xn).sum(axis=(0, 1))": "(dout * self.xn).sum(axis=(0, 2))"}, [
        ("axis=(0, 1) belongs", "grads[0]")]),
    # what gives the shape in as many ways as there are arrays of it, and another behind it
    ("Standardized", {"self.std ** 2, axis": "self.std, axis", "= dxc + dmu / N": "= dmu / N"}, [
        ("`dxc` is not added", "dx = dmu"), ("", "std")])])
def test_what_is_wrong_and_what_raises(layer, changes, said, tmp_path):
    source = STEPS.read_text()
    begin = source.index(f"class {layer}:")
    head, text = source[:begin], source[begin:]
    for right, wrong in changes.items():
        assert right in text
        text = text.replace(right, wrong, 1)
    (tmp_path / "own.py").write_text(head + text)
    (report,) = check_here(tmp_path / "own.py", only=layer)
    assert report.verdict == "wrong" and len(report.causes) == len(said), str(report)
    lines = (head + text).splitlines()
    for words, place in said:
        assert any(words in c.text and place in lines[c.line - 1] and (c.diff or not place)
                   for c in report.causes), str(report)


def test_the_layers_over_time_are_right():
    reports = {r.name: r for r in check_here(STEPS)}
    assert all(reports[name].ok for name in ("Cell", "Steps", "Stored", "Mixed"))


def test_what_is_raised_is_that_of_the_likeliest_shapes():
    # with Wh (D, H), and all the other odd ones, it comes further inside the part
    (report,) = check_here(STEPS, only="OddSteps")
    assert report.verdict == "unchecked" and "(3,5) and (6," in report.cause, str(report)


def causes_of(tmp_path, forward, backward, more=""):
    lines = "\n        ".join
    (tmp_path / "own.py").write_text(LAYER.format(
        more=more, forward=lines(forward), backward=lines(backward)))
    (report,) = check_here(tmp_path / "own.py")
    return report.causes


@pytest.mark.parametrize("total, factor, shape", [
    ("np.sum(self.d**2) / (T - 1) / N", "T - 1 = 3", "(self.d.shape[1] - 1)"),
    ("np.sum(self.d**2) / N / N", "N = 3", "self.d.shape[0]"),
    ("np.sum(self.d**2) / 3 / N", "3", "3")])
def test_a_factor_has_the_name_of_the_size_that_it_is_in_other_sizes_too(
        total, factor, shape, tmp_path):
    (cause,) = causes_of(tmp_path, [
        "N, T, D = x.shape", "self.d = x - t", f"return {total}"],
        ["dx = 2 * self.d / self.d.shape[0]", "return dout * dx, -dout * dx"], ", t")
    assert cause.kind == "scaling" and f"is {factor} times" in cause.text, cause
    assert cause.diff[1].endswith((f"/ {shape}", "* 0.3333333333333333")), cause


@pytest.mark.parametrize("forward, wrong", [
    (["out = x * (x > 0)", "self.mask = out >= 0", "return out"], "out >= 0"),
    (["out = np.maximum(x, 0)", "self.mask = out < 0", "return out"], "out")])
def test_what_forward_keeps_for_backward_is_looked_at_too(forward, wrong, tmp_path):
    (cause,) = causes_of(tmp_path, forward, [
        "dx = dout.copy()", f"dx[{'~' * ('>=' in wrong)}self.mask] = 0", "return dx"])
    assert cause.line == 10 and f"`{wrong}`" in cause.text, cause


def test_a_name_that_has_no_value_yet_is_the_mistake_and_not_its_place(tmp_path):
    source, name, line = with_example("RNN: self.grads[0][...] = np.dot(x.T, dA) ->"
                                      " self.grads[0][...] = np.dot(dx.T, dA)")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [(c.text, c.line) for c in report.causes] == [
        ("`dx` stands where `x` belongs", line)], str(report)
    source = source.replace("* (1.0 - h_next**2)\n", "* (1.0 - h_next**5 + 3 * x.mean())\n")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert not report.causes, str(report)  # that nothing raises is not enough


def test_what_a_part_is_handed_is_the_mistake_and_not_that_it_is_never_called(tmp_path):
    source, name, line = with_example("Chain: self.first.backward(dout) ->"
                                      " self.first.backward(ddout)")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [(c.text, c.line) for c in report.causes] == [
        ("`ddout` stands where `dout` belongs", line)], str(report)


@pytest.mark.parametrize("right, wrong", [
    ("dhs[:, ::-1, H:]", "dhs[:, ::-1, :H]"), ("dhs[:, :, :H]", "dhs[:, :, H : 2 * H]")])
def test_the_block_beside(right, wrong, tmp_path):
    source, name, line = with_example(f"TimeBiLSTM: {right} -> {wrong}")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [(c.kind, c.line) for c in report.causes] == [("wrong_gate", line)], str(report)


@pytest.mark.parametrize("right, wrong, said", [
    ("do * o * (1.0 - o)", "do * o", "`(1 - o)` is missing"),
    ("do = dh_next * tanh_c", "do = dh_next", "`tanh_c` is missing"),
    ("dc_prev = dc * f", "dc_prev = dc * (1 - f)", "`1 - f`")])
def test_half_a_derivative(right, wrong, said, tmp_path):
    source, name, line = with_example(f"LSTM: {right} -> {wrong}")
    (tmp_path / "own.py").write_text(source)
    (report,) = check_here(tmp_path / "own.py", only=name)
    assert [c.line for c in report.causes] == [line] and said in report.cause, str(report)
