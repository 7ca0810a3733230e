"""Stream tokens, for browsers: EventSource and WebSocket cannot send headers."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from cdc.auth.stream_token import TOKEN_PREFIX
from cdc.auth.stream_token_claims import StreamTokenLimits
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant

from ..access.authentication import Authentication, identity_of
from ..http.problem import Problem
from ..http.request_body import read_body

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["credentials"])

_PATH = re.compile(r"/[!-~]{0,255}", re.ASCII)
_ORIGIN = re.compile(r"https?://[a-z0-9._\[\]:-]{1,247}", re.ASCII | re.IGNORECASE)

_BODY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "scopes": {
            "type": "object",
            "description": "Scopes as those of an API key. The token allows what both they and the credential allow.",
        },
        "path": {
            "type": "string",
            "description": "The path of the only stream that the token opens.",
            "pattern": f"^{_PATH.pattern}$",
        },
        "origin": {
            "type": "string",
            "description": "The only origin whose pages may use the token, as a browser sends it.",
            "maxLength": 255,
        },
    },
}


@router.post(
    "/stream-tokens",
    summary="Create a token that opens one stream within a minute",
    status_code=201,
    openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": _BODY}}}},
)
async def create(request: Request) -> dict[str, str | None]:
    """Pass it to the stream as the query parameter `token`. It has the rights of the credential of this request, or
    less if the body narrows it, and the stream ends when that credential ends. This keeps lasting secrets out of URLs
    and logs."""
    authentication: Authentication = request.app.state.authentication
    try:
        limits = _limits(await read_body(request))
        if authentication.authenticator is None:
            # Without authentication no token is needed, but clients written for a server with it have to work too.
            return {"token": f"{TOKEN_PREFIX}not-needed-here", "expiresAt": None}
        token, ends_at = authentication.authenticator.issue_stream_token(identity_of(request), limits)
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return {"token": token, "expiresAt": datetime.fromtimestamp(ends_at, UTC).isoformat().replace("+00:00", "Z")}


def _limits(body: bytes) -> StreamTokenLimits:
    """What the body of the request narrows; an empty one nothing. Raises `InvalidInput`."""
    if not body.strip():
        return StreamTokenLimits()
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body must be empty or a JSON object") from error
    if not isinstance(given, Mapping):
        raise InvalidInput("the body must be empty or a JSON object")
    unknown = given.keys() - _BODY["properties"].keys()
    if unknown:
        # Never ignored: the token would be wider than its client believes.
        raise InvalidInput("the body may have scopes, path and origin, and nothing else", name=min(unknown)[:64])
    scopes = Grant.parse(given["scopes"]) if "scopes" in given else None
    path = _text(given, "path", _PATH, "the path of a stream, such as /api/v1/events/stream")
    origin = _text(given, "origin", _ORIGIN, "an origin, such as https://app.example")
    return StreamTokenLimits(scopes, path, None if origin is None else _as_sent(origin))


def _text(given: Mapping[str, Any], name: str, form: re.Pattern[str], wanted: str) -> str | None:
    if name not in given:
        return None
    text = given[name]
    if not isinstance(text, str) or form.fullmatch(text) is None:
        raise InvalidInput(f"{name} must be {wanted}", name=name)
    return text


def _as_sent(origin: str) -> str:
    """An origin as browsers write it: in lower case, without the default port of its scheme."""
    lower = origin.lower()
    return lower.removesuffix(":443" if lower.startswith("https:") else ":80")
