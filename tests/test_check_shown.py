"""How a report is shown: as a patch, as a page, in a notebook, in other languages."""

import argparse
import ast
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tinygrad_rnn.check import check_class, command, words
from tinygrad_rnn.check.apart import packed, unpacked
from tinygrad_rnn.check.files import check_here
from tinygrad_rnn.check.mistakes import MISTAKES
from tinygrad_rnn.check.page import page
from tinygrad_rnn.check.report import VERDICTS

CHECKED = Path(__file__).parent / "checked"
CHECK = Path(words.__file__).parent


@pytest.fixture(scope="module")
def pair():
    (report,) = check_here(CHECKED / "pair.py")
    return report


def test_each_wrong_gradient_has_its_own_cause(pair):
    assert [(c.kind, c.gradients, c.line) for c in pair.causes] in (
        [("batch", ["b"], 20), ("scaling", ["x"], 18)],
        [("scaling", ["x"], 18), ("batch", ["b"], 20)])
    assert not pair.searched and not pair.unexplained
    assert "- dx = np.dot(dout, W.T) * 2" in str(pair) and "+ dx = np.dot(dout, W.T)\n" in str(pair)


def test_the_smallest_example_is_worked_through(pair):
    rows = {r.text: (r.value, r.right) for r in pair.worked}
    assert pair.example and pair.example.startswith("N=1, D=1, H=1")
    assert rows["dx = np.dot(dout, W.T) * 2"][1]  # another number where the layer is mended


def test_a_patch_applies_and_mends(pair, tmp_path, monkeypatch, capsys):
    (tmp_path / "own").mkdir()
    target = tmp_path / "own" / "pair.py"
    target.write_text((CHECKED / "pair.py").read_text())
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    before = target.read_text()
    assert command.run(parser.parse_args([".", "--patch"])) == 1
    assert target.read_text() == before  # nothing is edited in place
    (tmp_path / "p.patch").write_text(capsys.readouterr().out)
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "apply", "p.patch"], check=True)
    (report,) = check_here(target)
    assert report.verdict == "ok", str(report)


def test_a_page_says_in_words_what_its_colours_say(pair):
    text = page([("own/pair.py", [pair], ""), ("empty.py", [], "cannot be read: <a>")])
    assert "✗ <span class=\"wrong\">wrong</span>" in text and "&lt;a&gt;" in text
    assert "<del>- dx = np.dot(dout, W.T) * 2</del>" in text
    assert text.count("<table>") == 2 and pair._repr_html_().startswith("<style>")


def test_a_report_is_the_same_on_the_other_side_of_a_process(pair):
    again = unpacked(packed(pair))
    assert again.text(lang="ko") == pair.text(lang="ko") != pair.text()


NAMED = r"\{(?:old|other|names?|mask)\}"


def sentences():
    """All that is said: the catalogue's words, what stands in say(...), "words" and the like, and
    what has a place for a name in it."""
    found = {m.words for m in MISTAKES} | set(VERDICTS)
    for path in (CHECK / "mistakes.py", CHECK / "causes.py", CHECK / "protocol.py"):
        found |= {n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                  if isinstance(n, ast.Constant) and isinstance(n.value, str) and " " in n.value
                  and re.search(f"[a-z].*{NAMED}|{NAMED}.*[a-z]", n.value)
                  and "\n" not in n.value and "[{" not in n.value}
    tree = ast.parse((CHECK / "layer.py").read_text(encoding="utf-8"))
    found |= {k.value.value for k in ast.walk(tree) if isinstance(k, ast.keyword)
              and k.arg == "scenario" and isinstance(k.value, ast.Constant)}
    for path in CHECK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if called in ("say", "tr", "_in", "add", "_Shown"):
                at = int(called == "_Shown")
                arguments = ast.walk(node.args[at]) if len(node.args) > at else ()
                found |= {a.value for a in arguments
                          if isinstance(a, ast.Constant) and isinstance(a.value, str)}
            if isinstance(node, ast.Dict):
                found |= {v.value for k, v in zip(node.keys, node.values, strict=True)
                          if isinstance(k, ast.Constant) and k.value == "words"
                          and isinstance(v, ast.Constant)}
    return {s for s in found if re.search("[a-z]{2}", re.sub(r"\{\w+\}", "", s))}


