"""One page with all explained molecules: a single file, without network or scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from dgl_gmpool._io import atomic_write
from dgl_gmpool.explain.drawing import (
    LESS,
    MORE,
    NoPictureError,
    added,
    decimals,
    digits_of,
    draw_fragment,
    draw_svg,
    group_colours,
    signed,
    units_of,
)
from dgl_gmpool.explain.explanation import Explanation
from dgl_gmpool.explain.fragments import FragmentRow, Pair
from dgl_gmpool.explain.html import END, head, sentence, small_svg, swatch

#: How many fragments and pairs the page shows; the tables beside it have all.
SHOWN = 20


class Headline(NamedTuple):
    """What stands at the top: title, rows of the input, pairs in all."""

    title: str
    rows: int
    pairs: int


def write_page(
    path: Path,
    headline: Headline,
    explained: Sequence[tuple[int, Explanation]],
    refused: Sequence[tuple[int, str, str]],
    fragments: Sequence[FragmentRow],
    pairs: Sequence[Pair],
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    headline : Headline
    explained : sequence of (int, Explanation)
        Row number and explanation.
    refused : sequence of (int, str, str)
        Row number, SMILES and reason.
    fragments, pairs : sequence
        In the order in which they are shown.
    """

    def parts() -> Iterator[str]:
        yield head(headline.title)
        yield from _how_to_read(headline, explained, refused)
        several = len({each.target for _, each in explained}) > 1
        if fragments:
            yield from _fragments(fragments, several)
        if pairs:
            yield from _pairs(pairs, headline.pairs, several)
        yield "<h2>Molecules</h2>"
        # One scale for the bars of all molecules, so that they can be compared.
        most = max(
            (abs(each.group_contributions).max(initial=0.0) for _, each in explained), default=0
        )
        for number, each in explained:
            name = f"Row {number} <code>{escape(each.smiles)}</code>"
            yield f"<div class='molecule' id='row{number}'>"
            yield from molecule_part(name, each, float(most) or 1.0)
            yield "</div>\n"
        if refused:
            yield from _refused(refused)
        yield END

    # Piece by piece: the pictures of a large table need not be in memory together.
    atomic_write(path, lambda file: file.writelines(part.encode() for part in parts()))


def _how_to_read(
    headline: Headline,
    explained: Sequence[tuple[int, Explanation]],
    refused: Sequence[tuple[int, str, str]],
) -> Iterator[str]:
    yield f"<p>{headline.rows} rows, {len(explained)} explained"
    yield f", <a href='#refused'>{len(refused)} refused</a>." if refused else "."
    yield "</p>"
    if not explained:
        return
    first = explained[0][1]
    *others, last = sorted({each.target for _, each in explained})
    what = f"{', '.join(others)} or {last}" if others else last
    if first.kind == "classification":
        what = f"the probability of {what}"
    if others:
        what += ", for each molecule its most probable class"
    units = units_of(first).strip()
    yield f"<p>Explained is {escape(what)}{escape(f' ({units})' if units else '')}. What an atom"
    yield " or a group contributes is measured"
    yield " by masking: its atoms are replaced by plain saturated carbon, and the model predicts"
    yield " again. The baseline is the prediction for the carbon skeleton alone, all atoms masked;"
    yield " contributions add up to the prediction less the baseline. So a plain alkyl group"
    yield " contributes nothing: its share is in the baseline.</p>"
    if first.model_note:
        yield f"<p><strong>{sentence(first.model_note)}</strong></p>"
    if first.groups is None:
        yield f"<p>Atoms that raise the prediction are {swatch(MORE)} blue, those that lower it"
        yield f" {swatch(LESS)} orange; the largest are labelled.</p>"
        return
    yield "<p>Groups are those of the model: atoms that it treats as one. A colour tells groups"
    yield " apart and means nothing else; a label is the group's number and its contribution (the"
    yield " smallest are in the table only), a"
    yield " Shapley value (what the group adds, averaged over all orders in which the groups can"
    yield " come). Several models are averaged; their agreement is 1 where all make the same"
    yield " groups, 0 where they agree no better than by chance.</p>"


