"""The catalogue of mistakes: one table. Each entry says in one place what the mistake is called,
what a report says about it, how it is undone, and a line that has it, which a test checks.

    @mistake("sign", "wrong sign: `{old}` has a minus too many", on=ast.UnaryOp, rank=1,
             example="RNN: np.dot(dA, Wx.T) -> -np.dot(dA, Wx.T)")
    def _(p):
        if isinstance(p.node.op, ast.USub):
            yield p.node.operand

``on``: the nodes of a syntax tree that it is looked for at: a type, several, or "value" (an
expression whose value is a gradient). The function is handed a ``Place`` and yields what may
belong there: a tree, statements, or the text of an expression, alone or with values for further
names of the sentence: ``yield new, {"other": ...}``. ``{old}`` and ``{new}`` are the two texts.
Where a term is added, ``"scaled"`` makes the same with a factor, as text, behind it.
Mistakes of a lower ``rank`` are tried first. The search (``repair``) runs the layer with each
edit, and names the mistake only if its edit makes wrong gradients right.

Many mistakes are one form in the place of another, and need no function:

    rewrite("sign", "wrong sign: `{old}` should be `{new}`", 2, "a - b => b - a",
            example="GRU: dh_next * (h_hat - h_prev) -> dh_next * (h_prev - h_hat)")

A name on the left stands for any expression, twice the same name for the same one, ``n`` for a
number; a function that is called there is known by its last name (``tanh`` is np.tanh, too).

``example`` is "Layer: right -> wrong", of a class of ``manual`` or of tests/checked/catalogue.py.
To add a mistake, write one entry, and its sentence into languages/*.po.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import functools
import itertools
import operator
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import is_label
from .running import forward_names, gradient_names, is_float
from .source import node_of, with_source
from .words import say

if TYPE_CHECKING:
    from .running import Setup
    from .source import Function


@dataclass(frozen=True)
class Mistake:
    """An entry of the catalogue; see the top of this file."""

    kind: str
    words: str
    on: Any
    rank: float
    example: str
    undo: Callable[[Place], Iterator[Any]]


MISTAKES: list[Mistake] = []
LATE = 8  # the rank of mistakes that are looked for when nothing else was found


def mistake(kind: str, words: str, on: Any, rank: float, example: str = ""):
    """Enter the decorated function into the catalogue."""

    def enter(undo):
        MISTAKES.append(Mistake(kind, words, on, rank, example, undo))
        return undo

    return enter


def rewrite(kind: str, words: str, rank: int, *rules: str, example: str, unless: str = ""):
    """Enter a mistake whose edits are rules: a form, ``=>``, and the form that belongs there."""
    forms = [[_form(text) for text in rule.split(" => ")] for rule in rules]
    named = {name for _, name, *_ in string.Formatter().parse(words)} - {"old", "new", None}

    def undo(p):
        for wrong, right in () if unless and matched(_form(unless), p.node, {}) else forms:
            found: dict[str, Any] = {}
            if matched(wrong, p.node, found) and not _cancels(new := filled(right, found), p):
                yield new, {k: ast.unparse(found[k]) for k in named}

    undo.__name__ = f"_{rules[0]}"
    mistake(kind, words, tuple({type(wrong) for wrong, _ in forms}), rank, example)(undo)


def _cancels(new, p):
    """Whether it is divided by what stands beside it as a factor: that is to leave out both."""
    if not (isinstance(new, ast.BinOp) and isinstance(new.op, ast.Div)):
        return False
    beside = _multiplied(new.left)
    if isinstance(p.parent, ast.BinOp) and isinstance(p.parent.op, ast.Mult):
        beside += [p.parent.left, p.parent.right]
    return any(same(new.right, factor) for factor in beside)


def _form(text: str):
    node: Any = ast.parse(text).body[0]
    return node.value if isinstance(node, ast.Expr) else node


def matched(form: Any, node: Any, found: dict[str, Any]):
    """Whether a node has a form; what its names stand for goes into ``found``."""
    if isinstance(form, list):
        return len(form) == len(node) and all(map(matched, form, node, itertools.repeat(found)))
    if isinstance(form, ast.Name):
        fits = form.id != "n" or number(node) is not None
        return fits and same(found.setdefault(form.id, node), node)
    if isinstance(form, ast.Constant):
        return number(node) == form.value
    if not isinstance(form, ast.AST) or type(form) is not type(node):
        return form == node
    fields = dict(ast.iter_fields(form))
    name = getattr(fields.get("func"), "id", None)
    if name is not None:
        fields.pop("func")
        found[name] = dict(ast.iter_fields(node))["func"]
        if called(node) != name:
            return False
    return all(matched(value, getattr(node, k), found) for k, value in fields.items())


def filled(form, found: dict[str, Any]):
    """A form as a tree, with what its names stand for: each node in one place."""
    if isinstance(form, list):
        return [filled(item, found) for item in form]
    if isinstance(form, ast.Name) and form.id in found:
        node = found[form.id]
        found[form.id] = expression(ast.unparse(node))
        return node
    return like(form, **{k: filled(value, found) for k, value in ast.iter_fields(form)}
                ) if isinstance(form, ast.AST) else form


@dataclass
class Edit:
    """``node.field`` (or its element ``at``) becomes ``new``, which undoes a mistake."""

    function: Function
    node: ast.AST
    field: str
    at: int | None
    old: ast.AST
    new: Any
    mistake: Mistake
    values: dict[str, Any]
    line: int
    count: int = 1  # statements that give way, from ``at`` on
    revives: bool = False  # whether what is computed and used nowhere is used then
    said: str = ""  # its text, once it is found
    undo: Any = None  # once it is made
    mended: Any = ()  # the gradients that are right since then
    change: Any = None  # the same as lines of the file
    beside: Any = ()  # the edits of its place, to compile at once
    code: Any = None  # of the function with it, and of which form of the function

    @property
    def kind(self):
        return self.values.get("kind", self.mistake.kind)

    @property
    def rank(self):
        return self.values.get("rank", self.mistake.rank)

    @property
    def text(self):
        words = self.values.get("words", self.mistake.words)
        return say(words, **{"old": show(self.old), "new": show(self.new), **{
            k: v for k, v in self.values.items() if k not in ("kind", "rank", "words", "scaled")}})

    @property
    def tree(self):
        """What is put there."""
        if isinstance(self.new, str):
            self.new = placed(expression(self.new), self.old)
        return self.new

    @property
    def is_expression(self):
        """Whether one expression, that is read, takes the place of another."""
        return isinstance(self.old, ast.expr) and not isinstance(self.new, list) and (
            not isinstance(self.old, (ast.Slice, ast.Starred))) and isinstance(
            getattr(self.old, "ctx", ast.Load()), ast.Load) and not (
            isinstance(self.node, ast.Subscript) and self.field == "slice")

    def make(self):
        """Make the edit in the tree; returns what undoes it."""
        held = getattr(self.node, self.field)
        value = self.tree
        if self.at is not None:
            value = list(held)
            new = self.new if isinstance(self.new, list) else [self.new]
            value[self.at : self.at + self.count] = new
        setattr(self.node, self.field, value)
        return lambda: setattr(self.node, self.field, held)


@dataclass
class Scope:
    """What can be named in a function: each expression with the value it had at the end."""

    values: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)  # the local variables themselves
    globals: dict[str, Any] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)  # inner layers whose backward did not run
    idle_lists: list[str] = field(default_factory=list)  # and lists of such
    unused: set[str] = field(default_factory=set)  # what is computed, and read nowhere
    ignored: set[str] = field(default_factory=set)  # arguments that are read nowhere
    rebound: set[str] = field(default_factory=set)  # what may have had another shape before
    derived: set[str] = field(default_factory=set)  # from the gradients that are handed in

    def __post_init__(self):
        self._arrays: dict[Any, dict[str, np.ndarray]] = {}

    def arrays(self, shape=None):
        if shape not in self._arrays:
            self._arrays[shape] = {
                k: v for k, v in self.values.items() if isinstance(v, np.ndarray)
                and v.dtype.kind in "fb" and (shape is None or v.shape == shape)}
        return self._arrays[shape]

    def value(self, node):
        """What a name, or an attribute of one, holds; None where it holds nothing."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(self.value(node.value), node.attr, None)
        return None

    def shape(self, node):
        """The shape that an expression without side effects has, else None."""
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                fn = ast.unparse(part.func)
                if not fn.startswith("np.") and not fn.endswith((".sum", ".reshape", ".dot")):
                    return None
            elif not isinstance(part, _PURE):
                return None
        try:
            code = compile(ast.Expression(node), "", "eval")
            shape = np.shape(eval(code, self.globals, self.names))
        except Exception:
            return None
        return shape if isinstance(shape, tuple) else None  # np.float64 has one that is none


_PURE = (ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Subscript, ast.Constant, ast.Slice,
         ast.Tuple, ast.operator, ast.unaryop, ast.expr_context, ast.keyword)


@dataclass
class Evidence:
    """What is known about what is wrong: the right gradients, and by which numbers wrong ones
    differ from them (right / got, for those that are in proportion)."""

    setup: Setup
    wanted: dict[str, np.ndarray]
    ratios: dict[float, str]  # and in words
    misshapen: bool = False  # an array of another shape may be what is wrong

    @functools.cached_property
    def applied(self):
        """What forward applies to one array, and else activations are: "softmax({})"."""
        forward = getattr(type(self.setup.layer), "forward", None)
        found = [n for f in with_source([forward] if hasattr(forward, "__code__") else [])
                 for n in ast.walk(f.node) if isinstance(n, ast.Call)]
        return ["np.tanh({})", "(1 / (1 + np.exp(-{})))", *dict.fromkeys(
            f"{n.func.id}({{}})" for n in found if isinstance(n.func, ast.Name)
            and len(n.args) == 1 and not n.keywords and not hasattr(builtins, n.func.id))]


@dataclass
class Place:
    """A node of a function's tree, and what is known about its surroundings."""

    function: Function
    scope: Scope
    evidence: Evidence
    parent: ast.AST
    field: str
    at: int | None
    node: Any
    loops: list[Any]  # around it, from the outside
    value: bool  # its value is a gradient: it is assigned, returned, handed on

    @property
    def text(self):
        found = getattr(self.node, "text", None)
        if found is None:
            found = self.node.text = show(self.node)
        return found

    @property
    def name(self):
        """ "x" or "self.x", where the node is one of these."""
        return name_of(self.node)

    @property
    def array(self):
        return self.scope.values.get(self.name or "")

    @property
    def held(self):
        """The names in it."""
        return [name_of(n) for n in ast.walk(self.node)]

    @property
    def stored(self):
        return isinstance(getattr(self.node, "ctx", None), ast.Store)

    @property
    def written(self):
        """Whether the place is written into: np.add.at(here, ...), here[...] = ..."""
        return (isinstance(self.parent, ast.Call) and self.at == 0
                and ast.unparse(self.parent.func).endswith(".at")) or (
                isinstance(self.parent, ast.Subscript)
                and isinstance(self.parent.ctx, ast.Store) and self.field == "value")

    @property
    def number(self):
        return number(self.node)

    @property
    def inside(self):
        """Whether it is done again and again."""
        return bool(self.loops)


def looped(tree):
    """The loops around each node of a tree that is in one."""
    around: dict[ast.AST, list[Any]] = {}
    for loop in ast.walk(tree):
        if isinstance(loop, (ast.For, ast.While)):
            for n in itertools.islice(ast.walk(loop), 1, None):
                around.setdefault(n, []).append(loop)
    return around


def _loop_names(loop):
    """The variables of a loop."""
    return bound_in([loop.target]) if isinstance(loop, ast.For) else set()


def places(function: Function, scope: Scope, evidence: Evidence) -> Iterator[Place]:
    """All nodes of a function."""
    around = looped(function.node)
    for parent in ast.walk(function.node):
        for name, value in ast.iter_fields(parent):
            for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    yield Place(function, scope, evidence, parent, name, at, node,
                                around.get(node, []), _is_value(parent, name, at, node))


