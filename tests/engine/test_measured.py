"""Times of what takes turns."""

from lpss.engine import measured
from lpss.engine.measured import best_times


def test_the_shortest_time_of_each_counts_and_the_first_round_does_not(monkeypatch):
    clock, taken = [0.0], {"a": [9, 3, 2, 4, 4, 4, 4], "b": [0, 5, 6, 5, 5, 5, 5]}
    monkeypatch.setattr(measured.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measured, "SECONDS", 1000)

    def run(times):
        def once():
            clock[0] += times.pop(0)

        return once

    assert best_times([run(times) for times in taken.values()]) == [2, 5]
    taken = {"a": [1, 500, 600, 700, 1, 1, 1]}
    assert best_times([run(times) for times in taken.values()]) == [500] and len(taken["a"]) == 4  # enough is enough
