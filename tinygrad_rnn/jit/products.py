"""Products of few rows with a weight that many time steps use, from blocks of the weight.

For each product OpenBLAS copies the weight into blocks that its kernel reads one after the other.
Where a time step has few rows, the copy takes as long as the product. Its kernels for AVX-512 take
small matrices as they lie, on one core: so the weight is laid out in small blocks, once for all
time steps, and a product is many small ones.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from typing import Any

import numpy as np

from .tape import Call, Tape, Value, view

__all__ = ["as_it_lies", "blas", "blocks_of", "by_columns", "in_blocks", "takes_blocks"]

AS_THEY_LIE = {"SkylakeX", "Cooperlake", "SapphireRapids"}  # OpenBLAS's names of its kernels
SMALL = 10**6  # multiplications up to which these take matrices as they lie
WORTH = 4 * 10**6  # multiplications from which on blocks, and lanes, are faster
ROWS = 128  # up to which they are
WIDTHS = range(32, 66)  # columns: a vector register holds 16 of float32, the kernel works on 64
HEIGHT = 64  # rows of a block at least
CACHE = 1 << 20  # bytes of a core's own
FEW = 32  # rows for which reading an element of a weight takes as long as multiplying by it


def blas() -> dict[str, Any] | None:
    """NumPy's BLAS as threadpoolctl sees it; None if that is not installed, or sees none."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    # Another library in this process, such as SciPy, may have brought one of its own.
    found = [i for i in threadpool_info() if i["user_api"] == "blas"]
    return next((i for i in found if "numpy" in i["filepath"]), found[0] if found else None)


@cache
def takes_blocks() -> bool:
    """Whether NumPy's products run on kernels that take small matrices as they lie."""
    library = blas() or {}
    return library.get("architecture") in AS_THEY_LIE


def as_it_lies(rows: int, K: int, M: int) -> bool:
    """Whether rows (rows, K) by a weight (K, M) is a product of small matrices."""
    return rows * K * M <= SMALL


def blocks_of(rows: int, K: int, M: int) -> tuple[int, int] | None:
    """Rows and columns of the blocks of a weight (K, M) for products with so many rows: those with
    the fewest sums, then the widest. None where there are none, or they would not pay."""
    if rows > ROWS or rows * K * M < WORTH:
        return None
    found = []
    for columns in WIDTHS:
        if M % columns == 0:
            most = min(K, SMALL // (rows * columns))
            found += [(k, columns) for k in range(most, HEIGHT - 1, -1) if K % k == 0][:1]
    return max(found, default=None)


def by_columns(rows: int, weight: Value) -> bool:
    """Whether products with so many rows in each lane take as long as it takes to read the weight:
    then each core rather reads a half of it."""
    return rows < FEW and weight.nbytes > CACHE and weight.dtype == np.float32


def in_blocks(tape: Tape, apart: Container[Value] = ()) -> Tape:
    """Products in lanes, (N, K) by (K, M), and those with the weights ``apart``, take the weight in
    blocks (kn, n, K/kn, M/n)."""
    # of the last lane, which has the most
    rows = {(call.lane[0], call.args[1]): call.args[0].shape[0]
            for call in tape.calls if call.lane and call.fn is np.matmul}
    calls: list[Call] = []
    packed: dict[tuple, Value] = {}
    start, lanes = 0, -1  # where the lanes begin, and which
    for call in tape.calls:
        if call.lane is None or call.lane[0] != lanes:
            start, lanes = len(calls), -1 if call.lane is None else call.lane[0]
        weight = call.args[1] if call.fn is np.matmul and _laid_out(call, apart) else None
        size = weight and blocks_of(rows[lanes, weight] if call.lane else call.args[0].shape[0],
                                    *weight.shape)  # fmt: skip
        if not size:
            calls.append(call)
            continue
        if (weight, size) not in packed:
            packing = _pack(weight, *size, call.line)
            calls[start:start] = packing
            packed[weight, size] = packing[-1].out
        calls += _product(call, packed[weight, size])
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _laid_out(call, apart):
    x, weight, *_ = call.args
    return call.lane or (isinstance(weight, Value) and weight in apart and isinstance(x, Value)
                         and len(x.shape) == 2 and x.order is None and x.dtype == weight.dtype
                         and not call.kwargs)


def _pack(weight, height, width, line):
    """The weight (K, M) as blocks (kn, n, height, width)."""
    K, M = weight.shape
    apart = view(np.reshape, weight, (K // height, height, M // width, width), line=line)
    turned = view(np.transpose, apart.out, (0, 2, 1, 3), line=line)
    copy = Call(np.positive, (turned.out,), {}, Value(turned.out.shape, weight.dtype), line=line)
    return [apart, turned, copy]


def _product(call, blocks):
    """x (N, K) by blocks (kn, n, k, m): (kn, n, N, m), in memory (kn, N, n, m), summed over kn."""
    x, (N, M), line, lane = call.args[0], call.out.shape, call.line, call.lane
    kn, n, k, m = blocks.shape
    apart = view(np.reshape, x, (N, kn, 1, k), line=line, lane=lane)
    turned = view(np.transpose, apart.out, (1, 2, 0, 3), line=line, lane=lane)
    parts = Value((kn, n, N, m), x.dtype, (0, 2, 1, 3))
    product = Call(np.matmul, (turned.out, blocks), {}, parts, line=line, lane=lane)
    rows = view(np.transpose, parts, (0, 2, 1, 3), line=line, lane=lane)
    if kn == 1:
        last = Call(np.reshape, (rows.out, (N, M)), {}, call.out, view=True, line=line, lane=lane)
        return [apart, turned, product, rows, last]
    flat = view(np.reshape, rows.out, (kn, N, M), line=line, lane=lane)
    total = Call(np.add.reduce, (flat.out,), {"axis": 0}, call.out, line=line, lane=lane)
    return [apart, turned, product, rows, flat, total]
