"""Libraries that are imported only where they are used."""

from importlib import import_module
from typing import Any


def needed(library: str, name: str) -> Any:
    """The module ``library``, or an ImportError that tells the caller of ``name`` what to do."""
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(f"{name} wants {library}: pip install {library.split('.')[0]}"
                          f" ({error})") from None
