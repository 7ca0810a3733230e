"""One event stream of a server, as the subscribers of the torture read it."""

from collections.abc import AsyncGenerator, Mapping
from urllib.parse import urlencode

import httpx2

from cdc.cli.sse import Block, Blocks
from cdc.core.log.position import EventId

__all__ = ["SILENCE_S", "read_stream"]

# The servers are set to send a keep-alive every half second.
SILENCE_S = 5.0


async def read_stream(
    port: int, selection: Mapping[str, str], last_id: EventId | None
) -> AsyncGenerator[Block | None, None]:
    """None when the stream is open, then its blocks until it ends: resumed after `last_id`, or from a snapshot.

    Raises `httpx2.HTTPError`, also after `SILENCE_S` without a byte.
    """
    query = {**selection, "envelope": "true"} | ({} if last_id else {"snapshot": "true"})
    headers = {"last-event-id": str(last_id)} if last_id else {}
    url = f"http://127.0.0.1:{port}/api/v1/events/stream?{urlencode(query)}"
    async with (
        httpx2.AsyncClient(timeout=httpx2.Timeout(5.0, read=SILENCE_S)) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        response.raise_for_status()
        yield None
        blocks = Blocks()
        async for text in response.aiter_text():
            for block in blocks.feed(text):
                yield block
