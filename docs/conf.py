"""Sphinx: ``sphinx-build -W docs docs/_build``."""

import re
import sys
import zipfile
from html import escape, unescape
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.formatters import HtmlFormatter
from sphinx.directives.code import LiteralInclude
from sphinx.highlighting import PygmentsBridge
from sphinx.pycode import ModuleAnalyzer

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]
import address  # noqa: E402
import translations  # noqa: E402

project = "tinygrad_rnn"
copyright = "the authors of tinygrad_rnn"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build", "locale"]
gettext_compact = False
gettext_location = False
locale_dirs = ["locale"]
myst_enable_extensions = ["dollarmath", "substitution"]
myst_substitutions = {path.stem: address.buttons(path.stem, address.source())
                      for path in (ROOT / "notebooks").glob("*.py")}  # fmt: skip
myst_heading_anchors = 3
smartquotes = False
html_theme = "furo"
html_title = "tinygrad_rnn"
html_static_path = ["_static"]
html_css_files, html_js_files = ["pages.css"], ["search.js"]
templates_path = ["_templates"]
html_sidebars = {"**": ["sidebar/brand.html", "languages.html", "sidebar/search.html",
                        "sidebar/scroll-start.html", "sidebar/navigation.html",
                        "sidebar/scroll-end.html"]}  # fmt: skip
html_theme_options = {"source_repository": f"{address.source()}/", "source_branch": "main",
                      "source_directory": "docs/"}  # fmt: skip
html_math_renderer = "mathml"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # np.float32, not <class 'numpy.float32'>


def math(block):
    """Formulas as MathML, which browsers draw without a script from somewhere else."""

    def visit(translator, node):
        mathml = tex2mathml(node.astext(), as_block=block)
        if block:
            mathml = f'<div class="math">{mathml}</div>'
        translator.body.append(mathml)
        raise nodes.SkipNode

    return visit, None


class Quoted(LiteralInclude):
    """A quoted piece, and below it where it stands."""

    def run(self):
        quoted = super().run()
        _, file = self.env.relfn2path(self.arguments[0])
        path = Path(file).resolve().relative_to(ROOT).as_posix()
        lines = ""
        if "pyobject" in self.options and file.endswith(".py"):
            _, first, last = ModuleAnalyzer.for_file(file, "").find_tags()[self.options["pyobject"]]
            lines = f"#L{first}-L{last}"
        link = nodes.reference("", path, refuri=f"{address.source()}/blob/main/{path}{lines}")
        return [*quoted, nodes.paragraph("", "", link, classes=["quoted-from"],
                                         translatable=False)]


class Hanging(HtmlFormatter):
    """Code whose long lines, where they do not fit, go on below, farther in than they began."""

    def wrap(self, source):
        return super().wrap((code, self.hang(line) if code else line) for code, line in source)

    def hang(self, line):
        text = unescape(re.sub("<[^>]*>", "", line)).rstrip()
        if len(text) < 30:  # which fits everywhere
            return line
        depth = len(text) - len(text.lstrip())
        line = re.sub("^((?:<[^>]*>)*)( +)", r'\1<span class="lead">\2</span>', line[:-1])
        deep = " deep" if depth > 20 else ""  # on a phone not as deep
        return f'<span class="long{deep}" style="--in: {depth + 4}ch">{line}</span>\n'


def as_text(line):
    """Plain text as reStructuredText: ``code`` and **bold** stay, all else means itself."""
    parts = re.split(r"(``.+?``|`[^`]+`|\*\*\w[^*]*\*\*)", line)
    parts[::2] = [re.sub(r"([*_|`\\])", r"\\\1", part).replace("->", "→") for part in parts[::2]]
    parts[1::2] = [f"`{p}`" if re.fullmatch("`[^`]+`", p) else p for p in parts[1::2]]
    return "".join(parts)


