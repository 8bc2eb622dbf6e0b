"""A plain state dict of torch's; all else that a net is hides in the attribute where torch keeps versions."""

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import torch

from lpss.errors import DataError
from lpss.export.contents import Contents
from lpss.files import write_atomically
from lpss.train.description import Description

EXTRA = "lpss"  # its key in the state dict's _metadata


def write(path: Path, contents: Contents) -> None:
    """Raises LpssError."""
    state = OrderedDict((key, value.clone()) for key, value in contents.state.items())
    state._metadata = {EXTRA: {"description": contents.description.to_json(), "masks": dict(contents.masks)}}
    buffer = io.BytesIO()  # given a path, torch.save would write the name of the temporary file into it
    torch.save(state, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def read(path: Path) -> Contents:
    """Raises DataError for a file that is damaged or that `write` has not written."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            if (damaged := archive.testzip()) is not None:
                raise DataError(f"{path} is damaged: the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(f"{path} is no net of lpss's: it holds more than a state dict, and is not executed") from None
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read as a state dict: {str(error).splitlines()[0]}") from None
    try:
        extra = state._metadata[EXTRA]
        description = Description.from_json(extra["description"])
        return Contents(OrderedDict(state), extra["masks"], description, str(path))
    except (AttributeError, ValueError, TypeError, LookupError, RuntimeError):
        raise DataError(f"{path} is no net of lpss's: torch's, but lpss-export has not written it") from None
