"""Ids in a file that is mapped into memory."""

from __future__ import annotations

import mmap
from typing import Any


def forget(ids: Any) -> None:
    """Give back the memory of what was read of mapped ids; the file keeps it. Nothing for others.

    Without this a training that goes once through a large text would in the end hold all of it.
    """
    mapped = getattr(ids, "_mmap", None)
    if mapped is not None and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
