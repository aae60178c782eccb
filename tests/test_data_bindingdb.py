"""BindingDB: three header generations, every kind of value, and counts that add up."""

from __future__ import annotations

import gzip
import math
import zipfile

import numpy as np
import pytest

from dgl_gmpool.data import HUMAN_ATP_RECEPTORS, load_bindingdb
from dgl_gmpool.data import bindingdb_tsv as tsv
from dgl_gmpool.data.bindingdb import parse_value

TARGET, OTHER, SECOND = "Q99572", "P24941", "P51575"
BENZANILIDE = "O=C(Nc1ccccc1)c1ccc(Cl)cc1"  # 16 heavy atoms
CHAIN_PARTS = ("Recommended Name", "Entry Name", "Primary ID", "Secondary ID(s)")


def chain_columns(number: str = "", *, spaces: str = " ") -> list[str]:
    numbered = f" {number}" if number else ""
    return (
        [f"BindingDB Target Chain{spaces}Sequence{numbered}"]
        + [f"PDB ID(s) of Target Chain{numbered}"]
        + [f"UniProt (SwissProt) {part} of Target Chain{numbered}" for part in CHAIN_PARTS]
        + [f"UniProt (TrEMBL) {part} of Target Chain{numbered}" for part in CHAIN_PARTS]
    )


PLAIN = [
    "BindingDB Reactant_set_id",
    "Ligand SMILES",
    "BindingDB Ligand Name",
    "Ki (nM)",
    "IC50 (nM)",
    "Number of Protein Chains in Target (>1 implies a multichain complex)",
]


def header(generation: str) -> list[str]:
    if generation == "numbered":
        return PLAIN + chain_columns("1") + chain_columns("2") + chain_columns("3")
    if generation == "repeated":
        return PLAIN + 3 * chain_columns(spaces="  ")
    if generation == "beyond":
        return PLAIN + chain_columns(spaces="  ")
    raise AssertionError(generation)


GENERATIONS = ("numbered", "repeated", "beyond")


def chain(swissprot: str = "", *, trembl: str = "", secondary: str = "") -> list[str]:
    return ["MKV", "", "name", "NAME_HUMAN", swissprot, secondary, "", "", trembl, ""]


def row(smiles=BENZANILIDE, ic50="10", chains=None, *, ident="1", name="ligand", ki="") -> str:
    cells = [ident, smiles, name, ki, ic50, str(len(chains or [1]))]
    for one in chains if chains is not None else [chain(TARGET)]:
        cells += one
    return "\t".join(cells)


def write(path, rows, generation="numbered", end="\n"):
    lines = ["\t".join(header(generation)), *rows]
    path.write_bytes((end.join(lines) + end).encode())
    return path


def load(path, **options):
    options.setdefault("accessions", [TARGET])
    options.setdefault("min_atoms", None)
    return load_bindingdb(path, progress=False, **options)


def counts(table_or_report) -> dict[str, int]:
    report = getattr(table_or_report, "report", table_or_report)
    return dict(report.counts)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_accession_is_found_in_every_chain_of_every_generation(tmp_path, generation):
    rows = [
        row("CCO", chains=[chain(TARGET)], ident="first chain"),
        row("CCN", chains=[chain(OTHER), chain(TARGET)], ident="second chain"),
        row("CCC", chains=[chain(OTHER), chain(OTHER), chain(TARGET)], ident="third chain"),
        row("CCF", chains=[chain(OTHER), chain(trembl=TARGET)], ident="TrEMBL"),
        row("CCCl", chains=[chain(OTHER)], ident="other"),
        row("CCBr", chains=[chain(OTHER, secondary=TARGET)], ident="secondary ID only"),
        row("CCI", chains=[chain(OTHER)], ident="in a name", name=TARGET),
        row("CCS", chains=[chain(OTHER)], ident="within a name", name=f"x{TARGET}x"),
        row("CCP", chains=[chain(OTHER), ["x"] * 4 + [""]], ident="short chain"),
        row("CC=O", chains=[chain(OTHER), chain(OTHER, secondary=TARGET)], ident="secondary, 2nd"),
    ]
    table = load(write(tmp_path / "a.tsv", rows, generation))
    assert table.ids == ("first chain", "second chain", "third chain", "TrEMBL")
    assert counts(table)["rows in the file"] == len(rows)
    assert table.report.left_out == {"another target": 6}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_packing_and_line_ends_change_nothing(tmp_path, generation, end):
    rows = [row(f"C{'C' * i}O", str(i + 1), ident=str(i)) for i in range(20)]
    plain = write(tmp_path / "a.tsv", rows, generation, end)
    zipped, gzipped = tmp_path / "a.zip", tmp_path / "a.tsv.gz"
    gzipped.write_bytes(gzip.compress(plain.read_bytes()))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(plain, "BindingDB_All.tsv")
        archive.writestr("readme.md", "hello")
    last_end_missing = tmp_path / "b.tsv"
    last_end_missing.write_bytes(plain.read_bytes()[: -len(end)])
    with_mark = tmp_path / "c.tsv"
    with_mark.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    wanted = load(plain)
    for path in (zipped, gzipped, last_end_missing, with_mark):
        table = load(path)
        assert table.fingerprint() == wanted.fingerprint()
        assert table.report.counts == wanted.report.counts
        np.testing.assert_array_equal(table.targets, wanted.targets)


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 1 << 20])
def test_blocks_may_end_anywhere(tmp_path, monkeypatch, block):
    rows = [row(f"C{'C' * i}O", str(i + 1), ident=str(i)) for i in range(12)]
    rows[5:5] = ["", "\t\t", ""]
    path = write(tmp_path / "a.tsv", rows)
    monkeypatch.setattr(tsv, "BLOCK", block)
    table = load(path)
    assert table.ids == tuple(str(i) for i in range(12))
    assert counts(table)["rows in the file"] == 15
    assert table.report.left_out == {"blank row": 3}


