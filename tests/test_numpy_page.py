"""docs/numpy.md says what the tables hold."""

import runpy
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_the_page_is_what_the_tables_give():
    made = runpy.run_path(str(DOCS / "numpy_page.py"))
    page = (DOCS / "numpy.md").read_text("utf-8")
    if f"(of NumPy {made['VERSION']})" not in page:
        pytest.skip(f"the page is about another NumPy than {np.__version__}")
    assert made["page"]() == page, "run: python docs/numpy_page.py"
