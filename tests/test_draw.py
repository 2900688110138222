"""tg.draw: what stands in the DOT text, read back from it."""

import itertools
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.draw.layout import placed
from tinygrad_rnn.draw.picture import _size
from tinygrad_rnn.show import ABOVE, BELOW, _blocks

NODE = re.compile(r'  (\w+) \[label="((?:[^"\\]|\\.)*)", (.*)\];')
EDGE = re.compile(r"  (\w+) -> (\w+);")


def parsed(text):
    """Boxes and ellipses by identity, as (label, style), and the arrows."""
    lines = text.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    nodes = {m[1]: (m[2].replace("\\n", "\n"), m[3]) for m in map(NODE.fullmatch, lines) if m}
    edges = [(m[1], m[2]) for m in map(EDGE.fullmatch, lines) if m]
    assert len(nodes) + len(edges) == len(lines) - 4
    assert {end for edge in edges for end in edge} <= nodes.keys()
    return nodes, edges


def labels(nodes, style):
    return [label for label, drawn in nodes.values() if style in drawn]


def test_a_product_as_it_stands_in_the_readme():
    x = np.ones((2, 3))
    W = tg.Tensor(np.ones((3, 4)), requires_grad=True)
    loss = np.mean(np.tanh(x @ W) * 2.5)
    nodes, edges = parsed(tg.draw(loss, names={"W": W, 'the "loss"': loss}))
    assert labels(nodes, "lightblue") == ["W\n(3, 4) float64"]
    assert labels(nodes, "gray") == ["(2, 3) float64"]
    assert labels(nodes, "ellipse") == [
        "matmul\n(2, 4)", "tanh\n(2, 4)", "multiply 2.5\n(2, 4)", 'the \\"loss\\"\nmean\n()'
    ]  # fmt: skip
    assert len(edges) == 5


def test_a_factor_that_comes_twice_has_two_arrows():
    x = tg.Tensor(np.ones(3), requires_grad=True)
    nodes, edges = parsed(tg.draw((x * x)[1:, None].sum()))
    assert edges[0] == edges[1] and len(edges) == 4
    assert "getitem [1:, None]\n(2, 1)" in labels(nodes, "ellipse")


@given(st.integers(1, 4), st.integers(1, 2), st.booleans(),
       st.sampled_from([tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU]))  # fmt: skip
def test_each_step_of_each_cell_is_one_box(T, num_layers, bidirectional, kind):
    layer = kind(2, 3, num_layers, bidirectional)
    with tg.cell_steps(layer) as steps:
        hs, _ = layer(np.ones((1, T, 2), "f"))
    nodes, edges = parsed(tg.draw(hs.sum(), layer, steps))
    names = [name for name, _ in layer.named_parameters()]
    drawn = [label.split("\n")[0] for label in labels(nodes, "lightblue")]
    assert sorted(drawn) == sorted(names)
    boxes = labels(nodes, "rounded")
    assert sorted(boxes) == sorted(
        f"{kind.__name__}Cell cells.{k}\nstep {t}" for k in range(len(layer.cells))
        for t in range(T)
    )  # fmt: skip
    # What a step computes is inside; how the steps hang together is drawn.
    assert not any("tanh" in label or "sigmoid" in label for label in labels(nodes, "ellipse"))
    of = {label: at for at, (label, _) in nodes.items()}
    for k in range(len(layer.cells)):
        for t in range(1, T):
            name = f"{kind.__name__}Cell cells.{k}\nstep "
            assert (of[f"{name}{t - 1}"], of[f"{name}{t}"]) in edges
    # and it is still a graph without circles
    order = list(nodes)
    incoming = {at: {a for a, b in edges if b == at} for at in order}
    while incoming:
        free = [at for at, sources in incoming.items() if not sources & incoming.keys()]
        assert free
        for at in free:
            del incoming[at]


class Twice(tg.nn.Module):
    """A cell of one's own, made of a cell."""

    def __init__(self):
        self.inner = tg.nn.RNNCell(3, 3)
        self.state_sizes = (3,)

    def forward(self, x, h):
        return self.inner(x, self.inner(x, h))


