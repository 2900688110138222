"""On a GPU: first the numbers of NumPy, then times, beside PyTorch (cuDNN) and JAX on one card.

    python -m benchmarks.gpu --json gpu.json              # CuPy; under five minutes
    python -m benchmarks.gpu --library numpy --quick      # the same program without a GPU

``recorded`` is what ``tg.jit`` makes of the step, ``replayed`` how it does so: as a CUDA graph, or
call by call and why. All compute in float32, without the shorter numbers of tensor cores. Whatever
fails is told, written down, and leaves the others to go on.

THIS WAS NEVER RUN ON A GPU: none was to be had. With ``--library numpy`` it is run by the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import statistics
import sys
import time
import traceback
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.functional import sigmoid
from tinygrad_rnn.tensor import host

from .contenders import eager
from .workloads import WORKLOADS

AGREE = 1e-5  # of the norm of a gradient, and of a loss, in float32
CALLS = 5  # of a recorded function: of these a graph makes the last
DEADLINE = 240.0  # seconds, after which no other contender is begun


class CoupledLSTMCell(nn.Cell):
    """A cell of one's own: an LSTM whose input gate is 1 - its forget gate (Greff et al., 2017)."""

    gates, states = 3, 2

    def step(self, a, h, c):
        f, g, o = np.split(a + h @ self.Wh, 3, axis=-1)
        f = sigmoid(f)
        c = f * c + (1 - f) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c


class Own:
    """The cell of one's own, N 32, T 64, H 128: the loss is the mean square of its states."""

    def __init__(self, quick: bool) -> None:
        tg.manual_seed(0)
        N, T, H = (4, 5, 8) if quick else (32, 64, 128)
        self.model = nn.Recurrent(CoupledLSTMCell(H, H))
        self.xs = np.random.default_rng(0).normal(size=(N, T, H)).astype(np.float32)
        self.batch = (self.xs,)
        self.optimizer, self.max_norm = optim.Adam, 1.0

    def loss(self, xs):
        hs, _ = self.model(xs)
        return np.mean(hs * hs)


class Network:
    """One of the four workloads."""

    def __init__(self, name: str, quick: bool, dropout: bool) -> None:
        w = WORKLOADS[name]
        self.w = replace(w, N=2, T=4, H=8, D=8, V=20, Ty=w.Ty and 3) if quick else w
        made = eager.Contender(self.w, self.w.dropout if dropout else 0.0)
        self.model, self.batch, self.loss = made.model, (made.xs, made.ts), made.model.loss
        self.optimizer = partial({"sgd": optim.SGD, "adam": optim.Adam}[w.optimizer], lr=w.lr)
        self.max_norm = w.max_norm


def build(name: str, quick: bool, dropout: bool = True) -> Any:
    return Own(quick) if name == "own cell" else Network(name, quick, dropout)


def moved(network: Any, library: Any) -> Any:
    """The network, and what of its batch is not ids, on the device."""
    network.model.to(library)
    network.batch = tuple(library.asarray(x) if x.dtype.kind == "f" else x for x in network.batch)
    return network


def found(name: str, library: Any, quick: bool, recorded: bool) -> dict[str, Any]:
    """The loss and each gradient, after some steps with the same weights."""
    network = moved(build(name, quick, dropout=False), library)
    params = dict(network.model.named_parameters())

    def gradients(*batch):
        loss = network.loss(*batch)
        return loss, *tg.grad(loss, list(params.values()))

    step = tg.jit(gradients) if recorded else gradients
    for _ in range(CALLS):
        values = step(*network.batch)
    return {n: host(v.detach()) for n, v in zip(["loss", *params], values, strict=True)}


def differences(name: str, library: Any, quick: bool) -> dict[str, float]:
    """How far the loss and each gradient are from those of NumPy, eager and recorded."""
    ours = found(name, np, quick, recorded=False)
    return {f"{n} {kind}".strip(): float(
                np.linalg.norm(theirs[n] - ours[n]) / max(np.linalg.norm(ours[n]), 1e-12))
            for kind in ("", "recorded")
            for theirs in [found(name, library, quick, bool(kind))] for n in ours}  # fmt: skip


def training_step(network: Any) -> Any:
    optimizer = network.optimizer(network.model.parameters())
    return eager.training_step(network, optimizer, network.max_norm)


