"""Who comes in, and with what rights.

The same guard stands before every kind of connection. Without an authenticator everyone may do everything. With one,
every path asks for a credential unless it is named here, and a restricted one opens only paths that are known to heed
restrictions: a new surface is closed to it until it is added.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from cdc.auth.authenticator import Authenticator
from cdc.auth.identity import ANYBODY, Identity
from cdc.auth.stream_token import TOKEN_PREFIX, StreamToken
from cdc.core.subscription.grant import Grant
from cdc.errors import Unauthorized

from ..http.problem import Problem
from .credential import lasting_credential, query_token

__all__ = ["IDENTITY", "AuthenticatedStream", "Authentication", "grant_of", "identity_of", "refuse_evaluation"]

Headers = Sequence[tuple[bytes, bytes]]

IDENTITY = "flagent_cdc.identity"
"""Where in an ASGI scope the identity stands."""

# The page and what it is made of carry no data; what it shows, it asks for like anybody else.
_PAGE = "/page/"

_PUBLIC = frozenset(
    {
        "/",
        "/healthz",
        "/readyz",
        "/api/v1/health",
        "/api/v1/info",
        "/realtime/sse/health",
        "/api/v1/realtime/sse/health",
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
    }
)

_HEEDING = (
    "/api/v1/flags",
    "/api/v1/changes",
    "/api/v1/tables",
    "/api/v1/evaluation",
    "/api/v1/export/",
    "/api/v1/stream-tokens",
    "/ofrep/v1/evaluate/",
)

# On what is open to all, everyone reads all, but nothing else.
_OPEN = Identity("open path", Grant(evaluate=False))
_STRANGER = Identity("nobody", Grant(flags=frozenset(), tables=frozenset(), evaluate=False))

_CHALLENGE = 'Bearer realm="flagent-cdc"'


@dataclass(frozen=True, slots=True)
class AuthenticatedStream:
    """Who a stream is for; a stream token must be used up when the stream opens. `identity` None: not known yet."""

    identity: Identity | None
    token: StreamToken | None = None


_UNASKED = AuthenticatedStream(ANYBODY)


class Authentication:
    def __init__(
        self,
        authenticator: Authenticator | None = None,
        *,
        cookie: str = "access_token",
        open_paths: Collection[str] = (),
    ) -> None:
        self.authenticator = authenticator
        self._cookie = cookie
        self._open_paths = frozenset(open_paths)

    @property
    def is_loaded(self) -> bool:
        return self.authenticator is None or self.authenticator.is_loaded

    def admit_request(self, path: str, headers: Headers) -> Identity:
        """Decide about an ordinary request; raises `Problem`."""
        if self.authenticator is None:
            return ANYBODY
        if path in self._open_paths:
            return _OPEN
        credential = lasting_credential(headers, self._cookie)
        if path in _PUBLIC or path.startswith(_PAGE):
            return self._perhaps(self.authenticator, credential)
        identity = self._identify(self.authenticator, credential)
        if identity.grant.is_restricted and not path.startswith(_HEEDING):
            raise Problem(403, "not_allowed", "this credential does not open this path")
        return identity

    def admit_stream(self, path: str, headers: Headers, query: bytes, *, may_wait: bool = False) -> AuthenticatedStream:
        """Decide about a stream; raises `Problem`. With `may_wait` one without any credential may still send it."""
        if self.authenticator is None:
            return _UNASKED
        if path in self._open_paths:
            return AuthenticatedStream(_OPEN)
        credential = lasting_credential(headers, None)
        if credential is None and (token := query_token(query)) is not None:
            return self.admit_token(token, only_brief=True)
        if credential is None and (credential := lasting_credential(headers, self._cookie)) is None and may_wait:
            return AuthenticatedStream(None)
        return AuthenticatedStream(self._identify(self.authenticator, credential))

    def admit_token(self, text: str, *, only_brief: bool = False) -> AuthenticatedStream:
        """Decide about a credential that was given as text; raises `Problem`."""
        authenticator = self.authenticator
        if authenticator is None:
            return _UNASKED
        if text.startswith(TOKEN_PREFIX):
            _refuse_until_loaded(authenticator)
            try:
                token = authenticator.read_stream_token(text)
            except Unauthorized as error:
                raise _refused(error) from error
            return AuthenticatedStream(token.holder, token)
        if only_brief:
            raise Problem(
                401,
                "not_a_stream_token",
                "a lasting credential must not stand in an address; POST /api/v1/stream-tokens gives a token for it",
                challenge=_CHALLENGE,
            )
        return AuthenticatedStream(self._identify(authenticator, text))

    def use_up(self, entrant: AuthenticatedStream) -> None:
        """The stream opens: its token, if it came by one, opens no other here."""
        if entrant.token is not None and self.authenticator is not None:
            self.authenticator.use_up(entrant.token)

    def _perhaps(self, authenticator: Authenticator, credential: str | None) -> Identity:
        """Who it is, if anybody: what is open to all must not fail for a bad credential."""
        if credential is None or not authenticator.is_loaded:
            return _STRANGER
        try:
            return authenticator.identify(credential)
        except Unauthorized:
            return _STRANGER

    def _identify(self, authenticator: Authenticator, credential: str | None) -> Identity:
        _refuse_until_loaded(authenticator)
        if credential is None:
            raise _missing()
        try:
            return authenticator.identify(credential)
        except Unauthorized as error:
            raise _refused(error) from error


def _refuse_until_loaded(authenticator: Authenticator) -> None:
    if not authenticator.is_loaded:
        raise Problem(
            503, "not_ready", "the keys have not been read from the database yet; come back soon", retry_after_s=1
        )


def _missing() -> Problem:
    return Problem(
        401,
        "credential_missing",
        "send an API key or a token as Authorization: Bearer, or an API key as X-API-Key",
        challenge=_CHALLENGE,
    )


def _refused(error: Unauthorized) -> Problem:
    return Problem(401, error.code, str(error), challenge=f'{_CHALLENGE}, error="invalid_token"')


def identity_of(request: Request) -> Identity:
    """Who sent a request; a path that the guard has not seen fails here."""
    return cast(Identity, request.scope[IDENTITY])


def grant_of(request: Request) -> Grant:
    return identity_of(request).grant


def refuse_evaluation(grant: Grant) -> None:
    """Raises `Problem` where a credential may not evaluate."""
    if not grant.evaluate:
        raise Problem(403, "not_allowed", "this credential does not allow evaluation")
