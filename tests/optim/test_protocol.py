"""Methods take any optimizer: what they need of one is `LatentWeights`, with a neutral default."""

import pytest
import torch
from torch import nn

from lpss import LpSGD, LpSGDm, LpSS, LpSSDemo, RigL, param_groups
from lpss.optim.protocol import LatentWeights, PlainWeights, latent_weights


class HalfWeights(torch.optim.SGD):
    """SGD on h, a state tensor, with w = 2 h, in which no neuron's largest |h| may exceed 1: no class of ours."""

    def __init__(self, params, p=None):
        super().__init__(params, lr=0.0)
        self.p, self.retracted = p, 0

    def p_of(self, param):
        return self.p

    def latent(self, param):
        return self.state[param].setdefault("half", param.detach() / 2)

    def to_latent(self, param, weight):
        return weight / 2

    def retract(self, param):
        self.retracted += 1
        half = self.latent(param)
        half.div_(half.abs().amax(1, keepdim=True).clamp(min=1))
        param.copy_(2 * half)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2, bias=False)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_the_neutral_default_leaves_weights_as_they_are(optimizer):
    net = linear()
    before, weights = net.weight.detach().clone(), latent_weights(optimizer(net.parameters(), lr=0.1))
    assert isinstance(weights, PlainWeights) and isinstance(weights, LatentWeights)
    assert weights.p_of(net.weight) is None and weights.latent(net.weight) is net.weight
    assert weights.to_latent(net.weight, before) is before
    weights.retract(net.weight)
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize("optimizer_class", [LpSGD, LpSGDm])
def test_the_sphere_optimizers_speak_for_themselves(optimizer_class):
    optimizer = optimizer_class(linear().parameters(), lr=0.1, p=1.5)
    assert latent_weights(optimizer) is optimizer


def test_a_foreign_optimizers_latent_values_and_retraction_are_respected():
    net = linear()
    optimizer = HalfWeights(net.parameters())
    assert latent_weights(optimizer) is optimizer
    method = RigL(net, optimizer, sparsity=0.5, total_steps=10)
    active = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool()
    method.set_mask("", active)
    with torch.no_grad():
        optimizer.latent(net.weight).copy_(torch.tensor([[0.5, -4.0, 0, 0], [0, 0, 0.1, 0.2]]))
    retracted = optimizer.retracted
    method.set_mask("", torch.ones_like(active), torch.full((2, 4), 3.0))
    assert optimizer.retracted == retracted + 1
    # known connections: their h, zeroed nowhere (SGD keeps no other state), divided by their neuron's largest |h|;
    # new ones: h = 3 / 2
    expected = torch.tensor([[0.125, -1.0, 0.375, 0.375], [1.0, 1.0, 0.1 / 1.5, 0.2 / 1.5]])
    torch.testing.assert_close(optimizer.latent(net.weight), expected)
    torch.testing.assert_close(net.weight.detach(), 2 * expected)


def test_a_mask_hides_what_a_foreign_optimizer_keeps_off_it():
    net = linear()
    optimizer = HalfWeights(net.parameters())
    method = LpSSDemo(net, optimizer, sparsity=0.5, total_steps=10)
    assert method.unmasked_state == ("half",)  # found by what it is, whatever its name
    before = optimizer.latent(net.weight).clone()
    method.set_mask("", torch.eye(2, 4).bool())
    assert (optimizer.latent(net.weight) != 0).all() and torch.equal(optimizer.latent(net.weight), before)
    assert torch.equal(net.weight != 0, torch.eye(2, 4).bool())


@pytest.mark.parametrize("p, rescaled", [(None, True), (1.5, False)])
def test_a_foreign_optimizer_says_which_weights_live_on_a_sphere(p, rescaled):
    net = linear()
    before = net.weight.detach().clone()
    method = LpSS(
        net,
        HalfWeights(net.parameters(), p),
        sparsity=0.9,
        total_steps=10,
        zeta_w=0.1,
        exact_finish=False,
        start_sparsity=0.5,
    )
    net.weight.data.copy_(before)
    method.rescale_neurons()
    assert torch.equal(net.weight, before) != rescaled


def test_grown_connections_of_any_torch_optimizer_start_at_the_given_values():
    net = linear()
    method = RigL(net, torch.optim.AdamW(net.parameters()), sparsity=0.5, total_steps=10)
    active = method.masks[""].bool()
    before = net.weight.detach().clone()
    method.set_mask("", torch.ones_like(active), torch.full((2, 4), 3.0))
    assert torch.equal(net.weight, torch.where(active, before, torch.tensor(3.0)))


@pytest.mark.parametrize("method_class", [LpSS, LpSSDemo, RigL])
def test_adamw_trains_with_every_kind_of_method(method_class):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    options = {"grow_init": "threshold"} if method_class is LpSS else {}
    method = method_class(net, torch.optim.AdamW(net.parameters()), sparsity=0.5, total_steps=30, **options)
    for step in range(30):
        method.optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.randn(8, 6)), torch.arange(8) % 3).backward()
        method.step()
        for name, layer in method.masks.layers.items():
            assert (layer.weight[method.masks[name] == 0] == 0).all(), step
    assert 0.2 < method.masks.sparsity_weights() < 1


def test_the_methods_import_no_optimizer():
    import ast
    from pathlib import Path

    import lpss.sparse.methods as methods

    for file in Path(methods.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {module for module in imported if module and module.startswith("lpss.optim")}
        assert ours <= {"lpss.optim.protocol"}, file.name


def test_param_groups_and_weights_off_the_sphere_have_no_p():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    weights = latent_weights(LpSGDm(param_groups(net, 1.5), lr=0.1, p=None))
    assert weights.p_of(net[0].weight) == 1.5 and weights.p_of(net[1].weight) is None
