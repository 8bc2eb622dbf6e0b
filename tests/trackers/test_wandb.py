"""W&B's own: which mode and project it takes from where."""

import pytest

wandb = pytest.importorskip("wandb")
from lpss.trackers.wandb import SETTINGS, WandB  # noqa: E402


@pytest.mark.parametrize(
    "options, environment, mode, project",
    [
        ({}, {}, "offline", "lpss"),
        ({}, {"WANDB_MODE": "online", "WANDB_PROJECT": "mine"}, "online", "mine"),
        ({"mode": "offline", "project": "p"}, {"WANDB_MODE": "online", "WANDB_PROJECT": "mine"}, "offline", "p"),
    ],
)
def test_options_come_before_the_environment_and_offline_is_the_default(
    tmp_path, told, monkeypatch, options, environment, mode, project
):
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = {}
    monkeypatch.setattr(wandb, "init", lambda **words: asked.update(words))
    assert WandB(WandB.Config(**options)).start(told(tmp_path, seed=1), "id", 4) == 4
    assert (asked["mode"], asked["project"], asked["id"], asked["resume"]) == (mode, project, "id", "allow")
    assert asked["config"] == {"seed": 1}


def test_this_version_knows_the_settings():
    assert SETTINGS.keys() <= wandb.Settings.model_fields.keys()
