"""The captured tables: their list, the schema of their rows, and all rows joined to the changes that follow."""

import asyncio
import contextlib
import itertools
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import jwt
import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg.conninfo import make_conninfo
from websockets.asyncio.client import connect

from cdc.admin.installation import migrate
from tests.fixtures.changes import everything
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse, until
from tests.fixtures.websocket import receive

SECRET = "a secret of more than thirty-two bytes"

TYPES = """
create type mood as enum ('sad', 'it''s "fine"');
create type place as (street text, number int);
create domain positive as numeric check (value > 0);
create table everything (
    id bigint primary key, b boolean, s smallint, i integer, r real, d double precision, n numeric(40, 20), t text,
    v varchar(5), c char(3), j json, jb jsonb, day date, ts timestamp, tz timestamptz, tm time, iv interval, u uuid,
    by bytea, ints integer[], texts text[], m mood, moods mood[], p place, places place[], pos positive, net inet,
    range int4range, x xml, mon money, bits bit(3), ranges int4multirange, pt point, vec tsvector
);
insert into everything values
    (1, true, 1, 2, 1.5, 2.5, 12345678901234567890.12345678901234567890, 'a', 'ab', 'abc', '{"a": [1]}', '[null]',
     '2026-11-23', '2026-11-23 12:00', '2026-11-23 12:00+01', '12:00', '1 day', gen_random_uuid(), '\\x00ff',
     '{1,null,3}', '{{a,b},{c,d}}', 'sad', '{sad}', ('x', 1), array[('y', null)::place], 1.5, '10.0.0.1', '[1,5)',
     null, 12.5, '101', '{[1,2)}', '(1,2)', 'a b'),
    (2, false, -1, -2, 'NaN', 'Infinity', 'NaN', '', '', '', '1', '"s"', 'infinity', '-infinity', 'infinity',
     null, null, null, '', '{}', '{}', null, '{}', (null, null), '{}', 7, null, 'empty',
     null, null, null, '{}', null, ''),
    (3, null, null, null, null, null, null, null, null, null, null, null, '0044-03-15 BC', '12026-01-01',
     '0044-03-15 BC', null, null, null, null, '[5:6]={1,2}', null, 'it''s "fine"', null, null, null,
     null, null, null, null, null, null, null, null, null);
"""


class Session:
    """One that a data team has."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def run(self, text: str) -> None:
        self.connection.execute(text.encode())

    def all(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(text.encode()).fetchall()


@pytest.fixture
def team(database_url: str) -> Iterator[Session]:
    session = Session(database_url)
    yield session
    session.connection.close()


def client(server: RunningServer, scopes: dict[str, Any] | None = None) -> httpx.AsyncClient:
    headers = {}
    if scopes is not None:
        claims = {"sub": "u", "exp": time.time() + 300, "flagent_cdc": scopes}
        headers["authorization"] = f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
    return httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S, headers=headers)


async def rows_of(http: httpx.AsyncClient, table: str, **parameters: str) -> tuple[list[dict[str, Any]], str]:
    """The rows, and the cursor after them; a client that knows nothing of the server's code."""
    response = await http.get(f"/api/v1/tables/{table}/rows", params=parameters)
    assert response.status_code == 200, response.text
    head, *rows, end = [json.loads(line) for line in response.text.splitlines()]
    assert end["rows"] == len(rows)
    assert head["position"] == re.split("[~@]", end["next"])[0]
    return rows, end["next"]


