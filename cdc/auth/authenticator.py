"""Whose credential this is: API keys, JSON Web Tokens and stream tokens, kept current in memory.

Asking is synchronous and touches memory alone, so that ten thousand who come at once are let in as fast as without.
Keys are read again from their store, and published keys from their file or address, at intervals; while those are
away the last known ones stand.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2

from ..errors import SourceError, Unauthorized
from .api_key import KEY_PREFIX, ApiKey, KeyChange, KeyRing
from .identity import Identity
from .json_web_token import JwtVerifier, VerificationKey
from .jwks_source import JwksSource
from .key_store import KeyStore
from .key_use import KeyUse
from .stream_token import StreamToken, StreamTokenIssuer, TokenSecret
from .stream_token_claims import StreamTokenLimits

__all__ = ["Authenticator"]

logger = logging.getLogger(__name__)

# A revoked key is noticed within this time.
_RELOAD_S = 1.0

# How often the use of keys is recorded, and how long the end of a server waits for it.
_RECORD_S = 60.0
_LAST_RECORD_S = 1.0

# More changed keys at once are logged as a number alone.
_LOGGED_CHANGES = 20

# Published keys change seldom; a token that names an unknown one asks for them sooner.
_JWKS_RELOAD_S = 600.0
_JWKS_PAUSE_S = 30.0


class Authenticator:
    """All credentials of one server process. `is_loaded` once the keys have been read for the first time."""

    def __init__(
        self,
        store: KeyStore,
        verifier: JwtVerifier | None = None,
        jwks: JwksSource | None = None,
        *,
        own_keys: Sequence[VerificationKey] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._ring = KeyRing()
        self._verifier = verifier
        self._jwks = jwks
        self._own_keys = own_keys
        self._now = now
        self._version: str | None = None
        self._jwks_read_at: float | None = None
        self._token_issuer: StreamTokenIssuer | None = None
        self._is_failing = False
        self._is_failing_to_record = False
        self._is_jwks_failing = False

    @property
    def is_loaded(self) -> bool:
        return self._token_issuer is not None

    def identify(self, text: str) -> Identity:
        """The holder of a lasting credential; raises `Unauthorized`."""
        if text.startswith(KEY_PREFIX):
            return self._ring.identify(text, self._now())
        if self._verifier is not None and text.count(".") == 2:
            return self._verifier.verify(text, self._now())
        raise Unauthorized("this credential is not known here", code="invalid_credential")

    def read_stream_token(self, text: str) -> StreamToken:
        """What a stream token says, for `use_up` once its stream opens; raises `Unauthorized`."""
        if self._token_issuer is None:
            raise Unauthorized(code="invalid_credential")
        token = self._token_issuer.read(text, self._now())
        holder = token.holder
        if holder.key_id is not None and (key := self._ring.find(holder.key_id)) is not None:
            scopes = token.limits.scopes
            grant = key.grant if scopes is None else key.grant.within(scopes)
            holder = Identity(holder.name, grant, key.key_id, key.expires_at, True, key.grant)
        if (ended := self.why_ended(holder)) is not None:
            raise ended
        return replace(token, holder=holder)

    def use_up(self, token: StreamToken) -> None:
        if self._token_issuer is not None:
            self._token_issuer.use_up(token, self._now())

    def issue_stream_token(self, identity: Identity, limits: StreamTokenLimits | None = None) -> tuple[str, float]:
        """A token that opens one stream as this identity, within `limits`, and its end in seconds since the epoch.

        Raises `InvalidInput` where its grant does not fit into one.
        """
        assert self._token_issuer is not None, "an identity exists only after the first load"
        return self._token_issuer.issue(identity, self._now(), limits)

    def why_ended(self, identity: Identity) -> Unauthorized | None:
        """Why the credential behind an identity no longer holds; None while it does."""
        if identity.expires_at is not None and identity.expires_at <= self._now():
            return Unauthorized("the credential of this stream has expired", code="credential_expired")
        if identity.key_id is None:
            return None
        key = self._ring.find(identity.key_id)
        if key is None:
            return Unauthorized("the API key of this stream has been revoked", code="credential_revoked")
        # Of an open stream this is asked every second: its key is in use.
        self._ring.notes.note_use(identity.key_id)
        grant = identity.grant if identity.key_grant is None else identity.key_grant
        if (key.grant, key.expires_at) != (grant, identity.expires_at):
            # By SQL: there is no command for it. What was allowed before must not go on.
            return Unauthorized("the API key of this stream was changed; come back", code="credential_changed")
        return None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay current until the end of the block; the first load has been tried when it begins."""
        works = (self._reload_keys, self._reload_jwks)
        await asyncio.gather(*(work() for work in works))
        # Apart, so that a slow address of published keys does not put off a revocation.
        refreshing = [
            asyncio.create_task(self._repeat(work, pause_s), name="credentials")
            for work, pause_s in (*((work, _RELOAD_S) for work in works), (self._record_use, _RECORD_S))
        ]
        try:
            yield
        finally:
            # The last uses are recorded, unless the store is silent.
            giving_up = asyncio.get_running_loop().call_later(_LAST_RECORD_S, self._store.shutdown_socket)
            await self._record_use()
            giving_up.cancel()
            self._store.shutdown_socket()
            for task in refreshing:
                task.cancel()
            await asyncio.gather(*refreshing, return_exceptions=True)
            await self._store.close()

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await work()
            except Exception:
                # Unknown; but revocations must go on being noticed.
                logger.exception("Credentials could not be refreshed", extra={"action": "credentials_failed"})

    async def _reload_keys(self) -> None:
        try:
            version = await self._store.keys_version()
            if version != self._version:
                is_first = self._version is None
                changes = self._ring.replace(await self._store.keys())
                if not is_first:
                    _log_changes(changes)
                self._use_secrets(await self._store.stream_token_secrets())
                self._version = version
                logger.info("API keys read", extra={"action": "api_keys_read", "count": len(self._ring)})
                if is_first and not len(self._ring) and self._verifier is None:
                    logger.warning(
                        "No API keys exist; all requests will be rejected; create one with `flagent-cdc keys create`",
                        extra={"action": "api_keys_missing"},
                    )
            self._is_failing = False
        except SourceError as error:
            if not self._is_failing:
                logger.warning("API keys cannot be read", extra={"action": "api_keys_failed", "reason": str(error)})
            self._is_failing = True

    def _use_secrets(self, secrets: Sequence[TokenSecret]) -> None:
        if self._token_issuer is None:
            self._token_issuer = StreamTokenIssuer(secrets)
        elif self._token_issuer.replace(secrets):
            # The same issuer, which remembers the tokens that were used.
            logger.info("The secret of stream tokens was rotated", extra={"action": "token_secret_rotated"})

    async def _record_use(self) -> None:
        use = self._ring.notes.take()
        if not use:
            return
        try:
            new_keys = await self._store.record_use(use)
            self._is_failing_to_record = False
        except SourceError as error:
            self._ring.notes.put_back(use)
            if not self._is_failing_to_record:
                logger.warning(
                    "The use of API keys cannot be recorded", extra={"action": "key_use_failed", "reason": str(error)}
                )
            self._is_failing_to_record = True
            return
        for key_id in new_keys:
            if (identity := self._ring.find(key_id)) is not None:
                logger.info(
                    "An API key was used for the first time",
                    extra={"action": "api_key_first_used", "key": identity.name.removeprefix("key ")},
                )
        _log_refusals(use)

    async def _reload_jwks(self) -> None:
        if self._jwks is None or self._verifier is None:
            return
        age_s = None if self._jwks_read_at is None else time.monotonic() - self._jwks_read_at
        pause_s = _JWKS_PAUSE_S if self._verifier.misses_key or self._is_jwks_failing else _JWKS_RELOAD_S
        if age_s is not None and age_s < pause_s:
            return
        self._jwks_read_at = time.monotonic()
        try:
            keys = await self._jwks.read()
        except (OSError, ValueError, httpx2.HTTPError) as error:
            self._is_jwks_failing = True
            logger.warning("The JWK Set cannot be read", extra={"action": "jwks_failed", "reason": str(error)})
            return
        self._is_jwks_failing = False
        self._verifier.use((*self._own_keys, *keys))
        logger.info("JWK Set read", extra={"action": "jwks_read", "count": len(keys)})


def _log_changes(changes: Sequence[tuple[ApiKey, KeyChange]]) -> None:
    for key, change in changes[:_LOGGED_CHANGES]:
        logger.info(
            "An API key was created, changed, revoked or deleted",
            extra={"action": "api_key_changed", "key": key.prefix, "change": change},
        )


def _log_refusals(use: KeyUse) -> None:
    """One line for each known key and reason; strangers' prefixes are counted together."""
    strangers = 0
    for (prefix, reason), count in use.refused.items():
        if prefix is None or reason == "unknown":
            strangers += count
            continue
        logger.warning(
            "An API key was refused",
            extra={"action": "api_key_refused", "key": prefix, "reason": reason, "count": count},
        )
    if strangers:
        logger.warning(
            "Unknown API keys were refused",
            extra={"action": "api_key_refused", "reason": "unknown", "count": strangers},
        )