@pytest.mark.parametrize("blank_lines", [0, 1, 2, 5])
@pytest.mark.parametrize("block", [3, 1 << 20])
def test_blank_lines_at_the_end_are_counted(tmp_path, monkeypatch, blank_lines, block):
    monkeypatch.setattr(tsv, "BLOCK", block)
    table = load(write(tmp_path / "a.tsv", [row("CCO")] + [""] * blank_lines))
    assert counts(table)["rows in the file"] == 1 + blank_lines
    assert table.report.left_out.get("blank row", 0) == blank_lines


def test_every_kind_of_value_is_counted(tmp_path):
    rows = [
        row("CCO", " 1e+3 ", ident="spaces and exponent"),
        row("CCN", "1e-5", ident="negative exponent"),
        row("CCC", ">10000"),
        row("CCC", "<0.1"),
        row("CCC", ">= 5"),
        row("CCC", "0"),
        row("CCC", "-3"),
        row("CCC", ""),
        row("CCC", "  "),
        row("CCC", "~12"),
        row("CCC", "12-15", ident="a range"),
        row("CCC", "1e999", ident="infinite"),
        row("", "5"),
        row("nan", "5"),
        row("C1CC", "5", ident="open ring"),
        row("CCO.Cl", "5"),
        row("C(C)(C)(C)(C)C", "5", ident="five bonds"),
        row("C" * 41, "5"),
        row("OCC", "10", ident="CCO again"),
        row("CCO", "100", ident="CCO once more"),
        "9\tCCO",
        row("CCO", "7", chains=[chain(OTHER)]),
    ]
    table = load(write(tmp_path / "a.tsv", rows), min_atoms=3)
    assert table.report.left_out == {
        "another target": 2,  # a line cut short has no target either
        "no IC50": 2,
        "a value that is not a number": 2,
        "an approximate value ('~')": 1,
        "a bound ('>' or '<') on the IC50": 3,
        "a value of zero or below": 2,
        "blank SMILES": 2,
        "not a SMILES": 1,
        "more than one fragment": 1,
        "more than 40 heavy atoms": 1,
        "refused by RDKit": 1,
        "more measurements of one molecule (median)": 2,
    }
    assert sum(table.report.left_out.values()) + len(table) == len(rows)
    assert {ident for ident, _, _ in table.report.refused} == {
        "a range",
        "infinite",
        "open ring",
        "five bonds",
    }
    assert table.canonical == ("CCO", "CCN")
    # The median of 6, 8 and 7, not the mean in nM (6.43); 1e-5 nM is 14.
    np.testing.assert_allclose(table.targets[:, 0], [7.0, 14.0])


def test_bounds_can_be_used_and_are_noted(tmp_path):
    path = write(tmp_path / "a.tsv", [row("CCO", ">1000"), row("CCN", "10")])
    table = load(path, bounds="as_measured")
    np.testing.assert_allclose(table.targets[:, 0], [6.0, 8.0])
    assert "1 values are bounds used as if" in table.report.notes[0]


def test_other_measures(tmp_path):
    path = write(tmp_path / "a.tsv", [row("CCO", "", ki="1")])
    table = load(path, measure="Ki")
    assert (table.units, table.task_names, table.targets[0, 0]) == ("pKi", ("pKi",), 9.0)
    with pytest.raises(ValueError, match=r"no column 'EC50 \(nM\)'.*'IC50 \(nM\)'"):
        load(path, measure="EC50")


def test_quotes_are_plain_characters(tmp_path):
    rows = [row("CCO", name='5" of "x'), row("CCN", name='"'), row("CCC", name="'")]
    assert len(load(write(tmp_path / "a.tsv", rows))) == 3


def test_names_that_are_not_utf8_do_not_matter(tmp_path):
    path = tmp_path / "a.tsv"
    write(path, [row("CCO", name="NAME")])
    path.write_bytes(path.read_bytes().replace(b"NAME\t", b"\xb5\xff\t"))
    assert len(load(path)) == 1


