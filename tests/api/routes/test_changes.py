"""The change feed: every change exactly once, in order, in pages of any size, in every format."""

import asyncio
import gzip
import json
import random
import re
import time
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.position import Position
from cdc.database.queries import log_query
from tests.fixtures.changes import CHANGES, everything, page
from tests.fixtures.flags import Writer
from tests.fixtures.random_writer import writing
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, until

SECRET = "a secret of more than thirty-two bytes"


def client(server: RunningServer, credential: dict[str, Any] | None = None) -> httpx.AsyncClient:
    headers = {"accept-encoding": "identity"}
    if credential is not None:
        claims = {"sub": "u", "exp": time.time() + 300, "flagent_cdc": credential}
        headers["authorization"] = f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
    return httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S, headers=headers)


async def problem(http: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    response = await http.get(CHANGES, params=parameters)
    assert response.headers["content-type"] == "application/problem+json", response.text
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    return document


def fold(tables: dict[str, dict[int, Any]], changes: list[dict[str, Any]]) -> None:
    """What a consumer does: keep each row under its key."""
    for change in changes:
        rows = tables.setdefault(change["table"], {})
        if change["op"] == "truncate":
            rows.clear()
            continue
        key = change["key"]["id"]
        if change["op"] == "insert":
            assert key not in rows
        else:
            assert rows[key] == change["before"]
            del rows[key]
        if change["op"] != "delete":
            rows[change["after"]["id"]] = change["after"]


def newest(writer: Writer) -> int:
    row = writer.connection.execute("select coalesce(max(position), 0) from flagent_cdc.commit_log").fetchone()
    assert row is not None
    return int(row[0])


# -- every change exactly once ---------------------------------------------------------------------------------------


async def test_folding_the_pages_from_any_cursor_gives_the_tables(server: RunningServer, database_url: str) -> None:
    with writing(database_url, seed="feed", count=3):
        assert await server.pipeline.hub.reached(Position(150), DEADLINE_S)
    rng = random.Random(5)
    async with client(server) as http:
        whole = await everything(http)
        places = [(int(change["position"]), change["index"]) for change in whole]
        assert places == sorted(set(places))
        assert {change["op"] for change in whole} == {"insert", "update", "delete", "truncate"}
        for _ in range(6):
            tables: dict[str, dict[int, Any]] = {}
            cut = rng.randrange(len(whole))
            fold(tables, whole[: cut + 1])
            rest = await everything(http, whole[cut]["cursor"], limit=rng.choice([1, 2, 3, 7, 50, 500]))
            assert rest == whole[cut + 1 :]
            fold(tables, rest)
            with psycopg.connect(database_url) as connection:
                for table in TABLES:
                    statement = f"select (to_json(t)->>'id')::int, to_json(t) from public.{table} t".encode()
                    assert tables.get(f"public.{table}", {}) == dict(connection.execute(statement).fetchall()), table


async def test_a_huge_commit_comes_in_pages(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("before")
        begin = f"{newest(writer)}@{server.pipeline.hub.catalog.log}"
        writer.run("insert into tags (value, created_at) select 't' || n, now() from generate_series(1, 10000) n")
        writer.flag("after")
    async with client(server) as http:
        sizes, after, values = [], begin, []
        while True:
            one = await page(http, after=after, limit=1500)
            sizes.append(len(one["changes"]))
            values += [change["after"].get("value") for change in one["changes"]]
            after = one["next"]
            if one["isOpen"]:
                break
        assert sizes == [1500] * 6 + [1001]
        assert values == [f"t{n}" for n in range(1, 10_001)] + [None]
        # The large commit is passed over, not read, by who asks for another table.
        assert [change["after"]["key"] for change in await everything(http, begin, table="flags")] == ["after"]


async def test_large_rows_make_short_pages(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = f"{newest(writer)}@{server.pipeline.hub.catalog.log}"
        rows = "select 'k' || n, repeat(md5(n::text), 100000), now() from generate_series(1, 6) n"
        writer.run(f"insert into flags (key, description, created_at) {rows}")
        writer.run("insert into flags (key, description, created_at) values ('huge', repeat('x', 12000000), now())")
        writer.flag("small")
    async with client(server) as http:
        keys, after = [], begin
        while True:
            one = await page(http, after=after)
            keys.append([change["after"]["key"] for change in one["changes"]])
            after = one["next"]
            if one["isOpen"]:
                break
    # Three megabytes each; a page holds eight, but at least one row.
    assert keys == [["k1", "k2"], ["k3", "k4"], ["k5", "k6"], ["huge"], ["small"]]


async def test_a_change_tells_where_it_came_from(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.connection.execute("set application_name = 'a script'")
        writer.run("insert into flags (key, description, created_at) values ('a', '', now()), ('b', '', now())")
        row = writer.connection.execute(
            "select position, xid::text, to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
            " from flagent_cdc.commit_log order by position desc limit 1"
        ).fetchone()
        assert row is not None
        user = writer.connection.info.user
    async with client(server) as http:
        one, two = (await everything(http, table="public.flags"))[-2:]
    for index, change in ((1, one), (2, two)):
        assert (change["position"], change["index"], change["count"]) == (str(row[0]), index, 2)
        assert (change["transactionId"], change["committedAt"]) == row[1:]
        assert (change["user"], change["application"]) == (user, "a script")
        assert (change["schema"], change["table"], change["op"]) == ("public", "public.flags", "insert")
    assert two["after"]["key"] == "b"


# -- cursors that cannot be continued --------------------------------------------------------------------------------


async def test_a_cursor_that_cannot_be_continued_says_why_and_where_to_begin(
    server: RunningServer, database_url: str
) -> None:
    log = server.pipeline.hub.catalog.log
    with Writer(database_url) as writer:
        for number in range(6):
            writer.flag(f"f{number}")
        writer.run("update flags set description = 'x'")
        last = newest(writer)
        cut = last - 3
        for table, column in (("change_log", "transaction_group"), ("commit_log", "position")):
            bounds = f"(select {column} from flagent_cdc.commit_log where position < {cut})"
            writer.run(f"delete from flagent_cdc.{table} where {column} in {bounds}")
    async with client(server) as http:
        for after, code in (
            (f"{cut - 2}@{log}", "pruned"),
            (f"{cut - 1}.1@{log}", "pruned"),
            (f"0@{log}", "pruned"),
            (f"{last + 1}@{log}", "ahead"),
            (f"{last}@zzzzzz", "log_replaced"),
        ):
            refused = await problem(http, after=after)
            assert (refused["status"], refused["code"]) == (410, code), after
            assert refused["oldestPosition"] == str(cut)
            assert refused["detail"]
        for after in ("", "yesterday", str(last), f"{last}-0@{log}"):
            refused = await problem(http, after=after)
            assert (refused["status"], refused["code"], refused["parameter"]) == (400, "invalid_cursor", "after")
        # Without a cursor one begins anew, with all that there is.
        whole = await everything(http)
        assert int(whole[0]["position"]) == cut
        assert await everything(http, f"{cut - 1}@{log}") == whole
        assert len(await everything(http, f"{last}.4@{log}")) == 2
        writer_less = "delete from flagent_cdc.change_log"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(writer_less)
        assert (await problem(http))["code"] == "pruned"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"waitMs": -1}, "waitMs"),
        ({"waitMs": 60_001}, "waitMs"),
        ({"table": ""}, "table"),
        ({"table": "x" * 300}, "table"),
        ({"format": "avro"}, "format"),
    ],
)
async def test_bad_parameters_are_refused_by_name(
    memory_server: RunningServer, parameters: dict[str, Any], name: str
) -> None:
    async with client(memory_server) as http:
        refused = await problem(http, **parameters)
    assert (refused["status"], refused["code"]) == (400, "invalid_parameter")
    assert name in refused["parameter"]


