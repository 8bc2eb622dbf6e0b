"""From a trained dense net to a sparse one in a quarter of its epochs: LpSS, GMP and RigL, each tuned the same way.

    python scripts/from_pretrained.py --datasets digits,letter --sparsities 0.9,0.95 --seeds 0,1,2

For every data set and seed a dense net is trained with the settings in DENSE; every method begins with its weights
(`init=`). Settings are chosen from twelve a method by their mean accuracy on a validation part of the training
set (from dense nets that have not seen that part either), then trained on all of it and tested. LpSS is also shown
without gains and with learned ones, and every method without the dense net, at the same settings. Runs that have ended
are not trained again. Writes results.csv and README.md to the output folder.
"""

import argparse
import itertools
import sys
from pathlib import Path

import pandas as pd
from table4 import words

from lpss.cli import table
from lpss.cli.compose import compose_run
from lpss.cli.progress import train
from lpss.train.environment import usable_cores

# The dense nets: digits as it is; letter's deep plain net with the warm-up that it needs (experiment=table4).
DENSE = {
    "digits": ["dataset=digits"],
    "letter": ["experiment=table4/letter", "train.epochs=20", "mask.rescale=false"],
}
# Twelve settings each, around what was good in 36 of digits and, for LpSS, in 32 of letter (validation parts, sparsity
# .9). LpSS drops from the first step on, since a trained net has something to drop.
GRIDS = {
    "lpss": {
        "method.begin": ("0",),
        "method.zeta_w": ("0.9",),
        "optimizer.p": ("1.5",),
        "optimizer.lr": ("0.005", "0.01", "0.02", "0.04"),
        "method.end": ("0.5", "0.65", "0.8"),
    },
    "gmp": {
        "method.distribution": ("erk",),
        "optimizer.lr": ("0.01", "0.03", "0.1", "0.3"),
        "method.end": ("0.3", "0.5", "0.75"),
    },
    "rigl": {
        "method.distribution": ("erk",),
        "method.end": ("0.5",),
        "optimizer.lr": ("0.01", "0.03", "0.1", "0.3"),
        "method.drop_fraction": ("0.1", "0.3", "0.5"),
    },
}
LABELS = {"lpss": "LpSS", "gmp": "GMP", "rigl": "RigL"}


def main() -> int:
    args = _arguments()
    dense = {data: [[*DENSE[data], "method=dense", f"seed={seed}"] for seed in args.seeds] for data in args.datasets}
    runs = {data: [[*run, f"output={args.output}/runs/dense"] for run in runs] for data, runs in dense.items()}
    held_out = [
        [*run, "train.validation=0.2", f"output={args.output}/tuning/dense"] for runs in dense.values() for run in runs
    ]
    of_dense = _train(args, runs)
    _train(args, {"held out": held_out})

    cells = list(itertools.product(args.datasets, args.sparsities, GRIDS))
    tried = {
        (*cell, *choice): [
            [*_cell(*cell), *choice, "train.validation=0.2", f"seed={seed}"]
            + [f"init={args.output}/tuning/dense", f"output={args.output}/tuning/sparse"]
            for seed in args.seeds
        ]
        for cell in cells
        for choice in settings(cell[2])
    }
    validation = {
        key: sum(_last(result) for result in results) / len(results) for key, results in _train(args, tried).items()
    }
    chosen = {cell: max((key for key in validation if key[:3] == cell), key=validation.get) for cell in cells}
    final = {
        (cell, name): [
            [*_cell(*cell), *chosen[cell][3:], *more, f"seed={seed}", f"output={args.output}/runs/sparse"]
            for seed in args.seeds
        ]
        for cell in cells
        for name, more in _variants(cell[2], f"{args.output}/runs/dense").items()
    }
    rows = [
        _row(cell, name, chosen[cell][3:], validation[chosen[cell]], results)
        for (cell, name), results in _train(args, final).items()
    ]
    report(args.output, pd.DataFrame(rows), of_dense)
    return 0


def settings(method: str) -> list[list[str]]:
    """The settings of a method, as overrides."""
    keys = list(GRIDS[method])
    return [
        [f"{key}={value}" for key, value in zip(keys, chosen, strict=True)]
        for chosen in itertools.product(*GRIDS[method].values())
    ]


