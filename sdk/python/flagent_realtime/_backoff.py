"""Reconnection timing. Pure: the caller supplies clock and randomness.

Exponential backoff with full jitter: the wait is a random part of a growing ceiling, so that clients that lost the same
server do not reconnect at the same time. The server's ``retry:`` or ``Retry-After`` is the minimum wait.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_RETRY_AFTER_MS = 3_600_000
"""A longer ``Retry-After`` counts as one hour."""


class _DefaultAttempts(int):
    """Ten, and no number that a caller gave."""


@dataclass(frozen=True)
class ReconnectConfig:
    """When a client reconnects and when it gives up. Times are in seconds. Invalid values raise :exc:`ValueError`.

    The wait before attempt *n* is random, up to ``min(max_delay, initial_delay * multiplier ** (n - 1))``. The client
    gives up after ``max_attempts`` failed attempts in a row; 0 means no limit. The default is ten, but no limit for a
    client that feeds a :class:`FlagStore`. The count returns to zero when a connection has lasted ``stable_after``
    past its first message.
    """

    max_attempts: int = _DefaultAttempts(10)
    initial_delay: float = 1.0
    max_delay: float = 60.0
    multiplier: float = 2.0
    stable_after: float = 5.0

    def __post_init__(self) -> None:
        if self.max_attempts < 0:
            raise ValueError(f"max_attempts is {self.max_attempts}; it must be 0 (no limit) or more")
        for name in ("initial_delay", "max_delay", "stable_after"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more, in seconds")
        if not self.multiplier >= 1:
            raise ValueError(f"multiplier is {self.multiplier}; it must be 1 or more")


def reconnect_delay(
    config: ReconnectConfig,
    attempt: int,
    random: float,
    retry_ms: int | None = None,
    retry_after_ms: int | None = None,
    feeds_store: bool = False,
) -> float | None:
    """Seconds to wait before reconnection *attempt* (1 is the first); ``None`` to give up.

    *random* is in [0, 1]; *retry_ms* is the last ``retry:`` and *retry_after_ms* the ``Retry-After``, if any.
    *feeds_store*: a store depends on the connection.

    >>> [reconnect_delay(ReconnectConfig(), n, 1.0) for n in (1, 2, 3, 7, 11)]
    [1.0, 2.0, 4.0, 60.0, None]
    """
    is_limited = not (feeds_store and isinstance(config.max_attempts, _DefaultAttempts))
    if is_limited and 0 < config.max_attempts < attempt:
        return None
    try:
        ceiling = min(config.max_delay, config.initial_delay * config.multiplier ** (attempt - 1))
    except OverflowError:
        ceiling = config.max_delay
    jitter = random * ceiling
    delay = jitter
    if retry_ms is not None:
        delay = max(delay, min(retry_ms / 1000, config.max_delay))
    if retry_after_ms is not None:
        delay = max(delay, min(retry_after_ms, MAX_RETRY_AFTER_MS) / 1000 + jitter)
    return delay


class Backoff:
    """Counts the attempts of one client. Times are of one monotonic clock, in seconds."""

    def __init__(self, config: ReconnectConfig) -> None:
        self._config = config
        self._first_message_at: float | None = None
        self._retry_ms: int | None = None
        self.attempts = 0

    def connected(self) -> None:
        """The transport is connected; the count stays until the connection is stable."""
        self._first_message_at = None

    def message(self, now: float) -> None:
        """A message arrived."""
        if self._first_message_at is None:
            self._first_message_at = now

    def retry(self, ms: int) -> None:
        """The server sent ``retry:``, which applies until it sends another one."""
        self._retry_ms = ms

    def lost(
        self, now: float, random: float, retry_after_ms: int | None = None, feeds_store: bool = False
    ) -> float | None:
        """The connection was lost or could not be made; returns the seconds to wait, ``None`` to give up."""
        if self._first_message_at is not None and now - self._first_message_at >= self._config.stable_after:
            self.attempts = 0
        self._first_message_at = None
        self.attempts += 1
        return reconnect_delay(self._config, self.attempts, random, self._retry_ms, retry_after_ms, feeds_store)
