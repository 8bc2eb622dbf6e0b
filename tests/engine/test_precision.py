"""The precision in which the CPU trains a net faster: what is measured, when, and where it is kept."""

import copy
import json
import logging

import pytest
import torch
from torch import nn

from lpss.engine import measured, precision
from lpss.engine.precision import autocast, faster_precision
from lpss.native import loader

EXAMPLE = torch.ones(1, 2, 5, 4)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 4)
    )


def ask(module=None, batch=8, fused=True):
    return faster_precision(module or net(), EXAMPLE, batch, fused=fused)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The file of what was measured, in a folder of its own, on a processor that multiplies bfloat16."""
    loader.library()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(loader, "processor", lambda: "flags : sse2 avx512_bf16 fma")
    return tmp_path / "lpss-native" / "steps.json"


@pytest.fixture
def times(monkeypatch):
    """times(float32, bfloat16): what is measured from now on, in seconds; the list that it returns grows with each."""

    def take(*seconds):
        asked = []
        monkeypatch.setattr(precision, "best_times", lambda runs: asked.append(len(runs)) or list(seconds))
        return asked

    return take


@pytest.mark.parametrize(
    "seconds, expected", [((1.2, 1.0), "bfloat16"), ((1.05, 1.0), "float32"), ((0.5, 1.0), "float32")]
)
def test_bfloat16_must_be_clearly_faster(times, seconds, expected):
    times(*seconds)
    assert ask() == expected


@pytest.mark.parametrize("processor", ["flags : sse2 avx512f avx512bw", "Features : fp asimd fphp", "", "arm"])
def test_a_processor_without_it_is_not_asked(times, monkeypatch, processor, cache):
    asked = times(9.0, 1.0)
    monkeypatch.setattr(loader, "processor", lambda: processor)
    assert ask() == "float32" and not asked and not cache.exists()


@pytest.mark.parametrize("words", ["flags : amx_bf16", "Features\t: fp bf16 sve"])
def test_other_processors_that_have_it_are(times, monkeypatch, words):
    times(9.0, 1.0)
    monkeypatch.setattr(loader, "processor", lambda: words)
    assert ask() == "bfloat16"


def test_what_was_measured_is_kept_for_the_same_net_batch_and_conditions(times, cache):
    asked = times(2.0, 1.0)
    assert ask() == ask() == ask(copy.deepcopy(net())) == "bfloat16" and len(asked) == 1
    wider = net()
    wider[5] = nn.Linear(18, 5)
    for other in (dict(batch=9), dict(fused=False), dict(module=wider)):
        ask(**other)
    assert len(asked) == 4 and list(json.loads(cache.read_text()).values()) == [[2.0, 1.0]] * 4


@pytest.mark.parametrize("wrong", [None, [], [1.0], [1.0, "a"], [1.0, -1.0], [0.0, 1.0], "12", {"a": 1}])
def test_impossible_times_are_measured_again(times, cache, wrong):
    ask()
    cache.write_text(json.dumps(dict.fromkeys(json.loads(cache.read_text()), wrong)))
    assert times(2.0, 1.0) == [] and ask() == "bfloat16"


def test_the_net_and_random_numbers_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(measured, "ROUNDS", 2)
    module = net().eval()
    state = copy.deepcopy(module.state_dict())
    torch.manual_seed(5)
    random = torch.get_rng_state()
    assert ask(module) in ("float32", "bfloat16")
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert not module.training and type(module) is nn.Sequential and type(module[1]) is nn.BatchNorm2d
    assert all(parameter.grad is None for parameter in module.parameters())


def test_both_precisions_are_measured_with_norms_as_they_will_be(monkeypatch):
    seen = []

    class Spy(nn.Conv2d):
        def forward(self, x):
            seen.append(
                (tuple(x.shape), torch.is_autocast_enabled("cpu"), x.is_contiguous(memory_format=torch.channels_last))
            )
            return super().forward(x)

    monkeypatch.setattr(measured, "ROUNDS", 1)
    exchanged = []
    monkeypatch.setattr(precision, "exchange_between", lambda net, sparse: exchanged.append(sparse))
    module = net()
    module[0] = Spy(2, 3, 3)
    example = EXAMPLE.contiguous(memory_format=torch.channels_last)
    precision._measure(module, example, 8, True)
    assert seen == [((8, 2, 5, 4), False, True), ((8, 2, 5, 4), True, True)] and exchanged == [False]
    precision._measure(module, EXAMPLE, 8, False)
    assert seen[2:] == [((8, 2, 5, 4), False, False), ((8, 2, 5, 4), True, False)] and exchanged == [False]


class NotInHalf(nn.Linear):
    def forward(self, x):
        if torch.is_autocast_enabled("cpu"):
            raise NotImplementedError('"sinkhorn" not implemented for BFloat16')
        return super().forward(x)


def test_a_net_that_cannot_be_measured_trains_in_float32(caplog, cache):
    module = net()
    module[5] = NotInHalf(18, 4)
    with caplog.at_level(logging.INFO):
        assert ask(module) == "float32"
    assert "not implemented for BFloat16" in caplog.text and not cache.exists()


def test_autocast_is_of_bfloat16_alone():
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(name):
            assert nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == dtype
