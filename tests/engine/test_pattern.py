"""Where active weights are, and on which pixels they act."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from lpss.engine import pattern as pattern_module
from lpss.engine.pattern import PIXEL, Geometry, Pattern, read_pixels, written_pixels
from lpss.errors import UsageError

SHAPES = [(5, 7), (4, 3, 3, 3), (6, 2, 2, 5), (1, 1), (3, 4, 1, 1)]
GEOMETRIES = [
    Geometry(6, 7, (3, 3), (1, 1), (1, 1)),
    Geometry(7, 5, (5, 3), (2, 1), (2, 0)),
    Geometry(4, 9, (2, 3), (1, 3), (0, 2)),
    Geometry(2, 3, (5, 5), (1, 1), (2, 2)),  # an image that is smaller than the kernel
    Geometry(5, 5, (1, 1), (3, 2), (1, 1)),  # pixels that are written without reading, and not read at all
]


def random_mask(shape, density=0.4):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0, 0.4, 1])
def test_entries_are_in_the_order_neuron_tap_channel_and_the_other_order_is_channel_tap_neuron(shape, density):
    mask = random_mask(shape, density)
    pattern = Pattern(mask)
    places = [(n, *rest) for n, *rest in mask.nonzero().tolist()]
    forward = sorted(places, key=lambda at: (at[0], at[2:], at[1]))
    backward = sorted(places, key=lambda at: (at[1], at[2:], at[0]))
    numbers = torch.arange(mask.numel()).view(shape)
    assert pattern.flat.tolist() == [numbers[at].item() for at in forward]
    assert [forward[index] for index in pattern.turned[1].tolist()] == backward
    counts = mask.flatten(1).sum(1)
    assert pattern.rows.starts.diff().tolist() == counts.tolist() and pattern.rows.starts[0] == 0
    assert pattern.rows.longest == counts.max() and len(pattern) == mask.sum()
    assert pattern.density == pytest.approx(mask.float().mean().item())


@pytest.mark.parametrize("shape", SHAPES)
def test_gather_and_expand_undo_each_other_in_every_dtype_and_memory_order(shape):
    mask = random_mask(shape)
    pattern = Pattern(mask)
    assert torch.equal(pattern.mask(), mask)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        weight = (torch.randn(shape) * mask).to(dtype)
        assert torch.equal(pattern.expand(pattern.gather(weight)), weight)
        if len(shape) == 4:
            turned = weight.contiguous(memory_format=torch.channels_last)
            assert torch.equal(pattern.gather(turned), pattern.gather(weight))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda pattern: pickle.loads(pickle.dumps(pattern))])
def test_a_copy_is_the_same_and_makes_its_own_plans(way):
    pattern = Pattern(random_mask((4, 3, 3, 3)))
    plans = pattern.plans(GEOMETRIES[0])
    other = way(pattern)
    assert torch.equal(other.mask(), pattern.mask()) and torch.equal(other.turned[1], pattern.turned[1])
    assert other.plans(GEOMETRIES[0]) is not plans
    assert pattern.plans(Geometry(6, 7, (3, 3), (1, 1), (1, 1))) is plans  # is made once


def test_images_of_many_sizes_do_not_fill_the_memory():
    pattern = Pattern(random_mask((4, 3, 3, 3)))
    sizes = [Geometry(side, side, (3, 3)) for side in range(3, 23)]
    plans = [pattern.plans(size) for size in sizes]
    assert pattern.plans(sizes[-1]) is plans[-1] and pattern.plans(sizes[-16]) is plans[-16]
    assert pattern.plans(sizes[0]) is not plans[0]  # made again


def test_a_weight_with_more_entries_than_can_be_counted_is_refused(monkeypatch):
    monkeypatch.setattr(pattern_module, "LARGEST", 34)
    with pytest.raises(UsageError, match="a weight of shape \\(5, 7\\) has more entries than"):
        Pattern(torch.ones(5, 7, dtype=torch.bool))


@pytest.mark.parametrize("channels, blocks", [(1024, 1), (1025, 2), (2048, 2), (2049, 3)])
def test_a_linear_layer_of_many_inputs_reads_them_a_block_at_a_time(channels, blocks):
    mask = random_mask((3, channels), 0.05)
    forward, backward = Pattern(mask).plans(PIXEL)
    assert (forward.pixels, backward.pixels) == (blocks, 1)
    assert forward.work == backward.work == mask.sum()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_size_of_what_is_written_is_torchs(geometry):
    x, weight = torch.zeros(1, 1, geometry.height, geometry.width), torch.zeros(1, 1, *geometry.kernel)
    assert geometry.output == F.conv2d(x, weight, None, geometry.stride, geometry.padding).shape[2:]


def taps_of(pixels, index):
    """The taps that act on a pixel."""
    kind = int(pixels.kind[index])
    runs = pixels.runs[pixels.first_run[kind] : pixels.first_run[kind + 1]].tolist()
    return [tap for first, last in runs for tap in range(first, last)]


def products(geometry):
    """(pixel written, tap, pixel read) of a conv, by its definition."""
    height, width = geometry.output
    found = set()
    for row in range(height):
        for column in range(width):
            for i in range(geometry.kernel[0]):
                for j in range(geometry.kernel[1]):
                    y = row * geometry.stride[0] - geometry.padding[0] + i
                    x = column * geometry.stride[1] - geometry.padding[1] + j
                    if 0 <= y < geometry.height and 0 <= x < geometry.width:
                        found.add((row * width + column, i * geometry.kernel[1] + j, y * geometry.width + x))
    return found


@pytest.mark.parametrize("channels", [1, 500])  # 500: written in strips of pixels
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_pixel_is_written_once_by_the_taps_that_reach_it_and_the_gradient_goes_the_same_ways_back(
    geometry, channels
):
    wanted, kernel_width = products(geometry), geometry.kernel[1]
    there = written_pixels(geometry, channels)
    assert sorted(there.place.tolist()) == list(range(len(there.place)))
    found = set()
    for index, place in enumerate(there.place.tolist()):
        for tap in taps_of(there, index):
            read = int(there.base[index]) + tap // kernel_width * geometry.width + tap % kernel_width
            found.add((place, tap, read))
    assert found == wanted
    back = read_pixels(geometry, channels)
    assert sorted(back.place.tolist()) == list(range(geometry.height * geometry.width))
    found = set()
    for index, place in enumerate(back.place.tolist()):
        for tap in taps_of(back, index):
            up, left = tap // kernel_width // geometry.stride[0], tap % kernel_width // geometry.stride[1]
            found.add((int(back.base[index]) - up * geometry.output[1] - left, tap, place))
    assert found == wanted
