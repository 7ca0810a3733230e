"""The protocol of one WebSocket: the client's messages and their answers.

Messages are handled one at a time, in order, and in turns: after so many, or so much time, the event loop serves other
connections first. While the subscriber is behind (a snapshot or a replay is still being sent), further messages wait
and the transport stops reading. Bad input is answered with an `error`, and the connection stays open.

Handling a message may make the subscriber live, which lets the next message be handled. That always begins a new turn
and is never a call within the first: a burst of messages must not become a stack of them.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import assert_never

from cdc.auth.identity import Identity
from cdc.core.errors import InvalidInput, InvalidMessage
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
from cdc.errors import SourceError, Unauthorized
from cdc.fanout.subscriber import CloseReason, Sink, Subscriber
from cdc.filters.compiler import check_one_filter
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines

from ..access.authentication import AuthenticatedStream, Authentication
from ..access.credential_expiry import CredentialExpiryWatcher, close_unauthorized
from ..http.problem import Problem
from .websocket_evaluation import Evaluator, WebSocketEvaluation

__all__ = ["MAX_CLAUSES", "MAX_MESSAGE_BYTES", "TURN_MESSAGES", "Session"]

# Leaves room for a thousand selectors of 64 characters; a larger message gets an error.
MAX_MESSAGE_BYTES = 128 * 1024

_MAX_SELECTORS = 10_000

# Every event that is replayed is compared with every clause.
MAX_CLAUSES = 32

# What is handled for one client before the event loop serves the others. A message is cheap or dear as the client
# likes (a ping, a thousand selectors, a batch of evaluations), so their number alone does not bound a turn.
TURN_MESSAGES = 32
_TURN_S = 0.002

# How long a connection without a credential may take to send one.
_CREDENTIAL_WAIT_S = 5.0

_NOTHING = Selections()

# After a restart ten thousand clients send the same `subscribe`: it is parsed once, and they share its selection.
_parse_common = lru_cache(maxsize=1024)(parse_message)
_COMMON_CHARACTERS = 256


def _parse(message: str) -> ClientMessage:
    is_common = len(message) <= _COMMON_CHARACTERS and '"subscribe"' in message and "token" not in message
    return (_parse_common if is_common else parse_message)(message)


class Session:
    """The protocol state of one connection; `stop_reading` and `resume_reading` control its transport.

    There are many sessions and most clients send little, so buffers and tasks are created when they are needed.
    """

    __slots__ = (
        "_answers",
        "_authentication",
        "_credential_expiry",
        "_credential_timer",
        "_evaluation",
        "_evaluator",
        "_grant",
        "_has_turn",
        "_inbox",
        "_looking",
        "_pipelines",
        "_place",
        "_resume_reading",
        "_stop_reading",
        "_turn_ends_s",
        "_turn_messages",
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
        resume_reading: Callable[[], None],
        authenticated: AuthenticatedStream,
        authentication: Authentication,
        credential_expiry: CredentialExpiryWatcher,
        evaluator: Evaluator | None = None,
    ) -> None:
        self._pipelines = pipelines
        self.pipeline = pipelines.flags  # of the present subscription
        self._authentication = authentication
        self._credential_expiry = credential_expiry
        self._place = authenticated.place
        self._grant: Grant | None = None
        self._credential_timer: asyncio.TimerHandle | None = None
        self._stop_reading = stop_reading
        self._resume_reading = resume_reading
        self._evaluator = evaluator
        self._inbox: deque[str | bytes] | None = None
        # Looks for tables that a subscription names; later messages wait.
        self._looking: asyncio.Task[None] | None = None
        # The answers of the present turn, which leave in one write; None between turns.
        self._answers: list[bytes] | None = None
        self._has_turn = False
        self._turn_messages, self._turn_ends_s = 0, 0.0
        self._evaluation: WebSocketEvaluation | None = None
        self.subscriber = Subscriber(sink, self.pipeline.hub, format, _NOTHING, on_live=self._on_live)
        if authenticated.identity is None:
            self._credential_timer = asyncio.get_running_loop().call_later(
                _CREDENTIAL_WAIT_S, self._credential_timed_out
            )
        else:
            self._authorize(authenticated.identity)

    @property
    def is_behind(self) -> bool:
        """Whether received messages wait; `resume_reading` is called once none does."""
        return self._inbox is not None

    def begin_turn(self) -> None:
        """The transport has read something: what it contains may be handled at once, up to the bounds of a turn."""
        self._turn_messages, self._turn_ends_s = TURN_MESSAGES, time.monotonic() + _TURN_S
        self._answers = []

    def end_turn(self) -> None:
        """What the transport had read was handled: send the answers."""
        self.flush()
        self._answers = None

    def receive(self, message: str | bytes) -> None:
        """Handle one message, in this turn or, in order, in a later one; `bytes` is a binary message."""
        if self._inbox is None and self._may_handle and self._turn_has_room():
            self._handle(message)
            return
        if self._inbox is None:
            self._inbox = deque()
            # Reading pauses with the first message that waits: at most the rest of one read joins it.
            self._stop_reading()
        self._inbox.append(message)
        if self._may_handle:
            self._take_turn()

    def close(self) -> None:
        """Release what the session holds, once its connection is closed."""
        self._cancel_credential_timer()
        if self._evaluation is not None:
            self._evaluation.close()
            self._evaluation = None
        if self._looking is not None:
            self._looking.cancel()
        self._inbox = None

    def send_error(self, code: str, text: str, request_id: str | None = None) -> None:
        """Send an `error` message."""
        self._send(websocket.error(code, text, request_id))

    @property
    def _may_handle(self) -> bool:
        return self.subscriber.is_live and self._looking is None

    def _on_live(self, _: Subscriber) -> None:
        if self._inbox is not None and self._may_handle:
            self._take_turn()

    def _take_turn(self) -> None:
        if not self._has_turn:
            self._has_turn = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self.begin_turn()
        try:
            while self._inbox and self._may_handle and self._turn_has_room():
                self._handle(self._inbox.popleft())
        except Exception:
            # A message without an answer must not leave a connection that is open and deaf.
            self.flush()
            self.subscriber.delivery.close(
                self.subscriber, CloseReason.RESTARTING, "internal error; reconnect with the last event id received"
            )
            raise
        finally:
            self._has_turn = False
            self.end_turn()
        if self._inbox is None:
            return
        if not self._inbox:
            self._inbox = None
            self._resume_reading()
        elif self._may_handle:
            self._take_turn()

    def _turn_has_room(self) -> bool:
        self._turn_messages -= 1
        # Not the time of the loop: before Python 3.12, finding the loop is a system call.
        return self._turn_messages >= 0 and time.monotonic() < self._turn_ends_s

    def _handle(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.send_error("binary_message", "binary messages are not supported; send JSON as a text message")
            return
        if len(message) > MAX_MESSAGE_BYTES:
            self.send_error(
                "message_too_large", f"the message has {len(message)} characters, but the limit is {MAX_MESSAGE_BYTES}"
            )
            return
        try:
            request = _parse(message)
            if type(request) is Evaluate and self._grant is not None:
                self._evaluate(request, self._grant)  # most messages, of those who send many
                return
            if not isinstance(request, Ping):
                # The hub writes the answer itself, or closes the connection.
                self.flush()
            if isinstance(request, Auth):
                self._authenticate(request)
                return
            grant = self._grant
            if grant is None:
                self._reject(Unauthorized("the first message must be auth with a token", code="credential_missing"))
                return
            match request:
                case Subscribe():
                    self._subscribe(request, grant)
                case Unsubscribe():
                    self._unsubscribe(request)
                case Ping(request_id):
                    self._send(websocket.pong(request_id or _new_request_id()))
                case Evaluate() | EvaluateBatch():
                    self._evaluate(request, grant)
                case other:
                    assert_never(other)
        except InvalidInput as error:
            self.send_error(error.code, str(error), getattr(error, "request_id", None))

    def _authenticate(self, request: Auth) -> None:
        request_id = request.request_id or _new_request_id()
        if self._grant is not None and self._authentication.authenticator is not None:
            self.send_error("already_authenticated", "this connection is already authenticated", request_id)
            return
        try:
            authenticated = self._authentication.admit_token(request.token, self._place)
        except Problem as problem:
            self._reject(Unauthorized(problem.detail, code=problem.code))
            return
        assert authenticated.identity is not None
        self._authentication.consume_token(authenticated)
        self._cancel_credential_timer()
        self._authorize(authenticated.identity)
        self._credential_expiry.add(self.subscriber, authenticated.identity)
        self._send(websocket.authenticated(request_id))

    def _authorize(self, identity: Identity) -> None:
        self._grant = identity.grant
        self.subscriber.restrict_to(identity.grant)

    def _credential_timed_out(self) -> None:
        self._credential_timer = None
        self._reject(
            Unauthorized(
                f"no credential arrived within {_CREDENTIAL_WAIT_S:.0f} s; send auth first", code="credential_missing"
            )
        )

    def _reject(self, why: Unauthorized) -> None:
        self.flush()
        self._cancel_credential_timer()
        close_unauthorized(self.subscriber, why)

    def _cancel_credential_timer(self) -> None:
        if self._credential_timer is not None:
            self._credential_timer.cancel()
            self._credential_timer = None

    async def _look_and_subscribe(self, request: Subscribe, grant: Grant) -> None:
        try:
            with contextlib.suppress(SourceError):
                await self._pipelines.look_again()
            self._looking = None
            self._subscribe(request, grant, has_looked=True)
        except InvalidInput as error:
            self.send_error(error.code, str(error), request.request_id)
        except Exception:
            self.subscriber.delivery.close(
                self.subscriber, CloseReason.RESTARTING, "internal error; reconnect with the last event id received"
            )
            raise
        finally:
            self._looking = None
        self._on_live(self.subscriber)

    def _subscribe(self, request: Subscribe, grant: Grant, *, has_looked: bool = False) -> None:
        subscriber = self.subscriber
        selections = subscriber.selections
        try:
            added = Selections(tuple(self._pipelines.compiled(part.within(grant)) for part in request.selections))
            for part in added.clauses:
                selections = selections.add(part)
            check_one_filter(selections)
        except InvalidInput as error:
            if error.code == "unknown_table" and not has_looked:
                # It may have been watched a moment ago.
                looking = self._look_and_subscribe(request, grant)
                self._looking = asyncio.get_running_loop().create_task(looking, name="look for tables")
                return
            self.send_error(error.code, str(error), request.request_id)
            return
        if selections.count > _MAX_SELECTORS:
            raise InvalidMessage(
                f"this connection would have {selections.count} selectors, but the limit is {_MAX_SELECTORS}; "
                "unsubscribe from some, or use another connection",
                code="too_many_selectors",
                request_id=request.request_id,
            )
        if len(selections.clauses) > MAX_CLAUSES:
            raise InvalidMessage(
                f"this connection would have {len(selections.clauses)} clauses, one for each combination of types and "
                f"schemas, but the limit is {MAX_CLAUSES}; unsubscribe from some, or use another connection",
                code="too_many_clauses",
                request_id=request.request_id,
            )
        request_id = request.request_id or _new_request_id()
        try:
            pipeline = self._pipelines.of(selections)
        except InvalidInput as error:
            self.send_error(error.code, str(error), request_id)
            return
        if not pipeline.is_loaded:
            self.send_error(
                "not_ready", "this lane has not been read from the database yet; retry in a second", request_id
            )
            return
        if pipeline is not self.pipeline:
            self._move_to(pipeline)
        hub = pipeline.hub
        freshness = hub.freshness()
        answer = websocket.subscribed(
            request_id,
            hub.here(),
            request.selections,
            selections,
            is_fresh=freshness.fresh,
            age_ms=freshness.age_ms,
            heartbeat_ms=round(hub.limits.ping_s * 1000),
        )
        hub.reselect(
            subscriber,
            selections,
            first=[subscriber.format.frame(answer.encode())],
            added=added,
            last_event_id=None if request.last_event_id is None else str(request.last_event_id),
            snapshot=request.snapshot,
            request_id=request_id,
            batch_s=None if request.batch_ms is None else request.batch_ms / 1000,
            stamps=request.stamps,
        )

    def _move_to(self, pipeline: Pipeline) -> None:
        """Move the subscriber to another lane; its selection in the present one is empty, or this would be refused."""
        subscriber = self.subscriber
        self.pipeline.leave(subscriber)
        subscriber.selections = _NOTHING
        self.pipeline = pipeline
        pipeline.join(subscriber)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        hub, subscriber = self.pipeline.hub, self.subscriber
        selections = subscriber.selections.remove(request.selection)
        freshness = hub.freshness()
        answer = websocket.unsubscribed(
            request.request_id or _new_request_id(),
            hub.here(),
            request.selection,
            selections,
            is_fresh=freshness.fresh,
            age_ms=freshness.age_ms,
        )
        hub.reselect(subscriber, selections, first=[subscriber.format.frame(answer.encode())])

    def _evaluate(self, question: Evaluate | EvaluateBatch, grant: Grant) -> None:
        request_id = question.request_id or _new_request_id()
        if not grant.evaluate:
            self.send_error("not_allowed", "this credential is not authorized for evaluation", request_id)
        elif self._evaluator is None:
            self.send_error("not_available", "evaluation is disabled on this server", request_id)
        else:
            if self._evaluation is None:
                hub = self._pipelines.flags.hub
                self._evaluation = WebSocketEvaluation(hub, self._evaluator, self._send, self.send_error)
            self._evaluation.evaluate(question, grant, request_id)

    def _send(self, text: str) -> None:
        frame = self.subscriber.format.frame(text.encode())
        if self._answers is None:
            self.subscriber.delivery.send(self.subscriber, frame)
        else:
            self._answers.append(frame)

    def flush(self) -> None:
        """Send the answers of this turn so far: something else is to follow them."""
        if self._answers:
            answers, self._answers = self._answers, []
            self.subscriber.delivery.send(self.subscriber, b"".join(answers))


def _new_request_id() -> str:
    return secrets.token_hex(8)
