"""A cached table is the loader's to the last value, and is never taken for another."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import small_dataset, with_small_auxiliary

from dgl_gmpool.cli import main
from dgl_gmpool.data import MoleculeTable, load_csv
from dgl_gmpool.data import table_cache as module
from dgl_gmpool.data.features import Features
from dgl_gmpool.data.table_cache import cached_table, from_plain, to_plain

ODD = 'smiles,y,name\nCCO,1,\u03b2-\U0001f600\nC1CC,2,b\n,3,c\nCC,>4,"d\n,e"\nCN,1e-300,\nC,0.1,C\n'


@pytest.fixture
def odd_csv(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(ODD, encoding="utf-8")
    return path


def loader(path, calls, **options):
    def load():
        calls.append(1)
        return load_csv(
            path, smiles_column="smiles", target_columns="y", id_column="name", **options
        )

    return load


def assert_same_table(one: MoleculeTable, other: MoleculeTable) -> None:
    for name in MoleculeTable.__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, np.ndarray):
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            assert mine.tobytes() == theirs.tobytes()
        elif name in ("auxiliary", "features"):
            assert [each.fingerprint() for each in mine] == [each.fingerprint() for each in theirs]
        else:
            assert (type(mine), mine) == (type(theirs), theirs)


def test_a_table_comes_back_as_it_was(tmp_path, odd_csv):
    calls = []
    wanted = loader(odd_csv, [])()
    for _ in range(3):
        found = cached_table(loader(odd_csv, calls), tmp_path / "c", {"csv": str(odd_csv)})
        assert_same_table(found, wanted)
    assert len(calls) == 1
    # Without groups of its own, a table holds its molecules' SMILES once.
    assert found.groups[0] is found.canonical[0]


def test_every_kind_of_table_comes_back(tmp_path):
    table = with_small_auxiliary(small_dataset("classification", tasks=3, global_feats=True)).table
    refused = (("row 2", "C1CC", "no"), ("row 3", "\ud800", ""))
    values = np.linspace(0, 1, 2 * len(table), dtype=np.float32).reshape(-1, 2)
    table = replace(
        table,
        report=replace(table.report, refused=refused, notes=("one", "")),
        units="mM",
        features=(Features("column", ("pH", "T"), values),),
        weights=np.arange(len(table)) / 2,
    )
    for each in (table, table.take([5]), table.take([])):
        assert_same_table(
            cached_table(lambda table=each: table, tmp_path, {"rows": len(each)}), each
        )
        assert_same_table(cached_table(pytest.fail, tmp_path, {"rows": len(each)}), each)


def test_other_files_options_code_and_versions_are_other_tables(tmp_path, odd_csv, monkeypatch):
    calls, folder = [], tmp_path / "c"

    def load(**options):
        cached_table(loader(odd_csv, calls), folder, {"csv": [str(odd_csv)], **options})
        return len(calls)

    assert [load(), load()] == [1, 1]
    assert [load(kind="regression"), load(kind="regression")] == [2, 2]
    odd_csv.write_text(ODD.replace("CCO", "CCN"), encoding="utf-8")
    assert [load(), load()] == [3, 3]
    monkeypatch.setattr(module, "_code_hash", lambda: "changed")
    assert [load(), load()] == [4, 4]
    monkeypatch.setattr("rdkit.__version__", "1999.1.1")
    assert [load(), load()] == [5, 5]
    assert len(list(folder.iterdir())) == 5


def change(path, **parts):
    torch.save({**torch.load(path, weights_only=True), **parts}, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("smiles"),
        lambda path: change(path, fingerprint="0"),
        lambda path: change(path, table={"text": "[]", "arrays": []}),
        lambda path: change(path, table={"text": '{"record": "Popen"}', "arrays": []}),
    ],
)
def test_a_damaged_file_is_reported_and_written_again(tmp_path, odd_csv, caplog, damage):
    calls, folder = [], tmp_path / "c"
    cached_table(loader(odd_csv, calls), folder, {})
    (file,) = folder.iterdir()
    damage(file)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = cached_table(loader(odd_csv, calls), folder, {})
    assert_same_table(found, loader(odd_csv, [])())
    assert len(calls) == 2
    (record,) = caplog.records
    assert "reading the table again" in record.getMessage()


def test_what_is_no_plain_value_is_refused():
    for value in (object(), ({1},), np.array(["a"]), np.array([None])):
        with pytest.raises(TypeError, match="no plain value"):
            to_plain(value)
    for value in ((), ((),), ((), ()), (1, "a", None, (2.5, True)), (("a", 1), ("b", 2)), ("",)):
        assert from_plain(to_plain(value)) == value


def test_train_takes_the_table_from_the_cache(tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.csv"
    path.write_text("smiles,y\n" + "".join(f"{'C' * n},{n}\n" for n in range(1, 13)))
    command = ["train", "csv", "--csv", str(path), "--target", "y", "--hidden", "8", "--steps", "1",
               "--epochs", "1", "--folds", "2", "--cache", str(tmp_path / "c"), "--no-report",
               "--readout", "mean", "--baselines", "none"]  # fmt: skip
    assert main([*command, "--output", str(tmp_path / "1")]) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("dgl_gmpool.cli.datasets.load_csv", pytest.fail)
    assert main([*command, "--output", str(tmp_path / "2")]) == 0
    again = capsys.readouterr().out
    assert again.split("run 1 of 1")[0] == first.split("run 1 of 1")[0]
    for name in ("test_predictions.csv", "splits.json"):
        texts = {(next((tmp_path / run).glob(f"*/{name}"))).read_text() for run in "12"}
        assert len(texts) == 1


def test_a_pipe_is_never_cached(tmp_path, monkeypatch):
    import io
    import sys

    command = ["train", "csv", "--csv", "-", "--target", "y", "--hidden", "8", "--steps", "1",
               "--epochs", "1", "--folds", "2", "--cache", str(tmp_path / "c"), "--no-report",
               "--readout", "mean", "--baselines", "none"]  # fmt: skip
    for run, shift in (("1", 0), ("2", 5)):
        text = "smiles,y\n" + "".join(f"{'C' * n},{n + shift}\n" for n in range(1, 13))
        stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main([*command, "--output", str(tmp_path / run)]) == 0
    written = {next((tmp_path / run).glob("*/test_predictions.csv")).read_text() for run in "12"}
    assert len(written) == 2
    assert not list((tmp_path / "c").glob("table-*"))
