"""One run on two gloo processes: the same weights and masks on both, and those of one process within rounding."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RANK = Path(__file__).with_name("rank.py")

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


@pytest.fixture
def together(python, tmp_path):
    """together(2, words...) -> what became of two processes that share their work, as torchrun starts them."""

    def together(processes: int, *words: str) -> list[subprocess.CompletedProcess]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
        common["WORLD_SIZE"] = str(processes)
        own = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        return python.together(*[words] * processes, cwd=tmp_path, environments=own)

    return together


@pytest.fixture
def train(together):
    """train(folder, processes, overrides...) -> each process's state, and run.json."""

    def train(folder: Path, processes: int, *overrides: str) -> tuple[list[dict], dict]:
        folder.mkdir(exist_ok=True)
        done = together(processes, RANK, folder, f"output={folder}/out", "device=cpu", *overrides)
        assert not any(one.returncode for one in done), "".join(one.stderr for one in done)
        states = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(processes)]
        (result,) = (folder / "out").rglob("run.json")
        return states, json.loads(result.read_text())

    return train


@pytest.mark.parametrize("method", ["lpss", "rigl"])
def test_two_processes_hold_the_same_net_and_train_like_one(train, tmp_path, method):
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


def test_a_batch_that_cannot_be_shared_is_refused(train, tmp_path):
    with pytest.raises(AssertionError, match="train.batch_size=33 cannot be shared by 2 processes: choose a multiple"):
        train(tmp_path, 2, "dataset=digits", "train.batch_size=33", "train.max_steps=2")


@pytest.mark.slow
def test_the_command_under_torchrun(together, tmp_path):
    """A sweep: both processes walk through it together, and a second call skips what has ended."""
    words = ["-m", "dataset=digits", "method=lpss,set", "device=cpu", "train.max_steps=6", f"output={tmp_path}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "lpss.cli.train", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert text.count(": finished") >= 2
    again = together(2, "-m", "lpss.cli.train", *words)
    said = "".join(one.stdout + one.stderr for one in again)
    assert not any(one.returncode for one in again) and said.count(": finished before, skipped") >= 2, said
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert sorted(result["method"] for result in results) == ["lpss", "set"]
    assert all(result["processes"] == 2 and result["status"] == "finished" for result in results)
