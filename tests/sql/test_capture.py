"""What the triggers log, for every kind of write."""

import json
import re
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.admin.installation import migrate
from cdc.core.log.change import Commit, Hint, decode_notification
from cdc.database.queries import flagent_tables
from tests.fixtures.log import ChangeLog, add_flag, toggle
from tests.fixtures.postgres import Postgres

OpenSession = Callable[..., psycopg.Connection]


def test_an_insert_is_logged_with_the_row_after(writer: psycopg.Connection, log: ChangeLog) -> None:
    flag_id = add_flag(writer, "a", "first")
    change = log.only_commit().changes[0]
    row = writer.execute("select to_json(f) from flags f").fetchone()
    assert (change["schema"], change["table"], change["op"]) == ("public", "flags", "insert")
    assert change["before"] is None
    assert row is not None
    assert change["after"] == row[0]
    assert change["after"]["id"] == flag_id


def test_an_update_is_logged_with_the_row_before_and_after(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    toggle(writer, "a")
    change = log.commits()[-1].changes[0]
    assert change["op"] == "update"
    assert (change["before"]["enabled"], change["after"]["enabled"]) == (False, True)


def test_a_delete_is_logged_with_the_row_before(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    writer.execute("delete from flags")
    change = log.commits()[-1].changes[0]
    assert (change["op"], change["before"]["key"], change["after"]) == ("delete", "a", None)


@pytest.mark.parametrize(
    "statement",
    [
        "update flags set enabled = enabled",
        "update flags set description = description || ''",
        "update flags set enabled = true where false",
        "delete from flags where false",
        "insert into flags (key, description, created_at) values ('a', '', now()) on conflict do nothing",
        "insert into flag_snapshots (flag_id, flag, created_at) select id, '{}', now() from flags",
        "begin; update flags set enabled = true; rollback",
        "begin; savepoint s; update flags set enabled = true; rollback to s; commit",
    ],
)
def test_what_changes_nothing_is_not_logged(writer: psycopg.Connection, log: ChangeLog, statement: str) -> None:
    add_flag(writer, "a")
    log.heard(1)
    writer.execute(statement.encode())
    assert len(log.commits()) == 1
    log.heard(0)
    assert log.unpositioned() == 0


def test_on_conflict_do_update_is_logged_as_an_update(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    writer.execute(
        "insert into flags (key, description, created_at) values ('a', 'new', now()), ('b', '', now())"
        " on conflict (key) do update set description = excluded.description"
    )
    assert sorted(log.commits()[-1].logged()) == [("flags", "insert"), ("flags", "update")]


def test_merge_is_logged_row_by_row(writer: psycopg.Connection, log: ChangeLog) -> None:
    if writer.info.server_version < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    add_flag(writer, "a")
    writer.execute(
        "merge into flags f using (values ('a'), ('b')) as w (key) on f.key = w.key"
        " when matched then delete"
        " when not matched then insert (key, description, created_at) values (w.key, '', now())"
    )
    assert sorted(log.commits()[-1].logged()) == [("flags", "delete"), ("flags", "insert")]


def test_copy_is_one_commit_with_every_row(writer: psycopg.Connection, log: ChangeLog) -> None:
    with writer.cursor().copy("copy flags (key, description, created_at) from stdin") as copy:
        for number in range(500):
            copy.write_row((f"key {number}", "", "2026-01-01"))
    commit = log.only_commit()
    assert [change["after"]["key"] for change in commit.changes] == [f"key {number}" for number in range(500)]
    assert "changes" not in log.heard(1)[0]


def test_a_permanent_delete_logs_the_flag_first_and_every_cascaded_row(
    writer: psycopg.Connection, log: ChangeLog
) -> None:
    fill(writer)
    writer.execute("delete from flags where key = 'a'")
    logged = log.commits()[-1].logged()
    assert logged[0] == ("flags", "delete")
    assert sorted(logged[1:]) == [
        ("constraints", "delete"),
        ("distributions", "delete"),
        ("flags_tags", "delete"),
        ("segments", "delete"),
        ("variants", "delete"),
    ]


def test_truncate_logs_the_rows_that_go_and_then_the_truncation(writer: psycopg.Connection, log: ChangeLog) -> None:
    fill(writer)
    writer.execute("truncate flags cascade")
    commit = log.commits()[-1]
    per_table = {table: [op for name, op in commit.logged() if name == table] for table, _ in commit.logged()}
    assert per_table == {
        table: ["delete", "truncate"]
        for table in ("flags", "segments", "variants", "constraints", "distributions", "flags_tags")
    }


@pytest.mark.parametrize("isolation", list(psycopg.IsolationLevel))
def test_truncate_logs_no_row_as_an_old_snapshot_sees_it(
    database_url: str,
    open_session: Callable[..., psycopg.Connection],
    writer: psycopg.Connection,
    log: ChangeLog,
    isolation: psycopg.IsolationLevel,
) -> None:
    """TRUNCATE empties the table as it is now, also what the transaction's snapshot does not have or has otherwise."""
    for key in ("a", "b", "c", "d"):
        add_flag(writer, key)
    elder = open_session(database_url, autocommit=False)
    elder.isolation_level = isolation
    elder.execute("select from flags")
    toggle(writer, "a")
    writer.execute("delete from flags where key = 'b'")
    add_flag(writer, "e")
    writer.execute("select from flags where key = 'c' for key share")  # locked by somebody else, and there
    toggle(elder, "d")
    elder.execute("truncate flags cascade")
    elder.commit()
    logged = [change for change in log.commits()[-1].changes if change["table"] == "flags"]
    assert [change["op"] for change in logged[-1:]] == ["truncate"]
    gone = sorted(change["before"]["key"] for change in logged if change["op"] == "delete")
    sees_all = isolation in (psycopg.IsolationLevel.READ_UNCOMMITTED, psycopg.IsolationLevel.READ_COMMITTED)
    assert gone == (["a", "c", "d", "e"] if sees_all else ["c", "d"])
    assert log.unlinked() == []
    assert log.unpositioned() == 0


def test_truncate_and_insert_in_one_transaction_keep_their_order(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    with writer.transaction():
        writer.execute("truncate flags cascade")
        add_flag(writer, "b")
    assert [op for table, op in log.commits()[-1].logged() if table == "flags"] == ["delete", "truncate", "insert"]


def test_rows_of_several_hundred_kilobytes_are_logged_and_announced_without_content(
    writer: psycopg.Connection, log: ChangeLog
) -> None:
    text = "".join(f"{number} ä€\n" for number in range(60_000))
    assert len(text.encode()) > 500_000
    add_flag(writer, "a", text)
    writer.execute("update flags set description = 'x' || description")
    first, second = log.commits()
    assert first.changes[0]["after"]["description"] == text
    assert second.changes[0]["before"]["description"] == text
    assert second.changes[0]["after"]["description"] == "x" + text
    for payload, commit in zip(log.heard(2), (first, second), strict=True):
        assert decode_notification(json.dumps(payload)) == Hint(commit.position)  # type: ignore[arg-type]


@pytest.mark.parametrize("character", ["x", "€", "\x01", '"'])
def test_no_size_of_the_content_can_break_the_writer(
    writer: psycopg.Connection, log: ChangeLog, character: str
) -> None:
    bytes_in_json = len(json.dumps(character, ensure_ascii=False)[1:-1].encode())
    lengths = range(6900, 8100, 13)
    for length in lengths:
        writer.execute("insert into tags (value, created_at) values (%s, now())", (str(length),))
        add_flag(writer, str(length), character * (length // bytes_in_json))
    logged = log.heard(2 * len(lengths))
    assert [payload["position"] for payload in logged] == [commit.position for commit in log.commits()]
    assert {"changes" in payload for payload in logged[1::2]} == {True, False}


def test_a_small_commit_is_announced_with_all_it_holds(
    database_url: str, open_session: OpenSession, log: ChangeLog
) -> None:
    application = 'quo"te \\ und Ähnliches'
    session = open_session(make_conninfo(database_url, application_name=application))
    with session.transaction():
        add_flag(session, 'k"1', "täxt\n€")
        toggle(session, 'k"1')
    commit = log.only_commit()
    # In the order and the spelling of the trigger, on which the listener relies.
    announced = decode_notification(json.dumps(log.heard(1)[0], separators=(",", ":")))
    assert isinstance(announced, Commit)
    assert announced.position == commit.position
    assert [change.after and change.after.row for change in announced.changes] == [
        change["after"] for change in commit.changes
    ]
    assert [change.before and change.before.row for change in announced.changes] == [
        change["before"] for change in commit.changes
    ]
    assert announced.application == commit.application
    row = session.execute(
        "select xid::text::bigint, session_user_name, changes,"
        " to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from flagent_cdc.commit_log"
        " order by position desc limit 1"
    ).fetchone()
    assert row == (announced.xid, announced.user, 2, announced.committed_at)


def test_many_small_changes_are_announced_as_a_position_alone(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute(
        "insert into tags (value, created_at) select 'tag ' || n, '2026-01-01' from generate_series(1, 65) n"
    )
    payload = log.heard(1)[0]
    assert "changes" not in payload
    assert len(log.only_commit().changes) == 65


def test_a_large_row_between_small_ones_leaves_no_partial_announcement(
    writer: psycopg.Connection, log: ChangeLog
) -> None:
    with writer.transaction():
        add_flag(writer, "a")
        add_flag(writer, "b", "x" * 9000)
        add_flag(writer, "c")
    assert "changes" not in log.heard(1)[0]
    assert len(log.only_commit().changes) == 3


def test_a_bulk_update_keeps_order_and_images(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute(
        "insert into flags (key, description, created_at) select 'k' || n, '', now() from generate_series(1, 500) n"
    )
    with writer.transaction():
        writer.execute("update flags set description = '1'")
        writer.execute("update flags set description = '2'")
    commit = log.commits()[-1]
    assert len(commit.changes) == 1000
    assert {change["op"] for change in commit.changes} == {"update"}
    assert [change["before"]["description"] for change in commit.changes] == [""] * 500 + ["1"] * 500
    assert [change["after"]["description"] for change in commit.changes] == ["1"] * 500 + ["2"] * 500
    count = writer.execute("select changes from flagent_cdc.commit_log order by position desc limit 1").fetchone()
    assert count == (1000,)


def test_a_bulk_update_leaves_out_the_rows_that_did_not_change(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute(
        "insert into tags (value, created_at) select 'tag ' || n, '2026-01-01' from generate_series(1, 500) n"
    )
    writer.execute("update tags set value = case when id % 2 = 0 then value || '!' else value end")
    commit = log.commits()[-1]
    assert sorted(change["after"]["id"] for change in commit.changes) == list(range(2, 501, 2))
    assert all(change["after"]["value"] == change["before"]["value"] + "!" for change in commit.changes)
    count = writer.execute("select changes from flagent_cdc.commit_log order by position desc limit 1").fetchone()
    assert count == (250,)


def test_a_plan_made_for_one_row_serves_for_many(writer: psycopg.Connection, log: ChangeLog) -> None:
    for number in range(12):  # until the session keeps the plans
        add_flag(writer, f"a{number}")
        toggle(writer, f"a{number}")
    writer.execute(
        "insert into flags (key, description, created_at) select 'k' || n, '', now() from generate_series(1, 20000) n"
    )
    writer.execute("set statement_timeout = '20s'")  # a nested loop would compare 400 million pairs
    writer.execute("update flags set notes = 'x'")
    assert len(log.commits()[-1].changes) == 20012


def test_no_statement_of_ours_is_compiled(writer: psycopg.Connection, log: ChangeLog) -> None:
    """Where PostgreSQL thinks a plan costly it compiles it, in every session and at every commit: 60 ms each time."""
    try:
        writer.execute("load 'auto_explain'")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this server has no auto_explain")
    plans: list[str] = []
    writer.execute(
        "insert into flags (key, description, created_at) select n, '', now() from generate_series(1, 5000) n"
    )
    writer.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    writer.execute(
        "set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;"
        " set client_min_messages = log"
    )
    writer.execute("update flags set notes = 'x'")  # the session keeps plans that were made for many rows
    for number in range(7):  # and those that serve for every value
        writer.execute("update flags set notes = %s where id = 1", (number,))
        writer.execute("update flags set notes = %s where id < 4", (number,))
        with writer.transaction():
            toggle(writer, "1")
            toggle(writer, "2")
    ours = [plan for plan in plans if "flagent_cdc." in plan]
    assert len(ours) > 40
    for plan in ours:
        (cost,) = re.findall(r"cost=[\d.]+\.\.([\d.]+)", plan)[:1]
        assert float(cost) < 100_000, plan  # jit_above_cost
        assert "Disabled: true" not in plan, plan


def test_flagent_may_change_its_tables_while_they_are_watched(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    toggle(writer, "a")
    writer.execute("alter table flags add column owner text default 'nobody'")
    toggle(writer, "a")
    writer.execute("alter table flags alter column description type varchar(900), alter column snapshot_id type bigint")
    toggle(writer, "a")
    writer.execute("alter table flags drop column notes")
    writer.execute("alter table flags rename column owner to keeper")
    toggle(writer, "a")
    after = [commit.changes[-1]["after"] for commit in log.commits()]
    assert [image.get("owner") for image in after] == [None, None, "nobody", "nobody", None]
    assert after[-1]["keeper"] == "nobody"
    assert "notes" not in after[-1]


def test_savepoints_keep_what_was_kept(writer: psycopg.Connection, log: ChangeLog) -> None:
    with writer.transaction():
        with writer.transaction(force_rollback=True):
            add_flag(writer, "lost")  # opens the batch, and takes it back
        add_flag(writer, "kept")
        with writer.transaction(force_rollback=True):
            add_flag(writer, "lost too")
        with writer.transaction():
            add_flag(writer, "kept too")
    commit = log.only_commit()
    assert [change["after"]["key"] for change in commit.changes] == ["kept", "kept too"]
    (heard,) = log.heard(1)
    assert heard["position"] == commit.position
    assert [change["after"]["key"] for change in heard["changes"]] == ["kept", "kept too"]
    assert log.unpositioned() == 0


def test_a_failed_statement_inside_an_exception_block_leaves_no_trace(
    writer: psycopg.Connection, log: ChangeLog
) -> None:
    writer.execute(
        """do $$ begin
            begin
                insert into flags (key, description, created_at) values ('lost', '', now());
                raise exception 'no';
            exception when others then null;
            end;
            insert into flags (key, description, created_at) values ('kept', '', now());
        end $$"""
    )
    assert [change["after"]["key"] for change in log.only_commit().changes] == ["kept"]
    assert log.unpositioned() == 0


def test_a_writer_needs_no_right_on_our_schema(
    postgres: Postgres, database_url: str, open_session: OpenSession, log: ChangeLog
) -> None:
    owner = open_session(database_url)
    owner.execute("drop role if exists plain_writer")
    owner.execute("create role plain_writer login password 'plain'")
    try:
        owner.execute("grant select, insert, update, delete, truncate on all tables in schema public to plain_writer")
        owner.execute("grant usage on all sequences in schema public to plain_writer")
        with psycopg.connect(make_conninfo(database_url, user="plain_writer", password="plain")) as session:
            add_flag(session, "a")
            toggle(session, "a")
            session.execute("truncate flags cascade")
            session.commit()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("select from flagent_cdc.commit_log")
            session.rollback()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("select flagent_cdc.log_change('public', 'flags', 'insert', null, null, null)")
        commit = log.only_commit()
        assert [op for table, op in commit.logged() if table == "flags"] == ["insert", "update", "delete", "truncate"]
        assert commit.user == "plain_writer"
    finally:
        owner.execute("drop owned by plain_writer")
        owner.execute("drop role plain_writer")


def test_a_search_path_of_the_writer_changes_nothing(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute("create schema trap")
    writer.execute("create function trap.nextval(regclass) returns bigint language sql as 'select 1/0::bigint'")
    writer.execute("create table trap.change_log (x integer)")
    writer.execute("create function trap.starts_with(text, text) returns boolean language sql as 'select 1/0 = 1'")
    writer.execute("set search_path = trap, public, pg_catalog")
    toggle_key = "a"
    add_flag(writer, toggle_key)
    toggle(writer, toggle_key)
    assert log.changes() == [("flags", "insert"), ("flags", "update")]


def test_what_a_replication_session_applies_is_logged_too(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute("set session_replication_role = replica")
    add_flag(writer, "a")
    toggle(writer, "a")
    writer.execute("truncate tags, flags_tags")
    assert log.changes()[:2] == [("flags", "insert"), ("flags", "update")]
    log.heard(3)


def test_a_second_schema_is_told_apart(writer: psycopg.Connection, database_url: str, log: ChangeLog) -> None:
    writer.execute('create schema "tenant ""7"""')
    writer.execute('set search_path = "tenant ""7"""')
    writer.execute(flagent_tables())
    migrate(database_url, ["public", 'tenant "7"'])
    add_flag(writer, "a")
    writer.execute("truncate flags cascade")
    commits = log.commits()
    assert {change["schema"] for commit in commits for change in commit.changes} == {'tenant "7"'}
    assert commits[-2].changes[0]["after"]["key"] == "a"


def test_a_leftover_setting_of_another_transaction_is_not_believed(writer: psycopg.Connection, log: ChangeLog) -> None:
    writer.execute("set flagent_cdc.transaction = '1'")
    writer.execute("set flagent_cdc.changes = ''")
    add_flag(writer, "a")
    toggle(writer, "a")
    assert [len(payload["changes"]) for payload in log.heard(2)] == [1, 1]
    assert log.unpositioned() == 0


def test_settings_reset_in_mid_transaction_lose_nothing(writer: psycopg.Connection, log: ChangeLog) -> None:
    with writer.transaction():
        add_flag(writer, "a")
        add_flag(writer, "b")
        writer.execute("reset all")
        add_flag(writer, "c")
    assert [change["after"]["key"] for commit in log.commits() for change in commit.changes] == ["a", "b", "c"]
    assert log.unpositioned() == 0


def test_a_pooled_connection_starts_every_transaction_afresh(writer: psycopg.Connection, log: ChangeLog) -> None:
    for number in range(3):
        with writer.transaction():
            add_flag(writer, f"k{number}")
        writer.execute("discard all")
    assert [len(commit.changes) for commit in log.commits()] == [1, 1, 1]


def fill(connection: psycopg.Connection) -> None:
    """A flag with one of everything."""
    connection.execute(
        """with f as (insert into flags (key, description, created_at) values ('a', '', now()) returning id),
        s as (insert into segments (flag_id, created_at) select id, now() from f returning id),
        v as (insert into variants (flag_id, key, created_at) select id, 'on', now() from f returning id),
        c as (insert into constraints (segment_id, property, operator, value, created_at)
              select id, 'p', 'EQ', '"x"', now() from s),
        d as (insert into distributions (segment_id, variant_id, percent, created_at)
              select s.id, v.id, 100, now() from s, v),
        t as (insert into tags (value, created_at) values ('t', now()) returning id)
        insert into flags_tags (flag_id, tag_id) select f.id, t.id from f, t"""
    )
