"""The history of a flag, over HTTP."""

from itertools import pairwise

import httpx
import pytest

from cdc.core.log.position import EventId, Position
from tests.fixtures.flags import Writer
from tests.fixtures.history import history, newest
from tests.fixtures.server import DEADLINE_S, RunningServer


async def test_history_tells_who_changed_what_when(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.connection.execute("set application_name = 'a script'")
        flag = writer.flag("checkout")
        other = writer.flag("other")
        segment = writer.segment(flag, rollout=10)
        writer.run(f"update segments set rollout_percent = 50 where id = {segment}")
        # As Flagent saves: the content first, then its signature.
        writer.run(f"update flags set enabled = true where id = {flag}")
        writer.run(f"update flags set snapshot_id = 9, updated_by = 'alice', updated_at = now() where id = {flag}")
        writer.toggle(other)
        writer.run(f"update flags set key = 'renamed' where id = {flag}")
        writer.run(f"delete from flags where id = {flag}")
        user = writer.connection.info.user
        position = newest(writer)
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        renamed = await history(http, "renamed")
        changes = await history(http, "checkout")
    assert [(entry["events"], [change["path"] for change in entry["changed"]]) for entry in renamed] == [
        (["flag_deleted"], []),
        (["flag_deleted", "flag_created"], ["key"]),
    ]
    id = EventId.parse(renamed[0]["id"])
    assert (renamed[0]["position"], id) == (
        str(position),
        EventId(Position(position), None, server.pipeline.hub.catalog.log, id.hash),
    )
    assert id.hash is not None
    assert [entry["events"] for entry in changes] == [
        ["flag_deleted"],
        ["flag_updated", "flag_enabled"],
        ["segment_updated"],
        ["segment_updated"],
        ["flag_created"],
    ]
    assert changes[2]["changed"] == [{"path": f"segments[{segment}].rolloutPercent", "before": 10, "after": 50}]
    assert [entry["updatedBy"] for entry in changes] == [None, "alice", None, None, None]
    assert {(entry["user"], entry["application"]) for entry in changes} == {(user, "a script")}
    for newer, older in pairwise(changes[1:]):
        assert newer["before"]["id"] == older["after"]["id"]
        assert newer["committedAt"] > older["committedAt"]
        assert int(newer["position"]) > int(older["position"])
        assert newer["transactionId"] != older["transactionId"]


async def test_history_pages_join(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a/b")
        for number in range(7):
            writer.flag(f"noise{number}")
            writer.run(f"update flags set description = 'v{number}' where id = {flag}")
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as http:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cdc.history.flag_history._SCAN_CHANGES", 3)
            patch.setattr("cdc.history.rewind._PAGE_CHANGES", 2)
            seen, before = [], None
            while True:
                parameters = {"limit": 2} | ({} if before is None else {"before": before})
                page = (await http.get("/api/v1/flags/a%2Fb/history", params=parameters)).json()
                seen += [entry["after"]["description"] for entry in page["changes"]]
                if (before := page["next"]) is None:
                    break
        assert seen == ["v6", "v5", "v4", "v3", "v2", "v1", "v0", ""]
        assert "attached" in page["endsBecause"]
        assert [each["after"]["description"] for each in await history(http, "a/b")] == seen
        assert await history(http, "never-was") == []
        for bad in ("limit=0", "limit=201", "before=x", "before=2026-11-23T12:00:00Z", "schema=none"):
            assert (await http.get(f"/api/v1/flags/a/history?{bad}")).status_code in (400, 404), bad
