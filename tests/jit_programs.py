"""Random programs, run as they are and under tg.jit: what differs is a defect.

A program is a function of Python text that edits parameters, arrays that it reaches and its
arguments. It is grown line by line: a line that raises is not taken. Then it runs on two worlds,
one eager and one recorded, call after call; after each call all that came out and all that was
reached must be equal: bit for bit in float64 without compiled loops. tg.jit may refuse a program
(JitError), and then nothing may have happened.

    python tests/jit_programs.py --minutes 60           all modes, until the time is over
    python tests/jit_programs.py --seed 17 --mode exact   one program, said again
"""

import argparse
import collections
import contextlib
import copy
import itertools
import math
import random
import sys
import time
import warnings

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn, optim
from tinygrad_rnn.jit import cut, jitted, lanes, loops, products, table

# dtype, compiled loops, threads, how far numbers may be apart
MODES = {
    "exact": (np.float64, False, 1, 0.0), "lanes": (np.float64, False, 2, 1e-9),
    "single": (np.float32, False, 1, 2e-3), "loops": (np.float32, True, 2, 2e-3),
    "columns": (np.float32, True, 3, 2e-3),  # as loops, and weights are too large for lanes
}  # fmt: skip

# a b c: arrays; t u: Tensors; s: a scalar of NumPy; v: a new name; i: a small number
VIEWS = """
v = a[1:] | v = a[::-1] | v = a.T | v = a.reshape(-1) | v = np.ravel(a) | v = a.swapaxes(0, -1)
v = a[0] | v = a[..., 1] | v = a[:, ::2] | v = a[None] | v = np.atleast_2d(a) | v = a.view()
v = np.moveaxis(a, 0, -1) | v = np.split(a, 2)[0] | v, _ = np.split(a, 2, axis=-1)
v = np.expand_dims(a, axis=i) | v = np.squeeze(a) | v = np.flip(a, axis=0) | v = np.rot90(a)
v = np.lib.stride_tricks.sliding_window_view(a, 2, axis=-1) | v = np.diagonal(a)
v = np.transpose(a=a) | v = np.reshape(a, shape=(-1,)) | v = np.real(a) | v = np.asarray(a)
v = np.broadcast_to(a, (2, *a.shape)) | v = np.broadcast_arrays(a, b)[0] | v = a.squeeze()
v = np.array_split(a, 2)[i - 1] | v = np.asfortranarray(a) | v = np.ascontiguousarray(a)
v = np.nan_to_num(x=a, copy=False) | v = a.astype(a.dtype, copy=False) | v = a.ravel()
v = np.require(a, requirements="C") | v = a.transpose() | v = np.swapaxes(a, axis1=0, axis2=-1)
v = np.atleast_1d(a, b)[1] | v = a[...] | v = np.vsplit(a, [1])[0] | v = np.rollaxis(a, 1)
v = a.flatten() | v = a.copy(order="F") | v = a.repeat(2, 0) | v = a.take([0, 1], axis=0)
""".replace("\n", " | ").split(" | ")  # fmt: skip
EDITS = """
a += 1 | a -= b | a *= 0.5 | a /= 2 | a[0] = b[0] | a[...] = 0.25 | a[1:] += 1 | a[i] *= 2
a[::-1] = a | a[1:] = a[:-1] | a[:, 0] = s | a[i, 0] = s | a[0, 0] += s | a **= 2
np.add(a, b, out=c) | np.tanh(a, out=a) | np.multiply(a, 2, a) | np.maximum(a, 0, out=a)
np.sum(a, axis=0, out=b[0]) | np.sum(a, axis=1, out=c[:, 0]) | np.max(a, axis=0, out=b[i])
np.prod(a, axis=-1, out=b[:, 1]) | np.min(a, axis=0, keepdims=True, out=b[:1])
np.clip(a, -1, 1, out=a) | np.clip(a, -1, 1, out=c) | a.clip(-0.5, 0.5, out=a)
np.mean(a, axis=0, out=c[0]) | np.cumsum(a, axis=0, out=b) | np.matmul(a, b.T, out=c[:, :3])
a.sum(axis=0, out=c[1]) | a.fill(0.5) | a.sort() | a.sort(axis=0) | np.copyto(a, b)
np.copyto(a, b, where=b > 0) | np.add.at(a, 0, 1.0) | np.add.at(a, [0, 0], b[0])
np.put(a, [0, 1], 5.0) | np.fill_diagonal(a, 2.0) | np.place(a, a > 1, 0.5)
np.putmask(a, b > 0, 1.0) | np.nan_to_num(a, copy=False) | np.add(a, 1, out=a, where=b > 0)
a.put([0], 3.0) | a.partition(1) | np.subtract(a, a[0], out=a) | np.add(a[1:], a[:-1], out=a[1:])
np.multiply(a, a.T, out=a) | np.stack([a[0], b[0]], out=c[:2]) | np.negative(x=a, out=c)
np.concatenate([a[:1], b[1:]], out=c) | np.dot(a, b.T, out=c[:, :3]) | np.add(a, b, out=(c,))
np.take(a, [1, 0, 2], axis=0, out=c) | np.cumprod(a, axis=1, out=a) | np.round(a, 1, out=a)
np.nan_to_num(a, False) | a.T[0] = 0.1 | a.reshape(-1)[1] = 0.2 | a.flat[2] = 0.3 | a.flat = 0.1
np.random.default_rng(0).shuffle(a) | W.g.shuffle(a) | a.resize(a.shape) | np.put_along_axis(
a, np.argsort(a), b, -1)
""".replace("np.put_along_axis(\na", "np.put_along_axis(a").replace("\n", " | ").split(" | ")
SCALARS = """
v = np.sum(a) | v = a.max() | v = a[0, 0] | v = np.mean(a) | s += 1 | s *= 2 | v = s | v = -s
v = s * s | v = np.tanh(s) | v = np.sum(a, axis=0)[0] | v = np.add.reduce(a, axis=None) | s -= f
v = np.minimum(s, 0.5) | v = np.dot(a[0], b[0]) | v = np.float32(s) | v = s + f | v = f * s
v = np.array(s) | v = np.asarray(s) | v = np.where(s > 0, s, -s) | v = abs(s) | v = s.copy()
v = s[()] | v = s[...] | v = np.any(a > 0) | v = np.argmax(a) | v = round(s, 2)
v = divmod(s, 2)[1] | v = np.cbrt(s)
v = float(s) | v = f"{s:.2f}" | v = s.astype(np.float64) | v = np.sum(a, keepdims=True)
v = np.vdot(a, b) | v = np.count_nonzero(a > 0) | v = s // 2 | v = s % 2 | v = np.linalg.norm(a)
v = np.ptp(a) | v = s > 0 | v = np.max(a, initial=0.5) | v = np.sum(a, where=b > 0)
""".replace("\n", " | ").split(" | ")
ARRAYS = """
v = a + b | v = a * 0.5 | v = np.tanh(a) | v = a - s | v = f * a | v = a / (1 + np.abs(b))
v = np.where(a > 0, a, b) | v = a @ b.T @ c | v = np.concatenate([a[:2], b[2:]]) | v = a > b
v = np.stack([a, b], axis=1)[:, 0] | v = np.zeros_like(a) | v = np.full_like(a, 0.5)
v = np.cumsum(a, axis=-1) | v = np.sort(a, axis=0) | v = np.take(a, [0, 2, 1], 0) | v = a[[0, 2]]
v = a[np.array([True, False, True])] | v = a[MASK] | a[MASK] = 0.5 | v = a[:2][MASK[:2]]
v = np.sum(a, axis=0) | v = np.mean(a, axis=1, keepdims=True) | v = np.maximum(a, s) | v = -a
v = np.einsum("ij,kj->ik", a, b) | v = np.outer(a[0], b[0]) | v = np.exp(-a * a) | v = abs(a)
v = np.zeros((3, 4), a.dtype) | v = np.ones(a.shape, a.dtype)
v = np.argsort(a, axis=-1) | v = a[np.argsort(a[:, 0])] | v = np.tile(a, 2)[:, :4] | v = +a
v = W.g.normal(size=(3, 4)).astype(a.dtype) | v = W.g.random((3, 4)) < 0.5 | v = a.var(axis=0)
v = np.roll(a, 1, axis=0) | v = np.pad(a, 1)[1:4, 1:5] | v = np.tril(a) | v = np.diff(a, axis=0)
v = np.clip(a, -0.5, s) | v = np.arange(12, dtype=a.dtype).reshape(3, 4) | v = a.astype(np.float32)
v = np.linalg.norm(a, axis=1) | v = np.repeat(a, 2, axis=0)[::2] | v = a.dot(b.T) | v = a ** 2
v = np.hstack([a, b])[:, 2:6] | v = np.vstack((a, b))[1:4] | v = np.meshgrid(a[0], b[0])[0]
v = np.divmod(a, 0.5)[1] | v = np.modf(a)[0] | v = np.apply_along_axis(np.cumsum, 0, a)
v = helper(a, b) | v = outer(a) | v = np.interp(a, [-1.0, 1.0], [0.0, 1.0]) | v = a.cumsum(0)
v = np.searchsorted(np.sort(a[0]), b[0]) | v = np.nan_to_num(a) | v = W.t * a | v = a.mean(0)
v = a.sum(0) - a.sum() | v = np.max(a, axis=0) - np.max(a) | v = np.mean(a, 0) * np.mean(a, 1)[:1]
v = np.array([s, s]) | v = np.array([a, b])[0] | v = np.copy(a) | v = np.frexp(a)[0] | v = ~(a > 0)
""".replace("\n", " | ").split(" | ")
TENSORS = """
v = W.p * a | v = t * u | v = t + a | v = np.tanh(t) | v = t[0:2] | v = t.reshape(-1) | v = t.T
v = np.split(t, 2, axis=-1)[0] | v = np.sum(t, axis=0) | v = t[0] | v = t[::-1] | v = t.detach()
v = t @ u.T | v = np.concatenate([t, u]) | v = F.sigmoid(t) | v = F.softmax(t) | v = t * s
v = np.where(a > 0, t, 0.0) | v = np.stack([t, u])[1] | v = t.swapaxes(0, -1) | v = np.copy(t)
v = np.zeros_like(t) | t[0] = 0.0 | t[0] = u[0] | t[:, 1] = u[:, 1] * 2 | t[i] = a[0] | t *= 2
t += u | t -= a | v = t.data | v = t.data[0:2] | t.data *= 0.5 | t.data[0] = 0.5 | v = t.numpy()
v = W.p.reshape(2, 6) | v = W.p[0:2] | v = W.p.T | v = W.q.data | v = np.split(W.p, 3)[1]
v = F.dropout(t, 0.5, True) | v = nn.Dropout(0.5)(t) | v = W.cell(t, t)[..., :3] | v = t.copy()
v = F.layer_norm(t, W.one, W.nought) | v = np.maximum(t, 0) | v = np.max(t, axis=0) | v = t.mean()
v = tg.Tensor(a) | v = W.cell(tg.Tensor(a), tg.Tensor(b)) | v = t ** 2 | v = np.sqrt(t * t + 1)
for k in range(3): t = np.tanh(t * W.p) | v = functools_sum([t[k] for k in range(3)])
hs = []; h = tg.Tensor(a) * 0\nfor k in range(4): h = W.cell(tg.Tensor(a), h); hs.append(h)
v = np.stack(hs, axis=1) | v = hs[-1] * t | v = np.mean(t) | v = np.sum(t) | t[...] += 1
v = F.cross_entropy(t, [0, 1, 2]) | v = F.cross_entropy(t + W.nought, np.argmax(a, axis=-1))
v = F.embedding(W.p, np.array([0, 2, 0])) | v = F.layer_norm(t, W.one, W.nought) * a
v = F.embedding(W.table, np.argmax(a, axis=-1)) | v = W.out(t) | v = np.concatenate([t, u], axis=0)
v = (F.embedding(W.p, np.argsort(a, axis=-1) % 3) @ W.cell.Wx)[:, 1] | v = (t - u)[:, i : i + 2]
v = F.cross_entropy(W.out(t), [0, 1, 2])
""".replace("\n", " | ").replace("\\n", "\n    ").split(" | ")
STEPS = """
backward(t) | backward(np.tanh(t))
v = F.cross_entropy(W.out(t), [0, 2, 1]); v.backward() | W.p.data -= W.p.grad.data
v = F.cross_entropy(W.out(t), np.argmax(a, axis=-1)); v.backward(); W.held[0] = v.data
v = F.cross_entropy(W.out(t), [2, 1, 0]); (v * v).backward(); W.held[0] = v.data
W.opt.step() | W.opt.zero_grad() | W.p.grad = None
W.p.data *= 0.9 | W.p.data -= 0.1 * a | W.p.data[0] = 0.5 | W.p.grad.data *= 0.5
optim.clip_grad_norm_(W.opt.params, 0.25) | v = W.p.grad | v = W.p.grad.data | W.held += a
v = optim.clip_grad_norm_(W.opt.params, 1.0) | v = tg.grad(np.sum(t * t), W.p, allow_unused=True)
W.held[0] = s | W.held = W.held * 0.5 | W.t = t.detach() | W.t.data[0] += 1 | v = W.held
v = W.held[1:] | v = W.pair[0] | W.pair[1] += a | W.number = f | W.h.append(a) | v = W.pair
v = W.opt.state[0] | W.opt.lr *= 0.5 | x += 1 | y[0] = 0.5 | v = x[1:] | v = y.T | W.q.data = t
W.q.data[...] = a | v = W.q * t | v = W.pair[0][::2] | W.window[0] += 1 | v = W.window[1] * 2
W.opt.step() | W.held[...] = np.sum(a, axis=0)
W.kept = a | W.kept = t.detach() | W.q.data += W.held | v = W.scalar * a | W.scalar += 1
""".replace("\n", " | ").split(" | ")
BLOCKS = """
with np.errstate(all="ignore"): | with np.errstate(divide="raise"): | with tg.no_grad():
for k in range(2): | for k in range(3): | if f > 0: | if x.shape[0] == 3: | def inner(a=a):
with contextlib.suppress(FloatingPointError), np.errstate(divide="raise"): | try:
""".replace("\n", " | ").split(" | ")
KINDS = [(VIEWS, 5), (EDITS, 5), (SCALARS, 3), (ARRAYS, 5), (TENSORS, 6), (STEPS, 5)]
# what was always refused: in a few programs only, so that most are compared
RARE = """
v = np.asarray(a) | v = np.asfortranarray(a) | v = np.ascontiguousarray(a) | a.flat[2] = 0.3
v = np.require(a, requirements="C") | a.flat = 0.1 | a.resize(a.shape) | W.g.shuffle(a)
np.random.default_rng(0).shuffle(a) | v = np.array(s) | v = np.asarray(s) | v = round(s, 2)
v = np.float32(s) | v = float(s) | v = f"{s:.2f}" | v = np.array([s, s]) | v = np.array([a, b])[0]
W.window[0] += 1 | W.h.append(a) | W.scalar += 1 | if f > 0:
""".replace("\n", " | ").split(" | ")
# arrays that the function makes, fills, and makes of others; masks of masks
MADE = """
v = np.array([s, s]) | v = np.array([a, b])[0] | v = np.zeros((3, 4)); v[:, 0] = a[:, 0]
v = np.array([s, 0.5, f]) | v = np.array([a[0], b[0]], a.dtype) | v = np.asarray(t.detach())
v = np.array(t.detach()) | v = np.full(a.shape, s) | v = np.empty((2, *a.shape)); v[...] = a
v = np.asarray(a, np.float32) | v = np.array(a, order="F") | v = x[~MASK[: len(x)]]
v = np.asarray(a) | v = np.asfortranarray(a) | v = np.ascontiguousarray(a) | v = np.array(s)
v = np.require(a, requirements="C") | v = np.asarray(s) | v = a[:2][MASK[:2] & MASK[1:]]
v = np.ones(a.shape, a.dtype); v *= a | v = np.zeros(4); v[i] = s | v = np.array([W.t.data, a])
v = np.zeros((2, 3, 4), a.dtype)\nfor k in range(2): v[k] = np.tanh(a * k)
if np.zeros(2).sum() == 0: a[...] = np.asarray(b) | np.asarray(a)[0] = 0.5 | v = np.array([[s, f]])
np.asarray(a)[...] = np.array(b) | v = np.concatenate([np.zeros((1, 4)), a[:1]])
""".replace("\n", " | ").replace("\\n", "\n").split(" | ")
MADE = tuple([line.strip() for line in MADE if line.strip()])
KINDS = [(tuple(line for line in map(str.strip, lines) if line), n) for lines, n in KINDS]
BLOCKS = [line.strip() for line in BLOCKS if line.strip()]

