"""What a client says on a WebSocket, and what it is answered.

One message at a time, in order: while the subscriber is behind (a snapshot or a replay is still on its way), further
messages wait and the transport is asked to stop reading. Bad input gets an `error` and the connection stays.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, assert_never

from cdc.auth.identity import Identity
from cdc.core.errors import InvalidInput
from cdc.core.flags.catalog import Catalog
from cdc.core.log.point_in_time import Moment
from cdc.core.log.position import Position
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selections
from cdc.core.wire import websocket
from cdc.core.wire.format import Format
from cdc.core.wire.message import (
    Auth,
    ClientMessage,
    Evaluate,
    EvaluateBatch,
    Ping,
    Subscribe,
    Unsubscribe,
    parse_message,
)
from cdc.errors import OutOfReach, SourceError, TooBusy, Unauthorized
from cdc.fanout.subscriber import Sink, Subscriber
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines

from ..access.authentication import AuthenticatedStream, Authentication
from ..access.credential_expiry import CredentialExpiryWatcher, end_unauthorized
from ..http.problem import Problem

__all__ = ["MAX_MESSAGE_BYTES", "TURN_MESSAGES", "Evaluator", "Session"]

logger = logging.getLogger(__name__)

# A subscription of a thousand selectors of 64 characters fits; what is larger is refused but does not end the stream.
MAX_MESSAGE_BYTES = 128 * 1024

_MAX_SELECTORS = 10_000

# So many messages of one client are answered before everyone else has had a turn.
TURN_MESSAGES = 32

# Answers that wait for a position; one more is refused.
_MAX_WAITING = 64

_MIN_POSITION_WAIT_S = 5.0

# A connection that came without a credential may send it for so long.
_CREDENTIAL_WAIT_S = 5.0


_NOTHING = Selections()

# After a restart ten thousand clients say the same `subscribe`: it is read once, and all share one selection.
_parse_common = lru_cache(maxsize=1024)(parse_message)
_COMMON_CHARACTERS = 256


def _parse(message: str) -> ClientMessage:
    is_common = len(message) <= _COMMON_CHARACTERS and '"subscribe"' in message and "token" not in message
    return (_parse_common if is_common else parse_message)(message)


class Evaluator(Protocol):
    """What answers `evaluate` and `evaluate_batch`; raises `InvalidInput`."""

    def evaluate(self, request: Mapping[str, Any], /, *, grant: Grant, catalog: Catalog | None = None) -> Any: ...

    def evaluate_batch(self, request: Mapping[str, Any], /, *, grant: Grant, catalog: Catalog | None = None) -> Any: ...

    async def catalog_at(self, moment: Moment, /) -> Catalog:
        """Raises as `TimeTravel.at` does."""


class Session:
    """The conversation with one client. `stop_reading` and `read_on` are the transport's.

    Most clients say little: what holds messages and tasks is made when it is needed, since there are many sessions.
    """

    __slots__ = (
        "_evaluator",
        "_grant",
        "_guard",
        "_inbox",
        "_patience",
        "_pipelines",
        "_read_on",
        "_stop_reading",
        "_waiting",
        "_watch",
        "pipeline",
        "subscriber",
    )

    def __init__(
        self,
        pipelines: Pipelines,
        sink: Sink,
        format: Format,
        *,
        stop_reading: Callable[[], None],
        read_on: Callable[[], None],
        entrant: AuthenticatedStream,
        guard: Authentication,
        watch: CredentialExpiryWatcher,
        evaluator: Evaluator | None = None,
    ) -> None:
        self._pipelines = pipelines
        self.pipeline = pipelines.flags  # the one that it is subscribed to now
        self._guard = guard
        self._watch = watch
        self._grant: Grant | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._stop_reading = stop_reading
        self._read_on = read_on
        self._evaluator = evaluator
        self._inbox: deque[str | bytes] | None = None
        self._waiting: set[asyncio.Task[None]] | None = None
        self.subscriber = Subscriber(sink, self.pipeline.hub, format, _NOTHING, on_live=self._continue)
        if entrant.identity is None:
            self._patience = asyncio.get_running_loop().call_later(_CREDENTIAL_WAIT_S, self._give_up)
        else:
            self._let_in(entrant.identity)

    @property
    def is_behind(self) -> bool:
        """Whether messages wait that were taken; `read_on` is called when none does any more."""
        return self._inbox is not None

    def receive(self, message: str | bytes) -> None:
        """Take one message; bytes are a binary message."""
        if self._inbox is not None or not self.subscriber.is_live:
            self._put_off(message)
        else:
            self._handle(message)

    def receive_later(self, message: str | bytes) -> None:
        """Take one message, after the others' turn."""
        if self._inbox is None:
            asyncio.get_running_loop().call_soon(self._continue, self.subscriber)
        self._put_off(message)

    def _put_off(self, message: str | bytes) -> None:
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message)
        self._stop_reading()

    def end(self) -> None:
        """The connection is gone."""
        self._stop_waiting()
        for task in self._waiting or ():
            task.cancel()
        self._inbox = None

    def say_error(self, code: str, text: str, request_id: str | None = None) -> None:
        self._say(websocket.error(code, text, request_id))

    def _continue(self, _: Subscriber) -> None:
        handled = 0
        while self._inbox and self.subscriber.is_live:
            if handled == TURN_MESSAGES:
                asyncio.get_running_loop().call_soon(self._continue, self.subscriber)
                return
            self._handle(self._inbox.popleft())
            handled += 1
        if self._inbox is not None and not self._inbox:
            self._inbox = None
            self._read_on()

    def _handle(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.say_error("binary_message", "messages are JSON text; binary messages are not understood")
            return
        if len(message) > MAX_MESSAGE_BYTES:
            self.say_error(
                "message_too_large", f"the message has {len(message)} characters; {MAX_MESSAGE_BYTES} are allowed"
            )
            return
        try:
            wish = _parse(message)
            if isinstance(wish, Auth):
                self._authenticate(wish)
                return
            grant = self._grant
            if grant is None:
                self._refuse(Unauthorized("the first message must be auth, with a token", code="credential_missing"))
                return
            match wish:
                case Subscribe():
                    self._subscribe(wish, grant)
                case Unsubscribe():
                    self._unsubscribe(wish)
                case Ping(request_id):
                    self._say(websocket.pong(request_id or _new_request_id()))
                case Evaluate() | EvaluateBatch():
                    self._evaluate(wish, grant)
                case other:
                    assert_never(other)
        except InvalidInput as error:
            self.say_error(error.code, str(error), getattr(error, "request_id", None))

    # -- credentials -------------------------------------------------------------------------------------------

    def _authenticate(self, wish: Auth) -> None:
        request_id = wish.request_id or _new_request_id()
        if self._grant is not None and self._guard.authenticator is not None:
            self.say_error("already_authenticated", "a credential was accepted on this connection already", request_id)
            return
        try:
            entrant = self._guard.admit_token(wish.token)
        except Problem as problem:
            self._refuse(Unauthorized(problem.detail, code=problem.code))
            return
        assert entrant.identity is not None
        self._guard.use_up(entrant)
        self._stop_waiting()
        self._let_in(entrant.identity)
        self._watch.add(self.subscriber, entrant.identity)
        self._say(websocket.authenticated(request_id))

    def _let_in(self, identity: Identity) -> None:
        self._grant = identity.grant
        self.subscriber.restrict_to(identity.grant)

    def _give_up(self) -> None:
        self._patience = None
        self._refuse(Unauthorized(f"no credential came within {_CREDENTIAL_WAIT_S:.0f} s", code="credential_missing"))

    def _refuse(self, why: Unauthorized) -> None:
        self._stop_waiting()
        end_unauthorized(self.subscriber, why)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # -- subscriptions and questions ---------------------------------------------------------------------------

    def _subscribe(self, wish: Subscribe, grant: Grant) -> None:
        subscriber = self.subscriber
        added = wish.selection.within(grant)
        selections = subscriber.selections.add(added)
        if selections.count > _MAX_SELECTORS:
            raise InvalidInput(
                f"this connection would select {selections.count} flags, tags and tables; {_MAX_SELECTORS} are allowed",
                code="too_many_selectors",
            )
        request_id = wish.request_id or _new_request_id()
        try:
            pipeline = self._pipelines.of(selections)
        except InvalidInput as error:
            self.say_error(error.code, str(error), request_id)
            return
        if not pipeline.is_loaded:
            self.say_error(
                "not_ready", "this stream has not been read from the database yet; ask again soon", request_id
            )
            return
        if pipeline is not self.pipeline:
            self._move_to(pipeline)
        hub = pipeline.hub
        freshness = hub.freshness()
        answer = websocket.subscribed(
            request_id,
            hub.here(),
            selections,
            is_fresh=freshness.fresh,
            age_ms=freshness.age_ms,
            heartbeat_ms=round(hub.limits.ping_s * 1000),
        )
        hub.reselect(
            subscriber,
            selections,
            first=[subscriber.format.frame(answer.encode())],
            added=Selections((added,)),
            last_event_id=None if wish.last_event_id is None else str(wish.last_event_id),
            snapshot=wish.snapshot,
            request_id=request_id,
            batch_s=None if wish.batch_ms is None else wish.batch_ms / 1000,
            stamps=wish.stamps,
        )

    def _move_to(self, pipeline: Pipeline) -> None:
        """Go on in another stream; nothing is subscribed to in the present one, or it would have been refused."""
        subscriber = self.subscriber
        self.pipeline.leave(subscriber)
        subscriber.selections = _NOTHING
        self.pipeline = pipeline
        pipeline.join(subscriber)

    def _unsubscribe(self, wish: Unsubscribe) -> None:
        hub, subscriber = self.pipeline.hub, self.subscriber
        selections = subscriber.selections.remove(wish.selection)
        freshness = hub.freshness()
        answer = websocket.unsubscribed(
            wish.request_id or _new_request_id(),
            hub.here(),
            selections,
            is_fresh=freshness.fresh,
            age_ms=freshness.age_ms,
        )
        hub.reselect(subscriber, selections, first=[subscriber.format.frame(answer.encode())])

    def _evaluate(self, question: Evaluate | EvaluateBatch, grant: Grant) -> None:
        evaluator = self._evaluator
        request_id = question.request_id or _new_request_id()
        if not grant.evaluate:
            self.say_error("not_allowed", "this credential does not allow evaluation", request_id)
            return
        if evaluator is None:
            self.say_error("not_available", "evaluation is switched off on this server", request_id)
            return
        present = self._pipelines.flags.hub.catalog.position
        is_waiting = question.min_position is not None and question.min_position > present
        if not is_waiting and question.at is None:
            self._answer(evaluator, question, grant, request_id)
        elif self._waiting is not None and len(self._waiting) >= _MAX_WAITING:
            self.say_error("too_many_waiting", f"{_MAX_WAITING} evaluations wait for a position already", request_id)
        elif question.at is not None:
            self._spawn(self._answer_of_past(evaluator, question, grant, question.at, request_id))
        elif question.min_position is not None:
            self._spawn(self._answer_later(evaluator, question, grant, question.min_position, request_id))

    async def _answer_later(
        self,
        evaluator: Evaluator,
        question: Evaluate | EvaluateBatch,
        grant: Grant,
        position: Position,
        request_id: str,
    ) -> None:
        if await self._pipelines.flags.hub.reached(position, _MIN_POSITION_WAIT_S):
            self._answer(evaluator, question, grant, request_id)
        else:
            self.say_error(
                "position_not_reached",
                f"position {position} was not reached within {_MIN_POSITION_WAIT_S:.0f} s; "
                f"the server is at {self._pipelines.flags.hub.catalog.position}",
                request_id,
            )

    async def _answer_of_past(
        self, evaluator: Evaluator, question: Evaluate | EvaluateBatch, grant: Grant, moment: Moment, request_id: str
    ) -> None:
        try:
            catalog = await evaluator.catalog_at(moment)
        except (InvalidInput, OutOfReach, TooBusy, SourceError) as error:
            problem = Problem.of(error)
            self.say_error(problem.code, problem.detail, request_id)
        else:
            self._answer(evaluator, question, grant, request_id, catalog)

    def _answer(
        self,
        evaluator: Evaluator,
        question: Evaluate | EvaluateBatch,
        grant: Grant,
        request_id: str,
        catalog: Catalog | None = None,
    ) -> None:
        position = (catalog or self._pipelines.flags.hub.catalog).position
        try:
            if isinstance(question, Evaluate):
                result = evaluator.evaluate(question.request, grant=grant, catalog=catalog)
                text = websocket.evaluation_result(request_id, position, result)
            else:
                results = evaluator.evaluate_batch(question.request, grant=grant, catalog=catalog)
                text = websocket.evaluation_results(request_id, position, results)
        except (InvalidInput, OutOfReach) as error:
            self.say_error(error.code, str(error), request_id)
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        self.subscriber.delivery.send(self.subscriber, self.subscriber.format.frame(text.encode()))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        if self._waiting is None:
            self._waiting = set()
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)


def _new_request_id() -> str:
    return secrets.token_hex(8)
