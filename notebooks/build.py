"""Make .ipynb files of the notebooks, to be opened where nothing is installed.

    python notebooks/build.py FOLDER [--run]
    python notebooks/build.py --engine

Each gets a first cell that installs the package from the project's address (docs/address.py), and
the files that it imports from this folder. ``--run`` executes them before that. Wants jupytext,
and nbclient and ipykernel to run.

The engine in 60 lines stands in its notebook, in the cells with the tag ``engine``; ``--engine``
writes them into docs/engine_in_60_lines.py, for the pages that show and run it in one piece.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HELPERS = ("build", "exercises")
NOTEBOOKS = [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in HELPERS]
DOCS = FOLDER.parent / "docs"
ENGINE = DOCS / "engine_in_60_lines.py"
sys.path.insert(0, str(DOCS))
import address


def notebook(path: Path, run: bool = False):
    """One of ``NOTEBOOKS`` as a notebook, executed or not."""
    import jupytext

    made = jupytext.read(path)
    if run:
        import nbclient

        nbclient.NotebookClient(made, timeout=None, kernel_name="python3",
                                resources={"metadata": {"path": str(FOLDER)}}).execute()  # fmt: skip
    return made


def portable(made):
    """The same, with what it wants: the package, and files of this folder."""
    from nbformat.v4 import new_code_cell

    code = "\n".join(cell.source for cell in made.cells if cell.cell_type == "code")
    wanted = [name for name in HELPERS if re.search(rf"^from {name} import", code, re.M)]
    first = [f'%pip install --quiet "tinygrad-rnn[models] @ git+{address.source()}"']
    cells = ["\n".join(first)]
    for name in wanted:
        cells.append(f"%%writefile {name}.py\n" + (FOLDER / f"{name}.py").read_text("utf-8"))
    # Folded away, in Jupyter and in Colab: a reader comes for what is below.
    folded = {"tags": ["setup"], "jupyter": {"source_hidden": True}, "cellView": "form"}
    made.cells[:0] = [new_code_cell(source, metadata=folded) for source in cells]
    return made


def engine() -> str:
    """The engine in 60 lines, in one piece."""
    text = (FOLDER / "engine_in_60_lines.py").read_text("utf-8")
    cells = re.findall(r'^# %% tags=\["engine"\]\n(.*?)(?=^# %%)', text, re.M | re.S)
    says = "An autograd engine in 60 lines, on NumPy's protocols: docs/sixty.md builds it in six steps."
    pieces = "\n\n\n".join(cell.strip() for cell in cells)
    return f'"""{says}"""\n\n{pieces}\n'


def main(folder: str, *options: str) -> None:
    if folder == "--engine":
        ENGINE.write_text(engine(), "utf-8")
        return
    import nbformat

    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        nbformat.write(portable(notebook(path, "--run" in options)), into / f"{path.stem}.ipynb")
        print(into / f"{path.stem}.ipynb")


if __name__ == "__main__":
    main(*sys.argv[1:])
