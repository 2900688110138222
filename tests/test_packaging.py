"""What is packaged: every subpackage, one version, and the words that must not get lost."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tinygrad_rnn

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_subpackage_is_installed():
    def packages(top):
        return {".".join(path.parent.relative_to(ROOT).parts) for path in top.rglob("__init__.py")}

    names = packages(ROOT / "tinygrad_rnn")
    names |= {f"tinygrad_rnn.{name}" for name in packages(ROOT / "models")}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == names
    assert (ROOT / "tinygrad_rnn" / "py.typed").exists()


def test_one_version():
    version = PYPROJECT["project"]["version"]
    assert tinygrad_rnn.__version__ == version
    assert f"\nversion: {version}\n" in text("CITATION.cff")
    assert f"\n## {version} " in text("CHANGELOG.md")


def test_the_core_needs_numpy_alone_under_the_mit_licence():
    (dependency,) = PYPROJECT["project"]["dependencies"]
    assert dependency.startswith("numpy")
    assert PYPROJECT["project"]["license"] == "MIT" and text("LICENSE").startswith("MIT License")


def test_the_first_line_of_a_readme_says_that_this_is_not_tinygrad():
    for page in ROOT.glob("README*.md"):
        first = page.read_text(encoding="utf-8").splitlines()[0]
        assert "https://github.com/tinygrad/tinygrad" in first, page.name
    assert text("README.md").startswith("Not affiliated with [tinygrad]")


def test_workflows_follow_the_schema_of_their_host():
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert files
    subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema",
                    "vendor.github-workflows", *map(str, files)], check=True)  # fmt: skip


def test_the_workflows_try_every_python_that_is_promised():
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    tested = text(".github/workflows/tests.yml")
    assert f'["{oldest}"' in tested and '"3.14"]' in tested
