"""Authentication and authorization of requests and streams.

Ordinary requests, SSE streams and WebSockets share this code. Without an authenticator every request is authorized.
With one, every path requires a credential unless it is listed here as public, and a restricted credential is authorized
only for the paths that apply its grant: a new path is denied to it until it is added to `GRANT_AWARE_PATHS`. A
credential that allows nothing to be read opens the paths of its right `admin`, and no other.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from cdc.auth.authenticator import Authenticator
from cdc.auth.identity import ANYBODY, Identity
from cdc.auth.stream_token import TOKEN_PREFIX, StreamToken
from cdc.core.subscription.grant import Grant
from cdc.errors import TooBusy, Unauthorized

from ..http.problem import Problem
from .credential import header_credential, query_token
from .stream_place import StreamPlace

__all__ = [
    "GRANT_AWARE_PATHS",
    "IDENTITY",
    "AuthenticatedStream",
    "Authentication",
    "grant_of",
    "identity_of",
    "refuse_evaluation",
]

Headers = Sequence[tuple[bytes, bytes]]

IDENTITY = "flagent_cdc.identity"
"""The key of the identity in an ASGI scope."""

# The files of the page and of the documentation contain no data: the page reads it with the reader's credential.
_FILES = ("/page/", "/docs/")

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
        "/openapi.json",
    }
)

GRANT_AWARE_PATHS = (
    "/api/v1/flags",
    "/api/v1/changes",
    "/api/v1/tables",
    "/api/v1/evaluation",
    "/api/v1/exposures",
    "/api/v1/export/",
    "/api/v1/snapshot",
    "/api/v1/stream-tokens",
    "/ofrep/v1/evaluate/",
)
"""Prefixes of the paths that apply the grant of a restricted credential."""

_ADMIN_PATHS = frozenset({"/metrics", "/api/v1/status"})

# Open paths return every flag without a credential, but do not evaluate.
_OPEN = Identity("open path", Grant(evaluate=False))
_ANONYMOUS = Identity("anonymous", Grant(flags=frozenset(), tables=frozenset(), evaluate=False))

_CHALLENGE = 'Bearer realm="flagent-cdc"'


@dataclass(frozen=True, slots=True)
class AuthenticatedStream:
    """The identity behind a stream; None for a WebSocket that sends its credential as its first message.

    `token` is the stream token the identity comes from; `Authentication.consume_token` has to be called with it.
    `place` is where a WebSocket without a credential was opened.
    """

    identity: Identity | None
    token: StreamToken | None = None
    place: StreamPlace | None = None


_UNAUTHENTICATED = AuthenticatedStream(ANYBODY)


class Authentication:
    """Identifies clients by their credentials and authorizes their requests; raises `Problem` otherwise.

    `authenticator` None disables authentication. `cookie` is the name of the cookie that may hold a credential.
    `open_paths` need no credential.
    """

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
        """Whether API keys have been read, so that credentials can be checked."""
        return self.authenticator is None or self.authenticator.is_loaded

    def admit_request(self, path: str, headers: Headers) -> Identity:
        """The identity behind an ordinary request; raises `Problem`."""
        if self.authenticator is None:
            return ANYBODY
        if path in self._open_paths:
            return _OPEN
        credential = header_credential(headers, self._cookie)
        if path in _PUBLIC or path.startswith(_FILES):
            return self._identity_if_valid(self.authenticator, credential)
        identity = self._identify(self.authenticator, credential)
        grant = identity.grant
        if grant.admin and path in _ADMIN_PATHS:
            return identity
        if grant.reads_nothing or (grant.is_restricted and not path.startswith(GRANT_AWARE_PATHS)):
            raise _not_allowed()
        return identity

    def admit_stream(self, path: str, headers: Headers, query: bytes, *, may_wait: bool = False) -> AuthenticatedStream:
        """The identity behind a stream; raises `Problem`.

        With `may_wait` a request without a credential is accepted, with the identity None.
        """
        if self.authenticator is None:
            return _UNAUTHENTICATED
        if path in self._open_paths:
            return AuthenticatedStream(_OPEN)
        credential = header_credential(headers, None)
        if credential is None and (token := query_token(query)) is not None:
            return self.admit_token(token, StreamPlace.of(path, headers), is_from_url=True)
        if credential is None and (credential := header_credential(headers, self._cookie)) is None and may_wait:
            return AuthenticatedStream(None, place=StreamPlace.of(path, headers))
        return _reading(AuthenticatedStream(self._identify(self.authenticator, credential)))

    def admit_token(self, text: str, place: StreamPlace | None, *, is_from_url: bool = False) -> AuthenticatedStream:
        """The identity behind a credential of a stream at `place`; raises `Problem`.

        A URL may contain a stream token only. Without a place, a token that names one is refused.
        """
        authenticator = self.authenticator
        if authenticator is None:
            return _UNAUTHENTICATED
        if text.startswith(TOKEN_PREFIX):
            _refuse_until_loaded(authenticator)
            try:
                token = authenticator.read_stream_token(text)
            except Unauthorized as error:
                raise _refused(error) from error
            except TooBusy as error:
                raise Problem.of(error) from error
            _refuse_elsewhere(token, place)
            return _reading(AuthenticatedStream(token.holder, token))
        if is_from_url:
            raise Problem(
                401,
                "not_a_stream_token",
                "API keys and JWTs are not accepted in URLs; get a stream token from POST /api/v1/stream-tokens",
                challenge=_CHALLENGE,
            )
        return _reading(AuthenticatedStream(self._identify(authenticator, text)))

    def consume_token(self, authenticated: AuthenticatedStream) -> None:
        """Invalidate the token of a stream that opens; harmless without one."""
        if authenticated.token is not None and self.authenticator is not None:
            self.authenticator.use_up(authenticated.token)

    def _identity_if_valid(self, authenticator: Authenticator, credential: str | None) -> Identity:
        """The identity for a public path, which must not fail because of a bad credential."""
        if credential is None or not authenticator.is_loaded:
            return _ANONYMOUS
        try:
            return authenticator.identify(credential)
        except Unauthorized:
            return _ANONYMOUS

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
            503,
            "not_ready",
            "the server has not read its API keys yet; retry after the time in Retry-After",
            retry_after_s=1,
        )


def _reading(authenticated: AuthenticatedStream) -> AuthenticatedStream:
    """Raises `Problem` for a credential that a stream has nothing for."""
    if authenticated.identity is not None and authenticated.identity.grant.reads_nothing:
        raise _not_allowed()
    return authenticated


def _refuse_elsewhere(token: StreamToken, place: StreamPlace | None) -> None:
    path, origin = token.limits.path, token.limits.origin
    if path is not None and (place is None or place.path != path):
        raise Problem(403, "not_allowed", "this stream token was made for another path")
    if origin is not None and (place is None or not place.is_of(origin)):
        raise Problem(403, "not_allowed", "this stream token was made for pages of another origin")


def _not_allowed() -> Problem:
    return Problem(403, "not_allowed", "this credential is not authorized for this path")


def _missing() -> Problem:
    return Problem(
        401,
        "credential_missing",
        "this path requires a credential; send an API key or a JWT in the header Authorization: Bearer, "
        "or an API key in X-API-Key",
        challenge=_CHALLENGE,
    )


def _refused(error: Unauthorized) -> Problem:
    return Problem(401, error.code, str(error), challenge=f'{_CHALLENGE}, error="invalid_token"')


def identity_of(request: Request) -> Identity:
    """The identity behind a request; fails for a request that did not pass `Authentication.admit_request`."""
    return cast(Identity, request.scope[IDENTITY])


def grant_of(request: Request) -> Grant:
    """The grant of the identity behind a request."""
    return identity_of(request).grant


def refuse_evaluation(grant: Grant) -> None:
    """Raises `Problem` unless the grant allows evaluation."""
    if not grant.evaluate:
        raise Problem(403, "not_allowed", "this credential is not authorized for evaluation")
