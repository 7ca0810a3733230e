"""What is known of one subscriber."""

from typing import Any

import pytest

from cdc.core.subscription.grant import Grant
from cdc.fanout.hub import Hub
from cdc.fanout.subscriber import CloseReason, Delivery, Subscriber
from tests.cdc.fanout.memory import EVERYTHING, MemoryHub, select


@pytest.mark.parametrize(
    ("options", "plain"), [({}, True), ({"batch_s": 0.1}, False), ({"stamps": True}, False)], ids=str
)
def test_a_subscriber_without_batches_and_stamps_is_plain(options: dict[str, Any], plain: bool) -> None:
    subscriber, _ = MemoryHub().subscriber(EVERYTHING, **options)
    assert subscriber.is_plain is plain


def test_a_grant_that_restricts_nothing_is_none() -> None:
    subscriber, _ = MemoryHub().subscriber(select(flag_keys=["a"]), grant=Grant(admin=True))
    assert subscriber.grant is None
    restricted = Grant(flags=frozenset({"a"}))
    subscriber.restrict_to(restricted)
    assert subscriber.grant is restricted
    subscriber.restrict_to(None)
    assert subscriber.grant is None


async def test_it_is_live_exactly_while_it_has_no_backlog() -> None:
    memory = MemoryHub()
    subscriber, sink = memory.subscriber()
    history = [subscriber.is_live]
    memory.hub.subscribe(subscriber)
    history.append(subscriber.is_live)
    assert subscriber.backlog is None
    sink.fill()
    history.append(subscriber.is_live)
    assert subscriber.backlog is not None
    memory.hub.remove(subscriber)
    history.append(subscriber.is_live)
    assert history == [False, True, False, False]


def test_a_hub_is_what_a_transport_calls() -> None:
    delivery: Delivery = MemoryHub().hub
    assert isinstance(delivery, Hub)
    assert {name for name in vars(Delivery) if not name.startswith("_")} == {
        "pause",
        "resume",
        "send",
        "close",
        "remove",
    }


def test_the_reasons_of_a_close_are_codes_of_the_websocket() -> None:
    assert {reason.name: reason.value for reason in CloseReason} == {
        "RESTARTING": 1012,
        "BEHIND": 1013,
        "TOO_SLOW": 1008,
        "SILENT": 1011,
        "UNAUTHORIZED": 4401,
    }


def test_ten_thousand_of_them_have_no_dictionaries() -> None:
    subscriber, _ = MemoryHub().subscriber()
    assert not hasattr(subscriber, "__dict__")
    assert isinstance(subscriber, Subscriber)
