"""The benchmarks: each explains itself, and what they compute from times and sizes is right.

They are imported, not started, because a new process needs seconds for torch alone.
"""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from rdkit import Chem
from training_data import small_dataset

from dgl_gmpool import cli
from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold import fit_fold

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(
    file.stem for file in BENCHMARKS.glob("*.py") if "__main__" in file.read_text(encoding="utf-8")
)


@pytest.fixture
def benchmark_module(monkeypatch):
    """Import a benchmark as Python does when it is started: its folder comes first on the path."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)

    def load(name: str):
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_answers_help(name, benchmark_module, monkeypatch, capsys):
    module = benchmark_module(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    assert f"usage: {name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["paired", "text_table"])
def test_examples(name, benchmark_module):
    found = doctest.testmod(benchmark_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_spread_stays_between_the_values(benchmark_module):
    paired = benchmark_module("paired")
    assert paired.spread([7.0]) == {"median": 7.0, "quartiles": [7.0, 7.0]}
    assert paired.spread([1.0, 2.0]) == {"median": 1.5, "quartiles": [1.25, 1.75]}


def test_ratios_are_of_the_same_round(benchmark_module):
    # The machine is ten times slower in the second round: medians of each alone would say 1.
    found = benchmark_module("paired").paired_ratio([1.0, 20.0, 3.0], [2.0, 40.0, 6.0, 1.0])
    assert found == {"median": 0.5, "quartiles": [0.5, 0.5], "rounds": 3}


def test_the_command_names_files_without_their_folders(benchmark_module, monkeypatch):
    setting = benchmark_module("setting")
    monkeypatch.setattr(sys, "argv", ["/a/b/speed.py", "--data", "/home/me/tox21.csv.gz", "--x"])
    assert setting.command_line() == "python benchmarks/speed.py --data tox21.csv.gz --x"


def test_threads_are_set_everywhere(benchmark_module):
    threads = benchmark_module("threads")
    before = torch.get_num_threads()
    try:
        for number in (2, 1):
            found = threads.use_threads(number)
            found.pop("OMP_WAIT_POLICY")
            assert len(found) > 2
            assert set(found.values()) == {number}
            assert torch.get_num_threads() == number
        with pytest.raises(ValueError, match="--threads 0"):
            threads.use_threads(0)
    finally:
        threads.use_threads(before)


class TestSpeed:
    def test_results_have_a_file_per_number_of_threads(self, benchmark_module):
        name_of = benchmark_module("speed").results_file
        assert [name_of(n).name for n in (1, 2)] == ["speed_1_thread.json", "speed_2_threads.json"]

    def test_fixed_numbers_of_clusters_are_in_the_label_and_in_the_pooling(self, benchmark_module):
        speed = benchmark_module("speed")
        makers = speed.ours([10, 40])
        assert not {"diffpool", "bnpool"} & set(makers)
        assert makers["diffpool, 40 clusters"]().pool.num_clusters == 40
        assert makers["bnpool, 10 clusters, coarsen"]().pool.max_clusters == 10

    def test_losses_are_differentiated_and_change_nothing(self, benchmark_module):
        speed = benchmark_module("speed")
        loss = torch.tensor(5.0, requires_grad=True)
        out = speed.with_losses(torch.ones(2), {"link": loss})
        out.sum().backward()
        assert out.tolist() == [1.0, 1.0]
        assert loss.grad == 0

    def test_only(self, benchmark_module):
        chosen = benchmark_module("speed").chosen
        names = ["gmpool", "tgp bnpool, 10 clusters", "tgp bnpool, 40 clusters"]
        assert chosen(names, None) == names
        assert chosen(names, ["*bnpool*", "gmpool"]) == names
        assert chosen(names, ["*40*"]) == names[2:]
        with pytest.raises(ValueError, match=r"unknown row 'gmpol'.*'gmpool'"):
            chosen(names, ["gmpool", "gmpol"])

    def test_summary_pairs_each_ratio_with_its_number_of_clusters(self, benchmark_module):
        speed = benchmark_module("speed")
        plain = {
            "gmpool": [10.0, 100.0],
            "gmpool, paper": [5.0, 50.0],
            "ngmpool": [3.0, 3.0],
            "bnpool, 40 clusters, coarsen": [5.0, 5.0],
            "tgp bnpool, 10 clusters": [20.0, 200.0],
            "tgp bnpool, 40 clusters": [50.0, 500.0],
        }
        large = {name: [2 * ms for ms in found] for name, found in plain.items()}
        found = speed.summarise(plain, large, [10, 40])
        by_pair = {(row["pooling"], row["peer_clusters"]): row for row in found["against_peers"]}
        assert set(by_pair) == {
            ("gmpool", 10),
            ("gmpool", 40),
            ("gmpool, paper", 10),
            ("gmpool, paper", 40),
            ("bnpool, 40 clusters, coarsen", 40),
        }
        assert by_pair["gmpool", 10]["median"] == 0.5
        assert by_pair["gmpool", 40]["median"] == 0.2
        assert by_pair["gmpool", 40]["goal"] is None
        assert by_pair["gmpool, paper", 40]["median"] == 0.1
        assert by_pair["gmpool, paper", 40]["goal"] == 0.5
        assert by_pair["bnpool, 40 clusters, coarsen", 40]["goal"] is None
        assert {row["median"] for row in found["with_outlier"]} == {2.0}
        goals = {row["pooling"]: row["goal"] for row in found["with_outlier"]}
        assert goals["gmpool, paper"] == 1.5
        assert goals["gmpool"] is None
        assert goals["tgp bnpool, 10 clusters"] is None


class TestTox21Batches:
    SIZES = ([30, 1, 25, 30], [5, 132, 20])

    def test_cells(self, benchmark_module):
        study = benchmark_module("tox21_batches")
        from dgl_gmpool.nn import ragged

        before = ragged.BUCKET_CHARGE
        found = study.cell_table(self.SIZES)
        assert found["needed_cells"] == [2426, 17849]
        assert found["exact"]["cells"] == found["needed_cells"]
        assert found["padded"]["cells"] == [4 * 30**2, 3 * 132**2]
        assert found["padded"]["over_needed"]["worst"] == 3 * 132**2 / 17849
        # The first batch fits one block at the package's charge; in the second, 132 stands alone.
        assert found["grouped"]["cells"] == [4 * 30**2, 132**2 + 2 * 20**2]
        assert found["grouped"]["over_needed_in_all"] == (3600 + 18224) / (2426 + 17849)
        assert before == ragged.BUCKET_CHARGE

    def test_peak_counts_what_is_alive_at_once(self, benchmark_module):
        study = benchmark_module("tox21_batches")

        def work():
            one = torch.zeros(250_000)  # 1 MB
            two = one + 1
            del one
            return torch.cat([two, two])

        kilobytes = study.peak_bytes(work) / 1000
        assert 3000 <= kilobytes < 3010

    def test_ratios_to_the_exact_layout(self, benchmark_module):
        study = benchmark_module("tox21_batches")
        each = {"resident_growth_bytes": None}
        rows = study.compare(
            {
                "gmpool": {
                    "padded": {**each, "peak_bytes": [80, 30], "milliseconds": [4.0, 9.0]},
                    "exact": {**each, "peak_bytes": [10, 10], "milliseconds": [2.0, 1.0]},
                }
            }
        )
        padded = rows[0]
        assert padded["layout"] == "padded"
        assert padded["peak_bytes"] == {"median": 55, "worst": 80}
        assert padded["peak_bytes_over_exact"]["worst"] == 8
        assert padded["milliseconds_over_exact"]["median"] == 5.5
        assert rows[1]["peak_bytes_over_exact"]["worst"] == 1

    def test_readouts_do_not_depend_on_the_layout(self, benchmark_module):
        study = benchmark_module("tox21_batches")
        from dgl_gmpool import get_readout

        torch.manual_seed(0)
        counts = torch.tensor(self.SIZES[0])
        feat, pool = torch.randn(int(counts.sum()), 4), get_readout("gmpool", in_feats=4)
        nodes = study.dgl.graph(([], []), num_nodes=len(feat))
        found = []
        for layout in study.LAYOUTS:
            with study.layout_of(layout):
                found.append(pool(nodes, feat, batch_num_nodes=counts))
        for other in found[1:]:
            torch.testing.assert_close(other, found[0])


class TestEpochs:
    def test_ratios_against_every_row_of_chemprop(self, benchmark_module):
        study = benchmark_module("epochs")
        times = {label: [1.0, 2.0] for label in study.OURS}
        assert study.compare(times) == []
        times[study.PLAIN] = [4.0, 8.0]
        found = study.compare(times)
        assert [row["model"] for row in found] == list(study.OURS)
        assert {row["rival"] for row in found} == {study.PLAIN}
        assert {row["median"] for row in found} == {0.25}
        assert [row["goal"] for row in found] == [0.5, None, None]

    def test_turns(self, benchmark_module):
        study = benchmark_module("epochs")
        order: list[str] = []
        times: dict[str, list[float]] = {}
        turns = {name: lambda name=name: order.append(name) for name in "ab"}
        study.take_turns(turns, times)
        study.take_turns(turns, times)
        assert order == ["a", "b", "a", "b"]
        assert [len(found) for found in times.values()] == [2, 2]

    def test_a_report_without_chemprop_says_so(self, benchmark_module):
        study = benchmark_module("epochs")
        row = {"model": "DMPNN, mean", "parameters": 1000, "median": 2.0, "quartiles": [1.0, 3.0]}
        text = study.report(
            {
                "molecules": 3, "data": "tox21", "mean_atoms": 25.0, "threads": {"torch": 1},
                "rounds": 2, "rows": [row], "ratios": [], "note": "Without chemprop 2.",
            }
        )  # fmt: skip
        assert "| DMPNN, mean | 1,000 | 2.00 | 1.00-3.00 |" in text
        assert text.endswith("Without chemprop 2.\n")


class TestGpu:
    """benchmarks/gpu.py, on a CPU: what it compares there agrees, and what does not is told."""

    def test_a_section_to_its_end(self, benchmark_module, monkeypatch, tmp_path, capsys):
        module = benchmark_module("gpu")
        words = ["gpu.py", "--device", "cpu", "--quick", "--seconds", "3600", "--commit", "abc"]
        words += ["--output", str(tmp_path), "--only", "readouts agree"]
        monkeypatch.setattr(sys, "argv", words)
        module.main()
        assert "0 failures, 0 skipped" in capsys.readouterr().out
        record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
        assert (record["commit"], record["device"], record["failures"]) == ("abc", "CPU", [])
        rows = {row["what"]: row["difference"] for row in record["sections"]["readouts agree"]}
        assert {"gmpool", "ngmpool", "mean", "set2set"} <= rows.keys()
        assert max(rows.values()) == 0  # the same processor twice
        page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
        assert "## Failures: 0" in page
        assert "| gmpool | out | 0.00 |" in page

    def test_goes_on_after_a_failure_and_stops_when_the_time_is_up(self, benchmark_module):
        gpu, bench_module = benchmark_module("gpu"), benchmark_module("gpu_bench")
        bench = bench_module.Bench(torch.device("cpu"), quick=True, seconds=60)

        def section(bench):
            with bench.attempt("one"):
                raise RuntimeError("broken\nin detail")
            yield {"what": "two"}
            bench.section_end = 0
            with bench.attempt("three"):
                yield {"what": "three"}

        def fails(bench):
            raise ValueError("at once")
            yield

        gpu.SECTIONS = {"a": (section, 1.0), "b": (fails, 1.0), "c": (section, 1.0)}
        stored = []
        gpu.run(bench, ["a", "b"], lambda: stored.append(len(bench.failures)))
        assert bench.sections == {"a": [{"what": "two"}], "b": []}
        assert [(each["section"], each["what"]) for each in bench.failures] == [
            ("a", "one"),
            ("b", "b"),
        ]
        assert bench.failures[0]["why"].startswith("RuntimeError at test_benchmarks.py:")
        assert bench.failures[0]["why"].endswith(": broken")
        assert stored == [1, 2]  # written after each section
        bench.end = 0
        gpu.run(bench, ["c"], lambda: None)
        assert bench.skipped == ["a: not to its end, the time was up", "c: the time was up"]

    def test_differences_are_seen(self, benchmark_module):
        agreement, bench_module = benchmark_module("gpu_agreement"), benchmark_module("gpu_bench")
        difference = bench_module.difference
        one = torch.tensor([10.0, 1e-3])
        assert difference(one, one) == 0
        assert difference(one, one + torch.tensor([0.0, 1e-3])) == pytest.approx(1e-4, rel=1e-3)
        assert difference(one, one[:1]) == difference(one, one * torch.nan) == float("inf")
        bench = bench_module.Bench(torch.device("cpu"), quick=True, seconds=60)

        class Drifts(torch.nn.Module):
            calls = 0

            def forward(self, x):
                Drifts.calls += 1
                return x * (1 + 1e-3 * Drifts.calls)

        call = lambda layer, x: {"out": layer(x)}  # noqa: E731
        found = agreement.twice(bench, Drifts(), torch.ones(3, 2), call=call)
        agreement.judged(bench, "drifts", found)
        assert [each["what"] for each in bench.failures] == ["drifts"]

    def test_lines_that_read_values_are_named(self, benchmark_module):
        waits = benchmark_module("gpu_waits")
        with waits.ValuesRead() as read:
            torch.ones(3).sum().item()
            torch.ones(3).sum()
        (place,) = read.places
        assert place.startswith("tests/test_benchmarks.py:")
        assert place.endswith(".item() [float32]")


def test_molecules_of_any_number_differ(benchmark_module):
    found = list(benchmark_module("size_molecules").molecules(25, writings=4))
    smiles = [Chem.MolFromSmiles(text) for text, _ in found]
    assert len({text for text, _ in found}) == len(found) == 25
    assert len({Chem.MolToSmiles(mol) for mol in smiles}) == 7
    assert all(abs(value - mol.GetNumAtoms()) < 6 for mol, (_, value) in zip(smiles, found))


def test_training_takes_the_cache_of_a_repeated_table(benchmark_module, monkeypatch, tmp_path):
    command = ["train", "csv", "--csv", str(tmp_path / "m.csv"), "--target", "y", "--hidden", "8",
               "--cache", str(tmp_path / "c"), "--folds", "2", "--epochs", "1", "--steps", "1",
               "--readout", "mean", "--baselines", "none", "--no-report"]  # fmt: skip
    monkeypatch.setattr("dgl_gmpool.cli.datasets.DATA_SETS", dict(DATA_SETS))
    benchmark_module("size_cache").write_cache(12, 2, command)
    featurizing = sys.modules["dgl_gmpool.data.featurize"]  # data.featurize is its function
    monkeypatch.setattr(featurizing, "featurize_in_parts", pytest.fail)
    monkeypatch.setattr("dgl_gmpool.cli.datasets.load_csv", pytest.fail)
    assert cli.main([*command, "--output", str(tmp_path / "run")]) == 0
    text = next((tmp_path / "run").glob("*/splits.json")).read_text()
    assert json.loads(text)["rows"] == 24
    assert text.count("\n") == 1


def test_a_training_is_stopped_after_its_steps(benchmark_module, monkeypatch, tmp_path):
    steps = benchmark_module("size_steps")
    # Replaced there, so that they are put back here.
    monkeypatch.setattr(torch.optim.Adam, "step", torch.optim.Adam.step)
    monkeypatch.setattr(steps.fold_trainer, "count_batches", steps.fold_trainer.count_batches)
    monkeypatch.setattr(steps.os, "_exit", sys.exit)
    steps.stop_after(2, tmp_path)
    config = TrainingConfig(hidden_feats=8, batch_size=4, epochs=1)
    with pytest.raises(SystemExit):
        fit_fold(small_dataset(), range(20), range(20, 24), config)
    found = json.loads((tmp_path / "0").read_text())
    assert found["steps_an_epoch"] == 5
    assert found["start_cpu_s"] > 0
    assert found["step_s"] > 0


def test_a_watched_command_is_timed_measured_and_killed(benchmark_module):
    watched = benchmark_module("process_tree").watched
    command = [sys.executable, "-c", "import time; held = bytearray(10**8); time.sleep(0.3)"]
    assert watched(command)["seconds"] > 0.3
    endless = [sys.executable, "-c", "import time; time.sleep(1000)"]
    assert watched(endless, lambda: True)["seconds"] < 100
    for wrong in ([sys.executable, "-c", "1 / 0"], [sys.executable, "-c", "exit(3)"]):
        with pytest.raises(RuntimeError, match="ended by itself, with exit code"):
            watched(wrong)
    with pytest.raises(RuntimeError, match="ended by itself, with exit code 0"):
        watched([sys.executable, "-c", "0"], lambda: False)


def test_gradients_of_every_root_are_held_against_60_digits(benchmark_module, monkeypatch):
    """The study stopped where `pivot` had joined the decompositions, which is no root."""
    numerics = benchmark_module("numerics")
    monkeypatch.setattr(numerics, "GAPS", (1e-3,))
    rows = numerics.gradient_study()["rows"]
    assert {row["decomposition"] for row in rows} == set(numerics.ROOTS)
    assert max(row["relative_error"] for row in rows) < 1e-4
    assert max(r["relative_error"] for r in rows if r["decomposition"] == "cholesky") < 1e-10
