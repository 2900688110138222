"""tg.jit: a recording has proven itself before it is used; what it cannot say it refuses."""

import collections
import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from contextvars import ContextVar

import numpy as np
import pytest
from jit_programs import MODES, campaign
from numpy.testing import assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn, optim
from tinygrad_rnn.jit import JitError, jitted, loops, memory, proof, recording, roll, table
from tinygrad_rnn.jit.chains import Chain

HOUSE = os.path.dirname(tg.__file__)
X = [np.random.default_rng(k).normal(size=(3, 4)) for k in range(5)]


# ---- random programs ----


@pytest.mark.parametrize("mode", [
    pytest.param(mode, marks=[] if mode in ("exact", "loops") else pytest.mark.slow)
    for mode in MODES])
def test_programs_do_under_jit_what_they_do_without(mode):
    """And no proof has anything to say to them, but to guesses: what is wrong is not only kept from
    coming out."""
    counts, found, said, plans, native = programs(mode)
    assert not found, "\n\n".join(f"seed {seed}: {why}\n{text}" for seed, *_, why, text in found)
    assert counts["same"] > 30  # most are not refused
    if not np.__version__.startswith("2.1."):  # which adds up in another order
        assert not said
        if not MODES[mode][1] or table.products_are_native():
            assert plans == PLANS[mode]
            assert native >= NATIVE.get(mode, 0)


def programs(mode):
    """Verdicts over forty programs, what differs, what proofs said, what was planned, and how many
    native calls that is."""
    said, plans, total, calls = [], {}, collections.Counter(), []
    first = 40 * [*MODES].index(mode)

    def proven(recording, *args, as_is=proof.prove):
        result, difference = as_is(recording, *args)
        if difference and type(recording) is jitted.ForSize:  # a guess
            total["guessed wrong"] += 1
        elif difference:
            said.append(difference)
        if recording.program not in plans:
            plans[recording.program] = plan(recording)
            total.update(plans[recording.program])
        return result, difference

    def native(tables, parts, as_is=table.Tables.table):
        calls.extend(ops for ops, _ in parts)
        return as_is(tables, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "load", interpreted)
        patch.setattr(jitted, "prove", proven)
        patch.setattr(table.Tables, "table", native)
        counts, _, found = campaign(range(first, first + 40), [mode], 600, quiet=True)
    said_of_plans = ", ".join(f"{k} {v}" for k, v in sorted(total.items()))
    return counts, found, said, said_of_plans, sum(map(len, calls))


# What the recordings of these programs have, all together. Other figures are other plans: if they
# are better ones, put them here: python tests/test_jit_proof.py
PLANS = {
    "exact":
        "ForSize 31, Recording 136, buffer 10200, buffers 4112, bytes 802688, calls 16807, "
        "chained 0, chains 0, copy 214, edit 420, guessed wrong 1, home 135, in lanes 0, kept "
        "317, lines 16556, loops 57, read by chains 0, recorded 28201, their buffers 596, "
        "their lines 1261",
    "lanes":
        "ForSize 8, Recording 153, buffer 5835, buffers 3879, bytes 367488, calls 15397, "
        "chained 6951, chains 765, copy 217, edit 285, home 169, in lanes 3196, kept 267, "
        "lines 14276, loops 6, read by chains 2971, recorded 32159, their buffers 63, their "
        "lines 117",
    "single":
        "ForSize 20, Recording 167, buffer 8848, buffers 6228, bytes 417792, calls 16660, "
        "chained 4494, chains 1093, copy 73, edit 452, home 123, in lanes 0, kept 977, lines "
        "18025, loops 48, read by chains 3421, recorded 35106, their buffers 477, their lines "
        "1382",
    "loops":
        "ForSize 6, Recording 148, buffer 6501, buffers 5180, bytes 456768, calls 13383, "
        "chained 6174, chains 1830, copy 90, edit 209, home 147, in lanes 3830, kept 447, "
        "lines 11662, loops 9, read by chains 5488, recorded 27594, their buffers 9, their "
        "lines 40",
    "columns":
        "ForSize 7, Recording 186, buffer 7830, buffers 6434, bytes 535040, calls 19905, "
        "chained 8408, chains 2135, copy 202, edit 290, home 222, in lanes 0, kept 692, lines "
        "14574, loops 4, read by chains 6395, recorded 38856, their buffers 15, their lines 68",
}  # fmt: skip
NATIVE = {"loops": 4650, "columns": 6061}  # at the least


