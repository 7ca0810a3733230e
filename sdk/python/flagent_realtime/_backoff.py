"""Reconnection timing without a clock and without randomness of its own.

Exponential backoff with full jitter: the wait is a random share of a growing ceiling, so that clients that lost their
server together do not return together. What the server asks for (``retry:``, ``Retry-After``) is the least wait.
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY_AFTER_LIMIT_MS = 3_600_000
"""A ``Retry-After`` is believed up to one hour."""


@dataclass(frozen=True)
class ReconnectConfig:
    """How a client reconnects. Times are in seconds.

    ``max_attempts`` counts attempts in a row without a connection that proved itself; 0 is without limit.
    A connection has proven itself once it has lived ``stable_after`` past its first message.
    """

    max_attempts: int = 10
    initial_delay: float = 1.0
    max_delay: float = 60.0
    multiplier: float = 2.0
    stable_after: float = 5.0

    def __post_init__(self) -> None:
        if self.max_attempts < 0:
            raise ValueError(f"max_attempts must be 0 (without limit) or more, not {self.max_attempts}")
        if self.initial_delay < 0 or self.max_delay < 0 or self.stable_after < 0:
            raise ValueError("initial_delay, max_delay and stable_after must not be negative")
        if not self.multiplier >= 1:
            raise ValueError(f"multiplier must be 1 or more, not {self.multiplier}")


def reconnect_delay(
    config: ReconnectConfig,
    attempt: int,
    random: float,
    retry_ms: int | None = None,
    retry_after_ms: int | None = None,
) -> float | None:
    """Seconds to wait before reconnection *attempt* (1 is the first), ``None`` to give up.

    *random* is in [0, 1].

    >>> [reconnect_delay(ReconnectConfig(), n, 1.0) for n in (1, 2, 3, 7, 11)]
    [1.0, 2.0, 4.0, 60.0, None]
    """
    if 0 < config.max_attempts < attempt:
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
        delay = max(delay, min(retry_after_ms, RETRY_AFTER_LIMIT_MS) / 1000 + jitter)
    return delay


class Backoff:
    """Counts attempts over the life of a client. Times given are of one monotonic clock, in seconds."""

    def __init__(self, config: ReconnectConfig) -> None:
        self._config = config
        self._first_message_at: float | None = None
        self._retry_ms: int | None = None
        self.attempts = 0

    def connected(self) -> None:
        """A transport is up; that alone proves nothing."""
        self._first_message_at = None

    def message(self, now: float) -> None:
        """A message arrived."""
        if self._first_message_at is None:
            self._first_message_at = now

    def retry(self, ms: int) -> None:
        """The server named its reconnection time; it holds until it names another."""
        self._retry_ms = ms

    def lost(self, now: float, random: float, retry_after_ms: int | None = None) -> float | None:
        """The connection is gone or could not be made: seconds to wait, ``None`` to give up."""
        if self._first_message_at is not None and now - self._first_message_at >= self._config.stable_after:
            self.attempts = 0
        self._first_message_at = None
        self.attempts += 1
        return reconnect_delay(self._config, self.attempts, random, self._retry_ms, retry_after_ms)
