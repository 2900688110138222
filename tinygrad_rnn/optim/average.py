"""Averages of weights over training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tensor import Tensor, beside, host
from .optimizers import tensors

__all__ = ["EMA"]


class EMA:
    """An exponential moving average of parameters, a += (1 - decay) (p - a), from the first
    ``update()`` on, which takes them over as they are. Polyak & Juditsky (1992).

        ema = EMA(model.parameters())
        ...                         # after each step of the optimizer: ema.update()
        with ema.averaged():        # the model computes with the averages in here
            evaluate(model)

    ``decay``: from 0 to 1. ``debias``: the first weights count for no more than their share,
    a_t = sum_i decay^(t - i) p_i / sum_i decay^(t - i), which needs a decay below 1. The averages
    have the shapes, any shape, and dtypes of the parameters (float32 for float16). ValueError for
    another decay, TypeError for a Module in the place of its parameters.
    """

    changing = ("steps",)  # a number that a recorded step reads anew (tg.jit)

    def __init__(self, params: Iterable[Tensor], decay: float = 0.999,
                 debias: bool = False) -> None:
        if not 0 <= decay <= 1 or (debias and decay == 1):
            raise ValueError(f"EMA: decay={decay}, wanted from 0 to 1"
                             + (", and below it with debias=True" if debias else ""))
        self.params, self.decay, self.debias = tensors("EMA", params), decay, debias
        self.steps = 0
        self.averages = [np.astype(p.detach().numpy(), _kept_as(p)) for p in self.params]

    def update(self) -> None:
        """Move the averages towards the parameters as they are now."""
        self.steps += 1
        if self.debias:
            share = (1 - self.decay) / (1 - self.decay**self.steps)
        else:  # without a branch on the step, so that it can be recorded
            share = 1 - self.decay * (self.steps > 1)
        for average, p in zip(self.averages, self.params, strict=True):
            average += share * (p.data - average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters hold the averages; afterwards what they held before."""
        before = [p.data.copy() for p in self.params]
        try:
            for p, average in zip(self.params, self.averages, strict=True):
                p.data[...] = average
            yield
        finally:
            for p, values in zip(self.params, before, strict=True):
                p.data[...] = values

    def state_dict(self) -> dict[str, Any]:
        """Copies of the averages as arrays of NumPy's, the number of updates and the decay."""
        return {"steps": self.steps, "decay": self.decay,
                "averages": [np.copy(host(average)) for average in self.averages]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from ``state_dict()``; ValueError for other shapes, and then nothing changes."""
        new = [np.array(host(a), b.dtype)
               for a, b in zip(saved["averages"], self.averages, strict=True)]
        for ours, theirs in zip(self.averages, new, strict=True):
            if ours.shape != theirs.shape:
                raise ValueError(f"EMA.load_state_dict: an average of shape {theirs.shape}, wanted"
                                 f" {ours.shape}")
        self.steps, self.decay = saved["steps"], saved["decay"]
        for ours, theirs in zip(self.averages, new, strict=True):
            ours[...] = beside(theirs, ours)


def _kept_as(p: Tensor) -> Any:
    return np.float32 if p.dtype == np.float16 else p.dtype
