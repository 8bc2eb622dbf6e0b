"""What trackers have on disk, read back by the packages' own means; runs that write it."""

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lpss.cli.compose import compose_run
from lpss.trackers import TrackedRun
from lpss.train.run import Session

TRACKERS = ("tensorboard", "mlflow", "wandb")
SMALL = (
    *("dataset=synthetic", "dataset.train_size=200", "dataset.test_size=50", "train.batch_size=50", "train.epochs=3"),
    *("method=rigl", "sparsity=0.8", "device=cpu"),
)


@dataclass
class Shown:
    """What a tracker shows of one run. points: metric -> (epoch, value) as often as it was logged; layers: those in the
    table of layers; pictures: how many there are; statuses: as they came."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    pictures: int = 0
    statuses: list[str] = field(default_factory=list)


def _tensorboard(folder: Path) -> dict[str, Shown]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    shown = {}
    for run in (folder / "tensorboard").iterdir():
        events = EventAccumulator(str(run), size_guidance=dict.fromkeys(("scalars", "tensors", "images"), 0)).Reload()
        one = shown[run.name] = Shown()
        for tag in events.Tags()["scalars"]:
            values = [(event.step, event.value) for event in events.Scalars(tag)]
            if tag.startswith("result/"):
                ((_, one.numbers[tag]),) = values
            else:
                one.points[tag] = values
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        for key, value in HParamsPluginData.FromString(content).session_start_info.hparams.items():
            one.config[key] = str(getattr(value, value.WhichOneof("kind")))
        texts = {
            tag.partition("/")[0]: [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
            if tag.endswith("/text_summary")
        }
        one.statuses = texts.get("status", [])
        for table in texts.get("layers", []):
            one.layers += [line.split("|")[1].strip() for line in table.splitlines()[2:] if line.startswith("|")]
        one.pictures = sum(len(events.Images(tag)) for tag in events.Tags()["images"])
    return shown


def _mlflow(folder: Path) -> dict[str, Shown]:
    import pandas as pd
    from mlflow import MlflowClient

    client, shown = MlflowClient(f"sqlite:///{folder.parents[2] / 'mlflow' / 'mlflow.db'}"), {}
    for run in client.search_runs([client.get_experiment_by_name("lpss").experiment_id]):
        if run.data.tags["lpss.folder"] != str(folder):
            continue
        one = shown[run.data.tags["lpss.id"]] = Shown(config=run.data.params, statuses=[run.info.status])
        one.numbers = {name: value for name, value in run.data.metrics.items() if name.startswith("result/")}
        for name in run.data.metrics.keys() - one.numbers.keys():
            history = client.get_metric_history(run.info.run_id, name)
            one.points[name] = sorted((metric.step, metric.value) for metric in history)
        artifacts = [Path(artifact.path).name for artifact in client.list_artifacts(run.info.run_id)]
        if "layers.csv" in artifacts:
            table = client.download_artifacts(run.info.run_id, "layers.csv")
            one.layers = list(pd.read_csv(table, dtype=str)["layer"])
        one.pictures = artifacts.count("run.png")
    return shown


def _wandb(folder: Path) -> dict[str, Shown]:
    """The segments of a run in the order in which `wandb sync` joins them."""
    shown = {}
    for file in sorted(folder.glob("wandb/offline-*/*.wandb"), key=lambda file: file.parent.name):
        one = None
        for record in _records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                one = shown.setdefault(record.run.run_id, Shown())
                one.config |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
            elif kind == "summary":
                values = {(*item.nested_key, item.key)[0]: item.value_json for item in record.summary.update}
                one.numbers |= {key: json.loads(value) for key, value in values.items() if key.startswith("result/")}
                one.statuses += [json.loads(values["status"])] if "status" in values else []
            elif kind == "history":
                items = record.history.item
                row = {"/".join([*item.nested_key, item.key]).strip("/"): item.value_json for item in items}
                if "epoch" in row:
                    for name in [name for name in row if not name.startswith("_")]:
                        one.points.setdefault(name, []).append((int(row["_step"]), float(json.loads(row[name]))))
                else:
                    one.pictures += "run/_type" in row
                    table = json.loads((file.parent / "files" / json.loads(row["layers/path"])).read_text())
                    one.layers = [cells[table["columns"].index("layer")] for cells in table["data"]]
    return shown


def _records(file: Path):
    """The records of a .wandb file (LevelDB's log format), for which the package has no reader in Python."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:  # a header does not cross the border of a block
            at += room
            continue
        size, part = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record, at = record + data[at + 7 : at + 7 + size], at + 7 + size
        if part in (1, 4):  # whole, last
            yield Record.FromString(record)
            record = b""


@pytest.fixture(scope="session")
def shown():
    """shown(name, folder of a run) -> tracker run's id -> `Shown`. A new tracker has its reader here."""
    readers = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    return lambda name, folder: readers[name](Path(folder))


@pytest.fixture(scope="session")
def interrupt():
    """interrupt(patch): SIGTERM in the middle of the second epoch of a `small` run."""

    def arrange(patch: pytest.MonkeyPatch) -> None:
        after_step = Session._after_step

        def wrapped(session):
            if session.trainer.progress.step == 6:
                signal.raise_signal(signal.SIGTERM)
            after_step(session)

        patch.setattr(Session, "_after_step", wrapped)

    return arrange


@pytest.fixture(scope="session")
def told():
    """told(output, key=value...) -> a run with that config, as trackers are told of it."""

    def build(output: Path, **config):
        return TrackedRun(output / "run", output, "hash", "label", "group", config)

    return build


@pytest.fixture(scope="session")
def trackers():
    """trackers("wandb", ...), or all of them: the override that chooses them; skips where a package is missing."""

    def choose(*names: str) -> str:
        for name in names or TRACKERS:
            pytest.importorskip(name)
        return f"tracker=[{','.join(names or TRACKERS)}]"

    return choose


@pytest.fixture(scope="session")
def output(tmp_path_factory) -> Path:
    """The output folder of all tests: MLflow's database in it takes seconds to make."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def small(output):
    """small(overrides...) -> a config of a run of a second, in `output`; tests choose different seeds."""
    return lambda *overrides: compose_run([*SMALL, f"output={output}", *overrides])
