"""The models; a new one is a file here and a yaml in conf/model/ (see lpss/registry.py)."""

from lpss.models.base import build_model, choose_model
from lpss.registries import MODELS

__all__ = ["MODELS", "build_model", "choose_model", *(member.class_name for member in MODELS.members.values())]


def __getattr__(name: str):
    return MODELS.attribute(name)