SPACE = """
MASK = np.array([[True, False, True, True], [False] * 4, [True] * 4])

def helper(a, b):
    c = a + b
    c[0] = b[0]
    a = a[1:]
    return c[1:] * a

def outer(a):
    total = np.zeros_like(a)
    def add(k):
        nonlocal total
        total = total + a * k
        return total
    for k in range(3):
        add(k)
    return total

def functools_sum(parts):
    total = 0
    for part in parts:
        total = total + part
    return total

def backward(t):
    loss = np.sum(t * t)
    loss.backward()
"""


class Counting(nn.RNNCell):
    """Does something of its own in late steps."""

    seen = ()

    def step(self, a, h):
        if isinstance(self.seen, list):
            self.seen.append(None)
        return super().step(a, h * 0.5 if len(self.seen) > 11 else h)


class World:
    """What a program can reach, besides its arguments."""

    def __init__(self, seed, dtype):
        rng = np.random.default_rng(seed)
        tg.manual_seed(seed)

        def array(*shape):
            return rng.normal(size=shape).astype(dtype)

        self.p, self.q = nn.Parameter(array(3, 4)), nn.Parameter(array(3, 4))
        self.one, self.nought = nn.Parameter(np.ones(4, dtype)), nn.Parameter(np.zeros(4, dtype))
        self.table = nn.Parameter(array(16, 4))
        self.cell = nn.RNNCell(4, 4, dtype=dtype, rng=rng)
        self.out = nn.Linear(4, 4, dtype=dtype, rng=rng)
        params = [self.p, self.q, self.one, *self.cell.parameters(), self.table,
                  *self.out.parameters()]
        kinds = [lambda p: optim.SGD(p, 0.1), lambda p: optim.Momentum(p, 0.1),
                 lambda p: optim.Adam(p, 0.1, eps=0.1), lambda p: optim.AdamW(p, 0.1, eps=0.1)]
        self.opt = kinds[seed % len(kinds)](params)
        self.held, self.pair = array(3, 4), [array(3, 4), array(3, 4)]
        self.t = tg.Tensor(array(3, 4))
        self.big = array(6, 4)
        self.window = [self.big[1:4], self.big[2:5]]
        self.kept, self.number, self.h, self.scalar = None, 0.5, [], dtype(1.5)
        self.g = np.random.default_rng(seed)
        self.layer = nn.Recurrent(Counting(4, 4, dtype=dtype, rng=rng))

    def all(self):
        """Everything, in order."""
        params = [("p", self.p), ("q", self.q), ("one", self.one), ("nought", self.nought)]
        params += [("table", self.table)]
        for part in ("cell", "out"):
            params += getattr(self, part).named_parameters()
        for name, p in params:
            yield name, p
            yield f"{name}.grad", p.grad
        for i, state in enumerate(self.opt.state):
            yield from ((f"opt.{i}.{k}", v) for k, v in state.items())
        yield from (("opt.lr", self.opt.lr), ("opt.steps", self.opt.steps))
        for name in ("held", "pair", "t", "big", "window", "kept", "number", "h", "scalar"):
            yield name, getattr(self, name)
        yield "generator", str(self.g.bit_generator.state)