def edits(function: Function, scope: Scope, evidence: Evidence, late=False) -> Iterator[Edit]:
    """All edits of one function: every mistake at every place; ``late``: those, as many as the
    others, that are tried last. Likelier than others are those that use what is computed and used
    nowhere, or something more where a name is only copied."""
    names: Any = [n for n in ast.walk(function.node) if isinstance(n, ast.Name)]
    read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
    bound = [n.id for n in names if isinstance(n.ctx, ast.Store)]
    unused = {*bound} - read - {"_"}
    scope.unused, scope.ignored = unused, {*scope.arguments} - read
    scope.derived = _derived(function.node, scope)
    scope.rebound = {n for n in bound if bound.count(n) + (n in scope.arguments) > 1}
    idle = {_shape(scope.values.get(u)) for u in unused if is_gradient(u, scope)} - {None}
    for p in places(function, scope, evidence):
        for m in MISTAKES:
            if (m.rank == LATE) == late and (
                    p.value if m.on == "value" else isinstance(p.node, m.on)):
                for found in m.undo(p):
                    new, values = found if isinstance(found, tuple) else (found, {})
                    if not isinstance(new, str):
                        new = placed(new, p.node)
                    line = values.pop("line", getattr(p.node, "lineno", function.node.lineno))
                    at, count = (new.at, new.length) if isinstance(new, Block) else (p.at, 1)
                    if p.written and isinstance(new, (ast.Call, ast.BinOp)):
                        continue  # into what is thrown away
                    trees = new if isinstance(new, list) else [
                        expression(new) if isinstance(new, str) else new]
                    uses = {n.id for t in trees if unused for n in ast.walk(t)
                            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
                    rank = values.get("rank", m.rank)
                    if p.name and isinstance(p.parent, (ast.Return, ast.Tuple)) and (
                            _shape(p.array) in idle and not uses & unused):
                        rank = max(rank, 6.5)  # it is there, and needs no other form
                    values["rank"] = (min(rank, 1 + rank / 10) if uses & unused and not late
                                      else rank) - (
                        0.5 if p.name and p.value and isinstance(p.parent, ast.Assign) else 0)
                    yield Edit(function, p.parent, p.field, at, p.node, new, m, values, line,
                               count, any(is_gradient(u, scope) for u in uses & unused))


# --- helpers on trees ----------------------------------------------------------------------------


def show(node):
    """The text of a tree as its author would know it: the first line."""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return "; ".join(show(n) for n in node)
    text = ast.unparse(node).split("\n")[0]
    text = re.sub(r"__(float|int)__\(", r"\1(", text)
    return re.sub(r"__wide__\(([^()]*)\)", r"\1", text) if "__wide__" in text else text


def expression(text: str):
    whole: Any = ast.parse(f"_({text})", mode="eval").body  # *shape is one in a call alone
    return whole.args[0]


def statement(text: str):
    return ast.parse(text).body[0]


def placed(new, old):
    """New nodes stand where the old one stood; nodes that were there before keep their place."""
    nodes: list[Any] = list(new) if isinstance(new, list) else [new]
    while nodes:
        node = nodes.pop()
        if hasattr(node, "original") or hasattr(node, "settled"):
            continue  # and so has what is below it
        if "lineno" in node._attributes:
            node.settled = True
            node.lineno = getattr(old, "lineno", 1)
            node.end_lineno = getattr(old, "end_lineno", node.lineno)
            node.col_offset = getattr(old, "col_offset", 0)
            node.end_col_offset = getattr(old, "end_col_offset", 0)
        nodes.extend(ast.iter_child_nodes(node))
    return new


def like(node, **fields):
    """A node of the same type with some fields changed."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def name_of(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (
            node.value.id == "self"):
        return f"self.{node.attr}"
    return None


def number(node):
    try:
        return float(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError):
        return None


def _shape(x):
    """The shape of an array or a number; None of anything else."""
    return x.shape if isinstance(x, (np.ndarray, np.generic)) else (
        () if isinstance(x, (int, float)) else None)


def same(a, b):
    return a is b or ast.dump(a) == ast.dump(b)


def called(node):
    """The name of the function that is called: "sum" of np.sum(...) and of x.sum()."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


_COUNTING = ("range", "reversed", "enumerate", "zip", "len", "int", "__int__")


def _is_value(parent, name, at, node):
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store) or (
            isinstance(node, (ast.Tuple, ast.Slice, ast.Constant, ast.Starred))):
        return False
    if isinstance(parent, (ast.Assign, ast.AugAssign, ast.Return)):
        return name == "value"
    if isinstance(parent, (ast.Tuple, ast.List)):
        return isinstance(parent.ctx, ast.Load)
    if isinstance(parent, ast.Dict):
        return name == "values"
    if isinstance(parent, ast.Call):
        counting = isinstance(parent.func, ast.Name) and parent.func.id in _COUNTING
        adds = at == 0 and ast.unparse(parent.func).endswith(".at")
        return name == "args" and not counting and not adds
    return isinstance(parent, ast.BinOp) and isinstance(parent.op, (ast.Add, ast.Sub))


def is_gradient(name: str, scope: Scope):
    """Whether a variable is named as gradients are, or computed from one."""
    bare = name.rpartition(".")[2]
    return _of_gradients(bare) or name in scope.arguments or name in scope.derived


def _of_gradients(bare: str):
    return bare.startswith(("d", "grad")) and len(bare) > 1 and not re.match(
        "data|dec|deriv|dim|dist|drop", bare)


def _derived(tree, scope: Scope):
    """The arrays that are computed from the gradients which a function is handed."""
    arrays = {k for k, v in scope.arrays().items() if k in scope.names and v.dtype.kind == "f"}
    found = {a for a in scope.arguments if _of_gradients(a)}
    steps = [s for s in ast.walk(tree) if isinstance(s, (ast.Assign, ast.AugAssign))]
    for s in sorted(steps, key=lambda s: s.lineno):
        if any(isinstance(n, ast.Name) and n.id in found for n in ast.walk(s)):
            found |= bound_in([s]) & arrays
    return found


def _is_mask(value):
    """Whether an array is zero, and one other number."""
    return value.dtype.kind == "b" or (len(flat := np.unique(value)) == 2 and 0 in flat)


def _factors(p: Place):
    """The arrays that an expression can be multiplied with, without another shape coming out of
    what it is a term of."""
    shape = whole = p.scope.shape(p.node)
    if shape is not None and isinstance(getattr(p.parent, "op", None), (ast.Add, ast.Sub)):
        parent: Any = p.parent
        beside = ast.unparse(getattr(parent, "target", None) or parent.left)
        other = p.scope.shape(expression(beside)) or ()
        whole = other if _broadcasts(other, shape) else shape
    for other, value in p.scope.arrays().items():
        if shape is None or value.shape == shape or _broadcasts(whole, value.shape):
            yield other, value, shape is None or value.shape == shape


def _together(*shapes):
    """The shape that arrays of these shapes give, None where they do not go together."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def _broadcasts(shape, other):
    return _together(shape, other) == shape


# --- signs and operators -------------------------------------------------------------------------

@mistake("sign", "wrong sign: `{old}` has a minus too many", on=ast.UnaryOp, rank=1,
         example="RNN: np.dot(dA, Wx.T) -> -np.dot(dA, Wx.T)")
def _minus_too_many(p):
    if isinstance(p.node.op, ast.USub) and not isinstance(p.parent, ast.Slice):
        yield p.node.operand


rewrite("sign", "wrong sign in `{old}`", 2,
        "a + b => a - b", "a - b => a + b", "a += b => a -= b", "a -= b => a += b",
        example="LSTM: dc_next + dh_next * o -> dc_next - dh_next * o")

rewrite("scaling", "`{old}` multiplies where it should divide, or the reverse", 2,
        "a * b => a / b", "a / b => a * b", "a *= b => a /= b", "a /= b => a *= b",
        example="SoftmaxWithLoss: dx *= dout / max -> dx *= dout * max")

rewrite("operation", "the wrong operation: `{old}` should be `{new}`", 3,
        "a + b => a * b", "a * b => a + b", "a * b => a @ b", "a @ b => a * b",
        "dot(a, b) => a * b", "matmul(a, b) => a * b", "a + b - c => a * (b - c)",
        example="RNN: np.dot(dA, Wx.T) -> dA * Wx.T")

rewrite("sign", "wrong sign: `{old}` should be `{new}`", 2, "a - b => b - a",
        example="GRU: dh_next * (h_hat - h_prev) -> dh_next * (h_prev - h_hat)")


rewrite("comparison", "the comparison is wrong: `{old}` should be `{new}`", 2,
        "a >= b => a > b", "a <= b => a < b", "a > b => a <= b", "a < b => a >= b",
        "a >= b => a < b", "a <= b => a > b", "a == b => a != b", "a != b => a == b",
        example="Rectified: self.out > 0 -> self.out >= 0")


@mistake("mask", "the mask is the wrong way round: `{new}` belongs where `{old}` stands",
         on=(ast.Name, ast.Attribute), rank=3,
         example="TimeSoftmaxWithLoss: dx[~mask] = 0 -> dx[mask] = 0")
def _mask_turned(p):
    value = p.array
    if isinstance(value, np.ndarray) and value.dtype.kind == "b" and not p.stored:
        yield f"~{p.text}"


@mistake("sign", "wrong sign: `{old}` should be negated", on="value", rank=3,
         example="MeanLoss: return dx, -dx -> return dx, dx")
def _minus_missing(p):
    yield f"-({p.text})"


@mistake("extra", "the term `{what}` does not belong there", on=ast.BinOp, rank=6,
         example="RNN: np.dot(dA, Wh.T) -> np.dot(dA, Wh.T) + h_prev")
def _too_much(p):
    op, a, b = p.node.op, p.node.left, p.node.right
    pairs = [(a, b), (b, a)] if isinstance(op, (ast.Mult, ast.Add)) else [(a, b)]
    if not isinstance(op, (ast.Mult, ast.Add, ast.Sub, ast.Div)):
        return
    for kept, dropped in pairs:
        what = show(dropped)
        values = {"what": what}
        if isinstance(op, (ast.Mult, ast.Div)):
            sizes = number(dropped) is not None or (any(
                s in what for s in ("shape", "len(", "size")) and not p.scope.shape(dropped))
            if sizes or isinstance(op, ast.Div):
                values |= {"kind": "scaling", "rank": 0 if sizes else 6,
                           "words": "scaled by `{what}`, which does not belong there"}
            else:
                values["words"] = "the factor `{what}` does not belong there"
        yield kept, {**values, **_of_penalty(p, dropped)} if isinstance(op, ast.Add) else values


def _of_penalty(p, term):
    """What is to be said of a term that is a multiple of a parameter, where a loss has none."""
    names, setup = {name_of(n) for n in ast.walk(term)} - {None}, p.evidence.setup
    arrays = {n for n in names if isinstance(p.scope.values.get(n), np.ndarray)}
    if _shape(setup.output) != () or not len(arrays) == 1 < len(names) or not (
            arrays <= {*setup.slots.names}):
        return {}
    return {"what": show(term), "rank": 2, "words":
            "`{what}` is the derivative of a penalty, and the loss has none"}


@mistake("term", "`{factor}` is a factor of each term, and differs from one to the next: it belongs"
         " to `{d}` inside the sums, not in front of `{old}`", on=ast.BinOp, rank=2,
         example="Weighed: dout * g - np.mean(dout * g, axis=1, keepdims=True) ->"
                 " g * (dout - np.mean(dout, axis=1, keepdims=True))")
def _factor_outside(p):
    factors = _multiplied(p.node)
    if isinstance(getattr(p.parent, "op", None), (ast.Mult, ast.Div)):
        return  # a part of a product
    for k, whole in enumerate(factors):
        rest = factors[:k] + factors[k + 1:]
        for d in {n.id for n in ast.walk(whole) if isinstance(n, ast.Name)} & (
                p.scope.arrays().keys()):
            held = [n for n in ast.walk(whole) if isinstance(n, ast.Name) and n.id == d]
            for j, factor in enumerate(rest if len(held) > 1 else ()):
                text = ast.unparse(factor)
                if any(name_of(n) in p.scope.arrays() for n in ast.walk(factor)):
                    inner = filled(expression(ast.unparse(whole)), {d: expression(
                        f"({d} * {text})")})
                    others = [f"({ast.unparse(o)})" for i, o in enumerate(rest)
                              if i != j and number(o) != 1]
                    yield " * ".join([*others, f"({ast.unparse(inner)})"]), {
                        "factor": text, "d": d, "old": ast.unparse(whole)}


def _multiplied(node):
    """The factors of a product; what it is divided by as 1 / that."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _multiplied(node.left) + _multiplied(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*_multiplied(node.left), expression(f"1 / ({ast.unparse(node.right)})")]
    return [node]


# --- derivatives of activations ------------------------------------------------------------------


rewrite("wrong_derivative", "the derivative of the wrong activation: `{old}` is that of tanh,"
        " `{new}` belongs here (the sigmoid)", 3, "1 - v ** n => v * (1 - v)",
        example="LSTM: df * f * (1.0 - f) -> df * (1.0 - f**2)")

rewrite("wrong_derivative", "the derivative of the wrong activation: `{v} * (1 - {v})` is that of"
        " the sigmoid, `1 - {v}**2` belongs here (tanh)", 3,
        "v * (1 - v) => 1 - v ** 2", "a * v * (1 - v) => a * (1 - v ** 2)",
        "(1 - v) * v => 1 - v ** 2", "(1 - v) * (a * v) => a * (1 - v ** 2)",
        example="LSTM: dg * (1.0 - g**2) -> dg * g * (1.0 - g)")

rewrite("wrong_derivative", "the derivative of an activation is wrong: `{v}` is squared in"
        " `{old}`", 3, "1 - v ** n => 1 - v",
        example="LSTM: df * f * (1.0 - f) -> df * f * (1.0 - f**2)")

rewrite("wrong_derivative", "the derivative of an activation is wrong: `{old}` should be `{new}`",
        3, "v * n => v ** n", "n * v => v ** n",
        example="RNN: (1.0 - h_next**2) -> (1.0 - h_next * 2)")

rewrite("wrong_derivative", "the derivative of tanh is `{new}`, not `{old}`", 3,
        "1 - v => 1 - v ** 2", unless="1 - v ** n",
        example="RNN: (1.0 - h_next**2) -> (1.0 - h_next)")

rewrite("missing_derivative", "half of the derivative of the sigmoid is missing: `{v}` in front of"
        " `{old}`", 3, "1 - v => v * (1 - v)", unless="1 - v ** n",
        example="LSTM: df * f * (1.0 - f) -> df * (1.0 - f)")


@mistake("missing_derivative", "{names}: the derivative of the activation, with which they are"
         " multiplied elsewhere, is left out here", on=ast.Assign, rank=4,
         example="InlineGates: dx = (df * f * (1 - f)) @ self.Wf.T + (dg * (1 - g**2)) @ self.Wg.T"
                 " -> dx = df @ self.Wf.T + dg @ self.Wg.T")
def _derivatives_left_out(p):
    products = (ast.unparse(n) for n in ast.walk(p.function.node) if isinstance(n, ast.BinOp))
    whole = {found[1]: found[0] for text in products if (
        found := re.fullmatch(r"(\w+) \* (\w+ \* )?\(1 - [^*]+(\*\* 2|, 2\))?\)", text))}
    text = ast.unparse(p.node.value)
    new: Any = expression(text)
    bare = {n.id: expression(whole[n.id]) for n in ast.walk(new) if isinstance(n, ast.Name)
            and n.id in whole and whole[n.id] not in text}
    if len(bare) > 1:
        yield like(p.node, value=filled(new, bare)), {"names": ", ".join(bare)}


