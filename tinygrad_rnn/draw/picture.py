"""Boxes and arrows: as DOT text, as SVG, and as a page that walks through the backward pass."""

from __future__ import annotations

import json
import math
import uuid
from html import escape
from pathlib import Path
from typing import NamedTuple

from .layout import placed

STYLES = {  # kind of box: of DOT, of SVG
    "leaf": ("shape=box, style=filled, fillcolor=lightblue", 'fill="#4f8fdf" fill-opacity=".3"'),
    "call": ("shape=ellipse", 'fill="none"'),
    "step": ("shape=box, style=rounded, penwidth=2", 'fill="none" stroke-width="2"'),
    "array": ("shape=box, color=gray60, fontcolor=gray40", 'fill="none" stroke-dasharray="3 2"'),
}
MANY = 600  # boxes


class Box(NamedTuple):
    """``kind``: leaf, call, step or array (without a gradient)."""

    name: str
    label: str
    kind: str


class Drawing(str):
    """The graph of a Tensor: DOT text (it is a ``str``), which shows itself as a picture in a
    notebook. There, buttons walk backward through it, one node at a time.

        picture = tg.draw(loss)
        picture.save("graph.svg")    # or .html with the buttons, or .dot

    Letters and lines take the colour of the page, so that it can be read on dark ones.
    """

    __slots__ = ("boxes", "edges")
    boxes: list[Box]
    edges: list[tuple[str, str]]

    def __new__(cls, boxes: list[Box], edges: list[tuple[str, str]]) -> Drawing:
        lines = ["digraph {", "  rankdir=TB;", '  node [fontname="sans-serif", fontsize=10];']
        lines += [f"  {box.name} [label={_quote(box.label)}, {STYLES[box.kind][0]}];"
                  for box in boxes]  # fmt: skip
        lines += [f"  {source} -> {end};" for source, end in edges]
        self = super().__new__(cls, "\n".join([*lines, "}", ""]))
        self.boxes, self.edges = boxes, edges
        return self

    @property
    def svg(self) -> str:
        """The picture as SVG text. ValueError for one of more than 600 boxes."""
        if len(self.boxes) > MANY:
            raise ValueError(f"draw: {len(self.boxes)} boxes are too many for a picture, at most"
                             f" {MANY} are drawn: cell_steps makes one box of each step")
        where, paths, (width, height) = placed(
            [(box.name, _size(box)) for box in self.boxes], self.edges)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
            f' width="{width:.0f}" height="{height:.0f}" style="max-width: 100%; height: auto"'
            ' font-family="sans-serif" font-size="11" stroke="currentColor" fill="none"'
            ' role="img" aria-label="graph of a Tensor">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z"'
            ' fill="currentColor" stroke="none"/></marker></defs>',
        ]
        for (source, end), path in zip(self.edges, paths, strict=True):
            (x, y), *rest = path
            line = f"M{x:.1f} {y:.1f}"
            for a, b in rest:
                half = (y + b) / 2
                line += f"C{x:.1f} {half:.1f} {a:.1f} {half:.1f} {a:.1f} {b:.1f}"
                x, y = a, b
            parts.append(f'<path class="edge" data-ends="{source} {end}" d="{line}"'
                         ' stroke-opacity=".6" marker-end="url(#tip)"/>')  # fmt: skip
        for box in self.boxes:
            parts.append(_svg_box(box, *where[box.name]))
        return "\n".join([*parts, "</svg>"])

    def _repr_svg_(self) -> str | None:
        return self.svg if len(self.boxes) <= MANY else None

    def _repr_html_(self) -> str | None:
        return self.html if len(self.boxes) <= MANY else None

    @property
    def html(self) -> str:
        """The picture with buttons that walk backward through it: a piece of a page, which needs
        no server and nothing from elsewhere. ValueError for one of more than 600 boxes."""
        inside = {box.name: box.label.split("\n")[0] for box in self.boxes}
        steps = []
        for box in reversed([b for b in self.boxes if b.kind != "array"]):
            parents = [source for source, end in self.edges if end == box.name
                       and not source.startswith("a")]  # fmt: skip
            names = ", ".join(dict.fromkeys(inside[p] for p in parents))
            told = (f"{inside[box.name]} gives cotangents to {names}" if parents
                    else f"{inside[box.name]}: its gradient is complete")  # fmt: skip
            steps.append([box.name, [f"{p} {box.name}" for p in parents], told])
        return PAGE.replace("ROOT", f"tg{uuid.uuid4().hex[:12]}").replace(
            "STEPS", json.dumps(steps).replace("<", "\\u003c")).replace("PICTURE", self.svg)

    def save(self, path: str | Path) -> None:
        """Write it as SVG, HTML or DOT, by the ending of ``path``; ValueError for any other."""
        path = Path(path)
        alone = ("<style>svg {color: #222}"
                 " @media (prefers-color-scheme: dark) {svg {color: #ddd}}</style>\n<defs>")
        texts = {".svg": lambda: self.svg.replace("<defs>", alone, 1), ".dot": lambda: str(self),
                 ".html": lambda: f"{HEAD}{self.html}"}  # fmt: skip
        if path.suffix.lower() not in texts:
            raise ValueError(f"draw: {path.name}: .svg, .html or .dot is wanted")
        path.write_text(texts[path.suffix.lower()](), encoding="utf-8")


HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>graph of a Tensor</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
"""
PAGE = """<div id="ROOT" style="overflow-x: auto">
<style>#ROOT .now :is(rect, ellipse) {stroke-width: 3; stroke: #e07020}
#ROOT .was {opacity: .45} #ROOT .edge.now {stroke: #e07020; stroke-width: 2; stroke-opacity: 1}
#ROOT button {font: inherit; min-width: 2.5em}</style>
<div style="display: flex; gap: .5em; align-items: center; margin-bottom: .5em">
<button aria-label="to the start">&#8676;</button>
<button aria-label="one step back">&#8592;</button>
<button aria-label="one step of the backward pass">&#8594;</button>
<span aria-live="polite">&#8594; walks backward through the graph</span></div>
PICTURE
<script>(() => {
  const root = document.getElementById("ROOT"), steps = STEPS; let at = 0;
  const [start, back, next] = root.querySelectorAll("button"), told = root.querySelector("span");
  const show = k => {
    at = Math.max(0, Math.min(steps.length, k));
    root.querySelectorAll(".now, .was").forEach(e => e.classList.remove("now", "was"));
    steps.slice(0, at).forEach(([name, edges], i) => {
      const how = i == at - 1 ? "now" : "was";
      root.querySelector(`[data-name="${name}"]`).classList.add(how);
      root.querySelectorAll(".edge").forEach(e =>
        edges.includes(e.dataset.ends) && e.classList.add(how));
    });
    told.textContent = at ? `${at} of ${steps.length}: ${steps[at - 1][2]}`
                          : "\\u2192 walks backward through the graph";
  };
  start.onclick = () => show(0);
  back.onclick = () => show(at - 1);
  next.onclick = () => show(at + 1);
})()</script></div>"""


def _size(box: Box) -> tuple[float, float]:
    lines = box.label.split("\n")
    widths = [6.4 * sum(1.8 if ord(c) > 0x2E80 else 1 for c in line) for line in lines]
    height = len(lines) * 14 + 12
    if box.kind != "call":
        return max(widths) + 14, height
    width, middle = max(widths) + 30, (len(lines) - 1) / 2
    larger = max(1, *(math.hypot(w / width, (abs(i - middle) * 28 + 8) / height)  # corners, inside
                      for i, w in enumerate(widths)))  # fmt: skip
    return width * larger, height * larger


def _svg_box(box: Box, x: float, y: float) -> str:
    width, height = _size(box)
    style = STYLES[box.kind][1]
    if box.kind == "call":
        shape = (f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{width / 2:.1f}" ry="{height / 2:.1f}"'
                 f' {style}/>')
    else:
        round_ = 8 if box.kind == "step" else 2
        shape = (f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}"'
                 f' height="{height:.1f}" rx="{round_}" {style}/>')
    lines = box.label.split("\n")
    first = y - (len(lines) - 1) * 7 + 4
    text = "".join(f'<text x="{x:.1f}" y="{first + 14 * i:.1f}" text-anchor="middle" stroke="none"'
                   f' fill="currentColor">{escape(line)}</text>' for i, line in enumerate(lines))
    return f'<g class="node" data-name="{box.name}">{shape}{text}</g>'


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
