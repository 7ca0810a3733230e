"""Runs the revisions on the connection that the caller hands in, inside the caller's transaction.

`cdc.admin.installation` sets `config.attributes["connection"]` to a SQLAlchemy connection and commits by itself, so
that tables, functions and triggers change together or not at all. Developers without that connection name the
database: `alembic -x url=postgresql+psycopg://… revision -m "…"`.
"""

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

__all__: list[str] = []

SCHEMA = "flagent_cdc"


def run(connection: Connection) -> None:
    # The version table lives with all else of ours: in Flagent's schema it would break Flagent's Flyway baseline.
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    context.configure(connection=connection, version_table_schema=SCHEMA, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


handed_in = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit("alembic needs to know the database: alembic -x url=postgresql+psycopg://user@host/database …")
    with create_engine(url, poolclass=pool.NullPool).begin() as opened:
        run(opened)