def _cell(dataset: str, sparsity: str, method: str) -> list[str]:
    epochs = compose_run(DENSE[dataset]).train.epochs
    words = [*DENSE[dataset], f"method={method}", f"sparsity={sparsity}"]
    return [*(word for word in words if not word.startswith("train.epochs")), f"train.epochs={max(1, epochs // 4)}"]


def _variants(method: str, dense: str) -> dict[str, list[str]]:
    found = {LABELS[method]: [f"init={dense}"]}
    if method == "lpss":
        found["LpSS, learned gain"] = [f"init={dense}", "sphere.gain=learned"]
        found["LpSS, no gain"] = [f"init={dense}", "sphere.gain=none"]
    return found | {f"{LABELS[method]}, not pretrained": []}


def _train(args: argparse.Namespace, groups: dict) -> dict:
    """Group -> the results of its runs, in their order; None of one that failed."""
    groups = {key: [[*run, *args.overrides] for run in runs] for key, runs in groups.items()}
    outcomes = train([run for runs in groups.values() for run in runs], args.workers)
    results = {outcome.overrides: outcome.result for outcome in outcomes}
    return {key: [results[tuple(run)] for run in runs] for key, runs in groups.items()}


def _last(result: dict | None) -> float:
    return result["accuracy_last"] if result else 0.0


def _row(cell: tuple, name: str, chosen: list[str], validation: float, results: list[dict | None]) -> dict:
    done = pd.DataFrame([result for result in results if result])
    last, sparsity = done["accuracy_last"], done["sparsity_weights"]
    return {
        "Data set": cell[0],
        "Sparsity": cell[1],
        "Method": name,
        "Accuracy": f"{last.mean():.4f} ± {last.std():.4f}",
        "n": len(done),
        "Reached": f"{sparsity.mean():.4f}",
        "Train FLOPs": f"{done['train_flops_relative'].mean():.3f}",
        "Validation": f"{validation:.4f}",
        "Settings": " ".join(chosen),
    }


def report(folder: Path, rows: pd.DataFrame, dense: dict) -> None:
    """Write results.csv (a line a run) and README.md (a line a cell)."""
    if code := table.main([f"{folder}/runs", "--results", f"{folder}/results.csv", "--output", "/dev/null"]):
        sys.exit(code)
    lines = []
    for name, results in dense.items():
        last = pd.Series([_last(result) for result in results])
        lines.append(f"- {name}: {last.mean():.4f} ± {last.std():.4f} (n = {len(last)})")
    text = TEXT.format(dense="\n".join(lines), table=_markdown(rows))
    (folder / "README.md").write_text(text, encoding="utf-8")


def _markdown(rows: pd.DataFrame) -> str:
    cells = [list(rows.columns), ["---"] * len(rows.columns), *rows.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


TEXT = """# From a trained dense net to a sparse one

Made by `python scripts/from_pretrained.py`, which says how. A dense net is trained (digits: with its own settings;
letter: the paper's deep net without normalisation, with the warm-up that it needs, 20 epochs); every method then has a
quarter of its epochs to make it sparse. Settings: chosen from twelve a method on a validation part of the training set
(column *Validation*: the mean accuracy there, same seeds). *Accuracy*: on the test set after the last epoch, mean ±
standard deviation. *Not pretrained*: the same settings and epochs from random weights. Train FLOPs: relative to as many
dense steps, those of the dense net's own training not included.

The dense nets:

{dense}

{table}

LpSS puts the weights of every neuron on a sphere; a fixed gain beside it keeps the neuron's norm, so that the net
computes at the start what the dense net does. *Learned gain*: trained with the biases. *No gain*: the norms are lost.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for all runs")
    add("--datasets", type=words, default=list(DENSE))
    add("--sparsities", type=words, default=["0.9", "0.95"])
    add("--seeds", type=words, default=["0", "1", "2"])
    add("--workers", type=int, default=usable_cores(), help="runs at once, one thread each (default: the cores)")
    add("--output", type=Path, default=Path("outputs/pretrained"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
