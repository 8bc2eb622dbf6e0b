"""Compressed safetensors: masked weights as `compressed` encodes them, everything else as it is.

The metadata, a JSON under `lpss`, holds the net's `description`, and under `masked` and the name of each masked weight
how its parts, `<name>.values` and the like, are to be read.
"""

from pathlib import Path

from lpss.errors import DataError, reason
from lpss.export.compressed import Encoded, decode, encode
from lpss.export.contents import Contents
from lpss.train import sealed
from lpss.train.description import Description
from lpss.train.weights import unpack, with_plain_zeros


def encoded(contents: Contents) -> dict[str, Encoded]:
    """Layer -> its weight in the form that it has in the file."""
    return {layer: encode(contents.state[key], contents.masks[layer]) for layer, key in contents.masked()}


def write(path: Path, contents: Contents) -> None:
    """Raises LpssError."""
    keys, layers = dict(contents.masked()), encoded(contents)
    tensors = {f"net.{key}": value for key, value in contents.state.items() if key not in keys.values()}
    tensors |= {f"mask.{layer}": mask for layer, mask in contents.masks.items() if layer not in keys}
    masked = {}
    for layer, one in layers.items():
        name = f"net.{keys[layer]}"
        tensors |= {f"{name}.{part}": value for part, value in one.parts.items()}
        masked[name] = {**one.header, "layer": layer}
    sealed.write(path, tensors, {"description": contents.description.to_dict(), "masked": masked})


def read(path: Path) -> Contents | None:
    """What the file holds: a compressed one, or weights.safetensors of a run; None where that is of before it said what
    its net is. Raises DataError for any other.
    """
    tensors, facts = sealed.read(path)
    state, masks = unpack(tensors)
    if not facts:
        if not masks:
            raise DataError(f"{path} is no net of lpss's: neither lpss-export nor a run has written it")
        return None
    try:
        description = Description.from_dict(facts["description"])
        for name, header in facts.get("masked", {}).items():
            key = name.removeprefix("net.")
            names = [name for name in state if name.startswith(f"{key}.")]
            parts = {name.removeprefix(f"{key}."): state.pop(name) for name in names}
            state[key], masks[header["layer"]] = decode(header, parts)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is not a net as lpss-export writes it: {reason(error)}") from None
    return Contents(with_plain_zeros(state, masks), masks, description, str(path))
