"""What a method says of itself and its net: before training, in warnings, and in a run's record."""

import logging

from lpss.coverage import Coverage
from lpss.sparse.masks import Masks

log = logging.getLogger(__name__)


class Reports:
    """Of a method with `masks`, a `sparsity` that is asked for, and `layer_counts`."""

    masks: Masks
    sparsity: float

    @property
    def coverage(self) -> Coverage:
        """Which layers are masked, which stay dense, and why; `print` it for a table."""
        return self.masks.coverage

    def coverage_warnings(self) -> list[str]:
        """A line if less than half of the net's parameters can become sparse."""
        if not self.sparsity or self.coverage.share >= 0.5:
            return []
        return [f"less than half of the net can become sparse: {self.coverage.line()}"]

    def _report_coverage(self) -> None:
        log.info("%s", self.coverage.line())
        for line in self.coverage_warnings():
            log.warning(line)

    def sparsity_before_finish(self) -> float | None:
        """The sparsity that the method's rule led to before it was made exact; None for most methods."""
        return None

    def requested_density(self) -> dict[str, float]:
        """Layer name -> density that the requested sparsity means for it."""
        counts = self.layer_counts(self.sparsity, self.distribution())
        return {name: counts[name] / mask.numel() for name, mask in self.masks.items()}

    def distribution(self) -> str:
        """How the requested sparsity is spread over layers."""
        return getattr(self.config, "distribution", "uniform")

    def preflight_warnings(self) -> list[str]:
        """Warnings of what will miss the request, as far as it is known before training."""
        return []

    def layer_collapse(self) -> list[str]:
        """A line for every layer without any active weight, or with neurons that have none (reads the device)."""
        lines = []
        for name, empty in self.masks.empty_neurons().items():
            neurons = self.masks[name].shape[0]
            if empty == neurons:
                lines.append(f"layer {name!r} has collapsed: none of its weights is active, so no signal passes")
            elif empty:
                lines.append(f"layer {name!r}: {empty} of {neurons} neurons have no active weight")
        return lines

    def warn_layer_collapse(self) -> None:
        """Log a warning if layers or neurons have no active weight."""
        for line in self.layer_collapse():
            log.warning(line)