@pytest.mark.parametrize("lang", ["ko", "ja"])
def test_every_sentence_has_a_translation(lang):
    texts = words.catalogue(lang).texts
    missing = sorted(s for s in sentences() if not texts.get(s))
    assert not missing, "\n".join(missing)
    for english, other in texts.items():
        names = re.findall(r"\{\w+\}", english)
        assert set(names) == set(re.findall(r"\{\w+\}", other)), english


@pytest.mark.parametrize("lang", words.LANGUAGES)
def test_columns_stand_below_each_other(pair, lang):
    heads, *rows = pair.text(lang=lang).splitlines()[1:5]
    ends = {words.wide(row[: re.search(r"\de[+-]\d\d", row).end()]) for row in rows}
    head = words.speaker(lang)("max. error")
    assert ends == {words.wide(heads[: heads.index(head) + len(head)])}
    one = types.SimpleNamespace(path=Path("a.py"), reports=[pair], error="")
    table = command.table([one], lang)
    heads, first, *_ = table.splitlines()
    wrong = words.speaker(lang)("wrong")
    assert words.wide(heads[: heads.index(wrong) + len(wrong)]) == words.wide(first)


def test_a_page_counts_what_could_not_be_read(pair):
    made = page([("a.py", [pair], ""), ("b.py", [], "no Python")])
    assert made.count("<td>1</td>") == 2 and made.count("<td><b>1</b></td>") == 2


READER = Path(__file__).parent / "checked" / "reader"


def test_a_repository_on_its_page_and_what_a_patch_leaves_out(capsys, monkeypatch):
    text = (CHECK.parent.parent / "docs" / "check.md").read_text(encoding="utf-8")
    monkeypatch.chdir(READER)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args([".", "--lang", "en"])) == 1
    printed = capsys.readouterr().out
    assert command.run(parser.parse_args([".", "--patch", "--lang", "en"])) == 1
    patched, err = capsys.readouterr()
    assert "1 - h_next ** 2)" in patched and "self.a" not in patched
    assert "(ch05/gates.ipynb, cell 3)" in err
    lines = {line.rstrip() for line in [*printed.splitlines(), *patched.splitlines()]}
    shown = text.split("## A repository")[1].split("## From the report")[0]
    blocks = re.findall(r"```(?:text|diff)\n(.*?)```", shown, re.S)
    assert len(blocks) == 4
    for line in "".join(blocks).splitlines():
        assert line.rstrip() in lines, line


def test_two_mistakes_on_their_page(pair):
    text = (CHECK.parent.parent / "docs" / "check.md").read_text(encoding="utf-8")
    shown = text.split("## Two mistakes")[1].split("```text\n")[1].split("```")[0]
    assert shown.splitlines() == str(pair).splitlines()


# What reaches a reader: the argument of a call that is words, by its place.
SHOWN = {"unchecked": 1, "Cause": 1, "CannotMake": 0, "append": 0, "insert": 1,
         "LoadError": 0}


def unsaid(node):
    """Sentences of a tree that stand in no say(...)."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("say", "tr", "_in"):
        return
    if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and " " in str(node.value).strip()):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from unsaid(child)


def shown(tree):
    """What is put into a report, or printed as words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            into = "notes" in ast.unparse(node.func) or name not in ("append", "insert")
            yield from (k.value for k in node.keywords if k.arg == "help")
            if name in SHOWN and into and len(node.args) > SHOWN[name]:
                yield node.args[SHOWN[name]]
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            if ast.unparse(target).endswith((".cause", ".notes", ".why", ".place", ".example",
                                              ".error", ".description", ".epilog")):
                yield node.value


