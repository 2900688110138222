"""tg.jit: what is exchanged behind an object's back, in its class, its values or its dict, once its
step is replayed without looking at all that it reaches, is seen all the same."""

import argparse
import collections
import configparser
import ctypes
import functools
import threading
import types
import weakref
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pytest
from jit_worlds import Thing, X
from numpy.testing import assert_allclose

import tinygrad_rnn as tg

# Each: the function, and the change before call i. Call 2 is the first that is replayed, and what
# it reached is then watched; so it is other in call 3, and in call 4 as it was.


def bases_of_a_class():
    class Once:
        def __call__(self, x):
            return x

    class Twice:
        def __call__(self, x):
            return 2 * x

    class Own(Once):
        pass

    def change(i):
        Own.__bases__ = (Twice if i == 3 else Once,)

    own = Own()
    return lambda x: own(x), change


class Kind(type):
    factor = 1.0

    def __mul__(cls, x):
        return x * cls.factor


class OfKind(metaclass=Kind):
    pass


def attribute_of_a_metaclass():
    def change(i):
        Kind.factor = 1.0 + (i == 3)

    return lambda x: OfKind * x, change


class Given:
    def __init__(self, value=1.0):
        self.value = value

    def __get__(self, *_):
        return self.value


class Described:
    scale = Given()


def descriptor():
    described = Described()

    def change(i):
        vars(Described)["scale"].value = 1.0 + (i == 3)

    return lambda x: x * described.scale, change


KINDS = {
    "function": lambda v: lambda self: v, "property": lambda v: property(lambda self: lambda: v),
    "static method": lambda v: staticmethod(lambda: v),
    "class method": lambda v: classmethod(lambda cls: v),
    "partial method": lambda v: functools.partialmethod(lambda self, w: w, v),
    "descriptor": lambda v: Given(lambda: v), "number": lambda v: v,
}  # fmt: skip


def in_a_class(kind):
    class Own:
        @property
        def scale(self):
            return self.part() if callable(self.part) else self.part

    def there_is():
        own, one, other = Own(), KINDS[kind](1.0), KINDS[kind](2.0)

        def change(i):
            Own.part = other if i == 3 else one

        return lambda x: x * own.scale, change

    there_is.__name__ = f"another {kind} in a class"
    return there_is


def default_of_a_dict():
    kept = collections.defaultdict(lambda: 1.0)

    def change(i):
        kept.default_factory = (lambda: 2.0) if i == 3 else (lambda: 1.0)

    return lambda x: x * kept.default_factory(), change


def all_attributes_at_once():
    thing = Thing()

    def change(i):
        thing.__dict__ = {"scale": 1.0 + (i == 3)}

    return lambda x: x * thing.scale, change


def value_of_a_kind_of_float():
    class Number(float):
        pass

    thing = Thing()

    def change(i):
        thing.scale = Number(1 + (i == 3))

    return lambda x: x * float(thing.scale), change


def sign_of_a_complex_zero():
    thing = Thing()

    def change(i):
        thing.z = complex(-1, -0.0 if i == 3 else 0.0)

    return lambda x: x * np.sqrt(thing.z).imag, change


class Vector(np.ndarray):
    pass


def items(kept):
    def change(i):
        kept[0] = 1.0 + (i == 3)

    return lambda x: x * float(kept.sum()), change


def items_of_a_kind_of_array():
    return items(np.ones(3).view(Vector))


def items_of_a_masked_array():
    return items(np.ma.array([1.0, 2.0], mask=[False, True]))


def mask_of_an_array():
    kept = np.ma.array([1.0, 2.0], mask=[False, True])

    def change(i):
        kept.mask[1] = i != 3

    return lambda x: x * float(kept.sum()), change


class Pair(NamedTuple):
    first: float
    factor = 1.0

    def of(self, x):
        return x * self.first * self.factor


def attribute_of_a_named_tuple():
    pair = Pair(2.0)

    def change(i):
        Pair.factor = 1.0 + (i == 3)

    return lambda x: pair.of(x), change


