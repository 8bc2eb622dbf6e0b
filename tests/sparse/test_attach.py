"""method.attach(): in trainers that know only the optimizer. (test_matrix.py: bit by bit the same as method.step().)"""

import copy
import io
import logging
import socket

import pytest
import torch
from torch import nn

from lpss import LpSGDm, param_groups
from lpss.errors import UsageError
from lpss.sparse.methods import METHODS

STEPS = 24
OFTEN = {"update_every": 4, "end": 0.9}
OPTIMIZERS = {
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.01),
    "lpsgd_m": lambda net: LpSGDm(param_groups(net, 1.5), lr=0.05, p=None),
}


# Every method with every optimizer, but for those that have no meaning for weights on a sphere.
PAIRS = [(name, way) for name in METHODS for way in OPTIMIZERS if way == "adamw" or not METHODS[name].no_spheres]


def make_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )


def make(name, optimizer="adamw", seed=0, **options):
    net = make_net(seed)
    known = METHODS[name].Config.__dataclass_fields__
    options = {key: value for key, value in OFTEN.items() if key in known} | options
    method = METHODS[name](net, OPTIMIZERS[optimizer](net), sparsity=0.8, total_steps=STEPS, seed=seed, **options)
    method.prepare(map(batch, range(50)))
    return net, method


def batch(step, rows=32):
    x = torch.randn(rows, 12, generator=torch.Generator().manual_seed(step))
    return x, x[:, :3].argmax(1)


def train(net, method, steps, *, scaler=None, parts=1, clip=None, forward=None):
    optimizer = method.optimizer
    for step in range(method.steps, method.steps + steps):
        optimizer.zero_grad()
        for x, y in zip(*(tensor.chunk(parts) for tensor in batch(step)), strict=True):
            loss = nn.functional.cross_entropy((forward or net)(x), y) / parts
            (scaler.scale(loss) if scaler else loss).backward()
        if clip:
            if scaler:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        elif method.attachment is not None:
            optimizer.step()
        else:
            method.step()


def same(first, second, exactly=True):
    for (net, method), (other_net, other) in ((first, second),):
        for (key, a), b in zip(net.state_dict().items(), other_net.state_dict().values(), strict=True):
            assert torch.equal(a, b) if exactly else torch.allclose(a, b, rtol=1e-4, atol=1e-5), key
        for layer in method.masks:
            assert torch.equal(method.masks[layer], other.masks[layer])
        assert method.steps == other.steps