def test_a_cell_of_ones_own_is_a_box_with_the_cells_inside_it():
    layer = tg.nn.Recurrent(Twice())
    with tg.cell_steps(layer) as steps:
        hs, _ = layer(np.ones((1, 2, 3), "f"))
    assert len(steps) == 6
    nodes, _ = parsed(tg.draw(hs, layer, steps))
    assert labels(nodes, "rounded") == ["Twice cells.0\nstep 0", "Twice cells.0\nstep 1"]


def test_noting_steps_leaves_a_model_as_it_was():
    cell = tg.nn.LSTMCell(2, 3)
    before = dict(vars(cell))
    with pytest.raises(ZeroDivisionError), tg.cell_steps(cell) as steps:
        cell(np.ones((1, 2), "f"), *2 * [tg.Tensor(np.zeros((1, 3), "f"))])
        raise ZeroDivisionError
    assert vars(cell) == before and [step.label for step in steps] == ["LSTMCell\nstep 0"]


def test_what_has_no_graph():
    nodes, edges = parsed(tg.draw(tg.Tensor([1.0, 2.0])))
    assert labels(nodes, "gray") == ["(2,) float64"] and not edges
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="draw: backward has freed this graph"):
        tg.draw(loss)
    with pytest.raises(TypeError, match=r"names\['x'\] is a ndarray, wanted a Tensor"):
        tg.draw(x, {"x": np.ones(3)})
    for options, said in (({"names": [x]}, "names=list"), ({"steps": 3}, "steps=int")):
        with pytest.raises(TypeError, match=f"draw: {said}, wanted"):
            tg.draw(x, **options)


def test_of_what_is_empty_or_not_finite():
    x = tg.Tensor(np.ones((0, 3)), requires_grad=True)
    assert "grad empty" in tg.draw((x * 2.0).sum(), values=True, gradients=True)
    x = tg.Tensor([0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        y = np.log(x) * 3.0
    assert "= -inf" in tg.draw(y + 1.0, values=True)  # np.log is computed again


def test_long_graphs_are_drawn_without_recursion():
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(20_000):
        y = y + 1.0
    assert len(parsed(tg.draw(y))[0]) == 20_001


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graphviz_reads_it():
    layer = tg.nn.LSTM(2, 3)
    with tg.cell_steps(layer) as steps:
        hs, _ = layer(np.ones((1, 3, 2), "f"))
    for boxes in (None, steps):
        text = tg.draw(hs.sum(), layer, boxes)
        done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr and "cells.0.Wh" in done.stdout


# --- values and gradients in the boxes ---


def test_values_and_gradients_stand_in_the_boxes():
    x, W = (tg.Tensor(v, requires_grad=True) for v in ([1.0, 2.0], [[0.5, 0.0], [0.5, 1.0]]))
    loss = np.mean(np.tanh(x @ W) ** 2)
    picture = tg.draw(loss, {"x": x}, values=True, gradients=True)
    loss.backward()  # the graph is whole, and no gradient was stored by the picture
    shown = [label for label, _ in parsed(picture)[0].values()]
    gx, gW = (", ".join(f"{g:.3g}" for g in t.grad.numpy().ravel()) for t in (x, W))
    assert f"x\n(2,) float64\n= 1, 2\ngrad {gx}" in shown
    assert f"(2, 2) float64\n= 0.5, 0, 0.5, 1\ngrad {gW}" in shown
    assert f"mean\n()\n= {loss.item():.3g}\ngrad 1" in shown
    assert not [label for label in tg.draw(np.mean(np.tanh(x @ W))).boxes if "=" in label.label]


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])
def test_what_no_rule_reads_is_computed_again(kind):
    layer = kind(2, 2, dtype=np.float64)
    hs, _ = layer(np.ones((1, 2, 2)))
    loss = np.sum(hs)
    picture = tg.draw(loss, layer, values=True, gradients=True)
    for box in picture.boxes:
        whole = re.search(r"\d x \(", box.label)  # a call with several outputs
        assert whole or "\n= " in box.label, box
        assert whole or box.kind == "array" or "\ngrad " in box.label, box
    assert f"sum\n()\n= {loss.item():.3g}\ngrad 1" in [box.label for box in picture.boxes]


# --- the picture ---------------------------------------------------------------------------------