class Program:
    """Lines of one or two functions on one world, and the calls."""

    kinds, refused, said = KINDS, RARE, "x, y, f"

    def __init__(self, seed, dtype):
        self.seed, self.dtype = seed, dtype
        self.random = random.Random(seed)
        self.rare = self.random.random() < 0.15
        self.functions = [self.grow() for _ in range(1 + (self.random.random() < 0.3))]
        self.calls = self.plan()

    def grow(self):
        rng, space = self.random, space_of(World(self.seed, self.dtype))
        x, y, f = self.arguments(0, 3, "C")
        space.update(x=x, y=y, f=f, a0=space["W"].held, t0=space["W"].p * x)
        lines, rare = ["t0 = W.p * x", "a0 = W.held"], self.rare
        for n in range(rng.randint(3, 24)):
            kinds, weights = zip(*self.kinds, strict=True)
            line = rng.choice(rng.choices(kinds, weights)[0])
            if line in self.refused and not rare:
                continue
            line = self.named(line, space, n)
            if line is None:
                continue
            if rng.random() < 0.06 and "\n" not in line:
                head = rng.choice([head for head in BLOCKS if rare or head not in RARE])
                tail = {"try": "\nexcept FloatingPointError:\n    pass",
                        "def": "\ninner()"}.get(head[:3], "")
                line = f"{head}\n    {line}{tail}"
            try:
                with np.errstate(all="raise"):
                    exec(line, space)
            except Exception:
                continue
            lines.append(line)
        names = [k for k, v in space.items() if k[0] in "vt" and k[1:].isdigit()]
        rng.shuffle(names)
        return lines, names[: rng.randint(1, 6)]

    def named(self, line, space, n):
        """The line with names of things that there are."""
        rng = self.random
        arrays = [k for k, v in space.items() if isinstance(v, np.ndarray) and v.ndim > 0
                  and k not in ("_", "__builtins__") and v.dtype.kind == "f"]
        tensors = [k for k, v in space.items() if isinstance(v, tg.Tensor) and v.ndim > 0]
        scalars = [k for k, v in space.items() if isinstance(v, np.generic)] or ["f"]
        old = [k for k in space if k[0] == "v" and k[1:].isdigit()]
        new = rng.choice(old) if old and rng.random() < 0.1 else f"v{n}"
        # those of late are read more often
        def pick(names):
            return rng.choice(names[-4:] if rng.random() < 0.6 else names)

        chosen = {}
        words = tokens(line)
        for i, word in enumerate(words):
            if word in ("a", "b", "c", "t", "u", "s", "v", "i") and (
                    i == 0 or words[i - 1] not in (".", '"')) and not keyword(words, i):
                if word not in chosen:
                    chosen[word] = {"a": arrays, "b": arrays, "c": arrays, "t": tensors,
                                    "u": tensors, "s": scalars}.get(word)
                    chosen[word] = pick(chosen[word]) if chosen[word] else None
                    if word == "v":
                        chosen[word] = new
                    elif word == "i":
                        chosen[word] = str(rng.randint(0, 2))
                if chosen[word] is None:
                    return None
                words[i] = chosen[word]
        return "".join(words)

    def plan(self):
        """Which function, which data, rows, order; and what happens before the call."""
        rng, calls = self.random, []
        orders = ["C"] * 6 + ["F", "step"] + ["window"] * self.rare
        for _ in range(rng.randint(4, 8)):
            calls.append((rng.randrange(len(self.functions)), rng.randint(0, 3),
                          rng.choice([3] * 8 + [2, 4]),
                          rng.choice(orders),
                          rng.choice([None] * 6 + ["eager", "lr", "edit", "grad", "seed"])))
        if rng.random() < 0.3:  # the proof sees the same values twice
            calls[:0] = [(0, 0, 3, "C", None)] * 2
        return calls

    def arguments(self, data, rows, order):
        rng = np.random.default_rng((self.seed, data))
        f = 0.5 if data % 2 else 0.75
        big = rng.normal(size=(10, 8)).astype(self.dtype)
        if order == "window":  # they overlap
            return big[0:rows, :4], big[1 : rows + 1, :4], f
        if order == "step":
            return big[:rows, ::2], big[rows : 2 * rows, ::2][::-1], f
        x, y = (rng.normal(size=(rows, 4)).astype(self.dtype) for _ in range(2))
        return (np.asfortranarray(x), np.asfortranarray(y), f) if order == "F" else (x, y, f)

    def source(self, k):
        lines, names = self.functions[k]
        body = "\n".join(lines).split("\n")
        text = "\n".join(f"    {line}" for line in body)
        back = ", ".join(names) + "," * (len(names) == 1) or "None"
        return f"def step{k}({self.said}):\n{text}\n    return {back}\n"

    def __str__(self):
        return "\n".join([*(self.source(k) for k in range(len(self.functions))),
                          *(f"# call {c}" for c in self.calls)])


