"""Descriptors and feature columns: from a table into a model, and again when it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import UserDict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool import cli, load_predictor
from dgl_gmpool.cli.molecule_rows import FeatureSource
from dgl_gmpool.data import Features, load_csv, make_splits, with_descriptors
from dgl_gmpool.data.descriptors import calculate, descriptor_names
from dgl_gmpool.data.features import FeatureNames, joined_features
from dgl_gmpool.training import TrainingConfig, load_models, train_run
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.model_features import RowFeatures
from dgl_gmpool.training.predict import predict_smiles
from dgl_gmpool.training.standardizer import FeatureScaler

MOLECULES = (
    "CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl", "CCOC", "CC#N", "CCS", "C1CCC1", "OCCO",
    "Cc1ccccc1", "CCCCO", "CNC", "CC=O", "[Na+].[Cl-]", "CCBr", "c1ccncc1",
)  # fmt: skip
SMALL = ["--epochs", "2", "--hidden", "8", "--steps", "1", "--folds", "2", "--batch-size", "8"]


def acids(folder, *, comma: bool = False, blank: int = -1):
    """A table whose target is the pH of the row, and hardly the molecule."""
    lines = ["smiles;pH;T;y"] if comma else ["smiles,pH,T,y"]
    for row, smiles in enumerate(MOLECULES * 2):
        ph = 2 + 0.25 * row
        cells = [smiles, "" if row == blank else f"{ph}", "25", f"{ph / 10:.4f}"]
        lines.append(
            ";".join([smiles, *(c.replace(".", ",") for c in cells[1:])])
            if comma
            else ",".join(cells)
        )
    file = folder / "acids.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("descriptors")
    flags = ["--csv", str(acids(folder, blank=3)), "--target", "y", *SMALL]
    flags += ["--feature-columns", "pH", "T", "--descriptors", "morgan", "rdkit"]
    assert cli.main(["train", "csv", *flags, "--output", str(folder / "runs")]) == 0
    return folder / "runs" / "gmpool-seed0"


def test_descriptors_are_rdkits_own():
    names = descriptor_names("rdkit")
    found = calculate(FeatureNames("rdkit", names), ["CC(=O)Oc1ccccc1C(=O)O"])
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    known = Descriptors.CalcMolDescriptors(mol)
    assert set(known) - set(names) == {"Ipc", "AvgIpc"}
    assert found[0] == pytest.approx([known[name] for name in names], rel=1e-6, nan_ok=True)
    bits = calculate(FeatureNames("morgan", descriptor_names("morgan")), ["CCCCO", "C"])
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits.shape[1])
    assert (
        bits[0].tolist()
        == generator.GetCountFingerprintAsNumPy(Chem.MolFromSmiles("CCCCO")).tolist()
    )
    assert bits.max() > 1  # counts


@pytest.mark.slow
def test_another_processor_calculates_the_same():
    """numpy's OpenBLAS has kernels for each kind, and rounds otherwise with those of an old one:
    of this molecule's 1e42 paths ``Ipc`` counted 3 % more."""
    large = "c1ccc(cc1)" + 10 * "N(c1ccccc1)c1ccc(cc1)" + "C"
    names = FeatureNames("rdkit", descriptor_names("rdkit"))
    code = (
        "from dgl_gmpool.data.descriptors import calculate; import sys; "
        "from dgl_gmpool.data.features import FeatureNames; "
        f"print(calculate({names!r}, [{large!r}]).tobytes().hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_CORETYPE": "Prescott"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == calculate(names, [large]).tobytes().hex()


def test_what_is_not_defined_is_not_known():
    """A chain of 300 carbons, atoms without charges, a salt: no infinities, no errors."""
    names = FeatureNames("rdkit", descriptor_names("rdkit"))
    found = calculate(names, ["C" * 300, "*CC", "[U]", "[Na+].[Cl-]"])
    assert not np.isinf(found).any()
    assert np.isnan(found).any(axis=1).tolist() == [False, True, True, True]


def test_a_descriptor_that_this_rdkit_lacks_is_named():
    with pytest.raises(ValueError, match="lacks the descriptors NewOne, which the model was"):
        calculate(FeatureNames("rdkit", ("TPSA", "NewOne")), ["CCO"])


def test_the_scaler_survives_what_training_rows_did_not_have():
    nan = np.nan
    rows = np.array([[1, 2, nan, 1e30], [2, 2, nan, 2e30], [3, 2, nan, 3e30], [nan, 2, nan, nan]])
    scaler = FeatureScaler.fit(rows)
    wild = np.array([[1e38, -1e38, 3, nan], [-1e38, 5, nan, 1e38], [2, 2, 2, 2e30]])
    found = scaler.transform(wild)
    expected = [[5, 0, 0, 0], [-5, 0, 0, 5], [0, 0, 0, 0]]
    assert found == pytest.approx(np.array(expected), abs=1e-9)
    assert found.dtype == np.float32


def test_only_training_rows_give_the_constants():
    dataset = with_descriptors(small_dataset(), ["rdkit"], progress=False)
    config = TrainingConfig(**small_options(descriptors=["rdkit"]))
    train = list(range(5, 30))
    before = FoldData.prepare(dataset, train, config, device=torch.device("cpu"))
    values = dataset.table.features[0].values.copy()
    values[30:] *= 100
    table = replace(dataset.table, features=(replace(dataset.table.features[0], values=values),))
    after = FoldData.prepare(
        replace(dataset, table=table), train, config, device=torch.device("cpu")
    )
    assert np.array_equal(before.global_scaler.mean, after.global_scaler.mean)
    assert np.array_equal(before.global_scaler.std, after.global_scaler.std)
    assert torch.isfinite(after.global_feats).all()
    assert after.global_feats.abs().max() <= 5


def test_a_configuration_chooses_among_the_descriptors():
    dataset = with_descriptors(
        small_dataset(global_feats=True), ["rdkit", "morgan"], progress=False
    )
    width = {source: len(descriptor_names(source)) for source in ("rdkit", "morgan")}
    for wanted in ((), ("rdkit",), ("morgan",), ("morgan", "rdkit")):
        values, names = joined_features(dataset.table, wanted)
        assert values.shape[1] == 2 + sum(width[source] for source in wanted)
        assert {each.source for each in names} == {"given", *wanted}
    with pytest.raises(ValueError, match=r"no descriptors 'rdkit'.*with_descriptors"):
        joined_features(small_dataset().table, ["rdkit"])
    with pytest.raises(
        ValueError, match=r"unknown set of descriptors 'rdkti'. Did you mean 'rdkit'"
    ):
        TrainingConfig(descriptors=["rdkti"])
    with pytest.raises(ValueError, match="expected a list of names"):
        TrainingConfig(descriptors="rdkit")
    assert TrainingConfig(descriptors=["rdkit", "morgan"]) == TrainingConfig(
        descriptors=("morgan", "rdkit", "morgan")
    )


def test_features_that_do_not_fit_are_refused():
    table = small_dataset().table
    column = Features("column", ("pH",), np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match="features 'column' have 3 rows, not 36"):
        replace(table, features=(column,))
    with pytest.raises(ValueError, match="source must be one of"):
        Features("elsewhere", ("pH",), np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match="a column for each of the names"):
        Features("column", ("pH", "T"), np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match="finite, or NaN"):
        Features("column", ("pH",), np.full((3, 1), np.inf, np.float32))


def test_the_cache_gives_the_same_numbers_and_survives_damage(tmp_path):
    dataset = small_dataset()
    first = with_descriptors(dataset, ["rdkit"], cache_dir=tmp_path, progress=False)
    (file,) = tmp_path.glob("small-rdkit-*.pt")
    again = with_descriptors(dataset, ["rdkit"], cache_dir=tmp_path, progress=False)
    file.write_bytes(file.read_bytes()[:-100])
    mended = with_descriptors(dataset, ["rdkit"], cache_dir=tmp_path, progress=False)
    part = replace(dataset, table=dataset.table.take(range(4)), graphs=dataset.graphs[:4])
    fewer = with_descriptors(part, ["rdkit"], cache_dir=tmp_path, progress=False)
    values = first.table.features[0].values
    for other in (again, mended):
        assert np.array_equal(other.table.features[0].values, values, equal_nan=True)
    assert np.array_equal(fewer.table.features[0].values, values[:4], equal_nan=True)
    assert len(list(tmp_path.glob("small-rdkit-*.pt"))) == 2


def test_several_processes_calculate_the_same():
    dataset = small_dataset()
    one = with_descriptors(dataset, ["rdkit"], processes=1, progress=False)
    two = with_descriptors(dataset, ["rdkit"], processes=2, progress=False)
    assert np.array_equal(
        one.table.features[0].values, two.table.features[0].values, equal_nan=True
    )


# ---- feature columns of a table


@pytest.mark.parametrize("comma", [False, True])
def test_columns_of_the_table_become_features(tmp_path, comma):
    table = load_csv(
        acids(tmp_path, comma=comma, blank=3), smiles_column="smiles", target_columns="y",
        feature_columns=["pH", "T"],
    )  # fmt: skip
    (features,) = table.features
    assert features.names == ("pH", "T")
    assert features.values[:3, 0].tolist() == [2.0, 2.25, 2.5]
    assert np.isnan(features.values[3, 0])
    notes = " ".join(table.report.notes)
    assert "1 of 36 rows have no 'pH': the mean of the training rows stands in" in notes
    assert "every 'T' is 25: a model learns nothing from it" in notes
    # Rows of one molecule at another pH do not contradict each other.
    assert "different values" not in notes


def test_repeats_are_counted_within_equal_features(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("smiles,pH,y\nCCO,7,1.5\nCCO,7,2\nCCO,2,9\nCCC,7,4\n")
    options = dict(smiles_column="smiles", target_columns="y")
    plain = load_csv(file, **options).report.notes
    assert "4 rows are 2 molecules; 1 of them have different values on their rows" in plain
    notes = load_csv(file, **options, feature_columns=["pH"]).report.notes
    assert (
        "4 rows are 3 molecules of one pH; 1 of them have different values on their rows" in notes
    )


def test_a_cell_that_is_no_number_leaves_its_row_out(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("smiles,pH,y\nCCO,7,1.5\nCCN,acidic,2\nCCC,>7,4\nCCCC,,1\n")
    options = dict(smiles_column="smiles", target_columns="y", feature_columns=["pH"])
    table = load_csv(file, **options)
    assert table.report.left_out["a feature that is not a number"] == 2
    assert table.report.refused == (
        ("row 3", "CCN", "feature 'pH' is 'acidic', not a finite number"),
        ("row 4", "CCC", "feature 'pH' is '>7', a bound and not a measured value"),
    )
    with pytest.raises(ValueError, match="row 3: feature 'pH' is 'acidic'"):
        load_csv(file, **options, strict=True)
    for columns, said in ((["ph"], "no column 'ph'. Did you mean 'pH'"), (["y"], "more than once")):
        with pytest.raises(ValueError, match=said):
            load_csv(file, smiles_column="smiles", target_columns="y", feature_columns=columns)


def test_a_column_without_a_number_is_no_feature(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("smiles,pH,y\nCCO,,1.5\nCCN,,2\n")
    options = dict(smiles_column="smiles", target_columns="y", feature_columns=["pH"])
    with pytest.raises(ValueError, match=r"every row's 'pH' is blank: .*--feature-columns"):
        load_csv(file, **options)
    # A test table may hold what it likes.
    table = load_csv(file, smiles_column="smiles", target_columns="y")
    assert len(load_csv(file, **options, test_of=table)) == 2


def test_what_predict_says_of_a_feature_that_models_did_not_learn_is_true():
    nan = np.nan
    blank, seven, both = (
        SimpleNamespace(
            global_scaler=FeatureScaler.fit(np.array(values)[:, None]),
            features=(FeatureNames("column", ("pH",)),),
        )
        for values in ([nan, nan], [7.0, nan], [6.0, 7.0])
    )

    def note(models, value):
        return RowFeatures(models, 1, features={"pH": [value]}).row(0)[2]

    assert note([blank], 5) == "'pH' was blank in all training rows: 5 is taken for that too"
    assert note([seven] * 2, 5) == "'pH' was 7 in all training rows: 5 is taken for that too"
    assert "was blank or 7 in all training rows: 5 is" in note([blank, seven], 5)
    assert "blank in all training rows of 1 of 2 models: 7 is" in note([both, blank], 7)
    assert "the mean of the training rows stands in" in note([blank, both], nan)
    assert note([blank], nan) == note([seven], 7) == note([both], 6) == ""


# ---- from training to a prediction


def test_a_feature_of_all_rows_may_have_a_decimal_comma_too(run):
    """It was refused, also where the table's own commas were read."""
    model = load_models(run)[0]
    for given, values in (("pH=7,4 T=1.025,5", "7.4 1025.5"), ("pH=7.125 T=25", "7.125 25")):
        found = FeatureSource(model, given.split(), decimal_comma=True).constants
        assert found == dict(zip(["pH", "T"], values.split()))
    with pytest.raises(ValueError, match="'pH=7,4': expected NAME=VALUE"):
        FeatureSource(model, ["pH=7,4"])


def test_a_run_with_features_is_asked_with_them(run, tmp_path, capsys):
    models = load_models(run)
    assert [each.source for each in models[0].features] == ["column", "morgan", "rdkit"]
    assert json.loads((run / "config.json").read_text())["training"]["descriptors"] == [
        "morgan", "rdkit",
    ]  # fmt: skip
    new = tmp_path / "new.csv"
    new.write_text("smiles,pH\nCCO,3\nOCC,3\nCCO,9\nCCO,\nCCO,acid\n[He],3\nCCO,900\nC1CC,3\n")
    out = tmp_path / "out.csv"
    command = ["predict", "--model", str(run), "--csv", str(new), "--output", str(out)]
    assert cli.main([*command, "--feature", "T=25"]) == 0
    said = capsys.readouterr().out
    found = rows_of(out.read_text())
    values = [row["y predicted"] for row in found]
    assert values[0] == values[1] != values[2]
    assert [bool(value) for value in values] == [True, True, True, True, False, True, True, False]
    assert "'pH' is blank: the mean of the training rows stands in for it" in said
    assert "rdkit descriptors are not defined for such a molecule" in said
    assert "'pH' is 900, far from the training rows: taken as" in said
    assert found[4]["reason"] == "feature 'pH' is 'acid', not a finite number"
    by_call = load_predictor(run).predict(
        ["CCO", "CCO", "CCO"], features={"pH": [3, 9.0, float("nan")], "T": [25, 25, None]}
    )
    assert by_call.mean[:, 0].tolist() == pytest.approx([float(values[row]) for row in (0, 2, 3)])
    # Columns of a data frame, with pandas' own missing value.
    frame = pd.DataFrame({"smiles": ["CCO"] * 3, "pH": pd.array([3, 9.0, None], "Float64")})
    again = load_predictor(run).predict(
        frame[["smiles"]], features={"pH": frame["pH"], "T": [25, 25, None]}
    )
    np.testing.assert_array_equal(again.mean, by_call.mean)

    class LikePolars(UserDict):
        columns = ("pH", "T")

        def __iter__(self):
            return iter(self.data.values())

    columns = LikePolars({"pH": [3, 9.0, None], "T": [25, 25, None]})
    again = load_predictor(run).predict(["CCO"] * 3, features=columns)
    np.testing.assert_array_equal(again.mean, by_call.mean)


def test_predictions_are_those_of_the_training_table(run):
    """The features found again are the ones it was trained on."""
    models = load_models(run)
    table = load_csv(
        run.parents[1] / "acids.csv", smiles_column="smiles", target_columns="y",
        feature_columns=["pH", "T"],
    )  # fmt: skip
    values = table.features[0].values.T
    found = predict_smiles(
        models, table.smiles, features=dict(zip(["pH", "T"], values.astype(float).tolist()))
    )
    splits = json.loads((run / "splits.json").read_text())
    with np.load(run / "fold_0" / "outputs.npz") as outputs:
        rows = outputs["test_rows"]
        assert rows.tolist() == splits["test"]
        assert found.per_model[0][rows] == pytest.approx(outputs["test_outputs"], rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--feature", "pH=7"], "no column 'T'"),
        (["--feature", "pH=7"], "or give all rows one value: --feature T=VALUE"),
        (["--feature", "pH=7", "T=25", "ph=7"], "without a feature 'ph'; did you mean 'pH'?"),
        (["--feature", "pH=acid", "T=25"], "'pH=acid': expected NAME=VALUE"),
        (["--feature", "pH=acid=7", "T=25"], "without a feature 'pH=acid'"),
        (["--feature", "pH", "T=25"], "'pH': expected NAME=VALUE"),
        (["--feature", "pH=7", "pH=8", "T=1"], "--feature pH is given twice"),
        ([], "no column 'pH'"),
    ],
)
def test_missing_and_superfluous_features_are_named(run, flags, message, tmp_path, capsys):
    new = tmp_path / "new.csv"
    new.write_text("smiles\nCCO\n")
    out = ["--csv", str(new), "--output", str(tmp_path / "o.csv")]
    assert cli.main(["predict", "--model", str(run), *out, *flags]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="pH, T beside the molecule, and pH, T is missing"):
        load_predictor(run).predict(["CCO"])
    with pytest.raises(ValueError, match="2 SMILES and 1 values of 'pH'; give one per row"):
        load_predictor(run).predict(["CCO", "CCC"], features={"pH": [7], "T": [25, 25]})
    with pytest.raises(TypeError, match="feature 'pH' is 7; give a list with a value for each row"):
        load_predictor(run).predict(["CCO", "CCC"], features={"pH": 7, "T": [25, 25]})


def test_explain_and_embed_with_features(run, tmp_path, capsys):
    predictor = load_predictor(run)
    found = predictor.explain("CCO", features={"pH": 3, "T": 25})
    mean = predictor.predict(["CCO"], features={"pH": [3], "T": [25]}).mean[0, 0]
    assert found.prediction == pytest.approx(mean, rel=1e-5)
    assert found.contributions.sum() == pytest.approx(found.prediction - found.baseline, abs=1e-5)
    assert "morgan and rdkit descriptors of the whole molecule" in found.note
    assert predictor.embed(["CCO"]).shape == (1, predictor.embedding_width)
    explain = ["explain", "--model", str(run), "--output", str(tmp_path / "page")]
    assert cli.main([*explain, "--smiles", "CCO", "CCC", "--feature", "pH=3"]) == 2
    assert "--feature T=VALUE" in capsys.readouterr().err
    assert cli.main([*explain, "--smiles", "CCO", "--feature", "pH=3", "T=25"]) == 0
    new = tmp_path / "new.csv"
    new.write_text("smiles,pH,T\nCCO,3,25\nCCO,9,25\nCCO,x,25\nCCN,,25\n")
    assert cli.main([*explain, "--csv", str(new), "--overwrite"]) == 0
    rows = rows_of((tmp_path / "page" / "molecules.csv").read_text())
    assert rows[0]["prediction"] != rows[1]["prediction"]
    assert "'x', not a finite number" in rows[2]["reason"]
    notes = [row["note"] for row in rows]
    assert notes == ["", "", "", "'pH' is blank: the mean of the training rows stands in for it"]
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("descriptors of the whole molecule") == 1
    assert "Groups are those of the model" in page
    assert "Atoms that raise" not in page


def test_the_config_of_a_run_repeats_it(run, tmp_path, capsys):
    again = ["train", "csv", "--config", str(run), "--output", str(tmp_path)]
    assert cli.main([*again, "--no-report"]) == 0
    other = tmp_path / run.name
    for name in ("metrics.json", "test_predictions.csv"):
        read = [(folder / name).read_text() for folder in (run, other)]
        if name.endswith(".json"):
            read = [json.loads(text)["folds"][0]["test"] for text in read]
        assert read[0] == read[1]
    assert cli.main([*again, "--resume"]) == 0
    assert cli.main([*again, "--resume", "--descriptors"]) == 2
    assert "training.descriptors was ['morgan', 'rdkit'], now None" in capsys.readouterr().err


def test_a_classification_with_descriptors_alone(tmp_path):
    dataset = small_dataset("classification", tasks=2)
    splits = make_splits(dataset.table, seed=1, folds=2)
    config = TrainingConfig(**small_options(descriptors=["rdkit"]))
    train_run(dataset, splits, config, tmp_path / "run", progress=False)
    found = load_predictor(tmp_path / "run").predict(["CCO", "[U]", "C" * 200])
    assert np.isfinite(found.mean).all()
    assert "not defined for such a molecule" in found.notes[1]
