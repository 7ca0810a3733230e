"""Readers of streams that keep the text of what they receive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from cdc.cli.sse import Blocks
from cdc.core.text.exact_json import members, read_array, skip
from tests.fixtures.server import RunningServer, until

__all__ = ["CHANGES", "Reading", "items", "pages", "reading"]

CHANGES = "/api/v1/changes"


@dataclass
class Reading:
    """The events of a stream as they arrive, each with the text of its data."""

    name: str
    events: list[tuple[str, str]]

    async def reaches(self, kind: str, words: str = "") -> None:
        """Wait until the last event is of this kind and contains these words."""
        await until(
            lambda: bool(self.events) and self.events[-1][0] == kind and words in self.events[-1][1],
            f"{kind} {words} at {self.name}",
        )


@asynccontextmanager
async def reading(name: str, server: RunningServer, parameters: Any, **headers: str) -> AsyncIterator[Reading]:
    reading = Reading(name, [])
    connected = asyncio.Event()

    async def read() -> None:
        async with (
            httpx.AsyncClient(timeout=None) as client,
            client.stream(
                "GET",
                server.stream_url,
                params=parameters,
                headers={name.replace("_", "-"): text for name, text in headers.items()},
            ) as response,
        ):
            assert response.status_code == 200
            blocks = Blocks()
            async for text in response.aiter_text():
                for block in blocks.feed(text):
                    if block.event == "connected":
                        connected.set()
                    elif block.data is not None:
                        reading.events.append((str(block.event), block.data))

    task = asyncio.create_task(read())
    try:
        await connected.wait()
        yield reading
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def pages(http: httpx.AsyncClient, format: str, **parameters: str) -> AsyncIterator[str]:
    """Every change of the feed, as text."""
    parameters |= {"format": format, "limit": "40"}
    while True:
        page = await http.get(CHANGES, params=parameters)
        assert page.status_code == 200, page.text
        for change in await asyncio.to_thread(_changes, page.content, format):
            yield change
        if page.headers["flagent-next"] == parameters.get("after"):
            return
        parameters["after"] = page.headers["flagent-next"]


def _changes(page: bytes, format: str) -> list[str]:
    text = page.decode()
    return items(text if format == "cloudevents" else members(text)["changes"])


def items(text: str) -> list[str]:
    """The items of an array, each as text."""
    found, _ = read_array(text, 0, _item)
    return found


def _item(text: str, at: int) -> tuple[str, int]:
    end = skip(text, at)
    return text[at:end], end