def tokens(line):
    words, word = [], ""
    for c in line:
        if c.isalnum() or c == "_":
            word += c
        else:
            if word:
                words.append(word)
            words.append(c)
            word = ""
    return [*words, word] if word else words


def keyword(words, i):
    """Whether a name is that of a parameter, or of something in quotes."""
    after = words[i + 1 : i + 3]
    return (after[:1] == ["="] and after[1:] not in (["="], [" "]) and i > 0
            and words[i - 1] in ("(", " ") and "(" in words[:i]) or '"' in words[max(0, i - 3) : i]


def space_of(world):
    space = {"np": np, "tg": tg, "nn": nn, "F": F, "optim": optim, "contextlib": contextlib,
             "math": math, "W": world, "__name__": "__main__"}
    exec(SPACE, space)
    return space


class Made(Program):
    """Programs that make arrays."""

    kinds = (*KINDS, (MADE, 9))
    refused = tuple([line for line in RARE if line not in MADE])


class Loops(Program):
    """One function with loops over x (N, T, 4), of which T is the rows of a call; N is 3, so that
    what is made of parameters fits, or larger, so that rows are shared among cores."""

    tried = ((1, 5),)  # with which data and rows lines are tried

    def grow(self):
        rng = self.random
        self.N = rng.choice([3, 3, 5, 6])
        lines = ["hs, total, n = [], 0.0, x.shape[1]", "h = c = tg.Tensor(x[:, 0]) * 0",
                 "a, out = x[:, 0] * 0, np.zeros_like(x)", "z = tg.Tensor(x)"]
        if rng.random() < 0.3:
            lines.append("z = F.embedding(W.p, np.argmax(y, -1) % 3) @ W.cell.Wx")
        learns = rng.random() < 0.3
        if learns:
            lines += ["for t in range(n): h = W.cell(x[:, t], h); hs.append(h)",
                      "z = W.out(np.stack(hs).reshape(-1, 4))",
                      "loss = F.cross_entropy(z, np.argmax(y, -1).T.reshape(-1))",
                      "(loss * loss).backward()" if self.seed % 4 == 3 else "loss.backward()"]
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
            lines = self.longer(lines, [rng.choice(LOOPS)], BODIES, rng.randint(1, 7), "    ")
            lines = self.longer(lines, [], AFTER, rng.randint(0, 5), "")
        names = ["h", "c", "a", "out", "total", "z", "x[:, 0]", *["loss"] * 2 * learns]
        rng.shuffle(names)
        return lines, names[: rng.randint(1, 5)]

    def longer(self, lines, head, vocabulary, n, indent):
        """With n lines more, of which each one works."""
        body = []
        for _ in range(n):
            line = self.filled(self.random.choice(vocabulary))
            text = "\n".join([*lines, *head, *(f"{indent}{one}" for one in (*body, line))])
            if all(self.works(text, *data) for data in self.tried):
                body.append(line)
        return [*lines, *head, *(f"{indent}{line}" for line in body)] if body else lines

    def filled(self, line):
        return line.replace("@", str(self.random.randint(1, 3)))

    def works(self, text, data, rows):
        """Whether it does not raise."""
        names, given = self.said.split(", "), self.arguments(data, rows, "C")
        space = space_of(World(self.seed, self.dtype))
        try:
            with np.errstate(all="raise"):
                exec(text, {**space, **dict(zip(names, given, strict=True))})
        except Exception:
            return False
        return True

    def plan(self):
        lengths = [24] * 5 + [21, 30, 18] if self.random.random() < 0.6 else [18, 12, 15, 19, 17]
        return [(k, data, self.random.choice(lengths), order, before)
                for k, data, _, order, before in super().plan()]

    def arguments(self, data, rows, order):
        rng = np.random.default_rng((self.seed, data))
        x, y = (rng.normal(size=(self.N, rows, 4)).astype(self.dtype) for _ in range(2))
        return np.asfortranarray(x) if order == "F" else x, y, 0.5 if data % 2 else 0.75


class Batches(Loops):
    """The same, on batches of many sizes, some of several lengths, too."""

    def grow(self):
        self.Ts = self.random.choice([[2], [8], [13], [22], [13, 17, 15], [24, 21]])
        return super().grow()

    def plan(self):
        sizes = [5] * 4 + [6, 7, 9, 12, 2, 1]
        self.random.shuffle(sizes)
        return [(k, data, sizes[self.random.randrange(5)], order, before)
                for _ in range(2) for k, data, _, order, before in Program.plan(self)]

    def arguments(self, data, rows, order):
        rng = np.random.default_rng((self.seed, data))
        size = rows, self.Ts[data % len(self.Ts)], 4
        x, y = (rng.normal(size=size).astype(self.dtype) for _ in range(2))
        return np.asfortranarray(x) if order == "F" else x, y, 0.5 if data % 2 else 0.75


