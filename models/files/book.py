"""The weight files of the book: a pickled list of arrays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.interop.files import FormatError, read_bytes, shown, spoiled
from tinygrad_rnn.interop.pickles import Call, Name, array_of, is_array, read_pickle

from ..data import DataError
from ..language import BetterRnnlm, LanguageModel, Rnnlm

MOST_OPCODES = 10_000  # 40 for each array; a BetterRnnlm has eight


def read_arrays(path: str | Path) -> list[np.ndarray]:
    """The arrays of a weight file, float16 widened to float32. DataError for anything else.

    Protocols 0 to 5, written by Python 2 or 3. Nothing in the file is run, and no code of NumPy
    sees what it says: see ``tinygrad_rnn.interop.pickles``.
    """
    try:
        content = read_bytes(path)
        value = read_pickle(io.BytesIO(content), MOST_OPCODES)
        for name in _names(value):
            raise FormatError(f"it names {name}; only arrays are read, wanted floating-point"
                              " numbers, and nothing in it was run")
        if not isinstance(value, list) or not all(map(is_array, value)):
            raise FormatError("it holds something else than a list of arrays")
        arrays = [array_of(a) for a in value]
        if any(a.dtype.kind != "f" for a in arrays):
            raise FormatError("it holds integers, wanted floating-point numbers")
        if sum(a.nbytes for a in arrays) > len(content):
            raise FormatError("its arrays are more than it has numbers for")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except FormatError as error:
        raise DataError(f"{path}: not a weight file of the book ({error})") from None
    for i, a in enumerate(arrays):
        if said := spoiled(a):
            raise DataError(f"{path}: array {i} of {len(arrays)} holds {said}")
    return [a.astype(np.promote_types(a.dtype, np.float32).newbyteorder("=")) for a in arrays]


def _names(value: Any) -> Iterator[str]:
    """What a list of arrays has no use for, by the names that the file calls it."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Name):
            yield shown(item.path)
        elif isinstance(item, Call) and not is_array(item):
            yield shown(item.what)


def load_rnnlm(path: str | Path) -> LanguageModel:
    """An Rnnlm or BetterRnnlm with the weights of ``path``, in the book's order. DataError."""
    arrays = read_arrays(path)
    shapes = [a.shape for a in arrays]
    try:
        (V, D), (H, _) = shapes[0], shapes[2]
        size = V * D + 4 * H * (D + H)
        if size > 8 * sum(a.size for a in arrays):  # nothing that large is built
            raise ValueError
        kinds: dict[int, type[Rnnlm | BetterRnnlm]] = {6: Rnnlm, 8: BetterRnnlm}
        model = kinds[len(arrays)](V, D, H)
    except (IndexError, KeyError, ValueError):
        raise DataError(f"{path}: arrays of shapes {shown(str(shapes), 300)} are neither an Rnnlm"
                        " nor a BetterRnnlm") from None
    try:
        names = [name for name, _ in model.named_parameters()]
        model.load_state_dict(dict(zip(names, arrays, strict=True)))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return model
