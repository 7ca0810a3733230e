"""Closes streams whose credential expired or was revoked.

Each identity is checked once per second, regardless of the number of its streams; without authentication none is.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cdc.auth.authenticator import Authenticator
from cdc.auth.identity import Identity
from cdc.errors import Unauthorized
from cdc.fanout.subscriber import CloseReason, Subscriber

__all__ = ["CredentialExpiryWatcher"]

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0


class CredentialExpiryWatcher:
    """Closes the streams of an identity once its credential is no longer valid.

    `authenticator` None disables it. `running` has to be entered for the checks to happen.
    """

    def __init__(self, authenticator: Authenticator | None) -> None:
        self._authenticator = authenticator
        self._streams: dict[Identity, dict[Subscriber, None]] = {}
        self._identities: dict[Subscriber, Identity] = {}

    def add(self, subscriber: Subscriber, identity: Identity) -> None:
        """Close this stream when its credential ends; a credential that cannot end is ignored."""
        if self._authenticator is None or (identity.expires_at is None and identity.key_id is None):
            return
        self._identities[subscriber] = identity
        self._streams.setdefault(identity, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a stream; harmless when repeated."""
        identity = self._identities.pop(subscriber, None)
        if identity is not None:
            streams = self._streams[identity]
            del streams[subscriber]
            if not streams:
                del self._streams[identity]

    def check(self) -> None:
        """Close the streams of every identity whose credential has ended."""
        if self._authenticator is None:
            return
        for identity, streams in list(self._streams.items()):
            ended = self._authenticator.why_ended(identity)
            if ended is None:
                continue
            logger.info(
                "A credential expired or was revoked; its streams are closed",
                extra={
                    "action": "credential_expired",
                    "identity": identity.name,
                    "code": ended.code,
                    "streams": len(streams),
                },
            )
            for subscriber in list(streams):
                self.remove(subscriber)
                close_unauthorized(subscriber, ended)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check once per second until the end of the block."""
        checking = asyncio.create_task(self._run(), name="credential expiry")
        try:
            yield
        finally:
            checking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await checking

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                self.check()
            except Exception:
                # A failure for one identity must not end the checks of the others.
                logger.exception(
                    "The check for expired credentials failed", extra={"action": "credential_expiry_failed"}
                )


def close_unauthorized(subscriber: Subscriber, why: Unauthorized) -> None:
    """Send the reason to the client, and close."""
    format = subscriber.format
    last = format.frame(format.dialect.unauthorized(why.code, str(why)))
    subscriber.delivery.close(subscriber, CloseReason.UNAUTHORIZED, str(why), last)
