"""Observing a hub; test_hub shows when it is called."""

from cdc.fanout.observer import HubObserver, NullObserver


def test_an_observer_may_observe_nothing() -> None:
    observer: HubObserver = NullObserver()
    observer.publishing()
    observer.delivering()
    observer.delivered([], [], 0)
    assert not vars(observer)
