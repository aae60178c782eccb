"""Rows in are rows out: separators, quotes, headers and everything that could hide a row."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgl_gmpool.data.delimited_text import DelimitedText

WORDS = st.text(st.sampled_from("ab\"'#@1 "), max_size=6)


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def cells_of(path, **options):
    return [row.cells for row in DelimitedText(path, **options)]


def read(path):
    """``(text, "")``, or ``(None, why not)``."""
    try:
        return DelimitedText(path), ""
    except ValueError as error:
        return None, str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@given(st.lists(st.lists(WORDS.map(str.strip), min_size=3, max_size=3), max_size=8))
def test_tab_separated_text_has_a_row_for_each_line(folder, rows):
    text = "".join("\t".join(row) + "\n" for row in [["a", "b", "c"], *rows])
    found = DelimitedText(write(folder / "t.tsv", text))
    assert [row.raw for row in found] == rows
    assert [row.number for row in found] == list(range(2, len(rows) + 2))
    # And comes out as it went in.
    assert "".join(map(found.line, [found.raw_header, *(row.raw for row in found)])) == text


@given(
    st.lists(st.lists(st.text(st.sampled_from('ab",;\n '), max_size=5), min_size=3, max_size=3),
             min_size=1, max_size=6),
)  # fmt: skip
def test_what_a_csv_writer_wrote_is_read_or_named_but_never_lost(folder, rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["x", "y", "z"], *rows])
    path = write(folder / "t.csv", out.getvalue())
    found, said = read(path)
    if found is not None:
        assert [row.cells for row in found] == rows
    else:
        # Text of several lines with as many commas in each as a row has is beyond telling apart.
        assert "looks like a row of its own" in said
        assert any(cell.count("\n") and cell.count(",") > 1 for row in rows for cell in row)


@given(st.integers(2, 8), st.integers(1, 4), st.data())
def test_a_stray_quote_never_swallows_a_row(folder, height, width, data):
    table = [[f"r{i}c{j}" for j in range(width)] for i in range(height)]
    lines = [list(row) for row in table]
    opened, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    lines[opened][column] = '"' + lines[opened][column]
    closed = data.draw(st.integers(opened, height))
    if closed < height:
        at = data.draw(st.integers(0, width - 1))
        lines[closed][at] += data.draw(st.sampled_from(['"', '"x']))
    header = ",".join(f"h{j}" for j in range(width))
    path = write(folder / "t.csv", "\n".join([header, *map(",".join, lines)]) + "\n")
    found, said = read(path)
    if found is None:
        assert f"row {opened + 2}: a quote" in said
    else:
        assert len(found) == height


def test_quotes_in_tab_separated_text_belong_to_their_cell(tmp_path):
    text = 'name\tsmiles\n"abc\tCCO\nx"y\tCCN\n"a, b"\t"CC"\n"a ""b"""\tC\n'
    assert cells_of(write(tmp_path / "t.tsv", text)) == [
        ['"abc', "CCO"], ['x"y', "CCN"], ["a, b", "CC"], ['a "b"', "C"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ("a,CCO,1\nb,CC,\"5'-phosphate\nc,C,2\nd,N,3\n", 3),
        ('a,CCO,"alpha\nb,CC,2\nc,C,gamma"\n', 2),
        ('a,CCO,"alpha\nb,CC,beta"\n', 2),
        ('"a,CCO,1\nb",CC,2\n', 2),
        ('a,CCO,"abc\nb",CC,2\n', 2),
        ('a,CCO,1\nb,CC,"end', 3),
        ('a,CCO,"abc\nb,CC,"d, e"\n', 2),
    ],
)
def test_the_row_where_a_quote_opened_is_named(tmp_path, rows, number):
    path = write(tmp_path / "t.csv", "name,smiles,y\n" + rows)
    with pytest.raises(ValueError, match=rf"row {number}: a quote .* Take the quote out"):
        DelimitedText(path)


