"""What is common to all trainers' callbacks: a method that is chosen before there is a net or an optimizer."""

from collections.abc import Mapping

import torch
from torch import nn

from lpss.errors import UsageError
from lpss.registries import METHODS
from lpss.sparse.attach import state_of
from lpss.sparse.methods.base import Method


class Recipe:
    """A method's name and options, and the method once it has been attached.

    Args:
        method: a registered name (`lpss-train --list method`), or a class.
        sparsity: requested, over maskable weights, in [0, 1).
        total_steps: steps of the optimizer in all of training; None for as many as the trainer says.
        options: further arguments of `Method` and fields of the method's `Config`.

    Raises UsageError for an unknown name. Wrong options are found when the method is attached.
    """

    def __init__(self, method: str | type[Method], sparsity: float, total_steps: int | None, options: Mapping):
        self.kind: type[Method] = METHODS.find(method) if isinstance(method, str) else method
        self.sparsity, self.total_steps, self.options = sparsity, total_steps, dict(options)
        self.method: Method | None = None
        self.net: nn.Module | None = None

    def attach(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, total_steps: int, saved: Mapping | None, resumed: bool
    ) -> Method:
        """Attach the method; it goes on from `saved`, or from where it was, if it has trained this net before.

        Args:
            net: with the weights that training begins with.
            optimizer: one over the net's parameters.
            total_steps: used where the recipe has none of its own.
            saved: what `Method.attach` has saved as a part of the optimizer's state; None if there is nothing.
            resumed: whether the weights are those of a checkpoint: fresh masks must not destroy them.

        Raises UsageError for wrong options, for masks of another method or net, or if a checkpoint holds no masks.
        """
        state = None
        if saved is not None:
            state = state_of(self.kind.name, saved)
        elif self.method is not None and self.net is net:
            state = self.method.state_dict()
        elif resumed and not self.options.get("pretrained"):
            raise UsageError(
                f"the checkpoint holds no masks of {self.kind.name}: resume from one that was written with this "
                "callback, or give pretrained=True, so that new masks keep the checkpoint's largest weights"
            )
        if self.method is not None:
            self.method.detach()
        options = {"sparsity": self.sparsity, "total_steps": self.total_steps or total_steps} | self.options
        self.method, self.net = self.kind(net, optimizer, state=state, **options).attach(), net
        return self.method

    def load(self, saved: Mapping) -> None:
        """Take the masks that `Method.attach` has saved, for a net that has been given the weights beside them.

        Raises UsageError for masks of another method or net.
        """
        self.method.load_state_dict(state_of(self.kind.name, saved))
