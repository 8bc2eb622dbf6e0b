"""Order and labels of data sets and methods in reports, from the registries; unknown names come last, unchanged."""

from lpss import registries

DATASETS = registries.DATASETS.labels()
METHODS = registries.METHODS.labels()


def rank(name: str, known: dict[str, str]) -> tuple[int, str]:
    """A sort key: known names in their order, then the others alphabetically."""
    return (list(known).index(name) if name in known else len(known)), name
