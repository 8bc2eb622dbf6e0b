"""Predictions of a trained net for new rows, by `net.predict` and by lpss-predict."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lpss
from lpss.cli.compose import compose_run
from lpss.cli.export import main as export
from lpss.cli.predict import main
from lpss.errors import DataError, UsageError
from lpss.train.resolve import resolve
from lpss.train.run import run


def frame(rows=200, seed=0):
    """Rows whose label follows from a number and a category; both lack in places."""
    draw = np.random.RandomState(seed)
    table = pd.DataFrame(
        {"id": [f"r{i}" for i in range(rows)], "size": draw.randn(rows), "colour": draw.choice(["red", "blue"], rows)}
    )
    table["label"] = np.where((table["size"] > 0) == (table.colour == "red"), "yes", "no")
    table.loc[::20, "size"] = None
    return table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(*overrides): the folder of a finished run."""
    output = tmp_path_factory.mktemp("outputs")

    def train(*overrides):
        config = compose_run([*overrides, "method=set", "sparsity=0.5", f"output={output}"])
        assert run(config)["status"] == "finished"
        return resolve(config).folder

    return train


@pytest.fixture(scope="module")
def table(tmp_path_factory, trained):
    """(the file, the run) of a csv table."""
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    frame().to_csv(path, index=False)
    return path, trained("dataset=csv", f"dataset.path={path}", "dataset.target=label", "train.epochs=40")


def test_a_frame_is_predicted_without_the_training_data(table, tmp_path, monkeypatch):
    path, folder = table
    content = path.read_bytes()
    path.unlink()  # for a moment
    try:
        net = lpss.load(folder)
    finally:
        path.write_bytes(content)
    new = frame(50, seed=1).set_index("id")
    predictions = net.predict(new.drop(columns="label"))
    assert list(predictions.columns) == ["prediction", "probability", "p(no)", "p(yes)"]
    assert (predictions.index == new.index).all()
    assert np.allclose(predictions[["p(no)", "p(yes)"]].sum(axis=1), 1)
    assert (predictions.probability == predictions[["p(no)", "p(yes)"]].max(axis=1)).all()
    assert (predictions.prediction == new.label).mean() > 0.85


def test_what_is_predicted_of_the_test_rows_is_what_the_run_reports(table):
    import json

    path, folder = table
    net, run_json = lpss.load(folder, sparse=False), json.loads((folder / "run.json").read_text())
    from lpss.data import load
    from lpss.data.csv_table import CsvConfig

    data = load(CsvConfig("csv", path=str(path), target="label"))
    right = (net(data.test.x).argmax(1) == data.test.y).double().mean()
    assert right == pytest.approx(run_json["accuracy_last"])
    assert json.loads((folder / "data.json").read_text())["recipe"]["target"] == "label"


@pytest.mark.parametrize("name", ["safetensors", "npz", "torch"])
def test_exported_files_hold_the_recipe(table, tmp_path, name):
    path, folder = table
    file = tmp_path / f"net.{name}"
    assert export([str(folder), "--format", name, "--output", str(file)]) == 0
    pd.testing.assert_frame_equal(lpss.load(file).predict(frame()), lpss.load(folder).predict(frame()))


def test_the_command_writes_what_the_net_predicts(table, tmp_path, capsys):
    path, folder = table
    new = frame(30, seed=2)
    new.loc[3, "colour"] = "green"
    new.to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "sub" / "pred.csv"
    assert main([str(folder), str(tmp_path / "new.csv"), "--output", str(out), "--keep", "id,label"]) == 0
    written, expected = pd.read_csv(out), lpss.load(folder).predict(new)
    assert list(written.columns) == ["id", "label", *expected.columns] and written.id.tolist() == new.id.tolist()
    assert np.allclose(written["p(yes)"], expected["p(yes)"])
    said = capsys.readouterr().err
    assert "column colour: 1 of 30 cells hold a level that no training row had" in said
    assert f"accuracy {(written.prediction == written.label).mean():.4f} on 30 rows with a label" in said
    assert main([str(folder), str(tmp_path / "new.csv")]) == 0
    assert pd.read_csv(io.StringIO(capsys.readouterr().out)).prediction.tolist() == written.prediction.tolist()


def test_parquet_goes_in_and_out(table, tmp_path):
    pytest.importorskip("pyarrow")
    frame(20).to_parquet(tmp_path / "new.parquet")
    out = tmp_path / "pred.parquet"
    assert main([str(table[1]), str(tmp_path / "new.parquet"), "-o", str(out), "--keep", "all"]) == 0
    assert list(pd.read_parquet(out).columns[:5]) == ["id", "size", "colour", "label", "prediction"]


