"""The functions that a layer runs, as source: found, edited, and run in their edited form."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .loading import is_widened, widen

_HERE = Path(__file__).parent


@dataclass
class Function:
    """A function of the checked code: the object, and its definition, a tree of its own."""

    fn: types.FunctionType
    node: ast.FunctionDef
    filename: str


class _Bare(ast.NodeTransformer):
    """Takes the annotations out: they compute nothing, and are no place for a mistake."""

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        bare = ast.Assign([node.target], node.value) if node.value else ast.Pass()
        return ast.copy_location(bare, node)


def definitions(filename: str):
    """The functions that a file or a cell defines, by name and first line. The trees are new each
    time, for the caller to edit: the nodes that came from the source are marked ``original``."""
    return _parsed(filename, _text(filename))


def to_read(filename: str):
    """The same, not to be edited: made once, as in a long file they take as long as a judgement."""
    return _parsed_once(filename, _text(filename))


def _text(filename):
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename))


def _parsed(filename, text):
    try:
        tree = _Bare().visit(ast.parse(text, filename))
    except (SyntaxError, ValueError):
        return {}
    node: Any
    for node in ast.walk(tree):
        node.original = True
    return {(node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])): node
            for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


_parsed_once = functools.lru_cache(16)(_parsed)


@functools.cache
def node_of(fn) -> Any:
    """The definition of a function, to be read, None if it is not found."""
    code = getattr(fn, "__code__", None)
    return to_read(code.co_filename).get((code.co_name, code.co_firstlineno)) if code else None


@functools.cache  # asked for in each run of a backward
def returned_names(fn) -> list[str]:
    """What stands in the last return of a function: ["next_h", "cache"]."""
    node = node_of(fn)
    returns = [n for n in ast.walk(node) if isinstance(n, ast.Return) and n.value] if node else []
    if not returns:
        return []
    value = max(returns, key=lambda n: n.lineno).value
    return [ast.unparse(v) for v in (value.elts if isinstance(value, ast.Tuple) else [value])]


@functools.cache  # asked for in each run of a backward
def displays(fn) -> dict[str, list[str]]:
    """What stands in the tuples and lists that a function assigns to names: grads = dW, db."""
    nodes: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return {t.id: [ast.unparse(v) for v in n.value.elts] for n in nodes if isinstance(n, ast.Assign)
            and isinstance(n.value, (ast.Tuple, ast.List)) for t in n.targets
            if isinstance(t, ast.Name)}


def attributes_set(fn, but_none=False) -> list[str]:
    """The attributes of ``self`` that a method assigns to; ``but_none``: something else than
    None."""
    nodes: Any = [*ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))]
    none = [t for n in nodes if isinstance(n, ast.Assign) and getattr(n.value, "value", 0) is None
            for t in n.targets]
    return _attributes([n for n in nodes if not (but_none and n in none)], ast.Store)


def attributes_read(fn) -> list[str]:
    """The attributes of ``self`` that a method reads."""
    return _attributes(ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])), ast.Load)


def _attributes(nodes: Any, way) -> list[str]:
    return list(dict.fromkeys(n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(
        n.ctx, way) and isinstance(n.value, ast.Name) and n.value.id == "self"))


def is_array_there(fn, name: str) -> bool:
    """Whether a function takes an argument for an array: its length, its shape, parts of it."""
    found: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return any(isinstance(part, ast.Name) and part.id == name for n in found for part in (
        n.args if isinstance(n, ast.Call) and ast.unparse(n.func) == "len" else
        [n.value] if isinstance(n, (ast.Attribute, ast.Subscript)) else []))


@functools.cache  # asked for in each run of a backward
def keys_of(fn, name: str) -> set[str]:
    """The keys of a dict that a function reads or sets."""
    nodes: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return {n.slice.value for n in nodes if isinstance(n, ast.Subscript) and ast.unparse(
        n.value) == name and isinstance(n.slice, ast.Constant) and isinstance(n.slice.value, str)}


def compared(fn, name: str, kind: type = str) -> list[Any]:
    """The words, or the numbers, that a function compares an argument with, or looks for it among.
    """
    nodes: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return [c.value for n in nodes if isinstance(n, ast.Compare) and ast.unparse(n.left) == name
            for those in n.comparators for c in getattr(those, "elts", [those])
            if isinstance(c, ast.Constant) and type(c.value) is kind]


def keys_read(fn, name: str, seen=()) -> dict[str, list[Any]] | None:
    """The keys by which a function, or one that it hands it to, reads the dict ``name``, without
    those for which it has a default: key -> the constants that its value is compared with. None
    where the function reads it in another way."""
    node: Any = node_of(inspect.unwrap(fn))
    found: dict[str, list[Any]] | None = None
    holds: dict[str, str] = {}  # a variable -> the key whose value it has
    n: Any

    def key_of(n):
        keys = _keys(n.slice) if isinstance(n, ast.Subscript) and (
            ast.unparse(n.value) == name) else []
        layered.extend(keys[1:])
        return keys[0] if keys else None

    layered: list[str] = []  # of a second layer
    left_out = [n.value for n in ast.walk(node or ast.Module([], [])) if isinstance(n, ast.Assign)
                and isinstance(n.value, ast.Call) and may_be_none(fn, ast.unparse(n.targets[0]))]
    for n in ast.walk(node) if node else ():
        if isinstance(n, ast.Call):
            called: Any = n.func
            other = fn.__globals__.get(getattr(called, "id", None))
            if getattr(called, "attr", "") == "get" and n.args and (  # .get() is CuPy's
                    ast.unparse(called.value) == name):
                needed = _keys(n.args[0])[:1] if len(n.args) == 1 and n not in left_out else []
                found = {**(found or {}), **{k: [] for k in needed}}
            elif isinstance(other, types.FunctionType) and other not in (fn, *seen):
                taken = other.__code__.co_varnames[: other.__code__.co_argcount]
                for theirs, given in [*zip(taken, n.args, strict=False),
                                      *((k.arg, k.value) for k in n.keywords if k.arg)]:
                    keys = keys_read(other, theirs, (fn, *seen)) if (
                        ast.unparse(given) == name) else None
                    found = found if keys is None else {**(found or {}), **keys}
        elif isinstance(n, ast.Assign):
            pairs = zip(n.targets[0].elts, n.value.elts, strict=False) if isinstance(
                n.value, ast.Tuple) and isinstance(n.targets[0], ast.Tuple) else [
                (n.targets[0], n.value)]
            holds |= {ast.unparse(to): key for to, value in pairs if (key := key_of(value))}
        elif key_of(n) and isinstance(n.ctx, ast.Load):
            found = {**(found or {}), key_of(n): []}
    for n in ast.walk(node) if found else ():
        if isinstance(n, ast.Compare) and isinstance(n.comparators[0], ast.Constant):
            key = key_of(n.left) or holds.get(ast.unparse(n.left))
            if key in found:
                found[key].append(n.comparators[0].value)
    return {**found, **{k: [] for k in layered}} if found else found



def keys_kept(cls, name: str, seen=()) -> dict[str, list[Any]]:
    """The keys by which a constructor reads a dict, as above, and those by which methods read it
    where it is kept, or another class that it is handed to."""
    init = inspect.unwrap(cls.__init__)
    found = dict(keys_read(init, name) or {}) if isinstance(init, types.FunctionType) else {}
    n: Any
    for n in ast.walk(node_of(init) or ast.Module([], [])):
        if isinstance(n, ast.Assign) and ast.unparse(n.value) == name:
            for fn in vars(cls).values():
                if isinstance(fn, types.FunctionType):
                    found |= keys_read(fn, ast.unparse(n.targets[0])) or {}
        elif isinstance(n, ast.Call) and isinstance(n.func, ast.Name):
            other = init.__globals__.get(n.func.id)
            theirs_made = vars(other).get("__init__") if isinstance(other, type) else None
            taken = theirs_made.__code__.co_varnames[1 : theirs_made.__code__.co_argcount] if (
                isinstance(theirs_made, types.FunctionType) and other not in (cls, *seen)) else ()
            for theirs, given in zip(taken, n.args, strict=False):
                if ast.unparse(given) == name:
                    found |= keys_kept(other, theirs, (cls, *seen))
    return found


def _keys(n) -> list[str]:
    """The keys that an expression stands for: one, or those of two layers, "W" + str(l)."""
    if isinstance(n, ast.Constant):
        return [n.value] if isinstance(n.value, str) else []
    text = ast.unparse(n)
    stem = re.fullmatch(r"'([A-Za-z_]+)' \+ (?:str|repr)\(.*\)|f'([A-Za-z_]+)\{.*\}'"
                        r"|'([A-Za-z_]+)%[di]' % .*", text)
    return [f"{stem[stem.lastindex]}{k}" for k in (1, 2)] if stem else []


def items_read(fn, name: str, alone=True) -> list[str]:
    """What stands in an argument that is a list or a tuple, as far as the function reads it item by
    item (``alone``: and in no other way): ["x", "h"] of ``x, h = inputs``, ["inputs_0", "inputs_1"]
    of inputs[0] and inputs[1]; [] where it is none."""
    node: Any = node_of(inspect.unwrap(fn)) or ast.Module([], [])
    uses = sum(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))
    at: list[int] = []
    for n in ast.walk(node):
        if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Tuple) and (
                ast.unparse(n.value) == name) and (uses == 1 or not alone):
            items = [ast.unparse(t) for t in n.targets[0].elts]
            return items if all(map(str.isidentifier, items)) else [
                f"{name}_{i}" for i in range(len(items) * (not alone))]
        if isinstance(n, ast.Subscript) and ast.unparse(n.value) == name and isinstance(
                n.slice, ast.Constant) and isinstance(n.slice.value, int):
            at.append(n.slice.value)
    every = list(range(max(at, default=0) + 1))
    return [f"{name}_{i}" for i in every] if (len(at) == uses or not alone) and (
        sorted(set(at)) == every and len(every) > 1) else []


def is_multiplied(fn, name: str) -> bool:
    """Whether a function multiplies with a variable or attribute of this name as with a matrix."""
    operands: list[Any] = []
    for n in ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])):
        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.MatMult):
            operands += [n.left, n.right]
        if isinstance(n, ast.Call) and getattr(n.func, "attr", "") in ("dot", "matmul"):
            operands += [n.func.value, *n.args[:2]]  # type: ignore[attr-defined]
    bare = [o.value if getattr(o, "attr", "") == "T" else o for o in operands]
    return any(name in (getattr(o, "id", ""), getattr(o, "attr", "")) for o in bare)


def has_parts(cls, name: str, kind: type) -> bool:
    """Whether methods of a class read items (ast.Subscript) or attributes (ast.Attribute) of an
    argument, or of the attribute of its name."""
    functions = [fn for c in cls.__mro__ for fn in vars(c).values()
                 if isinstance(fn, types.FunctionType)]
    nodes = [n for fn in functions for n in ast.walk(
        node_of(inspect.unwrap(fn)) or ast.Module([], [])) if isinstance(n, kind)]
    return any(ast.unparse(n.value) in (name, f"self.{name}")  # type: ignore[attr-defined]
               for n in nodes)


def is_gone_through(fn, name: str) -> bool:
    """Whether a function goes through an argument, item by item."""
    nodes: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return any(name in [getattr(m, "id", "") for m in ast.walk(part)] for n in nodes for part in (
        [n.value] if isinstance(n, ast.Starred) else
        [n.iter] if isinstance(n, (ast.For, ast.comprehension)) else []))


def is_asked(fn, name: str) -> bool:
    """Whether a function asks if an argument is true, as it does of a flag."""
    tests = [t for n in ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
             if isinstance(n, (ast.If, ast.IfExp, ast.While)) for t in (
                 n.test.values if isinstance(n.test, ast.BoolOp) else [n.test])]
    return name in {ast.unparse(t.operand if isinstance(t, ast.UnaryOp) else t) for t in tests}


def is_place(fn, name: str) -> bool:
    """Whether an argument says where a function writes into another one: sums[i] = x."""
    nodes: Any = ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))
    return any(name in {ast.unparse(part) for part in ast.walk(n.slice)} for n in nodes
               if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
               and isinstance(n.value, ast.Name) and n.value.id in fn.__code__.co_varnames[
                   : fn.__code__.co_argcount])


def may_be_none(fn, name: str) -> bool:
    """Whether a function asks if an argument is None."""
    return any(isinstance(n, ast.Compare) and ast.unparse(n) in (
        f"{name} is None", f"{name} is not None", f"{name} == None", f"{name} != None")
        for n in ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])))


def is_read(fn, line: int | None) -> bool:
    """Whether a function reads a name elsewhere that the statement at a line assigns, or where
    that is no assignment to a name."""
    nodes: Any = list(ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])))
    names = [n for n in nodes if isinstance(n, ast.Name)]
    bound = {n.id for n in names if isinstance(n.ctx, ast.Store) and n.lineno == line}
    return not bound or any(n.id in bound and isinstance(n.ctx, ast.Load) and n.lineno != line
                            for n in names)


def has_loop(fn) -> bool:
    """Whether a function, one step after another, goes through something."""
    return any(isinstance(n, (ast.For, ast.While)) for n in ast.walk(
        node_of(inspect.unwrap(fn)) or ast.Module([], [])))


@functools.cache
def untouched(fn) -> set[str]:
    """The arguments that a function takes and never reads."""
    node = node_of(inspect.unwrap(fn))
    read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} if node is not None else None
    return set() if read is None else {p for p in inspect.unwrap(fn).__code__.co_varnames[
        : inspect.unwrap(fn).__code__.co_argcount] if p not in read}


def is_computed_with(fn) -> bool:
    """Whether a method computes something with an argument of its own."""
    node: Any = node_of(inspect.unwrap(fn))
    return node is not None and any(
        isinstance(n, ast.Name) and n.id in {a.arg for a in node.args.args[1:]}
        for part in ast.walk(node) if isinstance(part, (ast.BinOp, ast.AugAssign, ast.Call))
        for n in ast.walk(part))


def left_none(fn) -> list[str]:
    """The names to which a function assigns None and nothing else, or to which it adds None: what
    is to be written yet."""
    assigned: dict[str, set[bool]] = {}
    for n in ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], [])):
        if isinstance(n, (ast.Assign, ast.AugAssign)):
            targets: Any = n.targets if isinstance(n, ast.Assign) else [n.target]
            values = n.value.elts if isinstance(n.value, ast.Tuple) else [n.value]
            is_none = all(isinstance(v, ast.Constant) and v.value is None for v in values)
            if is_none and isinstance(n, ast.AugAssign):
                assigned[ast.unparse(n.target)] = {True}
            for name in ast.walk(ast.Tuple(targets, ast.Load())):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    assigned.setdefault(name.id, set()).add(is_none)
    return [name for name, none in assigned.items() if none == {True}]


def unread(fn) -> list[str]:
    """The variables that a function computes, one by one, and that nothing in it reads."""
    nodes: Any = [*ast.walk(node_of(inspect.unwrap(fn)) or ast.Module([], []))]
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    targets = [t for n in nodes if isinstance(n, ast.Assign) and not isinstance(
        n.value, (ast.Constant, ast.Name, ast.Attribute)) for t in n.targets]
    return [*dict.fromkeys(t.id for t in targets if isinstance(t, ast.Name) and t.id not in read)]


def weights_first(fn, seen=()) -> int:
    """How many more products of a function, and of those that it calls, have a weight on the left
    (W @ x, with the batch in columns) than on the right."""
    if not isinstance(fn, types.FunctionType) or fn in seen:
        return 0
    node: Any = node_of(fn) or ast.Module([], [])
    count = 0
    for n in ast.walk(node):
        factors = [n.left, n.right] if isinstance(n, ast.BinOp) and isinstance(
            n.op, ast.MatMult) else []
        if isinstance(n, ast.Call):
            if getattr(n.func, "attr", "") in ("dot", "matmul") and len(n.args) == 2:
                factors = n.args
            count += weights_first(fn.__globals__.get(getattr(n.func, "id", "")), (*seen, fn))
        if factors:
            left, right = (bool(re.fullmatch(r".*\b[WUV]\w*\W*", ast.unparse(f))) for f in factors)
            count += left - right
    return count


def is_ours(filename: str):
    """Whether a file holds a stand-in of ours for the book's modules."""
    path = Path(filename)
    return path == _HERE / "book.py" or _HERE.parent / "manual" in path.parents


