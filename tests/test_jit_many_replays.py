"""tg.jit: what changes after many replays, when the walk is spared, is noticed all the same."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn


class Watched:
    """Something that functions below reach."""

    def __init__(self):
        self.a, self.b = np.arange(3.0), np.ones(3)
        self.p = nn.Parameter(np.ones(3))
        self.many, self.mode = list(range(2000)), "soft"


def watched(name):
    """(function, its arguments until then, change, its arguments from then on)"""
    m, x = Watched(), np.full(3, 2.0)
    scale = 1

    def edits(x):  # and reads of the other ones what was there before
        old, other = x.copy(), m.b.copy()
        m.a += 1
        return m.a * 2, old * 2, other * 2, m.b * 1

    def edits_tensor(x):
        old = x.data.copy()
        m.p.data += 1
        return old * 2, m.p.data * 1

    def learned(x):
        m.p.grad = None
        np.sum(m.p * m.p * x).backward()
        return m.p.grad

    def rescaled(x):
        return x * scale

    def rescale():
        nonlocal scale
        scale = 3

    def default(x, factor=2):
        return x * factor

    def same(): ...

    V = np.full(3, 5.0)
    if name == "one array becomes two":
        m.b = m.a
    elif name == "a set":
        m.flags = {1}
    return {
        "an array becomes an argument": (edits, x, same, lambda: m.a),
        "an array that took another's place becomes an argument": (
            edits, x, lambda: setattr(m, "a", V), lambda: V),
        "a Tensor becomes an argument": (edits_tensor, nn.Parameter(x), same, lambda: m.p),
        "an argument is an array no more": (edits, m.a, same, lambda: x),
        "two arrays become one": (edits, x, lambda: setattr(m, "b", m.a), lambda: x),
        "one array becomes two": (edits, x, lambda: setattr(m, "b", m.b.copy()), lambda: x),
        "a shape": (lambda x: m.a + x[0], x, lambda: setattr(m, "a", np.ones(5)), lambda: x),
        "a dtype": (lambda x: m.p * x[0], x,
                    lambda: setattr(m.p, "data", np.ones(3, np.float32)), lambda: x),
        "a variable of the enclosing function": (rescaled, x, rescale, lambda: x),
        "a parameter": (learned, x, lambda: setattr(m, "p", nn.Parameter(V)), lambda: x),
        "a default": (default, x, lambda: setattr(default, "__defaults__", (4,)), lambda: x),
        "the length of a long list": (lambda x: x * len(m.many), x, lambda: m.many.append(0),
                                      lambda: x),
        "a set": (lambda x: x * len(m.flags), x, lambda: m.flags.add(2), lambda: x),
        "a word": (lambda x: x if m.mode == "soft" else -x, x, lambda: setattr(m, "mode", "hard"),
                   lambda: x),
        "a class": (lambda x: x * m.factor() if hasattr(m, "factor") else x, x,
                    lambda: setattr(m, "__class__", Doubling), lambda: x),
    }[name]  # fmt: skip


class Doubling(Watched):
    def factor(self):
        return 2


@pytest.mark.parametrize("name", [
    "a Tensor becomes an argument", "an array becomes an argument",
    "an array that took another's place becomes an argument", "an argument is an array no more",
    "two arrays become one", "one array becomes two", "a shape", "a dtype", "a parameter",
    "a variable of the enclosing function", "a default", "the length of a long list", "a set",
    "a word", "a class"])  # fmt: skip
def test_what_changes_after_many_replays_is_noticed(name):
    """When nothing has changed for a while, the walk from the function is spared."""
    made = []
    for wrap in (tg.jit, lambda f: f):
        f, x, change, later = watched(name)
        f, out = wrap(f), []
        for n in range(7):
            if n == 4:
                change()
            got = f(x if n < 4 else later())
            if n == 3 and wrap is tg.jit:
                watching = f._watch is not None and f._watch.complete
                assert watching == (name not in ("a set", "an argument is an array no more"))
            got = got if isinstance(got, tuple) else (got,)
            out += [y.numpy() if isinstance(y, tg.Tensor) else np.array(y) for y in got]
        made.append(out)
    for got, expected in zip(*made, strict=True):
        assert got.dtype == expected.dtype
        assert_array_equal(got, expected)


class Stateful:
    """States as Tensors, which each call replaces."""

    def __init__(self):
        self.h, self.pair = Tensor(np.zeros(3)), (Tensor(np.ones(3)), Tensor(np.full(3, 2.0)))
        self.held = [self.h]

    def __call__(self, x):
        self.h = np.tanh(self.h + x)
        self.pair = (self.pair[1] * 0.5, self.pair[0] + self.h)
        return self.pair[0] * self.held[0]


@pytest.mark.parametrize("change", [
    "nothing", "one for both", "another shape", "one more", "with a graph", "the first one",
    "shared", "an argument"])  # fmt: skip
def test_states_that_each_call_replaces_are_followed(change):
    made = []
    for wrap in (tg.jit, lambda f: f):
        m, out = Stateful(), []
        if change == "shared":
            m.held = [m.pair[0]]
        f = wrap(m.__call__)
        for n in range(8):
            x = np.full(3, 0.1 * n)
            if n == 5 and change == "one for both":
                m.pair = (m.pair[0], m.pair[0])
            elif n == 5 and change == "another shape":
                m.pair = (Tensor(np.ones((2, 3))), m.pair[1])
            elif n == 5 and change == "one more":
                m.pair = (*m.pair, Tensor(np.ones(3)))
            elif n == 5 and change == "with a graph":
                m.h = Tensor(np.ones(3), requires_grad=True)
            elif n == 5 and change == "the first one":
                m.h = m.held[0]
            elif n == 5 and change == "an argument":
                x = m.h
            y = f(x)
            out += [t.detach().numpy().copy() for t in (y, m.h, *m.pair)]
        made.append(out)
    for got, expected in zip(*made, strict=True):
        assert_allclose(got, expected, rtol=1e-12)


def test_gradients_are_off_when_they_are_off_after_many_replays():
    p = nn.Parameter(np.ones(3))
    f = tg.jit(lambda x: p * x)
    assert [f(np.ones(3)).requires_grad for _ in range(4)] == [True] * 4
    with tg.no_grad():
        assert not f(np.ones(3)).requires_grad
    assert f(np.ones(3)).requires_grad
