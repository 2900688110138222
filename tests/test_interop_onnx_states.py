"""from_onnx: states and weights that nodes make of constants, and names that hide others."""

import warnings

import numpy as np
import pytest
from test_interop_onnx_in import (
    GATES,
    H,
    assert_same,
    drawn,
    from_onnx,
    helper,
    info,
    model_of,
    node,
    numpy_helper,
)

from tinygrad_rnn.interop import FormatError

make = helper.make_node
# For a batch of a size that the graph computes: shape (k, n, H).
SHAPE = [make("Shape", ["X"], ["n"], start=1, end=2),
         make("Concat", ["k", "n", "h"], ["shape"], axis=0)]  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("shape", [None, (), (1,), (H,), (1, 1, H), (1, H), "k1H"])
def test_a_state_that_is_repeated_for_every_row(shape, direction):
    rng = np.random.default_rng(0)
    k = 1 + (direction == "bidirectional")
    start = rng.normal(size=(k, 1, H) if shape == "k1H" else shape or ()).astype(np.float32)
    filled = make("ConstantOfShape", ["shape"], ["h0"],
                  value=numpy_helper.from_array(start.reshape(1))) if shape is None else (
                      make("Expand", ["start", "shape"], ["h0"]))  # fmt: skip
    for kind in GATES:
        model = model_of(
            [*SHAPE, filled, node(kind, ["X", "W", "R", "B", "", "h0"], direction=direction)],
            drawn(kind, rng, k) | {"start": start, "k": [k], "h": [H]})  # fmt: skip
        found = from_onnx(model)
        assert found.notes["node"] == ["initial_h is a constant: the layer starts from it"]
        assert_same(model, found["node"], rng)


@pytest.mark.parametrize("nodes, arrays", [
    ([make("Pow", ["w", "two"], ["W"])], {"two": np.float32(2)}),
    ([make("Where", ["yes", "w", "w"], ["W"])], {"yes": np.array([True])}),
    ([make("ReduceL2", ["w"], ["norm"], axes=[-1]), make("Div", ["w", "norm"], ["W"])], {}),
    ([make("Mul", ["w", "w"], ["ww"]), make("ReduceSum", ["ww", "last"], ["sum"]),
      make("Sqrt", ["sum"], ["norm"]), make("Reciprocal", ["norm"], ["one"]),
      make("Mul", ["w", "one"], ["W"])], {"last": [-1]}),
    ([make("QuantizeLinear", ["w", "scale", "zero"], ["q"]),
      make("DequantizeLinear", ["q", "scale", "zero"], ["W"])],
     {"scale": np.float32(0.03), "zero": np.int8(2)}),
])  # fmt: skip
def test_weights_that_are_scaled_by_their_norm_or_rounded(nodes, arrays):
    rng = np.random.default_rng(0)
    weights = drawn("LSTM", rng)
    weights["w"] = weights.pop("W")
    model = model_of([*nodes, node("LSTM")], weights | arrays)
    assert_same(model, from_onnx(model)["node"], rng)


@pytest.mark.parametrize("hidden", ["h0", "W"])
@pytest.mark.parametrize("by", ["input", "node"])
def test_what_is_inside_hides_what_has_the_same_name_outside(hidden, by):
    """ONNX does not allow it, and writers do it: what a Loop carries is no constant."""
    rng = np.random.default_rng(0)
    arrays = drawn("RNN", rng) | {"h0": np.ones((1, 3, H), np.float32), "many": 2, "yes": True}
    lstm = node("RNN", ["X", "W", "R", "B", "", "h0"])
    own = [info(hidden)] if by == "input" else []
    given = [] if by == "input" else [make("Mul", ["X", "X"], [hidden])]
    body = helper.make_graph(
        [*given, lstm, make("Identity", ["going"], ["on"])], "body",
        [info("i", [], 7), info("going", [], 9), *own], [info("on", [], 9), *own, info("Y")])
    loop = make("Loop", ["many", "yes", *[hidden] * bool(own)], ["Y"], name="loop", body=body)
    model = model_of([loop], arrays)
    if hidden == "W":
        with pytest.raises(FormatError, match="its W is computed in the graph"):
            from_onnx(model)
    else:
        assert from_onnx(model).notes["loop/body/node"] == [
            "initial_h comes from the graph: hand it over as the state"]


@pytest.mark.parametrize("name", [
    "activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size",
    "input_forget", "layout", "linear_before_reset",
])  # fmt: skip
@pytest.mark.parametrize("value", [1, 1.5, "x", [1, 2], [0.5], ["Tanh", "x"], []])
def test_an_attribute_of_another_type_does_not_cost_the_other_nodes(name, value):
    rng = np.random.default_rng(0)
    odd = make("GRU", ["X", "W", "R", "B"], ["Z"], name="odd")
    if value:
        odd.attribute.append(helper.make_attribute(name, value))
    else:
        odd.attribute.add(name=name)  # of no type
    model = model_of([odd, node("GRU")], drawn("GRU", rng))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = from_onnx(model)
    assert "node" in found and ("odd" in found) != ("odd" in found.left)
