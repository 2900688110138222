"""What a model file was found to hold."""

from __future__ import annotations

import warnings
from typing import Any

from .files import spoiled

__all__ = ["Found", "Left"]


class Left(ValueError):
    """Why a layer cannot be taken over."""


class Found(dict[str, Any]):
    """Layers by name; ``left``, by name, what did not come, and why; ``notes``, by name, what to
    know of a layer that did."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}

    def free(self, name: str) -> str:
        """A name that nothing has yet: this one, or with #2, #3 behind it."""
        free, count = name, 1
        while free in self or free in self.left:
            count += 1
            free = f"{name}#{count}"
        return free

    def tell(self, function: str, where: str, rounded: str = "bfloat16") -> None:
        """Warn of what was left out, of weights that are not what they were, and of nothing."""
        if not self and not self.left:
            warnings.warn(f"{function}: {where} has no recurrent layer", stacklevel=3)
        if self.left:
            left = "; ".join(f"{name}: {why}" for name, why in self.left.items())
            warnings.warn(f"{function}: left out of {where}: {left}", stacklevel=3)
        for name, layer in self.items():
            for key, parameter in layer.named_parameters():
                if said := spoiled(parameter.detach().numpy()):
                    warnings.warn(f"{function}: {key} of {name} in {where} holds {said}",
                                  stacklevel=3)
        names = [name for name, notes in self.notes.items() if any(rounded in n for n in notes)]
        if names:
            warnings.warn(f"{function}: weights of {rounded} became float32: {', '.join(names)}",
                          stacklevel=3)
