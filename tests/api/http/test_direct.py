"""What goes from the routes to the protocol."""

from typing import Any

from api.http.answer import Answer, json_answer
from api.http.direct import DirectWay, Written
from api.routes.direct import DirectRoutes
from api.routes.plain_request import DirectRoute
from cdc.source.memory import MemoryLog
from tests.fixtures.server import serving

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def written(answer: Answer) -> Written:
    async with serving(MemoryLog()) as server:
        application: Any = server.uvicorn.config.app
        state = application.web.state
        (healthz,) = (route.endpoint for route in state.routes if route.path == "/healthz")
        way: DirectWay = DirectRoutes(state.services, state.routes, {healthz: DirectRoute(lambda _: answer)})
        head = way.head(HEAD)
        done = way.finish(head, way.begin(head, ("127.0.0.1", 1)), b"")
        assert isinstance(done, Written)
        return done


async def test_the_lines_of_the_headers_leave_room_for_the_length_alone() -> None:
    done = await written(json_answer("{}", (b"etag", b'"x"')))
    assert done.before.startswith(b'content-type: application/json\r\netag: "x"\r\n')
    assert done.before.endswith(b"\r\ncontent-length: ")
    assert done.after.startswith(b"\r\nx-content-type-options: nosniff\r\n")
    assert done.after.endswith(b"\r\n")
    assert (done.status, done.body, done.is_failure) == (200, b"{}", False)


async def test_an_answer_without_content_has_no_place_for_a_length() -> None:
    done = await written(Answer(304, ((b"etag", b'"x"'),), b""))
    assert b"content-length" not in done.before
    assert done.before.endswith(b"\r\n")
    assert done.after == b""