@mistake("number", "the square is missing: `{old}` should be `{new}`", on=ast.BinOp, rank=3,
         example="Shared: / self.s**2 -> / self.s")
def _square_missing(p):
    divided = isinstance(p.node.op, ast.Div) and name_of(p.node.right)
    if divided and divided in p.scope.arrays():
        yield like(p.node, right=expression(f"{divided} ** 2"))


def _is_primary(node):
    """Whether a method of it can be called as it stands."""
    return isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))


def _product(p, factor: str):
    """The text of the node times a factor."""
    return f"{_operand(p)} * {factor}"


def _operand(p):
    loose = isinstance(p.node, (ast.IfExp, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Lambda)) or (
        isinstance(p.node, ast.BinOp) and isinstance(p.node.op, (ast.Add, ast.Sub)))
    return f"({p.text})" if loose else p.text


_DERIVATIVES = (("tanh", "(1 - {0} ** 2)"), ("the sigmoid", "{0} * (1 - {0})"),
                ("relu", "({0} > 0)"))


@mistake("missing_derivative", "the derivative of {what} is missing: `{old}` times `{factor}`",
         on="value", rank=3, example="RNN: dh_next * (1.0 - h_next**2) -> dh_next")
def _derivative_missing(p):
    for other, value, same in _factors(p):
        bare = other.removeprefix("self.")
        if same and not _of_gradients(bare) and not _is_mask(value):
            for what, form in _DERIVATIVES:
                factor = form.format(other)
                yield _product(p, factor), {"what": what, "factor": factor}


@mistake("wrong_derivative", "`{old}` is not the derivative of {what}: `{new}` belongs here",
         on="value", rank=LATE, example="Sigmoid: dout * self.out * (1.0 - self.out) ->"
                                        " dout * (1.0 * self.out) - self.out")
def _another_derivative(p):
    arrays = [n for n in dict.fromkeys(p.held) if n in p.scope.arrays()]
    calls = any(isinstance(n, ast.Call) for n in ast.walk(p.node))  # what that gives is not known
    for d in arrays if isinstance(p.node, ast.BinOp) and not calls else ():
        for other in arrays if is_gradient(d, p.scope) else ():
            for what, form in _DERIVATIVES:
                if other != d:
                    yield f"{d} * {form.format(other)}", {"what": what}


@mistake("activated_gradient", "the activation is applied to the gradient in `{old}`, where its"
         " derivative belongs: `{new}`", on=ast.Call, rank=2,
         example="Sigmoid: dout * self.out * (1.0 - self.out) -> sigmoid(dout)")
def _activated_gradient(p):
    fn = called(p.node)
    arguments = [a for a in p.node.args if number(a) is None]
    if fn not in ("tanh", "sigmoid", "relu", "maximum", "forward") or isinstance(
            p.parent, ast.Expr) or (fn == "forward" and len(arguments) > 1):
        return
    for argument in arguments[:1]:
        form = {"tanh": _DERIVATIVES[0][1], "sigmoid": _DERIVATIVES[1][1]}.get(fn)
        for other in p.scope.arrays():
            for f in [form] if form else [f for _, f in _DERIVATIVES]:
                if other != ast.unparse(argument):
                    yield f"{ast.unparse(argument)} * {f.format(other)}"


@mistake("input_not_output", "the derivative is taken of the activation's input `{old}` where its"
         " output `{other}` belongs", on=(ast.Name, ast.Attribute), rank=4,
         example="TwoGates: (1 - self.g ** 2) -> (1 - self.c ** 2)")
def _input_in_place(p):
    value = p.array
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not p.stored and (
            not p.written and not (isinstance(p.parent, ast.Call) and p.field == "func")):
        for form in p.evidence.applied:
            yield form.format(p.name), {"other": form.format(p.name)}


rewrite("input_not_output", "`{old}` applies the activation to its own output", 4,
        "tanh(v) => v", "sigmoid(v) => v", example="RNN: h_next**2 -> np.tanh(h_next)**2")


@mistake("extra", "`{old}`: {fn} does not belong here", on=ast.Call, rank=4,
         example="RNN: np.dot(dA, Wx.T) -> np.abs(np.dot(dA, Wx.T))")
def _function_too_much(p):
    fn = called(p.node)
    if fn in ("exp", "copy", "abs") and len(p.node.args) == 1:
        yield p.node.args[0], {"fn": fn}
    if fn == "where" and len(p.node.args) == 3:
        for branch in p.node.args[1:]:
            yield branch, {"fn": fn, "rank": 6}


@mistake("input_not_output", "the derivative is taken of the activation's input, which `{own}`"
         " holds, where its output belongs", on=ast.stmt, rank=4,
         example="Sigmoid: self.out = sigmoid(x)\n        return self.out ->"
                 " self.out = x\n        return sigmoid(x)")
def _input_in_cache(p):
    """The cache holds the input of an activation under the name of its output."""
    body = p.function.node.body
    if p.parent is not p.function.node:
        return
    bound = [name_of(n) for t in getattr(p.node, "targets", ()) for n in ast.walk(t)]
    for own, value in p.scope.arrays().items():
        here = own in bound if own in p.scope.names else (
            re.fullmatch(r"self\.\w+", own) and p.node is first_statement(body))
        if not here or value.dtype.kind != "f" or own in p.scope.arguments:
            continue
        nodes: Any = ast.walk(p.function.node)
        uses = [n.lineno for n in nodes
                if name_of(n) == own and isinstance(getattr(n, "ctx", None), ast.Load)]
        for form in ("np.tanh({})", "1 / (1 + np.exp(-{}))"):
            new = statement(f"{own} = {form.format(own)}")
            both = [p.node, new] if own in p.scope.names else [new, p.node]
            if uses:
                yield both, {"own": own, "line": min(uses)}


def first_statement(body):
    """The first statement after the docstring."""
    return body[1] if len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(
        body[0].value, ast.Constant) else body[0]


@mistake("softmax_diagonal", "not the gradient times the softmax's Jacobian, which has more than a"
         " diagonal: `{new}`", on="value", rank=3,
         example="Softmax: y * (dout - np.sum(dout * y, axis=-1, keepdims=True)) ->"
                 " dout * y * (1 - y)")
def _softmax_diagonal(p):
    there = "sum(" in p.text or re.search(  # sums over rows, that stand in their columns
        r"(sum|mean)\(.*(keepdims|newaxis|None|reshape)", ast.unparse(p.function.node))
    for y, value, same in _factors(p) if not there else ():
        with np.errstate(all="ignore"):
            rows = same and value.ndim > 1 and value.dtype.kind == "f" and np.allclose(
                value.sum(-1), 1)
        if rows and y in p.held:
            for d in p.scope.arrays(value.shape):
                if d != y:
                    yield f"{y} * ({d} - np.sum({d} * {y}, axis=-1, keepdims=True))"


@mistake("softmax_diagonal", "the softmax's Jacobian has more than a diagonal: `{new}`",
         on=ast.Call, rank=2,
         example="SoftmaxByJacobian: np.diag(s) - np.outer(s, s) -> np.diag(s)")
def _jacobian_diagonal(p):
    if called(p.node) in ("diag", "diagflat") and not isinstance(p.parent, ast.BinOp):
        s = show(p.node.args[0]) if p.node.args else ""
        yield f"{p.text} - np.outer({s}, {s})"


# --- variables, weights and gates ----------------------------------------------------------------


@mistake("wrong_variable", "`{old}` stands where `{other}` belongs",
         on=(ast.Name, ast.Attribute), rank=3,
         example="GRU: dr = du * h_prev -> dr = du * h_hat")
def _another_variable(p):
    own = p.name
    value = p.array
    if own is None or (isinstance(p.parent, ast.Call) and p.field == "func") or (
            value is None and (own in p.scope.globals or (isinstance(p.parent, ast.Attribute)
                               and not _is_bound(p, own)))):
        return
    whole = p.written and isinstance(getattr(p.parent, "slice", None), ast.Constant)  # x[...] = 0
    for other, candidate in p.scope.values.items():
        if other == own or (p.stored and not isinstance(p.parent, ast.For)) or (
                isinstance(p.parent, ast.Assign) and other in map(show, p.parent.targets)):
            continue
        if not (_is_filled_for(p, other, candidate, whole) if p.written
                else _may_be_meant(p, other, candidate)):
            continue
        new: Any = other
        if p.stored:
            new = expression(other)
            new.ctx = ast.Store()
        kind, words = _exchange(p, own, other, value, candidate)
        # before the line is left out, or what nobody writes into is replaced where it is read
        yield new, {"other": other, "kind": kind, "words": words, **(
            {"rank": 0.9} if whole or (p.written and _is_unwritten(candidate)) else {})}


def _is_filled_for(p, other, candidate, whole):
    """Whether ``other`` may be meant as the array that is written into here: a gradient of as many
    axes, or any if all of it is written or rows of it are named; it has to be read later on."""
    rows = isinstance(p.parent, ast.Call)
    return isinstance(candidate, np.ndarray) and is_gradient(other, p.scope) and (
        whole or rows or p.evidence.misshapen
        or getattr(p.array, "ndim", None) == candidate.ndim) and (
        _is_read_on(p, other))


def _is_unwritten(array):
    """Whether it is as np.empty left it."""
    return array.dtype.kind == "f" and bool(np.all(np.isnan(array)))


def _may_be_meant(p, other, candidate):
    """Whether ``other`` may be meant where a name is read."""
    own, value, scope, misshapen = p.name, p.array, p.scope, p.evidence.misshapen
    if _alike(value, candidate) or (value is None and misshapen and not hasattr(builtins, own)):
        return True
    returned = isinstance(p.parent, ast.Return) or (
        isinstance(p.parent, ast.Tuple) and isinstance(p.parent.ctx, ast.Load))
    if returned and _shape(value) is not None and any(
            _shape(candidate) == g.shape for g in p.evidence.wanted.values()):
        return True
    if _shape(candidate) == () and other in scope.ignored and is_gradient(own, scope):
        return True  # the gradient of a loss, which is read nowhere
    if not isinstance(candidate, np.ndarray):
        return False
    summed = isinstance(p.parent, ast.Call) and called(p.parent) == "sum" and p.at == 0
    if other in scope.unused or (  # what is added up over the batch has more axes than its sum
            summed and is_gradient(other, scope) and candidate.ndim > getattr(value, "ndim", 9)):
        return True
    # of as many axes, another shape may come of what is wrong, or be what is wrong
    part = isinstance(p.parent, ast.Subscript) and any(
        isinstance(n, ast.Slice) for n in ast.walk(p.parent.slice))
    beside: Any = isinstance(getattr(p.parent, "op", None), ast.Mult) and scope.shape(
        getattr(p.parent, "left" if p.field == "right" else "right", p.node))
    return isinstance(value, np.ndarray) and (
        (value.ndim == candidate.ndim and (
            misshapen or part or (_is_weight(own) and _is_weight(other))
            or (other in scope.rebound and is_gradient(own, scope))))
        or (misshapen and (_is_slip(own, other) or is_gradient(other, scope)))
        or (isinstance(beside, tuple) and is_gradient(other, scope) and (  # the product stays
            None is not _together(beside, value.shape) == _together(beside, candidate.shape))))


@mistake("copied", "`{old}` stands in two places: `{new}` belongs here", on="value", rank=4,
         example="AffineByHand: dx = np.dot(dout, W.T) -> dx = np.sum(dout, axis=0)")
def _copied(p):
    those: Any = [s.value for s in ast.walk(p.function.node) if isinstance(s, ast.Assign)]
    if p.name or not isinstance(p.parent, ast.Assign) or _is_zero(p.node) or sum(
            same(p.node, value) for value in those) < 2:
        return
    shapes, arrays = {g.shape for g in p.evidence.wanted.values()}, p.scope.arrays()
    given = {k: v for k, v in arrays.items() if is_gradient(k, p.scope)}
    yield from (k for k, v in given.items() if v.shape in shapes)
    for d, g in given.items():
        if g.ndim == 2 and g.shape[1:] in shapes:
            yield f"np.sum({d}, axis=0)"
        for k, v in arrays.items() if g.ndim == 2 else ():
            if v.ndim == 2 and (len(g), len(v)) in shapes and g.shape[1] == v.shape[1]:
                yield f"np.dot({d}, {k}.T)"
            if v.ndim == 2 and (v.shape[1], g.shape[1]) in shapes and len(v) == len(g):
                yield f"np.dot({k}.T, {d})"


def _is_slip(own, other):
    """Whether two names differ in one letter."""
    return len(own) == len(other) > 1 and sum(map(operator.ne, own, other)) == 1


def _is_bound(p, name):
    """Whether the function gives a value to a name: self and np have one from elsewhere."""
    nodes: Any = ast.walk(p.function.node)
    return any(name_of(n) == name and isinstance(n.ctx, ast.Store) for n in nodes
               if isinstance(n, (ast.Name, ast.Attribute)))


@mistake("path_dropped", "the gradient of the state is thrown away: `{new}` belongs where `{old}`"
         " stands", on=ast.Name, rank=3,
         example="TimeRNN: dx, dh = layer.backward(dhs[:, t, :] + dh)"
                 " -> dx, _ = layer.backward(dhs[:, t, :] + dh)")
def _state_thrown_away(p):
    if not (p.stored and p.inside and isinstance(p.parent, ast.Tuple)):
        return
    names: Any = [n for n in ast.walk(p.function.node) if isinstance(n, ast.Name)]
    inside = looped(p.function.node)
    there = [n for n in names if n in inside]
    read = {n.id for n in there if isinstance(n.ctx, ast.Load)}
    bound = {n.id for n in there if isinstance(n.ctx, ast.Store)}
    if p.node.id in {n.id for n in names if isinstance(n.ctx, ast.Load)}:
        return
    # read in each step, and never anything but what it begins with
    for other in dict.fromkeys(n.id for n in names if isinstance(n.ctx, ast.Store)):
        if other in read - bound and is_gradient(other, p.scope):
            new = expression(other)
            new.ctx = ast.Store()
            yield new, {"new": other}


