"""The order and the spelling of data sets and methods in reports; unknown names follow, as they are."""

DATASETS = {
    "adult": "Adult",
    "connect4": "Connect-4",
    "dna": "DNA",
    "mushroom": "Mushroom",
    "letter": "Letter",
    "climate": "Climate",
    "web": "Web",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "tiny_imagenet": "Tiny ImageNet",
    "digits": "Digits",
    "synthetic": "Synthetic",
}
METHODS = {
    "dense": "Dense",
    "set": "SET",
    "static": "Static",
    "rigl": "RigL",
    "snip": "SNIP",
    "snip_dynamic": "SNIP (dynamic)",
    "gmp": "GMP",
    "lpss": "LpSS",
    "lpss_demo": "LpSS (demo)",
}


def rank(name: str, known: dict[str, str]) -> tuple[int, str]:
    """A sort key: known names in their order, then the others alphabetically."""
    return (list(known).index(name) if name in known else len(known)), name