def _is_theirs(filename: str, home):
    """Whether a file belongs to the checked code: in the layer's folder or next to it, or one of
    the stand-ins for the book's modules."""
    path = Path(filename)
    if is_ours(filename) or filename.startswith("<ipython-input"):
        return True
    if _HERE in path.parents or "site-packages" in path.parts or not path.suffix:
        return False
    return path.parent == home or home.parent in path.parents[:2]


def codes_run(call, filename: str, local=None):
    """Run ``call()``; returns the code objects of the checked code that ran, with their globals.
    ``local``: a dict that is filled with the local variables of each, as it last returned."""
    home = Path(filename).parent
    found: dict[types.CodeType, dict[str, Any]] = {}
    theirs: dict[str, bool] = {}

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code not in found:
            name = code.co_filename
            if name not in theirs:
                theirs[name] = is_widened(frame) or _is_theirs(name, home)
            if theirs[name]:
                found[code] = frame.f_globals
        elif event == "return" and local is not None and code in found:
            local[code] = frame.f_locals

    with profiled(note):
        call()
    return found


def lines_run_in(call, codes) -> list[int]:
    """The lines of these code objects that ``call()`` runs, each as often as it is run."""
    lines = []

    def note(frame, event, _):
        if event == "line":
            lines.append(frame.f_lineno)
        return note if frame.f_code in codes else None

    with traced(note):
        call()
    return lines


