"""The hand-derived layers, against derivatives of their own forward and against their formulas.

Nothing here uses the autograd engine: the derivative of a forward pass is taken by complex step,
Im f(x + i h v) / h, which has no cancellation and is exact to rounding; by central differences
where a forward is not defined for complex numbers.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from manual_cases import (
    CASES,
    SCALES,
    SEEDS,
    SIZES,
    Duck,
    as_tuple,
    cotangent,
    draw,
    each_layer,
)

import tinygrad_rnn.manual as manual


def test_every_name_of_the_design_has_a_case():
    assert sorted(manual.__all__) == sorted(CASES)
    assert len(CASES) == 24


def test_imports_numpy_and_nothing_of_this_project():
    for path in Path(manual.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert [name.name for name in node.names] == ["numpy"]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1 or node.module == "typing"


# ------------------------------------------------------------------ gradients, and how they come


def derivative(f, x, v, complex_step):
    """d/dh f(x + h v) at h = 0, for an f that gives one number."""
    if complex_step:
        return f(x + 1e-30j * v).imag / 1e-30
    return (f(x + 1e-5 * v) - f(x - 1e-5 * v)) / 2e-5


@each_layer
@settings(max_examples=150, deadline=None)
@given(SIZES, SEEDS, SCALES)
def test_backward_is_the_derivative_of_forward(name, sizes, seed, scale):
    case, rng = draw(name, sizes, seed, scale)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    douts = [cotangent(rng, y) for y in outs]
    dinputs = as_tuple(case.backward(layer, *douts))
    arrays = case.params + case.inputs
    grads = [g.copy() for g in layer.grads] + list(dinputs)
    assert len(grads) == len(arrays)

    def loss(*arrays):
        params, inputs = arrays[: len(case.params)], arrays[len(case.params) :]
        ys = as_tuple(case.forward(case.make(*params), *inputs))
        return sum(np.sum(dy * y) for dy, y in zip(douts, ys, strict=True))

    tolerance = 1e-10 if case.complex_step else 1e-6
    # 1 - y^2 of a saturated y is off by an ulp of 1, however small it is; in a GRU three products
    # with arrays of size `scale` (Wh, h_prev, x) carry that on.
    rounding = 1e-13 * max(1.0, scale) ** 3
    for i, (array, grad) in enumerate(zip(arrays, grads, strict=True)):
        assert grad.shape == array.shape and grad.dtype == array.dtype
        v = rng.standard_normal(array.shape)
        along = lambda x, i=i: loss(*arrays[:i], x, *arrays[i + 1 :])  # noqa: E731
        truth = derivative(along, array, v, case.complex_step)
        error = abs(np.sum(grad * v) - truth)
        bound = np.linalg.norm(grad) * np.linalg.norm(v)
        if not case.complex_step:
            bound += abs(loss(*arrays))  # the rounding of a difference of two losses
        assert error <= tolerance * bound + rounding


@each_layer
@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS, SCALES)
def test_float32_stays_float32(name, sizes, seed, scale):
    case, rng = draw(name, sizes, seed, scale, np.float32)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    grads = as_tuple(case.backward(layer, *[cotangent(rng, y) for y in outs]))
    assert {y.dtype for y in (*outs, *grads, *layer.grads)} == {np.dtype(np.float32)}


# NEP 50: np.float64 * float32 array is float64, Python float * float32 array is not.


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if name.endswith("Loss")])
def test_a_numpy_scalar_as_cotangent_widens_nothing(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0, np.float32)
    layer = case.make()
    case.forward(layer, *case.inputs)
    assert layer.backward(np.float64(2)).dtype == np.float32


@pytest.mark.parametrize("layer", [manual.Dropout, manual.TimeDropout])
def test_a_numpy_scalar_as_dropout_ratio_widens_nothing(layer):
    x = np.ones((2, 3, 4), np.float32)
    layer = layer(np.float64(0.5))
    assert layer.forward(x).dtype == layer.backward(x).dtype == np.float32


@each_layer
@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS)
def test_backward_repeats_edits_nothing_and_shares_nothing(name, sizes, seed):
    case, rng = draw(name, sizes, seed, 1.0)
    layer = case.make(*case.params)
    slots = list(layer.grads)
    before = [x.copy() for x in case.params + case.inputs]
    outs = as_tuple(case.forward(layer, *case.inputs))
    kept = [np.array(y) for y in outs]
    douts = [cotangent(rng, y) for y in outs]
    douts_before = [np.array(dy) for dy in douts]

    first = as_tuple(case.backward(layer, *douts))
    first_kept = [np.array(g) for g in (*first, *layer.grads)]
    for g in layer.grads:
        g[...] = np.nan  # a backward that adds to what is there does not repeat
    second = as_tuple(case.backward(layer, *douts))

    for a, b in zip(first_kept, (*second, *layer.grads), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first_kept, first, strict=False):
        np.testing.assert_array_equal(a, b)  # the second call did not overwrite the first's
    for a, b in zip(before + kept + douts_before, case.params + case.inputs + [*outs, *douts],
                    strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(a is b for a, b in zip(slots, layer.grads, strict=True))
    mine = [*first, *layer.grads]
    others = [*case.params, *case.inputs, *(dy for dy in douts if np.ndim(dy))]
    for i, g in enumerate(mine):
        assert g.flags.writeable
        assert not any(np.shares_memory(g, other) for other in mine[i + 1 :] + others)


@each_layer
def test_an_empty_batch_goes_through(name):
    case, rng = draw(name, SimpleNamespace(N=0, T=3, D=4, H=5, V=6), 0, 1.0)
    layer = case.make(*case.params)
    outs = as_tuple(case.forward(layer, *case.inputs))
    assert all(y.size == 0 or y == 0 for y in outs)
    grads = as_tuple(case.backward(layer, *[cotangent(rng, y) for y in outs]))
    assert [g.shape for g in grads] == [x.shape for x in case.inputs]
    assert all(not g.any() for g in layer.grads)


@each_layer
def test_forward_takes_any_array_that_has_numpys_protocols(name):
    case, _ = draw(name, SimpleNamespace(N=2, T=3, D=4, H=5, V=6), 0, 1.0)
    plain = as_tuple(case.forward(case.make(*case.params), *case.inputs))
    ducks = [Duck(x) for x in case.params], [Duck(x) for x in case.inputs]
    # One side may stay plain: weights under training and fixed inputs, or the other way round.
    for params, inputs in [ducks, (ducks[0], case.inputs), (case.params, ducks[1])]:
        if not any(isinstance(x, Duck) for x in params + inputs):
            continue
        outs = as_tuple(case.forward(case.make(*params), *inputs))
        for y, truth in zip(outs, plain, strict=True):
            assert isinstance(y, Duck)
            np.testing.assert_array_equal(y.array, truth)
