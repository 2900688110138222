"""README.ko.md and README.ja.md say the same as README.md: commands, code, tables, names and
figures, section by section; and the command line knows every command that the README and the docs
name."""

import re
import shlex
from pathlib import Path

import pytest

from models.commands.main import parser

ROOT = Path(__file__).resolve().parent.parent


def sections(name):
    """Parts between headings; the first is what stands before any."""
    return re.split(r"^#+ .*$", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)


BLOCK = re.compile(r"^```.*?^```", re.M | re.S)


def commands(section):
    return re.findall("^    .*$", BLOCK.sub("", section), re.M)


def blocks(section):
    """Code, without its comments: these are translated."""
    return [re.sub(r"  # .*", "", block) for block in BLOCK.findall(section)]


def tables(section):
    """The code and the numbers in each cell of each row."""
    rows = re.findall(r"^\|.*\|$", section, re.M)
    return [[re.findall(r"`[^`]+`|\d[\d.,]*", cell) for cell in row.split("|")] for row in rows]


def numbers(section):
    """Figures; small numbers may be words in one of the languages."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)+|\d{3,}", BLOCK.sub("", section)))


def names(section):
    """Code within sentences; other languages may turn their order round."""
    return sorted(re.findall("`[^`\n]+`", BLOCK.sub("", section)))


TRANSLATED = ("README.ko.md", "README.ja.md")


@pytest.mark.parametrize("name", TRANSLATED)
def test_all_languages_have_the_same_sections_commands_code_and_tables(name):
    english, other = sections("README.md"), sections(name)
    assert len(english) == len(other)
    assert any(map(commands, english)) and any(map(blocks, english)) and any(map(tables, english))
    for part in (commands, blocks, tables, names, numbers):
        for ours, theirs in zip(english, other, strict=True):
            assert part(ours) == part(theirs)


@pytest.mark.parametrize("name", TRANSLATED)
def test_comments_in_the_code_are_translated(name):
    ours, theirs = (re.findall(r"^[^#\n]+  # (.*)", (ROOT / page).read_text("utf-8"), re.M)
                    for page in ("README.md", name))  # fmt: skip
    assert ours
    for comment, translated in zip(ours, theirs, strict=True):
        assert comment != translated


def test_they_name_each_other():
    pages = {"README.md", *TRANSLATED}
    assert pages == {path.name for path in ROOT.glob("README*.md")}
    for page in pages:
        head = sections(page)[1]
        assert all(f"({other})" in head for other in pages - {page})


PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CALL = re.compile(r"(?:^    |`)(?:python run\.py|tinygrad-rnn) ([^`\n]+)", re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_line_knows_the_commands_of_a_page(page):
    for command in CALL.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(command, comments=True)
        words = words[: words.index(">")] if ">" in words else words  # for the shell
        if len(words) > 1:  # else it is a name in a sentence
            parser().parse_args(words)
        else:
            assert words[0] in (*parser().format_help().split(), "test")