def not_reached(fn, lines) -> list[str]:
    """The statements of a function that compute something and were not run, where these lines
    were: "7", or "7-9" where they stand together."""
    run, found = set(lines), list[str]()
    missed = {line for *_, line in fn.__code__.co_lines() if line} - run

    def computes(n):
        return isinstance(n, (ast.Assign, ast.AugAssign)) or (
            isinstance(n, ast.Return) and n.value is not None)

    def look(block):
        for k, n in enumerate(block):
            head = {*range(n.lineno, n.body[0].lineno if hasattr(n, "body") else n.end_lineno + 1)}
            if head & missed and not head & run:
                if any(computes(m) for rest in block[k:] for m in ast.walk(rest)):
                    first, last = n.lineno, block[-1].end_lineno
                    found.append(str(first) if first == last else f"{first}-{last}")
                return
            for part in ("body", "orelse", "finalbody"):
                look(getattr(n, part, []))

    look(getattr(node_of(fn), "body", []))
    return found


@contextlib.contextmanager
def _watching(note, get, put):
    """One written in C cannot be put back from here."""
    earlier = get()
    put(note)
    try:
        yield
    finally:
        put(earlier if callable(earlier) else None)


def profiled(note):
    """``note`` is called as a profiler is inside the block."""
    return _watching(note, sys.getprofile, sys.setprofile)


