"""One way down for every import: no module knows one that stands above it in the house.

That is: when it is imported. A function may import what a user then asks for.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Modules and packages, from the ground up.
HOUSE = [
    "cores", "primitive", "speed", "show", "rules", "graph", "grad_mode", "derived", "errors",
    "arguments", "protocols", "operators", "tensor", "transforms", "random", "functional", "jit",
    "recompute", "nn", "optim", "draw", "manual", "interop", "distributed", "address", "check",
    "models", "__init__", "__main__",
]


def modules():
    for top, package in ((ROOT / "tinygrad_rnn", ("tinygrad_rnn",)),
                         (ROOT / "models", ("tinygrad_rnn", "models"))):
        for path in sorted(top.rglob("*.py")):
            parts = (*package, *path.relative_to(top).with_suffix("").parts)
            yield (parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports(name, everywhere):
    """The project's modules that one imports: when it is imported itself, or also in functions."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name if MODULES[name].name == "__init__.py" else name[:-1]
    nodes = list(ast.walk(tree)) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            targets = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for target in targets:
            while target and target not in MODULES:
                target = target[:-1]
            if target and target != name:
                yield target


@pytest.mark.parametrize("name", MODULES, ids=".".join)
def test_no_two_modules_import_each_other(name):
    seen, stack = set(), [name]
    while stack:
        for target in imports(stack.pop(), everywhere=False):
            if len(target) > 1 and target not in seen:  # the package itself is where users come in
                assert target != name, f"{'.'.join(name)} imports itself by a detour"
                seen.add(target)
                stack.append(target)


def test_manual_knows_numpy_alone():
    for name in MODULES:
        if name[:2] == ("tinygrad_rnn", "manual"):
            assert all(target[:2] == name[:2] for target in imports(name, everywhere=True)), name


def floor(name):
    return HOUSE.index(name[1] if len(name) > 1 else "__init__")


@pytest.mark.parametrize("name", MODULES, ids=".".join)
def test_imports_run_downwards(name):
    for target in imports(name, everywhere=False):
        if len(target) > 1:
            assert floor(target) <= floor(name), f"{'.'.join(name)} imports {'.'.join(target)}"


def test_nn_and_models_define_no_backward():
    for path in [*(ROOT / "tinygrad_rnn" / "nn").glob("*.py"), *(ROOT / "models").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert "backward" not in names, path


def test_the_sitting_is_one_sitting():
    """What a reader reads first, and what each room may hold at most (docs/engine.md)."""
    most = {"primitive": 150, "rules": 300, "graph": 250, "tensor": 450, "protocols": 200}
    lines = {name: len((ROOT / "tinygrad_rnn" / f"{name}.py").read_text("utf-8").splitlines())
             for name in most}  # fmt: skip
    assert {name: n for name, n in lines.items() if n > most[name]} == {}
    assert lines["primitive"] + lines["rules"] + lines["graph"] <= 700
