"""Flags as Flagent's own API lists them."""

import httpx

from cdc.core.log.position import Position
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer


async def test_flags_are_listed_newest_first_with_a_total(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        ids = [writer.flag(f"f{n}", enabled=n % 2 == 0, description=f"Number {n}") for n in range(5)]
        writer.segment(ids[0])
        writer.tag(ids[3], "payment")
        writer.run(
            "update flags set environment_id = 8 where key = 'f0'",
            "update flags set environment_id = 7, project_id = 9 where key = 'f4'",
        )
        async with httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
            assert await server.pipeline.hub.reached(Position(9), DEADLINE_S)
            page = await client.get("/flags", params={"limit": 2, "offset": 1})
            assert [flag["key"] for flag in page.json()] == ["f3", "f2"]
            assert page.headers["x-total-count"] == "5"
            for params, keys in (
                ({"enabled": "true"}, ["f4", "f2", "f0"]),
                ({"tags": "other,payment"}, ["f3"]),
                ({"descriptionLike": "number 1"}, ["f1"]),
                ({"key": "f2"}, ["f2"]),
                ({"description": "Number 2"}, ["f2"]),
                ({"description": "number 2"}, []),
                ({"environmentId": "7"}, ["f4", "f3", "f2", "f1"]),
                ({"projectId": "9"}, ["f4"]),
                ({"enabled": "true", "limit": "1", "offset": "1"}, ["f2"]),
                ({"limit": "0"}, []),
                ({"deleted": "true"}, []),
                ({"includeArchived": "true"}, []),
            ):
                assert [flag["key"] for flag in (await client.get("/flags", params=params)).json()] == keys
            assert (await client.get("/flags")).json()[-1]["segments"] == []
            whole = (await client.get("/flags", params={"preload": "true"})).json()[-1]
            assert len(whole["segments"]) == 1
            assert (await client.get(f"/flags/{ids[0]}")).json() == whole
            assert (await client.get("/flags/999")).status_code == 404
            assert (await client.get("/flags/x")).status_code == 400
            assert (await client.get("/health")).json() == {"status": "OK"}
            assert "version" in (await client.get("/info")).json()
