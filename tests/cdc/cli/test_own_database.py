"""The default database: embedded, with Flagent's tables in every schema, and kept for the next start."""

from pathlib import Path

import psycopg

from cdc.cli.own_database import create_flagent_tables, own_database

CAPTURED = "select count(*) from flagent_cdc.change_log where after ->> 'key' = 'kept'"


def test_it_has_flagents_tables_is_migrated_and_keeps_its_data(open_directory: Path) -> None:
    data_dir = open_directory / "data"
    with own_database(data_dir, ["public", "tenant_1"]) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("insert into tenant_1.flags (key, description, created_at) values ('kept', '', now())")
        attached = connection.execute("select schema_name from flagent_cdc.attachment order by 1").fetchall()
        assert attached == [("public",), ("tenant_1",)]
        assert connection.execute(CAPTURED).fetchone() == (1,)
    with own_database(data_dir, ["public", "tenant_1"]) as url, psycopg.connect(url) as connection:
        assert connection.execute("select key from tenant_1.flags").fetchall() == [("kept",)]


def test_existing_tables_are_left_as_they_are(flagent_url: str) -> None:
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        connection.execute("insert into flags (key, description, created_at) values ('mine', '', now())")
        create_flagent_tables(flagent_url, "public")
        create_flagent_tables(flagent_url, "Tenant 2")
        assert connection.execute("select key from flags").fetchall() == [("mine",)]
        assert connection.execute('select count(*) from "Tenant 2".flags').fetchone() == (0,)
