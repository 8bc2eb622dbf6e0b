"""The models' registry, and how a config becomes a net."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from lpss.errors import UsageError
from lpss.registries import MODELS

WIDEST = 2**20  # outputs of a layer; two such layers in a row would not fit into memory


def build_model(values: Mapping, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The net that a `model` config describes.

    Args:
        values: `name` and options, as `choose_model` returns them.
        input_shape: of one example, (features,) or (channels, height, width). classes: number of logits.

    Raises UsageError for unknown names or options, or an input the model cannot take.
    """
    return MODELS.find(values["name"])(MODELS.options(values), tuple(input_shape), classes)


def choose_model(values: Mapping, default: Mapping) -> dict:
    """`values`, with what they leave open filled in from the data set's default model."""
    name = values.get("name", "auto")
    given = {key: value for key, value in values.items() if value is not None}
    if name == "auto":
        if "name" not in default:
            raise UsageError("model=auto needs dataset.model.name in the data set's yaml; or choose one with model=...")
        return {**default, **given, "name": default["name"]}
    return {**(default if default.get("name") == name else {}), **given}


def norm_relu(norm: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """relu(norm(x) + residual), by the norm alone where it says that it can (as one of lpss/engine does)."""
    if getattr(norm, "fuses_relu", False):
        return norm(x, residual, relu=True)
    y = norm(x)
    return F.relu(y if residual is None else y + residual)


def need_image(input_shape: tuple[int, ...], model: str, sides: int | None = None) -> int:
    """The number of channels. Raises UsageError unless the input is an image (of `sides` x `sides`, where given)."""
    if len(input_shape) != 3 or (sides is not None and tuple(input_shape[1:]) != (sides, sides)):
        size = f"{sides}x{sides} images" if sides else "images (channels, height, width)"
        raise UsageError(f"model={model} takes {size}, but the data set's examples have shape {tuple(input_shape)}")
    return input_shape[0]
