"""What every source keeps: these tests run on the one in memory and on PostgreSQL, with the same assertions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.log.change import Commit, Op
from cdc.core.log.continuity import CommitFingerprint
from cdc.core.log.position import CommitHash, LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.errors import OutOfReach
from cdc.source.log import Log, LogHistory
from cdc.source.upstream import Upstream
from tests.fixtures.replica import Recorder, following
from tests.fixtures.server import until

__all__ = ["SourceContract", "Subject"]

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Subject(Protocol):
    """A source under test, and how it is written to. Each call is one transaction."""

    upstream: Upstream

    def flags(self, *keys: str) -> list[int]:
        """Create flags; their ids."""

    def describe(self, flag_id: int, text: str) -> None: ...

    def delete(self, flag_id: int) -> None: ...

    def order(self, number: int) -> None:
        """Insert a row into the watched table `orders`, whose key is `id`."""

    def hole(self) -> None:
        """A transaction that draws a position and rolls back."""

    def prune(self, keep: int) -> None:
        """Forget all commits but the newest ones."""

    def replace_log(self) -> None:
        """Become another log, as a restored database is one."""


def keys_of(commits: Sequence[Commit]) -> list[list[str]]:
    return [[change.after.row["key"] for change in commit.changes if change.after] for commit in commits]


class SourceContract:
    """Inherit it, and provide the fixture `subject`."""

    @pytest.fixture
    async def log(self, subject: Subject) -> AsyncIterator[Log]:
        log = subject.upstream.open(Recorder()).log
        yield log
        await log.close()

    @pytest.fixture
    async def history(self, subject: Subject) -> AsyncIterator[LogHistory]:
        history = subject.upstream.log_history()
        assert history is not None
        yield history
        await history.close()

    # -- the log -------------------------------------------------------------------------------------------------

    async def test_the_bootstrap_is_the_state_at_the_newest_position(self, subject: Subject, log: Log) -> None:
        first, second = subject.flags("a", "b")
        subject.describe(first, "changed")
        subject.delete(second)
        bootstrap, state = await log.bootstrap(), await log.state()
        assert (bootstrap.log, bootstrap.position, bootstrap.stamp) == (state.log, state.newest, state.stamp)
        assert bootstrap.position == await log.newest()
        catalog = bootstrap.catalog()
        assert (catalog.log, catalog.position) == (state.log, state.newest)
        assert [(flag["key"], flag["description"]) for _, flag in catalog.flags("public")] == [("a", "changed")]

    async def test_the_state_names_the_newest_commit_by_its_fingerprint(self, subject: Subject, log: Log) -> None:
        before = await log.state()
        subject.flags("a")
        after = await log.state()
        (commit,) = await log.commits_after(before.newest, 10)
        assert after.stamp == CommitFingerprint.of(commit)
        assert (after.log, after.channel, after.newest) == (before.log, before.channel, commit.position)
        assert after.is_complete

    async def test_commits_come_in_order_with_their_changes(self, subject: Subject, log: Log) -> None:
        begin = await log.newest()
        (flag,) = subject.flags("a")
        subject.describe(flag, "changed")
        subject.delete(flag)
        commits = await log.commits_after(begin, 100)
        assert [[(change.table, change.op) for change in commit.changes] for commit in commits] == [
            [("flags", Op.INSERT)],
            [("flags", Op.UPDATE)],
            [("flags", Op.DELETE)],
        ]
        before, after = commits[1].changes[0].before, commits[1].changes[0].after
        assert before is not None
        assert after is not None
        assert (before.row["description"], after.row["description"]) == ("", "changed")
        positions = [commit.position for commit in commits]
        assert positions == sorted(set(positions))
        assert [commit.committed_at for commit in commits] == sorted(commit.committed_at for commit in commits)
        assert all(commit.ends and not commit.begin for commit in commits)

    @pytest.mark.parametrize(
        ("limit", "expected"),
        [(1, [["a", "b"]]), (2, [["a", "b"]]), (3, [["a", "b"], ["c"]]), (100, [["a", "b"], ["c"], ["d"]])],
    )
    async def test_a_limit_gives_whole_commits(
        self, subject: Subject, log: Log, limit: int, expected: list[list[str]]
    ) -> None:
        begin = await log.newest()
        subject.flags("a", "b")
        subject.flags("c")
        subject.flags("d")
        assert keys_of(await log.commits_after(begin, limit)) == expected

    async def test_commits_come_backwards_down_to_a_position(self, subject: Subject, log: Log) -> None:
        begin = await log.newest()
        for key in ("a", "b", "c"):
            subject.flags(key)
        newest = await log.newest()
        assert keys_of(await log.commits_before(newest, begin, 100)) == [["c"], ["b"], ["a"]]
        assert keys_of(await log.commits_before(newest, begin, 2)) == [["c"], ["b"]]
        assert keys_of(await log.commits_before(Position(newest - 1), Position(begin + 1), 100)) == [["b"]]

    async def test_a_hole_in_the_positions_is_no_commit(self, subject: Subject, log: Log) -> None:
        begin = await log.newest()
        subject.flags("a")
        subject.hole()
        subject.flags("b")
        first, second = await log.commits_after(begin, 100)
        assert second.position > first.position + 1
        assert (await log.state()).holds_all_after(begin)

    async def test_a_pruned_log_says_how_far_it_reaches(self, subject: Subject, log: Log) -> None:
        begin = await log.newest()
        for key in ("a", "b", "c"):
            subject.flags(key)
        kept = (await log.commits_after(begin, 100))[-1].position
        subject.prune(1)
        state = await log.state()
        assert (state.oldest, state.newest) == (kept, kept)
        assert not state.holds_all_after(begin)
        assert state.holds_all_after(Position(kept - 1))

    async def test_an_emptied_log_holds_nothing_of_the_past(self, subject: Subject, log: Log) -> None:
        subject.flags("a")
        newest = await log.newest()
        subject.prune(0)
        state = await log.state()
        assert (state.oldest, state.newest, state.stamp) == (None, 0, None)
        assert not state.holds_all_after(newest)
        subject.flags("b")
        assert await log.newest() > newest

    # -- followers -----------------------------------------------------------------------------------------------

    async def test_a_follower_loads_first_and_then_gets_each_commit_in_order(self, subject: Subject) -> None:
        (flag,) = subject.flags("a")
        replica = Recorder()
        async with following(subject.upstream, replica) as follower:
            assert follower.mode == "listening"
            assert replica.reasons == [ResyncReason.LOG_REPLACED]
            begin = replica.catalog.position
            for number in range(20):
                subject.describe(flag, str(number))
            await until(lambda: replica.descriptions() == {"a": "19"}, "the commits")
            assert replica.positions == list(range(begin + 1, begin + 21))
            assert follower.notifications >= 1
        assert len(replica.reasons) == 1

    async def test_a_follower_goes_on_over_a_hole(self, subject: Subject) -> None:
        replica = Recorder()
        async with following(subject.upstream, replica):
            subject.flags("a")
            subject.hole()
            subject.flags("b")
            await until(lambda: set(replica.descriptions()) == {"a", "b"}, "the commits")
        assert len(replica.reasons) == 1
        assert len(replica.positions) == 2

    async def test_a_follower_catches_up_with_what_happened_while_it_was_away(self, subject: Subject) -> None:
        replica = Recorder()
        async with following(subject.upstream, replica):
            pass
        for key in ("a", "b", "c"):
            subject.flags(key)
        async with following(subject.upstream, replica):
            await until(lambda: set(replica.descriptions()) == {"a", "b", "c"}, "the commits")
        assert len(replica.positions) == 3
        assert len(replica.reasons) == 1

    async def test_a_follower_loads_anew_where_what_it_missed_was_pruned(self, subject: Subject) -> None:
        replica = Recorder()
        async with following(subject.upstream, replica):
            pass
        for key in ("a", "b", "c"):
            subject.flags(key)
        subject.prune(1)
        async with following(subject.upstream, replica):
            assert replica.reasons == [ResyncReason.LOG_REPLACED, ResyncReason.PRUNED]
            assert set(replica.descriptions()) == {"a", "b", "c"}

    async def test_a_follower_loads_another_log(self, subject: Subject) -> None:
        subject.flags("a")
        replica = Recorder()
        async with following(subject.upstream, replica):
            log = replica.catalog.log
            subject.replace_log()
            await until(lambda: replica.catalog.log != log, "the other log")
            assert replica.reasons == [ResyncReason.LOG_REPLACED] * 2
            subject.flags("b")
            await until(lambda: set(replica.descriptions()) == {"a", "b"}, "the commit after it")

    # -- the history ---------------------------------------------------------------------------------------------

    async def test_the_range_is_that_of_the_log(self, subject: Subject, log: Log, history: LogHistory) -> None:
        subject.flags("a")
        found, state = await history.reach(), await log.state()
        assert (found.log, found.oldest, found.newest) == (state.log, state.oldest, state.newest)
        assert found.oldest_at is not None
        assert found.oldest_at <= found.now
        assert found.database
        assert await history.size_bytes() > 0

    async def test_a_time_is_a_position(self, subject: Subject, log: Log, history: LogHistory) -> None:
        subject.flags("a")
        first = await log.newest()
        await asyncio.sleep(0.002)
        subject.flags("b")
        newest = await log.newest()
        (last,) = await log.commits_after(first, 1)
        made_at = datetime.fromisoformat(last.committed_at)
        assert await history.position_at(made_at) == newest
        assert await history.position_at(made_at + timedelta(days=1)) == newest
        assert await history.position_at(made_at - timedelta(microseconds=1)) == first
        oldest = (await history.reach()).oldest
        assert oldest is not None
        assert await history.position_at(BEGINNING) == oldest - 1
        subject.prune(0)
        assert await history.position_at(made_at) is None

    async def test_commits_of_flags_come_without_the_changes_of_watched_tables(
        self, subject: Subject, log: Log, history: LogHistory
    ) -> None:
        begin = await log.newest()
        subject.flags("a", "b")
        subject.order(1)
        newest = await log.newest()
        commits = await history.flag_commits_before(newest, begin, 100, 1000)
        assert commits is not None
        assert [[change.table for change in commit.changes] for commit in commits] == [[], ["flags", "flags"]]
        assert await history.flag_commits_before(Position(newest - 1), begin, 100, 1) is None

    async def test_pages_of_changes_lead_through_the_log_also_within_a_commit(
        self, subject: Subject, log: Log, history: LogHistory
    ) -> None:
        begin, state = await log.newest(), await log.state()
        subject.flags("a", "b", "c")
        subject.order(1)
        after = Cursor(begin, None, state.log)
        found: list[tuple[Position, int, int, str]] = []
        sizes = []
        while True:
            page = await history.changes_after(after, limit=2, scan=2, tables=None)
            found += [(each.position, each.index, each.count, each.table) for each in page.changes]
            sizes.append(len(page.changes))
            after = page.next
            if page.is_open:
                break
        first, second = Position(begin + 1), Position(begin + 2)
        assert found == [
            (first, 1, 3, "flags"),
            (first, 2, 3, "flags"),
            (first, 3, 3, "flags"),
            (second, 1, 1, "orders"),
        ]
        assert sizes == [2, 2]
        newest = await log.stamp(second)
        assert newest is not None
        assert after == Cursor(second, None, state.log, hash=newest.hash)
        assert page.newest == second

    async def test_a_page_of_one_table_moves_on_past_the_others(
        self, subject: Subject, log: Log, history: LogHistory
    ) -> None:
        state = await log.state()
        subject.order(1)
        subject.flags("a")
        for name in ("orders", "public.orders"):
            page = await history.changes_after(Cursor(state.newest, None, state.log), limit=10, scan=10, tables=[name])
            assert [(each.table, each.op, each.key) for each in page.changes] == [("orders", Op.INSERT, '{"id" : 1}')]
            assert (page.next.position, page.next.index) == (state.newest + 2, None)

    async def test_a_page_without_a_cursor_begins_with_the_oldest_change(
        self, subject: Subject, history: LogHistory
    ) -> None:
        subject.flags("a")
        subject.flags("b")
        subject.prune(1)
        page = await history.changes_after(None, limit=10, scan=10, tables=None)
        assert len(page.changes) == 1
        assert page.is_open

    async def test_a_commit_is_known_by_its_position(self, subject: Subject, log: Log, history: LogHistory) -> None:
        subject.flags("a")
        subject.order(1)
        state = await log.state()
        assert state.stamp is not None
        for each in (log, history):
            assert await each.stamp(state.newest) == state.stamp
            before = await each.stamp(Position(state.newest - 1))
            assert before is not None
            assert before.hash != state.stamp.hash
            assert await each.stamp(Position(state.newest + 1)) is None

    async def test_a_cursor_of_a_past_that_was_rewritten_is_refused(
        self, subject: Subject, log: Log, history: LogHistory
    ) -> None:
        subject.flags("a")
        subject.order(1)
        newest, log_id = await log.newest(), (await log.state()).log
        for position in (newest, Position(newest - 1)):
            cursor = Cursor(position, None, log_id, hash=CommitHash("zzzzzz"))
            with pytest.raises(OutOfReach) as caught:
                await history.changes_after(cursor, limit=10, scan=10, tables=None)
            assert caught.value.code == "log_replaced"
        page = await history.changes_after(None, limit=1, scan=1, tables=None)
        assert page.next.hash is not None
        assert (await history.changes_after(page.next, limit=10, scan=10, tables=None)).is_open

    async def test_cursors_out_of_reach_are_refused(self, subject: Subject, log: Log, history: LogHistory) -> None:
        begin, state = await log.newest(), await log.state()
        for key in ("a", "b", "c"):
            subject.flags(key)
        subject.prune(1)

        async def refused(cursor: Cursor) -> str:
            with pytest.raises(OutOfReach) as caught:
                await history.changes_after(cursor, limit=10, scan=10, tables=None)
            return caught.value.code

        assert await refused(Cursor(begin, None, LogId("other"))) == "log_replaced"
        assert await refused(Cursor(Position(begin + 99), None, state.log)) == "ahead"
        assert await refused(Cursor(begin, None, state.log)) == "pruned"
        # Of a commit that is read in part, the rest is gone too.
        assert await refused(Cursor(Position(begin + 2), 1, state.log)) == "pruned"
        page = await history.changes_after(Cursor(Position(begin + 2), None, state.log), limit=9, scan=9, tables=None)
        assert len(page.changes) == 1