async def changes_up_to(http: httpx.AsyncClient, cursor: str, table: str, last: Any) -> list[dict[str, Any]]:
    """The changes after a cursor up to the one of this row, page by page."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE_S):
        while all(change["key"] != last for change in found):
            wanted: dict[str, Any] = {"after": cursor, "table": table, "waitMs": 1000}
            page = (await http.get("/api/v1/changes", params=wanted)).json()
            found += page["changes"]
            cursor = page["next"]
    return found


# -- schema ----------------------------------------------------------------------------------------------------------


async def test_rows_of_every_type_are_valid_by_the_schema(server: RunningServer, team: Session) -> None:
    create, insert = TYPES.split("insert into", 1)
    team.run(create)
    team.run("select flagent_cdc.watch('everything')")
    async with client(server) as http:
        begin = (await http.get("/api/v1/changes")).json()["next"]
        team.run("insert into" + insert)
        response = await http.get("/api/v1/tables/public.everything/schema")
        assert response.headers["content-type"] == "application/schema+json"
        schema = response.json()
        told = [change["after"] for change in await everything(http, begin, table="everything")]
        read, _ = await rows_of(http, "everything")
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"{server.url}/api/v1/tables/public.everything/schema"
    assert schema["x-flagent-key"] == ["id"]
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for row in told + [each["row"] for each in read]:
        assert [error.message for error in validator.iter_errors(row)] == []
        assert list(row) == list(schema["properties"])
    assert len(told) == len(read) == 3
    # It does not allow just anything.
    for column, wrong in (
        ("id", None), ("id", "1"), ("id", 2**63), ("b", 1), ("s", 40_000), ("i", 1.5), ("n", "1"), ("d", "nan"),
        ("t", 5), ("v", "sixsix"), ("day", "yesterday"), ("day", "2026-02-30"), ("ts", "2026-11-23"),
        ("tz", "2026-11-23T12:00:00"), ("u", "x"), ("ints", ["a"]), ("ints", 1), ("texts", [["a", 1]]), ("m", "glad"),
        ("moods", ["glad"]),
        ("p", {"street": 1, "number": 1}), ("p", {"street": "a"}), ("places", [{"street": 1, "number": None}]),
        ("pos", "1"),
    ):  # fmt: skip
        assert list(validator.iter_errors({**told[0], column: wrong})), (column, wrong)
    assert list(validator.iter_errors({"id": 1}))


async def test_what_is_hidden_is_hidden_in_schema_rows_and_changes_alike(server: RunningServer, team: Session) -> None:
    team.run("create table people (id int primary key, email text, name text not null, secret text, n int)")
    team.run("insert into people select n, 'e' || n, 'n' || n, 's' || n, n from generate_series(1, 10) n")
    team.run("select flagent_cdc.watch('people', exclude => '{secret}', mask => '{email}', predicate => 'n % 2 = 0')")
    async with client(server) as http:
        rows, cursor = await rows_of(http, "people")
        team.run("update people set name = 'new'")
        changes = await everything(http, cursor, table="people")
        schema = (await http.get("/api/v1/tables/people/schema")).json()
        (listed,) = [
            table for table in (await http.get("/api/v1/tables")).json()["tables"] if table["table"] == "people"
        ]
    assert rows == [
        {"key": {"id": n}, "row": {"id": n, "email": None, "name": f"n{n}", "n": n}} for n in (2, 4, 6, 8, 10)
    ]
    assert [(change["key"], change["before"]) for change in changes] == [(row["key"], row["row"]) for row in rows]
    assert list(schema["properties"]) == ["id", "email", "name", "n"]
    assert schema["properties"]["email"]["type"] == "null"
    assert (listed["columns"], listed["masked"], listed["isFiltered"]) == (
        ["id", "email", "name", "n"],
        ["email"],
        True,
    )
    for row in rows:
        Draft202012Validator(schema).validate(row["row"])


async def test_flagents_tables_are_captured_too(server: RunningServer, team: Session) -> None:
    team.run("insert into flags (key, description, created_at) values ('a', '', now())")
    async with client(server) as http:
        tables = (await http.get("/api/v1/tables")).json()["tables"]
        schema = (await http.get("/api/v1/tables/flags/schema")).json()
        page = (await http.get("/api/v1/changes?table=flags")).json()
    assert {table["name"] for table in tables if table["kind"] == "flagent"} >= {"public.flags", "public.flags_tags"}
    Draft202012Validator(schema).validate(page["changes"][-1]["after"])


# -- all rows --------------------------------------------------------------------------------------------------------


class Busy(threading.Thread):
    """Changes a table of numbers as fast as it can."""

    def __init__(self, url: str, table: str) -> None:
        super().__init__(daemon=True)
        self._url, self._table = url, table
        self._must_stop = threading.Event()
        self.commits = 0

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for n in itertools.count():
                for text in (
                    f"insert into {self._table} values ({100_000 + n}, 'new')",
                    f"update {self._table} set text = 'changed {n}' where id = {(n * 7919) % 5000}",
                    f"delete from {self._table} where id = {(n * 104_729) % 5000}",
                ):
                    connection.execute(text.encode())
                    self.commits += 1
                if self._must_stop.is_set():
                    return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._must_stop.set()
        self.join(DEADLINE_S)


class Patient(Busy):
    """Changes rows in transactions that last a while, so that others begin later and end earlier."""

    def run(self) -> None:
        with psycopg.connect(self._url) as connection:
            for n in itertools.count():
                connection.execute(f"insert into {self._table} values ({1_000_000 + n}, 'patient')".encode())
                connection.execute("select pg_sleep(0.01)")
                connection.execute(
                    f"update {self._table} set text = 'patient {n}' where id = {(n * 7919) % 5000}".encode()
                )
                connection.commit()
                if self._must_stop.is_set():
                    return


def in_the_order_of_writes(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As they come, or where transactions are told by their ids, as their sequence says."""
    return sorted(changes, key=lambda change: int(change.get("sequence", 0)))


