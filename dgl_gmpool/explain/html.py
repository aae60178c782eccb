"""How the pages of this package look: one file each, without network or scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from dgl_gmpool.explain.drawing import LESS, MORE

_STYLE = f"""
body {{ font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto;
  padding: 0 1em; }}
p {{ overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5em; overflow-wrap: anywhere; }} h2 {{ font-size: 1.2em; margin-top: 2em; }}
h3 {{ font-size: 1em; margin: 1em 0 .3em; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; font-size: .9em; }}
th, td {{ padding: .2em .6em; text-align: left; border-bottom: 1px solid #ddd; }}
th {{ vertical-align: bottom; }}
td.n, th.n {{ text-align: right; }}
td.n {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
.scroll {{ overflow-x: auto; }}
code {{ overflow-wrap: anywhere; }}
pre {{ background: #f4f4f4; padding: .6em .8em; border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
.molecule {{ border: 1px solid #ccc; border-radius: 6px; padding: 1em; margin: 1em 0;
  break-inside: avoid; content-visibility: auto; contain-intrinsic-size: auto 420px; }}
.molecule > h3 {{ margin-top: 0; }}
.sides {{ display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-start; }}
.sides > div {{ min-width: 0; max-width: 100%; }}
.scroll td:first-child, .scroll code {{ min-width: 7em; }} .scroll code {{ display: block; }}
.scroll td:first-child {{ overflow-wrap: anywhere; }}
.picture {{ flex: 1 1 500px; }} .picture svg {{ max-width: 100%; height: auto; }}
.groups {{ flex: 1 1 340px; overflow-x: auto; }}
.plot {{ max-width: 100%; height: auto; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: .8em; }}
.card {{ border: 1px solid #ccc; border-radius: 6px; padding: .6em; font-size: .9em;
  break-inside: avoid; }}
.card svg {{ display: block; max-width: 100%; height: auto; margin: 0 auto; }}
.swatch {{ display: inline-block; width: 1em; height: 1em; border: 1px solid #888;
  border-radius: 3px; vertical-align: -.15em; margin-right: .4em; }}
.bar {{ width: 120px; position: relative; }}
.bar i {{ position: absolute; top: calc(50% - .45em); height: .9em; }}
.bar i.more {{ left: 50%; background: {MORE}; }} .bar i.less {{ right: 50%; background: {LESS}; }}
.bar::after {{ content: ""; position: absolute; left: 50%; top: 0; bottom: 0;
  border-left: 1px solid #888; }}
.swatch, .bar i {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
@media print {{ .molecule {{ content-visibility: visible; }} }}
.quiet {{ color: #555; }}
.note {{ border-left: 3px solid {LESS}; padding-left: .8em; }}
"""

#: Parts of RDKit's SVG that change nothing here.
_NEEDLESS = re.compile(
    r" class='[^']*'|(?:fill-opacity|stroke-opacity):1;|stroke-linecap:butt;|stroke-linejoin:miter;"
    r"|stroke-miterlimit:10;|fill-rule:evenodd;|<!--.*?-->|xmlns:(?:rdkit|xlink)='[^']*'"
)

END = "</body></html>\n"


def head(title: str) -> str:
    """All before a page's own text; ``END`` comes behind it."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>"
    )


class Raw(NamedTuple):
    """A cell of :func:`table` that is HTML already."""

    html: str


def table(
    header: Sequence[str], rows: Iterable[Sequence[str | float | Raw]], *, text: int = 1
) -> str:
    """A table; cells behind the first ``text`` columns are numbers, to the right.

    Examples
    --------
    >>> table(["part", "rows"], [["a < b", "7"]])[:52]
    "<div class='scroll'><table><tr><th>part</th><th clas"
    """

    def row(cells: Sequence[str | float | Raw], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=' + chr(39) + 'n' + chr(39) if place >= text else ''}>"
            f"{cell.html if isinstance(cell, Raw) else escape(str(cell))}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<div class='scroll'><table><tr>{row(header, 'th')}</tr>{body}</table></div>"


def sentence(text: str) -> str:
    """A note as a sentence, HTML.

    >>> sentence("pH is > 7")
    'PH is &gt; 7.'
    """
    return f"{escape(text[0].upper() + text[1:])}."


def small_svg(svg: str, alt: str) -> str:
    """The same picture in half the bytes, without what is SVG's default and names of atoms, and
    with a text for who cannot see it.

    Examples
    --------
    >>> small_svg("<svg class='a' />", "C'C")
    "<svg role='img' aria-label='C&#x27;C' />"
    """
    named = f"<svg role='img' aria-label='{escape(alt)}'"
    return _NEEDLESS.sub("", svg).replace("<svg", named, 1)


def swatch(colour: str) -> str:
    """A small square of a colour."""
    return f"<span class='swatch' style='background:{colour}'></span>"
