"""Nothing slips through: wrong layers made by machine are all found, and their cause is named."""

from collections import defaultdict

import pytest
from hypothesis import settings
from mutants import SAME, mutants

from tinygrad_rnn.check import layer
from tinygrad_rnn.check.files import check_here as check_file

MUTANTS = mutants()
BY_KIND = defaultdict(list)
for _mutant in MUTANTS:
    BY_KIND[_mutant.kind].append(_mutant)
MOST = max(1, settings().max_examples // 30)  # of a kind that are tried; all with profile long

# A mutant of these is right by itself, in a program that does its share: a convention; so is a
# loss that does not look at its dout, where it is the last layer.
CONVENTIONS = {"accumulates"}


def test_there_are_enough_mutants():
    assert len(MUTANTS) >= 200 and len(BY_KIND) >= 30
    assert len({m.layer for m in MUTANTS}) >= 20


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_mutant_is_found_and_its_cause_named(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(layer, "smallest_example", lambda *_: ("", []))  # has tests of its own
    missed, misnamed = [], []
    for mutant in BY_KIND[kind][:MOST]:
        path = tmp_path / f"m{mutant.number}.py"
        path.write_text(mutant.source)
        (report,) = check_file(path, only=mutant.layer)
        said = f"{mutant.layer}: {mutant.text}\n{report}"
        last = kind == "dout_ignored" and mutant.layer.endswith("WithLoss")
        shifted = kind == "input_edited" and "x -= np.max" in mutant.text  # no effect on softmax(x)
        convention = kind in CONVENTIONS or last or shifted
        if report.verdict != ("convention" if convention else "wrong"):
            missed.append(said)
        elif report.kind not in SAME.get(kind, {kind}):
            misnamed.append(said)
        if not convention:
            assert report.cause and report.line, said
    assert not missed, "\n".join(missed)
    assert len(misnamed) <= 0.1 * len(BY_KIND[kind][:MOST]), "\n".join(misnamed)


# Changes of the source that do not change the function: pattern, replacement.
EQUIVALENT = [
    (r"dc_next \+ dh_next \* o \* \((.*)\)", r"(\1) * o * dh_next + dc_next"),
    (r"1\.0 - (h_next|h_hat|g)\*\*2", r"(1.0 - \1) * (1.0 + \1)"),
    (r"dhs0 \+ dhs1", "dhs1 + dhs0"),
    (r"np\.sum\((dA|dout|rows), axis=0\)", r"np.ones(len(\1)) @ \1"),
    (r"np\.dot\(dA, (W.)\.T\)", r"np.dot(\1, dA.T).T"),
    (r"(        dh: Any) = 0\n", r"\1 = np.zeros_like(dhs[:, 0])\n"),
    (r"y \* \(dout - (.*)\)\n", r"y * dout - y * \1\n"),
    (r"self\.y - self\.t\b", "-(self.t - self.y)"),
]


@pytest.mark.parametrize("pattern, replacement", EQUIVALENT)
def test_an_equivalent_mutant_is_right(pattern, replacement, tmp_path):
    made = mutants([("equivalent", pattern, replacement)])
    assert made
    for mutant in made:
        path = tmp_path / f"m{mutant.number}.py"
        path.write_text(mutant.source)
        (report,) = check_file(path, only=mutant.layer)
        assert report.verdict == "ok", f"{mutant.text}\n{report}"
        assert max(g.max_rel_error for g in report.gradients) < 1e-12
