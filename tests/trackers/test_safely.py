"""Calls that fail, hang or draw."""

import random
import signal
import threading
import time

import pytest
import torch

from lpss.trackers import safely
from lpss.trackers.safely import call_safely


def test_what_it_returns_or_raises_comes_back():
    assert call_safely(lambda: divmod(7, 2)) == ((3, 1), None)
    value, error = call_safely(lambda: divmod(7, 0))
    assert value is None and isinstance(error, ZeroDivisionError)


def test_one_that_hangs_is_left_to_itself(monkeypatch):
    monkeypatch.setattr(safely, "SECONDS", 0.05)
    let_go = threading.Event()
    value, error = call_safely(lambda: let_go.wait(10))
    assert value is None and isinstance(error, TimeoutError) and "0.05 seconds" in str(error)
    let_go.set()


def test_numbers_it_draws_are_not_missed():
    def draw():
        random.seed(3), torch.manual_seed(3)
        return random.random(), torch.rand(1)

    random.seed(0), torch.manual_seed(0)
    expected = random.random(), torch.rand(1)
    random.seed(0), torch.manual_seed(0)
    assert call_safely(draw)[1] is None
    assert (random.random(), torch.rand(1)) == expected


def test_a_signal_is_noticed_meanwhile(monkeypatch):
    main = threading.main_thread().ident
    interrupt = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
    begun = time.monotonic()
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        call_safely(lambda: time.sleep(5))
    assert time.monotonic() - begun < 4  # it did not wait for the end
