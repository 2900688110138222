"""Weights of any Module in one safetensors file, which any framework can read.

What is written here carries the SHA-256 of every array in the file's metadata, and what carries
them is held against them when it is read: a bit that has flipped has a name.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from .. import nn
from .files import (
    Arrays,
    FormatError,
    StrPath,
    from_bfloat16,
    read_bytes,
    shown,
    spoiled,
    write_atomically,
)
from .needs import needed

__all__ = ["load_safetensors", "pack", "read_safetensors", "save_safetensors", "unpack"]

M = TypeVar("M", bound=nn.Module)

KEY = "tinygrad_rnn"  # in the metadata of a file that was written here
DIGESTS = "digests"  # by name, and under "" that of the rest of the metadata
_MOST_HEADER = 100_000_000  # bytes, as the library has it
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "<u1",
}  # fmt: skip


def save_safetensors(module: nn.Module, path: StrPath) -> None:
    """Write all parameters and buffers of a Module to ``path``, under their names in
    ``state_dict``.

    The names are paths of attributes (``encoder.lstm.cells.0.Wx``), and stay what they are as long
    as the attributes do. A parameter that stands in two places is stored once; shapes and dtypes
    are kept, and the digest of every array is in the metadata. At every moment the file is the old
    one or the new one, whole. ImportError without safetensors, TypeError for no Module.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"save_safetensors: a {type(module).__name__} came, wanted a Module")
    write_atomically(path, pack(module.state_dict(), {KEY: "weights"}, "save_safetensors"))


def load_safetensors(module: M, path: StrPath) -> M:
    """Take over the parameters and buffers that ``save_safetensors`` wrote; returns the module.

    Files of others are taken as well, if the names fit; they have no digests, and are believed. NaN
    and infinite weights are taken over with a warning. Raises KeyError or ValueError, and changes
    nothing, if names or shapes differ from those of the module (``Module.load_state_dict``);
    FormatError if the file is cut off or damaged, with the name of the array that is;
    FileNotFoundError for no file.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"load_safetensors: a {type(module).__name__} came, wanted a Module")
    arrays = read_safetensors(path)
    module.load_state_dict(arrays)
    for name, a in arrays.items():
        if said := spoiled(a):
            warnings.warn(f"{path}: {shown(name)} holds {said}", stacklevel=2)
    return module


def read_safetensors(path: StrPath) -> Arrays:
    """The arrays of a safetensors file, by name; the library is not needed.

    They are read-only, on the bytes of the file; bfloat16 comes as float32, and ``.left`` names
    arrays of what NumPy does not have (float8). Digests, where the file has them, are verified.
    FormatError for a file that is cut off, damaged or of another kind; FileNotFoundError for none.
    """
    content = read_bytes(path)
    try:
        return unpack(content)[0]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], name: str) -> bytes:
    """Arrays and metadata as the content of a safetensors file, with the digests of both."""
    library = needed("safetensors.numpy", name)
    # safetensors writes the memory of an array, whatever its strides say: copy it in order.
    ordered = {key: np.asarray(a, a.dtype.newbyteorder("<"), order="C")
               for key, a in arrays.items()}  # fmt: skip
    digests = {key: _digest(a) for key, a in ordered.items()} | {"": _digest_of(metadata)}
    content: bytes = library.save(ordered, dict(metadata) | {DIGESTS: json.dumps(digests)})
    return content


def unpack(content: bytes) -> tuple[Arrays, dict[str, str]]:
    """What ``pack`` made: arrays and metadata, without the digests, which were verified.

    FormatError, without the file's name, unless every byte is what it was.
    """
    header, start = _header(content)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("not a safetensors file: its metadata are no text")
    arrays = Arrays()
    end = start
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        kind, shape, begin = entry["dtype"], entry["shape"], start + entry["data_offsets"][0]
        if begin != end:
            raise FormatError("not a whole safetensors file: its arrays do not follow each other")
        end = start + entry["data_offsets"][1]
        if kind not in _DTYPES:
            arrays.left[name] = f"numbers of the kind {shown(kind)}, which NumPy does not have"
            continue
        dtype = np.dtype(_DTYPES[kind])
        if math.prod(shape) * dtype.itemsize != end - begin or end > len(content):
            raise FormatError(f"not a whole safetensors file: {shown(name)} of shape"
                              f" {shown(str(shape))} has another number of bytes")
        flat = np.frombuffer(content, dtype, math.prod(shape), begin)
        try:
            arrays[name] = _ours(kind, flat).reshape(shape)
        except ValueError:  # no numbers, of axes whose product is none that NumPy can count
            raise FormatError(f"not a safetensors file: {shown(name)} has no valid shape") from None
    if end != len(content):
        raise FormatError(f"not a whole safetensors file: {len(content):,} bytes, wanted {end:,}")
    arrays.verified = DIGESTS in metadata
    if arrays.verified:
        _verify(arrays, metadata)
    elif KEY in metadata and len(metadata) > 1:  # its name has lost a bit
        raise FormatError("its metadata are damaged; take another copy of it")
    return arrays, metadata


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The JSON of a file, and where its numbers begin."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_MOST_HEADER, len(content) - 8):
        raise FormatError("not a whole safetensors file: it ends in its header")
    try:
        header = json.loads(content[8 : 8 + size].decode("utf-8"), object_pairs_hook=_no_name_twice)
    except (ValueError, RecursionError):
        raise FormatError("not a safetensors file: its header is damaged") from None
    if not isinstance(header, dict):
        raise FormatError("not a safetensors file: its header is damaged")
    return header, 8 + size


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(entries := dict(pairs)) != len(pairs):
        raise ValueError
    return entries


def _offsets(entry: Any) -> tuple[int, int]:
    """Where the numbers of an array are, once its entry is known to be one."""
    match entry:
        case {"dtype": str(), "shape": list() as shape, "data_offsets": [int(a), int(b)]} if (
                len(entry) == 3 and len(shape) <= 32 and 0 <= a <= b < 2**62
                and all(type(n) is int and 0 <= n < 2**31 for n in shape)):
            return a, b
    raise FormatError("not a safetensors file: its header is damaged")


def _ours(kind: str, flat: np.ndarray) -> np.ndarray:
    if kind == "BF16":
        return from_bfloat16(flat)
    return flat.view(np.bool_) if kind == "BOOL" and flat.max(initial=0) <= 1 else flat


def _digest(a: np.ndarray) -> str:
    """SHA-256 of what an array is: dtype, shape, and its numbers in order."""
    sha = hashlib.sha256(f"{a.dtype.newbyteorder('<').str} {list(a.shape)} ".encode())
    sha.update(np.asarray(a, order="C").reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def _digest_of(metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(metadata.items())).encode()).hexdigest()


def _verify(arrays: Arrays, metadata: dict[str, str]) -> None:
    """Hold arrays and metadata against the digests among the latter, and take those out."""
    try:
        digests = json.loads(metadata.pop(DIGESTS), object_pairs_hook=_no_name_twice)
        if not isinstance(digests, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise FormatError("its metadata are damaged; take another copy of it") from None
    if digests.pop("", None) != _digest_of(metadata):
        raise FormatError("its metadata are damaged; take another copy of it")
    for name in sorted(digests.keys() ^ arrays.keys()):
        what = "is missing" if name in digests else "has no digest"
        raise FormatError(f"the array {shown(name)} {what}; take another copy of it")
    for name, a in arrays.items():
        if digests[name] != _digest(a):
            raise FormatError(f"the array {shown(name)} is damaged: it is not what its digest says;"
                              " take another copy of it")
