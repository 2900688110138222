"""The second table: NumPy callable -> the same function in terms of those that have rules."""

from collections.abc import Callable

from ..primitive import Function

DERIVED: dict[Function, Function] = {}


def derive(*fns: Function) -> Callable[[Function], Function]:
    """Say what ``fns`` are in terms of functions that have rules."""

    def register(same: Function) -> Function:
        DERIVED.update(dict.fromkeys(fns, same))
        return same

    return register
