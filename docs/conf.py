"""Sphinx: ``sphinx-build -W docs docs/_build``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "tinygrad_rnn"
copyright = "the authors of tinygrad_rnn"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "tinygrad_rnn"
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def as_written(app, what, name, obj, options, lines):
    """Our docstrings are plain text: show them as they stand."""
    lines[:] = ["::", "", *("    " + line for line in lines), ""] if lines else []


def setup(app):
    app.connect("autodoc-process-docstring", as_written)
