"""The demo's writer: repeatable, realistic, and careful with what is not its own."""

import re

import psycopg

from cdc.demo.flags import FLAGS
from cdc.demo.writer import AUTHOR, Writer
from tests.fixtures.postgres import Postgres


def story(url: str, seed: int, steps: int = 120) -> list[str]:
    with Writer(url, seed=seed) as writer:
        writer.fill()
        return [writer.step() for _ in range(steps)]


def test_filling_twice_creates_the_flags_once(flagent_url: str) -> None:
    with Writer(flagent_url, seed=1) as writer:
        assert writer.fill() == len(FLAGS)
        assert writer.fill() == 0


def test_the_same_seed_makes_the_same_changes(postgres: Postgres) -> None:
    with (
        postgres.database("flagent") as one,
        postgres.database("flagent") as two,
        postgres.database("flagent") as three,
    ):
        assert story(one, seed=7) == story(two, seed=7) != story(three, seed=8)


def test_it_makes_every_kind_of_change_in_its_first_minutes(flagent_url: str) -> None:
    text = "\n".join(story(flagent_url, seed=1, steps=300))
    for words in (
        "turned off",
        "turned on",
        "rollout of",
        "shares of",
        "in three commits",
        " added",
        "tag ",
        "new segment",
        "removed",
        "of variant",
        "described as",
        ": created",
        ": deleted",
        "archived",
        "restored",
        "in one statement",
    ):
        assert words in text
    assert re.search(r": \w+ (EQ|NEQ|IN|GT|GTE|LT) .* → ", text)


def test_it_leaves_the_flags_of_others_alone(flagent_url: str) -> None:
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        # One of the demo's own keys is taken: that flag belongs to somebody else.
        connection.execute(
            "insert into flags (key, description, created_by, enabled, created_at) "
            "values ('ops.read_only', 'ours', 'ann', true, now()), ('theirs', '', null, true, now())"
        )
        question = "select f, f.xmin from flags f where created_by is distinct from %s order by id"
        before = connection.execute(question, [AUTHOR]).fetchall()
        story(flagent_url, seed=3, steps=300)
        assert connection.execute(question, [AUTHOR]).fetchall() == before


def test_shares_always_add_up_to_a_hundred(flagent_url: str) -> None:
    story(flagent_url, seed=5, steps=300)
    with psycopg.connect(flagent_url) as connection:
        sums = connection.execute("select distinct sum(percent) from distributions group by segment_id").fetchall()
    assert sums == [(100,)]


def test_it_writes_into_the_schema_that_it_is_given(flagent_url: str) -> None:
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        connection.execute("create schema tenant_1")
        for table in ("flags", "segments", "variants", "constraints", "distributions", "tags", "flags_tags"):
            connection.execute(f"alter table {table} set schema tenant_1")
        with Writer(flagent_url, seed=1, schema="tenant_1") as writer:
            writer.fill()
        assert connection.execute("select count(*) from tenant_1.flags").fetchone() == (len(FLAGS),)