@pytest.mark.parametrize(
    "text",
    ['smiles,note\nC,"two\nlines"\nCC,x\n', 'note,smiles\n"two\nlines",C\nx,CC\n',
     'note,smiles,y\n"first, with a comma\nsecond, too, and more",C,1\nx,CC,2\n',
     'smiles,note\r\nC,"a\r\n\r\nb"\r\nCC,x\r\n',
     'smiles,note\nC,"one, two\nthree, four\nfive"\nCC,x\n'],
)  # fmt: skip
def test_texts_of_several_lines_are_cells(tmp_path, text):
    found = DelimitedText(write(tmp_path / "t.csv", text))
    assert [row.number for row in found] == [2, 3]
    assert [found.wrong_length(row) for row in found] == ["", ""]


@pytest.mark.parametrize(
    ("text", "above", "first"),
    [
        ("sep=,\nname,smiles\na,C\n", 0, 2),
        ("sep=;\nname;smiles\na;C\n", 0, 2),
        ('"sep=;"\r\nname;smiles\r\na;C\r\n', 0, 2),
        ("sep=\t\nname\tsmiles\na\tC\n", 0, 2),
        ("# by a tool\nname,smiles\na,C\n", 1, 3),
        ("# by a tool, of 3 parts, with commas\n\nname,smiles\na,C\n", 2, 4),
        ("Project X,,\n,,\nname,smiles,y\na,C,1\n", 2, 4),
        ("name|smiles\na|C\n", 0, 2),
    ],
)
def test_the_header_is_found(tmp_path, text, above, first):
    found = DelimitedText(write(tmp_path / "t.csv", text), columns=["smiles"])
    assert found.rows_above == above
    assert [(row.number, row.cells[:2]) for row in found] == [(first, ["a", "C"])]
    # Written again it is the same text, and is found again.
    again = found.above + "".join(map(found.line, [found.raw_header, *(r.raw for r in found)]))
    assert again == text.replace("\r\n", "\n") or "\r" in text
    assert len(DelimitedText(write(tmp_path / "u.csv", again), columns=["smiles"])) == 1


def test_a_header_below_other_rows_of_data_is_not_taken_for_one(tmp_path):
    """Two files joined: the first row counts, and the second header is a row."""
    path = write(tmp_path / "t.csv", "Name,SMILES\na,C\nname,smiles\nb,CC\n")
    with pytest.raises(ValueError, match="Did you mean 'SMILES'"):
        DelimitedText(path, columns=["smiles"]).column("smiles")


def test_a_misspelt_column_is_looked_for_among_the_right_ones(tmp_path):
    path = write(tmp_path / "t.csv", "smiles,value (a;b;c;d)\nC,1\n")
    with pytest.raises(ValueError, match=r"no column 'valu'.*Columns: smiles, value \(a;b;c;d\)"):
        DelimitedText(path, columns=["smiles", "valu"]).column("valu")


def test_a_table_without_a_header_says_so(tmp_path):
    path = write(tmp_path / "t.csv", "a,CC(=O)Oc1ccccc1,1\nb,CC,2\n")
    with pytest.raises(ValueError, match=r"first row looks like data .*row of column names above"):
        DelimitedText(path, columns=["smiles"]).column("smiles")


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("CCO ethanol\nc1ccccc1 benzene ring\nC\n",
         [["CCO", "ethanol"], ["c1ccccc1", "benzene ring"], ["C", ""]]),
        ("CCO |r| ethanol\nCC |w:1,r|\n", [["CCO |r|", "ethanol"], ["CC |w:1,r|", ""]]),
        ("CCO\tethanol\t5\nC\tmethane\t6\n", [["CCO", "ethanol", "5"], ["C", "methane", "6"]]),
        ("smiles name\nCCO ethanol\n", [["CCO", "ethanol"]]),
        ("smiles\tname\tlogS\nCCO\tethanol\t1\n", [["CCO", "ethanol", "1"]]),
        ("CCO\n\nCC\n", [["CCO", ""], ["", ""], ["CC", ""]]),
    ],
)  # fmt: skip
def test_smiles_files(tmp_path, text, cells):
    found = DelimitedText(write(tmp_path / "t.smi", text), columns=["smiles"])
    assert [row.cells for row in found] == cells
    assert found.column("smiles") == 0
    assert found.header[1] == "name"


