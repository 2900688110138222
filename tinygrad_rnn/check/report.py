"""What a check found, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..address import page
from ..show import file_name
from .arguments import GATES
from .words import in_language, join, language, padded, say, speaker, wide

if TYPE_CHECKING:
    from .patch import Change
    from .smallest import Row

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
    gates: dict[str, bool] = field(default_factory=dict)  # where gates stand side by side: right?


@dataclass
class Cause:
    """What was found, mostly why gradients are wrong: the mistake's name in the catalogue, words,
    the line where it stands, the gradients that it explains, and the repair as lines of the file.
    ``wrong`` is False for a convention."""

    kind: str
    text: str
    line: int | None = None
    file: str = ""
    gradients: list[str] = field(default_factory=list)
    change: Change | None = None
    source: str = ""  # the text of the line
    wrong: bool = True

    @property
    def diff(self) -> list[str]:
        """The repair: "- old" and "+ new"; empty where none is known."""
        return self.change.diff() if self.change else []


@dataclass
class Said:
    """A sentence of a report in one language: its head, the text, where that is, lines below it."""

    head: str
    text: str
    where: str
    below: list[str]
    folded: bool = False  # on a page


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
    causes: list[Cause] = field(default_factory=list)  # of what is wrong
    worked: list[Row] = field(default_factory=list)  # the example in numbers, line by line
    searched: str = ""  # where a cause is missing: how far it was looked for
    unexplained: list[str] = field(default_factory=list)  # gradients without a cause

    @property
    def ok(self) -> bool:
        """Whether the layer is right (a convention is)."""
        return self.verdict in ("ok", "convention")

    @property
    def derivation(self) -> str:
        """Where the derivation of a layer of this kind stands, "" if it is not written down."""
        kind = next((k for k in ("lstm", "gru") if k in self.name.lower()), "")
        return page(f"chapter6.md#{kind}") if kind and self.verdict == "wrong" else ""

    def as_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "name": self.name, "verdict": self.verdict, "cause": self.cause, "line": self.line,
            "gradients": [
                {"name": g.name, "ok": g.ok, "max_abs_error": _number(g.max_abs_error),
                 "max_rel_error": _number(g.max_rel_error),
                 "index": None if g.index is None else list(g.index),
                 **({"gates": g.gates} if g.gates else {})} for g in self.gradients],
            "causes": [
                {"kind": c.kind, "text": c.text, "line": c.line, "file": file_name(c.file) or None,
                 "gradients": c.gradients, "diff": c.diff} for c in self.causes],
            "searched": self.searched or None, "unexplained": self.unexplained,
            "notes": self.notes, "example": self.example or None,
            "worked": [[r.part, r.line, r.text, r.value, r.right or None] for r in self.worked],
        }  # fmt: skip

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from .page import STYLE, fragment

        return f"<style>{STYLE}</style>{fragment(self, language())}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.text(lang=language()))

    def text(self, colour: bool = False, lang: str = "en") -> str:
        """The report as a table of gradients with the causes below it; ``lang``: en, ko, ja."""
        tr = speaker(lang)
        paint = _PAINT[self.verdict] if colour else "{}"
        lines = [f"{self.name}: " + paint.format(tr(self.verdict))]
        if self.gradients and self.verdict != "unchecked":
            lines += self._table(colour, tr)
            lines += self._gates(tr)
        for said in self.said(lang):
            lines.append(f"  {said.head}: {said.text}{said.where}")
            lines += [f"    {line}" for line in said.below]
        return "\n".join(lines)

    def said(self, lang: str) -> list[Said]:
        """What stands below the table: causes, the example, notes."""
        tr, found = speaker(lang), list[Said]()

        def add(head, text, *below, names=(), number="", where=""):
            of = f"{number} ({listed(names)})" if names else number
            found.append(Said(tr(head) + of, str(in_language(text, lang)), where, list(below)))

        many = len(self.causes) > 1 or bool(self.unexplained)
        for k, cause in enumerate(self.causes):
            same = any(c.change == cause.change for c in self.causes[:k] if c.change)
            add("likely cause", cause.text, *([] if same else self._source_of(cause)),
                names=cause.gradients if many else (), number=f" {k + 1}" * many,
                where=_where(file_name(cause.file), cause.line, tr))
        if self.cause and not self.causes:
            add(self.verdict if self.verdict in ("convention", "wrong") else "why", self.cause,
                *([f"{self.line} | {self.source}"] if self.source else []),
                where=_where(self.file, self.line, tr))
        if self.searched:
            add("cause", join([self.searched, say("the first wrong element is a place to begin")]),
                names=self.unexplained)
        if self.derivation and self.causes:
            add("derivation", self.derivation)
        if self.example:
            add("smallest example", self.example, *self.worked_lines(lang))
            found[-1].folded = True
        for note in self.notes:
            add("note", note)
        return found

    def _table(self, colour, tr):
        width = max(len(g.name) for g in self.gradients)
        shapes = [str(g.shape).replace(" ", "") for g in self.gradients]
        first, second = max(8, width + 1), max(5, *map(len, shapes))
        marks = max(5, *(wide(tr(kind)) for kind in ("ok", "wrong")))
        heads = [padded(tr("gradient"), first), padded(tr("shape"), second), " " * marks,
                 padded(tr("max. error"), 10, right=True), padded(tr("relative"), 9, right=True)]
        lines = ["  " + "  ".join(heads)
                 + f"   {tr('first wrong element')}" * (self.verdict == "wrong")]
        for g, shape in zip(self.gradients, shapes, strict=True):
            kind = "ok" if g.ok else "wrong"
            mark = padded(tr(kind), marks)
            mark = _PAINT[kind].format(mark) if colour else mark
            place = tr("{place}", place=g.place)
            where = "" if g.index is None else f"{list(g.index)}" + f" ({place})" * bool(place)
            lines.append(f"  {'d' + g.name:{first}}  {shape:{second}}  {mark}  "
                         f"{g.max_abs_error:10.1e}  {g.max_rel_error:9.1e}   {where}".rstrip())
        return lines

    def _gates(self, tr):
        """Which gates are right, of the gradients that are wrong: the same ones together."""
        same: dict[str, list[str]] = {}
        for g in self.gradients:
            if g.gates and not g.ok:
                text = ", ".join(f"{k} {tr('ok' if ok else 'wrong')}" for k, ok in g.gates.items())
                same.setdefault(text, []).append(g.name)
        return ["  " + tr("gates of {names}: {gates}", names=listed(names), gates=text)
                for text, names in same.items()]

    def worked_lines(self, lang: str = "en") -> list[str]:
        """The example in numbers: forward and backward, line by line."""
        lines, part, tr = [], "", speaker(lang)
        width = min(58, max((len(r.text) for r in self.worked), default=0))
        given = ", ".join(f"{r.text} = {r.value}" for r in self.worked if r.part == "given")
        if given:
            lines.append(tr("given: {values}", values=given))
        for r in self.worked:
            if r.part == "given":
                continue
            if r.part != part:
                part = r.part
                lines.append(part)
            right = tr("right is {value}", value=r.right)
            lines.append(f"  {r.text:{width}}  {r.value}" + f"   {right}" * bool(r.right))
        return lines

    def _source_of(self, cause: Cause):
        """The lines below a cause: its repair, else the line where it stands."""
        return cause.diff or ([f"{cause.line} | {cause.source}"] if cause.source else [])


def listed(names, mark: str = "d"):
    """ "dW, db": names of gradients, or of something else that has a mark."""
    return ", ".join(f"{mark}{n}" for n in names)


def _where(file: str, line, tr):
    if not line:
        return ""
    return f" ({file}, {tr('line {n}', n=line)})" if file else f" ({tr('line {n}', n=line)})"


_PAINT = {"ok": "\033[32m{}\033[0m", "wrong": "\033[31m{}\033[0m",
          "convention": "\033[33m{}\033[0m", "unchecked": "\033[33m{}\033[0m"}


def _number(x):
    """JSON has no NaN and no infinity."""
    return float(x) if math.isfinite(x) else None


# --- comparing -----------------------------------------------------------------------------------




SMALL = 1e-3  # gradients whose largest element is smaller are compared as if it was this large


def allowed(wanted, tolerance: float):
    """By how much an element may miss the right one."""
    return tolerance * max(float(np.abs(wanted).max(initial=0)), SMALL)


def shows(wanted, tolerance: float):
    """Whether a gradient is large enough for ``compare`` to see it missing."""
    return np.abs(wanted).max(initial=0) > tolerance * SMALL


def compare(name, got, wanted, tolerance: float, layer_name: str = "", hidden=None, batch=None):
    """A Gradient: ``got`` beside ``wanted``, which it may miss by ``tolerance`` times the largest
    element of ``wanted``."""
    wanted = np.asarray(wanted)
    if got is None or np.shape(got) != wanted.shape:
        return Gradient(name, False, math.inf, math.inf, None, "", np.shape(got))
    got = np.asarray(got, dtype=float)
    with np.errstate(all="ignore"):
        error = np.array(np.abs(got - wanted))
    error[~np.isfinite(got)] = math.inf
    scale = float(np.abs(wanted).max(initial=0))
    worst = float(error.max(initial=0))
    most = allowed(wanted, tolerance)
    if worst <= most:
        return Gradient(name, True, worst, worst / max(scale, SMALL), None, "", wanted.shape)
    relative = worst / scale if scale else math.inf
    index = tuple(int(i) for i in np.argwhere(~(error <= most))[0])  # nan
    place = place_of(index, wanted.shape, layer_name, hidden, batch)
    return Gradient(name, False, worst, relative, index, place, wanted.shape)


def place_of(index, shape, layer_name: str = "", hidden=None, batch=None, gates=None):
    """An index in words: time step, gate and unit, as far as the shape tells them. ``gates``: their
    names, in their order; else those of the book, by the name of the layer."""
    words = []
    low = layer_name.lower()
    gates = gates or list(next((g for kind, g in GATES.items() if kind in low), ""))
    if batch is not None and shape and shape[0] == batch and len(shape) > 1:
        words.append(say("sample {n}", n=index[0]))
        if len(shape) == 3 or (len(shape) == 2 and low.startswith("time") and "step" not in low):
            words.append(say("time step {n}", n=index[1]))
            if len(shape) == 3:
                words.append(say("unit {n}", n=index[2]))
        elif len(shape) == 2:
            words.append(say("unit {n}", n=index[1]))
    elif hidden and gates and shape and shape[-1] == hidden * len(gates):
        if len(shape) == 2:
            words.append(say("row {n}", n=index[0]))
        name = gates[index[-1] // hidden]
        words.append(name if name.startswith("block") else say("gate {name}", name=name))
        words.append(say("unit {n}", n=index[-1] % hidden))
    elif len(shape) == 2:
        words += [say("row {n}", n=index[0]), say("unit {n}", n=index[1])]
    elif len(shape) == 1:
        words.append(say("unit {n}", n=index[0]))
    return join(words, ", ")
