"""The catalogues of the site in other languages: docs/locale/LANGUAGE/LC_MESSAGES/PAGE.po.

    python docs/translations.py           bring them up to date with the English pages
    python docs/translations.py --list    and print what is not translated yet

English is the source. A catalogue holds the paragraphs, headings and cells of one page (gettext's
format; sphinx-intl and every editor for it work on it), pictures.po the letters in the pictures;
what has no translation is shown in English. What is code, a formula or a name needs none. How many
paragraphs are untranslated stands in docs/locale/untranslated.json, and a test sees to it that the
number is right. Wants Sphinx and MyST (``pip install -e '.[docs]'``).
"""

import json
import re
import sys
import tempfile
from html import escape, unescape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
LOCALE = DOCS / "locale"
LANGUAGES = {"ko": "한국어", "ja": "日本語"}
PICTURE = re.compile(r"!\[(.*)\]\((\S+)\)", re.S)
LETTERS = re.compile("(?<=>)[^<>]*[A-Za-z]{2}[^<>]*(?=</text>)")
NUMBER = re.compile(r"(?<![A-Za-z])\d[\d.]*")


def messages() -> dict[str, list[str]]:
    """What is to be translated, page by page, in the order in which it is read."""
    from babel.messages.pofile import read_po
    from sphinx.application import Sphinx

    with tempfile.TemporaryDirectory() as folder:
        # Sphinx keeps defaults as they are written by giving functions another signature, in a
        # process that may go on to do something else.
        kept = {"autodoc_preserve_defaults": False}
        Sphinx(DOCS, DOCS, folder, f"{folder}/trees", "gettext", kept, status=None).build()
        found = {}
        for path in sorted(Path(folder).glob("*.pot")):
            with path.open("rb") as file:
                texts = [str(message.id) for message in read_po(file) if message.id]
            if path.stem != "api":  # docstrings
                found[path.stem] = [text for text in texts if not needs_none(text)]
        found["pictures"] = letters()
        return found


def letters() -> list[str]:
    """The letters in the pictures, ``{}`` for each number, which another run may change."""
    drawn = [path.read_text("utf-8") for path in sorted((DOCS / "pictures").glob("*.svg"))]
    return list(dict.fromkeys(NUMBER.sub("{}", unescape(text)) for svg in drawn
                              for text in LETTERS.findall(svg)))  # fmt: skip


def lettered(svg: str, known: dict[str, str]) -> str:
    """A picture with its letters in another language."""

    def translated(found: re.Match) -> str:
        text = unescape(found[0])
        form = NUMBER.sub("{}", text)
        return escape(known.get(form, form).format(*NUMBER.findall(text)), quote=False)

    return LETTERS.sub(translated, svg)


def needs_none(text: str) -> bool:
    """Whether it is the same in every language: code, a formula, a name, or a picture, whose
    description is a paragraph of its own."""
    if PICTURE.fullmatch(text):
        return False
    if "$" not in text and "`" not in text and re.search(r"\\[a-z]+|[_^]\{", text):
        return True  # a formula that stands alone
    bare = re.sub(r"`[^`]*`|\$[^$]*\$|\{\{.*?\}\}|https?://\S+", "", text)
    named = re.fullmatch(r"[\w./]+\.(py|md)|tinygrad_rnn", bare.strip())
    return bool(named) or not re.search(r"[A-Za-z]{2}", bare)


def read(language: str, page: str) -> dict[str, str]:
    """Translations that there are, by their English."""
    from babel.messages.pofile import read_po

    path = LOCALE / language / "LC_MESSAGES" / f"{page}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file) if m.id and m.string}


def write(language: str, page: str, texts: list[str], known: dict[str, str]) -> None:
    """The catalogue of a page; a picture has the translation of its description."""
    lines = ['msgid ""', 'msgstr "Content-Type: text/plain; charset=UTF-8\\n"', ""]
    for text in texts:
        picture = PICTURE.fullmatch(text)
        if picture:
            told = known.get(picture[1], "")
            translated = told and f"![{told}]({picture[2]})"
        else:
            translated = known.get(text, "")
        if translated:
            lines += [f"msgid {quoted(text)}", f"msgstr {quoted(translated)}", ""]
    path = LOCALE / language / "LC_MESSAGES" / f"{page}.po"
    if len(lines) == 3:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), "utf-8")


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def missing(found: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """By language and page, what is not translated."""
    lacking: dict[str, dict[str, list[str]]] = {}
    for language in LANGUAGES:
        lacking[language] = {}
        for page, texts in found.items():
            known = read(language, page)
            lacking[language][page] = [text for text in texts if text not in known]
    return lacking


def counts(lacking: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, int]]:
    """By language and page, how many; pages that are all translated are left out."""
    return {language: {page: len(texts) for page, texts in pages.items() if texts}
            for language, pages in lacking.items()}  # fmt: skip


def main(arguments: list[str]) -> None:
    found = messages()
    for language in LANGUAGES:
        for page, texts in found.items():
            write(language, page, texts, read(language, page))
    lacking = missing(found)
    numbers = counts(lacking)
    (LOCALE / "untranslated.json").write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")
    for language, pages in lacking.items():
        print(f"{language}: {sum(map(len, pages.values()))} of {sum(map(len, found.values()))}"
              " paragraphs are untranslated")  # fmt: skip
        for page, texts in pages.items():
            for text in texts if "--list" in arguments else []:
                print(f"  {page}: {text}")


if __name__ == "__main__":
    main(sys.argv[1:])