async def test_a_database_that_is_away_is_a_problem_to_come_back_from(server: RunningServer, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table flagent_cdc.commit_log rename to elsewhere")
    async with client(server) as http:
        response = await http.get(CHANGES)
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response.headers["retry-after"] == "1"


# -- long polls ------------------------------------------------------------------------------------------------------


async def test_a_long_poll_is_answered_by_the_next_change(server: RunningServer, database_url: str) -> None:
    async with client(server) as http:
        end = (await page(http))["next"]
        assert await page(http, after=end, waitMs=50) == {"changes": [], "next": end, "isOpen": True}
        waiting = [asyncio.create_task(page(http, after=end, waitMs=15_000)) for _ in range(5)]
        picky = asyncio.create_task(page(http, after=end, waitMs=15_000, table="tags"))
        await until(lambda: server.pipeline.changes._waiting == 6, "six waiting readers")
        with Writer(database_url) as writer:
            flag = writer.flag("a")
            for found in await asyncio.gather(*waiting):
                assert [change["after"]["key"] for change in found["changes"]] == ["a"]
            assert not picky.done()
            writer.tag(flag, "t")
        found = await picky
        assert [change["table"] for change in found["changes"]] == ["public.tags"]
        assert found["next"] != end


async def test_who_waits_is_answered_when_the_server_ends(database_url: str) -> None:
    async with serving(database_url) as server, client(server) as http:
        end = (await page(http))["next"]
        waiting = asyncio.create_task(page(http, after=end, waitMs=60_000))
        await until(lambda: server.pipeline.changes._waiting == 1, "a waiting reader")
        server.uvicorn.should_exit = True
        assert await asyncio.wait_for(waiting, DEADLINE_S) == {"changes": [], "next": end, "isOpen": True}


async def test_too_many_that_wait_are_told_not_to(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.change_feed.page_reader._MAX_WAITING", 1)
    async with client(server) as http:
        end = (await page(http))["next"]
        waiting = asyncio.create_task(page(http, after=end, waitMs=1_000))
        await until(lambda: server.pipeline.changes._waiting == 1, "a waiting reader")
        refused = await problem(http, after=end, waitMs=1_000)
        assert (refused["status"], refused["code"]) == (503, "too_busy")
        assert (await waiting)["changes"] == []
        assert (await page(http, after=end))["changes"] == []


# -- caches ----------------------------------------------------------------------------------------------------------


async def test_pages_of_the_past_may_be_cached_and_the_open_end_never(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = f"{newest(writer)}@{server.pipeline.hub.catalog.log}"
        for number in range(4):
            writer.flag(f"f{number}")
        async with client(server) as http:
            past = await http.get(CHANGES, params={"after": begin, "limit": 2})
            assert past.headers["cache-control"] == "public, max-age=86400, immutable"
            writer.flag("later")
            again = await http.get(CHANGES, params={"after": begin, "limit": 2})
            assert (again.content, again.headers["etag"]) == (past.content, past.headers["etag"])
            unchanged = await http.get(
                CHANGES, params={"after": begin, "limit": 2}, headers={"if-none-match": past.headers["etag"]}
            )
            assert (unchanged.status_code, unchanged.content) == (304, b"")
            following = await http.get(past.url.join(past.links["next"]["url"]))
            assert following.json()["changes"][0]["after"]["key"] == "f2"
            # Behind a proxy that removes a prefix, the address is below the prefix.
            outside = httpx.URL("https://flags.example.com/flags/api/v1/changes").join(past.links["next"]["url"])
            assert (outside.path, outside.params["limit"]) == ("/flags/api/v1/changes", "2")
            # What ends where the log ends, and what begins where it is pruned, changes.
            ends: list[dict[str, Any]] = [{"after": begin, "limit": 5}, {"limit": 1}, {"after": begin, "limit": 500}]
            for parameters in ends:
                response = await http.get(CHANGES, params=parameters)
                assert response.headers["cache-control"] == "no-store", parameters
                assert "etag" not in response.headers


async def test_pages_are_compressed_for_who_can_read_that(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("insert into tags (value, created_at) select 't' || n, now() from generate_series(1, 300) n")
    async with client(server) as http:
        plain = await http.get(CHANGES, headers={"accept-encoding": "gzip;q=0, identity"})
        async with http.stream("GET", CHANGES, headers={"accept-encoding": "gzip"}) as response:
            assert response.headers["content-encoding"] == "gzip"
            raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert "accept-encoding" in plain.headers["vary"]
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 4


# -- formats ---------------------------------------------------------------------------------------------------------


async def test_debezium_and_cloudevents_tell_the_same_changes(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        begin = f"{newest(writer)}@{server.pipeline.hub.catalog.log}"
        flag = writer.flag("a")
        writer.toggle(flag)
        writer.run(f"update flags set id = 77 where id = {flag}")
        writer.run("delete from flags where id = 77")
    async with client(server) as http:
        plain = await everything(http, begin)
        records = (await page(http, after=begin, format="debezium"))["changes"]
        batch = await http.get(CHANGES, params={"after": begin, "format": "cloudevents"})
    assert [change["op"] for change in plain] == ["insert", "update", "update", "delete"]
    # A changed key is a deletion and a creation there.
    assert [record["value"]["op"] for record in records] == ["c", "u", "d", "c", "d"]
    with psycopg.connect(database_url) as connection:
        assert {record["value"]["source"]["db"] for record in records} == {connection.info.dbname}
    assert [record["value"]["after"] for record in records if record["value"]["op"] in "cu"] == [
        change["after"] for change in plain if change["after"]
    ]
    assert batch.headers["content-type"].startswith("application/cloudevents-batch+json")
    events = [JSONFormat().read(CloudEvent, json.dumps(event)) for event in batch.json()]
    assert [event.get_data() for event in events] == plain
    assert [event.get_id() for event in events] == [change["cursor"] for change in plain]
    assert [event.get_type() for event in events][-1] == "flagent_cdc.row_deleted"
    assert [event.get_extension("sequence") for event in events] == sorted(
        event.get_extension("sequence") for event in events
    )
    assert batch.headers["flagent-next"] == plain[-1]["cursor"]


# -- rights ----------------------------------------------------------------------------------------------------------


async def test_rows_of_flags_are_for_those_alone_who_may_see_every_flag(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("web-a")
    async with serving(database_url, auth_jwt_secret=SECRET) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get(CHANGES)).status_code == 401
        opening: list[dict[str, Any]] = [{}, {"schemas": ["public"]}]
        for scopes in opening:
            async with client(server, scopes) as http:
                assert [change["table"] for change in await everything(http)][-1] == "public.flags", scopes
                past = await http.get(CHANGES, params={"limit": 1, "after": f"0@{server.pipeline.hub.catalog.log}"})
                assert past.headers["cache-control"].startswith("private")
                assert "authorization" in past.headers["vary"]
        of_flags: list[dict[str, Any]] = [
            {"flags": ["web-*"]},
            {"tags": ["x"]},
            {"projects": [1]},
            {"environments": [1]},
        ]
        for scopes in of_flags:
            async with client(server, scopes) as http:
                refused = await problem(http)
                assert (refused["status"], refused["code"]) == (403, "not_allowed"), scopes
        for scopes in (
            {"tables": ["*"]},
            {"tables": ["flags", "public.flags"]},
            {"tables": ["*"], "flags": ["*"]},
            {"schemas": ["tenant"]},
        ):
            async with client(server, scopes) as http:
                assert await everything(http) == [], scopes
                one = await page(http, limit=1)
                assert (one["changes"], one["isOpen"]) == ([], False)


def test_a_page_within_a_huge_commit_reads_that_page_alone(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.run("insert into tags (value, created_at) select 't' || n, now() from generate_series(1, 20000) n")
        writer.run("analyze flagent_cdc.change_log", "analyze flagent_cdc.commit_log")
        bounds = {"position": newest(writer), "index": 15_000, "limit": 100, "scan": 100, "tables": None}
        statement = "explain (analyze, timing off, costs off, format text) " + log_query("changes_after", "flags")
        plan = [
            str(line)
            for (line,) in writer.connection.execute(
                statement.encode(), {**bounds, "most_bytes": 1_000_000, "seen": None}
            ).fetchall()
        ]
    scans = [line for line in plan if "Scan" in line and " on change_log" in line]
    assert len(scans) == 2
    assert all("Index Scan using" in line for line in scans), scans
    assert max(int(rows) for line in plan for rows in re.findall(r"actual rows=(\d+)", line)) <= 101
