"""``python -m benchmarks``: training steps of all contenders, interleaved, as one table."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from models.commands import machine
from tinygrad_rnn.cores import available

from .contenders import NEEDS
from .workloads import WORKLOADS, Workload

PAUSE = 0.03  # seconds between two contenders, for the threads of the one to go to sleep
ROOT = Path(__file__).resolve().parent.parent
PEERS = ("manual", "torch_cells", "torch_lstm", "jax")
ADD = 'pip install "tinygrad-rnn[bench]"'


class Contender:
    """A process of its own, asked and answering in lines of JSON."""

    def __init__(self, name: str, threads: int):
        self.name, self.threads = name, threads
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"], cwd=ROOT, env=environment(threads),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, workload: str) -> None:
        """Ask for the network of this workload, and for its first step."""
        self.times: list[float] = []
        self.medians: list[float] = []  # of each round
        self.tell("start", name=self.name, workload=workload, threads=self.threads)

    def tell(self, kind: str, **request) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"kind": kind, **request}) + "\n")
        self.process.stdin.flush()

    def ask(self, kind: str, **request):
        self.tell(kind, **request)
        return self.answer()

    def answer(self):
        assert self.process.stdout
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended, see above")
        return json.loads(answer)

    def run(self, steps: int) -> None:
        time.sleep(PAUSE)
        times = self.ask("time", steps=steps).get("ms", [])
        self.times += times
        self.medians.append(statistics.median(times))

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def environment(threads: int) -> dict[str, str]:
    """The same number of threads for everybody."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    more = {name: str(threads) for name in names}
    if threads == 1:
        more["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more}


def contenders() -> tuple[list[str], list[str]]:
    """Who can run, and a line for each who cannot."""
    there, absent = [], []
    for name, needs in NEEDS.items():
        missing = [module for module in needs if importlib.util.find_spec(module) is None]
        if missing:
            absent.append(f"{name} is left out: {', '.join(missing)} is not installed ({ADD})")
        else:
            there.append(name)
    return there, absent


def agree(firsts: dict[str, dict]) -> None:
    """A fast wrong answer must not be timed: losses and gradients are those of manual/."""
    reference = firsts["manual"]
    for contender, first in firsts.items():
        if abs(first["loss"] - reference["loss"]) > 1e-4 * abs(reference["loss"]):
            sys.exit(f"{contender}: loss {first['loss']}, wanted {reference['loss']}")
        if first["gradients"].keys() != reference["gradients"].keys():
            sys.exit(f"{contender}: gradients of {sorted(first['gradients'])}")
        for name, wanted in reference["gradients"].items():
            came = first["gradients"][name]
            if max(abs(a - b) for a, b in zip(came, wanted, strict=True)) > 2e-3 * wanted[0]:
                sys.exit(f"{contender}: gradient of {name} is {came}, wanted {wanted}"
                         " (its norm and two projections)")  # fmt: skip


def compare(
    w: Workload, names: list[str], rounds: int, seconds: float, threads: int,
    kept: dict[str, Contender] | None = None,
) -> dict:  # fmt: skip
    """All contenders of one workload, in turn, ``rounds`` times for about ``seconds`` each.

    They begin one after the other, so that nothing disturbs the first step. Each is a new process,
    or, to be quick, one ``kept`` from the workload before.
    """
    firsts: dict[str, dict] = {}
    until_first_step = {}
    quick, processes = kept is not None, {} if kept is None else kept
    try:
        if quick and not processes:
            processes |= {name: Contender(name, threads) for name in ("floor", *names)}
            for process in processes.values():
                process.tell("load", name=process.name)
            for process in processes.values():
                process.answer()
        for name in ("floor", *names):
            began = time.perf_counter()
            if name not in processes:
                processes[name] = Contender(name, threads)
            processes[name].begin(w.name)
            firsts[name] = processes[name].answer()
            until_first_step[name] = None if quick else time.perf_counter() - began
        floor, runs = processes["floor"], [processes[name] for name in names]
        del firsts["floor"]
        agree(firsts)
        steps = {run.name: max(1, round(seconds * 1e3 / run.ask("time", steps=1)["ms"][0]))
                 for run in runs}  # fmt: skip
        for _ in range(rounds):
            for run in runs:
                run.run(steps[run.name])
            floor.ask("time", steps=3)
        memory = {run.name: run.ask("memory", steps=1 if quick else 3)["peak_mb"] for run in runs}
        rate = floor.ask("memory", steps=0)["flops"]
    finally:
        if not quick:
            end(processes)
    return {
        "floor_ms": w.flops() / rate * 1e3,
        "matmul_gflops": rate / 1e9,
        "contenders": {
            run.name: {
                "median_ms": statistics.median(run.times), "min_ms": min(run.times),
                "low_ms": quantile(run.times, 0.1), "high_ms": quantile(run.times, 0.9),
                "peak_mb": memory[run.name], "steps": len(run.times),
                "until_first_step_s": until_first_step.get(run.name),
                "round_medians_ms": run.medians,
            } for run in runs
        },
    }  # fmt: skip


def end(processes: dict[str, Contender]) -> None:
    for process in processes.values():
        process.end()


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def ratio(result: dict, name: str, peer: str) -> float:
    """Median over the rounds of time over time, so that a slow spell of the machine hits both."""
    ours, theirs = (result["contenders"][n]["round_medians_ms"] for n in (name, peer))
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def table(w: Workload, result: dict) -> str:
    runs = result["contenders"]
    peers = [p for p in PEERS if p in runs]
    head = f"{'':12}{'median':>9}{'10-90 %':>16}{'min':>8}{'x floor':>9}"
    head += "".join(f"{'/ ' + p:>14}" for p in peers) + f"{'peak':>9}{'1st step':>10}"
    lines = [f"\n{w.name}: N {w.N}, T {w.T}{f'+{w.Ty}' if w.Ty else ''}, D {w.D}, H {w.H},"
             f" V {w.V:,}, {w.optimizer}; floor {result['floor_ms']:.1f} ms at"
             f" {result['matmul_gflops']:.0f} GFLOP/s", head]  # fmt: skip
    for name, r in sorted(runs.items(), key=lambda item: item[1]["median_ms"]):
        spread = f"{r['low_ms']:.1f}-{r['high_ms']:.1f}"
        line = f"{name:12}{r['median_ms']:6.1f} ms{spread:>16}{r['min_ms']:8.1f}"
        line += f"{r['median_ms'] / result['floor_ms']:9.2f}"
        line += "".join(f"{ratio(result, name, p):14.2f}" for p in peers)
        peak = "" if r["peak_mb"] is None else f"{r['peak_mb']:.0f} MB"
        first = r["until_first_step_s"]
        lines.append(line + f"{peak:>9}" + ("" if first is None else f"{first:8.1f} s"))
    return "\n".join(lines)


# ---- small measurements ----


def micro(quick: bool) -> dict:
    """Overhead of one operation, cost against T, time of the import; interleaved as well."""
    rounds = 1 if quick else 7
    libraries = [lib for lib in ("tinygrad_rnn", "torch", "autograd", "mygrad")
                 if importlib.util.find_spec(lib)]  # fmt: skip
    times = (100, 1_000) if quick else (100, 1_000, 10_000)
    chains: dict[str, list[float]] = {lib: [] for lib in libraries}
    steps: dict[str, list[float]] = {str(T): [] for T in times}
    imports: dict[str, list[float]] = {"numpy": [], "tinygrad_rnn": []}
    for _ in range(rounds):
        for lib, values in chains.items():
            values.append(measure("chain", lib, 5))
        for T, values in steps.items():
            values.append(measure("over_time", T, max(1, 1000 // int(T))))
        for module, values in imports.items():
            before = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True)
            values.append((time.perf_counter() - before) * 1e3)
    return {
        "operation_us": {k: statistics.median(v) for k, v in chains.items()},
        "time_step_us": {k: statistics.median(v) for k, v in steps.items()},
        "import_ms": {k: statistics.median(v) for k, v in imports.items()},
    }


def measure(what: str, argument: str, rounds: int) -> float:
    command = [sys.executable, "-m", "benchmarks.micro", what, argument, str(rounds)]
    done = subprocess.run(command, cwd=ROOT, env=environment(1), check=True, capture_output=True)
    return json.loads(done.stdout)


def micro_table(m: dict) -> str:
    ours = m["operation_us"]["tinygrad_rnn"]
    lines = ["\none operation on 3 elements, forward and backward:"]
    lines += [f"  {lib:14}{value:7.2f} us   {ours / value:5.2f} of its time is ours"
              for lib, value in m["operation_us"].items()]  # fmt: skip
    first = next(iter(m["time_step_us"].values()))
    lines.append("LSTM, each time step (1.00: linear in T):")
    lines += [f"  T {T:>6} {value:12.1f} us   {value / first:5.2f}"
              for T, value in m["time_step_us"].items()]  # fmt: skip
    over = m["import_ms"]["tinygrad_rnn"] - m["import_ms"]["numpy"]
    lines.append(f"import tinygrad_rnn: {over:.0f} ms over NumPy's own"
                 f" {m['import_ms']['numpy']:.0f} ms")  # fmt: skip
    return "\n".join(lines)


# ---- the run ----


def about_machine(threads: int) -> dict:
    import numpy as np

    library = machine.blas() or {}
    names = ("internal_api", "version", "architecture")
    about = {"system": platform.platform(), "python": platform.python_version(),
             "numpy": np.__version__, "cpu": machine.cpu()[0], "cores": available(),
             "threads": threads, "blas": " ".join(library.get(n) or "" for n in names)}  # fmt: skip
    for module in ("torch", "jax", "numba"):
        if importlib.util.find_spec(module):
            about[module] = importlib.metadata.version(module)
    return about


def main() -> None:
    machine.tune_blas()  # the contenders inherit the choice
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD",
                        help=f"of {', '.join(WORKLOADS)} (default: all)")  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NEEDS,
                        help="these contenders, and manual, with which all must agree")
    parser.add_argument("--quick", action="store_true",
                        help="in under a minute, less exactly, and without jit_numpy")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="how often all take their turn (7; quick: 2)")
    parser.add_argument("--seconds", type=float, help="of each turn (1; quick: 0.1)")
    parser.add_argument("--threads", type=int, default=available(),
                        help="for everybody (all cores)")  # fmt: skip
    parser.add_argument("--no-micro", action="store_true", help="only the workloads")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--chart", metavar="FILE", help="draw a bar chart, PNG or SVG")
    args = parser.parse_args()
    if unknown := set(args.workloads) - WORKLOADS.keys():
        parser.error(f"no workload {sorted(unknown)}; there are {', '.join(WORKLOADS)}")
    rounds = args.rounds or (2 if args.quick else 7)
    seconds = args.seconds or (0.1 if args.quick else 1.0)
    names, absent = contenders()
    if args.only:
        names = [name for name in names if name in {*args.only, "manual"}]
    elif args.quick:
        names = [name for name in names if name != "jit_numpy"]
    about = about_machine(args.threads)
    print("; ".join(f"{key} {value}" for key, value in about.items()))
    for line in [*machine.advice(), *absent]:
        print(line)
    results: dict = {"machine": about, "workloads": {}}
    kept: dict[str, Contender] | None = {} if args.quick else None
    try:
        for name in args.workloads or WORKLOADS:
            result = compare(WORKLOADS[name], names, rounds, seconds, args.threads, kept)
            results["workloads"][name] = result
            print(table(WORKLOADS[name], result), flush=True)
            save(args.json, results)
    finally:
        end(kept or {})
    if not args.no_micro:
        results["micro"] = micro(args.quick)
        print(micro_table(results["micro"]))
        save(args.json, results)
    if args.chart:
        from .chart import draw

        draw(results["workloads"], args.chart)


def save(path: str | None, results: dict) -> None:
    if path:
        Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
