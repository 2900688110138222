"""Sphinx: ``sphinx-build -W docs docs/_build``."""

import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "tinygrad_rnn"
copyright = "the authors of tinygrad_rnn"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
smartquotes = False
html_theme = "furo"
html_title = "tinygrad_rnn"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def math(block):
    """Formulas as MathML, which browsers draw without a script from somewhere else."""

    def visit(translator, node):
        mathml = tex2mathml(node.astext(), as_block=block)
        if block:
            mathml = f'<div style="margin: 0.7em 0">{mathml}</div>'
        translator.body.append(mathml)
        raise SkipNode

    return visit, None


def as_text(line):
    """Plain text as reStructuredText: ``code`` and **bold** stay, all else means itself."""
    parts = re.split(r"(``.+?``|`[^`]+`|\*\*\w[^*]*\*\*)", line)
    parts[::2] = [re.sub(r"([*_|`\\])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"`{p}`" if re.fullmatch("`[^`]+`", p) else p for p in parts[1::2]]
    return "".join(parts)


def from_plain_text(app, what, name, obj, options, lines):
    """Our docstrings are plain text: paragraphs, indented lines as they stand, and ``Args:``."""
    result, section = [], None
    for line in lines:
        indented = line.startswith(" ")
        if line in ("Args:", "Returns:", "Raises:"):
            section = "list"
            result += ["", f"**{line}**", ""]
        elif not line:
            section = "text" if section == "list" else section
            result.append("")
        elif indented and section == "list":
            entry = re.fullmatch(r"    ([\w, *]+): (.*)", line)
            text = line.strip()
            result.append(f"- ``{entry[1]}``: {as_text(entry[2])}" if entry
                          else f"  {as_text(text)}")  # fmt: skip
        elif indented:
            if section != "code":
                result += ["", ".. code-block:: none", ""]
            section = "code"
            result.append(f"    {line}")
        else:
            if section == "code":
                result.append("")
            section = "text"
            result.append(as_text(line))
    lines[:] = result


def setup(app):
    app.add_html_math_renderer("mathml", math(block=False), math(block=True))
    app.connect("autodoc-process-docstring", from_plain_text)
