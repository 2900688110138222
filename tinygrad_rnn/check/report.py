"""What a check found, for people and for programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VERDICTS = ("ok", "wrong", "convention", "unchecked")


@dataclass
class Gradient:
    """One gradient beside the right one.

    ``index`` is the first wrong element, ``place`` the same in words (time step, gate, unit).
    ``max_rel_error`` is relative to the largest element of the right gradient.
    """

    name: str
    ok: bool
    max_abs_error: float
    max_rel_error: float
    index: tuple[int, ...] | None = None
    place: str = ""
    shape: tuple[int, ...] = ()


@dataclass
class Report:
    """The result for one layer.

    ``verdict``: "ok", "wrong", "convention" (right, but not as in the book) or "unchecked".
    ``cause`` and ``line``: the likely cause in words, and the line of the file where it stands.
    ``example``: the smallest example that shows it. ``notes``: what else is worth knowing.
    """

    name: str
    verdict: str = "ok"
    cause: str | None = None
    line: int | None = None
    gradients: list[Gradient] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    example: str = ""
    source: str = ""  # the text of the line
    file: str = ""
    kind: str = ""  # the mistake's name in the catalogue

    @property
    def ok(self) -> bool:
        """Whether the layer is right (a convention is)."""
        return self.verdict in ("ok", "convention")

    def as_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "name": self.name, "verdict": self.verdict, "cause": self.cause, "line": self.line,
            "gradients": [
                {"name": g.name, "ok": g.ok, "max_abs_error": _number(g.max_abs_error),
                 "max_rel_error": _number(g.max_rel_error),
                 "index": None if g.index is None else list(g.index)} for g in self.gradients],
            "notes": self.notes, "example": self.example or None,
        }  # fmt: skip

    def __str__(self) -> str:
        return self.text()

    def text(self, colour: bool = False) -> str:
        """The report as a table of gradients with the cause below it."""
        paint = _PAINT[self.verdict] if colour else "{}"
        lines = [f"{self.name}: " + paint.format(self.verdict)]
        if self.gradients and self.verdict != "unchecked":
            width = max(len(g.name) for g in self.gradients)
            shapes = [str(g.shape).replace(" ", "") for g in self.gradients]
            first, second = max(8, width + 1), max(5, *map(len, shapes))
            lines.append(f"  {'gradient':{first}}  {'shape':{second}}         max. error   relative"
                         + "   first wrong element" * (self.verdict == "wrong"))
            for g, shape in zip(self.gradients, shapes, strict=True):
                mark = f"{'ok' if g.ok else 'wrong':5}"
                if colour:
                    mark = _PAINT["ok" if g.ok else "wrong"].format(mark)
                where = "" if g.index is None else f"{list(g.index)}" + (
                    f" ({g.place})" if g.place else "")
                lines.append(f"  {'d' + g.name:{first}}  {shape:{second}}  {mark}  "
                             f"{g.max_abs_error:10.1e}  {g.max_rel_error:9.1e}   {where}".rstrip())
        if self.cause:
            head = {"wrong": "likely cause", "convention": "convention"}.get(self.verdict, "why")
            where = ""
            if self.line:
                where = f" ({self.file}, line {self.line})" if self.file else f" (line {self.line})"
            lines.append(f"  {head}: {self.cause}{where}")
            if self.source:
                lines.append(f"    {self.line} | {self.source}")
        if self.example:
            lines.append(f"  smallest example: {self.example}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


_PAINT = {"ok": "\033[32m{}\033[0m", "wrong": "\033[31m{}\033[0m",
          "convention": "\033[33m{}\033[0m", "unchecked": "\033[33m{}\033[0m"}


def _number(x):
    """JSON has no NaN and no infinity."""
    return float(x) if math.isfinite(x) else None


def as_json(reports: list[Report]) -> str:
    return json.dumps({"layers": [r.as_dict() for r in reports]}, indent=2, ensure_ascii=False)


# --- comparing -----------------------------------------------------------------------------------

_GATES = {"lstm": "fgio", "gru": "zrh"}


def compare(name, got, wanted, tolerance: float, layer_name: str = "", hidden=None, batch=None):
    """A Gradient: ``got`` beside ``wanted``, which it may miss by ``tolerance`` times the largest
    element of ``wanted``."""
    wanted = np.asarray(wanted)
    if got is None or np.shape(got) != wanted.shape:
        return Gradient(name, False, math.inf, math.inf, None, "", np.shape(got))
    got = np.asarray(got, dtype=float)
    with np.errstate(all="ignore"):
        error = np.abs(got - wanted)
    error[~np.isfinite(got)] = math.inf
    scale = float(np.abs(wanted).max(initial=0))
    worst = float(error.max(initial=0))
    allowed = tolerance * max(scale, 1e-3)
    relative = worst / scale if scale else (math.inf if worst > allowed else 0.0)
    if worst <= allowed:
        return Gradient(name, True, worst, relative, None, "", wanted.shape)
    index = tuple(int(i) for i in np.argwhere(error > allowed)[0])
    place = place_of(index, wanted.shape, layer_name, hidden, batch)
    return Gradient(name, False, worst, relative, index, place, wanted.shape)


def place_of(index, shape, layer_name: str = "", hidden=None, batch=None):
    """An index in words: time step, gate and unit, as far as the shape tells them."""
    words = []
    low = layer_name.lower()
    gates = next((g for kind, g in _GATES.items() if kind in low), "")
    if batch is not None and shape and shape[0] == batch and len(shape) > 1:
        words.append(f"sample {index[0]}")
        if len(shape) == 3 or (len(shape) == 2 and low.startswith("time") and "step" not in low):
            words.append(f"time step {index[1]}")
            if len(shape) == 3:
                words.append(f"unit {index[2]}")
        elif len(shape) == 2:
            words.append(f"unit {index[1]}")
    elif hidden and gates and shape and shape[-1] == hidden * len(gates):
        if len(shape) == 2:
            words.append(f"row {index[0]}")
        words.append(f"gate {gates[index[-1] // hidden]}")
        words.append(f"unit {index[-1] % hidden}")
    elif len(shape) == 2:
        words += [f"row {index[0]}", f"unit {index[1]}"]
    elif len(shape) == 1:
        words.append(f"unit {index[0]}")
    return ", ".join(words)
