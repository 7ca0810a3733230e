"""The default database: an embedded PostgreSQL with Flagent's tables, migrated."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql as composed

from cdc.admin.installation import migrate
from cdc.database.driver_errors import driver_errors
from cdc.database.queries import flagent_tables, query
from cdc.embedded.server import EmbeddedPostgres

__all__ = ["create_flagent_tables", "own_database"]


@contextmanager
def own_database(data_dir: Path, schemas: Sequence[str]) -> Iterator[str]:
    """The URL of the running server, with the password; the data is kept for the next start."""
    postgres = EmbeddedPostgres(data_dir)
    if not postgres.cluster.exists():
        print(f"flagent-cdc: creating a PostgreSQL in {data_dir}, once; it takes seconds", file=sys.stderr, flush=True)
    with postgres:
        for schema in schemas:
            create_flagent_tables(postgres.url, schema)
        migrate(postgres.url, schemas)
        yield postgres.url


def create_flagent_tables(url: str, schema: str) -> None:
    """Create Flagent's tables in this schema unless they exist."""
    with driver_errors("the embedded PostgreSQL"), psycopg.connect(url) as connection:
        found = connection.execute(query("has_flags"), {"schema": schema}).fetchone()
        if found is not None and not found[0]:
            name = composed.Identifier(schema)
            connection.execute(composed.SQL("create schema if not exists {}").format(name))
            connection.execute(composed.SQL("set local search_path to {}").format(name))
            connection.execute(flagent_tables())
