"""The project has one address; what names it, names that one."""

import importlib.util
import re
import shutil
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

import tinygrad_rnn.address as runtime

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("address", ROOT / "docs" / "address.py")
address = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(address)
OTHER = "https://github.com/Somebody-else/rnn.fork"
MADE_FROM_IT = re.compile(
    r"(?:github\.com/|github/|gh/)([\w-]+/(?:tinygrad_rnn|rnn\.fork))\b"
    r"|https://([\w-]+)\.github\.io/(tinygrad_rnn|rnn\.fork)/"
)


def test_every_file_has_the_configured_address():
    for path, text in address.written(address.source()).items():
        assert path.read_text("utf-8") == text, "run: python docs/address.py URL"


def test_no_other_file_writes_it_down():
    holding = set(address.written(address.source())) | {ROOT / "docs" / "address.py"}
    folders = ("tinygrad_rnn", "docs", "notebooks", "models", ".github", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")
             if path.suffix in (".py", ".md", ".yml", ".po", ".html", ".js")
             and "_build" not in path.parts]  # fmt: skip
    for path in {*files, *ROOT.glob("*.*")} - holding:
        if path.is_file() and path.suffix in (".py", ".md", ".yml", ".toml", ".po", ".cff"):
            assert not MADE_FROM_IT.search(path.read_text("utf-8")), path


def test_it_is_changed_everywhere_by_one_command(tmp_path, monkeypatch, capsys):
    for path in address.written(address.source()):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    monkeypatch.setattr(address, "ROOT", tmp_path)
    address.main([f"{OTHER}/"])
    assert f"{OTHER} stands in these files" in capsys.readouterr().out
    assert address.source() == OTHER
    badges = 0
    for path in address.written(OTHER):
        text = path.read_text("utf-8")
        assert "OWNER" not in text and "owner.github" not in text
        assert MADE_FROM_IT.search(text)
        badges += "/actions/workflows/tests.yml/badge.svg" in text
    assert badges == len(list(tmp_path.glob("README*.md")))
    address.main([OTHER])  # a second time changes nothing
    with pytest.raises(SystemExit, match="wanted one of the form"):
        address.main(["https://example.org/x"])


def test_the_page_of_the_package_has_only_absolute_links():
    for name in ("README.md", "README.ko.md", "README.ja.md"):
        text = (ROOT / name).read_text("utf-8")
        made = address.readme(text, OTHER)
        relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)
        assert relative and not re.findall(r"\]\((?!https?:|#)", made)
        for path in relative:
            assert (ROOT / path).exists(), f"{name}: {path}"
            assert re.search(rf"\({OTHER}/(blob|raw)/main/{re.escape(path)}\)", made)
        assert f"({OTHER}/raw/main/docs/benchmark.png)" in made


def test_a_report_leads_to_its_derivation(monkeypatch, tmp_path):
    name = "chapter6.md#lstm"
    assert runtime.page(name) == f"docs/{name}"  # there is one beside it
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "tinygrad_rnn" / "address.py"))
    installed = Message()
    installed["Project-URL"] = f"Source, {OTHER}"
    installed["Project-URL"] = f"Issues, {OTHER}/issues"
    monkeypatch.setattr(metadata, "metadata", lambda name: installed)
    assert runtime.page(name) == f"{OTHER}/blob/main/docs/{name}"

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    assert runtime.page(name) == f"docs/{name}"
