"""A plain state dict of torch's; all else that a net is hides in the attribute where torch keeps versions."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import torch

from lpss.errors import DataError, reason
from lpss.export.contents import Contents
from lpss.files import write_atomically
from lpss.train.description import Description

EXTRA = "lpss"  # its key in the state dict's _metadata


def write(path: Path, contents: Contents) -> None:
    """Raises LpssError."""
    state = OrderedDict((key, value.clone()) for key, value in contents.state.items())
    state._metadata = {EXTRA: {"description": contents.description.to_dict(), "masks": dict(contents.masks)}}
    buffer = io.BytesIO()  # given a path, torch.save would write the name of the temporary file into it
    torch.save(state, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def read(path: Path) -> Contents:
    """Raises DataError for a file that is damaged or that `write` has not written."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(f"{path} is no net of lpss's: it holds more than a state dict, and is not executed") from None
    except (OSError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read as a state dict: {reason(error)}") from None
    extra = getattr(state, "_metadata", {}).get(EXTRA)
    if extra is None:
        raise DataError(f"{path} is no net of lpss's: torch's, but lpss-export has not written it")
    try:
        description, masks = Description.from_dict(extra["description"]), dict(extra["masks"])
    except (AttributeError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise DataError(f"{path} is not a net as lpss-export writes it: {reason(error)}") from None
    return Contents(OrderedDict(state), masks, description, str(path))
