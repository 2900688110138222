"""tg.jit on several threads: the same numbers; errors and Ctrl-C arrive when all have stopped."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaves import seeds
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import functional as F
from tinygrad_rnn import nn
from tinygrad_rnn.jit import blocks


def test_two_threads_replay_two_recordings():
    results = {}

    def work(seed):
        rng = np.random.default_rng(seed)
        layer = nn.GRU(3, 8, dtype=np.float64, rng=rng)
        f = tg.jit(lambda xs: np.sum(layer(xs)[0] ** 2))
        xs = rng.normal(size=(20, 4, 6, 3))
        results[seed] = [f(x).item() - np.sum(layer(x)[0] ** 2).item() for x in xs]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for differences in results.values():
        assert_allclose(differences, 0, atol=1e-12)
    assert len(results) == 4


def test_threads_that_record_at_the_same_time_leave_numpy_as_it_was():
    original, began, leave = np.random.default_rng, threading.Event(), threading.Event()

    def late(x):
        began.set()
        assert leave.wait(10)  # until the other one, which began before this one, is out
        return x + 2

    other = threading.Thread(target=tg.jit(late), args=(np.ones(2),))

    @tg.jit
    def early(x):
        if not began.is_set():
            other.start()
        assert began.wait(10)
        return x + 1

    early(np.ones(2))
    leave.set()
    other.join()
    assert np.random.default_rng is original


# ---- blocks of rows ----


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(blocks, "threads", lambda: 2)
    monkeypatch.setattr(blocks, "SMALL", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.integers(1, 9), st.integers(1, 20))
def test_row_blocks_on_two_threads_are_the_functions_they_stand_for(two_threads, seed, n, classes):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    x, scale, loss = logits.copy(), rng.normal(size=n), np.empty(n)
    scale[rng.random(n) < 0.2] = 0
    blocks.totals_of_rows(x, out=(totals := np.empty((n, 2))))
    assert_array_equal(totals, F._row_totals(x))
    expected = F._nll_slope(x, targets, totals, scale)
    blocks.nll_slope(x.copy(), targets, totals, scale, out=(slope := np.empty_like(x)))
    assert_array_equal(slope, expected)
    bias = rng.normal(size=classes)
    p = np.empty_like(x)
    blocks.softmax_nll(x - bias, bias, targets, None, out=(p, loss))
    assert_allclose(p, F.softmax(x).numpy(), rtol=1e-12)
    blocks.softmax_nll(x, bias * 0, targets, scale, out=(p, loss))
    assert_allclose(p, expected, rtol=1e-12, atol=1e-12)
    blocks.softmax_nll(x, None, targets, None, out=(x, loss))  # in place
    assert_allclose(loss, F._nll(logits, targets, totals), rtol=1e-12, atol=1e-12)
    blocks.softmax_slope(x, targets, scale, out=x)
    assert_allclose(x, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_the_end_of_what_is_updated_in_blocks():
    done = []

    def work():
        for _ in range(3):  # somebody in a hurry
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), blocks.signals_later():
        work()
    assert done == [1]


@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_an_error_in_a_block_arrives_when_all_threads_have_stopped(two_threads, error):
    done, began = [], threading.Event()

    def work(block):
        if threading.current_thread() is threading.main_thread():
            assert began.wait(10)
            raise error
        began.set()
        time.sleep(0.05)
        done.append(block)

    with pytest.raises(error):
        blocks.each(work, range(100), 100)
    assert len(done) == 1
    with pytest.raises(FloatingPointError), np.errstate(divide="raise"):
        blocks.each(lambda b: np.divide(np.ones(2), b), [np.zeros(2)] * 9, 100)


# ---- lanes ----


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_an_error_in_a_lane_arrives_when_all_have_stopped(where, error):
    done, began = [], threading.Event()

    def fails():
        assert began.wait(10)
        raise error

    def works():
        began.set()
        time.sleep(0.05)
        done.append(1)

    work = [works, works]
    work[where] = fails
    if where == 1:
        began.set()
    with pytest.raises(error):
        blocks.beside(*work)
    assert done == [1]


def test_a_thread_that_outlives_the_main_one_replays():
    program = """if True:
        import threading, time
        from tinygrad_rnn.jit import blocks
        blocks.threads = lambda: 2
        done = []
        def work():
            for _ in range(6):
                blocks.beside(lambda: done.append(1), lambda: done.append(1))
                time.sleep(0.05)
            print(len(done))
        threading.Thread(target=work).start()
        time.sleep(0.1)
    """
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         check=True).stdout  # fmt: skip
    assert out.strip() == "12"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_a_recording_is_made_comes_when_all_is_in_its_place():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), blocks.signals_later() as critical:
        signal.raise_signal(signal.SIGINT)  # waits
        done.append("kept")
        critical(False)
    with pytest.raises(KeyboardInterrupt), blocks.signals_later() as critical:
        critical(False)
        critical(True)
        signal.raise_signal(signal.SIGINT)
        done.append("to the end")
    with blocks.signals_later() as critical, pytest.raises(KeyboardInterrupt):
        critical(False)
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            critical(True)
            done.append("put back")
    assert done == ["kept", "to the end", "put back"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_between_lanes_waits_for_the_last_one():
    done = []

    def works():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        done.append(1)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        blocks.beside(lambda: None, works)
    assert done == [1] and signal.getsignal(signal.SIGINT) is handler
