"""The command line: ``tinygrad-rnn`` and ``python -m tinygrad_rnn``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .data import DataError
from .plots import attention_heatmap
from .training import DateConfig, Reader, train_dates

COMMAND = os.environ.get("TINYGRAD_RNN_COMMAND", "tinygrad-rnn")  # how a person calls it
EXAMPLE = "SATURDAY, MAY 2, 1987"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=COMMAND, description="Train and use the models of the book's chapters 5 to 8."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model")
    tasks = train.add_subparsers(dest="task", required=True, metavar="TASK")
    date = tasks.add_parser(
        "date", help="attention learns to read dates: SATURDAY, MAY 2, 1987 -> 1987-05-02",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    d = DateConfig()
    date.add_argument("--epochs", type=positive(int), default=d.epochs, help="times over the data")
    date.add_argument("--batch-size", type=positive(int), default=d.batch_size, help="pairs a step")
    date.add_argument("--lr", type=positive(float), default=d.lr, help="learning rate of Adam")
    date.add_argument("--hidden", type=positive(int), default=d.H, help="size of hidden states")
    date.add_argument("--seed", type=int, default=d.seed, help="seed of weights and order")
    date.add_argument("--data", metavar="FILE", help="pairs in the book's format, not generated")
    date.add_argument("--no-reverse", action="store_true", help="read the input left to right")
    date.add_argument("--out", default="runs/date", metavar="DIR", help="where to keep the model")
    date.set_defaults(run=run_train_date)

    answer = commands.add_parser("answer", help="let a trained model answer")
    answer.add_argument("model", metavar="DIR", help="folder of a trained model")
    answer.add_argument("text", nargs="+", help="what to answer")
    answer.set_defaults(run=run_answer)

    attention = commands.add_parser("attention", help="draw where the model looks")
    attention.add_argument("model", metavar="DIR", help="folder of a trained model")
    attention.add_argument("text", help="what to answer")
    attention.add_argument("--output", default="attention.png", metavar="FILE", help="PNG or SVG")
    attention.set_defaults(run=run_attention)
    return top


def positive(kind):
    def read(text):
        value = kind(text)
        if not value > 0:
            raise ValueError
        return value

    read.__name__ = f"positive {kind.__name__}"
    return read


def run_train_date(args):
    config = DateConfig(
        H=args.hidden, epochs=args.epochs, batch_size=args.batch_size, lr=args.lr,
        reverse=not args.no_reverse, seed=args.seed, data=args.data,
    )  # fmt: skip
    reader = train_dates(config, args.out, lambda text: print(text, flush=True))
    example = EXAMPLE
    if any(c not in reader.vocabulary for c in example) or len(example) > reader.widths[0]:
        example = reader_example(config)
    picture = Path(args.out) / "attention.png"
    draw(reader, example, picture)
    print(f"\nThe model is in {args.out}, a picture of where it looks in {picture}. Try:\n"
          f'  {COMMAND} answer {args.out} "{example}"\n'
          f'  {COMMAND} attention {args.out} "{example}" --output attention.png\n'
          f"  {COMMAND} train date --help")


def reader_example(config):
    from .data import read_pairs

    return read_pairs(config.data).inputs[0].rstrip()


def run_answer(args):
    answers, _ = Reader.load(args.model).answer(args.text)
    for answer in answers:
        print(answer.rstrip())


def run_attention(args):
    print(draw(Reader.load(args.model), args.text, Path(args.output)))


def draw(reader, text, path):
    """Save the heat map of one example with the input from left to right; return the answer."""
    (answer,), weights = reader.answer([text])
    read = reader.columns(text)
    columns = list(enumerate(read))
    if reader.config.reverse:
        columns.reverse()
    keep = [i for i, _ in columns]
    attention_heatmap(weights[0][:, keep], [c for _, c in columns], list(answer), path,
                      f"{text} -> {answer.rstrip()}")
    return answer.rstrip()


def main(arguments=None) -> int:
    args = parser().parse_args(arguments)
    try:
        args.run(args)
    except (DataError, ImportError, OSError) as error:
        print(f"tinygrad-rnn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntinygrad-rnn: interrupted; finished epochs are kept", file=sys.stderr)
        return 130
    return 0
