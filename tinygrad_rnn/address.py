"""Where a page of the documentation is for whoever reads a report."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def page(name: str) -> str:
    """``docs/NAME`` in a checkout, which has it; the address of the same file where the package is
    installed without its documentation (``[project.urls]`` of pyproject.toml)."""
    path = f"docs/{name}"
    if (Path(__file__).resolve().parent.parent / path.partition("#")[0]).exists():
        return path
    try:
        urls = metadata.metadata("tinygrad-rnn").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return path
    source = dict(url.split(", ", 1) for url in urls).get("Source", "")
    return f"{source}/blob/main/{path}" if source else path
