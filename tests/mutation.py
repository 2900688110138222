"""Faults put in one at a time, to see whether the tests notice.

    python -m tests.mutation tinygrad_rnn/graph.py --tests tests/test_engine.py tests/test_rules.py
    python -m tests.mutation tinygrad_rnn/optim/*.py -n 50 --seed 2 --tests tests/test_optim.py

Each fault is one small edit of the syntax tree: another operator, a comparison that takes one more,
a constant, a condition turned round, a statement left out, a default. Texts of errors, annotations
and docstrings are left alone. The tests run once, to see which lines each of them runs. Then every
fault is put into the functions of a fork of this process, which runs the tests of its line, the
quickest first, until one fails: some tenths of a second for each. What is outside of functions (a
table, a class, a decorator), and what no test runs in this process, is tried in a copy of the
checkout by all of the tests.

What survives is printed as the edit of its line. It is a hole in the tests, or it changes nothing
that anybody could see: decide, and write the test or leave it.
"""

import argparse
import ast
import gc
import inspect
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.MatMult: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def faults(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Pairs of a node and the text to stand in its place."""
    for node in ast.walk(tree):
        if type(getattr(node, "op", None)) in OTHER:  # of one, two or more operands, or a += b
            yield node, changed(node, "op", OTHER[type(node.op)]())
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
            yield node, changed(node, "ops", [OTHER[type(node.ops[0])](), *node.ops[1:]])
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            value = node.value
            yield node, repr(not value if isinstance(value, bool) else value + 1)
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.Expr) and not isinstance(node.value, (ast.Constant, ast.Yield)):
            yield node, "pass"
        elif isinstance(node, ast.Call) and len(node.args) > 1 and not any(
                isinstance(a, ast.Starred) for a in node.args):  # the first two change places
            yield node, changed(node, "args", [node.args[1], node.args[0], *node.args[2:]])


def changed(node: ast.AST, field: str, value: object) -> str:
    before = getattr(node, field)
    setattr(node, field, value)
    text = ast.unparse(node)
    setattr(node, field, before)
    return text if isinstance(node, (ast.stmt, ast.Call)) else f"({text})"


def left_alone(tree: ast.AST) -> set[int]:
    """Nodes of messages, annotations and typing."""
    found: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.AnnAssign)):
            parts = [node.target, node.annotation] if isinstance(node, ast.AnnAssign) else [node]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = [node.returns, *(a.annotation for a in ast.walk(node.args)
                                     if isinstance(a, ast.arg))]  # fmt: skip
        found |= {id(inner) for part in parts if part for inner in ast.walk(part)}
    return found


def edits(source: str) -> list[tuple[int, str]]:
    """All faults of a file, as pairs of its line and the whole changed source."""
    tree = ast.parse(source)
    spared = left_alone(tree)
    lines = source.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    result = []
    for node, text in faults(tree):
        if id(node) not in spared:
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            whole = source.encode()
            result.append((node.lineno, (whole[:begin] + text.encode() + whole[end:]).decode()))
    return [(line, edited) for line, edited in result if edited != source]


# Functions with their new code, or new defaults; and the lines that this changes.
Patch = tuple[list[tuple[FunctionType, Any]], set[int]]


def in_a_fork(job: Callable[[], Any], seconds: float) -> Any:
    """What job() gives, in another process and in silence; None if it took too long, or died."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
            with os.fdopen(write, "wb") as file:
                file.write(pickle.dumps(job()))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        result = file.read()
    os.waitpid(child, 0)
    return pickle.loads(result) if result else None


def inside(code: CodeType) -> list[CodeType]:
    return [c for c in code.co_consts if isinstance(c, CodeType)]


def changed_code(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """The functions that are not the same, before and after; None if what stands outside of them
    is not the same."""
    if old == new:
        return []
    pairs = []
    if old.co_flags & inspect.CO_OPTIMIZED:  # a function; else a module, or a class
        pairs.append((old, new))
    elif outside(old) != outside(new):
        return None
    if len(inside(old)) != len(inside(new)) or old.co_freevars != new.co_freevars:
        return None
    for inner in zip(inside(old), inside(new), strict=True):
        more = changed_code(*inner)
        if more is None:
            return None
        pairs += more
    return pairs


def outside(code: CodeType) -> tuple[Any, ...]:
    return code.co_code, code.co_names, [repr(c) for c in code.co_consts
                                         if not isinstance(c, CodeType)]  # fmt: skip


def changed_defaults(old: ast.AST, new: ast.AST) -> tuple[ast.FunctionDef, ast.FunctionDef] | None:
    """A function before and after, if nothing but one of its defaults has changed."""
    both = ([node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
            for tree in (old, new))
    pairs = [(a, b) for a, b in zip(*both, strict=True) if ast.dump(a.args) != ast.dump(b.args)]
    return pairs[0] if len(pairs) == 1 else None


class Trial:
    """A plugin that runs the tests that were collected again and again."""

    def __init__(self, sources: dict[Path, str], faults: list[tuple[Path, int, str]], copy: Path,
                 tests: list[str], seconds: float) -> None:
        self.sources, self.faults, self.tests, self.seconds = sources, faults, tests, seconds
        self.copy, self.failed = copy, False
        self.files = {str(ROOT / path): path for path in sources}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        self.of_line: dict[tuple[Path, int], set[tuple[float, int]]] = {}
        runs = in_a_fork(self.run_all, 1e6)
        self.limit = int(60 + sum(spent for _, spent, _ in runs))  # of all of them, in the copy
        for i, (passed, spent, lines) in enumerate(runs):
            if not passed:
                print("fails without any fault, not counted:", self.items[i].nodeid)
            for line in lines if passed else ():
                self.of_line.setdefault(line, set()).add((spent, i))
        self.live: dict[CodeType, list[FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__code__.co_filename in self.files:
                self.live.setdefault(thing.__code__, []).append(thing)
        gc.freeze()  # forks share what nobody touches
        left = 0
        for k, (path, line, source) in enumerate(self.faults, 1):
            alive = self.survives(path, source)
            left += alive
            print(f"{k}/{len(self.faults)} {path}:{line}", "SURVIVES" if alive else "found",
                  flush=True)
            if alive:
                before, after = self.sources[path].splitlines(), source.splitlines()
                changes = zip(before[line - 1 :], after[line - 1 :], strict=False)
                old, new = next(pair for pair in changes if pair[0] != pair[1])
                print(f"    - {old.strip()}\n    + {new.strip()}", flush=True)
        print(f"{len(self.faults) - left} of {len(self.faults)} found")
        return True

    def run_all(self) -> list[tuple[bool, float, set[tuple[Path, int]]]]:
        """Of each test whether it passes, its CPU time, and the lines that it runs."""
        def trace(frame: Any, event: str, _: Any) -> Any:
            if path := self.files.get(frame.f_code.co_filename):
                lines.add((path, frame.f_lineno))
                return trace
            return None

        runs = []
        for i in range(len(self.items)):
            lines: set[tuple[Path, int]] = set()
            begin = time.process_time()
            threading.settrace(trace)
            sys.settrace(trace)
            passed = self.passes(i, i + 1)
            sys.settrace(None)
            runs.append((passed, time.process_time() - begin, lines))
        return runs

    def passes(self, i: int, after: int | None) -> bool:
        """By the hook, so that what stands round a test (its warnings are errors) stands here."""
        following = self.items[after] if after is not None and after < len(self.items) else None
        self.failed = False
        item = self.items[i]
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        return not self.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self) -> tuple[str, str, str]:
        return "", "", ""  # no dots

    def survives(self, path: Path, source: str) -> bool:
        patch = self.patch(path, source)
        if patch is None:
            return self.survives_in_the_copy(path, source)
        functions, lines = patch
        tests = sorted(set().union(*(self.of_line.get((path, line), ()) for line in lines)))
        most = min(self.seconds, sum(spent for spent, _ in tests))

        def job() -> bool:
            for function, new in functions:
                if isinstance(new, CodeType):
                    function.__code__ = new
                else:
                    function.__defaults__, function.__kwdefaults__ = new
            begin = time.process_time()
            order = [i for _, i in tests]
            for i, after in zip(order, [*order[1:], None], strict=True):
                if not self.passes(i, after):
                    return False
                if time.process_time() - begin > most:
                    break
            return True

        if tests and not in_a_fork(job, 5 + 2 * most):
            return False
        # What runs while something is imported, or in another process; a default can be looked up.
        elsewhere = not tests or not all(isinstance(new, CodeType) for _, new in functions)
        return not elsewhere or self.survives_in_the_copy(path, source)

    def patch(self, path: Path, source: str) -> Patch | None:
        """None if the fault is not, or not only, in functions."""
        before, name = self.sources[path], str(ROOT / path)
        pairs = changed_code(compile(before, name, "exec"), compile(source, name, "exec"))
        if pairs is None:
            return self.patch_of_default(path, ast.parse(source))
        made = [(function, new) for old, new in pairs for function in self.live.get(old, ())]
        return (made, statement(before, source)) if made else None

    def patch_of_default(self, path: Path, tree: ast.AST) -> Patch | None:
        found = changed_defaults(ast.parse(self.sources[path]), tree)
        if found is None:
            return None
        old, new = found
        first = {old.lineno, *(d.lineno for d in old.decorator_list)}
        live = [f for code, fs in self.live.items() if code.co_name == old.name
                and code.co_firstlineno in first for f in fs]  # fmt: skip
        if len(live) != 1:
            return None

        def value(node: ast.expr | None, before: ast.expr | None, is_now: Any) -> Any:
            if node is None or before is None or ast.dump(node) == ast.dump(before):
                return is_now
            return eval(compile(ast.Expression(node), "default", "eval"), live[0].__globals__)

        by_name = live[0].__kwdefaults__ or {}
        positional = zip(new.args.defaults, old.args.defaults, live[0].__defaults__ or (),
                         strict=True)  # fmt: skip
        keyword = zip(new.args.kwonlyargs, new.args.kw_defaults, old.args.kw_defaults, strict=True)
        both = (tuple(value(*three) for three in positional) or None,
                {a.arg: value(n, o, by_name.get(a.arg)) for a, n, o in keyword if n} or None)
        return [(live[0], both)], set(range(old.body[0].lineno, (old.end_lineno or 0) + 1))

    def survives_in_the_copy(self, path: Path, source: str) -> bool:
        where = self.copy / path
        where.write_text(source, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", *QUIET, *self.tests], cwd=self.copy,
            env={**os.environ, "PYTHONPATH": str(self.copy)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (self.limit, self.limit)),
        )  # fmt: skip
        where.write_text(self.sources[path], encoding="utf-8")
        return run.returncode == 0


def statement(before: str, after: str) -> set[int]:
    """The lines of the smallest statement that was changed, without those of its body."""
    lines = zip(before.splitlines(), after.splitlines(), strict=False)
    at = next(i for i, (old, new) in enumerate(lines, 1) if old != new)
    found = [range(node.lineno, (node.body[0].lineno if hasattr(node, "body") else
                                 (node.end_lineno or node.lineno) + 1))
             for node in ast.walk(ast.parse(before)) if isinstance(node, ast.stmt)]  # fmt: skip
    return set(min((lines for lines in found if at in lines), key=len, default=(at,)))


QUIET = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header",
         "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="where the faults are put in")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what is to notice them")
    parser.add_argument("-n", type=int, default=20, help="how many, drawn over all files; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="CPU time of tests for one fault")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.environ.update(CI="true", PYTHONDONTWRITEBYTECODE="1", OPENBLAS_NUM_THREADS="1")
    sources = {path: path.read_text(encoding="utf-8") for path in given.files}
    every = [(path, *edit) for path, source in sources.items() for edit in edits(source)]
    if given.n:
        every = random.Random(given.seed).sample(every, min(given.n, len(every)))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "*.egg-info"))
        trial = Trial(sources, every, copy, given.tests, given.seconds)
        sys.exit(int(pytest.main([*QUIET, *given.tests], plugins=[trial])))


if __name__ == "__main__":
    main()
