"""Flags as Flagent's own API lists them."""

import random
from typing import Any

import httpx
import pytest

from cdc.core.log.position import Position
from cdc.core.text.kotlin_text import to_boolean, to_integer
from cdc.core.text.like_pattern import compile_like
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving


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


# What the statements of Flagent 0.1.7 and the functions of Kotlin in its route make of each query.
LOOSE = {
    "descriptionLike=%25": ["c", "b", "a"],
    "descriptionLike=_": ["c", "b", "a"],
    "descriptionLike=50%5C%25": ["b"],
    "descriptionLike=%5C": ["c"],
    "descriptionLike=A_Flag": ["a"],
    "descriptionLike=a%25flag": ["b", "a"],
    "descriptionLike=": ["c", "b", "a"],
    "tags=": [],
    "tags": ["c", "b", "a"],
    "tags=+web+": ["b"],
    "tags=%C2%A0web": ["b"],
    "tags=web&tags=other": ["b"],
    "tags=other&tags=web": [],
    "deleted=true": [],
    "deleted=TRUE": [],
    "includeArchived=True": [],
    "deleted=false&includeArchived=true": ["c", "b", "a"],
    "deleted=&includeArchived=true": ["c", "b", "a"],
    "deleted&includeArchived=true": [],
    "deleted=1": ["c", "b", "a"],
    "enabled=abc": ["c"],
    "enabled=": ["c"],
    "enabled=1": ["c"],
    "enabled": ["c", "b", "a"],
    "enabled=True": ["b", "a"],
    "limit=abc": ["c", "b", "a"],
    "limit=99999999999": ["c", "b", "a"],
    "limit=%2B1": ["c"],
    "limit=01": ["c"],
    "limit=1.0": ["c", "b", "a"],
    "limit=": ["c", "b", "a"],
    "limit=0": [],
    "limit=-0": [],
    "limit=1&limit=2": ["c"],
    "offset=-1": ["c", "b", "a"],
    "offset=1&limit=1": ["b"],
    "offset=x": ["c", "b", "a"],
    "offset=9": [],
    "environmentId=abc": ["c", "b", "a"],
    "environmentId=8": ["c", "b"],
    "environmentId=9223372036854775808": ["c", "b", "a"],
    "environmentId=9223372036854775807": ["c", "b"],
    "projectId=x": ["c", "b", "a"],
    "projectId=1": [],
    "key=": [],
    "nonsense=1": ["c", "b", "a"],
}


