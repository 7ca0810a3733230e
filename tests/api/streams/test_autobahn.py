"""The Autobahn cases against `/ws`: framing, fragments, UTF-8 and closing, as RFC 6455 wants them.

The cases expect their messages back. So the connection is ours from the handshake to the frame, and what stands behind
it is a session that echoes; and once more our own session, for the cases in which no message comes back.
"""

import pytest
from kosoku import FailureError, run_fuzzingclient
from websockets.frames import Frame, Opcode

from api.streams import websocket_connection
from api.streams.websocket_session import Session
from cdc.source.memory import MemoryLog
from tests.fixtures.server import serving

pytestmark = pytest.mark.timeout(120)

# Messages beyond the mebibyte that a frame may have here; each is refused with 1009, as test_hostile shows.
TOO_LARGE = ["9.1.3", "9.1.4", "9.1.5", "9.1.6", "9.2.3", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*"]

# 6.4.3, 6.4.4: invalid text in chops of one frame, a second apart; what passes is told by the client's own timers, and
# on a loaded machine they fire late. The same text in frames of its own is 6.4.1 and 6.4.2.
# 7.1.5: a close within a fragmented message; `websockets` calls that a protocol error, 1002, and the suite wants 1000.
# 12, 13: the suite's own code for compression does not run on Python 3 (it hashes text). Compressed frames, broken ones
# and bombs are in test_hostile, whole conversations in test_socket, whose client compresses.
NOT_RUN = ["6.4.3", "6.4.4", "7.1.5", "12.*", "13.*"]

# Control frames, reserved bits and opcodes, closing: cases in which a server has nothing to say but the protocol's own.
WITHOUT_ECHO = [
    "2.*",
    "3.1",
    "4.1.1",
    "4.1.2",
    "4.2.1",
    "4.2.2",
    "5.1",
    "5.2",
    "6.3.*",
    "7.1.2",
    "7.3.*",
    "7.7.*",
    "7.9.*",
]


# A ping of ours in the middle of a case is an event that the case does not expect.
NO_PINGS = 3600.0


class Echo(Session):
    """Says what it hears."""

    def receive(self, message: str | bytes) -> None:
        data, opcode = (message, Opcode.BINARY) if isinstance(message, bytes) else (message.encode(), Opcode.TEXT)
        self.subscriber.delivery.send(self.subscriber, Frame(opcode, data).serialize(mask=False))

    receive_later = receive


def told(error: FailureError) -> str:
    failed = [result for result in error.results if not result.passed]
    return "\n".join(f"{each.case_id}: {each.result}; {each.result_close}" for each in failed)


async def test_every_case_passes_with_an_echo(memory_log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_connection, "Session", Echo)
    async with serving(memory_log, websocket_ping_interval_s=NO_PINGS) as server:
        try:
            results = await run_fuzzingclient(server.websocket_url, exclude_cases=TOO_LARGE + NOT_RUN, concurrency=4)
        except FailureError as error:
            pytest.fail(told(error))
    assert len(results) >= 240


async def test_the_cases_without_an_echo_pass_on_our_own_session(memory_log: MemoryLog) -> None:
    async with serving(memory_log, websocket_ping_interval_s=NO_PINGS) as server:
        try:
            results = await run_fuzzingclient(server.websocket_url, cases=WITHOUT_ECHO, concurrency=4)
        except FailureError as error:
            pytest.fail(told(error))
    assert len(results) >= 40