def from_plain_text(app, what, name, obj, options, lines):
    """Our docstrings are plain text: paragraphs, indented lines as they stand, and ``Args:``."""
    result, section = [], None
    for line in lines:
        indented = line.startswith(" ")
        if line in ("Args:", "Returns:", "Raises:"):
            section = "list"
            result += ["", f"**{line}**", ""]
        elif not line:
            section = "text" if section == "list" else section
            result.append("")
        elif indented and section == "list":
            entry = re.fullmatch(r"    ([\w, *]+): (.*)", line)
            text = line.strip()
            result.append(f"- ``{entry[1]}``: {as_text(entry[2])}" if entry
                          else f"  {as_text(text)}")  # fmt: skip
        elif indented:
            if section != "code":
                result += ["", ".. code-block:: none", ""]
            section = "code"
            result.append(f"    {line}")
        else:
            if section == "code":
                result.append("")
            section = "text"
            result.append(as_text(line))
    lines[:] = result


def says_nothing(app, what, name, obj, skip, options):
    """Fields of a NamedTuple, whose class says what they are."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def for_the_browser(app, exception):
    """What browser.md loads: the package, and the programs in its boxes."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for name in ("my_layers.py", "engine_in_60_lines.py", "engine_tried.py"):
        (static / name).write_bytes((DOCS / name).read_bytes())
    with zipfile.ZipFile(static / "tinygrad_rnn.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "tinygrad_rnn").rglob("*")):
            if path.suffix in (".py", ".po"):
                archive.write(path, path.relative_to(ROOT))


def whole(app, page, template, context, doctree):
    """Where a line may break. Options of commands do not after their hyphens; before them it may,
    where no space stands there, as in Japanese. What follows a formula or a number belongs to it.
    Long names in the tables of a phone break between their parts."""
    if "body" not in context:
        return
    body = re.sub('<span class="pre">(?=[^<]*-)(?=[^<]{2,20}<)', '<span class="pre whole">',
                  context["body"])  # fmt: skip
    body = re.sub(r'(?<=[、。\w])(?=<code [^>]*><span class="pre whole">)', "<wbr>", body)
    body = re.sub("<math(?:(?!</math>).)*</math>[、。.,;:)가-힣]{1,5}",
                  r'<span class="whole">\g<0></span>', body, flags=re.S)  # fmt: skip
    body = re.sub(r"(?<=\d) (?=%(?! ?\d))", "\N{NO-BREAK SPACE}", body)
    parted = re.compile(r'(?<=<span class="pre">)[^<]{14,}')
    context["body"] = re.sub("<td>.*?</td>", lambda cell: parted.sub(in_parts, cell[0]), body,
                             flags=re.S)  # fmt: skip


def in_parts(name):
    return re.sub(r"(?<=\w[.(/=]|[^\W_]_)(?!py\b)(?=[^\W_]|__)", '<wbr class="phone">', name[0])


def languages(app, page, template, context, doctree):
    if context.get("every_language"):  # docs/build says so
        context["languages"] = {"en": "English", **translations.LANGUAGES}
        context["language"] = app.config.language


def pictures_in_the_page(app, doctree, docname):
    """SVG as a part of the page: its letters have the colour of the text, also in dark mode."""
    if app.builder.format != "html":
        return
    letters = translations.read(app.config.language, "pictures")
    for image in list(doctree.findall(nodes.image)):
        path = DOCS / image["uri"]
        if path.suffix == ".svg" and path.exists():
            svg = re.sub(r"<style>.*?</style>", "", path.read_text("utf-8"), flags=re.S)
            svg = translations.lettered(svg, letters)
            said = escape(image.get("alt", ""), quote=True)
            svg = re.sub('aria-label="[^"]*"', lambda _, said=said: f'aria-label="{said}"', svg)
            # On a phone it scrolls, rather than have letters that nobody can read.
            least = 0.7 * float(re.search('viewBox="0 0 ([0-9.]+)', svg)[1])
            svg = svg.replace("max-width: 100%;", f"max-width: 100%; min-width: {least:.0f}px;", 1)
            image.replace_self(nodes.raw("", f'<span class="picture">{svg}</span>', format="html"))


def setup(app):
    PygmentsBridge.html_formatter = Hanging
    app.connect("doctree-resolved", pictures_in_the_page)
    app.connect("html-page-context", languages)
    app.connect("html-page-context", whole)
    app.connect("build-finished", for_the_browser)
    app.add_directive("literalinclude", Quoted, override=True)
    app.add_html_math_renderer("mathml", math(block=False), math(block=True))
    app.connect("autodoc-process-docstring", from_plain_text)
    app.connect("autodoc-skip-member", says_nothing)
