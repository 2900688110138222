"""Update rules against their formulas, written out in scalars."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, optim


def momentum(p, gs, lr=0.1, mu=0.9, nesterov=False):
    v = 0.0
    for g in gs:
        v = mu * v + g
        p -= lr * (g + mu * v if nesterov else v)
    return p


def adagrad(p, gs):
    h = 0.0
    for g in gs:
        h += g * g
        p -= 0.1 * g / (math.sqrt(h) + 1e-10)
    return p


def rmsprop(p, gs):
    h = 0.0
    for g in gs:
        h = 0.99 * h + 0.01 * g * g
        p -= 0.1 * g / (math.sqrt(h) + 1e-8)
    return p


def adam(p, gs, book=False, decay=0.0):
    m = v = 0.0
    for t, g in enumerate(gs, start=1):
        p *= 1 - 0.1 * decay
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        if book:
            p -= 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-7)
        else:
            p -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


RULES = {
    "SGD": (lambda ps: optim.SGD(ps, 0.1), lambda p, gs: p - 0.1 * sum(gs)),
    "Momentum": (lambda ps: optim.Momentum(ps, 0.1), momentum),
    "Nesterov": (lambda ps: optim.Nesterov(ps, 0.1), lambda p, gs: momentum(p, gs, nesterov=True)),
    "AdaGrad": (lambda ps: optim.AdaGrad(ps, 0.1), adagrad),
    "RMSprop": (lambda ps: optim.RMSprop(ps, 0.1), rmsprop),
    "Adam": (lambda ps: optim.Adam(ps, 0.1), adam),
    "Adam (book)": (lambda ps: optim.Adam(ps, 0.1, book=True), lambda p, gs: adam(p, gs, True)),
    "AdamW": (lambda ps: optim.AdamW(ps, 0.1), lambda p, gs: adam(p, gs, decay=0.01)),
}
numbers = st.floats(-3, 3).map(lambda x: x + math.copysign(0.01, x))


@pytest.mark.parametrize("name", RULES)
@given(start=numbers, gs=st.lists(numbers, min_size=1, max_size=6), cut=st.integers(0, 6))
def test_steps_follow_the_formula_and_resume(name, start, gs, cut):
    make, formula = RULES[name]
    p, unused = Tensor([start], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = make([p, unused, p])
    for i, g in enumerate(gs):
        if i == cut:  # a fresh optimizer goes on where the old one was
            saved, optimizer = optimizer.state_dict(), make([p, unused])
            optimizer.load_state_dict(saved)
        p.grad = Tensor([g])
        optimizer.step()
        assert p.grad.tolist() == [g]
    assert_allclose(p.item(), formula(start, gs), rtol=1e-9, atol=1e-12)
    assert unused.item() == 1
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("name", RULES)
def test_float32_stays_float32_and_updates_are_in_place(name):
    p = Tensor(np.ones(3, np.float32), requires_grad=True)
    held = p.data
    optimizer = RULES[name][0]([p])
    p.grad = Tensor(np.full(3, 0.5, np.float32))
    optimizer.step()
    assert p.data is held and p.dtype == np.float32 and (held < 1).all()
    assert all(a.dtype == np.float32 for s in optimizer.state_dict()["state"] for a in s.values())


@given(st.lists(numbers, min_size=1, max_size=5), st.floats(0.1, 5))
def test_clipping_scales_all_gradients_together(gs, limit):
    ps = [Tensor([0.0], requires_grad=True) for _ in gs]
    for p, g in zip(ps, gs, strict=True):
        p.grad = Tensor([g])
    norm = optim.clip_grad_norm_([*ps, Tensor([0.0], requires_grad=True)], limit)
    assert_allclose(norm, math.hypot(*gs))
    scale = min(1.0, limit / norm)
    assert_allclose([p.grad.item() for p in ps], [g * scale for g in gs], rtol=1e-4)


def test_what_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="SGD: no parameters"):
        optim.SGD([], 0.1)
    adam, other = (optim.Adam([Tensor(np.ones(n), requires_grad=True)]) for n in (2, 3))
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: arrays of shapes"):
        adam.load_state_dict(other.state_dict())
