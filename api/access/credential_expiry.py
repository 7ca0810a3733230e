"""Ends streams whose credential has ended: a token that expired, a key that was revoked.

One look per second at each identity, however many streams it has, and at none where no credentials are asked for.
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
    def __init__(self, authenticator: Authenticator | None) -> None:
        self._authenticator = authenticator
        self._streams: dict[Identity, dict[Subscriber, None]] = {}
        self._identities: dict[Subscriber, Identity] = {}

    def add(self, subscriber: Subscriber, identity: Identity) -> None:
        """End this stream with its credential; one that cannot end is not watched."""
        if self._authenticator is None or (identity.expires_at is None and identity.key_id is None):
            return
        self._identities[subscriber] = identity
        self._streams.setdefault(identity, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        """Harmless when repeated."""
        identity = self._identities.pop(subscriber, None)
        if identity is not None:
            streams = self._streams[identity]
            del streams[subscriber]
            if not streams:
                del self._streams[identity]

    def look(self) -> None:
        """End now what has ended."""
        if self._authenticator is None:
            return
        for identity, streams in list(self._streams.items()):
            ended = self._authenticator.why_ended(identity)
            if ended is None:
                continue
            logger.info(
                "Streams end with their credential",
                extra={"action": "credential_ended", "who": identity.name, "code": ended.code, "streams": len(streams)},
            )
            for subscriber in list(streams):
                self.remove(subscriber)
                end_unauthorized(subscriber, ended)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._run(), name="watch")
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                self.look()
            except Exception:
                # Unknown; but no stream may outlive its credential because another one could not be ended.
                logger.exception("Streams could not be ended", extra={"action": "watch_failed"})


def end_unauthorized(subscriber: Subscriber, why: Unauthorized) -> None:
    """Tell the client why, and close."""
    format = subscriber.format
    last = format.frame(format.dialect.unauthorized(why.code, str(why)))
    subscriber.delivery.close(subscriber, CloseReason.UNAUTHORIZED, str(why), last)