async def served(server: RunningServer, table: str) -> None:
    """Wait until the stream of a table is served: just after the start it may not have been read yet."""
    async with client(server) as http:

        async def is_served() -> bool:
            async with http.stream("GET", "/api/v1/events/stream", params={"table": table}) as response:
                return response.status_code == 200

        await until(is_served, f"the stream of {table}")


STREAMS = {
    "the flags' stream": "select flagent_cdc.watch('n')",
    "a lane": "select flagent_cdc.watch('n', lane => 'n')",
    "a lane ordered when read": "select flagent_cdc.watch('n', lane => 'n', lane_order => 'read')",
}


@pytest.mark.parametrize(
    ("kind", "watch"),
    [("ordinary", watch) for watch in STREAMS.values()] + [("partitioned", STREAMS["the flags' stream"])],
    ids=[*STREAMS, "partitioned"],
)
async def test_rows_and_changes_join_without_gap_or_repeat(
    server: RunningServer, team: Session, database_url: str, kind: str, watch: str
) -> None:
    team.run(f"create table n (id int primary key, text text) {'partition by range (id)' * (kind == 'partitioned')}")
    if kind == "partitioned":
        team.run("create table n_1 partition of n for values from (0) to (2000)")
        team.run("create table n_2 (text text, id int not null)")
        team.run("alter table n attach partition n_2 for values from (2000) to (10000000)")
    team.run("insert into n select n, repeat('x', 200) from generate_series(0, 4999) n")
    team.run(watch)
    async with client(server) as http:
        with Busy(database_url, "n") as busy, Patient(database_url, "n"):
            await until(lambda: busy.commits > 50, "some changes")
            rows, cursor = await rows_of(http, "n")
            seen = busy.commits
            await until(lambda: busy.commits > seen + 50, "more changes")
        team.run("insert into n values (9999999, 'last')")
        changes = await changes_up_to(http, cursor, "n", {"id": 9999999})
    held = {row["key"]["id"]: row["row"] for row in rows}
    assert len(held) == len(rows)
    assert len(changes) >= 50
    for change in in_the_order_of_writes(changes):
        key = change["key"]["id"]
        assert held.pop(key, None) == change["before"], change
        if change["after"] is not None:
            held[key] = change["after"]
    assert held == {id: {"id": id, "text": text} for id, text in team.all("select id, text from n")}


async def test_debezium_gets_rows_as_reads(server: RunningServer, team: Session) -> None:
    team.run("create table shop (id int primary key, j json)")
    team.run("""insert into shop values (1, E'{"a":\\n1}'), (2, null)""")
    team.run("select flagent_cdc.watch('shop')")
    async with client(server) as http:
        rows, cursor = await rows_of(http, "public.shop", format="debezium")
        assert (await http.get("/api/v1/tables/shop/rows?format=cloudevents")).status_code == 400
    assert [row["key"] for row in rows] == [{"id": 1}, {"id": 2}]
    values = [row["value"] for row in rows]
    assert [(value["op"], value["before"], value["after"]) for value in values] == [
        ("r", None, {"id": 1, "j": {"a": 1}}),
        ("r", None, {"id": 2, "j": None}),
    ]
    for value in values:
        source = value["source"]
        assert (source["snapshot"], source["table"], source["txId"]) == ("true", "shop", None)
        assert source["lsn"] >> 24 == int(cursor.partition("@")[0])


