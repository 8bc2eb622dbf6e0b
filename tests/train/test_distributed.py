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

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.xdist_group("distributed"),
]


@pytest.fixture(scope="module")
def ask():
    """ask(processes=2, ...) -> the answer of processes.py."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(Path(__file__).with_name("processes.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:

        def ask(**request) -> dict:
            print(json.dumps(request), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


@pytest.fixture
def train(ask):
    """train(folder, processes, overrides...) -> each process's state, and run.json."""

    def train(folder: Path, processes: int, *overrides: str) -> tuple[list[dict], dict]:
        folder.mkdir(exist_ok=True)
        words = [f"output={folder}/out", "device=cpu", *overrides]
        answer = ask(processes=processes, folder=str(folder), overrides=words)
        assert answer["codes"] == [0] * processes, answer["said"]
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


def test_the_command_under_torchrun(ask, tmp_path):
    """A sweep: both processes walk through it together, and a second call skips what has ended."""
    words = ["-m", "dataset=digits", "method=lpss,set", "device=cpu", "train.max_steps=6", f"output={tmp_path}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "lpss.cli.train", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert text.count(": finished") >= 2
    again = ask(processes=2, argv=["lpss-train", *words])
    assert again["codes"] == [0, 0] and again["said"].count(": finished before, skipped") >= 2, again["said"]
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert sorted(result["method"] for result in results) == ["lpss", "set"]
    assert all(result["processes"] == 2 and result["status"] == "finished" for result in results)