def test_no_sentence_is_printed_that_is_not_said():
    missing = [f"{path.name}:{node.lineno} {ast.unparse(node)}" for path in CHECK.glob("*.py")
               for value in shown(ast.parse(path.read_text(encoding="utf-8")))
               for node in unsaid(value)]
    assert not missing, "\n".join(missing)
    assert list(unsaid(ast.parse('unchecked(report, f"not {this}")')))


@pytest.mark.parametrize("lang, said, none", [
    ("ko", "최상위의 반복문", "그런 파일이 없습니다"),
    ("ja", "トップレベルのループ", "そのようなファイルはありません")])
def test_help_and_what_cannot_be_read_in_other_languages(lang, said, none, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinygrad-rnn", "check", "--lang", lang, "--help"])
    monkeypatch.setenv("COLUMNS", "400")
    parser = argparse.ArgumentParser(prog="check")
    command.add_arguments(parser)
    text = parser.format_help()
    assert said in text
    bare = re.sub(r"--[a-z-]+|\(layer, inputs...\)|\".*?\"", "", text)
    left = set(re.findall(r"\b[a-z]{3,}\b", bare))
    assert left <= {"check", "git", "apply", "forward", "backward", "params", "grads", "import"}
    assert command.run(parser.parse_args(["not_there.py", "--lang", lang])) == 2
    assert f"not_there.py: {none}" in capsys.readouterr().err


def test_the_language_is_asked_for_or_that_of_the_locale(monkeypatch):
    assert words.language("ja") == "ja" and words.language("fr_FR") == "en"
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    monkeypatch.setattr(words.locale, "setlocale", lambda *_: "C")
    assert words.language() == "ko"


SOURCE = (CHECKED / "pair.py").read_text()


def test_the_same_report_in_a_cell_a_notebook_and_a_script(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = ["%load_ext tinygrad_rnn", "%%check\n" + SOURCE,
             "from tinygrad_rnn import check\nprint(check(Affine))",
             "def half_forward(x, W):\n    y = x @ W\n    return y, (x, W)",
             "%%check\ndef half_backward(dy, cache):\n    x, W = cache\n"
             "    dx, dW = dy @ W.T, x.T @ dy\n    return dx, dW",
             "%%check\nx = 3", "%%check Other\nclass This:\n    def forward(self, x): return x"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [o for o in notebook.cells[1].outputs if o.output_type == "display_data"]
    assert "<table>" in shown[0].data["text/html"]
    in_cell = shown[0].data["text/plain"]
    called = notebook.cells[2].outputs[0].text
    # the other half in another cell; and never silent
    assert notebook.cells[4].outputs[0].data["text/plain"].startswith("half: ok")
    assert notebook.cells[5].outputs[0].text.strip() == (
        "In[6] has no layer: no class with forward")
    assert notebook.cells[6].outputs[0].text.strip() == (
        "In[7] has no layer Other (a class with forward); it has: This")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)]),
                   tmp_path / "own.ipynb")
    (in_file,) = check_here(tmp_path / "own.ipynb")
    (in_script,) = check_here(CHECKED / "pair.py")

    def essence(text):
        return re.sub(r" \([^()]*line \d+\)", "", str(text)).strip()

    assert essence(in_file) == essence(in_script)
    assert essence(called) == essence(in_script)
    assert essence(in_cell) == essence(in_script)
    named = re.sub(r"pair\.py, line (\d+)", lambda m: f"In[2], line {int(m[1]) + 1}",
                   str(in_script))  # fmt: skip
    assert in_cell.strip() == called.strip() == named.strip()


def test_a_class_that_is_at_hand():
    names = {}
    exec(compile(SOURCE, "typed in", "exec"), names)
    report = check_class(names["Affine"])
    assert report.verdict == "wrong" and sys.getprofile() is None
