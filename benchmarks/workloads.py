"""The four workloads: networks, sizes, initial weights and one batch of data.

Weights are named and laid out as in ``state_dict()`` of the models of this project. All contenders
start from them, and give their gradients under these names and in this layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Workload:
    """One network and its sizes.

    N sequences of T symbols of V; vectors of D, hidden states of H. ``Ty``: steps of the decoder of
    a sequence-to-sequence network, else 0. The gradient is clipped to ``max_norm``.
    """

    name: str
    N: int
    T: int
    Ty: int
    D: int
    H: int
    V: int
    layers: int
    dropout: float
    optimizer: str
    lr: float
    max_norm: float

    @property
    def seq2seq(self) -> bool:
        return self.Ty > 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all weights, by name."""
        D, H, V = self.D, self.H, self.V

        def lstm(name: str, D: int) -> dict[str, tuple[int, ...]]:
            return {f"{name}.Wx": (D, 4 * H), f"{name}.Wh": (H, 4 * H), f"{name}.b": (4 * H,)}

        if not self.seq2seq:
            shapes: dict[str, tuple[int, ...]] = {"embed.W": (V, D)}
            for k in range(self.layers):
                shapes |= lstm(f"recurrent.cells.{k}", D)
            if self.name == "better":
                return shapes | {"b": (V,)}
            return shapes | {"affine.W": (H, V), "affine.b": (V,)}
        wide = 2 * H if self.name == "date" else H
        return (
            {"encoder.embed.W": (V, D)} | lstm("encoder.lstm.cells.0", D)
            | {"decoder.embed.W": (V, D)} | lstm("decoder.lstm.cells.0", D)
            | {"decoder.affine.W": (wide, V), "decoder.affine.b": (V,)}
        )  # fmt: skip

    def weights(self) -> dict[str, np.ndarray]:
        """Initial weights, float32: the same for everybody, copies for each call."""
        return {name: array.copy() for name, array in drawn(self).items()}

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """xs (N, T) and ts (N, T) of a language model, or ts (N, Ty + 1) of pairs."""
        rng = np.random.default_rng(1)
        xs = rng.integers(self.V, size=(self.N, self.T))
        return xs, rng.integers(self.V, size=(self.N, self.Ty + 1 if self.seq2seq else self.T))

    def flops(self) -> int:
        """Floating-point operations of the matrix products of one step, forward and backward.

        Each product of the forward pass has two of the same size in the backward pass.
        """
        N, D, H, V = self.N, self.D, self.H, self.V

        def lstm(T: int) -> int:
            return 2 * N * T * (D + H) * 4 * H

        if not self.seq2seq:
            return 3 * (self.layers * lstm(self.T) + 2 * N * self.T * H * V)
        forward = lstm(self.T) + lstm(self.Ty)
        if self.name == "date":
            forward += 2 * 2 * N * self.Ty * self.T * H + 2 * N * self.Ty * 2 * H * V
        else:
            forward += 2 * N * self.Ty * H * V
        return 3 * forward


@cache
def drawn(w: Workload) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in w.shapes().items():
        scale = 0.01 if "embed" in name else shape[0] ** -0.5
        weights[name] = (rng.normal(size=shape) * scale * (len(shape) > 1)).astype(np.float32)
    return weights


WORKLOADS = {
    w.name: w
    for w in (
        Workload("rnnlm", 20, 35, 0, 100, 100, 10_000, 1, 0.0, "sgd", 20.0, 0.25),
        Workload("better", 20, 35, 0, 650, 650, 10_000, 2, 0.5, "sgd", 20.0, 0.25),
        Workload("addition", 128, 7, 4, 16, 128, 13, 1, 0.0, "adam", 0.001, 5.0),
        Workload("date", 128, 29, 10, 16, 256, 59, 1, 0.0, "adam", 0.001, 5.0),
    )
}
