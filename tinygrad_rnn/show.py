"""How things show themselves in a notebook: a Tensor with its shape, its dtype and a small picture
of its values; trees, and times as bars.

Knows arrays and texts only, and what a notebook calls its cells. Colours are laid over the page
with transparency, so it reads on dark ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

ROWS, COLUMNS = 24, 64  # of the picture; larger arrays are shown by means of blocks
CELL = 9
BELOW, ABOVE = "#3b76d0", "#e07020"  # blue and orange: told apart by all kinds of eyes


def array_html(array: np.ndarray, kind: str) -> str:
    """A line with ``kind``, shape, dtype and range, and for one or two axes a picture: blue below
    0, orange above, the stronger the larger; what is not finite is crossed."""
    head = f"<b>{escape(kind)}</b> {escape(str(array.shape))} {array.dtype}"
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if not array.size:
        return f"<div>{head}, empty</div>"
    if finite.size:
        head += f", {extent(finite, 4)}"
    if finite.size < array.size:
        head += f", <b>{array.size - finite.size} not finite</b>"
    if array.ndim == 0:
        return f"<div>{head}</div>"
    if array.ndim > 2:
        first = ", ".join(["0"] * (array.ndim - 2))
        head += f"; below: [{first}]"
        array = array[(0,) * (array.ndim - 2)]
    values = _blocks(np.atleast_2d(array).astype(np.float64))
    return f"<div>{head}<br>{_picture(values)}</div>"


def extent(values: np.ndarray, digits: int) -> str:
    """From the least to the largest value."""
    low, high = values.min(), values.max()
    if low == high:
        return f"{'all ' * (values.size > 1)}{low:.{digits}g}"
    return f"{low:.{digits}g} to {high:.{digits}g}"


def file_name(path: str) -> str:
    """The name of a file; of a cell what its notebook calls it, ``In[3]``."""
    return cell_name(path) or Path(path).name


def cell_name(filename: str) -> str | None:
    """What a notebook calls the cell whose code has this file name; None for any other file."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    named = getattr(getattr(shell, "compile", None), "format_code_name", lambda name: None)
    found = named(filename)
    return found[1] if found else None


def _blocks(values: np.ndarray) -> np.ndarray:
    """At most ROWS x COLUMNS values: the means of blocks."""
    for axis, most in enumerate((ROWS, COLUMNS)):
        n = values.shape[axis]
        if n > most:
            starts = np.arange(most) * n // most
            sizes = np.diff(np.append(starts, n))
            sums = np.add.reduceat(values, starts, axis=axis)
            values = sums / (sizes[:, None] if axis == 0 else sizes)
    return values


def _picture(values: np.ndarray) -> str:
    rows, columns = values.shape
    finite = np.isfinite(values)
    scale = max(np.max(np.abs(values), where=finite, initial=0.0), np.finfo(float).tiny)
    cells = []
    for i in range(rows):
        for j in range(columns):
            x, y, v = j * CELL, i * CELL, values[i, j]
            if not finite[i, j]:
                cells.append(f'<path d="M{x} {y}l{CELL} {CELL}m0-{CELL}l-{CELL} {CELL}"'
                             ' stroke="currentColor"/>')  # fmt: skip
            elif v:
                cells.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}"'
                             f' fill="{BELOW if v < 0 else ABOVE}"'
                             f' fill-opacity="{abs(v) / scale:.2f}"/>')  # fmt: skip
    width, height = columns * CELL, rows * CELL
    return (f'<svg width="{width}" height="{height}" role="img" aria-label="values">'
            f'<rect width="{width}" height="{height}" fill="none" stroke="currentColor"'
            f' stroke-opacity=".4"/>{"".join(cells)}</svg>')  # fmt: skip


def tree_html(lines: Sequence[str]) -> str:
    """Lines that are indented by two spaces for each level, as a tree whose branches fold."""
    depths = [(len(line) - len(line.lstrip())) // 2 for line in lines]
    parts: list[str] = []
    open_at: list[int] = []
    for k, line in enumerate(lines):
        while open_at and open_at[-1] >= depths[k]:
            open_at.pop()
            parts.append("</div></details>")
        name, colon, rest = line.strip().partition(": ")
        told = f"<b>{escape(name)}</b>{colon}{escape(rest)}" if colon else escape(name)
        if k + 1 < len(lines) and depths[k + 1] > depths[k]:
            parts.append(f'<details open=""><summary>{told}</summary>'
                         '<div style="margin-left: 1.5em">')  # fmt: skip
            open_at.append(depths[k])
        else:
            parts.append(f"<div>{told}</div>")
    return "".join(parts) + "</div></details>" * len(open_at)


def bars_html(rows: Sequence[tuple[float, str, str]]) -> str:
    """A table of (number, the number as text, what it is), the numbers also as bars."""
    most = max((number for number, _, _ in rows), default=0.0) or 1.0
    cells = [
        f'<tr><td style="text-align: right; white-space: nowrap">{escape(text)}</td>'
        f'<td style="width: 8em"><div style="background: {ABOVE}; opacity: .7; height: .8em;'
        f' width: {100 * number / most:.0f}%"></div></td>'
        f'<td style="text-align: left"><code>{escape(what)}</code></td></tr>'
        for number, text, what in rows
    ]
    return f"<table>{''.join(cells)}</table>" if cells else ""
