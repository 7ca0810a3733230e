"""The collector pauses for as long as anyone needs it to."""

import gc

import pytest

from cdc.core.collector import collector_paused


def test_it_runs_again_after_the_last_pause() -> None:
    assert gc.isenabled()
    first, second = collector_paused(), collector_paused()
    with first:
        second.__enter__()
        assert not gc.isenabled()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()
    gc.unfreeze()


def test_what_was_made_meanwhile_is_not_looked_through_again() -> None:
    gc.unfreeze()
    with collector_paused():
        made = [[number] for number in range(1_000)]
    assert gc.get_freeze_count() > len(made)
    assert not any(each is made[0] for each in gc.get_objects())
    gc.unfreeze()


def test_it_stays_off_where_it_was_off_and_an_error_ends_the_pause() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ValueError, match="x"), collector_paused():
        raise ValueError("x")
    assert gc.isenabled()
    gc.unfreeze()