def traced(note):
    """``note`` is called as a tracer is inside the block."""
    return _watching(note, sys.gettrace, sys.settrace)


def _functions_in(names):
    for value in list(names.values()):
        if isinstance(value, types.FunctionType):
            yield value
        elif isinstance(value, type):
            for inner in vars(value).values():
                inner = getattr(inner, "__func__", inner)
                if isinstance(inner, types.FunctionType):
                    yield inner


def functions_of(codes, objects=()):
    """The function objects of code objects, as far as the classes of ``objects``, which a later
    name may hide, and module globals lead to them."""
    index: dict[types.CodeType, types.FunctionType] = {}
    classes = {base.__qualname__: base for x in objects for base in type(x).__mro__}
    for names in [classes, *{id(names): names for names in codes.values()}.values()]:
        for fn in _functions_in(names):
            index.setdefault(fn.__code__, fn)
    return [index[code] for code in codes if code in index]


def with_source(functions):
    """``Function``s for those whose definition is found in their file."""
    found = []
    trees: dict[str, dict[Any, Any]] = {}
    for fn in functions:
        code = fn.__code__
        if code.co_filename not in trees:
            trees[code.co_filename] = definitions(code.co_filename)
        node = trees[code.co_filename].get((code.co_name, code.co_firstlineno))
        if node is None or set(code.co_freevars) - {"__class__"}:
            continue
        node.decorator_list = []
        if is_widened(fn):
            node = widen(node)
        found.append(Function(fn, node, code.co_filename))
    return found


