"""Hypothesis strategies for property tests of layers.

    from hypothesis import given
    from tinygrad_rnn.check import strategies as layers

    @given(layers.sizes().flatmap(lambda s: layers.arrays((s.N, s.T, s.D))))
    def test_my_layer(xs): ...

Needs hypothesis (``[check]``).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as npst
except ImportError as error:
    raise ImportError("tinygrad_rnn.check.strategies needs hypothesis: pip install"
                      ' "tinygrad-rnn[check]"') from error

__all__ = ["Sizes", "arrays", "labels", "lengths", "sizes"]

Shape: TypeAlias = int | tuple[int, ...]
Arrays: TypeAlias = st.SearchStrategy[np.ndarray]


class Sizes(NamedTuple):
    """N batch, T time steps, D inputs, H hidden units."""

    N: int
    T: int
    D: int
    H: int


def sizes(max_size: int = 6, *, distinct: bool = False) -> st.SearchStrategy[Sizes]:
    """Sizes (N, T, D, H), each from 1 to ``max_size``; ``distinct``: no two are the same, so that
    no transposed matrix fits by chance; ValueError where max_size is too small for that. Shrinks
    to ones (to 1, 2, 3, 4)."""
    if distinct:
        if max_size < 4:
            raise ValueError(f"sizes: four distinct sizes need max_size 4, {max_size} came")
        return st.lists(st.integers(1, max_size), min_size=4, max_size=4, unique=True).map(
            lambda s: Sizes(*s))
    return st.builds(Sizes, *(st.integers(1, max_size) for _ in range(4)))


def arrays(shape: Shape | st.SearchStrategy[tuple[int, ...]], *, dtype: DTypeLike = np.float64,
           bound: float = 3.0) -> Arrays:
    """Finite arrays of ``shape`` with elements from -bound to bound, without subnormal numbers.

    ``shape`` is a tuple or a strategy for one. Shrinks to zeros.
    """
    kind = np.dtype(dtype)
    width: Any = kind.itemsize * 8
    elements = st.floats(-bound, bound, width=width, allow_subnormal=False)
    return npst.arrays(kind, shape, elements=elements)


def lengths(N: int, T: int, *, min_length: int = 0) -> Arrays:
    """Lengths of ``N`` sequences of at most ``T`` steps: integers (N,). Shrinks to the shortest."""
    return npst.arrays(np.int64, (N,), elements=st.integers(min_length, T))


def labels(shape: Shape, V: int, *, ignore_label: int | None = None) -> Arrays:
    """Labels from 0 to V - 1, of ``shape``; some are ``ignore_label`` where it is given."""
    elements = st.integers(0, V - 1)
    if ignore_label is not None:
        elements = st.one_of(elements, st.just(ignore_label))
    return npst.arrays(np.int64, shape, elements=elements)