BIG = """
create table big (id int primary key, text text);
insert into big select n, md5(n::text) || repeat(md5((n + 1)::text), 31) from generate_series(1, 40000) n;
"""


@asynccontextmanager
async def stalled(server: RunningServer, table: str = "big") -> AsyncIterator[httpx.Response]:
    """A client that opens the rows and does not read them."""
    async with client(server) as http, http.stream("GET", f"/api/v1/tables/{table}/rows") as response:
        yield response


def idle_readers(team: Session) -> int:
    """Those that have not asked for more for half a second."""
    (count,) = team.all(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name = 'flagent-cdc reader' and state = 'idle in transaction'"
        " and clock_timestamp() - state_change > interval '500 ms'"
    )[0]
    return int(count)


async def test_it_is_read_only_as_fast_as_the_client_takes_it(server: RunningServer, team: Session) -> None:
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    tables = server.pipeline.tables
    async with stalled(server) as response:
        assert response.status_code == 200
        await until(lambda: idle_readers(team) == 1, "a reader that waits for its client")
        (backfill,) = tables.running
        assert 0 < backfill.sent < 40_000
        assert backfill.progress()["table"] == "public.big"
        await response.aread()
        lines = response.text.splitlines()
        assert json.loads(lines[-1])["rows"] == len(lines) - 2 == 40_000
    await until(lambda: not tables.running, "the end of the reading")
    assert idle_readers(team) == 0


async def test_who_goes_away_lets_go_of_the_snapshot(server: RunningServer, team: Session) -> None:
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    async with stalled(server):
        await until(lambda: idle_readers(team) == 1, "a reader that waits for its client")
    await until(lambda: not server.pipeline.tables.running and idle_readers(team) == 0, "the end of the reading")


async def test_a_client_that_is_too_slow_loses_its_snapshot(database_url: str, team: Session) -> None:
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    async with serving(database_url, pipeline_backfill_timeout_s=1.0) as server, stalled(server) as response:
        await until(lambda: len(server.pipeline.tables.running) == 1, "the beginning")
        await until(lambda: not server.pipeline.tables.running and idle_readers(team) == 0, "the end of the reading")
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()


