"""Numbers of the pages are those of the stored results (``docs/stored_numbers.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.stored_numbers import ROOT, pages, without_source, written_again


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_numbers_are_those_of_the_stored_results(page: Path):
    text = page.read_text(encoding="utf-8")
    assert text == written_again(text), "python -m docs.stored_numbers writes them again"
    assert without_source(text) == [], (
        "numbers without a source: put <!--= EXPRESSION--> behind a measured one (see "
        "docs/stored_numbers.py), or name it in <!--given ...--> where no run gave it"
    )


def test_a_number_that_differs_is_written_again():
    shown = "R2 0.86<!--= paying_r2('planted groups')-->, +1.0<!--= 0.25-->, 1,000<!--= 2512-->"
    assert written_again(shown) == (
        "R2 0.97<!--= paying_r2('planted groups')-->, +0.2<!--= 0.25-->, 2,512<!--= 2512-->"
    )


def test_rows_of_a_table_are_those_of_its_source():
    head = "<!--table [['a', '1'], ['b', '2']]-->\n| name | value |\n|:--|--:|\n"
    after = "\nMore, and | no table.\n"
    for body in ("", "| a | 1 |\n", "| a | 1 |\n| b | 3 |\n| c | 4 |\n"):
        assert written_again(head + body + after) == head + "| a | 1 |\n| b | 2 |\n" + after


def test_an_expression_that_fails_names_itself():
    with pytest.raises(ValueError, match="<!-- nothing\\(\\) -->: NameError"):
        written_again("0.1<!--= nothing()-->")


@pytest.mark.parametrize(
    "text",
    [
        "R2 of 0.87",
        "12 ms a step",
        "97 % of them",
        "1e-7 off",
        "3,500 MiB",
        "1.5 % here",
        "| 0.31 |",
    ],
)
def test_a_number_without_a_source_is_found(text):
    assert len(without_source(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "DGL 2.1.0 and 150 molecules",
        "`dropout=0.15`",
        "```\n0.5\n```\n",
        "[there](results/0.1/a.md)",
        "0.7<!--= 0.7-->",
        "0.7 of a node <!--given 0.7-->",
        "97 % <!--given 0.7, 97 %-->",
    ],
)
def test_code_versions_and_given_numbers_need_none(text):
    assert without_source(text) == []
