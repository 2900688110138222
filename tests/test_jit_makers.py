"""tg.jit: arrays that the function makes, and looks at what hangs on no input of it."""

import linecache
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from jit_worlds import X, flat
from numpy.testing import assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn.jit import JitError

MASK = X[5] > 0


def filled(x, f):
    out, h = np.zeros((4, 3)), x[:, 0]
    for t in range(4):
        h = np.tanh(h + x[:, t])
        out[t] = h
    return out


def empty(x, f):
    hs = np.empty((*x.shape, 2))
    for t in range(2):
        hs[..., t] = x * f * (t + 1)
    return hs


def through_the_other(x, f):
    same = np.asarray(x)
    same[0] += f
    return x * 1, np.ascontiguousarray(x[:, ::2]), np.asfortranarray(x)


GOOD = {
    "filled": filled, "empty": empty, "the same": through_the_other,
    "numbers": lambda x, f: np.array([x.sum(), x.max(), f, 1]),
    "nested": lambda x, f: np.array([[x[0, 0], 1], [2, x[1, 1]]], np.float32),
    "rows": lambda x, f: np.array([x[0], np.ones(4)]), "full": lambda x, f: np.full((2, 2), f),
    "a copy": lambda x, f: (np.array(x).__iadd__(f), x), "float32": lambda x, f: np.asarray(x, "f"),
    "a Tensor": lambda x, f: (np.asarray(Tensor(x) * f), np.array([Tensor(x).sum(), 0.5])),
    "turned": lambda x, f: np.require(x.T, requirements="C") + np.array(x, order="F").T,
    "zeros decide": lambda x, f: x if np.zeros(3).sum() == 0 else -x,
    "zeros said": lambda x, f: (f"{np.zeros(2)} {np.ones(1)!r}", np.zeros(2).tolist(), x * f),
    "all of it": lambda x, f: x[np.ones(3) > 0], "a part of a mask": lambda x, f: x[:2][MASK[:2]],
    "another mask": lambda x, f: x[~MASK] * f,
}  # fmt: skip


@pytest.mark.parametrize("f", GOOD.values(), ids=GOOD)
def test_arrays_that_are_made_are_recorded(f):
    step = tg.jit(f, fast=False)
    for k, x in enumerate(X):
        one, other = x.copy(), x.copy()
        for a, b in zip(flat(step(one, k + 0.5)), flat(f(other, k + 0.5)), strict=True):
            assert a.dtype == b.dtype and a.flags.f_contiguous == b.flags.f_contiguous
            assert_array_equal(a, b)
        assert_array_equal(one, other)
    assert len(step.recordings) == 1


def test_of_another_mask_of_which_one_is_made_it_is_recorded_anew():
    world = SimpleNamespace(mask=MASK.copy(), other=~MASK)
    step = tg.jit(lambda x: x[world.mask[:2].any(0) | world.other[0]].sum(), fast=False)
    for k, x in enumerate((*X, *X)):
        y = x[:, :4].T.copy()
        assert step(y) == y[world.mask[:2].any(0) | world.other[0]].sum()
        world.mask[0, k % 4] ^= k > 5
        world.other[0, k % 3] ^= k > 8


def test_outside_a_recording_numpys_functions_are_its_own():
    names = "zeros", "ones", "full", "empty", "array", "asarray", "require"
    before, kinds = [getattr(np, name) for name in names], [None] * 2000  # not looked into

    def f(x):
        kinds.append(type(np.zeros(2)))
        thread = threading.Thread(target=lambda: kinds.append(type(np.zeros(2))))
        thread.start(), thread.join()
        return x + 1

    tg.jit(f)(X[0])
    found = kinds[2000:]
    assert found[0] is found[1] is found[3] is np.ndarray is not found[2]
    assert [getattr(np, name) for name in names] == before


def drawn_beside_a_made_one(x, f):
    out = np.empty(x.shape)
    out[...] = x + np.random.normal(np.empty(1) * 0, size=x.shape)  # noqa: NPY002
    return out


def drawn_by_another_name(x, f):
    draw = np.random.standard_normal
    return x + draw(size=x.shape)


@pytest.mark.parametrize("f", [drawn_beside_a_made_one, drawn_by_another_name])
def test_functions_of_c_get_arrays_of_numpys_own(f):
    # they have no frame, and use the memory of what np.empty gives without a look: a crash
    with pytest.raises(JitError, match="global random generator"):
        tg.jit(f)(X[0], 0.5)


def test_arrays_made_over_several_lines_and_by_another_name_are_recorded():
    def f(x):
        make = np.zeros
        out = [np
               .zeros(
                   x.shape), make(x.shape)]
        out[0][1:] = x[1:]
        out[1][:1] = 2 * x[:1]
        return out

    step = tg.jit(f, fast=False)
    for x in X:
        assert_array_equal(step(x), f(x))


WORLD = SimpleNamespace(seen=[], n=0.0)
REFUSED = {
    "x * math.cos(f)": "np.cos in place of math.cos", "x * min(f, 1.0)": "np.minimum in place of",
    "x * max(1.0, f)": "np.maximum in place of max", "x * round(f)": "np.round in place of round",
    "np.float32(x[0, 0])": r"np.float32\(x\[0, 0\]\) would make a plain array",
    "x[x > 0]": r"np.copyto\(a, b, where=mask\)", "math.floor(x[0, 0])": "np.floor in place of",
    "WORLD.seen.append(x)": r"a list has, SimpleNamespace.seen; .* array of fixed length",
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_refused_says_what_to_write(said):
    text = f"def f(x, f):\n    return {said}\n"
    file = f"<{said}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file
    exec(compile(text, file, "exec"), space := {**globals(), "__name__": "__main__"})
    with pytest.raises(JitError, match=REFUSED[said]):
        tg.jit(space["f"])(X[0], 0.5)


def test_instead_of_a_list_that_grows_an_array_is_filled():
    ring, other = SimpleNamespace(a=np.zeros(4), n=0), SimpleNamespace(a=np.zeros(4), n=0)

    def f(ring, x):
        ring.a[ring.n % 4] = math.pi * x.sum()
        ring.n += 1
        return ring.a.mean()

    step = tg.jit(lambda x: f(ring, x), fast=False)
    for x in (*X, *X):
        assert step(x) == f(other, x)
    assert len(step.recordings) == 1
