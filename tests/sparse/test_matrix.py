"""Every method x optimizer x net: a row for each registered method and a few more, the same promises for all."""

import io
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import lpss
from lpss import CSGD, LpSGD, LpSGDm, Static, param_groups
from lpss.errors import UsageError
from lpss.sparse.distributions import active_counts
from lpss.sparse.methods import METHODS
from lpss.sparse.methods.base import Method

STEPS = 30
SPARSITY = 0.6
OFTEN = {"update_every": 3, "end": 0.9}  # for the methods that have such options


def often(name):
    known = {field.name for field in fields(METHODS[name].Config)}
    return {key: value for key, value in OFTEN.items() if key in known}


VARIANTS = {
    "gmp global": OFTEN | {"scope": "global"},
    "gmp once": OFTEN | {"schedule": "once", "begin": 0.3},
    "snfs own": OFTEN | {"momentum": "own", "redistribution": "none"},
    "sdr target": OFTEN | {"sensitivity": "target", "shrinkage": 0.05},
    "deepr global": {"scope": "global", "sign": "free", "noise": 0.1, "alpha": 0.05, "return_at_once": False},
    "soft_deepr lively": {"noise": 1.0, "alpha": 0.05},
    "granet dense start": OFTEN | {"start_sparsity": 0.0, "distribution": "uniform"},
    "acdc layer": {"scope": "layer", "reset_momentum": False},
    "topkast dpf": OFTEN | {"backward_density": 1.0, "penalty": 0.0, "start_sparsity": 0.0},
    "mest soft": OFTEN | {"elastic": "soft", "gradient_share": 0.1, "mutation": 0.25},
    "static erk": {"distribution": "erk"},
    "lpss threshold": OFTEN | {"grow_init": "threshold"},
    "lpss inexact": OFTEN | {"exact_finish": False},
    "lpss sensitivity": OFTEN | {"grow_scope": "layer", "finish_score": "sensitivity", "pace": "cubic"},
    "lpss grace": OFTEN | {"grow_init": "grace", "grace_steps": 5},
}
ROWS = {name: often(name) for name in METHODS} | VARIANTS
P = 1.3

OPTIMIZERS = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda net: torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2),
    "lpsgd": lambda net: LpSGD(param_groups(net, P, weight_decay=1e-2), lr=0.05, p=None),
    "lpsgd_m": lambda net: LpSGDm(param_groups(net, P, weight_decay=1e-2), lr=0.05, p=None, nesterov=True),
    "csgd": lambda net: CSGD(param_groups(net, P, weight_decay=1e-2), lr=0.1, p=None, penalty=1e-3),
}
SPHERES = ("lpsgd", "lpsgd_m", "csgd")
OFF_SPHERES = [name for name in METHODS if METHODS[name].no_spheres]  # methods that say so where there is a sphere


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


