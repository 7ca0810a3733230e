"""Evaluation over a WebSocket: now, once a position is reached, or in the past.

Answers carry the id of their request: that of a large batch, which is evaluated in turns, and of a request that waits,
may come after those of later requests.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Protocol

from cdc.core.errors import InvalidInput
from cdc.core.flags.catalog import Catalog
from cdc.core.log.point_in_time import PointInTime
from cdc.core.log.position import Position
from cdc.core.subscription.grant import Grant
from cdc.core.wire import websocket
from cdc.core.wire.message import Evaluate, EvaluateBatch
from cdc.errors import OutOfReach, SourceError, TooBusy
from cdc.fanout.hub import Hub

from ..http.problem import Problem
from ..http.turns import TURN_S, Turns

__all__ = ["Evaluator", "WebSocketEvaluation"]

# The most evaluations of one connection that may wait for a position or for the past; one more is refused.
_MAX_WAITING = 64

_MIN_POSITION_WAIT_S = 5.0


class Evaluator(Protocol):
    """Evaluates the requests of `evaluate` and `evaluate_batch`; raises `InvalidInput`. Results are JSON."""

    def evaluate_text(self, request: Mapping[str, Any], /, *, grant: Grant, catalog: Catalog | None = None) -> str: ...

    def evaluate_batch_texts(
        self, request: Mapping[str, Any], /, *, grant: Grant, catalog: Catalog | None = None
    ) -> Iterator[str]:
        """Raises at the call; the flags are those of the call, however late the results are taken."""

    async def catalog_at(self, point: PointInTime, /) -> Catalog:
        """Raises as `TimeTravel.at` does."""


class WebSocketEvaluation:
    """Answers the evaluation requests of one connection, through its `send` and `send_error`."""

    __slots__ = ("_evaluator", "_hub", "_send", "_send_error", "_tasks")

    def __init__(
        self, hub: Hub, evaluator: Evaluator, send: Callable[[str], None], send_error: Callable[[str, str, str], None]
    ) -> None:
        self._hub = hub
        self._evaluator = evaluator
        self._send = send
        self._send_error = send_error
        self._tasks: set[asyncio.Task[None]] = set()

    def evaluate(self, question: Evaluate | EvaluateBatch, grant: Grant, request_id: str) -> None:
        """Answer now, or in a task if the request names a position that is not reached yet, or a point in the past."""
        is_ahead = question.min_position is not None and question.min_position > self._hub.catalog.position
        if not is_ahead and question.at is None:
            self._answer(question, grant, request_id)
        elif len(self._tasks) >= _MAX_WAITING:
            self._refuse_waiting(request_id)
        elif question.at is not None:
            self._spawn(self._answer_from_past(question, grant, question.at, request_id))
        elif question.min_position is not None:
            self._spawn(self._answer_at_position(question, grant, question.min_position, request_id))

    def close(self) -> None:
        """Cancel the evaluations that wait."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_at_position(
        self, question: Evaluate | EvaluateBatch, grant: Grant, position: Position, request_id: str
    ) -> None:
        if await self._hub.reached(position, _MIN_POSITION_WAIT_S):
            self._answer(question, grant, request_id)
        else:
            self._send_error(
                "position_not_reached",
                f"position {position} was not reached within {_MIN_POSITION_WAIT_S:.0f} s; "
                f"the server is at {self._hub.catalog.position}",
                request_id,
            )

    async def _answer_from_past(
        self, question: Evaluate | EvaluateBatch, grant: Grant, point: PointInTime, request_id: str
    ) -> None:
        try:
            catalog = await self._evaluator.catalog_at(point)
        except (InvalidInput, OutOfReach, TooBusy, SourceError) as error:
            problem = Problem.of(error)
            self._send_error(problem.code, problem.detail, request_id)
        else:
            self._answer(question, grant, request_id, catalog)

    def _answer(
        self, question: Evaluate | EvaluateBatch, grant: Grant, request_id: str, catalog: Catalog | None = None
    ) -> None:
        position = (catalog or self._hub.catalog).position
        try:
            if isinstance(question, Evaluate):
                result = self._evaluator.evaluate_text(question.request, grant=grant, catalog=catalog)
            else:
                texts = self._evaluator.evaluate_batch_texts(question.request, grant=grant, catalog=catalog)
                self._answer_batch(texts, position, request_id)
                return
        except (InvalidInput, OutOfReach) as error:
            self._send_error(error.code, str(error), request_id)
        else:
            self._send(websocket.evaluation_result(request_id, position, result))

    def _answer_batch(self, texts: Iterator[str], position: Position, request_id: str) -> None:
        """Answer now what takes no longer than a turn, else in a task that takes turns."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + TURN_S
        results: list[str] = []
        for text in texts:
            results.append(text)
            if loop.time() >= ends_s:
                if len(self._tasks) < _MAX_WAITING:
                    self._spawn(self._answer_in_turns(results, texts, position, request_id))
                else:
                    self._refuse_waiting(request_id)
                return
        self._send(websocket.evaluation_results(request_id, position, results))

    async def _answer_in_turns(
        self, results: list[str], texts: Iterator[str], position: Position, request_id: str
    ) -> None:
        results += await Turns().list_of(texts)
        self._send(websocket.evaluation_results(request_id, position, results))

    def _refuse_waiting(self, request_id: str) -> None:
        self._send_error(
            "too_many_waiting",
            f"{_MAX_WAITING} evaluations of this connection are waiting, the limit; retry after an answer",
            request_id,
        )
