"""tracker= on the command line, in files and in sweeps: which trackers, with which options."""

import pytest
import yaml

from lpss.cli.compose import compose_run, config_folder
from lpss.errors import UsageError
from lpss.registries import TRACKERS
from lpss.trackers import choose_trackers, complete_trackers
from lpss.train.resolve import resolve

WANDB = {"project": None, "entity": None, "mode": None}


@pytest.mark.parametrize(
    "words, chosen",
    [
        ([], {}),
        (["tracker=none"], {}),
        (["tracker=csv"], {}),
        (["tracker=[]"], {}),
        (["tracker=tensorboard"], {"tensorboard": {}}),
        (["tracker=[csv,wandb]", "tracker.wandb.project=x"], {"wandb": WANDB | {"project": "x"}}),
        (["tracker=[wandb,tensorboard]"], {"wandb": WANDB, "tensorboard": {}}),
        (["tracker=mlflow", "tracker.mlflow.uri=http://x:1"], {"mlflow": {"uri": "http://x:1", "experiment": "lpss"}}),
    ],
)
def test_one_several_or_none_are_chosen_and_no_hash_moves(words, chosen):
    run = resolve(compose_run(["dataset=digits", *words]))
    assert run.config.tracker == chosen
    assert run.hash == resolve(compose_run(["dataset=digits"])).hash


def test_several_in_a_sweep(python, tmp_path, trackers):
    trackers("tensorboard")
    words = ("-m", "tracker=[csv,tensorboard]", "seed=0,1", "dataset=synthetic", "method=set", "train.max_steps=2")
    done = python("-m", "lpss.cli.train", *words, cwd=tmp_path)
    assert done.returncode == 0 and "switched off" not in done.stderr, done.stderr
    assert len(list(tmp_path.rglob("tensorboard/*/events*"))) == 2


@pytest.mark.parametrize("name", TRACKERS)
def test_files_show_every_option_with_its_default(name):
    shown = yaml.safe_load((config_folder() / "tracker" / f"{name}.yaml").read_text())
    assert shown == complete_trackers({name: {}})


@pytest.mark.parametrize(
    "words, message",
    [
        ("tracker=tensorbord", "Could not find 'tracker/tensorbord'"),
        ("+tracker.wandbb={}", "unknown tracker 'wandbb', did you mean 'wandb'"),
        ("+tracker.wandb.projet=x", "unknown key tracker.wandb.projet, did you mean 'project'"),
        ("+tracker.mlflow.experiment=[1]", r"tracker.mlflow.experiment=\[1\]"),
        ("+tracker.tensorboard=3", "tracker.tensorboard must hold its options, got 3"),
        ("tracker.wandb.project=x", "tracker.wandb.project"),
    ],
)
def test_a_wrong_tracker_or_option_is_named(words, message):
    with pytest.raises((UsageError, ValueError), match=message):
        resolve(compose_run([words]))


def test_trackers_are_made_from_their_options(trackers):
    trackers("tensorboard", "wandb")
    made = choose_trackers({"tensorboard": {}, "wandb": {"mode": "offline"}})
    assert list(made) == ["tensorboard", "wandb"] and made["wandb"].config.mode == "offline"
