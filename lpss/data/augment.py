"""Random crop, flip and cutout of a batch of images: pure functions of the images and of random integers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lpss.errors import UsageError, suggestion

PAD_MODES = ("zeros", "reflect")


@dataclass(frozen=True)
class AugmentConfig:
    """What happens to training images, by default nothing. Raises UsageError naming dataset.augment.<key>.

    crop_pad: pixels added on each side before a crop of the old size, black or mirrored by `pad_mode`;
    flip: mirror an image left to right, with probability 1/2; cutout: side of a square set to the mean colour.
    """

    crop_pad: int = 0
    pad_mode: str = "zeros"
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for key in ("crop_pad", "cutout"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"dataset.augment.{key}={value!r}: must be whole pixels, 0 or more")
        if self.pad_mode not in PAD_MODES:
            raise UsageError(f"dataset.augment.pad_mode={self.pad_mode!r}: not one of {', '.join(PAD_MODES)}")
        if not isinstance(self.flip, bool):
            raise UsageError(f"dataset.augment.flip={self.flip!r}: must be true or false")

    @classmethod
    def of(cls, options: Mapping) -> "AugmentConfig":
        """From the mapping under `dataset.augment`; an unknown key is a UsageError."""
        known = [f.name for f in fields(cls)]
        for key in options:
            if key not in known:
                hint = suggestion(key, known)
                raise UsageError(f"unknown option dataset.augment.{key}{hint}; known: {', '.join(known)}")
        return cls(**options)

    @property
    def active(self) -> bool:
        return bool(self.crop_pad or self.flip or self.cutout)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises UsageError if rows of `shape` (without the batch) cannot be augmented like this."""
        first = next((key for key in ("crop_pad", "flip", "cutout") if getattr(self, key)), None)
        if first is None:
            return
        if len(shape) != 3:
            raise UsageError(f"dataset.augment.{first}: only images can be augmented, this is a table")
        side = min(shape[1:])
        if self.crop_pad >= side:
            raise UsageError(f"dataset.augment.crop_pad={self.crop_pad}: must be below the image side {side}")
        if self.cutout > side:
            raise UsageError(f"dataset.augment.cutout={self.cutout}: must be at most the image side {side}")


def crop(x: Tensor, top: Tensor, left: Tensor, pad: int, mode: str = "zeros") -> Tensor:
    """x (B, C, H, W) padded by `pad`, cut to its old size at `top`, `left`, each (B,) in 0..2*pad."""
    height, width = x.shape[-2:]
    row = top[:, None] - pad + torch.arange(height, device=x.device)  # (B, H), positions in x
    column = left[:, None] - pad + torch.arange(width, device=x.device)
    if mode == "reflect":
        row, column = _mirror(row, height), _mirror(column, width)
        inside = None
    else:
        inside = _between(row, height)[:, None, :, None] & _between(column, width)[:, None, None, :]
        row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    place = (row[:, :, None] * width + column[:, None, :]).flatten(1)[:, None, :].expand(-1, x.shape[1], -1)
    cropped = x.flatten(2).gather(2, place).view_as(x)
    return cropped if inside is None else cropped * inside


def _mirror(place: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1, mirrored at the border pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - place.abs()).abs()


def _between(place: Tensor, size: int) -> Tensor:
    return (place >= 0) & (place < size)


def flip(x: Tensor, mirrored: Tensor) -> Tensor:
    """x (B, C, H, W) with the images where `mirrored` (B,) is true flipped left to right."""
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def cutout(x: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    """x (B, C, H, W) with 0 in a square around the pixels `row`, `column` (B,), clipped at the border."""
    down = torch.arange(x.shape[-2], device=x.device) - row[:, None] + side // 2
    across = torch.arange(x.shape[-1], device=x.device) - column[:, None] + side // 2
    return x.masked_fill(_between(down, side)[:, None, :, None] & _between(across, side)[:, None, None, :], 0)