def _is_read_on(p, name):
    """Whether what is written into an array here is read later, by this name or by another one of
    the same memory, or is one of the grads; else that would be to leave it out."""
    array = p.scope.values[name]
    nodes: Any = [n for n in ast.walk(p.function.node) if isinstance(n, (ast.Name, ast.Attribute))
                  and (p.inside or n.lineno > p.node.lineno)]
    held = [p.scope.values.get(name) for name in ("self.grads", *map(name_of, nodes)) if name]
    return "." in name or any(np.may_share_memory(a, array) for x in held for a in (
        x if isinstance(x, (list, tuple)) else [x]) if isinstance(a, np.ndarray))


def _alike(a, b):
    """Whether ``b`` may be meant where ``a`` stands."""
    if a is None or isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple, np.ndarray))
    return _shape(a) == _shape(b)


def _exchange(p, own, other, value, candidate):
    """Kind and words for: ``own`` stands where ``other`` belongs."""
    if isinstance(value, np.ndarray) and isinstance(candidate, np.ndarray) and (
            value.shape == candidate.shape and value.dtype.kind == candidate.dtype.kind == "f"):
        with np.errstate(all="ignore"):
            if any(np.allclose(f(value), candidate) for f in (
                    np.tanh, lambda a: 1 / (1 + np.exp(-a)))):
                return "input_not_output", ("the derivative is taken of the activation's input"
                                            " `{old}` where its output `{other}` belongs")
    if _left_over(p, own, other):
        return "wrong_variable", ("`{old}` is left over from an earlier loop: its last value is"
                                  " used again and again, where `{other}`, which this loop binds,"
                                  " belongs")
    if _is_weight(own) and _is_weight(other):
        return "wrong_gate", "the weight `{old}` stands where `{other}` belongs"
    if _is_gate(own) and _is_gate(other):
        return "wrong_gate", "the wrong gate: `{old}` stands where `{other}` belongs"
    if p.stored:
        return "wrong_variable", ("the loop binds `{old}` and its body reads another variable,"
                                  " which is left over from before: `{other}` is meant")
    if other.endswith(".grads"):
        return "not_added", ("`{old}` stands where `{other}` belongs: the gradients of the step are"
                             " not added")
    handed = (isinstance(p.parent, ast.Call) and called(p.parent) == "backward") or isinstance(
        p.parent, (ast.Return, ast.Tuple))
    if handed and is_gradient(other, p.scope) and not is_gradient(own, p.scope):
        return "state_returned", "the state `{old}` is handed on where the gradient `{other}`" \
                                 " belongs"
    return "wrong_variable", "`{old}` stands where `{other}` belongs"


def _left_over(p, own, other):
    """Whether ``own`` is the variable of another loop and ``other`` that of the loop around."""
    def binds(loops, name):
        return any(name in _loop_names(loop) for loop in loops)

    every: Any = ast.walk(p.function.node)
    others = [n for n in every if isinstance(n, ast.For) and n not in p.loops]
    return binds(p.loops, other) and binds(others, own) and not binds(p.loops, own)


def _is_weight(name):
    bare = name.removeprefix("self.")
    return bare[:1] in "WU" and not bare.startswith("d")


def _is_gate(name):
    bare = name.removeprefix("self.").removeprefix("d").removeprefix("A_").removeprefix("h_")
    return bare.strip("_") in {
        "f", "g", "i", "o", "z", "r", "hat", "n", "c", "forget", "input", "output", "gate", "t",
        "u", "A_z", "A_r", "A_h", "A_f", "A_g", "A_i", "A_o"}


@mistake("wrong_variable", "`{own}` stands where `{other}` belongs, each time in `{old}`",
         on="value", rank=3, example="LSTM: df * f * (1.0 - f) -> df * i * (1.0 - i)")
def _another_variable_everywhere(p):
    arrays = p.scope.arrays()
    held = p.held
    for own in {h for h in held if h in arrays and held.count(h) > 1}:
        for other in p.scope.arrays(arrays[own].shape):
            if other != own:
                word = rf"(?<![\w.]){re.escape(own)}(?!\w)"
                kind, words = _exchange(p, own, other, arrays[own], arrays[other])
                yield re.sub(word, other, p.text), {
                    "old": own, "own": own, "other": other, "kind": kind, "words": words}


@mistake("wrong_gate", "the wrong gate: `{a}` and `{b}` stand in each other's place",
         on=(ast.Tuple, ast.List, ast.Call), rank=2,
         example="GRU: dz * z * (1.0 - z), dr * r * (1.0 - r) ->"
                 " dr * r * (1.0 - r), dz * z * (1.0 - z)")
def _exchanged(p):
    axes = isinstance(p.node, ast.Call) and called(p.node) == "transpose"
    items = "args" if axes else "elts"
    elements = getattr(p.node, items, ())
    if not 2 <= len(elements) <= 6 or isinstance(p.parent, ast.Subscript):
        return
    values: dict[str, Any] = {} if any(_is_gate(n) for n in p.held if n) else {
        "kind": "wrong_variable", "words": "`{a}` and `{b}` stand in each other's place"}
    if isinstance(p.parent, ast.Return):
        values = {"kind": "returned_order",
                  "words": "`{a}` and `{b}` are returned in each other's place"}
    elif not axes and isinstance(p.node.ctx, ast.Store):
        called_for = isinstance(getattr(p.parent, "value", None), ast.Call)
        values = {"kind": "wrong_variable", "rank": 1.2 if called_for else 4,
                  "words": "`{a}` and `{b}` are unpacked in each other's place"}
    for i, j in itertools.combinations(range(len(elements)), 2):
        swapped = list(elements)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        a, b = show(swapped[j]), show(swapped[i])
        if a != b:
            yield like(p.node, **{items: swapped}), {"a": a, "b": b, **values, **(
                _AXES if number(swapped[i]) is not None else {})}


_AXES = {"kind": "axis", "words": "the axes {a} and {b} stand in each other's place"}


@mistake("wrong_gate", "the block of the wrong gate: `{old}` where `{new}` belongs",
         on=ast.Subscript, rank=3, example="GRU: dA_zr, Wh[:, : 2 * H].T -> dA_zr, Wh[:, H:].T")
def _another_block(p):
    tree = p.function.node
    slices = getattr(tree, "slices", None)
    if slices is None:
        slices = tree.slices = {
            ast.unparse(n.slice): n.slice for n in ast.walk(tree) if isinstance(n, ast.Subscript)
            and any(isinstance(s, ast.Slice) and (s.lower or s.upper) for s in ast.walk(n.slice))}
    own = ast.unparse(p.node.slice)
    bounded = [n for n in ast.walk(p.node.slice)
               if getattr(n, "lower", None) and getattr(n, "upper", None)]
    if own in slices and len(bounded) < 2:  # else a window, not the block of a gate
        for text, other in slices.items():
            if text != own and p.node not in ast.walk(other):
                yield like(p.node, slice=other)
        for other in _the_rest(p.node.slice):
            if ast.unparse(other) not in slices:
                yield like(p.node, slice=other)
        inner = own[1:-1] if isinstance(p.node.slice, ast.Tuple) else own
        for form, new in ((r"(\w[\w.]*):\((\w+) \+ 1\) \* \1", r"\2 * \1:(\2 + 1) * \1"),
                          (r"(\w+) \* (\w[\w.]*):\2", r"\1 * \2:(\1 + 1) * \2")):
            text = re.sub(rf"(?<![\w*] )\b{form}(?![\w.])", new, inner)  # the block of one of many
            if text != inner:
                yield like(p.node, slice=expression(f"_[{text}]").slice), {"rank": 1}
        two = re.fullmatch(r"(:, )?(:? ?)H(:?)", inner)
        if two:  # the block of two gates, which may stand nowhere else
            lead = two.group(1) or ""
            for text in (f"{lead}:2 * H", f"{lead}2 * H:"):
                if text not in slices and f"({text})" not in slices:
                    yield like(p.node, slice=expression(f"_[{text}]").slice)


def _the_rest(index):
    """What lies beside a block: ``n:`` for ``:n``, ``:m`` and ``n:`` for ``m:n``."""
    if isinstance(index, ast.Slice) and index.step is None:
        both = (None, index.lower), (index.upper, None)
        return [ast.Slice(*ends) for ends in both if any(ends)]
    if isinstance(index, ast.Tuple):
        return [ast.Tuple([*index.elts[:k], rest, *index.elts[k + 1 :]], ast.Load())
                for k, part in enumerate(index.elts) for rest in _the_rest(part)]
    return []


rewrite("complement", "`{old}` stands where `{new}` belongs", 3, "1 - v => v", unless="1 - v ** n",
        example="LSTM: dc_prev = dc * f -> dc_prev = dc * (1 - f)")


@mistake("complement", "`{old}` stands where `{new}` belongs", on=(ast.Name, ast.Attribute), rank=3,
         example="GRU: dh_next * (1.0 - z) -> dh_next * z")
def _complement(p):
    if isinstance(p.array, np.ndarray) and p.array.dtype.kind == "f" and not p.stored and (
            not is_gradient(p.name, p.scope)) and (isinstance(p.parent, ast.BinOp) or (
                isinstance(p.parent, ast.Call) and called(p.parent) == "multiply")):
        yield f"(1 - {p.text})"


@mistake("wrong_index", "`{old}` stands where `{new}` belongs", on=ast.Subscript, rank=2,
         example="RNN: x, h_prev, h_next = self.cache\n\n -> x, h_prev, h_next = self.cache[0],"
                 " self.cache[0], self.cache[2]\n\n")
def _another_index(p):
    if isinstance(p.node.slice, ast.Constant) and isinstance(p.node.slice.value, int):
        base = ast.unparse(p.node.value)
        slot = {"kind": "slot", "words": "`{old}` is the slot of another parameter: `{new}`"
                " belongs here"} if "grads" in base or "params" in base else {}
        for other in range(6):
            if other != p.node.slice.value:
                yield like(p.node, slice=ast.Constant(other)), dict(slot)


@mistake("wrong_index", "`{old}` is a step off: `{new}` belongs here", on=ast.Subscript, rank=2,
         example="TimeRNN: dhs[:, t, :] -> dhs[:, t - 1, :]")
def _step_off(p):
    index = p.node.slice
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    for t in _indices(p) if p.inside else ():
        steps = {form: expression(form) for form in (t, f"{t} - 1", f"{t} + 1")}
        for k, part in enumerate(parts):
            for form, other in steps.items() if ast.unparse(part) in steps else ():
                if form != ast.unparse(part):
                    new = like(index, elts=[*parts[:k], other, *parts[k + 1 :]]) if isinstance(
                        index, ast.Tuple) else other
                    yield like(p.node, slice=new), {"rank": 2 if form == t else 3}


@mistake("into_parameter", "`{old}` is written into: that is the parameter itself, its gradient"
         " belongs into `{new}`", on=ast.Attribute, rank=1,
         example="RNN: self.grads[2][...] = -> self.params[2][...] =")
def _into_parameter(p):
    if p.node.attr == "params" and isinstance(p.parent, ast.Subscript):
        yield like(p.node, attr="grads")


@mistake("number", "the number {old} stands where {new} belongs", on=ast.Constant, rank=3,
         example="RNN: h_next**2 -> h_next**3")
def _another_number(p):
    value, kind = p.node.value, type(p.node.value)
    if kind in (int, float) and not isinstance(p.parent, (ast.Subscript, ast.Slice, ast.UnaryOp)):
        said = {"kind": "axis", "words": "axis={old} where axis={new} belongs"} if isinstance(
            p.parent, ast.keyword) and p.parent.arg == "axis" else {}
        if isinstance(p.parent, ast.Call) and getattr(p.parent.func, "id", "") == "range":
            said = {"kind": "steps", "words": "`{whole}` misses time steps",
                    "whole": show(p.parent)}
        term = isinstance(p.parent, ast.BinOp) and isinstance(p.parent.op, (ast.Mult, ast.Div))
        for other in range(term, 6) if kind is int else (0.5, 1.0, 2.0, 3.0):
            if other != value:
                yield ast.Constant(other), dict(said)


# --- paths and factors that are missing ----------------------------------------------------------


rewrite("wrong_branch", "`{new}` belongs here, always, where `{old}` stands", 4,
        "a if c else b => a", "a if c else b => b",
        example="TimeRNN: dh: Any = 0 -> dh = 0 if self.dh is None else self.dh")


@mistake("none", "None stands where `{new}` belongs", on=ast.Constant, rank=2,
         example="RNN: return dx, dh_prev -> return dx, None")
def _none(p):
    if p.node.value is None:
        shapes = {g.shape for g in p.evidence.wanted.values()}
        yield from (k for k, v in p.scope.arrays().items() if v.shape in shapes)


@mistake("path_dropped", "a path of the gradient is dropped: 0 stands where `{new}` belongs",
         on=ast.Constant, rank=4, example="TimeLSTM: dhs[:, t, :] + dh, dc -> dhs[:, t, :] + dh, 0")
def _zero_for_path(p):
    if p.node.value == 0 and not isinstance(p.node.value, bool) and (
            not isinstance(p.parent, (ast.Subscript, ast.Slice, ast.keyword))):
        begins = _begins(p)
        whole = {"rank": 2} if not begins and isinstance(p.parent, ast.Assign) and isinstance(
            p.parent.targets[0], ast.Name) else {}
        into = {name_of(n) for t in getattr(p.parent, "targets", ()) for n in ast.walk(t)}
        yield from ((k, dict(whole)) for k, v in p.scope.values.items() if isinstance(
            v, (np.ndarray, float)) and k.removeprefix("self.").startswith("d")
            and k not in into and (not begins or k in p.scope.arguments))


