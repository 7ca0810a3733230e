"""Problems as plain ASGI responses."""

from starlette.types import Send

from .problem import Problem

__all__ = ["send_problem"]


async def send_problem(send: Send, problem: Problem) -> None:
    """Send the problem as a complete response."""
    body = problem.body()
    headers = [*problem.headers(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
