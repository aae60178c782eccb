"""The page a training ends with: its numbers, one file, and no way to fail a finished training."""

from __future__ import annotations

import base64
import csv
import html
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from test_recipes import SMALL, own_table
from test_training_run import splits_of
from training_data import rows_of, small_dataset, small_options, with_targets

from dgl_gmpool.cli import main
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS
from dgl_gmpool.report import facts, plots, write_report
from dgl_gmpool.report import novelty as novelty_module
from dgl_gmpool.report.groups import _typical
from dgl_gmpool.report.mistakes import Bins, _by
from dgl_gmpool.report.novelty import novelty
from dgl_gmpool.report.run_data import PredictedRows, RunData
from dgl_gmpool.training import TrainingConfig, train_run

WITH_PAGE = [flag for flag in SMALL if flag != "--no-report"]


def trained(folder: Path, dataset=None, **options) -> Path:
    dataset = small_dataset() if dataset is None else dataset
    config = TrainingConfig(**small_options(**options))
    return train_run(dataset, splits_of(dataset), config, folder, progress=False).folder


class Page(HTMLParser):
    """Text below each heading, tables, and what would need a network."""

    VOID = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.parts: dict[str, str] = {"": ""}
        self.images: list[dict[str, str | None]] = []
        self.drawn: list[str | None] = []
        self.outside: list[str] = []
        self._open: list[str] = []
        self._title = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "h2":
            self._title = ""
            self.parts["\n"] = ""
        if tag in ("script", "link", "iframe"):
            self.outside.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "svg":
            self.drawn.append(dict(attrs).get("aria-label"))
        for name, value in attrs:
            if name in ("src", "href") and not str(value).startswith(("data:", "#")):
                self.outside.append(str(value))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "h2":
            self._title = data
            self.parts[data] = ""
        elif not {"style", "svg"} & set(self._open):
            self.parts[self._title] += data + " "


SECTIONS = [
    "Scores", "Measured and predicted", "How sure", "Errors by how new a molecule is",
    "Worst molecules", "Groups of a few molecules", "Learning curves",
    "Data, and what was left out", "Splits", "How it was made",
]  # fmt: skip


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = trained(tmp_path_factory.mktemp("report") / "run <1>")
    path, missing = write_report(folder)
    assert missing == []
    return path


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    path, missing = write_report(
        trained(folder, small_dataset("classification", tasks=3), readout="mean")
    )
    assert missing == []
    return path


@pytest.mark.parametrize("kind", ["regression", "several"])
def test_one_file_with_every_part(kind, request):
    page = Page(request.getfixturevalue(kind))
    assert page.outside == []
    assert [title for title in page.parts if title.strip()] == SECTIONS
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in page.images)
    assert page.drawn
    assert all(str(alt).startswith("structure of ") for alt in page.drawn)
    text = " ".join(page.parts.values())
    assert "could not be made" not in text
    assert "nan" not in re.findall(r"[a-z]+", text)


def test_scores_are_those_of_the_run(regression):
    metrics = json.loads((regression.parent / "metrics.json").read_text())
    page = Page(regression)
    for fold in metrics["folds"]:
        assert f"{fold['test']['rmse']:.3f}" in page.parts["Scores"]
        assert f"{fold['valid']['r2']:.3f}" in page.parts["Scores"]
    for value in (metrics["test"]["rmse"]["mean"], metrics["ensemble_test"]["rmse"]):
        assert f"{value:.3f}" in page.parts[""]


def test_the_worst_molecules_are_the_worst(regression):
    rows = rows_of((regression.parent / "test_predictions.csv").read_text())
    errors = [abs(float(row["task0"]) - float(row["task0 predicted"])) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: -errors[i])
    text = Page(regression).parts["Worst molecules"]
    places = [text.index(f" {rows[i]['id']} ") for i in order[:9]]
    assert places == sorted(places)
    assert f"{float(rows[order[0]]['task0 predicted']):.3f}" in text


