"""Nets that compute from their active weights, the same nets dense, and one training loop for both."""

import copy
import io

import pytest
import torch
from torch import nn

import lpss
from lpss.active import active_entries
from lpss.engine import layout
from lpss.native import loader
from lpss.sparse.methods import METHODS

STEPS = 30
OFTEN = {"update_every": 3, "end": 0.9}  # for the methods that have such options


def param_groups(net):
    return lpss.param_groups(net, 1.3, weight_decay=1e-2)


OPTIMIZERS = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2),
    "lpsgd": lambda net: lpss.LpSGD(param_groups(net), lr=0.05, p=None),
    "lpsgd_m": lambda net: lpss.LpSGDm(param_groups(net), lr=0.05, p=None, nesterov=True),
}


# No ReLU, at whose kink a rounding difference becomes a large one; and no norm right after a sparse layer, which makes
# the gradient of a neuron's only weight zero but for rounding.
def mlp():
    return nn.Sequential(
        nn.Linear(12, 16), nn.SiLU(), nn.BatchNorm1d(16), nn.Linear(16, 16, bias=False), nn.Softplus(), nn.Linear(16, 3)
    )


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)),
        nn.Upsample(scale_factor=3),
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.SiLU(),
        nn.BatchNorm2d(6),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 8, (2, 3), stride=(1, 2), padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 2, 3),
    )


NETS = {"mlp": mlp, "cnn": cnn}


def batch(step):
    """(x, y) of a step; every third batch is ragged."""
    draw = torch.Generator().manual_seed(step)
    x = torch.randn((20, 20, 17)[step % 3], 12, generator=draw)
    return x, x[:, :3].argmax(1)


class Run:
    """A net, an optimizer, a method, and how the net is accelerated (None if it is not)."""

    def __init__(self, method="rigl", optimizer="sgd", net="mlp", accelerated=True, dtype=torch.float32, **options):
        torch.manual_seed(7)
        self.net = (NETS[net]() if isinstance(net, str) else net()).to(dtype)
        self.call = self.net  # on batches
        self.dtype, self.losses = dtype, []
        self.optimizer = OPTIMIZERS[optimizer](self.net) if isinstance(optimizer, str) else optimizer(self.net)
        known = METHODS[method].Config.__dataclass_fields__
        options = {key: value for key, value in OFTEN.items() if key in known} | {"seed": 3, "sparsity": 0.6} | options
        self.method = METHODS[method](self.net, self.optimizer, total_steps=STEPS, **options)
        self.method.prepare((x.to(dtype), y) for x, y in map(batch, range(30)))
        self.acceleration = lpss.accelerate(self.net, self.method) if accelerated else None

    def backward(self, step):
        """Gradients of a step; returns its loss."""
        x, y = batch(step)
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.call(x.to(self.dtype)), y)
        loss.backward()
        return loss

    def train(self, steps):
        for step in range(self.method.steps, self.method.steps + steps):
            self.losses.append(self.backward(step).item())
            (self.method if self.method.attachment is None else self.optimizer).step()
        return self

    def saved(self, *parts):
        """The state of net, optimizer and method, or of those of them that are named, by way of a file."""
        file = io.BytesIO()
        torch.save({part: getattr(self, part).state_dict() for part in parts or ("net", "optimizer", "method")}, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    def load(self, saved):
        for part, state in saved.items():
            getattr(self, part).load_state_dict(copy.deepcopy(state))
        return self

    def fits(self):
        """Whether the optimizer's state has the shapes of the parameters, be they whole or their active entries."""
        tensors = [
            (x, param) for param, state in self.optimizer.state.items() for x in state.values() if torch.is_tensor(x)
        ]
        return all(x.shape == param.shape for x, param in tensors if x.dim())

    def sparse(self):
        """Names of the layers whose parameter holds its active entries alone, which must be what the masks say."""
        closed = [
            name for name, layer in self.method.masks.layers.items() if active_entries(layer.parameter) is not None
        ]
        for name in closed:
            parameter, mask = self.method.masks.layers[name].parameter, self.method.masks[name]
            assert parameter.shape == (int(mask.sum()),)
            assert torch.equal(active_entries(parameter).mask(), mask.bool())
        return closed


@pytest.fixture
def make():
    """make("rigl", "sgd", "mlp", accelerated=True) -> `Run`."""
    return Run


@pytest.fixture
def make_batch():
    """make_batch(step) -> (x, y)."""
    return batch


@pytest.fixture
def alike():
    """alike(run, other, tolerance): whether they hold the same masks and, bit by bit or up to a tolerance, weights."""

    def compare(a, b, tolerance=0.0) -> bool:
        states = zip(a.net.state_dict().items(), b.net.state_dict().items(), strict=True)
        return (
            all(key == other and (x.double() - y.double()).abs().max() <= tolerance for (key, x), (other, y) in states)
            and all(torch.equal(a.method.masks[name], b.method.masks[name]) for name in a.method.masks)
            and a.method.steps == b.method.steps
        )

    return compare


@pytest.fixture
def without_c_code(monkeypatch):
    """As with LPSS_NATIVE=0."""
    monkeypatch.setattr(loader, "library", lambda: None)


@pytest.fixture
def threads(monkeypatch):
    """threads(3): work is shared between so many, however little it is."""
    before = torch.get_num_threads()
    monkeypatch.setattr(layout, "WORK_SHARE", 1)
    monkeypatch.setattr(layout, "COPY_SHARE", 1)
    yield torch.set_num_threads
    torch.set_num_threads(before)
