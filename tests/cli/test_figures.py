"""lpss-figures: trains missing runs, writes csv, png and pdf, and redraws from the csv alone."""

import pytest

from lpss.cli.figures import main

SYNTHETIC = [
    *("dataset=synthetic", "dataset.image_shape=[1,28,28]", "dataset.train_size=32", "dataset.test_size=20"),
    *("train.epochs=1", "train.batch_size=16"),
]


@pytest.fixture
def figures(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def command(*words: str):
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    return command


@pytest.mark.slow
def test_one_figure_from_nothing_again_and_redrawn(figures, tmp_path):
    code, out, err = figures("fig2", "--workers", "2", *SYNTHETIC)
    assert code == 0, err
    folder = tmp_path / "outputs/figures"
    made = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert set(made) == {"fig2.csv", "fig2.png", "fig2.pdf", "README.md"}
    assert "fig5: Synthetic, cnn_mnist, 1 epoch, 1 seed" in out and "more weights are close to zero" in out
    assert b"lpss-figures all" in made["README.md"] and b"| fig2 |" in made["README.md"]
    runs = sorted((folder / "runs").rglob("run.json"))
    assert len(runs) == 9
    stamps = [path.stat().st_mtime_ns for path in runs]

    again = figures("fig2", *SYNTHETIC)
    assert again[0] == 0 and [path.stat().st_mtime_ns for path in runs] == stamps  # nothing is trained twice
    for path in runs:
        path.unlink()
    assert figures("fig2", "--redraw")[0] == 0
    assert made == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_figure_that_lacks_runs_is_not_drawn(figures, tmp_path):
    code, _, err = figures("fig2", f"data.root={tmp_path}", "data.download=false", "--workers", "1")
    assert code == 1 and err.count("failed: experiment=fig5") == 9 and "mnist" in err
    assert "fig2: not drawn: runs are missing" in err and not (tmp_path / "outputs/figures/fig2.csv").exists()


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "which figure? all, or some of fig2"),
        (["fig33"], "unknown figure 'fig33', did you mean 'fig3'?"),
        (["fig2", "--redraw"], "outputs/figures/fig2.csv is not there: --redraw needs"),
        (["fig2", "--redraw", "seed=1"], "--redraw trains nothing: leave seed=1 out"),
        (["fig2", "datset=mnist"], "datset"),
    ],
)
def test_what_is_wrong_is_a_line(figures, words, says):
    code, _, err = figures(*words)
    assert code != 0 and says in err and "Traceback" not in err
