"""The code of a notebook: what stands in its code cells, as Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

# A line for the shell or for IPython: "!ls", "%matplotlib inline", "x = !ls", "np.dot?".
_NO_PYTHON = re.compile(r"(\s*)(?:[%!].*|[\w.]+\?{1,2}\s*|[\w, ]+=\s*[%!].*)$")


def cells(source: bytes) -> Iterator[tuple[int, str]]:
    """The number of every code cell, counted from 1 over all cells, and its text.

    Raises ValueError if it is no notebook.
    """
    try:
        notebook = json.loads(source)
        found = notebook["cells"] if "cells" in notebook else [
            cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
        for number, cell in enumerate(found, 1):
            if cell.get("cell_type") == "code":
                text = cell.get("source", cell.get("input", ""))
                yield number, plain(text if isinstance(text, str) else "".join(text))
    except (UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def plain(text: str) -> str:
    """The text of a cell without what is not Python, every line at its place."""
    lines = text.split("\n")
    inside = False  # a string over several lines may look like anything
    for i, line in enumerate(lines):
        if not inside and (match := _NO_PYTHON.match(line)):
            lines[i] = f"{match[1]}pass" if match[1] else ""
        inside ^= (line.count('"""') + line.count("'''")) % 2 == 1
    return "\n".join(lines)
