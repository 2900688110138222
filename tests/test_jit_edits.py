"""tg.jit: what a function edits, in any of NumPy's ways, is edited as in eager, or refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jit_worlds import X, flat
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.jit import JitError, jitted


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


def test_views_that_overlap_are_refused_where_their_array_is_not_kept():
    held = {"a": np.ones(4), "b": np.ones(2)}

    def f(x):
        y = x * 2
        held["b"], held["a"] = y[0, 1:], y[0]

    with pytest.raises(JitError, match="keeps a view"):
        tg.jit(f)(X[0])


def test_one_value_in_two_places():
    """What is one value on the tape (a copy of what was just computed) goes to two homes."""
    def steps():
        p, held = nn.Parameter(np.ones(4)), {"a": np.zeros((3, 4)), "b": np.zeros((3, 4))}

        def f(x):
            np.sum(p * x).backward()
            p.data -= 0.1 * p.grad.data
            p.grad = None
            held["a"][...] = p.data * x
            held["b"][...] = held["a"]
            target.data = p.data.copy()
            return held["a"] * 2

        target = nn.Parameter(np.zeros(4))
        return f, lambda: [p, target, *held.values()]

    (f, held), (g, held_too) = steps(), steps()
    g = tg.jit(g)
    for x in X:
        for a, b in zip(flat([f(x), *held()]), flat([g(x), *held_too()]), strict=True):
            assert_allclose(a, b, rtol=1e-13)


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
    assert_array_equal(weights[4:], np.ones(8))
    falls_back = tg.jit(f, fallback="eager")
    for _ in range(3):
        assert_array_equal(falls_back(np.ones(4), np.ones(4)), np.full(4, 3))
    assert_array_equal(falls_back(weights[4:8], weights[6:10]), [4, 4, 3, 3])
    assert_array_equal(weights[4:8], np.full(4, 2))
    weights[4:8] = 1
    assert_array_equal(jitted(weights[4:8], weights[8:]), np.full(4, 3))
    assert_array_equal(tg.jit(lambda x, y: x + y)(weights[4:8], weights[6:10]), [4, 4, 3, 3])


def test_the_array_of_a_tensor_that_is_edited_is_refused_as_an_argument():
    p = tg.nn.Parameter(np.ones(4))

    def f(x):
        p.data += 1
        y = x * 2
        p.data *= 0.5
        return y

    jitted, falls_back = tg.jit(f), tg.jit(f, fallback="eager")
    for _ in range(3):
        jitted(np.ones(4))
        falls_back(np.ones(4))
    kept = p.numpy().copy()
    with pytest.raises(JitError, match="other arrays than before are those of Tensors"):
        jitted(p.data)
    assert_array_equal(p.numpy(), kept)
    assert_array_equal(falls_back(p.data), 2 * kept + 2)


def test_arrays_of_parameters_that_are_edited_may_be_kept():
    p = tg.nn.Parameter(np.ones(4))
    arrays = [p.data]

    def f(x):
        p.grad = None
        loss = np.sum(p * p * x)
        loss.backward()
        p.data -= 0.1 * p.grad.data
        return loss, len(arrays)

    jitted, value = tg.jit(f), np.ones(4)
    for _ in range(4):
        assert_array_equal(jitted(np.full(4, 0.5))[0].item(), np.sum(value * value * 0.5))
        value -= 0.1 * value
        assert_array_equal(p.numpy(), value)
        assert_array_equal(arrays[0], value)


# ---- NumPy's own ways to edit ----


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


def parts(x):
    z = x + 1j * x[::-1]
    z.real[0] = 3
    z.imag *= 2
    y = x.copy()
    y.real = z.imag
    y.flat[::2] = 0
    y.flat[[1, -1]] += 7
    square = x @ x.T
    np.einsum("ii->i", square)[...] = 1
    return z, y, y.flat[3], sum(y.flat), square


def layouts(x):
    zeros, ones = np.zeros_like(x, int), np.ones_like(x.T, np.float32)
    filled = np.full_like(x.T, x[0, :, None])
    return [(y, np.array(y.flags.f_contiguous)) for y in (
        zeros, ones, filled, x.astype("f4", order="F"), x.reshape(-1, order="F"),
        x.T.reshape((6, 2), order="F"), np.zeros_like(x, order="F"))]


@pytest.mark.parametrize("f", [view_chain, where_and_out, sorted_rows, parts, layouts])
def test_edits_in_numpys_own_ways(f):
    jitted = tg.jit(f)
    for x in X:
        for a, b in zip(flat(jitted(x)), flat(f(x)), strict=True):
            assert a.dtype == b.dtype
            assert_array_equal(a, b)


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


@pytest.mark.parametrize("lies", [lambda x: x[:, ::2], lambda x: x[:, :4], lambda x: x[::2, ::-1]])
def test_a_view_of_what_does_not_lie_in_one_piece(lies):
    """``atleast_3d`` gives its second argument. Its steps in memory are not those of a copy, and
    an edit of such a copy wrote beyond it."""
    def f(x):
        view = np.atleast_3d(x[0] * 0, x)[1][..., 0]
        np.put(view, [0, 11], 5.0)
        return view + x

    x = lies(np.arange(48.0).reshape(6, 8))[:3]
    with pytest.raises(JitError, match="this view of an array cannot be recorded"):
        tg.jit(f)(x)
    jitted = tg.jit(f)
    for _ in range(3):
        x, y = np.arange(12.0).reshape(4, 3).T, np.arange(12.0).reshape(4, 3).T
        assert_array_equal(jitted(x), f(y))
        assert_array_equal(x, y)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("part", [np.s_[:, 0], np.s_[:2], np.s_[::-1, 1:], np.s_[..., None]])
def test_a_part_of_what_is_edited_is_returned(part, fast):
    """With loops the proof runs the function once more, on arrays put back: what was returned
    before is judged by what was in it then."""
    rng = np.random.default_rng(0)
    held = {"array": np.zeros((3, 100), np.float32)}

    def f(x):
        x[:, 0] *= np.float32(0.5)
        held["array"] += np.tanh(x * np.float32(0.1)) * np.float32(2)
        return x[part], held["array"][part]

    step = tg.jit(f, fast=fast)
    for _ in range(4):
        x, before = rng.normal(size=(3, 100)).astype(np.float32), held["array"].copy()
        y = x.copy()
        made, edited = [np.array(a) for a in step(x)], held["array"].copy()
        held["array"][...] = before
        for one, other in zip((*made, edited, x), (*f(y), held["array"], y), strict=True):
            assert_allclose(one, other, rtol=1e-5, atol=1e-6)


LIES = {"C": np.array, "Fortran": np.asfortranarray, "columns": lambda x: x.repeat(2, 1)[:, ::2],
        "backwards": lambda x: x[::-1].copy()[::-1]}  # fmt: skip


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
@pytest.mark.parametrize("make", [np.broadcast_arrays, np.atleast_1d])
def test_what_numpy_hands_back_is_judged_by_what_was_in_it(make, lies, monkeypatch):
    """The array itself, as it is, and a view of it under recording: however it lies in memory."""
    monkeypatch.setattr(jitted, "rounding", lambda *_: True)

    def f(x, h):
        x /= 2
        make(x, np.ones((3, 4)))[0][0] += 1
        make(h, x[::-1])[1][1:] *= 2
        return make(x, h)[0]

    step, h = tg.jit(f, fast=False), np.ones((3, 4))
    for x in X[:3]:
        assert_array_equal(step(lies(x), h), f(lies(x), h))


def put(x):
    np.put(a=x, ind=[0, 5], v=2.0)


def copy(x):
    np.copyto(dst=x, src=x[::-1].copy())


BY_NAME = {"transpose": lambda x: np.transpose(a=x), "stack": lambda x: np.stack(arrays=(x, x)),
           "sum": lambda x: np.sum(axis=0, a=x), "put": put, "copyto": copy}  # fmt: skip


@pytest.mark.parametrize("f", BY_NAME.values(), ids=BY_NAME)
def test_the_first_argument_may_come_by_name(f):
    step = tg.jit(lambda x: (f(x), np.copy(a=x)), fast=False)
    for x in map(np.copy, X[:3]):
        y = x.copy()
        made, after = step(x)
        assert_array_equal(after, x)
        assert_array_equal(made, f(y))
        assert_array_equal(x, y)


def clipped_in_rows(x, y):
    np.clip(x, -1, 1, out=x)
    row = np.reshape(x, (-1,))  # a copy, of an array that lies so
    np.putmask(x, x > 0, 1.0)
    return row


def raveled_sum(x, y):
    a = (x + y).T
    row = np.ravel(a)
    a *= 2
    return row, a


@pytest.mark.parametrize("f", [clipped_in_rows, raveled_sum])
@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
def test_a_copy_is_one_however_the_replay_lays_out_what_it_is_of(f, lies):
    step = tg.jit(f, fast=False)
    for x in X[:3]:
        y = lies(x)
        for a, b in zip(flat(step(lies(x), x)), flat(f(y, x)), strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("line, good", [
    ("np.stack([y[0], x[0]], out=x[:2])", False), ("np.stack([x[0], y[0]], out=x[:2])", True),
    ("np.concatenate([x[1:], y[:1]], out=x)", False), ("np.ptp(x, axis=0, out=x[0])", False),
    ("np.concatenate([x[:1], y[:1], x[2:]], out=x)", True),
])
def test_what_is_written_into_before_it_is_read_is_refused_by_name(line, good):
    exec(f"def f(x, y):\n    {line}\n    return x + y", names := {"np": np})
    step = tg.jit(names["f"])
    for x in X[:3]:
        if good:
            assert_array_equal(step(x.copy(), X[4]), names["f"](x.copy(), X[4]))
            continue
        with pytest.raises(JitError, match="writes into what it has yet to read"):
            step(x.copy(), X[4])


def test_what_a_parameter_had_before_is_judged_by_what_was_in_it():
    def step_of(weight):
        def f(x):
            old, part = weight.data, weight[:2]
            weight.data = x * 2
            np.clip(old, -1, 1, out=old)
            weight.data[0] = 0.5
            return old, part
        return f

    recorded, eager = (step_of(nn.Parameter(X[0])) for _ in range(2))
    step = tg.jit(recorded)
    for x in X[1:]:
        for a, b in zip(flat(step(x)), flat(eager(x)), strict=True):
            assert_array_equal(a, b)


VIEWS = {
    "sliding_window_view": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, *x.shape)), "diagonal": np.diagonal,
    "einsum": lambda x: np.einsum("ij->ji", x), "rollaxis": lambda x: np.rollaxis(x, 1),
    "a window, turned": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 1).T,
    "matrix_transpose": np.matrix_transpose, "hsplit": lambda x: np.hsplit(x, 2)[1],
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[0])[0], "rot90": np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_is_one_on_the_tape_and_its_memory_is_kept(view):
    """Also where NumPy puts something between the view and its array that is no array."""
    def f(x):
        a = np.tanh(x) + x
        seen = view(a)
        a *= 2
        np.nan_to_num(x * x + 1)  # which would be written where a was, did nobody read it
        return seen * np.exp(x).sum(), view(a + 1)

    step = tg.jit(f, fast=False)
    for x in (X[0], X[1], X[2]):
        for a, b in zip(step(x), f(x), strict=True):
            assert_array_equal(a, b)
    assert any(call.view and call.out.shape == view(X[0]).shape
               for call in step._last.recorded.calls)


@pytest.mark.parametrize("fast", [False, True])
def test_a_part_of_a_parameter_that_is_edited_is_returned(fast):
    weights = [nn.Parameter(np.ones((4, 100), np.float32)) for _ in range(2)]

    def step_of(weight):
        def f(x):
            weight.data -= np.tanh(x * np.float32(0.1)) * np.float32(0.5)
            return weight.detach()[:2]
        return f

    recorded, eager = tg.jit(step_of(weights[0]), fast=fast), step_of(weights[1])
    for k in range(4):
        x = np.full((4, 100), 1.0 + k, np.float32)
        assert_allclose(recorded(x).numpy(), eager(x).numpy(), rtol=1e-5)
    assert_allclose(weights[0].numpy(), weights[1].numpy(), rtol=1e-5)


def test_a_tensor_of_numpys_own_is_filled():
    """np.zeros in a function is no recording; a Tensor of it goes to where its parts are."""
    weight = tg.nn.Parameter(np.linspace(0.5, 1, 3))

    def f(x):
        states = tg.Tensor(np.full((5, 3), 7.0))
        states[0, 1] = 0.5
        for t in range(4):
            states[t + 1] = np.tanh(x[t] * weight + states[t])
        (states * states).sum().backward()
        gradient, weight.grad = weight.grad, None
        return states, gradient

    recorded, rng = tg.jit(f), np.random.default_rng(0)
    for _ in range(4):
        x = rng.normal(size=(4, 3))
        for a, b in zip(f(x), recorded(x), strict=True):
            assert_array_equal(a.numpy(), b.numpy())
