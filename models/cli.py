"""The command line: ``tinygrad-rnn`` and ``python -m tinygrad_rnn``."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from tinygrad_rnn.check import command as check

from . import gates, machine
from .book import load_rnnlm
from .data import DataError, Vocabulary, load_ptb
from .gradients import draw_gradients
from .language import LanguageModel
from .plots import attention_heatmap, training_curve
from .tasks import (
    MODELS,
    Config,
    PairsConfig,
    PairsTask,
    Reader,
    Task,
    TextConfig,
    TextTask,
    Writer,
    make_config,
    make_task,
    perplexity,
)
from .training import Interrupted, Run, load_config, load_model, load_task

Kind = TypeVar("Kind", Reader, Writer)

COMMAND = os.environ.get("TINYGRAD_RNN_COMMAND", "tinygrad-rnn")  # how a person calls it
BANNED = ("<unk>", "N", "$")  # the words that the book's generator skips: masks, not words

TASKS = {
    "date": "read dates: SATURDAY, MAY 2, 1987 -> 1987-05-02 (chapter 8)",
    "addition": "add numbers, character by character: 16+75 -> 91 (chapter 7)",
    "ptb": "predict the next word of Penn Treebank (chapters 5 and 6)",
    "text": "predict the next word or character of any text",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=COMMAND, description="Train and use the models of the book's chapters 5 to 8, and"
        " check layers of one's own."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model")
    tasks = train.add_subparsers(dest="task", required=True, metavar="TASK")
    for task, text in TASKS.items():
        add_training_options(task, tasks.add_parser(
            task, help=text, description=f"Learn to {text}.",
            epilog="Defaults are those of the default model; the others have the book's, too.",
        ))  # fmt: skip

    evaluate = commands.add_parser(
        "evaluate", help="accuracy on held-out pairs, or perplexity on the test text"
    )
    evaluate.add_argument("model", metavar="MODEL",
                          help="folder of a run, or a weight file of the book (.pkl)")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.add_argument("--data-dir", metavar="DIR", help="folder of Penn Treebank")
    evaluate.add_argument("--data", metavar="FILE", help="where the file trained on is now")
    evaluate.set_defaults(run=run_evaluate)

    generate = commands.add_parser("generate", help="let a language model go on with a text")
    generate.add_argument("model", metavar="MODEL",
                          help="folder of a run, or a weight file of the book (.pkl)")
    generate.add_argument("--prompt", required=True, metavar="TEXT", help="the beginning")
    generate.add_argument("--length", type=positive(int), default=50, metavar="N",
                          help="words or characters to write (default 50)")
    generate.add_argument("--temperature", type=at_least_zero, default=1.0, metavar="X",
                          help="below 1 safer, above 1 bolder, 0 always the likeliest (default 1)")
    generate.add_argument("--top-k", type=positive(int), metavar="K",
                          help="draw from the K likeliest only")
    generate.add_argument("--top-p", type=probability, metavar="P",
                          help="draw from the fewest that have probability P together")
    generate.add_argument("--ban", action="append", metavar="SYMBOL",
                          help=f"never write this; may be repeated (default for words:"
                          f" {' '.join(BANNED)}; --ban '' allows all)")
    generate.add_argument("--seed", type=int, metavar="N", help="the same seed, the same text")
    generate.add_argument("--data-dir", metavar="DIR",
                          help="folder of Penn Treebank, whose words a .pkl file means")
    generate.set_defaults(run=run_generate)

    answer = commands.add_parser("answer", help="let a trained model answer")
    answer.add_argument("model", metavar="DIR", help="folder of a run")
    answer.add_argument("text", nargs="+", help="what to answer")
    answer.add_argument("--beam", type=positive(int), default=1, metavar="K",
                        help="keep the K likeliest beginnings at each step (default 1: greedy)")
    answer.set_defaults(run=run_answer)

    attention = commands.add_parser("attention", help="draw where a model looks")
    attention.add_argument("model", metavar="DIR", help="folder of a run")
    attention.add_argument("text", help="what to answer")
    attention.add_argument("--output", default="attention.png", metavar="FILE", help="PNG or SVG")
    attention.set_defaults(run=run_attention)

    gradients = commands.add_parser(
        "gradients", help="draw how gradients vanish and explode through time"
    )
    gradients.add_argument("--output", default="gradients.png", metavar="FILE", help="PNG or SVG")
    gradients.add_argument("--steps", type=positive(int), default=50, metavar="T",
                           help="time steps (default 50)")
    gradients.add_argument("--hidden", type=positive(int), default=64, metavar="H",
                           help="size of hidden states (default 64)")
    gradients.add_argument("--seed", type=int, default=1, metavar="N", help="seed (default 1)")
    gradients.set_defaults(run=run_gradients)

    gates.add_arguments(commands.add_parser(
        "gates", help="draw how open the gates of a trained model are on held-out data"
    ))  # fmt: skip

    check.add_arguments(commands.add_parser(
        "check", help="compare hand-written backward passes with automatic differentiation"
    ))  # fmt: skip
    machine.add_arguments(commands.add_parser(
        "info", help="versions, the CPU, and the kernels that NumPy's matrix products use"
    ))  # fmt: skip
    return top


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
                       help="a text in UTF-8; its last tenth is held out")
        setting("--level", "level", "what a symbol is", choices=("word", "char"))
    setting("--model", "model", "which network", choices=MODELS[task])
    number("--epochs", "epochs", "times over the data")
    p.add_argument("--steps", type=positive(int), metavar="N", help="steps in all, not epochs")
    number("--batch-size", "batch_size", "sequences in a batch")
    if task in ("ptb", "text"):
        number("--time-size", "time_size", "time steps of truncated BPTT")
        setting("--cell", "cell", "the recurrent layer", choices=("lstm", "gru", "rnn"))
        number("--layers", "num_layers", "recurrent layers of --model better")
        setting("--dropout", "dropout", "dropout of --model better", type=float, metavar="P")
        number("--words", "words", "learn only the first N symbols, as in chapter 5")
        setting("--optimizer", "optimizer", "the update rule", choices=("sgd", "adam"))
    else:
        setting("--reverse", "reverse", "read the input from right to left",
                action=argparse.BooleanOptionalAction)
        setting("--bidirectional", "bidirectional", "read the input in both directions",
                action=argparse.BooleanOptionalAction)
        setting("--input-feeding", "input_feeding", "the context is an input of the next step",
                action=argparse.BooleanOptionalAction)
        setting("--score", "score", "how attention compares states",
                choices=("dot", "scaled_dot", "general", "additive"))
        number("--layers", "num_layers", "LSTM layers on either side of --model deep")
        setting("--residual", "residual", "skip connections of --model deep",
                action=argparse.BooleanOptionalAction)
    number("--lr", "lr", "learning rate", float)
    number("--lr-decay", "lr_decay", "what the learning rate is multiplied by every epoch", float)
    number("--max-norm", "max_norm", "gradients are clipped to this norm", float)
    number("--embedding", "D", "size of the vectors of symbols")
    number("--hidden", "H", "size of hidden states")
    setting("--seed", "seed", "seed of weights, order and dropout", type=int, metavar="N")
    if task == "ptb":
        setting("--data-dir", "data", "folder of Penn Treebank; without, it is downloaded once",
                metavar="DIR")
    elif task != "text":
        setting("--data", "data", "pairs in the book's format instead of generated ones",
                metavar="FILE")
    p.add_argument("--out", metavar="DIR", help=f"folder of the run (default runs/{task})")
    p.add_argument("--resume", metavar="DIR",
                   help="go on with this run, with its settings; only --epochs, --steps and where"
                   " the data are may be given anew")  # fmt: skip
    p.add_argument("--jit", action=argparse.BooleanOptionalAction, default=True,
                   help="record a training step and replay it, faster (default yes)")
    p.add_argument("--plot", nargs="?", const="", metavar="FILE",
                   help="draw the curves of the run (default curve.png in its folder)")
    p.set_defaults(run=run_train)


# ---- kinds of arguments -------------------------------------------------------------------------


def positive(kind: type[int | float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    read.__name__ = f"positive {kind.__name__}"
    return read


def at_least_zero(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def probability(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


# ---- train --------------------------------------------------------------------------------------


def run_train(args: argparse.Namespace) -> None:
    names = {f.name for f in fields(PairsConfig)} | {f.name for f in fields(TextConfig)}
    given = {name: value for name, value in vars(args).items() if name in names - {"task"}}
    if args.resume:
        config = resumed_config(args, given)
        out = args.resume
    else:
        if args.task == "text" and "data" not in given:
            raise DataError("train text: which FILE?")
        config = make_config(args.task, **given)
        out = args.out or f"runs/{args.task}"
    task = make_task(config)
    say(task.summary())
    if args.jit:
        faster = "" if find_spec("numba") else "; faster yet with numba (pip install numba)"
        say(f"steps are recorded once and replayed (tg.jit); --no-jit runs them one by one{faster}")
    run = Run.resume(out, task, say, args.jit) if args.resume else Run(task, out, say, args.jit)
    if run.step:
        say(f"going on after step {run.step:,}")
    again = f"{COMMAND} train {args.task} --resume {out}"
    more = f" --steps {args.steps}" if args.steps else f" --epochs {config.epochs}"
    try:
        run.train(args.steps, again + more)
    finally:
        if args.plot is not None and run.records():
            picture = args.plot or Path(out) / "curve.png"
            training_curve(run.records(), picture, f"{config.model}, {config.task}")
            say(f"the curves are in {picture}")
    seen = ""
    if isinstance(task, PairsTask) and task.config.model in ("attention", "deep"):
        picture = Path(out) / "attention.png"
        draw_attention(task.reader, example_of(task), picture)
        seen = f", a picture of where it looks in {picture}"
    say(f"\nThe model is in {out}{seen}. Try:\n" + "\n".join(next_commands(task, out)))


def resumed_config(args: argparse.Namespace, given: dict[str, Any]) -> Config:
    """The settings of the run, with those that may change taken from the command line."""
    config = load_config(args.resume)
    if config.task != args.task:
        raise DataError(f"{args.resume} holds a model of {config.task}, not of {args.task}: "
                        f"{COMMAND} train {config.task} --resume {args.resume}")
    if args.out and Path(args.out) != Path(args.resume):
        raise DataError(f"--out {args.out}: a resumed run stays in its folder, {args.resume}")
    for name, value in given.items():
        if name not in ("epochs", "data") and value != getattr(config, name):
            raise DataError(f"{args.resume} was begun with {name} = {getattr(config, name)}, not"
                            f" {value}; only --epochs, --steps and where the data are may change")
    return replace(config, **{k: v for k, v in given.items() if k in ("epochs", "data")})


def next_commands(task: Task, out: str) -> list[str]:
    if isinstance(task, TextTask):
        (word,) = task.vocabulary.decode(task.parts["train"].ids[:1])
        return [f"  {COMMAND} evaluate {out}", f'  {COMMAND} generate {out} --prompt "{word}"']
    assert isinstance(task, PairsTask)
    example = example_of(task)
    lines = [f'  {COMMAND} answer {out} "{example}"', f"  {COMMAND} evaluate {out}"]
    if task.config.model in ("attention", "deep"):
        lines.append(f'  {COMMAND} attention {out} "{example}" --output attention.png')
    return lines


def example_of(task: PairsTask) -> str:
    """The longest of the first inputs that are held out: most to look at."""
    return max((text.rstrip() for text in task.test.inputs[:50]), key=len)


def say(text: str) -> None:
    print(text, flush=True)


# ---- use ----------------------------------------------------------------------------------------


def run_evaluate(args: argparse.Namespace) -> None:
    if is_book_file(args.model):
        model = load_rnnlm(args.model).eval()
        test = load_ptb(args.data_dir).test
        check_size(args.model, model, test.vocabulary)
        measure, value, split = "perplexity", perplexity(model, test.ids), "test"
    else:
        config = load_config(args.model)
        where = args.data_dir or args.data
        task = load_task(args.model, replace(config, data=where) if where else config)
        measure, value = task.measure, task.evaluate("test")
        split = task.part("test")[0] if isinstance(task, TextTask) else "test"
    if args.json:
        print(json.dumps({measure: value, "split": split}))
    else:
        shown = f"{value:.2%}" if measure == "accuracy" else f"{value:.2f}"
        print(f"{measure} {shown} ({split} data)")


def run_generate(args: argparse.Namespace) -> None:
    writer = load_writer(args.model, args.data_dir)
    banned = args.ban
    if banned is None:
        banned = BANNED if writer.level == "word" else ()
        banned = [word for word in banned if word in writer.vocabulary]
    print(writer.write(args.prompt, args.length, args.temperature, args.top_k, args.top_p,
                       [word for word in banned if word], args.seed))  # fmt: skip


def load_writer(path: str, data_dir: str | None) -> Writer:
    if not is_book_file(path):
        return load_kind(path, Writer, "generate wants a language model; try answer")
    model, vocabulary = load_rnnlm(path).eval(), load_ptb(data_dir).train.vocabulary
    check_size(path, model, vocabulary)
    return Writer(model, vocabulary, "word")


def is_book_file(path: str | Path) -> bool:
    return str(path).endswith(".pkl")


def check_size(path: str, model: LanguageModel, vocabulary: Vocabulary) -> None:
    if model.embed.W.shape[0] != len(vocabulary):
        raise DataError(f"{path}: weights for {model.embed.W.shape[0]} symbols, but Penn Treebank"
                        f" has {len(vocabulary)}")  # fmt: skip


def load_kind(path: str, kind: type[Kind], otherwise: str) -> Kind:
    model = load_model(path)
    if not isinstance(model, kind):
        raise DataError(f"{path} holds a model of {load_config(path).task}: {otherwise}")
    return model


def run_answer(args: argparse.Namespace) -> None:
    reader = load_kind(args.model, Reader, "answer wants one of date or addition; try generate")
    for answer in reader.answer(args.text, args.beam):
        print(answer.rstrip())


def run_attention(args: argparse.Namespace) -> None:
    reader = load_kind(args.model, Reader, "attention wants one of date or addition")
    print(draw_attention(reader, args.text, Path(args.output)))


def draw_attention(reader: Reader, text: str, path: Path) -> str:
    """Save the heat map of one example with the input from left to right; return the answer."""
    answer, columns, weights = reader.attend(text)
    attention_heatmap(weights, columns, list(answer), path, f"{text} -> {answer.rstrip()}")
    return answer.rstrip()


def run_gradients(args: argparse.Namespace) -> None:
    print(draw_gradients(args.output, args.steps, args.hidden, args.seed))


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        return args.run(args) or 0
    except Interrupted as stop:
        print(f"\ntinygrad-rnn: {stop}", file=sys.stderr)
        return 130
    except (DataError, ImportError, OSError) as error:
        print(f"tinygrad-rnn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntinygrad-rnn: interrupted", file=sys.stderr)
        return 130