class Foreign(nn.Module):
    """Layers that keep their weights elsewhere, in another order, packed, or behind a parametrization."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 4, 3, stride=2)
        self.patch = parametrizations.weight_norm(nn.Conv2d(4, 12, 3, stride=3))
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.recurrent = nn.GRU(12, 8, batch_first=True)
        self.mix = nn.Bilinear(8, 8, 8)
        self.scale = nn.Parameter(torch.ones(8, 8))
        self.norm = parametrizations.spectral_norm(nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(self.up(x).relu()).flatten(2).transpose(1, 2)
        x = self.recurrent(x + self.attention(x, x, x)[0])[1][-1]
        return self.head(x + self.norm(self.mix(x, x @ self.scale).relu()))


NETS = {"mlp": mlp, "cnn": cnn, "foreign": Foreign}


class Run:
    """A net, an optimizer and a method on a fixed sequence of batches."""

    def __init__(self, row, optimizer, net, noise=0):
        torch.manual_seed(7)
        self.net = NETS[net]()
        torch.manual_seed(noise)  # from here on nothing may depend on torch's global generator
        self.optimizer = OPTIMIZERS[optimizer](self.net)
        method = METHODS[row.split()[0]]
        options = ROWS[row] | ({"include": ["scale"]} if net == "foreign" else {})
        self.method = method(self.net, self.optimizer, sparsity=SPARSITY, total_steps=STEPS, seed=3, **options)
        self.method.prepare(map(self.batch, range(20)))

    @staticmethod
    def batch(step):
        generator = torch.Generator().manual_seed(step)
        y = torch.randint(3, (16,), generator=generator)
        return torch.randn(16, 1, 6, 6, generator=generator) + y.view(-1, 1, 1, 1), y

    def train(self, steps, check=lambda run: None, loop="step"):
        for step in range(self.method.steps, self.method.steps + steps):
            x, y = self.batch(step)

            def loss(x=x, y=y):
                self.optimizer.zero_grad()
                outputs = self.net(x)
                if self.method.looks_at_outputs:
                    self.method.before_backward(outputs, y)
                loss = nn.functional.cross_entropy(outputs, y)
                loss.backward()
                return loss

            LOOPS[loop](self, loss)
            check(self)
        return self

    def attach(self):
        self.method.attach()
        return self

    def accelerate(self):
        lpss.accelerate(self.net, self.method)
        return self

    def saved(self):
        file = io.BytesIO()
        parts = {"net": self.net, "optimizer": self.optimizer, "method": self.method}
        torch.save({name: part.state_dict() for name, part in parts.items()}, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    def restore(self, saved):
        for name, state in saved.items():
            getattr(self, name).load_state_dict(state)
        return self


# What a training loop does with a function that returns the loss and leaves its gradients.
LOOPS = {
    "step": lambda run, loss: (loss(), run.method.step()),
    "step, gradients masked early": lambda run, loss: (loss(), run.method.mask_gradients(), run.method.step()),
    "step, closure": lambda run, loss: run.method.step(closure=loss),
    "attached": lambda run, loss: (loss(), run.optimizer.step()),
    "attached, step": lambda run, loss: (loss(), run.method.step()),
    "attached, closure": lambda run, loss: run.optimizer.step(loss),
}


def check_step(run):
    """What holds after every step: weights and optimizer state are zero off the mask, neurons on their sphere."""
    for name, mask in run.method.masks.items():
        layer = run.method.masks.layers[name]
        weight, off = layer.weight.detach(), mask == 0
        assert torch.isfinite(weight).all() and not weight[off].any()
        for key, value in run.optimizer.state[layer.parameter].items():
            if torch.is_tensor(value) and value.shape == layer.parameter.shape and key not in run.method.unmasked_state:
                assert not layer.view(value)[off].any(), key
        on_sphere = hasattr(run.optimizer, "p_of") and run.optimizer.p_of(layer.parameter) is not None
        if on_sphere and not run.method.unmasked_state:
            alive = mask.flatten(1).any(1)
            if run.method.name == "acdc":  # a neuron that was empty waits for a gradient
                alive &= weight.flatten(1).any(1)
            norms = weight.flatten(1).abs().pow(P).sum(1).pow(1 / P)
            assert ((norms[alive] - 1).abs() < 1e-5).all()


def check_sparse(run):
    """Weights, gradients and state hold as many entries as the masks have."""
    for name, active in run.method.masks.active().items():
        parameter = run.method.masks.layers[name].parameter
        state = [x for x in run.optimizer.state[parameter].values() if torch.is_tensor(x) and x.dim()]
        assert all(x.shape == (active,) for x in (parameter, parameter.grad, *state))


def same(a, b):
    for x, y in zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    for name in a.method.masks:
        assert torch.equal(a.method.masks[name], b.method.masks[name])
    assert a.method.steps == b.method.steps
    assert torch.equal(a.method.generator.get_state(), b.method.generator.get_state())


def check_end(method, start):
    """Methods end on the requested number of weights, in every layer where they spread them by a distribution, unless
    an option says that they find their own; and the masks have moved where something moves them."""
    masks, config = method.masks, method.config
    shapes = {layer: tuple(mask.shape) for layer, mask in masks.items()}
    blocks = {name: layer.blocks for name, layer in masks.layers.items()}
    counts = active_counts(shapes, method.sparsity, getattr(config, "distribution", "uniform"), blocks)
    if method.name == "srigl":  # whole fan-ins
        assert masks.masked_share() == pytest.approx(SPARSITY, abs=0.05)
    elif getattr(config, "exact_finish", True):
        # No neuron under weight_norm may be empty: a layer that would keep fewer weights than it has neurons has more.
        extra = (
            0 if method.keeps_layer_counts else sum(len(masks[name]) for name in masks if masks.layers[name].divides)
        )
        assert 0 <= sum(masks.active().values()) - sum(counts.values()) <= extra
    else:
        assert 0.2 < masks.sparsity_weights() < 0.9
    if hasattr(config, "distribution") and method.keeps_layer_counts:
        assert masks.active() == counts
    moves = type(method).should_update is not Method.should_update
    assert any(not torch.equal(start[layer], masks[layer]) for layer in masks) == moves


OFTEN_FOREIGN = ("adam", "lpsgd_m")  # the foreign net is slow: with the others it is left to the long tests
PAIRS = [
    pytest.param(
        optimizer, net, marks=[pytest.mark.slow] if net == "foreign" and optimizer not in OFTEN_FOREIGN else []
    )
    for optimizer in OPTIMIZERS
    for net in NETS
]


def refused(row, optimizer, net="mlp"):
    """Whether the method says that it cannot be had with this optimizer."""
    name = row.split()[0]
    if optimizer in SPHERES and name in OFF_SPHERES:
        with pytest.raises(UsageError, match=f"method {name} .* cannot train .* on an L_p sphere"):
            Run(row, optimizer, net)
        return True
    return False


@pytest.mark.parametrize("optimizer, net", PAIRS)
@pytest.mark.parametrize("row", ROWS)
def test_matrix(row, optimizer, net):
    if refused(row, optimizer, net):
        return
    run = Run(row, optimizer, net)
    check_step(run)
    start = {name: mask.clone() for name, mask in run.method.masks.items()}
    run.train(STEPS // 2, check_step)
    saved = run.saved()
    run.train(STEPS - STEPS // 2, check_step)

    check_end(run.method, start)
    same(Run(row, optimizer, net, noise=1).restore(saved).train(STEPS - STEPS // 2), run)
    same(Run(row, optimizer, net, noise=2).train(STEPS), run)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("row", ROWS)
def test_every_kind_of_loop_does_the_same_bit_by_bit(row, optimizer):
    if refused(row, optimizer):
        return
    first, *others = (
        Run(row, optimizer, "mlp").train(20, loop=loop)
        if "attached" not in loop
        else Run(row, optimizer, "mlp").attach().train(20, check_step, loop)
        for loop in LOOPS
    )
    for other in others:
        same(first, other)


@pytest.mark.parametrize("optimizer", ["adam", "lpsgd_m"])
@pytest.mark.parametrize("row", ["static", "rigl", "snip", "gmp", "lpss", "lpss grace"])
def test_every_kind_of_loop_does_the_same_bit_by_bit_with_an_accelerated_net(row, optimizer):
    runs = [Run(row, optimizer, "mlp").accelerate().train(20, check_sparse)]
    for loop in list(LOOPS)[1:]:
        runs.append(Run(row, optimizer, "mlp").accelerate())
        if "attached" in loop:
            runs[-1].attach()
        runs[-1].train(20, check_sparse, loop)
    runs.append(Run(row, optimizer, "mlp").attach().accelerate().train(20, check_sparse, "attached"))
    for run in runs[1:]:
        same(runs[0], run)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_momentum_and_weight_decay_never_revive_a_dropped_weight(optimizer):
    torch.manual_seed(7)
    net = mlp()
    built = OPTIMIZERS[optimizer](net)
    static = Static(net, built, sparsity=0.0, total_steps=300)

    def train(steps, check):
        for step in range(steps):
            x = torch.randn(16, 36, generator=torch.Generator().manual_seed(step))
            built.zero_grad()
            net(x).square().sum().backward()
            static.step()
            check()

    train(5, lambda: None)  # dense at first: there is momentum to carry a dropped weight on
    off = {name: torch.rand(mask.shape) < 0.7 for name, mask in static.masks.items()}
    for name, dropped in off.items():
        static.set_mask(name, ~dropped)

    def check():
        assert not any(static.masks.layers[name].weight[dropped].any() for name, dropped in off.items())

    check()
    before = net[1].weight.detach().clone()
    train(200, check)
    assert not torch.equal(net[1].weight, before)


def test_excluded_layers_are_never_masked():
    for name in METHODS:
        net = mlp()
        optimizer = OPTIMIZERS["adam" if name in OFF_SPHERES else "lpsgd_m"](net)
        method = METHODS[name](net, optimizer, sparsity=0.9, total_steps=STEPS, exclude=["head", "1"])
        assert list(method.masks) == ["3"]
        assert net[5].weight.all() and net[1].weight.all()
