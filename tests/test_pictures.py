"""The pictures of the pages are those of the numbers, the numbers those of the code."""

import importlib.util
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def program(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures, translations = program("pictures"), program("translations")
NUMBERS = json.loads((DOCS / "pictures.json").read_text("utf-8"))
DRAWN = pictures.pictures(NUMBERS)


def test_the_numbers_are_those_of_the_code_that_measures_them():
    assert NUMBERS["digest"] == pictures.digest(), "run: python docs/pictures.py RUNS"
    for name, found in pictures.untrained().items():
        for key, norms in found.items():
            np.testing.assert_allclose(NUMBERS["untrained"][name][key], norms, rtol=1e-2)


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_that_of_the_numbers_and_stands_on_a_page(name):
    path = DOCS / "pictures" / f"{name}.svg"
    assert path.read_text("utf-8") == DRAWN[name], "run: python docs/pictures.py"
    pages = [page.read_text("utf-8") for page in DOCS.glob("*.md")]
    shown = [re.search(rf"!\[([^\]]+)\]\(pictures/{name}\.svg\)", page) for page in pages]
    assert any(shown)
    assert all(len(found[1]) > 40 for found in shown if found)  # for who cannot see it


@pytest.mark.parametrize("language", ["en", "ko", "ja"])
@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off_and_letters_can_be_read(name, language):
    known = {}
    if language != "en":
        pytest.importorskip("babel", reason="babel, which Sphinx brings, is not installed")
        known = translations.read(language, "pictures")
    svg = ElementTree.fromstring(translations.lettered(DRAWN[name], known))
    height = float(svg.get("height"))
    assert float(svg.get("font-size")) * 380 / pictures.WIDTH > 9  # on a phone
    for text in svg.iter("{http://www.w3.org/2000/svg}text"):
        # More than a letter of 13 takes on average; those of Korean and Japanese are square.
        wide = sum(13 if ord(letter) > 0x2E80 else 7.5 for letter in text.text)
        x, y = float(text.get("x")), float(text.get("y"))
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[text.get("text-anchor")]
        assert left > -4 and left + wide < pictures.WIDTH + 4 and 8 < y < height, text.text
        assert text.get("fill") is None  # the colour of the page, light or dark


def test_numbers_are_no_part_of_what_is_translated():
    drawn = "<text>a &lt; 12: 0.5%</text><text>3 of 4 LSTMs</text><text>seq2seq</text>"
    known = {"{} of {} LSTMs": "LSTM {}개 중 {}개", "seq2seq": "순서 2"}
    assert translations.lettered(drawn, known) == (
        "<text>a &lt; 12: 0.5%</text><text>LSTM 3개 중 4개</text><text>순서 2</text>")
    assert translations.lettered(drawn, {}) == drawn


def test_no_column_of_padding():
    read = NUMBERS["attention"]["read"]
    weights = np.array(NUMBERS["attention"]["weights"])
    assert read == read.rstrip() and weights.shape == (10, len(read))


def test_the_figure_shows_what_chapter_6_says():
    first, second = NUMBERS["untrained"], NUMBERS["trained"]
    assert first["LSTM, bias 0"]["h"][0] < 1e-8 and first["RNN"]["h"][0] < 1e-8
    assert first["LSTM, bias 3"]["h"][0] > 0.05
    assert second["LSTM after"]["c"][0] > 0.5 > 10 * second["LSTM before"]["c"][0] / 2
    assert second["RNN after"]["h"][0] < 1e-3
