"""Bring your own hand-written layer, and learn whether its backward pass is right.

``check_layer(layer, *inputs)`` differentiates the layer's own forward and compares its backward
with that; ``assert_matches_autograd`` is the same for a test; ``check_file`` and the command
``tinygrad-rnn check FILE`` do it for every layer of a file; ``check`` takes any of these, a class,
a module and a folder. ``check_gradients`` compares derivatives of any function with central
differences. ``strategies`` (needs hypothesis) has what
property tests of layers draw from.
"""

import sys
import types
from typing import Any

from .files import check, check_file
from .gradients import check_gradients
from .layer import assert_matches_autograd, check_class, check_layer
from .loading import LoadError
from .report import Gradient, Report

__all__ = [
    "Gradient", "LoadError", "Report", "assert_matches_autograd", "check", "check_class",
    "check_file", "check_gradients", "check_layer",
]  # fmt: skip


class _Check(types.ModuleType):
    """``tg.check(MyLSTM)``: the room is called as what it is for."""

    def __call__(self, what: Any, *inputs: Any, **options: Any) -> Any:
        return check(what, *inputs, **options)


sys.modules[__name__].__class__ = _Check