def sparse(method):
    assert all(not layer.weight[method.masks[name] == 0].any() for name, layer in method.masks.layers.items())
    return method.masks.sparsity_weights()


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["net first", "optimizer first"])
@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_masks_state_and_step_travel_with_the_optimizers_state(name, optimizer, order):
    straight = make(name, optimizer)
    straight[1].attach()
    train(*straight, STEPS)

    first = make(name, optimizer)
    first[1].attach()
    train(*first, STEPS // 2)
    file = io.BytesIO()
    torch.save({"net": first[0].state_dict(), "optimizer": first[1].optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = make(name, optimizer, seed=9)
    second[1].attach()
    if order == "net first":
        second[0].load_state_dict(saved["net"])
    second[1].optimizer.load_state_dict(saved["optimizer"])
    if order == "optimizer first":
        second[0].load_state_dict(saved["net"])
    train(*second, STEPS - STEPS // 2)
    same(straight, second)


@pytest.mark.parametrize("source", ["method", "optimizer"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_made_of_a_saved_state_leaves_weights_and_optimizer_as_they_are(name, source):
    way = "adamw" if METHODS[name].no_spheres else "lpsgd_m"
    straight = make(name, way)
    train(*straight, STEPS)
    first = make(name, way)
    train(*first, STEPS // 2)
    state = first[1].state_dict() if source == "method" else first[1].attach().optimizer.state_dict()["lpss"]
    first[1].detach()
    saved = copy.deepcopy({"net": first[0].state_dict(), "optimizer": first[1].optimizer.state_dict()})
    net = make_net(seed=9)
    optimizer = OPTIMIZERS[way](net)
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    options = {key: value for key, value in OFTEN.items() if key in METHODS[name].Config.__dataclass_fields__}
    method = METHODS[name](net, optimizer, sparsity=0.8, total_steps=STEPS, seed=5, state=state, **options)
    for key, value in net.state_dict().items():
        assert torch.equal(value, saved["net"][key]), key
    train(net, method, STEPS - STEPS // 2)
    same(straight, (net, method))


def test_loading_the_optimizers_state_touches_no_weight():
    net, method = make("rigl", "lpsgd_m")
    method.attach()
    train(net, method, 6)
    state = copy.deepcopy(method.optimizer.state_dict())
    train(net, method, 6)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    method.optimizer.load_state_dict(state)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert method.steps == 6


def test_state_of_another_method_net_or_without_masks_is_noticed(caplog):
    net, method = make("rigl")
    method.attach()
    plain = torch.optim.AdamW(make_net().parameters()).state_dict()
    with caplog.at_level(logging.WARNING):
        method.optimizer.load_state_dict(plain)
    assert "holds no masks: rigl goes on with its own" in caplog.text
    _, other = make("set")
    state = other.attach().optimizer.state_dict()
    with pytest.raises(UsageError, match="one of method set, not of rigl"):
        method.optimizer.load_state_dict(state)
    state["lpss"] = {"method": "rigl", "masks": {"0": torch.ones(3, 3)}}
    with pytest.raises(UsageError, match="the saved masks are another net's: none for '0' of \\(16, 12\\)"):
        method.optimizer.load_state_dict(state)


def test_attaching_twice_is_once_and_detaching_undoes_it():
    net, method = make("set")
    hooks = [len(param._backward_hooks or ()) for param in net.parameters()]
    assert method.attach().attach() is method
    train(net, method, 2)
    assert method.steps == 2
    method.detach()
    method.detach()
    assert [len(param._backward_hooks or ()) for param in net.parameters()] == hooks
    method.optimizer.step()
    assert method.steps == 2 and "lpss" not in method.optimizer.state_dict()


def test_an_optimizer_has_one_method_at_a_time():
    net, method = make("set")
    method.attach()
    other = METHODS["static"](net, method.optimizer, sparsity=0.5, total_steps=STEPS)
    with pytest.raises(UsageError, match="method set is attached to this optimizer already: call its detach"):
        other.attach()
    method.detach()
    assert other.attach().optimizer.state_dict()["lpss"]["method"] == "static"
    copied = copy.deepcopy(other.optimizer)  # of the copy's weights the method knows nothing
    assert "lpss" not in copied.state_dict()


# --- trainers' habits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_a_grad_scaler_changes_nothing(name, optimizer):
    plain, scaled = make(name, optimizer), make(name, optimizer)
    train(*plain, STEPS)
    scaled[1].attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000)
    train(*scaled, STEPS, scaler=scaler)
    same(plain, scaled)


def test_steps_that_a_grad_scaler_skips_are_no_steps():
    net, method = make("lpss", "lpsgd_m")
    method.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # inf until it has been halved often enough
    for step in range(STEPS):
        method.optimizer.zero_grad()
        x, y = batch(step)
        scaler.scale(100 * nn.functional.cross_entropy(net(x), y)).backward()
        scaler.step(method.optimizer)
        scaler.update()
    assert 0 < method.steps < STEPS and all(torch.isfinite(param).all() for param in net.parameters())
    assert method.skipped_updates == 0
    sparse(method)


@pytest.mark.parametrize("name", METHODS)
def test_accumulated_gradients_of_parts_are_those_of_the_batch(name):
    def no_norm(pair):
        pair[0][1].eval()  # BatchNorm sees parts as such
        return pair

    whole, parts = no_norm(make(name)), no_norm(make(name))
    whole[1].attach()
    parts[1].attach()
    train(*whole, 10, clip=0.5)
    train(*parts, 10, parts=4, clip=0.5)
    for layer in whole[1].masks:
        assert (whole[1].masks[layer] != parts[1].masks[layer]).float().mean() < 0.02
    for a, b in zip(whole[0].parameters(), parts[0].parameters(), strict=True):
        assert torch.isclose(a, b, rtol=1e-2, atol=1e-3).float().mean() > 0.95
    sparse(parts[1])


@pytest.mark.parametrize("name, optimizer", PAIRS)
def test_clipping_does_the_same_whether_attached_or_masked_by_hand(name, optimizer):
    attached, by_hand = make(name, optimizer), make(name, optimizer)
    attached[1].attach()
    train(*attached, STEPS, clip=0.05)
    net, method = by_hand
    for step in range(STEPS):
        method.optimizer.zero_grad()
        x, y = batch(step)
        nn.functional.cross_entropy(net(x), y).backward()
        method.mask_gradients()
        nn.utils.clip_grad_norm_(net.parameters(), 0.05)
        method.step()
    same(attached, by_hand)


def test_gradients_are_still_there_after_a_step_that_only_updates_the_topology():
    net, method = make("rigl")
    method.attach()
    while not method.should_update():
        train(net, method, 1)
    before = [param.detach().clone() for param in net.parameters()]
    train(net, method, 1)
    assert all(param.grad is not None for param in net.parameters())
    masks = {id(layer.parameter): method.masks[name] for name, layer in method.masks.layers.items()}
    for param, old in zip(net.parameters(), before, strict=True):  # only topology: nothing moved
        assert torch.equal(param, old * masks[id(param)] if id(param) in masks else old)


@pytest.mark.parametrize("name", ["rigl", "lpss", "static"])
def test_compiled_nets_have_the_names_of_the_net_and_train_alike(name):
    plain = make(name, "lpsgd_m")
    plain[1].attach()
    train(*plain, 8)
    net = make_net()
    compiled = torch.compile(net, backend="aot_eager")
    options = {key: value for key, value in OFTEN.items() if key in METHODS[name].Config.__dataclass_fields__}
    method = METHODS[name](
        compiled, OPTIMIZERS["lpsgd_m"](compiled), sparsity=0.8, total_steps=STEPS, seed=0, **options
    ).attach()
    train(net, method, 8, forward=compiled)
    assert list(method.masks) == list(plain[1].masks)
    same(plain, (net, method), exactly=False)


def test_a_schedulers_steps_count_as_before():
    net, method = make("rigl")
    method.attach()
    scheduler = torch.optim.lr_scheduler.StepLR(method.optimizer, 1, 0.5)
    train(net, method, 1)
    scheduler.step()
    train(net, method, 1)
    assert method.steps == 2 and method.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)


def test_a_step_without_gradients_fails_as_it_does_without_a_method():
    net, method = make("rigl", update_every=1)
    method.attach()
    method.optimizer.step()  # no gradients: torch's optimizers do nothing
    with pytest.raises(UsageError, match="no layer has a gradient"):
        method.optimizer.step()


# --- several processes ----------------------------------------------------------------------------------------------

RANK = """
import os, sys, torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import lpss

name, folder = sys.argv[1:]
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = lpss.LpSGDm(lpss.param_groups(net, 1.5), lr=0.05, p=None)
wrapped = DistributedDataParallel(net)
options = {} if name in ("Static", "SNIP") else {"update_every": 4}
method = getattr(lpss, name)(wrapped, optimizer, sparsity=0.8, total_steps=24, **options).attach()
assert list(method.masks) == ["0", "2", "4"]
for step in range(24):
    optimizer.zero_grad()
    x = torch.randn(32, 12, generator=torch.Generator().manual_seed(step))
    y = x[:, :3].argmax(1)
    for part in range(2):  # accumulated, of which the last alone is averaged over processes
        one = slice(16 * rank + 8 * part, 16 * rank + 8 * part + 8)
        with (wrapped.no_sync() if part == 0 else torch.enable_grad()):
            (nn.functional.cross_entropy(wrapped(x[one]), y[one]) / 2).backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    optimizer.step()
state = net.state_dict() | {"mask." + key: value for key, value in method.masks.state_dict().items()}
torch.save(state, f"{folder}/{name}{rank}.pt")
dist.barrier()
os._exit(0)  # gloo's threads may abort an interpreter that ends in the usual way
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize("name", ["RigL", "LpSS", "SET", "SNIP", "Static"])
def test_processes_that_share_a_net_hold_the_same_masks(python, tmp_path, name):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    own = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    done = python.together(*[(script, name, tmp_path)] * 2, cwd=tmp_path, environments=own)
    assert not any(one.returncode for one in done), "".join(one.stderr for one in done)
    first, second = (torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True) for rank in range(2))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
        if key.startswith("mask."):
            assert not first[f"{key[5:]}.weight"][~value].any()
