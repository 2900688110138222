"""Files of ``torch.save``, read without PyTorch: arrays by name.

A ``.pth`` or ``.pt`` file is a zip archive of one pickle and the raw numbers of each storage; the
older kind is some pickles in a row, and the storages behind them. The pickle is read as data
(``pickles``), and every size in it is compared with the bytes that are there. So it does not matter
what else it holds: a whole module, a TorchScript archive, options, the state of an optimizer.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .files import Arrays, FormatError, StrPath, from_bfloat16, read_bytes, shown
from .pickles import Call, Name, NoNumbers, Persistent, array_of, is_array, read_pickle

__all__ = ["read_pickled", "read_torch"]

_DTYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2", "Long": "<i8", "Int": "<i4",
    "Short": "<i2", "Char": "<i1", "Byte": "<u1", "Bool": "<u1",
}  # fmt: skip
# Bytes of a number of kinds that NumPy does not have: in the older kind of file they are skipped.
_OTHERS = {"ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4,
           "QUInt4x2": 1, "QUInt2x4": 1, "storage.Untyped": 1}  # fmt: skip
_MAGIC = 0x1950A86A20F9469CFC6C  # what the older kind begins with
_MOST_WRAPPED = 4  # calls around a tensor; there is one, of a parameter
_MOST_KEY = 300  # characters
_PARTS = dict.fromkeys(["_parameters", "_buffers", "_modules"])  # how a module keeps what has names


def read_torch(path: StrPath) -> Arrays:
    """The arrays of a file that ``torch.save`` wrote, by name; PyTorch is not needed.

    Names are those of the state dict, behind the keys of the dicts that it stands in
    (``model.lstm.weight_ih_l0``). Of a module that was saved whole, and of a TorchScript archive,
    they are those that its ``state_dict()`` would have. The arrays are read-only, on the bytes of
    the file; bfloat16 comes as float32. ``.left`` says what else the file holds.

    Nothing in the file is run. FormatError for one that is cut off, damaged or of another kind;
    FileNotFoundError for no file.
    """
    content = read_bytes(path)
    try:
        if content[:4] == b"PK\x03\x04":
            return _from_zip(content)
        return _from_legacy(content)
    except FormatError as error:
        raise FormatError(f"{path}: not a whole file of PyTorch ({error})") from None


def read_pickled(path: StrPath) -> Arrays:
    """The arrays of NumPy, and of JAX, in a pickle, by name, as ``read_torch`` names and gives
    them; ``.left`` also names arrays of words and of other things that are no numbers.

    Nothing in the file is run. FormatError for one that is cut off, damaged or of another kind;
    FileNotFoundError for no file.
    """
    content = read_bytes(path)
    try:
        found = Arrays()
        _collect(read_pickle(io.BytesIO(content)), found, _no_tensor, len(content))
    except FormatError as error:
        raise FormatError(f"{path}: not a pickle of arrays ({error})") from None
    return found


# ---- the two kinds of file ----------------------------------------------------------------------


def _from_zip(content: bytes) -> Arrays:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            roots = [name[: -len("data.pkl")] for name in infos
                     if name == "data.pkl" or name.endswith("/data.pkl")]  # fmt: skip
            if not roots:
                raise FormatError("the archive has no data.pkl")
            root = min(roots, key=len)
            room = len(content)

            def part(name: str) -> bytes:
                nonlocal room
                info = infos.get(root + name)
                if info is None:
                    raise FormatError(f"the archive has no {shown(name)}")
                room -= info.file_size
                if info.compress_type or room < 0:
                    raise FormatError("its parts are compressed, or more than there is")
                return archive.read(info)

            big = root + "byteorder" in infos and part("byteorder") == b"big"
            tree = read_pickle(io.BytesIO(part("data.pkl")))
            storages: dict[str, np.ndarray] = {}

            def storage(kind: str, key: str, count: int) -> np.ndarray:
                if key not in storages:
                    storages[key] = _numbers(part(f"data/{key}"), kind, count, big)
                return storages[key]

            found = Arrays()
            _collect(tree, found, lambda call: _tensor(call, storage), len(content))
            return found
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RuntimeError,
            OverflowError) as error:  # what zipfile makes of a damaged archive
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"the archive is damaged: {shown(str(error))}") from None


def _from_legacy(content: bytes) -> Arrays:
    stream = io.BytesIO(content)
    if read_pickle(stream) != _MAGIC:
        raise FormatError("it begins as no file of torch.save does")
    for _ in ("protocol", "system"):
        read_pickle(stream)
    tree, keys = read_pickle(stream), read_pickle(stream)
    kinds: dict[str, tuple[str, int]] = {}

    for call in _calls(tree):  # a storage's type stands where a tensor uses it
        for part in call.args[:1]:
            if isinstance(part, Persistent) and call.what.startswith(_REBUILT):
                kind, key, count = _storage_of(part)
                kinds[key] = kind, count
    storages: dict[str, np.ndarray] = {}
    if not isinstance(keys, list):
        raise FormatError("it has no list of storages")
    for key in map(_key, keys):
        if key not in kinds:
            raise FormatError("it has a storage that no tensor uses")
        kind, count = kinds[key]
        stored = int.from_bytes(stream.read(8), "little")
        if kind in _DTYPES:
            data = stream.read(min(stored, len(content)) * np.dtype(_DTYPES[kind]).itemsize)
            storages[key] = _numbers(data, kind, max(count, stored), big=False)
        elif kind in _OTHERS:
            stream.seek(min(stored, len(content)) * _OTHERS[kind], io.SEEK_CUR)
        else:
            raise FormatError(f"it has a storage of the kind {shown(kind)}, of unknown size")

    def storage(kind: str, key: str, count: int) -> np.ndarray:
        if key not in storages:
            raise FormatError(f"it has no storage {shown(key)}")
        return storages[key]

    found = Arrays()
    _collect(tree, found, lambda call: _tensor(call, storage), len(content))
    return found


def _numbers(data: bytes, kind: str, count: int, big: bool) -> np.ndarray:
    dtype = np.dtype(_DTYPES[kind]).newbyteorder(">" if big else "<")
    if count * dtype.itemsize > len(data):
        raise FormatError(f"a storage of {count} numbers has {len(data)} bytes")
    flat = np.frombuffer(data, dtype, count)
    if kind == "BFloat16":
        flat = from_bfloat16(flat)
    elif kind == "Bool":
        flat = flat != 0
    flat.flags.writeable = False
    return flat


# ---- tensors ------------------------------------------------------------------------------------

Storage = Callable[[str, str, int], np.ndarray]
_REBUILT = "torch._utils._rebuild_"  # how the calls that make tensors begin
_STRIDED = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_WRAPPERS = {"torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter",
             "torch._utils._rebuild_parameter_with_state"}  # fmt: skip


def _storage_of(part: Persistent) -> tuple[str, str, int]:
    """The kind of a storage, its key, and how many numbers it has."""
    match part.id:
        case ("storage" | b"storage", Name(path=path), str() | bytes() | int() as key, _,
              int() as count, *view) if 0 <= count < 2**48 and view in ([], [None]):
            return path.removeprefix("torch.").removesuffix("Storage"), _key(key), count
    raise FormatError("it has a tensor without a storage")


def _tensor(call: Call, storage: Storage) -> np.ndarray | str | None:
    """The array of a tensor, or the reason why there is none; None for what is no tensor."""
    for _ in range(_MOST_WRAPPED):
        if call.what not in _WRAPPERS:
            break
        if not call.args or not isinstance(call.args[0], Call):
            return None
        call = call.args[0]
    if not call.what.startswith(_REBUILT):
        return None
    flat = None
    if call.what in _STRIDED and call.args and isinstance(call.args[0], Persistent):
        kind, key, count = _storage_of(call.args[0])
        flat = storage(kind, key, count) if kind in _DTYPES else None
    if flat is None:
        return f"{shown(call.what.rpartition('.')[2])} of a kind that NumPy does not have"
    match call.args:
        case (_, int() as offset, tuple() as size, tuple() as stride, *_) if (
                len(size) == len(stride) <= 32
                and all(type(n) is int and 0 <= n < 2**48 for n in (offset, *size, *stride))):
            pass
        case _:
            raise FormatError("it has a tensor of no valid shape")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 in size:
        try:
            return np.frombuffer(b"", flat.dtype).reshape(size)
        except ValueError:  # axes whose product is none that NumPy can count
            raise FormatError("it has a tensor of no valid shape") from None
    if last >= flat.size or math.prod(size) > flat.size:
        raise FormatError(f"a tensor of shape {shown(str(size))} reaches beyond its storage of"
                          f" {flat.size} numbers")
    step = flat.itemsize
    return np.ndarray(size, flat.dtype, flat, offset * step, tuple(s * step for s in stride))


# ---- what stands where --------------------------------------------------------------------------


def _no_tensor(call: Call) -> None:
    return None


def _collect(tree: Any, found: Arrays, tensor: Callable[[Call], np.ndarray | str | None],
             size: int) -> None:
    """Put all arrays of a tree into ``found``, and what is no array into its ``left``.

    The arrays may share their numbers; together they are no more than four times the file. Names
    are joined of keys, and what is deep has a long one: together they are as bounded.
    """
    room, letters = 4 * size, 16 * size + 1_000_000
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", tree)] if isinstance(tree, _HOLDERS) else []
    while todo:
        name, value = todo.pop()
        if isinstance(value, Call):
            try:
                array = array_of(value) if is_array(value) else tensor(value)
            except NoNumbers as why:
                array = str(why)
            except FormatError as error:
                raise FormatError(f"{shown(name)}: {error}") from None
            if isinstance(array, np.ndarray):
                room -= array.nbytes
                if room < 0:
                    raise FormatError("its arrays are more than it has numbers for")
                found[name] = array
                continue
            if array is not None:
                found.left[name] = array
                continue
        if not _first(value, seen):  # what stands in two places is named once; nothing is endless
            continue
        inside = list(_inside(value, seen))
        if isinstance(value, Call) and not inside and value.what not in _DICTS:
            found.left[name] = shown(value.what)
        for key, part in inside[::-1]:
            if isinstance(part, _HOLDERS):
                todo.append((_join(name, key, isinstance(value, Call)), part))
                letters -= len(todo[-1][0])
                if letters < 0:
                    raise FormatError("the names in it are far longer than the file")


_HOLDERS = (Call, dict, list, tuple)  # what can hold arrays
_DICTS = {"collections.OrderedDict", "collections.defaultdict", "torch.Size"}


def _first(value: Any, seen: set[int]) -> bool:
    """Whether a value is met for the first time."""
    known = id(value) in seen
    seen.add(id(value))
    return not known


def _inside(value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """What a value holds, by name, but for what was there before."""
    if isinstance(value, Call):
        if value.what == "collections.OrderedDict" and value.args:  # of Python 2: a list of pairs
            given = value.args[0]
            pairs = given if isinstance(given, list) and _first(given, seen) else []
            yield from ((_key(p[0]), p[1]) for p in pairs
                        if isinstance(p, (list, tuple)) and len(p) == 2)  # fmt: skip
        yield from value.entries.items()
        yield from ((str(i), item) for i, item in enumerate(value.items))
        given = value.state
        state = given if isinstance(given, dict) and _first(given, seen) else {}
        if state.keys() >= _PARTS.keys():  # a module; what else it keeps is not in its state dict
            yield from ((part, state[part]) for part in _PARTS)
        elif value.what not in _DICTS:
            yield from state.items()
    elif isinstance(value, dict):
        yield from value.items()
    else:
        yield from ((str(i), item) for i, item in enumerate(value))


def _join(name: str, key: str, attribute: bool) -> str:
    if attribute and key in _PARTS:
        return name
    return f"{name}.{key}" if name else key


def _calls(tree: Any) -> Iterator[Call]:
    """All calls in a tree, also those that are arguments of others."""
    seen: set[int] = set()
    todo = [tree]
    while todo:
        value = todo.pop()
        if not isinstance(value, _HOLDERS) or not _first(value, seen):
            continue
        if isinstance(value, Call):
            yield value
            todo += [value.args, value.state, value.items, value.entries]
        else:
            todo += value.values() if isinstance(value, dict) else value


def _key(value: Any) -> str:
    """A key, of a storage or of a dict that is written as pairs, as text."""
    match value:
        case str() if len(value) <= _MOST_KEY:
            return value
        case bytes() if len(value) <= _MOST_KEY:
            return value.decode("latin-1")
        case int() if abs(value) < 2**64:
            return str(value)
    raise FormatError("it has a key that is no short text")
