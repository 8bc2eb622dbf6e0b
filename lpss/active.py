"""A weight that holds its active entries alone, as a sparse layer of lpss/engine keeps it: what others must know of it.

Such a parameter has the shape (active,), neuron after neuron, as have its gradient and its optimizer's state.
Elementwise optimizers need to know no more; one whose steps are taken a neuron at a time asks for the `rows`.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

ATTRIBUTE = "active_entries"  # of the parameter


@dataclass(frozen=True)
class NeuronRows:
    """Where neurons begin: starts (neurons + 1,) int32, from 0 to the number of active entries, and the most of one."""

    starts: Tensor
    longest: int


class ActiveEntries(Protocol):
    """Where the entries of such a parameter are in the whole weight."""

    shape: tuple[int, ...]  # of the whole weight, neurons first
    rows: NeuronRows

    def expand(self, values: Tensor) -> Tensor:
        """The whole weight with these values (active,), and zeros elsewhere."""

    def gather(self, x: Tensor) -> Tensor:
        """The values of a whole weight, (active,)."""


def active_entries(parameter: Tensor) -> ActiveEntries | None:
    """Where a parameter's entries are, if it holds active ones alone; None for every other parameter."""
    return getattr(parameter, ATTRIBUTE, None)