@pytest.mark.parametrize(
    ("text", "arguments", "code", "message"),
    [
        ("size\n1\n", [], 1, "there is no column colour"),
        ("size,colour\n1,red\nbig,red\n", [], 1, "row 2, column size: 'big' is no number"),
        ("size,colour\n1\n", [], 1, "line 2 (row 1): 1 columns where the first line has 2"),
        ("", [], 1, "is empty"),
        ("size,colour\n1,red\n", ["--keep", "id"], 2, "has no column 'id'"),
        ("size,colour\n1,red\n", ["-o", "pred.txt"], 2, "its name must end with .csv or .parquet"),
        ("size,colour\n1,red\n", ["nowhere.csv"], 2, "nowhere.csv: there is no such file"),
        ("size,colour\n1,red\n", ["-o", "/proc/none/pred.csv"], 1, "/proc/none"),
    ],
)
def test_what_cannot_be_predicted_is_a_line(table, tmp_path, capsys, text, arguments, code, message):
    (tmp_path / "new.csv").write_text(text)
    assert main([str(table[1]), str(tmp_path / "new.csv"), *arguments]) == code
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and said.startswith("lpss-predict: ")


def test_the_run_must_be_one(tmp_path, capsys):
    (tmp_path / "new.csv").write_text("a\n1\n")
    assert main([str(tmp_path / "no run"), str(tmp_path / "new.csv")]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


def test_a_csv_file_is_read_as_in_training(trained, tmp_path, capsys):
    lines = [f"{i % 7},{i % 3}5;{'yes' if i % 2 else 'no'}" for i in range(60)]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    options = ["dataset.header=false", "dataset.target='1'", "dataset.decimal=','", "train.epochs=1"]
    folder = trained("dataset=csv", f"dataset.path={tmp_path}/mine.csv", *options)
    assert main([str(folder), str(tmp_path / "mine.csv")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 61


def test_arrays_and_sets_without_a_recipe(trained, tmp_path, capsys):
    x = np.random.RandomState(0).randn(60, 4)
    x[3, 1] = np.nan
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(60) % 2)
    folder = trained("dataset=npz", f"dataset.path={tmp_path}/mine.npz", "train.epochs=1")
    net = lpss.load(folder)
    assert len(net.predict(x)) == len(net.predict(torch.tensor(x))) == 60
    assert main([str(folder), str(tmp_path / "mine.npz")]) == 0
    assert main([str(folder), str(tmp_path / "mine.npz"), "--array", "z"]) == 2
    assert "there is no array 'z', but x, y" in capsys.readouterr().err
    with pytest.raises(DataError, match="there is no column 3"):
        net.predict(x[:, :3])

    digits = lpss.load(trained("dataset=digits", "train.epochs=3"))
    rows = pd.DataFrame(np.random.RandomState(0).rand(5, 64))
    assert digits.predict(rows).prediction.isin(digits.class_names).all()
    pd.testing.assert_frame_equal(digits.predict(rows), digits.predict(rows.to_numpy()))
    with pytest.raises(DataError, match="row 2, column 7: '' is no number"):
        digits.predict(rows.mask(rows.index.to_numpy()[:, None] * 64 + np.arange(64) == 71))
    with pytest.raises(UsageError, match="takes rows of a table, not images"):
        digits.predict(["a.png"])


def test_images_are_predicted_from_files(trained, tmp_path, capsys):
    for i in range(40):
        file = tmp_path / "photos" / ("dark" if i % 2 else "light") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (20 + i,) * 3 if i % 2 else (200 + i,) * 3).save(file)
    data = ["dataset=image_folder", f"dataset.path={tmp_path}/photos", "dataset.size=8", f"data.root={tmp_path}/data"]
    model = ["model=mlp", "model.hidden=[16]", "train.epochs=20", "train.batch_size=16"]
    folder = trained(*data, *model)
    assert main([str(folder), str(tmp_path / "photos")]) == 0
    written = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(written) == 40 and written.file.str.contains("dark").eq(written.prediction == "dark").all()
    one = str(tmp_path / "photos" / "dark" / "1.png")
    assert main([str(folder), one, one]) == 0 and len(capsys.readouterr().out.splitlines()) == 3
    with pytest.raises(UsageError, match="takes images, not rows of a table"):
        lpss.load(folder).predict(frame())
    (tmp_path / "none").mkdir()
    assert main([str(folder), str(tmp_path / "none")]) == 1 and "holds no images" in capsys.readouterr().err
