"""Every function of tinygrad_rnn.functional, value and gradient, against its formula written out
here in float64 (and in PyTorch where that is installed), from random cotangents."""

import inspect
import math

import numpy as np
import pytest
from formulas import erf, exact_softmax, logistic
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn import functional as F

seeds = st.integers(0, 2**32 - 1)
nan, inf = math.nan, math.inf


def cut(x):
    return np.where(x > 0, x, 0)


# function -> (the formula, its derivative), of float64 arrays without a 0
ELEMENTWISE = {
    "sigmoid": (F.sigmoid, logistic, lambda x: logistic(x) * logistic(-x)),
    "tanh": (F.tanh, np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": (F.relu, cut, lambda x: 1.0 * (x > 0)),
    "leaky_relu": (F.leaky_relu, lambda x: cut(x) - 0.01 * cut(-x),
                   lambda x: np.where(x > 0, 1, 0.01)),
    "leaky_relu 0.3": (lambda x: F.leaky_relu(x, 0.3), lambda x: cut(x) - 0.3 * cut(-x),
                       lambda x: np.where(x > 0, 1, 0.3)),
    "elu": (F.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1),
            lambda x: np.where(x > 0, 1, np.exp(x))),
    "elu 1.7": (lambda x: F.elu(x, 1.7), lambda x: np.where(x > 0, x, 1.7 * (np.exp(x) - 1)),
                lambda x: np.where(x > 0, 1, 1.7 * np.exp(x))),
    "celu": (F.celu, lambda x: np.where(x > 0, x, np.exp(x) - 1),
             lambda x: np.where(x > 0, 1, np.exp(x))),
    "celu 1.7": (lambda x: F.celu(x, 1.7),
                 lambda x: np.where(x > 0, x, 1.7 * (np.exp(x / 1.7) - 1)),
                 lambda x: np.where(x > 0, 1, np.exp(x / 1.7))),
    "silu": (F.silu, lambda x: x * logistic(x),
             lambda x: logistic(x) * (1 + x * logistic(-x))),
    "softplus": (F.softplus, lambda x: np.log(1 + np.exp(x)), logistic),
    "softplus 3, 2": (lambda x: F.softplus(x, 3.0, 2.0),
                      lambda x: np.where(3 * x > 2, x, np.log(1 + np.exp(3 * x)) / 3),
                      lambda x: np.where(3 * x > 2, 1, logistic(3 * x))),
    "erf": (F.erf, erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2))),
    "gelu": (F.gelu, lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
             lambda x: (1 + erf(x / math.sqrt(2))) / 2
             + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(seeds)
def test_activations_and_their_derivatives(name, seed):
    f, formula, derivative = ELEMENTWISE[name]
    rng = np.random.default_rng(seed)
    x, g = rng.normal(0, 3, (3, 4)), rng.normal(size=(3, 4))
    t = Tensor(x, requires_grad=True)
    y = f(t)
    y.backward(g)
    assert_allclose(y.detach().numpy(), formula(x), rtol=1e-12, atol=1e-14)
    assert_allclose(t.grad.numpy(), g * derivative(x), rtol=1e-12, atol=1e-14)
    single = f(Tensor(x.astype(np.float32)))
    assert single.dtype == np.float32
    assert_allclose(single.numpy(), formula(x), rtol=2e-6, atol=3e-7)


def test_gelu_by_tanh_is_that_formula():
    x = np.linspace(-4, 4, 33)
    wanted = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert_allclose(F.gelu(x, "tanh").numpy(), wanted, rtol=1e-14)
    tg.check.check_gradients(lambda t: F.gelu(t, "tanh"), x)
    with pytest.raises(ValueError, match="gelu: approximate='x', wanted 'none' or 'tanh'"):
        F.gelu(x, "x")


def test_derivatives_where_there_are_two():
    x = Tensor(np.zeros(2), requires_grad=True)
    for f, wanted in ((F.relu, 0), (F.leaky_relu, 0.01), (F.elu, 1), (F.celu, 1)):
        x.grad = None
        f(x).backward(np.array([3.0, -2.0]))
        assert_array_equal(x.grad.numpy(), [3 * wanted, -2 * wanted])
    assert F.celu(Tensor(0.9), 1e-3).item() == 0.9  # exp(900) is nowhere computed


@given(seeds, st.sampled_from([0, 1, -1]))
def test_softmax_log_softmax_and_logsumexp(seed, axis):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    p = exact_softmax(x, axis)
    total = np.log(np.exp(x).sum(axis, keepdims=True))
    for f, y, gx in (
        (F.softmax, p, p * (g - (g * p).sum(axis, keepdims=True))),
        (F.log_softmax, x - total, g - p * g.sum(axis, keepdims=True)),
    ):
        t = Tensor(x, requires_grad=True)
        out = f(t, axis)
        out.backward(g)
        assert_allclose(out.detach().numpy(), y, rtol=1e-12)
        assert_allclose(t.grad.numpy(), gx, rtol=1e-10, atol=1e-14)
    for keepdims in (False, True):
        t = Tensor(x, requires_grad=True)
        out = F.logsumexp(t, axis, keepdims)
        row = rng.normal(size=out.shape)
        out.backward(row)
        assert_allclose(out.detach().numpy(), total if keepdims else total.squeeze(axis))
        wide = row if keepdims else np.expand_dims(row, axis)
        assert_allclose(t.grad.numpy(), wide * p, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, -100.0, 100.0, 1e4, 1e6])
