"""Graphs as long as one likes, and no memory kept: what nothing needs is freed at once."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from leaves import leaf
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor


def test_long_chains_backpropagate_and_are_freed():
    x = leaf()
    y = x
    for _ in range(200_000):
        y = y * 1.0
    node = weakref.ref(y)
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(200_000):  # and without a backward
        y = y + 1.0
    del y
    assert node() is None


@pytest.mark.slow
def test_a_recurrence_of_100_000_steps():
    w, h = Tensor(np.eye(1) * 0.5, requires_grad=True), Tensor(np.zeros((1, 1)))
    for _ in range(100_000):
        h = np.tanh(h @ w + 0.1)
    h.sum().backward()
    value = h.item()
    assert_allclose(w.grad.item(), value * (1 - value**2) / (1 - 0.5 * (1 - value**2)), rtol=1e-9)


def test_the_collector_does_not_walk_a_growing_graph_and_is_left_as_it_was():
    cell = tg.nn.RNNCell(2, 3)
    layer, collections = tg.nn.RNN(cell), []
    note = lambda phase, info: collections.append(phase)  # noqa: E731
    xs = np.zeros((1, 2_000, 2), "f")
    states = []
    for wanted in (gc.enable, gc.disable):
        gc.collect()
        wanted()
        gc.callbacks.append(note)
        try:
            hs, _ = layer(xs)
            cell.step = lambda *_: 1 / 0
            with pytest.raises(ZeroDivisionError):
                layer(xs)
        finally:
            gc.callbacks.remove(note)
            states.append(gc.isenabled())
            gc.enable()
            del cell.step, hs
    assert states == [True, False]
    assert len(collections) < 8  # 2,000 steps make about 20,000 objects, one collection for 700


@pytest.mark.parametrize("kind", ["trained", "no backward", "failed"])
def test_memory_does_not_grow_without_the_garbage_collector(kind):
    model, rng = tg.nn.LSTM(5, 6, 2), np.random.default_rng(0)
    optimizer = tg.optim.Adam(model.parameters())
    xs = rng.normal(size=(4, 7, 5)).astype("f")

    def step():
        hs, _ = model(xs)
        if kind == "failed":
            with pytest.raises(ValueError):
                hs @ np.ones((2, 2))
        elif kind == "trained":
            (hs * hs).mean().backward()
            tg.optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    gc.disable()
    tracemalloc.start()
    cycles, grown = [], []
    try:
        for _ in range(8):  # what Python and NumPy keep of small things fills up; a leak goes on
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                step()
            cycles.append(gc.collect())
            grown.append(tracemalloc.get_traced_memory()[0] - before)
            if grown[-1] < 2_000:
                break
    finally:
        tracemalloc.stop()
        gc.enable()
    assert min(cycles) == 0 and grown[-1] < 2_000


def test_what_no_rule_reads_is_freed_at_once():
    x = leaf(50, 50)
    product = x * 2.0
    array = weakref.ref(product._held)
    y = product + x
    del product
    assert array() is None and y.requires_grad