def test_long_cells_and_the_limit_of_the_process(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "t.csv", f"a,b\n{'x' * 300_000},1\n")
    assert len(cells_of(path)[0][0]) == 300_000
    assert csv.field_size_limit() == before
    # Nor are they in the way where the header is looked for.
    with pytest.raises(ValueError, match="no column 'c'"):
        DelimitedText(path, columns=["c"]).column("c")


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_a_pipe_is_read_once(tmp_path, pack):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = pack(b"smiles;y\nC;1\nCC;2\n")
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    found = DelimitedText(pipe, columns=["smiles"])
    writer.join()
    assert [row.cells for row in found] == [["C", "1"], ["CC", "2"]]


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"smiles\nC\n")))
    assert cells_of("-", columns=["smiles"]) == [["C"]]


def test_a_blank_cell_too_many_may_mean_that_all_are_shifted(tmp_path):
    """A decimal comma parts a number, and the last column is blank: 0,5 must not become 0."""
    found = DelimitedText(write(tmp_path / "t.csv", "smiles,y,note\nC,0,5,\nC,1,x\nC\n"))
    assert [found.wrong_length(row) for row in found] == [
        "4 cells where the header has 3",
        "",
        "1 cells where the header has 3",
    ]


def test_files_that_are_no_text_name_the_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n3,\xb5\n")
    with pytest.raises(ValueError, match=r"not UTF-8 text \(line 3, byte 10"):
        DelimitedText(path)
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ValueError, match="a spreadsheet or zip file; save the table as CSV"):
        DelimitedText(path)
    for packed in (bz2.compress(b"smiles\n"), lzma.compress(b"smiles\n"), b"\x28\xb5\x2f\xfd\x04"):
        path.write_bytes(packed)
        with pytest.raises(ValueError, match="unpack it, or pack it with gzip"):
            DelimitedText(path)
    for code in ("utf-16", "utf-16-be"):
        path.write_bytes("\ufeffsmiles\ty\nC\t1\n".encode(code))
        with pytest.raises(ValueError, match="UTF-16, as Excel's 'Unicode Text'; save it as UTF-8"):
            DelimitedText(path)


def test_a_header_may_have_line_breaks_in_any_column(tmp_path):
    text = '"remark\nof two lines",smiles,y\nx,C,1\nz,CC,2\n'
    found = DelimitedText(write(tmp_path / "t.csv", text), columns=["smiles"])
    assert (found.rows_above, found.header[0]) == (0, "remark\nof two lines")
    assert [row.number for row in found] == [2, 3]
    titled = 'Project "X"\n"a title\nof two lines"\n' + text
    found = DelimitedText(write(tmp_path / "u.csv", titled), columns=["smiles"])
    assert found.rows_above == 2
    assert [(row.number, row.cells) for row in found] == [
        (4, ["x", "C", "1"]),
        (5, ["z", "CC", "2"]),
    ]
    again = found.above + "".join(map(found.line, [found.raw_header, *(r.raw for r in found)]))
    assert again == titled


def test_a_quote_in_a_title_takes_in_no_header(tmp_path):
    found = DelimitedText(
        write(tmp_path / "t.csv", '"Series X\nname,smiles\na,C\n'), columns=["smiles"]
    )
    assert [row.cells for row in found] == [["a", "C"]]


def test_letters_written_in_two_ways_are_one(tmp_path):
    composed, apart = "L\u00f6s", "Lo\u0308s"
    path = write(tmp_path / "t.csv", f"# of today\nsmiles,{apart}\nC,1\n")
    assert DelimitedText(path, columns=["smiles", composed]).column(composed) == 1
