"""Commits cut into messages are the same commits when put together, whatever they hold and however small a message."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.wire.commit_message import Assembler, IncompleteCommit, MessagePart, PartHeader, pack
from tests.cdc.core.flagent import change_of

LOG = LogId("k7q2mx")

rows = st.none() | st.dictionaries(
    st.text(max_size=8), st.none() | st.integers() | st.text(max_size=300), max_size=4
).map(RowText.of)
changes = st.builds(
    Change,
    st.sampled_from(["public", "tenant ü"]),
    st.sampled_from(["flags", "tags", "a.b"]),
    st.sampled_from(list(Op)),
    rows,
    rows,
    rows,
    st.none() | st.integers(0, 1 << 62),
)
commits = st.builds(
    Commit,
    st.just(Position(42)),
    st.just("2026-11-23T08:00:00.123456Z"),
    st.just(7),
    st.text(max_size=10),
    st.text(max_size=10),
    st.lists(changes, min_size=1, max_size=30).map(tuple),
)


def header(commit: Commit, part: MessagePart, start: int = 100) -> PartHeader:
    return PartHeader(
        LOG,
        commit.position,
        Position(commit.position - 1),
        commit.committed_at,
        commit.xid,
        part.number,
        part.of,
        start,
        part.continues,
    )


def commit_of(*tables: str, text: str = "x") -> Commit:
    changed = tuple(change_of("public", table, Op.INSERT, None, {"id": n, "t": text}) for n, table in enumerate(tables))
    return Commit(Position(42), "2026-11-23T08:00:00.123456Z", 7, "ann", "psql", changed)


@settings(max_examples=200)
@given(commits, st.integers(300, 2000))
def test_a_split_commit_is_assembled_unchanged(commit: Commit, limit_bytes: int) -> None:
    parts = pack(commit, LOG, limit_bytes)
    assert all(len(part.data) <= limit_bytes for part in parts)
    assembler = Assembler()
    taken = [assembler.take(header(commit, part), part.data) for part in parts]
    assert taken[:-1] == [None] * (len(parts) - 1)
    assert taken[-1] == commit


def test_a_small_commit_of_one_table_is_one_message_that_reads_by_itself() -> None:
    (part,) = pack(commit_of("flags", "flags"), LOG, 10_000)
    assert (part.schema, part.table, part.number, part.of) == ("public", "flags", 1, 1)
    said = json.loads(part.data)
    assert said["position"] == "42"
    assert said["log"] == LOG
    assert [change["after"]["id"] for change in said["changes"]] == [0, 1]


def test_each_table_gets_its_own_message_and_the_order_of_changes_is_kept() -> None:
    commit = commit_of("flags", "tags", "flags", "segments")
    parts = pack(commit, LOG, 10_000)
    assert [(part.table, part.number, part.of) for part in parts] == [
        ("flags", 1, 3),
        ("tags", 2, 3),
        ("segments", 3, 3),
    ]
    assert json.loads(parts[0].data)["order"] == [0, 2]
    assembler = Assembler()
    assert [assembler.take(header(commit, part), part.data) for part in parts][-1] == commit


def test_changes_are_kept_whole_unless_one_is_larger_than_a_message() -> None:
    parts = pack(commit_of("flags", "flags", "flags", text="y" * 300), LOG, 700)
    assert [part.continues for part in parts] == [False] * 3
    assert all(json.loads(part.data)["changes"] for part in parts)
    parts = pack(commit_of("flags", text="y" * 1500), LOG, 700)
    assert [part.continues for part in parts] == [True, True, False]


def test_an_interrupted_attempt_is_dropped_when_another_begins() -> None:
    commit = commit_of("flags", "tags", "segments")
    parts = pack(commit, LOG, 10_000)
    assembler = Assembler()
    assert assembler.take(header(commit, parts[0]), parts[0].data) is None
    assert assembler.take(header(commit, parts[1]), parts[1].data) is None
    again = [assembler.take(header(commit, part, start=102), part.data) for part in parts]
    assert again == [None, None, commit]


@pytest.mark.parametrize(
    ("seen", "then"),
    [([], 2), ([1], 3)],
    ids=["reading begins in the middle", "one is missing"],
)
def test_a_part_without_those_before_it_is_incomplete(seen: list[int], then: int) -> None:
    commit = commit_of("flags", "tags", "segments")
    parts = pack(commit, LOG, 10_000)
    assembler = Assembler()
    for part in seen:
        assembler.take(header(commit, parts[part - 1]), parts[part - 1].data)
    incomplete = parts[then - 1]
    assert assembler.take(header(commit, incomplete), incomplete.data) == IncompleteCommit(Position(42))
    # And the next whole commit is taken again.
    assert [assembler.take(header(commit, part), part.data) for part in parts][-1] == commit


def test_parts_of_two_attempts_are_never_mixed() -> None:
    commit = commit_of("flags", "tags")
    first, second = pack(commit, LOG, 10_000)
    assembler = Assembler()
    assembler.take(header(commit, first, start=100), first.data)
    assert assembler.take(header(commit, second, start=102), second.data) == IncompleteCommit(Position(42))


def test_headers_are_read_as_they_were_written() -> None:
    one = header(commit_of("flags", "tags"), MessagePart("public", "tags", 2, 2, True, b""))
    assert PartHeader.read(one.headers()) == one
    hash = commit_of("flags", "tags").hash
    assert one.message_id == f"k7q2mx:42:{hash}:2@100"
    assert (
        header(commit_of("flags"), MessagePart("public", "flags", 1, 1, False, b"")).message_id == f"k7q2mx:42:{hash}"
    )


@pytest.mark.parametrize(
    "changed",
    [
        None,
        {},
        {"Flagent-Cdc-Part": "1"},
        {"Flagent-Cdc-Part": "a/b@c"},
        {"Flagent-Cdc-Position": "x"},
        {"Flagent-Cdc-Stamp": "2026"},
    ],
)
def test_a_foreign_message_has_no_header(changed: dict[str, str] | None) -> None:
    ours = header(commit_of("flags"), MessagePart("public", "flags", 1, 1, False, b"")).headers()
    assert PartHeader.read(ours) is not None
    assert PartHeader.read({**ours, **changed} if changed else changed) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"changes": 1}', b'{"changes": [{}]}', b"\xff"])
def test_data_that_are_not_a_commit_are_refused(data: bytes) -> None:
    commit = commit_of("flags")
    with pytest.raises(ValueError):
        Assembler().take(header(commit, MessagePart("public", "flags", 1, 1, False, data)), data)


def test_rows_keep_their_text_whatever_they_hold_and_however_large() -> None:
    nested = "[" * 5000 + "]" * 5000
    texts = ('{"n":1.10}', f'{{"n":{"9" * 5001}}}', f'{{"n":{nested}}}', '{"n" :\n1e999}', '{"n":1,"n":2}')
    large = f'{{"n":"{"x" * 2_000_000}","m":{nested}}}'
    rows = [*map(RowText, (*texts, large)), RowText.load(b'{"n":"\xfc"}')]
    changed = tuple(Change("public", "t", Op.INSERT, None, row, RowText('{"n" : 1}')) for row in rows)
    commit = Commit(Position(42), "2026-11-23T08:00:00.123456Z", 7, "ann", "psql", changed)
    assembler = Assembler()
    sizes = []
    for part in pack(commit, LOG, 500_000):
        found = assembler.take(header(commit, part), part.data)
        sizes.append(assembler.size_bytes)
    assert found == commit
    assert max(sizes) >= 1_500_000
    assert sizes[-1] == 0
    assert commit.characters == sum(len(row.text) for row in rows)
