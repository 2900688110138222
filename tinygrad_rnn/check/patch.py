"""A repair as its author would write it: the lines of the file before and after, for people and
for ``git apply``. Files are read, and never written."""

from __future__ import annotations

import ast
import difflib
import linecache
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from .mistakes import Edit, show


@dataclass(frozen=True)
class Change:
    """Lines ``first`` to ``last`` (from 1, ``last`` not included) of a file become ``new``."""

    filename: str
    first: int
    last: int
    new: tuple[str, ...]
    old: tuple[str, ...]

    def meets(self, other: Change) -> bool:
        """Whether both change a line."""
        return (self.filename == other.filename and self.first < other.last
                and other.first < self.last)

    def diff(self) -> list[str]:
        """The lines that differ, "- old" and "+ new", and "  " before what stands between them,
        without their common indent."""
        both = textwrap.dedent("\n".join([*self.old, *self.new])).split("\n")
        old, new = both[: len(self.old)], both[len(self.old):]
        lines = [f"{line[0]} {line[1:]}" for line in difflib.unified_diff(
            old, new, n=len(both), lineterm="")][3:]
        at = [i for i, line in enumerate(lines) if line[0] != " "]
        return lines[at[0] : at[-1] + 1] if at else []


def _lines(filename: str):
    return [line.rstrip("\n") for line in linecache.getlines(filename)]


def change_of(edit: Edit) -> Change | None:
    """What an edit changes in its file; None where it cannot be said as text."""
    filename = edit.function.filename
    lines = _lines(filename)
    if not lines or not hasattr(edit.old, "original"):
        return None
    try:
        if isinstance(edit.old, ast.stmt):
            change = _of_statements(edit, filename, lines)
        else:
            change = _of_expression(edit.node, edit.field, edit.old, edit.new, filename, lines)
        whole = [*lines[: change.first - 1], *change.new, *lines[change.last - 1 :]]
        ast.parse("\n".join(whole))
    except (SyntaxError, ValueError, AttributeError, IndexError):
        return None
    return change


def change_of_statement(edit: Edit) -> Change | None:
    """What all edits together change in the statement where one of them stands, once they are
    made."""
    first, last = edit.change.first, edit.change.last
    lines = _lines(edit.function.filename)
    for node in ast.walk(edit.function.node):
        if not hasattr(node, "original") or not isinstance(node, (
                ast.Assign, ast.AugAssign, ast.Return, ast.Expr, ast.For, ast.While, ast.If)):
            continue
        head = getattr(node, "iter", getattr(node, "test", node))  # of a loop its first line
        end = head.end_lineno + 1
        if node.lineno <= first and last <= end:
            line = lines[node.lineno - 1]
            indent = line[: len(line) - len(line.lstrip())]
            return _change(edit.function.filename, node.lineno, end, (indent + show(node),), lines)
    return None


def _of_expression(parent, name, old, new, filename, lines) -> Change:
    """The lines of an expression with its text replaced: as small a part as will do."""
    parent, name, old, new = _smallest(parent, name, old, new)
    text = show(new) if isinstance(new, ast.AST) else str(new)
    if isinstance(parent, ast.Subscript) and isinstance(new, ast.Tuple):
        text = text[1:-1]  # `x[(:, 0)]` is no Python
    loose = isinstance(new, (ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare))
    if loose and isinstance(parent, (ast.BinOp, ast.UnaryOp, ast.Attribute, ast.Compare)):
        tried = type(parent)(**{**dict(ast.iter_fields(parent)), name: new})
        text = f"({text})" if f"({text})" in ast.unparse(tried) else text
    head = lines[old.lineno - 1].encode()[: old.col_offset].decode()
    tail = lines[old.end_lineno - 1].encode()[old.end_col_offset :].decode()
    alone = show(new) if isinstance(new, ast.AST) else str(new)
    if text == f"({alone})" and head.endswith("(") and tail.startswith(")") and (
            not re.search(r"[\w\])]\($", head)):
        text = alone  # it stands in parentheses already
    return _change(filename, old.lineno, old.end_lineno + 1, (head + text + tail,), lines)