def _begins(p):
    """Whether a sum, or what a loop hands on from step to step, begins with a number."""
    nodes: Any = list(ast.walk(p.function.node))
    later = {ast.unparse(n.target) for n in nodes if isinstance(n, ast.AugAssign)}
    later |= bound_in(n for n in nodes if isinstance(n, ast.For) and not p.inside)
    of: Any = [(s, t) for s in nodes if isinstance(s, ast.Assign) and p.parent in (s, s.value)
               for t in s.targets]
    targets = [t if s is p.parent else t.elts[p.at] for s, t in of
               if s is p.parent or (isinstance(t, ast.Tuple) and p.at < len(t.elts))]
    return any(ast.unparse(t) in later for t in targets)


@mistake("dout_ignored", "1 stands where `{new}` belongs: it is ignored", on=ast.Constant, rank=4,
         example="RNN: dA = dh_next * -> dA = 1 * ")
def _one_for_dout(p):
    if p.node.value == 1 and not isinstance(p.node.value, bool) and (
            not isinstance(p.parent, (ast.Subscript, ast.Slice, ast.keyword))):
        yield from (k for k, v in p.scope.values.items() if isinstance(v, (np.ndarray, float)))


@mistake("path_dropped", "a path of the gradient is dropped: `{other}` is not added to `{old}`",
         on="value", rank=2, example="TimeRNN: dhs[:, t, :] + dh -> dhs[:, t, :]")
def _term_missing(p):
    if isinstance(p.parent, (ast.Assign, ast.AugAssign)) and "shape" in p.text:
        return
    terms = [k for k, _, same in _factors(p) if same and is_gradient(k, p.scope)]
    shape = p.scope.shape(p.node) if p.evidence.misshapen else None
    terms += [k for k, v in p.scope.arrays().items() if shape and is_gradient(k, p.scope)
              and shape != _together(shape, v.shape) == v.shape and any(
                  v.shape == g.shape for g in p.evidence.wanted.values())]
    if p.inside:  # of a gradient of all steps that of one
        terms += [f"{k}[{at}{t}]" for k, v in p.scope.arrays().items() if v.ndim == 3
                  and k in p.scope.arguments for t in _indices(p) for at in (":, ", ":, :, ")]
    for other in terms:
        if other != p.text and not (isinstance(p.parent, ast.BinOp) and "[" in other):
            yield _plus(p, other, "[" not in other and (p.inside or other.endswith("next")))


@mistake("path_dropped", "the path through the next time step is dropped: what a step gives for"
         " the one before it is not handed on, `{new}`", on=ast.Assign, rank=2,
         example="StepsInDicts: g = self.step_back(dhs[:, t] + dh, t)\n"
                 "            dh = g[\"dh\"] -> g = self.step_back(dhs[:, t], t)")
def _not_handed_on(p):
    """Where a step gives a dict, and what the loop begins with is never another."""
    call: Any = p.node.value
    if p.at is None or not p.loops or not isinstance(call, ast.Call) or not isinstance(
            p.node.targets[0], ast.Name) or not p.evidence.wanted:
        return
    made, arrays = p.node.targets[0].id, p.scope.arrays()
    bound = bound_in(p.loops[-1].body)
    begun = [n for n in arrays if n in p.scope.names and n not in bound and n not in (
        p.scope.arguments) and not np.any(arrays[n]) and n in bound_in(p.function.node.body)]
    keys = _keys_given(call, p.scope)
    states = {n: near[0] for n in begun if (near := difflib.get_close_matches(n, keys, 1, 0.75))}
    read = {n.id for n in ast.walk(p.loops[-1]) if isinstance(n, ast.Name)}
    new, added = call, list[str]()
    for n in states:
        for i, a in enumerate(call.args) if n not in read else ():
            if p.scope.shape(a) == arrays[n].shape and not added:
                text = f"{ast.unparse(a)} + {n}"
                new = like(call, args=[*call.args[:i], expression(text), *call.args[i + 1:]])
                added = [n]
    handed = {n: k for n, k in states.items() if n in read or n in added}
    if handed:
        lines = [statement(f"{n} = {made}[{k!r}]") for n, k in handed.items()]
        yield [like(p.node, value=new) if added else p.node, *lines], {"new": show(lines)}


def _keys_given(call, scope):
    """The keys of the dict that a function which is called makes."""
    of: Any = call.func
    fn = getattr(scope.value(of.value), of.attr, None) if isinstance(of, ast.Attribute) else (
        scope.globals.get(getattr(of, "id", None)))
    nodes: Any = [*ast.walk(node_of(fn) or ast.Module([], []))]
    keys = [k for n in nodes if isinstance(n, ast.Dict) for k in n.keys] + [
        n.slice for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    return [k.value for k in keys if isinstance(k, ast.Constant) and type(k.value) is str]


def _plus(p, term, through_time):
    return f"{p.text} + {term}", {
        "other": term, "scaled": lambda factor: _plus(p, f"{term} {factor}", through_time), **({
            "words": "the path through the next time step is dropped: `{other}` is not added to"
                     " `{old}`"} if through_time else {})}


def _indices(p):
    """The variables of the loops around."""
    return [loop.target.id for loop in p.loops
            if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name)]


@mistake("term", "`{other}` is not added to `{old}`", on=(ast.Name, ast.Attribute), rank=4,
         example="Normed: (self.var + self.eps)\n        return dout / -> (self.var)\n"
                                     "        return dout /")
def _epsilon_missing(p):
    if isinstance(p.array, np.ndarray) and isinstance(
            getattr(p.parent, "op", p.parent), (ast.Div, ast.Pow, ast.Call)):
        for other, value in p.scope.values.items():
            if isinstance(value, float) and 0 < value < 1e-2:
                yield f"({p.text} + {other})", {"other": other}


@mistake("term", "`{old}` stands where `{new}` belongs", on=(ast.Name, ast.Attribute), rank=4,
         example="Standard: dout * (x - mu) -> dout * x")
def _difference_missing(p):
    seen = set()
    for n in ast.walk(p.function.node):
        if isinstance(n, ast.BinOp) and isinstance(n.op, (ast.Add, ast.Sub)) and same(
                n.left, p.node) and not same(n, p.parent):
            seen.add(ast.unparse(n))
    yield from (f"({text})" for text in sorted(seen))


@mistake("missing_factor", "the factor `{other}` is missing in `{old}`", on="value", rank=4,
         example="LSTM: dc_prev = dc * f -> dc_prev = dc")
def _factor_missing(p):
    if isinstance(p.parent, (ast.Assign, ast.AugAssign)) and re.search(r"shape|\blen\(", p.text):
        return  # a size
    for other, value, same in _factors(p):
        if is_label(other.removeprefix("self.")):
            continue  # it chooses, and is no factor
        yield _product(p, other), {"other": other, **_factor_words(p, other, value)}
        if same and value.dtype.kind == "f" and not is_gradient(other, p.scope):
            half = {"rank": 3, "kind": "missing_derivative"} if other in p.held else {}
            yield _product(p, f"(1 - {other})"), {"other": f"(1 - {other})", **half}
            yield _product(p, f"np.tanh({other})"), {"other": f"np.tanh({other})"}
    shape = p.scope.shape(p.node) if p.evidence.misshapen or isinstance(
        p.parent, ast.Assign) else None
    if isinstance(p.node, ast.Attribute) and p.node.attr == "T":
        base, scope = ast.unparse(p.node.value), p.scope
        for other in scope.arrays(scope.shape(p.node.value) or ()):
            yield f"({other} * {base}).T", {"other": other, "old": base}
    larger = shape or (shape is not None and is_gradient(p.text, p.scope))
    wanted = {g.shape for g in p.evidence.wanted.values()} if p.evidence.misshapen else ()
    for other, value in p.scope.arrays().items() if larger else ():
        made = _together(shape, value.shape)
        if made == value.shape or (made != shape and made in wanted):
            yield _product(p, other), {"other": other, "rank": 4 if p.evidence.misshapen else 5}
    for other, value in p.scope.values.items():
        if isinstance(value, (float, np.floating)):
            named = {"kind": "mask_scale", "words": "the scale `{other}` is left out of `{old}`"}
            if is_gradient(other, p.scope):
                named = {}
            if other in p.scope.arguments:
                named = {"kind": "dout_ignored", "words": _IGNORED}
            yield _product(p, other), {"other": other, "rank": 3, **named}


_IGNORED = "`{other}` is ignored: `{old}` is not multiplied with it"


def _factor_words(p, other, value):
    if other in p.scope.arguments:
        return {"kind": "dout_ignored", "words": _IGNORED, "rank": 2}
    if "mask" in other or _is_mask(value):
        return {"kind": "mask", "words": "the mask `{other}` is not applied to `{old}`", "rank": 2}
    return {}


@mistake("mask", "`{new}` is missing: what a mask leaves out is not set to zero", on=ast.stmt,
         rank=4, example="TimeSoftmaxWithLoss: dx[~mask] = 0\n -> pass\n")
def _rows_not_masked(p):
    if p.at is None or p.node is first_statement(p.function.node.body):
        return
    for mask, chosen in p.scope.arrays().items():
        if chosen.dtype.kind == "b":
            for array, value in p.scope.arrays().items():
                rows = value.shape[: chosen.ndim] == chosen.shape or (  # or they are put in one
                    value.ndim > 1 and value.size == chosen.size * value.shape[-1])
                if value.dtype.kind == "f" and rows and is_gradient(array, p.scope):
                    for which in (f"~{mask}", mask):
                        new = statement(f"{array}[{which}] = 0")
                        yield [new, p.node], {"new": show(new), "rank": 4 - p.at / 100}


@mistake("path_dropped", "a path of the gradient is dropped: `{form}` is not added to `{old}`",
         on="value", rank=LATE, example="GRU: du * r + dh_next * (1.0 - z) -> du * r")
def _product_missing(p):
    if not isinstance(p.parent, (ast.Return, ast.Assign, ast.Tuple)):
        return
    scope = p.scope
    arrays = {k: v for k, v in scope.arrays().items() if v.ndim > 1}
    target = scope.values.get(name_of(p.parent.targets[0]) or "") if isinstance(
        p.parent, ast.Assign) else None
    for d in (k for k in arrays if is_gradient(k, scope)):
        if isinstance(target, np.ndarray) and target.shape != arrays[d].shape:
            continue
        for other, value in arrays.items():
            if value.shape == arrays[d].shape and other != d:
                for form in (f"{d} * {other}", f"{d} * (1 - {other})"):
                    yield f"{p.text} + {form}", {"form": form}
                yield f"{p.text} - {d} * {other}", {"form": f"-{d} * {other}"}
    if isinstance(p.node, ast.Name) and isinstance(p.parent, ast.Assign):
        for d, v, w in itertools.product(scope.arguments, arrays, arrays):
            if d in arrays and arrays[d].shape == arrays[v].shape == arrays[w].shape:
                form = f"{d} * {v} * (1 - {w} ** 2)"
                yield f"{p.text} + {form}", {"form": form}


@mistake("path_dropped", "a path of the gradient is dropped: `{new}` is missing", on=ast.stmt,
         rank=LATE, example="TwoProducts: dx += db @ B.T -> pass")
def _product_left_out(p):
    """A path through a matrix, in a line of its own."""
    if p.at is None or isinstance(p.node, ast.Return):
        return
    arrays = p.scope.arrays()
    read: Any = {n.id for s in getattr(p.parent, p.field)[p.at + 1:] for n in ast.walk(s)
                 if isinstance(n, ast.Name)}
    given = {k: v.shape for k, v in arrays.items() if is_gradient(k, p.scope) and v.ndim == 2}
    for d, (rows, columns) in given.items():
        for W, w in arrays.items() if d in bound_in([p.node]) else ():
            if w.ndim == 2 and w.shape[1] == columns and not is_gradient(W, p.scope):
                for into in (k for k in given.keys() & read if given[k] == (rows, len(w))):
                    new = f"{into} += np.dot({d}, {W}.T)"
                    yield [p.node, statement(new)], {"new": new}


@mistake("line_missing", "`{other}` is computed and used nowhere: `{new}` is missing", on=ast.stmt,
         rank=4, example="Shared: dx -= self.x * total\n -> pass\n")
def _line_missing(p):
    block = getattr(p.parent, p.field)
    after = block[p.at + 1:] if p.at is not None else []
    read: Any = {n.id for s in after for n in ast.walk(s) if isinstance(n, ast.Name)}
    arrays = p.scope.arrays()
    for u, t in itertools.product(p.scope.ignored & arrays.keys(),
                                  bound_in([p.node]) & arrays.keys() & read):
        shape = arrays[t].shape  # the gradient of the last step
        if (shape[:1], shape[2:]) == (arrays[u].shape[:1], arrays[u].shape[1:]):
            text = f"{t}[:, -1] = {u}"
            yield [p.node, statement(text)], {"other": u, "new": text, "words": (
                "`{other}` is used nowhere: `{new}` is missing")}
    for u in p.scope.unused & bound_in([p.node]) & arrays.keys() - bound_in(after):
        for t in (n for n in read & arrays.keys() if is_gradient(n, p.scope)):
            shape, new = arrays[t].shape, list[str]()
            if shape == arrays[u].shape:
                factors = [f.format(v) for v in p.scope.arrays(shape) if not is_gradient(v, p.scope)
                           for _, f in _DERIVATIVES]
                new += [f"{t} = {u}", *(f"{t} = {u} * {f}" for f in factors)]
            terms = [f"{v} * {u}" for v, a in arrays.items() if v not in (t, u)
                     and a.shape in (shape, arrays[u].shape)] if _broadcasts(
                         shape, arrays[u].shape) else []
            new += [f"{t} {op}= {term}" for term in (u, *terms) for op in "+-"]
            for text in new:
                yield _line_after(p, u, text)


