"""Reports as HTML: one of them, for a notebook; all of a repository, as a page to hand in or to put
on a wall. What colours say is also said in words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from .report import VERDICTS, Report
from .words import in_language, say

STYLE = """
.tgcheck { font: 14px/1.5 system-ui, sans-serif; margin: 0 0 1.5em; }
.tgcheck h3 { margin: .3em 0; font-size: 16px; }
.tgcheck .wide { overflow-x: auto; }
.tgcheck table { border-collapse: collapse; margin: .4em 0; }
.tgcheck td, .tgcheck th { padding: .15em .7em; text-align: left; border-bottom: 1px solid #8884;
  white-space: nowrap; }
.tgcheck pre { background: #8881; padding: .5em .8em; margin: .3em 0; overflow-x: auto;
  font: 13px/1.45 ui-monospace, monospace; }
.tgcheck details pre div:first-child { white-space: pre-wrap; }
.tgcheck code { background: #8881; padding: 0 .2em; font: 13px/1.45 ui-monospace, monospace; }
/* Mixed with the colour of the text: a notebook may be dark where its system is not. */
.tgcheck .ok { color: color-mix(in srgb, #2f9e44 65%, currentColor); }
.tgcheck .wrong { color: color-mix(in srgb, #e5484d 70%, currentColor); font-weight: 600; }
.tgcheck :is(.convention, .unchecked) { color: color-mix(in srgb, #c98a00 65%, currentColor); }
.tgcheck del { background: #b4231822; text-decoration: none; display: block; }
.tgcheck ins { background: #1a7f3722; text-decoration: none; display: block; }
.tgcheck .gate { display: inline-block; border: 1px solid currentColor; border-radius: 3px;
  padding: 0 .4em; margin-right: .3em; }
"""
_MARK = {True: "✓", False: "✗"}


def fragment(report: Report, lang: str = "en") -> str:
    """One report: a table of gradients, the gates, the causes with their repair, the example."""
    parts = [f"<h3>{escape(report.name)}: {_word(report.verdict, report.verdict, lang)}</h3>"]
    if report.gradients and report.verdict != "unchecked":
        parts.append(_table(report, lang))
    for said in report.said(lang):
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(said.text))
        text = re.sub(r"^https?://\S+$", r'<a href="\g<0>">\g<0></a>', text) + escape(said.where)
        tags = [({"- ": "del", "+ ": "ins"}.get(line[:2], "div"), escape(line))
                for line in said.below]
        below = f"<pre>{''.join(f'<{t}>{line}</{t}>' for t, line in tags)}</pre>"
        parts.append(("<details><summary>{}: {}</summary>{}</details>" if said.folded and tags else
                      "<p><b>{}</b>: {}</p>{}").format(escape(said.head), text, below * bool(tags)))
    return f'<div class="tgcheck">{"".join(parts)}</div>'


def _word(kind, text, lang):
    return f'<span class="{kind}">{escape(str(in_language(say(text), lang)))}</span>'


def _table(report: Report, lang):
    heads = ("gradient", "shape", "", "max. error", "relative", "first wrong element")
    rows = ["<tr>" + "".join(
        f"<th>{escape(str(in_language(say(h), lang))) if h else ''}</th>" for h in heads) + "</tr>"]
    for g in report.gradients:
        kind = "ok" if g.ok else "wrong"
        index = "" if g.index is None else f"{list(g.index)}" + (
            f" ({in_language(g.place, lang)})" * bool(g.place))
        gates = " ".join(
            f'<span class="gate {"ok" if ok else "wrong"}">{escape(k)} {_MARK[ok]}</span>'
            for k, ok in g.gates.items())
        rows.append(f"<tr><td>d{escape(g.name)}</td><td>{escape(str(g.shape))}</td>"
                    f"<td>{_MARK[g.ok]} {_word(kind, kind, lang)}</td>"
                    f"<td>{g.max_abs_error:.1e}</td><td>{g.max_rel_error:.1e}</td>"
                    f"<td>{escape(index)} {gates}</td></tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def page(files: Iterable[tuple[str, list[Report], str]], lang: str = "en") -> str:
    """One page for (path, reports, why there are none) of many files: a table of all, then what is
    not simply right."""
    shown = [(path, reports, error, [r.verdict for r in reports] + ["unchecked"] * bool(error))
             for path, reports, error in files if reports or error]
    head = "".join(f"<th>{_word(v, v, lang)}</th>" for v in VERDICTS)
    rows = [f'<tr><td><a href="#f{i}">{escape(path)}</a></td>' + "".join(
        f"<td>{found.count(v) or ''}</td>" for v in VERDICTS) + "</tr>"
        for i, (path, _, _, found) in enumerate(shown)]
    total = "".join(f"<td><b>{sum(found.count(v) for *_, found in shown)}</b></td>"
                    for v in VERDICTS)
    body = []
    for i, (path, reports, error, _) in enumerate(shown):
        body += [f'<h2 id="f{i}">{escape(path)}</h2>',
                 f"<p>{escape(in_language(error, lang))}</p>" * bool(error),
                 *(fragment(r, lang) for r in reports)]
    return f"""<!DOCTYPE html>
<html lang="{lang}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>tinygrad-rnn check</title>
<style>{STYLE}
:root {{ color-scheme: light dark; }}
body {{ max-width: 62em; margin: 2em auto; padding: 0 1em; font-family: system-ui, sans-serif;
  overflow-wrap: anywhere; }}
@media print {{ details::details-content {{ content-visibility: visible; }}
  .tgcheck td {{ white-space: normal; }} }}</style></head>
<body><h1>tinygrad-rnn check</h1>
<div class="tgcheck"><div class="wide"><table><tr><th></th>{head}</tr>{''.join(rows)}
<tr><td>{in_language(say("in all"), lang)}</td>{total}</tr></table></div></div>
{''.join(body)}
</body></html>
"""
