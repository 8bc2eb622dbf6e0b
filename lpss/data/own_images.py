"""Images of one's own: files read into bytes of one size, and what a data set of them knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lpss.data.dataset import Dataset, Split, check_classes
from lpss.data.own import Classes, OwnConfig, split_note
from lpss.errors import DataError, reason

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of PIL, by channels
CHUNK = 4096  # images whose mean is taken at once


def read_image(path: Path, shape: Sequence[int]) -> Tensor:
    """uint8 of `shape` (C, H, W): the image turned as its camera says, resized to cover that size, cut to its middle.

    Raises DataError for a file that is no image.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image).convert(MODES[channels])
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
            pixels = np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {reason(error)}") from None
    return torch.from_numpy(pixels).reshape(height, width, channels).movedim(2, 0)


def image_dataset(
    config: OwnConfig, images: Sequence[Tensor], codes: Sequence[Tensor], classes: Classes, facts: dict[str, Any]
) -> Dataset:
    """Of training and test images, uint8 (N, C, H, W), with their labels; normalised by the training pixels.

    Raises DataError where the two are of different sizes.
    """
    shapes = [tuple(part.shape[1:]) for part in images]
    if shapes[0] != shapes[1]:
        raise DataError(f"{config.title}: training images are {shapes[0]}, test images {shapes[1]}")
    mean, std = channel_statistics(images[0])
    size = " x ".join(map(str, shapes[0]))
    dataset = Dataset(
        config.title,
        *(Split(x, y) for x, y in zip(images, codes, strict=True)),
        classes=len(classes.names),
        mean=mean,
        std=std,
        class_names=classes.names,
        facts=facts | {"classes": dict(classes.counts), "shape": list(shapes[0]), "mean": mean, "std": std},
        notes=(
            split_note(config, "images", classes, facts),
            f"{config.title}: images of {size} (channels x height x width)",
        ),
    )
    return check_classes(dataset)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), in units of 0..1; 1 where all are the same."""
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for part in images.split(CHUNK):
        pixels = part.double() / 255
        sums += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean, square = sums / (images.numel() // images.shape[1])
    std = (square - mean.square()).clamp(min=0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist())
