import math

import pytest

from lpss.errors import UsageError
from lpss.report.collect import collect
from lpss.report.tables import aggregate, compare, decimals, natural


@pytest.fixture
def table(tmp_path):
    return lambda: aggregate(collect(tmp_path / "outputs"))


def test_mean_and_sample_deviation(table, write_seeds):
    write_seeds([0.90, 0.92, 0.97])
    row = table().iloc[0]
    assert row["n"] == 3 and row["accuracy_mean"] == pytest.approx(0.93)
    assert row["accuracy_std"] == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert row["accuracy_best_mean"] == pytest.approx(0.92) and row["sparsity_reached"] == pytest.approx(0.9)
    assert (row["train_flops"], row["inference_flops"], row["notes"]) == (0.3, 0.12, "")


def test_one_run_has_no_deviation(table, write_run):
    write_run()
    assert math.isnan(table()["accuracy_std"].item())


def test_rows_follow_table_4(table, write_run):
    for method in ("zzz", "lpss_demo", "lpss", "snip_dynamic", "snip", "rigl", "static", "set", "aaa"):
        write_run(method=method)
        write_run(method=method, sparsity=0.5, sparsity_weights=0.5)
    write_run(method="dense", sparsity=None, sparsity_weights=0)
    write_run(dataset="adult")
    frame = table()
    order = ["set", "static", "rigl", "snip", "snip_dynamic", "lpss", "lpss_demo", "aaa", "zzz"]
    assert list(frame["method"]) == ["set", "dense", *order, *order]
    assert list(frame["sparsity"]) == [0.9, 0.0, *[0.5] * 9, *[0.9] * 9]


def test_dense_with_null_and_zero_sparsity_is_one_row(table, write_run):
    write_run(method="dense", sparsity=None, seed=0, sparsity_weights=0)
    write_run(method="dense", sparsity=0.0, seed=1, sparsity_weights=0)
    assert list(table()["n"]) == [2]


def test_a_sweep_over_sparsities_counts_each_dense_seed_once(table, write_run):
    for sparsity in (0.5, 0.9):
        for seed in (0, 1):
            write_run(
                f"{sparsity}-{seed}",
                method="dense",
                sparsity=0.0,
                sparsity_weights=0,
                seed=seed,
                config={"seed": seed, "sparsity": sparsity},
            )
    assert table()[["n", "settings", "notes"]].values.tolist() == [[2, "", ""]]


def test_best_with_ties_as_printed(table, write_run):
    write_run(method="dense", sparsity=0, accuracy_last=0.99, sparsity_weights=0)
    write_run(method="set", accuracy_last=0.95001)
    write_run(method="rigl", accuracy_last=0.95003)
    write_run(method="snip", accuracy_last=0.9498)
    write_run(method="lpss", sparsity=0.5, accuracy_last=0.5, sparsity_weights=0.5)  # alone: nothing to beat
    write_run("other", method="set", model="wrn", accuracy_last=0.1)
    frame = table()
    assert set(frame[frame["best"]]["method"]) == {"set", "rigl"} and frame["best"].sum() == 2


def test_a_missed_sparsity_neither_is_best_nor_prevents_it(table, write_run):
    write_run(method="lpss", accuracy_last=0.97, sparsity_weights=0.8899)
    write_run(method="gmp", accuracy_last=0.96, sparsity_weights=None)  # unknown
    write_run(method="set", accuracy_last=0.95, sparsity_weights=0.89)  # .01 away: not further
    write_run(method="rigl", accuracy_last=0.94, sparsity_weights=0.91)
    for method, reached in (("set", 0.5), ("lpss", 0.48)):  # the only one that counts has nothing to beat
        write_run(method=method, sparsity=0.5, sparsity_weights=reached)
    frame = table()
    assert frame[frame["best"]][["method", "sparsity"]].values.tolist() == [["set", 0.9]]
    notes = frame[frame["sparsity"] == 0.9].set_index("method")["notes"]
    assert notes[["set", "rigl", "lpss", "gmp"]].tolist() == [
        "",
        "",
        "reached sparsity .890, not .900",
        "reached sparsity unknown, not .900",
    ]


def test_the_sparsity_reached_by_itself_is_averaged(table, write_run):
    write_run(method="lpss", seed=0, sparsity_own=0.86)
    write_run(method="lpss", seed=1, sparsity_own=0.88)
    write_run(method="lpss", seed=2, sparsity_own=0.1, status="diverged")
    write_run(method="set")
    frame = table()
    assert list(frame)[list(frame).index("sparsity_reached") + 1] == "sparsity_own"
    assert math.isnan(frame["sparsity_own"][0]) and frame["sparsity_own"][1] == pytest.approx(0.87)


def test_lost_runs_are_counted_named_and_not_averaged(table, write_run):
    write_run(seed=0, accuracy_last=0.9)
    write_run(seed=1, accuracy_last=0.1, status="diverged")
    write_run(seed=2, accuracy_last=None, status="failed")
    write_run(seed=3, accuracy_last=math.nan)
    row = table().iloc[0]
    assert (row["n"], row["diverged"], row["failed"], row["accuracy_mean"]) == (1, 1, 2, 0.9)
    assert row["notes"] == "1 of 4 diverged (seed 1), not averaged; 2 of 4 failed (seed 2, 3), not averaged"


def test_a_cell_without_a_finished_run_stays(table, write_run):
    write_run(method="set", status="diverged", accuracy_last=None)
    write_run(method="rigl")
    frame = table()
    assert list(frame["n"]) == [0, 1] and not frame["best"].any() and math.isnan(frame["accuracy_mean"][0])


