"""Counts of exposures in memory."""

import pytest

from cdc.core import exposure


def test_counts_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "MAX_KEPT", 2)
    counts = exposure.ExposureCounts()
    keys = [exposure.ExposureKey("public", f"f{n}", "on") for n in range(3)]
    for key in keys:
        counts.add(key, 5)
    assert (len(counts), counts.accepted, counts.dropped) == (2, 15, 5)
    taken = counts.take()
    counts.add(keys[0], 1)
    counts.give_back(taken)
    assert (counts.take(), counts.dropped) == ({keys[2]: 5, keys[0]: 1}, 10)
