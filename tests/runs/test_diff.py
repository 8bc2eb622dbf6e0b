"""What differs between two runs."""

import json

from lpss.record import LAYER_FIELDS, RunFolder
from lpss.runs.diff import diff


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_settings_results_layers_and_places(run_folder, runs):
    for name, method, accuracy, density, threads in (("a", "set", 0.9, 0.1, 1), ("b", "rigl", 0.95, 0.15, 4)):
        settings = {"threads": threads, f"method.only_{method}": None, "method.zeta": None if threads == 1 else 0.5}
        fields = {"method": method, "accuracy_last": accuracy, "threads": threads}
        path = run_folder(folder=name, settings=settings, versions={"torch": f"2.{threads}"}, **fields)
        folder = RunFolder(path)
        row = dict.fromkeys(LAYER_FIELDS, 1.0)
        folder.write_layers([row | {"layer": "same"}, row | {"layer": "fc", "density_reached": density}])
    text = lines(diff(*runs()))
    assert text[0].startswith("A ") and text[0].endswith("/a") and text[1].endswith("/b")
    assert text[2:] == [
        *("", "settings", "A B", "method.name set rigl", "method.zeta - 0.5"),
        *("", "settings that decide no result", "A B", "threads 1 4"),
        *("", "results", "A B B - A", "accuracy_last 0.9 0.95 +0.05"),
        *("", "densities of layers", "A B B - A", "fc 0.1 0.15 +0.05"),
        *("", "where they ran", "threads 1 -> 4", "torch 2.1 -> 2.4"),
    ]


def test_small_differences_are_seen(run_folder, runs):
    run_folder(accuracy_last=0.5)
    run_folder(accuracy_last=0.5 + 1e-12)
    assert "accuracy_last 0.5 0.5 +1e-12" in lines(diff(*runs()))


def test_no_difference(run_folder, runs):
    first = run_folder()
    record = json.loads((first / "run.json").read_text())
    run_folder(**record)
    assert lines(diff(*runs()))[2:] == ["", "no difference"]


def test_a_run_that_failed_before_its_first_epoch(run_folder, runs):
    run_folder()
    path = run_folder("failed", accuracy_last=None, error="RuntimeError: a\nb")
    (path / "layers.csv").write_text("nothing")
    text = lines(diff(*runs()))
    assert "status finished failed" in text and "accuracy_last 0.9 -" in text and r"error - RuntimeError: a\nb" in text
