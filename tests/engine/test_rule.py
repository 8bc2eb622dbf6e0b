"""Up to which density a layer computes sparse: what is measured, how, and where it is kept."""

import json
import logging
import os
import stat

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lpss.engine import measured as measured_module
from lpss.engine import rule
from lpss.engine.functions import SparseProduct
from lpss.engine.pattern import PIXEL, Geometry
from lpss.engine.rule import DENSITIES, OWN, Job, Times, jobs_of, limits, limits_from, measure
from lpss.layers import all_layers
from lpss.native import loader


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, (3, 2), stride=2, padding=(1, 0), bias=False)
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.tokens, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
        self.idle = nn.Linear(5, 5)

    def forward(self, x):
        x = self.drop(self.grouped(self.norm(self.stem(x)))).flatten(2).transpose(1, 2)
        return self.head(self.tokens(x).mean(1) + torch.rand(6))


EXAMPLE = torch.ones(1, 3, 8, 7)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The file of what was measured, in a folder of its own; the C code is loaded already, where there is any."""
    loader.library()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lpss-native" / "times.json"


@pytest.fixture
def measured(monkeypatch):
    """What has been measured, (job, precision) each; a measurement takes no time and leads to limits .1, .2, ..."""
    asked = []

    def fake(job, precision):
        torch.rand(3)
        asked.append((job, precision))
        return up_to(0.1 * len(asked))

    monkeypatch.setattr(rule, "measure", fake)
    monkeypatch.setattr(rule, "MARGIN", 0.0)
    return asked


def up_to(limit, dense=1.0, slope=1.0, copies=0.0):
    """Times of a layer that gains up to this density."""
    sparse = tuple(dense - OWN + slope * (density - limit - 0.005) for density in DENSITIES)
    return Times(dense, sparse, copies)


def ask(net=None, batch=32, precision="float32"):
    net = net or Net()
    return limits(net, all_layers(net), EXAMPLE, batch, precision)


def test_a_job_says_what_a_layer_does_with_a_batch_and_the_net_stays_as_it_is():
    net = Net()
    net.drop.eval()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    layers = [layer for layer in all_layers(net) if layer.name != "grouped"]
    jobs = jobs_of(net, layers, EXAMPLE, 32)
    assert jobs == {
        "stem": Job((4, 3, 3, 2), 32, Geometry(8, 7, (3, 2), (2, 2), (1, 0)), bias=False, first=True),
        "tokens": Job((6, 4), 32 * 12, PIXEL, bias=True),
        "head": Job((2, 6), 32, PIXEL, bias=True),
    }
    assert jobs["stem"].input == (32, 3, 8, 7) and jobs["tokens"].input == (384, 4)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert net.training and not net.drop.training
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_hooks_and_modes_are_put_back_where_the_forward_pass_fails():
    net = Net()
    with pytest.raises(RuntimeError):
        jobs_of(net, all_layers(net), torch.ones(1, 9), 32)
    assert net.training and not any(module._forward_pre_hooks for module in net.modules())


def test_what_was_measured_is_kept_and_read_back(cache, measured):
    first = ask()
    assert first == {"stem": 0.1, "tokens": 0.2, "head": 0.3}
    net = Net()
    jobs = jobs_of(net, [layer for layer in all_layers(net) if layer.name in first], EXAMPLE, 32)
    assert measured == [(job, "float32") for job in jobs.values()]
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    assert ask() == first and len(measured) == 3
    kept = [Times(dense, tuple(sparse), copies) for dense, sparse, copies in json.loads(cache.read_text()).values()]
    assert kept == [up_to(0.1), up_to(0.2), up_to(0.1 * 3)]


def test_another_batch_precision_or_number_of_threads_is_measured_anew_beside_what_is_there(cache, measured):
    first = ask()
    before = torch.get_num_threads()
    ask(batch=64)
    ask(precision="bfloat16")
    assert [precision for _, precision in measured] == ["float32"] * 6 + ["bfloat16"] * 3
    try:
        torch.set_num_threads(before + 1)
        ask()
    finally:
        torch.set_num_threads(before)
    assert len(measured) == 12 and ask() == first
    assert len(json.loads(cache.read_text())) == 12


def test_equal_layers_are_measured_once(cache, measured):
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    found = limits(net, all_layers(net), torch.ones(1, 6), 8)
    assert found == {"0": 0.1, "2": 0.2, "4": 0.2} and len(measured) == 2  # the first reads the net's input


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1, 2]",
        "3",
        '{"a": "b"}',
        '{"a": null}',
        '{"a": [0.1]}',
        "null",
        b"\xff\xfe\x00",
        '{"a": 7.0}',
        '{"a": [1, 2, 3]}',
    ],
)
def test_a_damaged_file_is_measured_over(cache, measured, content):
    cache.parent.mkdir()
    cache.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert ask() == {"stem": 0.1, "tokens": 0.2, "head": 0.3}
    assert len(json.loads(cache.read_text())) == 3
    ask()
    assert len(measured) == 3


@pytest.mark.parametrize(
    "wrong", [[1.0, [0.1], 0.0], [1.0, [0.1, -0.1, 0.2], 0.0], [1.0, [0.1, "a", 0.2], 0.0], [], ["a", [1, 2, 3], 0.0]]
)
def test_impossible_times_in_the_file_are_measured_again(cache, measured, wrong):
    ask()
    content = json.loads(cache.read_text())
    cache.write_text(json.dumps(dict.fromkeys(content, wrong)))
    assert ask() == {"stem": 0.4, "tokens": 0.5, "head": 0.6}


@pytest.mark.parametrize("what", ["a file where the folder should be", "a folder where the file should be"])
def test_where_nothing_can_be_kept_it_is_measured_and_said(cache, measured, caplog, what):
    if what.startswith("a file"):
        cache.parent.write_text("")
    else:
        cache.mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        assert ask() == {"stem": 0.1, "tokens": 0.2, "head": 0.3}
    assert "what was measured cannot be kept in" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_no_error(cache, measured, caplog):
    cache.parent.mkdir(mode=0o500)
    with caplog.at_level(logging.INFO):
        assert len(ask()) == 3
    assert "cannot be kept" in caplog.text


def test_random_numbers_do_not_depend_on_what_was_measured_before(cache, measured):
    net = Net()
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        ask(net)
        states.append(torch.get_rng_state())
    assert len(measured) == 3
    torch.manual_seed(5)
    assert all(torch.equal(state, torch.get_rng_state()) for state in states)


@pytest.mark.parametrize(
    "sparse, limit",
    [
        ((0.2, 0.4, 1.2), 0.4249),  # between .2 and .5
        ((0.2, 1.1, 5.0), 0.1799),  # between .02 and .2
        ((0.2, 0.3, 0.9), 0.5499),  # beyond what was measured
        ((2.0, 3.0, 4.0), 0.0),  # never
        ((0.1, 0.1, 0.1), 1.0),  # always
    ],
)
def test_a_layers_own_limit_is_where_its_sparse_time_meets_the_dense_one(monkeypatch, sparse, limit):
    one = Times(1.0, sparse, 0.0)
    if 0 < limit < 1:
        assert one.saved(limit) == pytest.approx(0, abs=1e-3)
    assert limits_from({"a": one})["a"] <= limit  # by itself it must win clearly
    monkeypatch.setattr(rule, "MARGIN", 0.0)
    assert limits_from({"a": one})["a"] == pytest.approx(limit, abs=0.01)


def test_a_net_stays_dense_unless_it_gains_clearly(monkeypatch):
    monkeypatch.setattr(rule, "MARGIN", 0.1)
    times = {"a": up_to(0.4), "b": up_to(0.1), "c": up_to(-1.0, dense=2.0)}
    # what a and b save at a density d, .405 - d and .105 - d, must be above .1 x 4
    assert limits_from(times) == {"a": 0.05, "b": 0.05, "c": 0.0}
    assert limits_from(times | {"c": up_to(-1.0, dense=1.0)}) == {"a": 0.1, "b": 0.1, "c": 0.0}
    assert limits_from(times | {"c": up_to(-1.0, dense=3.0)}) == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert limits_from({}) == {}


def test_the_fewer_copies_count_of_those_around_dense_and_around_sparse_layers(monkeypatch):
    monkeypatch.setattr(rule, "MARGIN", 0.0)
    times = {"a": up_to(0.4, copies=0.2), "b": up_to(-1.0, copies=0.3)}
    assert limits_from(times)["a"] == 0.2  # saves .405 - d
    assert limits_from(times | {"b": up_to(-1.0, copies=0.1)})["a"] == 0.3
    assert limits_from({"a": times["a"]})["a"] == 0.4  # there is no dense layer that it would meet


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "job",
    [
        Job((6, 4), 17, bias=True),
        Job((6, 4), 17, first=True),
        Job((5, 3, 3, 2), 4, Geometry(6, 5, (3, 2), (2, 1), (1, 0)), bias=True),
        Job((5, 3, 1, 1), 4, Geometry(6, 5), first=True),
    ],
    ids=str,
)
def test_every_kind_of_layer_is_measured_in_both_ways(monkeypatch, job, precision):
    passes = []
    for owner, name in ((F, "linear"), (F, "conv2d"), (SparseProduct, "apply")):
        function = getattr(owner, name)

        def note(x, *others, name=name, function=function):
            passes.append((name, tuple(x.shape), x.requires_grad))
            return function(x, *others)

        monkeypatch.setattr(owner, name, note)
    monkeypatch.setattr(measured_module, "ROUNDS", 2)
    times = measure(job, precision)
    assert min(times.dense, *times.sparse) > 0 and times.copies > 0 and len(times.sparse) == len(DENSITIES)
    dense = "linear" if len(job.weight) == 2 else "conv2d"
    assert passes == [(name, job.input, not job.first) for name in (dense, *["apply"] * len(DENSITIES))] * 2
