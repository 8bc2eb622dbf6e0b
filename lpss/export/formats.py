"""The formats by name: which module reads and writes them, and what there is to say of them. Without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """module: has `write(path, contents)`. remark: what whoever has just written such a file should know."""

    module: str
    suffix: str
    description: str
    remark: str = ""


FORMATS = {
    "safetensors": Format(
        "lpss.export.safetensors_file",
        ".safetensors",
        "compressed, a bitmask or CSR for each sparse layer, whichever is smaller",
    ),
    "npz": Format(
        "lpss.export.npz_file",
        ".npz",
        "a CSR matrix for each sparse layer, for NumPy and SciPy",
        "scripts/predict_scipy.py runs MLPs from it without torch",
    ),
    "onnx": Format(
        "lpss.export.onnx_file",
        ".onnx",
        "dense, for ONNX Runtime",
        "weights are dense: ONNX Runtime makes sparse ones dense on loading, so they would save no time",
    ),
    "torch": Format(
        "lpss.export.torch_file",
        ".pt",
        "a dense state dict, for torch.load",
        "a state dict standardises nothing: use lpss.load, or give the net standardised examples",
    ),
}
