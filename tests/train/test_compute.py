"""What `auto` means on a device, and the warning if something is not available."""

import pytest
import torch
from torch import nn

from lpss.config import TrainConfig
from lpss.train import compute
from lpss.train.compute import ComputeOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def triton(monkeypatch):
    """As if Triton were installed."""
    monkeypatch.setattr(compute, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("options", "device", "steps", "processes", "expected"),
    [
        ({}, CPU, 10**6, 1, ComputeOptions("float32", True, False, False)),
        ({}, CUDA, 10**6, 1, ComputeOptions("float32", False, True, True)),
        ({}, CUDA, 10, 1, ComputeOptions("float32", False, False, True)),  # too short to compile for
        ({}, CUDA, 10**6, 4, ComputeOptions("float32", False, True, False)),
        ({"precision": "bfloat16"}, CUDA, 10**6, 1, ComputeOptions("bfloat16", True, True, True)),
        ({"precision": "tf32", "capture": False}, CUDA, 10**6, 1, ComputeOptions("tf32", True, True, False)),
        ({"compile": True, "channels_last": False}, CPU, 10, 1, ComputeOptions("float32", False, True, False)),
    ],
)
def test_auto(caplog, options, device, steps, processes, expected):
    assert ComputeOptions.choose(TrainConfig(**options), device, steps=steps, processes=processes) == expected
    assert not caplog.records


def test_what_cannot_be_had_is_said_once_and_done_without(monkeypatch, caplog):
    assert not ComputeOptions.choose(TrainConfig(capture=True), CPU, steps=10).capture
    assert not ComputeOptions.choose(TrainConfig(capture=True), CUDA, steps=10, processes=2).capture
    monkeypatch.setattr(compute, "find_spec", lambda name: None)
    assert not ComputeOptions.choose(TrainConfig(compile=True), CUDA, steps=10).compile
    assert [record.message.split(" needs ")[0] for record in caplog.records] == [
        "train.capture=true",
        "train.capture=true",
        "train.compile=true",
    ]


def test_the_memory_format_is_the_nets():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    ComputeOptions(channels_last=True).apply(net, CPU)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last) and net[2].weight.is_contiguous()
