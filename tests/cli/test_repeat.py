"""lpss-train --from: repeats a run's settings and compares the result with its record."""

import json

import pytest

FEW = ("dataset=digits", "method=lpss", "sparsity=0.8", "train.epochs=2", "device=cpu", "threads=1", "optimizer.p=1.25")


@pytest.fixture(scope="module")
def lpss_train(python):
    return lambda folder, *arguments: python("-m", "lpss.cli.train", *arguments, cwd=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, lpss_train):
    """(folder, run.json) of a run."""
    folder = tmp_path_factory.mktemp("first")
    done = lpss_train(folder, *FEW)
    assert done.returncode == 0, done.stderr
    return folder, next(folder.rglob("run.json"))


def test_the_same_result_on_the_same_machine(lpss_train, finished):
    folder, path = finished
    done = lpss_train(folder, "--from", str(path))
    assert done.returncode == 0 and "the same result: accuracy 0." in done.stdout, done.stderr
    (again,) = (folder / "outputs" / "again").rglob("run.json")
    earlier, now = (json.loads(file.read_text()) for file in (path, again))
    assert earlier["config_hash"] == now["config_hash"]
    assert (path.parent / "weights.safetensors").read_bytes() == (again.parent / "weights.safetensors").read_bytes()


def test_another_result_is_told_with_what_changed(lpss_train, finished, tmp_path):
    folder, path = finished
    altered = json.loads(path.read_text())
    altered["accuracy_last"] = 0.5
    altered["versions"]["torch"] = "1.0"
    (tmp_path / "run.json").write_text(json.dumps(altered))
    done = lpss_train(folder, "--from", str(tmp_path / "run.json"), "output=third", "threads=2")
    assert done.returncode == 1
    assert "a different result: accuracy_last 0.5 -> 0." in done.stdout
    assert "torch 1.0 -> " in done.stdout and "threads 1 -> 2" in done.stdout
    assert list((folder / "third").rglob("run.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--from needs a run.json"),
        (["RUN", "seed"], "--from needs a run.json, then KEY=VALUE overrides"),
        (["nowhere.json"], "--from nowhere.json: No such file or directory"),
        (["EMPTY"], "not the run.json of a run"),
        (["RUN", "sparsity=2"], "sparsity must be in [0, 1), got 2"),
        (["RUN", "sparsty=0.5"], "sparsty"),
        (["RUN", "method.zeta=0.5"], "zeta"),
        (["RUN", "seed=[1"], "seed=[1"),
    ],
)
def test_wrong_use_is_one_line(lpss_train, finished, tmp_path, arguments, message):
    folder, path = finished
    (tmp_path / "empty.json").write_text("{}")
    places = {"RUN": str(path), "EMPTY": str(tmp_path / "empty.json")}
    done = lpss_train(folder, "--from", *(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_code_path_is_told(lpss_train, finished, tmp_path):
    """Of a result that differs since the C kernel was there and the tensor code was used."""
    folder, path = finished
    altered = json.loads(path.read_text())
    altered["loss_last"], altered["code_paths"]["optimizer step"] = 0.123, "another kernel"
    (tmp_path / "run.json").write_text(json.dumps(altered))
    done = lpss_train(folder, "--from", str(tmp_path / "run.json"), "output=fourth")
    assert done.returncode == 1 and "optimizer step another kernel -> " in done.stdout
