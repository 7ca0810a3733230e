"""The errors of the SDK.

::

    FlagentError
     ├── ConnectionLost          reported; the client reconnects
     ├── MalformedMessage        reported; one message could not be decoded and was skipped
     ├── HandlerFailed           reported; a handler of the application raised
     ├── IgnoredFlags            reported; saved flags, or a bootstrap, cannot be believed
     ├── PersistenceFailed       reported; saved flags cannot be read or written
     ├── ConnectionRefused       fatal: the server rejects this client, and a retry would not help
     ├── ReconnectExhausted      fatal: all reconnection attempts failed
     ├── RequestFailed           raised: the server answered a request with an error
     ├── RequestTimeout          raised: no response to a request in time
     ├── NotReady                raised: the store did not become ready in time
     ├── ClientClosed            raised: the client is closed
     ├── WrongEventLoop          raised: the client runs in another event loop
     ├── ForkedClient            raised: the client was made before a fork
     ├── ReducedFlag             raised: a flag is too large to be evaluated locally
     └── AmbiguousFlag           raised: several schemas have a flag of this key

Reported errors go to ``on_error`` handlers and to the log. Fatal errors are reported once, end the client, are its
``failure``, and are raised by calls that wait. A request that is open when its connection ends raises ConnectionLost.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousFlag",
    "ClientClosed",
    "ConnectionLost",
    "ConnectionRefused",
    "FlagentError",
    "ForkedClient",
    "HandlerFailed",
    "IgnoredFlags",
    "MalformedMessage",
    "NotReady",
    "PersistenceFailed",
    "ReconnectExhausted",
    "ReducedFlag",
    "RequestFailed",
    "RequestTimeout",
    "WrongEventLoop",
]


class FlagentError(Exception):
    """The root of all errors of this SDK."""


class ConnectionLost(FlagentError):
    """The connection could not be made, or it ended; the client reconnects.

    ``status`` is the HTTP status and ``close_code`` the WebSocket close code, where there was one. ``retry_after_ms``
    is the wait that the server requested.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        close_code: int | None = None,
        retry_after_ms: int | None = None,
        kind: str = "lost",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.close_code = close_code
        self.retry_after_ms = retry_after_ms
        self._kind = kind


class MalformedMessage(FlagentError):
    """A message of the server could not be decoded and was skipped; the connection stays open."""


class HandlerFailed(FlagentError):
    """A handler of the application raised an exception, which is the ``__cause__``."""


class IgnoredFlags(FlagentError):
    """Saved flags, or a bootstrap, cannot be believed and are ignored.

    ``reason`` is stable: ``not_json``, ``wrong_types``, ``format``, ``other_key``, ``too_old``, ``in_the_future``,
    ``digest`` or ``too_large``. ``source`` is ``cache`` or ``bootstrap``.
    """

    def __init__(self, reason: str, explanation: str, source: str = "cache") -> None:
        super().__init__(f"the {source} is ignored ({reason}): {explanation}")
        self.reason = reason
        self.explanation = explanation
        self.source = source


class PersistenceFailed(FlagentError):
    """The flags of a store cannot be saved or read; the exception is the ``__cause__``. The store is not affected."""


class ConnectionRefused(FlagentError):
    """The server rejects this client for good; a retry would not help.

    ``status`` is the HTTP status and ``close_code`` the WebSocket close code, where there was one.
    """

    def __init__(self, reason: str, *, status: int | None = None, close_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.close_code = close_code


class ReconnectExhausted(FlagentError):
    """All reconnection attempts failed; the last error is the ``__cause__``."""

    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"the client gave up after {attempts} reconnection attempts; "
            "ReconnectConfig(max_attempts=0) retries without limit"
        )
        self.attempts = attempts


class RequestFailed(FlagentError):
    """The server answered a request with an error; ``code`` is stable, ``message`` is text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RequestTimeout(FlagentError, TimeoutError):
    """The server did not respond to a request within the given time."""


class NotReady(FlagentError, TimeoutError):
    """The store did not become ready within the given time; ``__cause__`` is the last connection error, if any."""


class ClientClosed(FlagentError):
    """The client is closed."""

    def __init__(self) -> None:
        super().__init__("the client is closed; make a new client to connect again")


class WrongEventLoop(FlagentError, RuntimeError):
    """The client is used in another event loop than the one in which it was started, or in none of asyncio."""

    def __init__(self, has_loop: bool = True) -> None:
        super().__init__(
            (
                "the client belongs to another event loop, the one in which it was started; make a client in each "
                "event loop, or use "
                if has_loop
                else "the client needs a running event loop of asyncio (uvloop is one); with trio, or without asyncio, "
                "use "
            )
            + "flagent_realtime.sync, whose clients work in every thread and event loop"
        )


class ForkedClient(FlagentError, RuntimeError):
    """The client was made before a fork; its connection is in the other process."""

    def __init__(self) -> None:
        super().__init__(
            "the client was made before a fork, and its connection stayed in the parent process; make the client "
            "after the fork (gunicorn: post_fork; Celery: worker_process_init; multiprocessing: in the target), or use "
            "flagent_realtime.sync, whose clients go on in the child"
        )


class ReducedFlag(FlagentError):
    """A flag is so large that the server sends it without its segments; only the server can evaluate it."""

    def __init__(self, key: str, size_bytes: int) -> None:
        super().__init__(
            f"flag {key!r} has {size_bytes} bytes and was sent without its segments, so it cannot be evaluated "
            "locally; ask the server (client.evaluate, POST /api/v1/evaluation), or raise "
            "FLAGENT_CDC_MAX_FLAG_BYTES there"
        )
        self.key = key
        self.size_bytes = size_bytes


class AmbiguousFlag(FlagentError, LookupError):
    """Several schemas have a flag of this key; the caller must name the schema."""

    def __init__(self, key: str, schemas: list[str]) -> None:
        super().__init__(f"flag {key!r} exists in several schemas ({', '.join(schemas)}); pass schema= to choose one")
        self.key = key
        self.schemas = schemas
