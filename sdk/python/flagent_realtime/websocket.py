"""The client of the WebSocket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ._client import RealtimeClient
from ._evaluation import EvaluationResult
from ._values import ContextValue, context_texts, entity_text
from ._websocket_transport import WebSocketTransport
from .errors import MalformedMessage
from .subscriptions import Subscription

__all__ = ["FlagentWebSocketClient"]


class FlagentWebSocketClient(RealtimeClient):
    """Live events and evaluation over one WebSocket: ``FlagentWebSocketClient("wss://host/ws", api_key=…)``.

    See :class:`RealtimeClient` for the arguments.
    """

    def _make_transport(self) -> WebSocketTransport:
        self._websocket = WebSocketTransport(self, self.url)
        return self._websocket

    # ---------------------------------------------------------- the interface

    def subscribe(
        self, flag_key: str, handler: Callable[..., Any], on_deleted: Callable[..., Any] | None = None
    ) -> Subscription:
        """The same as :meth:`subscribe_flag`."""
        return self.subscribe_flag(flag_key, handler, on_deleted)

    async def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | int | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        enable_debug: bool = False,
        min_position: str | int | None = None,
        timeout: float = 5.0,
    ) -> EvaluationResult:
        """Evaluate a flag on the server.

        Entity and context are as in :meth:`FlagStore.evaluate`.

        *min_position*: the server waits until its state has reached this position. *timeout* is in seconds and
        includes the wait for a connection. Raises :exc:`RequestFailed` with the server's ``code``,
        :exc:`RequestTimeout`, :exc:`ConnectionLost` when the connection ends before the response,
        :exc:`MalformedMessage`, :exc:`ClientClosed`, and the client's ``failure`` when it failed for good.
        """
        response = await self._call(
            {
                "type": "evaluate",
                "flagKey": flag_key,
                "flagID": flag_id,
                **_entity({"entityID": entity_id, "entityType": entity_type, "entityContext": entity_context}),
                "enableDebug": enable_debug or None,
                "minPosition": None if min_position is None else str(min_position),
            },
            timeout,
        )
        result = response.get("result")
        if not isinstance(result, dict):
            raise MalformedMessage("the response to evaluate has no result")
        return EvaluationResult.from_json(result)

    async def evaluate_batch(
        self,
        entities: Sequence[Mapping[str, Any]],
        *,
        flag_keys: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        flag_tags: Iterable[str] = (),
        flag_tags_operator: str | None = None,
        enable_debug: bool = False,
        min_position: str | int | None = None,
        timeout: float = 5.0,
    ) -> list[EvaluationResult]:
        """Evaluate several flags for several entities on the server.

        Each entity is an object with ``entityID``, ``entityType`` and ``entityContext``, all optional. *flag_keys*,
        *flag_ids* and *flag_tags* add up; *flag_tags_operator* is ``"ANY"`` (the default) or ``"ALL"``. The results
        are in the server's order. *min_position*, *timeout* and errors are as in :meth:`evaluate`.
        """
        response = await self._call(
            {
                "type": "evaluate_batch",
                "entities": [_entity(entity) for entity in entities],
                "flagKeys": list(flag_keys) or None,
                "flagIDs": list(flag_ids) or None,
                "flagTags": list(flag_tags) or None,
                "flagTagsOperator": flag_tags_operator,
                "enableDebug": enable_debug or None,
                "minPosition": None if min_position is None else str(min_position),
            },
            timeout,
        )
        results = response.get("results")
        if not isinstance(results, list):
            raise MalformedMessage("the response to evaluate_batch has no list of results")
        return [EvaluationResult.from_json(result) for result in results if isinstance(result, dict)]

    async def _call(self, message: dict[str, Any], timeout: float) -> Mapping[str, Any]:
        await self.start()
        if self.failure is not None:
            raise self.failure
        return await self._websocket.call(message, timeout)


def _entity(given: Mapping[str, Any]) -> dict[str, Any]:
    """An entity as the server takes it. The server compares the JSON text of a value, as a local evaluation does."""
    entity = {**given, "entityID": entity_text(given.get("entityID"))}
    if (context := given.get("entityContext")) is not None:
        texts = context_texts(context).items()
        entity["entityContext"] = {
            name: context[name] if json.dumps(context[name]) == text else text for name, text in texts
        }
    return {name: value for name, value in entity.items() if value is not None}
