"""The hand-derived layers where inputs are odd: repeated ids, ignored labels, masks, no time
steps, extreme logits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manual_cases import SEEDS, SIZES, as_tuple, cotangent, draw

import tinygrad_rnn.manual as manual
from tinygrad_rnn.manual.layers import sigmoid, softmax

# --------------------------------------------------------------- ids, labels, masks, extremes


@settings(deadline=None)
@given(SIZES, SEEDS, st.booleans())
def test_embedding_is_a_product_with_one_hot_rows_also_for_repeated_ids(sizes, seed, over_time):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((sizes.V, sizes.D))
    ids = rng.integers(min(sizes.V, 2), size=(sizes.N, sizes.T) if over_time else sizes.N)
    layer = manual.TimeEmbedding(W) if over_time else manual.Embedding(W)
    dy = cotangent(rng, layer.forward(ids))
    layer.backward(dy)
    one_hot = np.eye(sizes.V)[ids.ravel()]
    np.testing.assert_allclose(layer.grads[0], one_hot.T @ dy.reshape(-1, sizes.D), atol=1e-12)


@settings(deadline=None)
@given(SIZES, SEEDS, st.data())
def test_ignored_labels_count_for_nothing(sizes, seed, data):
    rng = np.random.default_rng(seed)
    xs = rng.standard_normal((sizes.N, sizes.T, sizes.V))
    ts = rng.integers(sizes.V, size=(sizes.N, sizes.T))
    bits = st.lists(st.booleans(), min_size=ts.size, max_size=ts.size)
    ignored = np.array(data.draw(bits)).reshape(ts.shape)
    layer = manual.TimeSoftmaxWithLoss()
    layer.ignore_label = data.draw(st.sampled_from([-1, -100, 0]))
    if layer.ignore_label == 0:
        ignored = ts == 0
    ts[ignored] = layer.ignore_label
    # -1 indexes the last class: were it looked up, the loss would be infinite.
    xs[ignored, -1] = -np.inf if sizes.V > 1 else 0
    loss, dxs = layer.forward(xs, ts), layer.backward(2.0)

    single = manual.SoftmaxWithLoss()
    assert math.isclose(loss, single.forward(xs[~ignored], ts[~ignored]), rel_tol=1e-12,
                        abs_tol=1e-13)
    np.testing.assert_allclose(dxs[~ignored], single.backward(2.0), rtol=1e-12, atol=1e-14)
    assert not dxs[ignored].any()


def test_a_batch_of_ignored_labels_has_loss_and_gradient_0():
    layer = manual.TimeSoftmaxWithLoss()
    assert layer.forward(np.ones((2, 3, 4)), np.full((2, 3), -1)) == 0
    dxs = layer.backward()
    assert dxs.shape == (2, 3, 4) and not dxs.any()


def test_labels_that_are_none_are_refused():
    x = np.zeros((1, 2))
    with pytest.raises(IndexError, match=r"SoftmaxWithLoss: labels -1 to -1, wanted 0 to 1"):
        manual.SoftmaxWithLoss().forward(x, np.array([-1]))
    with pytest.raises(IndexError, match=r"labels 2 to 2"):
        manual.TimeSoftmaxWithLoss().forward(x[None], np.array([[2]]))
    with pytest.raises(TypeError, match=r"labels are float64"):
        manual.SoftmaxWithLoss().forward(x, np.array([0.0]))
    with pytest.raises(ValueError, match=r"labels \(1,\), wanted the shape of x \(1, 2\)"):
        manual.SigmoidWithLoss().forward(x, np.array([0]))


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeBiLSTM"])
def test_no_time_steps_are_refused(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    with pytest.raises(ValueError, match=r"xs \(2, 0, 4\), wanted \(N, T, D\) with at least one"):
        getattr(manual, name)(*case.params).forward(np.zeros((2, 0, 4)))


@given(SEEDS, st.floats(0, 1), st.booleans())
def test_dropout_scales_in_evaluation(seed, ratio, other_first):
    x = np.random.default_rng(seed).standard_normal((3, 4))
    layer = manual.Dropout(ratio, rng=np.random.default_rng(seed))
    y = layer.forward(x)
    np.testing.assert_array_equal(y, x * layer.mask)
    np.testing.assert_array_equal(layer.backward(x), y)
    again = manual.Dropout(ratio, rng=np.random.default_rng(seed))
    if other_first:
        again.forward(x, train_flg=False)  # takes nothing from the generator
    np.testing.assert_array_equal(again.forward(x), y)
    np.testing.assert_array_equal(layer.forward(x, train_flg=False), x * (1 - ratio))
    np.testing.assert_array_equal(layer.backward(x), x * (1 - ratio))


@given(SEEDS, st.floats(0, 0.99))
def test_time_dropout_scales_in_training(seed, ratio):
    xs = np.random.default_rng(seed).standard_normal((2, 3, 4))
    layer = manual.TimeDropout(ratio, rng=np.random.default_rng(seed))
    ys = layer.forward(xs)
    kept = layer.mask != 0
    np.testing.assert_allclose(ys, np.where(kept, xs / (1 - ratio), 0), rtol=1e-12)
    np.testing.assert_array_equal(layer.backward(xs), ys)
    layer.train_flg = False
    np.testing.assert_array_equal(layer.forward(xs), xs)
    np.testing.assert_array_equal(layer.backward(xs), xs)


@pytest.mark.parametrize("layer", [manual.Dropout, manual.TimeDropout])
def test_dropout_keeps_the_share_it_should(layer):
    x = np.ones((200, 200))
    kept = layer(0.3, rng=np.random.default_rng(0)).forward(x) != 0
    assert abs(kept.mean() - 0.7) < 0.01  # four standard deviations
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"dropout_ratio {ratio} is not in"):
            layer(ratio)


def test_sigmoid_keeps_its_tails():
    x = np.array([-1000.0, -700.0, -40.0, -0.0, 0.0, 40.0, 1000.0])
    want = [0.0, math.exp(-700), 4.248354255291589e-18, 0.5, 0.5, 1.0, 1.0]
    np.testing.assert_allclose(sigmoid(x), want, rtol=1e-15)
    np.testing.assert_allclose(sigmoid(x.astype(np.float32)), want, rtol=1e-6, atol=1e-45)
    assert np.isnan(sigmoid(np.array([np.nan]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(dtype):
    x = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -np.inf]], dtype)
    np.testing.assert_array_equal(softmax(x), [[1, 0, 0], [0.5, 0.5, 0]])
    layer = manual.SoftmaxWithLoss()
    loss = layer.forward(x, np.array([1, 0]))
    assert math.isclose(loss, (2e4 + math.log(2)) / 2, rel_tol=1e-6)
    np.testing.assert_array_equal(layer.backward(), [[0.5, -0.5, 0], [-0.25, 0.25, 0]])

    layer = manual.SigmoidWithLoss()
    x = np.array([1000.0, 1000.0, -1000.0, -1000.0], dtype)
    assert layer.forward(x, np.array([0, 1, 0, 1])) == 500
    np.testing.assert_array_equal(layer.backward(), [0.25, 0, 0, -0.25])
    tail = layer.forward(np.array([40.0, -40.0], dtype), np.array([1, 0]))
    assert math.isclose(tail, math.exp(-40), rel_tol=1e-5)


@pytest.mark.parametrize("name", ["TimeRNN", "TimeLSTM", "TimeGRU", "TimeAttention"])
def test_saturated_networks_have_finite_gradients(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1e3)
    layer = case.make(*case.params)
    grads = as_tuple(case.backward(layer, np.ones_like(case.forward(layer, *case.inputs))))
    assert all(np.isfinite(g).all() for g in (*grads, *layer.grads))
