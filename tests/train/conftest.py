"""Runs that are interrupted, and a recorder that behaves on a CPU as CUDA graphs do on a GPU."""

import copy
import signal
from contextlib import contextmanager
from itertools import count

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from lpss.train.run import run
from lpss.train.step import TrainStep


class Tape(TorchDispatchMode):
    """Writes down every tensor operation: which, on which tensors, with which numbers, and where its results lie.

    As with a CUDA graph, replaying runs no Python: the same tensors are read and written, numbers stay what they were,
    and reading a value while recording is an error. Unlike a CUDA graph, the operations also run while recorded; the
    tensors that existed before are restored afterwards, so that recording has no effect.
    """

    READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.before = [], set(), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in self.READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        tree_map(self._remember, (args, kwargs))
        results = function(*args, **(kwargs or {}))
        tree_map(lambda x: self.made.add(x.untyped_storage()._cdata) if isinstance(x, torch.Tensor) else None, results)
        self.calls.append((function, args, kwargs or {}, results))
        return results

    def _remember(self, x):
        if isinstance(x, torch.Tensor):
            place = x.untyped_storage()._cdata
            if place not in self.made and place not in self.before:
                self.before[place] = (x, x.untyped_storage().clone())

    def put_back(self):
        for x, storage in self.before.values():
            x.untyped_storage().copy_(storage)

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, results in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(_tensors(results), _tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():  # else a view, or done in place
                    old.copy_(new)


def _tensors(results):
    return [x for x in (results if isinstance(results, (tuple, list)) else [results]) if isinstance(x, torch.Tensor)]


class Tapes:
    """A `Recorder` made of tapes."""

    def __init__(self):
        self.warm, self.tapes = 0, []

    @contextmanager
    def warm_up(self):
        self.warm += 1
        yield

    def record(self, function):
        tape = Tape()
        self.tapes.append(tape)
        with tape:
            function()
        tape.put_back()
        return tape.replay


@pytest.fixture
def recorder():
    return Tapes()


@pytest.fixture
def interrupted(monkeypatch):
    """interrupted(config, step): train, until SIGTERM comes during this step of those that are left."""

    def train(config, step: int):
        function, calls = TrainStep.__call__, count(1)

        def wrapped(*args):
            if next(calls) == step:
                signal.raise_signal(signal.SIGTERM)
            return function(*args)

        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(TrainStep, "__call__", wrapped)
            run(copy.deepcopy(config))

    return train
