"""Every example runs, is short, and shows what it promises."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent / "examples"
DOCS = ROOT.parent / "docs"
EXAMPLES = sorted(ROOT.glob("*.py"))
ARGUMENTS = {"character_model": [str(Path(__file__)), "60"]}


@pytest.mark.parametrize("text", ["ab", "hello", "a line\n" * 20, "가나다라 " * 60])
def test_the_character_model_takes_texts_of_any_length(text, tmp_path, monkeypatch, capsys):
    (tmp_path / "text").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "text"), "3"])
    runpy.run_path(str(ROOT / "character_model.py"))
    assert set(capsys.readouterr().out.rstrip("\n")) <= set(text)


def test_the_character_model_wants_a_text(tmp_path, monkeypatch):
    (tmp_path / "text").touch()
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "text")])
    with pytest.raises(SystemExit, match="at least two characters"):
        runpy.run_path(str(ROOT / "character_model.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_what_it_minimises_falls(path, monkeypatch, capsys):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    assert f"examples/{path.name}" in (DOCS / "examples.md").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(path), *ARGUMENTS.get(path.stem, [])])
    with np.errstate(all="warn", under="ignore"):
        runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr().out
    assert out.strip()
    measured = r"(?:loss |squared error |perplexity |step \d+: )([\d.]+)"
    losses = [float(x) for x in re.findall(measured, out)]
    if len(losses) > 1:
        assert losses[-1] < losses[0]
    if path.stem == "neural_turing_machine":
        assert losses[-1] < 0.1  # bits of loss per bit, of sequences never seen before: it copies