def _smallest(parent, name, old, new):
    """Go down as long as only one child differs, and it has a place in the file."""
    while type(old) is type(new):
        different = []
        for key in old._fields:
            a, b = getattr(old, key, None), getattr(new, key, None)
            if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
                different += [(key, x, y) for x, y in zip(a, b, strict=True) if x is not y]
            elif a is not b and not (isinstance(a, ast.expr_context) or a == b):
                different.append((key, a, b))
        if len(different) != 1 or not hasattr(different[0][1], "original") or not isinstance(
                different[0][1], ast.expr) or not isinstance(different[0][2], ast.expr):
            break
        parent = old
        name, old, new = different[0]
    return parent, name, old, new


def _of_statements(edit: Edit, filename: str, lines) -> Change:
    held = getattr(edit.node, edit.field)
    gone = held[edit.at : edit.at + edit.count]
    if not isinstance(edit.new, list):
        _, name, old, new = _smallest(edit.node, edit.field, edit.old, edit.new)
        if isinstance(old, ast.expr):
            return _of_expression(edit.old, name, old, new, filename, lines)
    items = edit.new if isinstance(edit.new, list) else [edit.new]
    first, last = gone[0].lineno, gone[-1].end_lineno + 1
    indent = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    if len(held) > edit.count:  # others stay
        items = [item for item in items if not isinstance(item, ast.Pass)]
    new = [line for item in items for line in _rendered(item, indent, lines)]
    head = lines[first - 1].encode()[: gone[0].col_offset].decode()
    tail = lines[last - 2].encode()[gone[-1].end_col_offset :].decode()
    if head.strip() or tail.lstrip().startswith(";"):  # others in the same line stay
        new = [head + ("; ".join(line.strip() for line in new) or "pass") + tail]
    return _change(filename, first, last, tuple(new), lines)


def _change(filename, first, last, new, lines) -> Change:
    old, new = list(lines[first - 1 : last - 1]), list(new)
    while old and new and old[-1] == new[-1]:  # what stays is no part of the change
        old.pop(), new.pop()
    while old and new and old[0] == new[0]:
        old.pop(0), new.pop(0)
        first += 1
    return Change(filename, first, first + len(old), tuple(new), tuple(old))


def _rendered(item, indent, lines):
    """A statement as lines: those of the file where it comes from there."""
    if hasattr(item, "original"):
        own = textwrap.dedent("\n".join(lines[item.lineno - 1 : item.end_lineno])).split("\n")
    elif isinstance(item, (ast.For, ast.While)) and any(hasattr(s, "original") for s in item.body):
        bare = type(item)(**{**dict(ast.iter_fields(item)), "body": [ast.Pass()], "orelse": []})
        head = ast.unparse(ast.copy_location(bare, item)).split("\n")[0]
        inner = [line for s in item.body for line in _rendered(s, 4, lines)]
        own = [head, *inner]
    elif isinstance(item, ast.Pass):
        own = ["pass"]
    else:
        own = ast.unparse(item).split("\n")
    return [" " * indent + line if line else line for line in own]


def patch(changes, root=None) -> str:
    """All changes as one patch, for ``git apply`` in the folder ``root``."""
    texts: list[str] = []
    root = Path(root or ".").resolve()
    for filename in dict.fromkeys(c.filename for c in changes):
        old = _lines(filename)
        new, end = list(old), len(old) + 1
        of_file = {c for c in changes if c.filename == filename}
        for change in sorted(of_file, key=lambda c: c.first, reverse=True):
            if change.last <= end:  # those that overlap cannot both be made
                new[change.first - 1 : change.last - 1] = change.new
                end = change.first
        path = Path(filename).resolve()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        texts += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(texts) + "\n" * bool(texts)