class Ids(set):
    pass


def attribute_of_a_kind_of_set():
    kept = Ids([1.0])

    def change(i):
        kept.factor = 1.0 + (i == 3)

    return lambda x: x * kept.factor, change


class Private:
    __slots__ = ("__scale",)

    def set(self, value):
        self.__scale = value

    def __call__(self, x):
        return x * self.__scale


def private_slot():
    kept = Private()
    return lambda x: kept(x), lambda i: kept.set(1.0 + (i == 3))


def partial_method():
    class Own:
        def by(self, x, factor):
            return x * factor

    def change(i):
        Own.half = functools.partialmethod(Own.by, factor=1.0 + (i == 3))

    change(0)
    own = Own()
    return lambda x: own.half(x), change


def key_that_is_equal():
    kept = {}

    def change(i):
        kept.clear()
        kept[-0.0 if i == 3 else 0.0] = None

    return lambda x: np.copysign(x, next(iter(kept))), change


def value_that_is_equal(one, other, read):
    thing = Thing()

    def change(i):
        thing.scale = other if i == 3 else one

    return lambda x: x * read(thing.scale), change


def decimal_that_is_equal():
    return value_that_is_equal(Decimal("1.0"), Decimal("1.00"), lambda x: len(str(x)))


def range_that_is_equal():
    return value_that_is_equal(range(0, 3, 2), range(0, 4, 2), lambda x: x.stop)


def attribute_of_a_partial():
    twice = functools.partial(np.multiply, 2)

    def change(i):
        twice.factor = 1.0 + (i == 3)

    return lambda x: twice(x) * twice.factor, change


class Factor(functools.partial):
    factor = 1.0


def class_of_a_partial():
    twice = Factor(np.multiply, 2)

    def change(i):
        Factor.factor = 1.0 + (i == 3)

    return lambda x: twice(x) * twice.factor, change


def what_an_exception_says():
    error = ValueError()

    def change(i):
        error.args = (1.0 + (i == 3),)

    return lambda x: x * error.args[0], change


def flag_of_a_thread():
    stop = threading.Event()
    return lambda x: x * 2 if stop.is_set() else x, lambda i: (stop.clear, stop.set)[i == 3]()


def configuration():
    config = configparser.ConfigParser()

    def change(i):
        config["training"] = {"rate": "0.5" if i == 3 else "0.1"}

    return lambda x: x * config.getfloat("training", "rate"), change


def weakly_held(kind):
    def world():
        key, kept = Thing(), kind()

        def change(i):
            key.scale = 1.0 + (i == 3)
            if kind is weakref.WeakSet:
                kept.add(key)
            else:
                kept[key if kind is weakref.WeakKeyDictionary else "key"] = key

        return lambda x: x * next(iter(getattr(kept, "values", lambda: kept)())).scale, change

    world.__name__ = kind.__name__
    return world


def array_behind_a_reference():
    kept = np.ones(4)
    held = weakref.ref(kept)
    return lambda x: x * held(), lambda i: kept.fill(1.0 + (i == 3))


def number_of_c():
    number = ctypes.c_double()
    return lambda x: x * number.value, lambda i: setattr(number, "value", 1.0 + (i == 3))


def field_of_a_record():
    rows = np.zeros(2, [("scale", float)])
    row = rows[1]
    return lambda x: x * row["scale"], lambda i: rows["scale"].fill(1.0 + (i == 3))


def dict_behind_its_method():
    kept = {}
    get = kept.get
    return lambda x: x * get("scale"), lambda i: kept.update(scale=1.0 + (i == 3))


def array_behind_its_method():
    kept = np.ones(4)
    copy = kept.copy
    return lambda x: x * copy(), lambda i: kept.fill(1.0 + (i == 3))


def dict_behind_its_values():
    kept = {"scale": 1.0}
    values = kept.values()
    return lambda x: x * sum(values), lambda i: kept.update(scale=1.0 + (i == 3))


