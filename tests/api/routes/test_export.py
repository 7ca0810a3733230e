"""The export as clients evaluate with it."""

import httpx

from tests.fixtures.flags import Writer
from tests.fixtures.present_client import present_client
from tests.fixtures.server import DEADLINE_S, RunningServer, serving


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


async def test_flags_are_exported_newest_first_as_flagent_exports_them(
    server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        for key in ("b", "c", "a"):
            writer.flag(key, enabled=True)
        writer.flag("off")
        writer.run("update flags set description = 'touched' where key = 'b'")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        export = (await client.get("/api/v1/export/eval_cache/json")).json()
    assert [flag["key"] for flag in export["flags"]] == ["a", "c", "b"]


async def test_the_export_has_a_tag_a_revision_and_gzip(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with httpx.AsyncClient(base_url=server.url) as client:
            writer.flag("on", enabled=True)
            writer.flag("off")
            path = "/api/v1/export/eval_cache/json"
            first = await client.get(path)
            assert [flag["key"] for flag in first.json()["flags"]] == ["on"]
            assert first.headers["content-encoding"] == "gzip"
            again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            writer.flag("on2", enabled=True)
            changed = await client.get(path, headers={"if-none-match": first.headers["etag"]})
            plain = await client.get(path, headers={"accept-encoding": "gzip;q=0, identity"})
    assert changed.status_code == 200
    assert "content-encoding" not in plain.headers
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json() == plain.json()
    assert plain.json()["revision"] == plain.headers["etag"].removeprefix("W/").strip('"')


async def test_the_export_of_one_server_is_never_older_than_an_event_of_another(database_url: str) -> None:
    async with serving(database_url) as one, serving(database_url) as other:
        with Writer(database_url) as writer:
            async with present_client(one) as client, httpx.AsyncClient(base_url=other.url) as refetch:
                for number in range(30):
                    writer.flag(f"f{number}", enabled=True)
                    await client.event_and_state()
                    export = (await refetch.get("/api/v1/export/eval_cache/json")).json()
                    assert len(export["flags"]) == number + 1
