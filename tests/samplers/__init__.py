"""Cases for every callable of the tables, by theme; ``cases`` says how one is written."""

from . import calculus, indexing, linalg, products, reductions, shapes, table, ufuncs
from .ufuncs import METHODS

SAMPLERS = {}
for _theme in (table, ufuncs, reductions, shapes, indexing, products, calculus, linalg):
    assert not SAMPLERS.keys() & _theme.SAMPLERS.keys()
    SAMPLERS |= _theme.SAMPLERS

__all__ = ["METHODS", "SAMPLERS"]
