"""What the gates of a trained model do: how open they are on data that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.functional import sigmoid

from ..data import TextBatches, encode_pairs
from ..training import PairsTask, Task, TextTask

# The gates of a cell, and which of the H-wide blocks of its weights make each.
BLOCKS: dict[type[nn.Cell], dict[str, int]] = {
    nn.LSTMCell: {"f": 0, "i": 2, "o": 3},
    nn.GRUCell: {"z": 0, "r": 1},
}
Gates = dict[str, dict[str, np.ndarray]]


def gate_activations(model: nn.Module, run: Callable[[], Any]) -> Gates:
    """The gates of every LSTM and GRU cell of a model, at every step of ``run()``.

    Returns for each cell, by its path in the model, its gates by name, each (steps, N, H) between
    0 (shut) and 1 (open). The model is in evaluation meanwhile, and no graph is recorded.
    ValueError when the model has no such cell, or runs none.
    """
    paths = {id(p): path for path, p in model.named_parameters()}
    seen: dict[str, dict[str, list[np.ndarray]]] = {}
    cells: list[Any] = [module for module in model.modules() if type(module) in BLOCKS]
    training = model.training
    try:
        for cell in cells:
            notes = seen[paths[id(cell.Wh)].removesuffix(".Wh")] = {}
            cell.step = _noting(cell, notes)
        with tg.no_grad():
            model.eval()
            run()
    finally:
        model.train(training)
        for cell in cells:
            vars(cell).pop("step", None)  # the one of its class shows again
    noted = {path: {name: np.stack(steps) for name, steps in notes.items()}
             for path, notes in seen.items() if notes}  # fmt: skip
    if not noted:
        raise ValueError(f"gate_activations: {type(model).__name__} ran no LSTM and no GRU cell")
    return noted


def _noting(cell: Any, notes: dict[str, list[np.ndarray]]) -> Callable[..., Any]:
    step = cell.step

    def noted(a: Any, h: Any, *rest: Any) -> Any:
        H = h.shape[-1]
        for name, k in BLOCKS[type(cell)].items():
            block = slice(k * H, (k + 1) * H)
            notes.setdefault(name, []).append(sigmoid(a[:, block] + h @ cell.Wh[:, block]).numpy())
        return step(a, h, *rest)

    return noted


def on_held_out_data(task: Task) -> Gates:
    """The gates of a trained model on up to 500 held-out pairs, or 3,500 symbols of text."""
    model = task.model
    if isinstance(task, PairsTask):
        few = task.test.select(np.arange(min(500, len(task.test))))
        xs, ts = encode_pairs(few, task.vocabulary, task.config.reverse)
        return gate_activations(model, lambda: model.loss(xs, ts))
    assert isinstance(task, TextTask)
    ids = task.part("test")[1].ids[:3501]
    streams = 10 if len(ids) > 700 else 1
    batches = TextBatches(ids, streams, min(35, len(ids) - 1))
    carried = model.recurrent.state

    def read() -> None:
        model.reset_state()
        for xs, ts in batches:
            model.loss(xs, ts)

    try:
        return gate_activations(model, read)
    finally:
        model.recurrent.state = carried


def table(gates: Gates) -> str:
    """Means and saturation of all gates, as text."""
    width = max(map(len, gates))
    lines = [f"{'':{width}}  gate   mean   below 0.1   above 0.9"]
    lines += [
        f"{path:{width}}  {name:>4}  {a.mean():5.2f}  {np.mean(a < 0.1):10.1%}"
        f"  {np.mean(a > 0.9):10.1%}"
        for path, cell in gates.items() for name, a in cell.items()
    ]  # fmt: skip
    return "\n".join(lines)
