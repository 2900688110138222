"""What a typed program of a user may write, and what mypy must find in it."""

import re
import runpy
import sys
from pathlib import Path

import pytest

TYPED = Path(__file__).parent / "typed"
README = TYPED.parent.parent / "README.md"


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """(file, line, kind of error) of all that ``mypy --strict`` finds in tests/typed, and in the
    first program of the README."""
    first = tmp_path_factory.mktemp("typed") / "readme.py"
    program = re.search("```python\n(.*?)```", README.read_text("utf-8"), re.S)
    first.write_text(program[1], "utf-8")
    api = pytest.importorskip("mypy.api", reason="mypy is not installed: it is for developers")
    out, err, _ = api.run(["--strict", "--follow-imports=silent", "--no-error-summary",
                           f"--python-executable={sys.executable}", str(TYPED),
                           str(first)])  # fmt: skip
    assert not err
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", out, re.MULTILINE)
    assert len(found) == out.count(": error:"), out
    return {(file, int(line), kind) for file, line, kind in found}


def test_a_typed_program_is_accepted(findings):
    assert not [finding for finding in findings if finding[0] == "accepted.py"]


def test_the_first_program_of_the_readme_has_no_red_line(findings):
    assert not [finding for finding in findings if finding[0] == "readme.py"]


def test_mistakes_are_found(findings):
    lines = (TYPED / "refused.py").read_text(encoding="utf-8").splitlines()
    wanted = {("refused.py", n, kind) for n, line in enumerate(lines, 1)
              for kind in re.findall(r"# wants ([a-z-]+)$", line)}  # fmt: skip
    assert len(wanted) > 10
    assert wanted == {finding for finding in findings if finding[0] == "refused.py"}


def test_the_accepted_program_runs(capsys):
    runpy.run_path(str(TYPED / "accepted.py"))
    assert "arrows" in capsys.readouterr().out