@pytest.mark.parametrize("make", ["gz", "zip"])
def test_a_torn_file_is_an_error_that_says_so(tmp_path, make):
    rng = np.random.default_rng(0)
    rows = [row(name=rng.bytes(40).hex()) for _ in range(2000)]
    plain = write(tmp_path / "a.tsv", rows)
    path = tmp_path / f"a.{make}"
    if make == "gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(plain, "a.tsv")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"not a complete .* again"):
        load(path)
    damaged = bytearray(whole)
    middle = len(whole) // 2
    damaged[middle : middle + 50] = bytes(50)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match="not a complete"):
        load(path)


def test_a_zip_with_several_tables_asks_which(tmp_path):
    plain = write(tmp_path / "a.tsv", [row("CCO")])
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(plain, "one.tsv")
        archive.write(plain, "two.tsv")
    with pytest.raises(ValueError, match=r"2 tables \(one.tsv, two.tsv\).*member="):
        load(path)
    assert len(load(path, member="two.tsv")) == 1
    with pytest.raises(ValueError, match=r"no member 'three\.tsv'"):
        load(path, member="three.tsv")


def test_what_is_no_bindingdb_file(tmp_path):
    path = tmp_path / "a.tsv"
    for content in (b"", b"\n", b"smiles,value\nCCO,1\n", b"a\tb\n1\t2\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no BindingDB header"):
            load(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.tsv"):
        load(tmp_path / "missing.tsv")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)


def test_a_file_without_lines_is_refused_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tsv, "BLOCK", 100)
    monkeypatch.setattr(tsv, "LONGEST_LINE", 5000)
    path = tmp_path / "a.tsv"
    path.write_bytes(b"x" * 20_000)
    with pytest.raises(ValueError, match="no tab-separated text"):
        load(path)
    write(path, ["y" * 20_000])
    with pytest.raises(ValueError, match="no tab-separated text"):
        load(path)


@pytest.mark.parametrize("rows", [[], [row("CCO", chains=[chain(OTHER)])], [row("CCO", ">5")]])
def test_nothing_left_is_an_error_with_the_report(tmp_path, rows):
    with pytest.raises(ValueError, match=r"no molecule is left(.|\n)*rows in the file"):
        load(write(tmp_path / "a.tsv", rows))


@pytest.mark.parametrize(
    ("accessions", "error"),
    [
        ("Q99572", TypeError),
        ([], ValueError),
        (["P2RX7_HUMAN"], ValueError),
        (["Q99572-2"], ValueError),
        (["P2RX7"], ValueError),
        ([7], ValueError),
    ],
)
def test_accessions_are_checked(tmp_path, accessions, error):
    with pytest.raises(error, match="accession"):
        load(write(tmp_path / "a.tsv", [row()]), accessions=accessions)


def test_default_targets_are_human_and_sizes_are_limited(tmp_path):
    assert len(set(HUMAN_ATP_RECEPTORS)) == 9
    assert not {"Q64663"} & set(HUMAN_ATP_RECEPTORS)  # rat P2X7
    rows = [row("C" * n, ident=str(n), chains=[chain(SECOND)]) for n in (19, 20, 40, 41)] + [
        row("C" * 30, ident="rat", chains=[chain("Q64663")])
    ]
    table = load_bindingdb(write(tmp_path / "a.tsv", rows), progress=False)
    assert table.ids == ("20", "40")
    assert "-1  left out: another target" in str(table.report)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", ("", 5.0)),
        ("=5", ("", 5.0)),
        (">>5", (">", 5.0)),
        ("< .5", ("<", 0.5)),
        ("5.", ("", 5.0)),
        ("1E4", ("", 1e4)),
        ("-2", ("", -2.0)),
        ("", None),
        (">", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("1,000", None),
        ("5 nM", None),
    ],
)
def test_parse_value(text, expected):
    assert parse_value(text) == expected


def test_potency_is_nine_minus_log_nanomolar(tmp_path):
    table = load(write(tmp_path / "a.tsv", [row("CCO", "250.7")]))
    assert table.targets[0, 0] == 9 - math.log10(250.7)
    assert (table.kind, table.units) == ("regression", "pIC50")


def test_nothing_left_says_what_chose_the_rows_in_both_interfaces(tmp_path):
    said = r"\(Q64663; accessions=, --accession\), the measure \(IC50; measure=, --measure\)"
    with pytest.raises(ValueError, match=said):
        load(write(tmp_path / "a.tsv", [row()]), accessions=["Q64663"])


def test_misspelt_options_name_the_closest(tmp_path):
    path = write(tmp_path / "a.tsv", [row()])
    with pytest.raises(ValueError, match="Did you mean 'drop'"):
        load(path, bounds="dropp")
    with pytest.raises(ValueError, match="min_atoms=41 is above max_atoms=40"):
        load(path, min_atoms=41)
