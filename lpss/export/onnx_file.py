"""ONNX: the whole net with its preprocessing, weights dense, the number of examples left open."""

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from lpss.errors import LpssError, reason
from lpss.export.contents import Contents
from lpss.files import write_atomically

NEEDED = ("onnx", "onnxscript")  # by torch.onnx


def write(path: Path, contents: Contents) -> None:
    """Input `examples`, output `logits`; the net's description is in the metadata. Raises LpssError."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise LpssError(f'--format onnx needs {" and ".join(missing)}: pip install "lpss[export]"')
    net = contents.build()
    example = torch.zeros(2, *net.input_shape, dtype=torch.uint8 if net.pixels else torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                net,
                (example,),
                input_names=["examples"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # of a plugin's model
            raise LpssError(f"{contents.source}: torch.onnx cannot export the net: {reason(error)}") from error
        finally:
            logging.disable(logging.NOTSET)
    program.model.metadata_props["lpss"] = json.dumps(contents.description.to_dict())
    write_atomically(path, lambda temporary: program.save(temporary, external_data=False))
