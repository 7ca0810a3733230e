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
from .api_key import KEY_PREFIX, KeyRing
from .identity import Identity
from .json_web_token import JwtVerifier, VerificationKey
from .jwks_source import JwksSource
from .key_store import KeyStore
from .stream_token import StreamToken, StreamTokenIssuer, TokenSecret
from .stream_token_claims import StreamTokenLimits

__all__ = ["Authenticator"]

logger = logging.getLogger(__name__)

# A revoked key is noticed within this time.
_RELOAD_S = 1.0

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
        refreshing = [asyncio.create_task(self._repeat(work), name="credentials") for work in works]
        try:
            yield
        finally:
            self._store.shutdown_socket()
            for task in refreshing:
                task.cancel()
            await asyncio.gather(*refreshing, return_exceptions=True)
            await self._store.close()

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(_RELOAD_S)
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
                self._ring.replace(await self._store.keys())
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
