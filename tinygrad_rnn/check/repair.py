"""Find the line of a mistake by undoing it: one edit of the layer's backward after which every
gradient is right.

An edit undoes one mistake of the catalogue: it puts a dropped term back, takes the transpose, swaps
two gates. The layer is run with each candidate edit; only one that makes all gradients right, at
random values, is reported. The edits are tried from the most to the least telling.
"""

from __future__ import annotations

import ast
import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .limits import TimeUp, time_limit
from .outcome import evaluate, pairs
from .running import (
    CannotRun,
    Observation,
    arrays_of,
    backward_arguments,
    call_forward,
    clone,
    copies,
    draw_cotangents,
    file_of,
    gradients,
    numpy_replaced,
    objects_of,
    outputs_of,
    quietly,
    state_gradients,
)
from .source import (
    Function,
    codes_run,
    compiled,
    functions_of,
    replaced,
    with_source,
)

if TYPE_CHECKING:
    from .outcome import Outcome


@dataclass
class Edit:
    """``node.field`` (or its element ``at``) becomes ``new``: a tree, a list of trees, or the text
    of an expression. ``kind`` and ``text`` say which mistake that undoes; ``rank``: edits of a
    lower one are tried first."""

    function: Function
    node: ast.AST
    field: str
    at: int | None
    new: Any
    kind: str
    text: str
    line: int
    rank: int = 5

    def code(self):
        """The function's code with the edit made; the tree is left as it was."""
        held = getattr(self.node, self.field)
        new = self.new
        if isinstance(new, str):
            new = _at(_expr(new), self)
        if self.at is None:
            setattr(self.node, self.field, new)
        else:
            value = list(held)
            value[self.at : self.at + 1] = new if isinstance(new, list) else [new]
            setattr(self.node, self.field, value)
        try:
            return compiled(self.function, self.function.node)
        finally:
            setattr(self.node, self.field, held)

    @property
    def lineno(self):
        return self.line


@dataclass
class Scope:
    """What can be named in a function: each expression with the value it had at the end."""

    values: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)  # the local variables themselves
    globals: dict[str, Any] = field(default_factory=dict)

    def arrays(self, shape=None):
        return {k: v for k, v in self.values.items() if isinstance(v, np.ndarray)
                and v.dtype.kind in "fb" and (shape is None or v.shape == shape)}

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
            return np.shape(eval(code, self.globals, self.names))
        except Exception:
            return None


_PURE = (ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Subscript, ast.Constant, ast.Slice,
         ast.Tuple, ast.operator, ast.unaryop, ast.expr_context, ast.keyword)


class Bench:
    """The layer of an Outcome after its forward, to run its backward on again and again."""

    def __init__(self, outcome: Outcome):
        self.outcome, setup = outcome, outcome.setup
        self.layer, _ = clone(setup.layer)
        if setup.prepare:
            setup.prepare(self.layer)
        for _ in range(setup.rounds - 1):
            y, kind = outputs_of(call_forward(setup, self.layer, copies(setup.inputs)))
            g = draw_cotangents(y, np.random.default_rng(9))
            self.layer.backward(*backward_arguments(self.layer, g, kind, setup.as_tuple))
        y, self.kind = outputs_of(call_forward(setup, self.layer, copies(setup.inputs)))
        self.outputs = y
        self.dicts = [(part.__dict__, dict(part.__dict__)) for part in objects_of(self.layer)
                      if hasattr(part, "__dict__")]
        self.lists = [(x, list(x)) for x in _lists(self.dicts)]
        self.arrays = [(a, a.copy()) for a in arrays_of(self.layer)]

    def restore(self):
        for attributes, before in self.dicts:
            attributes.clear()
            attributes.update(before)
        for items, those in self.lists:
            items[:] = those
        for array, values in self.arrays:
            np.copyto(array, values)

    def is_right(self):
        """Whether backward, as it now is, gives the right gradients."""
        outcome, setup = self.outcome, self.outcome.setup
        self.restore()
        handed = backward_arguments(self.layer, copies(outcome.cotangents), self.kind,
                                    setup.as_tuple)
        try:
            with time_limit(0.2):  # an edit may make a loop endless
                returned = self.layer.backward(*handed)
        except (Exception, TimeUp):
            return False
        result = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        seen = Observation([], gradients(result), gradients(setup.slots.grads(self.layer)), False,
                           state=state_gradients(self.layer))
        scratch = replace(outcome, problems=[])
        for _, got, wanted in pairs(scratch, seen):
            if got is None or got.shape != wanted.shape:
                return False
            error = np.abs(got - wanted).max(initial=0)
            if not error <= outcome.tolerance * max(np.abs(wanted).max(initial=0), 1e-3):
                return False
        return not scratch.problems


def _lists(dicts):
    seen = {}
    stack = [v for live, _ in dicts for v in live.values()]
    while stack:
        x = stack.pop()
        if isinstance(x, list) and id(x) not in seen:
            seen[id(x)] = x
            stack.extend(x)
    return seen.values()


