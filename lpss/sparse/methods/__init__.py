"""The sparse training methods; a new one is a file here and a yaml in conf/method/ (see lpss/registry.py).

`from lpss.sparse.methods import RigL` loads the class on first use.
"""

from lpss.registries import METHODS
from lpss.sparse.methods.base import Method

__all__ = ["METHODS", "Method", *(member.class_name for member in METHODS.members.values())]


def __getattr__(name: str):
    return METHODS.attribute(name)
