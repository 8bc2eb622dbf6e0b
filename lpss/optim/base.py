"""What an optimizer of this package is: a class in a file of its own, registered by the name that a config gives.

To add one, write `lpss/optim/NAME.py` (and `conf/optimizer/NAME.yaml`, if it has settings to show):

    @OPTIMIZERS.register("NAME")
    class MyOptimizer(torch.optim.Optimizer):
        "One line that says what it does; the rest of the docstring says how."

        label = "MyOpt"                       # in tables and figures
        reference = "authors year, title, address"

        @dataclass
        class Config:                         # the settings of `optimizer=NAME` with their defaults
            lr: float = 0.1

        @classmethod
        def build(cls, net, config, *, exclude, sparsity): ...

The registry finds it by its file, so nothing else needs to know it (see lpss/registry.py). A sphere optimizer inherits
`Config` and `build` from `SphereOptimizer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

# p=auto, by requested sparsity (linear between, constant outside): the most accurate of those tried on validation parts
# (letter, dna, climate, web) at equal sparsity, which LpSS's exact_finish sees to. A smaller p needs less correction.
AUTO_P = {0.5: 2.0, 0.8: 1.75, 0.9: 1.5}


class OptimizerRecipe(Protocol):
    """What every entry of OPTIMIZERS has. The first line of its docstring describes it."""

    label: str  # in tables and figures
    reference: str  # "authors year, title, address"
    Config: type  # dataclass of its settings

    @classmethod
    def build(cls, net: nn.Module, config: Any, *, exclude: Sequence[str], sparsity: float) -> torch.optim.Optimizer:
        """The optimizer over all of the net's trainable parameters.

        Args:
            net: any module.
            config: an instance of `Config`.
            exclude: roles or name patterns of layers that stay off the sphere.
            sparsity: the requested sparsity in [0, 1), for settings that depend on it (p).

        Raises UsageError or ValueError, naming the value, for settings out of range.
        """
