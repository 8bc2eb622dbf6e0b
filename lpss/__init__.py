"""Lp-spherical sparse learning: sphere optimizers, sparse training methods, and a bench to compare them.

Implements Weipeng Li, Xiaogang Yang, Chuanxiang Li, Ruitao Lu, Xueli Xie (2021): Training Sparse Neural Network by
Constraining Synaptic Weight on Unit Lp Sphere, https://arxiv.org/abs/2103.16013 ("the paper").

The public names load on first use, so that reports need no torch.
"""

import importlib

from lpss.registries import METHODS

__version__ = "0.1.0"

_HOME = {
    "LpSGD": "lpss.optim.lpsgd",
    "LpSGDm": "lpss.optim.lpsgd",
    "CSGD": "lpss.optim.csgd",
    "param_groups": "lpss.optim.groups",
    "keep_scale": "lpss.optim.gain",
    "remove_gains": "lpss.optim.gain",
    "hoyer_sparsity": "lpss.sphere",
    "Masks": "lpss.sparse.masks",
    "SparseAverage": "lpss.sparse.average",
    "BestWeights": "lpss.sparse.best",
    "Cost": "lpss.train.cost",
    "accelerate": "lpss.engine.accelerate",
    "load": "lpss.export.load",
} | {member.class_name: member.module for member in METHODS.members.values()}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "sphere":
        return importlib.import_module("lpss.sphere")
    raise AttributeError(f"module 'lpss' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
