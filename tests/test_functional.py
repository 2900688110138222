"""Every function of tinygrad_rnn.functional, value and gradient, against its formula written out
here in float64 (and in PyTorch where that is installed), from random cotangents."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn import functional as F

seeds = st.integers(0, 2**32 - 1)
nan, inf = math.nan, math.inf


def logistic(x):
    return 1 / (1 + np.exp(-x))


def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)


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


# --- softmax and its kin --------------------------------------------------------------------------


def exact_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


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


# --- losses ---------------------------------------------------------------------------------------


def losses_of(rng, weighted, smoothing):
    """Logits, targets with ignored ones, weight, and the loss of each by the formula."""
    x, targets = rng.normal(size=(3, 4, 5)), rng.integers(-1, 5, (3, 4))
    weight = rng.uniform(0.5, 2, 5) if weighted else None
    w = np.ones(5) if weight is None else weight
    logp = np.log(exact_softmax(x))
    each = np.zeros((3, 4))
    for i in np.ndindex(3, 4):
        if targets[i] >= 0:
            each[i] = -(1 - smoothing) * w[targets[i]] * logp[i][targets[i]]
            each[i] -= smoothing / 5 * (w * logp[i]).sum()
    total = sum(w[t] for t in targets.ravel() if t >= 0)
    return x, targets, weight, each, total


@given(seeds, st.booleans(), st.sampled_from([0.0, 0.1, 1.0]),
       st.sampled_from(["mean", "sum", "none"]))  # fmt: skip
def test_cross_entropy_in_all_its_forms(seed, weighted, smoothing, reduction):
    rng = np.random.default_rng(seed)
    x, targets, weight, each, total = losses_of(rng, weighted, smoothing)
    wanted = {"none": each, "sum": each.sum(), "mean": each.sum() / (total or 1)}[reduction]
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    t = Tensor(x, requires_grad=True)
    loss = F.cross_entropy(t, targets, **options)
    assert_allclose(loss.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)
    g = rng.normal(size=loss.shape)
    loss.backward(g)
    assert not t.grad.numpy()[targets == -1].any()
    v, eps = rng.normal(size=x.shape), 1e-6
    up, down = (F.cross_entropy(x + s * eps * v, targets, **options).numpy() for s in (1, -1))
    assert_allclose((t.grad.numpy() * v).sum(), ((up - down) * g).sum() / (2 * eps), rtol=1e-6,
                    atol=1e-8)  # fmt: skip
    if not smoothing:
        logp = Tensor(np.log(exact_softmax(x)), requires_grad=True)
        loss = F.nll_loss(logp, targets, weight=weight, reduction=reduction)
        assert_allclose(loss.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)
        loss.backward(g)
        scale = g / (total or 1) if reduction == "mean" else g
        w = np.ones(5) if weight is None else weight
        gp = np.zeros_like(x)
        for i in np.ndindex(3, 4):
            if targets[i] >= 0:
                gp[i][targets[i]] = -w[targets[i]] * np.broadcast_to(scale, (3, 4))[i]
        assert_allclose(logp.grad.numpy(), gp, rtol=1e-12)


def test_what_is_ignored_may_be_anything():
    x = np.random.default_rng(0).normal(size=(4, 3))
    x[1], x[2] = nan, inf
    clean, targets = np.where(np.isfinite(x), x, 0), [0, -1, -1, 2]
    for options in ({}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 3.0]}):
        grads = []
        for rows in (x, clean):
            t = Tensor(rows, requires_grad=True)
            loss = F.cross_entropy(t, targets, **options)
            loss.backward()
            grads.append((loss.item(), t.grad.numpy()))
        assert grads[0][0] == grads[1][0]
        if not options:
            assert_array_equal(grads[0][1], grads[1][1])
    t = Tensor(x, requires_grad=True)
    second = tg.hvp(lambda t: F.cross_entropy(t, targets), t, np.ones_like(x))[1]
    assert np.isfinite(second.numpy()).all()


d = np.array([-3.0, -0.5, 0.25, 2.0])
PAIRS = {
    "mse_loss": (F.mse_loss, d**2, 2 * d),
    "l1_loss": (F.l1_loss, abs(d), np.sign(d)),
    "huber_loss": (F.huber_loss, [2.5, 0.125, 0.03125, 1.5], np.clip(d, -1, 1)),
    "huber_loss 2.5": (lambda *a: F.huber_loss(*a, delta=2.5), [4.375, 0.125, 0.03125, 2],
                       np.clip(d, -2.5, 2.5)),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits, np.log1p(np.exp(d + 0.25)) - 0.25 * (d + 0.25),
        logistic(d + 0.25) - 0.25),
}  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_pairs(name, reduction):
    f, each, slope = PAIRS[name]
    targets = np.full(4, 0.25)
    t = Tensor(d + 0.25, requires_grad=True)
    loss = f(t, targets, reduction)
    wanted = {"none": each, "sum": np.sum(each), "mean": np.mean(each)}[reduction]
    assert_allclose(loss.detach().numpy(), wanted, rtol=1e-12)
    g = np.random.default_rng(0).normal(size=loss.shape)
    loss.backward(g)
    assert_allclose(t.grad.numpy(), g * slope / (4 if reduction == "mean" else 1), rtol=1e-12)
    with pytest.raises(ValueError, match=f"{name.split()[0]}: reduction='x', wanted"):
        f(t, targets, "x")
    with pytest.raises(ValueError, match=rf"{name.split()[0]}: targets \(3,\) for .* \(4,\)"):
        f(t, targets[:3])


def test_a_difference_that_is_0_or_enormous():
    x = Tensor([1.0, 1e200], requires_grad=True)
    F.huber_loss(x, [1.0, 0.0], "sum").backward()
    assert_array_equal(x.grad.numpy(), [0, 1])
    x.grad = None
    F.l1_loss(x, [1.0, 0.0], "sum").backward()
    assert_array_equal(x.grad.numpy(), [0, 1])


# --- layers ---------------------------------------------------------------------------------------


@given(seeds)
def test_embedding_and_the_row_that_gets_no_gradient(seed):
    rng = np.random.default_rng(seed)
    W, ids, g = rng.normal(size=(5, 3)), rng.integers(0, 5, (4, 6)), rng.normal(size=(4, 6, 3))
    for padding in (None, 2):
        t = Tensor(W, requires_grad=True)
        y = F.embedding(t, ids, padding)
        y.backward(g)
        assert_array_equal(y.detach().numpy(), W[ids])
        wanted = np.zeros_like(W)
        np.add.at(wanted, ids, g)
        if padding is not None:
            wanted[padding] = 0
        assert_allclose(t.grad.numpy(), wanted, atol=1e-14)
    with pytest.raises(IndexError, match="embedding: padding_idx: ids from 5 to 5"):
        F.embedding(W, ids, 5)


@given(seeds, st.integers(1, 2))
def test_layer_norm_over_one_and_several_axes(seed, axes):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(2, 3, (4, 3, 5)), rng.normal(size=(4, 3, 5))
    gamma, beta = (rng.normal(size=x.shape[-axes:]) for _ in range(2))
    tx, tg_, tb = (Tensor(a, requires_grad=True) for a in (x, gamma, beta))
    y = F.layer_norm(tx, tg_, tb, eps=1e-3)
    y.backward(g)
    over = tuple(range(-axes, 0))
    mean, var = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    unit = (x - mean) / np.sqrt(var + 1e-3)
    assert_allclose(y.detach().numpy(), unit * gamma + beta, rtol=1e-11, atol=1e-12)
    rest = tuple(range(3 - axes))
    assert_allclose(tb.grad.numpy(), g.sum(rest), atol=1e-12)
    assert_allclose(tg_.grad.numpy(), (g * unit).sum(rest), atol=1e-11)
    gu = g * gamma
    gx = (gu - gu.mean(over, keepdims=True) - unit * (gu * unit).mean(over, keepdims=True))
    assert_allclose(tx.grad.numpy(), gx / np.sqrt(var + 1e-3), atol=1e-11)


@given(seeds, st.floats(0, 0.9))
def test_dropout_keeps_the_mean_and_passes_on_what_it_kept(seed, p):
    x = Tensor(np.full((50, 40), 3.0), requires_grad=True)
    y = F.dropout(x, p, rng=np.random.default_rng(seed))
    y.backward(np.full(x.shape, 2.0))
    kept = y.detach().numpy() != 0
    assert_allclose(y.detach().numpy()[kept], 3 / (1 - p))
    assert_array_equal(x.grad.numpy(), np.where(kept, 2 * (1 / (1 - p)), 0))
    assert abs(kept.mean() - (1 - p)) < 0.08
    assert F.dropout(x, p, training=False) is x


def attention(q, k, v, mask=None):
    """Query by query, over the keys that it sees and no others."""
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for n, i in np.ndindex(q.shape[:2]):
        seen = np.arange(k.shape[1]) if mask is None else np.flatnonzero(mask[n, i])
        if len(seen):
            out[n, i] = exact_softmax(k[n, seen] @ q[n, i] / math.sqrt(q.shape[-1])) @ v[n, seen]
    return out


@given(seeds, st.sampled_from(["none", "keys", "pairs"]))
def test_attention_and_what_is_masked_is_nobody_s_business(seed, kind):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=s) for s in ((2, 3, 4), (2, 5, 4), (2, 5, 6)))
    mask = rng.random((2, 3, 5)) < 0.6
    if kind == "keys":
        mask = np.repeat(mask[:, :1], 3, axis=1)
    given_mask = {"none": None, "keys": mask[:, :1], "pairs": mask}[kind]
    wanted = attention(q, k, v, None if kind == "none" else mask)
    g = rng.normal(size=wanted.shape)
    clean = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    y = F.scaled_dot_product_attention(*clean, given_mask)
    y.backward(g)
    assert_allclose(y.detach().numpy(), wanted, atol=1e-12)
    if kind == "none":
        tg.check.check_gradients(F.scaled_dot_product_attention, q, k, v)
        return
    hidden = ~mask.any(1)
    k2, v2, q2 = k.copy(), v.copy(), q.copy()
    k2[hidden], v2[hidden], q2[~mask.any(2)] = nan, inf, nan
    dirty = [Tensor(a, requires_grad=True) for a in (q2, k2, v2)]
    y2 = F.scaled_dot_product_attention(*dirty, given_mask)
    y2.backward(g)
    assert_array_equal(y2.detach().numpy(), y.detach().numpy())
    for a, b in zip(dirty, clean, strict=True):
        assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_nan_behind_a_causal_mask_reaches_those_who_may_see_it_and_no_others():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 4, 3)) for _ in range(3))
    causal = np.tril(np.ones((4, 4), bool))
    wanted = F.scaled_dot_product_attention(q, k, v, causal).numpy()
    for where in ("keys", "values"):
        arrays = {"query": q, "keys": k.copy(), "values": v.copy()}
        arrays[where][0, 3, 1] = nan
        ts = {name: Tensor(a, requires_grad=True) for name, a in arrays.items()}
        y = F.scaled_dot_product_attention(**ts, mask=causal)
        assert_allclose(y.detach().numpy()[0, :3], wanted[0, :3], rtol=1e-13)
        assert np.isnan(y.detach().numpy()[0, 3]).any()
        np.sum(y[0, :3]).backward()
        assert np.isfinite(ts["query"].grad.numpy()[0, :3]).all()
        assert np.isfinite(ts["values"].grad.numpy()[0, :3]).all()


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