def plan(recording):
    """How many of what a recording has."""
    program = recording.program
    kind = {type(recording).__name__: 1, "bytes": program.nbytes}
    if isinstance(program, roll.Unrolled):
        return kind | {"loops": program.loops, "their lines": program.lines,
                       "their buffers": len(program.buffers)}  # fmt: skip
    calls, memory = program.tape.calls, program.memory
    chains = [call for call in calls if isinstance(call.fn, Chain)]
    return kind | collections.Counter(memory.how.values()) | {
        "recorded": len(recording.recorded.calls), "calls": len(calls),
        "lines": len(program.lines), "buffers": len(memory.buffers), "chains": len(chains),
        "chained": sum(len(call.fn.chain) for call in chains),
        "read by chains": sum(len(call.fn.inputs) for call in chains),
        "in lanes": sum(call.lane is not None for call in calls),
    }  # fmt: skip


def interpreted(source):
    """A loop without the compiler, which takes a quarter of a second for each."""
    pytest.importorskip("numba")
    space = {}
    source = source[: source.index("class Apart")] + source[source.index("@njit"):]
    plain = "def njit(**_):\n    return lambda f: f\n\ncompiled = njit()\n"
    exec(source.replace("from numba import njit", plain)
         .replace("from numba.core.compiler import CompilerBase, DefaultPassBuilder", "")
         .replace("compiled = njit(cache", "_ = dict(cache"), space)
    return space["kernel"]


BREAKS = {
    "a pass": (jitted, "PASSES", (lambda tape: memory.Tape(
        tape.calls, tape.inputs, tape.constants, tape.results[::-1]),)),
    "views": (recording.Recorder, "owner", lambda self, array: None),
    "memory": (memory.Memory, "_life", lambda self, b: (*self.buffers[b][1:2], self.buffers[b][1],
                                                       -1, -1)),
    "edits": (recording.Recorder, "edited", lambda self, target, fn, args, kwargs: target),
    "writing over operands": (memory.Memory, "_ends", lambda self, value, i: value in self._in),
}  # fmt: skip


def all_kinds(x):
    """What each of the breaks changes: a view of what is edited, values that are read again after
    others were made of them, several results."""
    a = np.tanh(x)
    part = a[:3]
    a[0] = 0.5
    b = a * 2
    c = np.exp(a) @ b
    d = np.sin(c)
    return part + 1, c * d + b.sum(), np.cumsum(d, 1) - a


@pytest.mark.slow
@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_refused_and_never_silent(name, monkeypatch):
    """Nothing wrong comes out even of a recording that is made, or planned, wrongly."""
    x, recorded = np.random.default_rng(0).normal(size=(4, 4)), tg.jit(all_kinds)
    for _ in range(3):
        recorded(x)
    monkeypatch.setattr(*BREAKS[name])
    with pytest.raises(JitError, match="a replay gives something else than the function"):
        tg.jit(all_kinds)(x)
    _, reasons, found = campaign(range(15), ["exact"], 600, quiet=True)
    assert not found, (reasons, found)


# ---- each of what was once wrong in silence ----


def versions_of_tensors(x):
    p = nn.Parameter(np.ones(3))
    y = p * x[0, :3]
    part, turned, first, second = y[0:2], y.reshape(3, 1).T, *np.split(y, [1])
    loss = np.sum(part * part)
    y[0] = 0.0
    loss.backward()
    return p.grad, part, turned, first, second


def scalars(x):
    s = np.sum(x)
    first = s
    s += 1
    y = x.copy()
    y[0, 0] += s
    return first, s, y, y[0, 0], np.max(x) * 2


def outs(x):
    y, z = x.copy(), x.copy()
    np.sum(x, axis=0, out=y[0])
    np.prod(x, 0, out=y[1])
    np.max(x, axis=0, out=y[2])
    np.clip(z, -0.5, 0.5, out=z)
    return y, z, np.min(x, axis=1, out=np.zeros_like(x, shape=3))


def errors(x):
    with np.errstate(divide="ignore", invalid="ignore"):
        return x / np.zeros_like(x), np.log(x - x)


def masks(x):
    y = x * 2
    np.nan_to_num(y[1:], copy=False, nan=1.0)
    mask = np.array([True, False, True])  # made anew at each call, and the same
    y[mask] += 1
    return x[mask], y, x[:, np.array([False, True, True, False])], np.nan_to_num(x[0] * np.inf)


@pytest.mark.parametrize("f", [versions_of_tensors, scalars, outs, errors, masks])
def test_what_was_once_wrong_in_silence(f):
    jitted = tg.jit(f)
    for x in X:
        for a, b in zip(jitted(x.copy()), f(x.copy()), strict=True):
            assert type(a) is type(b)
            assert_array_equal(*(v.numpy() if isinstance(v, Tensor) else v for v in (a, b)))


MASK = np.array([True, False, True])