def find_repair(outcome: Outcome, deadline: float, kinds=None):
    """The first Edit that makes all gradients of a wrong Outcome right, or None. ``kinds``: only
    edits that undo one of these mistakes."""
    setup = outcome.setup
    filename = file_of(setup.layer)
    with quietly(), numpy_replaced(setup.layer):
        try:
            bench = Bench(outcome)
        except Exception:
            return None
        scopes: dict[Any, dict[str, Any]] = {}
        codes = codes_run(bench.is_right, filename, scopes)
        found = []
        own = [fn for fn in functions_of(codes) if fn.__name__ not in ("__init__", "forward")]
        for f in with_source(own):
            scope = _scope(f, scopes.get(f.fn.__code__, {}))
            found += [e for e in edits(f, scope, outcome) if kinds is None or e.kind in kinds]
        for edit in sorted(found, key=lambda e: e.rank):
            if time.monotonic() > deadline:
                return None
            code = edit.code()
            if code is None:
                continue
            with replaced([(edit.function.fn, code)]):
                if bench.is_right() and is_right(outcome):
                    return edit
    return None


def is_right(outcome: Outcome):
    """Whether the layer, as it now runs, is right at other values too."""
    try:
        return evaluate(outcome.setup, outcome.input_names, outcome.seed + 1, light=True,
                        scenario=outcome.scenario).right
    except CannotRun:
        return False


def _scope(function: Function, names):
    """The variables of a function; of several with the same value, the first."""
    values: dict[str, Any] = {}
    seen: list[Any] = []
    attributes = {f"self.{k}": v for k, v in getattr(names.get("self"), "__dict__", {}).items()}
    for k, v in {**names, **attributes}.items():
        if k == "self" or not isinstance(v, (np.ndarray, np.generic, int, float, list, tuple)):
            continue
        if isinstance(v, np.ndarray) and k.startswith("self.") and any(v is s for s in seen):
            continue
        seen.append(v)
        values[k] = v
    return Scope(values, [a.arg for a in function.node.args.args[1:]], names,
                 function.fn.__globals__)


# --- helpers on trees ----------------------------------------------------------------------------


def _expr(text: str):
    return ast.parse(text, mode="eval").body


def _at(new, old):
    """New nodes stand where the old one stood."""
    node: Any
    for node in ast.walk(new):
        node.lineno = node.end_lineno = getattr(old, "lineno", 1)
        node.col_offset = node.end_col_offset = 0
    return new


def _same(a, b):
    return ast.dump(a) == ast.dump(b)


def _positions(node):
    """(parent, field, index, child) for all children of all nodes."""
    found = getattr(node, "positions", None)
    if found is None:
        found = node.positions = list(_all_positions(node))
    return found


def _all_positions(node):
    for parent in ast.walk(node):
        for name, value in ast.iter_fields(parent):
            if isinstance(value, ast.AST):
                yield parent, name, None, value
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        yield parent, name, i, item


