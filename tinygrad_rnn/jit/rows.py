"""Rows of a table, looked up and added to, as calls on a tape that run as compiled loops."""

import numpy as np

from .recording import editing, writes

__all__ = ["added_rows", "in_range", "looked_up", "moved_rows", "summed_rows", "used_rows"]


def add_rows_at(table, ids, g):
    """Add the rows of ``g`` to those of ``table`` at ``ids``: ``added``, as a loop."""
    from .native import add_rows

    in_range(ids, len(table))
    add_rows(table, ids.ravel(), np.ascontiguousarray(g).reshape(-1, table.shape[1]))


added_rows = editing(add_rows_at, "added_rows")


def in_range(ids, n):
    """Raise IndexError, as NumPy does, where ids are no rows of a table of n: loops do not look."""
    if ids.size and not -n <= ids.min() <= ids.max() < n:
        wrong = ids[(ids < -n) | (ids >= n)][0]
        raise IndexError(f"index {wrong} is out of bounds for axis 0 with size {n}")


def looked_up(table, ids):
    """Rows of a table: (V, D), ids (...) -> (..., D)."""
    return table[ids]


def used_rows(table, ids):
    """A copy of the table with zeros in the rows that are not looked up: what stands there may be
    no number, and is not to be multiplied."""
    used = np.zeros((len(table), 1), np.bool_)
    used[ids] = True
    return np.where(used, table, 0)


@writes
def summed_rows(ids, g, n, out=None):
    """The rows of g (..., D) that have the same id, out of n, added up where the first of them
    stands, and 0 where the others do: (ids.size + 1, D). The last row, which is 0, stands for all
    ids that do not come."""
    from .native import sum_rows

    in_range(ids, n)
    g = np.ascontiguousarray(g).reshape(ids.size, g.shape[-1])
    out = np.empty((ids.size + 1, g.shape[1]), g.dtype) if out is None else out
    sum_rows(ids.ravel(), g, np.full(n, -1, np.intp), out)
    return out


def move_rows(table, ids, step):
    """Subtract from ``table`` what is laid out as ``summed_rows`` does it."""
    from .native import subtract_rows

    moved = np.zeros(len(table), np.bool_)
    subtract_rows(table, ids.ravel(), step, moved)
    if step[-1].any():  # 0 times what is not finite
        table[~moved] -= step[-1]


moved_rows = editing(move_rows, "moved_rows")
