"""The codec of one weight: bit by bit the same, and the smallest form."""

import json

import numpy as np
import pytest
import torch

from lpss.export.compressed import decode, encode


def drawn(shape, density, seed=0):
    """(weight, mask) with active weights that are 0 and -0."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=draw) < density
    weight = torch.randn(shape, generator=draw)
    weight[torch.rand(shape, generator=draw) < 0.1] = -0.0
    weight[torch.rand(shape, generator=draw) < 0.1] = 0.0
    weight[~mask] = 0.0
    return weight, mask


@pytest.mark.parametrize("density", [0, 0.001, 0.02, 0.1, 0.5, 0.99, 1])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 70), (300, 1), (8, 3, 3, 3), (16, 4, 1, 1), (2, 5, 7)])
def test_round_trips_are_bitwise(shape, density):
    weight, mask = drawn(shape, density)
    encoded = encode(weight, mask)
    again, mask_again = decode(json.loads(json.dumps(encoded.header)), encoded.parts)
    assert torch.equal(mask, mask_again) and again.dtype == weight.dtype
    assert again.view(torch.int32).tolist() == weight.view(torch.int32).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_of_numbers_round_trip(dtype):
    weight, mask = drawn((40, 70), 0.1)
    encoded = encode(weight.to(dtype), mask)
    again, _ = decode(encoded.header, encoded.parts)
    assert again.dtype == dtype and torch.equal(again, weight.to(dtype))


def test_the_smallest_form_is_chosen_and_as_large_as_the_formulas_say():
    weight, mask = drawn((512, 512), 0.1)
    active = int(mask.sum())
    bitmask = encode(weight, mask)
    assert bitmask.form == "bitmask" and bitmask.nbytes == 4 * active + 512 * 512 // 8
    weight, mask = drawn((512, 512), 0.01)
    active = int(mask.sum())
    csr = encode(weight, mask)
    assert csr.form == "csr" and csr.nbytes == 6 * active + 4 * 513
    full = encode(weight, torch.ones_like(mask))
    assert full.form == "dense" and full.nbytes == 4 * 512 * 512
    # At the density where both are as large, row pointers decide for the bitmask.
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask.view(-1)[:256] = True
    assert encode(torch.ones(64, 64) * mask, mask).form == "bitmask"


@pytest.mark.parametrize(("columns", "dtype"), [(65535, torch.uint16), (65536, torch.int32)])
def test_columns_take_16_bits_up_to_65535_of_them(columns, dtype):
    mask = torch.zeros(3, columns, dtype=torch.bool)
    mask[0, 0] = mask[2, -1] = True
    weight = torch.where(mask, 1.5, 0.0)
    encoded = encode(weight, mask)
    assert encoded.form == "csr" and encoded.parts["indices_1"].dtype == dtype
    assert all(map(torch.equal, decode(encoded.header, encoded.parts), (weight, mask)))


@pytest.mark.parametrize("density", [0.01, 1])
def test_what_binsparse_describes_its_reference_reads(density):
    binsparse = pytest.importorskip("binsparse", reason="binsparse is not installed")
    weight, mask = drawn((40, 30, 3, 3), density)
    encoded = encode(weight, mask)
    header = encoded.header["binsparse"]
    buffers = [encoded.parts[name].numpy() for name in header["data_types"]]
    parsed = binsparse.BinsparseTensor.parse(binsparse.InMemoryBinsparseContainer(dict(header), buffers))
    assert parsed.shape == (40, 270) and parsed.number_of_stored_values == int(mask.sum())
    dense = np.zeros(parsed.shape, np.float32)
    if encoded.form == "csr":
        for row in range(40):
            part = slice(parsed.pointers_to_1[row], parsed.pointers_to_1[row + 1])
            dense[row, parsed.indices_1[part]] = parsed.values[part]
    else:
        dense[:] = parsed.values.reshape(40, 270)
    assert np.array_equal(dense, weight.flatten(1).numpy())


@pytest.mark.parametrize(
    ("density", "change", "words"),
    [
        (0.01, {"pointers_to_1": lambda x: x[:-1]}, "row pointers that do not fit 40 rows"),
        (0.01, {"pointers_to_1": lambda x: x + 1}, "row pointers"),
        (0.01, {"pointers_to_1": lambda x: x.flip(0)}, "row pointers"),
        (0.01, {"indices_1": lambda x: x.long() + 70}, "columns that are out of order, or not from 0 to 69"),
        (0.01, {"indices_1": lambda x: x.long() - 70}, "columns"),
        (0.03, {"indices_1": lambda x: x.long() * 0}, "columns that are out of order"),
        (0.01, {"values": lambda x: x[:-1]}, "values for"),
        (0.5, {"bitmask": lambda x: x[:-1]}, "349 bytes of a bitmask for 2800 weights"),
        (0.5, {"bitmask": lambda x: x ^ 1}, "values for"),
        (1, {"values": lambda x: x[:-1]}, "2799 values for 2800"),
    ],
)
def test_parts_that_do_not_fit_are_refused(density, change, words):
    encoded = encode(*drawn((40, 70), density))
    parts = encoded.parts | {name: wrong(encoded.parts[name]) for name, wrong in change.items()}
    with pytest.raises(ValueError, match=words):
        decode(encoded.header, parts)


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="'COO' is none of CSR, DMATR"):
        decode({"shape": [2, 2], "binsparse": {"format": "COO"}}, {})
