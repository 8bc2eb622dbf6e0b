"""Freed memory is kept, where the C library can."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from lpss.engine import memory
from lpss.engine.memory import keep_freed_memory


@pytest.fixture(autouse=True)
def afresh():
    """As in a new process, now and for the tests that follow."""
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


def library(monkeypatch, answer=1):
    """The calls of a C library whose mallopt gives this answer."""
    calls = []

    def mallopt(parameter, value):
        calls.append((parameter, value))
        return answer

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    return calls


def test_large_blocks_come_from_memory_that_is_never_given_back_and_once_is_enough(monkeypatch):
    calls = library(monkeypatch)
    assert keep_freed_memory() is True and keep_freed_memory() is True
    assert dict(calls) == {-3: memory.LARGEST, -1: 2**31 - 1} and len(calls) == 2


def test_a_library_that_refuses_is_believed(monkeypatch):
    library(monkeypatch, answer=0)
    assert keep_freed_memory() is False


@pytest.mark.parametrize("failing", [OSError("no such library"), None])
def test_without_glibc_nothing_happens(monkeypatch, failing):
    def load(name):
        if failing is not None:
            raise failing
        return SimpleNamespace()  # a library without mallopt

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert keep_freed_memory() is False


def test_other_systems_are_left_alone(monkeypatch):
    calls = library(monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False and not calls
