"""Stream tokens: for browsers, which cannot give headers to an EventSource or a WebSocket."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from cdc.auth.stream_token import TOKEN_PREFIX
from cdc.core.errors import InvalidInput

from ..access.authentication import Authentication, identity_of
from ..http.problem import Problem

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["credentials"])


@router.post("/stream-tokens", summary="A token that opens one stream within a minute", status_code=201)
async def create(request: Request, response: Response) -> dict[str, str | None]:
    """Give it to the stream as the query parameter `token`. It carries the rights of the credential that asked, and its
    stream ends when that one ends. A lasting secret so stands in no address and no log."""
    guard: Authentication = request.app.state.guard
    response.headers["cache-control"] = "no-store"
    if guard.authenticator is None:
        # Nobody asks for it here; a client that is written for a server that does must work all the same.
        return {"token": f"{TOKEN_PREFIX}not-needed-here", "expiresAt": None}
    try:
        token, ends_at = guard.authenticator.issue_stream_token(identity_of(request))
    except InvalidInput as error:
        raise Problem.of_input(error) from error
    return {"token": token, "expiresAt": datetime.fromtimestamp(ends_at, UTC).isoformat().replace("+00:00", "Z")}