def drawn_lstm(T, num_layers=1, bidirectional=False, boxes=False):
    layer = tg.nn.LSTM(2, 3, num_layers, bidirectional)
    with tg.cell_steps(layer) as steps:
        hs, _ = layer(np.ones((1, T, 2), "f"))
    return tg.draw(np.mean(hs**2), layer, steps if boxes else None)


@given(st.integers(1, 3), st.integers(1, 2), st.booleans(), st.booleans())
def test_no_box_lies_on_another_and_arrows_run_down(T, num_layers, bidirectional, boxes):
    picture = drawn_lstm(T, num_layers, bidirectional, boxes)
    sizes = {box.name: _size(box) for box in picture.boxes}
    where, paths, (width, height) = placed(list(sizes.items()), picture.edges)
    edges = {}
    for name, (x, y) in where.items():
        w, h = sizes[name]
        assert w / 2 <= x <= width - w / 2 and h / 2 <= y <= height - h / 2
        for other, (a, b) in where.items():
            v, k = sizes[other]
            assert other == name or abs(a - x) > (v + w) / 2 or abs(b - y) > (k + h) / 2
    for (source, end), path in zip(picture.edges, paths, strict=True):
        edges.setdefault(source, []).append(end)
        assert all(p[1] < q[1] for p, q in itertools.pairwise(path))
        assert path[0][0] == where[source][0] and path[-1][0] == where[end][0]


