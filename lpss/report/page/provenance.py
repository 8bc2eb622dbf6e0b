"""What did not go as it should, and what the numbers rest on: failures, warnings, versions, machines."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lpss.record import FINISHED
from lpss.report.grid import HTML, Grid
from lpss.report.page.cells import Cells
from lpss.report.render import label_columns, labels_of, sparsity_text

MANY = 200  # warnings, more than which are only counted


def failures(cells: Cells) -> Grid | None:
    """The runs that are not averaged, a row each; None where there are none."""
    lost, columns = cells.runs[~cells.runs["averaged"]], label_columns(cells.table)
    rows = [
        labels_of(run, columns, HTML)
        | {
            "Method": HTML.escape(run["label"]),
            "Sparsity": sparsity_text(run["sparsity"]),
            "Seed": "-" if pd.isna(run["seed"]) else str(run["seed"]),
            "Status": HTML.escape(_state(run["status"])),
            "Error": HTML.escape(run["error"] or "-"),
            "Folder": HTML.escape(run["folder"]),
        }
        for run in lost.to_dict("records")
    ]
    return Grid(list(rows[0]), len(rows[0]), [list(row.values()) for row in rows], "", []) if rows else None


def lost_counts(runs: pd.DataFrame, unended: Sequence[Path]) -> list[str]:
    """How many runs are not averaged, by the reason: ["2 diverged", "1 failed"]."""
    states = runs.loc[~runs["averaged"], "status"].value_counts()
    counts = [f"{count} {_state(status)}" for status, count in states.items()]
    return counts + ([f"{len(unended)} not ended"] if unended else [])


def _state(status: str) -> str:
    """The status of a run that is not averaged, in words."""
    return "finished without a number" if status == FINISHED else status


def warnings(cells: Cells) -> Grid | None:
    """The warnings of the runs, the most frequent first; None where there are none."""
    rows = [
        (line, run["label"], run["folder"]) for run in cells.runs.to_dict("records") for line in _lines(run["warnings"])
    ]
    if not rows:
        return None
    table = pd.DataFrame(rows, columns=["line", "label", "folder"])
    groups = table.groupby("line", sort=False).agg(
        runs=("folder", "nunique"),
        who=("label", lambda labels: ", ".join(dict.fromkeys(labels))),
        where=("folder", "first"),
    )
    groups = groups.sort_values("runs", ascending=False, kind="stable")
    shown = [
        [HTML.escape(line), HTML.escape(row["who"]), HTML.escape(row["where"]), str(row["runs"])]
        for line, row in groups.head(MANY).iterrows()
    ]
    left = f"{len(groups) - MANY} more warnings are in the runs' run.json." if len(groups) > MANY else ""
    return Grid(["Warning", "Methods", "First in", "Runs"], 3, shown, left, [])


def _lines(text: str) -> list[str]:
    """The warnings of a run, which its record holds as a JSON list; other text is one warning."""
    try:
        lines = json.loads(text) if text else []
    except ValueError:
        return [text]
    return (
        [line if isinstance(line, str) else json.dumps(line) for line in lines] if isinstance(lines, list) else [text]
    )


def machines(runs: pd.DataFrame) -> Grid:
    """Which versions, machines and ways to compute the runs had, a row for each, with the number of runs."""
    facts = [("commit", runs["git_commit"].str[:12]), ("device", runs["device"]), ("machine", runs["device_name"])]
    facts += [(name, runs[name].astype("string").fillna("")) for name in ("processes", "threads")]
    for column in ("versions", "modes"):
        read = [json.loads(text) if text else {} for text in runs[column]]
        for key in sorted({key for one in read for key in one}):
            facts.append((key, pd.Series([_text(one.get(key, "")) for one in read])))
    rows = [
        [HTML.escape(name), HTML.escape(value or "not recorded"), f"{count:,}"]
        for name, values in facts
        if (values != "").any()
        for value, count in values.value_counts().items()
    ]
    legend = "How many runs had each. Cells that mix versions, machines or commits say so in a footnote of the tables."
    return Grid(["What", "Value", "Runs"], 2, rows, legend, [])


def _text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
