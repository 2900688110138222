"""Losses, embedding, layer norm, dropout and attention: value and gradient against the formula
written out here in float64, from random cotangents."""

import math

import numpy as np
import pytest
from formulas import exact_softmax, logistic
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn import functional as F

seeds = st.integers(0, 2**32 - 1)
nan, inf = math.nan, math.inf


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


def test_second_derivatives_of_cross_entropy_are_0_where_it_is_ignored():
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 5))
    p = exact_softmax(x)
    wanted = p * v - p * (p * v).sum(1, keepdims=True)
    wanted[1] = 0
    got = tg.hvp(lambda x: F.cross_entropy(x, [4, -1, 0]), x, v)[1]
    assert_allclose(got.numpy(), wanted / 2, rtol=1e-12)


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


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (2, 4, 5), (4,)])
def test_a_mask_of_another_shape_is_told_as_such(shape):
    q, k = np.ones((2, 3, 4)), np.ones((2, 5, 4))
    with pytest.raises(ValueError, match=r"mask of shape .* for 3 queries and 5 keys"):
        F.scaled_dot_product_attention(q, k, k, np.ones(shape, bool))


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


@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
def test_a_mean_by_weights_is_a_mean_however_small_they_are(f):
    x = F.log_softmax(np.random.default_rng(0).normal(size=(3, 2))).numpy()
    targets, weight = np.array([0, 1, 1]), np.array([0.01, 0.02])
    shares = weight[targets]
    wanted = -(shares * x[range(3), targets]).sum() / shares.sum()
    assert_allclose(f(x, targets, weight=weight).numpy(), wanted)
    assert_allclose(f(x, targets, weight=0 * weight).numpy(), 0)


@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
def test_a_weight_that_wants_a_gradient_and_targets_that_are_no_ids_are_refused(f):
    x = np.zeros((2, 3))
    with pytest.raises(TypeError, match=rf"{f.__name__}: weight: no derivative"):
        f(x, [0, 1], weight=Tensor(np.ones(3), requires_grad=True))
    with pytest.raises(TypeError, match=rf"{f.__name__}: ids are integers, bool came"):
        f(x, [True, False])


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int16", "bool"])
def test_a_tensor_of_whole_numbers_counts_as_float64(dtype):
    rng = np.random.default_rng(0)
    a, t = rng.integers(0, 9, (3, 4)).astype(dtype), rng.uniform(0, 1, (3, 4))
    for f in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits):
        assert f(Tensor(a), t).item() == f(a.astype(float), t).item()
    for f in (F.relu, F.sigmoid, F.softmax, F.log_softmax, F.logsumexp, F.gelu, F.silu):
        got = f(Tensor(a))
        assert got.dtype == float
        assert_array_equal(got.numpy(), f(a.astype(float)).numpy())
    ids = np.array([0, 3, 1])
    assert F.cross_entropy(Tensor(a), ids).item() == F.cross_entropy(a.astype(float), ids).item()


def test_a_mask_of_0_and_1_is_one_of_booleans_and_one_to_be_added_is_refused():
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    causal = np.tril(np.ones((4, 4)))
    want = F.scaled_dot_product_attention(x, x, x, causal > 0).numpy()
    for mask in (causal, causal.astype(int), Tensor(causal)):
        assert_array_equal(F.scaled_dot_product_attention(x, x, x, mask).numpy(), want)
    for mask in (np.where(causal > 0, 0, -inf), causal - 1, 2 * causal):
        with pytest.raises(ValueError, match="attention: a mask of other numbers than 0 and 1"):
            F.scaled_dot_product_attention(x, x, x, mask)


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax])
def test_of_a_number_there_is_no_softmax(f):
    with pytest.raises(IndexError, match=rf"{f.__name__}: .*an array with an axis is wanted"):
        f(1.0)
