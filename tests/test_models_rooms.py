"""The rooms of models/: every import leads down, and none in a circle."""

import ast
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parent.parent / "models"
# From bottom to top. A room may import from those before it, and its own modules in this order.
ORDER = [
    "sampling", "steps", "language", "seq2seq", "export",
    "data.reading", "data.pairs", "data.vocabulary", "data.text", "data.mapped",
    "data.bpe", "data.stream", "data.batches", "data",
    "files.checkpoint", "files.lock", "files.book", "files",
    "training.watch", "training.ranks", "training.schedule", "training.config", "training.saved",
    "training.inference",
    "training.tasks", "training.load", "training.log", "training.signals", "training.output",
    "training.run", "training",
    "pictures.gradients", "pictures.gates", "pictures.plots", "pictures",
    "commands.arguments", "commands.errors", "commands.machine", "commands.use", "commands.train",
    "commands.sweep", "commands.pictures", "commands.main", "commands",
]  # fmt: skip


def module(path):
    return ".".join(path.relative_to(MODELS).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """The modules of models/ that this one imports, wherever in it that is."""
    here = path.relative_to(MODELS).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            name = ".".join([*base, *(node.module.split(".") if node.module else [])])
            inside = [f"{name}.{alias.name}".lstrip(".") for alias in node.names]
            yield from (i if i in ORDER else name for i in inside)


@pytest.mark.parametrize("path", sorted(MODELS.rglob("*.py")), ids=module)
def test_imports_lead_down(path):
    if path == MODELS / "__init__.py":
        assert set(imported(path)) == {"language", "seq2seq"}
        return
    name = module(path)
    assert name in ORDER, f"which place has {name}?"
    for other in imported(path):
        assert ORDER.index(other) < ORDER.index(name), f"{name} imports {other}"
