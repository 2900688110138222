"""Load a file of layers as people write them: without the book's modules beside it, with training
programs at the top level, with float32 hard-coded.

Definitions, imports and assignments of the file are run, one by one; its loops and bare calls,
which are programs and no layers, are not. NumPy is the stand-in of ``numpy_standin``.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .book import BOOK, StandIn
from .limits import TimeUp, time_limit
from .numpy_standin import numpy_standin, wide

# Never wanted for a gradient, slow to import or seldom installed.
_NOT_IMPORTED = {"cupy", "matplotlib", "seaborn", "pylab"}


class LoadError(Exception):
    """The file cannot be read, or is no Python."""


class Module(types.ModuleType):
    """A loaded file: its names, those that it defines in their order (``defined``), and what could
    not be run (``failed``: name -> why)."""

    defined: list[str]
    failed: dict[str, Any]


class _Widen(ast.NodeTransformer):
    """``x.astype(a)`` and ``dtype=a`` ask for float64 where they ask for float32."""

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and node.args:
            node.args[0] = self._wide(node.args[0])
        for keyword in node.keywords:
            if keyword.arg == "dtype":
                keyword.value = self._wide(keyword.value)
        return node

    @staticmethod
    def _wide(value):
        if isinstance(value, ast.Name) and value.id in ("int", "bool", "float"):
            return value
        name = ast.copy_location(ast.Name("__wide__", ast.Load()), value)
        return ast.copy_location(ast.Call(name, [value], []), value)


def widen(tree):
    """The syntax tree, edited to ask for float64 wherever it asks for float32."""
    return _Widen().visit(tree)


_PROGRAM = (ast.Expr, ast.For, ast.While, ast.With, ast.Delete, ast.Assert, ast.Raise)


def load(path, seconds: float = 5.0, _loaded=None):
    """Run the definitions of the file at ``path``; returns a ``Module``.

    Raises LoadError if the file cannot be read or parsed.
    """
    path = Path(path)
    try:
        source = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, str(path))
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise LoadError(f"{path}{where}: no Python: {getattr(error, 'msg', error)}") from None
    module = Module(path.stem)
    module.__file__ = str(path)
    module.failed = {}
    module.defined = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    loaded = {} if _loaded is None else _loaded
    loaded[path.resolve()] = module
    names = module.__dict__
    importer = _Importer(path.resolve().parent, loaded, seconds)
    names["__builtins__"] = {**vars(builtins), "__import__": importer}
    names["__wide__"] = wide
    # dataclasses and pickle look a class's module up here
    sys.modules.setdefault(path.stem, module)
    try:
        _run(widen(tree), names, str(path), module.failed, seconds)
    finally:
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
    return module


def _run(tree, names, filename: str, failed, seconds: float):
    state = np.random.get_state()  # noqa: NPY002 the state that the file's own code draws from
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), np.errstate(
            all="ignore"):
        warnings.simplefilter("ignore")
        for statement in tree.body:
            if isinstance(statement, _PROGRAM):
                continue
            code = compile(ast.Module([statement], []), filename, "exec", dont_inherit=True)
            try:
                with time_limit(seconds):
                    exec(code, names)
            except (Exception, SystemExit, TimeUp) as error:
                name = getattr(statement, "name", None) or ast.unparse(statement).split("\n")[0]
                failed[name] = f"{type(error).__name__}: {error}"
    np.random.set_state(state)  # noqa: NPY002


class _Importer:
    """``__import__`` for a checked file: the stand-in for NumPy; files beside it, loaded the same
    way; real modules; and stand-ins for the rest."""

    def __init__(self, folder, loaded, seconds: float):
        self.folders, self.loaded, self.seconds = [folder, folder.parent], loaded, seconds

    def __call__(self, name, globals=None, locals=None, fromlist=(), level=0):
        root = name.partition(".")[0]
        if level:
            folder = self.folders[0]
            for _ in range(level - 1):
                folder = folder.parent
            if name:
                return self._relative(name, folder)
            space = types.SimpleNamespace()
            for item in fromlist or ():
                setattr(space, item, self._relative(item, folder))
            return space
        if root == "numpy":
            return self._numpy(name, fromlist)
        found = self._find(name)
        module = found if found is not None else self._elsewhere(name, fromlist)
        if fromlist or "." not in name:
            return self._with(module, name, fromlist)
        return self._package(name, module)

    def _relative(self, name, folder):
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        if path.is_file():
            return self._load(path)
        found = self._find(name)
        return found if found is not None else self._elsewhere(name, ())

    def _numpy(self, name, fromlist):
        module = numpy_standin
        if fromlist:
            for part in name.split(".")[1:]:
                module = getattr(module, part)
        return module

    def _find(self, name):
        for folder in self.folders:
            path = folder.joinpath(*name.split("."))
            if path.with_suffix(".py").is_file():
                return self._load(path.with_suffix(".py"))
        return None

    def _load(self, path):
        path = path.resolve()
        if path not in self.loaded:
            try:
                load(path, self.seconds, self.loaded)
            except LoadError as error:
                raise ImportError(str(error)) from None
        return self.loaded[path]

    def _elsewhere(self, name, fromlist):
        root = name.partition(".")[0]
        if name in BOOK:
            return StandIn(name, BOOK[name])
        if root in _NOT_IMPORTED or root in BOOK:
            return StandIn(name, {})
        try:
            __import__(name)
            return sys.modules[name]
        except ImportError:
            return StandIn(name, {})

    def _with(self, module, name, fromlist):
        """``from common import layers``: the submodules that are asked for, in place."""
        for item in fromlist or ():
            if item != "*" and item not in vars(module):
                inner = self._find(f"{name}.{item}")
                if inner is None and f"{name}.{item}" in BOOK:
                    inner = StandIn(f"{name}.{item}", BOOK[f"{name}.{item}"])
                if inner is not None:
                    setattr(module, item, inner)
        return module

    def _package(self, name, module):
        """``import a.b`` binds a, in which b is found."""
        root, *rest = name.split(".")
        if root in sys.modules and sys.modules.get(name) is module:
            return sys.modules[root]
        top = space = types.ModuleType(root)
        for part in rest[:-1]:
            inner = types.ModuleType(part)
            setattr(space, part, inner)
            space = inner
        setattr(space, rest[-1], module)
        return top


def layers_of(module):
    """The classes that the file defines and that have a ``forward`` of their own or inherited,
    in the order of the file; those whose forward is only a placeholder are left out."""
    found = {c for c in vars(module).values() if isinstance(c, type)
             and c.__module__ == module.__name__ and c.__name__ in module.defined
             and callable(forward := getattr(c, "forward", None)) and not _is_placeholder(forward)}
    return sorted(found, key=lambda c: module.defined.index(c.__name__))


def _is_placeholder(fn):
    code = getattr(fn, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)
