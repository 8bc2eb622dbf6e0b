"""Choose the learning rates of Table 4 on validation parts of the training sets.

    python scripts/tune_table4.py table4 letter dna --seeds 0,1

For every data set and method it trains each candidate of GRIDS at the sparsities asked for and prints the mean accuracy
on the validation part (a fifth of the training set, another for each seed), the best first. Finished runs are kept in
outputs/tuning and are not trained again. What it prints is then written, by hand, into conf/table4.yaml.
"""

import argparse
import itertools
import sys

import pandas as pd
from table4 import METHODS, methods, sparsities_of, words

from lpss.cli.progress import train
from lpss.train.environment import usable_cores

GRIDS = {
    "sgd": {"optimizer.lr": [0.03, 0.1, 0.3]},
    "lpsgd_m": {"optimizer.lr": [0.005, 0.01, 0.02, 0.05]},
}


def main() -> int:
    args = _arguments()
    runs = [run for dataset in args.datasets for run in candidates(args, dataset)]
    rows, failed = [], 0
    described = {tuple(overrides): (dataset, method, choice) for dataset, method, choice, overrides in runs}
    for outcome in train([overrides for *_, overrides in runs], args.workers):
        if outcome.result is None:
            failed += 1
            continue
        dataset, method, choice = described[outcome.overrides]
        # A diverged run counts as accuracy 0, whatever it had in its last epoch.
        accuracy = outcome.result["accuracy_last"] if outcome.result["status"] == "finished" else 0.0
        rows.append((dataset, method, choice, outcome.result["sparsity"], accuracy or 0.0))
    print(summary(rows))
    return 1 if failed else 0


def candidates(args: argparse.Namespace, dataset: str):
    """(data set, method, choice as text, overrides of a run) for every candidate, sparsity and seed."""
    for method in args.methods:
        grid = {**GRIDS["lpsgd_m" if method.startswith("lpss") else "sgd"], **args.grid}
        for values in itertools.product(*grid.values()):
            choice = [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
            for sparsity in sparsities_of(method, args.sparsities):
                for seed in args.seeds:
                    yield (
                        dataset,
                        method,
                        " ".join(choice),
                        (
                            *(f"experiment={args.table}/{dataset}", f"method={method}", f"sparsity={sparsity}"),
                            *(f"seed={seed}", "train.validation=0.2", "output=outputs/tuning"),
                            *("train.checkpoint_every=0", "device=cpu", *choice, *args.overrides),
                        ),
                    )


def summary(rows: list[tuple]) -> str:
    """Data set, method, choice: mean accuracy over seeds for each sparsity, and over all; the best choice first."""
    frame = pd.DataFrame(rows, columns=["dataset", "method", "choice", "sparsity", "accuracy"])
    table = frame.pivot_table("accuracy", ["dataset", "method", "choice"], "sparsity")
    table["mean"] = table.mean(axis=1)
    table["runs"] = frame.groupby(["dataset", "method", "choice"]).size()
    table = table.reset_index().sort_values(["dataset", "method", "mean"], ascending=[True, True, False])
    return table.to_string(index=False, float_format="{:.4f}".format, na_rep="-")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def numbers(text: str) -> list[float]:
        return [float(word) for word in words(text)]

    parser.add_argument("table", help="an experiment: table4, table4_best or table4_short")
    parser.add_argument("datasets", nargs="+", help="its data sets (of table4_short: mnist, mnist_cnn)")
    parser.add_argument("--methods", type=methods, default=METHODS, help="or all")
    parser.add_argument("--sparsities", type=numbers, default=[0.5, 0.9])
    parser.add_argument("--seeds", type=words, default=["0"])
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=V1,V2", help="try these instead, or too")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for all runs"
    )
    parser.add_argument("--workers", type=int, default=usable_cores())
    args = parser.parse_args()
    args.grid = {key: words(values) for key, _, values in (text.partition("=") for text in args.grid)}
    return args


if __name__ == "__main__":
    sys.exit(main())