def _line_after(p, u, text):
    return [p.node, statement(text)], {
        "other": u, "new": text, "scaled": lambda factor: _line_after(p, u, f"{text} {factor}")}


@mistake("not_added", "`{into}` is added up nowhere: `{new}` is missing in the loop", on=ast.stmt,
         rank=3, example="StepSum: g += step -> pass")
def _sum_left_out(p):
    if not p.inside or p.at is None:
        return
    scope, shapes, new = p.scope, {g.shape for g in p.evidence.wanted.values()}, list[Any]()
    own = scope.values.get("self.grads")
    stored = own if isinstance(own, list) and not p.loops[1:] else []  # no sums of steps
    added = {name_of(n) for s in ast.walk(p.function.node) if isinstance(s, ast.AugAssign)
             for n in ast.walk(s.target)}
    counted = {k for loop in p.loops for k in _loop_names(loop) if _shape(scope.names.get(k)) == ()}
    none = {k: v for k, v in scope.names.items() if k not in added | counted
            and _are_zero(v) and not any(v is g for g in stored)}
    pairs = [[*map(show, loop.target.elts)] for loop in p.loops if isinstance(
        getattr(loop, "target", None), ast.Tuple) and len(_loop_names(loop)) == 2]
    terms = {k: v for k, v in scope.arrays().items() if k in scope.names}
    parts = {k: v for k, v in scope.values.items() if k.endswith(".grads") and v is not own}
    terms |= {f"{k}[{n}]": g for k, gs in parts.items() for n, g in enumerate(gs)}
    i, g = _new_names(scope)
    for into, zero in none.items():
        if isinstance(zero, list):
            new += [(f"{into}[{k}]", f"{into}[{k}] += {v}") for k, v in pairs]
            new += [(into, f"for {i}, {g} in enumerate({k}): {into}[{i}] += {g}")
                    for k, gs in parts.items() if len(gs) == len(zero)]
        new += [(into, f"{into} += {term}") for term, v in terms.items()
                if _shape(v) in (shapes if _shape(zero) == () else [_shape(zero)])]
    for into, text in new:
        add = statement(text)
        empty = isinstance(p.node, ast.Pass)
        yield [add] if empty else [p.node, add], {
            "into": into, "new": text, "rank": 3 - empty}


def _new_names(scope: Scope):
    """Names for a number and a gradient that a function does not have yet."""
    return (next(n for n in names if n not in scope.names) for names in (
        ("i", "k", "_i"), ("g", "grad", "_g")))


def _are_zero(value):
    """Whether a number, an array, or each of a list of such is zero."""
    if isinstance(value, list):
        return bool(value) and all(map(_are_zero, value))
    return _shape(value) is not None and not isinstance(value, bool) and not np.any(value)


@mistake("label", "the label `{other}` is not subtracted from `{old}`",
         on=(ast.Name, ast.Attribute), rank=3,
         example="SigmoidWithLoss: self.y - self.t -> self.y")
def _label_missing(p):
    own = p.scope.value(p.node)
    if not isinstance(own, np.ndarray) or own.dtype.kind != "f" or not own.ndim or (
            p.stored or p.written or not isinstance(p.parent, (ast.Assign, ast.BinOp, ast.Return))):
        return
    for other, value in p.scope.values.items():
        if not isinstance(value, np.ndarray) or other in p.held:
            continue
        ids = value.dtype.kind in "iu"
        if value.shape == own.shape and (ids or set(value.ravel()) <= {0, 1}):
            yield f"({p.text} - {other})", {"other": other}
        if value.shape == own.shape[:-1] and ids and value.ndim:
            yield f"({p.text} - {_one_hot(other, p.text)})", {"other": other}


@mistake("label", "`{old}` holds ids: of each, the row of a one-hot label is to be subtracted,"
         " `{new}`", on=(ast.Name, ast.Attribute), rank=2,
         example="IdsLoss: self.y - np.eye(self.y.shape[1])[self.t] -> self.y - self.t")
def _ids_subtracted(p):
    if isinstance(getattr(p.parent, "op", None), ast.Sub) and p.field == "right" and (
            isinstance(p.array, np.ndarray) and p.array.dtype.kind in "iu" and p.array.ndim):
        yield _one_hot(p.text, ast.unparse(p.parent.left))


def _one_hot(ids: str, beside: str):
    return f"np.eye({beside}.shape[-1])[{ids}]"


@mistake("label", "the label is not subtracted: `{new}` is missing", on=ast.Assign, rank=4,
         example="SoftmaxWithLoss: dx[np.arange(N), self.t] -= 1\n -> pass\n")
def _label_left_out(p):
    target, value = p.node.targets[0], p.scope.value(p.node.value)
    shape = _shape(p.scope.value(target) if value is None else value) or ()
    if len(shape) != 2 or not (isinstance(target, ast.Name) and is_gradient(target.id, p.scope)):
        return
    for other, ids in p.scope.values.items():
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.shape == shape[:1]:
            new = f"{target.id}[np.arange(len({other})), {other}] -= 1"
            yield [p.node, statement(new)], {"new": new}


@mistake("number", "the factor {factor} is missing in `{old}`", on="value", rank=5.5,
         example="Squared: 2 * (dout * self.x) -> dout * self.x")
def _number_missing(p):
    if isinstance(p.parent, (ast.Assign, ast.AugAssign, ast.BinOp)) and "shape" not in p.text:
        for factor in ("2", "0.5"):
            yield f"{factor} * {_operand(p)}", {"factor": factor}


@mistake("scaling", "the size `{other}` is missing: `{new}` belongs here", on="value", rank=5,
         example="Spread: @ dout / N -> @ dout")
def _size_missing(p):
    if isinstance(p.parent, (ast.Assign, ast.AugAssign, ast.BinOp)) and "shape" not in p.text:
        for other, value in p.scope.names.items():
            if type(value) is int and value > 1 and other not in p.held:
                yield f"{_operand(p)} / {other}", {"other": other}
                yield _product(p, other), {"other": other}


# --- scale ---------------------------------------------------------------------------------------


@mistake("scaling", "scaling is forgotten or wrong in `{old}`: the gradient is {ratio} times what"
         " it should be", on="value", rank=1, example="RNN: np.dot(x.T, dA) ->"
                                                      " np.dot(x.T, dA) / len(self.grads[0])")
def _scale(p):
    for ratio, words in p.evidence.ratios.items():
        masks = [k for k, v in p.scope.arrays().items()
                 if _is_mask(v) and np.isclose(v.max(), ratio)]
        if masks:
            yield f"({p.text}) * {ratio!r}", {
                "mask": masks[0], "kind": "mask_scale", "rank": 0,
                "words": "the scale of the mask `{mask}` is left out of `{old}`"}
        both = {"rank": 6.5} if ratio < 0 else {}  # a sign and a size: rather two mistakes than one
        for factor in _as_sizes(ratio, p.scope):
            yield f"{_operand(p)} {factor}", {"ratio": words, **both}
        for name in p.scope.arguments:  # a mean, and the dout that it is multiplied with
            dout = p.scope.values.get(name)
            if isinstance(dout, (float, np.floating)) and dout:
                for factor in list(_as_sizes(ratio / dout, p.scope))[:-1]:
                    yield f"{_operand(p)} * {name} {factor}", {"ratio": words, "rank": 3.5}


@mistake("scaling", "scaling is forgotten behind `{old}`: the gradient is {ratio} times what it"
         " should be", on=ast.AugAssign, rank=1.5,
         example="ProbsEdited: d[rows, t] -= dout\n        d /= len(t) -> d[rows, t] -= dout")
def _scale_behind(p):
    """Behind what is written into a part of an array, all of it."""
    name = name_of(getattr(p.node.target, "value", None))
    for ratio, words in p.evidence.ratios.items() if name and p.at is not None else ():
        for factor in _as_sizes(ratio, p.scope):
            yield [p.node, statement(f"{name} {factor.replace(' ', '= ', 1)}")], {"ratio": words}


def _as_sizes(ratio, scope: Scope):
    """A factor as text, by each size that can be named in the function and is it, by a number that
    has a name there, and at last by its number: at other sizes only one of them is right."""
    found: dict[Any, str] = {}
    named = {k: v for k, v in scope.values.items() if isinstance(v, float)
             and k not in scope.arguments and v != 0.5}  # it, or 1 - it?
    for name, value in (named | {f"(1 - {k})": 1 - v for k, v in named.items()}).items():
        if value > 0 and min(abs(ratio - value), abs(ratio * value - 1)) < 1e-6:
            found[name] = f"* {name}" if abs(ratio - value) < 1e-6 else f"/ {name}"
    for name, value in scope.arrays().items():
        if value.dtype.kind == "b" and abs(ratio * value.sum() - 1) < 1e-6:
            found[name] = f"/ {name}.sum()"
    for name, n in scope.names.items():
        if type(n) is int and n > 1 and abs(ratio * n - 1) < 1e-6:
            found[name] = f"/ {name}"
        if type(n) is int and n > 1 and abs(ratio - n) < 1e-6 * n:
            found[name] = f"* {name}"
    # what is no gradient is there at every line
    arrays = sorted(scope.arrays().items(), key=lambda a: is_gradient(a[0], scope))
    for (name, value), less in itertools.product(arrays, (0, 1)):
        for k, n in enumerate(value.shape):
            size = f"({name}.shape[{k}] - 1)" if less else f"{name}.shape[{k}]"
            if n - less > 1 and abs(ratio * (n - less) - 1) < 1e-6:
                found.setdefault((k, less), f"/ {size}")
            if n - less > 1 and abs(ratio - (n - less)) < 1e-6 * n:
                found.setdefault((k, less), f"* {size}")
    yield from found.values()
    times = "*" if abs(ratio) > 1 else "/"
    ratio = ratio if times == "*" else 1 / ratio
    yield f"{times} {round(ratio, 6 if abs(round(ratio, 6) / ratio - 1) < 1e-9 else 15):.15g}"


def factors_of(ratio, scope: Scope):
    """A factor as text: a size, or 2 or 1/2, or both."""
    for small, lead in (1, ""), (2, "* 2"), (0.5, "* 0.5"):
        yield from ([lead] if abs(ratio / small - 1) < 1e-6 else [
            f"{lead} {size}".strip() for size in [*_as_sizes(ratio / small, scope)][:-1]])


def ratio_of(got, wanted):
    """right / got, where that is one number (and not 1 or -1), else None."""
    if not isinstance(got, np.ndarray) or got.shape != wanted.shape or not np.any(got):
        return None
    with np.errstate(all="ignore"):
        ratio = float((wanted * got).sum() / (got * got).sum())
    if not np.isfinite(ratio) or not np.allclose(
            got * ratio, wanted, rtol=1e-6, atol=1e-12 + 1e-7 * np.abs(wanted).max()):
        return None
    if abs(abs(ratio) - 1) < 1e-6 or abs(ratio) < 1e-9:  # of rounding
        return None
    # between two single numbers there is a factor whatever the mistake is: then only a short one is
    return ratio if (np.abs(wanted) > 1e-6 * np.abs(wanted).max()).sum() > 1 or any(
        abs(float(f"{r:.3g}") / r - 1) < 1e-6 for r in (ratio, 1 / ratio, ratio**2)) else None


def ratio_in_words(ratio, setup: Setup, other=None):
    """A factor, as a size of the inputs where it is that one and no other; ``other``: the factor
    in other sizes, and the Setup that has them."""
    sizes, then = _named_sizes(setup), _named_sizes(other[1]) if other else {}

    def which(form):
        return [f"{text} = {n}" for text, n in sizes.items() if abs(ratio / form(n) - 1) < 1e-6
                and (not other or abs(other[0] / form(then.get(text, n)) - 1) < 1e-6)]

    whole, parts = which(lambda n: n), which(lambda n: 1 / n)
    if len(whole + parts) == 1:
        return whole[0] if whole else f"1/({parts[0]})"
    return f"{ratio:.4g}"


def _named_sizes(setup: Setup):
    """The sizes of the inputs by their symbols, and what is often made of them."""
    found: dict[str, int] = {}
    for spec, x in zip(getattr(setup.recipe, "inputs", ()), setup.inputs, strict=False):
        found.update(zip(spec.shape, np.shape(x), strict=False))
    if not found:
        shape = next((x.shape for x in setup.inputs if isinstance(x, np.ndarray)), ())
        found = dict(zip(("N", "T" if len(shape) == 3 else "C")[: max(1, len(shape) - 1)], shape,
                         strict=False))
    found = {s: n for s, n in found.items() if n > 1 and s.isalpha()}
    n, t = found.get("N"), found.get("T")
    return found | ({"T - 1": t - 1} if t else {}) | (
        {"N T": n * t, "N (T - 1)": n * (t - 1)} if n and t else {})


@mistake("mask_scale", "`{old}` leaves out the scale of the mask", on=ast.Compare, rank=2,
         example="TimeDropout: dout * self.mask -> dout * (self.mask > 0)")
def _mask_compared(p):
    yield p.node.left


# --- sums, axes, transposes ----------------------------------------------------------------------


@mistake("batch", "`{old}` takes the {fn} over the batch where the sum belongs", on=ast.Call,
         rank=0, example="RNN: np.sum(dA, axis=0) -> np.mean(dA, axis=0)")
def _mean_for_sum(p):
    if called(p.node) in ("mean", "max", "average"):
        new = expression(p.text)
        new.func.attr = "sum"
        fn = {"max": "maximum"}.get(called(p.node), "mean")
        axes = [k.value for k in p.node.keywords if k.arg == "axis"] or p.node.args[1:2]
        yield new, {"fn": fn, **({} if all(number(axis) in (0, None) for axis in axes) else {
            "words": "`{old}` takes the {fn} where the sum belongs"})}


