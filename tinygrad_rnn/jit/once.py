"""What a step exchanges with the world happens once for each call, however often ``tg.jit`` runs
that call: to record it, to replay it, to compare the two. Other processes take part in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["again", "exchange", "once"]


class _Exchanges:
    """Those of one call, and how many of them the present run has come to."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.at = 0


_call: ContextVar[_Exchanges | None] = ContextVar("_call", default=None)


@contextmanager
def once() -> Iterator[None]:
    """One call, which may be run several times."""
    token = _call.set(_Exchanges())
    try:
        yield
    finally:
        _call.reset(token)


def again() -> None:
    """Another run of the same call begins."""
    if (call := _call.get()) is not None:
        call.at = 0


def exchange(f: Callable[..., Any], *args: Any) -> Any:
    """``f(*args)``, or in later runs of the same call what that gave in the first."""
    call = _call.get()
    if call is None:
        return f(*args)
    if call.at == len(call.done):
        call.done.append(f(*args))
    call.at += 1
    return call.done[call.at - 1]