def test_a_mask_that_lies_outside_chooses_and_another_one_is_recorded_anew():
    p = nn.Parameter(np.ones((3, 4)))

    def f(x):
        np.sum(p[MASK] * x[MASK]).backward()
        g, p.grad = p.grad, None
        return x[MASK], g

    step = tg.jit(f)
    for i, x in enumerate(X):
        if i == 3:
            MASK[:] = [False, False, True]
        for a, b in zip(step(x.copy()), f(x.copy()), strict=True):
            assert_array_equal(*(v.numpy() if isinstance(v, Tensor) else v for v in (a, b)))
    with pytest.raises(JitError, match="hangs on the values"):
        tg.jit(lambda x, mask: x[mask])(X[0], MASK)


def test_what_an_optimizer_keeps_can_be_returned():
    p = nn.Parameter(np.ones(3))
    opt = optim.Adam([p])

    @tg.jit
    def step(x):
        np.sum(p * x).backward()
        opt.step()
        opt.zero_grad()
        return opt.state[0]

    assert [step(np.ones(3)).steps for _ in range(4)] == [1, 2, 3, 4]


def test_a_view_of_a_parameter_stays_what_it_was_when_that_is_updated():
    p = nn.Parameter(np.ones(4))
    opt = optim.SGD([p], 0.1)

    @tg.jit
    def step(x):
        old = p.reshape(2, 2)
        np.sum(p * x).backward()
        opt.step()
        opt.zero_grad()
        return np.sum(np.abs(old - p.reshape(2, 2)))

    for _ in range(4):
        assert step(np.ones(4)).item() == pytest.approx(0.4)


def test_a_generator_that_is_kept_in_two_places_draws_anew():
    class Noise:
        pass

    noise, rng = Noise(), np.random.default_rng(0)
    noise.rng = rng
    jitted = tg.jit(lambda x: x * noise.rng.random(3) + rng.random(3))
    other = np.random.default_rng(0)
    for _ in range(4):
        assert_array_equal(jitted(np.ones(3)), other.random(3) + other.random(3))


def test_an_error_state_of_the_function_holds_in_replays_too():
    @tg.jit
    def f(x):
        with np.errstate(divide="raise"):
            return 1 / x

    with np.errstate(all="ignore"):
        for _ in range(3):
            f(np.ones(2))
        with pytest.raises(FloatingPointError):
            f(np.zeros(2))


REFUSED = {
    "text": lambda x: f"{np.sum(x):.2f}",
    "item into an array": lambda x: np.zeros(2, int).__setitem__(0, np.argmax(x)),
    "round": lambda x: round(np.sum(x)),
    "pickle": lambda x: pickle.dumps(x),
    "a list": lambda x: sorted(x[0]),
    "caught": lambda x: caught(x),
    "written by C": lambda x: memoryview(x).nbytes,
}


def caught(x):
    try:
        return x * float(x[0, 0])
    except TypeError:
        return x * 2


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_names_its_line_and_falls_back(name):
    f = REFUSED[name]
    with pytest.raises(JitError, match=r"test_jit_proof\.py:\d+|the result"):
        tg.jit(f)(X[0].copy())
    jitted = tg.jit(f, fallback="eager")
    for x in X[:3]:
        got, expected = jitted(x.copy()), f(x.copy())
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("f, text", [
    (lambda x: f"{np.sum(x, axis=0, keepdims=True)}", True),
    (lambda x: (np.sum(x, axis=0), type(x).__name__), False),
])  # fmt: skip
def test_why_a_replay_differs_is_said(f, text):
    """Both recordings are alike, so that the difference is in none of their calls."""
    with pytest.raises(JitError, match="a replay gives something else than") as said:
        tg.jit(f)(X[0].copy())
    assert ("a text that is made of recorded values" in str(said.value)) == text


def test_a_refused_call_has_not_happened_and_one_that_falls_back_has():
    for fallback in (None, "eager"):
        p, held = nn.Parameter(np.ones(3)), [np.ones(3)]

        def step(x, p=p, held=held):
            p.data += x
            held[0] += 1
            held.append(x)

        jitted = tg.jit(step, fallback=fallback)
        with contextlib.suppress(JitError):
            jitted(np.ones(3))
        happened = fallback is not None
        assert_array_equal(p.data, np.full(3, 1.0 + happened))
        assert_array_equal(held[0], np.full(3, 1.0 + happened))
        assert len(held) == 1 + happened


def test_a_view_that_is_kept_by_a_call_that_falls_back_is_whole():
    p, held = nn.Parameter(np.ones((3, 4))), [None]

    @functools.partial(tg.jit, fallback="eager")
    def step(x):
        p.data *= 0.5
        held[0] = p[1:].detach()
        p.data -= x
        float(x[0, 0])

    step(np.ones((3, 4)))
    assert_array_equal(held[0].numpy(), np.full((2, 4), 0.5))
    assert_array_equal(p.data, np.full((3, 4), -0.5))


