"""On a GPU: first the numbers of NumPy, then times, beside PyTorch (cuDNN) and JAX on one card.

    python -m benchmarks.gpu --json gpu.json              # CuPy; under five minutes
    python -m benchmarks.gpu --library numpy --quick      # the same program without a GPU

``recorded`` is what ``tg.jit`` makes of the step: a CUDA graph; or its sentence where it makes
nothing of it.

THIS WAS NEVER RUN ON A GPU: none was to be had. With ``--library numpy`` it is run by the tests.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.functional import sigmoid
from tinygrad_rnn.tensor import host

from .contenders import eager
from .workloads import WORKLOADS

AGREE = 1e-5  # of the norm of a gradient, and of a loss, in float32
DEADLINE = 270.0  # seconds, after which no other contender is begun


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


def build(name: str, quick: bool, dropout: bool = True) -> Any:
    return Own(quick) if name == "own cell" else Network(name, quick, dropout)


def moved(network: Any, library: Any) -> Any:
    """The network, and what of its batch is not ids, on the device."""
    network.model.to(library)
    network.batch = tuple(library.asarray(x) if x.dtype.kind == "f" else x for x in network.batch)
    return network


def differences(name: str, library: Any, quick: bool) -> dict[str, float]:
    """How far the loss and each gradient are from those of NumPy."""
    found = []
    for where in (np, library):
        network = moved(build(name, quick, dropout=False), where)
        loss = network.loss(*network.batch)
        loss.backward()
        found.append({"loss": loss.item()} | {
            n: host(p.grad) for n, p in network.model.named_parameters()})
    ours, theirs = found
    return {n: float(np.linalg.norm(theirs[n] - ours[n]) / max(np.linalg.norm(ours[n]), 1e-12))
            for n in ours}  # fmt: skip


def training_step(network: Any) -> Any:
    adam = optim.Adam(network.model.parameters())

    def step(*batch):
        loss = network.loss(*batch)
        loss.backward()
        optim.clip_grad_norm_(adam.params, 1.0)
        adam.step()
        adam.zero_grad()
        return loss

    return step


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
    found: dict[str, Any] = {}
    for kind in ("eager", "recorded"):
        network = moved(build(name, quick), library)
        step = training_step(network)
        if kind == "recorded":
            step = tg.jit(step)
        try:
            found[kind] = timed(lambda s=step, b=network.batch: s(*b), wait, seconds)
        except (tg.JitError, TypeError) as error:
            if kind == "eager":
                raise
            found[kind] = " ".join(str(error).split())
    return found


def torch_lstm(name: str, seconds: float) -> float:
    """PyTorch's nn.LSTM, which is cuDNN's."""
    import torch

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
    library = importlib.import_module(args.library)
    about: dict[str, Any] = {"library": f"{args.library} {library.__version__}"}
    if hasattr(library, "cuda"):
        card = library.cuda.runtime.getDeviceProperties(0)
        about["device"] = card["name"].decode()
    results: dict[str, Any] = {}
    wrong = []
    for name in [*WORKLOADS, "own cell"]:  # all numbers before any time
        off = differences(name, library, args.quick)
        worst = max(off, key=lambda n: off[n])
        results[name] = {"difference": off[worst], "of": worst}
        agrees = off[worst] <= AGREE
        wrong += [] if agrees else [name]
        print(f"{name}: {'agrees' if agrees else 'DISAGREES'}, {off[worst]:.1e} in {worst}")
    for name, result in results.items():
        contenders: dict[str, Any] = {"ours": lambda n: ours(n, library, args.quick, seconds)}
        if not args.quick and name in WORKLOADS:
            contenders |= {"torch_lstm": lambda n: torch_lstm(n, seconds),
                           "jax": lambda n: jax_scan(n, seconds)}  # fmt: skip
        for contender, run in contenders.items():
            if time.perf_counter() - begun > DEADLINE:
                result[contender] = "not begun: the time was over"
                continue
            try:
                found = run(name)
            except Exception as error:  # one contender less, and all the others
                found = f"{type(error).__name__}: {error}"
            result |= found if isinstance(found, dict) else {contender: found}
        shown = {k: f"{v:.2f} ms" if isinstance(v, float) else v for k, v in result.items()
                 if k not in ("difference", "of")}  # fmt: skip
        print(f"{name}: {shown}")
        if args.json:  # what is measured is kept, whatever comes
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump({**about, "results": results}, file, indent=1)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
