"""``tinygrad-rnn train``: one subcommand for each task."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinygrad_rnn import distributed

from ..data import DataError
from ..data.stream import keep_standard_input
from ..data.text import END_OF_LINE
from ..pictures.plots import check_picture, training_curve
from ..training import (
    MODEL,
    Config,
    PairsConfig,
    PairsTask,
    Run,
    Task,
    TextConfig,
    TextTask,
    begin_with,
    data_there,
    load_config,
    make_config,
    make_task,
    ranks,
    schedule,
)
from ..training.config import MODELS, check_config, flag
from ..training.log import CSV, EVENTS, Events
from ..training.output import say
from ..training.schedule import OVER_ALL_STEPS
from ..training.signals import nothing_to_save_yet
from .arguments import at_least_zero, command, duration, positive, share, share_of_all
from .errors import sentence
from .use import BANNED, draw_attention

MAY_CHANGE = ("epochs", "patience", "data")
TASKS = {
    "date": "read dates: SATURDAY, MAY 2, 1987 -> 1987-05-02 (chapter 8)",
    "addition": "add numbers, character by character: 16+75 -> 91 (chapter 7)",
    "ptb": "predict the next word of Penn Treebank (chapters 5 and 6)",
    "text": "predict the next word or character of any text",
}


def add_arguments(train: argparse.ArgumentParser) -> None:
    tasks = train.add_subparsers(dest="task", required=True, metavar="TASK")
    for task, text in TASKS.items():
        add_training_options(task, tasks.add_parser(
            task, help=text, description=f"Learn to {text}.",
            epilog="Defaults are those of the default model; other models may have others.",
        ))  # fmt: skip


def add_training_options(task: str, p: argparse.ArgumentParser) -> None:
    default = asdict(make_config(task))

    def setting(flag: str, name: str, text: str, **options: Any) -> None:
        value = default[name]
        shown = "none" if value is None else value
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        p.add_argument(flag, dest=name, default=argparse.SUPPRESS,
                       help=f"{text} (default {shown})", **options)  # fmt: skip

    def number(flag: str, name: str, text: str, kind: type[int | float] = int) -> None:
        setting(flag, name, text, type=positive(kind), metavar="N" if kind is int else "X")

    if task == "text":
        p.add_argument("data", metavar="FILE", nargs="?", default=argparse.SUPPRESS,
                       help="a text, also .gz or .xz, or - for standard input; its last tenth is"
                       " held out")
        setting("--encoding", "encoding", "what the text is encoded in", metavar="NAME")
        number("--min-count", "min_count", "symbols that are rarer become <unk>")
        number("--max-vocab", "max_vocab", "all but the most frequent N symbols become <unk>")
        setting("--level", "level", "what a symbol is", choices=("word", "char", "bpe"))
        setting("--tokenizer", "tokenizer", "a tokenizer.json of byte-level BPE, instead of"
                " one that is learnt from the text", metavar="FILE")
    setting("--model", "model", "which network", choices=MODELS[task])
    number("--epochs", "epochs", "times over the data")
    p.add_argument("--steps", type=positive(int), metavar="N", help="steps in all, not epochs")
    number("--batch-size", "batch_size", "sequences in a batch")
    if task in ("ptb", "text"):
        number("--time-size", "time_size", "time steps of truncated BPTT")
        setting("--cell", "cell", "the recurrent layer", choices=("lstm", "gru", "rnn"))
        number("--layers", "num_layers", "recurrent layers of --model better")
        setting("--dropout", "dropout", "dropout of --model better", type=share, metavar="P")
        number("--words", "words", "learn only the first N symbols, as in chapter 5")
        setting("--optimizer", "optimizer", "the update rule", choices=("sgd", "adam"))
    else:
        setting("--reverse", "reverse", "read the input from right to left",
                action=argparse.BooleanOptionalAction)
        setting("--bidirectional", "bidirectional", "read the input in both directions",
                action=argparse.BooleanOptionalAction)
        setting("--input-feeding", "input_feeding", "the context is an input of the next step",
                action=argparse.BooleanOptionalAction)
        setting("--teacher-forcing", "teacher_forcing", "how often the decoder reads the right"
                " symbol, not its own", type=share_of_all, metavar="P")
        setting("--score", "score", "how attention compares states",
                choices=("dot", "scaled_dot", "general", "additive"))
        number("--layers", "num_layers", "LSTM layers on either side of --model deep")
        setting("--residual", "residual", "skip connections of --model deep",
                action=argparse.BooleanOptionalAction)
    number("--lr", "lr", "learning rate", float)
    setting("--schedule", "schedule", "how the learning rate goes on from there",
            choices=schedule.NAMES)
    number("--lr-decay", "lr_decay", "factor of every epoch, of --schedule exponential", float)
    setting("--warmup", "warmup", "steps in which the learning rate rises from 0",
            type=at_least_zero(int), metavar="N")
    setting("--forget-bias", "forget_bias", "the biases of forget gates at first",
            type=at_least_zero(float), metavar="X")
    setting("--ema", "ema", "measure and keep an exponential moving average of the weights, with"
            " this decay", type=share, metavar="DECAY")
    number("--patience", "patience", "end after so many epochs without a better one")
    number("--max-norm", "max_norm", "gradients are clipped to this norm", float)
    number("--embedding", "D", "size of the vectors of symbols")
    number("--hidden", "H", "size of hidden states")
    setting("--dtype", "dtype", "what weights and states are computed in",
            choices=("float32", "float64"))
    setting("--seed", "seed", "seed of weights, order and dropout", type=at_least_zero(int),
            metavar="N")
    if task == "ptb":
        setting("--data-dir", "data", "folder of Penn Treebank; without, it is downloaded once",
                metavar="DIR")
    elif task != "text":
        setting("--data", "data", "pairs in the book's format instead of generated ones",
                metavar="FILE")
    p.add_argument("--out", metavar="DIR", help=f"folder of the run (default runs/{task})")
    p.add_argument("--resume", metavar="DIR",
                   help="go on with this run, with its settings; only --epochs, --steps, --patience"
                   " and where the data are may be given anew")  # fmt: skip
    p.add_argument("--finetune", metavar="RUN",
                   help="begin with the weights of this run, of the same model and vocabulary,"
                   " instead of drawn ones")
    p.add_argument("--time-limit", type=duration, default=math.inf, metavar="TIME",
                   help="stop and save after this time, such as 90s, 30m, 8h or 1:30:00")
    p.add_argument("--rank-timeout", type=duration, default=10.0, metavar="TIME",
                   help="started by mpiexec: end all ranks when one has not answered for this time"
                   " (default 10s)")
    p.add_argument("--data-changed", action="store_true",
                   help="resume although the data are not those that the run began with")
    p.add_argument("--jit", action=argparse.BooleanOptionalAction, default=True,
                   help="record a training step and replay it, faster (default yes)")
    p.add_argument("--plot", nargs="?", const="", metavar="FILE",
                   help="draw the curves of the run, and redraw them while it trains (default"
                   " curve.png in its folder)")
    p.add_argument("--csv", action="store_true", help="write the log as log.csv as well")
    p.add_argument("--tensorboard", action="store_true",
                   help="write the log for TensorBoard as well (needs tensorboard)")
    p.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> None:
    nothing_to_save_yet()
    config, out, picture = ranks.from_first(lambda: asked(args))
    task = ranks.together(lambda: make_task(config), first=True)
    if args.finetune:
        ranks.from_first(lambda: begin_with(args.finetune, task))
    say(task.summary())
    if args.jit:
        faster = "" if find_spec("numba") else "; faster yet with numba (pip install numba)"
        say(f"steps are recorded once and replayed (tg.jit); --no-jit runs them one by one{faster}")
    run = ranks.together(lambda: Run.resume(out, task, say, args.jit, args.data_changed)
                         if args.resume else Run(task, out, say, args.jit))
    run.rank_timeout = args.rank_timeout
    alone = distributed.rank() == 0  # or the first of several
    run.log.csv = Path(out) / CSV if args.csv else None
    run.log.events = Events(Path(out) / EVENTS) if args.tensorboard and alone else None
    picture = picture if alone else None
    title = f"{config.model}, {config.task}"
    if picture is not None:
        run.draw = lambda: draw(lambda: training_curve(run.log.read(), picture, title))
    if run.step:
        say(f"going on after step {run.step:,}")
    more = ["--steps", args.steps] if args.steps else ["--epochs", config.epochs]
    try:
        done = run.train(args.steps, command("train", args.task, "--resume", word(out), *more),
                         args.time_limit)  # fmt: skip
    finally:
        if picture is not None and run.step and (records := run.log.read()):
            draw(lambda: training_curve(records, picture, title), f"the curves are in {picture}")
        if run.log.events is not None:
            run.log.events.close()
    if not done or not alone:
        return
    seen = ""
    if isinstance(task, PairsTask) and task.config.model in ("attention", "deep"):
        looks = Path(out) / "attention.png"
        with task.averaged():
            drawn = draw(lambda: draw_attention(task.reader, example_of(task), looks))
        if drawn:
            seen = f", a picture of where it looks in {looks}"
    say(f"\nThe model is in {out}{seen}. Try:")
    for words in next_commands(task, out):
        say("  " + command(*words))


def asked(args: argparse.Namespace) -> tuple[Config, str, Path | None]:
    """What is to be trained, where it goes, and the picture if one is wanted."""
    config = config_of(args)
    out = args.resume or args.out or f"runs/{args.task}"
    picture = None if args.plot is None else Path(args.plot or Path(out) / "curve.png")
    if picture is not None:
        check_picture(picture, folder_comes=picture.parent == Path(out))
    return config, out, picture


def config_of(args: argparse.Namespace) -> Config:
    """The settings that are asked for."""
    names = {f.name for f in fields(PairsConfig)} | {f.name for f in fields(TextConfig)}
    given = {name: value for name, value in vars(args).items() if name in names - {"task"}}
    if args.resume:
        if args.finetune:
            raise DataError(f"--finetune {args.finetune} is of a new run; {args.resume} has its"
                            " weights")
        return resumed_config(args, given)
    if args.task == "text" and "data" not in given:
        raise DataError("train text: which FILE?")
    if args.task == "text" and given["data"] == "-":
        given["data"] = str(keep_standard_input())
        say(f"standard input is kept in {given['data']}")
    return make_config(args.task, **given)


def draw(picture: Callable[[], object], told: str = "") -> bool:
    """Draw what comes after a training, whose end is no other if that fails."""
    try:
        picture()
    except (OSError, ValueError, ImportError, MemoryError) as error:
        say(f"there is no picture: {sentence(error)}")
        return False
    if told:
        say(told)
    return True


def resumed_config(args: argparse.Namespace, given: dict[str, Any]) -> Config:
    """The settings of the run, with those that may change taken from the command line."""
    if os.path.isfile(args.resume):
        raise DataError(f"--resume {args.resume}: wanted the folder of a run,"
                        f" {os.path.dirname(args.resume) or '.'}")
    config = load_config(Path(args.resume) / MODEL)  # what it goes on from
    if config.task != args.task:
        raise DataError(f"{args.resume} holds a model of {config.task}, not of {args.task}: "
                        + command("train", config.task, "--resume", word(args.resume)))
    if args.out and Path(args.out).resolve() != Path(args.resume).resolve():
        raise DataError(f"--out {args.out}: a resumed run stays in its folder, {args.resume}")
    for name, value in given.items():
        if name not in MAY_CHANGE and value != getattr(config, name):
            raise DataError(f"{args.resume} was begun with {flag(name)} {getattr(config, name)},"
                            f" not {value}; only --epochs, --steps, --patience and where the data"
                            " are may change")
    before = config.epochs
    config = replace(config, **{k: v for k, v in given.items() if k in MAY_CHANGE})
    if config.epochs != before and config.schedule in OVER_ALL_STEPS:
        say(f"the learning rate of --schedule {config.schedule} falls over {config.epochs} epochs"
            f" from here on, no longer over {before}")  # fmt: skip
    check_config(config)
    data_there(config, "FILE" if config.task == "text" else "--data")
    return config


def word(path: str) -> str:
    """The path as an argument that is not taken for an option."""
    return os.path.join(".", path) if path.startswith("-") else path


def next_commands(task: Task, out: str) -> list[list[str]]:
    """The words of commands that use the model."""
    folder = word(out)
    if isinstance(task, TextTask):
        lines = [["evaluate", folder]]
        if prompt := example_prompt(task):
            lines.append(["generate", folder, f"--prompt={prompt}"])
        return lines
    assert isinstance(task, PairsTask)
    example = example_of(task)
    end = ["--"] if example.startswith("-") else []
    lines = [["answer", folder, *end, example], ["evaluate", folder]]
    if task.config.model in ("attention", "deep"):
        lines.append(["attention", "--output", "attention.png", folder, *end, example])
    return lines


def example_of(task: PairsTask) -> str:
    """The longest of the first inputs that are held out: most to look at."""
    return max((text.rstrip() for text in task.test.inputs[:50]), key=len)


def example_prompt(task: TextTask) -> str | None:
    """The first symbol of the text that a person can read and type."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    pieces = task.pairs is not None  # of words, and bytes under other names
    for symbol in task.vocabulary.symbols[:1000]:
        if pieces and not (symbol.isascii() and symbol.isalpha()):
            continue
        if symbol.isprintable() and not symbol.isspace() and symbol not in (END_OF_LINE, *BANNED):
            with suppress(UnicodeError):
                symbol.encode(encoding)
                return symbol
    return None
