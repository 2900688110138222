"""Whether calls are recorded: ``no_grad``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, Self, TypeVar, cast

__all__ = ["no_grad"]

F = TypeVar("F", bound=Callable[..., Any])

# How many no_grad blocks are open in this thread or task. A count, not a flag: blocks may overlap.
no_grad_blocks: ContextVar[int] = ContextVar("no_grad_blocks", default=0)


class no_grad:
    """``with no_grad():`` or ``@no_grad()``: calls inside are computed and not recorded.

    Holds for the current thread and async task only, and ends with the block however it is left.
    As a decorator also of generators and ``async`` functions: of what they do, and not of what is
    done between two of their items.
    """

    def __enter__(self) -> None:
        no_grad_blocks.set(no_grad_blocks.get() + 1)

    def __exit__(self, *_: object) -> None:
        no_grad_blocks.set(max(0, no_grad_blocks.get() - 1))  # leaving twice is leaving once

    def __call__(self, f: F) -> F:
        wrapper: Any
        if inspect.isgeneratorfunction(f):
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return _between_items(f(*args, **kwargs))
        elif inspect.iscoroutinefunction(f):
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with no_grad():  # a task has a context of its own
                    return await f(*args, **kwargs)
        elif inspect.isasyncgenfunction(f):
            raise TypeError(f"no_grad: {f.__name__} is an asynchronous generator; write"
                            " `with no_grad():` inside it")
        else:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with no_grad():
                    return f(*args, **kwargs)
        return cast(F, functools.wraps(f)(wrapper))


def _between_items(items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """The same generator, which computes each item inside a block of its own."""
    resume: Callable[..., Any] = functools.partial(next, items)
    while True:
        try:
            with no_grad():
                item = resume()
        except StopIteration as end:
            return end.value
        try:
            resume = functools.partial(items.send, (yield item))
        except GeneratorExit:
            items.close()
            raise
        except BaseException as error:
            resume = functools.partial(items.throw, error)


class enable_grad:
    """Calls inside are recorded, whatever is around it: for the transforms."""

    def __enter__(self) -> Self:
        self.outer = no_grad_blocks.get()
        no_grad_blocks.set(0)
        return self

    def __exit__(self, *_: object) -> None:
        no_grad_blocks.set(self.outer)
