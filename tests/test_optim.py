"""Update rules against their formulas, written out in scalars, and against PyTorch's."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaves import number
from numpy.testing import assert_allclose

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, optim


def sgd(p, gs, lr=0.1, decay=0.0, maximize=False):
    for g in gs:
        p -= lr * ((-g if maximize else g) + decay * p)
    return p


def momentum(p, gs, lr=0.1, mu=0.9, nesterov=False, dampening=0.0, decay=0.0):
    v = None
    for g in gs:
        g += decay * p
        v = g if v is None else mu * v + (1 - dampening) * g
        p -= lr * (g + mu * v if nesterov else v)
    return p


def adagrad(p, gs, decay=0.0):
    h = 0.0
    for g in gs:
        g += decay * p
        h += g * g
        p -= 0.1 * g / (math.sqrt(h) + 1e-10)
    return p


def rmsprop(p, gs, centered=False, mu=0.0, decay=0.0):
    h = m = v = 0.0
    for g in gs:
        g += decay * p
        h, m = 0.99 * h + 0.01 * g * g, 0.99 * m + 0.01 * g
        step = g / (math.sqrt(h - (m * m if centered else 0)) + 1e-8)
        v = mu * v + step
        p -= 0.1 * (v if mu else step)
    return p


def adam(p, gs, book=False, decay=0.0, l2=0.0, amsgrad=False):
    m = v = top = 0.0
    for t, g in enumerate(gs, start=1):
        p *= 1 - 0.1 * decay
        g += l2 * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        top = max(top, v)
        used = top if amsgrad else v
        if book:
            p -= 0.1 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (math.sqrt(v) + 1e-7)
        else:
            p -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(used / (1 - 0.999**t)) + 1e-8)
    return p


# name -> (the rule, its formula, PyTorch's: class and arguments)
CASES = {
    "SGD": (lambda ps: optim.SGD(ps, 0.1), sgd, ("SGD", {})),
    "SGD, decay": (lambda ps: optim.SGD(ps, 0.1, weight_decay=0.3),
                   lambda p, gs: sgd(p, gs, decay=0.3), ("SGD", {"weight_decay": 0.3})),
    "SGD, maximize": (lambda ps: optim.SGD(ps, 0.1, weight_decay=0.3, maximize=True),
                      lambda p, gs: sgd(p, gs, decay=0.3, maximize=True),
                      ("SGD", {"weight_decay": 0.3, "maximize": True})),
    "Momentum": (lambda ps: optim.Momentum(ps, 0.1), momentum, ("SGD", {"momentum": 0.9})),
    "Momentum, all": (
        lambda ps: optim.Momentum(ps, 0.1, 0.7, 0.3, dampening=0.4),
        lambda p, gs: momentum(p, gs, mu=0.7, dampening=0.4, decay=0.3),
        ("SGD", {"momentum": 0.7, "dampening": 0.4, "weight_decay": 0.3})),
    "Nesterov": (lambda ps: optim.Nesterov(ps, 0.1), lambda p, gs: momentum(p, gs, nesterov=True),
                 ("SGD", {"momentum": 0.9, "nesterov": True})),
    "AdaGrad": (lambda ps: optim.AdaGrad(ps, 0.1), adagrad, ("Adagrad", {})),
    "AdaGrad, decay": (lambda ps: optim.AdaGrad(ps, 0.1, weight_decay=0.3),
                       lambda p, gs: adagrad(p, gs, 0.3), ("Adagrad", {"weight_decay": 0.3})),
    "RMSprop": (lambda ps: optim.RMSprop(ps, 0.1), rmsprop, ("RMSprop", {})),
    "RMSprop, all": (
        lambda ps: optim.RMSprop(ps, 0.1, weight_decay=0.3, momentum=0.6, centered=True),
        lambda p, gs: rmsprop(p, gs, True, 0.6, 0.3),
        ("RMSprop", {"weight_decay": 0.3, "momentum": 0.6, "centered": True})),
    "Adam": (lambda ps: optim.Adam(ps, 0.1), adam, ("Adam", {})),
    "Adam (book)": (lambda ps: optim.Adam(ps, 0.1, book=True), lambda p, gs: adam(p, gs, True),
                    None),
    "Adam, decay, amsgrad": (lambda ps: optim.Adam(ps, 0.1, weight_decay=0.3, amsgrad=True),
                             lambda p, gs: adam(p, gs, l2=0.3, amsgrad=True),
                             ("Adam", {"weight_decay": 0.3, "amsgrad": True})),
    "AdamW": (lambda ps: optim.AdamW(ps, 0.1), lambda p, gs: adam(p, gs, decay=0.01),
              ("AdamW", {})),
    "AdamW, amsgrad": (lambda ps: optim.AdamW(ps, 0.1, weight_decay=0.2, amsgrad=True),
                       lambda p, gs: adam(p, gs, decay=0.2, amsgrad=True),
                       ("AdamW", {"weight_decay": 0.2, "amsgrad": True})),
}  # fmt: skip
RULES = {name: (make, formula) for name, (make, formula, _) in CASES.items()}


@pytest.mark.parametrize("name", RULES)
@given(start=number, gs=st.lists(number, min_size=1, max_size=6), cut=st.integers(0, 6))
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
    assert p.data is held and p.dtype == np.float32
    assert (held > 1).all() if "max" in name else (held < 1).all()
    assert all(a.dtype == np.float32 for s in optimizer.state_dict()["state"] for a in s.values())


@given(st.lists(number, min_size=1, max_size=5), st.floats(0.1, 5))
def test_clipping_scales_all_gradients_together(gs, limit):
    ps = [Tensor([0.0], requires_grad=True) for _ in gs]
    for p, g in zip(ps, gs, strict=True):
        p.grad = Tensor([g])
    norm = optim.clip_grad_norm_([*ps, Tensor([0.0], requires_grad=True)], limit)
    assert_allclose(norm, math.hypot(*gs))
    scale = min(1.0, limit / norm)
    assert_allclose([p.grad.item() for p in ps], [g * scale for g in gs], rtol=2e-5)


def test_what_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="SGD: no parameters"):
        optim.SGD([], 0.1)
    adam, other = (optim.Adam([Tensor(np.ones(n), requires_grad=True)]) for n in (2, 3))
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: arrays of shapes"):
        adam.load_state_dict(other.state_dict())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_steps_are_pytorch_s(name, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    make, _, (peer, options) = CASES[name]
    rng = np.random.default_rng(0)
    start, late = (rng.normal(size=s).astype(dtype) for s in ((3, 4), (5,)))
    ours = [Tensor(a, requires_grad=True) for a in (start, late)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (start, late)]
    a, b = make(ours), getattr(torch.optim, peer)(theirs, lr=0.1, **options)
    for step in range(8):
        for k, (p, t) in enumerate(zip(ours, theirs, strict=True)):
            if k and step < 3:  # its first gradient comes late
                continue
            g = rng.normal(size=p.shape).astype(dtype)
            p.grad, t.grad = Tensor(g), torch.tensor(g)
        a.step()
        b.step()
    rtol = 1e-12 if dtype == np.float64 else 2e-5
    for p, t in zip(ours, theirs, strict=True):
        assert_allclose(p.detach().numpy(), t.detach().numpy(), rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam",
                                  "AdamW"])  # fmt: skip
def test_defaults_are_pytorch_s(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peers = {"Momentum": "SGD", "Nesterov": "SGD", "AdaGrad": "Adagrad"}
    theirs = inspect.signature(getattr(torch.optim, peers.get(name, name))).parameters
    ours = inspect.signature(getattr(optim, name)).parameters
    for k, parameter in ours.items():
        # its lr is 0.001 everywhere since 2.0; the momentum of Momentum has none to be equal to
        if k in theirs and k not in ("params",) and not (name in peers and k in ("lr", "momentum")):
            assert parameter.default == theirs[k].default or (
                name == "SGD" and k == "lr" and parameter.default == 0.01), k


def test_adam_counts_the_steps_of_each_parameter():
    p, q = (Tensor([1.0], requires_grad=True) for _ in range(2))
    adam = optim.Adam([p, q], 0.1)
    for _ in range(1000):
        p.grad = Tensor([0.5])
        adam.step()
    q.grad = Tensor([0.5])
    adam.step()
    assert q.item() == pytest.approx(0.9, abs=1e-7)
    saved = adam.state_dict()
    assert saved["counts"] == [1001, 1] and saved["steps"] == 1001


@pytest.mark.parametrize("name", [n for n in CASES if n.split(",")[0] in ("Adam", "AdamW",
                                                                          "RMSprop", "AdaGrad")])
def test_float16_is_updated_in_float32(name):
    """eps, and the squares of small gradients, are less than the smallest number of float16."""
    p, exact = (Tensor(np.array([1, -2, 0, 3], d), requires_grad=True) for d in ("f2", "f8"))
    half, double = RULES[name][0]([p]), RULES[name][0]([exact])
    for g in ([0, 1e-4, 1e-3, 200], [0, -1e-4, 3e-3, 300]):
        p.grad, exact.grad = Tensor(np.array(g, "f2")), Tensor(np.array(g, "f2").astype(float))
        half.step()
        double.step()
    assert p.dtype == np.float16
    assert_allclose(p.detach().numpy(), exact.detach().numpy(), rtol=2e-3, atol=1e-3)
    assert all(a.dtype == np.float32 for a in half.state_dict()["state"][0].values())


# --- groups and state dicts -----------------------------------------------------------------------


def test_groups_have_numbers_of_their_own():
    ps = [Tensor([1.0], requires_grad=True) for _ in range(3)]
    adam = optim.AdamW([{"params": ps[:1], "lr": 0.5, "betas": (0.5, 0.6), "weight_decay": 0.0},
                        {"params": ps[1:2], "maximize": True}], lr=0.1)  # fmt: skip
    adam.add_group(ps[2], eps=1.0)
    assert [g.lr for g in adam.groups] == [0.5, 0.1, 0.1] and adam.lr == 0.5
    assert adam.betas == (0.5, 0.6) and adam.groups[1].beta2 == 0.999
    for p in ps:
        p.grad = Tensor([2.0])
    adam.step()
    assert_allclose([p.item() for p in ps], [0.5, 1 - 0.001 + 0.1, 1 - 0.001 - 0.1 * 2 / 3],
                    rtol=1e-6)  # fmt: skip
    adam.lr = 0.0
    assert [g.lr for g in adam.groups] == [0.0] * 3
    with pytest.raises(ValueError, match=r"AdamW: parameter 3, of shape \(1,\), is in two groups"):
        adam.add_group([ps[0]])
    with pytest.raises(TypeError, match=r"AdamW: a group with \['x'\], wanted some of"):
        optim.AdamW([{"params": ps, "x": 1}])
    with pytest.raises(AttributeError, match="AdamW has no momentum"):
        adam.momentum  # noqa: B018


@pytest.mark.parametrize("name", CASES)
def test_a_state_dict_holds_all_that_it_takes_to_go_on(name):
    make = RULES[name][0]
    rng = np.random.default_rng(0)
    p = Tensor(rng.normal(size=3), requires_grad=True)
    first = make([p])
    for _ in range(3):
        p.grad = Tensor(rng.normal(size=3))
        first.step()
    first.lr, first.groups[0].weight_decay = 0.05, 0.125
    saved = first.state_dict()
    kept = {k: v.copy() for k, v in saved["state"][0].items()}
    q = Tensor(p.detach().numpy(), requires_grad=True)
    second = make([q])
    second.load_state_dict(saved)
    assert second.lr == 0.05 and second.weight_decay == 0.125
    g = rng.normal(size=3)
    p.grad = q.grad = Tensor(g)
    first.step()
    second.step()
    assert p.tolist() == q.tolist()
    assert all(np.array_equal(kept[k], v) for k, v in saved["state"][0].items())  # copies


def test_what_version_0_1_0_saved_can_be_loaded():
    p = Tensor([1.0, 2.0], requires_grad=True)
    adam = optim.Adam([p], 0.1, weight_decay=0.5)
    adam.load_state_dict({"steps": 7, "lr": 0.25, "state": [{"m": [1, 2], "v": [3, 4]}]})
    assert (adam.steps, adam.lr, adam.weight_decay) == (7, 0.25, 0.5)
    assert adam.state_dict()["counts"] == [7] and adam.state[0]["v"].tolist() == [3, 4]


def test_a_state_dict_that_does_not_fit_changes_nothing():
    ps = [Tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    adam = optim.Adam(ps)
    ps[0].grad = Tensor([1.0, 2.0])
    adam.step()
    before = adam.state_dict()
    bad = adam.state_dict() | {"lr": 9.0, "steps": 9, "counts": [9, 9]}
    groups = [{**bad["groups"][0], "params": [1, 0]}]
    m = {"m": np.zeros(2), "v": np.zeros(2)}
    for wrong in ({"groups": groups}, {"counts": [9]}, {"state": [m, {**m, "v": ["x", "y"]}]},
                  {"state": [m]}, {"state": [m, {**m, "v": np.zeros(3)}]}):  # fmt: skip
        with pytest.raises(ValueError):
            adam.load_state_dict(bad | wrong)
        now = adam.state_dict()
        assert str(now) == str(before)


@pytest.mark.parametrize("make, error, words", [
    (lambda p: optim.Adam(tg.nn.Linear(2, 3)), TypeError, r"Adam: a Linear .* model\.parameters"),
    (lambda p: optim.SGD([p], -0.1), ValueError, r"SGD: lr=-0\.1, wanted at least 0"),
    (lambda p: optim.SGD([p], weight_decay=-1), ValueError, "SGD: weight_decay=-1"),
    (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\]=1\.0, wanted 0 <"),
    (lambda p: optim.RMSprop([p], alpha=1), ValueError, "RMSprop: alpha=1, wanted 0 <= alpha < 1"),
    (lambda p: optim.RMSprop([{"params": [p], "momentum": 0.5}]), ValueError, "give the optimizer"),
    (lambda p: optim.SGD([p.detach().numpy()]), TypeError, "SGD: parameter 0 is a ndarray"),
    (lambda p: optim.SGD([p], "0.1"), TypeError, "SGD: lr='0.1', wanted a number"),
    (lambda p: optim.Adam([p], betas=(0.9,)), ValueError, r"Adam: betas=\(0.9,\), wanted two"),
    (lambda p: optim.AdamW([{"params": [p], "betas": 0.9}]), ValueError, "AdamW: betas=0.9"),
    (lambda p: optim.SGD([p], momentum=0.9), TypeError, r"^SGD: momentum= .*Momentum\(params"),
    (lambda p: optim.Momentum([p], nesterov=True), TypeError, r"^Momentum: nesterov= .*Nesterov\("),
    (lambda p: optim.Adam([p], rate=0.1), TypeError, r"^Adam: rate= is not known, wanted params,"),
])  # fmt: skip
def test_errors_say_what_is_meant(make, error, words):
    with pytest.raises(error, match=words):
        make(Tensor([1.0], requires_grad=True))


def test_betas_are_set_together():
    adam = optim.Adam([Tensor([1.0], requires_grad=True)])
    adam.add_group([Tensor([1.0], requires_grad=True)], betas=(0.1, 0.2))
    adam.betas = 0.5, 0.75
    assert [(group.beta1, group.beta2) for group in adam.groups] == [(0.5, 0.75)] * 2


def test_one_parameter_need_not_be_in_a_list():
    p = Tensor([1.0, 2.0], requires_grad=True)
    p.grad = Tensor([1.0, 1.0])
    optim.SGD(p, 0.5).step()
    assert p.tolist() == [0.5, 1.5]
    optim.clip_grad_norm_(p, 1.0)
    assert_allclose(np.linalg.norm(p.grad.numpy()), 1, rtol=1e-5)


# --- tg.jit ---------------------------------------------------------------------------------------


def trained(make, schedule, record):
    tg.manual_seed(0)
    layer, late = tg.nn.Linear(3, 2), tg.nn.Linear(3, 2)
    params = [*layer.parameters(), *late.parameters()]
    optimizer = make(params)
    plan = schedule(optimizer)
    ema = optim.EMA(params, 0.9)

    def step(x, use):
        loss = np.mean(layer(x) ** 2) + (np.mean(late(x) ** 2) if use else 0.0)
        loss.backward()
        optim.clip_grad_value_(params, 0.5)
        optim.clip_grad_norm_(params, 0.4, 3.0, error_if_nonfinite=True)
        optimizer.step()
        optimizer.zero_grad()
        if isinstance(plan, optim.ReduceLROnPlateau):
            plan.step(loss)
        else:
            plan.step()
        ema.update()
        return loss

    step = tg.jit(step) if record else step
    losses = [step(np.full((4, 3), k, "f"), k > 3).item() for k in range(1, 9)]
    arrays = [p.detach().numpy() for p in params] + ema.averages
    return losses, optimizer.lr, optimizer.state_dict(), arrays, step


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_step_is_the_same_step(name):
    def make(params):
        return RULES[name][0]([{"params": params[:1], "lr": 0.03}, {"params": params[1:]}])

    for schedule in (lambda o: optim.SequentialLR(o, [optim.LinearLR(o, 0.1, total_iters=5),
                                                      optim.CosineAnnealingLR(o, 12)], [5]),
                     lambda o: optim.OneCycleLR(o, 0.5, 20),
                     lambda o: optim.ReduceLROnPlateau(o, patience=0, threshold=0.5)):  # fmt: skip
        losses, lr, state, arrays, _ = trained(make, schedule, False)
        again, lr2, state2, arrays2, step = trained(make, schedule, True)
        assert_allclose(again, losses, rtol=1e-6)
        assert lr2 == pytest.approx(lr, rel=1e-12)
        assert (state2["steps"], state2["counts"]) == (8, [8, 8, 5, 5])
        assert_allclose(state2["groups"][1]["lr"], state["groups"][1]["lr"], rtol=1e-12)
        for a, b in zip(arrays, arrays2, strict=True):
            assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        assert len(step.recordings) == 2  # without and with the late layer


def test_a_norm_that_is_not_finite_is_an_error_in_a_replay_too():
    p = Tensor(np.ones(3), requires_grad=True)

    @tg.jit
    def step(x):
        np.sum(p * x).backward()
        norm = optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        p.grad = None
        return norm

    for _ in range(3):
        assert step(np.ones(3)) == pytest.approx(math.sqrt(3))
    p.grad = None
    with pytest.raises(RuntimeError, match="clip_grad_norm_"):
        step(np.array([1.0, math.inf, 1.0]))


def test_numbers_that_are_not_given():
    p = Tensor([1.0], requires_grad=True)
    wanted = {"SGD": {"lr": 0.01}, "Momentum": {"lr": 0.01, "momentum": 0.9, "dampening": 0.0},
              "Nesterov": {"lr": 0.01, "momentum": 0.9}, "AdaGrad": {"lr": 0.01, "eps": 1e-10},
              "RMSprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0},
              "Adam": {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "book": False},
              "AdamW": {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}}
    for name, numbers in wanted.items():
        optimizer = getattr(optim, name)([p])
        for k, v in ({"weight_decay": 0.0, "maximize": False} | numbers).items():
            assert getattr(optimizer, k) == v, (name, k)
    assert optim.EMA([p]).decay == 0.999


def test_numbers_at_their_bounds():
    p = Tensor([1.0, -2.0], requires_grad=True)
    p.grad = Tensor([3.0, -4.0])
    optim.Adam([p], 0, (0, 0), eps=0).step()
    optim.RMSprop([p], 0.0, alpha=0, eps=0).step()
    assert p.tolist() == [1, -2]
    for make in (lambda: optim.Adam([p], betas=(0.9, 1)), lambda: optim.RMSprop([p], alpha=1),
                 lambda: optim.Momentum([p], momentum=-0.1), lambda: optim.EMA([p], -0.1)):
        with pytest.raises(ValueError, match="wanted"):
            make()
    for make in (optim.SGD, optim.AdaGrad):  # PyTorch's third is another number
        with pytest.raises(TypeError, match="positional"):
            make([p], 0.1, 0.9)
    with pytest.raises(TypeError, match="positional"):
        optim.Adam([p], 0.1, (0.9, 0.999), 1e-8, 0.0, True)
    for decay in (0, 1):
        optim.EMA([p], decay).update()
    optim.clip_grad_value_([p], 0)
    assert p.grad.tolist() == [0, 0]


def test_a_rule_of_ones_own():
    class Signs(optim.Optimizer):
        def update(self, p, g, state):
            p -= state.group.lr * np.sign(g)

    for options, wanted in (({}, [-1.5, 2.5]), ({"maximize": True}, [-0.5, 1.5]),
                            ({"weight_decay": 1.0}, [-0.5, 1.5])):
        p = Tensor([-1.0, 2.0], requires_grad=True)
        p.grad = Tensor(np.array([0.5, -0.5]))
        Signs([p], 0.5, **options).step()
        assert p.data.tolist() == wanted
