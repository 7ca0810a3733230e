"""Stream tokens, for browsers: EventSource and WebSocket cannot send headers."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from cdc.auth.stream_token import TOKEN_PREFIX
from cdc.core.errors import InvalidInput

from ..access.authentication import Authentication, identity_of
from ..http.problem import Problem

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["credentials"])


@router.post("/stream-tokens", summary="Create a token that opens one stream within a minute", status_code=201)
async def create(request: Request) -> dict[str, str | None]:
    """Pass it to the stream as the query parameter `token`. It has the rights of the credential of this request, and
    the stream ends when that credential ends. This keeps lasting secrets out of URLs and logs."""
    authentication: Authentication = request.app.state.authentication
    if authentication.authenticator is None:
        # Without authentication no token is needed, but clients written for a server with it have to work too.
        return {"token": f"{TOKEN_PREFIX}not-needed-here", "expiresAt": None}
    try:
        token, ends_at = authentication.authenticator.issue_stream_token(identity_of(request))
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return {"token": token, "expiresAt": datetime.fromtimestamp(ends_at, UTC).isoformat().replace("+00:00", "Z")}
