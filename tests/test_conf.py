"""The yaml files: each composes, agrees with the class it configures, and each experiment trains."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from lpss.data import DATASETS
from lpss.models import MODELS
from lpss.optim.build import OPTIMIZERS
from lpss.schedules import SCHEDULES
from lpss.sparse.methods import METHODS
from lpss.train.run import complete, run

CONF = Path(__file__).resolve().parents[1] / "conf"
CHOICES = {
    group: sorted(path.relative_to(CONF / group).with_suffix("").as_posix() for path in (CONF / group).rglob("*.yaml"))
    for group in ("dataset", "model", "optimizer", "method", "schedule", "experiment", "tuned")
}
NEEDS_IMAGES = {"cnn_mnist": "dataset=mnist", "cnn_fashion_mnist": "dataset=mnist", "wrn": "dataset=mnist"}


def test_every_registered_name_has_a_file_and_the_other_way_round():
    assert set(CHOICES["dataset"]) == set(DATASETS)
    assert set(CHOICES["model"]) == {*MODELS, "auto"}
    assert set(CHOICES["optimizer"]) == set(OPTIMIZERS)
    assert set(CHOICES["method"]) == set(METHODS)
    assert {
        yaml.safe_load((CONF / "schedule" / f"{name}.yaml").read_text())["name"] for name in CHOICES["schedule"]
    } == set(SCHEDULES)


@pytest.mark.parametrize(
    "group, name",
    [(group, name) for group in ("dataset", "model", "optimizer", "method", "schedule") for name in CHOICES[group]],
)
def test_every_choice_composes_and_is_accepted(composed, group, name):
    extra = [NEEDS_IMAGES[name]] if name in NEEDS_IMAGES else []
    config = complete(composed(f"{group}={name}", *extra))
    assert getattr(config, group)["name"] in (name, "mlp" if name == "auto" else "piecewise")


@pytest.mark.parametrize("name", METHODS)
def test_method_files_show_every_option_with_its_default(name):
    shown = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    assert shown.get("method", shown) == METHODS.complete({"name": name})


@pytest.mark.parametrize("name", ["sgd", "lpsgd", "lpsgd_m"])
def test_optimizer_files_show_every_option_with_its_default(name):
    shown = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text())
    assert {key: float(value) if key == "weight_decay" else value for key, value in shown.items()} == asdict(
        OPTIMIZERS[name]()
    ) | ({"p": "auto"} if name != "sgd" else {})


@pytest.mark.parametrize("name", CHOICES["experiment"])
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


@pytest.mark.parametrize("name", CHOICES["tuned"])
def test_tuned_settings_belong_to_an_experiment_and_give_way_to_the_command_line(composed, name):
    experiment, _, method = name.rpartition("/")
    assert experiment in CHOICES["experiment"]
    for key, value in yaml.safe_load((CONF / "tuned" / f"{name}.yaml").read_text())["optimizer"].items():
        chosen = (f"experiment={experiment}", f"method={method}")
        assert composed(*chosen).optimizer[key] == value
        if key == "lr":
            assert composed(*chosen, "optimizer.lr=0.123").optimizer["lr"] == 0.123
