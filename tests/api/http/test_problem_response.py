"""What a refusal never tells: the database's words, its address, our SQL, a traceback."""

import re
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fixtures.flags import Writer
from tests.fixtures.server import serving, sse

SECRET = "a secret of more than thirty-two bytes"

# What takes away the tables and functions that requests ask, so that PostgreSQL answers with errors that name them.
BREAK = (
    "alter table flagent_cdc.commit_log rename to elsewhere",
    "alter table flagent_cdc.watched_table rename to elsewhere_too",
    "alter function flagent_cdc.watched() rename to watched_elsewhere",
    "alter function flagent_cdc.backfill_begin(integer) rename to backfill_elsewhere",
)
# The name of a setting is no name of the schema.
INSIDE = re.compile(
    r"(?-i:flagent_cdc)|psycopg|relation \"|function |SQLSTATE|\bselect\b|LINE 1|Traceback|\.py\b", re.IGNORECASE
)


def requests(openapi: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Every operation of the OpenAPI document, asked about something that needs the log where it can."""
    found: list[tuple[str, str, Any]] = []
    for path, operations in openapi["paths"].items():
        filled = path.replace("{flag_id}", "1").replace("{key}", "a").replace("{table}", "public.notes")
        for method in operations:
            if method == "get":
                found += [("GET", re.sub(r"{\w+}", "1", filled) + query, None) for query in ("", "?at=1", "?before=2")]
            elif method == "post":
                question = {"flagKey": "a", "flagID": 1, "entityID": "u", "at": "1"}
                found.append(("POST", re.sub(r"{\w+}", "a", filled), question))
    return found


async def test_no_answer_tells_of_the_database(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    target = conninfo_to_dict(database_url)
    words = [str(target[name]) for name in ("password", "dbname") if target.get(name)]
    words.append(f":{target['port']}")
    async with serving(database_url, auth_jwt_secret=SECRET, listener_probe_interval_s=0.3) as server:
        with Writer(database_url) as writer:
            writer.run("create table notes (id integer primary key)", "select flagent_cdc.watch('notes')")
            for key in ("a", "b"):
                writer.flag(key)
        application: Any = server.uvicorn.config.app
        asked = requests(application.web.openapi())
        credential = jwt.encode({"exp": 4_000_000_000, "flagent_cdc": {}}, SECRET, "HS256")
        headers = {"authorization": f"Bearer {credential}"}
        with psycopg.connect(database_url, autocommit=True) as connection:
            for statement in BREAK:
                connection.execute(statement.encode())
        unavailable = set()
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
            for method, path, body in asked:
                if path.partition("?")[0] in server_streams(application):
                    continue
                answer = await http.request(method, path, json=body)
                told = answer.text + str(dict(answer.headers))
                assert INSIDE.search(told.replace("flagent-cdc", "")) is None, (method, path, told)
                assert not any(word in told for word in words), (method, path, told)
                if answer.status_code == 503:
                    unavailable.add(path.partition("?")[0])
        assert len(unavailable) >= 4, unavailable
        async with sse(server.stream_url, {"lastEventId": "1-0@else"}, **headers) as stream:
            event = await stream.next()
            assert INSIDE.search(str(event)) is None
    # Told it was, to those who run the server.
    assert any("elsewhere" in str(vars(record)) or "does not exist" in str(vars(record)) for record in caplog.records)


def server_streams(application: Any) -> set[str]:
    return set(application.web.state.gateway.endpoints)
