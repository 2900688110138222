"""from_onnx, against onnxruntime: nodes of every kind, weights however they come, damaged files."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn import nn, no_grad
from tinygrad_rnn.interop import FormatError, from_onnx, to_keras, to_onnx, to_torch
from tinygrad_rnn.interop.cells import DEFAULTS, PeepholeLSTMCell

onnx = pytest.importorskip("onnx", reason="pip install onnx")
runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
runtime.set_default_logger_severity(3)  # it warns of what is legal

N, T, D, H = 3, 5, 3, 4
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
# Softplus and the like are no activations that keep a state within bounds.
FUNCTIONS = ["Tanh", "Sigmoid", "Relu", "LeakyRelu", "ThresholdedRelu", "ScaledTanh",
             "HardSigmoid", "Elu", "Softsign", "Softplus", "Affine"]  # fmt: skip
seeds = st.integers(0, 2**32 - 1)


def info(name, shape=None, kind=1):
    return helper.make_tensor_value_info(name, kind, shape)


def tensors(**arrays):
    return [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]


def model_of(nodes, arrays=None, inputs=None, outputs=("Y",), functions=()):
    graph = helper.make_graph(nodes, "graph", inputs or [info("X", [T, N, D])],
                              [info(o) for o in outputs], tensors(**arrays or {}))  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *[helper.make_opsetid("own", 1)] * bool(functions)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def drawn(kind, rng, k=1, dtype=np.float32):
    g = GATES[kind]
    shapes = {"W": (k, g * H, D), "R": (k, g * H, H), "B": (k, 2 * g * H)}
    return {name: rng.normal(0, 0.4, shape).astype(dtype) for name, shape in shapes.items()}


def node(kind, inputs=("X", "W", "R", "B"), name="node", **options):
    outputs = ["Y", "Yh", "Yc"][: 3 if kind == "LSTM" else 2]
    return helper.make_node(kind, list(inputs), outputs, name=name, hidden_size=H, **options)


def assert_same(model, layer, rng):
    """What a layer computes is what onnxruntime makes of the model."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options)
    xs = rng.normal(size=(T, N, D)).astype(np.float32)
    expected, *finals = session.run(None, {"X": xs})
    with no_grad():
        hs, final = layer(np.swapaxes(xs, 0, 1))
    assert_allclose(hs.numpy(), expected.transpose(2, 0, 1, 3).reshape(N, T, -1), 1e-4, 1e-5)
    for ours, theirs in zip(final if isinstance(final, tuple) else [final], finals, strict=False):
        assert_allclose(ours.numpy().reshape(theirs.shape), theirs, 1e-4, 1e-5)


@settings(max_examples=60)
@given(st.data(), seeds)
def test_nodes_of_every_kind(data, seed):
    rng = np.random.default_rng(seed)
    kind = data.draw(st.sampled_from(list(GATES)))
    direction = data.draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    k = 2 if direction == "bidirectional" else 1
    arrays, inputs = drawn(kind, rng, k), ["X", "W", "R", "B", "", "", "", ""]
    options = {"direction": direction}
    if data.draw(st.booleans()):
        functions = FUNCTIONS if kind == "RNN" else FUNCTIONS[:9]
        names = data.draw(st.lists(st.sampled_from(functions), min_size=len(USUAL[kind] * k),
                                   max_size=len(USUAL[kind] * k)))  # fmt: skip
        defaults = [DEFAULTS[name.lower()] for name in names]
        options |= {"activations": names} | {
            f"activation_{letter}": rng.uniform(0.1, 0.9, count).tolist()
            for letter, i in (("alpha", 0), ("beta", 1))
            if (count := sum(d[i] is not None for d in defaults))
        }
    if data.draw(st.booleans()):
        options["clip"] = data.draw(st.floats(0.2, 2.0))
    if kind == "GRU":
        options["linear_before_reset"] = data.draw(st.integers(0, 1))
    if data.draw(st.booleans()):
        arrays["L"], inputs[4] = rng.integers(1, T + 1, N).astype(np.int32), "L"
    if data.draw(st.booleans()):
        arrays["h0"], inputs[5] = rng.normal(size=(k, N, H)).astype(np.float32), "h0"
    if kind == "LSTM":
        options["input_forget"] = data.draw(st.integers(0, 1))
        if data.draw(st.booleans()):
            arrays["c0"], inputs[6] = rng.normal(size=(k, N, H)).astype(np.float32), "c0"
        if data.draw(st.booleans()):
            arrays["P"], inputs[7] = rng.normal(size=(k, 3 * H)).astype(np.float32), "P"
    if data.draw(st.booleans()):
        del arrays["B"]
        inputs[3] = ""
    outputs = ["Y", "Yh", "Yc"][: 3 if kind == "LSTM" else 2]
    while not inputs[-1]:
        inputs.pop()
    model = model_of([node(kind, inputs, **options)], arrays, outputs=outputs)
    (layer,) = from_onnx(model).values()
    assert isinstance(layer, getattr(nn, kind))
    assert_same(model, layer, rng)


