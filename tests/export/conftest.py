"""Nets to export: made by hand, and trained by runs."""

import json
from types import SimpleNamespace

import pytest
import torch

from lpss.cli.compose import compose_run
from lpss.export.contents import Contents
from lpss.layers import weight_layers
from lpss.train.description import Description
from lpss.train.resolve import resolve
from lpss.train.run import run

MLP = {"name": "mlp", "hidden": [24, 16], "norm": "batch", "init": "he"}
RUNS = {
    "table": ("dataset=digits", "train.epochs=12", "model.hidden=[64,32]", "model.norm=batch", "method=rigl"),
    "columns": ("dataset=synthetic", "dataset.train_size=200", "train.batch_size=50", "train.epochs=2", "method=lpss"),
    "images": (
        *("dataset=synthetic", "dataset.image_shape=[1,28,28]", "dataset.train_size=64", "dataset.test_size=40"),
        *("model=cnn_fashion_mnist", "train.batch_size=32", "train.epochs=2", "method=set"),
    ),
}


def bits(tensor):
    """What torch.equal does not tell apart: 0 and -0; and what it does, though alike: NaN and NaN."""
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


@pytest.fixture(scope="session")
def alike():
    """alike(a, b): whether two mappings hold the same tensors under the same names, bit by bit."""

    def compare(a, b) -> bool:
        return a.keys() == b.keys() and all(bits(a[key]) == bits(b[key]) for key in a)

    return compare


@pytest.fixture
def make_contents():
    """make_contents(sparsity, description) -> Contents with random weights and masks."""

    def make(sparsity: float = 0.8, description: Description | None = None) -> Contents:
        torch.manual_seed(0)
        description = description or Description(MLP, (6,), 3, False, (1.0,) * 6, (2.0,) * 6, ("a", "b", "c"))
        net = description.build()
        masks = {layer.name: torch.rand(layer.weight.shape) >= sparsity for layer in weight_layers(net)}
        state = net.state_dict()
        for value in state.values():
            if value.is_floating_point():  # no statistic or bias is what a new net has
                value.uniform_(0.5, 1.5) if value.dim() == 1 else value.normal_()
        for layer, mask in masks.items():
            state[f"{layer}.weight"][~mask] = 0.0
        return Contents(state, masks, description, "made by hand")

    return make


@pytest.fixture
def contents(make_contents):
    """A net with all that is hard: active weights that are 0, -0, inf and NaN, an empty neuron, a dense layer."""
    made = make_contents()
    layer, mask = made.state["layers.1.weight"], made.masks["layers.1"]
    mask[0, :5], layer[0, :5] = True, torch.tensor([0.0, -0.0, torch.nan, torch.inf, 1e-45])
    mask[3], layer[3] = False, 0.0
    made.masks["layers.2"][:], made.state["layers.2.weight"][:] = True, 1.5
    return made


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """trained("table") -> a finished run: its folder, result and resolved config, trained when it is first needed."""
    known = {}

    def train(name: str) -> SimpleNamespace:
        if name not in known:
            output = tmp_path_factory.mktemp(name)
            config = compose_run([*RUNS[name], "sparsity=0.8", "device=cpu", "threads=1", f"output={output}"])
            resolved = resolve(config)
            run(config)
            result = json.loads((resolved.folder / "run.json").read_text())
            known[name] = SimpleNamespace(folder=resolved.folder, result=result, run=resolved)
        return known[name]

    return train
