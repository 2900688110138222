"""Make .ipynb files of the notebooks, to be opened where nothing is installed.

    python notebooks/build.py FOLDER [--run]

Each gets a first cell that installs the package from the project's address (docs/address.py), and
the files that it imports from this folder. ``--run`` executes them before that. Wants jupytext,
and nbclient and ipykernel to run.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HELPERS = ("build", "exercises")
NOTEBOOKS = [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in HELPERS]
sys.path.insert(0, str(FOLDER.parent / "docs"))
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
    made.cells[:0] = [new_code_cell(source, metadata={"tags": ["setup"]}) for source in cells]
    return made


def main(folder: str, *options: str) -> None:
    import nbformat

    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        nbformat.write(portable(notebook(path, "--run" in options)), into / f"{path.stem}.ipynb")
        print(into / f"{path.stem}.ipynb")


if __name__ == "__main__":
    main(*sys.argv[1:])
