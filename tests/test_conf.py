"""The yaml files: each composes, agrees with the class it configures, and each experiment trains."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir

from lpss.cli.compose import compose_run, config_folder, register_configs
from lpss.config import RunConfig, plain_config
from lpss.data import DATASETS
from lpss.errors import UsageError
from lpss.models import MODELS
from lpss.registries import OPTIMIZERS, TRACKERS
from lpss.schedules import SCHEDULES
from lpss.sparse.methods import METHODS
from lpss.train.resolve import resolve
from lpss.train.run import run

CONF = Path(__file__).resolve().parents[1] / "conf"
CHOICES = {
    group: sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))
    for group in ("dataset", "model", "optimizer", "method", "schedule", "tracker", "experiment")
}
TABLE4 = yaml.safe_load((CONF / "table4.yaml").read_text())["one_method"]
EXPERIMENTS = CHOICES["experiment"] + [f"{name}/{data}" for name in TABLE4 if "/" not in name for data in TABLE4[name]]
EXPERIMENTS = [name for name in EXPERIMENTS if name not in TABLE4 or "/" in name]  # which need a data set
NEEDS_IMAGES = {"cnn_mnist": "dataset=mnist", "cnn_fashion_mnist": "dataset=mnist", "wrn": "dataset=mnist"}


def test_every_registered_name_has_a_file_and_the_other_way_round():
    assert set(CHOICES["dataset"]) == set(DATASETS)
    assert set(CHOICES["model"]) == {*MODELS, "auto"}
    assert set(CHOICES["optimizer"]) == set(OPTIMIZERS)
    assert set(CHOICES["method"]) == set(METHODS)
    assert set(CHOICES["tracker"]) == {*TRACKERS, "none", "csv"}
    assert {
        yaml.safe_load((CONF / "schedule" / f"{name}.yaml").read_text())["name"] for name in CHOICES["schedule"]
    } == set(SCHEDULES)


@pytest.mark.parametrize(
    "group, name",
    [(group, name) for group in ("dataset", "model", "optimizer", "method", "schedule") for name in CHOICES[group]],
)
def test_every_choice_composes_and_is_accepted(composed, group, name):
    extra = [NEEDS_IMAGES[name]] if name in NEEDS_IMAGES else []
    config = resolve(composed(f"{group}={name}", *extra)).config
    assert getattr(config, group)["name"] in (name, "mlp" if name == "auto" else "piecewise")


@pytest.mark.parametrize("name", ["csv", "parquet", "npz", "image_folder"])
def test_files_of_data_of_ones_own_show_every_option_with_its_default(name):
    shown = yaml.safe_load((CONF / "dataset" / f"{name}.yaml").read_text())["dataset"]
    default = DATASETS.complete({"name": name})
    for options in (shown, default):  # which have none by themselves
        options.pop("model", None), options.pop("augment", None)
    assert shown == default


@pytest.mark.parametrize("name", METHODS)
def test_method_files_show_every_option_with_its_default(name):
    shown = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    assert shown.get("method", shown) == METHODS.complete({"name": name})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_files_show_every_option_with_its_default(name):
    shown = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text())
    assert OPTIMIZERS.complete(shown) == OPTIMIZERS.complete({"name": name})
    assert shown.keys() == OPTIMIZERS.complete({"name": name}).keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_trains(composed, name):
    config = composed(f"experiment={name}", "train.max_steps=1", "train.batch_size=8")
    assert config.experiment_name == name.split("/")[0]
    images = {"fashion_mnist": [1, 28, 28], "mnist": [1, 28, 28], "cifar10": [3, 32, 32], "tiny_imagenet": [3, 64, 64]}
    if config.dataset["name"] != "digits":  # the real set may not be here; made-up rows of its shape show that all fits
        config.dataset = {
            "name": "synthetic",
            "image_shape": images.get(config.dataset["name"]),
            "test_size": 20,
            "train_size": config.train.batch_size,
            "augment": config.dataset.get("augment", {}),
            "model": config.dataset["model"],
        }
    result = run(config)
    assert result["steps"] == 1 and result["experiment"] == name.split("/")[0]


@pytest.mark.parametrize("name, dataset", [(name, data) for name, sets in TABLE4.items() for data in sets])
def test_tuned_settings_hold_for_their_method_and_give_way_to_the_command_line(composed, name, dataset):
    method, settings = list(TABLE4[name][dataset].items() or [("lpss", {})])[-1]
    chosen = (f"experiment={name}", f"dataset={dataset}", f"method={method}")
    config = composed(*chosen).to_dict()
    for group, values in settings.items():
        assert {key: config[group][key] for key in values} == values
    assert composed(*chosen, "optimizer.lr=0.123").optimizer["lr"] == 0.123
    if "/" not in name:
        assert composed(f"experiment={name}/{dataset}", f"method={method}").to_dict() == config


def test_an_experiment_for_many_data_sets_asks_for_one():
    with pytest.raises(UsageError, match="You must specify 'dataset'"):
        compose_run(["experiment=table4_best"])


def test_cfg_job_shows_the_tuned_settings():
    command = [sys.executable, "-m", "lpss.cli.train", "experiment=table4_best", "dataset=web", "method=set"]
    shown = yaml.safe_load(subprocess.run([*command, "--cfg", "job"], capture_output=True, text=True).stdout)
    assert (shown["optimizer"]["lr"], shown["method"]["distribution"]) == (0.03, "erk")
    assert (shown["train"]["batch_size"], shown["model"]["norm"], shown["schedule"]["warmup"]) == (32, "batch", 0.0)


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """The finished runs of Table 4, a row each."""
    return pd.read_csv(CONF.parent / "outputs/table4/results.csv")


def hash_of(config: RunConfig) -> str:
    return resolve(config).hash


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_finished_runs_config_has_the_hash_it_had(runs, seed):
    chosen = runs[runs["seed"] == seed]
    configs = map(plain_config, map(json.loads, chosen["config"]))
    moved = chosen["folder"][[hash_of(config) for config in configs] != chosen["config_hash"]]
    assert len(chosen) > 200 and not len(moved)


def part_of_the_experiment(run) -> str:
    if run.model.startswith("cnn_"):
        return f"{run.dataset}_cnn"
    if json.loads(run.config)["dataset"].get("folder") == "tiny-imagenet-50":
        return "tiny_imagenet_50"
    return run.dataset


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_command_of_a_finished_run_still_has_its_hash(runs, whole):
    """Else `make reproduce-table4` would train the run again, in another folder."""
    cases = runs[runs["seed"] == 0].drop_duplicates(["experiment", "dataset", "model", "method"])
    assert len(cases) > 100
    if not whole:  # every method of every experiment, and every data set
        each = [cases.drop_duplicates(["experiment", "method"]), cases.drop_duplicates(["experiment", "dataset"])]
        cases = pd.concat(each).drop_duplicates("folder")
    moved = []
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for run in cases.itertuples():
            experiment = f"{run.experiment}/{part_of_the_experiment(run)}"
            words = [f"experiment={experiment}", f"method={run.method}", f"sparsity={run.sparsity}", "seed=0"]
            register_configs(words)
            if hash_of(plain_config(compose("config", words))) != run.config_hash:
                moved.append(words)
    assert not moved
