"""The error tree of the SDK.

::

    FlagentError
     ├── ConnectionLost          reported; the client reconnects by itself
     ├── ProtocolError           reported; one message was unusable and was skipped
     ├── HandlerFailed           reported; a handler of the application raised
     ├── Refused                 fatal: the server said no, and asking again would not help
     ├── ReconnectExhausted      fatal: the configured number of attempts is used up
     ├── RequestFailed           the server answered a request with an error
     ├── NotReady                the store did not become ready in time
     ├── ClientClosed            the client was closed, before or while waiting
     └── AmbiguousFlag           several schemas hold a flag of this key

The reported ones reach ``on_error`` handlers and the log, and are never raised at a caller.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousFlag",
    "ClientClosed",
    "ConnectionLost",
    "FlagentError",
    "HandlerFailed",
    "NotReady",
    "ProtocolError",
    "ReconnectExhausted",
    "Refused",
    "RequestFailed",
]


class FlagentError(Exception):
    """The root of all errors of this SDK."""


class ConnectionLost(FlagentError):
    """The connection could not be made, or has ended. ``status`` and ``close_code`` say how, where known."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        close_code: int | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.close_code = close_code
        self.retry_after_ms = retry_after_ms


class ProtocolError(FlagentError):
    """A message of the server cannot be understood; it was skipped."""


class HandlerFailed(FlagentError):
    """A handler of the application raised; its exception is the ``__cause__``."""


class Refused(FlagentError):
    """The server refuses this client for good. ``status`` is an HTTP status, ``close_code`` a WebSocket close code."""

    def __init__(self, reason: str, *, status: int | None = None, close_code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.close_code = close_code


class ReconnectExhausted(FlagentError):
    """All reconnection attempts failed; the last failure is the ``__cause__``."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"gave up after {attempts} attempts to reconnect")
        self.attempts = attempts


class RequestFailed(FlagentError):
    """The server answered a request with an error; ``code`` is stable, ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class NotReady(FlagentError, TimeoutError):
    """The store did not become ready within the given time."""


class ClientClosed(FlagentError):
    """The client is closed."""


class AmbiguousFlag(FlagentError, LookupError):
    """Several schemas hold a flag of this key; name the schema."""

    def __init__(self, key: str, schemas: list[str]) -> None:
        super().__init__(f"flag {key!r} exists in several schemas ({', '.join(schemas)}); name one")
        self.key = key
        self.schemas = schemas
