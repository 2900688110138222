"""What went wrong, in one sentence, and the exit status that says whose turn it is.

| status | meaning |
|---|---|
| 0 | done |
| 1 | it could not be done with these files, settings or this machine; the sentence says why |
| 2 | the command line was not understood |
| 70 | a mistake of this program; ``TINYGRAD_RNN_TRACEBACK=1`` shows where |
| 128 + n | ended by signal n: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP, 141 a closed pipe |

``check`` has its own: 0 right, 1 wrong, 2 could not be checked.
"""

from __future__ import annotations

from ..data import DataError

FAILED, MISTAKE = 1, 70


def sentence(error: BaseException) -> str:
    """One line on an error that a user can cause; the type as well where it is none of these."""
    if isinstance(error, MemoryError):
        text = f"not enough memory ({error}): " if str(error) else "not enough memory: "
        text += "a smaller --hidden, --embedding or --batch-size needs less"
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        text = where + error.strerror
    elif caused_by_user(error):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def caused_by_user(error: BaseException) -> bool:
    return isinstance(error, (DataError, ImportError, OSError, MemoryError))