def compiled(function: Function, node):
    """The code object of an edited definition, or None if it cannot stand in for the original."""
    since_3_12: dict[str, Any] = {"type_params": []}
    owner = "".join(function.fn.__qualname__.split(".")[-2:-1])  # self.__name is told by it
    holder = ast.ClassDef(owner if owner.isidentifier() else "_", [], [], [node], [], **since_3_12)
    ast.copy_location(holder, node)
    try:
        outer = compile(ast.Module([holder], []), function.filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, TypeError):
        return None
    (inner,) = (c for c in outer.co_consts if isinstance(c, types.CodeType))
    for code in inner.co_consts:
        if isinstance(code, types.CodeType) and code.co_name == node.name:
            return code if code.co_freevars == function.fn.__code__.co_freevars else None
    return None


_WHICH = "which one?"  # a constant that stands for the number of an alternative


def one_of(expressions):
    """An expression that is each of several, by a number that ``chosen`` puts into its code:
    compiled once instead of once for each."""
    whole = expressions[-1]
    for i in reversed(range(len(expressions) - 1)):
        is_it = ast.Compare(ast.Constant(_WHICH), [ast.Eq()], [ast.Constant(i)])
        whole = ast.IfExp(is_it, expressions[i], whole)
    return whole


def chosen(code: types.CodeType, i: int) -> types.CodeType:
    """The code in which ``one_of`` is the expression of that number."""
    return code.replace(co_consts=tuple(
        i if type(c) is str and c == _WHICH else
        chosen(c, i) if isinstance(c, types.CodeType) else c for c in code.co_consts))