def _refused(rows: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    yield "<h2 id='refused'>Refused</h2><table><tr><th>row</th><th>SMILES</th><th>reason</th></tr>"
    for number, smiles, reason in rows:
        yield f"<tr><td class='n'>{number}</td><td><code>{escape(smiles)}</code></td>"
        yield f"<td>{escape(reason)}</td></tr>"
    yield "</table>"


def _fragments(rows: Sequence[FragmentRow], several: bool) -> Iterator[str]:
    import numpy as np

    shown = rows[:SHOWN]
    digits = decimals(np.array([row.mean for row in shown]))
    most = max(abs(row.mean) for row in shown) or 1.0
    yield "<h2>Groups that matter most</h2><p class='quiet'>By count times mean contribution."
    yield f"{_and_where(len(shown), len(rows), 'fragments.csv')}</p>"
    yield "<div class='scroll'><table><tr><th></th><th>fragment</th>"
    yield f"{'<th>target</th>' * several}<th>groups</th><th>molecules</th>"
    yield "<th>mean contribution</th><th>± std</th><th></th></tr>"
    for row in shown:
        picture = small_svg(draw_fragment(row.fragment), f"structure of {row.fragment}")
        yield f"<tr><td>{picture}</td>"
        yield f"<td><code>{escape(row.fragment)}</code></td>"
        yield f"<td>{escape(row.target)}</td>" if several else ""
        yield f"<td class='n'>{row.count}</td>"
        yield f"<td class='n'>{row.molecules}</td><td class='n'>{_signed(row.mean, digits)}</td>"
        spread = "" if row.spread != row.spread else f"{row.spread:.{digits}f}"
        yield f"<td class='n'>{spread}</td>{_bar(row.mean, most)}</tr>"
    yield "</table></div>"


def _pairs(pairs: Sequence[Pair], count: int, several: bool) -> Iterator[str]:
    import numpy as np

    shown = pairs[:SHOWN]
    digits = decimals(np.array([pair.difference for pair in shown]))
    yield "<h2>Molecules that differ in one group</h2><p class='quiet'>Largest differences of"
    yield f" predictions first.{_and_where(len(shown), count, 'pairs.csv')}</p>"
    yield "<div class='scroll'><table><tr>"
    yield "<th>in common</th><th>row</th><th>with</th><th>row</th><th>with</th>"
    yield "<th>difference</th></tr>"
    for pair in shown:
        target, beside = pair.first.setting
        setting = ", ".join(filter(None, [target if several else "", beside]))
        yield f"<tr><td><code>{escape(pair.context)}</code>{_quiet(setting)}</td>"
        for cut in (pair.first, pair.second):
            yield f"<td class='n'><a href='#row{cut.row}'>{cut.row}</a></td>"
            yield f"<td><code>{escape(cut.fragment)}</code></td>"
        yield f"<td class='n'>{_signed(pair.difference, digits)}</td></tr>"
    yield "</table></div>"


def molecule_part(name: str, each: Explanation, most: float) -> Iterator[str]:
    """A molecule's picture beside the table of its groups.

    Parameters
    ----------
    name : str
        Its heading, HTML.
    each : Explanation
    most : float
        The contribution that the longest bar stands for.
    """
    digits = digits_of(each)
    units = escape(units_of(each))
    yield f"<h3>{name}</h3><p>{escape(each.target)}{_quiet(each.beside)}"
    yield f" <strong>{each.prediction:.{digits}f}</strong>{units} = baseline"
    yield f" {each.baseline:.{digits}f} <code class='quiet'>({escape(each.skeleton)})</code>"
    yield f" {_added(each.prediction - each.baseline, digits)}"
    if each.groups is not None:
        yield f"; {each.num_groups} group{'s' * (each.num_groups != 1)}"
        if each.group_spread.size and each.group_spread[0] == each.group_spread[0]:
            yield f", agreement of the models {each.agreement:.2f}"
    yield "</p>"
    if each.molecule_note:
        yield f"<p class='note'>{sentence(each.molecule_note)}</p>"
    yield "<div class='sides'><div class='picture'>"
    try:
        shown = "atoms" if each.groups is None else "groups"
        alt = f"structure of {each.smiles}, with what its {shown} contribute"
        yield small_svg(draw_svg(each, line=False), alt)
    except NoPictureError as error:
        yield sentence(str(error))
    yield "</div>"
    if each.groups is not None:
        yield "<div class='groups'><table><tr><th>group</th><th>fragment</th>"
        yield "<th>contribution</th><th></th></tr>"
        shares = each.group_contributions
        for group, colour in enumerate(group_colours(each)):
            share = float(shares[group])
            yield f"<tr><td>{swatch(colour)}{group}</td>"
            yield f"<td><code>{escape(each.fragments[group])}</code></td>"
            yield f"<td class='n'>{_signed(share, digits)}{_spread(each, group, digits)}</td>"
            yield f"{_bar(share, most)}</tr>"
        yield "</table></div>"
    yield "</div>"


def _spread(each: Explanation, group: int, digits: int) -> str:
    spread = float(each.group_spread[group])
    return "" if spread != spread else f" <span class='quiet'>± {spread:.{digits}f}</span>"


def _quiet(text: str) -> str:
    return f" <span class='quiet'>({escape(text)})</span>" if text else ""


def _and_where(shown: int, count: int, file: str) -> str:
    return "" if shown == count else f" {shown} of {count:,} are shown; {file} has more."


def _bar(value: float, most: float) -> str:
    side, width = "more" if value > 0 else "less", 50 * abs(value) / most
    return f"<td class='bar'><i class='{side}' style='width:{width:.1f}%'></i></td>"


def _added(value: float, digits: int) -> str:
    return added(value, digits).replace("-", "\N{MINUS SIGN}")


def _signed(value: float, digits: int) -> str:
    return signed(value, digits).replace("-", "\N{MINUS SIGN}")
