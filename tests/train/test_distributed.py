"""One run on two gloo processes: the same weights and masks on both, and those of one process within rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[2]

# Runs as each process: trains, then leaves its own weights and masks beside the other's.
WORKER = """
import sys
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from lpss.config import RunConfig, plain_config
from lpss.train import run as run_module
from lpss.train.distributed import leave_processes

conf, folder, *overrides = sys.argv[1:]
ConfigStore.instance().store(name="schema", node=RunConfig)
with initialize_config_dir(conf, version_base="1.3"):
    config = plain_config(compose("config", [f"output={folder}/out", *overrides]))

class Session(run_module.Session):
    def result(self, status):
        state = {"net." + key: value for key, value in self.parts.net.state_dict().items()}
        state |= {"mask." + key: value for key, value in self.parts.method.masks.state_dict().items()}
        torch.save(state, f"{folder}/rank{self.processes.rank}.pt")
        return super().result(status)

run_module.Session = Session
run_module.run(config)
leave_processes()
"""


def train(folder: Path, processes: int, *overrides: str) -> tuple[list[dict], dict]:
    """Each process's state, and run.json."""
    folder.mkdir(exist_ok=True)
    worker = folder / "worker.py"
    worker.write_text(WORKER)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launcher, str(worker), str(REPOSITORY / "conf"), str(folder), "device=cpu", *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    states = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]
    (result,) = (folder / "out").rglob("run.json")
    return states, json.loads(result.read_text())


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize("method", ["lpss", "rigl"])
def test_two_processes_hold_the_same_net_and_train_like_one(tmp_path, method):
    few = ("dataset=digits", f"method={method}", "sparsity=0.8", "train.epochs=2", "train.max_steps=40")
    (alone,), result_alone = train(tmp_path / "one", 1, *few)
    states, result = train(tmp_path / "two", 2, *few)
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key
    saved = load_file(next((tmp_path / "two" / "out").rglob("weights.safetensors")))
    assert all(torch.equal(value, saved[key]) for key, value in states[0].items())
    # Sums in another order: rounding alone, in the masks, too, as long as no two scores were equal up to rounding.
    for key, value in alone.items():
        if key.startswith("mask."):
            assert (value != states[0][key]).float().mean() < 0.002, key
    close = [
        torch.isclose(v, states[0][k], rtol=1e-2, atol=1e-3).float().mean() for k, v in alone.items() if k[:3] == "net"
    ]
    assert min(close) > 0.98
    assert result["processes"] == 2 and result_alone["processes"] == 1
    assert result["config_hash"] == result_alone["config_hash"]
    assert result["steps"] == 40 and result["sparsity_weights"] == pytest.approx(
        result_alone["sparsity_weights"], abs=2e-3
    )
    assert result["loss_last"] == pytest.approx(result_alone["loss_last"], rel=0.02)
    assert result["accuracy_last"] == pytest.approx(result_alone["accuracy_last"], abs=0.01)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="train.batch_size=33 cannot be shared by 2 processes: choose a multiple"):
        train(tmp_path, 2, "dataset=digits", "train.batch_size=33", "train.max_steps=2")


def test_the_command_under_torchrun(tmp_path):
    """A sweep: both processes walk through it together, and a second call skips what has ended."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lpss.cli.train"),
        *("-m", "dataset=digits", "method=lpss,set", "device=cpu", "train.max_steps=6", f"output={tmp_path}"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for expected in ("finished", "finished before, skipped"):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text
        assert text.count(f": {expected}") >= 2
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert sorted(result["method"] for result in results) == ["lpss", "set"]
    assert all(result["processes"] == 2 and result["status"] == "finished" for result in results)