async def test_loose_parameters_select_what_flagent_selects(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a", enabled=True, description="A flag")
        writer.tag(writer.flag("b", enabled=True, description="A 50% flag"), "web")
        writer.flag("c", description="up to 100%")
        writer.segment(1)
        writer.run("update flags set environment_id = 7 where key = 'a'")
        async with httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
            assert await server.pipeline.hub.reached(Position(6), DEADLINE_S)
            for query, keys in LOOSE.items():
                response = await client.get(f"/flags?{query}")
                assert (query, [flag["key"] for flag in response.json()]) == (query, keys)
            assert (await client.get("/flags?limit=1")).headers["x-total-count"] == "3"
            assert (await client.get("/flags?limit=-1")).status_code == 400
            for preload, segments in (("true", 1), ("TRUE", 1), ("1", 0), ("", 0)):
                flags = (await client.get(f"/flags?key=a&preload={preload}")).json()
                assert len(flags[0]["segments"]) == segments, preload
            for id, status in (("1", 200), ("01", 200), ("+1", 200), ("-1", 404), ("9999999999", 400), ("1.0", 400)):
                assert (await client.get(f"/flags/{id}")).status_code == status, id


@pytest.mark.parametrize("alphabet", ["ab%_", "a\\%_", "äÄß😀%_\n", "abcdefgh%"])
def test_a_pattern_matches_what_postgresql_matches(database_url: str, alphabet: str) -> None:
    dice = random.Random(alphabet)

    def text(length: int) -> str:
        return "".join(dice.choices(alphabet, k=dice.randint(0, length)))

    cases = [(text(12), f"%{text(6)}%") for _ in range(3_000)]
    texts, patterns = zip(*cases, strict=True)
    with Writer(database_url) as writer:
        answers = writer.connection.execute(
            "select body like pattern from unnest(%s::text[], %s::text[]) with ordinality as c (body, pattern, n)"
            " order by n",
            (list(texts), list(patterns)),
        ).fetchall()
    expected = [(case, answer) for case, (answer,) in zip(cases, answers, strict=True)]
    assert [(case, compile_like(case[1])(case[0])) for case in cases] == expected
    assert {answer for _, answer in expected} == {True, False}


PARAMETERS = {
    "enabled": ["true", "TRUE", "false", "1", "yes", ""],
    "descriptionLike": ["a", "A", "%", "_", "a_b", "a%b", "\\_", "\\", "b\\%", "", "Ä", "\n"],
    "description": ["", "a", "ab_"],
    "key": ["f3", "F3", ""],
    "tags": ["t1", "t1,t2", " t2 ,t0", "", ",", "T1", "none"],
    "environmentId": ["7", "+7", "07", "8", "x", "", "7.0", "99999999999999999999"],
    "projectId": ["1", "2", "-1", "one"],
    "limit": ["0", "1", "3", "+2", "x", "", "99999999999"],
    "offset": ["0", "1", "2", "-1", "x", ""],
    "deleted": ["false", "", "0"],
    "includeArchived": ["false", "x"],
}

# The statement that Flagent builds of its filters; a null filter demands nothing.
STATEMENT = """
select key from flags
 where deleted_at is null
   and (%(enabled)s::bool is null or enabled = %(enabled)s)
   and (%(description)s::text is null or description = %(description)s)
   and (%(key)s::text is null or key = %(key)s)
   and (%(like)s::text is null or lower(description) like %(like)s)
   and (%(environment)s::int8 is null or environment_id = %(environment)s or environment_id is null)
   and (%(project)s::int8 is null or project_id = %(project)s)
   and (%(tags)s::text[] is null or id in (
            select flag_id from flags_tags join tags on tags.id = tag_id where value = any (%(tags)s)))
 order by id desc limit %(limit)s offset %(offset)s
"""


def filters_of(query: dict[str, str]) -> dict[str, Any]:
    """What Flagent's route makes of a query; what Kotlin makes of a text is tested by itself."""

    def integer(name: str, bits: int) -> int | None:
        return to_integer(query[name], bits=bits) if name in query else None

    return {
        "enabled": to_boolean(query["enabled"]) if "enabled" in query else None,
        "description": query.get("description"),
        "key": query.get("key"),
        "like": f"%{query['descriptionLike'].lower()}%" if "descriptionLike" in query else None,
        "environment": integer("environmentId", 64),
        "project": integer("projectId", 64),
        "tags": [tag.strip() for tag in query["tags"].split(",")] if "tags" in query else None,
        "limit": integer("limit", 32),
        "offset": max(0, integer("offset", 32) or 0),
    }


async def test_random_queries_select_what_flagents_statement_selects(database_url: str) -> None:
    dice = random.Random(23)
    with Writer(database_url) as writer:
        for number in range(25):
            text = "".join(dice.choices(["a", "b", "A", "%", "_", "\\", "\n", "ä"], k=dice.randint(0, 5)))
            flag = writer.flag(f"f{number}", enabled=dice.random() < 0.5, description=text)
            for tag in dice.sample(["t0", "t1", "t2"], k=dice.randint(0, 2)):
                writer.tag(flag, tag)
            writer.connection.execute(
                "update flags set environment_id = %s, project_id = %s where id = %s",
                (dice.choice([None, 7, 8]), dice.choice([None, 1, 2]), flag),
            )
        async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url + "/api/v1") as client:
            sizes = set()
            for _ in range(300):
                names = dice.sample(list(PARAMETERS), k=dice.randint(0, 4))
                query = {name: dice.choice(PARAMETERS[name]) for name in names}
                filters = filters_of(query)
                expected = [key for (key,) in writer.connection.execute(STATEMENT, filters).fetchall()]
                total = len(writer.connection.execute(STATEMENT, {**filters, "limit": None, "offset": 0}).fetchall())
                response = await client.get("/flags", params=query)
                assert (query, [flag["key"] for flag in response.json()]) == (query, expected)
                assert (query, response.headers["x-total-count"]) == (query, str(total))
                sizes.add(len(expected))
    assert {0, 1, 3, 25} <= sizes
