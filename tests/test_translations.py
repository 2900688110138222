"""The catalogues of the Korean and Japanese site: what is translated is a translation of what the
page says, keeps its code, formulas and links, and what is untranslated is counted."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("translations", DOCS / "translations.py")
translations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(translations)
SCRIPTS = {"ko": re.compile("[가-힣]"), "ja": re.compile("[ぁ-んァ-ン一-龥]")}
KEPT = re.compile(r"`[^`]+`|\$[^$]+\$|\]\([^)]+\)|\{\{[^}]+\}\}")


def catalogues():
    pytest.importorskip("babel", reason="babel, which Sphinx brings, is not installed")
    return {(language, path.stem): translations.read(language, path.stem)
            for language in translations.LANGUAGES
            for path in sorted((translations.LOCALE / language / "LC_MESSAGES").glob("*.po"))
            }  # fmt: skip


def test_a_translation_keeps_code_formulas_and_links():
    seen = 0
    for (language, page), known in catalogues().items():
        for english, translated in known.items():
            kept = [set(KEPT.findall(text)) for text in (english, translated)]
            assert kept[0] == kept[1], (language, page, english)
            assert english != translated or " " not in english or len(english) < 10, english
            if len(english) > 40:
                assert SCRIPTS[language].search(translated), (language, page, translated)
            seen += 1
    assert seen > 500


def test_a_translation_is_one_paragraph_whose_emphasis_ends():
    """Sphinx leaves out what is none: ``1. x`` is a list, and a heading wants ``1\\. x``. Nor does
    Markdown end emphasis between a bracket and a letter: ``**x (y)**는`` shows its stars."""
    markdown_it = pytest.importorskip("markdown_it", reason="MyST, which brings it, is missing")

    def blocks(text):
        return markdown_it.MarkdownIt().parse(re.sub(r"\$[^$]*\$", "x", text))

    def stars(text):
        return sum(span.content.count("*") for block in blocks(text)
                   for span in block.children or () if span.type == "text")  # fmt: skip

    assert stars("**x (y)**는") and not stars("**x (y)** 는")
    for (language, page), known in catalogues().items():
        for english, translated in known.items():
            kinds = [block.type for block in blocks(translated) if block.level == 0]
            assert kinds == ["paragraph_open", "paragraph_close"], (language, page, translated)
            assert stars(translated) <= stars(english), (language, page, translated)


FIRST = ("index", "check", "chapter5", "chapter6", "chapter7", "chapter8", "glossary", "notebooks")


def test_what_a_reader_of_the_book_opens_first_is_translated():
    counted = json.loads((translations.LOCALE / "untranslated.json").read_text("utf-8"))
    known = catalogues()
    for language in translations.LANGUAGES:
        for page in FIRST:
            assert counted[language].get(page, 0) < 0.1 * len(known[language, page]), page


@pytest.mark.filterwarnings("ignore:'myst_parser")  # of Sphinx, to the authors of MyST
def test_what_is_untranslated_is_counted():
    pytest.importorskip("myst_parser", reason="Sphinx, Furo and MyST are not installed")
    pytest.importorskip("furo", reason="Sphinx, Furo and MyST are not installed")
    pytest.importorskip("sphinx_copybutton", reason="sphinx-copybutton is not installed")
    found = translations.messages()
    told = json.loads((translations.LOCALE / "untranslated.json").read_text("utf-8"))
    assert told == translations.counts(translations.missing(found)), (
        "count them again: python docs/translations.py")


@pytest.mark.parametrize("page", ["index", "_modules/tinygrad_rnn/nn/cells"])
def test_a_page_leads_to_itself_in_the_other_languages(page):
    jinja2 = pytest.importorskip("jinja2", reason="Jinja, which Sphinx brings, is not installed")
    template = next((DOCS / "_templates").rglob("languages.html")).read_text("utf-8")
    folders = {"en": Path("/site"), "ko": Path("/site/ko"), "ja": Path("/site/ja")}
    for here in folders:
        shown = jinja2.Template(template).render(languages=folders, language=here, pagename=page)
        links = {os.path.normpath(folders[here] / page / ".." / link)
                 for link in re.findall('href="([^"]+)"', shown)}  # fmt: skip
        assert links == {str(folders[code] / f"{page}.html") for code in folders if code != here}


@pytest.mark.parametrize("text, same", [
    ("`np.tanh`: `g * (1 - y * y)`", True), (r"dW = \sum_t dW^{(t)}", True),
    ("tinygrad_rnn/manual/recurrent.py", True), ("$dA$ has the order of $A$", False),
    ("Glossary", False), ("`np.matmul`, left argument", False), ("{{ seq2seq }}", True),
    ("![A picture](pictures/x.svg)", False),
])  # fmt: skip
def test_what_needs_no_translation(text, same):
    assert translations.needs_none(text) == same
