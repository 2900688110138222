"""Several ranks: what a training step costs them, measured, and a model of it drawn up to 64.

    python -m benchmarks.ranks --json ranks.json --chart ranks.png     # mpiexec on the path
    python -m benchmarks.ranks rnnlm --machines --launch "mpiexec -hosts a,b -ppn 1" --gbit 1

Measured: one process with one thread at three sizes of the batch, one with two threads, two ranks
with one thread each, and an ``Allreduce`` of two ranks at three sizes. Alone with one thread a
process counts time of the CPU, so that other programs cost it little; two ranks and two threads are
timed by the clock, and on a machine that does other work say how long they waited for it.

The model of a step on k ranks that share a batch of N rows:

    compute   a + b * ceil(N / k)                        a, b fitted to one thread
    copies    c * bytes                                  gradients into one buffer and back, timed
                                                         without another rank
    network   2 log2(k) * latency + 2 (k - 1) / k * bytes * 8 / rate      (Rabenseifner, 2004)
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from unittest import mock

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import distributed, optim

from .__main__ import ROOT, environment
from .contenders import eager
from .workloads import WORKLOADS

NETWORKS = {"10 Gbit": (10e9, 30e-6), "100 Gbit": (100e9, 5e-6)}  # bits/s, s; TCP, and RDMA
MACHINES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (1, 100_000, 4_000_000)  # numbers of float32


def step_ms(workload: str, rows: int, seconds: float) -> dict[str, float]:
    """Milliseconds of this rank's recorded step on its share of a batch of ``rows``, the least of
    all (other programs only add to it); and the bytes of the gradients."""
    w = replace(WORKLOADS[workload], N=rows)
    contender = eager.Contender(w, w.dropout)
    params = contender.optimizer.params

    @tg.jit
    def step(xs, ts):
        loss = contender.model.loss(xs, ts)
        loss.backward()
        distributed.average_gradients(params)
        optim.clip_grad_norm_(params, w.max_norm)
        contender.optimizer.step()
        contender.optimizer.zero_grad()
        return loss

    batch = distributed.shard((contender.xs, contender.ts))
    for _ in range(4):
        step(*batch)
    times: list[float] = []
    together = distributed.communicator()
    alone = together is None and tg.get_num_threads() == 1  # then others cost no time of the CPU
    clock = time.process_time if alone else time.perf_counter
    while True:
        before = clock()
        step(*batch).item()
        times.append(clock() - before)
        enough = sum(times) > seconds and len(times) >= 3
        if together.bcast(enough) if together else enough:
            break
    found = {"ms": min(times) * 1e3, "bytes": sum(4 * p.size for p in params)}
    return found | ({"copies_ms": copies_ms(params)} if alone else {})


def copies_ms(params: list) -> float:
    """Milliseconds of ``average_gradients`` on two ranks but for their Allreduce."""
    for p in params:
        p.grad = np.zeros(p.shape, np.float32)
    times = []
    with (mock.patch.object(distributed, "size", lambda: 2),
          mock.patch.object(distributed, "_sum_over_ranks", lambda buffer: buffer + buffer)):
        for _ in range(5):
            before = time.process_time()
            distributed.average_gradients(params)
            times.append(time.process_time() - before)
    return min(times) * 1e3


def allreduce_ms(seconds: float) -> dict[str, float]:
    """Milliseconds of an Allreduce of so many bytes, the least."""
    comm, found = distributed.communicator(), {}
    for n in SIZES:
        given, total, times = np.ones(n, np.float32), np.empty(n, np.float32), []
        while not comm.bcast(sum(times) > seconds / 3 and len(times) >= 5):
            before = time.perf_counter()
            comm.Allreduce(given, total)
            times.append(time.perf_counter() - before)
        found[str(4 * n)] = min(times) * 1e3
    return found


def measure(what: str, rows: int, seconds: float) -> None:
    found = allreduce_ms(seconds) if what == "allreduce" else step_ms(what, rows, seconds)
    if distributed.rank() == 0:
        print(json.dumps(found))


def run(launch: list[str], threads: int, what: str, rows: int, seconds: float) -> dict:
    done = subprocess.run(
        [*launch, sys.executable, "-m", "benchmarks.ranks", what, "--rows", str(rows),
         "--seconds", str(seconds)],
        cwd=ROOT, env=environment(threads), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def best(runs: list[dict]) -> dict:
    """The least of each number."""
    return {name: min(r[name] for r in runs) for name in runs[0]}


def compare(name: str, launch: list[str], seconds: float, rounds: int) -> dict:
    """One workload, its contenders interleaved."""
    N = WORKLOADS[name].N
    kinds = {"one thread": ([], 1, N), "two threads": ([], 2, N), "two ranks": (launch, 1, N),
             "half": ([], 1, N // 2), "quarter": ([], 1, N // 4)}  # fmt: skip
    runs: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, (prefix, threads, rows) in kinds.items():
            runs[kind].append(run(prefix, threads, name, rows, seconds))
    found = {kind: best(of)["ms"] for kind, of in runs.items()}
    half = best(runs["half"])
    return {"rows": N, "bytes": half["bytes"], "copies_ms": half["copies_ms"], "ms": found}


def fitted(result: dict) -> dict[str, float]:
    """a, b, c of the model, in seconds, per row, per byte."""
    N, ms = result["rows"], result["ms"]
    rows, times = [N, N // 2, N // 4], [ms["one thread"], ms["half"], ms["quarter"]]
    b, a = np.polyfit(rows, np.array(times) * 1e-3, 1)
    c = result["copies_ms"] * 1e-3 / result["bytes"]
    return {"a": float(max(a, 0.0)), "b": float(b), "c": float(c)}


def modelled(fit: dict[str, float], rows: int, size: int, k: int, rate: float,
             latency: float) -> float:
    """Seconds of a step on k machines."""
    compute = fit["a"] + fit["b"] * math.ceil(rows / k)
    if k == 1:
        return compute
    network = 2 * math.log2(k) * latency + 2 * (k - 1) / k * size * 8 / rate
    return compute + fit["c"] * size + network


def pays(fit: dict[str, float], result: dict, rate: float, latency: float,
         grows: bool) -> dict[int, float]:
    """How many times as many rows a second k machines do as one: with one batch for all, or with a
    batch that ``grows`` with them."""
    N, size = result["rows"], result["bytes"]
    alone = modelled(fit, N, size, 1, rate, latency)
    return {k: k * alone / modelled(fit, k * N, size, k, rate, latency) if grows
            else alone / modelled(fit, N, size, k, rate, latency)
            for k in MACHINES if grows or k <= N}  # fmt: skip


def stops(speed_up: dict[int, float]) -> int:
    """The number of machines from which on twice as many are not a tenth faster."""
    counts = list(speed_up)
    for k, twice in itertools.pairwise(counts):
        if speed_up[twice] < 1.1 * speed_up[k]:
            return k
    return counts[-1]


def draw(results: dict, path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    for i, (name, result) in enumerate(results.items()):
        axes = figure.add_subplot(1, len(results), i + 1, title=name, xlabel="machines")
        axes.loglog(MACHINES, MACHINES, ":", color="#bbbbbb")
        for (network, about), color in zip(NETWORKS.items(), ("#d9611e", "#1f5fa8"), strict=True):
            for grows, line in ((True, "--"), (False, "-")):
                speed_up = pays(result["fit"], result, *about, grows)
                label = f"{network}, {'rows for each' if grows else 'one batch'}"
                axes.plot(list(speed_up), list(speed_up.values()), line, color=color, label=label)
        axes.plot([2], [result["ms"]["one thread"] / result["ms"]["two ranks"]], "k.",
                  label="two ranks, measured")  # fmt: skip
        axes.set_xticks(MACHINES, map(str, MACHINES))
        axes.set_yticks(MACHINES, map(str, MACHINES))
        axes.minorticks_off()
    figure.axes[0].set_ylabel("rows per second (one machine = 1)")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--launch", default="mpiexec -n 2", help="what starts two ranks")
    parser.add_argument("--machines", action="store_true",
                        help="two machines beside the model, for a network of --gbit")
    parser.add_argument("--gbit", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--chart", metavar="FILE")
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)  # of a process that measures
    args = parser.parse_args()
    if args.rows is not None:
        measure(args.workloads[0], args.rows, args.seconds)
        return
    launch = shlex.split(args.launch)
    reduced = best([run(launch, 1, "allreduce", 0, args.seconds) for _ in range(args.rounds)])
    print("Allreduce of two ranks:", ", ".join(f"{int(n):,} bytes {ms:.3f} ms"
                                               for n, ms in reduced.items()))
    results = {}
    for name in args.workloads or WORKLOADS:
        result = results[name] = compare(name, launch, args.seconds, args.rounds)
        fit = result["fit"] = fitted(result)
        if args.machines:
            latency = reduced[str(4 * SIZES[0])] * 1e-3 / 2
            told = modelled(fit, result["rows"], result["bytes"], 2, args.gbit * 1e9, latency)
            ms = result["ms"]
            print(f"{name}: two machines {ms['two ranks']:.1f} ms, model {told * 1e3:.1f}; one"
                  f" machine {ms['one thread']:.1f}")
            continue
        ms = result["ms"]
        print(f"{name}: {result['bytes'] / 2**20:.1f} MB of gradients; one thread"
              f" {ms['one thread']:.1f} ms, two threads {ms['two threads']:.1f}, two ranks"
              f" {ms['two ranks']:.1f}; a {fit['a'] * 1e3:.2f} ms, b {fit['b'] * 1e3:.3f} ms a row,"
              f" c {fit['c'] * 1e9:.2f} ns a byte")  # fmt: skip
        for network, about in NETWORKS.items():
            for grows in (False, True):
                speed_up = pays(fit, result, *about, grows)
                shown = ", ".join(f"{k}: {x:.1f}" for k, x in speed_up.items())
                print(f"  {network}, {'rows for each' if grows else 'one batch'}: {shown}; stops"
                      f" paying after {stops(speed_up)}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"allreduce": reduced, "workloads": results}, file, indent=1)
    if args.chart:
        draw(results, args.chart)


if __name__ == "__main__":
    main()
