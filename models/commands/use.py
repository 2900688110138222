"""Commands that use a trained model: evaluate, generate, answer, attention."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..data import DataError, Vocabulary, load_ptb
from ..files.book import load_rnnlm
from ..language import LanguageModel
from ..pictures.plots import attention_heatmap, check_picture
from ..training import (
    Reader,
    TextTask,
    Writer,
    load_config,
    load_model,
    load_task,
    model_file,
    perplexity,
)
from ..training.config import LARGEST
from ..training.output import plain
from .arguments import Parser, at_least_zero, positive, probability

Kind = TypeVar("Kind", Reader, Writer)

BANNED = ("<unk>", "N", "$")  # the words that the book's generator skips: masks, not words


def add_arguments(commands: argparse._SubParsersAction[Parser]) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="accuracy on held-out pairs, or perplexity on the test text"
    )
    evaluate.add_argument("model", metavar="MODEL",
                          help="folder of a run, or a weight file of the book (.pkl)")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.add_argument("--data-dir", metavar="DIR", help="folder of Penn Treebank")
    evaluate.add_argument("--data", metavar="FILE", help="where the file trained on is now")
    add_data_changed(evaluate)
    evaluate.set_defaults(run=run_evaluate)
    add_last(evaluate)

    generate = commands.add_parser("generate", help="let a language model go on with a text")
    generate.add_argument("model", metavar="MODEL",
                          help="folder of a run, or a weight file of the book (.pkl)")
    generate.add_argument("--prompt", required=True, metavar="TEXT", help="the beginning")
    generate.add_argument("--length", type=positive(int), default=50, metavar="N",
                          help="words or characters to write (default 50)")
    generate.add_argument("--temperature", type=at_least_zero(float), default=1.0, metavar="X",
                          help="below 1 safer, above 1 bolder, 0 always the likeliest (default 1)")
    generate.add_argument("--top-k", type=positive(int), metavar="K",
                          help="draw from the K likeliest only")
    generate.add_argument("--top-p", type=probability, metavar="P",
                          help="draw from the fewest that have probability P together")
    generate.add_argument("--ban", action="append", metavar="SYMBOL",
                          help=f"never write this; may be repeated (default for words:"
                          f" {' '.join(BANNED)}; --ban '' allows all)")
    generate.add_argument("--seed", type=at_least_zero(int), metavar="N",
                          help="the same seed, the same text")
    generate.add_argument("--data-dir", metavar="DIR",
                          help="folder of Penn Treebank, whose words a .pkl file means")
    generate.set_defaults(run=run_generate)
    add_last(generate)

    answer = commands.add_parser("answer", help="let a trained model answer")
    answer.add_argument("model", metavar="DIR", help="folder of a run")
    answer.add_argument("text", nargs="+", help="what to answer")
    answer.add_argument("--beam", type=positive(int), metavar="K",
                        help="keep the K likeliest beginnings at each step (default 1: greedy)")
    answer.add_argument("--best", type=positive(int), metavar="N",
                        help="print the N best answers, each with its score: its log-probability")
    answer.add_argument("--length-penalty", type=at_least_zero(float), default=0.0, metavar="X",
                        help="above 0 favours longer answers (default 0); for answers of various"
                        " lengths, that is with --end")
    answer.add_argument("--end", metavar="SYMBOL", help="the symbol with which an answer ends")
    answer.set_defaults(run=run_answer)
    add_last(answer)

    attention = commands.add_parser("attention", help="draw where a model looks")
    attention.add_argument("model", metavar="DIR", help="folder of a run")
    attention.add_argument("text", help="what to answer")
    attention.add_argument("--output", default="attention.png", metavar="FILE", help="PNG or SVG")
    attention.set_defaults(run=run_attention)
    add_last(attention)


def add_last(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", action="store_true",
                        help="the weights of the last step, not of the best epoch")


def add_data_changed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-changed", action="store_true",
                         help="although the data are not those that the model was trained with")


def run_evaluate(args: argparse.Namespace) -> None:
    if is_book_file(args.model):
        model = load_rnnlm(args.model).eval()
        test = load_ptb(args.data_dir).test
        check_size(args.model, model, test.vocabulary)
        measure, value, split = "perplexity", perplexity(model, test.ids), "test"
    else:
        path = model_file(args.model, args.last)
        config = load_config(path)
        where = args.data_dir or args.data
        task = load_task(path, replace(config, data=where) if where else config,
                         args.data_changed)  # fmt: skip
        measure, value = task.measure, task.evaluate("test")
        split = task.part("test")[0] if isinstance(task, TextTask) else "test"
    if args.json:
        print(json.dumps({measure: value, "split": split}))
    else:
        shown = f"{value:.2%}" if measure == "accuracy" else f"{value:.2f}"
        print(f"{measure} {shown} ({split} data)")


def run_generate(args: argparse.Namespace) -> None:
    if args.length >= LARGEST:
        raise DataError(f"--length {args.length} is too large")
    writer = load_writer(args.model, args.data_dir, args.last)
    banned = [word for word in args.ban or () if word]
    if args.ban is None and writer.level == "word":
        banned = [word for word in BANNED if word in writer.vocabulary]
        if len(banned) == len(writer.vocabulary):
            banned = []
    show(writer.write(args.prompt, args.length, args.temperature, args.top_k, args.top_p,
                      banned, args.seed))  # fmt: skip


def show(text: str) -> None:
    """Print what a model wrote: on a terminal without what the terminal would obey."""
    print(plain(text) if sys.stdout is not None and sys.stdout.isatty() else text)


def load_writer(path: str, data_dir: str | None, last: bool) -> Writer:
    if not is_book_file(path):
        file = model_file(path, last)
        return load_kind(file, Writer, "generate wants a language model; try answer")
    model, vocabulary = load_rnnlm(path).eval(), load_ptb(data_dir).train.vocabulary
    check_size(path, model, vocabulary)
    return Writer(model, vocabulary, "word")


def is_book_file(path: str | Path) -> bool:
    return str(path).endswith(".pkl")


def check_size(path: str, model: LanguageModel, vocabulary: Vocabulary) -> None:
    if model.embed.W.shape[0] != len(vocabulary):
        raise DataError(f"{path}: weights for {model.embed.W.shape[0]} symbols, but Penn Treebank"
                        f" has {len(vocabulary)}")  # fmt: skip


def load_kind(path: Path, kind: type[Kind], otherwise: str) -> Kind:
    model = load_model(path)
    if not isinstance(model, kind):
        raise DataError(f"{path} holds a model of {load_config(path).task}: {otherwise}")
    return model


def run_answer(args: argparse.Namespace) -> None:
    path = model_file(args.model, args.last)
    reader = load_kind(path, Reader, "answer wants one of date or addition; try generate")
    beam = args.beam or args.best or 1
    if args.best and args.best > beam:
        raise DataError(f"--best {args.best} of --beam {beam}: a beam has no more answers than it"
                        " keeps")  # fmt: skip
    for best in reader.answers(args.text, beam, args.end, args.length_penalty):
        for answer, score in best[: args.best or 1]:
            text = answer.rstrip(args.end) if args.end else answer.rstrip()
            show(text + (f"\t{score:.4f}" if args.best else ""))


def run_attention(args: argparse.Namespace) -> None:
    check_picture(args.output)
    path = model_file(args.model, args.last)
    reader = load_kind(path, Reader, "attention wants one of date or addition")
    show(draw_attention(reader, args.text, Path(args.output)))


def draw_attention(reader: Reader, text: str, path: Path) -> str:
    """Save the heat map of one example with the input from left to right; return the answer."""
    answer, columns, weights = reader.attend(text)
    attention_heatmap(weights, columns, list(answer), path, f"{text} -> {answer.rstrip()}")
    return answer.rstrip()
