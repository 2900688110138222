"""The contenders. Each module has ``Contender(workload, dropout)``; a contender has

- ``loss_and_gradients()``: loss and gradients of the first step, by name, before clipping;
- ``step()``: one whole training step (forward, backward, clipping, update); returns the loss.

``needs`` of a contender names what has to be installed.
"""

NEEDS = {
    "eager": (), "manual": (), "jit": (), "jit_numpy": ("numba",),  # without it, they are the same
    "torch_lstm": ("torch",), "torch_cells": ("torch",), "jax": ("jax",),
}  # fmt: skip
