"""The step: compiled and captured steps equal plain ones, whatever the method does between their pieces."""

import pytest
import torch
from torch import nn

import lpss
from lpss.native import loader
from lpss.registries import METHODS
from lpss.train.compute import ComputeOptions
from lpss.train.step import CapturedStep, TrainStep

CAPTURE = ComputeOptions(capture=True)
STEPS = 30


@pytest.fixture(autouse=True)
def tensor_code(monkeypatch):
    """Captured steps are made of tensor operations; so the plain ones they are compared with are, too."""
    monkeypatch.setattr(loader, "library", lambda: None)


class Plain(TrainStep):
    """Its learning rates are rounded as a captured step's are."""

    def set_lr(self, factor):
        for group in self.method.optimizer.param_groups:
            group["lr"] = torch.tensor(group["base_lr"] * factor)


def build(method_class, optimizer="lpsgd_m", seed=0, device="cpu", **options):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).to(device)
    groups = lpss.param_groups(net, None if optimizer == "sgd" else 1.2, lr_free=0.1)
    made = {
        "sgd": lambda: torch.optim.SGD(lpss.param_groups(net, None), lr=0.1, momentum=0.9, foreach=True),
        "free": lambda: lpss.LpSGDm(lpss.param_groups(net, None), lr=0.1, p=None),
        "lpsgd": lambda: lpss.LpSGD(groups, lr=0.05, p=None),
        "lpsgd_m": lambda: lpss.LpSGDm(groups, lr=0.05, p=None, nesterov=True),
    }[optimizer]()
    options |= {} if method_class is lpss.Dense else {"sparsity": 0.7}
    method = method_class(net, made, total_steps=STEPS, **options)
    method.prepare(data(device=device))
    return net, method


def data(count=STEPS, device="cpu"):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(count, 16, 1, 6, 6, generator=draw)
    return zip(x.to(device), (x.mean((2, 3, 4)) * 30).long().clamp(-1, 2).add(1).to(device), strict=True)


def train(net, step, batches=None):
    net.train()
    for i, (x, y) in enumerate(batches or data()):
        step(x, y, 1 - i / STEPS)
    return net.state_dict()


def assert_same(state, other, **tolerance):
    for key, value in state.items():
        torch.testing.assert_close(value, other[key], **(tolerance or {"rtol": 0, "atol": 0}), msg=key)


CAPTURED = {name: method for name, method in METHODS.items() if method.capturable}


@pytest.mark.parametrize(
    "name, optimizer",
    [
        (name, way)
        for name, method in CAPTURED.items()
        for way in (["free"] if method.no_spheres else ["lpsgd", "lpsgd_m"])
    ],
)
def test_a_captured_step_is_bitwise_the_plain_one(recorder, name, optimizer):
    method_class = METHODS[name]
    net, method = build(method_class, optimizer)
    plain = Plain(net, method)
    state = train(net, plain)
    other, other_method = build(method_class, optimizer)
    captured = CapturedStep(other, other_method, CAPTURE, recorder)
    assert_same(state, train(other, captured))
    assert recorder.warm == 3 and len(recorder.tapes) == 2  # one for the gradients, one for the descent
    torch.testing.assert_close(captured.totals(), plain.totals())
    assert other_method.steps == STEPS
    for name, mask in method.masks.items():
        assert torch.equal(mask, other_method.masks[name])


@pytest.mark.parametrize("method_class", [lpss.LpSS, lpss.RigL])
def test_masks_change_between_the_captured_pieces(recorder, method_class):
    net, method = build(method_class, update_every=2)
    step, seen = CapturedStep(net, method, CAPTURE, recorder), []
    for i, (x, y) in enumerate(data()):
        step(x, y, 1 - i / STEPS)
        seen.append(method.masks["4"].clone())
    assert sum(not torch.equal(a, b) for a, b in zip(seen[5:], seen[6:], strict=False)) >= 3


def test_a_captured_step_follows_the_learning_rate(recorder):
    net, method = build(lpss.Dense)
    step = CapturedStep(net, method, CAPTURE, recorder)
    batch = next(iter(data()))
    for _ in range(5):
        step(*batch, 1.0)
    before = net[0].weight.clone()
    step(*batch, 0.0)
    torch.testing.assert_close(net[0].weight, before, rtol=1e-5, atol=1e-6)
    step(*batch, 1.0)
    assert (net[0].weight - before).abs().max() > 1e-3


