"""Runs -> cells of a table: mean and spread over seeds, which is best, which runs should not be averaged together."""

import json
import math
import re

import pandas as pd

from lpss.config import incidental_settings
from lpss.report.completed import completed
from lpss.report.names import DATASETS, MANY, method_rank, rank
from lpss.report.published import READING_OF, published

CELL = ["experiment", "dataset", "model", "method", "sparsity", "evaluated_on"]
# What two methods must share before one can be called better.
CONTEST = ["dataset", "model", "sparsity", "evaluated_on"]
BLOCK = ["experiment", "dataset", "model", "evaluated_on"]  # what a dense run is the baseline of
INCIDENTAL = incidental_settings() | {"seed"}  # settings in which runs of one cell may differ
MISSED = 0.01  # a cell whose sparsity is further than this from the requested one is noted, and cannot be best


def settle(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of `collect` with dense at sparsity 0 and a column `settings`, sorted by seed.

    A dense run repeated with the same seed and settings (a sweep over sparsities repeats it) stays once.
    `settings` tells runs apart that share a `CELL` but not a configuration, by the keys that differ
    ("optimizer.p=1.1"); it is "" where there is nothing to tell apart.
    """
    runs = runs.copy()
    runs.loc[runs["method"] == "dense", "sparsity"] = 0.0
    runs["settings"] = ""
    for _, cell in runs.groupby(CELL, dropna=False, sort=False):
        runs.loc[cell.index, "settings"] = _differences(cell["config"].tolist(), cell["method"].iloc[0])
    runs = runs.sort_values(["seed", "config_hash", "folder"], ignore_index=True)
    # A sweep over sparsities trains the dense baseline once for each, alike: a seed must count once.
    again = runs.duplicated([*CELL, "settings", "seed", "status"]) & (runs["method"] == "dense")
    return runs[~again].reset_index(drop=True)


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are averaged: those that ended, with a number."""
    return runs[(runs["status"] == "finished") & runs["accuracy_last"].map(math.isfinite)]


def on_target(requested, reached):
    """Whether a reached sparsity (a number or a Series) is within MISSED of the requested one; NaN is not."""
    return abs(requested - reached) <= MISSED + 1e-9  # .9 and .89 are .01 apart, but not as floats


def aggregate(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each experiment, dataset, model, method, sparsity, evaluated_on, `settings` (see `settle`).

    Columns: those seven; accuracy_mean, accuracy_std (ddof 1, NaN for one run), n (finished runs, the only
    ones averaged); best (bool: the highest mean, to four decimals, among the two or more sparse rows that
    share dataset, model, sparsity and evaluated_on, and are `on_target`); accuracy_best_mean (mean of the
    best epochs); sparsity_reached; sparsity_own (what a method reached before its exact finish, NaN where
    it has none); train_flops and inference_flops (relative to dense); train_time (measured, relative to the dense
    runs of the same experiment, dataset, model and evaluated_on; NaN where there are none, or several kinds); diverged
    and failed (how many); notes (text).
    """
    rows = [
        {**dict(zip([*CELL, "settings"], key, strict=True)), **_summary(cell)}
        for key, cell in settle(runs).groupby([*CELL, "settings"], dropna=False)
    ]
    grouped = len({row["method"] for row in rows}) > MANY
    table = pd.DataFrame(sorted(rows, key=lambda row: _order(row, grouped)))
    table.insert(table.columns.get_loc("n") + 1, "best", _best(table))
    table["train_time"] /= _dense_time(table)
    return table


def _dense_time(table: pd.DataFrame) -> pd.Series:
    """For each row the time of the dense row it can be compared with; NaN where there is not one."""
    dense = table["train_time"].where((table["method"] == "dense") & (table["n"] > 0))
    block = dense.groupby([table[name] for name in BLOCK], dropna=False)
    return block.transform("max").where(block.transform("count") == 1)


def compare(table: pd.DataFrame, source: str = "paper") -> pd.DataFrame:
    """The table with the columns published, difference (ours - published, in points) and source.

    Only rows evaluated on the test set are compared, and only with the same kind of model; cells that nobody
    published are NaN, their source "".
    Raises UsageError for an unknown source.
    """
    keys = ["dataset", "model", "method", "sparsity"]
    figures = published(source).set_index(keys)["accuracy"]
    ours = table[keys].assign(method=table["method"].replace(READING_OF), sparsity=table["sparsity"].round(6))
    theirs = [figures.get(key, math.nan) for key in ours.itertuples(index=False, name=None)]
    theirs = pd.Series(theirs, index=table.index, dtype="float64")
    theirs = theirs.where(table["evaluated_on"] == "test")
    return table.assign(
        published=theirs,
        difference=100 * (table["accuracy_mean"] - theirs),
        source=[source if known else "" for known in theirs.notna()],
    )


def four(accuracy: float) -> str:
    """An accuracy as the paper prints it: .9123; a dash for NaN."""
    return decimals(accuracy, 4)


def decimals(value: float, places: int) -> str:
    """`value` without its leading zero; a dash for NaN."""
    return "-" if math.isnan(value) else re.sub(r"^(-?)0\.", r"\1.", f"{value:.{places}f}")


def natural(text: str) -> list:
    """A sort key under which p=1.1 < p=1.15 < p=1.2 and n=9 < n=10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)]


