"""The bar chart of the README: time of a training step, in units of the hand-written layers'."""

from __future__ import annotations

from matplotlib.figure import Figure

LABELS = {
    "manual": "hand-written layers", "eager": "this project, eager", "jit": "this project, tg.jit",
    "jit_numpy": "tg.jit without numba",
    "torch_cells": "PyTorch, cells", "torch_lstm": "PyTorch, nn.LSTM", "jax": "JAX, jit(scan)",
}  # fmt: skip
COLORS = {
    "manual": "#9a9a9a", "eager": "#7fb3e6", "jit": "#1f5fa8",
    "jit_numpy": "#4b8fd4", "torch_cells": "#f4b183",
    "torch_lstm": "#d9611e", "jax": "#7f9f3f",
}  # fmt: skip


def draw(workloads: dict, path: str) -> None:
    """One group of bars for each workload; the floor is a line through its group."""
    figure = Figure(figsize=(11, 3.8), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    names = [n for n in LABELS if any(n in w["contenders"] for w in workloads.values())]
    width = 0.8 / len(names)
    for i, (_, result) in enumerate(workloads.items()):
        unit = result["contenders"]["manual"]["median_ms"]
        for k, name in enumerate(names):
            if name not in result["contenders"]:
                continue
            ms = result["contenders"][name]["median_ms"]
            x = i - 0.4 + (k + 0.5) * width
            axes.bar(x, ms / unit, width * 0.92, color=COLORS[name],
                     label=LABELS[name] if i == 0 else None)  # fmt: skip
            axes.annotate(f"{ms:.1f}" if ms < 100 else f"{ms:.0f}", (x, ms / unit), (0, 2),
                          textcoords="offset points", ha="center", fontsize=6.5)  # fmt: skip
        floor = result["floor_ms"] / unit
        axes.plot([i - 0.42, i + 0.42], [floor, floor], "k--", linewidth=1,
                  label="arithmetic floor" if i == 0 else None)  # fmt: skip
    axes.set_xticks(range(len(workloads)), workloads)
    axes.set_ylabel("time of a training step\n(hand-written layers = 1)")
    axes.set_title("Shorter is better; the numbers are milliseconds", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path)
