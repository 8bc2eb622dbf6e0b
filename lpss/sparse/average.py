"""An exponential moving average of a sparse net's weights that is as sparse as the net."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lpss import sphere
from lpss.layers import all_layers, unwrap
from lpss.optim.protocol import latent_weights
from lpss.options import check_range
from lpss.sparse.methods.base import Method


class SparseAverage(AveragedModel):
    """torch's AveragedModel with the masks of a method, for nets whose masks change while they are trained.

        average = lpss.SparseAverage(net, method, decay=0.999)
        ...
            method.step()
            average.update_parameters(net)
        accuracy_of(average)

    An average over different masks is nearly dense. Here a weight off the mask of now is zero in the average, too, and
    neurons on a sphere are put back on it. Buffers (running statistics) are averaged as well.

    Args:
        net: the net that is trained; it is copied.
        method: its method. decay: of the average at every update, in [0, 1).

    Raises UsageError for a wrong decay.
    """

    def __init__(self, net: nn.Module, method: Method, decay: float = 0.999):
        check_range(decay, "decay", 0, 1, open_high=True)
        with method.dense_weights():
            super().__init__(unwrap(net), multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.method = method
        self._layers = {layer.name: layer for layer in all_layers(self.module) if layer.name in method.masks}

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the net's weights of now into the average."""
        with self.method.dense_weights():
            super().update_parameters(unwrap(model))
        weights, masks = latent_weights(self.method.optimizer), self.method.masks
        for name, layer in self._layers.items():
            layer.weight.mul_(masks[name].to(layer.weight))
            p = weights.p_of(masks.layers[name].parameter)
            if p is not None:
                layer.weight.copy_(sphere.normalize(layer.weight, p))

    def sparsity_weights(self) -> float:
        """Weights of the average that are masked and zero / maskable weights (reads the device)."""
        masked = [self.method.masks[name].eq(0) & layer.weight.eq(0) for name, layer in self._layers.items()]
        return sum(int(zeros.sum()) for zeros in masked) / self.method.masks.maskable
