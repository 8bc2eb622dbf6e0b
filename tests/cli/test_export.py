"""lpss-export: files, sizes, remarks, and what it refuses."""

import subprocess
import sys

import pytest
import torch

import lpss
from lpss.cli.compose import compose_run
from lpss.cli.export import main
from lpss.export.formats import FORMATS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a finished run."""
    from lpss.train.resolve import resolve
    from lpss.train.run import run

    output = tmp_path_factory.mktemp("outputs")
    config = compose_run(["dataset=digits", "train.epochs=1", "method=set", "sparsity=0.99", f"output={output}"])
    run(config)
    return resolve(config).folder


def test_every_format_goes_beside_the_run_and_is_there_only_once(folder, capsys):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    for name, one in FORMATS.items():
        file = folder / f"net{one.suffix}"
        assert main([str(folder), "--format", name]) == 0
        out, err = capsys.readouterr()
        size = file.stat().st_size
        (row,) = (line.split() for line in out.splitlines() if line.startswith("| the file"))
        assert row[4] == name
        assert f"{size:,}" in out and err.startswith(f"lpss-export: wrote {file}") and err.count("\n") == 1
        before = file.stat().st_mtime_ns
        assert main([str(folder), "--format", name]) == 2 and file.stat().st_mtime_ns == before
        assert capsys.readouterr().err == f"lpss-export: --output {file} is there already: --force replaces it\n"
        assert main([str(folder), "--format", name, "--force"]) == 0 and file.stat().st_mtime_ns > before
        capsys.readouterr()
        file.unlink()


def test_onnx_says_that_it_saves_no_time(folder, tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert main([str(folder), "--format", "onnx", "--output", str(tmp_path / "net.onnx")]) == 0
    assert "ONNX Runtime makes sparse ones dense on loading, so they would save no time" in capsys.readouterr().err


def test_the_table_shows_how_each_layer_is_stored(folder, tmp_path, capsys):
    file = tmp_path / "new" / "net.safetensors"
    assert main([str(folder), "--format", "safetensors", "--output", str(file)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["Layer", "Stored as", "Weights", "Sparsity", "Bytes", "Per weight"]
    assert [row[0] for row in rows[2:]] == ["layers.0", "layers.1", "layers.2", "the file"]
    assert {row[1] for row in rows[2:-1]} == {"csr"}
    assert rows[-1][3] == ".990" and rows[-1][4] == f"{file.stat().st_size:,}"
    weights = int(rows[-1][2].replace(",", ""))
    assert float(rows[-1][5]) == pytest.approx(file.stat().st_size / weights, abs=6e-4)


def test_a_file_can_be_exported_again(folder, tmp_path, capsys):
    first, second = tmp_path / "a", tmp_path / "b"
    assert main([str(folder / "run.json"), "--format", "safetensors", "--output", str(first)]) == 0
    assert main([str(first), "--format", "npz", "--output", str(second)]) == 0
    assert main([str(second), "--format", "safetensors", "--output", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c").read_bytes() == first.read_bytes()
    x = torch.zeros(2, 64)
    assert torch.equal(lpss.load(second)(x), lpss.load(folder)(x))


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["{tmp}/none", "--format", "npz"], "there is no such file or folder", 2),
        (["{tmp}", "--format", "npz"], "it holds no run.json", 2),
        (["{run}", "--format", "npz", "--output", "{tmp}"], "is a folder: name a file in it", 2),
        (["{run}", "--format", "npz", "--force", "--output", "{run}/weights.safetensors"], "is the run's own file", 2),
        (["{run}", "--format", "npz", "--force", "--output", "{run}/run.json"], "is the run's own file", 2),
        (["{run}/run.json", "--format", "npz", "--force", "--output", "{run}/run.json"], "is the run's own file", 2),
        (["{run}", "--format", "npz", "--output", "{run}/run.json/net.npz"], "could not be written", 1),
        (["{run}/layers.csv", "--format", "npz", "--output", "{tmp}/net"], "cannot be read as safetensors", 1),
    ],
)
def test_what_it_refuses_is_a_line(folder, tmp_path, capsys, words, said, code):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert main([word.format(tmp=tmp_path, run=folder) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lpss-export: ") and said in err and err.count("\n") == 1
    assert {file: file.read_bytes() for file in folder.iterdir()} == before and not list(tmp_path.iterdir())


def test_a_wrong_format_is_a_usage_error(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(folder), "--format", "pickle"])
    assert stop.value.code == 2 and "safetensors" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; from lpss.cli.export import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and all(name in done.stdout for name in FORMATS), done.stderr
