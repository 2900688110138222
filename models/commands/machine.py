"""This machine, and what the library finds on it: ``tinygrad-rnn info``.

OpenBLAS, which does NumPy's matrix products, chooses its kernels by the name of the CPU. On one
that it does not know it falls back to AVX2, also where the CPU has AVX-512: half the speed. And its
threads, when a product is done, keep their cores busy for 2**26 ticks (some 20 ms) in case another
one comes: the threads of a recorded step, which share the cores with them, then get half of each.
The command line, but for ``check``, sees that and starts itself again with OPENBLAS_CORETYPE and
OPENBLAS_THREAD_TIMEOUT, which OpenBLAS reads once, while NumPy is loaded; and with
OPENBLAS_NUM_THREADS, where it would start more threads than this process, one of several that MPI
has started on this machine, has cores. The library, when
imported, leaves the environment alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np

from tinygrad_rnn.cores import available
from tinygrad_rnn.jit.products import blas

BETTER = "SkylakeX"  # OpenBLAS's name for its AVX-512 kernels
NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}  # by those kernels
AVX2 = {"Haswell", "Zen"}  # what OpenBLAS falls back to
# Longer than the gap between the products of two time steps, and no longer than that: a step of
# rnnlm took 27 ms with the default of 26, 21 with 20; date beside another load 53 and 39.
TIMEOUT = "20"  # log2 of ticks
# How many processes MPI has started on this machine: MPICH, Open MPI.
LOCAL_RANKS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
EXTRAS = {
    "models": ("tqdm", "safetensors", "pooch", "matplotlib", "threadpoolctl"),
    "check": ("hypothesis",),
    "fast": ("numba", "threadpoolctl"),
}


def cpu() -> tuple[str, set[str]]:
    """The name of the CPU and its flags; the flags are empty where there is no /proc/cpuinfo."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = (line.split(":", 1) for line in file if ":" in line)
            about = {key.strip(): value.strip() for key, value in pairs}
    except OSError:
        return platform.processor() or platform.machine(), set()
    return about.get("model name", platform.machine()), set(about.get("flags", "").split())


def better_kernels() -> str | None:
    """Kernels that this CPU runs faster than those that OpenBLAS chose, or None."""
    library = blas()
    chosen = library and library["internal_api"] == "openblas" and library.get("architecture")
    return BETTER if chosen in AVX2 and cpu()[1] >= NEEDED else None


def tune_blas() -> None:
    """Start this program again with better settings of OpenBLAS, if nobody has chosen them."""
    library = blas()
    if not library or library["internal_api"] != "openblas" or not sys.executable:
        return
    share = available()
    for name in LOCAL_RANKS:
        if (ranks := os.environ.get(name, "")).isdigit() and int(ranks):
            share = max(1, min(share, (os.cpu_count() or 1) // int(ranks)))
    better = {"OPENBLAS_CORETYPE": better_kernels(),
              "OPENBLAS_THREAD_TIMEOUT": TIMEOUT if library["num_threads"] > 1 else None,
              "OPENBLAS_NUM_THREADS": str(share) if library["num_threads"] > share else None}
    chosen = {name: value for name, value in better.items() if value and name not in os.environ}
    if chosen:
        os.environ.update(chosen)
        if sys.stdout is not None:
            sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    print("\n".join(lines()))


def lines() -> list[str]:
    name, flags = cpu()
    width = "AVX-512" if flags >= NEEDED else "AVX2" if "avx2" in flags else ""
    found = [
        ("tinygrad_rnn", f"{_version('tinygrad-rnn')}, Python {platform.python_version()}, NumPy"
                         f" {np.__version__}, {platform.system()}"),
        ("CPU", f"{name}, {available()} cores" + (f", {width}" if width else "")),
        ("BLAS", _blas_line()),
    ]  # fmt: skip
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        found.append((f"[{extra}]", f"{', '.join(missing)} missing: pip install"
                                    f" 'tinygrad-rnn[{extra}]'" if missing else "installed"))
    shown = [f"{what:14}{value}" for what, value in found]
    return shown + advice()


def advice() -> list[str]:
    """What there is to say about the kernels, if OpenBLAS would choose slow ones by itself."""
    better, given = better_kernels(), os.environ.get("OPENBLAS_CORETYPE")
    if better and given:
        return [f"OPENBLAS_CORETYPE={given} was set: {better} is faster on this CPU."]
    if better or given == BETTER:
        return ["Left alone, OpenBLAS takes AVX2 kernels where it does not know the CPU. The"
                " command line asks\nfor the faster ones; before programs of your own, set"
                f" OPENBLAS_CORETYPE={BETTER}."]  # fmt: skip
    return []


def _blas_line() -> str:
    library = blas()
    if library is None:
        return "not known: pip install threadpoolctl"
    parts = [f"{library['internal_api']} {library['version']}"]
    if library.get("architecture"):
        parts.append(f"{library['architecture']} kernels")
    if "OPENBLAS_CORETYPE" in os.environ:
        parts[-1] += " (OPENBLAS_CORETYPE)"
    return ", ".join([*parts, f"{library['num_threads']} threads"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from a checkout"
