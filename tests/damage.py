"""The damage campaign of docs/reliability.md: what is done to a run, and what comes of it.

    python -m tests.damage [--kills 100] [--writers 20] [--every 1]

trains a small model in a temporary folder, and then: flips every bit of one byte after the other of
its checkpoint, cuts it off at every length, has it say odd things of itself, kills trainings with
SIGKILL at random moments and lets them go on, and sends two trainings into one folder. Prints a
table of what happened. Everything that is neither an error of one sentence nor what an undamaged
run gives is counted as believed.
``--every 10`` takes every tenth byte and length; the whole takes an hour on a laptop.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from models.commands.main import main as main_of_models
from models.data import DataError, make_sums
from models.files import checkpoint
from models.training import MODEL, load_model

TRAIN = ("import models.training.run as t; t.SAVE_EVERY = 0; from models.commands.main import main;"
         "import sys; sys.exit(main(sys.argv[1:]))")  # fmt: skip
SIZES = ["--embedding", "2", "--hidden", "3", "--batch-size", "20", "--epochs", "2", "--no-jit"]


def sums(path, count=400):
    """A small file of pairs."""
    pairs = make_sums()
    lines = [f"{x}{y}\n" for x, y in zip(pairs.inputs, pairs.answers, strict=True)][:count]
    path.write_text("".join(lines))
    return path


def training(out, data, *options):
    """A training in a process of its own, one checkpoint after each step."""
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, "train", "addition", "--data", str(data), *SIZES, *options,
         *(() if "--resume" in options else ("--out", str(out)))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(out, data, *options):
    process = training(out, data, *options)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(folder):
    """What a run has learnt: a string that is another for any other weights."""
    model = load_model(folder).model
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in model.parameters())).hexdigest()


def read(content, folder):
    """What becomes of a checkpoint: "told", "believed" or the name of an error nobody planned."""
    (folder / MODEL).write_bytes(content)
    try:
        load_model(folder)
    except DataError as error:
        return "told" if str(error).isprintable() and len(str(error)) < 500 else "told badly"
    except Exception as error:
        return type(error).__name__
    return "believed"


def flips(content, folder, places):
    """Every bit of every byte in ``places`` turned, one at a time."""
    found = Counter()
    for i in places:
        for bit in range(8):
            damaged = bytearray(content)
            damaged[i] ^= 1 << bit
            found[read(bytes(damaged), folder)] += 1
    return found


def prefixes(content, folder, lengths):
    """The file cut off after so many bytes."""
    return Counter(read(content[:n], folder) for n in lengths)


ODD = [None, True, -1, 0, 1, 2, 10**9, 2**70, -0.5, 1.5, 1e308, float("nan"), float("inf"), "",
       "x", "/dev/zero", "\x1b[31m", "a" * 10_000, [], {}, [[]], {"a": 1}, [1, 2], ["a"],
       "left out"]  # fmt: skip


def places(value, path=()):
    """All places in a value of JSON; of a list the first three."""
    for key in list(value) if isinstance(value, dict) else range(min(len(value), 3)):
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from places(value[key], (*path, key))


def lies(folder, run, every):
    """Every value in what a checkpoint says of itself replaced by odd ones, with digests that fit,
    as a stranger may do it; then the model answers, is measured and trains on."""
    arrays, about = checkpoint.load(run / MODEL)
    found = Counter()
    for path in list(places(about))[::every]:
        for odd in ODD:
            told = into = json.loads(json.dumps(about))
            for key in path[:-1]:
                into = into[key]
            if odd == "left out":
                del into[path[-1]]
            else:
                into[path[-1]] = odd
            for command in (["answer", str(folder), "1+1"], ["evaluate", str(folder)],
                            ["train", "addition", "--resume", str(folder), "--epochs", "3",
                             "--no-jit"]):  # fmt: skip
                checkpoint.save(folder / MODEL, arrays, told)
                error, began = io.StringIO(), time.perf_counter()
                with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
                    status = main_of_models(command)
                said = error.getvalue()
                one = said.count("\n") == 1 and said.strip().isprintable()
                what = "used" if status == 0 else "told" if status == 1 and one else said
                found[what if time.perf_counter() - began < 20 else "slow"] += 1
    return found


def kills(data, folder, count, rng):
    """SIGKILL at random moments until the training is done; then it must have the weights of one
    that was left alone. The checkpoint must be whole after each."""
    finished(folder / "alone", data)
    wanted = weights(folder / "alone")
    began = time.perf_counter()
    finished(folder / "timed", data)
    whole = time.perf_counter() - began
    found = Counter()
    out, run = folder / "killed", 0
    while sum(found.values()) < count:
        there = (out / MODEL).exists()
        process = training(out, data, *(["--resume", str(out)] if there else []))
        time.sleep(rng.uniform(0.1, 1.1) * whole)
        ended = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
        if ended and process.returncode:
            found[f"no way on: {said.splitlines()[-1]}"] += 1
            break
        if ended:
            found["the weights of a run left alone" if weights(out) == wanted else "other"] += 1
            run += 1
            out = folder / f"killed{run}"
            continue
        if (out / MODEL).exists():
            load_model(out)
        found["killed, the checkpoint whole"] += 1
    return found


def writers(data, folder, count):
    """Two trainings into one folder at the same time; the reader looks on all the while. The one
    that goes on is stopped when the other was told, long before its end."""
    found = Counter()
    for i in range(count):
        out = folder / f"shared{i}"
        both = [training(out, data, "--seed", str(seed), "--epochs", "300") for seed in (1, 2)]
        while all(p.poll() is None for p in both):
            if (out / MODEL).exists():
                try:
                    load_model(out)
                    found["reads, whole"] += 1
                except DataError:
                    found["reads, torn"] += 1
        for p in both:
            p.terminate()
        said = "".join(p.communicate()[0] for p in both)
        codes = sorted(p.returncode for p in both)
        ok = codes == [1, 143] and "another training" in said and "stopped and saved" in said
        found["one wrote, the other was told" if ok else f"exit {codes}"] += 1
        load_model(out)
    return found


def table(rows):
    print("| what was done | times | what came of it |\n|---|---|---|")
    for what, found in rows.items():
        came = ", ".join(f"{name}: {n:,}" for name, n in sorted(found.items()) if n)
        print(f"| {what} | {sum(found.values()):,} | {came} |")


def main():
    parser = argparse.ArgumentParser(description="the damage campaign")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--writers", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = sums(folder / "sums.txt")
        finished(folder / "run", data)
        content = (folder / "run" / MODEL).read_bytes()
        target = folder / "damaged"
        target.mkdir()
        lied = folder / "lied"
        lied.mkdir()
        table({
            "one value of what a checkpoint says is another":
                lies(lied, folder / "run", args.every),
            f"one bit flipped, checkpoint of {len(content):,} bytes":
                flips(content, target, range(0, len(content), args.every)),
            "the checkpoint cut off":
                prefixes(content, target, range(0, len(content), args.every)),
            "SIGKILL of a training that is then resumed":
                kills(data, folder, args.kills, random.Random(0)),
            "two trainings into one folder": writers(data, folder, args.writers),
        })  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
