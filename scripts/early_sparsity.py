#!/usr/bin/env python3
"""What LpSS gains in time, and loses in accuracy, by being sparse earlier: accuracy on a validation part against time.

    python scripts/early_sparsity.py [--dataset letter] [--sparsity 0.9] [--seeds 0,1,2] [--csv outputs/bench/early.csv]
                                     [--runs FOLDER] [KEY=VALUE ...]

Trains `experiment=table4_best` of the data set, each combination of `method.start_sparsity` and the part of training in
which LpSS changes its masks (`method.begin`, `method.end`), under train.backend=auto, one run after the other, with a
tenth of the training set held out; and once more under dense what LpSS does by default. Runs that have ended are kept
in FOLDER, so that the same command goes on where it was stopped. `scripts/bench_readme.py` makes the table.
"""

import argparse
import subprocess
import sys
from pathlib import Path

START = "0.2,0.5,0.8"
WINDOWS = ((0.2, 0.8), (0.1, 0.5), (0.05, 0.3))  # the first is LpSS's own


def main() -> int:
    """Train, and write the csv; returns the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="letter")
    parser.add_argument("--sparsity", default="0.9")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--csv", type=Path, default=Path("outputs/bench/early.csv"))
    parser.add_argument("--runs", type=Path, default=Path("outputs/early"))
    args, overrides = parser.parse_known_args()
    common = [
        f"experiment=table4_best/{args.dataset}",
        "method=lpss",
        f"sparsity={args.sparsity}",
        f"seed={args.seeds}",
        "train.validation=0.1",
        *overrides,
    ]
    sweeps = [["train.backend=auto", f"method.start_sparsity={START}", f"method.begin={begin}", f"method.end={end}"]
              for begin, end in WINDOWS]  # fmt: skip
    outputs = [args.runs / "auto"] * len(sweeps) + [args.runs / "dense"]
    for settings, output in zip([*sweeps, ["train.backend=dense"]], outputs, strict=True):
        command = [sys.executable, "-m", "lpss.cli.train", "--multirun", *common, *settings, f"output={output}"]
        if code := subprocess.run(command).returncode:
            return code
    table = [sys.executable, "-m", "lpss.cli.table", str(args.runs), "--results", str(args.csv)]
    return subprocess.run(table).returncode


if __name__ == "__main__":
    sys.exit(main())