def test_validation_and_test_never_mix(table, write_run):
    write_run(seed=0)
    write_run("v0", seed=0, evaluated_on="validation", accuracy_last=0.95)
    write_run("v1", method="rigl", evaluated_on="validation", accuracy_last=0.94)
    frame = table()
    assert list(frame["evaluated_on"]) == ["test", "validation", "validation"]
    assert list(frame["best"]) == [False, True, False]


def test_other_settings_are_split_and_named(table, write_run):
    for p in (1.2, 1.1, 1.15):
        for seed in range(2):
            place = {
                "device": f"cuda:{seed}",
                "data": {"root": str(seed)},
                "output": str(seed),
                "train": {"checkpoint_every": seed},
            }
            config = {"seed": seed, "optimizer": {"p": p, "lr": 0.1}, **place}
            write_run(f"p{p}-{seed}", method="lpss", seed=seed, config=config, accuracy_last=p - 0.3)
    frame = table()
    assert list(frame["settings"]) == ["optimizer.p=1.1", "optimizer.p=1.15", "optimizer.p=1.2"]
    assert list(frame["n"]) == [2, 2, 2]
    assert frame["accuracy_mean"].tolist() == pytest.approx([0.8, 0.85, 0.9])
    assert list(frame["best"]) == [False, False, True]


def test_settings_that_one_run_lacks(table, write_run):
    write_run("a", config={"method": {"drop": 0.3}, "p": {"0.9": 1.1}})
    write_run("b", config={"method": {"drop": 0.3, "grow": "random"}, "p": {"0.9": 1.1}})
    write_run("c", config=None)
    assert list(table()["settings"]) == ["configuration unknown", "method.grow=random", "method.grow=unset"]


def test_settings_that_came_after_a_run_do_not_tell_it_apart(table, write_run):
    gmp = {"name": "gmp", "distribution": "uniform"}
    write_run("before", config={"method": gmp, "mask": {"exclude": []}})
    now = {"method": gmp | {"scope": "layer", "schedule": "cubic"}, "mask": {"exclude": [], "include": []}}
    write_run("now", config=now | {"init": None})
    write_run("global", config=now | {"method": now["method"] | {"scope": "global"}})
    frame = table()
    assert list(frame["settings"]) == ["method.scope=global", "method.scope=layer"]
    assert list(frame["n"]) == [1, 2]


def test_mixed_origins_are_noted(table, write_run):
    write_run(seed=0)
    write_run(
        seed=1,
        versions={"lpss": "0.1.0", "torch": "2.7.0"},
        device="cuda",
        device_name="H100",
        git_commit="ffff00001111",
    )
    write_run("again", seed=1)
    assert table()["notes"].item() == (
        "a seed occurs more than once; mixed torch: 2.6.0, 2.7.0; mixed device: cpu (a cpu), cuda (H100); "
        "mixed commit: abcdef12, ffff0000"
    )


def test_a_missed_sparsity_is_noted(table, write_run):
    write_run(method="lpss", sparsity_weights=0.867)
    assert table()["notes"].item() == "reached sparsity .867, not .900"


def test_published_difference_in_points(table, write_run):
    for method in ("rigl", "lpss", "lpss_demo", "other"):
        write_run(dataset="cifar10", model="wrn", method=method, accuracy_last=0.93)
    write_run("v", dataset="cifar10", model="wrn", method="lpss", evaluated_on="validation")
    write_run(
        "d", dataset="cifar10", model="wrn", method="dense", sparsity=None, accuracy_last=0.9411, sparsity_weights=0
    )
    frame = compare(table()).set_index(["method", "evaluated_on"])
    assert frame["difference"]["rigl", "test"] == pytest.approx(0.15)
    assert frame["published"]["lpss", "test"] == frame["published"]["lpss_demo", "test"] == 0.9310
    assert frame["difference"]["lpss", "test"] == pytest.approx(-0.10)
    assert frame["difference"]["dense", "test"] == pytest.approx(0)
    assert math.isnan(frame["published"]["lpss", "validation"]) and frame["source"]["other", "test"] == ""
    third = compare(table(), "rigl-authors-erk").set_index(["method", "evaluated_on"])
    assert third["published"]["rigl", "test"] == 0.929
    with pytest.raises(UsageError):
        compare(table(), "nobody")


def test_another_model_than_the_published_is_not_compared(table, write_run):
    for model in ("wrn", "cnn_mnist"):
        write_run(model, dataset="mnist", model=model)
    write_run("m", dataset="letter", model="mlp")
    frame = compare(table()).set_index("model")
    assert frame["published"].notna().to_dict() == {"mlp": True, "wrn": True, "cnn_mnist": False}
    assert frame["source"]["cnn_mnist"] == "" and math.isnan(frame["difference"]["cnn_mnist"])


def test_the_order_of_runs_does_not_matter(tmp_path, write_seeds):
    write_seeds([0.1, 0.7, 0.3, 0.11], config={"a": 1})
    runs = collect(tmp_path / "outputs")
    shuffled = runs.sample(frac=1, random_state=1)
    assert aggregate(runs).to_csv() == aggregate(shuffled).to_csv()


def test_text_helpers():
    assert [decimals(x, 4) for x in (0.91234, 1.0, -0.5, math.nan)] == [".9123", "1.0000", "-.5000", "-"]
    assert sorted(["n=10", "n=9", "p=1.2", "p=1.15", "p=[1]", ""], key=natural) == [
        "",
        "n=9",
        "n=10",
        "p=1.15",
        "p=1.2",
        "p=[1]",
    ]
