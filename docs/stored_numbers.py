"""Numbers of the pages, from stored results: ``python -m docs.stored_numbers`` writes them again.

In Markdown, invisible where it is read; EXPRESSION is Python over the functions of
``docs/stored_tables.py`` and ``docs/stored_benchmarks.py``:

``0.87<!--= EXPRESSION-->``
    The number before it is the value, with as many decimals as it is written with.
``<!--table EXPRESSION-->``
    The rows of the table below it.
``<!--given 0.7, 97 %-->``
    Numbers of the page that no run gave: definitions, goals, what others published.

``tests/test_docs_numbers.py`` finds numbers that differ from their source, and those without one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docs import stored_benchmarks, stored_tables

ROOT = Path(__file__).parent.parent

_MARK = re.compile(
    r"(?P<shown>[+-]?\d[\d,]*(?:\.\d+)?)(?P<mark><!--=(?P<value>.*?)-->)"
    r"|(?P<head><!--table(?P<rows>.*?)-->\n(?:\|[^\n]*\n){2})(?:\|[^\n]*\n)*",
    re.DOTALL,
)
_GIVEN = re.compile(r"<!--given(.*?)-->", re.DOTALL)
#: Code, comments and the addresses of links: no prose.
_APART = re.compile(r"^```.*?^```|`[^`\n]+`|<!--.*?-->|\]\([^)]*\)", re.DOTALL | re.MULTILINE)
#: A number that looks measured: with decimals (no version), an exponent or a unit.
_MEASURED = re.compile(
    r"(?<![\w.,])\d[\d,]*(?:(?:\.\d+(?!\d|\.\d))?(?: (?:%|ms|[KMG]i?B|seconds|minutes|hours)(?!\w)"
    r"|e-?\d+)|\.\d+(?!\d|\.\d))"
)


def like(shown: str, value: float) -> str:
    """The value with the decimals and the sign that the shown number has.

    Examples
    --------
    >>> like("0.87", 0.8654), like("1,000", 2512), like("+1.0", -0.04)
    ('0.87', '2,512', '-0.0')
    """
    sign = "+" if shown.startswith("+") else ""
    return f"{value:{sign},.{len(shown.partition('.')[2])}f}"


def written_again(text: str) -> str:
    """A page with every marked number and table as its source has it now.

    Raises
    ------
    ValueError
        An expression that cannot be evaluated.
    """

    def again(found: re.Match[str]) -> str:
        expression = (found["value"] or found["rows"]).strip()
        try:
            value = eval(expression, vars(stored_benchmarks) | vars(stored_tables))
        except Exception as error:
            raise ValueError(f"<!-- {expression} -->: {error!r}") from error
        if found["shown"]:
            return like(found["shown"], value) + found["mark"]
        lines = (row if isinstance(row, str) else " | ".join(row) for row in value)
        return found["head"] + "".join(f"| {line} |\n" for line in lines)

    return _MARK.sub(again, text)


def without_source(text: str) -> list[str]:
    """Numbers with decimals or units that are neither marked nor given.

    Examples
    --------
    >>> without_source("0.7<!--= rows--> and 0.8, 5 % of `0.1` <!--given 5 %-->")
    ['0.8']
    """
    given = {each.strip() for found in _GIVEN.findall(text) for each in re.split(r",\s", found)}
    prose = _APART.sub(" ", _MARK.sub("", text))
    return [each for each in _MEASURED.findall(prose) if each not in given]


def pages() -> list[Path]:
    """README.md and every page of the site; not the stored results."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(page for page in found if not {"_build", "results"} & set(page.parts))


def main() -> int:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        again = written_again(text)
        if again != text:
            page.write_text(again, encoding="utf-8")
            print(f"written again: {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
