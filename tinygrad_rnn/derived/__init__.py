"""NumPy functions without a rule of their own: each is said in terms of those in ``rules.py``.

    derive(np.fliplr)(lambda m: np.flip(m, 1))

Called on Tensors these lines record the calls that they are made of, and so have derivatives of
every order. One file for each theme.
"""

from . import indexing, joining, products, reductions, shapes
from .table import DERIVED

__all__ = ["DERIVED", "indexing", "joining", "products", "reductions", "shapes"]
