"""Pictures of what a model attends to and of how its training went, saved as PNG, SVG or PDF.

Figures are made as objects, without pyplot: no window, no display and no global state.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import DataError
from ..files.checkpoint import write_atomically
from .gradients import ThroughTime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDED = 'pictures need matplotlib: pip install "tinygrad-rnn[models]"'
VISIBLE_SPACE = "\N{OPEN BOX}"
# Fonts with Korean or Japanese letters that systems come with, or that people install.
EAST_ASIAN = (
    "Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "Noto Sans JP", "Apple SD Gothic Neo",
    "AppleGothic", "Hiragino Sans", "Malgun Gothic", "Yu Gothic", "Meiryo", "NanumGothic",
    "NanumBarunGothic", "UnDotum", "IPAexGothic", "IPAGothic", "TakaoGothic", "Source Han Sans",
)  # fmt: skip


def readable(draw: Callable[..., None]) -> Callable[..., None]:
    """Draw with the user's fonts, and what these lack with an East Asian one, where one is there.

    ImportError when matplotlib is not installed.
    """

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> None:
        try:
            from matplotlib import font_manager, rc_context, rcParams
        except ImportError:
            raise ImportError(NEEDED) from None
        there = {font.name for font in font_manager.fontManager.ttflist}
        families = [*rcParams["font.family"], *(name for name in EAST_ASIAN if name in there)]
        with rc_context({"font.family": families}):
            draw(*args, **kwargs)

    return drawn


def check_picture(path: str | Path, folder_comes: bool = False) -> None:
    """DataError when a picture of this name could not be saved: better now than after the work.

    ``folder_comes``: the folder of the picture is yet to be made. ImportError without matplotlib.
    """
    path, kinds = Path(path), _figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise DataError(f"{path}: a picture ends in .png, .svg or .pdf")
    if path.is_dir():
        raise DataError(f"{path}: a folder, wanted the name of a picture")
    if not folder_comes and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise DataError(f"{path}: {path.parent} is not a folder that can be written to")


@readable
def attention_heatmap(
    weights: ArrayLike,
    input_characters: Sequence[str],
    output_characters: Sequence[str],
    path: str | Path,
    title: str = "",
) -> None:
    """Draw attention weights (Ty, Tx): one row for each output, one column for each input symbol.

    ``input_characters`` are in the order of the columns: reversed, if the model reads its input
    reversed. Spaces are shown as an open box. ValueError when the counts do not fit, ImportError
    when matplotlib is not installed. (The book, chapter 8, figure of the visualised attention.)
    """
    weights = np.asarray(weights)
    if weights.shape != (len(output_characters), len(input_characters)):
        raise ValueError(
            f"attention_heatmap: weights {weights.shape}, wanted (outputs, inputs) "
            f"({len(output_characters)}, {len(input_characters)})"
        )
    Ty, Tx = weights.shape
    figure = _figure(width=2.2 + 0.26 * Tx, height=1.3 + 0.26 * Ty)
    axes = figure.add_subplot(xlabel="input", ylabel="output")
    image = axes.imshow(weights, cmap="viridis", vmin=0, vmax=1)
    # Without mathematics: a dollar sign is a character like any other.
    axes.set_xticks(range(Tx), _visible(input_characters), parse_math=False)
    axes.set_yticks(range(Ty), _visible(output_characters), parse_math=False)
    axes.set_title(title, parse_math=False)
    beside = axes.inset_axes((1 + 0.4 / Tx, 0, 0.5 / Tx, 1))  # as tall as the map itself
    figure.colorbar(image, cax=beside, label="attention weight")
    _save(figure, path)


def _visible(characters: Sequence[str]) -> list[str]:
    return [VISIBLE_SPACE if character == " " else character for character in characters]


METRICS = ("loss", "perplexity", "accuracy")


@readable
def training_curve(records: Sequence[Mapping[str, Any]], path: str | Path, title: str = "") -> None:
    """Draw how loss, perplexity and accuracy went, one panel for each that the records hold.

    A record is one line of the training log: a mapping with ``step`` or ``epoch`` and any of
    ``loss``, ``perplexity`` and ``accuracy`` (a fraction of 1), also with a prefix, such as
    ``valid_perplexity``, which becomes a line of its own in the same panel. Records may lack
    keys; NaN leaves a gap. ValueError when nothing is there to draw, ImportError when matplotlib
    is not installed.
    """
    x_name = "step" if all("step" in record for record in records) else "epoch"
    panels = {metric: _curves(records, x_name, metric) for metric in METRICS}
    panels = {metric: curves for metric, curves in panels.items() if curves}
    if not panels:
        raise ValueError(
            f"training_curve: {len(records)} records, none with {x_name} and one of "
            f"{', '.join(METRICS)}"
        )
    figure = _figure(width=7, height=0.6 + 2.4 * len(panels))
    figure.suptitle(title, parse_math=False)
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (metric, curves) in zip(all_axes, panels.items(), strict=True):
        for name, points in curves.items():
            # Few points, such as one an epoch, are marked: a single one would draw no line.
            axes.plot(*zip(*points, strict=True), ".-" if len(points) <= 50 else "-", label=name)
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        if metric == "perplexity":
            axes.set_yscale("log")
            # Plain numbers, also between the powers of ten when there are few of these.
            axes.yaxis.set_major_formatter(_plain())
            axes.yaxis.set_minor_formatter(_plain(minor_thresholds=(2, 0.5)))
        if metric == "accuracy":
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_formatter("{x:.0%}")
        if curves.keys() != {metric}:
            axes.legend()
    all_axes[-1].set_xlabel(x_name)
    all_axes[-1].locator_params(axis="x", integer=True, min_n_ticks=1)  # one epoch: one tick
    _save(figure, path)


def _curves(
    records: Sequence[Mapping[str, Any]], x_name: str, metric: str
) -> dict[str, list[tuple[float, float]]]:
    """The points (x, y) of each key that is the metric, or ends in ``_metric``."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for key, value in record.items():
            if (key == metric or key.endswith(f"_{metric}")) and value is not None:
                curves.setdefault(key, []).append((record[x_name], value))
    return curves


