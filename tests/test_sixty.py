"""The engine in 60 lines (docs/sixty.md) against the real one."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tinygrad_rnn as tg

DOCS = Path(__file__).resolve().parent.parent / "docs"
PATH = DOCS / "engine_in_60_lines.py"
Var = runpy.run_path(str(PATH))["Var"]


def lstm(xs, h, c, Wx, Wh, b):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    H = h.shape[1] if hasattr(h, "shape") else h.value.shape[1]
    for t in range(3):
        z = xs[:, t] @ Wx + h @ Wh + b
        f, g, i, o = (z[:, k * H : (k + 1) * H] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return np.sum(h * h) + np.sum(c)


PROGRAMS = {
    "lstm": (lstm, [(4, 3, 2), (4, 5), (4, 5), (2, 20), (5, 20), (20,)]),
    "broadcasting": (lambda a, b, c: np.sum(np.tanh(a * b - c / (2 + b * b))),
                     [(4, 1, 3), (5, 1), ()]),
    "several paths": (lambda a: np.sum(np.exp(-a) * a) + np.sum(a[1:] * a[:-1]) - a[0] * 2, [(6,)]),
    "an element twice": (lambda a: np.sum(a[np.array([0, 2, 0])] * np.arange(3.0)), [(3,)]),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_gives_the_gradients_of_the_real_engine(name, seed):
    program, shapes = PROGRAMS[name]
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in shapes]
    small, real = list(map(Var, arrays)), [tg.Tensor(a, requires_grad=True) for a in arrays]
    ours, theirs = program(*small), program(*real)
    ours.backward()
    theirs.backward(np.ones(theirs.shape))
    assert_allclose(ours.value, theirs.detach(), rtol=1e-12, atol=1e-12)
    for v, t in zip(small, real, strict=True):
        assert_allclose(v.grad, t.grad, rtol=1e-10, atol=1e-10)


def test_it_has_sixty_lines_and_the_page_builds_them():
    code = PATH.read_text(encoding="utf-8")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 60
    page = (DOCS / "sixty.md").read_text(encoding="utf-8")
    for line in lines[1:]:
        assert line.split("  #")[0].replace(", strict=False", "").strip() in page, line
