"""What a net is beside its weights: enough to build it, and to run it on examples as its data set has them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lpss.config import RunConfig
from lpss.data import Dataset
from lpss.data.columns import Recipe
from lpss.errors import UsageError
from lpss.models import MODELS, build_model


@dataclass(frozen=True)
class Description:
    """How a net is built and what it takes.

    model: its name and options. input_shape: of one example. classes: number of logits.
    pixels: whether examples are images of bytes; else they are tables of numbers.
    mean, std: what is subtracted and then divided by, of images per channel in units of 0..1, of tables per column;
        None where nothing is standardised.
    class_names: of the labels 0, 1, ..., where the data set has names for them.
    recipe: from rows of a table of one's own to examples.
    plugins: modules that make the model known.
    """

    model: dict[str, Any]
    input_shape: tuple[int, ...]
    classes: int
    pixels: bool
    mean: tuple | None = None
    std: tuple | None = None
    class_names: tuple[str, ...] | None = None
    recipe: Recipe | None = None
    plugins: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: RunConfig, data: Dataset) -> "Description":
        """Of the net that a resolved config trains on the data."""
        pixels = data.train.x.dtype == torch.uint8
        scale = data if pixels else data.standardisation
        return cls(
            model=config.model,
            input_shape=data.input_shape,
            classes=data.classes,
            pixels=pixels,
            mean=scale and scale.mean,
            std=scale and scale.std,
            class_names=data.class_names,
            recipe=data.recipe,
            plugins=tuple(config.plugins),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        if self.recipe is None:
            del values["recipe"]  # so that files of before and of now are the same
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Description":
        """Of `to_dict`, also by way of JSON. Raises ValueError, TypeError, LookupError or AttributeError for others."""
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        recipe = values.pop("recipe", None)
        made = cls(**values, recipe=recipe and Recipe.from_dict(recipe))
        if not all(isinstance(size, int) and size > 0 for size in (*made.input_shape, made.classes)):
            raise ValueError(f"{made.classes} classes of examples of shape {made.input_shape}")
        if not isinstance(made.model["name"], str) or not isinstance(made.pixels, bool):
            raise ValueError("no name of a model, or not whether it takes pixels")
        wanted = made.input_shape[:1] if made.pixels else made.input_shape
        for values in () if made.mean is made.std is None and not made.pixels else (made.mean, made.std):
            if tuple(torch.tensor(values, dtype=torch.float64).shape) != wanted:
                raise ValueError("mean and std do not fit the input shape")
        if made.class_names is not None and len(made.class_names) != made.classes:
            raise ValueError(f"{len(made.class_names)} names of {made.classes} classes")
        if made.recipe is not None and made.input_shape != (len(made.recipe.features),):
            raise ValueError(f"a recipe of {len(made.recipe.features)} inputs for those of shape {made.input_shape}")
        return made

    def build(self) -> nn.Module:
        """The net, its weights not yet set; torch's random numbers go on as if nothing had been built.

        Raises UsageError for a model that is not known here.
        """
        if self.model["name"] not in MODELS and self.plugins:
            name, plugins = self.model["name"], ", ".join(self.plugins)
            raise UsageError(f"model {name!r} is a plugin's: import {plugins} first, or name the run's folder")
        with torch.random.fork_rng(devices=[]):
            return build_model(self.model, self.input_shape, self.classes)