def test_the_picture_has_what_the_text_has(tmp_path):
    picture = drawn_lstm(2, boxes=True)
    nodes, edges = parsed(picture)
    for suffix in (".svg", ".html", ".dot", ".SVG"):
        picture.save(tmp_path / f"graph{suffix}")
    page = (tmp_path / "graph.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and 'charset="utf-8"' in page and "viewport" in page
    svg = ElementTree.parse(tmp_path / "graph.svg")
    shown = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(shown) == sorted(line for label, _ in nodes.values()
                                   for line in label.split("\n"))  # fmt: skip
    ends = [path.get("data-ends") for path in svg.iter("{http://www.w3.org/2000/svg}path")
            if path.get("class") == "edge"]  # fmt: skip
    assert sorted(ends) == sorted(f"{a} {b}" for a, b in edges)
    assert (tmp_path / "graph.dot").read_text() == picture
    with pytest.raises(ValueError, match=r"graph.png: .svg, .html or .dot is wanted"):
        picture.save(tmp_path / "graph.png")


def test_names_are_no_part_of_the_page():
    W = tg.Tensor(np.ones(2), requires_grad=True)
    html = tg.draw(W.sum(), {"<script>alert(1)</script>": W})._repr_html_()
    assert html.count("<script>") == html.count("</script>") == 1


def test_the_steps_walk_backward_from_the_loss_to_every_leaf():
    picture = drawn_lstm(3)
    steps = json.loads(re.search("steps = (.*); let at", picture.html)[1])
    names = [name for name, _, _ in steps]
    assert set(names) == {box.name for box in picture.boxes if box.kind != "array"}
    place = {name: i for i, name in enumerate(names)}
    for name, edges, told in steps:
        for edge in edges:
            parent, end = edge.split()
            assert end == name and place[parent] > place[name]
        assert edges or told.endswith("its gradient is complete")


def test_letters_stand_inside_of_their_ellipse():
    x = tg.Tensor(np.linspace(-1, 1, 6), requires_grad=True)
    svg = tg.draw(np.mean(np.tanh(x * 0.123) ** 2), values=True, gradients=True).svg
    for node in re.findall("<ellipse.*?</g>", svg):
        cy, rx, ry = map(float, re.findall('(?:cy|rx|ry)="([^"]*)"', node))
        for y, text in re.findall('<text[^>]* y="([^"]*)"[^>]*>([^<]*)<', node):
            assert np.hypot(3 * len(text) / rx, (abs(float(y) - 4 - cy) + 4) / ry) < 1, text


def test_too_many_boxes_are_no_picture():
    x = tg.Tensor(1.0, requires_grad=True)
    for _ in range(700):
        x = x * 1.0
    picture = tg.draw(x)
    assert picture._repr_html_() is None and picture._repr_svg_() is None
    with pytest.raises(ValueError, match="701 boxes are too many for a picture"):
        picture.save("graph.svg")


# --- a Tensor in a notebook ----------------------------------------------------------------------


def test_a_tensor_shows_its_values():
    html = tg.Tensor([[1.0, -2.0], [0.0, np.nan]], requires_grad=True)._repr_html_()
    assert "Tensor</b> (2, 2) float64, -2 to 1, <b>1 not finite" in html
    opacities = re.findall('fill="(#[^"]*)" fill-opacity="([^"]*)"', html)
    assert opacities == [(ABOVE, "0.50"), (BELOW, "1.00")] and html.count("<path") == 1
    assert "from tanh" in np.tanh(tg.Tensor([1.0], requires_grad=True))._repr_html_()
    assert "empty" in tg.Tensor(np.ones((0, 2)))._repr_html_()
    assert "int64, 3<" in tg.Tensor(3)._repr_html_()
    assert "below: [0, 0]" in tg.Tensor(np.ones((2, 3, 4, 5)))._repr_html_()


@given(st.integers(1, 100), st.integers(1, 150))
def test_a_large_matrix_is_shown_by_means_of_blocks(rows, columns):
    values = np.random.default_rng(rows).normal(size=(rows, columns))
    shown = _blocks(values)
    assert shown.shape == (min(rows, 24), min(columns, 64))
    if rows <= 24:
        weights = np.diff(np.append(np.arange(shown.shape[1]) * columns // shown.shape[1], columns))
        np.testing.assert_allclose(shown @ weights, values.sum(axis=1), atol=1e-9)


# --- a model, and a recorded step ----------------------------------------------------------------


def test_a_model_shows_its_tree():
    model = tg.nn.Sequential(tg.nn.Embedding(5, 3), tg.nn.LSTM(3, 4), tg.nn.Linear(4, 5))
    html = model._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")  # whatever is opened is closed
    text = re.sub("<[^>]*>", "", html)
    for line in repr(model).splitlines():
        assert line.strip() in text
    assert html.count("<details ") == 1 + 4  # the model, its three parts, the LSTM's cell
    odd = tg.nn.Sequential(tg.nn.Linear(1, 1))
    vars(odd)["name"] = "<script>"
    assert "<script>" not in odd._repr_html_()


def test_a_recorded_step_shows_its_slowest_calls(capsys, monkeypatch):
    step = tg.jit(lambda x: np.sum(np.tanh(x) * 2))
    assert "nothing is recorded yet" in step.explain()._repr_html_()
    for _ in range(3):
        step(np.ones(3))
    capsys.readouterr()
    shown = step.explain()
    assert capsys.readouterr().out == f"{shown}\n" and repr(shown) == str(shown)
    html = shown._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")
    assert html.count("<tr>") == len(shown.times) > 1 and "tanh" in html
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)  # a console shows the value by itself
    assert step.explain() and not capsys.readouterr().out


def test_explain_names_lines_of_the_program_and_not_of_decorators():
    layer = tg.nn.LSTM(3, 4)  # whose forward is decorated

    @tg.jit
    def step(x):
        return np.sum(layer(x)[0])

    step(np.ones((2, 4, 3), np.float32))
    shown = str(step.explain(slowest=99))
    assert "test_draw.py" in shown and "contextlib" not in shown, shown


def test_numbers_indices_and_metadata_as_they_were_written():
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    nodes, _ = parsed(tg.draw(x.reshape(2, 3)[:, np.array([0, 2])] * np.array(2.5)))
    assert {"getitem [:, array]\n(2, 2)", "multiply 2.5\n(2, 2)"} <= set(labels(nodes, "ellipse"))
    y = np.linalg.norm(np.moveaxis(np.expand_dims(x, 0), 0, 1), axis=None, keepdims=False)
    assert not re.search("None|False", tg.draw(y))


def test_pictures_on_one_page_do_not_meddle_with_each_other():
    x = tg.Tensor(1.0, requires_grad=True)
    pages = [tg.draw(x * 2.0)._repr_html_() for _ in range(2)]
    names = {re.search('<div id="(\\w+)"', page)[1] for page in pages}
    assert len(names) == 2 and not any("ROOT" in page for page in pages)


def test_of_more_axes_than_two_the_first_is_shown():
    page = tg.Tensor(np.arange(24.0).reshape(2, 3, 4))._repr_html_()
    assert "below: [0]<" in page and '<svg width="36" height="27"' in page
