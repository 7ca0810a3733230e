"""The export as clients evaluate with it."""

import httpx

from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer


async def test_attachments_are_exported_as_evaluation_gives_them(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        writer.toggle(1)
        writer.variant(1, "on")
        writer.segment(1)
        writer.run("update segments set rollout_percent = 100")
        writer.run("insert into distributions (segment_id, variant_id, percent, created_at) values (1, 1, 100, now())")
        writer.run("""update variants set attachment = '{"label": "\\"x\\""}'""")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        # The export waits for all that is committed; evaluation then sees the same.
        (flag,) = (await client.get("/api/v1/export/eval_cache/json")).json()["flags"]
        result = (await client.post("/api/v1/evaluation", json={"flagKey": "a", "entityID": "u"})).json()
    assert flag["variants"][0]["attachment"] == {"label": '"x"'}
    assert result["variantAttachment"] == {"label": '"x"'}
