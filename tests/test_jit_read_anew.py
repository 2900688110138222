"""tg.jit: whatever a function reaches is read anew at each call; it never goes stale in silence."""

import collections
import contextvars
import copy
import functools
import sys
import threading
import types
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from jit_worlds import Thing, X, flat
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import nn

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


class Items(dict):
    pass


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


def variable_of_a_context():
    scale = contextvars.ContextVar("scale", default=1.0)
    row = contextvars.ContextVar("row")
    row.set(np.ones(4))

    def change(i):
        scale.set(1.0 + i // 2)
        row.set(np.full(4, i))

    return lambda x: x * scale.get() + row.get(), change


def weak_references():
    model = nn.Linear(4, 2, dtype=np.float64, rng=np.random.default_rng(0))
    bound, weak = weakref.WeakMethod(model.forward), weakref.ref(model)

    def change(i, model=model):
        model.W.data *= 1 + i // 2
        model.factor = i // 2

    return lambda x: bound()(x) + weak()(x) * weak().factor, change


def a_view_of_a_dict():
    config = {"scale": 1.0, "w": np.ones(4)}
    view = types.MappingProxyType(config)

    def change(i):
        config.update(scale=1.0 + i // 2, w=np.full(4, i))

    return lambda x: x * view["scale"] + view["w"], change


def what_a_cached_function_reads():
    config = {"scale": 1.0}

    @functools.lru_cache
    def mask(n):
        return np.tri(n) * config["scale"]

    def change(i):
        config["scale"] = 1.0 + i // 2
        mask.cache_clear()

    return lambda x: mask(x.shape[0]) @ x, change


def memory():
    scales = np.ones(4)
    view = memoryview(scales)

    def change(i):
        scales[0] = i

    return lambda x: x * np.asarray(view), change


CONTENTS = {"scale": 1.0, "w": np.ones(4)}


class Local(threading.local):
    def __deepcopy__(self, _):
        new = Local()
        vars(new).update(copy.deepcopy(CONTENTS))
        return new


REACHED = {
    f.__name__: f for f in (
        globals_of_a_method, class_attribute, a_method_that_is_replaced, module,
        module_of_an_enclosing_function, global_function,
        number_of_numpy, zero, arrays_in_tuples, defaults, partial, one_array_in_two_places,
        function_attribute, bytes_that_change, a_jitted_function, variable_of_a_context,
        weak_references, a_view_of_a_dict, what_a_cached_function_reads, memory)
} | {
    "namespace": kept_in(types.SimpleNamespace(**CONTENTS), getattr, setattr),
    "slots": kept_in(Slots(), getattr, setattr),
    "ordered dict": kept_in(collections.OrderedDict(CONTENTS), item, enter),
    "default dict": kept_in(collections.defaultdict(int, CONTENTS), item, enter),
    "a kind of dict": kept_in(Items(CONTENTS), item, enter),
    "deque": kept_in(collections.deque([1.0, np.ones(4)]),
                     lambda x, name: x[name == "w"],
                     lambda x, name, value: enter(x, int(name == "w"), value)),
    "of a thread": kept_in(Local(), getattr, setattr),
    "chain of dicts": kept_in(collections.ChainMap({}, CONTENTS), item, enter),
    "UserDict": kept_in(collections.UserDict(CONTENTS), item, enter),
    "UserList": kept_in(collections.UserList([1.0, np.ones(4)]),
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
