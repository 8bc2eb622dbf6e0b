"""Every tracker with its real package, through whole runs, read back from disk: everything is there, once."""

import json
import signal
from dataclasses import dataclass, field

import pandas as pd
import pytest

from lpss.config import RunConfig
from lpss.record import DIVERGED, EPOCH_FIELDS, EPOCH_TIMES, FINISHED, INTERRUPTED
from lpss.registries import TRACKERS
from lpss.trackers.base import NUMBERS
from lpss.train.resolve import resolve
from lpss.train.run import run

EACH = ("tensorboard", "mlflow", "wandb")
LEFT = {"tensorboard": INTERRUPTED, "mlflow": "KILLED", "wandb": INTERRUPTED}  # what each calls a run that was left
ENDED = {"tensorboard": FINISHED, "mlflow": "FINISHED", "wandb": FINISHED}


def test_every_tracker_has_its_row():
    assert set(EACH) == set(TRACKERS) == set(LEFT) == set(ENDED)


@dataclass
class Tracked:
    """A run with all trackers. left: what they showed when it was interrupted; shown: in the end; by name, then id."""

    config: RunConfig
    result: dict
    left: dict
    shown: dict = field(default_factory=dict)


@pytest.fixture(scope="module")
def resumed(small, trackers, shown, interrupt):
    """Interrupted in the middle of the second of three epochs, and resumed."""
    config = small(trackers())
    folder = resolve(config).folder
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        interrupt(patch)
        run(config)
    left = {name: shown(name, folder) for name in EACH}
    return Tracked(config, run(config), left, {name: shown(name, folder) for name in EACH})


def test_no_tracker_complains(resumed, killed):
    assert not [line for result in (resumed.result, killed.result) for line in result["warnings"] if "tracker" in line]


def metrics_of(folder) -> dict[str, list[tuple[int, float]]]:
    table = pd.read_csv(folder / "metrics.csv")
    return {name: list(zip(table["epoch"], table[name], strict=True)) for name in EPOCH_FIELDS}


def assert_same_points(shown, expected, names=EPOCH_FIELDS) -> None:
    for name in names:
        assert [epoch for epoch, _ in shown[name]] == [epoch for epoch, _ in expected[name]], name
        values = [value for _, value in expected[name]]
        assert [value for _, value in shown[name]] == pytest.approx(values, rel=1e-6), name  # TensorBoard's are float32


@pytest.mark.parametrize("name", EACH)
def test_after_an_interruption_every_epoch_is_there_once_in_one_run(resumed, name):
    folder = resolve(resumed.config).folder
    ((before, left),), ((id, shown),) = resumed.left[name].items(), resumed.shown[name].items()
    assert before == id == json.loads((folder / "trackers.json").read_text())["id"]
    assert left.statuses == [LEFT[name]] and shown.statuses[-1] == ENDED[name]
    assert [epoch for epoch, _ in left.points["eval_loss"]] == [1] and not left.numbers and not left.layers
    assert_same_points(shown.points, metrics_of(folder))


@pytest.mark.parametrize("name", EACH)
def test_layers_config_and_results_are_there(resumed, name):
    folder, (shown,) = resolve(resumed.config).folder, resumed.shown[name].values()
    layers = pd.read_csv(folder / "layers.csv")
    for row in layers.to_dict("records"):
        for metric, column in (("sparsity", "sparsity_reached"), ("hoyer_sparsity", "hoyer_sparsity")):
            points = shown.points[f"{metric}/{row['layer']}"]
            assert [epoch for epoch, _ in points] == [1, 2, 3]
            assert points[-1][1] == pytest.approx(row[column], rel=1e-6)
    assert shown.layers == list(layers["layer"]) and shown.pictures == 1
    assert (shown.config["method.name"], float(shown.config["sparsity"])) == ("rigl", 0.8)
    assert shown.config["model.hidden"] == "[128, 64]"
    numbers = {f"result/{field}": resumed.result[field] for field in NUMBERS if resumed.result[field] is not None}
    assert shown.numbers == pytest.approx(numbers, rel=1e-6) and "result/accuracy_last" in numbers


