"""tg.jit: whatever a function reaches is followed, or noticed; it never goes stale in silence."""

import collections
import copy
import functools
import gc
import itertools
import random
import sys
import threading
import tracemalloc
import types
import warnings
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.jit import JitError

X = [np.random.default_rng(k).normal(size=(3, 4)) for k in range(6)]
CONFIG = types.ModuleType("a_user_module")
sys.modules["a_user_module"] = CONFIG
SCALE, ROW = 1.0, np.ones(4)


class Scaled:
    factor = 1.0

    def __call__(self, x):
        return x * SCALE * self.factor + ROW

    @staticmethod
    def half(x):
        return x * SCALE / 2


class Slots:
    __slots__ = ("scale", "w")

    def __init__(self):
        self.scale, self.w = 1.0, np.ones(4)


@dataclass(frozen=True)
class Frozen:
    w: np.ndarray
    scale: float = 1.0


@dataclass
class Batch:
    xs: np.ndarray
    scale: float = 1.0


class Named(collections.namedtuple("Named", "h c")):
    __slots__ = ()


class Thing:
    pass


class Items(dict):
    pass


# ---- what is reached is read anew ----

# Each: what there is, the function, and the change before call i: every other call, so that
# something that went stale would be seen.


def globals_of_a_method():
    scaled = Scaled()

    def change(i):
        global SCALE, ROW
        SCALE, ROW = 1.0 + i // 2, np.full(4, i)

    return lambda x: (scaled(x), scaled.half(x)), change


