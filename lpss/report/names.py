"""Order and labels of data sets and methods in reports, from the registries; unknown names come last, unchanged."""

from lpss import registries

DATASETS = registries.DATASETS.labels()
METHODS = registries.METHODS.labels()

# When a method's nets are sparse (lpss/sparse/methods/base.py), in words, in the order of tables.
KINDS = {
    "dense": "dense",
    "fixed": "fixed from the start",
    "throughout": "sparse throughout",
    "dense start": "dense at first",
}
MANY = 12  # methods, more than which a table groups by kind


def kind_of(method: str) -> str:
    """The method's kind; "throughout" for one that is not known."""
    member = registries.METHODS.members.get(method)
    return (member.kind if member else "") or "throughout"


def method_rank(name: str, grouped: bool) -> tuple:
    """A sort key of methods, within their kind where tables are grouped."""
    return (list(KINDS).index(kind_of(name)) if grouped else 0, *rank(name, METHODS))


def rank(name: str, known: dict[str, str]) -> tuple[int, str]:
    """A sort key: known names in their order, then the others alphabetically."""
    return (list(known).index(name) if name in known else len(known)), name