def _name(node):
    """ "x" or "self.x", for what is one of these."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (
            node.value.id == "self"):
        return f"self.{node.attr}"
    return None


def _loops(function: Function):
    return [n for n in ast.walk(function.node) if isinstance(n, (ast.For, ast.While))]


def _in_loop(function: Function, node):
    tree: Any = function.node
    inside = getattr(tree, "inside", None)
    if inside is None:
        inside = tree.inside = {n for loop in _loops(function) for n in ast.walk(loop)}
    return node in inside


# --- the edits -----------------------------------------------------------------------------------


def edits(function: Function, scope: Scope, outcome: Outcome) -> Iterator[Edit]:
    """All edits of one function."""
    yield from _everywhere(function, scope)
    for maker in (_operators, _names, _statements, _calls, _values, _order, _activated):
        yield from maker(function, scope, outcome)


def _show(node):
    return f"`{ast.unparse(node)}`"


def _operators(function: Function, scope: Scope, outcome: Outcome):
    swaps = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
    for parent, name, at, node in _positions(function.node):
        def edit(new, kind, text: str, rank: int, parent=parent, name=name, at=at, node=node):
            new = new if isinstance(new, str) else _at(new, node)
            return Edit(function, parent, name, at, new, kind, text, getattr(node, "lineno", 1),
                        rank)

        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield edit(node.operand, "sign", f"wrong sign: {_show(node)} has a minus too many", 1)
        if isinstance(node, ast.AugAssign) and type(node.op) in swaps:
            yield Edit(function, node, "op", None, swaps[type(node.op)](),
                       "sign" if isinstance(node.op, (ast.Add, ast.Sub)) else "scaling",
                       f"wrong sign in {_show(node)}" if isinstance(node.op, (ast.Add, ast.Sub))
                       else f"{_show(node)} multiplies where it should divide, or the reverse",
                       node.lineno, 2)
        if not isinstance(node, ast.BinOp):
            continue
        op, a, b = node.op, node.left, node.right
        if type(op) in swaps:
            signs = isinstance(op, (ast.Add, ast.Sub))
            yield Edit(function, node, "op", None, swaps[type(op)](),
                       "sign" if signs else "scaling",
                       f"wrong sign in {_show(node)}" if signs else
                       f"{_show(node)} multiplies where it should divide, or the reverse",
                       node.lineno, 2)
        if isinstance(op, ast.Sub):
            yield edit(ast.BinOp(b, ast.Sub(), a), "sign", f"wrong sign: {_show(node)} should be "
                       f"`{ast.unparse(b)} - {ast.unparse(a)}`", 2)
        if isinstance(op, (ast.Mult, ast.Add)):
            for kept, dropped in ((a, b), (b, a)):
                yield edit(kept, *_too_much(op, dropped, outcome), rank=6)
        if isinstance(op, (ast.Sub, ast.Div)):
            yield edit(a, *_too_much(op, b, outcome), rank=6)
        yield from _derivative_forms(node, edit)


def _too_much(op, dropped, outcome: Outcome) -> tuple[str, str]:
    what = _show(dropped)
    if isinstance(op, (ast.Mult, ast.Div)):
        value = _number(dropped)
        sizes = "shape" in what or "len(" in what or "size" in what or value is not None
        if sizes or isinstance(op, ast.Div):
            return "scaling", f"scaled by {what}, which does not belong there"
        return "extra", f"the factor {what} does not belong there"
    return "extra", f"the term {what} does not belong there"


def _number(node):
    try:
        return float(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError):
        return None


def _derivative_forms(node, edit):
    """1 - v**2 (tanh), v (1 - v) (sigmoid): one in place of the other, or half of one."""
    text = ast.unparse(node)
    if isinstance(node.op, ast.Sub) and _number(node.left) == 1:
        right = node.right
        if isinstance(right, ast.BinOp) and isinstance(right.op, ast.Pow):
            v = ast.unparse(right.left)
            yield edit(f"({v}) * (1 - ({v}))", "wrong_derivative", "the derivative of the"
                       f" wrong activation: `{text}` is that of tanh, `{v} * (1 - {v})` belongs"
                       " here (the sigmoid)", 3)
            yield edit(f"1 - ({v})", "wrong_derivative", f"the derivative of an activation"
                       f" is wrong: `{v}` is squared in `{text}`", 3)
        else:
            v = ast.unparse(right)
            yield edit(f"1 - ({v}) ** 2", "wrong_derivative", "the derivative of tanh is"
                       f" 1 - {v}**2, not `{text}`", 3)
            yield edit(f"(1 - ({v})) * ({v})", "missing_derivative", "half of the derivative"
                       f" of the sigmoid is missing: `{v}` in front of `{text}`", 3)
    if isinstance(node.op, ast.Mult):
        for a, b in ((node.left, node.right), (node.right, node.left)):
            if isinstance(b, ast.BinOp) and isinstance(b.op, ast.Sub) and _number(b.left) == 1:
                tail = a.right if isinstance(a, ast.BinOp) and isinstance(a.op, ast.Mult) else a
                if _same(tail, b.right):
                    v = ast.unparse(b.right)
                    new = f"(1 - ({v}) ** 2)"
                    if tail is not a:
                        new = f"({ast.unparse(a.left)}) * {new}"
                    yield edit(new, "wrong_derivative", "the derivative of the wrong"
                               f" activation: `{v} * (1 - {v})` is that of the sigmoid,"
                               f" `1 - {v}**2` belongs here (tanh)", 3)


def _names(function: Function, scope: Scope, outcome: Outcome):
    """Another variable of the same shape belongs there."""
    arrays = scope.values
    said: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    loops = _bound(function)
    for parent, name, at, node in _positions(function.node):
        own = _name(node)
        if own is None and not isinstance(node, ast.Constant):
            continue
        if isinstance(parent, ast.Call) and name == "func":
            continue
        if isinstance(parent, ast.Attribute) and own is None:
            continue
        line = getattr(node, "lineno", function.node.lineno)
        stored = isinstance(getattr(node, "ctx", None), ast.Store)
        if own is None:
            yield from _constants(function, parent, name, at, node, arrays, scope)
            continue
        value = arrays.get(own)
        for other, candidate in arrays.items():
            if other == own or not _alike(value, candidate):
                continue
            new = other
            if stored:
                if not isinstance(parent, ast.For):
                    continue
                new = _at(_expr(other), node)
                new.ctx = ast.Store()
            if (own, other, stored) not in said:
                said[own, other, stored] = _exchange(own, other, value, candidate, scope, stored)
            kind, text = said[own, other, stored]
            if loops and _left_over(loops, node, own, other):
                kind, text = "wrong_variable", (
                    f"`{own}` is left over from an earlier loop: its last value is used again and"
                    f" again, where `{other}`, which this loop binds, belongs")
            yield Edit(function, parent, name, at, new, kind, text, line, 3)
        written = _is_written(parent, at) or (
            isinstance(parent, ast.Subscript) and isinstance(parent.ctx, ast.Store))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not stored and (
                not written):
            for form in ("np.tanh({})", "(1 / (1 + np.exp(-{})))"):
                yield Edit(function, parent, name, at, form.format(own),
                           "input_not_output", "the derivative is taken of the activation's input"
                           f" `{own}` where its output belongs", line, 4)


def _everywhere(function: Function, scope: Scope):
    """A variable that stands in one expression several times, and each time for another."""
    arrays = scope.arrays()
    for parent, name, at, node in _value_positions(function):
        held = [_name(n) for n in ast.walk(node)]
        for own in {h for h in held if h in arrays and held.count(h) > 1}:
            for other, candidate in arrays.items():
                if other == own or candidate.shape != arrays[own].shape:
                    continue
                new = copy.deepcopy(node)
                for n in ast.walk(new):
                    if isinstance(n, ast.Name) and n.id == own:
                        n.id = other
                kind, text = _exchange(own, other, arrays[own], candidate, scope, False)
                yield Edit(function, parent, name, at, new, kind, text, node.lineno, 3)


def _activated(function: Function, scope: Scope, outcome: Outcome):
    """The cache holds the input of an activation under the name of its output."""
    body = function.node.body
    for own, value in scope.arrays().items():
        if value.dtype.kind != "f" or own in scope.arguments:
            continue
        at = next((i for i, s in enumerate(body) if isinstance(s, ast.Assign) and any(
            _name(n) == own for t in s.targets for n in ast.walk(t))), None)
        if at is None and not own.startswith("self."):
            continue
        nodes: Any = ast.walk(function.node)
        uses = [n.lineno for n in nodes if _name(n) == own and isinstance(n.ctx, ast.Load)]
        if not uses:
            continue
        for form in ("np.tanh({})", "1 / (1 + np.exp(-{}))"):
            new = ast.parse(f"{own} = {form.format(own)}").body[0]
            stand = body[at] if at is not None else _first(body)
            new = _at(new, stand)
            where = body.index(stand)
            both = [stand, new] if at is not None else [new, stand]
            yield Edit(function, function.node, "body", where, both, "input_not_output", "the"
                       f" derivative is taken of the activation's input, which `{own}` holds, where"
                       " its output belongs", min(uses), 4)


def _first(body):
    """The first statement after the docstring."""
    return body[1] if len(body) > 1 and isinstance(body[0], ast.Expr) and isinstance(
        body[0].value, ast.Constant) else body[0]


def _bound(function: Function):
    """For each loop the names that it binds, and the nodes inside."""
    return [({n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)},
             set(ast.walk(loop))) for loop in _loops(function) if isinstance(loop, ast.For)]


def _left_over(loops, node, own, other):
    """Whether ``own`` is the variable of another loop and ``other`` that of the loop around."""
    if not any(own in names for names, _ in loops):
        return False
    around = [names for names, inside in loops if node in inside]
    others = [names for names, inside in loops if node not in inside]
    return any(other in names for names in around) and any(own in names for names in others) and (
        not any(own in names for names in around))


def _alike(a, b):
    """Whether ``b`` may be meant where ``a`` stands."""
    if a is None or isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
        return isinstance(b, (list, tuple, np.ndarray))
    return np.shape(a) == np.shape(b)


def _exchange(own, other, value, candidate, scope: Scope, stored):
    """Words for: ``own`` stands where ``other`` belongs."""
    if isinstance(value, np.ndarray) and isinstance(candidate, np.ndarray) and (
            value.shape == candidate.shape and value.dtype.kind == "f"):
        with np.errstate(all="ignore"):
            if any(np.allclose(f(value), candidate) for f in (
                    np.tanh, lambda a: 1 / (1 + np.exp(-a)))):
                return "input_not_output", (
                    f"the derivative is taken of the activation's input `{own}` where its output"
                    f" `{other}` belongs")
    bare = own.removeprefix("self."), other.removeprefix("self.")
    if all(_is_weight(b) for b in bare):
        return "wrong_gate", f"the weight `{own}` stands where `{other}` belongs"
    if all(_is_gate(b) for b in bare):
        return "wrong_gate", f"the wrong gate: `{own}` stands where `{other}` belongs"
    if stored:
        return "wrong_variable", (f"the loop binds `{own}` and its body reads another variable,"
                                  f" which is left over from before: `{other}` is meant")
    return "wrong_variable", f"`{own}` stands where `{other}` belongs"


def _is_weight(name):
    return name[:1] in "WU" and not name.startswith("d")


def _is_gate(name):
    base = name.removeprefix("d").removeprefix("A_").removeprefix("h_").strip("_")
    return base in {"f", "g", "i", "o", "z", "r", "hat", "n", "c", "forget", "input", "output",
                    "gate", "t", "u", "A_z", "A_r", "A_h", "A_f", "A_g", "A_i", "A_o"}


def _constants(function: Function, parent, name, at, node, arrays, scope: Scope):
    value = node.value
    line = getattr(node, "lineno", 1)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    in_index = isinstance(parent, ast.Subscript)
    if isinstance(value, int):
        for other in range(6):
            if other == value:
                continue
            if in_index:
                base = ast.unparse(parent.value)
                kind = "slot" if "grads" in base or "params" in base else "wrong_index"
                text = (f"`{base}[{value}]` is the slot of another parameter: `{base}[{other}]`"
                        " belongs here" if kind == "slot" else
                        f"`{base}[{value}]` stands where `{base}[{other}]` belongs")
            else:
                kind, text = "number", f"the number {value} stands where {other} belongs"
                if isinstance(parent, ast.keyword) and parent.arg == "axis":
                    kind, text = "axis", f"axis={value} where axis={other} belongs"
            yield Edit(function, parent, name, at, _at(ast.Constant(other), node), kind, text,
                       line, 2 if in_index else 3)
    if in_index:
        return
    for other, candidate in arrays.items():
        if isinstance(candidate, (np.ndarray, float)) and value in (0, 1):
            bare = other.removeprefix("self.")
            if value == 0:
                kind, text = "path_dropped", (f"a path of the gradient is dropped: 0 stands where"
                                              f" `{other}` belongs")
            else:
                kind, text = "dout_ignored", f"1 stands where `{other}` belongs: it is ignored"
            if not bare.startswith("d") and value == 0:
                continue
            yield Edit(function, parent, name, at, other, kind, text, line, 4)


def _statements(function: Function, scope: Scope, outcome: Outcome):
    for parent, name, at, node in _positions(function.node):
        line = getattr(node, "lineno", 1)
        if not isinstance(node, ast.stmt) or at is None:
            continue
        looped = _in_loop(function, node)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and not isinstance(
                node.targets[0], (ast.Tuple, ast.List)):
            target: Any = node.targets[0]
            new = _at(ast.AugAssign(target, ast.Add(), node.value), node)
            where = "over time" if looped else "over all uses"
            yield Edit(function, parent, name, at, new, "overwritten",
                       f"overwritten instead of summed {where}: `{ast.unparse(target)}` is assigned"
                       " with = where += belongs", line, 2)
            if _by_ids(target, scope):
                yield _add_at(function, parent, name, at, node, target, node.value)
        if isinstance(node, ast.AugAssign):
            yield Edit(function, parent, name, at,
                       _at(ast.Assign([node.target], node.value), node), "stale",
                       f"added to what `{ast.unparse(node.target)}` holds from before, with +="
                       " where = belongs", line, 4)
            if _by_ids(node.target, scope):
                yield _add_at(function, parent, name, at, node, node.target, node.value)
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.For, ast.If)) and not (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            text = ast.unparse(node).split("\n")[0]
            kind = "ids_twice" if "add.at" in text else "extra"
            said = "repeated ids are counted too often: " if kind == "ids_twice" else ""
            yield Edit(function, parent, name, at, _at(ast.Pass(), node), kind,
                       f"{said}`{text}` does not belong there", line, 6)
        if isinstance(node, ast.For):
            yield from _loop_edits(function, parent, name, at, node)
        if isinstance(node, ast.Return) and looped:
            yield from _return_after(function, node)
    yield from _insertions(function, scope, outcome)


def _by_ids(target, scope: Scope):
    """Whether an assignment is to the rows that an array of ids names."""
    values = [scope.values.get(_name(n) or "") for n in ast.walk(target)] if isinstance(
        target, ast.Subscript) else []
    return any(isinstance(v, np.ndarray) and v.dtype.kind in "iu" for v in values)


def _add_at(function: Function, parent, name, at, node, target, value):
    base = ast.unparse(target.value)
    index = ast.unparse(target)[len(base) + 1 : -1]
    new = ast.Expr(_expr(f"np.add.at({base}, np.s_[{index}], {ast.unparse(value)})"))
    return Edit(function, parent, name, at, _at(new, node), "ids_once",
                f"repeated ids are counted once: `{ast.unparse(target)}` names a row twice, and"
                " only the last one is kept; np.add.at adds them all", node.lineno, 1)


def _loop_edits(function: Function, parent, name, at, node):
    iterated = node.iter
    text = ast.unparse(iterated)
    if isinstance(iterated, ast.Call) and getattr(iterated.func, "id", "") == "reversed":
        new, said = iterated.args[0], f"the loop runs backwards (`{text}`)"
    else:
        new, said = _expr(f"reversed({text})"), f"the loop runs forwards (`{text}`)"
    yield Edit(function, node, "iter", None, _at(new, node), "order", f"{said}: the gradient of a"
               " step needs that of the next one, not of the one before", node.lineno, 3)
    if isinstance(iterated, ast.Call) and text.startswith(("range", "reversed(range")):
        inner: Any = iterated if text.startswith("range") else iterated.args[0]
        for i, arg in enumerate(inner.args):
            for form in ("({}) + 1", "({}) - 1", "0"):
                yield Edit(function, inner, "args", i, _at(_expr(form.format(ast.unparse(arg))),
                           node), "steps", f"`{text}` misses time steps", node.lineno, 4)
        if len(inner.args) > 1:
            yield Edit(function, inner, "args", 0, [], "steps", f"`{text}` misses time steps",
                       node.lineno, 4)


def _return_after(function: Function, node):
    """The return, taken out of the loop that it stands in."""
    for parent, name, at, loop in _positions(function.node):
        if isinstance(loop, (ast.For, ast.While)) and node in loop.body and at is not None:
            body = [s for s in loop.body if s is not node] or [ast.Pass()]
            new: ast.stmt
            if isinstance(loop, ast.For):
                new = ast.For(loop.target, loop.iter, body, loop.orelse, None)
            else:
                new = ast.While(loop.test, body, loop.orelse)
            new = ast.copy_location(new, loop)
            yield Edit(function, parent, name, at, [new, node], "return_in_loop",
                       "return stands inside the loop: backward ends after one step", node.lineno,
                       0)


def _insertions(function: Function, scope: Scope, outcome: Outcome):
    """A statement that is missing: a gradient never stored, or never cleared."""
    body = function.node.body
    start = 1 if body and isinstance(body[0], ast.Expr) and isinstance(
        body[0].value, ast.Constant) else 0
    line = body[start].lineno
    clear = ast.parse("for _g in self.grads:\n    _g[...] = 0").body[0]
    yield Edit(function, function.node, "body", start, [_at(clear, body[start]), body[start]],
               "stale", "what grads hold from the call before is not cleared", line, 4)
    last = len(body) - 1
    ends = isinstance(body[last], ast.Return)
    grads = scope.values.get("self.grads")
    if not isinstance(grads, (list, tuple)):
        return
    zero = [not np.any(g) for g in grads]
    for i, g in enumerate(grads):
        if not zero[i]:
            continue
        for other in scope.arrays(np.shape(g)):
            if other.startswith("self."):
                continue
            new = _at(ast.parse(f"self.grads[{i}][...] = {other}").body[0], body[last])
            both = [new, body[last]] if ends else [body[last], new]
            yield Edit(function, function.node, "body", last, both, "zero",
                       f"the gradient `{other}` is computed, and never stored in grads[{i}]",
                       body[last].lineno, 3)


def _calls(function: Function, scope: Scope, outcome: Outcome):
    for parent, name, at, node in _positions(function.node):
        line = getattr(node, "lineno", 1)

        def edit(new, kind, text: str, rank: int, parent=parent, name=name, at=at, node=node,
                 line=line):
            new = new if isinstance(new, str) else _at(new, node)
            return Edit(function, parent, name, at, new, kind, text, line, rank)

        if isinstance(node, ast.Attribute) and node.attr == "T":
            yield edit(node.value, "transposed", f"{_show(node)} is transposed and should not be",
                       2)
        value = scope.values.get(_name(node) or "")
        if isinstance(value, np.ndarray) and value.ndim == 2 and not isinstance(
                getattr(node, "ctx", None), ast.Store) and not isinstance(parent, ast.Attribute):
            yield edit(f"{ast.unparse(node)}.T", "transposed",
                       f"the transpose is missing: `{ast.unparse(node)}.T` belongs here", 2)
        if isinstance(value, list) and isinstance(node, ast.Name) and isinstance(
                node.ctx, ast.Load):
            yield edit(f"{node.id}[::-1]", "order", f"time is in the wrong order: `{node.id}`"
                       " should be reversed", 2)
        if isinstance(node, ast.Slice) and ast.unparse(node) == ":":
            yield edit(ast.Slice(step=ast.UnaryOp(ast.USub(), ast.Constant(1))), "order",
                       "time is in the wrong order: an axis should be reversed, with ::-1", 3)
        if isinstance(node, ast.Slice) and ast.unparse(node) == "::-1":
            yield edit(ast.Slice(), "order", "time is in the wrong order: an axis is reversed and"
                       " should not be", 3)
        if isinstance(node, ast.Compare):
            yield edit(node.left, "mask_scale", f"{_show(node)} leaves out the scale of the mask",
                       2)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield edit(f"({ast.unparse(node)}).T", "transposed",
                       f"the transpose of {_show(node)} is missing", 4)
            if _number(node.slice) is not None or "::-1" in ast.unparse(node.slice):
                base = ast.unparse(node.value)
                if "::-1" in ast.unparse(node.slice):
                    yield edit(node.value, "order", f"{_show(node)} reverses time and should not",
                               3)
                else:
                    yield edit(f"np.sum({base}, axis=0)", "batch", "not summed over the"
                               f" batch: {_show(node)} is one sample of it", 1)
        if not isinstance(node, ast.Call):
            continue
        yield from _one_call(node, edit)


def _one_call(node, edit):
    fn = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    text = ast.unparse(node)
    if fn in ("mean", "max", "average"):
        new = _expr(text)
        new.func.attr = "sum"
        yield edit(new, "batch", f"`{text}` takes the mean over the batch where the sum belongs"
                   if fn != "max" else f"`{text}` takes the maximum where the sum belongs", 1)
    if fn == "sum":
        new = _expr(text)
        if isinstance(new.func, ast.Attribute):
            new.func.attr = "mean"
            yield edit(new, "scaling", f"`{text}` sums where the mean belongs", 4)
        for axis in ("0", "1", "2", "-1", "(0, 1)"):
            for keep in ("", ", keepdims=True"):
                args = ast.unparse(node.args[0]) + ", " if node.args else ""
                head = ast.unparse(node.func)
                new_text = f"{head}({args}axis={axis}{keep})"
                if new_text.replace(" ", "") != text.replace(" ", ""):
                    yield edit(new_text, "axis", f"`{text}` sums over the wrong axis:"
                               f" axis={axis} belongs here", 3)
    if fn in ("dot", "matmul") and len(node.args) == 2:
        new = _expr(text)
        new.args = new.args[::-1]
        yield edit(new, "transposed", f"the factors of `{text}` are in the wrong order", 4)
    if fn in ("tanh", "sigmoid", "exp", "copy", "abs") and len(node.args) == 1:
        yield edit(node.args[0], "input_not_output", f"`{text}` applies the activation to its own"
                   " output" if fn in ("tanh", "sigmoid") else f"`{text}`: {fn} does not belong"
                   " here", 4)
    if fn == "where" and len(node.args) == 3:
        for i in (1, 2):
            yield edit(node.args[i], "extra", f"`{text}` does not belong here", 6)


def _is_written(parent, at):
    """Whether a call writes into its argument: np.add.at(here, ...)."""
    return isinstance(parent, ast.Call) and at == 0 and ast.unparse(parent.func).endswith(".at")


def _value_positions(function: Function):
    """Expressions whose value is a gradient: what is assigned, returned, handed on."""
    for parent, name, at, node in _positions(function.node):
        if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store):
            continue
        value = (isinstance(parent, (ast.Assign, ast.AugAssign, ast.Return)) and name == "value")
        part = isinstance(parent, (ast.Tuple, ast.List)) and isinstance(
            getattr(parent, "ctx", None), ast.Load)
        argument = isinstance(parent, ast.Call) and name == "args" and not (
            isinstance(parent.func, ast.Name)
            and parent.func.id in ("range", "reversed", "enumerate", "zip", "len", "int")) and (
            not _is_written(parent, at))
        term = isinstance(parent, ast.BinOp) and isinstance(parent.op, (ast.Add, ast.Sub))
        if (value or part or argument or term) and not isinstance(node, (ast.Tuple, ast.Slice,
                                                                 ast.Constant, ast.Starred)):
            yield parent, name, at, node


def _values(function: Function, scope: Scope, outcome: Outcome):
    """A factor or a term is missing."""
    arrays = scope.arrays()
    ratio = common_ratio(outcome)
    positions = list(_value_positions(function))
    for parent, name, at, node in positions:
        text, line = ast.unparse(node), node.lineno
        looped = bool(_loops(function)) and _in_loop(function, node)

        def edit(new, kind, said, rank: int, parent=parent, name=name, at=at, node=node, line=line):
            return Edit(function, parent, name, at, new, kind, said, line, rank)

        yield edit(f"-({text})", "sign", f"wrong sign: `{text}` should be negated", 3)
        if ratio is not None:
            masks = [k for k, v in arrays.items() if _is_mask(v) and np.isclose(v.max(), ratio)]
            if masks:
                yield edit(f"({text}) * {ratio!r}", "mask_scale", "the scale of the mask"
                           f" `{masks[0]}` is left out of `{text}`", 0)
            said = ratio_in_words(1 / ratio, outcome)
            yield edit(f"({text}) * {ratio!r}", "scaling", f"scaling is forgotten or wrong in"
                       f" `{text}`: the gradient is {said} times what it should be", 1)
        shape = scope.shape(node)
        if isinstance(parent, (ast.Assign, ast.AugAssign)) and "shape" in text:
            continue
        yield edit(f"np.sum({text}, axis=0)", "batch", f"not summed over the batch: `{text}`", 4)
        for other, value in arrays.items():
            bare = other.removeprefix("self.")
            if shape is not None and not _broadcasts(shape, value.shape):
                continue
            if shape is None or value.shape == shape:
                if (not bare.startswith("d") or len(bare) < 2) and not _is_mask(value):
                    for form, what in (("1 - {0} ** 2", "tanh"), ("{0} * (1 - {0})", "the sigmoid"),
                                       ("({0} > 0)", "relu")):
                        yield edit(f"({text}) * ({form.format(other)})", "missing_derivative",
                                   f"the derivative of {what} is missing: `{text}` times"
                                   f" `{form.format(other)}`", 3)
                if other != text and (bare.startswith("d") or other in scope.arguments):
                    time_path = looped or bare.endswith("next")
                    path = "the path through the next time step" if time_path else (
                        "a path of the gradient")
                    yield edit(f"({text}) + {other}", "path_dropped", f"{path} is dropped:"
                               f" `{other}` is not added to `{text}`", 2)
                if value.ndim > 1:
                    yield from _softmax(edit, text, other, arrays, value)
            kind, said = _factor(text, other, value, scope)
            yield edit(f"({text}) * {other}", kind, said, 4 if kind == "missing_factor" else 2)
        for other, scalar in scope.values.items():
            if isinstance(scalar, (float, np.floating)) and not isinstance(scalar, np.ndarray):
                kind = "dout_ignored" if other in scope.arguments else "mask_scale"
                said = (f"`{other}` is ignored: `{text}` is not multiplied with it"
                        if kind == "dout_ignored" else
                        f"the scale `{other}` is left out of `{text}`")
                yield edit(f"({text}) * {other}", kind, said, 3)
    yield from _pairs(function, scope, positions)


def _factor(text: str, other, value, scope: Scope):
    bare = other.removeprefix("self.")
    if other in scope.arguments:
        return "dout_ignored", f"`{other}` is ignored: `{text}` is not multiplied with it"
    if "mask" in bare or _is_mask(value):
        return "mask", f"the mask `{other}` is not applied to `{text}`"
    return "missing_factor", f"the factor `{other}` is missing in `{text}`"


def _is_mask(value):
    """Whether an array is zero, and one other number."""
    return value.dtype.kind == "b" or (len(flat := np.unique(value)) == 2 and 0 in flat)


def _softmax(edit, text: str, y, arrays, value):
    with np.errstate(all="ignore"):
        if value.dtype.kind != "f" or not np.allclose(value.sum(-1), 1):
            return
    for d, other in arrays.items():
        if d != y and other.shape == value.shape:
            yield edit(f"{y} * ({d} - np.sum({d} * {y}, axis=-1, keepdims=True))",
                       "softmax_diagonal", "only the diagonal of the softmax's Jacobian: the sum"
                       f" over the row is missing, `{y} * ({d} - sum({d} * {y}))`", 3)


def _broadcasts(shape, other):
    try:
        return np.broadcast_shapes(shape, other) == shape
    except ValueError:
        return False


def _pairs(function: Function, scope: Scope, positions):
    """A product is missing as a term: a path of the gradient."""
    arrays = {k: v for k, v in scope.arrays().items() if v.ndim > 1}
    gradients = {k: v for k, v in arrays.items() if k.startswith("d") or k in scope.arguments}
    for parent, name, at, node in positions:
        text, line = ast.unparse(node), node.lineno
        if not isinstance(parent, (ast.Return, ast.Assign, ast.Tuple)):
            continue
        target = None
        if isinstance(parent, ast.Assign):
            target = scope.values.get(_name(parent.targets[0]) or "")
        if isinstance(node, ast.Name) and isinstance(parent, ast.Assign):
            for d, v, w in itertools.product(scope.arguments, arrays, arrays):
                if d in arrays and arrays[d].shape == arrays[v].shape == arrays[w].shape:
                    form = f"{d} * {v} * (1 - {w} ** 2)"
                    yield Edit(function, parent, name, at, f"({text}) + {form}", "path_dropped",
                               f"a path of the gradient is dropped: `{form}` is not added to"
                               f" `{text}`", line, 7)
        for d, dv in gradients.items():
            if isinstance(target, np.ndarray) and target.shape != dv.shape:
                continue
            for other, value in arrays.items():
                if value.shape != dv.shape or other == d:
                    continue
                for form in (f"{d} * {other}", f"{d} * (1 - {other})"):
                    yield Edit(function, parent, name, at, f"({text}) + {form}",
                               "path_dropped", f"a path of the gradient is dropped: `{form}` is not"
                               f" added to `{text}`", line, 7)


def common_ratio(outcome: Outcome, names=None):
    """right / got, where that is one number for all that is wrong (and not 1 or -1)."""
    ratios = []
    for name in names or [g.name for g in outcome.wrong_gradients]:
        got, wanted = outcome.got[name], outcome.wanted[name]
        if not isinstance(got, np.ndarray) or got.shape != wanted.shape or not np.any(got):
            return None
        with np.errstate(all="ignore"):
            r = (wanted * got).sum() / (got * got).sum()
        if not np.isfinite(r) or not np.allclose(got * r, wanted, rtol=1e-6, atol=1e-12):
            return None
        ratios.append(float(r))
    if not ratios or not np.allclose(ratios, ratios[0], rtol=1e-6):
        return None
    return None if abs(abs(ratios[0]) - 1) < 1e-6 else ratios[0]


def ratio_in_words(ratio, outcome: Outcome):
    """A factor, as a size of the inputs where it is one."""
    shape = next((x.shape for x in outcome.setup.inputs if isinstance(x, np.ndarray)), ())
    names = dict(zip(("N", "T"), shape, strict=False))
    known = {**{f"{k} = {v}": v for k, v in names.items()},
             **({f"N T = {names['N'] * names['T']}": names["N"] * names["T"]}
                if len(names) == 2 else {})}
    for text, value in known.items():
        if abs(ratio - value) < 1e-6 * value:
            return text
        if abs(ratio * value - 1) < 1e-6:
            return f"1/({text})"
    return f"{ratio:.4g}"


def _order(function: Function, scope: Scope, outcome: Outcome):
    """Two parts in each other's place: gates in hstack, gradients in return, slices."""
    slices: dict[str, ast.AST] = {}
    for node in ast.walk(function.node):
        if isinstance(node, ast.Subscript) and any(
                isinstance(n, ast.Slice) for n in ast.walk(node.slice)):
            slices.setdefault(ast.unparse(node.slice), node.slice)
    for parent, _, _, node in _positions(function.node):
        if isinstance(node, (ast.Tuple, ast.List)) and 2 <= len(node.elts) <= 6 and not isinstance(
                parent, ast.Subscript):
            for i, j in itertools.combinations(range(len(node.elts)), 2):
                swapped = list(node.elts)
                swapped[i], swapped[j] = swapped[j], swapped[i]
                a, b = ast.unparse(node.elts[i]), ast.unparse(node.elts[j])
                if a == b:
                    continue
                if isinstance(parent, ast.Return):
                    kind, text = "returned_order", (f"`{a}` and `{b}` are returned in each other's"
                                                    " place")
                elif isinstance(getattr(node, "ctx", None), ast.Store):
                    kind, text = "wrong_variable", (f"`{a}` and `{b}` are unpacked in each other's"
                                                    " place")
                else:
                    kind, text = "wrong_gate", (f"the wrong gate: `{a}` and `{b}` stand in each"
                                                " other's place")
                yield Edit(function, node, "elts", None, swapped, kind, text, node.lineno, 2)
        if isinstance(node, ast.Subscript) and ast.unparse(node.slice) in slices:
            for text, other in slices.items():
                if text != ast.unparse(node.slice):
                    yield Edit(function, node, "slice", None, other, "wrong_gate",
                               f"the block of the wrong gate: `{ast.unparse(node)}` where"
                               f" `[{text}]` belongs", node.lineno, 3)