LOOPS = """
for t in range(n): | for t in range(n): | for t in range(n): | for t in reversed(range(n)):
for t in range(1, n): | for t in range(n - 1): | for u in list(hs):
for t, u in enumerate(list(hs)): | for t in range(0, n, 2): | for u in hs[::-1]:
for u in tg.Tensor(x).swapaxes(0, 1):
for t in (0, 1): | for u, w in zip(x.swapaxes(0, 1), y.swapaxes(0, 1)):
""".replace("\n", " | ").split(" | ")
BODIES = """
h = W.cell(tg.Tensor(x[:, t]), h) | h = np.tanh(h * W.p + x[:, t]) | h = W.cell(u, h)
h = W.cell(h, c) | h = W.cell(x[:, t], h); hs.append(h)
c = F.sigmoid(h) * c + x[:, t] | hs.append(h) | hs.append(c * 0.5)
hs.append(h) | total = total + np.sum(h * c) | z[:, t] = h | out[:, t] = a
out[:, t] += x[:, t] * f | h = u * W.p + h | a = a * 0.5 + x[:, t] | a += x[:, t]
np.tanh(a, out=a) | a[0] = y[1, t] | a[@ - 1:] *= 0.9 | np.add(a, y[:, t], out=out[:, t])
c = np.maximum(c, h) | h = np.where(y[:, t] > 0, h, c) | h = F.dropout(h, 0.5, True)
h, c = c, h | h = h.detach() | h = h + hs[-@] | h = h * 0.5 + hs[0] | h = h + hs[t // 2]
h = h * (t + 1) | h = np.concatenate([h[:1], c[1:]]) | a = a @ W.q.data[:, :3].T @ a
W.held += x[:, t] * 0.1 | W.held[0] = a[0] | W.p.data *= 0.99 | W.t = h.detach()
W.pair[@ - 1] += a | h = F.softmax(h) + c | h = F.layer_norm(h, W.one, W.nought)
h = np.stack([h, c])[@ - 1] | h = -h | total = total + F.cross_entropy(h, [0, 1, 2])
h = h - np.mean(h, axis=-1, keepdims=True) | backward(h); h = h.detach() | W.opt.step()
a = a + W.g.normal(size=(3, 4)).astype(a.dtype) | h = h * np.float32(0.5)
k = x[:, t]; k[0] = 0.25 | x[:, t] *= 0.5 | out[:, n - 1 - t] = a | a = a.T.T
h = h + x[:, max(t - 1, 0)] | h = h + x[:, n - 1 - t] | a = a + out[:, t - 1] | z[:, t] += c
c = h * 1 | a = np.roll(a, 1, axis=0) | a = a / np.maximum(1, np.linalg.norm(a))
h = z[:, t] * h | h = np.tanh(z[:, t] + h @ W.cell.Wh)
v = h; h = v * 2 | f = f * 0.9 | a = a * f | h = h * c[:, :1]
a = np.minimum(a, y[:, t]) | h = np.split(h, 2, axis=-1)[0] @ (W.q[:2])
a = np.clip(a + 1, -0.5, 0.5) | h = F.embedding(W.p, np.argmax(y[:, t], -1) % 3) * h
h = h if t % 2 else h * 0.5 | h = h if t else h * 0.5 | h = h if t < 17 else h * 0.5 | h = h / n
""".replace("\n", " | ").split(" | ")
AFTER = """
z = np.stack(hs, axis=1) | z = np.stack(hs) | z = np.stack(hs); np.sum(z * z).backward()
z = np.concatenate(hs, axis=-1) | z = F.softmax(z)
loss = np.mean(h * h) | loss = np.mean(z * z) | loss = np.sum(z * c[:, None])
loss = total * 1.0 | loss = F.cross_entropy(z.reshape(-1, 4), np.argmax(y, -1).reshape(-1))
loss.backward() | loss.backward() | np.sum(h * c).backward() | np.mean(z).backward()
W.opt.step() | W.opt.zero_grad() | optim.clip_grad_norm_(W.opt.params, 0.5) | x *= 0.5
x[:, -1] = 0.0 | out = out * x.shape[1] | out = np.cumsum(out, axis=1) | total = total / n
h = sum(hs) | a = np.sum(out, axis=1) | W.kept = h.detach() | z = z @ W.q.T
z = W.cell(z[:, 0], h) | W.held += a | hs = hs[::-1] | hs = hs[1:] | hs = []
v = np.arange(n, dtype=a.dtype) | out = out * np.arange(n, dtype=a.dtype)[:, None]
h = hs[n // 2] * h | loss = np.mean(z[:, 1:]) | out = np.ones((3, n, 4), a.dtype) * out
out = out / np.full(n, n)[:, None]
""".replace("\n", " | ").split(" | ")
# how a program asks for N and T; E: a number that it makes of them, I: an int
ASKED = """
N, T = x.shape[:2] | N, T, _ = x.shape | N = len(x); T = x.shape[1] | N, T = np.shape(y)[:-1]
N = lengths.size; T = y.shape[-2] | N = x[:, 0].shape[0]; T = x.size // N // 4 | N, T, D = y.shape
N = sum(1 for _ in x); T = len(x.swapaxes(0, 1)) | T = tg.Tensor(x).shape[1]; N = len(tg.Tensor(y))
N = lengths.nbytes // 8; T = x[0].nbytes // x[0, 0].nbytes
N, T = (len(np.zeros(x.shape[:-1])), np.zeros_like(x[0]).shape[0])
T = x.strides[0] // x.strides[1]; N = len(lengths) | N, T = map(len, (x, x[0]))
N, T = np.size(x, 0), np.size(x, 1) | T = x.shape[1] | T = y.shape[1] | T = len(x[0]) | N = len(x)
N = x.shape[0] | D = x.shape[-1] | H = W.one.shape[0] | pass
""".replace("\n", " | ").split(" | ")
INTS = """
@ | 4 * @ | T | N | T | N | T - 1 | N - 1 | T // 2 | N // 2 | T % 3 | N % 2 | -(-T // 4) * 4
(T + 1) // 2 | min(T, 5) | max(N, 4) | T - T // 3 | 2 * N | T - @ | int(np.sqrt(T)) | abs(T - 8)
T - 1 if T > 6 else 2 | np.arange(T)[-1] | len(range(0, T, 2)) | x[:, ::2].shape[1] | T.bit_length()
max(T - 9, 0) | (N > 4) + 1
""".replace("\n", " | ").split(" | ")
NUMBERS = """
1 / T | 1 / N | 1.0 / (N * T) | np.sqrt(T) | N ** -0.5 | float(T) | T / N | 0.1 * T | T * N - 1
np.float32(N) | math.log(T + 1) | 1 - 1 / N | (T > 6) * 0.5 | 2 / (N + 1) | -N | np.float64(1 / T)
0.9 ** T | len(hs) + 1 | z.shape[-2] | x.size | 1e-3 / len(y) | np.log1p(N) | min(1, N / 6)
""".replace("\n", " | ").split(" | ")
SIZED = """
h = h * E | c = h + E | total = total + E | total = total + np.sum(h) * E | a = a / (E + 1.5)
a = np.where((lengths > I)[:, None], E, a) | h = np.where((lengths > I)[:, None], h * E, c)
a = x[np.arange(N), np.minimum(lengths, T - 1)] | a = a + np.minimum(lengths, I)[:, None]
a = x[np.arange(N), lengths % T] | a = y[np.clip(lengths, 0, N - 1), -1] | a = a * (lengths // I)[0]
mask = np.arange(T) < lengths[:, None]; out = np.where(mask[..., None], x, E)
z = z * mask[..., None] | v = np.minimum(lengths, I) / E; a = a + v[:, None]
out = out + np.linspace(0, 1, T)[:, None]
a = np.sum(x * (np.arange(T) < np.minimum(lengths, I)[:, None])[..., None], axis=1) / T
a = np.sum(out[:, :I], axis=1) | a = np.sum(x[:, I:], axis=1) | a = np.mean(x[:, -I:], axis=1)
out[:, I:] *= 0.5 | out[:, :I] = x[:, :I] | a = x[:, I] | a = a + x[I] | out[I] = 0.5
a[: N // 2] *= 2 | a = np.full((N, 4), E) | a = a + np.arange(N)[:, None] % 3
a = np.zeros((N, 4)) + a | v = np.arange(I) | out = np.roll(x, I, axis=1)
out = np.pad(x, ((0, 0), (I, 0), (0, 0)))[:, :T] | a = a[np.arange(N) - 1]
out = np.pad(x, ((0, 0), (0, -T % 4), (0, 0))).reshape(N, -1, 4, 4).mean(axis=2)
out = np.tril(np.ones((T, T))) @ out | out = np.where(np.tri(T, T, I, bool), 0.5, E) @ x
out = x.reshape(N * T, 4).reshape(N, T, 4) | a = x.reshape(N, -1)[:, :4] | out = np.repeat(a, T, 0)
out = np.tile(a[:, None], (1, T, 1)) | out = np.concatenate([x[: N // 2] * 2, x[N // 2 :]])
a = np.stack(np.split(x, [I], axis=1)[0].swapaxes(0, 1)).sum(0) | out = np.eye(T) @ x
a = np.diff(x, 1, 1)[:, I] | z = z + W.table[:T] | z = z * W.table.data[I : I + 1]
h = h + W.table[:N] | h = h * W.table[I] | z = F.embedding(W.table, np.arange(T) % 16) + z
a = a + W.held[N % 3] | W.held[T % 3] += E | W.pair[T % 2] *= 0.5
W.number = W.number * 0.9 + 0.1 * E | W.number += N | W.held += E | a = a * W.number
h = h @ W.q[: min(N, 3)].T @ W.q[: min(N, 3)] | a = np.sort(x, axis=1)[:, T // 2]
a = a + np.max(lengths) % E | a = np.partition(x, T // 2, axis=1)[:, T // 2]
a = a + np.argmax(x, axis=1) / T | a = np.minimum(a, E) | loss = np.sum(z * z) / (N * T)
loss = np.sum(h * h) * E | loss = np.sum(h) / lengths.sum()
loss = np.sum(z * np.minimum(lengths, I)[:, None, None]) / E | loss = np.mean(h * E)
loss = F.cross_entropy(h, np.minimum(lengths, I) % 4)
loss = F.cross_entropy(z[..., 0], lengths % T)
loss = F.cross_entropy(z.reshape(-1, 4), np.minimum(np.argmax(y, -1), I).reshape(N * T))
loss = F.binary_cross_entropy_with_logits(h, (lengths > I)[:, None] * np.ones((N, 4))) * E
loss = loss / E | (h * h).sum().backward(); W.cell.b.data -= 1e-4 / N * W.cell.b.grad.data
loss.backward(); W.q.data -= 1e-3 * E * W.q.grad.data; W.q.grad = None | x[:, I:] = 0.0
h = F.scaled_dot_product_attention(h[:, None], z, z, mask[:, None])[0][:, 0]
h = np.sum(F.softmax(np.where(mask, z[..., 0], -9.0))[..., None] * z, axis=1) | h = h[: N - 1 or 1]
z = z[:, : T - 1] * z[:, 1:] | z = np.stack([z[:, k] * (k + 1) / T for k in range(T)], axis=1)
z = np.std(z, axis=1) * z[:, 0] | out = np.median(x, axis=1)[:, None] * x
h = h * np.var(z, axis=0)[-1] | a = np.array_split(x, 2, axis=1)[0].sum(1)
z = np.matmul(z @ z.swapaxes(1, 2), z) | h = h @ h.T @ h
a = np.take(x, [0, 5, -1], axis=1, mode="clip").sum(1)
h = np.array_split(z, 3, axis=1)[1].sum(axis=1) | z = F.scaled_dot_product_attention(z, z, z)[0]
h = z[:, -1] - np.mean(z, axis=1) | a = x[:, :16].sum(1) | a = x[:, 1:-1].sum(axis=1)
z = z[:, ::2] | z = z - np.mean(z, axis=(0, 1)) | a = np.cumsum(x, 1)[:, -1]
loss = F.cross_entropy(z.reshape(-1, 4), np.argmax(y, -1).reshape(-1)) | loss = np.mean(h * h)
h = np.einsum("ntd,nt->nd", z, np.ones_like(x[..., 0])) | a = np.percentile(x, 30, axis=1)
if N % 2: h = h * 0.5 | if T > 6: a = a * E | if I > 3: out = out * E
h = F.dropout(h, min(0.5, 1 / T), True)
W.layer.cells[0].seen = []; z = W.layer(z)[0]; W.layer.cells[0].seen = []
W.layer.cells[0].seen = []; h = W.layer(x)[1]; W.layer.cells[0].seen = [] | z = W.layer(z)[0] * f
""".replace("\n", " | ").split(" | ")
# K and L: N and T of the first call, as literals, mostly where they meet no row
LITERALS = """
total = total + np.sum(np.ones((K, 4)) * f) | total = total + np.sum(np.arange(K) * f)
total = total + np.sum(np.full((4, K), 0.5) * f) | total = total + f * np.sum(x.reshape(K, -1)[0])
total = total + np.sum(np.ones((K, L)) @ np.ones((L, 4)) * f) | total = total + np.zeros(L) + f
total = total + f * np.sum(np.concatenate([a, np.ones((K, 4))])) | c = c + np.sum(np.arange(L)) * f
total = total + f * np.sum(np.broadcast_to(a[0], (K, 4))) | out = out + f * np.ones((K, 1, 1)).sum()
total = total + f * np.sum(np.repeat(tg.Tensor(a)[:1], K, 0)) | a = a + f * np.full_like(a, K).sum()
total = total + f * np.sum(np.ones((K, 1)) * a[0]) | a = a + f * np.sum(np.outer(np.ones(L), a[0]))
z = z + f * np.sum(np.cumsum(np.ones(K) * f)) | z = z + f * np.sum(np.ones((L, 1)) * x[0, :1])
total = total + f * np.sum(x[np.arange(K) % 2, 0]) | a = a + f * np.sum(np.ones_like(a.T) * f)
total = total + f * np.sum(F.dropout(tg.Tensor(np.ones((K, 4))), 0.5, True))
total = total + f * np.sum(np.tile(tg.Tensor(a)[0], (K, 1))) | h = h + np.full_like(a, 1 / K) * f
v = np.zeros((K, 4)); v[...] = a[0]; total = total + np.sum(v) * f | h = h * np.ones((K, 1)).mean()
v = np.zeros_like(a, shape=(L, 4)); v[...] = a[0]; total = total + np.sum(v) * f
loss = loss + f * np.sum(np.ones((K, 1)) * z[0, 0]) | loss = loss + f * np.mean(np.ones((K, L)) * f)
loss = np.mean(z * f) | loss = np.mean(z) * f | loss = np.sum(h) * f | z = z * np.sqrt(K) * f + z
""".replace("\n", " | ").split(" | ")
IN_STEPS = """
h = h * (t + 1) / T | h = h if t < I else h * 0.5 | h = np.where((t < lengths)[:, None], h, c)
h = h + E if t == I else h | h = h + f * (t % 3) | a = a + x[:, min(t + 1, T - 1)] | a[t % N] += f
h = h + x[:, t // 2] | h = h + W.table[t] | h = np.where((lengths == t + 1)[:, None], E, h)
a = a + np.minimum(lengths, t)[:, None] / T | total = total + E * t | h = h * 0.5 if t % 2 else h
h = W.cell(x[:, t], h) * (1 - t / T) | a = np.where(t < np.minimum(lengths, I)[:, None], a, x[:, t])
out[:, t] = a * E | f = f * E | hs.append(h * E) | h = h - hs[max(0, len(hs) - 2)]
h = W.cell(x[:, t], h); hs.append(h) | h = np.tanh(h * W.one + x[:, t] * E)
h = h * (0.5 if t < 17 else 0.75) | h = (np.tanh if t < 17 else F.sigmoid)(h)
a = a * [f, E][t > 16] | h = h + x[:, min(t, 17)] | h = h if t < 17 else c
a = a + [0.5, 0.25][t // 17] | a = a * min(t, 17)
h = h + W.table[min(t, I)] | a[min(t, 17) % N] += f | h = h * W.number if t > 16 else h * 0.5
""".replace("\n", " | ").split(" | ")
HEADS = """
for t in range(T): | for t in range(T): | for t in range(T): | for t in range(I):
for t in range(N): | for t in range(T - 1, -1, -1): | for t in range(0, T, 2):
for t, u in enumerate(x.swapaxes(0, 1)): | for t in range(I, T): | for t, row in enumerate(x):
""".replace("\n", " | ").split(" | ")
LOOPS, BODIES, AFTER, ASKED, INTS, NUMBERS, SIZED, LITERALS, IN_STEPS, HEADS = (
    [line.strip() for line in lines if line.strip()]
    for lines in (LOOPS, BODIES, AFTER, ASKED, INTS, NUMBERS, SIZED, LITERALS, IN_STEPS, HEADS))


