"""``%load_ext tinygrad_rnn``: the cell magic ``%%check``, which runs a cell and checks the layers
that it defines."""

from __future__ import annotations

import ast
from typing import Any

from .files import check_defined
from .notebooks import plain
from .report import Report


def register(ipython: Any) -> None:
    """Add ``%%check`` to an IPython shell."""

    def magic(line: str, cell: str) -> None:
        # Cells and lines are named by their numbers in the notebook.
        count = ipython.execution_count
        ipython.execution_count = len(ipython.history_manager.input_hist_parsed) - 1
        try:
            result = ipython.run_cell("# %%check\n" + cell)
        finally:
            ipython.execution_count = count
        if not result.success:
            return
        from IPython.display import display

        for report in check_cell(cell, ipython.user_ns, line.split()):
            display(report)

    ipython.register_magic_function(magic, "cell", "check")


def check_cell(cell: str, names: dict[str, Any], only: list[str] | None = None) -> list[Report]:
    """Check the layers that a cell defines; ``names``: those of the shell after the cell was run;
    ``only``: names of layers."""
    defined = [node.name for node in ast.parse(plain(cell)).body
               if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    own = {k: names[k] for k in defined if k in names}
    return check_defined(own, names.get("__name__", "__main__"), only)
