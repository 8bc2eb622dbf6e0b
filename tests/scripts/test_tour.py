"""The tour runs, and what it shows is there."""

import csv
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "tour.py"


def test_the_tour(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), "tour"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("train", "table", "runs", "report", "predict", "export"):
        assert f"\n$ lpss {command} " in done.stdout
    folder = tmp_path / "tour"
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 69 and {row["prediction"] for row in rows} == {"benign", "malignant"}
    assert rows[0]["patient"] == "P000" and 0.5 <= float(rows[0]["probability"]) <= 1
    assert len(list(folder.rglob("best.safetensors"))) == len(list(folder.rglob("run.json"))) == 10
    assert "<title>Tumours</title>" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "net.safetensors").stat().st_size > 0
