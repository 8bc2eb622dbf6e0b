"""Run a net that `lpss-export RUN --format npz` has written, with NumPy and SciPy alone: MLPs, also with BatchNorm.

    python scripts/predict_scipy.py net.npz examples.csv                     # a line an example; prints a class a line
    python scripts/predict_scipy.py net.npz examples.npy --logits out.npy    # and writes the logits

Examples are as the data set has them, before they are standardised. As a module: `Net("net.npz")(examples)`.
"""

import argparse
import json
import sys

import numpy as np
from scipy.sparse import csr_array

BATCHNORM_EPS = 1e-5  # torch's


class Net:
    """Examples, (batch, features) or images of bytes (batch, channels, height, width) -> logits (batch, classes)."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts = json.loads(str(arrays.pop("lpss")))
        self.description = facts["description"]
        if self.description["model"]["name"] != "mlp":
            raise SystemExit(
                f"{path} holds a net of kind {self.description['model']['name']}: this script runs MLPs only"
            )
        self.weights = []
        for i in range(len(self.description["model"]["hidden"]) + 1):
            name = f"layers.{i}.weight"
            if name in arrays:  # not masked
                self.weights.append(arrays[name])
            else:
                data, indices, indptr, shape = (
                    arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape")
                )
                self.weights.append(csr_array((data, indices, indptr), shape=tuple(shape)))
        self.arrays = arrays

    def __call__(self, examples):
        x = self.standardised(np.asarray(examples)).T
        for i, weight in enumerate(self.weights):
            x = weight @ x
            if f"layers.{i}.bias" in self.arrays:
                x += self.arrays[f"layers.{i}.bias"][:, None]
            if f"norms.{i}.weight" in self.arrays:
                scale, shift, mean, variance = (
                    self.arrays[f"norms.{i}.{part}"][:, None]
                    for part in ("weight", "bias", "running_mean", "running_var")
                )
                x = (x - mean) / np.sqrt(variance + np.float32(BATCHNORM_EPS)) * scale + shift
            if i + 1 < len(self.weights):
                x = np.maximum(x, 0)
        return x.T

    def standardised(self, x):
        facts = self.description
        if list(x.shape[1:]) != facts["input_shape"]:
            raise SystemExit(f"the net takes examples of shape {facts['input_shape']}, got {list(x.shape[1:])}")
        x = x.astype(np.float64)
        if facts["mean"] is not None:
            mean, std = np.array(facts["mean"]), np.array(facts["std"])
            if facts["pixels"]:
                x, mean, std = x / 255, mean[:, None, None], std[:, None, None]
            x = (x - mean) / std
        return x.astype(np.float32).reshape(len(x), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("net", help="the .npz file of lpss-export")
    parser.add_argument("examples", help="a .npy file, or a .csv with a line an example")
    parser.add_argument("--logits", metavar="FILE", help="write the logits into this .npy file")
    args = parser.parse_args()
    net = Net(args.net)
    as_csv = not args.examples.endswith(".npy")
    examples = np.loadtxt(args.examples, delimiter=",", ndmin=2) if as_csv else np.load(args.examples)
    logits = net(examples)
    if args.logits:
        np.save(args.logits, logits)
    names = net.description["class_names"] or range(net.description["classes"])
    sys.stdout.writelines(f"{names[label]}\n" for label in logits.argmax(1))


if __name__ == "__main__":
    main()
