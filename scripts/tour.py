"""A tour in three minutes: a csv file -> a sweep -> table and report -> predictions for new rows -> an exported net.

    python scripts/tour.py [FOLDER]       # make tour; FOLDER (outputs/tour) gets all files

Every command is printed as one would type it. The table is scikit-learn's: 569 tumours by 30 measurements
(https://archive.ics.uci.edu/dataset/17), of which 69 are kept back as the new rows.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer

NEW = 69


def write_tables(folder: Path) -> None:
    """mine.csv with labels, new.csv without."""
    data = load_breast_cancer(as_frame=True)
    table = data.frame.assign(diagnosis=data.target.map(lambda code: data.target_names[code])).drop(columns="target")
    table = table.sample(frac=1, random_state=0)
    table.insert(0, "patient", [f"P{number:03}" for number in range(len(table))])
    table.iloc[NEW:].to_csv(folder / "mine.csv", index=False)
    table.iloc[:NEW].drop(columns="diagnosis").to_csv(folder / "new.csv", index=False)


def run(*words: str) -> None:
    """Print a command, then run it; ends the tour where it fails."""
    print(f"\n$ {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *words])
    if done.returncode:
        sys.exit(done.returncode)


def best(runs: Path, method: str) -> str:
    """The folder of the method's run that is most accurate on its validation part."""
    records = {file.parent: json.loads(file.read_text()) for file in runs.rglob("run.json")}
    return str(max((run["accuracy_last"], folder) for folder, run in records.items() if run["method"] == method)[1])


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/tour")
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder)
    runs = folder / "runs"
    print("A table of one's own, three methods, two sparsities, two seeds; a validation part compares them.")
    run(
        *("lpss", "train", "-m", "dataset=csv", f"dataset.path={folder}/mine.csv", "dataset.target=diagnosis"),
        *("train.validation=0.2", "method=dense,rigl,lpss", "sparsity=0.8,0.9", "seed=0,1", f"output={runs}"),
    )
    run("lpss", "table", str(runs))
    run("lpss", "runs", "list", str(runs), "--where", "method=lpss", "--sort", "-accuracy_last", "--limit", "3")
    run("lpss", "report", str(runs), "-o", f"{folder}/report.html", "--title", "Tumours")
    chosen = best(runs, "lpss")
    print("\nClasses of new rows by the sparse net, which prepares them itself: mine.csv is not needed any more.")
    run("lpss", "predict", chosen, f"{folder}/new.csv", "--output", f"{folder}/predictions.csv", "--keep", "patient")
    print("".join((folder / "predictions.csv").read_text().splitlines(keepends=True)[:5]), end="")
    print("\nA file of the net for elsewhere: its active weights alone.")
    run("lpss", "export", chosen, "--format", "safetensors", "--output", f"{folder}/net.safetensors", "--force")
    print(f"\nLook at {folder}/report.html")


if __name__ == "__main__":
    main()
