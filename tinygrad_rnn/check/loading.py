"""Load files of layers as their authors would: with their own modules, wherever those stand, and
without the programs at the top level of them.

Definitions, imports and assignments are run, one by one, and so are ``if`` and ``try``; loops and
bare calls at the top level, which are programs and no layers, are not. All that stands in the
author's folders is loaded like this. NumPy is the stand-in of ``numpy_standin``.

What a checked file must not see of us stands in the builtins of its modules, never among its names:
a module that imports everything of another would hand it on.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import contextlib
import io
import linecache
import re
import sys
import tempfile
import types
import warnings
from dataclasses import dataclass, field
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import numpy as np

from . import notebooks
from .book import StandIn, contents_of
from .limits import TimeUp, time_limit
from .numpy_standin import as_float, as_int, as_type, cupy_standin, numpy_standin, shaped, wide
from .words import say

# Never wanted for a gradient, slow to import or seldom installed.
_NOT_IMPORTED = {"matplotlib", "seaborn", "pylab", "japanize_matplotlib", "IPython", "google"}
# Libraries that have modules of the names of the book's: keras.layers, torch.optim.
LIBRARIES = {"tensorflow", "keras", "torch", "chainer", "jax", "mxnet", "sklearn", "scipy"}
_NUMPY = {"numpy": numpy_standin, "cupy": cupy_standin, "cupyx": cupy_standin}
# What shows that a folder is the top of a repository.
_TOPS = (".git", ".hg", "pyproject.toml")  # setup.py may build a part of it
_FOLDERS_ABOVE = 4  # looked into where nothing shows the top


class LoadError(Exception):
    """The file cannot be read, or is no Python; its argument is a sentence that ``words`` can say
    in other languages."""


class _Widen(ast.NodeTransformer):
    """``x.astype(a)`` and ``dtype=a`` ask for float64 where they ask for float32; ``float(x)``
    leaves a Tensor as it is; ``x.shape = s`` gives the name x to what has that shape; ``type(x)``
    that is compared with a type is np.ndarray for a Tensor, too."""

    def visit_Assign(self, node):
        self.generic_visit(node)
        (target, *others) = node.targets
        if others or not isinstance(target, ast.Attribute) or target.attr != "shape":
            return node
        x = ast.parse(ast.unparse(target.value), mode="eval").body
        call = ast.Call(ast.Name("__shaped__", ast.Load()), [x, node.value], [])
        name: Any = target.value
        name.ctx = ast.Store()
        new = ast.copy_location(ast.Assign([name], call), node)
        for part in ast.walk(call):
            ast.copy_location(part, node)
        return new

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("float", "int"):
            node.func.id = f"__{node.func.id}__"
        if isinstance(node.func, ast.Attribute) and node.func.attr == "astype" and node.args:
            node.args[0] = self._wide(node.args[0])
        for keyword in node.keywords:
            if keyword.arg == "dtype":
                keyword.value = self._wide(keyword.value)
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        of: Any = getattr(node.left, "func", None)
        if getattr(of, "id", "") == "type" and len(node.left.args) == 1:
            of.id = "__type__"
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


def is_widened(fn):
    """Whether a function, or a frame, runs in a module that was loaded here."""
    names = getattr(fn, "__builtins__", None) or getattr(fn, "f_builtins", None) or {}
    return "__wide__" in names


# --- texts ---------------------------------------------------------------------------------------


@dataclass
class Text:
    """Python that is read as a whole: a file, or a cell of a notebook."""

    filename: str
    tree: ast.Module
    failed: dict[str, str] = field(default_factory=dict)  # what it would define -> why it does not
    encoding: str = ""  # where it is none in which Python reads the file


def read(path: Path, seconds: float = 5.0, source: str | None = None) -> list[Text]:
    """The texts of a file, or of ``source`` under its name. Raises LoadError if it cannot be read
    or parsed; a cell of a notebook that is no Python is left out."""
    if source is not None:
        text = _parsed(notebooks.plain(source), str(path))
        return [text] if isinstance(text, Text) else _no_python(path, text)
    if not path.is_file():
        raise LoadError(say("{path}: a folder" if path.is_dir() else "{path}: no file"
                            if path.exists() else "{path}: no such file", path=str(path)))
    try:
        with time_limit(seconds):
            content = path.read_bytes()
    except OSError as error:
        raise LoadError(say("{path}: {error}", path=str(path),
                            error=error.strerror or str(error))) from None
    except TimeUp:
        raise LoadError(say("{path}: cannot be read within {seconds} s", path=str(path),
                            seconds=f"{seconds:g}")) from None
    if path.suffix == ".ipynb":
        try:
            return [_cell(text, f"{path}, cell {n}", n) for n, text in notebooks.cells(content)]
        except ValueError as error:
            raise LoadError(say("{path}: no notebook: {error}", path=str(path),
                                error=str(error))) from None
    whole = _in_other_encoding(content, str(path)) or _parsed(content, str(path))
    return [whole] if isinstance(whole, Text) else _no_python(path, whole, content)


def _in_other_encoding(content: bytes, filename: str):
    """The Text of a file that an editor has saved in the encoding of its system, else None."""
    if content.isascii() or re.match(rb"(.*\n)?[ \t]*#.*coding[:=]", content):
        return None
    for encoding in ("utf-8", "cp949", "cp932", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            source = content.decode(encoding)
            text = _parsed(source.replace("\r\n", "\n"), filename) if encoding != "utf-8" else None
            if isinstance(text, Text):
                text.encoding = encoding
            return text if isinstance(text, Text) else None
    return None


def _cell(source: str, filename: str, number: int):
    """A cell as a Text; of one that is no Python, the names of its classes."""
    text = _parsed(source, filename)
    if isinstance(text, Text):
        return text
    why = say("cell {n}, line {line}: {error}", n=number, line=getattr(text, "lineno", 1),
              error=f"{type(text).__name__}: {getattr(text, 'msg', text)}")
    return Text(filename, ast.Module([], []), dict.fromkeys(
        re.findall(r"^class\s+(\w+)", source, re.MULTILINE), why))


# What no Python 3 has: print "x"; except A, e; raise A, "x".
_PYTHON_2 = re.compile(rb"^[ \t]*(print[ \t]+[\w\"']+[^=\n]*$|(except|raise)[ \t]+\w+,)", re.M)


def _no_python(path: Path, error, content: bytes = b""):
    line = getattr(error, "lineno", None)
    if line and (_PYTHON_2.search(content) or "call to 'print'" in str(error)):
        raise LoadError(say("{path}, line {n}: Python 2, which Python 3 does not run: {error}",
                            path=str(path), n=line, error=str(error.msg)))
    raise LoadError(say("{path}, line {n}: no Python: {error}" if line else
                        "{path}: no Python: {error}", path=str(path), n=line,
                        error=str(getattr(error, "msg", error))))


def _parsed(source, filename: str):
    """A Text, or what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, filename)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error
    if isinstance(source, str):  # a cell: no file that a traceback could read
        lines = source.splitlines(keepends=True)
        linecache.cache[filename] = len(source), None, lines, filename
    return Text(filename, tree)


