"""The examples of the integrations' README run as printed, with at most five lines of the user's for each."""

import re
from pathlib import Path

import pytest
import torch

import lpss

README = (Path(lpss.__file__).parent / "integrations" / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"## ([^\n]*)\n\n```python\n(.*?)```", README, flags=re.S))
PACKAGES = {"PyTorch Lightning": "lightning", "Hugging Face Trainer": "transformers", "accelerate": "accelerate"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", PACKAGES)
def test_an_example_trains_to_its_sparsity(title, tmp_path, monkeypatch, capsys):
    pytest.importorskip(PACKAGES[title], reason=f'needs {title}: pip install "lpss[{PACKAGES[title]}]"')
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(EXAMPLES[title], {"__name__": "example"})
    steps, sparsity = re.search(r"^(\d+) steps, sparsity ([\d.]+)$", capsys.readouterr().out, flags=re.M).groups()
    assert int(steps) in (48, 64) and float(sparsity) == pytest.approx(0.9, abs=0.002)
    assert list(tmp_path.iterdir())  # a checkpoint


def test_sparse_training_takes_at_most_five_lines():
    assert set(EXAMPLES) == set(PACKAGES)
    for title, code in EXAMPLES.items():
        added = [line for line in code.splitlines() if line.endswith("# lpss")]
        assert 2 <= len(added) <= 5, title
        unmarked = [line for line in code.splitlines() if line not in added and ("lpss" in line or "parse" in line)]
        assert all(line.lstrip().startswith(("print(", "checkpoint =")) for line in unmarked), title