class Sizes(Loops):
    """Programs that compute with the sizes of x (N, T, 4), over sizes back and forth. In the first
    calls with a size x and ``lengths`` are small, and ``f`` is 0, which hides much of what is made
    of a size: only later calls show it."""

    said = "x, y, f, lengths"

    def visited(self):
        """Sizes, of which N changes, or T, or both."""
        rng = self.random
        first = rng.choice([rng.randint(5, 8), 3]), rng.choice([rng.randint(5, 13), 24])
        changes = rng.choice([(True, False), (True, False), (False, True), (False, True),
                              (True, True)])
        others = [[rng.choice([n - 1, n - 1, n - 2, n + 1, 2 * n, n // 2, 1, 2, 4,
                               0 if n < 4 else 3]) if change else n
                   for n, change in zip(first, changes, strict=True)]
                  for _ in range(rng.randint(2, 5))]
        return [first, *map(tuple, others)]

    def grow(self):
        rng = self.random
        self.sizes = getattr(self, "sizes", None) or self.visited()
        self.tried = [(2, size) for size in dict.fromkeys(self.sizes[:2])]
        asks = rng.random() < 0.6  # else all that is done is alike for all sizes, but for literals
        of_sizes, after = ([line for line in known if asks or {"N", "T", "I", "E", "n", "hs"}
                            .isdisjoint(tokens(line))] for known in (SIZED, AFTER))
        lines = [rng.choice(ASKED) if asks else "pass", "hs, total, a = [], 0.0, x[:, 0] * 1",
                 "h, c = tg.Tensor(a), a * W.one",
                 "out, z = np.zeros_like(x), tg.Tensor(x) * W.one",
                 "loss, mask = np.sum(z * z), y[..., 0] > 0"]
        if "T" in tokens(lines[0]):
            lines += ["mask, n = np.arange(T) < lengths[:, None], T"]
        self.hidden = rng.choice([0.2, 0.9, 0.9])  # how often what a size gives is behind f
        for _ in range(rng.choice([1, 1, 2])):
            lines = self.longer(lines, [], of_sizes, rng.choice([1, 2, 3]), "")
            lines = self.longer(lines, [], LITERALS, rng.choice([0, 1, 2]), "")
            if asks and rng.random() < 0.3:
                head, body = self.filled(rng.choice(HEADS)), rng.choice([IN_STEPS, BODIES])
                lines = self.longer(lines, [head], body, rng.randint(1, 3), "    ")
            lines = self.longer(lines, [], of_sizes + after, rng.choice([0, 1, 3]), "")
        names = ["h", "c", "a", "out", "total", "z", "loss"]
        rng.shuffle(names)
        return lines, names[: rng.randint(1, 4)]

    def filled(self, line):
        rng = self.random
        first = [(str(n),) for n in self.sizes[0]]
        kinds = {"I": INTS, "E": INTS + NUMBERS * 2, "K": first[0], "L": first[1]}
        line = "".join([f"({rng.choice(kinds[word])})" if word in kinds else word
                        for word in tokens(line)])
        line = super().filled(line)
        name, _, made = line.partition(" = ")
        known = "a", "h", "c", "z", "out", "total", "loss"
        if made and name in known and rng.random() < self.hidden:
            line = f"{name} = np.where(f > 0.5, {made}, {name})"
        return line

    def plan(self):
        rng, calls, known = self.random, [], set()
        for size in [*self.sizes, *rng.choices(self.sizes, k=2)]:
            calm = 0 if size in known else rng.choice([1, 2, 2, 2, 3])
            known.add(size)
            for k in range(len(self.functions)):
                for data in [rng.randint(0, 1) for _ in range(calm)] + [rng.randint(2, 3)]:
                    calls.append((k, data, size, rng.choice(["C"] * 9 + ["F"]),
                                  rng.choice([None] * 9 + ["eager", "lr", "edit", "grad"])))
        return calls

    def arguments(self, data, rows, order):
        rng, (N, T), wild = np.random.default_rng((self.seed, data, *rows)), rows, data > 1
        x, y = (rng.normal(size=(N, T, 4)).astype(self.dtype) for _ in range(2))
        x *= 1.5 if wild else 0.25
        lengths = rng.integers(1, 2 * T + 2 if wild else 3, N)
        return np.asfortranarray(x) if order == "F" else x, y, float(wild), lengths




