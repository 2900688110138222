"""Commands that draw what goes on inside: gates and gradients."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..data import DataError
from ..pictures import gates, gradients
from ..pictures.plots import check_picture, gate_histograms, gradients_through_time
from ..training import load_config, load_task, model_file
from .arguments import Parser, at_least_zero, positive
from .use import add_data_changed, add_last


def add_arguments(commands: argparse._SubParsersAction[Parser]) -> None:
    through_time = commands.add_parser(
        "gradients", help="draw how gradients vanish and explode through time"
    )
    through_time.add_argument("--output", default="gradients.png", metavar="FILE",
                              help="PNG or SVG")
    through_time.add_argument("--steps", type=positive(int), default=50, metavar="T",
                              help="time steps (default 50)")
    through_time.add_argument("--hidden", type=positive(int), default=64, metavar="H",
                              help="size of hidden states (default 64)")
    through_time.add_argument("--seed", type=at_least_zero(int), default=1, metavar="N",
                              help="seed (default 1)")
    through_time.set_defaults(run=run_gradients)

    how_open = commands.add_parser(
        "gates", help="draw how open the gates of a trained model are on held-out data"
    )
    how_open.add_argument("model", metavar="DIR", help="folder of a run")
    how_open.add_argument("--data-dir", metavar="DIR", help="folder of Penn Treebank")
    how_open.add_argument("--data", metavar="FILE", help="where the file trained on is now")
    how_open.add_argument("--output", default="gates.png", metavar="FILE", help="PNG or SVG")
    add_data_changed(how_open)
    how_open.set_defaults(run=run_gates)
    add_last(how_open)


def run_gradients(args: argparse.Namespace) -> None:
    check_picture(args.output)
    runs = {
        cell: [gradients.through_time(cell, scale, args.steps, args.hidden, seed=args.seed)
               for scale in gradients.SCALES]
        for cell in gradients.CELLS
    }  # fmt: skip
    gradients_through_time(runs, gradients.MAX_NORM, args.output)
    print(gradients.table(runs))


def run_gates(args: argparse.Namespace) -> None:
    check_picture(args.output)
    path = model_file(args.model, args.last)
    config, where = load_config(path), args.data_dir or args.data
    task = load_task(path, replace(config, data=where) if where else config, args.data_changed)
    try:
        activations = gates.on_held_out_data(task)
    except ValueError as error:
        raise DataError(f"{args.model}: {error}") from None
    gate_histograms(activations, args.output, f"{config.model}, {config.task}")
    print(gates.table(activations))