@contextlib.contextmanager
def replaced(pairs):
    """Functions run other code inside the block: pairs (function object, code)."""
    earlier = [(fn, fn.__code__) for fn, _ in pairs]
    try:
        for fn, code in pairs:
            fn.__code__ = code
        yield
    finally:
        for fn, code in earlier:
            fn.__code__ = code


def without_epsilon(functions):
    """Pairs for ``replaced``, in which numbers such as 1e-7 are 0; empty if there are none."""
    found = []
    for fn in functions:
        code = fn.__code__
        if any(isinstance(c, float) and 0 < c <= 1e-4 for c in code.co_consts):
            consts = tuple(0.0 if isinstance(c, float) and 0 < c <= 1e-4 else c
                           for c in code.co_consts)
            found.append((fn, code.replace(co_consts=consts)))
    return found


@functools.cache
def handed_on(fn) -> str:
    """The name of the method that a function hands its ``*args`` on to, "" where there is none."""
    node: Any = node_of(fn)
    args = getattr(node.args.vararg, "arg", "") if node else ""
    return next((n.func.attr for n in ast.walk(node) if isinstance(n, ast.Call)
                 and ast.unparse(n.func).startswith("self.") and isinstance(n.func, ast.Attribute)
                 and any(ast.unparse(a) == f"*{args}" for a in n.args)), "") if args else ""
