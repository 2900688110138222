"""no_grad: nested, in threads and tasks, around generators and coroutines, left twice."""

import asyncio
import threading

import numpy as np
import pytest
from leaves import leaf

from tinygrad_rnn import Tensor, no_grad


def recorded():
    return (leaf(1) * 2).requires_grad


def test_no_grad_nests_overlaps_and_ends_with_exceptions():
    with no_grad():
        with no_grad():
            assert not recorded()
        assert not recorded()
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert recorded()
    first, second = no_grad(), no_grad()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not recorded()
    second.__exit__(None, None, None)
    assert recorded()
    assert not no_grad()(recorded)() and recorded()


def test_no_grad_is_of_one_thread_and_one_task():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(recorded()))
        thread.start()
        thread.join()
    assert seen == [True]

    async def task(off, results):
        if off:
            with no_grad():
                await asyncio.sleep(0.01)
                results.append(recorded())
        else:
            await asyncio.sleep(0.005)
            results.append(recorded())

    async def both():
        results = []
        await asyncio.gather(task(True, results), task(False, results))
        return results

    assert asyncio.run(both()) == [True, False]


def test_no_grad_decorates_generators_between_their_items():
    x = leaf(2)

    @no_grad()
    def halves(n):
        for _ in range(n):
            got = yield x * 0.5
            if got == "raise":
                raise ValueError(got)
        return "end"

    items = halves(2)
    assert halves.__name__ == "halves"
    assert not next(items).requires_grad
    assert (x * 2).requires_grad  # the block is not open between two items
    assert not items.send("more").requires_grad
    with pytest.raises(StopIteration, match="end"):
        next(items)
    items = halves(1)
    next(items)
    with pytest.raises(ValueError, match="raise"):
        items.send("raise")
    assert (x * 2).requires_grad
    closed = []

    @no_grad()
    def holding():
        try:
            yield x * 2
        except KeyError:
            yield x * 3
        finally:
            closed.append(not (x * 2).requires_grad or not x.requires_grad)

    items = holding()
    next(items)
    assert items.throw(KeyError()).tolist() == (x * 3).tolist()
    items.close()
    assert len(closed) == 1 and (x * 2).requires_grad


def test_no_grad_decorates_coroutines():
    x = leaf(2)

    @no_grad()
    async def half():
        first = x * 0.5
        await asyncio.sleep(0)
        return first.requires_grad or (x * 0.5).requires_grad

    async def beside():
        await asyncio.sleep(0)
        return (x * 2).requires_grad

    async def both():
        return await asyncio.gather(half(), beside())

    assert asyncio.run(both()) == [False, True]
    with pytest.raises(TypeError, match="asynchronous generator"):
        @no_grad()
        async def items():
            yield 1


def test_leaving_a_block_twice_is_leaving_it_once():
    block = no_grad()
    block.__enter__()
    block.__exit__(None, None, None)
    block.__exit__(None, None, None)
    x = leaf(2)
    assert (x * 2).requires_grad
    with no_grad():
        assert not (x * 2).requires_grad


def test_what_is_written_without_recording_stays_in_the_graph_that_it_was_in():
    p, gate = leaf(2), leaf(2, seed=1)
    plain = Tensor(np.zeros(2))
    y = p * gate
    with no_grad():
        p[0] = 5.0
        y[1] = gate[1]
        plain[0] = p[0]
    assert p.requires_grad and y.requires_grad and not plain.requires_grad
    assert p.data[0] == plain.data[0] == 5.0
    (p * 3.0).sum().backward()
    assert p.grad.tolist() == [3, 3]
