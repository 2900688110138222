"""``python -m benchmarks.cells``: cells of one's own, small sizes, long sequences, batches of other
sizes, generation.

Every cell is written once, on whatever has the functions of NumPy that it needs, and trained by
``tg.jit`` and eagerly, by PyTorch eagerly and compiled, and by JAX (``scan`` under ``jit``): loss,
gradients, a step of gradient descent. All run in one process, in turns, after their gradients have
been found equal; with one thread each, where time is that of the CPU but for first calls, or with
``--threads`` of the clock on the wall. Who is not installed is left out, with a word.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__":  # so many threads for everybody, before NumPy is imported
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--threads", type=int, default=1)
    many = early.parse_known_args()[0].threads
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(many)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if many == 1:
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np

import tinygrad_rnn as tg
from models.commands import machine
from models.language import Rnnlm
from models.seq2seq import Seq2seq

RATE = 0.01
THREADS = 1
SIZES = {"N 32, T 64, H 128": (32, 64, 128), "N 8, T 10, H 32": (8, 10, 32)}


# ---- the cells: a is x Wx + b of one step ----


def lstm(m: Any, p: Any, a: Any, h: Any, c: Any) -> Any:
    f, g, i, o = m.split(a + h @ p["Wh"], 4)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def peephole(m: Any, p: Any, a: Any, h: Any, c: Any) -> Any:
    f, g, i, o = m.split(a + h @ p["Wh"], 4)
    c = m.sigmoid(f + p["P"][0] * c) * c + m.sigmoid(i + p["P"][1] * c) * m.tanh(g)
    return m.sigmoid(o + p["P"][2] * c) * m.tanh(c), c


def layer_norm(m: Any, p: Any, a: Any, h: Any, c: Any) -> Any:
    a = a + h @ p["Wh"]
    d = a - m.mean(a)
    f, g, i, o = m.split(d / m.sqrt(m.mean(d * d) + 1e-5) * p["gamma"] + p["beta"], 4)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def minimal_gated(m: Any, p: Any, a: Any, h: Any) -> Any:
    af, an = m.split(a, 2)
    f = m.sigmoid(af + h @ p["Wh"])
    return ((1 - f) * h + f * m.tanh(an + (f * h) @ p["Wn"]),)


def slstm(m: Any, p: Any, a: Any, h: Any, c: Any, n: Any, top: Any) -> Any:
    f, z, i, o = m.split(a + h @ p["Wh"], 4)
    new = m.maximum(f + top, i)
    keep, put = m.exp(f + top - new), m.exp(i - new)
    c, n = keep * c + put * m.tanh(z), keep * n + put
    return m.sigmoid(o) * c / n, c, n, new


# the cell, its gates, the parts of its state
CELLS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "LSTM": (lstm, 4, 2), "peephole": (peephole, 4, 2), "layer norm": (layer_norm, 4, 2),
    "minimal gated": (minimal_gated, 2, 1), "sLSTM": (slstm, 4, 4),
}  # fmt: skip


def weights(kind: str, H: int) -> dict[str, np.ndarray]:
    rng, k = np.random.default_rng(0), CELLS[kind][1]
    shapes = {"Wx": (H, k * H), "b": (k * H,), "Wh": (H, (k if k > 2 else 1) * H)}
    shapes |= {"minimal gated": {"Wn": (H, H)}, "peephole": {"P": (3, H)},
               "layer norm": {"gamma": (k * H,), "beta": (k * H,)}}.get(kind, {})
    drawn = {n: rng.normal(size=s).astype(np.float32) / H**0.5 for n, s in shapes.items()}
    return drawn | ({"gamma": np.ones(k * H, np.float32)} if "gamma" in drawn else {})


def loss_of(m: Any, kind: str, p: Any, x: Any, zeros: Any) -> Any:
    """x (T, N, H), one step after the other."""
    cell, _, parts = CELLS[kind]
    state, hs = (zeros,) * parts, []
    for a in m.unstack(x @ p["Wx"] + p["b"]):
        state = cell(m, p, a, *state)
        hs.append(state[0])
    return m.whole_mean(m.stack(hs) ** 2)


# ---- who runs them: each gives a step, whose result is the loss, and the first gradients ----


def ours(kind: str, w: Any, x: np.ndarray, record: bool) -> Any:
    m = SimpleNamespace(
        split=lambda a, k: np.split(a, k, axis=-1), sigmoid=tg.functional.sigmoid, tanh=np.tanh,
        exp=np.exp, sqrt=np.sqrt, maximum=np.maximum, unstack=np.unstack, stack=np.stack,
        mean=lambda a: np.mean(a, axis=-1, keepdims=True), whole_mean=np.mean)
    p = {n: tg.nn.Parameter(v) for n, v in w.items()}
    descent = tg.optim.SGD(list(p.values()), RATE)
    zeros = np.zeros(x[0].shape, np.float32)

    def step(x: np.ndarray) -> Any:
        loss = loss_of(m, kind, p, x, zeros)
        loss.backward()
        descent.step()
        descent.zero_grad()
        return loss

    loss_of(m, kind, p, x, zeros).backward()
    first = {n: v.grad.numpy().copy() for n, v in p.items()}  # type: ignore[union-attr]
    descent.zero_grad()
    run = tg.jit(step) if record else step
    return (lambda x=x: run(x).item()), first


def torch_ones(kind: str, w: Any, x: np.ndarray, record: bool) -> Any:
    import torch

    torch.set_num_threads(THREADS)
    m = SimpleNamespace(
        split=lambda a, k: torch.chunk(a, k, -1), sigmoid=torch.sigmoid, tanh=torch.tanh,
        exp=torch.exp, sqrt=torch.sqrt, maximum=torch.maximum, unstack=torch.unbind,
        stack=torch.stack, mean=lambda a: a.mean(-1, keepdim=True), whole_mean=torch.mean)
    p = {n: torch.tensor(v, requires_grad=True) for n, v in w.items()}
    zeros = torch.zeros(x[0].shape)

    def loss_at(x: Any) -> Any:
        return loss_of(m, kind, p, x, zeros)

    torch._dynamo.reset()  # which compiles one function so many times, and then no more
    run = torch.compile(loss_at) if record else loss_at

    def step(x: np.ndarray = x) -> float:
        loss = run(torch.from_numpy(x))
        for v, g in zip(p.values(), torch.autograd.grad(loss, list(p.values())), strict=True):
            with torch.no_grad():
                v -= RATE * g
        return loss.item()

    first = torch.autograd.grad(loss_at(torch.from_numpy(x)), list(p.values()))
    return step, dict(zip(p, (g.numpy() for g in first), strict=True))


def jax_ones(kind: str, w: Any, x: np.ndarray) -> Any:
    import jax
    import jax.numpy as jnp

    m = SimpleNamespace(
        split=lambda a, k: jnp.split(a, k, -1), sigmoid=jax.nn.sigmoid, tanh=jnp.tanh, exp=jnp.exp,
        sqrt=jnp.sqrt, maximum=jnp.maximum, mean=lambda a: a.mean(-1, keepdims=True))
    cell, _, parts = CELLS[kind]

    def loss_at(p: Any, x: Any) -> Any:
        def over(state: Any, a: Any) -> Any:
            state = cell(m, p, a, *state)
            return state, state[0]

        zeros = jnp.zeros(x.shape[1:])
        return jnp.mean(jax.lax.scan(over, (zeros,) * parts, x @ p["Wx"] + p["b"])[1] ** 2)

    @jax.jit
    def update(p: Any, x: Any) -> Any:
        loss, g = jax.value_and_grad(loss_at)(p, x)
        return loss, jax.tree.map(lambda v, g: v - RATE * g, p, g)

    held = {n: jnp.asarray(v) for n, v in w.items()}
    first = {n: np.asarray(g) for n, g in jax.grad(loss_at)(held, x).items()}

    def step(x: np.ndarray = x) -> float:
        nonlocal held
        loss, held = update(held, x)
        return float(loss)

    return step, first


CONTENDERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "tg.jit": ("numpy", lambda *a: ours(*a, True)),
    "eager": ("numpy", lambda *a: ours(*a, False)),
    "torch": ("torch", lambda *a: torch_ones(*a, False)),
    "torch.compile": ("torch", lambda *a: torch_ones(*a, True)),
    "JAX": ("jax", jax_ones),
}


def clock(f: Callable[[], Any], timer: Callable[[], float] | None = None) -> float:
    """Seconds: of the CPU where that has one thread, so that what else the machine does is left
    out."""
    timer = timer or (time.process_time if THREADS == 1 else time.perf_counter)
    before = timer()
    f()
    return timer() - before


def training(kind: str, sizes: tuple[int, int, int], names: list[str], rounds: int) -> str:
    """A row: milliseconds of each, their first call in seconds, and ratios to the first."""
    N, T, H = sizes
    w, x = weights(kind, H), np.random.default_rng(1).normal(size=(T, N, H)).astype(np.float32)
    steps: dict[str, Callable[[], Any]] = {}
    firsts, wanted = {}, None
    for name in names:
        steps[name], gradients = CONTENDERS[name][1](kind, w, x)
        wanted = gradients if wanted is None else wanted
        for n, g in gradients.items():
            if np.abs(g - wanted[n]).max() > 1e-3 * np.abs(wanted[n]).max():
                sys.exit(f"{name}, {kind}: the gradient of {n} is another one")
        firsts[name] = clock(steps[name], time.perf_counter)  # compilers are processes
        for _ in range(3):
            steps[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, step in steps.items():
            if THREADS > 1:  # threads of the one before still look for work
                time.sleep(0.1)
            times[name].append(min(clock(step) for _ in range(3 if T > 20 else 20)))
    cells = []
    for name in names:
        ratio = statistics.median(a / b for a, b in zip(times["tg.jit"], times[name], strict=True))
        cells.append(f"{statistics.median(times[name]) * 1e3:.2f} ({ratio:.2f};"
                     f" {firsts[name]:.1f} s)")
    return f"| {kind} | " + " | ".join(cells) + " |"


def long(T: int, names: list[str]) -> str:
    """First call, replay, and the first call with another T, in seconds: LSTM, N 16, H 64."""
    w, rng = weights("LSTM", 64), np.random.default_rng(1)
    x, other = (rng.normal(size=(n, 16, 64)).astype(np.float32) for n in (T, T - 7))
    cells = []
    for name in names:
        step, _ = CONTENDERS[name][1]("LSTM", w, x)
        first = clock(step)
        step()
        again = min(clock(step) for _ in range(3))
        cells.append(f"{first:.2f}, {again:.3f}, {clock(lambda step=step: step(other)):.2f}")
    return f"| {T} | " + " | ".join(cells) + " |"


def model_step(kind: str, record: bool) -> Callable[[int], Callable[[], Any]]:
    """Of a batch size: a training step of a model of this project."""
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    model, V, T, t = (Rnnlm(1000, 100, 100), 1000, 64, 64) if kind == "Rnnlm" else (
        Seq2seq(59, 16, 128), 59, 29, 11)
    adam = tg.optim.Adam(model.parameters(), 0.001)

    def step(xs: np.ndarray, ts: np.ndarray) -> Any:
        loss = model.loss(xs, ts)
        loss.backward()
        adam.step()
        adam.zero_grad()
        if isinstance(model, Rnnlm):
            model.reset_state()
        return loss

    run = tg.jit(step) if record else step
    return lambda N: partial(run, rng.integers(V, size=(N, T)), rng.integers(V, size=(N, t)))


def sizes(kind: str, Ns: list[int]) -> str:
    """The first call with each size of a batch, and the second, in eager steps of this size."""
    warm, eager, recorded = (model_step(kind, how) for how in (True, False, True))
    for N in Ns:  # the loops are compiled before, and kept
        warm(N)(), warm(N)()
    cells = []
    for N in Ns:
        plain, step = eager(N), recorded(N)
        first, second = clock(step), clock(step)
        one = min(clock(plain) for _ in range(5))
        cells.append(f"{first / one:.1f}, {second / one:.1f}")
    return f"| {kind} | {' | '.join(cells)} |"


def by_hand(model: Rnnlm, length: int) -> list[int]:
    """Greedy generation, as one would write it for this model alone."""
    (cell,) = model.recurrent.cells
    Wx, Wh, b, E, W, d = (p.numpy() for p in (cell.Wx, cell.Wh, cell.b, model.embed.W,
                                              model.affine.W, model.affine.b))
    h, c, k, ids = np.zeros((1, len(Wh)), np.float32), np.float32(0), 0, []
    for _ in range(length):
        f, g, i, o = np.split(E[k : k + 1] @ Wx + b + h @ Wh, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        k = int(np.argmax(h @ W + d))
        ids.append(k)
    return ids


def by_torch(model: Rnnlm, length: int) -> list[int]:
    import torch

    (cell,) = model.recurrent.cells
    Wx, Wh, b, E, W, d = (torch.from_numpy(p.numpy()) for p in (
        cell.Wx, cell.Wh, cell.b, model.embed.W, model.affine.W, model.affine.b))
    h = c = torch.zeros(1, len(Wh))
    k, ids = 0, []
    with torch.inference_mode():
        for _ in range(length):
            f, g, i, o = torch.chunk(E[k : k + 1] @ Wx + b + h @ Wh, 4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            k = int(torch.argmax(h @ W + d))
            ids.append(k)
    return ids


def generation(H: int, rounds: int, torch: bool) -> str:
    """Microseconds of a symbol, and over those of the loop by hand."""
    tg.manual_seed(0)
    model, length = Rnnlm(100, H, H), 300
    runs = {"generate": lambda: model.generate(0, length, temperature=0).tolist(),
            "hand": lambda: by_hand(model, length)}
    if torch:
        runs["torch"] = lambda: by_torch(model, length)
    if runs["generate"]() != runs["hand"]():
        sys.exit(f"generation, H {H}: other symbols than by hand")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(min(clock(run) for _ in range(3)) / length)
    cells = []
    for values in times.values():
        ratio = statistics.median(a / b for a, b in zip(values, times["hand"], strict=True))
        cells.append(f"{statistics.median(values) * 1e6:.0f} ({ratio:.2f})")
    return f"| {H} | " + " | ".join(cells) + " |"


def main() -> None:
    machine.tune_blas()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cells", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help="of cells, small, long, sizes, generation (default: all)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CONTENDERS,
                        help="these contenders, and tg.jit")
    parser.add_argument("--kinds", nargs="+", metavar="CELL", choices=CELLS, default=[*CELLS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of everybody (1)")
    parser.add_argument("--long", nargs="+", type=int, default=[1000, 3000], metavar="T")
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 26, 20, 7], metavar="N")
    args = parser.parse_args()
    global THREADS
    THREADS = args.threads
    known = ["cells", "small", "long", "sizes", "generation"]
    rows = args.rows or known
    if unknown := set(rows) - set(known):
        parser.error(f"no row {sorted(unknown)}; there are {', '.join(known)}")
    names = []
    for name, (module, _) in CONTENDERS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name} is left out: {module} is not installed")
        elif name == "tg.jit" or not args.only or name in args.only:
            names.append(name)
    print("\n".join(machine.lines()))
    rule = "|" + "---|" * (len(names) + 1)
    for row, size in zip(("cells", "small"), SIZES, strict=True):
        if row in rows:
            print(f"\n{size}: ms of a step (tg.jit over it; its first call)\n")
            print(f"| cell | {' | '.join(names)} |\n{rule}")
            for kind in args.kinds:
                print(training(kind, SIZES[size], names, args.rounds), flush=True)
    if "long" in rows:
        print("\nLSTM, N 16, H 64: seconds of the first call, of a later one, of another T\n")
        print(f"| T | {' | '.join(names)} |\n{rule}")
        for T in args.long:
            print(long(T, names), flush=True)
    if "sizes" in rows:
        print("\nTraining steps under tg.jit, one size of a batch after the other: first call and"
              " second, in eager steps\n")
        print(f"| N | {' | '.join(map(str, args.sizes))} |\n{'|---' * (len(args.sizes) + 1)}|")
        for kind in ("Rnnlm", "Seq2seq"):
            print(sizes(kind, args.sizes), flush=True)
    if "generation" in rows:
        torch = any(name.startswith("torch") for name in names)
        print("\nRnnlm, V 100, greedy: µs of a symbol (over those by hand)\n")
        print(f"| H | generate | by hand in NumPy |{' torch |' if torch else ''}")
        print("|---|---|---|" + ("---|" if torch else ""))
        for H in (128, 512):
            print(generation(H, args.rounds, torch), flush=True)


if __name__ == "__main__":
    main()
