"""Signs of life: to whom they say what."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from tests.fixtures.server import serving


@pytest.mark.parametrize("with_handover", [True, False], ids=["handed over", "through ASGI"])
async def test_before_a_subscription_no_heartbeat_gives_an_id_to_resume_from(
    database_url: str, with_handover: bool
) -> None:
    """A client that comes back is not heard at once: an id that it is sent meanwhile would skip what it missed."""
    async with (
        serving(database_url, with_handover=with_handover, ws_ping_interval_s=0.1) as server,
        connect(server.websocket_url) as connection,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 1)
        await connection.send(json.dumps({"type": "subscribe", "subscribeAll": True}))
        heard = [json.loads(await connection.recv())["type"] for _ in range(3)]
    assert heard == ["subscribed", "heartbeat", "heartbeat"]
