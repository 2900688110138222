"""What a recorded function returns or keeps is the very array or object that it is in eager runs:
who edits it afterwards edits the same things."""

import threading
import types
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn.jit import JitError


def numbers(x):
    """All numbers in a structure."""
    if isinstance(x, (list, tuple)):
        return [n for item in x for n in numbers(item)]
    if isinstance(x, dict):
        return numbers(list(x.values()))
    if isinstance(x, SimpleNamespace):
        return numbers(vars(x))
    if x is None:
        return []
    return np.array(x.data if isinstance(x, tg.Tensor) else x, float).ravel().tolist()


def kept(held, x):
    held.h = np.tanh(held.h + x)
    return held.h


def kept_and_a_view(held, x):
    hs = np.cumsum(np.stack([held.h, x]), 0)
    held.h, held.hs = hs[-1], hs
    return hs[0], hs, hs.T[1]


def a_view_of_what_is_reached(held, x):
    held.h[1:] += x[1:]
    held.part = held.h[:2]
    return held.h[1:], held.h.reshape(2, 2)


def an_argument(held, x):
    return x, x[1:], x * 2


def twice(held, x):
    y = x * 2
    return y[:2], y, {"again": y, "part": y[1:]}


def a_view_twice(held, x):
    y = x * 2
    held.part, held.hs = y[1:], y[1:]
    return held.hs, held.part


def a_tensor_twice(held, x):
    held.t = np.tanh(held.t + x)
    return held.t, [held.t]


def what_a_parameter_holds(held, x):
    return held.weight.data, held.weight.data[1:]


def a_constant(held, x):
    return held.list, held.list[1], x * held.list[0]


def the_object(held, x):
    held.h = held.h + x
    return held, held.h


@pytest.mark.parametrize("f", [
    kept, kept_and_a_view, a_view_of_what_is_reached, an_argument, twice, a_view_twice,
    a_tensor_twice, what_a_parameter_holds, a_constant, the_object])  # fmt: skip
def test_who_edits_what_comes_out_edits_what_eager_would(f):
    def run(jit):
        def edit(x, by):
            if isinstance(x, (list, tuple, dict)):
                for i, item in enumerate(list(x.values()) if isinstance(x, dict) else x):
                    edit(item, by + i)
            elif isinstance(x, (np.ndarray, tg.Tensor)):
                (x.data if isinstance(x, tg.Tensor) else x)[...] *= by

        told, call = [], jit(f)
        two = [SimpleNamespace(h=np.ones(4) * i, hs=np.zeros((2, 4)), part=None, list=[
            2.5, np.ones(3)], t=tg.Tensor(np.zeros(4)), weight=tg.nn.Parameter(np.ones(3)))
            for i in range(2)]
        for k in range(8):
            held, x = two[k % 3 % 2], np.arange(4.0) + k
            out = call(held, x)
            edit(out, 2.0 + k)
            held.part = None
            told.append(numbers([out, x, two]))
        return told

    assert run(lambda f: f) == run(tg.jit)


def test_an_object_that_a_replay_cannot_find_is_refused():
    class Slots:
        __slots__ = ("h",)

    def method(thing, x):
        return thing, x * 2

    def double(x):
        return 2 * x

    one = Slots()
    one.h = np.ones(3)
    for thing in (one, {1, 2}, double):
        with pytest.raises(JitError, match="that it reaches"):
            tg.jit(method)(thing, np.ones(3))
    first, second = (tg.jit(lambda x: ({1}, x))(np.ones(3))[0] for _ in range(2))
    assert first is not second


def test_sets_and_bytes_are_put_back_and_an_edit_of_them_is_refused():
    for bag, edit in (({1}, lambda bag: bag.add(bag.pop() + 1)),
                      (bytearray(b"a"), lambda bag: bag.append(1))):
        was = type(bag)(bag)

        def f(x, bag=bag, edit=edit):
            edit(bag)
            return x * 2

        with pytest.raises(JitError, match="changes which items a"):
            tg.jit(f)(np.ones(2))
        assert bag == was
        assert_array_equal(tg.jit(f, fallback="eager")(np.ones(2)), [2, 2])
        assert bag != was


def test_a_list_that_is_emptied_and_an_attribute_that_is_deleted_are_refused():
    def pop(items):
        return items.pop() * 2

    def delete(held):
        h = held.h
        del held.h
        return h * 2

    items, held = [np.ones(2), np.ones(2)], SimpleNamespace(h=np.ones(2))
    for f, given in ((pop, items), (delete, held)):
        with pytest.raises(JitError):
            tg.jit(f)(given)
    assert len(items) == 2
    assert_array_equal(held.h, [1, 1])


def test_looking_a_number_up_and_keeping_warnings_are_refused():
    def look(x):
        return x * len(set(np.sign(x)))

    def caught(x):
        with warnings.catch_warnings(record=True) as found:
            y = np.negative(x)
        return y * len(found)

    for f, match in ((look, "a look-up"), (caught, "warnings are caught")):
        with pytest.raises(JitError, match=match):
            tg.jit(f)(np.array([1.0, -1.0, 2.0]))


def test_another_thread_may_keep_warnings_as_a_compiler_does():
    away, caught, done = types.ModuleType("away"), threading.Event(), threading.Event()

    def other():
        with warnings.catch_warnings(record=True):
            caught.set()
            done.wait(60)

    thread, times = threading.Thread(target=other), []

    def meet():
        times.append(1)
        if len(times) == 2:  # the call that is recorded
            thread.start()
            assert caught.wait(60)

    away.meet = meet

    def f(x):
        vars(away)["meet"]()
        with warnings.catch_warnings():
            return np.negative(x)

    try:
        assert_array_equal(tg.jit(f)(np.ones(3)), -np.ones(3))
    finally:
        done.set()
        thread.join()
