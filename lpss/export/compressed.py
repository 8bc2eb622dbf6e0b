"""The codec of one sparse weight: a few dense arrays that hold its active entries, and a description of them.

Three forms, the smallest is chosen: `csr` and, where every weight is active, `dense` are described after the Binsparse
specification 0.1 (https://binsparse.org; formats CSR and DMATR of the weight as a matrix, a neuron a row); `bitmask`,
which Binsparse does not have, in its manner. Active entries stay active whatever they are: 0, -0 and NaN, bit by bit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINSPARSE, BITMASK = "binsparse", "lpss_bitmask"  # under which a description stands
WIDEST = 65535  # columns that 16 bits can count


@dataclass(frozen=True)
class Encoded:
    """form: `dense`, `csr` or `bitmask`. parts: name -> array. header: what they are, to become JSON."""

    form: str
    parts: dict[str, Tensor]
    header: dict

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts.values())


def encode(weight: Tensor, mask: Tensor) -> Encoded:
    """The weight (any shape of two or more dims, zero where the bool mask is False) in its smallest form."""
    rows, columns = len(mask), mask[0].numel()
    values, active = weight[mask], int(mask.sum())
    if active == mask.numel():
        return _encoded("dense", BINSPARSE, mask, {"values": values}, format="DMATR", shape=[rows, columns])
    pointers = torch.int32 if active < 2**31 else torch.int64
    indices = torch.uint16 if columns <= WIDEST else torch.int32
    csr_bytes = active * indices.itemsize + (rows + 1) * pointers.itemsize
    if csr_bytes < math.ceil(mask.numel() / 8):
        parts = dict(zip(("pointers_to_1", "indices_1"), csr(mask, pointers, indices), strict=True))
        return _encoded("csr", BINSPARSE, mask, parts | {"values": values}, format="CSR", shape=[rows, columns])
    bits = torch.from_numpy(np.packbits(mask.numpy(), bitorder="little"))
    facts = {"shape": list(mask.shape), "order": "row-major", "bit_order": "little"}
    return _encoded("bitmask", BITMASK, mask, {"bitmask": bits, "values": values}, **facts)


def _encoded(form: str, convention: str, mask: Tensor, parts: dict[str, Tensor], **facts) -> Encoded:
    types = {name: str(part.dtype).removeprefix("torch.") for name, part in parts.items()}
    facts |= {"version": "0.1.0", "number_of_stored_values": len(parts["values"]), "data_types": types}
    return Encoded(form, parts, {convention: facts, "shape": list(mask.shape)})


def csr(mask: Tensor, pointers: torch.dtype, indices: torch.dtype) -> tuple[Tensor, Tensor]:
    """(row pointers, columns) of the active entries of the mask as a matrix, a neuron a row."""
    matrix = mask.flatten(1)
    ends = matrix.sum(1).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends]).to(pointers), matrix.nonzero()[:, 1].to(indices)


def decode(header: Mapping, parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(weight, mask) of a header and its arrays. Raises ValueError or LookupError where they do not fit."""
    shape = tuple(header["shape"])
    if BITMASK in header:
        bits, count = parts["bitmask"].numpy(), math.prod(shape)
        if bits.dtype != np.uint8 or len(bits) != math.ceil(count / 8):
            raise ValueError(f"{len(bits)} bytes of a bitmask for {count} weights")
        return filled(
            torch.from_numpy(np.unpackbits(bits, count=count, bitorder="little")).bool(), parts["values"], shape
        )
    form = header[BINSPARSE]["format"]
    if form == "CSR":
        return from_csr(parts["pointers_to_1"], parts["indices_1"], parts["values"], shape)
    if form == "DMATR":
        return filled(torch.ones(math.prod(shape), dtype=torch.bool), parts["values"], shape)
    raise ValueError(f"format {form!r} is none of CSR, DMATR")


def from_csr(pointers: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(weight, mask). Raises ValueError for arrays that are no CSR matrix with the columns of each row in order."""
    rows, columns = shape[0], math.prod(shape[1:])
    pointers, indices = pointers.long(), indices.long()
    counts = pointers.diff()
    if len(counts) != rows or pointers[0] != 0 or (counts < 0).any() or pointers[-1] != len(indices):
        raise ValueError(f"row pointers that do not fit {rows} rows of {len(indices)} entries")
    places = torch.arange(rows).repeat_interleave(counts) * columns + indices
    if len(indices) and (indices.min() < 0 or indices.max() >= columns or (places.diff() <= 0).any()):
        raise ValueError(f"columns that are out of order, or not from 0 to {columns - 1}")
    mask = torch.zeros(rows * columns, dtype=torch.bool)
    mask[places] = True
    return filled(mask, values, shape)


def filled(mask: Tensor, values: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(weight, mask) in this shape of a flat mask and the values where it is True."""
    if values.dim() != 1 or len(values) != int(mask.sum()):
        raise ValueError(f"{len(values)} values for {int(mask.sum())} active weights")
    weight = torch.zeros(len(mask), dtype=values.dtype)
    weight[mask] = values
    return weight.view(shape), mask.view(shape)
