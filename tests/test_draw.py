"""tg.draw: what stands in the DOT text, read back from it."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

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
