"""Searches by Optuna: on a validation part, in the right direction, in a study that goes on."""

import json
import math

import pytest
import yaml
from omegaconf import OmegaConf

from lpss.cli.compose import compose_run
from lpss.cli.search import BASIC, check_search, objective
from lpss.errors import UsageError

SMALL = ("dataset=synthetic", "train.epochs=1", "train.validation=0.2", "method=set", "optimizer.lr=interval(0.01,0.3)")


def sweeper(**options):
    return OmegaConf.create({"_target_": "some.Sweeper", **options})


def config(*overrides):
    return compose_run(["dataset=synthetic", *overrides])


def test_the_test_set_is_not_searched_on_unless_asked_for():
    with pytest.raises(UsageError, match=r"must not look at the test set: .* train.validation=0.2"):
        check_search(config(), sweeper())
    check_search(config("search.on_test=true"), sweeper())
    check_search(config("train.validation=0.2"), sweeper())
    check_search(config(), sweeper(_target_=BASIC))


@pytest.mark.parametrize(
    ("names", "direction", "message"),
    [
        ("[accuracy_last]", "minimize", "hydra.sweeper.direction=minimize for accuracy_last: say .*=maximize"),
        ("[loss_last]", "maximize", "hydra.sweeper.direction=maximize for loss_last: say .*=minimize"),
        ("[accuracy_last,active_weights]", "maximize", "one for each of search.objective, accuracy_last, active_w"),
        ("[accuracy_last,active_weights]", ["minimize", "minimize"], "direction=minimize for accuracy_last"),
        ("[accuracy_last,active_weights]", ["maximize", "minimize"], None),
        ("[accuracy_last]", "maximize", None),
    ],
)
def test_a_wrong_direction_is_refused(names, direction, message):
    run = config("train.validation=0.2", f"search.objective={names}")
    if message is None:
        check_search(run, sweeper(direction=direction))
    else:
        with pytest.raises(UsageError, match=message):
            check_search(run, sweeper(direction=direction))


@pytest.mark.parametrize("names", ["[accuracy]", "[]", "[method]", "[dataset]"])
def test_objectives_are_results_that_are_numbers(names):
    with pytest.raises(UsageError, match="search.objective: .*accuracy_last, accuracy_best"):
        config(f"search.objective={names}")


def test_a_sweeper_is_told_numbers_and_the_worst_of_a_run_that_diverged():
    result = {"accuracy_last": 0.5, "active_weights": 7, "loss_last": math.nan}
    assert objective(result, ["accuracy_last"]) == 0.5
    assert objective(result, ["accuracy_last", "active_weights"]) == [0.5, 7.0]
    assert objective({"accuracy_last": math.nan, "loss_last": None}, ["accuracy_last", "loss_last"]) == [0.0, math.inf]


def test_a_study_maximises_and_goes_on(python, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'lpss[optuna]'")
    command = ("-m", "lpss.cli.train", "-m", "hydra/sweeper=search", "hydra.sweeper.n_trials=2", *SMALL)
    for trials in (2, 4):
        done = python(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
        assert len(found) == trials and all(run["evaluated_on"] == "validation" for run in found)
    best = yaml.safe_load((tmp_path / "outputs" / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(run["accuracy_last"] for run in found)
    assert (tmp_path / "outputs" / "study.db").exists()


def test_optunas_own_sweeper_is_refused_where_it_would_do_harm(python, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'lpss[optuna]'")
    done = python("-m", "lpss.cli.train", "-m", "hydra/sweeper=optuna", *SMALL, cwd=tmp_path)
    assert done.returncode == 2 and "lpss-train: hydra.sweeper.direction=minimize for accuracy_last" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.rglob("run.json"))
