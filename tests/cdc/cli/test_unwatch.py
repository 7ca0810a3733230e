"""`flagent-cdc unwatch` as a person uses it."""

import psycopg
import pytest

from cdc.admin.watched_tables import WatchOptions, list_watched, watch
from cdc.cli import main


def test_a_table_is_no_longer_watched_even_if_it_was_dropped(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute("create table kept (id integer primary key); create table dropped (id integer primary key)")
        for table in ("kept", "dropped"):
            watch(database_url, table, WatchOptions())
        session.execute("drop table dropped")
        for table in ("kept", "dropped"):
            assert main(["unwatch", table, "--database-url", database_url], {}) == 0
            assert "no longer watched" in capsys.readouterr().out
        assert list_watched(database_url) == []
        session.execute("insert into kept values (1)")
    assert main(["unwatch", "kept", "--database-url", database_url], {}) == 0
    assert "not watched, nothing to do" in capsys.readouterr().out


def test_a_table_that_never_existed_is_not_watched(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unwatch", "nothing", "--database-url", database_url], {}) == 0
    assert "not watched, nothing to do" in capsys.readouterr().out
