"""From revision 0008 with data, and back: each commit is read once and in order, also by a server of that revision."""

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc.admin.installation import downgrade, migrate
from cdc.core.log.change import Commit
from cdc.core.log.lane import FLAGS, Lane
from cdc.core.log.position import Position
from cdc.database.database_url import read_database_url
from cdc.database.queries import query
from cdc.errors import DatabaseError
from cdc.postgres.log_reader import LogReader
from tests.cdc.admin.test_installation import ask, do
from tests.cdc.admin.test_upgrade import install_tables_of
from tests.fixtures.earlier_server import EarlierServer, Read
from tests.fixtures.horizon import wait_for, wait_for_horizon

FIXTURE = Path(__file__).parents[2] / "sql" / "fixtures" / "revision_0008.sql"

OWN = Lane("own", 1, "commit")
FREE = Lane("free", 2, "read")
LANES = (FLAGS, OWN, FREE)

# Tables in every kind of lane, with every kind of option.
TABLES = """
create table plain (id integer primary key, note text);
create table chosen (id integer primary key, total numeric, email text, hidden text);
create table days (id integer primary key) partition by range (id);
create table days_1 partition of days for values from (0) to (1000000);
create table own (id integer primary key, note text);
create table free (id integer primary key, note text);
select flagent_cdc.watch('plain');
select flagent_cdc.watch('chosen', exclude => '{hidden}', mask => '{email}', predicate => 'total > 10');
select flagent_cdc.watch('days', operations => '{insert,truncate}');
select flagent_cdc.watch('own', lane => 'own');
select flagent_cdc.watch('free', lane => 'free', lane_order => 'read');
"""

DEADLINE_S = 60