class Run:
    """A program on a world of its own."""

    def __init__(self, program, mode=None, fallback=None, nudged=False):
        self.program, self.nudged = program, nudged
        self.world = World(program.seed, program.dtype)
        self.start = [p.data.copy() for p in self.params()]
        self.drawn = tg.random.state()
        space = space_of(self.world)
        for k in range(len(program.functions)):
            exec(compile(program.source(k), f"<program {program.seed}>", "exec"), space)
        self.plain = [space[f"step{k}"] for k in range(len(program.functions))]
        self.steps = self.plain
        if mode:
            self.steps = [tg.jit(f, fast=MODES[mode][1], fallback=fallback, cache_size=20)
                          for f in self.plain]

    def call(self, k, data, rows, order, before):
        tg.random.restore(self.drawn)
        world, given = self.world, self.program.arguments(data, rows, order)
        for p, start in zip(self.params(), self.start, strict=True) if self.nudged else ():
            off = np.where(p.data > 0, 0, 16 * np.finfo(p.dtype).eps * p.data)  # every call rounds
            p.data += off
            start += off
        if before == "eager":
            with contextlib.suppress(Exception):
                self.plain[0](*copy.deepcopy(given))
        elif before == "lr":
            world.opt.lr *= 0.5
        elif before == "edit":
            world.p.data[...] *= 0.5
            world.held[0] += 1
        elif before == "grad":
            world.p.grad = None
        elif before == "seed":
            tg.manual_seed(7)
        try:
            out = self.steps[k](*given)
        except tg.JitError:
            raise
        except Exception as error:
            out = type(error).__name__
        self.drawn = tg.random.state()
        # a small step of a wrong gradient leaves a parameter near to the right one
        moved = [1000 * (p.data - start)
                 for p, start in zip(self.params(), self.start, strict=True)]
        return [("returned", out), ("arguments", given), *world.all(), ("moved, * 1000", moved)]

    def params(self):
        return [self.world.q, *self.world.opt.params]