async def test_few_tables_are_read_at_the_same_time(
    server: RunningServer, team: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.change_feed.backfill.MAX_BACKFILLS", 1)
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    async with stalled(server):
        await until(lambda: len(server.pipeline.tables.running) == 1, "the beginning")
        async with client(server) as http:
            refused = await http.get("/api/v1/tables/big/rows")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")


async def test_a_table_that_is_not_there_says_so(server: RunningServer, team: Session) -> None:
    team.run("create schema a; create schema b; create table a.t (id int); create table b.t (id int)")
    team.run("create table gone (id int)")
    for table in ("a.t", "b.t", "gone"):
        team.run(f"select flagent_cdc.watch('{table}')")
    team.run("drop table gone")
    async with client(server) as http:
        for path, status, code in (
            ("/api/v1/tables/none/schema", 404, "unknown_table"),
            ("/api/v1/tables/none/rows", 404, "unknown_table"),
            ("/api/v1/tables/t/schema", 400, "several_tables"),
            ("/api/v1/tables/flags/rows", 400, "not_readable"),
            ("/api/v1/tables/gone/rows", 503, "database_unavailable"),
        ):
            refused = await http.get(path)
            assert (refused.status_code, refused.json()["code"]) == (status, code), path
        assert (await http.get("/api/v1/tables/a.t/schema")).json()["title"] == "a.t"


async def test_a_table_without_a_key_and_an_empty_one_can_be_read(server: RunningServer, team: Session) -> None:
    team.run("create table loose (a int)")
    team.run("select flagent_cdc.watch('loose')")
    async with client(server) as http:
        assert (await rows_of(http, "loose"))[0] == []
        team.run("insert into loose values (1), (1)")
        assert (await rows_of(http, "loose"))[0] == [{"key": None, "row": {"a": 1}}] * 2


async def test_scopes_hold_for_tables_their_schemas_and_rows(database_url: str, team: Session) -> None:
    team.run("create table shop (id int primary key)")
    team.run("create table other (id int primary key)")
    for table in ("shop", "other"):
        team.run(f"select flagent_cdc.watch('{table}')")
    async with serving(database_url, auth_jwt_secret=SECRET) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/api/v1/tables")).status_code == 401
        for scopes, seen in (
            ({"tables": ["shop"]}, {"shop"}),
            ({"tables": ["*"]}, {"shop", "other"}),
            ({"flags": ["*"]}, set()),
            ({"schemas": ["elsewhere"]}, set()),
        ):
            async with client(server, scopes) as http:
                listed = (await http.get("/api/v1/tables")).json()["tables"]
                assert {table["table"] for table in listed} == seen, scopes
                for table in ("shop", "other", "flags"):
                    expected = 200 if table in seen else 404
                    assert (await http.get(f"/api/v1/tables/{table}/schema")).status_code == expected
                    assert (await http.get(f"/api/v1/tables/{table}/rows")).status_code == expected


async def test_a_role_that_may_only_read_the_log_reads_watched_tables_as_they_are_told(
    database_url: str, team: Session
) -> None:
    team.run("create table people (id int primary key, email text)")
    team.run("insert into people values (1, 'secret')")
    team.run("select flagent_cdc.watch('people', mask => '{email}')")
    role = f"reader_{team.connection.info.backend_pid}"
    team.run(f"create role {role} login password 'p'")
    try:
        await asyncio.to_thread(migrate, database_url, grant_to=role)
        async with serving(make_conninfo(database_url, user=role, password="p")) as server, client(server) as http:
            assert (await rows_of(http, "people"))[0] == [{"key": {"id": 1}, "row": {"id": 1, "email": None}}]
            assert (await http.get("/api/v1/tables/people/schema")).status_code == 200
    finally:
        team.run(f"drop owned by {role}")
        team.run(f"drop role {role}")


def test_a_snapshot_that_cannot_see_the_rows_any_more_is_refused(team: Session, database_url: str) -> None:
    team.run("create table n (id int primary key)")
    team.run("insert into n select generate_series(1, 10)")
    team.run("select flagent_cdc.watch('n')")
    ((id,),) = team.all("select id from flagent_cdc.watched()")
    with psycopg.connect(database_url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select from flagent_cdc.commit_log")
        team.run("truncate n")
        with pytest.raises(psycopg.errors.SerializationFailure):
            reader.execute("select * from flagent_cdc.backfill_begin(%s)", (id,))
        reader.rollback()
        parts = reader.execute("select relation from flagent_cdc.backfill_begin(%s)", (id,)).fetchall()
        assert len(parts) == 1
        # A part of another table is not read with this one's rights.
        with pytest.raises(psycopg.errors.UndefinedTable):
            reader.execute("select * from flagent_cdc.backfill_rows(%s, 'public.flags'::regclass::oid, 0, 9)", (id,))


# -- on the streams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("with_handover", "watch"),
    [(True, watch) for watch in STREAMS.values()] + [(False, STREAMS["the flags' stream"])],
    ids=[*STREAMS, "through ASGI"],
)
async def test_a_stream_begins_with_the_rows_and_goes_on_with_their_changes(
    team: Session, database_url: str, with_handover: bool, watch: str
) -> None:
    team.run("create table n (id int primary key, text text)")
    team.run("insert into n select n, repeat('x', 200) from generate_series(0, 4999) n")
    team.run(watch)
    async with serving(database_url, with_handover=with_handover, listener_poll_interval_s=0.05) as server:
        held: dict[int, Any] = {}
        changes: list[dict[str, Any]] = []
        with Busy(database_url, "n") as busy, Patient(database_url, "n") as patient:
            await until(lambda: busy.commits > 50, "some changes")
            await served(server, "n")
            async with sse(server.stream_url, {"table": "n", "snapshot": "true", "envelope": "true"}) as stream:
                while (event := await stream.next()).type == "rows":
                    assert event.id is None
                    held |= {each["key"]["id"]: each["row"] for each in event.data["rows"]}
                    assert event.data["sent"] == len(held)
                    assert event.data["estimated"] >= len(held)
                rows = len(held)
                while event.type != "rows_end":
                    # What was running while they were read; only a lane ordered when read has any.
                    assert (event.id, "'read'" in watch) == (None, True)
                    changes += [event.data] if event.type != "rows" else []
                    event = await stream.next()
                assert (event.data["rows"], event.data["table"]) == (rows, "public.n")
                assert (event.id or "").startswith(f"{event.data['position']}@{server.pipeline.hub.catalog.log}")
                seen = busy.commits
                await until(lambda: busy.commits > seen + 50, "more changes")
                for one in (busy, patient):
                    one._must_stop.set()
                    await asyncio.to_thread(one.join, DEADLINE_S)
                team.run("insert into n values (-1, 'last')")
                while not changes or changes[-1]["key"] != {"id": -1}:
                    changes.append((await stream.next()).data)
    for change in in_the_order_of_writes(changes):
        key = change["key"]["id"]
        assert held.pop(key, None) == change["before"], change
        if change["after"] is not None:
            held[key] = change["after"]
    assert held == {id: {"id": id, "text": text} for id, text in team.all("select id, text from n")}


async def test_a_websocket_begins_with_the_rows_too(server: RunningServer, team: Session) -> None:
    team.run("create table shop (id int primary key)")
    team.run("insert into shop values (1), (2)")
    team.run("select flagent_cdc.watch('shop')")
    async with connect(server.websocket_url) as socket:
        await socket.send(json.dumps({"type": "subscribe", "tables": ["shop"], "snapshot": True}))
        told = [await receive(socket) for _ in range(3)]
        assert [message["type"] for message in told] == ["subscribed", "rows", "rows_end"]
        assert told[1]["rows"] == [{"key": {"id": n}, "row": {"id": n}} for n in (1, 2)]
        team.run("delete from shop where id = 1")
        message = await receive(socket)
    assert (message["type"], message["key"]) == ("row_deleted", {"id": 1})
    assert message["id"].partition("-")[0] > told[2]["id"].partition("@")[0]


async def test_a_stream_reads_only_as_fast_as_its_client_takes(server: RunningServer, team: Session) -> None:
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    tables = server.pipeline.tables
    async with sse(server.stream_url, {"table": "big", "snapshot": "true"}) as stream:
        await until(lambda: idle_readers(team) == 1, "a reader that waits for its client")
        (backfill,) = tables.running
        assert 0 < backfill.sent < 40_000
        count = 0
        while (event := await stream.next()).type == "rows":
            count += len(event.data["rows"])
        assert count == event.data["rows"] == 40_000
        await until(lambda: not tables.running and idle_readers(team) == 0, "the end of the reading")
    async with sse(server.stream_url, {"table": "big", "snapshot": "true"}):
        await until(lambda: idle_readers(team) == 1, "a reader that waits for its client")
    await until(lambda: not tables.running and idle_readers(team) == 0, "the end of the reading")


async def test_a_stream_without_the_rows_that_were_asked_for_says_why_and_ends(
    database_url: str, team: Session
) -> None:
    team.run(BIG)
    team.run("select flagent_cdc.watch('big')")
    async with serving(database_url, pipeline_backfill_timeout_s=1.0) as server:
        unknown: list[tuple[Any, str]] = [
            ({"table": "none"}, "unknown_table"), ({"table": ["big", "public.big"]}, "several_tables")
        ]  # fmt: skip
        for parameters, code in unknown:
            async with sse(server.stream_url, {**parameters, "snapshot": "true"}) as stream:
                event = await stream.next()
                assert (event.type, event.data["code"], event.id) == ("backfill_failed", code, None)
                with pytest.raises(StopAsyncIteration):
                    await stream.next()
        async with sse(server.stream_url, {"table": "big", "snapshot": "true"}) as stream:
            await until(lambda: len(server.pipeline.tables.running) == 1, "the beginning")
            await until(lambda: not server.pipeline.tables.running and idle_readers(team) == 0, "the end of the time")
            kinds = []
            with contextlib.suppress(StopAsyncIteration, httpx.RemoteProtocolError, httpx.ReadError):
                kinds += [(await stream.next()).type for _ in itertools.count()]
            assert "rows_end" not in kinds