def timed(step: Any, wait: Any, seconds: float) -> float:
    """Median milliseconds of a step, each waited for."""
    for _ in range(4):
        step()
    wait()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        before = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e3


def ours(name: str, library: Any, quick: bool, seconds: float) -> dict[str, Any]:
    wait = library.cuda.Device().synchronize if hasattr(library, "cuda") else lambda: None
    network = moved(build(name, quick), library)
    step = training_step(network)
    result: dict[str, Any] = {"eager": timed(lambda: step(*network.batch), wait, seconds)}
    try:
        network = moved(build(name, quick), library)
        recorded = tg.jit(training_step(network))
        result["recorded"] = timed(lambda: recorded(*network.batch), wait, seconds)
        with contextlib.redirect_stdout(io.StringIO()):
            result["replayed"] = next(line.removeprefix("replayed ") for line in [
                *recorded.explain(0).lines, "by NumPy"] if line.startswith(("replayed", "by")))
    except Exception as error:
        result["recorded"] = told(error)
    return result


def told(error: Exception) -> str:
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def torch_lstm(name: str, seconds: float) -> float:
    """PyTorch's nn.LSTM, which is cuDNN's."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    module = importlib.import_module(".contenders.torch_lstm", __package__)
    w = WORKLOADS[name]
    made = module.Contender(w, w.dropout)
    made.p = {n: a.detach().cuda().requires_grad_() for n, a in made.p.items()}
    for layer in made.network.layers.values():
        layer.cuda()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[w.optimizer]
    made.optimizer = kind(made.trained(), w.lr)
    made.xs, made.ts = made.xs.cuda(), made.ts.cuda()
    made.state = [tuple(s.cuda() for s in pair) for pair in made.state]
    return timed(made.step, torch.cuda.synchronize, seconds)


def jax_scan(name: str, seconds: float) -> float:
    """JAX, which takes the card by itself; its step waits for its loss."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    module = importlib.import_module(".contenders.jax", __package__)
    made = module.Contender(WORKLOADS[name], WORKLOADS[name].dropout)
    return timed(made.step, lambda: None, seconds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", default="cupy", help="cupy, or numpy to try the program")
    parser.add_argument("--quick", action="store_true", help="small networks, ours alone")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args(arguments)
    begun, seconds = time.perf_counter(), 0.02 if args.quick else 2.0
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take the card
    library = importlib.import_module(args.library)
    about: dict[str, Any] = {"library": f"{args.library} {library.__version__}"}
    if hasattr(library, "cuda"):
        card = library.cuda.runtime.getDeviceProperties(0)
        about["device"] = card["name"].decode()
        about["cuda"] = library.cuda.runtime.runtimeGetVersion()
    results: dict[str, Any] = {}

    def say(name: str, result: dict[str, Any]) -> None:
        results.setdefault(name, {}).update(result)
        shown = {k: f"{v:.2f} ms" if isinstance(v, float) else v for k, v in result.items()}
        print(f"{time.perf_counter() - begun:4.0f} s  {name}: {shown}", flush=True)
        if args.json:  # what is measured is kept, whatever comes
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump({**about, "results": results}, file, indent=1)

    wrong = 0
    for name in [*WORKLOADS, "own cell"]:  # all numbers before any time
        try:
            off = differences(name, library, args.quick)
        except Exception as error:
            say(name, {"difference": told(error)})
            wrong += 1
            continue
        worst = max(off, key=lambda n: np.nan_to_num(off[n], nan=np.inf))
        agrees = off[worst] <= AGREE
        wrong += not agrees
        results[name] = {"difference": off[worst]}
        say(name, {"numbers": f"{'agree' if agrees else 'DISAGREE'}, {off[worst]:.1e} in {worst}"})
    contenders: dict[str, Any] = {"ours": lambda n: ours(n, library, args.quick, seconds)}
    if not args.quick:
        contenders |= {"torch_lstm": lambda n: torch_lstm(n, seconds),
                       "jax": lambda n: jax_scan(n, seconds)}  # fmt: skip
    for contender, run in contenders.items():
        for name in WORKLOADS if contender != "ours" else list(results):
            result: Any = "not begun: the time was over"
            if time.perf_counter() - begun < DEADLINE:
                try:
                    result = run(name)
                except Exception as error:  # one less, and all the others
                    result = told(error)
            say(name, result if isinstance(result, dict) else {contender: result})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
