"""What a report says, in several languages: ``say`` fills in a sentence and remembers it, so that
the same report can be read in any of them.

The sentences stand in English where they are said; ``languages/*.po`` has the others.
"""

from __future__ import annotations

import functools
import gettext
import locale
import unicodedata
from collections.abc import Callable
from importlib import resources
from typing import Any

LANGUAGES = ("en", "ko", "ja")


class Said(str):
    """A sentence in English that can be said again in another language: ``template`` filled in
    with ``values``; several sentences, if it has ``parts`` (``between`` them)."""

    template: str
    values: dict[str, Any]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, template: str, values: dict[str, Any], parts=()) -> Said:
        said = cls(template.join(parts) if parts else template.format(**values))
        said.template, said.values, said.parts = template, values, tuple(parts)
        return said

    def said(self):
        """What ``of`` makes it of again."""
        return self.template, self.values, self.parts

    def within(self, lang: str) -> str:
        if self.parts:
            return self.template.join(in_language(p, lang) for p in self.parts)
        values = {k: in_language(v, lang) for k, v in self.values.items()}
        return catalogue(lang).gettext(self.template).format(**values)


def say(template: str, **values: Any) -> Said:
    """``template.format(**values)``; the values may be sentences themselves."""
    return Said.of(template, values)


def join(parts, between: str = "; ") -> str:
    """Several sentences, one after another."""
    parts = list(parts)
    return Said.of(between, {}, parts) if len(parts) > 1 else parts[0] if parts else ""


def in_language(text: Any, lang: str = "en") -> Any:
    """What was said, in a language; what is no sentence as it is."""
    return text.within(lang) if isinstance(text, Said) and lang != "en" else text


def speaker(lang: str) -> Callable[..., str]:
    """``say``, in a language, as plain text."""
    return lambda template, **values: str(in_language(say(template, **values), lang))


def wide(text: str) -> int:
    """The columns of a text on a terminal: a letter of Korean or Japanese takes two."""
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def padded(text: str, width: int, right: bool = False) -> str:
    """A text with blanks after it, or, ``right``, before it."""
    blanks = " " * (width - wide(text))
    return blanks + text if right else text + blanks


def language(wanted: str | None = None) -> str:
    """The language that is asked for, else that of the locale, else English."""
    if wanted is None:
        wanted = locale.setlocale(locale.LC_MESSAGES, None) if hasattr(
            locale, "LC_MESSAGES") else ""
        if wanted in ("C", "POSIX", ""):
            wanted = next((v for k in ("LC_ALL", "LC_MESSAGES", "LANG")
                           if (v := _environment(k))), "en")
    short = wanted.replace("-", "_").partition("_")[0].lower()
    return short if short in LANGUAGES else "en"


def _environment(name):
    import os

    return os.environ.get(name, "")


class _Po(gettext.NullTranslations):
    """Translations from the text of a .po file: no compiled file has to be kept beside it."""

    def _parse(self, fp):
        self.texts = dict(_entries(fp.read().decode("utf-8")))

    def gettext(self, message):
        return self.texts.get(message) or message


def _entries(text: str):
    """(English, translation) of a .po file's entries."""
    fields, name = {"msgid": "", "msgstr": ""}, ""
    for line in [*text.splitlines(), "msgid "]:
        keyword, _, rest = line.partition(" ")
        if keyword in fields:
            if keyword == "msgid" and fields["msgid"]:
                yield fields["msgid"], fields["msgstr"]
            if keyword == "msgid":
                fields = {"msgid": "", "msgstr": ""}
            name, line = keyword, rest
        if name and line.startswith('"'):
            fields[name] += line[1:-1].replace('\\"', '"').replace("\\n", "\n").replace(
                "\\\\", "\\")


@functools.cache
def catalogue(lang: str) -> gettext.NullTranslations:
    """The translations into a language; none for English."""
    if lang == "en" or lang not in LANGUAGES:
        return gettext.NullTranslations()
    with resources.files(__package__).joinpath("languages", f"{lang}.po").open("rb") as file:
        return _Po(file)
