"""Pickles as data: what a pickle says is read, nothing that it asks for is done.

A pickle is a program. The machine here knows its opcodes (``pickletools``), and executes none of
what they call: a call becomes a record, ``Call("numpy.dtype", ("f4", ...))``. Which records are
arrays is decided afterwards, by a few shapes that NumPy writes, and their bytes are taken over by
``np.frombuffer`` once every size has been compared with the bytes that are there. No code of NumPy,
or of any other library, runs on what a stranger's file says.

Memory: what is read is never more than a small multiple of the file, plus some 100 bytes for each
opcode, whose number is limited. An opcode of two bytes may refer to a text of a million: nothing is
made of a text more than once, and what joins texts takes short ones only.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .files import FormatError, from_bfloat16, shown

__all__ = ["MOST_OPCODES", "Call", "Name", "NoNumbers", "Persistent", "array_of", "is_array",
    "read_pickle"]

MOST_OPCODES = 500_000  # some 40 for each array of a checkpoint; 50 MB of Python objects
MOST_AXES = 32
MOST_NAME = 300  # characters of the name of a class or a function
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


class NoNumbers(FormatError):
    """An array holds something else than numbers; the rest of the file may be what it should be."""


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """What a pickle knows by name, a class or a function; it is not looked up."""

    path: str


@dataclass(eq=False, slots=True)
class Call:
    """An object as a pickle describes it: what was to be called, with what, and what was to be
    put into the result."""

    what: str
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Persistent:
    """What a pickle says of an object that is kept outside of it."""

    id: Any


def read_pickle(stream: io.BytesIO, most: int = MOST_OPCODES) -> Any:
    """The value that a pickle describes, from the stream's place to its STOP.

    Lists, tuples, dicts, numbers and text are what they are (keys of dicts as text, sets as lists,
    text of Python 2 as bytes); all else is a ``Name``, ``Call`` or ``Persistent``. Protocols 0
    to 5. FormatError, without the file's name, for what is no pickle and for more than ``most``
    opcodes.
    """
    return _Machine(stream, most).run()



class _Machine:
    """A stack, the stacks below the marks, and a memo: as the protocol defines them."""

    def __init__(self, stream: io.BytesIO, most: int) -> None:
        self.stream, self.most = stream, most
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.turned: dict[Any, Any] = {}  # bytes that became text, and text that became bytes

    def run(self) -> Any:
        for name, arg in self._opcodes():
            if name == "STOP":
                return self.pop()
            if name in _PUSHES:
                self.push(_PUSHES[name](arg))
            elif name in _ACTIONS:
                _ACTIONS[name](self, arg)
            else:
                raise FormatError(f"the opcode {name} has no place in a file of arrays")
        raise AssertionError  # _opcodes ends with an error

    def _opcodes(self) -> Iterator[tuple[str, Any]]:
        for _ in range(self.most):
            place = self.stream.tell()
            code = self.stream.read(1)
            opcode = _OPCODES.get(code.decode("latin-1"))
            if opcode is None:
                raise FormatError(f"it is cut off after {place} bytes" if not code else
                                  f"it has no pickle's opcode at byte {place}")
            try:
                if opcode.name in _LINES and b"\\" in self._ahead(_LINES[opcode.name]):
                    raise FormatError(f"the argument of {opcode.name} at byte {place} has escapes")
                if opcode.name == "STRING":  # pickletools would have it ASCII
                    yield "STRING", _python2_string(self.stream.readline())
                elif opcode.arg is None:
                    yield opcode.name, None
                else:
                    yield opcode.name, opcode.arg.reader(self.stream)
            except FormatError:
                raise
            except (ValueError, OverflowError):  # of the readers of pickletools
                raise FormatError(f"the argument of {opcode.name} at byte {place} is damaged or"
                                  " cut off") from None
        raise FormatError(f"it is a program of more than {self.most:,} opcodes")

    def _ahead(self, lines: int) -> bytes:
        place = self.stream.tell()
        text = b"".join(self.stream.readline() for _ in range(lines))
        self.stream.seek(place)
        return text

    # the stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise FormatError("it takes from an empty stack")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """What is on top, to be filled; a Call may be filled with anything."""
        if not self.stack or not isinstance(self.stack[-1], (kind, Call)):
            raise FormatError(f"it fills something else than a {kind.__name__}")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        if not self.below:
            raise FormatError("it ends a list that it has not begun")
        taken, self.stack = self.stack, self.below.pop()
        return taken

    # what opcodes do

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_or_unmark(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def duplicate(self, _: Any) -> None:
        self.push(self.top(object))

    def get(self, index: Any) -> None:
        if index not in self.memo:
            raise FormatError("it refers to something that it has not made")
        self.push(self.memo[index])

    def put(self, index: Any) -> None:
        if not 0 <= index < 2**32:
            raise FormatError("it numbers an object out of range")
        self.memo[index] = self.top(object)

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.top(object)

    def tuple_of(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def append(self, value: list[Any]) -> None:
        into = self.top(list)
        (into.items if isinstance(into, Call) else into).extend(value)

    def set_items(self, flat: list[Any]) -> None:
        into = self.top(dict)
        entries = into.entries if isinstance(into, Call) else into
        entries.update(self.pairs(flat))

    def pairs(self, flat: list[Any]) -> dict[str, Any]:
        if len(flat) % 2:
            raise FormatError("it has a key without a value")
        return {self.key(key, i): value
                for i, (key, value) in enumerate(zip(flat[::2], flat[1::2], strict=True))}

    def key(self, key: Any, i: int) -> str:
        """A key as text: nobody can choose what that hashes to."""
        if isinstance(key, bytes):
            text: str = self.latin1(key)
            return text
        if isinstance(key, int) and abs(key) >= 2**63:
            return f"?{i}"
        return str(key) if isinstance(key, (str, int, float)) or key is None else f"?{i}"

    def latin1(self, value: Any) -> Any:
        """Text of bytes, or bytes of text: each made once, however often the file asks for it."""
        if value not in self.turned:
            self.turned[value] = (value.decode("latin-1") if isinstance(value, bytes)
                                  else value.encode("latin-1"))  # fmt: skip
        return self.turned[value]

    def call(self, what: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise FormatError("it calls something with no tuple of arguments")
        if isinstance(what, Persistent) and isinstance(what.id, tuple):  # a class, with its source
            what = next((part for part in what.id[:4] if isinstance(part, Name)), what)
        match what, args:
            case Name(path="_codecs.encode"), (str() as text, "latin1" | "latin-1" | b"latin1"):
                with suppress(UnicodeEncodeError):  # the bytes of an array, below protocol 3
                    self.push(self.latin1(text))
                    return
        self.push(Call(what.path if isinstance(what, Name) else "something without a name", args))

    def reduce(self, _: Any) -> None:
        args = self.pop()
        self.call(self.pop(), args)

    def new_with_keywords(self, _: Any) -> None:
        keywords = self.pop()
        args = self.pop()
        self.call(self.pop(), args)
        self.stack[-1].state = keywords

    def instance(self, path: str) -> None:
        args = tuple(self.since_mark())
        self.push(Call(_named(path).path, args))

    def object_of(self, _: Any) -> None:
        what, *args = self.since_mark() or [None]
        self.call(what, tuple(args))

    def build(self, _: Any) -> None:
        state = self.pop()
        into = self.top(Call)
        into.state = state

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise FormatError("it names something by no text")
        self.push(_named(module, name))


def _named(*parts: str) -> Name:
    """The Name of a module and what is in it; GLOBAL and INST give both with a space between."""
    if sum(map(len, parts)) > MOST_NAME:
        raise FormatError(f"it has a name of more than {MOST_NAME} characters")
    return Name(".".join(parts) if len(parts) > 1 else parts[0].replace(" ", ".", 1))


ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[\\'\"nrtabfv0]|.?)", re.DOTALL)
ESCAPES = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t",
           b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"0": b"\0"}  # fmt: skip


def _python2_string(line: bytes) -> bytes:
    """The bytes of a string as ``repr`` of Python 2 wrote it."""
    text = line.strip()
    if not line.endswith(b"\n") or len(text) < 2 or text[:1] not in b"'\"" or text[:1] != text[-1:]:
        raise FormatError("it has a text without quotation marks")

    def unescaped(match: re.Match[bytes]) -> bytes:
        code = match[1]
        if code[:1] == b"x" and len(code) == 3:
            return bytes([int(code[1:], 16)])
        if code not in ESCAPES:
            raise FormatError("it has a text with an unknown escape")
        return ESCAPES[code]

    return ESCAPE.sub(unescaped, text[1:-1])


# Opcodes whose argument is so many lines; escapes in them, which nobody writes, would be undone.
_LINES = {"INT": 1, "LONG": 1, "FLOAT": 1, "GET": 1, "PUT": 1, "PERSID": 1, "GLOBAL": 2, "INST": 2}


def _same(value: Any) -> Any:
    return value


_PUSHES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "BINBYTES", "BINBYTES8",
         "SHORT_BINBYTES", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT",
         "BINFLOAT", "STRING"], _same),
    # Text of Python 2 may hold anything, the bytes of an array among it.
    "BINSTRING": lambda text: text.encode("latin-1"),
    "SHORT_BINSTRING": lambda text: text.encode("latin-1"),
    "BYTEARRAY8": bytes,
    "NONE": lambda _: None, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [], "EMPTY_TUPLE": lambda _: (), "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: [],
    "GLOBAL": _named,
    "PERSID": Persistent,
}  # fmt: skip

_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, _: None, "FRAME": lambda m, _: None,
    "MARK": _Machine.mark, "POP": _Machine.pop_or_unmark,
    "POP_MARK": lambda m, _: m.since_mark(), "DUP": _Machine.duplicate,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "LIST": lambda m, _: m.push(m.since_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "DICT": lambda m, _: m.push(m.pairs(m.since_mark())),
    "FROZENSET": lambda m, _: m.push(m.since_mark()),
    "TUPLE1": lambda m, _: m.tuple_of(1), "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.since_mark()),
    "ADDITEMS": lambda m, _: m.append(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords, "INST": _Machine.instance, "OBJ": _Machine.object_of,
    "BUILD": _Machine.build, "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": lambda m, _: m.push(Persistent(m.pop())),
}  # fmt: skip


# ---- arrays of NumPy ----------------------------------------------------------------------------

_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_JAX = "jax._src.array._reconstruct_array"  # it is given how NumPy makes the same array
_BFLOAT16 = "ml_dtypes.bfloat16"
_DTYPE = re.compile(r"[iu][1248]|f[248]|b1")


def is_array(value: Any) -> bool:
    """Whether a value of ``read_pickle`` is an array of NumPy or JAX."""
    return isinstance(value, Call) and value.what in _RECONSTRUCT | _FROM_BUFFER | {_JAX}


def array_of(call: Call) -> np.ndarray:
    """The array that a Call describes, read-only, on the bytes of the pickle; bfloat16 comes as
    float32.

    FormatError, without the file's name, unless its bytes are there; NoNumbers if it is none of
    numbers.
    """
    if call.what == _JAX:
        match call.args:
            case (Name(path=path), tuple() as args, state, _) if path in _RECONSTRUCT:
                call = Call(path, args, state)
            case _:
                raise FormatError("it makes an array of JAX of something else than one of NumPy")
    if call.what in _RECONSTRUCT:
        if not isinstance(call.state, tuple) or len(call.state) != 5:
            raise FormatError("it makes an array without saying what is in it")
        _, shape, dtype, fortran, content = call.state
        order: Any = "F" if fortran else "C"
        axes: Any = None
    else:
        if not 4 <= len(call.args) <= 5:
            raise FormatError("it makes an array without saying what is in it")
        content, dtype, shape, order, axes = (*call.args, None)[:5]
        order = _text(order)
        if order == "K":
            order = "C"
    kind = _dtype(dtype)
    if not isinstance(shape, tuple) or len(shape) > MOST_AXES or order not in ("C", "F") or not all(
            type(n) is int and 0 <= n < 2**31 for n in shape):
        raise FormatError("it makes an array of no valid shape")
    if axes is not None and (not isinstance(axes, tuple) or len(axes) != len(shape)
                             or not all(type(a) is int for a in axes)
                             or sorted(axes) != list(range(len(shape)))):
        raise FormatError("it makes an array of no valid order of axes")
    data = _content(content)
    if math.prod(shape) * kind.itemsize != len(data):
        raise FormatError(f"it makes an array of shape {shown(str(shape))} and {kind} of"
                          f" {len(data)} bytes")
    try:
        flat = np.frombuffer(data, kind)
        if _code(dtype) == _BFLOAT16:
            flat = from_bfloat16(flat)
            flat.flags.writeable = False
        array = flat.reshape(shape, order=order)
    except ValueError:  # an empty array of axes whose product is none that NumPy can count
        raise FormatError("it makes an array of no valid shape") from None
    return array if axes is None else array.transpose(axes)


def _dtype(call: Any) -> np.dtype[Any]:
    """The dtype of numbers that a Call describes."""
    code = _code(call)
    if code == _BFLOAT16:
        code = "u2"
    state = call.state if isinstance(call.state, tuple) else ()
    swapped = _text(state[1]) if len(state) > 1 else "="
    if not isinstance(code, str) or not _DTYPE.fullmatch(code) or swapped not in (*"<>=|",) or any(
            part not in (None, ()) for part in state[2:5]):
        raise NoNumbers(f"it holds {shown(code)!r}, wanted floating-point numbers")
    return np.dtype(swapped + code)


def _code(call: Any) -> Any:
    """What a Call of ``numpy.dtype`` is given: a code, or the name of a class."""
    if not isinstance(call, Call) or call.what != "numpy.dtype" or not call.args:
        raise FormatError("it makes an array of no dtype")
    given = call.args[0]
    return given.path if isinstance(given, Name) else _text(given)


def _content(value: Any) -> bytes:
    """The bytes of an array; below protocol 3 Python 3 writes none as a call."""
    if isinstance(value, Call) and value.what in ("__builtin__.bytes", "builtins.bytes") and (
            value.args == ()):
        return b""
    if not isinstance(value, bytes):
        raise FormatError("it makes an array of something else than bytes")
    return value


def _text(value: Any) -> Any:
    """A short text as text, also where Python 2 wrote it."""
    return value[:100].decode("latin-1") if isinstance(value, bytes) else value

