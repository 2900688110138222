"""models/pictures/plots.py: what stands in the saved pictures, read back from their files."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install matplotlib")

import matplotlib
import matplotlib.image

from models.pictures.gradients import ThroughTime
from models.pictures.plots import (
    EAST_ASIAN,
    VISIBLE_SPACE,
    attention_heatmap,
    gate_histograms,
    gradients_through_time,
    training_curve,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


def texts(draw, folder):
    """The texts of the SVG picture that ``draw(path)`` saves, in the order they were drawn."""
    path = folder / "picture.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(path)
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in found]


characters = st.text("abcXYZ019 ,/-$_<&", min_size=1, max_size=12)


@settings(max_examples=10)
@given(inputs=characters, outputs=characters)
def test_the_axes_are_labelled_with_the_characters_in_order(folder, inputs, outputs):
    weights = np.random.default_rng(0).dirichlet(np.ones(len(inputs)), len(outputs))
    shown = texts(
        lambda path: attention_heatmap(weights, inputs, outputs, path, title="cost: $a$"), folder
    )
    wanted = [*inputs.replace(" ", VISIBLE_SPACE), "input"]
    wanted += [*outputs.replace(" ", VISIBLE_SPACE), "output"]
    assert shown[: len(wanted)] == wanted
    assert "cost: $a$" in shown


def test_a_weight_is_drawn_at_its_row_and_column(folder):
    path = folder / "attention.png"
    weights = np.zeros((2, 4), dtype=np.float32)
    weights[1, 0] = 1
    attention_heatmap(weights, "abcd", "xy", path)
    pixels = matplotlib.image.imread(path)[:, :, :3]
    # The one bright cell is left of and below the dark ones; the bar at the right does not count.
    dark, bright = (np.asarray(matplotlib.colormaps["viridis"](v)[:3]) for v in (0.0, 1.0))
    rows, columns = np.nonzero(np.abs(pixels - dark).max(axis=-1) < 0.02)
    map_rows, map_columns = np.unique(rows), np.unique(columns)
    found = np.argwhere(np.abs(pixels - bright).max(axis=-1) < 0.02)
    found = found[found[:, 1] < np.median(map_columns)]
    assert len(found) > 100
    assert found[:, 0].mean() > np.median(map_rows)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2), (8,), (1, 2, 4)])
def test_weights_of_another_shape_are_an_error(shape, folder):
    message = f"weights {shape}, wanted (outputs, inputs) (2, 4)"
    with pytest.raises(ValueError, match=re.escape(message)):
        attention_heatmap(np.ones(shape), "abcd", "xy", folder / "no.png")
    assert not (folder / "no.png").exists()


@settings(max_examples=10)
@given(
    metrics=st.sets(st.sampled_from(["loss", "perplexity", "accuracy"]), min_size=1),
    valid=st.booleans(),
    count=st.integers(1, 60),
    x_name=st.sampled_from(["step", "epoch"]),
)
def test_each_metric_has_its_panel_over_steps_or_epochs(folder, metrics, valid, count, x_name):
    rng = np.random.default_rng(count)
    records = [
        {x_name: i, "seconds": 1.5} | {metric: rng.uniform(0.1, 1) for metric in metrics}
        for i in range(1, count + 1)
    ]
    if valid:  # a record that has some keys only, as after an epoch
        records.append({x_name: count} | {f"valid_{metric}": 0.5 for metric in metrics})
    records.append({x_name: count + 1} | {metric: float("nan") for metric in metrics})
    shown = texts(lambda path: training_curve(records, path, title="a run"), folder)
    assert "a run" in shown and shown.count(x_name) == 1 and "seconds" not in shown
    for metric in ("loss", "perplexity", "accuracy"):
        # On its axis, and again in the legend when there is a second curve.
        assert shown.count(metric) == (metric in metrics) * (1 + valid)
        assert shown.count(f"valid_{metric}") == (metric in metrics and valid)


def test_records_without_a_metric_are_an_error(folder):
    for records in ([], [{"step": 1, "seconds": 3}], [{"step": 1, "loss": None}]):
        with pytest.raises(ValueError, match=f"{len(records)} records, none with step and one of"):
            training_curve(records, folder / "no.png")


LONG = "a title that is wider than all that stands below it: it runs on, and on, and is not cut"
norms = [ThroughTime(s, np.geomspace(s, 1e-9, 20), 3 * s, 2.0) for s in (0.5, 2.0)]
PICTURES = {  # how it is drawn, and some of what can be read on it
    "attention": (lambda path: attention_heatmap([[0.5, 0.5]], "a b"[::2], "c", path, LONG),
                  ["a", "b", "c", "input", "output", "attention weight", LONG]),
    "curve": (lambda path: training_curve(
        [{"epoch": 1, "loss": 2.0, "perplexity": 200_000}], path, LONG),
        ["loss", "perplexity", "epoch", "200,000", "1", LONG]),
    "perplexity": (lambda path: training_curve(
        [{"step": n, "perplexity": 900_000 / n} for n in range(1, 90)], path),
        ["perplexity", "step", "10,000", "100,000", "80"]),
    "gradients": (lambda path: gradients_through_time({"RNN": norms, "GRU": norms}, 2.0, path),
                  ["RNN", "GRU", "time steps back", "weights × 0.5", "scale of weights",
                   "all weights; dotted: clipped to 2"]),
    "gates": (lambda path: gate_histograms(
        {"encoder.a.long.path.recurrent.layers.lstm.cells.0": {k: [0.5] for k in "fio"},
         "gru": {k: [0.2] for k in "zr"}}, path, LONG),
        ["encoder.a.long.path.recurrent.layers.lstm.cells.0: i", "gru: r", "activation", LONG]),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_what_can_be_read_on_a_picture(name, folder):
    draw, labels = PICTURES[name]
    shown = texts(draw, folder)
    for label in labels:
        assert label in shown, (label, shown)
    assert not [text for text in shown if re.fullmatch(r"[\d.]+e[+-]?\d+", text)]
    svg = ElementTree.parse(folder / "picture.svg").getroot()
    width, height = (float(svg.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert width > 150 and height > 90
    assert [float(x) for x in svg.get("viewBox").split()] == [0, 0, width, height]


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off(name, folder):
    path = folder / f"{name}.png"
    PICTURES[name][0](path)
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[0] > 150 and pixels.shape[1] > 250
    for edge in (pixels[:6], pixels[-6:], pixels[:, :6], pixels[:, -6:]):
        assert np.all(edge == 1)


@pytest.fixture
def hangul_font(tmp_path):
    """A font of three squares, under the name of one that systems have: 토, 요, 일."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    pen = TTGlyphPen(None)
    for move, corner in ((pen.moveTo, (0, 0)), (pen.lineTo, (0, 900)), (pen.lineTo, (900, 900)),
                         (pen.lineTo, (900, 0))):  # fmt: skip
        move(corner)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", "a", "b", "c"]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, "토요일"), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "UnDotum", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "font.ttf")
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.ttflist[:] = [f for f in before if f.name not in EAST_ASIAN]
    yield lambda: font_manager.fontManager.addfont(tmp_path / "font.ttf")
    font_manager.fontManager.ttflist[:] = before


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_korean_is_drawn_with_a_font_that_has_it(hangul_font, folder, kind):
    def draw():
        attention_heatmap(np.ones((1, 3)) / 3, "토요일", "6", folder / f"korean.{kind}", "토요일")

    with pytest.warns(UserWarning, match="Glyph .* missing"):  # without such a font
        draw()
    hangul_font()
    draw()  # a missing letter warns, and warnings are errors


