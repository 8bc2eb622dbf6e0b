import pytest

from lpss.report.collect import collect
from lpss.report.render import render
from lpss.report.tables import aggregate

EVIL = "</script><script>alert('<b>')</script>"
SECTIONS = {"overview", "accuracy", "cells", "sparsity", "flops", "time", "epochs", "layers", "comparison", "settings"}
SECTIONS |= {"failures", "machines", "all-runs"}


def markdown_rows(text):
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in cells if not set(row[0]) <= set("-: ")]


@pytest.mark.parametrize(
    ("layout", "label"), [("long", "Accuracy and cost of each cell"), ("wide", "Accuracy by method")]
)
def test_the_numbers_are_those_of_lpss_table(tmp_path, sweep, write_seeds, page_of, read_page, layout, label):
    write_seeds([0.95, 0.96], method="dense", dataset="dna", sparsity=None, sparsity_weights=0)
    write_seeds([0.99, 0.5], method="snip", dataset="dna", sparsity_weights=0.4)
    found = read_page(page_of()).tables[label]
    shown = render(aggregate(collect(tmp_path / "outputs")), layout=layout)
    wanted = [[cell.replace("**", "").replace(" [", "[") for cell in row] for row in markdown_rows(shown)]
    assert [[cell.replace(" [", "[").strip() for cell in row] for row in found] == wanted and len(wanted) > 6


def test_the_best_are_bold_and_what_missed_the_sparsity_has_a_footnote(sweep, write_seeds, page_of):
    write_seeds([0.999], method="snip", dataset="dna", sparsity_weights=0.4)
    text = page_of()
    assert "<b>.7905 ± .0007</b>" not in text and "<b>.7910 ± .0014</b>" in text
    assert ".9990<sup>[1]</sup>" in text and "<li>reached sparsity .400, not .900</li>" in text


def test_every_section_is_there_and_every_link_stays_on_the_page(sweep, page_of, read_page):
    found = read_page(page_of("Three methods"))
    assert SECTIONS <= found.ids and {f"#{name}" for name in SECTIONS} <= set(found.addresses)
    assert all(address.startswith("#") for address in found.addresses)
    assert found.text.startswith("Three methods") and "http" not in found.text
    assert "LpSS in 6" in found.text.replace("  ", " ")


def test_nothing_of_a_run_becomes_markup(write_run, page_of, read_page):
    for seed in (0, 1):
        write_run(f"a{seed}", seed=seed, dataset=EVIL, method=EVIL, experiment=f"<!--{seed}", device_name=EVIL,
                  warnings=[EVIL], config={EVIL: {EVIL: seed}}, versions={EVIL: EVIL})  # fmt: skip
    write_run("b", status="failed", error=EVIL, dataset="{{ 7 * 7 }} 数据 🙂", accuracy_last=None)
    text = page_of(EVIL, remarks=[EVIL], unended=[EVIL])
    found = read_page(text)
    assert text.count("<script") == text.count("</script") == len(found.scripts) == 2 and "<!--" not in text
    assert EVIL in found.column("Accuracy and cost of each cell", "Method")
    assert "{{ 7 * 7 }} 数据 🙂" in found.column("Accuracy and cost of each cell", "Data set")
    assert found.data["methods"][-1]["name"] == EVIL
    assert EVIL in found.column("Warnings of the runs", "Warning") and EVIL in found.column(
        "Versions and machines", "Value"
    )


def test_the_same_runs_give_the_same_bytes(sweep, page_of):
    assert page_of() == page_of()


def test_only_failed_runs_are_said_to_be_so(write_run, page_of, read_page):
    write_run(seed=0, status="failed", error="RuntimeError: out of memory", accuracy_last=None)
    write_run(seed=1, status="diverged", accuracy_last=None)
    found = read_page(page_of(unended=["outputs/half"]))
    assert "1 failed, 1 diverged, 1 not ended: these runs are in no average" in found.text
    assert "No run has finished with an accuracy" in found.text and "outputs/half" in found.text
    assert found.column("Runs that are not averaged", "Status") == ["failed", "diverged"]
    assert found.column("Runs that are not averaged", "Error") == ["RuntimeError: out of memory", "-"]


def test_a_run_without_anything_but_its_names(write_run, page_of, read_page):
    nothing = dict.fromkeys(("experiment", "model", "seed", "accuracy_best", "evaluated_on", "wall_time_s", "device"))
    nothing |= dict.fromkeys(("sparsity", "sparsity_weights", "train_flops_relative", "config", "versions", "finished"))
    write_run("a", **nothing, warnings=None, config_hash="h")
    found = read_page(page_of())
    assert "1 run has no settings on record" in found.text and found.column("Accuracy by method", "SET") == [
        ".9000 (n=1)[1]"
    ]


def test_what_a_results_csv_lacks_is_said(sweep, page_of, read_page):
    text = read_page(page_of()).text
    assert "No metrics.csv of an averaged run is there" in text and "No layers.csv of an averaged run is there" in text


def test_numbers_beyond_measure_stay_json(write_run, page_of, read_page):
    write_run(seed=0, train_flops_relative=1e308, wall_time_s=float("inf"), accuracy_best=float("nan"), loss_last=1e300)
    (cell,) = read_page(page_of()).data["cells"]
    assert cell["flops"] == 1e308 and cell["seconds"] is None