def _plain(**options: Any) -> Any:
    """A formatter of a logarithmic axis that writes 100,000 and not 1e+05."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:,.10g}" if super().__call__(x, pos) else ""  # "": a tick without a number

    return Plain(**options)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(NEEDED) from None

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def _save(figure: Figure, path: str | Path) -> None:
    """Save all of it: the layout makes room for labels, and "tight" for titles wider than that.

    In one step, so that a picture that is drawn anew can be looked at at any time.
    """
    content, path = io.BytesIO(), Path(path)
    figure.savefig(content, format=path.suffix.removeprefix(".").lower() or "png",
                   bbox_inches="tight", pad_inches=0.1)  # fmt: skip
    write_atomically(path, content.getvalue())


@readable
def gradients_through_time(
    runs: Mapping[str, Sequence[ThroughTime]], max_norm: float, path: str | Path
) -> None:
    """Draw the norms of ``gradients.through_time``: a panel for each cell with a line for each
    scale of its weights, and a panel with the norm of the whole gradient before and after clipping
    to ``max_norm``. (The book, chapter 6, the two figures of the gradient over time.)
    """
    figure = _figure(width=3.4 * (len(runs) + 1), height=3.8)
    panels = figure.subplots(1, len(runs) + 1)
    floor = min(r.hidden[r.hidden > 0].min() for results in runs.values() for r in results)
    for axes, (cell, results) in zip(panels[:-1], runs.items(), strict=True):
        for r in results:
            back = np.arange(len(r.hidden))[::-1]
            axes.semilogy(back, r.hidden, label=f"weights × {r.scale:g}")
        axes.sharey(panels[0])
        axes.set_ylim(bottom=max(floor, 1e-16))
        axes.set(title=cell, xlabel="time steps back")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("norm of the gradient of the hidden state")
    panels[-2].legend(loc="lower left")
    for i, (cell, results) in enumerate(runs.items()):
        scales = [r.scale for r in results]
        panels[-1].loglog(scales, [r.weights for r in results], "o-", color=f"C{i}", label=cell)
        panels[-1].loglog(scales, [r.clipped for r in results], "o:", color=f"C{i}")
    panels[-1].axhline(max_norm, color="gray", linewidth=1)
    panels[-1].set_xticks(scales, [f"× {s:g}" for s in scales], minor=False)
    panels[-1].set_xticks([], minor=True)
    panels[-1].set(title=f"all weights; dotted: clipped to {max_norm:g}", xlabel="scale of weights",
                   ylabel="norm of the gradient")  # fmt: skip
    panels[-1].grid(alpha=0.3)
    panels[-1].legend()
    _save(figure, path)


@readable
def gate_histograms(
    gates: Mapping[str, Mapping[str, ArrayLike]], path: str | Path, title: str = ""
) -> None:
    """Draw how open the gates are: a row for each cell, a column for each of its gates.

    ``gates``: see ``gates.gate_activations``. Each panel is a histogram of all activations from 0
    (shut) to 1 (open), with the shares that are saturated, below 0.1 and above 0.9 (Karpathy,
    Johnson & Fei-Fei, 2015, section 4.2). ValueError when there is no cell.
    """
    if not gates:
        raise ValueError("gate_histograms: no cells, wanted {cell: {gate: activations}}")
    from matplotlib.ticker import PercentFormatter

    columns = max(map(len, gates.values()))
    panel = max(2.6, 0.085 * max(map(len, gates)))  # inches; titles beside each other stay apart
    figure = _figure(width=0.8 + panel * columns, height=0.7 + 1.9 * len(gates))
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(len(gates), columns, sharex=True, squeeze=False)
    for row, (cell, named) in zip(panels, gates.items(), strict=True):
        for axes in row[len(named) :]:
            axes.set_axis_off()
        for axes, (name, activations) in zip(row, named.items(), strict=False):
            a = np.ravel(activations)
            axes.hist(a, bins=50, range=(0, 1), weights=np.full(a.shape, 1 / a.size))
            axes.margins(y=0.25)  # room for the shares
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.locator_params(axis="y", nbins=4)
            axes.set_title(f"{cell}: {name}", fontsize=9, parse_math=False)
            shares = f"{np.mean(a < 0.1):.0%} below 0.1, {np.mean(a > 0.9):.0%} above 0.9"
            axes.annotate(shares, (0.5, 0.96), xycoords="axes fraction", ha="center", va="top",
                          fontsize=7)  # fmt: skip
    for column in panels.T:
        axes = [axes for axes in column if axes.axison][-1]
        axes.set_xlabel("activation")
        axes.tick_params(labelbottom=True)  # also where the panel below is left out
    figure.supylabel("share of all activations", fontsize=10)
    _save(figure, path)