def install_objects(url: str) -> None:
    """What that version's migrate did after its revisions."""
    objects = re.split(r"^-- object (\w+)$", FIXTURE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    with psycopg.connect(url) as connection:
        for name, text in zip(objects[::2], objects[1::2], strict=True):
            connection.execute(text.encode())
            connection.execute(
                "insert into flagent_cdc.installed_object (name, sha256) values (%s, %s)",
                (name, hashlib.sha256(text.encode()).hexdigest()),
            )
        connection.execute(query("restore_watch_triggers"))
        connection.execute("select flagent_cdc.attach('public')")


def write(session: psycopg.Connection, number: int) -> None:
    """Two commits in every lane: one with several changes of a row, and one with more changes than a page."""
    with session.transaction():
        session.execute("insert into flags (key, description, created_at) values (%s, '1', now())", (f"flag-{number}",))
        session.execute("update flags set description = '2' where key = %s", (f"flag-{number}",))
        session.execute("insert into plain values (%s, 'a')", (number,))
        session.execute("insert into chosen values (%s, %s, 'a@x', 'secret')", (number, number * 10))
        session.execute("insert into days values (%s)", (number,))
        session.execute("insert into own values (%s, 'a')", (number,))
        session.execute("insert into free values (%s, 'a')", (number,))
        session.execute("update own set note = 'b' where id = %s", (number,))
        session.execute("update free set note = 'b' where id = %s", (number,))
    with session.transaction():
        for table in ("plain", "own", "free"):
            for note in "cdefghijk":
                session.execute(f"update {table} set note = '{note}' where id = %s".encode(), (number,))


def expected(lane: Lane, number: int) -> list[tuple[str, str, str | None]]:
    """What `write` leaves of a number in a lane: table, operation, and the column that changes."""
    letters = "cdefghijk"
    if lane is FLAGS:
        return [
            ("flags", "insert", "1"),
            ("flags", "update", "2"),
            ("plain", "insert", "a"),
            *([("chosen", "insert", None)] if number > 1 else []),
            ("days", "insert", None),
            *(("plain", "update", note) for note in letters),
        ]
    return [(lane.name, "insert", "a"), *((lane.name, "update", note) for note in "b" + letters)]


def number_of(read: Read) -> int:
    _, _, table, _, before, after, _ = read
    row = after or before
    return int(row["key"].removeprefix("flag-")) if table == "flags" else int(row["id"])


def by_number(reads: list[Read]) -> dict[int, list[tuple[str, str, str | None]]]:
    """What was read of each number, in the order in which it was read, without the commits of attach().

    An upgrade attaches Flagent's tables anew: that logs their rows once more, after a truncate.
    """
    attached = {position for position, _, _, op, *_ in reads if op == "truncate"}
    found: dict[int, list[tuple[str, str, str | None]]] = {}
    for read in reads:
        position, _, table, op, _, after, _ = read
        if position in attached:
            continue
        shown = after.get("description" if table == "flags" else "note")
        found.setdefault(number_of(read), []).append((table, op, shown))
    return found


def of_commits(commits: list[Commit]) -> list[Read]:
    return [
        (
            commit.position,
            change.schema,
            change.table,
            str(change.op.value),
            *(None if row is None else json.loads(row.text) for row in (change.before, change.after, change.key)),
        )
        for commit in commits
        for change in commit.changes
    ]


async def check_readers(url: str, lane: Lane, earlier: EarlierServer, after: int = 0) -> list[Read]:
    """What is read after a position: the same by this version and by an earlier server, in pages, and backwards."""
    earlier.follow()
    log = LogReader(read_database_url(url), lane)
    try:
        reads: list[Read] = []
        position = Position(after)
        while commits := await log.commits_after(position, 5):
            reads += of_commits(commits)
            position = commits[-1].position
        state = await log.state()
    finally:
        await log.close()
    assert [read for read in earlier.read if read[0] > after] == reads
    known = {read[0] for read in earlier.back()}
    assert [read for read in earlier.read if read[0] in known] == earlier.back()
    assert earlier.ask("newest_position") == [(state.newest,)]
    if state.stamp is not None:
        assert earlier.ask("commit_stamp", position=state.newest) == [(state.stamp.committed_at, state.stamp.xid)]
    if lane is not FREE:
        positions = sorted({read[0] for read in earlier.read})
        assert positions == list(range(positions[0], positions[-1] + 1)), "positions have a gap"
    return reads


@pytest.fixture
def url_0008(flagent_url: str) -> str:
    """A database as revision 0008 left it, with commits in every kind of lane; older ones are pruned."""
    install_tables_of(flagent_url, "0008")
    install_objects(flagent_url)
    do(flagent_url, TABLES)
    with psycopg.connect(flagent_url, autocommit=True) as session:
        for number in range(2, 8):
            write(session, number)
        # Leaves a request for a position behind, in each lane.
        with session.transaction():
            session.execute("update flags set enabled = true where key = 'flag-7'")
            session.execute("update own set note = 'deferred' where id = 7")
            session.execute("set constraints all immediate")
        assert session.execute("select count(*) from flagent_cdc.deferred_commit").fetchone() == (1,)
        assert session.execute("select count(*) from flagent_cdc.lane_deferred_commit").fetchone() == (1,)
        session.execute("update flagent_cdc.retention set min_age = '0'")
        session.execute("select flagent_cdc.prune(null, 40, 10)")
        session.execute("select flagent_cdc.prune_lane(1, null, 12, 10)")
        wait_for_horizon(flagent_url)
        session.execute("select flagent_cdc.prune_lane(2, null, 12, 10)")
        session.execute("update flagent_cdc.retention set min_age = '42 minutes'")
        assert session.execute(
            "select (select pruned_to from flagent_cdc.retention) > 0, bool_and(pruned_to > 0) from flagent_cdc.lane"
        ).fetchone() == (True, True)
    return flagent_url


@contextmanager
def writing(url: str, numbers: list[int]) -> Iterator[list[BaseException]]:
    """Four writers in sessions of their own, until the end; `numbers` gets those that are committed."""
    is_over = threading.Event()
    failures: list[BaseException] = []

    def run(first: int) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as session:
                for number in range(first, 10_000, 4):
                    if is_over.is_set():
                        return
                    write(session, number)
                    numbers.append(number)
        except psycopg.Error as error:
            failures.append(error)

    writers = [threading.Thread(target=run, args=(first,)) for first in range(100, 104)]
    for writer in writers:
        writer.start()
    try:
        yield failures
    finally:
        is_over.set()
        for writer in writers:
            writer.join(DEADLINE_S)
    assert failures == []


async def test_an_upgrade_keeps_every_log_and_both_versions_read_it_on(url_0008: str) -> None:
    with psycopg.connect(url_0008, autocommit=True) as server, psycopg.connect(url_0008, autocommit=True) as session:
        earlier = {lane: EarlierServer(server, lane) for lane in LANES}
        write(session, 9)
        wait_for_horizon(url_0008)
        before = {lane: await check_readers(url_0008, lane, earlier[lane]) for lane in LANES}
        migrate(url_0008)
        # Also a session that has called the old functions.
        write(session, 10)
        wait_for_horizon(url_0008)
        for lane in LANES:
            newest = before[lane][-1][0]
            after = await check_readers(url_0008, lane, earlier[lane], after=newest)
            assert by_number(after) == {10: expected(lane, 10)}
            assert [read for read in earlier[lane].read if read[0] <= newest] == before[lane]
            if lane is not FREE:
                assert after[0][0] == newest + 1
    assert ask(url_0008, "select problems from flagent_cdc.watched()") == [([],)] * 5
    assert ask(url_0008, "select flagent_cdc.watch('own', lane => 'own')") == [("unchanged",)]


async def test_during_an_upgrade_each_commit_is_captured_once_and_an_earlier_server_follows(url_0008: str) -> None:
    numbers: list[int] = []
    is_over = threading.Event()
    with psycopg.connect(url_0008, autocommit=True) as server:
        earlier = {lane: EarlierServer(server, lane) for lane in LANES}

        def follow() -> None:
            while not is_over.is_set():
                for lane in LANES:
                    earlier[lane].follow()

        following = threading.Thread(target=follow)
        with writing(url_0008, numbers) as failures:
            following.start()
            wait_for(lambda: len(numbers) >= 8 or bool(failures), "commits before the upgrade")
            with psycopg.connect(url_0008) as holder:
                # Captured by the old functions, with work left for COMMIT, which comes while the upgrade waits.
                holder.execute("insert into own values (50, 'a')")
                holder.execute("update flags set notes = 'open' where key = 'flag-2'")
                holder.execute("set constraints all immediate")
                upgrade = threading.Thread(target=migrate, args=(url_0008,))
                upgrade.start()
                upgrade.join(timeout=0.5)
                assert upgrade.is_alive()
                holder.commit()
            upgrade.join(DEADLINE_S)
            assert not upgrade.is_alive()
            done = len(numbers)
            wait_for(lambda: len(numbers) >= done + 8 or bool(failures), "commits after the upgrade")
        is_over.set()
        following.join(DEADLINE_S)
        assert not following.is_alive()
        wait_for_horizon(url_0008)
        for lane in LANES:
            await check_readers(url_0008, lane, earlier[lane])
            found = by_number(earlier[lane].read)
            for number in numbers:
                assert found[number] == expected(lane, number), (lane, number)
            assert {number for number in found if number >= 100} == set(numbers)
        assert by_number(earlier[OWN].read)[50] == [("own", "insert", "a")]


async def test_on_the_way_back_no_writer_fails_and_that_version_captures_on(url_0008: str) -> None:
    migrate(url_0008)
    numbers: list[int] = []
    with psycopg.connect(url_0008, autocommit=True) as server:
        earlier = {lane: EarlierServer(server, lane) for lane in LANES}
        with writing(url_0008, numbers) as failures:
            wait_for(lambda: len(numbers) >= 8 or bool(failures), "commits before the downgrade")
            before = set(numbers)
            downgrade(url_0008, "0008")
            done = len(numbers)
            wait_for(lambda: len(numbers) >= done + 8 or bool(failures), "commits without triggers")
        install_objects(url_0008)
        downgraded = set(numbers)
        wait_for_horizon(url_0008)
        for lane in LANES:
            earlier[lane].follow()
            found = by_number(earlier[lane].read)
            assert all(found[number] == expected(lane, number) for number in before), lane
        with psycopg.connect(url_0008, autocommit=True) as session:
            write(session, 11)
            # And forth, with the numbers that the older version has drawn in between.
            migrate(url_0008)
            write(session, 12)
        wait_for_horizon(url_0008)
        for lane in LANES:
            newest = earlier[lane].position
            after = by_number(await check_readers(url_0008, lane, earlier[lane], after=newest))
            assert after == {number: expected(lane, number) for number in (11, 12)}, lane
            assert set(by_number(earlier[lane].read)) <= downgraded | set(range(13)), lane
    assert ask(url_0008, "select problems from flagent_cdc.watched()") == [([],)] * 5


def role_of(url: str) -> str:
    return str(conninfo_to_dict(url)["user"])


@pytest.fixture
def owners(flagent_url: str) -> Iterator[tuple[str, str]]:
    """Two roles that are no superusers: `owner` owns Flagent's tables and flagent_cdc of revision 0008, `team` a table.

    `owner` is a member of `team`.
    """
    owner, team = (f"cdc_{name}_{uuid.uuid4().hex[:8]}" for name in ("owner", "team"))
    database = conninfo_to_dict(flagent_url)["dbname"]
    do(
        flagent_url,
        f"""
        create role {owner} login password 'p';
        create role {team};
        grant {team} to {owner};
        grant create on database {database} to {owner};
        do $$
        declare
            relation text;
        begin
            for relation in select c.oid::regclass from pg_class c where c.relnamespace = 'public'::regnamespace
                and c.relkind = 'r'
            loop
                execute 'alter table ' || relation || ' owner to {owner}';
            end loop;
        end
        $$;
        create table theirs (id integer primary key, note text);
        alter table theirs owner to {team};
        create function is_open(note text) returns boolean language sql stable as $$ select note <> 'hidden' $$;
        revoke all on function is_open(text) from public;
        grant execute on function is_open(text) to {team};
        """,
    )
    url = make_conninfo(flagent_url, user=owner, password="p")
    try:
        install_tables_of(url, "0008")
        install_objects(url)
        do(url, "select flagent_cdc.watch('theirs', predicate => 'note <> $$hidden$$')")
        yield url, team
    finally:
        do(flagent_url, f"drop owned by {owner}, {team} cascade; drop role {owner}; drop role {team}")


async def test_an_owner_that_is_no_superuser_upgrades_and_predicates_of_other_owners_keep_working(
    owners: tuple[str, str], flagent_url: str
) -> None:
    url, team = owners
    do(url, "select flagent_cdc.watch('theirs', predicate => 'public.is_open(note)')")
    do(url, "insert into theirs values (1, 'a'), (2, 'hidden')")
    # As a role that runs a server has it.
    do(url, f"grant usage on schema flagent_cdc to {team}")
    migrate(url)
    rights = (
        "select has_schema_privilege(%s, 'flagent_cdc', 'usage'), has_schema_privilege(%s, 'flagent_cdc', 'create')"
    )
    assert ask(url, rights.replace("%s", f"'{team}'")) == [(True, False)]
    # Capture goes on when the membership has ended.
    do(flagent_url, f"revoke {team} from {role_of(url)}; insert into theirs values (3, 'a'), (4, 'hidden')")
    do(url, "insert into flags (key, description, created_at) values ('a', '', now())")
    with psycopg.connect(url, autocommit=True) as server:
        reads = await check_readers(url, FLAGS, EarlierServer(server, FLAGS))
    assert [read[5]["id"] for read in reads if read[2] == "theirs"] == [1, 3]
    assert [read[5]["key"] for read in reads if read[2] == "flags" and read[3] == "insert"] == ["a"]
    assert ask(flagent_url, "select problems from flagent_cdc.watched()") == [([],)]


@pytest.mark.parametrize("change", [migrate, lambda url: downgrade(url, "0008")], ids=["upgrade", "downgrade"])
def test_a_table_of_an_owner_without_membership_is_named_and_nothing_is_changed(
    owners: tuple[str, str], flagent_url: str, change: Callable[[str], object]
) -> None:
    url, team = owners
    if change is not migrate:
        migrate(url)
    before = ask(flagent_url, "select version_num from flagent_cdc.alembic_version")
    do(flagent_url, f"revoke {team} from {role_of(url)}; insert into theirs values (1, 'a')")
    with pytest.raises(DatabaseError, match=rf"the table theirs belongs to {team}: run this as a superuser, or grant"):
        change(url)
    assert ask(flagent_url, "select version_num from flagent_cdc.alembic_version") == before
    do(flagent_url, "insert into theirs values (3, 'a')")
    assert ask(
        flagent_url, "select after ->> 'id' from flagent_cdc.change_log where table_name = 'theirs' order by 1"
    ) == [("1",), ("3",)]
