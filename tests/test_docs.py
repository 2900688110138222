"""Every block of Python in the README and the docs runs, from top to bottom of its page."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.*.md")]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    code = blocks(page)
    if not code:
        pytest.skip("this page has no Python")
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    with np.errstate(all="warn"):
        for block in code:
            exec(compile(block, page.name, "exec"), names)
    assert "False" not in capsys.readouterr().out


def test_the_docs_build_without_warnings(tmp_path):
    pytest.importorskip("myst_parser", reason="Sphinx, Furo and MyST are not installed")
    pytest.importorskip("furo", reason="Sphinx, Furo and MyST are not installed")
    from sphinx.application import Sphinx

    app = Sphinx(ROOT / "docs", ROOT / "docs", tmp_path / "html", tmp_path / "trees", "html",
                 warningiserror=True, status=None)  # fmt: skip
    app.build()
    assert app.statuscode == 0 and (tmp_path / "html" / "engine.html").exists()
