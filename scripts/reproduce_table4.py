"""Train all of Table 4, several runs at once, and write its tables.

    python scripts/reproduce_table4.py --datasets letter,dna --sparsities 0.9 --seeds 0,1,2 --methods lpss,rigl

Two tables: `table4`, the paper's models as they are, and `table4_best`, with what improves all methods
(conf/experiment/table4.yaml, table4_best.yaml; settings by data set and method: conf/table4.yaml). Runs that have ended
(run folders in OUTPUT/runs) are not trained again and interrupted ones continue, so the same command continues
after an interruption. Runs of which only the line in results.csv is left stay in the tables until they are trained
again, which --trust avoids. Image data sets with the paper's budgets are trained where there is a GPU, or with
--images yes; those of other tables (table4_cpu, ...) anywhere.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from table4 import METHODS, datasets_of, methods, sparsities_of, words
from torch.nn import functional as F
from tqdm import tqdm

from lpss.cli import table
from lpss.cli.compose import compose_run
from lpss.cli.progress import train
from lpss.models import build_model
from lpss.report.collect import collect
from lpss.train.environment import usable_cores
from lpss.train.resolve import resolve

TABLES = ("table4", "table4_best")
FULL_BUDGET = ("table4",)  # tables whose image data sets are trained as long as in the paper
SOURCES = {"mnist_lenet": "sparse-learning", "cht_mlp": "chts"}  # table -> what it is compared with, if not the paper
UCI = ("adult", "connect4", "dna", "mushroom", "letter", "climate", "web")
IMAGES = {  # of these tables: name -> training images, input shape, classes
    "mnist": (60_000, (1, 28, 28), 10),
    "fashion_mnist": (60_000, (1, 28, 28), 10),
    "cifar10": (50_000, (3, 32, 32), 10),
    "tiny_imagenet": (100_000, (3, 64, 64), 200),
}


def main() -> int:
    args = _arguments()
    runs = planned(args)
    if args.trust:
        known = set(collect(args.output / "results.csv")["config_hash"])
        runs = [run for run in tqdm(runs, unit="config") if resolve(compose_run(run)).hash not in known]
    failed = [outcome for outcome in train(runs, args.workers) if outcome.result is None]
    report(args.output, args.tables)
    return 1 if failed else 0


def planned(args: argparse.Namespace) -> list[list[str]]:
    """The overrides of every run, a whole table of one seed before the next."""
    datasets = {experiment: chosen_datasets(args, experiment) for experiment in args.tables}
    return [
        [
            *(f"experiment={experiment}/{dataset}", f"method={method}", f"sparsity={sparsity}", f"seed={seed}"),
            *(f"output={args.output}/runs", *args.overrides),
        ]
        for seed in args.seeds
        for experiment in args.tables
        for dataset in datasets[experiment]
        for method in args.methods
        for sparsity in sparsities_of(method, args.sparsities)
    ]


def chosen_datasets(args: argparse.Namespace, table: str) -> list[str]:
    """Of a table's data sets those asked for (all for None), but for images that are to be left out."""
    known = datasets_of(table)
    chosen = [name for name in args.datasets or known if name in known]
    full = table in FULL_BUDGET
    if args.images == "yes" or args.images == "auto" and (not full or torch.cuda.is_available()):
        return chosen
    for name in chosen:
        if name not in UCI:
            hours = f"; about {hours_of_a_run(name):.1f} hours a run here" if full else ""
            print(f"{table}/{name}: left out without a GPU (--images yes to train it){hours}")
    return [name for name in chosen if name in UCI]


def report(folder: Path, tables: list[str]) -> None:
    """Write results.csv of all runs, earlier and new, and make the tables and figures from it."""
    results = folder / "results.csv"
    sources = [path for path in (results, folder / "runs") if path.exists()]
    _lpss_table(*sources, "--results", results, "--output", os.devnull)
    runs = collect(results)
    for name in tables:
        place = folder / name
        for suffix, format in ((".md", "markdown"), (".csv", "csv"), (".tex", "latex")):
            output = ["--output", place.with_suffix(suffix), "--format", format]
            theirs = ["--source", SOURCES[name]] if name in SOURCES else ["--published"]
            _lpss_table(results, "--experiment", name, *theirs, *output)
        sparse = set(runs["method"][runs["experiment"] == name]) - {"dense"}
        if "lpss" not in sparse or len(sparse) == 1:
            print(f"{name}: no comparison, as runs of LpSS or of another sparse method are missing")
            continue
        more = ["--paired", f"{place}_paired.md", "--ranks", f"{place}_ranks.png"]
        _lpss_table(results, "--experiment", name, *more, "--output", os.devnull)


def _lpss_table(*words: str | Path) -> None:
    print("lpss-table", *words)
    if code := table.main([str(word) for word in words]):
        sys.exit(code)


def hours_of_a_run(dataset: str) -> float:
    """Roughly how long one run takes here, from the time of 16 images forward and backward."""
    config = resolve(compose_run([f"dataset={dataset}", "method=dense"])).config
    images, shape, classes = IMAGES[dataset]
    net = build_model(config.model, shape, classes)
    x, y = torch.zeros(16, *shape), torch.zeros(16, dtype=torch.long)
    for _ in range(2):  # the first is warm-up
        start = time.perf_counter()
        F.cross_entropy(net(x), y).backward()
        seconds = time.perf_counter() - start
    return seconds / len(x) * images * config.train.epochs / 3600


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="for all runs")
    add("--tables", type=words, default=list(TABLES))
    add("--datasets", type=words, help="default: all of a table")
    add("--methods", type=methods, default=list(METHODS), help="or all")
    add("--sparsities", type=words, default=["0.5", "0.8", "0.9"])
    add("--seeds", type=words, default=["0", "1", "2", "3", "4"])
    add("--trust", action="store_true", help="train only what is not in results.csv")
    add("--images", choices=["auto", "yes", "no"], default="auto", help="auto: without a GPU none of table4 itself")
    add("--workers", type=int, default=usable_cores(), help="runs at once, one thread each (default: the cores)")
    add("--output", type=Path, default=Path("outputs/table4"))
    args = parser.parse_args()
    known = {}  # in order, each once
    for experiment in args.tables:
        names = datasets_of(experiment)
        if not names:
            parser.error(f"no table {experiment}: see conf/experiment and conf/table4.yaml")
        known |= dict.fromkeys(names)
    for name in args.datasets or ():
        if name not in known:
            parser.error(f"no data set {name} in {', '.join(args.tables)}: choose from {', '.join(known)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
