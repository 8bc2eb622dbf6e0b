"""Lp-spherical sparse learning. The public names load on first use, so that reports need no torch."""

import importlib

__version__ = "0.1.0"

_HOME = {
    "LpSGD": "lpss.optim.lpsgd",
    "LpSGDm": "lpss.optim.lpsgd",
    "param_groups": "lpss.optim.groups",
    "hoyer_sparsity": "lpss.sphere",
    "Masks": "lpss.sparse.masks",
    "Dense": "lpss.sparse.methods",
    "Static": "lpss.sparse.methods",
    "SET": "lpss.sparse.methods",
    "RigL": "lpss.sparse.methods",
    "SNIP": "lpss.sparse.methods",
    "SNIPDynamic": "lpss.sparse.methods",
    "GMP": "lpss.sparse.methods",
    "LpSS": "lpss.sparse.methods",
    "LpSSDemo": "lpss.sparse.methods",
}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "sphere":
        return importlib.import_module("lpss.sphere")
    raise AttributeError(f"module 'lpss' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