@given(seeds)
def test_digits_do_not_hang_on_where_the_logits_lie(offset, seed):
    """float32 against float64 of the same numbers: a few units of the last place at any offset."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(5, 7)) * 3 + offset).astype(np.float32)
    g, targets = rng.normal(size=(5, 7)).astype(np.float32), rng.integers(0, 7, 5)
    exact = exact_softmax(x.astype(float))
    assert_allclose(F.softmax(x).numpy(), exact, rtol=3e-6)
    gap = x - x.max(1, keepdims=True).astype(float)
    wanted = gap - np.log(np.exp(gap).sum(1, keepdims=True))
    assert_allclose(F.log_softmax(x).numpy(), wanted, rtol=1e-6, atol=5e-7)
    t = Tensor(x, requires_grad=True)
    F.log_softmax(t).backward(g)
    assert_allclose(t.grad.numpy(), g - exact * g.sum(1, keepdims=True), rtol=0, atol=1e-5)
    t = Tensor(x, requires_grad=True)
    F.logsumexp(t).backward(g[:, 0])
    assert_allclose(t.grad.numpy(), exact * g[:, :1], rtol=3e-6)
    onehot = np.eye(7)[targets]
    for logits, ids in ((x, targets), (x[None], targets[None])):
        t = Tensor(logits, requires_grad=True)
        loss = F.cross_entropy(t, ids)
        loss.backward()
        assert_allclose(loss.item(), -(wanted * onehot).sum() / 5, rtol=1e-6)
        assert_allclose(t.grad.numpy().reshape(5, 7), (exact - onehot) / 5, rtol=3e-6, atol=6e-8)


def test_the_lower_tail_of_the_sigmoid():
    for dtype, rtol, lowest in ((np.float16, 2e-3, -15), (np.float32, 5e-7, -100),
                                (np.float64, 5e-16, -740)):  # fmt: skip
        x = np.concatenate([np.linspace(lowest, 0, 999), np.linspace(0, 30, 99)]).astype(dtype)
        with np.errstate(under="ignore"):
            exact = np.exp(np.minimum(x.astype(np.longdouble), 0)) / (
                1 + np.exp(-np.abs(x.astype(np.longdouble))))
            least = 4 * float(np.finfo(dtype).smallest_subnormal)
            y = F.sigmoid(x).numpy()
        assert y.dtype == dtype
        assert_allclose(y.astype(np.longdouble), exact, rtol=rtol, atol=least)
    assert_array_equal(F.sigmoid(np.float32([-inf, inf])).numpy(), [0, 1])


SOFTMAX_OF = {  # rows -> softmax, log_softmax, logsumexp, as in PyTorch but for the last
    (nan, 1.0): ([nan, nan], [nan, nan], nan),
    (inf, 1.0): ([nan, nan], [nan, nan], inf),
    (inf, inf): ([nan, nan], [nan, nan], inf),
    (-inf, 0.0): ([0, 1], [-inf, 0], 0),
    (-inf, inf): ([nan, nan], [nan, nan], inf),
    (-inf, -inf): ([0, 0], [-inf, -inf], -inf),
}


@pytest.mark.parametrize("row", SOFTMAX_OF)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_tell_the_truth_and_raise_no_warning(row, dtype):
    for f, wanted in zip((F.softmax, F.log_softmax, F.logsumexp), SOFTMAX_OF[row], strict=True):
        t = Tensor(np.array(row, dtype), requires_grad=True)
        y = f(t)
        assert_array_equal(y.detach().numpy(), wanted)
        y.backward(np.ones(y.shape))


def test_logsumexp_beside_infinity():
    t = Tensor([5.0, inf, nan], requires_grad=True)
    F.logsumexp(t[:2]).backward()
    assert_array_equal(t.grad.numpy(), [0, nan, 0])  # as in PyTorch and JAX


@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE) - {"softplus 3, 2"}))
def test_activations_keep_nan(name):
    t = Tensor([nan, 1.0], requires_grad=True)
    y = ELEMENTWISE[name][0](t)
    y.backward(np.ones(2))
    assert np.isnan(y.detach().numpy()[0]) and np.isfinite(y.detach().numpy()[1])
    assert np.isfinite(t.grad.numpy()[1])


def test_float16_is_summed_in_float32():
    """What PyTorch does: 70,000 classes, or losses, are more than float16 can count."""
    many = np.zeros((1, 70_000), np.float16)
    assert_allclose(F.logsumexp(many).numpy(), [math.log(70_000)], rtol=1e-3)
    assert F.cross_entropy(many, [3]).item() == np.float16(math.log(70_000))
    t = Tensor(np.full(70_000, 2, np.float16), requires_grad=True)
    loss = F.mse_loss(t, np.zeros(70_000, np.float16))
    loss.backward()
    assert loss.dtype == t.grad.dtype == np.float16 and loss.item() == 4
    assert_allclose(t.grad.numpy(), 4 / 70_000, rtol=0.02)  # a subnormal number of float16


# --- PyTorch --------------------------------------------------------------------------------------

PEERS = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "celu", "silu", "softplus", "gelu", "erf",
         "softmax", "log_softmax", "logsumexp"]  # fmt: skip


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("name", PEERS)
def test_values_and_gradients_are_pytorch_s(torch, name):
    peer = getattr(torch.nn.functional, name, None) or getattr(torch.special, name)
    over = {"dim": -1} if ("soft" in name and name != "softplus") or name == "logsumexp" else {}
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, s, (4, 6)) + o for s, o in ((1, 0), (5, 0), (1, 300), (1, -30))]
    if name not in ("silu", "gelu", "softplus"):  # inf - inf on the way back, as in PyTorch
        rows.append(np.array([[inf, 1.0, 0.0], [-inf, 1.0, -0.0]]))
    rows.append(np.array([[nan, 1.0, 0.0]]))
    for x in rows:
        t, p = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = getattr(F, name)(t), peer(p, **over)
        g = rng.normal(size=y.shape)
        y.backward(g)
        z.backward(torch.tensor(g))
        assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-300)
        assert_allclose(t.grad.numpy(), p.grad.numpy(), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@given(seed=seeds, smoothing=st.sampled_from([0.0, 0.2]), weighted=st.booleans())
def test_losses_of_classes_are_pytorch_s(torch, name, reduction, seed, smoothing, weighted):
    rng = np.random.default_rng(seed)
    x, targets = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    targets[rng.integers(0, 6)] = -1
    weight = rng.uniform(0.5, 2, 5) if weighted else None
    more = {"label_smoothing": smoothing} if name == "cross_entropy" else {}
    t, p = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(F, name)(t, targets, weight=weight, reduction=reduction, **more)
    z = getattr(torch.nn.functional, name)(
        p, torch.tensor(targets), weight=None if weight is None else torch.tensor(weight),
        ignore_index=-1, reduction=reduction, **more)  # fmt: skip
    g = rng.normal(size=y.shape)
    y.backward(g)
    z.backward(torch.tensor(g))
    assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-14)
    assert_allclose(t.grad.numpy(), p.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss",
                                  "binary_cross_entropy_with_logits"])  # fmt: skip
def test_losses_of_pairs_are_pytorch_s(torch, name):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 3)), rng.random((4, 3))
    x[0, 0] = target[0, 0]
    t, p = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(F, name)(t, target), getattr(torch.nn.functional, name)(p, torch.tensor(target))
    y.backward()
    z.backward()
    assert_allclose(y.item(), z.item(), rtol=1e-13)
    assert_allclose(t.grad.numpy(), p.grad.numpy(), rtol=1e-12, atol=1e-16)


DEFAULTS = {  # ours -> PyTorch's, where the argument has another name, or the default another value
    "leaky_relu": {"slope": "negative_slope"}, "layer_norm": {"gamma": None, "beta": None},
    "softmax": {"axis": None}, "log_softmax": {"axis": None}, "logsumexp": {"axis": None},
    "cross_entropy": {"ignore_index": None, "logits": None, "targets": None},
    "nll_loss": {"ignore_index": None},
    "scaled_dot_product_attention": {"mask": "attn_mask"}, "dropout": {"rng": None},
}  # fmt: skip


@pytest.mark.parametrize("name", F.__all__)
def test_defaults_are_pytorch_s(torch, name):
    theirs = {  # of functions whose signature Python cannot see
        "gelu": {"approximate": "none"}, "softplus": {"beta": 1, "threshold": 20},
        "logsumexp": {"keepdims": False}, "scaled_dot_product_attention": {"attn_mask": None},
    }.get(name)
    peer = getattr(torch.nn.functional, name, None) or getattr(torch.special, name)
    if theirs is None:
        try:
            parameters = inspect.signature(peer).parameters
        except ValueError:
            parameters = {}
        theirs = {k: v.default for k, v in parameters.items()}
    names = DEFAULTS.get(name, {})
    for k, parameter in inspect.signature(getattr(F, name)).parameters.items():
        their_name = names.get(k, k)
        if parameter.default is not inspect.Parameter.empty and their_name in theirs:
            assert parameter.default == theirs[their_name], k


# --- tg.jit ---------------------------------------------------------------------------------------


def test_all_of_it_can_be_recorded():
    rng = np.random.default_rng(0)
    W = tg.nn.Parameter(rng.normal(size=(6, 6)))
    mask = rng.random((2, 3, 3)) < 0.7

    def step(x, targets, mask):
        h = x @ W
        for f in (F.sigmoid, F.relu, F.leaky_relu, F.elu, F.celu, F.silu, F.softplus, F.gelu,
                  F.erf, F.softmax, F.log_softmax):  # fmt: skip
            h = h + f(h)
        h = F.layer_norm(h, np.ones((3, 6)), np.zeros((3, 6)))
        h = F.scaled_dot_product_attention(h, h, h, mask)
        h = h + F.embedding(W, targets, padding_idx=2)
        loss = F.cross_entropy(h, targets, weight=np.arange(1.0, 7.0), label_smoothing=0.1)
        loss = loss + F.nll_loss(F.log_softmax(h), targets) + np.mean(F.logsumexp(h))
        loss = loss + F.mse_loss(h, x) + F.l1_loss(h, x) + F.huber_loss(h, x)
        loss = loss + F.binary_cross_entropy_with_logits(h, np.abs(x) / 9)
        loss.backward()
        g = W.grad.data.copy()
        W.grad = None
        return loss, g

    recorded = tg.jit(step)
    for _ in range(4):
        x, targets = rng.normal(size=(2, 3, 6)), rng.integers(0, 6, (2, 3))
        (a, ga), (b, gb) = step(x, targets, mask), recorded(x, targets, mask)
        assert_allclose(a.item(), b.item(), rtol=1e-12)
        assert_allclose(ga, gb, rtol=1e-10, atol=1e-12)
    assert len(recorded.recordings) == 1


@pytest.mark.parametrize("fast", [False, True])
def test_tails_and_nan_under_jit(fast):
    """Compiled chains say the same as NumPy, also where float32 ends."""
    x = np.zeros(1024, np.float32)
    x[:10] = [-105, -90, -88, -30, -15, 15, 90, inf, -inf, nan]
    recorded = tg.jit(lambda x: F.sigmoid(x) * 1.0 * F.sigmoid(x), fast=fast)
    with np.errstate(all="ignore"):
        for _ in range(3):
            y = recorded(x).numpy()
        eager = (F.sigmoid(x) * 1.0 * F.sigmoid(x)).numpy()
    assert_allclose(y, eager, rtol=1e-5, atol=1e-44)
    logits, targets = np.zeros((300, 50), np.float32), np.zeros(300, int)
    logits[3], targets[3] = nan, -1
    p = tg.nn.Parameter(logits)

    def step(targets):
        loss = F.cross_entropy(p, targets)
        loss.backward()
        g, p.grad = p.grad.data.copy(), None
        return loss, g

    recorded = tg.jit(step, fast=fast)
    with np.errstate(all="ignore"):
        for _ in range(3):
            loss, g = recorded(targets)
    assert loss.item() == pytest.approx(math.log(50), rel=1e-6)
    assert np.isfinite(g).all() and not g[3].any()
