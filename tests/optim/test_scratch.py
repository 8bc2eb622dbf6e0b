import pytest
import torch

from lpss.optim.nonfinite import NonfiniteCounter
from lpss.optim.scratch import Scratch


@pytest.fixture(autouse=True)
def path():
    """In place of conftest's: nothing here moves a weight."""


def test_buffers_do_not_overlap_and_look_like_the_tensor():
    x = torch.zeros(3, 5, dtype=torch.float64)
    buffers = Scratch().like(x, 4)
    for number, buffer in enumerate(buffers):
        buffer.fill_(number)
    assert [buffer.unique().tolist() for buffer in buffers] == [[0.0], [1.0], [2.0], [3.0]]
    assert {(buffer.shape, buffer.dtype) for buffer in buffers} == {(x.shape, x.dtype)}


def test_smaller_tensors_share_the_memory_and_other_dtypes_have_their_own():
    scratch = Scratch()
    start = scratch.like(torch.zeros(4, 6), 1)[0].data_ptr()
    assert scratch.like(torch.zeros(2, 3), 4)[0].data_ptr() == start
    scratch.like(torch.zeros(2, 3, dtype=torch.float64), 1)
    assert scratch.like(torch.zeros(4, 6), 3)[0].data_ptr() == start


def test_counter():
    counter = NonfiniteCounter()
    assert counter.total() == counter.on_cpu() == 0
    counter.add(0)
    counter.add(2)
    counter.add(torch.tensor(3))
    counter.on(torch.device("cpu")).add_(1)
    assert counter.total() == counter.on_cpu() == 6
