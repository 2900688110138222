"""The notebooks run, as programs and as notebooks; each exercise is wrong as it is handed out, and
right when mended."""

import ast
import importlib.util
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import manual
from tinygrad_rnn.check import check

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
build = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py"))
spec.loader.exec_module(build)
NOTEBOOKS = build.NOTEBOOKS
IN_JUPYTER = all(map(importlib.util.find_spec, ("jupytext", "nbclient", "ipykernel")))


@pytest.fixture(autouse=True)
def _beside_the_exercises(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    sys.modules.pop("exercises", None)


@pytest.mark.skipif(IN_JUPYTER, reason="they run in Jupyter, some for half a minute")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_a_program(path, capsys):
    with np.errstate(all="warn", under="ignore"):
        runpy.run_path(str(path))
    assert capsys.readouterr().out or path.stem == "write_your_own_cell"


def test_the_list_of_notebooks_is_whole():
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"({path.name})" in listed for path in NOTEBOOKS)


@pytest.mark.skipif(not IN_JUPYTER, reason="pip install jupytext nbclient ipykernel")
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_jupyter(path):
    notebook = build.notebook(path, run=True)
    assert len(notebook.cells) > 5
    if path.stem == "write_your_own_cell":
        shown = [output.data for cell in notebook.cells for output in cell.get("outputs", [])
                 if "data" in output]  # fmt: skip
        assert any("<svg" in data.get("text/html", "") for data in shown)


def test_the_engine_of_the_notebook_is_that_of_the_pages():
    assert build.ENGINE.read_text("utf-8") == build.engine(), (
        "write it anew from the notebook: python notebooks/build.py --engine")  # fmt: skip
    notebook = (FOLDER / "engine_in_60_lines.py").read_text("utf-8")
    assert notebook.count("class Var") == notebook.count("RULES = {") == 1


def test_a_built_notebook_brings_what_it_wants(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="pip install jupytext nbclient ipykernel")
    pytest.importorskip("jupytext", reason="pip install jupytext nbclient ipykernel")
    build.main(str(tmp_path))
    made = {path.stem: nbformat.read(path, 4) for path in tmp_path.glob("*.ipynb")}
    assert made.keys() == {path.stem for path in NOTEBOOKS} and len(made) == 8
    for name, notebook in made.items():
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        assert code[0].startswith("%pip install") and build.address.source() in code[0]
        imported = set(re.findall(r"^from (\w+) import", "\n".join(code), re.M))
        here = {path.stem for path in FOLDER.glob("*.py")} & imported
        assert here == ({"exercises"} if name == "find_the_mistake" else set())
        for helper in here:
            assert any(cell.startswith(f"%%writefile {helper}.py\n") for cell in code)


def layer_of(source, name, tmp_path):
    path = tmp_path / f"{name}_{abs(hash(source))}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.mark.parametrize("number", range(1, 21))
def test_an_exercise_is_wrong_as_it_is_and_right_when_mended(number, tmp_path, capsys):
    from exercises import EXERCISES, hint, judge, source

    exercise = EXERCISES[number - 1]
    assert len(EXERCISES) == 20 and len(exercise.hints) == 2
    given = source(number)
    assert not judge(number, layer_of(given, exercise.layer, tmp_path))
    told = capsys.readouterr().out
    assert re.search("wrong|unchecked", told) and "known mistakes" not in told  # nobody has looked
    assert "cause" not in told
    assert exercise.right not in told
    assert judge(number, getattr(manual, exercise.layer))
    assert capsys.readouterr().out == "Right.\n"
    hint(number, 2)
    assert capsys.readouterr().out.strip() == exercise.hints[1]
    if number == 1:
        with pytest.raises(ValueError, match="exercise 1 is about Sigmoid, LSTM came"):
            judge(1, manual.LSTM)


def test_the_wrong_layers_are_wrong_by_one_place():
    from exercises import EXERCISES, source

    for number, exercise in enumerate(EXERCISES, 1):
        code = source(number)
        (layer,) = (n for n in ast.parse(code).body if isinstance(n, ast.ClassDef))
        assert ast.get_docstring(layer) is None  # the derivation is the answer
        assert not re.search(re.escape(exercise.right), code) or exercise.right in exercise.wrong
    assert check(manual.LSTM).verdict == "ok"
