"""Gains: a net that goes on the sphere computes what it did before."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import lpss
from lpss import LpSGD, LpSGDm, LpSS, RigL, keep_scale, param_groups, remove_gains
from lpss.errors import UsageError
from lpss.optim.gain import without_gains


class Net(nn.Module):
    """A layer of every kind that a sphere takes."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose1d(3, 6, 1)
        self.conv = nn.Conv1d(6, 8, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.recurrent = nn.LSTM(8, 8, batch_first=True)
        self.normed = parametrizations.weight_norm(nn.Linear(8, 8))
        self.mid = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv(self.up(x)).transpose(1, 2)
        x = self.attention(x, x, x)[0]
        return self.head(self.mid(self.normed(self.recurrent(x)[0][:, -1]).relu()).relu())


def make():
    torch.manual_seed(0)
    return Net(), 3 * torch.randn(16, 3, 5)


def train(net, x, method, steps=12):
    for _ in range(steps):
        method.optimizer.zero_grad()
        net(x).square().sum().backward()
        method.step()


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("optimizer", [LpSGD, LpSGDm])
@pytest.mark.parametrize("p", [1.2, 2.0, {"stem": 1.3, "attention": None, "default": 1.5}])
def test_logits_stay_within_1e_5_when_a_net_goes_on_the_sphere(p, optimizer, learned):
    net, x = make()
    before = net(x)
    names = keep_scale(net, p, learned=learned)
    assert "normed" not in names and "head" not in names  # weight_norm is a gain already; the head is off the sphere
    assert ("attention.in_proj_weight" in names) == (not isinstance(p, dict)) and {"up", "conv", "mid"} <= set(names)
    built = optimizer(param_groups(net, p), lr=0.02, p=None)
    LpSS(net, built, sparsity=0.5, total_steps=20, pretrained=True)
    assert (net(x) - before).abs().max() < 1e-5
    bare, _ = make()
    optimizer(param_groups(bare, p), lr=0.02, p=None)
    assert (bare(x) - before).abs().max() > 1e-3  # what gains are for
    learnable = sum(name.endswith(".gain") for name, _ in net.named_parameters())
    assert learnable == (len(names) if learned else 0)


def test_a_net_with_gains_trains_sparse_and_is_a_plain_net_afterwards():
    net, x = make()
    keep_scale(net, 1.5, learned=True)
    optimizer = LpSGDm(param_groups(net, 1.5, lr_free=0.01), lr=0.05, p=None)
    gains = [param for name, param in net.named_parameters() if name.endswith(".gain")]
    decayed = [param for group in optimizer.param_groups if group["weight_decay"] for param in group["params"]]
    assert not any(gain is param for gain in gains for param in decayed)
    before = [gain.detach().clone() for gain in gains]
    method = LpSS(net, optimizer, sparsity=0.5, total_steps=12, update_every=2, pretrained=True)
    train(net, x, method)
    assert method.masks.sparsity_weights() == pytest.approx(0.5, abs=1e-3)
    assert any(not torch.equal(a, b) for a, b in zip(before, gains, strict=True))
    trained = net(x)

    state = without_gains(net)
    other = Net()
    assert list(sorted(state)) == list(sorted(other.state_dict()))
    other.load_state_dict(state)
    assert torch.equal(other(x), trained)
    for name, mask in method.masks.state_dict().items():
        module = other.get_submodule(name.rpartition(".")[0] if "weight" in name else name)
        weight = getattr(module, name.rpartition(".")[2] if "weight" in name else "weight")
        assert not weight[~mask].any(), name

    remove_gains(net)
    torch.testing.assert_close(net(x), trained, rtol=0, atol=1e-6)
    assert set(net.state_dict()) == set(other.state_dict())
    with pytest.raises(UsageError, match="has another weight"):
        method.step()


def test_empty_neurons_keep_a_gain_of_one():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight[1] = 0
    before = net(torch.ones(2, 4))
    keep_scale(net, 1.5)
    assert net[0].parametrizations.weight[0].gain[1] == 1 and torch.allclose(net(torch.ones(2, 4)), before)
    assert keep_scale(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), None) == []


def test_what_cannot_have_a_gain_is_refused():
    net = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="layer '0' cannot be given a gain: it has a parametrization; .*exclude"):
        keep_scale(net, 1.5)
    assert keep_scale(net, 1.5, exclude=["0", "head"]) == []
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(UsageError, match="layer '0' cannot be given a gain: its weight is shared"):
        keep_scale(tied, 1.5, include=["0"])


def test_masks_and_state_go_on_through_a_checkpoint():
    def run(steps, saved=None):
        net, x = make()
        keep_scale(net, 1.5)
        optimizer = LpSGDm(param_groups(net, 1.5, lr_free=0.01), lr=0.05, p=None)
        method = RigL(net, optimizer, sparsity=0.5, total_steps=12, update_every=2, pretrained=True)
        parts = (net, optimizer, method)
        if saved:
            for part, state in zip(parts, saved, strict=True):
                part.load_state_dict(state)
        train(net, x, method, steps)
        return [part.state_dict() for part in parts], net

    straight = run(12)[1]
    resumed = run(6, run(6)[0])[1]
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_public_names():
    assert lpss.keep_scale is keep_scale and lpss.remove_gains is remove_gains