def test_it_is_recorded_once_and_run_for_real_twice():
    away = types.ModuleType("away")  # under a name that the function does not say
    away.kinds = kinds = []

    @tg.jit
    def f(x):
        vars(away)["kinds"].append(type(x) is np.ndarray)
        return x + 1

    for x in X:
        f(x)
    assert kinds == [True, False, True]


def test_a_recording_that_was_found_to_be_wrong_is_made_anew():
    away = types.ModuleType("away")
    away.scale = 1.0

    @tg.jit
    def f(x):
        return x * vars(away)["scale"]

    f(X[0])
    away.scale = 2.0
    with pytest.raises(JitError, match="not what it was in the last call"):
        f(X[0])
    for x in X:
        assert_array_equal(f(x), 2 * x)


# ---- interrupted, forked, cut off ----


# Python itself drops what is raised while it collects an object
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_first_calls_leaves_plain_arrays():
    """Ctrl-C where any of the package's functions is called for the first time."""
    layer = nn.LSTM(3, 4, dtype=np.float64)
    opt = optim.Adam(layer.parameters())

    def step(x):
        np.sum(layer(x)[0]).backward()
        opt.step()
        opt.zero_grad()

    def functions(interrupted=None):
        """The package's functions that three steps call, Ctrl-C at the first call of this one."""
        seen = {}

        def tracer(frame, event, arg):
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(HOUSE) and code not in seen:
                seen[code] = True
                if code is interrupted:
                    signal.raise_signal(signal.SIGINT)

        jitted, before = tg.jit(step), sys.gettrace()
        sys.settrace(tracer)
        with contextlib.suppress(KeyboardInterrupt):
            for _ in range(3):
                jitted(np.ones((2, 4, 3)))
        sys.settrace(before)
        return seen

    functions()  # fills caches, which later runs find filled
    for function in functions():
        assert function in functions(interrupted=function), function
        assert all(type(p._held) is np.ndarray for p in layer.parameters()), function
        assert all(type(a) is np.ndarray for s in opt.state for a in s.values()), function


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_fork_while_another_thread_replays_does_not_hang_the_child():
    inside, go_on = threading.Event(), threading.Event()

    @tg.jit
    def f(x):
        inside.set()
        go_on.wait(0.2)
        return x + 1

    thread = threading.Thread(target=f, args=(np.ones(2),))
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        go_on.set()
        with contextlib.suppress(BaseException):
            os._exit(0 if f(np.ones(2))[0] == 2 else 1)
        os._exit(2)
    for _ in range(1000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    thread.join()
    assert done and os.waitstatus_to_exitcode(status) == 0


def test_a_file_of_the_kernel_cache_that_is_cut_off_is_made_anew(tmp_path):
    pytest.importorskip("numba")
    program = """
import numpy as np, tinygrad_rnn as tg
from tinygrad_rnn.jit import loops
loops.WORTH = 0
f = tg.jit(lambda x: np.tanh(x * 2 + 1) * x)
x = np.linspace(-1, 1, 4000, dtype=np.float32).reshape(40, 100)
for _ in range(3): y = f(x)
np.testing.assert_allclose(y, np.tanh(x * 2 + 1) * x, rtol=1e-5)
"""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def run():
        subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=300)

    run()
    files = [path for path in (tmp_path / "tinygrad_rnn").rglob("*") if path.is_file()]
    assert any(path.suffix == ".nbi" for path in files)
    for path in files:
        path.write_bytes(path.read_bytes()[:20])
    run()
    assert any(path.stat().st_size > 20 for path in files)


@pytest.mark.usefixtures("as_python")
def test_a_step_that_makes_much_of_rounding_is_believed_when_rounding_explains_it():
    pytest.importorskip("numba")

    def f(x):
        a = np.tanh(x) * 0.5 + 0.5
        for _ in range(22):  # the logistic map: each step more than doubles what is off
            a = 3.99 * a * (1 - a)
        return a

    step = tg.jit(f)
    x = np.linspace(-1, 1, 400, dtype=np.float32)
    for _ in range(3):
        y = step(x)
    assert np.abs(y - f(x)).max() > 1024 * np.finfo(np.float32).eps
    assert_array_equal(y, step(x))


if __name__ == "__main__":
    for name in MODES:
        said = "\n".join(f'        "{line}"' for line in textwrap.wrap(
            programs(name)[-2], 85, drop_whitespace=False))
        print(f'    "{name}":\n{said},', flush=True)


def test_arrays_in_context_variables_are_not_compared():
    held: ContextVar[object] = ContextVar("held", default=None)

    @tg.jit
    def f(x, fixed):
        held.set(x * 2 if fixed is None else fixed)
        y = x + 1
        held.set(y if fixed is None else fixed + 1)
        return np.sum(y * 2)

    for fixed in (None, np.arange(3.0)):
        for k in range(3):
            assert f(np.arange(3.0) + k, fixed) == 12 + 6 * k
