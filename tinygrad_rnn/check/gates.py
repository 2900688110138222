"""Which gates of a gradient are right, and which are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .arguments import GATES
from .formulas import order_of_gates
from .report import Gradient, allowed, place_of

if TYPE_CHECKING:
    from .outcome import Outcome


def tell_gates(gradients: list[Gradient], outcome: Outcome) -> None:
    """Put into each gradient that has the gates side by side which of them are right.

    The gates have the names that the layer's forward gives them, by its numbers, in whatever order
    they stand; where its formula is not known, they are counted: "block 1".
    """
    params = outcome.setup.slots.params(outcome.setup.layer)
    inputs = [x for x in outcome.setup.inputs if isinstance(x, np.ndarray)]
    order = list(order_of_gates(params, inputs, outcome.truth.outputs))
    if not order:
        low = type(outcome.setup.layer).__name__.lower()
        known = next((gates for name, gates in GATES.items() if name in low), "")
        order = [f"block {k + 1}" for k in range(len(known))]
    names = outcome.setup.slots.names
    for g in gradients:
        got, wanted = outcome.got.get(g.name), outcome.wanted.get(g.name)
        hidden = _hidden(wanted, len(order), params) if g.name in names else 0
        if not hidden:
            continue
        if not isinstance(got, np.ndarray) or got.shape != wanted.shape:
            g.gates = dict.fromkeys(order, False)
            continue
        with np.errstate(all="ignore"):
            right = np.abs(got - wanted) <= allowed(wanted, outcome.tolerance)
        g.gates = {name: bool(block.all()) for name, block in zip(
            order, np.split(right, len(order), -1), strict=True)}
        if g.index is not None:
            g.place = place_of(g.index, wanted.shape, gates=order, hidden=hidden)


def _hidden(wanted, count, params):
    """H, where the last axis holds ``count`` gates of H units, and a square block is among the
    parameters, else 0."""
    if wanted is None or not count or not wanted.ndim or wanted.shape[-1] % count:
        return 0
    hidden = wanted.shape[-1] // count
    return hidden if any(p.ndim == 2 and p.shape == (hidden, count * hidden)
                         for p in params) else 0
