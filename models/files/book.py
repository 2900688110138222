"""The weight files of the book: a pickled list of arrays."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..data import DataError
from ..language import BetterRnnlm, LanguageModel, Rnnlm

ARRAY = "the type of the array"  # what a file calls numpy.ndarray: an argument, and no more


def _blank_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind is not ARRAY:
        raise pickle.UnpicklingError("it makes something that is no array")
    return np.ndarray.__new__(np.ndarray, (0,), np.int8)


def _array_of(content: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _float_dtype(code: Any, align: bool = False, copy: bool = False) -> Any:
    if code not in ("f2", "f4", "f8"):
        raise pickle.UnpicklingError(f"it holds {code!r}, wanted floating-point numbers")
    return np.dtype(code, copy=True)


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _blank_array,
    ("numpy._core.multiarray", "_reconstruct"): _blank_array,
    ("numpy.core.numeric", "_frombuffer"): _array_of,
    ("numpy._core.numeric", "_frombuffer"): _array_of,
    ("numpy", "ndarray"): ARRAY,
    ("numpy", "dtype"): _float_dtype,
}


class ArraysOnly(pickle.Unpickler):
    """Reads lists of floating-point arrays. Of all that a pickle can name it knows these names,
    and stands in for them with functions that make arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}; only arrays are read, and nothing in it was run"
            ) from None


def read_arrays(path: str | Path) -> list[np.ndarray]:
    """The arrays of a weight file, float16 widened to float32. DataError for anything else."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        arrays = ArraysOnly(io.BytesIO(content)).load()
        if not isinstance(arrays, list) or not all(type(a) is np.ndarray for a in arrays):
            raise pickle.UnpicklingError("it holds something else than a list of arrays")
        if any(a.dtype.kind != "f" for a in arrays):
            raise pickle.UnpicklingError("it holds arrays of something else than numbers")
    except Exception as error:  # a broken pickle can raise anything
        raise DataError(f"{path}: not a weight file of the book ({error})") from None
    return [a.astype(np.promote_types(a.dtype, np.float32)) for a in arrays]


def load_rnnlm(path: str | Path) -> LanguageModel:
    """An Rnnlm or BetterRnnlm with the weights of ``path``, in the book's order. DataError."""
    arrays = read_arrays(path)
    shapes = [a.shape for a in arrays]
    try:
        (V, D), (H, _) = shapes[0], shapes[2]
        kinds: dict[int, type[Rnnlm | BetterRnnlm]] = {6: Rnnlm, 8: BetterRnnlm}
        model = kinds[len(arrays)](V, D, H)
    except (IndexError, KeyError, ValueError):
        raise DataError(
            f"{path}: arrays of shapes {shapes} are neither an Rnnlm nor a BetterRnnlm"
        ) from None
    try:
        names = [name for name, _ in model.named_parameters()]
        model.load_state_dict(dict(zip(names, arrays, strict=True)))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return model
