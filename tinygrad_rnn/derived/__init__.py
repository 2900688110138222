"""NumPy functions without a rule of their own: each is said in terms of those in ``rules.py``.

    derive(np.fliplr)(lambda m: np.flip(m, 1))

Called on Tensors these lines record the calls that they are made of, and so have derivatives of
every order. One file for each theme; ``linalg`` brings its own rules.
"""

from . import calculus, indexing, joining, linalg, products, reductions, shapes, ufuncs
from .methods import METHODS
from .plain import CREATES, PLAIN, WEIGHED, WRITING
from .table import DERIVED

__all__ = ["CREATES", "DERIVED", "METHODS", "PLAIN", "WEIGHED", "WRITING", "calculus", "indexing",
           "joining", "linalg", "products", "reductions", "shapes", "ufuncs"]  # fmt: skip
