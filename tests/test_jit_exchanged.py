"""tg.jit: what is exchanged behind an object's back, in its class, its values or its dict, once its
step is replayed without looking at all that it reaches, is seen all the same."""

import collections
import functools
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
    value = 1.0

    def __get__(self, *_):
        return self.value


class Described:
    scale = Given()


def descriptor():
    described = Described()

    def change(i):
        vars(Described)["scale"].value = 1.0 + (i == 3)

    return lambda x: x * described.scale, change


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


@pytest.mark.parametrize("there_is", [
    bases_of_a_class, attribute_of_a_metaclass, descriptor, default_of_a_dict,
    all_attributes_at_once, value_of_a_kind_of_float, sign_of_a_complex_zero,
    items_of_a_kind_of_array, items_of_a_masked_array, mask_of_an_array,
    attribute_of_a_named_tuple, attribute_of_a_kind_of_set, private_slot, partial_method,
    key_that_is_equal])  # fmt: skip
def test_what_is_exchanged_is_seen(there_is):
    f, change = there_is()
    jitted = tg.jit(f)
    for i in range(5):
        change(i)
        assert_allclose(jitted(X[0]), f(X[0]), rtol=1e-13, err_msg=f"call {i}")
