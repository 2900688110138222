"""Autograd on NumPy's own protocols, and recurrent networks as plain tensor expressions."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from . import functional, nn, optim
from .cores import get_num_threads, set_num_threads
from .draw import cell_steps, draw
from .grad_mode import no_grad
from .jit import JitError, jit
from .random import manual_seed
from .recompute import checkpoint
from .tensor import Tensor, from_dlpack
from .transforms import grad, hvp, jacobian, jvp, value_and_grad, vjp

__all__ = [
    "JitError", "Tensor", "cell_steps", "check", "checkpoint", "distributed", "draw",
    "from_dlpack", "functional", "get_num_threads", "grad", "hvp", "jacobian", "jit", "jvp",
    "manual", "manual_seed", "nn", "no_grad", "optim", "set_num_threads", "value_and_grad", "vjp",
]  # fmt: skip
__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import check, distributed, manual


def __getattr__(name: str) -> ModuleType:
    """What most programs do not use is imported when it is asked for."""
    if name in ("check", "distributed", "manual"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ipython: object) -> None:
    """``%load_ext tinygrad_rnn`` in Jupyter: adds ``%%check``."""
    from .check.jupyter import register

    register(ipython)


def __dir__() -> list[str]:
    """What users may use."""
    return sorted([*__all__, "__version__"])