def test_neurons_with_nan_gradients_are_counted_in_a_captured_step(recorder):
    net, method = build(lpss.Dense)
    step = CapturedStep(net, method, CAPTURE, recorder)
    x, y = next(iter(data()))
    for _ in range(5):
        step(x, y, 1.0)
    assert method.optimizer.nonfinite_neurons == 0
    before = net[0].weight.clone()
    for _ in range(2):
        step(x * float("nan"), y, 1.0)
    assert method.optimizer.nonfinite_neurons == 2 * 6
    assert torch.equal(net[0].weight, before)


def test_what_reads_the_device_is_run_uncaptured_with_one_line(recorder, caplog):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(36, 4)

        def forward(self, x):
            return self.layer(x.flatten(1)) * (1.0 if x.mean().item() < 1e9 else 2.0)

    def made():
        torch.manual_seed(0)
        net = Reads()
        return net, lpss.Dense(net, torch.optim.SGD(net.parameters(), lr=0.1), total_steps=STEPS)

    net, method = made()
    state = train(net, TrainStep(net, method))
    other, other_method = made()
    assert_same(state, train(other, CapturedStep(other, other_method, CAPTURE, recorder)))
    lines = [record.message for record in caplog.records if "captured" in record.message]
    assert len(lines) == 1 and "it runs uncaptured" in lines[0] and "not permitted" in lines[0]
    assert isinstance(other_method.optimizer.param_groups[0]["lr"], float)


def test_a_compiled_step_equals_the_plain_one():
    net, method = build(lpss.LpSS)
    state = train(net, TrainStep(net, method))
    other, other_method = build(lpss.LpSS)
    step = TrainStep(other, other_method, ComputeOptions(compile=True))
    compiled = train(other, step)
    assert step.compiled and step.model is not other
    assert_same(state, compiled, rtol=1e-3, atol=1e-4)


def test_a_net_that_cannot_be_compiled_runs_uncompiled_with_one_line(monkeypatch, caplog):
    def broken(net):
        def call(x):
            raise RuntimeError("no compiler here\nat all")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    net, method = build(lpss.LpSS)
    state = train(net, TrainStep(net, method, ComputeOptions(compile=True)))
    other, other_method = build(lpss.LpSS)
    assert_same(state, train(other, TrainStep(other, other_method)))
    (line,) = [record.message for record in caplog.records]
    assert line == ("train.compile: the net cannot be compiled (RuntimeError: no compiler here): it runs uncompiled")


def test_bfloat16_keeps_weights_and_state_in_float32_and_stays_close():
    net, method = build(lpss.LpSS)
    train(net, TrainStep(net, method))
    other, other_method = build(lpss.LpSS)
    low = TrainStep(other, other_method, ComputeOptions(precision="bfloat16"))
    x, y = next(iter(data()))
    low.gradients(x, y)
    loss = low.totals()[0].item()
    plain = TrainStep(*build(lpss.LpSS))
    plain.gradients(x, y)
    assert loss != plain.totals()[0].item()  # it is bfloat16
    assert loss == pytest.approx(plain.totals()[0].item(), rel=0.02)
    train(other, low)
    assert all(param.dtype == torch.float32 for param in other.parameters())
    states = other_method.optimizer.state.values()
    assert all(value.dtype == torch.float32 for state in states for value in state.values())


def test_totals_are_those_of_the_batches():
    net, method = build(lpss.Dense)
    step = TrainStep(net, method)
    x, y = next(iter(data()))
    step.gradients(x, y)
    with torch.no_grad():
        logits = net(x)
    loss, correct = step.totals().tolist()
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert correct == (logits.argmax(1) == y).sum()


@pytest.mark.gpu
@pytest.mark.parametrize("method_class", CAPTURED.values(), ids=CAPTURED)
def test_captured_equals_plain_on_the_gpu(method_class):
    from lpss.train.step import CudaGraphs

    torch.backends.cudnn.deterministic = True
    states = []
    for capture in (False, True):
        optimizer = "free" if method_class.no_spheres else "lpsgd_m"
        net, method = build(method_class, optimizer, device="cuda")
        step = CapturedStep(net, method, CAPTURE, CudaGraphs()) if capture else TrainStep(net, method)
        states.append(train(net, step, data(device="cuda")))
    assert_same(*states, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "lpsgd", "lpsgd_m"])
def test_the_gpu_follows_the_cpu_step_by_step(optimizer):
    net, method = build(lpss.RigL, optimizer)
    other, other_method = build(lpss.RigL, optimizer, device="cuda")
    pairs = (TrainStep(net, method), TrainStep(other, other_method))
    for i, ((x, y), (x_gpu, y_gpu)) in enumerate(zip(data(6), data(6, "cuda"), strict=True)):
        pairs[0](x, y, 1 - i / STEPS)
        pairs[1](x_gpu, y_gpu, 1 - i / STEPS)
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-4)
