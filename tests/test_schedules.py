"""Learning rates over time against their formulas and against PyTorch's."""

import inspect
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tinygrad_rnn import Tensor, optim


def cosine(a, b, part):
    return b + (a - b) * (1 + math.cos(math.pi * part)) / 2


SCHEDULES = {  # name -> (ours, the rate after t steps from 0.1, PyTorch's)
    "StepLR": (lambda o: optim.StepLR(o, 3), lambda t: 0.1 * 0.1 ** (t // 3), ((3,), {})),
    "ExponentialLR": (lambda o: optim.ExponentialLR(o, 0.9), lambda t: 0.1 * 0.9**t, ((0.9,), {})),
    "LinearLR": (lambda o: optim.LinearLR(o), lambda t: 0.1 / 3 * (1 + 2 * min(t, 5) / 5),
                 ((), {})),
    "CosineAnnealingLR": (lambda o: optim.CosineAnnealingLR(o, 15, 0.01),
                          lambda t: cosine(0.1, 0.01, t / 15), ((15, 0.01), {})),
    "OneCycleLR": (
        lambda o: optim.OneCycleLR(o, 0.5, 20),
        lambda t: cosine(0.02, 0.5, t / 5) if t <= 5 else cosine(0.5, 2e-6, (t - 5) / 14),
        ((0.5, 20), {})),
    "OneCycleLR ": (
        lambda o: optim.OneCycleLR(o, 0.5, 20, anneal_strategy="linear"),
        lambda t: 0.02 + 0.48 * t / 5 if t <= 5 else 0.5 + (2e-6 - 0.5) * (t - 5) / 14,
        ((0.5, 20), {"anneal_strategy": "linear"})),
    "SequentialLR": (
        lambda o: optim.SequentialLR(o, [optim.LinearLR(o, 0.1, total_iters=5),
                                         optim.CosineAnnealingLR(o, 12)], [5]),
        lambda t: 0.1 * (0.1 + 0.9 * t / 5) if t < 5 else cosine(0.1, 0, (t - 5) / 12), None),
    "SequentialLR of three": (
        lambda o: optim.SequentialLR(o, [optim.LinearLR(o, 0.1, total_iters=3),
                                         optim.ExponentialLR(o, 0.9), optim.StepLR(o, 2)], [3, 8]),
        lambda t: 0.1 * (0.1 + 0.9 * t / 3) if t < 3 else 0.1 * 0.9 ** (t - 3) if t < 8 else
        0.1 * 0.1 ** ((t - 8) // 2), None),
}  # fmt: skip


def new_adam():
    p = Tensor(np.ones(3), requires_grad=True)
    p.grad = Tensor(np.ones(3))
    return optim.Adam([p], lr=0.1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_their_formulas(name):
    make, formula, _ = SCHEDULES[name]
    optimizer = new_adam()
    schedule = make(optimizer)
    for t in range(17):
        assert optimizer.lr == pytest.approx(formula(t), rel=1e-12)
        if t == 8:  # a new one goes on where the old one was
            saved, optimizer = schedule.state_dict(), new_adam()
            schedule = make(optimizer)
            schedule.load_state_dict(saved)
            assert optimizer.lr == pytest.approx(formula(t), rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch, about its own order of steps
@pytest.mark.parametrize("name", [n for n, case in SCHEDULES.items() if case[2]])
def test_schedules_are_pytorch_s(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, _, (args, kwargs) = SCHEDULES[name]
    theirs = torch.optim.Adam([torch.ones(3, requires_grad=True)], lr=0.1)
    peer = getattr(torch.optim.lr_scheduler, name.strip())(theirs, *args, **kwargs)
    ours = new_adam()
    schedule = make(ours)
    for _ in range(17):
        group = theirs.param_groups[0]
        assert ours.lr == pytest.approx(group["lr"], rel=1e-12)
        assert ours.betas == pytest.approx(group["betas"], rel=1e-12)
        schedule.step()
        theirs.step()
        peer.step()
    names = inspect.signature(type(peer)).parameters
    for k, parameter in inspect.signature(type(schedule)).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.default == names[k].default, k


PLATEAUS = [{}, {"mode": "max", "patience": 2, "cooldown": 3}, {"patience": 0, "factor": 0.5},
            {"threshold_mode": "abs", "threshold": 0.1, "patience": 1, "min_lr": 0.001}]


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateaus_are_pytorch_s(options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.optim.Adam([torch.ones(3, requires_grad=True)], lr=0.1)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    ours = new_adam()
    schedule = optim.ReduceLROnPlateau(ours, **options)
    rng = np.random.default_rng(0)
    for t in range(120):
        measure = float(rng.normal() + 5 * math.exp(-t / 30))
        schedule.step(Tensor(measure) if t % 2 else measure)
        peer.step(measure)
        assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        if t == 50:
            saved = schedule.state_dict()
            schedule = optim.ReduceLROnPlateau(ours, **options)
            schedule.load_state_dict(saved)
    names = inspect.signature(type(peer)).parameters
    for k, parameter in inspect.signature(type(schedule)).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.default == names[k].default, k


def test_a_plateau_by_hand():
    optimizer = new_adam()
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.1)
    rates = []
    for measure in (1.0, 0.95, 0.95, 0.85, 0.85, 0.85, 0.85):
        schedule.step(measure)
        rates.append(optimizer.lr)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025]
    with pytest.raises(TypeError, match=r"the measure is missing: step\(loss\)"):
        schedule.step()


def test_a_step_after_the_last_one_is_an_error():
    schedule = optim.OneCycleLR(new_adam(), 0.1, 2)
    schedule.step()
    with pytest.raises(ValueError, match="OneCycleLR: step 3 of 2 steps"):
        schedule.step()


def test_plateaus_with_all_their_options_by_hand():
    def rates(measures, **options):
        optimizer = optim.SGD([Tensor([1.0], requires_grad=True)], lr=1.0)
        schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, **options)
        found = []
        for measure in measures:
            schedule.step(measure)
            found.append(optimizer.lr)
        return found

    assert rates([1, 2, 2, 3], mode="max") == [1, 1, 0.5, 0.5]
    assert rates([4, 3.5, 3.4, 2], threshold=0.25, threshold_mode="abs") == [1, 1, 0.5, 0.5]
    assert rates([4, 3.5, 2.9, 2], threshold=0.25) == [1, 0.5, 0.5, 0.5]
    assert rates([4, 3, 2], threshold=0.25) == [1, 0.5, 0.5]  # to come up to it is not enough
    assert rates([4, 5, 6], threshold=0.25, mode="max") == [1, 0.5, 0.5]
    assert rates([1, 1, 1, 1, 1], cooldown=2) == [1, 0.5, 0.5, 0.5, 0.25]
    assert rates([1, 1, 1, 1], min_lr=0.3) == [1, 0.5, 0.3, 0.3]
    assert rates([1, 1, 1, 1], eps=0.3) == [1, 0.5, 0.5, 0.5]


def test_schedules_of_one_step():
    optimizer = new_adam()
    for make, after in ((lambda: optim.LinearLR(optimizer, 0.5, total_iters=1), 0.1),
                        (lambda: optim.StepLR(optimizer, 1), 0.01),
                        (lambda: optim.CosineAnnealingLR(optimizer, 1), 0.0)):  # fmt: skip
        optimizer.lr = 0.1
        make().step()
        assert optimizer.lr == pytest.approx(after)
    optim.OneCycleLR(optimizer, 0.5, 1)
    assert 0 <= optimizer.lr <= 0.5


def test_a_group_added_under_a_schedule_begins_with_its_own_rate():
    optimizer = new_adam()
    schedule = optim.StepLR(optimizer, 3)
    first = optimizer.lr
    schedule.step()
    optimizer.add_group([Tensor([1.0], requires_grad=True)], lr=0.5)
    rates = []
    for _ in range(3):
        schedule.step()
        rates.append([group.lr for group in optimizer.groups])
    assert_allclose(rates, [[first, 0.5], [first / 10, 0.05], [first / 10, 0.05]])
    assert schedule.state_dict()["bases"] == [first, 0.5]


def test_one_cycle_that_is_at_its_top_from_the_first_step_on():
    optimizer = new_adam()
    schedule = optim.OneCycleLR(optimizer, 0.5, 10, pct_start=0.1)
    rates = [optimizer.lr]
    for _ in range(9):
        schedule.step()
        rates.append(optimizer.lr)
    assert rates[0] == 0.5 and rates == sorted(rates, reverse=True) and rates[-1] < 1e-5
    for part in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"OneCycleLR: pct_start={part}"):
            optim.OneCycleLR(optimizer, 0.5, 10, pct_start=part)
