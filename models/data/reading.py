"""Files that people give: their text, or one sentence that says what is wrong with them."""

from __future__ import annotations

import codecs
import gzip
import lzma
import sys
from collections.abc import Iterator
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import IO

BLOCK = 1 << 20  # bytes that are read at once


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence for the person at the keyboard."""


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file, with ``\\n`` at line ends, however it was written.

    ``.gz`` and ``.xz`` files are unpacked; ``-`` is standard input. DataError when the file is
    missing, empty or not in this encoding.
    """
    text = "".join(read_blocks(path, encoding))
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text


def read_blocks(path: str | Path, encoding: str = "utf-8", advice: str = "") -> Iterator[str]:
    """The same text in pieces, for a file that is larger than memory. ``advice``: what else to do
    about a file that is in another encoding."""
    try:
        decoder = IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(_named(encoding))(), translate=True
        )
    except (LookupError, ValueError):  # also for what makes bytes of bytes, such as hex
        raise DataError(f"--encoding {encoding}: there is no such encoding") from None
    line = 1
    try:
        with _open(path) as file:
            while True:
                block = file.read(BLOCK)
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeError as error:
                    before = error.start if isinstance(error, UnicodeDecodeError) else 0
                    known = error.object[:before] if isinstance(error, UnicodeDecodeError) else b""
                    ends = known.count(b"\n") + known.count(b"\r") - known.count(b"\r\n")
                    raise DataError(
                        f"{path}, line {line + ends}: not {encoding.upper()}; save the"
                        f" file as UTF-8{advice}"
                    ) from None
                line += text.count("\n")
                if text:
                    yield text
                if not block:
                    return
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: cannot be unpacked ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _named(encoding: str) -> str:
    """The codec to decode with: of UTF-8 the one that knows the mark at the beginning."""
    "".encode(encoding)
    name = codecs.lookup(encoding).name
    return "utf-8-sig" if name == "utf-8" else name


def standard_input() -> int:
    """The descriptor of standard input. DataError where it is closed."""
    if sys.stdin is None or sys.stdin.closed:
        raise DataError("standard input is closed: name a file instead of -")
    return sys.stdin.fileno()


def _open(path: str | Path) -> IO[bytes]:
    if str(path) == "-":
        return open(standard_input(), "rb", closefd=False)
    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise DataError(f"{path}: not a file; of a pipe or a device give the text as -")
    kinds = {".gz": gzip.open, ".xz": lzma.open}
    opened: IO[bytes] = kinds.get(Path(path).suffix.lower(), open)(path, "rb")  # type: ignore[operator]
    return opened
