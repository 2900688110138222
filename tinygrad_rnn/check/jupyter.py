"""``%load_ext tinygrad_rnn``: the cell magic ``%%check``, which runs a cell and checks the layers
that it defines."""

from __future__ import annotations

import ast
from typing import Any

from .files import check_defined
from .loading import LoadError
from .notebooks import plain
from .report import Report
from .words import in_language, language, speaker


def register(ipython: Any) -> None:
    """Add ``%%check`` to an IPython shell."""

    def magic(line: str, cell: str) -> None:
        # Cells and lines are named by their numbers in the notebook.
        count, own = ipython.execution_count, len(ipython.history_manager.input_hist_parsed) - 1
        ipython.execution_count = own
        try:
            result = ipython.run_cell("# %%check\n" + cell)
        finally:
            ipython.execution_count = count
        if not result.success:
            return
        from IPython.display import display

        tr, name = speaker(language()), f"In[{own}]"
        try:
            reports = check_cell(cell, ipython.user_ns, line.split(), name)
        except LoadError as error:
            print(in_language(error.args[0], language()))
            return
        for report in reports:
            display(report)
        if not reports:
            print(tr("{path} has no layer: no class with forward", path=name))

    ipython.register_magic_function(magic, "cell", "check")


def check_cell(cell: str, names: dict[str, Any], only: list[str] | None = None,
               called: str = "the cell") -> list[Report]:
    """Check the layers that a cell defines, or those of the names ``only``. ``names``: those of the
    shell after the cell was run, where the other half of a function may stand."""
    defined = [node.name for node in ast.parse(plain(cell)).body
               if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    own = {k: names[k] for k in defined if k in names}
    return check_defined(own, names.get("__name__", "__main__"), only, names, called)
