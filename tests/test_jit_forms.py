"""tg.jit: ways to write something that are rare, and are what they are without it, or refused."""

import copy
import operator
import queue

import numpy as np
import pytest
from jit_worlds import X, flat
from numpy.testing import assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.jit import JitError

RNG = np.random.default_rng  # of the tests, made outside of what is recorded
C = [np.arange(12.0).reshape(3, 4)]


class Named(dict):
    """A dict with an attribute."""


class Pairs(np.random.Generator):
    """A generator that draws two arrays at once."""

    def pair(self):
        return self.random(3), self.random(3)


def edited(edit):
    """What an edit makes of a copy of x, and of one that lies in columns."""
    def f(x, r):
        a, b = x.copy(), np.asfortranarray(x + 1)
        edit(a, x)
        edit(b, x)
        return a, b

    return f


def at(row):
    """A place that hangs on values."""
    return np.argmax(row[:2])


def named(x, r):
    made = Named(a=x * 2)
    made.more = x + 1
    return made


def counted(x, r):
    counts = np.zeros(3, int)
    counts[:] = np.zeros(3)
    return counts + x.shape[0], x * 2


# f(x, r): x (3, 4), r a generator
GOOD = {
    "copy": lambda x, r: (copy.copy(x), copy.deepcopy(x[1:]), x), "divmod": lambda x, r: divmod(
        2.5, np.abs(x) + 1),
    "flat": lambda x, r: (len(x.flat), sum(x.flat), x.flat[3], x.flat[[1, 2]]),
    "sums": lambda x, r: (np.sum(x, dtype=np.float32), np.prod(x, axis=1, dtype=np.float32)),
    "clip": lambda x, r: (np.clip(x, None, 0.5), np.clip(x, -0.5, None), x.clip(max=0.1),
                          np.clip(x, min=-0.2), np.clip(x, None, None)),
    "a number decides nothing": lambda x, r: (0.5 < x, 0.5 >= x, x.sum() < x),
    "beside a Tensor": lambda x, r: (np.multiply(x, Tensor(C[0])), np.add(Tensor(x), x)),
    "unstack": lambda x, r: np.unstack(x, axis=-1),
    "place of a slice": edited(lambda a, x: operator.setitem(
        a, slice(at(x[0]), at(x[0]) + 2), 0.5)),
    "a Tensor is put": edited(lambda a, x: operator.setitem(a, 0, Tensor(x)[1])),
    "a bool is added": edited(lambda a, x: np.add(a, True, out=a)),
    "cast": edited(lambda a, x: np.add(a, x, out=a, casting="unsafe")),
    "as another type": edited(lambda a, x: np.multiply(a, x, out=a, dtype=np.float32)),
    "where": edited(lambda a, x: np.exp(x, out=a, where=x > 0)),
    "flat is put": edited(lambda a, x: operator.setitem(a.flat, slice(2, 5), x[0, :3])),
    "drawn around values": lambda x, r: r.normal(loc=x, scale=np.abs(x) + 0.5),
    "zeros in integers": counted, "a dict of one's own": named,
    "through a copy": lambda x, r: x[...].copy(order="F").T[1:].copy() + 1,
    "infinity": lambda x, r: np.max(np.where(x > 0, x, -np.inf), axis=0, initial=-9.0),
    "same": lambda x, r: (np.reshape(x, x.shape) + 1, np.reshape(x, (3, 4)).T @ x.reshape(3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_is_rare_is_what_it_is_without(name):
    f, (mine, other) = GOOD[name], (RNG(1), RNG(1))
    step = tg.jit(f, fast=False)
    for x in X:
        kept = x.copy()
        one, two = step(x, mine), f(kept.copy(), other)
        assert type(one) is type(two)
        one, two = ([*d.values(), d.more] if isinstance(d, dict) else d for d in (one, two))
        for a, b in zip(flat(one), flat(two), strict=True):
            assert_array_equal(a, b, strict=True)
            assert a.flags.writeable
        assert_array_equal(x, kept)
    assert mine.random() == other.random()


BAD = {
    "a list of texts": (lambda x, r: np.einsum_path("ij,kj", x, x)[0], "which cannot be recorded"),
    "two draws at once": (lambda x, r: r.pair(), "several arrays"),
    "the state": (lambda x, r: str(r.bit_generator.state), "the state of a value"),
    "text": (lambda x, r: str(x), "a text that is made of recorded values"),
    "integers": (lambda x, r: np.floor(x, out=np.zeros(x.shape, int), casting="unsafe"),
                 "written into an array that is not"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_replay_could_not_do_is_refused(name):
    f, said = BAD[name]
    with pytest.raises(JitError, match=said):
        for x in X:
            tg.jit(f)(x, Pairs(np.random.PCG64(0)))


def test_an_array_of_another_recording_is_refused():
    """What was put where nobody looks, and comes out again in the next recording."""
    hidden = queue.SimpleQueue()

    def f(x):
        if not hidden.empty():
            x = x * hidden.get()
        hidden.put(x * 2)
        return x

    step = tg.jit(f)
    for x in X[:3]:
        with pytest.raises(JitError, match="keeps|another recording"):
            step(x)


def test_one_value_becomes_that_of_two_parameters():
    """Each has an array of its own, also where the same call made both."""
    p, q = (nn.Parameter(np.ones((3, 4))) for _ in range(2))

    @tg.jit
    def step(x):
        p.data, q.data = np.tanh(x), np.tanh(x)

    for x in X:
        step(x)
        assert_array_equal(p.numpy(), np.tanh(x))
        p.data[0] = 7
        assert_array_equal(q.numpy(), np.tanh(x))


def test_two_parameters_change_places():
    p, q = (nn.Parameter(np.full((3, 4), k)) for k in (1.0, 2.0))

    @tg.jit
    def step():
        p.data, q.data = q.data * 1, p.data
        q.data = q.data[...]

    for k in range(5):
        step()
        assert (p.numpy() == 1 + (k + 1) % 2).all() and (q.numpy() == 1 + k % 2).all()


def test_a_graph_from_outside_falls_back():
    w = nn.Parameter(np.ones(3))

    @tg.jit(fallback="eager")
    def step(y):
        y.backward()
        return y * 1

    for _ in range(3):
        w.grad = None
        step(np.sum(w * w))
        assert_array_equal(w.grad.numpy(), [2, 2, 2])


@pytest.mark.parametrize("size", [3, 4])
def test_data_of_another_shape_is_put_into_a_tensor(size):
    held = Tensor(np.zeros(3))

    @tg.jit
    def step(x):
        held.data = x[0, :size] * 2

    for x in X:
        step(x)
        assert_array_equal(held.numpy(), x[0, :size] * 2)