@mistake("scaling", "`{old}` sums where the mean belongs", on=ast.Call, rank=4,
         example="Centred: np.mean(dout, axis=0) -> np.sum(dout, axis=0)")
def _sum_for_mean(p):
    if called(p.node) == "sum" and isinstance(p.node.func, ast.Attribute):
        new = expression(p.text)
        new.func.attr = "mean"
        yield new


@mistake("axis", "`{old}` sums over the wrong axis: axis={axis} belongs here", on=ast.Call, rank=1,
         example="Softmax: axis=-1, keepdims=True)) -> axis=0, keepdims=True))")
def _another_axis(p):
    if called(p.node) == "sum":
        args = ast.unparse(p.node.args[0]) + ", " if p.node.args else ""
        for axis, keep in itertools.product(("0", "1", "2", "-1", "(0, 1)"),
                                            ("", ", keepdims=True")):
            new = f"{ast.unparse(p.node.func)}({args}axis={axis}{keep})"
            if new.replace(" ", "") != p.text.replace(" ", ""):
                yield new, {"axis": axis}


@mistake("batch", "not summed over the batch: `{old}`", on="value", rank=4,
         example="BiasOnly: np.sum(dout, axis=0) -> dout")
def _not_summed(p):
    if isinstance(p.parent, (ast.Assign, ast.AugAssign)) and "shape" in p.text:
        return
    yield f"np.sum({p.text}, axis=0)"
    if isinstance(p.parent, ast.Assign) and not p.evidence.misshapen and "sum(" not in p.text:
        yield f"np.sum({p.text}, axis=-1, keepdims=True)", dict(_NOT_SUMMED)
    shape = p.scope.shape(p.node) if p.evidence.misshapen else None
    wanted = {g.shape for g in p.evidence.wanted.values()}
    every = range(len(shape or ()))
    for axes, keep in itertools.product(itertools.chain.from_iterable(
            itertools.combinations(every, n) for n in every if n), (False, True)):
        left = tuple(1 if k in axes else shape[k] for k in every if keep or k not in axes)
        if left in wanted and left != shape and (axes != (0,) or keep):
            axis = axes[0] if len(axes) == 1 else axes
            yield f"np.sum({p.text}, axis={axis}{', keepdims=True' * keep})", dict(_NOT_SUMMED)


@mistake("shape", "not brought back into its shape: `{new}` belongs here", on="value", rank=4,
         example="TimeAffine: return dx.reshape(N, T, D) -> return dx")
def _not_reshaped(p):
    shape = p.scope.shape(p.node) if p.evidence.misshapen else None
    for other, value in p.scope.arrays().items() if shape else ():
        if value.shape != shape and value.size == np.prod(shape) and any(
                g.shape == value.shape for g in p.evidence.wanted.values()):
            text = p.text if _is_primary(p.node) else f"({p.text})"
            yield f"{text}.reshape({other}.shape)", {"rank": 2 if p.name else 3}


@mistake("transposed", "its axes stand in another order: `{new}` belongs here", on="value", rank=3,
         example="StepSum: np.stack(dxs, 1) -> np.array(dxs)")
def _axes_permuted(p):
    shape = p.scope.shape(p.node) if p.evidence.misshapen else None
    for wanted in {g.shape for g in p.evidence.wanted.values()} if len(shape or ()) > 2 else ():
        for axes in itertools.permutations(range(len(shape))):
            if shape != wanted == tuple(shape[k] for k in axes):
                text = p.text if _is_primary(p.node) else f"({p.text})"
                yield f"{text}.transpose({', '.join(map(str, axes))})"


_NOT_SUMMED = {"kind": "axis", "words": "not summed: `{new}` belongs here"}


rewrite("batch", "not summed over the batch: `{old}` is one sample of it", 1,
        "v[n] => np.sum(v, axis=0)", example="RNN: np.sum(dA, axis=0) -> dA[0]")

rewrite("transposed", "`{old}` is transposed and should not be", 2, "v.T => v",
        example="RNN: np.dot(dA, Wx.T) -> np.dot(dA, Wx.T.T)")


rewrite("shape", "`{old}` puts the elements into other places: `{new}` belongs here", 2,
        "v.reshape(a, b).T => v.reshape(b, a)", "v.reshape(a, b) => v.reshape(b, a).T",
        "v.reshape(a, b) => v.T",
        example="TimeAffine: dout.reshape(N * T, W.shape[1]) -> dout.reshape(W.shape[1], N * T).T")


@mistake("transposed", "the transpose is missing: `{new}` belongs here",
         on=(ast.Name, ast.Attribute), rank=2, example="RNN: np.dot(dA, Wh.T) -> np.dot(dA, Wh)")
def _transpose_missing(p):
    if isinstance(p.array, np.ndarray) and p.array.ndim == 2 and not p.stored and (
            not isinstance(p.parent, ast.Attribute)):
        yield f"{p.text}.T"


@mistake("transposed", "the transpose of `{old}` is missing", on=ast.Subscript, rank=4,
         example="GRU: Wh[:, : 2 * H].T -> Wh[:, : 2 * H]")
def _transpose_of_part(p):
    if isinstance(p.node.ctx, ast.Load):
        yield f"{p.text}.T"


rewrite("transposed", "the factors of `{old}` are in the wrong order", 4,
        "dot(a, b) => dot(b, a)", "matmul(a, b) => matmul(b, a)",
        example="RNN: np.dot(dA, Wh.T) -> np.dot(Wh.T, dA)")

rewrite("transposed", "the factors of `{old}` are in the wrong order", 4, "a @ b => b @ a",
        example="Recentred: dx @ self.C -> self.C @ dx")

rewrite("transposed", "`{old}` is the transpose of what belongs here", 3,
        *(f"a.{t} @ b => b.{t} @ a" for t in (
            "swapaxes(-2, -1)", "swapaxes(-1, -2)", "swapaxes(2, 3)", "transpose(0, 2, 1)",
            "transpose(0, 1, 3, 2)")),
        example="Scores: dout.swapaxes(-2, -1) @ q -> q.swapaxes(-2, -1) @ dout")


# --- statements ----------------------------------------------------------------------------------


def _by_ids(target, scope: Scope):
    """Whether an assignment is to the rows that an array of ids names."""
    values = [scope.values.get(name_of(n) or "") for n in ast.walk(target)] if isinstance(
        target, ast.Subscript) else []
    return any(isinstance(v, np.ndarray) and v.dtype.kind in "iu" for v in values)


@mistake("overwritten", "overwritten instead of summed over all uses: `{target}` is assigned with ="
         " where += belongs", on=ast.Assign, rank=1,
         example="TimeAttention: dhs_enc = dhs_enc + dhs -> dhs_enc = dhs")
def _overwritten(p):
    if len(p.node.targets) == 1 and not _is_zero(p.node.value) and not isinstance(
            p.node.targets[0], (ast.Tuple, ast.List)):
        target = p.node.targets[0]
        time = {"words": "overwritten instead of summed in the loop: `{target}` is assigned with ="
                         " where += belongs"} if p.inside else {}
        yield ast.AugAssign(target, ast.Add(), p.node.value), {"target": show(target), **time}


@mistake("overwritten", "overwritten instead of summed over the loop: `{target}` is assigned with ="
         " where += belongs, from 0", on=ast.For, rank=3,
         example="Repeated: dx = 0\n        for k, part in zip((1, 2, 3), self.parts):\n"
                 "            dx += -> for k, part in zip((1, 2, 3), self.parts):\n"
                 "            dx =")
def _overwritten_from_nothing(p):
    for k, inner in enumerate(p.node.body):
        if isinstance(inner, ast.Assign) and len(inner.targets) == 1 and isinstance(
                inner.targets[0], ast.Name) and not _is_zero(inner.value):
            target = inner.targets[0]
            body = list(p.node.body)
            body[k] = ast.AugAssign(target, ast.Add(), inner.value)
            yield [statement(f"{target.id} = 0"), like(p.node, body=body)], {
                "target": target.id, "line": inner.lineno}


