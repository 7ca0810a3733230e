"""PostgreSQL as a source: the contract of all sources."""

from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from cdc.postgres.upstream import PostgresUpstream
from cdc.settings.settings import Settings
from tests.cdc.source.contract import SourceContract
from tests.fixtures.flags import Writer


class PostgresSubject:
    """The subject of the contract."""

    def __init__(self, url: str, writer: Writer) -> None:
        settings = Settings.from_environment({"FLAGENT_CDC_PROBE_INTERVAL": "500ms"})
        self.upstream = PostgresUpstream(settings, url)
        self._writer = writer
        writer.run("create table orders (id integer primary key)", "select flagent_cdc.watch('orders')")
        writer.connection.execute(
            """create table refused (id integer);
            create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
            create constraint trigger zz_refuse after insert on refused deferrable initially deferred
            for each row execute function refuse()"""
        )

    def flags(self, *keys: str) -> list[int]:
        with self._writer.connection.transaction():
            return [self._writer.flag(key) for key in keys]

    def describe(self, flag_id: int, text: str) -> None:
        self._writer.connection.execute("update flags set description = %s where id = %s", (text, flag_id))

    def delete(self, flag_id: int) -> None:
        self._writer.connection.execute("delete from flags where id = %s", (flag_id,))

    def order(self, number: int) -> None:
        self._writer.connection.execute("insert into orders (id) values (%s)", (number,))

    def hole(self) -> None:
        """It fails at commit, after the commit got its position."""
        with suppress(psycopg.errors.RaiseException), self._writer.connection.transaction():
            self._writer.flag("never")
            self._writer.connection.execute("insert into refused (id) values (1)")

    def prune(self, keep: int) -> None:
        self._writer.run(
            "delete from flagent_cdc.commit_log c"
            f" where c.position <= (select max(m.position) - {keep} from flagent_cdc.commit_log m)",
            "delete from flagent_cdc.change_log g"
            " where not exists (select from flagent_cdc.commit_log c where c.batch = g.batch)",
        )

    def replace_log(self) -> None:
        """As `pg_restore --clean` does it: the tables are made anew."""
        self._writer.run(
            "alter table flagent_cdc.commit_log rename to old",
            "create table flagent_cdc.commit_log (like flagent_cdc.old including all)",
            "insert into flagent_cdc.commit_log select * from flagent_cdc.old",
            "drop table flagent_cdc.old",
        )


class TestPostgres(SourceContract):
    @pytest.fixture
    def subject(self, database_url: str) -> Iterator[PostgresSubject]:
        with Writer(database_url) as writer:
            yield PostgresSubject(database_url, writer)


def test_the_writer_of_the_contract_waits_for_nothing(database_url: str) -> None:
    """What a subject writes is committed when its call returns."""
    with Writer(database_url) as writer, psycopg.connect(database_url) as other:
        (flag,) = PostgresSubject(database_url, writer).flags("a")
        assert other.execute("select id from flags").fetchone() == (flag,)