def class_attribute():
    scaled = Scaled()
    return lambda x: scaled(x), lambda i: setattr(Scaled, "factor", 1.0 + i // 2)


def a_method_that_is_replaced():
    thing = type("Patched", (Scaled,), {})()
    return lambda x: thing(x), lambda i: setattr(
        type(thing), "__call__", [lambda _, x: x, lambda _, x: x * 2][i // 2])


def module():
    def change(i):
        CONFIG.scale, CONFIG.row = 1.0 + i // 2, np.full(4, i)

    change(0)
    return lambda x: x * CONFIG.scale + CONFIG.row, change


def module_of_an_enclosing_function():
    config = CONFIG
    return lambda x: x * config.scale + config.row, module()[1]


def global_function():
    table = {"f": np.tanh}
    return lambda x: table["f"](x), lambda i: table.update(f=[np.tanh, np.exp][i // 2])


def kept_in(thing, get, put):
    """A float and an array that lie in some kind of container."""
    def make():
        held = copy.deepcopy(thing)

        def change(i):
            put(held, "scale", 1.0 + i // 2)
            get(held, "w")[:] = i

        return lambda x: x * get(held, "scale") + get(held, "w"), change

    return make


def number_of_numpy():
    held = {}

    def change(i):
        held["scale"] = None  # the memory of the old number is free for the next
        held["scale"] = np.float64(1.0 + i)

    change(0)
    return lambda x: x * held["scale"], change


def zero():
    held = {"zero": 0.0}
    return (lambda x: np.copysign(x, held["zero"])), lambda i: held.update(zero=(-0.0, 0.0)[i // 2])


def arrays_in_tuples():
    held = {"t": (np.ones(4), (np.ones(4), 2))}

    def change(i):
        held["t"][0][:] = i
        if i == 2:
            held["t"] = (np.zeros(4), (np.ones(4), 3))

    return lambda x: x * held["t"][0] + held["t"][1][0] * held["t"][1][1], change


def defaults():
    w, v = np.ones(4), np.ones(4)

    def f(x, a=w, *, b=v):
        return x * a + b

    def change(i):
        w[:], v[:] = i, -i

    return f, change


def partial():
    w, v = np.ones(4), np.ones(4)
    inner = functools.partial(lambda a, x, b: x * a + b, w, b=v)

    def change(i):
        w[:], v[:] = i, -i

    return inner, change


def one_array_in_two_places():
    w = np.ones(4)
    held = {"a": w, "b": w, "c": (w,)}

    def change(i):
        w[:] = i

    return lambda x: x * held["b"] + held["a"] - held["c"][0] * 2, change


def function_attribute():
    def f(x):
        return x * f.scale

    f.scale = 1.0
    return f, lambda i: setattr(f, "scale", 1.0 + i // 2)


def bytes_that_change():
    held = bytearray(b"\1")

    def change(i):
        held[0] = i

    return lambda x: x * held[0], change


def a_jitted_function():
    w = nn.Parameter(np.ones((4, 4)))
    inner = tg.jit(lambda x: np.tanh(x @ w))
    return lambda x: np.sum(inner(x)), lambda i: setattr(w, "data", w.data * 0.5)


def item(x, name):
    return x[name]


def enter(x, name, value):
    x[name] = value


CONTENTS = {"scale": 1.0, "w": np.ones(4)}
REACHED = {
    f.__name__: f for f in (
        globals_of_a_method, class_attribute, a_method_that_is_replaced, module,
        module_of_an_enclosing_function, global_function,
        number_of_numpy, zero, arrays_in_tuples, defaults, partial, one_array_in_two_places,
        function_attribute, bytes_that_change, a_jitted_function)
} | {
    "namespace": kept_in(types.SimpleNamespace(**CONTENTS), getattr, setattr),
    "slots": kept_in(Slots(), getattr, setattr),
    "ordered dict": kept_in(collections.OrderedDict(CONTENTS), item, enter),
    "default dict": kept_in(collections.defaultdict(int, CONTENTS), item, enter),
    "a kind of dict": kept_in(Items(CONTENTS), item, enter),
    "deque": kept_in(collections.deque([1.0, np.ones(4)]),
                     lambda x, name: x[name == "w"],
                     lambda x, name, value: enter(x, int(name == "w"), value)),
    "frozen": kept_in(Frozen(np.ones(4)), getattr, object.__setattr__),
}  # fmt: skip


@pytest.mark.parametrize("name", REACHED)
def test_what_is_reached_is_read_anew(name):
    (f, change), (g, change_too) = REACHED[name](), REACHED[name]()
    jitted = tg.jit(g)
    for i, x in enumerate(X[:4]):
        change(i)
        expected = f(x)
        change_too(i)
        for a, b in zip(flat(jitted(x)), flat(expected), strict=True):
            assert_allclose(a, b, rtol=1e-13, err_msg=f"call {i}")


def flat(x):
    if isinstance(x, (tuple, list)):
        return [y for item in x for y in flat(item)]
    return [x.detach().numpy()] if isinstance(x, Tensor) else [np.array(x)]


def test_a_variable_named_like_an_attribute_is_not_reached():
    """In a script, ``loss = step(x)`` beside a step that calls ``model.loss``."""
    model = Thing()
    model.loss = np.tanh
    variables = {"model": model, "np": np}
    exec("def step(x): return (lambda: model.loss(x))()", variables)
    jitted = tg.jit(variables["step"])
    for i, x in enumerate(X):
        variables["loss"] = np.zeros(i)
        assert_allclose(jitted(x), np.tanh(x), rtol=1e-13)
    assert len(jitted.recordings) == 1
    model.loss = np.exp
    assert_allclose(jitted(X[0]), np.exp(X[0]), rtol=1e-13)
    exec("def twice(x): return (lambda: factor * x)()", variables)
    variables["factor"] = np.full(4, 2.0)
    jitted = tg.jit(variables["twice"])
    for factor in (2.0, 3.0, 4.0):  # read by a function that it makes
        variables["factor"] = np.full(4, factor)
        assert_allclose(jitted(X[0]), factor * X[0], rtol=1e-13)


def test_a_changing_float_argument_needs_no_new_recording():
    jitted = tg.jit(lambda x, options: x * options["scale"] + options["pair"][1])
    for i, x in enumerate(X):
        assert_allclose(jitted(x, {"scale": 0.5 * i, "pair": (1, float(i))}), x * (0.5 * i) + i)
        jitted(x, {"scale": np.float64(i), "pair": (1, float(i))})
    assert len(jitted.recordings) == 2


# ---- what is edited ----


def edits(d, x):
    d["edited"] += x.sum(0)


def rebinds(d, x):
    d["edited"] = np.tanh(d["edited"] + x.sum(0))


def swaps(d, x):
    d["edited"], d["other"] = d["other"], d["edited"] * 2


def keeps_the_old(d, x):
    d["other"] = d["edited"].copy()
    d["edited"] += 1


def keeps_the_same(d, x):
    d["other"] = d["edited"]


def rows_of_the_old(d, x):
    d["other"][...] = d["edited"]
    d["edited"][1:] *= x[0, 1:]


def grows(d, x):
    d["rows"] = np.concatenate([d["rows"], x])


def widens(d, x):
    d["single"] = d["single"] + x.sum(0)


def pairs(d, x):
    h, c = d["pair"]
    c = c + x.sum(0)
    d["pair"] = np.tanh(c) + h, c


def through_an_alias(d, x):
    d["alias"] += x.sum(0)
    d["sum"] = d["edited"] * 2


def constant(d, x):
    d["fresh"] = np.arange(4.0)


def swaps_parameters(d, x):
    a, b = d["parameters"]
    a.data, b.data = b.data, a.data


def turns_parameters(d, x):
    a, b = d["parameters"]
    old = a.data.copy()
    a.data[...] = b.data
    b.data[...] = old + x.sum(0)


def twice_one(d, x):
    d["fresh"] = d["sum"] = x.sum(0)


def halves(d, x):
    both = np.stack([x[0], x[1]]) * 2
    d["fresh"], d["sum"] = both


def the_same_values(d, x):
    for name in ("edited", "sum"):
        np.multiply(x.sum(0), 2, out=d[name])


EDITS = [edits, rebinds, swaps, keeps_the_old, keeps_the_same, rows_of_the_old, grows, widens,
         twice_one, halves, the_same_values, pairs, through_an_alias, constant, swaps_parameters,
         turns_parameters]  # fmt: skip


@pytest.mark.parametrize("as_argument", [False, True])
@given(st.lists(st.sampled_from(EDITS), min_size=1, max_size=4))
def test_whatever_is_edited_is_what_it_would_be(as_argument, ways):
    def world():
        w = np.ones(4)
        return {"edited": w, "alias": w, "other": np.zeros(4), "sum": np.zeros(4),
                "rows": np.ones((1, 4)), "fresh": np.zeros(4), "single": np.zeros(4, np.float32),
                "pair": (np.zeros(4), np.ones(4)),
                "parameters": [nn.Parameter(np.full(4, k)) for k in (0.5, 1.5)]}  # fmt: skip

    def step(d, x):
        out = []
        for way in ways:
            out.append(d["edited"] * 1)
            way(d, x)
            out += [d["edited"].copy(), d["other"][0]]
        return out

    eager, recorded = world(), world()
    jitted = tg.jit(step if as_argument else lambda x: step(recorded, x))
    kept, kept_too = [], []
    for x in X[:4]:
        kept.append([*eager["pair"], eager["edited"], eager["other"]])
        kept_too.append([*recorded["pair"], recorded["edited"], recorded["other"]])
        expected, got = step(eager, x), jitted(*((recorded, x) if as_argument else (x,)))
        for a, b in zip(flat(got), flat(expected), strict=True):
            assert_allclose(a, b, rtol=1e-12)
        for key, value in eager.items():
            for a, b in zip(flat(recorded[key]), flat(value), strict=True):
                assert a.dtype == b.dtype
                assert_allclose(a, b, rtol=1e-12, err_msg=key)
        for one, other in itertools.product(eager, repeat=2):
            assert (eager[one] is eager[other]) == (recorded[one] is recorded[other])
    for a, b in zip(flat(kept_too), flat(kept), strict=True):  # what somebody held on to
        assert_allclose(a, b, rtol=1e-12)


def test_a_view_that_is_kept_beside_its_array_is_refused():
    held = {"a": np.ones(4), "b": np.ones(2)}

    def f(x):
        held["b"] = held["a"][:2]

    def g(x):
        y = x * 2
        held["b"], held["a"] = y[0, 1:], y[0]

    for h in (f, g):
        with pytest.raises(JitError, match="keeps a view"):
            tg.jit(h)(X[0])


def test_an_edited_argument_is_edited():
    def f(x, rows):
        x += 1
        rows[0][:] = 5
        return x * 2

    jitted = tg.jit(f)
    for x in X:
        mine, rows = x.copy(), [np.zeros(3)]
        assert_array_equal(jitted(mine, rows), (x + 1) * 2)
        assert_array_equal(mine, x + 1)
        assert_array_equal(rows[0], np.full(3, 5))
    same = np.ones(3)
    assert_array_equal(jitted(same, [same]), np.full(3, 10))


def test_views_of_one_array_are_refused_where_one_is_edited():
    weights = np.ones(12)
    row = weights[:4]

    def f(x, y):
        x *= 2
        return x + y

    jitted = tg.jit(f)
    assert_array_equal(jitted(row, np.ones(4)), np.full(4, 3))
    with pytest.raises(JitError, match=r"\(4,\) and \(4,\) share memory"):
        jitted(weights[4:8], weights[6:10])
    assert_array_equal(jitted(weights[4:8], weights[8:]), np.full(4, 3))
    assert_array_equal(tg.jit(lambda x, y: x + y)(weights[4:8], weights[6:10]), [4, 4, 3, 3])


# ---- arguments and results of all kinds ----


def test_named_tuples_dataclasses_and_kinds_of_dicts_come_and_go():
    def f(state, batch, more):
        n = batch.xs * batch.scale
        return (Named(state.h + n, state.c), Batch(n, 2.0),
                collections.OrderedDict(b=more["a"] * 2, c=(None, "text", 3)))

    jitted = tg.jit(f)
    for k, x in enumerate(X):
        arguments = (Named(x, np.ones(4)), Batch(x, float(k)), collections.OrderedDict(a=x))
        got, expected = jitted(*arguments), f(*arguments)
        assert [type(a) for a in got] == [type(e) for e in expected]
        assert_array_equal(got[0].h, expected[0].h)
        assert_array_equal(got[1].xs, expected[1].xs)
        assert_array_equal(got[2]["b"], expected[2]["b"])
        assert got[1].scale == 2.0 and got[2]["c"] == expected[2]["c"]
    assert len(jitted.recordings) == 1


def test_an_object_that_comes_as_an_argument_is_looked_into():
    thing, model, rng = Thing(), nn.Linear(4, 2, dtype=np.float64), np.random.default_rng(0)
    factor = [1.0]

    def f(thing, model, rng, function):
        loss = np.sum(model(thing.x * thing.scale)) * function(rng.random())
        loss.backward()
        model.W.data -= 0.1 * model.W.grad.data
        model.zero_grad()
        return loss

    other, twin, same = copy.deepcopy((thing, model, rng))
    jitted = tg.jit(f)
    for i, x in enumerate(X):
        factor[0] = 1.0 + i // 2
        for t in (thing, other):
            t.x, t.scale = x, 1.0 + i // 3
        expected = f(other, twin, same, lambda u: u * factor[0])
        got = jitted(thing, model, rng, lambda u: u * factor[0])
        assert_allclose(got.item(), expected.item(), rtol=1e-12)
        assert_allclose(model.W.numpy(), twin.W.numpy(), rtol=1e-12)
        assert rng.bit_generator.state == same.bit_generator.state


def test_a_constant_that_is_returned_is_new_each_time():
    jitted = tg.jit(lambda x: (x + 1, np.arange(3), Tensor(np.zeros(2))))
    for x in X:
        _, ids, zeros = jitted(x)
        assert_array_equal(ids, [0, 1, 2])
        assert_array_equal(zeros.numpy(), [0, 0])
        ids += 7
        zeros.data[:] = 7


@pytest.mark.parametrize("x", [np.asfortranarray(X[0]), X[0][::-1], X[0].astype(">f8"),
                               np.broadcast_to(X[0][0], (3, 4)), np.zeros((0, 4)),
                               np.arange(12, dtype=np.int8).reshape(3, 4), X[0] > 0,
                               X[0].astype(np.float16), X[0] + 1j])  # fmt: skip
def test_arrays_of_all_kinds(x):
    def f(x):
        y = np.concatenate([x, x * 2])
        return y, y.T.copy(), x.sum(0), np.multiply(x, x).ravel(), x[1:], x.flatten()

    jitted = tg.jit(f)
    for _ in range(3):
        for a, b in zip(jitted(x), f(x), strict=True):
            assert a.dtype == b.dtype
            # NumPy 2.1 adds up rows that lie backwards in another order where it has an ``out``
            assert_allclose(a, b, rtol=1e-14)


@pytest.mark.parametrize("x", [np.ones(1).view(np.recarray), np.ma.masked_array([1.0], [True])],
                         ids=["recarray", "masked"])
def test_arrays_that_compute_in_ways_of_their_own_are_refused(x):
    with pytest.raises(JitError, match="computes in a way of its own"):
        tg.jit(lambda a, b: a + b)(np.ones(1), x)


# ---- what comes in unseen is noticed ----

# Each is a function of an array and of what it goes on with: rows, counts, random numbers.
UNSEEN = {
    "iterator": lambda x, rows, n, r: x + next(rows),
    "ids": lambda x, rows, n, r: x[np.array([next(n) % 3])],
    "counter": lambda x, rows, n, r: x * next(n),
    "random": lambda x, rows, n, r: x * r.random(),
    "returned": lambda x, rows, n, r: (x * 2, next(n)),
    "branch": lambda x, rows, n, r: x if next(n) % 2 else x * 2,
    "shape": lambda x, rows, n, r: x[: 1 + next(n) % 2],
}


def unseen(name):
    f, rows, n, r = UNSEEN[name], iter(X), itertools.count(), random.Random(0)
    return lambda x: f(x, rows, n, r)


@pytest.mark.parametrize("name", UNSEEN)
def test_what_comes_in_unseen_is_noticed_before_anything_is_replayed(name):
    f, g = unseen(name), unseen(name)
    jitted, x = tg.jit(f), X[0]
    with pytest.raises(JitError) as error:
        for _ in range(3):
            expected = g(x)
            assert_array_equal(flat(jitted(x))[0], flat(expected)[0])
    if name not in ("returned", "branch"):
        assert "test_jit_reach.py:" in str(error.value) and "then,\n" in str(error.value)
    jitted = tg.jit(unseen(name), fallback="eager")
    for _ in range(5):
        jitted(x)


def test_what_is_made_ready_at_the_first_call_is_no_reason_to_refuse():
    @functools.cache
    def positions(n):
        return np.sin(np.arange(n))

    ready = set()

    def f(x):
        if not ready:
            x = x * 1.0
        ready.add(1)
        return x + positions(4)

    jitted = tg.jit(f)
    for x in X:
        assert_array_equal(jitted(x), x + np.sin(np.arange(4)))


def test_what_is_kept_where_nobody_looks_is_noticed():
    current, many = threading.local(), [None] * 2000

    @functools.cache
    def ready():
        return np.exp(current.x)

    def caches(x):
        current.x = x
        return x + ready()

    def stores(x):
        many[5] = x * 2
        return x

    def generates(x):
        return (x * k for k in range(3))

    for f in (caches, stores, generates):
        with pytest.raises(JitError, match="keeps float64"):
            tg.jit(f)(X[0])


def test_an_attribute_that_is_made_is_refused_and_taken_away():
    thing = Thing()

    def f(x):
        thing.last = x * 2
        return x

    with pytest.raises(JitError, match="makes or deletes the attribute 'last' of a Thing"):
        tg.jit(f)(X[0])
    assert not vars(thing)


# ---- graphs end at a recorded function, and it says so ----


def test_a_gradient_through_a_recorded_function_is_refused():
    w = nn.Parameter(np.ones(4))
    jitted = tg.jit(lambda x: np.sum(x * w))
    for _ in range(3):
        y = jitted(X[0])
        assert y.requires_grad
        with pytest.raises(JitError, match=r"test_jit_reach.py:\d+.*which keeps no graph"):
            (y + np.sum(w)).backward()
        with pytest.raises(JitError, match="which keeps no graph"):
            tg.value_and_grad(jitted)(X[0])
        assert w.grad is None


def test_a_graph_that_comes_in_is_refused_where_it_is_wanted():
    w, v = nn.Parameter(np.ones((4, 4))), nn.Parameter(np.ones((4, 4)))

    @tg.jit
    def step(h):
        loss = np.sum((h @ v) ** 2)
        loss.backward()
        grad = v.grad
        v.grad = None
        return loss, grad

    with pytest.raises(JitError, match="with a graph from outside"):
        step(X[0] @ w)
    assert w.grad is None
    for x in X:
        loss, grad = step((x @ w).detach())
        twin = nn.Parameter(np.ones((4, 4)))
        expected = np.sum((x @ w.detach() @ twin) ** 2)
        expected.backward()
        assert_allclose([loss.item(), *grad.numpy().ravel()],
                        [expected.item(), *twin.grad.numpy().ravel()], rtol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_transforms_inside_take_arrays(seed):
    def f(x, v):
        def cube(t):
            return np.sum(np.tanh(t) ** 3)

        return (*tg.value_and_grad(cube)(x), *tg.hvp(cube, x, v), *tg.vjp(np.tanh, x, v),
                *tg.jvp(np.tanh, x, v), tg.jacobian(np.tanh, x[0]))  # fmt: skip

    jitted, rng = tg.jit(f), np.random.default_rng(seed)
    for _ in range(3):
        x, v = rng.normal(size=(2, 2, 3))
        for a, b in zip(jitted(x, v), f(x, v), strict=True):
            assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-14)


def test_recordings_within_recordings():
    def world(wrap):
        w = nn.Parameter(np.ones((4, 4)))

        @wrap
        def inner(x):
            loss = np.sum(np.tanh(x @ w) ** 2)
            loss.backward()
            w.data -= 0.1 * w.grad.data
            w.grad = None
            return loss

        return wrap(lambda x: inner(x) + inner(x * 2)), w

    (f, w), (g, v) = world(lambda f: f), world(tg.jit)
    for x in X:
        assert_allclose(g(x).item(), f(x).item(), rtol=1e-12)
        assert_allclose(v.numpy(), w.numpy(), rtol=1e-12)


class Trained:
    def __init__(self, seed):
        self.layer = nn.Linear(4, 2, dtype=np.float64, rng=np.random.default_rng(seed))
        self.other = tg.jit(lambda x: x @ self.layer.W)

    @tg.jit
    def step(self, x, rate=0.1):
        """One step."""
        loss = np.sum(self.layer(x) ** 2)
        loss.backward()
        for p in self.layer.parameters():
            p.data -= rate * p.grad.data
        self.layer.zero_grad()
        return loss


def test_a_method_is_recorded_for_all_objects_of_its_kind():
    one, two, twin = Trained(0), Trained(1), Trained(0)
    for x in X:
        loss = one.step(x, 0.01)
        two.step(x, 0.02)
        assert_allclose(loss.item(), Trained.step.f(twin, x, 0.01).item(), rtol=1e-12)
        assert_allclose(one.layer.W.numpy(), twin.layer.W.numpy(), rtol=1e-12)
    assert len(Trained.step.recordings) == 1 and Trained.step.__doc__ == "One step."


def test_what_holds_a_recorded_function_can_be_copied():
    one = nn.Linear(4, 4, dtype=np.float64)
    one.step = tg.jit(one.forward)
    one.step(X[0])
    two = copy.deepcopy(one)
    two.W.data[...] = 0
    assert_array_equal(two.step(X[0]).numpy(), np.zeros((3, 4)) + two.b.numpy())
    assert one.step(X[0]).numpy().any() and len(one.step.recordings) == 1


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


def test_without_the_garbage_collector_memory_does_not_grow():
    jitted = tg.jit(Trained(0).layer.forward)
    batches = [X[0].copy() for _ in range(300)]
    for x in batches[:10]:
        jitted(x)
    kept = [weakref.ref(x) for x in batches]
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(100):  # until the free lists of Python are full
            jitted(batches.pop())
        before, _ = tracemalloc.get_traced_memory()
        while batches:
            jitted(batches.pop())
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        gc.enable()
    assert after - before < 2_000
    del x
    assert sum(x() is not None for x in kept) <= 1  # that of the last call, for explain()


# ---- NumPy's own ways to edit, and what a recording cannot say ----


def view_chain(x):
    b = x.copy()
    v = b.T[1:][0]
    w = b.reshape(4, 3)
    v += 5
    w[0] = 1
    flat = b.flatten()
    flat += 7
    same = v.astype(x.dtype, copy=False)
    same -= 1
    np.copyto(b, x, where=x > 0)
    np.copyto(w[1], 4.0)
    return b, v, w, flat, same


def where_and_out(x):
    inverse = np.divide(1, x, out=np.zeros_like(x), where=x > 0)
    np.add.at(inverse, np.array([0, 0]), x[:2])
    return inverse, np.sum(x, where=x > 0), x.std(), x.var(0), x.round(1)


def sorted_rows(x):
    y = x.copy()
    y.sort()
    return y, np.sort(x, 0), x.real, x.conj()


@pytest.mark.parametrize("f", [view_chain, where_and_out, sorted_rows])
def test_edits_in_numpys_own_ways(f):
    jitted = tg.jit(f)
    for x in X:
        for a, b in zip(jitted(x), f(x), strict=True):
            assert_array_equal(a, b)


def without_warning(fn, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fn(*args, **kwargs)


SAID = {
    "how many elements": [lambda x: x[: x.argmax()], lambda x: np.where(x > 0),
                          lambda x: np.compress(x[:, 0] > 0, x, 0),
                          lambda x: np.bincount(np.argmax(x, 0)),
                          lambda x: np.repeat(x, np.argmax(x, 0), 1)],
    "edits its argument": [lambda x: np.median(x, overwrite_input=True)],
    "would become a plain one": [lambda x: np.array([x, x])],
    r"\.flat": [lambda x: x.flat[0]],
    "Python objects": [lambda x: x * np.array(1.0, object)],
    "leaves the other elements": [lambda x: without_warning(np.add, x, 1, where=x > 0)],
}  # fmt: skip


@pytest.mark.parametrize("said, f", [(said, f) for said, fs in SAID.items() for f in fs])
def test_what_cannot_be_said_on_a_tape_names_its_line(said, f):
    with pytest.raises(JitError, match=r"test_jit_reach.py:\d+.*" + said):
        tg.jit(f)(X[0])


def test_a_float_argument_that_decides_is_refused_and_an_int_is_not():
    jitted = tg.jit(lambda x, k: x * 2 if k == 1 else x)
    assert_array_equal(jitted(X[0], 1), X[0] * 2)
    assert_array_equal(jitted(X[0], 2), X[0])
    for f in (lambda x, k: x if k > 0 else -x, lambda x, k: x * {1.0: 2}.get(k, 3),
              lambda x, k: x * len(f"{k}"), lambda x, k: x * round(k)):  # fmt: skip
        with pytest.raises(JitError, match="may decide if it is an int"):
            tg.jit(f)(X[0], 1.0)


def test_an_error_of_the_recorder_stays_one_inside_the_engine():
    table = np.ones(4).view(np.recarray)
    for kwargs in ({}, {"fallback": "eager"}):
        f = tg.jit(lambda x: Tensor(x) + table, **kwargs)
        if kwargs:
            assert_array_equal(f(X[0]).numpy(), X[0] + 1)
        else:
            with pytest.raises(JitError, match="recarray computes in a way of its own"):
                f(X[0])


ASSIGNED = [
    "a[1:] = a[:-1]", "a[:-1] = a[1:]", "a[...] = a[::-1]", "a[...] = a[:, ::-1]", "a[...] = a.T",
    "a[:, 0] = a[:, 1]", "a[:, ::2] = a[:, 1::2]", "a[:2] = a[::2]", "a[0] = a[0][::-1]",
    "a[0, :3] = a[:3, 0]", "np.copyto(a[1:], a[:-1])", "a[1:] -= a[:-1]", "a[0] += 1",
    "a[:2][1] *= 2", "a[1:3] = a[1:3]",
]  # fmt: skip


@pytest.mark.parametrize("line", ASSIGNED)
def test_an_array_is_assigned_parts_of_itself(line):
    exec(f"def f(a):\n    {line}\n    return a.copy()", names := {"np": np})
    eager, recorded = (np.random.default_rng(0).normal(size=(4, 4)) for _ in range(2))
    jitted = tg.jit(names["f"])
    for _ in range(4):
        assert_allclose(jitted(recorded), names["f"](eager), rtol=1e-13)
        assert_allclose(recorded, eager, rtol=1e-13)


def edited(h, x):
    h -= 0.1 * x
    return np.sum(h)


def flat_before(h, x):
    old = h.reshape(-1)
    h *= x
    return old * 1


def flat_edited(h, x):
    flat = h.reshape(h.size)
    flat += 1
    return h * x


LAYOUTS = {
    "columns": lambda: np.ones((80, 120), np.float32)[:, :60],
    "every other": lambda: np.ones((160, 120), np.float32)[::2, ::2],
    "backwards": lambda: np.ones((80, 60), np.float32)[::-1],
    "steps": lambda: np.ones(9600, np.float32)[::2].reshape(80, 60),
    "Fortran": lambda: np.ones((60, 80), np.float32).T,
    "C": lambda: np.ones((80, 60), np.float32),
}


@pytest.mark.parametrize("f", [edited, flat_before, flat_edited])
def test_arrays_that_lie_in_any_way_are_edited(f):
    """What is a view of one array is a copy of another; one function takes them in turn."""
    jitted = tg.jit(f)
    for make in LAYOUTS.values():
        eager, recorded, x = make(), make(), np.full((80, 60), 0.5, np.float32)
        for _ in range(3):
            assert_allclose(jitted(recorded, x), f(eager, x), rtol=1e-5)
            assert_allclose(recorded, eager, rtol=1e-6)


def test_memory_shared_in_other_ways_is_refused():
    a = np.ones((4, 3))
    held = {"a": a, "view": np.lib.stride_tricks.as_strided(a)[::-1]}

    def step(x):
        held["a"] -= held["view"] * x

    with pytest.raises(JitError, match="share memory"):
        tg.jit(step)(a * 2)


def test_what_another_function_reads_of_a_module_is_read_anew(monkeypatch):
    config = types.ModuleType("config_of_two")
    monkeypatch.setitem(sys.modules, "config_of_two", config)
    config.a, config.b = 1.0, np.ones(4)

    def other(x):
        return x * config.b

    jitted = tg.jit(lambda x: x * config.a + other(x))
    for i in range(5):
        config.b = np.full(4, float(i))
        if i == 3:
            config.a = 2.0
        assert_allclose(jitted(X[0]), X[0] * config.a + X[0] * i)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_loss_of_next_to_nothing(n):
    def step(x, ts):
        loss = tg.functional.cross_entropy(x @ W, ts) ** 2
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    W = nn.Parameter(np.ones((3, 2), np.float32))
    optimizer = tg.optim.SGD([W], lr=0.1)
    jitted = tg.jit(step)
    x, ts = np.arange(3 * n, dtype=np.float32).reshape(n, 3), np.zeros(n, int)
    for _ in range(3):
        before = W.numpy().copy()
        got, after = jitted(x, ts).item(), W.numpy().copy()
        W.data[...] = before
        assert_allclose(got, step(x, ts).item(), rtol=1e-5)
        assert_allclose(after, W.numpy(), rtol=1e-5)