def test_errors_by_similarity_are_a_loop_over_the_rows(regression):
    """Every measured row is in one bin, and the bins' mean errors are those of all rows."""
    run = RunData.load(regression.parent)
    text = Page(regression).parts["Errors by how new a molecule is"]
    for part in run.parts.values():
        found = novelty(run, part)
        assert found.rows.tolist() == list(range(len(part)))
        for row in range(len(part)):
            others = [
                run.valid.canonical(other) for other, fold in enumerate(run.valid.folds)
                if part.folds[row] < 0 or fold != part.folds[row]
            ]  # fmt: skip
            similarity = [_tanimoto(part.canonical(row), other) for other in others]
            assert found.similarity[row] == pytest.approx(max(similarity), abs=1e-6)
            same = sum(_scaffold(other) == _scaffold(part.canonical(row)) for other in others)
            assert found.same_scaffold[row] == (same if _scaffold(part.canonical(row)) else -1)
        far = found.similarity < 0.3
        mean = part.errors(0)[found.rows[far]].mean()
        assert f"{mean:.3f}" in text


def _tanimoto(one: str, other: str) -> float:
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator
    from rdkit.DataStructs import TanimotoSimilarity

    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return TanimotoSimilarity(*(make.GetFingerprint(Chem.MolFromSmiles(s)) for s in (one, other)))


def _scaffold(smiles: str) -> str:
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return MurckoScaffoldSmiles(smiles)


def test_groups_are_drawn_with_what_they_add(regression):
    text = Page(regression).parts["Groups of a few molecules"]
    assert text.count("agreement of the models") == 4
    assert "contribution" in text


def test_typical_molecules_are_those_in_the_middle_of_the_errors():
    smiles = ("C", "CC", "CCC", "CCCC", "CC")
    errors = np.array([[0.1], [0.2], [0.3], [0.4], [np.nan]])
    part = PredictedRows(smiles, smiles, np.full(5, -1), np.zeros((5, 1)), errors)
    assert list(_typical(part)) == [1, 2, 0, 3]


def test_command_and_versions(regression):
    text = Page(regression).parts["How it was made"]
    stored = json.loads((regression.parent / "config.json").read_text())
    assert f"torch {stored['versions']['torch']}" in text
    assert f"--model '{regression.parent}'" in text


def test_the_command_to_predict_names_solvents_where_the_model_needs_them(tmp_path, regression):
    dataset = small_dataset(rows=20)
    feats = np.random.default_rng(0).normal(size=(20, len(SOLVENT_DESCRIPTORS)))
    table = replace(dataset.table, global_feats=feats.astype(np.float32))
    folder = trained(tmp_path / "run", replace(dataset, table=table), readout="mean")
    text = "".join(facts.how_made(RunData.load(folder)))
    assert "--smiles-column smiles --solvent-column solvent --output" in text
    assert "--solvent-column" not in Page(regression).parts["How it was made"]


