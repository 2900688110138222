"""Faults put in one at a time, to see whether the tests notice.

    python -m tests.mutation tinygrad_rnn/graph.py --tests tests/test_engine.py tests/test_rules.py
    python -m tests.mutation tinygrad_rnn/optim/optimizers.py -n 50 --tests tests/test_optim.py

Each fault is one small edit of the syntax tree (another operator, a comparison that takes one more,
a constant, a condition turned round, a statement left out, a default) in a copy of the checkout,
where the given tests are then run until the first one fails. What survives is printed as the edit
of its line. It is a hole in the tests, or it changes nothing that anybody could see: decide, and
write the test or leave it. Texts of errors, annotations and docstrings are left alone.
"""

import argparse
import ast
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
    return result


def survives(where: Path, path: Path, source: str, tests: list[str], seconds: int) -> bool:
    (where / path).write_text(source, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests], cwd=where,
        env={**os.environ, "CI": "true", "HYPOTHESIS_PROFILE": "ci", "PYTHONPATH": str(where),
             "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds)),
    )  # fmt: skip
    return run.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="where the faults are put in")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what is to notice them")
    parser.add_argument("-n", type=int, default=20, help="how many, drawn over all files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=600, help="CPU time of one run of the tests")
    given = parser.parse_args()
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in given.files}
    every = [(path, *edit) for path, source in sources.items() for edit in edits(source)]
    drawn = random.Random(given.seed).sample(every, min(given.n, len(every)))
    left = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "*.egg-info"))
        if not survives(copy, given.files[0], sources[given.files[0]], given.tests, given.seconds):
            sys.exit("the tests fail without any fault")
        for i, (path, line, source) in enumerate(drawn, 1):
            alive = survives(copy, path, source, given.tests, given.seconds)
            left += alive
            print(f"{i}/{len(drawn)} {path}:{line}", "SURVIVES" if alive else "found", flush=True)
            if alive:
                before, after = sources[path].splitlines(), source.splitlines()
                changes = zip(before[line - 1 :], after[line - 1 :], strict=False)
                old, new = next(pair for pair in changes if pair[0] != pair[1])
                print(f"    - {old.strip()}\n    + {new.strip()}", flush=True)
            (copy / path).write_text(sources[path], encoding="utf-8")
    print(f"{len(drawn) - left} of {len(drawn)} found")


if __name__ == "__main__":
    main()