def test_histograms_say_how_many_gates_are_saturated(folder):
    gates = {"encoder.0": {"f": np.linspace(0, 1, 101), "o": np.full((2, 3), 0.95)},
             "decoder.0": {"z": np.array([0.05, 0.05, 0.5, 0.95])}}  # fmt: skip
    shown = texts(lambda path: gate_histograms(gates, path, title="a run $"), folder)
    for text in ("encoder.0: f", "encoder.0: o", "decoder.0: z", "a run $",
                 "10% below 0.1, 10% above 0.9", "0% below 0.1, 100% above 0.9",
                 "50% below 0.1, 25% above 0.9"):  # fmt: skip
        assert text in shown, text
    with pytest.raises(ValueError, match="no cells, wanted"):
        gate_histograms({}, folder / "no.png")


def test_no_pyplot_and_no_display():
    program = (
        "import sys, models.pictures.plots as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots._figure(1, 1)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    checkout = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", program], check=True, cwd=checkout)


def test_without_matplotlib_the_sentence_says_what_to_install(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda path: attention_heatmap([[1.0]], "a", "b", path),
        lambda path: training_curve([{"step": 1, "loss": 2.0}], path),
        lambda path: gate_histograms({"lstm": {"f": [0.5]}}, path),
    ):
        with pytest.raises(ImportError, match=r'pip install "tinygrad-rnn\[models\]"'):
            draw(folder / "no.png")