# --- where the author's modules stand ------------------------------------------------------------


def folders_of(path: Path) -> list[Path]:
    """Where modules of the author are looked for: the folder of the file, then those above it, up
    to the top of the repository."""
    chain = [path.parent, *path.parent.parents]
    home, nowhere = Path.home(), {Path(tempfile.gettempdir()).resolve(), Path(path.anchor)}
    nowhere.update([home, *home.parents])
    found: list[Path] = []
    for folder in chain:
        if found and folder in nowhere:
            break
        found.append(folder)
        if any((folder / mark).exists() for mark in _TOPS):
            return found
    return found[: _FOLDERS_ABOVE + 1]


def _package(path: Path, texts: list[Text]):
    """The name of a file as a module, and the folder from which it is imported: as many folders
    up as it imports relatively, or as are packages, where it imports its own or that imports it."""
    nodes = [node for text in texts for node in ast.walk(text.tree)]
    levels = max((n.level for n in nodes if isinstance(n, ast.ImportFrom)), default=0)
    named = {n.module for n in nodes if isinstance(n, ast.ImportFrom)} | {
        a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    folder, parts = path.parent, [path.stem.replace(".", "_")]
    while folder.parent != folder and (
            (folder / "__init__.py").is_file() or len(parts) < levels + 1) and (
            folder.name.isidentifier()):
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts == [path.stem] and any(str(name).startswith(f"{path.stem}.") for name in named):
        return f"_{path.stem}", folder  # of a package that has its name, somewhere else
    init = path.parent / "__init__.py"
    own = levels or parts[0] in {str(name).partition(".")[0] for name in named} or (
        init.is_file() and re.search(rf"\b{re.escape(path.stem)}\b", init.read_text("utf-8",
                                                                                   "replace")))
    return ".".join(parts) if own else path.stem, folder


# --- loading -------------------------------------------------------------------------------------


@dataclass
class Loaded:
    """One module of the author: the classes and functions that it defines, in their order, and
    what could not be run (statement or name -> why)."""

    module: types.ModuleType
    defined: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)  # the last of each name that it defines
    flags: int = 0  # of the compiler: from __future__ import annotations


