"""Subscribers that record every delivery, reconnect whenever a stream ends, and keep a copy of the flags."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from cdc.cli.torture.event_stream import SILENCE_S, read_stream
from cdc.cli.torture.verdict import Delivered, Delivery, Resynced
from cdc.core.errors import InvalidEventId
from cdc.core.log.position import EventId

__all__ = ["Subscriber", "Unexpected"]


class Unexpected(Exception):
    """A server sent a message that it should never send."""


class Subscriber:
    """Subscribes to every flag of one schema, over one transport; each connection goes to a random server."""

    def __init__(self, ports: Sequence[int], transport: str, schema: str, seed: str) -> None:
        self._ports = ports
        self._transport = transport
        self._schema = schema
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.delivery = Delivery(f"{transport} {seed.rpartition('/')[2]}")
        self.last_id: EventId | None = None
        self.connections = 0
        self.events = 0
        self.resyncs = 0

    async def run(self) -> None:
        """Receive until cancelled; raises `Unexpected`."""
        while True:
            port = self._rng.choice(self._ports)
            try:
                messages = self._sse(port) if self._transport == "SSE" else self._websocket(port)
                async for kind, id, data in messages:
                    self._take(kind, id, data)
            except (httpx2.HTTPError, WebSocketException, OSError, TimeoutError):
                # The server was killed or is not ready again, or the link is disconnected.
                await asyncio.sleep(self._rng.uniform(0.02, 0.2))

    async def _sse(self, port: int) -> AsyncIterator[tuple[str, str, Any]]:
        async for block in read_stream(port, {"schema": self._schema}, self.last_id):
            if block is None:
                self.connections += 1
            elif block.id is not None:
                yield block.event or "", block.id, None if block.data is None else json.loads(block.data)

    async def _websocket(self, port: int) -> AsyncIterator[tuple[str, str, Any]]:
        subscribe = {"type": "subscribe", "subscribeAll": True, "schemas": [self._schema]}
        subscribe |= {"lastEventId": str(self.last_id)} if self.last_id else {"snapshot": True}
        async with connect(f"ws://127.0.0.1:{port}/ws", max_size=None, open_timeout=5, close_timeout=1) as connection:
            await connection.send(json.dumps(subscribe))
            self.connections += 1
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = json.loads(await connection.recv())
                kind = message["type"]
                if kind == "error":
                    raise Unexpected(f"{self.delivery.name}: {message}")
                if kind != "subscribed":
                    yield "" if kind == "heartbeat" else kind, message["id"], message

    def _take(self, kind: str, id: str, data: Mapping[str, Any] | None) -> None:
        try:
            here = EventId.parse(id)
        except InvalidEventId as error:
            raise Unexpected(f"{self.delivery.name}: {error}") from error
        if self.last_id is not None and here.log != self.last_id.log and kind != "resync":
            raise Unexpected(f"{self.delivery.name}: {id} follows {self.last_id} of another log without a resync")
        if self.last_id is not None and here.log == self.last_id.log and here.position < self.last_id.position:
            raise Unexpected(f"{self.delivery.name}: {kind or 'a keep-alive'} at {id} came after {self.last_id}")
        if data is not None and kind in ("snapshot", "resync"):
            snapshot = data["snapshot"] if kind == "resync" else data
            self.resyncs += kind == "resync"
            self.delivery.items.append(Resynced(here.position))
            self.delivery.flags = {flag["key"]: int(flag["description"]) for flag in snapshot["flags"]}
            self.delivery.texts = {flag["key"]: _text(flag) for flag in snapshot["flags"]}
        elif data is not None and kind:
            self.events += 1
            flag = data.get("flag")
            if flag is None or here.index is None:
                raise Unexpected(f"{self.delivery.name}: {kind} without a flag, although no flag is deleted: {id}")
            mark = int(flag["description"])
            self.delivery.items.append(Delivered(here.position, here.index, flag["key"], mark, time.monotonic()))
            self.delivery.flags[flag["key"]] = mark
            self.delivery.texts[flag["key"]] = _text(flag)
        self.last_id = here


def _text(flag: Mapping[str, Any]) -> str:
    """What the writers change of a flag."""
    return json.dumps([flag["description"], flag.get("enabled"), flag.get("notes")])
