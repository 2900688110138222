"""Functions without a derivative: what they tell of Tensors is a plain array, number or text."""

import numpy as np

from ..primitive import Function

PLAIN: set[Function] = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isnan, np.isinf, np.isfinite, np.isposinf, np.isneginf, np.signbit,
    np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin, np.any, np.all,
    np.argmax, np.argmin, np.argsort, np.argpartition, np.nanargmax, np.nanargmin, np.lexsort,
    np.searchsorted, np.digitize, np.nonzero, np.flatnonzero, np.argwhere, np.count_nonzero,
    np.where, np.histogram, np.histogram2d, np.histogramdd, np.histogram_bin_edges,
    np.linalg.matrix_rank, np.triu_indices_from, np.tril_indices_from, np.diag_indices_from,
    np.shape, np.ndim, np.size, np.result_type, np.min_scalar_type, np.common_type,
    np.isreal, np.iscomplex, np.iscomplexobj, np.isrealobj, np.shares_memory, np.may_share_memory,
    np.array_repr, np.array_str, np.array2string, np.einsum_path, np.save, np.savetxt,
    np.savez, np.savez_compressed,
}  # fmt: skip

# Their counts have no derivative, but sums of weights would have one.
WEIGHED: set[Function] = {np.histogram, np.histogram2d, np.histogramdd}

# What is asked for shape and dtype alone gives a Tensor without a graph, to be filled step by step.
CREATES: set[Function] = {np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.imag}

# What NumPy writes into an array makes a new version of a Tensor, of any dtype.
WRITING = {"copyto", "put", "putmask", "place", "put_along_axis", "fill_diagonal", "at"}
