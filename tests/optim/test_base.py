"""Every registered optimizer is complete: what reports and commands need to know of it stands on its class."""

import subprocess
import sys
from dataclasses import is_dataclass

import pytest
import torch

from lpss import LpSGD, LpSGDm
from lpss.models import MLP
from lpss.optim.base import AUTO_P
from lpss.optim.build import build_optimizer
from lpss.registries import OPTIMIZERS

EVERY = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture(autouse=True)
def path():
    """In place of conftest's: nothing here moves a weight."""


@EVERY
def test_label_description_and_reference_stand_on_the_class(name):
    recipe = OPTIMIZERS[name]
    assert vars(recipe)["label"] and vars(recipe)["reference"].count(", ") >= 2
    assert "https://" in recipe.reference
    assert recipe.__doc__.splitlines()[0].endswith(".")


@EVERY
def test_the_default_config_builds_an_optimizer_over_the_whole_net(name):
    recipe = OPTIMIZERS[name]
    assert is_dataclass(recipe.Config) and recipe.name == name
    net = MLP(MLP.Config(hidden=[4, 5]), (3,), 2)
    optimizer = recipe.build(net, recipe.Config(), exclude=["head"], sparsity=0.9)
    assert isinstance(optimizer, torch.optim.Optimizer)
    held = {id(param) for group in optimizer.param_groups for param in group["params"]}
    assert held == {id(param) for param in net.parameters()}


def test_labels_are_distinct():
    labels = [recipe.label for recipe in OPTIMIZERS.values()]
    assert len(set(labels)) == len(labels) and {"SGD", "LpSGD", "LpSGD-m"} <= set(labels)
    assert OPTIMIZERS["lpsgd"] is LpSGD and OPTIMIZERS["lpsgd_m"] is LpSGDm


@pytest.mark.parametrize("name", ["lpsgd", "lpsgd_m"])
def test_default_configs_of_the_sphere_optimizers_are_what_finished_runs_were_named_by(name):
    config = OPTIMIZERS.complete({"name": name})
    assert list(OPTIMIZERS.identity(config).items()) == [  # without what came later
        ("name", name),
        ("lr", 0.02),
        ("lr_free", 0.1),
        ("p", {0.5: 2.0, 0.8: 1.75, 0.9: 1.5}),
        ("momentum", 0.9),
        ("nesterov", False),
        ("weight_decay", 0.0),
    ]
    config["p"].clear()
    assert AUTO_P and OPTIMIZERS[name].Config().p == AUTO_P  # a config's p is its own


def test_the_default_config_of_sgd_is_what_finished_runs_were_named_by():
    assert list(OPTIMIZERS.complete({"name": "sgd"}).items()) == [
        ("name", "sgd"),
        ("lr", 0.1),
        ("momentum", 0.9),
        ("nesterov", True),
        ("weight_decay", 1e-4),
    ]


def test_an_optimizer_registered_elsewhere_is_built_by_name(monkeypatch):
    from dataclasses import dataclass

    class Adam:
        @dataclass
        class Config:
            name: str = "adam"
            lr: float = 0.1

        @classmethod
        def build(cls, net, config, *, exclude, sparsity):
            return torch.optim.Adam(net.parameters(), lr=config.lr)

    monkeypatch.setitem(OPTIMIZERS, "adam", Adam)
    optimizer = build_optimizer(torch.nn.Linear(2, 2), {"name": "adam", "lr": 0.5}, exclude=[], sparsity=0.0)
    assert type(optimizer) is torch.optim.Adam and optimizer.param_groups[0]["lr"] == 0.5


def test_the_registry_needs_no_torch():
    code = "import sys, lpss.optim.base; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