class Program:
    """The code of an author: one file, and all modules of theirs that it imports. What it imports
    is found here first; nothing of it stays in ``sys.modules``."""

    def __init__(self, path, seconds: float = 5.0, watch=lambda statement: True, source=None):
        self.path = Path(path).resolve()
        self.seconds, self.watch = seconds, watch
        self.folders = folders_of(self.path)
        self.modules: dict[str, types.ModuleType] = {}
        self.loaded: dict[str, Loaded] = {}  # by the name of the module
        self.missing: dict[str, None] = {}  # modules of the book that are not there
        self.moved: dict[str, Path] = {}  # modules of the author's that stand elsewhere
        self.encodings: dict[str, str] = {}  # of files that Python does not read
        self.builtins = {**vars(builtins), "__import__": self.importer, "__wide__": wide,
                         "__float__": as_float, "__int__": as_int, "__shaped__": shaped,
                         "__type__": as_type}
        self.depth = 0
        self.trying = False  # what is not there is not replaced: a "try" has its own answer
        self.asked = ""  # the whole name of what is imported
        texts = read(self.path, seconds, source)
        name, folder = _package(self.path, texts)
        if folder not in self.folders:
            self.folders.insert(1, folder)
        package = name.rpartition(".")[0]
        self.home = {package.partition(".")[0]: folder}  # of the package that the file belongs to
        if (self.path.parent / "__init__.py").is_file() and package:  # as for whoever imports it
            with contextlib.suppress(Exception):
                self.importer(package)
        if name in self.loaded:
            self.main = self.loaded[name]
            return
        module: Any = types.ModuleType(name)
        module.__file__ = str(self.path)
        module.__package__ = package
        self.modules[name] = module
        self.main = self.execute(module, texts)

    @property
    def module(self):
        return self.main.module

    def execute(self, module, texts):
        """Run the statements of a module that define something."""
        record = self.loaded[module.__name__] = Loaded(module)
        record.defined = [node.name for text in texts for node in ast.walk(text.tree)
                          if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
        self.encodings |= {Path(t.filename).name: t.encoding for t in texts if t.encoding}
        names = vars(module)
        names["__builtins__"] = self.builtins
        state = np.random.get_state()  # noqa: NPY002 the state that the file's own code draws from
        try:
            with (self.active(), warnings.catch_warnings(), np.errstate(all="ignore"),
                  contextlib.redirect_stdout(Sink()), contextlib.redirect_stderr(Sink())):
                warnings.simplefilter("ignore")
                for text in texts:
                    package = Path(text.filename).name == "__init__.py"  # no program at all
                    for statement in widen(text.tree).body:
                        if package or _defines(statement):
                            self._run(statement, text.filename, record)
                    record.failed.update(text.failed)
        finally:
            np.random.set_state(state)  # noqa: NPY002
        return record

    def _run(self, statement, filename: str, record: Loaded):
        name = getattr(statement, "name", None) or ast.unparse(statement).split("\n")[0]
        if not self.watch(f"{filename}:{statement.lineno}"):
            record.failed[name] = say("the process ended here")
            return
        tree = ast.Module([statement], [])
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            record.flags |= sum(getattr(__future__, a.name).compiler_flag for a in statement.names)
        path_before, trying = list(sys.path), self.trying
        for self.trying in {isinstance(statement, ast.Try): 0, False: 0}:
            try:
                with time_limit(self.seconds):
                    exec(compile(tree, filename, "exec", record.flags, dont_inherit=True),
                         vars(record.module))
                record.failed.pop(name, None)
                if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                    record.own[name] = vars(record.module)[name]
                break
            except (Exception, SystemExit, TimeUp) as error:
                if isinstance(statement, ast.ImportFrom) and isinstance(error, ImportError):
                    self._import_singly(statement, record)
                else:
                    record.failed[name] = f"{type(error).__name__}: {error}"
        self.trying = trying
        self._note_paths(path_before, Path(filename).parent)

    def _import_singly(self, statement, record: Loaded):
        """``from a import b, c`` where a has no c: b, and a stand-in for c."""
        for alias in statement.names:
            one = ast.ImportFrom(statement.module, [alias], statement.level)
            ast.copy_location(one, statement)
            code = compile(ast.Module([one], []), record.module.__file__ or "", "exec",
                           dont_inherit=True)
            try:
                exec(code, vars(record.module))
            except ImportError:
                standin = StandIn(statement.module or "", contents_of(statement.module or ""))
                if alias.name in vars(standin):
                    self.missing[f"{statement.module}.{alias.name}"] = None
                vars(record.module)[alias.asname or alias.name] = getattr(standin, alias.name)

    def _note_paths(self, before, folder: Path):
        """Entries that the file has put into ``sys.path`` are folders to look into."""
        added = [entry for entry in sys.path if entry not in before]
        if added:
            sys.path[:] = before
            for base in (folder, self.folders[-1]):
                for entry in added:
                    found = (base / str(entry)).resolve()
                    if found.is_dir() and found not in self.folders:
                        self.folders.append(found)

    # importing: first what is the author's, then what is installed, last a stand-in

    def importer(self, name, globals=None, locals=None, fromlist=(), level=0):
        """``__import__`` for the author's modules."""
        root = name.partition(".")[0]
        if level == 0 and root in _NUMPY:
            module = _NUMPY[root]
            for part in name.split(".")[1:] if fromlist else ():
                module = getattr(module, part)
            return module
        asked, self.asked = self.asked, name if level == 0 else resolve_name(
            "." * level + name, globals["__package__"])
        try:
            with self.active():
                return builtins.__import__(name, globals, locals, fromlist, level)
        finally:
            self.asked = asked

    def why_undefined(self, name: str):
        """The statement that would define a name, and what it raised, or the first of others that
        it needs; None if there is none."""
        failed = {k: v for r in self.loaded.values() for k, v in r.failed.items()}
        why = next(((k, v) for k, v in failed.items() if re.match(
            rf"[\w, ()]*\b{name}\b[\w, ()]*=[^=]|(from|import) .*\b{name}\b", k)), None)
        other = re.fullmatch(r"NameError: name '(\w+)' is not defined", why[1] if why else "")
        return (other and other[1] != name and self.why_undefined(other[1])) or why

    def paths(self):
        """Where a module is looked for: a.b only where a has a b, and not where a.py is, if it is
        anywhere."""
        inside = self.asked.replace(".", "/")
        folders = [self.home.get(self.asked.partition(".")[0]), *self.folders]
        having = [folder for folder in folders if folder and (
            (folder / inside).is_dir() or (folder / f"{inside}.py").is_file())]
        return list(map(str, having or self.folders))

    @contextlib.contextmanager
    def active(self):
        """The author's modules are found inside the block."""
        if self.depth:
            yield
            return
        hidden = {name: sys.modules.get(name) for name in self.modules}
        known = set(sys.modules)
        sys.modules.update(self.modules)
        first, last = _Theirs(self), _Last(self)
        sys.meta_path.insert(0, first)
        sys.meta_path.append(last)
        self.depth = 1
        try:
            yield
        finally:
            self.depth = 0
            sys.meta_path.remove(first)
            sys.meta_path.remove(last)
            theirs = {name: module for name, module in list(sys.modules.items())
                      if name in hidden or (name not in known and self.is_theirs(module))}
            self.modules.update(theirs)
            for name in theirs:
                del sys.modules[name]
            sys.modules.update({k: m for k, m in hidden.items() if m is not None})

    def is_theirs(self, module):
        """Whether a module is the author's, or a stand-in for one."""
        spec = getattr(module, "__spec__", None)
        loader = getattr(spec, "loader", None)
        return isinstance(loader, (_Source, _StandInLoader)) or any(
            Path(p) in self.folders or any(f in Path(p).parents for f in self.folders)
            for p in (getattr(spec, "submodule_search_locations", None) or ())
            if getattr(spec, "origin", None) is None)


def _defines(statement):
    """Whether a statement at the top level is run: it is no program, or it says where modules
    are, or gives a class a method."""
    if isinstance(statement, (ast.Expr, ast.For, ast.While, ast.With, ast.Delete, ast.Assert,
                              ast.Raise)):
        text = ast.unparse(statement)
        return "sys.path." in text or text.startswith("setattr(")
    return True


class _Theirs:
    """Finds what stands in the author's folders. A name of the standard library is never theirs:
    the library itself may ask for it."""

    def __init__(self, program: Program):
        self.program = program

    def find_spec(self, name, path=None, target=None):
        program = self.program
        root, _, rest = name.partition(".")
        if root in _NOT_IMPORTED:
            return ModuleSpec(name, _StandInLoader({}), is_package=True)
        if not rest:
            if name in sys.stdlib_module_names or name in _NUMPY:
                return None
            path = program.paths()
        elif not program.is_theirs(sys.modules.get(name.rpartition(".")[0])):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            return None
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Source(program, Path(spec.origin))
        return spec


class _Last:
    """Finds, where nobody else does, folders of the author that are no packages, and stand-ins."""

    def __init__(self, program: Program):
        self.program = program

    def find_spec(self, name, path=None, target=None):
        program = self.program
        # a library that asks for another, or for a part of itself, can do without it
        asked, parent = f"{program.asked}.", sys.modules.get(name.rpartition(".")[0])
        if name in sys.stdlib_module_names or not (
                f"{name}.".startswith(asked) or asked.startswith(f"{name}.")) or (
                parent is not None and not program.is_theirs(parent)):
            return None
        if "." not in name:
            path = program.paths()
        spec = PathFinder.find_spec(name, path) if path else None
        folders = [*map(Path, (spec and spec.submodule_search_locations) or ())]
        if spec is not None and any(any(p.rglob("*.py")) for p in folders):
            # a project, and in it the package of the same name, which its author has installed
            spec.submodule_search_locations = [str(f) for p in folders for f in (p, p / name)
                                               if f.is_dir()]
            return spec
        theirs = name.partition(".")[0] not in LIBRARIES
        elsewhere = self._elsewhere(name) if theirs and "." in name else None
        if elsewhere is not None:
            program.moved[name] = elsewhere
            return ModuleSpec(name, _Source(program, elsewhere))
        contents = contents_of(name) if theirs else {}
        if program.trying and not contents:
            return None
        if contents:
            program.missing[name] = None
        return ModuleSpec(name, _StandInLoader(contents), is_package=True)

    def _elsewhere(self, name):
        """The file that has the name of a module, where its folder has another: beside the file
        that is checked, or above it."""
        found = (folder / f"{name.rpartition('.')[2]}.py" for folder in self.program.folders)
        return next((path for path in found if path.is_file() and path != self.program.path), None)


class _Source(Loader):
    """Loads a module of the author's."""

    def __init__(self, program: Program, path: Path):
        self.program, self.path = program, path

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        try:
            self.program.execute(module, read(self.path.resolve(), self.program.seconds))
        except LoadError as error:
            raise ImportError(str(error)) from None


class _StandInLoader(Loader):
    def __init__(self, contents):
        self.contents = contents

    def create_module(self, spec):
        return StandIn(spec.name, self.contents)

    def exec_module(self, module):
        pass


class Sink(io.TextIOBase):
    """Takes what is printed, and keeps no more than that something was."""

    printed = False

    def writable(self):
        return True

    def write(self, text):
        self.printed = self.printed or bool(text.strip())
        return len(text)
