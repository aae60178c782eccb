"""``predict``, ours and chemprop 2's: time a row and peak memory of the whole command.

    OMP_WAIT_POLICY=passive python benchmarks/prediction.py --chemprop PATH_TO/chemprop

One model each, trained for three epochs on the sodium-channel inhibitors that RDKit carries: a
D-MPNN of width 200 with as many edge updates, mean over atoms, a head of one hidden layer of 200;
and ours once more with its default readout. Tables to predict hold distinct analogues of those
molecules (a hydrogen of one atom replaced), because rows of one molecule are predicted once by us.
Both commands run as a user starts them, a process each, one thread, no workers; ours writes
intervals, similarities and nearest training molecules beside the predictions, chemprop predictions
alone.

Commands take turns. Their start is taken off: time a row is the difference between the longest and
the shortest table over the rows between them. Times are of the processor: of one thread, the same
as by the clock where nothing else runs. Memory is the peak of the process as the system tells it,
and of ``--memory-rows`` too, in one run; ``--rounds 0`` takes that alone. Without ``--chemprop``
only ours runs. Stores benchmarks/results/prediction.json and .md (``--rounds 0``:
prediction_memory.json and .md) unless ``--no-store``.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paired import paired_ratio, spread
from rdkit import Chem, RDConfig, rdBase
from text_table import text_table

RESULTS = Path(__file__).parent / "results" / "prediction.json"
DATA = Path(RDConfig.RDContribDir) / "FreeWilson" / "data"
HIDDEN = 200
#: Edge updates of our models; chemprop's depth is one more.
NUM_STEPS = 3
MEAN, DEFAULT, CHEMPROP = "ours, mean", "ours, default readout", "chemprop"
GOAL = 0.5
#: Chemprop wants more than its two of warming up; a model of any quality takes the same time.
EPOCHS = "3"
#: In place of a hydrogen.
SUBSTITUENTS = ("C", "F", "Cl", "O", "N", "Br", "CC", "OC", "C#N", "C(F)(F)F")


def analogues(number: int) -> list[str]:
    """Distinct molecules, each with one substituent more than a sodium-channel inhibitor."""
    found: set[str] = set()
    for smiles in _analogues():
        found.add(smiles)
        if len(found) == number:
            break
    else:
        raise SystemExit(f"only {len(found)} molecules can be made; give a smaller --rows")
    listed = sorted(found)
    random.Random(0).shuffle(listed)
    return listed


def _analogues() -> Iterator[str]:
    with open(DATA / "CHEMBL2321810.smi", encoding="utf-8") as file:
        parents = [Chem.MolFromSmiles(line.split()[0]) for line in file if line.strip()]
    # The first substituent on all sites of all molecules, then the next: all sizes in any number.
    for substituent in SUBSTITUENTS:
        group = Chem.MolFromSmiles(substituent)
        for parent in filter(None, parents):
            for atom in parent.GetAtoms():
                if atom.GetAtomicNum() != 6 or not atom.GetTotalNumHs():
                    continue
                both = Chem.RWMol(Chem.CombineMols(parent, group))
                both.AddBond(atom.GetIdx(), parent.GetNumAtoms(), Chem.BondType.SINGLE)
                for end in (atom.GetIdx(), parent.GetNumAtoms()):
                    both.GetAtomWithIdx(end).SetNumExplicitHs(0)
                with rdBase.BlockLogs():
                    if Chem.SanitizeMol(both, catchErrors=True) == Chem.SANITIZE_NONE:
                        yield Chem.MolToSmiles(both)


def training_table(path: Path) -> None:
    with open(DATA / "CHEMBL2321810.smi", encoding="utf-8") as file:
        smiles = dict(reversed(line.split()[:2]) for line in file if line.strip())
    with open(DATA / "CHEMBL2321810_act.csv", encoding="utf-8", newline="") as file:
        rows = [(smiles[row["Name"]], row["Act"]) for row in csv.DictReader(file)]
    _write(path, ("smiles", "pIC50"), rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def run(command: Sequence[str]) -> dict[str, float]:
    """Wall and processor seconds and peak memory of a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=tempfile.gettempdir(),
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{said.read().decode()[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * unit / 1e6,
    }


class Commands:
    """How each tool trains and predicts in a folder."""

    def __init__(self, folder: Path, chemprop: str | None) -> None:
        self.folder = folder
        self.chemprop = chemprop
        self.names = [MEAN, DEFAULT, *([CHEMPROP] if chemprop else [])]
        self.ours = [sys.executable, "-m", "dgl_gmpool"]

    def model(self, name: str) -> Path:
        return self.folder / name.replace(", ", "_").replace(" ", "_")

    def train(self, name: str) -> None:
        table, output = str(self.folder / "train.csv"), str(self.model(name))
        if name == CHEMPROP:
            command = [str(self.chemprop), "train", "-i", table, "-o", output, "-s", "smiles"]
            command += ["--target-columns", "pIC50", "--epochs", EPOCHS, "-n", "0"]
            command += ["--message-hidden-dim", str(HIDDEN), "--depth", str(NUM_STEPS + 1)]
            command += ["--ffn-hidden-dim", str(HIDDEN), "--aggregation", "mean"]
            command += ["--accelerator", "cpu", "--devices", "1"]
        else:
            command = [*self.ours, "train", "csv", "--csv", table, "--target", "pIC50"]
            command += ["--output", output, "--folds", "1", "--epochs", EPOCHS, "--device", "cpu"]
            command += ["--hidden", str(HIDDEN), "--steps", str(NUM_STEPS), "--backbone", "dmpnn"]
            command += ["--baselines", "none", "--no-report"]
            command += ["--readout", "mean" if name == MEAN else "gmpool"]
        run(command)

    def predict(self, name: str, rows: int) -> dict[str, float]:
        table, output = str(self.folder / f"{rows}.csv"), self.folder / "predictions.csv"
        output.unlink(missing_ok=True)
        if name == CHEMPROP:
            command = [str(self.chemprop), "predict", "-i", table, "-o", str(output), "-n", "0"]
            command += ["-s", "smiles", "--model-paths", str(self.model(name)), "--accelerator"]
            command += ["cpu", "--devices", "1"]
        else:
            command = [*self.ours, "predict", "--model", str(self.model(name)), "--csv", table]
            command += ["--output", str(output), "--processes", "1", "--device", "cpu"]
        found = run(command)
        with open(output, encoding="utf-8", newline="") as file:
            written = sum(1 for _ in csv.reader(file)) - 1
        if written != rows:
            raise SystemExit(f"{name}: {written} rows of {rows} were predicted")
        return found


def summary(times: dict[str, dict[int, list[dict[str, float]]]], rows: Sequence[int]) -> Any:
    """Milliseconds a row, and ours over chemprop's, round by round."""
    short, long = min(rows), max(rows)
    found: dict[str, Any] = {"rows": [], "ratios": []}
    each_ms = {
        (name, kind): [
            1000 * (more[kind] - less[kind]) / (long - short)
            for less, more in zip(of[short], of[long])
        ]
        for name, of in times.items()
        for kind in ("wall", "cpu")
    }
    for name, of in times.items():
        found["rows"].append(
            {
                "command": name,
                "ms_a_row": {kind: spread(each_ms[name, kind]) for kind in ("wall", "cpu")},
                "seconds": {str(n): min(one["wall"] for one in of[n]) for n in sorted(of)},
                "peak_mb": {str(n): max(one["peak_mb"] for one in of[n]) for n in sorted(of)},
            }
        )
    for name in (MEAN, DEFAULT) if CHEMPROP in times else ():
        found["ratios"].append(
            {
                "command": name,
                "goal": GOAL,
                "a_row": {
                    kind: paired_ratio(each_ms[name, kind], each_ms[CHEMPROP, kind])
                    for kind in ("wall", "cpu")
                },
                "whole_command": {
                    str(n): paired_ratio(
                        [one["wall"] for one in times[name][n]],
                        [one["wall"] for one in times[CHEMPROP][n]],
                    )
                    for n in rows
                },
            }
        )
    return found


def peaks(times: dict[str, dict[int, list[dict[str, float]]]]) -> Any:
    """Peak memory of the longest table."""
    return {
        "rows": [
            {"command": name, "rows": max(of), "peak_mb": of[max(of)][0]["peak_mb"]}
            for name, of in times.items()
        ]
    }


def table_of_peaks(record: dict[str, Any]) -> str:
    """The table of :func:`peaks`, in Markdown."""
    rows = record["results"]["rows"]
    head = ["command", f"peak MB, {rows[0]['rows']:,} rows"]
    return text_table(head, [[row["command"], f"{row['peak_mb']:.0f}"] for row in rows]) + "\n"


def report(record: dict[str, Any]) -> str:
    """The tables of a record, in Markdown."""
    lengths = list(record["results"]["rows"][0]["peak_mb"])
    rows = [
        [row["command"], f"{row['ms_a_row']['cpu']['median']:.2f}"]
        + [f"{row['peak_mb'][n]:.0f}" for n in lengths]
        for row in record["results"]["rows"]
    ]
    head = ["command", "ms a row", *(f"peak MB, {int(n):,} rows" for n in lengths)]
    parts = [text_table(head, rows)]
    if record["results"]["ratios"]:
        parts.append(
            text_table(
                ["over chemprop", "a row", "quartiles", "held to"],
                [
                    [
                        each["command"],
                        f"{each['a_row']['cpu']['median']:.2f}",
                        "{:.2f} to {:.2f}".format(*each["a_row"]["cpu"]["quartiles"]),
                        f"<= {each['goal']}",
                    ]
                    for each in record["results"]["ratios"]
                ],
            )
        )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chemprop", metavar="COMMAND", help="chemprop 2's command")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-rows", type=int, default=30_000, help="0: no longer table")
    parser.add_argument("--folder", type=Path, help="keeps models, and takes those that are there")
    parser.add_argument("--no-store", action="store_true")
    args = parser.parse_args()
    if args.rounds < 0 or len(set(args.rows)) < 2 or min(args.rows) < 1:
        parser.error("give --rounds of at least 0 and two different --rows of at least 1")
    if not args.rounds and not args.memory_rows:
        parser.error("--rounds 0 measures memory alone; give --memory-rows of at least 1")
    if args.chemprop and shutil.which(args.chemprop) is None:
        parser.error(f"--chemprop {args.chemprop} is no command")
    load = os.getloadavg()[0]
    times: dict[str, dict[int, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as own:
        folder = args.folder or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        commands = Commands(folder, args.chemprop)
        training_table(folder / "train.csv")
        lengths = {*(args.rows if args.rounds else ()), args.memory_rows} - {0}
        smiles = analogues(max(lengths))
        for rows in lengths:
            _write(folder / f"{rows}.csv", ["smiles"], [[each] for each in smiles[:rows]])
        for name in commands.names:
            if not commands.model(name).exists():
                commands.train(name)
        for _ in range(args.rounds):
            for rows in args.rows:
                for name in commands.names:
                    of = times.setdefault(name, {})
                    of.setdefault(rows, []).append(commands.predict(name, rows))
        if args.memory_rows:
            # Once: nothing but the peak is taken from it.
            for name in commands.names:
                of = times.setdefault(name, {})
                of[args.memory_rows] = [commands.predict(name, args.memory_rows)]
    # Not before: a process starts with the peak memory of the one that starts it.
    from setting import command_line, setting, store

    record = {
        **setting(command_line()),
        "load_average_at_start": round(load, 1),
        "chemprop": _version(args.chemprop),
        "rounds": args.rounds,
        "results": summary(times, args.rows) if args.rounds else peaks(times),
        "times": {
            name: {str(rows): found for rows, found in of.items()} for name, of in times.items()
        },
    }
    text = report(record) if args.rounds else table_of_peaks(record)
    print(text)
    if not args.no_store:
        file = RESULTS if args.rounds else RESULTS.with_stem(f"{RESULTS.stem}_memory")
        store(record, text, file)


def _version(chemprop: str | None) -> str | None:
    """Of the distribution beside the command: it may live in an environment of its own."""
    if chemprop is None:
        return None
    python = Path(shutil.which(chemprop) or chemprop).resolve().parent / "python"
    code = "from importlib.metadata import version; print(version('chemprop'))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


if __name__ == "__main__":
    main()
