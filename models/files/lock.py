"""One run, one writer: a folder that a training writes to is its own until it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..data import DataError

LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[Writer]:
    """Hold a folder against every other training; DataError when another one holds it.

    The lock is the system's, on an open file: it ends with the process, however that ends, and what
    is left of the file means nothing. What a killed writer has left half-written is removed.
    """
    writer = Writer(folder)
    try:
        for part in folder.glob(".*.part"):
            part.unlink(missing_ok=True)
        yield writer
    finally:
        writer.close()


class Writer:
    """Who holds a folder. The folder is known by its name: where it is renamed or removed
    meanwhile, what has its name then is another one."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._handle = folder, _held(folder)

    def check(self) -> None:
        """Before anything is written: take the folder again if it has gone. DataError when it
        cannot be made, or another training holds what has its name now."""
        with suppress(OSError):
            there = os.stat(self._folder / LOCK)
            if os.path.samestat(there, os.fstat(self._handle)):
                return
        again = _held(self._folder)
        self.close()
        self._handle = again

    def close(self) -> None:
        os.close(self._handle)


def _held(folder: Path) -> int:
    """The file on which the lock of a folder is, open and locked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror})") from None
    if not _lock(handle):
        who = ""
        with suppress(OSError):
            who = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        named = f" (process {who})" if who.isdigit() else ""
        raise DataError(f"{folder}: another training{named} is writing there; wait for its end, or"
                        " give another --out")
    with suppress(OSError):  # for the message alone
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _lock(handle: int) -> bool:
    """Whether the lock is ours now. A file system without locks has none to refuse."""
    if os.name == "nt":
        import msvcrt

        try:
            os.lseek(handle, 1 << 20, os.SEEK_SET)  # far from the process id, which can be read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