def _is_zero(node):
    """Whether zeros are made there, where a sum begins."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return all(number(n) == 0 or (isinstance(n, ast.Call) and called(n).startswith("zeros"))
               for n in parts)


rewrite("stale", "added to what `{target}` holds from before, with += where = belongs", 3,
        "target += b => target = b",
        example="RNN: self.grads[2][...] = -> self.grads[2][...] +=")


@mistake("ids_once", "repeated ids are counted once: `{target}` names a row twice, and only the"
         " last one is kept; np.add.at adds them all", on=(ast.Assign, ast.AugAssign), rank=1,
         example="Embedding: np.add.at(dW, self.idx, dout) -> dW[self.idx] = dout")
def _ids_once(p):
    target: Any = p.node.target if isinstance(p.node, ast.AugAssign) else p.node.targets[0]
    if not _by_ids(target, p.scope):
        return
    base, whole = ast.unparse(target.value), ast.unparse(target)
    index = f"np.s_[{whole[len(base) + 1 : -1]}]" if isinstance(
        target.slice, (ast.Slice, ast.Tuple)) else whole[len(base) + 1 : -1]
    added = [p.node.value]
    if isinstance(p.node.value, ast.BinOp) and isinstance(p.node.value.op, ast.Add):
        both = p.node.value.left, p.node.value.right
        added = [b for a, b in (both, both[::-1])
                 if ast.unparse(a) == whole] + added  # dW[ids] = dW[ids] + dout
    for value in added:
        yield ast.Expr(expression(f"np.add.at({base}, {index}, {ast.unparse(value)})")), {
            "target": whole}


@mistake("extra", "`{old}` does not belong there", on=(ast.Assign, ast.AugAssign, ast.Expr, ast.For,
         ast.If), rank=6, example="RNN: dx = np.dot(dA, Wx.T)\n -> dx = np.dot(dA, Wx.T)\n"
                                  "        dx *= dx\n")
def _statement_too_much(p):
    if isinstance(p.node, ast.Expr) and isinstance(p.node.value, ast.Constant):
        return
    block = getattr(p.parent, p.field)
    twice = {"rank": 0} if p.at is not None and any(
        same(p.node, after) for after in block[p.at + 1 : p.at + 2]) else {}
    if isinstance(p.node, ast.Assign) and number(p.node.value) == 0 and isinstance(
            p.node.targets[0], ast.Subscript):
        twice = {"rank": 1}  # any other edit of its index that mends leaves it out, too
    if isinstance(p.node, ast.AugAssign) and isinstance(p.node.op, ast.Add):
        twice |= _of_penalty(p, p.node.value)
    yield ast.Pass(), {**twice, **({
        "kind": "ids_twice", "words": "repeated ids are counted too often: `{old}` does not belong"
        " there"} if "add.at" in p.text else {})}


@mistake("order", "`{old}` stands too late: it belongs before `{other}`", on=ast.stmt, rank=7,
         example="Halves: d0 = dout[:, :H]\n        dout = dout[:, H:] ->"
                 " dout = dout[:, H:]\n        d0 = dout[:, :H]")
def _too_late(p):
    block = getattr(p.parent, p.field)
    if not isinstance(block, list) or p.at is None or isinstance(p.node, (ast.Return, ast.Pass)):
        return
    # moved up by one to three places: the tuple of statements is replaced at its first
    for back in range(1, min(p.at, 3) + 1):
        passed = block[p.at - back : p.at]
        bound = bound_in(passed)
        reads = any(isinstance(n, ast.Name) and n.id in bound for n in ast.walk(p.node))
        if reads and not p.inside and not any(
                isinstance(n, ast.Name) and n.id in bound and isinstance(n.ctx, ast.Load)
                for s in block[p.at + 1 :] for n in ast.walk(s)):
            continue  # what is passed would do nothing then: it does not belong there
        over = next((s for s in passed if bound_in([s]) & bound_in([p.node])), None)
        if isinstance(over, ast.Assign) and not any(
                isinstance(n, ast.Name) and n.id in bound_in([p.node]) for s in (
                    *passed[: passed.index(over)], over.value) for n in ast.walk(s)):
            continue  # it would do nothing itself
        # what is read there has no value yet: this statement gives it one
        before = {n.id for n in ast.walk(p.function.node) if isinstance(n, ast.Name)
                  and isinstance(n.ctx, ast.Store) and n.lineno < passed[0].lineno}
        early = {n.id for s in passed for n in ast.walk(s) if isinstance(n, ast.Name)
                 and isinstance(n.ctx, ast.Load)} & bound_in([p.node]) - {
            *p.scope.arguments, *before}
        yield Block(p.at - back, back + 1, [p.node, *passed]), {
            "other": show(passed[0]), "rank": -0.5 if early else 3 if reads else 7}


def bound_in(statements):
    """The names to which statements give a value."""
    return {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)
            and isinstance(n.ctx, ast.Store)}


class Block(list[ast.stmt]):
    """Statements that take the place of ``length`` statements from ``at`` on."""

    def __init__(self, at, length, items):
        super().__init__(items)
        self.at, self.length = at, length


@mistake("order", "the loop runs backwards (`{old}`): the gradient of a step needs that of the next"
         " one, not of the one before", on=ast.For, rank=0,
         example="Tower: reversed(self.layers) -> self.layers")
def _loop_backwards(p):
    it = p.node.iter
    if isinstance(it, ast.Call) and getattr(it.func, "id", "") == "reversed":
        yield like(p.node, iter=it.args[0]), {"old": show(it)}
    else:
        words = {"words": "the loop runs forwards (`{old}`): the gradient of a step needs that of"
                          " the next one, not of the one before"}
        if ".backward(" in "".join(map(ast.unparse, p.node.body)) and "range" not in show(it):
            words = {"words": "the inner backwards run in the wrong order (`{old}`): the last layer"
                              " of forward comes first"}
        text = show(it)
        for form in ("reversed({})", "reversed(list({}))"):
            yield like(p.node, iter=expression(form.format(text))), {"old": text, **words}


@mistake("order", "the inner backwards are in the wrong order: `{old}` belongs before `{other}`",
         on=ast.stmt, rank=1,
         example="Chain: dout = self.second.backward(dout)\n"
                 "        dout = self.first.backward(dout) ->"
                 " dout = self.first.backward(dout)\n        dout = self.second.backward(dout)")
def _parts_order(p):
    block = getattr(p.parent, p.field)
    if p.at is None or ".backward(" not in p.text:
        return
    for k in range(p.at):
        run = block[k : p.at + 1]
        if all(".backward(" in show(s) and isinstance(s, (ast.Assign, ast.Expr)) for s in run):
            yield Block(k, len(run), run[::-1]), {"other": show(run[0])}
            if len(run) > 2:
                yield Block(k, len(run), [run[-1], *run[1:-1], run[0]]), {"other": show(run[0])}


rewrite("order", "the inner backwards are in the wrong order: `{old}` should be `{new}`", 1,
        "a.backward(b.backward(d)) => b.backward(a.backward(d))",
        example="Nested: self.first.backward(self.second.backward(dout)) ->"
                " self.second.backward(self.first.backward(dout))")


@mistake("never_called", "the backward of `{part}` is never called", on=ast.stmt, rank=2,
         example="Chain: dout = self.first.backward(dout)\n -> pass\n")
def _never_called(p):
    if not (p.scope.idle or p.scope.idle_lists) or p.at is None or not isinstance(
            p.node, (ast.Assign, ast.Expr, ast.Return, ast.AugAssign, ast.For, ast.Pass)):
        return
    given = [d for d in p.scope.arrays() if is_gradient(d, p.scope)]
    both = [(part, d) for part in p.scope.idle for d in given]
    both += [(f"{parts}[{t}]", f"{d}[:, {t}]") for t in _indices(p)
             for parts in p.scope.idle_lists for d in given if p.scope.values[d].ndim > 1]
    read = [k for k in given if any(name_of(n) == k for s in getattr(p.parent, p.field)[p.at + 1 :]
                                    for n in ast.walk(s))]
    for part, d in both:
        # what it gives is read behind it, perhaps under another name; or by nobody
        for into in dict.fromkeys([f"{d} = ", *(f"{k} = " for k in read), ""]):
            new = statement(f"{into}{part}.backward({d})")
            yield [new, p.node], {"part": part}
            if not isinstance(p.node, ast.Return):
                yield [p.node, new], {"part": part}


@mistake("never_called", "the backward of `{part}` is never called: `{new}` belongs where `{old}`"
         " stands", on="value", rank=1, example="Chain: dout = self.first.backward(dout) ->"
                                               " dout = self.second.backward(dout)")
def _another_part(p):
    if not isinstance(p.parent, ast.Assign):
        return
    given = [d for d in p.scope.arrays() if is_gradient(d, p.scope)]
    for part, d in itertools.product(p.scope.idle, given):
        if not p.text.startswith(f"{part}.backward("):  # it is: what it is handed raises
            yield f"{part}.backward({d})", {"part": part}
    for cache in p.scope.unused:  # of a function of forward
        stem = cache.removesuffix("cache")
        backs = [k for k, v in p.scope.globals.items() if stem.strip("_") and callable(v)
                 and k.startswith(stem) and "back" in k] if stem != cache else ()
        for back, d in itertools.product(backs, given):
            yield f"{back}({d}, {cache})", {"part": stem.strip("_")}


@mistake("steps", "`{whole}` misses time steps", on=ast.expr, rank=4,
         example="TimeCopy: reversed(range(T)) -> reversed(range(1, T))")
def _steps(p):
    if not (isinstance(p.parent, ast.Call) and getattr(p.parent.func, "id", "") == "range"
            and p.field == "args"):
        return
    values = {"whole": show(p.parent)}
    start = ["0"] * (len(p.parent.args) > 1 and p.node is p.parent.args[0])
    for form in ("{} + 1", "{} - 1", *start):
        yield form.format(p.text), dict(values)


@mistake("no_start", "`{name}` has no value in the first step: `{start}` is missing before the"
         " loop", on=ast.For, rank=0, example="TimeRNN: dh: Any = 0\n -> pass\n")
def _no_start(p):
    if not p.evidence.misshapen or p.at is None:
        return
    names: Any = [n for n in ast.walk(p.function.node) if isinstance(n, ast.Name)]
    names.sort(key=lambda n: -n.lineno)
    stored: Any = {n.id: n.lineno for n in names if isinstance(n.ctx, ast.Store)}
    added = {s.target for s in ast.walk(p.node) if isinstance(s, ast.AugAssign)}
    read = {n.id: 0 for s in p.node.body for n in ast.walk(s) if isinstance(n, ast.Name)
            and (isinstance(n.ctx, ast.Load) or n in added)
            and p.node.lineno < n.lineno <= stored.get(n.id, 0)}
    for these in [*([name] for name in read), [*read]][: len(read) + (len(read) > 1)]:
        start = " = ".join([*these, "0"])
        yield [statement(start), p.node], {"name": ", ".join(these), "start": start}


@mistake("extra", "`{name}` begins with `{old}`, and 0 belongs there: nothing comes from behind the"
         " last step", on="value", rank=3,
         example="TimeRNN: dh: Any = 0 -> dh: Any = dhs[:, -1, :]")
def _begins_with_something(p):
    target = getattr(p.parent, "targets", [None])[0]
    if isinstance(target, ast.Name) and not p.inside and is_gradient(target.id, p.scope) and (
            _begins(p)):
        yield f"np.zeros_like({p.text})", {"name": target.id}


@mistake("order", "`{what}` stands in the loop, and is done in each step: it belongs before the"
         " loop", on=ast.For, rank=2, example="TimeRNN: layer = self.layers[t]\n            dx, ->"
                                     " layer = self.layers[t]\n            dh = 0\n"
                                     "            dx,")
def _in_each_step(p):
    for k, inner in enumerate(p.node.body):
        if isinstance(inner, ast.Assign) and _is_zero(inner.value):
            body = [*p.node.body[:k], *p.node.body[k + 1 :]] or [ast.Pass()]
            yield [inner, like(p.node, body=body)], {"what": show(inner), "line": inner.lineno}


@mistake("return_in_loop", "return stands inside the loop: backward ends after one step",
         on=(ast.For, ast.While), rank=0,
         example="TimeCopy: self.xs[:, t]\n        return dxs ->"
                 " self.xs[:, t]\n            return dxs")
def _return_in_loop(p):
    for inner in p.node.body:
        if isinstance(inner, ast.Return):
            body = [s for s in p.node.body if s is not inner] or [ast.Pass()]
            yield [like(p.node, body=body), inner], {"line": inner.lineno}


@mistake("stale", "what grads hold from the call before is not cleared", on=ast.stmt, rank=4,
         example="StepSum: for g in self.grads: -> for g in self.grads[:1]:")
def _not_cleared(p):
    if p.node is first_statement(p.function.node.body):
        yield [statement("for _g in self.grads:\n    _g[...] = 0"), p.node]


@mistake("slot", "`{old}` writes into a parameter: `{new}` is meant", on=ast.Assign, rank=1,
         example="AffineByHand: self.grads[1][...] = db -> self.params[0][...] = db")
def _into_a_parameter(p):
    stored = re.match(r"self\.params\[\d\](\[.*\])$", ast.unparse(p.node.targets[0]))
    grads = p.scope.values.get("self.grads") if stored else None
    for i, g in enumerate(grads if isinstance(grads, (list, tuple)) else ()):
        if isinstance(g, np.ndarray) and not np.any(g):
            yield like(p.node, targets=[statement(f"self.grads[{i}]{stored[1]} = 0").targets[0]])


@mistake("zero", "the gradient `{other}` is computed, and never stored in grads[{i}]",
         on=ast.stmt, rank=3, example="AffineByHand: self.grads[1][...] = db -> pass")
def _never_stored(p):
    grads = p.scope.values.get("self.grads")
    if p.node is not p.function.node.body[-1] or not isinstance(grads, (list, tuple)):
        return
    for i, g in enumerate(grads):
        if isinstance(g, np.ndarray) and not np.any(g):
            for other in p.scope.arrays(g.shape):
                own = other.removeprefix("self.")
                if (other in p.scope.names or is_gradient(own, p.scope)) and (
                        own.strip("_") and not _is_weight(own)):
                    new = statement(f"self.grads[{i}][...] = {other}")
                    yield _stored(p, new), {"other": other, "i": i}
    for other, those in p.scope.values.items():
        if isinstance(those, list) and other != "self.grads" and (
                [*map(_shape, those)] == [*map(_shape, grads)]):
            i, g = _new_names(p.scope)
            yield _stored(p, statement(f"for {i}, {g} in enumerate({other}):\n"
                                       f"    self.grads[{i}][...] = {g}")), {
                "other": other, "words": "the gradients in `{other}` are computed, and never stored"
                                         " in self.grads"}


def _stored(p, new):
    """A statement at the end of a function."""
    return [new, p.node] if isinstance(p.node, ast.Return) else [p.node, new]


@mistake("none", "`{names}` is computed, and backward does not return it", on=ast.stmt, rank=1,
         example="AffineByHand: return dx -> pass")
def _never_returned(p):
    nodes: Any = ast.walk(p.function.node)
    if p.node is not p.function.node.body[-1] or p.function.node.name != "backward" or any(
            isinstance(n, ast.Return) and n.value for n in nodes):
        return
    found = [next((v for v in gradient_names(name) if v in p.scope.arrays(np.shape(x))), None)
             for name, x in zip(forward_names(p.evidence.setup.layer), p.evidence.setup.inputs,
                                strict=False) if is_float(x)]
    if found and None not in found:
        names = ", ".join(map(str, found))
        yield [p.node, statement(f"return {names}")], {"names": names}


@mistake("misspelt", "`{old}` is not there: `{new}` is meant", on=ast.Attribute, rank=0,
         example="Chain: self.second.backward(dout) -> self.second.backword(dout)")
def _misspelt(p):
    owner = p.scope.value(p.node.value)
    if p.node.attr in ("params", "grads"):
        return  # that has its name from the optimizer: what is there is misspelt
    if owner is not None and not hasattr(owner, p.node.attr):
        there = [n for n in dir(owner) if not n.startswith("__")]
        for other in difflib.get_close_matches(p.node.attr, there, 3, 0.7):
            yield like(p.node, attr=other)


@mistake("misspelt", "`{old}` is not there: `{new}` is meant", on=ast.keyword, rank=0,
         example="AffineByHand: np.sum(dout, axis=0) -> np.sum(dout, aixs=0)")
def _misspelt_keyword(p):
    for other in difflib.get_close_matches(p.node.arg or "", ("axis", "axes", "keepdims"), 1, 0.7):
        if other != p.node.arg:
            yield like(p.node, arg=other)


@mistake("last_step", "`{part}.grads` are those of one step alone: the steps are not added"
         " up", on=ast.For, rank=7,
         example="StepSum: for g, step in zip(self.grads, cell.grads):\n                g += step\n"
                 "        return ->"
                 " pass\n        for g, step in zip(self.grads, cell.grads):\n"
                 "            g[...] = step\n        return")
def _last_step(p):
    for part in {m.group(1) for n in ast.walk(p.node) if isinstance(n, ast.Call)
                 and (m := re.fullmatch(r"(\w+)\.backward", ast.unparse(n.func)))}:
        add = statement(f"for _g, _s in zip(_sums, {part}.grads):\n    _g += _s")
        start = statement("_sums = [0 * _g for _g in self.grads]")
        end = statement("for _g, _s in zip(self.grads, _sums):\n    _g[...] = _s")
        if isinstance(p.parent, ast.FunctionDef) and f"{part}.grads" in ast.unparse(p.parent):
            # what stands between the loop and the return wrote the last step: it gives way
            rest = [s for s in p.parent.body[p.at + 1 :] if f"{part}.grads" not in ast.unparse(s)]
            new = [start, like(p.node, body=[*p.node.body, add]), end, *rest]
            late = [s.lineno for s in p.parent.body[p.at + 1 :] if s not in rest]
            yield Block(p.at, len(p.parent.body) - p.at, new), {
                "part": part, **({"line": late[0]} if late else {})}


# --- order in time -------------------------------------------------------------------------------


@mistake("order", "time is in the wrong order: `{old}` should be reversed", on=ast.Name, rank=2,
         example="TimeRNN: dxs[::-1] -> dxs")
def _list_reversed(p):
    if isinstance(p.array, list) and isinstance(p.node.ctx, ast.Load):
        yield f"{p.node.id}[::-1]"


@mistake("order", "time is in the wrong order: an axis should be reversed, with ::-1",
         on=ast.Slice, rank=3, example="TimeBiLSTM: dhs[:, ::-1, H:] -> dhs[:, :, H:]")
def _axis_reversed(p):
    if ast.unparse(p.node) == ":":
        yield ast.Slice(step=ast.UnaryOp(ast.USub(), ast.Constant(1)))


@mistake("order", "time is in the wrong order: an axis is reversed and should not be", on=ast.Slice,
         rank=3, example="TimeBiLSTM: dhs[:, ::-1, H:])[:, ::-1] ->"
                         " dhs[:, ::-1, H:])[:, ::-1][:, ::-1]")
def _axis_not_reversed(p):
    if ast.unparse(p.node) == "::-1":
        yield ast.Slice()


@mistake("order", "`{old}` reverses time and should not", on=ast.Subscript, rank=3,
         example="TimeRNN: dxs[::-1] -> dxs[::-1][::-1]")
def _subscript_not_reversed(p):
    if isinstance(p.node.ctx, ast.Load) and "::-1" in ast.unparse(p.node.slice):
        yield p.node.value