def static_method_in_a_list():
    thing = Thing()
    kept = [staticmethod(lambda x: x * thing.scale)]
    return lambda x: kept[0](x), lambda i: setattr(thing, "scale", 1.0 + (i == 3))


def whether_it_is_read_only():
    kept = np.ones(4)
    return (lambda x: x * 2 if kept.flags.writeable else x,
            lambda i: kept.setflags(write=i != 3))


class Tenfold:
    def __init__(self):
        vars(self)["scale"] = np.ones(4)

    @property
    def scale(self):
        return vars(self)["scale"] * 10


def what_a_property_hides():
    kept = Tenfold()
    return lambda x: x * kept.scale, lambda i: vars(kept)["scale"].fill(1.0 + (i == 3))


def object_of_another_class_with_the_same_in_it():
    kept, kinds = Thing(), (types.SimpleNamespace, argparse.Namespace)

    def change(i):
        kept.part = kinds[i == 3](scale=2.0)

    return lambda x: x * kept.part.scale if type(kept.part) is kinds[0] else x, change


@pytest.mark.parametrize("there_is", [
    bases_of_a_class, attribute_of_a_metaclass, descriptor, *map(in_a_class, KINDS),
    default_of_a_dict,
    all_attributes_at_once, value_of_a_kind_of_float, sign_of_a_complex_zero,
    items_of_a_kind_of_array, items_of_a_masked_array, mask_of_an_array,
    attribute_of_a_named_tuple, attribute_of_a_kind_of_set, private_slot, partial_method,
    key_that_is_equal, decimal_that_is_equal, range_that_is_equal, attribute_of_a_partial,
    class_of_a_partial, what_an_exception_says, flag_of_a_thread, configuration,
    *map(weakly_held, (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)),
    array_behind_a_reference, number_of_c, field_of_a_record, dict_behind_its_method,
    array_behind_its_method, dict_behind_its_values, static_method_in_a_list,
    whether_it_is_read_only, what_a_property_hides,
    object_of_another_class_with_the_same_in_it])  # fmt: skip
def test_what_is_exchanged_is_seen(there_is):
    f, change = there_is()
    jitted = tg.jit(f)
    for i in range(5):
        change(i)
        assert_allclose(jitted(X[0]), f(X[0]), rtol=1e-13, err_msg=f"call {i}")


def test_what_is_read_or_set_with_side_effects_is_not_asked_by_the_recorder():
    class Own:
        def __init__(self):
            self.scale = 0.5

        def __getattribute__(self, name):
            value = object.__getattribute__(self, name)
            return 2 * value if name == "scale" else value

        def __setattr__(self, name, value):
            vars(self)["set"] = vars(self).get("set", 0) + 1
            vars(self)[name] = value

    own = Own()
    jitted = tg.jit(lambda x: x * own.scale)
    for _ in range(3):
        assert_allclose(jitted(X[0]), X[0])
    assert vars(own) == {"scale": 0.5, "set": 1}


def test_the_method_of_a_generator_draws_anew():
    def world(jit):
        rng = np.random.default_rng(0)
        draw, own = rng.standard_normal, rng
        return jit(lambda x: x + draw(x.shape) + own.random())

    f, jitted = world(lambda f: f), world(tg.jit)
    for _ in range(4):
        assert_allclose(jitted(X[0]), f(X[0]))


@pytest.mark.parametrize("kind", [ctypes.c_double, "memoryview", "reference"])
def test_an_edit_where_nothing_can_be_exchanged_is_refused_and_undone(kind):
    kept = np.ones(4)
    number, view, held = ctypes.c_double(1), memoryview(kept), weakref.ref(kept)

    def f(x):
        if kind == "memoryview":
            view[0] += 1
        elif kind == "reference":
            np.add(held(), 1, out=held())
        else:
            number.value += 1
        return x * 1.0

    with pytest.raises(tg.JitError, match="changes which items"):
        tg.jit(f)(X[0])
    falls_back = tg.jit(f, fallback="eager")
    for _ in range(3):
        falls_back(X[0])
    assert number.value + kept[0] == 5
