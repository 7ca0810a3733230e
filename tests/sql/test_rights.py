"""The capture runs with the rights of the role that installed it, and runs nothing that a table's owner can define."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.fixtures.log import ChangeLog

OpenSession = Callable[..., psycopg.Connection]

CASTS = {
    "an enum": "create type team.mine as enum ('x')",
    "a composite": "create type team.mine as (a int, b text)",
    "a range": "create type team.mine as range (subtype = numeric)",
}
VALUES = {"an enum": "'x'", "a composite": "row(1, 'x')", "a range": "'[1,2)'"}
IMAGES = {"an enum": "x", "a composite": {"a": 1, "b": "x"}, "a range": "[1,2)"}


@pytest.fixture
def team(database_url: str, open_session: OpenSession) -> Iterator[psycopg.Connection]:
    """A superuser, who installed; and a role of its own that owns a schema with a watched table."""
    owner = open_session(database_url)
    owner.execute(
        "do $$ begin create role flagent_cdc_test_team; exception when duplicate_object then null; end $$;"
        " create schema team authorization flagent_cdc_test_team; set role flagent_cdc_test_team;"
        " create table team.orders (id int primary key, note text); create table team.proof (who text); reset role"
    )
    yield owner
    owner.execute("reset role; drop schema team cascade; drop owned by flagent_cdc_test_team")


def spy(team: psycopg.Connection, returns: str, argument: str, name: str, *, fails: bool = False) -> None:
    outcome = "raise exception 'no'" if fails else "return 'true'"
    team.execute(
        f"""create function team.{name}({argument}) returns {returns} language plpgsql as $$ begin
            if current_user <> 'flagent_cdc_test_team' then insert into team.proof values (current_user); end if;
            {outcome}; end $$""".encode()
    )


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("lane", ["flags", "commit", "read"])
@pytest.mark.parametrize("kind", CASTS)
def test_no_cast_of_a_tables_owner_is_run_or_fails_a_writer(
    team: psycopg.Connection, log: ChangeLog, kind: str, lane: str, fails: bool
) -> None:
    order = "" if lane == "flags" else f", lane => 'own', lane_order => '{lane}'"
    team.execute(f"select flagent_cdc.watch('team.orders'{order})".encode())
    team.execute("set role flagent_cdc_test_team")
    team.execute(CASTS[kind].encode())
    spy(team, "json", "team.mine", "as_json", fails=fails)
    spy(team, "text", "team.mine", "as_text", fails=fails)
    team.execute(
        "create cast (team.mine as json) with function team.as_json(team.mine);"
        " create cast (team.mine as text) with function team.as_text(team.mine);"
        " alter table team.orders add column m team.mine, add column many team.mine[]"
    )
    value = f"{VALUES[kind]}::team.mine"
    team.execute(f"insert into team.orders values (1, 'a', {value}, array[{value}])".encode())
    team.execute("update team.orders set note = 'b'; delete from team.orders")
    team.execute("insert into team.orders (id) values (2)")
    team.execute("reset role")
    assert team.execute("select count(*) from team.proof").fetchone() == (0,)
    table = {"flags": "change_log", "commit": "lane_change_log", "read": "read_order_log"}[lane]
    rows = team.execute(
        f"select after from flagent_cdc.{table} where table_name = 'orders' and op in ('insert', 'update')".encode()
    ).fetchall()
    images = sorted((after["id"], after["m"], after["many"]) for (after,) in rows if after["id"] == 1)
    expected = IMAGES[kind]
    assert [image[1:] for image in images] == [(expected, [expected])] * 2
    (read,) = team.execute(
        "select b.row_image from flagent_cdc.watched_table w, flagent_cdc.backfill_begin(w.id) r,"
        " flagent_cdc.backfill_rows(w.id, r.relation, 0, 100) b"
    ).fetchall()
    assert read[0] == {"id": 2, "note": None, "m": None, "many": None}


def test_a_predicate_runs_with_the_rights_of_the_tables_owner(team: psycopg.Connection, log: ChangeLog) -> None:
    team.execute("set role flagent_cdc_test_team")
    team.execute("create type team.mine as enum ('x', 'y')")
    spy(team, "boolean", "team.mine", "is_true")
    team.execute(
        "create cast (team.mine as boolean) with function team.is_true(team.mine) as implicit;"
        " alter table team.orders add column open boolean"
    )
    team.execute("reset role")
    team.execute("select flagent_cdc.watch('team.orders', predicate => 'open')")
    team.execute("set role flagent_cdc_test_team")
    team.execute("insert into team.orders values (1, 'a', true), (2, 'b', false)")
    team.execute("alter table team.orders drop column open, add column open team.mine default 'x'")
    team.execute("update team.orders set note = 'c'")
    team.execute("reset role")
    assert team.execute("select problems from flagent_cdc.watched()").fetchall() == [([],)]
    assert team.execute("select count(*) from team.proof").fetchone() == (0,)
    ids = [change["after"]["id"] for commit in log.commits() for change in commit.changes if change["op"] != "schema"]
    assert ids == [1, 1, 2]


def test_a_predicate_of_another_owner_reads_nothing_of_the_writers_settings(
    team: psycopg.Connection, log: ChangeLog
) -> None:
    team.execute("select flagent_cdc.watch('team.orders', predicate => 'note = null')")
    team.execute("set transform_null_equals = on")
    team.execute("insert into team.orders values (1, null)")
    assert log.commits() == []


def test_functions_that_belong_to_a_tables_owner_are_those_of_this_version(team: psycopg.Connection) -> None:
    team.execute("select flagent_cdc.watch('team.orders', predicate => 'id > 0')")
    own = (
        "select prosrc, proconfig from pg_proc where pronamespace = 'flagent_cdc'::regnamespace"
        " and proname in ('matches_predicate', 'predicate_error') order by proname"
    )
    copies = (
        "select p.prosrc, p.proconfig from pg_proc p join pg_roles r on r.oid = p.proowner"
        " where r.rolname = 'flagent_cdc_test_team' and p.proname ~ '^(matches_predicate|predicate_error)_for_[0-9]+$'"
        " order by p.proname"
    )
    assert team.execute(copies).fetchall() == team.execute(own).fetchall()
    (name,) = team.execute("select to_regproc('flagent_cdc.matches_predicate_for_' || relowner)::regprocedure::text"
                           " from pg_class where oid = 'team.orders'::regclass").fetchone() or ("",)  # fmt: skip
    rights = "select proacl, proowner, prosecdef from pg_proc where oid = %s::regprocedure"
    before = team.execute(rights, (name,)).fetchall()
    team.execute(f"alter function {name} reset all; alter function {name} set search_path = team".encode())
    team.execute(
        f"create or replace function {name.replace('(', '(in_row ', 1).replace(',', ', in_predicate ', 1)}"
        " returns boolean language plpgsql stable security definer as $$ begin return false; end $$".encode()
    )
    team.execute("select flagent_cdc.prepare_predicate('team.orders'::regclass)")
    assert team.execute(copies).fetchall() == team.execute(own).fetchall()
    assert team.execute(rights, (name,)).fetchall() == before


def test_a_forged_list_of_lanes_takes_no_lock(team: psycopg.Connection) -> None:
    team.execute("select flagent_cdc.watch('team.orders', lane => 'own', lane_order => 'commit')")
    with team.transaction():
        team.execute("insert into team.orders values (1)")
        team.execute(
            "select set_config('flagent_cdc.lanes', pg_current_xact_id()::text || '/'"
            " || (select string_agg(n::text, ',') from generate_series(1, 20000) n), true)"
        )
        team.execute("set constraints all immediate")
        assert team.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        ).fetchone() == (0,)
    assert team.execute("select count(*) from flagent_cdc.lane_commit_log").fetchone() == (1,)