# ---- weights that are made of constants ----


def behind(name, a):
    """Nodes and constants that make ``a`` (one direction) of something else, in many ways."""
    make = helper.make_node
    scale = np.float32(np.abs(a).max() / 100)
    quantized = np.round(a / scale).astype(np.int8)
    return {
        "Unsqueeze": ([make("Unsqueeze", ["a", "axes"], [name])], {"a": a[0], "axes": [0]}, a),
        "Transpose": ([make("Transpose", ["a"], [name], perm=[0, 2, 1])],
                      {"a": a.transpose(0, 2, 1)}, a),
        "Cast": ([make("Cast", ["a"], [name], to=1)], {"a": a.astype(np.float16)},
                 a.astype(np.float16).astype(np.float32)),
        "DequantizeLinear": ([make("DequantizeLinear", ["a", "s"], [name])],
                             {"a": quantized, "s": scale}, quantized * scale),
        "Constant": ([make("Constant", [], [name], value=tensors(a=a)[0])], {}, a),
        "Concat of halves": (
            [make("Split", ["a"], ["p", "q"], axis=1), make("Concat", ["q", "p"], [name], axis=1)],
            {"a": np.roll(a, a.shape[1] // 2, 1)}, a),
        "two nodes": (
            [make("Unsqueeze", ["a", "axes"], ["t"]), make("Identity", ["t"], [name])],
            {"a": a[0], "axes": [0]}, a),
        "Slice": ([make("Slice", ["a", "from", "to", "axis"], [name])],
                  {"a": np.concatenate([a, a + 1]), "from": [0], "to": [1], "axis": [0]}, a),
        "Gather and Mul": ([make("Gather", ["a", "i"], ["t"]), make("Mul", ["t", "two"], [name])],
                           {"a": np.concatenate([a, a]), "i": [1], "two": np.float32(2)}, 2 * a),
    }  # fmt: skip


@pytest.mark.parametrize("way", list(behind("W", np.ones((1, 2, 2), np.float32))))
def test_weights_behind_nodes(way):
    rng = np.random.default_rng(0)
    arrays = drawn("GRU", rng)
    nodes, constants, made = behind("W", arrays.pop("W"))[way]
    model = model_of([*nodes, node("GRU")], arrays | constants)
    (layer,) = from_onnx(model).values()
    assert_allclose(np.sort(layer.cells[0].Wx.detach(), None), np.sort(made, None), 1e-6)
    assert_same(model, layer, rng)


def test_zeros_of_any_size_and_a_state_for_any_batch():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(1, 1, H)).astype(np.float32)
    make = helper.make_node
    shape = [make("Shape", ["X"], ["n"], start=1, end=2),
             make("Concat", ["one", "n", "h"], ["shape"], axis=0)]  # fmt: skip
    for made, wanted in ((make("ConstantOfShape", ["shape"], ["h0"]), nn.GRU),
                         (make("Expand", ["start", "shape"], ["h0"]), None)):
        model = model_of([*shape, made, node("GRU", ["X", "W", "R", "B", "", "h0"])],
                         drawn("GRU", rng) | {"start": start, "one": [1], "h": [H]})  # fmt: skip
        (layer,) = from_onnx(model).values()
        assert type(layer) is wanted or layer.initial is not None
        assert_same(model, layer, rng)


def test_bfloat16_becomes_float32_with_a_word():
    rng = np.random.default_rng(0)
    arrays = drawn("RNN", rng)
    model = model_of([node("RNN")], arrays)
    for tensor in model.graph.initializer:
        bits = (arrays[tensor.name].view(np.uint32) >> 16).astype(np.uint16)
        tensor.CopyFrom(helper.make_tensor(tensor.name, 16, bits.shape, bits.tobytes(), raw=True))
    with pytest.warns(UserWarning, match="bfloat16 became float32: node"):
        found = from_onnx(model)
    assert "W was bfloat16, and is float32 now" in found.notes["node"]
    assert_allclose(found["node"].cells[0].Wx.detach().numpy(), arrays["W"][0].T, 1e-2)
    assert found["node"].cells[0].Wx.dtype == np.float32


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_quantized_lstms_of_microsoft(direction, columns):
    rng = np.random.default_rng(0)
    k = 2 if direction == "bidirectional" else 1
    arrays = drawn("LSTM", rng, k)
    for key in "WR":
        a = np.swapaxes(arrays[key], 1, 2)
        scale = np.abs(a).max(1) / 127 if columns else np.abs(a).max((1, 2)) / 127
        zero = np.zeros(scale.shape, np.int8)
        arrays[key] = np.round(a / scale.reshape(k, 1, -1)).astype(np.int8)
        arrays |= {f"{key}s": scale.astype(np.float32), f"{key}z": zero}
    names = ["X", "W", "R", "B", "", "", "", "", "Ws", "Wz", "Rs", "Rz"]
    quantized = helper.make_node("DynamicQuantizeLSTM", names, ["Y"], name="node", hidden_size=H,
                                 direction=direction, domain="com.microsoft")  # fmt: skip
    model = model_of([quantized], arrays)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = from_onnx(model)
    assert "rounds what it multiplies" in found.notes["node"][0]
    session = runtime.InferenceSession(model.SerializeToString())
    xs = rng.normal(size=(T, N, D)).astype(np.float32)
    (expected,) = session.run(None, {"X": xs})
    with no_grad():
        hs, _ = found["node"](np.swapaxes(xs, 0, 1))
    assert_allclose(hs.numpy(), expected.transpose(2, 0, 1, 3).reshape(N, T, -1), 0, 0.03)


def test_weights_that_are_no_numbers_are_told():
    arrays = drawn("RNN", np.random.default_rng(0))
    arrays["W"][0, 1, 2] = np.nan
    with pytest.warns(UserWarning, match="cells.0.Wx of node in the model holds 1 NaN"):
        from_onnx(model_of([node("RNN")], arrays))


def test_relu_goes_out_and_comes_back():
    rng = np.random.default_rng(0)
    layer = nn.RNN(D, H, activation="relu", bidirectional=True)
    for p in layer.parameters():
        p.data = rng.normal(0, 0.4, p.shape).astype(np.float32)
    (found,) = from_onnx(to_onnx(layer)).values()
    assert [cell.activation for cell in found.cells] == ["relu", "relu"]
    model = to_onnx(layer)
    session = runtime.InferenceSession(model.SerializeToString())
    xs = rng.normal(size=(N, T, D)).astype(np.float32)
    hs, *_ = session.run(None, {"xs": xs, "lengths": np.full(N, T, np.int32),
                                "h0": np.zeros((2, N, H), np.float32)})  # fmt: skip
    with no_grad():
        assert_allclose(found(xs)[0].numpy(), hs, 1e-5, 1e-6)
        assert_allclose(layer(xs)[0].numpy(), hs, 1e-5, 1e-6)


# ---- graphs inside of graphs ----


def branch(nodes, arrays, outputs=("Y",), inputs=()):
    return helper.make_graph(nodes, "branch", list(inputs), [info(o) for o in outputs],
                             tensors(**arrays))  # fmt: skip


def test_nodes_inside_of_if_loop_and_functions():
    rng = np.random.default_rng(0)
    make = helper.make_node
    one, two, three = (drawn("LSTM", rng) for _ in range(3))
    body = branch([make("Identity", ["go"], ["go_on"]), node("LSTM", name="lstm")], three,
                  ["go_on", "Y"], [info("i", [], 7), info("go", [], 9)])  # fmt: skip
    function = helper.make_function(
        "own", "Layer", ["x", "w", "r"], ["y"],
        [make("GRU", ["x", "w", "r"], ["y"], hidden_size=H)], [helper.make_opsetid("", 17)],
    )  # fmt: skip
    gru = drawn("GRU", rng)
    model = model_of([
        make("If", ["which"], ["Y1"], name="if", then_branch=branch([node("LSTM")], one),
             else_branch=branch([node("LSTM")], two)),
        make("Loop", ["times", "which"], ["Y2"], name="loop", body=body),
        make("Layer", ["X", "w", "r"], ["Y"], domain="own"),
    ], {"which": np.True_, "times": np.int64(3), "w": gru["W"], "r": gru["R"]},
        functions=[function])  # fmt: skip
    found = from_onnx(model)
    assert [name for name in found if "GRU" not in name] == [
        "if/then_branch/node", "if/else_branch/node", "loop/body/lstm", "Y"] or len(found) == 4
    for name, arrays in (("if/then_branch/node", one), ("if/else_branch/node", two),
                         ("loop/body/lstm", three)):  # fmt: skip
        alone = model_of([node("LSTM")], arrays)
        assert_same(alone, found[name], rng)
    (theirs,) = (layer for layer in found.values() if isinstance(layer, nn.GRU))
    assert_same(model_of([node("GRU", ["X", "W", "R"])], {k: gru[k] for k in "WR"}), theirs, rng)


def test_functions_without_end_are_left():
    make = helper.make_node
    layers = [helper.make_function(
        "own", f"F{i}", ["x"], ["y"], [make(f"F{i + 1}", ["x"], ["t"], domain="own")] * 40
        + [make("Identity", ["t"], ["y"])], [helper.make_opsetid("own", 1)],
    ) for i in range(12)]  # fmt: skip
    model = model_of([make("F0", ["X"], ["Z"], domain="own"), node("RNN")],
                     drawn("RNN", np.random.default_rng(0)), functions=layers)  # fmt: skip
    with pytest.warns(UserWarning, match="functions: more than 1,000,000 nodes"):
        assert list(from_onnx(model)) == ["node"]


def test_names_that_come_again_and_a_state_that_the_graph_is_given():
    rng = np.random.default_rng(0)
    nodes = [node("RNN", ["X", "W", "R", "", "", "h0"]), node("RNN")]
    nodes[1].output[:] = ["Z", "Zh"]
    found = from_onnx(model_of(nodes, drawn("RNN", rng), [info("X"), info("h0")]))
    assert list(found) == ["node", "node#2"]
    assert found.notes == {"node": ["initial_h comes from the graph: hand it over as the state"]}
    assert not found.left


# ---- what cannot come ----

BAD = {
    "direction": (lambda: node("RNN", direction="sideways"), "direction=sideways"),
    "second direction": (lambda: node("RNN", ["X", "W2", "R2"]), "not the weights of 1 direction"),
    "sizes": (lambda: node("RNN", ["X", "W", "W"]), "not the weights of 1 direction"),
    "computed": (lambda: node("RNN", ["X", "X", "R"]), "its W is computed in the graph"),
    "no weights": (lambda: node("RNN", ["X", "", "R"]), "it has no W"),
    "integers": (lambda: node("RNN", ["X", "I", "R"]), "W holds int64"),
    "activation": (lambda: node("RNN", activations=["Swish"]), "the activation Swish"),
    "too few": (lambda: node("LSTM", activations=["Tanh"]), "weights|1 activations, wanted 3"),
    "no alpha": (lambda: node("RNN", activations=["Affine"]), "without its alpha and beta"),
    "clip": (lambda: node("RNN", clip=-1.0), "clip=-1"),
    "lengths": (lambda: node("RNN", ["X", "W", "R", "", "W"]), "sequence_lens of shape"),
    "state": (lambda: node("RNN", ["X", "W", "R", "", "", "W"]), "initial_h of shape"),
    "another's": (lambda: helper.make_node("MyLSTM", ["X"], ["Y"], name="node", domain="own"),
                  "MyLSTM of own is no operator of ONNX"),
    "quantized": (lambda: helper.make_node("DynamicQuantizeLSTM", ["X", "W"], ["Y"], name="node",
                                           domain="com.microsoft"), "is computed in the graph"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_node_does_not_cost_the_others(what):
    rng = np.random.default_rng(0)
    make, why = BAD[what]
    arrays = drawn("RNN", rng)
    arrays |= {"W2": np.ones((2, H, D), "f4"), "R2": np.ones((2, H, H), "f4"),
               "I": np.ones((1, H, D), np.int64)}  # fmt: skip
    good = node("RNN", name="good")
    good.output[:] = ["Z", "Zh"]
    with pytest.warns(UserWarning, match=f"left out of the model: node: .*({why})"):
        found = from_onnx(model_of([make(), good], arrays))
    assert list(found) == ["good"] and list(found.left) == ["node"]
    with pytest.raises(FormatError, match=why):
        from_onnx(model_of([make()], arrays))


@pytest.mark.parametrize("constant", [False, True])
def test_sparse_weights_are_said_to_be_sparse(constant):
    arrays = drawn("RNN", np.random.default_rng(0))
    arrays.pop("W")
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("W", 1, [1], [1.0]), helper.make_tensor("", 7, [1], [0]), (1, H, D))
    made = [helper.make_node("Constant", [], ["W"], sparse_value=sparse)] if constant else []
    model = model_of([*made, node("RNN")], arrays)
    if not constant:
        model.graph.sparse_initializer.append(sparse)
    with pytest.raises(FormatError, match="W is a sparse tensor, wanted a dense one"):
        from_onnx(model)


def test_layers_that_only_from_onnx_makes_are_not_converted_on():
    model = model_of([node("LSTM", direction="reverse")], drawn("LSTM", np.random.default_rng(0)))
    (layer,) = from_onnx(model).values()
    for convert in (to_onnx, to_torch, to_keras):
        pytest.importorskip("torch")
        with pytest.raises(TypeError, match="runs backwards"):
            convert(layer)


def test_constants_that_grow_without_end_are_left():
    make = helper.make_node
    nodes = [make("Concat", [f"c{i}"] * 50, [f"c{i + 1}"], axis=0) for i in range(8)]
    nodes += [make("Concat", ["c8"], ["W"], axis=0), node("RNN")]
    arrays = drawn("RNN", np.random.default_rng(0))
    with pytest.raises(FormatError, match="far more than the file has"):
        from_onnx(model_of(nodes, {"c0": arrays.pop("W"), **arrays}))


@settings(max_examples=200)
@given(st.data())
def test_damaged_files(tmp_path_factory, data):
    content = bytearray(BIDIRECTIONAL)
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is left out
        try:
            found = from_onnx(path)
        except FormatError as error:
            assert str(error).isprintable()
        else:
            assert all(isinstance(layer, nn.Recurrent) for layer in found.values())


BIDIRECTIONAL = to_onnx(nn.LSTM(2, 2, bidirectional=True)).SerializeToString()


def test_what_is_no_file_of_onnx(tmp_path):
    for content in (b"", b"no model", b"\xff" * 100):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(FormatError, match="no ONNX model"):
            from_onnx(tmp_path / "m.onnx")
    with pytest.raises(FormatError, match="not a file"):
        from_onnx(tmp_path)


def test_numbers_in_another_file(tmp_path):
    rng = np.random.default_rng(0)
    model = model_of([node("RNN")], drawn("RNN", rng))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
              location="numbers")  # fmt: skip
    (layer,) = from_onnx(tmp_path / "m.onnx").values()
    (same,) = from_onnx(str(tmp_path / "m.onnx")).values()
    onnx.load_external_data_for_model(model, str(tmp_path))
    assert_same(model, layer, rng)
    assert_same(model, same, rng)
    (tmp_path / "numbers").unlink()
    with pytest.raises(FormatError, match="that are in other files"):
        from_onnx(tmp_path / "m.onnx")


# ---- the cells themselves ----


@given(seeds)
def test_gradients_of_peepholes(seed):
    from tinygrad_rnn.check import check_gradients

    rng = np.random.default_rng(seed)
    layer = nn.LSTM([PeepholeLSTMCell(D, H, dtype=np.float64)])
    for p in layer.parameters():
        p.data = rng.normal(size=p.shape)
    xs = rng.normal(size=(2, 3, D))

    def g(pf, xs):
        layer.cells[0].pf = pf
        return layer(xs)[0]

    check_gradients(g, rng.normal(size=H), xs)