def _differences(configs: list[str], method: str) -> list[str]:
    """For each configuration (JSON, "" if unknown): its values of the keys in which they differ."""
    read = [json.loads(config) if config else None for config in configs]
    flat = [None if config is None else flat_settings(config) for config in read]
    if len({frozenset(settings) for settings in flat if settings is not None}) > 1:  # maybe of two versions of lpss
        flat = [None if config is None else flat_settings(completed(config)) for config in read]
    known = [settings for settings in flat if settings is not None]
    ignored = {"sparsity"} if method == "dense" else set()
    keys = sorted({key for settings in known for key in settings} - ignored)
    varied = [key for key in keys if len({settings.get(key, "unset") for settings in known}) > 1]
    unknown = "configuration unknown" if known else ""
    return [
        unknown if settings is None else ", ".join(f"{key}={settings.get(key, 'unset')}" for key in varied)
        for settings in flat
    ]


def flat_settings(config: dict, prefix: str = "") -> dict[str, str]:
    """The settings of a config that decide its result, but for the seed: dotted key -> value as text."""
    flat = {}
    for key, value in config.items():
        key = f"{prefix}{key}"
        if key in INCIDENTAL:
            continue
        if isinstance(value, dict) and value and key != "optimizer.p":
            flat |= flat_settings(value, f"{key}.")
        elif isinstance(value, dict) and value:  # a rule is one setting: {0.5: 2, 0.9: 1.5}
            flat[key] = f"{{{', '.join(f'{name}: {_short(p)}' for name, p in sorted(value.items()))}}}"
        else:
            flat[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return flat


def _short(value) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _summary(cell: pd.DataFrame) -> dict:
    good = finished(cell)
    diverged = cell[cell["status"] == "diverged"]
    failed = cell.drop(good.index.union(diverged.index))
    return {
        "accuracy_mean": good["accuracy_last"].mean(),
        "accuracy_std": good["accuracy_last"].std(ddof=1),
        "n": len(good),
        "accuracy_best_mean": good["accuracy_best"].mean(),
        "sparsity_reached": good["sparsity_weights"].mean(),
        "sparsity_own": good["sparsity_own"].mean(),
        "train_flops": good["train_flops_relative"].mean(),
        "train_time": good["wall_time_s"].mean(),
        "inference_flops": good["inference_flops_relative"].mean(),
        "diverged": len(diverged),
        "failed": len(failed),
        "notes": "; ".join(_notes(cell, good, diverged, failed)),
    }


def _notes(cell: pd.DataFrame, good: pd.DataFrame, diverged: pd.DataFrame, failed: pd.DataFrame):
    for word, lost in (("diverged", diverged), ("failed", failed)):
        if len(lost):
            seeds = ", ".join(map(str, lost["seed"]))
            yield f"{len(lost)} of {len(cell)} {word} (seed {seeds}), not averaged"
    if good["seed"].duplicated().any():
        yield "a seed occurs more than once"
    requested, reached = cell["sparsity"].iloc[0], good["sparsity_weights"].mean()
    if len(good) and not on_target(requested, reached):
        found = "unknown" if math.isnan(reached) else decimals(reached, 3)
        yield f"reached sparsity {found}, not {decimals(requested, 3)}"
    yield from _mixed(good)


def _mixed(good: pd.DataFrame):
    versions = [json.loads(text) if text else {} for text in good["versions"]]
    for package in sorted({name for one in versions for name in one}):
        if len(found := sorted({str(one.get(package, "?")) for one in versions})) > 1:
            yield f"mixed {package}: {', '.join(found)}"
    devices = {f"{kind} ({name})" for kind, name in zip(good["device"], good["device_name"], strict=True)}
    if len(devices) > 1:
        yield f"mixed device: {', '.join(sorted(devices))}"
    if len(commits := {commit[:8] or "unknown" for commit in good["git_commit"]}) > 1:
        yield f"mixed commit: {', '.join(sorted(commits))}"


def _best(table: pd.DataFrame) -> pd.Series:
    """Compared as printed, to four decimals: two figures that look equal are both best."""
    competes = (table["method"] != "dense") & on_target(table["sparsity"], table["sparsity_reached"])
    shown = pd.to_numeric(table["accuracy_mean"].map(four), errors="coerce").where(competes)
    groups = shown.groupby([table[name] for name in CONTEST], dropna=False)
    return (shown == groups.transform("max")) & (groups.transform("count") > 1)


def _order(row: dict, grouped: bool) -> tuple:
    sparsity = -1.0 if math.isnan(row["sparsity"]) else row["sparsity"]
    return (
        rank(row["dataset"], DATASETS),
        row["experiment"],
        row["model"],
        row["evaluated_on"],
        sparsity,
        method_rank(row["method"], grouped),
        natural(row["settings"]),
    )