@pytest.fixture(scope="module")
def killed(small, trackers, shown, python, tmp_path_factory):
    """Killed when trackers had the second epoch, but the checkpoint only the first; then trained to its end."""
    config = small(trackers(), "seed=1")
    script = tmp_path_factory.mktemp("script") / "killed.py"
    script.write_text(
        "import json, os, signal, sys, time\n"
        "os.environ.pop('WANDB_SERVICE', None)\n"  # that of this process, which would believe that the run goes on
        "from lpss.config import plain_config\n"
        "from lpss.trackers.note import Note\n"
        "from lpss.train.run import run\n"
        "write = Note.write\n"
        "def write_and_die(note):\n"
        "    write(note)\n"
        "    if note.logged['wandb'] == 2:\n"
        "        time.sleep(0.5)\n"  # W&B writes ten times a second
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Note.write = write_and_die\n"
        "run(plain_config(json.loads(sys.argv[1])))\n"
    )
    done = python(script, json.dumps(config.to_dict()), cwd=script.parent)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = resolve(config).folder
    return Tracked(config, run(config), {}, {name: shown(name, folder) for name in EACH})


@pytest.mark.parametrize("name", EACH)
def test_an_epoch_that_is_trained_again_after_a_kill_is_not_logged_again(killed, name):
    (shown,) = killed.shown[name].values()
    names = [field for field in EPOCH_FIELDS if field not in EPOCH_TIMES]
    assert_same_points(shown.points, metrics_of(resolve(killed.config).folder), names)
    assert [epoch for epoch, _ in shown.points["seconds"]] == [1, 2, 3] and shown.pictures == 1


def test_a_run_that_is_trained_again_is_a_new_one_and_a_skipped_one_is_none(small, trackers, shown):
    settings = (trackers(), "seed=2")
    folder = resolve(small(*settings)).folder
    run(small(*settings))
    once = {name: shown(name, folder) for name in EACH}
    run(small(*settings))  # skipped
    assert {name: shown(name, folder) for name in EACH} == once
    run(small(*settings, "rerun=always"))
    for name in EACH:
        twice = shown(name, folder)
        assert len(twice) == 2 and [twice[id] for id in once[name]] == list(once[name].values())
        for one in twice.values():
            assert [epoch for epoch, _ in one.points["eval_loss"]] == [1, 2, 3]


def test_a_tracker_that_is_chosen_later_gets_the_epochs_before(small, trackers, shown, interrupt, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        interrupt(patch)
        run(small("seed=3"))
    config = small("seed=3", trackers("tensorboard"))
    run(config)
    (one,) = shown("tensorboard", resolve(config).folder).values()
    assert_same_points(one.points, metrics_of(resolve(config).folder))


def test_a_run_that_diverged_is_shown_as_far_as_it_came(small, trackers, shown):
    config = small("seed=4", trackers(), "optimizer.lr=1e15", "schedule=constant", "method=static")
    assert run(config)["status"] == DIVERGED
    folder = resolve(config).folder
    table = pd.read_csv(folder / "metrics.csv")
    for name, status in {"tensorboard": DIVERGED, "mlflow": "FAILED", "wandb": DIVERGED}.items():
        (one,) = shown(name, folder).values()
        assert one.statuses == [status] and not one.pictures and one.layers
        assert [value for _, value in one.points["train_loss"]] == pytest.approx(table["train_loss"], nan_ok=True)


def test_training_is_bitwise_the_same_with_and_without(small, resumed, tmp_path):
    plain = small("tracker=none", f"output={tmp_path}")
    assert resolve(plain).hash == resolve(resumed.config).hash
    run(plain)
    with_trackers, without = resolve(resumed.config).folder, resolve(plain).folder
    assert not (without / "trackers.json").exists()
    for name in ("weights.safetensors", "layers.csv"):
        assert (with_trackers / name).read_bytes() == (without / name).read_bytes()
    both = [pd.read_csv(folder / "metrics.csv") for folder in (with_trackers, without)]
    tables = [table.drop(columns=list(EPOCH_TIMES)) for table in both]
    assert tables[0].equals(tables[1])
