"""A net that may be tried out: afterwards it is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Within it anything may be done in place to the net's parameters and buffers, to their dtype and gradients, and to
    its modules' modes; afterwards all are what they were before, to the last bit, and the same tensors."""
    values = [(tensor, tensor.data, tensor.data.clone()) for tensor in [*net.parameters(), *net.buffers()]]
    gradients = [(param, param.grad) for param in net.parameters()]
    modules = [(module, dict(module._buffers), module.training) for module in net.modules()]
    devices = {tensor.device for tensor, *_ in values if tensor.is_cuda}
    for param, _ in gradients:
        param.grad = None
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            for module, buffers, training in modules:
                module._buffers.update(buffers)  # a conversion puts new tensors in their place
                module.training = training
            for tensor, data, before in values:
                tensor.data = data
                tensor.data.copy_(before)
            for param, grad in gradients:
                param.grad = grad
