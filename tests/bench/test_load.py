"""The load client detects every event that is lost, repeated, out of order or not delivered to a subscriber."""

import shutil
from collections.abc import Iterator

import pytest

from bench.fanout import payload
from bench.fanout.baselines import CLoop
from bench.fanout.load import Load
from bench.fanout.payload import Mode
from bench.fanout.process import Cores
from bench.fanout.subject import DeliveryError, check

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the load client is written in C")

SUBSCRIBERS = 20


class Rig:
    """A C loop that sends the given bytes, and subscribers that expect event 1 next."""

    def __init__(self, server: CLoop, load: Load) -> None:
        self.server, self.load = server, load
        assert load.open(SUBSCRIBERS, 1)["complete"]

    def send(self, *events: bytes) -> None:
        for event in events:
            self.server.send(event)

    def result_of(self, *events: bytes, count: int = 3, timeout_s: float = 0.3) -> dict[str, int]:
        self.load.begin(1, count)
        self.send(*events)
        return self.load.finish(timeout_s)


@pytest.fixture(params=["sse", "ws"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def rig(mode: Mode) -> Iterator[Rig]:
    cores = Cores()
    with CLoop(mode, cores.server) as server, Load(server.endpoint, cores.load) as load:
        yield Rig(server, load)


def event(mode: Mode, seq: int) -> bytes:
    return payload.sse_block(seq) if mode == "sse" else payload.websocket_frame(seq)


def test_everything_in_order_is_complete(rig: Rig, mode: Mode) -> None:
    result = rig.result_of(*(event(mode, seq) for seq in (1, 2, 3)), timeout_s=10)
    check(result)
    assert result["deliveries"] == 3 * SUBSCRIBERS


def test_a_lost_event_is_a_gap(rig: Rig, mode: Mode) -> None:
    result = rig.result_of(event(mode, 1), event(mode, 3))
    assert result["gaps"] == SUBSCRIBERS
    with pytest.raises(DeliveryError):
        check(result)


def test_a_repeated_event_is_detected(rig: Rig, mode: Mode) -> None:
    result = rig.result_of(*(event(mode, seq) for seq in (1, 2, 2, 3)), timeout_s=10)
    assert result["repeats"] == SUBSCRIBERS
    with pytest.raises(DeliveryError):
        check(result)


def test_events_out_of_order_are_detected(rig: Rig, mode: Mode) -> None:
    with pytest.raises(DeliveryError):
        check(rig.result_of(*(event(mode, seq) for seq in (2, 1, 3))))


def test_a_missing_last_event_is_incomplete(rig: Rig, mode: Mode) -> None:
    result = rig.result_of(event(mode, 1), event(mode, 2))
    assert not result["complete"]
    assert result["short"] == SUBSCRIBERS


def test_an_event_split_into_pieces_is_still_one(rig: Rig, mode: Mode) -> None:
    whole = b"".join(event(mode, seq) for seq in (1, 2, 3))
    result = rig.result_of(*(whole[at : at + 7] for at in range(0, len(whole), 7)), timeout_s=10)
    check(result)


def test_events_that_arrive_in_one_piece_are_three(rig: Rig, mode: Mode) -> None:
    check(rig.result_of(b"".join(event(mode, seq) for seq in (1, 2, 3)), timeout_s=10))