@pytest.mark.parametrize("damage", ["no validation rows", "no similarity", "no matplotlib"])
def test_what_cannot_be_made_is_named_in_its_place(damage, regression, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(regression.parent, folder)
    if damage == "no validation rows":  # as 0.2.0 left its folders
        for name in ("valid_predictions.csv", "uncertainty.json", "training_molecules.csv"):
            (folder / name).unlink()
        wanted = {"Errors by how new a molecule is"}
    elif damage == "no similarity":

        def broken(*args):
            raise RuntimeError("no <fingerprints>")

        monkeypatch.setattr(novelty_module, "nearest", broken)
        wanted = {"Errors by how new a molecule is", "Worst molecules"}
    else:
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        wanted = {"Measured and predicted", "How sure", "Learning curves", "Splits"}
    path, missing = write_report(folder)
    assert {each.partition(":")[0] for each in missing} == wanted
    page = Page(path)
    for title, text in page.parts.items():
        assert ("could not be made" in text) == (title in wanted)
    assert "RMSE" in page.parts["Scores"]


def test_a_run_that_was_handed_on_has_a_page_and_damaged_tables_are_named(regression, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(regression.parent, folder)
    for name in ("history.csv", "valid_predictions.csv", "fold_0/outputs.npz"):
        (folder / name).unlink()
    path, missing = write_report(folder)
    assert missing == []
    assert "holds no history.csv" in Page(path).parts["Learning curves"]
    for name in ("history.csv", "valid_predictions.csv", "test_predictions.csv"):
        whole = (regression.parent / name).read_bytes()
        for damaged in (whole[: whole.rstrip().rfind(b"\n") + 3], b"\0\xff"):
            (folder / name).write_bytes(damaged)
            with pytest.raises(ValueError, match=rf"{name} is not readable .*; was it edited"):
                write_report(folder)
        (folder / name).unlink()


@pytest.mark.parametrize(("kind", "targets"), [
    ("regression", np.full((36, 1), 2.0)),
    ("regression", np.where(np.arange(36)[:, None] % 2, np.nan, np.arange(36.0)[:, None])),
    ("regression", np.arange(36.0)[:, None] * 1e12),
])  # fmt: skip
def test_odd_targets(kind, targets, tmp_path):
    dataset = with_targets(small_dataset(kind), targets)
    assert write_report(trained(tmp_path / "run", dataset, readout="mean"))[1] == []


def test_several_classes_have_no_empty_column(tmp_path):
    dataset = small_dataset()
    targets = np.arange(36.0)[:, None] % 3
    kinds = {"kind": "multiclass", "kinds": ("multiclass",), "classes": (("a", "b", "c"),)}
    table = replace(dataset.table, targets=targets, **kinds)
    dataset = replace(dataset, table=table)
    page = Page(write_report(trained(tmp_path / "run", dataset, readout="mean"))[0])
    assert "Classification into several classes of" in page.parts[""]
    assert "Brier" in page.parts["Errors by how new a molecule is"]
    assert "AUC" not in page.parts["Errors by how new a molecule is"]
    assert "AUC" in page.parts["Scores"]


def test_a_test_set_of_one_class(tmp_path):
    dataset = small_dataset("classification")
    targets = dataset.table.targets.copy()
    targets[splits_of(dataset).test] = 1.0
    folder = trained(tmp_path / "run", with_targets(dataset, targets), readout="mean")
    path, missing = write_report(folder)
    assert missing == []
    assert "nan" not in re.findall(r"[a-z]+", " ".join(Page(path).parts.values()))


@pytest.mark.parametrize(("folds", "test_fraction"), [(1, 0.25), (2, 0.0), (1, 0.0)])
def test_one_model_and_no_test_set(folds, test_fraction, tmp_path):
    dataset = small_dataset()
    rows = make_splits(dataset.table, folds=folds, test_fraction=test_fraction)
    config = TrainingConfig(**small_options(readout="mean"))
    path, missing = write_report(
        train_run(dataset, rows, config, tmp_path / "run", progress=False).folder
    )
    assert missing == []
    parts = Page(path).parts
    assert set(SECTIONS) <= set(parts)
    assert ("no test set" in parts["Splits"]) == (test_fraction == 0)
    assert ("Test RMSE" in parts[""]) == (test_fraction > 0)
    assert ("std over the folds" in parts["Scores"]) == (folds > 1)
    assert "nan" not in re.findall(r"[a-z]+", " ".join(parts.values()))


class TestCommands:
    def flags(self, tmp_path, *more):
        return ["--csv", str(own_table(tmp_path)), "--target", "logS", *WITH_PAGE, *more]

    @pytest.mark.slow
    def test_train_ends_with_pages_and_an_index(self, tmp_path, capsys, monkeypatch):
        out = tmp_path / "out"
        flags = self.flags(tmp_path, "--readout", "mean", "sum", "--seed", "0", "1")
        monkeypatch.setattr(sys, "argv", ["/usr/bin/dgl-gmpool", "train", "csv", *flags])
        assert main(["train", "csv", *flags, "--output", str(out)]) == 0
        assert f"to look at: {out / 'index.html'}" in capsys.readouterr().out
        index = (out / "index.html").read_text()
        links = re.findall(r"href='([^']+)'", index)
        assert sorted(links) == [
            f"{name}-seed{seed}/report.html" for name in ("mean", "sum") for seed in (0, 1)
        ]
        pages = [out / link for link in links]
        assert "left out" in pages[0].read_text()
        command = Page(pages[0]).parts["How it was made"]
        assert command.strip().startswith(f"dgl-gmpool train csv --csv {flags[1]} --target logS")
        # Once more for one run, for all, and where one is not finished.
        for page in pages:
            page.unlink()
        assert main(["report", "--run", str(pages[0].parent)]) == 0
        assert [page.exists() for page in pages] == [True, False, False, False]
        metrics = pages[1].parent / "metrics.json"
        metrics.unlink()
        assert main(["report", "--model", str(out)]) == 0  # as the other commands call it
        assert [page.exists() for page in pages] == [True, False, True, True]
        said = capsys.readouterr().out
        assert f"{pages[1].parent}: not finished" in said
        assert "seed 1 (no page)" in (out / "index.html").read_text()

    @pytest.mark.slow
    def test_no_report(self, tmp_path):
        out = tmp_path / "out"
        flags = self.flags(tmp_path, "--readout", "mean", "--no-report")
        assert main(["train", "csv", *flags, "--output", str(out)]) == 0
        assert list(out.rglob("*.html")) == []
        # What was left out is made when the training is resumed without the flag.
        assert main(["train", "csv", *flags[:-1], "--output", str(out), "--resume"]) == 0
        assert len(list(out.rglob("*.html"))) == 2

    @pytest.mark.slow
    def test_a_page_that_cannot_be_written_ends_no_training(self, tmp_path, capsys, monkeypatch):
        def full(*args, **options):
            raise OSError("no space left")

        monkeypatch.setattr("dgl_gmpool.report.page.atomic_write_text", full)
        monkeypatch.setattr("dgl_gmpool.report.page.atomic_write_text", full)
        out = tmp_path / "out"
        flags = self.flags(tmp_path, "--readout", "mean", "--output", str(out))
        assert main(["train", "csv", *flags]) == 0
        said = capsys.readouterr().out
        assert said.count("note: no page for") == 2
        assert f"dgl-gmpool report --run {out / 'mean-seed0'}" in said
        assert (out / "mean-seed0" / "metrics.json").exists()

    @pytest.mark.parametrize(("make", "message"), [
        (lambda run: None, "there is no such folder"),
        (lambda run: run.mkdir(), "holds no run"),
        (lambda run: (run.mkdir(), (run / "config.json").write_text("{}")), "not finished"),
        (lambda run: (run.mkdir(), (run / "config.json").write_text("{}"),
                      (run / "metrics.json").write_text("[")), "not readable JSON"),
    ])  # fmt: skip
    def test_refused(self, make, message, tmp_path, capsys):
        make(tmp_path / "run")
        assert main(["report", "--run", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    @pytest.mark.slow
    @pytest.mark.parametrize(("flags", "drawn"), [
        (["--descriptors", "morgan"], True),
        (["--feature-columns", "heat"], False),
    ])  # fmt: skip
    def test_models_that_take_more_than_the_molecule(self, flags, drawn, tmp_path, capsys):
        table = tmp_path / "heat.csv"
        lines = own_table(tmp_path).read_text().splitlines()
        heat = ["heat", *(str(20 + place % 5) for place in range(len(lines) - 1))]
        table.write_text("".join(f"{line},{cell}\n" for line, cell in zip(lines, heat)))
        flags = ["--csv", str(table), "--target", "logS", *WITH_PAGE, "--readout", "mean", *flags]
        assert main(["train", "csv", *flags, "--output", str(tmp_path / "out")]) == 0
        assert "  without " not in capsys.readouterr().out
        text = Page(tmp_path / "out" / "mean-seed0" / "report.html").parts
        assert ("baseline" in text["Groups of a few molecules"]) == drawn
        assert ("heat" in text["Groups of a few molecules"]) != drawn


def test_the_brier_score_of_several_classes_is_that_of_their_probabilities(tmp_path):
    dataset = small_dataset()
    targets = np.arange(36.0)[:, None] % 3
    kinds = {"kind": "multiclass", "kinds": ("multiclass",), "classes": (("a", "b", "c"),)}
    dataset = replace(dataset, table=replace(dataset.table, targets=targets, **kinds))
    run = RunData.load(trained(tmp_path / "run", dataset, readout="mean"))
    with open(run.files.predictions, newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        sum(
            (float(row[f"task0 probability of {name}"]) - (row["task0"] == name)) ** 2
            for name in "abc"
        )
        for row in rows
    ]
    np.testing.assert_allclose(run.test.squares[0], expected)
    whole = Bins("all", "similarity", (0.0,), ("all",))
    text = _by(whole, run, {"test": novelty(run, run.test)}, 0)
    assert f"<td class='n'>{np.mean(expected):.3f}</td>" in text


@pytest.mark.parametrize("name", ["$\\frac$", "cost ($/g, $/mol)", "_hidden", "x" * 180])
def test_names_of_any_kind_in_plots(name):
    lines = [(name, "red", [0.0, 1.0], [0.0, 1.0])]
    text = plots.shares(f"probability of {name}", "share", lines)
    svg = base64.b64decode(text.partition("base64,")[2].rstrip("'>")).decode()
    shown = f"{'x' * 33}…{'x' * 14}" if len(name) > 48 else f" {name}" if name[0] == "_" else name
    assert f">{shown}</text>" in html.unescape(svg)
