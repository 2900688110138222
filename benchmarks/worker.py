"""One contender in a process of its own, which does what its parent asks on standard input.

Each request is a line of JSON, each answer is one. Between requests the process sleeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import time


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    contender = None
    for line in sys.stdin:
        request = json.loads(line)
        kind = request.pop("kind")
        if kind == "load":
            answer = load(**request)
        elif kind == "start":
            contender = None  # the network of another workload, if there was one
            contender, answer = start(**request)
        else:
            answer = {"time": timed, "memory": peak_memory}[kind](contender, **request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def load(name):
    """Import what the contender needs: the long part, which several may do at a time."""
    if name != "floor":
        importlib.import_module(f".contenders.{name}", __package__)


def start(name, workload, threads):
    """Build the contender, and take one step with dropout off: its loss and its gradients."""
    import numpy as np

    from .workloads import WORKLOADS

    if name == "floor":
        return Products(), {}
    module = importlib.import_module(f".contenders.{name}", __package__)
    if name.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    w = WORKLOADS[workload]
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # what an earlier workload had (glibc)
    base = _status("VmRSS")
    loss, gradients = module.Contender(w, 0.0).loss_and_gradients()
    # A few random projections of each gradient say as much as all of its elements.
    rng = np.random.default_rng(2)
    projected = {}
    for key in sorted(gradients):
        g = np.asarray(gradients[key], dtype=np.float64).ravel()
        projected[key] = [float(np.linalg.norm(g)), *(rng.normal(size=(2, g.size)) @ g).tolist()]
    contender = module.Contender(w, w.dropout)
    contender.base_mb = base
    before = time.perf_counter()
    contender.step()
    first = (time.perf_counter() - before) * 1e3
    for _ in range(getattr(contender, "recorded_at", 1) - 1):
        contender.step()
    return contender, {"loss": float(loss), "gradients": projected, "first_step_ms": first}


def timed(contender, steps):
    """Milliseconds of each step, after one that warms the caches again, where that matters."""
    if steps > 1:
        contender.step()
    times = []
    for _ in range(steps):
        before = time.perf_counter()
        contender.step()
        times.append((time.perf_counter() - before) * 1e3)
    return {"ms": times}


class Products:
    """The arithmetic floor: how many floating-point operations a second NumPy reaches at best."""

    sizes = ((700, 1300, 2600), (700, 650, 10_000), (512, 512, 512), (1500, 1500, 1500))

    def __init__(self):
        import numpy as np

        rng = np.random.default_rng(0)
        self.pairs = [(rng.random((m, k), np.float32), rng.random((k, n), np.float32),
                       np.empty((m, n), np.float32)) for m, k, n in self.sizes]  # fmt: skip

    def step(self):
        import numpy as np

        best = 0.0
        for a, b, out in self.pairs:
            before = time.perf_counter()
            np.matmul(a, b, out=out)
            best = max(best, 2 * a.size * b.shape[1] / (time.perf_counter() - before))
        self.rate = max(getattr(self, "rate", 0.0), best)


def peak_memory(contender, steps):
    """The highest resident memory during some steps, in MB over that of the imports alone.

    ``flops`` instead for the floor. Linux only; elsewhere null.
    """
    if isinstance(contender, Products):
        return {"flops": contender.rate}
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the highest so far
        for _ in range(steps):
            contender.step()
        return {"peak_mb": _status("VmHWM") - contender.base_mb}
    except OSError:
        return {"peak_mb": None}


def _status(key):
    """Memory of this process in MB; 0 where the system does not tell."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))
    except OSError:
        return 0.0


if __name__ == "__main__":
    main()