def different(one, other, tolerance, kinds=True):
    """What differs, as a text, or None; ``kinds``: whether dtypes count."""
    for (name, a), (_, b) in itertools.zip_longest(one, other, fillvalue=("?", None)):
        what = apart(a, b, tolerance, kinds)
        if what:
            return f"{name}: {what}"
    return None


def apart(a, b, tolerance, kinds):
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        if len(a) != len(b):
            return f"{len(a)} items, then {len(b)}"
        found = (apart(x, y, tolerance, kinds) for x, y in zip(a, b, strict=True))
        return next((f"[{i}] {what}" for i, what in enumerate(found) if what), None)
    if isinstance(a, dict) and isinstance(b, dict):
        return apart(list(a.items()), list(b.items()), tolerance, kinds)
    if isinstance(a, tg.Tensor) and isinstance(b, tg.Tensor):
        if a.requires_grad != b.requires_grad:
            return f"requires_grad {a.requires_grad}, then {b.requires_grad}"
        a, b = a._held, b._held
    elif type(a) is not type(b) and kinds:
        return f"{type(a).__name__} {a!r:.60}, then {type(b).__name__} {b!r:.60}"
    if isinstance(a, (np.ndarray, np.generic)):
        if a.shape != b.shape or (a.dtype != b.dtype and kinds):
            return f"{a.dtype}{a.shape}, then {b.dtype}{b.shape}"
        if a.dtype.kind not in "fc":
            return None if np.array_equal(a, b) else f"{a}, then {b}"
        with np.errstate(all="ignore"):
            if tolerance:
                scale = tolerance * max(1.0, float(np.nanmax(np.abs(a), initial=0)))
                same = np.allclose(a, b, tolerance, scale, equal_nan=True)
            else:
                same = np.array_equal(a, b, equal_nan=True)
        return None if same else f"{a}, then {b}"
    if isinstance(a, float) and tolerance:
        return None if abs(a - b) <= tolerance * max(1, abs(a)) else f"{a}, then {b}"
    return None if a == b else f"{a!r:.200}, then {b!r:.200}"


def judge(program, mode, fallback=None):
    """("same", None), ("refused", why) or ("different", what) for one program; ("unstable", what)
    where rounding alone grows to such a difference."""
    tolerance = MODES[mode][3]
    if "cross_entropy" in str(program):  # its softmax, in blocks of rows, rounds otherwise
        tolerance = tolerance or 1e-9
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eager, recorded = Run(program), Run(program, mode, fallback)
        for n, call in enumerate(program.calls):
            before = list(map(str, recorded.world.all()))
            one = eager.call(*call)
            try:
                other = recorded.call(*call)
            except tg.JitError as error:
                if fallback:
                    return "different", f"call {n}: raised {error}"
                after = list(map(str, recorded.world.all()))
                if call[-1] is None and before != after:
                    changed = next(b for a, b in zip(before, after, strict=True) if a != b)
                    return "different", f"call {n}: refused, and yet changed {changed:.80}: {error}"
                return "refused", str(error)
            except Exception as error:
                return "different", f"call {n}: {type(error).__name__}: {error}"
            what = different(one, other, tolerance)
            if all(isinstance(run[0][1], str) and run[0][1] == "IndexError"
                   for run in (one, other)):  # of an id: a replay has not begun to edit then
                return "same", None
            # would a few units in the last place do as much without tg.jit, or those of float32?
            others = [Run(program, nudged=True)] if what and tolerance else []
            if others and program.dtype is np.float32:
                wide = copy.copy(program)
                wide.dtype = np.float64
                others.append(Run(wide))
            for run in others:
                *_, near = [run.call(*call) for call in program.calls[: n + 1]]
                if different(one, near, tolerance, kinds=program.dtype is run.program.dtype):
                    return "unstable", f"call {n}, {what}"
            if what:
                return "different", f"call {n}, {what}"
    return "same", None


def shorter(program, mode, fallback):
    """The program without the lines and calls that are not needed to make it differ."""
    def still():
        try:
            return judge(program, mode, fallback)[0] == "different"
        except Exception:
            return False

    for k in range(len(program.functions)):
        lines, names = program.functions[k]
        for parts in (names, lines):
            for i in reversed(range(len(parts))):
                part = parts.pop(i)
                if not still():
                    parts.insert(i, part)
    for i in reversed(range(len(program.calls))):
        call = program.calls.pop(i)
        if not still():
            program.calls.insert(i, call)
    return program


@contextlib.contextmanager
def forced(mode):
    """Compiled loops (without the compiler), lanes and cuts also where they do not pay."""
    _, fast, cores, _ = MODES[mode]
    settings = {}
    if mode != "exact":
        settings |= {(cut, "LARGE"): 64, (cut, "BLOCK"): 32, (lanes, "WORTH"): 0,
                     (lanes, "NATIVE"): 0, (products, "WORTH"): 0, (products, "HEIGHT"): 1,
                     (products, "WIDTHS"): range(1, 3), (table, "LARGE"): 8}
    settings |= {(jitted, "LONG"): 20, (products, "CACHE"): 0 if mode == "columns" else 1 << 20}
    if fast:
        settings |= {(loops, "MANY"): 0, (loops, "WORTH"): 0}
    settings |= {(module, "threads"): lambda: cores for module in (jitted, table)}
    settings |= {(jitted, "takes_blocks"): lambda: cores > 1}
    kept = {place: getattr(*place) for place in settings}  # AttributeError for one that is gone
    for (module, name), value in settings.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in kept.items():
            setattr(module, name, value)


def campaign(seeds, modes, seconds, fallback=None, quiet=False, only=None):
    """Programs for that many seconds of CPU time, of one kind ``only``, or of all: how many of each
    verdict, and what differs."""
    counts, reasons, found = collections.Counter(), collections.Counter(), []
    told = start = time.process_time()
    for seed in seeds:
        mode = modes[seed % len(modes)]
        kind = only or (Sizes if seed % 9 in (1, 7) else Batches if seed % 9 == 8 else
                        Loops if seed % 3 == 2 else Made if seed % 9 == 4 else Program)
        program = kind(seed, MODES[mode][0])
        back = fallback if fallback is not None else [None, None, "eager"][seed % 3]
        with forced(mode):
            verdict, why = judge(program, mode, back)
            counts[verdict] += 1
            if verdict == "refused":
                reasons[why.split(": ", 1)[-1][:70]] += 1
            if verdict == "different":
                program = shorter(program, mode, back)
                why = judge(program, mode, back)[1]
                found.append((seed, mode, back, why, str(program)))
                if not quiet:
                    print(f"--- seed {seed}, {mode}, fallback={back}: {why}\n{program}", flush=True)
        now = time.process_time()
        if not quiet and now > told + 60:  # what a run that is cut off has come to
            told = now
            print(f"{(now - start) / 60:.0f} min, seed {seed}: {dict(counts)}", file=sys.stderr)
        if now > start + seconds:
            break
    return counts, reasons, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1, help="of CPU time")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--only", choices=["Program", "Made", "Loops", "Batches", "Sizes"])
    parser.add_argument("--reasons", action="store_true", help="what was refused, and how often")
    options = parser.parse_args()
    seeds = itertools.count(options.first) if options.seed is None else [options.seed]
    counts, reasons, found = campaign(seeds, options.mode or list(MODES), options.minutes * 60,
                                      only=options.only and globals()[options.only])
    if options.reasons:
        for why, n in reasons.most_common(40):
            print(f"{n:6} {why}")
    print(f"{sum(counts.values())} programs: {dict(counts)}")
    sys.exit(bool(found))
