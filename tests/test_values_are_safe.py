"""No edit reaches a graph: not of a source, of data, of a view, of an operand; and writing makes a
new version."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaves import leaf, seeds
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor


def edit_source(x, a):
    a[...] = 100


def edit_data(x, a):
    x.data[...] = 100


def edit_in_place(x, a):
    x.data *= 3


def edit_numpy(x, a):
    x.numpy()[...] = 100


def edit_detached(x, a):
    x.detach().data[...] = 100


def edit_what_has_no_rule(x, a):
    np.ix_(x.detach())[0][...] = 100  # NumPy hands out a view


def edit_view(x, a):
    x[1:].data[...] = 100


def replace(x, a):
    x.data = np.full(x.shape, 7.0)


@pytest.mark.parametrize("edit", [edit_source, edit_data, edit_in_place, edit_numpy, edit_detached,
                                  edit_what_has_no_rule, edit_view, replace])  # fmt: skip
@given(seeds)
def test_edits_never_reach_a_graph(edit, seed):
    a = np.random.default_rng(seed).normal(size=3)
    original = a.copy()
    x = Tensor(a, requires_grad=True)
    y = (x * x).sum()
    edit(x, a)
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * original)


@given(seeds)
def test_edits_through_an_alias_that_was_taken_before(seed):
    x = Tensor(np.random.default_rng(seed).normal(size=3), requires_grad=True)
    alias, part = x.data, x.data[1:]
    original = alias.copy()
    y = (x * x).sum()
    alias[0], part[1] = 100, 200
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * original)
    assert x.data.tolist() == [100, original[1], 200]  # the alias is still the data


def test_raw_operands_and_ids_may_be_edited_after_the_call():
    x, mask, ids = leaf(3), np.ones(3), np.array([0, 1])
    y = (x * mask).sum() + x[ids].sum()
    mask[:], ids[:] = 5, 2
    y.backward()
    assert x.grad.tolist() == [2, 2, 1]


def test_an_update_between_forward_and_backward_leaves_the_graph_its_values():
    x = leaf(3)
    before = x.detach().numpy().copy()
    y = (x * x).sum()
    x.grad = Tensor(np.ones(3))
    tg.optim.SGD([x], 1.0).step()
    x.grad = None
    y.backward()
    assert_allclose(x.grad.numpy(), 2 * before)
    assert_allclose(x.detach().numpy(), before - 1)


@given(seeds, st.integers(1, 4), st.booleans())
def test_buffers_filled_step_by_step(seed, T, read_between):
    rng = np.random.default_rng(seed)
    x, w = Tensor(rng.normal(size=(2, T)), requires_grad=True), rng.normal(size=(2, T))
    buffer = np.empty_like(x, shape=(2, T))
    total = 0.0
    for t in range(T):
        buffer[:, t] = x[:, t] * x[:, t]
        if read_between:
            total = total + (buffer[:, t] * 3.0).sum()
    buffer[:, 0] = 1.0  # overwritten: what stood there has no gradient from here on
    ((buffer * w).sum() + total).backward()
    expected = 2 * x.detach().numpy() * (w + 3.0 * read_between)
    expected[:, 0] = 2 * x.detach().numpy()[:, 0] * 3.0 * read_between
    assert_allclose(x.grad.numpy(), expected)


def test_writing_makes_a_new_version():
    x = leaf(3)
    t = x * 1.0
    old = t * t
    t[0] = 5.0
    (old.sum() + t.sum()).backward()
    assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() + [0, 1, 1])
    u = leaf(2, 3)
    v = np.zeros_like(u)
    v[...] = u[0]  # broadcast
    v.backward(g := np.arange(6.0).reshape(2, 3))
    assert_allclose(u.grad.numpy(), [g.sum(0), np.zeros(3)])
    with pytest.raises(RuntimeError, match="leaf that requires grad"):
        u[0] = 1.0


def test_what_is_written_for_nobody_is_refused():
    t = leaf(3, 4) * 1.0
    for statement in ("t[0][1] = 1", "t[0][1] += 1", "(t + 1)[0] = 1", "t[0][1:][0] = 1",
                      "t.T[0] = 1", "[t][0][1][0] = 1", "(lambda r: r)(t[1])[0] = 1"):
        for source in (statement, f"def f(t):\n  for _ in range(3):\n    {statement}\nf(t)"):
            with pytest.raises(RuntimeError, match=r"write t\[i, j\] = v"):
                exec(source, {"t": t})


@pytest.mark.parametrize("held", [
    "a = t[0]; a[1] = 1", "(a := t[0])[1] = 1", "a = b = t[0]; b[1] = 1", "for a in t: a[1] = 1",
    "d = {0: t[0]}; d[0][1] = 1; a = d[0]", "l = [t[0]]; l[0][1] = 1; a = l[0]",
    "a = t[0]; weakref.proxy(a)[1] = 1", "a = t[0]; a[1] = 0; a[1] += 1",
    "a = t[0]; a.__setitem__(1, 1)", "a = t[0]; operator.setitem(a, 1, 1)",
    "def g(r): r[1] = 1; return r\na = g(t[0]); a = g(r=t[0])",
    "def g(*r): r[0][1] = 1; return r\na, = g(t[0])", "a = t[0]\ndef g(): a[1] = 1\ng()",
    "def g():\n  r = t[0]\n  yield\n  r[1] = 1\n  yield r\n*_, a = g()",
    "class A: r = t[0]; r[1] = 1\na = A.r",
    "o = np.empty(1, object); o[0] = t[0]; o[0][1] = 1; a = o[0]",
])  # fmt: skip
def test_a_part_that_somebody_holds_is_written_into(held):
    import operator
    import weakref

    names = {"t": leaf(3, 4) * 1.0, "operator": operator, "weakref": weakref, "np": np}
    exec(held, names)
    lines = held.replace("\n", "\n  ")
    exec(f"def f(t):\n  {lines}\n  return a\nb = f(t)", names)
    assert names["a"][1].item() == names["b"][1].item() == 1


def test_nothing_is_detached_in_silence():
    x = leaf(2)
    array = np.zeros(2)
    for cut in (lambda: np.asarray(x), lambda: float(x[0]), lambda: array.__setitem__(0, x[0])):
        with pytest.raises((RuntimeError, ValueError), match=r"cut the graph|sequence"):
            cut()
    with pytest.raises(TypeError, match=r"add: the array .* cannot hold a gradient"):
        array += x
    with pytest.raises(TypeError, match="add: the array"):
        np.add(x, 1, out=array)
    assert array.tolist() == [0, 0]
    out = np.zeros_like(x)
    assert np.add(x, 1, out=out) is out and out.requires_grad
    assert np.asarray(x.detach()).tolist() == x.numpy().tolist()


def test_integers_are_never_differentiable():
    for wrong in ([1, 2], [True]):
        with pytest.raises(TypeError, match=r"requires_grad: (int64|bool) has no derivative"):
            Tensor(wrong, requires_grad=True)
    assert not leaf(2).astype(int).requires_grad
    with pytest.raises(TypeError, match="complex"):
        Tensor([1j])
