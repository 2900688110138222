"""Every block of Python in the README and the docs runs, from top to bottom of its page, and
prints what the page says; the pictures show what the code draws; Sphinx has nothing to warn of."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import models
import tinygrad_rnn as tg
from tinygrad_rnn import check, distributed, functional, interop, manual, nn, optim
from tinygrad_rnn.check import strategies

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *ROOT.glob("README.*.md")]
# A block of text right after a block of Python is what that one prints.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```$)?", re.M | re.S)


PUBLIC = (tg, functional, nn, optim, check, strategies, interop, distributed, manual, models)


def blocks(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run(page, capsys):
    names: dict = {"__name__": "page"}
    with np.errstate(all="warn"):
        for code, printed in blocks(page):
            exec(compile(code, page.name, "exec"), names)
            out = capsys.readouterr().out
            if printed:
                assert out == printed
            else:
                assert "False" not in out


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    for library in re.findall(r"^import (torch|onnxruntime)$", page.read_text("utf-8"), re.M):
        pytest.importorskip(library, reason=f"the page uses {library}: pip install {library}")
    monkeypatch.chdir(tmp_path)
    for path in DOCS.glob("my_*.py"):  # what pages show, to be checked
        (tmp_path / path.name).write_bytes(path.read_bytes())
    run(page, capsys)


def test_no_block_of_python_is_left_out():
    for page in PAGES:
        assert len(blocks(page)) == len(re.findall("^```python", page.read_text("utf-8"), re.M))


def test_pictures_of_graphs_are_those_that_the_page_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(DOCS / "drawing.md", capsys)
    drawn = sorted(tmp_path.glob("*.svg"))
    assert drawn
    for path in drawn:
        assert path.read_text("utf-8") == (DOCS / path.name).read_text("utf-8")


def test_the_docs_build_without_warnings(tmp_path):
    pytest.importorskip("myst_parser", reason="Sphinx, Furo and MyST are not installed")
    pytest.importorskip("furo", reason="Sphinx, Furo and MyST are not installed")
    pytest.importorskip("sphinx_copybutton", reason="sphinx-copybutton is not installed")
    # In a process of its own: a second Sphinx in one process warns of what it finds registered.
    command = [sys.executable, "-m", "sphinx", "-qW", "-d", tmp_path / "trees", DOCS]
    built = subprocess.run([*command, tmp_path / "html"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    index = (tmp_path / "html" / "searchindex.js").read_text("utf-8")
    found = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))["objects"]
    names = {f"{room}.{entry[-1]}" for room, entries in found.items() for entry in entries}
    for room in PUBLIC:
        public = [name for name in room.__all__ if not inspect.ismodule(getattr(room, name))]
        assert public
        for name in public:  # in the reference, where the search finds it
            assert f"{room.__name__}.{name}" in names, f"docs/api.md lacks {room.__name__}.{name}"
    quoted = (tmp_path / "html" / "chapter6.html").read_text("utf-8")
    assert re.search(r'href="https://github.com/[^"]+/tinygrad_rnn/manual/recurrent.py#L\d+-L\d+"',
                     quoted)  # fmt: skip
    assert '<span class="long" style="--in: 8ch"><span class="lead">' in quoted
    assert "<svg" in quoted and 'src="_images/through-time.svg"' not in quoted
