"""FLOPs of training and inference: multiply-adds of Linear and Conv layers, as RigL's authors count them.

A sparse layer costs its density times its dense cost. A training step costs three forward passes (one forward, two
backward), except that a step whose weight gradients must be dense costs 2 sparse + 1 dense (Evci et al. 2020,
appendix H). Normalisation, activations and the optimizer are not counted. These are costs in principle: masks on
dense kernels do not save time.
"""

import torch
from torch import Tensor, nn

from lpss.layers import weight_layers
from lpss.sparse.masks import Masks


def layer_flops(net: nn.Module, example: Tensor) -> dict[str, int]:
    """Layer name -> FLOPs (2 x multiply-adds) of a dense forward pass of one example (1, *input shape)."""
    flops = {}
    hooks = []
    for layer in weight_layers(net):

        def count(module, inputs, output, name=layer.name):
            positions = output[0].numel() // module.weight.shape[0]
            flops[name] = 2 * positions * module.weight.numel()

        hooks.append(layer.module.register_forward_hook(count))
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(example)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return flops


class Cost:
    """Adds up the training FLOPs of a run from the masks in force at each step."""

    def __init__(self, net: nn.Module, masks: Masks, example: Tensor):
        self.flops = layer_flops(net, example)
        self.masks = masks
        self.dense = sum(self.flops.values())
        self.spent = 0.0
        self.steps = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the masks again; call it when they have changed."""
        density = {name: count / self.masks[name].numel() for name, count in self.masks.active().items()}
        self.sparse = sum(flops * density.get(name, 1.0) for name, flops in self.flops.items())

    def step(self, dense_backward: bool) -> None:
        """Count one training step, per example."""
        self.spent += 2 * self.sparse + (self.dense if dense_backward else self.sparse)
        self.steps += 1

    def training(self) -> float:
        """FLOPs of training so far relative to as many dense steps."""
        return self.spent / (3 * self.dense * self.steps) if self.steps else float("nan")

    def inference(self) -> float:
        """FLOPs of a forward pass relative to the dense net's."""
        return self.sparse / self.dense

    def state_dict(self) -> dict:
        return {"spent": self.spent, "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.spent, self.steps = state["spent"], state["steps"]
        self.refresh()
